/*
 * src/psp_stripe.c
 *		Stripe: PaymentIntents and Refunds, API version below.
 *
 * Always true here:
 *
 * - The bytes of a request derive from the command alone, field by field in a
 *	 fixed order, so a resend after anything is the same request to Stripe.
 * - Only what Stripe itself said, in an object we could read and that names
 *	 our operation, is a definite answer.  All else is PAY_CLASS_UNKNOWN.
 * - An inquiry never says that something failed because the inquiry failed.
 * - Amounts are in Stripe's units on both sides (they differ from ISO 4217 for
 *	 some currencies; payments.psp_currency); the caller rescales.
 *
 * A PaymentIntent is authorized, captured and cancelled at most once each in
 * the way we use it, so its own id names those movements: the answer, the
 * inquiry and the event all carry it, whatever they expand.
 */
#include "payments.h"

#include "psp.h"

#include "hmac.h"
#include "json.h"
#include "pan.h"
#include "signature.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/formatting.h"

/* Stripe prunes keys after 24 hours at the earliest; leave an hour for clocks and queues. */
#define KEY_VALID_S (23 * 60 * 60)
#define RETRY_AFTER_MAX_S (24 * 60 * 60)

#define WORD_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define ID_BYTES_MAX 255
#define CODE_BYTES_MAX 64
#define MESSAGE_BYTES_MAX 300
#define LIST_LIMIT 100

#define EXPAND_KEY "expand[]"
#define EXPAND_FEE "latest_charge.balance_transaction"

/* An object inside a document: paths are relative to the prefix, "" or "data.object.". */
typedef struct Node
{
	Jsonb	   *json;
	const char *prefix;
} Node;

/* What an event's object is, and what it can tell. */
typedef enum EventKind
{
	EVENT_PAYMENT_INTENT,
	EVENT_REFUND,
	EVENT_DISPUTE_OPENED,
	EVENT_DISPUTE_CLOSED
} EventKind;

typedef struct EventType
{
	const char *name;
	EventKind	kind;
} EventType;

/* charge.refunded and the charge.* twins of these say nothing more. */
static const EventType event_types[] = {
	{"payment_intent.processing", EVENT_PAYMENT_INTENT},
	{"payment_intent.requires_action", EVENT_PAYMENT_INTENT},
	{"payment_intent.amount_capturable_updated", EVENT_PAYMENT_INTENT},
	{"payment_intent.succeeded", EVENT_PAYMENT_INTENT},
	{"payment_intent.payment_failed", EVENT_PAYMENT_INTENT},
	{"payment_intent.canceled", EVENT_PAYMENT_INTENT},
	{"refund.created", EVENT_REFUND},
	{"refund.updated", EVENT_REFUND},
	{"refund.failed", EVENT_REFUND},
	{"charge.dispute.created", EVENT_DISPUTE_OPENED},
	/* An inquiry that became a dispute later; the same object, so counted once. */
	{"charge.dispute.funds_withdrawn", EVENT_DISPUTE_OPENED},
	{"charge.dispute.closed", EVENT_DISPUTE_CLOSED},
};

static const char *const headers[] = {"Stripe-Version: 2026-10-28.endive", NULL};
static const char *const refund_reasons[] = {"duplicate", "fraudulent", "requested_by_customer", NULL};
static const char *const cancellation_reasons[] = {
	"duplicate", "fraudulent", "requested_by_customer", "abandoned", NULL
};
/* It was done already, perhaps by a call whose answer was lost: ask. */
static const char *const duplicate_codes[] = {
	"charge_already_captured", "charge_already_refunded", "payment_intent_unexpected_state", NULL
};

static bool build(const PayCommand *command, PayRequest *request, const char **problem);
static bool build_payment(const PayCommand *command, StringInfo body, const char **problem);
static bool build_inquiry(const PayCommand *command, PayRequest *request);
static char *search_path_of(const PayCommand *command);
static void form_add(StringInfo form, const char *key, const char *value);
static void form_add_int64(StringInfo form, const char *key, int64 value);
static void form_add_names(StringInfo form, const PayCommand *command);
static void append_escaped(StringInfo out, const char *text);

static void classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
static void start_result(PayResult *result);
static void read_refusal(Jsonb *json, int http_status, PayResult *result);
static void read_failed_inquiry(Jsonb *json, int http_status, PayResult *result);
static void read_success(const PayCommand *command, bool inquiry, Jsonb *json, PayResult *result);
static bool choose(const PayCommand *command, Jsonb *list, Node *chosen, PayResult *result);
static void read_payment_intent(const Node *intent, const PayCommand *command, bool inquiry, PayResult *result);
static void read_intent_status(const Node *intent, const PayCommand *command, bool inquiry, int64 amount, PayResult *result);
static void read_captured(const Node *intent, const PayCommand *command, PayResult *result);
static void read_refund(const Node *refund, const PayCommand *command, PayResult *result);
static void read_dispute(const Node *dispute, EventKind kind, PayResult *result);
static bool read_names(const Node *node, PayResult *result);
static bool names_agree(const PayCommand *command, bool inquiry, PayResult *result);
static void read_error(const Node *error, PayResult *result);

static PaySignature verify(const char *header, const char *secret, const char *body, size_t body_bytes, int64 now_unix);
static bool parse_event(const char *body, size_t body_bytes, PayWebhook *webhook);

static void conflict(PayResult *result, const char *code);
static void not_done_yet(bool inquiry, PayResult *result);
static void add_code(PayResult *result, const char *prefix, const char *code);
static const char *presentable(const char *text);
static bool is_id(const char *text);
static bool is_listed(const char *word, const char *const *list);
static char *text_at(const Node *node, const char *path);
static char *id_at(const Node *node, const char *path);
static bool int64_at(const Node *node, const char *path, int64 *value);

const PayAdapter pay_adapter_stripe = {
	.name = "stripe",
	.in_process = false,
	.key_valid_s = KEY_VALID_S,
	.key_header = "Idempotency-Key",
	.signature_header = "stripe-signature",
	.default_base_url = "https://api.stripe.com",
	.headers = headers,
	.build = build,
	.build_inquiry = build_inquiry,
	.classify = classify,
	.verify = verify,
	.parse_event = parse_event,
};

/* ---------- requests ---------- */

static bool
build(const PayCommand *command, PayRequest *request, const char **problem)
{
	StringInfoData body;

	initStringInfo(&body);
	request->method = "POST";
	request->content_type = "application/x-www-form-urlencoded";
	*problem = NULL;

	if (command->psp_ref == NULL || command->generation < 1)
		*problem = "the operation has no reference";
	else if (command->kind != PAY_OP_VOID && command->amount <= 0)
		*problem = "the amount is not positive";
	else if (command->kind != PAY_OP_CHARGE && command->kind != PAY_OP_AUTHORIZE && !is_id(command->psp_payment_id))
		*problem = "the payment has no PaymentIntent";
	if (*problem != NULL)
		return false;

	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			request->path = "/v1/payment_intents";
			if (!build_payment(command, &body, problem))
				return false;
			break;
		case PAY_OP_CAPTURE:
			request->path = psprintf("/v1/payment_intents/%s/capture", command->psp_payment_id);
			form_add_int64(&body, "amount_to_capture", command->amount);
			form_add(&body, EXPAND_KEY, EXPAND_FEE);
			break;
		case PAY_OP_VOID:
			request->path = psprintf("/v1/payment_intents/%s/cancel", command->psp_payment_id);
			if (is_listed(command->reason, cancellation_reasons))
				form_add(&body, "cancellation_reason", command->reason);
			break;
		case PAY_OP_REFUND:
			request->path = "/v1/refunds";
			form_add(&body, "payment_intent", command->psp_payment_id);
			form_add_int64(&body, "amount", command->amount);
			if (is_listed(command->reason, refund_reasons))
				form_add(&body, "reason", command->reason);
			form_add_names(&body, command);
			break;
	}
	request->body = body.data;
	return true;
}

static bool
build_payment(const PayCommand *command, StringInfo body, const char **problem)
{
	bool		may_redirect = command->return_url != NULL && *command->return_url != '\0';

	if (command->payment_method == NULL || *command->payment_method == '\0')
	{
		*problem = "Stripe needs a payment method";
		return false;
	}
	form_add_int64(body, "amount", command->amount);
	form_add(body, "currency", asc_tolower(command->currency, strlen(command->currency)));
	form_add(body, "payment_method", command->payment_method);
	form_add(body, "confirm", "true");
	form_add(body, "capture_method", command->kind == PAY_OP_AUTHORIZE ? "manual" : "automatic");
	if (command->off_session)
		form_add(body, "off_session", "true");
	form_add(body, "return_url", command->return_url);
	form_add(body, "customer", command->customer);
	form_add(body, "description", command->description);
	form_add_names(body, command);
	form_add(body, "metadata[order_ref]", command->order_ref);
	form_add(body, EXPAND_KEY, EXPAND_FEE);
	/* Without these Stripe asks for a return_url, in case the payer must be sent away. */
	if (!may_redirect)
	{
		form_add(body, "automatic_payment_methods[enabled]", "true");
		form_add(body, "automatic_payment_methods[allow_redirects]", "never");
	}
	return true;
}

static bool
build_inquiry(const PayCommand *command, PayRequest *request)
{
	StringInfoData query;

	request->method = "GET";
	request->content_type = NULL;
	request->body = NULL;
	initStringInfo(&query);

	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			if (command->psp_payment_id == NULL)
			{
				request->path = search_path_of(command);
				return request->path != NULL;
			}
			break;
		case PAY_OP_CAPTURE:
		case PAY_OP_VOID:
			break;
		case PAY_OP_REFUND:
			if (command->psp_object_id != NULL)
			{
				if (!is_id(command->psp_object_id))
					return false;
				request->path = psprintf("/v1/refunds/%s", command->psp_object_id);
				return true;
			}
			if (!is_id(command->psp_payment_id))
				return false;
			form_add(&query, "payment_intent", command->psp_payment_id);
			form_add_int64(&query, "limit", LIST_LIMIT);
			request->path = psprintf("/v1/refunds?%s", query.data);
			return true;
	}

	if (!is_id(command->psp_payment_id))
		return false;
	form_add(&query, EXPAND_KEY, EXPAND_FEE);
	request->path = psprintf("/v1/payment_intents/%s?%s", command->psp_payment_id, query.data);
	return true;
}

/* Stripe's search lags by up to a minute: what it does not find may exist all the same. */
static char *
search_path_of(const PayCommand *command)
{
	StringInfoData clause;
	StringInfoData query;

	if (command->psp_ref == NULL)
		return NULL;
	initStringInfo(&clause);
	appendStringInfoString(&clause, "metadata[\"payments_ref\"]:\"");
	for (const char *p = command->psp_ref; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(&clause, '\\');
		appendStringInfoChar(&clause, *p);
	}
	appendStringInfoChar(&clause, '"');

	initStringInfo(&query);
	form_add(&query, "query", clause.data);
	form_add_int64(&query, "limit", LIST_LIMIT);
	form_add(&query, EXPAND_KEY, "data." EXPAND_FEE);
	return psprintf("/v1/payment_intents/search?%s", query.data);
}

/* Leaves out what is absent: to Stripe an empty value means "unset". */
static void
form_add(StringInfo form, const char *key, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	if (form->len > 0)
		appendStringInfoChar(form, '&');
	append_escaped(form, key);
	appendStringInfoChar(form, '=');
	append_escaped(form, value);
}

static void
form_add_int64(StringInfo form, const char *key, int64 value)
{
	char		digits[32];

	snprintf(digits, sizeof(digits), INT64_FORMAT, value);
	form_add(form, key, digits);
}

/* What an inquiry and an event find the operation by. */
static void
form_add_names(StringInfo form, const PayCommand *command)
{
	form_add(form, "metadata[payments_ref]", command->psp_ref);
	form_add_int64(form, "metadata[payments_generation]", command->generation);
}

/* RFC 3986: all but the unreserved characters, which every decoder leaves alone. */
static void
append_escaped(StringInfo out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *) text; *p != '\0'; p++)
	{
		if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ||
			*p == '-' || *p == '.' || *p == '_' || *p == '~')
			appendStringInfoChar(out, (char) *p);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, hex[*p >> 4]);
			appendStringInfoChar(out, hex[*p & 0x0f]);
		}
	}
}

/* ---------- answers ---------- */

static void
classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	Jsonb	   *json;

	start_result(result);
	switch (answer->transport)
	{
		case PAY_TRANSPORT_NOT_SENT:
			/* Of an inquiry it says nothing about the operation. */
			result->class = inquiry ? PAY_CLASS_UNKNOWN : PAY_CLASS_NOT_SENT;
			return;
		case PAY_TRANSPORT_LOST:
			result->class = PAY_CLASS_UNKNOWN;
			return;
		case PAY_TRANSPORT_ANSWERED:
			break;
	}

	if (answer->retry_after_s >= 0)
		result->retry_after_ms = Min(answer->retry_after_s, RETRY_AFTER_MAX_S) * 1000;
	json = pay_json_parse(answer->body, answer->body_bytes);

	if (answer->http_status == 200)
		read_success(command, inquiry, json, result);
	else if (inquiry)
		read_failed_inquiry(json, answer->http_status, result);
	else
		read_refusal(json, answer->http_status, result);
}

static void
start_result(PayResult *result)
{
	memset(result, 0, sizeof(*result));
	result->class = PAY_CLASS_UNKNOWN;
	result->effect = PAY_EFFECT_NONE;
	result->retry_after_ms = -1;
}

/*
 * Anything but 200 to a request that was to move money.  A status alone, with
 * no error object of Stripe's, may come from something in between, and then
 * proves nothing; save for the ones that are sent before anything is done.
 */
static void
read_refusal(Jsonb *json, int http_status, PayResult *result)
{
	Node		error = {json, "error."};
	const char *type;
	const char *code;

	if (http_status == 401 || http_status == 403)
	{
		/* Without the message, which spells part of the key. */
		result->class = PAY_CLASS_MISCONFIGURED;
		add_code(result, "", text_at(&error, "code"));
		add_code(result, "", text_at(&error, "type"));
		return;
	}
	if (pay_json_is_object(json, "error"))
		read_error(&error, result);
	if (http_status == 429)
	{
		/* Rate limits and lock timeouts come before anything is executed. */
		result->class = PAY_CLASS_NOT_SENT;
		return;
	}
	if (!pay_json_is_object(json, "error"))
		return;

	type = text_at(&error, "type");
	code = text_at(&error, "code");
	result->psp_payment_id = id_at(&error, "payment_intent.id");
	if (type != NULL && strcmp(type, "idempotency_error") == 0)
	{
		/* Another request was sent under this key: which of the two stands is for a person to see. */
		conflict(result, "idempotency_error");
		return;
	}
	switch (http_status)
	{
		case 400:
		case 402:
		case 404:
			result->class = is_listed(code, duplicate_codes) ? PAY_CLASS_DUPLICATE : PAY_CLASS_DECLINED;
			break;
		case 409:

			/*
			 * This request was not executed; with idempotency_key_in_use a
			 * twin of it is.  The same key is right for both, and another
			 * PSP would be wrong.
			 */
			result->class = PAY_CLASS_NOT_SENT;
			break;
		default:
			/* 424 and 5xx may come after the charge was made; others are not in Stripe's book. */
			result->class = PAY_CLASS_UNKNOWN;
			break;
	}
}

static void
read_failed_inquiry(Jsonb *json, int http_status, PayResult *result)
{
	Node		error = {json, "error."};
	const char *code = text_at(&error, "code");

	add_code(result, "", code);
	if (http_status == 401 || http_status == 403)
		result->class = PAY_CLASS_MISCONFIGURED;
	else if (http_status == 404 && code != NULL && strcmp(code, "resource_missing") == 0)
		result->inquiry_found_nothing = true;
}

static void
read_success(const PayCommand *command, bool inquiry, Jsonb *json, PayResult *result)
{
	Node		node = {json, ""};
	const char *object = text_at(&node, "object");

	if (object == NULL)
		return;
	if (inquiry && (strcmp(object, "search_result") == 0 || strcmp(object, "list") == 0))
	{
		if (!choose(command, json, &node, result))
			return;
	}

	if (command->kind == PAY_OP_REFUND)
		read_refund(&node, command, result);
	else
		read_payment_intent(&node, command, inquiry, result);
}

/*
 * Picks the one of a list that is our operation's, by reference and
 * generation.  Two that moved money mean that we did something twice, long
 * after the key was forgotten.
 */
static bool
choose(const PayCommand *command, Jsonb *list, Node *chosen, PayResult *result)
{
	static const char *const moved[] = {"succeeded", "requires_capture", "processing", "pending", NULL};
	int			matches = 0;
	int			moves = 0;
	bool		more = false;

	for (int i = 0; i < LIST_LIMIT; i++)
	{
		Node		entry = {list, psprintf("data.%d.", i)};
		PayResult	names = {0};
		bool		has_moved;

		if (!pay_json_is_object(list, psprintf("data.%d", i)))
			break;
		if (!read_names(&entry, &names) || names.psp_ref == NULL || command->psp_ref == NULL ||
			strcmp(names.psp_ref, command->psp_ref) != 0 || names.generation != command->generation)
			continue;
		has_moved = is_listed(text_at(&entry, "status"), moved);
		if (matches == 0 || (has_moved && moves == 0))
			*chosen = entry;
		matches++;
		moves += has_moved ? 1 : 0;
	}
	if (moves > 1)
	{
		read_names(chosen, result);
		conflict(result, "several_at_psp");
		return false;
	}
	if (matches == 0)
		result->inquiry_found_nothing = pay_json_exists(list, "data") &&
			!(pay_json_bool(list, "has_more", &more) && more);
	return matches > 0;
}

/* `command` is NULL for an event. */
static void
read_payment_intent(const Node *intent, const PayCommand *command, bool inquiry, PayResult *result)
{
	const char *object = text_at(intent, "object");
	const char *currency = text_at(intent, "currency");
	int64		amount;

	if (object == NULL || strcmp(object, "payment_intent") != 0 || currency == NULL ||
		!int64_at(intent, "amount", &amount) || !read_names(intent, result))
		return;
	result->psp_payment_id = result->object_id;
	result->currency = asc_toupper(currency, strlen(currency));

	if (command == NULL)
	{
		read_intent_status(intent, NULL, false, amount, result);
		return;
	}
	if (command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE)
	{
		if (!names_agree(command, inquiry, result))
			return;
		result->amount = amount;
		if (amount != command->amount)
		{
			conflict(result, "amount_mismatch");
			return;
		}
	}
	else
	{
		/* Its names are those of the charge, not of this operation. */
		result->psp_ref = NULL;
		result->generation = 0;
	}
	if (command->psp_payment_id != NULL && strcmp(result->psp_payment_id, command->psp_payment_id) != 0)
		conflict(result, "reference_mismatch");
	else if (pg_strcasecmp(currency, command->currency) != 0)
		conflict(result, "currency_mismatch");
	else
		read_intent_status(intent, command, inquiry, amount, result);
}

static void
read_intent_status(const Node *intent, const PayCommand *command, bool inquiry, int64 amount, PayResult *result)
{
	const char *status = text_at(intent, "status");
	bool		is_void = command != NULL && command->kind == PAY_OP_VOID;
	bool		is_capture = command != NULL && command->kind == PAY_OP_CAPTURE;
	Node		error = {intent->json, psprintf("%slast_payment_error.", intent->prefix)};

	result->amount = 0;
	if (status == NULL)
		return;
	if (strcmp(status, "succeeded") == 0)
		read_captured(intent, command, result);
	else if (strcmp(status, "processing") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "canceled") == 0)
	{
		if (is_void || command == NULL)
		{
			result->class = PAY_CLASS_APPROVED;
			result->effect = PAY_EFFECT_VOIDED;
			result->amount = amount;
		}
		else
			result->class = PAY_CLASS_DECLINED;
		if (!is_void)
			add_code(result, "", "canceled");
	}
	else if (strcmp(status, "requires_capture") == 0 && !is_void && !is_capture)
	{
		if (!int64_at(intent, "amount_capturable", &result->amount))
			return;
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_AUTHORIZED;
	}
	else if (is_void || (is_capture && strcmp(status, "requires_capture") == 0))
		not_done_yet(inquiry, result);
	else if (strcmp(status, "requires_action") == 0)
	{
		result->class = PAY_CLASS_REQUIRES_ACTION;
		result->next_action_url = text_at(intent, "next_action.redirect_to_url.url");
	}
	else if (strcmp(status, "requires_payment_method") == 0 && text_at(&error, "type") != NULL)
	{
		/* Without an error the confirmation has not ended yet (or search shows an old copy): unknown. */
		result->class = PAY_CLASS_DECLINED;
		read_error(&error, result);
	}
}

static void
read_captured(const Node *intent, const PayCommand *command, PayResult *result)
{
	Node		fee = {intent->json, psprintf("%slatest_charge.balance_transaction.", intent->prefix)};
	const char *fee_currency = text_at(&fee, "currency");
	int64		received;

	if (!int64_at(intent, "amount_received", &received))
		return;
	if (command != NULL && command->kind == PAY_OP_VOID)
	{
		result->class = PAY_CLASS_DECLINED;
		result->message = "The payment was captured, so it cannot be cancelled.";
		add_code(result, "", "already_captured");
		return;
	}
	result->amount = received;
	if (command != NULL && command->kind != PAY_OP_AUTHORIZE && received != command->amount)
	{
		conflict(result, "amount_mismatch");
		return;
	}
	result->class = PAY_CLASS_APPROVED;
	result->effect = PAY_EFFECT_CAPTURED;

	result->fee_object_id = id_at(&fee, "id");
	if (result->fee_object_id == NULL || fee_currency == NULL || !int64_at(&fee, "fee", &result->fee) || result->fee <= 0)
	{
		result->fee = 0;
		result->fee_object_id = NULL;
		return;
	}
	result->fee_currency = asc_toupper(fee_currency, strlen(fee_currency));
}

/* `command` is NULL for an event. */
static void
read_refund(const Node *refund, const PayCommand *command, PayResult *result)
{
	const char *object = text_at(refund, "object");
	const char *status = text_at(refund, "status");
	const char *currency = text_at(refund, "currency");

	if (object == NULL || strcmp(object, "refund") != 0 || status == NULL || currency == NULL ||
		!int64_at(refund, "amount", &result->amount) || !read_names(refund, result))
		return;
	result->psp_payment_id = id_at(refund, "payment_intent");
	result->currency = asc_toupper(currency, strlen(currency));

	if (command != NULL)
	{
		if (!names_agree(command, false, result))
			return;
		if (result->amount != command->amount)
		{
			conflict(result, "amount_mismatch");
			return;
		}
		if (pg_strcasecmp(currency, command->currency) != 0)
		{
			conflict(result, "currency_mismatch");
			return;
		}
		if (result->psp_payment_id != NULL && command->psp_payment_id != NULL &&
			strcmp(result->psp_payment_id, command->psp_payment_id) != 0)
		{
			conflict(result, "reference_mismatch");
			return;
		}
	}

	if (strcmp(status, "succeeded") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_REFUNDED;
	}
	else if (strcmp(status, "pending") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "requires_action") == 0)
		result->class = PAY_CLASS_REQUIRES_ACTION;
	else if (strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0)
	{
		/* A refund may fail days after it succeeded: as news it is a fact about money, not a refusal. */
		result->class = command == NULL ? PAY_CLASS_APPROVED : PAY_CLASS_DECLINED;
		result->effect = PAY_EFFECT_REFUND_FAILED;
		add_code(result, "", text_at(refund, "failure_reason"));
		add_code(result, "", status[0] == 'f' ? "refund_failed" : "refund_canceled");
	}
}

static void
read_dispute(const Node *dispute, EventKind kind, PayResult *result)
{
	const char *object = text_at(dispute, "object");
	const char *status = text_at(dispute, "status");
	const char *currency = text_at(dispute, "currency");

	if (object == NULL || strcmp(object, "dispute") != 0 || status == NULL || currency == NULL ||
		!int64_at(dispute, "amount", &result->amount) || !read_names(dispute, result))
		return;
	/* A dispute's metadata is not what we wrote on the payment. */
	result->psp_ref = NULL;
	result->generation = 0;
	result->psp_payment_id = id_at(dispute, "payment_intent");
	result->currency = asc_toupper(currency, strlen(currency));
	add_code(result, "", text_at(dispute, "reason"));

	/* warning_...: the bank asks, and no money has been taken. */
	if (kind == EVENT_DISPUTE_OPENED && strncmp(status, "warning_", 8) != 0)
		result->effect = PAY_EFFECT_DISPUTED;
	else if (kind == EVENT_DISPUTE_CLOSED && strcmp(status, "won") == 0)
		result->effect = PAY_EFFECT_DISPUTE_WON;
	else
		return;
	result->class = PAY_CLASS_APPROVED;
}

/* The object's id, and our name and generation on it.  False without a usable id. */
static bool
read_names(const Node *node, PayResult *result)
{
	const char *generation = text_at(node, "metadata.payments_generation");

	result->object_id = id_at(node, "id");
	result->psp_ref = text_at(node, "metadata.payments_ref");
	result->generation = 0;
	if (generation != NULL && strlen(generation) <= 6 && generation[strspn(generation, "0123456789")] == '\0')
		result->generation = atoi(generation);
	return result->object_id != NULL;
}

/*
 * Is this the object that the command asked for, or asked about?  An earlier
 * generation's object answers nothing about this one.
 */
static bool
names_agree(const PayCommand *command, bool inquiry, PayResult *result)
{
	bool		same_ref = result->psp_ref == NULL || command->psp_ref == NULL ||
		strcmp(result->psp_ref, command->psp_ref) == 0;
	bool		same_generation = result->generation == 0 || result->generation == command->generation;

	if (same_ref && same_generation)
		return true;
	if (!same_ref || !inquiry)
		conflict(result, "reference_mismatch");
	else
		start_result(result);
	return false;
}

/* Codes in order of precedence: network advice, Stripe's advice, issuer's code, Stripe's code. */
static void
read_error(const Node *error, PayResult *result)
{
	add_code(result, "network_advice:", text_at(error, "network_advice_code"));
	add_code(result, "advice:", text_at(error, "advice_code"));
	add_code(result, "", text_at(error, "decline_code"));
	add_code(result, "", text_at(error, "code"));
	if (result->codes[0] == NULL)
		add_code(result, "", text_at(error, "type"));
	result->message = presentable(text_at(error, "message"));
}

/* ---------- webhooks ---------- */

static PaySignature
verify(const char *header, const char *secret, const char *body, size_t body_bytes, int64 now_unix)
{
	PaySignatureHeader parsed;
	PaySignature verdict = pay_signature_parse(header, &parsed);
	uint8		mac[PAY_HASH_BYTES];

	if (verdict != PAY_SIGNATURE_OK)
		return verdict;
	/* Anybody can sign with an empty key. */
	if (secret == NULL || *secret == '\0')
		return PAY_SIGNATURE_WRONG;
	{
		PayChunk	message[] = {{parsed.t_text, parsed.t_bytes}, {".", 1}, {body, body_bytes}};

		pay_hmac_sha256(secret, strlen(secret), message, lengthof(message), mac);
	}
	if (!pay_signature_matches(&parsed, mac))
		return PAY_SIGNATURE_WRONG;
	return pay_signature_age(parsed.t, now_unix);
}

static bool
parse_event(const char *body, size_t body_bytes, PayWebhook *webhook)
{
	Node		event = {pay_json_parse(body, body_bytes), ""};
	Node		object = {event.json, "data.object."};
	const char *word = text_at(&event, "object");

	memset(webhook, 0, sizeof(*webhook));
	start_result(&webhook->result);
	if (word == NULL || strcmp(word, "event") != 0)
		return false;
	webhook->event_id = id_at(&event, "id");
	webhook->event_type = text_at(&event, "type");
	if (webhook->event_id == NULL || webhook->event_type == NULL)
		return false;

	for (size_t i = 0; i < lengthof(event_types); i++)
	{
		if (strcmp(event_types[i].name, webhook->event_type) != 0)
			continue;
		switch (event_types[i].kind)
		{
			case EVENT_PAYMENT_INTENT:
				read_payment_intent(&object, NULL, false, &webhook->result);
				break;
			case EVENT_REFUND:
				read_refund(&object, NULL, &webhook->result);
				break;
			case EVENT_DISPUTE_OPENED:
			case EVENT_DISPUTE_CLOSED:
				read_dispute(&object, event_types[i].kind, &webhook->result);
				break;
		}
	}
	/* What is unreadable or names no payment changes nothing; inquiries go on as planned. */
	webhook->relevant = webhook->result.class != PAY_CLASS_UNKNOWN &&
		(webhook->result.psp_payment_id != NULL || webhook->result.psp_ref != NULL);
	return true;
}

/* ---------- small things ---------- */

/* Keeps ids, amount and currency for the person who will look, but claims no effect. */
static void
conflict(PayResult *result, const char *code)
{
	result->class = PAY_CLASS_CONFLICTED;
	result->effect = PAY_EFFECT_NONE;
	memset(result->codes, 0, sizeof(result->codes));
	result->codes[0] = code;
	/* Another payment's id must not be remembered as this one's. */
	if (strcmp(code, "reference_mismatch") == 0)
	{
		result->psp_payment_id = NULL;
		result->psp_ref = NULL;
		result->generation = 0;
	}
}

/* The PaymentIntent is as it was before this capture or cancellation. */
static void
not_done_yet(bool inquiry, PayResult *result)
{
	result->class = PAY_CLASS_UNKNOWN;
	result->object_id = NULL;
	result->inquiry_found_nothing = inquiry;
}

/* Codes go into tables and events, so only what looks like one. */
static void
add_code(PayResult *result, const char *prefix, const char *code)
{
	size_t		bytes = code != NULL ? strspn(code, WORD_CHARACTERS "-.") : 0;

	if (bytes == 0 || bytes > CODE_BYTES_MAX || code[bytes] != '\0')
		return;
	for (int i = 0; i < PAY_CODES_MAX; i++)
	{
		if (result->codes[i] == NULL)
		{
			result->codes[i] = psprintf("%s%s", prefix, code);
			return;
		}
	}
}

/* Cut to length between characters, and without anything like a card number. */
static const char *
presentable(const char *text)
{
	char	   *copy;
	int			bytes;

	if (text == NULL)
		return NULL;
	bytes = pg_mbcliplen(text, (int) strlen(text), MESSAGE_BYTES_MAX);
	copy = pnstrdup(text, bytes);
	pay_pan_mask(copy, bytes);
	return copy;
}

/* Ids from the PSP go into paths and tables. */
static bool
is_id(const char *text)
{
	size_t		bytes;

	if (text == NULL)
		return false;
	bytes = strspn(text, WORD_CHARACTERS);
	return bytes > 0 && bytes <= ID_BYTES_MAX && text[bytes] == '\0';
}

static bool
is_listed(const char *word, const char *const *list)
{
	for (; word != NULL && *list != NULL; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

static char *
text_at(const Node *node, const char *path)
{
	return pay_json_text(node->json, psprintf("%s%s", node->prefix, path));
}

/* NULL also when it is not an id we would put into a path. */
static char *
id_at(const Node *node, const char *path)
{
	char	   *text = text_at(node, path);

	return is_id(text) ? text : NULL;
}

static bool
int64_at(const Node *node, const char *path, int64 *value)
{
	return pay_json_int64(node->json, psprintf("%s%s", node->prefix, path), value);
}
