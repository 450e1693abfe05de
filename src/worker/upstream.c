/*
 * src/worker/upstream.c
 *		A PSP as the worker sees it.
 *
 * What is always true: an upstream that is usable is not halted, its adapter is
 * here, and unless it answers in process this cluster is armed and its secret
 * at hand.  Why one is not is said in the log, once.
 */
#include "payments.h"

#include "worker/upstream.h"

#include "core/cluster.h"
#include "core/guc.h"
#include "core/spi.h"

#include "utils/timestamp.h"

#include <time.h>

#define LINKS_MAX 64
#define SECRET_MAX_AGE_MS 5000
#define BREAKER_FAILURES 20
#define BREAKER_MS_MIN 1000
#define BREAKER_MS_MAX 60000

/* Process-local; never shrinks, so that calls in flight may point into it. */
static PayUpstream upstreams[LINKS_MAX];
static int	upstream_count = 0;

static void read_upstream(uint64 row, const char *unarmed);
static bool upstream_ready(PayUpstream *upstream, const char *unarmed, const char *secret_name);
static void upstream_problem(PayUpstream *upstream, const char *problem);

static PayStmt read_psps = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT s.psp, s.adapter, s.base_url, s.secret, s.inflight_max, (extract(epoch FROM s.timeout) * 1000)::int, "
	" s.halted_at IS NOT NULL, (SELECT min(q.due_at) FROM payments.queue q WHERE q.psp = s.psp) "
	"FROM payments.psp s ORDER BY s.psp LIMIT 64");

int
pay_upstreams_count(void)
{
	return upstream_count;
}

PayUpstream *
pay_upstreams_get(int i)
{
	Assert(i >= 0 && i < upstream_count);
	return &upstreams[i];
}

void
pay_upstreams_reload(void)
{
	for (int i = 0; i < upstream_count; i++)
		upstreams[i].secret_read_at = 0;
}

void
pay_upstreams_read(void)
{
	const char *unarmed = pay_cluster_unarmed_reason();
	uint64		rows = pay_spi_exec(&read_psps, NULL);

	for (int i = 0; i < upstream_count; i++)
		upstreams[i].seen = false;
	for (uint64 row = 0; row < rows; row++)
		read_upstream(row, unarmed);
	for (int i = 0; i < upstream_count; i++)
		if (!upstreams[i].seen)
			upstreams[i].usable = false;
}

static void
read_upstream(uint64 row, const char *unarmed)
{
	char	   *psp = pay_spi_text(row, 1);
	char	   *base_url = pay_spi_text(row, 3);
	char	   *secret_name = pay_spi_text(row, 4);
	PayUpstream *upstream = NULL;

	for (int i = 0; i < upstream_count; i++)
		if (strcmp(upstreams[i].psp, psp) == 0)
			upstream = &upstreams[i];
	if (upstream == NULL)
	{
		if (upstream_count == LINKS_MAX)
			return;
		upstream = &upstreams[upstream_count++];
		memset(upstream, 0, sizeof(PayUpstream));
		strlcpy(upstream->psp, psp, sizeof(upstream->psp));
	}
	upstream->seen = true;
	upstream->adapter = pay_psp_adapter(pay_spi_text(row, 2));
	if (base_url == NULL && upstream->adapter && upstream->adapter->default_base_url)
		base_url = pstrdup(upstream->adapter->default_base_url);
	if (strcmp(upstream->base_url, base_url ? base_url : "") != 0)
		pay_token_forget(&upstream->token);
	strlcpy(upstream->base_url, base_url ? base_url : "", sizeof(upstream->base_url));
	upstream->inflight_max = pay_spi_int32(row, 5);
	upstream->timeout_ms = pay_spi_int32(row, 6);
	upstream->due_at = pay_spi_isnull(row, 8) ? DT_NOEND : pay_spi_time(row, 8);
	upstream->usable = !pay_spi_bool(row, 7) && upstream_ready(upstream, unarmed, secret_name);
}

static bool
upstream_ready(PayUpstream *upstream, const char *unarmed, const char *secret_name)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *problem = NULL;
	char	   *secret;

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
		return upstream->secret[0] != '\0';

	strlcpy(upstream->secret_name, secret_name, sizeof(upstream->secret_name));
	upstream->secret_read_at = now;
	secret = pay_secret_find(secret_name, &problem);
	if (secret == NULL || strcmp(upstream->secret, secret) != 0)
	{
		explicit_bzero(upstream->secret, sizeof(upstream->secret));
		pay_token_forget(&upstream->token);
	}
	if (secret == NULL)
	{
		upstream_problem(upstream, problem ? problem : "its secret is not in the secrets file");
		return false;
	}
	strlcpy(upstream->secret, secret, sizeof(upstream->secret));
	explicit_bzero(secret, strlen(secret));
	upstream->problem[0] = '\0';
	return true;
}

/* Says once in the log why a PSP gets no calls. */
static void
upstream_problem(PayUpstream *upstream, const char *problem)
{
	if (strncmp(upstream->problem, problem, sizeof(upstream->problem) - 1) == 0)
		return;
	strlcpy(upstream->problem, problem, sizeof(upstream->problem));
	ereport(LOG,
			(errmsg("payments worker sends nothing to PSP \"%s\": %s", upstream->psp, problem),
			 errhint("See the view payments.worker_status; payments.arm() allows calls from this cluster.")));
}

/* The PSP's cap, and never all slots for one PSP while there are others. */
int
pay_upstream_room(const PayUpstream *upstream, int slots, TimestampTz now)
{
	int			cap = Min(upstream->inflight_max, upstream_count > 2 ? slots - slots / 4 : slots);

	if (upstream->breaker_ms > 0)
	{
		if (now < upstream->breaker_until)
			return 0;
		cap = 1;				/* half open: one probe */
	}
	return cap - upstream->inflight;
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

bool
pay_upstream_open(const PayUpstream *upstream, TimestampTz now)
{
	return upstream->usable && (upstream->breaker_ms == 0 || now >= upstream->breaker_until) &&
		(upstream->adapter->build_token == NULL || pay_token_usable(&upstream->token, now));
}

const char *
pay_upstream_token(const PayUpstream *upstream)
{
	return upstream->adapter->build_token ? upstream->token.text : NULL;
}

void
pay_upstream_check_token(PayUpstream *upstream, int64 serial, PayHttpResponse *response)
{
	if (upstream->adapter->build_token == NULL ||
		pay_token_answered(&upstream->token, serial, response->http_status) != PAY_TOKEN_ENDED)
		return;
	response->transport = PAY_TRANSPORT_NOT_SENT;
	strlcpy(response->error, "the token had ended; nothing was processed", sizeof(response->error));
}

void
pay_upstream_send(const PayUpstream *upstream, const PayRequest *wanted, const char *token, const char *key,
				  PayHttpRequest *request)
{
	PayCredentials credentials = {.secret = upstream->secret, .token = token, .now = (int64) time(NULL)};
	PayHeaders	headers;

	pay_psp_headers(upstream->adapter, wanted, &credentials, key, &headers);
	request->method = wanted->method;
	request->url = psprintf("%s%s", upstream->base_url, wanted->path);
	request->headers = (const char *const *) headers.list;
	request->body = wanted->body;
	request->body_bytes = wanted->body ? strlen(wanted->body) : 0;
	request->timeout_ms = upstream->timeout_ms;
	request->connect_timeout_ms = pay_connect_timeout_ms;
	pay_http_start(request);
	pay_headers_wipe(&headers);
}
