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
	const char *end = object.at + object.bytes;
	const char *p = skip_space(object.at, end);
	bool		found = false,
				first = true;

	if (p == end || *p++ != '{')
		return PAY_SLICE_BROKEN;
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
			return PAY_SLICE_BROKEN;
		p = skip_space(p, end);
		if (p == end || *p != ':')
			return PAY_SLICE_BROKEN;
		from = skip_space(p + 1, end);
		p = skip_value(from, end);
		if (p == NULL)
			return PAY_SLICE_BROKEN;
		if ((size_t) (key_end - key) == strlen(name) + 2 && memcmp(key + 1, name, strlen(name)) == 0)
		{
			*value = (PaySlice) {from, (size_t) (p - from)};
			found = true;
		}
		p = skip_space(p, end);
		if (p == end || (*p != ',' && *p != '}'))
			return PAY_SLICE_BROKEN;
		if (*p == '}')
			break;
		p++;
	}
	if (skip_space(p + 1, end) != end)
		return PAY_SLICE_BROKEN;
	return found ? PAY_SLICE_FOUND : PAY_SLICE_END;
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
