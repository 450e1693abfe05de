/*
 * src/core/clock.c
 *		The two clocks of the worker.
 *
 * A step of the time of day is seen by comparing it with the clock that nobody
 * sets.  One ahead makes due what would have been due later, and no more.  One
 * back would leave everything waiting that was put off before it.
 */
#include "payments.h"

#include "core/clock.h"

#include "utils/timestamp.h"

#include <time.h>

/* Less is what a clock does that is kept right, or a process that was not run for a moment. */
#define STEP_US (5 * USECS_PER_SEC)
#define AGAIN_US USECS_PER_SEC

/* Process-local. */
static bool retime = true;		/* at the start as well: it may have been set while nobody looked */
static PaySteady retime_at = 0;
static bool compared = false;
static int64 ahead_us = 0;		/* the time of day minus the steady clock, when last compared */

PaySteady
pay_clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

PaySteady
pay_clock_of(TimestampTz at)
{
	return TIMESTAMP_NOT_FINITE(at) ? at : pay_clock_now() + (at - GetCurrentTimestamp());
}

bool
pay_clock_retime_due(void)
{
	PaySteady	now = pay_clock_now();
	int64		ahead = GetCurrentTimestamp() - now;
	int64		step = compared ? ahead - ahead_us : 0;

	ahead_us = ahead;
	compared = true;
	if (step <= -STEP_US)
	{
		ereport(LOG,
				(errmsg("the clock was set back by %.0f s", (double) -step / USECS_PER_SEC),
				 errdetail("What was put off before, by the clock as it was, is taken to be due so much sooner."),
				 errhint("Let a time service slew the clock of a database server, and not step it.")));
		retime = true;
		retime_at = 0;
	}
	else if (step >= STEP_US)
		ereport(LOG,
				(errmsg("the clock was set ahead by %.0f s", (double) step / USECS_PER_SEC),
				 errhint("Let a time service slew the clock of a database server, and not step it.")));
	return retime && now >= retime_at;
}

void
pay_clock_retimed(bool all)
{
	retime = !all;
	retime_at = pay_clock_now() + AGAIN_US;
}
