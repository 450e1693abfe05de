/*
 * src/http/transfer.h
 *		A request on its way, and what becomes of it.
 *
 * The only file that includes curl.  Above it host.c, request.c and http.c, in
 * this order; of two of them one knows the other, never both.
 */
#ifndef PAY_HTTP_TRANSFER_H
#define PAY_HTTP_TRANSFER_H

#include "http/message.h"

#include "lib/ilist.h"

#include <curl/curl.h>

/* The caller sees the response; the node lists it once finished. */
typedef struct PayFinished
{
	PayHttpResponse response;	/* first: pay_http_free() gets its address */
	slist_node	node;
} PayFinished;

typedef struct PayTransfer
{
	dlist_node	node;			/* in running, or a host's waiting */
	CURL	   *easy;			/* lives as long as this struct */
	PayFinished *finished;		/* what we are filling */
	struct PayHost *host;		/* NULL: not gated */
	struct curl_slist *headers;
	int			n_secret;		/* of these, behind the first, which is ours */
	char	   *body;
	size_t		body_capacity;	/* of the response's body */
	size_t		response_bytes_max;
	size_t		header_bytes;
	void		(*on_header) (void *context, const PayHeader *header);
	void	   *on_header_context;
	int64		started_us;
	bool		plain;			/* http, not https */
	bool		repeatable;		/* GET: curl may send it again */
	bool		sending;		/* bytes of the request may have left */
	bool		refused;		/* we refused an address */
	int			lacking;		/* errno of a descriptor or of memory that could not be had; 0: none */
	bool		repeated;		/* we stopped curl from sending again */
	bool		too_large;
	bool		measured;		/* the peer said how long the body is */
	char		curl_error[CURL_ERROR_SIZE];
} PayTransfer;

/* Room for so many answers at a time.  False when out of memory. */
extern bool pay_http_finished_init(int n);
/* An answer that is still empty: not sent.  NULL when there are too many. */
extern PayFinished *pay_http_finished_create(uint64 tag);
extern void pay_http_finished_free(PayFinished *finished);

/* NULL when out of memory. */
extern PayTransfer *pay_http_transfer_create(void);
/* Adds to the response's body.  False when that is too much, or there is no memory. */
extern bool pay_http_transfer_add_body(PayTransfer *transfer, const char *bytes, size_t n);
/* Does the peer repeat the request's credentials here? */
extern bool pay_http_transfer_repeats(const PayTransfer *transfer, const char *bytes, size_t n);
/* Says in its response how a transfer that curl no longer has ended, and gives that up. */
extern PayFinished *pay_http_transfer_end(PayTransfer *transfer, CURLcode code);
/* Can this process open a few descriptors more, and start a thread?  Call with signals blocked. */
extern bool pay_http_has_means(void);
/* For one that is in no list, and that curl no longer has. */
extern void pay_http_transfer_free(PayTransfer *transfer);

/* Monotonic. */
extern int64 pay_http_now_us(void);

#endif							/* PAY_HTTP_TRANSFER_H */
