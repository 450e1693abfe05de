/*
 * src/payment/pulse.c
 *		How the last calls to a PSP went.
 *
 * Times are counted in buckets that grow with them; when enough were counted
 * all are halved, so that what is long ago fades.
 */
#include "payments.h"

#include "payment/pulse.h"

#include "port/pg_bitutils.h"

#define EXACT 8

static int	bucket_of(int64 ms);
static int	upper_bound(int bucket);
static void fade(PayPulse *pulse);

void
pay_pulse_note(PayPulse *pulse, bool failed, int64 elapsed_ms)
{
	pulse->failed = pulse->failed << 1 | (failed ? 1 : 0);
	pulse->calls = Min(pulse->calls + 1, PAY_PULSE_CALLS);
	if (elapsed_ms < 0)
		return;
	pulse->latency[bucket_of(elapsed_ms)]++;
	if (++pulse->timed >= PAY_PULSE_TIMED)
		fade(pulse);
}

int
pay_pulse_failures(const PayPulse *pulse)
{
	return pg_popcount64(pulse->failed);
}

int
pay_pulse_quantile(const PayPulse *pulse, double share)
{
	int			seen = 0;

	if (pulse->timed == 0)
		return -1;
	for (int i = 0; i < PAY_PULSE_BUCKETS; i++)
	{
		seen += pulse->latency[i];
		if (seen >= share * pulse->timed)
			return upper_bound(i);
	}
	return upper_bound(PAY_PULSE_BUCKETS - 1);
}

static int
bucket_of(int64 ms)
{
	int			octave;

	if (ms < EXACT)
		return (int) ms;
	octave = pg_leftmost_one_pos64((uint64) ms);
	return Min(EXACT + (octave - 3) * 4 + (int) ((ms >> (octave - 2)) & 3), PAY_PULSE_BUCKETS - 1);
}

static int
upper_bound(int bucket)
{
	int			above = bucket - EXACT;

	return above < 0 ? bucket : ((5 + above % 4) << (1 + above / 4)) - 1;
}

static void
fade(PayPulse *pulse)
{
	pulse->timed = 0;
	for (int i = 0; i < PAY_PULSE_BUCKETS; i++)
	{
		pulse->latency[i] /= 2;
		pulse->timed += pulse->latency[i];
	}
}
