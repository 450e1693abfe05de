/*
 * src/core/subtransaction.h
 *		What may fail and must not take the rest of the transaction with it.
 */
#ifndef PAY_SUBTRANSACTION_H
#define PAY_SUBTRANSACTION_H

#include "utils/elog.h"

/*
 * Runs work(arg) in a subtransaction.  Returns NULL if it stands.  It is undone
 * if work returns a reason, which is returned, or raises, whose message is: then
 * *error is all of it, else NULL.  Raises what is nobody's fault and would befall
 * the next as well: want of resources, and what an operator asks for.
 */
extern const char *pay_try(const char *(*work) (void *arg), void *arg, ErrorData **error);

/* Did it only meet somebody?  Then another try may do. */
extern bool pay_error_passes(const ErrorData *error);

#endif							/* PAY_SUBTRANSACTION_H */
