/*
 * src/ledger/part.c
 *		Hot accounts with limits, split into parts.
 *
 * A limit needs a lock under which it is checked; many who post at once need
 * more than one.  So a hot account with limits is split into parts, rows of
 * account_part, each with counters of its own and a share of the balance and
 * of the limits:
 *
 *		share = the part's debits and credits, on the normal side, + moved
 *
 * moved is what a part has borrowed from the others or lent to them, and its
 * portion of what the account's row had when it was split.  Always true, at
 * every commit and so in every snapshot:
 *
 *	1. the parts' moved add up to the balance of the account's own row, which
 *	   does not change while the account is split (0 if it was opened so);
 *	   hence the shares add up to the account's balance;
 *	2. each share is within the part's limits (a CHECK), and these add up to
 *	   the account's; hence the balance is within the limits.
 *
 * A call that posts to a split account takes one part that is free and whose
 * share alone suffices for the worst case, all that the batch takes out of the
 * account before anything comes in; then the order of postings does not matter
 * to the limit.  If none is free but most would suffice, it waits for one.  If
 * few or no parts suffice, it takes all of them, checks the postings against the
 * account's whole balance as for an ordinary account, and shares what is left
 * evenly between the parts.  Even shares are within even limits: part i of n gets
 * floor((x + i) / n) of anything, which adds up to x and grows with x.
 *
 * Locks.  Parts are locked by heavyweight locks rather than by their rows, for
 * they can be let go before the transaction ends: whoever finds that a part
 * does not suffice after all must not keep it while waiting for others.  So a
 * call holds one part of an account, having waited for no more than that, or
 * takes all of them in order; accounts are visited in id order, after all
 * ordinary ones.  Hence calls do not deadlock with each other.  The tag is an
 * advisory lock's that no SQL function can name.  A lock is let go after its
 * holder's commit has become visible, so at READ COMMITTED the statement that
 * follows reads the newest row; at REPEATABLE READ and above an older snapshot
 * fails with 40001 when it writes, or when it would refuse.  The locks only
 * order those who post.  That limits hold does not rest on them: rows are
 * changed by increments, and their CHECKs see the newest version.
 *
 * Each lock takes an entry of the server's lock table until the transaction
 * ends, one for each split account as a rule; a batch over thousands of such
 * accounts needs a larger max_locks_per_transaction, and fails with 53200
 * without.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "ledger/part.h"
#include "core/spi.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/int.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/lock.h"

/* pg_advisory_lock() and its kin use 1 and 2 here. */
#define PART_LOCK_FIELD 256

#define RECENT_MAX 16

/* What a batch can do to an account's balance at most, in either direction. */
typedef struct Need
{
	int64		rises;
	int64		falls;
} Need;

/* The part that a call of this transaction took last: taking it again keeps others free.  Hints, written by remember_part(). */
static struct
{
	TransactionId xid;
	int64		account_id;
	int			part;
}			recent[RECENT_MAX];

static Need *find_needs(const PayPostingBatch *batch);
static void add_need(Need *need, const PayAccount *account, bool debit, int64 amount);
static void lock_account(PayAccount *account, const Need *need);
static int	take_free_part(PayAccount *account, const Need *need, int start);
static int	wait_for_part(PayAccount *account, const Need *need, int start);
static void take_all_parts(PayAccount *account);
static void become_part(PayAccount *account, int part);
static bool try_part(const PayAccount *account, int part, bool wait);
static void let_go(const PayAccount *account, int part);
static LOCKTAG part_tag(const PayAccount *account, int part);
static int	start_part(const PayAccount *account);
static void remember_part(const PayAccount *account, int part);
static void read_parts(PayAccount *account, bool all);
static bool suffices(const PayAccount *account, int part, const Need *need);
static int64 balance_of(const PayAccount *account, int64 debits, int64 credits);
static int64 share_out(int64 amount, int part, int n);
static int64 add_saturated(int64 a, int64 b);
static int	count_parts(const PayPostingBatch *batch);

static PayStmt read_shares = PAY_STMT(SPI_OK_SELECT,
	"SELECT debits, credits, moved, coalesce(min_balance, 0), coalesce(max_balance, 0) FROM payments.account_part WHERE account_id = $1"
	" ORDER BY part", INT8OID);

/* For snapshots that may be old: 40001 rather than a refusal by what was. */
static PayStmt lock_shares = PAY_STMT(SPI_OK_SELECT,
	"SELECT debits, credits, moved, coalesce(min_balance, 0), coalesce(max_balance, 0) FROM payments.account_part WHERE account_id = $1"
	" ORDER BY part FOR NO KEY UPDATE", INT8OID);

static PayStmt update_parts = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.account_part p SET debits = p.debits + d.debits, credits = p.credits + d.credits, moved = p.moved + d.moved"
	" FROM unnest($1, $2, $3, $4, $5) d(account_id, part, debits, credits, moved)"
	" WHERE p.account_id = d.account_id AND p.part = d.part",
	INT8ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);

/* ---------- locking ---------- */

void
pay_ledger_lock_parts(PayPostingBatch *batch)
{
	Need	   *needs;

	if (count_parts(batch) == 0)
		return;
	needs = find_needs(batch);
	for (int i = 0; i < batch->n_accounts; i++)
	{
		const Need *need = &needs[i];

		if (batch->accounts[i].n_parts > 0 && (need->rises > 0 || need->falls > 0))
			lock_account(&batch->accounts[i], need);
	}
	pfree(needs);
}

/* How many parts all accounts of the batch have. */
static int
count_parts(const PayPostingBatch *batch)
{
	int			count = 0;

	for (int i = 0; i < batch->n_accounts; i++)
		count += batch->accounts[i].n_parts;
	return count;
}

/* One for each account: what the batch would do to it if all that goes one way passed, and nothing that goes the other. */
static Need *
find_needs(const PayPostingBatch *batch)
{
	Need	   *needs = palloc0(sizeof(Need) * batch->n_accounts);

	for (int i = 0; i < batch->n; i++)
	{
		const PayPosting *posting = &batch->postings[i];

		if (posting->asked <= 0)
			continue;
		if (posting->debit_account)
			add_need(&needs[posting->debit_account - batch->accounts], posting->debit_account, true, posting->asked);
		if (posting->credit_account)
			add_need(&needs[posting->credit_account - batch->accounts], posting->credit_account, false, posting->asked);
	}
	return needs;
}

static void
add_need(Need *need, const PayAccount *account, bool debit, int64 amount)
{
	int64	   *way = debit == account->debit_normal ? &need->rises : &need->falls;

	*way = add_saturated(*way, amount);
}

static void
lock_account(PayAccount *account, const Need *need)
{
	int			start = start_part(account);
	int			part;

	account->parts = palloc(sizeof(PayPart) * account->n_parts);
	part = take_free_part(account, need, start);
	if (part < 0)
		part = wait_for_part(account, need, start);
	if (part < 0)
		take_all_parts(account);
	else
		become_part(account, part);
}

/* A part that is free and suffices, locked; -1: none.  Reads the parts as soon as one is locked; the others' rows are hints. */
static int
take_free_part(PayAccount *account, const Need *need, int start)
{
	bool		known = false;

	for (int i = 0; i < account->n_parts; i++)
	{
		int			part = (start + i) % account->n_parts;

		if ((known && !suffices(account, part, need)) || !try_part(account, part, false))
			continue;
		read_parts(account, false);
		known = true;
		if (suffices(account, part, need))
			return part;
		let_go(account, part);
	}
	if (!known)
		read_parts(account, false);
	return -1;
}

/*
 * All that suffice are taken.  Waits for one of them, holding no other; -1: it
 * does not suffice any more, or so few do that they had better share.
 */
static int
wait_for_part(PayAccount *account, const Need *need, int start)
{
	int			enough = 0;

	for (int part = 0; part < account->n_parts; part++)
		enough += suffices(account, part, need);
	if (enough == 0 || 2 * enough < account->n_parts)
		return -1;
	while (!suffices(account, start, need))
		start = (start + 1) % account->n_parts;
	try_part(account, start, true);
	read_parts(account, false);
	if (suffices(account, start, need))
		return start;
	let_go(account, start);
	return -1;
}

/* From here on the account is as an ordinary one is under its row's lock. */
static void
take_all_parts(PayAccount *account)
{
	for (int part = 0; part < account->n_parts; part++)
		try_part(account, part, true);
	read_parts(account, true);
	for (int part = 0; part < account->n_parts; part++)
	{
		/* Cannot overflow, by PAY_PART_COUNTER_MAX. */
		account->debits += account->parts[part].debits;
		account->credits += account->parts[part].credits;
	}
	account->locked_part = PAY_ALL_PARTS;
}

/* From here on the account's sums and limits are those of one part. */
static void
become_part(PayAccount *account, int part)
{
	const PayPart *share = &account->parts[part];

	account->debits = share->debits;
	account->credits = share->credits;
	account->minimum = add_saturated(share->minimum, -share->moved);
	account->maximum = add_saturated(share->maximum, -share->moved);
	account->locked_part = part + 1;
	remember_part(account, part);
}

/* Returns false if somebody has it, and we do not wait. */
static bool
try_part(const PayAccount *account, int part, bool wait)
{
	LOCKTAG		tag = part_tag(account, part);

	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* If an earlier call of the transaction has it too, it stays locked. */
static void
let_go(const PayAccount *account, int part)
{
	LOCKTAG		tag = part_tag(account, part);

	LockRelease(&tag, ExclusiveLock, false);
}

static LOCKTAG
part_tag(const PayAccount *account, int part)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (account->account_id >> 32), (uint32) account->account_id,
						 PART_LOCK_FIELD + part);
	return tag;
}

/* Where to begin: with the part that this transaction has anyway, or anywhere. */
static int
start_part(const PayAccount *account)
{
	int			i = (int) ((uint64) account->account_id % RECENT_MAX);

	if (recent[i].account_id == account->account_id && TransactionIdIsValid(recent[i].xid) &&
		recent[i].xid == GetTopTransactionIdIfAny())
		return recent[i].part % account->n_parts;
	return (int) pg_prng_uint64_range(&pg_global_prng_state, 0, (uint64) account->n_parts - 1);
}

static void
remember_part(const PayAccount *account, int part)
{
	int			i = (int) ((uint64) account->account_id % RECENT_MAX);

	recent[i].xid = GetTopTransactionId();
	recent[i].account_id = account->account_id;
	recent[i].part = part;
}

/* Reads all parts; with all they are ours. */
static void
read_parts(PayAccount *account, bool all)
{
	PayArgs		args = {0};

	pay_arg_int64(&args, account->account_id);
	if (pay_spi_exec(all && IsolationUsesXactSnapshot() ? &lock_shares : &read_shares, &args) != (uint64) account->n_parts)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("account " INT64_FORMAT " does not have its %d parts", account->account_id, account->n_parts),
				 errhint("Run SELECT * FROM payments.check().")));
	for (int i = 0; i < account->n_parts; i++)
	{
		PayPart    *share = &account->parts[i];

		share->debits = pay_spi_int64(i, 1);
		share->credits = pay_spi_int64(i, 2);
		share->moved = pay_spi_int64(i, 3);
		share->minimum = pay_spi_int64(i, 4);
		share->maximum = pay_spi_int64(i, 5);
	}
}

/* Does its share alone allow all that the batch may do? */
static bool
suffices(const PayAccount *account, int part, const Need *need)
{
	const PayPart *share = &account->parts[part];
	int64		balance = add_saturated(balance_of(account, share->debits, share->credits), share->moved);

	return (!account->has_minimum || add_saturated(balance, -need->falls) >= share->minimum) &&
		(!account->has_maximum || add_saturated(balance, need->rises) <= share->maximum);
}

/* ---------- writing ---------- */

void
pay_ledger_save_parts(const PayPostingBatch *batch)
{
	PayArgs		args = {0};
	int			rows_max = count_parts(batch);
	int			n = 0;
	int64	   *ids,
			   *debits,
			   *credits,
			   *moved;
	int32	   *parts;

	if (rows_max == 0)
		return;
	ids = palloc(sizeof(int64) * rows_max);
	parts = palloc(sizeof(int32) * rows_max);
	debits = palloc0(sizeof(int64) * rows_max);
	credits = palloc0(sizeof(int64) * rows_max);
	moved = palloc0(sizeof(int64) * rows_max);
	for (int i = 0; i < batch->n_accounts; i++)
	{
		const PayAccount *account = &batch->accounts[i];
		bool		all = account->locked_part == PAY_ALL_PARTS;
		int			first = n;
		int64		balance;

		if (account->n_parts == 0 || (account->new_debits == 0 && account->new_credits == 0))
			continue;
		if (account->locked_part == 0)
			elog(ERROR, "account " INT64_FORMAT " was posted to without a part", account->account_id);
		balance = balance_of(account, account->debits + account->new_debits, account->credits + account->new_credits);
		for (int part = all ? 0 : account->locked_part - 1; part < (all ? account->n_parts : account->locked_part); part++, n++)
		{
			ids[n] = account->account_id;
			parts[n] = part;
		}
		/* Any one may take the counters. */
		first += all ? start_part(account) : 0;
		debits[first] = account->new_debits;
		credits[first] = account->new_credits;
		for (int row = n - account->n_parts; all && row < n; row++)
		{
			const PayPart *share = &account->parts[parts[row]];

			moved[row] = share_out(balance, parts[row], account->n_parts) - share->moved -
				balance_of(account, share->debits + debits[row], share->credits + credits[row]);
		}
	}
	if (n == 0)
		return;
	pay_arg_int64_array(&args, ids, n);
	pay_arg_int32_array(&args, parts, n);
	pay_arg_int64_array(&args, debits, n);
	pay_arg_int64_array(&args, credits, n);
	pay_arg_int64_array(&args, moved, n);
	if (pay_spi_exec(&update_parts, &args) != (uint64) n)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("not every part of an account took its postings"),
				 errhint("A trigger on payments.account_part can cause this; remove it.")));
}

/* On the normal side.  Counters are not below zero, so it cannot overflow. */
static int64
balance_of(const PayAccount *account, int64 debits, int64 credits)
{
	return account->debit_normal ? debits - credits : credits - debits;
}

/* What part of n gets of an amount: floor((amount + part) / n), as _split_account() has it. */
static int64
share_out(int64 amount, int part, int n)
{
	int64		sum = amount + part;	/* a balance is far from the end of the range */
	int64		share = sum / n;

	return share - (sum % n < 0);
}

static int64
add_saturated(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		return a > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	return sum;
}
