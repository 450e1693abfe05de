/*
 * src/psp/stripe_signature.h
 *		Reading Stripe's `t=...,v1=...` webhook signature header.
 *
 * Pure: no memory, no errors, no clock and no key, so that a fuzzer reaches
 * every line.  The MAC itself is the caller's.
 */
#ifndef PAY_STRIPE_SIGNATURE_H
#define PAY_STRIPE_SIGNATURE_H

#include "psp/psp.h"				/* PayVerdict */

#define PAY_SIGNATURE_MAC_BYTES 32
#define PAY_SIGNATURE_V1_MAX 8
#define PAY_SIGNATURE_HEADER_BYTES_MAX 4096
#define PAY_SIGNATURE_TOLERANCE_S 300

typedef struct PaySignatureHeader
{
	int64		t;				/* unix seconds */
	const char *t_text;			/* as written, inside the header: the MAC covers these bytes */
	size_t		t_bytes;
	int			n_v1;
	uint8		v1[PAY_SIGNATURE_V1_MAX][PAY_SIGNATURE_MAC_BYTES];
} PaySignatureHeader;

/* Reads a header's value (NULL: there was none).  Returns OK, MISSING or MALFORMED. */
extern PayVerdict pay_stripe_signature_parse(const char *header, PaySignatureHeader *parsed);
/* Is the MAC one of those in the header?  Takes the same time wherever they differ. */
extern bool pay_stripe_signature_matches(const PaySignatureHeader *parsed, const uint8 mac[PAY_SIGNATURE_MAC_BYTES]);
/* Returns OK, TOO_OLD or AHEAD. */
extern PayVerdict pay_stripe_signature_age(int64 t, int64 now_unix);

#endif							/* PAY_STRIPE_SIGNATURE_H */
