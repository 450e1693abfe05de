/*
 * src/worker/tokens_lane.c
 *		The worker's calls for tokens, to PSPs that want one.
 *
 * While there is none, nothing else is sent to that PSP; when one comes, the
 * worker looks around at once.  Nothing here is kept in a table: a worker that
 * starts asks anew.
 *
 * PSPs that give none must not keep the others waiting.  Who waits longest is
 * asked first, so one that has failed is behind all that have not had their
 * turn; those that failed last time have half of the slots at most; and a
 * request for a token is given up early, since it charges nobody.
 */
#include "payments.h"

#include "worker/lane.h"

#include "worker/token.h"
#include "worker/transaction.h"
#include "worker/upstream.h"

#include "utils/timestamp.h"

/* So many PSPs at a time; others wait for their turn. */
#define SLOTS 64
/* Of these, for PSPs that gave none when last asked. */
#define DOUBTFUL_SLOTS (SLOTS / 2)
/* When it is given up, at first; twice as late each time, so that many that hang do not fill the slots for long. */
#define TIMEOUT_MS 2000
#define TIMEOUT_MS_MAX 10000
#define TOKEN_RESPONSE_BYTES_MAX (64 * 1024)

typedef struct PayAsked
{
	PayUpstream *upstream;		/* NULL: slot is free */
	bool		doubtful;		/* counted as such, whatever becomes of the cache meanwhile */
} PayAsked;

/* Process-local, written by this lane only. */
static PayAsked asked[SLOTS];
static int	busy = 0;
static int	doubtful = 0;
static bool arrived = false;	/* a token, since the last look */

static PaySteady next_look(bool noted);
static void claim(void);
static PayUpstream *first_in_turn(PaySteady now, PaySteady *at);
static PaySteady turn_of(const PayUpstream *upstream, PaySteady now);
static PayAsked *take_slot(int slot, PayUpstream *upstream, PaySteady now);
static void ask(void *arg);
static PayUpstream *free_slot(int slot);
static void answered(int slot, PayHttpResponse *response);
static void read_work(void *arg);
static void no_token(PayUpstream *upstream, const PayHttpResponse *response);

PayLane		pay_tokens_lane = {
	.name = "tokens",
	.slots = SLOTS,
	.next_look = next_look,
	.claim = claim,
	.answered = answered,
};

static PaySteady
next_look(bool noted)
{
	PaySteady	at;

	if (arrived)
		return 0;
	first_in_turn(pay_clock_now(), &at);
	return at;
}

static void
claim(void)
{
	PaySteady	now = pay_clock_now();
	int			slot = 0;
	PayUpstream *upstream;
	PaySteady	at;

	arrived = false;
	while ((upstream = first_in_turn(now, &at)) != NULL && at <= now)
	{
		while (asked[slot].upstream)
			slot++;
		if (!pay_worker_try(ask, take_slot(slot, upstream, now), NULL))
			pay_token_put_off(free_slot(slot)->token, now);
	}
}

/* And when that is; NULL and PAY_NEVER: nobody may be asked as it is. */
static PayUpstream *
first_in_turn(PaySteady now, PaySteady *at)
{
	PayUpstream *first = NULL;

	*at = PAY_NEVER;
	for (int i = 0; i < pay_upstreams_count(); i++)
	{
		PayUpstream *upstream = pay_upstreams_get(i);
		PaySteady	turn = turn_of(upstream, now);

		if (turn < *at)
		{
			first = upstream;
			*at = turn;
		}
	}
	return first;
}

static PaySteady
turn_of(const PayUpstream *upstream, PaySteady now)
{
	PaySteady	again;

	if (!upstream->usable || upstream->token == NULL || busy >= pay_tokens_lane.allowed ||
		(upstream->token->failures > 0 && doubtful == DOUBTFUL_SLOTS))
		return PAY_NEVER;
	/* A pause that the PSP wants is one of these requests too. */
	if (pay_pace_room(&upstream->pace, 0, now, &again) <= 0)
		return Max(pay_token_due(upstream->token), again);
	return pay_token_due(upstream->token);
}

static PayAsked *
take_slot(int slot, PayUpstream *upstream, PaySteady now)
{
	asked[slot] = (PayAsked) {upstream, upstream->token->failures > 0};
	pay_upstream_begun(upstream, 1, now);
	upstream->users++;
	busy++;
	doubtful += asked[slot].doubtful;
	pay_token_asked(upstream->token);
	return &asked[slot];
}

static void
ask(void *arg)
{
	PayUpstream *upstream = ((PayAsked *) arg)->upstream;
	PayRequest	wanted = {0};
	PayHttpRequest request = {0};

	pay_psp_build_token(upstream->adapter, upstream->secret, &wanted);
	request.tag = pay_tokens_lane.first_tag + ((PayAsked *) arg - asked);
	request.response_bytes_max = TOKEN_RESPONSE_BYTES_MAX;
	request.timeout_ms = Min(upstream->timeout_ms, Min(TIMEOUT_MS << Min(upstream->token->failures, 10), TIMEOUT_MS_MAX));
	pay_upstream_send(upstream, &wanted, NULL, true, &request);
}

/* Returns whose it was. */
static PayUpstream *
free_slot(int slot)
{
	PayUpstream *upstream = asked[slot].upstream;

	doubtful -= asked[slot].doubtful;
	asked[slot] = (PayAsked) {NULL};
	upstream->users--;
	busy--;
	return upstream;
}

typedef struct PayTokenReading
{
	PayUpstream *upstream;
	PayHttpResponse *response;
	bool		is_one;
	PayToken	token;
} PayTokenReading;

/* There is nothing to be written, so it is worked off here. */
static void
answered(int slot, PayHttpResponse *response)
{
	PayTokenReading reading = {free_slot(slot), response};
	PayUpstream *upstream = reading.upstream;
	PaySteady	now = pay_clock_now();

	if (response->hindrance == PAY_HTTP_NO_MEANS)
		pay_token_put_off(upstream->token, now);
	else if (response->transport != PAY_TRANSPORT_ANSWERED || !pay_worker_try(read_work, &reading, NULL) || !reading.is_one)
	{
		pay_token_failed(upstream->token, response->retry_after_s, now);
		no_token(upstream, response);
	}
	else if (!pay_token_got(upstream->token, &reading.token, now))
		no_token(upstream, response);
	else
		arrived = true;
	if (reading.token.text)
		explicit_bzero(reading.token.text, strlen(reading.token.text));
	explicit_bzero(response->body, response->body_bytes);
	pay_http_free(response);
}

static void
read_work(void *arg)
{
	PayTokenReading *reading = arg;
	PayHttpResponse *response = reading->response;
	PayAnswer	answer;

	pay_answer_init(&answer);
	answer.transport = response->transport;
	answer.http_status = response->http_status;
	answer.body = response->body;
	answer.body_bytes = response->body_bytes;
	answer.retry_after_s = response->retry_after_s;
	reading->is_one = pay_psp_read_token(reading->upstream->adapter, &answer, &reading->token);
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
