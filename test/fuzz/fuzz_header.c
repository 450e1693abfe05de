/*
 * test/fuzz/fuzz_header_parse.c
 *		If this fails, a PSP (or who speaks for it) can crash the server or have
 *		an operation wait for ever with a header line.
 */
// sources: ../../src/base/header.c
#include "payments.h"

#include "base/header.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	/* A copy of the exact size: headers come without a closing NUL. */
	char	   *line = malloc(bytes);
	char		printable[16];
	const char *value;
	size_t		value_bytes;
	int			seconds;
	int			again;

	if (bytes > 0)
		memcpy(line, data, bytes);
	seconds = pay_http_retry_after(line, bytes);
	CHECK(seconds >= -1 && seconds <= PAY_RETRY_AFTER_MAX);
	again = pay_http_should_retry(line, bytes);
	CHECK(again >= -1 && again <= 1);
	CHECK(seconds == -1 || again == -1);

	if (pay_http_header(line, bytes, "retry-after", &value, &value_bytes))
	{
		CHECK(value > line && value + value_bytes <= line + bytes);
		seconds = pay_http_retry_after(value, value_bytes);
		CHECK(seconds >= -1 && seconds <= PAY_RETRY_AFTER_MAX);
	}

	pay_http_copy_printable(printable, sizeof(printable), line, bytes);
	CHECK(strlen(printable) == Min(bytes, sizeof(printable) - 1));
	for (const char *c = printable; *c != '\0'; c++)
		CHECK(*c >= ' ' && *c <= '~');
	free(line);
	return 0;
}
