/*
 * test/unit/test_pulse.c
 *		If this fails, people and routing are told wrong figures of how fast a
 *		PSP is and how many of its calls fail.
 */
// sources: ../../src/payment/pulse.c
#include "payments.h"

#include "payment/pulse.h"

#include "tap.h"

static void
test_failures(void)
{
	PayPulse	pulse = {0};

	OK(pay_pulse_failures(&pulse) == 0 && pulse.calls == 0 && pay_pulse_quantile(&pulse, 0.5) == -1, "of none nothing is said");
	for (int i = 0; i < 10; i++)
		pay_pulse_note(&pulse, i % 2 == 0, -1);
	OK(pulse.calls == 10 && pay_pulse_failures(&pulse) == 5, "each counts");
	OK(pay_pulse_quantile(&pulse, 0.5) == -1, "but what was not answered has no time");
	for (int i = 0; i < PAY_PULSE_CALLS; i++)
		pay_pulse_note(&pulse, false, 3);
	OK(pulse.calls == PAY_PULSE_CALLS && pay_pulse_failures(&pulse) == 0, "and only the last ones do");
}

/* Of each time alone: not below, and at most a quarter above. */
static void
test_times(void)
{
	int			wrong = 0;

	for (int64 ms = 0; ms < 1000000; ms = ms < 5000 ? ms + 1 : ms + 997)
	{
		PayPulse	pulse = {0};
		int			told;

		pay_pulse_note(&pulse, false, ms);
		told = pay_pulse_quantile(&pulse, 0.99);
		if (told < ms || told > ms + ms / 4)
			wrong++;
	}
	OK(wrong == 0, "a time is told to a quarter (%d wrong)", wrong);
}

static void
test_quantiles(void)
{
	PayPulse	pulse = {0};

	for (int i = 0; i < 1000; i++)
		pay_pulse_note(&pulse, false, i < 980 ? 5 : 700);
	OK(pay_pulse_quantile(&pulse, 0.5) == 5, "half of them");
	OK(pay_pulse_quantile(&pulse, 0.98) == 5 && pay_pulse_quantile(&pulse, 0.99) == 767, "and the slowest");
	for (int i = 0; i < 20 * PAY_PULSE_TIMED; i++)
		pay_pulse_note(&pulse, false, 40);
	OK(pay_pulse_quantile(&pulse, 0.01) == 47 && pay_pulse_quantile(&pulse, 0.99) == 47, "what is long ago fades");
	pay_pulse_note(&pulse, false, PG_INT64_MAX);
	OK(pay_pulse_quantile(&pulse, 1) > 1000000, "and any time has its place");
}

int
main(void)
{
	test_failures();
	test_times();
	test_quantiles();
	return tap_done();
}
