/*
 * src/base/digit.h
 *		Digits of all scripts, and what people put between groups of them.
 */
#ifndef PAY_DIGIT_H
#define PAY_DIGIT_H

/* What may stand between two groups. */
typedef enum PayGap
{
	PAY_GAP_NONE,
	PAY_GAP_PLAIN,				/* blanks, dashes and what nobody sees: any groups */
	PAY_GAP_MARKED,				/* other marks too: groups of a card */
} PayGap;

/* Bytes of the digit that stands there, 0 if there is none: of ASCII, or of another script in UTF-8. */
extern int	pay_digit_at(const char *text, size_t bytes, size_t i, char *digit);
/* Bytes of the separator that stands there, which may make the gap a marked one; 0 if there is none. */
extern size_t pay_separator_at(const char *text, size_t bytes, size_t i, PayGap *gap);

#endif							/* PAY_DIGIT_H */
