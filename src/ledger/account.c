/*
 * src/ledger/account.c
 *		What an account is: opening one, and what may change of it.
 *
 * Accounts are never deleted, and who and what one is stays as it was opened,
 * its limits too.  What changes: its sums, what is held on it, that it is
 * closed, and whether it is hot.
 *
 * Hot or not, and in how many parts, is how an account works, not what it is, so
 * set_account_hot() may change it while it is in use, and create_account() does
 * not compare it.  The guard asks only that there be no history, nothing held,
 * and no limits but in parts: what postings need the row's lock for.  For an
 * account without limits that suffices, whoever makes the change and without any
 * other lock: a balance is the row and its deltas at any time (ledger/batch.c),
 * so what is in the wrong place for a moment is still there.
 *
 * Whose.  Accounts with the code of an account_template are the system's: from
 * one the movements of payments find theirs.  create_account() opens such an
 * account, too, but only as its template has it.  Which it is, is a fact of the
 * row (from_template), and part of the key.
 *
 * Parents.  An account may stand below another of the same merchant, currency
 * and type, for totals; postings know nothing of it.  A parent exists before
 * its child and never changes, so a parent's id is the lower one: there are no
 * cycles, and whoever walks down may rely on ids that grow.  The type is the
 * same, since a total of what one owns and what one owes says nothing.  In
 * place of a foreign key, whose triggers every posting would run past,
 * create_account() looks and check() proves it.
 *
 * Opening the same account twice at once: the second waits for the first and
 * returns its id.  No locks but that one; nothing is left behind by a crash.
 */
#include "payments.h"

#include "core/arguments.h"
#include "core/caller.h"
#include "core/line.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "core/table.h"
#include "ledger/part.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

#define CODE_MAX 200

/* Parameters of create_account(), in order. */
enum {CODE, CURRENCY, TYPE, MERCHANT, HOT, MIN_BALANCE, MAX_BALANCE, PARENT, HISTORY, PARTS};

static void require_type(const char *type);
static void require_limits(FunctionCallInfo fcinfo);
static void require_currency(const char *currency);
static void require_parent(int64 parent, const char *merchant, const char *currency, const char *type);
static bool find_in_templates(FunctionCallInfo fcinfo, const char *code, bool *hot);
static int64 insert_or_find(FunctionCallInfo fcinfo, const char *merchant, const char *code, const char *currency);

static void require_sound(Relation relation, HeapTuple row);
static bool is_among(const char *name, const char *const *names);
static bool works_unlocked(Relation relation, HeapTuple row);

PAY_FUNCTION(pay_create_account);
PAY_FUNCTION(pay_require_account);
PAY_FUNCTION(pay_guard_account);

static PayStmt find_currency = PAY_STMT(SPI_OK_SELECT,
	"SELECT FROM payments.currency WHERE currency = $1", TEXTOID);

static PayStmt insert_account = PAY_STMT(SPI_OK_INSERT_RETURNING,
	"INSERT INTO payments.account (merchant, code, currency, type, min_balance, max_balance, parent, history, from_template, hot, parts)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT ON CONSTRAINT account_once DO NOTHING RETURNING account_id",
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, BOOLOID, BOOLOID, BOOLOID, INT4OID);

static PayStmt split_account = PAY_STMT(SPI_OK_SELECT, "SELECT payments._split_account($1)", INT8OID);

/* The first field of what an account is that differs, in the order of create_account()'s parameters. */
static PayStmt compare_account = PAY_STMT(SPI_OK_SELECT,
	"SELECT account_id, CASE WHEN type <> $4 THEN 'type'"
	" WHEN min_balance IS DISTINCT FROM $5 THEN 'min_balance' WHEN max_balance IS DISTINCT FROM $6 THEN 'max_balance'"
	" WHEN parent IS DISTINCT FROM $7 THEN 'parent' WHEN history <> $8 THEN 'history' END"
	" FROM payments.account WHERE merchant = $1 AND code = $2 AND currency = $3 AND from_template = $9",
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, BOOLOID, BOOLOID);

/* The template of a code, and the first field in which an account of it would differ; whether it is hot it says itself. */
static PayStmt compare_template = PAY_STMT(SPI_OK_SELECT,
	"SELECT t.hot, CASE WHEN t.type <> $2 THEN 'type' WHEN t.min_balance IS DISTINCT FROM $3 THEN 'min_balance'"
	" WHEN t.max_balance IS DISTINCT FROM $4 THEN 'max_balance' WHEN $5 IS NOT NULL THEN 'parent' WHEN $6 THEN 'history'"
	" WHEN $7 IS NOT NULL THEN 'parts' END FROM payments._template_of($1) t",
	TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, BOOLOID, INT4OID);

/* The first field in which a parent differs from what its child is to be. */
static PayStmt compare_parent = PAY_STMT(SPI_OK_SELECT,
	"SELECT CASE WHEN currency <> $3 THEN 'currency' WHEN type <> $4 THEN 'type' END"
	" FROM payments.account WHERE account_id = $1 AND merchant = $2",
	INT8OID, TEXTOID, TEXTOID, TEXTOID);

static PayStmt find_account_merchant = PAY_STMT(SPI_OK_SELECT,
	"SELECT merchant FROM payments.account WHERE account_id = $1", INT8OID);

/* ---------- opening ---------- */

PAY_VERB(pay_create_account)
{
	static const char *const names[] = {"code", "currency", "type", "merchant", "hot"};
	char	   *code,
			   *currency,
			   *type,
			   *merchant;
	int64		account_id;

	pay_refuse_card_arguments(fcinfo);
	for (int i = 0; i < (int) lengthof(names); i++)
		pay_require_given(fcinfo, i, names[i]);
	pay_require_given(fcinfo, HISTORY, "history");
	code = pay_text_argument(fcinfo, CODE);
	currency = pay_text_argument(fcinfo, CURRENCY);
	type = pay_text_argument(fcinfo, TYPE);
	merchant = pay_text_argument(fcinfo, MERCHANT);

	pay_require_length(code, CODE_MAX, "code");
	pay_require_line(code, "code");
	require_type(type);
	require_limits(fcinfo);

	pay_spi_begin();
	pay_require_merchant(merchant);
	require_currency(currency);
	if (!PG_ARGISNULL(PARENT))
		require_parent(PG_GETARG_INT64(PARENT), merchant, currency, type);
	account_id = insert_or_find(fcinfo, merchant, code, currency);
	pay_spi_end();
	PG_RETURN_INT64(account_id);
}

static void
require_type(const char *type)
{
	static const char *const types[] = {"asset", "liability", "income", "expense", "equity"};

	for (int i = 0; i < (int) lengthof(types); i++)
		if (strcmp(types[i], type) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("account type \"%s\" does not exist", type),
			 errhint("Use asset, liability, income, expense or equity.")));
}

/* Refuses limits that an empty account would break, or that contradict each other or the account. */
static void
require_limits(FunctionCallInfo fcinfo)
{
	bool		has_minimum = !PG_ARGISNULL(MIN_BALANCE);
	bool		has_maximum = !PG_ARGISNULL(MAX_BALANCE);

	if (PG_ARGISNULL(PARTS) && PG_GETARG_BOOL(HOT) && (has_minimum || has_maximum))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hot account in one piece cannot have limits"),
				 errdetail("Checking a limit needs a lock, and parts have one each."),
				 errhint("Pass parts => 8, or leave out min_balance and max_balance, or hot.")));
	if (!PG_ARGISNULL(PARTS) && (!PG_GETARG_BOOL(HOT) || !(has_minimum || has_maximum)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only a hot account with limits has parts"),
				 errhint("Leave out parts, or pass hot => true and a limit.")));
	if (!PG_ARGISNULL(PARTS) && (PG_GETARG_INT32(PARTS) < PAY_PARTS_MIN || PG_GETARG_INT32(PARTS) > PAY_PARTS_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parts must be %d to %d", PAY_PARTS_MIN, PAY_PARTS_MAX),
				 errhint("As many as post to it at once on a busy day; 8 is a good start.")));
	if (PG_GETARG_BOOL(HOT) && PG_GETARG_BOOL(HISTORY))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hot account cannot keep a history"),
				 errdetail("Its postings have no order until they are folded."),
				 errhint("Leave out history, or leave out hot.")));
	if (has_minimum && PG_GETARG_INT64(MIN_BALANCE) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("min_balance must not be above zero"),
				 errhint("An account opens empty: use 0 for one that is never overdrawn, less for a credit line.")));
	if (has_maximum && PG_GETARG_INT64(MAX_BALANCE) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_balance must not be below zero"),
				 errhint("An account opens empty: use 0 or more.")));
}

static void
require_currency(const char *currency)
{
	PayArgs		args = {0};

	pay_arg_text(&args, currency);
	if (pay_spi_exec(&find_currency, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_CURRENCY_UNKNOWN),
				 errmsg("currency \"%s\" does not exist", currency),
				 errhint("Use an upper-case ISO 4217 code, or add a row with builtin = false to payments.currency.")));
}

/* Another merchant's account is as good as none: the caller may not be told of it. */
static void
require_parent(int64 parent, const char *merchant, const char *currency, const char *type)
{
	PayArgs		args = {0};

	pay_arg_int64(&args, parent);
	pay_arg_text(&args, merchant);
	pay_arg_text(&args, currency);
	pay_arg_text(&args, type);
	if (pay_spi_exec(&compare_parent, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_ACCOUNT_NOT_FOUND),
				 errmsg("merchant \"%s\" has no account " INT64_FORMAT " to be a parent", merchant, parent),
				 errhint("Open the parent first and pass the id that payments.create_account() returned.")));
	if (!pay_spi_isnull(0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account " INT64_FORMAT " cannot be the parent: it has another %s", parent, pay_spi_text(0, 1)),
				 errdetail("A total is of one currency and one type of accounts."),
				 errhint("Name a parent of the same currency and type, or none.")));
}

/* Is it the code of a template, and the account what that says?  Raises when it is another. */
static bool
find_in_templates(FunctionCallInfo fcinfo, const char *code, bool *hot)
{
	PayArgs		args = {0};

	pay_arg_text(&args, code);
	pay_arg_datum(&args, PG_GETARG_DATUM(TYPE), false);
	for (int i = MIN_BALANCE; i <= HISTORY; i++)
		pay_arg_datum(&args, PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	pay_arg_datum(&args, PG_GETARG_DATUM(PARTS), PG_ARGISNULL(PARTS));
	if (pay_spi_exec(&compare_template, &args) == 0)
		return false;
	*hot = pay_spi_bool(0, 1);
	if (!pay_spi_isnull(0, 2))
		ereport(ERROR,
				(errcode(PAY_ERR_EXISTS_DIFFERENT),
				 errmsg("account \"%s\" is opened from a template with another \"%s\"", code, pay_spi_text(0, 2)),
				 errdetail("Movements of payments post to it."),
				 errhint("Use another code, or leave it to payments.account_template, where a row of yours (builtin = false) may change what it is.")));
	return true;
}

/* The id of a new account, or of the same one that is there; raises when that differs. */
static int64
insert_or_find(FunctionCallInfo fcinfo, const char *merchant, const char *code, const char *currency)
{
	PayArgs		args = {0};
	PayArgs		how;
	bool		hot = PG_GETARG_BOOL(HOT);
	bool		from_template = find_in_templates(fcinfo, code, &hot);

	pay_arg_text(&args, merchant);
	pay_arg_text(&args, code);
	pay_arg_text(&args, currency);
	pay_arg_datum(&args, PG_GETARG_DATUM(TYPE), false);
	for (int i = MIN_BALANCE; i <= HISTORY; i++)
		pay_arg_datum(&args, PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	pay_arg_bool(&args, from_template);
	how = args;
	pay_arg_bool(&how, hot);
	pay_arg_datum(&how, PG_GETARG_DATUM(PARTS), PG_ARGISNULL(PARTS));
	if (pay_spi_exec(&insert_account, &how) == 1)
	{
		int64		account_id = pay_spi_int64(0, 1);
		PayArgs		split = {0};

		pay_arg_int64(&split, account_id);
		if (!PG_ARGISNULL(PARTS))
			pay_spi_exec(&split_account, &split);
		return account_id;
	}

	if (pay_spi_exec(&compare_account, &args) != 1)
		elog(ERROR, "account \"%s\" was neither inserted nor found", code);
	if (!pay_spi_isnull(0, 2))
		ereport(ERROR,
				(errcode(PAY_ERR_EXISTS_DIFFERENT),
				 errmsg("account \"%s\" in %s exists with another \"%s\"", code, currency, pay_spi_text(0, 2)),
				 errhint("An account does not change; repeat its definition, or use another code.")));
	return pay_spi_int64(0, 1);
}

/* ---------- what holds for every account ---------- */

/* _require_account(): for verbs written in SQL. */
Datum
pay_require_account(PG_FUNCTION_ARGS)
{
	PayArgs		args = {0};
	int64		account_id;

	pay_require_given(fcinfo, 0, "account");
	account_id = PG_GETARG_INT64(0);
	pay_spi_begin();
	pay_arg_int64(&args, account_id);
	if (pay_spi_exec(&find_account_merchant, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_ACCOUNT_NOT_FOUND),
				 errmsg("account " INT64_FORMAT " does not exist", account_id),
				 errhint("payments.account lists them; payments.create_account() makes one, or returns its id.")));
	pay_require_merchant(pay_spi_text(0, 1));
	pay_spi_end();
	PG_RETURN_VOID();
}

/*
 * guard_account(): BEFORE UPDATE or DELETE on account, BEFORE UPDATE on
 * account_part.  Balances change; who and what an account is does not.
 */
Datum
pay_guard_account(PG_FUNCTION_ARGS)
{
	static const char *const sums[] = {"debits", "credits", NULL};
	static const char *const layout[] = {"hot", "parts", NULL};
	TriggerData *trigger = pay_require_row_trigger(fcinfo, true);
	const PayTable *table;
	TupleDesc	desc;
	Datum	   *old_values,
			   *new_values;
	bool	   *old_nulls,
			   *new_nulls;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		require_sound(trigger->tg_relation, trigger->tg_trigtuple);
		return PointerGetDatum(trigger->tg_trigtuple);
	}
	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(PAY_ERR_APPEND_ONLY),
				 errmsg("accounts cannot be removed"),
				 errhint("Close the account with payments.close_account().")));

	table = pay_table_find(RelationGetRelationName(trigger->tg_relation));
	desc = RelationGetDescr(trigger->tg_relation);
	old_values = palloc(sizeof(Datum) * desc->natts);
	new_values = palloc(sizeof(Datum) * desc->natts);
	old_nulls = palloc(sizeof(bool) * desc->natts);
	new_nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(trigger->tg_trigtuple, desc, old_values, old_nulls);
	heap_deform_tuple(trigger->tg_newtuple, desc, new_values, new_nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *name = NameStr(column->attname);

		if (column->attisdropped || (old_nulls[i] && new_nulls[i]) ||
			(!old_nulls[i] && !new_nulls[i] && datum_image_eq(old_values[i], new_values[i], column->attbyval, column->attlen)))
			continue;
		if (is_among(name, sums) ? DatumGetInt64(new_values[i]) > DatumGetInt64(old_values[i]) :
			is_among(name, layout) ? works_unlocked(trigger->tg_relation, trigger->tg_newtuple) :
			strcmp(name, "closed_at") == 0 ? old_nulls[i] : pay_table_in_projection(table, name))
			continue;
		ereport(ERROR,
				(errcode(PAY_ERR_APPEND_ONLY),
				 errmsg("column \"%s\" of an account cannot be changed like this", name),
				 errdetail("Sums only grow, a closed account stays closed, and what an account is stays as it was opened."),
				 errhint("Correct a balance with a further posting; open another account for another purpose.")));
	}
	pfree(old_values);
	pfree(new_values);
	pfree(old_nulls);
	pfree(new_nulls);
	require_sound(trigger->tg_relation, trigger->tg_newtuple);
	return PointerGetDatum(trigger->tg_newtuple);
}

/*
 * ledger/check.c checks before it writes; this holds for whoever else writes.
 * What is held on the side that would break a limit counts, and past the end
 * of int64 is past any limit.  (Rows of account_part have CHECKs of their own.)
 */
static void
require_sound(Relation relation, HeapTuple row)
{
	static const char *const columns[] = {"type", "debits", "credits", "held_debits", "held_credits", "min_balance", "max_balance",
	"hot", "parts"};
	static const Oid types[] = {TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, BOOLOID, INT4OID};
	enum {TYPE_, DEBITS, CREDITS, HELD_DEBITS, HELD_CREDITS, MINIMUM, MAXIMUM, HOT_, PARTS_, N};
	Datum		values[N];
	bool		nulls[N];
	const char *broken = NULL;

	if (strcmp(RelationGetRelationName(relation), "account") != 0)
		return;
	for (int i = 0; i < N; i++)
		values[i] = pay_trigger_column(relation, row, columns[i], types[i], &nulls[i]);
	for (int i = TYPE_; i <= HELD_CREDITS; i++)
		if (nulls[i])
			return;				/* NOT NULL says so */

	for (int i = DEBITS; i <= HELD_CREDITS; i++)
		if (DatumGetInt64(values[i]) < 0)
			broken = columns[i];
	if (!nulls[MINIMUM] || !nulls[MAXIMUM])
	{
		char	   *type = TextDatumGetCString(values[TYPE_]);
		bool		debit_normal = strcmp(type, "asset") == 0 || strcmp(type, "expense") == 0;
		int			in = debit_normal ? DEBITS : CREDITS;
		int			out = debit_normal ? CREDITS : DEBITS;
		int64		balance = DatumGetInt64(values[in]) - DatumGetInt64(values[out]);	/* of two that are not negative */
		int64		least,
					most;

		if (!nulls[MINIMUM] &&
			(pg_sub_s64_overflow(balance, DatumGetInt64(values[out + 2]), &least) || least < DatumGetInt64(values[MINIMUM])))
			broken = columns[MINIMUM];
		if (!nulls[MAXIMUM] &&
			(pg_add_s64_overflow(balance, DatumGetInt64(values[in + 2]), &most) || most > DatumGetInt64(values[MAXIMUM])))
			broken = columns[MAXIMUM];
		/* A limit needs the row lock that a hot account does without, or parts. */
		if (DatumGetBool(values[HOT_]) && nulls[PARTS_])
			broken = columns[HOT_];
		pfree(type);
	}
	if (broken)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("column \"%s\" of an account would not hold", broken),
				 errdetail("Counters are not negative, balances keep within their limits, and a hot account with limits has parts."),
				 errhint("Do not write into the tables of payments; call the functions.")));
}

static bool
is_among(const char *name, const char *const *names)
{
	while (*names && strcmp(name, *names) != 0)
		names++;
	return *names != NULL;
}

/* Nothing held, no history, and limits in parts only, so that postings may do without the row's lock? */
static bool
works_unlocked(Relation relation, HeapTuple row)
{
	bool		no_minimum,
				no_maximum,
				whole,
				isnull;

	(void) pay_trigger_column(relation, row, "min_balance", INT8OID, &no_minimum);
	(void) pay_trigger_column(relation, row, "max_balance", INT8OID, &no_maximum);
	(void) pay_trigger_column(relation, row, "parts", INT4OID, &whole);
	return DatumGetInt64(pay_trigger_column(relation, row, "held_debits", INT8OID, &isnull)) == 0 &&
		DatumGetInt64(pay_trigger_column(relation, row, "held_credits", INT8OID, &isnull)) == 0 &&
		!DatumGetBool(pay_trigger_column(relation, row, "history", BOOLOID, &isnull)) &&
		!whole == ((!no_minimum || !no_maximum) && DatumGetBool(pay_trigger_column(relation, row, "hot", BOOLOID, &isnull)));
}
