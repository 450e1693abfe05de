/*
 * src/payment/command.h
 *		What an adapter may know of an operation.
 */
#ifndef PAY_COMMAND_H
#define PAY_COMMAND_H

#include "payment/payment.h"
#include "psp/psp.h"

/* Fills the command.  False when the amount cannot be written in the PSP's units. */
extern bool pay_queue_command(const PayPayment *payment, const PayOperation *operation, PayCommand *command);
/* Has the adapter anything to ask the PSP with? */
extern bool pay_operation_can_be_asked(const PayPayment *payment, const PayOperation *operation);

#endif							/* PAY_COMMAND_H */
