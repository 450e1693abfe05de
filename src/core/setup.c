/*
 * src/core/setup.c
 *		What an administrator calls: setup, version, wake.
 */
#include "payments.h"

#include "core/guard.h"
#include "core/spi.h"
#include "core/wake.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

PAY_FUNCTION(pay_setup);
PAY_FUNCTION(pay_require_setup_sql);
PAY_FUNCTION(pay_version);
PAY_FUNCTION(pay_wake_worker);
PAY_FUNCTION(pay_commit_durably);

/* setup(): runs the script of tables that the build put into _setup_tables(), with our own DDL guard lifted. */
Datum
pay_setup(PG_FUNCTION_ARGS)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("payments needs a database in encoding UTF8"),
				 errhint("CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0;")));
	SPI_connect();
	pay_guard_allow_ddl(true);
	PG_TRY();
	{
		if (SPI_execute("SELECT payments._setup_tables()", false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not run the setup script");
	}
	PG_FINALLY();
	{
		pay_guard_allow_ddl(false);
	}
	PG_END_TRY();
	SPI_finish();
	/* A worker that found nothing to serve may be waiting. */
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* _require_setup(): PAY_ERR_NOT_SET_UP, for functions written in SQL. */
Datum
pay_require_setup_sql(PG_FUNCTION_ARGS)
{
	pay_spi_begin();
	pay_spi_end();
	PG_RETURN_VOID();
}

/* The library's version; the extension's is in pg_extension. */
Datum
pay_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(PAY_VERSION));
}

Datum
pay_wake_worker(PG_FUNCTION_ARGS)
{
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* _commit_durably() */
Datum
pay_commit_durably(PG_FUNCTION_ARGS)
{
	ForceSyncCommit();
	PG_RETURN_VOID();
}
