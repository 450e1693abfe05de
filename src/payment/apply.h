/*
 * src/payment/apply.h
 *		pay_apply(): the one door for every word of a PSP.
 */
#ifndef PAY_APPLY_H
#define PAY_APPLY_H

#include "payment/payment.h"
#include "psp/psp.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

typedef enum PaySource
{
	PAY_SOURCE_ANSWER,
	PAY_SOURCE_INQUIRY,
	PAY_SOURCE_WEBHOOK,
	PAY_SOURCE_SETTLEMENT,		/* a line of the PSP's book; its amounts are in ISO 4217 units */
	PAY_SOURCE_PERSON			/* who has looked at the PSP's pages; likewise, and always of an operation that is open */
} PaySource;

typedef enum PayOutcome
{
	PAY_OUTCOME_UNMATCHED,		/* no payment of ours */
	PAY_OUTCOME_LOCKED,			/* somebody holds the payment: nothing was done, come again */
	PAY_OUTCOME_NO_EFFECT,		/* known already, late, or out of order */
	PAY_OUTCOME_APPLIED
} PayOutcome;

/* One word of a PSP. */
typedef struct PayReport
{
	PaySource	source;
	const char *psp;
	PayResult	result;			/* amounts in the PSP's units, but for settlements */

	/* Of an answer or inquiry: whose. */
	pg_uuid_t	operation_id;
	bool		payment_known;	/* payment_id is given, and need not be looked up; always of a settlement */
	int			attempt;
	int			http_status;
	const char *request_id;
	const char *error;
	const char *body;			/* as received */
	size_t		body_bytes;
	int			elapsed_ms;
	bool		hint;			/* of a webhook that nobody could verify: the PSP is asked, and nothing of it is believed */
	bool		lease_lost;		/* nobody answered: the worker that sent it is gone */
	int			again_ms;		/* we were in the way, not the PSP: no try is used up, and the next comes after this; 0: else */

	/* Filled by pay_apply(). */
	PayOutcome	outcome;
	pg_uuid_t	payment_id;		/* unless unmatched; given, if payment_known */
	const char *status;			/* the payment's, afterwards */
	const char *status_before;	/* and before this one of several; NULL: it was not applied */
	const char *status_after;
} PayReport;

/*
 * Applies the reports in order, in the caller's transaction: locks the
 * payments, decides, writes.  With `wait`, a payment that somebody holds is
 * waited for; without, its reports come back as PAY_OUTCOME_LOCKED and the
 * others go on.  Call between pay_spi_begin() and pay_spi_end().  Raises only
 * for contradictions in our own tables, for 40001 and for lock timeouts; the
 * whole batch is lost then, and the caller applies its items one by one.
 */
extern void pay_apply(PayReport *reports, int n, bool wait, TimestampTz now, const char *actor);

/* What the movements of a payment sum to. */
typedef struct PaySums
{
	int64		refunded;		/* less what failed */
	int64		disputed;		/* less what was won */
	int64		lost;			/* of these, for good */
	int64		excess;			/* both together beyond what was captured */
	bool		came_to_nothing;	/* the payment: it has ended without money */
	int64		in_suspense;	/* of what came late all the same, less what was given back */
} PaySums;

/*
 * Around every change of movements or of what is reserved: the sums before it,
 * and after it what follows from them for the payment's amounts and status.
 * `operation` is the one that the news is about, or NULL.
 */
extern void pay_apply_sum_up(const PayPayment *payment, PaySums *sums);
extern void pay_apply_follow(PayPayments *set, PayPayment *payment, const PaySums *before, const PayOperation *operation,
							 const char *source, const char *code);
/* Puts down on a stored event what it told, so that it can be applied without being read again. */
extern void pay_unmatched_keep(const char *psp, const char *event_id, const PayResult *result);
/*
 * Applies what is unmatched since its payment's id was learned in a transaction
 * that ran beside its own, so that neither saw the other.  A few at a time,
 * without waiting; for the worker.
 */
extern void pay_unmatched_sweep(TimestampTz now, const char *actor);
/* Asks the PSPs of authorizations whose time is over; a few at a time, without waiting.  Returns how many. */
extern int	pay_expiry_sweep(TimestampTz now, const char *actor);

/* Sends to other PSPs, as their rules say, what has reached none and waits for one that cannot be called.  Likewise. */
extern void pay_fall_back_sweep(TimestampTz now, const char *actor);

#endif							/* PAY_APPLY_H */
