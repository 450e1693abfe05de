/*
 * src/psp/stripe_signature.c
 *		Reading Stripe's `t=...,v1=...` webhook signature header.
 *
 * Stricter than Stripe's own libraries where theirs are lax: one `t` and no
 * more, lower-case hex only, no blanks, and no time in the future.  An
 * unknown scheme (v0, and what may come) is passed over, never trusted.
 */
#include "payments.h"

#include "psp/stripe_signature.h"

#include "base/digest.h"

/* Fifteen digits reach past the year 30,000,000 and cannot overflow. */
#define T_DIGITS_MAX 15

static bool parse_item(const char *item, size_t bytes, PaySignatureHeader *parsed);
static bool parse_time(const char *value, size_t bytes, PaySignatureHeader *parsed);
static bool parse_mac(const char *value, size_t bytes, PaySignatureHeader *parsed);
static int	hex_digit(char c);

PayVerdict
pay_stripe_signature_parse(const char *header, PaySignatureHeader *parsed)
{
	memset(parsed, 0, sizeof(*parsed));

	if (header == NULL || *header == '\0')
		return PAY_VERDICT_MISSING;
	if (strnlen(header, PAY_SIGNATURE_HEADER_BYTES_MAX + 1) > PAY_SIGNATURE_HEADER_BYTES_MAX)
		return PAY_VERDICT_MALFORMED;

	for (;;)
	{
		size_t		bytes = strcspn(header, ",");

		if (!parse_item(header, bytes, parsed))
			return PAY_VERDICT_MALFORMED;
		header += bytes;
		if (*header == '\0')
			break;
		header++;				/* the comma; nothing after it is an empty item */
	}

	if (parsed->t_text == NULL || parsed->n_v1 == 0)
		return PAY_VERDICT_MALFORMED;
	return PAY_VERDICT_OK;
}

/* One `scheme=value`. */
static bool
parse_item(const char *item, size_t bytes, PaySignatureHeader *parsed)
{
	const char *equals = memchr(item, '=', bytes);
	size_t		scheme_bytes;
	const char *value;
	size_t		value_bytes;

	if (equals == NULL || equals == item)
		return false;
	scheme_bytes = (size_t) (equals - item);
	value = equals + 1;
	value_bytes = bytes - scheme_bytes - 1;

	/* This is also what refuses a blank after a comma. */
	for (size_t i = 0; i < scheme_bytes; i++)
		if (!((item[i] >= 'a' && item[i] <= 'z') || (item[i] >= '0' && item[i] <= '9')))
			return false;

	if (scheme_bytes == 1 && item[0] == 't')
		return parse_time(value, value_bytes, parsed);
	if (scheme_bytes == 2 && item[0] == 'v' && item[1] == '1')
		return parse_mac(value, value_bytes, parsed);
	return true;
}

static bool
parse_time(const char *value, size_t bytes, PaySignatureHeader *parsed)
{
	int64		t = 0;

	/* With two times the sender's and the verifier's could be different ones. */
	if (parsed->t_text != NULL)
		return false;
	if (bytes == 0 || bytes > T_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < bytes; i++)
	{
		if (value[i] < '0' || value[i] > '9')
			return false;
		t = t * 10 + (value[i] - '0');
	}
	parsed->t = t;
	parsed->t_text = value;
	parsed->t_bytes = bytes;
	return true;
}

static bool
parse_mac(const char *value, size_t bytes, PaySignatureHeader *parsed)
{
	uint8	   *mac;

	if (parsed->n_v1 == PAY_SIGNATURE_V1_MAX || bytes != 2 * PAY_SIGNATURE_MAC_BYTES)
		return false;
	mac = parsed->v1[parsed->n_v1];
	for (size_t i = 0; i < PAY_SIGNATURE_MAC_BYTES; i++)
	{
		int			high = hex_digit(value[2 * i]);
		int			low = hex_digit(value[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		mac[i] = (uint8) (high << 4 | low);
	}
	parsed->n_v1++;
	return true;
}

/* Lower case only; -1 for anything else. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* All are compared, whichever is right. */
bool
pay_stripe_signature_matches(const PaySignatureHeader *parsed, const uint8 mac[PAY_SIGNATURE_MAC_BYTES])
{
	int			matches = 0;

	for (int i = 0; i < parsed->n_v1; i++)
		matches += pay_equal_constant_time(parsed->v1[i], mac, PAY_SIGNATURE_MAC_BYTES);
	return matches > 0;
}

PayVerdict
pay_stripe_signature_age(int64 t, int64 now_unix)
{
	if (t > now_unix && t - now_unix > PAY_SIGNATURE_TOLERANCE_S)
		return PAY_VERDICT_AHEAD;
	if (t < now_unix && now_unix - t > PAY_SIGNATURE_TOLERANCE_S)
		return PAY_VERDICT_TOO_OLD;
	return PAY_VERDICT_OK;
}
