/*
 * src/base/uuid.h
 *		Ids that leave the database.
 */
#ifndef PAY_UUID_H
#define PAY_UUID_H

#include "utils/uuid.h"

/* Shard bucket of a merchant, 0..4095: a hash of its name that never changes. */
extern int	pay_shard_bucket(const char *merchant);
/* UUIDv7 whose last 12 bits are the bucket, so that any call with an id can be routed by it. */
extern pg_uuid_t pay_new_id(int bucket);
/* Bucket of an id made above. */
extern int	pay_id_bucket(const pg_uuid_t *id);
extern char *pay_uuid_text(const pg_uuid_t *id);

#endif							/* PAY_UUID_H */
