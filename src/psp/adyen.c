/*
 * src/psp/adyen.c
 *		Adyen: Checkout API, the version that base_url names.
 *
 * Always true here:
 *
 * - The bytes of a request derive from the command and the PSP's config alone,
 *	 member by member in a fixed order.
 * - A payment cannot be asked about: there is no GET.  What is in doubt is sent
 *	 again under its key while that is honoured, and else an event tells.
 * - What is done to a payment afterwards is answered with "received": that it
 *	 was done, or not, an event says.
 * - No card number is in any request: a payment has a method that Adyen has
 *	 stored, or one without details, or the payer is sent to a page of Adyen's.
 *
 * A charge is an authorization that says when it is to be captured: at once,
 * whatever the merchant account's own delay is.  So it is approved with the
 * authorization, whose pspReference names both.  One that is captured by hand
 * says that, and each capture has an id of its own.
 *
 * psp/adyen_answer.c reads answers, psp/adyen_event.c events.
 */
#include "payments.h"

#include "psp/adyen.h"

#include "lib/stringinfo.h"

/*
 * Adyen's pages have promised 31 days, and later seven, of which an hour is
 * left for clocks and queues.  Another region does not know the key.
 */
#define KEY_VALID_S (7 * 24 * 60 * 60 - 60 * 60)

#define CUSTOMER_BYTES_MIN 3	/* of a shopperReference */
#define METADATA_BYTES_MAX 80
#define DESCRIPTION_BYTES_MAX 280

static const char *const secret_prefixes[] = {"AQE", NULL};
static const char *const config_keys[] = {"merchant_account", "return_url", "multicapture", NULL};

static const struct
{
	const char *ours;
	const char *adyens;
}			refund_reasons[] = {
	{"duplicate", "DUPLICATE"},
	{"fraudulent", "FRAUD"},
	{"requested_by_customer", "CUSTOMER REQUEST"},
	{"return", "RETURN"},
	{"other", "OTHER"},
};

static bool build(const PayCommand *command, PayRequest *request, const char **problem);
static bool build_payment(const PayCommand *command, StringInfo body, const char **problem);
static bool add_method(const PayCommand *command, StringInfo body, const char **problem);
static void build_link(const PayCommand *command, StringInfo body);
static bool build_void(const PayCommand *command, PayRequest *request, StringInfo body, const char **problem);
static bool build_inquiry(const PayCommand *command, PayRequest *request);
static bool is_object_id(PayOpKind kind, const char *id);
static const char *object_id_hint(PayOpKind kind);
static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static const char *return_url_of(const PayCommand *command);
static const char *refund_reason(const char *reason);
static void add_amount(StringInfo body, const PayCommand *command);
static void add_names(StringInfo body, const PayCommand *command, int generation);
static void add_order(StringInfo body, const PayCommand *command);
static void add_text(StringInfo body, const char *name, const char *value);
static void append_json_string(StringInfo body, const char *text);

const PayAdapter pay_adapter_adyen = {
	.name = "adyen",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_CAPTURE_MANY | PAY_CAN_REFUND_PART | PAY_CAN_VOID_IN_DOUBT,
	.no_inquiry = true,
	.key_valid_s = KEY_VALID_S,
	.key_header = "Idempotency-Key",
	.default_base_url = "https://checkout-test.adyen.com/v71",
	.secret_prefixes = secret_prefixes,
	.config_keys = config_keys,
	.build = build,
	.build_inquiry = build_inquiry,
	.is_object_id = is_object_id,
	.object_id_hint = object_id_hint,
	.authorize = authorize,
	.read_header = pay_adyen_read_header,
	.classify = pay_adyen_classify,
	.verify = pay_adyen_verify,
	.parse = pay_adyen_parse,
};

/* ---------- requests ---------- */

static bool
build(const PayCommand *command, PayRequest *request, const char **problem)
{
	const char *account = pay_adyen_config(command->config, "merchant_account");
	bool		is_first = command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE;
	StringInfoData body;

	initStringInfo(&body);
	request->method = "POST";
	request->content_type = "application/json";
	*problem = NULL;

	if (command->psp_ref == NULL || command->generation < 1)
		*problem = "the operation has no reference";
	else if (account == NULL)
		*problem = "config names no merchant_account";
	else if (command->kind != PAY_OP_VOID && command->amount <= 0)
		*problem = "the amount is not positive";
	else if (!is_first && command->kind != PAY_OP_VOID && !pay_adyen_is_id(command->psp_payment_id))
		*problem = "the payment has no pspReference";
	if (*problem != NULL)
		return false;

	add_text(&body, "merchantAccount", account);
	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			request->path = pay_adyen_by_link(command) ? "/paymentLinks" : "/payments";
			add_names(&body, command, command->generation);
			add_amount(&body, command);
			if (pay_adyen_by_link(command))
				build_link(command, &body);
			else if (!build_payment(command, &body, problem))
				return false;
			break;
		case PAY_OP_CAPTURE:
			if (command->keep_rest && !pay_adyen_captures_many(command->config))
			{
				*problem = "several captures of one authorization are for accounts that Adyen has enabled them for: then config says \"multicapture\": true";
				return false;
			}
			request->path = psprintf("/payments/%s/captures", command->psp_payment_id);
			add_names(&body, command, command->generation);
			add_amount(&body, command);
			break;
		case PAY_OP_VOID:
			if (!build_void(command, request, &body, problem))
				return false;
			break;
		case PAY_OP_REFUND:
			request->path = psprintf("/payments/%s/refunds", command->psp_payment_id);
			add_names(&body, command, command->generation);
			add_amount(&body, command);
			add_text(&body, "merchantRefundReason", refund_reason(command->reason));
			break;
		case PAY_OP_PAYOUT:
		case PAY_OP_EXPIRE:
			*problem = "that is not asked of Adyen";
			return false;
	}
	appendStringInfoChar(&body, '}');
	request->body = body.data;
	return true;
}

static bool
build_payment(const PayCommand *command, StringInfo body, const char **problem)
{
	const char *return_url = return_url_of(command);

	if (return_url == NULL)
	{
		*problem = "Adyen needs a return_url for each payment: in the call, or one for all of them in config";
		return false;
	}
	if (!add_method(command, body, problem))
		return false;
	add_text(body, "returnUrl", return_url);
	if (command->kind == PAY_OP_CHARGE)
		appendStringInfoString(body, ",\"captureDelayHours\":0");
	else
		appendStringInfoString(body, ",\"additionalData\":{\"manualCapture\":\"true\"}");
	add_order(body, command);
	return true;
}

/*
 * payment_method is "TOKEN", "TYPE:TOKEN" or "TYPE:": the token is the id of a
 * method that Adyen has stored for the customer, a card unless a type is named;
 * without one it is a method that needs no details, such as "ideal:".
 */
static bool
add_method(const PayCommand *command, StringInfo body, const char **problem)
{
	const char *colon = strchr(command->payment_method, ':');
	const char *type = colon ? pnstrdup(command->payment_method, (size_t) (colon - command->payment_method)) : "scheme";
	const char *token = colon ? colon + 1 : command->payment_method;
	bool		is_stored = *token != '\0';

	if (!pay_adyen_is_id(type) || (is_stored && !pay_adyen_is_id(token)))
		*problem = "the payment method is neither the id of a stored one, nor \"TYPE:ID\" or \"TYPE:\"";
	else if (!is_stored && (strcmp(type, "scheme") == 0 || strcmp(type, "card") == 0))
		*problem = "a card is named by the id under which Adyen has stored it; without payment_method the payer is sent to a page of Adyen's";
	else if (is_stored && (command->customer == NULL || strlen(command->customer) < CUSTOMER_BYTES_MIN))
		*problem = "Adyen knows a stored payment method together with its shopperReference alone: pass that as customer";
	if (*problem != NULL)
		return false;
	appendStringInfoString(body, ",\"paymentMethod\":{\"type\":");
	append_json_string(body, type);
	if (is_stored)
		add_text(body, "storedPaymentMethodId", token);
	appendStringInfoChar(body, '}');
	add_text(body, "shopperReference", command->customer && strlen(command->customer) >= CUSTOMER_BYTES_MIN ? command->customer : NULL);
	if (is_stored)
	{
		add_text(body, "shopperInteraction", "ContAuth");
		add_text(body, "recurringProcessingModel", command->off_session ? "UnscheduledCardOnFile" : "CardOnFile");
	}
	return true;
}

/* Only one payment comes of a link, however often the payer tries. */
static void
build_link(const PayCommand *command, StringInfo body)
{
	add_text(body, "shopperReference", command->customer && strlen(command->customer) >= CUSTOMER_BYTES_MIN ? command->customer : NULL);
	add_text(body, "returnUrl", return_url_of(command));
	if (command->description && strlen(command->description) <= DESCRIPTION_BYTES_MAX)
		add_text(body, "description", command->description);
	if (command->kind == PAY_OP_CHARGE)
		appendStringInfoString(body, ",\"captureDelayHours\":0");
	else
		appendStringInfoString(body, ",\"manualCapture\":true");
	add_order(body, command);
}

/*
 * A link is closed by its id, a payment cancelled by its own; by our reference
 * if that is not known, since its answer was lost.  Then our own reference has
 * the number of the payment's generation, for that is what it is about.
 */
static bool
build_void(const PayCommand *command, PayRequest *request, StringInfo body, const char **problem)
{
	bool		is_known = pay_adyen_is_id(command->psp_payment_id);

	if (is_known && pay_adyen_is_link(command->psp_payment_id))
	{
		request->method = "PATCH";
		request->path = psprintf("/paymentLinks/%s", command->psp_payment_id);
		resetStringInfo(body);
		add_text(body, "status", "expired");
		return true;
	}
	if (is_known)
	{
		request->path = psprintf("/payments/%s/cancels", command->psp_payment_id);
		add_names(body, command, command->generation);
		return true;
	}
	if (command->made_ref == NULL || pay_adyen_by_link(command))
	{
		*problem = "the payment has no pspReference";
		return false;
	}
	request->path = "/cancels";
	add_text(body, "paymentReference", pay_adyen_reference(command->made_ref, command->made_kind, false, command->made_generation));
	add_names(body, command, command->made_generation);
	return true;
}

/* Links alone can be asked about. */
static bool
build_inquiry(const PayCommand *command, PayRequest *request)
{
	if ((command->kind != PAY_OP_CHARGE && command->kind != PAY_OP_AUTHORIZE && command->kind != PAY_OP_VOID) ||
		!pay_adyen_is_id(command->psp_payment_id) || !pay_adyen_is_link(command->psp_payment_id))
		return false;
	request->method = "GET";
	request->path = psprintf("/paymentLinks/%s", command->psp_payment_id);
	request->content_type = NULL;
	request->body = NULL;
	return true;
}

/* Sixteen characters; of old and new payments they differ in kind. */
static bool
is_object_id(PayOpKind kind, const char *id)
{
	return strlen(id) == 16 && strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == 16;
}

static const char *
object_id_hint(PayOpKind kind)
{
	return kind == PAY_OP_CAPTURE || kind == PAY_OP_REFUND
		? "Adyen calls it a PSP reference, 16 capital letters and digits: that of the capture or refund itself, which the payment's page lists under its history, and not the payment's."
		: "Adyen calls it a PSP reference, 16 capital letters and digits: it stands at the head of the payment's page.";
}

static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	pay_headers_add(headers, "X-API-Key", credentials->secret);
}

/* ---------- members ---------- */

static const char *
return_url_of(const PayCommand *command)
{
	return command->return_url && *command->return_url != '\0' ? command->return_url : pay_adyen_config(command->config, "return_url");
}

static const char *
refund_reason(const char *reason)
{
	for (size_t i = 0; reason && i < lengthof(refund_reasons); i++)
		if (strcmp(reason, refund_reasons[i].ours) == 0)
			return refund_reasons[i].adyens;
	return NULL;
}

static void
add_amount(StringInfo body, const PayCommand *command)
{
	appendStringInfoString(body, ",\"amount\":{\"currency\":");
	append_json_string(body, command->currency);
	appendStringInfo(body, ",\"value\":" INT64_FORMAT "}", command->amount);
}

/* What events find the operation by. */
static void
add_names(StringInfo body, const PayCommand *command, int generation)
{
	bool		by_link = (command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE) && pay_adyen_by_link(command);

	add_text(body, "reference", pay_adyen_reference(command->psp_ref, command->kind, by_link, generation));
}

/* For people: Adyen refuses what is longer. */
static void
add_order(StringInfo body, const PayCommand *command)
{
	if (command->order_ref == NULL || *command->order_ref == '\0' || strlen(command->order_ref) > METADATA_BYTES_MAX)
		return;
	appendStringInfoString(body, ",\"metadata\":{\"order_ref\":");
	append_json_string(body, command->order_ref);
	appendStringInfoChar(body, '}');
}

/* Leaves out what is absent; opens the object before its first member. */
static void
add_text(StringInfo body, const char *name, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	appendStringInfoChar(body, body->len == 0 ? '{' : ',');
	append_json_string(body, name);
	appendStringInfoChar(body, ':');
	append_json_string(body, value);
}

static void
append_json_string(StringInfo body, const char *text)
{
	appendStringInfoChar(body, '"');
	for (const unsigned char *p = (const unsigned char *) text; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfo(body, "\\%c", *p);
		else if (*p < 0x20)
			appendStringInfo(body, "\\u%04x", *p);
		else
			appendStringInfoChar(body, (char) *p);
	}
	appendStringInfoChar(body, '"');
}
