/*
 * src/ledger/check.h
 *		What may be posted: between which accounts, within which limits.
 */
#ifndef PAY_LEDGER_CHECK_H
#define PAY_LEDGER_CHECK_H

#include "ledger/batch.h"

/* Do both accounts exist, in one currency?  0 or an SQLSTATE. */
extern int	pay_ledger_check_accounts(const PayPosting *posting);

/* Decides every posting, in order, as if those before it that pass were posted. */
extern void pay_ledger_check_postings(PayPostingBatch *batch);
/* Would both accounts let this posting pass now?  0 or an SQLSTATE; changes no sums. */
extern int	pay_ledger_check(PayPosting *posting);
/* The largest amount up to the one asked for that both accounts let pass; 0: none. */
extern int64 pay_ledger_largest_amount(const PayPosting *posting);

#endif							/* PAY_LEDGER_CHECK_H */
