/*
 * src/core/guard.h
 *		What is written stays written.
 */
#ifndef PAY_GUARD_H
#define PAY_GUARD_H

#include "core/spi.h"

#include "access/attnum.h"
#include "access/htup.h"
#include "utils/snapshot.h"

/* Installs the hooks; only when preloaded, so that they see every session. */
extern void pay_guard_init(void);

/* ---------- guard_lift.c: what only our own statements may do ---------- */

extern void pay_guard_lift_init(void);
/* Calls it with the guard lifted, for all but the code of others. */
extern void pay_guard_lifting(void (*act) (void *), void *argument);
extern uint64 pay_guard_exec(PayStmt *stmt, PayArgs *args);
/* Is it now? */
extern bool pay_guard_lifted(void);
/* While it is lifted, or an extension is made or updated: does code of others run? */
extern bool pay_guard_others_run(void);

/* ---------- between guard.c, which reads statements, and guard_objects.c and guard_strangers.c, which see objects ---------- */

extern void pay_guard_objects_init(void);
/* A view of ours, on what is to be guarded? */
extern bool pay_guard_is_view(Oid relation);
/* A function of the extension? */
extern bool pay_guard_is_member(Oid function);
/* The name of a table; of a partition, that of the table it is a part of. */
extern const char *pay_guard_table_name(Oid table);
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
