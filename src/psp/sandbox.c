/*
 * src/psp/sandbox.c
 *		A PSP inside the server: no network, no account, no money.
 *
 * What happens is written in the payment method, and ids derive from the
 * operation's name and generation, so the same command always gets the same
 * answer: repeating one is as safe as at a PSP with perfect idempotency.
 * Nothing is remembered, so a crash leaves nothing.
 */
#include "payments.h"

#include "psp/psp.h"

/* Ten years; the sandbox never forgets a key. */
#define KEY_VALID_S (10 * 365 * 24 * 60 * 60)
/* As of most cards. */
#define AUTHORIZATION_VALID_S (7 * 24 * 60 * 60)

/* What a payment method makes of a charge or an authorization. */
typedef struct Script
{
	const char *payment_method;
	PayClass	first_answer;
	PayClass	inquiry_answer;
	const char *code;			/* of a decline */
} Script;

static const Script scripts[] = {
	{"sandbox_ok", PAY_CLASS_APPROVED, PAY_CLASS_APPROVED, NULL},
	{"sandbox_declined", PAY_CLASS_DECLINED, PAY_CLASS_DECLINED, "generic_decline"},
	/* A soft decline by its decline_rule, like a real PSP's. */
	{"sandbox_insufficient_funds", PAY_CLASS_DECLINED, PAY_CLASS_DECLINED, "insufficient_funds"},
	{"sandbox_lost_card", PAY_CLASS_DECLINED, PAY_CLASS_DECLINED, "lost_card"},
	{"sandbox_timeout", PAY_CLASS_UNKNOWN, PAY_CLASS_APPROVED, NULL},
	{"sandbox_unreachable", PAY_CLASS_NOT_SENT, PAY_CLASS_UNKNOWN, NULL},
	{"sandbox_requires_action", PAY_CLASS_REQUIRES_ACTION, PAY_CLASS_APPROVED, NULL},
	{"sandbox_pending", PAY_CLASS_PENDING, PAY_CLASS_APPROVED, NULL},
	{"sandbox_vanished", PAY_CLASS_UNKNOWN, PAY_CLASS_UNKNOWN, NULL},
};

static const Script unknown_method = {NULL, PAY_CLASS_DECLINED, PAY_CLASS_DECLINED, "unknown_payment_method"};

static void perform(const PayCommand *command, bool inquiry, PayResult *result);
static void perform_payment(const PayCommand *command, bool inquiry, PayResult *result);
static void perform_refund(const PayCommand *command, PayResult *result);
static const Script *find_script(const char *payment_method);
static void approve(const PayCommand *command, PayEffect effect, PayResult *result);
static void add_fee(const PayCommand *command, PayResult *result);
static const char *sandbox_id(const char *prefix, const PayCommand *command);

const PayAdapter pay_adapter_sandbox = {
	.name = "sandbox",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_CAPTURE_MANY | PAY_CAN_REFUND_PART,
	.in_process = true,
	.authorization_valid_s = AUTHORIZATION_VALID_S,
	.key_valid_s = KEY_VALID_S,
	.perform = perform,
};

static void
perform(const PayCommand *command, bool inquiry, PayResult *result)
{
	pay_result_init(result);
	result->psp_ref = command->psp_ref;
	result->generation = command->generation;
	result->psp_payment_id = command->psp_payment_id;

	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			perform_payment(command, inquiry, result);
			return;
		case PAY_OP_CAPTURE:
			approve(command, PAY_EFFECT_CAPTURED, result);
			result->keeps_rest = command->keep_rest;
			add_fee(command, result);
			return;
		case PAY_OP_VOID:
			approve(command, PAY_EFFECT_VOIDED, result);
			return;
		case PAY_OP_REFUND:
			perform_refund(command, result);
			return;
		case PAY_OP_EXPIRE:
			/* It is only asked once the time is over. */
			approve(command, PAY_EFFECT_EXPIRED, result);
			result->object_id = command->psp_payment_id;
			return;
		case PAY_OP_PAYOUT:
			return;
	}
}

static void
perform_payment(const PayCommand *command, bool inquiry, PayResult *result)
{
	const Script *script = find_script(command->payment_method);
	PayClass	answer = inquiry ? script->inquiry_answer : script->first_answer;
	bool		is_known;

	/* The fault of sandbox_timeout is in its first generation only. */
	if (script->first_answer == PAY_CLASS_UNKNOWN && script->inquiry_answer == PAY_CLASS_APPROVED &&
		command->generation > 1)
		answer = PAY_CLASS_APPROVED;

	/* After a lost answer or a lost request nobody has told us an id. */
	is_known = answer != PAY_CLASS_UNKNOWN && answer != PAY_CLASS_NOT_SENT;
	if (is_known)
		result->psp_payment_id = sandbox_id("sb", command);

	if (answer == PAY_CLASS_APPROVED)
	{
		if (command->kind == PAY_OP_AUTHORIZE)
			approve(command, PAY_EFFECT_AUTHORIZED, result);
		else
		{
			approve(command, PAY_EFFECT_CAPTURED, result);
			add_fee(command, result);
		}
		return;
	}

	result->class = answer;
	if (script->code != NULL)
	{
		result->codes[0] = script->code;
		result->message = psprintf("The sandbox declined the payment: %s.", script->code);
	}
	if (answer == PAY_CLASS_REQUIRES_ACTION)
		result->next_action_url = psprintf("https://sandbox.invalid/authenticate/%s", sandbox_id("sb", command));
	if (inquiry && !is_known)
		result->inquiry_found_nothing = true;
}

static void
perform_refund(const PayCommand *command, PayResult *result)
{
	if (command->amount > command->captured)
	{
		result->class = PAY_CLASS_DECLINED;
		result->codes[0] = "refund_exceeds_captured";
		result->message = "The sandbox declined the refund: more than was captured.";
		return;
	}
	approve(command, PAY_EFFECT_REFUNDED, result);
}

static const Script *
find_script(const char *payment_method)
{
	if (payment_method == NULL)
		return &scripts[0];
	for (size_t i = 0; i < lengthof(scripts); i++)
		if (strcmp(scripts[i].payment_method, payment_method) == 0)
			return &scripts[i];
	return &unknown_method;
}

static void
approve(const PayCommand *command, PayEffect effect, PayResult *result)
{
	result->class = PAY_CLASS_APPROVED;
	result->effect = effect;
	result->amount = command->amount;
	result->currency = command->currency;
	result->object_id = sandbox_id("sb", command);
}

/* One per cent, half a unit rounded up. */
static void
add_fee(const PayCommand *command, PayResult *result)
{
	result->fee = command->amount / 100 + (command->amount % 100 >= 50 ? 1 : 0);
	if (result->fee == 0)
		return;
	result->fee_currency = command->currency;
	result->fee_object_id = sandbox_id("sb_fee", command);
}

/* A later generation is another object, as it would be at a PSP. */
static const char *
sandbox_id(const char *prefix, const PayCommand *command)
{
	Assert(command->psp_ref != NULL);
	if (command->generation > 1)
		return psprintf("%s_%s_%d", prefix, command->psp_ref, command->generation);
	return psprintf("%s_%s", prefix, command->psp_ref);
}
