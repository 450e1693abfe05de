/*
 * src/worker/feeds.c
 *		The worker's reading of feeds.
 *
 * The same three steps as for payments: claim in a transaction, ask with none
 * open, complete in a transaction.  What is different: a feed never holds
 * payments up.
 *
 * - It has slots of its own, a few, and takes none of a PSP's calls in flight.
 *	 A page that hangs keeps its own feed waiting.
 * - How it ends is not counted by the circuit breaker, nor by the pace: a list
 *	 that fails, or has a limit of its own, says nothing of charges.  While the
 *	 breaker is open, or the PSP wants a pause, no page is asked for.
 * - A step completes one page at most, or a part of one, or makes one
 *	 comparison, which is stopped after a while.
 */
#include "payments.h"

#include "worker/lane.h"

#include "core/clock.h"
#include "inbound/feed.h"
#include "inbound/feed_entry.h"
#include "worker/transaction.h"
#include "worker/upstream.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define SLOTS 16
#define PAGE_BYTES_MAX (1024 * 1024)
/* A page cannot be smaller than one entry: this much it may have. */
#define ENTRY_BYTES_MAX (8 * 1024 * 1024)
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

/* A page that was claimed; `response` is its answer once it is here. */
typedef struct PayFeedCall
{
	bool		busy;
	PayFeedClaim claim;
	PayUpstream *upstream;
	int64		token;			/* serial of the one that was sent */
	PayHttpResponse *response;
	PaySteady	complete_at;
	int			complete_tries;
} PayFeedCall;

typedef struct PayFeedRound
{
	const char **psps;
	int			n;
	int			room;
	PayFeedClaim claims[SLOTS];
	PayUpstream *upstreams[SLOTS];	/* of each claim */
	int			claimed;
} PayFeedRound;

typedef struct PayFeedCompleting
{
	PayFeedCall *call;
	PayFeedProgress progress;
	const char *error;
} PayFeedCompleting;

static PayFeedCall calls[SLOTS];
static int	busy = 0;
static PaySteady pages_at = 0;
static PaySteady claimed_at = 0;

static void init(void);
static void recover(void);
static bool retime(void);
static void look(void);
static const char **callable(int *n, PaySteady now);
static PaySteady next_look(bool noted);
static void claim(void);
static void retry_work(void *arg);
static void claim_work(void *arg);
static void send_page(void *arg);
static void answered(int slot, PayHttpResponse *response);
static PaySteady next(bool idle);
static void step(bool idle);
static void complete_page(PayFeedCall *call);
static void complete_work(void *arg);
static void fail_work(void *arg);
static void release(PayFeedCall *call);
static void ask_to_compare(const PayFeedCall *call, const PayFeedProgress *progress, PaySteady now);
static void compare(PayUpstream *upstream);
static void compare_work(void *arg);
static void on_timeout(void);
static PaySteady later(PaySteady now, int64 ms);

PayLane		pay_feeds_lane = {
	.name = "feeds",
	.init = init,
	.recover = recover,
	.retime = retime,
	.look = look,
	.next_look = next_look,
	.claim = claim,
	.answered = answered,
	.next = next,
	.step = step,
};

static void
init(void)
{
	pay_feeds_lane.slots = SLOTS;
	RegisterTimeout(USER_TIMEOUT, on_timeout);
}

static void
recover(void)
{
	pay_feed_recover(PAY_WORKER_ROLE, GetCurrentTimestamp());
}

static bool
retime(void)
{
	pay_feed_retime(GetCurrentTimestamp());
	return true;
}

static void
look(void)
{
	int			n;
	const char **psps = callable(&n, pay_clock_now());

	pages_at = pay_clock_of(pay_feed_due(psps, n));
}

/* The PSPs that may be called now.  The names last until the PSPs are read again. */
static const char **
callable(int *n, PaySteady now)
{
	const char **psps = palloc(sizeof(char *) * Max(pay_upstreams_count(), 1));

	*n = 0;
	for (int i = 0; i < pay_upstreams_count(); i++)
	{
		PayUpstream *upstream = pay_upstreams_get(i);

		if (upstream->usable && upstream->adapter->n_feeds > 0 && pay_upstream_open(upstream, now))
			psps[(*n)++] = upstream->psp;
	}
	return psps;
}

/* ---------- claim and send ---------- */

/* Nobody commits a page: `noted` is nothing to us. */
static PaySteady
next_look(bool noted)
{
	return busy < pay_feeds_lane.allowed ? Max(pages_at, later(claimed_at, PACE_MS)) : PAY_NEVER;
}

static void
claim(void)
{
	PaySteady	now = pay_clock_now();
	PayFeedRound *round;
	int			slot = 0;

	if (now < next_look(false))
		return;
	claimed_at = now;
	round = palloc0(sizeof(PayFeedRound));
	round->room = pay_feeds_lane.allowed - busy;
	round->psps = callable(&round->n, now);
	/* What waits is here already; it needs no PSP. */
	if (pay_worker_transaction(retry_work, NULL, NULL) == PAY_WORK_FAILED)
		claimed_at = later(now, RETRY_AGAIN_MS);
	if (pay_worker_transaction(claim_work, round, NULL) == PAY_WORK_FAILED)
	{
		claimed_at = later(now, RETRY_AGAIN_MS);
		return;
	}
	for (int i = 0; i < round->claimed; i++)
	{
		while (calls[slot].busy)
			slot++;
		calls[slot] = (PayFeedCall) {.busy = true, .claim = round->claims[i]};
		calls[slot].upstream = round->upstreams[i];
		calls[slot].upstream->users++;
		busy++;
		/* Else its lease runs out, and the page is asked for again. */
		if (!pay_worker_try(send_page, &calls[slot], NULL))
			release(&calls[slot]);
	}
}

static void
retry_work(void *arg)
{
	pay_feed_retry(GetCurrentTimestamp(), PAY_WORKER_ROLE);
}

static void
claim_work(void *arg)
{
	PayFeedRound *round = arg;
	int			lease_ms = 0;

	for (int i = 0; i < pay_upstreams_count(); i++)
		lease_ms = Max(lease_ms, pay_upstream_lease_ms(pay_upstreams_get(i)));
	round->claimed = pay_feed_claim(round->psps, round->n, PAY_WORKER_ROLE, lease_ms, round->room, GetCurrentTimestamp(), round->claims);
	for (int i = 0; i < round->claimed; i++)
		round->upstreams[i] = pay_upstreams_find(round->claims[i].psp, round->claims[i].adapter);
	pages_at = pay_clock_of(pay_feed_due(round->psps, round->n));
}

static void
send_page(void *arg)
{
	PayFeedCall *call = arg;
	PayRequest	wanted = {0};
	PayHttpRequest request = {0};

	Assert(!IsTransactionState());
	pay_feed_request(&call->claim, &wanted);
	request.tag = pay_feeds_lane.first_tag + (call - calls);
	request.response_bytes_max = call->claim.limit > 1 ? PAGE_BYTES_MAX : ENTRY_BYTES_MAX;
	call->token = pay_upstream_token_serial(call->upstream);
	pay_upstream_begun(call->upstream, 1, pay_clock_now());
	pay_upstream_send(call->upstream, &wanted, NULL, false, &request);
}

static void
answered(int slot, PayHttpResponse *response)
{
	PayFeedCall *call = &calls[slot];

	if (pay_upstream_token_ended(call->upstream, call->token, response->http_status))
		response->transport = PAY_TRANSPORT_NOT_SENT;
	call->response = response;
	call->complete_at = 0;
	call->complete_tries = 0;
}

/* ---------- complete ---------- */

static PaySteady
next(bool idle)
{
	PaySteady	due = PAY_NEVER;

	for (int i = 0; busy > 0 && i < SLOTS; i++)
		if (calls[i].response)
			due = Min(due, calls[i].complete_at);
	for (int i = 0; !idle && i < pay_upstreams_count(); i++)
		due = Min(due, pay_upstreams_get(i)->compare_at);
	return due;
}

static void
step(bool idle)
{
	PaySteady	now = pay_clock_now();

	for (int i = 0; busy > 0 && i < SLOTS; i++)
		if (calls[i].response && calls[i].complete_at <= now)
		{
			complete_page(&calls[i]);
			return;
		}
	for (int i = 0; !idle && i < pay_upstreams_count(); i++)
		if (pay_upstreams_get(i)->compare_at <= now)
		{
			compare(pay_upstreams_get(i));
			return;
		}
}

static void
complete_page(PayFeedCall *call)
{
	PayFeedCompleting completing = {.call = call};
	PayWorkError error = {0};
	PayWorkEnd	end = pay_worker_transaction(complete_work, &completing, &error);

	if (end == PAY_WORK_NOT_SET_UP)
	{
		call->complete_at = later(pay_clock_now(), COMPLETE_AGAIN_MS);
		return;
	}
	if (end == PAY_WORK_DONE)
	{
		ask_to_compare(call, &completing.progress, pay_clock_now());
		if (completing.progress.again)
			return;				/* after payments have had their turn */
	}
	else if (pay_worker_error_passes(&error) && ++call->complete_tries < COMPLETE_TRIES_MAX)
	{
		call->complete_at = later(pay_clock_now(), COMPLETE_AGAIN_MS);
		return;
	}
	else
	{
		/* If even that fails, the lease runs out and the page is read again. */
		completing.error = error.message;
		pay_worker_transaction(fail_work, &completing, NULL);
	}
	release(call);
	pages_at = 0;
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
	call->upstream->users--;
	pay_http_free(call->response);
	memset(call, 0, sizeof(PayFeedCall));
	busy--;
}

/* ---------- compare ---------- */

/* Behind the import, in a transaction of its own: what came in is kept whatever comes of it. */
static void
ask_to_compare(const PayFeedCall *call, const PayFeedProgress *progress, PaySteady now)
{
	PayUpstream *upstream = call->upstream;
	PaySteady	at;

	if (call->claim.feed->kind != PAY_FEED_LINES || !(progress->added > 0 || progress->window_done))
		return;
	at = progress->added > 0 ? upstream->compare_rest_until : later(upstream->compared_at, COMPARE_MS);
	upstream->compare_at = Min(upstream->compare_at, Max(now, at));
}

static void
compare(PayUpstream *upstream)
{
	PaySteady	begun = pay_clock_now();
	PaySteady	ended;
	bool		ok;

	enable_timeout_after(USER_TIMEOUT, COMPARE_TIMEOUT_MS);
	ok = pay_worker_transaction(compare_work, upstream, NULL) != PAY_WORK_FAILED;
	disable_timeout(USER_TIMEOUT, false);
	/* It may have gone off when all was done. */
	QueryCancelPending = false;
	ended = pay_clock_now();
	upstream->compared_at = ended;
	upstream->compare_rest_until = Max(later(ended, ok ? COMPARE_PACE_MS : COMPARE_MS), ended + COMPARE_REST * (ended - begun));
	upstream->compare_at = ok ? PAY_NEVER : upstream->compare_rest_until;
}

static void
compare_work(void *arg)
{
	pay_feed_reconcile(((PayUpstream *) arg)->psp);
}

/* In a signal handler: as if somebody had cancelled the query. */
static void
on_timeout(void)
{
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static PaySteady
later(PaySteady now, int64 ms)
{
	return now + ms * 1000;
}
