/*
 * src/core/setup.c
 *		What an administrator calls: setup, version, wake.
 *
 * setup() may be run beside clients, the worker and pg_dump.  It looks into the
 * catalogs first: where all that it makes is there already it locks no table of
 * theirs.  Otherwise it needs every table for itself, in whatever order the
 * script comes to them, and others have theirs; so it takes them all before
 * (core/lock.c), or none.
 */
#include "payments.h"

#include "core/guard.h"
#include "core/caller.h"
#include "core/lock.h"
#include "core/spi.h"
#include "core/wake.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* A member of the extension that only its owner can lock: it stands for all that setup() makes. */
#define SETUP_TABLE "transition"
/* As long as this it keeps others waiting for nothing, and goes on trying. */
#define ATTEMPT_MS 500
#define GIVE_UP_MS 10000

static void run_setup(void *unused);
static bool is_done(void);
static void require_salt(void);
static void run(const char *query);
static void take_all(TimestampTz until);
static List *our_tables(void);
pg_noreturn static void refuse_to_wait(void);

PAY_FUNCTION(pay_setup);
PAY_FUNCTION(pay_require_setup_sql);
PAY_FUNCTION(pay_version);
PAY_FUNCTION(pay_wake_worker);
PAY_FUNCTION(pay_commit_durably);

/* setup(): runs the script of tables that the build put into _setup_tables(), with our own DDL guard lifted, unless it has been run. */
PAY_VERB(pay_setup)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("payments needs a database in encoding UTF8"),
				 errhint("CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0;")));
	SPI_connect();
	pay_guard_lifting(run_setup, NULL);
	SPI_finish();
	/* A worker that found nothing to serve may be waiting. */
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

static void
run_setup(void *unused)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), GIVE_UP_MS);

	/* One at a time, the first to the end of its transaction. */
	if (!pay_lock_all(list_make1_oid(get_relname_relid(SETUP_TABLE, pay_schema_oid())), ShareRowExclusiveLock, GIVE_UP_MS))
		refuse_to_wait();
	require_salt();
	if (is_done())
		run("SELECT payments._make_partitions('3 months', NULL)");
	else
	{
		take_all(until);
		run("SELECT payments._setup_tables()");
		run("SELECT payments._setup_record()");
	}
	run("SELECT payments._warn_of_strangers()");
}

static bool
is_done(void)
{
	bool		isnull;

	run("SELECT payments._setup_is_done()");
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* A new one would make of every call that a client repeats another one for the PSP. */
static void
require_salt(void)
{
	Oid			schema = pay_schema_oid();
	bool		isnull;

	if (!OidIsValid(get_relname_relid("operation", schema)))
		return;
	if (OidIsValid(get_relname_relid("installation_salt", schema)))
		run("SELECT EXISTS (SELECT FROM payments.operation) AND NOT EXISTS (SELECT FROM payments.installation_salt)");
	else
		run("SELECT EXISTS (SELECT FROM payments.operation)");
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
		return;
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_SET_UP),
			 errmsg("there are operations, but not the salt that they were made with"),
			 errhint("Restore payments.installation_salt from the dump that the operations are from: with a new one, what a client repeats would be charged again.")));
}

static void
run(const char *query)
{
	if (SPI_execute(query, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not run the setup script");
}

static void
take_all(TimestampTz until)
{
	List	   *tables = our_tables();

	while (!pay_lock_all(tables, AccessExclusiveLock, ATTEMPT_MS))
	{
		if (GetCurrentTimestamp() >= until)
			refuse_to_wait();
		/* They have waited for us; now it is their turn. */
		pg_usleep(ATTEMPT_MS * 1000L);
	}
}

/* Tables, partitions and views, in the order in which they were made; not the members of the extension, which the script only reads. */
static List *
our_tables(void)
{
	List	   *tables = NIL;
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(pay_schema_oid()));
	scan = systable_beginscan(classes, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

		if ((class->relkind == RELKIND_RELATION || class->relkind == RELKIND_PARTITIONED_TABLE || class->relkind == RELKIND_VIEW) &&
			!OidIsValid(getExtensionOfObject(RelationRelationId, class->oid)))
			tables = lappend_oid(tables, class->oid);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	list_sort(tables, list_oid_cmp);
	return tables;
}

static void
refuse_to_wait(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("setup() could not have the tables of payments for itself within %d seconds", GIVE_UP_MS / 1000),
			 errhint("Something is missing that it must make, while others read or write: end long transactions and dumps, see pg_locks, and run it again.")));
}

/* _require_setup(): PAY_ERR_NOT_SET_UP, for functions written in SQL. */
Datum
pay_require_setup_sql(PG_FUNCTION_ARGS)
{
	pay_spi_begin();
	pay_spi_end();
	PG_RETURN_VOID();
}

/* The library's version; the extension's is in pg_extension. */
Datum
pay_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(PAY_VERSION));
}

Datum
pay_wake_worker(PG_FUNCTION_ARGS)
{
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* _commit_durably() */
Datum
pay_commit_durably(PG_FUNCTION_ARGS)
{
	ForceSyncCommit();
	PG_RETURN_VOID();
}
