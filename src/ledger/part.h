/*
 * src/ledger/part.h
 *		Hot accounts with limits, split into parts.
 */
#ifndef PAY_LEDGER_PART_H
#define PAY_LEDGER_PART_H

#include "ledger/batch.h"

#define PAY_PARTS_MIN 2
#define PAY_PARTS_MAX 64

/* No part's counters grow beyond this, so that their sums fit whatever the number of parts. */
#define PAY_PART_COUNTER_MAX (PAY_HOT_COUNTER_MAX / PAY_PARTS_MAX)

#define PAY_COUNTER_MAX(account) \
	((account)->locked_part > 0 ? PAY_PART_COUNTER_MAX : (account)->hot ? PAY_HOT_COUNTER_MAX : PG_INT64_MAX)

/*
 * Locks, for each split account of the batch, the part that will take its
 * postings, or all of them, and sets its sums and limits to what those are.
 * No statement when no account is split.
 */
extern void pay_ledger_lock_parts(PayPostingBatch *batch);

/* Adds what the batch posts to the parts that are locked, and borrows between them where that is needed. */
extern void pay_ledger_save_parts(const PayPostingBatch *batch);

#endif							/* PAY_LEDGER_PART_H */
