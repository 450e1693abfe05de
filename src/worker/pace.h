/*
 * src/worker/pace.h
 *		How fast a PSP is called: as fast as it takes calls, and no faster.
 *
 * Pure: a struct, and a clock given by the caller.
 */
#ifndef PAY_PACE_H
#define PAY_PACE_H

#include "core/clock.h"

/* All zero is how it begins. */
typedef struct PayPace
{
	int			grown;			/* so many calls more may be in flight than at first */
	double		agreed;			/* calls a second that are never exceeded; 0: as many as it takes.  The caller's */
	double		rate;			/* calls a second; 0: the PSP has set no limit that we know of */
	double		known;			/* below this rate, that the PSP has taken, it is doubled in a second in which it is made use of */
	double		allowance;		/* calls that might begin at counted_at */
	PaySteady	counted_at;
	PaySteady	cut_at;			/* the calls that had begun by then are answered for */
	PaySteady	paused_until;
	PaySteady	complained_at;
	int			refusals;		/* complaints since a call was last taken: until one is, they are probed one by one */
	int			credit;			/* calls taken since, that repeated refusals are set against */
	PaySteady	taken_since;	/* so many were taken since then, and so many a second before */
	int			taken;
	double		taken_rate;
} PayPace;

/* How many calls may be in flight. */
extern int	pay_pace_window(const PayPace *pace);
/* How many calls may begin; and if none, when one may, PAY_NEVER if that depends on what is in flight. */
extern int	pay_pace_room(const PayPace *pace, int inflight, PaySteady now, PaySteady *again);
extern void pay_pace_begun(PayPace *pace, int calls, PaySteady now);
/* The PSP took a call that had begun then, whatever it made of it.  inflight: with this one. */
extern void pay_pace_taken(PayPace *pace, int inflight, PaySteady begun_at, PaySteady now);
/*
 * It took it not, because there are too many.  repeated: the same call had been
 * refused before.  retry_after_ms: when it wants the next; -1 not said.
 */
extern void pay_pace_refused(PayPace *pace, PaySteady begun_at, bool repeated, int retry_after_ms, PaySteady now);
/* A person has ended the pause. */
extern void pay_pace_resume(PayPace *pace, PaySteady now);
/* Forgets a limit of which the PSP has said nothing for minutes. */
extern void pay_pace_age(PayPace *pace, PaySteady now);
/* Goes on at the rate that was known at `noted_at`, if that is not long ago. */
extern void pay_pace_restore(PayPace *pace, double rate, PaySteady noted_at, PaySteady now);
/* It is not to be hit by all at once. */
extern void pay_pace_begin_carefully(PayPace *pace);

#endif							/* PAY_PACE_H */
