/*
 * src/payment/queue.h
 *		Claiming operations that are due.
 */
#ifndef PAY_QUEUE_H
#define PAY_QUEUE_H

#include "psp/psp.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* An operation under lease, with the exact bytes to send. */
typedef struct PayClaim
{
	pg_uuid_t	operation_id;
	pg_uuid_t	payment_id;
	int			attempt;		/* the fencing token */
	bool		inquiry;
	int			refused;		/* answers before this, in a row, that said there are too many calls */
	const PayAdapter *adapter;
	PayCommand	command;
	PayRequest	request;		/* unused for in-process adapters */
	const char *psp_key;		/* NULL for an inquiry */
} PayClaim;

/*
 * Leases up to `max` due operations of the PSP to `worker` and writes their
 * attempt rows; call in a transaction, send only after its commit.  Leases
 * that ran out are completed as unknown on the way, so the result may be smaller
 * than what was due; *touched says how many rows were looked at.  Locked
 * payments are skipped, never waited for.  Results live in the current context.
 *
 * `on_its_way` may be NULL: where it knows an operation as one that the caller
 * has at the PSP still, the lease that ran out is made new.
 *
 * When it raises, *first still names the first of the rows, so that a caller
 * who asked for one knows which it was and can pass it in `skip` from then on.
 */
extern int	pay_queue_claim(const char *psp, const char *worker, int max, int lease_ms, TimestampTz now,
							bool (*on_its_way) (const pg_uuid_t *operation_id), const pg_uuid_t *skip, int n_skip,
							PayClaim **claims, int *touched, pg_uuid_t *first);

/* A claim that outlives the context that it was made in: all of it lies in the one given. */
extern PayClaim *pay_queue_copy_claim(const PayClaim *claim, MemoryContext context);

/* Makes all leases of that worker run out now: it has just started, so whoever held them is dead. */
extern void pay_queue_recover(const char *worker, TimestampTz now);

/* What was put off or leased by a clock that was ahead of `now` becomes due so much sooner.  False when some of it is locked by somebody. */
extern bool pay_queue_retime(TimestampTz now);

#endif							/* PAY_QUEUE_H */
