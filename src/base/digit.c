/*
 * src/base/digit.c
 *		Digits of all scripts, and what people put between groups of them.
 *
 * Who types a number on an Arabic or a Japanese keyboard has typed it, and what
 * word processors put between its groups (narrow blanks, marks of direction) is
 * often not to be seen.
 */
#include "payments.h"

#include "base/digit.h"

/* The least of them in UTF-8, of Arabic, begins so. */
#define LEAD_MIN 0xd9

static int	code_at(const char *text, size_t bytes, size_t i, uint32 *code);

/*
 * The zero of each script (Unicode 17, category Nd); its nine others follow.
 * Sorted.  The mathematical ones are five in a row, from 0x1D7CE on.
 */
static const uint32 zeros[] = {
	0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
	0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
	0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
	0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650,
	0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50, 0x11DA0, 0x11DE0,
	0x11F50, 0x16A60, 0x16AC0, 0x16B50, 0x1CCF0, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140,
	0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0,
};

/* Sorted. */
static const struct
{
	uint32		first;
	uint32		last;
	PayGap		gap;
}			separators[] = {
	{0x0085, 0x0085, PAY_GAP_MARKED},	/* next line */
	{0x00A0, 0x00A0, PAY_GAP_PLAIN},	/* no-break space */
	{0x00AD, 0x00AD, PAY_GAP_PLAIN},	/* soft hyphen */
	{0x00B7, 0x00B7, PAY_GAP_MARKED},	/* middle dot */
	{0x034F, 0x034F, PAY_GAP_PLAIN},	/* combining grapheme joiner */
	{0x061C, 0x061C, PAY_GAP_PLAIN},	/* Arabic letter mark */
	{0x0640, 0x0640, PAY_GAP_PLAIN},	/* Arabic tatweel */
	{0x1680, 0x1680, PAY_GAP_PLAIN},	/* Ogham space mark */
	{0x180E, 0x180E, PAY_GAP_PLAIN},	/* Mongolian vowel separator */
	{0x2000, 0x200F, PAY_GAP_PLAIN},	/* spaces of all widths, joiners, marks of direction */
	{0x2010, 0x2015, PAY_GAP_PLAIN},	/* hyphens and dashes */
	{0x2022, 0x2022, PAY_GAP_MARKED},	/* bullet */
	{0x2024, 0x2024, PAY_GAP_MARKED},	/* one dot leader */
	{0x2027, 0x2027, PAY_GAP_MARKED},	/* hyphenation point */
	{0x2028, 0x2029, PAY_GAP_MARKED},	/* line and paragraph separator, as is a newline */
	{0x202A, 0x202F, PAY_GAP_PLAIN},	/* direction, narrow no-break space */
	{0x2043, 0x2043, PAY_GAP_PLAIN},	/* hyphen bullet */
	{0x205F, 0x2064, PAY_GAP_PLAIN},	/* mathematical space, word joiner, invisible operators */
	{0x2066, 0x206F, PAY_GAP_PLAIN},	/* direction */
	{0x2212, 0x2212, PAY_GAP_PLAIN},	/* minus sign */
	{0x2500, 0x2501, PAY_GAP_PLAIN},	/* lines of boxes, for dashes */
	{0x3000, 0x3000, PAY_GAP_PLAIN},	/* ideographic space */
	{0x30FB, 0x30FB, PAY_GAP_MARKED},	/* Japanese middle dot */
	{0x30FC, 0x30FC, PAY_GAP_PLAIN},	/* Japanese long sound, for a dash */
	{0xFE0E, 0xFE0F, PAY_GAP_PLAIN},	/* variation selectors */
	{0xFE58, 0xFE58, PAY_GAP_PLAIN},	/* small dash */
	{0xFE63, 0xFE63, PAY_GAP_PLAIN},	/* small hyphen */
	{0xFEFF, 0xFEFF, PAY_GAP_PLAIN},	/* zero width no-break space */
	{0xFF0D, 0xFF0D, PAY_GAP_PLAIN},	/* the dash, the dot, the slash, the underscore and the Japanese dot of half and full width */
	{0xFF0E, 0xFF0F, PAY_GAP_MARKED},
	{0xFF3F, 0xFF3F, PAY_GAP_MARKED},
	{0xFF65, 0xFF65, PAY_GAP_MARKED},
};

int
pay_digit_at(const char *text, size_t bytes, size_t i, char *digit)
{
	uint32		code;
	int			length;
	size_t		low = 0,
				high = lengthof(zeros);

	if (i >= bytes)
		return 0;
	if (text[i] >= '0' && text[i] <= '9')
	{
		*digit = text[i];
		return 1;
	}
	if ((unsigned char) text[i] < LEAD_MIN)
		return 0;
	length = code_at(text, bytes, i, &code);
	while (length > 0 && low < high)
	{
		size_t		middle = (low + high) / 2;

		if (code < zeros[middle])
			high = middle;
		else if (code > zeros[middle] + 9)
			low = middle + 1;
		else
		{
			*digit = (char) ('0' + (code - zeros[middle]));
			return length;
		}
	}
	return 0;
}

/*
 * A comma or a semicolon is none: "orders 5100, 5101, 5102, 5103" is a list.
 * Nor is what a number was masked with.
 */
size_t
pay_separator_at(const char *text, size_t bytes, size_t i, PayGap *gap)
{
	unsigned char c;
	uint32		code;
	int			length;
	size_t		low = 0,
				high = lengthof(separators);

	if (i >= bytes)
		return 0;
	c = (unsigned char) text[i];
	if (c < 0x80)
	{
		bool		plain = c == ' ' || c == '-' || c == '\t';

		if (plain || (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && c != ',' && c != ';' && c != '*'))
		{
			*gap = Max(*gap, plain ? PAY_GAP_PLAIN : PAY_GAP_MARKED);
			return 1;
		}
		return 0;
	}
	length = code_at(text, bytes, i, &code);
	while (length > 0 && low < high)
	{
		size_t		middle = (low + high) / 2;

		if (code < separators[middle].first)
			high = middle;
		else if (code > separators[middle].last)
			low = middle + 1;
		else
		{
			*gap = Max(*gap, separators[middle].gap);
			return length;
		}
	}
	return 0;
}

/* Bytes of the character of UTF-8 that begins there, 0 if none does. */
static int
code_at(const char *text, size_t bytes, size_t i, uint32 *code)
{
	unsigned char c = (unsigned char) text[i];
	int			length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;

	if (length == 0 || bytes - i < (size_t) length)
		return 0;
	*code = c & (0x7f >> length);
	for (int k = 1; k < length; k++)
	{
		unsigned char next = (unsigned char) text[i + k];

		if ((next & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (next & 0x3f);
	}
	return length;
}
