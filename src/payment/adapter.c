/*
 * src/payment/adapter.c
 *		An adapter by its name, and asking it.
 */
#include "payments.h"

#include "payment/adapter.h"

const PayAdapter *
pay_adapter_find(const char *name)
{
	return pay_psp_adapter(name);
}

bool
pay_adapter_is_functions(const PayAdapter *adapter)
{
	return adapter->functions != NULL;
}

bool
pay_adapter_build(const PayAdapter *adapter, const PayCommand *command, PayRequest *request, const char **problem)
{
	return adapter->build(command, request, problem);
}

bool
pay_adapter_build_inquiry(const PayAdapter *adapter, const PayCommand *command, PayRequest *request)
{
	return adapter->build_inquiry(command, request);
}

void
pay_adapter_classify(const PayAdapter *adapter, const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	adapter->classify(command, inquiry, answer, result);
}

bool
pay_adapter_parse(const PayAdapter *adapter, const PayInbound *inbound, PayEvents *events)
{
	return adapter->parse(inbound, events);
}
