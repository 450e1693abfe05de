/*
 * src/format/camt053_private.h
 *		Between format/camt053.c, which walks through the file and knows its
 *		statements, and format/camt053_entry.c, which knows their entries.
 */
#ifndef PAY_CAMT053_PRIVATE_H
#define PAY_CAMT053_PRIVATE_H

#include "format/bank.h"

typedef struct PayCamtText
{
	const char *path;			/* below the entry, the transaction or the statement */
	size_t		offset;			/* of a const char * in PayBankRow; the first that is given wins */
} PayCamtText;

/* ---------- camt053.c ---------- */

extern PayFileResult pay_camt_broken(PayCamt *camt, const char *problem);
/* False: the path is none of theirs. */
extern bool pay_camt_set_text(PayBankRow *row, const PayCamtText *texts, int n, const char *path, const char *text);
/* False: it is broken. */
extern bool pay_camt_read_amount(PayCamt *camt, const char *text, PayDecimal *out);
extern bool pay_camt_read_sign(PayCamt *camt, const char *text, int *out);
extern bool pay_camt_read_date(PayCamt *camt, const char *text, PayMoment *out);

/* ---------- camt053_entry.c ---------- */

extern void pay_camt_begin_item(PayCamtItem *item, int line, size_t offset);
/* A text of it, at a path below it. */
extern void pay_camt_say(PayCamtItem *item, const char *path, const char *text);
extern bool pay_camt_entry_leaf(PayCamt *camt, const char *path, const char *text);
extern bool pay_camt_detail_leaf(PayCamt *camt, const char *path, const char *text);
extern bool pay_camt_end_detail(PayCamt *camt, PayBankRow *row, bool *is_row);
extern bool pay_camt_end_entry(PayCamt *camt, PayBankRow *row);
extern void pay_camt_emit(PayCamt *camt, PayCamtItem *item, PayBankRow *row);

#endif							/* PAY_CAMT053_PRIVATE_H */
