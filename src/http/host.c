/*
 * src/http/host.c
 *		The gate in front of name lookups.
 *
 * Always true: of the transfers that point to one host, those in its waiting
 * list are not curl's yet, and there are such only while a leader looks the
 * name up, or until the next pay_http_host_admit_waiting().
 */
#include "payments.h"

#include "http/http.h"
#include "http/http_private.h"

#define HOSTS_MAX 64

static PayHost hosts[HOSTS_MAX];
static bool hosts_changed = false;	/* a leader is done: some may go on */

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
pay_http_host_destroy_waiting(void)
{
	dlist_mutable_iter iter;

	for (int i = 0; i < HOSTS_MAX; i++)
		dlist_foreach_modify(iter, &hosts[i].waiting)
			pay_http_transfer_destroy(dlist_container(PayTransfer, node, iter.cur));
}

/*
 * Finds the gate of the URL's host, or makes one.  NULL, and no gate, when the
 * name is too long or all gates are in use.
 */
PayHost *
pay_http_host_find(const char *url)
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
 * Runs the transfer, or lets it wait for the one that looks the name up.  The
 * wait is short: the leader's connect timeout ends it.
 */
void
pay_http_host_admit(PayTransfer *transfer)
{
	PayHost    *host = transfer->host;

	if (host == NULL || pay_http_now_us() < host->known_until_us)
		pay_http_run(transfer);
	else if (host->leader == NULL)
	{
		host->leader = transfer;
		pay_http_run(transfer);
	}
	else
		dlist_push_tail(&host->waiting, &transfer->node);
}

/*
 * Runs what waited for a leader that is done.  Where the name is still not
 * known the first becomes the next leader, and the loop ends with it.
 */
void
pay_http_host_admit_waiting(void)
{
	if (!hosts_changed)
		return;
	hosts_changed = false;
	for (int i = 0; i < HOSTS_MAX; i++)
		while (hosts[i].leader == NULL && !dlist_is_empty(&hosts[i].waiting))
			pay_http_host_admit(dlist_container(PayTransfer, node, dlist_pop_head_node(&hosts[i].waiting)));
}

/*
 * Gives up the lead.  If the lookup failed, the same answer goes to all that
 * waited for it: one by one they would each wait for the timeout in turn.
 */
void
pay_http_host_lead_ended(PayTransfer *transfer, CURLcode code)
{
	PayHost    *host = transfer->host;

	host->leader = NULL;
	hosts_changed = true;
	if (transfer->connecting ||
		(code != CURLE_COULDNT_RESOLVE_HOST && code != CURLE_OPERATION_TIMEDOUT))
		return;
	while (!dlist_is_empty(&host->waiting))
	{
		PayTransfer *waiting = dlist_container(PayTransfer, node, dlist_head_node(&host->waiting));

		Assert(!waiting->sending && host->leader != waiting);
		pay_http_finish(waiting, code);
	}
}

/*
 * The name is known for now.  Called inside curl, so those who wait for it are
 * only marked.
 */
void
pay_http_host_note_address(PayTransfer *transfer)
{
	PayHost    *host = transfer->host;

	transfer->connecting = true;
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
