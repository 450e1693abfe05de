/*
 * src/psp/adapters.h
 *		The adapters of the library: a line each, and the only one that a new
 *		one needs outside of its own files.
 *
 * Included where PAY_ADAPTER(NAME) has a meaning: psp/psp.c.  The tests build
 * with a list of their own in place of this one.
 */
PAY_ADAPTER(sandbox)
PAY_ADAPTER(paypal)
PAY_ADAPTER(stripe)
PAY_ADAPTER(adyen)
PAY_ADAPTER(yookassa)
