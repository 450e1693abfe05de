/*
 * src/core/caller.c
 *		Verbs: who calls them, and as whom they act.
 *
 * A verb acts as payments_owner, and what it does is right or wrong by the role
 * that called it: a client's own, or the owner of a SECURITY DEFINER function,
 * an index or a view's trigger that the client may know nothing of.  Of that
 * role the server's own SECURITY DEFINER tells nothing: once inside, only the
 * session's roles are left to ask, and these are the victim's where somebody
 * else's function called.  So no verb is SECURITY DEFINER.  It begins with the
 * rights of its caller, notes who that is, and takes those of payments_owner
 * itself: in C by PAY_VERB(), in PL/pgSQL by the language "payments".
 *
 * As which nobody but our own code runs: what it calls in turn is called for
 * the one who called first.  Code of others that a verb needs, a format function
 * say, is called by pay_call_as(), as the role that answers for it.
 *
 * An error brings the statement into the server's log, and in it what a verb was
 * given.  Most verbs look for card numbers first, and refuse them without their
 * statement; what is left is the role's own, and worth to be read: so it stays.
 * A few are given what others wrote, which they mask or refuse by the row, or
 * what may be a secret: with these no error, a lock that took too long or a
 * standby, shows the statement.  What fails before a verb begins is not in our
 * hands: no right to call it, arguments of other types.
 */
#include "payments.h"

#include "core/caller.h"

#include "core/arguments.h"
#include "core/spi.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* Of those in PL/pgSQL the ones for PAY_VERB_UNSEEN(). */
static const char *const unseen[] = {"import_settlement"};

/* Invalid outside of verbs. */
static Oid	caller = InvalidOid;

static bool is_unseen(Oid function);

PAY_FUNCTION(pay_call_plpgsql);
PAY_FUNCTION(pay_caller_sql);

/* An error must not leave a caller behind, for the next one to act as. */
Datum
pay_act_as_owner(PGFunction verb, FunctionCallInfo fcinfo)
{
	Oid			owner = pay_owner_oid();
	Oid			before = caller;
	Oid			user;
	int			security;
	volatile Datum result = (Datum) 0;

	GetUserIdAndSecContext(&user, &security);
	if (user == owner)
		return verb(fcinfo);
	PG_TRY();
	{
		caller = user;
		SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
		result = verb(fcinfo);
	}
	PG_FINALLY();
	{
		caller = before;
		SetUserIdAndSecContext(user, security);
	}
	PG_END_TRY();
	return result;
}

void
pay_call_as(Oid role, void (*call) (void *arg), void *arg)
{
	Oid			before = caller;
	Oid			user;
	int			security;
	int			settings;

	GetUserIdAndSecContext(&user, &security);
	settings = NewGUCNestLevel();
	PG_TRY();
	{
		/* No schema in which others might have put something. */
		(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		caller = InvalidOid;
		SetUserIdAndSecContext(role, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		call(arg);
	}
	PG_FINALLY();
	{
		caller = before;
		SetUserIdAndSecContext(user, security);
	}
	PG_END_TRY();
	/* After an error the end of the subtransaction does the same. */
	AtEOXact_GUC(false, settings);
}

Datum
pay_act_unseen(PGFunction verb, FunctionCallInfo fcinfo)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = pay_hide_statement};
	Datum		result;

	error_context_stack = &callback;
	result = pay_act_as_owner(verb, fcinfo);
	error_context_stack = callback.previous;
	return result;
}

Oid
pay_caller(void)
{
	Oid			user = GetUserId();

	return OidIsValid(caller) && user == pay_owner_oid() ? caller : user;
}

char *
pay_caller_name(void)
{
	return GetUserNameFromId(pay_caller(), false);
}

void
pay_caller_set(Oid role)
{
	caller = role;
}

/* The handler of language "payments": PL/pgSQL, as a verb. */
Datum
pay_call_plpgsql(PG_FUNCTION_ARGS)
{
	static PGFunction plpgsql = NULL;

	if (plpgsql == NULL)
		plpgsql = load_external_function("$libdir/plpgsql", "plpgsql_call_handler", true, NULL);
	return is_unseen(fcinfo->flinfo->fn_oid) ? pay_act_unseen(plpgsql, fcinfo) : pay_act_as_owner(plpgsql, fcinfo);
}

static bool
is_unseen(Oid function)
{
	const char *name = get_func_name(function);

	for (size_t i = 0; name && i < lengthof(unseen); i++)
		if (strcmp(name, unseen[i]) == 0)
			return true;
	return false;
}

/* _caller() */
Datum
pay_caller_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(pay_caller_name())));
}
