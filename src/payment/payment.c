/*
 * src/payment/payment.c
 *		Payments under lock, with all that is known of them.
 *
 * What is always true: between load and save the payment rows are locked, and
 * nobody changes operations, queue rows, movements or history of a payment
 * without that lock.  Hence the order of locks everywhere: idempotency key,
 * payments by id, accounts by id.  A crash before the commit leaves nothing.
 *
 * Load reads the payment rows in the statement that locks them, so they are
 * the newest versions, and everything else in statements after it, so that
 * their snapshots are younger than the locks.
 */
#include "payments.h"

#include "payment/payment.h"
#include "base/uuid.h"
#include "core/spi.h"
#include "payment/adapter.h"
#include "payment/payment_private.h"
#include "payment/state.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

static PayPayments *load(PayStmt *lock, const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor);
static int	place_moved(PayPayment *list, int n);
static void load_payment(PayPayment *payment, uint64 row);
static void load_operations(PayPayments *set, const pg_uuid_t *const *ids, int n);
static void load_movements(PayPayments *set, const pg_uuid_t *const *ids, int n);
static const char *intern_status(const char *status);
static const char *posting_event(const PayPayment *payment, const char *kind);
static void unqueue(PayOperation *operation);
static void resolve_dead_letter(PayOperation *operation);

/* ---------- load ---------- */

#define PAYMENT_QUERY \
	"SELECT p.payment_id, p.merchant, p.amount, p.currency, p.psp, p.payment_method, p.order_ref, " \
	" p.customer, p.return_url, p.description, p.off_session, p.status, p.seq, p.status_hash, p.authorized, " \
	" p.capture_pending, p.captured, p.released, p.capture_before, p.refund_pending, p.refunded, p.disputed, p.psp_payment_id, p.next_action_url, " \
	" p.failure_code, p.failure_message, s.adapter, nullif(s.config, '{}')::text, c.exponent, coalesce(x.exponent, c.exponent), p.kind " \
	"FROM payments.payment p " \
	"LEFT JOIN payments.psp s ON s.psp = p.psp " \
	"JOIN payments.currency c ON c.currency = p.currency " \
	"LEFT JOIN payments.psp_currency x ON x.adapter = s.adapter AND x.currency = p.currency " \
	"WHERE p.payment_id = ANY ($1) ORDER BY p.payment_id FOR NO KEY UPDATE OF p"

static PayStmt lock_payments = PAY_STMT(SPI_OK_SELECT, PAYMENT_QUERY, UUIDARRAYOID);
static PayStmt lock_free_payments = PAY_STMT(SPI_OK_SELECT, PAYMENT_QUERY " SKIP LOCKED", UUIDARRAYOID);

static PayStmt read_operations = PAY_STMT(SPI_OK_SELECT,
	"SELECT o.payment_id, o.operation_id, o.kind, o.amount, o.reason, o.psp_ref, o.status, o.generation, o.attempts, "
	" o.key_used_at, o.psp_object_id, o.failure_code, o.failure_message, o.completed_at, o.created_at, "
	" q.action, q.due_at, q.claimed_by, q.attempt, q.schedule, q.try, q.lost, q.hinted, q.refused, "
	" (SELECT d.reason FROM payments.dead_letter d WHERE d.operation_id = o.operation_id AND d.decision IS NULL), o.source, o.step, NOT o.final "
	"FROM payments.operation o LEFT JOIN payments.queue q ON q.operation_id = o.operation_id "
	"WHERE o.payment_id = ANY ($1) ORDER BY o.payment_id, o.created_at, o.operation_id", UUIDARRAYOID);

static PayStmt read_movements = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id, kind, object_id, amount, psp FROM payments.movement WHERE payment_id = ANY ($1)", UUIDARRAYOID);

PayPayments *
pay_payments_load(const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor)
{
	return load(&lock_payments, payment_ids, n, now, actor);
}

PayPayments *
pay_payments_load_skipping_locked(const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor)
{
	return load(&lock_free_payments, payment_ids, n, now, actor);
}

static PayPayments *
load(PayStmt *lock, const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor)
{
	PayPayments *set = palloc0(sizeof(PayPayments));
	const pg_uuid_t **ids = palloc(sizeof(pg_uuid_t *) * Max(n, 1));
	PayArgs		args = {0};

	for (int i = 0; i < n; i++)
		ids[i] = &payment_ids[i];
	set->now = now;
	set->actor = actor;

	pay_arg_uuid_array(&args, ids, n);
	set->n = (int) pay_spi_exec(lock, &args);
	set->list = palloc0(sizeof(PayPayment) * Max(set->n, 1));
	for (int i = 0; i < set->n; i++)
		load_payment(&set->list[i], i);
	set->n = place_moved(set->list, set->n);

	load_operations(set, ids, n);
	load_movements(set, ids, n);
	return set;
}

/*
 * Of one that went to another PSP while its lock was waited for, the statement
 * has the newest row, and the row of the former PSP, which is not joined to it.
 * Those whose PSP is gone are left out; returns how many are left.
 */
static int
place_moved(PayPayment *list, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
		if (list[i].adapter_name || pay_payment_place(&list[i], list[i].psp))
			list[left++] = list[i];
	return left;
}

static void
load_payment(PayPayment *payment, uint64 row)
{
	bytea	   *hash;
	int			c = 1;

	payment->payment_id = pay_spi_uuid(row, c++);
	payment->merchant = pay_spi_text(row, c++);
	payment->amount = pay_spi_int64(row, c++);
	payment->currency = pay_spi_text(row, c++);
	payment->psp = pay_spi_text(row, c++);
	payment->payment_method = pay_spi_text(row, c++);
	payment->order_ref = pay_spi_text(row, c++);
	payment->customer = pay_spi_text(row, c++);
	payment->return_url = pay_spi_text(row, c++);
	payment->description = pay_spi_text(row, c++);
	payment->off_session = pay_spi_bool(row, c++);
	payment->status = intern_status(pay_spi_text(row, c++));
	payment->seq = pay_spi_int32(row, c++);
	hash = pay_spi_bytea(row, c++);
	if (hash == NULL || VARSIZE_ANY_EXHDR(hash) != PAY_HASH_BYTES)
		ereport(ERROR,
				(errcode(PAY_ERR_BROKEN_CHAIN),
				 errmsg("payment has no valid status hash"),
				 errhint("Run SELECT * FROM payments.check();")));
	memcpy(payment->status_hash, VARDATA_ANY(hash), PAY_HASH_BYTES);
	payment->authorized = pay_spi_int64(row, c++);
	payment->capture_pending = pay_spi_int64(row, c++);
	payment->captured = pay_spi_int64(row, c++);
	payment->released = pay_spi_int64(row, c++);
	payment->capture_before = pay_spi_isnull(row, c) ? 0 : pay_spi_time(row, c);
	c++;
	payment->refund_pending = pay_spi_int64(row, c++);
	payment->refunded = pay_spi_int64(row, c++);
	payment->disputed = pay_spi_int64(row, c++);
	payment->psp_payment_id = pay_spi_text(row, c++);
	payment->next_action_url = pay_spi_text(row, c++);
	payment->failure_code = pay_spi_text(row, c++);
	payment->failure_message = pay_spi_text(row, c++);
	payment->adapter_name = pay_spi_text(row, c++);
	payment->adapter = payment->adapter_name ? pay_adapter_find(payment->adapter_name) : NULL;
	payment->config = pay_spi_text(row, c++);
	payment->exponent = pay_spi_int32(row, c++);
	payment->psp_exponent = pay_spi_int32(row, c++);
	payment->kind = pay_spi_text(row, c++);
}

static void
load_operations(PayPayments *set, const pg_uuid_t *const *ids, int n)
{
	PayArgs		args = {0};
	uint64		rows;

	pay_arg_uuid_array(&args, ids, n);
	rows = pay_spi_exec(&read_operations, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		pg_uuid_t	payment_id = pay_spi_uuid(row, 1);
		PayPayment *payment = pay_payments_find(set, &payment_id);
		PayOperation *operation;
		char	   *kind = pay_spi_text(row, 3);

		if (payment == NULL)
			continue;
		operation = palloc0(sizeof(PayOperation));
		operation->operation_id = pay_spi_uuid(row, 2);
		if (!pay_op_kind_parse(kind, &operation->kind))
			elog(ERROR, "operation has kind \"%s\"", kind);
		operation->amount = pay_spi_int64(row, 4);
		operation->reason = pay_spi_text(row, 5);
		operation->psp_ref = pay_spi_text(row, 6);
		operation->status = pay_spi_text(row, 7);
		operation->generation = pay_spi_int32(row, 8);
		operation->attempts = pay_spi_int32(row, 9);
		operation->key_used_at = pay_spi_isnull(row, 10) ? 0 : pay_spi_time(row, 10);
		operation->psp_object_id = pay_spi_text(row, 11);
		operation->failure_code = pay_spi_text(row, 12);
		operation->failure_message = pay_spi_text(row, 13);
		operation->completed_at = pay_spi_isnull(row, 14) ? 0 : pay_spi_time(row, 14);
		operation->created_at = pay_spi_time(row, 15);
		operation->queued = !pay_spi_isnull(row, 16);
		if (operation->queued)
		{
			operation->action = pay_spi_text(row, 16);
			operation->due_at = pay_spi_time(row, 17);
			operation->claimed_by = pay_spi_text(row, 18);
			operation->queue_attempt = pay_spi_int32(row, 19);
			operation->schedule = pay_spi_text(row, 20);
			operation->try = pay_spi_int32(row, 21);
			operation->lost = pay_spi_int32(row, 22);
			operation->hinted = pay_spi_bool(row, 23);
			operation->refused = pay_spi_int32(row, 24);
		}
		operation->dead_letter = pay_spi_text(row, 25);
		operation->source = pay_spi_text(row, 26);
		operation->step = pay_spi_int32(row, 27);
		operation->keep_rest = pay_spi_bool(row, 28);
		payment->operations = lappend(payment->operations, operation);
	}
}

static void
load_movements(PayPayments *set, const pg_uuid_t *const *ids, int n)
{
	PayArgs		args = {0};
	uint64		rows;

	pay_arg_uuid_array(&args, ids, n);
	rows = pay_spi_exec(&read_movements, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		pg_uuid_t	payment_id = pay_spi_uuid(row, 1);
		PayPayment *payment = pay_payments_find(set, &payment_id);
		PayMoved   *moved;

		if (payment == NULL)
			continue;
		moved = palloc(sizeof(PayMoved));
		moved->kind = pay_spi_text(row, 2);
		moved->object_id = pay_spi_text(row, 3);
		moved->amount = pay_spi_int64(row, 4);
		moved->psp = pay_spi_text(row, 5);
		payment->moved = lappend(payment->moved, moved);
	}
}

/* The transition table's own spelling; a status it does not know is a contradiction. */
static const char *
intern_status(const char *status)
{
	for (int i = 0; i < pay_transition_count; i++)
		if (strcmp(pay_transitions[i].to, status) == 0)
			return pay_transitions[i].to;
	ereport(ERROR,
			(errcode(PAY_ERR_INTERNAL),
			 errmsg("payment has unknown status \"%s\"", status),
			 errhint("The installed library is older than the tables; install the newer one.")));
}

/* ---------- look ---------- */

PayPayment *
pay_payments_find(PayPayments *set, const pg_uuid_t *payment_id)
{
	int			low = 0,
				high = set->n - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			order = memcmp(set->list[middle].payment_id.data, payment_id->data, UUID_LEN);

		if (order == 0)
			return &set->list[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

PayOperation *
pay_payment_operation(PayPayment *payment, const pg_uuid_t *operation_id)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
	{
		PayOperation *operation = lfirst(cell);

		if (memcmp(operation->operation_id.data, operation_id->data, UUID_LEN) == 0)
			return operation;
	}
	return NULL;
}

bool
pay_operation_is_open(const PayOperation *operation)
{
	return strcmp(operation->status, "succeeded") != 0 &&
		strcmp(operation->status, "failed") != 0 &&
		strcmp(operation->status, "cancelled") != 0;
}

bool
pay_operation_is_first(const PayOperation *operation)
{
	return operation->kind == PAY_OP_CHARGE || operation->kind == PAY_OP_AUTHORIZE || operation->kind == PAY_OP_PAYOUT;
}

bool
pay_operation_was_decided(const PayOperation *operation)
{
	return operation->source && strcmp(operation->source, "person") == 0;
}

PayOperation *
pay_payment_open_operation(PayPayment *payment, PayOpKind kind)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
	{
		PayOperation *operation = lfirst(cell);

		if (operation->kind == kind && pay_operation_is_open(operation))
			return operation;
	}
	return NULL;
}

bool
pay_payment_cancel_asked(const PayPayment *payment)
{
	ListCell   *cell;

	foreach(cell, payment->operations)
		if (((PayOperation *) lfirst(cell))->kind == PAY_OP_VOID)
			return true;
	return false;
}

const char *
pay_payment_speaker(const PayPayment *payment)
{
	return payment->told_by ? payment->told_by : payment->psp;
}

PayMoved *
pay_payment_moved(const PayPayment *payment, const char *kind, const char *object_id)
{
	ListCell   *cell;

	foreach(cell, payment->moved)
	{
		PayMoved   *moved = lfirst(cell);

		if (strcmp(moved->kind, kind) == 0 && strcmp(moved->object_id, object_id) == 0 &&
			strcmp(moved->psp, pay_payment_speaker(payment)) == 0)
			return moved;
	}
	return NULL;
}

int64
pay_payment_sum(const PayPayment *payment, const char *kind)
{
	ListCell   *cell;
	int64		sum = 0;

	foreach(cell, payment->moved)
	{
		PayMoved   *moved = lfirst(cell);

		if (strcmp(moved->kind, kind) == 0)
			sum += moved->amount;
	}
	return sum;
}

int64
pay_payment_rest(const PayPayment *payment)
{
	bool		held = payment->captured > 0 || strcmp(payment->status, "authorized") == 0;

	return held ? payment->authorized - payment->captured - payment->released : 0;
}

bool
pay_payment_has_money(const PayPayment *payment)
{
	return payment->captured > 0 || pay_payment_sum(payment, "authorize") > 0;
}

bool
pay_payment_came_to_nothing(const PayPayment *payment)
{
	return payment->captured == 0 && pay_state_is_final(payment->status);
}

bool
pay_payment_waits_between_steps(const PayPayment *payment)
{
	ListCell   *cell;

	if (payment->adapter == NULL || strcmp(payment->status, "requires_action") != 0)
		return false;
	foreach(cell, payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (pay_operation_is_first(o) && strcmp(o->status, "requires_action") == 0)
			return o->step < payment->adapter->charge_steps;
	}
	return false;
}

/* Kept beside those that do, since each is known by the same key. */
bool
pay_movement_moves(const char *kind)
{
	static const char *const still[] = {"authorize", "void", "expire", "release", "refund_undone", "dispute_undone", "payout_undone"};

	for (size_t i = 0; i < lengthof(still); i++)
		if (strcmp(kind, still[i]) == 0)
			return false;
	return true;
}

bool
pay_payment_can(const PayPayment *payment, const char *event)
{
	return pay_state_next(payment->status, event) != NULL;
}

/* ---------- change ---------- */

void
pay_payment_event(PayPayments *set, PayPayment *payment, const char *event,
				  const PayOperation *operation, const char *source, const char *code)
{
	PayPendingStatus *pending = palloc0(sizeof(PayPendingStatus));
	const char *to = pay_state_next(payment->status, event);

	if (to == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_ILLEGAL_TRANSITION),
				 errmsg("event \"%s\" does not apply to a payment in status \"%s\"", event, payment->status),
				 errhint("See payments.transition for the edges that exist.")));

	pending->payment = payment;
	pending->row.payment_id = payment->payment_id;
	pending->row.seq = payment->seq + 1;
	pending->row.status = to;
	pending->row.event = event;
	pending->row.operation_id = operation ? &operation->operation_id : NULL;
	pending->row.source = source;
	pending->row.actor = set->actor;
	pending->row.code = code;
	pending->row.recorded_at = set->now;
	pay_state_hash(&pending->row, payment->seq > 0 ? payment->status_hash : NULL, pending->hash);
	set->status_rows = lappend(set->status_rows, pending);

	payment->status = to;
	payment->seq++;
	memcpy(payment->status_hash, pending->hash, PAY_HASH_BYTES);
	payment->dirty = true;
}

PayMoved *
pay_payment_move(PayPayments *set, PayPayment *payment, const PayOperation *operation,
				 const char *kind, const char *object_id, int64 amount, const char *source)
{
	PayMoved   *moved = palloc(sizeof(PayMoved));
	PayPendingMovement *pending = palloc(sizeof(PayPendingMovement));

	moved->psp = pay_payment_speaker(payment);
	moved->kind = kind;
	moved->object_id = object_id;
	moved->amount = amount;
	payment->moved = lappend(payment->moved, moved);

	pending->payment = payment;
	pending->operation = operation;
	pending->moved = moved;
	pending->event = posting_event(payment, kind);
	pending->source = source;
	set->movements = lappend(set->movements, pending);
	payment->dirty = true;
	return moved;
}

/*
 * Whose rules post it: its kind's, but that what the merchant would bear or get
 * is suspense's, of a payment that came to nothing; see payment/suspense.c.
 */
static const char *
posting_event(const PayPayment *payment, const char *kind)
{
	if (pay_payment_came_to_nothing(payment))
	{
		if (strcmp(kind, "refund") == 0)
			return "late_refund";
		if (strcmp(kind, "refund_failed") == 0)
			return "late_refund_failed";
		if (strcmp(kind, "dispute_lost") == 0)
			return "late_dispute_lost";
	}
	return kind;
}

void
pay_payment_exception(PayPayments *set, PayPayment *payment, const PayOperation *operation,
					  const char *kind, const char *object_id, int64 amount, const char *detail)
{
	PayPendingException *pending = palloc0(sizeof(PayPendingException));

	pending->payment = payment;
	pending->psp = pay_payment_speaker(payment);
	pending->operation = operation;
	pending->kind = kind;
	pending->object_id = object_id;
	pending->amount = amount;
	pending->detail = detail;
	set->exceptions = lappend(set->exceptions, pending);
}

void
pay_payment_resolve(PayPayments *set, PayPayment *payment, const char *kind, const char *object_id, const char *resolution)
{
	PayPendingException *pending = palloc0(sizeof(PayPendingException));

	pending->payment = payment;
	pending->kind = kind;
	pending->object_id = object_id;
	pending->resolution = resolution;
	set->exceptions = lappend(set->exceptions, pending);
}

void
pay_payment_resolve_of(PayPayments *set, PayPayment *payment, const char *kind, const PayOperation *operation, const char *resolution)
{
	pay_payment_resolve(set, payment, kind, NULL, resolution);
	((PayPendingException *) llast(set->exceptions))->operation = operation;
}

void
pay_payment_reopen(PayPayments *set, PayPayment *payment, const char *kind, const char *object_id, const char *resolution)
{
	pay_payment_resolve(set, payment, kind, object_id, resolution);
	((PayPendingException *) llast(set->exceptions))->reopened = true;
}

/*
 * At most one capture of a payment is open, so what is pending is its own; it
 * may have been given back when the money was heard of, and the operation
 * still waits to learn the fee.
 */
void
pay_payment_release(PayPayment *payment, const PayOperation *operation)
{
	if (operation->kind == PAY_OP_CAPTURE)
		payment->capture_pending = 0;
	else if (operation->kind == PAY_OP_REFUND)
		payment->refund_pending -= operation->amount;
	payment->dirty = true;
}

PayOperation *
pay_payment_add_operation(PayPayments *set, PayPayment *payment, PayOpKind kind, int64 amount,
						  const char *reason, const char *psp_ref)
{
	PayOperation *operation = palloc0(sizeof(PayOperation));

	operation->operation_id = pay_new_id(pay_id_bucket(&payment->payment_id));
	operation->kind = kind;
	operation->amount = amount;
	operation->reason = reason;
	operation->psp_ref = psp_ref;
	operation->status = "initiated";
	operation->generation = 1;
	operation->step = 1;
	operation->is_new = true;
	operation->created_at = set->now;
	payment->operations = lappend(payment->operations, operation);
	pay_operation_enqueue(set, operation, "send", set->now);
	return operation;
}

void
pay_operation_enqueue(PayPayments *set, PayOperation *operation, const char *action, TimestampTz due_at)
{
	operation->action = action;
	operation->due_at = due_at;
	operation->claimed_by = NULL;
	operation->queue_attempt = operation->attempts;
	if (operation->queue_change == PAY_QUEUE_DELETE)
		operation->queue_change = PAY_QUEUE_UPDATE;
	else if (operation->queue_change == PAY_QUEUE_KEEP)
		operation->queue_change = operation->queued ? PAY_QUEUE_UPDATE : PAY_QUEUE_INSERT;
	operation->queued = true;
	resolve_dead_letter(operation);
	if (due_at <= set->now)
		set->wake = true;
}

static void
unqueue(PayOperation *operation)
{
	if (!operation->queued)
		return;
	operation->queue_change = operation->queue_change == PAY_QUEUE_INSERT ? PAY_QUEUE_KEEP : PAY_QUEUE_DELETE;
	operation->queued = false;
}

/* Also one that has been written on in this very batch. */
static void
resolve_dead_letter(PayOperation *operation)
{
	if (operation->dead_letter == NULL)
		return;
	operation->dead_letter = NULL;
	operation->dead_letter_resolved = true;
}

void
pay_operation_bury(PayOperation *operation, const char *reason, const char *detail)
{
	operation->dead_reason = reason;
	operation->dead_detail = detail;
	operation->dead_letter = reason;
	unqueue(operation);
}

void
pay_operation_finish(PayPayments *set, PayOperation *operation, const char *status, const char *source)
{
	operation->status = status;
	operation->completed_at = set->now;
	operation->source = source;
	operation->dirty = true;
	operation->ended = true;
	resolve_dead_letter(operation);
	unqueue(operation);
}
