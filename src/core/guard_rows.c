/*
 * src/core/guard_rows.c
 *		The triggers that keep rows as they were written (promise 4).
 *
 * Row and statement triggers, ENABLE ALWAYS so that session_replication_role
 * does not walk past them, refuse UPDATE, DELETE and TRUNCATE of the
 * append-only tables for every role, and on tables with a projection let only
 * the projection change.  guard.c keeps them where they are.
 */
#include "payments.h"

#include "core/arguments.h"
#include "core/guard.h"
#include "core/table.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

static bool may_change(const PayTable *table, const char *column);
static void check_words(const PayTable *table, Relation relation, HeapTuple tuple);

PAY_FUNCTION(pay_guard_append_only);
PAY_FUNCTION(pay_guard_facts);
PAY_FUNCTION(pay_guard_installation);

/* BEFORE UPDATE, DELETE or TRUNCATE on an append-only table: always refuses. */
Datum
pay_guard_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_trigger(fcinfo);

	ereport(ERROR,
			(errcode(PAY_ERR_APPEND_ONLY),
			 errmsg("rows of table \"%s\" cannot be changed or removed", pay_guard_table_name(RelationGetRelid(trigger->tg_relation))),
			 errhint("Correct a payment with a further operation, and a posting with a reversal.")));
	PG_RETURN_NULL();
}

/* BEFORE UPDATE or DELETE on a table with a projection: only the projection may change. */
Datum
pay_guard_facts(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_row_trigger(fcinfo, true);
	const PayTable *table;
	const char *name;
	TupleDesc	desc;

	name = RelationGetRelationName(trigger->tg_relation);
	table = pay_table_find(name);
	desc = RelationGetDescr(trigger->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		check_words(table, trigger->tg_relation, trigger->tg_trigtuple);
		return PointerGetDatum(trigger->tg_trigtuple);
	}
	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(PAY_ERR_APPEND_ONLY),
				 errmsg("rows of table \"%s\" cannot be removed", name),
				 errhint("Correct a payment with a further operation.")));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		bool		old_null,
					new_null;
		Datum		old_value,
					new_value;

		if (column->attisdropped || may_change(table, NameStr(column->attname)))
			continue;
		old_value = heap_getattr(trigger->tg_trigtuple, i + 1, desc, &old_null);
		new_value = heap_getattr(trigger->tg_newtuple, i + 1, desc, &new_null);
		if (old_null != new_null ||
			(!old_null && !datum_image_eq(old_value, new_value, column->attbyval, column->attlen)))
			ereport(ERROR,
					(errcode(PAY_ERR_APPEND_ONLY),
					 errmsg("column \"%s\" of table \"%s\" cannot be changed", NameStr(column->attname), name),
					 errhint("It is a fact; only what follows from later facts changes.")));
	}
	check_words(table, trigger->tg_relation, trigger->tg_newtuple);
	return PointerGetDatum(trigger->tg_newtuple);
}

/* The PSP of a payment only by a decision that is written beside it.  A subscriber gets what was decided where it was published. */
static bool
may_change(const PayTable *table, const char *column)
{
	return pay_table_in_projection(table, column) &&
		(strcmp(column, "psp") != 0 || strcmp(table->name, "merchant") == 0 || pay_guard_lifted() || IsLogicalWorker());
}

/*
 * BEFORE UPDATE or DELETE on payments.installation: what setup() has made, and
 * where is armed, is written by our own functions.  By them check() tells, and
 * the worker, whether all is as it was.
 */
Datum
pay_guard_installation(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_row_trigger(fcinfo, true);

	if (!superuser() && !pay_guard_lifted())
		return pay_guard_facts(fcinfo);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple);
}

/* What would be CHECKs on lists of words, if those were not parsed anew in every statement. */
static void
check_words(const PayTable *table, Relation relation, HeapTuple tuple)
{
	for (int i = 0; table && i < (int) lengthof(table->words) && table->words[i].column; i++)
	{
		const PayTableWords *w = &table->words[i];
		bool		isnull,
					known = false;
		Datum		value;
		char	   *word;

		value = pay_trigger_column(relation, tuple, w->column, TEXTOID, &isnull);
		if (isnull)
			continue;
		word = TextDatumGetCString(value);
		for (int k = 0; k < PAY_TABLE_WORDS_MAX && w->words[k]; k++)
			known = known || strcmp(w->words[k], word) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(PAY_ERR_INTERNAL),
					 errmsg("column \"%s\" of table \"%s\" does not know the word \"%s\"", w->column, table->name, word),
					 errhint("Do not write into the tables of payments; call the functions.")));
		pfree(word);
	}
}
