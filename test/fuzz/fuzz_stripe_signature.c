/*
 * test/fuzz/fuzz_stripe_signature.c
 *		If this fails, anybody who can reach the webhook endpoint can crash the
 *		server with a header, or pass off a header that names no code.
 */
// sources: ../../src/psp/stripe_signature.c
#include "payments.h"

#include "psp/stripe_signature.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	char	   *header = malloc(bytes + 1);
	PaySignatureHeader parsed;
	PayVerdict verdict;

	if (bytes > 0)
		memcpy(header, data, bytes);
	header[bytes] = '\0';

	verdict = pay_stripe_signature_parse(header, &parsed);
	CHECK(verdict == PAY_VERDICT_OK || verdict == PAY_VERDICT_MISSING || verdict == PAY_VERDICT_MALFORMED);
	CHECK((verdict == PAY_VERDICT_MISSING) == (*header == '\0'));
	CHECK(parsed.n_v1 >= 0 && parsed.n_v1 <= PAY_SIGNATURE_V1_MAX);
	if (verdict == PAY_VERDICT_OK)
	{
		uint8		mac[PAY_SIGNATURE_MAC_BYTES];
		bool		is_listed = false;

		CHECK(parsed.n_v1 > 0);
		CHECK(parsed.t >= 0 && parsed.t_bytes > 0);
		CHECK(parsed.t_text >= header && parsed.t_text + parsed.t_bytes <= header + strlen(header));
		CHECK(strtoll(parsed.t_text, NULL, 10) == parsed.t);
		CHECK(pay_stripe_signature_age(parsed.t, parsed.t) == PAY_VERDICT_OK);
		(void) pay_stripe_signature_age(parsed.t, INT64CONST(1700000000));

		/* Every code in the header is accepted, and none that is not. */
		for (int i = 0; i < parsed.n_v1; i++)
			CHECK(pay_stripe_signature_matches(&parsed, parsed.v1[i]));
		memcpy(mac, parsed.v1[0], sizeof(mac));
		mac[parsed.t % PAY_SIGNATURE_MAC_BYTES] ^= 1;
		for (int i = 0; i < parsed.n_v1; i++)
			is_listed |= memcmp(parsed.v1[i], mac, sizeof(mac)) == 0;
		CHECK(pay_stripe_signature_matches(&parsed, mac) == is_listed);
	}
	free(header);
	return 0;
}
