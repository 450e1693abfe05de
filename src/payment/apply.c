/*
 * src/payment/apply.c
 *		pay_apply(): the one door for every word of a PSP.
 *
 * An API answer, an inquiry, a webhook, a settlement line, what a person has found out: each is
 * a PayReport, and all are decided here, under the lock of the payment they speak of.  Three rules:
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
 * This file finds what a report speaks of, and whether it is to be heeded;
 * payment/apply_money.c does what an approval says, payment/apply_outcome.c all else.
 */
#include "payments.h"

#include "payment/apply.h"
#include "base/money.h"
#include "base/json.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/apply_private.h"
#include "payment/command.h"
#include "payment/object.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Stored per answer; enough for people to see what the PSP wrote. */
#define ANSWER_BYTES_KEPT 8192

/* Anybody can send hints: they make us ask no more often than this. */
#define HINT_INTERVAL_MS 10000

static void locate(PayReport *report);
static bool locate_among(PayPayments *set, PayReport *report);
static bool is_here(const pg_uuid_t *payment_id);
static void find_operation(PayContext *c);
static bool is_present(const PayContext *c);
static void ask_psp(PayContext *c);
static bool may_be_asked(const PayOperation *operation);
static void ask_soon(PayContext *c, PayOperation *operation);
static const char *source_name(PaySource source);
static PayOperation *operation_completed(const PayContext *c);
static bool is_too_much(const PayContext *c, const char *kind);
static bool is_of_second(const PayContext *c);
static bool is_of_another(const PayContext *c);
static void keep_ids(PayContext *c);
static void decide(PayContext *c);

static PayStmt find_by_operation = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id, operation_id FROM payments.operation WHERE operation_id = $1", UUIDOID);
static PayStmt find_by_ref = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id, operation_id FROM payments.operation WHERE psp_ref = $1 AND psp = $2", TEXTOID, TEXTOID);
static PayStmt find_by_psp_payment = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id FROM payments.payment WHERE psp = $1 AND psp_payment_id = $2 "
	"UNION ALL SELECT payment_id FROM payments.movement WHERE psp = $1 AND object_id = $2 AND kind = 'late_capture' LIMIT 1", TEXTOID, TEXTOID);

static PayStmt find_payment = PAY_STMT(SPI_OK_SELECT, "SELECT FROM payments.payment WHERE payment_id = $1", UUIDOID);
static PayStmt find_last_inquiry = PAY_STMT(SPI_OK_SELECT,
	"SELECT max(claimed_at) FROM payments.attempt WHERE operation_id = $1 AND action = 'inquire'", UUIDOID);
static PayStmt keep_hint = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.queue SET hinted = true WHERE operation_id = $1", UUIDOID);

void
pay_apply(PayReport *reports, int n, bool wait, TimestampTz now, const char *actor)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * Max(n, 1));
	int			found = 0;
	PayPayments *set;

	for (int i = 0; i < n; i++)
	{
		locate(&reports[i]);
		pay_apply_locate_former(&reports[i]);
		if (reports[i].outcome != PAY_OUTCOME_UNMATCHED)
			ids[found++] = reports[i].payment_id;
	}
	if (found == 0)
		return;
	set = wait ? pay_payments_load(ids, found, now, actor) : pay_payments_load_skipping_locked(ids, found, now, actor);
	for (int i = 0; i < n; i++)
		if (reports[i].outcome != PAY_OUTCOME_UNMATCHED || locate_among(set, &reports[i]))
			pay_apply_one(set, &reports[i]);
	pay_apply_save(set);
	for (int i = 0; i < n; i++)
		if (reports[i].outcome != PAY_OUTCOME_UNMATCHED && reports[i].outcome != PAY_OUTCOME_LOCKED)
			reports[i].status = pay_payments_find(set, &reports[i].payment_id)->status;
}

void
pay_apply_save(PayPayments *set)
{
	pay_payments_save(set);
	if (set->wake)
		pay_wake_at_commit();
	pay_unmatched_apply(set);
}

/* Which payment does it speak of?  Fills payment_id and, where known, operation_id. */
static void
locate(PayReport *report)
{
	PayArgs		args = {0}, by_payment = {0};

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

/* Of an event whose payment's id at the PSP is told by one before it. */
static bool
locate_among(PayPayments *set, PayReport *report)
{
	if (report->source != PAY_SOURCE_WEBHOOK || report->result.psp_payment_id == NULL)
		return false;
	for (PayPayment *payment = set->list; payment < set->list + set->n; payment++)
	{
		if (payment->psp_payment_id == NULL || strcmp(payment->psp_payment_id, report->result.psp_payment_id) != 0 ||
			strcmp(payment->psp, report->psp) != 0)
			continue;
		report->payment_id = payment->payment_id;
		report->outcome = PAY_OUTCOME_NO_EFFECT;
		return true;
	}
	return false;
}

void
pay_apply_one(PayPayments *set, PayReport *report)
{
	PayContext	c = {0};
	PaySums		before;

	c.set = set;
	c.report = report;
	c.result = report->result;
	/* Whatever an adapter leaves in words.  Ids stay: money that moved is known by them. */
	c.result.message = pay_text_mask_card_numbers(c.result.message);
	for (int i = 0; i < PAY_CODES_MAX && c.result.codes[i]; i++)
		c.result.codes[i] = pay_text_mask_card_numbers(c.result.codes[i]);
	c.source = source_name(report->source);
	c.payment = pay_payments_find(set, &report->payment_id);
	if (c.payment == NULL)
	{
		report->outcome = is_here(&report->payment_id) ? PAY_OUTCOME_LOCKED : PAY_OUTCOME_UNMATCHED;
		return;
	}
	report->status_before = report->status_after = c.payment->status;
	c.operation = pay_payment_operation(c.payment, &report->operation_id);
	if (report->hint)
	{
		ask_psp(&c);
		return;
	}
	if (pay_apply_former(&c))
		return;

	/* Known by that id alone, as what came beside the word that made it known. */
	if (report->source == PAY_SOURCE_WEBHOOK && c.operation == NULL && !report->payment_known && report->result.psp_payment_id)
		pay_unmatched_learn(c.payment, report->result.psp_payment_id);
	find_operation(&c);
	/* That a refund or payout has failed is a fact about its object, whoever tells it. */
	if (c.result.class == PAY_CLASS_DECLINED && c.result.object_id &&
		(c.result.effect == PAY_EFFECT_REFUND_FAILED || c.result.effect == PAY_EFFECT_PAYOUT_FAILED))
		c.result.class = PAY_CLASS_APPROVED;
	if (!pay_apply_rescale(&c) || pay_apply_disagrees(&c))
		c.result.class = PAY_CLASS_CONFLICTED;
	else if (is_of_second(&c))
	{
		c.result.class = PAY_CLASS_CONFLICTED;
		c.conflict = "of a second charge of this payment, which stands in suspense: book it by hand";
		c.operation = NULL;
	}
	else if (is_of_another(&c))
	{
		c.result.class = PAY_CLASS_CONFLICTED;
		c.conflict = "the PSP tells this of an object that is another payment's: look at the PSP's dashboard whose it is";
		c.operation = NULL;
	}
	pay_apply_tell_apart(&c);
	pay_apply_sum_up(c.payment, &before);
	pay_apply_contradiction(&c);
	if (!c.stale || c.result.class == PAY_CLASS_APPROVED || c.result.class == PAY_CLASS_CONFLICTED)
		decide(&c);
	pay_apply_follow(set, c.payment, &before, c.operation && c.operation->kind == PAY_OP_REFUND ? c.operation : NULL,
					 c.source, pay_apply_code(&c.result));
	pay_apply_end_question(&c);
	if (c.operation && c.operation->hinted && may_be_asked(c.operation) && c.operation->claimed_by == NULL)
		ask_soon(&c, c.operation);
	report->status_after = c.payment->status;
}

/* A call may outlast its payment: an earlier state of the database is restored beneath the worker. */
static bool
is_here(const pg_uuid_t *payment_id)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, payment_id);
	return pay_spi_exec(&find_payment, &args) == 1;
}

/* Which operation does it answer, and is it heeded?  Keeps the answer to a call of ours. */
static void
find_operation(PayContext *c)
{
	PayReport  *report = c->report;

	if (report->source == PAY_SOURCE_WEBHOOK)
	{
		/* The PSP's object may name the charge that made it; the effect says which of our operations it answers. */
		PayOperation *capture = pay_payment_open_operation(c->payment, PAY_OP_CAPTURE);
		PayOperation *cancel = pay_payment_open_operation(c->payment, PAY_OP_VOID);

		c->operation = pay_object_refund(c->payment, &c->result, c->operation);
		if (c->result.effect == PAY_EFFECT_CAPTURED && capture && !pay_apply_is_earlier_capture(c))
			c->operation = capture;
		if (c->result.effect == PAY_EFFECT_VOIDED && cancel)
			c->operation = cancel;
		c->claimed_elsewhere = c->operation && c->operation->claimed_by != NULL;
		c->stale = !is_present(c);
	}
	else if (report->source == PAY_SOURCE_SETTLEMENT)
	{
		c->operation = operation_completed(c);
		c->claimed_elsewhere = c->operation && c->operation->claimed_by != NULL;
	}
	else if (report->source != PAY_SOURCE_PERSON)	/* who says which, and when nothing is in flight */
	{
		c->stale = c->operation == NULL || !c->operation->queued || c->operation->claimed_by == NULL ||
			c->operation->queue_attempt != report->attempt;
		pay_apply_keep_answer(c);
		if (c->operation && !c->stale)
		{
			c->operation->lost = report->lease_lost ? c->operation->lost + 1 : 0;
			c->operation->refused = report->result.too_many ? c->operation->refused + 1 : 0;
		}
	}
}

/*
 * Is the event about the object that the payment is at the PSP now?  Each
 * generation makes another one, and others may bear our name: bad news of
 * those is no news.
 */
static bool
is_present(const PayContext *c)
{
	const PayResult *r = &c->result;
	const PayOperation *first = NULL;
	ListCell   *cell;

	if (c->operation && c->operation->kind == PAY_OP_REFUND)
		return true;
	if (r->psp_payment_id && c->payment->psp_payment_id)
		return strcmp(r->psp_payment_id, c->payment->psp_payment_id) == 0;
	foreach(cell, c->payment->operations)
		if (first == NULL && pay_operation_is_first(lfirst(cell)))
			first = lfirst(cell);
	return first != NULL && first->generation == (r->generation > 0 ? r->generation : 1);
}

/*
 * Something has happened to the payment, says somebody: what the PSP has and
 * has not answered for good is inquired soon, instead of when it is due.  What
 * is in flight was perhaps asked before it happened: it is asked again after
 * its answer.
 */
static void
ask_psp(PayContext *c)
{
	ListCell   *cell;

	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (!may_be_asked(o))
			continue;
		if (o->claimed_by == NULL)
			ask_soon(c, o);
		else
		{
			PayArgs		args = {0};

			/* Its lease may be changed at this moment: only the mark is written. */
			pay_arg_uuid(&args, &o->operation_id);
			pay_spi_exec(&keep_hint, &args);
		}
		count_applied(c);
	}
}

/*
 * A decline or a cancellation of which an event tells may be over: the payer
 * has tried again, or the next word has come first.  It ends the payment once
 * the PSP, asked now, says so.
 */
bool
pay_apply_ask_first(PayContext *c)
{
	PayOperation *o = pay_payment_open_operation(c->payment, PAY_OP_CHARGE);
	PayArgs		args = {0};

	if (o == NULL)
		o = pay_payment_open_operation(c->payment, PAY_OP_AUTHORIZE);
	if (c->report->source != PAY_SOURCE_WEBHOOK || o == NULL || !o->queued || !pay_operation_can_be_asked(c->payment, o))
		return false;
	/* What we have asked for is no surprise. */
	if (c->result.effect == PAY_EFFECT_VOIDED && pay_payment_open_operation(c->payment, PAY_OP_VOID))
		return false;
	count_applied(c);
	if (o->claimed_by != NULL)
	{
		pay_arg_uuid(&args, &o->operation_id);
		pay_spi_exec(&keep_hint, &args);
	}
	else if (strcmp(o->action, "inquire") != 0)
		pay_operation_enqueue(c->set, o, "inquire", c->set->now);
	else
		ask_soon(c, o);
	return true;
}

/* What waits to be sent is not at the PSP; what a person must decide stays so. */
static bool
may_be_asked(const PayOperation *o)
{
	return o->queued && (strcmp(o->status, "processing") == 0 || strcmp(o->status, "requires_action") == 0 ||
						 strcmp(o->status, "in_doubt") == 0);
}

/*
 * At once, or an interval after the last time.  That costs the schedule no try:
 * it is the one that was due, brought forward, so that forged hints cannot use
 * them up.
 */
static void
ask_soon(PayContext *c, PayOperation *o)
{
	PayArgs		args = {0};
	TimestampTz due = c->set->now;

	o->hinted = false;
	pay_arg_uuid(&args, &o->operation_id);
	pay_spi_exec(&find_last_inquiry, &args);
	if (!pay_spi_isnull(0, 1))
		due = Max(due, pay_spi_time(0, 1) + HINT_INTERVAL_MS * INT64CONST(1000));
	if (o->due_at <= due)
		return;
	o->try = Max(o->try - 1, 0);
	pay_operation_enqueue(c->set, o, "inquire", due);
	c->set->wake = true;		/* the worker may sleep until the time it knew */
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
		case PAY_SOURCE_PERSON:
			return "person";
	}
	return NULL;
}

/*
 * Settlement lines name the payment, not our operation on it.  The object that
 * they are about may be known from an answer; else it is that of an operation
 * which waits for such an effect, of a refund only that which the line refers to:
 * another's may be of the same amount.
 */
static PayOperation *
operation_completed(const PayContext *c)
{
	PayOperation *waiting = NULL;
	ListCell   *cell;

	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (!pay_apply_answers(o, c->result.effect) || !pay_operation_is_open(o) ||
			(o->kind == PAY_OP_CAPTURE && pay_apply_is_earlier_capture(c)))
			continue;
		if (o->psp_object_id && c->result.object_id && strcmp(o->psp_object_id, c->result.object_id) == 0)
			return o;
		if (o->kind == PAY_OP_REFUND && (o->psp_object_id != NULL || c->result.psp_ref == NULL || o->psp_ref == NULL ||
										 strcmp(o->psp_ref, c->result.psp_ref) != 0))
			continue;
		if (waiting == NULL || o->kind == PAY_OP_CAPTURE)
			waiting = o;
	}
	return waiting;
}

/* The answer is a row of its own, whatever comes of it; but none without its attempt, which a restore may have taken away. */
void
pay_apply_keep_answer(PayContext *c)
{
	PayAttemptAnswer *answer;
	PayReport  *report = c->report;
	size_t		bytes = report->body_bytes;

	if (c->operation == NULL || report->attempt > c->operation->attempts)
		return;
	answer = palloc0(sizeof(PayAttemptAnswer));
	answer->operation_id = report->operation_id;
	answer->attempt = report->attempt;
	answer->class = pay_class_name(c->result.class);
	answer->code = pay_apply_code(&c->result);
	answer->http_status = report->http_status;
	answer->request_id = report->request_id && report->request_id[0] ? pay_text_mask_card_numbers(report->request_id) : NULL;
	answer->error = report->error && report->error[0] ? report->error : NULL;
	answer->elapsed_ms = report->elapsed_ms;
	answer->late = c->stale;
	if (report->body && bytes > 0)
	{
		/* Before it is cut: a half of it is no JSON, and half a number is found by nobody. */
		const char *body = pay_body_mask_card_numbers(report->body, &bytes);

		answer->body = (bytea *) cstring_to_text_with_len(body, (int) Min(bytes, ANSWER_BYTES_KEPT));
	}
	c->set->answers = lappend(c->set->answers, answer);
}

/* From the PSP's units to ours; false when the amounts do not translate, or are none that could be booked. */
bool
pay_apply_rescale(PayContext *c)
{
	int			to = c->payment->exponent;
	bool		is_ours = c->report->source == PAY_SOURCE_SETTLEMENT || c->report->source == PAY_SOURCE_PERSON;
	int			from = is_ours ? to : c->payment->psp_exponent;

	if (c->result.amount != 0 &&
		(!pay_money_rescale(c->result.amount, from, to, &c->result.amount) || c->result.amount > PAY_AMOUNT_MAX))
		return false;
	/* A fee in a currency that is not the payment's is left to reconciliation. */
	if (c->result.fee != 0 && (c->result.fee_currency == NULL || strcmp(c->result.fee_currency, c->payment->currency) != 0 ||
							   !pay_money_rescale(c->result.fee, from, to, &c->result.fee) || c->result.fee > PAY_AMOUNT_MAX))
		c->result.fee = 0;
	return true;
}

/* Would the payment's sums, with this, be more than could be booked? */
static bool
is_too_much(const PayContext *c, const char *kind)
{
	return !pay_payment_moved(c->payment, kind, c->result.object_id) &&
		pay_payment_sum(c->payment, kind) > PAY_AMOUNT_MAX - c->result.amount;
}

/*
 * A refund or dispute of what was captured beside the payment, and is no part of
 * its amounts: neither may this be.  Of a payment that has no money of its own it
 * is taken from suspense instead.
 */
static bool
is_of_second(const PayContext *c)
{
	const PayResult *r = &c->result;

	return (c->report->source == PAY_SOURCE_WEBHOOK || c->report->source == PAY_SOURCE_SETTLEMENT) &&
		c->payment->captured > 0 && r->class == PAY_CLASS_APPROVED && r->psp_payment_id &&
		(r->effect == PAY_EFFECT_REFUNDED || r->effect == PAY_EFFECT_REFUND_FAILED ||
		 r->effect == PAY_EFFECT_DISPUTED || r->effect == PAY_EFFECT_DISPUTE_WON || r->effect == PAY_EFFECT_DISPUTE_LOST) &&
		(c->operation == NULL || c->operation->kind != PAY_OP_REFUND) &&
		c->payment->psp_payment_id && strcmp(c->payment->psp_payment_id, r->psp_payment_id) != 0 &&
		pay_payment_moved(c->payment, "late_capture", r->psp_payment_id);
}

/*
 * Of an event nobody waits for an error, and it would come again and again; an
 * answer that meets another payment's object makes its operation a dead letter.
 */
static bool
is_of_another(const PayContext *c)
{
	const PayResult *r = &c->result;
	pg_uuid_t	whose;

	return c->report->source == PAY_SOURCE_WEBHOOK &&
		((r->class == PAY_CLASS_APPROVED && pay_object_is_elsewhere(c->payment, r->object_id, &whose)) ||
		 ((r->psp_payment_id && (c->payment->psp_payment_id == NULL || strcmp(r->psp_payment_id, c->payment->psp_payment_id) != 0)) &&
		  pay_object_is_elsewhere(c->payment, r->psp_payment_id, &whose)));
}

/* An approval in another currency, or of more than was asked, is neither yes nor no. */
bool
pay_apply_disagrees(PayContext *c)
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
			if (r->amount <= 0 || r->amount > c->payment->amount || r->object_id == NULL || is_too_much(c, "late_capture"))
				return true;
			return c->operation && pay_apply_answers(c->operation, r->effect) && pay_operation_is_first(c->operation) &&
				c->operation->kind == PAY_OP_CHARGE && r->amount != c->operation->amount;
		case PAY_EFFECT_REFUNDED:
			return r->amount <= 0 || r->object_id == NULL || is_too_much(c, "refund") ||
				(c->operation && c->operation->kind == PAY_OP_REFUND && r->amount != c->operation->amount);
		case PAY_EFFECT_DISPUTED:
		case PAY_EFFECT_DISPUTE_LOST:
			return r->amount <= 0 || r->object_id == NULL || is_too_much(c, "dispute");
		case PAY_EFFECT_REFUND_FAILED:
		case PAY_EFFECT_DISPUTE_WON:
		case PAY_EFFECT_DISPUTE_STAGE:
		case PAY_EFFECT_PAYOUT_FAILED:
			return r->object_id == NULL;
		case PAY_EFFECT_PAID_OUT:
			return r->object_id == NULL || r->amount != c->payment->amount;
		case PAY_EFFECT_NONE:
		case PAY_EFFECT_VOIDED:
		case PAY_EFFECT_EXPIRED:
			return false;
	}
	return false;
}

static void
decide(PayContext *c)
{
	keep_ids(c);
	if (c->result.class == PAY_CLASS_APPROVED)
		pay_apply_money(c);
	else
		pay_apply_outcome(c);
	/* A capture was refused because the authorization is gone. */
	if (c->result.class == PAY_CLASS_DECLINED && c->result.effect == PAY_EFFECT_EXPIRED)
		pay_apply_expired(c);
}

static bool
is_bad_news(const PayContext *c)
{
	return c->report->source == PAY_SOURCE_WEBHOOK &&
		(c->result.class == PAY_CLASS_DECLINED || c->result.class == PAY_CLASS_RETRY_LATER ||
		 c->result.effect == PAY_EFFECT_VOIDED || c->result.effect == PAY_EFFECT_EXPIRED);
}

/*
 * Ids that the PSP gave are worth keeping whatever it said: inquiries and
 * refunds name the payment by them.  A late word fills in what nobody has told
 * yet, but replaces nothing; bad news that nobody asked for may be of another
 * object.  Once there is money, the payment is the object that has it; and what
 * an earlier generation made is not what the operation has made now.
 */
static void
keep_ids(PayContext *c)
{
	PayPayment *d = c->payment;
	PayOperation *o = c->operation;
	const PayResult *r = &c->result;

	if (o == NULL)
		return;
	if (r->psp_payment_id && pay_operation_is_first(o) && !is_bad_news(c) && !(c->stale && r->class == PAY_CLASS_CONFLICTED) &&
		(d->psp_payment_id == NULL || (!c->stale && !pay_payment_has_money(d))))
		pay_apply_known_as(c);
	if (r->object_id && o->psp_object_id == NULL && r->class == PAY_CLASS_APPROVED && pay_apply_answers(o, r->effect) &&
		!(c->stale && (r->effect == PAY_EFFECT_VOIDED || (r->generation > 0 && r->generation != o->generation))))
	{
		o->psp_object_id = r->object_id;
		o->dirty = true;
	}
}

void
pay_apply_known_as(PayContext *c)
{
	PayPayment *d = c->payment;
	const char *id = c->result.psp_payment_id;

	if (id == NULL || (d->psp_payment_id && strcmp(d->psp_payment_id, id) == 0))
		return;
	d->psp_payment_id = id;
	d->dirty = true;
	pay_unmatched_learn(d, id);
}

bool
pay_apply_done(const PayContext *c)
{
	const PayPayment *d = c->payment;
	const PayOperation *o = c->operation;

	switch (o->kind)
	{
		case PAY_OP_CHARGE:
			return d->captured > 0;
		case PAY_OP_CAPTURE:
			/* At most one is open; what it reserved is given back when its money is heard of. */
			return d->captured > 0 && d->capture_pending == 0;
		case PAY_OP_AUTHORIZE:
			return pay_payment_has_money(d);
		case PAY_OP_VOID:
			return strcmp(d->status, "cancelled") == 0 || strcmp(d->status, "expired") == 0 || (d->released > 0 && pay_payment_rest(d) == 0);
		case PAY_OP_REFUND:
			return false;		/* ends with the word that it was made */
		case PAY_OP_PAYOUT:
			return pay_payout_is_paid(d);
		case PAY_OP_EXPIRE:
			return false;		/* likewise */
	}
	return false;
}

/* Does the effect say that this operation has done what it was for? */
bool
pay_apply_answers(const PayOperation *operation, PayEffect effect)
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
		case PAY_OP_PAYOUT:
			return effect == PAY_EFFECT_PAID_OUT;
		case PAY_OP_EXPIRE:
			return effect == PAY_EFFECT_EXPIRED;
	}
	return false;
}

/* The code for people: advice codes come first in the list, but say less. */
const char *
pay_apply_code(const PayResult *result)
{
	for (int i = 0; i < PAY_CODES_MAX && result->codes[i]; i++)
		if (strchr(result->codes[i], ':') == NULL)
			return result->codes[i];
	return result->codes[0];
}
