/*
 * src/ledger/arguments.h
 *		What the ledger's verbs check before they lock or write anything.
 */
#ifndef PAY_LEDGER_ARGS_H
#define PAY_LEDGER_ARGS_H

#include "fmgr.h"
#include "ledger/batch.h"

/* Raises unless the caller may act for every merchant whose account is in the batch. */
extern void pay_ledger_require_merchants(const PayPostingBatch *batch);
/* Do both accounts exist, in one currency?  0 or an SQLSTATE. */
extern int	pay_ledger_check_accounts(const PayPosting *posting);

/* NULL for SQL NULL. */
extern char *pay_text_argument(FunctionCallInfo fcinfo, int n);
/* The others raise 22023, and PAY_ERR_CARD_NUMBER. */
extern void pay_require_given(FunctionCallInfo fcinfo, int n, const char *name);
extern void pay_require_length(const char *text, size_t bytes_max, const char *name);
extern bool pay_holds_card_number(const char *text);
extern void pay_refuse_card_number(const char *text, const char *name);
/* Both of the above for a text that may be missing. */
extern void pay_require_text(const char *text, size_t bytes_max, const char *name);

#endif							/* PAY_LEDGER_ARGS_H */
