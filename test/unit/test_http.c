/*
 * test/unit/test_http.c
 *		If this fails, a moment without memory has the worker write beyond its
 *		own, or end with all of the server; or it loses requests, or slots.
 *
 * The peer is a thread.  Of what a call asks memory for through libcurl, each
 * fails once, and only that one; then one of the first, where a handle is made
 * ready, and another with it.  The calls after it must not suffer.  And a peer
 * that sends what libcurl takes for want of memory: that is no want of ours.
 * Nor is what it repeats of our secret kept.
 */
// sources: ../../src/http/http.c ../../src/http/host.c ../../src/http/request.c ../../src/http/transfer.c ../../src/base/header.c ../../src/base/address.c
// libs: -lcurl -lpthread
#include "payments.h"

#include "base/header.h"
#include "http/http.h"

#include "access/xact.h"
#include "core/guc.h"
#include "libpq/pqsignal.h"
#include "storage/fd.h"

#include "tap.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUESTS_MAX 400
#define FIRST_MAX 8
#define SECRET "sk_test_unit12345"
#define LONG_BYTES (200 * 1024)
#define ANSWER "{\"answer\": \"as long as no buffer of a byte or two would hold it\"}"

/* What http.c wants of the server. */
int			max_safe_fds = 64;
bool		pay_allow_http = true;
char	   *pay_allow_networks = "";
char	   *pay_ca_file = "";

bool
IsTransactionState(void)
{
	return false;
}

pqsigfunc
pqsignal(int signal_number, pqsigfunc handler)
{
	signal(signal_number, handler);
	return NULL;
}

/* Which of libcurl's requests for memory fails, and those that follow so many later; 0: none. */
static int	failing = 0;
static int	step = 0;
static int	asked = 0;

static bool
fails(void)
{
	if (failing == 0 || ++asked != failing)
		return false;
	failing += step;
	return true;
}

static void *
lacking_malloc(size_t bytes)
{
	return fails() ? NULL : malloc(bytes);
}

static void *
lacking_calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : calloc(n, bytes);
}

static void *
lacking_realloc(void *old, size_t bytes)
{
	return fails() ? NULL : realloc(old, bytes);
}

static char *
lacking_strdup(const char *text)
{
	return fails() ? NULL : strdup(text);
}

static void
serve_echo(int connection, const char *request)
{
	char		answer[4096];
	const char *secret = strstr(request, "Bearer ");
	char		body[512];
	int			bytes;

	bytes = snprintf(body, sizeof(body), "you sent %.*s, and again %.*s!", (int) strcspn(secret, "\r"), secret, (int) strcspn(secret, "\r"), secret);
	bytes = snprintf(answer, sizeof(answer), "HTTP/1.1 401 No\r\nContent-Length: %d\r\nConnection: close\r\nRequest-Id: %.*s\r\nX-Other: other\r\n\r\n%s", bytes, (int) strcspn(secret, "\r"), secret, body);
	if (write(connection, answer, bytes) != bytes)
		abort();
}

static void
serve_long_header(int connection)
{
	static char line[LONG_BYTES];
	static const char status[] = "HTTP/1.1 200 OK\r\nX-Long: ";
	ssize_t		sent = write(connection, status, strlen(status));

	memset(line, 'x', sizeof(line));
	/* The other side may have had enough before all of it is there. */
	for (size_t from = 0; sent > 0 && from < sizeof(line); from += sent)
		sent = send(connection, line + from, sizeof(line) - from, MSG_NOSIGNAL);
}

/* Answers all that it is asked. */
static void *
serve(void *context)
{
	int			connection = (int) (intptr_t) context;
	bool		keeps = connection % 2 == 0;
	char		request[4096];
	char		answer[256];
	int			bytes = 0;
	ssize_t		got;

	while ((got = read(connection, request + bytes, sizeof(request) - 1 - bytes)) > 0)
	{
		bytes += got;
		request[bytes] = '\0';
		if (strstr(request, "\r\n\r\namount=1000") == NULL)
			continue;
		if (strstr(request, " /long ") != NULL)
			serve_long_header(connection);
		else if (strstr(request, " /echo ") != NULL)
			serve_echo(connection, request);
		if (strstr(request, " / ") == NULL)
			break;
		bytes = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s\r\n" ANSWER, strlen(ANSWER), keeps ? "" : "Connection: close\r\n");
		if (write(connection, answer, bytes) != bytes || !keeps)
			break;
		bytes = 0;
	}
	close(connection);
	return NULL;
}

static void *
listen_for(void *context)
{
	int			listener = *(int *) context;
	pthread_t	thread;

	for (;;)
	{
		int			connection = accept(listener, NULL, NULL);

		if (connection < 0 || pthread_create(&thread, NULL, serve, (void *) (intptr_t) connection) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static int
start_peer(void)
{
	static int	listener;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	bytes = sizeof(address);
	pthread_t	thread;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *) &address, bytes) != 0 || listen(listener, 16) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &bytes) != 0 ||
		pthread_create(&thread, NULL, listen_for, &listener) != 0)
		abort();
	return ntohs(address.sin_port);
}

static void
start(const char *url)
{
	static const char *const headers[] = {"Authorization: Bearer secret", "Idempotency-Key: key", NULL};
	PayHttpRequest request = {
		.method = "POST", .url = url, .headers = headers, .body = "amount=1000", .body_bytes = 11,
		/* What lacks memory may have to end by time. */
		.timeout_ms = failing ? 400 : 30000, .connect_timeout_ms = failing ? 400 : 30000, .response_bytes_max = 10000
	};

	pay_http_start(&request);
}

/* The response to what was started; the caller frees it. */
static PayHttpResponse *
wait_response(void)
{
	PayHttpResponse *response;

	while ((response = pay_http_next()) == NULL)
	{
		struct pollfd ready = {.fd = pay_http_fd(), .events = POLLIN};
		long		ms = pay_http_timeout_ms();

		poll(&ready, 1, ms < 0 || ms > 100 ? 100 : (int) ms);
		pay_http_drive();
	}
	return response;
}

/* Is a call answered, with all of the answer? */
static bool
call(const char *url)
{
	PayHttpResponse *response;
	bool		answered;

	start(url);
	response = wait_response();
	answered = response->transport == PAY_TRANSPORT_ANSWERED && strcmp(response->body, ANSWER) == 0;
	pay_http_free(response);
	return answered;
}

/* Twice, for the connection may be kept. */
static bool
calls_work(const char *url)
{
	bool		first = call(url);

	return call(url) && first;
}

static void
test_long_header(const char *url)
{
	char		of_it[80];
	PayHttpResponse *response;

	snprintf(of_it, sizeof(of_it), "%slong", url);
	start(of_it);
	response = wait_response();
	OK(response->transport == PAY_TRANSPORT_LOST && response->hindrance == PAY_HTTP_UNHINDERED && response->too_large,
	   "a line of a header without end is the peer's: %s", response->error);
	OK(!pay_http_is_scarce(), "and takes nothing from others");
	pay_http_free(response);
}

static int	headers_seen = 0;

static void
see_header(void *context, const PayHeader *header)
{
	char		value[256] = "";

	if (header == NULL)
		return;
	pay_copy_printable(value, sizeof(value), header->value, header->value_bytes);
	headers_seen += pay_header_is(header, "x-other") ? 1 : strstr(value, SECRET) ? 100 : 0;
}

static void
test_echo(const char *url)
{
	static const char *const headers[] = {"Authorization: Bearer " SECRET, "Idempotency-Key: and again", NULL};
	char		of_it[80];
	PayHttpRequest request = {
		.method = "POST", .url = of_it, .headers = headers, .n_secret = 1, .body = "amount=1000", .body_bytes = 11,
		.timeout_ms = 30000, .connect_timeout_ms = 30000, .response_bytes_max = 10000, .on_header = see_header
	};
	PayHttpResponse *response;

	snprintf(of_it, sizeof(of_it), "%secho", url);
	pay_http_start(&request);
	response = wait_response();
	OK(response->http_status == 401 && strcmp(response->body, "you sent Bearer *****************, and again Bearer *****************!") == 0,
	   "what a peer repeats of our secret is hidden: %s", response->body);
	OK(headers_seen == 1, "and such a header is not looked at");
	pay_http_free(response);
}

int
main(void)
{
	char		url[64];
	int			n = 0;
	int			hindered = 0;
	bool		work = true;

	if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, lacking_malloc, free, lacking_realloc, lacking_strdup, lacking_calloc) != CURLE_OK)
		abort();
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", start_peer());
	pay_http_init(4);
	test_long_header(url);
	test_echo(url);
	do
	{
		asked = 0;
		failing = ++n;
		hindered += !call(url);
		failing = 0;
		work &= calls_work(url);
	} while (asked >= n && n < REQUESTS_MAX);
	OK(n > 20 && n < REQUESTS_MAX && hindered > 10, "of %d requests for memory each fails once, and %d calls with them", n, hindered);
	OK(work, "the calls after it are answered");

	hindered = 0;
	for (int first = 1; first <= FIRST_MAX; first++)
		for (step = 1; first + step <= n; step++)
		{
			asked = 0;
			failing = first;
			hindered += !call(url);
			failing = 0;
			work &= calls_work(url);
		}
	OK(hindered > 100, "two at once and more, and %d calls with them", hindered);
	OK(work, "the calls after it are answered");
	OK(pay_http_inflight() == 0, "none is left");
	return tap_done();
}
