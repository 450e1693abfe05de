/*
 * src/worker/upstream.h
 *		A PSP as the worker sees it: where it is, whether it may be called, how
 *		much of it is in flight.
 *
 * Only the worker uses this.  The rows of payments.psp are read anew in each
 * round of claims; counters and breaker stay.
 */
#ifndef PAY_UPSTREAM_H
#define PAY_UPSTREAM_H

#include "core/secrets.h"
#include "http/http.h"
#include "psp/psp.h"
#include "worker/token.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#define PAY_SKIP_MAX 16

typedef struct PayUpstream
{
	char		psp[NAMEDATALEN];
	const PayAdapter *adapter;
	char		base_url[2048];
	char		secret_name[NAMEDATALEN];
	char		secret[PAY_SECRET_BYTES_MAX + 1];	/* "": not at hand */
	TimestampTz secret_read_at;
	PayTokenCache token;		/* of an adapter with build_token() */
	int			inflight_max;
	int			timeout_ms;
	TimestampTz due_at;			/* of the first in its queue when last read; DT_NOEND: nothing there */
	bool		usable;			/* not halted, armed, secret at hand */
	bool		seen;			/* in this round */
	int			inflight;
	int			failures;		/* calls in a row without an answer */
	int			breaker_ms;		/* 0: closed */
	TimestampTz breaker_until;
	char		problem[256];	/* last one logged */
	bool		one_by_one;		/* a batch could not be claimed: find the row that is to blame */
	int			n_skip;			/* rows that cannot be claimed, left alone until skip_until */
	pg_uuid_t	skip[PAY_SKIP_MAX];
	TimestampTz skip_until;
} PayUpstream;

/* Reads the PSPs.  Call between pay_spi_begin() and pay_spi_end(). */
extern void pay_upstreams_read(void);
/* Reads their secrets again at the next look. */
extern void pay_upstreams_reload(void);
extern int	pay_upstreams_count(void);
extern PayUpstream *pay_upstreams_get(int i);	/* the same address for the life of the process */

/* How many calls the upstream takes more, of `slots` that all upstreams share; 0 or less: none. */
extern int	pay_upstream_room(const PayUpstream *upstream, int slots, TimestampTz now);
/* Counts how a call ended: too many without an answer open the breaker, an answer closes it. */
extern void pay_upstream_note(PayUpstream *upstream, PayTransport transport, TimestampTz now);

/* May requests be made now: is it usable, its token at hand if it wants one, and its breaker closed or due for a probe? */
extern bool pay_upstream_open(const PayUpstream *upstream, TimestampTz now);
/* The token to send; NULL of an adapter without. */
extern const char *pay_upstream_token(const PayUpstream *upstream);

/*
 * To be called for each answer to what was sent with the token of that serial,
 * before it is read.  Where the PSP says that the token has ended, it turns the
 * answer into one that was not sent, since nothing was processed.
 */
extern void pay_upstream_check_token(PayUpstream *upstream, int64 serial, PayHttpResponse *response);

/*
 * Sends what an adapter wants to ask.  `key`: the idempotency key; NULL
 * without.  Tag, size and on_header of the request are the caller's, the rest
 * is filled in.
 */
extern void pay_upstream_send(const PayUpstream *upstream, const PayRequest *wanted, const char *token, const char *key,
							  PayHttpRequest *request);

#endif							/* PAY_UPSTREAM_H */
