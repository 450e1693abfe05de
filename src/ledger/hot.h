/*
 * src/ledger/hot.h
 *		Who posts for a merchant, and who must have its hot accounts alone.
 */
#ifndef PAY_LEDGER_HOT_H
#define PAY_LEDGER_HOT_H

/*
 * Before the merchant's accounts are read, of which some may be hot: from now on, to the end of the transaction, they are so, and
 * open.  Returns whether it is the first time in this transaction.
 */
extern bool pay_ledger_share_hot(const char *merchant);

#endif							/* PAY_LEDGER_HOT_H */
