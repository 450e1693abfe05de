/*
 * test/unit/test_header.c
 *		If this fails, a PSP's wish to be left alone for a while is misread, or
 *		one header is taken for another.
 */
// sources: ../../src/base/header.c
#include "payments.h"

#include "base/header.h"

#include "tap.h"

#include <string.h>

static int
retry_after(const char *value)
{
	PayHeader	header = {"retry-after", 11, value, strlen(value)};

	return pay_header_retry_after(&header);
}

static void
test_headers(void)
{
	const char *line = "Retry-After:  120 \r\n";
	PayHeader	nul = {"retry-after", 11, "1\0002", 3};
	PayHeader	cut = {"retry-after", 11, "123", 2};
	PayHeader	none = {"retry-after", 11, NULL, 0};
	PayHeader	header;
	char		copy[8];

	OK(retry_after("0") == 0, "retry-after 0");
	OK(retry_after("120") == 120, "retry-after 120");
	OK(retry_after(" 120\t\r\n") == 120, "blanks around it");
	OK(retry_after("00000000000000000000000012") == 12, "leading zeros");
	OK(retry_after("3600") == 3600 && retry_after("3601") == 3600, "at most an hour");
	OK(retry_after("99999999999999999999999999999999") == 3600, "no overflow");
	OK(retry_after("") == -1 && retry_after("  ") == -1, "nothing is not said");
	OK(retry_after("-5") == -1 && retry_after("+5") == -1, "signs are garbage");
	OK(retry_after("1.5") == -1 && retry_after("5s") == -1 && retry_after("0x10") == -1, "so is anything but digits");
	OK(retry_after("1 2") == -1, "so are two numbers");
	OK(retry_after("Wed, 21 Oct 2026 07:28:00 GMT") == -1, "a date is not read");
	OK(pay_header_retry_after(&nul) == -1, "so is a NUL");
	OK(pay_header_retry_after(&cut) == 12, "no byte beyond the length is read");
	OK(pay_header_retry_after(&none) == -1, "a value that is not one string is not said");

	OK(pay_header_split(line, strlen(line), &header) && header.value_bytes == 3 && memcmp(header.value, "120", 3) == 0, "a header line is split");
	OK(pay_header_is(&header, "retry-after"), "its name in whatever case");
	OK(!pay_header_is(&header, "retry-afte") && !pay_header_is(&header, "retry-after2"), "its name must match to the end");
	OK(!pay_header_split("retry-after", 11, &header), "and have a colon");
	OK(!pay_header_split("HTTP/1.1 200 OK", 15, &header), "which a status line has not");
	OK(!pay_header_split("", 0, &header) && !pay_header_split("\r\n", 2, &header) && !pay_header_split(": 1", 3, &header), "nor has nothing");
	OK(pay_header_split("retry-after :5", 14, &header) && !pay_header_is(&header, "retry-after"), "right behind it");
	OK(pay_header_split("retry-after:", 12, &header) && header.value_bytes == 0, "a value may be empty");

	pay_copy_printable(copy, sizeof(copy), "a\n\xff" "b\0c", 6);
	OK(strcmp(copy, "a??b?c") == 0, "what is not printable is masked");
	pay_copy_printable(copy, sizeof(copy), "0123456789", 10);
	OK(strcmp(copy, "0123456") == 0, "what does not fit is cut");
}

int
main(void)
{
	test_headers();
	return tap_done();
}
