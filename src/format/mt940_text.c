/*
 * src/format/mt940_text.c
 *		The text of an entry of MT940, which is free.
 *
 * Three customs are wide spread, and what they say of the other side and of the
 * payment is taken out; the rest is remittance as it stands.
 *
 *		166?00...?20...			fields of two digits, of German and Polish banks;
 *								the sign before them differs
 *		EREF+... SVWZ+...		SEPA's code words, also inside these fields
 *		/EREF/.../REMI/...		the same, of Dutch banks and others
 */
#include "payments.h"

#include "format/bank.h"

static bool ends_in_blank(StringInfo text);
static bool begins_fields(const char *text, const char **fields);
static void read_fields(const char *fields, StringInfo remittance, PayMt940Text *text);
static bool is_field(const char *p, char sign);
static void read_words(PayMt940Text *text);
static bool find_value(const char *text, const char *word, const char **from, size_t *bytes);
static const char *next_word(const char *from, char style);
static void read_counterparty(const char *from, size_t bytes, PayMt940Text *text);
static void set(char *field, size_t room, const char *from, size_t bytes);

/* What may stand before the two digits of a field. */
#define FIELD_SIGNS "?<>^~!|@#"

/* Banks break a line at 65 characters, some counting the tag.  A shorter one has ended by itself. */
#define FULL_LINE 60

static const char *const words[] = {
	"EREF", "KREF", "MREF", "CRED", "DEBT", "COAM", "OAMT", "SVWZ", "ABWA", "ABWE", "ANAM", "IBAN", "BIC", "PURP", "RREF", "BREF",
	"NAME", "REMI", "TRTP", "ORDP", "BENM", "CNTP", "MARF", "CSID", "ISDT", "TRCD", "ADDR", "ULTB", "ULTD", "UDTR", "UCRD", "RTRN",
	"PREF", "CREF", "OCMT", "CHGS", "EXCH", "ACCW", "BBAN", "OSDR", "SVCL", "BUSP",
};

void
pay_mt940_text_add(StringInfo details, char *value)
{
	const char *fields;
	bool		first = details->len == 0;

	if (!first && !begins_fields(details->data, &fields))
		appendStringInfoChar(details, ' ');
	while (*value != '\0')
	{
		size_t		n = strcspn(value, "\n");

		appendBinaryStringInfo(details, value, n);
		value += n;
		if (*value == '\0')
			break;
		value++;
		if (!begins_fields(details->data, &fields) && n + (first ? 4 : 0) < FULL_LINE && !ends_in_blank(details))
			appendStringInfoChar(details, ' ');
		first = false;
	}
	while (ends_in_blank(details))
		details->data[--details->len] = '\0';
}

static bool
ends_in_blank(StringInfo text)
{
	return text->len > 0 && text->data[text->len - 1] == ' ';
}

void
pay_mt940_text_read(const char *details, PayMt940Text *text)
{
	const char *fields;

	resetStringInfo(&text->remittance);
	resetStringInfo(&text->name);
	text->account[0] = text->end_to_end_id[0] = '\0';
	if (begins_fields(details, &fields))
		read_fields(fields, &text->remittance, text);
	else
		appendStringInfoString(&text->remittance, details);
	read_words(text);
}

/* Up to three digits, and a field. */
static bool
begins_fields(const char *text, const char **fields)
{
	if (*text == ' ')
		text++;
	for (int digits = 0; digits < 3 && *text >= '0' && *text <= '9'; digits++)
		text++;
	*fields = text;
	return *text != '\0' && strchr(FIELD_SIGNS, *text) != NULL && is_field(text, *text);
}

static bool
is_field(const char *p, char sign)
{
	return p[0] == sign && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9';
}

/* 20 to 29 and 60 to 63 are remittance, 31 and 38 the other account, 32 and 33 its name. */
static void
read_fields(const char *fields, StringInfo remittance, PayMt940Text *text)
{
	char		sign = *fields;

	for (const char *p = fields; *p != '\0';)
	{
		int			field = (p[1] - '0') * 10 + (p[2] - '0');
		const char *stop;

		p += 3;
		for (stop = p; *stop != '\0' && !is_field(stop, sign); stop++)
			;
		if ((field >= 20 && field <= 29) || (field >= 60 && field <= 63))
			appendBinaryStringInfo(remittance, p, stop - p);
		else if (field == 32 || field == 33)
			appendBinaryStringInfo(&text->name, p, stop - p);
		else if (field == 31 || field == 38)
			set(text->account, sizeof(text->account), p, stop - p);
		p = stop;
	}
}

static void
read_words(PayMt940Text *text)
{
	const char *from;
	size_t		bytes;

	if (find_value(text->remittance.data, "EREF", &from, &bytes))
		set(text->end_to_end_id, sizeof(text->end_to_end_id), from, bytes);
	if (strcmp(text->end_to_end_id, "NOTPROVIDED") == 0)
		text->end_to_end_id[0] = '\0';
	if (text->account[0] == '\0' && find_value(text->remittance.data, "IBAN", &from, &bytes))
		set(text->account, sizeof(text->account), from, bytes);
	if (text->name.len == 0 && find_value(text->remittance.data, "NAME", &from, &bytes))
		appendBinaryStringInfo(&text->name, from, bytes);
	if (find_value(text->remittance.data, "CNTP", &from, &bytes))
		read_counterparty(from, bytes, text);
}

/* Behind "/WORD/" or "WORD+" up to the next word of the same style, without what is around it. */
static bool
find_value(const char *text, const char *word, const char **from, size_t *bytes)
{
	char		slashes[8],
				plus[8];
	const char *found,
			   *stop;
	char		style = '/';

	snprintf(slashes, sizeof(slashes), "/%s/", word);
	snprintf(plus, sizeof(plus), "%s+", word);
	if ((found = strstr(text, slashes)) != NULL)
		found += strlen(slashes);
	else if ((found = strstr(text, plus)) != NULL)
	{
		found += strlen(plus);
		style = '+';
	}
	else
		return false;
	stop = next_word(found, style);
	while (stop > found && (stop[-1] == ' ' || (style == '/' && stop[-1] == '/')))
		stop--;
	while (found < stop && *found == ' ')
		found++;
	*from = found;
	*bytes = stop - found;
	return true;
}

/* The words are so short that one pass over the text will do. */
static const char *
next_word(const char *from, char style)
{
	for (; *from != '\0'; from++)
	{
		const char *p = style == '/' ? from + 1 : from;

		if (style == '/' ? *from != '/' : *from < 'A' || *from > 'Z')
			continue;
		for (int i = 0; i < (int) lengthof(words); i++)
		{
			size_t		n = strlen(words[i]);

			if (strncmp(p, words[i], n) == 0 && p[n] == style)
				return from;
		}
	}
	return from;
}

/* ING: account/BIC/name/city */
static void
read_counterparty(const char *from, size_t bytes, PayMt940Text *text)
{
	for (int part = 0; part < 3; part++)
	{
		const char *slash = memchr(from, '/', bytes);
		size_t		n = slash ? (size_t) (slash - from) : bytes;

		if (part == 0 && text->account[0] == '\0')
			set(text->account, sizeof(text->account), from, n);
		if (part == 2 && text->name.len == 0)
			appendBinaryStringInfo(&text->name, from, n);
		if (slash == NULL)
			break;
		from += n + 1;
		bytes -= n + 1;
	}
}

static void
set(char *field, size_t room, const char *from, size_t bytes)
{
	bytes = Min(bytes, room - 1);
	memcpy(field, from, bytes);
	field[bytes] = '\0';
}
