/*
 * src/base/lookalike.c
 *		What holds many digits and is no card number.
 *
 * UUIDs and digests, since every text of machines is full of them; numbers of
 * bank accounts, whose digits look like those of a card when spaced out.
 */
#include "payments.h"

#include "base/lookalike.h"

#define UUID_BYTES 36

/* Of a word of hexadecimal digits: a trace of a magnetic stripe (number, "D", more digits, "F") has no more letters than two. */
#define HASH_BYTES_MIN 20
#define HASH_LETTERS_MIN 4

/* The reference of a creditor (ISO 11649), with RF for a country, has digits enough for a card from so many on. */
#define RF_BYTES_MIN 15
#define RF_BYTES_MAX 25

/* The countries of IBANs, each with its length.  Poland writes its own without the country. */
static const char iban_lengths[] =
	"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27"
	"GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24"
	"PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

static size_t uuid_at(const char *text, size_t bytes, size_t i);
static size_t account_at(const char *text, size_t bytes, size_t i);
static size_t read_account(const char *text, size_t bytes, size_t i, const char *head, size_t least, size_t most);
static bool is_right(int remainder, const char *head);
static size_t iban_length(char first, char second);
static int	mod_97(int remainder, char c);

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char
upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char) (c - 'a' + 'A') : c;
}

static inline bool
is_letter(char c)
{
	return upper(c) >= 'A' && upper(c) <= 'Z';
}

static inline bool
is_hex(char c)
{
	return is_digit(c) || (upper(c) >= 'A' && upper(c) <= 'F');
}

static inline bool
is_alnum(char c)
{
	return is_digit(c) || is_letter(c);
}

size_t
pay_lookalike_at(const char *text, size_t bytes, size_t i)
{
	size_t		length = uuid_at(text, bytes, i);

	return length > 0 ? length : account_at(text, bytes, i);
}

bool
pay_lookalike_hash(const char *word, size_t bytes)
{
	size_t		letters = 0;

	if (bytes > 2 && word[0] == '0' && word[1] == 'x')
	{
		word += 2;
		bytes -= 2;
	}
	for (size_t i = 0; i < bytes; i++)
	{
		if (!is_hex(word[i]))
			return false;
		letters += !is_digit(word[i]);
	}
	return bytes >= HASH_BYTES_MIN && letters >= HASH_LETTERS_MIN;
}

/* Length of the UUID that begins here, or 0. */
static size_t
uuid_at(const char *text, size_t bytes, size_t i)
{
	if (bytes - i < UUID_BYTES)
		return 0;
	for (size_t k = 0; k < UUID_BYTES; k++)
	{
		bool		dash = k == 8 || k == 13 || k == 18 || k == 23;

		if (dash ? text[i + k] != '-' : !is_hex(text[i + k]))
			return 0;
	}
	if (bytes - i > UUID_BYTES && is_alnum(text[i + UUID_BYTES]))
		return 0;
	return UUID_BYTES;
}

/* Bytes of the number of an account that begins here, written with or without single blanks, or 0. */
static size_t
account_at(const char *text, size_t bytes, size_t i)
{
	char		head[] = "PL00";
	size_t		head_bytes = 4;
	size_t		least,
				most;
	size_t		rest;

	if (bytes - i < 4)
		return 0;
	if (is_digit(text[i]) && is_digit(text[i + 1]) && text[i + 2] == ' ')
	{
		head_bytes = 2;
		memcpy(head + 2, text + i, 2);
	}
	else if (is_letter(text[i]) && is_letter(text[i + 1]) && is_digit(text[i + 2]) && is_digit(text[i + 3]))
		for (int k = 0; k < 4; k++)
			head[k] = upper(text[i + k]);
	else
		return 0;
	least = most = iban_length(head[0], head[1]);
	if (head[0] == 'R' && head[1] == 'F')
	{
		least = RF_BYTES_MIN;
		most = RF_BYTES_MAX;
	}
	if (most == 0)
		return 0;
	rest = read_account(text, bytes, i + head_bytes, head, least - 4, most - 4);
	return rest > 0 ? head_bytes + rest : 0;
}

/* Bytes of what follows the country and the check digits, or 0: is it so long, and are they right? */
static size_t
read_account(const char *text, size_t bytes, size_t i, const char *head, size_t least, size_t most)
{
	int			remainder = 0;
	size_t		n = 0;

	for (size_t k = i; k < bytes && n < most; k++)
	{
		if (text[k] == ' ' && k + 1 < bytes && is_alnum(text[k + 1]))
			continue;
		if (!is_alnum(text[k]))
			return 0;
		remainder = mod_97(remainder, upper(text[k]));
		n++;
		if (n >= least && (k + 1 == bytes || !is_alnum(text[k + 1])) && is_right(remainder, head))
			return k + 1 - i;
	}
	return 0;
}

/* The country and the check digits come last in the sum. */
static bool
is_right(int remainder, const char *head)
{
	for (int h = 0; h < 4; h++)
		remainder = mod_97(remainder, head[h]);
	return remainder == 1;
}

/* 0 for what is none of their countries. */
static size_t
iban_length(char first, char second)
{
	for (size_t c = 0; c + 4 < sizeof(iban_lengths); c += 4)
		if (iban_lengths[c] == first && iban_lengths[c + 1] == second)
			return (size_t) (iban_lengths[c + 2] - '0') * 10 + (iban_lengths[c + 3] - '0');
	return 0;
}

/* Appends a digit, or a letter as two digits from A = 10. */
static int
mod_97(int remainder, char c)
{
	if (is_digit(c))
		return (remainder * 10 + (c - '0')) % 97;
	return (remainder * 100 + (c - 'A' + 10)) % 97;
}
