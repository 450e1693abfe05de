/*
 * src/seal/merkle.h
 *		Merkle trees in the shape of RFC 6962, over SHA-256.
 *
 *		leaf	SHA-256(0x00 || data)
 *		node	SHA-256(0x01 || left || right)
 *		none	SHA-256()
 *
 * A tree of n leaves splits at the largest power of two below n.  No leaf is
 * ever doubled, and a leaf cannot be taken for a node, so no two lists of
 * leaves have the same root.
 */
#ifndef PAY_MERKLE_H
#define PAY_MERKLE_H

/* More levels than a tree of 2^63 leaves has. */
#define PAY_MERKLE_LEVELS 64

typedef struct PayHash
{
	uint8		bytes[PAY_HASH_BYTES];
} PayHash;

/*
 * A crypto context for many digests.  It belongs to the current resource
 * owner, so an error frees it; end it in the function that began it.
 */
typedef struct PayHasher PayHasher;

extern PayHasher *pay_hasher_begin(void);
extern void pay_hasher_end(PayHasher *hasher);
/* SHA-256 of the bytes.  Raises only when the crypto library fails. */
extern void pay_hasher_digest(PayHasher *hasher, const void *data, size_t bytes, PayHash *digest);
extern void pay_merkle_node(PayHasher *hasher, const PayHash *left, const PayHash *right, PayHash *digest);

/* The way from one leaf to the root: the other side of each node, lowest first. */
typedef struct PayMerklePath
{
	int64		index;			/* of the leaf, from 0 */
	int			n;
	int			at;				/* where in the stack the leaf's subtree stands; -1: not yet added */
	PayHash		hashes[PAY_MERKLE_LEVELS];
} PayMerklePath;

/* A tree that grows leaf by leaf, in bounded memory. */
typedef struct PayMerkle
{
	int64		leaves;
	int			depth;
	PayHash		stack[PAY_MERKLE_LEVELS];	/* roots of complete subtrees, largest first */
	PayMerklePath *path;		/* NULL: none is wanted */
} PayMerkle;

/* `path` is NULL, or gets the way of leaf number `index` once the root is asked for. */
extern void pay_merkle_init(PayMerkle *tree, PayMerklePath *path, int64 index);
extern void pay_merkle_add(PayMerkle *tree, PayHasher *hasher, const PayHash *leaf);
/* The tree may grow on afterwards, unless a path was wanted. */
extern void pay_merkle_root(PayMerkle *tree, PayHasher *hasher, PayHash *root);

/*
 * The root to which a path leads from leaf number `index` of `leaves` (RFC
 * 9162, 2.1.3.2).  Returns false when no such path can have this length.
 */
extern bool pay_merkle_follow(PayHasher *hasher, const PayHash *leaf, int64 index, int64 leaves,
							  const PayHash *path, int n, PayHash *root);

#endif							/* PAY_MERKLE_H */
