/*
 * src/ledger/write.c
 *		Two-legged postings between accounts: the script that writes a batch.
 *
 * A posting moves an amount from the account it credits to the account it
 * debits, so the ledger balances by construction.  Postings are inserted and
 * never change; an account carries the running sums of its debits and credits,
 * which are at every commit the sums over its postings.
 *
 * One call posts a whole batch, in a fixed number of statements however large
 * it is:
 *
 *	1. ordinary accounts are locked FOR NO KEY UPDATE in id order and read
 *	   (ledger/batch.c), and of split ones a part (ledger/part.c); the tails of
 *	   hot ones are summed where much is posted to them (ledger/tail.c);
 *	2. the references, if any, are taken (ledger/reference.c);
 *	3. every posting is checked in C, in order, against running balances:
 *	   closed, limits, overflow (ledger/check.c);
 *	4. the postings are inserted, and the sums are written into the rows of
 *	   ordinary accounts; those of hot accounts are inserted into account_delta
 *	   (ledger/save.c).
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "ledger/write.h"
#include "core/spi.h"
#include "ledger/check.h"
#include "ledger/history.h"
#include "ledger/part.h"
#include "ledger/period.h"
#include "ledger/reference.h"
#include "ledger/refusal.h"
#include "ledger/save.h"
#include "ledger/tail.h"

#include "commands/sequence.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

static void number_postings(PayPostingBatch *batch);
static void refuse_with(PayPosting *postings, int n);
static void raise_first_error(const PayPostingBatch *batch);
static void copy_repetitions(PayPostingBatch *batch);

void
pay_ledger_lock_accounts(PayPostingBatch *batch)
{
	pay_ledger_read_accounts(batch);
	pay_ledger_lock_parts(batch);
	pay_ledger_count_tails(batch);
}

void
pay_ledger_write(PayPostingBatch *batch)
{
	pay_ledger_read_closed(batch);
	/* Under the locks, so that time and id of an ordinary account's postings grow together. */
	batch->now = GetCurrentTimestamp();
	number_postings(batch);
	pay_ledger_claim_references(batch);
	pay_ledger_check_postings(batch);
	raise_first_error(batch);
	pay_ledger_insert_postings(batch);
	pay_ledger_insert_failures(batch);
	pay_ledger_add_to_accounts(batch);
	pay_ledger_save_parts(batch);
	pay_ledger_write_history(batch);
	copy_repetitions(batch);
}

/* Gives every posting that may pass its id, in order, and refuses links that cannot pass as a whole. */
static void
number_postings(PayPostingBatch *batch)
{
	Oid			sequence = get_relname_relid("posting_posting_id_seq", pay_schema_oid());
	int			end;

	for (int start = 0; start < batch->n; start = end)
	{
		end = pay_ledger_link_end(batch, start);
		for (int i = start; i < end; i++)
			if (batch->postings[i].invalid && end - start > 1)
				refuse_with(&batch->postings[start], end - start);
		for (int i = start; i < end; i++)
		{
			PayPosting *posting = &batch->postings[i];

			posting->amount = posting->asked;
			if (posting->invalid)
				continue;
			posting->new_id = nextval_internal(sequence, false);
			posting->transaction_id = end - start > 1 ? batch->postings[start].new_id : 0;
		}
	}
}

/* One of these is not valid: none is. */
static void
refuse_with(PayPosting *postings, int n)
{
	for (int i = 0; i < n; i++)
		if (postings[i].invalid == 0)
			postings[i].invalid = PAY_ERR_LINKED_FAILED;
}

/* Of a link, the one that failed by itself. */
static void
raise_first_error(const PayPostingBatch *batch)
{
	const PayPosting *first = NULL;

	for (int i = 0; batch->all_or_nothing && i < batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i];

		if (posting->error && (first == NULL || first->error == PAY_ERR_LINKED_FAILED))
			first = posting;
		if (first && first->error != PAY_ERR_LINKED_FAILED)
			break;
	}
	if (first)
		pay_ledger_raise(first);
}

/* A posting that repeats one before it in the batch has the outcome of that. */
static void
copy_repetitions(PayPostingBatch *batch)
{
	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		if (posting->same_as)
		{
			posting->posting_id = posting->same_as->posting_id;
			posting->amount = posting->same_as->amount;
			posting->error = posting->same_as->error;
		}
		else if (posting->error == 0 && !posting->posted_before)
			posting->posting_id = posting->new_id;
	}
}
