/*
 * src/core/merchant.h
 *		Who may act for a merchant.
 */
#ifndef PAY_MERCHANT_H
#define PAY_MERCHANT_H

/*
 * Raises PAY_ERR_MERCHANT_UNKNOWN when there is no such merchant, and 42501
 * when it belongs to a role (merchant.app_role) of which the calling role is
 * no member.  Call between pay_spi_begin() and pay_spi_end(); what was read
 * before may be gone then.
 */
extern void pay_require_merchant(const char *merchant);
/* Is a verb called to carry out what an operator has decided about a discrepancy, by _act_for_all()?  Then its money has moved already. */
extern bool pay_carries_out_decision(void);

#endif							/* PAY_MERCHANT_H */
