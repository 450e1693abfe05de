/*
 * src/payments.h
 *		What every file of the extension includes first.
 */
#ifndef PAYMENTS_H
#define PAYMENTS_H

#include "postgres.h"

#include "compat.h"
#include "error.h"

/*
 * SQL-callable functions.  PGXS hides symbols by default only from 16 on, and
 * 15's PG_FUNCTION_INFO_V1 does not export the function itself, so both the
 * function and its info record are marked here.
 */
#define PAY_EXPORT __attribute__((visibility("default")))
#define PAY_FUNCTION(name) \
	PAY_EXPORT extern Datum name(PG_FUNCTION_ARGS); \
	PAY_EXPORT extern const Pg_finfo_record *CppConcat(pg_finfo_, name)(void); \
	const Pg_finfo_record * \
	CppConcat(pg_finfo_, name)(void) \
	{ \
		static const Pg_finfo_record my_finfo = {1}; \
		return &my_finfo; \
	} \
	extern int	no_such_variable

#define PAY_SCHEMA "payments"
#define PAY_OWNER_ROLE "payments_owner"
#define PAY_WORKER_ROLE "payments_worker"
#define PAY_ADAPTER_ROLE "payments_adapter"
/* As registered with the server: no role can start a process of this type by SQL. */
#define PAY_WORKER_TYPE "payments worker"

/* Largest amount of one payment: exact in every JSON client's double, and far enough from 2^63 that sums do not overflow by accident. */
#define PAY_AMOUNT_MAX INT64CONST(999999999999999)

#define PAY_HASH_BYTES 32

#endif							/* PAYMENTS_H */
