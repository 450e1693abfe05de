/*
 * src/payment/no_inquiry.h
 *		What is not known, at a PSP that cannot be asked.
 */
#ifndef PAY_NO_INQUIRY_H
#define PAY_NO_INQUIRY_H

#include "payment/payment.h"

/* May the same bytes be sent again under the same key, instead of a question? */
extern bool pay_operation_may_resend(PayPayment *payment, const PayOperation *operation, TimestampTz now);
/* Lets a look pass by: the next is when the schedule says, and past its end it is a dead letter. */
extern void pay_operation_wait_untold(PayPayments *set, PayPayment *payment, PayOperation *operation);

#endif							/* PAY_NO_INQUIRY_H */
