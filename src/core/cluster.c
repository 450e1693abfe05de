/*
 * src/core/cluster.c
 *		Is this the cluster that may send for real (promise 8)?
 *
 * arm() records system identifier, timeline, database and host.  A clone of
 * the data directory has another host, a template copy another database, a
 * restore or a promoted standby another timeline: none of them sends to a PSP
 * until a person arms it.  The secrets file lies outside the data directory,
 * so most copies lack that as well.
 */
#include "payments.h"

#include "core/cluster.h"
#include "core/spi.h"
#include "core/wake.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define HOST_BYTES 256

static char *host_name(void);

static PayStmt read_arming = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT armed_system, armed_timeline, armed_database::bigint, armed_host FROM payments.installation");
static PayStmt write_arming = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.installation SET armed_system = $1, armed_timeline = $2, armed_database = $3::bigint::oid, "
	"armed_host = $4, armed_at = $5, armed_by = $6", TEXTOID, INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID);

PAY_FUNCTION(pay_arm);
PAY_FUNCTION(pay_system_identifier);
PAY_FUNCTION(pay_disarm);

const char *
pay_cluster_system(void)
{
	return psprintf(UINT64_FORMAT, GetSystemIdentifier());
}

static char *
host_name(void)
{
	char	   *host = palloc0(HOST_BYTES);

	if (gethostname(host, HOST_BYTES - 1) != 0)
		strlcpy(host, "unknown", HOST_BYTES);
	return host;
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

const char *
pay_cluster_unarmed_reason(void)
{
	if (RecoveryInProgress())
		return "this is a standby";
	if (pay_spi_exec(&read_arming, NULL) != 1 || pay_spi_isnull(0, 1))
		return "nobody has armed this database";
	if (strcmp(pay_spi_text(0, 1), pay_cluster_system()) != 0)
		return "armed in another cluster";
	if (pay_spi_int32(0, 2) != (int32) GetWALInsertionTimeLine())
		return "the timeline has changed since it was armed: a restore or a promotion";
	if (pay_spi_int64(0, 3) != (int64) MyDatabaseId)
		return "armed as another database";
	if (strcmp(pay_spi_text(0, 4), host_name()) != 0)
		return "armed on another host";
	return NULL;
}

Datum
pay_arm(PG_FUNCTION_ARGS)
{
	PayArgs		args = {0};

	pay_spi_begin();
	pay_arg_text(&args, pay_cluster_system());
	pay_arg_int32(&args, (int32) GetWALInsertionTimeLine());
	pay_arg_int64(&args, (int64) MyDatabaseId);
	pay_arg_text(&args, host_name());
	pay_arg_time(&args, GetCurrentTimestamp());
	pay_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pay_spi_exec(&write_arming, &args);
	pay_spi_end();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

Datum
pay_disarm(PG_FUNCTION_ARGS)
{
	PayArgs		args = {0};

	pay_spi_begin();
	for (int i = 0; i < 6; i++)
		pay_arg_null(&args);
	pay_spi_exec(&write_arming, &args);
	pay_spi_end();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* _system_identifier() */
Datum
pay_system_identifier(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(pay_cluster_system()));
}
