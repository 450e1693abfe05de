/*
 * src/http/message.h
 *		A request, and the response to it.
 */
#ifndef PAY_HTTP_MESSAGE_H
#define PAY_HTTP_MESSAGE_H

#include "base/header.h"
#include "base/transport.h"

/* What of ours is in the way of a request: it says nothing of the peer. */
typedef enum PayHttpHindrance
{
	PAY_HTTP_UNHINDERED,
	PAY_HTTP_NO_MEANS,			/* open files, memory or threads: it may be sent later */
	PAY_HTTP_NOT_ALLOWED,		/* by our settings and rules: until somebody changes them */
	PAY_HTTP_NOT_SENDABLE		/* the request itself is none */
} PayHttpHindrance;

typedef struct PayHttpRequest
{
	uint64		tag;			/* the caller's; comes back with the response */
	const char *method;
	const char *url;
	const char *const *headers; /* NULL-terminated list of "Name: value"; copied */
	int			n_secret;		/* so many of these, from the first, are not to be found in the answer, should the peer repeat them */
	const char *body;			/* NULL without one; copied */
	size_t		body_bytes;
	int			timeout_ms;
	int			connect_timeout_ms;
	size_t		response_bytes_max;
	/*
	 * Is given each header of the answer, for what is not HTTP's own; NULL: the
	 * status line (what came before belonged to an interim answer).  Runs inside
	 * curl, so it must neither allocate nor raise.  May be NULL.
	 */
	void		(*on_header) (void *context, const PayHeader *header);
	void	   *on_header_context;
} PayHttpRequest;

typedef struct PayHttpResponse
{
	uint64		tag;
	PayTransport transport;
	PayHttpHindrance hindrance; /* why it was not sent, or its answer is lost, if that was our doing */
	int			http_status;
	char	   *body;			/* malloc'd, NUL-terminated, never NULL */
	size_t		body_bytes;
	int			retry_after_s;	/* -1 not said; clamped to a day */
	int64		date;			/* Date: the peer's clock, seconds since 1970; 0 not said */
	bool		too_large;		/* not answered, because the answer is larger than response_bytes_max */
	char		error[128];		/* why, when not answered; no URL, no secret */
	int			elapsed_ms;
} PayHttpResponse;

#endif							/* PAY_HTTP_MESSAGE_H */
