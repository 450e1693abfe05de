/*
 * test/fuzz/fuzz_json_slice.c
 *		If this fails, an answer of a PSP can crash the worker.
 */
// sources: ../../src/base/json_slice.c
#include "payments.h"

#include "base/json_slice.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static void
within(PaySlice inner, PaySlice outer)
{
	CHECK(inner.bytes > 0);
	CHECK(inner.at >= outer.at && inner.at + inner.bytes <= outer.at + outer.bytes);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	/* Exactly as long as the input: a byte read behind it is found out. */
	char	   *text = malloc(bytes > 0 ? bytes : 1);
	PaySlice	whole = {text, bytes};
	PaySlice	list,
				element,
				id;
	size_t		at = 0,
				before = 0,
				n = 0;

	memcpy(text, data, bytes);
	pay_slice_clean(text, bytes);
	if (pay_slice_member(whole, "data", &list) == PAY_SLICE_FOUND)
		within(list, whole);
	else
		list = whole;
	while (pay_slice_element(list, &at, &element) == PAY_SLICE_FOUND)
	{
		within(element, list);
		CHECK(at > before && at <= list.bytes);
		CHECK(element.at + element.bytes == list.at + at);
		before = at;
		CHECK(++n <= bytes);
		if (pay_slice_member(element, "id", &id) == PAY_SLICE_FOUND)
		{
			char	   *decoded = malloc(id.bytes);

			within(id, element);
			if (pay_slice_string(id, decoded))
				CHECK(strlen(decoded) + 2 <= id.bytes);
			free(decoded);
		}
	}
	/* Twice changes nothing more. */
	{
		char	   *again = malloc(bytes > 0 ? bytes : 1);

		memcpy(again, text, bytes);
		pay_slice_clean(again, bytes);
		CHECK(memcmp(again, text, bytes) == 0);
		free(again);
	}
	free(text);
	return 0;
}
