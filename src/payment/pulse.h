/*
 * src/payment/pulse.h
 *		How the last calls to a PSP went.
 *
 * Pure, and of a fixed size.
 */
#ifndef PAY_PULSE_H
#define PAY_PULSE_H

/* So many calls are judged, and about so many of those that were answered are timed. */
#define PAY_PULSE_CALLS 64
#define PAY_PULSE_TIMED 2048
/* Each millisecond below 8, then a quarter of each doubling, up to 17 minutes and above. */
#define PAY_PULSE_BUCKETS 80

/* All zero is how it begins. */
typedef struct PayPulse
{
	uint64		failed;			/* a bit a call, the last one's the lowest */
	int			calls;			/* so many of the bits are calls */
	int			timed;			/* sum of latency */
	uint16		latency[PAY_PULSE_BUCKETS];
} PayPulse;

/* elapsed_ms: -1 when it says nothing of how fast the PSP is. */
extern void pay_pulse_note(PayPulse *pulse, bool failed, int64 elapsed_ms);
extern int	pay_pulse_failures(const PayPulse *pulse);
/* Milliseconds within which that share of the answers came, at most a quarter too high; -1: there was none. */
extern int	pay_pulse_quantile(const PayPulse *pulse, double share);

#endif							/* PAY_PULSE_H */
