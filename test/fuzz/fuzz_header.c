/*
 * test/fuzz/fuzz_header.c
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
	PayHeader	header = {"retry-after", 11, line, bytes};
	int			seconds;

	if (bytes > 0)
		memcpy(line, data, bytes);
	seconds = pay_header_retry_after(&header);
	CHECK(seconds >= -1 && seconds <= PAY_RETRY_AFTER_MAX);

	if (pay_header_split(line, bytes, &header))
	{
		CHECK(header.name == line && header.name_bytes > 0);
		CHECK(line[header.name_bytes] == ':' && memchr(line, ':', header.name_bytes) == NULL);
		CHECK(header.value > line && header.value + header.value_bytes <= line + bytes);
		(void) pay_header_is(&header, "retry-after");
		seconds = pay_header_retry_after(&header);
		CHECK(seconds >= -1 && seconds <= PAY_RETRY_AFTER_MAX);
	}

	pay_copy_printable(printable, sizeof(printable), line, bytes);
	CHECK(strlen(printable) == Min(bytes, sizeof(printable) - 1));
	for (const char *c = printable; *c != '\0'; c++)
		CHECK(*c >= ' ' && *c <= '~');
	free(line);
	return 0;
}
