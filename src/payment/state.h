/*
 * src/payment/state.h
 *		The state machine of a payment.
 */
#ifndef PAY_STATE_H
#define PAY_STATE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* One edge.  (from, event) is unique, so an event leads to one status. */
typedef struct PayTransition
{
	const char *from;			/* "" before the first row */
	const char *event;
	const char *to;
} PayTransition;

extern const PayTransition pay_transitions[];
extern const int pay_transition_count;

/* Where does the event lead from there?  NULL when the edge does not exist. */
extern const char *pay_state_next(const char *from, const char *event);
/* No edge leads out of it. */
extern bool pay_state_is_final(const char *status);
/* Is it over, or waits it for somebody outside?  The others still have work of ours ahead. */
extern bool pay_state_is_resting(const char *status);

/* One row of payment_status before it is written. */
typedef struct PayStatusRow
{
	pg_uuid_t	payment_id;
	int			seq;
	const char *status;
	const char *event;
	const pg_uuid_t *operation_id;	/* NULL: none */
	const char *source;
	const char *actor;
	const char *code;			/* NULL: none */
	TimestampTz recorded_at;
} PayStatusRow;

/* The row's hash over its content and the hash of the row before it (NULL for the first). */
extern void pay_state_hash(const PayStatusRow *row, const uint8 *previous, uint8 *hash);

#endif							/* PAY_STATE_H */
