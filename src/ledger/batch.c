/*
 * src/ledger/batch.c
 *		Two-legged postings between accounts.
 *
 * A posting moves an amount from the account it credits to the account it
 * debits, so the ledger balances by construction.  Postings are inserted and
 * never change; an account carries the running sums of its debits and credits,
 * which are at every commit the sums over its postings.
 *
 * One call posts a whole batch, in a fixed number of statements however large
 * it is:
 *
 *	1. ordinary accounts are locked FOR NO KEY UPDATE in id order and read;
 *	2. the references, if any, are taken (ledger/reference.c);
 *	3. every posting is checked in C, in order, against running balances:
 *	   closed, limits, overflow;
 *	4. the postings are inserted, and the sums are written into the rows of
 *	   ordinary accounts; those of hot accounts are inserted into account_delta
 *	   (ledger/save.c).
 *
 * Locks.  Calls for different postings cannot deadlock with each other: one
 * that holds account rows waits only for higher ids, and for references, in
 * their order, only when it has all its accounts.  Transactions that make
 * several calls can, and the server then ends one with 40P01, to be repeated.
 * Whoever holds a payment's lock may call; nothing here locks a payment.
 *
 * Hot accounts are not locked and have no limits, or are split (ledger/part.c).
 * Their balance is the row plus the sum of account_delta, in one snapshot;
 * fold_hot_accounts() moves deltas into the row.  Every call holds ROW EXCLUSIVE
 * on account_delta from before it reads accounts until the transaction ends;
 * close_account() takes a table lock that conflicts, so no posting slips in
 * behind the closing.  (At REPEATABLE READ a transaction older than that still
 * sees the account open, and posts.  So may a delta come to one that
 * set_account_hot() has made ordinary: a balance is the row and its deltas
 * whatever the account is now.  It has no limits that this could break.)
 *
 * Linked postings, neighbours of one link number, pass together or not at all:
 * what those before the refused one have added to the running balances is
 * taken back.
 *
 * Isolation.  At READ COMMITTED the locking read returns the newest row and
 * every statement sees what committed before it.  At REPEATABLE READ and above
 * the lock, or the conflicting insert, fails with 40001 if another transaction
 * came first, and the caller repeats.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "ledger/batch.h"
#include "core/spi.h"
#include "ledger/history.h"
#include "ledger/part.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

static void read_accounts(PayPostingBatch *batch, PayStmt *stmt, const int64 *ids, int n_ids, bool locked);
static int	missing_ids(const PayPostingBatch *batch, int64 *ids, int n_ids);
static int	account_ids_of(const PayPostingBatch *batch, int64 **ids);
static int	compare_int64(const void *a, const void *b);
static int	compare_accounts(const void *a, const void *b);
static PayAccount *find_account(const PayPostingBatch *batch, int64 account_id);

static void number_postings(PayPostingBatch *batch);
static void refuse_with(PayPosting *postings, int n);
static void check_postings(PayPostingBatch *batch);
static void check_linked(PayPosting *postings, int n);
static int	decide(PayPosting *posting);
static int	try_posting(PayPosting *posting);
static void take_back(PayPosting *posting);
static int	check_side(const PayAccount *account, const PayPosting *posting, bool debit, PayLimit *limit);
static void raise_first_error(const PayPostingBatch *batch);
static void copy_repetitions(PayPostingBatch *batch);

/* From so many accounts on a join finds them. */
#define MANY 100

/* What has one width comes first: the server finds such columns without a walk along the row. */
#define ACCOUNT_COLUMNS \
	"account_id, debits, credits, held_debits, held_credits, coalesce(min_balance, 0), coalesce(max_balance, 0)," \
	" min_balance IS NOT NULL, max_balance IS NOT NULL, type IN ('asset', 'expense'), closed_at IS NOT NULL, history," \
	" coalesce(parts, 0), currency, merchant, code"

static PayStmt lock_ordinary = PAY_STMT(SPI_OK_SELECT,
	"SELECT " ACCOUNT_COLUMNS ", ctid FROM payments.account WHERE account_id = ANY ($1) AND NOT hot"
	" ORDER BY account_id FOR NO KEY UPDATE",
	INT8ARRAYOID);

/*
 * The same for many.  Rows that others have changed since the statement began
 * are tried again one by one, and ANY would look through the whole array for
 * each: of two batches of 8,000 on the same accounts the second took three
 * times as long.
 */
static PayStmt lock_many = PAY_STMT(SPI_OK_SELECT,
	"SELECT " ACCOUNT_COLUMNS ", a.ctid FROM unnest($1) i(id) JOIN payments.account a ON a.account_id = i.id"
	" WHERE NOT a.hot ORDER BY a.account_id FOR NO KEY UPDATE OF a",
	INT8ARRAYOID);

static PayStmt read_hot = PAY_STMT(SPI_OK_SELECT,
	"SELECT " ACCOUNT_COLUMNS " FROM payments.account WHERE account_id = ANY ($1) AND hot", INT8ARRAYOID);

/* ---------- accounts by id ---------- */

void
pay_ledger_lock_accounts(PayPostingBatch *batch)
{
	Oid			delta_table = get_relname_relid("account_delta", pay_schema_oid());
	int64	   *ids;
	int			n_ids = account_ids_of(batch, &ids);

	LockRelationOid(delta_table, RowExclusiveLock);

	batch->accounts = palloc0(sizeof(PayAccount) * Max(n_ids, 1));
	read_accounts(batch, n_ids > MANY ? &lock_many : &lock_ordinary, ids, n_ids, true);
	/* What is not ordinary is hot, or not there.  Read second: an account that has become hot meanwhile is found here. */
	if (batch->n_accounts < n_ids)
		read_accounts(batch, &read_hot, ids, missing_ids(batch, ids, n_ids), false);
	qsort(batch->accounts, batch->n_accounts, sizeof(PayAccount), compare_accounts);

	for (int i = 0; i < batch->n; i++)
	{
		batch->postings[i].debit_account = find_account(batch, batch->postings[i].debit);
		batch->postings[i].credit_account = find_account(batch, batch->postings[i].credit);
	}
	pay_ledger_lock_parts(batch);
}

/* Appends to the batch's accounts. */
static void
read_accounts(PayPostingBatch *batch, PayStmt *stmt, const int64 *ids, int n_ids, bool locked)
{
	PayArgs		args = {0};
	int			n;

	pay_arg_int64_array(&args, ids, n_ids);
	n = (int) pay_spi_exec(stmt, &args);
	Assert(n <= n_ids);
	for (int i = 0; i < n; i++)
	{
		PayAccount *account = &batch->accounts[batch->n_accounts++];

		account->account_id = pay_spi_int64(i, 1);
		account->debits = pay_spi_int64(i, 2);
		account->credits = pay_spi_int64(i, 3);
		account->held_debits = pay_spi_int64(i, 4);
		account->held_credits = pay_spi_int64(i, 5);
		account->minimum = pay_spi_int64(i, 6);
		account->maximum = pay_spi_int64(i, 7);
		account->has_minimum = pay_spi_bool(i, 8);
		account->has_maximum = pay_spi_bool(i, 9);
		account->debit_normal = pay_spi_bool(i, 10);
		account->closed = pay_spi_bool(i, 11);
		account->history = pay_spi_bool(i, 12);
		account->n_parts = pay_spi_int32(i, 13);
		account->currency = pay_spi_text(i, 14);
		account->merchant = pay_spi_text(i, 15);
		account->code = pay_spi_text(i, 16);
		account->hot = !locked;
		if (locked)
			account->tid = pay_spi_tid(i, 17);
	}
}

/* Leaves only the ids of accounts that the batch does not have yet; both are sorted.  Returns how many. */
static int
missing_ids(const PayPostingBatch *batch, int64 *ids, int n_ids)
{
	int			count = 0;
	int			k = 0;

	for (int i = 0; i < n_ids; i++)
	{
		if (k < batch->n_accounts && batch->accounts[k].account_id == ids[i])
			k++;
		else
			ids[count++] = ids[i];
	}
	return count;
}

/* The different account ids of a batch, sorted. */
static int
account_ids_of(const PayPostingBatch *batch, int64 **ids)
{
	int64	   *all = palloc(sizeof(int64) * 2 * Max(batch->n, 1));
	int			count = 0;

	for (int i = 0; i < batch->n; i++)
	{
		all[2 * i] = batch->postings[i].debit;
		all[2 * i + 1] = batch->postings[i].credit;
	}
	qsort(all, 2 * batch->n, sizeof(int64), compare_int64);
	for (int i = 0; i < 2 * batch->n; i++)
		if (count == 0 || all[i] != all[count - 1])
			all[count++] = all[i];
	*ids = all;
	return count;
}

static int
compare_int64(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

static int
compare_accounts(const void *a, const void *b)
{
	return compare_int64(&((const PayAccount *) a)->account_id, &((const PayAccount *) b)->account_id);
}

static PayAccount *
find_account(const PayPostingBatch *batch, int64 account_id)
{
	PayAccount	wanted = {.account_id = account_id};

	return bsearch(&wanted, batch->accounts, batch->n_accounts, sizeof(PayAccount), compare_accounts);
}

/* ---------- checking and writing ---------- */

void
pay_ledger_write(PayPostingBatch *batch)
{
	pay_ledger_read_closed(batch);
	/* Under the locks, so that time and id of an ordinary account's postings grow together. */
	batch->now = GetCurrentTimestamp();
	number_postings(batch);
	pay_ledger_claim_references(batch);
	check_postings(batch);
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

int
pay_ledger_link_end(const PayPostingBatch *batch, int start)
{
	int			link = batch->postings[start].link;
	int			end = start + 1;

	while (link != 0 && end < batch->n && batch->postings[end].link == link)
		end++;
	return end;
}

/* One of these is not valid: none is. */
static void
refuse_with(PayPosting *postings, int n)
{
	for (int i = 0; i < n; i++)
		if (postings[i].invalid == 0)
			postings[i].invalid = PAY_ERR_LINKED_FAILED;
}

/* Decides every posting, in order, as if those before it that pass were posted. */
static void
check_postings(PayPostingBatch *batch)
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
