/*
 * test/unit/test_bank.c
 *		If this fails, a bank statement with an entry cut out, doubled or turned
 *		round is booked as if it were whole.
 *
 * The golden files in test/data are read by pgTAP; here are small ones,
 * each with one thing wrong.
 */
// sources: ../../src/format/bank.c ../../src/format/camt053.c ../../src/format/mt940.c ../../src/format/csv_report.c ../../src/format/value.c ../../src/base/xml.c ../../src/base/csv.c ../../src/base/pan.c
// libs: -lxml2
#include "payments.h"

#include "format/bank.h"
#include "shim.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define MT(entries, closing) ":20:S\n:25:ACC\n:28C:1\n:60F:C261119EUR100,00\n" entries ":62F:" closing "\n"

#define BAL(code, amount, side) "<Bal><Tp><CdOrPrtry><Cd>" code "</Cd></CdOrPrtry></Tp><Amt Ccy='EUR'>" amount "</Amt><CdtDbtInd>" side "</CdtDbtInd></Bal>"
#define NTRY(amount, side, more) "<Ntry><Amt Ccy='EUR'>" amount "</Amt><CdtDbtInd>" side "</CdtDbtInd><Sts>BOOK</Sts>" more "</Ntry>"
#define TX(amount) "<TxDtls><Amt Ccy='EUR'>" amount "</Amt><CdtDbtInd>CRDT</CdtDbtInd></TxDtls>"
#define DOC(version, inside) "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001." version "'><BkToCstmrStmt>" inside "</BkToCstmrStmt></Document>"
#define STMT(inside) "<Stmt><Id>1</Id><Acct><Id><IBAN>X</IBAN></Id></Acct>" inside "</Stmt>"
#define CAMT(inside) DOC("02", STMT(inside))

typedef struct BankCase
{
	const char *text;
	const char *result;			/* rows, then "ok", "broken" or "totals" */
} BankCase;

static const BankCase mt940[] = {
	{MT("", "C261120EUR100,"), "S ok"},
	{MT(":61:261120C50,NTRFNONREF\n", "C261120EUR150,00"), "50 S ok"},
	{MT(":61:261120D50,5NTRFNONREF\r\n:86:text\r\nmore\r\n", "C261120EUR49,50"), "-50.5 S ok"},
	{MT(":61:261120RD1,NTRFNONREF\n:61:261120RC2,NTRFNONREF\n", "C261120EUR99,"), "1 -2 S ok"},
	{MT(":61:261120C50,NTRFNONREF\n", "D261120EUR150,00"), "50 totals"},
	{MT(":61:261120C50,NTRFNONREF\n", "C261120EUR150,01"), "50 totals"},
	{MT("", "C261120EUR100,") MT("", "C261120EUR100,"), "S S ok"},
	{MT(":61:261120X50,NTRFNONREF\n", "C261120EUR150,"), "broken"},
	{MT(":61:261320C50,NTRFNONREF\n", "C261120EUR150,"), "broken"},
	{MT(":61:261120C50.00NTRFNONREF\n", "C261120EUR150,"), "broken"},
	{MT(":61:261120CNTRFNONREF\n", "C261120EUR100,"), "broken"},
	{MT(":61:261120C50,XYZ\n", "C261120EUR150,"), "broken"},
	{MT(":61:261120C50,\n", "C261120EUR150,"), "broken"},
	{MT("", "C261120USD100,"), "broken"},
	{MT("", "C261120EUR100,") ":61:261120C50,NTRFNONREF\n", "broken"},
	{":20:S\n:25:ACC\n:61:261120C50,NTRFNONREF\n", "broken"},
	{":20:S\n:25:ACC\n:60F:C261119EUR100,\n", "broken"},
	{"", "broken"},
	{"nothing of the kind", "broken"},
	{":61:261120C50,NTRFNONREF\n", "broken"},
};

static const BankCase camt[] = {
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "1", "CRDT")), "S ok"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3.5", "CRDT") NTRY("2.50", "CRDT", "")), "2.50 S ok"},
	{CAMT(BAL("PRCD", "1", "CRDT") BAL("CLBD", "1", "DBIT") NTRY("2", "DBIT", "")), "-2 S ok"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") NTRY("2", "CRDT", "<NtryDtls>" TX("2") "</NtryDtls>")), "2 S ok"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "7", "CRDT") NTRY("6", "CRDT", "<NtryDtls>" TX("1") TX("2") TX("3") "</NtryDtls>")), "1d1 2d2 3d3 6 S ok"},
	{CAMT(BAL("ITBD", "1", "CRDT") BAL("ITBD", "3", "CRDT") NTRY("2", "CRDT", "")), "2 S ok"},
	{CAMT(BAL("ITBD", "1", "CRDT") BAL("ITBD", "4", "CRDT") NTRY("2", "CRDT", "")), "2 totals"},
	{CAMT(NTRY("2", "CRDT", "")), "2 S ok"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") NTRY("2", "DBIT", "")), "-2 totals"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") NTRY("2", "CRDT", "") NTRY("2", "CRDT", "")), "2 2 totals"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "1", "CRDT") "<TxsSummry><TtlNtries><NbOfNtries>1</NbOfNtries></TtlNtries></TxsSummry>"), "totals"},
	{CAMT("<TxsSummry><TtlCdtNtries><Sum>3</Sum></TtlCdtNtries></TxsSummry>" NTRY("2", "CRDT", "")), "2 totals"},
	{CAMT("<TxsSummry><TtlCdtNtries><Sum>2.00</Sum></TtlCdtNtries></TxsSummry>" NTRY("2", "CRDT", "")), "2 S ok"},
	{CAMT(NTRY("6", "CRDT", "<NtryDtls>" TX("1") TX("2") "</NtryDtls>")), "1d1 2d2 totals"},
	{CAMT(NTRY("6", "CRDT", "<Chrgs/><NtryDtls>" TX("1") TX("2") "</NtryDtls>")), "1d1 2d2 6 S ok"},
	{CAMT(NTRY("-2", "CRDT", "")), "broken"},
	{CAMT(NTRY("2", "CREDIT", "")), "broken"},
	{CAMT("<Ntry><Amt>2</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts></Ntry>"), "broken"},
	{CAMT("<Ntry><Amt Ccy='EUR'>2</Amt><CdtDbtInd>CRDT</CdtDbtInd></Ntry>"), "broken"},
	{CAMT("<Ntry><Amt Ccy='EUR'>2</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>MAYBE</Sts></Ntry>"), "broken"},
	{CAMT(BAL("OPBD", "1", "CRDT") "<Ntry><Amt Ccy='USD'>2</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts></Ntry>"), "broken"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("OPBD", "2", "CRDT")), "broken"},
	{CAMT(NTRY("2", "CRDT", "<ValDt><Dt>20.11.2026</Dt></ValDt>")), "broken"},
	{CAMT("<Ntry><NtryDtls>" TX("2") TX("3") "</NtryDtls><Amt Ccy='EUR'>5</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts></Ntry>"), "broken"},
	{DOC("08", STMT(NTRY("2", "CRDT", ""))), "2 S ok"},
	{DOC("06", STMT("")), "broken"},
	{DOC("02", ""), "broken"},
	{"<Document>" "</Document>", "broken"},
	{"<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.052.001.02'/>", "broken"},
};

static void
note(char *result, size_t room, const PayBankRow *row)
{
	char		amount[PAY_DECIMAL_BYTES] = "S";

	if (!row->is_statement)
		pay_decimal_text(&row->amount, amount);
	strlcat(result, amount, room);
	if (row->detail_no > 0)
		snprintf(result + strlen(result), room - strlen(result), "d%d", row->detail_no);
	strlcat(result, " ", room);
}

static void
check(const BankCase *c, bool is_camt)
{
	size_t		bytes = strlen(c->text);
	char	   *copy = malloc(bytes + 1),
				result[256] = "";
	PayCamt    *camt_file = malloc(sizeof(PayCamt));
	PayMt940   *mt_file = malloc(sizeof(PayMt940));
	PayFileProblem *problem = is_camt ? &camt_file->problem : &mt_file->problem;
	PayBankRow	row;
	PayFileResult r;

	memcpy(copy, c->text, bytes + 1);
	if (is_camt)
		pay_camt_open(camt_file, copy, c->text, bytes);
	else
		pay_mt940_open(mt_file, copy, c->text, bytes);
	while ((r = is_camt ? pay_camt_next(camt_file, &row) : pay_mt940_next(mt_file, &row)) == PAY_FILE_ROW)
		note(result, sizeof(result), &row);
	strlcat(result, r == PAY_FILE_END ? "ok" : problem->totals ? "totals" : "broken", sizeof(result));
	OK(strcmp(result, c->result) == 0, "%s: %s", result, c->text);
	OK((r == PAY_FILE_END) == (problem->text[0] == '\0'), "and says why: %s", problem->text);
	if (is_camt)
		pay_camt_close(camt_file);
	free(copy);
	free(camt_file);
	free(mt_file);
	shim_reset();
}

int
main(void)
{
	for (size_t i = 0; i < lengthof(mt940); i++)
		check(&mt940[i], false);
	for (size_t i = 0; i < lengthof(camt); i++)
		check(&camt[i], true);
	return tap_done();
}
