/*
 * test/adapters/basic.c
 *		A PSP that takes name and password, and signs nothing: whatever comes
 *		from it is a hint.  Events have no id of their own.
 */
#include "payments.h"

#include "psp/plain.h"

static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static PayVerdict verify(PayInbound *inbound, const char *const *secrets, int64 now);
static bool parse(const PayInbound *inbound, PayEvents *events);

const PayAdapter pay_adapter_basic = {
	.name = "basic",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_REFUND_PART,
	.key_valid_s = PLAIN_KEY_VALID_S,
	.key_header = "Request-Key",
	.build = plain_build,
	.build_inquiry = plain_build_inquiry,
	.authorize = authorize,
	.read_header = plain_read_header,
	.classify = plain_classify,
	.verify = verify,
	.parse = parse,
};

static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	pay_headers_add(headers, "Authorization", psprintf("Basic %s", plain_base64(credentials->secret)));
}

static PayVerdict
verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	return PAY_VERDICT_ASK_PSP;
}

static bool
parse(const PayInbound *inbound, PayEvents *events)
{
	PaySlice	whole = {inbound->body, inbound->body_bytes};

	events->n = 1;
	events->list = palloc0(sizeof(PayPspEvent));
	return plain_read_event(whole, events->list);
}
