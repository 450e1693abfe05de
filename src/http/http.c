/*
 * src/http/http.c
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
 * From the ground up: transfer.c holds a request on its way, host.c is the gate
 * in front of name lookups, request.c sets up one request and holds curl's
 * callbacks for it; here they run.
 *
 * All state is this process's own.  A crash loses it, and with it only what
 * the attempt rows say was being sent: those are completed as unknown.
 */
#include "payments.h"

#include "http/http.h"

#include "http/host.h"
#include "http/request.h"
#include "http/transfer.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "storage/fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* CURLOPT_QUICK_EXIT: without it a slow name lookup blocks every transfer, SIGTERM and DROP DATABASE. */
#define CURL_VERSION_NEEDED 0x075700
#if LIBCURL_VERSION_NUM < CURL_VERSION_NEEDED
#error "payments needs libcurl 7.87 or later"
#endif

#define EVENTS_MAX 256			/* descriptors served in one drive; the rest stay readable */
#define DESCRIPTORS_SPARE 256	/* the least that is left to the server's own files, if there are twice as many */
#define DESCRIPTORS_LOOK 4096	/* at the start no open one has a higher number */
#define CONNECTIONS_SPARE 16
#define DESCRIPTORS_A_REQUEST 2 /* a connection being made may try v4 and v6 at once */
/* When means have run out nothing is started for a while, and then every so often a little more. */
#define GROW_US INT64CONST(1000000)
#define GROWTH 2

/* Written by init only. */
static int	epoll_fd = -1;
static int	timer_fd = -1;
static int	bound_max = 0;

/* Written by start, drive and what they call. */
static CURLM *multi = NULL;		/* NULL: given up, and none is running; the next to run makes another */
static int	inflight = 0;		/* running and waiting */
static int	bound = 0;			/* so many may be */
static bool scarce = false;		/* means have run out: the bound is less, and grows again */
static bool resting = false;	/* till it grows next nothing is started */
static int64 grow_us = 0;		/* when that is */
static dlist_head running = DLIST_STATIC_INIT(running);
static slist_head finished_list = SLIST_STATIC_INIT(finished_list);
static slist_node *finished_tail = NULL;
static int64 deadline_us = -1;	/* when drive is due without an event; -1 = never */
static int	epoll_errno = 0;	/* last failure in a callback, to be logged outside */

static int	fit_descriptors(int inflight_max);
static int	descriptors_open(rlim_t limit);
static void set_bound(int n);
static void shrink(void);
static void check_curl(void);
static const char *create_handles(void);
static bool create_multi(void);
static const char *start_transfer(PayFinished *finished, const PayHttpRequest *request);
static int	on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *per_socket);
static void run(PayTransfer *transfer);
static void run_admitted(void);
static void act(void);
static void collect(void);
static void give_up_multi(void);
static void finish(PayTransfer *transfer, CURLcode code);
static void append_finished(PayFinished *finished);
static void arm_timer(void);
static void set_deadline(long ms);
static void block_signals(sigset_t *before);

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

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(PAY_ERR_WORKER),
				 errmsg("could not initialize libcurl"),
				 errhint("Check the installation of libcurl and of the TLS library under it.")));
	check_curl();

	bound_max = bound = fit_descriptors(inflight_max);
	if (bound_max < inflight_max)
		ereport(LOG,
				(errmsg("payments worker keeps at most %d requests in flight instead of %d",
						bound_max, inflight_max),
				 errhint("Raise the limit on open files of the server process.")));

	pay_http_host_init();
	errno = ENOMEM;
	problem = pay_http_finished_init(inflight_max) ? create_handles() : "room for answers";
	if (problem != NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_WORKER),
				 errmsg("could not create %s: %m", problem),
				 errhint("Raise the limit on open files of the server process, or its memory.")));
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
	if (deadline_us < 0 && !scarce)
		return -1;
	left_us = Min(deadline_us < 0 ? PG_INT64_MAX : deadline_us, scarce ? grow_us : PG_INT64_MAX) - pay_http_now_us();
	return (left_us <= 0) ? 0 : (long) ((left_us + 999) / 1000);
}

int
pay_http_inflight(void)
{
	return inflight;
}

int
pay_http_allowance(void)
{
	static bool said = false;

	if (scarce && pay_http_now_us() >= grow_us)
	{
		set_bound(bound + Max(bound / GROWTH, 1));
		scarce = bound < bound_max;
		resting = false;
		grow_us = pay_http_now_us() + GROW_US;
	}
	if (said != scarce)
	{
		said = scarce;
		if (scarce)
			ereport(LOG,
					(errmsg("payments worker lacks open files, memory or threads for more than %d requests in flight", bound),
					 errhint("Raise these limits of the server process; until then requests wait.")));
		else
			ereport(LOG, (errmsg("payments worker keeps up to %d requests in flight again", bound)));
	}
	return resting ? 0 : bound;
}

bool
pay_http_is_scarce(void)
{
	return scarce;
}

void
pay_http_start(const PayHttpRequest *request)
{
	PayFinished *finished = pay_http_finished_create(request->tag);
	const char *problem;

	Assert(epoll_fd >= 0);
	problem = start_transfer(finished, request);
	if (problem != NULL)
	{
		strlcpy(finished->response.error, problem, sizeof(finished->response.error));
		if (finished->response.hindrance == PAY_HTTP_NO_MEANS)
			shrink();
		append_finished(finished);
	}
	set_deadline(0);
}

void
pay_http_drive(void)
{
	sigset_t	before;

	/* Promise 10, and cheap enough to be kept in production builds too. */
	Assert(!IsTransactionState());
	if (IsTransactionState())
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("cannot send HTTP requests inside a transaction"),
				 errhint("This is a bug in payments; please report it with the server's log.")));
	Assert(epoll_fd >= 0);

	pay_http_request_refresh();
	block_signals(&before);

	if (multi != NULL)
		act();
	run_admitted();
	arm_timer();

	pthread_sigmask(SIG_SETMASK, &before, NULL);

	if (epoll_errno != 0)
	{
		errno = epoll_errno;
		epoll_errno = 0;
		ereport(LOG,
				(errmsg("could not watch a socket of payments: %m"),
				 errdetail("The request on it is looked at by and by, or times out.")));
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
	pay_http_finished_free((PayFinished *) response);
}

/*
 * Lets the process open what `inflight_max` requests need beside the server's
 * own files, and returns how many it can have if that is not to be.  The server
 * keeps as many files open as it may, so it is told how many it may not.
 */
static int
fit_descriptors(int inflight_max)
{
	rlim_t		want = (rlim_t) inflight_max * DESCRIPTORS_A_REQUEST;
	struct rlimit limit;
	int			files,
				kept;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return inflight_max;
	files = descriptors_open(limit.rlim_cur);
	want += files + max_safe_fds;
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < want)
	{
		struct rlimit raised = limit;

		raised.rlim_cur = (limit.rlim_max == RLIM_INFINITY) ? want : Min(want, limit.rlim_max);
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= want)
		return inflight_max;
	files = Max((int) limit.rlim_cur - files, 0);
	kept = Max(Min(DESCRIPTORS_SPARE, files / 2), Min(max_safe_fds, files - inflight_max * DESCRIPTORS_A_REQUEST));
	max_safe_fds = Min(max_safe_fds, kept);
	return Max(Min((files - kept) / DESCRIPTORS_A_REQUEST, inflight_max), 1);
}

/* Whatever number they have. */
static int
descriptors_open(rlim_t limit)
{
	int			n = 0;

	for (int fd = 0; fd < (int) Min(limit, DESCRIPTORS_LOOK); fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

static void
set_bound(int n)
{
	bound = Min(n, bound_max);
	if (multi == NULL)
		return;
	/*
	 * The total is a cap on descriptors only, and hardly more than `bound`
	 * connections are ever in use, so a request never queues inside curl
	 * (where waiting would count against its timeout, curl#21396): curl closes
	 * an idle connection instead.
	 */
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) bound);
	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) Max(bound, inflight) + CONNECTIONS_SPARE);
}

/* What is in flight is what we have the means for. */
static void
shrink(void)
{
	set_bound(Max(Min(inflight, bound - 1), 1));
	scarce = resting = true;
	grow_us = pay_http_now_us() + GROW_US;
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
				 errdetail("libcurl 7.87 or later is needed, with TLS and asynchronous name lookup."),
				 errhint("Install the distribution's libcurl, and restart the server.")));
	pay_http_request_init(info->cainfo != NULL);
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
	return create_multi() ? NULL : "a libcurl multi handle";
}

static bool
create_multi(void)
{
	multi = curl_multi_init();
	if (multi == NULL)
		return false;
	if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING) != CURLM_OK)
	{
		curl_multi_cleanup(multi);
		multi = NULL;
		return false;
	}
	set_bound(bound);
	return true;
}

/*
 * Returns NULL when the request is on its way (`finished` then belongs to the
 * transfer), or why it cannot be.
 */
static const char *
start_transfer(PayFinished *finished, const PayHttpRequest *request)
{
	PayHttpHindrance *hindrance = &finished->response.hindrance;
	const char *problem = pay_http_request_problem(request, hindrance);
	PayTransfer *transfer;
	sigset_t	before;

	if (problem != NULL)
		return problem;
	*hindrance = PAY_HTTP_NO_MEANS;
	transfer = pay_http_transfer_create();
	if (transfer == NULL)
		return "out of memory";
	if (!pay_http_request_prepare(request, transfer))
	{
		pay_http_transfer_free(transfer);
		return "could not set up the request";
	}
	*hindrance = PAY_HTTP_UNHINDERED;
	transfer->finished = finished;
	transfer->started_us = pay_http_now_us();
	pay_http_host_enter(transfer, request->url);
	inflight++;

	block_signals(&before);
	if (pay_http_host_admit(transfer))
		run(transfer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return NULL;
}

/* Hands a transfer that is in no list to curl. */
static void
run(PayTransfer *transfer)
{
	dlist_push_tail(&running, &transfer->node);
	if ((multi == NULL && !create_multi()) || curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		finish(transfer, CURLE_FAILED_INIT);
}

/* Runs what waited for a lookup that is over. */
static void
run_admitted(void)
{
	PayTransfer *transfer;

	while ((transfer = pay_http_host_admit_waiting()) != NULL)
		run(transfer);
}

/*
 * curl says which events it wants of a socket.  A failure is noted, not
 * returned: that would abort every transfer, where now one goes on when curl's
 * timers look at it, or times out.
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
		{
			PayTransfer *transfer;

			epoll_errno = errno;
			if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer) == CURLE_OK && transfer != NULL)
				transfer->lacking = epoll_errno;
		}
	}
	if (per_socket == NULL)
		curl_multi_assign(multi, fd, &epoll_fd);	/* anything but NULL */
	return 0;
}

/* Tells curl what has happened, and takes what has ended. */
static void
act(void)
{
	struct epoll_event events[EVENTS_MAX];
	CURLMcode	code = CURLM_OK;
	int			still_running;
	int			n = epoll_wait(epoll_fd, events, EVENTS_MAX, 0);

	for (int i = 0; i < n && code != CURLM_OUT_OF_MEMORY; i++)
	{
		int			mask = 0;

		if (events[i].data.fd == timer_fd)
			continue;
		/* On an error, let curl read or write and see it for itself. */
		if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_IN;
		if (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			mask |= CURL_CSELECT_OUT;
		code = curl_multi_socket_action(multi, events[i].data.fd, mask, &still_running);
	}
	if (code != CURLM_OUT_OF_MEMORY)
		code = curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &still_running);
	collect();
	if (code == CURLM_OUT_OF_MEMORY)
		give_up_multi();
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
 * curl had no memory to note who waits on a socket.  Before 8.13 it then has a
 * table without slots for that socket, or for the next one of that number, and
 * when it looks there it divides by their number: SIGFPE.  Nobody but the multi
 * handle can forget it, so that goes, and what runs with it.
 */
static void
give_up_multi(void)
{
	while (!dlist_is_empty(&running))
	{
		PayTransfer *transfer = dlist_container(PayTransfer, node, dlist_head_node(&running));

		curl_multi_remove_handle(multi, transfer->easy);
		transfer->lacking = ENOMEM;
		finish(transfer, CURLE_OUT_OF_MEMORY);
	}
	curl_multi_cleanup(multi);
	multi = NULL;
	/* It knew the addresses. */
	pay_http_host_forget();
}

/* A transfer that curl no longer has: makes it a response, and likewise all whose lookup failed with its own. */
static void
finish(PayTransfer *transfer, CURLcode code)
{
	PayHost    *host = transfer->host;
	PayTransfer *waiting;
	PayFinished *ended;

	dlist_delete(&transfer->node);
	inflight--;
	if (pay_http_host_leave(transfer, code))
		while ((waiting = pay_http_host_first_waiting(host)) != NULL)
			finish(waiting, code);
	ended = pay_http_transfer_end(transfer, code);
	if (ended->response.hindrance == PAY_HTTP_NO_MEANS)
		shrink();
	append_finished(ended);
	pay_http_transfer_free(transfer);
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
	long		ms;

	if (multi == NULL || curl_multi_timeout(multi, &ms) != CURLM_OK)
		ms = -1;
	deadline_us = -1;
	set_deadline(ms);
}

/* Sets the timer unless it is due already; -1 stops it. */
static void
set_deadline(long ms)
{
	struct itimerspec spec = {{0, 0}, {0, 0}};
	int64		now = pay_http_now_us();

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
