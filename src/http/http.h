/*
 * src/http/http.h
 *		Many HTTP requests in flight in one process, over curl_multi.
 *
 * Only the worker uses this.  Nothing here can reach SPI, nothing that touches
 * tables can reach this header: a transaction held open during HTTP is not a
 * mistake one can make quietly.
 */
#ifndef PAY_HTTP_H
#define PAY_HTTP_H

#include "base/header.h"
#include "base/transport.h"

typedef struct PayHttpRequest
{
	uint64		tag;			/* the caller's; comes back with the response */
	const char *method;
	const char *url;
	const char *const *headers; /* NULL-terminated list of "Name: value"; copied */
	const char *body;			/* NULL without one; copied */
	size_t		body_bytes;
	int			timeout_ms;
	int			connect_timeout_ms;
	size_t		response_bytes_max;
	/*
	 * Gets each header of the answer, for what is not HTTP's own; NULL: the
	 * status line of an answer (those before it were of an interim one).  Runs
	 * inside curl: must neither allocate nor raise.  May be NULL.
	 */
	void		(*on_header) (void *context, const PayHeader *header);
	void	   *on_header_context;	/* outlives the request */
} PayHttpRequest;

typedef struct PayHttpResponse
{
	uint64		tag;
	PayTransport transport;
	int			http_status;
	char	   *body;			/* malloc'd, NUL-terminated, never NULL */
	size_t		body_bytes;
	int			retry_after_s;	/* -1 not said; clamped to a day */
	int64		date;			/* Date: the peer's clock, seconds since 1970; 0 not said */
	bool		too_large;		/* not answered, because the answer is larger than response_bytes_max */
	char		error[128];		/* why, when not answered; no URL, no secret */
	int			elapsed_ms;
} PayHttpResponse;

/* Creates the multi handle and its epoll descriptor; at most `inflight_max` requests at a time.  Raises on failure.  Call once, in the worker only. */
extern void pay_http_init(int inflight_max);
/* The descriptor to wait on: readable when pay_http_drive() has work. */
extern int	pay_http_fd(void);
/* Milliseconds until pay_http_drive() wants to be called without the descriptor; -1 = never. */
extern long pay_http_timeout_ms(void);
extern int	pay_http_inflight(void);
/* Starts a request.  Never raises; what cannot be started comes back as a NOT_SENT response. */
extern void pay_http_start(const PayHttpRequest *request);
/* Moves all transfers on.  Asserts that no transaction is open. */
extern void pay_http_drive(void);
/* Next finished response, or NULL.  Free it with pay_http_free(). */
extern PayHttpResponse *pay_http_next(void);
extern void pay_http_free(PayHttpResponse *response);
/* Drops everything in flight without waiting. */
extern void pay_http_shutdown(void);

#endif							/* PAY_HTTP_H */
