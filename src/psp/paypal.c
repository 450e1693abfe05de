/*
 * src/psp/paypal.c
 *		PayPal: Orders v2 and Payments v2.
 *
 * A charge takes two requests: one makes an order, which the payer approves at
 * PayPal, and one captures it (or authorizes it, of capture => 'manual').
 * Before the second nothing moves.  A wallet that PayPal keeps for the payer is
 * charged by the first.
 *
 * Always true here:
 *
 * - The bytes of a request derive from the command alone, field by field in a
 *	 fixed order.
 * - An order bears our name of the operation as custom_id, which PayPal copies
 *	 to whatever becomes of it, and the generation as reference_id.  A capture
 *	 of an authorization has its own name as invoice_id, as PayPal takes no other
 *	 there, and a refund as custom_id.
 * - PayPal has no search: an order whose id was not told is found by its key
 *	 alone, and everything later by the order that it belongs to.
 *
 * Requests are built here; psp/paypal_answer.c reads what comes back,
 * psp/paypal_event.c what comes unasked.
 */
#include "payments.h"

#include "psp/paypal.h"

#include "common/base64.h"

/* Orders are promised for 6 hours, Payments for 45 days; an hour less for clocks and queues. */
#define KEY_VALID_S (5 * 60 * 60)
#define FOLLOW_KEY_VALID_S ((45 * 24 - 1) * 60 * 60)

/* It honours one for 3 days surely, and takes captures for 29. */
#define AUTHORIZATION_VALID_S (29 * 24 * 60 * 60)

/* Whoever has no wallet at PayPal's chooses there how to pay. */
#define ANY_METHOD "paypal"

/* What PayPal takes, in characters; in bytes it is never more. */
#define DESCRIPTION_BYTES_MAX 127
#define NOTE_BYTES_MAX 255

static const char *const headers[] = {"Prefer: return=representation", NULL};
static const char *const config_keys[] = {"brand_name", "shipping_preference", NULL};

static bool build(const PayCommand *command, PayRequest *request, const char **problem);
static const char *build_first(const PayCommand *command, PayRequest *request, StringInfo body);
static void add_purchase(StringInfo body, const PayCommand *command);
static void add_source(StringInfo body, const PayCommand *command);
static bool is_saved(const PayCommand *command);
static bool build_inquiry(const PayCommand *command, PayRequest *request);
static bool is_object_id(PayOpKind kind, const char *id);
static const char *object_id_hint(PayOpKind kind);
static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *list);
static void build_token(const char *secret, PayRequest *request);
static bool read_token(const PayAnswer *answer, PayToken *token);

const PayAdapter pay_adapter_paypal = {
	.name = "paypal",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_CAPTURE_MANY | PAY_CAN_REFUND_PART,
	.authorization_valid_s = AUTHORIZATION_VALID_S,
	.payment_is_order = true,
	.charge_steps = 2,
	.key_valid_s = KEY_VALID_S,
	.follow_key_valid_s = FOLLOW_KEY_VALID_S,
	.key_header = "PayPal-Request-Id",
	.default_base_url = "https://api-m.paypal.com",
	.headers = headers,
	.config_keys = config_keys,
	.build = build,
	.build_inquiry = build_inquiry,
	.is_object_id = is_object_id,
	.object_id_hint = object_id_hint,
	.authorize = authorize,
	.build_token = build_token,
	.read_token = read_token,
	.read_header = pay_paypal_read_header,
	.classify = pay_paypal_classify,
	.verify = pay_paypal_verify,
	.parse = pay_paypal_parse,
};

/* ---------- requests ---------- */

static bool
build(const PayCommand *command, PayRequest *request, const char **problem)
{
	StringInfoData body;

	initStringInfo(&body);
	request->method = "POST";
	request->content_type = "application/json";
	*problem = NULL;

	if (command->psp_ref == NULL || command->generation < 1)
		*problem = "the operation has no reference";
	else if (command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE)
		*problem = build_first(command, request, &body);
	else if (command->kind == PAY_OP_PAYOUT || command->kind == PAY_OP_EXPIRE)
		*problem = "there is nothing to send";
	else if (!pay_paypal_is_id(command->target_id))
		*problem = command->kind == PAY_OP_REFUND ? "PayPal refunds one capture at a time, and none has so much left" : "the payment has no authorization at PayPal";
	else if (command->kind == PAY_OP_VOID)
	{
		request->path = psprintf("/v2/payments/authorizations/%s/void", command->target_id);
		request->content_type = NULL;
	}
	else
	{
		bool		is_refund = command->kind == PAY_OP_REFUND;

		request->path = psprintf(is_refund ? "/v2/payments/captures/%s/refund" : "/v2/payments/authorizations/%s/capture", command->target_id);
		appendStringInfoString(&body, "{\"amount\":");
		if (!pay_paypal_add_amount(&body, command))
			*problem = "PayPal takes no such amount in this currency";
		appendStringInfoString(&body, is_refund ? ",\"custom_id\":" : ",\"invoice_id\":");
		pay_paypal_add_string(&body, command->psp_ref);
		if (!is_refund)
			appendStringInfoString(&body, command->keep_rest ? ",\"final_capture\":false" : ",\"final_capture\":true");
		else if (command->reason && *command->reason && strlen(command->reason) <= NOTE_BYTES_MAX)
		{
			appendStringInfoString(&body, ",\"note_to_payer\":");
			pay_paypal_add_string(&body, command->reason);
		}
		appendStringInfoChar(&body, '}');
	}
	request->body = request->content_type ? body.data : NULL;
	return *problem == NULL;
}

/* Returns NULL, or why it cannot. */
static const char *
build_first(const PayCommand *command, PayRequest *request, StringInfo body)
{
	bool		is_charge = command->kind == PAY_OP_CHARGE;
	StringInfoData amount;

	if (command->step > 1)
	{
		if (!pay_paypal_is_id(command->psp_payment_id))
			return "the payment has no order at PayPal";
		request->path = psprintf("/v2/checkout/orders/%s/%s", command->psp_payment_id, is_charge ? "capture" : "authorize");
		appendStringInfoString(body, "{}");
		return NULL;
	}
	initStringInfo(&amount);
	if (!pay_paypal_add_amount(&amount, command))
		return "PayPal takes no such amount in this currency";
	if (!is_saved(command) && (command->return_url == NULL || *command->return_url == '\0'))
		return "PayPal needs return_url, where it sends the payer back to";
	request->path = "/v2/checkout/orders";
	appendStringInfo(body, "{\"intent\":\"%s\",\"purchase_units\":[{\"amount\":%s", is_charge ? "CAPTURE" : "AUTHORIZE", amount.data);
	add_purchase(body, command);
	appendStringInfoString(body, "}],\"payment_source\":{\"paypal\":{");
	add_source(body, command);
	appendStringInfoString(body, "}}}");
	return NULL;
}

static void
add_purchase(StringInfo body, const PayCommand *command)
{
	const char *description = command->description ? command->description : command->order_ref;

	appendStringInfo(body, ",\"reference_id\":\"%d\",\"custom_id\":", command->generation);
	pay_paypal_add_string(body, command->psp_ref);
	if (description && *description && strlen(description) <= DESCRIPTION_BYTES_MAX)
	{
		appendStringInfoString(body, ",\"description\":");
		pay_paypal_add_string(body, description);
	}
}

/* How it is paid, and what the payer sees of us. */
static void
add_source(StringInfo body, const PayCommand *command)
{
	PaySlice	config = {command->config, command->config ? strlen(command->config) : 0};

	if (is_saved(command))
	{
		appendStringInfoString(body, "\"vault_id\":");
		pay_paypal_add_string(body, command->payment_method);
		if (command->return_url == NULL || *command->return_url == '\0')
			return;
		appendStringInfoChar(body, ',');
	}
	appendStringInfoString(body, "\"experience_context\":{\"user_action\":\"PAY_NOW\"");
	for (const char *const *key = config_keys; *key; key++)
	{
		const char *value = config.at ? pay_paypal_text(config, *key) : NULL;

		if (value == NULL)
			continue;
		appendStringInfo(body, ",\"%s\":", *key);
		pay_paypal_add_string(body, value);
	}
	appendStringInfoString(body, ",\"return_url\":");
	pay_paypal_add_string(body, command->return_url);
	appendStringInfoString(body, ",\"cancel_url\":");
	pay_paypal_add_string(body, command->return_url);
	appendStringInfoChar(body, '}');
}

/* Does the payment method name a wallet that PayPal keeps for the payer? */
static bool
is_saved(const PayCommand *command)
{
	return command->payment_method && *command->payment_method && strcmp(command->payment_method, ANY_METHOD) != 0;
}

static bool
build_inquiry(const PayCommand *command, PayRequest *request)
{
	bool		has_object = pay_paypal_is_id(command->psp_object_id);
	bool		asks_authorization = command->kind == PAY_OP_VOID || command->kind == PAY_OP_EXPIRE;

	request->method = "GET";
	request->content_type = NULL;
	request->body = NULL;
	if (asks_authorization && pay_paypal_is_id(command->target_id))
		request->path = psprintf("/v2/payments/authorizations/%s", command->target_id);
	else if (command->kind == PAY_OP_CAPTURE && has_object)
		request->path = psprintf("/v2/payments/captures/%s", command->psp_object_id);
	else if (command->kind == PAY_OP_REFUND && has_object)
		request->path = psprintf("/v2/payments/refunds/%s", command->psp_object_id);
	else if (!asks_authorization && pay_paypal_is_id(command->psp_payment_id))
		request->path = psprintf("/v2/checkout/orders/%s", command->psp_payment_id);
	else
		return false;
	return true;
}

static bool
is_object_id(PayOpKind kind, const char *id)
{
	return pay_paypal_is_id(id);
}

static const char *
object_id_hint(PayOpKind kind)
{
	return "PayPal calls it the \"Transaction ID\", 17 capital letters and digits: of a charge or capture that of the payment received, of a refund that of the refund itself.";
}

/* ---------- who we are ---------- */

/* The secret is kept as client_id:client_secret, as the request for a token wants it. */
static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *list)
{
	int			bytes = (int) strlen(credentials->secret);
	int			size = pg_b64_enc_len(bytes);
	char	   *encoded;
	int			n;

	if (credentials->token)
	{
		pay_headers_add(list, "Authorization", psprintf("Bearer %s", credentials->token));
		return;
	}
	encoded = palloc(size + 1);
	n = pg_b64_encode((const void *) credentials->secret, bytes, encoded, size);
	encoded[Max(n, 0)] = '\0';
	pay_headers_add(list, "Authorization", psprintf("Basic %s", encoded));
}

static void
build_token(const char *secret, PayRequest *request)
{
	request->method = "POST";
	request->path = "/v1/oauth2/token";
	request->content_type = "application/x-www-form-urlencoded";
	request->body = "grant_type=client_credentials";
}

static bool
read_token(const PayAnswer *answer, PayToken *token)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	PaySlice	valid;

	if (answer->http_status != 200 || !pay_paypal_at(body, "expires_in", &valid) ||
		valid.bytes > 9 || strspn(valid.at, "0123456789") < valid.bytes)
		return false;
	token->text = unconstify(char *, pay_paypal_text(body, "access_token"));
	token->valid_s = (int) strtol(valid.at, NULL, 10);
	return token->text != NULL;
}
