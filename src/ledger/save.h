/*
 * src/ledger/save.h
 *		Writes a decided batch: postings, and the sums of their accounts.
 */
#ifndef PAY_LEDGER_SAVE_H
#define PAY_LEDGER_SAVE_H

#include "ledger/batch.h"

extern void pay_ledger_insert_postings(PayPostingBatch *batch);
extern void pay_ledger_add_to_accounts(const PayPostingBatch *batch);

#endif							/* PAY_LEDGER_SAVE_H */
