/*
 * test/fuzz/fuzz_adapter.c
 *		If this fails, a PSP (or who speaks for it) can crash the server with an
 *		answer or an event, or have one believed that says nothing or that nobody
 *		signed.
 *
 * Fuzzes what holds for every adapter on those of the tests, which are linked
 * without a server; an adapter whose files can be so goes into the list.
 */
// sources: ../../src/psp/psp.c ../../src/psp/scheme.c ../../src/psp/sandbox.c ../../src/psp/yookassa.c ../../src/psp/yookassa_answer.c ../../src/psp/yookassa_feed.c ../../src/psp/yookassa_time.c ../../src/format/value.c ../adapters/plain.c ../adapters/apikey.c ../adapters/basic.c ../adapters/oauth.c ../../src/base/address.c ../../src/base/digest.c ../../src/base/header.c ../../src/base/json_slice.c ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c ../../src/psp/adyen.c ../../src/psp/adyen_answer.c ../../src/psp/adyen_event.c ../../src/psp/adyen_value.c
// libs: -lcrypto
#include "payments.h"

#include "psp/psp.h"

#include "shim.h"

#include "utils/resowner.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

extern const PayAdapter pay_adapter_adyen;
/* Reads JSON with the server's jsonb, so it is in the list by name only. */
const PayAdapter pay_adapter_stripe = {.name = "stripe"};
static const PayAdapter *const adapters[] = {&pay_adapter_apikey, &pay_adapter_basic, &pay_adapter_oauth, &pay_adapter_yookassa, &pay_adapter_adyen};

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

static void
check_result(const PayResult *result)
{
	CHECK(result->class >= PAY_CLASS_APPROVED && result->class <= PAY_CLASS_CONFLICTED);
	/* That a capture came too late says that what was held is free. */
	CHECK((result->class == PAY_CLASS_APPROVED) == (result->effect != PAY_EFFECT_NONE) ||
		  (result->class == PAY_CLASS_DECLINED && result->effect == PAY_EFFECT_EXPIRED));
	if (result->class == PAY_CLASS_APPROVED)
		CHECK(result->object_id != NULL && result->currency != NULL && result->amount >= 0);
}

/* What has no object of its own is named by its payment. */
static bool
names(const PayAdapter *adapter, const PayCommand *command, const PayResult *result)
{
	if (adapter == &pay_adapter_yookassa && (command->kind == PAY_OP_CAPTURE || command->kind == PAY_OP_VOID))
		return strcmp(result->psp_payment_id, command->psp_payment_id) == 0;
	return strcmp(result->psp_ref, "REF7") == 0 && result->generation == 1;
}

static void
answer(const PayAdapter *adapter, int status, bool inquiry, const char *body, size_t bytes)
{
	PayCommand	command = {.kind = (PayOpKind) (bytes % (PAY_OP_REFUND + 1)), .amount = 1050, .currency = "EUR", .psp_ref = "REF7", .generation = 1, .psp_payment_id = "pay-1", .payment_method = "T1"};
	PayAnswer	got;
	PayResult	result;
	PayToken	token = {0};
	PayHeader	header;

	pay_answer_init(&got);
	got.transport = PAY_TRANSPORT_ANSWERED;
	got.http_status = status;
	got.body = body;
	got.body_bytes = bytes;
	if (adapter->read_header && pay_header_split(body, bytes, &header))
		adapter->read_header(&header, &got);
	CHECK(memchr(got.request_id, '\0', sizeof(got.request_id)) != NULL);
	adapter->classify(&command, inquiry, &got, &result);
	check_result(&result);
	/* Only an object of the PSP's that names the operation is a yes or a no, or its own word that it refuses. */
	if (result.class == PAY_CLASS_APPROVED || result.class == PAY_CLASS_DECLINED)
		CHECK((status == 200 && names(adapter, &command, &result)) ||
			  ((adapter == &pay_adapter_yookassa || adapter == &pay_adapter_adyen) && result.class == PAY_CLASS_DECLINED && !inquiry && status >= 400));
	if (adapter->read_token && adapter->read_token(&got, &token))
		CHECK(token.text != NULL);
}

static void
inbound(const PayAdapter *adapter, const char *body, size_t bytes)
{
	static const char *const none[] = {NULL};
	static const char *const some[] = {"sesame", NULL};
	PayHeader	headers[] = {{"X-Event-Id", 10, "e1", 2}, {"X-Event-Time", 12, "1700000000", 10}, {"X-Event-Signature", 17, body, bytes}};
	PayInbound	request = {.headers = headers, .n_headers = lengthof(headers), .body = body, .body_bytes = bytes};
	PayEvents	events = {0};

	CHECK(adapter->verify(&request, none, 1700000000) != PAY_VERDICT_OK);
	CHECK(adapter->verify(&request, some, 1700000000) != PAY_VERDICT_OK);
	if (!adapter->parse(&request, &events))
		return;
	CHECK(events.n >= 0 && events.n <= PAY_EVENTS_MAX);
	for (int i = 0; i < events.n; i++)
	{
		const PayPspEvent *e = &events.list[i];

		CHECK(e->event_id != NULL);
		CHECK(events.n == 1 || e->raw.at != NULL);
		CHECK(e->raw.at == NULL || (e->raw.at >= body && e->raw.at + e->raw.bytes <= body + bytes));
		CHECK(!e->relevant || e->result.psp_ref != NULL || e->result.psp_payment_id != NULL);
		check_result(&e->result);
	}
}

/* A page that is read has what it says, and its entries are events or nothing. */
static void
feeds(const PayAdapter *adapter, const char *body, size_t bytes)
{
	for (int i = 0; i < adapter->n_feeds; i++)
	{
		const PayFeed *feed = &adapter->feeds[i];
		char	   *copy = memcpy(palloc(bytes + 1), body, bytes + 1);
		PayFeedPage page = {0};
		const char *problem = NULL;

		feed->refusal(copy, bytes);
		if (!feed->read_page(copy, bytes, &page, &problem))
		{
			CHECK(problem != NULL);
			continue;
		}
		CHECK(page.n >= 0 && page.n <= PAY_FEED_PAGE_MAX && !(page.more && page.n == 0));
		for (int n = 0; n < page.n; n++)
		{
			PayPspEvent event;

			CHECK(page.ids[n] != NULL && page.entries[n].at >= copy && page.entries[n].at + page.entries[n].bytes <= copy + bytes);
			if (feed->read_event && feed->read_event(page.entries[n].at, page.entries[n].bytes, &event))
			{
				CHECK(event.event_id && event.event_type && !(event.relevant && event.unreadable));
				CHECK(!event.relevant || event.result.psp_ref != NULL || event.result.psp_payment_id != NULL);
				check_result(&event.result);
			}
		}
	}
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static const int statuses[] = {200, 200, 200, 400, 401, 404, 429, 500};
	const PayAdapter *adapter;
	char	   *body;

	if (bytes < 2)
		return 0;
	adapter = adapters[data[0] % lengthof(adapters)];
	body = malloc(bytes - 1);
	memcpy(body, data + 2, bytes - 2);
	body[bytes - 2] = '\0';
	if ((data[1] & 3) == 3)
		feeds(adapter, body, bytes - 2);
	if (data[1] & 1)
		inbound(adapter, body, bytes - 2);
	else
		answer(adapter, statuses[(data[1] >> 2) % lengthof(statuses)], data[1] & 2, body, bytes - 2);
	free(body);
	shim_reset();
	return 0;
}
