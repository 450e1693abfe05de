/*
 * test/fuzz/fuzz_csv.c
 *		If this fails, a file that somebody sends can crash the server.
 */
// sources: ../../src/base/csv.c
#include "payments.h"

#include "base/csv.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	char	   *text = malloc(bytes + 1);
	PayCsv	   *csv = malloc(sizeof(PayCsv));
	PayCsvResult result;
	size_t		rows = 0;
	int			line = 0;

	memcpy(text, data, bytes);
	text[bytes] = '\0';
	pay_csv_open(csv, text, bytes, pay_csv_separator(text, bytes));
	while ((result = pay_csv_next(csv)) == PAY_CSV_ROW)
	{
		CHECK(++rows <= bytes + 1);
		CHECK(csv->row_line > line && csv->n > 0 && csv->n <= PAY_CSV_FIELDS_MAX);
		line = csv->row_line;
		for (int i = 0; i < csv->n; i++)
			CHECK(csv->fields[i] >= text && csv->fields[i] + strlen(csv->fields[i]) <= text + bytes);
	}
	CHECK((result == PAY_CSV_BROKEN) == (csv->problem != NULL));
	free(csv);
	free(text);
	return 0;
}
