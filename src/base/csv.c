/*
 * src/base/csv.c
 *		Reading CSV that others wrote: RFC 4180, strictly.
 *
 * Strictly, because a lenient reader moves amounts into other columns when a
 * quote is missing.  A field is quoted as a whole or not at all, a quote in it
 * is doubled, lines end in LF or CRLF, and a file that ends inside quotes is
 * broken.  Each byte is looked at once.
 *
 * That is why it is our own and not the reader of COPY, the only one that the
 * server has: that one takes a quote in the middle of a field, does not say in
 * which line a row begins, and reads for a table.
 */
#include "payments.h"

#include "base/csv.h"

static bool at_newline(const PayCsv *csv, const char *p);
static bool only_newlines(const PayCsv *csv);
static bool read_field(PayCsv *csv, bool *last);
static char *unquote(PayCsv *csv);
static PayCsvResult broken(PayCsv *csv, const char *problem);

void
pay_csv_open(PayCsv *csv, char *text, size_t bytes, char separator)
{
	csv->at = text;
	csv->end = text + bytes;
	csv->separator = separator;
	csv->line = 1;
	csv->row_line = 1;
	csv->n = 0;
	csv->problem = NULL;
	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		csv->at += 3;
}

PayCsvResult
pay_csv_next(PayCsv *csv)
{
	bool		last = false;

	csv->n = 0;
	csv->row_line = csv->line;
	if (only_newlines(csv))
		return PAY_CSV_END;
	while (!last)
	{
		if (csv->n == PAY_CSV_FIELDS_MAX)
			return broken(csv, "has more than 512 fields");
		if (!read_field(csv, &last))
			return PAY_CSV_BROKEN;
	}
	return PAY_CSV_ROW;
}

static bool
at_newline(const PayCsv *csv, const char *p)
{
	return p < csv->end && (*p == '\n' || (*p == '\r' && p + 1 < csv->end && p[1] == '\n'));
}

static bool
only_newlines(const PayCsv *csv)
{
	const char *p = csv->at;

	while (at_newline(csv, p))
		p += *p == '\r' ? 2 : 1;
	return p == csv->end;
}

/* One field and what ends it; *last: that was the line's end or the file's. */
static bool
read_field(PayCsv *csv, bool *last)
{
	char	   *start = csv->at,
			   *stop;

	if (start < csv->end && *start == '"')
	{
		stop = unquote(csv);
		if (stop == NULL)
			return false;
		start++;
	}
	else
	{
		while (csv->at < csv->end && *csv->at != csv->separator && !at_newline(csv, csv->at))
		{
			if (*csv->at == '"')
				return broken(csv, "has a quote inside a field that is not quoted") == PAY_CSV_ROW;
			if (*csv->at == '\r' || *csv->at == '\0')
				return broken(csv, "has a control character outside quotes") == PAY_CSV_ROW;
			csv->at++;
		}
		stop = csv->at;
	}
	csv->fields[csv->n++] = start;
	*last = csv->at == csv->end || *csv->at != csv->separator;
	if (csv->at < csv->end)
	{
		if (*last)
			csv->line++;
		csv->at += *csv->at == '\r' ? 2 : 1;
	}
	*stop = '\0';
	return true;
}

/* Moves the field over its quotes and goes behind the closing one.  Returns its end, NULL when it is broken. */
static char *
unquote(PayCsv *csv)
{
	char	   *to = csv->at + 1,
			   *from = to;

	for (;; from++)
	{
		if (from >= csv->end)
		{
			broken(csv, "begins a quoted field that does not end");
			return NULL;
		}
		if (*from == '\0')
		{
			broken(csv, "has a control character in a field");
			return NULL;
		}
		if (*from == '"')
		{
			if (from + 1 >= csv->end || from[1] != '"')
				break;
			from++;
		}
		else if (*from == '\n')
			csv->line++;
		*to++ = *from;
	}
	csv->at = from + 1;
	if (csv->at < csv->end && *csv->at != csv->separator && !at_newline(csv, csv->at))
	{
		broken(csv, "has text behind a quoted field");
		return NULL;
	}
	return to;
}

static PayCsvResult
broken(PayCsv *csv, const char *problem)
{
	csv->problem = problem;
	csv->at = csv->end;
	return PAY_CSV_BROKEN;
}

char
pay_csv_separator(const char *text, size_t bytes)
{
	static const char candidates[] = {',', ';', '\t'};
	int			seen[lengthof(candidates)] = {0};
	bool		quoted = false;
	int			best = 0;

	for (size_t i = 0; i < bytes && (quoted || text[i] != '\n'); i++)
	{
		if (text[i] == '"')
			quoted = !quoted;
		for (int c = 0; !quoted && c < (int) lengthof(candidates); c++)
			seen[c] += text[i] == candidates[c];
	}
	for (int c = 1; c < (int) lengthof(candidates); c++)
		if (seen[c] > seen[best])
			best = c;
	return candidates[best];
}
