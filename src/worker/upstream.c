/*
 * src/worker/upstream.c
 *		A PSP as the worker sees it.
 *
 * What is always true: an upstream that is usable is not halted, its adapter is
 * here, and unless it answers in process this cluster is armed and its secret
 * at hand.  Why one is not is said in the log, once.
 *
 * One that has no row any more is kept until its last request has ended, and
 * is forgotten then.
 */
#include "payments.h"

#include "worker/upstream.h"

#include "core/cluster.h"
#include "core/guc.h"
#include "core/secrets.h"
#include "core/spi.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define HEADERS_MAX 16
#define SECRET_MAX_AGE_MS 5000
#define BREAKER_FAILURES 20
#define BREAKER_MS_MIN 1000
#define BREAKER_MS_MAX 60000
/* With others beside it, a PSP may have so many calls in flight for each slot that is free. */
#define SHARE 3

/* By name, process-local.  An entry never moves. */
static HTAB *upstreams = NULL;

/* Those that have a row. */
static PayUpstream **in_turn = NULL;
static int	in_turn_size = 0;
static int	upstream_count = 0;

static void make_room(int n);
static PayUpstream *read_upstream(uint64 row, const char *unarmed);
static PayUpstream *find_or_add(const char *psp);
static void forget(PayUpstream *upstream);
static bool upstream_ready(PayUpstream *upstream, const char *unarmed, const char *secret_name);
static bool read_secret(PayUpstream *upstream, const char *secret_name, TimestampTz now);
static void drop_secret(PayUpstream *upstream);
static void upstream_problem(PayUpstream *upstream, const char *problem);
static void keep(char **kept, const char *text);

static PayStmt read_psps = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT s.psp, s.adapter, s.base_url, s.secret, s.inflight_max, (extract(epoch FROM s.timeout) * 1000)::int, "
	" s.halted_at IS NOT NULL, (SELECT min(q.due_at) FROM payments.queue q WHERE q.psp = s.psp) "
	"FROM payments.psp s ORDER BY 8 NULLS LAST, s.psp");

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
pay_upstreams_find(const char *psp)
{
	return hash_search(upstreams, psp, HASH_FIND, NULL);
}

void
pay_upstreams_reload(void)
{
	for (int i = 0; i < upstream_count; i++)
		in_turn[i]->secret_read_at = 0;
}

void
pay_upstreams_read(void)
{
	const char *unarmed = pay_cluster_unarmed_reason();
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
		if (!upstream->seen && upstream->users == 0)
			forget(upstream);
}

static void
make_room(int n)
{
	HASHCTL		options = {.keysize = NAMEDATALEN, .entrysize = sizeof(PayUpstream), .hcxt = TopMemoryContext};

	if (upstreams == NULL)
		upstreams = hash_create("payments PSPs", 64, &options, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
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
	PayUpstream *upstream = find_or_add(pay_spi_text(row, 1));
	char	   *base_url = pay_spi_text(row, 3);

	upstream->seen = true;
	upstream->adapter = pay_psp_adapter(pay_spi_text(row, 2));
	if (base_url == NULL && upstream->adapter && upstream->adapter->default_base_url)
		base_url = pstrdup(upstream->adapter->default_base_url);
	keep(&upstream->base_url, base_url ? base_url : "");
	upstream->inflight_max = pay_spi_int32(row, 5);
	upstream->timeout_ms = pay_spi_int32(row, 6);
	upstream->due_at = pay_spi_isnull(row, 8) ? DT_NOEND : pay_spi_time(row, 8);
	upstream->usable = !pay_spi_bool(row, 7) && upstream_ready(upstream, unarmed, pay_spi_text(row, 4));
	return upstream;
}

static PayUpstream *
find_or_add(const char *psp)
{
	bool		found;
	PayUpstream *upstream = hash_search(upstreams, psp, HASH_ENTER, &found);

	if (!found)
	{
		memset(upstream, 0, sizeof(PayUpstream));
		strlcpy(upstream->psp, psp, sizeof(upstream->psp));
		upstream->compare_at = DT_NOEND;
	}
	return upstream;
}

static void
forget(PayUpstream *upstream)
{
	drop_secret(upstream);
	keep(&upstream->base_url, NULL);
	keep(&upstream->problem, NULL);
	hash_search(upstreams, upstream->psp, HASH_REMOVE, NULL);
}

static bool
upstream_ready(PayUpstream *upstream, const char *unarmed, const char *secret_name)
{
	TimestampTz now = GetCurrentTimestamp();

	if (upstream->adapter == NULL)
	{
		upstream_problem(upstream, "the library has no such adapter");
		return false;
	}
	if (upstream->adapter->in_process)
		return true;
	if (unarmed)
	{
		upstream_problem(upstream, unarmed);
		return false;
	}
	if (secret_name == NULL)
	{
		upstream_problem(upstream, "no secret is configured");
		return false;
	}
	if (upstream->secret_read_at != 0 && strcmp(upstream->secret_name, secret_name) == 0 &&
		now < upstream->secret_read_at + SECRET_MAX_AGE_MS * 1000)
		return upstream->authorization != NULL;
	return read_secret(upstream, secret_name, now);
}

static bool
read_secret(PayUpstream *upstream, const char *secret_name, TimestampTz now)
{
	const char *problem = NULL;
	char	   *secret;
	char	   *header;

	drop_secret(upstream);
	keep(&upstream->secret_name, secret_name);
	upstream->secret_read_at = now;
	secret = pay_secret_find(secret_name, &problem);
	if (secret == NULL)
	{
		upstream_problem(upstream, problem ? problem : "its secret is not in the secrets file");
		return false;
	}
	header = psprintf("Authorization: Bearer %s", secret);
	explicit_bzero(secret, strlen(secret));
	keep(&upstream->authorization, header);
	explicit_bzero(header, strlen(header));
	keep(&upstream->problem, NULL);
	return true;
}

static void
drop_secret(PayUpstream *upstream)
{
	if (upstream->authorization)
		explicit_bzero(upstream->authorization, strlen(upstream->authorization));
	keep(&upstream->authorization, NULL);
	keep(&upstream->secret_name, NULL);
	upstream->secret_read_at = 0;
}

/* Says once in the log why a PSP gets no calls. */
static void
upstream_problem(PayUpstream *upstream, const char *problem)
{
	if (upstream->problem && strcmp(upstream->problem, problem) == 0)
		return;
	keep(&upstream->problem, problem);
	ereport(LOG,
			(errmsg("payments worker sends nothing to PSP \"%s\": %s", upstream->psp, problem),
			 errhint("See the view payments.worker_status; payments.arm() allows calls from this cluster.")));
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
 * The PSP's own cap; and, while there are others, its share of the slots.  That
 * grows and shrinks with what is free: one PSP that does not answer ends at
 * three quarters of all slots, two at three sevenths each, and however many
 * hang there are free ones left for those that answer.
 */
int
pay_upstream_room(const PayUpstream *upstream, int free_slots, TimestampTz now)
{
	int			room = upstream->inflight_max - upstream->inflight;

	if (upstream->breaker_ms > 0)
	{
		if (now < upstream->breaker_until)
			return 0;
		room = 1 - upstream->inflight;	/* half open: one probe */
	}
	if (upstream_count > 2)
		room = Min(room, Max((SHARE * free_slots - upstream->inflight) / (SHARE + 1), upstream->inflight == 0 ? 1 : 0));
	return Min(room, free_slots);
}

/* Too many calls in a row without an answer open the breaker; one probe at a time closes it again. */
void
pay_upstream_note(PayUpstream *upstream, PayTransport transport, TimestampTz now)
{
	if (transport == PAY_TRANSPORT_ANSWERED)
	{
		upstream->failures = 0;
		upstream->breaker_ms = 0;
		return;
	}
	upstream->failures++;
	if (upstream->failures < BREAKER_FAILURES)
		return;
	upstream->breaker_ms = Min(Max(upstream->breaker_ms * 2, BREAKER_MS_MIN), BREAKER_MS_MAX);
	upstream->breaker_until = now + (TimestampTz) upstream->breaker_ms * 1000;
}

void
pay_upstream_request(const PayUpstream *upstream, const PayRequest *wanted, const char *key, PayHttpRequest *request)
{
	const PayAdapter *adapter = upstream->adapter;
	const char **headers = palloc(sizeof(char *) * HEADERS_MAX);
	int			n = 0;

	headers[n++] = upstream->authorization;
	if (key)
		headers[n++] = psprintf("%s: %s", adapter->key_header, key);
	if (wanted->content_type)
		headers[n++] = psprintf("Content-Type: %s", wanted->content_type);
	for (int i = 0; adapter->headers && adapter->headers[i] && n < HEADERS_MAX - 1; i++)
		headers[n++] = adapter->headers[i];
	headers[n] = NULL;

	request->method = wanted->method;
	request->url = psprintf("%s%s", upstream->base_url, wanted->path);
	request->headers = headers;
	request->body = wanted->body;
	request->body_bytes = wanted->body ? strlen(wanted->body) : 0;
	request->timeout_ms = upstream->timeout_ms;
	request->connect_timeout_ms = pay_connect_timeout_ms;
}
