/*
 * src/base/digest.h
 *		SHA-256, HMAC-SHA256, and the spellings of digests.
 *
 * Everything that must come out the same for ever (request hashes, PSP keys,
 * hash chains) is built with PaySha256, whose parts are typed and prefixed
 * with their length: no two different lists of parts hash the same bytes.
 */
#ifndef PAY_DIGEST_H
#define PAY_DIGEST_H

#include "utils/uuid.h"

/* One stretch of a message; several of them hash like their concatenation. */
typedef struct PayChunk
{
	const void *data;			/* may be NULL when bytes is 0 */
	size_t		bytes;
} PayChunk;

/* Digest of the concatenated chunks.  Raise only when memory or the crypto library fails. */
extern void pay_sha256(const PayChunk *chunks, int n, uint8 digest[PAY_HASH_BYTES]);
extern void pay_hmac_sha256(const void *key, size_t key_bytes, const PayChunk *chunks, int n, uint8 mac[PAY_HASH_BYTES]);

/*
 * Compares without telling by its duration where the difference is.  The
 * server's timingsafe_bcmp() is missing from early minor releases, so this is
 * our own; it stands here so that whoever compares need not link the crypto library.
 */
static inline bool
pay_equal_constant_time(const void *a, const void *b, size_t bytes)
{
	const volatile uint8 *left = a;
	const volatile uint8 *right = b;
	uint8		difference = 0;

	for (size_t i = 0; i < bytes; i++)
		difference |= left[i] ^ right[i];
	return difference == 0;
}

/* RFC 4648 base32 in lower case without padding, palloc'd: 52 characters for a digest. */
extern char *pay_base32(const void *data, size_t bytes);

/*
 * A hash over typed parts, in the current memory context.
 *
 *		PaySha256  *sha = pay_sha_begin();
 *
 *		pay_sha_add_text(sha, merchant);
 *		pay_sha_add_int64(sha, amount);
 *		pay_sha_finish(sha, digest);
 *
 * Each part is a type byte, its length as 8 bytes big-endian, and its bytes;
 * a NULL is the byte '0' alone.  Stored hashes depend on this form.
 */
typedef struct PaySha256 PaySha256;

extern PaySha256 *pay_sha_begin(void);
extern void pay_sha_add_text(PaySha256 *sha, const char *value);	/* NULL differs from "" */
extern void pay_sha_add_bytes(PaySha256 *sha, const void *data, size_t bytes);	/* NULL differs from no bytes */
extern void pay_sha_add_int64(PaySha256 *sha, int64 value);
extern void pay_sha_add_uuid(PaySha256 *sha, const pg_uuid_t *value);	/* NULL allowed */
/* Writes the digest and frees what was gathered. */
extern void pay_sha_finish(PaySha256 *sha, uint8 digest[PAY_HASH_BYTES]);

#endif							/* PAY_DIGEST_H */
