/*
 * src/core/ddl_rights.c
 *		Who may not do it, does not wait for it.
 *
 * For a few statements the server takes a lock that keeps others from writing,
 * or from reading, and looks at rights when it has it.  While it waits, all who
 * come later wait behind it: so anybody who may log in could stop all payments,
 * by a rule on a table, or on a catalog, that another session of theirs reads
 * in an open transaction.  So it does with a whole database, and nobody could
 * connect.  Here the same is asked before.
 */
#include "payments.h"

#include "core/ddl_rights.h"

#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

static Oid	find(const RangeVar *relation);
static void owns(const RangeVar *relation);
static void owns_or_parent(const RangeVar *relation);
static void may(const RangeVar *relation, AclMode right);
static void of_create_table(const CreateStmt *statement);
static void of_alter_table(const AlterTableStmt *statement);
static void of_column(const Node *column);
static void of_constraint(const Node *constraint);
static void owns_database(const char *name);
static void refuse(AclResult why, Oid relation);

void
pay_ddl_rights(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_RuleStmt:
			owns(((RuleStmt *) statement)->relation);
			break;
		case T_CreateTrigStmt:
			may(((CreateTrigStmt *) statement)->relation, ACL_TRIGGER);
			break;
		case T_AlterObjectDependsStmt:
			owns(((AlterObjectDependsStmt *) statement)->relation);
			break;
		case T_CreateStmt:
			of_create_table((CreateStmt *) statement);
			break;
		case T_CreateForeignTableStmt:
			of_create_table(&((CreateForeignTableStmt *) statement)->base);
			break;
		case T_AlterTableStmt:
			of_alter_table((AlterTableStmt *) statement);
			break;
		case T_DropdbStmt:
			owns_database(((DropdbStmt *) statement)->dbname);
			break;
		case T_AlterDatabaseStmt:
			owns_database(((AlterDatabaseStmt *) statement)->dbname);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				owns_database(((RenameStmt *) statement)->subname);
			break;
		default:
			break;
	}
}

const RangeVar *
pay_ddl_brought_in(const AlterTableCmd *command)
{
	if (command->subtype == AT_AddInherit)
		return (RangeVar *) command->def;
	if (command->subtype == AT_AttachPartition)
		return castNode(PartitionCmd, command->def)->name;
	return NULL;
}

static Oid
find(const RangeVar *relation)
{
	return relation ? RangeVarGetRelid(relation, NoLock, true) : InvalidOid;
}

static void
owns(const RangeVar *relation)
{
	Oid			oid = find(relation);

	if (OidIsValid(oid) && !PayClassOwnercheck(oid, GetUserId()))
		refuse(ACLCHECK_NOT_OWNER, oid);
}

/* A partition may be another's than the table it is a part of. */
static void
owns_or_parent(const RangeVar *relation)
{
	Oid			oid = find(relation);
	Oid			parent = OidIsValid(oid) && get_rel_relispartition(oid) ? get_partition_parent(oid, true) : InvalidOid;

	if (!OidIsValid(parent) || !PayClassOwnercheck(parent, GetUserId()))
		owns(relation);
}

/* As on the whole table, so on any of its columns. */
static void
may(const RangeVar *relation, AclMode right)
{
	Oid			oid = find(relation);
	AclResult	why = OidIsValid(oid) ? pg_class_aclcheck(oid, GetUserId(), right) : ACLCHECK_OK;

	if (why != ACLCHECK_OK && pg_attribute_aclcheck_all(oid, GetUserId(), right, ACLMASK_ANY) != ACLCHECK_OK)
		refuse(why, oid);
}

static void
of_create_table(const CreateStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->inhRelations)
		owns(lfirst(cell));
	foreach(cell, statement->tableElts)
	{
		of_column(lfirst(cell));
		of_constraint(lfirst(cell));
	}
}

static void
of_alter_table(const AlterTableStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		const AlterTableCmd *command = lfirst(cell);

		owns(pay_ddl_brought_in(command));
		if (command->subtype == AT_DetachPartition || command->subtype == AT_DetachPartitionFinalize)
			owns_or_parent(castNode(PartitionCmd, command->def)->name);
		else if (command->subtype == AT_AddColumn)
			of_column(command->def);
		else if (command->subtype == AT_AddConstraint)
			of_constraint(command->def);
	}
}

static void
of_column(const Node *column)
{
	ListCell   *cell;

	if (column && IsA(column, ColumnDef))
		foreach(cell, ((const ColumnDef *) column)->constraints)
			of_constraint(lfirst(cell));
}

static void
of_constraint(const Node *constraint)
{
	if (constraint && IsA(constraint, Constraint) && ((const Constraint *) constraint)->contype == CONSTR_FOREIGN)
		may(((const Constraint *) constraint)->pktable, ACL_REFERENCES);
}

static void
owns_database(const char *name)
{
	Oid			oid = get_database_oid(name, true);

	if (OidIsValid(oid) && !PayDatabaseOwnercheck(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_DATABASE, name);
}

static void
refuse(AclResult why, Oid relation)
{
	const char *name = get_rel_name(relation);

	aclcheck_error(why, get_relkind_objtype(get_rel_relkind(relation)), name ? name : "");
}
