/*
 * src/core/caller.h
 *		Verbs: who calls them, and as whom they act.
 */
#ifndef PAY_CALLER_H
#define PAY_CALLER_H

#include "fmgr.h"

/*
 * The function of a verb, in place of its first two lines, beside
 * PAY_FUNCTION(name): what follows in braces runs as payments_owner.
 */
#define PAY_VERB(name) PAY_VERB_BY(name, pay_act_as_owner)
/*
 * The same of a verb that is given what others wrote, or what may be a secret:
 * no error of it has the statement in the log.
 */
#define PAY_VERB_UNSEEN(name) PAY_VERB_BY(name, pay_act_unseen)

#define PAY_VERB_BY(name, act) \
	static Datum CppConcat(name, _as_owner)(PG_FUNCTION_ARGS); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		return act(CppConcat(name, _as_owner), fcinfo); \
	} \
	static Datum \
	CppConcat(name, _as_owner)(PG_FUNCTION_ARGS)

extern Datum pay_act_as_owner(PGFunction verb, FunctionCallInfo fcinfo);
extern Datum pay_act_unseen(PGFunction verb, FunctionCallInfo fcinfo);

/* The role that called the verb in which we are; outside of verbs, the current one. */
extern Oid	pay_caller(void);
extern char *pay_caller_name(void);

/*
 * Runs somebody else's code with the rights of that role and no others.  What it
 * sets is undone, verbs that it calls are called by it, and it leaves nothing
 * behind that would run later, as another role: the server refuses that in a
 * security-restricted operation.
 */
extern void pay_call_as(Oid role, void (*call) (void *arg), void *arg);

/* For the worker, which takes the role of payments_owner by itself. */
extern void pay_caller_set(Oid role);

#endif							/* PAY_CALLER_H */
