/*
 * src/ledger/tail.h
 *		What was posted to hot accounts and is not folded yet, where it counts.
 */
#ifndef PAY_LEDGER_TAIL_H
#define PAY_LEDGER_TAIL_H

#include "ledger/batch.h"

/* Adds to the sums of hot accounts what is not folded yet, of those to which this batch would post much. */
extern void pay_ledger_count_tails(PayPostingBatch *batch);

#endif							/* PAY_LEDGER_TAIL_H */
