/*
 * src/http/transfer.c
 *		A request on its way, and what becomes of it.
 *
 * A transfer is in one list at a time: running (http.c) or waiting (host.c).
 * Its memory is malloc'd, for curl's callbacks write to it.  Each has a handle
 * of its own: curl_easy_reset() does not say that it lacked memory (before curl
 * 8.17), and leaves a handle that reads its answer into a buffer of one byte.
 * Connections, names and CA files are kept by the multi handle.
 */
#include "payments.h"

#include "http/transfer.h"

#include "base/header.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define BODY_BYTES_FIRST 4096
/* What is shorter may stand in an answer by itself. */
#define SECRET_BYTES_MIN 8
/* curl's own bound (CURL_MAX_HTTP_HEADER). */
#define HEADER_LINE_BYTES_MAX (100 * 1024)
/* What a name lookup opens at a time: its answer's two ends, files of the system, sockets to name servers. */
#define LOOKUP_DESCRIPTORS 6

/* Answers to be filled: made at the start, so that no request is without one when memory runs out. */
static slist_head unused = SLIST_STATIC_INIT(unused);

/* Stands for a body of no bytes, so that `body` is never NULL. */
static char no_body[1] = "";

/* How transfers end that no peer has had a hand in. */
static const struct
{
	CURLcode	code;
	PayHttpHindrance hindrance;
}			own_doing[] = {
	{CURLE_OUT_OF_MEMORY, PAY_HTTP_NO_MEANS},
	{CURLE_FAILED_INIT, PAY_HTTP_NO_MEANS},
	{CURLE_SSL_CACERT_BADFILE, PAY_HTTP_NOT_ALLOWED},
	{CURLE_SSL_CIPHER, PAY_HTTP_NOT_ALLOWED},
	{CURLE_UNSUPPORTED_PROTOCOL, PAY_HTTP_NOT_ALLOWED},
	{CURLE_URL_MALFORMAT, PAY_HTTP_NOT_SENDABLE},
};

static PayHttpHindrance hindrance_of(const PayTransfer *transfer, CURLcode code);
static void hide_credentials(const PayTransfer *transfer, char *bytes, size_t n);
static const char *find(const char *bytes, size_t n, const char *what, size_t length);
static const char *credential(const PayTransfer *transfer, int i, size_t *length);
static bool line_was_too_long(const PayTransfer *transfer);
static void *do_nothing(void *argument);
static void drop_body(PayHttpResponse *response);
static void describe(const PayTransfer *transfer, CURLcode code, char *error, size_t size);
static void wipe_headers(struct curl_slist *headers);

bool
pay_http_finished_init(int n)
{
	PayFinished *all = calloc(n, sizeof(PayFinished));

	for (int i = 0; all != NULL && i < n; i++)
		slist_push_head(&unused, &all[i].node);
	return all != NULL;
}

PayFinished *
pay_http_finished_create(uint64 tag)
{
	PayFinished *finished;

	Assert(!slist_is_empty(&unused));
	finished = slist_container(PayFinished, node, slist_pop_head_node(&unused));
	memset(finished, 0, sizeof(*finished));
	finished->response.tag = tag;
	finished->response.transport = PAY_TRANSPORT_NOT_SENT;
	finished->response.body = no_body;
	finished->response.retry_after_s = -1;
	return finished;
}

void
pay_http_finished_free(PayFinished *finished)
{
	if (finished == NULL)
		return;
	drop_body(&finished->response);
	slist_push_head(&unused, &finished->node);
}

static void
drop_body(PayHttpResponse *response)
{
	if (response->body != no_body)
		free(response->body);
	response->body = no_body;
	response->body_bytes = 0;
}

PayTransfer *
pay_http_transfer_create(void)
{
	PayTransfer *transfer = calloc(1, sizeof(PayTransfer));

	if (transfer == NULL)
		return NULL;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
	{
		free(transfer);
		return NULL;
	}
	return transfer;
}

bool
pay_http_transfer_add_body(PayTransfer *transfer, const char *bytes, size_t n)
{
	PayHttpResponse *response = &transfer->finished->response;
	size_t		needed;

	if (n > transfer->response_bytes_max - response->body_bytes)
	{
		transfer->too_large = true;
		return false;
	}
	needed = response->body_bytes + n + 1;
	if (needed > transfer->body_capacity)
	{
		size_t		capacity = Max(needed, Max(2 * transfer->body_capacity, BODY_BYTES_FIRST));
		char	   *grown;

		capacity = Min(capacity, transfer->response_bytes_max + 1);
		grown = realloc(response->body == no_body ? NULL : response->body, capacity);
		if (grown == NULL)
		{
			transfer->lacking = ENOMEM;
			return false;
		}
		response->body = grown;
		transfer->body_capacity = capacity;
	}
	memcpy(response->body + response->body_bytes, bytes, n);
	response->body_bytes += n;
	response->body[response->body_bytes] = '\0';
	return true;
}

PayFinished *
pay_http_transfer_end(PayTransfer *transfer, CURLcode code)
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
	{
		response->http_status = (int) status;
		hide_credentials(transfer, response->body, response->body_bytes);
	}
	else
	{
		if (code == CURLE_OUT_OF_MEMORY && transfer->lacking == 0 && line_was_too_long(transfer))
			transfer->too_large = true;
		response->hindrance = hindrance_of(transfer, code);
		if (response->hindrance == PAY_HTTP_NO_MEANS && transfer->lacking == 0)
			transfer->lacking = code == CURLE_OUT_OF_MEMORY ? ENOMEM : EMFILE;
		describe(transfer, code, response->error, sizeof(response->error));
		response->too_large = transfer->too_large;
		drop_body(response);
	}
	response->elapsed_ms = (int) ((pay_http_now_us() - transfer->started_us) / 1000);
	transfer->finished = NULL;
	return finished;
}

bool
pay_http_transfer_repeats(const PayTransfer *transfer, const char *bytes, size_t n)
{
	size_t		length;
	const char *secret;

	for (int i = 0; (secret = credential(transfer, i, &length)) != NULL; i++)
		if (length >= SECRET_BYTES_MIN && find(bytes, n, secret, length) != NULL)
			return true;
	return false;
}

/* Some servers, and proxies before them, put what they were sent into their complaint, and answers are kept. */
static void
hide_credentials(const PayTransfer *transfer, char *bytes, size_t n)
{
	size_t		length;
	const char *secret;

	for (int i = 0; (secret = credential(transfer, i, &length)) != NULL; i++)
	{
		const char *at = bytes;

		while (length >= SECRET_BYTES_MIN && (at = find(at, bytes + n - at, secret, length)) != NULL)
			memset(bytes + (at - bytes), '*', length);
	}
}

/* Where `what` stands; NULL: nowhere. */
static const char *
find(const char *bytes, size_t n, const char *what, size_t length)
{
	const char *end = bytes + n;

	while ((size_t) (end - bytes) >= length && (bytes = memchr(bytes, *what, end - bytes - length + 1)) != NULL)
	{
		if (memcmp(bytes, what, length) == 0)
			return bytes;
		bytes++;
	}
	return NULL;
}

/* The last word of a header that says who we are, behind the name of a scheme; NULL when there are no more. */
static const char *
credential(const PayTransfer *transfer, int i, size_t *length)
{
	const struct curl_slist *header = transfer->headers;
	const char *word;

	if (i >= transfer->n_secret)
		return NULL;
	for (int skipped = 0; header != NULL && skipped <= i; skipped++)
		header = header->next;
	if (header == NULL)
		return NULL;
	word = strrchr(header->data, ' ');
	word = word ? word + 1 : header->data;
	*length = strlen(word);
	return word;
}

static PayHttpHindrance
hindrance_of(const PayTransfer *transfer, CURLcode code)
{
	PayHttpHindrance hindrance = PAY_HTTP_UNHINDERED;

	if (transfer->lacking != 0)
		return PAY_HTTP_NO_MEANS;
	if (transfer->sending)
		return code == CURLE_OUT_OF_MEMORY && !transfer->too_large ? PAY_HTTP_NO_MEANS : PAY_HTTP_UNHINDERED;
	if (transfer->refused)
		return PAY_HTTP_NOT_ALLOWED;
	for (int i = 0; i < (int) lengthof(own_doing); i++)
		if (own_doing[i].code == code)
			hindrance = own_doing[i].hindrance;
	/* A thread or a file that could not be had looks like a name that nobody knows, or like a file that is not there. */
	if ((code == CURLE_COULDNT_RESOLVE_HOST || hindrance == PAY_HTTP_NOT_ALLOWED) && !pay_http_has_means())
		hindrance = PAY_HTTP_NO_MEANS;
	return hindrance;
}

/*
 * Before version 8.6 curl says that it is out of memory when a line of a header
 * is longer than it takes: that is the peer's doing, and none of ours.  There was
 * memory, then, for one; and it has begun to answer.
 */
static bool
line_was_too_long(const PayTransfer *transfer)
{
	curl_off_t	first_byte_us = 0;
	void	   *line;

	curl_easy_getinfo(transfer->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte_us);
	line = first_byte_us > 0 ? malloc(2 * HEADER_LINE_BYTES_MAX) : NULL;
	free(line);
	return line != NULL;
}

bool
pay_http_has_means(void)
{
	int			opened[LOOKUP_DESCRIPTORS];
	int			n = 0;
	pthread_t	thread;
	bool		has = true;

	while (has && n < LOOKUP_DESCRIPTORS)
	{
		opened[n] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		has = opened[n] >= 0;
		n += has;
	}
	while (n > 0)
		close(opened[--n]);
	has = has && pthread_create(&thread, NULL, do_nothing, NULL) == 0;
	if (has)
		pthread_join(thread, NULL);
	return has;
}

static void *
do_nothing(void *argument)
{
	return NULL;
}

/*
 * Says why, in words of curl's and ours that hold neither URL nor header.
 */
static void
describe(const PayTransfer *transfer, CURLcode code, char *error, size_t size)
{
	long		os_errno = 0;

	if (transfer->lacking != 0)
		snprintf(error, size, "no means on this host: %s", strerror(transfer->lacking));
	else if (transfer->refused && !transfer->sending && (code == CURLE_COULDNT_CONNECT || code == CURLE_ABORTED_BY_CALLBACK))
		strlcpy(error, "address refused", size);
	else if (transfer->repeated)
		strlcpy(error, "connection lost before an answer", size);
	else if (transfer->too_large)
		strlcpy(error, "answer too large", size);
	else if (code == CURLE_OK)
		strlcpy(error, "answer without a length may have been cut", size);
	else if ((code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR) && transfer->curl_error[0] != '\0')
	{
		/* Holds names out of the peer's certificate. */
		pay_copy_printable(error, size, transfer->curl_error, strlen(transfer->curl_error));
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

void
pay_http_transfer_free(PayTransfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	wipe_headers(transfer->headers);
	free(transfer->body);
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

int64
pay_http_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}
