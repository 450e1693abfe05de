/*
 * src/core/partition.c
 *		Months of history: made ahead, and retired.
 *
 * core/table.c says which tables: posting by its time, payment_status and event
 * by their ids, which are UUIDv7 and so in the order of time.  Each has a
 * partition for each month (UTC), and a default partition, so that no insert
 * ever fails: what lands there because the server's clock was wrong, or because
 * nobody made the month in time, stays there, as rows never change.
 *
 * The work is done in SQL (sql/retention/); what is here
 * lifts the guard against DDL for it, and reads what a snapshot does not show.
 *
 * Locks.  A partition is made as a table and attached, under SHARE UPDATE
 * EXCLUSIVE on the table and ACCESS EXCLUSIVE on the default partition, which is
 * scanned for rows of the new range (there should be none): postings go on,
 * only who reads through the table without a time waits.  Retiring reads the partition under a lock that
 * keeps writers out of it alone; only at the end, to detach it, it takes ACCESS
 * EXCLUSIVE on the table, for some milliseconds.  Whoever waits for such a
 * lock keeps everybody else waiting too, so each gives up after 200 ms and
 * tries again.
 *
 * A crash leaves nothing behind: each is one transaction.
 */
#include "payments.h"

#include "core/arguments.h"
#include "core/caller.h"
#include "core/guard.h"
#include "core/spi.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

static Oid	table_oid(const char *name);

PAY_FUNCTION(pay_make_partitions);
PAY_FUNCTION(pay_retire_partitions);
PAY_FUNCTION(pay_retired_until);
PAY_FUNCTION(pay_is_retiring);

static PayStmt make_partitions = PAY_STMT(SPI_OK_SELECT,
	"SELECT payments._make_partitions($1, $2)", INTERVALOID, TIMESTAMPTZOID);

static PayStmt retire_partitions = PAY_STMT(SPI_OK_SELECT,
	"SELECT partition, from_time, to_time, rows, kept_as, refused FROM payments._retire_partitions($1, $2, $3, $4, $5)",
	TEXTOID, INTERVALOID, BOOLOID, BOOLOID, TEXTOID);

/* make_partitions(ahead, since) */
PAY_VERB(pay_make_partitions)
{
	PayArgs		args = {0};
	int32		made;

	pay_spi_begin();
	for (int i = 0; i < 2; i++)
		pay_arg_datum(&args, PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	pay_guard_exec(&make_partitions, &args);
	made = pay_spi_int32(0, 1);
	pay_spi_end();
	PG_RETURN_INT32(made);
}

/* retire_partitions(table_name, older_than, keep, check_first) */
PAY_VERB(pay_retire_partitions)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PayArgs		args = {0};
	uint64		n;

	pay_refuse_card_arguments(fcinfo);
	/* In a longer transaction the lock would keep all postings out until its end. */
	if (IsTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("retire_partitions() cannot run inside a transaction block"),
				 errhint("Call it as a statement of its own: nobody can post between its end and the commit.")));
	InitMaterializedSRF(fcinfo, 0);
	pay_spi_begin();
	for (int i = 0; i < 4; i++)
		pay_arg_datum(&args, PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	pay_arg_text(&args, pay_caller_name());
	n = pay_guard_exec(&retire_partitions, &args);
	for (uint64 row = 0; row < n; row++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[row]);
	pay_spi_end();
	return (Datum) 0;
}

/* _is_retiring(): for the guard of what is noted of months that are gone. */
Datum
pay_is_retiring(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pay_guard_lifted());
}

static Oid
table_oid(const char *name)
{
	Oid			oid = get_relname_relid(name, pay_schema_oid());

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SET_UP),
				 errmsg("table \"%s.%s\" does not exist", PAY_SCHEMA, name),
				 errhint("Run SELECT payments.setup();")));
	return oid;
}

/*
 * _retired_until(table_name): the latest to_time in partition_retired.
 *
 * What is gone is gone for every snapshot, since partitions are found in the
 * catalog as it is now; so this looks at what is committed now.  The lock on
 * the table comes first and stays: whoever is retiring has it alone until the commit.
 */
Datum
pay_retired_until(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	Relation	retired;
	TableScanDesc scan;
	Snapshot	snapshot;
	TupleTableSlot *slot;
	AttrNumber	table_name,
				to_time;
	TimestampTz until = 0;
	bool		found = false;

	LockRelationOid(table_oid(text_to_cstring(name)), AccessShareLock);
	retired = table_open(table_oid("partition_retired"), AccessShareLock);
	table_name = get_attnum(RelationGetRelid(retired), "table_name");
	to_time = get_attnum(RelationGetRelid(retired), "to_time");
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(retired, snapshot, 0, NULL);
	slot = table_slot_create(retired, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		text	   *table = DatumGetTextPP(slot_getattr(slot, table_name, &isnull));
		TimestampTz time = DatumGetTimestampTz(slot_getattr(slot, to_time, &isnull));

		if (strcmp(text_to_cstring(table), text_to_cstring(name)) != 0)
			continue;
		until = found ? Max(until, time) : time;
		found = true;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(retired, AccessShareLock);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(until);
}
