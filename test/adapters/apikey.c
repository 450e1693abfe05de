/*
 * test/adapters/apikey.c
 *		A PSP that knows us by a header of its own, sends several events in one
 *		request, signs each inside of the body, and waits for a word in reply.
 *
 * It also wants to be told our account with it, and can do little: it charges,
 * and gives all of it back.
 */
#include "payments.h"

#include "psp/plain.h"

static const char *const secret_prefixes[] = {"apikey_", NULL};
static const char *const config_keys[] = {"account", NULL};

static bool build(const PayCommand *command, PayRequest *request, const char **problem);
static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static PayVerdict verify(PayInbound *inbound, const char *const *secrets, int64 now);
static bool parse(const PayInbound *inbound, PayEvents *events);
static PaySliceResult first_item(const PayInbound *inbound, PaySlice *list, size_t *at, PaySlice *item);

const PayAdapter pay_adapter_apikey = {
	.name = "apikey",
	.can = PAY_CAN_CHARGE | PAY_CAN_REFUND,
	.key_valid_s = PLAIN_KEY_VALID_S,
	.key_header = "Request-Key",
	.secret_prefixes = secret_prefixes,
	.config_keys = config_keys,
	.build = build,
	.build_inquiry = plain_build_inquiry,
	.authorize = authorize,
	.read_header = plain_read_header,
	.classify = plain_classify,
	.verify = verify,
	.parse = parse,
};

static bool
build(const PayCommand *command, PayRequest *request, const char **problem)
{
	PaySlice	config = {command->config, command->config ? strlen(command->config) : 0};
	const char *account = command->config ? plain_text(config, "account") : NULL;

	if (account == NULL)
	{
		*problem = "config names no account";
		return false;
	}
	if (!plain_build(command, request, problem))
		return false;
	request->path = psprintf("/operations?account=%s", account);
	return true;
}

static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	pay_headers_add(headers, "X-Api-Key", credentials->secret);
}

/* All of them, or none. */
static PayVerdict
verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	PaySlice	list,
				item;
	size_t		at;
	PaySliceResult found = first_item(inbound, &list, &at, &item);

	/* Of nothing, nothing is signed. */
	if (found == PAY_SLICE_END)
		return PAY_VERDICT_MISSING;
	for (; found == PAY_SLICE_FOUND; found = pay_slice_element(list, &at, &item))
	{
		PaySlice	operation;
		const char *signature = plain_text(item, "signature");

		if (signature == NULL)
			return PAY_VERDICT_MISSING;
		if (pay_slice_member(item, "operation", &operation) != PAY_SLICE_FOUND)
			return PAY_VERDICT_MALFORMED;
		if (!plain_signed(operation.at, operation.bytes, signature, secrets))
			return PAY_VERDICT_WRONG;
	}
	return found == PAY_SLICE_END ? PAY_VERDICT_OK : PAY_VERDICT_MALFORMED;
}

static bool
parse(const PayInbound *inbound, PayEvents *events)
{
	PaySlice	list,
				item;
	size_t		at;
	PaySliceResult found = first_item(inbound, &list, &at, &item);

	events->list = palloc0(sizeof(PayPspEvent) * PAY_EVENTS_MAX);
	for (; found == PAY_SLICE_FOUND; found = pay_slice_element(list, &at, &item))
	{
		PaySlice	operation;

		if (events->n == PAY_EVENTS_MAX || pay_slice_member(item, "operation", &operation) != PAY_SLICE_FOUND ||
			!plain_read_event(operation, &events->list[events->n]))
			return false;
		events->list[events->n++].raw = item;
	}
	events->reply = "[accepted]";
	return found == PAY_SLICE_END;
}

static PaySliceResult
first_item(const PayInbound *inbound, PaySlice *list, size_t *at, PaySlice *item)
{
	PaySlice	whole = {inbound->body, inbound->body_bytes};

	*at = 0;
	if (pay_slice_member(whole, "items", list) != PAY_SLICE_FOUND)
		return PAY_SLICE_BROKEN;
	return pay_slice_element(*list, at, item);
}
