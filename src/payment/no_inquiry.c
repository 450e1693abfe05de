/*
 * src/payment/no_inquiry.c
 *		What is not known, at a PSP that cannot be asked.
 *
 * In doubt, the same bytes under the same key are question and command in one:
 * they bring the first answer again, or are done once.  So they are sent while
 * the PSP surely honours the key, at the times at which it would be asked.
 * Past that, and of what it has accepted, only its own word tells, an event or
 * a line of its books: the looks of the schedule pass by, and its end is a dead
 * letter, as if it had been asked in vain.
 *
 * Nothing is sent again while a cancellation of the payment is at the PSP: it
 * would make what that one did not find.  Nor is a payment that one was refused
 * for: the PSP may have refused because it had nothing to cancel, and whoever
 * asked for that is not charged afterwards.
 */
#include "payments.h"

#include "payment/no_inquiry.h"

#include "payment/apply_private.h"
#include "payment/retry.h"

bool
pay_operation_may_resend(PayPayment *payment, const PayOperation *operation, TimestampTz now)
{
	if (strcmp(operation->status, "in_doubt") != 0 || operation->key_used_at == 0 ||
		now >= operation->key_used_at + (TimestampTz) pay_psp_key_valid_s(payment->adapter, operation->kind) * USECS_PER_SEC)
		return false;
	if (pay_operation_is_first(operation))
		return !pay_payment_cancel_asked(payment);
	return operation->kind == PAY_OP_VOID || pay_payment_open_operation(payment, PAY_OP_VOID) == NULL;
}

void
pay_operation_wait_untold(PayPayments *set, PayPayment *payment, PayOperation *operation)
{
	PayContext	c = {.set = set, .payment = payment, .operation = operation};
	TimestampTz due;

	if (pay_apply_done(&c))
	{
		pay_operation_finish(set, operation, "succeeded", "webhook");
		return;
	}
	operation->dirty = true;
	if (operation->schedule == NULL)
		operation->schedule = "unknown";
	operation->try++;
	if (pay_retry_next(operation->schedule, payment->psp, operation->try, -1, set->now, &due))
		pay_operation_enqueue(set, operation, "inquire", due);
	else
		pay_operation_bury(operation, pay_ran_out(operation->schedule), "the PSP cannot be asked, and has told nothing");
}
