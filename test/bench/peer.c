/*
 * test/bench/peer.c
 *		The PSP of the end-to-end benchmark: as little as speaks Stripe's
 *		"create and confirm a PaymentIntent", with a book of what it charged.
 *
 * The scripted peer of the tests is written to misbehave, in Python, and takes
 * a tenth of a millisecond of CPU a request.  On a machine with two cores that
 * would be measured as ours; a PSP runs elsewhere.
 *
 * A key charges once, whatever is sent under it again; other bytes under a
 * known key are counted as a conflict.  GET /_book: charges, requests,
 * conflicts.  Prints its port, ends when its standard input closes.
 *
 *	peer [MILLISECONDS]		takes so long for each answer, for any number of calls at a time
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 32768
#define BUFFER_BYTES 16384
#define KEYS_MAX (1 << 20)

typedef struct Connection
{
	int			used;
	int			waiting;		/* is in the line of late ones */
	char		buffer[BUFFER_BYTES + 1];
} Connection;

/* The book: open addressing over hashes of keys; 0 is free. */
static uint64_t book_key[KEYS_MAX];
static uint64_t book_body[KEYS_MAX];
static long charges, requests, conflicts;
static Connection *connections[CONNECTIONS_MAX];

/* Whose answer is due when: first in, first out, for all take as long. */
static int	delay_ms;
static struct
{
	int			fd;
	long		due_ms;
}			late[CONNECTIONS_MAX];
static unsigned late_first,
			late_end;

static long
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t
hash(const char *text, size_t bytes)
{
	uint64_t	h = 1469598103934665603ULL;

	for (size_t i = 0; i < bytes; i++)
		h = (h ^ (unsigned char) text[i]) * 1099511628211ULL;
	return h ? h : 1;
}

/* Charges the key unless it was charged before; returns the charge's number. */
static long
charge(uint64_t key, uint64_t body)
{
	for (uint64_t i = key & (KEYS_MAX - 1);; i = (i + 1) & (KEYS_MAX - 1))
	{
		if (book_key[i] == 0)
		{
			if (charges >= KEYS_MAX / 2)
				exit(1);
			book_key[i] = key;
			book_body[i] = body;
			charges++;
			return (long) i;
		}
		if (book_key[i] == key)
		{
			conflicts += book_body[i] != body;
			return (long) i;
		}
	}
}

/* A form field's value, copied; "" when it is not there. */
static void
field(const char *body, const char *name, char *value, size_t room)
{
	const char *at = strstr(body, name);
	size_t		n;

	value[0] = '\0';
	if (at == NULL)
		return;
	at += strlen(name);
	n = strcspn(at, "&");
	if (n >= room)
		n = room - 1;
	memcpy(value, at, n);
	value[n] = '\0';
}

static void
answer(int fd, const char *request, const char *body, size_t body_bytes)
{
	static char text[4096],
				head[512];
	int			n,
				h;

	requests++;
	if (strncmp(request, "GET /_book", 10) == 0)
		n = snprintf(text, sizeof(text), "{\"charges\": %ld, \"requests\": %ld, \"conflicts\": %ld}", charges, requests, conflicts);
	else
	{
		const char *key = strcasestr(request, "\r\nIdempotency-Key: ");
		char		amount[32],
					currency[8],
					ref[128],
					generation[16];
		long		id,
					cents;

		if (key == NULL || strncmp(request, "POST /v1/payment_intents ", 25) != 0)
		{
			close(fd);
			return;
		}
		key += 19;
		id = charge(hash(key, strcspn(key, "\r")), hash(body, body_bytes));
		field(body, "amount=", amount, sizeof(amount));
		field(body, "currency=", currency, sizeof(currency));
		field(body, "metadata%5Bpayments_ref%5D=", ref, sizeof(ref));
		field(body, "metadata%5Bpayments_generation%5D=", generation, sizeof(generation));
		cents = atol(amount);
		n = snprintf(text, sizeof(text),
					 "{\"id\":\"pi_%010ldbench\",\"object\":\"payment_intent\",\"amount\":%ld,\"amount_capturable\":0,"
					 "\"amount_received\":%ld,\"canceled_at\":null,\"capture_method\":\"automatic\",\"confirmation_method\":\"automatic\","
					 "\"created\":%ld,\"currency\":\"%s\",\"customer\":null,\"description\":null,\"last_payment_error\":null,"
					 "\"latest_charge\":{\"id\":\"ch_%010ldbench\",\"object\":\"charge\",\"amount\":%ld,\"amount_captured\":%ld,"
					 "\"balance_transaction\":{\"id\":\"txn_%010ldbench\",\"object\":\"balance_transaction\",\"amount\":%ld,"
					 "\"currency\":\"%s\",\"fee\":%ld,\"net\":%ld},\"captured\":true,\"currency\":\"%s\",\"paid\":true,"
					 "\"status\":\"succeeded\"},\"livemode\":false,\"metadata\":{\"payments_ref\":\"%s\","
					 "\"payments_generation\":\"%s\"},\"next_action\":null,\"payment_method\":\"pm_card_visa\",\"status\":\"succeeded\"}",
					 id, cents, cents, (long) time(NULL), currency, id, cents, cents, id, cents, currency, cents / 100 + 25,
					 cents - cents / 100 - 25, currency, ref, generation);
	}
	h = snprintf(head, sizeof(head),
				 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_%ld\r\nContent-Length: %d\r\n\r\n", requests, n);
	memmove(text + h, text, n);
	memcpy(text, head, h);
	if (write(fd, text, h + n) != h + n)
		close(fd);
}

/* Answers every whole request that was read. */
static void
answer_whole(int fd, Connection *c)
{
	for (;;)
	{
		char	   *end,
				   *length;
		size_t		head,
					body;

		c->buffer[c->used] = '\0';
		end = strstr(c->buffer, "\r\n\r\n");
		if (end == NULL)
			return;
		head = end + 4 - c->buffer;
		length = strcasestr(c->buffer, "\r\nContent-Length: ");
		body = length && length < end ? strtoul(length + 18, NULL, 10) : 0;
		if (head + body > (size_t) c->used)
			return;
		answer(fd, c->buffer, c->buffer + head, body);
		memmove(c->buffer, c->buffer + head + body, c->used - head - body);
		c->used -= (int) (head + body);
	}
}

/* Reads what is there, and answers now or when it is due; the book is always told at once. */
static void
serve(int fd)
{
	Connection *c = connections[fd];
	ssize_t		got = read(fd, c->buffer + c->used, BUFFER_BYTES - c->used);

	if (got <= 0)
	{
		if (got < 0 && errno == EAGAIN)
			return;
		close(fd);
		free(c);
		connections[fd] = NULL;
		return;
	}
	c->used += (int) got;
	if (delay_ms == 0 || strncmp(c->buffer, "GET /_book", 10) == 0)
		answer_whole(fd, c);
	else if (!c->waiting)
	{
		c->waiting = 1;
		late[late_end % CONNECTIONS_MAX].fd = fd;
		late[late_end++ % CONNECTIONS_MAX].due_ms = now_ms() + delay_ms;
	}
}

/* Answers what is due; returns for how long nothing else is, -1: there is none. */
static int
answer_late(void)
{
	while (late_first != late_end)
	{
		int			fd = late[late_first % CONNECTIONS_MAX].fd;
		long		left = late[late_first % CONNECTIONS_MAX].due_ms - now_ms();

		if (left > 0)
			return (int) left;
		late_first++;
		if (connections[fd])
		{
			connections[fd]->waiting = 0;
			answer_whole(fd, connections[fd]);
		}
	}
	return -1;
}

int
main(int count, char **arguments)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	bytes = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	int			poll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	int			one = 1;
	struct rlimit files;

	delay_ms = count > 1 ? atoi(arguments[1]) : 0;
	/* One connection for each request that the worker has in flight. */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (bind(listener, (struct sockaddr *) &address, bytes) != 0 || listen(listener, 4096) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &bytes) != 0)
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	event.data.fd = listener;
	epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
	event.data.fd = STDIN_FILENO;
	epoll_ctl(poll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
	for (;;)
	{
		struct epoll_event events[256];
		int			n = epoll_wait(poll, events, 256, answer_late());

		for (int i = 0; i < n; i++)
		{
			int			fd = events[i].data.fd;

			if (fd == STDIN_FILENO)
				return 0;
			if (fd != listener)
			{
				if (connections[fd])
					serve(fd);
				continue;
			}
			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
			if (fd < 0)
				continue;
			if (fd >= CONNECTIONS_MAX || (connections[fd] = calloc(1, sizeof(Connection))) == NULL)
			{
				close(fd);
				continue;
			}
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			event.data.fd = fd;
			epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
		}
	}
}
