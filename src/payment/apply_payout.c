/*
 * src/payment/apply_payout.c
 *		What becomes of a payout: paid, refused, or paid and back again.
 *
 * What was reserved for it (payment/payout.c) goes out once, or back once, by
 * whichever word comes first; a word that it has failed is the last of the
 * PSP's, and may be told before the one that it was paid.
 */
#include "payments.h"

#include "payment/apply_private.h"

static const PayOperation *operation_of(const PayPayment *payment);
static void take_back(PayContext *c, const char *kind);
static void late_failed(PayContext *c, const PayOperation *operation);

static const PayOperation *
operation_of(const PayPayment *payment)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
		if (((PayOperation *) lfirst(cell))->kind == PAY_OP_PAYOUT)
			return lfirst(cell);
	return NULL;
}

bool
pay_payout_is_paid(const PayPayment *payment)
{
	return pay_payment_sum(payment, "payout") > 0 || pay_payment_sum(payment, "transfer") > 0;
}

/* Twice does no harm: it goes back once, and not after it has gone out. */
void
pay_payout_release(PayPayments *set, PayPayment *payment, const char *source)
{
	const PayOperation *operation = operation_of(payment);

	if (operation == NULL || pay_payout_is_paid(payment) || pay_payment_sum(payment, "payout_failed") > 0 ||
		pay_payment_moved(payment, "payout_released", operation->psp_ref))
		return;
	pay_payment_move(set, payment, operation, "payout_released", operation->psp_ref, operation->amount, source);
}

void
pay_payout_paid(PayContext *c)
{
	PayPayment *d = c->payment;
	bool		is_transfer = strcmp(d->kind, "transfer") == 0;
	const PayOperation *operation = operation_of(d);
	const char *id = c->result.object_id;

	/* That it has failed since may have been told before. */
	if (operation == NULL || pay_payout_is_paid(d) || pay_payment_sum(d, "payout_failed") > 0 ||
		pay_payment_moved(d, "late_payout", id) || pay_payment_moved(d, "payout_undone", id))
		return;
	count_applied(c);
	if (!pay_payment_can(d, "pay_out"))
	{
		pay_payment_move(c->set, d, operation, "late_payout", id, operation->amount, c->source);
		pay_payment_exception(c->set, d, operation, "after_cancel", id, operation->amount,
							  psprintf("paid out at the PSP while our status is \"%s\"; it is taken from suspense", d->status));
		return;
	}
	pay_apply_known_as(c);
	pay_payment_move(c->set, d, operation, is_transfer ? "transfer" : "payout", id, operation->amount, c->source);
	d->failure_code = NULL;
	d->failure_message = NULL;
	pay_payment_event(c->set, d, "pay_out", operation, c->source, NULL);
}

/* By the PSP's word: before it was paid, or after. */
void
pay_payout_failed(PayContext *c)
{
	PayPayment *d = c->payment;
	const PayOperation *operation = operation_of(d);

	if (operation == NULL || pay_payment_sum(d, "payout_failed") > 0 || pay_payment_sum(d, "payout_returned") > 0 ||
		pay_payment_sum(d, "transfer_returned") > 0)
		return;
	if (pay_payment_moved(d, "payout_released", operation->psp_ref))
	{
		late_failed(c, operation);
		return;
	}
	count_applied(c);
	take_back(c, !pay_payout_is_paid(d) ? "payout_failed" : strcmp(d->kind, "transfer") == 0 ? "transfer_returned" : "payout_returned");
	d->failure_code = pay_apply_code(&c->result);
	d->failure_message = c->result.message;
}

/* All believed that it was not made.  If it was, suspense has it back, and nobody has to look; if not yet, that word is void. */
static void
late_failed(PayContext *c, const PayOperation *operation)
{
	PayPayment *d = c->payment;
	const char *id = c->result.object_id;
	bool		was_paid = pay_payment_moved(d, "late_payout", id) != NULL;

	if (pay_payment_moved(d, "late_payout_failed", id) || pay_payment_moved(d, "payout_undone", id))
		return;
	count_applied(c);
	pay_payment_move(c->set, d, operation, was_paid ? "late_payout_failed" : "payout_undone", id, operation->amount, c->source);
	if (was_paid)
		pay_payment_resolve(c->set, d, "after_cancel", id, "the payout failed, and the money is back");
}

static void
take_back(PayContext *c, const char *kind)
{
	PayPayment *d = c->payment;
	PayOperation *operation = unconstify(PayOperation *, operation_of(d));
	bool		was_paid = strcmp(kind, "payout_failed") != 0;

	pay_payment_move(c->set, d, operation, kind, c->result.object_id, operation->amount, c->source);
	if (was_paid)
		pay_payment_exception(c->set, d, operation, "payout_failed", c->result.object_id, operation->amount,
							  "the payout failed after it had been paid; the money is back in the balance: pay in another way");
	pay_payment_event(c->set, d, was_paid ? "pay_back" : "decline", operation, c->source, pay_apply_code(&c->result));
	operation->failure_code = pay_apply_code(&c->result);
	operation->failure_message = c->result.message;
	operation->psp_object_id = c->result.object_id;
	pay_operation_finish(c->set, operation, "failed", c->source);
}
