/*
 * src/worker/worker_private.h
 *		Between worker.c, worker/maintenance.c and worker/feeds.c.
 */
#ifndef PAY_WORKER_PRIVATE_H
#define PAY_WORKER_PRIVATE_H

#include "datatype/timestamp.h"

struct PayHttpResponse;

/* worker.c: runs work as payments_owner in a transaction of its own; false when it failed, which is logged. */
extern bool pay_worker_transaction(void (*work) (void *), void *arg, char **error, int *sqlstate);
/* Does an SQLSTATE say nothing against what was done, but that it came at a bad time? */
extern bool pay_worker_error_passes(int sqlstate);

/* worker/feeds.c.  So many requests more than the worker's own may be in flight, and their tags begin here. */
#define PAY_WORKER_FEED_SLOTS 16
#define PAY_WORKER_FEED_TAG (UINT64CONST(1) << 32)

extern void pay_worker_feed_init(void);
/* Within the transaction in which the worker looks around: when is the next page due? */
extern void pay_worker_feed_look(TimestampTz now);
/* Once after the start, in the same transaction. */
extern void pay_worker_feed_recover(TimestampTz now);
extern void pay_worker_feed_answered(struct PayHttpResponse *response);
/* One step of each kind at most; `idle`: ask for nothing. */
extern void pay_worker_feed_step(bool idle);
extern TimestampTz pay_worker_feed_next(bool idle);

/* worker/maintenance.c: does what is due; when the next is; something was posted; settings were read again. */
extern void pay_worker_maintenance_step(void);
extern TimestampTz pay_worker_maintenance_next(void);
extern void pay_worker_maintenance_completed(TimestampTz now);
extern void pay_worker_maintenance_reload(void);

#endif							/* PAY_WORKER_PRIVATE_H */
