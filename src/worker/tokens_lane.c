/*
 * src/worker/tokens_lane.c
 *		The worker's calls for tokens, to PSPs that want one.
 *
 * While there is none, nothing else is sent to that PSP; when one comes, the
 * worker looks around at once.  Nothing here is kept in a table: a worker that
 * starts asks anew.
 */
#include "payments.h"

#include "worker/lane.h"

#include "worker/token.h"
#include "worker/upstream.h"

#include "utils/timestamp.h"

/* So many PSPs at a time; others wait for their turn. */
#define SLOTS 16
#define TOKEN_RESPONSE_BYTES_MAX (64 * 1024)

/* Process-local, written by this lane only. */
static PayUpstream *asked[SLOTS];	/* NULL: slot is free */
static int	busy = 0;
static bool arrived = false;	/* a token, since the last look */

static void init(void);
static void recover(TimestampTz now);
static void look(TimestampTz now);
static TimestampTz next_look(bool noted);
static void claim(TimestampTz now);
static void ask(int slot, PayUpstream *upstream);
static void answered(int slot, PayHttpResponse *response);
static void no_token(PayUpstream *upstream, const PayHttpResponse *response);
static TimestampTz next(bool idle);
static void step(bool idle);

PayLane		pay_tokens_lane = {
	.name = "tokens",
	.init = init,
	.recover = recover,
	.look = look,
	.next_look = next_look,
	.claim = claim,
	.answered = answered,
	.next = next,
	.step = step,
};

static void
init(void)
{
	pay_tokens_lane.slots = SLOTS;
}

static void
recover(TimestampTz now)
{
}

static void
look(TimestampTz now)
{
}

static TimestampTz
next_look(bool noted)
{
	TimestampTz due = DT_NOEND;

	if (arrived)
		return 0;
	for (int i = 0; busy < SLOTS && i < pay_upstreams_count(); i++)
	{
		const PayUpstream *upstream = pay_upstreams_get(i);

		if (upstream->usable && upstream->token)
			due = Min(due, pay_token_due(upstream->token));
	}
	return due;
}

static void
claim(TimestampTz now)
{
	int			slot = 0;

	arrived = false;
	for (int i = 0; busy < SLOTS && i < pay_upstreams_count(); i++)
	{
		PayUpstream *upstream = pay_upstreams_get(i);

		if (!upstream->usable || upstream->token == NULL || pay_token_due(upstream->token) > now)
			continue;
		while (asked[slot])
			slot++;
		ask(slot, upstream);
	}
}

static void
ask(int slot, PayUpstream *upstream)
{
	PayRequest	wanted = {0};
	PayHttpRequest request = {0};

	asked[slot] = upstream;
	upstream->users++;
	busy++;
	pay_token_asked(upstream->token);
	upstream->adapter->build_token(upstream->secret, &wanted);
	request.tag = pay_tokens_lane.first_tag + slot;
	request.response_bytes_max = TOKEN_RESPONSE_BYTES_MAX;
	pay_upstream_send(upstream, &wanted, NULL, true, &request);
}

/* There is nothing to be written, so it is worked off here. */
static void
answered(int slot, PayHttpResponse *response)
{
	PayUpstream *upstream = asked[slot];
	TimestampTz now = GetCurrentTimestamp();
	PayAnswer	answer;
	PayToken	token = {0};

	asked[slot] = NULL;
	upstream->users--;
	busy--;
	pay_answer_init(&answer);
	answer.transport = response->transport;
	answer.http_status = response->http_status;
	answer.body = response->body;
	answer.body_bytes = response->body_bytes;
	answer.retry_after_s = response->retry_after_s;
	if (response->transport != PAY_TRANSPORT_ANSWERED || !upstream->adapter->read_token(&answer, &token))
	{
		pay_token_failed(upstream->token, now);
		no_token(upstream, response);
	}
	else if (!pay_token_got(upstream->token, &token, now))
		no_token(upstream, response);
	else
		arrived = true;
	if (token.text)
		explicit_bzero(token.text, strlen(token.text));
	explicit_bzero(response->body, response->body_bytes);
	pay_http_free(response);
}

/* Says so once in the log, and not what the PSP wrote: it may be the half of a token. */
static void
no_token(PayUpstream *upstream, const PayHttpResponse *response)
{
	if (upstream->token->failures != 1)
		return;
	ereport(LOG,
			(errmsg("payments worker got no token from PSP \"%s\": %s", upstream->psp,
					response->transport == PAY_TRANSPORT_ANSWERED ? psprintf("HTTP status %d", response->http_status) : response->error),
			 errhint("It is asked for again and again; nothing is sent to the PSP until it comes.  Check the PSP's entry in the secrets file.")));
}

static TimestampTz
next(bool idle)
{
	return DT_NOEND;
}

static void
step(bool idle)
{
}
