/*
 * src/core/confined.h
 *		Calling a function that is anybody's, and may do nothing.
 */
#ifndef PAY_CONFINED_H
#define PAY_CONFINED_H

#include "utils/jsonb.h"

/* A function (jsonb) that returns jsonb, by its name and the name of the role that owned it when somebody chose it. */
typedef struct PayConfinedFunction
{
	const char *schema;			/* NULL: there is none */
	const char *name;
	const char *owner;
} PayConfinedFunction;

typedef struct PayConfinedCall
{
	const PayConfinedFunction *function;
	int			limit_ms;
	Jsonb	   *argument;

	/* What came of it, in the current context. */
	Jsonb	   *result;			/* NULL for SQL null */
	const char *problem;		/* why there is none; NULL: it has returned */
	const char *message;		/* what it raised, in its own words, which may be of what it was given; NULL: nothing */
	bool		ran_out;		/* of time */
} PayConfinedCall;

extern void pay_confined_init(void);

/*
 * Calls it as a role that may do nothing.  It is undone whatever it does, and
 * never raises but for a cancel that somebody else asked for.
 */
extern void pay_confined_call(PayConfinedCall *call);

/* NULL, or why it would not be called: it is not there, or not what it must be. */
extern const char *pay_confined_refusal(const PayConfinedFunction *function);

#endif							/* PAY_CONFINED_H */
