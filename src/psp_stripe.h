/*
 * src/psp_stripe.h
 *		Between psp_stripe.c and psp_stripe_answer.c.
 */
#ifndef PAY_PSP_STRIPE_H
#define PAY_PSP_STRIPE_H

#include "psp.h"

#define PAY_STRIPE_WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define PAY_STRIPE_LIST_LIMIT 100

/* psp_stripe.c */
extern bool pay_stripe_is_id(const char *text);
extern bool pay_stripe_is_listed(const char *word, const char *const *list);

/* psp_stripe_answer.c: for the adapter, see psp.h. */
extern void pay_stripe_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
extern PaySignature pay_stripe_verify(const char *header, const char *secret, const char *body, size_t body_bytes, int64 now_unix);
extern bool pay_stripe_parse_event(const char *body, size_t body_bytes, PayWebhook *webhook);

#endif							/* PAY_PSP_STRIPE_H */
