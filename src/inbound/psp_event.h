/*
 * src/inbound/psp_event.h
 *		A PSP's event, whichever way it came: stored once, applied once.
 */
#ifndef PAY_PSP_EVENT_H
#define PAY_PSP_EVENT_H

#include "payment/apply.h"

#include "utils/jsonb.h"

/* One event, read and trusted: its signature was right, or we have asked for it over TLS. */
typedef struct PayInboundEvent
{
	const char *psp;
	const PayWebhook *webhook;
	const char *source;			/* "webhook" or "feed", as in psp_event.source */
	Jsonb	   *headers;
	const char *body;
	size_t		body_bytes;
	bool		wait;			/* for a payment that somebody holds; else see below */
	const char *actor;
} PayInboundEvent;

/*
 * Stores the event and applies it, in the caller's transaction: the row that
 * makes a duplicate harmless and the effect commit together or not at all.
 * Returns false for a duplicate, and nothing was done.  When the report comes
 * back as PAY_OUTCOME_LOCKED nothing was applied, yet the row is there: the
 * caller must roll back, and come again.
 */
extern bool pay_event_take(const PayInboundEvent *event, TimestampTz now, PayReport *report);

#endif							/* PAY_PSP_EVENT_H */
