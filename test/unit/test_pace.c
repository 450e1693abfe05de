/*
 * test/unit/test_pace.c
 *		If this fails, a PSP with a limit is hammered and its payments come to
 *		nothing, or one is called far more slowly than it would take.
 *
 * The PSP and the time that passes are simulated, so that the figures are
 * the same on every machine.
 */
// sources: ../../src/worker/pace.c
#include "payments.h"

#include "worker/pace.h"

#include "tap.h"

#include <string.h>

#define MS INT64CONST(1000)
#define S (1000 * MS)
#define CALLS_MAX 100000

/* A PSP that takes `rate` calls a second, up to `burst` at once, or so many at a time; 0: as many as come. */
typedef struct Psp
{
	double		rate;
	double		burst;
	int			at_a_time;
	PaySteady	latency;
	int			retry_after_ms;
	double		tokens;
	PaySteady	counted_at;
} Psp;

typedef struct Call
{
	PaySteady	begun_at;
	PaySteady	answered_at;
	bool		taken;
} Call;

typedef struct Outcome
{
	int			taken;
	int			refused;
	int			inflight_max;
	PaySteady	took;
	int			in_pause;		/* calls that began in one that the PSP had asked for */
} Outcome;

static bool
takes(Psp *psp, int inflight, PaySteady now)
{
	if (psp->at_a_time > 0)
		return inflight <= psp->at_a_time;
	if (psp->rate == 0)
		return true;
	psp->tokens = Min(psp->burst, psp->tokens + psp->rate * (double) (now - psp->counted_at) / S);
	psp->counted_at = now;
	if (psp->tokens < 1)
		return false;
	psp->tokens -= 1;
	return true;
}

/* Gets `payments` through; what is refused is due again. */
static Outcome
run(PayPace *pace, Psp *psp, int payments, PaySteady *clock)
{
	static Call calls[CALLS_MAX];
	Outcome		outcome = {0};
	PaySteady	begun = *clock;
	PaySteady	asked_until = 0;
	int			first = 0;
	int			n = 0;

	psp->tokens = psp->burst;
	psp->counted_at = begun;
	while (outcome.taken < payments && *clock < begun + 3600 * S)
	{
		int			room;
		int			inflight = n - first;
		PaySteady	again;

		/* Answers come in the order of the calls; what came at once counts as in flight together. */
		for (; first < n && calls[first].answered_at <= *clock; first++)
		{
			if (calls[first].taken)
			{
				outcome.taken++;
				pay_pace_taken(pace, inflight, calls[first].begun_at, *clock);
				continue;
			}
			outcome.refused++;
			if (psp->retry_after_ms >= 0)
				asked_until = *clock + psp->retry_after_ms * MS;
			pay_pace_refused(pace, calls[first].begun_at, false, psp->retry_after_ms, *clock);
		}
		room = pay_pace_room(pace, n - first, *clock, &again);
		if (room > payments - outcome.taken - (n - first))
			room = payments - outcome.taken - (n - first);
		if (room > 0 && *clock < asked_until)
			outcome.in_pause += room;
		for (int i = 0; i < room && n < CALLS_MAX; i++, n++)
			calls[n] = (Call) {*clock, *clock + psp->latency, takes(psp, n - first + 1, *clock)};
		if (room > 0)
			pay_pace_begun(pace, room, *clock);
		if (n - first > outcome.inflight_max)
			outcome.inflight_max = n - first;
		*clock += MS;
	}
	outcome.took = *clock - begun;
	return outcome;
}

/* Gets 3,000 through; says so when there were too many refusals, or too little came of it. */
static void
limited(Psp psp, double limit, int refused_max, const char *name)
{
	PayPace		pace = {0};
	PaySteady	clock = 1000 * S;
	Outcome		outcome = run(&pace, &psp, 3000, &clock);
	double		rate = outcome.taken * (double) S / outcome.took;

	printf("# %s: %d refused, %.1f a second\n", name, outcome.refused, rate);
	OK(outcome.taken == 3000 && outcome.refused <= refused_max, "%s: of 3,000 calls few are refused", name);
	OK(rate >= 0.7 * limit, "%s: and the PSP is made use of", name);
	OK(outcome.in_pause == 0, "%s: it is left alone as long as it asks for", name);
}

static void
test_limits(void)
{
	limited((Psp) {.rate = 20, .burst = 20, .latency = 100 * MS, .retry_after_ms = -1}, 20, 60, "20 a second");
	limited((Psp) {.rate = 20, .burst = 20, .latency = 2 * MS, .retry_after_ms = -1}, 20, 60, "20 a second, quickly");
	limited((Psp) {.rate = 20, .burst = 1, .latency = 100 * MS, .retry_after_ms = -1}, 20, 150, "20 a second, evenly");
	limited((Psp) {.rate = 100, .burst = 100, .latency = 300 * MS, .retry_after_ms = -1}, 100, 150, "100 a second");
	limited((Psp) {.rate = 20, .burst = 20, .latency = 100 * MS, .retry_after_ms = 1000}, 20, 60, "with Retry-After");
	limited((Psp) {.at_a_time = 5, .latency = 200 * MS, .retry_after_ms = -1}, 25, 200, "5 at a time");
}

static void
test_no_limit(void)
{
	PayPace		pace = {0};
	Psp			psp = {.latency = 100 * MS, .retry_after_ms = -1};
	PaySteady	clock = 1000 * S;
	Outcome		outcome;

	OK(pay_pace_window(&pace) == 32, "it begins with a few");
	outcome = run(&pace, &psp, 10000, &clock);
	OK(outcome.refused == 0 && pace.rate == 0, "a PSP without a limit gets none from us");
	OK(outcome.took <= 12 * psp.latency && outcome.inflight_max > 2000, "ten thousand calls are made in ten round trips");
	OK(pay_pace_window(&pace) > 1000, "it may go on like that");
	for (int i = 0; i < 60; i++)
	{
		clock += S;
		pay_pace_taken(&pace, 1, clock - psp.latency, clock);
	}
	OK(pay_pace_window(&pace) == 32, "what is not made use of for a minute is taken back");
	run(&pace, &psp, 1000, &clock);
	pay_pace_begin_carefully(&pace);
	OK(pay_pace_window(&pace) == 32, "and carefully again");
}

static void
test_more_later(void)
{
	PayPace		pace = {0};
	Psp			psp = {.rate = 20, .burst = 20, .latency = 100 * MS, .retry_after_ms = -1};
	PaySteady	clock = 1000 * S;
	Outcome		outcome;

	run(&pace, &psp, 1000, &clock);
	psp.rate = psp.burst = 200;
	run(&pace, &psp, 20000, &clock);
	outcome = run(&pace, &psp, 3000, &clock);
	OK(outcome.taken * (double) S / outcome.took >= 120, "a limit that was raised is made use of");
	psp.rate = psp.burst = 10;
	outcome = run(&pace, &psp, 3000, &clock);
	printf("# from 200 down to 10: %d refused\n", outcome.refused);
	OK(outcome.refused <= 200 && outcome.taken * (double) S / outcome.took >= 7, "and one that was lowered is kept");
}

static void
test_one_by_one(void)
{
	PayPace		pace = {0};
	PaySteady	now = 1000 * S;
	PaySteady	again;
	double		rate;

	for (int i = 0; i < 100; i++)
		pay_pace_taken(&pace, 32, now - S, now);
	pay_pace_refused(&pace, now - S, false, -1, now);
	rate = pace.rate;
	OK(rate == 70, "the first cut leaves a part of what was taken");
	OK(pay_pace_room(&pace, 0, now, &again) == 0 && again == now + 250 * MS, "and a pause");
	for (int i = 0; i < 50; i++)
		pay_pace_refused(&pace, now - S, false, -1, now + MS);
	OK(pace.rate == rate && pace.paused_until == now + 250 * MS, "fifty that had begun before are the same complaint");
	pay_pace_refused(&pace, now - S, false, 5000, now + MS);
	OK(pace.rate == rate && pace.paused_until == now + 5001 * MS, "but when the PSP says how long, it is believed");
	pay_pace_refused(&pace, now - S, false, 24 * 60 * 60 * 1000, now + MS);
	OK(pace.paused_until == now + MS + 3600 * S, "an hour at most");

	for (int i = 1; i <= 40; i++)
	{
		now = Max(now, pace.paused_until) + 10 * S;
		pay_pace_refused(&pace, now - MS, false, -1, now);
	}
	OK(pace.rate == rate && pace.paused_until == now + 30 * S, "who takes nothing is asked every half minute, and says nothing of how much it would take");
	now = pace.paused_until;
	OK(pay_pace_room(&pace, 0, now, &again) == 1, "with one call");
	pay_pace_begun(&pace, 1, now);
	OK(pay_pace_room(&pace, 1, now, &again) == 0 && again > now && again <= now + S + MS, "and when there is room for no more, it is known when there will be");
	pay_pace_taken(&pace, 1, now, now + MS);
	OK(pace.refusals == 0 && pace.rate > rate, "until it takes one");
	OK(pay_pace_room(&pace, 2, now + 100 * MS, &again) > 1, "and from there on it is as fast as before");
	OK(pay_pace_room(&pace, 33, now + 2 * S, &again) <= 0 && again == PAY_NEVER, "what depends on calls in flight has no time");
	pay_pace_age(&pace, now + 299 * S);
	OK(pace.rate > 0, "a limit holds");
	pay_pace_age(&pace, now + 301 * S);
	OK(pace.rate == 0, "until nothing was heard of it for minutes");
}

/* Maintenance: nothing is taken for a while. */
static void
test_recovery(void)
{
	PayPace		pace = {0};
	PaySteady	clock = 1000 * S;
	Psp			psp = {.rate = 100, .burst = 100, .latency = 100 * MS, .retry_after_ms = -1};
	double		before;
	Outcome		outcome;

	run(&pace, &psp, 5000, &clock);
	before = pace.rate;
	for (int i = 0; i < 20; i++)
	{
		clock = Max(clock, pace.paused_until) + psp.latency;
		pay_pace_refused(&pace, clock - psp.latency, false, 10000, clock);
	}
	clock = pace.paused_until;
	outcome = run(&pace, &psp, 500, &clock);
	printf("# %.1f a second before, 500 after it took %d ms\n", before, (int) (outcome.took / MS));
	OK(outcome.took <= 10 * S, "when a maintenance is over, the PSP is called as before within seconds");
	OK(outcome.refused <= 20, "and not too often");
}

/* One call is refused whenever it comes, beside `rate` others a second that are taken. */
static void
test_one_of_many(void)
{
	PayPace		pace = {0};
	PaySteady	now = 1000 * S;
	int			cuts = 0;

	for (int second = 0; second < 300; second++)
	{
		PaySteady	cut_at = pace.cut_at;

		for (int i = 0; i < 40; i++, now += 25 * MS)
			pay_pace_taken(&pace, 4, now - MS, now);
		if ((second & (second - 1)) == 0)
			pay_pace_refused(&pace, now - MS, second > 0, -1, now);
		cuts += pace.cut_at > cut_at;
		pay_pace_age(&pace, now);
	}
	OK(cuts == 1, "one that is refused for ever is a complaint once (%d)", cuts);
	for (int i = 0; i < 100; i++, now += 25 * MS)
	{
		pay_pace_taken(&pace, 4, now - MS, now);
		pay_pace_refused(&pace, now - MS, true, -1, now);
	}
	OK(pace.cut_at > 1010 * S, "but half of all calls, though all were refused before, are one again");
}

/* A limit that nothing comes near any more is none, and a person may end a pause. */
static void
test_ends(void)
{
	PayPace		pace = {.rate = 4900, .known = 4900};
	PaySteady	now = 1000 * S,
				again;

	for (int i = 0; i < 100000 && pace.rate > 0; i++, now += MS / 5)
		pay_pace_taken(&pace, 32, now - MS / 10, now);
	OK(pace.rate == 0, "a rate that no PSP limits to is no limit");
	pay_pace_refused(&pace, now, false, 60000, now);
	OK(pay_pace_room(&pace, 0, now + S, &again) == 0 && again == now + 60 * S, "the PSP asks for a pause");
	pay_pace_resume(&pace, now + S);
	OK(pay_pace_room(&pace, 0, now + 2 * S, &again) > 0, "which a person ends");
}

/* What was agreed holds from the first call on, and the PSP's complaints below it. */
static void
test_agreed(void)
{
	PayPace		pace = {.agreed = 50};
	PaySteady	now = 1000 * S,
				again;
	int			begun = 0;

	for (int i = 0; i < 1000; i++, now += 10 * MS)
	{
		int			room = pay_pace_room(&pace, 0, now, &again);

		if (room > 0)
			pay_pace_begun(&pace, room, now);
		begun += Max(room, 0);
		for (int j = 0; j < room; j++)
			pay_pace_taken(&pace, 1, now, now + MS);
	}
	OK(begun >= 495 && begun <= 505, "500 calls in ten seconds begin (%d)", begun);
	OK(pace.rate == 0, "which is no limit that was found out");
	pay_pace_refused(&pace, now, false, -1, now);
	OK(pace.rate > 0 && pace.rate <= 50, "a complaint is heeded below it (%g)", pace.rate);
	pace.refusals = 0;
	pace.rate = 1000;
	now += 60 * S;
	OK(pay_pace_room(&pace, 0, now, &again) <= 5, "and what it would take is not used above it");
}

int
main(void)
{
	test_agreed();
	test_limits();
	test_no_limit();
	test_more_later();
	test_one_by_one();
	test_recovery();
	test_one_of_many();
	test_ends();
	return tap_done();
}
