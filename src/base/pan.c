/*
 * src/base/pan.c
 *		Card numbers do not enter (promise 9).
 *
 * A card number is 12 to 19 digits that begin with an issuer range we know, have
 * a length of that range and a right Luhn digit.  They may stand in groups:
 * between blanks and dashes in any, and between other marks in such as people
 * write card numbers in.  One random digit run in ten has a right Luhn digit, so
 * what is surely something else is passed over: digits of a word that has digits
 * elsewhere too (hashes, tokens, most ids), UUIDs, IBANs, decimal fractions,
 * lists, and bar codes.
 *
 * Digits of other scripts are digits: who types a number on a Japanese keyboard
 * has typed it.
 *
 * Nothing here allocates, raises or reads past the end; the time is linear.
 */
#include "payments.h"

#include "base/pan.h"

#define DIGITS_MIN 12
#define DIGITS_MAX 19
#define DIGITS_KEPT_FIRST 6
#define DIGITS_KEPT_LAST 4

/* "1111 - 1111" still is one number; columns of a table are not. */
#define SEPARATORS_MAX 3
/* "20261122-1234567" are a date and a counter: people write card numbers in groups of four, or 4-6-5. */
#define GROUP_MAX 6
/* Where text was joined, two groups of four may have become one of eight. */
#define GROUP_JOINED 8
/* In smaller groups, such as those of times. */
#define SMALL_GROUPS_MIN 15

#define UUID_BYTES 36
#define IBAN_BYTES_MIN 15
#define IBAN_BYTES_MAX 34

#define LENGTH(n) (1 << (n))
#define LENGTHS(lo, hi) ((1 << ((hi) + 1)) - (1 << (lo)))

typedef struct IssuerRange
{
	int			first;			/* six digits */
	int			last;
	int			lengths;		/* bit n: n digits */
} IssuerRange;

/* Sorted.  Ranges that begin with 0, 1, 7, 8 or 9 are left out: timestamps and counters begin so. */
static const IssuerRange issuer_ranges[] = {
	{220000, 220499, LENGTHS(16, 19)},	/* Mir */
	{222100, 272099, LENGTH(16)},	/* Mastercard */
	{300000, 305999, LENGTHS(14, 19)},	/* Diners Club */
	{309500, 309599, LENGTHS(14, 19)},	/* Diners Club */
	{340000, 349999, LENGTH(15)},	/* American Express */
	{352800, 358999, LENGTHS(16, 19)},	/* JCB */
	{360000, 369999, LENGTHS(14, 19)},	/* Diners Club */
	{370000, 379999, LENGTH(15)},	/* American Express */
	{380000, 399999, LENGTHS(14, 19)},	/* Diners Club */
	{400000, 499999, LENGTH(13) | LENGTH(16) | LENGTH(19)}, /* Visa */
	{501800, 502099, LENGTHS(12, 19)},	/* Maestro, Dankort */
	{503800, 503899, LENGTHS(12, 19)},	/* Maestro */
	{504175, 504175, LENGTH(16)},	/* Elo */
	{506099, 506199, LENGTH(16) | LENGTH(18) | LENGTH(19)}, /* Verve */
	{506699, 506778, LENGTH(16)},	/* Elo */
	{507865, 507964, LENGTH(16) | LENGTH(18) | LENGTH(19)}, /* Verve */
	{508500, 509999, LENGTH(16)},	/* RuPay, Elo */
	{510000, 559999, LENGTH(16)},	/* Mastercard */
	{561200, 561299, LENGTHS(12, 19)},	/* Maestro */
	{589300, 589399, LENGTHS(12, 19)},	/* Maestro */
	{601100, 601199, LENGTHS(16, 19)},	/* Discover */
	{606282, 606282, LENGTH(16)},	/* Hipercard */
	{606985, 608500, LENGTH(16)},	/* RuPay */
	{620000, 629999, LENGTHS(16, 19)},	/* UnionPay */
	{630400, 630499, LENGTHS(12, 19)},	/* Maestro */
	{636297, 636368, LENGTH(16)},	/* Elo */
	{637000, 639999, LENGTHS(16, 19)},	/* InstaPayment, Hipercard, Maestro */
	{644000, 659999, LENGTHS(16, 19)},	/* Discover, RuPay, Elo, Verve */
	{675900, 675999, LENGTHS(12, 19)},	/* Maestro */
	{676100, 676399, LENGTHS(12, 19)},	/* Maestro */
};

/* A number being read, and in the end the longest that is a card's. */
typedef struct PanMatch
{
	int			n;
	char		digits[DIGITS_MAX];
	size_t		at[DIGITS_MAX]; /* where each stands in the text */
	int			bytes[DIGITS_MAX];
} PanMatch;

/* What may stand between two groups. */
typedef enum PanGap
{
	GAP_NONE,
	GAP_PLAIN,					/* blanks and dashes: any groups */
	GAP_MARKED,					/* other marks too: groups of a card */
} PanGap;

/* How the digits are grouped. */
typedef struct PanGroups
{
	int			n;
	int			size[DIGITS_MAX];
	bool		marked;			/* by more than blanks and dashes */
	size_t		gap;			/* where the first gap stands, and its bytes */
	size_t		gap_bytes;
	bool		gaps_differ;
} PanGroups;

static bool has_digits(const char *text, size_t bytes);
static bool find_next(const char *text, size_t bytes, size_t *from, PanMatch *match);
static bool match_at(const char *text, size_t bytes, size_t from, PanMatch *match);
static bool read_group(const char *text, size_t bytes, size_t *at, PanMatch *match, PanGroups *groups);
static bool groups_are_a_cards(const PanGroups *groups);
static bool is_fraction(const char *text, size_t i);
static bool word_ends(const char *text, size_t bytes, size_t i);
static PanGap gap_at(const char *text, size_t bytes, size_t *at);
static size_t separator_at(const char *text, size_t bytes, size_t i, PanGap *gap);
static int	digit_at(const char *text, size_t bytes, size_t i, char *digit);
static void blank(char *digit, int bytes);
static bool is_card_number(const char *digits, int n);
static bool issuer_has_length(const char *digits, int n);
static bool is_bar_code(const char *digits, int n);
static size_t uuid_at(const char *text, size_t bytes, size_t i);
static size_t iban_at(const char *text, size_t bytes, size_t i);
static int	mod_97(int remainder, char c);

/* ASCII only: a letter of another script next to a number does not make it a word. */
static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static inline bool
is_alnum(char c)
{
	return is_digit(c) || is_upper(c) || (c >= 'a' && c <= 'z');
}

static inline bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Most texts have too few, and are looked at so quickly: every argument of every call is. */
static bool
has_digits(const char *text, size_t bytes)
{
	size_t		digits = 0;

	/* Digits of other scripts begin with such a byte. */
	for (size_t i = 0; i < bytes; i++)
		digits += is_digit(text[i]) || (unsigned char) text[i] >= 0xd9;
	return digits >= DIGITS_MIN;
}

bool
pay_pan_found(const char *text, size_t bytes)
{
	PanMatch	match;
	size_t		from = 0;

	return text != NULL && has_digits(text, bytes) && find_next(text, bytes, &from, &match);
}

int
pay_pan_mask(char *text, size_t bytes)
{
	PanMatch	match;
	size_t		from = 0;
	int			masked = 0;

	while (text != NULL && find_next(text, bytes, &from, &match))
	{
		for (int i = DIGITS_KEPT_FIRST; i < match.n - DIGITS_KEPT_LAST; i++)
			blank(text + match.at[i], match.bytes[i]);
		masked++;
	}
	return masked;
}

int
pay_pan_mask_lines(char *text, size_t bytes)
{
	int			masked = 0;

	for (size_t from = 0, to; from < bytes; from = to + 1)
	{
		const char *stop = memchr(text + from, '\n', bytes - from);

		to = stop ? (size_t) (stop - text) : bytes;
		masked += pay_pan_mask(text + from, to - from);
	}
	return masked;
}

void
pay_pan_blank(char *text, size_t bytes)
{
	char		digit;

	for (size_t i = 0; i < bytes;)
	{
		int			length = digit_at(text, bytes, i, &digit);

		if (length > 0)
			blank(text + i, length);
		i += Max(length, 1);
	}
}

/* Overwrites a digit by a mark of as many bytes, so that everything stays in its place. */
static void
blank(char *digit, int bytes)
{
	static const char *const marks[] = {"", "*", "\xc3\x97", "\xef\xbc\x8a", "\xc3\x97\xc3\x97"};

	memcpy(digit, marks[bytes], bytes);
}

/* Finds the next card number at or after *from, and moves *from past it. */
static bool
find_next(const char *text, size_t bytes, size_t *from, PanMatch *match)
{
	size_t		i = *from;
	bool		in_word = i > 0 && is_alnum(text[i - 1]);
	bool		word_has_digits = in_word;	/* behind a match it has */

	while (i < bytes)
	{
		size_t		passed_over = 0;
		char		digit;
		int			length;

		if (!in_word && is_alnum(text[i]))
			passed_over = uuid_at(text, bytes, i);
		if (!in_word && is_alnum(text[i]) && passed_over == 0)
			passed_over = iban_at(text, bytes, i);
		if (passed_over > 0)
		{
			i += passed_over;
			in_word = word_has_digits = false;
			continue;
		}
		length = digit_at(text, bytes, i, &digit);
		if (length == 0)
		{
			if (!is_alnum(text[i]))
				word_has_digits = false;
			in_word = is_alnum(text[i++]);
			continue;
		}
		if (!(in_word && word_has_digits) && match_at(text, bytes, i, match))
		{
			*from = match->at[match->n - 1] + match->bytes[match->n - 1];
			return true;
		}
		for (; length > 0; length = digit_at(text, bytes, i, &digit))
			i += length;
		in_word = word_has_digits = true;
	}
	*from = bytes;
	return false;
}

/*
 * Reads groups of digits from here on, and keeps the longest row of whole
 * groups that is a card number ("4111 1111 1111 1111 123" ends in the CVC).
 */
static bool
match_at(const char *text, size_t bytes, size_t from, PanMatch *match)
{
	PanGroups	groups = {0};
	size_t		i = from;
	int			longest = 0;

	match->n = 0;
	while (read_group(text, bytes, &i, match, &groups) && word_ends(text, bytes, i))
	{
		bool		is_whole = groups.n > 1 || !is_fraction(text, from);
		size_t		gap_from;
		PanGap		gap;

		if (is_whole && groups_are_a_cards(&groups) && is_card_number(match->digits, match->n))
			longest = match->n;
		if ((groups.n > 1 && groups.size[groups.n - 1] > GROUP_JOINED) || (i < bytes && is_alnum(text[i])))
			break;
		gap_from = i;
		gap = gap_at(text, bytes, &i);
		if (gap == GAP_NONE)
			break;
		groups.marked = groups.marked || gap == GAP_MARKED;
		if (groups.n == 1)
		{
			groups.gap = gap_from;
			groups.gap_bytes = i - gap_from;
		}
		else if (i - gap_from != groups.gap_bytes || memcmp(text + gap_from, text + groups.gap, groups.gap_bytes) != 0)
			groups.gaps_differ = true;
	}
	match->n = longest;
	return longest > 0;
}

/* False when there is none, or when it is longer than any card number. */
static bool
read_group(const char *text, size_t bytes, size_t *at, PanMatch *match, PanGroups *groups)
{
	int			before = match->n;
	char		digit;
	int			length;

	while ((length = digit_at(text, bytes, *at, &digit)) > 0)
	{
		if (match->n == DIGITS_MAX)
			return false;
		match->digits[match->n] = digit;
		match->at[match->n] = *at;
		match->bytes[match->n++] = length;
		*at += length;
	}
	groups->size[groups->n++] = match->n - before;
	return match->n > before;
}

/* 4-4-4-4, 1-1-1 and so on up to a shorter rest, 4-6-5 and 4-6-4; between blanks and dashes any short ones, and 4-8-4. */
static bool
groups_are_a_cards(const PanGroups *groups)
{
	const int  *size = groups->size;
	int			last = groups->n - 1;
	int			digits = 0;

	if (last == 0)
		return true;
	if (!groups->marked)
	{
		bool		by_four = true;

		for (int i = 0; i <= last; i++)
			by_four = by_four && (size[i] == 4 || size[i] == GROUP_JOINED);
		for (int i = 1; i <= last; i++)
			if (size[i] > GROUP_MAX && !by_four)
				return false;
		return true;
	}
	if (last == 2 && size[0] == 4 && size[1] == 6 && (size[2] == 5 || size[2] == 4))
		return true;
	for (int i = 0; i <= last; i++)
	{
		digits += size[i];
		if (i < last ? size[i] != size[0] : size[i] > size[0])
			return false;
	}
	/* "30.11.26 15:47:22.12" is a time, and there are lists of them. */
	return size[0] == 4 || (size[0] < 4 && !groups->gaps_differ && digits >= SMALL_GROUPS_MIN);
}

/* The digits of 0.4111111111111111 are a fraction's; such numbers are in every JSON document. */
static bool
is_fraction(const char *text, size_t i)
{
	return i >= 2 && text[i - 1] == '.' && is_digit(text[i - 2]);
}

/* Is there no digit more in the word that these digits are a part of? */
static bool
word_ends(const char *text, size_t bytes, size_t i)
{
	while (i < bytes && is_alnum(text[i]) && !is_digit(text[i]))
		i++;
	return i == bytes || !is_digit(text[i]);
}

/* What stands between here and the next digit, which *at then is at. */
static PanGap
gap_at(const char *text, size_t bytes, size_t *at)
{
	PanGap		gap = GAP_NONE;
	size_t		i = *at;
	char		digit;

	for (int n = 0; n <= SEPARATORS_MAX; n++)
	{
		size_t		length;

		if (n > 0 && digit_at(text, bytes, i, &digit) > 0)
		{
			*at = i;
			return gap;
		}
		length = separator_at(text, bytes, i, &gap);
		if (length == 0)
			break;
		i += length;
	}
	return GAP_NONE;
}

/*
 * Bytes of the separator that stands here, which may make the gap a marked one.
 * A comma or a semicolon is none: "orders 5100, 5101, 5102, 5103" is a list.
 * Nor is what a number was masked with.
 */
static size_t
separator_at(const char *text, size_t bytes, size_t i, PanGap *gap)
{
	static const struct
	{
		const char *bytes;
		PanGap		gap;
	}			wide[] = {
		{"\xc2\xa0", GAP_PLAIN}, /* no-break space */
		{"\xc2\xad", GAP_PLAIN}, /* soft hyphen */
		{"\xc2\xb7", GAP_MARKED}, /* middle dot */
		{"\xe2\x80\x87", GAP_PLAIN},	/* figure space */
		{"\xe2\x80\x89", GAP_PLAIN},	/* thin space */
		{"\xe2\x80\x8b", GAP_PLAIN},	/* zero width space */
		{"\xe2\x80\xaf", GAP_PLAIN},	/* narrow no-break space */
		{"\xe2\x80\x90", GAP_PLAIN},	/* hyphen */
		{"\xe2\x80\x91", GAP_PLAIN},	/* non-breaking hyphen */
		{"\xe2\x80\x92", GAP_PLAIN},	/* figure dash */
		{"\xe2\x80\x93", GAP_PLAIN},	/* en dash */
		{"\xe2\x80\x94", GAP_PLAIN},	/* em dash */
		{"\xe2\x80\xa2", GAP_MARKED},	/* bullet */
		{"\xe2\x81\xa0", GAP_PLAIN},	/* word joiner */
		{"\xe2\x88\x92", GAP_PLAIN},	/* minus sign */
		{"\xe3\x80\x80", GAP_PLAIN},	/* ideographic space */
		{"\xef\xbb\xbf", GAP_PLAIN},	/* zero width no-break space */
		{"\xef\xbc\x8d", GAP_PLAIN},	/* the dash, the dot, the slash and the underscore of full width */
		{"\xef\xbc\x8e", GAP_MARKED},
		{"\xef\xbc\x8f", GAP_MARKED},
		{"\xef\xbc\xbf", GAP_MARKED},
	};

	if (i >= bytes || is_alnum(text[i]) || text[i] == ',' || text[i] == ';' || text[i] == '*')
		return 0;
	if ((unsigned char) text[i] < 0x80)
	{
		bool		plain = text[i] == ' ' || text[i] == '-' || text[i] == '\t';

		*gap = Max(*gap, plain ? GAP_PLAIN : GAP_MARKED);
		return 1;
	}
	for (size_t w = 0; w < lengthof(wide); w++)
	{
		size_t		length = strlen(wide[w].bytes);

		if (bytes - i < length || memcmp(text + i, wide[w].bytes, length) != 0)
			continue;
		*gap = Max(*gap, wide[w].gap);
		return length;
	}
	return 0;
}

/* Bytes of the digit that stands here, 0 if there is none: of ASCII, or of another script in UTF-8. */
static int
digit_at(const char *text, size_t bytes, size_t i, char *digit)
{
	/* The zero of each; its nine others follow. */
	static const char *const zeros[] = {
		"\xd9\xa0",				/* Arabic-Indic */
		"\xdb\xb0",				/* the same in Persian and Urdu */
		"\xe0\xa5\xa6",			/* Devanagari */
		"\xe0\xa7\xa6",			/* Bengali */
		"\xe0\xa9\xa6",			/* Gurmukhi */
		"\xe0\xab\xa6",			/* Gujarati */
		"\xe0\xaf\xa6",			/* Tamil */
		"\xe0\xb1\xa6",			/* Telugu */
		"\xe0\xb3\xa6",			/* Kannada */
		"\xe0\xb5\xa6",			/* Malayalam */
		"\xe0\xb9\x90",			/* Thai */
		"\xe0\xbb\x90",			/* Lao */
		"\xe1\x81\x80",			/* Burmese */
		"\xe1\x9f\xa0",			/* Khmer */
		"\xef\xbc\x90",			/* full width */
		"\xf0\x9d\x9f\x8e",		/* mathematical: bold, double-struck, sans-serif, the same bold, monospace */
		"\xf0\x9d\x9f\x98",
		"\xf0\x9d\x9f\xa2",
		"\xf0\x9d\x9f\xac",
		"\xf0\x9d\x9f\xb6",
	};

	if (i >= bytes)
		return 0;
	if (is_digit(text[i]))
	{
		*digit = text[i];
		return 1;
	}
	if ((unsigned char) text[i] < 0xd9)
		return 0;
	for (size_t z = 0; z < lengthof(zeros); z++)
	{
		int			length = (int) strlen(zeros[z]);
		int			value;

		if (bytes - i < (size_t) length || memcmp(text + i, zeros[z], length - 1) != 0)
			continue;
		value = (unsigned char) text[i + length - 1] - (unsigned char) zeros[z][length - 1];
		if (value < 0 || value > 9)
			continue;
		*digit = (char) ('0' + value);
		return length;
	}
	return 0;
}

static bool
is_card_number(const char *digits, int n)
{
	int			sum = 0;

	if (n < DIGITS_MIN || !issuer_has_length(digits, n))
		return false;
	for (int i = 0; i < n; i++)
	{
		int			digit = digits[n - 1 - i] - '0';

		if (i % 2 == 1)
			digit = digit < 5 ? 2 * digit : 2 * digit - 9;
		sum += digit;
	}
	return sum % 10 == 0 && !is_bar_code(digits, n);
}

static bool
issuer_has_length(const char *digits, int n)
{
	int			issuer = 0;

	for (int i = 0; i < 6; i++)
		issuer = issuer * 10 + (digits[i] - '0');
	for (size_t r = 0; r < lengthof(issuer_ranges); r++)
		if (issuer >= issuer_ranges[r].first && issuer <= issuer_ranges[r].last)
			return (issuer_ranges[r].lengths & LENGTH(n)) != 0;
	return false;
}

/*
 * Article numbers (UPC, EAN) have the length of the rare 12- and 13-digit
 * cards, and a tenth of them a right Luhn digit too: without this, one German
 * product in ten could not be named in an order.
 */
static bool
is_bar_code(const char *digits, int n)
{
	int			sum = 0;

	if (n != 12 && n != 13)
		return false;
	for (int i = 0; i < n; i++)
		sum += (digits[n - 1 - i] - '0') * (i % 2 == 1 ? 3 : 1);
	return sum % 10 == 0;
}

/* Length of the UUID that begins here, or 0. */
static size_t
uuid_at(const char *text, size_t bytes, size_t i)
{
	if (bytes - i < UUID_BYTES)
		return 0;
	for (size_t k = 0; k < UUID_BYTES; k++)
	{
		bool		dash = k == 8 || k == 13 || k == 18 || k == 23;

		if (dash ? text[i + k] != '-' : !is_hex(text[i + k]))
			return 0;
	}
	if (bytes - i > UUID_BYTES && is_alnum(text[i + UUID_BYTES]))
		return 0;
	return UUID_BYTES;
}

/*
 * Bytes of the IBAN that begins here, written with or without single blanks,
 * or 0.  Spaced out, its digits look like those of a card.
 */
static size_t
iban_at(const char *text, size_t bytes, size_t i)
{
	int			remainder = 0;
	int			n = 0;

	if (bytes - i < IBAN_BYTES_MIN || !is_upper(text[i]) || !is_upper(text[i + 1]) ||
		!is_digit(text[i + 2]) || !is_digit(text[i + 3]))
		return 0;

	for (size_t k = i + 4; k < bytes && n < IBAN_BYTES_MAX - 4; k++)
	{
		bool		word_ends;

		if (text[k] == ' ' && k + 1 < bytes && is_alnum(text[k + 1]))
			continue;
		if (!is_digit(text[k]) && !is_upper(text[k]))
			return 0;
		remainder = mod_97(remainder, text[k]);
		n++;
		word_ends = k + 1 == bytes || !is_alnum(text[k + 1]);
		if (word_ends && n + 4 >= IBAN_BYTES_MIN)
		{
			int			whole = remainder;

			/* The country and the check digits come last in the sum. */
			for (int head = 0; head < 4; head++)
				whole = mod_97(whole, text[i + head]);
			if (whole == 1)
				return k + 1 - i;
		}
	}
	return 0;
}

/* Appends a digit, or a letter as two digits from A = 10. */
static int
mod_97(int remainder, char c)
{
	if (is_digit(c))
		return (remainder * 10 + (c - '0')) % 97;
	return (remainder * 100 + (c - 'A' + 10)) % 97;
}
