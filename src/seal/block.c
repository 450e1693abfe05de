/*
 * src/seal/block.c
 *		The bytes that seals are made of, and the proof that a row was sealed.
 *
 * A proof comes from outside.  Whatever it says, nothing here reads past its
 * end, allocates or raises; it is refused at the first line that is not
 * exactly as seal_proof() would have written it.
 *
 *		payments proof 1
 *		row HEX
 *		leaf INDEX of ROWS
 *		path HEX					any number, lowest first
 *		block NUMBER PREVIOUS FROM TO SEALED_US
 *		table NAME ROWS ROOT		any number of trees, by name
 *		block ...					the blocks behind it up to the head
 */
#include "payments.h"

#include "seal/block.h"

#include "port/pg_bswap.h"

/* Digits of a number in a proof: more would not fit into 63 bits anyway. */
#define DIGITS_MAX 19

/* What is left to read; lines are handed out without their end. */
typedef struct PayReader
{
	const char *at;
	const char *end;
	const char *line;			/* rest of the current line */
	const char *line_end;
} PayReader;

/* What the first lines claim, to be found again in the first block. */
typedef struct PayClaimedLeaf
{
	const char *table;
	size_t		table_bytes;
	int64		rows;
	PayHash		root;
} PayClaimedLeaf;

static void put(PayBlockMessage *message, const void *data, size_t bytes);
static void put_be64(PayBlockMessage *message, uint64 value);
static int	compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes);
static uint32 get_be32(const uint8 *bytes);
static bool next_line(PayReader *reader, const char *word);
static bool peek_word(const PayReader *reader, const char *word);
static bool read_word(PayReader *reader, const char **word, size_t *bytes);
static bool read_number(PayReader *reader, int64 *value);
static bool read_hash(PayReader *reader, PayHash *hash);
static bool line_over(const PayReader *reader);
static bool read_row(PayReader *reader, uint8 *row, size_t *row_bytes);
static const char *read_leaf(PayReader *reader, PayHasher *hasher, uint8 *row, size_t *row_bytes, PayClaimedLeaf *claim);
static bool is_tree_of(const char *name, size_t name_bytes, const PayClaimedLeaf *claim);
static const char *read_block(PayReader *reader, PayHasher *hasher, PayBlock *block, const PayClaimedLeaf *claim, PayHash *digest);
static int	hex_digit(char c);

/* ---------- blocks ---------- */

static void
put(PayBlockMessage *message, const void *data, size_t bytes)
{
	Assert(message->n + bytes <= sizeof(message->bytes));
	memcpy(message->bytes + message->n, data, bytes);
	message->n += bytes;
}

void
pay_put_be64(uint8 *bytes, uint64 value)
{
	uint64		swapped = pg_hton64(value);

	memcpy(bytes, &swapped, sizeof(swapped));
}

uint64
pay_get_be64(const uint8 *bytes)
{
	uint64		value;

	memcpy(&value, bytes, sizeof(value));
	return pg_ntoh64(value);
}

static uint32
get_be32(const uint8 *bytes)
{
	uint32		value;

	memcpy(&value, bytes, sizeof(value));
	return pg_ntoh32(value);
}

static void
put_be64(PayBlockMessage *message, uint64 value)
{
	uint8		bytes[8];

	pay_put_be64(bytes, value);
	put(message, bytes, sizeof(bytes));
}

void
pay_block_begin(PayBlockMessage *message, const PayBlock *block)
{
	uint8		prefix = PAY_BLOCK_PREFIX;

	StaticAssertStmt(1 + PAY_HASH_BYTES + 4 * 8 + PAY_BLOCK_TREES_MAX * (4 + PAY_NAME_BYTES_MAX + 8 + PAY_HASH_BYTES)
					 <= sizeof(message->bytes), "a block fits");
	message->n = 0;
	message->trees = 0;
	message->last_bytes = 0;
	put(message, &prefix, 1);
	put(message, block->previous.bytes, PAY_HASH_BYTES);
	put_be64(message, (uint64) block->number);
	put_be64(message, block->from_xid);
	put_be64(message, block->to_xid);
	put_be64(message, (uint64) block->sealed_us);
}

static int
compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	int			order = memcmp(a, b, Min(a_bytes, b_bytes));

	return order != 0 ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

bool
pay_block_add(PayBlockMessage *message, const char *name, size_t name_bytes, int64 rows, const PayHash *root)
{
	uint32		length = pg_hton32((uint32) name_bytes);

	if (name_bytes == 0 || name_bytes > PAY_NAME_BYTES_MAX || rows <= 0 || message->trees == PAY_BLOCK_TREES_MAX ||
		(message->trees > 0 && compare_names(message->last, message->last_bytes, name, name_bytes) >= 0))
		return false;
	put(message, &length, sizeof(length));
	put(message, name, name_bytes);
	put_be64(message, (uint64) rows);
	put(message, root->bytes, PAY_HASH_BYTES);
	memcpy(message->last, name, name_bytes);
	message->last_bytes = name_bytes;
	message->trees++;
	return true;
}

void
pay_block_digest(const PayBlockMessage *message, PayHasher *hasher, PayHash *digest)
{
	pay_hasher_digest(hasher, message->bytes, message->n, digest);
}

/* ---------- rows ---------- */

size_t
pay_row_table(const uint8 *row, size_t bytes, const char **name, size_t *name_bytes)
{
	if (bytes < 5 || row[0] != PAY_ROW_PREFIX)
		return 0;
	*name_bytes = get_be32(row + 1);
	*name = (const char *) row + 5;
	if (*name_bytes == 0 || *name_bytes > PAY_NAME_BYTES_MAX || *name_bytes > bytes - 5)
		return 0;
	return 5 + *name_bytes;
}

bool
pay_row_next(const uint8 *row, size_t bytes, size_t *at, PayField *field)
{
	const uint8 *p = row + *at;
	size_t		left = bytes - *at;

	Assert(*at <= bytes);
	if (left < 1 || left < (size_t) 1 + p[0] + 1 + 4)
		return false;
	field->name_bytes = p[0];
	field->name = (const char *) p + 1;
	p += 1 + field->name_bytes;
	field->kind = (char) p[0];
	field->value_bytes = get_be32(p + 1);
	field->value = p + 5;
	left -= 1 + field->name_bytes + 1 + 4;
	if (field->value_bytes > left)
		return false;
	*at = (field->value + field->value_bytes) - row;
	return true;
}

/* ---------- proofs ---------- */

const char *
pay_proof_check(PayHasher *hasher, const char *proof, size_t bytes, const PayHash *head, uint8 *row, size_t *row_bytes)
{
	PayReader	reader = {proof, NULL, NULL, NULL};
	PayClaimedLeaf claim;
	PayBlock	block;
	PayHash		digest,
				previous;
	const char *problem;
	int64		number;

	/* As pasted from somewhere. */
	while (bytes > 0 && proof[bytes - 1] == '\n')
		bytes--;
	reader.end = proof + bytes;
	if (!next_line(&reader, "payments") || !peek_word(&reader, "proof 1") ||
		reader.line_end - reader.line != strlen("proof 1"))
		return "it is not a proof of form 1";
	problem = read_leaf(&reader, hasher, row, row_bytes, &claim);
	if (problem == NULL)
		problem = read_block(&reader, hasher, &block, &claim, &digest);
	if (problem != NULL)
		return problem;
	while (reader.at < reader.end)
	{
		previous = digest;
		number = block.number;
		problem = read_block(&reader, hasher, &block, NULL, &digest);
		if (problem != NULL)
			return problem;
		if (block.number != number + 1 || memcmp(&block.previous, &previous, sizeof(PayHash)) != 0)
			return "its blocks are not a chain";
	}
	if (memcmp(&digest, head, sizeof(PayHash)) != 0)
		return "its last block does not have the hash of the head";
	return NULL;
}

/* Row, leaf and path: what root do they claim? */
static const char *
read_leaf(PayReader *reader, PayHasher *hasher, uint8 *row, size_t *row_bytes, PayClaimedLeaf *claim)
{
	PayHash		leaf;
	PayHash		path[PAY_MERKLE_LEVELS];
	PayField	field;
	int64		index;
	size_t		at;
	int			n = 0;

	if (!next_line(reader, "row") || !read_row(reader, row, row_bytes))
		return "its row is malformed";
	at = pay_row_table(row, *row_bytes, &claim->table, &claim->table_bytes);
	while (at > 0 && pay_row_next(row, *row_bytes, &at, &field))
		;
	if (at != *row_bytes)
		return "its row is malformed";
	if (!next_line(reader, "leaf") || !read_number(reader, &index) || !peek_word(reader, "of "))
		return "its leaf is malformed";
	reader->line += strlen("of ");
	if (!read_number(reader, &claim->rows) || !line_over(reader))
		return "its leaf is malformed";
	while (next_line(reader, "path"))
	{
		if (n == PAY_MERKLE_LEVELS || !read_hash(reader, &path[n++]) || !line_over(reader))
			return "its path is malformed";
	}
	pay_hasher_digest(hasher, row, *row_bytes, &leaf);
	if (!pay_merkle_follow(hasher, &leaf, index, claim->rows, path, n, &claim->root))
		return "its path does not fit the number of rows";
	return NULL;
}

/* One block with its trees.  With a claim: it must have sealed that root. */
static const char *
read_block(PayReader *reader, PayHasher *hasher, PayBlock *block, const PayClaimedLeaf *claim, PayHash *digest)
{
	PayBlockMessage message;
	int64		from,
				to;
	bool		found = false;

	if (!next_line(reader, "block") || !read_number(reader, &block->number) || !read_hash(reader, &block->previous) ||
		!read_number(reader, &from) || !read_number(reader, &to) || !read_number(reader, &block->sealed_us) || !line_over(reader))
		return "a block is malformed";
	block->from_xid = (uint64) from;
	block->to_xid = (uint64) to;
	pay_block_begin(&message, block);
	while (next_line(reader, "table"))
	{
		const char *name;
		size_t		name_bytes;
		int64		rows;
		PayHash		root;

		if (!read_word(reader, &name, &name_bytes) || !read_number(reader, &rows) || !read_hash(reader, &root) ||
			!line_over(reader) || !pay_block_add(&message, name, name_bytes, rows, &root))
			return "a table of a block is malformed";
		if (claim && is_tree_of(name, name_bytes, claim))
			found = found || (rows == claim->rows && memcmp(&root, &claim->root, sizeof(PayHash)) == 0);
	}
	if (claim && !found)
		return "its block sealed something else";
	pay_block_digest(&message, hasher, digest);
	return NULL;
}

/* The table's own, or that of a month of it. */
static bool
is_tree_of(const char *name, size_t name_bytes, const PayClaimedLeaf *claim)
{
	const char *month = memchr(name, '/', name_bytes);

	return compare_names(name, month ? (size_t) (month - name) : name_bytes, claim->table, claim->table_bytes) == 0;
}

/* ---------- lines ---------- */

/* Moves to the next line if it begins with the word. */
static bool
next_line(PayReader *reader, const char *word)
{
	size_t		bytes = strlen(word);
	const char *end;

	if ((size_t) (reader->end - reader->at) <= bytes || memcmp(reader->at, word, bytes) != 0 || reader->at[bytes] != ' ')
		return false;
	end = memchr(reader->at, '\n', reader->end - reader->at);
	reader->line = reader->at + bytes + 1;
	reader->line_end = end ? end : reader->end;
	reader->at = end ? end + 1 : reader->end;
	return true;
}

static bool
peek_word(const PayReader *reader, const char *word)
{
	size_t		bytes = strlen(word);

	return (size_t) (reader->line_end - reader->line) >= bytes && memcmp(reader->line, word, bytes) == 0;
}

/* Up to the next space, behind which there is more, or the end of the line; not empty. */
static bool
read_word(PayReader *reader, const char **word, size_t *bytes)
{
	const char *p = reader->line;

	*word = p;
	while (p < reader->line_end && *p != ' ')
		p++;
	*bytes = p - *word;
	if (p + 1 == reader->line_end && *p == ' ')
		return false;
	reader->line = p < reader->line_end ? p + 1 : p;
	return *bytes > 0;
}

/* Without sign and leading zeros, so that each number has one spelling. */
static bool
read_number(PayReader *reader, int64 *value)
{
	const char *word;
	size_t		bytes;
	uint64		number = 0;

	if (!read_word(reader, &word, &bytes) || bytes > DIGITS_MAX || (word[0] == '0' && bytes > 1))
		return false;
	for (size_t i = 0; i < bytes; i++)
	{
		if (word[i] < '0' || word[i] > '9')
			return false;
		number = number * 10 + (word[i] - '0');
	}
	*value = (int64) number;
	return number <= (uint64) PG_INT64_MAX;
}

static bool
read_hash(PayReader *reader, PayHash *hash)
{
	const char *word;
	size_t		bytes;

	return read_word(reader, &word, &bytes) && pay_hash_parse(word, bytes, hash);
}

static bool
line_over(const PayReader *reader)
{
	return reader->line == reader->line_end;
}

static bool
read_row(PayReader *reader, uint8 *row, size_t *row_bytes)
{
	const char *word;
	size_t		bytes;

	if (!read_word(reader, &word, &bytes) || !line_over(reader) || bytes % 2 != 0)
		return false;
	for (size_t i = 0; i < bytes; i += 2)
	{
		int			high = hex_digit(word[i]);
		int			low = hex_digit(word[i + 1]);

		if (high < 0 || low < 0)
			return false;
		row[i / 2] = (uint8) (high << 4 | low);
	}
	*row_bytes = bytes / 2;
	return true;
}

bool
pay_hash_parse(const char *hex, size_t bytes, PayHash *hash)
{
	if (bytes != 2 * PAY_HASH_BYTES)
		return false;
	for (int i = 0; i < PAY_HASH_BYTES; i++)
	{
		int			high = hex_digit(hex[2 * i]);
		int			low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		hash->bytes[i] = (uint8) (high << 4 | low);
	}
	return true;
}

/* Lower case alone: one spelling. */
static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
