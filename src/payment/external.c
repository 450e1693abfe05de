/*
 * src/payment/external.c
 *		claim() and complete(): the worker's two transactions, for others to call.
 *
 * An external worker outside of the server (one that must reach its PSP through a
 * gateway of its own, say) takes the same steps as worker.c through the same
 * functions: claim() leases operations and writes their attempt rows, the
 * external worker commits and only then sends, complete() reports what came back.
 * What the worker does in between, and nothing else, is the external worker's: the
 * connection and the secret.
 *
 * An external worker that dies leaves leases behind like a worker does; they run out,
 * and whoever claims next completes them as unknown.
 */
#include "payments.h"

#include "base/header.h"
#include "base/pan.h"
#include "base/uuid.h"
#include "core/arming.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/spi.h"
#include "core/subtransaction.h"
#include "core/wake.h"
#include "payment/adapter.h"
#include "payment/apply.h"
#include "payment/command.h"
#include "payment/dead_letter.h"
#include "payment/payment.h"
#include "payment/queue.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define NAME_BYTES_MAX 63
#define CLAIM_MAX 5000
#define LEASE_MS_MIN 1000
#define LEASE_MS_MAX (24 * 60 * 60 * 1000)
/* As much as the worker reads of an answer. */
#define BODY_BYTES_MAX (1024 * 1024)
#define ERROR_BYTES_MAX 128
/* claim() looks no more often than this, in a session, for what was kept. */
#define SWEEP_MS 1000

/* Whose answer complete() brings. */
typedef struct PayAttemptRow
{
	pg_uuid_t	payment_id;
	char	   *psp;
	bool		inquiry;
	int			generation;
	int			step;
	TimestampTz claimed_at;
} PayAttemptRow;

/* What is applied, or buried. */
typedef struct PayOutside
{
	PayReport  *report;
	TimestampTz now;
	const char *actor;
} PayOutside;

static void sweep(const char *worker);
static char *external_name(FunctionCallInfo fcinfo, int n);
static int	lease_ms(const Interval *lease);
static const char *find_route(const char *psp, bool *halted);
static void put_claim(ReturnSetInfo *rsinfo, const PayClaim *claim, const char *base_url);
static Datum claim_headers(const PayClaim *claim);
static void put_header(StringInfo json, const char *line);
static void apply_or_bury(PayOutside *outside);
static const char *apply_work(void *arg);
static PayAttemptRow find_attempt(const pg_uuid_t *operation_id, int attempt);
static void read_answer(FunctionCallInfo fcinfo, PayAnswer *answer, PayReport *report);
static void read_headers(const PayAdapter *adapter, Jsonb *headers, PayAnswer *answer);
static void classify(const PayAttemptRow *row, Jsonb *headers, PayAnswer *answer, TimestampTz now, const char *actor, PayReport *report);

PAY_FUNCTION(pay_claim_sql);
PAY_FUNCTION(pay_complete_sql);

/* Locked, so that it is not another account's by the commit of the claim; see payment/create_psp.c. */
static PayStmt read_psp = PAY_STMT(SPI_OK_SELECT,
	"SELECT adapter, base_url, halted_at IS NOT NULL FROM payments.psp WHERE psp = $1 FOR SHARE", TEXTOID);
static PayStmt read_status = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE o.operation_id = $1", UUIDOID);
static PayStmt read_attempt = PAY_STMT(SPI_OK_SELECT,
	"SELECT o.payment_id, coalesce((SELECT d.former_psp FROM payments.route_decision d "
	"  WHERE d.payment_id = o.payment_id AND d.operation_id = o.operation_id AND d.generation > a.generation ORDER BY d.generation LIMIT 1), o.psp), "
	" a.action = 'inquire', a.generation, a.claimed_at, a.step "
	"FROM payments.attempt a JOIN payments.operation o ON o.operation_id = a.operation_id "
	"WHERE a.operation_id = $1 AND a.attempt = $2", UUIDOID, INT4OID);

/* ---------- claim ---------- */

/* claim(worker, max, lease, psp) */
PAY_VERB(pay_claim_sql)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *worker;
	int			max = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	int			ms = PG_ARGISNULL(2) ? 0 : lease_ms(PG_GETARG_INTERVAL_P(2));
	char	   *psp = PG_ARGISNULL(3) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(3));
	const char *base_url;
	bool		halted;
	PayClaim   *claims = NULL;
	int			n = 0;
	int			touched;
	pg_uuid_t	first;

	pay_refuse_card_arguments(fcinfo);
	worker = external_name(fcinfo, 0);
	if (max < 1 || max > CLAIM_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max must be between 1 and %d", CLAIM_MAX),
				 errhint("It is how many operations this call may lease.")));
	if (ms < LEASE_MS_MIN || ms > LEASE_MS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease must be between one second and one day"),
				 errhint("Past it the outcome of what was claimed counts as unknown; allow for your slowest call.")));
	InitMaterializedSRF(fcinfo, 0);

	pay_spi_begin();
	base_url = find_route(psp, &halted);
	if (!halted)
	{
		sweep(worker);
		(void) pay_expiry_sweep(GetCurrentTimestamp(), worker);
		n = pay_queue_claim(psp, worker, max, ms, GetCurrentTimestamp(), NULL, NULL, 0, &claims, &touched, &first);
	}
	if (n > 0 && base_url)
	{
		/* In the same commit; the worker, or the next of these calls, makes it final. */
		pay_arms_used();
		(void) pay_take_arms(false);
		pay_wake_at_commit();
	}
	pay_spi_end();
	/* What a crash forgets after it was sent looks as if it never was. */
	ForceSyncCommit();
	for (int i = 0; i < n; i++)
		put_claim(rsinfo, &claims[i], base_url);
	return (Datum) 0;
}

/* As the worker does; cheap, as next to nothing waits so. */
static void
sweep(const char *worker)
{
	static TimestampTz swept_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (now >= swept_at && now < swept_at + SWEEP_MS * INT64CONST(1000))
		return;
	swept_at = now;
	pay_unmatched_sweep(now, worker);
}

/* Marked, so that no external worker takes the name under which the worker recovers its own leases. */
static char *
external_name(FunctionCallInfo fcinfo, int n)
{
	char	   *name = PG_ARGISNULL(n) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(n));
	bool		printable = true;

	for (const unsigned char *p = (const unsigned char *) name; *p; p++)
		printable = printable && *p >= 0x20 && *p != 0x7f;
	if (name[0] == '\0' || strlen(name) > NAME_BYTES_MAX || !printable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("worker must be a name of 1 to %d printable bytes", NAME_BYTES_MAX),
				 errhint("It names the process that sends, such as the host and process id.")));
	return psprintf("external:%s", name);
}

/* Milliseconds, as near as an int takes them; the caller judges the range. */
static int
lease_ms(const Interval *lease)
{
	double		ms = (double) lease->time / 1000 + ((double) lease->day + (double) lease->month * DAYS_PER_MONTH) * SECS_PER_DAY * 1000;

	return (int) Max(Min(ms, (double) PG_INT32_MAX), 0);
}

/* Returns the base URL (NULL of an in-process adapter).  Raises unless this cluster may send to the PSP. */
static const char *
find_route(const char *psp, bool *halted)
{
	PayArgs		args = {0};
	const PayAdapter *adapter;
	char	   *base_url;
	const char *unarmed;
	const char *problem;

	pay_arg_text(&args, psp);
	if (pay_spi_exec(&read_psp, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_PSP_UNKNOWN),
				 errmsg("PSP \"%s\" does not exist", psp),
				 errhint("SELECT psp FROM payments.psp lists them.")));
	adapter = pay_adapter_find(pay_spi_text(0, 1));
	base_url = pay_spi_text(0, 2);
	*halted = pay_spi_bool(0, 3);
	if (adapter == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_ADAPTER_UNKNOWN),
				 errmsg("the library has no adapter for PSP \"%s\"", psp),
				 errhint("Install the version of payments that made this PSP.")));
	if (adapter->in_process)
		return NULL;
	problem = pay_adapter_refusal(adapter);
	if (problem)
		ereport(ERROR,
				(errcode(PAY_ERR_ADAPTER_UNKNOWN),
				 errmsg("the adapter of PSP \"%s\" cannot be asked: %s", psp, problem),
				 errhint("SELECT payments.create_adapter(...) once more, with functions as docs/adapter.md wants them.")));
	unarmed = pay_take_arms(false);
	if (unarmed)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ARMED),
				 errmsg("nothing is sent to PSP \"%s\" from here", psp),
				 errdetail("%s", unarmed),
				 errhint("If this is the one database that may charge, run SELECT payments.arm().")));
	return base_url ? base_url : adapter->default_base_url;
}

static void
put_claim(ReturnSetInfo *rsinfo, const PayClaim *claim, const char *base_url)
{
	Datum		values[7] = {0};
	bool		nulls[7] = {false, false, false, base_url == NULL, false, claim->request.body == NULL, claim->psp_key == NULL};

	values[0] = UUIDPGetDatum(&claim->operation_id);
	values[1] = Int32GetDatum(claim->attempt);
	values[2] = CStringGetTextDatum(claim->request.method);
	if (base_url)
		values[3] = CStringGetTextDatum(psprintf("%s%s", base_url, claim->request.path));
	values[4] = claim_headers(claim);
	if (claim->request.body)
		values[5] = CStringGetTextDatum(claim->request.body);
	if (claim->psp_key)
		values[6] = CStringGetTextDatum(claim->psp_key);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* What the worker would send, but for the secret. */
static Datum
claim_headers(const PayClaim *claim)
{
	PayHeaders	headers;
	StringInfoData json;

	pay_psp_headers(claim->adapter, &claim->request, NULL, claim->psp_key, &headers);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < headers.n; i++)
		put_header(&json, headers.list[i]);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
put_header(StringInfo json, const char *line)
{
	PayHeader	header;

	if (!pay_header_split(line, strlen(line), &header))
		return;
	if (json->len > 1)
		appendStringInfoChar(json, ',');
	escape_json(json, pnstrdup(header.name, header.name_bytes));
	appendStringInfoChar(json, ':');
	escape_json(json, pnstrdup(header.value, header.value_bytes));
}

/* ---------- complete ---------- */

/* complete(operation_id, attempt, http_status, headers, body, error) */
PAY_VERB_UNSEEN(pay_complete_sql)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *actor = pay_caller_name();
	PayAttemptRow row;
	Jsonb	   *headers = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	PayAnswer	answer;
	PayReport	report = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operation_id and attempt must not be null"),
				 errhint("Pass those that claim() returned.")));
	report.operation_id = *PG_GETARG_UUID_P(0);
	report.attempt = PG_GETARG_INT32(1);
	read_answer(fcinfo, &answer, &report);
	if (headers && !JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers is not a JSON object"),
				 errhint("Pass the answer's headers as names and values.")));

	pay_spi_begin();
	row = find_attempt(&report.operation_id, report.attempt);
	report.psp = row.psp;
	report.source = row.inquiry ? PAY_SOURCE_INQUIRY : PAY_SOURCE_ANSWER;
	report.elapsed_ms = (int) Min(Max((now - row.claimed_at) / 1000, 0), PG_INT32_MAX);
	classify(&row, headers, &answer, now, actor, &report);
	apply_or_bury(&(PayOutside) {&report, now, actor});
	(void) pay_take_arms(false);
	pay_spi_end();
	ForceSyncCommit();
	PG_RETURN_TEXT_P(cstring_to_text(report.status));
}

/* As of the worker: an answer that cannot be booked is a dead letter, instead of one that is asked for again and again. */
static void
apply_or_bury(PayOutside *outside)
{
	ErrorData  *error;
	const char *problem = pay_try(apply_work, outside, &error);
	PayArgs		args = {0};

	if (problem == NULL)
		return;
	if (pay_error_passes(error) ||
		!pay_dead_letter_bury(&outside->report->operation_id, pay_dead_letter_reason(error->sqlerrcode), problem, outside->now, outside->actor))
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("the answer cannot be booked: %s", problem),
			 errhint("Its operation is a dead letter: see payments.dead_letter.")));
	pay_arg_uuid(&args, &outside->report->operation_id);
	pay_spi_exec(&read_status, &args);
	outside->report->status = pay_spi_text(0, 1);
}

static const char *
apply_work(void *arg)
{
	PayOutside *outside = arg;

	pay_apply(outside->report, 1, true, outside->now, outside->actor);
	return NULL;
}

static PayAttemptRow
find_attempt(const pg_uuid_t *operation_id, int attempt)
{
	PayArgs		args = {0};
	PayAttemptRow row;

	pay_arg_uuid(&args, operation_id);
	pay_arg_int32(&args, attempt);
	if (pay_spi_exec(&read_attempt, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_LEASE_LOST),
				 errmsg("attempt %d of operation %s does not exist", attempt, pay_uuid_text(operation_id)),
				 errhint("Pass the operation_id and the attempt that claim() returned, after its commit.")));
	row.payment_id = pay_spi_uuid(0, 1);
	row.psp = pay_spi_text(0, 2);
	row.inquiry = pay_spi_bool(0, 3);
	row.generation = pay_spi_int32(0, 4);
	row.claimed_at = pay_spi_time(0, 5);
	row.step = pay_spi_int32(0, 6);
	return row;
}

static void
read_answer(FunctionCallInfo fcinfo, PayAnswer *answer, PayReport *report)
{
	char	   *error = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	bytea	   *body = PG_ARGISNULL(4) ? NULL : PG_GETARG_BYTEA_PP(4);

	pay_answer_init(answer);
	answer->transport = PG_ARGISNULL(2) ? PAY_TRANSPORT_LOST : PAY_TRANSPORT_ANSWERED;
	answer->http_status = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	if (answer->transport == PAY_TRANSPORT_ANSWERED && (answer->http_status < 100 || answer->http_status > 599))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("http_status must be between 100 and 599"),
				 errhint("Pass null when there was no answer, or not a whole one.")));

	/* Whatever is too large to be read may have said anything. */
	if (body && VARSIZE_ANY_EXHDR(body) > BODY_BYTES_MAX)
	{
		answer->transport = PAY_TRANSPORT_LOST;
		answer->http_status = 0;
		error = psprintf("answer is larger than %d bytes", BODY_BYTES_MAX);
		body = NULL;
	}
	answer->body_bytes = body ? VARSIZE_ANY_EXHDR(body) : 0;
	answer->body = "";
	if (body)
	{
		char	   *copy = palloc(answer->body_bytes + 1);

		memcpy(copy, VARDATA_ANY(body), answer->body_bytes);
		copy[answer->body_bytes] = '\0';
		answer->body = copy;
	}

	report->http_status = answer->http_status;
	report->body = answer->body;
	report->body_bytes = answer->body_bytes;
	if (error)
	{
		char	   *printable = palloc(ERROR_BYTES_MAX);

		pay_mask_text(error, strlen(error));
		pay_copy_printable(printable, ERROR_BYTES_MAX, error, strlen(error));
		report->error = printable;
	}
}

/* What is not a string says nothing. */
static void
read_headers(const PayAdapter *adapter, Jsonb *headers, PayAnswer *answer)
{
	JsonbIterator *it = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		PayHeader	header;

		if (token != WJB_KEY)
			continue;
		header.name = v.val.string.val;
		header.name_bytes = v.val.string.len;
		if (JsonbIteratorNext(&it, &v, true) != WJB_VALUE || v.type != jbvString)
			continue;
		header.value = v.val.string.val;
		header.value_bytes = v.val.string.len;
		if (pay_header_is(&header, "retry-after"))
			answer->retry_after_s = pay_header_retry_after(&header);
		else
			pay_psp_read_header(adapter, &header, answer);
	}
}

/* The answer is read as that of its attempt: one of an earlier generation names that generation's objects. */
static void
classify(const PayAttemptRow *row, Jsonb *headers, PayAnswer *answer, TimestampTz now, const char *actor, PayReport *report)
{
	PayPayments *set = pay_payments_load(&row->payment_id, 1, now, actor);
	PayOperation *operation = set->n == 1 ? pay_payment_operation(&set->list[0], &report->operation_id) : NULL;
	const PayAdapter *adapter;
	PayCommand	command = {0};

	pay_result_init(&report->result);
	/* It may have gone to another PSP since. */
	if (set->n == 1 && strcmp(set->list[0].psp, row->psp) != 0 && !pay_payment_place(&set->list[0], row->psp))
		return;
	adapter = set->n == 1 ? set->list[0].adapter : NULL;
	if (operation == NULL || adapter == NULL || !pay_queue_command(&set->list[0], operation, &command))
		return;
	if (command.generation != row->generation)
		command.psp_payment_id = NULL;	/* that of another generation's object */
	command.generation = row->generation;
	command.step = row->step;
	if (headers)
		read_headers(adapter, headers, answer);
	report->request_id = answer->request_id;
	if (!adapter->in_process)
		pay_adapter_classify(adapter, &command, row->inquiry, answer, &report->result);
	else if (answer->transport == PAY_TRANSPORT_ANSWERED)
		adapter->perform(&command, row->inquiry, &report->result);
}
