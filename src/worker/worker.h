/*
 * src/worker/worker.h
 *		The processes: one launcher, and one worker a database.
 */
#ifndef PAY_WORKER_H
#define PAY_WORKER_H

#include "postmaster/bgworker.h"

#define PAY_WORKER_TYPE "payments worker"

/* What a worker is told at its start; lives in bgw_extra. */
typedef struct PayWorkerOrder
{
	char		database[NAMEDATALEN];
	bool		by_hand;		/* by start_worker(): ends when stopped, instead of idling */
} PayWorkerOrder;

/* Fills a registration for the worker of a database. */
extern void pay_worker_registration(BackgroundWorker *worker, const char *database, bool by_hand);
extern PAY_EXPORT void pay_worker_main(Datum arg);
extern PAY_EXPORT void pay_launcher_main(Datum arg);

#endif							/* PAY_WORKER_H */
