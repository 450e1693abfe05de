/*
 * src/payment/idempotency.h
 *		A repeated call does nothing again (promise 7).
 */
#ifndef PAY_IDEMPOTENCY_H
#define PAY_IDEMPOTENCY_H

#include "base/digest.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#define PAY_KEY_CHARS_MAX 255
#define PAY_PSP_REF_CHARS 52

#define PAY_ASKED_MAX 12

/* What the call under a key made, and how it stands now: the payment, or the operation on it. */
typedef struct PayFirstResult
{
	pg_uuid_t	payment_id;
	pg_uuid_t	operation_id;
	char	   *status;
} PayFirstResult;

/* An argument that is kept in a column of its name, so that an error can say which one differs.  Lists end with a NULL name. */
typedef struct PayAsked
{
	const char *name;
	const char *value;			/* as that column's text; NULL: left out */
} PayAsked;

/* Raises PAY_ERR_KEY_INVALID unless the key is there, 1 to 255 printable characters; and 25006 where nothing can be written. */
extern void pay_idempotency_check_key(const char *key);

/*
 * Looks the key up.  Returns false when nobody has used it.  Raises
 * PAY_ERR_KEY_REUSED when it was used with another request; the hash tells, and
 * `asked` which argument it is.  A fresh snapshot is taken, so after a lost
 * insert race this finds the winner's row.
 */
extern bool pay_idempotency_find(const char *merchant, const char *key, const char *verb,
								 const uint8 *request_hash, const PayAsked *asked, PayFirstResult *first);

/*
 * Takes the key, in the caller's transaction.  Returns false when another
 * transaction took it first and committed; a concurrent twin is waited for.
 */
extern bool pay_idempotency_insert(const char *merchant, const char *key, const char *verb,
								   const uint8 *request_hash, const PayFirstResult *result, TimestampTz now);

/*
 * Our name of the operation at the PSP, and the idempotency key for one
 * generation and step: both from the client's request and the installation's salt alone
 * (promise 2), so that a retry after a failover that lost our rows sends the
 * PSP the same bytes, and no other installation ever does.  The name begins
 * with the installation's tag.  Call between pay_spi_begin() and pay_spi_end().
 */
extern char *pay_idempotency_psp_ref(const char *merchant, const char *key, const char *operation);
/* Was it given by another installation?  False of what none has given, NULL included.  Call likewise. */
extern bool pay_idempotency_is_foreign(const char *psp_ref);
extern char *pay_idempotency_psp_key(const char *psp_ref, int generation, int step);

#endif							/* PAY_IDEMPOTENCY_H */
