/*
 * src/worker/transaction.h
 *		A step of the worker in a transaction of its own.
 */
#ifndef PAY_WORKER_TRANSACTION_H
#define PAY_WORKER_TRANSACTION_H

typedef enum PayWorkEnd
{
	PAY_WORK_DONE,				/* and committed */
	PAY_WORK_FAILED,			/* rolled back, and logged */
	PAY_WORK_NOT_SET_UP			/* the extension is gone, or setup() was not run: nothing was done */
} PayWorkEnd;

/* Of a step that failed; the message lives in the caller's context. */
typedef struct PayWorkError
{
	const char *message;
	int			sqlstate;
} PayWorkError;

/* Pins what these transactions rely on; once, at the start. */
extern void pay_worker_pin_settings(void);
/* For SIGINT: ends a step, never the worker. */
extern void pay_worker_cancel_handler(SIGNAL_ARGS);
/*
 * Runs work(arg) outside of transactions.  False, and logged, when it raised: so that what was taken for it can be given
 * back.  `error` may be NULL.
 */
extern bool pay_worker_try(void (*work) (void *), void *arg, PayWorkError *error);
/* Runs work(arg) as payments_owner between pay_spi_begin() and pay_spi_end(), and commits.  `error` may be NULL.  Never raises for what work raises. */
extern PayWorkEnd pay_worker_transaction(void (*work) (void *), void *arg, PayWorkError *error);
/* The one or the other, as the work needs it.  False when it was not done. */
extern bool pay_worker_do(void (*work) (void *), void *arg, bool in_transaction);
/* Does the error say nothing against what was done, but that it came at a bad time? */
extern bool pay_worker_error_passes(const PayWorkError *error);

#endif							/* PAY_WORKER_TRANSACTION_H */
