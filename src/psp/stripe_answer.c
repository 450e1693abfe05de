/*
 * src/psp/stripe_answer.c
 *		Stripe: what answers, inquiries and events say, in our words.
 *
 * The rules are those at the head of psp/stripe.c.  The first of them here:
 * what cannot be read, or does not name our operation, is PAY_CLASS_UNKNOWN.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/pan.h"
#include "psp/stripe_signature.h"

#include "mb/pg_wchar.h"
#include "utils/formatting.h"

#define CODE_BYTES_MAX 64
#define MESSAGE_BYTES_MAX 300

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

StaticAssertDecl(lengthof(event_types) <= PAY_STRIPE_TYPES_MAX, "the feed asks for all of them at once");

/* It was done already, perhaps by a call whose answer was lost: ask. */
static const char *const duplicate_codes[] = {
	"charge_already_captured", "charge_already_refunded", "payment_intent_unexpected_state", NULL
};

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
static void conflict(PayResult *result, const char *code);
static void not_done_yet(bool inquiry, PayResult *result);
static void add_code(PayResult *result, const char *prefix, const char *code);
static const char *presentable(const char *text);
static char *text_at(const Node *node, const char *path);
static char *id_at(const Node *node, const char *path);
static bool int64_at(const Node *node, const char *path, int64 *value);

/* ---------- answers ---------- */

void
pay_stripe_read_header(const PayHeader *header, PayAnswer *answer)
{
	if (pay_header_is(header, "request-id"))
		pay_copy_printable(answer->request_id, sizeof(answer->request_id), header->value, header->value_bytes);
	else if (pay_header_is(header, "stripe-rate-limited-reason"))
		answer->of_one_object = header->value_bytes == 17 && memcmp(header->value, "resource-specific", 17) == 0;
}

void
pay_stripe_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	Jsonb	   *json;
	const char *code;

	pay_result_init(result);
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
		result->retry_after_ms = answer->retry_after_s * 1000;
	json = pay_json_parse(answer->body, answer->body_bytes);
	/* 429 as well, but of one object, such as one that somebody else has locked. */
	code = pay_json_text(json, "error.code");
	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s) && !answer->of_one_object && !(code && strcmp(code, "lock_timeout") == 0);

	if (answer->http_status == 200)
		read_success(command, inquiry, json, result);
	else if (inquiry)
		read_failed_inquiry(json, answer->http_status, result);
	else
		read_refusal(json, answer->http_status, result);
}

/*
 * Anything but 200 to a request that was to move money.  Without an error
 * object of Stripe's, each of which has a type, it may come from something in between, after Stripe has
 * charged, and proves nothing whatever its status is.
 */
static void
read_refusal(Jsonb *json, int http_status, PayResult *result)
{
	Node		error = {json, "error."};
	const char *type = text_at(&error, "type");
	const char *code;

	if (type == NULL)
		return;
	read_error(&error, result);
	if (http_status == 401 || http_status == 403)
	{
		result->class = PAY_CLASS_MISCONFIGURED;
		return;
	}
	if (http_status == 429)
	{
		/* Rate limits and lock timeouts come before anything is executed. */
		result->class = PAY_CLASS_NOT_SENT;
		return;
	}

	code = text_at(&error, "code");
	result->psp_payment_id = id_at(&error, "payment_intent.id");
	if (code != NULL && strcmp(code, "idempotency_key_in_use") == 0)
	{
		/*
		 * A twin of this request is being executed, sent by a worker that has
		 * died since: it may charge yet, so this is no "not sent", which a
		 * cancel would take for "nothing is there".
		 */
		result->class = PAY_CLASS_UNKNOWN;
		return;
	}
	if (strcmp(type, "idempotency_error") == 0)
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
			result->class = pay_stripe_is_listed(code, duplicate_codes) ? PAY_CLASS_DUPLICATE : PAY_CLASS_DECLINED;
			break;
		case 409:
			/* A lock timeout and its like: this request was not executed. */
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

	if ((http_status == 401 || http_status == 403) && text_at(&error, "type") != NULL)
	{
		result->class = PAY_CLASS_MISCONFIGURED;
		read_error(&error, result);
		return;
	}
	add_code(result, "", code);
	if (http_status == 404 && code != NULL && strcmp(code, "resource_missing") == 0)
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

	for (int i = 0; i < PAY_STRIPE_LIST_LIMIT; i++)
	{
		Node		entry = {list, psprintf("data.%d.", i)};
		PayResult	names = {0};
		bool		has_moved;

		if (!pay_json_is_object(list, psprintf("data.%d", i)))
			break;
		if (!read_names(&entry, &names) || names.psp_ref == NULL || command->psp_ref == NULL ||
			strcmp(names.psp_ref, command->psp_ref) != 0 || names.generation != command->generation)
			continue;
		has_moved = pay_stripe_is_listed(text_at(&entry, "status"), moved);
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
		/* To a capture that is a refusal. */
		result->class = is_capture ? PAY_CLASS_DECLINED : PAY_CLASS_APPROVED;
		result->effect = is_capture ? PAY_EFFECT_NONE : PAY_EFFECT_VOIDED;
		result->amount = is_capture ? 0 : amount;
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
	else if (kind == EVENT_DISPUTE_CLOSED && strcmp(status, "lost") == 0)
		result->effect = PAY_EFFECT_DISPUTE_LOST;
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
		result->generation = (int) strtol(generation, NULL, 10);
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
		pay_result_init(result);
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

PayVerdict
pay_stripe_verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	PaySignatureHeader parsed;
	PayVerdict	verdict = pay_stripe_signature_parse(pay_inbound_header(inbound, "stripe-signature"), &parsed);
	PayChunk	message[] = {{parsed.t_text, parsed.t_bytes}, {".", 1}, {inbound->body, inbound->body_bytes}};
	uint8		mac[PAY_HASH_BYTES];
	bool		matches = false;

	if (verdict != PAY_VERDICT_OK)
		return verdict;
	for (; *secrets != NULL; secrets++)
	{
		/* Anybody can sign with an empty key. */
		if (**secrets == '\0')
			continue;
		pay_hmac_sha256(*secrets, strlen(*secrets), message, lengthof(message), mac);
		matches |= pay_stripe_signature_matches(&parsed, mac);
	}
	return matches ? pay_stripe_signature_age(parsed.t, now) : PAY_VERDICT_WRONG;
}

/* One event a request, and the status alone is the answer. */
bool
pay_stripe_parse(const PayInbound *inbound, PayEvents *events)
{
	events->n = 1;
	events->list = palloc0(sizeof(PayPspEvent));
	events->reply = NULL;
	if (pay_stripe_read_event(inbound->body, inbound->body_bytes, events->list))
		return true;
	events->field = events->list->event_id == NULL ? "id" : events->list->event_type == NULL ? "type" : "object";
	return false;
}

bool
pay_stripe_read_event(const char *body, size_t bytes, PayPspEvent *event)
{
	Node		whole = {pay_json_parse(body, bytes), ""};
	Node		object = {whole.json, "data.object."};
	const char *word = text_at(&whole, "object");
	bool		is_live;

	memset(event, 0, sizeof(*event));
	pay_result_init(&event->result);
	event->event_id = id_at(&whole, "id");
	event->event_type = text_at(&whole, "type");
	if (word == NULL || strcmp(word, "event") != 0 || event->event_id == NULL || event->event_type == NULL)
		return false;
	event->account.id = id_at(&whole, "account");
	if (pay_json_bool(whole.json, "livemode", &is_live))
		event->account.mode = is_live ? "live" : "test";

	for (size_t i = 0; i < lengthof(event_types); i++)
	{
		if (strcmp(event_types[i].name, event->event_type) != 0)
			continue;
		switch (event_types[i].kind)
		{
			case EVENT_PAYMENT_INTENT:
				read_payment_intent(&object, NULL, false, &event->result);
				break;
			case EVENT_REFUND:
				read_refund(&object, NULL, &event->result);
				break;
			case EVENT_DISPUTE_OPENED:
			case EVENT_DISPUTE_CLOSED:
				read_dispute(&object, event_types[i].kind, &event->result);
				break;
		}
		event->unreadable = pay_stripe_unreadable(whole.json, event->event_type, &event->result);
	}
	/* What tells nothing or names no payment changes nothing; inquiries go on as planned. */
	event->relevant = event->unreadable == NULL && event->result.class != PAY_CLASS_UNKNOWN &&
		(event->result.psp_payment_id != NULL || event->result.psp_ref != NULL);
	return true;
}

const char *
pay_stripe_event_type(int i)
{
	return i < (int) lengthof(event_types) ? event_types[i].name : NULL;
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
	size_t		bytes = code != NULL ? strspn(code, PAY_STRIPE_WORD "-.") : 0;

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

/* Without anything like a card number or a key, and then cut to length between characters: half a number is found by nobody. */
static const char *
presentable(const char *text)
{
	char	   *copy;

	if (text == NULL)
		return NULL;
	copy = pstrdup(text);
	pay_pan_mask(copy, strlen(copy));
	pay_psp_mask_secrets(copy);
	copy[pg_mbcliplen(copy, (int) strlen(copy), MESSAGE_BYTES_MAX)] = '\0';
	return copy;
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

	return pay_stripe_is_id(text) ? text : NULL;
}

static bool
int64_at(const Node *node, const char *path, int64 *value)
{
	return pay_json_int64(node->json, psprintf("%s%s", node->prefix, path), value);
}
