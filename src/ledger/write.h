/*
 * src/ledger/write.h
 *		The script that writes a batch.
 */
#ifndef PAY_LEDGER_WRITE_H
#define PAY_LEDGER_WRITE_H

#include "ledger/batch.h"

/*
 * Reads the accounts that the postings name and points the postings to them.
 * Locks the ordinary ones, and of split ones what will take the postings: until
 * the transaction ends nobody else changes these balances.
 */
extern void pay_ledger_lock_accounts(PayPostingBatch *batch);

/*
 * Checks the postings in order against running balances and writes those that
 * pass; accounts must be locked.  Each posting carries its outcome afterwards.
 * With all_or_nothing the first error is raised and nothing is written.
 */
extern void pay_ledger_write(PayPostingBatch *batch);

#endif							/* PAY_LEDGER_WRITE_H */
