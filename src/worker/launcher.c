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
#include "worker/trouble.h"
#include "worker/worker.h"

#include "core/caller.h"
#include "core/clock.h"
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
	PaySteady	not_before;
	bool		wanted;
	const char *obstacle;		/* last one logged; NULL: none */
} PayServed;

/* Of PayServed; for as long as a database is wanted or its worker runs. */
static List *served = NIL;
static ProcessUtility_hook_type previous_hook = NULL;

static void launcher_round(void);
static void read_wanted(void);
static PayServed *find_or_add(const char *database);
static bool keep_running(PayServed *s, PaySteady now);
static void note_obstacle(PayServed *s, const char *obstacle);
static void fill_registration(BackgroundWorker *worker, const char *database, bool by_hand);
static bool may_start(PayServed *s);
static HeapTuple find_in_catalog(Oid catalog, AttrNumber column, const char *name);
static void step_aside(PlannedStmt *pstmt, const char *query, bool read_only_tree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc);
static const char *database_in_the_way(Node *statement);
static void end_worker_of(const char *database);
static int	start_by_hand(void);

PAY_FUNCTION(pay_start_worker);
PAY_FUNCTION(pay_stop_worker);
PAY_FUNCTION(pay_worker_pid_sql);

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
	pay_launcher_registered = true;
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
						 served != NIL ? LOOK_MS : 60000, PG_WAIT_EXTENSION);
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
	PaySteady	now = pay_clock_now();
	ListCell   *cell;

	read_wanted();
	foreach(cell, served)
	{
		PayServed  *s = lfirst(cell);

		if (keep_running(s, now) || s->wanted)
			continue;
		served = foreach_delete_current(served, cell);
		pfree(s);
	}
}

static void
read_wanted(void)
{
	char	   *list = pstrdup(pay_databases ? pay_databases : "");
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, served)
		((PayServed *) lfirst(cell))->wanted = false;
	/* What is set is a list. */
	(void) SplitIdentifierString(list, ',', &names);
	foreach(cell, names)
		find_or_add(lfirst(cell))->wanted = true;
	list_free(names);
	pfree(list);
}

static PayServed *
find_or_add(const char *database)
{
	ListCell   *cell;
	MemoryContext old;
	PayServed  *s;

	foreach(cell, served)
	{
		s = lfirst(cell);
		if (strcmp(s->database, database) == 0)
			return s;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	s = palloc0(sizeof(PayServed));
	strlcpy(s->database, database, NAMEDATALEN);
	served = lappend(served, s);
	MemoryContextSwitchTo(old);
	return s;
}

/* Returns whether a worker of ours is there, or on its way. */
static bool
keep_running(PayServed *s, PaySteady now)
{
	BackgroundWorker worker = {0};
	pid_t		pid;

	if (s->handle)
	{
		if (!s->wanted)
			TerminateBackgroundWorker(s->handle);
		if (GetBackgroundWorkerPid(s->handle, &pid) != BGWH_STOPPED)
			return true;
		pfree(s->handle);
		s->handle = NULL;
		/* Not at once: it may have died of something lasting, or made way for DROP DATABASE. */
		s->not_before = now + RESTART_MS * 1000;
	}
	if (!s->wanted || now < s->not_before || !may_start(s))
		return false;
	fill_registration(&worker, s->database, false);
	if (!RegisterDynamicBackgroundWorker(&worker, &s->handle))
	{
		s->handle = NULL;
		s->not_before = now + 10 * RESTART_MS * 1000;
		ereport(LOG,
				(errmsg("could not register the payments worker for database \"%s\"", s->database),
				 errhint("Raise max_worker_processes.")));
	}
	return true;
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

/* Would a worker come to serve?  One that finds no database, no role, or another worker would only fill the log. */
static bool
may_start(PayServed *s)
{
	HeapTuple	database,
				role;
	bool		found;
	bool		served_already = false;
	const char *obstacle = NULL;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	database = find_in_catalog(DatabaseRelationId, Anum_pg_database_datname, s->database);
	role = find_in_catalog(AuthIdRelationId, Anum_pg_authid_rolname, PAY_WORKER_ROLE);
	found = HeapTupleIsValid(database) && HeapTupleIsValid(role);
	if (found)
	{
		obstacle = pay_trouble_of_start((Form_pg_database) GETSTRUCT(database), (Form_pg_authid) GETSTRUCT(role));
		/* By one that was started by hand. */
		served_already = pay_worker_serving(((Form_pg_database) GETSTRUCT(database))->oid) != 0;
	}
	CommitTransactionCommand();
	note_obstacle(s, obstacle);
	return found && obstacle == NULL && !served_already;
}

/* Says it once. */
static void
note_obstacle(PayServed *s, const char *obstacle)
{
	if (obstacle && obstacle != s->obstacle)
		ereport(LOG,
				(errmsg("cannot start the payments worker for database \"%s\": %s", s->database, obstacle),
				 errhint("It is started when that is repaired.")));
	s->obstacle = obstacle;
}

/* A plain heap scan, as the autovacuum launcher does it: without a database the indexes of shared catalogs may not be there to use. */
static HeapTuple
find_in_catalog(Oid catalog, AttrNumber column, const char *name)
{
	Relation	relation = table_open(catalog, AccessShareLock);
	NameData	wanted;
	ScanKeyData key;
	TableScanDesc scan;
	HeapTuple	found;

	namestrcpy(&wanted, name);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&wanted));
	scan = table_beginscan_catalog(relation, 1, &key);
	found = heap_getnext(scan, ForwardScanDirection);
	if (HeapTupleIsValid(found))
		found = heap_copytuple(found);
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
		case T_AlterDatabaseStmt:
			/* To another tablespace; other options leave it where it is. */
			foreach(cell, ((AlterDatabaseStmt *) statement)->options)
				if (strcmp(((DefElem *) lfirst(cell))->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
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
	pid = pay_worker_pid_in(oid);
	if (pid == 0)
		return;
	kill(pid, SIGTERM);
	for (int waited = 0; waited < DROP_WAIT_MS && BackendPidGetProc(pid) != NULL; waited += 10)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10 * 1000);
	}
}

/* ---------- by hand ---------- */

static PayStmt enable_worker = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.installation SET worker_enabled = $1 WHERE worker_enabled <> $1", BOOLOID);

/*
 * start_worker(): lets a worker of this database run, and starts one if none is serving.  Returns its PID.
 *
 * First the row, then the look: a worker that is about to obey an earlier
 * stop_worker() locks the same row, and has given the lock of those that serve
 * back when it lets go of it (retire() in worker.c).  So whoever is seen here stays.
 */
PAY_VERB(pay_start_worker)
{
	PayArgs		args = {0};
	int			pid;

	pay_cluster_require_primary(PAY_ERR_WORKER);
	pay_spi_begin();
	pay_arg_bool(&args, true);
	pay_spi_exec(&enable_worker, &args);
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	pid = pay_worker_serving(MyDatabaseId);
	PG_RETURN_INT32(pid != 0 ? pid : start_by_hand());
}

/* Returns the worker that serves then.  It may be another's: the launcher, or somebody else, started it at the same moment. */
static int
start_by_hand(void)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	BgwHandleStatus status = BGWH_NOT_YET_STARTED;
	const char *trouble;

	fill_registration(&worker, get_database_name(MyDatabaseId), true);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(PAY_ERR_WORKER),
				 errmsg("could not start the payments worker: all places for background workers are taken"),
				 errhint("Raise max_worker_processes, and restart the server.")));
	for (int waited = 0; status != BGWH_STOPPED && waited < START_WAIT_MS; waited += START_LOOK_MS)
	{
		pid_t		started;
		int			serving;

		/* In this order: when ours has ended because of another, the other is seen. */
		status = GetBackgroundWorkerPid(handle, &started);
		serving = pay_worker_serving(MyDatabaseId);
		if (serving != 0)
			return serving;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, START_LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	trouble = pay_trouble_of_this_database();
	ereport(ERROR,
			(errcode(PAY_ERR_WORKER),
			 trouble ? errmsg("could not start the payments worker: %s", trouble) : errmsg("could not start the payments worker"),
			 errhint("See the server log.")));
	return 0;
}

/* stop_worker(): no more calls from this database until start_worker(). */
PAY_VERB(pay_stop_worker)
{
	PayArgs		args = {0};

	pay_cluster_require_primary(PAY_ERR_WORKER);
	pay_spi_begin();
	pay_arg_bool(&args, false);
	pay_spi_exec(&enable_worker, &args);
	pay_spi_end();
	ForceSyncCommit();
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
