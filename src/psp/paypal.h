/*
 * src/psp/paypal.h
 *		Between psp/paypal.c and the files psp/paypal_*.c.
 */
#ifndef PAY_PSP_PAYPAL_H
#define PAY_PSP_PAYPAL_H

#include "psp/psp.h"

#include "base/json_slice.h"

#include "lib/stringinfo.h"

/* psp/paypal_value.c: values of its JSON; NULL or false for what is not there, or not of that type. */
extern bool pay_paypal_at(PaySlice object, const char *path, PaySlice *value);
extern const char *pay_paypal_text(PaySlice object, const char *path);
extern const char *pay_paypal_id(PaySlice object, const char *path);
extern bool pay_paypal_amount(PaySlice object, const char *path, int64 *amount, const char **currency);
extern bool pay_paypal_is_id(const char *text);
/* An amount as it writes them; false of a currency that it does not take. */
extern bool pay_paypal_add_amount(StringInfo out, const PayCommand *command);
/* A string with its quotes. */
extern void pay_paypal_add_string(StringInfo out, const char *text);

/* psp/paypal_answer.c: for the adapter, see psp.h. */
extern void pay_paypal_read_header(const PayHeader *header, PayAnswer *answer);
extern void pay_paypal_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
/* What its objects say.  `command` is NULL of an event. */
extern void pay_paypal_read_capture(PaySlice capture, const PayCommand *command, PayResult *result);
extern void pay_paypal_read_authorization(PaySlice authorization, const PayCommand *command, PayResult *result);
extern void pay_paypal_read_refund(PaySlice refund, const PayCommand *command, PayResult *result);
extern void pay_paypal_add_code(PayResult *result, const char *code);

/* psp/paypal_event.c: likewise. */
extern PayVerdict pay_paypal_verify(PayInbound *inbound, const char *const *secrets, int64 now);
extern bool pay_paypal_parse(const PayInbound *inbound, PayEvents *events);
extern bool pay_paypal_read_event(const char *body, size_t bytes, PayPspEvent *event);

#endif							/* PAY_PSP_PAYPAL_H */
