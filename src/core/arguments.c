/*
 * src/core/arguments.c
 *		What SQL functions check of their arguments before they lock or write anything.
 */
#include "payments.h"

#include "core/arguments.h"

#include "base/json.h"
#include "base/pan.h"
#include "core/spi.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

pg_noreturn static void found(const char *name);
static bool value_holds_card_number(Datum value, Oid type);
static const char *argument_name(HeapTuple function, int n);

PAY_FUNCTION(pay_refuse_card_numbers);
PAY_FUNCTION(pay_guard_card_numbers);
PAY_FUNCTION(pay_mask_value);
PAY_FUNCTION(pay_mask_value_json);

char *
pay_text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

void
pay_require_writable(void)
{
	if (!XactReadOnly)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot accept this in a read-only transaction"),
			 RecoveryInProgress() ? errhint("This is a standby: connect to the primary.")
			 : errhint("Begin the transaction READ WRITE; default_transaction_read_only may have made it so.")));
}

void
pay_require_given(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name),
				 errhint("Pass a value for it.")));
}

void
pay_require_length(const char *text, size_t bytes_max, const char *name)
{
	if (text[0] == '\0' || strlen(text) > bytes_max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have 1 to %zu bytes", name, bytes_max),
				 errhint("Pass a shorter text that is not empty.")));
}

bool
pay_holds_card_number(const char *text)
{
	return text != NULL && pay_pan_found(text, strlen(text));
}

void
pay_hide_statement(void *arg)
{
	errhidestmt(true);
}

/* The statement is kept out of the log: it would hold the number. */
static void
found(const char *name)
{
	ereport(ERROR,
			(errcode(PAY_ERR_CARD_NUMBER),
			 errmsg("%s contains what looks like a card number", name),
			 errhint("Card numbers are never stored; pass the PSP's token for the card instead."),
			 errhidestmt(true),
			 errhidecontext(true)));
}

void
pay_refuse_card_number(const char *text, const char *name)
{
	if (pay_holds_card_number(text))
		found(name);
}

void
pay_refuse_card_arguments(FunctionCallInfo fcinfo)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Form_pg_proc function;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	function = (Form_pg_proc) GETSTRUCT(tuple);
	for (int i = 0; i < Min(PG_NARGS(), function->pronargs); i++)
		if (!PG_ARGISNULL(i) && value_holds_card_number(PG_GETARG_DATUM(i), function->proargtypes.values[i]))
			found(argument_name(tuple, i));
	ReleaseSysCache(tuple);
}

static const char *
argument_name(HeapTuple function, int n)
{
	Oid		   *types;
	char	  **names;
	char	   *modes;

	(void) get_func_arg_info(function, &types, &names, &modes);
	return names && names[n][0] ? names[n] : psprintf("argument %d", n + 1);
}

/* False for a type that holds no text. */
static bool
value_holds_card_number(Datum value, Oid type)
{
	switch (type)
	{
		case TEXTOID:
			{
				text	   *t = DatumGetTextPP(value);

				return pay_pan_found(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
			}
		case NAMEOID:
			return pay_holds_card_number(NameStr(*DatumGetName(value)));
		case JSONBOID:
			return pay_json_holds_card_number(DatumGetJsonbP(value));
		case TEXTARRAYOID:
			{
				Datum	   *elements;
				bool	   *nulls;
				int			n;
				bool		holds = false;

				deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
				for (int i = 0; i < n; i++)
					holds = holds || (!nulls[i] && value_holds_card_number(elements[i], TEXTOID));
				return holds;
			}
		default:
			return false;
	}
}

/* _refuse_card_numbers(name, value, name, value, ...) */
Datum
pay_refuse_card_numbers(PG_FUNCTION_ARGS)
{
	Datum	   *values;
	bool	   *nulls;
	Oid		   *types;
	int			n = extract_variadic_args(fcinfo, 0, true, &values, &types, &nulls);

	for (int i = 0; i + 1 < n; i += 2)
		if (!nulls[i] && !nulls[i + 1] && value_holds_card_number(values[i + 1], types[i + 1]))
			found(TextDatumGetCString(values[i]));
	PG_RETURN_VOID();
}

/* BEFORE INSERT OR UPDATE of tables that a role may write to without a function of ours. */
Datum
pay_guard_card_numbers(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_row_trigger(fcinfo, true);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value = heap_getattr(row, i + 1, desc, &isnull);

		if (!isnull && !column->attisdropped && value_holds_card_number(value, column->atttypid))
			found(NameStr(column->attname));
	}
	return PointerGetDatum(row);
}

/* _mask_value(value): what others have written, as it is to be stored. */
Datum
pay_mask_value(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);
	size_t		bytes = VARSIZE_ANY_EXHDR(value);
	char	   *masked = pay_body_mask_card_numbers(VARDATA_ANY(value), &bytes);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(masked, (int) bytes));
}

Datum
pay_mask_value_json(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(pay_json_mask_card_numbers(PG_GETARG_JSONB_P(0)));
}

void
pay_require_text(const char *text, size_t bytes_max, const char *name)
{
	if (text != NULL)
		pay_require_length(text, bytes_max, name);
}

TriggerData *
pay_require_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() must be called as a trigger", get_func_name(fcinfo->flinfo->fn_oid)),
				 errhint("Run SELECT payments.setup(); it attaches the triggers.")));
	return (TriggerData *) fcinfo->context;
}

TriggerData *
pay_require_row_trigger(FunctionCallInfo fcinfo, bool before)
{
	TriggerData *trigger = pay_require_trigger(fcinfo);

	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!(before ? TRIGGER_FIRED_BEFORE(trigger->tg_event) : TRIGGER_FIRED_AFTER(trigger->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() must be called as a trigger %s, FOR EACH ROW", get_func_name(fcinfo->flinfo->fn_oid),
						before ? "BEFORE" : "AFTER"),
				 errhint("Run SELECT payments.setup(); it attaches the triggers.")));
	return trigger;
}

Datum
pay_trigger_column(Relation relation, HeapTuple row, const char *column, Oid type, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(relation);
	int			number = SPI_fnumber(desc, column);

	if (number <= 0 || SPI_gettypeid(desc, number) != type)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("table \"%s\" has no column \"%s\" of the type that its trigger reads", RelationGetRelationName(relation), column),
				 errhint("Triggers of payments are for its own tables; run SELECT payments.setup(), it attaches them.")));
	return heap_getattr(row, number, desc, isnull);
}
