/*
 * test/fuzz/fuzz_address.c
 *		If this fails, a URL or a network list that somebody typed can crash the
 *		server, or a URL passes whose host another parser reads as an address
 *		inside our network.
 */
// sources: ../../src/base/address.c
// libs: -lcurl
#include "payments.h"

#include "base/address.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

/* A host that libcurl and getaddrinfo take for an address must be public. */
static void
check_against_curl(const char *url)
{
	CURLU	   *parsed = curl_url();
	char	   *host = NULL;
	char	   *user = NULL;
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;

	if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
	{
		CHECK(curl_url_get(parsed, CURLUPART_USER, &user, 0) != CURLUE_OK);
		CHECK(curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK);
		if (host[0] == '[')
		{
			host[strlen(host) - 1] = '\0';
			memmove(host, host + 1, strlen(host));
		}
		if (getaddrinfo(host, NULL, &hints, &found) == 0)
		{
			CHECK(pay_address_classify(found->ai_addr, found->ai_addrlen) == PAY_ADDRESS_PUBLIC);
			freeaddrinfo(found);
		}
	}
	curl_free(user);
	curl_free(host);
	curl_url_cleanup(parsed);
}

static void
fuzz_url(const char *url)
{
	static const PayNetworks none = {0};
	PayNetworks all;
	PayUrlVerdict strict;
	PayUrlVerdict loopback;
	PayUrlVerdict loose;

	CHECK(pay_networks_parse("0.0.0.0/0, ::/0", &all));
	strict = pay_url_check(url, false, &none);
	loopback = pay_url_check(url, true, &none);
	loose = pay_url_check(url, true, &all);

	/* Whatever is allowed stays allowed when more is. */
	CHECK(strict != PAY_URL_OK || loopback == PAY_URL_OK);
	CHECK(loopback != PAY_URL_OK || loose == PAY_URL_OK);
	CHECK((strict == PAY_URL_MALFORMED) == (loose == PAY_URL_MALFORMED));
	CHECK((strict == PAY_URL_SCHEME) == (loose == PAY_URL_SCHEME));
	if (strict == PAY_URL_OK)
	{
		CHECK(strncasecmp(url, "https://", 8) == 0);
		check_against_curl(url);
	}
}

static void
fuzz_networks(const char *text)
{
	PayNetworks networks;

	if (!pay_networks_parse(text, &networks))
	{
		CHECK(networks.n == 0);
		return;
	}
	CHECK(networks.n >= 0 && networks.n <= PAY_NETWORKS_MAX);
	for (int i = 0; i < networks.n; i++)
	{
		struct sockaddr_in6 address = {.sin6_family = AF_INET6};
		char		name[INET6_ADDRSTRLEN];
		char		again[INET6_ADDRSTRLEN + 8];
		PayNetworks reparsed;

		CHECK(networks.list[i].prefix >= 0 && networks.list[i].prefix <= 128);
		memcpy(&address.sin6_addr, networks.list[i].bytes, 16);
		CHECK(pay_address_allowed((struct sockaddr *) &address, sizeof(address), false, &networks));

		CHECK(inet_ntop(AF_INET6, networks.list[i].bytes, name, sizeof(name)) != NULL);
		snprintf(again, sizeof(again), "%s/%d", name, networks.list[i].prefix);
		CHECK(pay_networks_parse(again, &reparsed) && reparsed.n == 1);
		CHECK(memcmp(reparsed.list[0].bytes, networks.list[i].bytes, 16) == 0);
		CHECK(reparsed.list[0].prefix == networks.list[i].prefix);
	}
}

static void
fuzz_classify(const unsigned char *data, size_t bytes)
{
	union
	{
		struct sockaddr_storage storage;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	}			address = {0};
	PayAddressVerdict plain;

	memcpy(&address, data, Min(bytes, sizeof(address)));
	pay_address_classify((struct sockaddr *) &address, (socklen_t) Min(bytes, sizeof(address)));

	/* A v4 address and its mapped form are one. */
	memset(&address, 0, sizeof(address));
	address.v4.sin_family = AF_INET;
	memcpy(&address.v4.sin_addr, data, Min(bytes, 4));
	plain = pay_address_classify((struct sockaddr *) &address, sizeof(address.v4));
	memset(&address, 0, sizeof(address));
	address.v6.sin6_family = AF_INET6;
	memset(address.v6.sin6_addr.s6_addr + 10, 0xff, 2);
	memcpy(address.v6.sin6_addr.s6_addr + 12, data, Min(bytes, 4));
	CHECK(plain == pay_address_classify((struct sockaddr *) &address, sizeof(address.v6)));
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	char	   *text = malloc(bytes + 1);

	memcpy(text, data, bytes);
	text[bytes] = '\0';
	fuzz_url(text);
	fuzz_networks(text);
	fuzz_classify(data, bytes);
	free(text);
	return 0;
}
