/*
 * src/ledger/batch.c
 *		A batch of postings, and the locks on its accounts.
 *
 * Locks.  Calls for different postings cannot deadlock with each other: one
 * that holds account rows waits only for higher ids, and for references, in
 * their order, only when it has all its accounts.  Transactions that make
 * several calls can, and the server then ends one with 40P01, to be repeated.
 * Whoever holds a payment's lock may call; nothing here locks a payment.
 *
 * Hot accounts are not locked and have no limits, or are split (ledger/part.c).
 * Their balance is the row plus the sum of account_delta, in one snapshot;
 * fold_hot_accounts() moves deltas into the row.  Every call shares the lock of
 * its merchants (ledger/hot.c) from before it reads accounts until the
 * transaction ends; close_account() has it alone, so no posting slips in behind
 * the closing.  (At REPEATABLE READ a transaction older than that still
 * sees the account open, and posts.  So may a delta come to one that
 * set_account_hot() has made ordinary: a balance is the row and its deltas
 * whatever the account is now.  It has no limits that this could break.)
 *
 * Isolation.  At READ COMMITTED the locking read returns the newest row and
 * every statement sees what committed before it.  At REPEATABLE READ and above
 * the lock, or the conflicting insert, fails with 40001 if another transaction
 * came first, and the caller repeats.
 */
#include "payments.h"

#include "ledger/batch.h"
#include "core/spi.h"

#include "catalog/pg_type_d.h"

static void read_accounts(PayPostingBatch *batch, PayStmt *stmt, const int64 *ids, int n_ids, bool locked);
static int	missing_ids(const PayPostingBatch *batch, int64 *ids, int n_ids);
static int	account_ids_of(const PayPostingBatch *batch, int64 **ids);
static int	compare_int64(const void *a, const void *b);
static int	compare_accounts(const void *a, const void *b);
static PayAccount *find_account(const PayPostingBatch *batch, int64 account_id);

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

void
pay_ledger_read_accounts(PayPostingBatch *batch)
{
	int64	   *ids;
	int			n_ids = account_ids_of(batch, &ids);

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

int
pay_ledger_link_end(const PayPostingBatch *batch, int start)
{
	int			link = batch->postings[start].link;
	int			end = start + 1;

	while (link != 0 && end < batch->n && batch->postings[end].link == link)
		end++;
	return end;
}
