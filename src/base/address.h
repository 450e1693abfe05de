/*
 * src/base/address.h
 *		Which addresses and URLs the server may talk to.
 *
 * Pure: no allocation, no errors raised, nothing but libc.
 */
#ifndef PAY_ADDRESS_H
#define PAY_ADDRESS_H

#include <sys/socket.h>

#define PAY_NETWORKS_MAX 64
#define PAY_HOST_BYTES_MAX 253	/* RFC 1035 */

/* One network in CIDR notation; v4 is kept as ::ffff:a.b.c.d/96+n. */
typedef struct PayNetwork
{
	unsigned char bytes[16];
	int			prefix;			/* 0..128 */
} PayNetwork;

typedef struct PayNetworks
{
	int			n;
	PayNetwork	list[PAY_NETWORKS_MAX];
} PayNetworks;

typedef enum PayAddressVerdict
{
	PAY_ADDRESS_PUBLIC,
	PAY_ADDRESS_LOOPBACK,		/* 127/8, ::1, and v4-mapped forms */
	PAY_ADDRESS_PRIVATE			/* private, link-local, metadata, reserved, multicast, translated: everything that is not the public net */
} PayAddressVerdict;

/* Parses "10.1.0.0/16, fd00::/8"; false on any malformed item or too many. "" gives an empty list. */
extern bool pay_networks_parse(const char *text, PayNetworks *networks);
extern PayAddressVerdict pay_address_classify(const struct sockaddr *address, socklen_t bytes);

/* May we connect there?  Public: yes.  Loopback: if allow_loopback or listed.  Private: if listed. */
extern bool pay_address_allowed(const struct sockaddr *address, socklen_t bytes, bool allow_loopback, const PayNetworks *allowed);

typedef enum PayUrlVerdict
{
	PAY_URL_OK,
	PAY_URL_MALFORMED,			/* not scheme://host[:port][/path], userinfo, fragment, control characters, blank, over 2,000 bytes */
	PAY_URL_SCHEME,				/* neither https nor http */
	PAY_URL_PLAIN_HTTP,			/* http, and either not allowed or not to a loopback address */
	PAY_URL_ADDRESS				/* the host is a literal address (or localhost) we may not connect to */
} PayUrlVerdict;

/* Checks a base URL as written.  Literal hosts are judged in every form inet_aton takes (decimal, octal, hex, short); names are judged again after DNS, in http.c. */
extern PayUrlVerdict pay_url_check(const char *url, bool allow_http, const PayNetworks *allowed);

/*
 * Writes the host of a URL, in lower case, without brackets and port, into room
 * for PAY_HOST_BYTES_MAX + 1, and whether it is a loopback address or localhost.
 * False for a URL that pay_url_check() calls malformed.
 */
extern bool pay_url_host(const char *url, char *host, bool *loopback);
/* Is it a list of hosts, "a.example, 10.1.2.3", as they stand in a URL?  Does it hold that one, in lower case? */
extern bool pay_hosts_check(const char *list);
extern bool pay_hosts_hold(const char *list, const char *host);

#endif							/* PAY_ADDRESS_H */
