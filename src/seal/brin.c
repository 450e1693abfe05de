/*
 * src/seal/brin.c
 *		Keeping the indexes by which the sealer finds new rows.
 *
 * A BRIN index knows the range of xid in each stretch of a table, but not in
 * the newest ones: inserts do not add stretches, which is why they cost next
 * to nothing.  Autovacuum does it, within a minute or so; until then every
 * look at what is new reads all of that.  Under load that is a lot, so the
 * sealer does not wait for autovacuum.
 *
 * The lock that it takes keeps vacuum away for a few milliseconds.  If vacuum
 * has it, that is left in peace: it summarises at its end.
 */
#include "payments.h"

#include "seal/brin.h"

#include "core/spi.h"

#include "access/genam.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Not more often than this, and it takes at most a hundredth of the time. */
#define PAUSE_MS_MIN 1000
#define PAUSE_FACTOR 100

/* Process-local: when it may be done next. */
static TimestampTz next_at = 0;

static PayStmt read_indexes = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT i.indexrelid::bigint, i.indrelid::bigint FROM pg_catalog.pg_index i "
	"JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
	"JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0] "
	"WHERE c.relkind = 'i' AND o.opcname = 'xid8_minmax_ops' AND o.opcnamespace = 'payments'::regnamespace AND i.indisvalid");

void
pay_seal_summarize(void)
{
	TimestampTz start = GetCurrentTimestamp();
	uint64		n;

	if (start < next_at)
		return;
	n = pay_spi_exec(&read_indexes, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		Oid			index = (Oid) pay_spi_int64(i, 1);
		Oid			table = (Oid) pay_spi_int64(i, 2);

		if (!ConditionalLockRelationOid(table, ShareUpdateExclusiveLock))
			continue;
		/* It may be gone since. */
		if (SearchSysCacheExists1(INDEXRELID, ObjectIdGetDatum(index)))
			(void) DirectFunctionCall1(brin_summarize_new_values, ObjectIdGetDatum(index));
		UnlockRelationOid(table, ShareUpdateExclusiveLock);
	}
	next_at = GetCurrentTimestamp();
	next_at += Max((next_at - start) * PAUSE_FACTOR, PAUSE_MS_MIN * 1000);
}
