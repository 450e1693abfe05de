/*
 * src/worker/feeds.c
 *		Reading feeds, beside the worker's calls for payments.
 *
 * The same three steps as for payments: claim in a transaction, ask with none
 * open, complete in a transaction.  What is different: a feed never holds
 * payments up.
 *
 * - It has slots of its own, a few, and takes none of a PSP's calls in flight.
 *	 A page that hangs keeps its own feed waiting.
 * - How it ends is not counted by the circuit breaker: a list that fails says
 *	 nothing of charges.  While the breaker is open no page is asked for.
 * - Each round of the loop does one step at most: a page, a part of one, some
 *	 entries that wait, or one comparison, which is stopped after a while.
 */
#include "payments.h"

#include "worker/worker_private.h"

#include "core/guc.h"
#include "http/http.h"
#include "inbound/feed.h"
#include "inbound/feed_entry.h"
#include "worker/upstream.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define PAGE_BYTES_MAX (1024 * 1024)
/* A page cannot be smaller than one entry: this much it may have. */
#define ENTRY_BYTES_MAX (8 * 1024 * 1024)
/* A lease must outlast the call. */
#define LEASE_SPARE_MS (60 * 1000)
/* Looks for due pages, and steps that failed, come no sooner than this. */
#define PACE_MS 100
#define COMPLETE_AGAIN_MS 200
#define COMPLETE_TRIES_MAX 25
#define RETRY_AGAIN_MS 1000
/* A comparison follows a page with something new; without, it comes this often, so that what is missing is noticed. */
#define COMPARE_PACE_MS 1000
#define COMPARE_MS (60 * 1000)
/* Payments wait while it runs: it is stopped after this, and never takes more than a twentieth of the time. */
#define COMPARE_TIMEOUT_MS 2000
#define COMPARE_REST 20
#define LINKS_MAX 64

/* A page that was claimed; `response` is its answer once it is here. */
typedef struct PayFeedCall
{
	bool		busy;
	PayFeedClaim claim;
	PayHttpResponse *response;
	TimestampTz complete_at;
	int			complete_tries;
} PayFeedCall;

/* When a PSP's lines are compared next; for the life of the process. */
typedef struct PayFeedCompare
{
	char		psp[NAMEDATALEN];
	TimestampTz due_at;
	TimestampTz rest_until;		/* not before, whatever came in */
	TimestampTz done_at;
} PayFeedCompare;

typedef struct PayFeedRound
{
	const char *psps[LINKS_MAX];
	int			n;
	int			room;
	TimestampTz now;
	PayFeedClaim claims[PAY_WORKER_FEED_SLOTS];
	int			claimed;
} PayFeedRound;

typedef struct PayFeedCompleting
{
	PayFeedCall *call;
	PayFeedProgress progress;
	const char *error;
} PayFeedCompleting;

static PayFeedCall calls[PAY_WORKER_FEED_SLOTS];
static int	busy = 0;
static TimestampTz look_at = 0;
static TimestampTz looked_at = 0;
static PayFeedCompare compares[LINKS_MAX];
static int	compare_count = 0;

static int	callable(const char **psps, TimestampTz now);
static void look_for_pages(TimestampTz now);
static void claim_work(void *arg);
static void send_page(int slot);
static void complete_page(PayFeedCall *call);
static void complete_work(void *arg);
static void fail_work(void *arg);
static void retry_work(void *arg);
static void release(PayFeedCall *call);
static void ask_to_compare(const PayFeedClaim *claim, const PayFeedProgress *progress, TimestampTz now);
static void compare(PayFeedCompare *compare);
static void compare_work(void *arg);
static void on_timeout(void);
static TimestampTz later(TimestampTz now, int64 ms);

void
pay_worker_feed_init(void)
{
	RegisterTimeout(USER_TIMEOUT, on_timeout);
}

void
pay_worker_feed_recover(TimestampTz now)
{
	pay_feed_recover(PAY_WORKER_ROLE, now);
}

void
pay_worker_feed_look(TimestampTz now)
{
	const char *psps[LINKS_MAX];
	int			n = callable(psps, now);

	look_at = pay_feed_due(psps, n);
}

/* The PSPs that may be called now.  The names last as long as the upstreams. */
static int
callable(const char **psps, TimestampTz now)
{
	int			n = 0;

	for (int i = 0; i < pay_upstreams_count() && n < LINKS_MAX; i++)
	{
		PayUpstream    *upstream = pay_upstreams_get(i);

		if (upstream->usable && upstream->adapter->n_feeds > 0 && (upstream->breaker_ms == 0 || now >= upstream->breaker_until))
			psps[n++] = upstream->psp;
	}
	return n;
}

void
pay_worker_feed_answered(PayHttpResponse *response)
{
	PayFeedCall *call = &calls[response->tag - PAY_WORKER_FEED_TAG];

	call->response = response;
	call->complete_at = 0;
	call->complete_tries = 0;
}

TimestampTz
pay_worker_feed_next(bool idle)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; busy > 0 && i < PAY_WORKER_FEED_SLOTS; i++)
		if (calls[i].response)
			next = Min(next, calls[i].complete_at);
	if (idle)
		return next;
	for (int i = 0; i < compare_count; i++)
		next = Min(next, compares[i].due_at);
	if (busy < PAY_WORKER_FEED_SLOTS)
		next = Min(next, Max(look_at, later(looked_at, PACE_MS)));
	return next;
}

void
pay_worker_feed_step(bool idle)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; busy > 0 && i < PAY_WORKER_FEED_SLOTS; i++)
		if (calls[i].response && calls[i].complete_at <= now)
		{
			complete_page(&calls[i]);
			return;
		}
	if (idle)
		return;
	if (busy < PAY_WORKER_FEED_SLOTS && now >= Max(look_at, later(looked_at, PACE_MS)))
	{
		look_for_pages(now);
		return;
	}
	for (int i = 0; i < compare_count; i++)
		if (compares[i].due_at <= now)
		{
			compare(&compares[i]);
			return;
		}
}

/* ---------- claim and send ---------- */

static void
look_for_pages(TimestampTz now)
{
	PayFeedRound *round = palloc0(sizeof(PayFeedRound));
	int			slot = 0;

	looked_at = now;
	round->now = now;
	round->room = PAY_WORKER_FEED_SLOTS - busy;
	round->n = callable(round->psps, now);
	/* What waits is here already; it needs no PSP. */
	if (!pay_worker_transaction(retry_work, &now, NULL, NULL))
		looked_at = later(now, RETRY_AGAIN_MS);
	if (!pay_worker_transaction(claim_work, round, NULL, NULL))
	{
		looked_at = later(now, RETRY_AGAIN_MS);
		return;
	}
	for (int i = 0; i < round->claimed; i++)
	{
		while (calls[slot].busy)
			slot++;
		calls[slot] = (PayFeedCall) {.busy = true, .claim = round->claims[i]};
		busy++;
		send_page(slot);
	}
}

static void
retry_work(void *arg)
{
	pay_feed_retry(*(TimestampTz *) arg, PAY_WORKER_ROLE);
}

static void
claim_work(void *arg)
{
	PayFeedRound *round = arg;
	int			timeout_ms = 0;

	for (int i = 0; i < pay_upstreams_count(); i++)
		timeout_ms = Max(timeout_ms, pay_upstreams_get(i)->timeout_ms);
	round->claimed = pay_feed_claim(round->psps, round->n, PAY_WORKER_ROLE, Max(pay_lease_ms, timeout_ms + LEASE_SPARE_MS),
									round->room, round->now, round->claims);
	look_at = pay_feed_due(round->psps, round->n);
}

static void
send_page(int slot)
{
	PayFeedCall *call = &calls[slot];
	PayUpstream    *upstream = NULL;
	PayRequest	wanted = {0};
	PayHttpRequest request = {0};
	const char *headers[16];
	int			n = 0;

	Assert(!IsTransactionState());
	for (int i = 0; i < pay_upstreams_count(); i++)
		if (strcmp(pay_upstreams_get(i)->psp, call->claim.psp) == 0)
			upstream = pay_upstreams_get(i);
	pay_feed_request(&call->claim, &wanted);
	headers[n++] = upstream->authorization;
	for (int i = 0; call->claim.adapter->headers && call->claim.adapter->headers[i] && n < (int) lengthof(headers) - 1; i++)
		headers[n++] = call->claim.adapter->headers[i];
	headers[n] = NULL;

	request.tag = PAY_WORKER_FEED_TAG + slot;
	request.method = wanted.method;
	request.url = psprintf("%s%s", upstream->base_url, wanted.path);
	request.headers = headers;
	request.timeout_ms = upstream->timeout_ms;
	request.connect_timeout_ms = pay_connect_timeout_ms;
	request.response_bytes_max = call->claim.limit > 1 ? PAGE_BYTES_MAX : ENTRY_BYTES_MAX;
	pay_http_start(&request);
}

/* ---------- complete ---------- */

static void
complete_page(PayFeedCall *call)
{
	PayFeedCompleting completing = {.call = call};
	char	   *error = NULL;
	int			sqlstate = 0;

	if (pay_worker_transaction(complete_work, &completing, &error, &sqlstate))
	{
		ask_to_compare(&call->claim, &completing.progress, GetCurrentTimestamp());
		if (completing.progress.again)
			return;				/* after payments have had their turn */
	}
	else if (pay_worker_error_passes(sqlstate) && ++call->complete_tries < COMPLETE_TRIES_MAX)
	{
		call->complete_at = later(GetCurrentTimestamp(), COMPLETE_AGAIN_MS);
		return;
	}
	else
	{
		/* If even that fails, the lease runs out and the page is read again. */
		completing.error = error;
		pay_worker_transaction(fail_work, &completing, NULL, NULL);
	}
	release(call);
	look_at = 0;
}

static void
complete_work(void *arg)
{
	PayFeedCompleting *completing = arg;
	PayHttpResponse *response = completing->call->response;
	PayFeedAnswer answer = {
		.transport = response->transport,
		.http_status = response->http_status,
		.body = response->body,
		.body_bytes = response->body_bytes,
		.too_large = response->too_large,
		.retry_after_s = response->retry_after_s,
		.date = response->date,
		.error = response->error,
	};

	completing->progress = pay_feed_complete(&completing->call->claim, &answer, GetCurrentTimestamp(), PAY_WORKER_ROLE);
}

static void
fail_work(void *arg)
{
	PayFeedCompleting *completing = arg;

	pay_feed_fail(&completing->call->claim, completing->error, GetCurrentTimestamp(), PAY_WORKER_ROLE);
}

static void
release(PayFeedCall *call)
{
	pay_http_free(call->response);
	memset(call, 0, sizeof(PayFeedCall));
	busy--;
}

/* ---------- compare ---------- */

/* Behind the import, in a transaction of its own: what came in is kept whatever comes of it. */
static void
ask_to_compare(const PayFeedClaim *claim, const PayFeedProgress *progress, TimestampTz now)
{
	PayFeedCompare *c = NULL;

	if (claim->feed->kind != PAY_FEED_LINES || !(progress->added > 0 || progress->window_done))
		return;
	for (int i = 0; i < compare_count; i++)
		if (strcmp(compares[i].psp, claim->psp) == 0)
			c = &compares[i];
	if (c == NULL)
	{
		if (compare_count == LINKS_MAX)
			return;
		c = &compares[compare_count++];
		strlcpy(c->psp, claim->psp, sizeof(c->psp));
		c->done_at = 0;
		c->rest_until = 0;
		c->due_at = DT_NOEND;
	}
	c->due_at = Min(c->due_at, Max(now, progress->added > 0 ? c->rest_until : later(c->done_at, COMPARE_MS)));
}

static void
compare(PayFeedCompare *compare)
{
	TimestampTz begun = GetCurrentTimestamp();
	bool		ok;

	enable_timeout_after(USER_TIMEOUT, COMPARE_TIMEOUT_MS);
	ok = pay_worker_transaction(compare_work, compare, NULL, NULL);
	disable_timeout(USER_TIMEOUT, false);
	/* It may have gone off when all was done. */
	QueryCancelPending = false;
	compare->due_at = DT_NOEND;
	compare->done_at = GetCurrentTimestamp();
	compare->rest_until = later(compare->done_at, ok ? COMPARE_PACE_MS : COMPARE_MS);
	compare->rest_until = Max(compare->rest_until, compare->done_at + COMPARE_REST * (compare->done_at - begun));
	if (!ok)
		compare->due_at = compare->rest_until;
}

static void
compare_work(void *arg)
{
	pay_feed_reconcile(((PayFeedCompare *) arg)->psp);
}

/* In a signal handler: as if somebody had cancelled the query. */
static void
on_timeout(void)
{
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static TimestampTz
later(TimestampTz now, int64 ms)
{
	return now + ms * 1000;
}
