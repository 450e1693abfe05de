/*
 * src/payment/apply_rest.c
 *		What was authorized and is not captured: given up, or expired.
 *
 * A capture may leave a rest authorized for further ones.  That rest ends by
 * the last capture, by cancel_payment(), or because the PSP gives it up; what
 * was captured before stays.  None of it is silent: the payment is expired, or,
 * with money captured, has in its history that the rest was released.
 *
 * Our clock decides nothing.  Once the time of an authorization is over the PSP
 * is asked, by an operation that never sends anything (PAY_OP_EXPIRE), and
 * what it says counts: a clock may be wrong, and PSPs are late.  While a
 * capture is under way or in doubt nothing is asked so, and even the PSP's word
 * that the authorization is gone waits for what became of that capture: it may
 * have come in time, and its answer been lost.  That the word was said is kept
 * as a movement that moves nothing, so a crash in between forgets it not.
 */
#include "payments.h"

#include "payment/apply_private.h"
#include "core/spi.h"
#include "payment/adapter.h"
#include "payment/idempotency.h"
#include "payment/state.h"

#include "utils/timestamp.h"

/* So many in one transaction; the next round has the others. */
#define ASKED_AT_ONCE 50

static bool capture_is_under_way(PayContext *c);
static void end_open(PayContext *c);
static bool was_told(const PayPayment *payment, const char *kind);
static int	find_askable(const char ***psps);
static bool can_be_asked(const PayAdapter *adapter);
static bool ask(PayPayments *set, PayPayment *payment);

/* A capture that is booked, while the money of the open one has not come: it is not the open one's. */
bool
pay_apply_is_earlier_capture(const PayContext *c)
{
	return c->payment->capture_pending > 0 && c->result.object_id && pay_payment_moved(c->payment, "capture", c->result.object_id) &&
		!(c->payment->adapter && c->payment->adapter->capture_is_payment);
}

/*
 * Somebody captures at the PSP by hand while ours is under way: theirs must not
 * be taken for ours, or ours would be believed to have failed, be asked for
 * again, and come twice.  It is theirs if it is said to be that of another
 * operation; or if nobody says whose it is, it is of another amount, and what it
 * leaves is enough for ours.  Of sums (capture_is_payment) nobody can tell.
 */
void
pay_apply_tell_apart(PayContext *c)
{
	PayOperation *capture = pay_payment_open_operation(c->payment, PAY_OP_CAPTURE);
	PayOperation *named = pay_payment_operation(c->payment, &c->report->operation_id);
	const PayResult *r = &c->result;

	if (r->class != PAY_CLASS_APPROVED || r->effect != PAY_EFFECT_CAPTURED || capture == NULL || named == capture ||
		(c->payment->adapter && c->payment->adapter->capture_is_payment))
		return;
	if (named && named->kind == PAY_OP_CAPTURE)
		c->beside = true;
	else
		c->beside = (c->report->source == PAY_SOURCE_SETTLEMENT ? capture->keep_rest : r->keeps_rest) &&
			r->amount != capture->amount && r->amount <= pay_payment_rest(c->payment) - capture->amount &&
			!(capture->psp_object_id && strcmp(capture->psp_object_id, r->object_id) == 0);
	if (c->beside && c->operation == capture)
		c->operation = named;
}

/* The last word of a capture, of whichever adapter, on what it has left. */
void
pay_apply_give_up_rest(PayContext *c)
{
	PayPayment *d = c->payment;

	if (d->captured == 0 || pay_payment_rest(d) <= 0)
		return;
	if (c->result.object_id && !pay_payment_moved(d, "release", c->result.object_id))
		pay_payment_move(c->set, d, c->operation, "release", c->result.object_id, pay_payment_rest(d), c->source);
	pay_apply_lapse(c);
}

void
pay_apply_expired(PayContext *c)
{
	PayPayment *d = c->payment;

	/* Of an earlier object: it says nothing of the one that the payment is now. */
	if (c->stale || c->result.object_id == NULL)
		return;
	if (!pay_payment_moved(d, "expire", c->result.object_id))
	{
		pay_payment_move(c->set, d, c->operation, "expire", c->result.object_id, d->amount, c->source);
		count_applied(c);
	}
	if (d->captured > 0 || !pay_apply_ask_first(c))
		pay_apply_lapse(c);
}

void
pay_apply_lapse(PayContext *c)
{
	PayPayment *d = c->payment;
	bool		expired = was_told(d, "expire");

	if (!expired && !was_told(d, "release") && !(d->captured > 0 && was_told(d, "void")))
		return;
	if (capture_is_under_way(c))
		return;
	if (d->captured > 0 && pay_payment_rest(d) > 0)
	{
		d->released += pay_payment_rest(d);
		pay_payment_event(c->set, d, "release", c->operation, c->source, expired ? "expired" : NULL);
	}
	else if (expired && d->captured == 0 && pay_payment_can(d, "expire"))
	{
		pay_payment_event(c->set, d, "expire", c->operation, c->source, "expired");
		d->next_action_url = NULL;
	}
	else
		return;
	count_applied(c);
	end_open(c);
}

/* What became of it is asked soon, unless a call is in flight, which will say so. */
static bool
capture_is_under_way(PayContext *c)
{
	PayOperation *capture = pay_payment_open_operation(c->payment, PAY_OP_CAPTURE);

	if (capture == NULL || c->payment->capture_pending == 0)
		return false;
	if (capture->queued && capture->claimed_by == NULL && capture != c->operation)
		pay_operation_enqueue(c->set, capture, "inquire", c->set->now);
	return true;
}

/* Nothing is left that a cancellation or a question could be about; a capture whose fee is not known goes on. */
static void
end_open(PayContext *c)
{
	ListCell   *cell;

	foreach(cell, c->payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (!pay_operation_is_open(o) || o->kind == PAY_OP_REFUND || (o->kind == PAY_OP_CAPTURE && c->payment->captured > 0))
			continue;
		pay_operation_finish(c->set, o, o->kind == PAY_OP_VOID ? "succeeded" :
							 o->kind == PAY_OP_EXPIRE && was_told(c->payment, "expire") ? "succeeded" : "cancelled", c->source);
	}
}

static bool
was_told(const PayPayment *payment, const char *kind)
{
	return pay_payment_sum(payment, kind) > 0;
}

/* Whoever asked whether an authorization has expired need not, once nothing of it is left. */
void
pay_apply_end_question(PayContext *c)
{
	PayOperation *question = pay_payment_open_operation(c->payment, PAY_OP_EXPIRE);

	if (question && pay_payment_rest(c->payment) <= 0)
		pay_operation_finish(c->set, question, was_told(c->payment, "expire") ? "succeeded" : "cancelled", c->source);
}

/* ---------- by our clock ---------- */

static PayStmt find_psps = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT s.psp, s.adapter FROM payments.psp s");

/* Those that nobody can be asked about would else be the oldest for ever, and keep all others from their turn. */
static PayStmt find_over = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.payment_id FROM payments.payment p WHERE p.capture_before <= $1 AND p.psp = ANY ($3) "
	"AND NOT EXISTS (SELECT FROM payments.operation o WHERE o.payment_id = p.payment_id "
	" AND (o.kind = 'expire' OR o.status NOT IN ('succeeded', 'failed', 'cancelled'))) "
	"ORDER BY p.capture_before LIMIT $2", TIMESTAMPTZOID, INT8OID, TEXTARRAYOID);

int
pay_expiry_sweep(TimestampTz now, const char *actor)
{
	PayArgs		args = {0};
	pg_uuid_t	ids[ASKED_AT_ONCE];
	const char **askable;
	PayPayments *set;
	int			asked = 0;
	int			n;

	n = find_askable(&askable);
	pay_arg_time(&args, now);
	pay_arg_int64(&args, ASKED_AT_ONCE);
	pay_arg_text_array(&args, askable, n);
	n = (int) pay_spi_exec(&find_over, &args);
	for (int i = 0; i < n; i++)
		ids[i] = pay_spi_uuid(i, 1);
	if (n == 0)
		return 0;
	set = pay_payments_load_skipping_locked(ids, n, now, actor);
	for (PayPayment *payment = set->list; payment < set->list + set->n; payment++)
		asked += ask(set, payment);
	pay_apply_save(set);
	return asked;
}

static int
find_askable(const char ***psps)
{
	int			rows = (int) pay_spi_exec(&find_psps, NULL);
	const char **adapters = palloc(sizeof(char *) * Max(rows, 1));
	int			n = 0;

	*psps = palloc(sizeof(char *) * Max(rows, 1));
	for (int i = 0; i < rows; i++)
	{
		(*psps)[i] = pay_spi_text(i, 1);
		adapters[i] = pay_spi_text(i, 2);
	}
	for (int i = 0; i < rows; i++)
		if (can_be_asked(pay_adapter_find(adapters[i])))
			(*psps)[n++] = (*psps)[i];
	return n;
}

static bool
can_be_asked(const PayAdapter *adapter)
{
	return adapter && (adapter->in_process || pay_adapter_has_inquiry(adapter));
}

/* Looked at again under the lock: a capture may have come between.  Was it asked? */
static bool
ask(PayPayments *set, PayPayment *payment)
{
	PayOperation *first = NULL;
	PayOperation *question;
	ListCell   *cell;

	foreach(cell, payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (pay_operation_is_open(o) || o->kind == PAY_OP_EXPIRE)
			return false;
		if (first == NULL && pay_operation_is_first(o))
			first = o;
	}
	if (first == NULL || pay_payment_rest(payment) <= 0 || payment->capture_before > set->now || !can_be_asked(payment->adapter))
		return false;
	question = pay_payment_add_operation(set, payment, PAY_OP_EXPIRE, pay_payment_rest(payment), NULL,
										 pay_idempotency_psp_ref(payment->merchant, first->psp_ref, "expire"));
	question->status = "processing";
	pay_operation_enqueue(set, question, "inquire", set->now);
	return true;
}
