/*
 * test/unit/test_adyen.c
 *		If this fails, Adyen is sent another request than the last time, is
 *		believed what it did not sign, or what it says of money is taken for
 *		something else.
 *
 * Bytes, signatures, and a table of what each answer and event comes to.
 */
// sources: ../../src/psp/adyen.c ../../src/psp/adyen_answer.c ../../src/psp/adyen_event.c ../../src/psp/adyen_value.c ../../src/psp/psp.c ../../src/psp/scheme.c ../../src/psp/sandbox.c ../adapters/plain.c ../adapters/apikey.c ../adapters/basic.c ../adapters/oauth.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c ../../src/base/json_slice.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
// libs: -lcrypto
#include "payments.h"

#include "psp/adyen.h"

#include "base/digest.h"

#include "shim.h"
#include "tap.h"

#include "common/base64.h"
#include "utils/resowner.h"

#include <string.h>

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define OTHER_KEY "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define CONFIG "{\"merchant_account\": \"DemoShop\"}"
#define PAYMENT "QX7H2K9M4N5P6R8T"

extern const PayAdapter pay_adapter_adyen;

/* By name in the list of adapters. */
const PayAdapter pay_adapter_stripe = {.name = "stripe"};
const PayAdapter pay_adapter_yookassa = {.name = "yookassa"};
ResourceOwner CurrentResourceOwner = NULL;

ResourceOwner
ResourceOwnerCreate(ResourceOwner parent, const char *name)
{
	return (ResourceOwner) &CurrentResourceOwner;
}

void
ResourceOwnerDelete(ResourceOwner owner)
{
}

static PayCommand
command_of(PayOpKind kind)
{
	PayCommand	command = {
		.kind = kind, .amount = 1050, .currency = "EUR", .exponent = 2, .payment_method = "M5N7TQ4TG5PFWR50", .customer = "shopper-7",
		.order_ref = "order \"42\"", .description = "shoes", .return_url = "https://shop.example/done?a=1&b=\\", .psp_ref = "REF7", .generation = 2,
		.made_ref = "MADE", .made_kind = PAY_OP_AUTHORIZE, .made_generation = 3, .config = CONFIG,
	};

	if (kind != PAY_OP_CHARGE && kind != PAY_OP_AUTHORIZE)
		command.psp_payment_id = PAYMENT;
	return command;
}

static const char *
built(const PayCommand *command)
{
	PayRequest	request = {0};
	const char *problem = NULL;

	if (!pay_adapter_adyen.build(command, &request, &problem))
		return psprintf("refused: %s", problem);
	return psprintf("%s %s %s", request.method, request.path, request.body);
}

#define IS(got, expected, ...) do { const char *g_ = (got); bool same_ = strcmp(g_, (expected)) == 0; if (!same_) printf("# got %s\n", g_); OK(same_, __VA_ARGS__); } while (0)

/* ---------- requests: stored, and sent again for a week ---------- */

static void
test_bytes(void)
{
	PayCommand	command = command_of(PAY_OP_CHARGE);
	PayRequest	request = {0};

	IS(built(&command), "POST /payments {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-c2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050},\"paymentMethod\":{\"type\":\"scheme\",\"storedPaymentMethodId\":\"M5N7TQ4TG5PFWR50\"},\"shopperReference\":\"shopper-7\",\"shopperInteraction\":\"ContAuth\",\"recurringProcessingModel\":\"CardOnFile\",\"returnUrl\":\"https://shop.example/done?a=1&b=\\\\\",\"captureDelayHours\":0,\"metadata\":{\"order_ref\":\"order \\\"42\\\"\"}}", "a charge is captured at once, whatever the account's delay is");
	command.kind = PAY_OP_AUTHORIZE;
	command.off_session = true;
	command.order_ref = NULL;
	IS(built(&command), "POST /payments {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-a2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050},\"paymentMethod\":{\"type\":\"scheme\",\"storedPaymentMethodId\":\"M5N7TQ4TG5PFWR50\"},\"shopperReference\":\"shopper-7\",\"shopperInteraction\":\"ContAuth\",\"recurringProcessingModel\":\"UnscheduledCardOnFile\",\"returnUrl\":\"https://shop.example/done?a=1&b=\\\\\",\"additionalData\":{\"manualCapture\":\"true\"}}", "an authorization by hand, and without the payer");
	command = command_of(PAY_OP_CHARGE);
	command.payment_method = "ideal:";
	command.order_ref = NULL;
	IS(built(&command), "POST /payments {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-c2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050},\"paymentMethod\":{\"type\":\"ideal\"},\"shopperReference\":\"shopper-7\",\"returnUrl\":\"https://shop.example/done?a=1&b=\\\\\",\"captureDelayHours\":0}", "a method that needs no details");
	command.payment_method = "sepadirectdebit:TOKEN1";
	OK(strstr(built(&command), "\"paymentMethod\":{\"type\":\"sepadirectdebit\",\"storedPaymentMethodId\":\"TOKEN1\"}") != NULL, "a stored one of another type");
	command = command_of(PAY_OP_CHARGE);
	command.payment_method = NULL;
	IS(built(&command), "POST /paymentLinks {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-lc2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050},\"shopperReference\":\"shopper-7\",\"returnUrl\":\"https://shop.example/done?a=1&b=\\\\\",\"description\":\"shoes\",\"captureDelayHours\":0,\"metadata\":{\"order_ref\":\"order \\\"42\\\"\"}}", "without a method: a page of Adyen's");
	command.kind = PAY_OP_AUTHORIZE;
	command.return_url = command.customer = command.description = command.order_ref = NULL;
	IS(built(&command), "POST /paymentLinks {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-la2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050},\"manualCapture\":true}", "the same to be captured by hand, with nothing that may be left out");

	command = command_of(PAY_OP_CAPTURE);
	IS(built(&command), "POST /payments/" PAYMENT "/captures {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-k2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050}}", "a capture");
	command = command_of(PAY_OP_REFUND);
	command.reason = "requested_by_customer";
	IS(built(&command), "POST /payments/" PAYMENT "/refunds {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-r2\",\"amount\":{\"currency\":\"EUR\",\"value\":1050},\"merchantRefundReason\":\"CUSTOMER REQUEST\"}", "a refund");
	command.reason = "because";
	OK(strstr(built(&command), "because") == NULL, "a reason that Adyen does not have is not sent");
	command = command_of(PAY_OP_VOID);
	IS(built(&command), "POST /payments/" PAYMENT "/cancels {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-v2\"}", "a cancellation");
	command.psp_payment_id = NULL;
	IS(built(&command), "POST /cancels {\"merchantAccount\":\"DemoShop\",\"paymentReference\":\"MADE-a3\",\"reference\":\"REF7-v3\"}", "by our reference, of what was not answered");
	command.psp_payment_id = "PLE83C39B0A0DE0C1E";
	IS(built(&command), "PATCH /paymentLinks/PLE83C39B0A0DE0C1E {\"status\":\"expired\"}", "a link is closed");
	command.psp_payment_id = "PL7H2K9M4N5P6R8T";
	IS(built(&command), "POST /payments/PL7H2K9M4N5P6R8T/cancels {\"merchantAccount\":\"DemoShop\",\"reference\":\"REF7-v2\"}", "but not a payment whose id begins like a link's");

	command = command_of(PAY_OP_CHARGE);
	command.psp_payment_id = PAYMENT;
	OK(!pay_adapter_adyen.build_inquiry(&command, &request), "a payment cannot be asked about");
	command.psp_payment_id = "PL7H2K9M4N5P6R8T";
	OK(!pay_adapter_adyen.build_inquiry(&command, &request), "nor one whose id begins like a link's");
	command.psp_payment_id = "PLE83C39B0A0DE0C1E";
	OK(pay_adapter_adyen.build_inquiry(&command, &request) && strcmp(request.method, "GET") == 0 && strcmp(request.path, "/paymentLinks/PLE83C39B0A0DE0C1E") == 0 && request.body == NULL, "a link can");
}

static void
test_refused(void)
{
	PayCommand	command = command_of(PAY_OP_CHARGE);

	command.config = NULL;
	IS(built(&command), "refused: config names no merchant_account", "no account");
	command = command_of(PAY_OP_CHARGE);
	command.return_url = NULL;
	OK(strncmp(built(&command), "refused: Adyen needs a return_url", 33) == 0, "no place to come back to");
	command.config = "{\"merchant_account\": \"DemoShop\", \"return_url\": \"https://shop.example/all\"}";
	OK(strstr(built(&command), "\"returnUrl\":\"https://shop.example/all\"") != NULL, "but the one for all");
	command = command_of(PAY_OP_CHARGE);
	command.customer = NULL;
	OK(strncmp(built(&command), "refused: Adyen knows a stored payment method together", 53) == 0, "a stored method without its owner");
	command.customer = "ab";
	OK(strncmp(built(&command), "refused: ", 9) == 0, "or with a name that is too short");
	command.payment_method = "scheme:";
	OK(strncmp(built(&command), "refused: a card is named", 24) == 0, "a card without a token");
	command.payment_method = "to ken\"";
	OK(strncmp(built(&command), "refused: the payment method is neither", 38) == 0, "what is no token");
	command = command_of(PAY_OP_CAPTURE);
	command.keep_rest = true;
	OK(strncmp(built(&command), "refused: several captures", 25) == 0, "one of several captures, where there is but one");
	command.config = "{\"merchant_account\": \"DemoShop\", \"multicapture\": true}";
	OK(strncmp(built(&command), "POST /payments/", 15) == 0, "where there may be more");
	command = command_of(PAY_OP_REFUND);
	command.psp_payment_id = "../a";
	OK(strncmp(built(&command), "refused: the payment has no pspReference", 40) == 0, "what is no id goes into no path");
	command = command_of(PAY_OP_VOID);
	command.psp_payment_id = command.payment_method = NULL;
	OK(strncmp(built(&command), "refused: ", 9) == 0, "a link whose id is not known cannot be closed");
}

static void
test_references(void)
{
	static const char *const none[] = {"", "REF7", "REF7-", "REF7-c", "REF7-c0", "REF7-c01x", "REF7-x1", "REF7-c1234567", "-c1", "a b-c1", "order-42", "REF7-l1"};
	PayAdyenReference r;

	OK(pay_adyen_reference_parse("abcd_efg-lc12", &r) && strcmp(r.psp_ref, "abcd_efg") == 0 && r.kind == PAY_OP_CHARGE && r.by_link && r.generation == 12, "a reference of ours");
	for (size_t i = 0; i < lengthof(none); i++)
		OK(!pay_adyen_reference_parse(none[i], &r), "none of ours: \"%s\"", none[i]);
	OK(!pay_adyen_reference_parse(NULL, &r), "none at all");
}

/* ---------- answers ---------- */

static const char *
told(const PayResult *r)
{
	static const char *const effects[] = {"none", "authorized", "captured", "voided", "refunded", "refund_failed", "disputed", "won", "lost", "stage", "expired", "paid_out", "payout_failed"};

	return psprintf("%s %s " INT64_FORMAT " %s %s %s %s%s%s", pay_class_name(r->class), effects[r->effect], r->amount, r->currency ? r->currency : "-",
					r->object_id ? r->object_id : "-", r->psp_payment_id ? r->psp_payment_id : "-", r->psp_ref ? r->psp_ref : "-",
					r->codes[0] ? " " : "", r->codes[0] ? r->codes[0] : "");
}

static const char *
answered(PayOpKind kind, int status, const char *body)
{
	PayCommand	command = command_of(kind);
	PayAnswer	answer;
	PayResult	result;

	pay_answer_init(&answer);
	answer.transport = PAY_TRANSPORT_ANSWERED;
	answer.http_status = status;
	answer.body = body;
	answer.body_bytes = strlen(body);
	if (status > 1000)
	{
		answer.should_retry = 1;
		answer.http_status -= 1000;
	}
	if (kind == PAY_OP_VOID && strstr(body, "\"PL"))
		command.psp_payment_id = "PL1";
	else if (kind == PAY_OP_CHARGE && strstr(body, "\"PL"))
		command.payment_method = NULL;
	else if (kind == PAY_OP_VOID && strstr(body, "paymentReference"))
		command.psp_payment_id = NULL;
	pay_adapter_adyen.classify(&command, false, &answer, &result);
	return told(&result);
}

#define OF_PAYMENT(code, more) "{\"pspReference\":\"" PAYMENT "\",\"resultCode\":\"" code "\",\"merchantReference\":\"REF7-c2\"" more "}"
#define AMOUNT(value, currency) ",\"amount\":{\"currency\":\"" currency "\",\"value\":" value "}"
#define REFUSAL(status, code, type) "{\"status\":" status ",\"errorCode\":" code ",\"errorType\":\"" type "\",\"message\":\"it says\"}"

static void
test_answers(void)
{
	static const struct
	{
		PayOpKind	kind;
		int			status;		/* above 1000: with transient-error */
		const char *body;
		const char *expected;
	}			table[] = {
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Authorised", AMOUNT("1050", "EUR")), "approved captured 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_AUTHORIZE, 200, "{\"pspReference\":\"" PAYMENT "\",\"resultCode\":\"Authorised\",\"merchantReference\":\"REF7-a2\"" AMOUNT("1050", "EUR") "}", "approved authorized 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Authorised", ""), "pending none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Authorised", AMOUNT("1051", "EUR")), "conflicted none 1051 EUR " PAYMENT " " PAYMENT " REF7 amount_mismatch"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Authorised", AMOUNT("1050", "USD")), "conflicted none 1050 USD " PAYMENT " " PAYMENT " REF7 currency_mismatch"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("PartiallyAuthorised", AMOUNT("500", "EUR")), "conflicted none 500 EUR " PAYMENT " " PAYMENT " REF7 partially_authorised"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Refused", ",\"refusalReasonCode\":\"12\",\"refusalReason\":\"Not enough balance\""), "declined none 0 - " PAYMENT " " PAYMENT " REF7 12"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Refused", ",\"refusalReasonCode\":\"2\",\"additionalData\":{\"merchantAdviceCode\":\"03 : Do not try again\"}"), "declined none 0 - " PAYMENT " " PAYMENT " REF7 network_advice:03"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Error", ""), "declined none 0 - " PAYMENT " " PAYMENT " REF7 Error"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Cancelled", ""), "declined none 0 - " PAYMENT " " PAYMENT " REF7 Cancelled"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Received", ""), "pending none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("Pending", ""), "pending none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("RedirectShopper", ""), "requires_action none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("ChallengeShopper", ""), "requires_action none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, "{\"resultCode\":\"RedirectShopper\",\"action\":{\"type\":\"redirect\"}}", "requires_action none 0 - - - -"},
		{PAY_OP_CHARGE, 200, "{\"resultCode\":\"IdentifyShopper\",\"pspReference\":\"" PAYMENT "\"}", "requires_action none 0 - " PAYMENT " " PAYMENT " -"},
		{PAY_OP_CHARGE, 200, "{\"resultCode\":\"PresentToShopper\"}", "requires_action none 0 - - - -"},
		{PAY_OP_CHARGE, 200, "{\"resultCode\":\"Pending\",\"merchantReference\":\"REF7-c2\"}", "pending none 0 - - - REF7"},
		{PAY_OP_CHARGE, 200, "{\"resultCode\":\"RedirectShopper\",\"merchantReference\":\"REF8-c2\"}", "conflicted none 0 - - - - reference_mismatch"},
		{PAY_OP_CHARGE, 200, "{\"resultCode\":\"Refused\",\"merchantReference\":\"REF7-c2\"}", "unknown none 0 - - - -"},
		{PAY_OP_CHARGE, 200, "{\"pspReference\":\"" PAYMENT "\",\"merchantReference\":\"REF7-c2\"}", "unknown none 0 - - - -"},
		{PAY_OP_CHARGE, 200, OF_PAYMENT("SomethingNew", ""), "unknown none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_CHARGE, 200, "{\"pspReference\":\"" PAYMENT "\",\"resultCode\":\"Authorised\",\"merchantReference\":\"REF8-c2\"}", "conflicted none 0 - - - - reference_mismatch"},
		{PAY_OP_CHARGE, 200, "{\"pspReference\":\"" PAYMENT "\",\"resultCode\":\"Authorised\",\"merchantReference\":\"REF7-c1\"}", "conflicted none 0 - - - - reference_mismatch"},
		{PAY_OP_CHARGE, 200, "{\"pspReference\":\"" PAYMENT "\",\"resultCode\":\"Authorised\"" AMOUNT("1050", "EUR") "}", "unknown none 0 - - - -"},
		{PAY_OP_CHARGE, 201, "{\"id\":\"PL1\",\"status\":\"active\",\"reference\":\"REF7-lc2\",\"url\":\"https://a.example/PL1\"" AMOUNT("1050", "EUR") "}", "conflicted none 0 - - - - reference_mismatch"},
		{PAY_OP_CAPTURE, 201, "{\"status\":\"received\",\"pspReference\":\"CAP1\",\"paymentPspReference\":\"" PAYMENT "\",\"reference\":\"REF7-k2\"" AMOUNT("1050", "EUR") "}", "pending none 1050 EUR CAP1 " PAYMENT " REF7"},
		{PAY_OP_CAPTURE, 201, "{\"status\":\"received\",\"pspReference\":\"CAP1\",\"paymentPspReference\":\"" PAYMENT "\",\"reference\":\"REF7-k2\"" AMOUNT("50", "EUR") "}", "conflicted none 50 EUR CAP1 " PAYMENT " REF7 amount_mismatch"},
		{PAY_OP_CAPTURE, 201, "{\"status\":\"received\",\"pspReference\":\"CAP1\",\"paymentPspReference\":\"OTHER\",\"reference\":\"REF7-k2\"}", "conflicted none 0 - CAP1 - - reference_mismatch"},
		{PAY_OP_CAPTURE, 201, "{\"status\":\"done\",\"pspReference\":\"CAP1\",\"paymentPspReference\":\"" PAYMENT "\",\"reference\":\"REF7-k2\"}", "unknown none 0 - - - -"},
		{PAY_OP_REFUND, 201, "{\"status\":\"received\",\"pspReference\":\"RFD1\",\"paymentPspReference\":\"" PAYMENT "\",\"reference\":\"REF7-r2\"}", "pending none 0 - RFD1 " PAYMENT " REF7"},
		{PAY_OP_VOID, 201, "{\"status\":\"received\",\"pspReference\":\"CAN1\",\"paymentPspReference\":\"" PAYMENT "\",\"reference\":\"REF7-v2\"}", "pending none 0 - " PAYMENT " " PAYMENT " REF7"},
		{PAY_OP_VOID, 201, "{\"status\":\"received\",\"pspReference\":\"CAN1\",\"paymentReference\":\"MADE-a3\",\"reference\":\"REF7-v3\"}", "pending none 0 - - - REF7"},
		{PAY_OP_VOID, 200, "{\"id\":\"PL1\",\"status\":\"expired\",\"reference\":\"MADE-lc1\"" AMOUNT("1050", "EUR") "}", "approved voided 1050 EUR PL1 PL1 -"},
		{PAY_OP_VOID, 200, "{\"id\":\"PL1\",\"status\":\"completed\",\"reference\":\"MADE-lc1\"" AMOUNT("1050", "EUR") "}", "declined none 1050 EUR - PL1 - link_paid"},
		{PAY_OP_CHARGE, 401, REFUSAL("401", "\"000\"", "security"), "misconfigured none 0 - - - - 000"},
		{PAY_OP_CHARGE, 403, REFUSAL("403", "\"901\"", "security"), "misconfigured none 0 - - - - 901"},
		{PAY_OP_CHARGE, 422, REFUSAL("422", "14030", "validation"), "declined none 0 - - - - 14030"},
		{PAY_OP_CHARGE, 422, REFUSAL("422", "\"14_030\"", "validation"), "declined none 0 - - - - 14_030"},
		{PAY_OP_CHARGE, 400, REFUSAL("400", "\"702\"", "validation"), "declined none 0 - - - - 702"},
		{PAY_OP_CHARGE, 422, REFUSAL("422", "\"704\"", "validation"), "unknown none 0 - - - - 704"},
		{PAY_OP_CHARGE, 1422, REFUSAL("422", "\"704\"", "validation"), "unknown none 0 - - - - 704"},
		{PAY_OP_CHARGE, 429, REFUSAL("429", "\"704\"", "validation"), "unknown none 0 - - - - 704"},
		{PAY_OP_CHARGE, 422, REFUSAL("400", "\"702\"", "validation"), "unknown none 0 - - - -"},
		{PAY_OP_CHARGE, 500, REFUSAL("500", "\"905\"", "configuration"), "declined none 0 - - - - 905"},
		{PAY_OP_CHARGE, 500, REFUSAL("500", "\"000\"", "internal"), "unknown none 0 - - - - 000"},
		{PAY_OP_CHARGE, 1500, REFUSAL("500", "\"000\"", "internal"), "not_sent none 0 - - - - 000"},
		{PAY_OP_CHARGE, 429, REFUSAL("429", "\"029\"", "internal"), "not_sent none 0 - - - - 029"},
		{PAY_OP_CHARGE, 1500, "<html>", "unknown none 0 - - - -"},
		{PAY_OP_CHARGE, 404, REFUSAL("404", "\"1\"", "internal"), "unknown none 0 - - - - 1"},
	};

	for (size_t i = 0; i < lengthof(table); i++)
	{
		const char *expected = table[i].expected;
		const char *body = table[i].body;

		/* The link's reference is of the charge by link, which the command then is. */
		if (strstr(body, "REF7-lc2"))
			expected = "requires_action none 1050 EUR - PL1 REF7";
		IS(answered(table[i].kind, table[i].status, body), expected, "%s, %d: %.60s", pay_op_kind_name(table[i].kind), table[i].status, body);
	}
}

static void
test_pages(void)
{
	PayCommand	command = command_of(PAY_OP_CHARGE);
	PayAnswer	answer;
	PayResult	result;
	static const struct
	{
		const char *action;
		const char *url;
	}			table[] = {
		{"{\"type\":\"redirect\",\"method\":\"GET\",\"url\":\"https://a.example/r?x=1\"}", "https://a.example/r?x=1"},
		{"{\"type\":\"redirect\",\"url\":\"https:\\/\\/a.example\"}", "https://a.example"},
		{"{\"type\":\"redirect\",\"method\":\"POST\",\"url\":\"https://a.example\"}", NULL},
		{"{\"type\":\"redirect\",\"url\":\"javascript:alert(1)\"}", NULL},
		{"{\"type\":\"redirect\",\"url\":\"https://a.example/ b\"}", NULL},
		{"{\"type\":\"threeDS2\"}", NULL},
	};

	for (size_t i = 0; i < lengthof(table); i++)
	{
		pay_answer_init(&answer);
		answer.transport = PAY_TRANSPORT_ANSWERED;
		answer.http_status = 200;
		answer.body = psprintf("{\"pspReference\":\"" PAYMENT "\",\"resultCode\":\"RedirectShopper\",\"merchantReference\":\"REF7-c2\",\"action\":%s}", table[i].action);
		answer.body_bytes = strlen(answer.body);
		pay_adapter_adyen.classify(&command, false, &answer, &result);
		OK(result.class == PAY_CLASS_REQUIRES_ACTION && (table[i].url ? result.next_action_url && strcmp(result.next_action_url, table[i].url) == 0 : result.next_action_url == NULL), "the payer's page: %s", table[i].action);
	}
}

/* ---------- events ---------- */

static const char *
mac_of(const char *text, const char *hex)
{
	uint8		key[32],
				mac[PAY_HASH_BYTES];
	char	   *spelled = palloc(64);
	PayChunk	chunk = {text, strlen(text)};

	for (int i = 0; i < 32; i++)
	{
		unsigned	byte;

		sscanf(hex + 2 * i, "%2x", &byte);
		key[i] = (uint8) byte;
	}
	pay_hmac_sha256(key, sizeof(key), &chunk, 1, mac);
	spelled[pg_b64_encode((const void *) mac, PAY_HASH_BYTES, spelled, 63)] = '\0';
	return spelled;
}

/* An item, signed. */
static const char *
item(const char *id, const char *original, const char *reference, const char *code, const char *success, const char *value, const char *hex)
{
	const char *text = psprintf("%s:%s:DemoShop:%s:%s:EUR:%s:%s", id, original, reference, value, code, success);

	return psprintf("{\"NotificationRequestItem\":{\"additionalData\":{\"hmacSignature\":\"%s\"},\"amount\":{\"currency\":\"EUR\",\"value\":%s},\"eventCode\":\"%s\",\"eventDate\":\"2026-11-30T12:00:00+01:00\",\"merchantAccountCode\":\"DemoShop\",\"merchantReference\":\"%s\",\"originalReference\":\"%s\",\"pspReference\":\"%s\",\"reason\":\"why\",\"success\":\"%s\"}}",
					mac_of(text, hex), value, code, reference, original, id, success);
}

static PayInbound
request_of(const char *items)
{
	const char *body = psprintf("{\"live\":\"false\",\"notificationItems\":[%s]}", items);
	PayInbound	inbound = {.body = body, .body_bytes = strlen(body), .config = CONFIG};

	return inbound;
}

static PayVerdict
verdict(const char *items, const char *one, const char *two)
{
	PayInbound	inbound = request_of(items);
	const char *const secrets[] = {one, two, NULL};

	return pay_adapter_adyen.verify(&inbound, secrets, 0);
}

static void
test_signatures(void)
{
	const char *good = item(PAYMENT, "", "order-42", "AUTHORISATION", "true", "1050", KEY);
	const char *another = item(PAYMENT, "", "order-43", "AUTHORISATION", "true", "1050", KEY);
	const char *colon = item(PAYMENT, "", "a:b", "AUTHORISATION", "true", "1050", KEY);

	/* Adyen's own library signs so. */
	OK(strstr(good, "k3zHfW38fWorq3UiXtu4Hqnpa/pYnMNm2IPTcF6QzdI=") != NULL, "the vector");
	OK(strstr(colon, "AEOkx1fSKUVcSAnmKrXis4V/ggep07Zph0R0rHiWwn0=") != NULL, "the vector with a colon in our reference");
	OK(verdict(good, KEY, NULL) == PAY_VERDICT_OK, "signed with the key");
	OK(verdict(colon, KEY, NULL) == PAY_VERDICT_OK, "with a colon in the reference");
	OK(verdict(good, OTHER_KEY, KEY) == PAY_VERDICT_OK, "or with the one before it");
	OK(verdict(good, OTHER_KEY, NULL) == PAY_VERDICT_WRONG, "not with another");
	OK(verdict(good, "", NULL) == PAY_VERDICT_WRONG && verdict(good, "00", NULL) == PAY_VERDICT_WRONG && verdict(good, "secret", NULL) == PAY_VERDICT_WRONG, "nor with what is no key");
	OK(verdict(psprintf("%s,%s", good, another), KEY, NULL) == PAY_VERDICT_OK, "two, each signed");
	OK(verdict(psprintf("%s,%s", good, item(PAYMENT, "", "order-43", "AUTHORISATION", "true", "1050", OTHER_KEY)), KEY, NULL) == PAY_VERDICT_WRONG, "one of two is not: none is believed");
	OK(verdict("", KEY, NULL) == PAY_VERDICT_MISSING, "of nothing, nothing is signed");
	OK(verdict("{\"NotificationRequestItem\":{\"pspReference\":\"A\"}}", KEY, NULL) == PAY_VERDICT_MISSING, "no signature");
	OK(verdict("{\"Other\":{}}", KEY, NULL) == PAY_VERDICT_MALFORMED && verdict("7", KEY, NULL) == PAY_VERDICT_MALFORMED, "no items");
	OK(verdict(item("A:B", "", "r", "AUTHORISATION", "true", "1", KEY), KEY, NULL) == PAY_VERDICT_MALFORMED, "a colon where it would make two members of one");
	OK(verdict(psprintf("%.*s9}}", (int) strlen(good) - 2, good), KEY, NULL) != PAY_VERDICT_OK, "torn");
}

static const char *
told_by(const char *items)
{
	PayInbound	inbound = request_of(items);
	PayEvents	events = {0};

	if (!pay_adapter_adyen.parse(&inbound, &events))
		return psprintf("no events: %s", events.field ? events.field : "-");
	if (events.list[0].unreadable)
		return psprintf("unreadable %s", events.list[0].unreadable);
	if (!events.list[0].relevant)
		return "nothing";
	return told(&events.list[0].result);
}

static void
test_events(void)
{
	/* id is EVT where it is not the payment's own; reference, original. */
	static const struct
	{
		const char *id;
		const char *original;
		const char *reference;
		const char *code;
		const char *success;
		const char *expected;
	}			table[] = {
		{PAYMENT, "", "REF7-c2", "AUTHORISATION", "true", "approved captured 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{PAYMENT, "", "REF7-a1", "AUTHORISATION", "true", "approved authorized 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{PAYMENT, "", "REF7-lc1", "AUTHORISATION", "true", "approved captured 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{PAYMENT, "", "REF7-c2", "AUTHORISATION", "false", "declined none 1050 EUR " PAYMENT " " PAYMENT " REF7 Refused"},
		{PAYMENT, "", "REF7-lc1", "AUTHORISATION", "false", "nothing"},
		{PAYMENT, "", "order-42", "AUTHORISATION", "true", "nothing"},
		{PAYMENT, "", "REF7-r1", "AUTHORISATION", "true", "nothing"},
		{PAYMENT, "", "REF7-c1", "PENDING", "true", "pending none 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{PAYMENT, "", "REF7-c1", "OFFER_CLOSED", "true", "declined none 1050 EUR " PAYMENT " " PAYMENT " REF7 offer_closed"},
		{PAYMENT, "", "REF7-lc1", "OFFER_CLOSED", "true", "nothing"},
		{"EVT", PAYMENT, "REF7-k1", "CAPTURE", "true", "approved captured 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-k1", "CAPTURE", "false", "declined none 1050 EUR EVT " PAYMENT " REF7 capture_refused"},
		{"EVT", PAYMENT, "REF7-c1", "CAPTURE", "true", "approved captured 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "CAPTURE", "false", "conflicted none 1050 EUR " PAYMENT " " PAYMENT " REF7 capture_failed"},
		{"EVT", PAYMENT, "REF7-a1", "CAPTURE", "true", "approved captured 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-a1", "CAPTURE", "false", "nothing"},
		{"EVT", PAYMENT, "REF7-k1", "CAPTURE_FAILED", "true", "conflicted none 1050 EUR EVT " PAYMENT " REF7 capture_failed"},
		{"EVT", PAYMENT, "REF7-c1", "CAPTURE_FAILED", "true", "conflicted none 1050 EUR " PAYMENT " " PAYMENT " REF7 capture_failed"},
		{"EVT", PAYMENT, "REF7-v1", "CANCELLATION", "true", "approved voided 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-v1", "CANCELLATION", "false", "declined none 1050 EUR " PAYMENT " " PAYMENT " REF7 cancel_refused"},
		{"EVT", PAYMENT, "REF7-c1", "CANCELLATION", "false", "nothing"},
		{"EVT", PAYMENT, "REF7-c1", "CANCELLATION", "true", "approved voided 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-v3", "TECHNICAL_CANCEL", "true", "approved voided 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{"EVT", "", "REF7-v3", "TECHNICAL_CANCEL", "false", "declined none 1050 EUR EVT EVT REF7 cancel_refused"},
		{"EVT", PAYMENT, "REF7-a1", "EXPIRE", "true", "approved expired 1050 EUR " PAYMENT " " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-a1", "CANCEL_OR_REFUND", "true", "unreadable modification.action"},
		{"EVT", PAYMENT, "REF7-a1", "CANCEL_OR_REFUND", "false", "nothing"},
		{"EVT", PAYMENT, "REF7-r1", "REFUND", "true", "approved refunded 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "by hand", "REFUND", "true", "approved refunded 1050 EUR EVT " PAYMENT " -"},
		{"EVT", PAYMENT, "REF7-r1", "REFUND", "false", "approved refund_failed 1050 EUR EVT " PAYMENT " REF7 refund_failed"},
		{"EVT", PAYMENT, "REF7-r1", "REFUND_FAILED", "true", "approved refund_failed 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-r1", "REFUNDED_REVERSED", "true", "approved refund_failed 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "NOTIFICATION_OF_CHARGEBACK", "true", "approved stage 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "DISPUTE_OPENED_WITH_CHARGEBACK", "true", "approved disputed 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "CHARGEBACK", "true", "approved disputed 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "CHARGEBACK_REVERSED", "true", "approved won 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "PREARBITRATION_WON", "true", "approved won 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "SECOND_CHARGEBACK", "true", "approved lost 1050 EUR EVT_2 " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "PREARBITRATION_LOST", "true", "approved lost 1050 EUR EVT_2 " PAYMENT " REF7"},
		{"settlement_detail_report_batch_1.csv", "", "", "REPORT_AVAILABLE", "true", "nothing"},
		{"EVT", PAYMENT, "REF7-c1", "REQUEST_FOR_INFORMATION", "true", "approved stage 1050 EUR EVT " PAYMENT " REF7"},
		{"EVT", PAYMENT, "REF7-c1", "NOTIFICATION_OF_FRAUD", "true", "nothing"},
		{"EVT", PAYMENT, "REF7-c1", "SOMETHING_NEW", "true", "nothing"},
		{"test_AUTHORISATION_1", "", "testMerchantRef1", "AUTHORISATION", "true", "nothing"},
		{PAYMENT, "", "REF7-c1", "AUTHORISATION", "maybe", "unreadable success"},
		{"a-b", "", "REF7-c1", "AUTHORISATION", "true", "unreadable pspReference"},
	};
	PayInbound	inbound;
	PayEvents	events = {0};

	for (size_t i = 0; i < lengthof(table); i++)
		IS(told_by(item(table[i].id, table[i].original, table[i].reference, table[i].code, table[i].success, "1050", KEY)), table[i].expected,
		   "%s, %s, of %s", table[i].code, table[i].success, table[i].reference);
	IS(told_by(item(PAYMENT, "", "REF7-c1", "AUTHORISATION", "true", "10.5", KEY)), "unreadable amount", "an amount that is none");
	IS(told_by("{\"NotificationRequestItem\":{\"pspReference\":\"\"}}"), "no events: pspReference", "an event without an id");

	inbound = request_of(psprintf("%s,%s", item(PAYMENT, "", "REF7-c1", "AUTHORISATION", "true", "1050", KEY), item("EVT", PAYMENT, "REF8-r1", "REFUND", "true", "50", KEY)));
	OK(pay_adapter_adyen.parse(&inbound, &events) && events.n == 2 && strcmp(events.reply, "[accepted]") == 0, "two in one request, and the word that is waited for");
	IS(events.list[0].event_id, PAYMENT ".AUTHORISATION.true", "known by what does not change");
	IS(events.list[1].event_id, "EVT.REFUND.true." PAYMENT, "with the payment");
	OK(strncmp(events.list[1].raw.at, "{\"additionalData\"", 17) == 0 && strcmp(events.list[1].account.id, "DemoShop") == 0 && strcmp(events.list[1].account.mode, "test") == 0, "each with its own part, and whose it is");
	inbound.config = "{\"merchant_account\": \"Other\"}";
	memset(&events, 0, sizeof(events));
	OK(pay_adapter_adyen.parse(&inbound, &events) && !events.list[0].relevant && !events.list[1].relevant, "of another account of the company's: nothing of ours");
}

static void
test_ids(void)
{
	OK(pay_adapter_adyen.is_object_id(PAY_OP_REFUND, PAYMENT) && !pay_adapter_adyen.is_object_id(PAY_OP_REFUND, "short") && !pay_adapter_adyen.is_object_id(PAY_OP_CHARGE, "QX7H2K9M4N5P6R8t"), "what a person may type as an id");
	OK(strstr(pay_adapter_adyen.object_id_hint(PAY_OP_REFUND), "not the payment's") != NULL && strstr(pay_adapter_adyen.object_id_hint(PAY_OP_CHARGE), "payment's page") != NULL, "and where it stands");
	OK(strcmp(pay_adyen_presentable("Ref\xc3\xbcsed 4111 1111 1111 1111"), "Ref??sed 4111 11** **** 1111") == 0, "words without card numbers");
	OK(pay_adyen_presentable("") == NULL && pay_adyen_presentable(NULL) == NULL, "or none");
}

int
main(void)
{
	test_bytes();
	test_refused();
	test_references();
	test_answers();
	test_pages();
	test_signatures();
	test_events();
	test_ids();
	shim_reset();
	return tap_done();
}
