/*
 * src/core/guard_strangers.c
 *		Nothing of others comes to stand in for ours.
 *
 * Of two functions of one name the server calls the one whose arguments fit
 * better, with the rights of whoever calls; a cast, which it puts in by itself,
 * runs with those too, and one of a foreign key as the owner of the table that
 * it refers to.  So whoever got hold of payments_owner once would have got hold
 * of whoever calls us next, a superuser say.
 *
 * The schema is ours: whatever is looked for by its name there comes from our
 * script.  Of relations there is only one of each name, and a restore makes
 * them; extended statistics are looked for by nobody.
 */
#include "payments.h"

#include "core/guard.h"
#include "core/spi.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static void check_cast(Oid cast);
static bool is_our_type(Oid type);
static void check_foreign_key(Oid constraint);
static void check_composite_type(Oid relation);
static void check_name(Oid class, Oid object);
static bool goes_with_another(Form_pg_type type);
static HeapTuple find_new(Oid class, Oid object);
pg_noreturn static void refuse_stranger(void);

void
pay_guard_stranger(Oid class, Oid object)
{
	if (class == CastRelationId)
		check_cast(object);
	else if (class == ConstraintRelationId)
		check_foreign_key(object);
	else if (class == RelationRelationId)
		check_composite_type(object);
	else if (class != StatisticExtRelationId && is_objectclass_supported(class) &&
			 get_object_attnum_namespace(class) != InvalidAttrNumber)
		check_name(class, object);
}

static void
check_cast(Oid cast)
{
	HeapTuple	row = find_new(CastRelationId, cast);

	if (row && (is_our_type(((Form_pg_cast) GETSTRUCT(row))->castsource) || is_our_type(((Form_pg_cast) GETSTRUCT(row))->casttarget)))
		refuse_stranger();
}

static bool
is_our_type(Oid type)
{
	HeapTuple	row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool		ours;

	if (!HeapTupleIsValid(row))
		return false;
	ours = ((Form_pg_type) GETSTRUCT(row))->typnamespace == pay_schema_oid();
	ReleaseSysCache(row);
	return ours;
}

/*
 * Also when the type of a column is changed: its constraints are made anew then.
 * A domain over the type would do no harm, but two rules would.
 */
static void
check_foreign_key(Oid constraint)
{
	HeapTuple	row = find_new(ConstraintRelationId, constraint);
	Form_pg_constraint key = row ? (Form_pg_constraint) GETSTRUCT(row) : NULL;
	AttrNumber	from[INDEX_MAX_KEYS],
				to[INDEX_MAX_KEYS];
	int			n;

	if (key == NULL || key->contype != CONSTRAINT_FOREIGN || get_rel_namespace(key->confrelid) != pay_schema_oid())
		return;
	DeconstructFkConstraintRow(row, &n, from, to, NULL, NULL, NULL, NULL, NULL);
	for (int i = 0; i < n; i++)
		if (get_atttype(key->conrelid, from[i]) != get_atttype(key->confrelid, to[i]))
			ereport(ERROR,
					(errcode(PAY_ERR_GUARDED_DDL),
					 errmsg("column \"%s\" cannot refer to table \"%s.%s\", since it has another type than what it refers to",
							get_attname(key->conrelid, from[i], false), PAY_SCHEMA, get_rel_name(key->confrelid)),
					 errhint("Give it the very type of column \"%s\", and no domain: a cast would run with the rights of the owner of payments.",
							 get_attname(key->confrelid, to[i], false))));
}

/* Of a type that stands alone its relation comes last. */
static void
check_composite_type(Oid relation)
{
	HeapTuple	row = find_new(RelationRelationId, relation);

	if (row && ((Form_pg_class) GETSTRUCT(row))->relkind == RELKIND_COMPOSITE_TYPE &&
		((Form_pg_class) GETSTRUCT(row))->relnamespace == pay_schema_oid())
		refuse_stranger();
}

static void
check_name(Oid class, Oid object)
{
	HeapTuple	row = find_new(class, object);
	Relation	catalog;
	Oid			schema,
				extension;
	bool		isnull;

	if (row == NULL)
		return;
	catalog = table_open(class, AccessShareLock);
	schema = DatumGetObjectId(heap_getattr(row, get_object_attnum_namespace(class), RelationGetDescr(catalog), &isnull));
	table_close(catalog, AccessShareLock);
	if (isnull || schema != pay_schema_oid() || (class == TypeRelationId && goes_with_another((Form_pg_type) GETSTRUCT(row))))
		return;
	extension = getExtensionOfObject(class, object);
	if (!OidIsValid(extension) || extension != get_extension_oid(PAY_SCHEMA, true))
		refuse_stranger();
}

/* The row type of a table, and arrays, come and go with what they are of. */
static bool
goes_with_another(Form_pg_type type)
{
	return OidIsValid(type->typrelid) || IsTrueArrayType(type);
}

/* It has been written, and nobody sees it yet. */
static HeapTuple
find_new(Oid class, Oid object)
{
	return pay_guard_find_row(class, get_object_oid_index(class), get_object_attnum_oid(class), object, SnapshotSelf);
}

static void
refuse_stranger(void)
{
	ereport(ERROR,
			(errcode(PAY_ERR_GUARDED_DDL),
			 errmsg("nothing of others can be made in schema \"%s\", nor a cast from or to its types", PAY_SCHEMA),
			 errdetail("It could be called in place of what the extension has."),
			 errhint("Make it in a schema of your own.")));
}
