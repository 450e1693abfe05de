/*
 * src/payment/apply_private.h
 *		Between payment/apply.c, which says what a report speaks of, and
 *		payment/apply_money.c and payment/apply_outcome.c, which do what it says.
 */
#ifndef PAY_APPLY_PRIVATE_H
#define PAY_APPLY_PRIVATE_H

#include "payment/apply.h"
#include "payment/payment.h"

/* What a decision is made on. */
typedef struct PayContext
{
	PayPayments *set;
	PayPayment *payment;
	PayOperation *operation;	/* NULL: the PSP did something we did not ask for */
	PayReport  *report;
	PayResult	result;			/* amounts in ISO minor units */
	const char *source;
	const char *conflict;		/* of what is conflicted: why, unless by amount or currency */
	bool		stale;			/* from a worker that has lost its lease */
	bool		claimed_elsewhere;	/* a webhook, while a call is in flight */
	bool		beside;			/* a capture, and another one than that which is open */
} PayContext;

static inline void
count_applied(PayContext *c)
{
	c->report->outcome = PAY_OUTCOME_APPLIED;
}

/* apply.c: does the effect say that this operation has done what it was for? */
extern bool pay_apply_answers(const PayOperation *operation, PayEffect effect);
/* The code for people, or NULL. */
extern const char *pay_apply_code(const PayResult *result);

/* The payment is this object at the PSP: what was told of it before applies to it. */
extern void pay_apply_known_as(PayContext *c);
/* Has what the operation was for been done, by whatever word? */
extern bool pay_apply_done(const PayContext *c);
/*
 * Bad news of a payment that nobody asked about may be old: if there is a call
 * that can tell, returns true and asks.
 */
extern bool pay_apply_ask_first(PayContext *c);

/* apply.c: one report on a payment of the set. */
extern void pay_apply_one(PayPayments *set, PayReport *report);
/* Saves the set, and applies what was kept for those of its payments whose id is news. */
extern void pay_apply_save(PayPayments *set);

/*
 * apply_unmatched.c: what was kept for ids of payments of the saved set, oldest
 * first; what cannot be applied is an exception, and the rest goes on.
 */
extern void pay_unmatched_apply(PayPayments *set);
/* By this id the payment may have been told of before. */
extern void pay_unmatched_learn(PayPayment *payment, const char *psp_payment_id);

/* apply.c: the answer is a row of its own, whatever comes of it. */
extern void pay_apply_keep_answer(PayContext *c);
/* From the PSP's units to ours, in the result; false when the amounts do not translate. */
extern bool pay_apply_rescale(PayContext *c);
/* Is an approval of something else than was asked for? */
extern bool pay_apply_disagrees(PayContext *c);

/*
 * apply_former.c: of a PSP that the payment has left, does what it says, and
 * returns true.  False of the payment's own; also when that is it again, since
 * it has performed the payment after all and nothing has reached the other.
 */
extern bool pay_apply_former(PayContext *c);
/* Of an event that names no payment of its PSP: finds one that has been there. */
extern void pay_apply_locate_former(PayReport *report);

/* fallback.c: sends the operation to another PSP, if its rule and all else lets it go there.  False: it stays. */
extern bool pay_fall_back(PayContext *c, const char *reason);
/* The PSP of the report has it again. */
extern void pay_go_back(PayContext *c);

/* apply_money.c: an approval. */
extern void pay_apply_money(PayContext *c);

/*
 * apply_rest.c: the PSP has given up what was authorized and not captured; and what
 * follows, now or once no capture is under way, from that it has, or that the
 * last capture has left it.
 */
extern void pay_apply_expired(PayContext *c);
extern void pay_apply_give_up_rest(PayContext *c);
extern void pay_apply_lapse(PayContext *c);
extern void pay_apply_end_question(PayContext *c);
/* Is what is told one of the captures before the open one? */
extern bool pay_apply_is_earlier_capture(const PayContext *c);
/* Is it another capture than the open one?  Then it answers that neither well nor badly. */
extern void pay_apply_tell_apart(PayContext *c);

/* apply_payout.c: the PSP's word on a payout; and, by whosever word, has it gone out? */
extern void pay_payout_paid(PayContext *c);
extern void pay_payout_failed(PayContext *c);
extern bool pay_payout_is_paid(const PayPayment *payment);

/* dispute.c: how far a dispute is, if that is news. */
extern void pay_dispute_note(PayContext *c);

/* apply_outcome.c: tells of a word that is not what a person has decided; it counts as ever. */
extern void pay_apply_contradiction(PayContext *c);
/* apply_outcome.c: whatever is no approval. */
extern void pay_apply_outcome(PayContext *c);
extern void pay_apply_declined(PayContext *c, const char *code);
/* The PSP does not know of the operation: sends it again while that is safe, else goes on asking. */
extern void pay_apply_resend(PayContext *c);
/* The PSP holds the authorization still: asks again later whether it has expired. */
extern void pay_apply_ask_again(PayContext *c);
/* Reason of the dead letter that an end of that schedule makes. */
extern const char *pay_ran_out(const char *schedule);
/* Ends the operation in the given status. */
extern void pay_apply_finish(PayContext *c, const char *status);

#endif							/* PAY_APPLY_PRIVATE_H */
