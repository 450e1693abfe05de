/*
 * test/unit/test_paypal.c
 *		If this fails, PayPal is asked for another amount than was meant, a
 *		resend is another request than the first, an order that the payer has
 *		only approved counts as paid, or one that was paid is paid once more.
 */
// sources: ../../src/psp/psp.c ../../src/psp/scheme.c ../../src/psp/paypal.c ../../src/psp/paypal_value.c ../../src/psp/paypal_answer.c ../../src/psp/paypal_event.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c ../../src/base/json_slice.c
// libs: -lcrypto
#include "payments.h"

#include "psp/paypal.h"

#include "shim.h"
#include "tap.h"

#include "utils/resowner.h"

#include <string.h>

#define ORDER "5O190127TN364715T"
#define NAMES "\"reference_id\":\"1\",\"custom_id\":\"REF7\""
#define EUR(value) "\"amount\":{\"currency_code\":\"EUR\",\"value\":\"" value "\"}"
#define ORDER_OF(status, payments) "{\"id\":\"" ORDER "\",\"status\":\"" status "\",\"purchase_units\":[{" NAMES "," EUR("10.50") payments "}],\"links\":[{\"rel\":\"self\",\"href\":\"https://x/\"},{\"rel\":\"payer-action\",\"href\":\"https://www.paypal.com/checkoutnow?token=" ORDER "\"}]}"
#define CAPTURES(list) ",\"payments\":{\"captures\":[" list "]}"
#define CAPTURE(id, status, value) "{\"id\":\"" id "\",\"status\":\"" status "\"," EUR(value) ",\"custom_id\":\"REF7\",\"seller_receivable_breakdown\":{\"paypal_fee\":{\"currency_code\":\"EUR\",\"value\":\"0.66\"}}}"
#define REFUSED(name, issue) "{\"name\":\"" name "\",\"message\":\"m\",\"debug_id\":\"d\",\"details\":[{\"issue\":\"" issue "\",\"description\":\"what it means\"}]}"

extern const PayAdapter pay_adapter_paypal;

/* The others, by name only. */
#define PAY_ADAPTER(NAME) const PayAdapter pay_adapter_##NAME = {.name = #NAME};
#include "psp/adapters.h"
#undef PAY_ADAPTER

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
command_of(PayOpKind kind, int step)
{
	PayCommand	command = {
		.kind = kind, .amount = 1050, .currency = "EUR", .exponent = 2, .order_ref = "order \"42\"", .return_url = "https://shop.example/done?a=1&b=2",
		.psp_ref = "REF7", .generation = 1, .step = step,
	};

	if (step > 1 || (kind != PAY_OP_CHARGE && kind != PAY_OP_AUTHORIZE))
		command.psp_payment_id = ORDER;
	if (kind != PAY_OP_CHARGE && kind != PAY_OP_AUTHORIZE)
		command.target_id = kind == PAY_OP_REFUND ? "CAP1" : "AUTH1";
	return command;
}

/* ---------- requests ---------- */

static const char *
request_of(const PayCommand *command, bool inquiry)
{
	PayRequest	request = {0};
	const char *problem = NULL;

	if (inquiry ? !pay_adapter_paypal.build_inquiry(command, &request) : !pay_adapter_paypal.build(command, &request, &problem))
		return problem ? problem : "nothing to ask with";
	return psprintf("%s %s %s", request.method, request.path, request.body ? request.body : "-");
}

static void
is_request(PayCommand command, const char *expected, const char *what)
{
	const char *built = request_of(&command, false);

	OK(strcmp(built, expected) == 0, "the bytes of %s", what);
	if (strcmp(built, expected) != 0)
		printf("# %s\n", built);
}

static void
test_requests(void)
{
	PayCommand	command = command_of(PAY_OP_CHARGE, 1);

	is_request(command, "POST /v2/checkout/orders {\"intent\":\"CAPTURE\",\"purchase_units\":[{\"amount\":{\"currency_code\":\"EUR\",\"value\":\"10.50\"},\"reference_id\":\"1\",\"custom_id\":\"REF7\",\"description\":\"order \\\"42\\\"\"}],\"payment_source\":{\"paypal\":{\"experience_context\":{\"user_action\":\"PAY_NOW\",\"return_url\":\"https://shop.example/done?a=1&b=2\",\"cancel_url\":\"https://shop.example/done?a=1&b=2\"}}}}", "an order");
	command.config = "{\"brand_name\": \"Shop\", \"shipping_preference\": \"NO_SHIPPING\"}";
	OK(strstr(request_of(&command, false), "\"brand_name\":\"Shop\",\"shipping_preference\":\"NO_SHIPPING\"") != NULL, "what config says of the payer's pages");
	OK(strcmp(request_of(&command, true), "nothing to ask with") == 0, "an order without an id can be found by its key alone");
	command.exponent = 3;
	OK(strcmp(request_of(&command, false), "PayPal takes no such amount in this currency") == 0, "an amount in other units than PayPal's is refused");
	command.exponent = 2;
	command.return_url = NULL;
	OK(strstr(request_of(&command, false), "return_url") != NULL, "without return_url it is refused");
	command.payment_method = "8kk8451t";
	is_request(command, "POST /v2/checkout/orders {\"intent\":\"CAPTURE\",\"purchase_units\":[{\"amount\":{\"currency_code\":\"EUR\",\"value\":\"10.50\"},\"reference_id\":\"1\",\"custom_id\":\"REF7\",\"description\":\"order \\\"42\\\"\"}],\"payment_source\":{\"paypal\":{\"vault_id\":\"8kk8451t\"}}}", "an order from a saved wallet");
	is_request(command_of(PAY_OP_CHARGE, 2), "POST /v2/checkout/orders/" ORDER "/capture {}", "its capture");
	is_request(command_of(PAY_OP_AUTHORIZE, 2), "POST /v2/checkout/orders/" ORDER "/authorize {}", "its authorization");
	is_request(command_of(PAY_OP_CAPTURE, 1), "POST /v2/payments/authorizations/AUTH1/capture {\"amount\":{\"currency_code\":\"EUR\",\"value\":\"10.50\"},\"invoice_id\":\"REF7\",\"final_capture\":true}", "a capture of that");
	command = command_of(PAY_OP_CAPTURE, 1);
	command.keep_rest = true;
	OK(strstr(request_of(&command, false), "\"final_capture\":false") != NULL, "which may leave the rest for others");
	command.kind = PAY_OP_EXPIRE;
	OK(strcmp(request_of(&command, false), "there is nothing to send") == 0 && strcmp(request_of(&command, true), "GET /v2/payments/authorizations/AUTH1 -") == 0, "that an authorization has ended is only asked");
	is_request(command_of(PAY_OP_VOID, 1), "POST /v2/payments/authorizations/AUTH1/void -", "a cancellation of it");
	command = command_of(PAY_OP_REFUND, 1);
	command.reason = "broken";
	is_request(command, "POST /v2/payments/captures/CAP1/refund {\"amount\":{\"currency_code\":\"EUR\",\"value\":\"10.50\"},\"custom_id\":\"REF7\",\"note_to_payer\":\"broken\"}", "a refund");
	OK(strcmp(request_of(&command, true), "GET /v2/checkout/orders/" ORDER " -") == 0, "one without an id is looked for in its order");
	command.psp_object_id = "REFUND1";
	OK(strcmp(request_of(&command, true), "GET /v2/payments/refunds/REFUND1 -") == 0, "with one by that");
	command.target_id = "../x";
	OK(strstr(request_of(&command, false), "none has so much") != NULL, "what is no id goes into no path");
}

/* What an amount is written as, and what that is read as; "-" is refused. */
static void
is_amount(int64 amount, const char *currency, const char *written)
{
	StringInfoData out;
	PaySlice	object;
	int64		read = -1;
	const char *told = NULL;
	bool		good;

	initStringInfo(&out);
	good = pay_paypal_add_amount(&out, &(PayCommand) {.amount = amount, .currency = currency, .exponent = strpbrk(written, ".-") ? 2 : 0});
	object = (PaySlice) {out.data, (size_t) out.len};
	if (written[0] == '-')
		OK(!good, INT64_FORMAT " %s is refused", amount, currency);
	else
		OK(good && strcmp(pay_paypal_text(object, "value"), written) == 0 && pay_paypal_amount(object, "", &read, &told) && read == amount && strcmp(told, currency) == 0,
		   INT64_FORMAT " %s is written as %s, and read as that", amount, currency, written);
}

static bool
reads(const char *value, const char *currency, int64 expected)
{
	const char *text = psprintf("{\"amount\":{\"currency_code\":\"%s\",\"value\":\"%s\"}}", currency, value);
	int64		read = -1;
	const char *told;

	return pay_paypal_amount((PaySlice) {text, strlen(text)}, "amount", &read, &told) ? read == expected : expected < 0;
}

static void
test_amounts(void)
{
	static const char *const two[] = {"AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "ILS", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "SEK", "SGD", "THB", "USD"};
	static const char *const none[] = {"HUF", "JPY", "TWD"};

	for (size_t i = 0; i < lengthof(two); i++)
		is_amount(100007, two[i], "1000.07");
	for (size_t i = 0; i < lengthof(none); i++)
		is_amount(100007, none[i], "100007");
	is_amount(1, "EUR", "0.01");
	is_amount(99999999999999999, "EUR", "999999999999999.99");
	is_amount(0, "EUR", "-");
	is_amount(1000, "KRW", "-");
	is_amount(1000, "TND", "-");
	OK(reads("10", "EUR", 1000) && reads("10.5", "EUR", 1050) && reads("10.500", "EUR", 1050) && reads("7.00", "JPY", 7), "fewer decimals, and noughts behind");
	OK(reads("10.505", "EUR", -1) && reads("7.50", "JPY", -1), "what is more exact than the currency is refused, never rounded");
	OK(reads("", "EUR", -1) && reads(".5", "EUR", -1) && reads("5.", "EUR", -1) && reads("-5.00", "EUR", -1) && reads("1e3", "EUR", -1) && reads("1,000.00", "EUR", -1) &&
	   reads(" 5", "EUR", -1) && reads("99999999999999999999", "EUR", -1), "nor is anything else an amount");
}

/* ---------- answers ---------- */

static PayResult result;

static void
hear(PayCommand command, bool inquiry, int status, const char *body)
{
	PayAnswer	answer;

	pay_answer_init(&answer);
	answer.transport = PAY_TRANSPORT_ANSWERED;
	answer.http_status = status;
	answer.body = body;
	answer.body_bytes = strlen(body);
	pay_adapter_paypal.classify(&command, inquiry, &answer, &result);
}

static bool
code_is(const char *code)
{
	return result.codes[0] && strcmp(result.codes[0], code) == 0;
}

static bool
nothing_yet(void)
{
	return result.class == PAY_CLASS_UNKNOWN && result.inquiry_found_nothing;
}

static void
test_orders(void)
{
	PayCommand	make = command_of(PAY_OP_CHARGE, 1);
	PayCommand	capture = command_of(PAY_OP_CHARGE, 2);
	PayCommand	other = capture;

	hear(make, false, 201, ORDER_OF("PAYER_ACTION_REQUIRED", ""));
	OK(result.class == PAY_CLASS_REQUIRES_ACTION && strcmp(result.next_action_url, "https://www.paypal.com/checkoutnow?token=" ORDER) == 0 && strcmp(result.psp_payment_id, ORDER) == 0, "an order: the payer must approve it, and where");
	hear(make, false, 200, ORDER_OF("CREATED", ""));
	OK(result.class == PAY_CLASS_REQUIRES_ACTION, "the same again under its key");
	make.psp_payment_id = ORDER;
	hear(make, true, 200, ORDER_OF("APPROVED", ""));
	OK(result.class == PAY_CLASS_PENDING && result.next_step == 2 && result.effect == PAY_EFFECT_NONE, "approved is not paid: it goes on with the second request");
	hear(capture, true, 200, ORDER_OF("APPROVED", ""));
	OK(nothing_yet() && result.next_step == 0, "asked after that, it says that nothing was captured, and begins no other");
	hear(capture, false, 201, ORDER_OF("APPROVED", ""));
	OK(result.class == PAY_CLASS_UNKNOWN && !result.inquiry_found_nothing, "as an answer to it nobody knows");

	hear(capture, false, 201, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "COMPLETED", "10.50"))));
	OK(result.class == PAY_CLASS_APPROVED && result.effect == PAY_EFFECT_CAPTURED && result.amount == 1050 && strcmp(result.object_id, "CAP1") == 0 && strcmp(result.psp_payment_id, ORDER) == 0, "captured: by the id of the capture, of the order");
	OK(result.fee == 66 && strcmp(result.fee_currency, "EUR") == 0 && strcmp(result.fee_object_id, "CAP1") == 0, "and what PayPal takes of it");
	hear(capture, true, 200, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "REFUNDED", "10.50"))));
	OK(result.class == PAY_CLASS_APPROVED && result.effect == PAY_EFFECT_CAPTURED, "refunded since, it was captured all the same");
	hear(capture, false, 201, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "PENDING", "10.50"))));
	OK(result.class == PAY_CLASS_PENDING && result.next_step == 0, "201 with a capture that is pending is not paid");
	hear(capture, true, 200, ORDER_OF("APPROVED", CAPTURES(CAPTURE("CAP0", "DECLINED", "10.50"))));
	OK(result.class == PAY_CLASS_DECLINED && code_is("capture_declined"), "a capture that was declined");
	hear(capture, true, 200, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP0", "DECLINED", "10.50") "," CAPTURE("CAP1", "COMPLETED", "10.50"))));
	OK(result.class == PAY_CLASS_APPROVED && strcmp(result.object_id, "CAP1") == 0, "and one after it that was not");
	hear(capture, false, 201, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "COMPLETED", "10.49"))));
	OK(result.class == PAY_CLASS_CONFLICTED && code_is("amount_mismatch"), "another amount is a conflict");
	other.currency = "USD";
	hear(other, false, 201, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "COMPLETED", "10.50"))));
	OK(result.class == PAY_CLASS_CONFLICTED && code_is("currency_mismatch"), "so is another currency");
	other = capture;
	other.psp_ref = "OTHER";
	hear(other, false, 201, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "COMPLETED", "10.50"))));
	OK(result.class == PAY_CLASS_CONFLICTED && result.psp_payment_id == NULL, "and another's order, whose id is not kept");
	other = capture;
	other.generation = 2;
	hear(other, true, 200, ORDER_OF("COMPLETED", CAPTURES(CAPTURE("CAP1", "COMPLETED", "10.50"))));
	OK(result.class == PAY_CLASS_CONFLICTED, "and another generation's");
	hear(capture, true, 200, ORDER_OF("VOIDED", ""));
	OK(result.class == PAY_CLASS_DECLINED && code_is("order_voided"), "voided");
	hear(capture, true, 404, REFUSED("RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID"));
	OK(nothing_yet(), "an order that is gone is no proof");

	hear(command_of(PAY_OP_AUTHORIZE, 2), false, 201, ORDER_OF("COMPLETED", ",\"payments\":{\"authorizations\":[{\"id\":\"AUTH1\",\"status\":\"CREATED\"," EUR("10.50") "}]}"));
	OK(result.class == PAY_CLASS_APPROVED && result.effect == PAY_EFFECT_AUTHORIZED && strcmp(result.object_id, "AUTH1") == 0, "authorized");
	hear(command_of(PAY_OP_AUTHORIZE, 2), false, 201, ORDER_OF("COMPLETED", ",\"payments\":{\"authorizations\":[{\"id\":\"AUTH1\",\"status\":\"DENIED\"," EUR("10.50") "}]}"));
	OK(result.class == PAY_CLASS_DECLINED && code_is("authorization_denied"), "or denied");
}

static void
test_follow_ups(void)
{
	PayCommand	capture = command_of(PAY_OP_CAPTURE, 1);
	PayCommand	cancel = command_of(PAY_OP_VOID, 1);
	PayCommand	refund = command_of(PAY_OP_REFUND, 1);

	hear(capture, false, 201, "{\"id\":\"CAP2\",\"status\":\"COMPLETED\",\"invoice_id\":\"REF7\"," EUR("10.50") ",\"supplementary_data\":{\"related_ids\":{\"order_id\":\"" ORDER "\"}}}");
	OK(result.effect == PAY_EFFECT_CAPTURED && strcmp(result.object_id, "CAP2") == 0 && strcmp(result.psp_payment_id, ORDER) == 0, "an authorization is captured");
	hear(capture, false, 201, "{\"id\":\"CAP2\",\"status\":\"COMPLETED\",\"invoice_id\":\"OTHER\"," EUR("10.50") "}");
	OK(result.class == PAY_CLASS_UNKNOWN, "but not by a capture of another name");
	hear(capture, true, 200, ORDER_OF("COMPLETED", CAPTURES("{\"id\":\"CAP3\",\"status\":\"COMPLETED\",\"invoice_id\":\"OTHER\"," EUR("1.00") "},{\"id\":\"CAP2\",\"status\":\"COMPLETED\",\"invoice_id\":\"REF7\"," EUR("10.50") "}")));
	OK(result.effect == PAY_EFFECT_CAPTURED && strcmp(result.object_id, "CAP2") == 0, "after a lost answer ours is found among others of the order");
	hear(capture, true, 200, ORDER_OF("COMPLETED", ""));
	OK(nothing_yet(), "or none is");
	hear(cancel, false, 200, "{\"id\":\"AUTH1\",\"status\":\"VOIDED\"," EUR("10.50") "}");
	OK(result.effect == PAY_EFFECT_VOIDED && result.amount == 1050, "an authorization is voided");
	hear(cancel, false, 204, "");
	OK(result.class == PAY_CLASS_UNKNOWN, "204 names nothing: it is asked");
	hear(cancel, true, 200, "{\"id\":\"AUTH1\",\"status\":\"CREATED\"," EUR("10.50") "}");
	OK(nothing_yet() && result.object_id == NULL, "not yet");
	hear(cancel, true, 200, "{\"id\":\"AUTH1\",\"status\":\"CAPTURED\"," EUR("10.50") "}");
	OK(result.class == PAY_CLASS_DECLINED && code_is("already_captured"), "too late");
	cancel.kind = PAY_OP_EXPIRE;
	hear(cancel, true, 200, "{\"id\":\"AUTH1\",\"status\":\"VOIDED\"," EUR("10.50") "}");
	OK(result.effect == PAY_EFFECT_EXPIRED, "or has ended by itself");
	cancel.kind = PAY_OP_VOID;
	hear(cancel, true, 200, "{\"id\":\"AUTH2\",\"status\":\"VOIDED\"," EUR("10.50") "}");
	OK(result.class == PAY_CLASS_UNKNOWN, "another one's end is none of it");
	hear(refund, false, 201, "{\"id\":\"RE1\",\"status\":\"COMPLETED\",\"custom_id\":\"REF7\"," EUR("10.50") "}");
	OK(result.effect == PAY_EFFECT_REFUNDED && strcmp(result.psp_payment_id, ORDER) == 0, "refunded");
	hear(refund, false, 201, "{\"id\":\"RE1\",\"status\":\"PENDING\",\"custom_id\":\"REF7\"," EUR("10.50") "}");
	OK(result.class == PAY_CLASS_PENDING && strcmp(result.object_id, "RE1") == 0, "not yet, and by which id it is asked for");
	hear(refund, true, 200, "{\"id\":\"RE1\",\"status\":\"FAILED\",\"custom_id\":\"REF7\"," EUR("10.50") "}");
	OK(result.class == PAY_CLASS_DECLINED && result.effect == PAY_EFFECT_REFUND_FAILED, "failed");
	hear(refund, true, 200, ORDER_OF("COMPLETED", ",\"payments\":{\"refunds\":[{\"id\":\"RE0\",\"status\":\"COMPLETED\"," EUR("10.50") "},{\"id\":\"RE1\",\"status\":\"COMPLETED\",\"custom_id\":\"REF7\"," EUR("10.50") "}]}"));
	OK(result.effect == PAY_EFFECT_REFUNDED && strcmp(result.object_id, "RE1") == 0, "found in its order, and not somebody else's of that amount");
}

static void
test_refusals(void)
{
	PayCommand	capture = command_of(PAY_OP_CHARGE, 2);

	hear(capture, false, 422, REFUSED("UNPROCESSABLE_ENTITY", "INSTRUMENT_DECLINED"));
	OK(result.class == PAY_CLASS_DECLINED && code_is("INSTRUMENT_DECLINED") && strcmp(result.message, "what it means") == 0, "422: declined, by its issue");
	hear(capture, false, 422, REFUSED("UNPROCESSABLE_ENTITY", "ORDER_ALREADY_CAPTURED"));
	OK(result.class == PAY_CLASS_DUPLICATE, "captured already: asked, and neither paid nor refused");
	hear(command_of(PAY_OP_REFUND, 1), false, 422, REFUSED("UNPROCESSABLE_ENTITY", "CAPTURE_FULLY_REFUNDED"));
	OK(result.class == PAY_CLASS_DUPLICATE, "refunded already");
	hear(command_of(PAY_OP_VOID, 1), false, 422, REFUSED("UNPROCESSABLE_ENTITY", "PREVIOUSLY_VOIDED"));
	OK(result.class == PAY_CLASS_DUPLICATE, "voided already");
	hear(command_of(PAY_OP_CAPTURE, 1), false, 422, REFUSED("UNPROCESSABLE_ENTITY", "AUTHORIZATION_ALREADY_CAPTURED"));
	OK(result.class == PAY_CLASS_DUPLICATE, "an authorization likewise");
	hear(capture, false, 409, REFUSED("RESOURCE_CONFLICT", "PREVIOUS_REQUEST_IN_PROGRESS"));
	OK(result.class == PAY_CLASS_UNKNOWN, "409: a twin may yet do it");
	hear(capture, false, 422, REFUSED("UNPROCESSABLE_ENTITY", "ORDER_COMPLETION_IN_PROGRESS"));
	OK(result.class == PAY_CLASS_UNKNOWN, "so it may here");
	hear(capture, false, 500, REFUSED("INTERNAL_SERVER_ERROR", "INTERNAL_SERVICE_ERROR"));
	OK(result.class == PAY_CLASS_UNKNOWN, "500 proves nothing");
	hear(capture, false, 429, REFUSED("RATE_LIMIT_REACHED", "X"));
	OK(result.class == PAY_CLASS_NOT_SENT && result.too_many, "429 of its own: not processed");
	hear(capture, false, 401, "{\"error\":\"invalid_token\",\"error_description\":\"Token signature verification failed\"}");
	OK(result.class == PAY_CLASS_MISCONFIGURED, "401: the token");
	hear(capture, false, 403, REFUSED("NOT_AUTHORIZED", "PERMISSION_DENIED"));
	OK(result.class == PAY_CLASS_MISCONFIGURED, "403: our rights");
	hear(capture, true, 422, REFUSED("UNPROCESSABLE_ENTITY", "INSTRUMENT_DECLINED"));
	OK(result.class == PAY_CLASS_UNKNOWN && !result.inquiry_found_nothing, "an inquiry that fails says nothing of the payment");
}

/* ---------- who we are, and what comes unasked ---------- */

static void
test_token(void)
{
	PayRequest	request = {.method = "GET", .path = "/"};
	PayCredentials credentials = {"id:hush", NULL, 0};
	PayHeaders	headers = {0};
	PayAnswer	answer;
	PayToken	token = {0};

	pay_adapter_paypal.build_token("id:hush", &request);
	OK(strcmp(request.path, "/v1/oauth2/token") == 0 && strcmp(request.body, "grant_type=client_credentials") == 0, "a token is asked for");
	pay_adapter_paypal.authorize(&request, &credentials, &headers);
	OK(strcmp(headers.list[0], "Authorization: Basic aWQ6aHVzaA==") == 0, "by name and secret");
	credentials.token = "A21AA";
	pay_adapter_paypal.authorize(&request, &credentials, &headers);
	OK(strcmp(headers.list[1], "Authorization: Bearer A21AA") == 0, "and is what says who we are");
	pay_answer_init(&answer);
	answer.http_status = 200;
	answer.body = "{\"scope\":\"s\",\"access_token\":\"A21AA\",\"token_type\":\"Bearer\",\"expires_in\":31668}";
	answer.body_bytes = strlen(answer.body);
	OK(pay_adapter_paypal.read_token(&answer, &token) && strcmp(token.text, "A21AA") == 0 && token.valid_s == 31668, "as it was read");
	answer.body = "{\"access_token\":\"A21AA\",\"expires_in\":-1}";
	answer.body_bytes = strlen(answer.body);
	OK(!pay_adapter_paypal.read_token(&answer, &token), "though not one without an end");
	OK(pay_psp_key_valid_s(&pay_adapter_paypal, PAY_OP_CHARGE) == 5 * 3600 && pay_psp_key_valid_s(&pay_adapter_paypal, PAY_OP_REFUND) > 44 * 24 * 3600, "keys of orders last for hours, those of what follows for weeks");
}

static const PayPspEvent *
event_of(const char *type, const char *resource)
{
	static PayEvents events;
	const char *body = psprintf("{\"id\":\"WH-1\",\"event_type\":\"%s\",\"resource\":%s}", type, resource);
	PayInbound	inbound = {.body = body, .body_bytes = strlen(body)};

	memset(&events, 0, sizeof(events));
	return pay_adapter_paypal.parse(&inbound, &events) ? &events.list[0] : NULL;
}

static void
test_events(void)
{
	static const char *const some[] = {"id", NULL};
	PayInbound	inbound = {.body = "{}", .body_bytes = 2};
	const PayPspEvent *e = event_of("CHECKOUT.ORDER.APPROVED", ORDER_OF("APPROVED", ""));

	OK(pay_adapter_paypal.verify(&inbound, some, 0) == PAY_VERDICT_ASK_PSP, "no event is believed: PayPal is asked");
	OK(e->relevant && strcmp(e->result.psp_ref, "REF7") == 0 && strcmp(e->result.psp_payment_id, ORDER) == 0 && e->result.next_step == 2, "an approval names its payment");
	e = event_of("PAYMENT.CAPTURE.COMPLETED", CAPTURE("CAP1", "COMPLETED", "10.50"));
	OK(e->relevant && strcmp(e->result.psp_ref, "REF7") == 0 && e->result.effect == PAY_EFFECT_CAPTURED, "so does a capture");
	e = event_of("PAYMENT.CAPTURE.REFUNDED", "{\"id\":\"RE1\",\"status\":\"COMPLETED\"," EUR("1.00") ",\"links\":[{\"rel\":\"up\",\"href\":\"https://api/v2/payments/captures/CAP1\"}]}");
	OK(e->relevant && strcmp(e->result.psp_payment_id, "CAP1") == 0 && e->result.effect == PAY_EFFECT_REFUNDED, "a refund names its capture");
	e = event_of("CUSTOMER.DISPUTE.CREATED", "{\"dispute_id\":\"PP-D-1\",\"status\":\"OPEN\",\"dispute_life_cycle_stage\":\"CHARGEBACK\",\"dispute_amount\":{\"currency_code\":\"EUR\",\"value\":\"10.50\"},\"disputed_transactions\":[{\"seller_transaction_id\":\"CAP1\"}]}");
	OK(e->relevant && e->result.effect == PAY_EFFECT_DISPUTED && strcmp(e->result.psp_payment_id, "CAP1") == 0, "so does a dispute");
	e = event_of("CUSTOMER.DISPUTE.CREATED", "{\"dispute_id\":\"PP-D-1\",\"status\":\"OPEN\",\"dispute_life_cycle_stage\":\"INQUIRY\",\"dispute_amount\":{\"currency_code\":\"EUR\",\"value\":\"10.50\"},\"disputed_transactions\":[{\"seller_transaction_id\":\"CAP1\"}]}");
	OK(!e->relevant, "in which nothing is held while the two talk");
	OK(!event_of("BILLING.PLAN.CREATED", "{}")->relevant, "what we have no use for is left alone");
	OK(event_of("\\u0000", "{}") == NULL && event_of("A B", "{}") == NULL, "what has no type is none");
}

int
main(void)
{
	test_requests();
	test_amounts();
	test_orders();
	test_follow_ups();
	test_refusals();
	test_token();
	test_events();
	shim_reset();
	return tap_done();
}
