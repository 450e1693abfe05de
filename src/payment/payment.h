/*
 * src/payment/payment.h
 *		Payments under lock, with all that is known of them.
 *
 * Whatever changes a payment does it in three steps: load the payments (locks
 * the payment rows), decide on the structs, save what changed (a handful of
 * set-based statements, however many payments).  Check and act are thus under
 * one lock by construction.
 */
#ifndef PAY_PAYMENT_H
#define PAY_PAYMENT_H

#include "psp/psp.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

typedef enum PayQueueChange
{
	PAY_QUEUE_KEEP,
	PAY_QUEUE_INSERT,
	PAY_QUEUE_UPDATE,
	PAY_QUEUE_DELETE
} PayQueueChange;

/* An operation, its place in the queue and its open dead letter. */
typedef struct PayOperation
{
	pg_uuid_t	operation_id;
	PayOpKind	kind;
	int64		amount;
	bool		keep_rest;		/* of a capture: further ones are to follow */
	const char *reason;
	const char *psp_ref;
	const char *status;
	int			generation;
	int			step;			/* of this generation: which of the requests that it takes */
	int			attempts;
	TimestampTz key_used_at;	/* first send of this step that the PSP may have heard; 0: certainly none */
	TimestampTz created_at;
	const char *psp_object_id;
	const char *failure_code;
	const char *failure_message;
	TimestampTz completed_at;	/* 0 = not yet */
	const char *source;			/* who said how it ended; NULL: open */
	bool		is_new;
	bool		dirty;
	bool		ended;			/* by this batch: the outbox tells */

	bool		queued;
	const char *action;			/* "send" or "inquire" */
	TimestampTz due_at;
	const char *claimed_by;		/* NULL: free */
	int			queue_attempt;	/* fencing token: number of the attempt that holds the lease */
	const char *schedule;		/* NULL: none yet */
	int			try;			/* on that schedule */
	int			lost;			/* leases lost in a row */
	int			refused;		/* answers in a row that said there are too many */
	bool		hinted;			/* a hint came while it was claimed */
	PayQueueChange queue_change;

	const char *dead_letter;	/* reason of the open one, NULL: none */
	bool		dead_letter_resolved;	/* of one that was open */
	const char *decision;		/* of a person: redriven, discarded, confirmed; NULL: none, it is resolved */
	const char *resolution;		/* why; NULL without a decision: the PSP said what became of it */
	const char *dead_reason;	/* set: to be dead-lettered now */
	const char *dead_detail;
} PayOperation;

/* A row of payments.movement. */
typedef struct PayMoved
{
	const char *psp;			/* where it moved: the payment's, or one that it has left */
	const char *kind;
	const char *object_id;
	int64		amount;
} PayMoved;

/* By this id a PSP may have told of the payment. */
typedef struct PayLearned
{
	const char *psp;
	const char *id;
} PayLearned;

typedef struct PayPayment
{
	pg_uuid_t	payment_id;
	const char *merchant;
	const char *kind;			/* purchase, topup, withdrawal, transfer */
	int64		amount;
	const char *currency;
	const char *psp;
	const char *payment_method;
	const char *order_ref;
	const char *customer;
	const char *return_url;
	const char *description;
	bool		off_session;

	const char *status;
	int			seq;
	uint8		status_hash[PAY_HASH_BYTES];
	int64		authorized;
	int64		capture_pending;
	int64		captured;
	int64		released;		/* of what was authorized: given up without a capture */
	TimestampTz capture_before; /* then the PSP gives up what is not captured; 0: not known, or nothing is left */
	int64		refund_pending;
	int64		refunded;
	int64		disputed;
	const char *psp_payment_id;
	const char *next_action_url;
	const char *failure_code;
	const char *failure_message;
	bool		dirty;
	List	   *learned;		/* PayLearned: ids that may have been told of before they were known as this payment's */
	const char *told_by;		/* a PSP that it has left, while its word is applied; NULL: else */

	const PayAdapter *adapter;	/* NULL when the library has none of that name */
	const char *adapter_name;
	const char *config;			/* the PSP's, as JSON text; NULL: empty */
	int			exponent;		/* ISO 4217 */
	int			psp_exponent;	/* the PSP's */

	List	   *operations;		/* PayOperation, oldest first */
	List	   *moved;			/* PayMoved */
} PayPayment;

typedef struct PayPayments
{
	int			n;
	PayPayment *list;			/* sorted by payment_id */
	TimestampTz now;
	const char *actor;
	List	   *status_rows;	/* to be written, all of what follows */
	List	   *movements;
	List	   *attempts;
	List	   *answers;
	List	   *exceptions;
	List	   *moves;			/* to other PSPs */
	bool		wake;			/* something became due */
} PayPayments;

/* The exact bytes of a call, written before the first of them leaves. */
typedef struct PayAttempt
{
	pg_uuid_t	operation_id;
	int			attempt;
	const char *action;
	int			generation;
	int			step;
	const char *psp_key;		/* NULL for an inquiry */
	const char *method;
	const char *path;
	const char *content_type;
	const char *body;
	const char *worker;
} PayAttempt;

/* What came back. */
typedef struct PayAttemptAnswer
{
	pg_uuid_t	operation_id;
	int			attempt;
	const char *class;
	const char *code;
	int			http_status;	/* 0: none */
	const char *request_id;
	const char *error;
	bytea	   *body;			/* capped, card numbers masked; may be NULL */
	int			elapsed_ms;
	bool		late;			/* the lease was gone: recorded, and heeded only if it says that money moved */
} PayAttemptAnswer;

/*
 * Locks the payments in id order (waiting for others) and reads all about
 * them.  Ids that do not exist are missing from the result.  Raises 40001 at
 * REPEATABLE READ and above if one has changed since the snapshot.
 */
extern PayPayments *pay_payments_load(const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor);
/* The same without waiting: payments that somebody else holds are missing from the result. */
extern PayPayments *pay_payments_load_skipping_locked(const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor);
/* Writes everything that was changed.  Raises what CHECKs and guards raise; the caller's transaction is then lost. */
extern void pay_payments_save(PayPayments *set);

extern PayPayment *pay_payments_find(PayPayments *set, const pg_uuid_t *payment_id);
extern PayOperation *pay_payment_operation(PayPayment *payment, const pg_uuid_t *operation_id);
/* First operation of that kind that is not finished, or NULL. */
extern PayOperation *pay_payment_open_operation(PayPayment *payment, PayOpKind kind);
/* Has somebody asked to cancel it, whatever became of that? */
extern bool pay_payment_cancel_asked(const PayPayment *payment);
/* By the speaker's word. */
extern PayMoved *pay_payment_moved(const PayPayment *payment, const char *kind, const char *object_id);
/* Sum of the movements of that kind. */
extern int64 pay_payment_sum(const PayPayment *payment, const char *kind);
/* What was authorized, is not captured, and may be yet. */
extern int64 pay_payment_rest(const PayPayment *payment);
/* Has the PSP taken or held anything for it? */
extern bool pay_payment_has_money(const PayPayment *payment);
/* Has it ended without money?  Then it stays so, and whatever comes for it is late. */
extern bool pay_payment_came_to_nothing(const PayPayment *payment);
/*
 * Has the payer to act before our last request, without which the PSP moves
 * nothing?  Then whoever holds the payment's lock may end it.
 */
extern bool pay_payment_waits_between_steps(const PayPayment *payment);
/* Does a movement of that kind move money?  The others only say what has happened. */
extern bool pay_movement_moves(const char *kind);

extern bool pay_operation_is_open(const PayOperation *operation);
/* Charge, authorize and payout carry the payment's own status; the others do not. */
extern bool pay_operation_is_first(const PayOperation *operation);

/* Does the event lead anywhere from the present status? */
extern bool pay_payment_can(const PayPayment *payment, const char *event);
/* Takes the edge: status, seq, hash, and a history row to be saved.  Raises PAY_ERR_ILLEGAL_TRANSITION if there is none. */
extern void pay_payment_event(PayPayments *set, PayPayment *payment, const char *event,
							  const PayOperation *operation, const char *source, const char *code);
/* payment/fallback.c: in memory, its PSP is that one, with adapter, config and units.  False if there is none of that name. */
extern bool pay_payment_place(PayPayment *payment, const char *psp);
/*
 * payment/fallback.c: could whoever was armed before us have sent it to another
 * PSP than its own, without our knowing?  Between pay_spi_begin() and pay_spi_end().
 */
extern bool pay_perhaps_gone(const PayPayment *payment, const PayOperation *operation);
/* Whose word is being applied: that of its PSP, unless told_by says otherwise. */
extern const char *pay_payment_speaker(const PayPayment *payment);
/* Records money that moved, where the speaker is; its postings follow at save. */
extern PayMoved *pay_payment_move(PayPayments *set, PayPayment *payment, const PayOperation *operation,
							 const char *kind, const char *object_id, int64 amount, const char *source);
/* Opens an exception for a person; object_id may be NULL. */
extern void pay_payment_exception(PayPayments *set, PayPayment *payment, const PayOperation *operation,
								  const char *kind, const char *object_id, int64 amount, const char *detail);
/* Resolves the open ones of that kind that name this object, or no object (NULL). */
extern void pay_payment_resolve(PayPayments *set, PayPayment *payment, const char *kind, const char *object_id,
								const char *resolution);
/* Those of that kind that are of this operation, whatever object they name. */
extern void pay_payment_resolve_of(PayPayments *set, PayPayment *payment, const char *kind, const PayOperation *operation,
								   const char *resolution);
/* Opens those again that were resolved in these words: it is no longer so. */
extern void pay_payment_reopen(PayPayments *set, PayPayment *payment, const char *kind, const char *object_id,
							   const char *resolution);
/* Gives back what a capture or refund that is over, or has moved its money, had reserved.  Once is enough, twice does no harm for a capture. */
extern void pay_payment_release(PayPayment *payment, const PayOperation *operation);
/* Adds an operation with its queue row, due at once. */
extern PayOperation *pay_payment_add_operation(PayPayments *set, PayPayment *payment, PayOpKind kind, int64 amount,
											   const char *reason, const char *psp_ref);
/* Sets when the queue row is due; makes one if there is none.  Drops any claim, and decides a dead letter: it goes on. */
extern void pay_operation_enqueue(PayPayments *set, PayOperation *operation, const char *action, TimestampTz due_at);
/* Takes it from the queue into the dead letters. */
extern void pay_operation_bury(PayOperation *operation, const char *reason, const char *detail);
/* Ends it in the given status ('succeeded', 'failed', 'cancelled'), by the word of `source`. */
extern void pay_operation_finish(PayPayments *set, PayOperation *operation, const char *status, const char *source);
/* Did a person say how it ended, and not the PSP? */
extern bool pay_operation_was_decided(const PayOperation *operation);

#endif							/* PAY_PAYMENT_H */
