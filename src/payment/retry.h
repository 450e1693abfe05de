/*
 * src/payment/retry.h
 *		Decline rules and retry schedules: rows, looked up when something went wrong.
 */
#ifndef PAY_RETRY_H
#define PAY_RETRY_H

#include "psp/psp.h"

#include "datatype/timestamp.h"

typedef struct PayDeclineRule
{
	PayClass	class;
	const char *schedule;		/* NULL: none */
} PayDeclineRule;

/* Finds the rule for the first of the codes that has one; false if none has. */
extern bool pay_decline_rule(const char *adapter, const char *const *codes, PayDeclineRule *rule);

/* When retry number `try` (from 1) of the schedule comes, not before `not_before_ms` from now; false when the schedule is exhausted. */
extern bool pay_retry_next(const char *schedule, const char *psp, int try, int not_before_ms,
						   TimestampTz now, TimestampTz *due_at);

#endif							/* PAY_RETRY_H */
