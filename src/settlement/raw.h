/*
 * src/settlement/raw.h
 *		What an entry of a bank says, as it stood in the file.
 */
#ifndef PAY_RAW_H
#define PAY_RAW_H

/* Does it hold a card number for whoever resolves its references and subfields? */
extern bool pay_raw_hides_card_number(const char *raw, size_t bytes);

#endif							/* PAY_RAW_H */
