/*
 * src/http/message.h
 *		A request, and the response to it.
 */
#ifndef PAY_HTTP_MESSAGE_H
#define PAY_HTTP_MESSAGE_H

#include "psp/psp.h"				/* PayTransport */

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
} PayHttpRequest;

typedef struct PayHttpResponse
{
	uint64		tag;
	PayTransport transport;
	int			http_status;
	char	   *body;			/* malloc'd, NUL-terminated, never NULL */
	size_t		body_bytes;
	int			should_retry;	/* Stripe-Should-Retry: 1, 0, -1 */
	int			retry_after_s;	/* -1 not said; clamped to a day */
	int64		date;			/* Date: the peer's clock, seconds since 1970; 0 not said */
	bool		too_large;		/* not answered, because the answer is larger than response_bytes_max */
	char		request_id[64]; /* Request-Id, "" if none */
	char		error[128];		/* why, when not answered; no URL, no secret */
	int			elapsed_ms;
} PayHttpResponse;

#endif							/* PAY_HTTP_MESSAGE_H */
