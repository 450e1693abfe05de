/*
 * src/inbound/feed.h
 *		Feeds: lists of a PSP's API, read window by window behind a watermark.
 *
 * Three steps, as for operations: claim (a transaction), ask (none), complete (a
 * transaction).  All functions but pay_feed_request() are to be called between
 * pay_spi_begin() and pay_spi_end().
 */
#ifndef PAY_FEED_H
#define PAY_FEED_H

#include "psp/psp.h"

#include "datatype/timestamp.h"

#define PAY_FEED_CURSOR_BYTES 256

/* A page under lease, ready to be asked for. */
typedef struct PayFeedClaim
{
	char		psp[NAMEDATALEN];
	const PayAdapter *adapter;
	const PayFeed *feed;
	int64		attempt;		/* the fencing token */
	TimestampTz from;			/* of the window */
	TimestampTz to;
	char		cursor[PAY_FEED_CURSOR_BYTES];	/* "": the first page */
	int			limit;
	int			interval_s;
	int			lag_s;
	TimestampTz oldest;			/* the watermark never goes below */
} PayFeedClaim;

/* What came back. */
typedef struct PayFeedAnswer
{
	PayTransport transport;
	int			http_status;
	char	   *body;			/* is overwritten where it holds what nobody can read */
	size_t		body_bytes;
	bool		too_large;
	int			retry_after_s;
	int64		date;			/* by the PSP's clock, seconds since 1970; 0: not said */
	const char *error;
} PayFeedAnswer;

typedef struct PayFeedProgress
{
	bool		again;			/* the page has more than one step may take: commit, and complete it again */
	bool		window_done;
	int			added;			/* entries that are new here */
} PayFeedProgress;

/* Makes the rows of feeds that have none, and all leases of that worker run out: it has just started. */
extern void pay_feed_recover(const char *worker, TimestampTz now);
/* What was put off by a clock that was ahead of `now` becomes due: to read something once more is always safe. */
extern void pay_feed_retime(TimestampTz now);
/* When the next page of one of these PSPs, or an entry that waits, is due; DT_NOEND: never. */
extern TimestampTz pay_feed_due(const char *const *psps, int n);

/* Leases up to max pages of these PSPs that are due.  Returns how many; send only after the commit. */
extern int	pay_feed_claim(const char *const *psps, int n, const char *worker, int lease_ms, int max, TimestampTz now, PayFeedClaim *claims);
extern void pay_feed_request(const PayFeedClaim *claim, PayRequest *request);
/* Applies an answer and moves cursor or watermark on.  One that came after the lease was taken away changes nothing. */
extern PayFeedProgress pay_feed_complete(const PayFeedClaim *claim, PayFeedAnswer *answer, TimestampTz now, const char *worker);
/* The answer could not be completed: notes why, and asks again later. */
extern void pay_feed_fail(const PayFeedClaim *claim, const char *error, TimestampTz now, const char *worker);
/* Compares what is new with what we know, if there is a function for it. */
extern void pay_feed_reconcile(const char *psp);

#endif							/* PAY_FEED_H */
