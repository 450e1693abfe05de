/*
 * test/fuzz/shim.h
 *		See shim.c.
 */
#ifndef SHIM_H
#define SHIM_H

/* Frees all that palloc gave out. */
extern void shim_reset(void);

#endif							/* SHIM_H */
