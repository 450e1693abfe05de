/*
 * src/worker/launcher.c
 *		Starting and stopping workers.
 *
 * Preloaded, a launcher keeps one worker running for each database that
 * payments.databases lists.  It connects to no database, so no code of users
 * ever runs in it; a database or role that does not exist yet is looked for
 * again, quietly.  Not preloaded, start_worker() registers a worker by hand.
 *
 * DROP DATABASE and its kin fail while anybody is connected.  When preloaded,
 * the utility hook here ends our worker first; the launcher does not bring it
 * back before the statement has had its turn.
 */
#include "payments.h"

#include "worker/launcher.h"
#include "worker/worker.h"

#include "core/cluster.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/wake.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include <signal.h>

#define DATABASES_MAX 64
#define LOOK_MS 2000
#define RESTART_MS 2000
#define DROP_WAIT_MS 5000
#define START_WAIT_MS 60000
#define START_LOOK_MS 10

/* A database we serve.  Process-local to the launcher. */
typedef struct PayServed
{
	char		database[NAMEDATALEN];
	BackgroundWorkerHandle *handle;	/* NULL: not running */
	TimestampTz not_before;
	bool		wanted;
} PayServed;

static PayServed served[DATABASES_MAX];
static int	served_count = 0;
static ProcessUtility_hook_type previous_hook = NULL;

static void launcher_round(void);
static void read_wanted(void);
static void keep_running(PayServed *s, TimestampTz now);
static void fill_registration(BackgroundWorker *worker, const char *database, bool by_hand);
static bool may_start(const char *database);
static bool catalog_has(Oid catalog, AttrNumber column, const char *name);
static void step_aside(PlannedStmt *pstmt, const char *query, bool read_only_tree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc);
static const char *database_in_the_way(Node *statement);
static void end_worker_of(const char *database);
static int	find_worker_pid(Oid database);
static int	start_by_hand(void);

PAY_FUNCTION(pay_start_worker);
PAY_FUNCTION(pay_stop_worker);
PAY_FUNCTION(pay_worker_pid_sql);
PAY_FUNCTION(pay_unarmed_reason_sql);

/* ---------- launcher ---------- */

void
pay_launcher_init(void)
{
	BackgroundWorker worker = {0};

	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = step_aside;

	/* pg_upgrade starts servers of its own: they must not send. */
	if (IsBinaryUpgrade)
		return;
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "payments", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pay_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "payments launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "payments launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
pay_launcher_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	/* No database: shared catalogs only. */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	for (;;)
	{
		launcher_round();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 served_count > 0 ? LOOK_MS : 60000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

static void
launcher_round(void)
{
	TimestampTz now = GetCurrentTimestamp();

	read_wanted();
	for (int i = 0; i < served_count; i++)
		keep_running(&served[i], now);
}

static void
read_wanted(void)
{
	char	   *list = pstrdup(pay_databases ? pay_databases : "");
	List	   *names = NIL;
	ListCell   *cell;

	for (int i = 0; i < served_count; i++)
		served[i].wanted = false;
	if (!SplitIdentifierString(list, ',', &names))
	{
		ereport(LOG, (errmsg("payments.databases is not a list of names")));
		names = NIL;
	}
	foreach(cell, names)
	{
		const char *name = lfirst(cell);
		PayServed  *s = NULL;

		for (int i = 0; i < served_count; i++)
			if (strcmp(served[i].database, name) == 0)
				s = &served[i];
		if (s == NULL && served_count < DATABASES_MAX)
		{
			s = &served[served_count++];
			memset(s, 0, sizeof(PayServed));
			strlcpy(s->database, name, NAMEDATALEN);
		}
		if (s)
			s->wanted = true;
	}
	list_free(names);
	pfree(list);
}

static void
keep_running(PayServed *s, TimestampTz now)
{
	BackgroundWorker worker = {0};
	pid_t		pid;

	if (s->handle)
	{
		if (!s->wanted)
			TerminateBackgroundWorker(s->handle);
		if (GetBackgroundWorkerPid(s->handle, &pid) != BGWH_STOPPED)
			return;
		pfree(s->handle);
		s->handle = NULL;
		/* Not at once: it may have died of something lasting, or made way for DROP DATABASE. */
		s->not_before = now + RESTART_MS * 1000;
	}
	if (!s->wanted || now < s->not_before || !may_start(s->database))
		return;
	fill_registration(&worker, s->database, false);
	if (!RegisterDynamicBackgroundWorker(&worker, &s->handle))
	{
		s->handle = NULL;
		s->not_before = now + 10 * RESTART_MS * 1000;
		ereport(LOG,
				(errmsg("could not register the payments worker for database \"%s\"", s->database),
				 errhint("Raise max_worker_processes.")));
	}
}

/* Fills a registration for the worker of a database. */
static void
fill_registration(BackgroundWorker *worker, const char *database, bool by_hand)
{
	PayWorkerOrder *o = (PayWorkerOrder *) worker->bgw_extra;

	StaticAssertStmt(sizeof(PayWorkerOrder) <= BGW_EXTRALEN, "order fits");
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	/* The launcher starts it again; one started by hand ends for good. */
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "payments", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, "pay_worker_main", BGW_MAXLEN);
	strlcpy(worker->bgw_type, PAY_WORKER_TYPE, BGW_MAXLEN);
	snprintf(worker->bgw_name, BGW_MAXLEN, "payments worker for %s", database);
	strlcpy(o->database, database, NAMEDATALEN);
	o->by_hand = by_hand;
	worker->bgw_notify_pid = MyProcPid;
}

/* Are database and role there?  A worker that finds them missing would only fill the log. */
static bool
may_start(const char *database)
{
	bool		found;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	found = catalog_has(DatabaseRelationId, Anum_pg_database_datname, database) &&
		catalog_has(AuthIdRelationId, Anum_pg_authid_rolname, PAY_WORKER_ROLE);
	CommitTransactionCommand();
	return found;
}

/* A plain heap scan, as the autovacuum launcher does it: without a database the indexes of shared catalogs may not be there to use. */
static bool
catalog_has(Oid catalog, AttrNumber column, const char *name)
{
	Relation	relation = table_open(catalog, AccessShareLock);
	NameData	wanted;
	ScanKeyData key;
	TableScanDesc scan;
	bool		found;

	namestrcpy(&wanted, name);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&wanted));
	scan = table_beginscan_catalog(relation, 1, &key);
	found = heap_getnext(scan, ForwardScanDirection) != NULL;
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

/* ---------- making way ---------- */

static void
step_aside(PlannedStmt *pstmt, const char *query, bool read_only_tree,
		   ProcessUtilityContext context, ParamListInfo params,
		   QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	const char *database = database_in_the_way(pstmt->utilityStmt);

	if (database)
		end_worker_of(database);
	if (previous_hook)
		previous_hook(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
}

/* The database that the statement needs for itself, or NULL. */
static const char *
database_in_the_way(Node *statement)
{
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ? ((RenameStmt *) statement)->subname : NULL;
		case T_CreatedbStmt:
			foreach(cell, ((CreatedbStmt *) statement)->options)
			{
				DefElem    *option = lfirst(cell);

				/* TEMPLATE 5 is no string yet: the name is read as the server will read it. */
				if (strcmp(option->defname, "template") == 0 && option->arg)
					return defGetString(option);
			}
			return NULL;
		default:
			return NULL;
	}
}

/* Only for those who may drop it: others get their permission error with our worker unharmed. */
static void
end_worker_of(const char *database)
{
	Oid			oid = get_database_oid(database, true);
	int			pid;

	if (!OidIsValid(oid) || !PayDatabaseOwnercheck(oid, GetUserId()))
		return;
	pid = find_worker_pid(oid);
	if (pid == 0)
		return;
	kill(pid, SIGTERM);
	for (int waited = 0; waited < DROP_WAIT_MS && BackendPidGetProc(pid) != NULL; waited += 10)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10 * 1000);
	}
}

static int
find_worker_pid(Oid database)
{
	int			n = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = PayLocalBackend(i);
		const char *type;

		if (local == NULL || local->backendStatus.st_databaseid != database || local->backendStatus.st_backendType != B_BG_WORKER)
			continue;
		type = GetBackgroundWorkerTypeByPid(local->backendStatus.st_procpid);
		if (type && strcmp(type, PAY_WORKER_TYPE) == 0)
			return local->backendStatus.st_procpid;
	}
	return 0;
}

/* ---------- by hand ---------- */

static PayStmt enable_worker = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.installation SET worker_enabled = $1 WHERE worker_enabled <> $1", BOOLOID);

/* start_worker(): lets a worker of this database run, and starts one if none is running.  Returns its PID. */
Datum
pay_start_worker(PG_FUNCTION_ARGS)
{
	PayArgs		args = {0};
	int			pid = pay_worker_pid();

	pay_spi_begin();
	pay_arg_bool(&args, true);
	pay_spi_exec(&enable_worker, &args);
	pay_spi_end();
	pay_wake_at_commit();
	PG_RETURN_INT32(pid != 0 ? pid : start_by_hand());
}

/* Returns the worker that serves then.  It may be another's: the launcher, or somebody else, started it at the same moment. */
static int
start_by_hand(void)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	BgwHandleStatus status = BGWH_NOT_YET_STARTED;

	fill_registration(&worker, get_database_name(MyDatabaseId), true);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		status = BGWH_STOPPED;
	for (int waited = 0; status != BGWH_STOPPED && waited < START_WAIT_MS; waited += START_LOOK_MS)
	{
		pid_t		started;
		int			serving;

		/* In this order: when ours has ended because of another, the other is seen. */
		status = GetBackgroundWorkerPid(handle, &started);
		serving = pay_worker_pid_locked();
		if (serving != 0)
			return serving;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, START_LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	ereport(ERROR,
			(errcode(PAY_ERR_WORKER),
			 errmsg("could not start the payments worker"),
			 errhint("Raise max_worker_processes, and see the server log.")));
	return 0;
}

/* stop_worker(): no more calls from this database until start_worker(). */
Datum
pay_stop_worker(PG_FUNCTION_ARGS)
{
	PayArgs		args = {0};

	pay_spi_begin();
	pay_arg_bool(&args, false);
	pay_spi_exec(&enable_worker, &args);
	pay_spi_end();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

Datum
pay_worker_pid_sql(PG_FUNCTION_ARGS)
{
	int			pid = pay_worker_pid();

	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

Datum
pay_unarmed_reason_sql(PG_FUNCTION_ARGS)
{
	const char *reason;

	pay_spi_begin();
	reason = pay_cluster_unarmed_reason();
	pay_spi_end();
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
