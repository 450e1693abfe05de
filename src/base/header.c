/*
 * src/base/header.c
 *		Reading response headers that a peer wrote.
 *
 * Always true: no byte outside the given length is read, and whatever the peer
 * sends yields one of the documented values.  Nothing is kept between calls,
 * so a crash leaves nothing.
 */
#include "payments.h"

#include "base/header.h"

#include <string.h>

static bool equal(const char *text, const char *lower, size_t bytes);
static bool is_blank(char c);
static void trim(const char **value, size_t *bytes);

bool
pay_http_header(const char *line, size_t bytes, const char *name, const char **value, size_t *value_bytes)
{
	size_t		name_bytes = strlen(name);

	if (bytes <= name_bytes || line[name_bytes] != ':' || !equal(line, name, name_bytes))
		return false;
	*value = line + name_bytes + 1;
	*value_bytes = bytes - name_bytes - 1;
	trim(value, value_bytes);
	return true;
}

/*
 * The date form of RFC 9110 is not read: it would need a clock, and the peer's
 * against ours at that.  The caller's own schedule then applies.
 */
int
pay_http_retry_after(const char *value, size_t bytes)
{
	int			seconds = 0;

	trim(&value, &bytes);
	if (bytes == 0)
		return -1;
	for (size_t i = 0; i < bytes; i++)
	{
		if (value[i] < '0' || value[i] > '9')
			return -1;
		/* Stays far below INT_MAX however many digits follow. */
		seconds = Min(seconds * 10 + (value[i] - '0'), PAY_RETRY_AFTER_MAX);
	}
	return seconds;
}

int
pay_http_should_retry(const char *value, size_t bytes)
{
	trim(&value, &bytes);
	if (bytes == 4 && equal(value, "true", 4))
		return 1;
	if (bytes == 5 && equal(value, "false", 5))
		return 0;
	return -1;
}

void
pay_http_copy_printable(char *to, size_t size, const char *value, size_t bytes)
{
	size_t		n = Min(bytes, size - 1);

	Assert(size > 0);
	for (size_t i = 0; i < n; i++)
		to[i] = (value[i] >= ' ' && value[i] <= '~') ? value[i] : '?';
	to[n] = '\0';
}

/* Ignores the case of ASCII letters, and the locale: strncasecmp's "I" is another letter in Turkish. */
static bool
equal(const char *text, const char *lower, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
	{
		char		c = text[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (c != lower[i])
			return false;
	}
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void
trim(const char **value, size_t *bytes)
{
	while (*bytes > 0 && is_blank((*value)[0]))
	{
		(*value)++;
		(*bytes)--;
	}
	while (*bytes > 0 && is_blank((*value)[*bytes - 1]))
		(*bytes)--;
}
