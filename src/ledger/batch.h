/*
 * src/ledger/batch.h
 *		A set of postings on its way into the ledger; see ledger/write.c.
 *
 * Inside the ledger only: others call pay_ledger_post_movements() or the verbs.
 */
#ifndef PAY_LEDGER_BATCH_H
#define PAY_LEDGER_BATCH_H

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/uuid.h"

/* Largest number of postings in one call. */
#define PAY_POSTINGS_MAX 100000

/* Lengths in bytes, within what the CHECKs of payments.posting allow in characters. */
#define PAY_REFERENCE_MAX 255
#define PAY_DESCRIPTION_MAX 1000
#define PAY_KIND_MAX 63

/* A hot account's counters may grow to half the range; the other half is for what is not folded yet, and not counted (ledger/tail.c). */
#define PAY_HOT_COUNTER_MAX (INT64CONST(1) << 62)

typedef enum PayLimit
{
	PAY_LIMIT_NONE,
	PAY_LIMIT_MINIMUM,
	PAY_LIMIT_MAXIMUM
} PayLimit;

/* A row of account_part; see ledger/part.c. */
typedef struct PayPart
{
	int64		debits;
	int64		credits;
	int64		moved;
	int64		minimum;
	int64		maximum;
} PayPart;

#define PAY_ALL_PARTS (-1)

typedef struct PayAccount
{
	int64		account_id;
	ItemPointerData tid;		/* of the row that is locked; not of a hot account's */
	const char *merchant;
	const char *code;
	const char *currency;
	bool		debit_normal;	/* asset, expense */
	bool		hot;
	bool		closed;
	bool		history;		/* ledger/history.c; never if hot */
	bool		has_minimum;
	bool		has_maximum;
	TimestampTz closed_until;	/* nothing takes effect before; read only for postings that say when they do, see ledger/period.c */
	int64		minimum;
	int64		maximum;
	int64		debits;			/* as read under the lock; if hot, with the tail only where much is posted */
	int64		credits;
	int64		held_debits;
	int64		held_credits;
	int64		new_debits;		/* what this batch adds */
	int64		new_credits;
	int64		new_held_debits;	/* below zero: what it releases */
	int64		new_held_credits;

	/* A split account: sums and limits above are those of the part that is locked, or of the whole if all are. */
	int			n_parts;		/* 0: not split */
	int			locked_part;	/* from 1; 0: none; PAY_ALL_PARTS */
	PayPart    *parts;			/* n_parts, as read; NULL: none locked */
} PayAccount;

typedef struct PayPosting
{
	/* as asked for */
	int64		debit;			/* account ids */
	int64		credit;
	int64		asked;			/* > 0; the ceiling, if balancing */
	bool		balancing;		/* as much of it as the limits allow */
	const char *kind;
	const char *reference;		/* NULL: none */
	const char *description;	/* NULL: none */
	const pg_uuid_t *payment_id;	/* NULL: not a payment's */
	bool		own;			/* of the system, not of a verb: its reference is in a name space of ours */
	bool		has_effective_at;	/* false: when it is booked */
	bool		imported;		/* effective_at may lie in the past */
	TimestampTz effective_at;
	int			link;			/* neighbours of one number are posted together or not at all; 0: alone */
	int64		reverses;		/* posting_id, 0: none */
	int64		released;		/* what a hold keeps on both accounts, given free with it */

	/* found on the way */
	PayAccount *debit_account;	/* NULL: no such account */
	PayAccount *credit_account;
	int64		amount;			/* what is posted: asked, or less if balancing */
	int			invalid;		/* SQLSTATE that no balance can change, 0: none */
	int64		new_id;			/* its posting_id if it is posted now */
	int64		transaction_id; /* new_id of the first of its link; 0: alone */
	struct PayPosting *first;	/* has the same reference and comes earlier in this batch; NULL: none */
	bool		claimed;		/* the reference is this posting's now, whatever becomes of it */
	bool		posted_before;	/* the same posting is in the ledger: posting_id is its id */
	bool		failed_before;	/* the same posting was refused for good: error says why */
	struct PayPosting *same_as; /* `first`, if that is the same posting */

	/* the outcome */
	int			error;			/* SQLSTATE, 0: posted */
	const PayAccount *refused_by;	/* which account said no, if one did */
	PayLimit	limit;			/* and why, for PAY_ERR_LIMIT_EXCEEDED */
	const char *differs;		/* which field, for PAY_ERR_POSTING_REUSED */
	int64		posting_id;		/* 0: not posted */
} PayPosting;

typedef struct PayPostingBatch
{
	bool		all_or_nothing; /* raise the first error */
	int			n;
	PayPosting *postings;
	int			n_accounts;
	PayAccount *accounts;		/* sorted by account_id */
	TimestampTz now;			/* when it is booked, read under the locks */
} PayPostingBatch;

/*
 * Reads the accounts that the postings name, locking the ordinary ones in id
 * order, and points the postings to them.  Their merchants' locks are shared
 * already (ledger/hot.h).
 */
extern void pay_ledger_read_accounts(PayPostingBatch *batch);
/* Past the last of the postings that are linked with this one. */
extern int	pay_ledger_link_end(const PayPostingBatch *batch, int start);

#endif							/* PAY_LEDGER_BATCH_H */
