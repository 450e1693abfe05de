/*
 * src/base/digest.c
 *		SHA-256, HMAC-SHA256, and the spellings of digests.
 *
 * A digest depends on the bytes given and on nothing else: no locale, no
 * setting, no server version.  A crypto context never outlives the call that
 * made it, so an error anywhere else cannot leak one.
 */
#include "payments.h"

#include "base/digest.h"

#include "common/cryptohash.h"
#include "common/hmac.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Type bytes of PaySha256's parts.  Never renumber: stored hashes contain them. */
#define PART_NULL	'0'
#define PART_TEXT	't'
#define PART_BYTES	'b'
#define PART_INT64	'i'
#define PART_UUID	'u'

/*
 * The parts are gathered and hashed at the end, so that no crypto context is
 * open while the caller goes on and may raise.
 */
struct PaySha256
{
	StringInfoData message;
};

typedef struct HashScope
{
	ResourceOwner saved;
	ResourceOwner own;
} HashScope;

static void enter_hash(HashScope *scope);
static void leave_hash(HashScope *scope);
static void add_part(PaySha256 *sha, char type, const void *data, size_t bytes);

/*
 * The server's OpenSSL contexts are remembered by the current resource owner,
 * without looking whether there is one; the worker has none between
 * transactions, so lend it one.
 */
static void
enter_hash(HashScope *scope)
{
	scope->saved = CurrentResourceOwner;
	scope->own = NULL;
	if (CurrentResourceOwner == NULL)
	{
		scope->own = ResourceOwnerCreate(NULL, "payments hash");
		CurrentResourceOwner = scope->own;
	}
}

static void
leave_hash(HashScope *scope)
{
	CurrentResourceOwner = scope->saved;
	if (scope->own != NULL)
		ResourceOwnerDelete(scope->own);
}

void
pay_sha256(const PayChunk *chunks, int n, uint8 digest[PAY_HASH_BYTES])
{
	HashScope	scope;
	pg_cryptohash_ctx *ctx;
	bool		ok;

	enter_hash(&scope);
	ctx = pg_cryptohash_create(PG_SHA256);
	ok = ctx != NULL && pg_cryptohash_init(ctx) >= 0;
	for (int i = 0; ok && i < n; i++)
		if (chunks[i].bytes > 0)
			ok = pg_cryptohash_update(ctx, chunks[i].data, chunks[i].bytes) >= 0;
	ok = ok && pg_cryptohash_final(ctx, digest, PAY_HASH_BYTES) >= 0;
	if (ctx != NULL)
		pg_cryptohash_free(ctx);
	leave_hash(&scope);

	if (!ok)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("could not compute a SHA-256 digest"),
				 errhint("The server's OpenSSL refused it; look for memory or policy limits in its log.")));
}

void
pay_hmac_sha256(const void *key, size_t key_bytes, const PayChunk *chunks, int n, uint8 mac[PAY_HASH_BYTES])
{
	HashScope	scope;
	pg_hmac_ctx *ctx;
	bool		ok;

	enter_hash(&scope);
	ctx = pg_hmac_create(PG_SHA256);
	ok = ctx != NULL && pg_hmac_init(ctx, key, key_bytes) >= 0;
	for (int i = 0; ok && i < n; i++)
		if (chunks[i].bytes > 0)
			ok = pg_hmac_update(ctx, chunks[i].data, chunks[i].bytes) >= 0;
	ok = ok && pg_hmac_final(ctx, mac, PAY_HASH_BYTES) >= 0;
	if (ctx != NULL)
		pg_hmac_free(ctx);
	leave_hash(&scope);

	if (!ok)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("could not compute an HMAC-SHA256 code"),
				 errhint("The server's OpenSSL refused it; look for memory or policy limits in its log.")));
}

char *
pay_base32(const void *data, size_t bytes)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	const uint8 *in = data;
	char	   *text = palloc((bytes * 8 + 4) / 5 + 1);
	char	   *out = text;
	uint32		pending = 0;
	int			pending_bits = 0;

	for (size_t i = 0; i < bytes; i++)
	{
		pending = (pending << 8) | in[i];
		pending_bits += 8;
		while (pending_bits >= 5)
		{
			pending_bits -= 5;
			*out++ = alphabet[(pending >> pending_bits) & 0x1f];
		}
	}
	if (pending_bits > 0)
		*out++ = alphabet[(pending << (5 - pending_bits)) & 0x1f];
	*out = '\0';
	return text;
}

PaySha256 *
pay_sha_begin(void)
{
	PaySha256  *sha = palloc(sizeof(PaySha256));

	initStringInfo(&sha->message);
	return sha;
}

static void
add_part(PaySha256 *sha, char type, const void *data, size_t bytes)
{
	uint64		length = pg_hton64((uint64) bytes);

	/* appendBinaryStringInfo() takes an int and refuses past 1 GB itself. */
	if (bytes > (size_t) MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("cannot hash a value of more than 1 GB"),
				 errhint("Pass a shorter value.")));
	appendStringInfoChar(&sha->message, type);
	appendBinaryStringInfo(&sha->message, (const char *) &length, sizeof(length));
	if (bytes > 0)
		appendBinaryStringInfo(&sha->message, data, (int) bytes);
}

void
pay_sha_add_text(PaySha256 *sha, const char *value)
{
	if (value == NULL)
		appendStringInfoChar(&sha->message, PART_NULL);
	else
		add_part(sha, PART_TEXT, value, strlen(value));
}

void
pay_sha_add_bytes(PaySha256 *sha, const void *data, size_t bytes)
{
	if (data == NULL)
		appendStringInfoChar(&sha->message, PART_NULL);
	else
		add_part(sha, PART_BYTES, data, bytes);
}

void
pay_sha_add_int64(PaySha256 *sha, int64 value)
{
	uint64		wire = pg_hton64((uint64) value);

	add_part(sha, PART_INT64, &wire, sizeof(wire));
}

void
pay_sha_add_uuid(PaySha256 *sha, const pg_uuid_t *value)
{
	if (value == NULL)
		appendStringInfoChar(&sha->message, PART_NULL);
	else
		add_part(sha, PART_UUID, value->data, UUID_LEN);
}

void
pay_sha_finish(PaySha256 *sha, uint8 digest[PAY_HASH_BYTES])
{
	PayChunk	whole = {sha->message.data, (size_t) sha->message.len};

	pay_sha256(&whole, 1, digest);
	pfree(sha->message.data);
	pfree(sha);
}
