/*
 * src/psp/psp.c
 *		Spellings of the adapter interface's words, and the list of adapters.
 *
 * The words here are the ones in tables, events and documentation; each
 * enumerator has exactly one.
 */
#include "payments.h"

#include "psp/psp.h"

static const PayAdapter *const adapters[] = {
	&pay_adapter_sandbox,
	&pay_adapter_stripe,
};

const PayAdapter *
pay_psp_adapter(const char *name)
{
	for (size_t i = 0; i < lengthof(adapters); i++)
		if (strcmp(adapters[i]->name, name) == 0)
			return adapters[i];
	return NULL;
}

const PayFeed *
pay_psp_feed(const PayAdapter *adapter, const char *name)
{
	for (int i = 0; adapter && i < adapter->n_feeds; i++)
		if (strcmp(adapter->feeds[i].name, name) == 0)
			return &adapter->feeds[i];
	return NULL;
}

const char *
pay_op_kind_name(PayOpKind kind)
{
	switch (kind)
	{
		case PAY_OP_CHARGE:
			return "charge";
		case PAY_OP_AUTHORIZE:
			return "authorize";
		case PAY_OP_CAPTURE:
			return "capture";
		case PAY_OP_VOID:
			return "void";
		case PAY_OP_REFUND:
			return "refund";
	}
	elog(ERROR, "unrecognized operation kind: %d", (int) kind);
	return NULL;
}

bool
pay_op_kind_parse(const char *name, PayOpKind *kind)
{
	for (int k = PAY_OP_CHARGE; k <= PAY_OP_REFUND; k++)
	{
		if (strcmp(pay_op_kind_name((PayOpKind) k), name) == 0)
		{
			*kind = (PayOpKind) k;
			return true;
		}
	}
	return false;
}

const char *
pay_class_name(PayClass class)
{
	switch (class)
	{
		case PAY_CLASS_APPROVED:
			return "approved";
		case PAY_CLASS_PENDING:
			return "pending";
		case PAY_CLASS_REQUIRES_ACTION:
			return "requires_action";
		case PAY_CLASS_DECLINED:
			return "declined";
		case PAY_CLASS_RETRY_LATER:
			return "retry_later";
		case PAY_CLASS_NOT_SENT:
			return "not_sent";
		case PAY_CLASS_UNKNOWN:
			return "unknown";
		case PAY_CLASS_MISCONFIGURED:
			return "misconfigured";
		case PAY_CLASS_DUPLICATE:
			return "duplicate";
		case PAY_CLASS_CONFLICTED:
			return "conflicted";
	}
	elog(ERROR, "unrecognized answer class: %d", (int) class);
	return NULL;
}

bool
pay_class_parse(const char *name, PayClass *class)
{
	for (int c = PAY_CLASS_APPROVED; c <= PAY_CLASS_CONFLICTED; c++)
	{
		if (strcmp(pay_class_name((PayClass) c), name) == 0)
		{
			*class = (PayClass) c;
			return true;
		}
	}
	return false;
}

const char *
pay_effect_name(PayEffect effect)
{
	switch (effect)
	{
		case PAY_EFFECT_NONE:
			return "none";
		case PAY_EFFECT_AUTHORIZED:
			return "authorized";
		case PAY_EFFECT_CAPTURED:
			return "captured";
		case PAY_EFFECT_VOIDED:
			return "voided";
		case PAY_EFFECT_REFUNDED:
			return "refunded";
		case PAY_EFFECT_REFUND_FAILED:
			return "refund_failed";
		case PAY_EFFECT_DISPUTED:
			return "disputed";
		case PAY_EFFECT_DISPUTE_WON:
			return "dispute_won";
	}
	elog(ERROR, "unrecognized effect: %d", (int) effect);
	return NULL;
}
