/*
 * src/http/http_private.h
 *		Between http.c, http/request.c and http/host.c.  No other file includes
 *		this, and it alone includes curl.
 */
#ifndef PAY_HTTP_PRIVATE_H
#define PAY_HTTP_PRIVATE_H

#include "http/http.h"

#include "lib/ilist.h"

#include <curl/curl.h>

#define PAY_HTTP_HOST_BYTES_MAX 280 /* name and port */
#define PAY_HTTP_DNS_CACHE_S 60

/*
 * A host whose name was not looked up of late gets one request ahead; the
 * others wait until that one has an address.  Else a batch of 500 against a
 * cold DNS cache starts 500 resolver threads, each with descriptors of its own.
 */
typedef struct PayHost
{
	char		name[PAY_HTTP_HOST_BYTES_MAX + 1];
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
	void		(*on_header) (void *context, const PayHeader *header);
	void	   *on_header_context;
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

/* Stands for a body of no bytes, so that `body` is never NULL. */
extern char pay_http_no_body[1];

/* http.c: hands a transfer that is in no list to curl; turns one that curl no longer has into a response. */
extern void pay_http_run(PayTransfer *transfer);
extern void pay_http_finish(PayTransfer *transfer, CURLcode code);
extern int64 pay_http_now_us(void);

/* http/request.c */
extern void pay_http_request_init(bool curl_has_ca_bundle);
/* Reads payments.allow_networks anew when it has changed. */
extern void pay_http_request_refresh(void);
/* NULL, or why it cannot be sent. */
extern const char *pay_http_request_problem(const PayHttpRequest *request);
/* From the pool, or a new one; NULL when out of memory. */
extern PayTransfer *pay_http_transfer_take(void);
extern bool pay_http_transfer_prepare(PayTransfer *transfer, const PayHttpRequest *request);
extern void pay_http_transfer_release(PayTransfer *transfer);
extern void pay_http_transfer_destroy(PayTransfer *transfer);
extern void pay_http_transfer_destroy_idle(void);

/* http/host.c */
extern void pay_http_host_init(void);
extern void pay_http_host_destroy_waiting(void);
extern PayHost *pay_http_host_find(const char *url);
extern void pay_http_host_admit(PayTransfer *transfer);
extern void pay_http_host_admit_waiting(void);
extern void pay_http_host_lead_ended(PayTransfer *transfer, CURLcode code);
extern void pay_http_host_note_address(PayTransfer *transfer);

#endif							/* PAY_HTTP_PRIVATE_H */
