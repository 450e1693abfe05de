/*
 * src/inbound/webhook.c
 *		receive_webhook(): an event that the PSP has sent to the application.
 *
 * The signature is checked over the raw bytes before anything is parsed.  All
 * happens in the caller's transaction; see inbound/psp_event.c.
 */
#include "payments.h"

#include "core/secrets.h"
#include "core/spi.h"
#include "inbound/psp_event.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Stripe's events are a few kB; anything near this is not one. */
#define BODY_BYTES_MAX (1024 * 1024)

static const PayAdapter *find_adapter(const char *psp, char **secret_name);
static char *find_header(Jsonb *headers, const char *name);
static void verify(const PayAdapter *adapter, const char *psp, const char *secret_name, Jsonb *headers,
				   const char *body, size_t bytes, TimestampTz now);
static Datum result_row(FunctionCallInfo fcinfo, const char *event_id, bool duplicate, const pg_uuid_t *payment_id, const char *status);

PAY_FUNCTION(pay_receive_webhook);

static PayStmt find_psp = PAY_STMT(SPI_OK_SELECT,
	"SELECT adapter, secret FROM payments.psp WHERE psp = $1", TEXTOID);
static PayStmt find_first = PAY_STMT(SPI_OK_SELECT,
	"SELECT e.payment_id, p.status FROM payments.psp_event e LEFT JOIN payments.payment p USING (payment_id) "
	"WHERE e.psp = $1 AND e.event_id = $2", TEXTOID, TEXTOID);

/* receive_webhook(psp, headers, body) */
Datum
pay_receive_webhook(PG_FUNCTION_ARGS)
{
	char	   *psp;
	Jsonb	   *headers;
	bytea	   *raw;
	char	   *body;
	size_t		bytes;
	char	   *secret_name;
	const PayAdapter *adapter;
	PayWebhook	webhook = {0};
	PayReport	report;
	PayInboundEvent event;
	TimestampTz now = GetCurrentTimestamp();

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_MALFORMED),
				 errmsg("psp, headers and body must not be null"),
				 errhint("Pass the request's headers as a JSON object and its body as the bytes received.")));
	psp = text_to_cstring(PG_GETARG_TEXT_PP(0));
	headers = PG_GETARG_JSONB_P(1);
	raw = PG_GETARG_BYTEA_PP(2);
	bytes = VARSIZE_ANY_EXHDR(raw);
	if (bytes > BODY_BYTES_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_TOO_LARGE),
				 errmsg("webhook body is larger than %d bytes", BODY_BYTES_MAX),
				 errhint("Answer 413 to the sender; no PSP sends such bodies.")));
	body = palloc(bytes + 1);
	memcpy(body, VARDATA_ANY(raw), bytes);
	body[bytes] = '\0';

	pay_spi_begin();
	adapter = find_adapter(psp, &secret_name);
	verify(adapter, psp, secret_name, headers, body, bytes, now);
	if (!adapter->parse_event(body, bytes, &webhook))
		ereport(ERROR,
				(errcode(PAY_ERR_WEBHOOK_MALFORMED),
				 errmsg("webhook body is not an event of PSP \"%s\"", psp),
				 errhint("Pass the body exactly as received, as bytea."),
				 errhidestmt(true)));

	event = (PayInboundEvent) {.psp = psp, .webhook = &webhook, .source = "webhook", .headers = headers, .body = body, .body_bytes = bytes,
		.wait = true, .actor = GetUserNameFromId(GetOuterUserId(), false)
	};
	if (!pay_event_take(&event, now, &report))
	{
		PayArgs		args = {0};
		bool		known;
		pg_uuid_t	payment_id;
		char	   *status;

		pay_arg_text(&args, psp);
		pay_arg_text(&args, webhook.event_id);
		known = pay_spi_exec(&find_first, &args) == 1 && !pay_spi_isnull(0, 1);
		if (known)
			payment_id = pay_spi_uuid(0, 1);
		status = known ? pay_spi_text(0, 2) : NULL;
		pay_spi_end();
		return result_row(fcinfo, webhook.event_id, true, known ? &payment_id : NULL, status);
	}
	pay_spi_end();
	ForceSyncCommit();
	return result_row(fcinfo, webhook.event_id, false, report.outcome != PAY_OUTCOME_UNMATCHED ? &report.payment_id : NULL, report.status);
}

static const PayAdapter *
find_adapter(const char *psp, char **secret_name)
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
	adapter = pay_psp_adapter(pay_spi_text(0, 1));
	if (adapter == NULL || adapter->verify == NULL)
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
	return adapter;
}

/* Header names know no case.  Two headers of one name are refused: which one did the sender sign? */
static char *
find_header(Jsonb *headers, const char *name)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	char	   *found = NULL;

	if (!JB_ROOT_IS_OBJECT(headers))
		return NULL;
	it = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		bool		match;

		if (token != WJB_KEY)
			continue;
		match = v.val.string.len == (int) strlen(name) && pg_strncasecmp(v.val.string.val, name, v.val.string.len) == 0;
		if (JsonbIteratorNext(&it, &v, true) != WJB_VALUE || !match)
			continue;
		if (v.type != jbvString || found != NULL)
			ereport(ERROR,
					(errcode(PAY_ERR_WEBHOOK_MALFORMED),
					 errmsg("header \"%s\" is not one string", name),
					 errhint("Pass each header once, as a string.")));
		found = pnstrdup(v.val.string.val, v.val.string.len);
	}
	return found;
}

static void
verify(const PayAdapter *adapter, const char *psp, const char *secret_name, Jsonb *headers,
	   const char *body, size_t bytes, TimestampTz now)
{
	const char *problem = NULL;
	char	   *header = find_header(headers, adapter->signature_header);
	char	   *secret;
	PaySignature verdict;

	if (header == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_SIGNATURE),
				 errmsg("webhook has no signature"),
				 errhint("Pass the request header \"%s\" in headers.", adapter->signature_header)));
	secret = pay_secret_find(secret_name, &problem);
	if (secret == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_SECRET_UNAVAILABLE),
				 errmsg("the webhook secret of PSP \"%s\" is not available", psp),
				 problem ? errdetail("%s", problem) : 0,
				 errhint("Put \"%s = whsec_...\" into the file that payments.secrets_file names.", secret_name)));
	verdict = adapter->verify(header, secret, body, bytes,
							  (int64) ((now / USECS_PER_SEC) + ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)));
	explicit_bzero(secret, strlen(secret));

	switch (verdict)
	{
		case PAY_SIGNATURE_OK:
			return;
		case PAY_SIGNATURE_TOO_OLD:
		case PAY_SIGNATURE_AHEAD:
			ereport(ERROR,
					(errcode(PAY_ERR_TIMESTAMP),
					 errmsg("webhook timestamp is too far in the %s", verdict == PAY_SIGNATURE_AHEAD ? "future" : "past"),
					 errhint("Check the server's clock; replayed requests are refused."),
					 errhidestmt(true)));
			break;
		case PAY_SIGNATURE_MISSING:
		case PAY_SIGNATURE_MALFORMED:
		case PAY_SIGNATURE_WRONG:
			break;
	}
	ereport(ERROR,
			(errcode(PAY_ERR_SIGNATURE),
			 errmsg("webhook signature is %s", verdict == PAY_SIGNATURE_WRONG ? "wrong" : "malformed"),
			 errhint("Pass the body exactly as received, and check the webhook secret."),
			 errhidestmt(true)));		/* it may hold the whole body */
}

static Datum
result_row(FunctionCallInfo fcinfo, const char *event_id, bool duplicate, const pg_uuid_t *payment_id, const char *status)
{
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, payment_id == NULL, status == NULL};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	values[0] = CStringGetTextDatum(event_id);
	values[1] = BoolGetDatum(duplicate);
	if (payment_id)
		values[2] = UUIDPGetDatum(payment_id);
	if (status)
		values[3] = CStringGetTextDatum(status);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
