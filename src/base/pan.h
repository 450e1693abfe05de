/*
 * src/base/pan.h
 *		Card numbers do not enter (promise 9).
 *
 * What looks like one: its issuer, length and Luhn digit are right; pan.c says
 * what may stand between the digits and around them.
 */
#ifndef PAY_PAN_H
#define PAY_PAN_H

/* How far a text has been looked at; zero at first. */
typedef struct PayPanScan
{
	size_t		at;
	size_t		word_end;		/* of the word that this is in */
	bool		mixed;			/* it has digits in more than one place */
	bool		hash;			/* it is a digest */
} PayPanScan;

extern bool pay_pan_found(const char *text, size_t bytes);
/* One that begins before a place; to go on from there: for a text so long that one must be able to stop. */
extern bool pay_pan_found_until(const char *text, size_t bytes, size_t until, PayPanScan *scan);
/* Overwrites all but the first six and last four digits of each, in place; returns how many. */
extern int	pay_pan_mask(char *text, size_t bytes);
/* The same of those that begin before a place, to go on from there. */
extern int	pay_pan_mask_until(char *text, size_t bytes, size_t until, PayPanScan *scan);
/* The same of a text that somebody has cut off: what may be the beginning of a number goes as well. */
extern int	pay_pan_mask_cut(char *text, size_t bytes);
/* Overwrites every digit: of a text that has a number in it, scattered. */
extern void pay_pan_blank(char *text, size_t bytes);

#endif							/* PAY_PAN_H */
