/*
 * src/inbound/feed_entry.c
 *		Entries of feeds: applied, or kept to be tried again.
 *
 * One entry that cannot be applied holds up no other: it goes to feed_entry and
 * is tried again from there.  Applying one twice changes nothing: events are
 * stored by psp_event's key, lines by the PSP's id of the entry.
 */
#include "payments.h"

#include "inbound/feed_entry.h"

#include "core/spi.h"
#include "core/subtransaction.h"
#include "inbound/psp_event.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"

/* Applying an event takes a millisecond or so, and payments wait meanwhile. */
#define EVENTS_AT_ONCE 25
#define RETRIES_AT_ONCE 10

/* Of a feed with this reason nothing is wrong: it is taken up again at once. */
#define REASON_LOCKED "locked"

/*
 * A refund or a dispute carries no name of ours, only the PSP's id of the
 * payment.  While the answer to our charge is missing we do not know that id,
 * and pages come newest first: the event that tells it may be on the next one.
 */
#define REASON_UNMATCHED "no payment of ours yet"
#define UNMATCHED_TRIES_MAX 4

/* An event of a feed, new or tried before. */
typedef struct Taken
{
	const char *psp;
	const PayFeed *feed;		/* NULL: the adapter has it no more */
	const char *body;
	size_t		bytes;
	int			tries;			/* before this one */
	TimestampTz now;
	const char *worker;
} Taken;

static const char *take_event(const Taken *taken);
static const char *take_event_work(void *arg);
static bool may_match_later(const PayPspEvent *event);
static void keep_entry(const char *psp, const char *feed, const char *id, const char *body, const char *reason);
static void drop_entry(const char *psp, const char *feed, const char *id);

static PayStmt find_new_events = PAY_STMT(SPI_OK_SELECT,
	"SELECT (u.n - 1)::int FROM unnest($3) WITH ORDINALITY u (id, n) "
	"WHERE NOT EXISTS (SELECT FROM payments.psp_event e WHERE e.psp = $1 AND e.event_id = u.id) "
	"AND NOT EXISTS (SELECT FROM payments.feed_entry f WHERE f.psp = $1 AND f.feed = $2 AND f.entry_id = u.id) "
	"ORDER BY u.n DESC LIMIT $4", TEXTOID, TEXTOID, TEXTARRAYOID, INT8OID);
static PayStmt import_lines = PAY_STMT(SPI_OK_SELECT,
	"SELECT payments._feed_import($1, $2, $3, $4, $5, $6)", TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID);
static PayStmt import_one = PAY_STMT(SPI_OK_SELECT,
	"SELECT payments._feed_import_one($1, $2, $3, $4, $5, $6)", TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
static PayStmt insert_entry = PAY_STMT(SPI_OK_SELECT,
	"SELECT payments._feed_keep($1, $2, $3, $4, $5)", TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
static PayStmt delete_entry = PAY_STMT(SPI_OK_DELETE,
	"DELETE FROM payments.feed_entry WHERE psp = $1 AND feed = $2 AND entry_id = $3", TEXTOID, TEXTOID, TEXTOID);
static PayStmt find_waiting = PAY_STMT(SPI_OK_SELECT,
	"SELECT e.psp, s.adapter, e.feed, e.entry_id, e.body, e.tries FROM payments.feed_entry e JOIN payments.psp s ON s.psp = e.psp "
	"WHERE e.discarded_at IS NULL AND e.due_at <= $1 ORDER BY e.due_at LIMIT $2 FOR UPDATE OF e SKIP LOCKED", TIMESTAMPTZOID, INT8OID);

int
pay_feed_apply_lines(const char *psp, const PayFeed *feed, const PayFeedPage *page)
{
	PayArgs		args = {0};
	const char **entries = palloc(sizeof(char *) * Max(page->n, 1));

	if (page->n == 0)
		return 0;
	for (int i = 0; i < page->n; i++)
		entries[i] = pnstrdup(page->entries[i].at, page->entries[i].bytes);
	pay_arg_text(&args, psp);
	pay_arg_text(&args, feed->name);
	pay_arg_text(&args, feed->format);
	pay_arg_text_array(&args, page->ids, page->n);
	pay_arg_text_array(&args, entries, page->n);
	pay_arg_text(&args, psprintf("%s feed", feed->name));
	pay_spi_exec(&import_lines, &args);
	return pay_spi_int32(0, 1);
}

/* Oldest first; those before the first that is left for another step are here by then. */
int
pay_feed_apply_events(const char *psp, const PayFeed *feed, const PayFeedPage *page,
					  TimestampTz now, const char *worker, bool *again)
{
	PayArgs		args = {0};
	int			which[EVENTS_AT_ONCE];
	int			n,
				added = 0;

	if (page->n == 0)
		return 0;
	pay_arg_text(&args, psp);
	pay_arg_text(&args, feed->name);
	pay_arg_text_array(&args, page->ids, page->n);
	pay_arg_int64(&args, EVENTS_AT_ONCE + 1);
	n = (int) pay_spi_exec(&find_new_events, &args);
	*again = n > EVENTS_AT_ONCE;
	n = Min(n, EVENTS_AT_ONCE);
	for (int i = 0; i < n; i++)
		which[i] = pay_spi_int32(i, 1);
	for (int i = 0; i < n; i++)
	{
		const PaySlice *entry = &page->entries[which[i]];
		const char *body = pnstrdup(entry->at, entry->bytes);
		const char *reason = take_event(&(Taken) {psp, feed, body, entry->bytes, 0, now, worker});

		if (reason)
			keep_entry(psp, feed->name, page->ids[which[i]], body, reason);
		else
			added++;
	}
	return added;
}

/* What goes wrong with one event is undone and told, and the others go on.  Returns NULL, or the reason. */
static const char *
take_event(const Taken *taken)
{
	ErrorData  *error;
	const char *reason = pay_try(take_event_work, (void *) taken, &error);

	return error && pay_error_passes(error) ? REASON_LOCKED : reason;
}

static const char *
take_event_work(void *arg)
{
	const Taken *taken = arg;
	const PayFeed *feed = taken->feed;
	PayPspEvent event = {0};
	PayInboundEvent entry = {.psp = taken->psp, .event = &event, .source = "feed", .body = taken->body, .body_bytes = taken->bytes};

	if (feed == NULL || feed->read_event == NULL || !feed->read_event(taken->body, taken->bytes, &event))
		return "this is not an event";
	/* Kept, shown by feed_status, and tried again: by then somebody may have updated us. */
	if (event.unreadable)
		return psprintf("%.100s: its \"%s\" cannot be read", event.event_type, event.unreadable);
	entry.headers = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	pay_events_take(&entry, 1, false, taken->now, taken->worker);
	if (entry.duplicate)
		return NULL;
	if (entry.report.outcome == PAY_OUTCOME_LOCKED)
		return REASON_LOCKED;
	if (entry.report.outcome == PAY_OUTCOME_UNMATCHED && may_match_later(&event) && taken->tries < UNMATCHED_TRIES_MAX)
		return REASON_UNMATCHED;
	return NULL;
}

static bool
may_match_later(const PayPspEvent *event)
{
	if (!event->relevant || event->result.psp_ref != NULL)
		return false;
	switch (event->result.effect)
	{
		case PAY_EFFECT_REFUNDED:
		case PAY_EFFECT_REFUND_FAILED:
		case PAY_EFFECT_DISPUTED:
		case PAY_EFFECT_DISPUTE_WON:
		case PAY_EFFECT_DISPUTE_LOST:
		case PAY_EFFECT_DISPUTE_STAGE:
		case PAY_EFFECT_PAID_OUT:
		case PAY_EFFECT_PAYOUT_FAILED:
			return true;
		case PAY_EFFECT_NONE:
		case PAY_EFFECT_AUTHORIZED:
		case PAY_EFFECT_CAPTURED:
		case PAY_EFFECT_VOIDED:
		case PAY_EFFECT_EXPIRED:
			break;
	}
	return false;
}

static void
keep_entry(const char *psp, const char *feed, const char *id, const char *body, const char *reason)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_arg_text(&args, feed);
	pay_arg_text(&args, id);
	pay_arg_text(&args, body);
	pay_arg_text(&args, reason);
	pay_spi_exec(&insert_entry, &args);
}

static void
drop_entry(const char *psp, const char *feed, const char *id)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_arg_text(&args, feed);
	pay_arg_text(&args, id);
	pay_spi_exec(&delete_entry, &args);
}

void
pay_feed_retry(TimestampTz now, const char *worker)
{
	typedef struct Waiting
	{
		char	   *psp,
				   *adapter,
				   *feed,
				   *id,
				   *body;
		int			tries;
	} Waiting;
	PayArgs		args = {0};
	Waiting		waiting[RETRIES_AT_ONCE];
	int			n;

	pay_arg_time(&args, now);
	pay_arg_int64(&args, RETRIES_AT_ONCE);
	n = (int) pay_spi_exec(&find_waiting, &args);
	for (int i = 0; i < n; i++)
		waiting[i] = (Waiting) {pay_spi_text(i, 1), pay_spi_text(i, 2), pay_spi_text(i, 3), pay_spi_text(i, 4), pay_spi_text(i, 5), pay_spi_int32(i, 6)};
	for (int i = 0; i < n; i++)
	{
		Waiting    *w = &waiting[i];
		const PayFeed *feed = pay_psp_feed(pay_psp_adapter(w->adapter), w->feed);
		const char *reason;
		PayArgs		one = {0};

		if (feed && feed->kind == PAY_FEED_LINES)
		{
			pay_arg_text(&one, w->psp);
			pay_arg_text(&one, w->feed);
			pay_arg_text(&one, feed->format);
			pay_arg_text(&one, w->id);
			pay_arg_text(&one, w->body);
			pay_arg_text(&one, psprintf("%s feed", w->feed));
			pay_spi_exec(&import_one, &one);
			continue;
		}
		reason = take_event(&(Taken) {w->psp, feed, w->body, strlen(w->body), w->tries, now, worker});
		if (reason)
			keep_entry(w->psp, w->feed, w->id, w->body, reason);
		else
			drop_entry(w->psp, w->feed, w->id);
	}
}
