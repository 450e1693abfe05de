/*
 * src/worker/upstream_private.h
 *		Between worker/upstream.c and worker/vitals.c, which tells others, and the
 *		worker after this one, what was found out about a PSP.
 */
#ifndef PAY_UPSTREAM_PRIVATE_H
#define PAY_UPSTREAM_PRIVATE_H

#include "worker/upstream.h"

/* An answer to a call of the payments lane, or that there was none. */
extern void pay_vitals_answered(PayUpstream *upstream, const PayHttpResponse *response, const PayResult *result,
								PaySteady begun_at, PaySteady now);
/* Its breaker or its pace has changed: shows it to all sessions at once. */
extern void pay_vitals_show(PayUpstream *upstream, PaySteady now);

/* In each look: goes on from what the worker before has written down; once, behind that nothing happens. */
extern void pay_vitals_restore(PayUpstream *upstream, PaySteady now);
/* Likewise: writes down what has changed. */
extern void pay_vitals_note(PayUpstream *upstream, PaySteady now);
/* Likewise: it has no row any more. */
extern void pay_vitals_forget(PayUpstream *upstream);
/* Likewise, at the start: rows of PSPs that are gone. */
extern void pay_vitals_tidy(void);

#endif							/* PAY_UPSTREAM_PRIVATE_H */
