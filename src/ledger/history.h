/*
 * src/ledger/history.h
 *		The balance of an account after each of its postings, kept.
 */
#ifndef PAY_LEDGER_HISTORY_H
#define PAY_LEDGER_HISTORY_H

#include "ledger/batch.h"

/*
 * Writes account_history for what the batch has just posted, in one statement;
 * none when no account of it keeps a history.  Accounts are still locked.
 */
extern void pay_ledger_write_history(const PayPostingBatch *batch);

#endif							/* PAY_LEDGER_HISTORY_H */
