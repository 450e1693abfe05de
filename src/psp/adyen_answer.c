/*
 * src/psp/adyen_answer.c
 *		Adyen: what answers and inquiries say, in our words.
 *
 * What cannot be read, or does not name our operation, is PAY_CLASS_UNKNOWN.
 * A status says little: refusals come with 200, and what is "received" is
 * decided later.
 */
#include "payments.h"

#include "psp/adyen.h"

/* What becomes of a payment, by its resultCode. */
static const struct
{
	const char *code;
	PayClass	class;
}			result_codes[] = {
	{"Authorised", PAY_CLASS_APPROVED},
	{"PartiallyAuthorised", PAY_CLASS_CONFLICTED},
	{"Refused", PAY_CLASS_DECLINED},
	{"Cancelled", PAY_CLASS_DECLINED},
	{"Error", PAY_CLASS_DECLINED},
	{"RedirectShopper", PAY_CLASS_REQUIRES_ACTION},
	{"ChallengeShopper", PAY_CLASS_REQUIRES_ACTION},
	{"IdentifyShopper", PAY_CLASS_REQUIRES_ACTION},
	{"PresentToShopper", PAY_CLASS_REQUIRES_ACTION},
	{"Pending", PAY_CLASS_PENDING},
	{"Received", PAY_CLASS_PENDING},
	{"AuthenticationFinished", PAY_CLASS_PENDING},
	{"AuthenticationNotRequired", PAY_CLASS_PENDING},
};

static void read_refusal(PaySlice body, bool inquiry, const PayAnswer *answer, PayResult *result);
static char *error_code(PaySlice body);
static PayClass class_of(const char *code);
static void read_payment(PaySlice body, const PayCommand *command, PayResult *result);
static void read_approved(PaySlice body, const PayCommand *command, PayResult *result);
static void read_declined(PaySlice body, const char *code, PayResult *result);
static const char *action_url(PaySlice body);
static void read_received(PaySlice body, const PayCommand *command, PayResult *result);
static void read_link(PaySlice body, const PayCommand *command, PayResult *result);
static bool names_agree(const char *reference, const PayCommand *command, PayResult *result);
static bool amounts_agree(PaySlice body, const PayCommand *command, PayResult *result);
static void conflict(PayResult *result, const char *code);
static const char *usable_url(const char *url);

void
pay_adyen_read_header(const PayHeader *header, PayAnswer *answer)
{
	if (pay_header_is(header, "pspreference"))
		pay_copy_printable(answer->request_id, sizeof(answer->request_id), header->value, header->value_bytes);
	else if (pay_header_is(header, "transient-error"))
		answer->should_retry = header->value_bytes == 4 && memcmp(header->value, "true", 4) == 0 ? 1 : 0;
}

void
pay_adyen_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	bool		is_first = command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE;
	bool		of_link = inquiry || (is_first && pay_adyen_by_link(command)) ||
		(command->kind == PAY_OP_VOID && pay_adyen_is_link(command->psp_payment_id));

	pay_result_init(result);
	if (answer->transport == PAY_TRANSPORT_NOT_SENT && !inquiry)
		result->class = PAY_CLASS_NOT_SENT;
	if (answer->transport != PAY_TRANSPORT_ANSWERED)
		return;
	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s);
	if (answer->retry_after_s >= 0)
		result->retry_after_ms = answer->retry_after_s * 1000;

	if (answer->http_status != 200 && answer->http_status != 201)
		read_refusal(body, inquiry, answer, result);
	else if (of_link)
		read_link(body, command, result);
	else if (is_first)
		read_payment(body, command, result);
	else
		read_received(body, command, result);
}

/* ---------- refusals ---------- */

/*
 * Of Adyen's own form, which has the status in it; what stands between us
 * answers otherwise, and may do so after the payment.
 */
static void
read_refusal(PaySlice body, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	char	   *code = error_code(body);
	char	   *type = pay_adyen_text(body, "errorType");
	int64		status;

	if (code == NULL || type == NULL || !pay_adyen_int64(body, "status", &status) || status != answer->http_status)
		return;
	pay_adyen_add_code(result, "", code);
	result->message = pay_adyen_presentable(pay_adyen_text(body, "message"));
	if (status == 401 || status == 403)
		result->class = PAY_CLASS_MISCONFIGURED;
	else if (inquiry)
		return;
	else if (strcmp(code, "704") == 0)
		return;					/* its twin, sent by a worker that has died since, is being executed and may charge yet: transient-error is said of this one */
	else if (status == 429 || answer->should_retry == 1)
	{
		/* transient-error: nothing was begun, and the key is as good as unused. */
		result->class = PAY_CLASS_NOT_SENT;
	}
	else if (status == 400 || status == 422 || (status == 500 && strcmp(type, "configuration") == 0))
		result->class = PAY_CLASS_DECLINED;
}

/* A text on most pages, and a number on some. */
static char *
error_code(PaySlice body)
{
	char	   *text = pay_adyen_text(body, "errorCode");
	int64		number;

	if (text == NULL && pay_adyen_int64(body, "errorCode", &number))
		text = psprintf(INT64_FORMAT, number);
	return text;
}

/* ---------- payments ---------- */

static PayClass
class_of(const char *code)
{
	for (size_t i = 0; i < lengthof(result_codes); i++)
		if (strcmp(result_codes[i].code, code) == 0)
			return result_codes[i].class;
	return PAY_CLASS_UNKNOWN;
}

/*
 * Who has yet to act, or to be asked, may have no payment there so far: then
 * the answer names none, and the event does.
 */
static void
read_payment(PaySlice body, const PayCommand *command, PayResult *result)
{
	char	   *id = pay_adyen_id(body, "pspReference");
	char	   *code = pay_adyen_text(body, "resultCode");
	char	   *reference = pay_adyen_text(body, "merchantReference");
	PayClass	class = code ? class_of(code) : PAY_CLASS_UNKNOWN;
	bool		is_open = class == PAY_CLASS_REQUIRES_ACTION || class == PAY_CLASS_PENDING;

	if (code == NULL || (!is_open && (id == NULL || reference == NULL)))
		return;
	if (reference && !names_agree(reference, command, result))
		return;
	result->object_id = id;
	result->psp_payment_id = id;
	result->class = class;
	switch (class)
	{
		case PAY_CLASS_APPROVED:
			read_approved(body, command, result);
			break;
		case PAY_CLASS_DECLINED:
			read_declined(body, code, result);
			break;
		case PAY_CLASS_REQUIRES_ACTION:
			result->next_action_url = action_url(body);
			break;
		case PAY_CLASS_CONFLICTED:
			pay_adyen_amount(body, result);
			conflict(result, "partially_authorised");
			break;
		default:
			break;
	}
}

/* Not every account's answers have the amount: without it the event says how much. */
static void
read_approved(PaySlice body, const PayCommand *command, PayResult *result)
{
	result->class = PAY_CLASS_PENDING;
	if (!amounts_agree(body, command, result) || result->currency == NULL)
		return;
	result->class = PAY_CLASS_APPROVED;
	result->effect = command->kind == PAY_OP_AUTHORIZE ? PAY_EFFECT_AUTHORIZED : PAY_EFFECT_CAPTURED;
}

/* The network's advice, "02: ..." or "02", binds most. */
static void
read_declined(PaySlice body, const char *code, PayResult *result)
{
	PaySlice	additional;

	if (pay_slice_member(body, "additionalData", &additional) == PAY_SLICE_FOUND)
	{
		char	   *advice = pay_adyen_text(additional, "merchantAdviceCode");

		if (advice)
			advice[strspn(advice, "0123456789")] = '\0';
		pay_adyen_add_code(result, "network_advice:", advice);
	}
	pay_adyen_add_code(result, "", pay_adyen_text(body, "refusalReasonCode"));
	pay_adyen_add_code(result, "", code);
	result->message = pay_adyen_presentable(pay_adyen_text(body, "refusalReason"));
}

/* A page that is opened with POST, or within the shop's own, is no URL to send somebody to. */
static const char *
action_url(PaySlice body)
{
	PaySlice	action;
	char	   *method;

	if (pay_slice_member(body, "action", &action) != PAY_SLICE_FOUND)
		return NULL;
	method = pay_adyen_text(action, "method");
	return method == NULL || strcmp(method, "GET") == 0 ? usable_url(pay_adyen_text(action, "url")) : NULL;
}

/* ---------- captures, cancellations, refunds ---------- */

static void
read_received(PaySlice body, const PayCommand *command, PayResult *result)
{
	char	   *id = pay_adyen_id(body, "pspReference");
	char	   *payment = pay_adyen_id(body, "paymentPspReference");
	char	   *reference = pay_adyen_text(body, "reference");
	char	   *status = pay_adyen_text(body, "status");
	bool		is_void = command->kind == PAY_OP_VOID;

	if (id == NULL || status == NULL || strcmp(status, "received") != 0 || reference == NULL || !names_agree(reference, command, result) ||
		(command->psp_payment_id && payment == NULL))
		return;
	/* A cancellation is of the payment as a whole, and known by it. */
	result->object_id = is_void ? payment : id;
	result->psp_payment_id = payment;
	if (command->psp_payment_id && strcmp(command->psp_payment_id, payment) != 0)
		conflict(result, "reference_mismatch");
	else if (is_void || amounts_agree(body, command, result))
		result->class = PAY_CLASS_PENDING;
}

/* ---------- links ---------- */

static void
read_link(PaySlice body, const PayCommand *command, PayResult *result)
{
	char	   *id = pay_adyen_id(body, "id");
	char	   *status = pay_adyen_text(body, "status");
	char	   *reference = pay_adyen_text(body, "reference");
	bool		is_void = command->kind == PAY_OP_VOID;

	if (id == NULL || !pay_adyen_is_link(id) || status == NULL || reference == NULL || (!is_void && !names_agree(reference, command, result)))
		return;
	result->psp_payment_id = id;
	if (command->psp_payment_id && strcmp(command->psp_payment_id, id) != 0)
		conflict(result, "reference_mismatch");
	else if (!amounts_agree(body, command, result) || result->currency == NULL)
		return;
	else if (is_void && strcmp(status, "expired") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_VOIDED;
		result->object_id = id;
	}
	else if (strcmp(status, "active") == 0 && !is_void)
	{
		result->class = PAY_CLASS_REQUIRES_ACTION;
		result->next_action_url = usable_url(pay_adyen_text(body, "url"));
	}
	else if (strcmp(status, "completed") == 0 || strcmp(status, "paid") == 0 || strcmp(status, "paymentPending") == 0)
	{
		/* Which payment it was, and whether it holds, an event says. */
		result->class = is_void ? PAY_CLASS_DECLINED : PAY_CLASS_PENDING;
		if (is_void)
			pay_adyen_add_code(result, "", "link_paid");
	}
	else if (strcmp(status, "expired") == 0)
	{
		result->class = PAY_CLASS_DECLINED;
		pay_adyen_add_code(result, "", "link_expired");
	}
}

/* ---------- small things ---------- */

/* Is this what the command asked for? */
static bool
names_agree(const char *reference, const PayCommand *command, PayResult *result)
{
	PayAdyenReference names;
	bool		is_by_reference = command->kind == PAY_OP_VOID && command->psp_payment_id == NULL;

	if (!pay_adyen_reference_parse(reference, &names) || command->psp_ref == NULL || strcmp(names.psp_ref, command->psp_ref) != 0 ||
		names.kind != command->kind || names.generation != (is_by_reference ? command->made_generation : command->generation))
	{
		conflict(result, "reference_mismatch");
		return false;
	}
	result->psp_ref = names.psp_ref;
	result->generation = names.generation;
	return true;
}

/* Without an amount nothing contradicts. */
static bool
amounts_agree(PaySlice body, const PayCommand *command, PayResult *result)
{
	if (!pay_adyen_amount(body, result))
		return true;
	if (result->amount == command->amount && strcmp(result->currency, command->currency) == 0)
		return true;
	conflict(result, result->amount != command->amount ? "amount_mismatch" : "currency_mismatch");
	return false;
}

/* Keeps ids, amount and currency for the person who will look, but claims no effect. */
static void
conflict(PayResult *result, const char *code)
{
	result->class = PAY_CLASS_CONFLICTED;
	result->effect = PAY_EFFECT_NONE;
	memset(result->codes, 0, sizeof(result->codes));
	result->codes[0] = code;
	/* Another payment's id must not be remembered as this one's. */
	if (strcmp(code, "reference_mismatch") == 0)
	{
		result->psp_payment_id = NULL;
		result->psp_ref = NULL;
		result->generation = 0;
	}
}

/* Somebody's browser is sent there. */
static const char *
usable_url(const char *url)
{
	if (url == NULL || strncmp(url, "https://", 8) != 0)
		return NULL;
	for (const unsigned char *p = (const unsigned char *) url; *p != '\0'; p++)
		if (*p <= 0x20 || *p >= 0x7f)
			return NULL;
	return url;
}
