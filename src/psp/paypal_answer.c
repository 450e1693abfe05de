/*
 * src/psp/paypal_answer.c
 *		PayPal: what answers and inquiries say, in our words.
 *
 * A definite answer is an object of PayPal's that names what we asked for: an
 * order by its id or our name, a capture, refund or authorization by ours or
 * by the id that the request named.  Its errors have a name and a debug_id, and
 * their `issue` is what they mean.  All else is PAY_CLASS_UNKNOWN.
 */
#include "payments.h"

#include "psp/paypal.h"

#define CODE_BYTES_MAX 64
#define MESSAGE_BYTES_MAX 255
#define URL_BYTES_MAX 2000
#define CODE_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* It was done already, perhaps by a call whose answer was lost: ask. */
static const char *const duplicate_issues[] = {
	"ORDER_ALREADY_CAPTURED", "ORDER_ALREADY_AUTHORIZED", "ORDER_ALREADY_COMPLETED", "ORDER_COMPLETED_OR_VOIDED",
	"AUTHORIZATION_ALREADY_CAPTURED", "PREVIOUSLY_CAPTURED", "PREVIOUSLY_VOIDED", "CAPTURE_FULLY_REFUNDED",
	"DUPLICATE_INVOICE_ID", NULL
};

/* A twin of this request is being executed, and may yet do it. */
static const char *const busy_issues[] = {"PREVIOUS_REQUEST_IN_PROGRESS", "ORDER_COMPLETION_IN_PROGRESS", NULL};

static void read_refusal(PaySlice error, int http_status, bool inquiry, PayResult *result);
static bool is_own_refusal(PaySlice error, int http_status);
static void read_codes(PaySlice error, PayResult *result);
static bool is_listed(const PayResult *result, const char *const *list);
static void read_order(PaySlice order, const PayCommand *command, bool inquiry, PayResult *result);
static bool is_our_order(PaySlice order, PaySlice unit, const PayCommand *command, PayResult *result);
static bool read_payments(PaySlice unit, const PayCommand *command, PayResult *result);
static const char *next_url(PaySlice order);
static void find_in_order(PaySlice order, const PayCommand *command, PayResult *result);
static bool is_of_order(PaySlice order, const PayCommand *command, PayResult *result);
static bool is_ours(PaySlice object, const char *name, const PayCommand *command);
static bool same_amount(PaySlice object, const PayCommand *command, PayResult *result);
static void read_fee(PaySlice capture, PayResult *result);
static void decline(PaySlice object, const char *code, PayResult *result);
static void conflict(PayResult *result, const char *code);
static const char *presentable(const char *text);

void
pay_paypal_read_header(const PayHeader *header, PayAnswer *answer)
{
	if (pay_header_is(header, "paypal-debug-id"))
		pay_copy_printable(answer->request_id, sizeof(answer->request_id), header->value, header->value_bytes);
}

void
pay_paypal_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	bool		is_first = command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE;
	PaySlice	units;

	pay_result_init(result);
	if (answer->transport == PAY_TRANSPORT_NOT_SENT && !inquiry)
		result->class = PAY_CLASS_NOT_SENT;
	if (answer->transport != PAY_TRANSPORT_ANSWERED)
		return;
	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s);
	if (answer->retry_after_s >= 0)
		result->retry_after_ms = answer->retry_after_s * 1000;

	if (answer->http_status != 200 && answer->http_status != 201)
		read_refusal(body, answer->http_status, inquiry, result);
	else if (is_first)
		read_order(body, command, inquiry, result);
	else if (inquiry && pay_paypal_at(body, "purchase_units", &units))
		find_in_order(body, command, result);
	else if (command->kind == PAY_OP_REFUND)
		pay_paypal_read_refund(body, command, result);
	else if (command->kind == PAY_OP_CAPTURE)
		pay_paypal_read_capture(body, command, result);
	else
		pay_paypal_read_authorization(body, command, result);
	/* Of what does nothing yet, an inquiry says so. */
	if (result->class != PAY_CLASS_UNKNOWN || !inquiry)
		result->inquiry_found_nothing = false;
}

/* ---------- refusals ---------- */

static void
read_refusal(PaySlice error, int http_status, bool inquiry, PayResult *result)
{
	if (!is_own_refusal(error, http_status))
		return;
	read_codes(error, result);
	if (http_status == 401 || http_status == 403)
		result->class = PAY_CLASS_MISCONFIGURED;
	else if (inquiry)
		result->inquiry_found_nothing = http_status == 404;
	else if (http_status == 429)
		result->class = PAY_CLASS_NOT_SENT;
	else if (is_listed(result, busy_issues))
		result->class = PAY_CLASS_UNKNOWN;
	else if (http_status == 400 || http_status == 404 || http_status == 422)
		result->class = is_listed(result, duplicate_issues) ? PAY_CLASS_DUPLICATE : PAY_CLASS_DECLINED;
	/* 409 tells of a twin, and a 5xx may come after the money has moved. */
}

/* Of its gateway in front, which knows us by tokens, an error has another form. */
static bool
is_own_refusal(PaySlice error, int http_status)
{
	return (pay_paypal_text(error, "name") && pay_paypal_text(error, "debug_id")) ||
		(http_status == 401 && pay_paypal_text(error, "error") && pay_paypal_text(error, "error_description"));
}

/* The issues first, which are what it means; then the name. */
static void
read_codes(PaySlice error, PayResult *result)
{
	const char *message = pay_paypal_text(error, "details.0.description");

	for (int i = 0; i < PAY_CODES_MAX - 1; i++)
		pay_paypal_add_code(result, pay_paypal_text(error, psprintf("details.%d.issue", i)));
	pay_paypal_add_code(result, pay_paypal_text(error, "name"));
	pay_paypal_add_code(result, pay_paypal_text(error, "error"));
	result->message = presentable(message ? message : pay_paypal_text(error, "message"));
}

static bool
is_listed(const PayResult *result, const char *const *list)
{
	for (; *list; list++)
		for (int i = 0; i < PAY_CODES_MAX && result->codes[i]; i++)
			if (strcmp(result->codes[i], *list) == 0)
				return true;
	return false;
}

/* ---------- an order ---------- */

static void
read_order(PaySlice order, const PayCommand *command, bool inquiry, PayResult *result)
{
	const char *status = pay_paypal_text(order, "status");
	PaySlice	unit;

	if (status == NULL || !pay_paypal_at(order, "purchase_units.0", &unit) || !is_our_order(order, unit, command, result))
		return;
	if (read_payments(unit, command, result))
		return;
	if (strcmp(status, "APPROVED") == 0 && command->step <= 1)
	{
		result->class = PAY_CLASS_PENDING;
		result->next_step = 2;
	}
	else if (strcmp(status, "VOIDED") == 0)
		decline(order, "order_voided", result);
	else if (command->step > 1)
		/* As it was before our second request, or not to be captured any more: then it says so when that comes again. */
		result->inquiry_found_nothing = inquiry;
	else if (strcmp(status, "CREATED") == 0 || strcmp(status, "SAVED") == 0 || strcmp(status, "PAYER_ACTION_REQUIRED") == 0)
	{
		result->class = PAY_CLASS_REQUIRES_ACTION;
		result->next_action_url = next_url(order);
	}
}

/* By its id, where that is known; an order that is new has our name. */
static bool
is_our_order(PaySlice order, PaySlice unit, const PayCommand *command, PayResult *result)
{
	const char *name = pay_paypal_text(unit, "custom_id");
	const char *generation = pay_paypal_text(unit, "reference_id");
	PaySlice	amount;

	result->psp_payment_id = pay_paypal_id(order, "id");
	if (result->psp_payment_id == NULL || (name == NULL && command->psp_payment_id == NULL))
		return false;
	if ((command->psp_payment_id && strcmp(result->psp_payment_id, command->psp_payment_id) != 0) ||
		(name && (command->psp_ref == NULL || strcmp(name, command->psp_ref) != 0)) ||
		(generation && strcmp(generation, psprintf("%d", command->generation)) != 0))
	{
		conflict(result, "reference_mismatch");
		return false;
	}
	result->psp_ref = command->psp_ref;
	result->generation = command->generation;
	/* An answer to the second request may leave it out. */
	return !pay_paypal_at(unit, "amount", &amount) || same_amount(unit, command, result);
}

/* What has become of it; false: nothing yet. */
static bool
read_payments(PaySlice unit, const PayCommand *command, PayResult *result)
{
	bool		is_charge = command->kind == PAY_OP_CHARGE;
	PaySlice	list,
				element;
	size_t		at = 0;
	PayResult	none = *result;
	bool		found = false;

	if (!pay_paypal_at(unit, is_charge ? "payments.captures" : "payments.authorizations", &list))
		return false;
	/* One that was declined may have been followed by one that was not. */
	while (!(found && result->class != PAY_CLASS_DECLINED) && pay_slice_element(list, &at, &element) == PAY_SLICE_FOUND)
	{
		const char *order_id = none.psp_payment_id;

		*result = none;
		if (is_charge)
			pay_paypal_read_capture(element, command, result);
		else
			pay_paypal_read_authorization(element, command, result);
		found = result->class != PAY_CLASS_UNKNOWN;
		result->psp_payment_id = order_id;
		result->psp_ref = none.psp_ref;
		result->generation = none.generation;
		if (result->class == PAY_CLASS_CONFLICTED)
			return true;
	}
	if (!found)
		*result = none;
	return found;
}

/* Where the payer approves it. */
static const char *
next_url(PaySlice order)
{
	PaySlice	links,
				link;
	size_t		at = 0;

	if (!pay_paypal_at(order, "links", &links))
		return NULL;
	while (pay_slice_element(links, &at, &link) == PAY_SLICE_FOUND)
	{
		const char *rel = pay_paypal_text(link, "rel");
		const char *href = pay_paypal_text(link, "href");

		if (rel && href && (strcmp(rel, "payer-action") == 0 || strcmp(rel, "approve") == 0) &&
			strncmp(href, "https://", 8) == 0 && strlen(href) <= URL_BYTES_MAX && href[strcspn(href, " \"<>\\\t\r\n")] == '\0')
			return href;
	}
	return NULL;
}

/* ---------- what follows an order, found in it ---------- */

/* A capture of an authorization, or a refund, whose answer was lost. */
static void
find_in_order(PaySlice order, const PayCommand *command, PayResult *result)
{
	bool		is_refund = command->kind == PAY_OP_REFUND;
	PaySlice	list,
				element;
	size_t		at = 0;
	PayResult	none;

	if (!is_of_order(order, command, result))
		return;
	none = *result;
	none.inquiry_found_nothing = true;
	*result = none;
	if (!pay_paypal_at(order, is_refund ? "purchase_units.0.payments.refunds" : "purchase_units.0.payments.captures", &list))
		return;
	while (pay_slice_element(list, &at, &element) == PAY_SLICE_FOUND)
	{
		if (!is_ours(element, is_refund ? "custom_id" : "invoice_id", command))
			continue;
		*result = none;
		if (is_refund)
			pay_paypal_read_refund(element, command, result);
		else
			pay_paypal_read_capture(element, command, result);
		result->psp_payment_id = none.psp_payment_id;
		return;
	}
}

static bool
is_of_order(PaySlice order, const PayCommand *command, PayResult *result)
{
	result->psp_payment_id = pay_paypal_id(order, "id");
	if (result->psp_payment_id == NULL || command->psp_payment_id == NULL)
		return false;
	if (strcmp(result->psp_payment_id, command->psp_payment_id) == 0)
		return true;
	conflict(result, "reference_mismatch");
	return false;
}

static bool
is_ours(PaySlice object, const char *name, const PayCommand *command)
{
	const char *told = pay_paypal_text(object, name);

	return told && command->psp_ref && strcmp(told, command->psp_ref) == 0;
}

/* ---------- its objects ---------- */

void
pay_paypal_read_capture(PaySlice capture, const PayCommand *command, PayResult *result)
{
	const char *status = pay_paypal_text(capture, "status");
	bool		follows = command && command->kind == PAY_OP_CAPTURE;
	PaySlice	final;

	result->object_id = pay_paypal_id(capture, "id");
	result->psp_payment_id = pay_paypal_id(capture, "supplementary_data.related_ids.order_id");
	if (status == NULL || result->object_id == NULL || (follows && !is_ours(capture, "invoice_id", command)) ||
		!same_amount(capture, command, result))
		return;
	if (follows)
	{
		result->psp_ref = command->psp_ref;
		result->generation = command->generation;
	}
	/* Whatever has been given back of it since, it was captured. */
	if (strcmp(status, "COMPLETED") == 0 || strcmp(status, "PARTIALLY_REFUNDED") == 0 || strcmp(status, "REFUNDED") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_CAPTURED;
		result->keeps_rest = pay_paypal_at(capture, "final_capture", &final) && pay_slice_is(final, "false");
		read_fee(capture, result);
	}
	else if (strcmp(status, "PENDING") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "DECLINED") == 0 || strcmp(status, "FAILED") == 0)
		decline(capture, status[0] == 'D' ? "capture_declined" : "capture_failed", result);
}

static void
read_fee(PaySlice capture, PayResult *result)
{
	if (!pay_paypal_amount(capture, "seller_receivable_breakdown.paypal_fee", &result->fee, &result->fee_currency) || result->fee <= 0)
	{
		result->fee = 0;
		return;
	}
	result->fee_object_id = result->object_id;
}

void
pay_paypal_read_authorization(PaySlice authorization, const PayCommand *command, PayResult *result)
{
	const char *status = pay_paypal_text(authorization, "status");
	bool		is_void = command && (command->kind == PAY_OP_VOID || command->kind == PAY_OP_EXPIRE);

	result->object_id = pay_paypal_id(authorization, "id");
	result->psp_payment_id = is_void ? command->psp_payment_id : pay_paypal_id(authorization, "supplementary_data.related_ids.order_id");
	if (status == NULL || result->object_id == NULL ||
		(is_void && (command->target_id == NULL || strcmp(result->object_id, command->target_id) != 0)) ||
		!same_amount(authorization, is_void ? NULL : command, result))
		return;
	if (strcmp(status, "VOIDED") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = command && command->kind == PAY_OP_EXPIRE ? PAY_EFFECT_EXPIRED : PAY_EFFECT_VOIDED;
	}
	else if (is_void && strcmp(status, "CAPTURED") == 0)
		decline(authorization, "already_captured", result);
	else if (is_void)
	{
		result->object_id = NULL;
		result->inquiry_found_nothing = true;
	}
	else if (strcmp(status, "CREATED") == 0 || strcmp(status, "CAPTURED") == 0 || strcmp(status, "PARTIALLY_CAPTURED") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_AUTHORIZED;
	}
	else if (strcmp(status, "PENDING") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "DENIED") == 0)
		decline(authorization, "authorization_denied", result);
}

void
pay_paypal_read_refund(PaySlice refund, const PayCommand *command, PayResult *result)
{
	const char *status = pay_paypal_text(refund, "status");

	result->object_id = pay_paypal_id(refund, "id");
	result->psp_payment_id = command ? command->psp_payment_id : NULL;
	if (status == NULL || result->object_id == NULL || (command && !is_ours(refund, "custom_id", command)) ||
		!same_amount(refund, command, result))
		return;
	if (command)
	{
		result->psp_ref = command->psp_ref;
		result->generation = command->generation;
	}
	if (strcmp(status, "COMPLETED") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_REFUNDED;
	}
	else if (strcmp(status, "PENDING") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(status, "FAILED") == 0 || strcmp(status, "CANCELLED") == 0)
	{
		decline(refund, status[0] == 'F' ? "refund_failed" : "refund_cancelled", result);
		result->class = command ? PAY_CLASS_DECLINED : PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_REFUND_FAILED;
	}
}

/* Reads the object's; false when it cannot be read, or is none that was asked for. */
static bool
same_amount(PaySlice object, const PayCommand *command, PayResult *result)
{
	if (!pay_paypal_amount(object, "amount", &result->amount, &result->currency))
		return false;
	if (command && strcmp(result->currency, command->currency) != 0)
		conflict(result, "currency_mismatch");
	else if (command && result->amount != command->amount)
		conflict(result, "amount_mismatch");
	else
		return true;
	return false;
}

/* ---------- small things ---------- */

static void
decline(PaySlice object, const char *code, PayResult *result)
{
	result->class = PAY_CLASS_DECLINED;
	pay_paypal_add_code(result, pay_paypal_text(object, "processor_response.response_code"));
	pay_paypal_add_code(result, pay_paypal_text(object, "status_details.reason"));
	pay_paypal_add_code(result, code);
}

/* Keeps ids, amount and currency for the person who will look, but claims no effect. */
static void
conflict(PayResult *result, const char *code)
{
	result->class = PAY_CLASS_CONFLICTED;
	result->codes[0] = code;
	result->codes[1] = NULL;
	/* Another payment's id must not be remembered as this one's. */
	if (strcmp(code, "reference_mismatch") == 0)
		result->psp_payment_id = NULL;
}

/* Codes go into tables and events, so only what looks like one. */
void
pay_paypal_add_code(PayResult *result, const char *code)
{
	size_t		bytes = code ? strspn(code, CODE_CHARS) : 0;

	if (bytes == 0 || bytes > CODE_BYTES_MAX || code[bytes] != '\0')
		return;
	for (int i = 0; i < PAY_CODES_MAX; i++)
		if (result->codes[i] == NULL)
		{
			result->codes[i] = code;
			return;
		}
}

/* Cut between characters; the caller masks what looks like a card number. */
static const char *
presentable(const char *text)
{
	size_t		bytes = text ? strlen(text) : 0;

	if (bytes <= MESSAGE_BYTES_MAX)
		return text;
	for (bytes = MESSAGE_BYTES_MAX; bytes > 0 && (text[bytes] & 0xC0) == 0x80;)
		bytes--;
	return pnstrdup(text, bytes);
}
