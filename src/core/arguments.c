/*
 * src/core/arguments.c
 *		What SQL functions check of their arguments before they lock or write anything.
 */
#include "payments.h"

#include "core/arguments.h"

#include "base/json.h"
#include "base/pan.h"
#include "core/spi.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Of a text, or of JSON as it is stored.  No verb takes so much; files and bodies do not come through here. */
#define ARGUMENT_BYTES_MAX (256 * 1024)
/* What is looked at before the next look for a cancel: some milliseconds' worth at worst. */
#define BYTES_AT_ONCE (16 * 1024)

typedef enum ValueFault
{
	VALUE_RIGHT,
	VALUE_TOO_LARGE,
	VALUE_NUMBER_TOO_LONG,
	VALUE_CARD_NUMBER,
} ValueFault;

static ValueFault fault_of(Datum value, Oid type);
static ValueFault fault_of_text(const char *text, size_t bytes);
static ValueFault fault_of_json(Jsonb *json);
static ValueFault fault_of_array(ArrayType *array);
static void refuse(ValueFault fault, const char *name);
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
	return text != NULL && pay_text_holds_card_number(text, strlen(text));
}

bool
pay_text_holds_card_number(const char *text, size_t bytes)
{
	PayPanScan	scan = {0};

	if (bytes <= BYTES_AT_ONCE)
		return pay_pan_found(text, bytes);
	while (scan.at < bytes)
	{
		CHECK_FOR_INTERRUPTS();
		if (pay_pan_found_until(text, bytes, Min(scan.at + BYTES_AT_ONCE, bytes), &scan))
			return true;
	}
	return false;
}

int
pay_mask_text(char *text, size_t bytes)
{
	PayPanScan	scan = {0};
	int			masked = 0;

	while (scan.at < bytes)
	{
		CHECK_FOR_INTERRUPTS();
		masked += pay_pan_mask_until(text, bytes, Min(scan.at + BYTES_AT_ONCE, bytes), &scan);
	}
	return masked;
}

void
pay_mask_text_lines(char *text, size_t bytes)
{
	for (size_t from = 0, to; from < bytes; from = to + 1)
	{
		const char *stop = memchr(text + from, '\n', bytes - from);

		to = stop ? (size_t) (stop - text) : bytes;
		(void) pay_mask_text(text + from, to - from);
	}
}

/* The parameters of a statement are in its context, if they are logged at all; else that says where in whose function it was. */
void
pay_hide_statement(void *arg)
{
	errhidestmt(true);
	if (log_parameter_max_length_on_error != 0)
		errhidecontext(true);
}

void
pay_refuse_card_number(const char *text, const char *name)
{
	if (text != NULL)
		refuse(fault_of_text(text, strlen(text)), name);
}

void
pay_refuse_card_arguments(FunctionCallInfo fcinfo)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = pay_hide_statement};
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Form_pg_proc function;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	function = (Form_pg_proc) GETSTRUCT(tuple);
	/* Who is cancelled in the middle has not been looked at. */
	error_context_stack = &callback;
	for (int i = 0; i < Min(PG_NARGS(), function->pronargs); i++)
	{
		ValueFault	fault = PG_ARGISNULL(i) ? VALUE_RIGHT : fault_of(PG_GETARG_DATUM(i), function->proargtypes.values[i]);

		if (fault != VALUE_RIGHT)
			refuse(fault, argument_name(tuple, i));
	}
	error_context_stack = callback.previous;
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

/* None in a type that holds no text. */
static ValueFault
fault_of(Datum value, Oid type)
{
	switch (type)
	{
		case TEXTOID:
			{
				/* What is stored elsewhere, or packed, is not fetched in vain. */
				Size		bytes = toast_raw_datum_size(value) - VARHDRSZ;
				text	   *t;

				if (bytes > ARGUMENT_BYTES_MAX)
					return VALUE_TOO_LARGE;
				t = DatumGetTextPP(value);
				return fault_of_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
			}
		case NAMEOID:
			return fault_of_text(NameStr(*DatumGetName(value)), strlen(NameStr(*DatumGetName(value))));
		case JSONBOID:
			return toast_raw_datum_size(value) > ARGUMENT_BYTES_MAX ? VALUE_TOO_LARGE : fault_of_json(DatumGetJsonbP(value));
		case TEXTARRAYOID:
			return fault_of_array(DatumGetArrayTypeP(value));
		default:
			return VALUE_RIGHT;
	}
}

static ValueFault
fault_of_text(const char *text, size_t bytes)
{
	if (bytes > ARGUMENT_BYTES_MAX)
		return VALUE_TOO_LARGE;
	return pay_text_holds_card_number(text, bytes) ? VALUE_CARD_NUMBER : VALUE_RIGHT;
}

/* Before anybody prints it: 1e131000 has nine bytes, and is written out in full. */
static ValueFault
fault_of_json(Jsonb *json)
{
	if (pay_json_holds_card_number(json))
		return VALUE_CARD_NUMBER;
	return pay_json_numbers_are_short(json) ? VALUE_RIGHT : VALUE_NUMBER_TOO_LONG;
}

static ValueFault
fault_of_array(ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	ValueFault	fault = VALUE_RIGHT;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n && fault == VALUE_RIGHT; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!nulls[i])
			fault = fault_of(elements[i], TEXTOID);
	}
	return fault;
}

/* The statement is kept out of the log: it would hold the number, or hold one where nobody has looked. */
static void
refuse(ValueFault fault, const char *name)
{
	switch (fault)
	{
		case VALUE_RIGHT:
			break;
		case VALUE_CARD_NUMBER:
			ereport(ERROR,
					(errcode(PAY_ERR_CARD_NUMBER),
					 errmsg("%s contains what looks like a card number", name),
					 errhint("Pass the PSP's token for the card; if it is a number of your own, put a letter between its digits: docs/errors.md."),
					 errhidestmt(true),
					 errhidecontext(true)));
			break;
		case VALUE_TOO_LARGE:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s is longer than %d bytes", name, ARGUMENT_BYTES_MAX),
					 errhint("Store long texts in your own tables and pass a reference."),
					 errhidestmt(true),
					 errhidecontext(true)));
			break;
		case VALUE_NUMBER_TOO_LONG:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s has a number of more than %d digits", name, PAY_JSON_NUMBER_DIGITS_MAX),
					 errhint("Pass it as a text."),
					 errhidestmt(true),
					 errhidecontext(true)));
	}
}

/* _refuse_card_numbers(name, value, name, value, ...) */
Datum
pay_refuse_card_numbers(PG_FUNCTION_ARGS)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = pay_hide_statement};
	Datum	   *values;
	bool	   *nulls;
	Oid		   *types;
	int			n = extract_variadic_args(fcinfo, 0, true, &values, &types, &nulls);

	error_context_stack = &callback;
	for (int i = 0; i + 1 < n; i += 2)
	{
		ValueFault	fault = nulls[i] || nulls[i + 1] ? VALUE_RIGHT : fault_of(values[i + 1], types[i + 1]);

		if (fault != VALUE_RIGHT)
			refuse(fault, TextDatumGetCString(values[i]));
	}
	error_context_stack = callback.previous;
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

		if (!isnull && !column->attisdropped)
			refuse(fault_of(value, column->atttypid), NameStr(column->attname));
	}
	return PointerGetDatum(row);
}

/* _mask_value(value): what others have written, as it is to be stored. */
Datum
pay_mask_value(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);
	size_t		bytes = VARSIZE_ANY_EXHDR(value);
	char	   *masked;

	if (bytes > PAY_JSON_BYTES_MAX)
	{
		value = PG_GETARG_TEXT_P_COPY(0);
		(void) pay_mask_text(VARDATA(value), bytes);
		PG_RETURN_TEXT_P(value);
	}
	masked = pay_body_mask_card_numbers(VARDATA_ANY(value), &bytes);
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
