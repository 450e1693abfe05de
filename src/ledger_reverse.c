/*
 * src/ledger_reverse.c
 *		Reversals: a posting the other way round that names the original.
 *
 * The original stays as it is; the reversal is a posting like any other, with
 * the checks of any other, and posting.reverses says what it takes back.  The
 * key of posting_reversal makes that happen at most once: a table of its own,
 * because postings are partitioned by time and an index is unique within one
 * partition only.
 *
 * Locks.  Those of a posting: both accounts in id order, then, on hot accounts
 * only, the wait for whoever is inserting a reversal of the same posting.  The
 * original is never changed and needs no lock.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "ledger_args.h"
#include "ledger_batch.h"
#include "spi.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"

#define REVERSAL_KIND "reversal"

static void read_original(PayPosting *reversal);
static void refuse_second(const PayPosting *reversal);
static void write_reversal(const PayPosting *reversal, TimestampTz now);
static void raise_reversed(const PayPosting *reversal) pg_attribute_noreturn();

PAY_FUNCTION(pay_reverse_posting);

static PayStmt find_original = PAY_STMT(SPI_OK_SELECT,
	"SELECT debit_account, credit_account, amount, reverses, payment_id FROM payments.posting WHERE posting_id = $1", INT8OID);

static PayStmt find_reversal = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.reference FROM payments.posting_reversal r"
	" JOIN payments.posting p ON p.posting_id = r.reversed_by AND p.booked_at = r.booked_at WHERE r.posting_id = $1",
	INT8OID);

static PayStmt insert_reversal = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.posting_reversal (posting_id, reversed_by, booked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
	INT8OID, INT8OID, TIMESTAMPTZOID);

Datum
pay_reverse_posting(PG_FUNCTION_ARGS)
{
	PayPosting	reversal = {0};
	PayPostingBatch batch = {.all_or_nothing = true,.n = 1,.postings = &reversal};

	pay_require_given(fcinfo, 0, "posting_id");
	pay_require_given(fcinfo, 1, "reason");
	reversal.reverses = PG_GETARG_INT64(0);
	reversal.description = pay_text_argument(fcinfo, 1);
	reversal.reference = pay_text_argument(fcinfo, 2);
	reversal.kind = REVERSAL_KIND;
	pay_require_text(reversal.description, PAY_DESCRIPTION_MAX, "reason");
	pay_require_text(reversal.reference, PAY_REFERENCE_MAX, "reference");

	pay_spi_begin();
	read_original(&reversal);
	pay_ledger_lock_accounts(&batch);
	pay_ledger_require_merchants(&batch);
	reversal.invalid = pay_ledger_check_accounts(&reversal);
	refuse_second(&reversal);
	pay_ledger_write(&batch);
	if (!reversal.posted_before)
		write_reversal(&reversal, batch.now);
	pay_spi_end();
	PG_RETURN_INT64(reversal.posting_id);
}

/* Turns the original round. */
static void
read_original(PayPosting *reversal)
{
	PayArgs		args = {0};

	pay_arg_int64(&args, reversal->reverses);
	if (pay_spi_exec(&find_original, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_POSTING_NOT_FOUND),
				 errmsg("posting " INT64_FORMAT " does not exist", reversal->reverses),
				 errhint("payments.post() returned its id; payments.statement() lists those of an account.")));
	if (!pay_spi_isnull(0, 4))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_REVERSIBLE),
				 errmsg("posting " INT64_FORMAT " is a reversal itself", reversal->reverses),
				 errhint("To move the money again, post anew.")));
	if (!pay_spi_isnull(0, 5))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_REVERSIBLE),
				 errmsg("posting " INT64_FORMAT " is of a payment, whose money moved at the PSP", reversal->reverses),
				 errhint("Refund the payment with payments.refund_payment().")));
	reversal->debit = pay_spi_int64(0, 2);
	reversal->credit = pay_spi_int64(0, 1);
	reversal->asked = pay_spi_int64(0, 3);
}

/* Has it been reversed?  Under the same reference it may be a repetition, which pay_ledger_write() finds out. */
static void
refuse_second(const PayPosting *reversal)
{
	PayArgs		args = {0};
	char	   *reference;

	pay_arg_int64(&args, reversal->reverses);
	if (pay_spi_exec(&find_reversal, &args) == 0)
		return;
	reference = pay_spi_text(0, 1);
	if (reference && reversal->reference && strcmp(reference, reversal->reference) == 0)
		return;
	raise_reversed(reversal);
}

/* At most once, also between hot accounts, which nobody locks. */
static void
write_reversal(const PayPosting *reversal, TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_int64(&args, reversal->reverses);
	pay_arg_int64(&args, reversal->posting_id);
	pay_arg_time(&args, now);
	if (pay_spi_exec(&insert_reversal, &args) == 0)
		raise_reversed(reversal);
}

static void
raise_reversed(const PayPosting *reversal)
{
	ereport(ERROR,
			(errcode(PAY_ERR_ALREADY_REVERSED),
			 errmsg("posting " INT64_FORMAT " has been reversed already", reversal->reverses),
			 errhint("A posting is reversed once; to move the money again, post anew.")));
}
