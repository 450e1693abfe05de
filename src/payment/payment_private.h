/*
 * src/payment/payment_private.h
 *		Between payment/payment.c, which decides, and payment/payment_save.c, which writes.
 */
#ifndef PAY_PAYMENT_PRIVATE_H
#define PAY_PAYMENT_PRIVATE_H

#include "payment/payment.h"
#include "payment/state.h"

/* Waiting for save, with the payment they belong to. */
typedef struct PayPendingStatus
{
	PayPayment *payment;
	PayStatusRow row;
	uint8		hash[PAY_HASH_BYTES];
} PayPendingStatus;

typedef struct PayPendingMovement
{
	PayPayment *payment;
	const PayOperation *operation;
	const PayMoved *moved;
	const char *event;			/* whose rules post it */
	const char *source;
} PayPendingMovement;

typedef struct PayPendingException
{
	PayPayment *payment;
	const char *psp;			/* who says so */
	const PayOperation *operation;
	const char *kind;
	const char *object_id;
	int64		amount;
	const char *detail;
	const char *resolution;		/* set: the open ones are resolved instead */
	bool		reopened;		/* or those that were resolved so are open again */
} PayPendingException;

/* From one PSP to another. */
typedef struct PayPendingMove
{
	const PayPayment *payment;
	const PayOperation *operation;
	int			generation;		/* from which on it is there */
	const char *reason;
	const char *former_psp;
	const char *former_psp_payment_id;	/* NULL: none was told */
	const char *psp;
	Datum		route;			/* jsonb */
} PayPendingMove;

/* payment/fallback.c: before all else, so that what follows is written of the PSP of now. */
extern void pay_moves_save(PayPayments *set);

#endif							/* PAY_PAYMENT_PRIVATE_H */
