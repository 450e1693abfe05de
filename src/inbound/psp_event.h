/*
 * src/inbound/psp_event.h
 *		A PSP's event, whichever way it came: stored once, applied once.
 */
#ifndef PAY_PSP_EVENT_H
#define PAY_PSP_EVENT_H

#include "payment/apply.h"

#include "utils/jsonb.h"

/* One event that was read. */
typedef struct PayInboundEvent
{
	const char *psp;
	const PayPspEvent *event;
	const char *source;			/* "webhook" or "feed", as in psp_event.source */
	Jsonb	   *headers;
	const char *body;			/* its own part of it */
	size_t		body_bytes;
	bool		hint;			/* nobody could verify it; else its signature was right, or we have asked for it over TLS */

	/* Filled by pay_events_take(). */
	bool		duplicate;		/* it was here before */
	bool		foreign;		/* it is another installation's, account's or mode's: stored, and not applied */
	PayReport	report;			/* what came of it; of a duplicate, which payment it was about */
} PayInboundEvent;

/*
 * Stores the events and applies them, in the caller's transaction: the row that
 * makes a duplicate harmless and the effect commit together or not at all, and
 * so do the events of one request.  With `wait`, a payment that somebody holds
 * is waited for; without, its report comes back as PAY_OUTCOME_LOCKED: nothing
 * was applied, yet the row is there, so the caller must roll back and come again.
 *
 * A hint makes the operations of its payment due for inquiry soon, each time it
 * comes: it could have been forged before the true one.  One that names no
 * payment of ours is not stored, or anybody could fill the disk.
 */
extern void pay_events_take(PayInboundEvent *events, int n, bool wait, TimestampTz now, const char *actor);

#endif							/* PAY_PSP_EVENT_H */
