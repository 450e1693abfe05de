/*
 * src/ledger/tail.c
 *		What was posted to hot accounts and is not folded yet, where it counts.
 *
 * A hot account's sums are its row and its tail, the rows of account_delta, and
 * must fit into the row's counters once they are folded.  To sum the tail for
 * every posting would take what makes hot accounts quick.  So only a call that
 * posts much to an account does, and goes by all that it can see; whoever posts
 * little goes by the row alone.  Row and tail have half the range of a counter
 * (PAY_HOT_COUNTER_MAX), and the other half has room for four million light
 * calls between two foldings.
 *
 * What several post at once none of them sees.  If that is more than fits,
 * folding leaves it where it is, says so, and goes on with the other accounts;
 * readers add it up as ever.
 */
#include "payments.h"

#include "ledger/tail.h"

#include "core/spi.h"

#include "catalog/pg_type_d.h"
#include "common/int.h"

#define MUCH (INT64CONST(1) << 40)

static void add(const PayPostingBatch *batch, const PayAccount *account, int64 amount, int64 *sums);
static void read_tails(PayPostingBatch *batch, const int64 *ids, int n);

/* Past the end of int64 is as good as the end: nothing more fits. */
static PayStmt read_sums = PAY_STMT(SPI_OK_SELECT,
	"SELECT a.account_id, least(a.debits + coalesce(t.debits, 0), 9223372036854775807)::bigint,"
	"       least(a.credits + coalesce(t.credits, 0), 9223372036854775807)::bigint"
	" FROM payments.account a"
	" CROSS JOIN LATERAL (SELECT sum(d.debits) AS debits, sum(d.credits) AS credits FROM payments.account_delta d"
	"                     WHERE d.account_id = a.account_id) t"
	" WHERE a.account_id = ANY ($1) ORDER BY a.account_id",
	INT8ARRAYOID);

void
pay_ledger_count_tails(PayPostingBatch *batch)
{
	int64	   *sums = palloc0(sizeof(int64) * Max(batch->n_accounts, 1));
	int64	   *ids = palloc(sizeof(int64) * Max(batch->n_accounts, 1));
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i];

		add(batch, posting->debit_account, posting->asked, sums);
		add(batch, posting->credit_account, posting->asked, sums);
	}
	for (int i = 0; i < batch->n_accounts; i++)
		if (sums[i] > MUCH)
			ids[n++] = batch->accounts[i].account_id;
	if (n > 0)
		read_tails(batch, ids, n);
	pfree(sums);
	pfree(ids);
}

/* Of accounts in parts each part has counters of its own. */
static void
add(const PayPostingBatch *batch, const PayAccount *account, int64 amount, int64 *sums)
{
	int64	   *sum;

	if (account == NULL || !account->hot || account->n_parts > 0 || amount <= 0)
		return;
	sum = &sums[account - batch->accounts];
	if (pg_add_s64_overflow(*sum, amount, sum))
		*sum = PG_INT64_MAX;
}

/* Both the accounts and what is found are in order of ids. */
static void
read_tails(PayPostingBatch *batch, const int64 *ids, int n)
{
	PayArgs		args = {0};
	int			found;
	int			row = 0;

	pay_arg_int64_array(&args, ids, n);
	found = (int) pay_spi_exec(&read_sums, &args);
	for (int i = 0; i < batch->n_accounts && row < found; i++)
	{
		PayAccount *account = &batch->accounts[i];

		if (account->account_id != pay_spi_int64(row, 1))
			continue;
		account->debits = pay_spi_int64(row, 2);
		account->credits = pay_spi_int64(row, 3);
		row++;
	}
}
