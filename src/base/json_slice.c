/*
 * src/base/json_slice.c
 *		Taking a page of JSON apart without reading what is in it.
 *
 * Every function moves forward only and stays below `end`.  Nesting is a
 * stack of bits, so nothing here recurses.
 */
#include "payments.h"

#include "base/json_slice.h"

#include <string.h>

static const char *skip_space(const char *p, const char *end);
static const char *skip_string(const char *p, const char *end);
static const char *skip_value(const char *p, const char *end);
static bool hex4(const char *p, const char *end, unsigned *value);
static bool unescape(const char **p, const char *end, char **text);
static void put_utf8(unsigned point, char **text);

void
pay_slice_clean(char *text, size_t bytes)
{
	char	   *end = text + bytes;

	for (char *p = text; p < end; p++)
	{
		unsigned	unit,
					low;

		if (*p != '\\')
			continue;
		p++;					/* the escape's letter; a backslash too is none that begins another */
		if (p >= end || *p != 'u' || !hex4(p + 1, end, &unit))
			continue;
		if (unit >= 0xd800 && unit <= 0xdbff && end - p > 6 && p[5] == '\\' && p[6] == 'u' &&
			hex4(p + 7, end, &low) && low >= 0xdc00 && low <= 0xdfff)
			p += 10;			/* a whole pair */
		else
		{
			if (unit == 0 || (unit >= 0xd800 && unit <= 0xdfff))
				memcpy(p + 1, "fffd", 4);
			p += 4;
		}
	}
}

static bool
hex4(const char *p, const char *end, unsigned *value)
{
	*value = 0;
	if (end - p < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];
		unsigned	digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned) (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (unsigned) ((c | 0x20) - 'a') + 10;
		else
			return false;
		*value = *value * 16 + digit;
	}
	return true;
}

PaySliceResult
pay_slice_member(PaySlice object, const char *name, PaySlice *value)
{
	PaySlice	found;

	if (!pay_slice_members(object, &name, &found, 1))
		return PAY_SLICE_BROKEN;
	if (found.at == NULL)
		return PAY_SLICE_END;
	*value = found;
	return PAY_SLICE_FOUND;
}

bool
pay_slice_members(PaySlice object, const char *const *names, PaySlice *values, int n)
{
	const char *end = object.at + object.bytes;
	const char *p = skip_space(object.at, end);
	bool		first = true;

	memset(values, 0, sizeof(PaySlice) * n);
	if (p == end || *p++ != '{')
		return false;
	for (;; first = false)
	{
		const char *key,
				   *key_end,
				   *from;

		p = skip_space(p, end);
		if (p < end && *p == '}' && first)
			break;
		key = p;
		p = key_end = skip_string(p, end);
		if (p == NULL)
			return false;
		p = skip_space(p, end);
		if (p == end || *p != ':')
			return false;
		from = skip_space(p + 1, end);
		p = skip_value(from, end);
		if (p == NULL)
			return false;
		for (int i = 0; i < n; i++)
			if ((size_t) (key_end - key) == strlen(names[i]) + 2 && memcmp(key + 1, names[i], strlen(names[i])) == 0)
				values[i] = (PaySlice) {from, (size_t) (p - from)};
		p = skip_space(p, end);
		if (p == end || (*p != ',' && *p != '}'))
			return false;
		if (*p == '}')
			break;
		p++;
	}
	return skip_space(p + 1, end) == end;
}

PaySliceResult
pay_slice_element(PaySlice array, size_t *at, PaySlice *element)
{
	const char *end = array.at + array.bytes;
	const char *p = array.at + *at;
	const char *from;
	bool		first = *at == 0;

	p = skip_space(p, end);
	if (p == end || (first ? *p != '[' : *p != ',' && *p != ']'))
		return PAY_SLICE_BROKEN;
	if (first || *p == ',')
	{
		from = skip_space(p + 1, end);
		if (!first || from == end || *from != ']')
		{
			p = skip_value(from, end);
			if (p == NULL)
				return PAY_SLICE_BROKEN;
			*element = (PaySlice) {from, (size_t) (p - from)};
			*at = (size_t) (p - array.at);
			return PAY_SLICE_FOUND;
		}
		p = from;
	}
	return skip_space(p + 1, end) == end ? PAY_SLICE_END : PAY_SLICE_BROKEN;
}

bool
pay_slice_is(PaySlice value, const char *word)
{
	return value.bytes == strlen(word) && memcmp(value.at, word, value.bytes) == 0;
}

bool
pay_slice_string(PaySlice value, char *text)
{
	const char *p = value.at + 1,
			   *end = value.at + value.bytes - 1;

	if (value.bytes < 2 || value.at[0] != '"' || *end != '"')
		return false;
	while (p < end)
	{
		if ((unsigned char) *p < 0x20)
			return false;
		if (*p != '\\')
			*text++ = *p++;
		else if (!unescape(&p, end, &text))
			return false;
	}
	*text = '\0';
	return true;
}

/* One escape at *p.  What it stands for is never longer than it is. */
static bool
unescape(const char **p, const char *end, char **text)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const char *letter;
	unsigned	unit,
				low;

	if (end - *p < 2)
		return false;
	letter = (*p)[1] != '\0' ? strchr(letters, (*p)[1]) : NULL;
	if (letter)
	{
		*(*text)++ = meant[letter - letters];
		*p += 2;
		return true;
	}
	if ((*p)[1] != 'u' || !hex4(*p + 2, end, &unit) || unit == 0)
		return false;
	*p += 6;
	if (unit >= 0xd800 && unit <= 0xdfff)
	{
		if (unit > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u' || !hex4(*p + 2, end, &low) || low < 0xdc00 || low > 0xdfff)
			return false;
		unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
		*p += 6;
	}
	put_utf8(unit, text);
	return true;
}

static void
put_utf8(unsigned point, char **text)
{
	if (point < 0x80)
		*(*text)++ = (char) point;
	else if (point < 0x800)
	{
		*(*text)++ = (char) (0xc0 | point >> 6);
		*(*text)++ = (char) (0x80 | (point & 0x3f));
	}
	else if (point < 0x10000)
	{
		*(*text)++ = (char) (0xe0 | point >> 12);
		*(*text)++ = (char) (0x80 | (point >> 6 & 0x3f));
		*(*text)++ = (char) (0x80 | (point & 0x3f));
	}
	else
	{
		*(*text)++ = (char) (0xf0 | point >> 18);
		*(*text)++ = (char) (0x80 | (point >> 12 & 0x3f));
		*(*text)++ = (char) (0x80 | (point >> 6 & 0x3f));
		*(*text)++ = (char) (0x80 | (point & 0x3f));
	}
}

static const char *
skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* From the opening quote to behind the closing one; NULL when it is no string. */
static const char *
skip_string(const char *p, const char *end)
{
	if (p == end || *p != '"')
		return NULL;
	for (p++; p < end; p++)
	{
		if (*p == '"')
			return p + 1;
		if (*p == '\\')
			p++;				/* whatever it is, it does not end the string */
	}
	return NULL;
}

/* To behind the value that begins here; NULL when there is none, or it does not end. */
static const char *
skip_value(const char *p, const char *end)
{
	uint64		is_array = 0;	/* bit 0: the innermost bracket */
	int			depth = 0;

	while (p < end)
	{
		const char *from = p;

		if (*p == '"')
		{
			p = skip_string(p, end);
			if (p == NULL)
				return NULL;
		}
		else if (*p == '{' || *p == '[')
		{
			if (++depth > PAY_SLICE_DEPTH_MAX)
				return NULL;
			is_array = is_array << 1 | (*p == '[' ? 1 : 0);
			p++;
		}
		else if (*p == '}' || *p == ']')
		{
			if (depth == 0 || (is_array & 1) != (*p == ']' ? 1 : 0))
				return NULL;
			is_array >>= 1;
			depth--;
			p++;
		}
		else if (depth > 0)
			p++;
		else
		{
			while (p < end && strchr(" \t\n\r,:{}[]\"", *p) == NULL && *p != '\0')
				p++;
			if (p == from)
				return NULL;
		}
		if (depth == 0)
			return p;
	}
	return NULL;
}
