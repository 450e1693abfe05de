/*
 * src/payment/suspense.c
 *		What came late, of a payment that came to nothing.
 *
 * A payment that was declined, cancelled or given up has ended without money,
 * and no edge leads out of that.  What is captured for it afterwards stands in
 * suspense, and is nobody's until a person says whose: least of all may the
 * merchant pay when it is given back.  So refunds and lost disputes of such a
 * payment are the same movements as of any other, posted by rules of their own
 * (late_refund and so on), which take them from suspense.
 *
 * One may have been told while the payment was open still, and was then the
 * merchant's.  When the payment comes to nothing it is taken over, by a movement
 * that says so: whichever is heard of first, the books have one end.
 */
#include "payments.h"

#include "payment/suspense.h"

/* Whoever takes back the resolution knows it by its words: what a person has resolved stays so. */
#define GIVEN_BACK "what came late was given back at the PSP; it was taken from suspense"

/* A movement by which the merchant would lose. */
typedef struct Borne
{
	const char *kind;
	const char *undone;			/* kind of the movement that gives it back; NULL: none */
	const char *taken_over;		/* kind of the movement that lets suspense bear it */
} Borne;

static const Borne borne[] = {
	{"refund", "refund_failed", "refund_to_suspense"},
	{"dispute_lost", NULL, "dispute_lost_to_suspense"},
};

static void take_over(PayPayments *set, PayPayment *payment, const char *source);
static void tell(PayPayments *set, PayPayment *payment, int64 left);

int64
pay_suspense_left(const PayPayment *payment)
{
	int64		left = pay_payment_sum(payment, "late_capture");

	if (!pay_payment_came_to_nothing(payment))
		return 0;
	for (size_t i = 0; i < lengthof(borne); i++)
	{
		left -= pay_payment_sum(payment, borne[i].kind);
		if (borne[i].undone)
			left += pay_payment_sum(payment, borne[i].undone);
	}
	return left;
}

void
pay_suspense_follow(PayPayments *set, PayPayment *payment, const PaySums *before, const PaySums *now, const char *source)
{
	if (now->came_to_nothing && !before->came_to_nothing)
		take_over(set, payment, source);
	if (now->in_suspense != before->in_suspense)
		tell(set, payment, now->in_suspense);
}

static void
take_over(PayPayments *set, PayPayment *payment, const char *source)
{
	List	   *known = list_copy(payment->moved);
	ListCell   *cell;

	for (size_t i = 0; i < lengthof(borne); i++)
		foreach(cell, known)
		{
			const PayMoved *moved = lfirst(cell);

			if (strcmp(moved->kind, borne[i].kind) == 0 &&
				!(borne[i].undone && pay_payment_moved(payment, borne[i].undone, moved->object_id)))
				pay_payment_move(set, payment, NULL, borne[i].taken_over, moved->object_id, moved->amount, source)->psp = moved->psp;
		}
}

/* Once nothing is left nobody has to look, unless what was given back comes back again. */
static void
tell(PayPayments *set, PayPayment *payment, int64 left)
{
	ListCell   *cell;

	foreach(cell, payment->moved)
	{
		const PayMoved *moved = lfirst(cell);

		if (strcmp(moved->kind, "late_capture") != 0)
			continue;
		if (left <= 0)
			pay_payment_resolve(set, payment, "after_cancel", moved->object_id, GIVEN_BACK);
		else
			pay_payment_reopen(set, payment, "after_cancel", moved->object_id, GIVEN_BACK);
	}
}
