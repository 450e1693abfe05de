/*
 * src/ledger/reverse.c
 *		Reversals: a posting the other way round that names the original.
 *
 * The original stays as it is; the reversal is a posting like any other, with
 * the checks of any other, and posting.reverses says what it takes back.  The
 * key of posting_reversal makes that happen at most once: a table of its own,
 * because postings are partitioned by time and an index is unique within one
 * partition only.
 *
 * A transaction is taken back by one batch of linked reversals, the last leg
 * first.  The legs were posted in order, each within the limits that those
 * before it had left; the other way round the same balances are passed through
 * backwards, so what was possible then is refused now only if something else
 * has moved the money since.
 *
 * Locks.  Those of a posting, or a batch: all accounts in id order, before
 * anything else; then, on hot accounts only, the wait for whoever is inserting
 * a reversal of the same postings, which is done in the same order.  The
 * originals are never changed and need no lock.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "core/arguments.h"
#include "core/caller.h"
#include "core/line.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "ledger/batch.h"
#include "ledger/check.h"
#include "ledger/permission.h"
#include "ledger/write.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"

#define REVERSAL_KIND "reversal"
/* What a leg's number needs behind its transaction's reference: ":100000". */
#define LEG_SUFFIX_MAX 7

static int64 reverse_one(FunctionCallInfo fcinfo, bool own);
static void read_originals(PayPostingBatch *batch, PayStmt *stmt, int64 id, bool own);
static void read_reason(FunctionCallInfo fcinfo, PayPostingBatch *batch, int reference_max);
static int64 find_retired(FunctionCallInfo fcinfo, bool whole);
static int64 reverse_all(PayPostingBatch *batch);
static void refuse_second(const PayPostingBatch *batch);
static void write_reversals(const PayPostingBatch *batch);
pg_noreturn static void raise_reversed(int64 posting_id);

PAY_FUNCTION(pay_reverse_posting);
PAY_FUNCTION(pay_reverse_own);
PAY_FUNCTION(pay_reverse_transaction);

#define ORIGINALS \
	"SELECT p.posting_id, p.debit_account, p.credit_account, p.amount, p.reverses, p.payment_id," \
	" EXISTS (SELECT FROM payments.posting_reference r" \
	"  WHERE r.merchant = '' AND r.reference = p.reference AND r.posting_id = p.posting_id)" \
	" FROM payments.posting p"

static PayStmt find_original = PAY_STMT(SPI_OK_SELECT, ORIGINALS " WHERE p.posting_id = $1", INT8OID);

/* One leg alone has no transaction_id. */
static PayStmt find_legs = PAY_STMT(SPI_OK_SELECT,
	ORIGINALS " WHERE p.transaction_id = $1 OR (p.posting_id = $1 AND p.transaction_id IS NULL) ORDER BY p.posting_id DESC", INT8OID);

/* No posting has an id above the largest that was retired and is gone. */
static PayStmt was_retired = PAY_STMT(SPI_OK_SELECT,
	"SELECT FROM payments.partition_retired WHERE last_id >= $1 LIMIT 1", INT8OID);

/* Of a reversal that was retired with its original, the reference is left. */
static PayStmt find_retired_reversal = PAY_STMT(SPI_OK_SELECT,
	"SELECT t.posting_id, m.merchant FROM payments.merchant m"
	" JOIN payments.posting_reference t ON t.merchant = m.merchant AND t.reference = ANY ($3)"
	" WHERE EXISTS (SELECT FROM payments.posting_reversal r WHERE r.reversed_by = t.posting_id AND r.posting_id BETWEEN $1 AND $2)",
	INT8OID, INT8OID, TEXTARRAYOID);

static PayStmt find_reversals = PAY_STMT(SPI_OK_SELECT,
	"SELECT u.i, p.reference FROM unnest($1) WITH ORDINALITY u(posting_id, i)"
	" JOIN payments.posting_reversal r ON r.posting_id = u.posting_id"
	" JOIN payments.posting p ON p.posting_id = r.reversed_by AND p.booked_at = r.booked_at ORDER BY u.i",
	INT8ARRAYOID);

static PayStmt insert_reversals = PAY_STMT(SPI_OK_INSERT_RETURNING,
	"INSERT INTO payments.posting_reversal (posting_id, reversed_by, booked_at)"
	" SELECT u.posting_id, u.reversed_by, $3 FROM unnest($1, $2) u(posting_id, reversed_by)"
	" ON CONFLICT DO NOTHING RETURNING posting_id",
	INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID);

PAY_VERB(pay_reverse_posting)
{
	PG_RETURN_INT64(reverse_one(fcinfo, false));
}

/* _reverse_own(): of a posting that the system has made itself, for the decision that takes it back. */
Datum
pay_reverse_own(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(reverse_one(fcinfo, true));
}

static int64
reverse_one(FunctionCallInfo fcinfo, bool own)
{
	PayPostingBatch batch = {.all_or_nothing = true};
	int64		posting_id;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "posting_id");
	posting_id = PG_GETARG_INT64(0);

	pay_spi_begin();
	read_originals(&batch, &find_original, posting_id, own);
	if (batch.n == 0)
		posting_id = find_retired(fcinfo, false);
	else
	{
		read_reason(fcinfo, &batch, PAY_REFERENCE_MAX);
		posting_id = reverse_all(&batch);
	}
	pay_spi_end();
	return posting_id;
}

PAY_VERB(pay_reverse_transaction)
{
	PayPostingBatch batch = {.all_or_nothing = true};
	int64		transaction_id;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "transaction_id");
	transaction_id = PG_GETARG_INT64(0);

	pay_spi_begin();
	read_originals(&batch, &find_legs, transaction_id, false);
	if (batch.n == 0)
	{
		transaction_id = find_retired(fcinfo, true);
		pay_spi_end();
		PG_RETURN_INT64(transaction_id);
	}
	read_reason(fcinfo, &batch, PAY_REFERENCE_MAX - LEG_SUFFIX_MAX);
	for (int i = 0; i < batch.n; i++)
	{
		PayPosting *reversal = &batch.postings[i];

		reversal->link = batch.n > 1 ? 1 : 0;
		if (reversal->reference)
			reversal->reference = psprintf("%s:%d", reversal->reference, i + 1);
	}
	transaction_id = reverse_all(&batch);
	pay_spi_end();
	PG_RETURN_INT64(transaction_id);
}

/* Turns what the statement finds round.  What is ours, whatever it says of itself, is taken back by ourselves only. */
static void
read_originals(PayPostingBatch *batch, PayStmt *stmt, int64 id, bool own)
{
	PayArgs		args = {0};
	int64		reversal = 0;
	int64		paid = 0;
	int64		ours = 0;

	pay_arg_int64(&args, id);
	batch->n = (int) pay_spi_exec(stmt, &args);
	batch->postings = palloc0(sizeof(PayPosting) * Max(batch->n, 1));
	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		posting->kind = REVERSAL_KIND;
		posting->reverses = pay_spi_int64(i, 1);
		posting->debit = pay_spi_int64(i, 3);
		posting->credit = pay_spi_int64(i, 2);
		posting->asked = pay_spi_int64(i, 4);
		reversal = pay_spi_isnull(i, 5) ? reversal : posting->reverses;
		paid = pay_spi_isnull(i, 6) ? paid : posting->reverses;
		ours = pay_spi_bool(i, 7) && !own ? posting->reverses : ours;
	}
	/* Who may not see a posting is not told what it is. */
	pay_ledger_require_merchants(batch);
	if (reversal != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_REVERSIBLE),
				 errmsg("posting " INT64_FORMAT " is a reversal itself", reversal),
				 errhint("To move the money again, post anew.")));
	if (paid != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_REVERSIBLE),
				 errmsg("posting " INT64_FORMAT " is of a payment, whose money moved at the PSP", paid),
				 errhint("Refund the payment with payments.refund_payment().")));
	if (ours != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_REVERSIBLE),
				 errmsg("posting " INT64_FORMAT " is of a file of a PSP or bank, or of a decision about one", ours),
				 errhint("What a decision has posted, payments.resolve_discrepancy() takes back with action => 'reopen'.")));
}

/* reason and reference, the same for all. */
static void
read_reason(FunctionCallInfo fcinfo, PayPostingBatch *batch, int reference_max)
{
	char	   *reason = pay_text_argument(fcinfo, 1);
	char	   *reference = pay_text_argument(fcinfo, 2);

	pay_require_given(fcinfo, 1, "reason");
	pay_require_text(reason, PAY_DESCRIPTION_MAX, "reason");
	pay_require_text(reference, reference_max, "reference");
	pay_require_line(reference, "reference");
	for (int i = 0; i < batch->n; i++)
	{
		batch->postings[i].description = reason;
		batch->postings[i].reference = reference;
	}
}

/*
 * What is not there, of all or of one leg.  If it was retired, a repetition
 * still gets the id of the first reversal; what would be new is refused.
 */
static int64
find_retired(FunctionCallInfo fcinfo, bool whole)
{
	const char *what = whole ? "transaction" : "posting";
	int64		id = PG_GETARG_INT64(0);
	char	   *reference = pay_text_argument(fcinfo, 2);
	PayArgs		args = {0};

	pay_arg_int64(&args, id);
	if (pay_spi_exec(&was_retired, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_POSTING_NOT_FOUND),
				 errmsg("%s " INT64_FORMAT " does not exist", what, id),
				 whole ? errhint("payments.post_transaction() returned its id; it is in posting.transaction_id.") :
				 errhint("payments.post() returned its id; payments.statement() lists those of an account.")));
	if (reference)
	{
		const char *names[] = {reference, psprintf("%s:1", reference)};

		pay_arg_int64(&args, whole ? id + PAY_POSTINGS_MAX : id);
		pay_arg_text_array(&args, names, whole ? 2 : 1);
		if (pay_spi_exec(&find_retired_reversal, &args) > 0)
		{
			id = pay_spi_int64(0, 1);
			pay_require_merchant(pay_spi_text(0, 2));
			return id;
		}
	}
	ereport(ERROR,
			(errcode(PAY_ERR_POSTING_NOT_FOUND),
			 errmsg("%s " INT64_FORMAT " is not here any more", what, id),
			 errdetail("It was retired; the balances still have it."),
			 errhint("To take it back, post the same amount the other way round.")));
	return 0;
}

/* Returns the id of the first. */
static int64
reverse_all(PayPostingBatch *batch)
{
	pay_ledger_lock_own_accounts(batch);
	for (int i = 0; i < batch->n; i++)
		batch->postings[i].invalid = pay_ledger_check_accounts(&batch->postings[i]);
	refuse_second(batch);
	pay_ledger_write(batch);
	write_reversals(batch);
	return batch->postings[0].posting_id;
}

/* Has one been reversed?  Under the same reference it may be a repetition, which pay_ledger_write() finds out. */
static void
refuse_second(const PayPostingBatch *batch)
{
	PayArgs		args = {0};
	int64	   *ids = palloc(sizeof(int64) * batch->n);
	uint64		found;

	for (int i = 0; i < batch->n; i++)
		ids[i] = batch->postings[i].reverses;
	pay_arg_int64_array(&args, ids, batch->n);
	found = pay_spi_exec(&find_reversals, &args);
	for (uint64 row = 0; row < found; row++)
	{
		const PayPosting *reversal = &batch->postings[pay_spi_int64(row, 1) - 1];
		const char *reference = pay_spi_text(row, 2);

		if (reference == NULL || reversal->reference == NULL || strcmp(reference, reversal->reference) != 0)
			raise_reversed(reversal->reverses);
	}
	pfree(ids);
}

/* At most once, also between hot accounts, which nobody locks. */
static void
write_reversals(const PayPostingBatch *batch)
{
	PayArgs		args = {0};
	int64	   *originals = palloc(sizeof(int64) * batch->n);
	int64	   *reversals = palloc(sizeof(int64) * batch->n);
	int			n = 0;
	uint64		written;

	for (int i = 0; i < batch->n; i++)
	{
		if (batch->postings[i].posted_before)
			continue;
		originals[n] = batch->postings[i].reverses;
		reversals[n] = batch->postings[i].posting_id;
		n++;
	}
	if (n > 0)
	{
		pay_arg_int64_array(&args, originals, n);
		pay_arg_int64_array(&args, reversals, n);
		pay_arg_time(&args, batch->now);
		written = pay_spi_exec(&insert_reversals, &args);
		/* Rows come back in order, less those that were there. */
		for (int i = 0; i < n; i++)
			if ((uint64) i >= written || pay_spi_int64(i, 1) != originals[i])
				raise_reversed(originals[i]);
	}
	pfree(originals);
	pfree(reversals);
}

static void
raise_reversed(int64 posting_id)
{
	ereport(ERROR,
			(errcode(PAY_ERR_ALREADY_REVERSED),
			 errmsg("posting " INT64_FORMAT " has been reversed already", posting_id),
			 errhint("A posting is reversed once; to move the money again, post anew.")));
}
