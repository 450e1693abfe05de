/*
 * test/fuzz/fuzz_bank.c
 *		If this fails, a bank statement can crash the server, or one is taken
 *		whose entries do not make its closing balance.
 *
 * The first byte chooses the format, the rest is the file.
 */
// sources: ../../src/format/bank.c ../../src/format/camt053.c ../../src/format/camt053_entry.c ../../src/format/mt940.c ../../src/format/mt940_text.c ../../src/format/csv_report.c ../../src/format/value.c ../../src/base/xml.c ../../src/base/csv.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
// libs: -lxml2
#include "payments.h"

#include "format/bank.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	PayCamt    *camt = malloc(sizeof(PayCamt));
	PayMt940   *mt940 = malloc(sizeof(PayMt940));
	PayDecimal	sum = {0};
	PayBankRow	row;
	PayFileResult result;
	char	   *text,
			   *original;
	bool		is_camt = bytes > 0 && data[0] == '<';
	size_t		rows = 0;

	text = malloc(bytes + 1);
	original = malloc(bytes + 1);
	memcpy(text, data, bytes);
	text[bytes] = '\0';
	memcpy(original, text, bytes + 1);
	if (is_camt)
		pay_camt_open(camt, text, original, bytes);
	else
		pay_mt940_open(mt940, text, original, bytes);
	while ((result = is_camt ? pay_camt_next(camt, &row) : pay_mt940_next(mt940, &row)) == PAY_FILE_ROW)
	{
		CHECK(++rows <= bytes);
		CHECK(row.statement_no > 0 && row.line > 0);
		if (row.raw)
			CHECK(row.raw >= original && row.raw + row.raw_bytes <= original + bytes);
		if (!row.is_statement)
		{
			CHECK(row.status != NULL && row.entry_no > 0);
			if (row.detail_no == 0 && strcmp(row.status, "booked") == 0)
				CHECK(pay_decimal_add(&sum, &row.amount, 1));
			continue;
		}
		CHECK(row.account != NULL);
		if (row.opening.given && row.closing.given)
			CHECK(pay_decimal_add(&sum, &row.opening, 1) && pay_decimal_equal(&sum, &row.closing));
		memset(&sum, 0, sizeof(sum));
	}
	if (is_camt)
		pay_camt_close(camt);
	free(original);
	free(text);
	free(camt);
	free(mt940);
	shim_reset();
	return 0;
}
