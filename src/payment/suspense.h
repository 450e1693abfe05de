/*
 * src/payment/suspense.h
 *		What came late, of a payment that came to nothing.
 */
#ifndef PAY_SUSPENSE_H
#define PAY_SUSPENSE_H

#include "payment/apply.h"
#include "payment/payment.h"

/* What of the money that came late is still here; 0 of a payment that did not come to nothing. */
extern int64 pay_suspense_left(const PayPayment *payment);
/* After a change: before and now are the sums around it. */
extern void pay_suspense_follow(PayPayments *set, PayPayment *payment, const PaySums *before, const PaySums *now,
								const char *source);

#endif							/* PAY_SUSPENSE_H */
