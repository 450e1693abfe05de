/*
 * src/seal/xid.c
 *		Which transaction wrote a row, in numbers that outlive this cluster.
 *
 * Append-only rows carry the number of their transaction, and a block seals
 * all rows below the xmin horizon: every transaction below it has ended, so
 * none can come late.  The server's own transaction ids do not do for that.  A
 * dump restored into another cluster brings rows with ids that cluster has yet
 * to reach.  So the number is
 *
 *		epoch * 2^48 + transaction id
 *
 * and the epoch grows by one when the rows find themselves in another place,
 * that is in another cluster, timeline or database than the newest row of
 * payments.seal_epoch names.  Everybody who asks reads the same table and so
 * comes to the same epoch, without a lock.  What makes this safe is that a
 * transaction that finds no committed row about the place where it runs
 * inserts one itself: whoever sees a row of an epoch, a dump for instance,
 * sees that the epoch was here.  Rows of the same place made at the same time
 * are no harm.
 *
 * After a promotion the only transactions of the old timeline that may still
 * commit are prepared ones.  All have smaller ids than any transaction of the
 * new timeline, so until the horizon has passed the first of those it stays in
 * the old epoch.
 */
#include "payments.h"

#include "seal/xid.h"

#include "core/caller.h"
#include "core/cluster.h"
#include "core/spi.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#define EPOCH_SHIFT 48
#define EPOCH_MAX 0x7fff

typedef struct PayPlace
{
	int			epoch;
	bool		known;			/* a row about it is there */
	bool		ours;			/* that row is of the current transaction */
	bool		continued;		/* the epoch before was in this database of this cluster */
	uint64		since;			/* transaction id of that row */
} PayPlace;

/*
 * Process-local.  `cached` is good while the table does not change; when the
 * row about this place is not yet committed, or was read under a snapshot that
 * may be older than a change, only for the subtransaction that saw it.
 */
static PayPlace cached;
static bool cache_valid = false;
static bool changed = false;	/* since the last reading began */
static Oid	cache_relation = InvalidOid;
static uint64 cache_xid = 0;	/* 0: committed */
static SubTransactionId cache_subxact = InvalidSubTransactionId;

static bool cache_usable(uint64 xid);
static void read_place(PayPlace *place, uint64 xid);
static void record_place(PayPlace *place, uint64 xid);
static void forget(Datum arg, Oid relation);

/* The first of the newest rows.  Continued: what was written before the present epoch was written in this database as well. */
static PayStmt read_epoch = PAY_STMT(SPI_OK_SELECT,
	"SELECT e.epoch, x.here, e.since::text::bigint, "
	" CASE WHEN x.here THEN (SELECT p.system = $1 AND p.database = $3::bigint::oid FROM payments.seal_epoch p "
	"                        WHERE p.epoch < e.epoch ORDER BY p.epoch DESC LIMIT 1) "
	" ELSE e.system = $1 AND e.database = $3::bigint::oid END "
	"FROM payments.seal_epoch e, "
	" LATERAL (SELECT e.system = $1 AND e.timeline = $2 AND e.database = $3::bigint::oid AS here) x "
	"ORDER BY e.epoch DESC, e.since LIMIT 1",
	TEXTOID, INT4OID, INT8OID);
static PayStmt insert_epoch = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.seal_epoch (epoch, system, timeline, database, since, recorded_at, xid) "
	"VALUES ($1, $2, $3, $4::bigint::oid, $5::text::xid8, now(), $6::text::xid8)",
	INT4OID, TEXTOID, INT4OID, INT8OID, TEXTOID, TEXTOID);

PAY_FUNCTION(pay_seal_xid);
PAY_FUNCTION(pay_seal_horizon_sql);
PAY_FUNCTION(pay_seal_limit_sql);

/* _seal_xid(): what the column xid defaults to. */
Datum
pay_seal_xid(PG_FUNCTION_ARGS)
{
	uint64		xid = U64FromFullTransactionId(GetTopFullTransactionId());

	if (!cache_usable(xid))
	{
		PayPlace	place;

		changed = false;
		pay_spi_begin();
		read_place(&place, xid);
		if (!place.known)
			record_place(&place, xid);
		pay_spi_end();
		cached = place;
		cache_xid = place.ours || IsolationUsesXactSnapshot() ? xid : 0;
		cache_subxact = GetCurrentSubTransactionId();
		cache_valid = place.ours || !changed;
	}
	PG_RETURN_FULLTRANSACTIONID(FullTransactionIdFromU64(((uint64) cached.epoch << EPOCH_SHIFT) + xid));
}

static bool
cache_usable(uint64 xid)
{
	return cache_valid &&
		(cache_xid == 0 || (cache_xid == xid && cache_subxact == GetCurrentSubTransactionId()));
}

static void
read_place(PayPlace *place, uint64 xid)
{
	static bool registered = false;
	PayArgs		args = {0};

	/* Once for the life of the process; there is no way to unregister. */
	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
	cache_relation = get_relname_relid("seal_epoch", pay_schema_oid());

	memset(place, 0, sizeof(PayPlace));
	pay_arg_text(&args, pay_cluster_system());
	pay_arg_int32(&args, (int32) GetWALInsertionTimeLine());
	pay_arg_int64(&args, (int64) MyDatabaseId);
	if (pay_spi_exec(&read_epoch, &args) == 0)
		return;
	place->known = pay_spi_bool(0, 2);
	place->epoch = pay_spi_int32(0, 1) + (place->known ? 0 : 1);
	place->since = (uint64) pay_spi_int64(0, 3);
	place->ours = place->known && place->since == xid;
	place->continued = !pay_spi_isnull(0, 4) && pay_spi_bool(0, 4);
}

static void
record_place(PayPlace *place, uint64 xid)
{
	PayArgs		args = {0};

	if (place->epoch > EPOCH_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("payments.seal_epoch has no epoch left"),
				 errhint("This database was moved %d times; report it.", EPOCH_MAX)));
	pay_arg_int32(&args, place->epoch);
	pay_arg_text(&args, pay_cluster_system());
	pay_arg_int32(&args, (int32) GetWALInsertionTimeLine());
	pay_arg_int64(&args, (int64) MyDatabaseId);
	pay_arg_text(&args, psprintf(UINT64_FORMAT, xid));
	/* What the column defaults to is what is found out here. */
	pay_arg_text(&args, psprintf(UINT64_FORMAT, ((uint64) place->epoch << EPOCH_SHIFT) + xid));
	pay_spi_exec(&insert_epoch, &args);
	place->known = true;
	place->ours = true;
	place->since = xid;
}

/*
 * Called by the server at any moment it processes invalidations, such as the
 * one that forget_epoch() sends: rows that COPY brings change the epoch for
 * every session.
 */
static void
forget(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == cache_relation)
	{
		cache_valid = false;
		changed = true;
	}
}

uint64
pay_seal_horizon(void)
{
	PayPlace	place;
	FullTransactionId next = ReadNextFullTransactionId();
	uint64		xmin;

	read_place(&place, 0);
	/* Nobody has written yet: what setup() has made waits, and gives way to what a restore brings. */
	if (!place.known && place.epoch == 0)
		return 0;
	xmin = U64FromFullTransactionId(next) - (uint32) (XidFromFullTransactionId(next) - GetActiveSnapshot()->xmin);
	/* Prepared transactions of the old epoch may still be there, until the first of the new one has ended. */
	if (place.continued && (!place.known || xmin < place.since))
		return ((uint64) (place.epoch - 1) << EPOCH_SHIFT) + xmin;
	return ((uint64) place.epoch << EPOCH_SHIFT) + xmin;
}

/* seal_horizon() */
PAY_VERB(pay_seal_horizon_sql)
{
	uint64		horizon;

	pay_spi_begin();
	horizon = pay_seal_horizon();
	pay_spi_end();
	PG_RETURN_FULLTRANSACTIONID(FullTransactionIdFromU64(horizon));
}

/* _seal_limit() */
Datum
pay_seal_limit_sql(PG_FUNCTION_ARGS)
{
	PayPlace	place;

	pay_spi_begin();
	read_place(&place, 0);
	pay_spi_end();
	PG_RETURN_FULLTRANSACTIONID(FullTransactionIdFromU64(((uint64) place.epoch << EPOCH_SHIFT) +
														 U64FromFullTransactionId(ReadNextFullTransactionId())));
}
