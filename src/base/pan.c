/*
 * src/base/pan.c
 *		Card numbers do not enter (promise 9).
 *
 * A card number is 12 to 19 digits that begin with an issuer range we know, have
 * a length of that range and a right Luhn digit (issuer.c).  They may stand in
 * groups: between blanks and dashes in any, and between other marks in such as
 * people write card numbers in.  One random digit run in ten has a right Luhn
 * digit, so what is surely something else is passed over: short digits of a word
 * that has digits elsewhere too (tokens, most ids), digests, UUIDs, numbers of
 * bank accounts (lookalike.c), decimal fractions, and lists.
 *
 * Digits of other scripts are digits (digit.c).
 *
 * Nothing here allocates, raises or reads past the end; the time is linear.
 */
#include "payments.h"

#include "base/pan.h"

#include "base/digit.h"
#include "base/issuer.h"
#include "base/lookalike.h"

#define DIGITS_MIN PAY_CARD_DIGITS_MIN
#define DIGITS_MAX PAY_CARD_DIGITS_MAX
#define DIGITS_KEPT_FIRST 6
#define DIGITS_KEPT_LAST 4

/* In one piece they are looked at whatever else is in the word: "4111111111111111exp1228". */
#define PIECE_MIN 13
/* "1111 - 1111" still is one number; columns of a table are not. */
#define SEPARATORS_MAX 3
/* "20261122-1234567" are a date and a counter: people write card numbers in groups of four, or 4-6-5. */
#define GROUP_MAX 6
/* Where text was joined, two groups of four may have become one of eight. */
#define GROUP_JOINED 8
/* In smaller groups, such as those of times. */
#define SMALL_GROUPS_MIN 15
/* Digits before the point of a fraction, at most. */
#define WHOLE_PART_MAX 20

/* A number being read, and in the end the longest that is a card's. */
typedef struct PanMatch
{
	int			n;
	char		digits[DIGITS_MAX];
	size_t		at[DIGITS_MAX]; /* where each stands in the text */
	int			bytes[DIGITS_MAX];
} PanMatch;

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
static bool find_next(const char *text, size_t bytes, size_t until, PayPanScan *scan, PanMatch *match);
static void read_word(const char *text, size_t bytes, PayPanScan *scan);
static void leave_digits(const char *text, size_t bytes, size_t i, PayPanScan *scan);
static bool match_at(const char *text, size_t bytes, const PayPanScan *scan, PanMatch *match);
static bool read_group(const char *text, size_t bytes, size_t *at, PanMatch *match, PanGroups *groups);
static bool groups_are_a_cards(const PanGroups *groups, char first);
static bool marked_are_a_cards(const PanGroups *groups);
static bool is_fraction(const char *text, size_t i);
static bool word_ends(const char *text, size_t bytes, size_t i);
static PayGap gap_at(const char *text, size_t bytes, size_t *at);
static void blank(char *digit, int bytes);

/* ASCII only: a letter of another script next to a number does not make it a word. */
static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_alnum(char c)
{
	return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* No digit, as most bytes are: for a quick look. */
static inline bool
is_other(char c)
{
	return (unsigned char) c < 0xd9 && !is_digit(c);
}

static inline int
digit_at(const char *text, size_t bytes, size_t i, char *digit)
{
	if (i >= bytes || is_other(text[i]))
		return 0;
	if (is_digit(text[i]))
	{
		*digit = text[i];
		return 1;
	}
	return pay_digit_at(text, bytes, i, digit);
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
	PayPanScan	scan = {0};

	return text != NULL && has_digits(text, bytes) && pay_pan_found_until(text, bytes, bytes, &scan);
}

bool
pay_pan_found_until(const char *text, size_t bytes, size_t until, PayPanScan *scan)
{
	PanMatch	match;

	return find_next(text, bytes, until, scan, &match);
}

int
pay_pan_mask(char *text, size_t bytes)
{
	PayPanScan	scan = {0};

	return text ? pay_pan_mask_until(text, bytes, bytes, &scan) : 0;
}

int
pay_pan_mask_until(char *text, size_t bytes, size_t until, PayPanScan *scan)
{
	PanMatch	match;
	int			masked = 0;

	while (find_next(text, bytes, until, scan, &match))
	{
		for (int i = DIGITS_KEPT_FIRST; i < match.n - DIGITS_KEPT_LAST; i++)
			blank(text + match.at[i], match.bytes[i]);
		masked++;
	}
	return masked;
}

int
pay_pan_mask_cut(char *text, size_t bytes)
{
	int			masked = pay_pan_mask(text, bytes);
	size_t		row = bytes;	/* where the digits begin that go on to here */
	int			n = 0;
	char		digit;

	for (size_t i = 0; i < bytes;)
	{
		size_t		next = i;
		int			length = digit_at(text, bytes, i, &digit);

		if (length > 0)
		{
			row = Min(row, i);
			i += length;
		}
		else if (row < bytes && gap_at(text, bytes, &next) != PAY_GAP_NONE)
			i = next;
		else
		{
			PayGap		gap = PAY_GAP_NONE;
			size_t		mark = i;

			/* What stands between groups may be the last there is. */
			while (mark < bytes && mark - i < SEPARATORS_MAX && (next = pay_separator_at(text, bytes, mark, &gap)) > 0)
				mark += next;
			if (row < bytes && mark == bytes)
				break;
			row = bytes;
			i++;
		}
	}
	for (size_t i = row; i < bytes;)
	{
		int			length = digit_at(text, bytes, i, &digit);

		if (length > 0 && n++ >= DIGITS_KEPT_FIRST)
			blank(text + i, length);
		i += Max(length, 1);
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

/* Finds the next card number that begins before a place, and moves the scan past it. */
static bool
find_next(const char *text, size_t bytes, size_t until, PayPanScan *scan, PanMatch *match)
{
	while (scan->at < until)
	{
		size_t		i = scan->at;
		char		digit;
		int			length;

		if (i >= scan->word_end && is_alnum(text[i]))
		{
			size_t		passed_over = pay_lookalike_at(text, bytes, i);

			if (passed_over > 0)
			{
				scan->at += passed_over;
				continue;
			}
			read_word(text, bytes, scan);
		}
		if ((length = digit_at(text, bytes, i, &digit)) == 0)
		{
			scan->at++;
			continue;
		}
		if (match_at(text, bytes, scan, match))
		{
			leave_digits(text, bytes, match->at[match->n - 1] + match->bytes[match->n - 1], scan);
			return true;
		}
		for (; length > 0; length = digit_at(text, bytes, i, &digit))
			i += length;
		leave_digits(text, bytes, i, scan);
	}
	return false;
}

/* The word that begins here. */
static void
read_word(const char *text, size_t bytes, PayPanScan *scan)
{
	size_t		i = scan->at;
	int			runs = 0;

	for (; i < bytes && is_alnum(text[i]); i++)
		runs += is_digit(text[i]) && (i == scan->at || !is_digit(text[i - 1])) && runs < 2;
	scan->word_end = i;
	scan->mixed = runs > 1;
	scan->hash = scan->mixed && pay_lookalike_hash(text + scan->at, i - scan->at);
}

/* Goes on behind digits.  Where they have led into another word, the rest of it is of a word that has digits. */
static void
leave_digits(const char *text, size_t bytes, size_t i, PayPanScan *scan)
{
	scan->at = i;
	if (i > scan->word_end && i < bytes && is_alnum(text[i]))
	{
		read_word(text, bytes, scan);
		scan->mixed = true;
	}
}

/*
 * Reads groups of digits from here on, and keeps the longest row of whole
 * groups that is a card number ("4111 1111 1111 1111 123" ends in the CVC).
 */
static bool
match_at(const char *text, size_t bytes, const PayPanScan *scan, PanMatch *match)
{
	bool		mixed = scan->mixed && scan->at < scan->word_end;
	PanGroups	groups = {0};
	size_t		i = scan->at;
	int			lengths = 0;
	int			longest = 0;

	match->n = 0;
	while (read_group(text, bytes, &i, match, &groups))
	{
		bool		piece = groups.n == 1 && match->n >= PIECE_MIN && !(mixed && scan->hash);
		size_t		gap_from = i;
		PayGap		gap;

		if (!piece && (mixed || !word_ends(text, bytes, i)))
			break;
		if (lengths == 0 && match->n >= PAY_ISSUER_DIGITS && (lengths = pay_issuer_lengths(match->digits)) == 0)
			break;
		if ((lengths & (1 << match->n)) != 0 && groups_are_a_cards(&groups, match->digits[0]) &&
			(groups.n > 1 || !is_fraction(text, scan->at)) && pay_issuer_digits_fit(match->digits, match->n))
			longest = match->n;
		if (mixed || (groups.n > 1 && groups.size[groups.n - 1] > GROUP_JOINED) || (i < bytes && is_alnum(text[i])))
			break;
		gap = gap_at(text, bytes, &i);
		if (gap == PAY_GAP_NONE)
			break;
		groups.marked = groups.marked || gap == PAY_GAP_MARKED;
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

/* Between blanks and dashes any short ones, 4-8-4, 6-10, 4-12 and 6-13: but no date begins with 3 or more. */
static bool
groups_are_a_cards(const PanGroups *groups, char first)
{
	const int  *size = groups->size;
	int			last = groups->n - 1;
	bool		by_four = true;

	if (last == 0)
		return true;
	if (groups->marked)
		return marked_are_a_cards(groups);
	if (last == 1 && first != '2' && ((size[0] == 6 && (size[1] == 10 || size[1] == 13)) || (size[0] == 4 && size[1] == 12)))
		return true;
	for (int i = 0; i <= last; i++)
		by_four = by_four && (size[i] == 4 || size[i] == GROUP_JOINED);
	for (int i = 1; i <= last; i++)
		if (size[i] > GROUP_MAX && !by_four)
			return false;
	return true;
}

/* 4-4-4-4, 1-1-1 and so on up to a shorter rest, 4-6-5 and 4-6-4. */
static bool
marked_are_a_cards(const PanGroups *groups)
{
	const int  *size = groups->size;
	int			last = groups->n - 1;
	int			digits = 0;

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

/* The digits of 0.4111111111111111 are a fraction's, and such numbers are in every JSON document; those of "No.1.4111..." are not. */
static bool
is_fraction(const char *text, size_t i)
{
	size_t		whole = i - 1;

	if (i < 2 || text[whole] != '.' || !is_digit(text[whole - 1]))
		return false;
	while (whole > 0 && i - whole <= WHOLE_PART_MAX && is_digit(text[whole - 1]))
		whole--;
	return whole == 0 || text[whole - 1] != '.';
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
static PayGap
gap_at(const char *text, size_t bytes, size_t *at)
{
	PayGap		gap = PAY_GAP_NONE;
	size_t		i = *at;
	char		digit;

	/* As most are. */
	if (bytes - i > 1 && (text[i] == ' ' || text[i] == '-') && is_digit(text[i + 1]))
	{
		*at = i + 1;
		return PAY_GAP_PLAIN;
	}
	for (int n = 0; n <= SEPARATORS_MAX; n++)
	{
		size_t		length;

		if (n > 0 && digit_at(text, bytes, i, &digit) > 0)
		{
			*at = i;
			return gap;
		}
		length = pay_separator_at(text, bytes, i, &gap);
		if (length == 0)
			break;
		i += length;
	}
	return PAY_GAP_NONE;
}
