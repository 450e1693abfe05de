/*
 * test/fuzz/fuzz_pan.c
 *		If this fails, a text that a user sends in can crash the server, get past
 *		the mask for ever, or be changed where it holds none.
 */
// sources: ../../src/base/pan.c ../../src/base/digit.c ../../src/base/issuer.c ../../src/base/lookalike.c
#include "payments.h"

#include "base/pan.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

/* Wherever the look at it pauses. */
static int
mask_in_bits(char *text, size_t bytes)
{
	char	   *other = malloc(bytes);
	PayPanScan	scan = {0};
	int			in_bits = 0;
	int			masked;

	if (bytes > 0)
		memcpy(other, text, bytes);
	for (size_t until = 0; scan.at < bytes; until += 7)
		in_bits += pay_pan_mask_until(other, bytes, until < bytes ? until : bytes, &scan);
	masked = pay_pan_mask(text, bytes);
	CHECK(masked == in_bits && (bytes == 0 || memcmp(text, other, bytes) == 0));
	free(other);
	return masked;
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	/* A copy of the exact size: text comes without a closing NUL. */
	char	   *text = malloc(bytes);
	bool		found;
	int			masked;
	size_t		changed = 0;

	if (bytes > 0)
		memcpy(text, data, bytes);
	found = pay_pan_found(text, bytes);
	CHECK(bytes == 0 || memcmp(text, data, bytes) == 0);

	masked = mask_in_bits(text, bytes);
	CHECK(found == (masked > 0));
	for (size_t i = 0; i < bytes; i++)
	{
		if (text[i] == (char) data[i])
			continue;
		CHECK(data[i] >= 0x80 || (text[i] == '*' && data[i] >= '0' && data[i] <= '9'));
		changed++;
	}
	/* Of 12 to 19 digits all but ten, and a digit has up to four bytes. */
	CHECK(changed >= (size_t) masked * 2 && changed <= (size_t) masked * 9 * 4);

	/* What is left may look like a number together with its neighbours, but not for ever. */
	for (size_t passes = 0; pay_pan_mask(text, bytes) > 0; passes++)
		CHECK(passes < bytes);
	CHECK(!pay_pan_found(text, bytes));
	(void) pay_pan_mask_cut(text, bytes);
	CHECK(!pay_pan_found(text, bytes));
	pay_pan_blank(text, bytes);
	for (size_t i = 0; i < bytes; i++)
		CHECK(text[i] < '0' || text[i] > '9');
	free(text);
	return 0;
}
