/*
 * src/seal/leaf.h
 *		The leaves of sealed rows, as table seal_leaf keeps them.
 */
#ifndef PAY_SEAL_LEAF_H
#define PAY_SEAL_LEAF_H

#include "seal/merkle.h"

/* Writes the leaves of one table in one block, in order. */
typedef struct PayLeafWriter PayLeafWriter;

extern PayLeafWriter *pay_leaf_writer_begin(int64 block, const char *name);
extern void pay_leaf_write(PayLeafWriter *writer, const PayHash *leaf);
extern void pay_leaf_writer_end(PayLeafWriter *writer);

/* Reads them; a chunk at a time is in memory. */
typedef struct PayLeafReader
{
	int64		block;
	const char *name;
	int64		rows;			/* as the block says */
	int64		chunk;			/* that is in memory; -1: none */
	int			n;				/* leaves in it */
	PayHash    *leaves;
} PayLeafReader;

extern void pay_leaf_reader_begin(PayLeafReader *reader, int64 block, const char *name, int64 rows);
/* Leaf number i, good until the next call; NULL behind the last one, and when it is not there. */
extern const PayHash *pay_leaf_at(PayLeafReader *reader, int64 i);
extern void pay_leaf_reader_end(PayLeafReader *reader);

/* A hash from a table.  The first returns false when it is null or of another length, the second raises. */
extern bool pay_leaf_hash_copy(const bytea *value, PayHash *hash);
extern void pay_leaf_hash(const bytea *value, PayHash *hash);

#endif							/* PAY_SEAL_LEAF_H */
