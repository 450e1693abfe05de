/*
 * src/core/guard_lift.c
 *		What only our own statements may do, they may while no code of others runs.
 *
 * setup(), migrate() and what makes and retires months change guarded tables,
 * and arm() writes where is armed: for the length of the call the guard is
 * lifted.  But what such a call writes to may have a trigger, a CHECK or an
 * index of somebody's, with a function that acts as payments_owner, as the call
 * does.  So the guard is there again while a function runs that is neither ours
 * nor the server's, however it has come to run, and for all that runs below it.
 *
 * The server asks of each function that is about to be called whether we want to
 * hear of it (needs_fmgr_hook).  One that was looked up before the call began is
 * not asked for, but what such a call executes looks up its own.
 *
 * An error does not leave the guard lifted, nor a crash: it is of one process.
 */
#include "payments.h"

#include "core/guard.h"
#include "core/spi.h"

#include "access/transam.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/memutils.h"

/* What we keep of one place in an expression that calls a function. */
typedef struct Call
{
	bool		counted;
	Datum		previous;		/* whatever the hook before ours keeps */
} Call;

typedef struct Statement
{
	PayStmt    *stmt;
	PayArgs    *args;
	uint64		rows;
} Statement;

static needs_fmgr_hook_type previous_needs = NULL;
static fmgr_hook_type previous_hook = NULL;

/* Written by pay_guard_lifting() only. */
static bool lifted = false;
/* Of functions of others, how many are running, one below the other; counted where it matters. */
static int	others = 0;

static void exec_statement(void *statement);
static bool matters(void);
static bool is_theirs(Oid function);
static bool needs_hook(Oid function);
static void hook(FmgrHookEventType event, FmgrInfo *function, Datum *kept);

/* In every session, preloaded or not: triggers ask as well. */
void
pay_guard_lift_init(void)
{
	previous_needs = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	previous_hook = fmgr_hook;
	fmgr_hook = hook;
}

void
pay_guard_lifting(void (*act) (void *), void *argument)
{
	bool		lifted_before = lifted;
	int			others_before = others;

	PG_TRY();
	{
		lifted = true;
		others = 0;
		act(argument);
	}
	PG_FINALLY();
	{
		lifted = lifted_before;
		others = others_before;
	}
	PG_END_TRY();
}

uint64
pay_guard_exec(PayStmt *stmt, PayArgs *args)
{
	Statement	statement = {stmt, args, 0};

	pay_guard_lifting(exec_statement, &statement);
	return statement.rows;
}

static void
exec_statement(void *statement)
{
	Statement  *s = statement;

	s->rows = pay_spi_exec(s->stmt, s->args);
}

bool
pay_guard_lifted(void)
{
	return lifted && others == 0;
}

bool
pay_guard_others_run(void)
{
	return others > 0;
}

static bool
matters(void)
{
	return lifted || creating_extension;
}

static bool
is_theirs(Oid function)
{
	return function >= FirstNormalObjectId && !pay_guard_is_member(function);
}

static bool
needs_hook(Oid function)
{
	return (previous_needs && previous_needs(function)) || (matters() && is_theirs(function));
}

/* Of a function that ends with an error the catalogs are not asked. */
static void
hook(FmgrHookEventType event, FmgrInfo *function, Datum *kept)
{
	Call	   *call = (Call *) DatumGetPointer(*kept);
	bool		begins = event == FHET_START && matters();

	if (call == NULL)
	{
		if (!begins && !previous_hook)
			return;
		call = MemoryContextAllocZero(function->fn_mcxt, sizeof(Call));
		*kept = PointerGetDatum(call);
	}
	if (begins && is_theirs(function->fn_oid))
	{
		call->counted = true;
		others++;
	}
	else if (event != FHET_START && call->counted)
	{
		call->counted = false;
		others--;
	}
	if (previous_hook)
		previous_hook(event, function, &call->previous);
}
