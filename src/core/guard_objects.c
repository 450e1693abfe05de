/*
 * src/core/guard_objects.c
 *		Nothing that guards is taken away, by whichever statement.
 *
 * guard.c reads statements, and a statement may do more than it says: a CASCADE
 * drops what depends on what it names, DROP OWNED and DROP EXTENSION name none
 * of it.  The server tells of each object that is about to be dropped, and of
 * each function that it has changed; so this holds for all ways there are, those
 * of later servers and of other extensions too.
 *
 * Once there are payments, tables keep their rows, triggers, policies, CHECKs,
 * keys, unique indexes, columns and defaults, and the extension its functions,
 * as they are: a function that says yes in the place of one that guards, or of
 * one that checks, is as good as none.  Of a function may change whose it is,
 * and who may call it.
 *
 * What the server drops as part of something else (PERFORM_DELETION_INTERNAL:
 * the old index of REINDEX CONCURRENTLY, the old rows of a rewrite) is replaced,
 * and goes.
 */
#include "payments.h"

#include "core/guard.h"
#include "core/spi.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static object_access_hook_type previous_hook = NULL;

static void guard_object(ObjectAccessType access, Oid class, Oid object, int part, void *arg);
static void check_made(ObjectAccessType access, Oid class, Oid object);
static void check_dropped(Oid class, Oid object, int part);
static void check_dropped_relation(Oid relation, int column);
static void check_function(Oid function);
static void check_rule(Oid rule);
static bool is_same_function(HeapTuple before, HeapTuple after);

void
pay_guard_objects_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = guard_object;
}

static void
guard_object(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	if (previous_hook)
		previous_hook(access, class, object, part, arg);
	if (access == OAT_FUNCTION_EXECUTE || access == OAT_NAMESPACE_SEARCH || !pay_guard_is_on() || pay_guard_own_script())
		return;
	if (access == OAT_DROP && (((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) == 0)
		check_dropped(class, object, part);
	else if (access == OAT_POST_CREATE || access == OAT_POST_ALTER)
		check_made(access, class, object);
}

static void
check_made(ObjectAccessType access, Oid class, Oid object)
{
	if (class == ProcedureRelationId)
		check_function(object);
	else if (class == RewriteRelationId && access == OAT_POST_CREATE)
		check_rule(object);
	pay_guard_stranger(class, object);
}

static void
check_dropped(Oid class, Oid object, int part)
{
	HeapTuple	row = NULL;

	switch (class)
	{
		case RelationRelationId:
			check_dropped_relation(object, part);
			break;
		case TriggerRelationId:
			row = pay_guard_find_row(class, TriggerOidIndexId, Anum_pg_trigger_oid, object, NULL);
			/* One of somebody else's may go with its function. */
			if (row && !((Form_pg_trigger) GETSTRUCT(row))->tgisinternal &&
				pay_guard_is_member(((Form_pg_trigger) GETSTRUCT(row))->tgfoid))
				pay_guard_keep(((Form_pg_trigger) GETSTRUCT(row))->tgrelid, "lose its triggers or policies");
			break;
		case PolicyRelationId:
			row = pay_guard_find_row(class, PolicyOidIndexId, Anum_pg_policy_oid, object, NULL);
			if (row)
				pay_guard_keep(((Form_pg_policy) GETSTRUCT(row))->polrelid, "lose its triggers or policies");
			break;
		case ConstraintRelationId:
			row = pay_guard_find_row(class, ConstraintOidIndexId, Anum_pg_constraint_oid, object, NULL);
			if (row && ((Form_pg_constraint) GETSTRUCT(row))->contype != CONSTRAINT_FOREIGN)
				pay_guard_keep(((Form_pg_constraint) GETSTRUCT(row))->conrelid, "lose a constraint");
			break;
		case AttrDefaultRelationId:
			row = pay_guard_find_row(class, AttrDefaultOidIndexId, Anum_pg_attrdef_oid, object, NULL);
			if (row)
				pay_guard_keep(((Form_pg_attrdef) GETSTRUCT(row))->adrelid, "lose a default");
			break;
		case ProcedureRelationId:
			if (pay_guard_is_member(object) && pay_guard_has_payments())
				pay_guard_refuse_code("lose", get_func_name(object));
			break;
		case NamespaceRelationId:
			if (object == pay_schema_oid() && pay_guard_has_payments())
				pay_guard_refuse_code("lose", "its schema");
			break;
		default:
			break;
	}
	if (row)
		heap_freetuple(row);
}

static void
check_dropped_relation(Oid relation, int column)
{
	HeapTuple	index = column == 0 ? SearchSysCache1(INDEXRELID, ObjectIdGetDatum(relation)) : NULL;
	Oid			table = InvalidOid;

	if (!HeapTupleIsValid(index))
	{
		if (column == 0 && pay_guard_is_view(relation))
			pay_guard_refuse_code("lose", get_rel_name(relation));
		pay_guard_keep(relation, column == 0 ? "be dropped while it has rows" : "lose a column");
		return;
	}
	/* What there must be only one of is money that moves once. */
	if (((Form_pg_index) GETSTRUCT(index))->indisunique)
		table = ((Form_pg_index) GETSTRUCT(index))->indrelid;
	ReleaseSysCache(index);
	pay_guard_keep(table, "lose a unique index");
}

/* It has been written, but nobody sees it yet: the cache has what it was.  A new one was nothing. */
static void
check_function(Oid function)
{
	HeapTuple	before = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	HeapTuple	after;
	bool		same;

	if (!HeapTupleIsValid(before))
		return;
	if (pay_guard_is_member(function))
	{
		after = pay_guard_find_row(ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid, function, SnapshotSelf);
		same = after && is_same_function(before, after);
		if (after)
			heap_freetuple(after);
		if (!same)
			pay_guard_refuse_code("have another", NameStr(((Form_pg_proc) GETSTRUCT(before))->proname));
	}
	ReleaseSysCache(before);
}

/* By views policies tell whose the rows are, and check() what they come to.  A new one had no rule before. */
static void
check_rule(Oid rule)
{
	HeapTuple	row = pay_guard_find_row(RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, rule, SnapshotSelf);
	Oid			view = row ? ((Form_pg_rewrite) GETSTRUCT(row))->ev_class : InvalidOid;
	HeapTuple	class = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	bool		replaced = HeapTupleIsValid(class) && ((Form_pg_class) GETSTRUCT(class))->relhasrules;

	if (HeapTupleIsValid(class))
		ReleaseSysCache(class);
	if (replaced && pay_guard_is_view(view))
		pay_guard_refuse_code("have another", get_rel_name(view));
	if (row)
		heap_freetuple(row);
}

/* setup() makes its views as payments_owner; of others there may be some in the schema, too. */
bool
pay_guard_is_view(Oid relation)
{
	return OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_VIEW && get_rel_namespace(relation) == pay_schema_oid() &&
		pay_guard_has_payments() && PayClassOwnercheck(relation, pay_owner_oid());
}

bool
pay_guard_is_member(Oid function)
{
	Oid			extension;

	if (get_func_namespace(function) != pay_schema_oid())
		return false;
	extension = getExtensionOfObject(ProcedureRelationId, function);
	return OidIsValid(extension) && extension == get_extension_oid(PAY_SCHEMA, true);
}

static bool
is_same_function(HeapTuple before, HeapTuple after)
{
	Relation	functions = table_open(ProcedureRelationId, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(functions);
	bool		same = true;

	for (int i = 1; i <= desc->natts && same; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i - 1);
		bool		before_null,
					after_null;
		Datum		before_value,
					after_value;

		if (i == Anum_pg_proc_proowner || i == Anum_pg_proc_proacl)
			continue;
		before_value = heap_getattr(before, i, desc, &before_null);
		after_value = heap_getattr(after, i, desc, &after_null);
		same = before_null == after_null &&
			(before_null || datum_image_eq(before_value, after_value, column->attbyval, column->attlen));
	}
	table_close(functions, AccessShareLock);
	return same;
}

HeapTuple
pay_guard_find_row(Oid class, Oid index, AttrNumber key, Oid object, Snapshot snapshot)
{
	Relation	catalog = table_open(class, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData entry;
	HeapTuple	found;

	ScanKeyInit(&entry, key, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	scan = systable_beginscan(catalog, index, true, snapshot, 1, &entry);
	found = systable_getnext(scan);
	if (found)
		found = heap_copytuple(found);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}
