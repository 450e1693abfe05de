/*
 * src/payment/apply.c
 *		apply_psp_result(): the one door for every word of a PSP.
 *
 * An API answer, an inquiry, a webhook, a settlement line: each is a PayReport, and all are
 * decided here, under the lock of the payment they speak of.  Three rules:
 *
 * 1. Money is what the PSP's objects say, once each.  A movement row is unique
 *	  on (psp, object id, kind), so hearing of it again changes nothing, from
 *	  whichever side it comes and in whichever order.
 * 2. Unknown is a state.  What is not a definite yes or no leaves the
 *	  operation in doubt, and doubt is left by inquiry, never by a guess.
 * 3. A late word from a worker whose lease is gone counts only if it says that
 *	  money moved, in the amount we asked for or in another.
 *
 * A crash before the commit leaves everything as it was, with the lease still
 * held; recovery then treats the operation as in doubt.
 *
 * ci: long file because what each class and each effect does to a payment is
 * to be read, and reviewed, as one.
 */
#include "payments.h"

#include "payment/apply.h"
#include "base/money.h"
#include "base/pan.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/payment.h"
#include "payment/retry.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Stored per answer; enough for people to see what the PSP wrote. */
#define ANSWER_BYTES_KEPT 8192

/* Until a halted PSP is resumed its operations are looked at no more often than this. */
#define MISCONFIGURED_RETRY_MS 60000

/* Leases lost in a row before an operation is taken for poison. */
#define LOST_MAX 20

/* What a decision is made on. */
typedef struct PayContext
{
	PayPayments *set;
	PayPayment *payment;
	PayOperation *operation;	/* NULL: the PSP did something we did not ask for */
	PayReport  *report;
	PayResult	result;			/* amounts in ISO minor units */
	const char *source;
	bool		stale;			/* from a worker that has lost its lease */
	bool		claimed_elsewhere;	/* a webhook, while a call is in flight */
} PayContext;

static void locate(PayReport *report);
static void apply_one(PayPayments *set, PayReport *report);
static const char *source_name(PaySource source);
static PayOperation *operation_completed(const PayContext *c);
static void keep_answer(PayContext *c);
static bool rescale(PayContext *c);
static bool disagrees(PayContext *c);
static void decide(PayContext *c);
static void approved(PayContext *c);
static void authorized(PayContext *c);
static bool captured(PayContext *c);
static void fee(PayContext *c);
static bool fee_is_known(const PayContext *c);
static bool fee_is_missing(PayContext *c);
static void ask_for_fee(PayContext *c);
static void voided(PayContext *c);
static void refunded(PayContext *c);
static void refund_failed(PayContext *c);
static void disputed(PayContext *c);
static void dispute_won(PayContext *c);
static void pending(PayContext *c);
static void requires_action(PayContext *c);
static void declined(PayContext *c, const char *code);
static void retry_later(PayContext *c, const PayDeclineRule *rule);
static void not_sent(PayContext *c);
static void unknown(PayContext *c);
static void resend(PayContext *c);
static void misconfigured(PayContext *c);
static void conflicted(PayContext *c);
static void finish(PayContext *c, const char *status);
static void wait_on(PayContext *c, const char *schedule, const char *action, const char *exhausted);
static bool is_first(const PayOperation *operation);
static bool answers(const PayOperation *operation, PayEffect effect);
static const char *first_code(const PayResult *result);
static void count_applied(PayContext *c);

static PayStmt find_by_operation = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id, operation_id FROM payments.operation WHERE operation_id = $1", UUIDOID);
static PayStmt find_by_ref = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id, operation_id FROM payments.operation WHERE psp_ref = $1 AND psp = $2", TEXTOID, TEXTOID);
static PayStmt find_by_psp_payment = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id FROM payments.payment WHERE psp = $1 AND psp_payment_id = $2", TEXTOID, TEXTOID);
static PayStmt halt_psp = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp SET halted_at = $2, halted_reason = $3 WHERE psp = $1 AND halted_at IS NULL",
	TEXTOID, TIMESTAMPTZOID, TEXTOID);

void
pay_apply(PayReport *reports, int n, bool wait, TimestampTz now, const char *actor)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * Max(n, 1));
	int			found = 0;
	PayPayments *set;

	for (int i = 0; i < n; i++)
	{
		locate(&reports[i]);
		if (reports[i].outcome != PAY_OUTCOME_UNMATCHED)
			ids[found++] = reports[i].payment_id;
	}
	if (found == 0)
		return;
	set = wait ? pay_payments_load(ids, found, now, actor) : pay_payments_load_skipping_locked(ids, found, now, actor);
	for (int i = 0; i < n; i++)
		if (reports[i].outcome != PAY_OUTCOME_UNMATCHED)
			apply_one(set, &reports[i]);
	pay_payments_save(set);
	if (set->wake)
		pay_wake_at_commit();
}

/* Which payment does it speak of?  Fills payment_id and, where known, operation_id. */
static void
locate(PayReport *report)
{
	PayArgs		args = {0};
	PayArgs		by_payment = {0};

	report->outcome = PAY_OUTCOME_NO_EFFECT;
	if (report->payment_known)
		return;
	report->outcome = PAY_OUTCOME_UNMATCHED;
	if (report->source != PAY_SOURCE_WEBHOOK)
	{
		pay_arg_uuid(&args, &report->operation_id);
		if (pay_spi_exec(&find_by_operation, &args) == 0)
			return;
		report->payment_id = pay_spi_uuid(0, 1);
		report->outcome = PAY_OUTCOME_NO_EFFECT;
		return;
	}
	memset(&report->operation_id, 0, sizeof(pg_uuid_t));
	if (report->result.psp_ref)
	{
		pay_arg_text(&args, report->result.psp_ref);
		pay_arg_text(&args, report->psp);
		if (pay_spi_exec(&find_by_ref, &args) == 1)
		{
			report->payment_id = pay_spi_uuid(0, 1);
			report->operation_id = pay_spi_uuid(0, 2);
			report->outcome = PAY_OUTCOME_NO_EFFECT;
			return;
		}
	}
	if (report->result.psp_payment_id == NULL)
		return;
	pay_arg_text(&by_payment, report->psp);
	pay_arg_text(&by_payment, report->result.psp_payment_id);
	if (pay_spi_exec(&find_by_psp_payment, &by_payment) == 1)
	{
		report->payment_id = pay_spi_uuid(0, 1);
		report->outcome = PAY_OUTCOME_NO_EFFECT;
	}
}

static void
apply_one(PayPayments *set, PayReport *report)
{
	PayContext	c = {0};

	c.set = set;
	c.report = report;
	c.result = report->result;
	c.source = source_name(report->source);
	c.payment = pay_payments_find(set, &report->payment_id);
	if (c.payment == NULL)
	{
		report->outcome = PAY_OUTCOME_LOCKED;
		return;
	}
	c.operation = pay_payment_operation(c.payment, &report->operation_id);

	if (report->source == PAY_SOURCE_WEBHOOK)
	{
		/* A PaymentIntent's metadata names its charge; the effect says which of our operations it answers. */
		PayOperation *capture = pay_payment_open_operation(c.payment, PAY_OP_CAPTURE);
		PayOperation *cancel = pay_payment_open_operation(c.payment, PAY_OP_VOID);

		if (c.result.effect == PAY_EFFECT_CAPTURED && capture)
			c.operation = capture;
		if (c.result.effect == PAY_EFFECT_VOIDED && cancel)
			c.operation = cancel;
		c.claimed_elsewhere = c.operation && c.operation->claimed_by != NULL;
		/* Bad news of an earlier generation is no news. */
		c.stale = c.operation && c.result.generation > 0 && c.result.generation < c.operation->generation;
	}
	else if (report->source == PAY_SOURCE_SETTLEMENT)
	{
		c.operation = operation_completed(&c);
		c.claimed_elsewhere = c.operation && c.operation->claimed_by != NULL;
	}
	else
	{
		c.stale = c.operation == NULL || !c.operation->queued || c.operation->claimed_by == NULL ||
			c.operation->queue_attempt != report->attempt;
		keep_answer(&c);
		if (c.operation && !c.stale)
			c.operation->lost = report->lease_lost ? c.operation->lost + 1 : 0;
	}
	if (!rescale(&c) || disagrees(&c))
		c.result.class = PAY_CLASS_CONFLICTED;
	if (!c.stale || c.result.class == PAY_CLASS_APPROVED || c.result.class == PAY_CLASS_CONFLICTED)
		decide(&c);
	report->status = c.payment->status;
}

static const char *
source_name(PaySource source)
{
	switch (source)
	{
		case PAY_SOURCE_ANSWER:
			return "answer";
		case PAY_SOURCE_INQUIRY:
			return "inquiry";
		case PAY_SOURCE_WEBHOOK:
			return "webhook";
		case PAY_SOURCE_SETTLEMENT:
			return "settlement";
	}
	return NULL;
}

/*
 * Settlement lines name the payment, not our operation on it.  The object that
 * they are about may be known from an answer; else it is that of an operation
 * which waits for such an effect, of a refund only in the same amount.
 */
static PayOperation *
operation_completed(const PayContext *c)
{
	PayOperation *waiting = NULL;
	ListCell   *cell;

	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (!answers(o, c->result.effect) || !pay_operation_is_open(o))
			continue;
		if (o->psp_object_id && c->result.object_id && strcmp(o->psp_object_id, c->result.object_id) == 0)
			return o;
		if (o->kind == PAY_OP_REFUND && (o->psp_object_id != NULL || o->amount != c->result.amount || o->claimed_by != NULL))
			continue;
		if (waiting == NULL || o->kind == PAY_OP_CAPTURE)
			waiting = o;
	}
	return waiting;
}

/* The answer is a row of its own, whatever comes of it. */
static void
keep_answer(PayContext *c)
{
	PayAttemptAnswer *answer = palloc0(sizeof(PayAttemptAnswer));
	PayReport  *report = c->report;
	size_t		bytes = Min(report->body_bytes, ANSWER_BYTES_KEPT);

	answer->operation_id = report->operation_id;
	answer->attempt = report->attempt;
	answer->class = pay_class_name(c->result.class);
	answer->code = first_code(&c->result);
	answer->http_status = report->http_status;
	answer->request_id = report->request_id && report->request_id[0] ? report->request_id : NULL;
	answer->error = report->error && report->error[0] ? report->error : NULL;
	answer->elapsed_ms = report->elapsed_ms;
	answer->late = c->stale;
	if (report->body && bytes > 0)
	{
		answer->body = (bytea *) cstring_to_text_with_len(report->body, (int) bytes);
		pay_pan_mask(VARDATA(answer->body), bytes);
	}
	c->set->answers = lappend(c->set->answers, answer);
}

/* From the PSP's units to ours; false when the amounts do not translate. */
static bool
rescale(PayContext *c)
{
	int			to = c->payment->exponent;
	int			from = c->report->source == PAY_SOURCE_SETTLEMENT ? to : c->payment->psp_exponent;

	if (c->result.amount != 0 && !pay_money_rescale(c->result.amount, from, to, &c->result.amount))
		return false;
	/* A fee in a currency that is not the payment's is left to reconciliation. */
	if (c->result.fee != 0 && (c->result.fee_currency == NULL || strcmp(c->result.fee_currency, c->payment->currency) != 0 ||
							   !pay_money_rescale(c->result.fee, from, to, &c->result.fee)))
		c->result.fee = 0;
	return true;
}

/* An approval in another currency, or of more than was asked, is neither yes nor no. */
static bool
disagrees(PayContext *c)
{
	const PayResult *r = &c->result;

	if (r->class != PAY_CLASS_APPROVED)
		return false;
	if (r->currency && strcmp(r->currency, c->payment->currency) != 0)
		return true;
	switch (r->effect)
	{
		case PAY_EFFECT_AUTHORIZED:
			return r->amount != c->payment->amount || r->object_id == NULL;
		case PAY_EFFECT_CAPTURED:
			if (r->amount <= 0 || r->amount > c->payment->amount || r->object_id == NULL)
				return true;
			return c->operation && answers(c->operation, r->effect) && is_first(c->operation) &&
				c->operation->kind == PAY_OP_CHARGE && r->amount != c->operation->amount;
		case PAY_EFFECT_REFUNDED:
			return r->amount <= 0 || r->object_id == NULL ||
				(c->operation && c->operation->kind == PAY_OP_REFUND && r->amount != c->operation->amount);
		case PAY_EFFECT_DISPUTED:
			return r->amount <= 0 || r->object_id == NULL;
		case PAY_EFFECT_REFUND_FAILED:
		case PAY_EFFECT_DISPUTE_WON:
			return r->object_id == NULL;
		case PAY_EFFECT_NONE:
		case PAY_EFFECT_VOIDED:
			return false;
	}
	return false;
}

static void
decide(PayContext *c)
{
	PayDeclineRule rule;

	/* Ids the PSP gave are worth keeping whatever it said, for the next inquiry. */
	if (c->result.psp_payment_id && c->operation && is_first(c->operation) && !c->stale &&
		(c->payment->psp_payment_id == NULL || strcmp(c->payment->psp_payment_id, c->result.psp_payment_id) != 0))
	{
		c->payment->psp_payment_id = c->result.psp_payment_id;
		c->payment->dirty = true;
	}
	switch (c->result.class)
	{
		case PAY_CLASS_APPROVED:
			approved(c);
			return;
		case PAY_CLASS_CONFLICTED:
			conflicted(c);
			return;
		case PAY_CLASS_PENDING:
		case PAY_CLASS_REQUIRES_ACTION:
		case PAY_CLASS_DECLINED:
		case PAY_CLASS_RETRY_LATER:
		case PAY_CLASS_NOT_SENT:
		case PAY_CLASS_UNKNOWN:
		case PAY_CLASS_MISCONFIGURED:
		case PAY_CLASS_DUPLICATE:
			break;
	}

	/* The rest speaks of an operation that is still open, or says nothing new. */
	if (c->operation == NULL || !pay_operation_is_open(c->operation))
		return;
	if (c->result.class == PAY_CLASS_DECLINED && pay_decline_rule(c->payment->adapter_name, c->result.codes, &rule))
	{
		/* "misconfigured" of one card's decline must not stop the whole PSP. */
		if (rule.class == PAY_CLASS_RETRY_LATER)
		{
			retry_later(c, &rule);
			return;
		}
		if (rule.class == PAY_CLASS_DUPLICATE || rule.class == PAY_CLASS_NOT_SENT || rule.class == PAY_CLASS_UNKNOWN)
			c->result.class = rule.class;
	}
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
			declined(c, first_code(&c->result));
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

/* ---------- yes ---------- */

static void
approved(PayContext *c)
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
	if (answers(c->operation, c->result.effect) && fee_is_missing(c))
		ask_for_fee(c);
	else if (answers(c->operation, c->result.effect))
		finish(c, "succeeded");
	else if (c->report->source == PAY_SOURCE_INQUIRY && !c->stale)
		resend(c);				/* the PSP knows the payment, but not this operation */
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
		finish(c, "succeeded");
		return;
	}
	o->status = "processing";
	o->dirty = true;
	o->schedule = "pending";
	o->try = 0;
	pay_operation_schedule(c->set, o, "inquire", c->set->now);
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
			continue;			/* approved() finishes it */
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
	const char *code = first_code(&c->result);

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
		declined(c, code);
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
	pay_payment_event(c->set, d, "dispute", NULL, c->source, first_code(&c->result));
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

/* ---------- not yet ---------- */

static void
pending(PayContext *c)
{
	if (is_first(c->operation) && pay_payment_can(c->payment, "proceed"))
		pay_payment_event(c->set, c->payment, "proceed", c->operation, c->source, NULL);
	c->operation->status = "processing";
	wait_on(c, "pending", "inquire", "pending_too_long");
}

static void
requires_action(PayContext *c)
{
	PayPayment *d = c->payment;

	if (is_first(c->operation) && pay_payment_can(d, "require_action"))
		pay_payment_event(c->set, d, "require_action", c->operation, c->source, NULL);
	if (c->result.next_action_url)
	{
		d->next_action_url = c->result.next_action_url;
		d->dirty = true;
	}
	c->operation->status = "requires_action";
	wait_on(c, "requires_action", "inquire", "action_never_came");
}

/* ---------- no ---------- */

static void
declined(PayContext *c, const char *code)
{
	PayPayment *d = c->payment;

	count_applied(c);
	c->operation->failure_code = code;
	c->operation->failure_message = c->result.message;
	switch (c->operation->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			if (!pay_payment_can(d, "decline"))
				break;			/* paid already: the inquiry was about the fee */
			d->failure_code = code;
			d->failure_message = c->result.message;
			pay_payment_event(c->set, d, "decline", c->operation, c->source, code);
			break;
		case PAY_OP_CAPTURE:
			d->capture_pending -= c->operation->amount;
			d->dirty = true;
			break;
		case PAY_OP_REFUND:
			d->refund_pending -= c->operation->amount;
			d->dirty = true;
			pay_payment_exception(c->set, d, c->operation, "refund_failed", NULL, c->operation->amount,
								  "the PSP refused the refund; pay the customer in another way");
			break;
		case PAY_OP_VOID:
			break;
	}
	finish(c, "failed");
}

/* A soft decline: tried again later under a new key, but only when no customer stands waiting. */
static void
retry_later(PayContext *c, const PayDeclineRule *rule)
{
	PayOperation *o = c->operation;
	const char *schedule = rule->schedule ? rule->schedule : "soft_decline";
	const char *code = first_code(&c->result);
	TimestampTz due;
	int			try = o->generation;	/* each soft decline began a new one */

	if (!is_first(o) || !c->payment->off_session || !pay_payment_can(c->payment, "soft_decline") ||
		!pay_retry_next(schedule, c->payment->psp, try, c->result.retry_after_ms, c->set->now, &due))
	{
		declined(c, code);
		return;
	}
	count_applied(c);
	pay_payment_event(c->set, c->payment, "soft_decline", o, c->source, code);
	c->payment->failure_code = code;
	c->payment->failure_message = c->result.message;
	c->payment->psp_payment_id = NULL;
	o->status = "awaiting_retry";
	o->generation++;
	o->first_sent_at = 0;
	o->failure_code = code;
	o->failure_message = c->result.message;
	o->dirty = true;
	o->schedule = schedule;
	o->try = try;
	pay_operation_schedule(c->set, o, "send", due);
}

/* ---------- not at all, or nobody knows ---------- */

static void
not_sent(PayContext *c)
{
	/* That this call went nowhere says nothing of an earlier one: stay in doubt. */
	if (c->report->source == PAY_SOURCE_INQUIRY || strcmp(c->operation->status, "in_doubt") == 0)
	{
		unknown(c);
		return;
	}
	if (is_first(c->operation) && pay_payment_can(c->payment, "defer"))
		pay_payment_event(c->set, c->payment, "defer", c->operation, c->source, first_code(&c->result));
	c->operation->status = "awaiting_retry";
	count_applied(c);
	wait_on(c, "not_sent", "send", "psp_unreachable");
}

static void
unknown(PayContext *c)
{
	PayOperation *o = c->operation;

	/* An inquiry that fails changes nothing but when the next one comes. */
	if (o->lost >= LOST_MAX)
	{
		/* Whatever makes the worker die should not do so for ever. */
		o->status = "in_doubt";
		o->dirty = true;
		if (is_first(o) && pay_payment_can(c->payment, "doubt"))
			pay_payment_event(c->set, c->payment, "doubt", o, c->source, NULL);
		pay_operation_bury(o, "worker_died", "the worker ended again and again while this operation was in flight");
		count_applied(c);
		return;
	}
	if (c->report->source == PAY_SOURCE_INQUIRY && strcmp(o->status, "in_doubt") != 0)
	{
		wait_on(c, o->schedule ? o->schedule : "unknown", "inquire", "outcome_unknown");
		return;
	}
	if (c->report->source == PAY_SOURCE_INQUIRY && c->result.inquiry_found_nothing)
	{
		resend(c);
		return;
	}
	if (is_first(o) && pay_payment_can(c->payment, "doubt"))
		pay_payment_event(c->set, c->payment, "doubt", o, c->source, first_code(&c->result));
	o->status = "in_doubt";
	count_applied(c);
	wait_on(c, "unknown", "inquire", "outcome_unknown");
}

/*
 * The PSP knows nothing of it yet.  That is no proof, but while the PSP surely
 * honours the key, the same key and bytes either replay the first answer or do
 * it once.  Past that horizon only asking is safe.
 */
static void
resend(PayContext *c)
{
	PayOperation *o = c->operation;
	const PayAdapter *adapter = c->payment->adapter;
	TimestampTz horizon = o->first_sent_at + (TimestampTz) (adapter ? adapter->key_valid_s : 0) * USECS_PER_SEC;

	o->status = "in_doubt";
	o->dirty = true;
	count_applied(c);
	wait_on(c, "unknown", o->first_sent_at != 0 && c->set->now < horizon ? "send" : "inquire", "outcome_unknown");
	/* Asking came first; the resend need not wait, only count as a try. */
	if (o->queued && strcmp(o->action, "send") == 0)
		pay_operation_schedule(c->set, o, "send", c->set->now);
}

/* Nothing will pass until a person acts: stop the PSP, keep the operation. */
static void
misconfigured(PayContext *c)
{
	PayArgs		args = {0};
	PayOperation *o = c->operation;
	const char *code = first_code(&c->result);

	pay_arg_text(&args, c->payment->psp);
	pay_arg_time(&args, c->set->now);
	pay_arg_text(&args, code ? code : "the PSP refused our credentials");
	pay_spi_exec(&halt_psp, &args);
	count_applied(c);

	if (strcmp(o->status, "in_doubt") != 0 && c->report->source == PAY_SOURCE_ANSWER)
	{
		if (is_first(o) && pay_payment_can(c->payment, "defer"))
			pay_payment_event(c->set, c->payment, "defer", o, c->source, code);
		o->status = "awaiting_retry";
		o->dirty = true;
	}
	pay_operation_schedule(c->set, o, o->action, c->set->now + MISCONFIGURED_RETRY_MS * 1000);
}

static void
conflicted(PayContext *c)
{
	PayOperation *o = c->operation;

	count_applied(c);
	pay_payment_exception(c->set, c->payment, o, "conflicted", c->result.object_id, c->result.amount,
						  "the PSP's answer differs from what was asked in amount or currency; look at the PSP's dashboard");
	if (o == NULL || !pay_operation_is_open(o))
		return;
	/* As in approved(): in flight, its own answer decides; waiting, it must not be sent once more. */
	if (c->stale && o->claimed_by != NULL)
		return;
	if (is_first(o) && pay_payment_can(c->payment, "doubt"))
		pay_payment_event(c->set, c->payment, "doubt", o, c->source, "conflicted");
	o->status = "in_doubt";
	o->failure_code = "conflicted";
	o->dirty = true;
	pay_operation_bury(o, "conflicted", "the PSP's answer differs from what was asked in amount or currency");
}

/* ---------- common steps ---------- */

static void
finish(PayContext *c, const char *status)
{
	if (c->result.object_id)
		c->operation->psp_object_id = c->result.object_id;
	if (strcmp(status, "succeeded") == 0)
	{
		c->operation->failure_code = NULL;
		c->operation->failure_message = NULL;
	}
	pay_operation_finish(c->set, c->operation, status);
	count_applied(c);
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
	if (o->schedule == NULL || strcmp(o->schedule, schedule) != 0)
	{
		o->schedule = schedule;
		o->try = 0;
	}
	o->try++;
	if (pay_retry_next(schedule, c->payment->psp, o->try, c->result.retry_after_ms, c->set->now, &due))
		pay_operation_schedule(c->set, o, action, due);
	else
	{
		pay_operation_bury(o, exhausted, c->report->error && c->report->error[0] ? c->report->error : c->result.message);
		count_applied(c);
	}
}

/* Charge and authorize carry the payment's own status; the others do not. */
static bool
is_first(const PayOperation *operation)
{
	return operation->kind == PAY_OP_CHARGE || operation->kind == PAY_OP_AUTHORIZE;
}

/* Does the effect say that this operation has done what it was for? */
static bool
answers(const PayOperation *operation, PayEffect effect)
{
	switch (operation->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_CAPTURE:
			return effect == PAY_EFFECT_CAPTURED;
		case PAY_OP_AUTHORIZE:
			return effect == PAY_EFFECT_AUTHORIZED || effect == PAY_EFFECT_CAPTURED;
		case PAY_OP_VOID:
			return effect == PAY_EFFECT_VOIDED;
		case PAY_OP_REFUND:
			return effect == PAY_EFFECT_REFUNDED;
	}
	return false;
}

/* The code for people: advice codes come first in the list, but say less. */
static const char *
first_code(const PayResult *result)
{
	for (int i = 0; i < PAY_CODES_MAX && result->codes[i]; i++)
		if (strchr(result->codes[i], ':') == NULL)
			return result->codes[i];
	return result->codes[0];
}

static void
count_applied(PayContext *c)
{
	c->report->outcome = PAY_OUTCOME_APPLIED;
}

void
pay_apply_bury(const pg_uuid_t *operation_id, const char *reason, const char *detail,
			   TimestampTz now, const char *actor)
{
	PayArgs		args = {0};
	pg_uuid_t	payment_id;
	PayPayments *set;
	PayOperation *operation;

	pay_arg_uuid(&args, operation_id);
	if (pay_spi_exec(&find_by_operation, &args) == 0)
		return;
	payment_id = pay_spi_uuid(0, 1);
	set = pay_payments_load(&payment_id, 1, now, actor);
	if (set->n == 0)
		return;
	operation = pay_payment_operation(&set->list[0], operation_id);
	if (operation == NULL || !operation->queued)
		return;
	/* Something was sent and its answer could not be used: nobody knows. */
	if (operation->attempts > 0 && pay_operation_is_open(operation))
	{
		operation->status = "in_doubt";
		operation->dirty = true;
		if (is_first(operation) && pay_payment_can(&set->list[0], "doubt"))
			pay_payment_event(set, &set->list[0], "doubt", operation, "worker", reason);
	}
	pay_operation_bury(operation, reason, detail);
	pay_payments_save(set);
}
