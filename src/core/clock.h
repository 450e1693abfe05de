/*
 * src/core/clock.h
 *		The two clocks of the worker.
 *
 * The time of day stands in tables, and anybody may set it.  What the worker
 * does by itself, and how long it waits, goes by a clock that only runs.
 */
#ifndef PAY_CLOCK_H
#define PAY_CLOCK_H

#include "datatype/timestamp.h"

/* Microseconds since some moment; nobody sets it. */
typedef int64 PaySteady;

#define PAY_NEVER PG_INT64_MAX

extern PaySteady pay_clock_now(void);
/* That clock's time of a time of day, as the two stand now; DT_NOEND is PAY_NEVER. */
extern PaySteady pay_clock_of(TimestampTz at);

/*
 * Must due times in tables be looked through, because a clock that was ahead
 * may have set them: at the start, and when the clock was set back?  The caller
 * says what became of it; what was not done is asked for again soon.
 */
extern bool pay_clock_retime_due(void);
extern void pay_clock_retimed(bool all);

#endif							/* PAY_CLOCK_H */
