/*
 * src/payment/apply_money.c
 *		What moved: captures, refunds, disputes, fees.
 *
 * What an approval says the PSP has done is recorded once, by the id of its
 * object, whether we asked for it or not.  What does not fit the payment is
 * kept apart, or not posted, and a person is asked.
 */
#include "payments.h"

#include "payment/apply_private.h"

static void authorized(PayContext *c);
static bool captured(PayContext *c);
static void fee(PayContext *c);
static bool fee_is_known(const PayContext *c);
static bool fee_is_missing(PayContext *c);
static void ask_for_fee(PayContext *c);
static void voided(PayContext *c);
static const char *refund_event(const PayPayment *payment);
static void refunded(PayContext *c);
static void refund_failed(PayContext *c);
static void disputed(PayContext *c);
static void dispute_won(PayContext *c);

void
pay_apply_money(PayContext *c)
{
	switch (c->result.effect)
	{
		case PAY_EFFECT_AUTHORIZED:
			authorized(c);
			break;
		case PAY_EFFECT_CAPTURED:
			if (captured(c) || !fee_is_known(c))
				fee(c);
			break;
		case PAY_EFFECT_VOIDED:
			voided(c);
			break;
		case PAY_EFFECT_REFUNDED:
			refunded(c);
			break;
		case PAY_EFFECT_REFUND_FAILED:
			refund_failed(c);
			break;
		case PAY_EFFECT_DISPUTED:
			disputed(c);
			break;
		case PAY_EFFECT_DISPUTE_WON:
			dispute_won(c);
			break;
		case PAY_EFFECT_NONE:
			break;
	}
	if (c->operation == NULL || !pay_operation_is_open(c->operation))
		return;
	/* In flight, its own answer ends it; waiting, it must not be sent once more for money that has come. */
	if (c->stale && c->operation->claimed_by != NULL)
		return;
	if (pay_apply_answers(c->operation, c->result.effect) && fee_is_missing(c))
		ask_for_fee(c);
	else if (pay_apply_answers(c->operation, c->result.effect))
		pay_apply_finish(c, "succeeded");
	else if (c->report->source == PAY_SOURCE_INQUIRY && !c->stale)
		pay_apply_resend(c);	/* the PSP knows the payment, but not this operation */
}

static void
authorized(PayContext *c)
{
	PayPayment *d = c->payment;

	if (pay_payment_moved(d, "authorize", c->result.object_id) || d->captured > 0)
		return;
	if (!pay_payment_can(d, "authorize"))
	{
		pay_payment_exception(c->set, d, c->operation, "after_cancel", c->result.object_id, c->result.amount,
							  psprintf("authorized at the PSP while our status is \"%s\"; cancel it there", d->status));
		count_applied(c);
		return;
	}
	d->authorized = c->result.amount;
	pay_payment_move(c->set, d, c->operation, "authorize", c->result.object_id, c->result.amount, c->source);
	pay_payment_event(c->set, d, "authorize", c->operation, c->source, NULL);
	count_applied(c);
}

/* False when it was known. */
static bool
captured(PayContext *c)
{
	PayPayment *d = c->payment;
	int64		amount = c->result.amount;

	if (pay_payment_moved(d, "capture", c->result.object_id) || pay_payment_moved(d, "late_capture", c->result.object_id))
		return false;
	count_applied(c);
	if (!pay_payment_can(d, "capture"))
	{
		/* Money came that nobody waits for: keep it apart and ask a person. */
		pay_payment_move(c->set, d, c->operation, "late_capture", c->result.object_id, amount, c->source);
		pay_payment_exception(c->set, d, c->operation, d->captured > 0 ? "duplicate" : "after_cancel", c->result.object_id, amount,
							  psprintf("captured at the PSP while our status is \"%s\"; it stands in suspense", d->status));
		return true;
	}
	if (d->authorized < amount)
		d->authorized = amount;
	if (c->operation && c->operation->kind == PAY_OP_CAPTURE && pay_operation_is_open(c->operation))
		d->capture_pending -= c->operation->amount;
	d->captured += amount;
	d->next_action_url = NULL;
	d->failure_code = NULL;
	d->failure_message = NULL;
	pay_payment_move(c->set, d, c->operation, "capture", c->result.object_id, amount, c->source);
	pay_payment_event(c->set, d, "capture", c->operation, c->source, NULL);
	return true;
}

/* The fee may come with the capture or, by a later word, after it. */
static void
fee(PayContext *c)
{
	if (c->result.fee <= 0 || c->result.fee_object_id == NULL ||
		pay_payment_moved(c->payment, "fee", c->result.fee_object_id))
		return;
	pay_payment_move(c->set, c->payment, c->operation, "fee", c->result.fee_object_id, c->result.fee, c->source);
	count_applied(c);
}

/*
 * The PSP's books may have told charge and fee first, the fee under an id of
 * their own: what an answer says of it is then the same fee again.  Of lines
 * reconciliation has found out that they are news.
 */
static bool
fee_is_known(const PayContext *c)
{
	ListCell   *cell;

	if (c->report->source == PAY_SOURCE_SETTLEMENT)
		return false;
	foreach(cell, c->payment->moved)
	{
		PayMoved   *moved = lfirst(cell);

		if (strcmp(moved->kind, "fee") == 0)
			return true;
	}
	return false;
}

/* A webhook has told of a capture that no answer of ours will tell of, and left out the fee. */
static bool
fee_is_missing(PayContext *c)
{
	const PayAdapter *adapter = c->payment->adapter;

	return c->report->source == PAY_SOURCE_WEBHOOK && c->result.effect == PAY_EFFECT_CAPTURED && c->result.fee == 0 &&
		adapter && adapter->fee_by_inquiry && c->operation->claimed_by == NULL;
}

/* The payment has succeeded; its operation stays open for one inquiry more. */
static void
ask_for_fee(PayContext *c)
{
	PayOperation *o = c->operation;

	if (!o->queued)
	{
		pay_apply_finish(c, "succeeded");
		return;
	}
	o->status = "processing";
	o->dirty = true;
	o->schedule = "pending";
	o->try = 0;
	pay_operation_enqueue(c->set, o, "inquire", c->set->now);
}

static void
voided(PayContext *c)
{
	PayPayment *d = c->payment;
	ListCell   *cell;

	if (!pay_payment_can(d, "void"))
		return;
	pay_payment_event(c->set, d, "void", c->operation, c->source, NULL);
	d->next_action_url = NULL;
	count_applied(c);
	foreach(cell, d->operations)
	{
		PayOperation *other = lfirst(cell);

		if (other == c->operation && other->kind == PAY_OP_VOID)
			continue;			/* pay_apply_money() finishes it */
		if (!pay_operation_is_open(other))
			continue;
		if (other->kind == PAY_OP_CAPTURE)
			d->capture_pending -= other->amount;
		pay_operation_finish(c->set, other, other->kind == PAY_OP_VOID ? "succeeded" : "cancelled");
	}
}

static const char *
refund_event(const PayPayment *d)
{
	return d->refunded >= d->captured ? "refund_full" : "refund_part";
}

static void
refunded(PayContext *c)
{
	PayPayment *d = c->payment;
	bool		reserved = c->operation && c->operation->kind == PAY_OP_REFUND && pay_operation_is_open(c->operation);
	int64		room;

	if (pay_payment_moved(d, "refund", c->result.object_id))
		return;
	count_applied(c);
	if (reserved)
		d->refund_pending -= c->operation->amount;
	room = d->captured - d->refunded - d->disputed - d->refund_pending;
	if (c->result.amount > room)
	{
		if (reserved)
			d->refund_pending += c->operation->amount;
		pay_payment_exception(c->set, d, c->operation, "over_refunded", c->result.object_id, c->result.amount,
							  "the PSP refunded more than is left of this payment; it is not posted");
		return;
	}
	d->refunded += c->result.amount;
	pay_payment_move(c->set, d, c->operation, "refund", c->result.object_id, c->result.amount, c->source);
	pay_payment_event(c->set, d, refund_event(d), c->operation, c->source, NULL);
}

/* Also of a refund that had succeeded before: then its postings are reversed. */
static void
refund_failed(PayContext *c)
{
	PayPayment *d = c->payment;
	PayMoved   *refund = pay_payment_moved(d, "refund", c->result.object_id);
	const char *code = pay_apply_code(&c->result);

	if (pay_payment_moved(d, "refund_failed", c->result.object_id))
		return;
	if (refund)
	{
		d->refunded -= refund->amount;
		pay_payment_move(c->set, d, c->operation, "refund_failed", refund->object_id, refund->amount, c->source);
		pay_payment_event(c->set, d, d->refunded > 0 ? "refund_fail_part" : "refund_fail_all", c->operation, c->source, code);
		pay_payment_exception(c->set, d, c->operation, "refund_failed", c->result.object_id, refund->amount,
							  "the refund failed after it had succeeded; pay the customer in another way");
		count_applied(c);
	}
	else if (c->operation && c->operation->kind == PAY_OP_REFUND && pay_operation_is_open(c->operation))
		pay_apply_declined(c, code);
}

static void
disputed(PayContext *c)
{
	PayPayment *d = c->payment;
	int64		room = d->captured - d->refunded - d->refund_pending - d->disputed;
	int64		amount = Min(c->result.amount, room);

	if (pay_payment_moved(d, "dispute", c->result.object_id))
		return;
	count_applied(c);
	pay_payment_exception(c->set, d, NULL, "disputed", c->result.object_id, c->result.amount,
						  amount < c->result.amount ? "disputed; part of it was refunded already" : "disputed");
	if (amount <= 0 || !pay_payment_can(d, "dispute"))
		return;
	d->disputed += amount;
	pay_payment_move(c->set, d, NULL, "dispute", c->result.object_id, amount, c->source);
	pay_payment_event(c->set, d, "dispute", NULL, c->source, pay_apply_code(&c->result));
}

static void
dispute_won(PayContext *c)
{
	PayPayment *d = c->payment;
	PayMoved   *dispute = pay_payment_moved(d, "dispute", c->result.object_id);

	if (dispute == NULL || pay_payment_moved(d, "dispute_won", c->result.object_id))
		return;
	count_applied(c);
	d->disputed -= dispute->amount;
	pay_payment_move(c->set, d, NULL, "dispute_won", dispute->object_id, dispute->amount, c->source);
	if (d->disputed == 0)
		pay_payment_event(c->set, d, d->refunded > 0 ? "win_part" : "win_all", NULL, c->source, NULL);
}
