/*
 * test/unit/test_address.c
 *		If this fails, the worker can be sent to an address inside our own
 *		network (metadata service, database, router).
 */
// sources: ../../src/base/address.c
#include "payments.h"

#include "base/address.h"

#include "tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

typedef union Address
{
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
} Address;

typedef struct AddressCase
{
	const char *text;
	PayAddressVerdict verdict;
} AddressCase;

typedef struct UrlCase
{
	const char *url;
	PayUrlVerdict strict;		/* nothing extra allowed */
	PayUrlVerdict with_http;	/* allow_http */
} UrlCase;

/* First, last, and the public neighbours of each range. */
static const AddressCase address_cases[] = {
	{"0.0.0.0", PAY_ADDRESS_PRIVATE}, {"0.255.255.255", PAY_ADDRESS_PRIVATE}, {"1.0.0.0", PAY_ADDRESS_PUBLIC},
	{"9.255.255.255", PAY_ADDRESS_PUBLIC}, {"10.0.0.0", PAY_ADDRESS_PRIVATE}, {"10.255.255.255", PAY_ADDRESS_PRIVATE}, {"11.0.0.0", PAY_ADDRESS_PUBLIC},
	{"100.63.255.255", PAY_ADDRESS_PUBLIC}, {"100.64.0.0", PAY_ADDRESS_PRIVATE}, {"100.100.100.200", PAY_ADDRESS_PRIVATE}, {"100.127.255.255", PAY_ADDRESS_PRIVATE}, {"100.128.0.0", PAY_ADDRESS_PUBLIC},
	{"126.255.255.255", PAY_ADDRESS_PUBLIC}, {"127.0.0.0", PAY_ADDRESS_LOOPBACK}, {"127.0.0.1", PAY_ADDRESS_LOOPBACK}, {"127.255.255.255", PAY_ADDRESS_LOOPBACK}, {"128.0.0.0", PAY_ADDRESS_PUBLIC},
	{"169.253.255.255", PAY_ADDRESS_PUBLIC}, {"169.254.0.0", PAY_ADDRESS_PRIVATE}, {"169.254.169.254", PAY_ADDRESS_PRIVATE}, {"169.254.255.255", PAY_ADDRESS_PRIVATE}, {"169.255.0.0", PAY_ADDRESS_PUBLIC},
	{"168.63.129.15", PAY_ADDRESS_PUBLIC}, {"168.63.129.16", PAY_ADDRESS_PRIVATE}, {"168.63.129.17", PAY_ADDRESS_PUBLIC},
	{"172.15.255.255", PAY_ADDRESS_PUBLIC}, {"172.16.0.0", PAY_ADDRESS_PRIVATE}, {"172.31.255.255", PAY_ADDRESS_PRIVATE}, {"172.32.0.0", PAY_ADDRESS_PUBLIC},
	{"191.255.255.255", PAY_ADDRESS_PUBLIC}, {"192.0.0.0", PAY_ADDRESS_PRIVATE}, {"192.0.0.192", PAY_ADDRESS_PRIVATE}, {"192.0.0.255", PAY_ADDRESS_PRIVATE}, {"192.0.1.0", PAY_ADDRESS_PUBLIC},
	{"192.0.2.0", PAY_ADDRESS_PRIVATE}, {"192.0.2.255", PAY_ADDRESS_PRIVATE}, {"192.0.3.0", PAY_ADDRESS_PUBLIC},
	{"192.88.98.255", PAY_ADDRESS_PUBLIC}, {"192.88.99.1", PAY_ADDRESS_PRIVATE}, {"192.88.100.0", PAY_ADDRESS_PUBLIC},
	{"192.167.255.255", PAY_ADDRESS_PUBLIC}, {"192.168.0.0", PAY_ADDRESS_PRIVATE}, {"192.168.255.255", PAY_ADDRESS_PRIVATE}, {"192.169.0.0", PAY_ADDRESS_PUBLIC},
	{"198.17.255.255", PAY_ADDRESS_PUBLIC}, {"198.18.0.0", PAY_ADDRESS_PRIVATE}, {"198.19.255.255", PAY_ADDRESS_PRIVATE}, {"198.20.0.0", PAY_ADDRESS_PUBLIC},
	{"198.51.99.255", PAY_ADDRESS_PUBLIC}, {"198.51.100.7", PAY_ADDRESS_PRIVATE}, {"198.51.101.0", PAY_ADDRESS_PUBLIC},
	{"203.0.112.255", PAY_ADDRESS_PUBLIC}, {"203.0.113.7", PAY_ADDRESS_PRIVATE}, {"203.0.114.0", PAY_ADDRESS_PUBLIC},
	{"223.255.255.255", PAY_ADDRESS_PUBLIC}, {"224.0.0.0", PAY_ADDRESS_PRIVATE}, {"239.255.255.255", PAY_ADDRESS_PRIVATE}, {"240.0.0.0", PAY_ADDRESS_PRIVATE}, {"255.255.255.255", PAY_ADDRESS_PRIVATE},
	{"8.8.8.8", PAY_ADDRESS_PUBLIC},

	{"::", PAY_ADDRESS_PRIVATE}, {"::1", PAY_ADDRESS_LOOPBACK}, {"::2", PAY_ADDRESS_PRIVATE},
	{"::127.0.0.1", PAY_ADDRESS_PRIVATE}, {"::8.8.8.8", PAY_ADDRESS_PRIVATE},
	{"::ffff:127.0.0.1", PAY_ADDRESS_LOOPBACK}, {"::ffff:10.0.0.1", PAY_ADDRESS_PRIVATE}, {"::ffff:169.254.169.254", PAY_ADDRESS_PRIVATE}, {"::ffff:0.0.0.0", PAY_ADDRESS_PRIVATE}, {"::ffff:8.8.8.8", PAY_ADDRESS_PUBLIC},
	{"::ffff:0:8.8.8.8", PAY_ADDRESS_PRIVATE},
	{"64:ff9b::8.8.8.8", PAY_ADDRESS_PRIVATE}, {"64:ff9b::127.0.0.1", PAY_ADDRESS_PRIVATE}, {"64:ff9b:1::1", PAY_ADDRESS_PRIVATE},
	{"100::1", PAY_ADDRESS_PRIVATE}, {"1fff:ffff::1", PAY_ADDRESS_PRIVATE}, {"2000::1", PAY_ADDRESS_PUBLIC},
	{"2001::1", PAY_ADDRESS_PRIVATE}, {"2001:1ff:ffff::1", PAY_ADDRESS_PRIVATE}, {"2001:200::1", PAY_ADDRESS_PUBLIC},
	{"2001:db7:ffff::1", PAY_ADDRESS_PUBLIC}, {"2001:db8::1", PAY_ADDRESS_PRIVATE}, {"2001:db8:ffff::1", PAY_ADDRESS_PRIVATE}, {"2001:db9::1", PAY_ADDRESS_PUBLIC},
	{"2002:7f00:1::", PAY_ADDRESS_PRIVATE}, {"2002:808:808::1", PAY_ADDRESS_PRIVATE}, {"2003::1", PAY_ADDRESS_PUBLIC},
	{"2606:4700:4700::1111", PAY_ADDRESS_PUBLIC}, {"2a00:1450:4001:81b::200e", PAY_ADDRESS_PUBLIC},
	{"3ffe:ffff::1", PAY_ADDRESS_PUBLIC}, {"3fff::1", PAY_ADDRESS_PRIVATE}, {"3fff:fff:ffff::1", PAY_ADDRESS_PRIVATE}, {"3fff:1000::1", PAY_ADDRESS_PUBLIC},
	{"4000::1", PAY_ADDRESS_PRIVATE}, {"5f00::1", PAY_ADDRESS_PRIVATE},
	{"fc00::1", PAY_ADDRESS_PRIVATE}, {"fd00:ec2::254", PAY_ADDRESS_PRIVATE}, {"fe80::1", PAY_ADDRESS_PRIVATE}, {"fec0::1", PAY_ADDRESS_PRIVATE}, {"ff02::1", PAY_ADDRESS_PRIVATE},
};

static const UrlCase url_cases[] = {
	{"https://api.stripe.com", PAY_URL_OK, PAY_URL_OK},
	{"https://api.stripe.com/", PAY_URL_OK, PAY_URL_OK},
	{"HTTPS://API.Stripe.com:8443/v1", PAY_URL_OK, PAY_URL_OK},
	{"https://a_b-c.example/x/@y:z/", PAY_URL_OK, PAY_URL_OK},
	{"https://xn--80ak6aa92e.com", PAY_URL_OK, PAY_URL_OK},
	{"https://8.8.8.8/", PAY_URL_OK, PAY_URL_OK},
	{"https://[2606:4700:4700::1111]:443/", PAY_URL_OK, PAY_URL_OK},
	{"https://[::ffff:8.8.8.8]", PAY_URL_OK, PAY_URL_OK},
	{"https://0x8.8.2056", PAY_URL_OK, PAY_URL_OK},
	{"https://localhost.example", PAY_URL_OK, PAY_URL_OK},

	/* loopback in every spelling */
	{"https://localhost", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://LocalHost:1/x", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://a.b.localhost", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://127.0.0.1", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://127.1", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://127.0.1", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://0x7f.1", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://0X7F.0.0.1", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://0177.0.0.1", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://2130706433", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://0x7f000001", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://017700000001", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://[::1]/", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://[::ffff:127.0.0.1]", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://[::FFFF:7f00:1]", PAY_URL_ADDRESS, PAY_URL_OK},
	{"https://[0:0:0:0:0:0:0:1]", PAY_URL_ADDRESS, PAY_URL_OK},

	/* private in some of them */
	{"https://0", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://0.0.0.0", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://10.1", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://012.0.0.1", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://0xa9fea9fe", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://2852039166", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://169.254.169.254/latest/meta-data", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://[::]", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://[::127.0.0.1]", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://[64:ff9b::7f00:1]", PAY_URL_ADDRESS, PAY_URL_ADDRESS},
	{"https://[fd00:ec2::254]", PAY_URL_ADDRESS, PAY_URL_ADDRESS},

	/* plain http */
	{"http://api.stripe.com", PAY_URL_PLAIN_HTTP, PAY_URL_PLAIN_HTTP},
	{"http://8.8.8.8", PAY_URL_PLAIN_HTTP, PAY_URL_PLAIN_HTTP},
	{"http://10.0.0.1", PAY_URL_PLAIN_HTTP, PAY_URL_PLAIN_HTTP},
	{"http://[::ffff:10.0.0.1]", PAY_URL_PLAIN_HTTP, PAY_URL_PLAIN_HTTP},
	{"http://localhost:8080/x", PAY_URL_PLAIN_HTTP, PAY_URL_OK},
	{"http://127.0.0.1:8080", PAY_URL_PLAIN_HTTP, PAY_URL_OK},
	{"http://[::1]:8080", PAY_URL_PLAIN_HTTP, PAY_URL_OK},
	{"http://localhost.evil.example", PAY_URL_PLAIN_HTTP, PAY_URL_PLAIN_HTTP},

	/* other schemes */
	{"ftp://api.stripe.com", PAY_URL_SCHEME, PAY_URL_SCHEME},
	{"file:///etc/passwd", PAY_URL_SCHEME, PAY_URL_SCHEME},
	{"gopher://127.0.0.1:6379/x", PAY_URL_SCHEME, PAY_URL_SCHEME},
	{"httpss://x", PAY_URL_SCHEME, PAY_URL_SCHEME},

	/* malformed */
	{"", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https:/x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"://x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"api.stripe.com", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https:///x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://:443", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://u@h.example", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://u:p@h.example", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://api.stripe.com\\@127.0.0.1/", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example/#x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example/?x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example?x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example/a b", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{" https://h.example", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example\n", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example/\r\nX: y", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h\xc3\xa9.example", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example.", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://localhost.", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://.h.example", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h..example", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://127.0.0.1.", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://127.0.0.256", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://1.2.3.4.5", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://example.0x7f", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://99999999999", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://%6cocalhost", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://127.0.0.1%2f@x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example:", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example:0", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example:65536", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example:+1", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example:443:1", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://[::1", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://[::1]x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://[]", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://[::1%25lo]", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://[fe80::1%eth0]", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://[127.0.0.1]", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://::1/", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
	{"https://h.example/|x", PAY_URL_MALFORMED, PAY_URL_MALFORMED},
};

static socklen_t
make_address(const char *text, Address *address)
{
	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1)
	{
		address->v4.sin_family = AF_INET;
		return sizeof(address->v4);
	}
	address->v6.sin6_family = AF_INET6;
	if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) != 1)
		abort();
	return sizeof(address->v6);
}

static void
test_classify(void)
{
	Address		address;
	socklen_t	bytes;

	for (size_t i = 0; i < lengthof(address_cases); i++)
	{
		bytes = make_address(address_cases[i].text, &address);
		OK(pay_address_classify(&address.sa, bytes) == address_cases[i].verdict, "classify %s", address_cases[i].text);
	}

	bytes = make_address("8.8.8.8", &address);
	OK(pay_address_classify(&address.sa, bytes - 1) == PAY_ADDRESS_PRIVATE, "a short struct is private");
	OK(pay_address_classify(&address.sa, 0) == PAY_ADDRESS_PRIVATE, "an empty struct is private");
	OK(pay_address_classify(NULL, 0) == PAY_ADDRESS_PRIVATE, "no struct is private");
	memset(&address, 0, sizeof(address));
	address.un.sun_family = AF_UNIX;
	OK(pay_address_classify(&address.sa, sizeof(address.un)) == PAY_ADDRESS_PRIVATE, "a Unix socket is private");
}

static bool
allowed(const char *text, bool loopback, const char *networks)
{
	Address		address;
	PayNetworks list;
	socklen_t	bytes = make_address(text, &address);

	if (!pay_networks_parse(networks, &list))
		abort();
	return pay_address_allowed(&address.sa, bytes, loopback, &list);
}

static void
test_allowed(void)
{
	Address		address;
	PayNetworks all;

	OK(allowed("8.8.8.8", false, ""), "public is allowed");
	OK(!allowed("127.0.0.1", false, ""), "loopback is not allowed by itself");
	OK(allowed("127.0.0.1", true, ""), "loopback is allowed when asked for");
	OK(allowed("::ffff:127.0.0.1", true, ""), "so is its mapped form");
	OK(allowed("127.0.0.1", false, "127.0.0.0/8"), "listed loopback is allowed");
	OK(!allowed("10.1.2.3", true, ""), "allowing loopback does not allow private");
	OK(allowed("10.1.2.3", false, "10.1.0.0/16, fd00::/8"), "listed private is allowed");
	OK(allowed("::ffff:10.1.2.3", false, "10.1.0.0/16"), "so is its mapped form");
	OK(allowed("10.1.2.3", false, "::ffff:10.1.0.0/112"), "a network may be written in mapped form");
	OK(!allowed("10.2.0.0", false, "10.1.0.0/16"), "its neighbour is not");
	OK(allowed("10.1.2.3", false, "10.1.2.3"), "a bare address is a network of one");
	OK(!allowed("10.1.2.4", false, "10.1.2.3"), "and of no more");
	OK(allowed("fd12::1", false, "10.1.0.0/16,fd00::/8"), "listed v6 is allowed");
	OK(!allowed("::10.1.2.3", false, "10.1.0.0/16"), "v4-compatible is not v4");
	OK(allowed("169.254.169.254", false, "0.0.0.0/0"), "0.0.0.0/0 is all of v4");
	OK(!allowed("fe80::1", false, "0.0.0.0/0"), "and nothing of v6");
	OK(allowed("10.1.2.129", false, "10.1.2.128/25") && !allowed("10.1.2.127", false, "10.1.2.128/25"), "prefixes need not end at a byte");

	OK(pay_networks_parse("0.0.0.0/0, ::/0", &all), "everything can be listed");
	memset(&address, 0, sizeof(address));
	address.un.sun_family = AF_UNIX;
	OK(!pay_address_allowed(&address.sa, sizeof(address.un), true, &all), "a Unix socket is never allowed");
	make_address("10.0.0.1", &address);
	OK(!pay_address_allowed(&address.sa, sizeof(address.v4), true, NULL), "no list allows nothing");
}

static void
test_networks(void)
{
	static const char *const good[] = {"", " ", "10.0.0.0/8", " 10.0.0.0/8 ,\tfd00::/8 ", "0.0.0.0/0", "::/0", "::1/128", "1.2.3.4/32"};
	static const char *const bad[] = {",", "10.0.0.0/8,", ",10.0.0.0/8", "10.0.0.0/8,,::/0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8",
		"10.0.0.0/", "10.0.0.0/08", "10.0.0.0/8x", "10.0.0.0/8/8", "10.0.0.0 /8", "10.1.2.3/8", "10.1/16", "10", "fd00::1/8", "fd00::/129",
		"fe80::1%eth0/64", "localhost", "10.0.0.0/8 fd00::/8", "[::1]", "99999999999999999999999999999999999999999999999999999999999999999999/8"};
	char		text[PAY_NETWORKS_MAX * 16 + 32] = "";
	PayNetworks networks;

	for (size_t i = 0; i < lengthof(good); i++)
		OK(pay_networks_parse(good[i], &networks), "networks \"%s\"", good[i]);
	for (size_t i = 0; i < lengthof(bad); i++)
		OK(!pay_networks_parse(bad[i], &networks) && networks.n == 0, "no networks \"%s\"", bad[i]);

	for (int i = 0; i < PAY_NETWORKS_MAX; i++)
		strcat(text, i == 0 ? "10.0.0.0/8" : ",10.0.0.0/8");
	OK(pay_networks_parse(text, &networks) && networks.n == PAY_NETWORKS_MAX, "as many networks as fit");
	strcat(text, ",10.0.0.0/8");
	OK(!pay_networks_parse(text, &networks), "not one more");
}

static void
test_urls(void)
{
	static const PayNetworks none = {0};
	PayNetworks private;
	char		text[2100];
	char		label[80];

	for (size_t i = 0; i < lengthof(url_cases); i++)
	{
		OK(pay_url_check(url_cases[i].url, false, &none) == url_cases[i].strict, "url %s", url_cases[i].url);
		OK(pay_url_check(url_cases[i].url, true, &none) == url_cases[i].with_http, "url %s, allow_http", url_cases[i].url);
	}

	pay_networks_parse("10.0.0.0/8, 127.0.0.1, ::1", &private);
	OK(pay_url_check("https://10.1.2.3/", false, &private) == PAY_URL_OK, "a listed network counts for https");
	OK(pay_url_check("http://10.1.2.3/", true, &private) == PAY_URL_PLAIN_HTTP, "but not for http");
	OK(pay_url_check("http://127.0.0.1/", false, &private) == PAY_URL_PLAIN_HTTP, "listed loopback does not allow http");
	OK(pay_url_check("https://localhost/", false, &private) == PAY_URL_OK, "listed loopback counts for localhost");

	memset(text, 'a', sizeof(text));
	memcpy(text, "https://h.example/", 18);
	text[2000] = '\0';
	OK(pay_url_check(text, false, &none) == PAY_URL_OK, "2,000 bytes are accepted");
	text[2000] = 'a';
	text[2001] = '\0';
	OK(pay_url_check(text, false, &none) == PAY_URL_MALFORMED, "2,001 are not");

	memset(label, 'a', sizeof(label));
	memcpy(label, "https://", 8);
	label[8 + 63] = '\0';
	OK(pay_url_check(label, false, &none) == PAY_URL_OK, "a label of 63 bytes");
	label[8 + 63] = 'a';
	label[8 + 64] = '\0';
	OK(pay_url_check(label, false, &none) == PAY_URL_MALFORMED, "none of 64");
}

static void
test_hosts(void)
{
	static const char *const hosts[][2] = {
		{"https://API.Example:8443/v1", "api.example"},
		{"https://10.1.2.3", "10.1.2.3"},
		{"https://[2600::1]:443/", "2600::1"},
	};
	static const char *const here[] = {"http://127.0.0.1:80", "https://[::1]", "http://localhost", "http://psp.localhost", "https://2130706433"};
	char		host[PAY_HOST_BYTES_MAX + 1];
	bool		loopback;

	for (size_t i = 0; i < lengthof(hosts); i++)
		OK(pay_url_host(hosts[i][0], host, &loopback) && strcmp(host, hosts[i][1]) == 0 && !loopback, "host of %s", hosts[i][0]);
	for (size_t i = 0; i < lengthof(here); i++)
		OK(pay_url_host(here[i], host, &loopback) && loopback, "%s is here", here[i]);
	OK(!pay_url_host("https://a@b", host, &loopback) && !pay_url_host("b", host, &loopback), "no URL has no host");
	OK(pay_hosts_check("") && pay_hosts_check(" a.example ,10.1.2.3, 2600::1"), "lists of hosts");
	OK(!pay_hosts_check("a,,b") && !pay_hosts_check("https://a") && !pay_hosts_check("a:443") && !pay_hosts_check("*.a") && !pay_hosts_check("a b"), "and none");
	OK(pay_hosts_hold(" A.example , b.example", "a.example") && pay_hosts_hold("a,b", "b"), "held, in whichever case");
	OK(!pay_hosts_hold("", "a") && !pay_hosts_hold("aa, xa.example", "a") && !pay_hosts_hold("a.example", "a.example.evil"), "a part of one is none");
}

int
main(void)
{
	test_hosts();
	test_classify();
	test_allowed();
	test_networks();
	test_urls();
	return tap_done();
}
