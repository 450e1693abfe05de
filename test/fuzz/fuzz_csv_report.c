/*
 * test/fuzz/fuzz_csv_report.c
 *		If this fails, a settlement file of a PSP can crash the server, or a row
 *		comes without a kind.
 *
 * The first byte chooses the format and the options, the rest is the file.
 */
// sources: ../../src/format/csv_report.c ../../src/psp/stripe_report.c ../../src/psp/adyen_report.c ../../src/format/generic_report.c ../../src/format/value.c ../../src/base/csv.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
#include "payments.h"

#include "psp/report.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static const PayCsvFormat *const formats[] = {&pay_csv_generic, &pay_csv_stripe_payout, &pay_csv_stripe_balance, &pay_csv_adyen};
	PayCsvFile *file;
	PayFileOptions *options;
	PaySettlementRow row;
	PayFileResult result;
	char	   *text;
	size_t		rows = 0;

	if (bytes == 0)
		return 0;
	text = malloc(bytes);
	memcpy(text, data + 1, bytes - 1);
	text[bytes - 1] = '\0';
	file = malloc(sizeof(PayCsvFile));
	options = calloc(1, sizeof(PayFileOptions));
	options->point = data[0] & 4 ? ',' : '.';
	options->dates = data[0] & 8 ? PAY_DATE_DMY : PAY_DATE_ISO;
	options->currency = data[0] & 16 ? "EUR" : NULL;
	if (data[0] & 32)
		options->columns[PAY_CELL_TYPE] = "t";
	result = pay_csv_file_open(file, formats[data[0] & 3], options, text, bytes - 1);
	while (result == PAY_FILE_ROW && (result = pay_csv_file_next(file, &row)) == PAY_FILE_ROW)
	{
		CHECK(++rows <= bytes && row.line > 1 && row.kind != NULL && row.cells == file->n);
		CHECK(row.gross.scale <= 18 && row.fee.scale <= 18 && row.net.scale <= 18);
		CHECK(!row.occurred.given || pay_date_exists(row.occurred.year, row.occurred.month, row.occurred.day));
	}
	CHECK((result == PAY_FILE_BROKEN) == (file->problem.line > 0));
	CHECK(strlen(file->problem.text) < PAY_PROBLEM_BYTES);
	free(options);
	free(file);
	free(text);
	return 0;
}
