/*
 * src/core/spi.c
 *		SQL from C: saved plans, typed arguments, typed getters.
 *
 * Plans are kept in static structs, so a process prepares each statement once.
 * If planning fails the struct is untouched and the next call tries again.
 */
#include "payments.h"

#include "core/spi.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "optimizer/cost.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static void arg_put(PayArgs *args, Datum value, bool isnull);
static void arg_array(PayArgs *args, Datum *values, bool *nulls, int n, Oid type, int len, bool byval, char align);
static void prepare(PayStmt *stmt, int nargs);
static int	execute_by_index(SPIPlanPtr plan, PayArgs *args);
static Datum column_value(uint64 row, int column, bool *isnull);
static Datum column_required(uint64 row, int column);

/* ---------- arguments ---------- */

static void
arg_put(PayArgs *args, Datum value, bool isnull)
{
	if (args->n >= PAY_ARGS_MAX)
		elog(ERROR, "too many statement arguments");
	args->values[args->n] = value;
	args->nulls[args->n] = isnull ? 'n' : ' ';
	args->n++;
}

void
pay_arg_null(PayArgs *args)
{
	arg_put(args, (Datum) 0, true);
}

void
pay_arg_text(PayArgs *args, const char *value)
{
	arg_put(args, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

void
pay_arg_int64(PayArgs *args, int64 value)
{
	arg_put(args, Int64GetDatum(value), false);
}

void
pay_arg_int32(PayArgs *args, int32 value)
{
	arg_put(args, Int32GetDatum(value), false);
}

void
pay_arg_bool(PayArgs *args, bool value)
{
	arg_put(args, BoolGetDatum(value), false);
}

void
pay_arg_time(PayArgs *args, TimestampTz value)
{
	arg_put(args, TimestampTzGetDatum(value), false);
}

void
pay_arg_uuid(PayArgs *args, const pg_uuid_t *value)
{
	arg_put(args, UUIDPGetDatum(value), value == NULL);
}

void
pay_arg_bytes(PayArgs *args, const void *value, size_t bytes)
{
	arg_put(args, value ? PointerGetDatum(cstring_to_text_with_len(value, (int) bytes)) : (Datum) 0,
			value == NULL);
}

void
pay_arg_datum(PayArgs *args, Datum value, bool isnull)
{
	arg_put(args, value, isnull);
}

static void
arg_array(PayArgs *args, Datum *values, bool *nulls, int n, Oid type, int len, bool byval, char align)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};
	ArrayType  *array;

	if (n == 0)
		array = construct_empty_array(type);
	else
		array = construct_md_array(values, nulls, 1, dims, lbs, type, len, byval, align);
	arg_put(args, PointerGetDatum(array), false);
	pfree(values);
	pfree(nulls);
}

/* Fills Datum and null arrays from n elements, then adds the SQL array. */
#define ARG_ARRAY(isnull_, datum_, type_, len_, byval_, align_) \
	do { \
		Datum	   *datums = palloc(sizeof(Datum) * Max(n, 1)); \
		bool	   *nulls = palloc(sizeof(bool) * Max(n, 1)); \
		for (int i = 0; i < n; i++) \
		{ \
			nulls[i] = (isnull_); \
			datums[i] = nulls[i] ? (Datum) 0 : (datum_); \
		} \
		arg_array(args, datums, nulls, n, (type_), (len_), (byval_), (align_)); \
	} while (0)

void
pay_arg_text_array(PayArgs *args, const char *const *values, int n)
{
	ARG_ARRAY(values[i] == NULL, CStringGetTextDatum(values[i]), TEXTOID, -1, false, TYPALIGN_INT);
}

void
pay_arg_int64_array(PayArgs *args, const int64 *values, int n)
{
	ARG_ARRAY(false, Int64GetDatum(values[i]), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

void
pay_arg_int32_array(PayArgs *args, const int32 *values, int n)
{
	ARG_ARRAY(false, Int32GetDatum(values[i]), INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

void
pay_arg_bool_array(PayArgs *args, const bool *values, int n)
{
	ARG_ARRAY(false, BoolGetDatum(values[i]), BOOLOID, 1, true, TYPALIGN_CHAR);
}

void
pay_arg_time_array(PayArgs *args, const TimestampTz *values, int n)
{
	ARG_ARRAY(values[i] == 0, TimestampTzGetDatum(values[i]), TIMESTAMPTZOID, sizeof(int64), FLOAT8PASSBYVAL,
			  TYPALIGN_DOUBLE);
}

void
pay_arg_given_time_array(PayArgs *args, const TimestampTz *values, const bool *given, int n)
{
	ARG_ARRAY(!given[i], TimestampTzGetDatum(values[i]), TIMESTAMPTZOID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

void
pay_arg_uuid_array(PayArgs *args, const pg_uuid_t *const *values, int n)
{
	ARG_ARRAY(values[i] == NULL, UUIDPGetDatum(values[i]), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
}

void
pay_arg_bytea_array(PayArgs *args, bytea *const *values, int n)
{
	ARG_ARRAY(values[i] == NULL, PointerGetDatum(values[i]), BYTEAOID, -1, false, TYPALIGN_INT);
}

/* ---------- running ---------- */

void
pay_spi_begin(void)
{
	MemoryContext caller = CurrentMemoryContext;

	if (!pay_is_set_up())
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SET_UP),
				 errmsg("payments is not set up in this database"),
				 errhint("Run \"SELECT payments.setup();\" as a superuser or a member of payments_admin.")));
	SPI_connect();
	/* Results belong to the caller, not to SPI's own short-lived context. */
	MemoryContextSwitchTo(caller);
}

void
pay_spi_end(void)
{
	SPI_finish();
}

static void
prepare(PayStmt *stmt, int nargs)
{
	int			declared = 0;
	SPIPlanPtr	plan;

	if (stmt->plan != NULL)
		return;
	while (declared < PAY_ARGS_MAX && stmt->argtypes[declared] != InvalidOid)
		declared++;
	if (declared != nargs)
		elog(ERROR, "statement declares %d arguments but got %d: %s", declared, nargs, stmt->sql);
	/* Generic: the server would else plan anew for each array, since knowing its length looks cheaper. */
	plan = SPI_prepare_cursor(stmt->sql, declared, stmt->argtypes, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare statement: %s: %s", SPI_result_code_string(SPI_result), stmt->sql);
	SPI_keepplan(plan);
	stmt->plan = plan;
}

uint64
pay_spi_exec(PayStmt *stmt, PayArgs *args)
{
	MemoryContext caller = CurrentMemoryContext;
	int			nargs = args ? args->n : 0;
	int			rc;

	prepare(stmt, nargs);
	rc = execute_by_index(stmt->plan, args);
	/* SPI leaves its own context current, and what the caller allocates next would end with SPI_finish(). */
	MemoryContextSwitchTo(caller);
	if (rc != stmt->expect)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("statement answered \"%s\" instead of \"%s\"",
						SPI_result_code_string(rc), SPI_result_code_string(stmt->expect)),
				 errhint("A rule on a table of payments can cause this; remove it.")));
	return SPI_processed;
}

Portal
pay_spi_cursor(PayStmt *stmt, PayArgs *args)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		before = enable_seqscan;
	bool		jit_before = jit_enabled;
	Portal volatile portal = NULL;

	prepare(stmt, args ? args->n : 0);
	PG_TRY();
	{
		enable_seqscan = false;
		jit_enabled = false;
		portal = SPI_cursor_open(NULL, stmt->plan, args ? args->values : NULL, args ? args->nulls : NULL, false);
	}
	PG_FINALLY();
	{
		enable_seqscan = before;
		jit_enabled = jit_before;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return portal;
}

/*
 * Our statements look rows up by key, a few among many.  The server keeps the
 * plan it made first, and it made that when the tables were small or had no
 * statistics, so it may well be a sequential scan, for the life of the
 * process.  Hence the planner does without such scans while it plans for us.
 * Where there is no index it then takes one all the same, at a cost for which
 * the server would compile the plan, at 60 ms each time.
 */
static int
execute_by_index(SPIPlanPtr plan, PayArgs *args)
{
	bool		before = enable_seqscan;
	bool		jit_before = jit_enabled;
	volatile int rc = 0;

	PG_TRY();
	{
		enable_seqscan = false;
		jit_enabled = false;
		rc = SPI_execute_plan(plan, args ? args->values : NULL, args ? args->nulls : NULL, false, 0);
	}
	PG_FINALLY();
	{
		enable_seqscan = before;
		jit_enabled = jit_before;
	}
	PG_END_TRY();
	return rc;
}

/* ---------- getters ---------- */

static Datum
column_value(uint64 row, int column, bool *isnull)
{
	if (row >= SPI_processed || SPI_tuptable == NULL)
		elog(ERROR, "result has no row " UINT64_FORMAT, row);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static Datum
column_required(uint64 row, int column)
{
	bool		isnull;
	Datum		value = column_value(row, column, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("unexpected null in column \"%s\"", SPI_fname(SPI_tuptable->tupdesc, column)),
				 errhint("Run SELECT * FROM payments.check();")));
	return value;
}

bool
pay_spi_isnull(uint64 row, int column)
{
	bool		isnull;

	(void) column_value(row, column, &isnull);
	return isnull;
}

char *
pay_spi_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = column_value(row, column, &isnull);

	if (isnull)
		return NULL;
	if (SPI_gettypeid(SPI_tuptable->tupdesc, column) == TEXTOID)
		return TextDatumGetCString(value);	/* without a look for the output function */
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

int64
pay_spi_int64(uint64 row, int column)
{
	return DatumGetInt64(column_required(row, column));
}

int32
pay_spi_int32(uint64 row, int column)
{
	return DatumGetInt32(column_required(row, column));
}

bool
pay_spi_bool(uint64 row, int column)
{
	return DatumGetBool(column_required(row, column));
}

TimestampTz
pay_spi_time(uint64 row, int column)
{
	return DatumGetTimestampTz(column_required(row, column));
}

pg_uuid_t
pay_spi_uuid(uint64 row, int column)
{
	return *DatumGetUUIDP(column_required(row, column));
}

ItemPointerData
pay_spi_tid(uint64 row, int column)
{
	return *(ItemPointer) DatumGetPointer(column_required(row, column));
}

bytea *
pay_spi_bytea(uint64 row, int column)
{
	bool		isnull;
	Datum		value = column_value(row, column, &isnull);

	return isnull ? NULL : DatumGetByteaPCopy(value);
}

/* ---------- where we are ---------- */

Oid
pay_schema_oid(void)
{
	return get_namespace_oid(PAY_SCHEMA, true);
}

bool
pay_is_set_up(void)
{
	Oid			schema = pay_schema_oid();

	return OidIsValid(schema) && OidIsValid(get_relname_relid(PAY_SET_UP_VIEW, schema));
}

Oid
pay_owner_oid(void)
{
	Oid			role = get_role_oid(PAY_OWNER_ROLE, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SET_UP),
				 errmsg("role \"%s\" does not exist", PAY_OWNER_ROLE),
				 errhint("Create the extension again: it makes its roles.")));
	return role;
}
