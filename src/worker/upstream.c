/*
 * src/worker/upstream.c
 *		A PSP as the worker sees it.
 *
 * What is always true: a link that is usable is not halted, its adapter is
 * here, and unless it answers in process this cluster is armed and its secret
 * at hand.  Why one is not is said in the log, once.
 */
#include "payments.h"

#include "worker/upstream.h"

#include "core/cluster.h"
#include "core/spi.h"

#include "utils/timestamp.h"

#define LINKS_MAX 64
#define SECRET_MAX_AGE_MS 5000
#define BREAKER_FAILURES 20
#define BREAKER_MS_MIN 1000
#define BREAKER_MS_MAX 60000

/* Process-local; never shrinks, so that calls in flight may point into it. */
static PayLink links[LINKS_MAX];
static int	link_count = 0;

static void read_link(uint64 row, const char *unarmed);
static bool link_ready(PayLink *link, const char *unarmed, const char *secret_name);
static void link_problem(PayLink *link, const char *problem);

static PayStmt read_psps = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT s.psp, s.adapter, s.base_url, s.secret, s.inflight_max, (extract(epoch FROM s.timeout) * 1000)::int, "
	" s.halted_at IS NOT NULL, (SELECT min(q.due_at) FROM payments.queue q WHERE q.psp = s.psp) "
	"FROM payments.psp s ORDER BY s.psp LIMIT 64");

int
pay_links_count(void)
{
	return link_count;
}

PayLink *
pay_links_get(int i)
{
	Assert(i >= 0 && i < link_count);
	return &links[i];
}

void
pay_links_reload(void)
{
	for (int i = 0; i < link_count; i++)
		links[i].secret_read_at = 0;
}

void
pay_links_read(void)
{
	const char *unarmed = pay_cluster_unarmed_reason();
	uint64		rows = pay_spi_exec(&read_psps, NULL);

	for (int i = 0; i < link_count; i++)
		links[i].seen = false;
	for (uint64 row = 0; row < rows; row++)
		read_link(row, unarmed);
	for (int i = 0; i < link_count; i++)
		if (!links[i].seen)
			links[i].usable = false;
}

static void
read_link(uint64 row, const char *unarmed)
{
	char	   *psp = pay_spi_text(row, 1);
	char	   *base_url = pay_spi_text(row, 3);
	char	   *secret_name = pay_spi_text(row, 4);
	PayLink *link = NULL;

	for (int i = 0; i < link_count; i++)
		if (strcmp(links[i].psp, psp) == 0)
			link = &links[i];
	if (link == NULL)
	{
		if (link_count == LINKS_MAX)
			return;
		link = &links[link_count++];
		memset(link, 0, sizeof(PayLink));
		strlcpy(link->psp, psp, sizeof(link->psp));
	}
	link->seen = true;
	link->adapter = pay_psp_adapter(pay_spi_text(row, 2));
	if (base_url == NULL && link->adapter && link->adapter->default_base_url)
		base_url = pstrdup(link->adapter->default_base_url);
	strlcpy(link->base_url, base_url ? base_url : "", sizeof(link->base_url));
	link->inflight_max = pay_spi_int32(row, 5);
	link->timeout_ms = pay_spi_int32(row, 6);
	link->due_at = pay_spi_isnull(row, 8) ? DT_NOEND : pay_spi_time(row, 8);
	link->usable = !pay_spi_bool(row, 7) && link_ready(link, unarmed, secret_name);
}

static bool
link_ready(PayLink *link, const char *unarmed, const char *secret_name)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *problem = NULL;
	char	   *secret;

	if (link->adapter == NULL)
	{
		link_problem(link, "the library has no such adapter");
		return false;
	}
	if (link->adapter->in_process)
		return true;
	if (unarmed)
	{
		link_problem(link, unarmed);
		return false;
	}
	if (secret_name == NULL)
	{
		link_problem(link, "no secret is configured");
		return false;
	}
	if (link->secret_read_at != 0 && strcmp(link->secret_name, secret_name) == 0 &&
		now < link->secret_read_at + SECRET_MAX_AGE_MS * 1000)
		return link->authorization[0] != '\0';

	explicit_bzero(link->authorization, sizeof(link->authorization));
	strlcpy(link->secret_name, secret_name, sizeof(link->secret_name));
	link->secret_read_at = now;
	secret = pay_secret_find(secret_name, &problem);
	if (secret == NULL)
	{
		link_problem(link, problem ? problem : "its secret is not in the secrets file");
		return false;
	}
	snprintf(link->authorization, sizeof(link->authorization), "Authorization: Bearer %s", secret);
	explicit_bzero(secret, strlen(secret));
	link->problem[0] = '\0';
	return true;
}

/* Says once in the log why a PSP gets no calls. */
static void
link_problem(PayLink *link, const char *problem)
{
	if (strncmp(link->problem, problem, sizeof(link->problem) - 1) == 0)
		return;
	strlcpy(link->problem, problem, sizeof(link->problem));
	ereport(LOG,
			(errmsg("payments worker sends nothing to PSP \"%s\": %s", link->psp, problem),
			 errhint("See the view payments.worker_status; payments.arm() allows calls from this cluster.")));
}

/* The PSP's cap, and never all slots for one PSP while there are others. */
int
pay_link_room(const PayLink *link, int slots, TimestampTz now)
{
	int			cap = Min(link->inflight_max, link_count > 2 ? slots - slots / 4 : slots);

	if (link->breaker_ms > 0)
	{
		if (now < link->breaker_until)
			return 0;
		cap = 1;				/* half open: one probe */
	}
	return cap - link->inflight;
}

/* Too many calls in a row without an answer open the breaker; one probe at a time closes it again. */
void
pay_link_note(PayLink *link, PayTransport transport, TimestampTz now)
{
	if (transport == PAY_TRANSPORT_ANSWERED)
	{
		link->failures = 0;
		link->breaker_ms = 0;
		return;
	}
	link->failures++;
	if (link->failures < BREAKER_FAILURES)
		return;
	link->breaker_ms = Min(Max(link->breaker_ms * 2, BREAKER_MS_MIN), BREAKER_MS_MAX);
	link->breaker_until = now + (TimestampTz) link->breaker_ms * 1000;
}
