/*
 * src/payment/apply_former.c
 *		The word of a PSP that the payment has left.
 *
 * It had said no, or had certainly not been reached, and so the payment went
 * on.  Should it say later that it has performed the payment after all, that is
 * money: while nothing has reached the PSP of now the payment goes back, and is
 * paid there; else it is a second charge, which stands in suspense until a
 * person gives it back.  That it says no once more is no news.
 *
 * The lock of the payment decides which comes first, this word or the claim for
 * the other PSP.
 */
#include "payments.h"

#include "payment/apply_private.h"
#include "core/spi.h"
#include "payment/object.h"
#include "payment/route.h"

static bool is_back(PayContext *c);
static PayOperation *first_operation(const PayPayment *payment);
static bool agrees(PayContext *c);
static void tell(PayContext *c);
static void tell_money(PayContext *c);

static PayStmt find_by_former = PAY_STMT(SPI_OK_SELECT,
	"SELECT o.payment_id, o.operation_id FROM payments.operation o JOIN payments.route_decision d ON d.payment_id = o.payment_id "
	"WHERE o.psp_ref = $1 AND d.former_psp = $2 AND d.operation_id = o.operation_id LIMIT 1", TEXTOID, TEXTOID);
static PayStmt find_by_former_payment = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id FROM payments.route_decision WHERE former_psp = $1 AND former_psp_payment_id = $2 LIMIT 1", TEXTOID, TEXTOID);

void
pay_apply_locate_former(PayReport *report)
{
	PayArgs		by_ref = {0};
	PayArgs		by_payment = {0};

	if (report->outcome != PAY_OUTCOME_UNMATCHED || report->source != PAY_SOURCE_WEBHOOK)
		return;
	pay_arg_text(&by_ref, report->result.psp_ref);
	pay_arg_text(&by_ref, report->psp);
	pay_arg_text(&by_payment, report->psp);
	pay_arg_text(&by_payment, report->result.psp_payment_id);
	if (report->result.psp_ref && pay_spi_exec(&find_by_former, &by_ref) == 1)
		report->operation_id = pay_spi_uuid(0, 2);
	else if (report->result.psp_payment_id == NULL || pay_spi_exec(&find_by_former_payment, &by_payment) == 0)
		return;
	report->payment_id = pay_spi_uuid(0, 1);
	report->outcome = PAY_OUTCOME_NO_EFFECT;
}

bool
pay_apply_former(PayContext *c)
{
	PayPayment *d = c->payment;

	if (c->report->psp == NULL || strcmp(c->report->psp, d->psp) == 0)
		return false;
	d->told_by = c->report->psp;
	if (is_back(c))
	{
		d->told_by = NULL;
		pay_go_back(c);
		return false;
	}
	c->stale = true;
	if (c->report->source == PAY_SOURCE_ANSWER || c->report->source == PAY_SOURCE_INQUIRY)
		pay_apply_keep_answer(c);
	c->operation = NULL;
	if (c->result.class == PAY_CLASS_APPROVED)
		tell(c);
	d->told_by = NULL;
	return true;
}

/* It is done there, as asked for, and certainly nowhere else. */
static bool
is_back(PayContext *c)
{
	PayOperation *o = first_operation(c->payment);
	PayOperation *told_of = c->operation;
	PayResult	told = c->result;
	pg_uuid_t	whose;
	bool		as_asked;

	if (c->result.class != PAY_CLASS_APPROVED || o == NULL || !pay_apply_answers(o, c->result.effect) ||
		!pay_operation_is_open(o) || o->claimed_by != NULL || o->key_used_at != 0 || strcmp(o->status, "in_doubt") == 0 ||
		pay_payment_has_money(c->payment) || !pay_payment_can(c->payment, "capture"))
		return false;
	c->operation = o;
	as_asked = agrees(c) && !pay_object_is_elsewhere(c->payment, c->result.object_id, &whose);
	c->result = told;
	if (!as_asked)
		c->operation = told_of;
	return as_asked;
}

static PayOperation *
first_operation(const PayPayment *payment)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
		if (pay_operation_is_first(lfirst(cell)))
			return lfirst(cell);
	return NULL;
}

/* In units of the PSP that says so. */
static bool
agrees(PayContext *c)
{
	PayPayment *d = c->payment;
	int			exponent = d->psp_exponent;
	bool		result;

	d->psp_exponent = pay_route_find(d->merchant, d->told_by, d->currency)->psp_exponent;
	result = pay_apply_rescale(c) && !pay_apply_disagrees(c);
	d->psp_exponent = exponent;
	return result;
}

static void
tell(PayContext *c)
{
	PaySums		before;
	pg_uuid_t	whose;

	pay_apply_sum_up(c->payment, &before);
	if (c->result.effect == PAY_EFFECT_CAPTURED)
		c->operation = first_operation(c->payment);
	if (agrees(c) && !pay_object_is_elsewhere(c->payment, c->result.object_id, &whose))
		tell_money(c);
	else
		pay_payment_exception(c->set, c->payment, NULL, "conflicted", c->result.object_id, c->result.amount,
							  "told by a PSP that the payment has left, of another amount, currency or payment: look at its dashboard");
	pay_apply_follow(c->set, c->payment, &before, NULL, c->source, pay_apply_code(&c->result));
}

static void
tell_money(PayContext *c)
{
	const PayResult *r = &c->result;

	switch (r->effect)
	{
		case PAY_EFFECT_CAPTURED:
			pay_apply_money(c);
			return;
		case PAY_EFFECT_AUTHORIZED:
			pay_payment_exception(c->set, c->payment, NULL, "after_cancel", r->object_id, r->amount,
								  psprintf("authorized at a PSP that the payment has left for \"%s\"; cancel it there", c->payment->psp));
			count_applied(c);
			return;
		case PAY_EFFECT_NONE:
		case PAY_EFFECT_VOIDED:
		case PAY_EFFECT_EXPIRED:
		case PAY_EFFECT_DISPUTE_STAGE:
			return;
		default:
			/* As of a second charge at one PSP; of a payment without money it is taken from suspense. */
			if (pay_payment_came_to_nothing(c->payment))
				pay_apply_money(c);
			else
				pay_payment_exception(c->set, c->payment, NULL, "conflicted", r->object_id, r->amount,
									  "of a charge at a PSP that the payment has left, which stands in suspense: book it by hand");
			count_applied(c);
	}
}
