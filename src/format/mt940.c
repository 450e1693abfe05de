/*
 * src/format/mt940.c
 *		MT940, SWIFT's statement of a bank.
 *
 *		:20:	begins a statement			:25:	account
 *		:28C:	number of the statement		:60F:	opening balance (:60M: on later pages)
 *		:61:	an entry					:86:	its text, behind it
 *		:62F:	closing balance (:62M:)		:64: :65:	available balances, passed over
 *
 * Checked: opening + entries = closing.  A mark RC takes money (it reverses a
 * credit), RD brings some.  The text is free; of the two customs that are wide
 * spread, "?20" to "?63" of German banks and the code words of SEPA (EREF+,
 * SVWZ+, /EREF/, /REMI/), reference and remittance are taken out.
 */
#include "payments.h"

#include "format/bank.h"

#include "base/pan.h"

static PayFileResult broken(PayMt940 *file, const char *problem);
static char *next_line(PayMt940 *file);
static bool is_tag(const char *line, char *tag, char **value);
static PayFileResult read_tag(PayMt940 *file, const char *tag, char *value);
static void begin_statement(PayMt940 *file);
static PayFileResult end_statement(PayMt940 *file, PayBankRow *row);
static PayFileResult read_balance(PayMt940 *file, char *value, PayDecimal *out, PayMoment *date);
static PayFileResult read_entry(PayMt940 *file, char *value);
static PayFileResult end_entry(PayMt940 *file, PayBankRow *row);
static bool read_day(char **p, PayMoment *out);
static bool read_amount(char **p, PayDecimal *out);
static void read_details(PayMt940 *file);
static void read_subfields(PayMt940 *file, const char *text);
static void find_reference(PayMt940 *file);
static const char *find_word(const char *text, const char *word);

void
pay_mt940_open(PayMt940 *file, char *text, const char *original, size_t bytes)
{
	memset(file, 0, sizeof(*file));
	file->start = file->at = text;
	file->end = text + bytes;
	file->original = original;
	initStringInfo(&file->remittance);
	initStringInfo(&file->details);
	initStringInfo(&file->name);
	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		file->at += 3;
}

PayFileResult
pay_mt940_next(PayMt940 *file, PayBankRow *row)
{
	while (file->at < file->end)
	{
		char	   *before = file->at,
				   *line = next_line(file),
				   *value;
		char		tag[4];

		if (line == NULL)
			return broken(file, "there is a control character");
		if (is_tag(line, tag, &value))
		{
			bool		ends_entry = file->in_entry && strcmp(tag, "86") != 0;
			PayFileResult result;

			/* Such a tag ends the entry before it: tell that first, and come back to the tag. */
			if (ends_entry || (file->in_statement && strcmp(tag, "20") == 0))
			{
				for (char *c = before; c < file->at; c++)
					*c = file->original[c - file->start];
				file->at = before;
				file->line--;
				return ends_entry ? end_entry(file, row) : end_statement(file, row);
			}
			result = read_tag(file, tag, value);
			if (result == PAY_FILE_BROKEN)
				return result;
			if (file->in_entry)
				file->entry_end = file->at - file->start;
			continue;
		}
		if (!file->in_statement || *line == '\0' || strcmp(line, "-") == 0 || strcmp(line, "-}") == 0 || *line == '{')
			continue;
		if (strcmp(file->last_tag, "86") == 0 && file->in_entry)
			appendStringInfoString(&file->details, line);
		else if (strcmp(file->last_tag, "61") == 0 && file->in_entry)
			appendStringInfo(&file->remittance, "%s%s", file->remittance.len > 0 ? " " : "", line);
		else if (strcmp(file->last_tag, "86") != 0)
			return broken(file, "a line begins with no tag, and none before it goes on");
		if (file->in_entry)
			file->entry_end = file->at - file->start;
	}
	if (file->in_entry)
		return end_entry(file, row);
	if (file->in_statement)
		return end_statement(file, row);
	return file->statements > 0 ? PAY_FILE_END : broken(file, "the file has no statement");
}

static PayFileResult
broken(PayMt940 *file, const char *problem)
{
	return pay_file_broken(&file->problem, file->line, "%s", problem);
}

/* Cuts out a line; NULL when there is a NUL in it. */
static char *
next_line(PayMt940 *file)
{
	char	   *line = file->at,
			   *stop = memchr(line, '\n', file->end - line);

	file->line++;
	file->at = stop ? stop + 1 : file->end;
	if (stop == NULL)
		stop = file->end;
	if (memchr(line, '\0', stop - line) != NULL)
		return NULL;
	if (stop > line && stop[-1] == '\r')
		stop--;
	*stop = '\0';
	return line;
}

/* ":61:" or ":60F:" */
static bool
is_tag(const char *line, char *tag, char **value)
{
	int			n = 2;

	if (line[0] != ':' || line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9')
		return false;
	if (line[3] >= 'A' && line[3] <= 'Z')
		n = 3;
	if (line[n + 1] != ':')
		return false;
	memcpy(tag, line + 1, n);
	tag[n] = '\0';
	*value = unconstify(char *, line) + n + 2;
	return true;
}

static PayFileResult
read_tag(PayMt940 *file, const char *tag, char *value)
{
	strlcpy(file->last_tag, tag, sizeof(file->last_tag));
	if (strcmp(tag, "20") == 0)
	{
		begin_statement(file);
		file->statement.reference = value;
		return PAY_FILE_ROW;
	}
	if (!file->in_statement)
		return broken(file, "a tag stands before the first :20:");
	if (strcmp(tag, "25") == 0 || strcmp(tag, "25P") == 0)
		file->statement.account = *value ? value : NULL;
	else if (strcmp(tag, "28C") == 0 || strcmp(tag, "28") == 0)
		file->statement.statement_id = value;
	else if (strcmp(tag, "60F") == 0 || strcmp(tag, "60M") == 0)
	{
		if (file->books.opening.given)
			return broken(file, "a balance is given twice");
		return read_balance(file, value, &file->books.opening, &file->statement.opening_date);
	}
	else if (strcmp(tag, "62F") == 0 || strcmp(tag, "62M") == 0)
	{
		if (file->books.closing.given)
			return broken(file, "a balance is given twice");
		return read_balance(file, value, &file->books.closing, &file->statement.closing_date);
	}
	else if (strcmp(tag, "61") == 0)
	{
		if (!file->books.opening.given)
			return broken(file, "an entry stands before the opening balance");
		if (file->books.closing.given)
			return broken(file, "an entry stands behind the closing balance");
		file->entry_offset = value - 4 - file->start;
		return read_entry(file, value);
	}
	else if (strcmp(tag, "86") == 0 && file->in_entry)
	{
		if (file->details.len > 0)
			return broken(file, "an entry has two texts");
		appendStringInfoString(&file->details, value);
	}
	return PAY_FILE_ROW;
}

static void
begin_statement(PayMt940 *file)
{
	memset(&file->statement, 0, sizeof(file->statement));
	memset(&file->books, 0, sizeof(file->books));
	file->books.all_booked = true;
	file->statement.line = file->line;
	file->currency = NULL;
	file->in_statement = true;
	file->in_entry = false;
	file->statements++;
}

static PayFileResult
end_statement(PayMt940 *file, PayBankRow *row)
{
	file->in_statement = false;
	if (!file->books.opening.given || !file->books.closing.given || file->statement.account == NULL)
		return broken(file, "a statement has no account, opening or closing balance");
	if (pay_books_check(&file->books, &file->problem, file->statement.line) == PAY_FILE_BROKEN)
		return PAY_FILE_BROKEN;
	*row = file->statement;
	row->is_statement = true;
	row->statement_no = file->statements;
	row->currency = file->currency;
	row->opening = file->books.opening;
	row->closing = file->books.closing;
	row->entries = file->books.entries;
	return PAY_FILE_ROW;
}

/* C261122EUR1234,56 */
static PayFileResult
read_balance(PayMt940 *file, char *value, PayDecimal *out, PayMoment *date)
{
	char	   *p = value;
	int			sign = *p == 'C' ? 1 : *p == 'D' ? -1 : 0;

	if (sign == 0)
		return broken(file, "a balance is neither C nor D");
	p++;
	if (!read_day(&p, date))
		return broken(file, "the date of a balance is none");
	for (int i = 0; i < 3; i++)
		if (p[i] < 'A' || p[i] > 'Z')
			return broken(file, "the currency of a balance is none");
	if (file->currency && strncmp(file->currency, p, 3) != 0)
		return broken(file, "the balances are in two currencies");
	file->currency = p;
	p += 3;
	if (!read_amount(&p, out) || *p != '\0')
		return broken(file, "the amount of a balance is none");
	/* The amount is read; what ends the currency may go. */
	file->currency = memmove(value, file->currency, 3);
	value[3] = '\0';
	out->digits *= sign;
	return PAY_FILE_ROW;
}

/* value date [entry date] mark [funds code] amount type reference [//reference of the bank] */
static PayFileResult
read_entry(PayMt940 *file, char *value)
{
	PayBankRow *row = &file->entry;
	char	   *p = value,
			   *slashes;
	int			sign;

	memset(row, 0, sizeof(*row));
	resetStringInfo(&file->remittance);
	resetStringInfo(&file->details);
	resetStringInfo(&file->name);
	file->end_to_end_id[0] = '\0';
	row->line = file->line;
	if (!read_day(&p, &row->value_date))
		return broken(file, "the value date of an entry is none");
	row->booking_date = row->value_date;
	if (*p >= '0' && *p <= '9')
	{
		PayMoment  *day = &row->booking_date;

		for (int i = 0; i < 4; i++)
			if (p[i] < '0' || p[i] > '9')
				return broken(file, "the entry date of an entry is none");
		day->month = (p[0] - '0') * 10 + (p[1] - '0');
		day->day = (p[2] - '0') * 10 + (p[3] - '0');
		/* It has no year: the one that brings it near to the value date. */
		day->year += row->value_date.month - day->month > 6 ? 1 : day->month - row->value_date.month > 6 ? -1 : 0;
		if (!pay_date_exists(day->year, day->month, day->day))
			return broken(file, "the entry date of an entry is none");
		p += 4;
	}
	row->reversal = *p == 'R';
	if (*p == 'R' || *p == 'E')
		p++;
	sign = *p == 'C' ? 1 : *p == 'D' ? -1 : 0;
	if (sign == 0)
		return broken(file, "the mark of an entry is none of C, D, RC and RD");
	p++;
	if (row->reversal)
		sign = -sign;
	if (*p >= 'A' && *p <= 'Z')
		p++;					/* funds code */
	if (!read_amount(&p, &row->amount))
		return broken(file, "the amount of an entry is none");
	row->amount.digits *= sign;
	for (int i = 0; i < 4; i++)
		if (p[i] == '\0' || (i == 0 && strchr("NSF", *p) == NULL))
			return broken(file, "the transaction type of an entry is none");
	memcpy(file->code, p, 4);
	file->code[4] = '\0';
	p += 4;
	slashes = strstr(p, "//");
	if (slashes)
	{
		*slashes = '\0';
		row->bank_reference = slashes[2] ? slashes + 2 : NULL;
	}
	row->reference = *p && strcmp(p, "NONREF") != 0 ? p : NULL;
	row->currency = file->currency;
	row->code = file->code;
	file->in_entry = true;
	if (!pay_books_add(&file->books, &row->amount, true))
		return broken(file, "the amounts of its entries are too large");
	return PAY_FILE_ROW;
}

static PayFileResult
end_entry(PayMt940 *file, PayBankRow *row)
{
	file->in_entry = false;
	read_details(file);
	*row = file->entry;
	row->status = "booked";
	row->statement_no = file->statements;
	row->entry_no = file->books.entries;
	row->remittance = file->remittance.len > 0 ? file->remittance.data : NULL;
	row->counterparty = file->name.len > 0 ? file->name.data : NULL;
	row->end_to_end_id = file->end_to_end_id[0] ? file->end_to_end_id : NULL;
	row->hides = pay_pan_found(file->details.data, file->details.len);
	row->raw = file->original + file->entry_offset;
	row->raw_bytes = file->entry_end - file->entry_offset;
	return PAY_FILE_ROW;
}

/* Years of two digits: 1980 to 2079. */
static bool
read_day(char **p, PayMoment *out)
{
	int			n[3];

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < 3; i++)
	{
		const char *d = *p + 2 * i;

		if (d[0] < '0' || d[0] > '9' || d[1] < '0' || d[1] > '9')
			return false;
		n[i] = (d[0] - '0') * 10 + (d[1] - '0');
	}
	*p += 6;
	out->given = true;
	out->year = n[0] + (n[0] < 80 ? 2000 : 1900);
	out->month = n[1];
	out->day = n[2];
	return pay_date_exists(out->year, out->month, out->day);
}

/* Digits with a comma, which may be the last of it. */
static bool
read_amount(char **p, PayDecimal *out)
{
	char		text[PAY_DECIMAL_BYTES];
	size_t		n = strspn(*p, "0123456789,");

	if (n == 0 || n >= sizeof(text))
		return false;
	memcpy(text, *p, n);
	*p += n;
	if (text[n - 1] == ',')
		n--;
	text[n] = '\0';
	return pay_decimal_parse(text, ',', out) && out->given;
}

static void
read_details(PayMt940 *file)
{
	const char *text = file->details.data;

	/* "166?00..." : three digits, then fields that begin with the character behind them */
	if (file->details.len > 4 && strspn(text, "0123456789") == 3 && text[3] == '?')
		read_subfields(file, text + 3);
	else if (file->details.len > 0)
	{
		/* What stands below :61: is a supplement; the text proper replaces it. */
		resetStringInfo(&file->remittance);
		appendStringInfoString(&file->remittance, text);
	}
	find_reference(file);
}

/* 20 to 29 and 60 to 63 are remittance, 31 the other account, 32 and 33 its name. */
static void
read_subfields(PayMt940 *file, const char *text)
{
	resetStringInfo(&file->remittance);
	for (const char *p = text; p[0] == '?' && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9';)
	{
		int			field = (p[1] - '0') * 10 + (p[2] - '0');
		const char *stop;

		p += 3;
		for (stop = p; *stop != '\0'; stop++)
			if (stop[0] == '?' && stop[1] >= '0' && stop[1] <= '9' && stop[2] >= '0' && stop[2] <= '9')
				break;
		if ((field >= 20 && field <= 29) || (field >= 60 && field <= 63))
			appendBinaryStringInfo(&file->remittance, p, stop - p);
		else if (field == 32 || field == 33)
			appendBinaryStringInfo(&file->name, p, stop - p);
		else if (field == 31)
		{
			size_t		n = Min((size_t) (stop - p), sizeof(file->other_account) - 1);

			memcpy(file->other_account, p, n);
			file->other_account[n] = '\0';
			file->entry.counterparty_account = n > 0 ? file->other_account : NULL;
		}
		p = stop;
	}
}

/* EREF+... up to the next code word, or /EREF/... up to the next slash. */
static void
find_reference(PayMt940 *file)
{
	static const char *const words[] = {"EREF+", "KREF+", "MREF+", "CRED+", "DEBT+", "SVWZ+", "ABWA+", "ABWE+", "IBAN+", "BIC+", "PURP+"};
	const char *text = file->remittance.data,
			   *from,
			   *stop;
	size_t		n;

	if ((from = find_word(text, "EREF+")) != NULL)
	{
		stop = from + strlen(from);
		for (int i = 0; i < (int) lengthof(words); i++)
		{
			const char *next = strstr(from, words[i]);

			if (next && next < stop)
				stop = next;
		}
	}
	else if ((from = find_word(text, "/EREF/")) != NULL)
		stop = from + strcspn(from, "/");
	else
		return;
	while (stop > from && stop[-1] == ' ')
		stop--;
	n = Min((size_t) (stop - from), sizeof(file->end_to_end_id) - 1);
	memcpy(file->end_to_end_id, from, n);
	file->end_to_end_id[n] = '\0';
	if (strcmp(file->end_to_end_id, "NOTPROVIDED") == 0)
		file->end_to_end_id[0] = '\0';
}

/* Behind the word, NULL when it is not there. */
static const char *
find_word(const char *text, const char *word)
{
	const char *found = strstr(text, word);

	return found ? found + strlen(word) : NULL;
}
