/*
 * test/unit/test_pan.c
 *		If this fails, card numbers get into tables, WAL and backups, and the
 *		whole database server is in the scope of PCI DSS; or honest orders are
 *		refused because of an id that looks a little like one.
 *
 * All numbers are the card networks' published test numbers, or made up.
 */
// sources: ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
#include "payments.h"

#include "base/pan.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define FULL_1 "\xef\xbc\x91"
#define FULL_4 "\xef\xbc\x94"
#define FULL_X "\xef\xbc\x8a"

typedef struct MaskCase
{
	const char *text;
	const char *masked;
	int			n;
} MaskCase;

static const MaskCase cards[] = {
	/* networks */
	{"4111111111111111", "411111******1111", 1},
	{"4000000000000000006", "400000*********0006", 1},
	{"5555555555554444", "555555******4444", 1},
	{"2223003122003222", "222300******3222", 1},
	{"2720990000000007", "272099******0007", 1},
	{"378282246310005", "378282*****0005", 1},
	{"341111111111111", "341111*****1111", 1},
	{"6011111111111117", "601111******1117", 1},
	{"30569309025904", "305693****5904", 1},
	{"36227206271667", "362272****1667", 1},
	{"3530111333300000", "353011******0000", 1},
	{"6200000000000005", "620000******0005", 1},
	{"6304000000000000", "630400******0000", 1},
	{"6759649826438453", "675964******8453", 1},
	{"6771798021000008", "677179******0008", 1},
	{"6799990100000000019", "679999*********0019", 1},
	{"5641821111166669", "564182******6669", 1},
	{"6703444444444449", "670344******4449", 1},
	{"5061460410120223210", "506146*********3210", 1},
	{"6205500000000000004", "620550*********0004", 1},
	{"2200000000000004", "220000******0004", 1},

	/* ways of writing */
	{"4111 1111 1111 1111", "4111 11** **** 1111", 1},
	{"4111-1111-1111-1111", "4111-11**-****-1111", 1},
	{"4111 - 1111 - 1111 - 1111", "4111 - 11** - **** - 1111", 1},
	{"4111\t1111\t1111\t1111", "4111\t11**\t****\t1111", 1},
	{"4111\xc2\xa0" "1111\xc2\xa0" "1111\xc2\xa0" "1111", "4111\xc2\xa0" "11**\xc2\xa0" "****\xc2\xa0" "1111", 1},
	{"4111\xe2\x80\x91" "1111\xe2\x80\x91" "1111\xe2\x80\x91" "1111", "4111\xe2\x80\x91" "11**\xe2\x80\x91" "****\xe2\x80\x91" "1111", 1},
	{"3782 822463 10005", "3782 82**** *0005", 1},
	{"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4 1 1 1 1 1 * * * * * * 1 1 1 1", 1},

	{"4111 11111111 1111", "4111 11****** 1111", 1},
	{"41111111 11111111", "411111** ****1111", 1},
	{"4111.1111.1111.1111", "4111.11**.****.1111", 1},
	{"4111/1111/1111/1111", "4111/11**/****/1111", 1},
	{"4111_1111_1111_1111", "4111_11**_****_1111", 1},
	{"4111\n1111\n1111\n1111", "4111\n11**\n****\n1111", 1},
	{"4111\r\n1111\r\n1111\r\n1111", "4111\r\n11**\r\n****\r\n1111", 1},
	{"4111:1111|1111+1111", "4111:11**|****+1111", 1},
	{"4111 . 1111 . 1111 . 1111", "4111 . 11** . **** . 1111", 1},
	{"\"4111\" \"1111\" \"1111\" \"1111\"", "\"4111\" \"11**\" \"****\" \"1111\"", 1},
	{"411111 1111111111", "411111 ******1111", 1},
	{"4111-111111111111", "4111-11******1111", 1},
	{"620550 0000000000004", "620550 *********0004", 1},
	{"4111\xe2\x80\x8c" "1111\xe2\x80\x8d" "1111\xe2\x80\x8e" "1111", "4111\xe2\x80\x8c" "11**\xe2\x80\x8d" "****\xe2\x80\x8e" "1111", 1},
	{"4111\xe2\x80\x8f" "1111\xe2\x80\x82" "1111\xe2\x80\x83" "1111", "4111\xe2\x80\x8f" "11**\xe2\x80\x82" "****\xe2\x80\x83" "1111", 1},
	{"4111\xe2\x80\x8a" "1111\xe2\x80\xa8" "1111\xe2\x80\xa9" "1111", "4111\xe2\x80\x8a" "11**\xe2\x80\xa8" "****\xe2\x80\xa9" "1111", 1},
	{"4.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1", "4.1.1.1.1.1.*.*.*.*.*.*.1.1.1.1", 1},
	{"4000.0000.0000.0000.006", "4000.00**.****.***0.006", 1},
	{"3782.822463.10005", "3782.82****.*0005", 1},
	{"3056/930902/5904", "3056/93****/5904", 1},
	{"1.4111.1111.1111.1111", "1.4111.11**.****.1111", 1},
	{"4111\xc2\xb7" "1111\xc2\xb7" "1111\xc2\xb7" "1111", "4111\xc2\xb7" "11**\xc2\xb7" "****\xc2\xb7" "1111", 1},
	{"4111\xe3\x80\x80" "1111\xe2\x80\x94" "1111\xef\xbc\x8e" "1111", "4111\xe3\x80\x80" "11**\xe2\x80\x94" "****\xef\xbc\x8e" "1111", 1},

	/* other scripts: full width, Arabic-Indic, mathematical */
	{FULL_4 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1,
	FULL_4 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_X FULL_X FULL_X FULL_X FULL_X FULL_X FULL_1 FULL_1 FULL_1 FULL_1, 1},
	{"4" FULL_1 "1" FULL_1 " 1111 1" FULL_1 "11 1111", "4" FULL_1 "1" FULL_1 " 11** *" FULL_X "** 1111", 1},
	{"\xd9\xa4" "11111\xd9\xa1" "111111111", "\xd9\xa4" "11111\xc3\x97" "*****1111", 1},
	{"411111\xf0\x9d\x9f\x8f" "111111111", "411111\xc3\x97\xc3\x97" "*****1111", 1},

	/* next to letters */
	{"k4111111111111111", "k411111******1111", 1},
	{"4111111111111111x", "411111******1111x", 1},
	{"card4111111111111111cvc", "card411111******1111cvc", 1},
	{"REF4111 1111 1111 1111EUR", "REF4111 11** **** 1111EUR", 1},
	{"user_k4111111111111111", "user_k411111******1111", 1},
	{"4111111111111111exp1228", "411111******1111exp1228", 1},
	{"4111111111111111CVV123", "411111******1111CVV123", 1},
	{"4111111111111111D28121010000012300000F", "411111******1111D28121010000012300000F", 1},
	{"1x4111111111111111", "1x411111******1111", 1},
	{"a1b4111111111111111", "a1b411111******1111", 1},
	{"4111111111111111x1", "411111******1111x1", 1},
	{"pi_3MtwBw4111111111111111", "pi_3MtwBw411111******1111", 1},
	{"No.1.4111111111111111", "No.1.411111******1111", 1},
	{"kunde\xc3\xa4" "4111111111111111", "kunde\xc3\xa4" "411111******1111", 1},

	/* in company */
	{"card: 4111111111111111.", "card: 411111******1111.", 1},
	{"(4111111111111111)", "(411111******1111)", 1},
	{"{\"n\": \"4111111111111111\"}", "{\"n\": \"411111******1111\"}", 1},
	{"{\"n\":4111111111111111}", "{\"n\":411111******1111}", 1},
	{"pan=4111111111111111&cvc=123", "pan=411111******1111&cvc=123", 1},
	{"card_4111111111111111", "card_411111******1111", 1},
	{"4111 1111 1111 1111 123 12/28", "4111 11** **** 1111 123 12/28", 1},
	{"12 4111111111111111", "12 411111******1111", 1},
	{"4111111111111111 20261122123456", "411111******1111 20261122123456", 1},
	{"4111111111111111\n5555555555554444", "411111******1111\n555555******4444", 2},
	{"4111111111111111 5555555555554444", "411111******1111 555555******4444", 2},
	{"\xd0\xba\xd0\xb0\xd1\x80\xd1\x82\xd0\xb0" "4111111111111111", "\xd0\xba\xd0\xb0\xd1\x80\xd1\x82\xd0\xb0" "411111******1111", 1},
	{"n.4111111111111111", "n.411111******1111", 1},
	{"4111111111111111.00", "411111******1111.00", 1},

	/* magnetic stripe */
	{"%B4111111111111111^DOE/JOHN^2812101?", "%B411111******1111^DOE/JOHN^2812101?", 1},
	{";4111111111111111=28121010000012300000?", ";411111******1111=28121010000012300000?", 1},

	/* next to what is passed over */
	{"550e8400-e29b-41d4-a716-446655440000 4111111111111111", "550e8400-e29b-41d4-a716-446655440000 411111******1111", 1},
	{"DE89 3704 0044 0532 0130 00 4111111111111111", "DE89 3704 0044 0532 0130 00 411111******1111", 1},
};

static const char *const innocents[] = {
	"",
	"4",
	"4111111111111112",			/* Luhn */
	"4111 1111 1111 1112",
	"411111111-1111111",		/* two counters, not a card */
	"411111111111111",			/* length */
	"41111111111111111",
	"41111111111111111111",
	"4111111111111111222222222222222222",
	"0000000000000000",			/* issuer */
	"1111111111111117",
	"8000000000000004",
	"9111111111111111",
	"k4x111111111111111",		/* within a word that has more digits */
	"4111 1111 1111 1111x2",
	"sha256:9f864111111111111111d081884c7d",
	"0x9f864111111111111111d081884c7d",
	"9F864111111111111111D081884C7D",
	"k1x501800000058",			/* short, and with more digits in its word */
	"550e8400-e29b-41d4-a716-446655440000",
	"41111111-1111-1111-4111-111111111111",
	"{41111111-1111-4111-8111-111111111111}",
	"20261122123456",			/* times */
	"20261122123456789",
	"2026-11-22 12:34:56.789012+00",
	"2026-11-22T12:34:56Z",
	"2611281000054711",			/* and a counter: a hundred of them, of which ten have a right Luhn digit */
	"2611281000054712",
	"2611281000054713",
	"2611281000054714",
	"2611281000054715",
	"2611281000054716",
	"2611281000054717",
	"2611281000054718",
	"2611281000054719",
	"2611281000054710",
	"261128-100005-4711",
	"261128-100005-4713",
	"4222222222222",			/* Visa gave these out long ago; a shop's product is one today */
	"639182284700783516",		/* ticks of .NET */
	"639182284700783517",
	"639182284700783518",
	"639182284700783519",
	"639182284700783510",
	"639182284700783511",
	"639182284700783512",
	"639182284700783513",
	"639182284700783514",
	"639182284700783515",
	"622921199003070015",		/* a Chinese identity number */
	"1700000000",
	"1700000000000",
	"1700000000000000",
	"0.4111111111111111",		/* fractions */
	"{\"lat\": 52.5105105105105100}",
	"4006381333931",			/* article numbers */
	"4012345678901",
	"501234567890",
	"DE12 5105 0015 0123 4567 89",	/* IBANs */
	"DE89 3704 0044 0532 0130 00",
	"DE89370400440532013000",
	"GB29 NWBK 6016 1331 9268 19",
	"de12 5105 0015 0123 4567 89",
	"21 1140 4697 2510 2734 6468 6958",	/* as it is written in Poland */
	"+49 (0)30 1234567, +44 20 7946 0958",	/* telephone */
	"4111    1111    1111    1111",	/* columns */
	"4111,1111,1111,1111",
	"orders 4111, 1111, 1111, 1111",	/* lists */
	"4111; 1111; 1111; 1111",
	"30.11.2026 15.47.2",		/* more times, and other numbers in groups of their own */
	"30.11.2026 15.47.22",
	"30/11/26 15:47:22.123456",
	"36:22.123456789012",
	"4111.11 1111.11 1111.11",
	"41111111.11111111",
	"41111111.1111.1111",
	"08:41:58 21:56:17 03:34:16",
	"30.11.26 15:47:22.12",
	"30.11.26 15:47:22.11",
	"30.11.26 15:47:22.10",
	"30.11.26 15:47:22.13",
	"30.11.26 15:47:22.14",
	"30.11.26 15:47:22.15",
	"30.11.26 15:47:22.16",
	"30.11.26 15:47:22.17",
	"30.11.26 15:47:22.18",
	"30.11.26 15:47:22.19",
	"2026-11-30 16:46:02.630400+000000",
	"55.55.555.5555.4444",
	"5555 55.5555.554444",
	"411111******1111",
	FULL_4 FULL_1 FULL_1 FULL_1 FULL_1 FULL_1 FULL_X FULL_X FULL_X FULL_X FULL_X FULL_X FULL_1 FULL_1 FULL_1 FULL_1,
	"order 2026-000123, 3 x 1999, total 5997",
};

static void
test_cards(void)
{
	for (size_t i = 0; i < lengthof(cards); i++)
	{
		const MaskCase *c = &cards[i];
		size_t		bytes = strlen(c->text);
		char	   *copy = malloc(bytes);
		int			n;

		/* Without a closing NUL, so that a read past the end shows. */
		memcpy(copy, c->text, bytes);
		OK(pay_pan_found(copy, bytes), "found: %s", c->text);
		n = pay_pan_mask(copy, bytes);
		OK(n == c->n && memcmp(copy, c->masked, bytes) == 0, "masked: %.*s", (int) bytes, copy);
		OK(!pay_pan_found(copy, bytes) && pay_pan_mask(copy, bytes) == 0, "masked once is masked: %s", c->masked);
		free(copy);
	}
}

static void
test_innocents(void)
{
	for (size_t i = 0; i < lengthof(innocents); i++)
	{
		size_t		bytes = strlen(innocents[i]);
		char	   *copy = malloc(bytes + 1);

		memcpy(copy, innocents[i], bytes);
		OK(!pay_pan_found(copy, bytes), "left alone: %s", innocents[i]);
		OK(pay_pan_mask(copy, bytes) == 0 && memcmp(copy, innocents[i], bytes) == 0, "unchanged: %s", innocents[i]);
		free(copy);
	}
	OK(!pay_pan_found(NULL, 0), "nothing at all");
}

static void
test_blank(void)
{
	char		scattered[] = ":61:2611:86:?204111 11?2111" FULL_1 "111";

	pay_pan_blank(scattered, strlen(scattered));
	OK(strcmp(scattered, ":**:****:**:?****** **?****" FULL_X "***") == 0, "every digit: %s", scattered);
}

/* The digits of every script: the zero and the nine of each are found, their neighbours are none. */
static void
test_scripts(void)
{
	static const struct
	{
		const char *script;
		const char *one;
		const char *four;
		const char *beside;
	}			scripts[] = {
		{"Arabic-Indic", "\u0661", "\u0664", "\u066a"},
		{"N'Ko", "\u07c1", "\u07c4", "\u07bf"},
		{"Devanagari", "\u0967", "\u096a", "\u0970"},
		{"Oriya", "\u0b67", "\u0b6a", "\u0b70"},
		{"Sinhala", "\u0de7", "\u0dea", "\u0df0"},
		{"Tibetan", "\u0f21", "\u0f24", "\u0f2a"},
		{"Mongolian", "\u1811", "\u1814", "\u181a"},
		{"Limbu", "\u1947", "\u194a", "\u1950"},
		{"Javanese", "\ua9d1", "\ua9d4", "\ua9da"},
		{"Meetei Mayek", "\uabf1", "\uabf4", "\uabfa"},
		{"Osmanya", "\U000104a1", "\U000104a4", "\U000104aa"},
		{"Outlined", "\U0001ccf1", "\U0001ccf4", "\U0001ccfa"},
		{"monospace", "\U0001d7f7", "\U0001d7fa", "\U0001d800"},
		{"Adlam", "\U0001e951", "\U0001e954", "\U0001e95a"},
		{"segmented", "\U0001fbf1", "\U0001fbf4", "\U0001fbfa"},
	};

	for (size_t i = 0; i < lengthof(scripts); i++)
	{
		char		text[80];

		snprintf(text, sizeof(text), "%s111111111111%s1%s", scripts[i].four, scripts[i].one, scripts[i].one);
		OK(pay_pan_found(text, strlen(text)), "%s: %s", scripts[i].script, text);
		OK(pay_pan_mask(text, strlen(text)) == 1 && !pay_pan_found(text, strlen(text)), "masked: %s", text);
		snprintf(text, sizeof(text), "%s111111111111%s1%s", scripts[i].four, scripts[i].beside, scripts[i].one);
		OK(!pay_pan_found(text, strlen(text)), "none is what stands behind its nine: %s", text);
	}
}

/* Whoever cut a text off may have cut a number in two. */
static void
test_cut(void)
{
	static const char *const cut[][2] = {
		{"card 411111111111111", "card 411111*********"},
		{"card 4111 1111 1111 11", "card 4111 11** **** **"},
		{"card 4111 1111 1111 ", "card 4111 11** **** "},
		{"card 4111.1111.1111.111", "card 4111.11**.****.***"},
		{"card 4111111111111111", "card 411111******1111"},
		{"4111111111111111, 41111111", "411111******1111, 411111**"},
		{"41111111 and so on", "41111111 and so on"},
		{"order 20261122", "order 202611**"},
		{"order 2026", "order 2026"},
		{"", ""},
	};

	for (size_t i = 0; i < lengthof(cut); i++)
	{
		char	   *copy = strdup(cut[i][0]);

		pay_pan_mask_cut(copy, strlen(copy));
		OK(strcmp(copy, cut[i][1]) == 0, "at a cut: %s", copy);
		free(copy);
	}
}

/* A long text can be looked at bit by bit, and nothing comes of where the bits end. */
static void
test_until(void)
{
	const char *whole = "card 4111 1111 1111 1111 550e8400-e29b-41d4-a716-446655440000 x5555555555554444exp1228";

	for (size_t step = 1; step < strlen(whole); step++)
	{
		char	   *once = strdup(whole);
		char	   *bits = strdup(whole);
		PayPanScan	scan = {0};
		int			masked = 0;

		for (size_t until = 0; scan.at < strlen(whole); until += step)
			masked += pay_pan_mask_until(bits, strlen(whole), Min(until, strlen(whole)), &scan);
		OK(masked == pay_pan_mask(once, strlen(whole)) && masked == 2 && strcmp(once, bits) == 0, "in bits of %zu: %s", step, bits);
		free(once);
		free(bits);
	}
}

/* A hostile megabyte must not take more than a moment. */
static void
test_long(void)
{
	size_t		bytes = 1024 * 1024;
	char	   *text = malloc(bytes);

	memset(text, '4', bytes);
	OK(!pay_pan_found(text, bytes), "a megabyte of digits");
	for (size_t i = 0; i < bytes; i++)
		text[i] = i % 2 ? ' ' : '4';
	(void) pay_pan_mask(text, bytes);
	OK(!pay_pan_found(text, bytes), "a megabyte of digits and blanks");
	for (size_t i = 0; i < bytes; i++)
		text[i] = "AB12 "[i % 5];
	OK(!pay_pan_found(text, bytes), "a megabyte of beginnings of an IBAN");
	for (size_t i = 0; i < bytes; i++)
		text[i] = "4.4.4xxxxxxxxx"[i % 14];
	OK(!pay_pan_found(text, bytes), "a megabyte of groups and letters");
	memset(text, 'x', bytes);
	for (size_t i = 0; i < 40; i += 2)
		memcpy(text + i, "4.", 2);
	OK(!pay_pan_found(text, bytes), "groups, and a megabyte of letters");
	free(text);
}

int
main(void)
{
	test_cards();
	test_innocents();
	test_blank();
	test_scripts();
	test_cut();
	test_until();
	test_long();
	return tap_done();
}
