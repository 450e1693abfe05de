/*
 * src/ledger/period.h
 *		Postings that say when they take effect, and closed periods.
 */
#ifndef PAY_LEDGER_PERIOD_H
#define PAY_LEDGER_PERIOD_H

#include "ledger/batch.h"

/* Reads closed_until of the accounts, if a posting says when it takes effect, and keeps it as it is. */
extern void pay_ledger_read_closed(PayPostingBatch *batch);
/* The account in whose closed period the posting would take effect, or NULL. */
extern const PayAccount *pay_ledger_closed_account(const PayPosting *posting);

#endif							/* PAY_LEDGER_PERIOD_H */
