/*
 * src/core/ddl_rights.h
 *		Who may not do it, does not wait for it.
 */
#ifndef PAY_DDL_RIGHTS_H
#define PAY_DDL_RIGHTS_H

#include "nodes/parsenodes.h"

/* Raises as the server would, before it takes a lock. */
extern void pay_ddl_rights(Node *statement);
/* The table that the command makes a parent or a part of the one that it alters; NULL if it is none of these. */
extern const RangeVar *pay_ddl_brought_in(const AlterTableCmd *command);

#endif							/* PAY_DDL_RIGHTS_H */
