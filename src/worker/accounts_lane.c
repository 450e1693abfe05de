/*
 * src/worker/accounts_lane.c
 *		The worker's question to PSPs: whose account is our secret of?
 *
 * Asked once after the start and after each change of address or secret, before
 * anything else is sent: a secret of another account, put into the secrets file
 * by mistake, would charge there what is in doubt in the former one.  What the
 * answer says is compared with what was said first (pay_psp_note_account).
 *
 * A PSP that does not say it must not stop its payments for ever: any answer
 * settles the question for that secret, and after some tries without one
 * payments go on while it is asked again now and then.  PSPs that do not answer
 * get half of the slots at most.
 */
#include "payments.h"

#include "worker/lane.h"

#include "payment/create_psp.h"
#include "worker/transaction.h"
#include "worker/upstream.h"

#define SLOTS 32
/* Of these, for PSPs that did not answer when last asked. */
#define DOUBTFUL_SLOTS (SLOTS / 2)
/* When it is given up, at first; twice as late each time, so that many that hang do not fill the slots for long. */
#define TIMEOUT_MS 2000
#define TIMEOUT_MS_MAX 10000
#define RESPONSE_BYTES_MAX (256 * 1024)
/* Without an answer, payments wait for so many tries. */
#define TRIES_MAX 3
#define TRY_AGAIN_MS 1000
#define ASK_LATER_MS 60000
#define NOTE_AGAIN_MS 1000

typedef struct PayQuestion
{
	PayUpstream *upstream;		/* NULL: slot is free */
	bool		doubtful;		/* counted as such */
	uint64		serial;			/* of the address and secret that were asked about */
	int64		token;
	PayHttpResponse *response;	/* that is to be noted; NULL: it is on its way */
	PaySteady	note_at;
} PayQuestion;

typedef struct PayNote
{
	PayUpstream *upstream;
	PayAccount	account;
	bool		same;			/* as before */
} PayNote;

/* Process-local, written by this lane only. */
static PayQuestion asked[SLOTS];
static int	busy = 0;
static int	doubtful = 0;
static bool settled = false;	/* one, since the last look */

static PaySteady next_look(bool noted);
static void claim(void);
static PayUpstream *first_in_turn(PaySteady now);
static bool may_ask(const PayUpstream *upstream, PaySteady now);
static PayQuestion *take_slot(int slot, PayUpstream *upstream);
static void ask(void *arg);
static void not_asked(PayQuestion *question);
static void answered(int slot, PayHttpResponse *response);
static PaySteady next(bool idle);
static void step(bool idle);
static void conclude(PayQuestion *question);
static void note_work(void *arg);
static void ask_again(PayUpstream *upstream);
static void release(PayQuestion *question);

PayLane		pay_accounts_lane = {
	.name = "accounts",
	.slots = SLOTS,
	.next_look = next_look,
	.claim = claim,
	.answered = answered,
	.next = next,
	.step = step,
};

/* ---------- ask ---------- */

static PaySteady
next_look(bool noted)
{
	PayUpstream *upstream;

	if (settled)
		return 0;
	upstream = first_in_turn(pay_clock_now());
	return upstream ? upstream->account.ask_at : PAY_NEVER;
}

static void
claim(void)
{
	PaySteady	now = pay_clock_now();
	int			slot = 0;
	PayUpstream *upstream;

	settled = false;
	while ((upstream = first_in_turn(now)) != NULL && upstream->account.ask_at <= now)
	{
		while (asked[slot].upstream)
			slot++;
		if (!pay_worker_try(ask, take_slot(slot, upstream), NULL))
			not_asked(&asked[slot]);
	}
}

/* NULL: nobody may be asked as it is. */
static PayUpstream *
first_in_turn(PaySteady now)
{
	PayUpstream *first = NULL;

	for (int i = 0; i < pay_upstreams_count(); i++)
	{
		PayUpstream *upstream = pay_upstreams_get(i);

		if (may_ask(upstream, now) && (first == NULL || upstream->account.ask_at < first->account.ask_at))
			first = upstream;
	}
	return first;
}

static bool
may_ask(const PayUpstream *upstream, PaySteady now)
{
	return upstream->usable && upstream->adapter->build_account && !upstream->account.asking &&
		upstream->account.ask_at != PAY_NEVER && (upstream->token == NULL || pay_token_usable(upstream->token, now)) &&
		busy < pay_accounts_lane.allowed && (upstream->account.failures == 0 || doubtful < DOUBTFUL_SLOTS);
}

static PayQuestion *
take_slot(int slot, PayUpstream *upstream)
{
	asked[slot] = (PayQuestion) {
		.upstream = upstream,
		.doubtful = upstream->account.failures > 0,
		.serial = upstream->account.serial,
		.token = pay_upstream_token_serial(upstream),
	};
	upstream->account.asking = true;
	upstream->users++;
	busy++;
	doubtful += asked[slot].doubtful;
	return &asked[slot];
}

static void
ask(void *arg)
{
	PayQuestion *question = arg;
	PayRequest	wanted = {0};
	PayHttpRequest request = {0};

	question->upstream->adapter->build_account(&wanted);
	request.tag = pay_accounts_lane.first_tag + (question - asked);
	request.response_bytes_max = RESPONSE_BYTES_MAX;
	request.timeout_ms = Min(question->upstream->timeout_ms, Min(TIMEOUT_MS << Min(question->upstream->account.failures, 10), TIMEOUT_MS_MAX));
	pay_upstream_begun(question->upstream, 1, pay_clock_now());
	pay_upstream_send(question->upstream, &wanted, NULL, false, &request);
}

/* For a reason of our own, which says nothing of the PSP: again soon. */
static void
not_asked(PayQuestion *question)
{
	question->upstream->account.ask_at = pay_clock_now() + TRY_AGAIN_MS * INT64CONST(1000);
	release(question);
}

static void
answered(int slot, PayHttpResponse *response)
{
	if (pay_upstream_token_ended(asked[slot].upstream, asked[slot].token, response->http_status))
		response->transport = PAY_TRANSPORT_NOT_SENT;
	asked[slot].response = response;
	asked[slot].note_at = 0;
}

/* ---------- note ---------- */

static PaySteady
next(bool idle)
{
	PaySteady	due = PAY_NEVER;

	for (int i = 0; busy > 0 && i < SLOTS; i++)
		if (asked[i].response)
			due = Min(due, asked[i].note_at);
	return due;
}

static void
step(bool idle)
{
	PaySteady now = pay_clock_now();

	for (int i = 0; busy > 0 && i < SLOTS; i++)
		if (asked[i].response && asked[i].note_at <= now)
			conclude(&asked[i]);
}

static void
conclude(PayQuestion *question)
{
	PayUpstream *upstream = question->upstream;
	PayHttpResponse *response = question->response;
	PayNote		note = {.upstream = upstream};
	PayAnswer	answer;

	/* It was about what is in use no more. */
	if (question->serial != upstream->account.serial)
	{
		release(question);
		return;
	}
	pay_upstream_hinder(upstream, response->hindrance == PAY_HTTP_NOT_ALLOWED || response->hindrance == PAY_HTTP_NOT_SENDABLE ? response->error : NULL);
	if (response->hindrance != PAY_HTTP_UNHINDERED)
	{
		not_asked(question);
		return;
	}
	if (response->transport != PAY_TRANSPORT_ANSWERED || response->http_status == 429 || response->http_status >= 500)
	{
		ask_again(upstream);
		release(question);
		return;
	}
	pay_answer_init(&answer);
	answer.transport = response->transport;
	answer.http_status = response->http_status;
	answer.body = response->body;
	answer.body_bytes = response->body_bytes;
	upstream->adapter->read_account(&answer, upstream->secret, &note.account);
	switch (pay_worker_transaction(note_work, &note, NULL))
	{
		case PAY_WORK_FAILED:
			question->note_at = pay_clock_now() + NOTE_AGAIN_MS * INT64CONST(1000);
			return;
		case PAY_WORK_DONE:
			upstream->account.settled = note.same;
			upstream->account.told = note.account.id || note.account.mode;
			upstream->account.failures = 0;
			/* Halted, it is not asked; resumed, it is asked anew. */
			upstream->account.ask_at = note.same ? PAY_NEVER : 0;
			upstream->usable &= note.same;
			settled = true;
			break;
		default:
			upstream->account.ask_at = pay_clock_now() + NOTE_AGAIN_MS * INT64CONST(1000);
			break;
	}
	release(question);
}

static void
note_work(void *arg)
{
	PayNote    *note = arg;

	note->same = pay_psp_note_account(note->upstream->psp, note->upstream->adapter, &note->account);
}

static void
ask_again(PayUpstream *upstream)
{
	upstream->account.failures++;
	if (upstream->account.failures >= TRIES_MAX && !upstream->account.settled)
	{
		upstream->account.settled = true;
		settled = true;
		ereport(LOG,
				(errmsg("PSP \"%s\" does not say whose account its secret is of", upstream->psp),
				 errhint("Payments go on, and it is asked again; see psp.account_id for what it said before.")));
	}
	upstream->account.ask_at = pay_clock_now() +
		(upstream->account.settled ? ASK_LATER_MS : TRY_AGAIN_MS) * INT64CONST(1000);
}

static void
release(PayQuestion *question)
{
	doubtful -= question->doubtful;
	question->upstream->account.asking = false;
	question->upstream->users--;
	busy--;
	if (question->response)
		pay_http_free(question->response);
	memset(question, 0, sizeof(PayQuestion));
}
