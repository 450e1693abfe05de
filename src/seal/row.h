/*
 * src/seal/row.h
 *		Sealed tables, and their rows as the bytes that are sealed.
 */
#ifndef PAY_SEAL_ROW_H
#define PAY_SEAL_ROW_H

#include "core/spi.h"
#include "core/table.h"
#include "seal/block.h"

#include "lib/stringinfo.h"

/* A table whose rows are sealed: one with a seal key in core/table.c. */
typedef struct PaySealTable
{
	const char *name;
	const PayTable *of;
	const PayTableColumn *key;	/* PAY_TABLE_KEY_MAX columns, up to the first without a name */
	PayStmt		count;			/* rows of transactions from $1 to below $2, at most $3 */
	PayStmt		scan;			/* these rows by key */
	PayStmt		first;			/* the smallest transaction from $1 to below $2 */
	PayStmt		find;			/* the row with the key in $1, jsonb */
} PaySealTable;

/* By name, in the order of bytes. */
extern int	pay_seal_table_count(void);
extern PaySealTable *pay_seal_table(int i);
/* NULL if there is none of that name. */
extern PaySealTable *pay_seal_table_find(const char *name);

/* Reads rows of one table in order, in bounded memory.  Owns a portal and a crypto context. */
typedef struct PaySealScan PaySealScan;

extern PaySealScan *pay_seal_scan_begin(PaySealTable *table, uint64 from_xid, uint64 to_xid);
/* Returns false when there is none left. */
extern bool pay_seal_scan_next(PaySealScan *scan, PayHash *leaf);
/* Of the row read last. */
extern uint64 pay_seal_scan_xid(const PaySealScan *scan);
extern const char *pay_seal_scan_tree(const PaySealScan *scan);	/* until the next one is read */
extern char *pay_seal_scan_key(const PaySealScan *scan);	/* as a JSON object, palloc'd in the caller's context */
extern PayHasher *pay_seal_scan_hasher(PaySealScan *scan);
extern void pay_seal_scan_end(PaySealScan *scan);

/* The row's bytes and its tree, of one found by table->find: the only row of the last result. */
extern void pay_seal_row_bytes(PaySealTable *table, StringInfo bytes, uint64 *xid, const char **tree);

/* Microseconds since 1970; infinity stays what it is. */
extern int64 pay_seal_unix_us(TimestampTz moment);
extern TimestampTz pay_seal_from_unix_us(int64 us);

/* xid8 arguments and results. */
extern void pay_arg_xid8(PayArgs *args, uint64 value);
extern uint64 pay_spi_xid8(uint64 row, int column);

#endif							/* PAY_SEAL_ROW_H */
