/*
 * src/psp/paypal_event.c
 *		PayPal: what comes unasked.
 *
 * Its events are signed with the key of a certificate that would have to be
 * fetched from an address in the request.  So none is believed: an event is a
 * hint, PayPal is asked, and its answer counts.  What is read here is of which
 * payment it speaks.
 */
#include "payments.h"

#include "psp/paypal.h"

#define ID_BYTES_MAX 255
#define TYPE_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

static const char *id_of_link(PaySlice object, const char *rel);
static void read_order(PaySlice order, PayResult *result);
static void read_approval(PaySlice approval, PayResult *result);
static void read_authorization(PaySlice authorization, PayResult *result);
static void read_capture(PaySlice capture, PayResult *result);
static void read_refund(PaySlice refund, PayResult *result);
static void read_dispute(PaySlice dispute, PayResult *result);

static const struct
{
	const char *type;
	void		(*read) (PaySlice resource, PayResult *result);
}			event_types[] = {
	{"CHECKOUT.ORDER.APPROVED", read_order},
	{"CHECKOUT.PAYMENT-APPROVAL.REVERSED", read_approval},
	{"PAYMENT.AUTHORIZATION.CREATED", read_authorization},
	{"PAYMENT.AUTHORIZATION.VOIDED", read_authorization},
	{"PAYMENT.CAPTURE.PENDING", read_capture},
	{"PAYMENT.CAPTURE.COMPLETED", read_capture},
	{"PAYMENT.CAPTURE.DECLINED", read_capture},
	{"PAYMENT.CAPTURE.DENIED", read_capture},
	{"PAYMENT.CAPTURE.REFUNDED", read_refund},
	{"PAYMENT.CAPTURE.REVERSED", read_refund},
	{"PAYMENT.REFUND.PENDING", read_refund},
	{"PAYMENT.REFUND.FAILED", read_refund},
	{"CUSTOMER.DISPUTE.CREATED", read_dispute},
	{"CUSTOMER.DISPUTE.UPDATED", read_dispute},
	{"CUSTOMER.DISPUTE.RESOLVED", read_dispute},
};

/* Who signed it nobody can tell here. */
PayVerdict
pay_paypal_verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	return PAY_VERDICT_ASK_PSP;
}

/* One event a request, and the status alone is the answer. */
bool
pay_paypal_parse(const PayInbound *inbound, PayEvents *events)
{
	events->n = 1;
	events->list = palloc0(sizeof(PayPspEvent));
	if (pay_paypal_read_event(inbound->body, inbound->body_bytes, events->list))
		return true;
	events->field = events->list->event_id == NULL ? "id" : events->list->event_type == NULL ? "event_type" : "resource";
	return false;
}

bool
pay_paypal_read_event(const char *body, size_t bytes, PayPspEvent *event)
{
	PaySlice	whole = {body, bytes},
				resource;

	memset(event, 0, sizeof(*event));
	pay_result_init(&event->result);
	event->event_id = pay_paypal_id(whole, "id");
	event->event_type = pay_paypal_text(whole, "event_type");
	if (event->event_type && (strlen(event->event_type) > ID_BYTES_MAX || event->event_type[strspn(event->event_type, TYPE_CHARS)] != '\0'))
		event->event_type = NULL;
	if (event->event_id == NULL || event->event_type == NULL || !pay_paypal_at(whole, "resource", &resource))
		return false;
	for (size_t i = 0; i < lengthof(event_types); i++)
		if (strcmp(event_types[i].type, event->event_type) == 0)
			event_types[i].read(resource, &event->result);
	event->relevant = event->result.class != PAY_CLASS_UNKNOWN && (event->result.psp_ref != NULL || event->result.psp_payment_id != NULL);
	return true;
}

/* ---------- of which payment it speaks ---------- */

static void
read_order(PaySlice order, PayResult *result)
{
	result->psp_payment_id = pay_paypal_id(order, "id");
	result->psp_ref = pay_paypal_id(order, "purchase_units.0.custom_id");
	result->class = PAY_CLASS_PENDING;
	result->next_step = 2;
}

/* It was not captured in time. */
static void
read_approval(PaySlice approval, PayResult *result)
{
	result->psp_payment_id = pay_paypal_id(approval, "order_id");
	result->class = PAY_CLASS_DECLINED;
	pay_paypal_add_code(result, "approval_reversed");
}

static void
read_authorization(PaySlice authorization, PayResult *result)
{
	pay_paypal_read_authorization(authorization, NULL, result);
	result->psp_ref = pay_paypal_id(authorization, "custom_id");
}

static void
read_capture(PaySlice capture, PayResult *result)
{
	pay_paypal_read_capture(capture, NULL, result);
	result->psp_ref = pay_paypal_id(capture, "custom_id");
}

/* It names its capture in a link alone. */
static void
read_refund(PaySlice refund, PayResult *result)
{
	pay_paypal_read_refund(refund, NULL, result);
	result->psp_ref = pay_paypal_id(refund, "custom_id");
	result->psp_payment_id = id_of_link(refund, "up");
}

static void
read_dispute(PaySlice dispute, PayResult *result)
{
	const char *status = pay_paypal_text(dispute, "status");
	const char *stage = pay_paypal_text(dispute, "dispute_life_cycle_stage");
	const char *outcome = pay_paypal_text(dispute, "dispute_outcome.outcome_code");

	result->object_id = pay_paypal_id(dispute, "dispute_id");
	result->psp_payment_id = pay_paypal_id(dispute, "disputed_transactions.0.seller_transaction_id");
	if (status == NULL || result->object_id == NULL || !pay_paypal_amount(dispute, "dispute_amount", &result->amount, &result->currency))
		return;
	pay_paypal_add_code(result, pay_paypal_text(dispute, "reason"));
	if (strcmp(status, "RESOLVED") != 0)
	{
		/* While the two only talk, no money is held. */
		if (stage == NULL || strcmp(stage, "INQUIRY") == 0)
			return;
		result->effect = PAY_EFFECT_DISPUTED;
	}
	else if (outcome && (strcmp(outcome, "RESOLVED_BUYER_FAVOUR") == 0 || strcmp(outcome, "ACCEPTED") == 0))
		result->effect = PAY_EFFECT_DISPUTE_LOST;
	else if (outcome && (strcmp(outcome, "RESOLVED_SELLER_FAVOUR") == 0 || strcmp(outcome, "RESOLVED_WITH_PAYOUT") == 0 ||
						 strcmp(outcome, "CANCELED_BY_BUYER") == 0 || strcmp(outcome, "DENIED") == 0))
		result->effect = PAY_EFFECT_DISPUTE_WON;
	else
		return;
	result->class = PAY_CLASS_APPROVED;
}

static const char *
id_of_link(PaySlice object, const char *rel)
{
	PaySlice	links,
				link;
	size_t		at = 0;

	if (!pay_paypal_at(object, "links", &links))
		return NULL;
	while (pay_slice_element(links, &at, &link) == PAY_SLICE_FOUND)
	{
		const char *told = pay_paypal_text(link, "rel");
		const char *href = pay_paypal_text(link, "href");
		const char *last = href ? strrchr(href, '/') : NULL;

		if (told && last && strcmp(told, rel) == 0 && pay_paypal_is_id(last + 1))
			return last + 1;
	}
	return NULL;
}
