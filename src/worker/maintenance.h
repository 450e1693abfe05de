/*
 * src/worker/maintenance.h
 *		What the worker does beside calling PSPs.
 */
#ifndef PAY_WORKER_MAINTENANCE_H
#define PAY_WORKER_MAINTENANCE_H

#include "core/clock.h"

/* Does what is due. */
extern void pay_maintenance_step(void);
extern PaySteady pay_maintenance_next(void);
/* Something was posted. */
extern void pay_maintenance_posted(PaySteady now);
/* Settings were read again. */
extern void pay_maintenance_reload(void);

#endif							/* PAY_WORKER_MAINTENANCE_H */
