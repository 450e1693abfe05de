/*
 * test/unit/test_pan.c
 *		If this fails, card numbers get into tables, WAL and backups, and the
 *		whole database server is in the scope of PCI DSS; or honest orders are
 *		refused because of an id that looks a little like one.
 *
 * All numbers are the card networks' published test numbers, or made up.
 */
// sources: ../../src/base/pan.c
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
	{"4222222222222", "422222***2222", 1},
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
	"4111-111111111111",
	"411111111111111",			/* length */
	"41111111111111111",
	"41111111111111111111",
	"4111111111111111222222222222222222",
	"0000000000000000",			/* issuer */
	"1111111111111117",
	"8000000000000004",
	"9111111111111111",
	"k4x111111111111111",		/* within a word that has more digits */
	"a1b4111111111111111",
	"4111111111111111x1",
	"4111 1111 1111 1111x2",
	"sha256:9f864111111111111111d081884c7d",
	"pi_3MtwBw4111111111111111",
	"mzxw6ytb4111111111111111oi",
	"550e8400-e29b-41d4-a716-446655440000",
	"41111111-1111-1111-4111-111111111111",
	"{41111111-1111-4111-8111-111111111111}",
	"20261122123456",			/* times */
	"20261122123456789",
	"2026-11-22 12:34:56.789012+00",
	"2026-11-22T12:34:56Z",
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
test_lines(void)
{
	char		text[] = "4111\n1111\n1111\n1111\n4111 1111 1111 1111";
	char		scattered[] = ":61:2611:86:?204111 11?2111" FULL_1 "111";

	OK(pay_pan_mask_lines(text, strlen(text)) == 1 && strcmp(text, "4111\n1111\n1111\n1111\n4111 11** **** 1111") == 0,
	   "of a file each line by itself: %s", text);
	pay_pan_blank(scattered, strlen(scattered));
	OK(strcmp(scattered, ":**:****:**:?****** **?****" FULL_X "***") == 0, "every digit: %s", scattered);
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
	test_lines();
	test_long();
	return tap_done();
}
