/*
 * src/payment/adapter.h
 *		An adapter by its name, and asking it: one of the library, or one that is
 *		a set of SQL functions, in the table payments.adapter.
 *
 * All but src/psp/ ask an adapter through these.  What is said there of the
 * questions holds of both kinds; what a function raises or returns wrongly is
 * "cannot be built", "unknown" or "no event", as if it had said so.
 */
#ifndef PAY_ADAPTER_H
#define PAY_ADAPTER_H

#include "psp/psp.h"

/* NULL if there is none of that name.  In a transaction; the answer lasts as long as the process. */
extern const PayAdapter *pay_adapter_find(const char *name);

/* These of functions in a transaction; see pay_adapter_is_functions(). */
extern bool pay_adapter_build(const PayAdapter *adapter, const PayCommand *command, PayRequest *request, const char **problem,
							  bool *failed);	/* not refused: it has not answered, or nonsense; may be NULL */
extern bool pay_adapter_build_inquiry(const PayAdapter *adapter, const PayCommand *command, PayRequest *request);
extern void pay_adapter_classify(const PayAdapter *adapter, const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
extern bool pay_adapter_parse(const PayAdapter *adapter, const PayInbound *inbound, PayEvents *events);

/* Is it one of SQL functions? */
extern bool pay_adapter_is_functions(const PayAdapter *adapter);
/* Has it questions for its PSP at all?  One in process needs none. */
extern bool pay_adapter_has_inquiry(const PayAdapter *adapter);
/*
 * Has it used up its time for now?  Functions get a part of a process's time:
 * those that wait are asked later, and others not kept waiting.
 */
extern bool pay_adapter_rests(const PayAdapter *adapter);
/* NULL, or why nothing can be asked of it: a function has gone, or is not what it was. */
extern const char *pay_adapter_refusal(const PayAdapter *adapter);

#endif							/* PAY_ADAPTER_H */
