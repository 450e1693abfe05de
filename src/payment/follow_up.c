/*
 * src/payment/follow_up.c
 *		The verbs on a payment that is there: capture, cancel, refund.
 *
 * What holds for all verbs is in payment/verbs.c.
 */
#include "payments.h"

#include "base/money.h"
#include "base/uuid.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/ability.h"
#include "payment/apply.h"
#include "payment/idempotency.h"
#include "payment/payment.h"
#include "payment/state.h"
#include "payment/verbs.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* capture, cancel and refund: the same script with another middle. */
typedef struct PayFollowUp
{
	const char *verb;			/* "capture_payment", ... */
	PayOpKind	kind;
	pg_uuid_t	payment_id;
	const char *key;
	bool		amount_given;
	int64		amount;
	bool		keep_rest;		/* of a capture: it is not the last one */
	const char *reason;
} PayFollowUp;

static Datum follow_up(FunctionCallInfo fcinfo, PayFollowUp *f);
static PayOperation *insert_operation(PayPayments *set, PayPayment *payment, PayFollowUp *f, int64 amount, PayFirstResult *result);
static const char *money(const PayPayment *payment, int64 amount);
static const char *asked_for(const PayPayment *payment, const PayFollowUp *f);
static void add_capture(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result);
static void add_refund(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result);
static void add_void(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result);
static void cancel_unsent(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result);
static void refuse_while_open(PayPayment *payment, PayOpKind kind, const char *verb);
pg_noreturn static void refuse_status(const PayPayment *payment, const char *what, const char *hint);

PAY_FUNCTION(pay_capture_payment);
PAY_FUNCTION(pay_cancel_payment);
PAY_FUNCTION(pay_refund_payment);

static void
read_follow_up(FunctionCallInfo fcinfo, PayFollowUp *f)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(PAY_ERR_PAYMENT_NOT_FOUND),
				 errmsg("payment_id must not be null"),
				 errhint("Pass the payment_id that create_payment() returned.")));
	f->payment_id = *PG_GETARG_UUID_P(0);
	f->key = pay_text_argument(fcinfo, 1);
}

/* capture_payment(payment_id, idempotency_key, amount, final) */
PAY_VERB(pay_capture_payment)
{
	PayFollowUp f = {.verb = "capture_payment", .kind = PAY_OP_CAPTURE};

	pay_refuse_card_arguments(fcinfo);
	read_follow_up(fcinfo, &f);
	f.amount_given = !PG_ARGISNULL(2);
	f.amount = f.amount_given ? PG_GETARG_INT64(2) : 0;
	f.keep_rest = !PG_ARGISNULL(3) && !PG_GETARG_BOOL(3);
	return follow_up(fcinfo, &f);
}

/* cancel_payment(payment_id, idempotency_key, reason) */
PAY_VERB(pay_cancel_payment)
{
	PayFollowUp f = {.verb = "cancel_payment", .kind = PAY_OP_VOID};

	pay_refuse_card_arguments(fcinfo);
	read_follow_up(fcinfo, &f);
	f.reason = pay_text_argument(fcinfo, 2);
	return follow_up(fcinfo, &f);
}

/* refund_payment(payment_id, idempotency_key, amount, reason) */
PAY_VERB(pay_refund_payment)
{
	PayFollowUp f = {.verb = "refund_payment", .kind = PAY_OP_REFUND};

	pay_refuse_card_arguments(fcinfo);
	read_follow_up(fcinfo, &f);
	f.amount_given = !PG_ARGISNULL(2);
	f.amount = f.amount_given ? PG_GETARG_INT64(2) : 0;
	f.reason = pay_text_argument(fcinfo, 3);
	return follow_up(fcinfo, &f);
}

static PayStmt find_merchant_of = PAY_STMT(SPI_OK_SELECT,
	"SELECT merchant FROM payments.payment WHERE payment_id = $1", UUIDOID);

/*
 * The order matters: the key first, since it is what twins meet at; then the
 * payment's row lock; and every check after that, on what the lock protects.
 */
static Datum
follow_up(FunctionCallInfo fcinfo, PayFollowUp *f)
{
	PayArgs		args = {0};
	PaySha256  *sha;
	uint8		hash[PAY_HASH_BYTES];
	const char *merchant;
	PayPayments *set;
	PayFirstResult result;
	TimestampTz now = GetCurrentTimestamp();
	const PayAsked asked[PAY_ASKED_MAX] = {
		{"payment_id", pay_uuid_text(&f->payment_id)},
		{"amount", f->amount_given ? psprintf(INT64_FORMAT, f->amount) : NULL},
		{"reason", f->reason},
		{"final", f->keep_rest ? "false" : "true"},
	};

	pay_verb_check_key(f->key);
	pay_verb_check_text("reason", f->reason, 1000);
	if (f->amount_given)
		pay_verb_check_amount(f->amount);
	sha = pay_sha_begin();
	pay_sha_add_uuid(sha, &f->payment_id);
	pay_sha_add_int64(sha, f->amount_given ? f->amount : -1);
	pay_sha_add_text(sha, f->reason);
	pay_sha_add_int64(sha, f->keep_rest ? 1 : 0);
	pay_sha_finish(sha, hash);

	pay_spi_begin();
	pay_arg_uuid(&args, &f->payment_id);
	if (pay_spi_exec(&find_merchant_of, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_PAYMENT_NOT_FOUND),
				 errmsg("payment %s does not exist", pay_uuid_text(&f->payment_id)),
				 errhint("Pass the payment_id that create_payment() returned.")));
	merchant = pay_spi_text(0, 1);
	pay_require_merchant(merchant);

	if (pay_idempotency_find(merchant, f->key, f->verb, hash, asked, &result))
	{
		pay_spi_end();
		return pay_verb_result(fcinfo, &result.operation_id, result.status, true);
	}

	/* Twins with the same key queue up at this lock, and the later one then finds the key. */
	set = pay_payments_load(&f->payment_id, 1, now, pay_caller_name());
	if (set->n != 1)
		elog(ERROR, "payment vanished");
	/* Again: the merchant may have been given to another role while this waited. */
	pay_require_merchant(merchant);
	if (pay_idempotency_find(merchant, f->key, f->verb, hash, asked, &result))
	{
		pay_spi_end();
		return pay_verb_result(fcinfo, &result.operation_id, result.status, true);
	}
	result.payment_id = f->payment_id;
	result.status = "initiated";
	if (f->kind == PAY_OP_CAPTURE)
		add_capture(set, &set->list[0], f, &result);
	else if (f->kind == PAY_OP_REFUND)
		add_refund(set, &set->list[0], f, &result);
	else
		add_void(set, &set->list[0], f, &result);

	if (!pay_idempotency_insert(merchant, f->key, f->verb, hash, &result, now))
	{
		/* Taken meanwhile for another payment of this merchant: certainly another request, which this raises. */
		pay_idempotency_find(merchant, f->key, f->verb, hash, asked, &result);
		elog(ERROR, "idempotency key was neither inserted nor found");
	}
	pay_payments_save(set);
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	return pay_verb_result(fcinfo, &result.operation_id, result.status, false);
}

/* For the worker to carry out. */
static PayOperation *
add_operation(PayPayments *set, PayPayment *payment, PayFollowUp *f, int64 amount, PayFirstResult *result)
{
	pay_require_able(payment, f->kind, amount, f->keep_rest);
	return insert_operation(set, payment, f, amount, result);
}

static PayOperation *
insert_operation(PayPayments *set, PayPayment *payment, PayFollowUp *f, int64 amount, PayFirstResult *result)
{
	PayOperation *operation = pay_payment_add_operation(set, payment, f->kind, amount, f->reason,
														pay_idempotency_psp_ref(payment->merchant, f->key, pay_op_kind_name(f->kind)));

	operation->keep_rest = f->keep_rest;
	result->operation_id = operation->operation_id;
	payment->dirty = true;
	return operation;
}

static const char *
money(const PayPayment *payment, int64 amount)
{
	return pay_money_text(amount, payment->exponent, payment->currency);
}

/* Who names no amount has asked for what is left. */
static const char *
asked_for(const PayPayment *payment, const PayFollowUp *f)
{
	return f->amount_given ? psprintf(", asked for %s", money(payment, f->amount)) : "";
}

static void
add_capture(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result)
{
	int64		room = payment->authorized - payment->captured - payment->capture_pending - payment->released;
	int64		amount = f->amount_given ? f->amount : room;

	refuse_while_open(payment, PAY_OP_CAPTURE, "capture");
	refuse_while_open(payment, PAY_OP_VOID, "capture");
	if (pay_payment_rest(payment) <= 0)
		refuse_status(payment, "capture", "Only an authorized payment can be captured, and once more only what a capture with final => false has left.");
	if (amount > room || amount <= 0)
		ereport(ERROR,
				(errcode(PAY_ERR_AMOUNT_EXCEEDED),
				 errmsg("cannot capture more than was authorized"),
				 errdetail("Authorized %s, captured %s%s.", money(payment, payment->authorized), money(payment, payment->captured),
						   asked_for(payment, f)),
				 errhint("Capture the authorized amount or less, and charge the rest as a new payment.")));
	add_operation(set, payment, f, amount, result);
	payment->capture_pending += amount;
}

static void
add_refund(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result)
{
	int64		room = payment->captured - payment->refunded - payment->refund_pending - payment->disputed;
	int64		amount = f->amount_given ? f->amount : room;

	if (payment->captured == 0)
		refuse_status(payment, "refund", "Nothing was captured, so there is nothing to give back; cancel_payment() releases an authorization.");
	if (amount > room || amount <= 0)
		ereport(ERROR,
				(errcode(PAY_ERR_AMOUNT_EXCEEDED),
				 errmsg(room > 0 ? "cannot refund more than was captured" : "nothing is left to refund"),
				 errdetail("Captured %s, refunded %s, being refunded %s, disputed %s%s.", money(payment, payment->captured),
						   money(payment, payment->refunded), money(payment, payment->refund_pending), money(payment, payment->disputed),
						   asked_for(payment, f)),
				 errhint("At most %s can be refunded now.", money(payment, room))));
	add_operation(set, payment, f, amount, result);
	payment->refund_pending += amount;
}

static void
add_void(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result)
{
	refuse_while_open(payment, PAY_OP_CAPTURE, "cancel");
	refuse_while_open(payment, PAY_OP_VOID, "cancel");
	if (pay_payment_can(payment, "cancel") || pay_payment_waits_between_steps(payment))
	{
		pay_require_unsent(payment);
		cancel_unsent(set, payment, f, result);
	}
	else if (pay_payment_rest(payment) > 0 || strcmp(payment->status, "requires_action") == 0 ||
			 (strcmp(payment->status, "in_doubt") == 0 && payment->adapter && payment->adapter->can & PAY_CAN_VOID_IN_DOUBT))
		add_operation(set, payment, f, payment->amount, result);
	else if (strcmp(payment->status, "processing") == 0 || strcmp(payment->status, "in_doubt") == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_OPERATION_IN_PROGRESS),
				 errmsg("cannot cancel a payment that is at the PSP"),
				 errdetail("The payment is in status \"%s\".", payment->status),
				 errhint("Wait for its result with wait_payment(), then cancel or refund it.")));
	else
		refuse_status(payment, "cancel", payment->captured > 0 ? "Use refund_payment()." : "It is over already.");
}

/* Nothing is at the PSP, or nothing that moves without another call of ours: over at once, without one. */
static void
cancel_unsent(PayPayments *set, PayPayment *payment, PayFollowUp *f, PayFirstResult *result)
{
	PayOperation *operation;
	PaySums		before;
	ListCell   *cell;

	pay_apply_sum_up(payment, &before);
	foreach(cell, payment->operations)
	{
		PayOperation *open = lfirst(cell);

		if (!pay_operation_is_open(open))
			continue;
		open->resolution = "the payment was cancelled before it was sent";
		pay_operation_finish(set, open, "cancelled", "client");
	}
	operation = insert_operation(set, payment, f, payment->amount, result);
	pay_operation_finish(set, operation, "succeeded", "client");
	payment->next_action_url = NULL;
	pay_payment_event(set, payment, pay_payment_can(payment, "cancel") ? "cancel" : "void", operation, "client", NULL);
	pay_apply_follow(set, payment, &before, operation, "client", NULL);
	result->status = "succeeded";
}

static void
refuse_while_open(PayPayment *payment, PayOpKind kind, const char *verb)
{
	if (pay_payment_open_operation(payment, kind) == NULL)
		return;
	ereport(ERROR,
			(errcode(PAY_ERR_OPERATION_IN_PROGRESS),
			 errmsg("cannot %s a payment while a %s is in progress", verb, pay_op_kind_name(kind)),
			 errhint("Wait for its result with wait_payment().")));
}

static void
refuse_status(const PayPayment *payment, const char *what, const char *hint)
{
	if (!pay_state_is_resting(payment->status))
		hint = "Its result is not known yet: wait for it with wait_payment(), then decide again.";
	ereport(ERROR,
			(errcode(PAY_ERR_WRONG_STATE),
			 errmsg("cannot %s this payment", what),
			 errdetail("The payment is in status \"%s\".", payment->status),
			 errhint("%s", hint)));
}
