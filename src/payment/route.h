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

#endif							/* PAY_ROUTE_H */
