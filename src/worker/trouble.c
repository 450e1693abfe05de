/*
 * src/worker/trouble.c
 *		What keeps a worker from serving, for people to see.
 *
 * A worker has no memory that others read, and a row would be a write for each
 * change.  So it shows its trouble where the server shows every process: as
 * its application name, from which worker_status reads it back.
 */
#include "payments.h"

#include "worker/trouble.h"

#include "core/guc.h"
#include "core/wake.h"

#include "access/htup_details.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

typedef struct PayTroubleText
{
	const char *name;			/* of the application */
	const char *hint;			/* in worker_status; NULL: all is well */
} PayTroubleText;

static const PayTroubleText texts[] = {
	[PAY_TROUBLE_NONE] = {PAY_WORKER_TYPE, NULL},
	[PAY_TROUBLE_MEANS] = {PAY_WORKER_TYPE ", short of means",
		"short of open files, memory or threads: raise these limits of the server process; see the server log"},
	[PAY_TROUBLE_LOCKED] = {PAY_WORKER_TYPE ", waits for locks",
		"answers of PSPs wait for payments that somebody keeps locked: end what has been open for long in pg_stat_activity and pg_prepared_xacts"},
	[PAY_TROUBLE_VERSION] = {PAY_WORKER_TYPE ", of another version",
		"the worker is of another version than the extension: restart the server, and run ALTER EXTENSION payments UPDATE"},
};

bool		pay_launcher_registered = false;

static const char *shown_by(int pid);
static bool is_listed(void);

PAY_FUNCTION(pay_worker_trouble);

void
pay_trouble_show(PayTrouble trouble)
{
	static PayTrouble shown = PAY_TROUBLE_NONE;

	if (trouble == shown)
		return;
	shown = trouble;
	pgstat_report_appname(texts[trouble].name);
}

const char *
pay_trouble_of_start(const FormData_pg_database *database, const FormData_pg_authid *role)
{
	if (!role->rolcanlogin)
		return "role " PAY_WORKER_ROLE " may not log in: ALTER ROLE " PAY_WORKER_ROLE " LOGIN";
	if (!database->datallowconn)
		return "the database allows no connections: ALTER DATABASE ... ALLOW_CONNECTIONS true";
	return NULL;
}

const char *
pay_trouble_of_this_database(void)
{
	HeapTuple	database = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	HeapTuple	role = SearchSysCache1(AUTHNAME, CStringGetDatum(PAY_WORKER_ROLE));
	const char *trouble = NULL;

	if (!HeapTupleIsValid(role))
		trouble = "role " PAY_WORKER_ROLE " does not exist: CREATE EXTENSION makes it";
	else if (HeapTupleIsValid(database))
		trouble = pay_trouble_of_start((Form_pg_database) GETSTRUCT(database), (Form_pg_authid) GETSTRUCT(role));
	if (trouble == NULL && HeapTupleIsValid(role) &&
		PayDatabaseAclcheck(MyDatabaseId, ((Form_pg_authid) GETSTRUCT(role))->oid, ACL_CONNECT) != ACLCHECK_OK)
		trouble = "role " PAY_WORKER_ROLE " may not connect to this database: GRANT CONNECT ON DATABASE ... TO " PAY_WORKER_ROLE;
	if (HeapTupleIsValid(database))
		ReleaseSysCache(database);
	if (HeapTupleIsValid(role))
		ReleaseSysCache(role);
	return trouble;
}

/* What is in the way of this database's worker, null when nothing is known to be. */
Datum
pay_worker_trouble(PG_FUNCTION_ARGS)
{
	int			pid = pay_worker_pid();
	const char *trouble = pid != 0 ? shown_by(pid) : pay_trouble_of_this_database();

	if (trouble == NULL && pid == 0 && is_listed())
		trouble = pay_launcher_registered ?
			"it is started in a moment; if it stays so, see the server log" :
			"shared_preload_libraries has no payments: add it and restart the server, or SELECT payments.start_worker()";
	if (trouble == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(trouble));
}

/* Is the launcher to keep a worker in this database? */
static bool
is_listed(void)
{
	const char *database = get_database_name(MyDatabaseId);
	char	   *list = pstrdup(pay_databases ? pay_databases : "");
	List	   *names = NIL;
	ListCell   *cell;

	(void) SplitIdentifierString(list, ',', &names);
	foreach(cell, names)
		if (database && strcmp(lfirst(cell), database) == 0)
			return true;
	return false;
}

/* For all to see, whatever pg_stat_activity hides: it is our own text. */
static const char *
shown_by(int pid)
{
	int			n = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = PayLocalBackend(i);

		if (local == NULL || local->backendStatus.st_procpid != pid)
			continue;
		for (int t = 0; t < (int) lengthof(texts); t++)
			if (strcmp(local->backendStatus.st_appname, texts[t].name) == 0)
				return texts[t].hint;
	}
	return NULL;
}
