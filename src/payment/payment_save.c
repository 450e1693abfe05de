/*
 * src/payment/payment_save.c
 *		Writes what was decided on payments, in set-based statements.
 *
 * Always in one order, with postings near the end: accounts are the busiest
 * locks.  payment/payment.c has the rules.
 */
#include "payments.h"

#include "base/uuid.h"
#include "core/spi.h"
#include "ledger/movement.h"
#include "payment/object.h"
#include "payment/outbox.h"
#include "payment/payment.h"
#include "payment/payment_private.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"
#include "utils/timestamp.h"

static void save_status_rows(PayPayments *set);
static void save_payments(PayPayments *set);
static void save_new_operations(PayPayments *set);
static void save_operations(PayPayments *set);
static void save_queue(PayPayments *set);
static void save_queue_rows(PayPayments *set, PayQueueChange change);
static void save_dead_letters(PayPayments *set);
static void save_dead_letter(PayPayments *set, const PayPayment *payment, const PayOperation *operation);
static void save_resolved_dead_letter(PayPayments *set, const PayOperation *operation);
static void save_attempts(PayPayments *set);
static void save_answers(PayPayments *set);
static void save_movements(PayPayments *set);
static void save_exceptions(PayPayments *set);

void
pay_payments_save(PayPayments *set)
{
	pay_moves_save(set);
	save_status_rows(set);
	pay_outbox_save(set);
	save_payments(set);
	save_new_operations(set);
	save_operations(set);
	save_queue(set);
	save_dead_letters(set);
	save_attempts(set);
	save_answers(set);
	save_movements(set);
	save_exceptions(set);
}

/* Calls body with `operation` and `payment` for every operation of every payment. */
#define FOREACH_OPERATION(set) \
	for (PayPayment *payment = (set)->list; payment < (set)->list + (set)->n; payment++) \
		for (int k_ = 0; k_ < list_length(payment->operations); k_++) \
			for (PayOperation *operation = list_nth(payment->operations, k_); operation; operation = NULL)

#define ARRAY(type, n) ((type *) palloc0(sizeof(type) * Max((n), 1)))

static int
count_operations(PayPayments *set)
{
	int			n = 0;

	for (int i = 0; i < set->n; i++)
		n += list_length(set->list[i].operations);
	return n;
}

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
save_status_rows(PayPayments *set)
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

static PayStmt update_payments = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.payment p SET status = u.status, seq = u.seq, status_hash = u.hash, updated_at = $15, "
	" authorized = u.authorized, capture_pending = u.capture_pending, captured = u.captured, "
	" refund_pending = u.refund_pending, refunded = u.refunded, disputed = u.disputed, released = u.released, capture_before = u.capture_before, "
	" psp_payment_id = u.psp_payment_id, next_action_url = u.next_action_url, "
	" failure_code = u.failure_code, failure_message = u.failure_message "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $16, $17) "
	" u (payment_id, status, seq, hash, authorized, capture_pending, captured, refund_pending, refunded, disputed, "
	"    psp_payment_id, next_action_url, failure_code, failure_message, released, capture_before) "
	"WHERE p.payment_id = u.payment_id",
	UUIDARRAYOID, TEXTARRAYOID, INT4ARRAYOID, BYTEAARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, INT8ARRAYOID,
	TIMESTAMPTZARRAYOID);

static void
save_payments(PayPayments *set)
{
	int			n = 0;
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, set->n);
	const char **texts[5];
	int32	   *seqs = ARRAY(int32, set->n);
	bytea	  **hashes = ARRAY(bytea *, set->n);
	int64	   *amounts[7];
	TimestampTz *capture_before = ARRAY(TimestampTz, set->n);
	PayArgs		args = {0};

	for (int k = 0; k < 5; k++)
		texts[k] = ARRAY(const char *, set->n);
	for (int k = 0; k < 7; k++)
		amounts[k] = ARRAY(int64, set->n);
	for (int i = 0; i < set->n; i++)
	{
		PayPayment *payment = &set->list[i];

		if (!payment->dirty)
			continue;
		ids[n] = &payment->payment_id;
		texts[0][n] = payment->status;
		seqs[n] = payment->seq;
		hashes[n] = hash_bytea(payment->status_hash);
		amounts[0][n] = payment->authorized;
		amounts[1][n] = payment->capture_pending;
		amounts[2][n] = payment->captured;
		amounts[3][n] = payment->refund_pending;
		amounts[4][n] = payment->refunded;
		amounts[5][n] = payment->disputed;
		amounts[6][n] = payment->released;
		capture_before[n] = pay_payment_rest(payment) > 0 ? payment->capture_before : 0;
		texts[1][n] = payment->psp_payment_id;
		texts[2][n] = payment->next_action_url;
		texts[3][n] = payment->failure_code;
		texts[4][n] = payment->failure_message;
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
	pay_arg_int64_array(&args, amounts[6], n);
	pay_arg_time_array(&args, capture_before, n);
	pay_spi_exec(&update_payments, &args);
}

static PayStmt insert_operation = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.operation (operation_id, payment_id, kind, amount, currency, reason, psp, psp_ref, created_at, "
	" status, completed_at, source, final) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
	UUIDOID, UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, TEXTOID,
	BOOLOID);

/* New operations come one at a time, from a client's verb. */
static void
save_new_operations(PayPayments *set)
{
	FOREACH_OPERATION(set)
	{
		PayArgs		args = {0};

		if (!operation->is_new)
			continue;
		pay_arg_uuid(&args, &operation->operation_id);
		pay_arg_uuid(&args, &payment->payment_id);
		pay_arg_text(&args, pay_op_kind_name(operation->kind));
		pay_arg_int64(&args, operation->amount);
		pay_arg_text(&args, payment->currency);
		pay_arg_text(&args, operation->reason);
		pay_arg_text(&args, payment->psp);
		pay_arg_text(&args, operation->psp_ref);
		pay_arg_time(&args, set->now);
		pay_arg_text(&args, operation->status);
		if (operation->completed_at)
			pay_arg_time(&args, operation->completed_at);
		else
			pay_arg_null(&args);
		pay_arg_text(&args, operation->source);
		pay_arg_bool(&args, !operation->keep_rest);
		pay_spi_exec(&insert_operation, &args);
		operation->dirty = false;
	}
}

static PayStmt update_operations = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.operation o SET status = u.status, generation = u.generation, attempts = u.attempts, "
	" key_used_at = u.key_used_at, psp_object_id = u.psp_object_id, failure_code = u.failure_code, "
	" failure_message = u.failure_message, completed_at = u.completed_at, source = u.source, step = u.step "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
	" u (operation_id, status, generation, attempts, key_used_at, psp_object_id, failure_code, failure_message, completed_at, source, step) "
	"WHERE o.operation_id = u.operation_id",
	UUIDARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZARRAYOID, TEXTARRAYOID, INT4ARRAYOID);

static void
save_operations(PayPayments *set)
{
	int			n = 0,
				room = count_operations(set);
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, room);
	const char **statuses = ARRAY(const char *, room);
	int32	   *generations = ARRAY(int32, room);
	int32	   *attempts = ARRAY(int32, room);
	TimestampTz *key_used = ARRAY(TimestampTz, room);
	const char **object_ids = ARRAY(const char *, room);
	const char **codes = ARRAY(const char *, room);
	const char **messages = ARRAY(const char *, room);
	TimestampTz *completed = ARRAY(TimestampTz, room);
	const char **sources = ARRAY(const char *, room);
	int32	   *steps = ARRAY(int32, room);
	PayArgs		args = {0};

	FOREACH_OPERATION(set)
	{
		if (!operation->dirty || operation->is_new)
			continue;
		ids[n] = &operation->operation_id;
		statuses[n] = operation->status;
		generations[n] = operation->generation;
		attempts[n] = operation->attempts;
		key_used[n] = operation->key_used_at;
		object_ids[n] = operation->psp_object_id;
		codes[n] = operation->failure_code;
		messages[n] = operation->failure_message;
		completed[n] = operation->completed_at;
		sources[n] = operation->source;
		steps[n] = operation->step;
		n++;
	}
	if (n == 0)
		return;
	pay_arg_uuid_array(&args, ids, n);
	pay_arg_text_array(&args, statuses, n);
	pay_arg_int32_array(&args, generations, n);
	pay_arg_int32_array(&args, attempts, n);
	pay_arg_time_array(&args, key_used, n);
	pay_arg_text_array(&args, object_ids, n);
	pay_arg_text_array(&args, codes, n);
	pay_arg_text_array(&args, messages, n);
	pay_arg_time_array(&args, completed, n);
	pay_arg_text_array(&args, sources, n);
	pay_arg_int32_array(&args, steps, n);
	pay_spi_exec(&update_operations, &args);
}

#define QUEUE_COLUMNS "u (operation_id, payment_id, psp, action, due_at, claimed_by, attempt, schedule, try, lost, refused) "
#define QUEUE_UNNEST "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) " QUEUE_COLUMNS
#define QUEUE_TYPES UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, \
	INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID

static PayStmt insert_queue = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.queue (operation_id, payment_id, psp, action, due_at, claimed_by, attempt, schedule, try, lost, refused, enqueued_at) "
	"SELECT u.*, $12 " QUEUE_UNNEST, QUEUE_TYPES, TIMESTAMPTZOID);

/* Whatever is written next has heeded the hint. */
static PayStmt update_queue = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.queue q SET action = u.action, due_at = u.due_at, claimed_by = u.claimed_by, attempt = u.attempt, "
	" schedule = u.schedule, try = u.try, lost = u.lost, refused = u.refused, hinted = false " QUEUE_UNNEST "WHERE q.operation_id = u.operation_id", QUEUE_TYPES);

static PayStmt delete_queue = PAY_STMT(SPI_OK_DELETE,
	"DELETE FROM payments.queue WHERE operation_id = ANY ($1)", UUIDARRAYOID);

static void
save_queue(PayPayments *set)
{
	save_queue_rows(set, PAY_QUEUE_INSERT);
	save_queue_rows(set, PAY_QUEUE_UPDATE);
	save_queue_rows(set, PAY_QUEUE_DELETE);
}

static void
save_queue_rows(PayPayments *set, PayQueueChange change)
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
	int32	   *refused = ARRAY(int32, room);
	PayArgs		args = {0};

	FOREACH_OPERATION(set)
	{
		if (operation->queue_change != change)
			continue;
		ids[n] = &operation->operation_id;
		payment_ids[n] = &payment->payment_id;
		psps[n] = payment->psp;
		actions[n] = operation->action;
		due[n] = operation->due_at;
		claimed[n] = operation->claimed_by;
		attempts[n] = operation->queue_attempt;
		schedules[n] = operation->schedule;
		tries[n] = operation->try;
		lost[n] = operation->lost;
		refused[n] = operation->refused;
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
	pay_arg_int32_array(&args, refused, n);
	if (change == PAY_QUEUE_INSERT)
		pay_arg_time(&args, set->now);
	pay_spi_exec(change == PAY_QUEUE_INSERT ? &insert_queue : &update_queue, &args);
}

static PayStmt insert_dead_letter = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.dead_letter (dead_letter_id, operation_id, payment_id, psp, action, reason, detail, attempts, created_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (operation_id) WHERE decision IS NULL DO NOTHING",
	UUIDOID, UUIDOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID);

/*
 * Dead letters are rare: one statement each.  One that has been decided makes
 * room for the next, or is the one that came in this very batch.
 */
static void
save_dead_letters(PayPayments *set)
{
	FOREACH_OPERATION(set)
	{
		if (operation->dead_letter_resolved && operation->dead_letter != NULL)
			save_resolved_dead_letter(set, operation);
		if (operation->dead_reason != NULL)
			save_dead_letter(set, payment, operation);
		if (operation->dead_letter_resolved && operation->dead_letter == NULL)
			save_resolved_dead_letter(set, operation);
	}
}

static void
save_dead_letter(PayPayments *set, const PayPayment *payment, const PayOperation *operation)
{
	PayArgs		args = {0};
	pg_uuid_t	id = pay_new_id(pay_id_bucket(&payment->payment_id));

	pay_arg_uuid(&args, &id);
	pay_arg_uuid(&args, &operation->operation_id);
	pay_arg_uuid(&args, &payment->payment_id);
	pay_arg_text(&args, payment->psp);
	pay_arg_text(&args, operation->action ? operation->action : "send");
	pay_arg_text(&args, operation->dead_reason);
	pay_arg_text(&args, operation->dead_detail);
	pay_arg_int32(&args, operation->attempts);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_dead_letter, &args);
}

static PayStmt resolve_dead_letter = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.dead_letter SET decision = $5, decided_at = $2, decided_by = $3, "
	" decision_reason = $4 WHERE operation_id = $1 AND decision IS NULL",
	UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID);

static void
save_resolved_dead_letter(PayPayments *set, const PayOperation *operation)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, &operation->operation_id);
	pay_arg_time(&args, set->now);
	pay_arg_text(&args, set->actor);
	pay_arg_text(&args, operation->resolution || operation->decision ? operation->resolution : "the PSP said what became of it");
	pay_arg_text(&args, operation->decision ? operation->decision : "resolved");
	pay_spi_exec(&resolve_dead_letter, &args);
}

static PayStmt insert_attempts = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.attempt (operation_id, attempt, action, generation, step, psp_key, method, path, content_type, body, worker, claimed_at) "
	"SELECT u.*, $12 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) u",
	UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

static void
save_attempts(PayPayments *set)
{
	int			n = list_length(set->attempts);
	const pg_uuid_t **ids = ARRAY(const pg_uuid_t *, n);
	int32	   *attempts = ARRAY(int32, n);
	int32	   *generations = ARRAY(int32, n);
	int32	   *steps = ARRAY(int32, n);
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
		steps[i] = attempt->step;
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
	pay_arg_int32_array(&args, steps, n);
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
save_answers(PayPayments *set)
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
	"SELECT u.*, $9 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) u ON CONFLICT DO NOTHING",
	TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, UUIDARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TIMESTAMPTZOID);

/* The rows, then their postings: last, since accounts are the busiest locks. */
static void
save_movements(PayPayments *set)
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
		PayPayment *payment = pending->payment;

		psps[i] = pending->moved->psp;
		object_ids[i] = pending->moved->object_id;
		kinds[i] = pending->moved->kind;
		payment_ids[i] = &payment->payment_id;
		operation_ids[i] = pending->operation ? &pending->operation->operation_id : NULL;
		amounts[i] = pending->moved->amount;
		currencies[i] = payment->currency;
		sources[i] = pending->source;

		if (!pay_movement_moves(pending->moved->kind))
			continue;
		postings[posted].event = pending->event;
		postings[posted].merchant = payment->merchant;
		postings[posted].psp = pending->moved->psp;
		postings[posted].currency = payment->currency;
		postings[posted].amount = pending->moved->amount;
		postings[posted].payment_id = &payment->payment_id;
		postings[posted].reference = psprintf("%s:%s:%s", pending->moved->psp, pending->moved->object_id, pending->moved->kind);
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
	if (pay_spi_exec(&insert_movements, &args) != (uint64) n)
		pay_object_raise_elsewhere(set);
	if (posted > 0)
		pay_ledger_post_movements(postings, posted);
}

static PayStmt insert_exception = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.exception (exception_id, kind, psp, object_id, payment_id, operation_id, amount, currency, detail, created_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, nullif($7, 0), $8, $9, $10) ON CONFLICT DO NOTHING",
	UUIDOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, UUIDOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID);

static PayStmt resolve_exceptions = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.exception SET resolved_at = $4, resolved_by = $5, resolution = $6 "
	"WHERE payment_id = $1 AND kind = $2 AND resolved_at IS NULL "
	"AND CASE WHEN $7 IS NULL THEN object_id IS NOT DISTINCT FROM $3 ELSE operation_id = $7 END",
	UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, UUIDOID);

static PayStmt reopen_exceptions = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.exception SET resolved_at = NULL, resolved_by = NULL, resolution = NULL "
	"WHERE payment_id = $1 AND kind = $2 AND object_id IS NOT DISTINCT FROM $3 AND resolution = $4",
	UUIDOID, TEXTOID, TEXTOID, TEXTOID);

static void
save_reopening(const PayPendingException *pending)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, &pending->payment->payment_id);
	pay_arg_text(&args, pending->kind);
	pay_arg_text(&args, pending->object_id);
	pay_arg_text(&args, pending->resolution);
	pay_spi_exec(&reopen_exceptions, &args);
}

static void
save_resolution(PayPayments *set, const PayPendingException *pending)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, &pending->payment->payment_id);
	pay_arg_text(&args, pending->kind);
	pay_arg_text(&args, pending->object_id);
	pay_arg_time(&args, set->now);
	pay_arg_text(&args, set->actor);
	pay_arg_text(&args, pending->resolution);
	pay_arg_uuid(&args, pending->operation ? &pending->operation->operation_id : NULL);
	pay_spi_exec(&resolve_exceptions, &args);
}

static void
save_exceptions(PayPayments *set)
{
	ListCell   *cell;

	foreach(cell, set->exceptions)
	{
		PayPendingException *pending = lfirst(cell);
		pg_uuid_t	id = pay_new_id(pay_id_bucket(&pending->payment->payment_id));
		PayArgs		args = {0};

		if (pending->reopened)
		{
			save_reopening(pending);
			continue;
		}
		if (pending->resolution)
		{
			save_resolution(set, pending);
			continue;
		}
		pay_arg_uuid(&args, &id);
		pay_arg_text(&args, pending->kind);
		pay_arg_text(&args, pending->psp);
		pay_arg_text(&args, pending->object_id);
		pay_arg_uuid(&args, &pending->payment->payment_id);
		pay_arg_uuid(&args, pending->operation ? &pending->operation->operation_id : NULL);
		pay_arg_int64(&args, pending->amount);
		pay_arg_text(&args, pending->payment->currency);
		pay_arg_text(&args, pending->detail);
		pay_arg_time(&args, set->now);
		pay_spi_exec(&insert_exception, &args);
	}
}
