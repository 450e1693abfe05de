/*
 * src/seal/sealer.h
 *		Sealing as the worker does it.
 */
#ifndef PAY_SEALER_H
#define PAY_SEALER_H

#include "core/clock.h"

/* One step: cuts a block if one is due.  In a transaction, as payments_owner. */
extern void pay_sealer_work(void *arg);
/* After that transaction, `ok` or not: writes heads to the file.  Returns when the next step is due. */
extern PaySteady pay_sealer_done(bool ok, PaySteady now);
/* Settings were read again: the file may be another. */
extern void pay_sealer_reload(void);

#endif							/* PAY_SEALER_H */
