/*
 * src/payment/payout.h
 *		Money that leaves.
 */
#ifndef PAY_PAYOUT_H
#define PAY_PAYOUT_H

#include "payment/apply_private.h"

extern bool pay_payout_is_paid(const PayPayment *payment);
/* It is certain that it was not paid: what was reserved goes back, once. */
extern void pay_payout_release(PayPayments *set, PayPayment *payment, const char *source);
/* The PSP's word on it. */
extern void pay_payout_paid(PayContext *c);
extern void pay_payout_failed(PayContext *c);

#endif							/* PAY_PAYOUT_H */
