/*
 * src/payment/dead_letter.c
 *		What a person decides about operations.
 *
 * A dead letter's operation is open and out of the queue, so nothing happens
 * to it until somebody redrives it, discards it, or the PSP tells its end.  At
 * most one dead letter of an operation is undecided.
 */
#include "payments.h"

#include "payment/dead_letter.h"
#include "base/uuid.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/apply_private.h"
#include "payment/object.h"
#include "payment/payment.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define OBJECT_ID_BYTES_MAX 255

static void require_reason(const char *reason, const char *what, const char *hint);
static bool is_done(PayPayment *payment, PayOperation *operation);
static void discard(PayPayments *set, PayOperation *operation, const char *reason);
static PayOperation *load_undecided(const pg_uuid_t *id, PayPayments **set);
static void bury_undecided(PayOperation *operation);
static const char *object_id_of(const PayPayment *payment, const PayOperation *operation, const char *given);
static bool names_payment(const PayPayment *payment, const PayOperation *operation);
static bool is_one_of_several(const PayPayment *payment, const PayOperation *operation);
static void refuse_of_payment(const PayPayment *payment, const char *id);
static void refuse_of_operation(const PayPayment *payment, const PayOperation *operation, const char *id);
static void refuse_booked_otherwise(const PayPayment *payment, const PayOperation *operation, const char *id);
static void confirm(PayPayments *set, PayOperation *operation, const char *object_id, const char *reason);
static PayOperation *load_dead_letter(const pg_uuid_t *id, PayPayments **set, const char *verb);

PAY_FUNCTION(pay_redrive);
PAY_FUNCTION(pay_discard);
PAY_FUNCTION(pay_decide_operation);

static PayStmt find_payment = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id FROM payments.operation WHERE operation_id = $1", UUIDOID);

static PayStmt find_dead_letter = PAY_STMT(SPI_OK_SELECT,
	"SELECT operation_id, payment_id FROM payments.dead_letter WHERE dead_letter_id = $1", UUIDOID);

static PayStmt read_decision = PAY_STMT(SPI_OK_SELECT,
	"SELECT decision FROM payments.dead_letter WHERE dead_letter_id = $1", UUIDOID);

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
PAY_VERB(pay_redrive)
{
	pg_uuid_t  *id;
	bool		resend = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	char	   *reason = pay_text_argument(fcinfo, 2);
	PayPayments *set;
	PayOperation *operation;
	bool		in_doubt,
				at_psp;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "dead_letter_id");
	id = PG_GETARG_UUID_P(0);
	if (resend)
		require_reason(reason, "send a dead letter again", "Say how you know that the PSP did not do it: redrive(id, true, 'no charge on the dashboard').");
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
	if (resend && (is_done(&set->list[0], operation) || (pay_operation_is_first(operation) && pay_payment_has_money(&set->list[0]))))
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("cannot send a %s again whose money has come", pay_op_kind_name(operation->kind)),
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
	operation->decision = "redriven";
	operation->resolution = reason;
	pay_operation_enqueue(set, operation, at_psp || (in_doubt && !resend) ? "inquire" : "send", set->now);
	pay_payments_save(set);
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	PG_RETURN_VOID();
}

/* discard(dead_letter_id, reason): a person has decided that it did not happen. */
PAY_VERB(pay_discard)
{
	char	   *reason = pay_text_argument(fcinfo, 1);
	PayPayments *set;
	PayOperation *operation;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "dead_letter_id");
	require_reason(reason, "discard a dead letter", "Say how you know that the PSP did not do it: discard(id, 'no charge on the dashboard').");
	pay_spi_begin();
	operation = load_dead_letter(PG_GETARG_UUID_P(0), &set, "discard");
	discard(set, operation, reason);
	pay_payments_save(set);
	pay_spi_end();
	ForceSyncCommit();
	PG_RETURN_VOID();
}

/* It fails, and what it had reserved is free; unless it is booked, and open for what is left to know. */
static void
discard(PayPayments *set, PayOperation *operation, const char *reason)
{
	PayPayment *payment = &set->list[0];
	PaySums		before;

	if (is_done(payment, operation))
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("cannot decide that a %s was not made whose money has come", pay_op_kind_name(operation->kind)),
				 errdetail("The payment is in status \"%s\".", payment->status),
				 errhint("Ask the PSP what is left to know, with redrive() and without resend, or decide that it has succeeded.")));
	operation->decision = "discarded";
	operation->resolution = reason;
	pay_apply_sum_up(payment, &before);
	pay_payment_release(payment, operation);
	if (pay_operation_is_first(operation) && pay_payment_can(payment, "discard"))
		pay_payment_event(set, payment, "discard", operation, "person", NULL);
	pay_apply_follow(set, payment, &before, operation, "person", NULL);
	operation->failure_code = "discarded";
	pay_operation_finish(set, operation, "failed", "person");
	/* That the authorization has expired may have waited for it. */
	if (operation->kind == PAY_OP_CAPTURE)
		pay_apply_lapse(&(PayContext) {.set = set, .payment = payment, .operation = operation, .report = &(PayReport) {0}, .source = "person"});
}

/* Is what it was for booked, by whatever word?  Of a refund only its own object can say so. */
static bool
is_done(PayPayment *payment, PayOperation *operation)
{
	PayContext	c = {.payment = payment, .operation = operation};

	if (operation->kind != PAY_OP_REFUND)
		return pay_apply_done(&c);
	return operation->psp_object_id && pay_payment_moved(payment, "refund", operation->psp_object_id) &&
		!pay_payment_moved(payment, "refund_failed", operation->psp_object_id);
}

/* decide_operation(operation_id, outcome, reason, psp_object_id) */
PAY_VERB(pay_decide_operation)
{
	char	   *outcome = pay_text_argument(fcinfo, 1);
	char	   *reason = pay_text_argument(fcinfo, 2);
	char	   *object_id = pay_text_argument(fcinfo, 3);
	PayPayments *set;
	PayOperation *operation;
	bool		succeeded;

	pay_refuse_card_arguments(fcinfo);
	pay_require_given(fcinfo, 0, "operation_id");
	succeeded = outcome && strcmp(outcome, "succeeded") == 0;
	if (!succeeded && !(outcome && strcmp(outcome, "failed") == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("outcome must be \"succeeded\" or \"failed\""),
				 errhint("It is what you have found out that the PSP did. While you do not know, leave it in doubt: the PSP is asked again.")));
	require_reason(reason, "decide about an operation", "Say how you know it: decide_operation(id, 'failed', 'no charge on the dashboard').");
	pay_require_text(object_id, OBJECT_ID_BYTES_MAX, "psp_object_id");
	pay_spi_begin();
	operation = load_undecided(PG_GETARG_UUID_P(0), &set);
	if (succeeded)
		confirm(set, operation, object_id_of(&set->list[0], operation, object_id), reason);
	else
	{
		bury_undecided(operation);
		discard(set, operation, reason);
		pay_payments_save(set);
	}
	pay_spi_end();
	ForceSyncCommit();
	PG_RETURN_VOID();
}

/*
 * Locks the payment, then looks whether there is something to decide: it is in
 * doubt or a dead letter, and no call is under way.  What the PSP says to that
 * is worth more than any page that somebody has looked at before.
 */
static PayOperation *
load_undecided(const pg_uuid_t *id, PayPayments **set)
{
	PayArgs		args = {0};
	pg_uuid_t	payment_id;
	PayOperation *operation;

	pay_arg_uuid(&args, id);
	if (pay_spi_exec(&find_payment, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_OPERATION_NOT_FOUND),
				 errmsg("operation %s does not exist", pay_uuid_text(id)),
				 errhint("SELECT * FROM payments.stuck lists those that have not gone through.")));
	payment_id = pay_spi_uuid(0, 1);
	*set = pay_payments_load(&payment_id, 1, GetCurrentTimestamp(), pay_caller_name());
	operation = (*set)->n == 1 ? pay_payment_operation(&(*set)->list[0], id) : NULL;
	if (operation == NULL || !pay_operation_is_open(operation))
		ereport(ERROR,
				(errcode(PAY_ERR_DEAD_LETTER_DECIDED),
				 errmsg("cannot decide about an operation that is over"),
				 operation ? errdetail("It has %s, by word of: %s.", operation->status, operation->source) : 0,
				 errhint("Look at it with get_operation().")));
	if (operation->queued && operation->claimed_by && operation->due_at > (*set)->now)
		ereport(ERROR,
				(errcode(PAY_ERR_OPERATION_IN_PROGRESS),
				 errmsg("cannot decide about an operation while a call for it is under way"),
				 errdetail("It ends by %s.", timestamptz_to_str(operation->due_at)),
				 errhint("Its answer may say what became of the operation: look again after it.")));
	if (operation->dead_letter == NULL && strcmp(operation->status, "in_doubt") != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("nothing about this operation is in doubt"),
				 errdetail("It is in status \"%s\".", operation->status),
				 errhint("Wait for its result with wait_operation() or wait_payment(), or cancel the payment.")));
	return operation;
}

/* The decision is kept with a dead letter, also of what was none yet. */
static void
bury_undecided(PayOperation *operation)
{
	if (operation->dead_letter == NULL)
		pay_operation_bury(operation, "in_doubt", "decided before its schedule had ended");
}

/*
 * By this id the PSP's later word is known to be the same money, so it must be
 * the PSP's own, and nothing else's.
 */
static const char *
object_id_of(const PayPayment *payment, const PayOperation *operation, const char *given)
{
	const char *known = operation->psp_object_id ? operation->psp_object_id :
		names_payment(payment, operation) ? payment->psp_payment_id : NULL;
	const char *id = given ? given : known;

	if (id == NULL || id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp_object_id is needed to decide that a %s has succeeded", pay_op_kind_name(operation->kind)),
				 errhint("It is the PSP's own id of it, as its pages show it. By it the money counts once, whatever the PSP says later.")));
	if (known && strcmp(id, known) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp_object_id is not the one that the PSP has told"),
				 errdetail("The PSP has called it \"%s\".", known),
				 errhint("Leave it out, or look whether this is the operation that you mean.")));
	if (payment->adapter && payment->adapter->is_object_id && !payment->adapter->is_object_id(operation->kind, id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("psp_object_id is no id that PSP \"%s\" gives to a %s", payment->psp, pay_op_kind_name(operation->kind)),
				 errhint("%s", payment->adapter->object_id_hint ? payment->adapter->object_id_hint(operation->kind)
						 : "Take it from the PSP's pages of this very object.")));
	refuse_of_payment(payment, id);
	if (!names_payment(payment, operation))
		refuse_of_operation(payment, operation, id);
	refuse_booked_otherwise(payment, operation, id);
	return id;
}

/* Is its object the payment itself? */
static bool
names_payment(const PayPayment *payment, const PayOperation *operation)
{
	return (pay_operation_is_first(operation) && !(payment->adapter && payment->adapter->payment_is_order)) ||
		operation->kind == PAY_OP_VOID || operation->kind == PAY_OP_EXPIRE ||
		(operation->kind == PAY_OP_CAPTURE && payment->adapter && payment->adapter->capture_is_payment);
}

static void
refuse_of_payment(const PayPayment *payment, const char *id)
{
	pg_uuid_t	whose;

	if (pay_object_is_elsewhere(payment, id, &whose) || pay_object_is_told_elsewhere(payment, id, &whose))
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("psp_object_id belongs to another payment"),
				 errdetail("It is payment %s's.", pay_uuid_text(&whose)),
				 errhint("Look at the PSP's pages again: one object of the PSP's is one payment's.")));
}

/* One that has failed as well: the PSP, or a person, has said what became of it. */
static void
refuse_of_operation(const PayPayment *payment, const PayOperation *operation, const char *id)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
	{
		const PayOperation *other = lfirst(cell);

		if (other != operation && other->psp_object_id && strcmp(other->psp_object_id, id) == 0)
			ereport(ERROR,
					(errcode(PAY_ERR_WRONG_STATE),
					 errmsg("psp_object_id belongs to another operation"),
					 errdetail("It is %s %s's of this payment, in status \"%s\".", pay_op_kind_name(other->kind),
							   pay_uuid_text(&other->operation_id), other->status),
					 errhint("Look at the PSP's pages again: one object of the PSP's is one operation's.")));
	}
}

/* A capture whose id is the payment's, and so that of those before it. */
static bool
is_one_of_several(const PayPayment *payment, const PayOperation *operation)
{
	return operation->kind == PAY_OP_CAPTURE && payment->captured > 0 && payment->capture_pending > 0 && names_payment(payment, operation);
}

/* What was told of the object before must be what is said of it now: that much, and not that it failed. */
static void
refuse_booked_otherwise(const PayPayment *payment, const PayOperation *operation, const char *id)
{
	bool		is_refund = operation->kind == PAY_OP_REFUND;
	ListCell   *cell;

	foreach(cell, payment->moved)
	{
		const PayMoved *moved = lfirst(cell);
		bool		is_capture = strcmp(moved->kind, "capture") == 0 || strcmp(moved->kind, "late_capture") == 0;

		if (strcmp(moved->object_id, id) != 0)
			continue;
		if (is_refund ? strcmp(moved->kind, "refund") == 0 && moved->amount == operation->amount :
			!is_capture || operation->kind == PAY_OP_VOID || is_one_of_several(payment, operation) || moved->amount == operation->amount)
			continue;
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("psp_object_id is booked as something else"),
				 errdetail("It is a %s of " INT64_FORMAT " in minor units, and this is a %s of " INT64_FORMAT ".",
						   moved->kind, moved->amount, pay_op_kind_name(operation->kind), operation->amount),
				 errhint("Look at the payment's movements, and at the PSP's pages again.")));
	}
}

/* Through the door of every word: what a person has found out moves money as an answer does. */
static void
confirm(PayPayments *set, PayOperation *operation, const char *object_id, const char *reason)
{
	static const PayEffect effects[] = {
		[PAY_OP_CHARGE] = PAY_EFFECT_CAPTURED, [PAY_OP_AUTHORIZE] = PAY_EFFECT_AUTHORIZED, [PAY_OP_CAPTURE] = PAY_EFFECT_CAPTURED,
		[PAY_OP_VOID] = PAY_EFFECT_VOIDED, [PAY_OP_REFUND] = PAY_EFFECT_REFUNDED, [PAY_OP_PAYOUT] = PAY_EFFECT_PAID_OUT,
		[PAY_OP_EXPIRE] = PAY_EFFECT_EXPIRED,
	};
	PayReport	report = {.source = PAY_SOURCE_PERSON};
	PayPayment *payment = &set->list[0];
	bool		has_rest = payment->captured > 0 && pay_payment_rest(payment) > 0;

	bury_undecided(operation);
	operation->decision = "confirmed";
	operation->resolution = reason;
	report.psp = set->list[0].psp;
	report.payment_known = true;
	report.payment_id = set->list[0].payment_id;
	report.operation_id = operation->operation_id;
	report.outcome = PAY_OUTCOME_NO_EFFECT;
	report.result.class = PAY_CLASS_APPROVED;
	report.result.effect = effects[operation->kind];
	report.result.amount = operation->amount + (is_one_of_several(&set->list[0], operation) ? set->list[0].captured : 0);
	report.result.object_id = object_id;
	report.result.psp_payment_id = pay_operation_is_first(operation) && names_payment(&set->list[0], operation) ? object_id : NULL;
	report.result.retry_after_ms = -1;
	pay_apply_one(set, &report);
	/* A cancellation of what has been captured meanwhile, a capture in another amount. */
	if (strcmp(operation->status, "succeeded") != 0 ||
		(operation->kind == PAY_OP_VOID && !(has_rest && pay_payment_rest(payment) == 0) && strcmp(payment->status, "cancelled") != 0))
		ereport(ERROR,
				(errcode(PAY_ERR_WRONG_STATE),
				 errmsg("it cannot be booked that this %s has succeeded", pay_op_kind_name(operation->kind)),
				 errdetail("The payment is in status \"%s\".", set->list[0].status),
				 errhint("Look at the payment with get_payment(), and at payments.exception.")));
	pay_apply_save(set);
}

static void
require_reason(const char *reason, const char *what, const char *hint)
{
	pay_require_writable();
	if (reason == NULL || reason[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reason is needed to %s", what),
				 errhint("%s", hint)));
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
	*set = pay_payments_load(&payment_id, 1, GetCurrentTimestamp(), pay_caller_name());

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
