/*
 * src/payment/test_adapter.c
 *		test_adapter(): does an adapter keep to what it must, whatever it is asked?
 *
 * What holds of every adapter is tried with commands and answers that are made
 * up; what is the PSP's own, with samples that the author gives: answers and
 * events as the PSP writes them, and what they mean.  Nothing is sent, nothing
 * stays.  An adapter that raises, or does not end, fails the check in which it
 * does.
 */
#include "payments.h"

#include "base/json.h"
#include "base/money.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/spi.h"
#include "core/subtransaction.h"
#include "payment/adapter.h"
#include "payment/adapter_json.h"
#include "payment/adapter_private.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

#define NOW INT64CONST(1798761600)
#define TEST_SECRET "dGVzdC1hZGFwdGVyLXRlc3QtYWRhcHRlcg=="
#define REF "test7ref"
#define OTHER_REF "other8ref"
#define CUTS 40
#define DETAIL_BYTES_MAX 300

typedef struct Test
{
	const PayAdapter *adapter;
	ReturnSetInfo *rows;
	Jsonb	   *samples;
	PaySteady	slowest;
	const char *slowest_of;
	bool		ran_out;
	bool		in_other_session;
} Test;

/* One question, as it is asked in a subtransaction. */
typedef struct Asked
{
	Test	   *test;
	PayQuestion question;
	const PayCommand *command;
	bool		inquiry;
	const PayAnswer *answer;
	const PayInbound *inbound;

	bool		built;
	PayRequest	request;
	const char *problem;
	PayResult	result;
	PayEvents	events;
} Asked;

static void say(Test *test, const char *check, bool ok, const char *detail);
static const char *ask(Asked *asked);
static const char *ask_work(void *arg);
static PayCommand command_of(PayOpKind kind);
static void test_requests(Test *test, PayOpKind kind);
static void test_same_bytes(Test *test, PayOpKind kind);
static void test_inquiry(Test *test, PayOpKind kind);
static void test_strange(Test *test, PayOpKind kind);
static const char *bytes_of(const Asked *asked);
static void test_no_answer(Test *test, PayOpKind kind);
static void test_unreadable(Test *test, PayOpKind kind);
static PayAnswer answer_of(int status, const char *body, size_t bytes);
static void test_in_process(Test *test, PayOpKind kind);
static void test_currencies(Test *test);
static void test_sample(Test *test, Jsonb *sample, int n);
static void test_answer_sample(Test *test, Jsonb *sample, const char *name);
static void test_cut(Test *test, const char *name, Asked *asked, const char *body);
static void test_mismatch(Test *test, const char *name, Asked *asked);
static void test_event_sample(Test *test, Jsonb *sample, const char *name);
static void test_signature(Test *test, const char *name, PayInbound *inbound);
static PayVerdict verdict_of(Test *test, PayInbound *inbound, char **headers, const char *secret, int64 now);
static const char *expected(Jsonb *sample, const PayResult *result);
static const char *differs(Jsonb *sample, const char *member, const char *found);
static Jsonb *part(Jsonb *json, int i);
static const char *sample_body(Jsonb *sample);
static const char *result_text(const PayResult *result);
static bool is_unknown(const PayResult *result);

PAY_FUNCTION(pay_test_adapter);

static PayStmt read_currencies = PAY_STMT(SPI_OK_SELECT,
	"SELECT c.currency, c.exponent, coalesce(x.exponent, c.exponent), coalesce(x.multiple, 1) FROM payments.currency c "
	"LEFT JOIN payments.psp_currency x ON x.adapter = $1 AND x.currency = c.currency ORDER BY c.currency", TEXTOID);
static PayStmt read_samples = PAY_STMT(SPI_OK_SELECT, "SELECT samples::text FROM payments.adapter WHERE adapter = $1", TEXTOID);

/* test_adapter(adapter, samples) */
PAY_VERB_UNSEEN(pay_test_adapter)
{
	Test		test = {.rows = (ReturnSetInfo *) fcinfo->resultinfo};
	char	   *name;
	PayArgs		args = {0};

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "adapter");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	InitMaterializedSRF(fcinfo, 0);
	pay_spi_begin();
	test.adapter = pay_adapter_find(name);
	if (test.adapter == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_ADAPTER_UNKNOWN),
				 errmsg("adapter does not exist"),
				 errhint("Built in are %s; payments.adapter lists the others.", pay_psp_adapter_names())));
	pay_arg_text(&args, name);
	if (!PG_ARGISNULL(1))
		test.samples = PG_GETARG_JSONB_P(1);
	else if (pay_spi_exec(&read_samples, &args) == 1)
	{
		char	   *text = pay_spi_text(0, 1);

		test.samples = pay_json_parse(text, strlen(text));
	}
	say(&test, "its functions can be called", pay_adapter_refusal(test.adapter) == NULL, pay_adapter_refusal(test.adapter));
	for (int kind = PAY_OP_CHARGE; kind <= PAY_OP_REFUND; kind++)
	{
		if (!(test.adapter->can & (1 << kind)))
			continue;
		if (test.adapter->in_process)
			test_in_process(&test, (PayOpKind) kind);
		else
		{
			test_requests(&test, (PayOpKind) kind);
			test_no_answer(&test, (PayOpKind) kind);
			test_unreadable(&test, (PayOpKind) kind);
		}
	}
	test_currencies(&test);
	for (int i = 0; test.samples && pay_json_exists(test.samples, psprintf("%d", i)); i++)
		test_sample(&test, part(test.samples, i), i + 1);
	say(&test, "it ends in time", !test.ran_out,
		psprintf("the slowest of its answers, %s, took " INT64_FORMAT " microseconds", test.slowest_of ? test.slowest_of : "none", test.slowest));
	pay_spi_end();
	return (Datum) 0;
}

static void
say(Test *test, const char *check, bool ok, const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, detail == NULL};

	values[0] = CStringGetTextDatum(check);
	values[1] = BoolGetDatum(ok);
	values[2] = detail ? CStringGetTextDatum(pnstrdup(detail, pg_mbcliplen(detail, (int) strlen(detail), DETAIL_BYTES_MAX))) : (Datum) 0;
	tuplestore_putvalues(test->rows->setResult, test->rows->setDesc, values, nulls);
}

/* ---------- asking ---------- */

/* NULL, or what it raised. */
static const char *
ask(Asked *asked)
{
	static const char *const words[] = {"build", "build_inquiry", "classify", "parse"};
	Test	   *test = asked->test;
	ErrorData  *error;
	PaySteady	begun_at = pay_clock_now();
	const char *raised;

	if (test->ran_out)
		return "it did not end before";
	if (test->adapter->functions)
		pay_adapter_refill(test->adapter->functions);
	pay_result_init(&asked->result);
	asked->problem = NULL;
	raised = pay_try(ask_work, asked, &error);
	if (pay_clock_now() - begun_at > test->slowest)
	{
		test->slowest = pay_clock_now() - begun_at;
		test->slowest_of = words[asked->question];
	}
	test->ran_out |= test->adapter->functions && pay_adapter_rests(test->adapter);
	if (test->ran_out)
		return "it does not end";
	return raised ? psprintf("it raised: %s", raised) : NULL;
}

static const char *
ask_work(void *arg)
{
	Asked	   *asked = arg;
	const PayAdapter *adapter = asked->test->adapter;

	if (asked->test->in_other_session)
	{
		(void) set_config_option("TimeZone", "Pacific/Apia", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("DateStyle", "German", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("extra_float_digits", "-10", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("bytea_output", "escape", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	switch (asked->question)
	{
		case PAY_QUESTION_BUILD:
			asked->built = pay_adapter_build(adapter, asked->command, &asked->request, &asked->problem);
			break;
		case PAY_QUESTION_BUILD_INQUIRY:
			asked->built = pay_adapter_build_inquiry(adapter, asked->command, &asked->request);
			break;
		case PAY_QUESTION_CLASSIFY:
			pay_adapter_classify(adapter, asked->command, asked->inquiry, asked->answer, &asked->result);
			break;
		case PAY_QUESTION_PARSE:
			asked->built = pay_adapter_parse(adapter, asked->inbound, &asked->events);
			break;
		case PAY_QUESTIONS:
			break;
	}
	return NULL;
}

static PayCommand
command_of(PayOpKind kind)
{
	return (PayCommand) {
		.kind = kind, .amount = 1050, .currency = "EUR", .exponent = 2, .payment_method = "pm_1", .order_ref = "order 1",
		.return_url = "https://shop.example/back?a=1&b=2", .psp_ref = REF, .generation = 1,
		.psp_payment_id = kind == PAY_OP_CHARGE || kind == PAY_OP_AUTHORIZE ? NULL : "pay_1", .captured = 1050
	};
}

/* ---------- requests ---------- */

static void
test_requests(Test *test, PayOpKind kind)
{
	const char *word = pay_op_kind_name(kind);
	PayCommand	command = command_of(kind);
	Asked		asked = {.test = test, .question = PAY_QUESTION_BUILD, .command = &command};
	const char *problem = ask(&asked);
	const char *wrong = problem || !asked.built ? NULL : pay_request_problem(&asked.request);

	say(test, psprintf("%s: a request is built", word), !problem && !wrong && (asked.built || asked.problem),
		problem ? problem : !asked.built ? psprintf("it says why it cannot be: %s", asked.problem ? asked.problem : "nothing") :
		wrong ? wrong : psprintf("%s %s", asked.request.method, asked.request.path));
	test_same_bytes(test, kind);
	command.psp_ref = NULL;
	problem = ask(&asked);
	say(test, psprintf("%s: none without a reference", word), !problem && !asked.built, problem);
	test_strange(test, kind);
	test_inquiry(test, kind);
}

static void
test_same_bytes(Test *test, PayOpKind kind)
{
	PayCommand	command = command_of(kind);
	Asked		asked = {.test = test, .question = PAY_QUESTION_BUILD, .command = &command};
	const char *problem = ask(&asked);
	const char *first = bytes_of(&asked);
	const char *again;
	const char *next;

	if (problem == NULL)
		problem = ask(&asked);
	again = bytes_of(&asked);
	say(test, psprintf("%s: the same request gives the same bytes", pay_op_kind_name(kind)), !problem && strcmp(first, again) == 0, problem);
	test->in_other_session = true;
	if (problem == NULL)
		problem = ask(&asked);
	test->in_other_session = false;
	say(test, psprintf("%s: in a session with other settings too", pay_op_kind_name(kind)), !problem && strcmp(first, bytes_of(&asked)) == 0, problem);
	command.generation = 2;
	if (problem == NULL)
		problem = ask(&asked);
	next = bytes_of(&asked);
	say(test, psprintf("%s: the next generation is told from the first", pay_op_kind_name(kind)),
		!problem && (!asked.built || test->adapter->key_header || strcmp(first, next) != 0),
		problem ? problem : test->adapter->key_header ? psprintf("by the key in %s", test->adapter->key_header) : "by the bytes");
}

/* What a client may pass, and who would write another request with it. */
static void
test_strange(Test *test, PayOpKind kind)
{
	static const char *const texts[] = {
		"\r\nX-Injected: 1\r\n\r\n", "../../v1/other", "a/b?c=d&e=f#g", "\"}', \\", "%00%0d%0a", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xb3", "\x01\x7f", "{{command}}",
	};
	const char *wrong = NULL;
	const char *problem = NULL;

	for (size_t i = 0; i < lengthof(texts) && !wrong && !problem; i++)
	{
		PayCommand	command = command_of(kind);
		Asked		asked = {.test = test, .question = PAY_QUESTION_BUILD, .command = &command};

		command.payment_method = command.customer = command.order_ref = command.description = command.return_url = command.reason = texts[i];
		if (command.psp_payment_id)
			command.psp_payment_id = texts[i];
		problem = ask(&asked);
		/* That it cannot be built is an answer; what is built must be a request. */
		if (!problem && asked.built)
			wrong = pay_request_problem(&asked.request);
		if (wrong)
			wrong = psprintf("with text %d of \"%s\": %s", (int) i + 1, pay_op_kind_name(kind), wrong);
	}
	say(test, psprintf("%s: whatever stands in it is escaped", pay_op_kind_name(kind)), !wrong && !problem, problem ? problem : wrong);
}

static void
test_inquiry(Test *test, PayOpKind kind)
{
	const char *word = pay_op_kind_name(kind);
	PayCommand	command = command_of(kind);
	Asked		asked = {.test = test, .question = PAY_QUESTION_BUILD_INQUIRY, .command = &command};
	const char *problem = ask(&asked);
	const char *first = bytes_of(&asked);
	const char *wrong = problem || !asked.built ? NULL : pay_request_problem(&asked.request);
	bool		built = asked.built;

	say(test, psprintf("%s: what became of it can be asked, by our reference", word),
		!problem && !wrong && built && strstr(first, REF) != NULL, problem ? problem : !built ? "no inquiry is built" : wrong ? wrong : pnstrdup(first, strcspn(first, "\n")));
	if (!problem)
		problem = ask(&asked);
	say(test, psprintf("%s: always in the same bytes", word), !problem && strcmp(first, bytes_of(&asked)) == 0, problem);
}

static const char *
bytes_of(const Asked *asked)
{
	const PayRequest *r = &asked->request;

	if (!asked->built)
		return psprintf("none: %s", asked->problem ? asked->problem : "");
	return psprintf("%s %s\n%s\n%s", r->method, r->path, r->content_type ? r->content_type : "", r->body ? r->body : "");
}

/* ---------- answers ---------- */

static void
test_no_answer(Test *test, PayOpKind kind)
{
	const char *word = pay_op_kind_name(kind);
	PayCommand	command = command_of(kind);
	PayAnswer	answer;
	Asked		asked = {.test = test, .question = PAY_QUESTION_CLASSIFY, .command = &command, .answer = &answer};
	const char *problem;

	pay_answer_init(&answer);
	problem = ask(&asked);
	say(test, psprintf("%s: a lost answer is unknown", word), !problem && is_unknown(&asked.result), problem ? problem : result_text(&asked.result));
	answer.transport = PAY_TRANSPORT_NOT_SENT;
	problem = ask(&asked);
	say(test, psprintf("%s: what never left is not sent", word), !problem && asked.result.class == PAY_CLASS_NOT_SENT, problem ? problem : result_text(&asked.result));
	asked.inquiry = true;
	problem = ask(&asked);
	say(test, psprintf("%s: of a question that never left nothing is known", word), !problem && is_unknown(&asked.result), problem ? problem : result_text(&asked.result));
}

/* Whatever stands between us and the PSP may say that, after the PSP has done it. */
static void
test_unreadable(Test *test, PayOpKind kind)
{
	static const int statuses[] = {200, 201, 204, 302, 400, 401, 402, 403, 404, 409, 422, 429, 500, 502, 503, 504};
	static const char *const bodies[] = {
		"", "<html><body>Bad gateway</body></html>", "null", "{}", "[]", "1", "\"ok\"", "true", "{\"a\":", "{\"status\": \"", "\xff\xfe", "OK",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
	};
	const char *wrong = NULL;

	for (size_t s = 0; s < lengthof(statuses) && !wrong; s++)
		for (size_t b = 0; b < lengthof(bodies) && !wrong; b++)
			for (int inquiry = 0; inquiry < 2 && !wrong; inquiry++)
			{
				PayCommand	command = command_of(kind);
				PayAnswer	answer = answer_of(statuses[s], bodies[b], strlen(bodies[b]));
				Asked		asked = {.test = test, .question = PAY_QUESTION_CLASSIFY, .command = &command, .answer = &answer, .inquiry = inquiry};
				const char *problem = ask(&asked);

				if (problem || !is_unknown(&asked.result))
					wrong = psprintf("%s%d with \"%s\": %s", inquiry ? "asked for, " : "", statuses[s], bodies[b], problem ? problem : result_text(&asked.result));
			}
	say(test, psprintf("%s: an answer that it cannot read is unknown", pay_op_kind_name(kind)), !wrong, wrong);
}

static PayAnswer
answer_of(int status, const char *body, size_t bytes)
{
	PayAnswer	answer;

	pay_answer_init(&answer);
	answer.transport = PAY_TRANSPORT_ANSWERED;
	answer.http_status = status;
	answer.body = body;
	answer.body_bytes = bytes;
	return answer;
}

static void
test_in_process(Test *test, PayOpKind kind)
{
	PayCommand	command = command_of(kind);
	PayResult	first,
				second;

	test->adapter->perform(&command, false, &first);
	test->adapter->perform(&command, false, &second);
	say(test, psprintf("%s: the same command gets the same answer", pay_op_kind_name(kind)), strcmp(result_text(&first), result_text(&second)) == 0, result_text(&first));
}

/* ---------- currencies ---------- */

static void
test_currencies(Test *test)
{
	PayArgs		args = {0};
	int			n;
	int			lossy = 0;
	const char *wrong = NULL;

	pay_arg_text(&args, test->adapter->name);
	n = (int) pay_spi_exec(&read_currencies, &args);
	for (int i = 0; i < n && !wrong; i++)
	{
		int			ours = pay_spi_int32(i, 2);
		int			theirs = pay_spi_int32(i, 3);
		int64		there = 0,
					back = 0;

		for (int64 amount = 1; amount < INT64CONST(100000000000) && !wrong; amount = amount * 7 + 3)
		{
			/* What cannot be said there is refused. */
			if (!pay_money_rescale(amount, ours, theirs, &there))
				lossy++;
			else if (!pay_money_rescale(there, theirs, ours, &back) || back != amount)
				wrong = psprintf("%s: " INT64_FORMAT " is " INT64_FORMAT " there, and " INT64_FORMAT " here again", pay_spi_text(i, 1), amount, there, back);
		}
	}
	say(test, "every currency: amounts go there and come back the same, or are refused", !wrong,
		wrong ? wrong : psprintf("%d currencies; %d amounts are too fine for it", n, lossy));
}

/* ---------- samples ---------- */

static void
test_sample(Test *test, Jsonb *sample, int n)
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
test_answer_sample(Test *test, Jsonb *sample, const char *name)
{
	char	   *kind_name = pay_json_text(sample, "command.kind");
	PayOpKind	kind = PAY_OP_CHARGE;
	PayCommand	command;
	int64		status = 200;
	int64		number;
	const char *body = sample_body(sample);
	PayAnswer	answer;
	Asked		asked = {.test = test, .question = PAY_QUESTION_CLASSIFY, .command = &command, .answer = &answer};
	const char *problem;
	char	   *text;

	if (kind_name && !pay_op_kind_parse(kind_name, &kind))
	{
		say(test, name, false, "its command is of no kind that there is");
		return;
	}
	command = command_of(kind);
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
	answer = answer_of((int) status, body, strlen(body));
	problem = ask(&asked);
	if (problem == NULL)
		problem = expected(sample, &asked.result);
	say(test, psprintf("%s: means what it should", name), problem == NULL, problem ? problem : result_text(&asked.result));
	if (problem || is_unknown(&asked.result))
		return;
	test_cut(test, name, &asked, body);
	if (asked.result.class == PAY_CLASS_APPROVED)
		test_mismatch(test, name, &asked);
}

/* Half of it proves nothing. */
static void
test_cut(Test *test, const char *name, Asked *asked, const char *body)
{
	size_t		bytes = strlen(body);
	const char *wrong = NULL;

	for (int i = 1; i < CUTS && !wrong && bytes >= CUTS; i++)
	{
		const char *half = pnstrdup(body, bytes * i / CUTS);
		PayAnswer	answer = answer_of(asked->answer->http_status, half, strlen(half));
		Asked		again = *asked;
		const char *problem;

		again.answer = &answer;
		problem = ask(&again);
		if (problem || !is_unknown(&again.result))
			wrong = psprintf("cut after %d bytes: %s", (int) strlen(half), problem ? problem : result_text(&again.result));
	}
	say(test, psprintf("%s: cut short it is unknown", name), !wrong, wrong);
}

/* It must say what the PSP says, and not what we asked for: then we see that they differ. */
static void
test_mismatch(Test *test, const char *name, Asked *asked)
{
	PayCommand	command = *asked->command;
	Asked		again = *asked;
	const char *problem;
	PayResult  *r = &again.result;

	again.command = &command;
	command.amount++;
	problem = ask(&again);
	say(test, psprintf("%s: another amount than we asked for is seen", name),
		!problem && (r->class != PAY_CLASS_APPROVED || r->effect == PAY_EFFECT_VOIDED || r->amount != command.amount), problem ? problem : result_text(r));
	command = *asked->command;
	command.currency = strcmp(command.currency, "SEK") == 0 ? "NOK" : "SEK";
	problem = ask(&again);
	say(test, psprintf("%s: another currency too", name),
		!problem && (r->class != PAY_CLASS_APPROVED || (r->currency && strcmp(r->currency, command.currency) != 0)), problem ? problem : result_text(r));
	command = *asked->command;
	command.psp_ref = OTHER_REF;
	problem = ask(&again);
	say(test, psprintf("%s: the answer to another operation too", name),
		!problem && (r->class != PAY_CLASS_APPROVED || !asked->result.psp_ref), problem ? problem : asked->result.psp_ref ? result_text(r) : "the answer names no operation");
}

/* ---------- events ---------- */

static void
test_event_sample(Test *test, Jsonb *sample, const char *name)
{
	const char *body = sample_body(sample);
	PayInbound	inbound = {.body = body, .body_bytes = strlen(body)};
	Asked		asked = {.test = test, .question = PAY_QUESTION_PARSE, .inbound = &inbound};
	Asked		again = asked;
	const char *problem = ask(&asked);
	const PayPspEvent *event;

	if (problem == NULL && (!asked.built || asked.events.n == 0))
		problem = "it reads no event in it";
	event = problem ? NULL : &asked.events.list[0];
	if (event)
		problem = differs(sample, "event_id", event->event_id);
	if (event && problem == NULL)
		problem = expected(sample, &event->result);
	say(test, psprintf("%s: means what it should", name), problem == NULL, problem ? problem : result_text(&event->result));
	if (problem)
		return;
	problem = ask(&again);
	say(test, psprintf("%s: is known when it comes again", name),
		!problem && again.events.n == asked.events.n && strcmp(again.events.list[0].event_id, event->event_id) == 0 &&
		strcmp(result_text(&again.events.list[0].result), result_text(&event->result)) == 0, problem);
	say(test, psprintf("%s: names its payment, so that it may come in any order", name),
		!event->relevant || event->result.psp_ref || event->result.psp_payment_id, NULL);
	test_signature(test, name, &inbound);
}

static void
test_signature(Test *test, const char *name, PayInbound *inbound)
{
	const PayScheme *scheme = test->adapter->scheme;
	char	  **signed_headers;

	say(test, psprintf("%s: unsigned it is not believed", name), verdict_of(test, inbound, NULL, TEST_SECRET, NOW) != PAY_VERDICT_OK, NULL);
	/* How others sign is in their code. */
	if (scheme == NULL || scheme->verify == PAY_VERIFY_ASK)
		return;
	signed_headers = pay_scheme_sign_event(scheme, TEST_SECRET, "evt_1", NOW, inbound->body, inbound->body_bytes);
	say(test, psprintf("%s: signed it is", name), verdict_of(test, inbound, signed_headers, TEST_SECRET, NOW) == PAY_VERDICT_OK, NULL);
	say(test, psprintf("%s: not with another secret, or none", name),
		verdict_of(test, inbound, signed_headers, "b3RoZXI=", NOW) == PAY_VERDICT_WRONG && verdict_of(test, inbound, signed_headers, NULL, NOW) != PAY_VERDICT_OK, NULL);
	if (scheme->verify == PAY_VERIFY_STANDARD || scheme->event.time_header)
		say(test, psprintf("%s: nor an hour late, or early", name),
			verdict_of(test, inbound, signed_headers, TEST_SECRET, NOW + 3600) == PAY_VERDICT_TOO_OLD &&
			verdict_of(test, inbound, signed_headers, TEST_SECRET, NOW - 3600) == PAY_VERDICT_AHEAD, NULL);
	else
		say(test, psprintf("%s: its signature has no time", name), true, "one that is repeated is known by its event_id alone");
}

static PayVerdict
verdict_of(Test *test, PayInbound *inbound, char **lines, const char *secret, int64 now)
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

static const char *
result_text(const PayResult *r)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, pay_class_name(r->class));
	if (r->effect != PAY_EFFECT_NONE)
		appendStringInfo(&text, ", %s " INT64_FORMAT " %s, object %s", pay_effect_name(r->effect), r->amount, r->currency ? r->currency : "-", r->object_id ? r->object_id : "-");
	if (r->codes[0])
		appendStringInfo(&text, ", code %s", r->codes[0]);
	if (r->inquiry_found_nothing)
		appendStringInfoString(&text, ", found nothing");
	return text.data;
}

static bool
is_unknown(const PayResult *result)
{
	return result->class == PAY_CLASS_UNKNOWN && !result->inquiry_found_nothing;
}
