/*
 * src/payment/fallback.c
 *		From one PSP to another.
 *
 * A payment goes to another PSP when its own has certainly not got it, however
 * often it was tried, or has declined it softly and the rule lets it go: as a
 * new generation, under a new key.  Never while anything is in doubt, nor where
 * somebody has named the PSP, nor where rows may have been lost, since a
 * client's repeated call may then be a payment that has gone already.
 *
 * Where it may go was decided when it was created: the PSPs of payment.route,
 * in that order, each once, as far as the rule still has them.  Each step is a
 * row of route_decision, by which words of a PSP that it has left still find it.
 *
 * A crash before the commit leaves it where it was.
 */
#include "payments.h"

#include "payment/ability.h"
#include "payment/apply_private.h"
#include "payment/payment_private.h"
#include "payment/queue.h"
#include "payment/route.h"
#include "payment/route_rule.h"

#include "core/arming.h"
#include "core/guard.h"
#include "core/spi.h"

static bool may_go(const PayContext *c);
static PayRouteChoice *read_choice(const PayPayment *payment);
static bool choose(const PayContext *c, PayRouteChoice *choice, const char *reason);
static const char *refusal(const PayPayment *payment, const PayOperation *operation, const char *psp);
static void go(PayContext *c, const char *reason, const PayRouteChoice *choice);

static PayStmt find_route = PAY_STMT(SPI_OK_SELECT,
	"SELECT p.route ->> 'rule', c.one ->> 'psp', "
	" EXISTS (SELECT FROM payments.route_decision d WHERE d.payment_id = p.payment_id AND d.former_psp = c.one ->> 'psp') "
	"FROM payments.payment p, jsonb_array_elements(p.route -> 'candidates') WITH ORDINALITY c (one, n) "
	"WHERE p.payment_id = $1 ORDER BY c.n", UUIDOID);
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
	PayRouteChoice *choice;

	if (!may_go(c))
		return false;
	choice = read_choice(c->payment);
	if (choice == NULL || !(strcmp(reason, "not_sent") == 0 ? choice->moves_unsent : choice->moves_declined) ||
		!choose(c, choice, reason) || pay_rows_may_be_lost(c->set->now) || pay_perhaps_sent_elsewhere(c->operation->created_at))
		return false;
	if (strcmp(reason, "soft_decline") == 0)
	{
		c->payment->failure_code = pay_apply_code(&c->result);
		c->payment->failure_message = c->result.message;
		pay_payment_event(c->set, c->payment, "soft_decline", c->operation, c->source, c->payment->failure_code);
	}
	c->operation->failure_code = c->payment->failure_code;
	c->operation->failure_message = c->payment->failure_message;
	go(c, reason, choice);
	pay_operation_enqueue(c->set, c->operation, "send", c->set->now);
	return true;
}

/* Its own answer has just said that it is not there, and nothing else of the payment is open or has money. */
static bool
may_go(const PayContext *c)
{
	return c->operation && pay_operation_is_first(c->operation) && !c->stale && !c->claimed_elsewhere &&
		(c->report->source == PAY_SOURCE_ANSWER || c->report->source == PAY_SOURCE_INQUIRY) &&
		!pay_payment_has_money(c->payment) && pay_payment_open_operation(c->payment, PAY_OP_VOID) == NULL &&
		(strcmp(c->payment->status, "awaiting_retry") == 0 || pay_payment_can(c->payment, "soft_decline"));
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
choose(const PayContext *c, PayRouteChoice *choice, const char *reason)
{
	for (int i = 0; i < choice->n && choice->psp == NULL; i++)
	{
		PayRouteCandidate *candidate = &choice->candidates[i];

		if (strcmp(candidate->psp, c->payment->psp) == 0)
			candidate->out = strcmp(reason, "not_sent") == 0 ? "could not be reached" : "declined it softly";
		else if (candidate->out == NULL)
		{
			candidate->out = pay_route_away(candidate->psp);
			if (candidate->out == NULL)
				candidate->out = refusal(c->payment, c->operation, candidate->psp);
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
go(PayContext *c, const char *reason, const PayRouteChoice *choice)
{
	PayPayment *d = c->payment;
	PayOperation *o = c->operation;
	PayPendingMove *move = palloc0(sizeof(PayPendingMove));

	move->payment = d;
	move->operation = o;
	move->generation = o->generation + 1;
	move->reason = reason;
	move->former_psp = d->psp;
	move->former_psp_payment_id = d->psp_payment_id;
	move->psp = pstrdup(choice->psp);
	move->route = pay_route_json(choice);
	c->set->moves = lappend(c->set->moves, move);

	pay_payment_place(d, move->psp);
	d->psp_payment_id = NULL;
	d->next_action_url = NULL;
	d->dirty = true;
	o->generation++;
	o->status = "awaiting_retry";
	o->key_used_at = 0;
	o->psp_object_id = NULL;
	o->schedule = NULL;
	o->try = 0;
	o->lost = 0;
	o->refused = 0;
	o->dirty = true;
	count_applied(c);
}

void
pay_go_back(PayContext *c)
{
	PayRouteCandidate candidates[] = {{.psp = c->report->psp, .rate = -1}, {.psp = c->payment->psp, .rate = -1, .out = "nothing has reached it"}};
	PayRouteChoice choice = {.n = 2, .candidates = candidates, .psp = c->report->psp};

	go(c, "came_after_all", &choice);
	if (c->operation->queued)
		pay_operation_enqueue(c->set, c->operation, "send", c->operation->due_at);
}

void
pay_payment_place(PayPayment *payment, const char *psp)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	pay_arg_text(&args, payment->currency);
	pay_arg_int32(&args, payment->exponent);
	if (pay_spi_exec(&find_psp, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_PSP_UNKNOWN),
				 errmsg("PSP \"%s\" does not exist", psp),
				 errhint("A payment has been there: make it again with payments.create_psp().")));
	payment->psp = psp;
	payment->adapter_name = pay_spi_text(0, 1);
	payment->adapter = pay_psp_adapter(payment->adapter_name);
	payment->config = pay_spi_text(0, 2);
	payment->psp_exponent = pay_spi_int32(0, 3);
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
