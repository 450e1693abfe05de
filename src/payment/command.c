/*
 * src/payment/command.c
 *		What an adapter may know of an operation, and whether it can ask about it.
 */
#include "payments.h"

#include "payment/command.h"

#include "base/money.h"
#include "payment/adapter.h"

static bool is_elsewhere(const PayPayment *payment, const PayOperation *operation);
static const char *target_of(const PayPayment *payment, const PayOperation *operation);
static const char *capture_of(const PayPayment *payment, const PayOperation *refund);
static int	roomy_capture(const PayPayment *payment, const int64 *given, int64 amount);
static void name_maker(const PayPayment *payment, PayCommand *command);

/* Has the payment its money from an object that this operation did not make?  What it has made has then another id. */
static bool
is_elsewhere(const PayPayment *payment, const PayOperation *operation)
{
	const char *own = operation->psp_object_id;

	return pay_operation_is_first(operation) && pay_payment_has_money(payment) &&
		(own == NULL || (pay_payment_moved(payment, "capture", own) == NULL && pay_payment_moved(payment, "authorize", own) == NULL));
}

/* Of a refund the capture, of what else follows a payment the authorization. */
static const char *
target_of(const PayPayment *payment, const PayOperation *operation)
{
	ListCell   *cell;

	if (operation->kind == PAY_OP_REFUND)
		return capture_of(payment, operation);
	foreach(cell, payment->moved)
	{
		PayMoved   *moved = lfirst(cell);

		if (!pay_operation_is_first(operation) && strcmp(moved->kind, "authorize") == 0)
			return moved->object_id;
	}
	return NULL;
}

/*
 * Of several, one that has as much left.  Nothing says which of them an earlier
 * refund was of, but that each was chosen in the same way.
 */
static const char *
capture_of(const PayPayment *payment, const PayOperation *refund)
{
	int64	   *given = palloc0(sizeof(int64) * Max(list_length(payment->moved), 1));
	ListCell   *cell;
	int			i;

	foreach(cell, payment->operations)
	{
		PayOperation *earlier = lfirst(cell);

		if (earlier == refund)
			break;
		if (earlier->kind != PAY_OP_REFUND || strcmp(earlier->status, "failed") == 0 || strcmp(earlier->status, "cancelled") == 0)
			continue;
		i = roomy_capture(payment, given, earlier->amount);
		if (i >= 0)
			given[i] += earlier->amount;
	}
	i = roomy_capture(payment, given, refund->amount);
	return i >= 0 ? ((PayMoved *) list_nth(payment->moved, i))->object_id : NULL;
}

/* In an order that is the same again however they were read; -1: none. */
static int
roomy_capture(const PayPayment *payment, const int64 *given, int64 amount)
{
	int			best = -1;

	for (int i = 0; i < list_length(payment->moved); i++)
	{
		PayMoved   *moved = list_nth(payment->moved, i);

		if (strcmp(moved->kind, "capture") == 0 && moved->amount - given[i] >= amount &&
			(best < 0 || strcmp(moved->object_id, ((PayMoved *) list_nth(payment->moved, best))->object_id) < 0))
			best = i;
	}
	return best;
}

static void
name_maker(const PayPayment *payment, PayCommand *command)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
	{
		const PayOperation *first = lfirst(cell);

		if (!pay_operation_is_first(first))
			continue;
		command->made_ref = first->psp_ref;
		command->made_kind = first->kind;
		command->made_generation = first->generation;
		return;
	}
}

bool
pay_queue_command(const PayPayment *payment, const PayOperation *operation, PayCommand *command)
{
	command->kind = operation->kind;
	command->currency = payment->currency;
	command->exponent = payment->psp_exponent;
	command->payment_method = payment->payment_method;
	command->customer = payment->customer;
	command->order_ref = payment->order_ref;
	command->description = payment->description;
	command->return_url = payment->return_url;
	command->reason = operation->reason;
	command->keep_rest = operation->keep_rest;
	command->destination = operation->kind == PAY_OP_PAYOUT ? payment->payment_method : NULL;
	command->off_session = payment->off_session;
	command->psp_ref = operation->psp_ref;
	command->generation = operation->generation;
	command->step = operation->step;
	name_maker(payment, command);
	command->psp_payment_id = is_elsewhere(payment, operation) ? NULL : payment->psp_payment_id;
	command->psp_object_id = operation->psp_object_id;
	command->target_id = target_of(payment, operation);
	command->config = payment->config;
	return pay_money_rescale(operation->amount, payment->exponent, payment->psp_exponent, &command->amount) &&
		pay_money_rescale(payment->captured, payment->exponent, payment->psp_exponent, &command->captured);
}

bool
pay_operation_can_be_asked(const PayPayment *payment, const PayOperation *operation)
{
	const PayAdapter *adapter = payment->adapter;
	PayCommand	command = {0};
	PayRequest	request = {0};

	if (adapter == NULL || !adapter->no_inquiry)
		return adapter && pay_adapter_has_inquiry(adapter);
	return pay_queue_command(payment, operation, &command) && pay_adapter_build_inquiry(adapter, &command, &request);
}
