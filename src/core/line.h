/*
 * src/core/line.h
 *		Texts of others that are to be one line.
 */
#ifndef PAY_LINE_H
#define PAY_LINE_H

/* Has it no control characters, such as that which ends a line?  NULL is one. */
extern bool pay_is_line(const char *text);
/* Raises 22023 for a text with control characters, such as that which ends a line; NULL is none. */
extern void pay_require_line(const char *text, const char *name);

#endif							/* PAY_LINE_H */
