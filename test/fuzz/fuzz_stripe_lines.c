/*
 * test/fuzz/fuzz_stripe_lines.c
 *		If this fails, what Stripe's API lists can crash the server, or a line
 *		comes without a kind.
 */
// sources: ../../src/psp/stripe_lines.c ../../src/psp/stripe_report.c ../../src/format/csv_report.c ../../src/format/value.c ../../src/format/generic_report.c ../../src/base/csv.c ../../src/base/json_slice.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
#include "payments.h"

#include "psp/report.h"

#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	/* Exactly as long as the input: a byte read behind it is found out. */
	char	   *text = malloc(bytes > 0 ? bytes : 1);
	PayStripeLines lines;
	PaySettlementRow row;
	PayFileResult result;
	size_t		rows = 0;

	memcpy(text, data, bytes);
	result = pay_stripe_lines_open(&lines, text, bytes);
	while (result == PAY_FILE_ROW && (result = pay_stripe_lines_next(&lines, &row)) == PAY_FILE_ROW)
	{
		CHECK(++rows <= bytes && row.line == (int) rows && row.kind != NULL);
		CHECK(row.gross.scale <= 18 && row.fee.scale <= 18 && row.net.scale <= 18 && row.original.scale <= 18);
		CHECK(!row.occurred.given || pay_date_exists(row.occurred.year, row.occurred.month, row.occurred.day));
		CHECK(row.json >= text && row.json + row.json_bytes <= text + bytes && *row.json == '{');
		CHECK(row.object_id == NULL || strlen(row.object_id) <= bytes);
		shim_reset();
	}
	CHECK((result == PAY_FILE_BROKEN) == (*lines.problem.text != '\0'));
	CHECK(strlen(lines.problem.text) < PAY_PROBLEM_BYTES);
	shim_reset();
	free(text);
	return 0;
}
