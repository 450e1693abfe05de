/*
 * src/http/host.h
 *		The gate in front of name lookups.
 */
#ifndef PAY_HTTP_HOST_H
#define PAY_HTTP_HOST_H

#include "http/transfer.h"

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

extern void pay_http_host_init(void);
/* Assigns the gate of the URL's host to the transfer; none when the name is too long or all gates are in use. */
extern void pay_http_host_enter(PayTransfer *transfer, const char *url);
/* May the transfer run?  If not it waits here, for the one that looks the name up. */
extern bool pay_http_host_admit(PayTransfer *transfer);
/* Next of those that waited and may run now, taken out of the list; NULL: none. */
extern PayTransfer *pay_http_host_admit_waiting(void);
/* The transfer has ended.  True when its lookup failed, and with it all who still wait for it. */
extern bool pay_http_host_leave(PayTransfer *transfer, CURLcode code);
/* First of those who wait, left in the list; NULL: none. */
extern PayTransfer *pay_http_host_first_waiting(PayHost *host);
/* Curl has an address for the transfer. */
extern void pay_http_host_note_address(PayTransfer *transfer);
/* Curl has none any more, for any host. */
extern void pay_http_host_forget(void);

#endif							/* PAY_HTTP_HOST_H */
