/*
 * src/base/address.c
 *		Which addresses and URLs the server may talk to.
 *
 * Always true: an address is judged in one form only, sixteen bytes with v4 as
 * ::ffff:a.b.c.d, so a mapped address and its plain spelling get the same
 * verdict.  Of v6 only 2000::/3 can be public, less the ranges listed below;
 * whatever is not recognised is private.  A URL that passes has a host that
 * every parser reads alike, or it is refused: odd spellings are not repaired.
 *
 * Nothing is kept between calls, so a crash leaves nothing.
 */
#include "payments.h"

#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define URL_BYTES_MAX 2000
#define LABEL_BYTES_MAX 63
#define V4_PREFIX_BITS 96		/* of ::ffff:0:0/96 */
#define ITEM_BYTES_MAX 63		/* longest CIDR spelling is 49 */

typedef struct PayRange
{
	unsigned char bytes[16];
	int			prefix;
} PayRange;

#define V4(a, b, c, d, n) {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, V4_PREFIX_BITS + (n)}
#define V6(a, b, c, d, n) {{(a) >> 8, (a) & 0xff, (b) >> 8, (b) & 0xff, (c) >> 8, (c) & 0xff, (d) >> 8, (d) & 0xff}, n}

static const PayRange loopback_ranges[] = {
	V4(127, 0, 0, 0, 8),
	{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128}
};

/* All of v4, which lies outside 2000::/3, and the only v6 that is handed out. */
static const PayRange candidate_ranges[] = {
	V4(0, 0, 0, 0, 0),
	V6(0x2000, 0, 0, 0, 3)
};

/* IANA special-purpose registries, plus what clouds answer on. */
static const PayRange private_ranges[] = {
	V4(0, 0, 0, 0, 8),			/* this network; Linux connects 0.0.0.0 to itself */
	V4(10, 0, 0, 0, 8),			/* private */
	V4(100, 64, 0, 0, 10),		/* carrier NAT, and one cloud's metadata */
	V4(169, 254, 0, 0, 16),		/* link-local, and most clouds' metadata */
	V4(172, 16, 0, 0, 12),		/* private */
	V4(192, 0, 0, 0, 24),		/* protocol assignments */
	V4(192, 0, 2, 0, 24),		/* documentation */
	V4(192, 88, 99, 0, 24),		/* 6to4 relays */
	V4(192, 168, 0, 0, 16),		/* private */
	V4(198, 18, 0, 0, 15),		/* benchmarks */
	V4(198, 51, 100, 0, 24),	/* documentation */
	V4(203, 0, 113, 0, 24),		/* documentation */
	V4(168, 63, 129, 16, 32),	/* a cloud's host agent behind a public-looking address */
	V4(224, 0, 0, 0, 4),		/* multicast */
	V4(240, 0, 0, 0, 4),		/* reserved and broadcast */
	V6(0x2001, 0, 0, 0, 23),	/* Teredo, ORCHID and other assignments */
	V6(0x2001, 0xdb8, 0, 0, 32),	/* documentation */
	V6(0x2002, 0, 0, 0, 16),	/* 6to4: holds a v4 address of anybody's choice */
	V6(0x3fff, 0, 0, 0, 20)		/* documentation */
};

static bool address_bytes(const struct sockaddr *address, socklen_t bytes, unsigned char *out);
static bool address_in(const struct sockaddr *address, socklen_t bytes, const PayNetworks *networks);
static bool in_range(const unsigned char *address, const unsigned char *network, int prefix);
static bool in_ranges(const unsigned char *address, const PayRange *ranges, int n);
static bool in_networks(const unsigned char *address, const PayNetworks *networks);
static PayAddressVerdict classify_bytes(const unsigned char *address);
static bool network_parse(const char *text, size_t bytes, PayNetwork *network);
static bool prefix_parse(const char *text, int max, int *prefix);
static bool host_bits_clear(const PayNetwork *network);
static bool url_text_ok(const char *url);
static bool url_split(const char *authority, char *host, bool *bracketed);
static bool port_ok(const char *port, const char *end);
static bool name_ok(const char *host);
static bool ends_in_number(const char *host);
static bool is_localhost(const char *host);
static bool host_literal(const char *host, bool bracketed, unsigned char *out);
static const char *next_host(const char **list, size_t *bytes);
static PayUrlVerdict judge_literal(const unsigned char *address, bool plain, bool allow_http, const PayNetworks *allowed);
static PayUrlVerdict judge_localhost(bool plain, bool allow_http, const PayNetworks *allowed);

/*
 * ASCII only, whatever the locale says.
 */
static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char
to_lower(char c)
{
	return (c >= 'A' && c <= 'Z') ? c + ('a' - 'A') : c;
}

static inline bool
is_alnum(char c)
{
	return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'z');
}

bool
pay_networks_parse(const char *text, PayNetworks *networks)
{
	const char *item = text;

	networks->n = 0;
	if (text[strspn(text, " \t")] == '\0')
		return true;

	/* Each turn takes one item, and more than PAY_NETWORKS_MAX end it. */
	for (;;)
	{
		const char *end = item + strcspn(item, ",");
		const char *last = end;

		item += strspn(item, " \t");
		while (last > item && (last[-1] == ' ' || last[-1] == '\t'))
			last--;
		if (item >= last || networks->n >= PAY_NETWORKS_MAX ||
			!network_parse(item, last - item, &networks->list[networks->n]))
		{
			networks->n = 0;
			return false;
		}
		networks->n++;
		if (*end == '\0')
			return true;
		item = end + 1;
	}
}

PayAddressVerdict
pay_address_classify(const struct sockaddr *address, socklen_t bytes)
{
	unsigned char raw[16];

	if (!address_bytes(address, bytes, raw))
		return PAY_ADDRESS_PRIVATE;
	return classify_bytes(raw);
}

static bool
address_in(const struct sockaddr *address, socklen_t bytes, const PayNetworks *networks)
{
	unsigned char raw[16];

	return address_bytes(address, bytes, raw) && in_networks(raw, networks);
}

bool
pay_address_allowed(const struct sockaddr *address, socklen_t bytes, bool allow_loopback, const PayNetworks *allowed)
{
	switch (pay_address_classify(address, bytes))
	{
		case PAY_ADDRESS_PUBLIC:
			return true;
		case PAY_ADDRESS_LOOPBACK:
			return allow_loopback || address_in(address, bytes, allowed);
		case PAY_ADDRESS_PRIVATE:
			return address_in(address, bytes, allowed);
	}
	return false;
}

PayUrlVerdict
pay_url_check(const char *url, bool allow_http, const PayNetworks *allowed)
{
	char		host[PAY_HOST_BYTES_MAX + 1];
	unsigned char literal[16];
	const char *colon;
	bool		plain;
	bool		bracketed;

	if (!url_text_ok(url))
		return PAY_URL_MALFORMED;
	colon = strstr(url, "://");
	if (colon == NULL || colon == url)
		return PAY_URL_MALFORMED;
	for (const char *c = url; c < colon; c++)
		if (!is_alnum(*c) && *c != '+' && *c != '-' && *c != '.')
			return PAY_URL_MALFORMED;
	if (colon - url == 5 && strncasecmp(url, "https", 5) == 0)
		plain = false;
	else if (colon - url == 4 && strncasecmp(url, "http", 4) == 0)
		plain = true;
	else
		return PAY_URL_SCHEME;

	if (!url_split(colon + 3, host, &bracketed))
		return PAY_URL_MALFORMED;
	if (host_literal(host, bracketed, literal))
		return judge_literal(literal, plain, allow_http, allowed);
	if (bracketed || !name_ok(host))
		return PAY_URL_MALFORMED;
	if (is_localhost(host))
		return judge_localhost(plain, allow_http, allowed);
	return plain ? PAY_URL_PLAIN_HTTP : PAY_URL_OK;
}

/*
 * Writes the address as sixteen bytes, v4 as ::ffff:a.b.c.d.  Returns false
 * for any other family and for a short struct.
 */
static bool
address_bytes(const struct sockaddr *address, socklen_t bytes, unsigned char *out)
{
	sa_family_t family;

	if (address == NULL || bytes < (socklen_t) (offsetof(struct sockaddr, sa_family) + sizeof(family)))
		return false;
	memcpy(&family, (const char *) address + offsetof(struct sockaddr, sa_family), sizeof(family));
	if (family == AF_INET && bytes >= (socklen_t) sizeof(struct sockaddr_in))
	{
		memset(out, 0, 10);
		memset(out + 10, 0xff, 2);
		memcpy(out + 12, (const char *) address + offsetof(struct sockaddr_in, sin_addr), 4);
		return true;
	}
	if (family == AF_INET6 && bytes >= (socklen_t) sizeof(struct sockaddr_in6))
	{
		memcpy(out, (const char *) address + offsetof(struct sockaddr_in6, sin6_addr), 16);
		return true;
	}
	return false;
}

static bool
in_range(const unsigned char *address, const unsigned char *network, int prefix)
{
	int			whole = prefix / 8;
	int			rest = prefix % 8;

	if (memcmp(address, network, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ network[whole]) >> (8 - rest)) == 0;
}

static bool
in_ranges(const unsigned char *address, const PayRange *ranges, int n)
{
	for (int i = 0; i < n; i++)
		if (in_range(address, ranges[i].bytes, ranges[i].prefix))
			return true;
	return false;
}

static bool
in_networks(const unsigned char *address, const PayNetworks *networks)
{
	if (networks == NULL)
		return false;
	for (int i = 0; i < networks->n; i++)
		if (in_range(address, networks->list[i].bytes, networks->list[i].prefix))
			return true;
	return false;
}

static PayAddressVerdict
classify_bytes(const unsigned char *address)
{
	if (in_ranges(address, loopback_ranges, lengthof(loopback_ranges)))
		return PAY_ADDRESS_LOOPBACK;
	if (!in_ranges(address, candidate_ranges, lengthof(candidate_ranges)))
		return PAY_ADDRESS_PRIVATE;
	if (in_ranges(address, private_ranges, lengthof(private_ranges)))
		return PAY_ADDRESS_PRIVATE;
	return PAY_ADDRESS_PUBLIC;
}

/*
 * Parses one "address[/prefix]".  Set bits behind the prefix are refused, as
 * the cidr type does: 10.1.2.3/8 is more likely a slip than a wish for 10/8.
 */
static bool
network_parse(const char *text, size_t bytes, PayNetwork *network)
{
	char		item[ITEM_BYTES_MAX + 1];
	char	   *slash;
	bool		v4;

	if (bytes > ITEM_BYTES_MAX)
		return false;
	memcpy(item, text, bytes);
	item[bytes] = '\0';
	slash = strchr(item, '/');
	if (slash != NULL)
		*slash = '\0';

	memset(network, 0, sizeof(*network));
	v4 = inet_pton(AF_INET, item, network->bytes + 12) == 1;
	if (v4)
		memset(network->bytes + 10, 0xff, 2);
	else if (inet_pton(AF_INET6, item, network->bytes) != 1)
		return false;

	if (slash == NULL)
		network->prefix = v4 ? 32 : 128;
	else if (!prefix_parse(slash + 1, v4 ? 32 : 128, &network->prefix))
		return false;
	if (v4)
		network->prefix += V4_PREFIX_BITS;
	return host_bits_clear(network);
}

static bool
prefix_parse(const char *text, int max, int *prefix)
{
	size_t		digits = strspn(text, "0123456789");
	int			value = 0;

	if (digits == 0 || digits > 3 || text[digits] != '\0' || (digits > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (text[i] - '0');
	*prefix = value;
	return value <= max;
}

static bool
host_bits_clear(const PayNetwork *network)
{
	for (int bit = network->prefix; bit < 128; bit++)
		if (network->bytes[bit / 8] & (0x80 >> (bit % 8)))
			return false;
	return true;
}

/*
 * Printable ASCII without blanks, backslash (some parsers read it as a slash),
 * query or fragment; not too long.
 */
static bool
url_text_ok(const char *url)
{
	size_t		bytes = 0;

	for (; url[bytes] != '\0'; bytes++)
	{
		if (bytes >= URL_BYTES_MAX)
			return false;
		if (url[bytes] <= ' ' || url[bytes] > '~' || strchr("\\?#\"<>^`{|}", url[bytes]) != NULL)
			return false;
	}
	return bytes > 0;
}

/*
 * Copies the host out of "host[:port][/path]", in lower case and without
 * brackets.  Returns false when host or port are malformed.
 */
static bool
url_split(const char *authority, char *host, bool *bracketed)
{
	const char *end = authority + strcspn(authority, "/");
	const char *from = authority;
	const char *to;
	const char *rest;

	*bracketed = (*from == '[');
	if (*bracketed)
	{
		from++;
		to = from + strcspn(from, "]");
		if (to >= end)
			return false;
		rest = to + 1;
	}
	else
	{
		to = from + strcspn(from, ":/");
		rest = to;
	}
	if (to == from || to - from > PAY_HOST_BYTES_MAX)
		return false;
	if (rest != end && (*rest != ':' || !port_ok(rest + 1, end)))
		return false;

	for (const char *c = from; c < to; c++)
		*host++ = to_lower(*c);
	*host = '\0';
	return true;
}

static bool
port_ok(const char *port, const char *end)
{
	int			value = 0;

	if (port == end || end - port > 5)
		return false;
	for (; port < end; port++)
	{
		if (!is_digit(*port))
			return false;
		value = value * 10 + (*port - '0');
	}
	return value >= 1 && value <= 65535;
}

/*
 * A DNS name in letters, digits, dashes and underscores.  No closing dot (it
 * defeats certificate checks), no '%' (curl decodes it), no bytes above 127
 * (IDN must come as punycode), and no last label that some parser could take
 * for a number.
 */
static bool
name_ok(const char *host)
{
	size_t		label = 0;

	for (const char *c = host; *c != '\0'; c++)
	{
		if (*c == '.')
		{
			if (label == 0)
				return false;
			label = 0;
		}
		else if (!is_alnum(*c) && *c != '-' && *c != '_')
			return false;
		else if (++label > LABEL_BYTES_MAX)
			return false;
	}
	return label > 0 && !ends_in_number(host);
}

static bool
ends_in_number(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *label = (dot == NULL) ? host : dot + 1;

	if (label[0] == '0' && label[1] == 'x')
		return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
	return label[strspn(label, "0123456789")] == '\0';
}

/* RFC 6761: everything below localhost is loopback too. */
static bool
is_localhost(const char *host)
{
	size_t		bytes = strlen(host);

	if (strcmp(host, "localhost") == 0)
		return true;
	return bytes > 10 && strcmp(host + bytes - 10, ".localhost") == 0;
}

/*
 * Is the host an address?  inet_aton takes what getaddrinfo takes: 127.1,
 * 0x7f.1, 0177.0.0.1, 2130706433.
 */
static bool
host_literal(const char *host, bool bracketed, unsigned char *out)
{
	struct in_addr v4;

	if (bracketed)
		return inet_pton(AF_INET6, host, out) == 1;
	if (inet_aton(host, &v4) == 0)
		return false;
	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, &v4, 4);
	return true;
}

bool
pay_url_host(const char *url, char *host, bool *loopback)
{
	const char *colon = strstr(url, "://");
	unsigned char literal[16];
	bool		bracketed;

	if (!url_text_ok(url) || colon == NULL || !url_split(colon + 3, host, &bracketed))
		return false;
	if (host_literal(host, bracketed, literal))
		*loopback = classify_bytes(literal) == PAY_ADDRESS_LOOPBACK;
	else if (bracketed || !name_ok(host))
		return false;
	else
		*loopback = is_localhost(host);
	return true;
}

bool
pay_hosts_check(const char *list)
{
	const char *item;
	size_t		bytes;

	while ((item = next_host(&list, &bytes)) != NULL)
	{
		char		host[PAY_HOST_BYTES_MAX + 1];
		unsigned char literal[16];

		if (bytes == 0 || bytes > PAY_HOST_BYTES_MAX)
			return false;
		memcpy(host, item, bytes);
		host[bytes] = '\0';
		if (!name_ok(host) && !host_literal(host, strchr(host, ':') != NULL, literal))
			return false;
	}
	return true;
}

bool
pay_hosts_hold(const char *list, const char *host)
{
	const char *item;
	size_t		bytes;

	while ((item = next_host(&list, &bytes)) != NULL)
		if (bytes == strlen(host) && strncasecmp(item, host, bytes) == 0)
			return true;
	return false;
}

/* Returns what stands up to the next comma, without the blanks around it, and goes behind; NULL at the end of the list. */
static const char *
next_host(const char **list, size_t *bytes)
{
	const char *item = *list + strspn(*list, " \t");
	const char *end = item + strcspn(item, ",");
	const char *last = end;

	if (*item == '\0')
		return NULL;
	while (last > item && (last[-1] == ' ' || last[-1] == '\t'))
		last--;
	*bytes = last - item;
	*list = *end == '\0' ? end : end + 1;
	return item;
}

static PayUrlVerdict
judge_literal(const unsigned char *address, bool plain, bool allow_http, const PayNetworks *allowed)
{
	PayAddressVerdict verdict = classify_bytes(address);

	if (plain)
		return (allow_http && verdict == PAY_ADDRESS_LOOPBACK) ? PAY_URL_OK : PAY_URL_PLAIN_HTTP;
	if (verdict == PAY_ADDRESS_PUBLIC || in_networks(address, allowed))
		return PAY_URL_OK;
	return (verdict == PAY_ADDRESS_LOOPBACK && allow_http) ? PAY_URL_OK : PAY_URL_ADDRESS;
}

/* As for a literal, where either of the two usual addresses will do. */
static PayUrlVerdict
judge_localhost(bool plain, bool allow_http, const PayNetworks *allowed)
{
	static const unsigned char v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
	static const unsigned char v6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	PayUrlVerdict verdict = judge_literal(v4, plain, allow_http, allowed);

	return (verdict == PAY_URL_OK) ? verdict : judge_literal(v6, plain, allow_http, allowed);
}
