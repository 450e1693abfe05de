/*
 * src/core/arguments.h
 *		What SQL functions check of their arguments before they lock or write anything.
 */
#ifndef PAY_ARGUMENTS_H
#define PAY_ARGUMENTS_H

#include "commands/trigger.h"
#include "fmgr.h"

/* NULL for SQL NULL. */
extern char *pay_text_argument(FunctionCallInfo fcinfo, int n);
/*
 * Raises PAY_ERR_CARD_NUMBER if any argument of the function that was called
 * holds a card number, and 22023 if one is longer than any may be.  Comes before
 * all else: what is wrong with another argument would have the statement in the
 * log, and the number in it.
 */
extern void pay_refuse_card_arguments(FunctionCallInfo fcinfo);
/* Raises 25006 in a transaction that is read only: on a standby, or by a setting. */
extern void pay_require_writable(void);
extern bool pay_holds_card_number(const char *text);
extern void pay_refuse_card_number(const char *text, const char *name);
/*
 * The look and the mask of base/pan.h, of a text of any length: a query that is
 * cancelled need not wait for the end of it.  Lines: of a file that nobody has
 * read yet, where no number goes on in the next.
 */
extern bool pay_text_holds_card_number(const char *text, size_t bytes);
extern int	pay_mask_text(char *text, size_t bytes);
extern void pay_mask_text_lines(char *text, size_t bytes);
/*
 * For where what others wrote is at hand: an ErrorContextCallback that keeps the
 * statement, which may hold it, out of the log, and its parameters.
 */
extern void pay_hide_statement(void *arg);
/* The others raise 22023. */
extern void pay_require_given(FunctionCallInfo fcinfo, int n, const char *name);
extern void pay_require_length(const char *text, size_t bytes_max, const char *name);
/* The same for a text that may be missing. */
extern void pay_require_text(const char *text, size_t bytes_max, const char *name);

/* What a trigger was fired by; raises when it was no trigger. */
extern TriggerData *pay_require_trigger(FunctionCallInfo fcinfo);
/* Likewise, and when there is no row that it could look at: before it is written, to answer with, or after. */
extern TriggerData *pay_require_row_trigger(FunctionCallInfo fcinfo, bool before);
/*
 * What a trigger reads of its row.  Raises when the table has no such column,
 * or one of another type: whoever may call the function can make it a trigger of
 * a table of his own.
 */
extern Datum pay_trigger_column(Relation relation, HeapTuple row, const char *column, Oid type, bool *isnull);

#endif							/* PAY_ARGUMENTS_H */
