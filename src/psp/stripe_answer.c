/*
 * src/psp/stripe_answer.c
 *		Stripe: what answers and inquiries say, in our words.
 *
 * The rules are those at the head of psp/stripe.c.  The first of them here:
 * what cannot be read, or does not name our operation, is PAY_CLASS_UNKNOWN.
 * Events are read in psp/stripe_event.c.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe_object.h"

#include "base/json.h"

#include "utils/formatting.h"

/* Stripe's own reasons for a cancellation that nobody asked for. */
static const char *const expiry_reasons[] = {"automatic", "expired", NULL};

/* It was done already, perhaps by a call whose answer was lost: ask. */
static const char *const duplicate_codes[] = {
	"charge_already_captured", "charge_already_refunded", "payment_intent_unexpected_state", NULL
};

static void read_refusal(Jsonb *json, int http_status, PayResult *result);
static void read_failed_inquiry(Jsonb *json, int http_status, PayResult *result);
static void read_success(const PayCommand *command, bool inquiry, Jsonb *json, PayResult *result);
static bool choose(const PayCommand *command, Jsonb *list, PayStripeNode *chosen, PayResult *result);
static void read_intent_status(const PayStripeNode *intent, const PayCommand *command, bool inquiry, int64 amount, PayResult *result);
static void read_captured(const PayStripeNode *intent, const PayCommand *command, PayResult *result);
static bool is_expected(const PayCommand *command, int64 received);

/* ---------- answers ---------- */

void
pay_stripe_read_header(const PayHeader *header, PayAnswer *answer)
{
	if (pay_header_is(header, "request-id"))
		pay_copy_printable(answer->request_id, sizeof(answer->request_id), header->value, header->value_bytes);
	else if (pay_header_is(header, "stripe-rate-limited-reason"))
		answer->of_one_object = header->value_bytes == 17 && memcmp(header->value, "resource-specific", 17) == 0;
}

void
pay_stripe_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	Jsonb	   *json;
	const char *code;

	pay_result_init(result);
	switch (answer->transport)
	{
		case PAY_TRANSPORT_NOT_SENT:
			/* Of an inquiry it says nothing about the operation. */
			result->class = inquiry ? PAY_CLASS_UNKNOWN : PAY_CLASS_NOT_SENT;
			return;
		case PAY_TRANSPORT_LOST:
			result->class = PAY_CLASS_UNKNOWN;
			return;
		case PAY_TRANSPORT_ANSWERED:
			break;
	}

	if (answer->retry_after_s >= 0)
		result->retry_after_ms = answer->retry_after_s * 1000;
	json = pay_json_parse(answer->body, answer->body_bytes);
	/* 429 as well, but of one object, such as one that somebody else has locked. */
	code = pay_json_text(json, "error.code");
	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s) && !answer->of_one_object && !(code && strcmp(code, "lock_timeout") == 0);

	if (answer->http_status == 200)
		read_success(command, inquiry, json, result);
	else if (inquiry)
		read_failed_inquiry(json, answer->http_status, result);
	else
		read_refusal(json, answer->http_status, result);
}

/*
 * Anything but 200 to a request that was to move money.  Without an error
 * object of Stripe's, each of which has a type, it may come from something in between, after Stripe has
 * charged, and proves nothing whatever its status is.
 */
static void
read_refusal(Jsonb *json, int http_status, PayResult *result)
{
	PayStripeNode		error = {json, "error."};
	const char *type = pay_stripe_text_at(&error, "type");
	const char *code;

	if (type == NULL)
		return;
	pay_stripe_read_error(&error, result);
	if (http_status == 401 || http_status == 403)
	{
		result->class = PAY_CLASS_MISCONFIGURED;
		return;
	}
	if (http_status == 429)
	{
		/* Rate limits and lock timeouts come before anything is executed. */
		result->class = PAY_CLASS_NOT_SENT;
		return;
	}

	code = pay_stripe_text_at(&error, "code");
	result->psp_payment_id = pay_stripe_id_at(&error, "payment_intent.id");
	if (code != NULL && strcmp(code, "idempotency_key_in_use") == 0)
	{
		/*
		 * A twin of this request is being executed, sent by a worker that has
		 * died since: it may charge yet, so this is no "not sent", which a
		 * cancel would take for "nothing is there".
		 */
		result->class = PAY_CLASS_UNKNOWN;
		return;
	}
	if (strcmp(type, "idempotency_error") == 0)
	{
		/* Another request was sent under this key: which of the two stands is for a person to see. */
		pay_stripe_conflict(result, "idempotency_error");
		return;
	}
	switch (http_status)
	{
		case 400:
		case 402:
		case 404:
			result->class = pay_stripe_is_listed(code, duplicate_codes) ? PAY_CLASS_DUPLICATE : PAY_CLASS_DECLINED;
			break;
		case 409:
			/* A lock timeout and its like: this request was not executed. */
			result->class = PAY_CLASS_NOT_SENT;
			break;
		default:
			/* 424 and 5xx may come after the charge was made; others are not in Stripe's book. */
			result->class = PAY_CLASS_UNKNOWN;
			break;
	}
}

static void
read_failed_inquiry(Jsonb *json, int http_status, PayResult *result)
{
	PayStripeNode		error = {json, "error."};
	const char *code = pay_stripe_text_at(&error, "code");

	if ((http_status == 401 || http_status == 403) && pay_stripe_text_at(&error, "type") != NULL)
	{
		result->class = PAY_CLASS_MISCONFIGURED;
		pay_stripe_read_error(&error, result);
		return;
	}
	pay_stripe_add_code(result, "", code);
	if (http_status == 404 && code != NULL && strcmp(code, "resource_missing") == 0)
		result->inquiry_found_nothing = true;
}

static void
read_success(const PayCommand *command, bool inquiry, Jsonb *json, PayResult *result)
{
	PayStripeNode		node = {json, ""};
	const char *object = pay_stripe_text_at(&node, "object");

	if (object == NULL)
		return;
	if (inquiry && (strcmp(object, "search_result") == 0 || strcmp(object, "list") == 0))
	{
		if (!choose(command, json, &node, result))
			return;
	}

	if (command->kind == PAY_OP_PAYOUT)
		pay_stripe_read_payout(&node, command, inquiry, result);
	else if (command->kind == PAY_OP_REFUND)
		pay_stripe_read_refund(&node, command, result);
	else
		pay_stripe_read_payment_intent(&node, command, inquiry, result);
}

/*
 * Picks the one of a list that is our operation's, by reference and
 * generation.  Two that moved money mean that we did something twice, long
 * after the key was forgotten.
 */
static bool
choose(const PayCommand *command, Jsonb *list, PayStripeNode *chosen, PayResult *result)
{
	static const char *const moved[] = {"succeeded", "requires_capture", "processing", "pending", "in_transit", "paid", NULL};
	int			matches = 0;
	int			moves = 0;
	bool		more = false;

	for (int i = 0; i < PAY_STRIPE_LIST_LIMIT; i++)
	{
		PayStripeNode		entry = {list, psprintf("data.%d.", i)};
		PayResult	names = {0};
		bool		has_moved;

		if (!pay_json_is_object(list, psprintf("data.%d", i)))
			break;
		if (!pay_stripe_read_names(&entry, &names) || names.psp_ref == NULL || command->psp_ref == NULL ||
			strcmp(names.psp_ref, command->psp_ref) != 0 || names.generation != command->generation)
			continue;
		has_moved = pay_stripe_is_listed(pay_stripe_text_at(&entry, "status"), moved);
		if (matches == 0 || (has_moved && moves == 0))
			*chosen = entry;
		matches++;
		moves += has_moved ? 1 : 0;
	}
	if (moves > 1)
	{
		pay_stripe_read_names(chosen, result);
		pay_stripe_conflict(result, "several_at_psp");
		return false;
	}
	if (matches == 0)
		result->inquiry_found_nothing = pay_json_exists(list, "data") &&
			!(pay_json_bool(list, "has_more", &more) && more);
	return matches > 0;
}

/* `command` is NULL for an event. */
void
pay_stripe_read_payment_intent(const PayStripeNode *intent, const PayCommand *command, bool inquiry, PayResult *result)
{
	const char *object = pay_stripe_text_at(intent, "object");
	const char *currency = pay_stripe_text_at(intent, "currency");
	int64		amount;

	if (object == NULL || strcmp(object, "payment_intent") != 0 || currency == NULL ||
		!pay_stripe_int64_at(intent, "amount", &amount) || !pay_stripe_read_names(intent, result))
		return;
	result->psp_payment_id = result->object_id;
	result->currency = asc_toupper(currency, strlen(currency));

	if (command == NULL)
	{
		read_intent_status(intent, NULL, false, amount, result);
		return;
	}
	if (command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE)
	{
		if (!pay_stripe_names_agree(command, inquiry, result))
			return;
		result->amount = amount;
		if (amount != command->amount)
		{
			pay_stripe_conflict(result, "amount_mismatch");
			return;
		}
	}
	else
	{
		/* Its names are those of the charge, not of this operation. */
		result->psp_ref = NULL;
		result->generation = 0;
	}
	if (command->psp_payment_id != NULL && strcmp(result->psp_payment_id, command->psp_payment_id) != 0)
		pay_stripe_conflict(result, "reference_mismatch");
	else if (pg_strcasecmp(currency, command->currency) != 0)
		pay_stripe_conflict(result, "currency_mismatch");
	else
		read_intent_status(intent, command, inquiry, amount, result);
}

static void
read_intent_status(const PayStripeNode *intent, const PayCommand *command, bool inquiry, int64 amount, PayResult *result)
{
	const char *status = pay_stripe_text_at(intent, "status");
	bool		is_void = command != NULL && command->kind == PAY_OP_VOID;
	bool		is_capture = command != NULL && command->kind == PAY_OP_CAPTURE;
	int64		received = 0;
	PayStripeNode		error = {intent->json, psprintf("%slast_payment_error.", intent->prefix)};

	result->amount = 0;
	if (status == NULL)
		return;
	if (strcmp(status, "succeeded") == 0)
		read_captured(intent, command, result);
	else if (strcmp(status, "processing") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "canceled") == 0)
	{
		bool		by_stripe = pay_stripe_is_listed(pay_stripe_text_at(intent, "cancellation_reason"), expiry_reasons);

		/* To a capture that is a refusal. */
		result->class = is_capture ? PAY_CLASS_DECLINED : PAY_CLASS_APPROVED;
		result->effect = by_stripe && !is_void ? PAY_EFFECT_EXPIRED : is_capture ? PAY_EFFECT_NONE : PAY_EFFECT_VOIDED;
		result->amount = is_capture ? 0 : amount;
		if (!is_void)
			pay_stripe_add_code(result, "", "canceled");
	}
	else if (strcmp(status, "requires_capture") == 0 && !is_void &&
			 pay_stripe_int64_at(intent, "amount_received", &received) && received > 0 &&
			 pay_stripe_int64_at(intent, "amount_capturable", &result->amount))
	{
		result->keeps_rest = true;
		read_captured(intent, command, result);
	}
	else if (strcmp(status, "requires_capture") == 0 && !is_void && !is_capture)
	{
		if (!pay_stripe_int64_at(intent, "amount_capturable", &result->amount))
			return;
		(void) pay_stripe_int64_at(intent, "latest_charge.payment_method_details.card.capture_before", &result->capture_before);
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_AUTHORIZED;
	}
	else if (is_void || (is_capture && strcmp(status, "requires_capture") == 0))
		pay_stripe_not_done_yet(inquiry, result);
	else if (strcmp(status, "requires_action") == 0)
	{
		result->class = PAY_CLASS_REQUIRES_ACTION;
		result->next_action_url = pay_stripe_text_at(intent, "next_action.redirect_to_url.url");
	}
	else if (strcmp(status, "requires_payment_method") == 0 && pay_stripe_text_at(&error, "type") != NULL)
	{
		/* Without an error the confirmation has not ended yet (or search shows an old copy): unknown. */
		result->class = PAY_CLASS_DECLINED;
		pay_stripe_read_error(&error, result);
	}
}

static void
read_captured(const PayStripeNode *intent, const PayCommand *command, PayResult *result)
{
	PayStripeNode		fee = {intent->json, psprintf("%slatest_charge.balance_transaction.", intent->prefix)};
	const char *fee_currency = pay_stripe_text_at(&fee, "currency");
	int64		received;

	if (!pay_stripe_int64_at(intent, "amount_received", &received))
		return;
	if (command != NULL && command->kind == PAY_OP_VOID && command->captured > 0 && received == command->captured && received < command->amount)
	{
		/* What was captured before stays, and the rest is given back. */
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_VOIDED;
		return;
	}
	if (command != NULL && command->kind == PAY_OP_VOID)
	{
		result->class = PAY_CLASS_DECLINED;
		result->message = "The payment was captured, so it cannot be cancelled.";
		pay_stripe_add_code(result, "", "already_captured");
		return;
	}
	result->amount = received;
	if (command != NULL && !is_expected(command, received))
	{
		pay_stripe_conflict(result, "amount_mismatch");
		return;
	}
	result->class = PAY_CLASS_APPROVED;
	result->effect = PAY_EFFECT_CAPTURED;

	result->fee_object_id = pay_stripe_id_at(&fee, "id");
	if (result->fee_object_id == NULL || fee_currency == NULL || !pay_stripe_int64_at(&fee, "fee", &result->fee) || result->fee <= 0)
	{
		result->fee = 0;
		result->fee_object_id = NULL;
		return;
	}
	result->fee_currency = asc_toupper(fee_currency, strlen(fee_currency));
}

/* A capture is told with those before it: with its own, or before its own has been booked, or after. */
static bool
is_expected(const PayCommand *command, int64 received)
{
	if (command->kind == PAY_OP_CAPTURE)
		return received == command->captured || received == command->captured + command->amount;
	return command->kind != PAY_OP_CHARGE || received == command->amount;
}

/* `command` is NULL for an event. */
void
pay_stripe_read_refund(const PayStripeNode *refund, const PayCommand *command, PayResult *result)
{
	const char *object = pay_stripe_text_at(refund, "object");
	const char *status = pay_stripe_text_at(refund, "status");
	const char *currency = pay_stripe_text_at(refund, "currency");

	if (object == NULL || strcmp(object, "refund") != 0 || status == NULL || currency == NULL ||
		!pay_stripe_int64_at(refund, "amount", &result->amount) || !pay_stripe_read_names(refund, result))
		return;
	result->psp_payment_id = pay_stripe_id_at(refund, "payment_intent");
	result->currency = asc_toupper(currency, strlen(currency));

	if (command != NULL)
	{
		if (!pay_stripe_names_agree(command, false, result))
			return;
		if (result->amount != command->amount)
		{
			pay_stripe_conflict(result, "amount_mismatch");
			return;
		}
		if (pg_strcasecmp(currency, command->currency) != 0)
		{
			pay_stripe_conflict(result, "currency_mismatch");
			return;
		}
		if (result->psp_payment_id != NULL && command->psp_payment_id != NULL &&
			strcmp(result->psp_payment_id, command->psp_payment_id) != 0)
		{
			pay_stripe_conflict(result, "reference_mismatch");
			return;
		}
	}

	if (strcmp(status, "succeeded") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_REFUNDED;
	}
	else if (strcmp(status, "pending") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "requires_action") == 0)
		result->class = PAY_CLASS_REQUIRES_ACTION;
	else if (strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0)
	{
		/* A refund may fail days after it succeeded: as news it is a fact about money, not a refusal. */
		result->class = command == NULL ? PAY_CLASS_APPROVED : PAY_CLASS_DECLINED;
		result->effect = PAY_EFFECT_REFUND_FAILED;
		pay_stripe_add_code(result, "", pay_stripe_text_at(refund, "failure_reason"));
		pay_stripe_add_code(result, "", status[0] == 'f' ? "refund_failed" : "refund_canceled");
	}
}

/* A payout, or a transfer to another account, which is done when it is made and may be taken back. */
void
pay_stripe_read_payout(const PayStripeNode *payout, const PayCommand *command, bool inquiry, PayResult *result)
{
	const char *object = pay_stripe_text_at(payout, "object");
	const char *status = pay_stripe_text_at(payout, "status");
	const char *currency = pay_stripe_text_at(payout, "currency");
	bool		is_transfer = object != NULL && strcmp(object, "transfer") == 0;
	bool		reversed = false;
	int64		back = 0;

	if (object == NULL || (!is_transfer && (strcmp(object, "payout") != 0 || status == NULL)) || currency == NULL ||
		!pay_stripe_int64_at(payout, "amount", &result->amount) || !pay_stripe_read_names(payout, result))
		return;
	result->psp_payment_id = result->object_id;
	result->currency = asc_toupper(currency, strlen(currency));
	if (command != NULL && !pay_stripe_names_agree(command, inquiry, result))
		return;
	if (command != NULL && (result->amount != command->amount || pg_strcasecmp(currency, command->currency) != 0))
	{
		pay_stripe_conflict(result, result->amount != command->amount ? "amount_mismatch" : "currency_mismatch");
		return;
	}
	if (is_transfer)
	{
		(void) pay_json_bool(payout->json, psprintf("%sreversed", payout->prefix), &reversed);
		(void) pay_stripe_int64_at(payout, "amount_reversed", &back);
		status = reversed ? "failed" : "paid";
	}
	if (back > 0 && !reversed)
	{
		/* A part of it: by whose word, and for what, a person knows. */
		pay_stripe_conflict(result, "reversed_in_part");
		result->amount = back;
	}
	else if (strcmp(status, "paid") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_PAID_OUT;
	}
	else if (strcmp(status, "pending") == 0 || strcmp(status, "in_transit") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "failed") == 0 || strcmp(status, "canceled") == 0)
	{
		result->class = command == NULL ? PAY_CLASS_APPROVED : PAY_CLASS_DECLINED;
		result->effect = PAY_EFFECT_PAYOUT_FAILED;
		result->message = pay_stripe_text_at(payout, "failure_message");
		pay_stripe_add_code(result, "", pay_stripe_text_at(payout, "failure_code"));
		pay_stripe_add_code(result, "", is_transfer ? "transfer_reversed" : status[0] == 'f' ? "payout_failed" : "payout_canceled");
	}
}
