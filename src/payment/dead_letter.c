/*
 * src/payment/dead_letter.c
 *		Operations that nothing but a person can bring further.
 *
 * A dead letter's operation is open and out of the queue, so nothing happens
 * to it until somebody redrives it, discards it, or the PSP tells its end.  At
 * most one dead letter of an operation is undecided.
 */
#include "payments.h"

#include "payment/dead_letter.h"
#include "base/uuid.h"
#include "core/arguments.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/apply.h"
#include "payment/payment.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void require_reason(const char *reason, const char *what, const char *hint);
static PayOperation *load_dead_letter(const pg_uuid_t *id, PayPayments **set, const char *verb);

PAY_FUNCTION(pay_redrive);
PAY_FUNCTION(pay_discard);

static PayStmt find_payment = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id FROM payments.operation WHERE operation_id = $1", UUIDOID);

static PayStmt find_dead_letter = PAY_STMT(SPI_OK_SELECT,
	"SELECT operation_id, payment_id FROM payments.dead_letter WHERE dead_letter_id = $1", UUIDOID);

static PayStmt read_decision = PAY_STMT(SPI_OK_SELECT,
	"SELECT decision FROM payments.dead_letter WHERE dead_letter_id = $1", UUIDOID);

static PayStmt decide_dead_letter = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.dead_letter SET decision = $2, decided_at = $3, decided_by = $4, decision_reason = $5 "
	"WHERE dead_letter_id = $1 AND decision IS NULL", UUIDOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID);

/* What the PSP says that it has charged, or refunded, is booked for another payment: one that was adopted after a restore. */
const char *
pay_dead_letter_reason(int sqlstate)
{
	return sqlstate == ERRCODE_UNIQUE_VIOLATION ? "booked_elsewhere" : "cannot_complete";
}

bool
pay_dead_letter_bury(const pg_uuid_t *operation_id, const char *reason, const char *detail,
					 TimestampTz now, const char *actor)
{
	PayArgs		args = {0};
	pg_uuid_t	payment_id;
	PayPayments *set;
	PayOperation *operation;

	pay_arg_uuid(&args, operation_id);
	if (pay_spi_exec(&find_payment, &args) == 0)
		return false;
	payment_id = pay_spi_uuid(0, 1);
	set = pay_payments_load(&payment_id, 1, now, actor);
	operation = set->n == 1 ? pay_payment_operation(&set->list[0], operation_id) : NULL;
	if (operation == NULL || !operation->queued)
		return false;
	/* Something was sent and its answer could not be used: nobody knows. */
	if (operation->attempts > 0 && pay_operation_is_open(operation))
	{
		operation->status = "in_doubt";
		operation->dirty = true;
		if (pay_operation_is_first(operation) && pay_payment_can(&set->list[0], "doubt"))
			pay_payment_event(set, &set->list[0], "doubt", operation, "worker", reason);
	}
	pay_operation_bury(operation, reason, detail);
	pay_payments_save(set);
	return true;
}

/*
 * redrive(dead_letter_id, resend, reason): back into the queue, due now; what
 * is in doubt is inquired first.  With `resend` it is a person's word that the
 * PSP has not done it: it is sent, and the PSP's key counts from now.
 */
Datum
pay_redrive(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	bool		resend = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	char	   *reason = pay_text_argument(fcinfo, 2);
	PayPayments *set;
	PayOperation *operation;
	PayArgs		args = {0};
	bool		in_doubt,
				at_psp;

	pay_require_given(fcinfo, 0, "dead_letter_id");
	id = PG_GETARG_UUID_P(0);
	if (resend)
		require_reason(reason, "send a dead letter again", "Say how you know that the PSP did not do it: redrive(id, true, 'no charge on the dashboard').");
	else if (reason)
		pay_refuse_card_number(reason, "reason");
	pay_spi_begin();
	operation = load_dead_letter(id, &set, "redrive");
	in_doubt = strcmp(operation->status, "in_doubt") == 0;
	at_psp = strcmp(operation->status, "requires_action") == 0 || strcmp(operation->status, "processing") == 0;
	if (resend && at_psp)
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("cannot send what the PSP has accepted once more"),
				 errdetail("The operation is in status \"%s\".", operation->status),
				 errhint("Leave out resend: the PSP is asked what became of it.")));
	if (resend && pay_operation_is_first(operation) && pay_payment_has_money(&set->list[0]))
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("cannot charge a payment again whose money has come"),
				 errdetail("The payment is in status \"%s\".", set->list[0].status),
				 errhint("Leave out resend: the PSP is asked what is left to know.")));
	operation->schedule = NULL;
	operation->try = 0;
	operation->lost = 0;
	operation->refused = 0;
	if (resend && in_doubt)
	{
		operation->key_used_at = set->now;
		operation->dirty = true;
	}
	pay_operation_enqueue(set, operation, at_psp || (in_doubt && !resend) ? "inquire" : "send", set->now);
	operation->dead_letter_resolved = false;	/* decided here, below */
	pay_payments_save(set);

	pay_arg_uuid(&args, id);
	pay_arg_text(&args, "redriven");
	pay_arg_time(&args, set->now);
	pay_arg_text(&args, set->actor);
	pay_arg_text(&args, reason);
	pay_spi_exec(&decide_dead_letter, &args);
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* discard(dead_letter_id, reason): a person has decided that it did not happen. */
Datum
pay_discard(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	char	   *reason = pay_text_argument(fcinfo, 1);
	PayPayments *set;
	PayPayment *payment;
	PayOperation *operation;
	PaySums		before;
	PayArgs		args = {0};

	pay_require_given(fcinfo, 0, "dead_letter_id");
	id = PG_GETARG_UUID_P(0);
	require_reason(reason, "discard a dead letter", "Say how you know that the PSP did not do it: discard(id, 'no charge on the dashboard').");
	pay_spi_begin();
	operation = load_dead_letter(id, &set, "discard");
	payment = &set->list[0];
	pay_apply_sum_up(payment, &before);
	pay_payment_release(payment, operation);
	if (pay_operation_is_first(operation) && pay_payment_can(payment, "discard"))
		pay_payment_event(set, payment, "discard", operation, "person", NULL);
	pay_apply_follow(set, payment, &before, operation, "person", NULL);
	payment->dirty = true;
	operation->failure_code = "discarded";
	pay_operation_finish(set, operation, "failed", "person");
	operation->dead_letter_resolved = false;	/* decided here, below */
	pay_payments_save(set);

	pay_arg_uuid(&args, id);
	pay_arg_text(&args, "discarded");
	pay_arg_time(&args, set->now);
	pay_arg_text(&args, set->actor);
	pay_arg_text(&args, reason);
	pay_spi_exec(&decide_dead_letter, &args);
	pay_spi_end();
	ForceSyncCommit();
	PG_RETURN_VOID();
}

static void
require_reason(const char *reason, const char *what, const char *hint)
{
	if (reason == NULL || reason[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reason is needed to %s", what),
				 errhint("%s", hint)));
	pay_refuse_card_number(reason, "reason");
}

/* Locks the payment, then looks whether the dead letter is still open. */
static PayOperation *
load_dead_letter(const pg_uuid_t *id, PayPayments **set, const char *verb)
{
	PayArgs		args = {0};
	PayArgs		again = {0};
	pg_uuid_t	operation_id,
				payment_id;
	PayOperation *operation;
	char	   *decision;

	pay_arg_uuid(&args, id);
	if (pay_spi_exec(&find_dead_letter, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_DEAD_LETTER_NOT_FOUND),
				 errmsg("dead letter %s does not exist", pay_uuid_text(id)),
				 errhint("SELECT * FROM payments.dead_letter WHERE decision IS NULL lists the open ones.")));
	operation_id = pay_spi_uuid(0, 1);
	payment_id = pay_spi_uuid(0, 2);
	*set = pay_payments_load(&payment_id, 1, GetCurrentTimestamp(), GetUserNameFromId(GetOuterUserId(), false));

	pay_arg_uuid(&again, id);
	pay_spi_exec(&read_decision, &again);
	decision = pay_spi_text(0, 1);
	operation = (*set)->n == 1 ? pay_payment_operation(&(*set)->list[0], &operation_id) : NULL;
	if (decision != NULL || operation == NULL || !pay_operation_is_open(operation) || operation->queued)
		ereport(ERROR,
				(errcode(PAY_ERR_DEAD_LETTER_DECIDED),
				 errmsg("cannot %s a dead letter that has been decided", verb),
				 errdetail("It was %s.", decision ? decision : "resolved"),
				 errhint("Look at payments.dead_letter for who decided and why.")));
	return operation;
}
