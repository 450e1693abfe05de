/*
 * src/payment/health_board.h
 *		What the worker has found out about PSPs, in shared memory.
 *
 * There is one where the library is preloaded.  An entry is the last word of the
 * worker of a database about one of its PSPs; only that worker writes it.
 */
#ifndef PAY_HEALTH_BOARD_H
#define PAY_HEALTH_BOARD_H

#include "payment/pulse.h"

#include "datatype/timestamp.h"

#define PAY_FAILURE_BYTES 96

/* Times of day; 0: none. */
typedef struct PayVitals
{
	TimestampTz noted_at;
	TimestampTz silent_until;	/* it does not answer, and gets one call after this */
	TimestampTz held_until;		/* it wants no call before */
	double		rate;			/* calls a second that it takes; 0: no limit is known */
	int			window;			/* so many calls may be in flight; 0: it cannot be called */
	PayPulse	pulse;
	TimestampTz failed_at;
	char		failure[PAY_FAILURE_BYTES];	/* what became of the call then */
} PayVitals;

/* While preloading. */
extern void pay_health_board_init(void);
/* Of PSPs of this database.  Writing forgets, when all room is taken, what was written first. */
extern bool pay_health_board_read(const char *psp, PayVitals *vitals);
extern void pay_health_board_write(const char *psp, const PayVitals *vitals);
extern void pay_health_board_forget(const char *psp);
/*
 * May the caller be the one that tries whether the PSP answers?  One in each
 * interval is told so; without a board everybody is.
 */
extern bool pay_health_board_probe(const char *psp, int interval_ms);

#endif							/* PAY_HEALTH_BOARD_H */
