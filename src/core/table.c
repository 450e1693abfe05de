/*
 * src/core/table.c
 *		The tables that setup() makes, and what holds for their rows.
 *
 * Sorted by name: it is searched for every row that guard_facts() sees, and
 * blocks seal their tables in this order.
 */
#include "payments.h"

#include "core/table.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

static const PayTable tables[] = {
	{.name = "account", .rows = PAY_ROWS_NO_TRUNCATE, .own_guard = "guard_account",
		.projection = {"hot", "parts", "closed_at", "debits", "credits", "held_debits", "held_credits"},
		.seal_key = {{"account_id", "bigint"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "account_delta", .rows = PAY_ROWS_CONSUMED},
	/* Not sealed: it follows from the postings. */
	{.name = "account_history", .rows = PAY_ROWS_APPEND_ONLY,
		.app_reads = true, .merchant_by = "account_id", .merchant_in = "account"},
	/* Not sealed: it follows from the account and its postings. */
	{.name = "account_part", .rows = PAY_ROWS_NO_TRUNCATE, .own_guard = "guard_account",
		.projection = {"debits", "credits", "moved"}},
	{.name = "adapter", .rows = PAY_ROWS_FREE},
	{.name = "attempt", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"operation_id", "uuid"}, {"attempt", "int"}}},
	{.name = "attempt_answer", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"operation_id", "uuid"}, {"attempt", "int"}, {"late", "boolean"}}},
	{.name = "bank_entry", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"batch_id", "bigint"}, {"statement_no", "int"}, {"entry_no", "int"}, {"detail_no", "int"}}},
	{.name = "bank_match", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"bank_match_id", "bigint"}}},
	{.name = "bank_statement", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"batch_id", "bigint"}, {"statement_no", "int"}}},
	{.name = "dead_letter", .rows = PAY_ROWS_FACTS,
		.projection = {"decision", "decided_at", "decided_by", "decision_reason"},
		.seal_key = {{"dead_letter_id", "uuid"}}},
	{.name = "discrepancy_found", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"discrepancy_id", "bigint"}}},
	{.name = "discrepancy_resolution", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"discrepancy_id", "bigint"}, {"seq", "int"}}},
	{.name = "dispute_stage", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"psp", "text"}, {"object_id", "text"}, {"seq", "int"}},
		.app_reads = true, .merchant_by = "payment_id", .merchant_in = "payment"},
	{.name = "event", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"id", "uuid"}}, .partition_key = {"id", "uuid"}, .merchant_by = "merchant"},
	{.name = "exception", .rows = PAY_ROWS_FACTS, .projection = {"resolved_at", "resolved_by", "resolution"},
		.seal_key = {{"exception_id", "uuid"}}},
	{.name = "feed_entry", .rows = PAY_ROWS_FREE},
	{.name = "idempotency_key", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"merchant", "text"}, {"key", "text"}}, .merchant_by = "merchant"},
	{.name = "installation", .rows = PAY_ROWS_FREE, .own_guard = "guard_installation", .projection = {"schema_version", "worker_enabled"}},
	/* Not sealed: what proves a row shows it. */
	{.name = "installation_salt", .rows = PAY_ROWS_NO_TRUNCATE, .own_guard = "guard_salt"},
	{.name = "issued_statement", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"statement_id", "bigint"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "job_finding", .rows = PAY_ROWS_FREE},
	{.name = "job_run", .rows = PAY_ROWS_FREE},
	{.name = "job_state", .rows = PAY_ROWS_FREE},
	{.name = "ledger_hold", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"hold_id", "bigint"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "ledger_hold_due", .rows = PAY_ROWS_CONSUMED},
	{.name = "ledger_hold_resolution", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"hold_id", "bigint"}, {"seq", "int"}},
		.app_reads = true, .merchant_by = "hold_id", .merchant_in = "ledger_hold"},
	{.name = "merchant", .rows = PAY_ROWS_FACTS, .projection = {"app_role", "psp", "closed_until"},
		.seal_key = {{"merchant", "text"}}},
	{.name = "movement", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"psp", "text"}, {"object_id", "text"}, {"kind", "text"}},
		.app_reads = true, .merchant_by = "payment_id", .merchant_in = "payment"},
	{.name = "operation", .rows = PAY_ROWS_FACTS,
		.projection = {"psp", "status", "generation", "step", "attempts", "key_used_at", "psp_object_id", "failure_code", "failure_message", "completed_at",
			"source"},
		.words = {
			{"kind", {"charge", "authorize", "capture", "void", "refund", "payout", "expire"}},
			{"status", {"initiated", "processing", "requires_action", "awaiting_retry", "in_doubt", "succeeded", "failed", "cancelled"}}},
		.seal_key = {{"operation_id", "uuid"}}, .app_reads = true, .merchant_by = "payment_id", .merchant_in = "payment"},
	{.name = "partition_retired", .rows = PAY_ROWS_APPEND_ONLY, .own_guard = "guard_retired",
		.seal_key = {{"table_name", "text"}, {"from_time", "timestamptz"}}},
	{.name = "payment", .rows = PAY_ROWS_FACTS,
		.projection = {"psp", "status", "seq", "status_hash", "updated_at", "authorized", "capture_pending", "captured", "refund_pending", "refunded",
			"disputed", "released", "capture_before", "psp_payment_id", "next_action_url", "failure_code", "failure_message"},
		.words = {
			{"kind", {"purchase", "topup", "withdrawal", "transfer"}},
			{"capture", {"automatic", "manual"}},
			{"status", {"initiated", "processing", "requires_action", "authorized", "awaiting_retry", "in_doubt", "succeeded", "failed",
				"cancelled", "expired", "partially_refunded", "refunded", "disputed"}}},
		.seal_key = {{"payment_id", "uuid"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "payment_retired", .rows = PAY_ROWS_APPEND_ONLY, .own_guard = "guard_retired", .seal_key = {{"payment_id", "uuid"}}},
	{.name = "payment_status", .rows = PAY_ROWS_APPEND_ONLY, .own_guard = "guard_status",
		.seal_key = {{"payment_id", "uuid"}, {"seq", "int"}}, .partition_key = {"payment_id", "uuid"},
		.app_reads = true, .merchant_by = "payment_id", .merchant_in = "payment"},
	{.name = "period_balance", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"merchant", "text"}, {"number", "int"}, {"account_id", "bigint"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "period_close", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"merchant", "text"}, {"number", "int"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "posting", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"posting_id", "bigint"}}, .partition_key = {"booked_at", "timestamptz"}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "posting_failure", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"posting_id", "bigint"}}, .app_reads = true, .merchant_by = "merchant"},
	{.name = "posting_reference", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"merchant", "text"}, {"reference", "text"}}, .merchant_by = "merchant"},
	{.name = "posting_retired", .rows = PAY_ROWS_APPEND_ONLY, .own_guard = "guard_retired",
		.seal_key = {{"account_id", "bigint"}, {"from_time", "timestamptz"}}},
	{.name = "posting_reversal", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"posting_id", "bigint"}}},
	{.name = "psp", .rows = PAY_ROWS_FREE, .own_guard = "guard_psp", .app_reads = true},
	{.name = "psp_event", .rows = PAY_ROWS_FACTS,
		.projection = {"outcome", "payment_id", "psp_payment_id", "effect", "object_id", "amount", "currency", "code",
			"status_before", "status_after", "times", "last_received_at"},
		.seal_key = {{"psp", "text"}, {"event_id", "text"}}},
	{.name = "psp_feed", .rows = PAY_ROWS_FREE},
	{.name = "psp_health", .rows = PAY_ROWS_FREE},
	{.name = "psp_pause", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"psp", "text"}, {"seq", "int"}}},
	{.name = "queue", .rows = PAY_ROWS_NO_TRUNCATE},
	{.name = "reattempt", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"operation_id", "uuid"}, {"generation", "int"}, {"event", "text"}}},
	{.name = "reattempt_card", .rows = PAY_ROWS_NO_TRUNCATE},
	{.name = "reconciliation_run", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"run_id", "bigint"}}},
	{.name = "route_decision", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"payment_id", "uuid"}, {"generation", "int"}},
		.app_reads = true, .merchant_by = "payment_id", .merchant_in = "payment"},
	{.name = "route_outcome", .rows = PAY_ROWS_FREE},
	{.name = "route_rule", .rows = PAY_ROWS_FREE},
	/* The seals themselves are chained. */
	{.name = "seal", .rows = PAY_ROWS_APPEND_ONLY, .app_reads = true},
	{.name = "seal_epoch", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"epoch", "int"}, {"since", "xid8"}}},
	{.name = "seal_leaf", .rows = PAY_ROWS_APPEND_ONLY},
	{.name = "seal_table", .rows = PAY_ROWS_APPEND_ONLY},
	{.name = "settlement_batch", .rows = PAY_ROWS_APPEND_ONLY, .seal_key = {{"batch_id", "bigint"}}},
	{.name = "settlement_line", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"batch_id", "bigint"}, {"line_no", "int"}}},
	{.name = "settlement_posting", .rows = PAY_ROWS_APPEND_ONLY,
		.seal_key = {{"batch_id", "bigint"}, {"merchant", "text"}, {"event", "text"}, {"currency", "text"}}},
	{.name = "settlement_progress", .rows = PAY_ROWS_FREE},
	{.name = "settlement_source", .rows = PAY_ROWS_FREE},
	{.name = "settlement_staging", .rows = PAY_ROWS_FREE},
	{.name = "statement_counter", .rows = PAY_ROWS_NO_TRUNCATE, .own_guard = "guard_delete"},
	{.name = "statement_party", .rows = PAY_ROWS_FREE},
	{.name = "vat_rule", .rows = PAY_ROWS_FREE},
};

static int	compare_name(const void *name, const void *table);
static Datum text_or_null(const char *text, bool *isnull);
static Datum seal_key_names(const PayTable *table, bool *isnull);
static Datum guard_names(const PayTable *table);

PAY_FUNCTION(pay_tables);

int
pay_table_count(void)
{
	return lengthof(tables);
}

const PayTable *
pay_table(int i)
{
	Assert(i >= 0 && i < (int) lengthof(tables));
	return &tables[i];
}

const PayTable *
pay_table_find(const char *name)
{
	return bsearch(name, tables, lengthof(tables), sizeof(PayTable), compare_name);
}

static int
compare_name(const void *name, const void *table)
{
	return strcmp(name, ((const PayTable *) table)->name);
}

bool
pay_table_guarded(const PayTable *table)
{
	return table->rows != PAY_ROWS_FREE || table->own_guard != NULL;
}

bool
pay_table_in_projection(const PayTable *table, const char *column)
{
	for (int i = 0; table && i < PAY_TABLE_PROJECTION_MAX && table->projection[i]; i++)
		if (strcmp(table->projection[i], column) == 0)
			return true;
	return false;
}

bool
pay_table_sealed(const PayTable *table)
{
	return table->seal_key[0].name != NULL;
}

/* _tables() */
Datum
pay_tables(PG_FUNCTION_ARGS)
{
	static const char *const rows[] = {
		[PAY_ROWS_FREE] = "free", [PAY_ROWS_NO_TRUNCATE] = "no_truncate", [PAY_ROWS_CONSUMED] = "consumed",
		[PAY_ROWS_FACTS] = "facts", [PAY_ROWS_APPEND_ONLY] = "append_only",
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		const PayTable *table = &tables[i];
		Datum		values[9];
		bool		nulls[9] = {false};

		values[0] = CStringGetTextDatum(table->name);
		values[1] = CStringGetTextDatum(rows[table->rows]);
		values[2] = guard_names(table);
		values[3] = seal_key_names(table, &nulls[3]);
		values[4] = text_or_null(table->partition_key.name, &nulls[4]);
		values[5] = text_or_null(table->partition_key.type, &nulls[5]);
		values[6] = BoolGetDatum(table->app_reads);
		values[7] = text_or_null(table->merchant_by, &nulls[7]);
		values[8] = text_or_null(table->merchant_in, &nulls[8]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

static Datum
seal_key_names(const PayTable *table, bool *isnull)
{
	Datum		names[PAY_TABLE_KEY_MAX];
	int			n = 0;

	while (n < PAY_TABLE_KEY_MAX && table->seal_key[n].name)
	{
		names[n] = CStringGetTextDatum(table->seal_key[n].name);
		n++;
	}
	*isnull = n == 0;
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The triggers that must be there, ENABLE ALWAYS. */
static Datum
guard_names(const PayTable *table)
{
	Datum		names[3];
	int			n = 0;

	if (table->rows == PAY_ROWS_CONSUMED || table->rows == PAY_ROWS_APPEND_ONLY)
		names[n++] = CStringGetTextDatum("guard_append_only");
	if (table->rows == PAY_ROWS_FACTS)
		names[n++] = CStringGetTextDatum("guard_facts");
	/* What is asked of each row is not asked of all at once. */
	if (pay_table_guarded(table))
		names[n++] = CStringGetTextDatum("guard_truncate");
	if (table->own_guard)
		names[n++] = CStringGetTextDatum(table->own_guard);
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}
