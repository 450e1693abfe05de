/*
 * src/core/cluster.c
 *		Which server is this, and which data directory is it on?
 */
#include "payments.h"

#include "core/cluster.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_BYTES 256
/* Written by initdb, and by nobody after it. */
#define LASTING_FILE "PG_VERSION"

PAY_FUNCTION(pay_system_identifier);

const char *
pay_cluster_system(void)
{
	return psprintf(UINT64_FORMAT, GetSystemIdentifier());
}

const char *
pay_cluster_host(void)
{
	char	   *host = palloc0(HOST_BYTES);

	if (gethostname(host, HOST_BYTES - 1) != 0)
		strlcpy(host, "unknown", HOST_BYTES);
	return host;
}

const char *
pay_cluster_place(void)
{
	char		data[PATH_MAX];
	struct stat st;

	/* Relative to the data directory, in which every process of the server stands. */
	if (DataDir == NULL || realpath(DataDir, data) == NULL || stat(LASTING_FILE, &st) != 0)
		return "unknown";
	return psprintf("%llu %s", (unsigned long long) st.st_ino, data);
}

const char *
pay_cluster_run(void)
{
	return psprintf(INT64_FORMAT, PgStartTime);
}

void
pay_cluster_require_primary(int sqlstate)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("this is a standby"),
				 errhint("Do it on the primary; or promote this server, and SELECT payments.arm() once the primary is off for good.")));
}

/* A data directory that cannot be resolved counts as holding everything. */
bool
pay_cluster_holds_path(const char *resolved)
{
	char		data[PATH_MAX];
	size_t		bytes;

	if (DataDir == NULL || realpath(DataDir, data) == NULL)
		return true;
	bytes = strlen(data);
	return strncmp(resolved, data, bytes) == 0 &&
		(resolved[bytes] == '/' || resolved[bytes] == '\0' || bytes == 1);
}

/* _system_identifier() */
Datum
pay_system_identifier(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(pay_cluster_system()));
}
