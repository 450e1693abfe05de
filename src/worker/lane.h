/*
 * src/worker/lane.h
 *		A kind of calls that the worker makes to PSPs.
 *
 * A lane claims what is due in a transaction, asks with none open, and
 * completes what came back in a transaction.  It has slots of its own, so that
 * no lane can take another's.  The loop in worker.c says when, and hands over
 * the responses; a lane neither calls the loop nor knows another lane.
 */
#ifndef PAY_WORKER_LANE_H
#define PAY_WORKER_LANE_H

#include "core/clock.h"
#include "http/http.h"

typedef struct PayLane
{
	const char *name;
	int			slots;			/* so many requests at a time */
	int			allowed;		/* of these, so many may be used now; written by the loop before claim() */
	PaySteady	waits_since;	/* when the oldest answer came that could not be completed yet; 0: none; written by the lane */
	uint64		first_tag;		/* of its requests, slot by slot from here on; written by the loop at the start */

	/*
	 * NULL where a lane has nothing to do; next_look, claim and answered all
	 * have.  At the start of the process, outside of transactions.
	 */
	void		(*init) (void);
	/* In the first transaction in which the worker looks around: who held leases before is dead. */
	void		(*recover) (void);
	/* In a transaction: due times that a clock which was ahead has set come nearer.  False when some are left. */
	bool		(*retime) (void);
	/* In each look: reads what is due. */
	void		(*look) (void);
	/* When the worker should look around; `noted`: somebody has committed work since the last time. */
	PaySteady	(*next_look) (bool noted);
	/* Behind the commit of a look: claims what is due, each claim in a transaction, and sends it. */
	void		(*claim) (void);
	/* Takes over the response to what was sent from the slot; it is completed in a step. */
	void		(*answered) (int slot, PayHttpResponse *response);
	/* When there is something for step(); PAY_NEVER: nothing. */
	PaySteady	(*next) (bool idle);
	/* Works off what is here already.  `idle`: the worker is not wanted, and does no more than it must. */
	void		(*step) (bool idle);
	/* Settings were read again. */
	void		(*reload) (void);
} PayLane;

extern PayLane pay_payments_lane;
extern PayLane pay_feeds_lane;
extern PayLane pay_tokens_lane;
extern PayLane pay_accounts_lane;

#endif							/* PAY_WORKER_LANE_H */
