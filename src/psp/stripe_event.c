/*
 * src/psp/stripe_event.c
 *		Stripe: webhooks and entries of its list of events.
 *
 * An event is a picture of an object as it was.  What it tells is what an answer
 * with that object would tell (psp/stripe_answer.c); of disputes there are
 * events alone.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe_object.h"

#include "base/digest.h"
#include "base/json.h"
#include "psp/stripe_signature.h"

#include "utils/formatting.h"

/* What an event's object is, and what it can tell. */
typedef enum EventKind
{
	EVENT_PAYMENT_INTENT,
	EVENT_REFUND,
	EVENT_DISPUTE
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
	/* An inquiry that became a dispute later is the same object, so it counts once. */
	{"charge.dispute.created", EVENT_DISPUTE},
	{"charge.dispute.updated", EVENT_DISPUTE},
	{"charge.dispute.funds_withdrawn", EVENT_DISPUTE},
	{"charge.dispute.funds_reinstated", EVENT_DISPUTE},
	{"charge.dispute.closed", EVENT_DISPUTE},
};

StaticAssertDecl(lengthof(event_types) <= PAY_STRIPE_TYPES_MAX, "the feed asks for all of them at once");

/* A dispute's status, what it says of the money, and its stage in our words. */
typedef struct DisputeStatus
{
	const char *status;
	PayEffect	effect;
	const char *stage;
} DisputeStatus;

/* warning_...: the bank asks, and no money has been taken. */
static const DisputeStatus dispute_statuses[] = {
	{"warning_needs_response", PAY_EFFECT_DISPUTE_STAGE, "inquiry"},
	{"warning_under_review", PAY_EFFECT_DISPUTE_STAGE, "inquiry_under_review"},
	{"warning_closed", PAY_EFFECT_DISPUTE_STAGE, "inquiry_closed"},
	{"needs_response", PAY_EFFECT_DISPUTED, "open"},
	{"under_review", PAY_EFFECT_DISPUTED, "under_review"},
	{"won", PAY_EFFECT_DISPUTE_WON, "won"},
	{"lost", PAY_EFFECT_DISPUTE_LOST, "lost"},
	{"prevented", PAY_EFFECT_DISPUTE_STAGE, "prevented"},
};

static void read_dispute(const PayStripeNode *dispute, PayResult *result);
static void read_dispute_fee(const PayStripeNode *dispute, PayResult *result);

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
	PayStripeNode		whole = {pay_json_parse(body, bytes), ""};
	PayStripeNode		object = {whole.json, "data.object."};
	const char *word = pay_stripe_text_at(&whole, "object");
	bool		is_live;

	memset(event, 0, sizeof(*event));
	pay_result_init(&event->result);
	event->event_id = pay_stripe_id_at(&whole, "id");
	event->event_type = pay_stripe_text_at(&whole, "type");
	if (word == NULL || strcmp(word, "event") != 0 || event->event_id == NULL || event->event_type == NULL)
		return false;
	event->account.id = pay_stripe_id_at(&whole, "account");
	if (pay_json_bool(whole.json, "livemode", &is_live))
		event->account.mode = is_live ? "live" : "test";

	for (size_t i = 0; i < lengthof(event_types); i++)
	{
		if (strcmp(event_types[i].name, event->event_type) != 0)
			continue;
		switch (event_types[i].kind)
		{
			case EVENT_PAYMENT_INTENT:
				pay_stripe_read_payment_intent(&object, NULL, false, &event->result);
				break;
			case EVENT_REFUND:
				pay_stripe_read_refund(&object, NULL, &event->result);
				break;
			case EVENT_DISPUTE:
				read_dispute(&object, &event->result);
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

static void
read_dispute(const PayStripeNode *dispute, PayResult *result)
{
	const char *object = pay_stripe_text_at(dispute, "object");
	const char *status = pay_stripe_text_at(dispute, "status");
	const char *currency = pay_stripe_text_at(dispute, "currency");

	if (object == NULL || strcmp(object, "dispute") != 0 || status == NULL || currency == NULL ||
		!pay_stripe_int64_at(dispute, "amount", &result->amount) || !pay_stripe_read_names(dispute, result))
		return;
	/* A dispute's metadata is not what we wrote on the payment. */
	result->psp_ref = NULL;
	result->generation = 0;
	result->psp_payment_id = pay_stripe_id_at(dispute, "payment_intent");
	result->currency = asc_toupper(currency, strlen(currency));
	pay_stripe_add_code(result, "", pay_stripe_text_at(dispute, "reason"));

	for (size_t i = 0; i < lengthof(dispute_statuses); i++)
	{
		if (strcmp(dispute_statuses[i].status, status) != 0)
			continue;
		result->class = PAY_CLASS_APPROVED;
		result->effect = dispute_statuses[i].effect;
		result->dispute_stage = dispute_statuses[i].stage;
	}
	(void) pay_stripe_int64_at(dispute, "evidence_details.due_by", &result->evidence_due);
	read_dispute_fee(dispute, result);
}

/* What it takes for the dispute is told with what it takes of it. */
static void
read_dispute_fee(const PayStripeNode *dispute, PayResult *result)
{
	const char *currency = pay_stripe_text_at(dispute, "balance_transactions.0.currency");

	if (currency == NULL || !pay_stripe_int64_at(dispute, "balance_transactions.0.fee", &result->fee) || result->fee <= 0)
	{
		result->fee = 0;
		return;
	}
	result->fee_currency = asc_toupper(currency, strlen(currency));
}
