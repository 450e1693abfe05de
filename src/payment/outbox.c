/*
 * src/payment/outbox.c
 *		What the outbox says of a status.
 *
 * Every row of payment_status has one event, written in the same transaction.
 * The payload is built here and not by jsonb_build_object() in SQL, which
 * looks up an output function for each of its arguments.
 */
#include "payments.h"

#include "payment/outbox.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

static void
put_string(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = (int) strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	if (value == NULL)
		v.type = jbvNull;
	else
	{
		v.val.string.val = unconstify(char *, value);
		v.val.string.len = (int) strlen(value);
	}
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static void
put_number(JsonbParseState **state, const char *key, int64 value)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = (int) strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.type = jbvNumeric;
	v.val.numeric = int64_to_numeric(value);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

Datum
pay_event_payload(const char *payment_id, int seq, const char *status, const char *event, const char *code,
				  int64 amount, const char *currency, const char *order_ref)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_string(&state, "payment_id", payment_id);
	put_number(&state, "seq", seq);
	put_string(&state, "status", status);
	put_string(&state, "event", event);
	put_string(&state, "code", code);
	put_number(&state, "amount", amount);
	put_string(&state, "currency", currency);
	put_string(&state, "order_ref", order_ref);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
