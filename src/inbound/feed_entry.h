/*
 * src/inbound/feed_entry.h
 *		Entries of feeds: applied, or kept to be tried again.
 *
 * Call all between pay_spi_begin() and pay_spi_end().
 */
#ifndef PAY_FEED_ENTRY_H
#define PAY_FEED_ENTRY_H

#include "psp/psp.h"

#include "datatype/timestamp.h"

/* Stores a page of the PSP's book lines.  Returns how many are new here. */
extern int	pay_feed_apply_lines(const char *psp, const PayFeed *feed, const PayFeedPage *page);
/* Applies a page of events; *again when there are more than one step may take.  Returns how many are new here. */
extern int	pay_feed_apply_events(const char *psp, const PayAdapter *adapter, const PayFeed *feed, const PayFeedPage *page,
								  TimestampTz now, const char *worker, bool *again);
/* Tries some entries again that could not be applied. */
extern void pay_feed_retry(TimestampTz now, const char *worker);

#endif							/* PAY_FEED_ENTRY_H */
