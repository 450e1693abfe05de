/*
 * src/payment/test_adapter_private.h
 *		test_adapter(), between test_adapter.c, which tries what holds of every
 *		adapter, and test_adapter_sample.c, which tries samples.
 */
#ifndef PAY_TEST_ADAPTER_PRIVATE_H
#define PAY_TEST_ADAPTER_PRIVATE_H

#include "core/clock.h"
#include "payment/adapter_private.h"

#include "nodes/execnodes.h"
#include "utils/jsonb.h"

#define PAY_TEST_REF "test7ref"

typedef struct PayTest
{
	const PayAdapter *adapter;
	ReturnSetInfo *rows;
	Jsonb	   *samples;
	PaySteady	slowest;
	const char *slowest_of;
	bool		ran_out;
	bool		in_other_session;
} PayTest;

/* One question, as it is asked in a subtransaction. */
typedef struct PayTestAsked
{
	PayTest	   *test;
	PayQuestion question;
	const PayCommand *command;
	bool		inquiry;
	const PayAnswer *answer;
	const PayInbound *inbound;

	bool		built;
	PayRequest	request;
	const char *problem;
	PayResult	result;
	PayEvents	events;
} PayTestAsked;

/* A row of what came of it; `detail` may be NULL. */
extern void pay_test_say(PayTest *test, const char *check, bool ok, const char *detail);
/* NULL, or what it raised. */
extern const char *pay_test_ask(PayTestAsked *asked);
extern PayCommand pay_test_command(PayOpKind kind);
extern PayAnswer pay_test_answer(int status, const char *body, size_t bytes);
extern const char *pay_test_result_text(const PayResult *result);
/* Does it say nothing at all? */
extern bool pay_test_is_unknown(const PayResult *result);

extern void pay_test_samples(PayTest *test);

#endif							/* PAY_TEST_ADAPTER_PRIVATE_H */
