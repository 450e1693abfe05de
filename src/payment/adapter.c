/*
 * src/payment/adapter.c
 *		An adapter by its name, and asking it.
 *
 * A function that is asked has its time limit; and all functions of an adapter
 * together get no more than a part of the time of a process, or one that is
 * merely slow would keep those from their PSPs that share the process.  That is
 * an account of microseconds: each call takes what it took, and half of the time
 * that passes comes back, up to one limit.  Whose account is empty is not claimed
 * for.  Answers are read a good while longer; then they are unknown, as if they
 * had been lost, and the PSP is asked.  Running out of time costs the price of
 * several calls, so that it is not claimed for again at once; but not more than
 * the debt in which answers are read: of one call that was too slow those that
 * are on their way know nothing.
 */
#include "payments.h"

#include "payment/adapter.h"

#include "core/cache.h"
#include "core/spi.h"
#include "payment/adapter_json.h"
#include "payment/adapter_private.h"
#include "payment/adapter_question.h"

#include "utils/memutils.h"

#define NAME_BYTES 64
/* Of the time that passes, one part in so many comes back. */
#define SHARE 2
/* In limits: what running out of time costs, and how deep in debt answers are still read. */
#define PRICE 4
#define DEBT_MAX 4

typedef struct Entry
{
	char		name[NAME_BYTES];
	const PayAdapter *adapter;
} Entry;

static PayCache found = {
	.name = "payments adapters",
	.key_bytes = NAME_BYTES,
	.entry_bytes = sizeof(Entry),
	.tables = {"adapter"},
};

/* Every one that this process has read. */
static List *all = NIL;

static const PayAdapter *read_adapter(const char *name);
static PayFunctions *keep(const char *row);
static int64 left(PayFunctions *functions);

static PayStmt find_row = PAY_STMT(SPI_OK_SELECT, "SELECT (to_jsonb(a) - 'samples' - 'created_at')::text FROM payments.adapter a WHERE a.adapter = $1", TEXTOID);

/* ---------- by name ---------- */

const PayAdapter *
pay_adapter_find(const char *name)
{
	const PayAdapter *adapter = pay_psp_adapter(name);
	char		key[NAME_BYTES] = {0};
	Entry	   *entry;

	if (adapter || strlen(name) >= NAME_BYTES)
		return adapter;
	strlcpy(key, name, NAME_BYTES);
	entry = pay_cache_find(&found, key);
	if (entry)
		return entry->adapter;
	adapter = read_adapter(name);
	entry = adapter ? pay_cache_add(&found, key) : NULL;
	if (entry)
		entry->adapter = adapter;
	return adapter;
}

/* The caller may be reading rows of its own: a connection of ours keeps them. */
static const PayAdapter *
read_adapter(const char *name)
{
	PayArgs		args = {0};
	PayFunctions *functions = NULL;

	pay_spi_begin();
	pay_arg_text(&args, name);
	if (pay_spi_exec(&find_row, &args) == 1)
		functions = keep(pay_spi_text(0, 1));
	pay_spi_end();
	return functions ? &functions->adapter : NULL;
}

/* NULL when it cannot be read. */
static PayFunctions *
keep(const char *row)
{
	MemoryContext old;
	PayFunctions *functions;
	ListCell   *cell;

	foreach(cell, all)
	{
		functions = lfirst(cell);
		if (strcmp(functions->row, row) == 0)
			return functions;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	functions = palloc0(sizeof(PayFunctions));
	if (pay_adapter_read_row(row, functions) == NULL)
	{
		functions->left = functions->limit_ms * INT64CONST(1000);
		functions->left_at = pay_clock_now();
		all = lappend(all, functions);
	}
	else
		functions = NULL;
	MemoryContextSwitchTo(old);
	return functions;
}

bool
pay_adapter_is_functions(const PayAdapter *adapter)
{
	return adapter->functions != NULL;
}

bool
pay_adapter_has_inquiry(const PayAdapter *adapter)
{
	return adapter->functions ? adapter->functions->functions[PAY_QUESTION_BUILD_INQUIRY].name != NULL : adapter->build_inquiry != NULL;
}

const char *
pay_adapter_refusal(const PayAdapter *adapter)
{
	const char *refusal = NULL;

	for (int q = 0; adapter->functions && q < PAY_QUESTIONS && refusal == NULL; q++)
		if (adapter->functions->functions[q].name)
			refusal = pay_confined_refusal(&adapter->functions->functions[q]);
	return refusal;
}

/* ---------- its time ---------- */

static int64
left(PayFunctions *functions)
{
	PaySteady	now = pay_clock_now();

	functions->left = Min(functions->left + (now - functions->left_at) / SHARE, functions->limit_ms * INT64CONST(1000));
	functions->left_at = now;
	return functions->left;
}

bool
pay_adapter_rests(const PayAdapter *adapter)
{
	return adapter->functions && left(adapter->functions) <= 0;
}

void
pay_adapter_refill(PayFunctions *functions)
{
	functions->left = functions->limit_ms * INT64CONST(1000);
}

Jsonb *
pay_adapter_ask(PayFunctions *functions, PayQuestion question, Jsonb *argument, const char **problem, const char **message)
{
	int64		limit = functions->limit_ms * INT64CONST(1000);
	PayConfinedCall call = {.function = &functions->functions[question], .limit_ms = functions->limit_ms, .argument = argument};
	PaySteady	begun_at;

	*message = NULL;
	if (argument == NULL)
	{
		*problem = "what the PSP wrote is no text of this database's encoding";
		return NULL;
	}
	if (left(functions) <= -DEBT_MAX * limit)
	{
		*problem = "its functions have taken too much time";
		return NULL;
	}
	begun_at = pay_clock_now();
	pay_confined_call(&call);
	functions->left -= call.ran_out ? PRICE * limit : pay_clock_now() - begun_at;
	*problem = call.problem;
	*message = call.message;
	return call.result;
}

/* ---------- questions ---------- */

bool
pay_adapter_build(const PayAdapter *adapter, const PayCommand *command, PayRequest *request, const char **problem, bool *failed)
{
	Jsonb	   *json;
	const char *message;
	const char *refusal = NULL;
	const char *wrong;
	bool		unknown;

	if (failed == NULL)
		failed = &unknown;
	*failed = false;
	if (adapter->functions == NULL)
		return adapter->build(command, request, problem);
	json = pay_adapter_ask(adapter->functions, PAY_QUESTION_BUILD, pay_adapter_json_command(command), problem, &message);
	if (*problem)
	{
		if (message)
			*problem = psprintf("%s: %s", *problem, message);
		*failed = true;
		return false;
	}
	wrong = pay_adapter_read_request(json, request, &refusal);
	if (wrong)
		*problem = psprintf("function build returned what is no request: %s", wrong);
	else
		*problem = refusal;
	*failed = wrong != NULL;
	return *problem == NULL;
}

bool
pay_adapter_build_inquiry(const PayAdapter *adapter, const PayCommand *command, PayRequest *request)
{
	const char *problem,
			   *message,
			   *refusal;
	Jsonb	   *json;

	if (adapter->functions == NULL)
		return adapter->build_inquiry(command, request);
	json = pay_adapter_ask(adapter->functions, PAY_QUESTION_BUILD_INQUIRY, pay_adapter_json_command(command), &problem, &message);
	return json && pay_adapter_read_request(json, request, &refusal) == NULL && refusal == NULL;
}

void
pay_adapter_classify(const PayAdapter *adapter, const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	Jsonb	   *json;
	const char *problem,
			   *message;
	PayResult	read;

	if (adapter->functions == NULL)
	{
		adapter->classify(command, inquiry, answer, result);
		return;
	}
	/* What nobody has answered says the same of every PSP. */
	pay_result_init(result);
	if (answer->transport == PAY_TRANSPORT_NOT_SENT && !inquiry)
		result->class = PAY_CLASS_NOT_SENT;
	if (answer->transport != PAY_TRANSPORT_ANSWERED)
		return;
	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s);
	if (answer->retry_after_s >= 0)
		result->retry_after_ms = Min(answer->retry_after_s, 24 * 60 * 60) * 1000;
	read = *result;
	json = pay_adapter_ask(adapter->functions, PAY_QUESTION_CLASSIFY, pay_adapter_json_answer(command, inquiry, answer), &problem, &message);
	if (problem == NULL)
		problem = pay_adapter_read_result(json, inquiry, &read);
	if (problem)
		result->codes[0] = "unreadable_answer";
	else
		*result = read;
	/* It is the answer to another operation. */
	if (!problem && ((read.psp_ref && command->psp_ref && strcmp(read.psp_ref, command->psp_ref) != 0) ||
					 (read.generation > 0 && read.generation != command->generation)))
		result->class = PAY_CLASS_CONFLICTED;
}

bool
pay_adapter_parse(const PayAdapter *adapter, const PayInbound *inbound, PayEvents *events)
{
	Jsonb	   *json;
	const char *problem,
			   *message;

	if (adapter->functions == NULL)
		return adapter->parse(inbound, events);
	json = pay_adapter_ask(adapter->functions, PAY_QUESTION_PARSE, pay_adapter_json_inbound(inbound), &problem, &message);
	return problem == NULL && pay_adapter_read_events(json, events) == NULL;
}
