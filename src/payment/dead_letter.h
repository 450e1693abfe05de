/*
 * src/payment/dead_letter.h
 *		Operations that nothing but a person can bring further.
 */
#ifndef PAY_DEAD_LETTER_H
#define PAY_DEAD_LETTER_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/*
 * The operation's outcome cannot be applied (it made pay_apply() fail): takes
 * it out of the queue into the dead letters.  In a transaction of its own,
 * between pay_spi_begin() and pay_spi_end().  False if it was not in the queue.
 */
extern bool pay_dead_letter_bury(const pg_uuid_t *operation_id, const char *reason, const char *detail,
								 TimestampTz now, const char *actor);

/* Why it cannot be applied, as a dead letter says it. */
extern const char *pay_dead_letter_reason(int sqlstate);

#endif							/* PAY_DEAD_LETTER_H */
