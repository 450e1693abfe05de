/*
 * src/compat.h
 *		Every PG_VERSION_NUM test of the project.  Old servers get the new name.
 */
#ifndef PAY_COMPAT_H
#define PAY_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "payments needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17 ties a wait set to a resource owner, older ones to a memory context; we want one that lives as long as the process. */
#if PG_VERSION_NUM >= 170000
#define PayCreateWaitEventSet(n) CreateWaitEventSet(NULL, (n))
#else
#define PayCreateWaitEventSet(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* 16 unified the ownership checks, and renamed the access to backend status. */
#if PG_VERSION_NUM >= 160000
#define PayDatabaseOwnercheck(database, role) object_ownercheck(DatabaseRelationId, (database), (role))
#define PayDatabaseAclcheck(database, role, mode) object_aclcheck(DatabaseRelationId, (database), (role), (mode))
#define PayClassOwnercheck(class, role) object_ownercheck(RelationRelationId, (class), (role))
#define PayFunctionAclcheck(function, role) object_aclcheck(ProcedureRelationId, (function), (role), ACL_EXECUTE)
#define PayLocalBackend(i) pgstat_get_local_beentry_by_index(i)
#else
#define PayDatabaseOwnercheck(database, role) pg_database_ownercheck((database), (role))
#define PayDatabaseAclcheck(database, role, mode) pg_database_aclcheck((database), (role), (mode))
#define PayClassOwnercheck(class, role) pg_class_ownercheck((class), (role))
#define PayFunctionAclcheck(function, role) pg_proc_aclcheck((function), (role), ACL_EXECUTE)
#define PayLocalBackend(i) pgstat_fetch_stat_local_beentry(i)
#endif

/* 17 moved it. */
#if PG_VERSION_NUM >= 170000
#define PayMyLocalTransactionId() (MyProc->vxid.lxid)
#else
#define PayMyLocalTransactionId() (MyProc->lxid)
#endif

/* A range table of one relation, written to without a plan: 16 moved permissions out of it, 18 asks what was not pruned. */
#if PG_VERSION_NUM >= 180000
#define PayInitRangeTable(estate, rte) \
	do { \
		List	   *permissions_ = NIL; \
		addRTEPermissionInfo(&permissions_, (rte)); \
		ExecInitRangeTable((estate), list_make1(rte), permissions_, bms_make_singleton(1)); \
	} while (0)
#elif PG_VERSION_NUM >= 160000
#define PayInitRangeTable(estate, rte) \
	do { \
		List	   *permissions_ = NIL; \
		addRTEPermissionInfo(&permissions_, (rte)); \
		ExecInitRangeTable((estate), list_make1(rte), permissions_); \
	} while (0)
#else
#define PayInitRangeTable(estate, rte) ExecInitRangeTable((estate), list_make1(rte))
#endif

/* 16 wants the tables written to when rows are checked again; we check none again. */
#if PG_VERSION_NUM >= 160000
#define PayEvalPlanQualInit(epq, estate) EvalPlanQualInit((epq), (estate), NULL, NIL, -1, NIL)
#else
#define PayEvalPlanQualInit(epq, estate) EvalPlanQualInit((epq), (estate), NULL, NIL, -1)
#endif

/* 18 asks whether a deferrable key will do, and has scans counted for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define PayPrimaryKeyIndex(relation) RelationGetPrimaryKeyIndex((relation), false)
#define PayIndexBeginScan(table, index, snapshot, n_keys) index_beginscan((table), (index), (snapshot), NULL, (n_keys), 0)
#else
#define PayPrimaryKeyIndex(relation) RelationGetPrimaryKeyIndex(relation)
#define PayIndexBeginScan(table, index, snapshot, n_keys) index_beginscan((table), (index), (snapshot), (n_keys), 0)
#endif

/* 18 tells regular backends from all others; of those that have a database and our role, that leaves ours. */
#if PG_VERSION_NUM >= 180000
#define PayIsBackgroundWorker(process) (!(process)->isRegularBackend)
#else
#define PayIsBackgroundWorker(process) ((process)->isBackgroundWorker)
#endif

/* Of ALTER TABLE: 17 computes a generated column anew, which rewrites rows; 18 leaves a foreign key unchecked. */
#if PG_VERSION_NUM >= 180000
#define PayAlterUndoes(command) \
	((command)->subtype == AT_SetExpression || \
	 ((command)->subtype == AT_AlterConstraint && castNode(ATAlterConstraint, (command)->def)->alterEnforceability && \
	  !castNode(ATAlterConstraint, (command)->def)->is_enforced))
#elif PG_VERSION_NUM >= 170000
#define PayAlterUndoes(command) ((command)->subtype == AT_SetExpression)
#else
#define PayAlterUndoes(command) false
#endif

/* 18 has it as a specifier before the function. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

#endif							/* PAY_COMPAT_H */
