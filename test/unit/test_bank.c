/*
 * test/unit/test_bank.c
 *		If this fails, a bank statement with an entry cut out, doubled or turned
 *		round is booked as if it were whole.
 *
 * The golden files in test/data are read by pgTAP; here are small ones,
 * each with one thing wrong.
 */
// sources: ../../src/format/bank.c ../../src/format/camt053.c ../../src/format/camt053_entry.c ../../src/format/mt940.c ../../src/format/mt940_text.c ../../src/format/csv_report.c ../../src/format/value.c ../../src/base/xml.c ../../src/base/csv.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
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
#define FOREIGN(side, more) "<Ntry><Amt Ccy='USD'>5</Amt><CdtDbtInd>" side "</CdtDbtInd><Sts>BOOK</Sts>" more "</Ntry>"
#define AMTDTLS(what, currency, amount) "<AmtDtls><" what "><Amt Ccy='" currency "'>" amount "</Amt></" what "></AmtDtls>"
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
	{MT(":61:261120C50.00NTRFNONREF\n", "C261120EUR150,"), "50.00 S ok"},
	{MT(":61:261120C1.500NTRFNONREF\n", "C261120EUR101.50"), "broken"},
	{MT(":61:261120C1.500,00NTRFNONREF\n", "C261120EUR1600,00"), "broken"},
	{MT("", "C261120EUR100.000"), "broken"},
	{MT(":61:261120C50,NTRFNONREF\n", "C261120150,"), "50 S ok"},
	{":20:S\n:25:ACC\n:60F:C261119100,00\n:62F:C261119EUR100,00\n", "broken"},
	/* What stands between messages. */
	{"{1:F01X}{4:\n" MT("", "C261120EUR100,") "-}{5:}\n{1:F01X}{4:\n" MT("", "C261120EUR100,") "-}{5:{CHK:0}}", "S S ok"},
	{"\x01" MT("", "C261120EUR100,") "-}\x03\x01{1:F01X}{4:\n" MT("", "C261120EUR100,") "-\x03\n\x1a", "S S ok"},
	{"BANK\n940\n" MT("", "C261120EUR100,") "-\nBANK\n940\n\xef\xbb\xbf" MT("", "C261120EUR100,") " -\n", "S S ok"},
	{":940:\n" MT("", "C261120EUR100,") ":940:\n" MT("", "C261120EUR100,"), "S S ok"},
	{MT("", "C261120EUR100,") "\n\n" MT("", "C261120EUR100, "), "S S ok"},
	{MT("", "C261120EUR100,") "BANK\n", "broken"},
	{MT(":NS:22Shop\n23Account\n:61:261120C50,NTRFNONREF\n", "C261120EUR150,"), "50 S ok"},
	{MT(":61:261120C50,NTRFNONREF\n:86:a\n-\nb\n", "C261120EUR150,") "-\n", "50 S ok"},
	{MT(":61:261120D,50NTRFNONREF\n", "C261120EUR99,50"), "-0.50 S ok"},
	/* Of a text that somebody has written, broken off before a colon. */
	{MT(":61:261120C,01NTRFNONREF\n:86:thanks\n:25:DE99\n", "C261120EUR100,01"), "0.01 broken"},
	{MT(":61:261120C,01NTRFNONREF\n:86:thanks\n:20:and more\n", "C261120EUR100,01"), "0.01 broken"},
	/* An entry that is dropped is not dress. */
	{MT("", "C261120EUR100,") "-\n:61:261120C50,NTRFNONREF\n", "broken"},
	{MT("-}\n:61:261120C50,NTRFNONREF\n", "C261120EUR150,"), "50 S ok"},
	{MT("x\n:61:261120C50,NTRFNONREF\n", "C261120EUR150,"), "broken"},
	{MT(":61:261120C5\n0,00NTRFNONREF\n", "C261120EUR150,"), "50.00 S ok"},
	{MT(":61:2611201120C\n50,00\nNTRFNONREF\n", "C261120EUR150,"), "50.00 S ok"},
	{MT(":61:2611201120\nC\n50,00\nNTRFNONREF\n", "C261120EUR150,"), "broken"},
	{MT(":61:261120C50,NTRFNONREF\n", "C261120EU\nR150,"), "50 S ok"},
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

/* Of an entry of 50 in: dates, type, references, the other side, remittance. */
static const struct
{
	const char *text;
	const char *result;
}			dialects[] = {
	{":61:2611201119C50,NTRFREF-1//BANK-1\nSUPPLEMENT\n", "1119 1120 NTRF REF-1 BANK-1 - - - SUPPLEMENT"},
	{":61:261120    C50,00 NTRFNONREF \n", "1120 1120 NTRF - - - - - -"},
	{":61:2602300301CR50,NMSCNONREF//NONREF\n", "0301 0228 NMSC - - - - - -"},
	{":61:2602290230C50,N024NONREF\n", "0228 0228 N024 - - - - - -"},
	{":61:2002300229C50,N024NONREF\n", "0229 0229 N024 - - - - - -"},
	{":61:261120C50,//BANK-2\n", "1120 1120 - - BANK-2 - - - -"},
	{":61:261120C50,NONREF\n", "1120 1120 - - - - - - -"},
	{":61:261120C50,NOV NONREF\n:86 :Fee \n", "1120 1120 NOV - - - - - Fee"},
	{":61:261120C000000050,00N0440121470966      A. Shop       \n", "1120 1120 N044 0121470966 - - A. Shop - -"},
	{":61:261120C50,N062NONREF          A. SHOP\n:86:ORDER 1     \n:86:ORDER 2\n", "1120 1120 N062 - - - A. SHOP - ORDER 1 ORDER 2"},
	{":61:261120C50,NTRFNONREF\n:86:payout\npo_7\nof today\n", "1120 1120 NTRF - - - - - payout po_7 of today"},
	{":61:261120C50,NTRFNONREF\n:86:PAYOUT OF NOVEMBER TO THE SHOP WITH A LONG NAME, NUMBER po_\n7, TODAY\n",
	"1120 1120 NTRF - - - - - PAYOUT OF NOVEMBER TO THE SHOP WITH A LONG NAME, NUMBER po_7, TODAY"},
	{":61:261120C50,NTRFNONREF\n:86:-\nafter a dash\n-\nanother\n:12:34 is no tag\n", "1120 1120 NTRF - - - - - - after a dash - another :12:34 is no tag"},
	{":61:261120C50,NTRFNONREF\n:86:166?00CREDIT?20EREF+po_\n1?21SVWZ+PAY?22OUT?31DE01?32HOUSE?33 LTD?60 po_1\n", "1120 1120 NTRF - - po_1 HOUSE LTD DE01 EREF+po_1SVWZ+PAYOUT po_1"},
	{":61:261120C50,NTRFNONREF\n:86: 020<00CREDIT<20po_1<32HOUSE<38PL01\n", "1120 1120 NTRF - - - HOUSE PL01 po_1"},
	{":61:261120C50,NTRFNONREF\n:86:?20EREF+po 1 KREF+x?31DE01\n", "1120 1120 NTRF - - po 1 - DE01 EREF+po 1 KREF+x"},
	{":61:261120C50,NTRFNONREF\n:86:EREF+ po_1 OAMT+11,85 IBAN+DE01 BIC+X\n", "1120 1120 NTRF - - po_1 - DE01 EREF+ po_1 OAMT+11,85 IBAN+DE01 BIC+X"},
	{":61:261120C50,NTRFNONREF\n:86:/EREF/SHOP/2026/7/ORDP//NAME/HOUSE / CO/REMI/x/\n", "1120 1120 NTRF - - SHOP/2026/7 HOUSE / CO - /EREF/SHOP/2026/7/ORDP//NAME/HOUSE / CO/REMI/x/"},
	{":61:261120C50,NTRFNONREF\n:86:/TRTP/SEPA/IBAN/NL01/BIC/X/NAME/HOUSE/EREF/NOTPROVIDED\n", "1120 1120 NTRF - - - HOUSE NL01 /TRTP/SEPA/IBAN/NL01/BIC/X/NAME/HOUSE/EREF/NOTPROVIDED"},
	{":61:261120C50,NTRFNONREF\n:86:/EREF/po_1//CNTP/NL01/BICX/HOUSE///REMI/USTD//x/\n", "1120 1120 NTRF - - po_1 HOUSE NL01 /EREF/po_1//CNTP/NL01/BICX/HOUSE///REMI/USTD//x/"},
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
	{DOC("03", STMT(NTRY("2", "CRDT", ""))), "2 S ok"},
	{DOC("13", STMT(NTRY("2", "CRDT", ""))), "2 S ok"},
	{DOC("02.xy.01", STMT(NTRY("2", "CRDT", ""))), "2 S ok"},
	{"<Document xmlns='urn:swift:xsd:camt.053.001.08'><BkToCstmrStmt>" STMT(NTRY("2", "CRDT", "")) "</BkToCstmrStmt></Document>", "2 S ok"},
	/* A version that has what is needed elsewhere. */
	{DOC("14", "<Stmts>" STMT(NTRY("2", "CRDT", "")) "</Stmts>"), "broken"},
	{DOC("14", STMT("<Ntry><Amount Ccy='EUR'>2</Amount><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts></Ntry>")), "broken"},
	{DOC("2", STMT(NTRY("2", "CRDT", ""))), "broken"},
	{DOC("022", STMT(NTRY("2", "CRDT", ""))), "broken"},
	/* In dollars, of an account in euros. */
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") FOREIGN("DBIT", "")), "broken"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") FOREIGN("CRDT", AMTDTLS("InstdAmt", "EUR", "2"))), "2 S ok"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") FOREIGN("CRDT", AMTDTLS("InstdAmt", "EUR", "9") AMTDTLS("CntrValAmt", "EUR", "2") AMTDTLS("TxAmt", "EUR", "8"))), "2 S ok"},
	{CAMT(BAL("OPBD", "4", "CRDT") BAL("CLBD", "2", "CRDT") FOREIGN("DBIT", "<NtryDtls><TxDtls>" AMTDTLS("InstdAmt", "USD", "5") AMTDTLS("CntrValAmt", "EUR", "2") "</TxDtls></NtryDtls>")), "-2 S ok"},
	{CAMT(BAL("OPBD", "4", "CRDT") BAL("CLBD", "1", "CRDT") FOREIGN("DBIT", "<NtryDtls><TxDtls>" AMTDTLS("TxAmt", "EUR", "2") "</TxDtls><TxDtls>" AMTDTLS("TxAmt", "EUR", "1") "</TxDtls></NtryDtls>")), "-2d1 -1d2 -3 S ok"},
	{CAMT(BAL("OPBD", "4", "CRDT") BAL("CLBD", "1", "CRDT") FOREIGN("DBIT", "<NtryDtls><TxDtls>" AMTDTLS("TxAmt", "EUR", "2") "</TxDtls><TxDtls>" AMTDTLS("TxAmt", "USD", "1") "</TxDtls></NtryDtls>")), "-2d1 -1d2 broken"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") FOREIGN("CRDT", AMTDTLS("InstdAmt", "EUR", "3"))), "3 totals"},
	{CAMT(BAL("OPBD", "1", "CRDT") FOREIGN("CRDT", AMTDTLS("InstdAmt", "EUR", "3"))), "3 broken"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") FOREIGN("CRDT", AMTDTLS("InstdAmt", "GBP", "2"))), "broken"},
	{CAMT(BAL("OPBD", "1", "CRDT") BAL("CLBD", "3", "CRDT") NTRY("2", "CRDT", AMTDTLS("CntrValAmt", "EUR", "9"))), "2 S ok"},
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

static void
check_dialect(int i)
{
	char		text[1024],
			   *original,
				result[1024];
	PayMt940   *file = malloc(sizeof(PayMt940));
	PayBankRow	row = {0};
	size_t		bytes;

	/* The day of the balances does not matter. */
	bytes = (size_t) snprintf(text, sizeof(text), MT("%s", "C261120EUR150,00"), dialects[i].text);
	original = strdup(text);
	pay_mt940_open(file, text, original, bytes);
	if (pay_mt940_next(file, &row) == PAY_FILE_ROW && !row.is_statement)
		snprintf(result, sizeof(result), "%02d%02d %02d%02d %s %s %s %s %s %s %s", row.booking_date.month, row.booking_date.day,
				 row.value_date.month, row.value_date.day, row.code ? row.code : "-", row.reference ? row.reference : "-",
				 row.bank_reference ? row.bank_reference : "-", row.end_to_end_id ? row.end_to_end_id : "-",
				 row.counterparty ? row.counterparty : "-", row.counterparty_account ? row.counterparty_account : "-",
				 row.remittance ? row.remittance : "-");
	else
		strlcpy(result, file->problem.text, sizeof(result));
	OK(strcmp(result, dialects[i].result) == 0, "%s: %s", result, dialects[i].text);
	OK(row.raw && strncmp(row.raw, ":61:", 4) == 0 && strncmp(row.raw + row.raw_bytes + strspn(row.raw + row.raw_bytes, " \n"), ":62F:", 5) == 0, "all of its lines are its raw text");
	OK(pay_mt940_next(file, &row) == PAY_FILE_ROW && row.is_statement && pay_mt940_next(file, &row) == PAY_FILE_END, "and the sums hold: %s", file->problem.text);
	free(original);
	free(file);
	shim_reset();
}

int
main(void)
{
	for (int i = 0; i < (int) lengthof(dialects); i++)
		check_dialect(i);
	for (size_t i = 0; i < lengthof(mt940); i++)
		check(&mt940[i], false);
	for (size_t i = 0; i < lengthof(camt); i++)
		check(&camt[i], true);
	return tap_done();
}
