/*
 * test/adapters/psp/adapters.h
 *		Takes the place of src/psp/adapters.h where tests build with adapters of
 *		their own: -Itest/adapters goes before -Isrc.
 */
PAY_ADAPTER(sandbox)
PAY_ADAPTER(stripe)
PAY_ADAPTER(yookassa)
PAY_ADAPTER(apikey)
PAY_ADAPTER(basic)
PAY_ADAPTER(oauth)
