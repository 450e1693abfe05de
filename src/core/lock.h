/*
 * src/core/lock.h
 *		Several tables at once, or none.
 */
#ifndef PAY_LOCK_H
#define PAY_LOCK_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

/* Locks the tables of these OIDs up to the end of the transaction; false, with none locked anew, when that took longer. */
extern bool pay_lock_all(const List *tables, LOCKMODE mode, int within_ms);

#endif							/* PAY_LOCK_H */
