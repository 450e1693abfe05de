/*
 * src/ledger_batch.c
 *		Two-legged postings between accounts.
 *
 * A posting moves an amount from the account it credits to the account it
 * debits, so the ledger balances by construction.  Postings are inserted and
 * never change; an account carries the running sums of its debits and credits,
 * which are at every commit the sums over its postings.
 *
 * One call posts a whole batch, in a fixed number of statements however large
 * it is:
 *
 *	1. ordinary accounts are locked FOR NO KEY UPDATE in id order and read;
 *	2. every posting is checked in C, in order, against running balances:
 *	   closed, limits, overflow;
 *	3. the postings are inserted, all in one statement;
 *	4. the sums are added to the ordinary accounts, one UPDATE for all, and
 *	   those of hot accounts are inserted into account_delta.
 *
 * Locks.  Calls for different postings cannot deadlock with each other: one
 * that holds account rows waits only for higher ids.  Two things can, and the
 * server then ends one with 40P01, to be repeated: transactions that make
 * several calls, and two calls that repeat the same references in different
 * orders on hot accounts.  Whoever holds a payment's lock may call; nothing
 * here locks a payment.
 *
 * Hot accounts are not locked and have no limits.  Their balance is the row
 * plus the sum of account_delta, in one snapshot; fold_hot_accounts() moves
 * deltas into the row.  Every call holds ROW EXCLUSIVE on account_delta from
 * before it reads accounts until the transaction ends; close_account() takes a
 * table lock that conflicts, so no posting slips in behind the closing.  (At
 * REPEATABLE READ a transaction older than the closing still sees the account
 * open, and posts; that is what its snapshot says.)
 *
 * Exactly once.  A reference is unique: per merchant for the verbs, over all
 * for postings of payments.  Nothing looks for a reference beforehand; the
 * insert skips those that are taken (ON CONFLICT DO NOTHING), and only when it
 * reports fewer rows than sent, or a posting was refused that may have been
 * made before, are the old postings read and compared.  A repetition changes
 * nothing and succeeds, also when it would no longer pass: the account may
 * have been emptied or closed since.  In a best-effort batch the insert is
 * then undone (it has a subtransaction of its own) and the batch checked anew.
 *
 * Isolation.  At READ COMMITTED the locking read returns the newest row and
 * every statement sees what committed before it.  At REPEATABLE READ and above
 * the lock, or the conflicting insert, fails with 40001 if another transaction
 * came first, and the caller repeats.
 *
 * A crash leaves nothing behind: all of it is in the caller's transaction.
 */
#include "payments.h"

#include "ledger_batch.h"
#include "spi.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/int.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

static int	account_ids_of(const PayPostingBatch *batch, int64 **ids);
static int	compare_int64(const void *a, const void *b);
static int	compare_accounts(const void *a, const void *b);
static PayAccount *find_account(const PayPostingBatch *batch, int64 account_id);

static int	group_references(PayPostingBatch *batch);
static int	compare_references(const void *a, const void *b);
static void check_postings(PayPostingBatch *batch, int n_groups);
static int	try_posting(PayPosting *posting);
static int	check_side(const PayAccount *account, const PayPosting *posting, bool debit, PayLimit *limit);
static const char *find_difference(const PayPosting *a, const PayPosting *b);
static bool may_be_repetition(const PayPostingBatch *batch);
static int	find_posted_before(PayPostingBatch *batch);
static void read_old_posting(uint64 row, PayPosting *old);
static bool insert_postings(PayPostingBatch *batch);
static bool insert_or_undo(PayPosting **chosen, int n);
static bool insert_chosen(PayPosting **chosen, int n);
static int	choose_accounts(const PayPostingBatch *batch, int kind, const PayAccount **chosen);
static void raise_first_error(const PayPostingBatch *batch);
static void raise_limit(const PayPosting *posting) pg_attribute_noreturn();

#define ACCOUNT_COLUMNS \
	"account_id, merchant, code, currency, type IN ('asset', 'expense') AS debit_normal, hot," \
	" closed_at IS NOT NULL AS closed, min_balance, max_balance, debits, credits, held_debits, held_credits"

static PayStmt lock_accounts = PAY_STMT(SPI_OK_SELECT,
	"WITH ordinary AS MATERIALIZED ("
	"  SELECT " ACCOUNT_COLUMNS " FROM payments.account WHERE account_id = ANY ($1) AND NOT hot"
	"  ORDER BY account_id FOR NO KEY UPDATE)"
	" SELECT * FROM ordinary"
	" UNION ALL SELECT " ACCOUNT_COLUMNS " FROM payments.account WHERE account_id = ANY ($1) AND hot",
	INT8ARRAYOID);

/* In an array of times, 0 is sent as null.  A reversal is alone in its batch. */
static PayStmt insert_all = PAY_STMT(SPI_OK_INSERT_RETURNING,
	"INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind,"
	"                              merchant, payment_id, reference, description, reverses)"
	" SELECT r.debit, r.credit, r.amount, coalesce(r.effective_at, '2000-01-01 00:00:00+00'), $11, r.currency, r.kind,"
	"        r.merchant, r.payment_id, r.reference, r.description, $12"
	" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
	"      r(debit, credit, amount, effective_at, currency, kind, merchant, payment_id, reference, description)"
	" ON CONFLICT DO NOTHING RETURNING posting_id, reference",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, INT8OID);

#define OLD_POSTING_COLUMNS \
	"r.i, p.posting_id, p.debit_account, p.credit_account, p.amount, p.kind, p.payment_id, p.description," \
	" CASE WHEN p.effective_at <> p.booked_at THEN p.effective_at END, p.reverses"

static PayStmt find_movements = PAY_STMT(SPI_OK_SELECT,
	"SELECT " OLD_POSTING_COLUMNS " FROM unnest($1) WITH ORDINALITY r(reference, i)"
	" JOIN payments.posting p ON p.reference = r.reference AND p.payment_id IS NOT NULL",
	TEXTARRAYOID);

static PayStmt find_references = PAY_STMT(SPI_OK_SELECT,
	"SELECT " OLD_POSTING_COLUMNS " FROM unnest($1, $2) WITH ORDINALITY r(reference, merchant, i)"
	" JOIN payments.posting p ON p.merchant = r.merchant AND p.reference = r.reference"
	"  AND p.payment_id IS NULL AND p.reference IS NOT NULL",
	TEXTARRAYOID, TEXTARRAYOID);

static PayStmt add_to_ordinary = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.account a SET debits = a.debits + d.debits, credits = a.credits + d.credits"
	" FROM unnest($1, $2, $3) d(account_id, debits, credits) WHERE a.account_id = d.account_id",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);

static PayStmt add_with_held = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.account a SET debits = a.debits + d.debits, credits = a.credits + d.credits,"
	" held_debits = a.held_debits + d.held_debits, held_credits = a.held_credits + d.held_credits"
	" FROM unnest($1, $2, $3, $4, $5) d(account_id, debits, credits, held_debits, held_credits)"
	" WHERE a.account_id = d.account_id",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);

static PayStmt add_to_hot = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.account_delta (account_id, debits, credits)"
	" SELECT d.account_id, d.debits, d.credits FROM unnest($1, $2, $3) d(account_id, debits, credits)",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);

/* ---------- accounts by id ---------- */

void
pay_ledger_lock_accounts(PayPostingBatch *batch)
{
	Oid			delta_table = get_relname_relid("account_delta", pay_schema_oid());
	PayArgs		args = {0};
	int64	   *ids;
	int			n_ids = account_ids_of(batch, &ids);

	LockRelationOid(delta_table, RowExclusiveLock);

	pay_arg_int64_array(&args, ids, n_ids);
	batch->n_accounts = (int) pay_spi_exec(&lock_accounts, &args);
	batch->accounts = palloc0(sizeof(PayAccount) * Max(batch->n_accounts, 1));
	for (int i = 0; i < batch->n_accounts; i++)
	{
		PayAccount *account = &batch->accounts[i];

		account->account_id = pay_spi_int64(i, 1);
		account->merchant = pay_spi_text(i, 2);
		account->code = pay_spi_text(i, 3);
		account->currency = pay_spi_text(i, 4);
		account->debit_normal = pay_spi_bool(i, 5);
		account->hot = pay_spi_bool(i, 6);
		account->closed = pay_spi_bool(i, 7);
		account->has_minimum = !pay_spi_isnull(i, 8);
		account->minimum = account->has_minimum ? pay_spi_int64(i, 8) : 0;
		account->has_maximum = !pay_spi_isnull(i, 9);
		account->maximum = account->has_maximum ? pay_spi_int64(i, 9) : 0;
		account->debits = pay_spi_int64(i, 10);
		account->credits = pay_spi_int64(i, 11);
		account->held_debits = pay_spi_int64(i, 12);
		account->held_credits = pay_spi_int64(i, 13);
	}
	qsort(batch->accounts, batch->n_accounts, sizeof(PayAccount), compare_accounts);

	for (int i = 0; i < batch->n; i++)
	{
		batch->postings[i].debit_account = find_account(batch, batch->postings[i].debit);
		batch->postings[i].credit_account = find_account(batch, batch->postings[i].credit);
	}
}

/* The different account ids of a batch, sorted. */
static int
account_ids_of(const PayPostingBatch *batch, int64 **ids)
{
	int64	   *all = palloc(sizeof(int64) * 2 * Max(batch->n, 1));
	int			count = 0;

	for (int i = 0; i < batch->n; i++)
	{
		all[2 * i] = batch->postings[i].debit;
		all[2 * i + 1] = batch->postings[i].credit;
	}
	qsort(all, 2 * batch->n, sizeof(int64), compare_int64);
	for (int i = 0; i < 2 * batch->n; i++)
		if (count == 0 || all[i] != all[count - 1])
			all[count++] = all[i];
	*ids = all;
	return count;
}

static int
compare_int64(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

static int
compare_accounts(const void *a, const void *b)
{
	return compare_int64(&((const PayAccount *) a)->account_id, &((const PayAccount *) b)->account_id);
}

static PayAccount *
find_account(const PayPostingBatch *batch, int64 account_id)
{
	PayAccount	wanted = {.account_id = account_id};

	return bsearch(&wanted, batch->accounts, batch->n_accounts, sizeof(PayAccount), compare_accounts);
}

/* ---------- checking and writing ---------- */

void
pay_ledger_write(PayPostingBatch *batch)
{
	int			n_groups = group_references(batch);

	check_postings(batch, n_groups);
	if (may_be_repetition(batch))
	{
		find_posted_before(batch);
		check_postings(batch, n_groups);
	}
	raise_first_error(batch);

	while (!insert_postings(batch))
	{
		if (find_posted_before(batch) == 0)
		{
			/* Only a reversal meets another unique index: somebody on hot accounts was faster. */
			if (batch->postings[0].reverses == 0)
				elog(ERROR, "postings were neither inserted nor found");
			batch->postings[0].invalid = PAY_ERR_ALREADY_REVERSED;
		}
		check_postings(batch, n_groups);
		raise_first_error(batch);
	}
	pay_ledger_add_to_accounts(batch);

	for (int i = 0; i < batch->n; i++)
		if (batch->postings[i].same_as)
			batch->postings[i].posting_id = batch->postings[i].same_as->posting_id;
}

/* Gives postings of one reference one number; returns how many numbers there are. */
static int
group_references(PayPostingBatch *batch)
{
	PayPosting **sorted = palloc(sizeof(PayPosting *) * Max(batch->n, 1));
	int			count = 0;
	int			group = 0;

	for (int i = 0; i < batch->n; i++)
	{
		batch->postings[i].group = -1;
		if (batch->postings[i].reference && batch->postings[i].invalid == 0)
			sorted[count++] = &batch->postings[i];
	}
	qsort(sorted, count, sizeof(PayPosting *), compare_references);
	for (int i = 0; i < count; i++)
	{
		if (i > 0 && compare_references(&sorted[i - 1], &sorted[i]) != 0)
			group++;
		sorted[i]->group = group;
	}
	pfree(sorted);
	return count == 0 ? 0 : group + 1;
}

/* By merchant too: movements of one PSP object have one merchant, so for them it changes nothing. */
static int
compare_references(const void *a, const void *b)
{
	const PayPosting *x = *(PayPosting *const *) a;
	const PayPosting *y = *(PayPosting *const *) b;
	int			order = strcmp(x->reference, y->reference);

	return order ? order : strcmp(x->debit_account->merchant, y->debit_account->merchant);
}

/* Decides every posting, in order, as if those before it that pass were posted; starts afresh on each call. */
static void
check_postings(PayPostingBatch *batch, int n_groups)
{
	PayPosting **first = palloc0(sizeof(PayPosting *) * Max(n_groups, 1));

	for (int i = 0; i < batch->n_accounts; i++)
	{
		batch->accounts[i].new_debits = batch->accounts[i].new_credits = 0;
		batch->accounts[i].new_held_debits = batch->accounts[i].new_held_credits = 0;
	}

	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		posting->error = posting->invalid;
		posting->same_as = NULL;
		posting->refused_by = NULL;
		posting->limit = PAY_LIMIT_NONE;
		if (posting->invalid || posting->posted_before)
			continue;
		if (posting->group >= 0 && first[posting->group])
		{
			posting->differs = find_difference(posting, first[posting->group]);
			if (posting->differs)
				posting->error = PAY_ERR_POSTING_REUSED;
			else
				posting->same_as = first[posting->group];
			continue;
		}
		posting->error = try_posting(posting);
		if (posting->error == 0 && posting->group >= 0)
			first[posting->group] = posting;
	}
	pfree(first);
}

/* Adds the posting to the running sums if both accounts let it; returns 0 or an SQLSTATE. */
static int
try_posting(PayPosting *posting)
{
	int			error = pay_ledger_check(posting);

	if (error)
		return error;
	posting->debit_account->new_debits += posting->amount;
	posting->credit_account->new_credits += posting->amount;
	posting->debit_account->new_held_debits -= posting->released;
	posting->credit_account->new_held_credits -= posting->released;
	return 0;
}

int
pay_ledger_check(PayPosting *posting)
{
	PayAccount *debit = posting->debit_account;
	PayAccount *credit = posting->credit_account;
	int			error;

	Assert(posting->amount > 0 && debit != NULL && credit != NULL && debit != credit);
	posting->refused_by = debit;
	if (debit->closed)
		return PAY_ERR_ACCOUNT_CLOSED;
	error = check_side(debit, posting, true, &posting->limit);
	if (error)
		return error;
	posting->refused_by = credit;
	if (credit->closed)
		return PAY_ERR_ACCOUNT_CLOSED;
	error = check_side(credit, posting, false, &posting->limit);
	if (error)
		return error;
	posting->refused_by = NULL;
	return 0;
}

/*
 * May this amount be debited (or credited)?  What is held on the same side
 * counts as gone; what is held on the other side cannot be spent yet.  Counters
 * keep room for what is held, so that a hold can always be posted.
 */
static int
check_side(const PayAccount *account, const PayPosting *posting, bool debit, PayLimit *limit)
{
	int64		amount = posting->amount;
	int64		held = (debit ? account->held_debits + account->new_held_debits :
						account->held_credits + account->new_held_credits) - posting->released;
	int64		debits = account->debits + account->new_debits; /* cannot overflow, by the first check below */
	int64		credits = account->credits + account->new_credits;
	int64		room = (account->hot ? PAY_HOT_COUNTER_MAX : PG_INT64_MAX) - (debit ? debits : credits) - held;
	int64		balance = account->debit_normal ? debits - credits : credits - debits;
	bool		grows = debit == account->debit_normal;

	if (amount > room || (account->hot && amount > PAY_AMOUNT_MAX))
		return PAY_ERR_BALANCE_OVERFLOW;
	/* Past the end of int64 is past any limit. */
	if (grows && account->has_maximum &&
		(pg_add_s64_overflow(balance, held, &balance) || pg_add_s64_overflow(balance, amount, &balance) ||
		 balance > account->maximum))
	{
		*limit = PAY_LIMIT_MAXIMUM;
		return PAY_ERR_LIMIT_EXCEEDED;
	}
	if (!grows && account->has_minimum &&
		(pg_sub_s64_overflow(balance, held, &balance) || pg_sub_s64_overflow(balance, amount, &balance) ||
		 balance < account->minimum))
	{
		*limit = PAY_LIMIT_MINIMUM;
		return PAY_ERR_LIMIT_EXCEEDED;
	}
	return 0;
}

/* The first field in which two postings of one reference differ, or NULL. */
static const char *
find_difference(const PayPosting *a, const PayPosting *b)
{
	if (a->reverses != b->reverses)
		return "reverses";
	if (a->debit != b->debit)
		return "debit";
	if (a->credit != b->credit)
		return "credit";
	if (a->amount != b->amount)
		return "amount";
	if (strcmp(a->kind, b->kind) != 0)
		return "kind";
	if (a->payment_id && b->payment_id)
	{
		/* Their description comes from the rule, which may have been reworded since. */
		return memcmp(a->payment_id, b->payment_id, UUID_LEN) != 0 ? "payment_id" : NULL;
	}
	if (a->has_effective_at != b->has_effective_at || (a->has_effective_at && a->effective_at != b->effective_at))
		return "effective_at";
	return strcmp(a->description ? a->description : "", b->description ? b->description : "") != 0 ? "description" : NULL;
}

/* Was a posting refused that has a reference, so that it may have been made before? */
static bool
may_be_repetition(const PayPostingBatch *batch)
{
	for (int i = 0; i < batch->n; i++)
		if (batch->postings[i].group >= 0 && batch->postings[i].error != 0)
			return true;
	return false;
}

/*
 * Looks up the references of what is not inserted: same content is marked as
 * posted before, other content as invalid.  Returns how many there were.
 */
static int
find_posted_before(PayPostingBatch *batch)
{
	PayArgs		args = {0};
	PayPosting **asked = palloc(sizeof(PayPosting *) * batch->n);
	const char **references = palloc(sizeof(char *) * batch->n);
	const char **merchants = palloc(sizeof(char *) * batch->n);
	int			count = 0;
	uint64		found;

	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		if (posting->group < 0 || posting->invalid || posting->posting_id != 0)
			continue;
		asked[count] = posting;
		references[count] = posting->reference;
		merchants[count] = posting->debit_account->merchant;
		count++;
	}
	pay_arg_text_array(&args, references, count);
	if (!batch->movements)
		pay_arg_text_array(&args, merchants, count);
	found = pay_spi_exec(batch->movements ? &find_movements : &find_references, &args);
	for (uint64 row = 0; row < found; row++)
	{
		PayPosting *posting = asked[pay_spi_int64(row, 1) - 1];
		PayPosting	old = {0};

		read_old_posting(row, &old);
		posting->differs = find_difference(posting, &old);
		if (posting->differs)
			posting->invalid = PAY_ERR_POSTING_REUSED;
		else
		{
			posting->posted_before = true;
			posting->posting_id = old.posting_id;
		}
	}
	pfree(asked);
	pfree(references);
	pfree(merchants);
	return (int) found;
}

/* A row of OLD_POSTING_COLUMNS. */
static void
read_old_posting(uint64 row, PayPosting *old)
{
	old->posting_id = pay_spi_int64(row, 2);
	old->debit = pay_spi_int64(row, 3);
	old->credit = pay_spi_int64(row, 4);
	old->amount = pay_spi_int64(row, 5);
	old->kind = pay_spi_text(row, 6);
	if (!pay_spi_isnull(row, 7))
	{
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		*id = pay_spi_uuid(row, 7);
		old->payment_id = id;
	}
	old->description = pay_spi_text(row, 8);
	old->has_effective_at = !pay_spi_isnull(row, 9);
	old->effective_at = old->has_effective_at ? pay_spi_time(row, 9) : 0;
	old->reverses = pay_spi_isnull(row, 10) ? 0 : pay_spi_int64(row, 10);
}

/* Inserts all that passed and fills in their ids; returns false when some references turned out to be taken. */
static bool
insert_postings(PayPostingBatch *batch)
{
	PayPosting **chosen = palloc(sizeof(PayPosting *) * Max(batch->n, 1));
	bool		has_references = false;
	bool		complete = true;
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		if (posting->error != 0 || posting->posted_before || posting->same_as || posting->posting_id != 0)
			continue;
		chosen[n++] = posting;
		has_references = has_references || posting->reference;
	}
	if (n > 0 && has_references && !batch->all_or_nothing)
		complete = insert_or_undo(chosen, n);
	else if (n > 0)
		complete = insert_chosen(chosen, n);
	pfree(chosen);
	return complete;
}

/*
 * Inserts all or none.  A posting whose reference is taken moves nothing, so
 * one after it that was inserted may have counted on money that never came;
 * then all are to be checked again before any is written.
 */
static bool
insert_or_undo(PayPosting **chosen, int n)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool complete = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		complete = insert_chosen(chosen, n);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = owner;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (complete)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	for (int i = 0; i < n && !complete; i++)
		chosen[i]->posting_id = 0;
	return complete;
}

/* One statement for all; returns false when it skipped some. */
static bool
insert_chosen(PayPosting **chosen, int n)
{
	PayArgs		args = {0};
	TimestampTz now = GetCurrentTimestamp();
	uint64		inserted;
	uint64		row = 0;

	for (int i = 0; i < n; i++)
		if (!chosen[i]->has_effective_at)
			chosen[i]->effective_at = now;

#define COLUMN(type_, add_, value_) \
	do { \
		type_	   *column = palloc(sizeof(type_) * n); \
		for (int i = 0; i < n; i++) \
			column[i] = chosen[i]->value_; \
		add_(&args, column, n); \
		pfree(column); \
	} while (0)

	COLUMN(int64, pay_arg_int64_array, debit);
	COLUMN(int64, pay_arg_int64_array, credit);
	COLUMN(int64, pay_arg_int64_array, amount);
	COLUMN(TimestampTz, pay_arg_time_array, effective_at);
	COLUMN(const char *, pay_arg_text_array, debit_account->currency);
	COLUMN(const char *, pay_arg_text_array, kind);
	COLUMN(const char *, pay_arg_text_array, debit_account->merchant);
	COLUMN(const pg_uuid_t *, pay_arg_uuid_array, payment_id);
	COLUMN(const char *, pay_arg_text_array, reference);
	COLUMN(const char *, pay_arg_text_array, description);
#undef COLUMN
	/* Read under the locks, so that time and id of an ordinary account's postings grow together. */
	pay_arg_time(&args, now);
	if (chosen[0]->reverses)
		pay_arg_int64(&args, chosen[0]->reverses);
	else
		pay_arg_null(&args);
	Assert(n == 1 || chosen[0]->reverses == 0);

	inserted = pay_spi_exec(&insert_all, &args);

	/* Rows come back in order, less those skipped; only postings with a reference can be. */
	for (int i = 0; i < n && row < inserted; i++)
	{
		char	   *reference = pay_spi_text(row, 2);

		if (chosen[i]->reference ? reference && strcmp(reference, chosen[i]->reference) == 0 : reference == NULL)
			chosen[i]->posting_id = pay_spi_int64(row++, 1);
	}
	if (row != inserted)
		elog(ERROR, "inserted " UINT64_FORMAT " postings but recognized " UINT64_FORMAT, inserted, row);
	return inserted == (uint64) n;
}

/* Which way an account's sums are written. */
enum {ORDINARY, HELD, HOT, KINDS};

/* Ordinary accounts in place, hot ones as deltas.  What is held and what is posted changes in one UPDATE: the CHECKs look at both. */
void
pay_ledger_add_to_accounts(const PayPostingBatch *batch)
{
	static PayStmt *const statements[] = {&add_to_ordinary, &add_with_held, &add_to_hot};
	const PayAccount **chosen = palloc(sizeof(PayAccount *) * Max(batch->n_accounts, 1));
	int64	   *column = palloc(sizeof(int64) * Max(batch->n_accounts, 1));

#define COLUMN(value_) \
	do { \
		for (int i = 0; i < n; i++) \
			column[i] = chosen[i]->value_; \
		pay_arg_int64_array(&args, column, n); \
	} while (0)

	for (int kind = 0; kind < KINDS; kind++)
	{
		PayArgs		args = {0};
		int			n = choose_accounts(batch, kind, chosen);

		if (n == 0)
			continue;
		COLUMN(account_id);
		COLUMN(new_debits);
		COLUMN(new_credits);
		if (kind == HELD)
		{
			COLUMN(new_held_debits);
			COLUMN(new_held_credits);
		}
		if (pay_spi_exec(statements[kind], &args) != (uint64) n)
			ereport(ERROR,
					(errcode(PAY_ERR_INTERNAL),
					 errmsg("not every account took its postings"),
					 errhint("A trigger on payments.account or payments.account_delta can cause this; remove it.")));
	}
#undef COLUMN
	pfree(chosen);
	pfree(column);
}

static int
choose_accounts(const PayPostingBatch *batch, int kind, const PayAccount **chosen)
{
	int			n = 0;

	for (int i = 0; i < batch->n_accounts; i++)
	{
		const PayAccount *account = &batch->accounts[i];
		bool		held = account->new_held_debits != 0 || account->new_held_credits != 0;
		bool		posted = account->new_debits != 0 || account->new_credits != 0;

		if ((held || posted) && kind == (account->hot ? HOT : held ? HELD : ORDINARY))
			chosen[n++] = account;
	}
	return n;
}

/* ---------- errors ---------- */

static void
raise_first_error(const PayPostingBatch *batch)
{
	for (int i = 0; batch->all_or_nothing && i < batch->n; i++)
		if (batch->postings[i].error)
			pay_ledger_raise(&batch->postings[i]);
}

void
pay_ledger_raise(const PayPosting *posting)
{
	const PayAccount *account = posting->refused_by;

	switch (posting->error)
	{
		case PAY_ERR_CURRENCY_MISMATCH:
			ereport(ERROR,
					(errcode(PAY_ERR_CURRENCY_MISMATCH),
					 errmsg("cannot post between accounts of different currencies"),
					 errdetail("Account " INT64_FORMAT " is in %s, account " INT64_FORMAT " in %s.",
							   posting->debit, posting->debit_account->currency,
							   posting->credit, posting->credit_account->currency),
					 errhint("Exchange by two postings, each between accounts of one currency.")));
			break;
		case PAY_ERR_ACCOUNT_NOT_FOUND:
			ereport(ERROR,
					(errcode(PAY_ERR_ACCOUNT_NOT_FOUND),
					 errmsg("account " INT64_FORMAT " does not exist",
							posting->debit_account ? posting->credit : posting->debit),
					 errhint("payments.trial_balance lists the accounts; payments.create_account() makes one.")));
			break;
		case PAY_ERR_ACCOUNT_CLOSED:
			ereport(ERROR,
					(errcode(PAY_ERR_ACCOUNT_CLOSED),
					 errmsg("account " INT64_FORMAT " (\"%s\") is closed", account->account_id, account->code),
					 errhint("A closed account stays closed; post to another one.")));
			break;
		case PAY_ERR_LIMIT_EXCEEDED:
			raise_limit(posting);
			break;
		case PAY_ERR_BALANCE_OVERFLOW:
			ereport(ERROR,
					(errcode(PAY_ERR_BALANCE_OVERFLOW),
					 errmsg("counters of account " INT64_FORMAT " (\"%s\") cannot take " INT64_FORMAT " more",
							account->account_id, account->code, posting->amount),
					 errhint("Post a smaller amount, or open a new account and move the balance there.")));
			break;
		case PAY_ERR_POSTING_REUSED:
			ereport(ERROR,
					(errcode(PAY_ERR_POSTING_REUSED),
					 errmsg("reference \"%s\" belongs to a posting with another content", posting->reference),
					 errdetail("The postings differ in \"%s\".", posting->differs),
					 errhint("Repeat a posting with the same arguments, and give a new one a reference of its own.")));
			break;
		case PAY_ERR_ALREADY_REVERSED:
			ereport(ERROR,
					(errcode(PAY_ERR_ALREADY_REVERSED),
					 errmsg("posting " INT64_FORMAT " has been reversed already", posting->reverses),
					 errhint("A posting is reversed once; to move the money again, post anew.")));
			break;
		default:
			elog(ERROR, "posting has unexpected error %s", unpack_sql_state(posting->error));
	}
	pg_unreachable();
}

static void
raise_limit(const PayPosting *posting)
{
	const PayAccount *account = posting->refused_by;
	int64		balance = account->debit_normal ?
		account->debits + account->new_debits - (account->credits + account->new_credits) :
		account->credits + account->new_credits - (account->debits + account->new_debits);
	bool		debit = account == posting->debit_account;
	bool		below = posting->limit == PAY_LIMIT_MINIMUM;

	ereport(ERROR,
			(errcode(PAY_ERR_LIMIT_EXCEEDED),
			 errmsg("account " INT64_FORMAT " (\"%s\") would %s balance", account->account_id, account->code,
					below ? "fall below its minimum" : "rise above its maximum"),
			 errdetail("The balance is " INT64_FORMAT ", held " INT64_FORMAT ", to be posted " INT64_FORMAT
					   ", the limit " INT64_FORMAT " (minor units of %s).",
					   balance, debit ? account->held_debits : account->held_credits, posting->amount,
					   below ? account->minimum : account->maximum, account->currency),
			 errhint(below ? "Post a smaller amount, or bring money in first." :
					 "Post a smaller amount, or move money out first.")));
}
