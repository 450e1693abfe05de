/*
 * src/psp/yookassa.c
 *		YooKassa: payments in one stage or two, and refunds, API v3.
 *
 * Always true here:
 *
 * - The bytes of a request derive from the command alone, member by member in
 *	 a fixed order, so a resend after anything is the same request to YooKassa.
 * - Only what YooKassa itself said, in an object we could read and that names
 *	 our operation, is a definite answer.  All else is PAY_CLASS_UNKNOWN.
 * - It finds a payment by its own id and by nothing else.  While we have not
 *	 learned that id there is nothing to ask with: the same key and bytes,
 *	 which it answers with what it did before, are the inquiry.
 * - It signs nothing: whatever comes unasked is a hint.
 * - Amounts are decimal text, of two decimals in every currency that it takes;
 *	 they are read and written exactly, or not at all.
 *
 * Requests are built here; psp/yookassa_answer.c reads what comes back, and
 * psp/yookassa_feed.c asks for and reads lists.
 *
 * A payment is captured and cancelled at most once, and neither makes an object
 * of its own: the payment's id names all of its movements but refunds.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/yookassa.h"

#include "common/base64.h"
#include "common/int.h"
#include "lib/stringinfo.h"

/* It honours keys for 24 hours; leave an hour for clocks and queues. */
#define KEY_VALID_S (23 * 60 * 60)

#define ID_BYTES 36				/* of what it makes, and of a saved payment method */
#define ID_BYTES_MAX 64
#define ID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

/* What it refuses as too long, in characters. */
#define DESCRIPTION_MAX 128
#define REFUND_DESCRIPTION_MAX 250
#define METADATA_MAX 512

#define MINOR_UNITS 100
#define DECIMALS 2

static bool build(const PayCommand *command, PayRequest *request, const char **problem);
static bool build_payment(const PayCommand *command, StringInfo body, const char **problem);
static bool build_inquiry(const PayCommand *command, PayRequest *request);
static bool is_object_id(PayOpKind kind, const char *id);
static const char *object_id_hint(PayOpKind kind);
static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static void build_account(PayRequest *request);
static bool is_uuid(const char *text);
static bool is_given(const char *text);
static void add_amount(StringInfo body, const PayCommand *command);
static void add_names(StringInfo body, const PayCommand *command);
static void add_member(StringInfo body, const char *name, const char *value, int characters_max);
static void add_text(StringInfo body, const char *text, int characters_max);

const PayAdapter pay_adapter_yookassa = {
	.name = "yookassa",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_REFUND_PART,
	.capture_is_payment = true,
	.fee_by_inquiry = true,
	.key_valid_s = KEY_VALID_S,
	.key_header = "Idempotence-Key",
	.default_base_url = "https://api.yookassa.ru",
	.feeds = pay_yookassa_feeds,
	.n_feeds = PAY_YOOKASSA_FEEDS,
	.build = build,
	.build_inquiry = build_inquiry,
	.is_object_id = is_object_id,
	.object_id_hint = object_id_hint,
	.authorize = authorize,
	.build_account = build_account,
	.read_account = pay_yookassa_read_account,
	.classify = pay_yookassa_classify,
	.verify = pay_yookassa_verify,
	.parse = pay_yookassa_parse,
};

/* ---------- requests ---------- */

static bool
build(const PayCommand *command, PayRequest *request, const char **problem)
{
	bool		is_first = command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE;
	StringInfoData body;

	initStringInfo(&body);
	request->method = "POST";
	request->content_type = "application/json";
	*problem = NULL;

	if (command->psp_ref == NULL || command->generation < 1)
		*problem = "the operation has no reference";
	else if (command->kind != PAY_OP_VOID && command->amount <= 0)
		*problem = "the amount is not positive";
	else if (!pay_yookassa_takes(command->currency))
		*problem = "YooKassa does not take this currency";
	else if (command->kind != PAY_OP_VOID && command->exponent != DECIMALS)
		*problem = "a row in payments.psp_currency counts this currency otherwise than YooKassa does";
	else if (!is_first && !pay_yookassa_is_id(command->psp_payment_id))
		*problem = "YooKassa has not told the payment's id";
	if (*problem != NULL)
		return false;

	appendStringInfoChar(&body, '{');
	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			request->path = "/v3/payments";
			if (!build_payment(command, &body, problem))
				return false;
			break;
		case PAY_OP_CAPTURE:
			request->path = psprintf("/v3/payments/%s/capture", command->psp_payment_id);
			add_amount(&body, command);
			break;
		case PAY_OP_VOID:
			request->path = psprintf("/v3/payments/%s/cancel", command->psp_payment_id);
			break;
		case PAY_OP_REFUND:
			request->path = "/v3/refunds";
			add_amount(&body, command);
			add_member(&body, "payment_id", command->psp_payment_id, 0);
			add_member(&body, "description", command->reason, REFUND_DESCRIPTION_MAX);
			add_names(&body, command);
			break;
		case PAY_OP_PAYOUT:
		case PAY_OP_EXPIRE:
			*problem = "there is nothing to send";
			return false;
	}
	appendStringInfoChar(&body, '}');
	request->body = body.data;
	return true;
}

/* The payer chooses on YooKassa's page, unless the method is one that was saved, and needs nobody. */
static bool
build_payment(const PayCommand *command, StringInfo body, const char **problem)
{
	bool		is_saved = is_given(command->payment_method) && is_uuid(command->payment_method);

	if (command->off_session && !is_saved)
		*problem = "without the payer YooKassa needs the id of a saved payment method";
	else if (!is_saved && !is_given(command->return_url))
		*problem = "YooKassa needs return_url, to which the payer comes back, or the id of a saved payment method";
	else if (!is_saved && is_given(command->payment_method) && !pay_yookassa_is_id(command->payment_method))
		*problem = "the payment method is neither the id of a saved one nor a type, such as bank_card";
	if (*problem != NULL)
		return false;

	add_amount(body, command);
	appendStringInfo(body, ",\"capture\":%s", command->kind == PAY_OP_CHARGE ? "true" : "false");
	if (is_saved)
		add_member(body, "payment_method_id", command->payment_method, 0);
	else if (is_given(command->payment_method))
		appendStringInfo(body, ",\"payment_method_data\":{\"type\":\"%s\"}", command->payment_method);
	if (!command->off_session && is_given(command->return_url))
	{
		appendStringInfoString(body, ",\"confirmation\":{\"type\":\"redirect\"");
		add_member(body, "return_url", command->return_url, 0);
		appendStringInfoChar(body, '}');
	}
	add_member(body, "description", command->description, DESCRIPTION_MAX);
	add_names(body, command);
	return true;
}

/* Of a payment, by its id alone; of a refund, by its own or its payment's. */
static bool
build_inquiry(const PayCommand *command, PayRequest *request)
{
	request->method = "GET";
	request->content_type = NULL;
	request->body = NULL;
	if (command->kind == PAY_OP_REFUND && command->psp_object_id != NULL)
	{
		request->path = psprintf("/v3/refunds/%s", command->psp_object_id);
		return pay_yookassa_is_id(command->psp_object_id);
	}
	if (!pay_yookassa_is_id(command->psp_payment_id))
		return false;
	request->path = command->kind == PAY_OP_REFUND
		? psprintf("/v3/refunds?payment_id=%s&limit=%d", command->psp_payment_id, PAY_YOOKASSA_LIST_LIMIT)
		: psprintf("/v3/payments/%s", command->psp_payment_id);
	return true;
}

static bool
is_object_id(PayOpKind kind, const char *id)
{
	return is_uuid(id);
}

static const char *
object_id_hint(PayOpKind kind)
{
	return kind == PAY_OP_REFUND
		? "YooKassa calls a refund by 36 characters, such as 216749f7-0016-50be-b000-078d43a63ae4: GET /v3/refunds?payment_id=... lists those of a payment. It is not the payment's id."
		: "YooKassa calls a payment by 36 characters, such as 23d93cac-000f-5000-8000-126628f15141: it is on the payment's page, and the orderId in the address of the page where the payer confirmed it.";
}

/* The secret is kept as shop:key. */
static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	int			bytes = (int) strlen(credentials->secret);
	int			size = pg_b64_enc_len(bytes);
	char	   *text = palloc(size + 1);
	int			n = pg_b64_encode((const void *) credentials->secret, bytes, text, size);

	text[Max(n, 0)] = '\0';
	pay_headers_add(headers, "Authorization", psprintf("Basic %s", text));
	explicit_bzero(text, size + 1);
}

static void
build_account(PayRequest *request)
{
	request->method = "GET";
	request->path = "/v3/me";
}

/* ---------- small things ---------- */

bool
pay_yookassa_is_id(const char *text)
{
	size_t		bytes = text ? strspn(text, ID_CHARACTERS) : 0;

	return bytes > 0 && bytes <= ID_BYTES_MAX && text[bytes] == '\0';
}

static bool
is_uuid(const char *text)
{
	return text && strlen(text) == ID_BYTES && text[strspn(text, "0123456789abcdef-")] == '\0';
}

static bool
is_given(const char *text)
{
	return text && *text != '\0';
}

/* Those of its API description, and the one that its SDK has beside them. */
bool
pay_yookassa_takes(const char *currency)
{
	static const char *const taken[] = {
		"RUB", "EUR", "USD", "KZT", "BYN", "UAH", "UZS", "TRY", "INR", "MDL", "AZN", "AMD", "CNY", NULL
	};
	const char *const *one = taken;

	while (*one && strcmp(*one, currency) != 0)
		one++;
	return *one != NULL;
}

bool
pay_yookassa_amount_parse(const char *text, int64 *amount)
{
	int64		sum = 0;
	int			decimals = -1;	/* before the point */

	if (*text < '0' || *text > '9')
		return false;
	for (; *text != '\0'; text++)
	{
		if (*text == '.' && decimals < 0)
		{
			decimals = 0;
			continue;
		}
		if (*text < '0' || *text > '9' || pg_mul_s64_overflow(sum, 10, &sum) || pg_add_s64_overflow(sum, *text - '0', &sum))
			return false;
		if (decimals >= 0)
			decimals++;
	}
	if (decimals != 2)
		return false;
	*amount = sum;
	return true;
}

/* The first member. */
static void
add_amount(StringInfo body, const PayCommand *command)
{
	appendStringInfo(body, "\"amount\":{\"value\":\"" INT64_FORMAT ".%02d\",\"currency\":\"%s\"}",
					 command->amount / MINOR_UNITS, (int) (command->amount % MINOR_UNITS), command->currency);
}

/* What an inquiry, a notice and a list tell the operation by. */
static void
add_names(StringInfo body, const PayCommand *command)
{
	appendStringInfoString(body, ",\"metadata\":{\"payments_ref\":");
	add_text(body, command->psp_ref, 0);
	appendStringInfo(body, ",\"payments_generation\":\"%d\"", command->generation);
	add_member(body, "order_ref", command->order_ref, METADATA_MAX);
	appendStringInfoChar(body, '}');
}

/* Behind another one; left out when it is absent. */
static void
add_member(StringInfo body, const char *name, const char *value, int characters_max)
{
	if (!is_given(value))
		return;
	appendStringInfo(body, ",\"%s\":", name);
	add_text(body, value, characters_max);
}

/* Cut between characters: what is too long for a page of the payer's is no reason not to be paid.  0: whole. */
static void
add_text(StringInfo body, const char *text, int characters_max)
{
	int			characters = 0;

	appendStringInfoChar(body, '"');
	for (const unsigned char *p = (const unsigned char *) text; *p != '\0'; p++)
	{
		/* Not a byte in the middle of a character. */
		if ((*p & 0xc0) != 0x80 && ++characters > characters_max && characters_max > 0)
			break;
		if (*p == '"' || *p == '\\')
			appendStringInfo(body, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			appendStringInfo(body, "\\u%04x", *p);
		else
			appendStringInfoChar(body, (char) *p);
	}
	appendStringInfoChar(body, '"');
}
