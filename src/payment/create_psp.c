/*
 * src/payment/create_psp.c
 *		create_psp(): a PSP's row, and a row for each feed of its adapter.
 *
 * Where requests go, and with which secret, decides whose account it is.  What
 * the PSP may have performed is found out by asking there, so neither changes
 * while anything of that kind is open, whoever writes the row (guard_psp), but
 * by force.  Who claims locks the row (FOR SHARE) and reads both under the lock:
 * so nothing is sent to the former address that this did not count.  What the
 * secret's value is of, the PSP tells the worker, see pay_psp_note_account().
 *
 * The row holds no secret, only the name of an entry of the secrets file; what
 * looks like the secret itself is refused, wherever it stands, and not shown.
 */
#include "payments.h"

#include "payment/create_psp.h"

#include "base/address.h"
#include "base/json.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/adapter.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

static void refuse_secrets(FunctionCallInfo fcinfo);
static void refuse_secret(const char *text, const char *name);
static bool is_name(const char *text, const char *others);
static void check_base_url(const char *url);
static void check_config(Jsonb *config, const PayAdapter *adapter);
static void check_secret(const PayAdapter *adapter, const char *secret, const char *base_url);
static bool upsert(const char *psp, const PayAdapter *adapter, const char *base_url, const char *secret, NullableDatum config, bool force);
static void lock_adapter(const PayAdapter *adapter);
static void let_go(const char *psp);
static bool moves(const TriggerData *trigger);
static bool differ(const char *a, const char *b, const char *absent);
static const char *of_adapter(const char *config);
static const char *column(const HeapTuple tuple, TupleDesc desc, const char *name);
static const char *account_text(const PayAccount *account);
static const char *adapter_keys(const PayAdapter *adapter);

/* Of a config, what does not reach the adapter. */
static const char *const ours[] = {"feeds", "merchant"};

/* The change that is being made was asked for by force. */
static bool forced = false;

PAY_FUNCTION(pay_create_psp);
PAY_FUNCTION(pay_guard_psp);
PAY_FUNCTION(pay_require_psp_idle);

/* What is left out stays; an empty config cannot be told from one that is left out. */
static PayStmt upsert_psp = PAY_STMT(SPI_OK_INSERT_RETURNING,
	"INSERT INTO payments.psp AS p (psp, adapter, base_url, secret, config) VALUES ($1, $2, $3, $4, coalesce($5, '{}')) "
	"ON CONFLICT (psp) DO UPDATE SET base_url = coalesce(excluded.base_url, p.base_url), secret = coalesce(excluded.secret, p.secret), "
	" config = CASE WHEN excluded.config = '{}' THEN p.config ELSE excluded.config END, "
	" account_id = CASE WHEN NOT $6 THEN p.account_id END, account_mode = CASE WHEN NOT $6 THEN p.account_mode END "
	"WHERE p.adapter = excluded.adapter RETURNING base_url, secret", TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, BOOLOID);
/* An operation that was never sent is nowhere; what follows a payment goes where that is. */
static PayStmt count_open = PAY_STMT(SPI_OK_SELECT,
	"SELECT count(*) FROM ("
	" SELECT q.operation_id, q.action = 'inquire' AS asked FROM payments.queue q WHERE q.psp = $1 "
	" UNION ALL SELECT d.operation_id, true FROM payments.dead_letter d WHERE d.psp = $1 AND d.decision IS NULL) w "
	"JOIN payments.operation o ON o.operation_id = w.operation_id "
	"WHERE o.completed_at IS NULL AND (w.asked OR o.key_used_at IS NOT NULL OR o.step > 1 OR o.kind NOT IN ('charge', 'authorize'))", TEXTOID);
static PayStmt count_waiting = PAY_STMT(SPI_OK_SELECT,
	"SELECT (SELECT count(*) FROM payments.queue WHERE psp = $1) + (SELECT count(*) FROM payments.dead_letter WHERE psp = $1 AND decision IS NULL)",
	TEXTOID);
static PayStmt keep_adapter = PAY_STMT(SPI_OK_SELECT, "SELECT FROM payments.adapter WHERE adapter = $1 FOR KEY SHARE", TEXTOID);
static PayStmt lock_account = PAY_STMT(SPI_OK_SELECT,
	"SELECT account_id, account_mode FROM payments.psp WHERE psp = $1 AND adapter = $2 FOR NO KEY UPDATE", TEXTOID, TEXTOID);
static PayStmt keep_account = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp SET account_id = coalesce(account_id, $2), account_mode = coalesce(account_mode, $3) WHERE psp = $1",
	TEXTOID, TEXTOID, TEXTOID);
static PayStmt halt_psp = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.psp SET halted_at = clock_timestamp(), halted_reason = $2 WHERE psp = $1 AND halted_at IS NULL", TEXTOID, TEXTOID);
/* Attempts count from the time on: a PSP that is made again must not take an answer to the former one's. */
static PayStmt insert_feed = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.psp_feed (psp, feed, watermark, due_at, attempt) SELECT s.psp, $2, date_trunc('second', s.created_at), "
	"clock_timestamp(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint "
	"FROM payments.psp s WHERE s.psp = $1 ON CONFLICT DO NOTHING", TEXTOID, TEXTOID);
/* One with entries that wait is for a person to look at: check() says so. */
static PayStmt delete_feeds = PAY_STMT(SPI_OK_DELETE,
	"DELETE FROM payments.psp_feed f WHERE f.psp = $1 "
	"AND NOT EXISTS (SELECT FROM payments.feed_entry e WHERE e.psp = f.psp AND e.feed = f.feed)", TEXTOID);

/* create_psp(psp, adapter, base_url, secret, config, force): again with the same adapter, it changes what it is given. */
PAY_VERB_UNSEEN(pay_create_psp)
{
	char	   *psp,
			   *adapter_name,
			   *base_url = pay_text_argument(fcinfo, 2),
			   *secret = pay_text_argument(fcinfo, 3);
	const PayAdapter *adapter;
	bool		has_secret;

	pay_refuse_card_arguments(fcinfo);
	refuse_secrets(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp and adapter must not be null"),
				 errhint("For example create_psp(psp => 'stripe', adapter => 'stripe', secret => 'stripe').")));
	psp = text_to_cstring(PG_GETARG_TEXT_PP(0));
	adapter_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	adapter = pay_adapter_find(adapter_name);
	if (adapter == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_ADAPTER_UNKNOWN),
				 is_name(adapter_name, "_") ? errmsg("adapter \"%s\" does not exist", adapter_name) : errmsg("adapter does not exist"),
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
				 errhint("Use up to 63 letters, digits, \"_\", \".\" and \"-\", beginning with a letter.")));
	if (!PG_ARGISNULL(4))
		check_config(PG_GETARG_JSONB_P(4), adapter);

	pay_spi_begin();
	if (pay_adapter_is_functions(adapter))
		lock_adapter(adapter);
	has_secret = upsert(psp, adapter, base_url, secret, fcinfo->args[4], !PG_ARGISNULL(5) && PG_GETARG_BOOL(5));
	pay_psp_create_feeds(psp, adapter);
	pay_spi_end();
	if (!has_secret && !adapter->in_process)
		ereport(NOTICE,
				(errmsg("PSP \"%s\" has no secret, so nothing is sent to it", psp),
				 errhint("Put \"name = value\" into the file that payments.secrets_file names, and create it once more with secret => 'name'.")));
	ForceSyncCommit();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* A key that somebody has put into the wrong place, or where its name belongs. */
static void
refuse_secrets(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"psp", "adapter", "base_url", "secret"};

	for (int i = 0; i < (int) lengthof(names); i++)
		refuse_secret(pay_text_argument(fcinfo, i), names[i]);
	if (!PG_ARGISNULL(4))
		refuse_secret(JsonbToCString(NULL, &PG_GETARG_JSONB_P(4)->root, VARSIZE(PG_GETARG_JSONB_P(4))), "config");
}

static void
refuse_secret(const char *text, const char *name)
{
	char	   *masked = text ? pstrdup(text) : NULL;

	if (masked)
		pay_psp_mask_secrets(masked);
	if (masked && strcmp(masked, text) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 strcmp(name, "secret") == 0 ? errmsg("secret must be the name of an entry, not the secret itself") :
				 errmsg("%s must not hold a secret", name),
				 errhint("Put \"name = value\" into the file that payments.secrets_file names, and revoke the secret that you have just typed.")));
}

/* Until we commit it is not dropped. */
static void
lock_adapter(const PayAdapter *adapter)
{
	PayArgs		args = {0};

	pay_arg_text(&args, adapter->name);
	if (pay_spi_exec(&keep_adapter, &args) != 1)
		ereport(ERROR,
				(errcode(PAY_ERR_ADAPTER_UNKNOWN),
				 errmsg("adapter \"%s\" does not exist any more", adapter->name),
				 errhint("Make it again with payments.create_adapter().")));
}

/* Whether it has a secret now, given or kept. */
static bool
upsert(const char *psp, const PayAdapter *adapter, const char *base_url, const char *secret, NullableDatum config, bool force)
{
	PayArgs		args = {0};
	uint64		rows;

	pay_arg_text(&args, psp);
	pay_arg_text(&args, adapter->name);
	pay_arg_text(&args, base_url);
	pay_arg_text(&args, secret);
	pay_arg_datum(&args, config.value, config.isnull);
	pay_arg_bool(&args, force);
	forced = force;
	PG_TRY();
	{
		rows = pay_spi_exec(&upsert_psp, &args);
	}
	PG_FINALLY();
	{
		forced = false;
	}
	PG_END_TRY();
	if (rows != 1)
		ereport(ERROR,
				(errcode(PAY_ERR_EXISTS_DIFFERENT),
				 errmsg("PSP \"%s\" exists with another adapter", psp),
				 errhint("Choose another name; payments remember theirs.")));
	/* As they are now, given or not. */
	base_url = pay_spi_isnull(0, 1) ? adapter->default_base_url : pay_spi_text(0, 1);
	secret = pay_spi_text(0, 2);
	if (base_url == NULL && !adapter->in_process)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("adapter \"%s\" does not know where its PSP is", adapter->name),
				 errhint("Pass base_url => 'https://...', as the PSP's documentation of its API says.")));
	if (secret && !adapter->in_process)
		check_secret(adapter, secret, base_url);
	return secret != NULL;
}

/* The worker asks again before it sends: the setting may have changed. */
static void
check_secret(const PayAdapter *adapter, const char *secret, const char *base_url)
{
	const char *refusal = pay_psp_secret_refusal(adapter, secret, base_url, pay_psp_hosts ? pay_psp_hosts : "", pay_allow_http);

	if (refusal)
		ereport(ERROR,
				(errcode(PAY_ERR_ADDRESS_REFUSED),
				 errmsg("%s", refusal),
				 errhint(PAY_PSP_SECRET_HINT),
				 errhidestmt(true)));
}

/* ---------- whose account it is ---------- */

/* guard_psp(): BEFORE UPDATE OR DELETE ON payments.psp FOR EACH ROW, which holds the row's lock by then. */
Datum
pay_guard_psp(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_row_trigger(fcinfo, true);

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		if (!IsLogicalWorker())
			let_go(column(trigger->tg_trigtuple, trigger->tg_relation->rd_att, "psp"));
		return PointerGetDatum(trigger->tg_trigtuple);
	}
	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return PointerGetDatum(trigger->tg_trigtuple);
	/* A subscriber gets what was decided where it was published. */
	if (!forced && !IsLogicalWorker() && moves(trigger))
	{
		pay_spi_begin();
		pay_psp_require_idle(column(trigger->tg_trigtuple, trigger->tg_relation->rd_att, "psp"));
		pay_spi_end();
	}
	return PointerGetDatum(trigger->tg_newtuple);
}

/* Without its row nothing that is open there would ever go on, and nobody would be told.  Its feeds go with it. */
static void
let_go(const char *psp)
{
	PayArgs		args = {0};
	int64		open;

	pay_spi_begin();
	pay_arg_text(&args, psp);
	pay_spi_exec(&count_waiting, &args);
	open = pay_spi_int64(0, 1);
	if (open == 0)
		pay_spi_exec(&delete_feeds, &args);
	pay_spi_end();
	if (open > 0)
		ereport(ERROR,
				(errcode(PAY_ERR_PSP_IN_USE),
				 errmsg("PSP \"%s\" has " INT64_FORMAT " open %s", psp, open, open == 1 ? "operation" : "operations"),
				 errdetail("Without its row they would never go on."),
				 errhint("Wait until they are over, or decide about their dead letters: SELECT * FROM payments.operation WHERE psp = %s AND completed_at IS NULL lists them.",
						 quote_literal_cstr(psp))));
}

/* Does it change where requests go, or for whom? */
static bool
moves(const TriggerData *trigger)
{
	TupleDesc	desc = trigger->tg_relation->rd_att;
	HeapTuple	old = trigger->tg_trigtuple,
				new = trigger->tg_newtuple;
	const char *name = column(old, desc, "adapter");
	const PayAdapter *adapter = name ? pay_adapter_find(name) : NULL;
	const char *usual = adapter && adapter->default_base_url ? adapter->default_base_url : "";

	return differ(column(old, desc, "adapter"), column(new, desc, "adapter"), "") ||
		differ(column(old, desc, "base_url"), column(new, desc, "base_url"), usual) ||
		differ(column(old, desc, "secret"), column(new, desc, "secret"), "") ||
		differ(of_adapter(column(old, desc, "config")), of_adapter(column(new, desc, "config")), "");
}

static bool
differ(const char *a, const char *b, const char *absent)
{
	return strcmp(a ? a : absent, b ? b : absent) != 0;
}

/* Of a config, what is not ours: it may name the account. */
static const char *
of_adapter(const char *config)
{
	Datum		json;

	/* No CHECK has seen it yet. */
	if (config == NULL || config[0] != '{')
		return config;
	json = DirectFunctionCall1(jsonb_in, CStringGetDatum(config));
	for (size_t i = 0; i < lengthof(ours); i++)
		json = DirectFunctionCall2(jsonb_delete, json, CStringGetTextDatum(ours[i]));
	return DatumGetCString(DirectFunctionCall1(jsonb_out, json));
}

/* NULL for SQL NULL. */
static const char *
column(const HeapTuple tuple, TupleDesc desc, const char *name)
{
	int			n = SPI_fnumber(desc, name);

	if (n <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_psp() is for the table payments.psp alone"),
				 errhint("Run SELECT payments.setup(); it attaches the triggers.")));
	return SPI_getvalue(tuple, desc, n);
}

void
pay_psp_require_idle(const char *psp)
{
	PayArgs		args = {0};
	int64		open;

	/* Its snapshot may be older than a claim that has let go of the row since. */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the account of a PSP must be changed in a READ COMMITTED transaction"),
				 errhint("BEGIN ISOLATION LEVEL READ COMMITTED;")));
	pay_arg_text(&args, psp);
	pay_spi_exec(&count_open, &args);
	open = pay_spi_int64(0, 1);
	if (open > 0)
		ereport(ERROR,
				(errcode(PAY_ERR_PSP_IN_USE),
				 errmsg("PSP \"%s\" has " INT64_FORMAT " open %s that it may have performed", psp, open, open == 1 ? "operation" : "operations"),
				 errdetail("What became of them can be found out only where they were sent, in the account of then."),
				 errhint("Wait until they are over, or decide about their dead letters: SELECT * FROM payments.operation WHERE psp = %s AND completed_at IS NULL lists them. "
						 "Or make another PSP. If it is the same account, call create_psp() or accept_psp_account() with force => true.",
						 quote_literal_cstr(psp))));
}

/* _require_psp_idle(psp): with the row locked. */
Datum
pay_require_psp_idle(PG_FUNCTION_ARGS)
{
	pay_spi_begin();
	pay_psp_require_idle(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	pay_spi_end();
	PG_RETURN_VOID();
}

bool
pay_psp_note_account(const char *psp, const PayAdapter *adapter, const PayAccount *told)
{
	PayArgs		key = {0};
	PayArgs		args = {0};
	PayAccount	kept;

	pay_arg_text(&key, psp);
	pay_arg_text(&key, adapter->name);
	if (pay_spi_exec(&lock_account, &key) == 0)
		return false;
	kept = (PayAccount) {pay_spi_text(0, 1), pay_spi_text(0, 2)};
	pay_arg_text(&args, psp);
	if (pay_account_differs(&kept, told))
	{
		pay_arg_text(&args, psprintf("account_changed: it was %s, and is %s", account_text(&kept), account_text(told)));
		pay_spi_exec(&halt_psp, &args);
		return false;
	}
	if ((kept.id || !told->id) && (kept.mode || !told->mode))
		return true;
	pay_arg_text(&args, told->id);
	pay_arg_text(&args, told->mode);
	pay_spi_exec(&keep_account, &args);
	return true;
}

static const char *
account_text(const PayAccount *account)
{
	return psprintf("%s%s%s", account->id ? account->id : "unknown", account->mode ? ", " : "", account->mode ? account->mode : "");
}

/* ---------- what it is given ---------- */

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

	/* What cannot be parsed does not get past the setting's check; it would allow nothing. */
	(void) pay_networks_parse(pay_allow_networks ? pay_allow_networks : "", &networks);
	switch (pay_url_check(url, pay_allow_http, &networks))
	{
		case PAY_URL_OK:
			return;
		case PAY_URL_MALFORMED:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("base_url is malformed"),
					 errhint("Write https://host[:port], without credentials, query or fragment.")));
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

/*
 * config.feeds: how the worker reads the PSP's lists; config.merchant: whose
 * money it is where no payment says so; the rest is the adapter's.  A word that
 * nobody knows would be a setting that silently does nothing.
 */
static void
check_config(Jsonb *config, const PayAdapter *adapter)
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
	int			known_at_top = 0;

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
	for (size_t i = 0; i < lengthof(ours); i++)
		known_at_top += pay_json_exists(config, ours[i]);
	for (const char *const *key = adapter->config_keys; key && *key; key++)
		known_at_top += pay_json_exists(config, *key);
	if ((int) JB_ROOT_COUNT(config) != known_at_top)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("config has a key that is not known"),
				 errhint("Known are feeds, merchant%s.", adapter_keys(adapter))));
}

static const char *
adapter_keys(const PayAdapter *adapter)
{
	StringInfoData keys;

	initStringInfo(&keys);
	for (const char *const *key = adapter->config_keys; key && *key; key++)
		appendStringInfo(&keys, ", %s", *key);
	return keys.data;
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
