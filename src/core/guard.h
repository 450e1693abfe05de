/*
 * src/core/guard.h
 *		What is written stays written.
 */
#ifndef PAY_GUARD_H
#define PAY_GUARD_H

/* Installs the utility hook; only when preloaded, so that it sees every session. */
extern void pay_guard_init(void);
/* Lets setup() and migrate() change guarded tables for the length of a call. */
extern void pay_guard_allow_ddl(bool allow);

#endif							/* PAY_GUARD_H */
