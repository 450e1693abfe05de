/*
 * src/ledger/movement.h
 *		Two-legged postings between accounts.
 */
#ifndef PAY_LEDGER_MOVEMENT_H
#define PAY_LEDGER_MOVEMENT_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* One money movement of a payment, to be posted by the rows of posting_rule for its event. */
typedef struct PayMovement
{
	const char *event;			/* 'capture', 'refund', 'fee', ... as in posting_rule.event */
	const char *merchant;
	const char *psp;
	const char *bank;			/* for rules that name {bank}; or NULL */
	const char *currency;
	int64		amount;			/* not 0; below it, debit and credit change places */
	const pg_uuid_t *payment_id;	/* NULL: of no payment */
	const char *reference;		/* unique among all that we post ourselves, so the same movement never posts twice */
} PayMovement;

/*
 * Posts all movements in one go: accounts are created from templates where
 * missing, locked in id order, checked and updated; postings inserted.
 *
 * Call inside the transaction that records the movements, as payments_owner.
 * Raises PAY_ERR_POSTING_RULE, _LIMIT_EXCEEDED, _BALANCE_OVERFLOW,
 * _ACCOUNT_CLOSED; nothing is posted then.
 */
extern void pay_ledger_post_movements(const PayMovement *movements, int n);

#endif							/* PAY_LEDGER_MOVEMENT_H */
