/*
 * src/worker/worker.h
 *		The background worker of one database.
 */
#ifndef PAY_WORKER_H
#define PAY_WORKER_H

/* What a worker is told at its start; lives in bgw_extra. */
typedef struct PayWorkerOrder
{
	char		database[NAMEDATALEN];
	bool		by_hand;		/* by start_worker(): ends when stopped, instead of idling */
} PayWorkerOrder;

extern PAY_EXPORT void pay_worker_main(Datum arg);

#endif							/* PAY_WORKER_H */
