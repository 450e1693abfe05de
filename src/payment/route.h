/*
 * src/payment/route.h
 *		Merchant, PSP and currency of a new payment, cached.
 */
#ifndef PAY_ROUTE_H
#define PAY_ROUTE_H

#include "psp/psp.h"

typedef struct PayRoute
{
	bool		merchant_known;
	const char *psp;			/* as asked for, or the merchant's; NULL: unknown, or nobody has named one */
	const PayAdapter *adapter;	/* of that PSP; NULL when the library has none of its name */
	bool		currency_known;
	int			exponent;		/* ISO 4217 */
	int			psp_exponent;
	int64		multiple;		/* amounts in the PSP's unit must be a multiple */
	int64		amount_max;		/* of a payment; 0: unlimited */
} PayRoute;

/*
 * Looks the three up; psp may be NULL for the merchant's own.  The result
 * lasts until the end of the call that asked.  Call between pay_spi_begin()
 * and pay_spi_end().
 */
extern const PayRoute *pay_route_find(const char *merchant, const char *psp, const char *currency);

/*
 * NULL with the amount in the PSP's units; or why such an amount of money
 * cannot go that way, with a SQLSTATE and a hint.  merchant, psp and currency
 * are what was asked for.  Raises when the caller may not act for the merchant.
 */
extern const char *pay_route_problem(const PayRoute *route, const char *merchant, const char *psp, const char *currency,
									 int64 amount, int64 *psp_amount, int *sqlstate, const char **hint);

#endif							/* PAY_ROUTE_H */
