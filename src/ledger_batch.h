/*
 * src/ledger_batch.h
 *		A set of postings on its way into the ledger; see ledger.c.
 *
 * Inside the ledger only: others call pay_ledger_post_movements() or the verbs.
 */
#ifndef PAY_LEDGER_BATCH_H
#define PAY_LEDGER_BATCH_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Largest number of postings in one call. */
#define PAY_POSTINGS_MAX 100000

/* Lengths in bytes, within what the CHECKs of payments.posting allow in characters. */
#define PAY_REFERENCE_MAX 255
#define PAY_DESCRIPTION_MAX 1000
#define PAY_KIND_MAX 63

/*
 * A hot account's counters may grow to half the range; its unfolded tail, which
 * nobody reads when posting, has the other half.
 */
#define PAY_HOT_COUNTER_MAX (INT64CONST(1) << 62)

typedef enum PayLimit
{
	PAY_LIMIT_NONE,
	PAY_LIMIT_MINIMUM,
	PAY_LIMIT_MAXIMUM
} PayLimit;

typedef struct PayAccount
{
	int64		account_id;
	const char *merchant;
	const char *code;
	const char *currency;
	bool		debit_normal;	/* asset, expense */
	bool		hot;
	bool		closed;
	bool		has_minimum;
	bool		has_maximum;
	int64		minimum;
	int64		maximum;
	int64		debits;			/* as read under the lock; without the tail if hot */
	int64		credits;
	int64		held_debits;
	int64		held_credits;
	int64		new_debits;		/* what this batch adds */
	int64		new_credits;
	int64		new_held_debits;	/* below zero: what it releases */
	int64		new_held_credits;
} PayAccount;

typedef struct PayPosting
{
	/* as asked for */
	int64		debit;			/* account ids */
	int64		credit;
	int64		amount;
	const char *kind;
	const char *reference;		/* NULL: none */
	const char *description;	/* NULL: none */
	const pg_uuid_t *payment_id;	/* NULL: not a payment's */
	bool		has_effective_at;	/* false: when it is booked */
	TimestampTz effective_at;
	int64		reverses;		/* posting_id, 0: none */
	int64		released;		/* what a hold keeps on both accounts, given free with it */

	/* found on the way */
	PayAccount *debit_account;	/* NULL: no such account */
	PayAccount *credit_account;
	int			group;			/* postings of one reference have one group; -1: no reference */
	int			invalid;		/* SQLSTATE that no balance can change, 0: none */
	bool		posted_before;	/* the same posting is in the ledger: posting_id is its id */
	struct PayPosting *same_as; /* the same posting comes earlier in this batch */

	/* the outcome */
	int			error;			/* SQLSTATE, 0: posted */
	const PayAccount *refused_by;	/* which account said no, if one did */
	PayLimit	limit;			/* and why, for PAY_ERR_LIMIT_EXCEEDED */
	const char *differs;		/* which field, for PAY_ERR_POSTING_REUSED */
	int64		posting_id;		/* 0: not posted */
} PayPosting;

typedef struct PayPostingBatch
{
	bool		movements;		/* postings of payments: references are unique among themselves */
	bool		all_or_nothing; /* raise the first error */
	int			n;
	PayPosting *postings;
	int			n_accounts;
	PayAccount *accounts;		/* sorted by account_id */
} PayPostingBatch;

/*
 * Reads the accounts that the postings name, locking the ordinary ones in id
 * order, and points the postings to them.  Until the transaction ends nobody
 * else changes these balances.
 */
extern void pay_ledger_lock_accounts(PayPostingBatch *batch);

/*
 * Checks the postings in order against running balances and writes those that
 * pass; accounts must be locked.  Each posting carries its outcome afterwards.
 * With all_or_nothing the first error is raised and nothing is written.
 */
extern void pay_ledger_write(PayPostingBatch *batch);

/* Would both accounts let this posting pass now?  0 or an SQLSTATE; changes no sums. */
extern int	pay_ledger_check(PayPosting *posting);

/* Writes what the batch's accounts have as new sums, as pay_ledger_write() does for its postings. */
extern void pay_ledger_add_to_accounts(const PayPostingBatch *batch);

/* Raises what posting->error says. */
extern void pay_ledger_raise(const PayPosting *posting) pg_attribute_noreturn();

#endif							/* PAY_LEDGER_BATCH_H */
