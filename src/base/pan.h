/*
 * src/base/pan.h
 *		Card numbers do not enter (promise 9).
 *
 * What looks like one: its issuer, length and Luhn digit are right; pan.c says
 * what may stand between the digits and around them.
 */
#ifndef PAY_PAN_H
#define PAY_PAN_H

extern bool pay_pan_found(const char *text, size_t bytes);
/* Overwrites all but the first six and last four digits of each, in place; returns how many. */
extern int	pay_pan_mask(char *text, size_t bytes);
/* The same, but no number goes on in the next line: of a file that nobody has read yet. */
extern int	pay_pan_mask_lines(char *text, size_t bytes);
/* Overwrites every digit: of a text that has a number in it, scattered. */
extern void pay_pan_blank(char *text, size_t bytes);

#endif							/* PAY_PAN_H */
