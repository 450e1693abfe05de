/*
 * src/core/wake.h
 *		Waking the worker when work is committed.
 */
#ifndef PAY_WAKE_H
#define PAY_WAKE_H

extern void pay_wake_init(void);
/* At the commit of this transaction sets the latch of this database's worker; nothing happens at rollback. */
extern void pay_wake_at_commit(void);

/* Takes the lock that a worker holds for as long as it serves, so that a database has at most one; false if another has it. */
extern bool pay_worker_lock(void);
extern void pay_worker_unlock(void);
/* PID of this database's worker, 0 if none is running.  Of several that have just been started it may be any, not the one that stays. */
extern int	pay_worker_pid(void);
/* The same of any database. */
extern int	pay_worker_pid_in(Oid database);
/* PID of the worker that has the lock of a database, 0 if none has. */
extern int	pay_worker_serving(Oid database);

#endif							/* PAY_WAKE_H */
