/*
 * test/adapters/oauth.c
 *		A PSP that gives tokens against name and password, for a while, and
 *		signs with three headers: an id, a time, and a code over them and the body.
 */
#include "payments.h"

#include "psp/plain.h"

static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static void build_token(const char *secret, PayRequest *request);
static bool read_token(const PayAnswer *answer, PayToken *token);
static PayVerdict verify(PayInbound *inbound, const char *const *secrets, int64 now);
static bool parse(const PayInbound *inbound, PayEvents *events);

const PayAdapter pay_adapter_oauth = {
	.name = "oauth",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_REFUND_PART,
	.key_valid_s = PLAIN_KEY_VALID_S,
	.key_header = "Request-Key",
	.build = plain_build,
	.build_inquiry = plain_build_inquiry,
	.authorize = authorize,
	.build_token = build_token,
	.read_token = read_token,
	.read_header = plain_read_header,
	.classify = plain_classify,
	.verify = verify,
	.parse = parse,
};

static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	if (credentials->token)
		pay_headers_add(headers, "Authorization", psprintf("Token %s", credentials->token));
	else
		pay_headers_add(headers, "Authorization", psprintf("Basic %s", plain_base64(credentials->secret)));
}

static void
build_token(const char *secret, PayRequest *request)
{
	request->method = "POST";
	request->path = "/token";
	request->content_type = "application/x-www-form-urlencoded";
	request->body = "grant_type=client_credentials";
}

static bool
read_token(const PayAnswer *answer, PayToken *token)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	int64		valid_s;

	if (answer->http_status != 200 || !plain_int64(body, "expires_in", &valid_s) || valid_s > PG_INT32_MAX)
		return false;
	token->text = plain_text(body, "access_token");
	token->valid_s = (int) valid_s;
	return token->text != NULL;
}

static PayVerdict
verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	const char *id = pay_inbound_header(inbound, "x-event-id");
	const char *sent = pay_inbound_header(inbound, "x-event-time");
	const char *signature = pay_inbound_header(inbound, "x-event-signature");
	char	   *message;
	size_t		bytes;
	int64		t;

	if (id == NULL || sent == NULL || signature == NULL)
		return PAY_VERDICT_MISSING;
	if (strlen(sent) == 0 || strlen(sent) > 12 || sent[strspn(sent, "0123456789")] != '\0')
		return PAY_VERDICT_MALFORMED;
	message = psprintf("%s.%s.", id, sent);
	bytes = strlen(message);
	message = repalloc(message, bytes + inbound->body_bytes + 1);
	memcpy(message + bytes, inbound->body, inbound->body_bytes + 1);
	if (!plain_signed(message, bytes + inbound->body_bytes, signature, secrets))
		return PAY_VERDICT_WRONG;
	t = strtoll(sent, NULL, 10);
	return t > now + PLAIN_TOLERANCE_S ? PAY_VERDICT_AHEAD : t < now - PLAIN_TOLERANCE_S ? PAY_VERDICT_TOO_OLD : PAY_VERDICT_OK;
}

/* A request of no events tries the endpoint out. */
static bool
parse(const PayInbound *inbound, PayEvents *events)
{
	PaySlice	whole = {inbound->body, inbound->body_bytes};
	PaySlice	ping;

	if (pay_slice_member(whole, "ping", &ping) == PAY_SLICE_FOUND)
		return true;
	events->n = 1;
	events->list = palloc0(sizeof(PayPspEvent));
	return plain_read_event(whole, events->list);
}
