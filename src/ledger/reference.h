/*
 * src/ledger/reference.h
 *		Exactly once: what a client's own id for a posting promises.
 */
#ifndef PAY_LEDGER_REFERENCE_H
#define PAY_LEDGER_REFERENCE_H

#include "ledger/batch.h"

/* Takes the references, and marks the postings whose reference was taken before. */
extern void pay_ledger_claim_references(PayPostingBatch *batch);
/* The first field in which a posting differs from the one that has its reference, or NULL. */
extern const char *pay_ledger_difference(const PayPosting *posting, const PayPosting *other);
/* Writes down what was refused, so that it stays refused. */
extern void pay_ledger_insert_failures(const PayPostingBatch *batch);

#endif							/* PAY_LEDGER_REFERENCE_H */
