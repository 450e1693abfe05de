/*
 * src/seal/head_file.h
 *		Heads leave the database into a file.
 */
#ifndef PAY_SEAL_HEAD_FILE_H
#define PAY_SEAL_HEAD_FILE_H

/*
 * Appends to the file that payments.seal_file names and waits until it is on
 * disk.  Returns NULL, or why not.  Outside of transactions.
 */
extern const char *pay_seal_file_append(const char *lines);

#endif							/* PAY_SEAL_HEAD_FILE_H */
