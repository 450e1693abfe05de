/*
 * src/payment/outbox.h
 *		What the outbox says of a status, and of the end of an operation.
 */
#ifndef PAY_OUTBOX_H
#define PAY_OUTBOX_H

#include "payment/payment.h"

/* That a payment was accepted; order_ref may be NULL. */
extern void pay_outbox_begin(const pg_uuid_t *payment_id, const char *merchant, int64 amount, const char *currency,
							 const char *order_ref, TimestampTz now);
/* Each status of the set that was not told yet, and each end of an operation that its payment's status does not tell. */
extern void pay_outbox_save(PayPayments *set);
/* A stage of a dispute; code may be NULL, due 0. */
extern void pay_outbox_dispute(const PayPayments *set, const PayPayment *payment, const char *object_id, const char *stage,
							   int64 amount, const char *code, TimestampTz due);

#endif							/* PAY_OUTBOX_H */
