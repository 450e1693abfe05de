/*
 * src/psp/stripe_object.h
 *		Between psp/stripe_answer.c, which reads answers, psp/stripe_event.c, which
 *		reads events, and psp/stripe_object.c, which knows what their objects share.
 */
#ifndef PAY_PSP_STRIPE_OBJECT_H
#define PAY_PSP_STRIPE_OBJECT_H

#include "psp/stripe.h"

/* An object inside a document: paths are relative to the prefix, "" or "data.object.". */
typedef struct PayStripeNode
{
	Jsonb	   *json;
	const char *prefix;
} PayStripeNode;

/* psp/stripe_answer.c; `command` is NULL for an event. */
extern void pay_stripe_read_payment_intent(const PayStripeNode *intent, const PayCommand *command, bool inquiry, PayResult *result);
extern void pay_stripe_read_refund(const PayStripeNode *refund, const PayCommand *command, PayResult *result);

/* psp/stripe_object.c */
extern bool pay_stripe_read_names(const PayStripeNode *node, PayResult *result);
extern bool pay_stripe_names_agree(const PayCommand *command, bool inquiry, PayResult *result);
extern void pay_stripe_read_error(const PayStripeNode *error, PayResult *result);
extern void pay_stripe_conflict(PayResult *result, const char *code);
extern void pay_stripe_not_done_yet(bool inquiry, PayResult *result);
extern void pay_stripe_add_code(PayResult *result, const char *prefix, const char *code);
extern char *pay_stripe_text_at(const PayStripeNode *node, const char *path);
extern char *pay_stripe_id_at(const PayStripeNode *node, const char *path);
extern bool pay_stripe_int64_at(const PayStripeNode *node, const char *path, int64 *value);

#endif							/* PAY_PSP_STRIPE_OBJECT_H */
