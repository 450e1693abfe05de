/*
 * src/base/pan.c
 *		Card numbers do not enter (promise 9).
 *
 * A card number is 12 to 19 digits that stand as words of their own, between
 * which blanks and dashes do not count, that begin with an issuer range we
 * know, have a length of that range and a right Luhn digit.  One random digit
 * run in ten has a right Luhn digit, so what is surely something else is
 * passed over: digits inside a longer word (hashes, tokens, most ids), UUIDs,
 * IBANs, decimal fractions, and bar codes.
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
#define GROUP_MAX 6

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
} PanMatch;

static bool find_next(const char *text, size_t bytes, size_t *from, PanMatch *match);
static bool match_at(const char *text, size_t bytes, size_t from, PanMatch *match);
static bool starts_at(const char *text, size_t i);
static size_t separators_at(const char *text, size_t bytes, size_t i);
static size_t separator_at(const char *text, size_t bytes, size_t i);
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

bool
pay_pan_found(const char *text, size_t bytes)
{
	PanMatch	match;
	size_t		from = 0;

	return text != NULL && find_next(text, bytes, &from, &match);
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
			text[match.at[i]] = '*';
		masked++;
	}
	return masked;
}

/* Finds the next card number at or after *from, and moves *from past it. */
static bool
find_next(const char *text, size_t bytes, size_t *from, PanMatch *match)
{
	size_t		i = *from;

	while (i < bytes)
	{
		bool		word_starts = is_alnum(text[i]) && (i == 0 || !is_alnum(text[i - 1]));
		size_t		passed_over = 0;

		if (word_starts)
			passed_over = uuid_at(text, bytes, i);
		if (word_starts && passed_over == 0)
			passed_over = iban_at(text, bytes, i);
		if (passed_over > 0)
		{
			i += passed_over;
			continue;
		}
		if (is_digit(text[i]))
		{
			if (starts_at(text, i) && match_at(text, bytes, i, match))
			{
				*from = match->at[match->n - 1] + 1;
				return true;
			}
			while (i < bytes && is_digit(text[i]))
				i++;
		}
		else
			i++;
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
	size_t		i = from;
	int			n = 0;
	int			longest = 0;

	for (;;)
	{
		size_t		gap;
		int			group = n;	/* where it begins */

		for (; i < bytes && is_digit(text[i]); i++)
		{
			if (n == DIGITS_MAX)
				goto done;		/* longer than any card number */
			match->digits[n] = text[i];
			match->at[n] = i;
			n++;
		}
		if (i < bytes && is_alnum(text[i]))
			break;				/* the group is part of a word */
		if ((group == 0 || n - group <= GROUP_MAX) && is_card_number(match->digits, n))
			longest = n;
		/* "20261122-1234567" are a date and a counter: people write card numbers in groups of four, or 4-6-5. */
		if (n - group > GROUP_MAX)
			break;
		gap = separators_at(text, bytes, i);
		if (gap == 0 || i + gap >= bytes || !is_digit(text[i + gap]))
			break;
		i += gap;
	}
done:
	match->n = longest;
	return longest > 0;
}

/* May these digits begin a card number?  They are the first of their group. */
static bool
starts_at(const char *text, size_t i)
{
	if (i == 0)
		return true;
	/* Within a word, except the one that begins track 1 of a card's magnetic stripe. */
	if (is_alnum(text[i - 1]))
		return i >= 2 && text[i - 1] == 'B' && text[i - 2] == '%';
	/* The digits of 0.4111111111111111 are a fraction's; such numbers are in every JSON document. */
	return i < 2 || text[i - 1] != '.' || !is_digit(text[i - 2]);
}

/* Bytes of the blanks and dashes that stand here; 0 if there are none, or too many. */
static size_t
separators_at(const char *text, size_t bytes, size_t i)
{
	size_t		total = 0;

	for (int n = 0; n <= SEPARATORS_MAX; n++)
	{
		size_t		one = separator_at(text, bytes, i + total);

		if (one == 0)
			return total;
		total += one;
	}
	return 0;
}

/* One blank or dash, with the UTF-8 ones that web pages and word processors put between digits. */
static size_t
separator_at(const char *text, size_t bytes, size_t i)
{
	static const char *const wide[] = {
		"\xc2\xa0",				/* no-break space */
		"\xe2\x80\x87",			/* figure space */
		"\xe2\x80\x89",			/* thin space */
		"\xe2\x80\xaf",			/* narrow no-break space */
		"\xe2\x80\x90",			/* hyphen */
		"\xe2\x80\x91",			/* non-breaking hyphen */
		"\xe2\x80\x92",			/* figure dash */
		"\xe2\x80\x93",			/* en dash */
		"\xe2\x88\x92",			/* minus sign */
	};

	if (i >= bytes)
		return 0;
	if (text[i] == ' ' || text[i] == '-' || text[i] == '\t')
		return 1;
	for (size_t w = 0; w < lengthof(wide); w++)
	{
		size_t		length = strlen(wide[w]);

		if (bytes - i >= length && memcmp(text + i, wide[w], length) == 0)
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
