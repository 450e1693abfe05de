/*
 * src/payment/apply_money.c
 *		What moved: captures, refunds, disputes, fees.
 *
 * What an approval says the PSP has done is recorded once, by the id of its
 * object, whether we asked for it or not, and whether what came before it at
 * the PSP has been heard of or not.  The books are the sum of these facts, and
 * the payment's amounts and status follow from the sums: so any order of the
 * same words has the same end.
 *
 * A fact that takes back another one may be heard of first, or the other never
 * have been: a refund that failed before it succeeded moved nothing.  It is
 * then kept as a row that moves nothing, and both are booked when the other
 * comes.  What does not fit the payment is an exception for a person.
 */
#include "payments.h"

#include "payment/apply_private.h"
#include "payment/state.h"
#include "payment/suspense.h"

#include "utils/timestamp.h"

/* The year 2200: what a PSP says beyond it is no date. */
#define CAPTURE_BEFORE_MAX_S INT64CONST(7258118400)

static bool is_answered(const PayContext *c);
static PayMoved *booked(PayContext *c, const char *kind);
static void authorized(PayContext *c);
static TimestampTz capture_before(const PayContext *c);
static bool tells_of_rest(const PayContext *c);
static bool keeps_rest(const PayContext *c);
static int64 news_of_capture(PayContext *c, const char **object_id);
static int64 further_capture(PayContext *c, const char **object_id);
static bool has_several(const PayPayment *payment);
static void late_capture(PayContext *c, int64 amount);
static void booked_otherwise(PayContext *c, const char *kind, int64 amount);
static bool captured(PayContext *c);
static void captured_otherwise(PayContext *c, PayOperation *capture);
static void fee(PayContext *c);
static bool fee_is_known(const PayContext *c);
static bool fee_is_missing(PayContext *c);
static void ask_for_fee(PayContext *c);
static void voided(PayContext *c);
static bool takes_back_capture(const PayContext *c);
static void end_voided(PayContext *c);
static void refunded(PayContext *c);
static void refund_failed(PayContext *c);
static void refund_ended(PayContext *c);
static void disputed(PayContext *c);
static void win(PayContext *c, const char *object_id, int64 amount);
static void won_and_lost(PayContext *c, const char *object_id, int64 amount);
static void dispute_won(PayContext *c);
static void dispute_lost(PayContext *c);

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
		case PAY_EFFECT_EXPIRED:
			pay_apply_expired(c);
			break;
		case PAY_EFFECT_REFUNDED:
			refunded(c);
			break;
		case PAY_EFFECT_REFUND_FAILED:
			refund_failed(c);
			break;
		case PAY_EFFECT_DISPUTED:
			disputed(c);
			pay_dispute_note(c);
			break;
		case PAY_EFFECT_DISPUTE_WON:
			dispute_won(c);
			pay_dispute_note(c);
			break;
		case PAY_EFFECT_DISPUTE_LOST:
			dispute_lost(c);
			pay_dispute_note(c);
			break;
		case PAY_EFFECT_DISPUTE_STAGE:
			pay_dispute_note(c);
			break;
		case PAY_EFFECT_PAID_OUT:
			pay_payout_paid(c);
			break;
		case PAY_EFFECT_PAYOUT_FAILED:
			pay_payout_failed(c);
			break;
		case PAY_EFFECT_NONE:
			break;
	}
	/* That another object was cancelled is no answer to our cancellation; nor is an operation done by a PSP that it has left. */
	if ((c->stale && c->result.effect == PAY_EFFECT_VOIDED) || c->payment->told_by)
		return;
	if (c->operation == NULL || !pay_operation_is_open(c->operation) ||
		(c->result.effect == PAY_EFFECT_VOIDED && c->operation->kind != PAY_OP_VOID))
		return;
	/* In flight, its own answer ends it; waiting, it must not be sent once more for money that has come. */
	if (c->stale && c->operation->claimed_by != NULL)
		return;
	if (is_answered(c) && fee_is_missing(c))
		ask_for_fee(c);
	else if (is_answered(c))
		pay_apply_finish(c, "succeeded");
	else if (c->operation->kind == PAY_OP_EXPIRE && c->report->source == PAY_SOURCE_INQUIRY && !c->stale)
		pay_apply_ask_again(c);
	else if (c->report->source == PAY_SOURCE_INQUIRY && !c->stale)
		pay_apply_resend(c);	/* the PSP knows the payment, but not this operation */
}

/* Of one capture of several, what is told may be an earlier one. */
static bool
is_answered(const PayContext *c)
{
	return pay_apply_answers(c->operation, c->result.effect) && (c->operation->kind != PAY_OP_CAPTURE || pay_apply_done(c));
}

/*
 * What is booked of the object.  One object moves money once: if it is told
 * again in another amount, a person looks which is right.  Of charges the PSP's
 * book says in several lines how much; what its sums say reconciliation knows.
 */
static PayMoved *
booked(PayContext *c, const char *kind)
{
	PayMoved   *moved = pay_payment_moved(c->payment, kind, c->result.object_id);

	if (moved && c->result.amount > 0 && c->result.amount != moved->amount &&
		(c->report->source != PAY_SOURCE_SETTLEMENT || c->result.effect != PAY_EFFECT_CAPTURED))
		booked_otherwise(c, kind, moved->amount);
	return moved;
}

static void
booked_otherwise(PayContext *c, const char *kind, int64 amount)
{
	pay_payment_exception(c->set, c->payment, c->operation, "conflicted", c->result.object_id, c->result.amount,
						  psprintf("told again in another amount; booked is a %s of " INT64_FORMAT, kind, amount));
}

static void
authorized(PayContext *c)
{
	PayPayment *d = c->payment;
	bool		is_void = pay_payment_moved(d, "void", c->result.object_id) != NULL;
	/* It may be told after its capture. */
	bool		is_captured = d->captured > 0 && (c->result.psp_payment_id == NULL || d->psp_payment_id == NULL ||
												  strcmp(c->result.psp_payment_id, d->psp_payment_id) == 0);

	if (pay_payment_moved(d, "authorize", c->result.object_id))
		return;
	count_applied(c);
	if (!pay_payment_can(d, "authorize") && !is_captured && !is_void)
	{
		pay_payment_exception(c->set, d, c->operation, "after_cancel", c->result.object_id, c->result.amount,
							  psprintf("authorized at the PSP while our status is \"%s\"; cancel it there", d->status));
		return;
	}
	d->authorized = Max(d->authorized, c->result.amount);
	d->capture_before = capture_before(c);
	d->dirty = true;
	pay_payment_move(c->set, d, c->operation, "authorize", c->result.object_id, c->result.amount, c->source);
	if (pay_payment_can(d, "authorize"))
	{
		pay_apply_known_as(c);
		d->next_action_url = NULL;
		d->failure_code = NULL;
		d->failure_message = NULL;
		pay_payment_event(c->set, d, "authorize", c->operation, c->source, NULL);
	}
	if (is_void)
		end_voided(c);
	else
		pay_apply_lapse(c);		/* that it has expired may be told before */
}

/* By the PSP's word, else by what its adapter knows. */
static TimestampTz
capture_before(const PayContext *c)
{
	const PayAdapter *adapter = c->payment->adapter;
	int64		said = c->result.capture_before;

	if (said > 0 && said < CAPTURE_BEFORE_MAX_S)
		return time_t_to_timestamptz((pg_time_t) said);
	return adapter && adapter->authorization_valid_s > 0
		? c->set->now + (TimestampTz) adapter->authorization_valid_s * USECS_PER_SEC : 0;
}

/* False when it was known. */
static bool
captured(PayContext *c)
{
	PayPayment *d = c->payment;
	PayOperation *capture = c->beside ? NULL : pay_payment_open_operation(d, PAY_OP_CAPTURE);
	const char *object_id;
	int64		amount = news_of_capture(c, &object_id);
	bool		is_first = pay_payment_can(d, "capture");

	if (amount == 0)
	{
		/* That it was the last one may be news; who only repeats what is booked does not say so. */
		if (c->result.amount == d->captured && tells_of_rest(c) && !keeps_rest(c) && !c->stale)
			pay_apply_give_up_rest(c);
		return false;
	}
	count_applied(c);
	if (d->told_by || (!is_first && (d->captured == 0 || amount > pay_payment_rest(d))))
	{
		late_capture(c, amount);
		return true;
	}
	pay_apply_known_as(c);
	if (keeps_rest(c) && pay_payment_sum(d, "authorize") == 0)
	{
		pay_payment_move(c->set, d, c->operation, "authorize", c->result.object_id, d->amount, c->source);
		d->authorized = d->amount;
	}
	d->authorized = Max(d->authorized, d->captured + amount);
	if (capture)
		pay_payment_release(d, capture);
	d->captured += amount;
	d->next_action_url = NULL;
	d->failure_code = NULL;
	d->failure_message = NULL;
	pay_payment_move(c->set, d, capture ? capture : c->operation, "capture", object_id, amount, c->source);
	pay_payment_event(c->set, d, is_first ? "capture" : "capture_more", c->operation, c->source, NULL);
	if (capture && capture->amount != amount)
		captured_otherwise(c, capture);
	if (!keeps_rest(c))
		pay_apply_give_up_rest(c);
	else
		pay_apply_lapse(c);
	return true;
}

/* Money came that nobody waits for: keep it apart and ask a person. */
static void
late_capture(PayContext *c, int64 amount)
{
	PayPayment *d = c->payment;

	pay_payment_move(c->set, d, c->operation, "late_capture", c->result.object_id, amount, c->source);
	pay_payment_exception(c->set, d, c->operation, d->captured > 0 || d->told_by ? "duplicate" : "after_cancel", c->result.object_id, amount,
						  psprintf("captured at the PSP%s while our status is \"%s\"; it stands in suspense",
								   d->told_by ? psprintf(" that the payment has left for \"%s\"", d->psp) : "", d->status));
	if (d->psp_payment_id == NULL && d->told_by == NULL)
		pay_apply_known_as(c);
	else if (c->result.psp_payment_id)
		pay_unmatched_learn(d, c->result.psp_payment_id);
}

/* Lines of the PSP's book and persons say that money was captured, and no more. */
static bool
tells_of_rest(const PayContext *c)
{
	return c->report->source != PAY_SOURCE_SETTLEMENT && c->report->source != PAY_SOURCE_PERSON;
}

/* Where nobody says so it is what was asked for; of which capture it is known or not. */
static bool
keeps_rest(const PayContext *c)
{
	if (tells_of_rest(c))
		return c->result.keeps_rest;
	return c->operation ? c->operation->keep_rest : has_several(c->payment);
}

/* So much of it was not known, under which id; 0: nothing. */
static int64
news_of_capture(PayContext *c, const char **object_id)
{
	*object_id = c->result.object_id;
	if (c->payment->adapter && c->payment->adapter->capture_is_payment && pay_payment_moved(c->payment, "capture", c->result.object_id))
		return further_capture(c, object_id);
	return booked(c, "capture") || booked(c, "late_capture") ? 0 : c->result.amount;
}

/*
 * Where a capture has no id of its own the PSP tells the sum of all.  Sums only
 * grow, so whatever comes late or twice is no news; what is news gets an id
 * from what was captured before it, which no other can have.  A line of the
 * PSP's book tells of one of them, and which it is nobody knows: reconciliation
 * compares the sums.
 */
static int64
further_capture(PayContext *c, const char **object_id)
{
	PayPayment *d = c->payment;
	int64		sum = c->result.amount;

	if (sum == d->captured || c->report->source == PAY_SOURCE_SETTLEMENT)
		return 0;
	if (sum > d->captured && pay_payment_rest(d) > 0)
	{
		*object_id = psprintf("%s+" INT64_FORMAT, c->result.object_id, d->captured);
		return sum - d->captured;
	}
	if (sum > d->captured || !has_several(d))
		booked_otherwise(c, "capture", d->captured);
	return 0;
}

/* Was a capture asked for that leaves a rest? */
static bool
has_several(const PayPayment *payment)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
		if (((PayOperation *) lfirst(cell))->keep_rest)
			return true;
	return false;
}

/* An authorization is captured once, and somebody else has done it: our own capture can never be. */
static void
captured_otherwise(PayContext *c, PayOperation *capture)
{
	pay_payment_exception(c->set, c->payment, capture, "conflicted", c->result.object_id, c->result.amount,
						  "captured at the PSP in another amount than was asked for");
	capture->failure_code = "captured_otherwise";
	pay_operation_finish(c->set, capture, "failed", c->source);
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
	int			fees = 0;
	int			captures = 0;
	ListCell   *cell;

	if (c->report->source == PAY_SOURCE_SETTLEMENT)
		return false;
	foreach(cell, c->payment->moved)
	{
		PayMoved   *moved = lfirst(cell);

		fees += strcmp(moved->kind, "fee") == 0;
		captures += strcmp(moved->kind, "capture") == 0;
	}
	return fees >= Max(captures, 1);
}

/* A webhook has told of a capture that no answer of ours will tell of, and left out the fee. */
static bool
fee_is_missing(PayContext *c)
{
	const PayAdapter *adapter = c->payment->adapter;

	return c->report->source == PAY_SOURCE_WEBHOOK && !c->stale && c->result.effect == PAY_EFFECT_CAPTURED && c->result.fee == 0 &&
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

/*
 * Of the object in which this payment is now: that another one, or that of an
 * earlier generation, is cancelled says nothing of it.
 */
static void
voided(PayContext *c)
{
	PayPayment *d = c->payment;

	if (c->stale)
		return;
	if (c->result.object_id && !pay_payment_moved(d, "void", c->result.object_id))
	{
		pay_payment_move(c->set, d, c->operation, "void", c->result.object_id, d->amount, c->source);
		count_applied(c);
		if (takes_back_capture(c))
			pay_payment_exception(c->set, d, c->operation, "conflicted", c->result.object_id, d->captured,
								  "the PSP says that the payment was cancelled after it was captured: if so, that money does not come");
	}
	if (!pay_apply_ask_first(c))
		end_voided(c);
}

/* Where a capture has the payment's id, so has the cancellation of what it left: while there is a rest, it is that which is given back. */
static bool
takes_back_capture(const PayContext *c)
{
	return pay_payment_rest(c->payment) <= 0 && pay_payment_moved(c->payment, "capture", c->result.object_id) != NULL;
}

static void
end_voided(PayContext *c)
{
	PayPayment *d = c->payment;
	ListCell   *cell;

	if (!pay_payment_can(d, "void"))
	{
		/* Captured in part: the rest is given back. */
		pay_apply_lapse(c);
		return;
	}
	pay_payment_event(c->set, d, "void", c->operation, c->source, NULL);
	d->next_action_url = NULL;
	count_applied(c);
	foreach(cell, d->operations)
	{
		PayOperation *other = lfirst(cell);

		if (!pay_operation_is_open(other))
			continue;
		pay_payment_release(d, other);
		pay_operation_finish(c->set, other, other->kind == PAY_OP_VOID ? "succeeded" : "cancelled", c->source);
	}
}

static void
refunded(PayContext *c)
{
	PayPayment *d = c->payment;

	if (c->operation && c->operation->kind == PAY_OP_REFUND && pay_operation_is_open(c->operation))
	{
		/* Also when a call is in flight: it has nothing more to tell, and what it reserved is given back once. */
		pay_payment_release(d, c->operation);
		pay_apply_finish(c, "succeeded");
	}
	if (booked(c, "refund"))
		return;
	count_applied(c);
	pay_payment_move(c->set, d, c->operation, "refund", c->result.object_id, c->result.amount, c->source);
	if (pay_payment_moved(d, "refund_undone", c->result.object_id))
		refund_ended(c);
}

/* Also of a refund that had succeeded before: then its postings are reversed. */
static void
refund_failed(PayContext *c)
{
	PayPayment *d = c->payment;

	if (pay_payment_moved(d, "refund_failed", c->result.object_id) || pay_payment_moved(d, "refund_undone", c->result.object_id))
		return;
	count_applied(c);
	if (booked(c, "refund"))
	{
		refund_ended(c);
		return;
	}
	pay_payment_move(c->set, d, c->operation, "refund_undone", c->result.object_id,
					 c->result.amount > 0 ? c->result.amount : d->amount, c->source);
	if (c->operation && c->operation->kind == PAY_OP_REFUND && pay_operation_is_open(c->operation))
		pay_apply_declined(c, pay_apply_code(&c->result));
}

/* It succeeded, and it failed. */
static void
refund_ended(PayContext *c)
{
	PayPayment *d = c->payment;
	PayMoved   *refund = pay_payment_moved(d, "refund", c->result.object_id);
	ListCell   *cell;

	pay_payment_move(c->set, d, c->operation, "refund_failed", refund->object_id, refund->amount, c->source);
	pay_payment_exception(c->set, d, c->operation, "refund_failed", refund->object_id, refund->amount,
						  "the refund failed after it had succeeded; pay the customer in another way");
	foreach(cell, d->operations)
	{
		PayOperation *o = lfirst(cell);

		if (o->kind != PAY_OP_REFUND || o->psp_object_id == NULL || strcmp(o->psp_object_id, refund->object_id) != 0 ||
			strcmp(o->status, "succeeded") != 0)
			continue;
		o->failure_code = pay_apply_code(&c->result);
		pay_operation_finish(c->set, o, "failed", c->source);
	}
}

static void
disputed(PayContext *c)
{
	PayPayment *d = c->payment;

	if (booked(c, "dispute"))
		return;
	count_applied(c);
	pay_payment_exception(c->set, d, NULL, "disputed", c->result.object_id, c->result.amount,
						  "disputed: payments.dispute says until when evidence is accepted");
	pay_payment_move(c->set, d, NULL, "dispute", c->result.object_id, c->result.amount, c->source);
	if (pay_payment_moved(d, "dispute_undone", c->result.object_id))
		win(c, c->result.object_id, c->result.amount);
}

/* Who looked after the dispute has nothing left to do. */
static void
win(PayContext *c, const char *object_id, int64 amount)
{
	pay_payment_move(c->set, c->payment, NULL, "dispute_won", object_id, amount, c->source);
	pay_payment_resolve(c->set, c->payment, "disputed", object_id, "the dispute was won");
	if (pay_payment_moved(c->payment, "dispute_lost", object_id))
		won_and_lost(c, object_id, amount);
}

/* All is booked as the PSP has it, in whichever order it tells. */
static void
won_and_lost(PayContext *c, const char *object_id, int64 amount)
{
	pay_payment_exception(c->set, c->payment, NULL, "conflicted", object_id, amount,
						  "the PSP says that the dispute was won, and that it was lost; post by hand what stands in dispute_reserve");
}

static void
dispute_won(PayContext *c)
{
	PayPayment *d = c->payment;
	PayMoved   *dispute = booked(c, "dispute");

	if (pay_payment_moved(d, "dispute_won", c->result.object_id) || pay_payment_moved(d, "dispute_undone", c->result.object_id))
		return;
	count_applied(c);
	if (dispute)
		win(c, dispute->object_id, dispute->amount);
	else
		pay_payment_move(c->set, d, NULL, "dispute_undone", c->result.object_id,
						 c->result.amount > 0 ? c->result.amount : d->amount, c->source);
}

/* The money is gone, and that is known: the rule says who bears it.  Of a dispute that nobody has told, both at once. */
static void
dispute_lost(PayContext *c)
{
	const char *id = c->result.object_id;

	if (pay_payment_moved(c->payment, "dispute_lost", id))
		return;
	disputed(c);
	count_applied(c);
	pay_payment_move(c->set, c->payment, NULL, "dispute_lost", id, pay_payment_moved(c->payment, "dispute", id)->amount, c->source);
	pay_payment_resolve(c->set, c->payment, "disputed", id, "the dispute was lost");
	if (pay_payment_moved(c->payment, "dispute_won", id))
		won_and_lost(c, id, c->result.amount);
}

/* ---------- what the sums say ---------- */

void
pay_apply_sum_up(const PayPayment *d, PaySums *sums)
{
	int64		captured = d->captured + pay_payment_sum(d, "late_capture");

	sums->refunded = pay_payment_sum(d, "refund") - pay_payment_sum(d, "refund_failed");
	sums->disputed = pay_payment_sum(d, "dispute") - pay_payment_sum(d, "dispute_won");
	sums->lost = pay_payment_sum(d, "dispute_lost");
	/* Before the capture is heard of nothing can be said. */
	sums->excess = captured > 0 || pay_state_is_final(d->status) ? Max(sums->refunded + sums->disputed - captured, 0) : 0;
	sums->came_to_nothing = pay_payment_came_to_nothing(d);
	sums->in_suspense = pay_suspense_left(d);
}

/*
 * Amounts and status of a payment that was captured follow from the sums.  The
 * amounts are what fits: refunds first, beside what is reserved for those that
 * are asked for, then disputes.  What does not fit is booked all the same, since
 * the PSP has moved it, and a person is told.
 */
void
pay_apply_follow(PayPayments *set, PayPayment *d, const PaySums *before, const PayOperation *operation,
				 const char *source, const char *code)
{
	PaySums		now;
	int64		refunded,
				disputed;
	const char *event = NULL;
	bool		was_disputed = strcmp(d->status, "disputed") == 0;

	pay_apply_sum_up(d, &now);
	refunded = Min(now.refunded, d->captured - d->refund_pending);
	disputed = Min(now.disputed, d->captured - d->refund_pending - refunded);
	if (!pay_payment_can(d, "dispute"))
		refunded = disputed = 0;	/* not captured */
	else if (now.disputed > before->disputed || (now.disputed > 0 && strcmp(d->status, "disputed") != 0))
		event = "dispute";
	else if (now.disputed == 0 && strcmp(d->status, "disputed") == 0)
		event = refunded == 0 ? "win_all" : refunded < d->captured ? "win_part" : "win_full";
	else if (refunded > d->refunded)
		event = refunded < d->captured ? "refund_part" : "refund_full";
	else if (refunded < d->refunded)
		event = refunded > 0 ? "refund_fail_part" : "refund_fail_all";
	if (refunded != d->refunded || disputed != d->disputed)
	{
		d->refunded = refunded;
		d->disputed = disputed;
		d->dirty = true;
	}
	if (event)
		pay_payment_event(set, d, event, operation, source, code);
	pay_suspense_follow(set, d, before, &now, source);
	if (pay_payment_can(d, "lose") && (now.lost > before->lost || (!was_disputed && now.lost > 0)))
		pay_payment_event(set, d, "lose", NULL, source, code);
	if (now.excess > 0 && before->excess == 0)
		pay_payment_exception(set, d, NULL, "over_refunded", NULL, now.excess,
							  "refunds and disputes together are more than was captured; all of it is posted");
	else if (now.excess == 0 && before->excess > 0)
		pay_payment_resolve(set, d, "over_refunded", NULL, "the PSP's later word took back what was too much");
}
