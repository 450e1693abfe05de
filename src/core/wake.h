/*
 * src/core/wake.h
 *		Waking the worker when work is committed.
 */
#ifndef PAY_WAKE_H
#define PAY_WAKE_H

extern void pay_wake_init(void);
/* At the commit of this transaction sets the latch of this database's worker; nothing happens at rollback. */
extern void pay_wake_at_commit(void);

/* Takes the session lock that a worker holds for as long as it lives, so that a database has at most one; false if another has it. */
extern bool pay_worker_lock(void);
/* PID of this database's worker, 0 if none is running.  Of several that have just been started it may be any, not the one that stays. */
extern int	pay_worker_pid(void);
/* PID of the worker that has that lock, 0 if none has. */
extern int	pay_worker_pid_locked(void);

#endif							/* PAY_WAKE_H */
