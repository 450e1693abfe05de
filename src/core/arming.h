/*
 * src/core/arming.h
 *		May this server send for real?
 */
#ifndef PAY_ARMING_H
#define PAY_ARMING_H

#include "core/clock.h"

/*
 * Compares what arm() recorded with where we are.  Returns NULL when armed,
 * else why not.  Changes nothing.  These two between pay_spi_begin() and
 * pay_spi_end().
 */
extern const char *pay_unarmed_reason(void);

/*
 * The same for who is about to send: after a start of the server it takes the
 * arming over, so that no copy of before can.  With `keep` this process holds
 * it from now on, and no other server sends while it lives.
 */
extern const char *pay_take_arms(bool keep);

/*
 * Something was handed out to be sent: a state of before must not send it too,
 * so the next pay_take_arms() after pay_arms_due() changes the token, and the
 * one after its commit makes that final.  PAY_NEVER: there is nothing to do.
 */
extern void pay_arms_used(void);
extern PaySteady pay_arms_due(void);

/* May what was made then have been sent by another copy of this database?  Between pay_spi_begin() and pay_spi_end() too. */
extern bool pay_perhaps_sent_elsewhere(TimestampTz made_at);

/*
 * May a client repeat now what was accepted and sent, and is not here any more?
 * So it is for a day after each arming but the first, and while there is none.
 * Between pay_spi_begin() and pay_spi_end() too.
 */
extern bool pay_rows_may_be_lost(TimestampTz now);

/* When it was armed, as pay_take_arms() has last seen it: who sent before is not known here. */
extern TimestampTz pay_armed_since(void);

#endif							/* PAY_ARMING_H */
