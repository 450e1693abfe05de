/*
 * src/payment/adapter_json.h
 *		Reading what a SQL function of an adapter returns.
 */
#ifndef PAY_ADAPTER_JSON_H
#define PAY_ADAPTER_JSON_H

#include "psp/psp.h"

#include "utils/jsonb.h"

/*
 * These return NULL, or what is wrong with what the function has returned; then
 * nothing of it is to be used.  *refusal: the function's own word why there can
 * be no request.  Results are palloc'd, or a part of the JSON.
 */
extern const char *pay_adapter_read_request(Jsonb *json, PayRequest *request, const char **refusal);
extern const char *pay_adapter_read_result(Jsonb *json, bool inquiry, PayResult *result);
extern const char *pay_adapter_read_events(Jsonb *json, PayEvents *events);

/* Its word. */
extern const char *pay_effect_name(PayEffect effect);

/* NULL, or what is wrong with a request, whoever has built it. */
extern const char *pay_request_problem(const PayRequest *request);

#endif							/* PAY_ADAPTER_JSON_H */
