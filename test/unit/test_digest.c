/*
 * test/unit/test_digest.c
 *		If this fails, PSP keys, request hashes or hash chains come out
 *		different than before (a resend is then a second charge), two different
 *		requests share a hash, or genuine webhooks are refused.
 */
// sources: ../../src/base/digest.c ../../src/psp/stripe_signature.c
// libs: -lcrypto
#include "payments.h"

#include "base/digest.h"
#include "psp/stripe_signature.h"

#include "shim.h"
#include "tap.h"

#include "utils/resowner.h"

#include <string.h>

/* What base/digest.c asks of the server; libpgcommon's contexts belong to nobody. */
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

static const char *
digest_hex(const uint8 digest[PAY_HASH_BYTES])
{
	char	   *hex = palloc(2 * PAY_HASH_BYTES + 1);

	for (int i = 0; i < PAY_HASH_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	return hex;
}

static const char *
sha256_hex(const char *text)
{
	PayChunk	chunk = {text, strlen(text)};
	uint8		digest[PAY_HASH_BYTES];

	pay_sha256(&chunk, 1, digest);
	return digest_hex(digest);
}

static void
test_digests(void)
{
	PayChunk	chunks[] = {{"what do ya ", 11}, {NULL, 0}, {"want for nothing?", 17}};
	uint8		digest[PAY_HASH_BYTES];

	OK(strcmp(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0, "SHA-256 of nothing");
	OK(strcmp(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0, "SHA-256 of abc");
	/* RFC 4231, case 2 */
	pay_hmac_sha256("Jefe", 4, chunks, lengthof(chunks), digest);
	OK(strcmp(digest_hex(digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843") == 0,
	   "HMAC over several chunks");
	OK(CurrentResourceOwner == NULL, "the lent resource owner is taken back");
}

/* RFC 4648, section 10, in our spelling. */
static void
test_base32(void)
{
	static const char *const cases[][2] = {
		{"", ""}, {"f", "my"}, {"fo", "mzxq"}, {"foo", "mzxw6"}, {"foob", "mzxw6yq"},
		{"fooba", "mzxw6ytb"}, {"foobar", "mzxw6ytboi"}
	};
	uint8		digest[PAY_HASH_BYTES];

	for (size_t i = 0; i < lengthof(cases); i++)
		OK(strcmp(pay_base32(cases[i][0], strlen(cases[i][0])), cases[i][1]) == 0, "base32 of \"%s\"", cases[i][0]);
	memset(digest, 0xff, sizeof(digest));
	OK(strlen(pay_base32(digest, sizeof(digest))) == 52, "a digest has 52 characters");
}

static void
test_equal(void)
{
	OK(pay_equal_constant_time("abc", "abc", 3), "equal");
	OK(!pay_equal_constant_time("abc", "abd", 3), "different at the end");
	OK(!pay_equal_constant_time("xbc", "abc", 3), "different at the beginning");
	OK(pay_equal_constant_time("a", "b", 0), "nothing equals nothing");
}

static const char *
parts_hex(const char *first, const char *second)
{
	PaySha256  *sha = pay_sha_begin();
	uint8		digest[PAY_HASH_BYTES];

	pay_sha_add_text(sha, first);
	pay_sha_add_text(sha, second);
	pay_sha_finish(sha, digest);
	return digest_hex(digest);
}

static void
test_parts(void)
{
	PaySha256  *sha = pay_sha_begin();
	pg_uuid_t	uuid;
	uint8		digest[PAY_HASH_BYTES];
	uint8		expected[PAY_HASH_BYTES];
	PayChunk	form = {"t\0\0\0\0\0\0\0\1x" "0" "i\0\0\0\0\0\0\0\x8\xff\xff\xff\xff\xff\xff\xff\xfe"
		"b\0\0\0\0\0\0\0\0" "u\0\0\0\0\0\0\0\x10" "0123456789abcdef" "0", 10 + 1 + 17 + 9 + 25 + 1};

	OK(strcmp(parts_hex("a", ""), parts_hex("a", NULL)) != 0, "NULL differs from empty");
	OK(strcmp(parts_hex("a", NULL), parts_hex(NULL, "a")) != 0, "the place of a NULL counts");
	OK(strcmp(parts_hex("ab", "c"), parts_hex("a", "bc")) != 0, "the border between parts counts");
	OK(strcmp(parts_hex("a", "b"), parts_hex("a", "b")) == 0, "the same parts have the same hash");

	memcpy(uuid.data, "0123456789abcdef", UUID_LEN);
	pay_sha_add_text(sha, "x");
	pay_sha_add_text(sha, NULL);
	pay_sha_add_int64(sha, -2);
	pay_sha_add_bytes(sha, "", 0);
	pay_sha_add_uuid(sha, &uuid);
	pay_sha_add_uuid(sha, NULL);
	pay_sha_finish(sha, digest);
	pay_sha256(&form, 1, expected);
	OK(memcmp(digest, expected, sizeof(digest)) == 0, "the form that is hashed, which stored hashes depend on");
}

/* The vector of Stripe's own library. */
static void
test_stripe_vector(void)
{
	const char *body = "{\"id\":\"evt_1\",\"object\":\"event\",\"type\":\"payment_intent.succeeded\"}";
	PaySignatureHeader parsed;
	uint8		mac[PAY_HASH_BYTES];

	OK(pay_stripe_signature_parse("t=1700000000,v1=b4a6d33354db3cc9d7ddbcbfa08e2edd987d298f5461849f80af9ef48227bc18",
						   &parsed) == PAY_VERDICT_OK, "the header is read");
	{
		PayChunk	message[] = {{parsed.t_text, parsed.t_bytes}, {".", 1}, {body, strlen(body)}};

		pay_hmac_sha256("whsec_abc", 9, message, lengthof(message), mac);
		OK(pay_stripe_signature_matches(&parsed, mac), "the signature is right");
		message[2].bytes--;
		pay_hmac_sha256("whsec_abc", 9, message, lengthof(message), mac);
		OK(!pay_stripe_signature_matches(&parsed, mac), "with a byte less it is wrong");
		message[2].bytes++;
		pay_hmac_sha256("abc", 3, message, lengthof(message), mac);
		OK(!pay_stripe_signature_matches(&parsed, mac), "the key is the whole secret, with its prefix");
	}
}

int
main(void)
{
	test_digests();
	test_base32();
	test_equal();
	test_parts();
	test_stripe_vector();
	shim_reset();
	return tap_done();
}
