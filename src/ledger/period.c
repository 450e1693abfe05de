/*
 * src/ledger/period.c
 *		Postings that say when they take effect, and closed periods.
 *
 * close_period() (sql/close/close.sql) closes the books of a merchant up to
 * a time, which it writes into merchant.closed_until.  No posting to one of its
 * accounts takes effect before it from then on.  Only a posting with an
 * effective_at of its own can be meant to, so only such postings look: the
 * others take effect when they are booked, and cost nothing here.
 *
 * The rows of the merchants are locked FOR SHARE, which close_period()'s UPDATE
 * conflicts with.  So either the posting's transaction ends first, and the close
 * knows of it, or the posting reads the new closed_until: at READ COMMITTED
 * the locking read returns the newest row, at REPEATABLE READ and above it
 * fails with 40001.  The subquery below does not see such a close; it is for a
 * restore of data alone, which keeps the merchant's row that setup() has made.
 *
 * Locks.  Taken behind those of the accounts, in order of names, by a session
 * that then waits only for references.  close_period() waits for no account and
 * no reference, so single calls cannot deadlock.  Foreign keys to merchant take
 * FOR KEY SHARE, which conflicts with neither.
 */
#include "payments.h"

#include "ledger/period.h"
#include "core/spi.h"

#include "utils/timestamp.h"

static PayStmt lock_closed = PAY_STMT(SPI_OK_SELECT,
	"SELECT r.i, greatest(m.closed_until, (SELECT max(c.to_time) FROM payments.period_close c WHERE c.merchant = m.merchant))"
	" FROM unnest($1) WITH ORDINALITY r(merchant, i)"
	" JOIN payments.merchant m ON m.merchant = r.merchant ORDER BY m.merchant FOR SHARE OF m",
	TEXTARRAYOID);

void
pay_ledger_read_closed(PayPostingBatch *batch)
{
	PayArgs		args = {0};
	const char **merchants;
	int		   *starts;			/* of neighbours of one merchant */
	bool		asked = false;
	int			n = 0;
	int			found;

	for (int i = 0; i < batch->n && !asked; i++)
		asked = batch->postings[i].has_effective_at && batch->postings[i].invalid == 0;
	if (!asked)
		return;

	merchants = palloc(sizeof(char *) * (batch->n_accounts + 1));
	starts = palloc(sizeof(int) * (batch->n_accounts + 1));
	for (int i = 0; i < batch->n_accounts; i++)
	{
		batch->accounts[i].closed_until = DT_NOBEGIN;
		if (n > 0 && strcmp(merchants[n - 1], batch->accounts[i].merchant) == 0)
			continue;
		merchants[n] = batch->accounts[i].merchant;
		starts[n++] = i;
	}
	starts[n] = batch->n_accounts;
	/* One that is named twice is locked twice: no harm. */
	pay_arg_text_array(&args, merchants, n);
	found = (int) pay_spi_exec(&lock_closed, &args);
	for (int row = 0; row < found; row++)
	{
		int			k = (int) pay_spi_int64(row, 1) - 1;

		for (int i = starts[k]; i < starts[k + 1] && !pay_spi_isnull(row, 2); i++)
			batch->accounts[i].closed_until = pay_spi_time(row, 2);
	}
	pfree(starts);
	pfree(merchants);
}

const PayAccount *
pay_ledger_closed_account(const PayPosting *posting)
{
	if (!posting->has_effective_at)
		return NULL;
	if (posting->effective_at < posting->debit_account->closed_until)
		return posting->debit_account;
	if (posting->effective_at < posting->credit_account->closed_until)
		return posting->credit_account;
	return NULL;
}
