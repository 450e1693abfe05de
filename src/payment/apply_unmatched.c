/*
 * src/payment/apply_unmatched.c
 *		What was told of a payment before anybody knew that it is ours.
 *
 * A refund or a dispute carries no name of ours, only the PSP's id of the
 * payment; while the answer to our charge is missing nobody knows that id.  The
 * event is stored all the same, and what it told is kept beside it.  Whoever
 * learns the id, by whichever word, applies what was kept in the same
 * transaction.
 *
 * Always true: an event is unmatched or applied, and the change from one to the
 * other commits with the effect.
 */
#include "payments.h"

#include "payment/apply_private.h"
#include "base/json.h"
#include "core/spi.h"
#include "core/subtransaction.h"
#include "core/wake.h"

#include "utils/timestamp.h"

/* At once; the rest after these. */
#define FOUND_MAX 1000

#define SWEPT_AT_ONCE 50
/* Far longer than transactions run side by side. */
#define SWEEP_BACK_S (24 * 60 * 60)

/* Spelled as in psp_event.effect. */
static const char *const effects[] = {
	[PAY_EFFECT_AUTHORIZED] = "authorize",
	[PAY_EFFECT_CAPTURED] = "capture",
	[PAY_EFFECT_VOIDED] = "void",
	[PAY_EFFECT_REFUNDED] = "refund",
	[PAY_EFFECT_REFUND_FAILED] = "refund_failed",
	[PAY_EFFECT_DISPUTED] = "dispute",
	[PAY_EFFECT_DISPUTE_WON] = "dispute_won",
	[PAY_EFFECT_DISPUTE_LOST] = "dispute_lost",
	[PAY_EFFECT_EXPIRED] = "expire",
};

/* An event that waits in psp_event for its payment. */
typedef struct Kept
{
	const char *event_id;
	PayReport	report;
} Kept;

/* Some of them, of payments that are locked here. */
typedef struct Round
{
	PayPayments *set;
	Kept	   *kept;
	int			n;
} Round;

static PayEffect parse_effect(const char *name);
static int	find_kept(PayPayments *set, Kept **found);
static const char *try_kept(PayPayments *set, Kept *kept, int n);
static const char *apply_kept(void *arg);
static void refuse_kept(PayPayments *set, Kept *kept, const char *reason);
static void note_kept(const Kept *kept);

static PayStmt keep_event = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_event SET psp_payment_id = $3, effect = $4, object_id = $5, amount = $6, currency = $7, code = $8 "
	"WHERE psp = $1 AND event_id = $2",
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID);

static PayStmt find_events = PAY_STMT(SPI_OK_SELECT,
	"SELECT (u.n - 1)::int, e.event_id, e.psp_payment_id, e.effect, e.object_id, e.amount, e.currency, e.code "
	"FROM unnest($1, $2) WITH ORDINALITY u (psp, psp_payment_id, n) "
	"JOIN payments.psp_event e ON e.psp = u.psp AND e.psp_payment_id = u.psp_payment_id "
	"WHERE e.outcome = 'unmatched' AND e.effect IS NOT NULL ORDER BY e.received_at, e.event_id LIMIT $3",
	TEXTARRAYOID, TEXTARRAYOID, INT8OID);

static PayStmt note_event = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_event SET outcome = $3, payment_id = $4, status_before = $5, status_after = $6 WHERE psp = $1 AND event_id = $2",
	TEXTOID, TEXTOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID);

static PayStmt find_missed = PAY_STMT(SPI_OK_SELECT,
	"SELECT coalesce(p.payment_id, m.payment_id), e.psp_payment_id FROM payments.psp_event e "
	"LEFT JOIN payments.payment p ON p.psp = e.psp AND p.psp_payment_id = e.psp_payment_id "
	"LEFT JOIN payments.movement m ON m.psp = e.psp AND m.object_id = e.psp_payment_id AND m.kind = 'late_capture' "
	"WHERE (p.payment_id IS NOT NULL OR m.payment_id IS NOT NULL) AND e.outcome = 'unmatched' AND e.effect IS NOT NULL AND e.received_at > $1 LIMIT $2", TIMESTAMPTZOID, INT8OID);

static PayEffect
parse_effect(const char *name)
{
	for (size_t i = 0; i < lengthof(effects); i++)
		if (effects[i] && strcmp(effects[i], name) == 0)
			return (PayEffect) i;
	return PAY_EFFECT_NONE;
}

void
pay_unmatched_keep(const char *psp, const char *event_id, const PayResult *result)
{
	PayArgs		args = {0};

	if (result->class != PAY_CLASS_APPROVED || result->effect == PAY_EFFECT_NONE ||
		result->psp_payment_id == NULL || result->object_id == NULL || result->effect >= lengthof(effects) || effects[result->effect] == NULL)
		return;
	/* Applied later it would look like the last one: the next question tells of it. */
	if (result->keeps_rest)
		return;
	pay_arg_text(&args, psp);
	pay_arg_text(&args, event_id);
	pay_arg_text(&args, result->psp_payment_id);
	pay_arg_text(&args, effects[result->effect]);
	pay_arg_text(&args, result->object_id);
	pay_arg_int64(&args, result->amount);
	pay_arg_text(&args, result->currency);
	pay_arg_text(&args, pay_text_mask_card_numbers(result->codes[0]));
	pay_spi_exec(&keep_event, &args);
}

void
pay_unmatched_learn(PayPayment *payment, const char *psp_payment_id)
{
	ListCell   *cell;

	PayLearned *learned;

	foreach(cell, payment->learned)
	{
		learned = lfirst(cell);
		if (strcmp(learned->id, psp_payment_id) == 0 && strcmp(learned->psp, pay_payment_speaker(payment)) == 0)
			return;
	}
	learned = palloc(sizeof(PayLearned));
	learned->psp = pay_payment_speaker(payment);
	learned->id = pstrdup(psp_payment_id);
	payment->learned = lappend(payment->learned, learned);
}

void
pay_unmatched_apply(PayPayments *set)
{
	Kept	   *found;
	int			n;

	while ((n = find_kept(set, &found)) > 0)
		if (try_kept(set, found, n) != NULL)
			for (int i = 0; i < n; i++)
			{
				const char *reason = try_kept(set, &found[i], 1);

				if (reason)
					refuse_kept(set, &found[i], reason);
			}
}

static int
find_kept(PayPayments *set, Kept **found)
{
	int			room = 0,
				n = 0;
	PayPayment **whose;
	const char **psps;
	const char **ids;
	PayArgs		args = {0};
	ListCell   *cell;

	for (PayPayment *payment = set->list; payment < set->list + set->n; payment++)
		room += list_length(payment->learned);
	if (room == 0)
		return 0;
	whose = palloc(sizeof(PayPayment *) * room);
	psps = palloc(sizeof(char *) * room);
	ids = palloc(sizeof(char *) * room);
	for (PayPayment *payment = set->list; payment < set->list + set->n; payment++)
		foreach(cell, payment->learned)
		{
			const PayLearned *learned = lfirst(cell);

			whose[n] = payment;
			psps[n] = learned->psp;
			ids[n++] = learned->id;
		}
	pay_arg_text_array(&args, psps, n);
	pay_arg_text_array(&args, ids, n);
	pay_arg_int64(&args, FOUND_MAX);
	n = (int) pay_spi_exec(&find_events, &args);
	*found = palloc0(sizeof(Kept) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		int			k = pay_spi_int32(i, 1);
		PayReport  *report = &(*found)[i].report;

		(*found)[i].event_id = pay_spi_text(i, 2);
		report->source = PAY_SOURCE_WEBHOOK;
		report->psp = psps[k];
		report->payment_known = true;
		report->payment_id = whose[k]->payment_id;
		report->outcome = PAY_OUTCOME_NO_EFFECT;
		report->result.class = PAY_CLASS_APPROVED;
		report->result.psp_payment_id = pay_spi_text(i, 3);
		report->result.effect = parse_effect(pay_spi_text(i, 4));
		report->result.object_id = pay_spi_text(i, 5);
		report->result.amount = pay_spi_int64(i, 6);
		report->result.currency = pay_spi_text(i, 7);
		report->result.codes[0] = pay_spi_text(i, 8);
		report->result.retry_after_ms = -1;
	}
	return n;
}

/* Money of a payment must not be held up by what somebody told of it before.  Returns NULL, or why not. */
static const char *
try_kept(PayPayments *set, Kept *kept, int n)
{
	ErrorData  *error;
	const char *reason = pay_try(apply_kept, &(Round) {set, kept, n}, &error);

	/* Not the event's fault: all is tried again. */
	if (error && pay_error_passes(error))
		ReThrowError(error);
	return reason;
}

/* The payments are locked by this transaction. */
static const char *
apply_kept(void *arg)
{
	const Round *round = arg;
	PayPayments *set = round->set;
	Kept	   *kept = round->kept;
	int			n = round->n;
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * n);
	PayPayments *told;

	for (int i = 0; i < n; i++)
		ids[i] = kept[i].report.payment_id;
	told = pay_payments_load(ids, n, set->now, set->actor);
	for (int i = 0; i < n; i++)
	{
		kept[i].report.outcome = PAY_OUTCOME_NO_EFFECT;
		pay_apply_one(told, &kept[i].report);
	}
	pay_payments_save(told);
	for (int i = 0; i < n; i++)
		note_kept(&kept[i]);
	for (PayPayment *payment = told->list; payment < told->list + told->n; payment++)
		pay_payments_find(set, &payment->payment_id)->status = payment->status;
	if (told->wake)
		pay_wake_at_commit();
	return NULL;
}

static void
refuse_kept(PayPayments *set, Kept *kept, const char *reason)
{
	PayPayments *alone = pay_payments_load(&kept->report.payment_id, 1, set->now, set->actor);

	alone->list[0].told_by = kept->report.psp;
	pay_payment_exception(alone, &alone->list[0], NULL, "conflicted", kept->report.result.object_id, kept->report.result.amount,
						  psprintf("what the PSP told of this cannot be booked: %s", reason));
	pay_payments_save(alone);
	kept->report.outcome = PAY_OUTCOME_NO_EFFECT;
	note_kept(kept);
}

static void
note_kept(const Kept *kept)
{
	PayArgs		args = {0};

	pay_arg_text(&args, kept->report.psp);
	pay_arg_text(&args, kept->event_id);
	pay_arg_text(&args, kept->report.outcome == PAY_OUTCOME_APPLIED ? "applied" : "no_effect");
	pay_arg_uuid(&args, &kept->report.payment_id);
	pay_arg_text(&args, kept->report.status_before);
	pay_arg_text(&args, kept->report.status_after);
	pay_spi_exec(&note_event, &args);
}

void
pay_unmatched_sweep(TimestampTz now, const char *actor)
{
	PayArgs		args = {0};
	pg_uuid_t	ids[SWEPT_AT_ONCE];
	char	   *told[SWEPT_AT_ONCE];
	PayPayments *set;
	int			n;

	pay_arg_time(&args, now - (TimestampTz) SWEEP_BACK_S * USECS_PER_SEC);
	pay_arg_int64(&args, SWEPT_AT_ONCE);
	n = (int) pay_spi_exec(&find_missed, &args);
	for (int i = 0; i < n; i++)
	{
		ids[i] = pay_spi_uuid(i, 1);
		told[i] = pay_spi_text(i, 2);
	}
	if (n == 0)
		return;
	set = pay_payments_load_skipping_locked(ids, n, now, actor);
	for (int i = 0; i < n; i++)
	{
		PayPayment *payment = pay_payments_find(set, &ids[i]);

		if (payment)
			pay_unmatched_learn(payment, told[i]);
	}
	pay_apply_save(set);
}
