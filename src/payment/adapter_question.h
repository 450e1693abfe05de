/*
 * src/payment/adapter_question.h
 *		What a SQL function of an adapter is asked with.
 */
#ifndef PAY_ADAPTER_QUESTION_H
#define PAY_ADAPTER_QUESTION_H

#include "psp/psp.h"

#include "utils/jsonb.h"

/* The command; and with an answer, that as well, and whether it is to an inquiry. */
extern Jsonb *pay_adapter_json_command(const PayCommand *command);
extern Jsonb *pay_adapter_json_answer(const PayCommand *command, bool inquiry, const PayAnswer *answer);
/* NULL when it is no text of this database. */
extern Jsonb *pay_adapter_json_inbound(const PayInbound *inbound);

#endif							/* PAY_ADAPTER_QUESTION_H */
