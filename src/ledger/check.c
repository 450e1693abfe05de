/*
 * src/ledger/check.c
 *		What may be posted: between which accounts, within which limits.
 *
 * Decided in C, in order, against the running balances of locked accounts, as
 * if those before it that pass were posted.  Linked postings, neighbours of one
 * link number, pass together or not at all: what those before the refused one
 * have added to the running balances is taken back.
 */
#include "payments.h"

#include "ledger/check.h"
#include "ledger/part.h"
#include "ledger/period.h"
#include "ledger/reference.h"

#include "access/xact.h"
#include "common/int.h"

static void check_linked(PayPosting *postings, int n);
static int	decide(PayPosting *posting);
static int	try_posting(PayPosting *posting);
static void take_back(PayPosting *posting);
static int	check_side(const PayAccount *account, const PayPosting *posting, bool debit, PayLimit *limit);

int
pay_ledger_check_accounts(const PayPosting *posting)
{
	if (posting->debit_account == NULL || posting->credit_account == NULL)
		return PAY_ERR_ACCOUNT_NOT_FOUND;
	if (strcmp(posting->debit_account->currency, posting->credit_account->currency) != 0)
		return PAY_ERR_CURRENCY_MISMATCH;
	return 0;
}

/* Decides every posting, in order, as if those before it that pass were posted. */
void
pay_ledger_check_postings(PayPostingBatch *batch)
{
	int			end;

	for (int start = 0; start < batch->n; start = end)
	{
		end = pay_ledger_link_end(batch, start);
		check_linked(&batch->postings[start], end - start);
	}
}

/* All pass, or none. */
static void
check_linked(PayPosting *postings, int n)
{
	int			failed = 0;

	while (failed < n && (postings[failed].error = decide(&postings[failed])) == 0)
		failed++;
	for (int i = 0; i < n && failed < n; i++)
	{
		if (i == failed || postings[i].posted_before)
			continue;
		if (i < failed)
			take_back(&postings[i]);
		if (!postings[i].failed_before && postings[i].invalid == 0)
			postings[i].error = PAY_ERR_LINKED_FAILED;
		else if (i > failed)
			postings[i].error = decide(&postings[i]);
	}
}

/* 0 or an SQLSTATE. */
static int
decide(PayPosting *posting)
{
	posting->same_as = NULL;
	posting->refused_by = NULL;
	posting->limit = PAY_LIMIT_NONE;
	if (posting->invalid || posting->posted_before)
		return posting->invalid;
	if (posting->failed_before)
		return posting->error;
	/* What repeats a posting of this batch has its outcome; what repeats an older one was compared with that. */
	if (posting->first)
	{
		posting->differs = pay_ledger_difference(posting, posting->first);
		if (posting->differs)
			return PAY_ERR_POSTING_REUSED;
		posting->same_as = posting->first;
		return 0;
	}
	return try_posting(posting);
}

/* Adds the posting to the running sums if both accounts let it; returns 0 or an SQLSTATE. */
static int
try_posting(PayPosting *posting)
{
	int			error;

	if (posting->has_effective_at && !posting->imported && posting->effective_at < GetCurrentTransactionStartTimestamp())
		return ERRCODE_INVALID_PARAMETER_VALUE;
	posting->refused_by = pay_ledger_closed_account(posting);
	if (posting->refused_by)
		return PAY_ERR_PERIOD_CLOSED;
	if (posting->balancing)
		posting->amount = Max(pay_ledger_largest_amount(posting), 1);
	error = pay_ledger_check(posting);
	if (error)
		return error;
	posting->debit_account->new_debits += posting->amount;
	posting->credit_account->new_credits += posting->amount;
	posting->debit_account->new_held_debits -= posting->released;
	posting->credit_account->new_held_credits -= posting->released;
	return 0;
}

/* Undoes try_posting(). */
static void
take_back(PayPosting *posting)
{
	Assert(posting->same_as == NULL && !posting->posted_before);
	posting->debit_account->new_debits -= posting->amount;
	posting->credit_account->new_credits -= posting->amount;
	posting->debit_account->new_held_debits += posting->released;
	posting->credit_account->new_held_credits += posting->released;
}

int
pay_ledger_check(PayPosting *posting)
{
	PayAccount *debit = posting->debit_account;
	PayAccount *credit = posting->credit_account;
	int			error;

	Assert(posting->amount > 0 && debit != NULL && credit != NULL && debit != credit);
	posting->refused_by = debit;
	if (debit->closed)
		return PAY_ERR_ACCOUNT_CLOSED;
	error = check_side(debit, posting, true, &posting->limit);
	if (error)
		return error;
	posting->refused_by = credit;
	if (credit->closed)
		return PAY_ERR_ACCOUNT_CLOSED;
	error = check_side(credit, posting, false, &posting->limit);
	if (error)
		return error;
	posting->refused_by = NULL;
	return 0;
}

/*
 * May this amount be debited (or credited)?  What is held on the same side
 * counts as gone; what is held on the other side cannot be spent yet.  Counters
 * keep room for what is held, so that a hold can always be posted.
 */
static int
check_side(const PayAccount *account, const PayPosting *posting, bool debit, PayLimit *limit)
{
	int64		amount = posting->amount;
	int64		held = (debit ? account->held_debits + account->new_held_debits :
						account->held_credits + account->new_held_credits) - posting->released;
	int64		debits = account->debits + account->new_debits; /* cannot overflow, by the first check below */
	int64		credits = account->credits + account->new_credits;
	int64		room = PAY_COUNTER_MAX(account) - (debit ? debits : credits) - held;
	int64		balance = account->debit_normal ? debits - credits : credits - debits;
	bool		grows = debit == account->debit_normal;

	if (amount > room || (account->hot && amount > PAY_AMOUNT_MAX))
		return PAY_ERR_BALANCE_OVERFLOW;
	/* Past the end of int64 is past any limit. */
	if (grows && account->has_maximum &&
		(pg_add_s64_overflow(balance, held, &balance) || pg_add_s64_overflow(balance, amount, &balance) ||
		 balance > account->maximum))
	{
		*limit = PAY_LIMIT_MAXIMUM;
		return PAY_ERR_LIMIT_EXCEEDED;
	}
	if (!grows && account->has_minimum &&
		(pg_sub_s64_overflow(balance, held, &balance) || pg_sub_s64_overflow(balance, amount, &balance) ||
		 balance < account->minimum))
	{
		*limit = PAY_LIMIT_MINIMUM;
		return PAY_ERR_LIMIT_EXCEEDED;
	}
	return 0;
}

/* What a smaller amount breaks, a larger one does. */
int64
pay_ledger_largest_amount(const PayPosting *posting)
{
	PayPosting	trial = *posting;
	int64		low = 0;
	int64		high = posting->asked;

	while (low < high)
	{
		trial.amount = low + (high - low) / 2 + (high - low) % 2;
		if (pay_ledger_check(&trial) == 0)
			low = trial.amount;
		else
			high = trial.amount - 1;
	}
	return low;
}
