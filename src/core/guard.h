/*
 * src/core/guard.h
 *		What is written stays written.
 */
#ifndef PAY_GUARD_H
#define PAY_GUARD_H

#include "access/attnum.h"
#include "access/htup.h"
#include "utils/snapshot.h"

/* Installs the hooks; only when preloaded, so that they see every session. */
extern void pay_guard_init(void);
/* Lets setup() and migrate() change guarded tables for the length of a call. */
extern void pay_guard_allow_ddl(bool allow);

/* ---------- between guard.c, which reads statements, and guard_objects.c and guard_strangers.c, which see objects ---------- */

extern void pay_guard_objects_init(void);
/* Is there anything to guard in this session, and from it? */
extern bool pay_guard_is_on(void);
/* Is this of CREATE or ALTER EXTENSION payments?  Another extension's script is as good as anybody. */
extern bool pay_guard_own_script(void);
extern bool pay_guard_has_payments(void);
/* Refuses it of a guarded table, as long as there are payments. */
extern void pay_guard_keep(Oid table, const char *what);
/* The extension cannot `do` that of `what`. */
pg_noreturn extern void pay_guard_refuse_code(const char *verb, const char *what);

/* Of a catalog; NULL if there is none; with no snapshot, as the catalog is. */
extern HeapTuple pay_guard_find_row(Oid class, Oid index, AttrNumber key, Oid object, Snapshot snapshot);
/* Refuses what was made, or altered, if it could be taken for ours. */
extern void pay_guard_stranger(Oid class, Oid object);

#endif							/* PAY_GUARD_H */
