/*
 * src/seal/row.c
 *		Sealed tables, and their rows as the bytes that are sealed.
 *
 * The bytes (seal/block.h) depend on the values and the columns' names alone:
 * not on the order of the columns, on settings, on locale or on the server's
 * version.  A column that is null leaves no trace, so one may be added later,
 * without a default, and what was sealed before stays as it was.
 *
 * Text is ordered by its bytes.  A restore may bring another collation.
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
#include "utils/array.h"
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
	int			n;
	int			natts;
	int			xid;			/* index of column xid */
	PayColumn  *columns;
	Datum	   *values;
	bool	   *nulls;
} PayRowShape;

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
	MemoryContext batch_context;
};

/* One column of a key with its type, for the three statements below. */
#define SEALED(table_, order_, where_, ...) \
	{ \
		.name = table_, .keys = {__VA_ARGS__}, \
		.count = PAY_STMT(SPI_OK_SELECT, "SELECT count(*) FROM (SELECT FROM payments." table_ " t WHERE t.xid >= $1 AND t.xid < $2 LIMIT $3) r", \
						  XID8OID, XID8OID, INT8OID), \
		.scan = PAY_STMT(SPI_OK_SELECT, "SELECT t.* FROM payments." table_ " t WHERE t.xid >= $1 AND t.xid < $2 ORDER BY " order_, \
						 XID8OID, XID8OID), \
		.first = PAY_STMT(SPI_OK_SELECT, "SELECT t.xid FROM payments." table_ " t WHERE t.xid >= $1 AND t.xid < $2 ORDER BY t.xid LIMIT 1", \
						  XID8OID, XID8OID), \
		.find = PAY_STMT(SPI_OK_SELECT, "SELECT t.* FROM payments." table_ " t WHERE " where_, JSONBOID), \
	}
#define IS(column_, type_) "t." column_ " = ($1 ->> '" column_ "')::" type_

static PaySealTable tables[] = {
	SEALED("attempt", "t.operation_id, t.attempt",
		   IS("operation_id", "uuid") " AND " IS("attempt", "int"), "operation_id", "attempt"),
	SEALED("attempt_answer", "t.operation_id, t.attempt, t.late",
		   IS("operation_id", "uuid") " AND " IS("attempt", "int") " AND " IS("late", "boolean"), "operation_id", "attempt", "late"),
	SEALED("bank_entry", "t.batch_id, t.statement_no, t.entry_no, t.detail_no",
		   IS("batch_id", "bigint") " AND " IS("statement_no", "int") " AND " IS("entry_no", "int") " AND " IS("detail_no", "int"),
		   "batch_id", "statement_no", "entry_no", "detail_no"),
	SEALED("bank_match", "t.bank_match_id", IS("bank_match_id", "bigint"), "bank_match_id"),
	SEALED("bank_statement", "t.batch_id, t.statement_no", IS("batch_id", "bigint") " AND " IS("statement_no", "int"), "batch_id", "statement_no"),
	SEALED("discrepancy_found", "t.discrepancy_id", IS("discrepancy_id", "bigint"), "discrepancy_id"),
	SEALED("discrepancy_resolution", "t.discrepancy_id, t.seq", IS("discrepancy_id", "bigint") " AND " IS("seq", "int"), "discrepancy_id", "seq"),
	SEALED("event", "t.id", IS("id", "uuid"), "id"),
	SEALED("idempotency_key", "t.merchant COLLATE \"C\", t.key COLLATE \"C\"",
		   IS("merchant", "text") " AND " IS("key", "text"), "merchant", "key"),
	SEALED("issued_statement", "t.statement_id", IS("statement_id", "bigint"), "statement_id"),
	SEALED("ledger_hold", "t.hold_id", IS("hold_id", "bigint"), "hold_id"),
	SEALED("ledger_hold_resolution", "t.hold_id, t.seq", IS("hold_id", "bigint") " AND " IS("seq", "int"), "hold_id", "seq"),
	SEALED("movement", "t.psp COLLATE \"C\", t.object_id COLLATE \"C\", t.kind COLLATE \"C\"",
		   IS("psp", "text") " AND " IS("object_id", "text") " AND " IS("kind", "text"), "psp", "object_id", "kind"),
	SEALED("partition_retired", "t.table_name COLLATE \"C\", t.from_time",
		   IS("table_name", "text") " AND " IS("from_time", "timestamptz"), "table_name", "from_time"),
	SEALED("payment_retired", "t.payment_id", IS("payment_id", "uuid"), "payment_id"),
	SEALED("payment_status", "t.payment_id, t.seq", IS("payment_id", "uuid") " AND " IS("seq", "int"), "payment_id", "seq"),
	SEALED("period_balance", "t.merchant COLLATE \"C\", t.number, t.account_id",
		   IS("merchant", "text") " AND " IS("number", "int") " AND " IS("account_id", "bigint"), "merchant", "number", "account_id"),
	SEALED("period_close", "t.merchant COLLATE \"C\", t.number",
		   IS("merchant", "text") " AND " IS("number", "int"), "merchant", "number"),
	SEALED("posting", "t.posting_id, t.booked_at", IS("posting_id", "bigint"), "posting_id"),
	SEALED("posting_failure", "t.posting_id", IS("posting_id", "bigint"), "posting_id"),
	SEALED("posting_reference", "t.merchant COLLATE \"C\", t.reference COLLATE \"C\"",
		   IS("merchant", "text") " AND " IS("reference", "text"), "merchant", "reference"),
	SEALED("posting_retired", "t.account_id, t.from_time",
		   IS("account_id", "bigint") " AND " IS("from_time", "timestamptz"), "account_id", "from_time"),
	SEALED("posting_reversal", "t.posting_id", IS("posting_id", "bigint"), "posting_id"),
	SEALED("reconciliation_run", "t.run_id", IS("run_id", "bigint"), "run_id"),
	SEALED("seal_retired", "t.name COLLATE \"C\", t.part COLLATE \"C\", t.block",
		   IS("name", "text") " AND " IS("part", "text") " AND " IS("block", "bigint"), "name", "part", "block"),
	SEALED("settlement_batch", "t.batch_id", IS("batch_id", "bigint"), "batch_id"),
	SEALED("settlement_line", "t.batch_id, t.line_no", IS("batch_id", "bigint") " AND " IS("line_no", "int"), "batch_id", "line_no"),
	SEALED("settlement_posting", "t.batch_id, t.merchant COLLATE \"C\", t.event COLLATE \"C\", t.currency COLLATE \"C\"",
		   IS("batch_id", "bigint") " AND " IS("merchant", "text") " AND " IS("event", "text") " AND " IS("currency", "text"),
		   "batch_id", "merchant", "event", "currency"),
};

static PayRowShape *make_shape(const PaySealTable *table, TupleDesc desc);
static char kind_of(Oid type);
static void read_batch(PaySealScan *scan);
static void write_row(PayRowShape *shape, TupleDesc desc, HeapTuple tuple, StringInfo bytes);
static void write_value(const PayColumn *column, Datum value, StringInfo bytes);
static char *iso_date(DateADT date);
static void put_be32(StringInfo bytes, uint32 value);
static void put_value(StringInfo bytes, const void *data, size_t n);
static void put_value_be64(StringInfo bytes, uint64 value);
static int	compare_columns(const void *a, const void *b);

PAY_FUNCTION(pay_sealed_tables);

/* ---------- tables ---------- */

/* _sealed_tables() */
Datum
pay_sealed_tables(PG_FUNCTION_ARGS)
{
	Datum		names[lengthof(tables)];

	for (int i = 0; i < (int) lengthof(tables); i++)
		names[i] = CStringGetTextDatum(tables[i].name);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, lengthof(tables), TEXTOID, -1, false, TYPALIGN_INT));
}

int
pay_seal_table_count(void)
{
	return lengthof(tables);
}

PaySealTable *
pay_seal_table(int i)
{
	Assert(i >= 0 && i < (int) lengthof(tables));
	return &tables[i];
}

PaySealTable *
pay_seal_table_find(const char *name)
{
	for (int i = 0; i < (int) lengthof(tables); i++)
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

char *
pay_seal_scan_key(const PaySealScan *scan)
{
	StringInfoData key;
	TupleDesc	desc = scan->batch->tupdesc;
	HeapTuple	tuple = scan->batch->vals[scan->next - 1];

	initStringInfo(&key);
	for (int i = 0; i < PAY_SEAL_KEYS_MAX && scan->table->keys[i]; i++)
	{
		char	   *value = SPI_getvalue(tuple, desc, SPI_fnumber(desc, scan->table->keys[i]));

		appendStringInfo(&key, "%s\"%s\": ", i == 0 ? "{" : ", ", scan->table->keys[i]);
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
pay_seal_row_bytes(PaySealTable *table, StringInfo bytes, uint64 *xid)
{
	PayRowShape *shape = make_shape(table, SPI_tuptable->tupdesc);

	Assert(SPI_processed == 1);
	write_row(shape, SPI_tuptable->tupdesc, SPI_tuptable->vals[0], bytes);
	*xid = U64FromFullTransactionId(DatumGetFullTransactionId(shape->values[shape->xid]));
}

/* ---------- rows ---------- */

static PayRowShape *
make_shape(const PaySealTable *table, TupleDesc desc)
{
	PayRowShape *shape = palloc0(sizeof(PayRowShape));

	shape->table = table;
	shape->natts = desc->natts;
	shape->xid = -1;
	shape->columns = palloc(sizeof(PayColumn) * desc->natts);
	shape->values = palloc(sizeof(Datum) * desc->natts);
	shape->nulls = palloc(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		PayColumn  *column = &shape->columns[shape->n];
		bool		varlena;

		if (attribute->attisdropped)
			continue;
		column->index = i;
		column->name = NameStr(attribute->attname);
		column->type = attribute->atttypid;
		column->kind = kind_of(attribute->atttypid);
		if (column->kind == 'o')
			getTypeOutputInfo(attribute->atttypid, &column->output, &varlena);
		if (attribute->atttypid == XID8OID && strcmp(column->name, "xid") == 0)
			shape->xid = i;
		shape->n++;
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

	Assert(desc->natts == shape->natts);
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
