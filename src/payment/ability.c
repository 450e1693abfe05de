/*
 * src/payment/ability.c
 *		What a payment's PSP cannot do is refused before anything is written.
 *
 * Adapters declare it.  Found out at the PSP, it would be a declined operation
 * minutes later, after the caller's commit.
 */
#include "payments.h"

#include "payment/ability.h"

#include "core/arming.h"

const char *
pay_route_refusal(const PayRoute *route, bool manual_capture, int *sqlstate, const char **hint)
{
	const char *refusal = route->adapter ? pay_psp_refusal(route->adapter, manual_capture ? PAY_OP_AUTHORIZE : PAY_OP_CHARGE, false) : NULL;

	if (refusal == NULL)
		return NULL;
	*sqlstate = PAY_ERR_NOT_SUPPORTED;
	*hint = "Use capture => 'automatic' where a PSP cannot authorize, or name another PSP with psp => '...'.";
	return psprintf("PSP \"%s\" cannot take this payment: %s", route->psp, refusal);
}

void
pay_require_able(const PayPayment *payment, PayOpKind kind, int64 amount)
{
	int64		whole = kind == PAY_OP_CAPTURE ? payment->authorized : kind == PAY_OP_REFUND ? payment->captured : amount;
	const char *refusal;

	/* Of another version of the library: the worker will say so. */
	if (payment->adapter == NULL)
		return;
	/* Nothing is at the PSP yet, so nothing is asked of it. */
	if (kind == PAY_OP_VOID && pay_payment_can(payment, "cancel"))
		return;
	refusal = pay_psp_refusal(payment->adapter, kind, amount < whole);
	if (refusal)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SUPPORTED),
				 errmsg("PSP \"%s\" does not support this: %s", payment->psp, refusal),
				 errhint("Ask for what it can do, or do it on the PSP's own pages.")));
}

/* A copy of this database may have sent what is unsent here: the worker will ask the PSP. */
void
pay_require_unsent(const PayPayment *payment)
{
	ListCell   *cell;

	if (payment->adapter == NULL || payment->adapter->in_process)
		return;
	foreach(cell, payment->operations)
	{
		PayOperation *open = lfirst(cell);

		if (!pay_operation_is_open(open) || !pay_perhaps_sent_elsewhere(open->created_at))
			continue;
		ereport(ERROR,
				(errcode(PAY_ERR_OPERATION_IN_PROGRESS),
				 errmsg("cannot cancel a payment that is perhaps at the PSP"),
				 errdetail("It is older than the arming of this database, or that is not armed: another copy may have sent it."),
				 errhint("Once armed, the worker asks the PSP first: wait for the result with wait_payment(), then cancel or refund it.")));
	}
}
