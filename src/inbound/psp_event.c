/*
 * src/inbound/psp_event.c
 *		A PSP's event, whichever way it came: stored once, applied once.
 *
 * The row of psp_event makes a duplicate harmless; it and the effect commit
 * together or not at all, so a crash cannot leave "seen" without effect.
 */
#include "payments.h"

#include "inbound/psp_event.h"

#include "base/pan.h"
#include "base/uuid.h"
#include "core/spi.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

static bool store(const PayInboundEvent *event, TimestampTz now);
static void note_outcome(const char *psp, const char *event_id, const char *outcome, const pg_uuid_t *payment_id);
static void note_orphan(const char *psp, const PayWebhook *webhook, TimestampTz now);

static PayStmt insert_event = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.psp_event (psp, event_id, event_type, received_at, headers, body, outcome, source) "
	"VALUES ($1, $2, $3, $4, $5, $6, 'received', $7) ON CONFLICT (psp, event_id) DO NOTHING",
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, JSONBOID, BYTEAOID, TEXTOID);
static PayStmt update_event = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_event SET outcome = $3, payment_id = $4 WHERE psp = $1 AND event_id = $2",
	TEXTOID, TEXTOID, TEXTOID, UUIDOID);
static PayStmt insert_orphan = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.exception (exception_id, kind, psp, object_id, amount, currency, detail, created_at) "
	"VALUES ($1, 'orphan', $2, $3, nullif($4, 0), $5, $6, $7) ON CONFLICT DO NOTHING",
	UUIDOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID);

bool
pay_event_take(const PayInboundEvent *event, TimestampTz now, PayReport *report)
{
	const PayWebhook *webhook = event->webhook;

	memset(report, 0, sizeof(PayReport));
	report->outcome = PAY_OUTCOME_UNMATCHED;
	if (!store(event, now))
		return false;
	if (webhook->relevant)
	{
		report->source = PAY_SOURCE_WEBHOOK;
		report->psp = event->psp;
		report->result = webhook->result;
		pay_apply(report, 1, event->wait, now, event->actor);
		if (report->outcome == PAY_OUTCOME_LOCKED)
			return true;
		if (report->outcome == PAY_OUTCOME_UNMATCHED)
			note_orphan(event->psp, webhook, now);
	}
	note_outcome(event->psp, webhook->event_id,
				 !webhook->relevant ? "ignored" :
				 report->outcome == PAY_OUTCOME_APPLIED ? "applied" :
				 report->outcome == PAY_OUTCOME_NO_EFFECT ? "no_effect" : "unmatched",
				 report->outcome != PAY_OUTCOME_UNMATCHED ? &report->payment_id : NULL);
	return true;
}

/* Returns false when the event is here already (a concurrent twin is waited for). */
static bool
store(const PayInboundEvent *event, TimestampTz now)
{
	PayArgs		args = {0};
	char	   *masked;

	masked = palloc(event->body_bytes + 1);
	memcpy(masked, event->body, event->body_bytes);
	masked[event->body_bytes] = '\0';
	pay_pan_mask(masked, event->body_bytes);

	pay_arg_text(&args, event->psp);
	pay_arg_text(&args, event->webhook->event_id);
	pay_arg_text(&args, event->webhook->event_type);
	pay_arg_time(&args, now);
	pay_arg_datum(&args, JsonbPGetDatum(event->headers), false);
	pay_arg_bytes(&args, masked, event->body_bytes);
	pay_arg_text(&args, event->source);
	return pay_spi_exec(&insert_event, &args) == 1;
}

static void
note_outcome(const char *psp, const char *event_id, const char *outcome, const pg_uuid_t *payment_id)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_arg_text(&args, event_id);
	pay_arg_text(&args, outcome);
	pay_arg_uuid(&args, payment_id);
	pay_spi_exec(&update_event, &args);
}

/* It carries our mark, yet we have no such operation: rows were lost, by a restore perhaps. */
static void
note_orphan(const char *psp, const PayWebhook *webhook, TimestampTz now)
{
	PayArgs		args = {0};
	pg_uuid_t	id;

	if (webhook->result.psp_ref == NULL || webhook->result.class != PAY_CLASS_APPROVED)
		return;
	id = pay_new_id(0);
	pay_arg_uuid(&args, &id);
	pay_arg_text(&args, psp);
	pay_arg_text(&args, webhook->result.object_id);
	pay_arg_int64(&args, webhook->result.amount);
	pay_arg_text(&args, webhook->result.currency);
	pay_arg_text(&args, psprintf("%s for an operation that is not here; amount in the PSP's units", webhook->event_type));
	pay_arg_time(&args, now);
	pay_spi_exec(&insert_orphan, &args);
}
