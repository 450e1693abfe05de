/*
 * src/http/request.h
 *		One HTTP request: curl's options for it, and curl's callbacks.
 */
#ifndef PAY_HTTP_REQUEST_H
#define PAY_HTTP_REQUEST_H

#include "http/transfer.h"

extern void pay_http_request_init(bool curl_has_ca_bundle);
/* Reads payments.allow_networks anew when it has changed. */
extern void pay_http_request_refresh(void);
/* NULL, or why it cannot be sent, and what of ours is in the way. */
extern const char *pay_http_request_problem(const PayHttpRequest *request, PayHttpHindrance *hindrance);
/* Makes the transfer ready to run.  False leaves it fit to be freed only. */
extern bool pay_http_request_prepare(const PayHttpRequest *request, PayTransfer *transfer);

#endif							/* PAY_HTTP_REQUEST_H */
