/*
 * src/payment/ability.c
 *		What a payment's PSP cannot do is refused before anything is written.
 *
 * Adapters declare it; and what they need, a payment method for example, is
 * known by having them write the request, as they will for the worker.  Found
 * out there, or at the PSP, it would be a dead letter or a declined operation
 * minutes later, after the caller's commit.
 */
#include "payments.h"

#include "payment/ability.h"

#include "core/arming.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "payment/adapter.h"
#include "payment/command.h"

static const char *problem_of(const PayAdapter *adapter, PayCommand *command, bool *failed);
static const char *hint_of(bool failed, const char *hint);
static const char *read_config(const char *psp);

/* NULL when empty, as the worker gives it to the adapter. */
static PayStmt find_config = PAY_STMT(SPI_OK_SELECT,
	"SELECT nullif(config, '{}')::text FROM payments.psp WHERE psp = $1", TEXTOID);

const char *
pay_route_refusal(const PayRoute *route, PayCommand *command, int *sqlstate, const char **hint)
{
	const PayAdapter *adapter = route->adapter;
	const char *refusal = adapter ? pay_psp_refusal(adapter, command->kind, false) : NULL;
	bool		failed = false;

	*hint = "Use capture => 'automatic' where a PSP cannot authorize, or name another PSP with psp => '...'.";
	/* What is adopted is never sent. */
	if (adapter && refusal == NULL && !pay_carries_out_decision())
	{
		if (adapter->config_keys)
			command->config = read_config(route->psp);
		refusal = problem_of(adapter, command, &failed);
		*hint = hint_of(failed, "Pass what it needs, or name another PSP with psp => '...'; what a setting lacks, create_psp() takes.");
	}
	if (refusal == NULL)
		return NULL;
	*sqlstate = failed ? ERRCODE_EXTERNAL_ROUTINE_EXCEPTION : PAY_ERR_NOT_SUPPORTED;
	return psprintf("PSP \"%s\" cannot take this payment: %s", route->psp, refusal);
}

/* NULL, or why the adapter cannot write the request; or why it has not said whether it can. */
static const char *
problem_of(const PayAdapter *adapter, PayCommand *command, bool *failed)
{
	PayRequest	request = {0};
	const char *problem = NULL;

	if (adapter->in_process)
		return NULL;
	/* Any will do: nothing of it is sent. */
	command->psp_ref = "-";
	command->generation = 1;
	command->step = 1;
	if (pay_adapter_build(adapter, command, &request, &problem, failed))
		return NULL;
	return problem ? problem : "the request cannot be written";
}

static const char *
hint_of(bool failed, const char *hint)
{
	return failed ? "Its adapter's function has not answered; nothing was written. Repeat the call with the same key; if it stays so, mend the function." : hint;
}

static const char *
read_config(const char *psp)
{
	PayArgs		args = {0};

	pay_arg_text(&args, psp);
	return pay_spi_exec(&find_config, &args) == 1 ? pay_spi_text(0, 1) : NULL;
}

void
pay_require_able(const PayPayment *payment, PayOpKind kind, int64 amount, bool keep_rest)
{
	int64		whole = kind == PAY_OP_CAPTURE ? pay_payment_rest(payment) : kind == PAY_OP_REFUND ? payment->captured : amount;
	PayOperation operation = {.kind = kind, .amount = amount, .keep_rest = keep_rest};
	PayCommand	command = {0};
	const char *refusal;
	bool		failed = false;

	/* Of another version of the library: the worker will say so. */
	if (payment->adapter == NULL)
		return;
	refusal = pay_psp_refusal(payment->adapter, kind, amount < whole);
	if (refusal == NULL && keep_rest && !(payment->adapter->can & PAY_CAN_CAPTURE_MANY))
		refusal = "it captures an authorization once, and releases the rest";
	if (refusal == NULL && !pay_queue_command(payment, &operation, &command))
		refusal = "the amount cannot be written in its units";
	if (refusal == NULL)
		refusal = problem_of(payment->adapter, &command, &failed);
	if (refusal)
		ereport(ERROR,
				(errcode(failed ? ERRCODE_EXTERNAL_ROUTINE_EXCEPTION : PAY_ERR_NOT_SUPPORTED),
				 errmsg("PSP \"%s\" does not support this: %s", payment->psp, refusal),
				 errhint("%s", hint_of(failed, "Ask for what it can do, or do it on the PSP's own pages."))));
}

/* A copy of this database may have sent what is unsent here: the worker will ask the PSP. */
void
pay_require_unsent(const PayPayment *payment)
{
	ListCell   *cell;

	if (payment->adapter == NULL || payment->adapter->in_process)
		return;
	foreach(cell, payment->operations)
	{
		PayOperation *open = lfirst(cell);

		if (!pay_operation_is_open(open) || !pay_perhaps_sent_elsewhere(open->created_at))
			continue;
		ereport(ERROR,
				(errcode(PAY_ERR_OPERATION_IN_PROGRESS),
				 errmsg("cannot cancel a payment that is perhaps at the PSP"),
				 errdetail("It is older than the arming of this database, or that is not armed: another copy may have sent it."),
				 errhint("Once armed, the worker asks the PSP first: wait for the result with wait_payment(), then cancel or refund it.")));
	}
}
