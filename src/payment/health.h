/*
 * src/payment/health.h
 *		How a PSP is, for whoever chooses among several.
 *
 * What persons have said is read from its row, through a cache; what the worker
 * has found out, from shared memory where the library is preloaded, else from
 * psp_health, which is a second behind.  Either way no row is locked and nothing
 * is waited for.
 */
#ifndef PAY_HEALTH_H
#define PAY_HEALTH_H

#include "datatype/timestamp.h"

/* From well to worse: what comes from PAY_HEALTH_SILENT on gets no call now. */
typedef enum PayHealthState
{
	PAY_HEALTH_GOOD,			/* nothing is known against it */
	PAY_HEALTH_SLOWED,			/* wants fewer calls than it might get */
	PAY_HEALTH_HALF_OPEN,		/* did not answer, and gets a call to see whether it does: see pay_health_probe() */
	PAY_HEALTH_SILENT,			/* does not answer: the breaker is open until `until`; or it wants no call before */
	PAY_HEALTH_UNFIT,			/* the worker cannot call it, such as for a secret that is not at hand */
	PAY_HEALTH_PAUSED,			/* by a person, until `until` if there is one */
	PAY_HEALTH_HALTED,			/* it refuses our credentials, or is of another account */
	PAY_HEALTH_UNKNOWN			/* there is no such PSP */
} PayHealthState;

typedef struct PayHealth
{
	PayHealthState state;
	TimestampTz until;			/* 0: not known */
	double		rate;			/* calls a second that it takes; 0: no limit is known */
	int			calls;			/* so many of the last are judged, up to PAY_PULSE_CALLS; 0 without preloading */
	int			failures;		/* of these: not answered, or answered that there are too many */
} PayHealth;

/* Call between pay_spi_begin() and pay_spi_end(). */
extern void pay_health_find(const char *psp, PayHealth *health);
/*
 * Of one that is PAY_HEALTH_HALF_OPEN: may the caller's payment be the one that
 * shows whether it answers?  True for one caller in a second; nobody would ever
 * find out if all payments went elsewhere.
 */
extern bool pay_health_probe(const char *psp);

/* As in psp_status.state. */
extern const char *pay_health_state_name(PayHealthState state);

#endif							/* PAY_HEALTH_H */
