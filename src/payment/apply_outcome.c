/*
 * src/payment/apply_outcome.c
 *		Whatever is no approval: not yet, no, not sent, nobody knows, and answers
 *		that contradict what was asked.
 *
 * Each ends the operation, sets when it is next sent or asked for, or makes it
 * a dead letter; an open operation is always in the queue or a dead letter.
 */
#include "payments.h"

#include "payment/apply_private.h"
#include "core/spi.h"
#include "payment/reattempt.h"
#include "payment/retry.h"

/* Until a halted PSP is resumed its operations are looked at no more often than this. */
#define MISCONFIGURED_RETRY_MS 60000
/*
 * Who was told that there are too many comes again after this, twice as late
 * each time, and no sooner than the PSP says.  The worker sees to its pace by
 * itself; but what is refused for a day is refused for its own sake.
 */
#define TOO_MANY_RETRY_MS 1000
#define TOO_MANY_DOUBLINGS 8
#define TOO_MANY_MAX 340

/* Reasons of dead letters whose schedule has ended. */
#define RAN_OUT_PENDING "pending_too_long"
#define RAN_OUT_ACTION "action_never_came"
#define RAN_OUT_NOT_SENT "psp_unreachable"
#define RAN_OUT_UNKNOWN "outcome_unknown"
#define RAN_OUT_AUTHORIZED "authorized_too_long"

/* Leases lost in a row before an operation is taken for poison. */
#define LOST_MAX 20

static PayOperation *refused_refund(const PayContext *c);
static void refund_made(PayContext *c, PayOperation *refused);
static void tell_misnamed(PayContext *c);
static PayOperation *decided_operation(const PayContext *c);
static bool contradicts(const PayContext *c, const PayOperation *decided);
static bool needs_person(const PayOperation *operation);
static bool done_meanwhile(PayContext *c);
static bool apply_rule(PayContext *c);
static void pending(PayContext *c);
static void go_on(PayContext *c);
static void requires_action(PayContext *c);
static void no_page(PayPayment *payment);
static void retry_later(PayContext *c, const PayDeclineRule *rule);
static void not_sent(PayContext *c);
static void unknown(PayContext *c);
static void misconfigured(PayContext *c);
static void conflicted(PayContext *c);
static void key_is_unused(PayContext *c);
static void expire(PayContext *c);
static void wait_on(PayContext *c, const char *schedule, const char *action, const char *exhausted);

static PayStmt halt_psp = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp SET halted_at = $2, halted_reason = $3 WHERE psp = $1 AND halted_at IS NULL",
	TEXTOID, TIMESTAMPTZOID, TEXTOID);

void
pay_apply_outcome(PayContext *c)
{
	if (c->result.class == PAY_CLASS_CONFLICTED)
	{
		conflicted(c);
		return;
	}
	/* The rest speaks of an operation that is still open, or says nothing new. */
	if (c->operation == NULL || !pay_operation_is_open(c->operation))
		return;
	/* Before any rule lets a soft decline begin a new generation. */
	if (c->result.class == PAY_CLASS_DECLINED && pay_operation_is_first(c->operation) && pay_apply_ask_first(c))
		return;
	if (done_meanwhile(c) || apply_rule(c))
		return;
	if (needs_person(c->operation) && c->result.class != PAY_CLASS_DECLINED && c->result.class != PAY_CLASS_RETRY_LATER)
		return;
	switch (c->result.class)
	{
		case PAY_CLASS_PENDING:
			pending(c);
			break;
		case PAY_CLASS_REQUIRES_ACTION:
			requires_action(c);
			break;
		case PAY_CLASS_DECLINED:
		case PAY_CLASS_RETRY_LATER:
			pay_apply_declined(c, pay_apply_code(&c->result));
			break;
		case PAY_CLASS_NOT_SENT:
			not_sent(c);
			break;
		case PAY_CLASS_UNKNOWN:
		case PAY_CLASS_DUPLICATE:
			unknown(c);
			break;
		case PAY_CLASS_MISCONFIGURED:
			misconfigured(c);
			break;
		case PAY_CLASS_APPROVED:
		case PAY_CLASS_CONFLICTED:
			break;
	}
}

void
pay_apply_contradiction(PayContext *c)
{
	PayOperation *refused = refused_refund(c);
	PayOperation *decided = decided_operation(c);
	bool		failed = decided && strcmp(decided->status, "failed") == 0;

	tell_misnamed(c);
	if (refused)
		refund_made(c, refused);
	if (refused || decided == NULL || !contradicts(c, decided))
		return;
	pay_payment_exception(c->set, c->payment, decided, "conflicted",
						  c->result.object_id ? c->result.object_id : decided->psp_object_id,
						  c->result.amount > 0 ? c->result.amount : decided->amount,
						  failed ? "a person has decided that it did not happen, and the PSP says that it did; it is booked"
						  : "a person has decided that it happened, and the PSP says otherwise; what was booked on that word stands until somebody corrects it");
	count_applied(c);
}

/*
 * The refund that the word says was made, if it has failed by another: the PSP
 * had refused it, or a person has decided.  Not by the news that the object has
 * failed, which may be told before its success.  A line of the PSP's book names
 * no operation of ours that is over.
 */
static PayOperation *
refused_refund(const PayContext *c)
{
	const PayResult *r = &c->result;
	ListCell   *cell;

	if (r->class != PAY_CLASS_APPROVED || r->effect != PAY_EFFECT_REFUNDED ||
		pay_payment_moved(c->payment, "refund_undone", r->object_id) || pay_payment_moved(c->payment, "refund_failed", r->object_id))
		return NULL;
	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (o->kind != PAY_OP_REFUND || strcmp(o->status, "failed") != 0)
			continue;
		if (c->operation ? o == c->operation : r->psp_ref && strcmp(o->psp_ref, r->psp_ref) == 0 && o->amount == r->amount)
			return o;
	}
	return NULL;
}

/* Whoever was told that it had failed may have paid in another way. */
static void
refund_made(PayContext *c, PayOperation *refused)
{
	pay_payment_resolve_of(c->set, c->payment, "refund_failed", refused, "the PSP says that the refund was made after all");
	pay_payment_exception(c->set, c->payment, refused, "conflicted", c->result.object_id, c->result.amount,
						  pay_operation_was_decided(refused)
						  ? "a person has decided that it did not happen, and the PSP says that it did; it is booked"
						  : "the PSP had refused this refund, and says now that it was made; it is booked: who has paid in another way has paid twice");
	c->operation = refused;
	pay_apply_finish(c, "succeeded");
}

/* A person may have taken one refund's object for another's, when nobody else knew whose it is. */
static void
tell_misnamed(PayContext *c)
{
	const PayResult *r = &c->result;
	ListCell   *cell;

	if (r->class != PAY_CLASS_APPROVED || r->effect != PAY_EFFECT_REFUNDED || c->operation == NULL || c->operation->kind != PAY_OP_REFUND)
		return;
	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (o != c->operation && o->kind == PAY_OP_REFUND && strcmp(o->status, "succeeded") == 0 &&
			o->psp_object_id && strcmp(o->psp_object_id, r->object_id) == 0)
			pay_payment_exception(c->set, c->payment, o, "conflicted", r->object_id, o->amount,
								  "two refunds have succeeded under this one object: the PSP says that it is another's; look what became of this one");
	}
}

/* The one that the word is about, if a person has said how it ended; a webhook names the payment's first, and may mean its capture. */
static PayOperation *
decided_operation(const PayContext *c)
{
	ListCell   *cell;

	if (c->operation && pay_operation_is_open(c->operation))
		return NULL;
	if (c->operation && pay_operation_was_decided(c->operation))
		return c->operation;
	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (o->kind == PAY_OP_CAPTURE && !pay_operation_is_open(o) && pay_operation_was_decided(o))
			return o;
	}
	return NULL;
}

static bool
contradicts(const PayContext *c, const PayOperation *decided)
{
	const PayResult *r = &c->result;
	bool		other_object = r->object_id && decided->psp_object_id && strcmp(r->object_id, decided->psp_object_id) != 0;

	if (strcmp(decided->status, "failed") == 0)
	{
		/* Of the first one there is an after_cancel as well; of a capture it is known when another has made it; of a refund see above. */
		return r->class == PAY_CLASS_APPROVED && pay_apply_answers(decided, r->effect) && !pay_operation_is_first(decided) &&
			decided->kind != PAY_OP_REFUND && !(decided->kind == PAY_OP_CAPTURE && c->payment->captured > 0);
	}
	if (r->class == PAY_CLASS_DECLINED || r->class == PAY_CLASS_RETRY_LATER)
		return c->operation == decided && (!c->stale || c->report->source != PAY_SOURCE_WEBHOOK);
	if (r->class != PAY_CLASS_APPROVED)
		return false;
	if (r->effect == PAY_EFFECT_VOIDED)
		return !c->stale && (decided->kind == PAY_OP_CHARGE || decided->kind == PAY_OP_CAPTURE);
	/* Another charge or capture is a duplicate, which is told as such. */
	return decided->kind == PAY_OP_REFUND && other_object && (r->effect == PAY_EFFECT_REFUNDED || r->effect == PAY_EFFECT_REFUND_FAILED);
}

/*
 * Dead letters of a schedule's end say that the PSP has told nothing for long:
 * when it does, its word decides them and the operation goes on.  All others
 * wait for a person, or for the PSP's word that it is over.
 */
static bool
needs_person(const PayOperation *operation)
{
	static const char *const ran_out[] = {RAN_OUT_PENDING, RAN_OUT_ACTION, RAN_OUT_NOT_SENT, RAN_OUT_UNKNOWN, RAN_OUT_AUTHORIZED};

	if (operation->dead_letter == NULL)
		return false;
	for (size_t i = 0; i < lengthof(ran_out); i++)
		if (strcmp(operation->dead_letter, ran_out[i]) == 0)
			return false;
	return true;
}

/*
 * Another word has told that it was done, while this call was in flight: that
 * this one went nowhere, or found nothing yet, must not make us do it again.
 */
static bool
done_meanwhile(PayContext *c)
{
	PayClass	class = c->result.class;

	if (!pay_apply_done(c) ||
		(class != PAY_CLASS_DECLINED && class != PAY_CLASS_RETRY_LATER && class != PAY_CLASS_NOT_SENT &&
		 class != PAY_CLASS_DUPLICATE && !(class == PAY_CLASS_UNKNOWN && c->result.inquiry_found_nothing)))
		return false;
	pay_apply_finish(c, "succeeded");
	return true;
}

/* What the decline rules make of the PSP's codes: another class, or (true) the whole decision. */
static bool
apply_rule(PayContext *c)
{
	PayDeclineRule rule;

	if (c->result.class != PAY_CLASS_DECLINED || !pay_decline_rule(c->payment->adapter_name, c->result.codes, &rule))
		return false;
	if (rule.class == PAY_CLASS_RETRY_LATER)
	{
		retry_later(c, &rule);
		return true;
	}
	/* "misconfigured" of one card's decline must not stop the whole PSP. */
	if (rule.class == PAY_CLASS_DUPLICATE || rule.class == PAY_CLASS_NOT_SENT || rule.class == PAY_CLASS_UNKNOWN)
		c->result.class = rule.class;
	return false;
}

/* ---------- not yet ---------- */

static void
pending(PayContext *c)
{
	if (c->result.next_step > 0)
	{
		go_on(c);
		return;
	}
	if (pay_operation_is_first(c->operation) && pay_payment_can(c->payment, "proceed"))
		pay_payment_event(c->set, c->payment, "proceed", c->operation, c->source, NULL);
	c->operation->status = "processing";
	wait_on(c, "pending", "inquire", RAN_OUT_PENDING);
}

/*
 * The operation goes on with its next request, under a key of its own.  What an
 * event tells may be old, or come twice: it makes us ask, and the answer goes on.
 */
static void
go_on(PayContext *c)
{
	PayOperation *o = c->operation;

	if (c->result.next_step <= o->step || (pay_operation_is_first(o) && pay_apply_ask_first(c)))
		return;
	count_applied(c);
	if (c->report->source == PAY_SOURCE_WEBHOOK)
	{
		/* Its schedule had ended. */
		pay_operation_enqueue(c->set, o, "inquire", c->set->now);
		return;
	}
	if (pay_operation_is_first(o) && pay_payment_can(c->payment, "proceed"))
		pay_payment_event(c->set, c->payment, "proceed", o, c->source, NULL);
	c->payment->next_action_url = NULL;
	c->payment->failure_code = NULL;
	c->payment->failure_message = NULL;
	c->payment->dirty = true;
	o->step = c->result.next_step;
	o->status = "processing";
	o->key_used_at = 0;
	o->dirty = true;
	o->schedule = NULL;
	o->try = 0;
	pay_operation_enqueue(c->set, o, "send", c->set->now);
}

static void
requires_action(PayContext *c)
{
	PayPayment *d = c->payment;

	if (pay_operation_is_first(c->operation) && pay_payment_can(d, "require_action"))
		pay_payment_event(c->set, d, "require_action", c->operation, c->source, NULL);
	if (c->result.next_action_url)
	{
		d->next_action_url = c->result.next_action_url;
		d->dirty = true;
	}
	/* Told late, it says nothing of a payment that has gone on. */
	else if (strcmp(d->status, "requires_action") == 0 && d->next_action_url == NULL && d->return_url == NULL)
		no_page(d);
	c->operation->status = "requires_action";
	wait_on(c, "requires_action", "inquire", RAN_OUT_ACTION);
}

/* Nobody can confirm it, and it would wait until its schedule ends: whoever asks what became of it is told. */
static void
no_page(PayPayment *payment)
{
	payment->failure_code = "return_url_missing";
	payment->failure_message = "the payer must confirm, and without return_url the PSP has no page for it: cancel_payment(), and create it anew under another key, with return_url";
	payment->dirty = true;
}

/* ---------- no ---------- */

void
pay_apply_declined(PayContext *c, const char *code)
{
	PayPayment *d = c->payment;

	count_applied(c);
	if (c->report->source != PAY_SOURCE_PERSON)
		pay_reattempt_declined(c->set, d, c->operation, &c->result);
	c->operation->failure_code = code;
	c->operation->failure_message = c->result.message;
	switch (c->operation->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			d->failure_code = code;
			d->failure_message = c->result.message;
			pay_payment_event(c->set, d, "decline", c->operation, c->source, code);
			break;
		case PAY_OP_CAPTURE:
			pay_payment_release(d, c->operation);
			break;
		case PAY_OP_REFUND:
			pay_payment_release(d, c->operation);
			pay_payment_exception(c->set, d, c->operation, "refund_failed", c->result.object_id, c->operation->amount,
								  "the PSP refused the refund; pay the customer in another way");
			break;
		case PAY_OP_PAYOUT:
		case PAY_OP_VOID:
		case PAY_OP_EXPIRE:
			break;
	}
	pay_apply_finish(c, "failed");
	/* The authorization may have expired while a capture was in doubt. */
	if (c->operation->kind == PAY_OP_CAPTURE)
		pay_apply_lapse(c);
}

/* A soft decline: tried again later under a new key, but only when no customer stands waiting. */
static void
retry_later(PayContext *c, const PayDeclineRule *rule)
{
	PayOperation *o = c->operation;
	const char *schedule = rule->schedule ? rule->schedule : "soft_decline";
	const char *code = pay_apply_code(&c->result);
	TimestampTz due;
	int			try = o->generation;	/* each soft decline began a new one */
	const char *refusal;

	if (pay_operation_is_first(o) && !needs_person(o) && pay_fall_back(c, "soft_decline"))
		return;
	/* Who has asked for a cancellation wants no further try. */
	if (!pay_operation_is_first(o) || !c->payment->off_session || needs_person(o) || !pay_payment_can(c->payment, "soft_decline") ||
		pay_payment_open_operation(c->payment, PAY_OP_VOID) ||
		!pay_retry_next(schedule, c->payment->psp, try, c->result.retry_after_ms, c->set->now, &due))
	{
		pay_apply_declined(c, code);
		return;
	}
	pay_reattempt_declined(c->set, c->payment, o, &c->result);
	refusal = pay_reattempt_refusal(c->set, c->payment, o);
	if (refusal)
	{
		c->result.message = refusal;
		pay_apply_declined(c, PAY_REATTEMPT_CODE);
		return;
	}
	count_applied(c);
	pay_payment_event(c->set, c->payment, "soft_decline", o, c->source, code);
	c->payment->failure_code = code;
	c->payment->failure_message = c->result.message;
	c->payment->psp_payment_id = NULL;
	o->psp_object_id = NULL;
	o->status = "awaiting_retry";
	o->generation++;
	o->step = 1;
	o->key_used_at = 0;
	o->failure_code = code;
	o->failure_message = c->result.message;
	o->dirty = true;
	o->schedule = schedule;
	o->try = try;
	pay_operation_enqueue(c->set, o, "send", due);
}

/* ---------- not at all, or nobody knows ---------- */

static void
not_sent(PayContext *c)
{
	/* Only the answer to what we sent says that it went nowhere, and nothing of an earlier call: stay in doubt. */
	if (c->report->source != PAY_SOURCE_ANSWER || strcmp(c->operation->status, "in_doubt") == 0)
	{
		unknown(c);
		return;
	}
	if (pay_operation_is_first(c->operation) && pay_payment_can(c->payment, "defer"))
		pay_payment_event(c->set, c->payment, "defer", c->operation, c->source, pay_apply_code(&c->result));
	c->operation->status = "awaiting_retry";
	key_is_unused(c);
	count_applied(c);
	wait_on(c, "not_sent", "send", RAN_OUT_NOT_SENT);
}

static void
unknown(PayContext *c)
{
	PayOperation *o = c->operation;

	if (o->lost >= LOST_MAX)
	{
		/* Whatever makes the worker die should not do so for ever. */
		o->status = "in_doubt";
		o->dirty = true;
		if (pay_operation_is_first(o) && pay_payment_can(c->payment, "doubt"))
			pay_payment_event(c->set, c->payment, "doubt", o, c->source, NULL);
		pay_operation_bury(o, "worker_died", "the worker ended again and again while this operation was in flight");
		count_applied(c);
		return;
	}
	/* Of a step that was never sent there is nothing to be found: an event had made us ask. */
	if (c->report->source == PAY_SOURCE_INQUIRY && c->result.inquiry_found_nothing && o->step > 1 && o->key_used_at == 0)
	{
		pay_operation_enqueue(c->set, o, "send", c->set->now);
		return;
	}
	/* An inquiry that fails changes nothing but when the next one comes. */
	if (c->report->source == PAY_SOURCE_INQUIRY && strcmp(o->status, "in_doubt") != 0)
	{
		wait_on(c, o->schedule ? o->schedule : "unknown", "inquire", RAN_OUT_UNKNOWN);
		return;
	}
	if (c->report->source == PAY_SOURCE_INQUIRY && c->result.inquiry_found_nothing)
	{
		pay_apply_resend(c);
		return;
	}
	if (pay_operation_is_first(o) && pay_payment_can(c->payment, "doubt"))
		pay_payment_event(c->set, c->payment, "doubt", o, c->source, pay_apply_code(&c->result));
	o->status = "in_doubt";
	count_applied(c);
	wait_on(c, "unknown", "inquire", RAN_OUT_UNKNOWN);
}

/*
 * The PSP knows nothing of it yet.  That is no proof, but while the PSP surely
 * honours the key, the same key and bytes either replay the first answer or do
 * it once.  Past that horizon only asking is safe.
 */
void
pay_apply_resend(PayContext *c)
{
	PayOperation *o = c->operation;
	const PayAdapter *adapter = c->payment->adapter;
	TimestampTz horizon = o->key_used_at + (TimestampTz) (adapter ? pay_psp_key_valid_s(adapter, o->kind) : 0) * USECS_PER_SEC;

	if (pay_apply_done(c))
	{
		pay_apply_finish(c, "succeeded");
		return;
	}
	o->status = "in_doubt";
	o->dirty = true;
	count_applied(c);
	wait_on(c, "unknown", o->key_used_at != 0 && c->set->now < horizon ? "send" : "inquire", RAN_OUT_UNKNOWN);
	/* Asking came first; the resend need not wait, only count as a try. */
	if (o->queued && strcmp(o->action, "send") == 0)
		pay_operation_enqueue(c->set, o, "send", c->set->now);
}

/* Its time is over by our clock, and the PSP holds it still. */
void
pay_apply_ask_again(PayContext *c)
{
	c->operation->status = "processing";
	wait_on(c, "authorization", "inquire", RAN_OUT_AUTHORIZED);
}

/* Nothing will pass until a person acts: stop the PSP, keep the operation. */
static void
misconfigured(PayContext *c)
{
	PayArgs		args = {0};
	PayOperation *o = c->operation;
	const char *code = pay_apply_code(&c->result);
	int			status = c->report->http_status;

	pay_arg_text(&args, c->payment->psp);
	pay_arg_time(&args, c->set->now);
	pay_arg_text(&args, psprintf("the PSP refused our credentials: %s%s%s%s%s",
								 status > 0 ? psprintf("HTTP status %d", status) : "",
								 status > 0 && code ? ", " : "", code ? code : status > 0 ? "" : "it did not say why",
								 c->result.message ? ": " : "", c->result.message ? c->result.message : ""));
	pay_spi_exec(&halt_psp, &args);
	count_applied(c);

	if (pay_apply_done(c))
	{
		pay_apply_finish(c, "succeeded");
		return;
	}
	if (strcmp(o->status, "in_doubt") != 0 && c->report->source == PAY_SOURCE_ANSWER)
	{
		if (pay_operation_is_first(o) && pay_payment_can(c->payment, "defer"))
			pay_payment_event(c->set, c->payment, "defer", o, c->source, code);
		o->status = "awaiting_retry";
		key_is_unused(c);
	}
	pay_operation_enqueue(c->set, o, o->action, c->set->now + MISCONFIGURED_RETRY_MS * 1000);
}

static void
conflicted(PayContext *c)
{
	PayOperation *o = c->operation;

	count_applied(c);
	pay_payment_exception(c->set, c->payment, o, "conflicted", c->result.object_id, c->result.amount,
						  c->conflict ? c->conflict : c->result.message ? c->result.message : "the PSP's answer differs from what was asked in amount or currency; look at the PSP's dashboard");
	if (o == NULL || !pay_operation_is_open(o))
		return;
	/* As in pay_apply_money(): in flight, its own answer decides; waiting, it must not be sent once more. */
	if (c->stale && o->claimed_by != NULL)
		return;
	if (o->kind == PAY_OP_CAPTURE && pay_apply_done(c))
	{
		/* Somebody else's, in another amount than we asked for, and known already. */
		o->failure_code = "captured_otherwise";
		pay_apply_finish(c, "failed");
		return;
	}
	if (pay_apply_done(c))
	{
		/* What contradicts it is told; nothing is left that could be sent. */
		pay_operation_finish(c->set, o, "succeeded", c->source);
		return;
	}
	if (pay_operation_is_first(o) && pay_payment_can(c->payment, "doubt"))
		pay_payment_event(c->set, c->payment, "doubt", o, c->source, "conflicted");
	o->status = "in_doubt";
	o->failure_code = "conflicted";
	o->dirty = true;
	pay_operation_bury(o, "conflicted", "the PSP's answer differs from what was asked in amount or currency");
}

/* ---------- common steps ---------- */

/*
 * Our send was certainly not processed, and no earlier one of the generation
 * is in doubt: however long it takes, the next is as good as the first.
 */
static void
key_is_unused(PayContext *c)
{
	c->operation->key_used_at = 0;
	c->operation->dirty = true;
}

void
pay_apply_finish(PayContext *c, const char *status)
{
	if (c->result.object_id)
		c->operation->psp_object_id = c->result.object_id;
	if (strcmp(status, "succeeded") == 0)
	{
		c->operation->failure_code = NULL;
		c->operation->failure_message = NULL;
	}
	pay_operation_finish(c->set, c->operation, status, c->source);
	count_applied(c);
}

const char *
pay_ran_out(const char *schedule)
{
	return strcmp(schedule, "pending") == 0 ? RAN_OUT_PENDING : strcmp(schedule, "requires_action") == 0 ? RAN_OUT_ACTION : RAN_OUT_UNKNOWN;
}

/* The payer has not come, and without them nothing moves. */
static void
expire(PayContext *c)
{
	c->payment->next_action_url = NULL;
	pay_payment_event(c->set, c->payment, "expire", c->operation, c->source, NULL);
	pay_apply_finish(c, "cancelled");
}

/* Sets the next look by schedule; past its end the operation is a dead letter. */
static void
wait_on(PayContext *c, const char *schedule, const char *action, const char *exhausted)
{
	PayOperation *o = c->operation;
	TimestampTz due;

	o->dirty = true;
	if (c->result.object_id && o->psp_object_id == NULL)
		o->psp_object_id = c->result.object_id;
	/* While a call is in flight its own answer will set the time. */
	if (c->claimed_elsewhere)
		return;
	if (c->result.too_many && o->refused <= TOO_MANY_MAX)
	{
		/* We were too fast: that is no try. */
		int			delay_ms = TOO_MANY_RETRY_MS << Min(Max(o->refused - 1, 0), TOO_MANY_DOUBLINGS);

		pay_operation_enqueue(c->set, o, action, c->set->now + Max(c->result.retry_after_ms, delay_ms) * INT64CONST(1000));
		return;
	}
	if (c->report->again_ms > 0)
	{
		/* We could not call it: that is no try either. */
		pay_operation_enqueue(c->set, o, action, c->set->now + (TimestampTz) c->report->again_ms * 1000);
		return;
	}
	if (o->schedule == NULL || strcmp(o->schedule, schedule) != 0)
	{
		o->schedule = schedule;
		o->try = 0;
	}
	o->try++;
	if (!c->result.too_many && pay_retry_next(schedule, c->payment->psp, o->try, c->result.retry_after_ms, c->set->now, &due))
		pay_operation_enqueue(c->set, o, action, due);
	else if (pay_payment_waits_between_steps(c->payment))
		expire(c);
	else if (strcmp(exhausted, RAN_OUT_NOT_SENT) != 0 || !pay_fall_back(c, "not_sent"))
	{
		pay_operation_bury(o, exhausted, c->report->error && c->report->error[0] ? c->report->error : c->result.message);
		count_applied(c);
	}
}
