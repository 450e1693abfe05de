/*
 * src/core/guc.c
 *		All settings, sorted by name; docs/settings.md explains them.
 *
 * Always true: a value that is set has passed its check, so readers need none.
 * No setting holds a secret, only the path of the file that does.  All are
 * read from the configuration file alone (PGC_SIGHUP): the worker and every
 * session then act on the same values.
 */
#include "payments.h"

#include "core/guc.h"

#include "base/address.h"

#include "utils/guc.h"
#include "utils/varlena.h"

/* May the worker speak plain http, to loopback addresses only?  Also lets https reach them. */
bool		pay_allow_http = false;

/* Networks in CIDR notation that are not public and may be reached all the same. */
char	   *pay_allow_networks = NULL;

/* Beginning of the path of the files that arm() writes, outside the data directory; "" is that of the secrets. */
char	   *pay_arming_file = NULL;

/* Operations claimed, or completed, in one transaction. */
int			pay_batch_size = 500;

/* CA bundle for https, instead of the system's; "" is the system's. */
char	   *pay_ca_file = NULL;

/* How long to wait for name lookup, connection and TLS handshake together. */
int			pay_connect_timeout_ms = 5 * 1000;

/* Databases that the preloaded worker serves, comma-separated; "" is none. */
char	   *pay_databases = NULL;

/* Refuses what would take the guards away; only a superuser, who can do without it, switches it off. */
bool		pay_guard_ddl = true;

/* HTTP requests that one worker keeps in flight. */
int			pay_inflight_max = 2000;

/* How long a claimed operation is the worker's; later its outcome is unknown. */
int			pay_lease_ms = 5 * 60 * 1000;

/* Longest sleep when nothing is due: the net below lost wake-ups. */
int			pay_poll_interval_ms = 10 * 1000;

/* Hosts, besides those that adapters know, to which secrets may be sent; "" is none. */
char	   *pay_psp_hosts = NULL;

/* File outside the data directory to which the heads of sealed blocks are written; "" is none. */
char	   *pay_seal_file = NULL;

/* How old the newest block gets before the worker seals again; 0: it does not seal. */
int			pay_seal_interval_ms = 60 * 1000;

/* File outside the data directory that holds the secrets; "" is none. */
char	   *pay_secrets_file = NULL;

static void define_booleans_and_numbers(void);
static void define_strings(void);
static bool check_allow_networks(char **newval, void **extra, GucSource source);
static bool check_databases(char **newval, void **extra, GucSource source);
static bool check_psp_hosts(char **newval, void **extra, GucSource source);

void
pay_guc_init(void)
{
	define_booleans_and_numbers();
	define_strings();
	MarkGUCPrefixReserved("payments");
}

static void
define_booleans_and_numbers(void)
{
	DefineCustomBoolVariable("payments.allow_http",
							 "Allows plain http, to loopback addresses only.",
							 "For tests and demonstrations.",
							 &pay_allow_http,
							 false,
							 PGC_SIGHUP,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("payments.batch_size",
							"Sets how many operations are claimed or completed in one transaction.",
							NULL,
							&pay_batch_size,
							500, 1, 5000,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("payments.connect_timeout",
							"Sets the time allowed for connecting to a PSP.",
							"Covers name lookup, connection and TLS handshake.",
							&pay_connect_timeout_ms,
							5 * 1000, 100, 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("payments.guard_ddl",
							 "Refuses what would take away the guards of payments.",
							 "Off for a session that drops the extension to make it again.",
							 &pay_guard_ddl,
							 true,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("payments.inflight_max",
							"Sets how many HTTP requests a worker keeps in flight.",
							"Read when the worker starts.  The limit on open files may lower it.",
							&pay_inflight_max,
							2000, 1, 10000,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("payments.lease",
							"Sets how long a claimed operation belongs to the worker that claimed it.",
							"The outcome of an operation whose lease ran out counts as unknown.",
							&pay_lease_ms,
							5 * 60 * 1000, 1000, 24 * 60 * 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("payments.poll_interval",
							"Sets the longest time the worker sleeps when nothing is due.",
							"Commits wake it at once; this finds what a commit could not announce.",
							&pay_poll_interval_ms,
							10 * 1000, 100, 60 * 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("payments.seal_interval",
							"Sets how often the worker seals what was written.",
							"A change of older rows shows; 0 turns sealing off.",
							&pay_seal_interval_ms,
							60 * 1000, 0, 24 * 60 * 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

static void
define_strings(void)
{
	DefineCustomStringVariable("payments.allow_networks",
							   "Lists networks that are not public and may be reached all the same.",
							   "Comma-separated, in CIDR notation, such as \"10.1.0.0/16, fd00::/8\".",
							   &pay_allow_networks,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   check_allow_networks, NULL, NULL);

	DefineCustomStringVariable("payments.arming_file",
							   "Names the files that hold the arming's half outside of the database.",
							   "An absolute path outside the data directory, to which system identifier and database are added; empty means payments.secrets_file with .armed.",
							   &pay_arming_file,
							   "",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("payments.ca_file",
							   "Names the file of certificate authorities trusted for https.",
							   "Only these are trusted then; empty means the system's.",
							   &pay_ca_file,
							   "",
							   PGC_SIGHUP,
							   0,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("payments.databases",
							   "Lists the databases that the preloaded worker serves.",
							   "Comma-separated; empty means none.",
							   &pay_databases,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   check_databases, NULL, NULL);

	DefineCustomStringVariable("payments.psp_hosts",
							   "Lists hosts to which secrets may be sent.",
							   "Comma-separated, as they stand in a base_url, without port; a PSP's own host that its adapter knows needs no entry.",
							   &pay_psp_hosts,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   check_psp_hosts, NULL, NULL);

	DefineCustomStringVariable("payments.seal_file",
							   "Names the file to which the worker appends the heads of sealed blocks.",
							   "An absolute path outside the data directory; empty means none.",
							   &pay_seal_file,
							   "",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);

	/* Judged when it is read, not here: a file that is missing at start-up must not keep the setting from being set. */
	DefineCustomStringVariable("payments.secrets_file",
							   "Names the file that holds the secrets.",
							   "An absolute path outside the data directory, owned by the server's user, mode 0600, with lines \"name = value\".",
							   &pay_secrets_file,
							   "",
							   PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
}

static bool
check_allow_networks(char **newval, void **extra, GucSource source)
{
	PayNetworks networks;

	if (*newval == NULL || pay_networks_parse(*newval, &networks))
		return true;
	GUC_check_errdetail("Expected at most %d networks in CIDR notation, comma-separated, without bits set behind the prefix.",
						PAY_NETWORKS_MAX);
	return false;
}

/* A list that nobody can read would stop every worker; refused, what was set before stays. */
static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *list;
	List	   *names = NIL;
	bool		good;

	if (*newval == NULL)
		return true;
	list = pstrdup(*newval);
	good = SplitIdentifierString(list, ',', &names);
	list_free(names);
	pfree(list);
	if (!good)
		GUC_check_errdetail("Expected names of databases with commas between, those in double quotes that are not lower-case words.");
	return good;
}

static bool
check_psp_hosts(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL || pay_hosts_check(*newval))
		return true;
	GUC_check_errdetail("Expected names or addresses of hosts, comma-separated, without scheme, port and path.");
	return false;
}
