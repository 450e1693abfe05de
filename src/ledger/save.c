/*
 * src/ledger/save.c
 *		Writes a decided batch: postings, and the sums of their accounts.
 *
 * Postings go in by one INSERT, by debited account rather than by id, so that
 * one of the two large indexes is filled from left to right: a tenth of a
 * batch's time.
 *
 * Accounts have been locked and read already, so their new rows are known, and
 * so is where the old ones are: the lock keeps the tid valid.  They are updated
 * without a plan, as logical replication does it, by the executor's own
 * function: triggers fire, constraints are checked, indexes are kept.  An
 * UPDATE ... FROM unnest(...) took a quarter of a single posting's time, and
 * twice as long for each account of a large batch.
 */
#include "payments.h"

#include "ledger/save.h"
#include "core/spi.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Where the sums are in a row of account, from 0. */
typedef struct SumColumns
{
	int			debits;
	int			credits;
	int			held_debits;
	int			held_credits;
} SumColumns;

static int	compare_debits(const void *a, const void *b);
static bool alike(PayPosting **chosen, int n);
static bool same_text(const char *a, const char *b);
static void insert_alike(PayPosting **chosen, int n, TimestampTz now);
static void insert_mixed(PayPosting **chosen, int n, TimestampTz now);
static bool is_touched(const PayAccount *account);
static void add_to_ordinary(const PayPostingBatch *batch);
static void find_sum_columns(TupleDesc desc, SumColumns *columns);
static void copy_with_sums(TupleTableSlot *old, TupleTableSlot *new, const PayAccount *account, const SumColumns *columns);
static void add_to_hot(const PayPostingBatch *batch);
pg_noreturn static void raise_not_written(const char *table);

/* Postings that differ in accounts and amount only, or a single one. */
static PayStmt insert_few_columns = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.posting (posting_id, debit_account, credit_account, amount, effective_at, booked_at, transaction_id, reverses,"
	"                              asked, payment_id, imported, currency, kind, merchant, reference, description)"
	" OVERRIDING SYSTEM VALUE"
	" SELECT r.posting_id, r.debit, r.credit, r.amount, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16"
	" FROM unnest($1, $2, $3, $4) r(posting_id, debit, credit, amount)",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID,
	INT8OID, UUIDOID, BOOLOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);

static PayStmt insert_all_columns = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.posting (posting_id, debit_account, credit_account, amount, effective_at, booked_at, transaction_id, reverses,"
	"                              asked, payment_id, imported, currency, kind, merchant, reference, description)"
	" OVERRIDING SYSTEM VALUE"
	" SELECT r.posting_id, r.debit, r.credit, r.amount, coalesce(r.effective_at, $16), $16, nullif(r.transaction_id, 0), nullif(r.reverses, 0),"
	"        nullif(r.asked, 0), r.payment_id, r.imported, r.currency, r.kind, r.merchant, r.reference, r.description"
	" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
	"      r(posting_id, debit, credit, amount, effective_at, transaction_id, reverses, asked, payment_id, imported, currency, kind, merchant,"
	"        reference, description)",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	UUIDARRAYOID, BOOLARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

static PayStmt insert_deltas = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.account_delta (account_id, debits, credits)"
	" SELECT d.account_id, d.debits, d.credits FROM unnest($1, $2, $3) d(account_id, debits, credits)",
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);

/* An array argument from a field of each element of `chosen`. */
#define COLUMN(type_, add_, value_) \
	do { \
		type_	   *column_ = palloc(sizeof(type_) * n); \
		for (int i_ = 0; i_ < n; i_++) \
			column_[i_] = chosen[i_]->value_; \
		add_(&args, column_, n); \
		pfree(column_); \
	} while (0)

/* ---------- postings ---------- */

void
pay_ledger_insert_postings(PayPostingBatch *batch)
{
	PayPosting **chosen = palloc(sizeof(PayPosting *) * Max(batch->n, 1));
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
	{
		PayPosting *posting = &batch->postings[i];

		if (posting->error == 0 && !posting->posted_before && posting->same_as == NULL)
			chosen[n++] = posting;
	}
	qsort(chosen, n, sizeof(PayPosting *), compare_debits);
	if (n > 0 && alike(chosen, n))
		insert_alike(chosen, n, batch->now);
	else if (n > 0)
		insert_mixed(chosen, n, batch->now);
	pfree(chosen);
}

static int
compare_debits(const void *a, const void *b)
{
	const PayPosting *x = *(PayPosting *const *) a;
	const PayPosting *y = *(PayPosting *const *) b;

	if (x->debit != y->debit)
		return x->debit < y->debit ? -1 : 1;
	return (x > y) - (x < y);
}

/* Do they differ in accounts and amount only?  One always does. */
static bool
alike(PayPosting **chosen, int n)
{
	const PayPosting *first = chosen[0];

	for (int i = 0; i < n && n > 1; i++)
	{
		const PayPosting *posting = chosen[i];

		if (posting->reverses || posting->reference || posting->payment_id || posting->balancing || posting->has_effective_at)
			return false;
		if (posting->transaction_id != first->transaction_id || posting->imported != first->imported ||
			!same_text(posting->kind, first->kind) || !same_text(posting->description, first->description) ||
			!same_text(posting->debit_account->currency, first->debit_account->currency) ||
			!same_text(posting->debit_account->merchant, first->debit_account->merchant))
			return false;
	}
	return true;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static void
insert_alike(PayPosting **chosen, int n, TimestampTz now)
{
	PayArgs		args = {0};
	const PayPosting *first = chosen[0];

	COLUMN(int64, pay_arg_int64_array, new_id);
	COLUMN(int64, pay_arg_int64_array, debit);
	COLUMN(int64, pay_arg_int64_array, credit);
	COLUMN(int64, pay_arg_int64_array, amount);
	pay_arg_time(&args, first->has_effective_at ? first->effective_at : now);
	pay_arg_time(&args, now);
	pay_arg_datum(&args, Int64GetDatum(first->transaction_id), first->transaction_id == 0);
	pay_arg_datum(&args, Int64GetDatum(first->reverses), first->reverses == 0);
	pay_arg_datum(&args, Int64GetDatum(first->asked), !first->balancing);
	pay_arg_uuid(&args, first->payment_id);
	pay_arg_bool(&args, first->imported);
	pay_arg_text(&args, first->debit_account->currency);
	pay_arg_text(&args, first->kind);
	pay_arg_text(&args, first->debit_account->merchant);
	pay_arg_text(&args, first->reference);
	pay_arg_text(&args, first->description);
	if (pay_spi_exec(&insert_few_columns, &args) != (uint64) n)
		raise_not_written("posting");
}

static void
insert_mixed(PayPosting **chosen, int n, TimestampTz now)
{
	PayArgs		args = {0};
	int64	   *asked = palloc(sizeof(int64) * n);
	TimestampTz *times = palloc(sizeof(TimestampTz) * n);
	bool	   *given = palloc(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
	{
		asked[i] = chosen[i]->balancing ? chosen[i]->asked : 0;
		times[i] = chosen[i]->effective_at;
		given[i] = chosen[i]->has_effective_at;
	}
	COLUMN(int64, pay_arg_int64_array, new_id);
	COLUMN(int64, pay_arg_int64_array, debit);
	COLUMN(int64, pay_arg_int64_array, credit);
	COLUMN(int64, pay_arg_int64_array, amount);
	pay_arg_given_time_array(&args, times, given, n);
	COLUMN(int64, pay_arg_int64_array, transaction_id);
	COLUMN(int64, pay_arg_int64_array, reverses);
	pay_arg_int64_array(&args, asked, n);
	COLUMN(const pg_uuid_t *, pay_arg_uuid_array, payment_id);
	COLUMN(bool, pay_arg_bool_array, imported);
	COLUMN(const char *, pay_arg_text_array, debit_account->currency);
	COLUMN(const char *, pay_arg_text_array, kind);
	COLUMN(const char *, pay_arg_text_array, debit_account->merchant);
	COLUMN(const char *, pay_arg_text_array, reference);
	COLUMN(const char *, pay_arg_text_array, description);
	pay_arg_time(&args, now);
	if (pay_spi_exec(&insert_all_columns, &args) != (uint64) n)
		raise_not_written("posting");
	pfree(asked);
	pfree(times);
	pfree(given);
}

/* ---------- accounts ---------- */

void
pay_ledger_add_to_accounts(const PayPostingBatch *batch)
{
	for (int i = 0; i < batch->n_accounts; i++)
		if (is_touched(&batch->accounts[i]) && !batch->accounts[i].hot)
		{
			add_to_ordinary(batch);
			break;
		}
	add_to_hot(batch);
}

static bool
is_touched(const PayAccount *account)
{
	return account->new_debits != 0 || account->new_credits != 0 || account->new_held_debits != 0 || account->new_held_credits != 0;
}

/* In place. */
static void
add_to_ordinary(const PayPostingBatch *batch)
{
	Relation	relation = table_open(get_relname_relid("account", pay_schema_oid()), RowExclusiveLock);
	EState	   *estate = CreateExecutorState();
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ResultRelInfo *result = makeNode(ResultRelInfo);
	EPQState	epq;
	TupleTableSlot *old;
	TupleTableSlot *new;
	SumColumns	columns;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(relation);
	rte->relkind = relation->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	PayInitRangeTable(estate, rte);
	InitResultRelInfo(result, relation, 1, NULL, 0);
	estate->es_output_cid = GetCurrentCommandId(true);
	ExecOpenIndices(result, false);
	PayEvalPlanQualInit(&epq, estate);
	AfterTriggerBeginQuery();
	old = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation), table_slot_callbacks(relation));
	new = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation), &TTSOpsVirtual);
	find_sum_columns(RelationGetDescr(relation), &columns);

	for (int i = 0; i < batch->n_accounts; i++)
	{
		const PayAccount *account = &batch->accounts[i];
		ItemPointerData tid = account->tid;

		if (account->hot || !is_touched(account))
			continue;
		if (!table_tuple_fetch_row_version(relation, &tid, SnapshotAny, old))
			elog(ERROR, "account " INT64_FORMAT " is not where it was locked", account->account_id);
		copy_with_sums(old, new, account, &columns);
		ExecSimpleRelationUpdate(result, estate, &epq, old, new);
		/* A trigger that returns null skips the row, and nothing else says so. */
		if (!ItemPointerIsValid(&new->tts_tid))
			raise_not_written("account");
		ResetPerTupleExprContext(estate);
	}

	AfterTriggerEndQuery(estate);
	EvalPlanQualEnd(&epq);
	ExecCloseIndices(result);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	table_close(relation, NoLock);
	CommandCounterIncrement();
}

static void
find_sum_columns(TupleDesc desc, SumColumns *columns)
{
	columns->debits = SPI_fnumber(desc, "debits") - 1;
	columns->credits = SPI_fnumber(desc, "credits") - 1;
	columns->held_debits = SPI_fnumber(desc, "held_debits") - 1;
	columns->held_credits = SPI_fnumber(desc, "held_credits") - 1;
	if (Min(Min(columns->debits, columns->credits), Min(columns->held_debits, columns->held_credits)) < 0)
		elog(ERROR, "payments.account has lost a column");
}

/* What is held and what is posted changes at once: limits look at both. */
static void
copy_with_sums(TupleTableSlot *old, TupleTableSlot *new, const PayAccount *account, const SumColumns *columns)
{
	int			n = old->tts_tupleDescriptor->natts;

	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(new->tts_values, old->tts_values, sizeof(Datum) * n);
	memcpy(new->tts_isnull, old->tts_isnull, sizeof(bool) * n);
	new->tts_values[columns->debits] = Int64GetDatum(account->debits + account->new_debits);
	new->tts_values[columns->credits] = Int64GetDatum(account->credits + account->new_credits);
	new->tts_values[columns->held_debits] = Int64GetDatum(account->held_debits + account->new_held_debits);
	new->tts_values[columns->held_credits] = Int64GetDatum(account->held_credits + account->new_held_credits);
	ExecStoreVirtualTuple(new);
}

/* As deltas. */
static void
add_to_hot(const PayPostingBatch *batch)
{
	PayArgs		args = {0};
	const PayAccount **chosen = palloc(sizeof(PayAccount *) * Max(batch->n_accounts, 1));
	int			n = 0;

	for (int i = 0; i < batch->n_accounts; i++)
		if (batch->accounts[i].hot && batch->accounts[i].n_parts == 0 && is_touched(&batch->accounts[i]))
			chosen[n++] = &batch->accounts[i];
	if (n > 0)
	{
		COLUMN(int64, pay_arg_int64_array, account_id);
		COLUMN(int64, pay_arg_int64_array, new_debits);
		COLUMN(int64, pay_arg_int64_array, new_credits);
		if (pay_spi_exec(&insert_deltas, &args) != (uint64) n)
			raise_not_written("account_delta");
	}
	pfree(chosen);
}

static void
raise_not_written(const char *table)
{
	ereport(ERROR,
			(errcode(PAY_ERR_INTERNAL),
			 errmsg("not every row of table \"payments.%s\" was written", table),
			 errhint("A trigger that returns null can cause this; remove it.")));
}
