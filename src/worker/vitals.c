/*
 * src/worker/vitals.c
 *		What the worker has found out about a PSP, for others and for the worker after it.
 *
 * In shared memory there is an entry for each PSP that was called; in psp_health
 * a row for each that is not called, or not as fast as it might be, and none of
 * those with which all is well.  The row is a second behind, and outlasts the
 * server.
 */
#include "payments.h"

#include "worker/upstream_private.h"

#include "core/spi.h"
#include "payment/health_board.h"

#include "utils/timestamp.h"

#define NOTE_MS 1000
#define SHOW_MS 200

static bool is_slowed(const PayUpstream *upstream, PaySteady now);
static int	window_of(const PayUpstream *upstream);
static PaySteady silent_until(const PayUpstream *upstream, PaySteady now);
static TimestampTz time_of_day(PaySteady at, PaySteady now);
static void arg_later(PayArgs *args, PaySteady at, PaySteady now);
static void forget_row(PayUpstream *upstream);

static PayStmt read_health = PAY_STMT(SPI_OK_SELECT,
	"SELECT (calls_per_second * 1000)::bigint, CASE WHEN NOT resumed THEN paused_until END, silent_until, noted_at "
	"FROM payments.psp_health WHERE psp = $1", TEXTOID);
static PayStmt write_health = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.psp_health (psp, in_flight_max, calls_per_second, paused_until, silent_until, noted_at, problem) "
	"VALUES ($1, $2, $3::numeric / 1000, $4, $5, $6, $7) ON CONFLICT (psp) DO UPDATE SET in_flight_max = excluded.in_flight_max, "
	"calls_per_second = excluded.calls_per_second, paused_until = excluded.paused_until, silent_until = excluded.silent_until, "
	"resumed = false, noted_at = excluded.noted_at, problem = excluded.problem",
	TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID);
static PayStmt delete_health = PAY_STMT(SPI_OK_DELETE, "DELETE FROM payments.psp_health WHERE psp = $1", TEXTOID);
static PayStmt delete_strays = PAY_STMT_NOARGS(SPI_OK_DELETE,
	"DELETE FROM payments.psp_health h WHERE NOT EXISTS (SELECT FROM payments.psp s WHERE s.psp = h.psp)");

/* ---------- for others, now ---------- */

/* A refusal of ours or of the card is an answer like another: what fails is the PSP. */
void
pay_vitals_answered(PayUpstream *upstream, const PayHttpResponse *response, const PayResult *result,
					PaySteady begun_at, PaySteady now)
{
	PayVitals  *v = &upstream->vitals;
	bool		answered = response->transport == PAY_TRANSPORT_ANSWERED;
	bool		failed = !answered || result->too_many || response->http_status >= 500 || result->class == PAY_CLASS_MISCONFIGURED;

	pay_pulse_note(&v->pulse, failed, answered ? (now - begun_at) / 1000 : -1);
	if (failed)
	{
		v->failed_at = GetCurrentTimestamp();
		if (answered)
			snprintf(v->failure, sizeof(v->failure), "HTTP status %d", response->http_status);
		else
			strlcpy(v->failure, response->error[0] ? response->error : "no answer", sizeof(v->failure));
	}
	if (failed || now >= upstream->shown_at + SHOW_MS * 1000)
		pay_vitals_show(upstream, now);
}

void
pay_vitals_show(PayUpstream *upstream, PaySteady now)
{
	PayVitals  *v = &upstream->vitals;

	upstream->shown_at = now;
	v->noted_at = GetCurrentTimestamp();
	v->silent_until = time_of_day(silent_until(upstream, now), now);
	v->held_until = upstream->pace.paused_until > now ? time_of_day(upstream->pace.paused_until, now) : 0;
	v->rate = upstream->pace.rate;
	v->window = window_of(upstream);
	pay_health_board_write(upstream->psp, v);
}

static bool
is_slowed(const PayUpstream *upstream, PaySteady now)
{
	return upstream->pace.rate > 0 || now < upstream->pace.paused_until || upstream->breaker_ms > 0;
}

static int
window_of(const PayUpstream *upstream)
{
	return upstream->unfit ? 0 : upstream->breaker_ms > 0 ? 1 : Min(pay_pace_window(&upstream->pace), upstream->inflight_max);
}

/* While it does not answer that is in the future, if only just. */
static PaySteady
silent_until(const PayUpstream *upstream, PaySteady now)
{
	return upstream->breaker_ms > 0 ? Max(upstream->breaker_until, now + 1) : 0;
}

static TimestampTz
time_of_day(PaySteady at, PaySteady now)
{
	return at == 0 ? 0 : GetCurrentTimestamp() + (at - now);
}

/* ---------- for the worker after this ---------- */

/*
 * A limit of which nothing was heard for minutes is no limit any more, as in a
 * worker that goes on.  Who did not answer gets one call, as then.
 */
void
pay_vitals_restore(PayUpstream *upstream, PaySteady now)
{
	PayArgs		args = {0};

	if (upstream->restored)
		return;
	upstream->restored = true;
	(void) pay_health_board_read(upstream->psp, &upstream->vitals);
	pay_arg_text(&args, upstream->psp);
	if (pay_spi_exec(&read_health, &args) == 0)
		return;
	upstream->health_noted = upstream->health_changed = true;
	if (!pay_spi_isnull(0, 1))
		pay_pace_restore(&upstream->pace, (double) pay_spi_int64(0, 1) / 1000, pay_clock_of(pay_spi_time(0, 4)), now);
	if (!pay_spi_isnull(0, 2))
		upstream->pace.paused_until = pay_clock_of(pay_spi_time(0, 2));
	if (!pay_spi_isnull(0, 3))
		pay_upstream_reopen_breaker(upstream, (pay_spi_time(0, 3) - pay_spi_time(0, 4)) / 1000, pay_clock_of(pay_spi_time(0, 3)));
}

void
pay_vitals_note(PayUpstream *upstream, PaySteady now)
{
	bool		slowed = is_slowed(upstream, now);
	PayArgs		args = {0};

	if (upstream->vitals.pulse.calls > 0 || slowed || upstream->health_noted)
		pay_vitals_show(upstream, now);
	if (!(slowed || upstream->unfit || upstream->health_noted) ||
		(!upstream->health_changed && now < upstream->health_noted_at + NOTE_MS * 1000))
		return;
	upstream->health_noted_at = now;
	upstream->health_changed = false;
	if (!slowed && !upstream->unfit)
	{
		forget_row(upstream);
		return;
	}
	upstream->health_noted = true;
	pay_arg_text(&args, upstream->psp);
	pay_arg_int32(&args, window_of(upstream));
	if (upstream->pace.rate > 0)
		pay_arg_int64(&args, (int64) (upstream->pace.rate * 1000));
	else
		pay_arg_null(&args);
	arg_later(&args, upstream->pace.paused_until, now);
	arg_later(&args, silent_until(upstream, now), now);
	pay_arg_time(&args, GetCurrentTimestamp());
	pay_arg_text(&args, upstream->unfit);
	pay_spi_exec(&write_health, &args);
}

/* As a time of day; NULL when it is over. */
static void
arg_later(PayArgs *args, PaySteady at, PaySteady now)
{
	if (at > now)
		pay_arg_time(args, time_of_day(at, now));
	else
		pay_arg_null(args);
}

void
pay_vitals_forget(PayUpstream *upstream)
{
	/* Once: there may be another of that name by then. */
	if (upstream->shown_at != 0)
		pay_health_board_forget(upstream->psp);
	upstream->shown_at = 0;
	if (upstream->health_noted)
		forget_row(upstream);
}

/* Once more than needed: only then it is known that the first time was committed. */
static void
forget_row(PayUpstream *upstream)
{
	PayArgs		args = {0};

	pay_arg_text(&args, upstream->psp);
	upstream->health_noted = pay_spi_exec(&delete_health, &args) > 0;
}

void
pay_vitals_tidy(void)
{
	pay_spi_exec(&delete_strays, NULL);
}
