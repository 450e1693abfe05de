/*
 * src/base/uuid.c
 *		Ids that leave the database: UUIDv7 (RFC 9562) with the shard bucket.
 *
 * 48 bits of Unix milliseconds, 12 bits of sub-millisecond, 50 random bits and
 * the 12 bits of the bucket.  Never a sequence: after a failover to an
 * asynchronous standby a sequence gives the same number to somebody else.
 */
#include "payments.h"

#include "base/uuid.h"

#include "base/digest.h"

#include "utils/builtins.h"

#include <sys/time.h>
#include <time.h>

int
pay_shard_bucket(const char *merchant)
{
	PaySha256  *sha = pay_sha_begin();
	uint8		hash[PAY_HASH_BYTES];

	pay_sha_add_text(sha, merchant);
	pay_sha_finish(sha, hash);
	return ((hash[0] << 8) | hash[1]) & 0xfff;
}

pg_uuid_t
pay_new_id(int bucket)
{
	pg_uuid_t	id;
	struct timespec ts;
	uint64		ms;
	uint32		fraction;

	clock_gettime(CLOCK_REALTIME, &ts);
	ms = (uint64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	fraction = (uint32) (((uint64) (ts.tv_nsec % 1000000) * 4096) / 1000000);

	if (!pg_strong_random(id.data + 8, 8))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get random bytes"),
				 errhint("Check the server's random source.")));
	for (int i = 0; i < 6; i++)
		id.data[i] = (uint8) (ms >> (40 - 8 * i));
	id.data[6] = 0x70 | (fraction >> 8);
	id.data[7] = fraction & 0xff;
	id.data[8] = 0x80 | (id.data[8] & 0x3f);
	id.data[14] = (id.data[14] & 0xf0) | ((bucket >> 8) & 0x0f);
	id.data[15] = bucket & 0xff;
	return id;
}

int
pay_id_bucket(const pg_uuid_t *id)
{
	return ((id->data[14] & 0x0f) << 8) | id->data[15];
}

char *
pay_uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}
