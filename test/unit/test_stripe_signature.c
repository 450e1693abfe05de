/*
 * test/unit/test_stripe_signature.c
 *		If this fails, somebody who is not the PSP can tell us that money came,
 *		or replay yesterday's webhook, or the PSP's own webhooks are refused.
 */
// sources: ../../src/psp/stripe_signature.c
#include "payments.h"

#include "psp/stripe_signature.h"

#include "tap.h"

#include <string.h>

/* The vector of Stripe's own library: secret whsec_abc, this time, and the event evt_1. */
#define MAC "b4a6d33354db3cc9d7ddbcbfa08e2edd987d298f5461849f80af9ef48227bc18"
#define OTHER "0000000000000000000000000000000000000000000000000000000000000000"

static const uint8 mac[PAY_SIGNATURE_MAC_BYTES] = {
	0xb4, 0xa6, 0xd3, 0x33, 0x54, 0xdb, 0x3c, 0xc9, 0xd7, 0xdd, 0xbc, 0xbf, 0xa0, 0x8e, 0x2e, 0xdd,
	0x98, 0x7d, 0x29, 0x8f, 0x54, 0x61, 0x84, 0x9f, 0x80, 0xaf, 0x9e, 0xf4, 0x82, 0x27, 0xbc, 0x18
};

typedef struct ParseCase
{
	const char *header;
	PayVerdict verdict;
	bool		matches;		/* when it can be read */
} ParseCase;

static const ParseCase parse_cases[] = {
	{"t=1700000000,v1=" MAC, PAY_VERDICT_OK, true},
	{"v1=" MAC ",t=1700000000", PAY_VERDICT_OK, true},
	{"t=1700000000,v1=" OTHER, PAY_VERDICT_OK, false},

	/* Several v1 while a secret is being changed. */
	{"t=1700000000,v1=" OTHER ",v1=" MAC, PAY_VERDICT_OK, true},
	{"t=1700000000,v1=" MAC ",v1=" OTHER, PAY_VERDICT_OK, true},
	{"t=1700000000,v1=" OTHER ",v1=" OTHER, PAY_VERDICT_OK, false},

	/* Other schemes are passed over, and prove nothing. */
	{"t=1700000000,v1=" MAC ",v0=x", PAY_VERDICT_OK, true},
	{"t=1700000000,v0=" MAC ",v1=" OTHER, PAY_VERDICT_OK, false},
	{"t=1700000000,v2=" MAC ",v1=" MAC, PAY_VERDICT_OK, true},
	{"t=1700000000,v0=" MAC, PAY_VERDICT_MALFORMED, false},

	{NULL, PAY_VERDICT_MISSING, false},
	{"", PAY_VERDICT_MISSING, false},

	/* The time: one, in digits. */
	{"v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,t=1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1,v1=" MAC ",t=1700000000", PAY_VERDICT_MALFORMED, false},
	{"t=-1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=+1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1700000000.5,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=0x65,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=9999999999999999,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=18446744073709551616,v1=" MAC, PAY_VERDICT_MALFORMED, false},

	/* The code: 64 lower-case hex digits. */
	{"t=1700000000,v1=B4A6D33354DB3CC9D7DDBCBFA08E2EDD987D298F5461849F80AF9EF48227BC18", PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,v1=b4a6", PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,v1=" MAC "00", PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,v1=", PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,v1=g4a6d33354db3cc9d7ddbcbfa08e2edd987d298f5461849f80af9ef48227bc18", PAY_VERDICT_MALFORMED, false},

	/* No blanks, no empty items, nothing without a scheme. */
	{"t=1700000000, v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{" t=1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,v1=" MAC " ", PAY_VERDICT_MALFORMED, false},
	{"t =1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1700000000,v1=" MAC ",", PAY_VERDICT_MALFORMED, false},
	{",t=1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"t=1700000000;v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"T=1700000000,V1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"=1700000000,v1=" MAC, PAY_VERDICT_MALFORMED, false},
	{"1700000000," MAC, PAY_VERDICT_MALFORMED, false},
};

static void
test_parse(void)
{
	for (size_t i = 0; i < lengthof(parse_cases); i++)
	{
		const ParseCase *c = &parse_cases[i];
		PaySignatureHeader parsed;
		PayVerdict verdict = pay_stripe_signature_parse(c->header, &parsed);
		const char *name = c->header ? c->header : "(none)";

		OK(verdict == c->verdict, "verdict %d: %s", (int) c->verdict, name);
		if (verdict == PAY_VERDICT_OK)
			OK(pay_stripe_signature_matches(&parsed, mac) == c->matches, "match %d: %s", c->matches, name);
	}
}

/* The code is over the digits as they came, not over the number. */
static void
test_time_text(void)
{
	const char *header = "v1=" MAC ",t=0001700000000,v0=1";
	PaySignatureHeader parsed;

	OK(pay_stripe_signature_parse(header, &parsed) == PAY_VERDICT_OK, "a time with leading zeros is read");
	OK(parsed.t == INT64CONST(1700000000), "the number is the number");
	OK(parsed.t_bytes == 13 && strncmp(parsed.t_text, "0001700000000", 13) == 0, "the text is as it came");
}

/* A header is work for the verifier before anybody has proved anything. */
static void
test_bounds(void)
{
	char		header[PAY_SIGNATURE_HEADER_BYTES_MAX + 100];
	PaySignatureHeader parsed;

	strcpy(header, "t=1700000000");
	for (int i = 0; i < PAY_SIGNATURE_V1_MAX - 1; i++)
		strcat(header, ",v1=" OTHER);
	strcat(header, ",v1=" MAC);
	OK(pay_stripe_signature_parse(header, &parsed) == PAY_VERDICT_OK && pay_stripe_signature_matches(&parsed, mac),
	   "the last of the most codes allowed counts");
	strcat(header, ",v1=" MAC);
	OK(pay_stripe_signature_parse(header, &parsed) == PAY_VERDICT_MALFORMED, "one code more is refused");

	memset(header, 'x', sizeof(header));
	memcpy(header, "t=1700000000,v1=" MAC ",v9=", 84);
	header[PAY_SIGNATURE_HEADER_BYTES_MAX] = '\0';
	OK(pay_stripe_signature_parse(header, &parsed) == PAY_VERDICT_OK, "the longest header is read");
	header[PAY_SIGNATURE_HEADER_BYTES_MAX] = 'x';
	header[PAY_SIGNATURE_HEADER_BYTES_MAX + 1] = '\0';
	OK(pay_stripe_signature_parse(header, &parsed) == PAY_VERDICT_MALFORMED, "a longer one is refused");
}

/* One wrong bit anywhere is a wrong code. */
static void
test_every_bit(void)
{
	PaySignatureHeader parsed;
	int			accepted = 0;

	(void) pay_stripe_signature_parse("t=1700000000,v1=" MAC, &parsed);
	for (int bit = 0; bit < PAY_SIGNATURE_MAC_BYTES * 8; bit++)
	{
		uint8		wrong[PAY_SIGNATURE_MAC_BYTES];

		memcpy(wrong, mac, sizeof(wrong));
		wrong[bit / 8] ^= (uint8) (1 << bit % 8);
		accepted += pay_stripe_signature_matches(&parsed, wrong);
	}
	OK(accepted == 0, "no code with one wrong bit is accepted");
}

static void
test_age(void)
{
	int64		t = INT64CONST(1700000000);

	OK(pay_stripe_signature_age(t, t) == PAY_VERDICT_OK, "now");
	OK(pay_stripe_signature_age(t, t + 300) == PAY_VERDICT_OK, "300 s old");
	OK(pay_stripe_signature_age(t, t + 301) == PAY_VERDICT_TOO_OLD, "301 s old");
	OK(pay_stripe_signature_age(t, t - 300) == PAY_VERDICT_OK, "300 s ahead");
	OK(pay_stripe_signature_age(t, t - 301) == PAY_VERDICT_AHEAD, "301 s ahead");
	OK(pay_stripe_signature_age(0, t) == PAY_VERDICT_TOO_OLD, "1970");
	OK(pay_stripe_signature_age(INT64CONST(999999999999999), t) == PAY_VERDICT_AHEAD, "the last time that is read");
}

int
main(void)
{
	test_parse();
	test_time_text();
	test_bounds();
	test_every_bit();
	test_age();
	return tap_done();
}
