/*
 * src/seal/seal.c
 *		Cutting blocks: what is written now cannot be changed later without a trace.
 *
 * A block covers all rows of all sealed tables whose transactions lie from
 * from_xid to below to_xid (seal/xid.c).  to_xid is at most the horizon, so
 * these rows are all there will ever be: no clocks, no races.  The next block
 * begins where the last one ended.  For each tree (seal/row.c) that has rows the
 * block holds their number and its root; the leaves are kept
 * as well, so that verify() can name the row that no longer fits.  The block's
 * hash covers all that and the hash of the block before.
 *
 * Everything of a block is written in one transaction; a crash leaves all of
 * it or nothing.  Sealing reads what is committed and locks no row, so posting
 * does not wait for it.  Of two sealers the second finds nothing to do.
 *
 * Rows pile up while something holds the horizon.  Then blocks of a bounded
 * number of rows are cut one by one; only what a single transaction wrote is
 * never split.
 */
#include "payments.h"

#include "core/guc.h"
#include "core/lock.h"
#include "core/caller.h"
#include "seal/brin.h"
#include "seal/leaf.h"
#include "seal/row.h"
#include "seal/xid.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/* About as many rows a block; a step takes some 50 ms. */
#define BLOCK_ROWS 10000
/* So many transactions since the last block are reason enough for one before its time. */
#define BLOCK_XIDS_MIN 1000
/* Transactions in one, at most; where there were none for long, it begins behind the gap. */
#define WINDOW_MAX (UINT64CONST(1) << 24)
#define BLOCKS_MAX 1000000

/* The advisory lock's keys: "paym", "seal". */
#define LOCK_KEY1 0x7061796d
#define LOCK_KEY2 0x7365616c

/* The newest block; of an empty chain zeros, and never sealed. */
typedef struct PayChainEnd
{
	PayBlock	block;
	PayHash		hash;
	TimestampTz sealed_at;
} PayChainEnd;

/* A tree of the block that is cut. */
typedef struct PayGrowingTree
{
	const char *name;
	PayMerkle	tree;
	PayLeafWriter *writer;
} PayGrowingTree;

/* Transactions that a block is tried with first; process-local, follows what was found. */
static uint64 window = 4096;

static bool lock_sealing(void);
static bool tables_complete(void);
static void read_end(PayChainEnd *end);
static bool cut_block(PayChainEnd *end, uint64 horizon);
static bool choose_end(uint64 from, uint64 horizon, uint64 *to);
static int64 count_rows(uint64 from, uint64 to, int64 max);
static bool first_row(uint64 from, uint64 to, uint64 *xid);
static void seal_table(PaySealTable *table, const PayBlock *block, PayBlockMessage *message);
static PayGrowingTree *find_tree(List **trees, int64 block, const char *name);
static int	compare_trees(const ListCell *a, const ListCell *b);

static PayStmt read_complete = PAY_STMT(SPI_OK_SELECT,
	"SELECT count(*) FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid "
	"WHERE c.relnamespace = 'payments'::regnamespace AND c.relname = ANY ($1) AND i.indisprimary AND i.indisvalid", TEXTARRAYOID);
static PayStmt read_last = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT block, to_xid, hash, sealed_at FROM payments.seal ORDER BY block DESC LIMIT 1");
static PayStmt insert_seal = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.seal (block, from_xid, to_xid, previous, hash, sealed_at) VALUES ($1, $2, $3, $4, $5, $6)",
	INT8OID, XID8OID, XID8OID, BYTEAOID, BYTEAOID, TIMESTAMPTZOID);
static PayStmt insert_table = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.seal_table (block, name, rows, root) VALUES ($1, $2, $3, $4)", INT8OID, TEXTOID, INT8OID, BYTEAOID);
PAY_FUNCTION(pay_seal_blocks);
PAY_FUNCTION(pay_seal_count);
PAY_FUNCTION(pay_seal_hash);
PAY_FUNCTION(pay_seal_interval);

/* seal_blocks(max_blocks, every): how many blocks were cut. */
PAY_VERB(pay_seal_blocks)
{
	int			max = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	PayChainEnd end;
	uint64		horizon;
	TimestampTz due;
	int			n = 0;

	if (max < 1 || max > BLOCKS_MAX || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_blocks must be between 1 and %d, and every not null", BLOCKS_MAX),
				 errhint("Leave them out to seal all that can be.")));
	pay_spi_begin();
	if (lock_sealing() && tables_complete())
	{
		read_end(&end);
		horizon = pay_seal_horizon();
		/* A clock that was set back, or a block of a time that has yet to come, must not keep us waiting. */
		if (end.sealed_at > GetCurrentTimestamp())
			end.sealed_at = DT_NOBEGIN;
		due = end.sealed_at;
		if (!TIMESTAMP_NOT_FINITE(due))
			due = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(due), PG_GETARG_DATUM(1)));
		/* Nobody calls for it yet: neither the clock nor the number of transactions. */
		if (end.block.number == 0 || GetCurrentTimestamp() >= due || end.block.to_xid + BLOCK_XIDS_MIN <= horizon)
		{
			pay_seal_summarize();
			while (n < max && cut_block(&end, horizon))
				n++;
		}
	}
	pay_spi_end();
	PG_RETURN_INT32(n);
}

/* To the end of the transaction, so that the next sealer sees our block. */
static bool
lock_sealing(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_KEY1, LOCK_KEY2, PAY_LOCK_SEAL);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * A restore makes primary keys after it has brought the rows.  A block cut in
 * its midst would take the number of one that is still to come.
 */
static bool
tables_complete(void)
{
	static const char *const seals[] = {"seal", "seal_table", "seal_leaf"};
	const char **names = palloc(sizeof(char *) * (lengthof(seals) + pay_seal_table_count()));
	int			n = lengthof(seals);
	PayArgs		args = {0};

	memcpy(names, seals, sizeof(seals));
	for (int i = 0; i < pay_seal_table_count(); i++)
		names[n++] = pay_seal_table(i)->name;
	pay_arg_text_array(&args, names, n);
	pay_spi_exec(&read_complete, &args);
	if (pay_spi_int64(0, 1) == n)
		return true;
	ereport(NOTICE,
			(errmsg("nothing is sealed: a table has no primary key"),
			 errdetail("A restore is under way, or somebody has dropped one.")));
	return false;
}

static void
read_end(PayChainEnd *end)
{
	memset(end, 0, sizeof(PayChainEnd));
	if (pay_spi_exec(&read_last, NULL) == 0)
		return;
	end->block.number = pay_spi_int64(0, 1);
	end->block.to_xid = pay_spi_xid8(0, 2);
	pay_leaf_hash(pay_spi_bytea(0, 3), &end->hash);
	end->sealed_at = pay_spi_time(0, 4);
}

/* Adds one block if there is something to seal, and moves the end. */
static bool
cut_block(PayChainEnd *end, uint64 horizon)
{
	PayBlock	block = {0};
	PayBlockMessage *message = palloc(sizeof(PayBlockMessage));
	PayHasher  *hasher;
	PayHash		hash;
	PayArgs		args = {0};
	TimestampTz now = GetCurrentTimestamp();

	block.number = end->block.number + 1;
	block.previous = end->hash;
	block.from_xid = end->block.to_xid;
	block.sealed_us = pay_seal_unix_us(now);
	if (!choose_end(block.from_xid, horizon, &block.to_xid))
		return false;

	pay_block_begin(message, &block);
	for (int i = 0; i < pay_seal_table_count(); i++)
		seal_table(pay_seal_table(i), &block, message);
	hasher = pay_hasher_begin();
	pay_block_digest(message, hasher, &hash);
	pay_hasher_end(hasher);
	pfree(message);

	pay_arg_int64(&args, block.number);
	pay_arg_xid8(&args, block.from_xid);
	pay_arg_xid8(&args, block.to_xid);
	pay_arg_bytes(&args, block.previous.bytes, PAY_HASH_BYTES);
	pay_arg_bytes(&args, hash.bytes, PAY_HASH_BYTES);
	pay_arg_time(&args, now);
	pay_spi_exec(&insert_seal, &args);
	end->block = block;
	end->hash = hash;
	end->sealed_at = now;
	return true;
}

/*
 * Where the next block ends: behind about BLOCK_ROWS rows, or at the horizon.
 * Counting goes no further than twice as many, so the search costs little more
 * than reading the block.  Returns false when there are none.
 */
static bool
choose_end(uint64 from, uint64 horizon, uint64 *to)
{
	uint64		start = from;
	bool		shrunk = false;

	while (start < horizon)
	{
		uint64		span = Min(window, horizon - start);
		int64		rows = count_rows(start, start + span, 2 * BLOCK_ROWS + 1);

		CHECK_FOR_INTERRUPTS();
		if (rows > 2 * BLOCK_ROWS && span > 1)
		{
			window = span / 2;
			shrunk = true;
			continue;
		}
		if (rows == 0)
		{
			if (start + span == horizon || !first_row(start + span, horizon, &start))
				return false;
			continue;
		}
		if (!shrunk && rows < BLOCK_ROWS / 2 && start + span < horizon && window < WINDOW_MAX)
		{
			window *= 2;
			continue;
		}
		*to = start + span;
		return true;
	}
	return false;
}

static int64
count_rows(uint64 from, uint64 to, int64 max)
{
	int64		rows = 0;

	for (int i = 0; i < pay_seal_table_count() && rows < max; i++)
	{
		PayArgs		args = {0};

		pay_arg_xid8(&args, from);
		pay_arg_xid8(&args, to);
		pay_arg_int64(&args, max - rows);
		pay_spi_exec(&pay_seal_table(i)->count, &args);
		rows += pay_spi_int64(0, 1);
	}
	return rows;
}

static bool
first_row(uint64 from, uint64 to, uint64 *xid)
{
	bool		found = false;

	for (int i = 0; i < pay_seal_table_count(); i++)
	{
		PayArgs		args = {0};

		pay_arg_xid8(&args, from);
		pay_arg_xid8(&args, to);
		if (pay_spi_exec(&pay_seal_table(i)->first, &args) == 0)
			continue;
		*xid = found ? Min(*xid, pay_spi_xid8(0, 1)) : pay_spi_xid8(0, 1);
		found = true;
	}
	return found;
}

/* Writes what the block holds of a table. */
static void
seal_table(PaySealTable *table, const PayBlock *block, PayBlockMessage *message)
{
	PaySealScan *scan = pay_seal_scan_begin(table, block->from_xid, block->to_xid);
	List	   *trees = NIL;
	ListCell   *cell;
	PayHash		leaf;

	while (pay_seal_scan_next(scan, &leaf))
	{
		PayGrowingTree *growing = find_tree(&trees, block->number, pay_seal_scan_tree(scan));

		pay_merkle_add(&growing->tree, pay_seal_scan_hasher(scan), &leaf);
		pay_leaf_write(growing->writer, &leaf);
	}
	list_sort(trees, compare_trees);
	foreach(cell, trees)
	{
		PayGrowingTree *grown = lfirst(cell);
		PayArgs		args = {0};
		PayHash		root;

		pay_leaf_writer_end(grown->writer);
		pay_merkle_root(&grown->tree, pay_seal_scan_hasher(scan), &root);
		if (!pay_block_add(message, grown->name, strlen(grown->name), grown->tree.leaves, &root))
			elog(ERROR, "tree \"%s\" does not fit into a block", grown->name);
		pay_arg_int64(&args, block->number);
		pay_arg_text(&args, grown->name);
		pay_arg_int64(&args, grown->tree.leaves);
		pay_arg_bytes(&args, root.bytes, PAY_HASH_BYTES);
		pay_spi_exec(&insert_table, &args);
	}
	pay_seal_scan_end(scan);
}

/* There are few, and most rows are of the one that was found last. */
static PayGrowingTree *
find_tree(List **trees, int64 block, const char *name)
{
	PayGrowingTree *growing;
	ListCell   *cell;

	foreach(cell, *trees)
		if (strcmp(((PayGrowingTree *) lfirst(cell))->name, name) == 0)
			return lfirst(cell);
	growing = palloc(sizeof(PayGrowingTree));
	growing->name = pstrdup(name);
	pay_merkle_init(&growing->tree, NULL, 0);
	growing->writer = pay_leaf_writer_begin(block, growing->name);
	*trees = lcons(growing, *trees);
	return growing;
}

static int
compare_trees(const ListCell *a, const ListCell *b)
{
	return strcmp(((const PayGrowingTree *) lfirst(a))->name, ((const PayGrowingTree *) lfirst(b))->name);
}

/* ---------- for verify() ---------- */

/* _seal_interval() */
Datum
pay_seal_interval(PG_FUNCTION_ARGS)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = pay_seal_interval_ms * INT64CONST(1000);
	PG_RETURN_INTERVAL_P(interval);
}

/* _seal_count(from_xid, to_xid, max): rows of all sealed tables. */
Datum
pay_seal_count(PG_FUNCTION_ARGS)
{
	uint64		from = U64FromFullTransactionId(PG_GETARG_FULLTRANSACTIONID(0));
	uint64		to = U64FromFullTransactionId(PG_GETARG_FULLTRANSACTIONID(1));
	int64		rows;

	pay_spi_begin();
	rows = count_rows(from, to, PG_GETARG_INT64(2));
	pay_spi_end();
	PG_RETURN_INT64(rows);
}

/* _seal_hash(previous, block, from_xid, to_xid, sealed_at, names, rows, roots): null when they cannot be a block. */
Datum
pay_seal_hash(PG_FUNCTION_ARGS)
{
	PayBlockMessage *message = palloc(sizeof(PayBlockMessage));
	PayBlock	block = {0};
	PayHasher  *hasher;
	PayHash		hash;
	Datum	   *names,
			   *rows,
			   *roots;
	int			n,
				n_rows,
				n_roots;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(5), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(6), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &rows, NULL, &n_rows);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(7), BYTEAOID, -1, false, TYPALIGN_INT, &roots, NULL, &n_roots);
	if (n != n_rows || n != n_roots || !pay_leaf_hash_copy(PG_GETARG_BYTEA_PP(0), &block.previous))
		PG_RETURN_NULL();
	block.number = PG_GETARG_INT64(1);
	block.from_xid = U64FromFullTransactionId(PG_GETARG_FULLTRANSACTIONID(2));
	block.to_xid = U64FromFullTransactionId(PG_GETARG_FULLTRANSACTIONID(3));
	block.sealed_us = pay_seal_unix_us(PG_GETARG_TIMESTAMPTZ(4));
	pay_block_begin(message, &block);
	for (int i = 0; i < n; i++)
	{
		text	   *name = DatumGetTextPP(names[i]);
		PayHash		root;

		if (!pay_leaf_hash_copy(DatumGetByteaPP(roots[i]), &root) ||
			!pay_block_add(message, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), DatumGetInt64(rows[i]), &root))
			PG_RETURN_NULL();
	}
	hasher = pay_hasher_begin();
	pay_block_digest(message, hasher, &hash);
	pay_hasher_end(hasher);
	PG_RETURN_BYTEA_P(cstring_to_text_with_len((const char *) hash.bytes, PAY_HASH_BYTES));
}
