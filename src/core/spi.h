/*
 * src/core/spi.h
 *		SQL from C: saved plans, typed arguments, typed getters.
 *
 * A statement is a static PayStmt beside its use.  It is planned on first use
 * and kept for the life of the process; the server replans it after DDL.
 *
 *		static PayStmt find_psp = PAY_STMT(SPI_OK_SELECT,
 *			"SELECT adapter FROM payments.psp WHERE psp = $1", TEXTOID);
 *
 *		PayArgs args = {0};
 *		pay_arg_text(&args, name);
 *		if (pay_spi_exec(&find_psp, &args) == 1)
 *			adapter = pay_spi_text(0, 1);
 *
 * Memory: pay_spi_begin() leaves the caller's context current, so whatever the
 * getters return outlives pay_spi_end().
 */
#ifndef PAY_SPI_H
#define PAY_SPI_H

#include "catalog/pg_type_d.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "utils/uuid.h"

#define PAY_ARGS_MAX 40

typedef struct PayStmt
{
	int			expect;			/* SPI_OK_... */
	const char *sql;			/* schema-qualified throughout */
	Oid			argtypes[PAY_ARGS_MAX];	/* up to the first 0 */
	SPIPlanPtr	plan;			/* NULL until first use */
} PayStmt;

#define PAY_STMT(expect_, sql_, ...) {.expect = (expect_), .sql = (sql_), .argtypes = {__VA_ARGS__}}
#define PAY_STMT_NOARGS(expect_, sql_) {.expect = (expect_), .sql = (sql_)}

typedef struct PayArgs
{
	int			n;
	Datum		values[PAY_ARGS_MAX];
	char		nulls[PAY_ARGS_MAX];	/* 'n' or ' ' as SPI wants it */
} PayArgs;

/* Scalars.  A NULL pointer is SQL NULL. */
extern void pay_arg_null(PayArgs *args);
extern void pay_arg_text(PayArgs *args, const char *value);
extern void pay_arg_int64(PayArgs *args, int64 value);
extern void pay_arg_int32(PayArgs *args, int32 value);
extern void pay_arg_bool(PayArgs *args, bool value);
extern void pay_arg_time(PayArgs *args, TimestampTz value);
extern void pay_arg_uuid(PayArgs *args, const pg_uuid_t *value);
extern void pay_arg_bytes(PayArgs *args, const void *value, size_t bytes);
extern void pay_arg_datum(PayArgs *args, Datum value, bool isnull);

/* Arrays of n elements; a NULL pointer inside is a SQL NULL element.  `time` 0 is a NULL element. */
extern void pay_arg_text_array(PayArgs *args, const char *const *values, int n);
extern void pay_arg_int64_array(PayArgs *args, const int64 *values, int n);
extern void pay_arg_int32_array(PayArgs *args, const int32 *values, int n);
extern void pay_arg_bool_array(PayArgs *args, const bool *values, int n);
extern void pay_arg_time_array(PayArgs *args, const TimestampTz *values, int n);
/* For times of callers, among which 0 is the first instant of 2000: those not given are NULL elements. */
extern void pay_arg_given_time_array(PayArgs *args, const TimestampTz *values, const bool *given, int n);
extern void pay_arg_uuid_array(PayArgs *args, const pg_uuid_t *const *values, int n);
extern void pay_arg_bytea_array(PayArgs *args, bytea *const *values, int n);

/* Connects to SPI and checks that setup() has been run (PAY_ERR_NOT_SET_UP if not). */
extern void pay_spi_begin(void);
extern void pay_spi_end(void);

/*
 * Runs the statement, read-write (each statement sees what committed before
 * it, at READ COMMITTED), and returns the number of rows.  Raises
 * PAY_ERR_INTERNAL when SPI does not answer with the expected code.
 */
extern uint64 pay_spi_exec(PayStmt *stmt, PayArgs *args);

/* Opens a cursor, for what may be too much for memory; read it with SPI_cursor_fetch(), end it with SPI_cursor_close(). */
extern Portal pay_spi_cursor(PayStmt *stmt, PayArgs *args);

/* Getters over the last result; rows from 0, columns from 1. */
extern bool pay_spi_isnull(uint64 row, int column);
extern char *pay_spi_text(uint64 row, int column);	/* NULL if null; any type, by its output function */
extern int64 pay_spi_int64(uint64 row, int column); /* the getters below raise on null */
extern int32 pay_spi_int32(uint64 row, int column);
extern bool pay_spi_bool(uint64 row, int column);
extern TimestampTz pay_spi_time(uint64 row, int column);
extern pg_uuid_t pay_spi_uuid(uint64 row, int column);
extern ItemPointerData pay_spi_tid(uint64 row, int column);
extern bytea *pay_spi_bytea(uint64 row, int column);	/* copied; NULL if null */

/* OID of the role that owns the tables (payments_owner); raises PAY_ERR_NOT_SET_UP if it is gone. */
extern Oid	pay_owner_oid(void);
/* The schema's OID, InvalidOid if there is none. */
extern Oid	pay_schema_oid(void);
/*
 * The tables outlive DROP EXTENSION.  This view does not, for it calls a function of ours, and setup() makes it together with
 * the guards of the tables.  Whoever has it locked works with all of them.
 */
#define PAY_SET_UP_VIEW "worker_status"
/* Is the extension here and setup() run? */
extern bool pay_is_set_up(void);

#endif							/* PAY_SPI_H */
