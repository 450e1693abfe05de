/*
 * src/core/cron.c
 *		Is pg_cron there, in which database, and does it run?
 *
 * pg_cron is optional: nothing here needs it to be installed.  What
 * schedule_status must know about it (its settings, its process) is for
 * superusers to read in SQL, and no secret, so it is read here.
 */
#include "payments.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define CRON_LIBRARY "pg_cron"
#define CRON_LAUNCHER "pg_cron launcher"
#define CRON_DATABASE_SETTING "cron.database_name"

static int	launcher_pid(void);

PAY_FUNCTION(pay_cron_state);

/* Process id of the launcher, 0 when none runs. */
static int
launcher_pid(void)
{
	int			backends = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= backends; i++)
	{
		LocalPgBackendStatus *local = PayLocalBackend(i);
		const char *type;

		if (local == NULL || local->backendStatus.st_procpid == 0 || local->backendStatus.st_backendType != B_BG_WORKER)
			continue;
		type = GetBackgroundWorkerTypeByPid(local->backendStatus.st_procpid);
		if (type != NULL && strcmp(type, CRON_LAUNCHER) == 0)
			return local->backendStatus.st_procpid;
	}
	return 0;
}

/* _cron_state(): preloaded, database, pid. */
Datum
pay_cron_state(PG_FUNCTION_ARGS)
{
	bool		preloaded = shared_preload_libraries_string != NULL &&
		strstr(shared_preload_libraries_string, CRON_LIBRARY) != NULL;
	const char *database = GetConfigOption(CRON_DATABASE_SETTING, true, false);
	int			pid = preloaded ? launcher_pid() : 0;
	Datum		values[3];
	bool		nulls[3];
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "_cron_state() does not return a row");
	desc = BlessTupleDesc(desc);
	values[0] = BoolGetDatum(preloaded);
	nulls[0] = false;
	/* Without the library, the setting is a line that means nothing. */
	nulls[1] = !preloaded || database == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(database);
	values[2] = Int32GetDatum(pid);
	nulls[2] = pid == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
