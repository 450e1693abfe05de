/*
 * test/fuzz/fuzz_paypal.c
 *		If this fails, PayPal (or who speaks for it) can crash the server with an
 *		answer or an event, or has one believed that is not about our operation,
 *		or of another amount than it was for.
 */
// sources: ../../src/psp/psp.c ../../src/psp/scheme.c ../../src/psp/paypal.c ../../src/psp/paypal_value.c ../../src/psp/paypal_answer.c ../../src/psp/paypal_event.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c ../../src/base/json_slice.c
// libs: -lcrypto
#include "payments.h"

#include "psp/psp.h"

#include "shim.h"

#include "utils/resowner.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)
#define ORDER "5O190127TN364715T"

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);
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

static void
check_result(const PayResult *result)
{
	CHECK(result->class >= PAY_CLASS_APPROVED && result->class <= PAY_CLASS_CONFLICTED);
	CHECK(result->class != PAY_CLASS_APPROVED || result->effect != PAY_EFFECT_NONE);
	CHECK(result->class == PAY_CLASS_APPROVED || result->class == PAY_CLASS_DECLINED || result->effect == PAY_EFFECT_NONE);
	CHECK(result->next_step == 0 || result->class == PAY_CLASS_PENDING);
	CHECK(result->amount >= 0 && result->fee >= 0);
	if (result->class == PAY_CLASS_APPROVED)
		CHECK(result->object_id != NULL && result->currency != NULL);
	if (result->next_action_url)
		CHECK(strncmp(result->next_action_url, "https://", 8) == 0 && strpbrk(result->next_action_url, " \"<>\n") == NULL);
}

static void
answer(PayOpKind kind, int step, int status, bool inquiry, const char *body, size_t bytes)
{
	bool		is_first = kind == PAY_OP_CHARGE || kind == PAY_OP_AUTHORIZE;
	PayCommand	command = {.kind = kind, .step = step, .amount = 1050, .currency = "EUR", .psp_ref = "REF7", .generation = 1,
	.psp_payment_id = is_first && step == 1 && !inquiry ? NULL : ORDER, .target_id = is_first ? NULL : "AUTH1"};
	PayAnswer	got;
	PayResult	result;
	PayToken	token = {0};
	PayHeader	header;

	pay_answer_init(&got);
	got.transport = PAY_TRANSPORT_ANSWERED;
	got.http_status = status;
	got.body = body;
	got.body_bytes = bytes;
	if (pay_header_split(body, bytes, &header))
		pay_adapter_paypal.read_header(&header, &got);
	CHECK(memchr(got.request_id, '\0', sizeof(got.request_id)) != NULL);
	pay_adapter_paypal.classify(&command, inquiry, &got, &result);
	check_result(&result);
	if (result.class == PAY_CLASS_APPROVED)
	{
		CHECK(status == 200 || status == 201);
		CHECK(kind == PAY_OP_VOID || (result.amount == 1050 && strcmp(result.currency, "EUR") == 0));
		CHECK(kind != PAY_OP_VOID || strcmp(result.object_id, "AUTH1") == 0);
		CHECK(command.psp_payment_id == NULL || result.psp_payment_id == NULL || kind == PAY_OP_CAPTURE || strcmp(result.psp_payment_id, ORDER) == 0);
	}
	if (inquiry && status >= 400)
		CHECK(result.class == PAY_CLASS_UNKNOWN || result.class == PAY_CLASS_MISCONFIGURED);
	if (pay_adapter_paypal.read_token(&got, &token))
		CHECK(token.text != NULL && token.valid_s >= 0);
}

static void
inbound(const char *body, size_t bytes)
{
	static const char *const some[] = {"sesame", NULL};
	PayInbound	request = {.body = body, .body_bytes = bytes};
	PayEvents	events = {0};

	CHECK(pay_adapter_paypal.verify(&request, some, 1700000000) == PAY_VERDICT_ASK_PSP);
	if (!pay_adapter_paypal.parse(&request, &events))
		return;
	CHECK(events.n == 1 && events.list[0].event_id != NULL && events.list[0].event_type != NULL);
	CHECK(!events.list[0].relevant || events.list[0].result.psp_ref != NULL || events.list[0].result.psp_payment_id != NULL);
	check_result(&events.list[0].result);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static const int statuses[] = {200, 201, 204, 400, 401, 404, 409, 422};
	char	   *body;

	if (bytes < 2)
		return 0;
	body = malloc(bytes - 1);
	memcpy(body, data + 2, bytes - 2);
	body[bytes - 2] = '\0';
	if (data[0] & 1)
		inbound(body, bytes - 2);
	else
		answer((PayOpKind) (data[1] % 5), data[0] & 2 ? 2 : 1, statuses[(data[0] >> 4) & 7], data[0] & 4, body, bytes - 2);
	free(body);
	shim_reset();
	return 0;
}
