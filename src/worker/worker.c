/*
 * src/worker/worker.c
 *		The background worker of one database.
 *
 * One process, one loop, many HTTP requests in flight:
 *
 *		wait {latch, postmaster death, sockets, timer}
 *		drive curl; hand what has finished to its lane
 *		complete it		short transactions
 *		look around		one short transaction
 *		claim what is due	short transactions
 *		send it			no transaction, no snapshot
 *
 * What is always true at the wait: no transaction is open.
 *
 * What is claimed, sent and completed is the lanes' affair (lane.h); what else
 * there is to do is maintenance.c's.  Here is when.
 *
 * Death at any point leaves leases behind.  The next worker lets them run out
 * at its start, and they are completed as unknown.
 *
 * The process connects as payments_worker, which owns nothing and may do
 * nothing; inside its transactions it acts as payments_owner, which is no
 * superuser either, so a trigger made by a table's owner gains nothing.
 * worker.md tells the stories behind each line of this loop.
 */
#include "payments.h"

#include "worker/worker.h"

#include "core/arming.h"
#include "core/clock.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/wake.h"
#include "http/http.h"
#include "worker/lane.h"
#include "worker/maintenance.h"
#include "worker/transaction.h"
#include "worker/trouble.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Answers that have waited longer for somebody's lock are told of. */
#define WAITS_SHOWN_MS 5000
#define IDLE_LOOK_MS 200
/* When it could not look around, it tries again after this. */
#define LOOK_AGAIN_MS 1000
/* The upper half of a request's tag says whose it is, the lower which of its slots. */
#define LANE_TAG(lane) ((uint64) (lane) << 32)

/* What the worker finds when it looks around. */
typedef struct PayLook
{
	bool		enabled;
	bool		read;			/* there is an installation */
	bool		of_our_version;
	bool		retime;			/* due times, as pay_clock_retime_due() says */
	bool		retimed;		/* all of them */
} PayLook;

/* In the order in which they have their turn.  Payments go first, and read the PSPs for all. */
static PayLane *const lanes[] = {&pay_payments_lane, &pay_feeds_lane, &pay_tokens_lane, &pay_accounts_lane};

/* Process-local, written by the loop only. */
static int	slots = 0;			/* of all lanes */
static bool work_noted = false;	/* the latch was seen and is still set */
static bool idle = false;		/* not set up, disabled, or of another version */
static bool other_version = false;	/* the extension's, when last looked */
static bool stopping = false;	/* by hand, as soon as what is in flight has ended */
static bool recovered = false;
static PaySteady idle_look_at = 0;
static PaySteady failed_until = 0;	/* no look before this */
static PayWorkerOrder order;
static MemoryContext tick_context;

static void pin_settings(void);
static void start_up(void);
static void start_lanes(void);
static WaitEventSet *make_wait_set(bool latch);
static void share_out(void);
static void reload(void);
static bool nothing_left(void);
static long wait_ms(void);
static PaySteady look_due(void);
static void tick(void *arg);
static PayTrouble find_trouble(void);
static void hand_out_responses(void);
static void look_around(void);
static void look_work(void *arg);
static void stop_if_by_hand(const PayLook *look);
static void retire_work(void *arg);

static PayStmt read_installation = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT i.worker_enabled, e.extversion FROM payments.installation i, pg_catalog.pg_extension e WHERE e.extname = 'payments'");

static PayStmt lock_stopped = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT FROM payments.installation WHERE NOT worker_enabled FOR UPDATE");

/* ---------- life ---------- */

void
pay_worker_main(Datum arg)
{
	WaitEventSet *with_latch,
			   *without_latch;

	/* `die`, so that synchronous replication and lock waits give up too; before signals are unblocked. */
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, pay_worker_cancel_handler);
	BackgroundWorkerUnblockSignals();

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	BackgroundWorkerInitializeConnection(order.database, PAY_WORKER_ROLE, 0);
	pin_settings();
	start_up();
	with_latch = make_wait_set(true);
	without_latch = make_wait_set(false);

	for (;;)
	{
		WaitEvent	event;

		Assert(!IsTransactionState());
		/* Then the application's commits, which set the latch, are nothing to us: look now and then. */
		if (idle && nothing_left())
		{
			pg_usleep(IDLE_LOOK_MS * 1000);
			CHECK_FOR_INTERRUPTS();
		}
		if (WaitEventSetWait(work_noted ? without_latch : with_latch, wait_ms(), &event, 1, PG_WAIT_EXTENSION) == 1 &&
			(event.events & WL_LATCH_SET))
			work_noted = true;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload();
		if (pay_worker_try(tick, NULL, NULL))
			continue;
		/* Lanes give back what they take; what else went wrong is tried again, and not in a hurry. */
		MemoryContextReset(tick_context);
		pg_usleep(IDLE_LOOK_MS * 1000);
	}
}

/* What somebody has set for the role or the database is meant for people: a worker that may only read, or gives up after a second, works no more. */
static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"row_security", "on"},
		{"restrict_nonsystem_relation_kind", ""},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"standard_conforming_strings", "on"},
		/* Else a step that fails would end the worker. */
		{"exit_on_error", "off"},
		{"transform_null_equals", "off"},
		{"array_nulls", "on"},
		{"quote_all_identifiers", "off"},
		{"datestyle", "ISO, MDY"},
		{"intervalstyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		/* Not every version has every one. */
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

static void
start_up(void)
{
	pay_worker_pin_settings();
	StartTransactionCommand();
	if (!pay_worker_lock())
	{
		CommitTransactionCommand();
		ereport(LOG, (errmsg("another payments worker serves database \"%s\"", order.database)));
		proc_exit(0);
	}
	CommitTransactionCommand();

	tick_context = AllocSetContextCreate(TopMemoryContext, "payments tick", ALLOCSET_DEFAULT_SIZES);
	start_lanes();
	pgstat_report_activity(STATE_IDLE, NULL);
	ereport(LOG, (errmsg("payments worker started for database \"%s\"", order.database)));
}

static void
start_lanes(void)
{
	for (int i = 0; i < (int) lengthof(lanes); i++)
	{
		lanes[i]->first_tag = LANE_TAG(i);
		if (lanes[i]->init)
			lanes[i]->init();
		ereport(DEBUG1, (errmsg_internal("payments worker has %d slots for %s", lanes[i]->slots, lanes[i]->name)));
		slots += lanes[i]->slots;
	}
	pay_http_init(slots);
	share_out();
}

/* A lane that may use less of its slots than others, or none, has as large a share of what there is as of the slots. */
static void
share_out(void)
{
	static int	last = 0;
	int			allowance = Min(pay_http_allowance(), slots);

	if (allowance == last)
		return;
	/* There is room for what was left in the queue. */
	if (allowance > last)
		work_noted = true;
	last = allowance;
	for (int i = 0; i < (int) lengthof(lanes); i++)
		lanes[i]->allowed = allowance > 0 ? Max(lanes[i]->slots * allowance / slots, 1) : 0;
}

/*
 * Constant: all of curl's sockets stand behind one descriptor, so the sets
 * never change.  The latch is reset only where the worker looks around.  Once
 * it has been seen, the wait for that does without it, and the application's
 * further commits find it set and send us no signals.
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

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	for (int i = 0; i < (int) lengthof(lanes); i++)
		if (lanes[i]->reload)
			lanes[i]->reload();
	pay_maintenance_reload();
	work_noted = true;
}

/* ---------- time ---------- */

/* Is nothing in flight, and nothing waiting to be completed? */
static bool
nothing_left(void)
{
	for (int i = 0; i < (int) lengthof(lanes); i++)
		if (lanes[i]->next && lanes[i]->next(true) != PAY_NEVER)
			return false;
	return pay_http_inflight() == 0;
}

static long
wait_ms(void)
{
	PaySteady	now = pay_clock_now();
	long		http_ms = pay_http_timeout_ms();
	PaySteady	next = look_due();

	for (int i = 0; i < (int) lengthof(lanes); i++)
		if (lanes[i]->next)
			next = Min(next, lanes[i]->next(idle));
	if (!idle)
		next = Min(next, pay_maintenance_next());
	if (next <= now)
		return 0;
	return Min((long) TimestampDifferenceMilliseconds(now, next),
			   http_ms >= 0 ? Min(http_ms, pay_poll_interval_ms) : pay_poll_interval_ms);
}

static PaySteady
look_due(void)
{
	PaySteady	due = PAY_NEVER;

	if (idle)
		due = work_noted || (stopping && nothing_left()) ? 0 : Min(idle_look_at, pay_arms_due());
	else
		for (int i = 0; i < (int) lengthof(lanes); i++)
			due = Min(due, lanes[i]->next_look(work_noted));
	return Max(due, failed_until);
}

/* ---------- work ---------- */

static void
tick(void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(tick_context);

	pay_http_drive();
	share_out();
	hand_out_responses();
	for (int i = 0; i < (int) lengthof(lanes); i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (lanes[i]->step)
			lanes[i]->step(idle);
	}
	CHECK_FOR_INTERRUPTS();
	if (pay_clock_now() >= look_due())
		look_around();
	pay_trouble_show(find_trouble());
	if (!idle)
		pay_maintenance_step();
	MemoryContextSwitchTo(old);
	MemoryContextReset(tick_context);
}

static PayTrouble
find_trouble(void)
{
	if (other_version)
		return PAY_TROUBLE_VERSION;
	if (pay_http_is_scarce())
		return PAY_TROUBLE_MEANS;
	for (int i = 0; i < (int) lengthof(lanes); i++)
		if (lanes[i]->waits_since != 0 && pay_clock_now() > lanes[i]->waits_since + WAITS_SHOWN_MS * 1000)
			return PAY_TROUBLE_LOCKED;
	return PAY_TROUBLE_NONE;
}

static void
hand_out_responses(void)
{
	PayHttpResponse *response;

	while ((response = pay_http_next()) != NULL)
	{
		PayLane    *lane = lanes[response->tag >> 32];

		lane->answered((int) (response->tag - lane->first_tag), response);
	}
}

/*
 * It serves no more when it is still not wanted, and gives way to another while
 * it has the row locked that start_worker() writes before it looks for who serves.
 */
static void
retire_work(void *arg)
{
	if (pay_spi_exec(&lock_stopped, NULL) != 1)
		return;
	pay_worker_unlock();
	*(bool *) arg = true;
}

/* Are we wanted, and what is due? */
static void
look_around(void)
{
	PaySteady	now = pay_clock_now();
	PayLook		look = {.retime = pay_clock_retime_due(), .retimed = true};
	PayWorkEnd	end;

	/* Before the queue is read: what is committed from here on wakes us again. */
	ResetLatch(MyLatch);
	work_noted = false;
	end = pay_worker_transaction(look_work, &look, NULL);
	if (end == PAY_WORK_DONE)
		stop_if_by_hand(&look);
	if (end == PAY_WORK_DONE)
		other_version = look.read && !look.of_our_version;
	idle = end != PAY_WORK_DONE || !look.enabled || !look.of_our_version;
	if (end == PAY_WORK_FAILED)
		failed_until = now + LOOK_AGAIN_MS * 1000;
	if (idle)
	{
		idle_look_at = now + (PaySteady) pay_poll_interval_ms * 1000;
		return;
	}
	recovered = true;
	if (look.retime)
		pay_clock_retimed(look.retimed);
	for (int i = 0; i < (int) lengthof(lanes); i++)
		lanes[i]->claim();
}

static void
look_work(void *arg)
{
	PayLook    *look = arg;
	static bool warned = false;
	char	   *version;

	if (pay_spi_exec(&read_installation, NULL) != 1)
		return;
	look->read = true;
	look->enabled = pay_spi_bool(0, 1);
	version = pay_spi_text(0, 2);
	look->of_our_version = strcmp(version, PAY_VERSION) == 0;
	if (!look->of_our_version && !warned)
	{
		warned = true;
		ereport(WARNING,
				(errmsg("payments worker is of version %s but the extension is of version %s", PAY_VERSION, version),
				 errhint("Restart the server after an upgrade, and run ALTER EXTENSION payments UPDATE.")));
	}
	if (look->of_our_version && !look->enabled && pay_arms_due() <= pay_clock_now())
		(void) pay_take_arms(true);
	if (!look->enabled || !look->of_our_version)
		return;
	for (int i = 0; i < (int) lengthof(lanes); i++)
	{
		if (!recovered && lanes[i]->recover)
			lanes[i]->recover();
		if (look->retime && lanes[i]->retime && !lanes[i]->retime())
			look->retimed = false;
		if (lanes[i]->look)
			lanes[i]->look();
	}
}

/* Not before it was enabled once: start_worker() may not have committed yet, and wakes us when it has. */
static void
stop_if_by_hand(const PayLook *look)
{
	static bool was_enabled = false;
	bool		retired = false;

	if (look->enabled)
		was_enabled = true;
	stopping = !look->enabled && order.by_hand && was_enabled && look->of_our_version;
	if (stopping && nothing_left() &&
		pay_worker_transaction(retire_work, &retired, NULL) == PAY_WORK_DONE && retired)
	{
		ereport(LOG, (errmsg("payments worker for database \"%s\" was stopped", order.database)));
		proc_exit(0);
	}
}
