/*
 * src/worker/trouble.h
 *		What keeps a worker from serving, for people to see.
 */
#ifndef PAY_WORKER_TROUBLE_H
#define PAY_WORKER_TROUBLE_H

#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"

/* Of a worker that runs. */
typedef enum PayTrouble
{
	PAY_TROUBLE_NONE,
	PAY_TROUBLE_MEANS,			/* open files, memory or threads are short */
	PAY_TROUBLE_LOCKED,			/* answers wait for somebody's open transaction; all else goes on */
	PAY_TROUBLE_VERSION			/* its library is not of the version of the extension */
} PayTrouble;

/* In the worker: shows it to everybody, until something else is shown. */
extern void pay_trouble_show(PayTrouble trouble);
/* Why no worker would start there; NULL: nothing is known against it.  Reads the two rows alone. */
extern const char *pay_trouble_of_start(const FormData_pg_database *database, const FormData_pg_authid *role);
/* The same of the session's own database, with what is known in a session. */
extern const char *pay_trouble_of_this_database(void);

/* There is a launcher, which starts workers; set before any process is forked. */
extern bool pay_launcher_registered;

#endif							/* PAY_WORKER_TROUBLE_H */
