/*
 * src/payment/queue.c
 *		Claiming operations that are due.
 *
 * A claim is one short transaction: it locks due rows and their payments with
 * SKIP LOCKED, writes for each an attempt row with the exact bytes, moves the
 * payment to "processing" and sets the lease.  Only after its commit may a
 * byte leave.  due_at doubles as the end of the lease, so one index serves
 * both; the attempt number is the fencing token.
 *
 * A row that comes due while claimed has lost its worker in mid-call.  Nobody
 * knows what the PSP did, so it is completed as unknown through apply and will
 * be inquired, never simply sent again.
 *
 * Of a PSP that cannot be asked, what would be asked is sent again or waited
 * for; see payment/no_inquiry.c.
 *
 * Retries send the stored bytes of the first attempt of the generation and step, not newly
 * built ones: an upgrade of an adapter must not change what a key means.
 *
 * What is unsent here may have been sent elsewhere: until this database was
 * armed, another copy of it was perhaps the one that sends.  So operations that
 * are older than the arming are inquired first, and sent only while the PSP
 * honours a key that was used the moment they were made.
 */
#include "payments.h"

#include "payment/queue.h"

#include "core/arming.h"
#include "core/spi.h"
#include "payment/adapter.h"
#include "payment/apply.h"
#include "payment/command.h"
#include "payment/idempotency.h"
#include "payment/no_inquiry.h"
#include "payment/payment.h"

#include "utils/timestamp.h"

#define CLAIM_MAX 5000
/* Adapters leave an hour of a key's life for clocks and queues: so much of it is for a clock that was set back. */
#define SET_BACK_US (30 * 60 * USECS_PER_SEC)
/* What could only be found out by sending it again looks so often whether the pause is over. */
#define PAUSED_AGAIN_US (60 * USECS_PER_SEC)

/* Rows that are due: free ones, those whose worker is dead, and those that are at the PSP by our own hand. */
typedef struct PayDue
{
	pg_uuid_t  *operations;		/* free */
	pg_uuid_t  *payments;		/* theirs */
	int			n_free;
	PayReport  *lost;
	int			n_lost;
	const pg_uuid_t **on_way;
	int			n_on_way;
	bool		paused;			/* their PSP, by a person */
} PayDue;

static void read_due(PayDue *due, int rows, bool (*on_its_way) (const pg_uuid_t *));
static void renew_leases(const pg_uuid_t *const *operations, int n, TimestampTz until);
static void complete_lost(PayReport *reports, int n, const char *psp, TimestampTz now, const char *actor);
static bool claim_one(PayPayments *set, PayPayment *payment, PayOperation *operation, const char *worker,
					  int lease_ms, bool paused, PayClaim *claim);
static void doubt_older(PayPayments *set, PayPayment *payment, PayOperation *operation, const PayAdapter *adapter);
static void doubt_key(PayOperation *operation, const PayAdapter *adapter, TimestampTz now);
static void doubt_target(PayPayments *set, PayPayment *payment, PayOperation *operation, const PayAdapter *adapter);
static void doubt_told(PayPayments *set, const char *psp, const pg_uuid_t *payments, const pg_uuid_t *operations, int n);
static TimestampTz long_ago(const PayPayment *payment, const PayOperation *operation);
static void doubt(PayPayments *set, PayPayment *payment, PayOperation *operation, TimestampTz key_used_at);
static TimestampTz step_began(const PayOperation *operation);
static bool choose_call(PayPayments *set, PayPayment *payment, PayOperation *operation, PayClaim *claim);
static bool key_is_valid(const PayOperation *operation, const PayAdapter *adapter, TimestampTz now);
static const char *prepare_request(PayPayments *set, PayOperation *operation, PayClaim *claim);
static bool stored_request(const PayOperation *operation, PayRequest *request);

/* While a person has paused the PSP nothing is sent there; what it may have is asked for. */
static PayStmt find_due = PAY_STMT(SPI_OK_SELECT,
	"SELECT q.operation_id, q.payment_id, q.attempt, q.claimed_by IS NOT NULL, q.action = 'inquire', s.paused "
	"FROM payments.queue q JOIN payments.payment p ON p.payment_id = q.payment_id CROSS JOIN (SELECT EXISTS (SELECT FROM payments.psp x "
	" WHERE x.psp = $1 AND x.paused_at IS NOT NULL AND coalesce(x.paused_until > $2, true)) AS paused) s "
	"WHERE q.psp = $1 AND q.due_at <= $2 AND q.operation_id <> ALL ($4) "
	"AND (q.action = 'inquire' OR q.claimed_by IS NOT NULL OR NOT s.paused) ORDER BY q.due_at LIMIT $3 "
	"FOR UPDATE OF q SKIP LOCKED FOR NO KEY UPDATE OF p SKIP LOCKED", TEXTOID, TIMESTAMPTZOID, INT8OID, UUIDARRAYOID);

static PayStmt find_bytes = PAY_STMT(SPI_OK_SELECT,
	"SELECT method, path, content_type, body FROM payments.attempt "
	"WHERE operation_id = $1 AND action = 'send' AND generation = $2 AND step = $3 ORDER BY attempt LIMIT 1", UUIDOID, INT4OID, INT4OID);

static PayStmt find_told = PAY_STMT(SPI_OK_SELECT,
	"SELECT r.i::int FROM unnest($2) WITH ORDINALITY r(ref, i) "
	"WHERE EXISTS (SELECT FROM payments.settlement_line l WHERE l.reference = r.ref AND l.psp = $1) "
	"OR EXISTS (SELECT FROM payments.exception e WHERE e.psp_ref = r.ref)", TEXTOID, TEXTARRAYOID);

static PayStmt find_earlier = PAY_STMT(SPI_OK_SELECT,
	"SELECT max(claimed_at) FROM payments.attempt WHERE operation_id = $1 AND (generation, step) < ($2, $3)", UUIDOID, INT4OID, INT4OID);

static PayStmt expire_leases = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.queue SET due_at = least(due_at, $2) WHERE claimed_by = $1", TEXTOID, TIMESTAMPTZOID);

static PayStmt prolong_leases = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.queue SET due_at = $2 WHERE operation_id = ANY ($1)", UUIDARRAYOID, TIMESTAMPTZOID);

/*
 * When a row was written say its latest exchange and its beginning: in the
 * future, then by a clock that was ahead.  Counts those that are locked.
 */
static PayStmt retime = PAY_STMT(SPI_OK_SELECT,
	"WITH ahead AS ("
	" SELECT q.operation_id, greatest(q.enqueued_at, a.claimed_at, r.answered_at) AS written_at FROM payments.queue q "
	" LEFT JOIN payments.attempt a ON a.operation_id = q.operation_id AND a.attempt = q.attempt "
	" LEFT JOIN payments.attempt_answer r ON r.operation_id = q.operation_id AND r.attempt = q.attempt AND NOT r.late "
	" WHERE q.due_at > $1 AND greatest(q.enqueued_at, a.claimed_at, r.answered_at) > $1), "
	"free AS (SELECT q.operation_id FROM payments.queue q WHERE q.operation_id IN (SELECT a.operation_id FROM ahead a) "
	" FOR NO KEY UPDATE SKIP LOCKED), "
	"retimed AS (UPDATE payments.queue q SET due_at = greatest($1, q.due_at - (a.written_at - $1)) FROM ahead a, free f "
	" WHERE a.operation_id = q.operation_id AND f.operation_id = q.operation_id RETURNING 1) "
	"SELECT (SELECT count(*) FROM ahead) - (SELECT count(*) FROM retimed)", TIMESTAMPTZOID);

int
pay_queue_claim(const char *psp, const char *worker, int max, int lease_ms, TimestampTz now,
				bool (*on_its_way) (const pg_uuid_t *), const pg_uuid_t *skip, int n_skip,
				PayClaim **claims, int *touched, pg_uuid_t *first)
{
	PayArgs		args = {0};
	const pg_uuid_t **skipped = palloc(sizeof(pg_uuid_t *) * Max(n_skip, 1));
	int			rows,
				n = 0;
	PayDue		due;
	PayPayments *set;

	max = Min(max, CLAIM_MAX);
	pay_arg_text(&args, psp);
	pay_arg_time(&args, now);
	pay_arg_int64(&args, max);
	for (int i = 0; i < n_skip; i++)
		skipped[i] = &skip[i];
	pay_arg_uuid_array(&args, skipped, n_skip);
	rows = (int) pay_spi_exec(&find_due, &args);
	*touched = rows;
	*claims = palloc0(sizeof(PayClaim) * Max(rows, 1));
	if (rows == 0)
		return 0;
	*first = pay_spi_uuid(0, 1);
	read_due(&due, rows, on_its_way);
	if (due.n_on_way > 0)
		renew_leases(due.on_way, due.n_on_way, now + (TimestampTz) lease_ms * 1000);
	if (due.n_lost > 0)
		complete_lost(due.lost, due.n_lost, psp, now, worker);
	if (due.n_free == 0)
		return 0;

	set = pay_payments_load(due.payments, due.n_free, now, worker);
	doubt_told(set, psp, due.payments, due.operations, due.n_free);
	for (int i = 0; i < due.n_free; i++)
	{
		PayPayment *payment = pay_payments_find(set, &due.payments[i]);
		PayOperation *operation = payment ? pay_payment_operation(payment, &due.operations[i]) : NULL;

		/* What is left is due still. */
		if (payment && payment->adapter && pay_adapter_rests(payment->adapter))
			break;
		if (operation && operation->queued && claim_one(set, payment, operation, worker, lease_ms, due.paused, &(*claims)[n]))
			n++;
	}
	pay_payments_save(set);
	return n;
}

/* Sorts the rows of find_due, all of them before anything else is asked. */
static void
read_due(PayDue *due, int rows, bool (*on_its_way) (const pg_uuid_t *))
{
	memset(due, 0, sizeof(PayDue));
	due->paused = pay_spi_bool(0, 6);
	due->operations = palloc(sizeof(pg_uuid_t) * rows);
	due->payments = palloc(sizeof(pg_uuid_t) * rows);
	due->lost = palloc0(sizeof(PayReport) * rows);
	due->on_way = palloc(sizeof(pg_uuid_t *) * rows);
	for (int i = 0; i < rows; i++)
	{
		pg_uuid_t  *id = &due->operations[i];

		*id = pay_spi_uuid(i, 1);
		if (!pay_spi_bool(i, 4))
		{
			due->payments[due->n_free] = pay_spi_uuid(i, 2);
			due->operations[due->n_free++] = *id;
		}
		else if (on_its_way && on_its_way(id))
			due->on_way[due->n_on_way++] = memcpy(palloc(sizeof(pg_uuid_t)), id, sizeof(pg_uuid_t));
		else
		{
			PayReport  *report = &due->lost[due->n_lost++];

			report->source = pay_spi_bool(i, 5) ? PAY_SOURCE_INQUIRY : PAY_SOURCE_ANSWER;
			report->operation_id = *id;
			report->attempt = pay_spi_int32(i, 3);
		}
	}
}

/* They run out by the time of day alone. */
static void
renew_leases(const pg_uuid_t *const *operations, int n, TimestampTz until)
{
	PayArgs		args = {0};

	pay_arg_uuid_array(&args, operations, n);
	pay_arg_time(&args, until);
	pay_spi_exec(&prolong_leases, &args);
}

/* Their worker died in mid-call: an answer that says "nobody knows". */
static void
complete_lost(PayReport *reports, int n, const char *psp, TimestampTz now, const char *actor)
{
	for (int i = 0; i < n; i++)
	{
		reports[i].psp = psp;
		reports[i].error = "lease ran out before an answer was recorded";
		reports[i].lease_lost = true;
		reports[i].result.class = PAY_CLASS_UNKNOWN;
		reports[i].result.retry_after_ms = -1;
	}
	pay_apply(reports, n, false, now, actor);
}

/* Returns false when there is nothing to send: the operation is then buried, or waits for the PSP's word. */
static bool
claim_one(PayPayments *set, PayPayment *payment, PayOperation *operation, const char *worker,
		  int lease_ms, bool paused, PayClaim *claim)
{
	PayAttempt *attempt;
	const char *problem;

	claim->operation_id = operation->operation_id;
	claim->payment_id = payment->payment_id;
	claim->adapter = payment->adapter;
	doubt_older(set, payment, operation, payment->adapter);
	doubt_key(operation, payment->adapter, set->now);
	doubt_target(set, payment, operation, payment->adapter);
	claim->inquiry = strcmp(operation->action, "inquire") == 0;
	if (payment->adapter == NULL)
		problem = "the library has no such adapter";
	else if (!pay_queue_command(payment, operation, &claim->command))
		problem = "the amount cannot be written in the PSP's units";
	else if (!choose_call(set, payment, operation, claim))
	{
		pay_operation_wait_untold(set, payment, operation);
		return false;
	}
	else
		problem = prepare_request(set, operation, claim);
	if (problem)
	{
		pay_operation_bury(operation, claim->inquiry ? "cannot_inquire" : "cannot_build", problem);
		return false;
	}
	/* It was to be asked for, and can be only by being sent again. */
	if (paused && !claim->inquiry)
	{
		pay_operation_enqueue(set, operation, "inquire", set->now + PAUSED_AGAIN_US);
		return false;
	}

	operation->attempts++;
	operation->dirty = true;
	claim->attempt = operation->attempts;
	claim->refused = operation->refused;
	if (!claim->inquiry)
	{
		claim->psp_key = pay_idempotency_psp_key(operation->psp_ref, operation->generation, operation->step);
		if (operation->key_used_at == 0)
			operation->key_used_at = set->now;
		/* A resend in doubt stays in doubt until the PSP has spoken. */
		if (strcmp(operation->status, "in_doubt") != 0)
			operation->status = "processing";
		if (pay_operation_is_first(operation) && pay_payment_can(payment, "claim"))
			pay_payment_event(set, payment, "claim", operation, "worker", NULL);
	}
	pay_operation_enqueue(set, operation, operation->action, set->now + (TimestampTz) lease_ms * 1000);
	operation->claimed_by = worker;

	attempt = palloc0(sizeof(PayAttempt));
	attempt->operation_id = operation->operation_id;
	attempt->attempt = operation->attempts;
	attempt->action = operation->action;
	attempt->generation = operation->generation;
	attempt->step = operation->step;
	attempt->psp_key = claim->psp_key;
	attempt->method = claim->request.method;
	attempt->path = claim->request.path;
	attempt->content_type = claim->request.content_type;
	attempt->body = claim->request.body;
	attempt->worker = worker;
	set->attempts = lappend(set->attempts, attempt);
	return true;
}

/*
 * Unsent as far as we know, but perhaps by a copy that was armed before us: then
 * nobody knows.  Where that may have gone to another PSP, its own does not know
 * either, and finding nothing there is no leave to send: until a person says so,
 * which is since the arming.
 */
static void
doubt_older(PayPayments *set, PayPayment *payment, PayOperation *operation, const PayAdapter *adapter)
{
	bool		sends = strcmp(operation->action, "send") == 0;

	if (adapter == NULL || adapter->in_process || operation->created_at >= pay_armed_since())
		return;
	if (operation->key_used_at < pay_armed_since() && pay_perhaps_gone(payment, operation))
	{
		operation->key_used_at = long_ago(payment, operation);
		operation->dirty = true;
		if (sends)
			doubt(set, payment, operation, operation->key_used_at);
	}
	else if (sends && operation->key_used_at == 0)
		doubt(set, payment, operation, step_began(operation));
}

/* Used in what is the future, by a clock that has been set back since: how long ago that was nobody knows. */
static void
doubt_key(PayOperation *operation, const PayAdapter *adapter, TimestampTz now)
{
	if (adapter == NULL || adapter->in_process || operation->key_used_at <= now + SET_BACK_US)
		return;
	operation->key_used_at = now - (TimestampTz) pay_psp_key_valid_s(adapter, operation->kind) * USECS_PER_SEC;
	operation->dirty = true;
}

/*
 * Of which capture a refund is follows from the captures and refunds that are
 * here.  Where rows may be lost, one that a client repeats could go to another
 * than the first time, under a key that is honoured for that one alone: so the
 * PSP is asked before it is sent.
 */
static void
doubt_target(PayPayments *set, PayPayment *payment, PayOperation *operation, const PayAdapter *adapter)
{
	if (operation->kind != PAY_OP_REFUND || operation->key_used_at != 0 || strcmp(operation->action, "send") != 0 ||
		adapter == NULL || adapter->in_process || adapter->no_inquiry || adapter->capture_is_payment ||
		!(adapter->can & PAY_CAN_CAPTURE_MANY) || pay_payment_sum(payment, "authorize") == 0 || !pay_rows_may_be_lost(set->now))
		return;
	doubt(set, payment, operation, set->now);
}

/*
 * Never sent from here, and yet the PSP has told of it: rows were lost, by a
 * restore perhaps, and a client has repeated its call.  It is not sent again
 * whatever the PSP says: when it was done we do not know.
 */
static void
doubt_told(PayPayments *set, const char *psp, const pg_uuid_t *payments, const pg_uuid_t *operations, int n)
{
	PayPayment **whose = palloc(sizeof(PayPayment *) * n);
	PayOperation **unsent = palloc(sizeof(PayOperation *) * n);
	const char **refs = palloc(sizeof(char *) * n);
	PayArgs		args = {0};
	int			candidates = 0;
	int			told;

	for (int i = 0; i < n; i++)
	{
		PayPayment *payment = pay_payments_find(set, &payments[i]);
		PayOperation *operation = payment ? pay_payment_operation(payment, &operations[i]) : NULL;

		if (operation == NULL || !operation->queued || operation->attempts > 0 || strcmp(operation->action, "send") != 0 ||
			payment->adapter == NULL || payment->adapter->in_process)
			continue;
		whose[candidates] = payment;
		unsent[candidates] = operation;
		refs[candidates++] = operation->psp_ref;
	}
	if (candidates == 0)
		return;
	pay_arg_text(&args, psp);
	pay_arg_text_array(&args, refs, candidates);
	told = (int) pay_spi_exec(&find_told, &args);
	for (int i = 0; i < told; i++)
	{
		PayOperation *operation = unsent[pay_spi_int32(i, 1) - 1];
		PayPayment *payment = whose[pay_spi_int32(i, 1) - 1];

		doubt(set, payment, operation, long_ago(payment, operation));
	}
}

/* So that no PSP honours the key any more. */
static TimestampTz
long_ago(const PayPayment *payment, const PayOperation *operation)
{
	return operation->created_at - (TimestampTz) pay_psp_key_valid_s(payment->adapter, operation->kind) * USECS_PER_SEC;
}

static void
doubt(PayPayments *set, PayPayment *payment, PayOperation *operation, TimestampTz key_used_at)
{
	operation->key_used_at = key_used_at;
	operation->action = "inquire";
	operation->status = "in_doubt";
	if (pay_operation_is_first(operation) && pay_payment_can(payment, "doubt"))
		pay_payment_event(set, payment, "doubt", operation, "worker", NULL);
}

/* Not before its operation, and not before the last one was answered. */
static TimestampTz
step_began(const PayOperation *operation)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, &operation->operation_id);
	pay_arg_int32(&args, operation->generation);
	pay_arg_int32(&args, operation->step);
	pay_spi_exec(&find_earlier, &args);
	return pay_spi_isnull(0, 1) ? operation->created_at : pay_spi_time(0, 1);
}

/*
 * Sends or asks.  False when it can do neither: it is to be asked what became
 * of it, and the PSP cannot be.
 */
static bool
choose_call(PayPayments *set, PayPayment *payment, PayOperation *operation, PayClaim *claim)
{
	const PayAdapter *adapter = claim->adapter;

	/* Of that there is nothing to send. */
	if (operation->kind == PAY_OP_EXPIRE)
		claim->inquiry = true;
	/* Past the horizon the PSP may have forgotten the key and would do it anew. */
	if (!claim->inquiry && operation->key_used_at != 0 && !key_is_valid(operation, adapter, set->now))
		claim->inquiry = true;
	if (claim->inquiry && adapter->no_inquiry && !pay_adapter_build_inquiry(adapter, &claim->command, &claim->request))
	{
		if (!pay_operation_may_resend(payment, operation, set->now))
			return false;
		claim->inquiry = false;
	}
	operation->action = claim->inquiry ? "inquire" : "send";
	return true;
}

static bool
key_is_valid(const PayOperation *operation, const PayAdapter *adapter, TimestampTz now)
{
	return now < operation->key_used_at + (TimestampTz) pay_psp_key_valid_s(adapter, operation->kind) * USECS_PER_SEC;
}

/* Fills claim->request; returns NULL, or why it cannot. */
static const char *
prepare_request(PayPayments *set, PayOperation *operation, PayClaim *claim)
{
	const PayAdapter *adapter = claim->adapter;
	const char *problem = NULL;

	if (!claim->inquiry && operation->attempts > 0 && stored_request(operation, &claim->request))
		return NULL;
	if (adapter->in_process)
	{
		claim->request.method = "POST";
		claim->request.path = claim->inquiry ? "/inquiry" : "/perform";
		return NULL;
	}
	if (claim->inquiry)
	{
		if (pay_adapter_build_inquiry(adapter, &claim->command, &claim->request))
			return NULL;
		/* Whose id was never told may be found by its key alone, while that serves: it does nothing twice, and has the first answer again. */
		if (claim->command.psp_payment_id != NULL || strcmp(operation->status, "in_doubt") != 0 || operation->key_used_at == 0 ||
			!key_is_valid(operation, adapter, set->now) || !stored_request(operation, &claim->request))
			return "the adapter has nothing to ask the PSP with";
		claim->inquiry = false;
		operation->action = "send";
		return NULL;
	}
	if (!pay_adapter_build(adapter, &claim->command, &claim->request, &problem, NULL))
		return problem ? problem : "the adapter cannot build the request";
	return NULL;
}

static bool
stored_request(const PayOperation *operation, PayRequest *request)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, &operation->operation_id);
	pay_arg_int32(&args, operation->generation);
	pay_arg_int32(&args, operation->step);
	if (pay_spi_exec(&find_bytes, &args) == 0)
		return false;
	request->method = pay_spi_text(0, 1);
	request->path = pay_spi_text(0, 2);
	request->content_type = pay_spi_text(0, 3);
	request->body = pay_spi_text(0, 4);
	return true;
}

void
pay_queue_recover(const char *worker, TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_text(&args, worker);
	pay_arg_time(&args, now);
	pay_spi_exec(&expire_leases, &args);
}

bool
pay_queue_retime(TimestampTz now)
{
	PayArgs		args = {0};

	pay_arg_time(&args, now);
	pay_spi_exec(&retime, &args);
	return pay_spi_int64(0, 1) == 0;
}

static const char *
copied(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

PayClaim *
pay_queue_copy_claim(const PayClaim *claim, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	PayClaim   *copy = palloc(sizeof(PayClaim));

	*copy = *claim;
	copy->command.currency = copied(claim->command.currency);
	copy->command.payment_method = copied(claim->command.payment_method);
	copy->command.destination = copied(claim->command.destination);
	copy->command.customer = copied(claim->command.customer);
	copy->command.order_ref = copied(claim->command.order_ref);
	copy->command.description = copied(claim->command.description);
	copy->command.return_url = copied(claim->command.return_url);
	copy->command.reason = copied(claim->command.reason);
	copy->command.psp_ref = copied(claim->command.psp_ref);
	copy->command.made_ref = copied(claim->command.made_ref);
	copy->command.psp_payment_id = copied(claim->command.psp_payment_id);
	copy->command.psp_object_id = copied(claim->command.psp_object_id);
	copy->command.target_id = copied(claim->command.target_id);
	copy->command.config = copied(claim->command.config);
	copy->request.method = copied(claim->request.method);
	copy->request.path = copied(claim->request.path);
	copy->request.content_type = copied(claim->request.content_type);
	copy->request.body = copied(claim->request.body);
	copy->psp_key = copied(claim->psp_key);
	MemoryContextSwitchTo(old);
	return copy;
}
