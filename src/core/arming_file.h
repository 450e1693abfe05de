/*
 * src/core/arming_file.h
 *		The arming's half that no copy of the database carries.
 */
#ifndef PAY_ARMING_FILE_H
#define PAY_ARMING_FILE_H

#include <limits.h>

#define PAY_ARMING_TOKEN_BYTES 33

typedef struct PayArmingFile
{
	char		place[PATH_MAX + 32];	/* pay_cluster_place() */
	char		database[16];	/* oid there */
	char		run[32];		/* pay_cluster_run() of the server that took it last */
	char		token[PAY_ARMING_TOKEN_BYTES];	/* the database has one of these two; "-": none */
	char		next[PAY_ARMING_TOKEN_BYTES];
} PayArmingFile;

/*
 * All of this is about the file of this installation, which a copy of it that
 * is beside it has too.  What returns text returns NULL, or what is wrong, in
 * words that name no path.  Call between pay_spi_begin() and pay_spi_end(), but
 * for pay_arming_file_release().
 */

/* *absent: there is no file, which is also a problem. */
extern const char *pay_arming_file_read(PayArmingFile *file, bool *absent);

/* Makes it if need be.  On disk when it returns. */
extern const char *pay_arming_file_write(const PayArmingFile *file);

/*
 * When the transaction commits, and not if it, or the subtransaction that asks,
 * rolls back.  A commit that fails after that, as a serializable one may, leaves
 * nobody armed.
 */
extern void pay_arming_file_remove_at_commit(void);
extern void pay_arming_file_init(void);

/*
 * The worker of the database that is armed holds the file locked while it
 * lives.  Takes the lock, until it is released or the process ends; false:
 * another process has it.
 */
extern bool pay_arming_file_lock(void);
extern void pay_arming_file_release(void);

/* Has this process locked the file that is there now?  Has another one? */
extern bool pay_arming_file_locked(void);
extern bool pay_arming_file_held(void);

#endif							/* PAY_ARMING_FILE_H */
