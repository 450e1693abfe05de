/*
 * src/inbound/psp_event.c
 *		A PSP's event, whichever way it came: stored once, applied once.
 *
 * The row of psp_event makes a duplicate harmless; it and the effect commit
 * together or not at all, so a crash cannot leave "seen" without effect.
 */
#include "payments.h"

#include "inbound/psp_event.h"

#include "base/json.h"
#include "base/uuid.h"
#include "core/spi.h"
#include "payment/adapter_json.h"
#include "payment/idempotency.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Of what anybody can send, so much is kept. */
#define HINT_BODY_BYTES_MAX 4096

static int *by_id(const PayInboundEvent *events, int n);
static int	compare_ids(const void *a, const void *b, void *events);
static void recall(PayInboundEvent *e, TimestampTz now);
static void conclude(PayInboundEvent *e, TimestampTz now);
static const char *id_of(const PayInboundEvent *e);
static bool store(const PayInboundEvent *e, TimestampTz now);
static PayAccount account_of(const char *psp);
static bool is_elsewhere(const char *psp_ref);
static void note_outcome(const PayInboundEvent *e, const char *outcome);
static void note_unreadable(const char *psp, const PayPspEvent *event, TimestampTz now);
static void note_orphan(const char *psp, const PayPspEvent *event, TimestampTz now);

static PayStmt insert_event = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.psp_event (psp, event_id, event_type, received_at, headers, body, outcome, source) "
	"VALUES ($1, $2, $3, $4, $5, $6, 'received', $7) ON CONFLICT (psp, event_id) "
	"DO UPDATE SET outcome = 'received', times = psp_event.times + 1, last_received_at = excluded.received_at WHERE psp_event.outcome = 'unreadable'",
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID, BYTEAOID, TEXTOID);
static PayStmt update_event = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_event SET outcome = $3, payment_id = $4, status_before = $5, status_after = $6 WHERE psp = $1 AND event_id = $2",
	TEXTOID, TEXTOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID);
static PayStmt count_again = PAY_STMT(SPI_OK_SELECT,
	"WITH again AS (UPDATE payments.psp_event SET times = times + 1, last_received_at = $3 WHERE psp = $1 AND event_id = $2 RETURNING payment_id) "
	"SELECT a.payment_id, p.status FROM again a LEFT JOIN payments.payment p USING (payment_id)", TEXTOID, TEXTOID, TIMESTAMPTZOID);
static PayStmt find_account = PAY_STMT(SPI_OK_SELECT,
	"SELECT account_id, account_mode FROM payments.psp WHERE psp = $1", TEXTOID);
static PayStmt find_elsewhere = PAY_STMT(SPI_OK_SELECT, "SELECT FROM payments.operation WHERE psp_ref = $1", TEXTOID);
static PayStmt insert_unreadable = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.exception (exception_id, kind, psp, object_id, detail, created_at) "
	"VALUES ($1, 'unreadable', $2, $3, $4, $5) ON CONFLICT DO NOTHING", UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
static PayStmt insert_orphan = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.exception (exception_id, kind, psp, object_id, amount, currency, detail, created_at, psp_ref) "
	"VALUES ($1, 'orphan', $2, $3, nullif($4, 0), $5, $6, $7, $8) ON CONFLICT DO NOTHING",
	UUIDOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID);

void
pay_events_take(PayInboundEvent *events, int n, bool wait, TimestampTz now, const char *actor)
{
	PayReport  *reports = palloc0(sizeof(PayReport) * Max(n, 1));
	int		   *whose = palloc(sizeof(int) * Max(n, 1));
	int		   *order = by_id(events, n);
	PayAccount	account = n > 0 ? account_of(events[0].psp) : (PayAccount) {0};
	int			told = 0;

	for (int i = 0; i < n; i++)
	{
		PayInboundEvent *e = &events[order[i]];

		memset(&e->report, 0, sizeof(PayReport));
		e->report.outcome = PAY_OUTCOME_UNMATCHED;
		e->duplicate = !e->hint && !store(e, now);
		if (e->duplicate)
			recall(e, now);
	}
	for (int i = 0; i < n; i++)
	{
		PayInboundEvent *e = &events[i];

		e->foreign = pay_account_differs(&e->event->account, &account);
		if (e->duplicate || !e->event->relevant || e->foreign)
			continue;
		reports[told].source = PAY_SOURCE_WEBHOOK;
		reports[told].psp = e->psp;
		reports[told].hint = e->hint;
		reports[told].result = e->event->result;
		whose[told++] = i;
	}
	/* All at once: their payments are locked in one order. */
	pay_apply(reports, told, wait, now, actor);
	for (int i = 0; i < told; i++)
		events[whose[i]].report = reports[i];
	for (int i = 0; i < n; i++)
		if (!events[order[i]].duplicate)
			conclude(&events[order[i]], now);
}

/* Rows are written in one order by all, or two requests with the same events could wait for each other; applied are they as they came. */
static int *
by_id(const PayInboundEvent *events, int n)
{
	int		   *order = palloc(sizeof(int) * Max(n, 1));

	for (int i = 0; i < n; i++)
		order[i] = i;
	qsort_arg(order, n, sizeof(int), compare_ids, unconstify(PayInboundEvent *, events));
	return order;
}

/* Of two with the same id the first is stored, the second is the duplicate. */
static int
compare_ids(const void *a, const void *b, void *events)
{
	int			i = *(const int *) a,
				j = *(const int *) b;
	const PayInboundEvent *list = events;
	int			order = strcmp(list[i].event->event_id, list[j].event->event_id);

	return order != 0 ? order : i - j;
}

/* Counts that it came again.  Which payment was it about, the first time? */
static void
recall(PayInboundEvent *e, TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_text(&args, e->psp);
	pay_arg_text(&args, e->event->event_id);
	pay_arg_time(&args, now);
	if (pay_spi_exec(&count_again, &args) != 1 || pay_spi_isnull(0, 1))
		return;
	e->report.outcome = PAY_OUTCOME_NO_EFFECT;
	e->report.payment_id = pay_spi_uuid(0, 1);
	e->report.status = pay_spi_text(0, 2);
}

/* Says what came of it. */
static void
conclude(PayInboundEvent *e, TimestampTz now)
{
	PayOutcome	outcome = e->report.outcome;

	if (outcome == PAY_OUTCOME_LOCKED)
		return;
	/* What names a payment of ours by the PSP's id is about it, whoever asked for it: a refund by another installation is one. */
	if (outcome == PAY_OUTCOME_UNMATCHED && (pay_idempotency_is_foreign(e->event->result.psp_ref) || is_elsewhere(e->event->result.psp_ref)))
		e->foreign = true;
	if (e->hint)
	{
		if (outcome == PAY_OUTCOME_UNMATCHED)
			return;
		e->duplicate = !store(e, now);
		if (e->duplicate)
			return;
	}
	else if (outcome == PAY_OUTCOME_UNMATCHED && e->event->relevant && !e->foreign)
		note_orphan(e->psp, e->event, now);
	if (e->event->unreadable && !e->foreign)
		note_unreadable(e->psp, e->event, now);
	note_outcome(e, e->event->unreadable && !e->foreign ? "unreadable" :
				 !e->event->relevant ? "ignored" :
				 e->foreign ? "foreign" :
				 outcome == PAY_OUTCOME_APPLIED ? (e->hint ? "asked" : "applied") :
				 outcome == PAY_OUTCOME_NO_EFFECT ? "no_effect" : "unmatched");
	if (outcome == PAY_OUTCOME_UNMATCHED && e->event->relevant && !e->foreign)
		pay_unmatched_keep(e->psp, e->event->event_id, &e->event->result);
}

/*
 * By which it is known when it comes again.  Of a hint nothing that its sender
 * can choose, but few words: so there are few of each payment, and none is
 * taken for an event that is believed.
 */
static const char *
id_of(const PayInboundEvent *e)
{
	const PayResult *r = &e->event->result;

	return e->hint ? psprintf("hint:%s:%s:%s", pay_uuid_text(&e->report.payment_id), pay_class_name(r->class), pay_effect_name(r->effect))
		: e->event->event_id;
}

/* Returns false when the event is here already (a concurrent twin is waited for), unless it could not be read the last time. */
static bool
store(const PayInboundEvent *e, TimestampTz now)
{
	PayArgs		args = {0};
	size_t		bytes = e->body_bytes;
	char	   *masked = pay_body_mask_card_numbers(e->body, &bytes);

	/* Masked, and then cut: half a number is found by nobody. */
	if (e->hint)
		bytes = Min(bytes, HINT_BODY_BYTES_MAX);
	pay_arg_text(&args, e->psp);
	pay_arg_text(&args, id_of(e));
	pay_arg_text(&args, pay_text_mask_card_numbers(e->event->event_type));
	pay_arg_time(&args, now);
	pay_arg_datum(&args, JsonbPGetDatum(e->headers), false);
	pay_arg_bytes(&args, masked, bytes);
	pay_arg_text(&args, e->source);
	return pay_spi_exec(&insert_event, &args) == 1;
}

/* Whose the PSP's account was when the worker asked. */
static PayAccount
account_of(const char *psp)
{
	PayArgs		args = {0};
	PayAccount	account = {0};

	pay_arg_text(&args, psp);
	if (pay_spi_exec(&find_account, &args) == 1)
		account = (PayAccount) {pay_spi_text(0, 1), pay_spi_text(0, 2)};
	return account;
}

/* Does it belong to another PSP of ours?  Two may be one account. */
static bool
is_elsewhere(const char *psp_ref)
{
	PayArgs		args = {0};

	if (psp_ref == NULL)
		return false;
	pay_arg_text(&args, psp_ref);
	return pay_spi_exec(&find_elsewhere, &args) > 0;
}

static void
note_outcome(const PayInboundEvent *e, const char *outcome)
{
	PayArgs		args = {0};

	pay_arg_text(&args, e->psp);
	pay_arg_text(&args, id_of(e));
	pay_arg_text(&args, outcome);
	pay_arg_uuid(&args, e->report.outcome != PAY_OUTCOME_UNMATCHED ? &e->report.payment_id : NULL);
	pay_arg_text(&args, e->report.status_before);
	pay_arg_text(&args, e->report.status_after);
	pay_spi_exec(&update_event, &args);
}

/* Money may have moved, and nobody but a person can say which. */
static void
note_unreadable(const char *psp, const PayPspEvent *event, TimestampTz now)
{
	PayArgs		args = {0};
	pg_uuid_t	id = pay_new_id(0);
	const char *type = pay_text_mask_card_numbers(event->event_type);

	pay_arg_uuid(&args, &id);
	pay_arg_text(&args, psp);
	pay_arg_text(&args, event->event_id);
	pay_arg_text(&args, psprintf("%.100s: its \"%s\" cannot be read; payments.psp_event has the body", type, event->unreadable));
	pay_arg_time(&args, now);
	pay_spi_exec(&insert_unreadable, &args);
	ereport(WARNING,
			(errcode(PAY_ERR_WEBHOOK_MALFORMED),
			 errmsg("event \"%s\" of PSP \"%s\" is of type %.100s, and its \"%s\" cannot be read", event->event_id, psp, type, event->unreadable),
			 errhint("payments.exception has a row for it. Look at the object at the PSP, and update the extension.")));
}

/* It carries our mark, yet we have no such operation: rows were lost, by a restore perhaps. */
static void
note_orphan(const char *psp, const PayPspEvent *event, TimestampTz now)
{
	PayArgs		args = {0};
	pg_uuid_t	id;

	if (event->result.psp_ref == NULL || event->result.class != PAY_CLASS_APPROVED)
		return;
	id = pay_new_id(0);
	pay_arg_uuid(&args, &id);
	pay_arg_text(&args, psp);
	pay_arg_text(&args, event->result.object_id);
	pay_arg_int64(&args, event->result.amount);
	pay_arg_text(&args, event->result.currency);
	pay_arg_text(&args, psprintf("%s for an operation that is not here; amount in the PSP's units", event->event_type));
	pay_arg_time(&args, now);
	pay_arg_text(&args, event->result.psp_ref);
	pay_spi_exec(&insert_orphan, &args);
}
