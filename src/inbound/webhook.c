/*
 * src/inbound/webhook.c
 *		receive_webhook(): events that the PSP has sent to the application.
 *
 * The request is verified before anything of it is believed; of a PSP that
 * signs nothing, nothing is believed at all.  All happens in the caller's
 * transaction; see inbound/psp_event.c.
 */
#include "payments.h"

#include "base/json.h"
#include "core/arguments.h"
#include "core/secrets.h"
#include "core/caller.h"
#include "core/spi.h"
#include "inbound/psp_event.h"
#include "payment/adapter.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Events are a few kB each; anything near this is none. */
#define BODY_BYTES_MAX (1024 * 1024)
#define HEADERS_BYTES_MAX (256 * 1024)
#define SECRETS_MAX 2

static PayInboundEvent *receive(FunctionCallInfo fcinfo, PayEvents *events);
static const PayAdapter *find_adapter(const char *psp, char **secret_name, PayInbound *inbound);
static void read_body(bytea *raw, PayInbound *inbound);
static void read_headers(Jsonb *headers, PayInbound *inbound);
static Jsonb *storable(const PayInbound *inbound);
static bool verify(const PayAdapter *adapter, const char *psp, const char *secret_name, PayInbound *inbound, TimestampTz now);
static int	find_secrets(const char *name, char **secrets, const char **problem);
static bool may_hold_secret(const PayHeader *header);
static PayInboundEvent *take(const char *psp, const PayInbound *inbound, const PayEvents *events, bool hint, TimestampTz now);
static const PayInboundEvent *most_telling(const PayInboundEvent *events, int n);
static Datum result_row(FunctionCallInfo fcinfo, const PayInboundEvent *events, const PayEvents *parsed);

PAY_FUNCTION(pay_receive_webhook);

static PayStmt find_psp = PAY_STMT(SPI_OK_SELECT,
	"SELECT adapter, secret, nullif(config, '{}')::text FROM payments.psp WHERE psp = $1", TEXTOID);

/* receive_webhook(psp, headers, body) */
PAY_VERB_UNSEEN(pay_receive_webhook)
{
	PayEvents	events = {0};
	PayInboundEvent *taken = receive(fcinfo, &events);

	return result_row(fcinfo, taken, &events);
}

static PayInboundEvent *
receive(FunctionCallInfo fcinfo, PayEvents *events)
{
	char	   *psp;
	char	   *secret_name;
	const PayAdapter *adapter;
	PayInbound	inbound = {0};
	PayInboundEvent *taken;
	bool		trusted;
	TimestampTz now = GetCurrentTimestamp();

	pay_refuse_card_number(pay_text_argument(fcinfo, 0), "psp");
	pay_require_writable();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_MALFORMED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "psp" : PG_ARGISNULL(1) ? "headers" : "body"),
				 errhint("Pass the request's headers as a JSON object and its body as the bytes received.")));
	psp = text_to_cstring(PG_GETARG_TEXT_PP(0));
	read_body(PG_GETARG_BYTEA_PP(2), &inbound);
	read_headers(PG_GETARG_JSONB_P(1), &inbound);

	pay_spi_begin();
	adapter = find_adapter(psp, &secret_name, &inbound);
	trusted = verify(adapter, psp, secret_name, &inbound, now);
	if (!pay_adapter_parse(adapter, &inbound, events) || events->n > PAY_EVENTS_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_MALFORMED),
				 errmsg("webhook body is not an event of PSP \"%s\"", psp),
				 events->field ? errdetail("The field \"%s\" is missing, or is not what an event has there.", events->field) : 0,
				 errhint("Pass the body exactly as received, as bytea: not parsed and written again, and not as a string of JSON.")));
	taken = take(psp, &inbound, events, !trusted, now);
	pay_spi_end();
	ForceSyncCommit();
	return taken;
}

static void
read_body(bytea *raw, PayInbound *inbound)
{
	char	   *body;

	inbound->body_bytes = VARSIZE_ANY_EXHDR(raw);
	if (inbound->body_bytes > BODY_BYTES_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_TOO_LARGE),
				 errmsg("webhook body is larger than %d bytes", BODY_BYTES_MAX),
				 errhint("Answer 413 to the sender; no PSP sends such bodies.")));
	body = palloc(inbound->body_bytes + 1);
	memcpy(body, VARDATA_ANY(raw), inbound->body_bytes);
	body[inbound->body_bytes] = '\0';
	inbound->body = body;
}

static const PayAdapter *
find_adapter(const char *psp, char **secret_name, PayInbound *inbound)
{
	PayArgs		args = {0};
	const PayAdapter *adapter;
	char	   *secret;

	pay_arg_text(&args, psp);
	if (pay_spi_exec(&find_psp, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_PSP_UNKNOWN),
				 errmsg("PSP \"%s\" does not exist", psp),
				 errhint("Create it with payments.create_psp().")));
	adapter = pay_adapter_find(pay_spi_text(0, 1));
	if (adapter == NULL || !pay_psp_sends_events(adapter))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_SUPPORTED),
				 errmsg("PSP \"%s\" sends no webhooks", psp),
				 errhint("Pass the name of the PSP that the request came from.")));
	secret = pay_spi_text(0, 2);
	if (secret == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_SECRET_UNAVAILABLE),
				 errmsg("PSP \"%s\" has no secret configured", psp),
				 errhint("Name an entry of the secrets file with create_psp(secret => ...).")));
	*secret_name = psprintf("%s.webhook", secret);
	inbound->config = pay_spi_text(0, 3);
	return adapter;
}

/* All headers of the request; values that are not one string are kept as such, in case somebody asks for one. */
static void
read_headers(Jsonb *headers, PayInbound *inbound)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	PayHeader  *list;

	if (VARSIZE(headers) > HEADERS_BYTES_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_TOO_LARGE),
				 errmsg("the headers are larger than %d bytes", HEADERS_BYTES_MAX),
				 errhint("Answer 413 to the sender; no PSP sends such headers.")));
	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_MALFORMED),
				 errmsg("the headers are not an object"),
				 errhint("Pass the request's headers as a JSON object of strings.")));
	list = palloc(sizeof(PayHeader) * Max(JB_ROOT_COUNT(headers), 1));
	it = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		PayHeader  *header = &list[inbound->n_headers];

		if (token != WJB_KEY)
			continue;
		header->name = v.val.string.val;
		header->name_bytes = v.val.string.len;
		(void) JsonbIteratorNext(&it, &v, true);
		header->value = v.type == jbvString ? v.val.string.val : NULL;
		header->value_bytes = v.type == jbvString ? v.val.string.len : 0;
		inbound->n_headers++;
	}
	inbound->headers = list;
}

/* They say who we are to the sender, or its visitor to us: secrets are in no table. */
static bool
may_hold_secret(const PayHeader *header)
{
	return pay_header_is(header, "authorization") || pay_header_is(header, "proxy-authorization") || pay_header_is(header, "cookie");
}

/* The headers for psp_event: without secrets, and without what is not one string. */
static Jsonb *
storable(const PayInbound *inbound)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < inbound->n_headers; i++)
	{
		const PayHeader *header = &inbound->headers[i];
		JsonbValue	v = {.type = jbvString};

		if (header->value == NULL || may_hold_secret(header))
			continue;
		v.val.string.val = unconstify(char *, header->name);
		v.val.string.len = (int) header->name_bytes;
		pushJsonbValue(&state, WJB_KEY, &v);
		v.val.string.val = unconstify(char *, header->value);
		v.val.string.len = (int) header->value_bytes;
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return pay_json_mask_card_numbers(JsonbValueToJsonb(object));
}

/* Returns whether the events are to be believed; false: they are a hint, and the PSP is to be asked. */
static bool
verify(const PayAdapter *adapter, const char *psp, const char *secret_name, PayInbound *inbound, TimestampTz now)
{
	const char *problem = NULL;
	char	   *secrets[SECRETS_MAX + 1];
	int			n_secrets = find_secrets(secret_name, secrets, &problem);
	PayVerdict	verdict = pay_psp_verify(adapter, inbound, (const char *const *) secrets,
										 (int64) ((now / USECS_PER_SEC) + ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)));

	for (int i = 0; i < n_secrets; i++)
		explicit_bzero(secrets[i], strlen(secrets[i]));
	if (inbound->unusable)
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_MALFORMED),
				 errmsg("header \"%s\" is not one string", inbound->unusable),
				 errhint("Pass each header once, as a string.")));
	if (verdict == PAY_VERDICT_ASK_PSP)
		return false;
	if (verdict == PAY_VERDICT_MISSING && inbound->absent)
		ereport(ERROR,
				(errcode(PAY_ERR_SIGNATURE),
				 errmsg("webhook has no signature"),
				 errhint("Pass the request header \"%s\" in headers.", inbound->absent)));
	/* Whatever it says, without a secret nobody can know. */
	if (n_secrets == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_SECRET_UNAVAILABLE),
				 errmsg("the webhook secret of PSP \"%s\" is not available", psp),
				 problem ? errdetail("%s", problem) : 0,
				 errhint("Put \"%s = ...\" into the file that payments.secrets_file names.", secret_name)));
	switch (verdict)
	{
		case PAY_VERDICT_OK:
			return true;
		case PAY_VERDICT_TOO_OLD:
		case PAY_VERDICT_AHEAD:
			ereport(ERROR,
					(errcode(PAY_ERR_TIMESTAMP),
					 errmsg("webhook timestamp is too far in the %s", verdict == PAY_VERDICT_AHEAD ? "future" : "past"),
					 errhint("Check the server's clock; replayed requests are refused.")));
			break;
		case PAY_VERDICT_MISSING:
		case PAY_VERDICT_MALFORMED:
		case PAY_VERDICT_WRONG:
		case PAY_VERDICT_ASK_PSP:
			break;
	}
	ereport(ERROR,
			(errcode(PAY_ERR_SIGNATURE),
			 errmsg("webhook signature is %s", verdict == PAY_VERDICT_WRONG ? "wrong" : verdict == PAY_VERDICT_MISSING ? "missing" : "malformed"),
			 errhint("Pass the body exactly as received, and check the webhook secret.")));
	return false;
}

/* The one in force and, while it is being changed, the one before; NULL-terminated. */
static int
find_secrets(const char *name, char **secrets, const char **problem)
{
	const char *ignored;
	int			n = 0;

	secrets[n] = pay_secret_find(name, problem);
	if (secrets[n] && (secrets[++n] = pay_secret_find(psprintf("%s.previous", name), &ignored)) != NULL)
		n++;
	secrets[n] = NULL;
	return n;
}

static PayInboundEvent *
take(const char *psp, const PayInbound *inbound, const PayEvents *events, bool hint, TimestampTz now)
{
	PayInboundEvent *taken = palloc0(sizeof(PayInboundEvent) * Max(events->n, 1));
	/* Of whoever it was that sent a hint they say nothing. */
	Jsonb	   *headers = storable(hint ? &(PayInbound) {0} : inbound);

	for (int i = 0; i < events->n; i++)
	{
		const PayPspEvent *event = &events->list[i];

		taken[i].psp = psp;
		taken[i].event = event;
		taken[i].source = "webhook";
		taken[i].headers = headers;
		taken[i].body = event->raw.at ? event->raw.at : inbound->body;
		taken[i].body_bytes = event->raw.at ? event->raw.bytes : inbound->body_bytes;
		taken[i].hint = hint;
	}
	pay_events_take(taken, events->n, true, now, pay_caller_name());
	return taken;
}

/* Of several, the first that changed something; else the first about a payment of ours; else the first that is new; else the first. */
static const PayInboundEvent *
most_telling(const PayInboundEvent *events, int n)
{
	const PayInboundEvent *best = NULL;
	int			best_rank = -1;

	for (int i = 0; i < n; i++)
	{
		const PayInboundEvent *e = &events[i];
		int			rank = (e->duplicate ? 0 : 1) + (e->report.outcome != PAY_OUTCOME_UNMATCHED ? 2 : 0) +
			(e->report.outcome == PAY_OUTCOME_APPLIED ? 4 : 0);

		if (rank > best_rank)
		{
			best = e;
			best_rank = rank;
		}
	}
	return best;
}

static Datum
result_row(FunctionCallInfo fcinfo, const PayInboundEvent *events, const PayEvents *parsed)
{
	const PayInboundEvent *e = most_telling(events, parsed->n);
	bool		of_ours = e && e->report.outcome != PAY_OUTCOME_UNMATCHED;
	bool		all_known = parsed->n > 0;
	TupleDesc	desc;
	Datum		values[5] = {0};
	bool		nulls[5] = {e == NULL, false, !of_ours, !of_ours || e->report.status == NULL, parsed->reply == NULL};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	for (int i = 0; i < parsed->n; i++)
		all_known &= events[i].duplicate;
	if (e)
		values[0] = CStringGetTextDatum(e->event->event_id);
	values[1] = BoolGetDatum(all_known);
	if (!nulls[2])
		values[2] = UUIDPGetDatum(&e->report.payment_id);
	if (!nulls[3])
		values[3] = CStringGetTextDatum(e->report.status);
	if (!nulls[4])
		values[4] = CStringGetTextDatum(parsed->reply);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
