/*
 * src/payment/test_adapter_sample.c
 *		Samples of an adapter: answers and events as its PSP writes them, with
 *		what they mean.
 *
 * Each is read as it is, and as it must not be believed: cut short, the answer
 * to another command, repeated, not signed.
 */
#include "payments.h"

#include "payment/test_adapter_private.h"

#include "base/json.h"
#include "payment/adapter_json.h"
#include "psp/scheme.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define NOW INT64CONST(1798761600)
#define TEST_SECRET "dGVzdC1hZGFwdGVyLXRlc3QtYWRhcHRlcg=="
#define OTHER_REF "other8ref"
#define CUTS 40

static void test_sample(PayTest *test, Jsonb *sample, int n);
static void test_answer_sample(PayTest *test, Jsonb *sample, const char *name);
static void test_cut(PayTest *test, const char *name, PayTestAsked *asked, const char *body);
static void test_mismatch(PayTest *test, const char *name, PayTestAsked *asked);
static void test_event_sample(PayTest *test, Jsonb *sample, const char *name);
static void test_signature(PayTest *test, const char *name, PayInbound *inbound);
static PayVerdict verdict_of(PayTest *test, PayInbound *inbound, char **headers, const char *secret, int64 now);
static const char *expected(Jsonb *sample, const PayResult *result);
static const char *differs(Jsonb *sample, const char *member, const char *found);
static Jsonb *part(Jsonb *json, int i);
static const char *sample_body(Jsonb *sample);

void
pay_test_samples(PayTest *test)
{
	for (int i = 0; test->samples && pay_json_exists(test->samples, psprintf("%d", i)); i++)
		test_sample(test, part(test->samples, i), i + 1);
}

/* ---------- answers ---------- */

static void
test_sample(PayTest *test, Jsonb *sample, int n)
{
	const char *name = pay_json_text(sample, "name");

	if (name == NULL)
		name = psprintf("sample %d", n);
	if (pay_json_exists(sample, "event"))
		test_event_sample(test, sample, name);
	else
		test_answer_sample(test, sample, name);
}

static void
test_answer_sample(PayTest *test, Jsonb *sample, const char *name)
{
	char	   *kind_name = pay_json_text(sample, "command.kind");
	PayOpKind	kind = PAY_OP_CHARGE;
	PayCommand	command;
	int64		status = 200;
	int64		number;
	const char *body = sample_body(sample);
	PayAnswer	answer;
	PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_CLASSIFY, .command = &command, .answer = &answer};
	const char *problem;
	char	   *text;

	if (kind_name && !pay_op_kind_parse(kind_name, &kind))
	{
		pay_test_say(test, name, false, "its command is of no kind that there is");
		return;
	}
	command = pay_test_command(kind);
	if ((text = pay_json_text(sample, "command.psp_ref")) != NULL)
		command.psp_ref = text;
	if ((text = pay_json_text(sample, "command.psp_payment_id")) != NULL)
		command.psp_payment_id = text;
	if ((text = pay_json_text(sample, "command.psp_object_id")) != NULL)
		command.psp_object_id = text;
	if ((text = pay_json_text(sample, "command.currency")) != NULL)
		command.currency = text;
	if (pay_json_int64(sample, "command.amount", &number))
		command.amount = number;
	if (pay_json_int64(sample, "command.generation", &number))
		command.generation = (int) number;
	(void) pay_json_int64(sample, "http_status", &status);
	(void) pay_json_bool(sample, "inquiry", &asked.inquiry);
	answer = pay_test_answer((int) status, body, strlen(body));
	problem = pay_test_ask(&asked);
	if (problem == NULL)
		problem = expected(sample, &asked.result);
	pay_test_say(test, psprintf("%s: means what it should", name), problem == NULL, problem ? problem : pay_test_result_text(&asked.result));
	if (problem || pay_test_is_unknown(&asked.result))
		return;
	test_cut(test, name, &asked, body);
	if (asked.result.class == PAY_CLASS_APPROVED)
		test_mismatch(test, name, &asked);
}

/* Half of it proves nothing. */
static void
test_cut(PayTest *test, const char *name, PayTestAsked *asked, const char *body)
{
	size_t		bytes = strlen(body);
	const char *wrong = NULL;

	for (int i = 1; i < CUTS && !wrong && bytes >= CUTS; i++)
	{
		const char *half = pnstrdup(body, bytes * i / CUTS);
		PayAnswer	answer = pay_test_answer(asked->answer->http_status, half, strlen(half));
		PayTestAsked		again = *asked;
		const char *problem;

		again.answer = &answer;
		problem = pay_test_ask(&again);
		if (problem || !pay_test_is_unknown(&again.result))
			wrong = psprintf("cut after %d bytes: %s", (int) strlen(half), problem ? problem : pay_test_result_text(&again.result));
	}
	pay_test_say(test, psprintf("%s: cut short it is unknown", name), !wrong, wrong);
}

/* It must say what the PSP says, and not what we asked for: then we see that they differ. */
static void
test_mismatch(PayTest *test, const char *name, PayTestAsked *asked)
{
	PayCommand	command = *asked->command;
	PayTestAsked		again = *asked;
	const char *problem;
	PayResult  *r = &again.result;

	again.command = &command;
	command.amount++;
	problem = pay_test_ask(&again);
	pay_test_say(test, psprintf("%s: another amount than we asked for is seen", name),
		!problem && (r->class != PAY_CLASS_APPROVED || r->effect == PAY_EFFECT_VOIDED || r->amount != command.amount), problem ? problem : pay_test_result_text(r));
	command = *asked->command;
	command.currency = strcmp(command.currency, "SEK") == 0 ? "NOK" : "SEK";
	problem = pay_test_ask(&again);
	pay_test_say(test, psprintf("%s: another currency too", name),
		!problem && (r->class != PAY_CLASS_APPROVED || (r->currency && strcmp(r->currency, command.currency) != 0)), problem ? problem : pay_test_result_text(r));
	command = *asked->command;
	command.psp_ref = OTHER_REF;
	problem = pay_test_ask(&again);
	pay_test_say(test, psprintf("%s: the answer to another operation too", name),
		!problem && (r->class != PAY_CLASS_APPROVED || !asked->result.psp_ref), problem ? problem : asked->result.psp_ref ? pay_test_result_text(r) : "the answer names no operation");
}

/* ---------- events ---------- */

static void
test_event_sample(PayTest *test, Jsonb *sample, const char *name)
{
	const char *body = sample_body(sample);
	PayInbound	inbound = {.body = body, .body_bytes = strlen(body)};
	PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_PARSE, .inbound = &inbound};
	PayTestAsked		again = asked;
	const char *problem = pay_test_ask(&asked);
	const PayPspEvent *event;

	if (problem == NULL && (!asked.built || asked.events.n == 0))
		problem = "it reads no event in it";
	event = problem ? NULL : &asked.events.list[0];
	if (event)
		problem = differs(sample, "event_id", event->event_id);
	if (event && problem == NULL)
		problem = expected(sample, &event->result);
	pay_test_say(test, psprintf("%s: means what it should", name), problem == NULL, problem ? problem : pay_test_result_text(&event->result));
	if (problem)
		return;
	problem = pay_test_ask(&again);
	pay_test_say(test, psprintf("%s: is known when it comes again", name),
		!problem && again.events.n == asked.events.n && strcmp(again.events.list[0].event_id, event->event_id) == 0 &&
		strcmp(pay_test_result_text(&again.events.list[0].result), pay_test_result_text(&event->result)) == 0, problem);
	pay_test_say(test, psprintf("%s: names its payment, so that it may come in any order", name),
		!event->relevant || event->result.psp_ref || event->result.psp_payment_id, NULL);
	test_signature(test, name, &inbound);
}

static void
test_signature(PayTest *test, const char *name, PayInbound *inbound)
{
	const PayScheme *scheme = test->adapter->scheme;
	char	  **signed_headers;

	pay_test_say(test, psprintf("%s: unsigned it is not believed", name), verdict_of(test, inbound, NULL, TEST_SECRET, NOW) != PAY_VERDICT_OK, NULL);
	/* How others sign is in their code. */
	if (scheme == NULL || scheme->verify == PAY_VERIFY_ASK)
		return;
	signed_headers = pay_scheme_sign_event(scheme, TEST_SECRET, "evt_1", NOW, inbound->body, inbound->body_bytes);
	pay_test_say(test, psprintf("%s: signed it is", name), verdict_of(test, inbound, signed_headers, TEST_SECRET, NOW) == PAY_VERDICT_OK, NULL);
	pay_test_say(test, psprintf("%s: not with another secret, or none", name),
		verdict_of(test, inbound, signed_headers, "b3RoZXI=", NOW) == PAY_VERDICT_WRONG && verdict_of(test, inbound, signed_headers, NULL, NOW) != PAY_VERDICT_OK, NULL);
	if (scheme->verify == PAY_VERIFY_STANDARD || scheme->event.time_header)
		pay_test_say(test, psprintf("%s: nor an hour late, or early", name),
			verdict_of(test, inbound, signed_headers, TEST_SECRET, NOW + 3600) == PAY_VERDICT_TOO_OLD &&
			verdict_of(test, inbound, signed_headers, TEST_SECRET, NOW - 3600) == PAY_VERDICT_AHEAD, NULL);
	else
		pay_test_say(test, psprintf("%s: its signature has no time", name), true, "one that is repeated is known by its event_id alone");
}

static PayVerdict
verdict_of(PayTest *test, PayInbound *inbound, char **lines, const char *secret, int64 now)
{
	const char *secrets[2] = {secret, NULL};
	PayHeader	headers[8];
	PayInbound	request = *inbound;

	for (; lines && *lines && request.n_headers < (int) lengthof(headers); lines++)
		if (pay_header_split(*lines, strlen(*lines), &headers[request.n_headers]))
			request.n_headers++;
	request.headers = headers;
	return pay_psp_sends_events(test->adapter) ? pay_psp_verify(test->adapter, &request, secrets, now) : PAY_VERDICT_WRONG;
}

/* ---------- small things ---------- */

/* NULL, or which member of the sample's "expect" is not so. */
static const char *
expected(Jsonb *sample, const PayResult *result)
{
	const char *wrong = differs(sample, "class", pay_class_name(result->class));
	int64		number;

	if (!wrong)
		wrong = differs(sample, "currency", result->currency);
	if (!wrong)
		wrong = differs(sample, "object_id", result->object_id);
	if (!wrong)
		wrong = differs(sample, "psp_payment_id", result->psp_payment_id);
	if (!wrong)
		wrong = differs(sample, "psp_ref", result->psp_ref);
	if (!wrong)
		wrong = differs(sample, "code", result->codes[0]);
	if (!wrong)
		wrong = differs(sample, "effect", pay_effect_name(result->effect));
	if (!wrong && pay_json_int64(sample, "expect.amount", &number) && number != result->amount)
		wrong = psprintf("amount is " INT64_FORMAT " instead of " INT64_FORMAT, result->amount, number);
	if (!wrong && pay_json_int64(sample, "expect.fee", &number) && number != result->fee)
		wrong = psprintf("fee is " INT64_FORMAT " instead of " INT64_FORMAT, result->fee, number);
	return wrong;
}

static const char *
differs(Jsonb *sample, const char *member, const char *found)
{
	const char *wanted = pay_json_text(sample, psprintf("expect.%s", member));

	if (wanted == NULL || (found && strcmp(wanted, found) == 0))
		return NULL;
	return psprintf("%s is %s instead of %s", member, found ? found : "nothing", wanted);
}

static Jsonb *
part(Jsonb *json, int i)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_array_element, JsonbPGetDatum(json), Int32GetDatum(i)));
}

/* "text", or "json" written out. */
static const char *
sample_body(Jsonb *sample)
{
	char	   *text = pay_json_text(sample, "text");
	JsonbValue *json = text ? NULL : getKeyJsonValueFromContainer(&sample->root, "json", 4, NULL);

	if (json)
	{
		Jsonb	   *body = JsonbValueToJsonb(json);

		text = JsonbToCString(NULL, &body->root, VARSIZE(body));
	}
	return text ? text : "";
}
