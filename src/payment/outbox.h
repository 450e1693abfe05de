/*
 * src/payment/outbox.h
 *		What the outbox says of a status.
 */
#ifndef PAY_OUTBOX_H
#define PAY_OUTBOX_H

/* payments.event.payload: a jsonb Datum in the current context; code and order_ref may be NULL. */
extern Datum pay_event_payload(const char *payment_id, int seq, const char *status, const char *event, const char *code,
							   int64 amount, const char *currency, const char *order_ref);

#endif							/* PAY_OUTBOX_H */
