/*
 * src/core/table.h
 *		The tables that setup() makes, and what holds for their rows.
 *
 * One row a table, in table.c.  A new table is that row and its CREATE TABLE
 * with its comments; guards, seals, partitions and grants follow.
 * ci/tables_registered compares the two.
 */
#ifndef PAY_TABLE_H
#define PAY_TABLE_H

#define PAY_TABLE_KEY_MAX 4
#define PAY_TABLE_PROJECTION_MAX 24
#define PAY_TABLE_WORDS_MAX 16

/* What triggers hold of its rows, for every role. */
typedef enum PayTableRows
{
	PAY_ROWS_FREE,				/* nothing, but for a guard of its own: settings, and how far something has come */
	PAY_ROWS_NO_TRUNCATE,		/* that they do not go all at once; nor do those with a guard of their own */
	PAY_ROWS_CONSUMED,			/* and that none changes; each goes when it was dealt with */
	PAY_ROWS_FACTS,				/* and that none goes, only the projection changes, and words are known ones */
	PAY_ROWS_APPEND_ONLY,		/* that none changes nor goes */
} PayTableRows;

typedef struct PayTableColumn
{
	const char *name;
	const char *type;
} PayTableColumn;

/* A column that holds one of a few words. */
typedef struct PayTableWords
{
	const char *column;
	const char *words[PAY_TABLE_WORDS_MAX]; /* up to the first NULL, as all lists here */
} PayTableWords;

typedef struct PayTable
{
	const char *name;
	PayTableRows rows;
	const char *own_guard;		/* a trigger beside the CREATE TABLE that check() must find armed */
	const char *projection[PAY_TABLE_PROJECTION_MAX];	/* columns that an UPDATE may change; all others are facts */
	PayTableWords words[4];		/* of PAY_ROWS_FACTS */

	/*
	 * Its facts are sealed: leaves are in the order of these columns, for ever,
	 * whatever the primary key is or becomes.
	 */
	PayTableColumn seal_key[PAY_TABLE_KEY_MAX];

	/* Partitioned by month: a timestamptz, or a uuid that is a UUIDv7.  Retiring a month asks for its seals. */
	PayTableColumn partition_key;

	/* Operators, administrators and auditors read every table; applications those that say so. */
	bool		app_reads;

	/* Of which a role sees the rows of its merchants: by the merchant's name, or by the column of that name in another table. */
	const char *merchant_by;
	const char *merchant_in;
} PayTable;

/* By name, in the order of bytes. */
extern const PayTable *pay_table(int i);
extern int	pay_table_count(void);
/* NULL if there is none of that name. */
extern const PayTable *pay_table_find(const char *name);

/* false where there is no table. */
extern bool pay_table_in_projection(const PayTable *table, const char *column);
/* Is it protected from DDL as well?  Those are whose rows have a guard. */
extern bool pay_table_guarded(const PayTable *table);
extern bool pay_table_sealed(const PayTable *table);

#endif							/* PAY_TABLE_H */
