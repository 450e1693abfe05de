/*
 * src/payment/object.h
 *		One object of the PSP's is one payment's.
 */
#ifndef PAY_OBJECT_H
#define PAY_OBJECT_H

#include "payment/payment.h"

/* Is it, by what is booked or by the payment's own id, another payment's?  Then `whose` is that. */
extern bool pay_object_is_elsewhere(const PayPayment *payment, const char *object_id, pg_uuid_t *whose);
/* Has the PSP told of it for another payment's operation that waits still, or waited for a person?  Reads all of those. */
extern bool pay_object_is_told_elsewhere(const PayPayment *payment, const char *object_id, pg_uuid_t *whose);
/* Not all movements of the set could be written: says which is another payment's. */
pg_noreturn extern void pay_object_raise_elsewhere(const PayPayments *set);
/*
 * The operation that a word answers which names this one: of a refund the one
 * whose object it is, if it names the payment instead, as some PSPs do.
 */
extern PayOperation *pay_object_refund(const PayPayment *payment, const PayResult *told, PayOperation *named);

#endif							/* PAY_OBJECT_H */
