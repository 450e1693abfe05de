/*
 * test/lib/planted.c
 *		Faults that the sanitizers must report, one a function: see test/sanitize.
 *
 * The sizes come from the caller, so that the compiler cannot see the fault.
 */
#include "postgres.h"

#include "fmgr.h"

#include <stdlib.h>

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(heap);
PG_FUNCTION_INFO_V1(stack);
PG_FUNCTION_INFO_V1(freed);
PG_FUNCTION_INFO_V1(overflow);
PG_FUNCTION_INFO_V1(shift);

Datum
heap(PG_FUNCTION_ARGS)
{
	int32		n = PG_GETARG_INT32(0);
	volatile char *p = malloc(n);

	p[n] = 1;
	free((void *) p);
	PG_RETURN_INT32(0);
}

Datum
stack(PG_FUNCTION_ARGS)
{
	volatile char array[16] = {0};

	PG_RETURN_INT32(array[PG_GETARG_INT32(0)]);
}

Datum
freed(PG_FUNCTION_ARGS)
{
	volatile char *p = malloc(PG_GETARG_INT32(0));

	free((void *) p);
	PG_RETURN_INT32(p[0]);
}

Datum
overflow(PG_FUNCTION_ARGS)
{
	volatile int max = PG_INT32_MAX;

	PG_RETURN_BOOL(max + PG_GETARG_INT32(0) > 0);
}

Datum
shift(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(1 << PG_GETARG_INT32(0));
}
