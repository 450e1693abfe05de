/*
 * src/payment/reattempt.h
 *		How often the networks allow a declined card to be tried again.
 */
#ifndef PAY_REATTEMPT_H
#define PAY_REATTEMPT_H

#include "payment/payment.h"

/* The failure code of a payment that is not tried again for it. */
#define PAY_REATTEMPT_CODE "reattempt_limit"

/* An issuer has declined the generation that the operation is in: kept, once.  Call both between pay_spi_begin() and pay_spi_end(). */
extern void pay_reattempt_declined(const PayPayments *set, const PayPayment *payment, const PayOperation *operation, const PayResult *result);
/*
 * May the next generation be tried?  If so that counts from now on; if not, why
 * it must not is returned, for people, and kept.
 */
extern const char *pay_reattempt_refusal(const PayPayments *set, const PayPayment *payment, const PayOperation *operation);

#endif							/* PAY_REATTEMPT_H */
