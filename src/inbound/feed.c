/*
 * src/inbound/feed.c
 *		Feeds: lists of a PSP's API, read window by window behind a watermark.
 *
 * What is always true:
 *
 * - Everything that the PSP created before the watermark, and showed within
 *	 the overlap, was read and applied, or stands in feed_entry.
 * - A window ends in the past and at a whole second: it stands still while its
 *	 pages are read, and entries of one second are never parted.
 * - What a page brings and the cursor behind it commit together.  A page that
 *	 brings many events is applied in several transactions, and the cursor goes
 *	 with the last: a crash at any point reads a page again, no more.
 * - Reading anything twice changes nothing: events by psp_event's key,
 *	 lines by the PSP's id of the entry.
 * - One entry that cannot be applied holds up no other: it goes to feed_entry
 *	 and is tried again from there.
 * - Only the claim's own attempt can move a feed; refetch() makes a new one.
 */
#include "payments.h"

#include "inbound/feed.h"

#include "core/spi.h"
#include "inbound/feed_entry.h"
#include "payment/create_psp.h"

#include "mb/pg_wchar.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define BACKOFF_S_MAX 300
#define FORBIDDEN_S 600

static bool open_window(uint64 row, PayFeedClaim *claim, TimestampTz now);
static bool lock_claim(const PayFeedClaim *claim, const char *worker, int *tries);
static const char *read_answer(const PayFeedClaim *claim, PayFeedAnswer *answer, PayFeedPage *page);
static const char *refusal(const PayFeed *feed, const PayFeedAnswer *answer);
static const char *next_cursor(const PayFeedPage *page);
static void move_on(const PayFeedClaim *claim, const PayFeedAnswer *answer, const PayFeedPage *page, int added, TimestampTz now);
static void fail(const PayFeedClaim *claim, const PayFeedAnswer *answer, const char *error, int tries, TimestampTz now);
static void halt(const char *psp, TimestampTz now);
static int64 unix_seconds(TimestampTz time);
static TimestampTz whole_second(TimestampTz time);

static PayStmt read_adapters = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT psp, adapter FROM payments.psp ORDER BY psp");
static PayStmt expire_leases = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET claimed_by = NULL, due_at = least(due_at, $2) WHERE claimed_by = $1", TEXTOID, TIMESTAMPTZOID);
static PayStmt retime_feeds = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET due_at = $1 WHERE claimed_by IS NULL AND due_at > $1 AND greatest(last_ok_at, last_error_at) > $1", TIMESTAMPTZOID);
static PayStmt retime_entries = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.feed_entry SET due_at = $1 WHERE discarded_at IS NULL AND due_at > $1 AND seen_at > $1", TIMESTAMPTZOID);
static PayStmt read_due = PAY_STMT(SPI_OK_SELECT,
	"SELECT least((SELECT min(f.due_at) FROM payments.psp_feed f WHERE f.enabled AND f.psp = ANY ($1)), "
	"(SELECT min(e.due_at) FROM payments.feed_entry e JOIN payments.psp s ON s.psp = e.psp WHERE e.discarded_at IS NULL))", TEXTARRAYOID);
static PayStmt find_due = PAY_STMT(SPI_OK_SELECT,
	"SELECT f.psp, s.adapter, f.feed, f.attempt, f.watermark, f.window_from, f.window_to, f.page_cursor, f.page_size, "
	"c.interval_s, c.lag_s, c.overlap_s, c.window_s, s.created_at - interval '1 day' "
	"FROM payments.psp_feed f JOIN payments.psp s ON s.psp = f.psp, LATERAL payments._feed_settings(s.config) c "
	"WHERE f.enabled AND f.due_at <= $2 AND f.psp = ANY ($1) ORDER BY f.due_at LIMIT $3 FOR NO KEY UPDATE OF f SKIP LOCKED",
	TEXTARRAYOID, TIMESTAMPTZOID, INT8OID);
static PayStmt claim_feed = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET window_from = $3, window_to = $4, due_at = $5, claimed_by = $6, attempt = $7 WHERE psp = $1 AND feed = $2",
	TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT8OID);
static PayStmt put_off = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET due_at = $3, claimed_by = NULL WHERE psp = $1 AND feed = $2", TEXTOID, TEXTOID, TIMESTAMPTZOID);
static PayStmt lock_feed = PAY_STMT(SPI_OK_SELECT,
	"SELECT tries FROM payments.psp_feed WHERE psp = $1 AND feed = $2 AND attempt = $3 AND claimed_by = $4 FOR NO KEY UPDATE",
	TEXTOID, TEXTOID, INT8OID, TEXTOID);
static PayStmt count_new = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET entries_new = entries_new + $3 WHERE psp = $1 AND feed = $2", TEXTOID, TEXTOID, INT8OID);
static PayStmt next_page = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET page_cursor = $7, watermark = least(watermark, $8 - interval '1 s'), "
	"window_from = least(window_from, $8 - interval '1 s'), window_to = $8, due_at = $3, "
	"claimed_by = NULL, tries = 0, failing_since = NULL, last_ok_at = $4, "
	"pages = pages + 1, entries_read = entries_read + $5, entries_new = entries_new + $6 WHERE psp = $1 AND feed = $2",
	TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID);
static PayStmt end_window = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET watermark = $7, window_from = NULL, window_to = NULL, page_cursor = NULL, "
	"page_size = least(page_size * 2, 100), due_at = $3, claimed_by = NULL, tries = 0, failing_since = NULL, last_ok_at = $4, "
	"pages = pages + 1, entries_read = entries_read + $5, entries_new = entries_new + $6 WHERE psp = $1 AND feed = $2",
	TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, TIMESTAMPTZOID);
static PayStmt note_failure = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET claimed_by = NULL, due_at = $3, tries = tries + 1, failing_since = coalesce(failing_since, $4), "
	"last_error = $5, last_error_at = $4, page_cursor = CASE WHEN NOT $6 THEN page_cursor END WHERE psp = $1 AND feed = $2",
	TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, BOOLOID);
static PayStmt halve_page = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp_feed SET claimed_by = NULL, due_at = $3, page_size = $4, last_error = $5, last_error_at = $3 WHERE psp = $1 AND feed = $2",
	TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID, TEXTOID);
static PayStmt halt_psp = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp SET halted_at = $2, halted_reason = $3 WHERE psp = $1 AND halted_at IS NULL", TEXTOID, TIMESTAMPTZOID, TEXTOID);
static PayStmt reconcile_new = PAY_STMT(SPI_OK_SELECT, "SELECT payments._reconcile_new($1)", TEXTOID);

/* ---------- rows ---------- */

void
pay_feed_recover(const char *worker, TimestampTz now)
{
	PayArgs		args = {0};
	int			n = (int) pay_spi_exec(&read_adapters, NULL);
	char	  **psps = palloc(sizeof(char *) * Max(n, 1));
	char	  **adapters = palloc(sizeof(char *) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		psps[i] = pay_spi_text(i, 1);
		adapters[i] = pay_spi_text(i, 2);
	}
	for (int i = 0; i < n; i++)
		pay_psp_create_feeds(psps[i], pay_psp_adapter(adapters[i]));
	pay_arg_text(&args, worker);
	pay_arg_time(&args, now);
	pay_spi_exec(&expire_leases, &args);
}

void
pay_feed_retime(TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_time(&args, now);
	pay_spi_exec(&retime_feeds, &args);
	pay_spi_exec(&retime_entries, &args);
}

TimestampTz
pay_feed_due(const char *const *psps, int n)
{
	PayArgs		args = {0};

	pay_arg_text_array(&args, psps, n);
	pay_spi_exec(&read_due, &args);
	return pay_spi_isnull(0, 1) ? DT_NOEND : pay_spi_time(0, 1);
}

/* ---------- claim ---------- */

int
pay_feed_claim(const char *const *psps, int n, const char *worker, int lease_ms, int max, TimestampTz now, PayFeedClaim *claims)
{
	PayArgs		args = {0};
	int			rows,
				kept = 0;
	bool	   *open = palloc0(sizeof(bool) * Max(max, 1));

	pay_arg_text_array(&args, psps, n);
	pay_arg_time(&args, now);
	pay_arg_int64(&args, max);
	rows = (int) pay_spi_exec(&find_due, &args);
	memset(claims, 0, sizeof(PayFeedClaim) * max);
	for (int i = 0; i < rows; i++)
		open[i] = open_window(i, &claims[i], now);

	for (int i = 0; i < rows; i++)
	{
		PayFeedClaim *c = &claims[i];
		PayArgs		update = {0};

		pay_arg_text(&update, c->psp);
		pay_arg_text(&update, c->feed->name);
		if (!open[i])
		{
			/* Nothing can be there yet. */
			pay_arg_time(&update, now + (TimestampTz) c->interval_s * USECS_PER_SEC);
			pay_spi_exec(&put_off, &update);
			continue;
		}
		c->attempt++;
		pay_arg_time(&update, c->from);
		pay_arg_time(&update, c->to);
		pay_arg_time(&update, now + (TimestampTz) lease_ms * 1000);
		pay_arg_text(&update, worker);
		pay_arg_int64(&update, c->attempt);
		pay_spi_exec(&claim_feed, &update);
		claims[kept++] = *c;
	}
	return kept;
}

/* Reads a row of find_due.  Goes on with its window, or opens the next; false when that would be empty. */
static bool
open_window(uint64 row, PayFeedClaim *claim, TimestampTz now)
{
	TimestampTz watermark = pay_spi_time(row, 5);
	char	   *cursor = pay_spi_text(row, 8);
	int			overlap_s = pay_spi_int32(row, 12);
	int			window_s = pay_spi_int32(row, 13);

	strlcpy(claim->psp, pay_spi_text(row, 1), sizeof(claim->psp));
	claim->adapter = pay_psp_adapter(pay_spi_text(row, 2));
	claim->feed = pay_psp_feed(claim->adapter, pay_spi_text(row, 3));
	claim->attempt = pay_spi_int64(row, 4);
	claim->limit = pay_spi_int32(row, 9);
	claim->interval_s = pay_spi_int32(row, 10);
	claim->lag_s = pay_spi_int32(row, 11);
	claim->oldest = whole_second(pay_spi_time(row, 14));
	strlcpy(claim->cursor, cursor ? cursor : "", sizeof(claim->cursor));
	if (claim->feed == NULL)
	{
		/* Of another version of the library: the row stays as it is, and is looked at now and then. */
		PayFeed    *unknown = palloc0(sizeof(PayFeed));

		unknown->name = pay_spi_text(row, 3);
		claim->feed = unknown;
		return false;
	}
	if (!pay_spi_isnull(row, 7))
	{
		claim->from = pay_spi_time(row, 6);
		claim->to = pay_spi_time(row, 7);
		return true;
	}
	/* PSPs show things late, and their clock is not ours: begin a little before where the last window ended. */
	claim->from = whole_second(watermark - (TimestampTz) overlap_s * USECS_PER_SEC);
	claim->to = Min(whole_second(now - (TimestampTz) claim->lag_s * USECS_PER_SEC),
					whole_second(watermark) + (TimestampTz) window_s * USECS_PER_SEC);
	return claim->to > watermark;
}

void
pay_feed_request(const PayFeedClaim *claim, PayRequest *request)
{
	PayFeedQuery query = {.from = unix_seconds(claim->from), .to = unix_seconds(claim->to),
	.cursor = claim->cursor[0] != '\0' ? claim->cursor : NULL, .limit = claim->limit};

	claim->feed->build(&query, request);
}

/* ---------- complete ---------- */

PayFeedProgress
pay_feed_complete(const PayFeedClaim *claim, PayFeedAnswer *answer, TimestampTz now, const char *worker)
{
	PayFeedProgress progress = {0};
	PayFeedPage *page = palloc0(sizeof(PayFeedPage));
	const char *problem;
	int			tries;

	if (!lock_claim(claim, worker, &tries))
		return progress;
	problem = read_answer(claim, answer, page);
	if (problem)
	{
		fail(claim, answer, problem, tries, now);
		return progress;
	}
	progress.added = claim->feed->kind == PAY_FEED_LINES ? pay_feed_apply_lines(claim->psp, claim->feed, page) :
		pay_feed_apply_events(claim->psp, claim->feed, page, now, worker, &progress.again);
	if (progress.again)
	{
		PayArgs		args = {0};

		pay_arg_text(&args, claim->psp);
		pay_arg_text(&args, claim->feed->name);
		pay_arg_int64(&args, progress.added);
		pay_spi_exec(&count_new, &args);
		return progress;
	}
	move_on(claim, answer, page, progress.added, now);
	progress.window_done = !page->more;
	return progress;
}

void
pay_feed_fail(const PayFeedClaim *claim, const char *error, TimestampTz now, const char *worker)
{
	int			tries;

	if (lock_claim(claim, worker, &tries))
		fail(claim, NULL, error, tries, now);
}

/* False when the feed was set back, or claimed anew: the answer is to be dropped. */
static bool
lock_claim(const PayFeedClaim *claim, const char *worker, int *tries)
{
	PayArgs		args = {0};

	pay_arg_text(&args, claim->psp);
	pay_arg_text(&args, claim->feed->name);
	pay_arg_int64(&args, claim->attempt);
	pay_arg_text(&args, worker);
	if (pay_spi_exec(&lock_feed, &args) != 1)
		return false;
	*tries = pay_spi_int32(0, 1);
	return true;
}

/* Fills the page; returns NULL, or why there is none. */
static const char *
read_answer(const PayFeedClaim *claim, PayFeedAnswer *answer, PayFeedPage *page)
{
	const char *problem = NULL;

	if (answer->transport != PAY_TRANSPORT_ANSWERED)
		return answer->error && answer->error[0] ? answer->error : "no answer";
	if (answer->http_status != 200)
		return refusal(claim->feed, answer);
	if (memchr(answer->body, '\0', answer->body_bytes) != NULL || !pg_verify_mbstr(PG_UTF8, answer->body, (int) answer->body_bytes, true))
		return "the answer is not UTF-8";
	if (!claim->feed->read_page(answer->body, answer->body_bytes, page, &problem))
		return problem;
	if (page->more && strcmp(next_cursor(page), claim->cursor) == 0)
		return "the list does not go on behind the last entry";
	return NULL;
}

/* A status, and the PSP's word for it where it looks like one. */
static const char *
refusal(const PayFeed *feed, const PayFeedAnswer *answer)
{
	const char *word = feed->refusal(answer->body, answer->body_bytes);

	if (word == NULL || strlen(word) > 64 || strspn(word, "abcdefghijklmnopqrstuvwxyz_") != strlen(word))
		return psprintf("HTTP status %d", answer->http_status);
	return psprintf("HTTP status %d, %s", answer->http_status, word);
}

/* ---------- cursor and watermark ---------- */

/* Of a page that has entries. */
static const char *
next_cursor(const PayFeedPage *page)
{
	return page->next ? page->next : page->ids[page->n - 1];
}

/*
 * Where our clock is ahead of the PSP's, or has jumped, the window's end was
 * still to come at the PSP when its first page was made, and what is created
 * until then would be passed over.  So the watermark goes no further than the
 * PSP's own clock, and back if it is ahead of that already: it is always safe
 * to read something again.
 */
static void
move_on(const PayFeedClaim *claim, const PayFeedAnswer *answer, const PayFeedPage *page, int added, TimestampTz now)
{
	PayArgs		args = {0};
	TimestampTz behind = now - (TimestampTz) (claim->lag_s + claim->interval_s) * USECS_PER_SEC;
	TimestampTz to = claim->to;
	bool		caught_up = to >= behind;

	if (claim->cursor[0] == '\0' && answer->date > 0)
	{
		TimestampTz end = (TimestampTz) (answer->date - claim->lag_s - unix_seconds(0)) * USECS_PER_SEC;

		if (end < to)
		{
			to = Max(end, claim->oldest);
			caught_up = true;
		}
	}
	pay_arg_text(&args, claim->psp);
	pay_arg_text(&args, claim->feed->name);
	/* At once while there is something to catch up with. */
	pay_arg_time(&args, page->more || !caught_up ? now : now + (TimestampTz) claim->interval_s * USECS_PER_SEC);
	pay_arg_time(&args, now);
	pay_arg_int64(&args, page->n);
	pay_arg_int64(&args, added);
	if (page->more)
		pay_arg_text(&args, next_cursor(page));
	pay_arg_time(&args, to);
	pay_spi_exec(page->more ? &next_page : &end_window, &args);
}

/* `answer` is NULL when it was good, and could not be stored. */
static void
fail(const PayFeedClaim *claim, const PayFeedAnswer *answer, const char *error, int tries, TimestampTz now)
{
	PayArgs		args = {0};
	int			status = answer && answer->transport == PAY_TRANSPORT_ANSWERED ? answer->http_status : 0;
	int			delay_s = Min(1 << Min(tries, 10), BACKOFF_S_MAX);

	pay_arg_text(&args, claim->psp);
	pay_arg_text(&args, claim->feed->name);
	if (answer && answer->too_large && claim->limit > 1)
	{
		pay_arg_time(&args, now);
		pay_arg_int32(&args, claim->limit / 2);
		pay_arg_text(&args, psprintf("a page of %d entries is too large", claim->limit));
		pay_spi_exec(&halve_page, &args);
		return;
	}
	/* In the PSP's own words: a page of something in between is not about our key. */
	if (status == 401 && claim->feed->refusal(answer->body, answer->body_bytes))
		halt(claim->psp, now);
	/* A restricted key that may charge but not list is no reason to stop payments: the feed waits, and says so. */
	if (status == 403)
		delay_s = FORBIDDEN_S;
	if (answer && answer->retry_after_s > delay_s)
		delay_s = answer->retry_after_s;
	pay_arg_time(&args, now + (TimestampTz) delay_s * USECS_PER_SEC);
	pay_arg_time(&args, now);
	pay_arg_text(&args, error);
	/* An entry that the PSP no longer knows is no place to go on from: the window begins anew. */
	pay_arg_bool(&args, (status == 400 || status == 404) && claim->cursor[0] != '\0');
	pay_spi_exec(&note_failure, &args);
}

static void
halt(const char *psp, TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_arg_time(&args, now);
	pay_arg_text(&args, "the PSP refused our credentials: HTTP status 401, when a feed was read");
	pay_spi_exec(&halt_psp, &args);
}

void
pay_feed_reconcile(const char *psp)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_spi_exec(&reconcile_new, &args);
}

/* ---------- time ---------- */

static int64
unix_seconds(TimestampTz time)
{
	return time / USECS_PER_SEC + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

/* Down, also before 2000. */
static TimestampTz
whole_second(TimestampTz time)
{
	TimestampTz rest = time % USECS_PER_SEC;

	return time - (rest < 0 ? rest + USECS_PER_SEC : rest);
}
