/*
 * src/http/http.h
 *		Many HTTP requests in flight in one process, over curl_multi.
 *
 * Only the worker uses this.  Nothing here can reach SPI, nothing that touches
 * tables can reach this header: a transaction held open during HTTP is not a
 * mistake one can make quietly.
 */
#ifndef PAY_HTTP_H
#define PAY_HTTP_H

#include "http/message.h"

/*
 * Creates the multi handle and its epoll descriptor, for at most `inflight_max` requests at a time; how many this process
 * has the means for, now and later, says pay_http_allowance().
 * Call once, in the worker only.  Raises on failure and undoes nothing: the process is to end.
 */
extern void pay_http_init(int inflight_max);
/* The descriptor to wait on: readable when pay_http_drive() has work. */
extern int	pay_http_fd(void);
/* Milliseconds until pay_http_drive() wants to be called without the descriptor; -1 = never. */
extern long pay_http_timeout_ms(void);
extern int	pay_http_inflight(void);
/* How many requests may be in flight as it is; 0: none just now.  Says so in the log when it becomes less, or all again. */
extern int	pay_http_allowance(void);
/* Have means run out, and is the allowance therefore less than it was? */
extern bool pay_http_is_scarce(void);
/*
 * Starts a request; at most as many as pay_http_init() was told have not been given to pay_http_free().  Never raises;
 * what cannot be started comes back as a NOT_SENT response.
 */
extern void pay_http_start(const PayHttpRequest *request);
/* Moves all transfers on.  Asserts that no transaction is open. */
extern void pay_http_drive(void);
/* Next finished response, or NULL.  Free it with pay_http_free(). */
extern PayHttpResponse *pay_http_next(void);
extern void pay_http_free(PayHttpResponse *response);

#endif							/* PAY_HTTP_H */
