/*
 * src/ledger/hold.c
 *		Holds: amounts reserved between two accounts, and what becomes of them.
 *
 * A hold is a posting that may still be made.  ledger_hold has the facts, one
 * row a hold; ledger_hold_resolution one row for each time something was done
 * to it: posted in part or whole, voided, expired.  Both are append-only, as
 * postings are, so that whatever proves the history of one proves the other's;
 * a hold's state is its last resolution, whose "remaining" is what is left.
 * What is left of all holds of an account is in account.held_debits and
 * held_credits, which every limit counts as gone.  ledger_hold_due lists the
 * open holds that can expire, so that finding those needs no look at all holds
 * that ever were; it is work, not history, and its rows go.
 *
 * A limit is checked once, when an amount is reserved, with the check of
 * postings.  From then on neither postings nor other holds can use what it
 * needs, in either account, and nobody can close them; so posting it later
 * breaks no limit, overflows no counter and is never refused by an account.
 * What is held and what is posted changes in one UPDATE of each account.
 *
 * Locks.  A verb first locks both account rows in id order, then reads what
 * has become of the hold; every change of a hold happens under both locks, so
 * each unit is resolved once.  (hold_id, seq) is unique besides.  Nobody waits
 * for anything else while holding them but, in hold() and post_hold(), for a
 * transaction that is inserting the same reference; that one has its accounts
 * already.  So single calls do not deadlock with each other or with
 * ledger/batch.c.  release_expired_holds() skips accounts that are locked.  At
 * REPEATABLE READ and above a hold that has changed since the snapshot was
 * taken has changed its accounts as well, and locking those fails with 40001.
 *
 * Time.  A hold expires at its expires_at by the clock, read under the locks:
 * from that moment on it cannot be posted or voided, whether or not
 * release_expired_holds() has come by to free the amount.
 *
 * Hot accounts have no row lock under which a hold could reserve, whether or not
 * they have limits.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "core/arguments.h"
#include "core/caller.h"
#include "core/line.h"
#include "core/spi.h"
#include "ledger/batch.h"
#include "ledger/check.h"
#include "ledger/permission.h"
#include "ledger/refusal.h"
#include "ledger/save.h"
#include "ledger/write.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/timestamp.h"

#define HOLD_KIND "hold"

typedef struct Hold
{
	/* facts */
	int64		hold_id;
	int64		amount;			/* what is reserved */
	int64		asked;			/* the ceiling, if balancing */
	bool		balancing;
	const char *reference;
	const char *description;
	bool		expires;
	TimestampTz expires_at;

	/* what has become of it, read under the locks */
	int32		seq;			/* of the last resolution, 0: none */
	int64		remaining;
	const char *last;			/* kind of the last resolution, NULL: none */

	/* the one posting and the two accounts it is about */
	PayPosting	posting;
	PayPostingBatch batch;
} Hold;

static void read_hold_arguments(FunctionCallInfo fcinfo, Hold *hold);
static void refuse_hot(const PayAccount *account);
static bool find_hold(Hold *hold);
static void reserve(Hold *hold);
static void change_held(Hold *hold, int64 amount);

static void lock_hold(Hold *hold, int64 hold_id);
static void require_open(const Hold *hold, TimestampTz now);
static int64 find_posted(const Hold *hold, bool has_amount, int64 amount, bool final);
static void write_resolution(const Hold *hold, const char *kind, int64 posted, int64 released, bool has_asked, bool final,
							 const char *reason, TimestampTz now);

PAY_FUNCTION(pay_hold);
PAY_FUNCTION(pay_post_hold);
PAY_FUNCTION(pay_void_hold);

static PayStmt find_reference = PAY_STMT(SPI_OK_SELECT,
	"SELECT h.hold_id, h.amount, CASE WHEN h.debit_account <> $3 THEN 'debit' WHEN h.credit_account <> $4 THEN 'credit'"
	" WHEN h.asked <> $5 THEN 'amount' WHEN h.expires_at IS DISTINCT FROM $6 THEN 'expires_at'"
	" WHEN h.description IS DISTINCT FROM $7 THEN 'description' WHEN h.balancing <> $8 THEN 'balancing' END"
	" FROM payments.ledger_hold h WHERE h.merchant = $1 AND h.reference = $2",
	TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, BOOLOID);

static PayStmt insert_hold = PAY_STMT(SPI_OK_INSERT_RETURNING,
	"INSERT INTO payments.ledger_hold (merchant, debit_account, credit_account, currency, amount, asked, balancing,"
	"                                  reference, description, expires_at, created_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING hold_id",
	TEXTOID, INT8OID, INT8OID, TEXTOID, INT8OID, INT8OID, BOOLOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);

static PayStmt insert_due = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.ledger_hold_due (hold_id, expires_at) VALUES ($1, $2)", INT8OID, TIMESTAMPTZOID);

static PayStmt delete_due = PAY_STMT(SPI_OK_DELETE, "DELETE FROM payments.ledger_hold_due WHERE hold_id = $1", INT8OID);

static PayStmt read_facts = PAY_STMT(SPI_OK_SELECT,
	"SELECT debit_account, credit_account, amount, description, expires_at FROM payments.ledger_hold WHERE hold_id = $1",
	INT8OID);

static PayStmt read_last = PAY_STMT(SPI_OK_SELECT,
	"SELECT seq, remaining, kind FROM payments.ledger_hold_resolution WHERE hold_id = $1 ORDER BY seq DESC LIMIT 1",
	INT8OID);

static PayStmt find_post = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.posting_id, CASE WHEN r.hold_id IS NULL THEN 'hold_id'"
	" WHEN r.asked IS DISTINCT FROM $4 THEN 'amount' WHEN r.final <> $5 THEN 'final' END"
	" FROM payments.posting_reference p LEFT JOIN payments.ledger_hold_resolution r ON r.hold_id = $3 AND r.posting_id = p.posting_id"
	" WHERE p.merchant = $1 AND p.reference = $2",
	TEXTOID, TEXTOID, INT8OID, INT8OID, BOOLOID);

static PayStmt insert_resolution = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.ledger_hold_resolution (hold_id, seq, kind, posting_id, asked, final, posted, released, remaining,"
	"                                             reason, resolved_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
	INT8OID, INT4OID, TEXTOID, INT8OID, INT8OID, BOOLOID, INT8OID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID);

/* ---------- reserve ---------- */

PAY_VERB(pay_hold)
{
	Hold		hold = {0};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	pay_refuse_card_arguments(fcinfo);
	read_hold_arguments(fcinfo, &hold);
	hold.batch = (PayPostingBatch) {.all_or_nothing = true,.n = 1,.postings = &hold.posting};

	InitMaterializedSRF(fcinfo, 0);
	pay_spi_begin();
	pay_ledger_lock_own_accounts(&hold.batch);
	hold.posting.error = pay_ledger_check_accounts(&hold.posting);
	if (hold.posting.error)
		pay_ledger_raise(&hold.posting);
	refuse_hot(hold.posting.debit_account);
	refuse_hot(hold.posting.credit_account);
	if (!find_hold(&hold))
		reserve(&hold);
	pay_spi_end();

	values[0] = Int64GetDatum(hold.hold_id);
	values[1] = Int64GetDatum(hold.amount);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

static void
read_hold_arguments(FunctionCallInfo fcinfo, Hold *hold)
{
	pay_require_given(fcinfo, 0, "debit");
	pay_require_given(fcinfo, 1, "credit");
	pay_require_given(fcinfo, 2, "amount");
	pay_require_given(fcinfo, 6, "balancing");
	hold->posting.debit = PG_GETARG_INT64(0);
	hold->posting.credit = PG_GETARG_INT64(1);
	hold->posting.asked = hold->asked = PG_GETARG_INT64(2);
	hold->reference = pay_text_argument(fcinfo, 3);
	hold->expires = !PG_ARGISNULL(4);
	hold->expires_at = hold->expires ? PG_GETARG_TIMESTAMPTZ(4) : 0;
	hold->description = pay_text_argument(fcinfo, 5);
	hold->balancing = PG_GETARG_BOOL(6);

	if (hold->asked <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must be above zero"),
				 errhint("To move money the other way, exchange debit and credit.")));
	if (hold->posting.debit == hold->posting.credit)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot hold from an account to itself"),
				 errhint("Name two different accounts.")));
	if (TIMESTAMP_NOT_FINITE(hold->expires_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expires_at must be a finite time"),
				 errhint("Leave it out for a hold that does not expire.")));
	pay_require_text(hold->reference, PAY_REFERENCE_MAX, "reference");
	pay_require_line(hold->reference, "reference");
	pay_require_text(hold->description, PAY_DESCRIPTION_MAX, "description");
}

static void
refuse_hot(const PayAccount *account)
{
	if (account->hot)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account " INT64_FORMAT " (\"%s\") is hot and takes no holds", account->account_id, account->code),
				 errdetail("Reserving needs the row lock that a hot account does without."),
				 errhint("Hold towards an ordinary account, and post to the hot one from there.")));
}

/* Is there a hold of this reference?  The same one fills in id and amount; another one is raised. */
static bool
find_hold(Hold *hold)
{
	PayArgs		args = {0};

	if (hold->reference == NULL)
		return false;
	pay_arg_text(&args, hold->posting.debit_account->merchant);
	pay_arg_text(&args, hold->reference);
	pay_arg_int64(&args, hold->posting.debit);
	pay_arg_int64(&args, hold->posting.credit);
	pay_arg_int64(&args, hold->asked);
	pay_arg_datum(&args, TimestampTzGetDatum(hold->expires_at), !hold->expires);
	pay_arg_text(&args, hold->description);
	pay_arg_bool(&args, hold->balancing);
	if (pay_spi_exec(&find_reference, &args) == 0)
		return false;
	if (!pay_spi_isnull(0, 3))
		ereport(ERROR,
				(errcode(PAY_ERR_POSTING_REUSED),
				 errmsg("reference \"%s\" belongs to a hold with another content", hold->reference),
				 errdetail("The holds differ in \"%s\".", pay_spi_text(0, 3)),
				 errhint("Repeat a hold with the same arguments, and give a new one a reference of its own.")));
	hold->hold_id = pay_spi_int64(0, 1);
	hold->amount = pay_spi_int64(0, 2);
	return true;
}

/* Checks and writes a new hold; accounts are locked. */
static void
reserve(Hold *hold)
{
	PayArgs		args = {0};
	PayPosting *posting = &hold->posting;
	TimestampTz now = GetCurrentTimestamp();

	if (hold->expires && hold->expires_at <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expires_at is not in the future"),
				 errhint("Pass a later time, or leave it out for a hold that does not expire.")));
	posting->amount = hold->balancing ? Max(pay_ledger_largest_amount(posting), 1) : hold->asked;
	posting->error = pay_ledger_check(posting);
	if (posting->error)
		pay_ledger_raise(posting);
	hold->amount = posting->amount;

	pay_arg_text(&args, posting->debit_account->merchant);
	pay_arg_int64(&args, posting->debit);
	pay_arg_int64(&args, posting->credit);
	pay_arg_text(&args, posting->debit_account->currency);
	pay_arg_int64(&args, hold->amount);
	pay_arg_int64(&args, hold->asked);
	pay_arg_bool(&args, hold->balancing);
	pay_arg_text(&args, hold->reference);
	pay_arg_text(&args, hold->description);
	pay_arg_datum(&args, TimestampTzGetDatum(hold->expires_at), !hold->expires);
	pay_arg_time(&args, now);
	if (pay_spi_exec(&insert_hold, &args) == 0)
	{
		/* Somebody with other accounts had the reference first; so this raises which field differs. */
		find_hold(hold);
		elog(ERROR, "hold was neither inserted nor found");
	}
	hold->hold_id = pay_spi_int64(0, 1);
	if (hold->expires)
	{
		args = (PayArgs) {0};
		pay_arg_int64(&args, hold->hold_id);
		pay_arg_time(&args, hold->expires_at);
		pay_spi_exec(&insert_due, &args);
	}
	change_held(hold, hold->amount);
}

/* Adds to what is held on both accounts, or takes from it. */
static void
change_held(Hold *hold, int64 amount)
{
	hold->posting.debit_account->new_held_debits += amount;
	hold->posting.credit_account->new_held_credits += amount;
	pay_ledger_add_to_accounts(&hold->batch);
}

/* ---------- resolve ---------- */

PAY_VERB(pay_post_hold)
{
	Hold		hold = {0};
	PayPosting *posting = &hold.posting;
	bool		has_amount = !PG_ARGISNULL(1);
	int64		amount = has_amount ? PG_GETARG_INT64(1) : 0;
	bool		final;
	int64		posting_id;
	TimestampTz now;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "hold_id");
	pay_require_given(fcinfo, 2, "final");
	final = PG_GETARG_BOOL(2);
	hold.reference = pay_text_argument(fcinfo, 3);
	if (has_amount && amount <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must be above zero"),
				 errhint("Leave it out to post all that is left; to post nothing, use payments.void_hold().")));
	pay_require_text(hold.reference, PAY_REFERENCE_MAX, "reference");
	pay_require_line(hold.reference, "reference");

	pay_spi_begin();
	lock_hold(&hold, PG_GETARG_INT64(0));
	posting_id = find_posted(&hold, has_amount, amount, final);
	if (posting_id == 0)
	{
		now = GetCurrentTimestamp();
		require_open(&hold, now);
		if (amount > hold.remaining)
			ereport(ERROR,
					(errcode(PAY_ERR_HOLD_EXCEEDED),
					 errmsg("hold " INT64_FORMAT " has only " INT64_FORMAT " left", hold.hold_id, hold.remaining),
					 errdetail("To be posted were " INT64_FORMAT " (minor units of %s).", amount, posting->debit_account->currency),
					 errhint("Post what is left, or leave out the amount; what goes beyond it takes another hold or posting.")));
		posting->asked = has_amount ? amount : hold.remaining;
		posting->released = final ? hold.remaining : posting->asked;
		posting->kind = HOLD_KIND;
		posting->reference = hold.reference;
		posting->description = hold.description;
		pay_ledger_write(&hold.batch);
		if (posting->posted_before)
			elog(ERROR, "hold " INT64_FORMAT " was posted without its accounts", hold.hold_id);
		write_resolution(&hold, "post", posting->amount, posting->released - posting->amount, has_amount, final, NULL, now);
		posting_id = posting->posting_id;
	}
	pay_spi_end();
	PG_RETURN_INT64(posting_id);
}

PAY_VERB(pay_void_hold)
{
	Hold		hold = {0};
	char	   *reason = pay_text_argument(fcinfo, 1);
	TimestampTz now;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "hold_id");
	pay_require_text(reason, PAY_DESCRIPTION_MAX, "reason");

	pay_spi_begin();
	lock_hold(&hold, PG_GETARG_INT64(0));
	now = GetCurrentTimestamp();
	require_open(&hold, now);
	write_resolution(&hold, "void", 0, hold.remaining, false, true, reason, now);
	change_held(&hold, -hold.remaining);
	pay_spi_end();
	PG_RETURN_INT64(hold.remaining);
}

/* Reads a hold, locks its accounts, and only then reads what has become of it. */
static void
lock_hold(Hold *hold, int64 hold_id)
{
	PayArgs		args = {0};

	hold->hold_id = hold_id;
	hold->batch = (PayPostingBatch) {.all_or_nothing = true,.n = 1,.postings = &hold->posting};
	pay_arg_int64(&args, hold_id);
	if (pay_spi_exec(&read_facts, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_HOLD_NOT_FOUND),
				 errmsg("hold " INT64_FORMAT " does not exist", hold_id),
				 errhint("Pass the hold_id that payments.hold() returned.")));
	hold->posting.debit = pay_spi_int64(0, 1);
	hold->posting.credit = pay_spi_int64(0, 2);
	hold->amount = pay_spi_int64(0, 3);
	hold->description = pay_spi_text(0, 4);
	hold->expires = !pay_spi_isnull(0, 5);
	hold->expires_at = hold->expires ? pay_spi_time(0, 5) : 0;

	pay_ledger_lock_own_accounts(&hold->batch);
	if (hold->batch.n_accounts != 2)
		elog(ERROR, "hold " INT64_FORMAT " has lost an account", hold_id);

	hold->remaining = hold->amount;
	if (pay_spi_exec(&read_last, &args) == 1)
	{
		hold->seq = pay_spi_int32(0, 1);
		hold->remaining = pay_spi_int64(0, 2);
		hold->last = pay_spi_text(0, 3);
	}
}

/* Is there something left, and time? */
static void
require_open(const Hold *hold, TimestampTz now)
{
	bool		over = hold->remaining == 0;

	if (over ? strcmp(hold->last, "expire") == 0 : hold->expires && hold->expires_at <= now)
		ereport(ERROR,
				(errcode(PAY_ERR_HOLD_EXPIRED),
				 errmsg("hold " INT64_FORMAT " expired at %s", hold->hold_id, timestamptz_to_str(hold->expires_at)),
				 errhint("Make a new hold.  What was held is released by the worker, or by payments.release_expired_holds().")));
	if (over)
		ereport(ERROR,
				(errcode(PAY_ERR_HOLD_RESOLVED),
				 errmsg("hold " INT64_FORMAT " has been %s already", hold->hold_id,
						strcmp(hold->last, "void") == 0 ? "voided" : "posted"),
				 errhint("A hold is resolved once; payments.ledger_hold_resolution says how and when.")));
}

/* The posting that post_hold() has made under this reference, 0 if none; raises if it was not the same call. */
static int64
find_posted(const Hold *hold, bool has_amount, int64 amount, bool final)
{
	PayArgs		args = {0};

	if (hold->reference == NULL)
		return 0;
	pay_arg_text(&args, hold->posting.debit_account->merchant);
	pay_arg_text(&args, hold->reference);
	pay_arg_int64(&args, hold->hold_id);
	pay_arg_datum(&args, Int64GetDatum(amount), !has_amount);
	pay_arg_bool(&args, final);
	if (pay_spi_exec(&find_post, &args) == 0)
		return 0;
	if (!pay_spi_isnull(0, 2))
		ereport(ERROR,
				(errcode(PAY_ERR_POSTING_REUSED),
				 errmsg("reference \"%s\" belongs to a posting with another content", hold->reference),
				 errdetail("The postings differ in \"%s\".", pay_spi_text(0, 2)),
				 errhint("Repeat a call with the same arguments, and give a new one a reference of its own.")));
	return pay_spi_int64(0, 1);
}

static void
write_resolution(const Hold *hold, const char *kind, int64 posted, int64 released, bool has_asked, bool final,
				 const char *reason, TimestampTz now)
{
	PayArgs		args = {0};
	int64		remaining = hold->remaining - posted - released;

	pay_arg_int64(&args, hold->hold_id);
	pay_arg_int32(&args, hold->seq + 1);
	pay_arg_text(&args, kind);
	pay_arg_datum(&args, Int64GetDatum(hold->posting.posting_id), posted == 0);
	pay_arg_datum(&args, Int64GetDatum(posted), !has_asked);
	pay_arg_bool(&args, final);
	pay_arg_int64(&args, posted);
	pay_arg_int64(&args, released);
	pay_arg_int64(&args, remaining);
	pay_arg_text(&args, reason);
	pay_arg_time(&args, now);
	pay_spi_exec(&insert_resolution, &args);
	if (remaining > 0 || !hold->expires)
		return;
	args = (PayArgs) {0};
	pay_arg_int64(&args, hold->hold_id);
	pay_spi_exec(&delete_due, &args);
}
