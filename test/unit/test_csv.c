/*
 * test/unit/test_csv.c
 *		If this fails, a quote or a separator in a customer's text moves amounts
 *		into other columns of a settlement file, or a file that broke off is
 *		imported as if it were whole.
 */
// sources: ../../src/base/csv.c
#include "payments.h"

#include "base/csv.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

typedef struct CsvCase
{
	const char *text;
	const char *rows;			/* fields joined by '|', rows by '/'; '!' and the line where it breaks */
} CsvCase;

static const CsvCase cases[] = {
	{"", ""},
	{"\n\r\n", ""},
	{"a,b\n1,2\n", "a|b/1|2/"},
	{"a,b\r\n1,2\r\n", "a|b/1|2/"},
	{"a,b\n1,2", "a|b/1|2/"},
	{"\xef\xbb\xbf" "a,b\n", "a|b/"},
	{"a,\n,b\n", "a|/|b/"},
	{"a,b\n1,2\n\n\n", "a|b/1|2/"},
	{"a,b\n\n1,2\n", "a|b//1|2/"},
	{"\"a\",\"b,c\"\n", "a|b,c/"},
	{"\"a \"\"b\"\" c\",d\n", "a \"b\" c|d/"},
	{"\"\",x\n", "|x/"},
	{"\"two\nlines\",x\n1,2\n", "two\nlines|x/1|2/"},
	{"\"cr\r\nlf\"", "cr\r\nlf/"},
	{"\"a\"", "a/"},
	/* broken */
	{"a,\"b\n1,2\n", "!1"},
	{"a,b\n1,2\n3,\"4", "a|b/1|2/!3"},
	{"a,b\"c\n", "!1"},
	{"a,\"b\"c\n", "!1"},
	{"\"a\"\"\n", "!1"},
	{"a\rb\n", "!1"},
	{"\"x\ny\"\n1,\"2", "x\ny/!3"},
};

static char *
read_all(const char *text, char separator)
{
	static char result[512];
	size_t		bytes = strlen(text);
	char	   *copy = malloc(bytes + 1);
	PayCsv	   *csv = malloc(sizeof(PayCsv));
	PayCsvResult r;

	memcpy(copy, text, bytes + 1);
	result[0] = '\0';
	pay_csv_open(csv, copy, bytes, separator);
	while ((r = pay_csv_next(csv)) == PAY_CSV_ROW)
	{
		for (int i = 0; i < csv->n; i++)
			snprintf(result + strlen(result), sizeof(result) - strlen(result), "%s%s", i > 0 ? "|" : "", csv->fields[i]);
		strlcat(result, "/", sizeof(result));
	}
	if (r == PAY_CSV_BROKEN)
		snprintf(result + strlen(result), sizeof(result) - strlen(result), "!%d", csv->row_line);
	OK((r == PAY_CSV_BROKEN) == (csv->problem != NULL), "a problem is named when there is one");
	free(csv);
	free(copy);
	return result;
}

int
main(void)
{
	char		wide[3 * PAY_CSV_FIELDS_MAX];

	for (size_t i = 0; i < lengthof(cases); i++)
		OK(strcmp(read_all(cases[i].text, ','), cases[i].rows) == 0, "case %zu: %s", i, cases[i].text);
	OK(strcmp(read_all("a;b,c\n", ';'), "a|b,c/") == 0, "semicolons");
	OK(strcmp(read_all("a\tb\n", '\t'), "a|b/") == 0, "tabs");
	memset(wide, ',', sizeof(wide));
	wide[PAY_CSV_FIELDS_MAX - 1] = '\0';
	OK(strchr(read_all(wide, ','), '!') == NULL, "512 fields");
	wide[PAY_CSV_FIELDS_MAX - 1] = ',';
	wide[PAY_CSV_FIELDS_MAX] = '\0';
	OK(strcmp(read_all(wide, ','), "!1") == 0, "and no more");
	OK(pay_csv_separator("a,b;c,d\n;;;;", 12) == ',', "the first line's separator");
	OK(pay_csv_separator("a;b\n", 4) == ';' && pay_csv_separator("a\tb", 3) == '\t', "others");
	OK(pay_csv_separator("\"a;b;c\",d\n", 10) == ',', "not those in quotes");
	OK(pay_csv_separator("", 0) == ',', "of nothing, a comma");
	return tap_done();
}
