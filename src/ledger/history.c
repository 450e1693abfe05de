/*
 * src/ledger/history.c
 *		The balance of an account after each of its postings, kept.
 *
 * For accounts opened with history => true.  A row of account_history says
 * what the sums were after a posting, so the balance at any time is the last
 * row up to then: one probe of an index, however much came later.  Written
 * under the lock of the account's row, with the posting, so the rows of an
 * account follow one another as its postings do.  A hot account has no such
 * lock and no such order; it keeps no history.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "ledger/history.h"
#include "core/spi.h"

#include "catalog/pg_type_d.h"

/* Columns of account_history, and how many rows there are. */
typedef struct Rows
{
	int			n;
	int64	   *account_ids;
	int64	   *posting_ids;
	TimestampTz *booked_at;
	int64	   *debits;
	int64	   *credits;
	int64	   *balances;
} Rows;

static bool keeps_history(const PayPostingBatch *batch);
static void add_row(Rows *rows, const PayPostingBatch *batch, const PayPosting *posting, bool debit, int64 *debits, int64 *credits);

static PayStmt insert_history = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.account_history (account_id, posting_id, booked_at, debits, credits, balance)"
	" SELECT h.account_id, h.posting_id, h.booked_at, h.debits, h.credits, h.balance"
	" FROM unnest($1, $2, $3, $4, $5, $6) h(account_id, posting_id, booked_at, debits, credits, balance)",
	INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);

void
pay_ledger_write_history(const PayPostingBatch *batch)
{
	PayArgs		args = {0};
	int			rows_max = 2 * batch->n;
	Rows		rows = {0};
	int64	   *debits,			/* sums of the batch's accounts, posting by posting */
			   *credits;

	if (!keeps_history(batch))
		return;
	rows.account_ids = palloc(sizeof(int64) * rows_max);
	rows.posting_ids = palloc(sizeof(int64) * rows_max);
	rows.booked_at = palloc(sizeof(TimestampTz) * rows_max);
	rows.debits = palloc(sizeof(int64) * rows_max);
	rows.credits = palloc(sizeof(int64) * rows_max);
	rows.balances = palloc(sizeof(int64) * rows_max);
	debits = palloc(sizeof(int64) * batch->n_accounts);
	credits = palloc(sizeof(int64) * batch->n_accounts);
	for (int i = 0; i < batch->n_accounts; i++)
	{
		debits[i] = batch->accounts[i].debits;
		credits[i] = batch->accounts[i].credits;
	}

	for (int i = 0; i < batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i];

		if (posting->error != 0 || posting->posted_before || posting->same_as)
			continue;
		add_row(&rows, batch, posting, true, debits, credits);
		add_row(&rows, batch, posting, false, debits, credits);
	}
	if (rows.n == 0)
		return;
	pay_arg_int64_array(&args, rows.account_ids, rows.n);
	pay_arg_int64_array(&args, rows.posting_ids, rows.n);
	pay_arg_time_array(&args, rows.booked_at, rows.n);
	pay_arg_int64_array(&args, rows.debits, rows.n);
	pay_arg_int64_array(&args, rows.credits, rows.n);
	pay_arg_int64_array(&args, rows.balances, rows.n);
	pay_spi_exec(&insert_history, &args);
}

static bool
keeps_history(const PayPostingBatch *batch)
{
	for (int i = 0; i < batch->n_accounts; i++)
		if (batch->accounts[i].history)
			return true;
	return false;
}

/* One side of a posting, if that account keeps a history.  The sums cannot overflow: they passed check_side(). */
static void
add_row(Rows *rows, const PayPostingBatch *batch, const PayPosting *posting, bool debit, int64 *debits, int64 *credits)
{
	const PayAccount *account = debit ? posting->debit_account : posting->credit_account;
	int			i = (int) (account - batch->accounts);

	*(debit ? &debits[i] : &credits[i]) += posting->amount;
	if (!account->history)
		return;
	rows->account_ids[rows->n] = account->account_id;
	rows->posting_ids[rows->n] = posting->new_id;
	rows->booked_at[rows->n] = batch->now;
	rows->debits[rows->n] = debits[i];
	rows->credits[rows->n] = credits[i];
	rows->balances[rows->n] = account->debit_normal ? debits[i] - credits[i] : credits[i] - debits[i];
	rows->n++;
}
