/*
 * src/seal/block.h
 *		The bytes that seals are made of.  docs/sealing.md says the same for
 *		those who check outside of the database; what is sealed stays sealed in
 *		this form for ever.  All integers are big-endian.
 *
 *	row		0x00
 *			length of the table's name (4 bytes), the name
 *			for each column that is not null, by name in the order of bytes:
 *				length of the name (1), the name, the kind of the value (1),
 *				its length (4), its bytes
 *	kinds	'i' integer (8 bytes)		'b' boolean (1)		'x' xid8 (8)
 *			'm' moment, microseconds since 1970-01-01 UTC (8)
 *			't' text, UTF-8				'y' bytea			'u' uuid (16)
 *			'j' jsonb, as PostgreSQL writes it	'o' any other type, as it writes it
 *	leaf	SHA-256 of the row; trees as in merkle.h
 *	block	SHA-256 of 0x02, hash of the block before (zeros for the first),
 *			number (8), from_xid (8), to_xid (8), sealed_at (8, as 'm'),
 *			for each tree with rows, by name in the order of bytes:
 *				length of the name (4), the name, rows (8), root (32)
 *	names	of a tree: the table's, and of a partitioned table the table's,
 *			"/" and the month of its rows in UTC, as in posting/2026-11
 */
#ifndef PAY_SEAL_BLOCK_H
#define PAY_SEAL_BLOCK_H

#include "seal/merkle.h"

#define PAY_ROW_PREFIX 0x00
#define PAY_BLOCK_PREFIX 0x02
#define PAY_NAME_BYTES_MAX 63
#define PAY_BLOCK_TREES_MAX 512

typedef struct PayBlock
{
	int64		number;
	PayHash		previous;
	uint64		from_xid;
	uint64		to_xid;
	int64		sealed_us;		/* since 1970 */
} PayBlock;

/* What a block's hash is taken of, as it grows. */
typedef struct PayBlockMessage
{
	size_t		n;
	int			trees;
	size_t		last_bytes;		/* name added last */
	char		last[PAY_NAME_BYTES_MAX];
	uint8		bytes[56 * 1024];
} PayBlockMessage;

extern void pay_block_begin(PayBlockMessage *message, const PayBlock *block);
/* Returns false unless names ascend, there is room, and rows is above zero. */
extern bool pay_block_add(PayBlockMessage *message, const char *name, size_t name_bytes, int64 rows, const PayHash *root);
extern void pay_block_digest(const PayBlockMessage *message, PayHasher *hasher, PayHash *digest);

/* A column of a sealed row. */
typedef struct PayField
{
	const char *name;
	size_t		name_bytes;
	char		kind;
	const uint8 *value;
	size_t		value_bytes;
} PayField;

/* Reads the table's name; returns where the columns begin, 0 when malformed. */
extern size_t pay_row_table(const uint8 *row, size_t bytes, const char **name, size_t *name_bytes);
/* The next column from *at on.  Returns false at the end, and when the rest is malformed (then *at is not at the end). */
extern bool pay_row_next(const uint8 *row, size_t bytes, size_t *at, PayField *field);

/* A digest in 64 lower-case hex digits. */
extern bool pay_hash_parse(const char *hex, size_t bytes, PayHash *hash);
extern uint64 pay_get_be64(const uint8 *bytes);
extern void pay_put_be64(uint8 *bytes, uint64 value);

/*
 * Checks a proof, as written by seal_proof(), against a head.  `row` has room
 * for bytes / 2 and receives the sealed row.  Returns NULL when it proves that
 * the row was sealed, else why not (a constant).
 */
extern const char *pay_proof_check(PayHasher *hasher, const char *proof, size_t bytes, const PayHash *head,
								   uint8 *row, size_t *row_bytes);

#endif							/* PAY_SEAL_BLOCK_H */
