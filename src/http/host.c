/*
 * src/http/host.c
 *		The gate in front of name lookups.
 *
 * Always true: of the transfers that point to one host, those in its waiting
 * list are not curl's yet, and there are such only while a leader looks the
 * name up, or until the next pay_http_host_admit_waiting().
 */
#include "payments.h"

#include "http/host.h"

#define HOSTS_MAX 256

static PayHost hosts[HOSTS_MAX];
static bool hosts_changed = false;	/* a leader is done: some may go on */

static PayHost *find_host(const char *url);

void
pay_http_host_init(void)
{
	for (int i = 0; i < HOSTS_MAX; i++)
	{
		memset(&hosts[i], 0, sizeof(hosts[i]));
		dlist_init(&hosts[i].waiting);
	}
}

void
pay_http_host_enter(PayTransfer *transfer, const char *url)
{
	transfer->host = find_host(url);
	if (transfer->host != NULL)
		transfer->host->users++;
}

static PayHost *
find_host(const char *url)
{
	const char *name = strstr(url, "://") + 3;
	size_t		bytes = strcspn(name, "/?#");
	PayHost    *unused = NULL;

	if (bytes > PAY_HTTP_HOST_BYTES_MAX)
		return NULL;
	for (int i = 0; i < HOSTS_MAX; i++)
	{
		PayHost    *host = &hosts[i];

		if (strncmp(host->name, name, bytes) == 0 && host->name[bytes] == '\0')
			return host;
		if (host->users == 0 && (unused == NULL || host->known_until_us < unused->known_until_us))
			unused = host;
	}
	if (unused != NULL)
	{
		memcpy(unused->name, name, bytes);
		unused->name[bytes] = '\0';
		unused->known_until_us = 0;
	}
	return unused;
}

/*
 * The wait is short: the leader's connect timeout ends it.
 */
bool
pay_http_host_admit(PayTransfer *transfer)
{
	PayHost    *host = transfer->host;

	if (host == NULL || pay_http_now_us() < host->known_until_us)
		return true;
	if (host->leader == NULL)
	{
		host->leader = transfer;
		return true;
	}
	dlist_push_tail(&host->waiting, &transfer->node);
	return false;
}

/*
 * Where the name is still not known the first becomes the next leader, and the
 * others wait on.
 */
PayTransfer *
pay_http_host_admit_waiting(void)
{
	for (int i = 0; hosts_changed && i < HOSTS_MAX; i++)
	{
		PayTransfer *transfer = pay_http_host_first_waiting(&hosts[i]);

		if (transfer == NULL || hosts[i].leader != NULL)
			continue;
		dlist_delete(&transfer->node);
		if (pay_http_host_admit(transfer))
			return transfer;
	}
	hosts_changed = false;
	return NULL;
}

/*
 * Gives up the lead.  If the lookup failed, the same answer goes to all that
 * waited for it: one by one they would each wait for the timeout in turn.
 */
bool
pay_http_host_leave(PayTransfer *transfer, CURLcode code)
{
	PayHost    *host = transfer->host;

	if (host == NULL)
		return false;
	host->users--;
	if (host->leader != transfer)
		return false;
	host->leader = NULL;
	hosts_changed = true;
	/* Who leads has no address yet. */
	return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_OPERATION_TIMEDOUT;
}

PayTransfer *
pay_http_host_first_waiting(PayHost *host)
{
	return dlist_is_empty(&host->waiting) ? NULL : dlist_container(PayTransfer, node, dlist_head_node(&host->waiting));
}

/*
 * The name is known for now.  Called inside curl, so those who wait for it are
 * only marked.
 */
void
pay_http_host_note_address(PayTransfer *transfer)
{
	PayHost    *host = transfer->host;

	if (host == NULL)
		return;
	/* A little less than curl's cache holds it. */
	host->known_until_us = pay_http_now_us() + (PAY_HTTP_DNS_CACHE_S - 5) * INT64CONST(1000000);
	if (host->leader == transfer)
	{
		host->leader = NULL;
		hosts_changed = true;
	}
}

void
pay_http_host_forget(void)
{
	for (int i = 0; i < HOSTS_MAX; i++)
		hosts[i].known_until_us = 0;
}
