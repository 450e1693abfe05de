/*
 * src/worker/pace.c
 *		How fast a PSP is called: as fast as it takes calls, and no faster.
 *
 * It begins carefully: a few calls in flight, and each answer lets one more
 * begin, which doubles them with each round trip.  What is not made use of is
 * taken back, since it says nothing of what the PSP would take now.  A PSP that then says that
 * there are too many is given a pause, and from there on so many calls a second
 * as it has shown to take, less a part.  While it is made use of, that rate
 * doubles each second up to what the PSP had taken before, and grows by steps
 * from there on; it is cut by a part when the PSP complains again.  A PSP that
 * takes nothing tells nothing of how much it would take: it gets a pause, and
 * after it one call at a time until it takes one.  A limit of which nothing is
 * heard for minutes is forgotten.
 *
 * That one call is refused again and again while others are taken is no
 * complaint about the pace: it is refused for its own sake.
 *
 * What was agreed with the PSP is kept to from the first call on, whatever it
 * would take.
 *
 * A complaint about calls that had begun before the last cut says nothing new:
 * a hundred that come back at once are one.
 */
#include "payments.h"

#include "worker/pace.h"

#define WINDOW 32
#define WINDOW_MAX 100000
/* What is left of the rate when the PSP complains, and by what part it grows back in a second, but by one call at least. */
#define CUT 0.7
#define GROWTH 0.05
#define STEP_MIN 1.0
#define RATE_MIN 0.5
/* Calls a second to a PSP that has taken none since it complained. */
#define PROBE_RATE 1.0
/* Of so many calls that are taken one may be refused once more without a word about the pace. */
#define TAKEN_PER_REPEAT 4
#define CREDIT_MAX 100
#define FORGET_AFTER (5 * 60 * USECS_PER_SEC)
/* A rate that no limit of a PSP's comes near is none. */
#define RATE_MAX 5000.0
/* What was not made use of may be made up for this long. */
#define BURST_S 0.1
/* Without the PSP's own word, each pause in a row is twice as long; and of its word so much is believed. */
#define PAUSE_MS 250
#define PAUSE_MS_MAX 30000
#define RETRY_AFTER_MS_MAX (60 * 60 * 1000)

static double allowed_rate(const PayPace *pace);
static double allowance(const PayPace *pace, PaySteady now);
static double taken_rate(const PayPace *pace, PaySteady now);

int
pay_pace_window(const PayPace *pace)
{
	return WINDOW + pace->grown;
}

int
pay_pace_room(const PayPace *pace, int inflight, PaySteady now, PaySteady *again)
{
	int			room = pay_pace_window(pace) - inflight;
	double		left;

	*again = PAY_NEVER;
	if (now < pace->paused_until)
	{
		*again = pace->paused_until;
		return 0;
	}
	if (allowed_rate(pace) == 0 || room <= 0)
		return room;
	left = allowance(pace, now);
	if (left < 1)
	{
		*again = now + 1 + (PaySteady) ((1 - left) / allowed_rate(pace) * USECS_PER_SEC);
		return 0;
	}
	return Min(room, (int) left);
}

void
pay_pace_begun(PayPace *pace, int calls, PaySteady now)
{
	pace->allowance = allowance(pace, now) - calls;
	pace->counted_at = now;
}

/* 0: any. */
static double
allowed_rate(const PayPace *pace)
{
	if (pace->rate > 0 && pace->refusals > 0)
		return Min(pace->rate, PROBE_RATE);
	if (pace->rate > 0 && pace->agreed > 0)
		return Min(pace->rate, pace->agreed);
	return Max(pace->rate, pace->agreed);
}

static double
allowance(const PayPace *pace, PaySteady now)
{
	double		rate = allowed_rate(pace);
	double		more = rate * (double) (now - pace->counted_at) / USECS_PER_SEC;

	return Min(pace->allowance + more, Max(rate * BURST_S, 1));
}

void
pay_pace_taken(PayPace *pace, int inflight, PaySteady begun_at, PaySteady now)
{
	int			window = pay_pace_window(pace);

	if (now >= pace->taken_since + USECS_PER_SEC)
	{
		pace->taken_rate = pace->taken * (double) USECS_PER_SEC / (now - pace->taken_since);
		pace->taken_since = now;
		pace->taken = 0;
		if (inflight < window / 4)
			pace->grown /= 2;
	}
	pace->taken++;
	if (begun_at <= pace->cut_at)
		return;
	if (pace->refusals > 0)
	{
		pace->refusals = 0;
		pace->counted_at = Max(now, pace->paused_until);
	}
	pace->credit = Min(pace->credit + 1, CREDIT_MAX);
	if (inflight >= window / 2)
		pace->grown = Min(pace->grown + 1, WINDOW_MAX);
	if (pace->rate > 0)
		pace->rate += Min(pace->rate < pace->known ? 1 : Max(GROWTH * pace->rate, STEP_MIN) / pace->rate, pace->rate);
	if (pace->rate > RATE_MAX)
		pace->rate = 0;
}

/* In the second that is going on, or in the one before. */
static double
taken_rate(const PayPace *pace, PaySteady now)
{
	PaySteady	since = now - pace->taken_since;
	double		rate = pace->taken / Max((double) since / USECS_PER_SEC, 1);

	return since < 2 * USECS_PER_SEC ? Max(rate, pace->taken_rate) : rate;
}

void
pay_pace_refused(PayPace *pace, PaySteady begun_at, bool repeated, int retry_after_ms, PaySteady now)
{
	double		taken = taken_rate(pace, now);
	int			pause_ms = Min(PAUSE_MS << Min(pace->refusals, 16), PAUSE_MS_MAX);

	if (repeated && pace->credit >= TAKEN_PER_REPEAT)
	{
		pace->credit -= TAKEN_PER_REPEAT;
		return;
	}
	pace->complained_at = now;
	if (retry_after_ms >= 0)
	{
		pause_ms = Min(retry_after_ms, RETRY_AFTER_MS_MAX);
		pace->paused_until = Max(pace->paused_until, now + pause_ms * INT64CONST(1000));
	}
	if (begun_at <= pace->cut_at)
		return;
	if (pace->refusals == 0)
	{
		/* A rate that was not made use of is not what the PSP complains of. */
		pace->rate = Max(CUT * (pace->rate > 0 ? Min(pace->rate, 2 * taken) : taken), RATE_MIN);
		pace->known = Max(pace->rate, CUT * pace->known);
	}
	pace->paused_until = Max(pace->paused_until, now + pause_ms * INT64CONST(1000));
	pace->refusals++;
	pace->cut_at = now;
	pace->credit = 0;
	pace->allowance = 1;
	pace->counted_at = pace->paused_until;
	pay_pace_begin_carefully(pace);
}

void
pay_pace_resume(PayPace *pace, PaySteady now)
{
	pace->paused_until = Min(pace->paused_until, now);
	pace->counted_at = Min(pace->counted_at, now);
}

void
pay_pace_age(PayPace *pace, PaySteady now)
{
	if (pace->rate > 0 && now > Max(pace->complained_at, pace->paused_until) + FORGET_AFTER)
	{
		pace->rate = pace->known = 0;
		pay_pace_begin_carefully(pace);
	}
}

void
pay_pace_restore(PayPace *pace, double rate, PaySteady noted_at, PaySteady now)
{
	if (now > noted_at + FORGET_AFTER)
		return;
	pace->rate = pace->known = Max(rate, RATE_MIN);
	pace->complained_at = noted_at;
	pace->counted_at = now;
}

void
pay_pace_begin_carefully(PayPace *pace)
{
	pace->grown = 0;
}
