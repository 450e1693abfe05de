/*
 * test/unit/test_scheme.c
 *		If this fails, an adapter of SQL functions is not known to its PSP, or an
 *		event that anybody may have sent is believed: one that is signed with
 *		nothing, with another secret, over something else, or a year ago.
 */
// sources: ../../src/psp/scheme.c ../../src/base/json_slice.c ../../src/psp/psp.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c
// libs: -lcrypto
#include "payments.h"

#include "psp/scheme.h"

#include "shim.h"
#include "tap.h"

#include "utils/resowner.h"

#include <string.h>

/* RFC 4231, test case 2. */
#define KEY "Jefe"
#define MAC "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
#define MAC64 "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
#define SAID "what do ya want for nothing?"
/* Of the libraries of Standard Webhooks. */
#define STANDARD_KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define STANDARD_TIME INT64CONST(1614265330)
#define STANDARD_BODY "{\"test\": 2432232314}"
#define STANDARD_MAC "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

/* Of the adapters psp.c asks their names alone. */
#define PAY_ADAPTER(NAME) const PayAdapter pay_adapter_##NAME = {.name = #NAME};
#include "psp/adapters.h"
#undef PAY_ADAPTER

/* What base/digest.c asks of the server. */
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

static const char *
sent(PayScheme scheme, const PayRequest *request, const char *secret)
{
	PayAdapter	adapter = {.scheme = &scheme};
	PayHeaders	headers;
	char	   *text = pstrdup("");

	pay_psp_headers(&adapter, request, &(PayCredentials) {secret, NULL, 1700000000}, NULL, &headers);
	for (int i = 0; i < headers.n_secret; i++)
		text = psprintf("%s%s\n", text, headers.list[i]);
	return text;
}

static PayVerdict
verdict(PayScheme scheme, const char *body, const char *const *lines, const char *secret, const char *previous, int64 now)
{
	PayAdapter	adapter = {.scheme = &scheme};
	const char *secrets[] = {secret, previous, NULL};
	PayHeader	headers[4];
	PayInbound	inbound = {.headers = headers, .body = body, .body_bytes = strlen(body)};

	for (; *lines; lines++)
		(void) pay_header_split(*lines, strlen(*lines), &headers[inbound.n_headers++]);
	return pay_psp_verify(&adapter, &inbound, secrets, now);
}

static void
test_authorize(void)
{
	PayRequest	request = {.method = "POST", .path = "/pay", .body = "nothing?", .content_type = "text/plain"};
	PayScheme	scheme = {.authorize = PAY_AUTHORIZE_SIGNATURE, .request = {.header = "X-Code", .prefix = "sha256=", .over = "what do ya want for {body}"}};

	OK(strcmp(sent((PayScheme) {.authorize = PAY_AUTHORIZE_BEARER}, &request, "s"), "Authorization: Bearer s\n") == 0, "a bearer key");
	OK(strcmp(sent((PayScheme) {.authorize = PAY_AUTHORIZE_BASIC}, &request, "name:sesame"), "Authorization: Basic bmFtZTpzZXNhbWU=\n") == 0, "name and password");
	OK(strcmp(sent((PayScheme) {.authorize = PAY_AUTHORIZE_HEADER, .header = "X-Key"}, &request, "s"), "X-Key: s\n") == 0, "a header of the PSP's own");
	OK(strcmp(sent(scheme, &request, KEY), "X-Code: sha256=" MAC "\n") == 0, "a code over the request");
	scheme.request.base64 = true;
	scheme.request.prefix = "";
	OK(strcmp(sent(scheme, &request, KEY), "X-Code: " MAC64 "\n") == 0, "in base64");
	scheme.request.over = "{timestamp}{method}{path}{body}";
	scheme.request.time_header = "X-Time";
	OK(strstr(sent(scheme, &request, KEY), "\nX-Time: 1700000000\n") != NULL, "with a time");
}

static void
test_verify(void)
{
	PayScheme	scheme = {.verify = PAY_VERIFY_SIGNATURE, .event = {.header = "x-code", .prefix = "", .over = "{body}"}};
	const char *good[] = {"X-Code: " MAC, NULL};
	const char *none[] = {"X-Other: " MAC, NULL};
	const char *twice[] = {"X-Code: " MAC, "x-code: " MAC, NULL};
	const char *cut[] = {"X-Code: 5bdcc146", NULL};
	const char *empty[] = {"X-Code: ", NULL};

	OK(verdict(scheme, SAID, good, KEY, NULL, 0) == PAY_VERDICT_OK, "signed");
	OK(verdict(scheme, SAID, good, "other", KEY, 0) == PAY_VERDICT_OK, "with the secret before, while it is changed");
	OK(verdict(scheme, SAID, good, "other", NULL, 0) == PAY_VERDICT_WRONG, "with another");
	OK(verdict(scheme, SAID, good, "", NULL, 0) == PAY_VERDICT_WRONG, "an empty one signs nothing");
	OK(verdict(scheme, SAID, good, NULL, NULL, 0) == PAY_VERDICT_WRONG, "nor does none");
	OK(verdict(scheme, SAID "x", good, KEY, NULL, 0) == PAY_VERDICT_WRONG, "another body");
	OK(verdict(scheme, SAID, none, KEY, NULL, 0) == PAY_VERDICT_MISSING, "not signed");
	OK(verdict(scheme, SAID, twice, KEY, NULL, 0) == PAY_VERDICT_MISSING, "which of two?");
	OK(verdict(scheme, SAID, cut, KEY, NULL, 0) == PAY_VERDICT_WRONG && verdict(scheme, SAID, empty, KEY, NULL, 0) == PAY_VERDICT_WRONG, "a part of the code is none");
	OK(verdict((PayScheme) {.verify = PAY_VERIFY_ASK}, SAID, good, KEY, NULL, 0) == PAY_VERDICT_ASK_PSP, "of a PSP that signs nothing, it is a hint");
	OK(verdict((PayScheme) {.verify = PAY_VERIFY_NOTHING}, SAID, good, KEY, NULL, 0) == PAY_VERDICT_WRONG, "one that sends nothing has sent nothing");
}

static void
test_standard(void)
{
	PayScheme	scheme = {.verify = PAY_VERIFY_STANDARD};
	const char *good[] = {"webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp: 1614265330", "webhook-signature: v1,AAAA v2,x " STANDARD_MAC, NULL};
	const char *other_id[] = {"webhook-id: msg_other", "webhook-timestamp: 1614265330", "webhook-signature: " STANDARD_MAC, NULL};
	const char *split[] = {"webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330", "webhook-timestamp: 2432232314", "webhook-signature: " STANDARD_MAC, NULL};
	const char *no_id[] = {"webhook-id: ", "webhook-timestamp: 1614265330", "webhook-signature: " STANDARD_MAC, NULL};
	const char *no_time[] = {"webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-signature: " STANDARD_MAC, NULL};
	const char *odd_time[] = {"webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp: -1614265330", "webhook-signature: " STANDARD_MAC, NULL};

	OK(verdict(scheme, STANDARD_BODY, good, STANDARD_KEY, NULL, STANDARD_TIME) == PAY_VERDICT_OK, "Standard Webhooks, one signature of several");
	OK(verdict(scheme, STANDARD_BODY, good, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", NULL, STANDARD_TIME) == PAY_VERDICT_OK, "its key as base64 alone");
	OK(verdict(scheme, STANDARD_BODY, good, "whsec_!", NULL, STANDARD_TIME) == PAY_VERDICT_WRONG, "a key that is none");
	OK(verdict(scheme, STANDARD_BODY, other_id, STANDARD_KEY, NULL, STANDARD_TIME) == PAY_VERDICT_WRONG, "another id");
	OK(verdict(scheme, STANDARD_BODY, split, STANDARD_KEY, NULL, STANDARD_TIME) == PAY_VERDICT_MALFORMED, "an id that could be more than one");
	OK(verdict(scheme, STANDARD_BODY, no_id, STANDARD_KEY, NULL, STANDARD_TIME) == PAY_VERDICT_MALFORMED, "or none");
	OK(verdict(scheme, STANDARD_BODY, no_time, STANDARD_KEY, NULL, STANDARD_TIME) == PAY_VERDICT_MISSING, "no time");
	OK(verdict(scheme, STANDARD_BODY, odd_time, STANDARD_KEY, NULL, STANDARD_TIME) == PAY_VERDICT_MALFORMED, "no such time");
	OK(verdict(scheme, STANDARD_BODY, good, STANDARD_KEY, NULL, STANDARD_TIME + 301) == PAY_VERDICT_TOO_OLD, "too late");
	OK(verdict(scheme, STANDARD_BODY, good, STANDARD_KEY, NULL, STANDARD_TIME - 301) == PAY_VERDICT_AHEAD, "too early");
	OK(verdict(scheme, STANDARD_BODY, good, STANDARD_KEY, NULL, STANDARD_TIME + 300) == PAY_VERDICT_OK, "in time");
}

static const char *
token_of(int status, const char *body)
{
	PayScheme	scheme = {.authorize = PAY_AUTHORIZE_TOKEN, .token_path = "/token"};
	PayAdapter	adapter = {.scheme = &scheme};
	PayAnswer	answer;
	PayToken	token = {0};

	pay_answer_init(&answer);
	answer.http_status = status;
	answer.body = body;
	answer.body_bytes = strlen(body);
	return pay_psp_read_token(&adapter, &answer, &token) ? psprintf("%s %d", token.text, token.valid_s) : "none";
}

static void
test_token(void)
{
	PayScheme	scheme = {.authorize = PAY_AUTHORIZE_TOKEN, .token_path = "/token"};
	PayAdapter	adapter = {.scheme = &scheme};
	PayRequest	request = {0};
	PayHeaders	headers;

	pay_psp_build_token(&adapter, "name:sesame", &request);
	OK(strcmp(request.path, "/token") == 0 && strcmp(request.body, "grant_type=client_credentials") == 0 && pay_psp_wants_token(&adapter), "a token is asked for");
	OK(strcmp(sent(scheme, &request, "name:sesame"), "Authorization: Basic bmFtZTpzZXNhbWU=\n") == 0, "by name and password");
	pay_psp_headers(&adapter, &request, &(PayCredentials) {"name:sesame", "tok", 0}, NULL, &headers);
	OK(strcmp(headers.list[0], "Authorization: Bearer tok") == 0, "and sent");
	OK(strcmp(token_of(200, "{\"access_token\": \"tok\", \"expires_in\": 60}"), "tok 60") == 0, "it is read");
	OK(strcmp(token_of(401, "{\"access_token\": \"tok\", \"expires_in\": 60}"), "none") == 0, "not of a refusal");
	OK(strcmp(token_of(200, "{\"access_token\": \"t\\r\\nX: y\", \"expires_in\": 60}"), "none") == 0, "nor one that is more than a header");
	OK(strcmp(token_of(200, "{\"access_token\": \"tok\", \"expires_in\": 99999999999}"), "none") == 0 && strcmp(token_of(200, "{\"access_token\": \"tok\", \"expires_in\": -1}"), "none") == 0 &&
	   strcmp(token_of(200, "{\"access_token\": \"\", \"expires_in\": 1}"), "none") == 0 && strcmp(token_of(200, "<html>"), "none") == 0, "nor what is none");
}

static void
test_data(void)
{
	PayAnswer	answer;
	PayScheme	scheme = {.request_id_header = "x-request"};
	PayAdapter	adapter = {.scheme = &scheme};
	PayHeader	header = {"X-Request", 9, "req\r\n1", 6};
	PayAuthorizeBy by;

	OK(pay_scheme_template_is_good("{timestamp}.{method}.{path}.{body}", false) && pay_scheme_template_is_good("{id}.{timestamp}.{body}", true), "templates");
	OK(!pay_scheme_template_is_good("{timestamp}", false) && !pay_scheme_template_is_good("", true), "what signs no body signs nothing");
	OK(!pay_scheme_template_is_good("{body}{secret}", false) && !pay_scheme_template_is_good("{body}}", false) && !pay_scheme_template_is_good("{{body}}", false), "nothing else has braces");
	OK(!pay_scheme_template_is_good("{method}{body}", true) && !pay_scheme_template_is_good("{id}{body}", false), "an event has no method, a request no id");
	OK(!pay_scheme_template_is_good("{timestamp}{body}", true) && !pay_scheme_template_is_good("{id}-{timestamp}.{body}", true) && !pay_scheme_template_is_good("{id}.v1{body}", true),
	   "between the names of an event stands what no id has");
	OK(!pay_scheme_template_is_good("{body}.{body}", true) && pay_scheme_template_is_good("v1:{id}:{body}:{timestamp}", true) && pay_scheme_template_is_good("{timestamp}{method}{path}{body}", false),
	   "one body, wherever; a request we make ourselves");
	OK(pay_scheme_parse_authorize("hmac-sha256", &by) && by == PAY_AUTHORIZE_SIGNATURE && !pay_scheme_parse_authorize("", &by), "words");
	pay_answer_init(&answer);
	pay_psp_read_header(&adapter, &header, &answer);
	OK(strcmp(answer.request_id, "req??1") == 0, "the PSP's id of a request, printable");
	OK(pay_psp_sends_events(&(PayAdapter) {.scheme = &(PayScheme) {.verify = PAY_VERIFY_ASK}}) && !pay_psp_sends_events(&adapter), "who sends events");
}

int
main(void)
{
	test_authorize();
	test_verify();
	test_standard();
	test_token();
	test_data();
	shim_reset();
	return tap_done();
}
