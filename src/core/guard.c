/*
 * src/core/guard.c
 *		What is written stays written (promise 4).
 *
 * Two layers.  Triggers refuse what changes rows (guard_rows.c).  When the
 * library is preloaded a utility hook refuses the DDL that would get around
 * them: disabling, replacing or dropping them, triggers of others, rules, column
 * rewrites, UNLOGGED, detached partitions, dropped tables, another name of the
 * schema; and policies and views taken away or replaced.  The hook meets
 * whatever anybody may type: nothing in a parse tree is taken for what it
 * usually is (test/t/ddl_fuzz.pl).  What is dropped by way of something else is
 * seen by guard_objects.c; for whom the guard is lifted guard_lift.c says.
 *
 * What a restore from pg_dump needs stays allowed: CREATE TABLE, adding
 * constraints and indexes, our own triggers, ENABLE ALWAYS, OWNER TO.  What a
 * superuser can still do by editing catalogs is the business of sealing.
 */
#include "payments.h"

#include "core/guard.h"

#include "core/arguments.h"
#include "core/ddl_rights.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/table.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/proclang.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The policy that core/tables_grants.sql makes. */
#define PAY_POLICY "by_merchant"

static ProcessUtility_hook_type previous_hook = NULL;
/* Written once, when the library is preloaded. */
static bool is_installed = false;

static void guard_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
						  ProcessUtilityContext context, ParamListInfo params,
						  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc);
static bool copies_to_ours(const Node *statement);
static void hide_line(void *arg);
static void check_statement(Node *statement);
static void check_create_table(CreateStmt *statement);
static void check_rename(RenameStmt *statement);
static void check_alter_sequence(AlterSeqStmt *statement);
static void check_alter_table(AlterTableStmt *statement);
static Oid	indexed_table(Oid index);
static Oid	counting_table(Oid sequence);
static bool is_guarded_already(const RangeVar *relation);
static void check_create_trigger(CreateTrigStmt *statement);
static bool trigger_is_ours(Oid table, const char *name);
static void check_create_policy(CreatePolicyStmt *statement);
static void check_extension_contents(AlterExtensionContentsStmt *statement);
static void check_drop(DropStmt *statement);
static bool name_is_guarded(const char *schema, const char *table);
static bool range_is_guarded(const RangeVar *relation);
static bool is_guarded(Oid oid);
static bool is_member(Oid relation);
static bool range_is_ours(const RangeVar *relation);
static bool has_rows(Oid oid);
static bool finds_rows(Oid oid);
pg_noreturn static void refuse(const char *what, const char *table);

PAY_FUNCTION(pay_has_rows);
PAY_FUNCTION(pay_unguarded);

/* _has_rows(name): for guards that are not in C. */
Datum
pay_has_rows(PG_FUNCTION_ARGS)
{
	Oid			oid = get_relname_relid(text_to_cstring(PG_GETARG_TEXT_PP(0)), pay_schema_oid());

	PG_RETURN_BOOL(OidIsValid(oid) && finds_rows(oid));
}

/* _unguarded() */
Datum
pay_unguarded(PG_FUNCTION_ARGS)
{
	if (!is_installed)
		PG_RETURN_TEXT_P(cstring_to_text("the library is not preloaded, so DDL that takes guards away is not refused: list payments in shared_preload_libraries"));
	if (!pay_guard_ddl)
		PG_RETURN_TEXT_P(cstring_to_text("payments.guard_ddl is off, so DDL that takes guards away is not refused: RESET payments.guard_ddl"));
	PG_RETURN_NULL();
}

/* ---------- utility hook ---------- */

void
pay_guard_init(void)
{
	is_installed = true;
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
	pay_guard_objects_init();
}

/* Binary upgrade restores by catalog surgery of its own; leave it alone. */
bool
pay_guard_is_on(void)
{
	return pay_guard_ddl && !pay_guard_lifted() && !IsBinaryUpgrade && IsTransactionState() && OidIsValid(MyDatabaseId);
}

bool
pay_guard_own_script(void)
{
	const char *name = creating_extension && !pay_guard_others_run() ? get_extension_name(CurrentExtensionObject) : NULL;

	return name && strcmp(name, PAY_SCHEMA) == 0;
}

static void
guard_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = hide_line};

	if (pay_guard_is_on())
	{
		pay_ddl_rights(pstmt->utilityStmt);
		if (!pay_guard_own_script())
			check_statement(pstmt->utilityStmt);
	}

	if (copies_to_ours(pstmt->utilityStmt))
		error_context_stack = &callback;
	if (previous_hook)
		previous_hook(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	error_context_stack = callback.previous;
}

/* What others wrote, before a trigger of ours has seen it. */
static bool
copies_to_ours(const Node *statement)
{
	const CopyStmt *copy = IsA(statement, CopyStmt) ? (const CopyStmt *) statement : NULL;
	Oid			oid = copy && copy->is_from && copy->relation && !IsAbortedTransactionBlockState() ?
		RangeVarGetRelid(copy->relation, NoLock, true) : InvalidOid;
	Oid			schema = OidIsValid(oid) ? get_rel_namespace(oid) : InvalidOid;

	return OidIsValid(schema) && schema == get_namespace_oid(PAY_SCHEMA, true);
}

/* COPY says at which line it was, and what stands there. */
static void
hide_line(void *arg)
{
	errhidestmt(true);
	errhidecontext(true);
}

static void
check_statement(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateStmt:
			check_create_table((CreateStmt *) statement);
			break;
		case T_CreateForeignTableStmt:
			check_create_table(&((CreateForeignTableStmt *) statement)->base);
			break;
		case T_AlterTableStmt:
			check_alter_table((AlterTableStmt *) statement);
			break;
		case T_CreatePLangStmt:
			/* It says as whom functions run. */
			if (strcmp(((CreatePLangStmt *) statement)->plname, PAY_SCHEMA) == 0 && OidIsValid(get_language_oid(PAY_SCHEMA, true)))
				pay_guard_refuse_code("have another", "language " PAY_SCHEMA);
			break;
		case T_RuleStmt:
			if (range_is_ours(((RuleStmt *) statement)->relation))
				refuse("have rules", ((RuleStmt *) statement)->relation->relname);
			break;
		case T_CreateTrigStmt:
			check_create_trigger((CreateTrigStmt *) statement);
			break;
		case T_DropStmt:
			check_drop((DropStmt *) statement);
			break;
		case T_AlterExtensionContentsStmt:
			check_extension_contents((AlterExtensionContentsStmt *) statement);
			break;
		case T_CreatePolicyStmt:
			check_create_policy((CreatePolicyStmt *) statement);
			break;
		case T_AlterPolicyStmt:
			if (range_is_guarded(((AlterPolicyStmt *) statement)->table))
				refuse("have its policies changed", ((AlterPolicyStmt *) statement)->table->relname);
			break;
		case T_RenameStmt:
			check_rename((RenameStmt *) statement);
			break;
		case T_AlterSeqStmt:
			check_alter_sequence((AlterSeqStmt *) statement);
			break;
		case T_AlterObjectDependsStmt:
			/* A trigger that depends on an extension goes with it, without a word. */
			if (((AlterObjectDependsStmt *) statement)->relation &&
				range_is_guarded(((AlterObjectDependsStmt *) statement)->relation))
				refuse("have parts that go with an extension", ((AlterObjectDependsStmt *) statement)->relation->relname);
			break;
		case T_AlterObjectSchemaStmt:
			if (((AlterObjectSchemaStmt *) statement)->relation &&
				range_is_guarded(((AlterObjectSchemaStmt *) statement)->relation))
				refuse("be moved", ((AlterObjectSchemaStmt *) statement)->relation->relname);
			break;
		default:
			break;
	}
}

/* A partition or child made by hand would bring rows that no guard has seen. */
static void
check_create_table(CreateStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->inhRelations)
		if (range_is_guarded(lfirst(cell)))
			refuse("have partitions or children made by hand", ((RangeVar *) lfirst(cell))->relname);
}

/* Guards are known by the names of their tables. */
static void
check_rename(RenameStmt *statement)
{
	if (statement->relation && range_is_guarded(statement->relation))
		refuse("be renamed, nor can its parts", statement->relation->relname);
	/* With the index of a constraint the constraint gets another name, under which nobody asks for it. */
	if (statement->relation)
	{
		Oid			oid = RangeVarGetRelid(statement->relation, NoLock, true);
		Oid			table = OidIsValid(indexed_table(oid)) ? indexed_table(oid) : counting_table(oid);

		if (is_guarded(table))
			refuse("be renamed, nor can its parts", pay_guard_table_name(table));
		if (pay_guard_is_view(oid))
			pay_guard_refuse_code("rename", statement->relation->relname);
	}
	if (statement->renameType == OBJECT_LANGUAGE && strcmp(strVal(statement->object), PAY_SCHEMA) == 0)
		pay_guard_refuse_code("rename", "language " PAY_SCHEMA);
	if (statement->renameType == OBJECT_SCHEMA && strcmp(statement->subname, PAY_SCHEMA) == 0 && pay_guard_has_payments())
		ereport(ERROR,
				(errcode(PAY_ERR_GUARDED_DDL),
				 errmsg("schema \"%s\" cannot be renamed while there are payments in it", PAY_SCHEMA),
				 errhint("Its name is a part of what protects them.")));
}

/* A number that is given twice is one that two postings share: in another month nobody notices. */
static void
check_alter_sequence(AlterSeqStmt *statement)
{
	Oid			table = counting_table(RangeVarGetRelid(statement->sequence, NoLock, true));

	if (is_guarded(table) && has_rows(table))
		refuse("count anew", pay_guard_table_name(table));
}

/* Whose rows a sequence numbers. */
static Oid
counting_table(Oid sequence)
{
	Oid			table;
	int32		column;

	return OidIsValid(sequence) && sequenceIsOwned(sequence, DEPENDENCY_INTERNAL, &table, &column) ? table : InvalidOid;
}

static Oid
indexed_table(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Oid			table;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	table = ((Form_pg_index) GETSTRUCT(tuple))->indrelid;
	ReleaseSysCache(tuple);
	return table;
}

/* Has setup() been here? */
static bool
is_guarded_already(const RangeVar *relation)
{
	Oid			oid = RangeVarGetRelid(relation, NoLock, true);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return false;
	found = ((Form_pg_class) GETSTRUCT(tuple))->relhastriggers;
	ReleaseSysCache(tuple);
	return found;
}

/* Subcommands that would take a guard away or rewrite rows. */
static void
check_alter_table(AlterTableStmt *statement)
{
	Oid			oid = RangeVarGetRelid(statement->relation, NoLock, true);
	bool		guarded = range_is_guarded(statement->relation) || is_guarded(counting_table(oid));
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		const AlterTableCmd *cmd = (AlterTableCmd *) lfirst(cell);

		if (pay_guard_is_view(oid))
			pay_guard_refuse_code("have another", statement->relation->relname);
		if (!guarded)
		{
			const RangeVar *other = pay_ddl_brought_in(cmd);

			if (other && range_is_guarded(other))
				refuse("have parents, partitions or children made by hand", other->relname);
			continue;
		}
		if (PayAlterUndoes(cmd))
			refuse("be altered in this way", statement->relation->relname);
		switch ((int) cmd->subtype)
		{
			case AT_DisableTrig:
			case AT_DisableTrigAll:
			case AT_DisableTrigUser:
			case AT_EnableReplicaTrig:
			case AT_EnableTrig:
			case AT_EnableTrigAll:
			case AT_EnableTrigUser:
				refuse("have its triggers disabled or weakened", statement->relation->relname);
			case AT_EnableRule:
			case AT_EnableAlwaysRule:
			case AT_EnableReplicaRule:
				refuse("have rules", statement->relation->relname);
			case AT_AlterColumnType:
			case AT_DropColumn:
			case AT_DropConstraint:
			case AT_DropNotNull:
			case AT_SetUnLogged:
			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
			case AT_AddInherit:
			case AT_DropInherit:
			case AT_DisableRowSecurity:
				refuse("be altered in this way", statement->relation->relname);
			/* A restore does these before it makes the triggers. */
			case AT_AttachPartition:
			case AT_ColumnDefault:
			case AT_AddIdentity:
			case AT_SetIdentity:
			case AT_DropIdentity:
			case AT_DropExpression:
			case AT_ForceRowSecurity:
				if (is_guarded_already(statement->relation))
					refuse("be altered in this way", statement->relation->relname);
				break;
			/* What there must be only one of would be asked for under another name, or at the end of the transaction. */
			case AT_AddConstraint:
				if (castNode(Constraint, cmd->def)->indexname && is_guarded_already(statement->relation))
					refuse("make constraints of its indexes", statement->relation->relname);
				break;
			default:
				break;
		}
	}
}

/*
 * A BEFORE trigger that returns NULL would swallow rows, so only guards of ours
 * may be such triggers here, without a condition under which they do nothing;
 * and none is replaced.  AFTER triggers see, they do not alter; but they run as
 * payments_owner does, or as whoever writes, so they are a superuser's to make.
 */
static void
check_create_trigger(CreateTrigStmt *statement)
{
	Oid			function;
	bool		ours;

	if (!range_is_ours(statement->relation))
		return;
	if (statement->replace && trigger_is_ours(RangeVarGetRelid(statement->relation, NoLock, true), statement->trigname))
		refuse("have its triggers replaced", statement->relation->relname);
	function = LookupFuncName(statement->funcname, 0, NULL, true);
	ours = OidIsValid(function) && pay_guard_is_member(function);
	if (statement->timing != TRIGGER_TYPE_BEFORE && statement->timing != TRIGGER_TYPE_INSTEAD)
	{
		if (!ours && !superuser())
			refuse("have triggers of others, but for a superuser's", statement->relation->relname);
		return;
	}
	if (!ours || statement->whenClause ||
		(strncmp(get_func_name(function), "guard_", 6) != 0 && strncmp(get_func_name(function), "mask_", 5) != 0))
		refuse("have BEFORE triggers of others", statement->relation->relname);
}

static bool
trigger_is_ours(Oid table, const char *name)
{
	Oid			trigger = OidIsValid(table) ? get_trigger_oid(table, name, true) : InvalidOid;
	Relation	triggers;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		ours;

	if (!OidIsValid(trigger))
		return false;
	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	triggers = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	ours = HeapTupleIsValid(tuple) && pay_guard_is_member(((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid);
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return ours;
}

/* Permissive policies add up: a second one would show an application the rows of all merchants. */
static void
check_create_policy(CreatePolicyStmt *statement)
{
	if (statement->permissive && strcmp(statement->policy_name, PAY_POLICY) != 0 && range_is_guarded(statement->table))
		refuse("have policies that permit more", statement->table->relname);
}

/* A guard that is no member of the extension any more can be dropped, and its triggers with it. */
static void
check_extension_contents(AlterExtensionContentsStmt *statement)
{
	if (pay_guard_own_script() || statement->action > 0 || strcmp(statement->extname, PAY_SCHEMA) != 0)
		return;
	ereport(ERROR,
			(errcode(PAY_ERR_GUARDED_DDL),
			 errmsg("extension \"%s\" keeps what it is made of", PAY_SCHEMA),
			 errhint("Only CREATE EXTENSION and ALTER EXTENSION payments UPDATE make the guards.")));
}

static void
check_drop(DropStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->objects)
	{
		Node	   *object = (Node *) lfirst(cell);

		if (statement->removeType == OBJECT_TABLE)
		{
			RangeVar   *relation = makeRangeVarFromNameList((List *) object);

			if (range_is_guarded(relation) && has_rows(RangeVarGetRelid(relation, NoLock, true)))
				refuse("be dropped while it has rows", relation->relname);
		}
		else if (statement->removeType == OBJECT_TRIGGER || statement->removeType == OBJECT_POLICY)
		{
			List	   *names = (List *) object;
			RangeVar   *relation = makeRangeVarFromNameList(list_truncate(list_copy(names), list_length(names) - 1));

			if (range_is_guarded(relation))
				refuse("lose its triggers or policies", relation->relname);
		}
		else if (statement->removeType == OBJECT_SCHEMA && strcmp(strVal(object), PAY_SCHEMA) == 0 && pay_guard_has_payments())
			ereport(ERROR,
					(errcode(PAY_ERR_GUARDED_DDL),
					 errmsg("schema \"%s\" cannot be dropped while there are payments in it", PAY_SCHEMA),
					 errhint("Drop the database, or SET payments.guard_ddl = off first.")));
		else if (statement->removeType == OBJECT_EXTENSION && statement->behavior == DROP_CASCADE &&
				 strcmp(strVal(object), PAY_SCHEMA) == 0 && pay_guard_has_payments())
			ereport(ERROR,
					(errcode(PAY_ERR_GUARDED_DDL),
					 errmsg("extension \"%s\" cannot be dropped while there are payments", PAY_SCHEMA),
					 errdetail("With it would go what guards them."),
					 errhint("If you will make it again at once, SET payments.guard_ddl = off first.")));
	}
}

static bool
name_is_guarded(const char *schema, const char *table)
{
	const PayTable *found = strcmp(schema, PAY_SCHEMA) == 0 ? pay_table_find(table) : NULL;

	return found && pay_table_guarded(found);
}

/* By its name, or as a partition of such a table. */
static bool
range_is_guarded(const RangeVar *relation)
{
	return (relation->schemaname && name_is_guarded(relation->schemaname, relation->relname)) ||
		is_guarded(RangeVarGetRelid(relation, NoLock, true));
}

static bool
is_guarded(Oid oid)
{
	return OidIsValid(oid) && get_rel_namespace(oid) == pay_schema_oid() &&
		(name_is_guarded(PAY_SCHEMA, pay_guard_table_name(oid)) || is_member(oid));
}

/* A table with what is shipped, which has its guards as well. */
static bool
is_member(Oid relation)
{
	Oid			extension = getExtensionOfObject(RelationRelationId, relation);

	return OidIsValid(extension) && extension == get_extension_oid(PAY_SCHEMA, true);
}

/* Any table of ours, guarded or not. */
static bool
range_is_ours(const RangeVar *relation)
{
	Oid			oid = RangeVarGetRelid(relation, NoLock, true);

	return range_is_guarded(relation) ||
		(OidIsValid(oid) && get_rel_namespace(oid) == pay_schema_oid() && pay_table_find(pay_guard_table_name(oid)) != NULL);
}

/* The name of a table; of a partition, that of the table it is a part of. */
const char *
pay_guard_table_name(Oid oid)
{
	const char *name;

	if (get_rel_relispartition(oid))
		oid = get_partition_parent(oid, true);
	name = get_rel_name(oid);
	return name ? name : "";
}

/*
 * Whoever may drop it gets the lock for that now, when it looks empty: what
 * others are about to commit is seen as well.
 */
static bool
has_rows(Oid oid)
{
	if (!OidIsValid(oid))
		return false;
	if (finds_rows(oid))
		return true;
	if (!PayClassOwnercheck(oid, GetUserId()))
		return false;
	LockRelationOid(oid, AccessExclusiveLock);
	return finds_rows(oid);
}

/* As of now, however old the transaction's snapshot. */
static bool
finds_rows(Oid oid)
{
	Relation	relation;
	Snapshot	snapshot;
	TableScanDesc scan;
	bool		found = false;

	if (get_rel_relkind(oid) == RELKIND_PARTITIONED_TABLE)
	{
		ListCell   *cell;

		foreach(cell, find_inheritance_children(oid, AccessShareLock))
			found = found || finds_rows(lfirst_oid(cell));
		return found;
	}
	if (get_rel_relkind(oid) != RELKIND_RELATION)
		return false;
	relation = table_open(oid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(relation, snapshot, 0, NULL);
	found = heap_getnext(scan, ForwardScanDirection) != NULL;
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return found;
}

bool
pay_guard_has_payments(void)
{
	Oid			schema = pay_schema_oid();

	return OidIsValid(schema) && (has_rows(get_relname_relid("payment", schema)) || has_rows(get_relname_relid("posting", schema)));
}

void
pay_guard_keep(Oid table, const char *what)
{
	if (is_guarded(table) && pay_guard_has_payments())
		refuse(what, pay_guard_table_name(table));
}

void
pay_guard_refuse_code(const char *verb, const char *what)
{
	ereport(ERROR,
			(errcode(PAY_ERR_GUARDED_DDL),
			 errmsg("extension \"%s\" cannot %s \"%s\"", PAY_SCHEMA, verb, what),
			 errhint("Only CREATE EXTENSION, ALTER EXTENSION payments UPDATE and payments.setup() make what guards and checks.")));
}

static void
refuse(const char *what, const char *table)
{
	ereport(ERROR,
			(errcode(PAY_ERR_GUARDED_DDL),
			 errmsg("table \"%s.%s\" cannot %s", PAY_SCHEMA, table, what),
			 errhint("Only payments.setup() and payments.migrate() change the tables of payments.")));
}
