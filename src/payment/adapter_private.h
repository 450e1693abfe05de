/*
 * src/payment/adapter_private.h
 *		An adapter of SQL functions, between adapter.c, which asks it, and
 *		adapter_row.c, which reads it.
 */
#ifndef PAY_ADAPTER_PRIVATE_H
#define PAY_ADAPTER_PRIVATE_H

#include "core/clock.h"
#include "core/confined.h"
#include "psp/scheme.h"

typedef enum PayQuestion
{
	PAY_QUESTION_BUILD,
	PAY_QUESTION_BUILD_INQUIRY,
	PAY_QUESTION_CLASSIFY,
	PAY_QUESTION_PARSE,
	PAY_QUESTIONS
} PayQuestion;

/* As a row was when it was read.  One that was changed is another; none is freed, for what is in flight may point to it. */
typedef struct PayFunctions
{
	PayAdapter	adapter;		/* points to this */
	PayScheme	scheme;
	PayConfinedFunction functions[PAY_QUESTIONS];
	int			limit_ms;
	const char *row;			/* all of it, to be compared */

	/* Its share of this process's time, in microseconds; see adapter.c. */
	int64		left;
	PaySteady	left_at;
} PayFunctions;

/* What is wrong with the row whose text that is; NULL: nothing, and *functions is filled in the current context. */
extern const char *pay_adapter_read_row(const char *row, PayFunctions *functions);

/* Its account of time is as at the beginning: for whoever tests it. */
extern void pay_adapter_refill(PayFunctions *functions);
/* Asks one; NULL when it has not answered, and then *problem says why, and *message what it raised, if that may be shown. */
extern Jsonb *pay_adapter_ask(PayFunctions *functions, PayQuestion question, Jsonb *argument, const char **problem, const char **message);

#endif							/* PAY_ADAPTER_PRIVATE_H */
