/*
 * src/payment/create_psp.c
 *		create_psp(): a PSP's row, and a row for each feed of its adapter.
 *
 * The row holds no secret, only the name of an entry of the secrets file; what
 * looks like the secret itself is refused, and not shown.
 */
#include "payments.h"

#include "payment/create_psp.h"

#include "base/address.h"
#include "base/json.h"
#include "core/arguments.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/wake.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

static bool is_name(const char *text, const char *others);
static void check_base_url(const char *url);
static void check_config(Jsonb *config);

PAY_FUNCTION(pay_create_psp);

static PayStmt upsert_psp = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.psp AS p (psp, adapter, base_url, secret, config) VALUES ($1, $2, $3, $4, coalesce($5, '{}')) "
	"ON CONFLICT (psp) DO UPDATE SET base_url = excluded.base_url, secret = excluded.secret, config = excluded.config "
	"WHERE p.adapter = excluded.adapter", TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID);
/* Attempts count from the time on: a PSP that is made again must not take an answer to the former one's. */
static PayStmt insert_feed = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.psp_feed (psp, feed, watermark, due_at, attempt) SELECT s.psp, $2, date_trunc('second', s.created_at), "
	"clock_timestamp(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint "
	"FROM payments.psp s WHERE s.psp = $1 ON CONFLICT DO NOTHING", TEXTOID, TEXTOID);

/* create_psp(psp, adapter, base_url, secret, config): again with the same adapter, it replaces the configuration. */
Datum
pay_create_psp(PG_FUNCTION_ARGS)
{
	char	   *psp,
			   *adapter_name,
			   *base_url = pay_text_argument(fcinfo, 2),
			   *secret = pay_text_argument(fcinfo, 3);
	const PayAdapter *adapter;
	PayArgs		args = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp and adapter must not be null"),
				 errhint("For example create_psp(psp => 'stripe', adapter => 'stripe', secret => 'stripe').")));
	psp = text_to_cstring(PG_GETARG_TEXT_PP(0));
	adapter_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	adapter = pay_psp_adapter(adapter_name);
	if (adapter == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_ADAPTER_UNKNOWN),
				 errmsg("adapter \"%s\" does not exist", adapter_name),
				 errhint("Built in are %s.", pay_psp_adapter_names())));
	if (!is_name(psp, "_"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp is not a simple name"),
				 errhint("Use up to 63 lower-case letters, digits and \"_\", beginning with a letter.")));
	if (base_url)
		check_base_url(base_url);
	/* Here and not by the table's CHECK, whose message would show the row: it may be the secret itself. */
	if (secret && !is_name(asc_tolower(secret, strlen(secret)), "_.-"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret must be the name of an entry of the secrets file"),
				 errhint("Use up to 63 letters, digits, \"_\", \".\" and \"-\", beginning with a letter."),
				 errhidestmt(true)));
	if (secret && pay_psp_is_secret(secret))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret must be the name of an entry, not the secret itself"),
				 errhint("Put \"name = value\" into the file that payments.secrets_file names, and revoke the secret that you have just typed."),
				 errhidestmt(true)));
	if (base_url == NULL && adapter->default_base_url == NULL && !adapter->in_process)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("adapter \"%s\" does not know where its PSP is", adapter_name),
				 errhint("Pass base_url => 'https://...', as the PSP's documentation of its API says.")));
	if (!PG_ARGISNULL(4))
		check_config(PG_GETARG_JSONB_P(4));

	pay_spi_begin();
	pay_arg_text(&args, psp);
	pay_arg_text(&args, adapter_name);
	pay_arg_text(&args, base_url);
	pay_arg_text(&args, secret);
	pay_arg_datum(&args, PG_ARGISNULL(4) ? (Datum) 0 : PG_GETARG_DATUM(4), PG_ARGISNULL(4));
	if (pay_spi_exec(&upsert_psp, &args) != 1)
		ereport(ERROR,
				(errcode(PAY_ERR_EXISTS_DIFFERENT),
				 errmsg("PSP \"%s\" exists with another adapter", psp),
				 errhint("Choose another name; payments remember theirs.")));
	pay_psp_create_feeds(psp, adapter);
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* A letter, then letters, digits and the others given; lower case, 63 at most. */
static bool
is_name(const char *text, const char *others)
{
	size_t		n = strlen(text);

	if (n == 0 || n >= NAMEDATALEN || text[0] < 'a' || text[0] > 'z')
		return false;
	for (size_t i = 1; i < n; i++)
		if (!(text[i] >= 'a' && text[i] <= 'z') && !(text[i] >= '0' && text[i] <= '9') && strchr(others, text[i]) == NULL)
			return false;
	return true;
}

static void
check_base_url(const char *url)
{
	PayNetworks networks;

	if (!pay_networks_parse(pay_allow_networks ? pay_allow_networks : "", &networks))
		networks.n = 0;
	switch (pay_url_check(url, pay_allow_http, &networks))
	{
		case PAY_URL_OK:
			return;
		case PAY_URL_MALFORMED:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("base_url is malformed"),
					 errhint("Write https://host[:port], without credentials, query or fragment."),
					 errhidestmt(true)));
			break;
		case PAY_URL_SCHEME:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("base_url is not https"),
					 errhint("PSPs are reached by https only.")));
			break;
		case PAY_URL_PLAIN_HTTP:
			ereport(ERROR,
					(errcode(PAY_ERR_PLAIN_HTTP),
					 errmsg("plain http is not allowed"),
					 errhint("For tests, set payments.allow_http and use a loopback address.")));
			break;
		case PAY_URL_ADDRESS:
			ereport(ERROR,
					(errcode(PAY_ERR_ADDRESS_REFUSED),
					 errmsg("base_url names an address that is not public"),
					 errhint("If that is meant, add its network to payments.allow_networks.")));
	}
}

/* config.feeds: how the worker reads the PSP's lists.  A word that nobody knows would be a setting that silently does nothing. */
static void
check_config(Jsonb *config)
{
	static const struct
	{
		const char *path;
		int64		min;
		int64		max;
	}			settings[] = {
		{"feeds.interval_s", 1, 86400},
		{"feeds.lag_s", 0, 3600},
		{"feeds.overlap_s", 0, 604800},
		{"feeds.window_s", 60, 2678400},
	};
	int			known = 0;

	if (!JB_ROOT_IS_OBJECT(config))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("config is not a JSON object"),
				 errhint("Write for example '{\"feeds\": {\"interval_s\": 60}}'; docs/feeds.md lists the keys.")));
	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		int64		value;

		if (!pay_json_exists(config, settings[i].path))
			continue;
		known++;
		if (!pay_json_int64(config, settings[i].path, &value) || value < settings[i].min || value > settings[i].max)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("config: %s must be a whole number of " INT64_FORMAT " to " INT64_FORMAT " seconds",
							settings[i].path, settings[i].min, settings[i].max),
					 errhint("docs/feeds.md says what it means.")));
	}
	if (pay_json_exists(config, "feeds") && (!pay_json_is_object(config, "feeds") || pay_json_members(config, "feeds") != known))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("config: feeds has a key that is not known"),
				 errhint("Known are interval_s, lag_s, overlap_s and window_s; enable_feed() switches a feed on and off.")));
}

void
pay_psp_create_feeds(const char *psp, const PayAdapter *adapter)
{
	/* The library may have no such adapter any more. */
	for (int i = 0; adapter && i < adapter->n_feeds; i++)
	{
		PayArgs		args = {0};

		pay_arg_text(&args, psp);
		pay_arg_text(&args, adapter->feeds[i].name);
		pay_spi_exec(&insert_feed, &args);
	}
}
