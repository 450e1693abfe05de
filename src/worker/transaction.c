/*
 * src/worker/transaction.c
 *		A step of the worker in a transaction of its own.
 *
 * The process is connected as payments_worker, which may do nothing; here, and
 * only here, it acts as payments_owner.  A step that fails is rolled back and
 * logged, and the worker goes on: what becomes of the item is its caller's to
 * decide, in another transaction.
 */
#include "payments.h"

#include "worker/transaction.h"

#include "core/caller.h"
#include "core/spi.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#define LOCK_WAIT "200ms"

/* Is there a step that a cancel can end? */
static volatile sig_atomic_t in_step = false;

static bool run_as_owner(void (*work) (void *), void *arg, MemoryContext context);
static Oid	lock_set_up(void);
static void end_step(void);
static void report(MemoryContext context, PayWorkError *error);

/* ALTER DATABASE and ALTER ROLE settings reach workers too; these must not be theirs to decide. */
void
pay_worker_pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "on"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"session_replication_role", "origin"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		/* Shorter than deadlock_timeout: when a client and we want each other's locks, we give way. */
		{"lock_timeout", LOCK_WAIT},
		{"timezone", "UTC"},
		{"jit", "off"},
		{"application_name", "payments worker"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * SIGINT: our own lock_timeout, which speaks by it, or somebody's cancel.  The
 * latter ends a step, not the worker, so between steps it is nothing; nor in a
 * commit, where it would end the wait for a synchronous standby.
 */
void
pay_worker_cancel_handler(SIGNAL_ARGS)
{
	if (in_step || get_timeout_indicator(LOCK_TIMEOUT, false))
		StatementCancelHandler(postgres_signal_arg);
}

PayWorkEnd
pay_worker_transaction(void (*work) (void *), void *arg, PayWorkError *error)
{
	MemoryContext context = CurrentMemoryContext;
	volatile PayWorkEnd end = PAY_WORK_FAILED;

	PG_TRY();
	{
		end = run_as_owner(work, arg, context) ? PAY_WORK_DONE : PAY_WORK_NOT_SET_UP;
	}
	PG_CATCH();
	{
		report(context, error);
		end = PAY_WORK_FAILED;
	}
	PG_END_TRY();
	end_step();
	MemoryContextSwitchTo(context);
	/* Without this the tables look untouched to autovacuum. */
	pgstat_report_stat(false);
	return end;
}

/* False when there is nobody to run it as. */
static bool
run_as_owner(void (*work) (void *), void *arg, MemoryContext context)
{
	Oid			user;
	int			security;
	Oid			sign;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* Results must outlive the transaction: allocate in the caller's context. */
	MemoryContextSwitchTo(context);
	sign = lock_set_up();
	if (OidIsValid(sign))
	{
		GetUserIdAndSecContext(&user, &security);
		SetUserIdAndSecContext(pay_owner_oid(), security | SECURITY_LOCAL_USERID_CHANGE);
		pay_caller_set(user);
		pay_spi_begin();
		in_step = true;
		work(arg);
		in_step = false;
		CHECK_FOR_INTERRUPTS();
		pay_spi_end();
		SetUserIdAndSecContext(user, security);
	}
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	return OidIsValid(sign);
}

/* Until the transaction ends, DROP EXTENSION waits: without the guards that go with it nothing is to be written. */
static Oid
lock_set_up(void)
{
	Oid			schema = pay_schema_oid();
	Oid			view = OidIsValid(schema) ? get_relname_relid(PAY_SET_UP_VIEW, schema) : InvalidOid;

	if (!OidIsValid(view))
		return InvalidOid;
	LockRelationOid(view, AccessShareLock);
	return pay_is_set_up() ? view : InvalidOid;
}

bool
pay_worker_try(void (*work) (void *), void *arg, PayWorkError *error)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		work(arg);
		done = true;
	}
	PG_CATCH();
	{
		report(context, error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

bool
pay_worker_do(void (*work) (void *), void *arg, bool in_transaction)
{
	return in_transaction ? pay_worker_transaction(work, arg, NULL) == PAY_WORK_DONE : pay_worker_try(work, arg, NULL);
}

/* What was to end it came too late, and must not end what comes next. */
static void
end_step(void)
{
	in_step = false;
	QueryCancelPending = false;
	(void) get_timeout_indicator(LOCK_TIMEOUT, true);
}

/* When memory is what there is none of, nothing is copied: an error in here would end the process. */
static void
report(MemoryContext context, PayWorkError *error)
{
	PayWorkError found = {"out of memory", geterrcode()};
	const char *detail = NULL;

	MemoryContextSwitchTo(context);
	if (found.sqlstate != ERRCODE_OUT_OF_MEMORY)
	{
		ErrorData  *data = CopyErrorData();

		found.message = data->message;
		detail = data->detail;
	}
	FlushErrorState();
	AbortCurrentTransaction();
	end_step();
	/* Whoever waits for a lock resets the latch, and with it what it had to tell. */
	if (found.sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
		SetLatch(MyLatch);
	MemoryContextSwitchTo(context);
	ereport(LOG,
			(errmsg("payments worker could not finish a step: %s", found.message),
			 detail ? errdetail_internal("%s", detail) : 0));
	/* The detail names the key. */
	if (found.sqlstate == ERRCODE_UNIQUE_VIOLATION && detail)
		found.message = psprintf("%s: %s", found.message, detail);
	if (error)
		*error = found;
}

/* Locks, serialization, resources, shutdown. */
bool
pay_worker_error_passes(const PayWorkError *error)
{
	int			class = ERRCODE_TO_CATEGORY(error->sqlstate);

	return class == ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		error->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE;
}
