/*
 * test/unit/test_block.c
 *		If this fails, a forged proof is taken, a genuine one refused, or a proof
 *		sent from outside crashes the server.
 */
// sources: ../../src/seal/merkle.c ../../src/seal/block.c
// libs: -lcrypto
#include "payments.h"

#include "seal/block.h"

#include "shim.h"
#include "tap.h"

#include <string.h>

static PayHasher *hasher;
static uint8 room[64 * 1024];

static char *
hex(const void *data, size_t bytes, char *text)
{
	for (size_t i = 0; i < bytes; i++)
		sprintf(text + 2 * i, "%02x", ((const uint8 *) data)[i]);
	return text;
}

/* A row of table "t" with one integer. */
static size_t
make_row(uint8 *row, uint64 value)
{
	static const uint8 start[] = {0, 0, 0, 0, 1, 't', 1, 'n', 'i', 0, 0, 0, 8};

	memcpy(row, start, sizeof(start));
	pay_put_be64(row + sizeof(start), value);
	return sizeof(start) + 8;
}

/* The proof of row number 2 of 5 in block 7, with block 8 behind it, where the tree of table t has that name. */
static char *
make_proof(const char *tree_name, PayHash *head)
{
	static char text[4096];
	char		digits[200];
	PayMerkle	tree;
	PayMerklePath path;
	PayBlock	block = {.number = 7, .from_xid = 10, .to_xid = 20, .sealed_us = 1795335630974302};
	PayBlockMessage message;
	PayHash		root;
	uint8		row[64];
	size_t		bytes;

	pay_merkle_init(&tree, &path, 2);
	for (int i = 0; i < 5; i++)
	{
		PayHash		leaf;

		bytes = make_row(row, i);
		pay_hasher_digest(hasher, row, bytes, &leaf);
		pay_merkle_add(&tree, hasher, &leaf);
	}
	pay_merkle_root(&tree, hasher, &root);
	bytes = make_row(row, 2);
	sprintf(text, "payments proof 1\nrow %s\nleaf 2 of 5\n", hex(row, bytes, digits));
	for (int i = 0; i < path.n; i++)
		sprintf(text + strlen(text), "path %s\n", hex(&path.hashes[i], PAY_HASH_BYTES, digits));
	memset(&block.previous, 0xaa, sizeof(PayHash));
	pay_block_begin(&message, &block);
	if (!pay_block_add(&message, tree_name, strlen(tree_name), 5, &root))
		return NULL;
	pay_block_digest(&message, hasher, head);
	sprintf(text + strlen(text), "block 7 %s 10 20 1795335630974302\n", hex(&block.previous, PAY_HASH_BYTES, digits));
	sprintf(text + strlen(text), "table %s 5 %s\n", tree_name, hex(&root, PAY_HASH_BYTES, digits));
	block.number = 8;
	block.previous = *head;
	block.from_xid = 20;
	block.to_xid = 21;
	pay_block_begin(&message, &block);
	pay_block_digest(&message, hasher, head);
	sprintf(text + strlen(text), "block 8 %s 20 21 1795335630974302\n", hex(&block.previous, PAY_HASH_BYTES, digits));
	return text;
}

static const char *
check(const char *proof, size_t bytes, const PayHash *head)
{
	/* A copy of the exact size, for AddressSanitizer. */
	char	   *copy = palloc(bytes);
	size_t		row_bytes;
	const char *problem;

	memcpy(copy, proof, bytes);
	problem = pay_proof_check(hasher, copy, bytes, head, room, &row_bytes);
	pfree(copy);
	return problem;
}

static void
test_proof(void)
{
	PayHash		head;
	char	   *proof = make_proof("t", &head);
	size_t		n = strlen(proof);
	int			taken = 0;

	OK(check(proof, n, &head) == NULL, "a genuine proof is taken");
	OK(check(proof, n - 1, &head) == NULL, "without its last line feed too");
	for (size_t i = 0; i < n; i++)
		for (const char *c = "08af \nx"; *c; c++)
		{
			char		was = proof[i];

			if (was == *c || (i == n - 1 && *c == '\n'))
				continue;
			proof[i] = *c;
			taken += check(proof, n, &head) == NULL;
			proof[i] = was;
		}
	OK(taken == 0, "none of its forgeries");
	for (size_t i = 0; i < n - 1; i++)
		taken += check(proof, i, &head) == NULL;
	OK(taken == 0, "nor a part of it");
	head.bytes[31] ^= 1;
	OK(check(proof, n, &head) != NULL, "nor against another head");
	proof = make_proof("t/2026-11", &head);
	OK(check(proof, strlen(proof), &head) == NULL, "one of a month of the table is taken");
	proof = make_proof("t2", &head);
	OK(check(proof, strlen(proof), &head) != NULL, "of another table it is not");
	proof = make_proof("t2/2026-11", &head);
	OK(check(proof, strlen(proof), &head) != NULL, "nor of a month of it");
}

static void
test_block(void)
{
	PayBlock	block = {0};
	PayBlockMessage message;
	PayHash		root = {{0}};
	bool		all = true;

	pay_block_begin(&message, &block);
	OK(message.n == 1 + 32 + 32 && message.bytes[0] == 2, "a block begins with what is fixed");
	OK(!pay_block_add(&message, "a", 1, 0, &root), "no table without rows");
	OK(!pay_block_add(&message, "", 0, 1, &root), "no table without a name");
	OK(pay_block_add(&message, "b", 1, 1, &root) && !pay_block_add(&message, "a", 1, 1, &root), "names ascend");
	OK(!pay_block_add(&message, "b", 1, 1, &root), "and differ");
	OK(pay_block_add(&message, "ba", 2, 1, &root), "the longer one follows");
	pay_block_begin(&message, &block);
	for (int i = 0; i < PAY_BLOCK_TREES_MAX; i++)
	{
		char		name[PAY_NAME_BYTES_MAX];

		memset(name, 'a', sizeof(name));
		name[0] += i / 16;
		name[1] += i % 16;
		all = all && pay_block_add(&message, name, sizeof(name), 1, &root);
	}
	OK(all && !pay_block_add(&message, "\xff", 1, 1, &root), "so many tables fit, and no more");
}

static void
test_row(void)
{
	uint8		row[64];
	size_t		bytes = make_row(row, 5);
	const char *name;
	size_t		name_bytes;
	size_t		at = pay_row_table(row, bytes, &name, &name_bytes);
	PayField	field;

	OK(at == 6 && name_bytes == 1 && name[0] == 't', "its table");
	OK(pay_row_next(row, bytes, &at, &field) && field.kind == 'i' && field.value_bytes == 8 && pay_get_be64(field.value) == 5, "its column");
	OK(!pay_row_next(row, bytes, &at, &field) && at == bytes, "its end");
	at = 6;
	OK(!pay_row_next(row, bytes - 1, &at, &field) && at == 6, "a value that is cut short");
	OK(pay_row_table(row, 4, &name, &name_bytes) == 0, "a row that is too short");
	row[0] = 1;
	OK(pay_row_table(row, bytes, &name, &name_bytes) == 0, "a node is no row");
}

int
main(void)
{
	hasher = pay_hasher_begin();
	test_proof();
	test_block();
	test_row();
	pay_hasher_end(hasher);
	shim_reset();
	return tap_done();
}
