/*
 * src/payment/health_board.c
 *		What the worker has found out about PSPs, in shared memory.
 *
 * A crash of the server leaves nothing of it, the end of a worker all: the next
 * one goes on from there.  What must outlast more is in psp_health.
 */
#include "payments.h"

#include "payment/health_board.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* About 100 kB. */
#define ENTRIES 256
#define BOARD_NAME "payments health"

typedef struct PayBoardEntry
{
	Oid			database;
	char		psp[NAMEDATALEN];
	TimestampTz probed_at;
	PayVitals	vitals;
} PayBoardEntry;

typedef struct PayBoard
{
	LWLock	   *lock;
	uint32		hashes[ENTRIES];	/* 0: the entry is free */
	PayBoardEntry entries[ENTRIES];
} PayBoard;

/* NULL: not preloaded. */
static PayBoard *board = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request(void);
static void start(void);
static uint32 hash_of(const char *psp);
static PayBoardEntry *find(const char *psp);
static PayBoardEntry *find_or_add(const char *psp);

void
pay_health_board_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start;
}

static void
request(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(sizeof(PayBoard));
	RequestNamedLWLockTranche(BOARD_NAME, 1);
}

static void
start(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	board = ShmemInitStruct(BOARD_NAME, sizeof(PayBoard), &found);
	if (!found)
	{
		memset(board, 0, sizeof(PayBoard));
		board->lock = &GetNamedLWLockTranche(BOARD_NAME)->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

bool
pay_health_board_read(const char *psp, PayVitals *vitals)
{
	PayBoardEntry *entry;

	if (board == NULL)
		return false;
	LWLockAcquire(board->lock, LW_SHARED);
	entry = find(psp);
	if (entry)
		*vitals = entry->vitals;
	LWLockRelease(board->lock);
	return entry != NULL;
}

void
pay_health_board_write(const char *psp, const PayVitals *vitals)
{
	if (board == NULL)
		return;
	LWLockAcquire(board->lock, LW_EXCLUSIVE);
	find_or_add(psp)->vitals = *vitals;
	LWLockRelease(board->lock);
}

void
pay_health_board_forget(const char *psp)
{
	PayBoardEntry *entry;

	if (board == NULL)
		return;
	LWLockAcquire(board->lock, LW_EXCLUSIVE);
	entry = find(psp);
	if (entry)
		board->hashes[entry - board->entries] = 0;
	LWLockRelease(board->lock);
}

bool
pay_health_board_probe(const char *psp, int interval_ms)
{
	TimestampTz now = GetCurrentTimestamp();
	PayBoardEntry *entry;
	bool		mine;

	if (board == NULL)
		return true;
	LWLockAcquire(board->lock, LW_EXCLUSIVE);
	entry = find(psp);
	/* A time in the future is one by a clock that was ahead. */
	mine = entry == NULL || entry->probed_at > now || now >= entry->probed_at + interval_ms * INT64CONST(1000);
	if (mine && entry)
		entry->probed_at = now;
	LWLockRelease(board->lock);
	return mine;
}

static uint32
hash_of(const char *psp)
{
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) psp, (int) strlen(psp)), murmurhash32(MyDatabaseId));

	return hash == 0 ? 1 : hash;
}

/* With the lock. */
static PayBoardEntry *
find(const char *psp)
{
	uint32		hash = hash_of(psp);

	for (int i = 0; i < ENTRIES; i++)
		if (board->hashes[i] == hash && board->entries[i].database == MyDatabaseId && strcmp(board->entries[i].psp, psp) == 0)
			return &board->entries[i];
	return NULL;
}

static PayBoardEntry *
find_or_add(const char *psp)
{
	PayBoardEntry *entry = find(psp);
	int			oldest = 0;

	if (entry)
		return entry;
	for (int i = 0; i < ENTRIES && board->hashes[oldest] != 0; i++)
		if (board->hashes[i] == 0 || board->entries[i].vitals.noted_at < board->entries[oldest].vitals.noted_at)
			oldest = i;
	entry = &board->entries[oldest];
	memset(entry, 0, sizeof(PayBoardEntry));
	board->hashes[oldest] = hash_of(psp);
	entry->database = MyDatabaseId;
	strlcpy(entry->psp, psp, NAMEDATALEN);
	return entry;
}
