/*
 * src/ledger/permission.h
 *		Who may post to the accounts of a batch, or hold on them.
 */
#ifndef PAY_LEDGER_PERMISSION_H
#define PAY_LEDGER_PERMISSION_H

#include "ledger/batch.h"

/* pay_ledger_lock_accounts() for those who may act for every merchant whose account is in the batch; raises for others, who wait for nothing. */
extern void pay_ledger_lock_own_accounts(PayPostingBatch *batch);
/* Raises unless the caller may; locks no account, and shares what those who post for a merchant share (ledger/hot.h). */
extern void pay_ledger_require_merchants(const PayPostingBatch *batch);

#endif							/* PAY_LEDGER_PERMISSION_H */
