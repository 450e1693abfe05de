/*
 * src/worker/worker.c
 *		The background worker of one database.
 *
 * One process, one loop, many HTTP requests in flight:
 *
 *		wait {latch, postmaster death, sockets, timer}
 *		drive curl; collect what has finished
 *		complete it		one short transaction a batch
 *		claim what is due	one short transaction a PSP
 *		send it			no transaction, no snapshot
 *
 * What is always true at the wait: no transaction is open.  A request is sent
 * only after the commit of the claim that wrote its attempt row.
 *
 * A batch is completed in one transaction, for one fsync; if anything in it
 * fails, all is rolled back and each item is completed alone, so that a poison
 * row ends in the dead letters and the others go through.  A payment that a
 * client holds locked is never waited for: its answer is kept for the next
 * round, lease and all.
 *
 * Death at any point leaves leases behind.  The next worker lets them run out
 * at its start, and they are completed as unknown.
 *
 * The process connects as payments_worker, which owns nothing and may do
 * nothing; inside its transactions it acts as payments_owner, which is no
 * superuser either, so a trigger made by a table's owner gains nothing.
 * worker.md tells the stories behind each line of this loop.
 *
 * ci: long file because the loop's steps share its calls and slots.
 */
#include "payments.h"

#include "worker/worker.h"
#include "worker/worker_private.h"

#include "core/guc.h"
#include "core/spi.h"
#include "core/wake.h"
#include "http/http.h"
#include "payment/apply.h"
#include "payment/dead_letter.h"
#include "payment/queue.h"
#include "worker/upstream.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define RESPONSE_BYTES_MAX (1024 * 1024)
#define LOCK_TIMEOUT "200ms"
/* When due rows were locked by somebody, look again after this. */
#define CONTENDED_MS 50
#define IDLE_LOOK_MS 200
#define COMPLETE_AGAIN_MS 200
/* At most one round of claims and one of completing in this time: when much is going on, larger batches cost less each; when little is, nobody waits. */
#define PACE_MS 20
/* After this many items that hit a lock, the rest waits for the next round: each costs a lock timeout. */
#define CONTENDED_MAX 10
#define SKIP_MS 10000

/* A call in flight; the claim's data live in its context. */
typedef struct PayCall
{
	MemoryContext context;		/* NULL: slot is free */
	PayClaim   *claim;
	PayUpstream    *upstream;
} PayCall;

/* A call that has ended, waiting to be completed.  What its report points to lives in the call's context. */
typedef struct PayDone
{
	int			slot;
	PayHttpResponse *response;	/* NULL: in-process adapter */
	PayReport	report;
	TimestampTz not_before;		/* could not be completed yet */
	bool		completed;
} PayDone;

/* Process-local, written by the loop only. */
static PayCall *calls = NULL;
static int	call_count = 0;
static int *free_slots = NULL;
static int	free_count = 0;
static PayDone *done = NULL;
static int	done_count = 0;
static TimestampTz next_claim_at = 0;	/* 0: at once */
static TimestampTz claimed_at = 0;
static TimestampTz completed_at = 0;
static int	contended_items = 0;	/* in this round of completing */
static bool work_noted = false;	/* the latch was seen and is still set */
static bool idle = false;		/* not set up, disabled, or of another version */
static bool recovered = false;
static PayWorkerOrder order;
static MemoryContext tick_context;

struct PayClaimRound;

static void start_up(void);
static void pin_settings(void);
static WaitEventSet *make_wait_set(bool latch);
static long wait_ms(void);
static void tick(void);
static void collect(void);
static void complete(void);
static void complete_range(const int *which, int n);
static void complete_work(void *arg);
static void bury_work(void *arg);
static void release(int slot);
static void claim(void);
static void look_around(void *arg);
static int	room_for(PayUpstream *upstream, TimestampTz now);
static void claim_from(PayUpstream *upstream, TimestampTz now, bool *contended);
static void skip_row(PayUpstream *upstream, struct PayClaimRound *round);
static void claim_work(void *arg);
static void copy_claim(PayCall *call, const PayClaim *claim);
static void send_call(int slot);

typedef struct PayRange
{
	const int  *which;			/* indexes into `done` */
	int			n;
	int			sqlstate;		/* of a failure */
	char	   *error;
} PayRange;

typedef struct PayBurial
{
	pg_uuid_t	operation_id;
	const char *reason;
	const char *detail;
} PayBurial;

typedef struct PayClaimRound
{
	PayUpstream    *upstream;
	int			room;
	TimestampTz now;
	PayClaim   *claims;
	int			n;
	int			touched;
	pg_uuid_t	first;			/* of the rows touched */
	int			sqlstate;		/* of a failure */
	char	   *error;
	TimestampTz next_due;
} PayClaimRound;

static PayStmt read_installation = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT i.worker_enabled, e.extversion FROM payments.installation i, pg_catalog.pg_extension e WHERE e.extname = 'payments'");
static PayStmt read_next_due = PAY_STMT(SPI_OK_SELECT,
	"SELECT min(due_at) FROM payments.queue WHERE psp = $1", TEXTOID);

/* ---------- life ---------- */

void
pay_worker_registration(BackgroundWorker *worker, const char *database, bool by_hand)
{
	PayWorkerOrder *o = (PayWorkerOrder *) worker->bgw_extra;

	StaticAssertStmt(sizeof(PayWorkerOrder) <= BGW_EXTRALEN, "order fits");
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	/* The launcher starts it again; one started by hand ends for good. */
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "payments", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, "pay_worker_main", BGW_MAXLEN);
	strlcpy(worker->bgw_type, PAY_WORKER_TYPE, BGW_MAXLEN);
	snprintf(worker->bgw_name, BGW_MAXLEN, "payments worker for %s", database);
	strlcpy(o->database, database, NAMEDATALEN);
	o->by_hand = by_hand;
	worker->bgw_notify_pid = MyProcPid;
}

void
pay_worker_main(Datum arg)
{
	WaitEventSet *with_latch,
			   *without_latch;

	/* `die`, so that synchronous replication and lock waits give up too; before signals are unblocked. */
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	BackgroundWorkerInitializeConnection(order.database, PAY_WORKER_ROLE, 0);
	start_up();
	with_latch = make_wait_set(true);
	without_latch = make_wait_set(false);

	for (;;)
	{
		WaitEvent	event;

		Assert(!IsTransactionState());
		/* With nothing to do (stopped, not set up), look now and then. */
		if (idle && pay_http_inflight() == 0 && done_count == 0)
		{
			pg_usleep(IDLE_LOOK_MS * 1000);
			CHECK_FOR_INTERRUPTS();
		}
		if (WaitEventSetWait(work_noted ? without_latch : with_latch, wait_ms(), &event, 1, PG_WAIT_EXTENSION) == 1 &&
			(event.events & WL_LATCH_SET))
			work_noted = true;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			pay_upstreams_reload();
			pay_worker_maintenance_reload();
			work_noted = true;
		}
		if (work_noted)
			next_claim_at = 0;
		tick();
	}
}

static void
start_up(void)
{
	pin_settings();
	StartTransactionCommand();
	if (!pay_worker_lock())
	{
		CommitTransactionCommand();
		ereport(LOG, (errmsg("another payments worker serves database \"%s\"", order.database)));
		proc_exit(0);
	}
	CommitTransactionCommand();

	tick_context = AllocSetContextCreate(TopMemoryContext, "payments tick", ALLOCSET_DEFAULT_SIZES);
	pay_http_init(pay_inflight_max + PAY_WORKER_FEED_SLOTS);
	pay_worker_feed_init();
	call_count = pay_inflight_max;
	calls = MemoryContextAllocZero(TopMemoryContext, sizeof(PayCall) * call_count);
	done = MemoryContextAllocZero(TopMemoryContext, sizeof(PayDone) * call_count);
	free_slots = MemoryContextAlloc(TopMemoryContext, sizeof(int) * call_count);
	for (int i = 0; i < call_count; i++)
		free_slots[free_count++] = call_count - 1 - i;
	pgstat_report_activity(STATE_IDLE, NULL);
	ereport(LOG, (errmsg("payments worker started for database \"%s\"", order.database)));
}

/* ALTER DATABASE and ALTER ROLE settings reach workers too; these must not be theirs to decide. */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "on"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"session_replication_role", "origin"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		/* Shorter than deadlock_timeout: when a client and we want each other's locks, we give way. */
		{"lock_timeout", LOCK_TIMEOUT},
		{"timezone", "UTC"},
		{"jit", "off"},
		{"application_name", "payments worker"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Constant: all of curl's sockets stand behind one descriptor, so the sets
 * never change.  The latch is reset only where a round of claims begins.  Once
 * it has been seen, the wait for that round does without it, and the
 * application's further commits find it set and send us no signals.
 */
static WaitEventSet *
make_wait_set(bool latch)
{
	WaitEventSet *set = PayCreateWaitEventSet(3);

	if (latch)
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, pay_http_fd(), NULL, NULL);
	return set;
}

static long
wait_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		http_ms = pay_http_timeout_ms();
	TimestampTz next = next_claim_at;

	if (!idle)
		next = Min(next, pay_worker_maintenance_next());
	next = Min(Max(next, claimed_at + PACE_MS * 1000), pay_worker_feed_next(idle));
	for (int i = 0; i < done_count; i++)
		next = Min(next, Max(done[i].not_before, completed_at + PACE_MS * 1000));
	if (next <= now)
		return 0;
	return Min((long) TimestampDifferenceMilliseconds(now, next),
			   http_ms >= 0 ? Min(http_ms, pay_poll_interval_ms) : pay_poll_interval_ms);
}

static void
tick(void)
{
	MemoryContext old = MemoryContextSwitchTo(tick_context);

	pay_http_drive();
	collect();
	CHECK_FOR_INTERRUPTS();
	if (done_count >= pay_batch_size || GetCurrentTimestamp() >= completed_at + PACE_MS * 1000)
		complete();
	CHECK_FOR_INTERRUPTS();
	if (GetCurrentTimestamp() >= Max(next_claim_at, claimed_at + PACE_MS * 1000))
		claim();
	pay_worker_feed_step(idle);
	if (!idle)
		pay_worker_maintenance_step();
	MemoryContextSwitchTo(old);
	MemoryContextReset(tick_context);
}

/* ---------- transactions ---------- */

/*
 * Runs work as payments_owner in a transaction of its own.  Returns false when
 * it failed; the error is logged and, where asked for, its message and SQLSTATE returned.
 */
bool
pay_worker_transaction(void (*work) (void *), void *arg, char **error, int *sqlstate)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		Oid			user;
		int			security;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		/* Results must outlive the transaction: allocate in the caller's context. */
		MemoryContextSwitchTo(context);
		if (pay_is_set_up())
		{
			GetUserIdAndSecContext(&user, &security);
			SetUserIdAndSecContext(pay_owner_oid(), security | SECURITY_LOCAL_USERID_CHANGE);
			pay_spi_begin();
			work(arg);
			pay_spi_end();
			SetUserIdAndSecContext(user, security);
		}
		else
			idle = true;
		if (ActiveSnapshotSet())
			PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		ereport(LOG,
				(errmsg("payments worker could not finish a step: %s", data->message),
				 data->detail ? errdetail_internal("%s", data->detail) : 0));
		if (error)
			*error = data->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && data->detail ?
				psprintf("%s: %s", data->message, data->detail) : pstrdup(data->message);
		if (sqlstate)
			*sqlstate = data->sqlerrcode;
		FreeErrorData(data);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	/* Without this the tables look untouched to autovacuum. */
	pgstat_report_stat(false);
	return ok;
}

/* ---------- complete ---------- */

static void
collect(void)
{
	PayHttpResponse *response;

	while (done_count < call_count && (response = pay_http_next()) != NULL)
	{
		PayCall    *call;
		PayDone    *d;
		PayAnswer	answer;

		if (response->tag >= PAY_WORKER_FEED_TAG)
		{
			pay_worker_feed_answered(response);
			continue;
		}
		call = &calls[response->tag];
		d = &done[done_count++];
		memset(d, 0, sizeof(PayDone));
		d->slot = (int) response->tag;
		d->response = response;
		pay_upstream_note(call->upstream, response->transport, GetCurrentTimestamp());

		answer.transport = response->transport;
		answer.http_status = response->http_status;
		answer.body = response->body;
		answer.body_bytes = response->body_bytes;
		answer.should_retry = response->should_retry;
		answer.retry_after_s = response->retry_after_s;
		d->report.result.retry_after_ms = -1;
		/* It may have to wait for its payment longer than this tick's context lasts. */
		MemoryContextSwitchTo(call->context);
		call->claim->adapter->classify(&call->claim->command, call->claim->inquiry, &answer, &d->report.result);
		MemoryContextSwitchTo(tick_context);
		d->report.http_status = response->http_status;
		d->report.request_id = response->request_id;
		d->report.error = response->error;
		d->report.body = response->body;
		d->report.body_bytes = response->body_bytes;
		d->report.elapsed_ms = response->elapsed_ms;
		d->report.source = call->claim->inquiry ? PAY_SOURCE_INQUIRY : PAY_SOURCE_ANSWER;
		d->report.psp = call->upstream->psp;
		d->report.operation_id = call->claim->operation_id;
		d->report.payment_id = call->claim->payment_id;
		d->report.payment_known = true;
		d->report.attempt = call->claim->attempt;
	}
}

/* Completes what can be completed now; the rest stays in `done`, its lease still held. */
static void
complete(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int		   *ready = palloc(sizeof(int) * Max(done_count, 1));
	int			n = 0,
				kept = 0;

	for (int i = 0; i < done_count; i++)
		if (done[i].not_before <= now)
			ready[n++] = i;
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
		if (done[i].response)
			pay_http_free(done[i].response);
		next_claim_at = 0;		/* there is room again, and what was completed may be due again */
		pay_worker_maintenance_completed(now);
	}
	done_count = kept;
}

static void
complete_range(const int *which, int n)
{
	PayRange	range = {which, n, 0, NULL};

	if (contended_items > CONTENDED_MAX)
	{
		for (int i = 0; i < n; i++)
			done[which[i]].not_before = GetCurrentTimestamp() + COMPLETE_AGAIN_MS * 1000;
		return;
	}
	if (pay_worker_transaction(complete_work, &range, &range.error, &range.sqlstate))
	{
		for (int i = 0; i < n; i++)
		{
			PayDone    *d = &done[which[i]];

			d->completed = d->report.outcome != PAY_OUTCOME_LOCKED;
			d->not_before = GetCurrentTimestamp() + CONTENDED_MS * 1000;
		}
		return;
	}
	if (n > 1)
	{
		for (int i = 0; i < n; i++)
			complete_range(which + i, 1);
		return;
	}
	if (pay_worker_error_passes(range.sqlstate) && ++contended_items)
		done[which[0]].not_before = GetCurrentTimestamp() + COMPLETE_AGAIN_MS * 1000;
	else
	{
		PayBurial	burial = {done[which[0]].report.operation_id, "cannot_complete", range.error};

		/* What the PSP says that it has charged, or refunded, is booked for another payment: one that was adopted after a restore. */
		if (range.sqlstate == ERRCODE_UNIQUE_VIOLATION)
			burial.reason = "booked_elsewhere";
		/* If even that fails, the lease runs out and recovery takes it up. */
		done[which[0]].completed = true;
		pay_worker_transaction(bury_work, &burial, NULL, NULL);
	}
}

/* Errors that say nothing against the item: locks, serialization, resources, shutdown. */
bool
pay_worker_error_passes(int sqlstate)
{
	int			class = ERRCODE_TO_CATEGORY(sqlstate);

	return class == ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		sqlstate == ERRCODE_LOCK_NOT_AVAILABLE;
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
	calls[slot].upstream->inflight--;
	MemoryContextDelete(calls[slot].context);
	calls[slot].context = NULL;
	free_slots[free_count++] = slot;
}

/* ---------- claim ---------- */

static void
claim(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		contended = false;

	/* Before the queue is read: what is committed from here on wakes us again. */
	ResetLatch(MyLatch);
	work_noted = false;
	next_claim_at = now + (TimestampTz) pay_poll_interval_ms * 1000;
	idle = false;
	if (!pay_worker_transaction(look_around, NULL, NULL, NULL))
	{
		next_claim_at = now + 1000 * 1000;
		return;
	}
	if (idle)
	{
		next_claim_at = now + (TimestampTz) pay_poll_interval_ms * 1000;
		return;
	}
	for (int i = 0; i < pay_upstreams_count(); i++)
	{
		PayUpstream    *upstream = pay_upstreams_get(i);

		if (!upstream->usable)
			continue;
		/* A look at the queue costs little, a transaction of claims for nothing much more. */
		if (upstream->due_at <= now)
			claim_from(upstream, now, &contended);
		else
			next_claim_at = Min(next_claim_at, upstream->due_at);
		CHECK_FOR_INTERRUPTS();
	}
	if (contended && next_claim_at < now + CONTENDED_MS * 1000)
		next_claim_at = now + CONTENDED_MS * 1000;
}

/* Are we wanted, and by which PSPs? */
static void
look_around(void *arg)
{
	static bool warned = false;
	static bool was_enabled = false;
	char	   *version;
	bool		enabled;

	if (pay_spi_exec(&read_installation, NULL) != 1)
	{
		idle = true;
		return;
	}
	enabled = pay_spi_bool(0, 1);
	version = pay_spi_text(0, 2);
	if (strcmp(version, PAY_VERSION) != 0)
	{
		idle = true;
		if (!warned)
			ereport(WARNING,
					(errmsg("payments worker is of version %s but the extension is of version %s", PAY_VERSION, version),
					 errhint("Restart the server after an upgrade, and run ALTER EXTENSION payments UPDATE.")));
		warned = true;
		return;
	}
	if (!enabled)
	{
		/* Not before it was enabled once: start_worker() may not have committed yet, and wakes us when it has. */
		if (order.by_hand && was_enabled)
		{
			ereport(LOG, (errmsg("payments worker for database \"%s\" was stopped", order.database)));
			proc_exit(0);
		}
		idle = true;
		return;
	}
	was_enabled = true;
	if (!recovered)
	{
		pay_queue_recover(PAY_WORKER_ROLE, GetCurrentTimestamp());
		pay_worker_feed_recover(GetCurrentTimestamp());
	}
	recovered = true;
	pay_upstreams_read();
	pay_worker_feed_look(GetCurrentTimestamp());
}

/* How many calls may be added: what the upstream allows, the free slots, and one batch. */
static int
room_for(PayUpstream *upstream, TimestampTz now)
{
	return Min(Min(pay_upstream_room(upstream, call_count, now), free_count), pay_batch_size);
}

static void
claim_from(PayUpstream *upstream, TimestampTz now, bool *contended)
{
	PayClaimRound round = {.upstream = upstream, .now = now, .next_due = next_claim_at};
	TimestampTz due = next_claim_at;

	if (now >= upstream->skip_until)
		upstream->n_skip = 0;
	round.room = room_for(upstream, now);
	if (upstream->one_by_one)
		round.room = Min(round.room, 1);
	if (round.room > 0 && pay_worker_transaction(claim_work, &round, &round.error, &round.sqlstate))
	{
		for (int i = 0; i < round.n; i++)
		{
			int			slot = free_slots[--free_count];

			calls[slot].upstream = upstream;
			upstream->inflight++;
			copy_claim(&calls[slot], &round.claims[i]);
			send_call(slot);
		}
		due = round.next_due;
		if (round.touched > 0)
			claimed_at = now;	/* a look that finds nothing does not hold up the next */
		if (round.touched == 0)
			upstream->one_by_one = false;
		if (round.touched < round.room && due <= now)
			*contended = true;	/* due, but skipped: somebody holds it */
	}
	else if (upstream->breaker_ms > 0)
		due = upstream->breaker_until;
	else if (round.room > 0)
	{
		/* It failed, and said why in the log.  Alone, the row that is to blame shows itself. */
		if (!pay_worker_error_passes(round.sqlstate))
			skip_row(upstream, &round);
		due = now + (upstream->n_skip < PAY_SKIP_MAX ? CONTENDED_MS : SKIP_MS) * 1000;
	}
	next_claim_at = Min(next_claim_at, due);
	/* Without room the next settlement claims again. */
	if (room_for(upstream, now) <= 0 && upstream->breaker_ms == 0)
		next_claim_at = Max(next_claim_at, now + CONTENDED_MS * 1000);
}

/* A row that cannot be claimed goes to the dead letters; if even that fails it is left alone for a while. */
static void
skip_row(PayUpstream *upstream, PayClaimRound *round)
{
	PayBurial	burial = {round->first, "cannot_claim", round->error};

	if (!upstream->one_by_one || round->touched == 0)
	{
		upstream->one_by_one = true;
		return;
	}
	upstream->one_by_one = false;	/* it is found; should there be another, the next batch fails as well */
	if (pay_worker_transaction(bury_work, &burial, NULL, NULL) || upstream->n_skip == PAY_SKIP_MAX)
		return;
	upstream->skip[upstream->n_skip++] = round->first;
	upstream->skip_until = round->now + SKIP_MS * 1000;
}

static void
claim_work(void *arg)
{
	PayClaimRound *round = arg;
	PayArgs		args = {0};

	round->touched = 0;
	round->n = pay_queue_claim(round->upstream->psp, PAY_WORKER_ROLE, round->room, pay_lease_ms, round->now,
							   round->upstream->skip, round->upstream->n_skip, &round->claims, &round->touched, &round->first);
	if (round->touched == round->room)
	{
		round->next_due = round->now;	/* there may be more */
		return;
	}
	pay_arg_text(&args, round->upstream->psp);
	pay_spi_exec(&read_next_due, &args);
	if (!pay_spi_isnull(0, 1))
		round->next_due = Min(round->next_due, pay_spi_time(0, 1));
}

/* ---------- send ---------- */

static const char *
copied(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

/* The claim was made in the tick's context; its call may outlive many ticks. */
static void
copy_claim(PayCall *call, const PayClaim *claim)
{
	MemoryContext old;
	PayClaim   *copy;

	call->context = AllocSetContextCreate(TopMemoryContext, "payments request", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(call->context);
	copy = palloc(sizeof(PayClaim));
	*copy = *claim;
	copy->command.currency = copied(claim->command.currency);
	copy->command.payment_method = copied(claim->command.payment_method);
	copy->command.customer = copied(claim->command.customer);
	copy->command.order_ref = copied(claim->command.order_ref);
	copy->command.description = copied(claim->command.description);
	copy->command.return_url = copied(claim->command.return_url);
	copy->command.reason = copied(claim->command.reason);
	copy->command.psp_ref = copied(claim->command.psp_ref);
	copy->command.psp_payment_id = copied(claim->command.psp_payment_id);
	copy->command.psp_object_id = copied(claim->command.psp_object_id);
	copy->request.method = copied(claim->request.method);
	copy->request.path = copied(claim->request.path);
	copy->request.content_type = copied(claim->request.content_type);
	copy->request.body = copied(claim->request.body);
	copy->psp_key = copied(claim->psp_key);
	call->claim = copy;
	MemoryContextSwitchTo(old);
}

static void
send_call(int slot)
{
	PayCall    *call = &calls[slot];
	PayClaim   *c = call->claim;
	PayHttpRequest request = {0};
	const char *headers[16];
	int			n = 0;

	Assert(!IsTransactionState());
	if (c->adapter->in_process)
	{
		PayDone    *d = &done[done_count++];

		memset(d, 0, sizeof(PayDone));
		d->slot = slot;
		d->report.source = c->inquiry ? PAY_SOURCE_INQUIRY : PAY_SOURCE_ANSWER;
		d->report.psp = call->upstream->psp;
		d->report.operation_id = c->operation_id;
		d->report.payment_id = c->payment_id;
		d->report.payment_known = true;
		d->report.attempt = c->attempt;
		d->report.result.retry_after_ms = -1;
		/* Its strings must last until complete, which is after this tick's context is gone. */
		MemoryContextSwitchTo(call->context);
		c->adapter->perform(&c->command, c->inquiry, &d->report.result);
		MemoryContextSwitchTo(tick_context);
		return;
	}

	headers[n++] = call->upstream->authorization;
	if (c->psp_key)
		headers[n++] = psprintf("%s: %s", c->adapter->key_header, c->psp_key);
	if (c->request.content_type)
		headers[n++] = psprintf("Content-Type: %s", c->request.content_type);
	for (int i = 0; c->adapter->headers && c->adapter->headers[i] && n < (int) lengthof(headers) - 1; i++)
		headers[n++] = c->adapter->headers[i];
	headers[n] = NULL;

	request.tag = (uint64) slot;
	request.method = c->request.method;
	request.url = psprintf("%s%s", call->upstream->base_url, c->request.path);
	request.headers = headers;
	request.body = c->request.body;
	request.body_bytes = c->request.body ? strlen(c->request.body) : 0;
	request.timeout_ms = call->upstream->timeout_ms;
	request.connect_timeout_ms = pay_connect_timeout_ms;
	request.response_bytes_max = RESPONSE_BYTES_MAX;
	pay_http_start(&request);
}
