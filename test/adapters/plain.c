/*
 * test/adapters/plain.c
 *		What the adapters of the tests share.
 *
 * Read with json_slice.h, so that unit tests link it without a server.
 */
#include "payments.h"

#include "psp/plain.h"

#include "base/digest.h"

#include "common/base64.h"
#include "lib/stringinfo.h"

static void read_operation(PaySlice body, const PayCommand *command, PayResult *result);
static bool is_word(const char *text);
static PayEffect effect_of(const char *kind);
static const char *hex(const uint8 *mac);

bool
plain_build(const PayCommand *command, PayRequest *request, const char **problem)
{
	StringInfoData body;

	if (command->psp_ref == NULL || command->generation < 1)
	{
		*problem = "the operation has no reference";
		return false;
	}
	if (command->kind != PAY_OP_CHARGE && command->kind != PAY_OP_AUTHORIZE && !is_word(command->psp_payment_id))
	{
		*problem = "the payment is not known to the PSP";
		return false;
	}
	initStringInfo(&body);
	appendStringInfo(&body, "{\"kind\":\"%s\",\"ref\":\"%s\",\"generation\":%d,\"amount\":" INT64_FORMAT ",\"currency\":\"%s\"",
					 pay_op_kind_name(command->kind), command->psp_ref, command->generation, command->amount, command->currency);
	if (is_word(command->payment_method))
		appendStringInfo(&body, ",\"method\":\"%s\"", command->payment_method);
	if (command->psp_payment_id)
		appendStringInfo(&body, ",\"payment\":\"%s\"", command->psp_payment_id);
	appendStringInfoChar(&body, '}');
	request->method = "POST";
	request->path = "/operations";
	request->content_type = "application/json";
	request->body = body.data;
	return true;
}

bool
plain_build_inquiry(const PayCommand *command, PayRequest *request)
{
	if (command->psp_ref == NULL)
		return false;
	request->method = "GET";
	request->path = psprintf("/operations/%s/%d", command->psp_ref, command->generation);
	request->content_type = NULL;
	request->body = NULL;
	return true;
}

void
plain_read_header(const PayHeader *header, PayAnswer *answer)
{
	if (pay_header_is(header, "trace-id"))
		pay_copy_printable(answer->request_id, sizeof(answer->request_id), header->value, header->value_bytes);
	else if (pay_header_is(header, "transient-error"))
		answer->should_retry = header->value_bytes == 4 && memcmp(header->value, "true", 4) == 0 ? 1 : 0;
}

void
plain_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	bool		is_refusal = plain_text(body, "error") != NULL;	/* the PSP's own, and no page of something in between */

	pay_result_init(result);
	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s);
	if (answer->retry_after_s >= 0)
		result->retry_after_ms = Min(answer->retry_after_s, 24 * 60 * 60) * 1000;
	if (answer->transport == PAY_TRANSPORT_NOT_SENT && !inquiry)
		result->class = PAY_CLASS_NOT_SENT;
	if (answer->transport != PAY_TRANSPORT_ANSWERED)
		return;
	if (answer->http_status == 200)
		read_operation(body, command, result);
	else if (is_refusal && (answer->http_status == 401 || answer->http_status == 403))
		result->class = PAY_CLASS_MISCONFIGURED;
	else if (inquiry)
		result->inquiry_found_nothing = is_refusal && answer->http_status == 404;
	else if (is_refusal && (answer->http_status == 429 || answer->should_retry == 1))
		result->class = PAY_CLASS_NOT_SENT;
}

/* `command` is NULL for an event. */
static void
read_operation(PaySlice body, const PayCommand *command, PayResult *result)
{
	const char *status = plain_text(body, "status");
	const char *kind = plain_text(body, "kind");
	int64		generation;

	result->object_id = plain_text(body, "id");
	result->psp_payment_id = plain_text(body, "payment");
	result->psp_ref = plain_text(body, "ref");
	result->currency = plain_text(body, "currency");
	/* What was not asked for need not say of which payment it is. */
	if (!is_word(result->object_id) || !((command == NULL && result->psp_payment_id == NULL) || is_word(result->psp_payment_id)) || !is_word(result->psp_ref) || status == NULL || kind == NULL ||
		result->currency == NULL || !plain_int64(body, "amount", &result->amount) ||
		!plain_int64(body, "generation", &generation) || generation < 1 || generation > PG_INT32_MAX)
		return;
	result->generation = (int) generation;
	if (command && (strcmp(result->psp_ref, command->psp_ref) != 0 || result->generation != command->generation ||
					strcmp(kind, pay_op_kind_name(command->kind)) != 0))
		result->class = PAY_CLASS_CONFLICTED;
	else if (strcmp(status, "done") == 0 && effect_of(kind) != PAY_EFFECT_NONE)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = effect_of(kind);
	}
	else if (strcmp(status, "pending") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "declined") == 0)
	{
		result->class = PAY_CLASS_DECLINED;
		result->codes[0] = "declined";
	}
}

bool
plain_read_event(PaySlice operation, PayPspEvent *event)
{
	memset(event, 0, sizeof(*event));
	pay_result_init(&event->result);
	event->event_id = plain_text(operation, "event");
	event->event_type = plain_text(operation, "status");
	if (!is_word(event->event_id) || event->event_type == NULL)
		return false;
	read_operation(operation, NULL, &event->result);
	event->relevant = event->result.class != PAY_CLASS_UNKNOWN;
	return true;
}

static PayEffect
effect_of(const char *kind)
{
	PayOpKind	parsed;

	if (!pay_op_kind_parse(kind, &parsed))
		return PAY_EFFECT_NONE;
	switch (parsed)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_CAPTURE:
			return PAY_EFFECT_CAPTURED;
		case PAY_OP_AUTHORIZE:
			return PAY_EFFECT_AUTHORIZED;
		case PAY_OP_VOID:
			return PAY_EFFECT_VOIDED;
		case PAY_OP_REFUND:
			return PAY_EFFECT_REFUNDED;
		case PAY_OP_PAYOUT:
			return PAY_EFFECT_PAID_OUT;
		case PAY_OP_EXPIRE:
			break;
	}
	return PAY_EFFECT_NONE;
}

/* ---------- small things ---------- */

static bool
is_word(const char *text)
{
	size_t		bytes = text ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") : 0;

	return bytes > 0 && bytes <= 100 && text[bytes] == '\0';
}

char *
plain_text(PaySlice object, const char *name)
{
	PaySlice	value;

	if (pay_slice_member(object, name, &value) != PAY_SLICE_FOUND || value.bytes < 2 || value.at[0] != '"' ||
		memchr(value.at, '\\', value.bytes) != NULL)
		return NULL;
	return pnstrdup(value.at + 1, value.bytes - 2);
}

bool
plain_int64(PaySlice object, const char *name, int64 *value)
{
	PaySlice	number;
	int64		sum = 0;

	if (pay_slice_member(object, name, &number) != PAY_SLICE_FOUND || number.bytes == 0 || number.bytes > 15)
		return false;
	for (size_t i = 0; i < number.bytes; i++)
	{
		if (number.at[i] < '0' || number.at[i] > '9')
			return false;
		sum = sum * 10 + (number.at[i] - '0');
	}
	*value = sum;
	return true;
}

char *
plain_base64(const char *text)
{
	int			bytes = (int) strlen(text);
	int			size = pg_b64_enc_len(bytes);
	char	   *out = palloc(size + 1);
	int			n = pg_b64_encode((const void *) text, bytes, out, size);

	out[Max(n, 0)] = '\0';
	return out;
}

static const char *
hex(const uint8 *mac)
{
	const char *text = "";

	for (int i = 0; i < PAY_HASH_BYTES; i++)
		text = psprintf("%s%02x", text, mac[i]);
	return text;
}

bool
plain_signed(const char *message, size_t bytes, const char *signature, const char *const *secrets)
{
	PayChunk	chunk = {message, bytes};
	uint8		mac[PAY_HASH_BYTES];
	bool		matches = false;

	if (strlen(signature) != 2 * PAY_HASH_BYTES)
		return false;
	for (; *secrets; secrets++)
	{
		pay_hmac_sha256(*secrets, strlen(*secrets), &chunk, 1, mac);
		matches |= pay_equal_constant_time(signature, hex(mac), 2 * PAY_HASH_BYTES);
	}
	return matches;
}
