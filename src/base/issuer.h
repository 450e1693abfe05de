/*
 * src/base/issuer.h
 *		Which numbers card networks give out, and which they share with others.
 */
#ifndef PAY_ISSUER_H
#define PAY_ISSUER_H

#define PAY_CARD_DIGITS_MIN 12
#define PAY_CARD_DIGITS_MAX 19
#define PAY_ISSUER_DIGITS 6

/* Of the issuer whose numbers begin so: bit n, they may have n digits; 0 when there is none. */
extern int	pay_issuer_lengths(const char *digits);
/* Digits of an issuer and a length of his: is it a card number? */
extern bool pay_issuer_digits_fit(const char *digits, int n);

#endif							/* PAY_ISSUER_H */
