/*
 * src/psp/yookassa.h
 *		Between psp/yookassa.c and the files psp/yookassa_*.c.
 */
#ifndef PAY_PSP_YOOKASSA_H
#define PAY_PSP_YOOKASSA_H

#include "psp/psp.h"

#define PAY_YOOKASSA_LIST_LIMIT 100

/* psp/yookassa.c */
/* May it stand in a path, and in a table? */
extern bool pay_yookassa_is_id(const char *text);
/* Does the PSP take it?  All that it takes have two decimals. */
extern bool pay_yookassa_takes(const char *currency);
/* "10.50" as 1050: exactly, or false. */
extern bool pay_yookassa_amount_parse(const char *text, int64 *amount);

/* psp/yookassa_answer.c: for the adapter, see psp.h. */
extern void pay_yookassa_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
extern PayVerdict pay_yookassa_verify(PayInbound *inbound, const char *const *secrets, int64 now);
extern bool pay_yookassa_parse(const PayInbound *inbound, PayEvents *events);
extern void pay_yookassa_read_account(const PayAnswer *answer, const char *secret, PayAccount *account);
/* A payment or refund that was not asked for.  False when it says nothing, or names no payment. */
extern bool pay_yookassa_read_unasked(bool is_refund, PaySlice object, PayResult *result);
/* A member that is a word, as ids, codes and statuses are; else NULL.  `object.at` may be NULL. */
extern char *pay_yookassa_member_word(PaySlice object, const char *name);

/* psp/yookassa_time.c: seconds since 1970. */
extern const char *pay_yookassa_moment(int64 seconds);
extern bool pay_yookassa_moment_read(const char *text, int64 *seconds);

/* psp/yookassa_feed.c */
#define PAY_YOOKASSA_FEEDS 3
extern const PayFeed pay_yookassa_feeds[PAY_YOOKASSA_FEEDS];

#endif							/* PAY_PSP_YOOKASSA_H */
