/*
 * src/worker/maintenance.c
 *		What the worker does beside calling PSPs, each step in a short
 *		transaction of its own: folding hot accounts, releasing expired holds,
 *		applying events that found no payment, sending elsewhere what waits for a
 *		PSP that cannot be called, counting outcomes, asking after authorizations
 *		whose time is over, sealing, making the coming months' partitions.
 */
#include "payments.h"

#include "worker/maintenance.h"

#include "core/clock.h"
#include "core/guc.h"
#include "core/spi.h"
#include "payment/apply.h"
#include "seal/sealer.h"
#include "worker/transaction.h"

#include "utils/timestamp.h"

#define FOLD_MS 1000
#define COUNT_MS (60 * 1000)
#define PARTITIONS_MS (6 * 3600 * 1000)
#define PARTITIONS_AGAIN_MS (60 * 1000)

/* When each is due; process-local. */
static PaySteady fold_at = 0;
static PaySteady seal_at = 0;
static PaySteady count_at = 0;

/* Months follow the time of day: looked at by that clock, and anew when it was set. */
static TimestampTz months_made_at = 0;
static TimestampTz months_due_at = 0;

static void fold(void);
static void fold_work(void *arg);
static void release_work(void *arg);
static void come_again(int64 done);
static void sweep_work(void *arg);
static void fall_back_work(void *arg);
static void count(void);
static void count_work(void *arg);
static void expiry_work(void *arg);
static void seal(void);
static void make_months(void);
static void make_months_work(void *arg);

static PayStmt fold_hot_accounts = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT payments.fold_hot_accounts()");
static PayStmt release_expired_holds = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT payments.release_expired_holds()");
static PayStmt count_outcomes = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT payments._count_outcomes()");
static PayStmt make_partitions = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT payments.make_partitions()");

void
pay_maintenance_step(void)
{
	fold();
	count();
	seal();
	make_months();
}

PaySteady
pay_maintenance_next(void)
{
	return pay_seal_interval_ms > 0 ? Min(fold_at, seal_at) : fold_at;
}

void
pay_maintenance_posted(PaySteady now)
{
	fold_at = Min(fold_at, now + FOLD_MS * 1000);
}

void
pay_maintenance_reload(void)
{
	pay_sealer_reload();
	seal_at = 0;
}

/* Moves what was posted to hot accounts into their balances and releases expired holds: a second after completing, else with the poll. */
static void
fold(void)
{
	PaySteady	now = pay_clock_now();

	if (now < fold_at)
		return;
	fold_at = now + (PaySteady) pay_poll_interval_ms * 1000;
	/* One each: what one of them fails at does not undo the other. */
	pay_worker_transaction(fold_work, NULL, NULL);
	pay_worker_transaction(release_work, NULL, NULL);
	pay_worker_transaction(sweep_work, NULL, NULL);
	pay_worker_transaction(fall_back_work, NULL, NULL);
	pay_worker_transaction(expiry_work, NULL, NULL);
}

static void
fold_work(void *arg)
{
	pay_spi_exec(&fold_hot_accounts, NULL);
	come_again(pay_spi_int64(0, 1));
}

static void
release_work(void *arg)
{
	pay_spi_exec(&release_expired_holds, NULL);
	come_again(pay_spi_int64(0, 1));
}

/* Others post as well: while there was something to do, soon. */
static void
come_again(int64 done)
{
	if (done > 0)
		fold_at = pay_clock_now() + FOLD_MS * 1000;
}

/* Events whose payment became known beside them. */
static void
sweep_work(void *arg)
{
	pay_unmatched_sweep(GetCurrentTimestamp(), PAY_WORKER_ROLE);
}

/* What waits for a PSP that cannot be called, and may go to another. */
static void
fall_back_work(void *arg)
{
	pay_fall_back_sweep(GetCurrentTimestamp(), PAY_WORKER_ROLE);
}

/* By which rules of pick success go; nothing where there is none. */
static void
count(void)
{
	PaySteady	now = pay_clock_now();

	if (now < count_at)
		return;
	count_at = now + (PaySteady) COUNT_MS * 1000;
	pay_worker_transaction(count_work, NULL, NULL);
}

static void
count_work(void *arg)
{
	pay_spi_exec(&count_outcomes, NULL);
}

/* Authorizations whose time is over. */
static void
expiry_work(void *arg)
{
	come_again(pay_expiry_sweep(GetCurrentTimestamp(), PAY_WORKER_ROLE));
}

static void
seal(void)
{
	bool		done;

	if (pay_seal_interval_ms == 0 || pay_clock_now() < seal_at)
		return;
	done = pay_worker_transaction(pay_sealer_work, NULL, NULL) == PAY_WORK_DONE;
	seal_at = pay_sealer_done(done, pay_clock_now());
}

/* Partitions for the time ahead: a few times a day, and soon again when one could not be made. */
static void
make_months(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now >= months_made_at && now < months_due_at)
		return;
	months_made_at = now;
	months_due_at = now + PARTITIONS_MS * INT64CONST(1000);
	if (pay_worker_transaction(make_months_work, NULL, NULL) != PAY_WORK_DONE)
		months_due_at = now + PARTITIONS_AGAIN_MS * INT64CONST(1000);
}

static void
make_months_work(void *arg)
{
	pay_spi_exec(&make_partitions, NULL);
}
