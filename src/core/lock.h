/*
 * src/core/lock.h
 *		Several tables at once, or none; and locks that stand for no table.
 */
#ifndef PAY_LOCK_H
#define PAY_LOCK_H

#include "nodes/pg_list.h"
#include "storage/lock.h"
#include "storage/lockdefs.h"

/*
 * Advisory locks of ours.  pg_advisory_lock() and its kin, which anybody may
 * call, have 1 and 2 here: nobody takes ours from SQL, and stops us with it.
 * Numbers from 256 on are the parts of accounts (ledger/part.c).
 */
typedef enum PayLockField
{
	PAY_LOCK_WORKER = 16,
	PAY_LOCK_SEAL = 17,
	PAY_LOCK_JOB = 18,			/* _job_lock_held() knows the number */
	PAY_LOCK_HOT = 19,			/* ledger/hot.c */
} PayLockField;

/* Locks the tables of these OIDs up to the end of the transaction; false, with none locked anew, when that took longer. */
extern bool pay_lock_all(const List *tables, LOCKMODE mode, int within_ms);

#endif							/* PAY_LOCK_H */
