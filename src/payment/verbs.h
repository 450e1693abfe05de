/*
 * src/payment/verbs.h
 *		What payment/verbs.c and payment/follow_up.c have in common.
 */
#ifndef PAY_VERBS_H
#define PAY_VERBS_H

#include "fmgr.h"
#include "utils/uuid.h"

#define PAY_METADATA_BYTES_MAX 16384

/* Raise for a text that is too long or holds control characters (NULL is none), an amount that is none, a key that nobody may take. */
extern void pay_verb_check_text(const char *name, const char *value, int chars_max);
extern void pay_verb_check_amount(int64 amount);
extern void pay_verb_check_key(const char *key);

/* The row that a verb returns: the payment or operation, its status, and whether the call is a repetition. */
extern Datum pay_verb_result(FunctionCallInfo fcinfo, const pg_uuid_t *id, const char *status, bool replayed);

#endif							/* PAY_VERBS_H */
