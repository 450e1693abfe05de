/*
 * src/settlement/format_function.c
 *		Calling a format function, which may be anybody's code.
 *
 * It runs as its owner, whatever it has become since somebody looked: so there
 * is nothing of it that has to be known beforehand.  All its rows are here, and
 * what it has set is undone, before any code of ours goes on.  Its columns have
 * the very types that we ask for, which are the server's: no cast, no operator
 * and no domain of others runs later.
 *
 * That it is SECURITY DEFINER, and that payments_owner may call it, is its
 * owner's word that it may be called for others.  Without it a row of
 * settlement_format would make any function its owner's deputy.
 */
#include "payments.h"

#include "core/caller.h"
#include "core/spi.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct FormatCall
{
	Oid			function;
	const char *format;
	Datum		content;
	Datum		options;
	TupleDesc	returns;
	Tuplestorestate *rows;
} FormatCall;

static Oid	require_callable(const FormatCall *call);
static void call_function(void *arg);
static FuncExpr *make_call(const FormatCall *call);
static void map_columns(const FormatCall *call, TupleDesc wanted, int *map);
static void hand_out(const FormatCall *call, const int *map, ReturnSetInfo *result);
static const char *function_name(Oid function);
pg_noreturn static void refuse(const FormatCall *call, const char *what, const char *detail, const char *hint);

PAY_FUNCTION(pay_settlement_rows);

/*
 * _settlement_rows(format, function, content, options): its rows, with the
 * columns that the caller lists; those that it has not are null.
 */
Datum
pay_settlement_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	FormatCall	call = {0};
	Oid			owner;
	int		   *map;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	call.format = text_to_cstring(PG_GETARG_TEXT_PP(0));
	call.function = PG_GETARG_OID(1);
	call.content = PG_GETARG_DATUM(2);
	call.options = PG_GETARG_DATUM(3);
	owner = require_callable(&call);
	if (get_func_result_type(call.function, NULL, &call.returns) != TYPEFUNC_COMPOSITE)
		refuse(&call, "returns no rows with named columns", NULL, "Declare it RETURNS TABLE, with columns as docs/reconciliation.md lists them.");
	map = palloc(sizeof(int) * result->setDesc->natts);
	map_columns(&call, result->setDesc, map);
	pay_call_as(owner, call_function, &call);
	if (call.rows)
		hand_out(&call, map, result);
	return (Datum) 0;
}

/* Returns the owner. */
static Oid
require_callable(const FormatCall *call)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->function));
	Form_pg_proc function;
	Oid			owner;
	bool		consents;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(PAY_ERR_FORMAT_UNKNOWN),
				 errmsg("the function of settlement format \"%s\" does not exist any more", call->format),
				 errhint("Create it, or correct the row of payments.settlement_format.")));
	function = (Form_pg_proc) GETSTRUCT(tuple);
	owner = function->proowner;
	consents = function->prosecdef || owner == pay_owner_oid();
	if (function->prokind != PROKIND_FUNCTION || function->pronargs != 2 ||
		function->proargtypes.values[0] != TEXTOID || function->proargtypes.values[1] != JSONBOID)
		refuse(call, "is no function of (text, jsonb)", NULL, "Write it as docs/reconciliation.md says.");
	ReleaseSysCache(tuple);
	if (!consents)
		refuse(call, "is not SECURITY DEFINER", NULL, "ALTER FUNCTION ... SECURITY DEFINER: it runs with its owner's rights.");
	if (PayFunctionAclcheck(call->function, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(call->function));
	return owner;
}

/* All in here is done as the owner. */
static void
call_function(void *arg)
{
	FormatCall *call = arg;
	ExprContext *context = CreateStandaloneExprContext();
	MemoryContext arguments = AllocSetContextCreate(CurrentMemoryContext, "payments format function", ALLOCSET_DEFAULT_SIZES);
	SetExprState *state = ExecInitTableFunctionResult((Expr *) make_call(call), context, NULL);

	call->rows = ExecMakeTableFunctionResult(state, context, arguments, call->returns, false);
	/* What it wants to do at its end as well. */
	FreeExprContext(context, true);
	MemoryContextDelete(arguments);
}

static FuncExpr *
make_call(const FormatCall *call)
{
	Const	   *content = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, call->content, false, false);
	Const	   *options = makeConst(JSONBOID, -1, InvalidOid, -1, call->options, false, false);
	FuncExpr   *expr = makeFuncExpr(call->function, get_func_rettype(call->function), list_make2(content, options),
									InvalidOid, DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);

	expr->funcretset = get_func_retset(call->function);
	return expr;
}

/* For each wanted column the place of the one that is returned, -1 for none. */
static void
map_columns(const FormatCall *call, TupleDesc wanted, int *map)
{
	StringInfoData wrong;

	initStringInfo(&wrong);
	for (int i = 0; i < wanted->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(wanted, i);

		map[i] = -1;
		for (int j = 0; j < call->returns->natts && map[i] < 0; j++)
		{
			Form_pg_attribute returned = TupleDescAttr(call->returns, j);

			if (returned->attisdropped || strcmp(NameStr(returned->attname), NameStr(column->attname)) != 0)
				continue;
			map[i] = j;
			if (returned->atttypid != column->atttypid)
				appendStringInfo(&wrong, "%s%s is %s, and must be %s", wrong.len > 0 ? "; " : "", NameStr(column->attname),
								 format_type_be(returned->atttypid), format_type_be(column->atttypid));
		}
	}
	if (wrong.len > 0)
		refuse(call, "returns columns of other types", wrong.data, "Declare them as docs/reconciliation.md lists them.");
}

static void
hand_out(const FormatCall *call, const int *map, ReturnSetInfo *result)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(call->returns, &TTSOpsMinimalTuple);
	int			columns = result->setDesc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * columns);
	bool	   *nulls = palloc(sizeof(bool) * columns);

	while (tuplestore_gettupleslot(call->rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		for (int i = 0; i < columns; i++)
		{
			nulls[i] = map[i] < 0 || slot->tts_isnull[map[i]];
			values[i] = nulls[i] ? (Datum) 0 : slot->tts_values[map[i]];
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(call->rows);
}

static const char *
function_name(Oid function)
{
	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), get_func_name(function));
}

static void
refuse(const FormatCall *call, const char *what, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(PAY_ERR_FORMAT_UNKNOWN),
			 errmsg("function %s of settlement format \"%s\" %s", function_name(call->function), call->format, what),
			 detail ? errdetail("%s", detail) : 0,
			 errhint("%s", hint),
			 errhidestmt(true)));
}
