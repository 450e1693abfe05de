/*
 * src/core/wake.c
 *		Waking the worker when work is committed.
 *
 * By latch, never by NOTIFY, which takes a global lock at commit.  A wake that
 * gets lost costs one poll interval: PREPARE TRANSACTION does not come through
 * here.
 *
 * The worker is found in the server's own array of processes, by database,
 * role and type of background worker: no shared memory of ours, hence no need
 * to preload the library.  Which of several serves is told by a lock that no
 * SQL can take, for whoever could take it could keep every worker out.
 */
#include "payments.h"

#include "core/lock.h"
#include "core/wake.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"

/* The lock's keys: "paym", "ents". */
#define LOCK_KEY1 0x7061796d
#define LOCK_KEY2 0x656e7473

/* Set by pay_wake_at_commit(), cleared at the end of each transaction. */
static bool wake_wanted = false;

/* OID of payments_worker as last seen; written by the functions below. */
static Oid	worker_role = InvalidOid;

static void at_transaction_end(XactEvent event, void *arg);
static void lock_tag(LOCKTAG *tag, Oid database);
static PGPROC *worker_process(void);
static PGPROC *find_process(Oid database, Oid role);
static bool is_worker(const PGPROC *process, Oid database, Oid role);
static bool is_of_our_type(const PGPROC *process);

/* Registered once for the life of the process: callbacks added per transaction would stay for ever. */
void
pay_wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
pay_wake_at_commit(void)
{
	wake_wanted = true;
	if (!OidIsValid(worker_role))
		worker_role = get_role_oid(PAY_WORKER_ROLE, true);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	PGPROC	   *process;

	if (!wake_wanted)
		return;
	if (event == XACT_EVENT_COMMIT)
	{
		wake_wanted = false;
		process = worker_process();
		if (process && process != MyProc)
			SetLatch(&process->procLatch);
	}
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_wanted = false;
}

static void
lock_tag(LOCKTAG *tag, Oid database)
{
	SET_LOCKTAG_ADVISORY(*tag, database, LOCK_KEY1, LOCK_KEY2, PAY_LOCK_WORKER);
}

bool
pay_worker_lock(void)
{
	LOCKTAG		tag;

	lock_tag(&tag, MyDatabaseId);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
pay_worker_unlock(void)
{
	LOCKTAG		tag;

	lock_tag(&tag, MyDatabaseId);
	LockRelease(&tag, ExclusiveLock, true);
}

/*
 * The entry stays right until the worker ends, so it is looked for once and
 * then only checked.  Reading these fields without a lock is harmless: a wrong
 * guess sets a latch too many or costs one poll interval.
 */
static PGPROC *
worker_process(void)
{
	static uint32 known = 0;
	PGPROC	   *found;

	if (known < ProcGlobal->allProcCount && OidIsValid(worker_role) &&
		is_worker(&ProcGlobal->allProcs[known], MyDatabaseId, worker_role))
		return &ProcGlobal->allProcs[known];

	/* Outside of a transaction there is no catalog to look in; the role was read when the wake was asked for. */
	found = find_process(MyDatabaseId, worker_role);
	if (found)
		known = found - ProcGlobal->allProcs;
	return found;
}

static PGPROC *
find_process(Oid database, Oid role)
{
	for (uint32 i = 0; OidIsValid(role) && i < ProcGlobal->allProcCount; i++)
		if (is_worker(&ProcGlobal->allProcs[i], database, role) && is_of_our_type(&ProcGlobal->allProcs[i]))
			return &ProcGlobal->allProcs[i];
	return NULL;
}

/*
 * A parallel worker of the worker looks like it, but has a leader.  A process
 * that has ended leaves its entry as it was (until PostgreSQL 16 with its pid),
 * but gives its latch up.
 */
static bool
is_worker(const PGPROC *process, Oid database, Oid role)
{
	return process->pid != 0 && process->procLatch.owner_pid == process->pid && PayIsBackgroundWorker(process) &&
		process->databaseId == database &&
		process->roleId == role && (process->lockGroupLeader == NULL || process->lockGroupLeader == process);
}

/* Others may run background workers as that role, such as a scheduler its jobs. */
static bool
is_of_our_type(const PGPROC *process)
{
	const char *type = GetBackgroundWorkerTypeByPid(process->pid);

	return type && strcmp(type, PAY_WORKER_TYPE) == 0;
}

int
pay_worker_pid(void)
{
	PGPROC	   *process;

	worker_role = get_role_oid(PAY_WORKER_ROLE, true);
	process = worker_process();
	return process ? process->pid : 0;
}

int
pay_worker_pid_in(Oid database)
{
	PGPROC	   *process = find_process(database, get_role_oid(PAY_WORKER_ROLE, true));

	return process ? process->pid : 0;
}

int
pay_worker_serving(Oid database)
{
	LockData   *locks = GetLockStatusData();
	LOCKTAG		tag;
	int			pid = 0;

	lock_tag(&tag, database);
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->holdMask != 0 && memcmp(&lock->locktag, &tag, sizeof(tag)) == 0)
			pid = lock->pid;
	}
	pfree(locks->locks);
	pfree(locks);
	return pid;
}
