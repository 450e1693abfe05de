/*
 * src/payment/create_psp.h
 *		The rows of a PSP.
 */
#ifndef PAY_CREATE_PSP_H
#define PAY_CREATE_PSP_H

#include "psp/psp.h"

/* Makes a row for each of the adapter's feeds that has none.  Call between pay_spi_begin() and pay_spi_end(). */
extern void pay_psp_create_feeds(const char *psp, const PayAdapter *adapter);

#endif							/* PAY_CREATE_PSP_H */
