/*
 * src/core/arming.c
 *		May this server send for real (promise 8)?
 *
 * arm() records system identifier, timeline, database and host in the
 * database, and the data directory in a file outside of it, with a token in
 * both.  None of these tells all copies: a restore or a promoted standby has
 * another timeline, a template copy another database, a clone another host or,
 * beside the original, another data directory.  All of them have the same file,
 * so of those that see it one is armed.  A snapshot of the whole volume has all
 * of them; but the token changes, in the file and in the database, with each
 * start of the server that sends, and within a second of what is handed out to
 * be sent: so only one of the two goes on, and a state of before does not
 * either.  While nothing is sent it stays, and a state of then may go on.
 * While the worker runs it keeps the file locked against a copy that is started
 * beside it.
 *
 * What is always true: the file has the database's token whatever crashes and
 * whatever rolls back, or nobody is armed.  A new one is written as `next` to
 * the file first, then committed, and only then becomes the file's only one.
 * Whoever writes holds the lock of the one row of payments.installation and,
 * where the file was another database's, that of the file.
 */
#include "payments.h"

#include "core/arming.h"

#include "core/arming_file.h"
#include "core/caller.h"
#include "core/cluster.h"
#include "core/guard.h"
#include "core/installation.h"
#include "core/spi.h"
#include "core/wake.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define NO_TOKEN "-"
#define OTHER_STATE "the arming file is not of this state of the database: a copy has taken it over, or this is one"
#define BUSY "somebody is changing it at this moment"
/* So often the token changes while payments are sent. */
#define RENEW_MS 1000
/* So long after it a client may repeat a call whose rows are gone: PSPs know its key no longer than that. */
#define REPEATED_WITHIN_S (24 * 60 * 60)
#define HELD_ELSEWHERE "another worker is running that is armed: this database or that one is a copy"

/* The row, and the file that belongs to it. */
typedef struct PayArming
{
	const char *token;
	TimestampTz armed_at;
	PayArmingFile file;
} PayArming;

static const char *unarmed_reason(PayArming *arming);
static const char *look(PayArming *arming, PayStmt *stmt);
static const char *read_arming(PayArming *arming, PayStmt *stmt);
static bool token_is(const PayArming *arming, const char *token);
static const char *take_once(PayArming *arming, bool renew);
static const char *take(PayArming *arming, bool keep, bool renew);
static bool written_just_now(void);
static void settle(const char *token);
static const char *new_token(void);
static bool is_ours(const PayArmingFile *file);
static const char *this_database(void);
static void arm(void);
static const char *token_before(const PayArming *arming);
static TimestampTz arming_time(void);
static void require_own_salt(void);
static void lock_or_refuse(const PayArmingFile *file);

/* Process-local, see pay_armed_since(). */
static TimestampTz armed_since = DT_NOEND;

/*
 * Process-local: what was handed out, and which of it no state of before can
 * send again, because the token has changed since.  A change counts when it was
 * seen committed.
 */
static struct
{
	uint64		handed_out;
	uint64		covered;
	uint64		will_cover;
	char		token[PAY_ARMING_TOKEN_BYTES];	/* of the change under way; empty: none */
	uint64		written_in;		/* transaction that wrote the row last */
	PaySteady	next;			/* none before this */
} renewal;

/* Process-local: the token that a transaction has disarmed.  Until it commits, that is what is armed. */
static struct
{
	char		token[PAY_ARMING_TOKEN_BYTES];
	uint64		by;				/* that transaction */
} disarmed;

#define READ_ARMING \
	"SELECT armed_system, armed_timeline, armed_database::bigint, armed_host, armed_token, armed_at, first_armed_at "\
	"FROM payments.installation WHERE singleton"

static PayStmt read_row = PAY_STMT_NOARGS(SPI_OK_SELECT, READ_ARMING);
static PayStmt lock_row = PAY_STMT_NOARGS(SPI_OK_SELECT, READ_ARMING " FOR NO KEY UPDATE");
/* What may be sent was made before we are armed, whatever the clock says. */
static PayStmt find_newest = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT max(o.created_at) + interval '1 microsecond' FROM payments.operation o WHERE o.operation_id IN ("
	"SELECT q.operation_id FROM payments.queue q UNION ALL SELECT d.operation_id FROM payments.dead_letter d WHERE d.decision IS NULL)");
static PayStmt find_reference = PAY_STMT_NOARGS(SPI_OK_SELECT, "SELECT psp_ref FROM payments.operation LIMIT 1");
static PayStmt share_row = PAY_STMT_NOARGS(SPI_OK_SELECT, READ_ARMING " FOR SHARE");
static PayStmt lock_free_row = PAY_STMT_NOARGS(SPI_OK_SELECT, READ_ARMING " FOR NO KEY UPDATE SKIP LOCKED");
static PayStmt write_row = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.installation SET armed_system = $1, armed_timeline = $2, armed_database = $3::bigint::oid, "
	"armed_host = $4, armed_at = $5, armed_by = $6, armed_token = $7, first_armed_at = coalesce(first_armed_at, $5)",
	TEXTOID, INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID);
static PayStmt write_token = PAY_STMT(SPI_OK_UPDATE, "UPDATE payments.installation SET armed_token = $1", TEXTOID);

PAY_FUNCTION(pay_arm);
PAY_FUNCTION(pay_disarm);
PAY_FUNCTION(pay_unarmed_reason_sql);

/* ---------- look ---------- */

/* The row is read before the file, and both may have changed in between; not twice in a second. */
static const char *
look(PayArming *arming, PayStmt *stmt)
{
	const char *reason = read_arming(arming, stmt);

	return reason && strcmp(reason, OTHER_STATE) == 0 ? read_arming(arming, stmt) : reason;
}

/* Everything but who holds it now. */
static const char *
read_arming(PayArming *arming, PayStmt *stmt)
{
	const char *problem;
	bool		absent;

	if (pay_spi_exec(stmt, NULL) != 1)
		return BUSY;
	if (pay_spi_isnull(0, 1))
		return pay_spi_isnull(0, 7) ? "nobody has armed this database" : "somebody has disarmed this database";
	arming->token = pay_spi_text(0, 5);
	arming->armed_at = pay_spi_isnull(0, 6) ? DT_NOEND : pay_spi_time(0, 6);
	if (strcmp(pay_spi_text(0, 1), pay_cluster_system()) != 0)
		return "armed in another cluster";
	if (pay_spi_int32(0, 2) != (int32) GetWALInsertionTimeLine())
		return "the timeline has changed since it was armed: a restore or a promotion";
	if (pay_spi_int64(0, 3) != (int64) MyDatabaseId)
		return "armed as another database";
	if (strcmp(pay_spi_text(0, 4), pay_cluster_host()) != 0)
		return "armed on another host";
	problem = pay_arming_file_read(&arming->file, &absent);
	if (problem)
		return problem;
	if (strcmp(arming->file.place, pay_cluster_place()) != 0)
		return "armed in another data directory: this is a copy on the same host";
	if (!token_is(arming, arming->file.token) && !token_is(arming, arming->file.next))
		return OTHER_STATE;
	return NULL;
}

static bool
token_is(const PayArming *arming, const char *token)
{
	return arming->token && strcmp(token, NO_TOKEN) != 0 && strcmp(arming->token, token) == 0;
}

const char *
pay_unarmed_reason(void)
{
	PayArming	arming;

	return unarmed_reason(&arming);
}

/* When there is none, all of *arming is filled. */
static const char *
unarmed_reason(PayArming *arming)
{
	const char *reason;

	if (RecoveryInProgress())
		return "this is a standby";
	reason = look(arming, &read_row);
	if (reason)
		return reason;
	if (!is_ours(&arming->file) && pay_arming_file_held())
		return HELD_ELSEWHERE;
	return NULL;
}

bool
pay_perhaps_sent_elsewhere(TimestampTz made_at)
{
	PayArming	arming;

	if (pay_spi_exec(&read_row, NULL) != 1 || pay_spi_isnull(0, 7))
		return false;
	return unarmed_reason(&arming) != NULL || made_at < arming.armed_at;
}

/* Of the first arming nothing was before; of each further one nobody knows how much is gone. */
bool
pay_rows_may_be_lost(TimestampTz now)
{
	PayArming	arming;
	TimestampTz first_armed_at;

	if (pay_spi_exec(&read_row, NULL) != 1 || pay_spi_isnull(0, 7))
		return false;
	first_armed_at = pay_spi_time(0, 7);
	return unarmed_reason(&arming) != NULL ||
		(arming.armed_at > first_armed_at && now < arming.armed_at + REPEATED_WITHIN_S * USECS_PER_SEC);
}

TimestampTz
pay_armed_since(void)
{
	return armed_since;
}

/* ---------- take over ---------- */

const char *
pay_take_arms(bool keep)
{
	PayArming	arming;
	const char *reason;

	if (RecoveryInProgress())
		return "this is a standby";
	/* A snapshot of before the last change is told so, and tries again. */
	reason = look(&arming, IsolationUsesXactSnapshot() ? &share_row : &read_row);
	/* What this transaction has written it may still take back. */
	if (reason == NULL && !written_just_now())
	{
		bool		held = !keep || pay_arming_file_locked();
		bool		ours = is_ours(&arming.file);
		bool		renew;

		settle(arming.token);
		/* A session may not come again. */
		renew = renewal.covered != renewal.handed_out && (!keep || pay_clock_now() >= renewal.next);
		if (!ours || !token_is(&arming, arming.file.token) || !token_is(&arming, arming.file.next) || !held || renew)
			reason = keep ? take(&arming, true, renew) : take_once(&arming, renew);
		/* Another process of ours is at it. */
		if (reason && strcmp(reason, BUSY) == 0 && ours && held)
			reason = NULL;
	}
	if (reason)
		renewal.token[0] = '\0';
	/* It was wanted, and could not be. */
	if (renewal.token[0] == '\0' && renewal.covered != renewal.handed_out && pay_clock_now() >= renewal.next)
		renewal.next = pay_clock_now() + (PaySteady) RENEW_MS * 1000;
	if (reason && keep)
		pay_arming_file_release();
	armed_since = reason ? DT_NOEND : arming.armed_at;
	return reason;
}

/* Of a session, which must not hold the file when it fails. */
static const char *
take_once(PayArming *arming, bool renew)
{
	const char *volatile reason = NULL;

	PG_TRY();
	{
		reason = take(arming, false, renew);
	}
	PG_CATCH();
	{
		pay_arming_file_release();
		PG_RE_THROW();
	}
	PG_END_TRY();
	pay_arming_file_release();
	return reason;
}

static const char *
take(PayArming *arming, bool keep, bool renew)
{
	PayArmingFile file;
	PayArgs		args = {0};
	bool		ours;
	const char *reason = read_arming(arming, &lock_free_row);

	if (reason)
		return reason;
	file = arming->file;
	ours = is_ours(&file);
	/* If the file is ours, the lock is our own worker's. */
	if ((keep || !ours) && !pay_arming_file_locked())
	{
		if (!pay_arming_file_lock())
			return HELD_ELSEWHERE;
		/* Somebody may have taken it over just before. */
		reason = read_arming(arming, &read_row);
		if (reason)
			return reason;
		file = arming->file;
	}
	renew = renew || !ours;
	if (!renew && token_is(arming, file.token) && token_is(arming, file.next))
		return NULL;
	strlcpy(file.token, arming->token, sizeof(file.token));
	/* As long as ever: what a crash leaves in the file is the one or the other. */
	strlcpy(file.next, renew ? new_token() : file.token, sizeof(file.next));
	strlcpy(file.database, this_database(), sizeof(file.database));
	strlcpy(file.run, pay_cluster_run(), sizeof(file.run));
	reason = pay_arming_file_write(&file);
	if (reason || !renew)
		return reason;
	pay_arg_text(&args, file.next);
	pay_guard_exec(&write_token, &args);
	ForceSyncCommit();
	strlcpy(renewal.token, file.next, sizeof(renewal.token));
	renewal.will_cover = renewal.handed_out;
	renewal.written_in = U64FromFullTransactionId(GetTopFullTransactionId());
	renewal.next = pay_clock_now() + (PaySteady) RENEW_MS * 1000;
	return NULL;
}

static bool
written_just_now(void)
{
	return renewal.written_in != 0 && renewal.written_in == U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
}

/* Whether it was committed shows in the row. */
static void
settle(const char *token)
{
	if (renewal.token[0] == '\0')
		return;
	if (strcmp(renewal.token, token) == 0)
		renewal.covered = renewal.will_cover;
	renewal.token[0] = '\0';
}

void
pay_arms_used(void)
{
	renewal.handed_out++;
}

PaySteady
pay_arms_due(void)
{
	if (renewal.token[0] != '\0')
		return 0;
	return renewal.covered != renewal.handed_out ? renewal.next : PAY_NEVER;
}

/* Taken last by this server, for this database: then a lock on it is of our own worker. */
static bool
is_ours(const PayArmingFile *file)
{
	return strcmp(file->run, pay_cluster_run()) == 0 && strcmp(file->database, this_database()) == 0;
}

static const char *
this_database(void)
{
	return psprintf("%u", MyDatabaseId);
}

static const char *
new_token(void)
{
	unsigned char random[(PAY_ARMING_TOKEN_BYTES - 1) / 2];
	char	   *token = palloc0(PAY_ARMING_TOKEN_BYTES);

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not get random bytes"),
				 errhint("The operating system has none at this moment; try again.")));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	return token;
}

/* ---------- by a person ---------- */

PAY_VERB(pay_arm)
{
	pay_cluster_require_primary(PAY_ERR_NOT_ARMED);
	PG_TRY();
	{
		pay_spi_begin();
		arm();
		pay_spi_end();
	}
	PG_FINALLY();
	{
		pay_arming_file_release();
	}
	PG_END_TRY();
	ForceSyncCommit();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

static void
arm(void)
{
	PayArgs		args = {0};
	PayArming	arming = {0};
	PayArmingFile file;
	bool		absent;
	const char *problem;
	const char *before;

	require_own_salt();
	problem = read_arming(&arming, &lock_row);
	(void) pay_arming_file_read(&file, &absent);
	if (!absent && !is_ours(&file))
		lock_or_refuse(&file);
	/* Armed as it is: of what has come since, nothing can have been sent elsewhere. */
	if (problem == NULL)
		return;
	/* What rolls back leaves armed what was. */
	before = token_before(&arming);
	if (strcmp(file.place, pay_cluster_place()) != 0 || strcmp(file.database, this_database()) != 0 ||
		before == NULL || (strcmp(file.token, before) != 0 && strcmp(file.next, before) != 0))
		before = NO_TOKEN;
	strlcpy(file.token, before, sizeof(file.token));
	strlcpy(file.place, pay_cluster_place(), sizeof(file.place));
	strlcpy(file.database, this_database(), sizeof(file.database));
	strlcpy(file.run, pay_cluster_run(), sizeof(file.run));
	strlcpy(file.next, new_token(), sizeof(file.next));

	pay_arg_text(&args, pay_cluster_system());
	pay_arg_int32(&args, (int32) GetWALInsertionTimeLine());
	pay_arg_int64(&args, (int64) MyDatabaseId);
	pay_arg_text(&args, pay_cluster_host());
	pay_arg_time(&args, arming_time());
	pay_arg_text(&args, pay_caller_name());
	pay_arg_text(&args, file.next);
	pay_guard_exec(&write_row, &args);
	renewal.written_in = U64FromFullTransactionId(GetTopFullTransactionId());
	problem = pay_arming_file_write(&file);
	if (problem)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ARMED),
				 errmsg("cannot arm this server: %s", problem),
				 errhint("Its file lies beside that of payments.secrets_file, in a folder that the server's user may write to; payments.arming_file names another place.")));
}

/* The row's, as it is if this transaction rolls back; NULL: none that counts. */
static const char *
token_before(const PayArming *arming)
{
	if (disarmed.by != 0 && disarmed.by == U64FromFullTransactionId(GetTopFullTransactionIdIfAny()))
		return disarmed.token;
	return arming->token;
}

/* The clock may be behind that of the server which was armed before. */
static TimestampTz
arming_time(void)
{
	TimestampTz now = GetCurrentTimestamp();

	pay_spi_exec(&find_newest, NULL);
	return pay_spi_isnull(0, 1) ? now : Max(now, pay_spi_time(0, 1));
}

/* With another salt the same call would be another one to the PSP. */
static void
require_own_salt(void)
{
	PayInstallation installation = pay_installation();
	const char *tag = installation.tag;

	if (pay_spi_exec(&find_reference, NULL) == 0 || strncmp(pay_spi_text(0, 1), tag, strlen(tag)) == 0)
		return;
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ARMED),
			 errmsg("cannot arm this database: its operations were made with another salt"),
			 errhint("A restore has left out payments.installation_salt, and what a client repeats would be charged again.  Restore it from the dump first.")));
}

/*
 * A copy that is armed while the other one runs would be what all this is
 * against.  One whose worker does not run loses its arming to us: it has the
 * token of a file that we write anew.
 */
static void
lock_or_refuse(const PayArmingFile *file)
{
	bool		here = strcmp(file->place, pay_cluster_place()) == 0;
	const char *database;

	/* What cannot be opened is told of when it is written. */
	if (pay_arming_file_lock() || !pay_arming_file_held())
		return;
	database = here ? get_database_name(atooid(file->database)) : NULL;
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ARMED),
			 errmsg("cannot arm this database: another one is armed that is the same installation, and its worker runs"),
			 database ? errdetail("It is the database \"%s\" of this server.", database) :
			 errdetail("It is in the server that was started from \"%s\".", file->place),
			 errhint("One of the two is a copy, and would give the PSP the same keys for other payments.  Run SELECT payments.disarm() there, or stop that server; then arm this one.  What is to sell on its own begins in an empty database.")));
}

PAY_VERB(pay_disarm)
{
	PayArgs		args = {0};
	PayArming	arming;

	pay_cluster_require_primary(PAY_ERR_NOT_ARMED);
	pay_spi_begin();
	/* That of a copy is not ours to take away. */
	if (read_arming(&arming, &lock_row) == NULL)
	{
		pay_arming_file_remove_at_commit();
		if (!written_just_now())
		{
			strlcpy(disarmed.token, arming.token, sizeof(disarmed.token));
			disarmed.by = U64FromFullTransactionId(GetTopFullTransactionId());
		}
	}
	for (int i = 0; i < 7; i++)
		pay_arg_null(&args);
	pay_guard_exec(&write_row, &args);
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* _unarmed_reason() */
PAY_VERB(pay_unarmed_reason_sql)
{
	const char *reason;

	pay_spi_begin();
	reason = pay_unarmed_reason();
	pay_spi_end();
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
