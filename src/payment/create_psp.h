/*
 * src/payment/create_psp.h
 *		The rows of a PSP.
 */
#ifndef PAY_CREATE_PSP_H
#define PAY_CREATE_PSP_H

#include "psp/psp.h"

/* Makes a row for each of the adapter's feeds that has none.  Call between pay_spi_begin() and pay_spi_end(). */
extern void pay_psp_create_feeds(const char *psp, const PayAdapter *adapter);

/*
 * Raises PAY_ERR_PSP_IN_USE while the PSP may have performed something that is
 * not known here to be over.  Call with its row locked, between pay_spi_begin()
 * and pay_spi_end().
 */
extern void pay_psp_require_idle(const char *psp);

/*
 * The PSP has told whose account our secret is of: kept when that is the first
 * time, else compared.  False when it is another one: then the PSP is halted,
 * and stays so until accept_psp_account(); also when there is no such PSP any
 * more.  Call likewise.
 */
extern bool pay_psp_note_account(const char *psp, const PayAdapter *adapter, const PayAccount *told);

#endif							/* PAY_CREATE_PSP_H */
