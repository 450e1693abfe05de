/*
 * src/psp/stripe.h
 *		Between psp/stripe.c and the files psp/stripe_*.c.
 */
#ifndef PAY_PSP_STRIPE_H
#define PAY_PSP_STRIPE_H

#include "psp/psp.h"

#include "base/json.h"

#include "lib/stringinfo.h"

#define PAY_STRIPE_WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define PAY_STRIPE_LIST_LIMIT 100
#define PAY_STRIPE_TYPES_MAX 20	/* so many event types a list can be filtered by */

/* psp/stripe.c */
extern bool pay_stripe_is_id(const char *text);
extern bool pay_stripe_is_listed(const char *word, const char *const *list);
/* Adds to a form or query; leaves out what is absent. */
extern void pay_stripe_form_add(StringInfo form, const char *key, const char *value);
extern void pay_stripe_form_add_int64(StringInfo form, const char *key, int64 value);

/* psp/stripe_answer.c: for the adapter, see psp.h. */
extern void pay_stripe_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
extern void pay_stripe_read_header(const PayHeader *header, PayAnswer *answer);

/* psp/stripe_event.c */
extern PayVerdict pay_stripe_verify(PayInbound *inbound, const char *const *secrets, int64 now);
extern bool pay_stripe_parse(const PayInbound *inbound, PayEvents *events);
extern bool pay_stripe_read_event(const char *body, size_t bytes, PayPspEvent *event);
/* The event types that say something to us, from 0; NULL behind the last. */
extern const char *pay_stripe_event_type(int i);

/* psp/stripe_unreadable.c */
extern const char *pay_stripe_unreadable(Jsonb *json, const char *type, const PayResult *result);

/* psp/stripe_feed.c */
#define PAY_STRIPE_FEEDS 2
extern const PayFeed pay_stripe_feeds[PAY_STRIPE_FEEDS];

#endif							/* PAY_PSP_STRIPE_H */
