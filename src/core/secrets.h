/*
 * src/core/secrets.h
 *		Secrets live in one file outside the data directory, never in a table.
 */
#ifndef PAY_SECRETS_H
#define PAY_SECRETS_H

#define PAY_SECRET_BYTES_MAX 1024

/*
 * Finds `name` in payments.secrets_file.  Returns NULL when it is there but
 * has no such entry, and when the file cannot be used; *problem then says why
 * (static or palloc'd text, never a value).  The result is palloc'd; wipe it
 * with explicit_bzero when done.  Re-reads the file at each call: it is small,
 * and a rotated secret must count at once.
 */
extern char *pay_secret_find(const char *name, const char **problem);

#endif							/* PAY_SECRETS_H */
