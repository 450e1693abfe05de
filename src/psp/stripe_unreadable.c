/*
 * src/psp/stripe_unreadable.c
 *		Stripe: does an event tell nothing, or can we not read what it tells?
 *
 * To the reader of events in psp/stripe_event.c both are PAY_CLASS_UNKNOWN, and
 * only one of them is fine.  Looked at again here, for the one event in many that
 * moves nothing.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe.h"

#include "base/json.h"

typedef struct Expected
{
	const char *types;			/* what types of events begin with */
	const char *object;
	bool		names_payment;	/* in payment_intent; else it is the payment */
	const char *const *quiet;	/* statuses with which it moves nothing */
	const char *quiet_prefix;	/* likewise what they begin with; or NULL */
} Expected;

static const char *member(Jsonb *json, const char *name);

static const char *const waiting[] = {"requires_payment_method", "requires_confirmation", NULL};
static const char *const none[] = {NULL};
static const char *const closed[] = {"charge_refunded", "prevented", NULL};

/* The first that fits.  warning_...: the bank asks, and no money has been taken. */
static const Expected expected[] = {
	{"payment_intent.", "payment_intent", false, waiting, NULL},
	{"refund.", "refund", true, none, NULL},
	{"charge.dispute.closed", "dispute", true, closed, "warning_"},
	{"charge.dispute.", "dispute", true, none, "warning_"},
};

/* The first member that is not as the reader needs it; NULL: it was read, or tells nothing.  Of types that the reader knows. */
const char *
pay_stripe_unreadable(Jsonb *json, const char *type, const PayResult *result)
{
	const Expected *e = expected;
	const char *object = member(json, "object"),
			   *status = member(json, "status");
	int64		amount;

	while (e < expected + lengthof(expected) && strncmp(type, e->types, strlen(e->types)) != 0)
		e++;
	if (e == expected + lengthof(expected))
		return NULL;
	if (object == NULL || strcmp(object, e->object) != 0)
		return "object";
	if (!pay_stripe_is_id(member(json, "id")))
		return "id";
	if (member(json, "currency") == NULL)
		return "currency";
	if (!pay_json_int64(json, "data.object.amount", &amount))
		return "amount";
	/* Expanded, or no id: it is some payment's. */
	if (e->names_payment && result->psp_payment_id == NULL &&
		(member(json, "payment_intent") != NULL || pay_json_is_object(json, "data.object.payment_intent")))
		return "payment_intent";
	if (result->class != PAY_CLASS_UNKNOWN)
		return NULL;
	if (status && (pay_stripe_is_listed(status, e->quiet) || (e->quiet_prefix && strncmp(status, e->quiet_prefix, strlen(e->quiet_prefix)) == 0)))
		return NULL;
	if (status && !e->names_payment && strcmp(status, "succeeded") == 0)
		return "amount_received";
	if (status && !e->names_payment && strcmp(status, "requires_capture") == 0)
		return "amount_capturable";
	return "status";
}

static const char *
member(Jsonb *json, const char *name)
{
	return pay_json_text(json, psprintf("data.object.%s", name));
}
