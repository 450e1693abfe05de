/*
 * src/format/mt940.c
 *		MT940, SWIFT's statement of a bank.
 *
 *		:20:	begins a statement			:25:	account
 *		:28C:	number of the statement		:60F:	opening balance (:60M: on later pages)
 *		:61:	an entry					:86:	its text, behind it
 *		:62F:	closing balance (:62M:)		:64: :65:	available balances, passed over
 *
 * Strict in what it comes to: opening + entries = closing, and neither balance
 * may be missing.  Lenient in dress, which differs from bank to bank: what stands
 * between messages, blanks, a field that goes on in the next line.  For that a
 * field is read as a whole before anything looks at it.
 *
 * A mark RC takes money (it reverses a credit), RD brings some.
 */
#include "payments.h"

#include "format/bank.h"

#include "base/pan.h"

static PayFileResult broken(PayMt940 *file, const char *problem);
static PayFileResult next_field(PayMt940 *file);
static bool find_tag(const PayMt940 *file, char *line, PayMt940Field *field);
static char *find_dress(const PayMt940 *file, char *line);
static bool ends_message(PayMt940 *file, char *line);
static void look_ahead(PayMt940 *file, char *line);
static void cut_line(PayMt940 *file, char **line, char **stop);
static char *line_behind(const PayMt940 *file, char *line);
static PayFileResult read_field(PayMt940 *file);
static void begin_statement(PayMt940 *file);
static PayFileResult end_statement(PayMt940 *file, PayBankRow *row);
static void join_lines(char *value);
static PayFileResult read_balance(PayMt940 *file, char *value, PayDecimal *out, PayMoment *date);
static PayFileResult read_entry(PayMt940 *file, char *value);
static const char *parse_entry(PayMt940 *file, char *value);
static void read_references(PayMt940 *file, char *p);
static const char *reference(char *text);
static PayFileResult end_entry(PayMt940 *file, PayBankRow *row);
static bool read_day(char **p, PayMoment *out);
static bool read_entry_day(char **p, const PayMoment *value_date, PayMoment *out);
static void at_month_end(PayMoment *date);
static bool two_digits(const char *p, int *out);
static bool read_amount(char **p, PayDecimal *out);
static char *trimmed(char *text);

/* All tags that a statement may have; what else looks like one is text. */
static const char *const tags[] = {
	"20", "21", "25", "25P", "28", "28C", "60F", "60M", "61", "62F", "62M", "64", "65", "86",
	"13", "13D", "34F", "90C", "90D",
	"NS",						/* of German banks: what is not SWIFT's */
};

void
pay_mt940_open(PayMt940 *file, char *text, const char *original, size_t bytes)
{
	memset(file, 0, sizeof(*file));
	file->start = file->at = text;
	file->end = text + bytes;
	file->original = original;
	file->line = 1;
	initStringInfo(&file->supplement);
	initStringInfo(&file->details);
	initStringInfo(&file->text.remittance);
	initStringInfo(&file->text.name);
}

PayFileResult
pay_mt940_next(PayMt940 *file, PayBankRow *row)
{
	for (;;)
	{
		PayFileResult result = file->has_field ? PAY_FILE_ROW : next_field(file);

		if (result == PAY_FILE_BROKEN)
			return result;
		file->has_field = result == PAY_FILE_ROW;
		/* What is no text of an entry ends it, and :20: the statement: told first, while the field waits. */
		if (file->in_entry && !(file->has_field && strcmp(file->field.tag, "86") == 0))
			return end_entry(file, row);
		if (file->in_statement && !(file->has_field && strcmp(file->field.tag, "20") != 0))
			return end_statement(file, row);
		if (result == PAY_FILE_END)
			return file->statements > 0 ? PAY_FILE_END : broken(file, "the file has no statement");
		file->has_field = false;
		if (read_field(file) == PAY_FILE_BROKEN)
			return PAY_FILE_BROKEN;
	}
}

static PayFileResult
broken(PayMt940 *file, const char *problem)
{
	return pay_file_broken(&file->problem, file->field.line, "%s", problem);
}

/* ---------- fields ---------- */

/* Reads the next field, and passes over what stands before it. */
static PayFileResult
next_field(PayMt940 *file)
{
	PayMt940Field *field = &file->field;
	char	   *line,
			   *stop,
			   *to;
	bool		first = true;

	for (; file->at < file->end && !find_tag(file, file->at, field); cut_line(file, &line, &stop))
		;
	if (file->at == file->end)
		return PAY_FILE_END;
	field->line = file->line;
	field->offset = find_dress(file, file->at) - file->start;
	field->offset_end = field->offset;
	to = field->value;
	for (; file->at < file->end && (first || (!find_tag(file, file->at, NULL) && !ends_message(file, file->at))); first = false)
	{
		cut_line(file, &line, &stop);
		if (first)
			line = Min(field->value, stop);
		if (memchr(line, '\0', stop - line) != NULL)
			return broken(file, "there is a control character");
		if (stop == line && !first)
			continue;
		/* In a text the one blank before a break may be between two words. */
		if (stop < file->at && *stop == ' ' && strcmp(field->tag, "86") == 0)
			stop++;
		if (!first)
			*to++ = '\n';
		memmove(to, line, stop - line);
		to += stop - line;
		field->offset_end = stop - file->start;
	}
	/* What is behind was read, or is the newline. */
	*to = '\0';
	return PAY_FILE_ROW;
}

/* Does ":61:" or ":60F:" begin here?  field: where it goes, or NULL. */
static bool
find_tag(const PayMt940 *file, char *line, PayMt940Field *field)
{
	char	   *p = find_dress(file, line);
	int			n = 0;

	if (*p++ != ':')
		return false;
	while (n < 3 && ((p[n] >= '0' && p[n] <= '9') || (p[n] >= 'A' && p[n] <= 'Z')))
		n++;
	for (int i = 0; i < (int) lengthof(tags); i++)
	{
		char	   *behind = p + n;

		if ((int) strlen(tags[i]) != n || memcmp(tags[i], p, n) != 0)
			continue;
		while (*behind == ' ')
			behind++;
		if (*behind != ':')
			return false;
		if (field)
		{
			strlcpy(field->tag, tags[i], sizeof(field->tag));
			field->value = behind + 1;
		}
		return true;
	}
	return false;
}

/* Behind the control characters and the byte order mark that a line may begin with. */
static char *
find_dress(const PayMt940 *file, char *line)
{
	while (line < file->end && (*line == '\xef' || (*line > '\0' && *line < ' ' && *line != '\n')))
	{
		if (*line != '\xef')
			line++;
		else if (file->end - line >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
			line += 3;
		else
			break;
	}
	return line;
}

/*
 * "-}", or "{1:" of the next message, or the header of another system's.  A dash
 * alone as well, unless it is a line of a text, which others follow.
 */
static bool
ends_message(PayMt940 *file, char *line)
{
	char	   *p = find_dress(file, line);

	while (*p == ' ')
		p++;
	if (strncmp(p, "-}", 2) == 0 || strncmp(p, "{1:", 3) == 0 || strncmp(p, ":940:", 5) == 0)
		return true;
	if (*p++ != '-')
		return false;
	while (p < file->end && *p > '\0' && *p <= ' ' && *p != '\n')
		p++;
	if (p < file->end && *p != '\n')
		return false;
	look_ahead(file, line);
	return file->next_tag == file->end || file->next_begins;
}

/* Finds the field behind this line, once for all lines before it. */
static void
look_ahead(PayMt940 *file, char *line)
{
	PayMt940Field field;

	if (file->next_tag != NULL && line < file->next_tag)
		return;
	while (line < file->end && !find_tag(file, line, &field))
		line = line_behind(file, line);
	file->next_tag = line;
	file->next_begins = line < file->end && strcmp(field.tag, "20") == 0;
}

static char *
line_behind(const PayMt940 *file, char *line)
{
	char	   *newline = memchr(line, '\n', file->end - line);

	return newline ? newline + 1 : file->end;
}

/* Goes behind a line; it ends before the blanks at its end. */
static void
cut_line(PayMt940 *file, char **line, char **stop)
{
	*line = file->at;
	file->at = line_behind(file, file->at);
	file->line++;
	*stop = file->at;
	while (*stop > *line && (*stop)[-1] > '\0' && (*stop)[-1] <= ' ')
		(*stop)--;
}

static PayFileResult
read_field(PayMt940 *file)
{
	const char *tag = file->field.tag;
	char	   *value = file->field.value;

	if (strcmp(tag, "20") == 0)
	{
		begin_statement(file);
		join_lines(value);
		file->statement.reference = value;
		return PAY_FILE_ROW;
	}
	if (!file->in_statement)
		return broken(file, "a tag stands before the first :20:");
	if (strcmp(tag, "25") == 0 || strcmp(tag, "25P") == 0)
	{
		join_lines(value);
		/* A payer's text that the bank has broken off may look like one. */
		if (file->statement.account)
			return broken(file, "an account is given twice in a statement");
		file->statement.account = *value ? value : NULL;
	}
	else if (strcmp(tag, "28C") == 0 || strcmp(tag, "28") == 0)
	{
		join_lines(value);
		file->statement.statement_id = value;
	}
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
			return broken(file, "an entry stands before the opening balance; MT942, which has none, is not read");
		if (file->books.closing.given)
			return broken(file, "an entry stands behind the closing balance");
		file->entry_offset = file->field.offset;
		file->entry_end = file->field.offset_end;
		return read_entry(file, value);
	}
	else if (strcmp(tag, "86") == 0 && file->in_entry)
	{
		file->entry_end = file->field.offset_end;
		pay_mt940_text_add(&file->details, value);
	}
	return PAY_FILE_ROW;
}

static void
join_lines(char *value)
{
	char	   *to = value;

	for (; *value != '\0'; value++)
		if (*value != '\n')
			*to++ = *value;
	*to = '\0';
}

/* ---------- statements ---------- */

static void
begin_statement(PayMt940 *file)
{
	memset(&file->statement, 0, sizeof(file->statement));
	memset(&file->books, 0, sizeof(file->books));
	file->books.all_booked = true;
	file->statement.line = file->field.line;
	file->currency = NULL;
	file->in_statement = true;
	file->statements++;
}

static PayFileResult
end_statement(PayMt940 *file, PayBankRow *row)
{
	file->in_statement = false;
	if (!file->books.opening.given || !file->books.closing.given || file->statement.account == NULL)
		return file->has_field ?
			pay_file_broken(&file->problem, file->statement.line, "a statement has no account, opening or closing balance before the next begins in line %d", file->field.line) :
			pay_file_broken(&file->problem, file->statement.line, "a statement has no account, opening or closing balance");
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
	int			sign;

	join_lines(value);
	sign = *p == 'C' ? 1 : *p == 'D' ? -1 : 0;
	if (sign == 0)
		return broken(file, "a balance is neither C nor D");
	p++;
	if (!read_day(&p, date))
		return broken(file, "the date of a balance is none");
	/* A closing balance may leave it out. */
	if (file->currency == NULL || *p < '0' || *p > '9')
	{
		for (int i = 0; i < 3; i++)
			if (p[i] < 'A' || p[i] > 'Z')
				return broken(file, "the currency of a balance is none");
		if (file->currency && strncmp(file->currency, p, 3) != 0)
			return broken(file, "the balances are in two currencies");
		file->currency = p;
		p += 3;
	}
	if (!read_amount(&p, out) || *p != '\0')
		return broken(file, "the amount of a balance is none");
	/* The amount is read; what ends the currency may go. */
	file->currency = memmove(value, file->currency, 3);
	value[3] = '\0';
	out->digits *= sign;
	return PAY_FILE_ROW;
}

/* ---------- entries ---------- */

/* Lines of which an entry itself may be made; what is below is a supplement. */
#define ENTRY_LINES_MAX 3

static PayFileResult
read_entry(PayMt940 *file, char *value)
{
	const char *problem;

	for (int lines = 1;; lines++)
	{
		char	   *newline = strchr(value, '\n');

		if (newline)
			*newline = '\0';
		problem = parse_entry(file, value);
		if (problem == NULL)
		{
			resetStringInfo(&file->supplement);
			if (newline)
				pay_mt940_text_add(&file->supplement, newline + 1);
			break;
		}
		if (newline == NULL || lines == ENTRY_LINES_MAX)
			return broken(file, problem);
		/* The line broke off: over to the next one. */
		value = memmove(value + 1, value, newline - value);
	}
	resetStringInfo(&file->details);
	file->in_entry = true;
	if (!pay_books_add(&file->books, &file->entry.amount, true))
		return broken(file, "the amounts of its entries are too large");
	return PAY_FILE_ROW;
}

/* value date [entry date] mark [funds code] amount type reference [//reference of the bank].  Returns what is wrong, and changes nothing then. */
static const char *
parse_entry(PayMt940 *file, char *value)
{
	PayBankRow *row = &file->entry;
	char	   *p = value;
	int			sign;

	memset(row, 0, sizeof(*row));
	row->line = file->field.line;
	row->currency = file->currency;
	if (!read_day(&p, &row->value_date))
		return "the value date of an entry is none";
	if (!read_entry_day(&p, &row->value_date, &row->booking_date))
		return "the entry date of an entry is none";
	row->reversal = *p == 'R';
	if (*p == 'R' || *p == 'E')
		p++;
	sign = *p == 'C' ? 1 : *p == 'D' ? -1 : 0;
	if (sign == 0)
		return "the mark of an entry is none of C, D, RC and RD";
	p++;
	if (row->reversal)
		sign = -sign;
	if (*p >= 'A' && *p <= 'Z')
		p++;					/* funds code */
	if (!read_amount(&p, &row->amount))
		return "the amount of an entry is none";
	row->amount.digits *= sign;
	while (*p == ' ')
		p++;
	/* Some banks leave the type out. */
	if (strncmp(p, "//", 2) != 0 && strncmp(p, "NONREF", 6) != 0)
	{
		size_t		n = strnlen(p, 4);

		if (n < 2 || strchr("NSF", *p) == NULL)
			return "the transaction type of an entry is none";
		memcpy(file->code, p, n);
		file->code[n] = '\0';
		row->code = trimmed(file->code);
		p += n;
	}
	read_references(file, p);
	return NULL;
}

static void
read_references(PayMt940 *file, char *p)
{
	PayBankRow *row = &file->entry;
	char	   *slashes = strstr(p, "//"),
			   *gap;

	if (slashes)
	{
		*slashes = '\0';
		row->bank_reference = reference(slashes + 2);
	}
	/* Rabobank has the name of the other side behind it, in columns. */
	gap = *p == ' ' ? NULL : strstr(p, "  ");
	if (gap)
	{
		*gap = '\0';
		row->counterparty = trimmed(gap + 1);
	}
	row->reference = reference(p);
}

static const char *
reference(char *text)
{
	text = trimmed(text);
	return *text && strcmp(text, "NONREF") != 0 ? text : NULL;
}

static PayFileResult
end_entry(PayMt940 *file, PayBankRow *row)
{
	/* What stands below :61: is a supplement; the text proper replaces it. */
	PayMt940Text *text = &file->text;

	file->in_entry = false;
	pay_mt940_text_read(file->details.len > 0 ? file->details.data : file->supplement.data, text);
	*row = file->entry;
	row->status = "booked";
	row->statement_no = file->statements;
	row->entry_no = file->books.entries;
	row->remittance = text->remittance.len > 0 ? text->remittance.data : NULL;
	if (text->name.len > 0)
		row->counterparty = text->name.data;
	row->counterparty_account = text->account[0] ? text->account : NULL;
	row->end_to_end_id = text->end_to_end_id[0] ? text->end_to_end_id : NULL;
	row->hides = pay_pan_found(file->details.data, file->details.len) || pay_pan_found(file->supplement.data, file->supplement.len);
	row->raw = file->original + file->entry_offset;
	row->raw_bytes = file->entry_end - file->entry_offset;
	return PAY_FILE_ROW;
}

/* ---------- values ---------- */

/* Years of two digits: 1980 to 2079. */
static bool
read_day(char **p, PayMoment *out)
{
	memset(out, 0, sizeof(*out));
	if (!two_digits(*p, &out->year) || !two_digits(*p + 2, &out->month) || !two_digits(*p + 4, &out->day))
		return false;
	*p += 6;
	out->given = true;
	out->year += out->year < 80 ? 2000 : 1900;
	at_month_end(out);
	return pay_date_exists(out->year, out->month, out->day);
}

/* Four digits, or blanks for the value date.  It has no year: the one that brings it near to that. */
static bool
read_entry_day(char **p, const PayMoment *value_date, PayMoment *out)
{
	*out = *value_date;
	if (strncmp(*p, "    ", 4) == 0)
	{
		*p += 4;
		return true;
	}
	if (**p < '0' || **p > '9')
		return true;
	if (!two_digits(*p, &out->month) || !two_digits(*p + 2, &out->day))
		return false;
	*p += 4;
	out->year += value_date->month - out->month > 6 ? 1 : out->month - value_date->month > 6 ? -1 : 0;
	at_month_end(out);
	return pay_date_exists(out->year, out->month, out->day);
}

/* Where a year has twelve months of thirty days, interest is booked on 30 February: the last day of it. */
static void
at_month_end(PayMoment *date)
{
	while (date->month == 2 && (date->day == 29 || date->day == 30) && !pay_date_exists(date->year, date->month, date->day))
		date->day--;
}

static bool
two_digits(const char *p, int *out)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*out = (p[0] - '0') * 10 + (p[1] - '0');
	return true;
}

/* Digits with a comma, which may be the last of it; or with a point, but for three digits behind it, which may be thousands. */
static bool
read_amount(char **p, PayDecimal *out)
{
	char		text[PAY_DECIMAL_BYTES];
	size_t		n = strspn(*p, "0123456789,."),
				digits = strspn(*p, "0123456789");
	char		sign = (*p)[digits];

	if (n == 0 || n >= sizeof(text) || (sign == '.' && n - digits == 4))
		return false;
	memcpy(text, *p, n);
	*p += n;
	if (text[n - 1] == sign)
		n--;
	text[n] = '\0';
	/* ",50" is half of one. */
	if (digits == 0 && n > 1 && n + 1 < sizeof(text))
	{
		memmove(text + 1, text, n + 1);
		*text = '0';
	}
	return pay_decimal_parse(text, sign == '.' ? '.' : ',', out) && out->given;
}

/* Without blanks around it. */
static char *
trimmed(char *text)
{
	size_t		n;

	while (*text == ' ')
		text++;
	n = strlen(text);
	while (n > 0 && text[n - 1] == ' ')
		text[--n] = '\0';
	return text;
}
