/*
 * src/seal/merkle.c
 *		Merkle trees in the shape of RFC 6962, over SHA-256.
 *
 * The stack holds the roots of complete subtrees, one for each bit set in the
 * number of leaves.  Adding a leaf merges as a carry does in a binary counter,
 * so a tree of any size takes 2 kB.
 */
#include "payments.h"

#include "seal/merkle.h"

#include "common/cryptohash.h"

#define NODE_PREFIX 0x01

struct PayHasher
{
	pg_cryptohash_ctx *context;
};

static void merge_top(PayMerkle *tree, PayHasher *hasher);
pg_noreturn static void fail(void);

PayHasher *
pay_hasher_begin(void)
{
	PayHasher  *hasher = palloc(sizeof(PayHasher));

	hasher->context = pg_cryptohash_create(PG_SHA256);
	if (hasher->context == NULL)
		fail();
	return hasher;
}

void
pay_hasher_end(PayHasher *hasher)
{
	pg_cryptohash_free(hasher->context);
	pfree(hasher);
}

static void
fail(void)
{
	ereport(ERROR,
			(errcode(PAY_ERR_INTERNAL),
			 errmsg("could not compute a SHA-256 digest"),
			 errhint("The server's OpenSSL refused it; look for memory or policy limits in its log.")));
}

void
pay_hasher_digest(PayHasher *hasher, const void *data, size_t bytes, PayHash *digest)
{
	if (pg_cryptohash_init(hasher->context) < 0 ||
		pg_cryptohash_update(hasher->context, data, bytes) < 0 ||
		pg_cryptohash_final(hasher->context, digest->bytes, PAY_HASH_BYTES) < 0)
		fail();
}

void
pay_merkle_node(PayHasher *hasher, const PayHash *left, const PayHash *right, PayHash *digest)
{
	uint8		message[1 + 2 * PAY_HASH_BYTES];

	message[0] = NODE_PREFIX;
	memcpy(message + 1, left->bytes, PAY_HASH_BYTES);
	memcpy(message + 1 + PAY_HASH_BYTES, right->bytes, PAY_HASH_BYTES);
	pay_hasher_digest(hasher, message, sizeof(message), digest);
}

void
pay_merkle_init(PayMerkle *tree, PayMerklePath *path, int64 index)
{
	tree->leaves = 0;
	tree->depth = 0;
	tree->path = path;
	if (path == NULL)
		return;
	path->index = index;
	path->n = 0;
	path->at = -1;
}

/* Makes one of the two topmost subtrees; if one holds the leaf of the path, the other is a part of that. */
static void
merge_top(PayMerkle *tree, PayHasher *hasher)
{
	PayHash    *left = &tree->stack[tree->depth - 2];
	PayHash    *right = &tree->stack[tree->depth - 1];
	PayMerklePath *path = tree->path;

	Assert(tree->depth >= 2);
	if (path && (path->at == tree->depth - 2 || path->at == tree->depth - 1))
	{
		Assert(path->n < PAY_MERKLE_LEVELS);
		path->hashes[path->n++] = path->at == tree->depth - 2 ? *right : *left;
		path->at = tree->depth - 2;
	}
	pay_merkle_node(hasher, left, right, left);
	tree->depth--;
}

void
pay_merkle_add(PayMerkle *tree, PayHasher *hasher, const PayHash *leaf)
{
	Assert(tree->depth < PAY_MERKLE_LEVELS);
	tree->stack[tree->depth] = *leaf;
	if (tree->path && tree->path->index == tree->leaves)
		tree->path->at = tree->depth;
	tree->depth++;
	tree->leaves++;
	for (int64 carry = tree->leaves; (carry & 1) == 0; carry >>= 1)
		merge_top(tree, hasher);
}

void
pay_merkle_root(PayMerkle *tree, PayHasher *hasher, PayHash *root)
{
	PayMerkle	closed;

	if (tree->leaves == 0)
	{
		pay_hasher_digest(hasher, "", 0, root);
		return;
	}
	closed = *tree;
	while (closed.depth > 1)
		merge_top(&closed, hasher);
	*root = closed.stack[0];
}

bool
pay_merkle_follow(PayHasher *hasher, const PayHash *leaf, int64 index, int64 leaves,
				  const PayHash *path, int n, PayHash *root)
{
	uint64		at = (uint64) index;
	uint64		last = (uint64) leaves - 1;

	if (leaves <= 0 || index < 0 || index >= leaves)
		return false;
	*root = *leaf;
	for (int i = 0; i < n; i++)
	{
		if (last == 0)
			return false;		/* longer than the tree is high */
		if ((at & 1) || at == last)
		{
			pay_merkle_node(hasher, &path[i], root, root);
			while ((at & 1) == 0 && at != 0)
			{
				at >>= 1;
				last >>= 1;
			}
		}
		else
			pay_merkle_node(hasher, root, &path[i], root);
		at >>= 1;
		last >>= 1;
	}
	return last == 0;
}
