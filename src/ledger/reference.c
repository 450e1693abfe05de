/*
 * src/ledger/reference.c
 *		Exactly once: what a client's own id for a posting promises.
 *
 * A reference is unique per merchant, in payments.posting_reference, a table
 * of its own because postings are partitioned by time and what is retired with
 * them must not be posted again.  Nothing looks for a reference beforehand: a
 * call takes all of its references with one insert that skips those that are
 * taken (ON CONFLICT DO NOTHING), before anything is checked, and reads only
 * what was posted under the skipped ones.  So a repetition succeeds also when
 * it would no longer pass: the account may have been emptied or closed since.
 *
 * A posting that was refused in a best-effort batch stays refused: its id is
 * in payments.posting_failure, and a repetition gets the same SQLSTATE however
 * much money has come in since.  (A call that raises leaves nothing behind.)
 *
 * Locks.  References are taken under the locks of the accounts, in byte order,
 * waiting for other transactions that are taking the same ones.  Those have
 * their accounts already, and wait for later references only.
 *
 * There are two name spaces, so that no caller of a verb can take a reference
 * that we shall need: what we post ourselves, for movements of payments, for
 * files of PSPs and banks, and for decisions about these, has the one without a
 * merchant's name.  It is also how such a posting is told from one that a verb
 * made to look like it.
 */
#include "payments.h"

#include "ledger/reference.h"
#include "core/spi.h"

#include "catalog/pg_type_d.h"

static const char *space_of(const PayPosting *posting);
static int	sort_by_reference(PayPostingBatch *batch, PayPosting **sorted);
static int	mark_repetitions(PayPosting **sorted, int n, PayPosting **firsts);
static int	compare_references(const void *a, const void *b);
static int	claim(PayPosting **chosen, int n, TimestampTz now);
static void find_old(PayPosting **chosen, int n);
static void read_old(uint64 row, PayPosting *old);
static void mark_old(PayPosting *posting, const PayPosting *old);
static void require_whole_link(PayPosting *postings, int n);

static PayStmt insert_references = PAY_STMT(SPI_OK_INSERT_RETURNING,
	"INSERT INTO payments.posting_reference (merchant, reference, posting_id, booked_at)"
	" SELECT r.merchant, r.reference, r.posting_id, $4 FROM unnest($1, $2, $3) r(merchant, reference, posting_id)"
	" ON CONFLICT DO NOTHING RETURNING posting_id",
	TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID);

/* The times between which they were taken: with them the executor opens the partitions of those months only. */
static PayStmt find_times = PAY_STMT(SPI_OK_SELECT,
	"SELECT min(t.booked_at), max(t.booked_at) FROM unnest($1, $2) r(merchant, reference)"
	" JOIN payments.posting_reference t ON t.merchant = r.merchant AND t.reference = r.reference",
	TEXTARRAYOID, TEXTARRAYOID);

/* What was retired has neither a posting nor a failure any more. */
static PayStmt find_references = PAY_STMT(SPI_OK_SELECT,
	"SELECT r.i, t.posting_id, o.debit_account, o.credit_account, o.asked, o.amount, o.balancing, o.kind, o.effective_at,"
	"       o.imported, o.description, o.transaction_id, o.reverses, o.payment_id, o.error"
	" FROM unnest($1, $2) WITH ORDINALITY r(merchant, reference, i)"
	" JOIN payments.posting_reference t ON t.merchant = r.merchant AND t.reference = r.reference"
	" LEFT JOIN LATERAL ("
	"  SELECT p.debit_account, p.credit_account, coalesce(p.asked, p.amount) AS asked, p.amount, p.asked IS NOT NULL AS balancing, p.kind,"
	"   CASE WHEN p.effective_at <> p.booked_at THEN p.effective_at END AS effective_at, p.imported, p.description,"
	"   coalesce(p.transaction_id, 0) AS transaction_id, coalesce(p.reverses, 0) AS reverses, p.payment_id, NULL AS error"
	"  FROM payments.posting p WHERE p.posting_id = t.posting_id AND p.booked_at = t.booked_at AND p.booked_at BETWEEN $3 AND $4"
	"  UNION ALL"
	"  SELECT f.debit_account, f.credit_account, f.asked, 0, f.balancing, f.kind, f.effective_at, f.imported, f.description,"
	"   f.transaction_id, 0, NULL, f.error"
	"  FROM payments.posting_failure f WHERE f.posting_id = t.posting_id) o ON true",
	TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID);

static PayStmt insert_failures = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.posting_failure (posting_id, merchant, reference, debit_account, credit_account, asked, balancing, kind,"
	"                                      effective_at, imported, description, transaction_id, error, failed_at)"
	" SELECT r.posting_id, r.merchant, r.reference, r.debit, r.credit, r.asked, r.balancing, r.kind, r.effective_at, r.imported,"
	"        r.description, r.transaction_id, r.error, $14"
	" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
	"      r(posting_id, merchant, reference, debit, credit, asked, balancing, kind, effective_at, imported, description, transaction_id,"
	"        error)",
	INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, BOOLARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZARRAYOID, BOOLARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

/* ---------- taking ---------- */

void
pay_ledger_claim_references(PayPostingBatch *batch)
{
	PayPosting **sorted = palloc(sizeof(PayPosting *) * Max(batch->n, 1));
	PayPosting **firsts = palloc(sizeof(PayPosting *) * Max(batch->n, 1));
	int			n = sort_by_reference(batch, sorted);
	int			n_firsts = mark_repetitions(sorted, n, firsts);
	int			end;

	if (n_firsts > 0 && claim(firsts, n_firsts, batch->now) < n_firsts)
	{
		find_old(sorted, n);
		for (int start = 0; start < batch->n; start = end)
		{
			end = pay_ledger_link_end(batch, start);
			if (end - start > 1)
				require_whole_link(&batch->postings[start], end - start);
		}
	}
	pfree(sorted);
	pfree(firsts);
}

/* Whose references these are. */
static const char *
space_of(const PayPosting *posting)
{
	return posting->own ? "" : posting->debit_account->merchant;
}

/* The postings whose references are to be taken, in byte order of these; returns how many. */
static int
sort_by_reference(PayPostingBatch *batch, PayPosting **sorted)
{
	int			count = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->postings[i].reference && batch->postings[i].invalid == 0)
			sorted[count++] = &batch->postings[i];
	qsort(sorted, count, sizeof(PayPosting *), compare_references);
	return count;
}

/*
 * Finds the first posting of each reference, and points the others to it; returns
 * how many first ones there are.  Linked postings need a reference each.
 */
static int
mark_repetitions(PayPosting **sorted, int n, PayPosting **firsts)
{
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		PayPosting *posting = sorted[i];
		PayPosting *first = count > 0 ? firsts[count - 1] : NULL;

		if (first == NULL || strcmp(first->reference, posting->reference) != 0 || strcmp(space_of(first), space_of(posting)) != 0)
		{
			firsts[count++] = posting;
			continue;
		}
		posting->first = first;
		if (posting->link != 0)
		{
			posting->invalid = PAY_ERR_POSTING_REUSED;
			posting->differs = "groups";
		}
	}
	return count;
}

/* Those of one reference in the order of the batch. */
static int
compare_references(const void *a, const void *b)
{
	const PayPosting *x = *(PayPosting *const *) a;
	const PayPosting *y = *(PayPosting *const *) b;
	int			order = strcmp(x->reference, y->reference);

	if (order == 0)
		order = strcmp(space_of(x), space_of(y));
	return order ? order : (x > y) - (x < y);
}

/* Marks those that are ours now; returns how many. */
static int
claim(PayPosting **chosen, int n, TimestampTz now)
{
	PayArgs		args = {0};
	const char **texts = palloc(sizeof(char *) * n);
	int64	   *ids = palloc(sizeof(int64) * n);
	int			claimed;
	int			row = 0;

	for (int i = 0; i < n; i++)
		texts[i] = space_of(chosen[i]);
	pay_arg_text_array(&args, texts, n);
	for (int i = 0; i < n; i++)
		texts[i] = chosen[i]->reference;
	pay_arg_text_array(&args, texts, n);
	for (int i = 0; i < n; i++)
		ids[i] = chosen[i]->new_id;
	pay_arg_int64_array(&args, ids, n);
	pay_arg_time(&args, now);

	claimed = (int) pay_spi_exec(&insert_references, &args);
	for (int i = 0; i < n && row < claimed; i++)
		if (pay_spi_int64(row, 1) == chosen[i]->new_id)
		{
			chosen[i]->claimed = true;
			row++;
		}
	if (row != claimed)
		elog(ERROR, "took %d references but recognized %d", claimed, row);
	pfree(texts);
	pfree(ids);
	return claimed;
}

/* ---------- those that were taken ---------- */

/* Reads what has the references that are not ours, and marks all postings that name them: repeated, refused before, or another. */
static void
find_old(PayPosting **chosen, int n)
{
	PayArgs		args = {0};
	PayPosting **asked = palloc(sizeof(PayPosting *) * n);
	const char **references = palloc(sizeof(char *) * n);
	const char **merchants = palloc(sizeof(char *) * n);
	TimestampTz first,
				last;
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		const PayPosting *first = chosen[i]->first ? chosen[i]->first : chosen[i];

		if (first->claimed || chosen[i]->invalid)
			continue;
		asked[count] = chosen[i];
		references[count] = chosen[i]->reference;
		merchants[count] = space_of(chosen[i]);
		count++;
	}
	pay_arg_text_array(&args, merchants, count);
	pay_arg_text_array(&args, references, count);
	if (pay_spi_exec(&find_times, &args) != 1 || pay_spi_isnull(0, 1))
		elog(ERROR, "references were neither taken nor found");
	first = pay_spi_time(0, 1);
	last = pay_spi_time(0, 2);
	pay_arg_time(&args, first);
	pay_arg_time(&args, last);
	if (pay_spi_exec(&find_references, &args) != (uint64) count)
		elog(ERROR, "references were neither taken nor found");
	for (int row = 0; row < count; row++)
	{
		PayPosting	old = {0};

		read_old(row, &old);
		mark_old(asked[pay_spi_int64(row, 1) - 1], &old);
	}
	pfree(asked);
	pfree(references);
	pfree(merchants);
}

static void
read_old(uint64 row, PayPosting *old)
{
	old->posting_id = pay_spi_int64(row, 2);
	if (pay_spi_isnull(row, 3))
		return;
	old->debit = pay_spi_int64(row, 3);
	old->credit = pay_spi_int64(row, 4);
	old->asked = pay_spi_int64(row, 5);
	old->amount = pay_spi_int64(row, 6);
	old->balancing = pay_spi_bool(row, 7);
	old->kind = pay_spi_text(row, 8);
	old->has_effective_at = !pay_spi_isnull(row, 9);
	old->effective_at = old->has_effective_at ? pay_spi_time(row, 9) : 0;
	old->imported = pay_spi_bool(row, 10);
	old->description = pay_spi_text(row, 11);
	old->transaction_id = pay_spi_int64(row, 12);
	old->link = old->transaction_id != 0;
	old->reverses = pay_spi_int64(row, 13);
	if (!pay_spi_isnull(row, 14))
	{
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		*id = pay_spi_uuid(row, 14);
		old->payment_id = id;
	}
	if (!pay_spi_isnull(row, 15))
	{
		const char *state = pay_spi_text(row, 15);

		old->error = MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
	}
}

static void
mark_old(PayPosting *posting, const PayPosting *old)
{
	/* Of what was retired only the id is left; that it was this posting is taken on trust. */
	if (old->debit != 0)
		posting->differs = pay_ledger_difference(posting, old);
	if (posting->differs)
		posting->invalid = PAY_ERR_POSTING_REUSED;
	else if (old->error)
	{
		posting->failed_before = true;
		posting->error = old->error;
	}
	else
	{
		posting->posted_before = true;
		posting->posting_id = old->posting_id;
		posting->amount = old->debit != 0 ? old->amount : posting->asked;
	}
	posting->transaction_id = old->transaction_id;
}

/*
 * Linked postings are repeated as a whole: none is new beside others that are
 * not.  A new one is remembered as refused by the link that it was added to, so
 * that its repetition has the same outcome.
 */
static void
require_whole_link(PayPosting *postings, int n)
{
	const PayPosting *old = NULL;

	for (int i = 0; i < n; i++)
		if (postings[i].posted_before || postings[i].failed_before)
			old = &postings[i];
	for (int i = 0; i < n && old; i++)
		if (postings[i].invalid == 0 && postings[i].transaction_id != old->transaction_id)
		{
			postings[i].invalid = PAY_ERR_POSTING_REUSED;
			postings[i].differs = "groups";
			postings[i].posted_before = false;
			postings[i].failed_before = false;
			postings[i].posting_id = 0;
			postings[i].transaction_id = old->transaction_id;
		}
}

/* ---------- comparing ---------- */

const char *
pay_ledger_difference(const PayPosting *posting, const PayPosting *other)
{
	const char *mine = posting->description ? posting->description : "";
	const char *theirs = other->description ? other->description : "";

	if (posting->reverses != other->reverses)
		return "reverses";
	if (posting->debit != other->debit)
		return "debit";
	if (posting->credit != other->credit)
		return "credit";
	if (posting->asked != other->asked)
		return "amount";
	if (posting->balancing != other->balancing)
		return "balancing";
	if (strcmp(posting->kind, other->kind) != 0)
		return "kind";
	if (posting->payment_id && other->payment_id)
	{
		/* Their description comes from the rule, which may have been reworded since. */
		return memcmp(posting->payment_id, other->payment_id, UUID_LEN) != 0 ? "payment_id" : NULL;
	}
	if (posting->has_effective_at != other->has_effective_at ||
		(posting->has_effective_at && posting->effective_at != other->effective_at))
		return "effective_at";
	if (posting->imported != other->imported)
		return "imported";
	if ((posting->link != 0) != (other->link != 0))
		return "groups";
	return strcmp(mine, theirs) != 0 ? "description" : NULL;
}

/* ---------- refused for good ---------- */

void
pay_ledger_insert_failures(const PayPostingBatch *batch)
{
	PayArgs		args = {0};
	const PayPosting **failed = palloc(sizeof(PayPosting *) * Max(batch->n, 1));
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->postings[i].claimed && batch->postings[i].error)
			failed[n++] = &batch->postings[i];

#define COLUMN(type_, add_, value_) \
	do { \
		type_	   *column = palloc(sizeof(type_) * n); \
		for (int i = 0; i < n; i++) \
			column[i] = failed[i]->value_; \
		add_(&args, column, n); \
		pfree(column); \
	} while (0)

	if (n > 0)
	{
		const char **errors = palloc(sizeof(char *) * n);
		TimestampTz *times = palloc(sizeof(TimestampTz) * n);
		bool	   *given = palloc(sizeof(bool) * n);

		for (int i = 0; i < n; i++)
		{
			errors[i] = pstrdup(unpack_sql_state(failed[i]->error));
			times[i] = failed[i]->effective_at;
			given[i] = failed[i]->has_effective_at;
		}
		COLUMN(int64, pay_arg_int64_array, new_id);
		COLUMN(const char *, pay_arg_text_array, debit_account->merchant);
		COLUMN(const char *, pay_arg_text_array, reference);
		COLUMN(int64, pay_arg_int64_array, debit);
		COLUMN(int64, pay_arg_int64_array, credit);
		COLUMN(int64, pay_arg_int64_array, asked);
		COLUMN(bool, pay_arg_bool_array, balancing);
		COLUMN(const char *, pay_arg_text_array, kind);
		pay_arg_given_time_array(&args, times, given, n);
		COLUMN(bool, pay_arg_bool_array, imported);
		COLUMN(const char *, pay_arg_text_array, description);
		COLUMN(int64, pay_arg_int64_array, transaction_id);
		pay_arg_text_array(&args, errors, n);
		pay_arg_time(&args, batch->now);
		pay_spi_exec(&insert_failures, &args);
		pfree(errors);
		pfree(times);
		pfree(given);
	}
#undef COLUMN
	pfree(failed);
}
