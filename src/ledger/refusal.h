/*
 * src/ledger/refusal.h
 *		What callers are told when a posting is refused.
 */
#ifndef PAY_LEDGER_REFUSAL_H
#define PAY_LEDGER_REFUSAL_H

#include "ledger/batch.h"

/* Raises what posting->error says. */
pg_noreturn extern void pay_ledger_raise(const PayPosting *posting);

#endif							/* PAY_LEDGER_REFUSAL_H */
