/*
 * test/unit/test_merkle.c
 *		If this fails, seals come out different than before (every block looks
 *		tampered with), or a forged proof is taken.
 */
// sources: ../../src/seal/merkle.c
// libs: -lcrypto
#include "payments.h"

#include "seal/merkle.h"

#include "shim.h"
#include "tap.h"

#include <string.h>

/* The leaves and roots of RFC 6962's reference implementation (certificate-transparency, merkle_tree_test). */
static const struct
{
	const char *data;
	size_t		bytes;
} inputs[8] = {
	{"", 0}, {"\x00", 1}, {"\x10", 1}, {"\x20\x21", 2}, {"\x30\x31", 2}, {"\x40\x41\x42\x43", 4},
	{"\x50\x51\x52\x53\x54\x55\x56\x57", 8}, {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16}
};

static const char *const roots[9] = {
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
};

static PayHasher *hasher;

static const char *
hex(const PayHash *hash)
{
	static char text[2 * PAY_HASH_BYTES + 1];

	for (int i = 0; i < PAY_HASH_BYTES; i++)
		sprintf(text + 2 * i, "%02x", hash->bytes[i]);
	return text;
}

static PayHash
leaf_of(const void *data, size_t bytes)
{
	uint8		message[64] = {0};
	PayHash		leaf;

	memcpy(message + 1, data, bytes);
	pay_hasher_digest(hasher, message, bytes + 1, &leaf);
	return leaf;
}

static PayHash
number_leaf(int64 i)
{
	return leaf_of(&i, sizeof(i));
}

/* RFC 6962, 2.1, to the letter. */
static PayHash
slow_root(int64 from, int64 n)
{
	PayHash		left,
				right;
	int64		k = 1;

	if (n == 1)
		return number_leaf(from);
	while (k * 2 < n)
		k *= 2;
	left = slow_root(from, k);
	right = slow_root(from + k, n - k);
	pay_merkle_node(hasher, &left, &right, &left);
	return left;
}

static void
test_vectors(void)
{
	for (int n = 0; n <= 8; n++)
	{
		PayMerkle	tree;
		PayHash		root;

		pay_merkle_init(&tree, NULL, 0);
		for (int i = 0; i < n; i++)
		{
			PayHash		leaf = leaf_of(inputs[i].data, inputs[i].bytes);

			pay_merkle_add(&tree, hasher, &leaf);
		}
		pay_merkle_root(&tree, hasher, &root);
		OK(strcmp(hex(&root), roots[n]) == 0, "root of the reference tree of %d", n);
	}
}

static void
test_shape(void)
{
	bool		same = true;

	for (int64 n = 1; n <= 200; n++)
	{
		PayMerkle	tree;
		PayHash		root,
					slow = slow_root(0, n);

		pay_merkle_init(&tree, NULL, 0);
		for (int64 i = 0; i < n; i++)
		{
			PayHash		leaf = number_leaf(i);

			pay_merkle_add(&tree, hasher, &leaf);
			/* Asking in between changes nothing. */
			pay_merkle_root(&tree, hasher, &root);
		}
		same = same && tree.leaves == n && memcmp(&root, &slow, sizeof(root)) == 0;
	}
	OK(same, "roots of up to 200 leaves are those of the definition");
}

static void
make(int64 n, int64 index, PayMerklePath *path, PayHash *root)
{
	PayMerkle	tree;

	pay_merkle_init(&tree, path, index);
	for (int64 i = 0; i < n; i++)
	{
		PayHash		leaf = number_leaf(i);

		pay_merkle_add(&tree, hasher, &leaf);
	}
	pay_merkle_root(&tree, hasher, root);
}

static void
test_paths(void)
{
	bool		right = true,
				forged = false;

	for (int64 n = 1; n <= 70; n++)
		for (int64 index = 0; index < n; index++)
		{
			PayMerklePath path;
			PayHash		root,
						found,
						leaf = number_leaf(index),
						other = number_leaf(n + 1);

			make(n, index, &path, &root);
			right = right && pay_merkle_follow(hasher, &leaf, index, n, path.hashes, path.n, &found) &&
				memcmp(&found, &root, sizeof(root)) == 0;
			forged = forged || (pay_merkle_follow(hasher, &other, index, n, path.hashes, path.n, &found) &&
								memcmp(&found, &root, sizeof(root)) == 0);
			for (int64 wrong = 0; wrong < n; wrong++)
				forged = forged || (wrong != index && pay_merkle_follow(hasher, &leaf, wrong, n, path.hashes, path.n, &found) &&
									memcmp(&found, &root, sizeof(root)) == 0);
			forged = forged || (path.n > 0 && pay_merkle_follow(hasher, &leaf, index, n, path.hashes, path.n - 1, &found));
			forged = forged || pay_merkle_follow(hasher, &leaf, index, n, path.hashes, path.n + 1, &found);
		}
	OK(right, "every path of up to 70 leaves leads to the root");
	OK(!forged, "none from another leaf, place or with another length");
}

static void
test_refused(void)
{
	PayHash		leaf = number_leaf(0),
				root;

	OK(!pay_merkle_follow(hasher, &leaf, 0, 0, NULL, 0, &root), "no leaf in an empty tree");
	OK(!pay_merkle_follow(hasher, &leaf, -1, 5, NULL, 0, &root), "no leaf before the first");
	OK(!pay_merkle_follow(hasher, &leaf, 5, 5, NULL, 0, &root), "none behind the last");
	OK(pay_merkle_follow(hasher, &leaf, 0, 1, NULL, 0, &root) && memcmp(&leaf, &root, sizeof(root)) == 0, "a single leaf is its root");
}

int
main(void)
{
	hasher = pay_hasher_begin();
	test_vectors();
	test_shape();
	test_paths();
	test_refused();
	pay_hasher_end(hasher);
	shim_reset();
	return tap_done();
}
