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
static void name_maker(const PayPayment *payment, PayCommand *command);

/* Has the payment its money from an object that this operation did not make?  What it has made has then another id. */
static bool
is_elsewhere(const PayPayment *payment, const PayOperation *operation)
{
	const char *own = operation->psp_object_id;

	return pay_operation_is_first(operation) && pay_payment_has_money(payment) &&
		(own == NULL || (pay_payment_moved(payment, "capture", own) == NULL && pay_payment_moved(payment, "authorize", own) == NULL));
}

/* Of several, the first that was told of. */
static const char *
target_of(const PayPayment *payment, const PayOperation *operation)
{
	const char *kind = operation->kind == PAY_OP_REFUND ? "capture" : "authorize";
	ListCell   *cell;

	if (pay_operation_is_first(operation))
		return NULL;
	foreach(cell, payment->moved)
	{
		PayMoved   *moved = lfirst(cell);

		if (strcmp(moved->kind, kind) == 0)
			return moved->object_id;
	}
	return NULL;
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
	command->exponent = payment->exponent;
	command->payment_method = payment->payment_method;
	command->customer = payment->customer;
	command->order_ref = payment->order_ref;
	command->description = payment->description;
	command->return_url = payment->return_url;
	command->reason = operation->reason;
	command->keep_rest = operation->keep_rest;
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
		return adapter && adapter->build_inquiry;
	return pay_queue_command(payment, operation, &command) && pay_adapter_build_inquiry(adapter, &command, &request);
}
