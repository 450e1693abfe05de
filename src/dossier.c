/*
 * src/dossier.c
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

#include "dossier.h"
#include "ids.h"
#include "ledger.h"
#include "spi.h"
#include "state.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A history row and a movement waiting for save, with the dossier they belong to. */
typedef struct PayPendingStatus
{
	PayDossier *dossier;
	PayStatusRow row;
	uint8		hash[PAY_HASH_BYTES];
} PayPendingStatus;

typedef struct PayPendingMovement
{
	PayDossier *dossier;
	const PayOperation *operation;
	const PayMoved *moved;
	const char *source;
} PayPendingMovement;

typedef struct PayPendingException
{
	PayDossier *dossier;
	const PayOperation *operation;
	const char *kind;
	const char *object_id;
	int64		amount;
	const char *detail;
} PayPendingException;

static void load_payment(PayDossier *dossier, uint64 row);
static void load_operations(PayDossiers *set, const pg_uuid_t *const *ids, int n);
static void load_movements(PayDossiers *set, const pg_uuid_t *const *ids, int n);
static const char *intern_status(const char *status);

static void save_status_rows(PayDossiers *set);
static void save_events(PayDossiers *set);
static void save_payments(PayDossiers *set);
static void save_new_operations(PayDossiers *set);
static void save_operations(PayDossiers *set);
static void save_queue(PayDossiers *set);
static void save_queue_rows(PayDossiers *set, PayQueueChange change);
static void save_dead_letters(PayDossiers *set);
static void save_resolved_dead_letters(PayDossiers *set);
static void save_attempts(PayDossiers *set);
static void save_answers(PayDossiers *set);
static void save_movements(PayDossiers *set);
static void save_exceptions(PayDossiers *set);

/* ---------- load ---------- */

static PayStmt lock_payments = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.payment_id, p.merchant, p.amount, p.currency, p.capture, p.psp, p.payment_method, p.order_ref, "
	" p.customer, p.return_url, p.description, p.off_session, p.status, p.seq, p.status_hash, p.authorized, "
	" p.capture_pending, p.captured, p.refund_pending, p.refunded, p.disputed, p.psp_payment_id, p.next_action_url, "
	" p.failure_code, p.failure_message, m.app_role, s.adapter, c.exponent, coalesce(x.exponent, c.exponent) "
	"FROM payments.payment p "
	"JOIN payments.merchant m ON m.merchant = p.merchant "
	"JOIN payments.psp s ON s.psp = p.psp "
	"JOIN payments.currency c ON c.currency = p.currency "
	"LEFT JOIN payments.psp_currency x ON x.adapter = s.adapter AND x.currency = p.currency "
	"WHERE p.payment_id = ANY ($1) ORDER BY p.payment_id FOR NO KEY UPDATE OF p", UUIDARRAYOID);

static PayStmt read_operations = PAY_STMT(SPI_OK_SELECT,
	"SELECT o.payment_id, o.operation_id, o.kind, o.amount, o.reason, o.psp_ref, o.status, o.generation, o.attempts, "
	" o.first_sent_at, o.psp_object_id, o.failure_code, o.failure_message, o.settled_at, "
	" q.action, q.due_at, q.claimed_by, q.attempt, q.schedule, q.try, q.lost, "
	" EXISTS (SELECT FROM payments.dead_letter d WHERE d.operation_id = o.operation_id AND d.decision IS NULL) "
	"FROM payments.operation o LEFT JOIN payments.queue q ON q.operation_id = o.operation_id "
	"WHERE o.payment_id = ANY ($1) ORDER BY o.payment_id, o.created_at, o.operation_id", UUIDARRAYOID);

static PayStmt read_movements = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id, kind, object_id, amount FROM payments.movement WHERE payment_id = ANY ($1)", UUIDARRAYOID);

PayDossiers *
pay_dossiers_load(const pg_uuid_t *payment_ids, int n, TimestampTz now, const char *actor)
{
	PayDossiers *set = palloc0(sizeof(PayDossiers));
	const pg_uuid_t **ids = palloc(sizeof(pg_uuid_t *) * Max(n, 1));
	PayArgs		args = {0};

	for (int i = 0; i < n; i++)
		ids[i] = &payment_ids[i];
	set->now = now;
	set->actor = actor;

	pay_arg_uuid_array(&args, ids, n);
	set->n = (int) pay_spi_exec(&lock_payments, &args);
	set->list = palloc0(sizeof(PayDossier) * Max(set->n, 1));
	for (int i = 0; i < set->n; i++)
		load_payment(&set->list[i], i);

	load_operations(set, ids, n);
	load_movements(set, ids, n);
	return set;
}

static void
load_payment(PayDossier *dossier, uint64 row)
{
	char	   *capture;
	bytea	   *hash;
	int			c = 1;

	dossier->payment_id = pay_spi_uuid(row, c++);
	dossier->merchant = pay_spi_text(row, c++);
	dossier->amount = pay_spi_int64(row, c++);
	dossier->currency = pay_spi_text(row, c++);
	capture = pay_spi_text(row, c++);
	dossier->manual_capture = strcmp(capture, "manual") == 0;
	dossier->psp = pay_spi_text(row, c++);
	dossier->payment_method = pay_spi_text(row, c++);
	dossier->order_ref = pay_spi_text(row, c++);
	dossier->customer = pay_spi_text(row, c++);
	dossier->return_url = pay_spi_text(row, c++);
	dossier->description = pay_spi_text(row, c++);
	dossier->off_session = pay_spi_bool(row, c++);
	dossier->status = intern_status(pay_spi_text(row, c++));
	dossier->seq = pay_spi_int32(row, c++);
	hash = pay_spi_bytea(row, c++);
	if (hash == NULL || VARSIZE_ANY_EXHDR(hash) != PAY_HASH_BYTES)
		ereport(ERROR,
				(errcode(PAY_ERR_BROKEN_CHAIN),
				 errmsg("payment has no valid status hash"),
				 errhint("Run SELECT * FROM payments.check();")));
	memcpy(dossier->status_hash, VARDATA_ANY(hash), PAY_HASH_BYTES);
	dossier->authorized = pay_spi_int64(row, c++);
	dossier->capture_pending = pay_spi_int64(row, c++);
	dossier->captured = pay_spi_int64(row, c++);
	dossier->refund_pending = pay_spi_int64(row, c++);
	dossier->refunded = pay_spi_int64(row, c++);
	dossier->disputed = pay_spi_int64(row, c++);
	dossier->psp_payment_id = pay_spi_text(row, c++);
	dossier->next_action_url = pay_spi_text(row, c++);
	dossier->failure_code = pay_spi_text(row, c++);
	dossier->failure_message = pay_spi_text(row, c++);
	dossier->app_role = pay_spi_text(row, c++);
	dossier->adapter_name = pay_spi_text(row, c++);
	dossier->adapter = pay_psp_adapter(dossier->adapter_name);
	dossier->exponent = pay_spi_int32(row, c++);
	dossier->psp_exponent = pay_spi_int32(row, c++);
}

static void
load_operations(PayDossiers *set, const pg_uuid_t *const *ids, int n)
{
	PayArgs		args = {0};
	uint64		rows;

	pay_arg_uuid_array(&args, ids, n);
	rows = pay_spi_exec(&read_operations, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		pg_uuid_t	payment_id = pay_spi_uuid(row, 1);
		PayDossier *dossier = pay_dossiers_find(set, &payment_id);
		PayOperation *operation;
		char	   *kind = pay_spi_text(row, 3);

		if (dossier == NULL)
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
		operation->first_sent_at = pay_spi_isnull(row, 10) ? 0 : pay_spi_time(row, 10);
		operation->psp_object_id = pay_spi_text(row, 11);
		operation->failure_code = pay_spi_text(row, 12);
		operation->failure_message = pay_spi_text(row, 13);
		operation->settled_at = pay_spi_isnull(row, 14) ? 0 : pay_spi_time(row, 14);
		operation->queued = !pay_spi_isnull(row, 15);
		if (operation->queued)
		{
			operation->action = pay_spi_text(row, 15);
			operation->due_at = pay_spi_time(row, 16);
			operation->claimed_by = pay_spi_text(row, 17);
			operation->queue_attempt = pay_spi_int32(row, 18);
			operation->schedule = pay_spi_text(row, 19);
			operation->try = pay_spi_int32(row, 20);
			operation->lost = pay_spi_int32(row, 21);
		}
		operation->has_dead_letter = pay_spi_bool(row, 22);
		dossier->operations = lappend(dossier->operations, operation);
	}
}

static void
load_movements(PayDossiers *set, const pg_uuid_t *const *ids, int n)
{
	PayArgs		args = {0};
	uint64		rows;

	pay_arg_uuid_array(&args, ids, n);
	rows = pay_spi_exec(&read_movements, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		pg_uuid_t	payment_id = pay_spi_uuid(row, 1);
		PayDossier *dossier = pay_dossiers_find(set, &payment_id);
		PayMoved   *moved;

		if (dossier == NULL)
			continue;
		moved = palloc(sizeof(PayMoved));
		moved->kind = pay_spi_text(row, 2);
		moved->object_id = pay_spi_text(row, 3);
		moved->amount = pay_spi_int64(row, 4);
		dossier->moved = lappend(dossier->moved, moved);
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

PayDossier *
pay_dossiers_find(PayDossiers *set, const pg_uuid_t *payment_id)
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
pay_dossier_operation(PayDossier *dossier, const pg_uuid_t *operation_id)
{
	ListCell   *cell;

	foreach(cell, dossier->operations)
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

PayOperation *
pay_dossier_open_operation(PayDossier *dossier, PayOpKind kind)
{
	ListCell   *cell;

	foreach(cell, dossier->operations)
	{
		PayOperation *operation = lfirst(cell);

		if (operation->kind == kind && pay_operation_is_open(operation))
			return operation;
	}
	return NULL;
}

PayMoved *
pay_dossier_moved(PayDossier *dossier, const char *kind, const char *object_id)
{
	ListCell   *cell;

	foreach(cell, dossier->moved)
	{
		PayMoved   *moved = lfirst(cell);

		if (strcmp(moved->kind, kind) == 0 && strcmp(moved->object_id, object_id) == 0)
			return moved;
	}
	return NULL;
}

bool
pay_dossier_can(const PayDossier *dossier, const char *event)
{
	return pay_state_next(dossier->status, event) != NULL;
}

/* ---------- change ---------- */

void
pay_dossier_event(PayDossiers *set, PayDossier *dossier, const char *event,
				  const PayOperation *operation, const char *source, const char *code)
{
	PayPendingStatus *pending = palloc0(sizeof(PayPendingStatus));
	const char *to = pay_state_next(dossier->status, event);

	if (to == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_ILLEGAL_TRANSITION),
				 errmsg("event \"%s\" does not apply to a payment in status \"%s\"", event, dossier->status),
				 errhint("See payments.transition for the edges that exist.")));

	pending->dossier = dossier;
	pending->row.payment_id = dossier->payment_id;
	pending->row.seq = dossier->seq + 1;
	pending->row.status = to;
	pending->row.event = event;
	pending->row.operation_id = operation ? &operation->operation_id : NULL;
	pending->row.source = source;
	pending->row.actor = set->actor;
	pending->row.code = code;
	pending->row.recorded_at = set->now;
	pay_state_hash(&pending->row, dossier->seq > 0 ? dossier->status_hash : NULL, pending->hash);
	set->status_rows = lappend(set->status_rows, pending);

	dossier->status = to;
	dossier->seq++;
	memcpy(dossier->status_hash, pending->hash, PAY_HASH_BYTES);
	dossier->dirty = true;
}

void
pay_dossier_move(PayDossiers *set, PayDossier *dossier, const PayOperation *operation,
				 const char *kind, const char *object_id, int64 amount, const char *source)
{
	PayMoved   *moved = palloc(sizeof(PayMoved));
	PayPendingMovement *pending = palloc(sizeof(PayPendingMovement));

	moved->kind = kind;
	moved->object_id = object_id;
	moved->amount = amount;
	dossier->moved = lappend(dossier->moved, moved);

	pending->dossier = dossier;
	pending->operation = operation;
	pending->moved = moved;
	pending->source = source;
	set->movements = lappend(set->movements, pending);
	dossier->dirty = true;
}

void
pay_dossier_exception(PayDossiers *set, PayDossier *dossier, const PayOperation *operation,
					  const char *kind, const char *object_id, int64 amount, const char *detail)
{
	PayPendingException *pending = palloc(sizeof(PayPendingException));

	pending->dossier = dossier;
	pending->operation = operation;
	pending->kind = kind;
	pending->object_id = object_id;
	pending->amount = amount;
	pending->detail = detail;
	set->exceptions = lappend(set->exceptions, pending);
}

PayOperation *
pay_dossier_add_operation(PayDossiers *set, PayDossier *dossier, PayOpKind kind, int64 amount,
						  const char *reason, const char *psp_ref)
{
	PayOperation *operation = palloc0(sizeof(PayOperation));

	operation->operation_id = pay_new_id(pay_id_bucket(&dossier->payment_id));
	operation->kind = kind;
	operation->amount = amount;
	operation->reason = reason;
	operation->psp_ref = psp_ref;
	operation->status = "initiated";
	operation->generation = 1;
	operation->is_new = true;
	dossier->operations = lappend(dossier->operations, operation);
	pay_operation_schedule(set, operation, "send", set->now);
	return operation;
}

void
pay_operation_schedule(PayDossiers *set, PayOperation *operation, const char *action, TimestampTz due_at)
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
	if (due_at <= set->now)
		set->wake = true;
}

void
pay_operation_unqueue(PayOperation *operation)
{
	if (!operation->queued)
		return;
	operation->queue_change = operation->queue_change == PAY_QUEUE_INSERT ? PAY_QUEUE_KEEP : PAY_QUEUE_DELETE;
	operation->queued = false;
}

void
pay_operation_bury(PayOperation *operation, const char *reason, const char *detail)
{
	operation->dead_reason = reason;
	operation->dead_detail = detail;
	pay_operation_unqueue(operation);
}

void
pay_operation_finish(PayDossiers *set, PayOperation *operation, const char *status)
{
	operation->status = status;
	operation->settled_at = set->now;
	operation->dirty = true;
	operation->dead_letter_resolved = operation->has_dead_letter;
	pay_operation_unqueue(operation);
}

/* ---------- save ---------- */

void
pay_dossiers_save(PayDossiers *set)
{
	save_status_rows(set);
	save_events(set);
	save_payments(set);
	save_new_operations(set);
	save_operations(set);
	save_queue(set);
	save_dead_letters(set);
	save_resolved_dead_letters(set);
	save_attempts(set);
	save_answers(set);
	save_movements(set);
	save_exceptions(set);
}

/* Calls body with `operation` and `dossier` for every operation of every dossier. */
#define FOREACH_OPERATION(set) \
	for (PayDossier *dossier = (set)->list; dossier < (set)->list + (set)->n; dossier++) \
		for (int k_ = 0; k_ < list_length(dossier->operations); k_++) \
			for (PayOperation *operation = list_nth(dossier->operations, k_); operation; operation = NULL)

#define ARRAY(type, n) ((type *) palloc0(sizeof(type) * Max((n), 1)))

static bytea *
hash_bytea(const uint8 *hash)
{
	return (bytea *) cstring_to_text_with_len((const char *) hash, PAY_HASH_BYTES);
}

static PayStmt insert_status_rows = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.payment_status (payment_id, seq, status, event, operation_id, source, actor, code, recorded_at, hash) "
	"SELECT u.payment_id, u.seq, u.status, u.event, u.operation_id, u.source, $9, u.code, $8, u.hash "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $10) "
	"WITH ORDINALITY u (payment_id, seq, status, event, operation_id, source, code, hash, n) ORDER BY u.n",
	UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZOID, TEXTOID, BYTEAARRAYOID);

static void
save_status_rows(PayDossiers *set)
{
	int			n = list_length(set->status_rows);
	const pg_uuid_t **payment_ids = ARRAY(const pg_uuid_t *, n);
	const pg_uuid_t **operation_ids = ARRAY(const pg_uuid_t *, n);
	int32	   *seqs = ARRAY(int32, n);
	const char **statuses = ARRAY(const char *, n);
	const char **events = ARRAY(const char *, n);
	const char **sources = ARRAY(const char *, n);
	const char **codes = ARRAY(const char *, n);
	bytea	  **hashes = ARRAY(bytea *, n);
	PayArgs		args = {0};

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		PayPendingStatus *pending = list_nth(set->status_rows, i);

		payment_ids[i] = &pending->row.payment_id;
		seqs[i] = pending->row.seq;
		statuses[i] = pending->row.status;
		events[i] = pending->row.event;
		operation_ids[i] = pending->row.operation_id;
		sources[i] = pending->row.source;
		codes[i] = pending->row.code;
		hashes[i] = hash_bytea(pending->hash);
	}
	pay_arg_uuid_array(&args, payment_ids, n);
	pay_arg_int32_array(&args, seqs, n);
	pay_arg_text_array(&args, statuses, n);
	pay_arg_text_array(&args, events, n);
	pay_arg_uuid_array(&args, operation_ids, n);
	pay_arg_text_array(&args, sources, n);
	pay_arg_text_array(&args, codes, n);
	pay_arg_time(&args, set->now);
	pay_arg_text(&args, set->actor);
	pay_arg_bytea_array(&args, hashes, n);
	if (pay_spi_exec(&insert_status_rows, &args) != (uint64) n)
		ereport(ERROR,
				(errcode(PAY_ERR_INTERNAL),
				 errmsg("status rows were swallowed by a trigger"),
				 errhint("Drop triggers of others from payments.payment_status.")));
}

static PayStmt insert_events = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.event (id, aggregatetype, aggregateid, type, payload, merchant, created_at) "
	"SELECT u.id, 'payment', u.payment_id::text, 'payment.' || u.status, "
	" jsonb_build_object('payment_id', u.payment_id, 'seq', u.seq, 'status', u.status, 'event', u.event, 'code', u.code, "
	"  'amount', u.amount, 'currency', u.currency, 'order_ref', u.order_ref), u.merchant, $11 "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
	" u (id, payment_id, seq, status, event, code, amount, currency, order_ref, merchant)",
	UUIDARRAYOID, UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

/* One event for each history row, in the same commit: the outbox. */
static void
save_events(PayDossiers *set)
{
	int			n = list_length(set->status_rows);
	pg_uuid_t  *ids = ARRAY(pg_uuid_t, n);
	const pg_uuid_t **id_pointers = ARRAY(const pg_uuid_t *, n);
	const pg_uuid_t **payment_ids = ARRAY(const pg_uuid_t *, n);
	int32	   *seqs = ARRAY(int32, n);
	const char **statuses = ARRAY(const char *, n);
	const char **events = ARRAY(const char *, n);
	const char **codes = ARRAY(const char *, n);
	int64	   *amounts = ARRAY(int64, n);
	const char **currencies = ARRAY(const char *, n);
	const char **order_refs = ARRAY(const char *, n);
	const char **merchants = ARRAY(const char *, n);
	PayArgs		args = {0};

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		PayPendingStatus *pending = list_nth(set->status_rows, i);

		ids[i] = pay_new_id(pay_id_bucket(&pending->row.payment_id));
		id_pointers[i] = &ids[i];
		payment_ids[i] = &pending->row.payment_id;
		seqs[i] = pending->row.seq;
		statuses[i] = pending->row.status;
		events[i] = pending->row.event;
		codes[i] = pending->row.code;
		amounts[i] = pending->dossier->amount;
		currencies[i] = pending->dossier->currency;
		order_refs[i] = pending->dossier->order_ref;
		merchants[i] = pending->dossier->merchant;
	}
	pay_arg_uuid_array(&args, id_pointers, n);
	pay_arg_uuid_array(&args, payment_ids, n);
	pay_arg_int32_array(&args, seqs, n);
	pay_arg_text_array(&args, statuses, n);
	pay_arg_text_array(&args, events, n);
	pay_arg_text_array(&args, codes, n);
	pay_arg_int64_array(&args, amounts, n);
	pay_arg_text_array(&args, currencies, n);
	pay_arg_text_array(&args, order_refs, n);
	pay_arg_text_array(&args, merchants, n);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_events, &args);
}

static PayStmt update_payments = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.payment p SET status = u.status, seq = u.seq, status_hash = u.hash, updated_at = $15, "
	" authorized = u.authorized, capture_pending = u.capture_pending, captured = u.captured, "
	" refund_pending = u.refund_pending, refunded = u.refunded, disputed = u.disputed, "
	" psp_payment_id = u.psp_payment_id, next_action_url = u.next_action_url, "
	" failure_code = u.failure_code, failure_message = u.failure_message "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) "
	" u (payment_id, status, seq, hash, authorized, capture_pending, captured, refund_pending, refunded, disputed, "
	"    psp_payment_id, next_action_url, failure_code, failure_message) "
	"WHERE p.payment_id = u.payment_id",
	UUIDARRAYOID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

static void
save_payments(PayDossiers *set)
{
	int			n = 0;
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, set->n);
	const char **texts[5];
	int32	   *seqs = ARRAY(int32, set->n);
	bytea	  **hashes = ARRAY(bytea *, set->n);
	int64	   *amounts[6];
	PayArgs		args = {0};

	for (int k = 0; k < 5; k++)
		texts[k] = ARRAY(const char *, set->n);
	for (int k = 0; k < 6; k++)
		amounts[k] = ARRAY(int64, set->n);
	for (int i = 0; i < set->n; i++)
	{
		PayDossier *dossier = &set->list[i];

		if (!dossier->dirty)
			continue;
		ids[n] = &dossier->payment_id;
		texts[0][n] = dossier->status;
		seqs[n] = dossier->seq;
		hashes[n] = hash_bytea(dossier->status_hash);
		amounts[0][n] = dossier->authorized;
		amounts[1][n] = dossier->capture_pending;
		amounts[2][n] = dossier->captured;
		amounts[3][n] = dossier->refund_pending;
		amounts[4][n] = dossier->refunded;
		amounts[5][n] = dossier->disputed;
		texts[1][n] = dossier->psp_payment_id;
		texts[2][n] = dossier->next_action_url;
		texts[3][n] = dossier->failure_code;
		texts[4][n] = dossier->failure_message;
		n++;
	}
	if (n == 0)
		return;
	pay_arg_uuid_array(&args, ids, n);
	pay_arg_text_array(&args, texts[0], n);
	pay_arg_int32_array(&args, seqs, n);
	pay_arg_bytea_array(&args, hashes, n);
	for (int k = 0; k < 6; k++)
		pay_arg_int64_array(&args, amounts[k], n);
	for (int k = 1; k < 5; k++)
		pay_arg_text_array(&args, texts[k], n);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&update_payments, &args);
}

static PayStmt insert_operation = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.operation (operation_id, payment_id, kind, amount, currency, reason, psp, psp_ref, created_at, "
	" status, settled_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
	UUIDOID, UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID);

/* New operations come one at a time, from a client's verb. */
static void
save_new_operations(PayDossiers *set)
{
	FOREACH_OPERATION(set)
	{
		PayArgs		args = {0};

		if (!operation->is_new)
			continue;
		pay_arg_uuid(&args, &operation->operation_id);
		pay_arg_uuid(&args, &dossier->payment_id);
		pay_arg_text(&args, pay_op_kind_name(operation->kind));
		pay_arg_int64(&args, operation->amount);
		pay_arg_text(&args, dossier->currency);
		pay_arg_text(&args, operation->reason);
		pay_arg_text(&args, dossier->psp);
		pay_arg_text(&args, operation->psp_ref);
		pay_arg_time(&args, set->now);
		pay_arg_text(&args, operation->status);
		if (operation->settled_at)
			pay_arg_time(&args, operation->settled_at);
		else
			pay_arg_null(&args);
		pay_spi_exec(&insert_operation, &args);
		operation->dirty = false;
	}
}

static PayStmt update_operations = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.operation o SET status = u.status, generation = u.generation, attempts = u.attempts, "
	" first_sent_at = u.first_sent_at, psp_object_id = u.psp_object_id, failure_code = u.failure_code, "
	" failure_message = u.failure_message, settled_at = u.settled_at "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) "
	" u (operation_id, status, generation, attempts, first_sent_at, psp_object_id, failure_code, failure_message, settled_at) "
	"WHERE o.operation_id = u.operation_id",
	UUIDARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZARRAYOID);

static int
count_operations(PayDossiers *set)
{
	int			n = 0;

	for (int i = 0; i < set->n; i++)
		n += list_length(set->list[i].operations);
	return n;
}

static void
save_operations(PayDossiers *set)
{
	int			n = 0,
				room = count_operations(set);
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, room);
	const char **statuses = ARRAY(const char *, room);
	int32	   *generations = ARRAY(int32, room);
	int32	   *attempts = ARRAY(int32, room);
	TimestampTz *first_sent = ARRAY(TimestampTz, room);
	const char **object_ids = ARRAY(const char *, room);
	const char **codes = ARRAY(const char *, room);
	const char **messages = ARRAY(const char *, room);
	TimestampTz *settled = ARRAY(TimestampTz, room);
	PayArgs		args = {0};

	FOREACH_OPERATION(set)
	{
		if (!operation->dirty || operation->is_new)
			continue;
		ids[n] = &operation->operation_id;
		statuses[n] = operation->status;
		generations[n] = operation->generation;
		attempts[n] = operation->attempts;
		first_sent[n] = operation->first_sent_at;
		object_ids[n] = operation->psp_object_id;
		codes[n] = operation->failure_code;
		messages[n] = operation->failure_message;
		settled[n] = operation->settled_at;
		n++;
	}
	if (n == 0)
		return;
	pay_arg_uuid_array(&args, ids, n);
	pay_arg_text_array(&args, statuses, n);
	pay_arg_int32_array(&args, generations, n);
	pay_arg_int32_array(&args, attempts, n);
	pay_arg_time_array(&args, first_sent, n);
	pay_arg_text_array(&args, object_ids, n);
	pay_arg_text_array(&args, codes, n);
	pay_arg_text_array(&args, messages, n);
	pay_arg_time_array(&args, settled, n);
	pay_spi_exec(&update_operations, &args);
}

#define QUEUE_COLUMNS "u (operation_id, payment_id, psp, action, due_at, claimed_by, attempt, schedule, try, lost) "
#define QUEUE_UNNEST "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) " QUEUE_COLUMNS
#define QUEUE_TYPES UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, \
	INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID

static PayStmt insert_queue = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.queue (operation_id, payment_id, psp, action, due_at, claimed_by, attempt, schedule, try, lost, enqueued_at) "
	"SELECT u.*, $11 " QUEUE_UNNEST, QUEUE_TYPES, TIMESTAMPTZOID);

static PayStmt update_queue = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.queue q SET action = u.action, due_at = u.due_at, claimed_by = u.claimed_by, attempt = u.attempt, "
	" schedule = u.schedule, try = u.try, lost = u.lost " QUEUE_UNNEST "WHERE q.operation_id = u.operation_id", QUEUE_TYPES);

static PayStmt delete_queue = PAY_STMT(SPI_OK_DELETE,
	"DELETE FROM payments.queue WHERE operation_id = ANY ($1)", UUIDARRAYOID);

static void
save_queue(PayDossiers *set)
{
	save_queue_rows(set, PAY_QUEUE_INSERT);
	save_queue_rows(set, PAY_QUEUE_UPDATE);
	save_queue_rows(set, PAY_QUEUE_DELETE);
}

static void
save_queue_rows(PayDossiers *set, PayQueueChange change)
{
	int			n = 0,
				room = count_operations(set);
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, room);
	const pg_uuid_t **payment_ids = ARRAY(const pg_uuid_t *, room);
	const char **psps = ARRAY(const char *, room);
	const char **actions = ARRAY(const char *, room);
	TimestampTz *due = ARRAY(TimestampTz, room);
	const char **claimed = ARRAY(const char *, room);
	int32	   *attempts = ARRAY(int32, room);
	const char **schedules = ARRAY(const char *, room);
	int32	   *tries = ARRAY(int32, room);
	int32	   *lost = ARRAY(int32, room);
	PayArgs		args = {0};

	FOREACH_OPERATION(set)
	{
		if (operation->queue_change != change)
			continue;
		ids[n] = &operation->operation_id;
		payment_ids[n] = &dossier->payment_id;
		psps[n] = dossier->psp;
		actions[n] = operation->action;
		due[n] = operation->due_at;
		claimed[n] = operation->claimed_by;
		attempts[n] = operation->queue_attempt;
		schedules[n] = operation->schedule;
		tries[n] = operation->try;
		lost[n] = operation->lost;
		n++;
	}
	if (n == 0)
		return;
	pay_arg_uuid_array(&args, ids, n);
	if (change == PAY_QUEUE_DELETE)
	{
		pay_spi_exec(&delete_queue, &args);
		return;
	}
	pay_arg_uuid_array(&args, payment_ids, n);
	pay_arg_text_array(&args, psps, n);
	pay_arg_text_array(&args, actions, n);
	pay_arg_time_array(&args, due, n);
	pay_arg_text_array(&args, claimed, n);
	pay_arg_int32_array(&args, attempts, n);
	pay_arg_text_array(&args, schedules, n);
	pay_arg_int32_array(&args, tries, n);
	pay_arg_int32_array(&args, lost, n);
	if (change == PAY_QUEUE_INSERT)
		pay_arg_time(&args, set->now);
	pay_spi_exec(change == PAY_QUEUE_INSERT ? &insert_queue : &update_queue, &args);
}

static PayStmt insert_dead_letter = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.dead_letter (dead_letter_id, operation_id, payment_id, psp, action, reason, detail, attempts, created_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (operation_id) WHERE decision IS NULL DO NOTHING",
	UUIDOID, UUIDOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID);

/* Dead letters are rare: one statement each. */
static void
save_dead_letters(PayDossiers *set)
{
	FOREACH_OPERATION(set)
	{
		PayArgs		args = {0};
		pg_uuid_t	id;

		if (operation->dead_reason == NULL)
			continue;
		id = pay_new_id(pay_id_bucket(&dossier->payment_id));
		pay_arg_uuid(&args, &id);
		pay_arg_uuid(&args, &operation->operation_id);
		pay_arg_uuid(&args, &dossier->payment_id);
		pay_arg_text(&args, dossier->psp);
		pay_arg_text(&args, operation->action ? operation->action : "send");
		pay_arg_text(&args, operation->dead_reason);
		pay_arg_text(&args, operation->dead_detail);
		pay_arg_int32(&args, operation->attempts);
		pay_arg_time(&args, set->now);
		pay_spi_exec(&insert_dead_letter, &args);
	}
}

static PayStmt resolve_dead_letter = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.dead_letter SET decision = 'resolved', decided_at = $2, decided_by = $3, "
	" decision_reason = 'the PSP said what became of it' WHERE operation_id = $1 AND decision IS NULL",
	UUIDOID, TIMESTAMPTZOID, TEXTOID);

static void
save_resolved_dead_letters(PayDossiers *set)
{
	FOREACH_OPERATION(set)
	{
		PayArgs		args = {0};

		if (!operation->dead_letter_resolved)
			continue;
		pay_arg_uuid(&args, &operation->operation_id);
		pay_arg_time(&args, set->now);
		pay_arg_text(&args, set->actor);
		pay_spi_exec(&resolve_dead_letter, &args);
	}
}

static PayStmt insert_attempts = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.attempt (operation_id, attempt, action, generation, psp_key, method, path, content_type, body, worker, claimed_at) "
	"SELECT u.*, $11 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) u",
	UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

static void
save_attempts(PayDossiers *set)
{
	int			n = list_length(set->attempts);
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, n);
	int32	   *attempts = ARRAY(int32, n);
	int32	   *generations = ARRAY(int32, n);
	const char **texts[7];
	PayArgs		args = {0};

	if (n == 0)
		return;
	for (int k = 0; k < 7; k++)
		texts[k] = ARRAY(const char *, n);
	for (int i = 0; i < n; i++)
	{
		PayAttempt *attempt = list_nth(set->attempts, i);

		ids[i] = &attempt->operation_id;
		attempts[i] = attempt->attempt;
		texts[0][i] = attempt->action;
		generations[i] = attempt->generation;
		texts[1][i] = attempt->psp_key;
		texts[2][i] = attempt->method;
		texts[3][i] = attempt->path;
		texts[4][i] = attempt->content_type;
		texts[5][i] = attempt->body;
		texts[6][i] = attempt->worker;
	}
	pay_arg_uuid_array(&args, ids, n);
	pay_arg_int32_array(&args, attempts, n);
	pay_arg_text_array(&args, texts[0], n);
	pay_arg_int32_array(&args, generations, n);
	for (int k = 1; k < 7; k++)
		pay_arg_text_array(&args, texts[k], n);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_attempts, &args);
}

static PayStmt insert_answers = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.attempt_answer (operation_id, attempt, class, code, http_status, request_id, error, body, elapsed_ms, late, answered_at) "
	"SELECT u.operation_id, u.attempt, u.class, u.code, nullif(u.http_status, 0), u.request_id, u.error, u.body, u.elapsed_ms, u.late, $11 "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
	" u (operation_id, attempt, class, code, http_status, request_id, error, body, elapsed_ms, late) "
	"ON CONFLICT DO NOTHING",
	UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAARRAYOID,
	INT4ARRAYOID, BOOLARRAYOID, TIMESTAMPTZOID);

static void
save_answers(PayDossiers *set)
{
	int			n = list_length(set->answers);
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, n);
	int32	   *attempts = ARRAY(int32, n);
	const char **classes = ARRAY(const char *, n);
	const char **codes = ARRAY(const char *, n);
	int32	   *http_statuses = ARRAY(int32, n);
	const char **request_ids = ARRAY(const char *, n);
	const char **errors = ARRAY(const char *, n);
	bytea	  **bodies = ARRAY(bytea *, n);
	int32	   *elapsed = ARRAY(int32, n);
	bool	   *late = ARRAY(bool, n);
	PayArgs		args = {0};

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		PayAttemptAnswer *answer = list_nth(set->answers, i);

		ids[i] = &answer->operation_id;
		attempts[i] = answer->attempt;
		classes[i] = answer->class;
		codes[i] = answer->code;
		http_statuses[i] = answer->http_status;
		request_ids[i] = answer->request_id;
		errors[i] = answer->error;
		bodies[i] = answer->body;
		elapsed[i] = answer->elapsed_ms;
		late[i] = answer->late;
	}
	pay_arg_uuid_array(&args, ids, n);
	pay_arg_int32_array(&args, attempts, n);
	pay_arg_text_array(&args, classes, n);
	pay_arg_text_array(&args, codes, n);
	pay_arg_int32_array(&args, http_statuses, n);
	pay_arg_text_array(&args, request_ids, n);
	pay_arg_text_array(&args, errors, n);
	pay_arg_bytea_array(&args, bodies, n);
	pay_arg_int32_array(&args, elapsed, n);
	pay_arg_bool_array(&args, late, n);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_answers, &args);
}

static PayStmt insert_movements = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.movement (psp, object_id, kind, payment_id, operation_id, amount, currency, source, recorded_at) "
	"SELECT u.*, $9 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) u",
	TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, UUIDARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZOID);

/* The rows, then their postings: last, since accounts are the busiest locks. */
static void
save_movements(PayDossiers *set)
{
	int			n = list_length(set->movements);
	int			posted = 0;
	const char **psps = ARRAY(const char *, n);
	const char **object_ids = ARRAY(const char *, n);
	const char **kinds = ARRAY(const char *, n);
	const pg_uuid_t **payment_ids = ARRAY(const pg_uuid_t *, n);
	const pg_uuid_t **operation_ids = ARRAY(const pg_uuid_t *, n);
	int64	   *amounts = ARRAY(int64, n);
	const char **currencies = ARRAY(const char *, n);
	const char **sources = ARRAY(const char *, n);
	PayMovement *postings = ARRAY(PayMovement, n);
	PayArgs		args = {0};

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		PayPendingMovement *pending = list_nth(set->movements, i);
		PayDossier *dossier = pending->dossier;

		psps[i] = dossier->psp;
		object_ids[i] = pending->moved->object_id;
		kinds[i] = pending->moved->kind;
		payment_ids[i] = &dossier->payment_id;
		operation_ids[i] = pending->operation ? &pending->operation->operation_id : NULL;
		amounts[i] = pending->moved->amount;
		currencies[i] = dossier->currency;
		sources[i] = pending->source;

		/* An authorization moves nothing yet. */
		if (strcmp(pending->moved->kind, "authorize") == 0)
			continue;
		postings[posted].event = pending->moved->kind;
		postings[posted].merchant = dossier->merchant;
		postings[posted].psp = dossier->psp;
		postings[posted].currency = dossier->currency;
		postings[posted].amount = pending->moved->amount;
		postings[posted].payment_id = dossier->payment_id;
		postings[posted].reference = psprintf("%s:%s:%s", dossier->psp, pending->moved->object_id, pending->moved->kind);
		posted++;
	}
	pay_arg_text_array(&args, psps, n);
	pay_arg_text_array(&args, object_ids, n);
	pay_arg_text_array(&args, kinds, n);
	pay_arg_uuid_array(&args, payment_ids, n);
	pay_arg_uuid_array(&args, operation_ids, n);
	pay_arg_int64_array(&args, amounts, n);
	pay_arg_text_array(&args, currencies, n);
	pay_arg_text_array(&args, sources, n);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_movements, &args);
	if (posted > 0)
		pay_ledger_post_movements(postings, posted);
}

static PayStmt insert_exception = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.exception (exception_id, kind, psp, object_id, payment_id, operation_id, amount, currency, detail, created_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, nullif($7, 0), $8, $9, $10) ON CONFLICT DO NOTHING",
	UUIDOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, UUIDOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID);

static void
save_exceptions(PayDossiers *set)
{
	ListCell   *cell;

	foreach(cell, set->exceptions)
	{
		PayPendingException *pending = lfirst(cell);
		pg_uuid_t	id = pay_new_id(pay_id_bucket(&pending->dossier->payment_id));
		PayArgs		args = {0};

		pay_arg_uuid(&args, &id);
		pay_arg_text(&args, pending->kind);
		pay_arg_text(&args, pending->dossier->psp);
		pay_arg_text(&args, pending->object_id);
		pay_arg_uuid(&args, &pending->dossier->payment_id);
		pay_arg_uuid(&args, pending->operation ? &pending->operation->operation_id : NULL);
		pay_arg_int64(&args, pending->amount);
		pay_arg_text(&args, pending->dossier->currency);
		pay_arg_text(&args, pending->detail);
		pay_arg_time(&args, set->now);
		pay_spi_exec(&insert_exception, &args);
	}
}
