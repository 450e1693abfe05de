/*
 * src/psp/adyen.h
 *		Between psp/adyen.c and the files psp/adyen_*.c.
 */
#ifndef PAY_PSP_ADYEN_H
#define PAY_PSP_ADYEN_H

#include "psp/psp.h"

/*
 * What Adyen calls our reference, and gives back with every event: our name of
 * the operation, what kind it is, and of which generation: "REF-c1".  It is
 * signed, which what we could write beside it is not.  The kind says what an
 * authorization means (is it captured at once?), and whether one that is
 * refused is the last: the payer of a link may try again.
 */
typedef struct PayAdyenReference
{
	const char *psp_ref;
	PayOpKind	kind;
	bool		by_link;
	int			generation;
} PayAdyenReference;

/* psp/adyen_value.c */
extern const char *pay_adyen_reference(const char *psp_ref, PayOpKind kind, bool by_link, int generation);
/* False when it is none of ours. */
extern bool pay_adyen_reference_parse(const char *text, PayAdyenReference *reference);
/* Could it be an id of Adyen's?  It goes into paths and tables. */
extern bool pay_adyen_is_id(const char *text);
extern bool pay_adyen_is_link(const char *id);
/* Does the payment have no method of its own, so that the payer chooses one on a page of Adyen's? */
extern bool pay_adyen_by_link(const PayCommand *command);

/* Members that are texts or whole numbers; NULL or false for anything else.  Palloc'd. */
extern char *pay_adyen_text(PaySlice object, const char *name);
extern char *pay_adyen_id(PaySlice object, const char *name);
extern bool pay_adyen_int64(PaySlice object, const char *name, int64 *value);
/* The member "amount": value and currency.  False when it is not there as it should be. */
extern bool pay_adyen_amount(PaySlice object, PayResult *result);
/* A member of the adapter's config; NULL if it has none. */
extern char *pay_adyen_config(const char *config, const char *name);
/* Has Adyen enabled several captures of one authorization?  Then none gives the rest back. */
extern bool pay_adyen_captures_many(const char *config);

/* Adds a code, if it looks like one. */
extern void pay_adyen_add_code(PayResult *result, const char *prefix, const char *code);
/* Of what people read: printable, short, without what looks like a card number or a key. */
extern const char *pay_adyen_presentable(const char *text);

/* psp/adyen_answer.c and psp/adyen_event.c: for the adapter, see psp.h. */
extern void pay_adyen_read_header(const PayHeader *header, PayAnswer *answer);
extern void pay_adyen_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result);
extern PayVerdict pay_adyen_verify(PayInbound *inbound, const char *const *secrets, int64 now);
extern bool pay_adyen_parse(const PayInbound *inbound, PayEvents *events);

#endif							/* PAY_PSP_ADYEN_H */
