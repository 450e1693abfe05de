/*
 * src/payment/ability.h
 *		What a payment's PSP cannot do is refused before anything is written.
 */
#ifndef PAY_ABILITY_H
#define PAY_ABILITY_H

#include "payment/payment.h"
#include "payment/route.h"

/* NULL, or why the PSP cannot take such a new payment, with a SQLSTATE and a hint.  Call between pay_spi_begin() and pay_spi_end(). */
extern const char *pay_route_refusal(const PayRoute *route, PayCommand *command, int *sqlstate, const char **hint);
/* Raises PAY_ERR_NOT_SUPPORTED if the PSP cannot do that to the payment, or could not be asked to. */
extern void pay_require_able(const PayPayment *payment, PayOpKind kind, int64 amount, bool keep_rest);
/* Raises PAY_ERR_OPERATION_IN_PROGRESS if another copy of this database may have sent what is unsent here.  Between pay_spi_begin() and pay_spi_end(). */
extern void pay_require_unsent(const PayPayment *payment);

#endif							/* PAY_ABILITY_H */
