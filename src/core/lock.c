/*
 * src/core/lock.c
 *		Several tables at once, or none.
 *
 * Whoever needs tables for itself, while others have them in orders of their
 * own, waits for one with another in its hands, and the deadlock detector ends
 * one of the two, often the client.  Hence this never stands in a queue: it
 * asks again and again, and after a while gives all back.  Nobody can wait for
 * it in a circle, since it waits for nobody.
 */
#include "payments.h"

#include "core/lock.h"

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define ASK_AGAIN_MS 2
/* Who reads through a partitioned table waits no longer for the default partition. */
#define PARTITIONS_WITHIN_MS 100

static bool ask_until(Oid table, LOCKMODE mode, TimestampTz until);

static LOCKTAG job_tag(FunctionCallInfo fcinfo);

PAY_FUNCTION(pay_lock_tables_sql);
PAY_FUNCTION(pay_job_lock);
PAY_FUNCTION(pay_job_unlock);
PAY_FUNCTION(pay_job_lock_in_transaction);

bool
pay_lock_all(const List *tables, LOCKMODE mode, int within_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), within_ms);
	int			n = 0;

	while (n < list_length(tables) && ask_until(list_nth_oid(tables, n), mode, until))
		n++;
	if (n == list_length(tables))
		return true;
	while (n > 0)
		UnlockRelationOid(list_nth_oid(tables, --n), mode);
	return false;
}

static bool
ask_until(Oid table, LOCKMODE mode, TimestampTz until)
{
	while (!ConditionalLockRelationOid(table, mode))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= until)
			return false;
		pg_usleep(ASK_AGAIN_MS * 1000L);
	}
	return true;
}

/* _lock_tables(tables) */
Datum
pay_lock_tables_sql(PG_FUNCTION_ARGS)
{
	List	   *tables = NIL;
	Datum	   *oids;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &oids, NULL, &n);
	for (int i = 0; i < n; i++)
		tables = lappend_oid(tables, DatumGetObjectId(oids[i]));
	PG_RETURN_BOOL(pay_lock_all(tables, AccessExclusiveLock, PARTITIONS_WITHIN_MS));
}

/* ---------- jobs ---------- */

static LOCKTAG
job_tag(FunctionCallInfo fcinfo)
{
	text	   *job = PG_GETARG_TEXT_PP(0);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, hash_bytes((const unsigned char *) VARDATA_ANY(job), VARSIZE_ANY_EXHDR(job)), PAY_LOCK_JOB);
	return tag;
}

/* _job_lock(job): for the session, over the commits between steps; false when another has it. */
Datum
pay_job_lock(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag = job_tag(fcinfo);

	PG_RETURN_BOOL(LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL);
}

/* _job_unlock(job) */
Datum
pay_job_unlock(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag = job_tag(fcinfo);

	PG_RETURN_BOOL(LockRelease(&tag, ExclusiveLock, true));
}

/* _job_lock_in_transaction(job): what the session has goes with the transaction from now on. */
Datum
pay_job_lock_in_transaction(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag = job_tag(fcinfo);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	PG_RETURN_BOOL(LockRelease(&tag, ExclusiveLock, true));
}
