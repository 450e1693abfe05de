/*
 * src/seal/verify.c
 *		Are the rows of a table those that were sealed?
 *
 * All rows of a group of consecutive blocks are read at once in the order of
 * their key.  Within a block they must come in the order, and with the leaves,
 * that the block has kept; and those leaves must lead to the sealed root.
 * Only when a block does not come out is it read again, to find the first row
 * that no longer fits.  Memory is bounded by the size of a group, whatever the
 * size of a block.
 *
 * Rows that retention has removed leave gaps.  Their number is on record in
 * seal_retired, which is sealed itself, and just so many leaves may be passed
 * over.
 *
 * The chain of the blocks and the heads that others have witnessed are
 * verify()'s business, in SQL.
 */
#include "payments.h"

#include "core/arguments.h"
#include "seal/leaf.h"
#include "seal/row.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* A group ends with the block that makes it as large as this. */
#define GROUP_BLOCKS_MAX 500
#define GROUP_ROWS 50000

typedef struct PayCheckedBlock
{
	int64		number;
	uint64		from_xid;
	uint64		to_xid;
	int64		retired;		/* rows removed by retention */
	bool		bad;
	int64		pos;			/* leaves passed */
	int64		skipped;		/* of them, taken for retired */
	PayHash		root;
	PayMerkle	tree;
	PayLeafReader leaves;
} PayCheckedBlock;

/* One run over one table. */
typedef struct PayCheck
{
	PaySealTable *table;
	ReturnSetInfo *out;
	int64		last_block;		/* of the group */
	uint64		to_xid;			/* of that block */
	int64		end_block;
	int64		rows;			/* read so far */
	int			findings;
	int			findings_max;
	int			n;
	PayCheckedBlock *blocks;
} PayCheck;

/* Where a block's rows and leaves first differ. */
typedef struct PayDifference
{
	bool		found;
	const char *kind;
	char	   *key;			/* of the row there; NULL: none */
	char	   *before;			/* of the last row that fits; NULL: none */
	int64		rows;			/* that are there */
	PayHash		root;			/* of them */
} PayDifference;

static bool read_group(PayCheck *check);
static void check_group(PayCheck *check, uint64 from_xid);
static PayCheckedBlock *find_block(PayCheck *check, uint64 xid);
static void check_leaf(PayCheckedBlock *block, PayHasher *hasher, const PayHash *leaf);
static void check_end(PayCheckedBlock *block, PayHasher *hasher);
static void explain(PayCheck *check, PayCheckedBlock *block, uint64 from_xid);
static void compare(PayCheck *check, PayCheckedBlock *block, uint64 from_xid, PayDifference *difference);
static bool skip_retired(PayCheckedBlock *block, const PayHash *leaf, int64 *i);
static const char *name_kind(PayCheckedBlock *block, int64 i, const PayHash *leaf, bool stored_found);
static bool leaves_lead_to_root(PayCheckedBlock *block);
static void put_finding(PayCheck *check, const char *kind, int64 block, const char *key, const char *detail);

static PayStmt read_blocks = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.block, s.from_xid, s.to_xid, coalesce(t.rows, 0), t.root, coalesce(r.rows, 0) "
	"FROM (SELECT b.block, b.from_xid, b.to_xid FROM payments.seal b WHERE b.block > $1 AND b.block <= $2 ORDER BY b.block LIMIT 500) s "
	"LEFT JOIN payments.seal_table t ON t.block = s.block AND t.name = $3 "
	"LEFT JOIN LATERAL (SELECT sum(x.rows)::bigint AS rows FROM payments.seal_retired x WHERE x.block = s.block AND x.name = $3) r ON true "
	"ORDER BY s.block", INT8OID, INT8OID, TEXTOID);
static PayStmt read_from = PAY_STMT(SPI_OK_SELECT,
	"SELECT coalesce((SELECT s.from_xid FROM payments.seal s WHERE s.block = $1 AND s.block > 1), '0'::xid8)", INT8OID);

PAY_FUNCTION(pay_verify_rows);

/* _verify_rows(name, from_block, to_block, max): a row a finding, then one of kind 'rows' with the number of rows read. */
Datum
pay_verify_rows(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "from_block", "to_block", "max"};
	PayCheck	check = {0};
	PayArgs		args = {0};
	uint64		from_xid;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext group_context = AllocSetContextCreate(caller, "payments verify group", ALLOCSET_DEFAULT_SIZES);

	/* Not STRICT: no rows would read as no findings. */
	for (int i = 0; i < (int) lengthof(names); i++)
		pay_require_given(fcinfo, i, names[i]);
	InitMaterializedSRF(fcinfo, 0);
	check.out = (ReturnSetInfo *) fcinfo->resultinfo;
	check.table = pay_seal_table_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (check.table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" is not sealed", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("Those that are have a seal_key in payments._tables().")));
	check.last_block = PG_GETARG_INT64(1) - 1;
	check.end_block = PG_GETARG_INT64(2);
	check.findings_max = PG_GETARG_INT32(3);

	pay_spi_begin();
	pay_arg_int64(&args, PG_GETARG_INT64(1));
	pay_spi_exec(&read_from, &args);
	from_xid = pay_spi_xid8(0, 1);
	MemoryContextSwitchTo(group_context);
	while (check.findings < check.findings_max && read_group(&check))
	{
		check_group(&check, from_xid);
		from_xid = Max(from_xid, check.to_xid);
		MemoryContextReset(group_context);
		ereport(DEBUG1, (errmsg_internal("verified %s up to block " INT64_FORMAT ", " INT64_FORMAT " rows",
										 check.table->name, check.last_block, check.rows)));
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(group_context);
	put_finding(&check, "rows", 0, NULL, psprintf(INT64_FORMAT, check.rows));
	pay_spi_end();
	return (Datum) 0;
}

/* The next blocks.  Returns false when there are none. */
static bool
read_group(PayCheck *check)
{
	PayArgs		args = {0};
	uint64		n;
	int64		rows = 0;

	pay_arg_int64(&args, check->last_block);
	pay_arg_int64(&args, check->end_block);
	pay_arg_text(&args, check->table->name);
	n = pay_spi_exec(&read_blocks, &args);
	Assert(n <= GROUP_BLOCKS_MAX);
	if (n == 0)
		return false;
	check->blocks = palloc0(sizeof(PayCheckedBlock) * n);
	check->n = 0;
	for (uint64 i = 0; i < n && rows < GROUP_ROWS; i++)
	{
		PayCheckedBlock *block = &check->blocks[check->n++];

		block->number = pay_spi_int64(i, 1);
		block->from_xid = pay_spi_xid8(i, 2);
		block->to_xid = pay_spi_xid8(i, 3);
		rows += pay_spi_int64(i, 4);
		block->bad = pay_spi_int64(i, 4) > 0 && !pay_leaf_hash_copy(pay_spi_bytea(i, 5), &block->root);
		block->retired = pay_spi_int64(i, 6);
		pay_merkle_init(&block->tree, NULL, 0);
		pay_leaf_reader_begin(&block->leaves, block->number, check->table->name, pay_spi_int64(i, 4));
		check->last_block = block->number;
		check->to_xid = Max(check->to_xid, block->to_xid);
	}
	SPI_freetuptable(SPI_tuptable);
	return true;
}

static void
check_group(PayCheck *check, uint64 from_xid)
{
	PaySealScan *scan = pay_seal_scan_begin(check->table, from_xid, check->to_xid);
	PayHash		leaf;

	while (pay_seal_scan_next(scan, &leaf))
	{
		check->rows++;
		check_leaf(find_block(check, pay_seal_scan_xid(scan)), pay_seal_scan_hasher(scan), &leaf);
	}
	for (int i = 0; i < check->n; i++)
		check_end(&check->blocks[i], pay_seal_scan_hasher(scan));
	pay_seal_scan_end(scan);

	for (int i = 0; i < check->n && check->findings < check->findings_max; i++)
		if (check->blocks[i].bad)
			explain(check, &check->blocks[i], i == 0 ? from_xid : check->blocks[i - 1].to_xid);
}

/* The first block that ends behind the transaction; the last one if none does. */
static PayCheckedBlock *
find_block(PayCheck *check, uint64 xid)
{
	int			low = 0,
				high = check->n - 1;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (check->blocks[middle].to_xid > xid)
			high = middle;
		else
			low = middle + 1;
	}
	return &check->blocks[low];
}

static void
check_leaf(PayCheckedBlock *block, PayHasher *hasher, const PayHash *leaf)
{
	while (!block->bad)
	{
		const PayHash *stored = pay_leaf_at(&block->leaves, block->pos);

		if (stored == NULL)
		{
			block->bad = true;
			return;
		}
		block->pos++;
		pay_merkle_add(&block->tree, hasher, stored);
		if (memcmp(stored, leaf, sizeof(PayHash)) == 0)
			return;
		block->bad = ++block->skipped > block->retired;
	}
}

/* What is left must be retired rows, and all leaves must lead to the root. */
static void
check_end(PayCheckedBlock *block, PayHasher *hasher)
{
	PayHash		root;

	if (!block->bad && block->leaves.rows - block->pos != block->retired - block->skipped)
		block->bad = true;
	while (!block->bad && block->pos < block->leaves.rows)
	{
		const PayHash *stored = pay_leaf_at(&block->leaves, block->pos++);

		if (stored)
			pay_merkle_add(&block->tree, hasher, stored);
		else
			block->bad = true;
	}
	if (!block->bad && block->leaves.rows > 0)
	{
		pay_merkle_root(&block->tree, hasher, &root);
		block->bad = memcmp(&root, &block->root, sizeof(PayHash)) != 0;
	}
	pay_leaf_reader_end(&block->leaves);
}

/* ---------- what is wrong ---------- */

static void
explain(PayCheck *check, PayCheckedBlock *block, uint64 from_xid)
{
	PayDifference d = {0};
	bool		trusted = leaves_lead_to_root(block);
	char	   *counts;
	char	   *key;

	compare(check, block, from_xid, &d);
	counts = psprintf(INT64_FORMAT " rows were sealed, " INT64_FORMAT " of them retired, " INT64_FORMAT " are there",
					  block->leaves.rows, block->retired, d.rows);
	if (!trusted && block->retired == 0 && d.rows == block->leaves.rows && memcmp(&d.root, &block->root, sizeof(PayHash)) == 0)
		put_finding(check, "leaves", block->number, NULL, "the rows are as they were sealed, the leaves in seal_leaf are not");
	else if (!d.found)
		put_finding(check, "root", block->number, NULL,
					"rows and leaves agree with each other but not with the sealed root: either it was changed, or both of them");
	else
	{
		key = d.key;
		if (strcmp(d.kind, "missing") == 0)
			key = psprintf("{\"after\": %s, \"before\": %s}", d.before ? d.before : "null", d.key ? d.key : "null");
		put_finding(check, d.kind, block->number, key,
					trusted ? counts : psprintf("%s; the leaves in seal_leaf were changed as well, so it may be another row", counts));
	}
	pay_leaf_reader_end(&block->leaves);
}

/* Reads the block's rows again, and finds the first that does not fit. */
static void
compare(PayCheck *check, PayCheckedBlock *block, uint64 from_xid, PayDifference *d)
{
	PaySealScan *scan = pay_seal_scan_begin(check->table, from_xid, block->to_xid);
	const PayHash *stored;
	PayHash		leaf,
				odd_leaf,
				odd_stored;
	PayMerkle	tree;
	int64		i = 0;
	bool		stored_there = false,
				stored_found = false;

	pay_merkle_init(&tree, NULL, 0);
	block->skipped = 0;
	while (pay_seal_scan_next(scan, &leaf))
	{
		pay_merkle_add(&tree, pay_seal_scan_hasher(scan), &leaf);
		if (d->found)
		{
			stored_found = stored_found || (stored_there && memcmp(&leaf, &odd_stored, sizeof(PayHash)) == 0);
			continue;
		}
		if (skip_retired(block, &leaf, &i))
		{
			if (d->before)
				pfree(d->before);
			d->before = pay_seal_scan_key(scan);
			i++;
			continue;
		}
		d->found = true;
		d->key = pay_seal_scan_key(scan);
		odd_leaf = leaf;
		stored = pay_leaf_at(&block->leaves, i);
		stored_there = stored != NULL;
		if (stored)
			odd_stored = *stored;
	}
	d->rows = tree.leaves;
	pay_merkle_root(&tree, pay_seal_scan_hasher(scan), &d->root);
	pay_seal_scan_end(scan);
	if (d->found)
		d->kind = stored_there ? name_kind(block, i, &odd_leaf, stored_found) : "added";
	else if (block->leaves.rows - i != block->retired - block->skipped)
	{
		d->found = true;
		d->kind = block->leaves.rows - i > block->retired - block->skipped ? "missing" : "retired";
	}
}

/* Is the row the leaf at *i, or after so many retired ones as may be?  Then *i is there. */
static bool
skip_retired(PayCheckedBlock *block, const PayHash *leaf, int64 *i)
{
	int64		spare = block->retired - block->skipped;

	for (int64 k = 0; k <= spare; k++)
	{
		const PayHash *stored = pay_leaf_at(&block->leaves, *i + k);

		if (stored == NULL)
			return false;
		if (memcmp(stored, leaf, sizeof(PayHash)) == 0)
		{
			*i += k;
			block->skipped += k;
			return true;
		}
	}
	return false;
}

/* A row stands where leaf i should: is it one of the later leaves, and is that leaf a later row? */
static const char *
name_kind(PayCheckedBlock *block, int64 i, const PayHash *leaf, bool stored_found)
{
	const PayHash *stored;
	bool		leaf_found = false;

	for (int64 k = i + 1; !leaf_found && (stored = pay_leaf_at(&block->leaves, k)) != NULL; k++)
		leaf_found = memcmp(stored, leaf, sizeof(PayHash)) == 0;
	if (leaf_found && !stored_found)
		return "missing";
	if (!leaf_found && stored_found)
		return "added";
	return "changed";
}

static bool
leaves_lead_to_root(PayCheckedBlock *block)
{
	PayHasher  *hasher = pay_hasher_begin();
	PayMerkle	tree;
	PayHash		root;
	const PayHash *stored;

	pay_merkle_init(&tree, NULL, 0);
	while ((stored = pay_leaf_at(&block->leaves, tree.leaves)) != NULL)
		pay_merkle_add(&tree, hasher, stored);
	pay_merkle_root(&tree, hasher, &root);
	pay_hasher_end(hasher);
	return tree.leaves == block->leaves.rows && (tree.leaves == 0 || memcmp(&root, &block->root, sizeof(PayHash)) == 0);
}

static void
put_finding(PayCheck *check, const char *kind, int64 block, const char *key, const char *detail)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false, block == 0, false, key == NULL, false};

	values[0] = CStringGetTextDatum(kind);
	values[1] = Int64GetDatum(block);
	values[2] = CStringGetTextDatum(check->table->name);
	if (key)
		values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(key));
	values[4] = CStringGetTextDatum(detail);
	tuplestore_putvalues(check->out->setResult, check->out->setDesc, values, nulls);
	check->findings++;
}
