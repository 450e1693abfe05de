/*
 * src/payment/fallback.c
 *		From one PSP to another.
 *
 * A payment goes to another PSP when its own has certainly not got it, however
 * often it was tried or since it cannot be called now, or has declined it softly
 * and the rule lets it go: as a new generation, under a new key.  Never while
 * anything is in doubt, nor where somebody has named the PSP, nor where rows may
 * have been lost, since a client's repeated call may then be a payment that has
 * gone already.
 *
 * Where it may go was decided when it was created: the PSPs of payment.route,
 * in that order, each once, as far as the rule still has them.  Each step is a
 * row of route_decision, by which words of a PSP that it has left still find it.
 *
 * A crash before the commit leaves it where it was.
 */
#include "payments.h"

#include "payment/ability.h"
#include "payment/adapter.h"
#include "payment/apply_private.h"
#include "payment/payment_private.h"
#include "payment/command.h"
#include "payment/reattempt.h"
#include "payment/route.h"
#include "payment/route_rule.h"

#include "core/arming.h"
#include "core/guard.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/health.h"

#define SWEPT_AT_ONCE 100

static bool may_go(const PayContext *c, bool unsent);
static bool may_be_tried_again(const PayContext *c);
static PayRouteChoice *find_other(const PayPayments *set, const PayPayment *payment, const PayOperation *operation, const char *reason, const char *why);
static PayRouteChoice *read_choice(const PayPayment *payment);
static bool choose(const PayPayment *payment, const PayOperation *operation, PayRouteChoice *choice, const char *why);
static const char *refusal(const PayPayment *payment, const PayOperation *operation, const char *psp);
static void go(PayPayments *set, PayPayment *d, PayOperation *o, const char *reason, const PayRouteChoice *choice);
static int	find_away(const char ***away);
static const char *away_now(const char *psp);
static bool waits(PayPayment *payment, const PayOperation *operation);

static PayStmt find_rule_psps = PAY_STMT_NOARGS(SPI_OK_SELECT,
	"SELECT DISTINCT unnest(r.psps) FROM payments.route_rule r WHERE r.moves_unsent AND cardinality(r.psps) > 1");
static PayStmt find_waiting = PAY_STMT(SPI_OK_SELECT,
	"SELECT q.operation_id, q.payment_id FROM payments.queue q "
	"JOIN payments.operation o ON o.operation_id = q.operation_id JOIN payments.payment p ON p.payment_id = q.payment_id "
	"WHERE q.psp = ANY ($1) AND q.operation_id > $2 AND q.action = 'send' AND q.claimed_by IS NULL "
	"AND o.key_used_at IS NULL AND o.step = 1 AND o.kind IN ('charge', 'authorize') AND p.route IS NOT NULL ORDER BY q.operation_id LIMIT $3",
	TEXTARRAYOID, UUIDOID, INT8OID);
static PayStmt find_route = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.route ->> 'rule', c.one ->> 'psp', "
	" EXISTS (SELECT FROM payments.route_decision d WHERE d.payment_id = p.payment_id AND d.former_psp = c.one ->> 'psp') "
	"FROM payments.payment p, jsonb_array_elements(p.route -> 'candidates') WITH ORDINALITY c (one, n) "
	"WHERE p.payment_id = $1 ORDER BY c.n", UUIDOID);
/* Before the first arming nothing was sent.  Where it has gone once, it may have come back by the former PSP's word, whatever the rule. */
static PayStmt find_way = PAY_STMT(SPI_OK_SELECT,
	"SELECT FROM payments.payment p, payments.installation i WHERE p.payment_id = $1 AND i.armed_at > i.first_armed_at AND ("
	"EXISTS (SELECT FROM payments.route_decision d WHERE d.payment_id = p.payment_id) OR "
	"EXISTS (SELECT FROM payments.route_rule r, unnest(r.psps) o (psp) WHERE r.rule = p.route ->> 'rule' AND (r.moves_unsent OR r.moves_declined) "
	" AND o.psp <> p.psp AND p.route -> 'candidates' @> jsonb_build_array(jsonb_build_object('psp', o.psp))))", UUIDOID);
static PayStmt find_psp = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.adapter, nullif(s.config, '{}')::text, coalesce(x.exponent, $3) FROM payments.psp s "
	"LEFT JOIN payments.psp_currency x ON x.adapter = s.adapter AND x.currency = $2 WHERE s.psp = $1", TEXTOID, TEXTOID, INT4OID);

static PayStmt insert_decision = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.route_decision (payment_id, generation, operation_id, reason, former_psp, former_psp_payment_id, psp, route, decided_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	UUIDOID, INT4OID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID);
static PayStmt move_payment = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.payment SET psp = $2, psp_payment_id = NULL WHERE payment_id = $1", UUIDOID, TEXTOID);
static PayStmt move_operation = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.operation SET psp = $2 WHERE operation_id = $1", UUIDOID, TEXTOID);
static PayStmt move_queue = PAY_STMT(SPI_OK_UPDATE,
	"UPDATE payments.queue SET psp = $2 WHERE operation_id = $1", UUIDOID, TEXTOID);

bool
pay_fall_back(PayContext *c, const char *reason)
{
	bool		unsent = strcmp(reason, "not_sent") == 0;
	PayRouteChoice *choice;

	if (!may_go(c, unsent))
		return false;
	choice = find_other(c->set, c->payment, c->operation, reason, unsent ? "could not be reached" : "declined it softly");
	if (choice == NULL || (!unsent && !may_be_tried_again(c)))
		return false;
	go(c->set, c->payment, c->operation, reason, choice);
	if (!unsent)
	{
		c->payment->failure_code = pay_apply_code(&c->result);
		c->payment->failure_message = c->result.message;
		c->operation->failure_code = c->payment->failure_code;
		c->operation->failure_message = c->payment->failure_message;
		pay_payment_event(c->set, c->payment, "soft_decline", c->operation, c->source, c->payment->failure_code);
	}
	c->operation->status = "awaiting_retry";
	pay_operation_enqueue(c->set, c->operation, "send", c->set->now);
	count_applied(c);
	return true;
}

/* At another PSP it is the same card. */
static bool
may_be_tried_again(const PayContext *c)
{
	pay_reattempt_declined(c->set, c->payment, c->operation, &c->result);
	return pay_reattempt_refusal(c->set, c->payment, c->operation) == NULL;
}

/* Its own answer has just said that it is not there, and nothing else of the payment is open or has money. */
static bool
may_go(const PayContext *c, bool unsent)
{
	return c->operation && pay_operation_is_first(c->operation) && c->operation->step == 1 && !c->stale && !c->claimed_elsewhere &&
		(c->report->source == PAY_SOURCE_ANSWER || c->report->source == PAY_SOURCE_INQUIRY) &&
		!pay_payment_has_money(c->payment) && pay_payment_open_operation(c->payment, PAY_OP_VOID) == NULL &&
		((unsent && strcmp(c->payment->status, "awaiting_retry") == 0) || pay_payment_can(c->payment, "soft_decline"));
}

/*
 * The choice of another one, or NULL; `why` its present PSP does not have it.
 * What was declined softly is tried elsewhere only if the rule lets it, also
 * when the try after that does not reach its PSP.
 */
static PayRouteChoice *
find_other(const PayPayments *set, const PayPayment *payment, const PayOperation *operation, const char *reason, const char *why)
{
	PayRouteChoice *choice = read_choice(payment);
	bool		unsent = strcmp(reason, "not_sent") == 0;

	if (choice == NULL || (unsent && !choice->moves_unsent) || ((!unsent || operation->failure_code) && !choice->moves_declined) ||
		!choose(payment, operation, choice, why) || pay_rows_may_be_lost(set->now) || pay_perhaps_sent_elsewhere(operation->created_at))
		return NULL;
	return choice;
}

/* NULL when somebody has named the PSP, or the rule is gone.  Whoever had it before is out. */
static PayRouteChoice *
read_choice(const PayPayment *payment)
{
	PayArgs		args = {0};
	PayRouteChoice *choice;
	const char *rule;
	const char **order;
	bool	   *tried;
	int			n;

	pay_arg_uuid(&args, &payment->payment_id);
	n = (int) pay_spi_exec(&find_route, &args);
	if (n == 0)
		return NULL;
	rule = pay_spi_text(0, 1);
	order = palloc(sizeof(char *) * n);
	tried = palloc(sizeof(bool) * n);
	for (int i = 0; i < n; i++)
	{
		order[i] = pay_spi_text(i, 2);
		tried[i] = pay_spi_bool(i, 3);
	}
	choice = pay_route_again(rule, order, n);
	for (int i = 0; choice && i < choice->n; i++)
		for (int k = 0; k < n; k++)
			if (tried[k] && strcmp(choice->candidates[i].psp, order[k]) == 0)
				choice->candidates[i].out = "it has had it before";
	return choice;
}

/* The first that could take it. */
static bool
choose(const PayPayment *payment, const PayOperation *operation, PayRouteChoice *choice, const char *why)
{
	for (int i = 0; i < choice->n && choice->psp == NULL; i++)
	{
		PayRouteCandidate *candidate = &choice->candidates[i];

		if (strcmp(candidate->psp, payment->psp) == 0)
			candidate->out = why;
		else if (candidate->out == NULL)
		{
			candidate->out = pay_route_away(candidate->psp);
			if (candidate->out == NULL)
				candidate->out = refusal(payment, operation, candidate->psp);
		}
		if (candidate->out == NULL)
			choice->psp = candidate->psp;
	}
	return choice->psp != NULL;
}

/* NULL, or why the operation cannot be performed there. */
static const char *
refusal(const PayPayment *payment, const PayOperation *operation, const char *psp)
{
	const PayRoute *route = pay_route_find(payment->merchant, psp, payment->currency);
	PayPayment	there = *payment;
	PayOperation anew = *operation;
	PayCommand	command = {0};
	const char *hint;
	int			sqlstate;

	if (route->psp == NULL || route->adapter == NULL)
		return "the library has no adapter for it";
	there.psp_payment_id = NULL;
	there.psp_exponent = route->psp_exponent;
	anew.psp_object_id = NULL;
	if (!pay_queue_command(&there, &anew, &command) || command.amount % route->multiple != 0)
		return "it cannot charge this amount exactly";
	command.config = NULL;
	return pay_route_refusal(route, &command, &sqlstate, &hint);
}

static void
go(PayPayments *set, PayPayment *d, PayOperation *o, const char *reason, const PayRouteChoice *choice)
{
	PayPendingMove *move = palloc0(sizeof(PayPendingMove));

	move->payment = d;
	move->operation = o;
	move->generation = o->generation + 1;
	move->reason = reason;
	move->former_psp = d->psp;
	move->former_psp_payment_id = d->psp_payment_id;
	move->psp = pstrdup(choice->psp);
	move->route = pay_route_json(choice);
	set->moves = lappend(set->moves, move);

	(void) pay_payment_place(d, move->psp);
	d->psp_payment_id = NULL;
	d->next_action_url = NULL;
	d->dirty = true;
	o->generation++;
	o->step = 1;
	o->key_used_at = 0;
	o->psp_object_id = NULL;
	o->schedule = NULL;
	o->try = 0;
	o->lost = 0;
	o->refused = 0;
	o->dirty = true;
}

void
pay_go_back(PayContext *c)
{
	PayRouteCandidate candidates[] = {{.psp = c->report->psp, .rate = -1}, {.psp = c->payment->psp, .rate = -1, .out = "nothing has reached it"}};
	PayRouteChoice choice = {.n = 2, .candidates = candidates, .psp = c->report->psp};

	go(c->set, c->payment, c->operation, "came_after_all", &choice);
	if (c->operation->queued)
		pay_operation_enqueue(c->set, c->operation, "send", c->operation->due_at);
}

void
pay_fall_back_sweep(TimestampTz now, const char *actor)
{
	static pg_uuid_t last;		/* where the sweep before this has ended */
	PayArgs		args = {0};
	pg_uuid_t	payments[SWEPT_AT_ONCE];
	pg_uuid_t	operations[SWEPT_AT_ONCE];
	const char **away;
	PayPayments *set;
	int			n;

	n = find_away(&away);
	if (n == 0)
		return;
	pay_arg_text_array(&args, away, n);
	pay_arg_uuid(&args, &last);
	pay_arg_int64(&args, SWEPT_AT_ONCE);
	n = (int) pay_spi_exec(&find_waiting, &args);
	memset(&last, 0, sizeof(last));
	for (int i = 0; i < n; i++)
	{
		operations[i] = pay_spi_uuid(i, 1);
		payments[i] = pay_spi_uuid(i, 2);
	}
	if (n == 0)
		return;
	if (n == SWEPT_AT_ONCE)
		last = operations[n - 1];
	set = pay_payments_load_skipping_locked(payments, n, now, actor);
	for (int i = 0; i < n; i++)
	{
		PayPayment *payment = pay_payments_find(set, &payments[i]);
		PayOperation *operation = payment ? pay_payment_operation(payment, &operations[i]) : NULL;
		const char *why = operation && waits(payment, operation) ? away_now(payment->psp) : NULL;
		PayRouteChoice *choice = why ? find_other(set, payment, operation, "not_sent", why) : NULL;

		if (choice == NULL)
			continue;
		go(set, payment, operation, "not_sent", choice);
		/* The card that was declined rests as long as it would have. */
		pay_operation_enqueue(set, operation, "send", operation->failure_code ? Max(operation->due_at, now) : now);
	}
	pay_payments_save(set);
	if (set->wake)
		pay_wake_at_commit();
}

/* PSPs of rules that cannot be called, and will not be for a while. */
static int
find_away(const char ***away)
{
	int			rows = (int) pay_spi_exec(&find_rule_psps, NULL);
	const char **psps = palloc(sizeof(char *) * Max(rows, 1));
	int			n = 0;

	*away = palloc(sizeof(char *) * Max(rows, 1));
	for (int i = 0; i < rows; i++)
		psps[i] = pay_spi_text(i, 1);
	for (int i = 0; i < rows; i++)
		if (away_now(psps[i]))
			(*away)[n++] = psps[i];
	return n;
}

static const char *
away_now(const char *psp)
{
	PayHealth	health;

	pay_health_find(psp, &health);
	return health.state > PAY_HEALTH_HALF_OPEN ? pay_health_state_name(health.state) : NULL;
}

/* Now that the payment is locked: it is certainly not at its PSP, and nothing is on its way there. */
static bool
waits(PayPayment *payment, const PayOperation *operation)
{
	return operation->queued && operation->claimed_by == NULL && strcmp(operation->action, "send") == 0 &&
		operation->key_used_at == 0 && operation->step == 1 && pay_operation_is_open(operation) && pay_operation_is_first(operation) &&
		(strcmp(operation->status, "initiated") == 0 || strcmp(operation->status, "awaiting_retry") == 0) &&
		!pay_payment_has_money(payment) && pay_payment_open_operation(payment, PAY_OP_VOID) == NULL;
}

bool
pay_perhaps_gone(const PayPayment *payment, const PayOperation *operation)
{
	PayArgs		args = {0};

	if (!pay_operation_is_first(operation) || operation->step > 1)
		return false;
	pay_arg_uuid(&args, &payment->payment_id);
	return pay_spi_exec(&find_way, &args) > 0;
}

bool
pay_payment_place(PayPayment *payment, const char *psp)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_arg_text(&args, payment->currency);
	pay_arg_int32(&args, payment->exponent);
	if (pay_spi_exec(&find_psp, &args) == 0)
		return false;
	payment->psp = psp;
	payment->adapter_name = pay_spi_text(0, 1);
	payment->config = pay_spi_text(0, 2);
	payment->psp_exponent = pay_spi_int32(0, 3);
	payment->adapter = pay_adapter_find(payment->adapter_name);
	return true;
}

static void
write_row(PayStmt *stmt, const pg_uuid_t *id, const char *psp)
{
	PayArgs		args = {0};

	pay_arg_uuid(&args, id);
	pay_arg_text(&args, psp);
	pay_guard_exec(stmt, &args);
}

void
pay_moves_save(PayPayments *set)
{
	ListCell   *cell;

	foreach(cell, set->moves)
	{
		const PayPendingMove *move = lfirst(cell);
		PayArgs		args = {0};

		pay_arg_uuid(&args, &move->payment->payment_id);
		pay_arg_int32(&args, move->generation);
		pay_arg_uuid(&args, &move->operation->operation_id);
		pay_arg_text(&args, move->reason);
		pay_arg_text(&args, move->former_psp);
		pay_arg_text(&args, move->former_psp_payment_id);
		pay_arg_text(&args, move->psp);
		pay_arg_datum(&args, move->route, false);
		pay_arg_time(&args, set->now);
		pay_spi_exec(&insert_decision, &args);
		write_row(&move_payment, &move->payment->payment_id, move->psp);
		write_row(&move_operation, &move->operation->operation_id, move->psp);
		write_row(&move_queue, &move->operation->operation_id, move->psp);
	}
}
