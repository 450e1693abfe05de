/*
 * src/payment/adapter_question.c
 *		What a SQL function of an adapter is asked with.
 *
 * Always the same for the same command: members that are not known are left
 * out, and jsonb has one order.
 */
#include "payments.h"

#include "payment/adapter_question.h"

#include "base/json.h"

#include "mb/pg_wchar.h"
#include "utils/numeric.h"

static void put(JsonbParseState **state, const char *key, JsonbValue *value);
static void put_text(JsonbParseState **state, const char *key, const char *value);
static void put_int64(JsonbParseState **state, const char *key, int64 value);
static void put_bool(JsonbParseState **state, const char *key, bool value);
static void put_json(JsonbParseState **state, const char *key, Jsonb *json);
static void put_command(JsonbParseState **state, const PayCommand *command);
static bool put_body(JsonbParseState **state, const char *body, size_t bytes);

Jsonb *
pay_adapter_json_command(const PayCommand *command)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_command(&state, command);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
pay_adapter_json_answer(const PayCommand *command, bool inquiry, const PayAnswer *answer)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_json(&state, "command", pay_adapter_json_command(command));
	put_bool(&state, "inquiry", inquiry);
	put_int64(&state, "http_status", answer->http_status);
	if (answer->retry_after_s >= 0)
		put_int64(&state, "retry_after_s", answer->retry_after_s);
	if (!put_body(&state, answer->body, answer->body_bytes))
		return NULL;
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
pay_adapter_json_inbound(const PayInbound *inbound)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (inbound->config)
		put_json(&state, "config", pay_json_parse(inbound->config, strlen(inbound->config)));
	if (!put_body(&state, inbound->body, inbound->body_bytes))
		return NULL;
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
put_command(JsonbParseState **state, const PayCommand *command)
{
	put_text(state, "kind", pay_op_kind_name(command->kind));
	put_int64(state, "amount", command->amount);
	put_text(state, "currency", command->currency);
	put_int64(state, "exponent", command->exponent);
	put_text(state, "payment_method", command->payment_method);
	put_text(state, "customer", command->customer);
	put_text(state, "order_ref", command->order_ref);
	put_text(state, "description", command->description);
	put_text(state, "return_url", command->return_url);
	put_text(state, "reason", command->reason);
	put_bool(state, "off_session", command->off_session);
	put_text(state, "psp_ref", command->psp_ref);
	put_int64(state, "generation", command->generation);
	put_text(state, "psp_payment_id", command->psp_payment_id);
	put_text(state, "psp_object_id", command->psp_object_id);
	put_text(state, "target_id", command->target_id);
	put_int64(state, "captured", command->captured);
	put_bool(state, "keep_rest", command->keep_rest);
	put_text(state, "destination", command->destination);
	if (command->config)
		put_json(state, "config", pay_json_parse(command->config, strlen(command->config)));
}

/* As JSON if it is, else as text.  False when it is neither. */
static bool
put_body(JsonbParseState **state, const char *body, size_t bytes)
{
	Jsonb	   *json = pay_json_parse(body, bytes);

	if (json)
		put_json(state, "json", json);
	else if (bytes <= PAY_JSON_BYTES_MAX && strlen(body) == bytes && pg_verify_mbstr(GetDatabaseEncoding(), body, (int) bytes, true))
		put_text(state, "text", body);
	else
		return false;
	return true;
}

static void
put(JsonbParseState **state, const char *key, JsonbValue *value)
{
	JsonbValue	name = {.type = jbvString};

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, value);
}

/* What is NULL is not there. */
static void
put_text(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v = {.type = jbvString};

	if (value == NULL)
		return;
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = (int) strlen(value);
	put(state, key, &v);
}

static void
put_int64(JsonbParseState **state, const char *key, int64 value)
{
	JsonbValue	v = {.type = jbvNumeric};

	v.val.numeric = int64_to_numeric(value);
	put(state, key, &v);
}

static void
put_bool(JsonbParseState **state, const char *key, bool value)
{
	JsonbValue	v = {.type = jbvBool};

	v.val.boolean = value;
	put(state, key, &v);
}

static void
put_json(JsonbParseState **state, const char *key, Jsonb *json)
{
	JsonbValue	v;

	if (json == NULL)
		return;
	if (JB_ROOT_IS_SCALAR(json))
		(void) JsonbExtractScalar(&json->root, &v);
	else
	{
		v.type = jbvBinary;
		v.val.binary.data = &json->root;
		v.val.binary.len = VARSIZE(json) - VARHDRSZ;
	}
	put(state, key, &v);
}

