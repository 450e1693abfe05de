/*
 * src/core/confined.c
 *		Calling a function that is anybody's, and may do nothing.
 *
 * What shuts it in, each for itself:
 *
 * - It runs as payments_adapter, a role with no rights but what everybody has,
 *	 in a security-restricted operation: no SET ROLE, no temporary table, nothing
 *	 that would run later as somebody else.
 * - All that runs is declared not VOLATILE, and in a trusted language: the
 *	 function itself and whatever it calls, the server's own functions too.  So
 *	 the server refuses each statement that writes, and each utility statement
 *	 (SET, NOTIFY, COPY, DO, LOCK); and there is no advisory lock, no sleep, no
 *	 random value, no connection to elsewhere.  Nor is there the time of day.
 * - The transaction is read-only meanwhile, and rolled back to where it was
 *	 afterwards, whatever came of it.
 * - It has so much time and no more.  Who catches the cancel is cancelled again.
 * - Settings by which the same expression gives other bytes are those of the
 *	 list below, so that it is one function in whatever session.
 *
 * Memory it may take as any query may; it is given back at the end.
 */
#include "payments.h"

#include "core/confined.h"

#include "base/json.h"
#include "core/caller.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#define RESULT_BYTES_MAX (1024 * 1024)
#define MESSAGE_CHARS_MAX 200

static const char *const settings[][2] = {
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmloption", "content"},
	{"xmlbinary", "base64"},
	{"lc_monetary", "C"},
	{"lc_numeric", "C"},
	{"lc_time", "C"},
	{"default_text_search_config", "pg_catalog.simple"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"quote_all_identifiers", "off"},
	{"plpgsql.variable_conflict", "error"},
	{"plpgsql.extra_errors", "none"},
	{"plpgsql.extra_warnings", "none"},
	/* What it has to say is its result: a log is not for what PSPs write. */
	{"client_min_messages", "error"},
	{"log_min_messages", "fatal"},
};

typedef struct Run
{
	Oid			function;
	Datum		argument;
	Datum		result;
	bool		isnull;
	MemoryContext context;
} Run;

static object_access_hook_type previous_hook = NULL;

/* A function runs confined.  Process-local, false again whatever happens. */
static bool confined = false;
static volatile sig_atomic_t time_is_up = false;

static const char *name_of(const PayConfinedFunction *function);
static Oid	find_function(const PayConfinedFunction *function, const char **problem);
static const char *unfit(Form_pg_proc proc, const PayConfinedFunction *function);
static Oid	find_role(const char **problem);
static bool is_member(Oid role);
static void run_undone(PayConfinedCall *call, Oid function, Oid role);
static void run_confined(Run *run, Oid role, int limit_ms);
static void run(void *arg);
static void pin_settings(void);
static void take_result(PayConfinedCall *call, const Run *run);
static void raised(PayConfinedCall *call, ErrorData *error);
static bool is_cancel(const ErrorData *error);
static void limit_reached(void);
static void subtransaction_ends(SubXactEvent event, SubTransactionId ours, SubTransactionId parent, void *arg);
static void see_object(ObjectAccessType access, Oid class, Oid object, int part, void *arg);
static void check_called(Oid function);
static bool is_of_the_moment(Oid function);
static bool is_trusted(Oid language);

/* In every session, preloaded or not. */
void
pay_confined_init(void)
{
	previous_hook = object_access_hook;
	object_access_hook = see_object;
}

void
pay_confined_call(PayConfinedCall *call)
{
	Oid			function = find_function(call->function, &call->problem);
	Oid			role = call->problem ? InvalidOid : find_role(&call->problem);

	call->result = NULL;
	call->message = NULL;
	call->ran_out = false;
	if (call->problem == NULL && confined)
		call->problem = "a function of an adapter must not ask an adapter";
	if (call->problem == NULL)
		run_undone(call, function, role);
}

const char *
pay_confined_refusal(const PayConfinedFunction *function)
{
	const char *problem = NULL;

	(void) find_function(function, &problem);
	if (problem == NULL)
		(void) find_role(&problem);
	return problem;
}

/* ---------- which ---------- */

/* The same whatever quote_all_identifiers says. */
static const char *
name_of(const PayConfinedFunction *function)
{
	return psprintf("%s.%s", function->schema, function->name);
}

static Oid
find_function(const PayConfinedFunction *function, const char **problem)
{
	Oid			argument = JSONBOID;
	Oid			schema = get_namespace_oid(function->schema, true);
	HeapTuple	tuple = NULL;
	Oid			found = InvalidOid;

	*problem = NULL;
	if (OidIsValid(schema))
		tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(function->name), PointerGetDatum(buildoidvector(&argument, 1)),
								ObjectIdGetDatum(schema));
	if (!HeapTupleIsValid(tuple))
		*problem = psprintf("function %s(jsonb) does not exist", name_of(function));
	else
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
		const char *why = unfit(proc, function);

		found = proc->oid;
		if (why)
			*problem = psprintf("function %s(jsonb) %s", name_of(function), why);
		ReleaseSysCache(tuple);
	}
	return found;
}

static const char *
unfit(Form_pg_proc proc, const PayConfinedFunction *function)
{
	if (strcmp(GetUserNameFromId(proc->proowner, true) ? GetUserNameFromId(proc->proowner, true) : "", function->owner) != 0)
		return psprintf("does not belong to role \"%s\" any more", function->owner);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->prorettype != JSONBOID)
		return "does not return one jsonb";
	if (proc->provolatile != PROVOLATILE_IMMUTABLE)
		return "is not declared IMMUTABLE";
	if (proc->prosecdef)
		return "is SECURITY DEFINER";
	if (proc->prolang == INTERNALlanguageId || proc->prolang == ClanguageId || !is_trusted(proc->prolang))
		return "is not in a trusted language";
	return NULL;
}

static Oid
find_role(const char **problem)
{
	Oid			role = get_role_oid(PAY_ADAPTER_ROLE, true);

	if (!OidIsValid(role))
		*problem = "role \"" PAY_ADAPTER_ROLE "\" does not exist";
	else if (superuser_arg(role))
		*problem = "role \"" PAY_ADAPTER_ROLE "\" is a superuser";
	else if (is_member(role))
		*problem = "role \"" PAY_ADAPTER_ROLE "\" is a member of another";
	return role;
}

/* Whose rights it then had. */
static bool
is_member(Oid role)
{
	CatCList   *memberships = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(role));
	bool		any = memberships->n_members > 0;

	ReleaseSysCacheList(memberships);
	return any;
}

/* ---------- calling ---------- */

static void
run_undone(PayConfinedCall *call, Oid function, Oid role)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Run			run = {.function = function, .argument = JsonbPGetDatum(call->argument)};
	ErrorData  *volatile error = NULL;

	if (PayFunctionAclcheck(function, role) != ACLCHECK_OK)
	{
		call->problem = psprintf("role \"%s\" may not execute function %s(jsonb)", PAY_ADAPTER_ROLE,
								 name_of(call->function));
		return;
	}
	run.context = AllocSetContextCreate(context, "payments confined function", ALLOCSET_DEFAULT_SIZES);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(run.context);
	PG_TRY();
	{
		run_confined(&run, role, call->limit_ms);
		MemoryContextSwitchTo(context);
		take_result(call, &run);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (time_is_up)
		QueryCancelPending = false;
	if (error)
		raised(call, error);
	MemoryContextDelete(run.context);
}

static void
run_confined(Run *r, Oid role, int limit_ms)
{
	static bool registered = false;
	static TimeoutId limit;

	if (!registered)
	{
		limit = RegisterTimeout(USER_TIMEOUT, limit_reached);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		registered = true;
	}
	pin_settings();
	XactReadOnly = true;
	time_is_up = false;
	PG_TRY();
	{
		confined = true;
		enable_timeout_after(limit, limit_ms);
		pay_call_as(role, run, r);
	}
	PG_FINALLY();
	{
		disable_timeout(limit, false);
		confined = false;
	}
	PG_END_TRY();
}

/* All in here is done as the role. */
static void
run(void *arg)
{
	Run		   *r = arg;
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	function;

	fmgr_info_cxt(r->function, &function, r->context);
	InitFunctionCallInfoData(*fcinfo, &function, 1, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = r->argument;
	fcinfo->args[0].isnull = false;
	r->result = FunctionCallInvoke(fcinfo);
	r->isnull = fcinfo->isnull;
}

/* The end of the subtransaction undoes it. */
static void
pin_settings(void)
{
	(void) NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		/* Of a language that this session has not loaded there is none. */
		const char *value = GetConfigOption(settings[i][0], true, false);

		if (value && strcmp(value, settings[i][1]) != 0)
			(void) set_config_option(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

static void
take_result(PayConfinedCall *call, const Run *run)
{
	Jsonb	   *result;

	if (run->isnull)
		return;
	result = DatumGetJsonbPCopy(run->result);
	if (VARSIZE(result) > RESULT_BYTES_MAX || !pay_json_numbers_are_short(result))
		call->problem = psprintf("function %s(jsonb) returned too much",
								 name_of(call->function));
	else
		call->result = result;
}

/* Whatever it is called: it says nothing of ours, but for a cancel. */
static void
raised(PayConfinedCall *call, ErrorData *error)
{
	const char *name = name_of(call->function);

	call->ran_out = time_is_up && is_cancel(error);
	if (!call->ran_out && is_cancel(error))
		ReThrowError(error);
	if (call->ran_out)
		call->problem = psprintf("function %s(jsonb) took longer than %d ms", name, call->limit_ms);
	else
	{
		call->problem = psprintf("function %s(jsonb) raised %s", name, unpack_sql_state(error->sqlerrcode));
		call->message = pay_text_mask_card_numbers(pnstrdup(error->message, pg_mbcharcliplen(error->message, (int) strlen(error->message), MESSAGE_CHARS_MAX)));
	}
}

/* A function may raise by that name too; then the server's own has not. */
static bool
is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname && strcmp(error->funcname, "ProcessInterrupts") == 0;
}

/* ---------- its time ---------- */

/* In the signal handler. */
static void
limit_reached(void)
{
	time_is_up = true;
	InterruptPending = true;
	QueryCancelPending = true;
}

/* Somebody has caught the cancel. */
static void
subtransaction_ends(SubXactEvent event, SubTransactionId ours, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && confined && time_is_up)
		limit_reached();
}

/* ---------- what it calls ---------- */

static void
see_object(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	if (previous_hook)
		previous_hook(access, class, object, part, arg);
	if (confined && access == OAT_FUNCTION_EXECUTE)
		check_called(object);
}

static void
check_called(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool		allowed;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	allowed = proc->provolatile != PROVOLATILE_VOLATILE && !proc->prosecdef && !is_of_the_moment(function) &&
		(proc->prolang == INTERNALlanguageId || proc->prolang == ClanguageId || is_trusted(proc->prolang));
	ReleaseSysCache(tuple);
	if (!allowed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("an adapter must not call %s", format_procedure(function)),
				 errhint("It may call what is not VOLATILE, not SECURITY DEFINER, and in a trusted language, and no clock.")));
}

/* Not VOLATILE, for they say the same all through a transaction; the last two take its number for it. */
static bool
is_of_the_moment(Oid function)
{
	return function == F_NOW || function == F_TRANSACTION_TIMESTAMP || function == F_STATEMENT_TIMESTAMP ||
		function == F_TXID_CURRENT || function == F_PG_CURRENT_XACT_ID;
}

static bool
is_trusted(Oid language)
{
	HeapTuple	tuple = SearchSysCache1(LANGOID, ObjectIdGetDatum(language));
	bool		trusted = HeapTupleIsValid(tuple) && ((Form_pg_language) GETSTRUCT(tuple))->lanpltrusted;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return trusted;
}
