/*
 * src/core/arguments.c
 *		What SQL functions check of their arguments before they lock or write anything.
 */
#include "payments.h"

#include "core/arguments.h"

#include "base/pan.h"
#include "core/spi.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PAY_FUNCTION(pay_refuse_card_number_sql);

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

/* The statement is kept out of the log: it would hold the number. */
void
pay_refuse_card_number(const char *text, const char *name)
{
	if (pay_holds_card_number(text))
		ereport(ERROR,
				(errcode(PAY_ERR_CARD_NUMBER),
				 errmsg("%s contains what looks like a card number", name),
				 errhint("Card numbers are never stored; pass the PSP's token for the card instead."),
				 errhidestmt(true),
				 errhidecontext(true)));
}

/* _refuse_card_number(value, name) */
Datum
pay_refuse_card_number_sql(PG_FUNCTION_ARGS)
{
	pay_refuse_card_number(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

void
pay_require_text(const char *text, size_t bytes_max, const char *name)
{
	if (text == NULL)
		return;
	pay_require_length(text, bytes_max, name);
	pay_refuse_card_number(text, name);
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
