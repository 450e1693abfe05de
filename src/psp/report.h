/*
 * src/psp/report.h
 *		What PSPs say has settled: readers of their files and lists.
 */
#ifndef PAY_REPORT_H
#define PAY_REPORT_H

#include "base/json_slice.h"
#include "format/csv_report.h"

extern const PayCsvFormat pay_csv_stripe_payout;
extern const PayCsvFormat pay_csv_stripe_balance;
extern const PayCsvFormat pay_csv_adyen;

/* The kind that Stripe's word means, in reports and in the API alike; inward: the money came to us. */
extern const char *pay_stripe_kind(const char *type, bool inward);

/* Stripe's list of balance transactions, as its API answers. */
typedef struct PayStripeLines
{
	PaySlice	list;
	size_t		at;
	int			line;			/* of the entry read last, from 1 */
	PayFileProblem problem;
} PayStripeLines;

/* Finds the list in text[bytes], UTF-8; text may be the list itself. */
extern PayFileResult pay_stripe_lines_open(PayStripeLines *lines, const char *text, size_t bytes) __attribute__((warn_unused_result));
/* What the row points to is palloc'd.  That the entry is JSON is not checked beyond its brackets. */
extern PayFileResult pay_stripe_lines_next(PayStripeLines *lines, PaySettlementRow *row) __attribute__((warn_unused_result));

#endif							/* PAY_REPORT_H */
