/*
 * src/seal/brin.h
 *		Keeping the indexes by which the sealer finds new rows.
 */
#ifndef PAY_SEAL_BRIN_H
#define PAY_SEAL_BRIN_H

/* Summarises what was added to the sealed tables lately.  Waits for nobody, and does nothing when it was done lately. */
extern void pay_seal_summarize(void);

#endif							/* PAY_SEAL_BRIN_H */
