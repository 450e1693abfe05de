/*
 * src/worker/upstream.c
 *		A PSP as the worker sees it.
 *
 * What is always true: an upstream that is usable is not halted, its adapter is
 * here, and unless it answers in process this cluster is armed, its secret at
 * hand and its address one that we allow.  Why one is not, all of it, is said in
 * the log, once, and in psp_health where nobody else could tell.  One has a token cache
 * just when its adapter asks for tokens, and its adapter never changes.
 *
 * One that has no row any more is kept until its last request has ended, and
 * is forgotten then.
 */
#include "payments.h"

#include "worker/upstream.h"
#include "worker/upstream_private.h"

#include "core/arming.h"
#include "core/guc.h"
#include "core/secrets.h"
#include "core/spi.h"
#include "http/http.h"
#include "payment/adapter.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include <time.h>

#define SECRET_MAX_AGE_MS 5000
#define BREAKER_LOSSES 3
#define BREAKER_MS_MIN 250
#define BREAKER_MS_MAX 60000
/* Of one that a person has paused, what may be asked for lies behind all that waits: it is looked for no more often than this. */
#define PAUSED_LOOK_MS 1000
#define LEASE_SPARE_MS (60 * 1000)
/* With others beside it, a PSP may have so many calls in flight for each slot that is free. */
#define SHARE 3
/* Of all slots one in so many is kept for PSPs that answer; half of these, one each, for those that have not been called yet. */
#define KEPT_PART 4
/* Who has calls in flight and has answered none for this long gets one more in as long. */
#define SILENT_MS 2000

/* By name and adapter, process-local.  An entry never moves. */
static HTAB *upstreams = NULL;

#define KEY_BYTES (offsetof(PayUpstream, adapter) + sizeof(const PayAdapter *))

/* Those that have a row. */
static PayUpstream **in_turn = NULL;
static int	in_turn_size = 0;
static int	upstream_count = 0;

/* All that keeps a PSP from being called; `why` NULL: nothing does. */
typedef struct PayObstacle
{
	const char *why;
	const char *ours;			/* of it, what nobody else can tell: the rest is in a table, or worker_status asks for itself */
	const char *hint;			/* to the first of it */
} PayObstacle;

static void make_room(int n);
static PayUpstream *read_upstream(uint64 row, const char *unarmed);
static PayUpstream *find_or_add(const char *psp, const PayAdapter *adapter);
static PayUpstream key_of(const char *psp, const PayAdapter *adapter);
static void forget(PayUpstream *upstream);
static PayObstacle find_obstacle(PayUpstream *upstream, const char *unarmed, const char *halted, const char *secret_name);
static void add_obstacle(PayObstacle *obstacle, const char *why, const char *hint, bool known);
static const char *read_secret(PayUpstream *upstream, const char *secret_name, PaySteady now);
static void forget_told(PayUpstream *upstream);
static void forget_account(PayUpstream *upstream);
static void drop_secret(PayUpstream *upstream);
static void note_obstacle(PayUpstream *upstream, const PayObstacle *obstacle);
static int	trusted_room(const PayUpstream *upstream, int free_slots, int slots, PaySteady now, PaySteady *again);
static void open_breaker(PayUpstream *upstream, PaySteady now);
static void keep(char **kept, const char *text);

static PayStmt read_psps = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT s.psp, s.adapter, s.base_url, s.secret, s.inflight_max, (extract(epoch FROM s.timeout) * 1000)::int, "
	" s.halted_at IS NOT NULL, (SELECT min(q.due_at) FROM payments.queue q WHERE q.psp = s.psp), "
	" s.account_id IS NULL AND s.account_mode IS NULL, coalesce(s.halted_reason, 'see payments.psp'), "
	" EXISTS (SELECT FROM payments.psp_health h WHERE h.psp = s.psp AND h.resumed), "
	" s.paused_at IS NOT NULL AND coalesce(s.paused_until > now(), true), (coalesce(s.calls_per_second, 0) * 1000)::bigint "
	"FROM payments.psp s ORDER BY 8 NULLS LAST, s.psp");

/* Never waits: somebody may be about to change it. */
static PayStmt lock_psp = PAY_STMT(SPI_OK_SELECT,
	"SELECT base_url, secret FROM payments.psp WHERE psp = $1 FOR SHARE SKIP LOCKED", TEXTOID);
static PayStmt find_psp = PAY_STMT(SPI_OK_SELECT, "SELECT FROM payments.psp WHERE psp = $1", TEXTOID);

/* ---------- reading ---------- */

int
pay_upstreams_count(void)
{
	return upstream_count;
}

PayUpstream *
pay_upstreams_get(int i)
{
	Assert(i >= 0 && i < upstream_count);
	return in_turn[i];
}

PayUpstream *
pay_upstreams_find(const char *psp, const PayAdapter *adapter)
{
	PayUpstream key = key_of(psp, adapter);
	PayUpstream *upstream = hash_search(upstreams, &key, HASH_FIND, NULL);

	if (upstream == NULL || !upstream->seen)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("PSP \"%s\" has got another adapter", psp),
				 errhint("The worker reads it and tries again.")));
	return upstream;
}

bool
pay_upstream_lock(const PayUpstream *upstream)
{
	PayArgs		args = {0};
	const char *base_url = NULL,
			   *secret = NULL;

	if (upstream->adapter->in_process)
		return true;
	pay_arg_text(&args, upstream->psp);
	if (pay_spi_exec(&lock_psp, &args) == 1)
	{
		base_url = pay_spi_text(0, 1);
		secret = pay_spi_text(0, 2);
	}
	else if (pay_spi_exec(&find_psp, &args) == 1)
		return false;
	if (base_url == NULL)
		base_url = upstream->adapter->default_base_url;
	if (base_url == NULL || strcmp(base_url, upstream->base_url) != 0 || secret == NULL || strcmp(secret, upstream->secret_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("PSP \"%s\" has got another address or secret", upstream->psp),
				 errhint("The worker reads it and tries again.")));
	return true;
}

void
pay_upstreams_reload(void)
{
	for (int i = 0; i < upstream_count; i++)
		in_turn[i]->secret_read_at = 0;
}

void
pay_upstreams_recover(void)
{
	pay_vitals_tidy();
}

void
pay_upstreams_read(void)
{
	PaySteady	now = pay_clock_now();
	const char *unarmed = pay_take_arms(true);
	int			rows = (int) pay_spi_exec(&read_psps, NULL);
	HASH_SEQ_STATUS all;
	PayUpstream *upstream;

	make_room(rows);
	hash_seq_init(&all, upstreams);
	while ((upstream = hash_seq_search(&all)) != NULL)
		upstream->seen = false;
	for (upstream_count = 0; upstream_count < rows; upstream_count++)
		in_turn[upstream_count] = read_upstream(upstream_count, unarmed);
	hash_seq_init(&all, upstreams);
	while ((upstream = hash_seq_search(&all)) != NULL)
	{
		if (!upstream->seen)
			pay_vitals_forget(upstream);
		if (!upstream->seen && upstream->users == 0)
			forget(upstream);
	}
	for (int i = 0; i < upstream_count; i++)
	{
		pay_vitals_restore(in_turn[i], now);
		pay_pace_age(&in_turn[i]->pace, now);
		pay_vitals_note(in_turn[i], now);
	}
}

static void
make_room(int n)
{
	HASHCTL		options = {.keysize = KEY_BYTES, .entrysize = sizeof(PayUpstream), .hcxt = TopMemoryContext};

	if (upstreams == NULL)
		upstreams = hash_create("payments PSPs", 64, &options, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (n <= in_turn_size)
		return;
	upstream_count = 0;
	if (in_turn)
		pfree(in_turn);
	in_turn = NULL;
	in_turn_size = 0;
	in_turn = MemoryContextAlloc(TopMemoryContext, sizeof(PayUpstream *) * 2 * n);
	in_turn_size = 2 * n;
}

static PayUpstream *
read_upstream(uint64 row, const char *unarmed)
{
	PayUpstream *upstream = find_or_add(pay_spi_text(row, 1), pay_adapter_find(pay_spi_text(row, 2)));
	char	   *base_url = pay_spi_text(row, 3);
	PayObstacle obstacle;

	upstream->seen = true;
	if (base_url == NULL && upstream->adapter && upstream->adapter->default_base_url)
		base_url = pstrdup(upstream->adapter->default_base_url);
	if (upstream->token == NULL && upstream->adapter && pay_psp_wants_token(upstream->adapter))
		upstream->token = MemoryContextAllocZero(TopMemoryContext, sizeof(PayTokenCache));
	if (upstream->base_url && strcmp(upstream->base_url, base_url ? base_url : "") != 0)
		forget_told(upstream);
	/* A person has said that it may be another one. */
	if (upstream->account.told && pay_spi_bool(row, 9))
		forget_account(upstream);
	if (pay_spi_bool(row, 11))
	{
		pay_pace_resume(&upstream->pace, pay_clock_now());
		upstream->health_noted = upstream->health_changed = true;
	}
	keep(&upstream->base_url, base_url ? base_url : "");
	upstream->inflight_max = pay_spi_int32(row, 5);
	upstream->timeout_ms = pay_spi_int32(row, 6);
	upstream->paused = pay_spi_bool(row, 12);
	upstream->pace.agreed = (double) pay_spi_int64(row, 13) / 1000;
	upstream->due_at = pay_spi_isnull(row, 8) ? PAY_NEVER : pay_clock_of(pay_spi_time(row, 8));
	obstacle = find_obstacle(upstream, unarmed, pay_spi_bool(row, 7) ? pay_spi_text(row, 10) : NULL, pay_spi_text(row, 4));
	upstream->usable = obstacle.why == NULL;
	/* It is asked all the same: somebody may have changed the rule. */
	if (upstream->usable && upstream->account.hindered)
		add_obstacle(&obstacle, upstream->account.hindered, "Nothing is sent before the PSP could be asked whose account the secret is of.  Check its base_url, and the settings payments.allow_networks, payments.allow_http and payments.ca_file.", false);
	note_obstacle(upstream, &obstacle);
	return upstream;
}

static PayUpstream *
find_or_add(const char *psp, const PayAdapter *adapter)
{
	PayUpstream key = key_of(psp, adapter);
	bool		found;
	PayUpstream *upstream = hash_search(upstreams, &key, HASH_ENTER, &found);

	if (!found)
	{
		*upstream = key;
		upstream->compare_at = PAY_NEVER;
	}
	return upstream;
}

/* The key, and nothing else. */
static PayUpstream
key_of(const char *psp, const PayAdapter *adapter)
{
	PayUpstream key = {.adapter = adapter};

	/* Its bytes are compared, so what follows the name must be zero. */
	strlcpy(key.psp, psp, sizeof(key.psp));
	return key;
}

static void
forget(PayUpstream *upstream)
{
	drop_secret(upstream);
	if (upstream->token)
	{
		pay_token_forget(upstream->token);
		pfree(upstream->token);
	}
	keep(&upstream->base_url, NULL);
	keep(&upstream->problem, NULL);
	keep(&upstream->unfit, NULL);
	keep(&upstream->secret_problem, NULL);
	keep(&upstream->account.hindered, NULL);
	hash_search(upstreams, upstream, HASH_REMOVE, NULL);
}

static PayObstacle
find_obstacle(PayUpstream *upstream, const char *unarmed, const char *halted, const char *secret_name)
{
	PaySteady	now = pay_clock_now();
	PayObstacle obstacle = {0};
	const char *problem;
	bool		plain = !pay_allow_http && pg_strncasecmp(upstream->base_url, "http://", 7) == 0;

	if (upstream->adapter == NULL)
		add_obstacle(&obstacle, "the library has no such adapter", "Install the version of payments that has it, and restart the server.", false);
	if (halted)
		add_obstacle(&obstacle, psprintf("it is halted: %s", halted),
					 psprintf("Repair what it complains of; then SELECT payments.resume_psp('%s').", upstream->psp), true);
	if (upstream->adapter == NULL || upstream->adapter->in_process)
		return obstacle;
	problem = pay_adapter_refusal(upstream->adapter);
	if (problem)
		add_obstacle(&obstacle, problem, "SELECT payments.create_adapter(...) once more, with functions as docs/adapter.md wants them.", false);
	if (unarmed)
		add_obstacle(&obstacle, unarmed, "SELECT payments.arm(), once you know that no other copy of this database sends.", true);
	/* Set so since create_psp() took it; other rules are judged when its name is looked up. */
	if (plain)
		add_obstacle(&obstacle, "plain http is not allowed: payments.allow_http is off", "For tests, set payments.allow_http and use a loopback address; else give it another base_url.", false);
	if (secret_name == NULL)
	{
		add_obstacle(&obstacle, "no secret is configured", "SELECT payments.create_psp(..., secret => ...) once more, with the name of its entry in the secrets file.", false);
		return obstacle;
	}
	/* What is not called for plain http may be any host. */
	problem = plain ? NULL : pay_psp_secret_refusal(upstream->adapter, secret_name, upstream->base_url, pay_psp_hosts ? pay_psp_hosts : "", pay_allow_http);
	if (problem)
	{
		add_obstacle(&obstacle, problem, PAY_PSP_SECRET_HINT, false);
		return obstacle;
	}
	if (upstream->secret_read_at == 0 || strcmp(upstream->secret_name, secret_name) != 0 ||
		now >= upstream->secret_read_at + SECRET_MAX_AGE_MS * 1000)
		problem = read_secret(upstream, secret_name, now);
	else
		problem = upstream->secret_problem;
	if (problem)
		add_obstacle(&obstacle, problem, "psp.secret names the entry of the file that payments.secrets_file names; it is read again within seconds.", false);
	return obstacle;
}

static void
add_obstacle(PayObstacle *obstacle, const char *why, const char *hint, bool known)
{
	obstacle->why = obstacle->why ? psprintf("%s; %s", obstacle->why, why) : why;
	if (!known)
		obstacle->ours = obstacle->ours ? psprintf("%s; %s", obstacle->ours, why) : why;
	if (obstacle->hint == NULL)
		obstacle->hint = hint;
}

/* Returns what is wrong with it. */
static const char *
read_secret(PayUpstream *upstream, const char *secret_name, PaySteady now)
{
	const char *problem = NULL;
	char	   *secret = pay_secret_find(secret_name, &problem);

	/* What was fetched with another secret is not for this one. */
	if (!(secret && upstream->secret && strcmp(secret, upstream->secret) == 0))
		forget_told(upstream);
	drop_secret(upstream);
	keep(&upstream->secret_name, secret_name);
	upstream->secret_read_at = now;
	keep(&upstream->secret_problem, problem);
	if (secret == NULL)
		return problem;
	keep(&upstream->secret, secret);
	explicit_bzero(secret, strlen(secret));
	return NULL;
}

/* It was of another address or secret. */
static void
forget_told(PayUpstream *upstream)
{
	if (upstream->token)
		pay_token_forget(upstream->token);
	forget_account(upstream);
}

static void
forget_account(PayUpstream *upstream)
{
	upstream->account.serial++;
	upstream->account.settled = false;
	upstream->account.told = false;
	upstream->account.failures = 0;
	upstream->account.ask_at = 0;
	pay_upstream_hinder(upstream, NULL);
}

void
pay_upstream_hinder(PayUpstream *upstream, const char *why)
{
	keep(&upstream->account.hindered, why);
}

static void
drop_secret(PayUpstream *upstream)
{
	if (upstream->secret)
		explicit_bzero(upstream->secret, strlen(upstream->secret));
	keep(&upstream->secret, NULL);
	keep(&upstream->secret_name, NULL);
	upstream->secret_read_at = 0;
}

/* Says once in the log why a PSP gets no calls; what only we know is for its row too. */
static void
note_obstacle(PayUpstream *upstream, const PayObstacle *obstacle)
{
	bool		same = upstream->problem ? obstacle->why && strcmp(upstream->problem, obstacle->why) == 0 : obstacle->why == NULL;

	if (same)
		return;
	keep(&upstream->problem, obstacle->why);
	keep(&upstream->unfit, obstacle->ours);
	upstream->health_changed = true;
	if (obstacle->why)
		ereport(LOG,
				(errmsg("payments worker sends nothing to PSP \"%s\": %s", upstream->psp, obstacle->why),
				 errhint("%s", obstacle->hint)));
}

/* A copy for as long as the process needs it; NULL frees it. */
static void
keep(char **kept, const char *text)
{
	char	   *old = *kept;

	if (old && text && strcmp(old, text) == 0)
		return;
	*kept = text ? MemoryContextStrdup(TopMemoryContext, text) : NULL;
	if (old)
		pfree(old);
}

/* ---------- calling ---------- */

/*
 * The PSP's own cap, and how fast it takes calls; and, while there are others,
 * its share of the slots.  That grows and shrinks with what is free: one PSP
 * that does not answer ends at three quarters of all slots, two at three
 * sevenths each, and however many hang there are free ones left for those that
 * answer.
 */
int
pay_upstream_room(const PayUpstream *upstream, int free_slots, int slots, PaySteady now, PaySteady *again)
{
	int			room = Min(upstream->inflight_max - upstream->inflight, free_slots);
	int			held = upstream->inflight + upstream->kept;

	*again = PAY_NEVER;
	if (upstream->paused && now < upstream->claimed_at + PAUSED_LOOK_MS * 1000)
	{
		*again = upstream->claimed_at + PAUSED_LOOK_MS * 1000;
		return 0;
	}
	if (upstream->breaker_ms > 0)
	{
		if (now < upstream->breaker_until)
		{
			*again = upstream->breaker_until;
			return 0;
		}
		room = Min(room, 1 - upstream->inflight);	/* half open: one probe */
	}
	if (upstream_count > 2)
		room = Min(room, Max((SHARE * free_slots - held) / (SHARE + 1), held == 0 ? 1 : 0));
	if (room <= 0 || upstream->adapter->in_process)
		return room;
	if (upstream_count > 2)
		room = Min(room, trusted_room(upstream, free_slots, slots, now, again));
	if (room <= 0)
		return room;
	return Min(room, pay_pace_room(&upstream->pace, upstream->inflight, now, again));
}

/* What others must not be kept from by one of which it is not known that it answers. */
static int
trusted_room(const PayUpstream *upstream, int free_slots, int slots, PaySteady now, PaySteady *again)
{
	int			kept = slots / KEPT_PART;

	if (upstream->inflight > 0 && now >= upstream->heard_at + SILENT_MS * 1000)
	{
		*again = upstream->began_at + SILENT_MS * 1000;
		return now >= *again ? Min(free_slots - kept, 1) : 0;
	}
	if (upstream->answers)
		return free_slots;
	if (upstream->heard_at == 0 && free_slots <= kept)
		return Min(free_slots - kept / 2, 1);
	return free_slots - kept;
}

/*
 * Losses one after the other open the breaker; one probe at a time closes it
 * again.  What had begun before the last loss was noted tells of the same
 * event: however many answers one blip of the network takes, it is one loss.
 */
void
pay_upstream_note(PayUpstream *upstream, PayTransport transport, PaySteady begun_at, PaySteady now)
{
	bool		was_silent = upstream->breaker_ms > 0;

	upstream->answers = transport == PAY_TRANSPORT_ANSWERED;
	if (upstream->answers)
	{
		upstream->heard_at = now;
		upstream->losses = 0;
		upstream->breaker_ms = 0;
		if (was_silent)
		{
			ereport(LOG, (errmsg("PSP \"%s\" answers again", upstream->psp)));
			pay_vitals_show(upstream, now);
		}
		return;
	}
	if (begun_at <= upstream->lost_at)
		return;
	upstream->lost_at = now;
	if (++upstream->losses >= BREAKER_LOSSES)
		open_breaker(upstream, now);
}

static void
open_breaker(PayUpstream *upstream, PaySteady now)
{
	if (upstream->breaker_ms == 0)
		ereport(LOG,
				(errmsg("PSP \"%s\" does not answer", upstream->psp),
				 errdetail("%d calls, one after the other, got no answer.", upstream->losses),
				 errhint("It gets one call at a time until one is answered.  See payments.attempt_answer for what went wrong.")));
	upstream->breaker_ms = Min(Max(upstream->breaker_ms * 2, BREAKER_MS_MIN), BREAKER_MS_MAX);
	upstream->breaker_until = now + upstream->breaker_ms * INT64CONST(1000);
	pay_pace_begin_carefully(&upstream->pace);
}

void
pay_upstream_reopen_breaker(PayUpstream *upstream, int64 ms, PaySteady until)
{
	upstream->losses = BREAKER_LOSSES;
	upstream->breaker_ms = (int) Min(Max(ms, BREAKER_MS_MIN), BREAKER_MS_MAX);
	upstream->breaker_until = until;
}

int
pay_upstream_lease_ms(const PayUpstream *upstream)
{
	return Max(pay_lease_ms, upstream->timeout_ms + LEASE_SPARE_MS);
}

void
pay_upstream_begun(PayUpstream *upstream, int calls, PaySteady now)
{
	upstream->claimed_at = now;
	pay_pace_begun(&upstream->pace, calls, now);
}

void
pay_upstream_ended(PayUpstream *upstream)
{
	upstream->inflight--;
	upstream->kept++;
}

void
pay_upstream_answered(PayUpstream *upstream, const PayHttpResponse *response, const PayResult *result, bool repeated,
					  PaySteady begun_at, PaySteady now)
{
	if (result->too_many)
	{
		bool		limited = upstream->pace.rate > 0;

		pay_pace_refused(&upstream->pace, begun_at, repeated, result->retry_after_ms, now);
		if (!limited && upstream->pace.rate > 0)
			ereport(LOG,
					(errmsg("PSP \"%s\" says that it is called too often", upstream->psp),
					 errhint("It is called more slowly from here on.  See payments.psp_status.")));
	}
	else if (response->transport == PAY_TRANSPORT_ANSWERED)
		pay_pace_taken(&upstream->pace, upstream->inflight + 1, begun_at, now);
	pay_vitals_answered(upstream, response, result, begun_at, now);
}

bool
pay_upstream_admits(const PayUpstream *upstream, PaySteady now)
{
	return upstream->usable && !pay_adapter_rests(upstream->adapter) && (upstream->token == NULL || pay_token_usable(upstream->token, now)) &&
		(upstream->adapter->build_account == NULL || upstream->account.settled);
}

bool
pay_upstream_open(const PayUpstream *upstream, PaySteady now)
{
	PaySteady	again;

	return pay_upstream_admits(upstream, now) && (upstream->breaker_ms == 0 || now >= upstream->breaker_until) &&
		pay_pace_room(&upstream->pace, 0, now, &again) > 0;
}

int64
pay_upstream_token_serial(const PayUpstream *upstream)
{
	return upstream->token ? upstream->token->serial : 0;
}

bool
pay_upstream_token_ended(PayUpstream *upstream, int64 serial, int http_status)
{
	return upstream->token != NULL && pay_token_answered(upstream->token, serial, http_status) == PAY_TOKEN_ENDED;
}

void
pay_upstream_send(const PayUpstream *upstream, const PayRequest *wanted, const char *key, bool for_token,
				  PayHttpRequest *request)
{
	PayCredentials credentials = {.secret = upstream->secret, .now = (int64) time(NULL)};
	PayHeaders	headers;

	if (upstream->token && !for_token)
		credentials.token = upstream->token->text;
	pay_psp_headers(upstream->adapter, wanted, &credentials, key, &headers);
	request->method = wanted->method;
	request->url = psprintf("%s%s", upstream->base_url, wanted->path);
	request->headers = (const char *const *) headers.list;
	request->n_secret = headers.n_secret;
	request->body = wanted->body;
	request->body_bytes = wanted->body ? strlen(wanted->body) : 0;
	if (request->timeout_ms == 0)
		request->timeout_ms = upstream->timeout_ms;
	request->connect_timeout_ms = pay_connect_timeout_ms;
	pay_http_start(request);
	pay_headers_wipe(&headers);
}
