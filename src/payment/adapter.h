/*
 * src/payment/adapter.h
 *		An adapter by its name, and asking it: one of the library, or one that is
 *		a set of SQL functions.
 *
 * All but src/psp/ ask an adapter through these.  What is said there of the
 * questions holds of both kinds.
 */
#ifndef PAY_ADAPTER_H
#define PAY_ADAPTER_H

#include "psp/psp.h"

/* NULL if there is none of that name.  In a transaction; the answer lasts as long as the process. */
extern const PayAdapter *pay_adapter_find(const char *name);

extern bool pay_adapter_build(const PayAdapter *adapter, const PayCommand *command, PayRequest *request, const char **problem);
extern bool pay_adapter_build_inquiry(const PayAdapter *adapter, const PayCommand *command, PayRequest *request);
/* In a transaction, where pay_adapter_is_functions(). */
extern void pay_adapter_classify(const PayAdapter *adapter, const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
extern bool pay_adapter_parse(const PayAdapter *adapter, const PayInbound *inbound, PayEvents *events);

/* Is it one of SQL functions? */
extern bool pay_adapter_is_functions(const PayAdapter *adapter);

#endif							/* PAY_ADAPTER_H */
