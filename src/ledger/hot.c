/*
 * src/ledger/hot.c
 *		Who posts for a merchant, and who must have its hot accounts alone.
 *
 * Whoever posts to a hot account has no lock on its row.  To close one, or to
 * make it ordinary, all must be known that was posted to it, and nothing may be
 * posted meanwhile: so everybody who posts shares a lock that stands for the
 * merchant, to the end of the transaction, and close_account() and
 * set_account_hot() have it alone.  It is the merchant's and not the table's of
 * deltas: who keeps it keeps nobody waiting but those who post for the same
 * merchant.  And not the account's, of which a batch may have thousands.
 *
 * Taken before accounts are read, so that a statement that reads them afterwards
 * sees what was closed before.  Merchants whose names have the same hash share it.
 */
#include "payments.h"

#include "ledger/hot.h"

#include "core/arguments.h"
#include "core/lock.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"

static LOCKTAG merchant_tag(const char *merchant);

PAY_FUNCTION(pay_lock_hot);

bool
pay_ledger_share_hot(const char *merchant)
{
	LOCKTAG		tag = merchant_tag(merchant);

	return LockAcquire(&tag, ShareLock, false, false) != LOCKACQUIRE_ALREADY_HELD;
}

/* _lock_hot(merchant): alone; waits for lock_timeout. */
Datum
pay_lock_hot(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag = merchant_tag(pay_text_argument(fcinfo, 0));

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	PG_RETURN_VOID();
}

static LOCKTAG
merchant_tag(const char *merchant)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) merchant, (int) strlen(merchant), 0);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, PAY_LOCK_HOT);
	return tag;
}
