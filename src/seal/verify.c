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
 * Retention removes months, and a month has trees of its own (seal/row.c): of
 * those that partition_retired tells of, sealed itself, no row is there, and of
 * all others every one.
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

/* A tree of a block. */
typedef struct PayCheckedTree
{
	const char *name;
	bool		retired;		/* retention has removed its rows */
	bool		bad;
	int64		pos;			/* leaves passed */
	PayHash		root;
	PayMerkle	tree;
	PayLeafReader leaves;
	struct PayCheckedTree *next;	/* of the same block */
} PayCheckedTree;

typedef struct PayCheckedBlock
{
	int64		number;
	uint64		from_xid;
	uint64		to_xid;
	PayCheckedTree *trees;
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

/* Where a tree's rows and leaves first differ. */
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
static PayCheckedTree *add_tree(PayCheckedBlock *block, const char *name, int64 rows);
static void check_group(PayCheck *check, uint64 from_xid);
static PayCheckedBlock *find_block(PayCheck *check, uint64 xid);
static PayCheckedTree *find_tree(PayCheckedBlock *block, const char *name);
static void check_leaf(PayCheckedTree *tree, PayHasher *hasher, const PayHash *leaf);
static void check_end(PayCheckedTree *tree, PayHasher *hasher);
static void explain(PayCheck *check, const PayCheckedBlock *block, PayCheckedTree *tree, uint64 from_xid);
static void compare(PayCheck *check, const PayCheckedBlock *block, PayCheckedTree *tree, uint64 from_xid, PayDifference *difference);
static const char *name_kind(PayCheckedTree *tree, int64 i, const PayHash *leaf, bool stored_found);
static bool leaves_lead_to_root(PayCheckedTree *tree);
static void put_finding(PayCheck *check, const char *kind, int64 block, const char *key, const char *detail);

/* Retired are trees that were sealed when it was noted: what comes later of the month is there. */
static PayStmt read_trees = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.block, s.from_xid, s.to_xid, t.name, t.rows, t.root, r.from_time IS NOT NULL "
	"FROM (SELECT b.block, b.from_xid, b.to_xid FROM payments.seal b WHERE b.block > $1 AND b.block <= $2 ORDER BY b.block LIMIT 500) s "
	"LEFT JOIN payments.seal_table t ON t.block = s.block AND pg_catalog.split_part(t.name, '/', 1) = $3 "
	"LEFT JOIN payments.partition_retired r ON r.table_name = $3 AND t.name = payments._seal_tree(r.table_name, r.from_time) "
	" AND r.xid >= s.to_xid "
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
	SPITupleTable *found;
	uint64		n;
	int64		rows = 0;

	pay_arg_int64(&args, check->last_block);
	pay_arg_int64(&args, check->end_block);
	pay_arg_text(&args, check->table->name);
	n = pay_spi_exec(&read_trees, &args);
	found = SPI_tuptable;
	if (n == 0)
		return false;
	check->blocks = palloc0(sizeof(PayCheckedBlock) * Min(n, GROUP_BLOCKS_MAX));
	check->n = 0;
	for (uint64 i = 0; i < n; i++)
	{
		PayCheckedBlock *block;
		PayCheckedTree *tree;

		if (check->n == 0 || check->last_block != pay_spi_int64(i, 1))
		{
			if (rows >= GROUP_ROWS)
				break;
			block = &check->blocks[check->n++];
			block->number = check->last_block = pay_spi_int64(i, 1);
			block->from_xid = pay_spi_xid8(i, 2);
			block->to_xid = pay_spi_xid8(i, 3);
			check->to_xid = Max(check->to_xid, block->to_xid);
		}
		if (pay_spi_isnull(i, 4))
			continue;
		tree = add_tree(&check->blocks[check->n - 1], pay_spi_text(i, 4), pay_spi_int64(i, 5));
		tree->bad = !pay_leaf_hash_copy(pay_spi_bytea(i, 6), &tree->root);
		tree->retired = pay_spi_bool(i, 7);
		rows += tree->leaves.rows;
	}
	SPI_freetuptable(found);
	return true;
}

static PayCheckedTree *
add_tree(PayCheckedBlock *block, const char *name, int64 rows)
{
	PayCheckedTree *tree = palloc0(sizeof(PayCheckedTree));

	tree->name = name;
	pay_merkle_init(&tree->tree, NULL, 0);
	pay_leaf_reader_begin(&tree->leaves, block->number, name, rows);
	tree->next = block->trees;
	block->trees = tree;
	return tree;
}

static void
check_group(PayCheck *check, uint64 from_xid)
{
	PaySealScan *scan = pay_seal_scan_begin(check->table, from_xid, check->to_xid);
	PayHash		leaf;

	while (pay_seal_scan_next(scan, &leaf))
	{
		PayCheckedBlock *block = find_block(check, pay_seal_scan_xid(scan));

		check->rows++;
		check_leaf(find_tree(block, pay_seal_scan_tree(scan)), pay_seal_scan_hasher(scan), &leaf);
	}
	for (int i = 0; i < check->n; i++)
		for (PayCheckedTree *tree = check->blocks[i].trees; tree; tree = tree->next)
			check_end(tree, pay_seal_scan_hasher(scan));
	pay_seal_scan_end(scan);

	for (int i = 0; i < check->n; i++)
		for (PayCheckedTree *tree = check->blocks[i].trees; tree && check->findings < check->findings_max; tree = tree->next)
			if (tree->bad)
				explain(check, &check->blocks[i], tree, i == 0 ? from_xid : check->blocks[i - 1].to_xid);
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

/* One that was not sealed is as good as one of no rows. */
static PayCheckedTree *
find_tree(PayCheckedBlock *block, const char *name)
{
	for (PayCheckedTree *tree = block->trees; tree; tree = tree->next)
		if (strcmp(tree->name, name) == 0)
			return tree;
	return add_tree(block, pstrdup(name), 0);
}

static void
check_leaf(PayCheckedTree *tree, PayHasher *hasher, const PayHash *leaf)
{
	const PayHash *stored = tree->bad || tree->retired ? NULL : pay_leaf_at(&tree->leaves, tree->pos++);

	if (stored && memcmp(stored, leaf, sizeof(PayHash)) == 0)
		pay_merkle_add(&tree->tree, hasher, stored);
	else
		tree->bad = true;
}

/* No row is missing, and all leaves must lead to the root. */
static void
check_end(PayCheckedTree *tree, PayHasher *hasher)
{
	const PayHash *stored;
	PayHash		root;

	while (!tree->bad && tree->retired && (stored = pay_leaf_at(&tree->leaves, tree->pos)) != NULL)
	{
		tree->pos++;
		pay_merkle_add(&tree->tree, hasher, stored);
	}
	tree->bad = tree->bad || tree->pos != tree->leaves.rows;
	if (!tree->bad && tree->leaves.rows > 0)
	{
		pay_merkle_root(&tree->tree, hasher, &root);
		tree->bad = memcmp(&root, &tree->root, sizeof(PayHash)) != 0;
	}
	pay_leaf_reader_end(&tree->leaves);
}

/* ---------- what is wrong ---------- */

static void
explain(PayCheck *check, const PayCheckedBlock *block, PayCheckedTree *tree, uint64 from_xid)
{
	PayDifference d = {0};
	bool		trusted = leaves_lead_to_root(tree);
	char	   *counts;
	char	   *key;

	compare(check, block, tree, from_xid, &d);
	counts = psprintf("of \"%s\" " INT64_FORMAT " rows were sealed%s, " INT64_FORMAT " are there",
					  tree->name, tree->leaves.rows, tree->retired ? " and later retired" : "", d.rows);
	if (!trusted && d.rows == tree->leaves.rows && memcmp(&d.root, &tree->root, sizeof(PayHash)) == 0)
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
	pay_leaf_reader_end(&tree->leaves);
}

/* Reads the tree's rows again, and finds the first that does not fit. */
static void
compare(PayCheck *check, const PayCheckedBlock *block, PayCheckedTree *tree, uint64 from_xid, PayDifference *d)
{
	PaySealScan *scan = pay_seal_scan_begin(check->table, from_xid, block->to_xid);
	const PayHash *stored;
	PayHash		leaf,
				odd_leaf,
				odd_stored;
	PayMerkle	there;
	int64		i = 0;
	bool		stored_there = false,
				stored_found = false;

	pay_merkle_init(&there, NULL, 0);
	while (pay_seal_scan_next(scan, &leaf))
	{
		if (strcmp(pay_seal_scan_tree(scan), tree->name) != 0)
			continue;
		pay_merkle_add(&there, pay_seal_scan_hasher(scan), &leaf);
		if (d->found)
		{
			stored_found = stored_found || (stored_there && memcmp(&leaf, &odd_stored, sizeof(PayHash)) == 0);
			continue;
		}
		stored = pay_leaf_at(&tree->leaves, i);
		if (!tree->retired && stored && memcmp(stored, &leaf, sizeof(PayHash)) == 0)
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
		stored_there = stored != NULL;
		if (stored)
			odd_stored = *stored;
	}
	d->rows = there.leaves;
	pay_merkle_root(&there, pay_seal_scan_hasher(scan), &d->root);
	pay_seal_scan_end(scan);
	if (d->found)
		d->kind = tree->retired ? "retired" : stored_there ? name_kind(tree, i, &odd_leaf, stored_found) : "added";
	else if (!tree->retired && i < tree->leaves.rows)
	{
		d->found = true;
		d->kind = "missing";
	}
}

/* A row stands where leaf i should: is it one of the later leaves, and is that leaf a later row? */
static const char *
name_kind(PayCheckedTree *tree, int64 i, const PayHash *leaf, bool stored_found)
{
	const PayHash *stored;
	bool		leaf_found = false;

	for (int64 k = i + 1; !leaf_found && (stored = pay_leaf_at(&tree->leaves, k)) != NULL; k++)
		leaf_found = memcmp(stored, leaf, sizeof(PayHash)) == 0;
	if (leaf_found && !stored_found)
		return "missing";
	if (!leaf_found && stored_found)
		return "added";
	return "changed";
}

static bool
leaves_lead_to_root(PayCheckedTree *tree)
{
	PayHasher  *hasher = pay_hasher_begin();
	PayMerkle	kept;
	PayHash		root;
	const PayHash *stored;

	pay_merkle_init(&kept, NULL, 0);
	while ((stored = pay_leaf_at(&tree->leaves, kept.leaves)) != NULL)
		pay_merkle_add(&kept, hasher, stored);
	pay_merkle_root(&kept, hasher, &root);
	pay_hasher_end(hasher);
	return kept.leaves == tree->leaves.rows && (kept.leaves == 0 || memcmp(&root, &tree->root, sizeof(PayHash)) == 0);
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
