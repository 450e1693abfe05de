/*
 * test/fuzz/fuzz_block.c
 *		If this fails, a proof that somebody sends in crashes the server, or is
 *		taken without having the head's hash.
 */
// sources: ../../src/seal/merkle.c ../../src/seal/block.c
// libs: -lcrypto
#include "payments.h"

#include "seal/block.h"

#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	static PayHasher *hasher = NULL;
	PayHash		head;
	/* Copies of the exact size: text comes without a closing NUL. */
	char	   *proof = malloc(bytes);
	uint8	   *row = malloc(bytes / 2);
	size_t		row_bytes = 0;

	if (hasher == NULL)
		hasher = pay_hasher_begin();
	if (bytes > 0)
		memcpy(proof, data, bytes);
	/* Nobody finds a proof that leads here. */
	memset(&head, 0x5a, sizeof(head));
	CHECK(pay_proof_check(hasher, proof, bytes, &head, row, &row_bytes) != NULL);
	CHECK(row_bytes <= bytes / 2);

	/* The bytes themselves as a row. */
	{
		const char *name;
		size_t		name_bytes;
		size_t		at = pay_row_table((const uint8 *) proof, bytes, &name, &name_bytes);
		PayField	field;

		while (at > 0 && pay_row_next((const uint8 *) proof, bytes, &at, &field))
			CHECK(at <= bytes && field.value + field.value_bytes <= (const uint8 *) proof + bytes);
	}
	free(row);
	free(proof);
	return 0;
}
