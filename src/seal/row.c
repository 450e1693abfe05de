/*
 * src/seal/row.c
 *		Sealed tables, and their rows as the bytes that are sealed.
 *
 * The bytes (seal/block.h) depend on the values and the columns' names alone:
 * not on the order of the columns, on settings, on locale or on the server's
 * version.  A column that is null leaves no trace, so one may be added later,
 * without a default, and what was sealed before stays as it was.
 *
 * Only facts are sealed: of a table with a projection, all but that.
 *
 * Text is ordered by its bytes.  A restore may bring another collation.
 *
 * A block has a tree for each table.  Of a partitioned one it has a tree for
 * each month, by the row's own key, whatever partition the row lies in: so what
 * retention removes is whole trees, and no word of anybody hides a single row.
 */
#include "payments.h"

#include "seal/row.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/* Rows read at a time; the widest are some kB. */
#define BATCH_ROWS 500

/* A column as it is written: in the order of names. */
typedef struct PayColumn
{
	int			index;			/* in the tuple, from 0 */
	const char *name;
	Oid			type;
	Oid			output;			/* of kind 'o' */
	char		kind;
} PayColumn;

typedef struct PayRowShape
{
	const PaySealTable *table;
	int			n;				/* of columns that are sealed */
	int			xid;			/* index of column xid */
	int			month;			/* index of what the table is partitioned by, or -1 */
	Oid			month_type;
	PayColumn  *columns;
	Datum	   *values;
	bool	   *nulls;
} PayRowShape;

/* A month, UTC, and the tree of the rows of it. */
typedef struct PayMonth
{
	TimestampTz from;
	TimestampTz to;				/* empty: none yet */
	char		tree[PAY_NAME_BYTES_MAX + 1];
} PayMonth;

struct PaySealScan
{
	PaySealTable *table;
	Portal		portal;
	PayHasher  *hasher;
	PayRowShape *shape;
	SPITupleTable *batch;
	uint64		rows,			/* in the batch */
				next;			/* in the batch */
	StringInfoData bytes;
	PayMonth	month;			/* of the row read last */
	MemoryContext batch_context;
};

/* Built from core/table.c on first use, for the life of the process. */
static PaySealTable *tables = NULL;
static int	tables_n;

static void load_tables(void);
static PayStmt statement(const char *sql, Oid first, Oid second, Oid third);
static char *key_order(const PayTable *table);
static char *key_condition(const PayTable *table);
static PayRowShape *make_shape(const PaySealTable *table, TupleDesc desc);
static char kind_of(Oid type);
static void read_batch(PaySealScan *scan);
static void write_row(PayRowShape *shape, TupleDesc desc, HeapTuple tuple, StringInfo bytes);
static const char *find_tree(const PayRowShape *shape, PayMonth *month);
static TimestampTz moment_of(Oid type, Datum value);
static TimestampTz first_of_month(int year, int month);
static void write_value(const PayColumn *column, Datum value, StringInfo bytes);
static char *iso_date(DateADT date);
static void put_be32(StringInfo bytes, uint32 value);
static void put_value(StringInfo bytes, const void *data, size_t n);
static void put_value_be64(StringInfo bytes, uint64 value);
static int	compare_columns(const void *a, const void *b);

/* ---------- tables ---------- */

static void
load_tables(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	PaySealTable *loaded = palloc0(sizeof(PaySealTable) * pay_table_count());
	int			n = 0;

	for (int i = 0; i < pay_table_count(); i++)
	{
		const PayTable *of = pay_table(i);
		PaySealTable *table = &loaded[n];
		char	   *from,
				   *range;

		if (!pay_table_sealed(of))
			continue;
		from = psprintf("FROM " PAY_SCHEMA ".%s t WHERE", of->name);
		range = psprintf("%s t.xid >= $1 AND t.xid < $2", from);
		table->name = of->name;
		table->of = of;
		table->key = of->seal_key;
		table->count = statement(psprintf("SELECT count(*) FROM (SELECT %s LIMIT $3) r", range), XID8OID, XID8OID, INT8OID);
		table->scan = statement(psprintf("SELECT t.* %s ORDER BY %s", range, key_order(of)), XID8OID, XID8OID, InvalidOid);
		table->first = statement(psprintf("SELECT t.xid %s ORDER BY t.xid LIMIT 1", range), XID8OID, XID8OID, InvalidOid);
		table->find = statement(psprintf("SELECT t.* %s %s", from, key_condition(of)), JSONBOID, InvalidOid, InvalidOid);
		n++;
	}
	MemoryContextSwitchTo(old);
	tables = loaded;
	tables_n = n;
}

static PayStmt
statement(const char *sql, Oid first, Oid second, Oid third)
{
	PayStmt		stmt = PAY_STMT(SPI_OK_SELECT, sql, first, second, third);

	return stmt;
}

/* What a table is partitioned by comes last: in different partitions a key may be there twice. */
static char *
key_order(const PayTable *table)
{
	StringInfoData order;
	bool		by_partition = table->partition_key.name != NULL;

	initStringInfo(&order);
	for (int i = 0; i < PAY_TABLE_KEY_MAX && table->seal_key[i].name; i++)
	{
		const PayTableColumn *column = &table->seal_key[i];

		appendStringInfo(&order, "%st.%s%s", i == 0 ? "" : ", ", column->name, strcmp(column->type, "text") == 0 ? " COLLATE \"C\"" : "");
		by_partition = by_partition && strcmp(column->name, table->partition_key.name) != 0;
	}
	if (by_partition)
		appendStringInfo(&order, ", t.%s", table->partition_key.name);
	return order.data;
}

static char *
key_condition(const PayTable *table)
{
	StringInfoData condition;

	initStringInfo(&condition);
	for (int i = 0; i < PAY_TABLE_KEY_MAX && table->seal_key[i].name; i++)
	{
		const PayTableColumn *column = &table->seal_key[i];

		appendStringInfo(&condition, "%st.%s = ($1 ->> '%s')::%s", i == 0 ? "" : " AND ", column->name, column->name, column->type);
	}
	return condition.data;
}

int
pay_seal_table_count(void)
{
	if (tables == NULL)
		load_tables();
	return tables_n;
}

PaySealTable *
pay_seal_table(int i)
{
	Assert(i >= 0 && i < pay_seal_table_count());
	return &tables[i];
}

PaySealTable *
pay_seal_table_find(const char *name)
{
	for (int i = 0; i < pay_seal_table_count(); i++)
		if (strcmp(tables[i].name, name) == 0)
			return &tables[i];
	return NULL;
}

void
pay_arg_xid8(PayArgs *args, uint64 value)
{
	pay_arg_datum(args, FullTransactionIdGetDatum(FullTransactionIdFromU64(value)), false);
}

uint64
pay_spi_xid8(uint64 row, int column)
{
	return (uint64) pay_spi_int64(row, column);
}

/* ---------- scans ---------- */

/*
 * The rows wanted lie together, and only the BRIN index over xid knows where:
 * the planner, with no idea of the numbers, may prefer to walk the key's.
 */
PaySealScan *
pay_seal_scan_begin(PaySealTable *table, uint64 from_xid, uint64 to_xid)
{
	PaySealScan *scan = palloc0(sizeof(PaySealScan));
	PayArgs		args = {0};
	int			nest = NewGUCNestLevel();

	pay_arg_xid8(&args, from_xid);
	pay_arg_xid8(&args, to_xid);
	(void) set_config_option("enable_indexscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	scan->table = table;
	scan->portal = pay_spi_cursor(&table->scan, &args);
	AtEOXact_GUC(true, nest);
	scan->hasher = pay_hasher_begin();
	scan->batch_context = AllocSetContextCreate(CurrentMemoryContext, "payments seal batch", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&scan->bytes);
	return scan;
}

static void
read_batch(PaySealScan *scan)
{
	MemoryContext caller = CurrentMemoryContext;

	if (scan->batch)
		SPI_freetuptable(scan->batch);
	MemoryContextReset(scan->batch_context);
	SPI_cursor_fetch(scan->portal, true, BATCH_ROWS);
	MemoryContextSwitchTo(caller);
	scan->batch = SPI_tuptable;
	scan->rows = SPI_processed;
	scan->next = 0;
	if (scan->shape == NULL && scan->rows > 0)
		scan->shape = make_shape(scan->table, scan->batch->tupdesc);
	CHECK_FOR_INTERRUPTS();
}

bool
pay_seal_scan_next(PaySealScan *scan, PayHash *leaf)
{
	MemoryContext old;

	if (scan->next >= scan->rows)
		read_batch(scan);
	if (scan->rows == 0)
		return false;
	old = MemoryContextSwitchTo(scan->batch_context);
	write_row(scan->shape, scan->batch->tupdesc, scan->batch->vals[scan->next++], &scan->bytes);
	MemoryContextSwitchTo(old);
	pay_hasher_digest(scan->hasher, scan->bytes.data, scan->bytes.len, leaf);
	return true;
}

uint64
pay_seal_scan_xid(const PaySealScan *scan)
{
	return U64FromFullTransactionId(DatumGetFullTransactionId(scan->shape->values[scan->shape->xid]));
}

const char *
pay_seal_scan_tree(const PaySealScan *scan)
{
	return find_tree(scan->shape, unconstify(PayMonth *, &scan->month));
}

char *
pay_seal_scan_key(const PaySealScan *scan)
{
	StringInfoData key;
	TupleDesc	desc = scan->batch->tupdesc;
	HeapTuple	tuple = scan->batch->vals[scan->next - 1];

	initStringInfo(&key);
	for (int i = 0; i < PAY_TABLE_KEY_MAX && scan->table->key[i].name; i++)
	{
		const char *column = scan->table->key[i].name;
		char	   *value = SPI_getvalue(tuple, desc, SPI_fnumber(desc, column));

		appendStringInfo(&key, "%s\"%s\": ", i == 0 ? "{" : ", ", column);
		escape_json(&key, value ? value : "");
	}
	appendStringInfoChar(&key, '}');
	return key.data;
}

PayHasher *
pay_seal_scan_hasher(PaySealScan *scan)
{
	return scan->hasher;
}

void
pay_seal_scan_end(PaySealScan *scan)
{
	if (scan->batch)
		SPI_freetuptable(scan->batch);
	SPI_cursor_close(scan->portal);
	pay_hasher_end(scan->hasher);
	MemoryContextDelete(scan->batch_context);
	pfree(scan->bytes.data);
	pfree(scan);
}

void
pay_seal_row_bytes(PaySealTable *table, StringInfo bytes, uint64 *xid, const char **tree)
{
	PayRowShape *shape = make_shape(table, SPI_tuptable->tupdesc);
	PayMonth   *month = palloc0(sizeof(PayMonth));

	Assert(SPI_processed == 1);
	write_row(shape, SPI_tuptable->tupdesc, SPI_tuptable->vals[0], bytes);
	*xid = U64FromFullTransactionId(DatumGetFullTransactionId(shape->values[shape->xid]));
	*tree = find_tree(shape, month);
}

/* ---------- rows ---------- */

static PayRowShape *
make_shape(const PaySealTable *table, TupleDesc desc)
{
	PayRowShape *shape = palloc0(sizeof(PayRowShape));

	shape->table = table;
	shape->xid = shape->month = -1;
	shape->columns = palloc(sizeof(PayColumn) * desc->natts);
	shape->values = palloc(sizeof(Datum) * desc->natts);
	shape->nulls = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		PayColumn  *column = &shape->columns[shape->n];
		bool		varlena;

		if (pay_table_in_projection(table->of, NameStr(attribute->attname)))
			continue;
		shape->n++;
		column->index = i;
		column->name = NameStr(attribute->attname);
		column->type = attribute->atttypid;
		column->kind = kind_of(attribute->atttypid);
		if (column->kind == 'o')
			getTypeOutputInfo(attribute->atttypid, &column->output, &varlena);
		if (attribute->atttypid == XID8OID && strcmp(column->name, "xid") == 0)
			shape->xid = i;
		if (table->of->partition_key.name && strcmp(column->name, table->of->partition_key.name) == 0)
		{
			shape->month = i;
			shape->month_type = column->type;
		}
	}
	qsort(shape->columns, shape->n, sizeof(PayColumn), compare_columns);
	if (shape->xid < 0)
		ereport(ERROR,
				(errcode(PAY_ERR_SEAL),
				 errmsg("table \"%s\" has no column xid of type xid8", table->name),
				 errhint("Somebody has altered the table; SELECT payments.setup() makes the column again, a backup has its values.")));
	return shape;
}

static int
compare_columns(const void *a, const void *b)
{
	return strcmp(((const PayColumn *) a)->name, ((const PayColumn *) b)->name);
}

static char
kind_of(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return 'i';
		case BOOLOID:
			return 'b';
		case TEXTOID:
			return 't';
		case BYTEAOID:
			return 'y';
		case UUIDOID:
			return 'u';
		case TIMESTAMPTZOID:
			return 'm';
		case XID8OID:
			return 'x';
		case JSONBOID:
			return 'j';
		default:
			return 'o';
	}
}

static void
write_row(PayRowShape *shape, TupleDesc desc, HeapTuple tuple, StringInfo bytes)
{
	uint32		name_bytes = strlen(shape->table->name);

	heap_deform_tuple(tuple, desc, shape->values, shape->nulls);
	resetStringInfo(bytes);
	appendStringInfoChar(bytes, PAY_ROW_PREFIX);
	put_be32(bytes, name_bytes);
	appendBinaryStringInfo(bytes, shape->table->name, name_bytes);
	for (int i = 0; i < shape->n; i++)
	{
		const PayColumn *column = &shape->columns[i];
		size_t		column_bytes;

		if (shape->nulls[column->index])
			continue;
		column_bytes = strlen(column->name);
		appendStringInfoChar(bytes, (char) column_bytes);
		appendBinaryStringInfo(bytes, column->name, (int) column_bytes);
		appendStringInfoChar(bytes, column->kind);
		write_value(column, shape->values[column->index], bytes);
	}
	/* A transaction that is null belongs to no block. */
	if (shape->nulls[shape->xid])
		shape->values[shape->xid] = FullTransactionIdGetDatum(FullTransactionIdFromU64(0));
}

/* The tree of the row that was written last; most are of the same month as the one before. */
static const char *
find_tree(const PayRowShape *shape, PayMonth *month)
{
	TimestampTz moment;
	struct pg_tm tm = {0};
	fsec_t		fsec;

	if (shape->month < 0)
		return shape->table->name;
	moment = moment_of(shape->month_type, shape->values[shape->month]);
	if (moment >= month->from && moment < month->to)
		return month->tree;
	month->from = month->to = 0;
	if (TIMESTAMP_NOT_FINITE(moment) || timestamp2tm(moment, NULL, &tm, &fsec, NULL, NULL) != 0)
		snprintf(month->tree, sizeof(month->tree), "%s/none", shape->table->name);
	else
	{
		snprintf(month->tree, sizeof(month->tree), "%s/%04d-%02d", shape->table->name, tm.tm_year, tm.tm_mon);
		month->from = first_of_month(tm.tm_year, tm.tm_mon);
		month->to = first_of_month(tm.tm_year + tm.tm_mon / 12, tm.tm_mon % 12 + 1);
	}
	return month->tree;
}

/* The first 48 bits of a UUIDv7 are milliseconds since 1970. */
static TimestampTz
moment_of(Oid type, Datum value)
{
	if (type == TIMESTAMPTZOID)
		return DatumGetTimestampTz(value);
	return pay_seal_from_unix_us((int64) (pay_get_be64(DatumGetUUIDP(value)->data) >> 16) * 1000);
}

static TimestampTz
first_of_month(int year, int month)
{
	return (date2j(year, month, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
write_value(const PayColumn *column, Datum value, StringInfo bytes)
{
	switch (column->kind)
	{
		case 'i':
			put_value_be64(bytes, (uint64) (column->type == INT8OID ? DatumGetInt64(value) :
											column->type == INT4OID ? (int64) DatumGetInt32(value) : (int64) DatumGetInt16(value)));
			break;
		case 'b':
			put_value(bytes, DatumGetBool(value) ? "\1" : "\0", 1);
			break;
		case 't':
		case 'y':
			{
				struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

				put_value(bytes, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
			}
			break;
		case 'u':
			put_value(bytes, DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case 'm':
			put_value_be64(bytes, (uint64) pay_seal_unix_us(DatumGetTimestampTz(value)));
			break;
		case 'x':
			put_value_be64(bytes, U64FromFullTransactionId(DatumGetFullTransactionId(value)));
			break;
		case 'j':
			{
				Jsonb	   *json = DatumGetJsonbP(value);
				char	   *text = JsonbToCString(NULL, &json->root, VARSIZE(json));

				put_value(bytes, text, strlen(text));
			}
			break;
		default:
			{
				/* A date's own output follows the setting DateStyle. */
				char	   *text = column->type == DATEOID ? iso_date(DatumGetDateADT(value)) : OidOutputFunctionCall(column->output, value);

				put_value(bytes, text, strlen(text));
			}
	}
}

static char *
iso_date(DateADT date)
{
	struct pg_tm tm = {0};

	if (DATE_NOT_FINITE(date))
		return DATE_IS_NOBEGIN(date) ? "-infinity" : "infinity";
	j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	return psprintf("%04d-%02d-%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
}

int64
pay_seal_unix_us(TimestampTz moment)
{
	if (TIMESTAMP_NOT_FINITE(moment))
		return moment;
	return moment + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

TimestampTz
pay_seal_from_unix_us(int64 us)
{
	TimestampTz moment;

	if (TIMESTAMP_NOT_FINITE(us) || pg_sub_s64_overflow(us, (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY, &moment) ||
		!IS_VALID_TIMESTAMP(moment))
		return us < 0 ? DT_NOBEGIN : DT_NOEND;
	return moment;
}

static void
put_be32(StringInfo bytes, uint32 value)
{
	uint32		swapped = pg_hton32(value);

	appendBinaryStringInfo(bytes, (const char *) &swapped, sizeof(swapped));
}

static void
put_value(StringInfo bytes, const void *data, size_t n)
{
	put_be32(bytes, (uint32) n);
	appendBinaryStringInfo(bytes, data, (int) n);
}

static void
put_value_be64(StringInfo bytes, uint64 value)
{
	uint8		swapped[8];

	pay_put_be64(swapped, value);
	put_value(bytes, swapped, sizeof(swapped));
}
