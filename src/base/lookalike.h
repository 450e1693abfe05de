/*
 * src/base/lookalike.h
 *		What holds many digits and is no card number.
 */
#ifndef PAY_LOOKALIKE_H
#define PAY_LOOKALIKE_H

/* Bytes of the UUID, or of the bank account, that begins with the word that begins here; or 0. */
extern size_t pay_lookalike_at(const char *text, size_t bytes, size_t i);
/* Is a word of letters and digits a digest, or an id like one? */
extern bool pay_lookalike_hash(const char *word, size_t bytes);

#endif							/* PAY_LOOKALIKE_H */
