/*
 * src/http/request.c
 *		One HTTP request: curl's options for it, and curl's callbacks.
 *
 * Callbacks never raise and never palloc (http.c says why); what they find out
 * they note in the transfer.  An option that cannot be set stops the request:
 * each of them is there for safety.
 */
#include "payments.h"

#include "http/request.h"

#include "base/address.h"
#include "base/header.h"
#include "core/guc.h"
#include "http/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#define HEADER_BYTES_MAX (32 * 1024)
#define CA_CACHE_S 300			/* a replaced CA file counts after this */
#define CONNECTION_AGE_MAX_S 300	/* so that a PSP which moves its name is followed */
#define SILENCE_MAX_S 60		/* a transfer given longer ends when nothing moves */

typedef struct PayLongOption
{
	CURLoption	option;
	long		value;
} PayLongOption;

/* What holds for every request. */
static const PayLongOption fixed_options[] = {
	{CURLOPT_NOSIGNAL, 1},		/* else SIGALRM and siglongjmp, which are the server's */
	{CURLOPT_QUICK_EXIT, 1},	/* do not join a lookup that timed out */
	{CURLOPT_FOLLOWLOCATION, 0},
	{CURLOPT_NETRC, CURL_NETRC_IGNORED},
	{CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
	{CURLOPT_PATH_AS_IS, 1},	/* the path the adapter wrote, not one like it */
	{CURLOPT_SSL_VERIFYPEER, 1},
	{CURLOPT_SSL_VERIFYHOST, 2},
	{CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},	/* this or later */
	{CURLOPT_TCP_FASTOPEN, 0},
	{CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S},
	{CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
	{CURLOPT_HTTP09_ALLOWED, 0},
	{CURLOPT_DNS_CACHE_TIMEOUT, PAY_HTTP_DNS_CACHE_S},
	{CURLOPT_MAXLIFETIME_CONN, CONNECTION_AGE_MAX_S},
	{CURLOPT_TCP_KEEPALIVE, 1},
	{CURLOPT_LOW_SPEED_LIMIT, 1},
	{CURLOPT_LOW_SPEED_TIME, SILENCE_MAX_S},
};

static bool ca_bundle_built_in = false; /* does this curl have a default CA file? */

/* payments.allow_networks, parsed, and the text it was parsed from. */
static PayNetworks networks;
static char *networks_text = NULL;

static bool is_plain(const char *url);
static bool header_ok(const char *header);
static bool copy_request(PayTransfer *transfer, const PayHttpRequest *request);
static bool set_options(PayTransfer *transfer, const PayHttpRequest *request);
static bool set_method(PayTransfer *transfer, const PayHttpRequest *request);
static bool set_trust(CURL *easy);
static bool set_callbacks(PayTransfer *transfer);
static curl_socket_t on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address);
static int	on_request(void *context, char *peer, char *local, int peer_port, int local_port);
static size_t on_header(char *line, size_t size, size_t n, void *context);
static int64 read_date(const PayHeader *header);
static size_t on_body(char *bytes, size_t size, size_t n, void *context);
static bool address_ok(PayTransfer *transfer, const struct sockaddr *address, socklen_t bytes);
static bool peer_ok(PayTransfer *transfer, const char *peer);

void
pay_http_request_init(bool curl_has_ca_bundle)
{
	ca_bundle_built_in = curl_has_ca_bundle;
}

/*
 * A list that cannot be parsed never gets past the setting's check; if it did,
 * nothing would be allowed.
 */
void
pay_http_request_refresh(void)
{
	const char *text = (pay_allow_networks == NULL) ? "" : pay_allow_networks;

	if (networks_text != NULL && strcmp(networks_text, text) == 0)
		return;
	free(networks_text);
	networks_text = strdup(text);
	if (networks_text == NULL || !pay_networks_parse(text, &networks))
		networks.n = 0;
}

const char *
pay_http_request_problem(const PayHttpRequest *request, PayHttpHindrance *hindrance)
{
	bool		plain = is_plain(request->url);

	/* Neither setting can be less. */
	Assert(request->timeout_ms > 0 && request->connect_timeout_ms > 0);
	*hindrance = PAY_HTTP_NOT_ALLOWED;
	if (plain && !pay_allow_http)
		return "plain http is not allowed";
	*hindrance = PAY_HTTP_NOT_SENDABLE;
	if (!plain && pg_strncasecmp(request->url, "https://", 8) != 0)
		return "malformed URL";
	for (int i = 0; request->headers != NULL && request->headers[i] != NULL; i++)
		if (!header_ok(request->headers[i]))
			return "malformed header";
	*hindrance = PAY_HTTP_UNHINDERED;
	return NULL;
}

static bool
is_plain(const char *url)
{
	return pg_strncasecmp(url, "http://", 7) == 0;
}

/*
 * "Name: value" without control characters, which would split it in two.  An
 * empty value is refused because curl would leave the header out, and a
 * request without its idempotency key must not be sent.
 */
static bool
header_ok(const char *header)
{
	const char *colon = strchr(header, ':');

	if (colon == NULL || colon == header)
		return false;
	for (const char *c = header; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			return false;
	colon++;
	return colon[strspn(colon, " ")] != '\0';
}

bool
pay_http_request_prepare(const PayHttpRequest *request, PayTransfer *transfer)
{
	return copy_request(transfer, request) && set_options(transfer, request);
}

static bool
copy_request(PayTransfer *transfer, const PayHttpRequest *request)
{
	/* curl would wait a second for a "100 Continue" that few servers send. */
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");

	for (int i = 0; list != NULL && request->headers != NULL && request->headers[i] != NULL; i++)
	{
		transfer->headers = list;
		list = curl_slist_append(list, request->headers[i]);
	}
	if (list == NULL)
		return false;
	transfer->headers = list;
	transfer->n_secret = request->n_secret;

	if (request->body != NULL && request->body_bytes > 0)
	{
		transfer->body = malloc(request->body_bytes);
		if (transfer->body == NULL)
			return false;
		memcpy(transfer->body, request->body, request->body_bytes);
	}
	transfer->response_bytes_max = request->response_bytes_max;
	transfer->on_header = request->on_header;
	transfer->on_header_context = request->on_header_context;
	transfer->plain = is_plain(request->url);
	transfer->repeatable = strcmp(request->method, "GET") == 0;
	return true;
}

/*
 * Every option counts: one that fails must stop the request.
 */
static bool
set_options(PayTransfer *transfer, const PayHttpRequest *request)
{
	CURL	   *easy = transfer->easy;

	for (size_t i = 0; i < lengthof(fixed_options); i++)
		if (curl_easy_setopt(easy, fixed_options[i].option, fixed_options[i].value) != CURLE_OK)
			return false;

	return curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, pay_allow_http ? "https,http" : "https") == CURLE_OK &&
		/* "" keeps http_proxy and its like, from the postmaster's environment, out */
		curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_USERAGENT, "payments") == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) request->connect_timeout_ms) == CURLE_OK &&
		set_method(transfer, request) &&
		set_trust(easy) &&
		set_callbacks(transfer);
}

static bool
set_method(PayTransfer *transfer, const PayHttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	curl_off_t	bytes = (transfer->body == NULL) ? 0 : (curl_off_t) request->body_bytes;

	if (strcmp(request->method, "GET") == 0)
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	if (strcmp(request->method, "POST") != 0 &&
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) != CURLE_OK)
		return false;
	return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, bytes) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body == NULL ? "" : transfer->body) == CURLE_OK;
}

/*
 * A CA file of our own replaces the system's, so its directory goes too.
 * Without a directory curl also caches the parsed file, which else is read
 * anew for each connection.
 */
static bool
set_trust(CURL *easy)
{
	bool		own = pay_ca_file != NULL && pay_ca_file[0] != '\0';

	return (!(own || ca_bundle_built_in) || curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK) &&
		(!own || curl_easy_setopt(easy, CURLOPT_CAINFO, pay_ca_file) == CURLE_OK);
}

static bool
set_callbacks(PayTransfer *transfer)
{
	CURL	   *easy = transfer->easy;

	return curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
}

static curl_socket_t
on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	PayTransfer *transfer = context;
	int			fd;

	pay_http_host_note_address(transfer);
	if (purpose != CURLSOCKTYPE_IPCXN ||
		!address_ok(transfer, &address->addr, address->addrlen))
	{
		transfer->refused = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
		transfer->lacking = errno;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/*
 * The connection stands; the request is next.
 */
static int
on_request(void *context, char *peer, char *local, int peer_port, int local_port)
{
	PayTransfer *transfer = context;

	pay_http_host_note_address(transfer);
	if (!peer_ok(transfer, peer))
	{
		transfer->refused = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (transfer->sending && !transfer->repeatable)
	{
		transfer->repeated = true;
		return CURL_PREREQFUNC_ABORT;
	}
	transfer->sending = true;
	transfer->lacking = 0;		/* another address served */
	return CURL_PREREQFUNC_OK;
}

static size_t
on_header(char *line, size_t size, size_t n, void *context)
{
	PayTransfer *transfer = context;
	PayHttpResponse *response = &transfer->finished->response;
	size_t		bytes = size * n;
	PayHeader	header;

	transfer->header_bytes += bytes;
	if (transfer->header_bytes > HEADER_BYTES_MAX)
	{
		transfer->too_large = true;
		return 0;
	}
	/* Behind the body come trailers, and they do not count. */
	if (response->body_bytes > 0)
		return bytes;

	/* A status line: what came before belongs to an interim answer, such as 103. */
	if (bytes >= 5 && memcmp(line, "HTTP/", 5) == 0)
	{
		transfer->measured = false;
		response->retry_after_s = -1;
		response->date = 0;
		if (transfer->on_header)
			transfer->on_header(transfer->on_header_context, NULL);
		return bytes;
	}
	if (!pay_header_split(line, bytes, &header))
		return bytes;
	if (pay_header_is(&header, "content-length"))
		transfer->measured = true;
	else if (pay_header_is(&header, "transfer-encoding"))
		transfer->measured = header.value_bytes >= 7 && pg_strncasecmp(header.value + header.value_bytes - 7, "chunked", 7) == 0;
	else if (pay_header_is(&header, "retry-after"))
		response->retry_after_s = pay_header_retry_after(&header);
	else if (pay_header_is(&header, "date"))
		response->date = read_date(&header);
	/* What repeats our secret is worth no more than that. */
	if (transfer->on_header && !pay_http_transfer_repeats(transfer, header.value, header.value_bytes))
		transfer->on_header(transfer->on_header_context, &header);
	return bytes;
}

/* 0 for what is no date. */
static int64
read_date(const PayHeader *header)
{
	char		text[64];
	time_t		date;

	pay_copy_printable(text, sizeof(text), header->value, header->value_bytes);
	date = curl_getdate(text, NULL);
	return date > 0 ? (int64) date : 0;
}

static size_t
on_body(char *bytes, size_t size, size_t n, void *context)
{
	return pay_http_transfer_add_body(context, bytes, size * n) ? size * n : 0;
}

/* Plain http goes to loopback addresses, whatever else is allowed. */
static bool
address_ok(PayTransfer *transfer, const struct sockaddr *address, socklen_t bytes)
{
	if (transfer->plain)
		return pay_allow_http && pay_address_classify(address, bytes) == PAY_ADDRESS_LOOPBACK;
	return pay_address_allowed(address, bytes, pay_allow_http, &networks);
}

static bool
peer_ok(PayTransfer *transfer, const char *peer)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, peer, &v4.sin_addr) == 1)
		return address_ok(transfer, (struct sockaddr *) &v4, sizeof(v4));
	if (inet_pton(AF_INET6, peer, &v6.sin6_addr) == 1)
		return address_ok(transfer, (struct sockaddr *) &v6, sizeof(v6));
	return false;
}
