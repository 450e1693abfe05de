/*
 * src/base/header.c
 *		Reading headers that a peer wrote.
 *
 * Always true: no byte outside the given length is read, and whatever the peer
 * sends yields one of the documented values.  Nothing is kept between calls,
 * so a crash leaves nothing.
 */
#include "payments.h"

#include "base/header.h"

#include <string.h>

static bool is_blank(char c);
static void trim(const char **value, size_t *bytes);

bool
pay_header_split(const char *line, size_t bytes, PayHeader *header)
{
	const char *colon = bytes > 0 ? memchr(line, ':', bytes) : NULL;

	if (colon == NULL || colon == line)
		return false;
	header->name = line;
	header->name_bytes = (size_t) (colon - line);
	header->value = colon + 1;
	header->value_bytes = bytes - header->name_bytes - 1;
	trim(&header->value, &header->value_bytes);
	return true;
}

/* Ignores the case of ASCII letters, and the locale: strncasecmp's "I" is another letter in Turkish. */
bool
pay_header_is(const PayHeader *header, const char *name)
{
	if (strlen(name) != header->name_bytes)
		return false;
	for (size_t i = 0; i < header->name_bytes; i++)
	{
		char		c = header->name[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (c != name[i])
			return false;
	}
	return true;
}

/*
 * The date form of RFC 9110 is not read: it would need a clock, and the peer's
 * against ours at that.  The caller's own schedule then applies.
 */
int
pay_header_retry_after(const PayHeader *header)
{
	const char *value = header->value;
	size_t		bytes = header->value_bytes;
	int			seconds = 0;

	if (value == NULL)
		return -1;
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

void
pay_copy_printable(char *to, size_t size, const char *value, size_t bytes)
{
	size_t		n = Min(bytes, size - 1);

	Assert(size > 0);
	for (size_t i = 0; i < n; i++)
		to[i] = (value[i] >= ' ' && value[i] <= '~') ? value[i] : '?';
	to[n] = '\0';
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
