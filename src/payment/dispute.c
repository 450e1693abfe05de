/*
 * src/payment/dispute.c
 *		How far a dispute is: stages, and until when somebody must do something.
 *
 * Money is not decided here: what a dispute takes, gives back or loses are
 * movements (payment/apply_money.c).  A stage is a word for people beside
 * them, and a row for each that is news, under the lock of the payment.
 *
 * Words may come in any order: a dispute goes on from one rank to the next, and
 * what is of an earlier one is late.  The ends are of one rank, so that a PSP
 * which changes its mind is heard.
 */
#include "payments.h"

#include "payment/apply_private.h"
#include "core/spi.h"
#include "payment/outbox.h"

#include "utils/timestamp.h"

/* The year 2200. */
#define EVIDENCE_DUE_MAX_S INT64CONST(7258118400)

#define INQUIRY_CLOSED "the bank's inquiry was closed"

typedef struct Stage
{
	const char *name;
	int			rank;
} Stage;

static const Stage stages[] = {
	{"inquiry", 1},
	{"inquiry_under_review", 2},
	{"inquiry_closed", 3},
	{"open", 4},
	{"under_review", 5},
	{"won", 6},
	{"lost", 6},
	{"prevented", 6},
};

static const char *stage_of(const PayResult *result);
static int	rank_of(const char *stage);
static bool is_news(const PayContext *c, const char *stage, TimestampTz due, int *seq);
static void tell_person(PayContext *c, const char *stage, TimestampTz due);

static PayStmt read_latest = PAY_STMT(SPI_OK_SELECT,
	"SELECT seq, stage, evidence_due FROM payments.dispute_stage WHERE psp = $1 AND object_id = $2 ORDER BY seq DESC LIMIT 1",
	TEXTOID, TEXTOID);

static PayStmt insert_stage = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.dispute_stage (psp, object_id, seq, payment_id, stage, amount, currency, reason, fee, evidence_due, source, recorded_at) "
	"VALUES ($1, $2, $3, $4, $5, nullif($6, 0), $7, $8, nullif($9, 0), $10, $11, $12)",
	TEXTOID, TEXTOID, INT4OID, UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID);

void
pay_dispute_note(PayContext *c)
{
	const PayResult *r = &c->result;
	const char *stage = stage_of(r);
	TimestampTz due = r->evidence_due > 0 && r->evidence_due < EVIDENCE_DUE_MAX_S ? time_t_to_timestamptz((pg_time_t) r->evidence_due) : 0;
	PayArgs		args = {0};
	int			seq;

	if (rank_of(stage) == 0 || !is_news(c, stage, due, &seq))
		return;
	pay_arg_text(&args, pay_payment_speaker(c->payment));
	pay_arg_text(&args, r->object_id);
	pay_arg_int32(&args, seq);
	pay_arg_uuid(&args, &c->payment->payment_id);
	pay_arg_text(&args, stage);
	pay_arg_int64(&args, r->amount);
	pay_arg_text(&args, c->payment->currency);
	pay_arg_text(&args, pay_apply_code(r));
	pay_arg_int64(&args, r->fee);
	if (due)
		pay_arg_time(&args, due);
	else
		pay_arg_null(&args);
	pay_arg_text(&args, c->source);
	pay_arg_time(&args, c->set->now);
	pay_spi_exec(&insert_stage, &args);
	pay_outbox_dispute(c->set, c->payment, r->object_id, stage, r->amount, pay_apply_code(r), due);
	tell_person(c, stage, due);
	count_applied(c);
}

/* By the adapter's word, else by what has happened to the money. */
static const char *
stage_of(const PayResult *result)
{
	switch (result->effect)
	{
		case PAY_EFFECT_DISPUTED:
			return result->dispute_stage ? result->dispute_stage : "open";
		case PAY_EFFECT_DISPUTE_WON:
			return "won";
		case PAY_EFFECT_DISPUTE_LOST:
			return "lost";
		default:
			return result->dispute_stage;
	}
}

/* 0: no such stage. */
static int
rank_of(const char *stage)
{
	for (size_t i = 0; stage && i < lengthof(stages); i++)
		if (strcmp(stages[i].name, stage) == 0)
			return stages[i].rank;
	return 0;
}

/* Another stage, not an earlier one; or another date. */
static bool
is_news(const PayContext *c, const char *stage, TimestampTz due, int *seq)
{
	PayArgs		args = {0};
	const char *latest;

	pay_arg_text(&args, pay_payment_speaker(c->payment));
	pay_arg_text(&args, c->result.object_id);
	*seq = 1;
	if (pay_spi_exec(&read_latest, &args) == 0)
		return true;
	*seq = pay_spi_int32(0, 1) + 1;
	latest = pay_spi_text(0, 2);
	if (strcmp(latest, stage) == 0)
		return due != 0 && (pay_spi_isnull(0, 3) || pay_spi_time(0, 3) != due);
	return rank_of(stage) >= rank_of(latest);
}

/* Of disputes that take money payment/apply_money.c tells; an inquiry wants an answer too, and may become one. */
static void
tell_person(PayContext *c, const char *stage, TimestampTz due)
{
	const char *id = c->result.object_id;

	if (strcmp(stage, "inquiry") == 0)
		pay_payment_exception(c->set, c->payment, NULL, "disputed", id, c->result.amount,
							  due ? psprintf("the payer's bank asks about this payment; answer at the PSP before %s", timestamptz_to_str(due))
							  : "the payer's bank asks about this payment; answer at the PSP");
	else if (strcmp(stage, "inquiry_closed") == 0)
		pay_payment_resolve(c->set, c->payment, "disputed", id, INQUIRY_CLOSED);
	else if (strcmp(stage, "open") == 0)
		pay_payment_reopen(c->set, c->payment, "disputed", id, INQUIRY_CLOSED);
}
