/*
 * src/base/issuer.c
 *		Which numbers card networks give out, and which they share with others.
 *
 * A tenth of all numbers has a right Luhn digit.  So a range is only as wide, and
 * of such lengths, as cards are: what is not given out any more (Visa's 13
 * digits), or next to never, costs shops their orders and saves nobody a card.
 * The same holds for numbers that say of themselves what else they are: bar codes
 * by a check digit of their own, times by being one.
 */
#include "payments.h"

#include "base/issuer.h"

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
	{300000, 305999, LENGTH(14) | LENGTH(16)},	/* Diners Club */
	{309500, 309599, LENGTH(14) | LENGTH(16)},	/* Diners Club */
	{340000, 349999, LENGTH(15)},	/* American Express */
	{352800, 358999, LENGTHS(16, 19)},	/* JCB */
	{360000, 369999, LENGTH(14) | LENGTH(16)},	/* Diners Club */
	{370000, 379999, LENGTH(15)},	/* American Express */
	{380000, 399999, LENGTH(14) | LENGTH(16)},	/* Diners Club */
	{400000, 499999, LENGTH(16) | LENGTH(19)},	/* Visa */
	{501800, 502099, LENGTHS(12, 19)},	/* Maestro, Dankort */
	{503800, 503899, LENGTHS(12, 19)},	/* Maestro */
	{504175, 504175, LENGTH(16)},	/* Elo */
	{506099, 506199, LENGTH(16) | LENGTH(18) | LENGTH(19)}, /* Verve */
	{506699, 506778, LENGTH(16)},	/* Elo */
	{507865, 507964, LENGTH(16) | LENGTH(18) | LENGTH(19)}, /* Verve */
	{508500, 509999, LENGTH(16)},	/* RuPay, Elo */
	{510000, 559999, LENGTH(16)},	/* Mastercard */
	{561200, 561299, LENGTHS(12, 19)},	/* Maestro */
	{564100, 564199, LENGTHS(16, 19)},	/* Maestro */
	{589300, 589399, LENGTHS(12, 19)},	/* Maestro */
	{601100, 601199, LENGTH(16) | LENGTH(19)},	/* Discover */
	{606282, 606282, LENGTH(16)},	/* Hipercard */
	{606985, 608500, LENGTH(16)},	/* RuPay */
	{620000, 629999, LENGTHS(16, 19)},	/* UnionPay */
	{630400, 630499, LENGTHS(16, 19)},	/* Maestro */
	{636297, 636368, LENGTH(16)},	/* Elo */
	{637000, 639999, LENGTH(16)},	/* InstaPayment, Hipercard, Maestro */
	{644000, 649999, LENGTH(16) | LENGTH(19)},	/* Discover */
	{650000, 650099, LENGTHS(16, 19)},	/* Discover, Elo, Verve */
	{650100, 659999, LENGTH(16) | LENGTH(19)},	/* Discover, RuPay, Elo */
	{670300, 670399, LENGTHS(16, 19)},	/* Bancontact */
	{675900, 675999, LENGTHS(12, 19)},	/* Maestro */
	{676100, 676399, LENGTHS(12, 19)},	/* Maestro */
	{677100, 677199, LENGTHS(16, 19)},	/* Maestro */
	{679900, 679999, LENGTHS(16, 19)},	/* Maestro */
};

static bool luhn_fits(const char *digits, int n);
static bool is_bar_code(const char *digits, int n);
static bool is_time(const char *digits, int n);
static bool is_identity(const char *digits, int n);
static bool within(const char *two, int least, int most);

int
pay_issuer_lengths(const char *digits)
{
	int			issuer = 0;
	size_t		low = 0,
				high = lengthof(issuer_ranges);

	for (int i = 0; i < PAY_ISSUER_DIGITS; i++)
		issuer = issuer * 10 + (digits[i] - '0');
	while (low < high)
	{
		size_t		middle = (low + high) / 2;

		if (issuer < issuer_ranges[middle].first)
			high = middle;
		else if (issuer > issuer_ranges[middle].last)
			low = middle + 1;
		else
			return issuer_ranges[middle].lengths;
	}
	return 0;
}

bool
pay_issuer_digits_fit(const char *digits, int n)
{
	return luhn_fits(digits, n) && !is_bar_code(digits, n) && !is_time(digits, n) && !is_identity(digits, n);
}

static bool
luhn_fits(const char *digits, int n)
{
	int			sum = 0;

	for (int i = 0; i < n; i++)
	{
		int			digit = digits[n - 1 - i] - '0';

		if (i % 2 == 1)
			digit = digit < 5 ? 2 * digit : 2 * digit - 9;
		sum += digit;
	}
	return sum % 10 == 0;
}

/*
 * Article numbers (UPC, EAN) have the length of the rare 12- and 13-digit
 * cards, and a tenth of them a right Luhn digit too.
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

/*
 * Numbers of orders that begin with a time, YYMMDDhhmmss, and have 16 digits:
 * from 2023 to 2027 all of them are in Mastercard's range that begins with 2.  Of
 * its cards one in 300 looks so.
 */
static bool
is_time(const char *digits, int n)
{
	return n == 16 && within(digits, 23, 27) && within(digits + 2, 1, 12) && within(digits + 4, 1, 31) &&
		within(digits + 6, 0, 23) && within(digits + 8, 0, 59) && within(digits + 10, 0, 59);
}

/*
 * A Chinese identity number is of 18 digits, the day of birth from the seventh
 * on; regions begin as UnionPay does.  Of its cards of 18 digits one in 1300
 * looks so.
 */
static bool
is_identity(const char *digits, int n)
{
	return n == 18 && within(digits + 6, 19, 20) && within(digits + 10, 1, 12) && within(digits + 12, 1, 31);
}

static bool
within(const char *two, int least, int most)
{
	int			value = (two[0] - '0') * 10 + (two[1] - '0');

	return value >= least && value <= most;
}
