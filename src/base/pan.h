/*
 * src/base/pan.h
 *		Card numbers do not enter (promise 9).
 */
#ifndef PAY_PAN_H
#define PAY_PAN_H

/* Does the text hold something that looks like a card number (IIN, length, Luhn; blanks and dashes between digits ignored)? */
extern bool pay_pan_found(const char *text, size_t bytes);
/* Overwrites all but the first six and last four digits of each with '*', in place; returns how many. */
extern int	pay_pan_mask(char *text, size_t bytes);

#endif							/* PAY_PAN_H */
