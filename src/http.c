/*
 * src/http.c
 *		Many HTTP requests in flight in one process, over curl_multi.
 *
 * Always true:
 *
 * - A request leaves at most once.  PREREQFUNCTION runs when the connection
 *	 stands (TLS included) and before the first byte of the request; it sets
 *	 `sending`.  So NOT_SENT is exactly "never got there", and no early data,
 *	 fast open or proxy may be switched on, for they would make that untrue.
 *	 curl on its own repeats a request whose reused connection dies before an
 *	 answer; we stop that for everything but GET, since an attempt row stands
 *	 for one exchange.
 * - ANSWERED means that the peer said how long the answer is and all of it is
 *	 here.  An answer that ends where the connection ends may have been cut.
 * - Every address is judged after DNS: when a socket is opened, and again when
 *	 a pooled connection is used, for the settings may have changed since.
 * - Callbacks never raise and never palloc: a longjmp across curl's frames
 *	 would leave the multi handle torn.  They copy into capped malloc'd memory
 *	 and return short.
 * - Signals are blocked around curl, so that its resolver threads start with
 *	 a full mask; a handler of the server's must not run in one (curl#8339).
 * - All descriptors and one timer live in one epoll descriptor; the caller
 *	 waits on that, with its latch.
 *
 * All state is this process's own.  A crash loses it, and with it only what
 * the attempt rows say was being sent: those are settled as unknown.
 */
#include "payments.h"

#include "http.h"

#include "address.h"
#include "guc.h"
#include "header_parse.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "libpq/pqsignal.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* CURLOPT_QUICK_EXIT: without it a slow name lookup blocks every transfer, SIGTERM and DROP DATABASE. */
#define CURL_VERSION_NEEDED 0x075700
#if LIBCURL_VERSION_NUM < CURL_VERSION_NEEDED
#error "payments needs libcurl 7.87 or later"
#endif

#define EVENTS_MAX 256			/* descriptors served in one drive; the rest stay readable */
#define HEADER_BYTES_MAX (32 * 1024)
#define BODY_BYTES_FIRST 4096
#define DESCRIPTORS_SPARE 256	/* for the server's own files */
#define CONNECTIONS_SPARE 16
#define HOSTS_MAX 64
#define HOST_BYTES_MAX 280		/* name and port */
#define DNS_CACHE_S 60
#define CA_CACHE_S 300			/* a replaced CA file counts after this */
#define CONNECTION_AGE_MAX_S 300	/* so that a PSP which moves its name is followed */
#define SILENCE_MAX_S 60		/* a transfer given longer ends when nothing moves */

/*
 * A host whose name was not looked up of late gets one request ahead; the
 * others wait until that one has an address.  Else a batch of 500 against a
 * cold DNS cache starts 500 resolver threads, each with descriptors of its own.
 */
typedef struct PayHost
{
	char		name[HOST_BYTES_MAX + 1];
	int			users;			/* transfers that point here; 0 = may be replaced */
	int64		known_until_us;
	struct PayTransfer *leader; /* who looks the name up, or NULL */
	dlist_head	waiting;
} PayHost;

/* The caller sees the response; the node lists it once finished. */
typedef struct PayFinished
{
	PayHttpResponse response;	/* first: pay_http_free() gets its address */
	slist_node	node;
} PayFinished;

typedef struct PayTransfer
{
	dlist_node	node;			/* in running, idle, or a host's waiting */
	CURL	   *easy;			/* lives as long as this struct */
	PayFinished *finished;		/* what we are filling */
	PayHost    *host;			/* NULL: not gated */
	struct curl_slist *headers;
	char	   *body;
	size_t		body_capacity;	/* of the response's body */
	size_t		response_bytes_max;
	size_t		header_bytes;
	int64		started_us;
	bool		plain;			/* http, not https */
	bool		repeatable;		/* GET: curl may send it again */
	bool		connecting;		/* has an address: the lookup is over */
	bool		sending;		/* bytes of the request may have left */
	bool		refused;		/* we refused an address */
	bool		repeated;		/* we stopped curl from sending again */
	bool		too_large;
	bool		measured;		/* the peer said how long the body is */
	char		curl_error[CURL_ERROR_SIZE];
} PayTransfer;

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
	{CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S},
	{CURLOPT_MAXLIFETIME_CONN, CONNECTION_AGE_MAX_S},
	{CURLOPT_TCP_KEEPALIVE, 1},
	{CURLOPT_LOW_SPEED_LIMIT, 1},
	{CURLOPT_LOW_SPEED_TIME, SILENCE_MAX_S},
};

/* Written by init and shutdown only. */
static CURLM *multi = NULL;
static int	epoll_fd = -1;
static int	timer_fd = -1;
static int	inflight_bound = 0;
static bool curl_initialized = false;
static bool ca_bundle_built_in = false; /* does this curl have a default CA file? */

/* Written by start, drive and what they call. */
static int	inflight = 0;		/* running and waiting */
static dlist_head running = DLIST_STATIC_INIT(running);
static dlist_head idle = DLIST_STATIC_INIT(idle);
static slist_head finished_list = SLIST_STATIC_INIT(finished_list);
static slist_node *finished_tail = NULL;
static PayHost hosts[HOSTS_MAX];
static bool hosts_changed = false;	/* a leader is done: some may go on */
static int64 deadline_us = -1;	/* when drive is due without an event; -1 = never */
static int	epoll_errno = 0;	/* last failure in a callback, to be logged outside */

/* payments.allow_networks, parsed, and the text it was parsed from. */
static PayNetworks networks;
static char *networks_text = NULL;

/* Stands for a body of no bytes, so that `body` is never NULL. */
static char no_body[1] = "";

static int	fit_descriptors(int inflight_max);
static void check_curl(void);
static const char *create_handles(void);
static void refresh_networks(void);
static const char *start_transfer(PayFinished *finished, const PayHttpRequest *request);
static const char *request_problem(const PayHttpRequest *request);
static bool is_plain(const char *url);
static bool header_ok(const char *header);
static PayTransfer *take_transfer(void);
static void release_transfer(PayTransfer *transfer);
static void destroy_transfer(PayTransfer *transfer);
static void wipe_headers(struct curl_slist *headers);
static bool copy_request(PayTransfer *transfer, const PayHttpRequest *request);
static bool set_options(PayTransfer *transfer, const PayHttpRequest *request);
static bool set_method(PayTransfer *transfer, const PayHttpRequest *request);
static bool set_trust(CURL *easy);
static bool set_callbacks(PayTransfer *transfer);
static PayHost *find_host(const char *url);
static void admit(PayTransfer *transfer);
static void run(PayTransfer *transfer);
static void admit_waiting(void);
static void lead_ended(PayTransfer *transfer, CURLcode code);
static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *per_socket);
static curl_socket_t on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address);
static int	on_request(void *context, char *peer, char *local, int peer_port, int local_port);
static size_t on_header(char *line, size_t size, size_t n, void *context);
static size_t on_body(char *bytes, size_t size, size_t n, void *context);
static bool address_ok(PayTransfer *transfer, const struct sockaddr *address, socklen_t bytes);
static bool peer_ok(PayTransfer *transfer, const char *peer);
static void note_address(PayTransfer *transfer);
static void collect(void);
static void finish(PayTransfer *transfer, CURLcode code);
static void describe(const PayTransfer *transfer, CURLcode code, char *error, size_t size);
static void append_finished(PayFinished *finished);
static void arm_timer(void);
static void set_deadline(long ms);
static void block_signals(sigset_t *before);
static int64 now_us(void);

void
pay_http_init(int inflight_max)
{
	const char *problem;

	Assert(multi == NULL);
	Assert(inflight_max > 0);

	/* NOSIGNAL leaves this to us: OpenSSL writes without MSG_NOSIGNAL. */
	pqsignal(SIGPIPE, SIG_IGN);
	/* Else the postmaster's environment could have our TLS keys written to a file. */
	unsetenv("SSLKEYLOGFILE");

	if (!curl_initialized && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(PAY_ERR_WORKER),
				 errmsg("could not initialize libcurl")));
	curl_initialized = true;
	check_curl();

	inflight_bound = fit_descriptors(inflight_max);
	if (inflight_bound < inflight_max)
		ereport(LOG,
				(errmsg("payments worker keeps at most %d requests in flight instead of %d",
						inflight_bound, inflight_max),
				 errhint("Raise the limit on open files of the server process.")));

	for (int i = 0; i < HOSTS_MAX; i++)
	{
		memset(&hosts[i], 0, sizeof(hosts[i]));
		dlist_init(&hosts[i].waiting);
	}
	problem = create_handles();
	if (problem != NULL)
	{
		int			save_errno = errno;

		pay_http_shutdown();
		errno = save_errno;
		ereport(ERROR,
				(errcode(PAY_ERR_WORKER),
				 errmsg("could not create %s: %m", problem)));
	}
}

int
pay_http_fd(void)
{
	return epoll_fd;
}

long
pay_http_timeout_ms(void)
{
	int64		left_us;

	if (!slist_is_empty(&finished_list))
		return 0;
	if (deadline_us < 0)
		return -1;
	left_us = deadline_us - now_us();
	return (left_us <= 0) ? 0 : (long) ((left_us + 999) / 1000);
}

int
pay_http_inflight(void)
{
	return inflight;
}

void
pay_http_start(const PayHttpRequest *request)
{
	PayFinished *finished = calloc(1, sizeof(PayFinished));
	const char *problem;

	Assert(multi != NULL);

	/* Nothing to answer with.  The operation's lease runs out, and it is settled as unknown. */
	if (finished == NULL)
	{
		ereport(LOG,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory for an HTTP request of payments")));
		return;
	}
	finished->response.tag = request->tag;
	finished->response.transport = PAY_TRANSPORT_NOT_SENT;
	finished->response.body = no_body;
	finished->response.should_retry = -1;
	finished->response.retry_after_s = -1;

	problem = start_transfer(finished, request);
	if (problem != NULL)
	{
		strlcpy(finished->response.error, problem, sizeof(finished->response.error));
		append_finished(finished);
	}
	set_deadline(0);
}

void
pay_http_drive(void)
{
	struct epoll_event events[EVENTS_MAX];
	sigset_t	before;
	int			still_running;
	int			n;

	/* Promise 10, and cheap enough to be kept in production builds too. */
	Assert(!IsTransactionState());
	if (IsTransactionState())
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("cannot send HTTP requests inside a transaction")));
	Assert(multi != NULL);

	refresh_networks();
	block_signals(&before);

	n = epoll_wait(epoll_fd, events, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++)
	{
		int			mask = 0;

		if (events[i].data.fd == timer_fd)
			continue;
		/* On an error, let curl read or write and see it for itself. */
		if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_IN;
		if (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_OUT;
		curl_multi_socket_action(multi, events[i].data.fd, mask, &still_running);
	}
	curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &still_running);
	collect();
	admit_waiting();
	arm_timer();

	pthread_sigmask(SIG_SETMASK, &before, NULL);

	if (epoll_errno != 0)
	{
		errno = epoll_errno;
		epoll_errno = 0;
		ereport(LOG,
				(errmsg("could not watch a socket of payments: %m"),
				 errdetail("The request on it will time out.")));
	}
}

PayHttpResponse *
pay_http_next(void)
{
	PayFinished *finished;

	if (slist_is_empty(&finished_list))
		return NULL;
	finished = slist_container(PayFinished, node, slist_pop_head_node(&finished_list));
	return &finished->response;
}

void
pay_http_free(PayHttpResponse *response)
{
	if (response == NULL)
		return;
	if (response->body != no_body)
		free(response->body);
	free(response);
}

/*
 * Also undoes an init that failed half-way, and may be called twice.  There is
 * no curl_global_cleanup(): a lookup given up on may still run in its thread.
 */
void
pay_http_shutdown(void)
{
	dlist_mutable_iter iter;
	PayHttpResponse *response;

	for (int i = 0; i < HOSTS_MAX && multi != NULL; i++)
		dlist_foreach_modify(iter, &hosts[i].waiting)
			destroy_transfer(dlist_container(PayTransfer, node, iter.cur));
	dlist_foreach_modify(iter, &running)
	{
		PayTransfer *transfer = dlist_container(PayTransfer, node, iter.cur);

		curl_multi_remove_handle(multi, transfer->easy);
		destroy_transfer(transfer);
	}
	dlist_foreach_modify(iter, &idle)
		destroy_transfer(dlist_container(PayTransfer, node, iter.cur));
	while ((response = pay_http_next()) != NULL)
		pay_http_free(response);

	if (multi != NULL)
		curl_multi_cleanup(multi);
	if (timer_fd >= 0)
		close(timer_fd);
	if (epoll_fd >= 0)
		close(epoll_fd);
	multi = NULL;
	timer_fd = -1;
	epoll_fd = -1;
	inflight = 0;
	deadline_us = -1;
}

/*
 * Lets the process open what `inflight_max` requests need, and returns how
 * many it can have if that is not to be.  We ask for two descriptors each,
 * since a connection being made may try v4 and v6 at once.
 */
static int
fit_descriptors(int inflight_max)
{
	rlim_t		want = (rlim_t) inflight_max * 2 + DESCRIPTORS_SPARE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return inflight_max;
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < want)
	{
		struct rlimit raised = limit;

		raised.rlim_cur = (limit.rlim_max == RLIM_INFINITY) ? want : Min(want, limit.rlim_max);
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= (rlim_t) inflight_max + DESCRIPTORS_SPARE)
		return inflight_max;
	if (limit.rlim_cur <= 2 * DESCRIPTORS_SPARE)
		return Max((int) limit.rlim_cur / 4, 1);
	return (int) limit.rlim_cur - DESCRIPTORS_SPARE;
}

/*
 * The library loaded may differ from the one compiled against.
 */
static void
check_curl(void)
{
	curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

	if (info->version_num < CURL_VERSION_NEEDED ||
		!(info->features & CURL_VERSION_SSL) ||
		!(info->features & CURL_VERSION_ASYNCHDNS))
		ereport(ERROR,
				(errcode(PAY_ERR_WORKER),
				 errmsg("cannot use libcurl %s", info->version),
				 errdetail("libcurl 7.87 or later is needed, with TLS and asynchronous name lookup.")));
	ca_bundle_built_in = info->cainfo != NULL;
}

/*
 * Returns NULL, or what could not be created (with errno).
 */
static const char *
create_handles(void)
{
	struct epoll_event event = {.events = EPOLLIN};

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return "an epoll descriptor";
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer_fd < 0)
		return "a timer descriptor";
	event.data.fd = timer_fd;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event) != 0)
		return "an epoll entry";

	errno = ENOMEM;
	multi = curl_multi_init();
	if (multi == NULL)
		return "a libcurl multi handle";

	/*
	 * The total is a cap on descriptors only, and no more than `inflight_bound`
	 * connections are ever in use, so a request never queues inside curl
	 * (where waiting would count against its timeout, curl#21396): curl closes
	 * an idle connection instead.
	 */
	if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) inflight_bound) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) inflight_bound + CONNECTIONS_SPARE) != CURLM_OK)
		return "a libcurl multi handle";
	return NULL;
}

/*
 * A list that cannot be parsed never gets past the setting's check; if it did,
 * nothing would be allowed.
 */
static void
refresh_networks(void)
{
	const char *text = (pay_allow_networks == NULL) ? "" : pay_allow_networks;

	if (networks_text != NULL && strcmp(networks_text, text) == 0)
		return;
	free(networks_text);
	networks_text = strdup(text);
	if (networks_text == NULL || !pay_networks_parse(text, &networks))
		networks.n = 0;
}

/*
 * Returns NULL when the request is on its way (`finished` then belongs to the
 * transfer), or why it cannot be.
 */
static const char *
start_transfer(PayFinished *finished, const PayHttpRequest *request)
{
	const char *problem = request_problem(request);
	PayTransfer *transfer;
	sigset_t	before;

	if (problem != NULL)
		return problem;
	if (inflight >= inflight_bound)
		return "too many requests in flight";
	transfer = take_transfer();
	if (transfer == NULL)
		return "out of memory";
	if (!copy_request(transfer, request) || !set_options(transfer, request))
	{
		release_transfer(transfer);
		return "could not set up the request";
	}
	transfer->finished = finished;
	transfer->started_us = now_us();
	transfer->host = find_host(request->url);
	if (transfer->host != NULL)
		transfer->host->users++;
	inflight++;

	block_signals(&before);
	admit(transfer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return NULL;
}

static const char *
request_problem(const PayHttpRequest *request)
{
	bool		plain = is_plain(request->url);

	if (!plain && pg_strncasecmp(request->url, "https://", 8) != 0)
		return "malformed URL";
	if (plain && !pay_allow_http)
		return "plain http is not allowed";
	if (request->timeout_ms <= 0 || request->connect_timeout_ms <= 0)
		return "no timeout given";
	for (int i = 0; request->headers != NULL && request->headers[i] != NULL; i++)
		if (!header_ok(request->headers[i]))
			return "malformed header";
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

/*
 * Takes a transfer from the pool, or makes one.  NULL when out of memory.
 */
static PayTransfer *
take_transfer(void)
{
	PayTransfer *transfer;
	CURL	   *easy;

	if (!dlist_is_empty(&idle))
	{
		transfer = dlist_container(PayTransfer, node, dlist_pop_head_node(&idle));
		easy = transfer->easy;
		curl_easy_reset(easy);
	}
	else
	{
		transfer = malloc(sizeof(PayTransfer));
		easy = curl_easy_init();
		if (transfer == NULL || easy == NULL)
		{
			free(transfer);
			curl_easy_cleanup(easy);
			return NULL;
		}
	}
	memset(transfer, 0, sizeof(*transfer));
	transfer->easy = easy;
	return transfer;
}

/* Puts a transfer that is in no list back into the pool. */
static void
release_transfer(PayTransfer *transfer)
{
	wipe_headers(transfer->headers);
	transfer->headers = NULL;
	free(transfer->body);
	transfer->body = NULL;
	dlist_push_head(&idle, &transfer->node);
}

static void
destroy_transfer(PayTransfer *transfer)
{
	dlist_delete(&transfer->node);
	curl_easy_cleanup(transfer->easy);
	wipe_headers(transfer->headers);
	free(transfer->body);
	if (transfer->finished != NULL)
		pay_http_free(&transfer->finished->response);
	free(transfer);
}

/* One of them is the authorization. */
static void
wipe_headers(struct curl_slist *headers)
{
	for (struct curl_slist *header = headers; header != NULL; header = header->next)
		explicit_bzero(header->data, strlen(header->data));
	curl_slist_free_all(headers);
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

	if (request->body != NULL && request->body_bytes > 0)
	{
		transfer->body = malloc(request->body_bytes);
		if (transfer->body == NULL)
			return false;
		memcpy(transfer->body, request->body, request->body_bytes);
	}
	transfer->response_bytes_max = request->response_bytes_max;
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

	if ((own || ca_bundle_built_in) && curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) != CURLE_OK)
		return false;
	return !own || curl_easy_setopt(easy, CURLOPT_CAINFO, pay_ca_file) == CURLE_OK;
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

/*
 * Finds the gate of the URL's host, or makes one.  NULL, and no gate, when the
 * name is too long or all gates are in use.
 */
static PayHost *
find_host(const char *url)
{
	const char *name = strstr(url, "://") + 3;
	size_t		bytes = strcspn(name, "/?#");
	PayHost    *unused = NULL;

	if (bytes > HOST_BYTES_MAX)
		return NULL;
	for (int i = 0; i < HOSTS_MAX; i++)
	{
		PayHost    *host = &hosts[i];

		if (strncmp(host->name, name, bytes) == 0 && host->name[bytes] == '\0')
			return host;
		if (host->users == 0 && (unused == NULL || host->known_until_us < unused->known_until_us))
			unused = host;
	}
	if (unused != NULL)
	{
		memcpy(unused->name, name, bytes);
		unused->name[bytes] = '\0';
		unused->known_until_us = 0;
	}
	return unused;
}

/*
 * Runs the transfer, or lets it wait for the one that looks the name up.  The
 * wait is short: the leader's connect timeout ends it.
 */
static void
admit(PayTransfer *transfer)
{
	PayHost    *host = transfer->host;

	if (host == NULL || now_us() < host->known_until_us)
		run(transfer);
	else if (host->leader == NULL)
	{
		host->leader = transfer;
		run(transfer);
	}
	else
		dlist_push_tail(&host->waiting, &transfer->node);
}

/* Hands a transfer that is in no list to curl. */
static void
run(PayTransfer *transfer)
{
	dlist_push_tail(&running, &transfer->node);
	if (curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		finish(transfer, CURLE_FAILED_INIT);
}

/*
 * Runs what waited for a leader that is done.  Where the name is still not
 * known the first becomes the next leader, and the loop ends with it.
 */
static void
admit_waiting(void)
{
	if (!hosts_changed)
		return;
	hosts_changed = false;
	for (int i = 0; i < HOSTS_MAX; i++)
		while (hosts[i].leader == NULL && !dlist_is_empty(&hosts[i].waiting))
			admit(dlist_container(PayTransfer, node, dlist_pop_head_node(&hosts[i].waiting)));
}

/*
 * Gives up the lead.  If the lookup failed, the same answer goes to all that
 * waited for it: one by one they would each wait for the timeout in turn.
 */
static void
lead_ended(PayTransfer *transfer, CURLcode code)
{
	PayHost    *host = transfer->host;

	host->leader = NULL;
	hosts_changed = true;
	if (transfer->connecting ||
		(code != CURLE_COULDNT_RESOLVE_HOST && code != CURLE_OPERATION_TIMEDOUT))
		return;
	while (!dlist_is_empty(&host->waiting))
	{
		PayTransfer *waiting = dlist_container(PayTransfer, node, dlist_head_node(&host->waiting));

		Assert(!waiting->sending && host->leader != waiting);
		finish(waiting, code);
	}
}

/*
 * curl says which events it wants of a socket.  A failure is noted, not
 * returned: that would abort every transfer, where now one times out.
 */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *per_socket)
{
	struct epoll_event event = {.data.fd = fd};
	int			op = (per_socket == NULL) ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (what == CURL_POLL_REMOVE)
	{
		/* Closing a descriptor removes it too, so a failure means nothing. */
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(epoll_fd, op, fd, &event) != 0)
	{
		/* A descriptor closed and opened again behind our back needs the other one. */
		op = (errno == ENOENT) ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
		if (epoll_ctl(epoll_fd, op, fd, &event) != 0)
			epoll_errno = errno;
	}
	if (per_socket == NULL)
		curl_multi_assign(multi, fd, &epoll_fd);	/* anything but NULL */
	return 0;
}

static curl_socket_t
on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	PayTransfer *transfer = context;

	note_address(transfer);
	if (purpose != CURLSOCKTYPE_IPCXN ||
		!address_ok(transfer, &address->addr, address->addrlen))
	{
		transfer->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/*
 * The connection stands; the request is next.
 */
static int
on_request(void *context, char *peer, char *local, int peer_port, int local_port)
{
	PayTransfer *transfer = context;

	note_address(transfer);
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
	return CURL_PREREQFUNC_OK;
}

static size_t
on_header(char *line, size_t size, size_t n, void *context)
{
	PayTransfer *transfer = context;
	PayHttpResponse *response = &transfer->finished->response;
	size_t		bytes = size * n;
	const char *value;
	size_t		value_bytes;

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
		response->should_retry = -1;
		response->retry_after_s = -1;
		response->request_id[0] = '\0';
	}
	else if (pay_http_header(line, bytes, "content-length", &value, &value_bytes))
		transfer->measured = true;
	else if (pay_http_header(line, bytes, "transfer-encoding", &value, &value_bytes))
		transfer->measured = value_bytes >= 7 && pg_strncasecmp(value + value_bytes - 7, "chunked", 7) == 0;
	else if (pay_http_header(line, bytes, "stripe-should-retry", &value, &value_bytes))
		response->should_retry = pay_http_should_retry(value, value_bytes);
	else if (pay_http_header(line, bytes, "retry-after", &value, &value_bytes))
		response->retry_after_s = pay_http_retry_after(value, value_bytes);
	else if (pay_http_header(line, bytes, "request-id", &value, &value_bytes))
		pay_http_copy_printable(response->request_id, sizeof(response->request_id), value, value_bytes);
	return bytes;
}

static size_t
on_body(char *bytes, size_t size, size_t n, void *context)
{
	PayTransfer *transfer = context;
	PayHttpResponse *response = &transfer->finished->response;
	size_t		added = size * n;
	size_t		needed;

	if (added > transfer->response_bytes_max - response->body_bytes)
	{
		transfer->too_large = true;
		return 0;
	}
	needed = response->body_bytes + added + 1;
	if (needed > transfer->body_capacity)
	{
		size_t		capacity = Max(needed, Max(2 * transfer->body_capacity, BODY_BYTES_FIRST));
		char	   *grown;

		capacity = Min(capacity, transfer->response_bytes_max + 1);
		grown = realloc(response->body == no_body ? NULL : response->body, capacity);
		if (grown == NULL)
			return 0;
		response->body = grown;
		transfer->body_capacity = capacity;
	}
	memcpy(response->body + response->body_bytes, bytes, added);
	response->body_bytes += added;
	response->body[response->body_bytes] = '\0';
	return added;
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

/*
 * The name is known for now.  Called inside curl, so those who wait for it are
 * only marked.
 */
static void
note_address(PayTransfer *transfer)
{
	PayHost    *host = transfer->host;

	transfer->connecting = true;
	if (host == NULL)
		return;
	/* A little less than curl's cache holds it. */
	host->known_until_us = now_us() + (DNS_CACHE_S - 5) * INT64CONST(1000000);
	if (host->leader == transfer)
	{
		host->leader = NULL;
		hosts_changed = true;
	}
}

static void
collect(void)
{
	CURLMsg    *message;
	int			left;

	/* Each turn ends one transfer, so there are at most `inflight`. */
	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		PayTransfer *transfer;
		CURLcode	code = message->data.result;

		/* The message is gone once the handle is. */
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		curl_multi_remove_handle(multi, transfer->easy);
		finish(transfer, code);
	}
}

/*
 * Turns a transfer that curl no longer has into a response.
 */
static void
finish(PayTransfer *transfer, CURLcode code)
{
	PayFinished *finished = transfer->finished;
	PayHttpResponse *response = &finished->response;
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!transfer->sending)
		response->transport = PAY_TRANSPORT_NOT_SENT;
	else if (code == CURLE_OK && (transfer->measured || status == 204 || status == 304))
		response->transport = PAY_TRANSPORT_ANSWERED;
	else
		response->transport = PAY_TRANSPORT_LOST;

	if (response->transport == PAY_TRANSPORT_ANSWERED)
		response->http_status = (int) status;
	else
	{
		describe(transfer, code, response->error, sizeof(response->error));
		if (response->body != no_body)
			free(response->body);
		response->body = no_body;
		response->body_bytes = 0;
	}
	response->elapsed_ms = (int) ((now_us() - transfer->started_us) / 1000);

	transfer->finished = NULL;
	dlist_delete(&transfer->node);
	inflight--;
	if (transfer->host != NULL)
	{
		transfer->host->users--;
		if (transfer->host->leader == transfer)
			lead_ended(transfer, code);
	}
	append_finished(finished);
	release_transfer(transfer);
}

/*
 * Says why, in words of curl's and ours that hold neither URL nor header.
 */
static void
describe(const PayTransfer *transfer, CURLcode code, char *error, size_t size)
{
	long		os_errno = 0;

	if (transfer->refused && !transfer->sending &&
		(code == CURLE_COULDNT_CONNECT || code == CURLE_ABORTED_BY_CALLBACK))
		strlcpy(error, "address refused", size);
	else if (transfer->repeated)
		strlcpy(error, "connection lost before an answer", size);
	else if (transfer->too_large)
		strlcpy(error, "answer too large", size);
	else if (code == CURLE_OK)
		strlcpy(error, "answer without a length may have been cut", size);
	else if ((code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR) &&
			 transfer->curl_error[0] != '\0')
	{
		/* Holds names out of the peer's certificate. */
		pay_http_copy_printable(error, size, transfer->curl_error, strlen(transfer->curl_error));
	}
	else
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_errno);
		if (code == CURLE_COULDNT_CONNECT && os_errno != 0)
			snprintf(error, size, "%s: %s", curl_easy_strerror(code), strerror((int) os_errno));
		else
			strlcpy(error, curl_easy_strerror(code), size);
	}
}

static void
append_finished(PayFinished *finished)
{
	if (slist_is_empty(&finished_list))
		slist_push_head(&finished_list, &finished->node);
	else
		slist_insert_after(finished_tail, &finished->node);
	finished_tail = &finished->node;
}

/*
 * Asks curl when it is due.  Not by CURLMOPT_TIMERFUNCTION: that is silent
 * when the next time has not changed, so a timer that fired a little early
 * would never be set again.
 */
static void
arm_timer(void)
{
	long		ms = -1;

	if (curl_multi_timeout(multi, &ms) != CURLM_OK)
		ms = 0;
	deadline_us = -1;
	set_deadline(ms);
}

/* Sets the timer unless it is due already; -1 stops it. */
static void
set_deadline(long ms)
{
	struct itimerspec spec = {{0, 0}, {0, 0}};
	int64		now = now_us();

	if (ms == 0 && deadline_us >= 0 && deadline_us <= now)
		return;
	deadline_us = (ms < 0) ? -1 : now + ms * INT64CONST(1000);
	if (ms >= 0)
	{
		spec.it_value.tv_sec = ms / 1000;
		/* All zero would stop the timer. */
		spec.it_value.tv_nsec = (ms % 1000) * 1000000 + 1;
	}
	timerfd_settime(timer_fd, 0, &spec, NULL);
}

static void
block_signals(sigset_t *before)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, before);
}

static int64
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}
