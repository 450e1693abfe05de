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
#include "payment/test_adapter_private.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

#define DETAIL_BYTES_MAX 300

static const char *ask_work(void *arg);
static void test_clock(PayTest *test);
static void test_requests(PayTest *test, PayOpKind kind);
static void test_same_bytes(PayTest *test, PayOpKind kind);
static void test_inquiry(PayTest *test, PayOpKind kind);
static void test_strange(PayTest *test, PayOpKind kind);
static const char *bytes_of(const PayTestAsked *asked);
static void test_no_answer(PayTest *test, PayOpKind kind);
static void test_unreadable(PayTest *test, PayOpKind kind);
static void test_in_process(PayTest *test, PayOpKind kind);
static void test_currencies(PayTest *test);

PAY_FUNCTION(pay_test_adapter);

static PayStmt read_currencies = PAY_STMT(SPI_OK_SELECT,
	"SELECT c.currency, c.exponent, coalesce(x.exponent, c.exponent), coalesce(x.multiple, 1) FROM payments.currency c "
	"LEFT JOIN payments.psp_currency x ON x.adapter = $1 AND x.currency = c.currency ORDER BY c.currency", TEXTOID);
static PayStmt find_clocks = PAY_STMT(SPI_OK_SELECT,
	"SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p "
	"JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner WHERE n.nspname = $1 AND r.rolname = $2 "
	"AND coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) ~* '\\m(current_(timestamp|date|time)|localtime|localtimestamp)\\M|''(now|today|tomorrow|yesterday)'''",
	TEXTOID, TEXTOID);
static PayStmt read_samples = PAY_STMT(SPI_OK_SELECT, "SELECT samples::text FROM payments.adapter WHERE adapter = $1", TEXTOID);

/* test_adapter(adapter, samples) */
PAY_VERB_UNSEEN(pay_test_adapter)
{
	PayTest		test = {.rows = (ReturnSetInfo *) fcinfo->resultinfo};
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
	pay_test_say(&test, "its functions can be called", pay_adapter_refusal(test.adapter) == NULL, pay_adapter_refusal(test.adapter));
	if (test.adapter->functions)
		test_clock(&test);
	for (int kind = PAY_OP_CHARGE; kind <= PAY_OP_LAST; kind++)
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
	pay_test_samples(&test);
	pay_test_say(&test, "it ends in time", !test.ran_out,
		psprintf("the slowest of its answers, %s, took " INT64_FORMAT " microseconds", test.slowest_of ? test.slowest_of : "none", test.slowest));
	pay_spi_end();
	return (Datum) 0;
}

void
pay_test_say(PayTest *test, const char *check, bool ok, const char *detail)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, detail == NULL};

	values[0] = CStringGetTextDatum(check);
	values[1] = BoolGetDatum(ok);
	values[2] = detail ? CStringGetTextDatum(pnstrdup(detail, pg_mbcliplen(detail, (int) strlen(detail), DETAIL_BYTES_MAX))) : (Datum) 0;
	tuplestore_putvalues(test->rows->setResult, test->rows->setDesc, values, nulls);
}

/* ---------- asking ---------- */

const char *
pay_test_ask(PayTestAsked *asked)
{
	static const char *const words[] = {"build", "build_inquiry", "classify", "parse"};
	PayTest	   *test = asked->test;
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
	PayTestAsked	   *asked = arg;
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
			asked->built = pay_adapter_build(adapter, asked->command, &asked->request, &asked->problem, NULL);
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

PayCommand
pay_test_command(PayOpKind kind)
{
	bool		first = kind == PAY_OP_CHARGE || kind == PAY_OP_AUTHORIZE || kind == PAY_OP_PAYOUT;

	return (PayCommand) {
		.kind = kind, .amount = 1050, .currency = "EUR", .exponent = 2, .payment_method = "pm_1", .order_ref = "order 1",
		.return_url = "https://shop.example/back?a=1&b=2", .psp_ref = PAY_TEST_REF, .generation = 1, .step = 1,
		.psp_payment_id = first ? NULL : "pay_1", .target_id = first ? NULL : "obj_1", .captured = first ? 0 : 1050,
		.destination = kind == PAY_OP_PAYOUT ? "to_1" : NULL
	};
}

/*
 * The server tells of each function that is called, but these are none.  So
 * sources are looked through, of all that their owner has in that schema.
 */
static void
test_clock(PayTest *test)
{
	const PayConfinedFunction *build = &test->adapter->functions->functions[PAY_QUESTION_BUILD];
	PayArgs		args = {0};

	pay_arg_text(&args, build->schema);
	pay_arg_text(&args, build->owner);
	pay_spi_exec(&find_clocks, &args);
	pay_test_say(test, "no function of it reads a clock", pay_spi_isnull(0, 1), pay_spi_text(0, 1));
}

/* ---------- requests ---------- */

static void
test_requests(PayTest *test, PayOpKind kind)
{
	const char *word = pay_op_kind_name(kind);
	PayCommand	command = pay_test_command(kind);
	PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_BUILD, .command = &command};
	const char *problem = pay_test_ask(&asked);
	const char *wrong = problem || !asked.built ? NULL : pay_request_problem(&asked.request);

	pay_test_say(test, psprintf("%s: a request is built", word), !problem && !wrong && (asked.built || asked.problem),
		problem ? problem : !asked.built ? psprintf("it says why it cannot be: %s", asked.problem ? asked.problem : "nothing") :
		wrong ? wrong : psprintf("%s %s", asked.request.method, asked.request.path));
	test_same_bytes(test, kind);
	command.psp_ref = NULL;
	problem = pay_test_ask(&asked);
	pay_test_say(test, psprintf("%s: none without a reference", word), !problem && !asked.built, problem);
	test_strange(test, kind);
	test_inquiry(test, kind);
}

static void
test_same_bytes(PayTest *test, PayOpKind kind)
{
	PayCommand	command = pay_test_command(kind);
	PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_BUILD, .command = &command};
	const char *problem = pay_test_ask(&asked);
	const char *first = bytes_of(&asked);
	const char *again;
	const char *next;

	if (problem == NULL)
		problem = pay_test_ask(&asked);
	again = bytes_of(&asked);
	pay_test_say(test, psprintf("%s: the same request gives the same bytes", pay_op_kind_name(kind)), !problem && strcmp(first, again) == 0, problem);
	test->in_other_session = true;
	if (problem == NULL)
		problem = pay_test_ask(&asked);
	test->in_other_session = false;
	pay_test_say(test, psprintf("%s: in a session with other settings too", pay_op_kind_name(kind)), !problem && strcmp(first, bytes_of(&asked)) == 0, problem);
	command.generation = 2;
	if (problem == NULL)
		problem = pay_test_ask(&asked);
	next = bytes_of(&asked);
	pay_test_say(test, psprintf("%s: the next generation is told from the first", pay_op_kind_name(kind)),
		!problem && (!asked.built || test->adapter->key_header || strcmp(first, next) != 0),
		problem ? problem : test->adapter->key_header ? psprintf("by the key in %s", test->adapter->key_header) : "by the bytes");
}

/* What a client may pass, and who would write another request with it. */
static void
test_strange(PayTest *test, PayOpKind kind)
{
	static const char *const texts[] = {
		"\r\nX-Injected: 1\r\n\r\n", "../../v1/other", "a/b?c=d&e=f", "\"}', \\", "%00%0d%0a", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xb3", "\x01\x7f", "{{command}}",
	};
	const char *wrong = NULL;
	const char *problem = NULL;

	for (size_t i = 0; i < lengthof(texts) && !wrong && !problem; i++)
	{
		PayCommand	command = pay_test_command(kind);
		PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_BUILD, .command = &command};

		command.payment_method = command.customer = command.order_ref = command.description = command.return_url = command.reason = texts[i];
		if (command.psp_payment_id)
			command.psp_payment_id = texts[i];
		problem = pay_test_ask(&asked);
		/* That it cannot be built is an answer; what is built must be a request, and its path ours. */
		if (!problem && asked.built)
			wrong = strstr(asked.request.path, texts[i]) ? "it stands in the path as it is" : pay_request_problem(&asked.request);
		if (wrong)
			wrong = psprintf("with text %d of \"%s\": %s", (int) i + 1, pay_op_kind_name(kind), wrong);
	}
	pay_test_say(test, psprintf("%s: whatever stands in it is escaped", pay_op_kind_name(kind)), !wrong && !problem, problem ? problem : wrong);
}

static void
test_inquiry(PayTest *test, PayOpKind kind)
{
	const char *word = pay_op_kind_name(kind);
	PayCommand	command = pay_test_command(kind);
	PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_BUILD_INQUIRY, .command = &command};
	const char *problem = pay_test_ask(&asked);
	const char *first = bytes_of(&asked);
	const char *wrong = problem || !asked.built ? NULL : pay_request_problem(&asked.request);
	/* Of one that has a name there already, by that; of a payout, among those to there. */
	bool		named = asked.built && (strstr(first, PAY_TEST_REF) || (command.psp_payment_id && strstr(first, command.psp_payment_id)) ||
										(kind == PAY_OP_PAYOUT && strstr(first, command.payment_method)));

	pay_test_say(test, psprintf("%s: an inquiry names the operation", word), !problem && !wrong && (named || !asked.built),
				 problem ? problem : !asked.built ? "there is none: what is in doubt is sent again, or waits for an event" : wrong ? wrong : pnstrdup(first, strcspn(first, "\n")));
	if (!problem)
		problem = pay_test_ask(&asked);
	pay_test_say(test, psprintf("%s: always in the same bytes", word), !problem && strcmp(first, bytes_of(&asked)) == 0, problem);
}

static const char *
bytes_of(const PayTestAsked *asked)
{
	const PayRequest *r = &asked->request;

	if (!asked->built)
		return psprintf("none: %s", asked->problem ? asked->problem : "");
	return psprintf("%s %s\n%s\n%s", r->method, r->path, r->content_type ? r->content_type : "", r->body ? r->body : "");
}

/* ---------- answers ---------- */

static void
test_no_answer(PayTest *test, PayOpKind kind)
{
	const char *word = pay_op_kind_name(kind);
	PayCommand	command = pay_test_command(kind);
	PayAnswer	answer;
	PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_CLASSIFY, .command = &command, .answer = &answer};
	const char *problem;

	pay_answer_init(&answer);
	problem = pay_test_ask(&asked);
	pay_test_say(test, psprintf("%s: a lost answer is unknown", word), !problem && pay_test_is_unknown(&asked.result), problem ? problem : pay_test_result_text(&asked.result));
	answer.transport = PAY_TRANSPORT_NOT_SENT;
	problem = pay_test_ask(&asked);
	pay_test_say(test, psprintf("%s: what never left is not sent", word), !problem && asked.result.class == PAY_CLASS_NOT_SENT, problem ? problem : pay_test_result_text(&asked.result));
	asked.inquiry = true;
	problem = pay_test_ask(&asked);
	pay_test_say(test, psprintf("%s: of a question that never left nothing is known", word), !problem && pay_test_is_unknown(&asked.result), problem ? problem : pay_test_result_text(&asked.result));
}

/* Whatever stands between us and the PSP may say that, after the PSP has done it. */
static void
test_unreadable(PayTest *test, PayOpKind kind)
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
				PayCommand	command = pay_test_command(kind);
				PayAnswer	answer = pay_test_answer(statuses[s], bodies[b], strlen(bodies[b]));
				PayTestAsked		asked = {.test = test, .question = PAY_QUESTION_CLASSIFY, .command = &command, .answer = &answer, .inquiry = inquiry};
				const char *problem = pay_test_ask(&asked);

				if (problem || !pay_test_is_unknown(&asked.result))
					wrong = psprintf("%s%d with \"%s\": %s", inquiry ? "asked for, " : "", statuses[s], bodies[b], problem ? problem : pay_test_result_text(&asked.result));
			}
	pay_test_say(test, psprintf("%s: an answer that it cannot read is unknown", pay_op_kind_name(kind)), !wrong, wrong);
}

PayAnswer
pay_test_answer(int status, const char *body, size_t bytes)
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
test_in_process(PayTest *test, PayOpKind kind)
{
	PayCommand	command = pay_test_command(kind);
	PayResult	first,
				second;

	test->adapter->perform(&command, false, &first);
	test->adapter->perform(&command, false, &second);
	pay_test_say(test, psprintf("%s: the same command gets the same answer", pay_op_kind_name(kind)), strcmp(pay_test_result_text(&first), pay_test_result_text(&second)) == 0, pay_test_result_text(&first));
}

/* ---------- currencies ---------- */

static void
test_currencies(PayTest *test)
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
	pay_test_say(test, "every currency: amounts go there and come back the same, or are refused", !wrong,
		wrong ? wrong : psprintf("%d currencies; %d amounts are too fine for it", n, lossy));
}

/* ---------- what they say ---------- */

const char *
pay_test_result_text(const PayResult *r)
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

bool
pay_test_is_unknown(const PayResult *result)
{
	return result->class == PAY_CLASS_UNKNOWN && !result->inquiry_found_nothing;
}
