/*
 * src/worker/upstream.h
 *		A PSP as the worker sees it: where it is, whether it may be called, how
 *		much of it is in flight.
 *
 * Only the worker uses this.  The rows of payments.psp are read anew in each
 * look; counters and breaker stay, and so does the address of the struct, for
 * as long as the PSP has a row or a request in flight.  A PSP that was made
 * again with another adapter is another upstream: what is in flight is answered
 * by the adapter that asked.
 */
#ifndef PAY_UPSTREAM_H
#define PAY_UPSTREAM_H

#include "core/clock.h"
#include "http/message.h"
#include "payment/health_board.h"
#include "psp/psp.h"
#include "worker/pace.h"
#include "worker/token.h"

#include "utils/uuid.h"

#define PAY_SKIP_MAX 16

typedef struct PayUpstream
{
	/* The key. */
	char		psp[NAMEDATALEN];
	const PayAdapter *adapter;	/* NULL: the library has none of that name */

	char	   *base_url;
	char	   *secret_name;
	char	   *secret;			/* NULL: not at hand */
	PayTokenCache *token;		/* NULL of an adapter without build_token() */
	PaySteady	secret_read_at; /* 0: not yet */
	int			inflight_max;
	int			timeout_ms;
	PaySteady	due_at;			/* of the first in its queue when last read; PAY_NEVER: nothing there */
	bool		paused;			/* by a person: it is asked, and sent nothing */
	PaySteady	claimed_at;		/* the last look for calls that it might get */
	bool		usable;			/* not halted, armed, secret at hand */
	bool		seen;			/* when last read */
	char	   *problem;		/* last one logged; NULL: none */
	char	   *secret_problem; /* why it is not at hand */
	int			users;			/* requests of any lane that point here: it is not forgotten */

	/* Of every lane: how fast it takes calls. */
	PayPace		pace;
	bool		health_noted;	/* there is a row of it */
	bool		health_changed; /* more than the pace has */
	PaySteady	health_noted_at;
	bool		restored;		/* what the worker before had found out was read */
	PayVitals	vitals;			/* as shown to others at shown_at */
	PaySteady	shown_at;
	char	   *unfit;			/* why it is not called, as far as nobody else can tell; NULL: it is, or that is known */

	/* Of the accounts lane, of an adapter with build_account(): whose account is the secret of? */
	struct
	{
		uint64		serial;		/* counts changes of address and secret */
		bool		settled;	/* it is the one that we know, or the PSP does not say */
		bool		told;		/* the PSP has said something of it */
		bool		asking;
		char	   *hindered;	/* why we do not let ourselves ask; NULL: we do */
		int			failures;	/* tries in a row without an answer */
		PaySteady	ask_at;			/* PAY_NEVER: not again */
	}			account;

	/* Of the payments lane. */
	int			inflight;		/* calls that the PSP has not answered */
	int			kept;			/* that have ended and are not completed; they take slots, and nothing of the PSP */
	int			losses;			/* in a row without an answer; calls that were on their way together are one */
	PaySteady	lost_at;		/* the last of these */
	int			breaker_ms;		/* 0: closed */
	PaySteady	breaker_until;
	PaySteady	began_at;		/* the last call */
	PaySteady	heard_at;		/* the last answer; or, without one since, when a call began that nothing else was waited for beside; 0: never called */
	bool		answers;		/* to the last call that ended */
	int			locked_ms;		/* how long a row that somebody holds was left alone the last time; 0: nobody does */
	uint64		lap;			/* the last in which it had its turn */
	bool		one_by_one;		/* a batch could not be claimed: find the row that is to blame */
	int			n_skip;			/* rows that cannot be claimed, left alone until skip_until */
	pg_uuid_t	skip[PAY_SKIP_MAX];
	PaySteady	skip_until;

	/* Of the feeds lane: its lines are compared with our books. */
	PaySteady	compare_at;		/* PAY_NEVER: nothing to compare */
	PaySteady	compare_rest_until; /* not before, whatever came in */
	PaySteady	compared_at;
} PayUpstream;

/* Reads the PSPs, and writes down how fast they are called, or why not.  Call between pay_spi_begin() and pay_spi_end(). */
extern void pay_upstreams_read(void);
/* Likewise, at the start: what the worker before wrote down of PSPs that are gone. */
extern void pay_upstreams_recover(void);
/* Reads their secrets again at the next look. */
extern void pay_upstreams_reload(void);
/* Those that have a row, in the order in which they have their turn: who waits longest is first.  Until they are read again. */
extern int	pay_upstreams_count(void);
extern PayUpstream *pay_upstreams_get(int i);
/*
 * Of a PSP that was claimed from.  Raises an error, for the claim to be made
 * again, when it has got another adapter since it was read.  Count yourself in
 * `users` while you keep it.
 */
extern PayUpstream *pay_upstreams_find(const char *psp, const PayAdapter *adapter);

/*
 * Locks the PSP's row to the end of the transaction, before a claim.  False
 * when somebody has it: perhaps it is just being changed.  Raises likewise when
 * its address or secret is another one than was read, or it has gone.
 */
extern bool pay_upstream_lock(const PayUpstream *upstream);

/*
 * How many calls of the payments lane the upstream takes more, when so many
 * slots of all are free for all upstreams.  None: 0 or less, and *again is when to ask
 * again, PAY_NEVER if that depends on a call that is on its way.
 */
extern int	pay_upstream_room(const PayUpstream *upstream, int free_slots, int slots, PaySteady now, PaySteady *again);
/* Why it may not even be asked whose account its secret is of, for all to see; NULL: it may. */
extern void pay_upstream_hinder(PayUpstream *upstream, const char *why);
/* So long a call of it that is claimed belongs to the worker: it outlasts the call, whatever payments.lease says. */
extern int	pay_upstream_lease_ms(const PayUpstream *upstream);
/* Counts how a call of that lane ended: losses one after the other open the breaker, an answer closes it. */
extern void pay_upstream_note(PayUpstream *upstream, PayTransport transport, PaySteady begun_at, PaySteady now);

/* It had not answered the worker before. */
extern void pay_upstream_reopen_breaker(PayUpstream *upstream, int64 ms, PaySteady until);

/* Sets the pace: by what the answer to a call of that lane says of it (repeated: one that was refused before), and by calls of any lane that begin. */
/* A call has ended, in whichever way; it is kept until it is completed. */
extern void pay_upstream_ended(PayUpstream *upstream);
extern void pay_upstream_answered(PayUpstream *upstream, const PayHttpResponse *response, const PayResult *result, bool repeated,
								  PaySteady begun_at, PaySteady now);
extern void pay_upstream_begun(PayUpstream *upstream, int calls, PaySteady now);

/* May it be sent anything: is it usable, its token at hand if it wants one, and the account the one that we know? */
extern bool pay_upstream_admits(const PayUpstream *upstream, PaySteady now);
/* May requests of other lanes be made now: is it admitted, its breaker closed or due for a probe, and are we not too fast for it? */
extern bool pay_upstream_open(const PayUpstream *upstream, PaySteady now);

/*
 * Which token a request is sent with, to be kept with it; and, for each answer,
 * whether it says that this one has ended.  By its status alone: that nothing
 * was processed is for the adapter to say.
 */
extern int64 pay_upstream_token_serial(const PayUpstream *upstream);
extern bool pay_upstream_token_ended(PayUpstream *upstream, int64 serial, int http_status);

/*
 * Sends what an adapter wants to ask.  `key`: the idempotency key; NULL
 * without.  `for_token`: it asks for a token, and goes without.  Tag, size and
 * on_header of the request are the caller's, and the timeout if it is not to be
 * that of the PSP; the rest is filled in.
 */
extern void pay_upstream_send(const PayUpstream *upstream, const PayRequest *wanted, const char *key, bool for_token,
							  PayHttpRequest *request);

#endif							/* PAY_UPSTREAM_H */
