/*
 * src/base/transport.h
 *		How an exchange with a peer ended, before anybody looked at the body.
 *
 * Here, because http/ says it and adapters are told.
 */
#ifndef PAY_TRANSPORT_H
#define PAY_TRANSPORT_H

typedef enum PayTransport
{
	PAY_TRANSPORT_ANSWERED,		/* status line, headers and whole body are here */
	PAY_TRANSPORT_NOT_SENT,		/* no byte of the request can have reached the peer */
	PAY_TRANSPORT_LOST			/* anything else: it may have been processed */
} PayTransport;

#endif							/* PAY_TRANSPORT_H */
