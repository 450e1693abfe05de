/*
 * src/base/money.h
 *		Minor units between ISO 4217 and a PSP's own scale, and for people; no floats anywhere.
 */
#ifndef PAY_MONEY_H
#define PAY_MONEY_H

/*
 * Rescales an amount from one exponent to another.  Returns false, leaving
 * *out alone, when digits would be lost or the result would overflow: amounts
 * are refused, never rounded.
 */
extern bool pay_money_rescale(int64 amount, int from_exponent, int to_exponent, int64 *out);

/* As people write it, "10.50 EUR": what format_amount() says, without a look at the table. */
extern const char *pay_money_text(int64 amount, int exponent, const char *currency);

#endif							/* PAY_MONEY_H */
