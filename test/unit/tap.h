/*
 * test/unit/tap.h
 *		Just enough of the Test Anything Protocol for a unit test in C.
 *
 * End main() with "return tap_done();".
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>

static int	tap_n = 0;
static int	tap_failed = 0;

static bool
tap_ok(bool passed, const char *file, int line, const char *format,...) __attribute__((format(printf, 4, 5)));

static bool
tap_ok(bool passed, const char *file, int line, const char *format,...)
{
	char		name[256];
	va_list		args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	/* '#' would start a TAP directive. */
	for (char *c = name; *c != '\0'; c++)
		if (*c == '#' || *c == '\n')
			*c = '?';
	printf("%sok %d - %s\n", passed ? "" : "not ", ++tap_n, name);
	if (!passed)
	{
		tap_failed++;
		printf("#   at %s line %d\n", file, line);
	}
	return passed;
}

static int
tap_done(void)
{
	printf("1..%d\n", tap_n);
	return tap_failed == 0 ? 0 : 1;
}

#define OK(passed, ...) tap_ok((passed), __FILE__, __LINE__, __VA_ARGS__)

#endif							/* TAP_H */
