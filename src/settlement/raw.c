/*
 * src/settlement/raw.c
 *		What an entry of a bank says, as it stood in the file.
 *
 * Readers look at what they take of it.  The rest is kept as well: attributes,
 * comments and processing instructions of XML, which may have references to
 * characters in them, and subfields of MT940, whose number stands right before
 * their text.
 */
#include "payments.h"

#include "core/arguments.h"
#include "settlement/raw.h"

#include "mb/pg_wchar.h"

static size_t reference_at(const char *raw, size_t bytes, pg_wchar *character);
static bool is_subfield(const char *raw, size_t bytes);

bool
pay_raw_hides_card_number(const char *raw, size_t bytes)
{
	char	   *plain;
	size_t		n = 0;
	bool		hides;

	if (memchr(raw, '&', bytes) == NULL && memchr(raw, '?', bytes) == NULL)
		return false;
	/* What is written here is never longer than what stands there. */
	plain = palloc(bytes + 1);
	for (size_t i = 0; i < bytes;)
	{
		pg_wchar	character;
		size_t		length = reference_at(raw + i, bytes - i, &character);

		if (length > 0)
		{
			unicode_to_utf8(character, (unsigned char *) plain + n);
			n += pg_utf_mblen((unsigned char *) plain + n);
			i += length;
		}
		else if (is_subfield(raw + i, bytes - i))
		{
			plain[n++] = ' ';
			i += 3;
		}
		else
			plain[n++] = raw[i++];
	}
	hides = pay_text_holds_card_number(plain, n);
	pfree(plain);
	return hides;
}

/* Bytes of the reference that stands there, decimal or hexadecimal; 0 if there is none, or none to a character. */
static size_t
reference_at(const char *raw, size_t bytes, pg_wchar *character)
{
	bool		hexadecimal = bytes > 2 && raw[0] == '&' && raw[1] == '#' && raw[2] == 'x';
	size_t		begin = hexadecimal ? 3 : 2,
				i = begin;

	if (bytes < 4 || raw[0] != '&' || raw[1] != '#')
		return 0;
	for (*character = 0; i < bytes && *character <= 0x10ffff; i++)
	{
		char		c = raw[i];
		int			digit = c >= '0' && c <= '9' ? c - '0' : !hexadecimal ? -1 :
			c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (digit < 0)
			break;
		*character = *character * (hexadecimal ? 16 : 10) + (pg_wchar) digit;
	}
	return i > begin && i < bytes && raw[i] == ';' && *character > 0 && *character <= 0x10ffff ? i + 1 : 0;
}

static bool
is_subfield(const char *raw, size_t bytes)
{
	return bytes >= 3 && raw[0] == '?' && raw[1] >= '0' && raw[1] <= '9' && raw[2] >= '0' && raw[2] <= '9';
}
