/*
 * src/worker/upstream.h
 *		A PSP as the worker sees it: where it is, whether it may be called, how
 *		much of it is in flight.
 *
 * Only the worker uses this.  The rows of payments.psp are read anew in each
 * look; counters and breaker stay, and so does the address of the struct, for
 * as long as the PSP has a row or a request in flight.
 */
#ifndef PAY_UPSTREAM_H
#define PAY_UPSTREAM_H

#include "http/message.h"
#include "psp/psp.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#define PAY_SKIP_MAX 16

typedef struct PayUpstream
{
	char		psp[NAMEDATALEN];	/* first: it is the key */
	const PayAdapter *adapter;
	char	   *base_url;
	char	   *secret_name;
	char	   *authorization;	/* header line; NULL: none */
	TimestampTz secret_read_at;
	int			inflight_max;
	int			timeout_ms;
	TimestampTz due_at;			/* of the first in its queue when last read; DT_NOEND: nothing there */
	bool		usable;			/* not halted, armed, secret at hand */
	bool		seen;			/* when last read */
	char	   *problem;		/* last one logged; NULL: none */
	int			users;			/* requests of any lane that point here: it is not forgotten */

	/* Of the payments lane. */
	int			inflight;
	int			failures;		/* calls in a row without an answer */
	int			breaker_ms;		/* 0: closed */
	TimestampTz breaker_until;
	uint64		lap;			/* the last in which it had its turn */
	bool		one_by_one;		/* a batch could not be claimed: find the row that is to blame */
	int			n_skip;			/* rows that cannot be claimed, left alone until skip_until */
	pg_uuid_t	skip[PAY_SKIP_MAX];
	TimestampTz skip_until;

	/* Of the feeds lane: its lines are compared with our books. */
	TimestampTz compare_at;		/* DT_NOEND: nothing to compare */
	TimestampTz compare_rest_until; /* not before, whatever came in */
	TimestampTz compared_at;
} PayUpstream;

/* Reads the PSPs.  Call between pay_spi_begin() and pay_spi_end(). */
extern void pay_upstreams_read(void);
/* Reads their secrets again at the next look. */
extern void pay_upstreams_reload(void);
/* Those that have a row, in the order in which they have their turn: who waits longest is first.  Until they are read again. */
extern int	pay_upstreams_count(void);
extern PayUpstream *pay_upstreams_get(int i);
/* NULL: not known.  Count yourself in `users` while you keep it. */
extern PayUpstream *pay_upstreams_find(const char *psp);

/* How many calls the upstream takes more, when so many slots are free for all upstreams; 0 or less: none. */
extern int	pay_upstream_room(const PayUpstream *upstream, int free_slots, TimestampTz now);
/* Counts how a call ended: too many without an answer open the breaker, an answer closes it. */
extern void pay_upstream_note(PayUpstream *upstream, PayTransport transport, TimestampTz now);

/*
 * Writes what an adapter wants to ask as a request to its PSP: address, times,
 * and the headers, the authorization first.  `key`: the idempotency key; NULL
 * without.  Tag and size are the caller's.  Lives in the current context.
 */
extern void pay_upstream_request(const PayUpstream *upstream, const PayRequest *wanted, const char *key, PayHttpRequest *request);

#endif							/* PAY_UPSTREAM_H */
