/*
 * src/worker/launcher.h
 *		Starting and stopping workers.
 */
#ifndef PAY_LAUNCHER_H
#define PAY_LAUNCHER_H

/* Registers the launcher and the hook that makes way for DROP DATABASE; only while preloading. */
extern void pay_launcher_init(void);
extern PAY_EXPORT void pay_launcher_main(Datum arg);

#endif							/* PAY_LAUNCHER_H */
