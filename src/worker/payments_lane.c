/*
 * src/worker/payments_lane.c
 *		The worker's calls for payments.
 *
 * A request is sent only after the commit of the claim that wrote its attempt
 * row.  A batch of answers is completed in one transaction, for one fsync; if
 * anything in it fails, all is rolled back and each item is completed alone,
 * so that a poison row ends in the dead letters and the others go through.  A
 * payment that a client holds locked is never waited for: its answer is kept
 * for the next round, lease and all.
 *
 * Death at any point leaves leases behind.  The next worker lets them run out
 * at its start, and they are completed as unknown.
 */
#include "payments.h"

#include "worker/lane.h"

#include "base/uuid.h"
#include "core/arming.h"
#include "core/clock.h"
#include "core/guc.h"
#include "core/spi.h"
#include "payment/adapter.h"
#include "payment/apply.h"
#include "payment/dead_letter.h"
#include "payment/queue.h"
#include "worker/maintenance.h"
#include "worker/transaction.h"
#include "worker/upstream.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define RESPONSE_BYTES_MAX (1024 * 1024)
/* When due rows were locked by somebody, look again after this. */
#define CONTENDED_MS 50
/* Likewise a PSP's row, twice as late each time up to this. */
#define LOCKED_MS_MAX 1000
#define COMPLETE_AGAIN_MS 200
/* At most one round of claims and one of completing in this time: when much is going on, larger batches cost less each; when little is, nobody waits. */
#define PACE_MS 20
/* After this many items that hit a lock, the rest waits for the next round: each costs a lock timeout. */
#define CONTENDED_MAX 10
#define SKIP_MS 10000
/* A round of claims that has taken this long begins with no further PSP. */
#define ROUND_MS 100

/* When a call is made again that we were in the way of. */
#define NO_MEANS_MS 1000
#define NOT_ALLOWED_MS 60000
static const int again_ms[] = {
	[PAY_HTTP_UNHINDERED] = 0,
	[PAY_HTTP_NO_MEANS] = NO_MEANS_MS,
	[PAY_HTTP_NOT_ALLOWED] = NOT_ALLOWED_MS,
	[PAY_HTTP_NOT_SENDABLE] = 0,
};

/* A call in flight.  What it is of is known without any memory to be had; the rest of the claim lives in its context. */
typedef struct PayCall
{
	PayUpstream *upstream;		/* NULL: slot is free */
	pg_uuid_t	operation_id;
	pg_uuid_t	payment_id;
	int			attempt;
	bool		inquiry;
	MemoryContext context;		/* NULL: could not be made */
	PayClaim   *claim;
	int64		token;			/* serial of the one that was sent */
	PaySteady	begun_at;
	PayAnswer	answer;			/* what its headers say, while they come in */
} PayCall;

/* A call that has ended, waiting to be completed.  What its report points to lives in the call's context. */
typedef struct PayDone
{
	int			slot;
	PayHttpResponse *response;	/* NULL: in-process adapter */
	PayReport	report;
	PaySteady	ended_at;
	PaySteady	not_before;		/* could not be completed yet */
	bool		contended;		/* tried alone: somebody holds what it needs */
	bool		completed;
} PayDone;

typedef struct PayRange
{
	const int  *which;			/* indexes into `done` */
	int			n;
} PayRange;

typedef struct PayBurial
{
	pg_uuid_t	operation_id;
	const char *reason;
	const char *detail;
} PayBurial;

typedef struct PayClaimRound
{
	PayUpstream *upstream;
	int			room;
	PaySteady	now;
	PayClaim   *claims;
	int			n;
	int			touched;
	bool		locked;			/* somebody holds the PSP's row */
	pg_uuid_t	first;			/* of the rows touched */
	PayWorkError error;
	PaySteady	next_due;
} PayClaimRound;

/* Process-local, written by this lane only. */
static PayCall *calls = NULL;
static int *free_slots = NULL;
static int	free_count = 0;
static PayDone *done = NULL;
static int	done_count = 0;
static PaySteady claim_at = 0;	/* 0: at once */
static PaySteady claimed_at = 0;
static uint64 lap = 1;			/* in each, every PSP has its turn once */
static PaySteady completed_at = 0;
static int	contended_items = 0;	/* in this round of completing */
static int *ready = NULL;		/* of a round of completing: its indexes into `done` */
static bool none_set_up = false;	/* answers wait for the extension to come back */

static void init(void);
static void recover(void);
static bool retime(void);
static void look(void);
static PaySteady next_look(bool noted);
static void claim(void);
static PaySteady claim_from(PayUpstream *upstream, PaySteady now);
static int	room_for(PayUpstream *upstream, PaySteady now, PaySteady *again);
static void claim_work(void *arg);
static bool is_on_its_way(const pg_uuid_t *operation_id);
static PaySteady claim_failed(PayClaimRound *round);
static void skip_row(PayUpstream *upstream, PayClaimRound *round);
static void begin_call(PayUpstream *upstream, const PayClaim *claim);
static void begin_work(void *arg);
static void send_call(int slot);
static void not_begun(int slot, const PayWorkError *error);
static void on_header(void *context, const PayHeader *header);
static PayDone *end_call(int slot);
static void answered(int slot, PayHttpResponse *response);
static void classify_work(void *arg);
static PaySteady next(bool idle);
static void step(bool idle);
static void complete(void);
static void complete_range(const int *which, int n);
static void put_off(const int *which, int n);
static void complete_work(void *arg);
static void give_up(PayDone *d, const PayWorkError *error);
static void bury_work(void *arg);
static void release(int slot);

static PayStmt read_next_due = PAY_STMT(SPI_OK_SELECT,
	"SELECT min(due_at) FROM payments.queue WHERE psp = $1", TEXTOID);

PayLane		pay_payments_lane = {
	.name = "payments",
	.init = init,
	.recover = recover,
	.retime = retime,
	.look = look,
	.next_look = next_look,
	.claim = claim,
	.answered = answered,
	.next = next,
	.step = step,
	.reload = pay_upstreams_reload,
};

static void
init(void)
{
	int			slots = pay_inflight_max;

	pay_payments_lane.slots = slots;
	calls = MemoryContextAllocZero(TopMemoryContext, sizeof(PayCall) * slots);
	done = MemoryContextAllocZero(TopMemoryContext, sizeof(PayDone) * slots);
	ready = MemoryContextAlloc(TopMemoryContext, sizeof(int) * slots);
	free_slots = MemoryContextAlloc(TopMemoryContext, sizeof(int) * slots);
	for (; free_count < slots; free_count++)
		free_slots[free_count] = slots - 1 - free_count;
}

static void
recover(void)
{
	pay_queue_recover(PAY_WORKER_ROLE, GetCurrentTimestamp());
	pay_upstreams_recover();
}

static bool
retime(void)
{
	return pay_queue_retime(GetCurrentTimestamp());
}

static void
look(void)
{
	pay_upstreams_read();
}

/* ---------- claim ---------- */

static PaySteady
next_look(bool noted)
{
	return Max(noted ? 0 : Min(claim_at, pay_arms_due()), claimed_at + PACE_MS * 1000);
}

/*
 * From each PSP that has something due, beginning with the one that waits
 * longest.  A round that takes long is broken off, so that answers are not kept
 * waiting; the next goes on with those that have not had their turn.
 */
static void
claim(void)
{
	PaySteady	now = pay_clock_now();
	bool		begun = false;

	/* Their leases may have run out; the PSP's word comes before what a lost lease says. */
	for (int i = 0; none_set_up && i < done_count; i++)
		done[i].not_before = 0;
	if (none_set_up)
		complete();
	claim_at = now + (PaySteady) pay_poll_interval_ms * 1000;
	for (int i = 0; i < pay_upstreams_count(); i++)
	{
		PayUpstream *upstream = pay_upstreams_get(i);
		PaySteady	again;

		/* Without a token nothing can be sent, nor to an account that is not known; when that is settled, there is another look. */
		if (!pay_upstream_admits(upstream, now))
			continue;
		/* A look at the queue costs little, a transaction of claims for nothing much more. */
		if (upstream->due_at > now)
			again = upstream->due_at;
		else if (upstream->lap == lap)
			again = 0;
		else if (begun && pay_clock_now() >= now + ROUND_MS * 1000)
		{
			claim_at = 0;
			return;
		}
		else
		{
			begun = true;
			upstream->lap = lap;
			again = claim_from(upstream, now);
			CHECK_FOR_INTERRUPTS();
		}
		claim_at = Min(claim_at, again);
	}
	lap++;
}

/* Returns when to look at this PSP again. */
static PaySteady
claim_from(PayUpstream *upstream, PaySteady now)
{
	PayClaimRound round = {.upstream = upstream, .now = now, .next_due = PAY_NEVER};
	PaySteady	again;

	if (now >= upstream->skip_until)
		upstream->n_skip = 0;
	round.room = room_for(upstream, now, &again);
	if (upstream->one_by_one)
		round.room = Min(round.room, 1);
	/* Where that depends on what is in flight, the next call that is completed claims again. */
	if (round.room <= 0)
		return again;
	if (pay_worker_transaction(claim_work, &round, &round.error) == PAY_WORK_FAILED)
		return claim_failed(&round);
	upstream->locked_ms = round.locked ? Min(Max(2 * upstream->locked_ms, CONTENDED_MS), LOCKED_MS_MAX) : 0;
	if (round.locked)
		return now + upstream->locked_ms * INT64CONST(1000);
	pay_upstream_begun(upstream, round.n, now);
	for (int i = 0; i < round.n; i++)
		begin_call(upstream, &round.claims[i]);
	if (round.touched > 0)
		claimed_at = now;		/* a look that finds nothing does not hold up the next */
	else
		upstream->one_by_one = false;
	if (room_for(upstream, now, &again) <= 0)
		return again;
	/* Due, but skipped: somebody holds it. */
	if (round.touched < round.room && round.next_due <= now)
		return now + CONTENDED_MS * 1000;
	return round.next_due;
}

/* How many calls may be added: what the upstream allows, and one batch. */
static int
room_for(PayUpstream *upstream, PaySteady now, PaySteady *again)
{
	int			in_use = pay_payments_lane.slots - free_count;
	int			room = Min(free_count, pay_payments_lane.allowed - in_use);

	return Min(pay_upstream_room(upstream, room, pay_payments_lane.allowed, now, again), pay_batch_size);
}

static void
claim_work(void *arg)
{
	PayClaimRound *round = arg;
	PayArgs		args = {0};

	round->touched = 0;
	round->locked = !pay_upstream_lock(round->upstream);
	if (round->locked)
		return;
	round->n = pay_queue_claim(round->upstream->psp, PAY_WORKER_ROLE, round->room, pay_upstream_lease_ms(round->upstream),
							   GetCurrentTimestamp(), is_on_its_way, round->upstream->skip, round->upstream->n_skip,
							   &round->claims, &round->touched, &round->first);
	if (round->n > 0 && !round->upstream->adapter->in_process)
		pay_arms_used();
	/* What another adapter built must not be sent there. */
	for (int i = 0; i < round->n; i++)
		(void) pay_upstreams_find(round->upstream->psp, round->claims[i].adapter);
	if (round->touched == round->room)
	{
		round->next_due = round->now;	/* there may be more */
		return;
	}
	pay_arg_text(&args, round->upstream->psp);
	pay_spi_exec(&read_next_due, &args);
	if (!pay_spi_isnull(0, 1))
		round->next_due = pay_clock_of(pay_spi_time(0, 1));
}

/* A lease that runs out by the time of day alone: that was set ahead since, and we have not died. */
static bool
is_on_its_way(const pg_uuid_t *operation_id)
{
	PaySteady	now = pay_clock_now();

	for (int i = 0; i < pay_payments_lane.slots; i++)
		if (calls[i].upstream && memcmp(&calls[i].operation_id, operation_id, UUID_LEN) == 0 &&
			calls[i].begun_at > now - pay_upstream_lease_ms(calls[i].upstream) * INT64CONST(1000))
			return true;
	return false;
}

/* It said why in the log.  Alone, the row that is to blame shows itself. */
static PaySteady
claim_failed(PayClaimRound *round)
{
	if (!pay_worker_error_passes(&round->error))
		skip_row(round->upstream, round);
	return round->now + (round->upstream->n_skip < PAY_SKIP_MAX ? CONTENDED_MS : SKIP_MS) * 1000;
}

/* A row that cannot be claimed goes to the dead letters; if even that fails it is left alone for a while. */
static void
skip_row(PayUpstream *upstream, PayClaimRound *round)
{
	PayBurial	burial = {round->first, "cannot_claim", round->error.message};

	if (!upstream->one_by_one || round->touched == 0)
	{
		upstream->one_by_one = true;
		return;
	}
	upstream->one_by_one = false;	/* it is found; should there be another, the next batch fails as well */
	if (pay_worker_transaction(bury_work, &burial, NULL) != PAY_WORK_FAILED || upstream->n_skip == PAY_SKIP_MAX)
		return;
	upstream->skip[upstream->n_skip++] = round->first;
	upstream->skip_until = round->now + SKIP_MS * 1000;
}

/* ---------- send ---------- */

typedef struct PayBegun
{
	int			slot;
	const PayClaim *claim;
} PayBegun;

/* Whatever fails on the way, the slot ends as a call to be completed. */
static void
begin_call(PayUpstream *upstream, const PayClaim *claim)
{
	PayBegun	begun = {free_slots[--free_count], claim};
	PayWorkError error = {0};

	calls[begun.slot] = (PayCall) {
		.upstream = upstream, .operation_id = claim->operation_id, .payment_id = claim->payment_id,
		.attempt = claim->attempt, .inquiry = claim->inquiry,
		.begun_at = pay_clock_now()
	};
	upstream->users++;
	upstream->began_at = calls[begun.slot].begun_at;
	if (upstream->inflight++ == 0)
		upstream->heard_at = upstream->began_at;
	if (!pay_worker_try(begin_work, &begun, &error))
		not_begun(begun.slot, &error);
}

static void
begin_work(void *arg)
{
	PayBegun   *begun = arg;
	PayCall    *call = &calls[begun->slot];

	/* The claim was made in the tick's context; its call may outlive many ticks. */
	call->context = AllocSetContextCreate(TopMemoryContext, "payments request", ALLOCSET_SMALL_SIZES);
	call->claim = pay_queue_copy_claim(begun->claim, call->context);
	send_call(begun->slot);
}

static void
send_call(int slot)
{
	PayCall    *call = &calls[slot];
	PayClaim   *c = call->claim;
	PayHttpRequest request = {0};

	Assert(!IsTransactionState());
	if (c->adapter->in_process)
	{
		MemoryContext old = MemoryContextSwitchTo(call->context);
		PayResult	result;

		pay_result_init(&result);
		c->adapter->perform(&c->command, c->inquiry, &result);
		MemoryContextSwitchTo(old);
		end_call(slot)->report.result = result;
		return;
	}
	call->token = pay_upstream_token_serial(call->upstream);
	pay_answer_init(&call->answer);
	request.tag = pay_payments_lane.first_tag + slot;
	request.response_bytes_max = RESPONSE_BYTES_MAX;
	request.on_header = on_header;
	request.on_header_context = call;
	pay_upstream_send(call->upstream, &c->request, c->psp_key, false, &request);
}

/* Nothing has left.  A bad time uses up no try; what raises whenever it is begun has to end one day. */
static void
not_begun(int slot, const PayWorkError *error)
{
	PayDone    *d = end_call(slot);

	d->report.result.class = calls[slot].inquiry ? PAY_CLASS_UNKNOWN : PAY_CLASS_NOT_SENT;
	d->report.error = "could not be begun on this host; see the server's log";
	if (pay_worker_error_passes(error))
		d->report.again_ms = NO_MEANS_MS;
}

/* Inside curl. */
static void
on_header(void *context, const PayHeader *header)
{
	PayCall    *call = context;

	if (header == NULL)
		pay_answer_init(&call->answer);
	else
		pay_psp_read_header(call->claim->adapter, header, &call->answer);
}

/*
 * Lists a call as one to be completed.  The caller fills in the result, in the
 * call's context: it may have to wait for its payment longer than a tick lasts.
 */
static PayDone *
end_call(int slot)
{
	PayCall    *call = &calls[slot];
	PayDone    *d = &done[done_count++];

	memset(d, 0, sizeof(PayDone));
	d->slot = slot;
	d->ended_at = pay_clock_now();
	pay_upstream_ended(call->upstream);
	d->report.source = call->inquiry ? PAY_SOURCE_INQUIRY : PAY_SOURCE_ANSWER;
	d->report.psp = call->upstream->psp;
	d->report.operation_id = call->operation_id;
	d->report.payment_id = call->payment_id;
	d->report.payment_known = true;
	d->report.attempt = call->attempt;
	pay_result_init(&d->report.result);
	return d;
}

static void
answered(int slot, PayHttpResponse *response)
{
	PayCall    *call = &calls[slot];
	PayDone    *d = end_call(slot);
	PaySteady	now = pay_clock_now();
	bool		token_ended;

	if (response->hindrance == PAY_HTTP_UNHINDERED)
		pay_upstream_note(call->upstream, response->transport, call->begun_at, now);
	token_ended = pay_upstream_token_ended(call->upstream, call->token, response->http_status);
	call->answer.transport = response->transport;
	call->answer.http_status = response->http_status;
	call->answer.body = response->body;
	call->answer.body_bytes = response->body_bytes;
	call->answer.retry_after_s = response->retry_after_s;
	d->response = response;
	d->report.again_ms = again_ms[response->hindrance];
	d->report.http_status = response->http_status;
	d->report.request_id = call->answer.request_id;
	d->report.error = response->error;
	d->report.body = response->body;
	d->report.body_bytes = response->body_bytes;
	d->report.elapsed_ms = response->elapsed_ms;
	if (!pay_worker_do(classify_work, d, pay_adapter_is_functions(call->claim->adapter)))
	{
		/* Nobody knows what it said. */
		pay_result_init(&d->report.result);
		d->report.error = "the answer could not be read; see the server's log";
	}
	/* With a new one it goes through: nobody need act. */
	if (token_ended && d->report.result.class == PAY_CLASS_MISCONFIGURED)
	{
		d->report.result.class = call->inquiry ? PAY_CLASS_UNKNOWN : PAY_CLASS_NOT_SENT;
		d->report.error = "the token had ended; nothing was processed";
		d->report.again_ms = NO_MEANS_MS;
	}
	if (response->hindrance == PAY_HTTP_UNHINDERED)
		pay_upstream_answered(call->upstream, response, &d->report.result, call->claim->refused > 0, call->begun_at, now);
}

static void
classify_work(void *arg)
{
	PayDone    *d = arg;
	PayCall    *call = &calls[d->slot];
	MemoryContext old = MemoryContextSwitchTo(call->context);

	pay_adapter_classify(call->claim->adapter, &call->claim->command, call->inquiry, &call->answer, &d->report.result);
	MemoryContextSwitchTo(old);
}

/* ---------- complete ---------- */

static PaySteady
next(bool idle)
{
	PaySteady	due = PAY_NEVER;

	for (int i = 0; i < done_count; i++)
		due = Min(due, Max(done[i].not_before, completed_at + PACE_MS * 1000));
	return due;
}

static void
step(bool idle)
{
	if (done_count >= pay_batch_size || pay_clock_now() >= completed_at + PACE_MS * 1000)
		complete();
}

/* Completes what can be completed now; the rest stays in `done`, its lease still held. */
static void
complete(void)
{
	PaySteady	now = pay_clock_now();
	int			n = 0,
				kept = 0;

	/* What waits for somebody's lock comes last: it would use up the round each time. */
	for (int contended = 0; contended < 2; contended++)
		for (int i = 0; i < done_count; i++)
			if (done[i].not_before <= now && done[i].contended == contended)
				ready[n++] = i;
	none_set_up = none_set_up && n == 0;
	if (n > 0)
		completed_at = now;
	contended_items = 0;
	for (int from = 0; from < n; from += pay_batch_size)
		complete_range(ready + from, Min(n - from, pay_batch_size));

	for (int i = 0; i < done_count; i++)
	{
		if (!done[i].completed)
		{
			done[kept++] = done[i];
			continue;
		}
		release(done[i].slot);
		pay_http_free(done[i].response);
		claim_at = 0;		/* there is room again, and what was completed may be due again */
		pay_maintenance_posted(now);
	}
	done_count = kept;
	pay_payments_lane.waits_since = kept > 0 ? done[0].ended_at : 0;
}

static void
put_off(const int *which, int n)
{
	for (int i = 0; i < n; i++)
		done[which[i]].not_before = pay_clock_now() + COMPLETE_AGAIN_MS * 1000;
}

static void
complete_range(const int *which, int n)
{
	PayRange	range = {which, n};
	PayWorkError error = {0};
	PayWorkEnd	end;

	if (contended_items > CONTENDED_MAX)
	{
		put_off(which, n);
		return;
	}
	end = pay_worker_transaction(complete_work, &range, &error);
	if (end == PAY_WORK_NOT_SET_UP)
	{
		/* The tables outlive DROP EXTENSION, and so does what a PSP has said. */
		none_set_up = true;
		put_off(which, n);
		return;
	}
	if (end == PAY_WORK_DONE)
	{
		for (int i = 0; i < n; i++)
		{
			PayDone    *d = &done[which[i]];

			d->completed = d->report.outcome != PAY_OUTCOME_LOCKED;
			if (d->report.outcome == PAY_OUTCOME_UNMATCHED)
				ereport(LOG,
						(errmsg("PSP \"%s\" has answered about payment %s, which is not here any more", d->report.psp, pay_uuid_text(&d->report.payment_id)),
						 errhint("If an earlier state was restored: what the PSP has charged since, its events and settlement lines tell.")));
			d->not_before = pay_clock_now() + CONTENDED_MS * 1000;
		}
		return;
	}
	if (n > 1)
	{
		for (int i = 0; i < n; i++)
			complete_range(which + i, 1);
		return;
	}
	done[which[0]].contended = pay_worker_error_passes(&error);
	if (done[which[0]].contended && ++contended_items)
		put_off(which, 1);
	else
		give_up(&done[which[0]], &error);
}

/* It goes to the dead letters.  If even that fails, the lease runs out and recovery takes it up. */
static void
give_up(PayDone *d, const PayWorkError *error)
{
	PayBurial	burial = {d->report.operation_id, pay_dead_letter_reason(error->sqlstate), error->message};

	d->completed = true;
	if (pay_worker_transaction(bury_work, &burial, NULL) == PAY_WORK_NOT_SET_UP)
	{
		d->completed = false;
		d->not_before = pay_clock_now() + COMPLETE_AGAIN_MS * 1000;
	}
}

static void
complete_work(void *arg)
{
	PayRange   *range = arg;
	PayReport  *reports = palloc(sizeof(PayReport) * range->n);

	for (int i = 0; i < range->n; i++)
		reports[i] = done[range->which[i]].report;
	pay_apply(reports, range->n, false, GetCurrentTimestamp(), PAY_WORKER_ROLE);
	for (int i = 0; i < range->n; i++)
		done[range->which[i]].report.outcome = reports[i].outcome;
}

static void
bury_work(void *arg)
{
	PayBurial  *burial = arg;

	pay_dead_letter_bury(&burial->operation_id, burial->reason, burial->detail, GetCurrentTimestamp(), PAY_WORKER_ROLE);
}

static void
release(int slot)
{
	calls[slot].upstream->users--;
	calls[slot].upstream->kept--;
	if (calls[slot].context)
		MemoryContextDelete(calls[slot].context);
	calls[slot] = (PayCall) {NULL};
	free_slots[free_count++] = slot;
}
