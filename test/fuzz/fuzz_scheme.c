/*
 * test/fuzz/fuzz_scheme.c
 *		If this fails, somebody who is not the PSP can have an event believed, or
 *		crash the server with one; or what the PSP has signed is refused.
 *
 * Headers and body are the fuzzer's, and so is what signatures are over.
 */
// sources: ../../src/psp/scheme.c ../../src/base/json_slice.c ../../src/psp/psp.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c
// libs: -lcrypto
#include "payments.h"

#include "psp/scheme.h"

#include "shim.h"

#include "utils/resowner.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)
#define NOW INT64CONST(1700000000)
#define KEY "c2VzYW1l"

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

/* Of the adapters psp.c asks their names alone. */
#define PAY_ADAPTER(NAME) const PayAdapter pay_adapter_##NAME = {.name = #NAME};
#include "psp/adapters.h"
#undef PAY_ADAPTER

/* What base/digest.c asks of the server. */
ResourceOwner CurrentResourceOwner = NULL;

ResourceOwner
ResourceOwnerCreate(ResourceOwner parent, const char *name)
{
	return (ResourceOwner) &CurrentResourceOwner;
}

void
ResourceOwnerDelete(ResourceOwner owner)
{
}

static PayVerdict
verdict(const PayAdapter *adapter, const PayHeader *headers, int n, const char *body, size_t bytes, const char *secret)
{
	const char *secrets[] = {secret, NULL};
	PayInbound	inbound = {.headers = headers, .n_headers = n, .body = body, .body_bytes = bytes};

	return pay_psp_verify(adapter, &inbound, secrets, NOW);
}

/* Nobody without the key gets past, whatever he writes. */
static void
forged(const PayAdapter *adapter, const char *body, size_t bytes)
{
	size_t		half = bytes / 2;
	PayHeader	headers[] = {
		{"X-Code", 6, body, half}, {"webhook-signature", 17, body, half}, {"X-Time", 6, "1700000000", 10}, {"webhook-timestamp", 17, "1700000000", 10},
		{"webhook-id", 10, body, half},
	};

	CHECK(verdict(adapter, headers, lengthof(headers), body, bytes, KEY) != PAY_VERDICT_OK);
	CHECK(verdict(adapter, headers, lengthof(headers), body, bytes, "") != PAY_VERDICT_OK);
	CHECK(verdict(adapter, headers, lengthof(headers), body, bytes, NULL) != PAY_VERDICT_OK);
}

/* Who has it does, and nobody changes a byte on the way. */
static void
signed_by_psp(const PayAdapter *adapter, char *body, size_t bytes, unsigned char at)
{
	char	  **lines = pay_scheme_sign_event(adapter->scheme, KEY, "e1", NOW, body, bytes);
	PayHeader	headers[4];
	int			n = 0;

	for (; lines[n]; n++)
		CHECK(pay_header_split(lines[n], strlen(lines[n]), &headers[n]));
	CHECK(verdict(adapter, headers, n, body, bytes, KEY) == PAY_VERDICT_OK);
	if (bytes > 0)
	{
		body[at % bytes] ^= 1;
		CHECK(verdict(adapter, headers, n, body, bytes, KEY) == PAY_VERDICT_WRONG);
	}
}

/* What is taken for a token is one line of a header. */
static void
tokens(const PayScheme *scheme, const char *body, size_t bytes)
{
	PayAdapter	adapter = {.scheme = scheme};
	PayToken	token = {0};
	PayAnswer	answer;

	pay_answer_init(&answer);
	answer.http_status = 200;
	answer.body = body;
	answer.body_bytes = bytes;
	if (pay_psp_read_token(&adapter, &answer, &token))
		CHECK(token.valid_s > 0 && token.text[0] != '\0' && strpbrk(token.text, "\r\n ") == NULL);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static const char *const templates[] = {"{body}", "{timestamp}.{body}", "{body}{body}"};
	PayScheme	scheme = {0};
	PayAdapter	adapter = {.scheme = &scheme};
	char	   *body;

	if (bytes < 3)
		return 0;
	scheme.verify = data[0] & 1 ? PAY_VERIFY_STANDARD : PAY_VERIFY_SIGNATURE;
	scheme.event = (PaySignature) {
		.header = "x-code", .prefix = data[0] & 2 ? "sha256=" : "", .over = templates[(data[0] >> 2) % lengthof(templates)], .base64 = data[0] & 64
	};
	if (strstr(scheme.event.over, "{timestamp}"))
		scheme.event.time_header = "x-time";
	body = malloc(bytes - 2);
	memcpy(body, data + 3, bytes - 3);
	body[bytes - 3] = '\0';
	(void) pay_scheme_template_is_good(body, data[0] & 1);
	forged(&adapter, body, bytes - 3);
	tokens(&scheme, body, bytes - 3);
	signed_by_psp(&adapter, body, bytes - 3, data[2]);
	free(body);
	shim_reset();
	return 0;
}
