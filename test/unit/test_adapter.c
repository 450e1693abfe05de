/*
 * test/unit/test_adapter.c
 *		If this fails, a resend is another request than the first and charges
 *		twice, a request goes out unauthorized or with a key left out, or what a
 *		PSP (or somebody in its place) sends is believed without proof.
 *
 * The contract holds for every adapter that speaks HTTP; of Stripe's only the
 * half that builds requests, since what reads answers needs the server's jsonb
 * and is tested in test/pgtap/external.sql and test/t.
 */
// sources: ../../src/psp/psp.c ../../src/psp/scheme.c ../../src/psp/sandbox.c ../../src/psp/stripe.c ../../src/psp/paypal.c ../../src/psp/paypal_value.c ../../src/psp/paypal_answer.c ../../src/psp/paypal_event.c ../../src/psp/yookassa.c ../../src/psp/yookassa_answer.c ../../src/psp/yookassa_feed.c ../../src/psp/yookassa_time.c ../../src/format/value.c ../adapters/plain.c ../adapters/apikey.c ../adapters/basic.c ../adapters/oauth.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c ../../src/base/json_slice.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c ../../src/psp/adyen.c ../../src/psp/adyen_answer.c ../../src/psp/adyen_event.c ../../src/psp/adyen_value.c
// libs: -lcrypto
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe.h"
#include "psp/yookassa.h"

#include "shim.h"
#include "tap.h"

#include "utils/formatting.h"
#include "utils/resowner.h"

#include <ctype.h>
#include <string.h>

#define NOW INT64CONST(1700000000)
#define SECRET "name:sesame"

/* Not in the list that the tests' adapters are in. */
extern const PayAdapter pay_adapter_paypal;
extern const PayAdapter pay_adapter_adyen;

/* What the rest of Stripe's adapter and base/digest.c ask of the server. */
const PayFeed pay_stripe_feeds[PAY_STRIPE_FEEDS];
ResourceOwner CurrentResourceOwner = NULL;

void
pay_stripe_read_header(const PayHeader *header, PayAnswer *answer)
{
}

void
pay_stripe_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	pay_result_init(result);
}

PayVerdict
pay_stripe_verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	return PAY_VERDICT_MISSING;
}

bool
pay_stripe_parse(const PayInbound *inbound, PayEvents *events)
{
	return false;
}

ResourceOwner
ResourceOwnerCreate(ResourceOwner parent, const char *name)
{
	return (ResourceOwner) &CurrentResourceOwner;
}

void
ResourceOwnerDelete(ResourceOwner owner)
{
}

char *
asc_tolower(const char *text, size_t bytes)
{
	char	   *copy = pnstrdup(text, bytes);

	for (char *c = copy; *c; c++)
		*c = (char) tolower((unsigned char) *c);
	return copy;
}

static PayCommand
command_of(PayOpKind kind)
{
	PayCommand	command = {
		.kind = kind,
		.amount = 1050,
		.currency = "EUR",
		.exponent = 2,
		.payment_method = "pm_card_visa",
		.customer = "cus_1",
		.order_ref = "order 42&co",
		.description = "shoes",
		.psp_ref = "REF7",
		.generation = 2,
		.captured = kind == PAY_OP_VOID ? 0 : 1050,
		.config = "{\"account\": \"shop-1\", \"merchant_account\": \"shop-1\", \"return_url\": \"https://shop.example/done\"}",
	};

	if (kind != PAY_OP_CHARGE && kind != PAY_OP_AUTHORIZE)
		command.psp_payment_id = command.target_id = "pi_1";
	return command;
}

/* Method, path, type and body, as one text. */
static const char *
bytes_of(const PayRequest *request)
{
	return psprintf("%s %s\n%s\n%s", request->method, request->path, request->content_type ? request->content_type : "",
					request->body ? request->body : "");
}

static const char *
headers_of(const PayAdapter *adapter, const PayRequest *request, const char *token, const char *key)
{
	PayCredentials credentials = {SECRET, token, NOW};
	PayHeaders	headers;
	const char *text = "";

	pay_psp_headers(adapter, request, &credentials, key, &headers);
	for (int i = 0; i < headers.n; i++)
		text = psprintf("%s%s\n", text, headers.list[i]);
	return text;
}

/* ---------- the contract, of any adapter ---------- */

static void
test_requests(const PayAdapter *adapter)
{
	for (int kind = PAY_OP_CHARGE; kind <= PAY_OP_REFUND; kind++)
	{
		PayCommand	command = command_of((PayOpKind) kind);
		PayRequest	first = {0},
					second = {0},
					inquiry = {0};
		const char *problem = NULL;
		bool		built;

		if (!(adapter->can & (1 << kind)))
			continue;
		command.return_url = "https://shop.example/back";
		built = adapter->build(&command, &first, &problem);
		OK(built && problem == NULL, "%s: %s is built", adapter->name, pay_op_kind_name(command.kind));
		OK(adapter->build(&command, &second, &problem) && strcmp(bytes_of(&first), bytes_of(&second)) == 0, "%s: %s comes out the same", adapter->name, pay_op_kind_name(command.kind));
		OK(first.path[0] == '/' && (first.body == NULL) == (first.content_type == NULL), "%s: %s has a path, and a body with its type", adapter->name, pay_op_kind_name(command.kind));
		OK(strstr(bytes_of(&first), SECRET) == NULL, "%s: %s holds no secret", adapter->name, pay_op_kind_name(command.kind));
		/* Without an id some can be asked by the key alone. */
		if (!adapter->build_inquiry(&command, &inquiry))
			command.psp_payment_id = "pi_1";
		OK(adapter->build_inquiry(&command, &inquiry) ? strcmp(inquiry.method, "GET") == 0 : adapter->no_inquiry, "%s: %s can be asked about, or is said not to be", adapter->name, pay_op_kind_name(command.kind));

		command.psp_ref = NULL;
		problem = NULL;
		OK(!adapter->build(&command, &first, &problem) && problem != NULL, "%s: %s without a reference is refused, with a reason", adapter->name, pay_op_kind_name(command.kind));
	}
}

static void
test_authorization(const PayAdapter *adapter)
{
	PayCommand	command = command_of(PAY_OP_CHARGE);
	PayRequest	request = {0};
	PayHeaders	open,
				closed;
	PayCredentials credentials = {SECRET, adapter->build_token ? "tok" : NULL, NOW};
	const char *problem;

	command.return_url = "https://shop.example/back";
	adapter->build(&command, &request, &problem);
	pay_psp_headers(adapter, &request, NULL, "key-1", &open);
	pay_psp_headers(adapter, &request, &credentials, "key-1", &closed);
	OK(closed.n > open.n && closed.list[closed.n] == NULL, "%s: it says who we are", adapter->name);
	OK(strstr(headers_of(adapter, &request, credentials.token, "key-1"), psprintf("%s: key-1\n", adapter->key_header)) != NULL, "%s: the key is in its header", adapter->name);
	OK(strstr(headers_of(adapter, &request, credentials.token, NULL), "key-1") == NULL, "%s: and not without one", adapter->name);
	pay_headers_wipe(&closed);
	OK(closed.list[0][0] == '\0', "%s: wiped, nothing is left of it", adapter->name);
}

static void
test_answers(const PayAdapter *adapter)
{
	static const struct
	{
		int			status;
		const char *body;
	}			nonsense[] = {
		{200, ""}, {200, "{"}, {200, "null"}, {200, "[]"}, {200, "<html>"}, {200, "{\"status\":\"done\"}"}, {200, "{\"id\":7,\"status\":[]}"},
		{204, ""}, {301, ""}, {404, ""}, {500, ""}, {502, "<html>"}, {999, ""},
	};
	/* What stands between us and the PSP answers for it, and may do so after the PSP has charged. */
	static const int refusals[] = {400, 401, 402, 403, 404, 407, 409, 424, 429, 451, 500, 502, 503, 504};
	static const char *const pages[] = {
		"", "<html><body><h1>403 Forbidden</h1></body></html>", "{\"message\":\"Forbidden\"}", "{\"error\":{\"code\":429,\"message\":\"quota\"}}",
	};

	for (int inquiry = 0; inquiry <= 1; inquiry++)
	{
		PayCommand	command = command_of(PAY_OP_CHARGE);
		PayAnswer	answer;
		PayResult	result;

		pay_answer_init(&answer);
		adapter->classify(&command, inquiry, &answer, &result);
		OK(result.class == PAY_CLASS_UNKNOWN, "%s: no answer is unknown", adapter->name);
		answer.transport = PAY_TRANSPORT_NOT_SENT;
		adapter->classify(&command, inquiry, &answer, &result);
		OK(result.class == (inquiry ? PAY_CLASS_UNKNOWN : PAY_CLASS_NOT_SENT), "%s: what was not sent was not processed; of an inquiry it says nothing", adapter->name);
		answer.transport = PAY_TRANSPORT_ANSWERED;
		for (size_t i = 0; i < lengthof(nonsense); i++)
		{
			answer.http_status = nonsense[i].status;
			answer.body = nonsense[i].body;
			answer.body_bytes = strlen(nonsense[i].body);
			adapter->classify(&command, inquiry, &answer, &result);
			OK(result.class == PAY_CLASS_UNKNOWN && result.effect == PAY_EFFECT_NONE, "%s: %d with nonsense is unknown", adapter->name, nonsense[i].status);
		}
		for (size_t i = 0; i < lengthof(refusals) * lengthof(pages); i++)
		{
			answer.http_status = refusals[i / lengthof(pages)];
			answer.body = pages[i % lengthof(pages)];
			answer.body_bytes = strlen(answer.body);
			adapter->classify(&command, inquiry, &answer, &result);
			OK(result.class == PAY_CLASS_UNKNOWN && !result.inquiry_found_nothing && result.too_many == (answer.http_status == 429),
			   "%s: %d of something in between proves nothing", adapter->name, answer.http_status);
		}
	}
}

static void
test_inbound(const PayAdapter *adapter)
{
	static const char *const bodies[] = {"", "{", "{}", "null", "[]", "{\"items\":[]}", "{\"items\":[{}]}", "{\"event\":\"e\"}", "\xff\xfe", "{\"items\":[{\"operation\":{},\"signature\":\"\"}]}"};
	static const char *const none[] = {NULL};
	static const char *const empty[] = {"", NULL};
	static const char *const some[] = {"sign", NULL};

	for (size_t i = 0; i < lengthof(bodies); i++)
	{
		PayInbound	inbound = {.body = bodies[i], .body_bytes = strlen(bodies[i])};
		PayEvents	events = {0};

		OK(adapter->verify(&inbound, none, NOW) != PAY_VERDICT_OK && adapter->verify(&inbound, empty, NOW) != PAY_VERDICT_OK &&
		   adapter->verify(&inbound, some, NOW) != PAY_VERDICT_OK, "%s: body %d, signed by nobody, is not verified", adapter->name, (int) i);
		if (adapter->parse(&inbound, &events))
			for (int k = 0; k < events.n; k++)
				OK(events.list[k].event_id && !(events.list[k].relevant && events.list[k].result.class == PAY_CLASS_UNKNOWN), "%s: body %d has an event with a name", adapter->name, (int) i);
	}
}

/* ---------- Stripe's bytes ---------- */

static void
is_request(PayOpKind kind, const char *expected)
{
	PayCommand	command = command_of(kind);
	PayRequest	request = {0};
	const char *problem = NULL;

	command.reason = "duplicate";
	OK(pay_adapter_stripe.build(&command, &request, &problem) && strcmp(bytes_of(&request), expected) == 0, "stripe: the bytes of %s", pay_op_kind_name(kind));
}

/* Of an account that may capture several times. */
static void
is_part_request(PayOpKind kind, const char *expected)
{
	PayCommand	command = command_of(kind);
	PayRequest	request = {0};
	const char *problem = NULL;

	command.captured = 300;
	command.keep_rest = true;
	OK(kind != PAY_OP_CAPTURE || !pay_adapter_stripe.build(&command, &request, &problem), "stripe: a capture that leaves a rest only where the account may");
	command.config = "{\"multicapture\": true}";
	problem = NULL;
	OK(pay_adapter_stripe.build(&command, &request, &problem) && strstr(bytes_of(&request), expected), "stripe: the bytes of %s, of several captures", pay_op_kind_name(kind));
}

/* They are stored and sent again for a day: another version of the library must build the same. */
/* Whose account, by the answer and the secret; "-" for what is not known. */
static const char *
stripe_account(int status, const char *body, const char *secret)
{
	PayAnswer	answer;
	PayAccount	account = {0};

	pay_answer_init(&answer);
	answer.transport = PAY_TRANSPORT_ANSWERED;
	answer.http_status = status;
	answer.body = body;
	answer.body_bytes = strlen(body);
	pay_adapter_stripe.read_account(&answer, secret, &account);
	return psprintf("%s %s", account.id ? account.id : "-", account.mode ? account.mode : "-");
}

static void
test_stripe_account(void)
{
	static const char account[] = "{\"id\": \"acct_1\", \"object\": \"account\", \"email\": \"a@b.example\"}";
	PayRequest	request = {0};

	pay_adapter_stripe.build_account(&request);
	OK(strcmp(request.method, "GET") == 0 && strcmp(request.path, "/v1/account") == 0 && request.body == NULL, "stripe: whose account is asked for");
	OK(strcmp(stripe_account(200, account, "sk_test_1"), "acct_1 test") == 0, "the account, and of a key for tests");
	OK(strcmp(stripe_account(200, account, "rk_live_1"), "acct_1 live") == 0, "or of a live one, restricted or not");
	OK(strcmp(stripe_account(200, account, "else"), "acct_1 -") == 0, "of another secret the mode is not known");
	OK(strcmp(stripe_account(403, account, "sk_live_1"), "- live") == 0, "what is refused says no account");
	OK(strcmp(stripe_account(200, "{\"id\": \"cus_1\", \"object\": \"customer\"}", "sk_live_1"), "- live") == 0, "nor does another object");
	OK(strcmp(stripe_account(200, "{\"id\": \"acct 1\", \"object\": \"account\"}", "sk_live_1"), "- live") == 0, "or what is no id");
	OK(strcmp(stripe_account(200, "{\"id\": 7, \"object\": \"account\"", "sk_live_1"), "- live") == 0, "or no JSON");
	OK(pay_account_differs(&(PayAccount) {"a", "live"}, &(PayAccount) {"b", "live"}) && pay_account_differs(&(PayAccount) {"a", "live"}, &(PayAccount) {"a", "test"}), "accounts differ by id and by mode");
	OK(!pay_account_differs(&(PayAccount) {"a", "live"}, &(PayAccount) {"a", NULL}) && !pay_account_differs(&(PayAccount) {NULL, NULL}, &(PayAccount) {"a", "test"}), "and by nothing that is not known");
}

static void
test_stripe(void)
{
	PayCommand	command = command_of(PAY_OP_CHARGE);
	PayRequest	request = {0};
	const char *problem = NULL;

	is_request(PAY_OP_CHARGE, "POST /v1/payment_intents\napplication/x-www-form-urlencoded\namount=1050&currency=eur&payment_method=pm_card_visa&confirm=true&capture_method=automatic&customer=cus_1&description=shoes&metadata%5Bpayments_ref%5D=REF7&metadata%5Bpayments_generation%5D=2&metadata%5Border_ref%5D=order%2042%26co&expand%5B%5D=latest_charge.balance_transaction&automatic_payment_methods%5Benabled%5D=true&automatic_payment_methods%5Ballow_redirects%5D=never");
	is_request(PAY_OP_AUTHORIZE, "POST /v1/payment_intents\napplication/x-www-form-urlencoded\namount=1050&currency=eur&payment_method=pm_card_visa&confirm=true&capture_method=manual&customer=cus_1&description=shoes&metadata%5Bpayments_ref%5D=REF7&metadata%5Bpayments_generation%5D=2&metadata%5Border_ref%5D=order%2042%26co&expand%5B%5D=latest_charge.balance_transaction&automatic_payment_methods%5Benabled%5D=true&automatic_payment_methods%5Ballow_redirects%5D=never");
	is_request(PAY_OP_CAPTURE, "POST /v1/payment_intents/pi_1/capture\napplication/x-www-form-urlencoded\namount_to_capture=1050&expand%5B%5D=latest_charge.balance_transaction");
	is_request(PAY_OP_VOID, "POST /v1/payment_intents/pi_1/cancel\napplication/x-www-form-urlencoded\ncancellation_reason=duplicate");
	is_part_request(PAY_OP_AUTHORIZE, "&capture_method=manual&payment_method_options%5Bcard%5D%5Brequest_multicapture%5D=if_available&");
	is_part_request(PAY_OP_CAPTURE, "/v1/payment_intents/pi_1/capture\napplication/x-www-form-urlencoded\namount_to_capture=1050&final_capture=false&");
	is_part_request(PAY_OP_VOID, "/v1/payment_intents/pi_1/capture\napplication/x-www-form-urlencoded\namount_to_capture=0&final_capture=true");
	is_request(PAY_OP_REFUND, "POST /v1/refunds\napplication/x-www-form-urlencoded\npayment_intent=pi_1&amount=1050&reason=duplicate&metadata%5Bpayments_ref%5D=REF7&metadata%5Bpayments_generation%5D=2");
	pay_adapter_stripe.build_inquiry(&command, &request);
	OK(strcmp(bytes_of(&request), "GET /v1/payment_intents/search?query=metadata%5B%22payments_ref%22%5D%3A%22REF7%22&limit=100&expand%5B%5D=data.latest_charge.balance_transaction\n\n") == 0, "stripe: the bytes of an inquiry");

	command.customer = "c-17";
	OK(pay_adapter_stripe.build(&command, &request, &problem) && strstr(request.body, "c-17") == NULL, "stripe: our own name of a customer is not sent");

	request = (PayRequest) {.method = "POST", .path = "/", .content_type = "application/x-www-form-urlencoded", .body = "a=1"};
	OK(strcmp(headers_of(&pay_adapter_stripe, &request, NULL, "key"),
			  "Authorization: Bearer " SECRET "\nIdempotency-Key: key\nContent-Type: application/x-www-form-urlencoded\nStripe-Version: 2026-10-28.endive\n") == 0, "stripe: the headers of a request");
	request = (PayRequest) {.method = "GET", .path = "/"};
	OK(strcmp(headers_of(&pay_adapter_stripe, &request, NULL, NULL), "Authorization: Bearer " SECRET "\nStripe-Version: 2026-10-28.endive\n") == 0, "and of one that asks");
}

/* ---------- YooKassa's bytes ---------- */

#define METHOD "2b3c4d5e-000f-5000-8000-1a2b3c4d5e6f"
#define PAYMENT "23d93cac-000f-5000-8000-126628f15141"
#define REFUND "216749f7-0016-50be-b000-078d43a63ae4"

static PayCommand
yookassa_command(PayOpKind kind)
{
	PayCommand	command = command_of(kind);

	command.currency = "RUB";
	command.payment_method = "bank_card";
	command.return_url = "https://shop.example/back?a=\"1\"";
	command.reason = "too \"small\"";
	if (command.psp_payment_id)
		command.psp_payment_id = PAYMENT;
	return command;
}

static void
is_yookassa(const PayCommand *command, const char *expected, const char *name)
{
	PayRequest	request = {0};
	const char *problem = NULL;
	bool		built = pay_adapter_yookassa.build(command, &request, &problem);

	OK(strcmp(built ? bytes_of(&request) : problem, expected) == 0, "yookassa: %s", name);
}

static void
test_yookassa(void)
{
	static const PayOpKind kinds[] = {PAY_OP_CHARGE, PAY_OP_CAPTURE, PAY_OP_REFUND};
	static const char *const taken[] = {"RUB", "EUR", "USD", "KZT", "BYN", "UAH", "UZS", "TRY", "INR", "MDL", "AZN", "AMD", "CNY"};
	static const int64 amounts[] = {1, 9, 10, 99, 100, 101, 1050, 123456789, INT64CONST(9007199254740993), PG_INT64_MAX};
	static const char *const no_amounts[] = {"", ".", "1", "1.", "1.0", "1.005", ".50", "-1.00", "+1.00", " 1.00", "1.00 ", "1,00", "1.0.0", "1e2", "92233720368547758.08", "NaN"};
	PayCommand	command = yookassa_command(PAY_OP_CHARGE);
	PayRequest	request = {0};
	const char *problem;

	is_yookassa(&command, "POST /v3/payments\napplication/json\n{\"amount\":{\"value\":\"10.50\",\"currency\":\"RUB\"},\"capture\":true,\"payment_method_data\":{\"type\":\"bank_card\"},\"confirmation\":{\"type\":\"redirect\",\"return_url\":\"https://shop.example/back?a=\\\"1\\\"\"},\"description\":\"shoes\",\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"2\",\"order_ref\":\"order 42&co\"}}", "the bytes of charge");
	command.exponent = 3;
	is_yookassa(&command, "a row in payments.psp_currency counts this currency otherwise than YooKassa does", "an amount in other units is refused");
	command.exponent = 2;
	command.payment_method = NULL;
	command.description = command.order_ref = NULL;
	command.kind = PAY_OP_AUTHORIZE;
	is_yookassa(&command, "POST /v3/payments\napplication/json\n{\"amount\":{\"value\":\"10.50\",\"currency\":\"RUB\"},\"capture\":false,\"confirmation\":{\"type\":\"redirect\",\"return_url\":\"https://shop.example/back?a=\\\"1\\\"\"},\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"2\"}}", "of authorize, where the payer chooses");
	command.payment_method = METHOD;
	command.off_session = true;
	is_yookassa(&command, "POST /v3/payments\napplication/json\n{\"amount\":{\"value\":\"10.50\",\"currency\":\"RUB\"},\"capture\":false,\"payment_method_id\":\"" METHOD "\",\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"2\"}}", "of one without the payer, by a saved method");
	command.payment_method = "bank_card";
	is_yookassa(&command, "without the payer YooKassa needs the id of a saved payment method", "no other goes without the payer");
	command.off_session = false;
	command.return_url = NULL;
	is_yookassa(&command, "YooKassa needs return_url, to which the payer comes back, or the id of a saved payment method", "nor without a page to come back to");
	command.return_url = "https://shop.example/";
	command.payment_method = "bank\",\"card\":{";
	is_yookassa(&command, "the payment method is neither the id of a saved one nor a type, such as bank_card", "a method that is no word is not written");
	command = yookassa_command(PAY_OP_CHARGE);
	command.currency = "JPY";
	is_yookassa(&command, "YooKassa does not take this currency", "another currency is refused");

	command = yookassa_command(PAY_OP_CAPTURE);
	is_yookassa(&command, "POST /v3/payments/" PAYMENT "/capture\napplication/json\n{\"amount\":{\"value\":\"10.50\",\"currency\":\"RUB\"}}", "the bytes of capture");
	command.kind = PAY_OP_VOID;
	is_yookassa(&command, "POST /v3/payments/" PAYMENT "/cancel\napplication/json\n{}", "of void");
	command.psp_payment_id = "../refunds";
	is_yookassa(&command, "YooKassa has not told the payment's id", "what is no id goes into no path");
	command = yookassa_command(PAY_OP_REFUND);
	is_yookassa(&command, "POST /v3/refunds\napplication/json\n{\"amount\":{\"value\":\"10.50\",\"currency\":\"RUB\"},\"payment_id\":\"" PAYMENT "\",\"description\":\"too \\\"small\\\"\",\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"2\",\"order_ref\":\"order 42&co\"}}", "of refund");

	command.description = command.reason = "\xd0\x97\xd0\xb0\xd0\xba\xd0\xb0\xd0\xb7 \x01\t\\";
	OK(pay_adapter_yookassa.build(&command, &request, &problem) && strstr(request.body, "\"\xd0\x97\xd0\xb0\xd0\xba\xd0\xb0\xd0\xb7 \\u0001\\u0009\\\\\""), "yookassa: what JSON has no room for is escaped");
	command.kind = PAY_OP_CHARGE;
	command.description = psprintf("%0127d\xd0\x97\xd0\xb0", 0);
	OK(pay_adapter_yookassa.build(&command, &request, &problem) && strstr(request.body, psprintf("\"%0127d\xd0\x97\"", 0)), "yookassa: a text that is too long is cut between characters");

	command = yookassa_command(PAY_OP_REFUND);
	OK(pay_adapter_yookassa.build_inquiry(&command, &request) && strcmp(bytes_of(&request), "GET /v3/refunds?payment_id=" PAYMENT "&limit=100\n\n") == 0, "yookassa: a refund is asked for among its payment's");
	command.psp_object_id = REFUND;
	OK(pay_adapter_yookassa.build_inquiry(&command, &request) && strcmp(bytes_of(&request), "GET /v3/refunds/" REFUND "\n\n") == 0, "yookassa: by its id once it is known");
	command = yookassa_command(PAY_OP_CHARGE);
	OK(!pay_adapter_yookassa.build_inquiry(&command, &request), "yookassa: a payment without an id cannot be asked for");
	command.psp_payment_id = PAYMENT;
	OK(pay_adapter_yookassa.build_inquiry(&command, &request) && strcmp(bytes_of(&request), "GET /v3/payments/" PAYMENT "\n\n") == 0, "yookassa: with one it can");

	request = (PayRequest) {.method = "POST", .path = "/", .content_type = "application/json", .body = "{}"};
	OK(strcmp(headers_of(&pay_adapter_yookassa, &request, NULL, "key"), "Authorization: Basic bmFtZTpzZXNhbWU=\nIdempotence-Key: key\nContent-Type: application/json\n") == 0, "yookassa: the headers of a request");
	OK(pay_adapter_yookassa.is_object_id(PAY_OP_CHARGE, PAYMENT) && !pay_adapter_yookassa.is_object_id(PAY_OP_CHARGE, "pi_1"), "yookassa: its ids are known when they are typed");

	for (size_t i = 0; i < lengthof(taken) * lengthof(amounts); i++)
	{
		int64		amount = amounts[i % lengthof(amounts)],
					read = 0;

		command = yookassa_command(kinds[i % lengthof(kinds)]);
		command.currency = taken[i / lengthof(amounts)];
		command.amount = amount;
		OK(pay_adapter_yookassa.build(&command, &request, &problem) &&
		   pay_yookassa_amount_parse(pnstrdup(strstr(request.body, "\"value\":\"") + 9, strcspn(strstr(request.body, "\"value\":\"") + 9, "\"")), &read) &&
		   read == amount, "yookassa: %lld of %s goes there and comes back", (long long) amount, command.currency);
	}
	for (size_t i = 0; i < lengthof(no_amounts); i++)
	{
		int64		read;

		OK(!pay_yookassa_amount_parse(no_amounts[i], &read), "yookassa: \"%s\" is no amount", no_amounts[i]);
	}
}

/* What an answer is taken for: class, effect, amount, fee, first code. */
static const char *
yookassa_says(PayOpKind kind, bool inquiry, int status, const char *body)
{
	static const char *const effects[] = {"-", "authorized", "captured", "voided", "refunded", "refund_failed", [PAY_EFFECT_EXPIRED] = "expired"};
	PayCommand	command = yookassa_command(kind);
	PayAnswer	answer;
	PayResult	result;

	pay_answer_init(&answer);
	answer.transport = PAY_TRANSPORT_ANSWERED;
	answer.http_status = status;
	answer.body = body;
	answer.body_bytes = strlen(body);
	pay_adapter_yookassa.classify(&command, inquiry, &answer, &result);
	return psprintf("%s %s %lld%s%s%s%s%s%s", pay_class_name(result.class), effects[result.effect], (long long) (result.effect == PAY_EFFECT_NONE ? 0 : result.amount),
					result.capture_before ? psprintf(" until %lld", (long long) result.capture_before) : "",
					result.fee ? psprintf(" fee %lld", (long long) result.fee) : "", result.codes[0] ? psprintf(" %s", result.codes[0]) : "",
					result.inquiry_found_nothing ? " nothing" : "", result.next_action_url ? psprintf(" %s", result.next_action_url) : "",
					result.retry_after_ms >= 0 ? psprintf(" after %d", result.retry_after_ms) : "");
}

static const char *
payment_of(const char *status, const char *value, const char *more)
{
	return psprintf("{\"id\":\"" PAYMENT "\",\"status\":\"%s\",\"amount\":{\"value\":\"%s\",\"currency\":\"RUB\"},\"description\":\"\xd0\x97\xff\",\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"2\"}%s}", status, value, more);
}

static const char *
refund_of(const char *status, const char *value, const char *generation)
{
	return psprintf("{\"id\":\"" REFUND "\",\"payment_id\":\"" PAYMENT "\",\"status\":\"%s\",\"amount\":{\"value\":\"%s\",\"currency\":\"RUB\"},\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"%s\"}}", status, value, generation);
}

static const char *
refusal_of(const char *code, const char *more)
{
	return psprintf("{\"type\":\"error\",\"id\":\"ab5a11cd-13cc-4e33-af8b-75a74e18dd09\",\"code\":\"%s\",\"description\":\"No.\"%s}", code, more);
}

#define SAYS(KIND, INQUIRY, STATUS, BODY, EXPECTED) do { const char *said = yookassa_says(PAY_OP_ ## KIND, INQUIRY, STATUS, BODY); \
	OK(strcmp(said, EXPECTED) == 0, "yookassa: %s, %d: %s%s%s", #KIND, STATUS, EXPECTED, strcmp(said, EXPECTED) == 0 ? "" : ", not ", strcmp(said, EXPECTED) == 0 ? "" : said); } while (0)

static void
test_yookassa_answers(void)
{
	const char *reason = ",\"cancellation_details\":{\"party\":\"payment_network\",\"reason\":\"%s\"}";
	PayInbound	inbound = {0};
	PayEvents	events = {0};
	PayAnswer	answer;
	PayAccount	account = {0};

	/* It moved, or waits for the payer. */
	SAYS(CHARGE, false, 200, payment_of("pending", "10.50", ",\"confirmation\":{\"type\":\"redirect\",\"confirmation_url\":\"https://psp.example/c?orderId=1\"}"), "requires_action - 0 https://psp.example/c?orderId=1");
	SAYS(CHARGE, false, 200, payment_of("pending", "10.50", ",\"confirmation\":{\"type\":\"redirect\",\"confirmation_url\":\"javascript:alert(1)\"}"), "pending - 0");
	SAYS(CHARGE, false, 200, payment_of("succeeded", "10.50", ",\"income_amount\":{\"value\":\"10.13\",\"currency\":\"RUB\"}"), "approved captured 1050 fee 37");
	SAYS(CHARGE, true, 200, payment_of("succeeded", "10.50", ",\"income_amount\":{\"value\":\"11.13\",\"currency\":\"RUB\"}"), "approved captured 1050");
	SAYS(AUTHORIZE, true, 200, payment_of("waiting_for_capture", "10.50", ""), "approved authorized 1050");
	SAYS(AUTHORIZE, true, 200, payment_of("succeeded", "4.00", ""), "approved captured 400");
	SAYS(CAPTURE, false, 200, payment_of("succeeded", "10.50", ""), "approved captured 1050");
	SAYS(VOID, false, 200, payment_of("canceled", "10.50", psprintf(reason, "canceled_by_merchant")), "approved voided 1050");
	SAYS(REFUND, false, 200, refund_of("succeeded", "10.50", "2"), "approved refunded 1050");
	SAYS(REFUND, false, 200, refund_of("pending", "10.50", "2"), "pending - 0");
	/* It did not. */
	SAYS(CHARGE, true, 200, payment_of("canceled", "10.50", psprintf(reason, "insufficient_funds")), "declined - 0 insufficient_funds");
	SAYS(CHARGE, true, 200, payment_of("canceled", "10.50", ""), "declined - 0 canceled");
	SAYS(AUTHORIZE, true, 200, payment_of("canceled", "10.50", psprintf(reason, "canceled_by_merchant")), "approved voided 1050 canceled_by_merchant");
	SAYS(AUTHORIZE, true, 200, payment_of("canceled", "10.50", psprintf(reason, "expired_on_capture")), "approved expired 1050 expired_on_capture");
	SAYS(CAPTURE, true, 200, payment_of("canceled", "10.50", psprintf(reason, "expired_on_capture")), "declined expired 0 expired_on_capture");
	SAYS(EXPIRE, true, 200, payment_of("canceled", "10.50", psprintf(reason, "general_decline")), "approved voided 1050 general_decline");
	SAYS(EXPIRE, true, 200, payment_of("waiting_for_capture", "10.50", ""), "approved authorized 1050");
	SAYS(AUTHORIZE, true, 200, payment_of("waiting_for_capture", "10.50", ",\"expires_at\":\"2026-12-08T00:00:00.129Z\""), "approved authorized 1050 until 1796688000");
	SAYS(AUTHORIZE, true, 200, payment_of("waiting_for_capture", "10.50", ",\"expires_at\":\"tomorrow\""), "approved authorized 1050");
	SAYS(VOID, true, 200, payment_of("succeeded", "10.50", ""), "declined - 0 already_captured");
	SAYS(REFUND, true, 200, psprintf("{\"type\":\"list\",\"items\":[%s]}", refund_of("canceled", "10.50", "2")), "declined - 0 refund_canceled");
	/* Not yet, and not by the one asked about. */
	SAYS(CAPTURE, true, 200, payment_of("waiting_for_capture", "10.50", ""), "unknown - 0 nothing");
	SAYS(VOID, true, 200, payment_of("pending", "10.50", ""), "unknown - 0 nothing");
	SAYS(REFUND, true, 200, psprintf("{\"type\":\"list\",\"items\":[%s]}", refund_of("succeeded", "10.50", "1")), "unknown - 0 nothing");
	SAYS(REFUND, true, 200, "{\"type\":\"list\",\"items\":[]}", "unknown - 0 nothing");
	SAYS(REFUND, true, 200, "{\"type\":\"list\",\"items\":[],\"next_cursor\":\"37a5c87d\"}", "unknown - 0");
	SAYS(CHARGE, true, 404, refusal_of("not_found", ""), "unknown - 0 not_found nothing");
	/* Otherwise than asked. */
	SAYS(CHARGE, false, 200, payment_of("succeeded", "10.51", ""), "conflicted - 0 amount_mismatch");
	SAYS(AUTHORIZE, true, 200, payment_of("succeeded", "10.51", ""), "conflicted - 0 amount_mismatch");
	SAYS(CAPTURE, false, 200, payment_of("succeeded", "10.49", ""), "conflicted - 0 amount_mismatch");
	SAYS(REFUND, false, 200, refund_of("succeeded", "10.49", "2"), "conflicted - 0 amount_mismatch");
	SAYS(CHARGE, false, 200, payment_of("succeeded", "10.50", ",\"amount\":{\"value\":\"10.50\",\"currency\":\"EUR\"}"), "conflicted - 0 currency_mismatch");
	SAYS(CHARGE, false, 200, payment_of("succeeded", "10.50", ",\"metadata\":{\"payments_ref\":\"REF8\",\"payments_generation\":\"2\"}"), "conflicted - 0 reference_mismatch");
	SAYS(CAPTURE, false, 200, payment_of("succeeded", "10.50", ",\"id\":\"other\""), "conflicted - 0 reference_mismatch");
	SAYS(REFUND, true, 200, psprintf("{\"type\":\"list\",\"items\":[%s,%s]}", refund_of("succeeded", "10.50", "2"), refund_of("pending", "10.50", "2")), "conflicted - 0 several_at_psp");
	SAYS(CHARGE, false, 400, refusal_of("invalid_request", ",\"parameter\":\"Idempotence-Key\""), "conflicted - 0 idempotency_error");
	/* Cannot be read, or names nobody: nobody knows. */
	SAYS(CHARGE, false, 200, payment_of("succeeded", "10.5", ""), "unknown - 0");
	SAYS(CHARGE, false, 200, payment_of("succeeded", "10.50", ",\"metadata\":{}"), "unknown - 0");
	SAYS(CHARGE, false, 200, payment_of("on_its_way", "10.50", ""), "unknown - 0");
	SAYS(CHARGE, true, 200, payment_of("succeeded", "10.50", ",\"metadata\":{\"payments_ref\":\"REF7\",\"payments_generation\":\"1\"}"), "unknown - 0");
	SAYS(CHARGE, false, 202, "{\"type\":\"processing\",\"description\":\"Request accepted, but not processed yet.\",\"retry_after\":1800}", "unknown - 0 after 1800");
	SAYS(CHARGE, false, 500, refusal_of("internal_server_error", ",\"retry_after\":999999999999"), "unknown - 0 internal_server_error after 86400000");
	/* Refused in its own words. */
	SAYS(CHARGE, false, 400, refusal_of("invalid_request", ",\"parameter\":\"amount.value\""), "declined - 0 invalid_request");
	SAYS(CHARGE, false, 403, refusal_of("forbidden", ""), "declined - 0 forbidden");
	SAYS(CHARGE, false, 401, refusal_of("invalid_credentials", ""), "misconfigured - 0 invalid_credentials");
	SAYS(CHARGE, true, 403, refusal_of("forbidden", ""), "misconfigured - 0 forbidden");
	SAYS(CHARGE, false, 429, refusal_of("too_many_requests", ""), "not_sent - 0 too_many_requests");
	SAYS(CAPTURE, false, 400, refusal_of("invalid_request", ",\"parameter\":\"amount\""), "declined - 0 invalid_request");
	SAYS(CAPTURE, false, 400, refusal_of("invalid_request", ""), "duplicate - 0 invalid_request");
	SAYS(VOID, false, 400, refusal_of("invalid_request", ",\"parameter\":\"status\""), "duplicate - 0 invalid_request");
	SAYS(REFUND, false, 404, refusal_of("not_found", ""), "declined - 0 not_found");

	/* A notice, which nobody believes. */
	inbound.body = psprintf("{\"type\":\"notification\",\"event\":\"payment.succeeded\",\"object\":%s}", payment_of("succeeded", "10.50", ""));
	inbound.body_bytes = strlen(inbound.body);
	OK(pay_adapter_yookassa.verify(&inbound, (const char *const[]) {"any", NULL}, NOW) == PAY_VERDICT_ASK_PSP, "yookassa: a notice is a hint, whatever secret there is");
	OK(pay_adapter_yookassa.parse(&inbound, &events) && events.n == 1 && events.list->relevant && strcmp(events.list->event_id, "payment.succeeded:" PAYMENT) == 0 &&
	   strcmp(events.list->result.psp_ref, "REF7") == 0, "yookassa: it names the payment by its id and ours");
	inbound.body = psprintf("{\"type\":\"notification\",\"event\":\"payment.made_up\",\"object\":%s}", payment_of("succeeded", "10.50", ""));
	inbound.body_bytes = strlen(inbound.body);
	OK(pay_adapter_yookassa.parse(&inbound, &events) && !events.list->relevant, "yookassa: a notice of no event is none");
	inbound.body = psprintf("{\"type\":\"notification\",\"event\":\"refund.succeeded\",\"object\":%s}", refund_of("succeeded", "10.50", "2"));
	inbound.body_bytes = strlen(inbound.body);
	OK(pay_adapter_yookassa.parse(&inbound, &events) && events.list->relevant && strcmp(events.list->event_id, "refund.succeeded:" PAYMENT) == 0, "yookassa: however many refunds are made up, there is one row of a payment's");
	inbound.body = "{\"type\":\"notification\",\"event\":\"payout.succeeded\",\"object\":{\"id\":\"po-1\"}}";
	inbound.body_bytes = strlen(inbound.body);
	OK(pay_adapter_yookassa.parse(&inbound, &events) && !events.list->relevant, "yookassa: what we have no use for is no news");

	pay_answer_init(&answer);
	answer.http_status = 200;
	answer.body = "{\"account_id\":\"123456\",\"status\":\"enabled\",\"test\":true}";
	answer.body_bytes = strlen(answer.body);
	pay_adapter_yookassa.read_account(&answer, SECRET, &account);
	OK(account.id && strcmp(account.id, "123456") == 0 && strcmp(account.mode, "test") == 0, "yookassa: whose account, and which kind");
}

static void
test_yookassa_feeds(void)
{
	static const char *const paths[] = {
		"/v3/payments?captured_at.gte=2023-11-14T22:13:20.000Z&captured_at.lt=2024-02-29T12:00:00.000Z&limit=50",
		"/v3/payments?created_at.gte=2023-11-14T22:13:20.000Z&created_at.lt=2024-02-29T12:00:00.000Z&limit=50",
		"/v3/refunds?created_at.gte=2023-11-14T22:13:20.000Z&created_at.lt=2024-02-29T12:00:00.000Z&limit=50",
	};
	static const char *const no_pages[] = {
		"{\"items\":[]}", "{\"type\":\"list\"}", "{\"type\":\"list\",\"items\":{}}", "{\"type\":\"list\",\"items\":[{\"status\":\"succeeded\"}]}",
		"{\"type\":\"list\",\"items\":[],\"next_cursor\":\"c\"}", "{\"type\":\"list\",\"items\":[{\"id\":\"a\",\"status\":\"b\"}],\"next_cursor\":\"a&b\"}",
		"{\"type\":\"list\",\"items\":[{\"id\":\"a\",\"status\":\"b\"}],\"next_cursor\":7}", "{\"type\":\"list\",\"items\":[{\"id\":\"a\",\"status\":\"b\"}",
	};
	PayFeedQuery query = {.from = NOW, .to = INT64CONST(1709208000), .limit = 50};
	PayRequest	request = {0};
	PayFeedPage page = {0};
	PayPspEvent event = {0};
	const char *problem = NULL;
	char	   *body;
	bool		same = true;

	for (int i = 0; i < PAY_YOOKASSA_FEEDS; i++)
	{
		query.cursor = NULL;
		pay_yookassa_feeds[i].build(&query, &request);
		OK(strcmp(request.path, paths[i]) == 0 && strcmp(request.method, "GET") == 0, "yookassa: the first page of %s", pay_yookassa_feeds[i].name);
		query.cursor = "c-1";
		pay_yookassa_feeds[i].build(&query, &request);
		OK(strcmp(request.path, psprintf("%s&cursor=c-1", paths[i])) == 0, "yookassa: and the next");
	}
	body = psprintf("{\"type\":\"list\",\"items\":[%s,%s],\"next_cursor\":\"37a5c87d\"}", payment_of("succeeded", "10.50", ""), payment_of("pending", "10.50", ""));
	OK(pay_yookassa_feeds[1].read_page(body, strlen(body), &page, &problem) && page.n == 2 && page.more && strcmp(page.next, "37a5c87d") == 0 &&
	   strcmp(page.ids[0], PAYMENT ":succeeded") == 0 && strcmp(page.ids[1], PAYMENT ":pending") == 0, "yookassa: an entry is an object and its status");
	OK(pay_yookassa_feeds[1].read_event(page.entries[0].at, page.entries[0].bytes, &event) && event.relevant && event.result.effect == PAY_EFFECT_CAPTURED &&
	   event.result.amount == 1050 && strcmp(event.event_type, "payment.succeeded") == 0, "yookassa: and is believed");
	body = psprintf("{\"type\":\"list\",\"items\":[%s]}", payment_of("on_its_way", "10.50", ""));
	OK(pay_yookassa_feeds[1].read_page(body, strlen(body), &page, &problem) && !page.more && pay_yookassa_feeds[1].read_event(page.entries[0].at, page.entries[0].bytes, &event) &&
	   !event.relevant && strcmp(event.unreadable, "status") == 0, "yookassa: of ours with a status that nobody knows a person is told");
	body = psprintf("{\"type\":\"list\",\"items\":[%s]}", payment_of("succeeded", "1050", ",\"metadata\":{}"));
	OK(pay_yookassa_feeds[1].read_page(body, strlen(body), &page, &problem) && pay_yookassa_feeds[1].read_event(page.entries[0].at, page.entries[0].bytes, &event) &&
	   !event.relevant && event.unreadable == NULL, "yookassa: but not of the shop's other sales");
	body = psprintf("{\"type\":\"list\",\"items\":[%s]}", refund_of("canceled", "10.50", "2"));
	OK(pay_yookassa_feeds[2].read_page(body, strlen(body), &page, &problem) && pay_yookassa_feeds[2].read_event(page.entries[0].at, page.entries[0].bytes, &event) &&
	   event.result.effect == PAY_EFFECT_REFUND_FAILED, "yookassa: a refund that came to nothing is a fact");
	for (size_t i = 0; i < lengthof(no_pages); i++)
	{
		body = pstrdup(no_pages[i]);
		OK(!pay_yookassa_feeds[1].read_page(body, strlen(body), &page, &problem), "yookassa: no page: %s", no_pages[i]);
	}
	for (int64 seconds = 0; seconds < INT64CONST(8000000000); seconds += INT64CONST(86399) * 59)
	{
		int64		read = -1;

		same &= pay_yookassa_moment_read(pay_yookassa_moment(seconds), &read) && read == seconds;
	}
	OK(same, "yookassa: times go there and come back");
	OK(strcmp(pay_yookassa_feeds[0].refusal("{\"type\":\"error\",\"code\":\"forbidden\"}", 35), "forbidden") == 0, "yookassa: why it gave none");
	OK(pay_yookassa_feeds[0].refusal("{\"code\":\"forbidden\"}", 20) == NULL, "yookassa: in its own words alone");
}

/* ---------- what each of the tests' adapters is for ---------- */

static void
test_kinds(void)
{
	PayRequest	request = {.method = "GET", .path = "/"};
	PayRequest	wanted = {0};
	PayAnswer	answer;
	PayToken	token = {0};
	PayHeader	header = {"Transient-Error", 15, "true", 4};

	OK(strcmp(headers_of(&pay_adapter_apikey, &request, NULL, NULL), "X-Api-Key: " SECRET "\n") == 0, "an API key in a header of the PSP's own");
	OK(strcmp(headers_of(&pay_adapter_basic, &request, NULL, NULL), "Authorization: Basic bmFtZTpzZXNhbWU=\n") == 0, "name and password");
	OK(strcmp(headers_of(&pay_adapter_oauth, &request, "tok", NULL), "Authorization: Token tok\n") == 0, "a token");
	pay_adapter_oauth.build_token(SECRET, &wanted);
	OK(strcmp(bytes_of(&wanted), "POST /token\napplication/x-www-form-urlencoded\ngrant_type=client_credentials") == 0, "which is asked for");
	OK(strcmp(headers_of(&pay_adapter_oauth, &wanted, NULL, NULL), "Authorization: Basic bmFtZTpzZXNhbWU=\nContent-Type: application/x-www-form-urlencoded\n") == 0, "by name and password");
	pay_answer_init(&answer);
	answer.http_status = 200;
	answer.body = "{\"access_token\": \"t1\", \"expires_in\": 60}";
	answer.body_bytes = strlen(answer.body);
	OK(pay_adapter_oauth.read_token(&answer, &token) && strcmp(token.text, "t1") == 0 && token.valid_s == 60, "and read");
	answer.http_status = 401;
	OK(!pay_adapter_oauth.read_token(&answer, &token), "though not out of a refusal");

	pay_adapter_apikey.read_header(&header, &answer);
	OK(answer.should_retry == 1, "a hint in a header is kept for classify()");
}

static void
test_common(void)
{
	PayHeader	list[] = {{"X-One", 5, "1", 1}, {"Twice", 5, "a", 1}, {"TWICE", 5, "b", 1}, {"list", 4, NULL, 0}};
	PayInbound	inbound = {.headers = list, .n_headers = lengthof(list)};

	OK(strcmp(pay_inbound_header(&inbound, "x-one"), "1") == 0 && inbound.absent == NULL && inbound.unusable == NULL, "a header by its name, in whatever case");
	OK(pay_inbound_header(&inbound, "x-two") == NULL && strcmp(inbound.absent, "x-two") == 0, "one that is not there is noted");
	OK(pay_inbound_header(&inbound, "twice") == NULL && strcmp(inbound.unusable, "twice") == 0, "so is one that is there twice");
	inbound.unusable = NULL;
	OK(pay_inbound_header(&inbound, "list") == NULL && strcmp(inbound.unusable, "list") == 0, "or is not one string");

	OK(pay_psp_adapter("stripe") == &pay_adapter_stripe && pay_psp_adapter("nobody") == NULL, "an adapter by its name");
	OK(strcmp(pay_psp_adapter_names(), "\"sandbox\", \"stripe\", \"yookassa\", \"apikey\", \"basic\" and \"oauth\"") == 0, "their names");
	OK(pay_psp_is_secret("sk_live_1") && pay_psp_is_secret("whsec_1") && pay_psp_is_secret("apikey_1") && !pay_psp_is_secret("stripe"), "secrets of any adapter are known");
	OK(pay_psp_refusal(&pay_adapter_stripe, PAY_OP_REFUND, true) == NULL, "what a PSP can do is not refused");
	OK(strcmp(pay_psp_refusal(&pay_adapter_apikey, PAY_OP_VOID, false), "it cannot void") == 0, "what it cannot is");
	OK(pay_psp_refusal(&pay_adapter_apikey, PAY_OP_REFUND, true) != NULL && pay_psp_refusal(&pay_adapter_apikey, PAY_OP_REFUND, false) == NULL, "a part apart from the whole");
}

int
main(void)
{
	static const PayAdapter *const adapters[] = {&pay_adapter_stripe, &pay_adapter_paypal, &pay_adapter_yookassa, &pay_adapter_adyen, &pay_adapter_apikey, &pay_adapter_basic, &pay_adapter_oauth};

	for (size_t i = 0; i < lengthof(adapters); i++)
	{
		test_requests(adapters[i]);
		test_authorization(adapters[i]);
		if (adapters[i] != &pay_adapter_stripe)
		{
			test_answers(adapters[i]);
			test_inbound(adapters[i]);
		}
		shim_reset();
	}
	test_stripe();
	test_stripe_account();
	test_yookassa();
	test_yookassa_answers();
	test_yookassa_feeds();
	test_kinds();
	test_common();
	shim_reset();
	return tap_done();
}
