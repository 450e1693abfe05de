/*
 * test/fuzz/shim.c
 *		Lets the pure files of src/ link without the server, for fuzzing and
 *		unit tests.
 *
 * palloc'd memory is kept in a list and freed by shim_reset(), which stands
 * for the reset of a memory context: call it after each input or case.  A pure
 * file must not raise, so a raised ERROR ends the process, which counts as a
 * crash.  There is no allocator of the server's behind this: what AddressSanitizer
 * sees is each block on its own.
 */
#include "postgres.h"

#include "shim.h"

#include "utils/memutils.h"

#include <stdlib.h>
#include <string.h>

typedef struct ShimBlock
{
	struct ShimBlock *prev;
	struct ShimBlock *next;
	size_t		bytes;
	size_t		padding;		/* keeps what follows aligned for any type */
} ShimBlock;

static ShimBlock blocks = {&blocks, &blocks, 0, 0};
static int	level;

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
MemoryContext ErrorContext = NULL;

void
shim_reset(void)
{
	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
}

void *
palloc(Size bytes)
{
	ShimBlock  *block = malloc(sizeof(ShimBlock) + bytes);

	if (block == NULL || !AllocSizeIsValid(bytes))
		abort();
	block->bytes = bytes;
	block->prev = &blocks;
	block->next = blocks.next;
	blocks.next->prev = block;
	blocks.next = block;
	return block + 1;
}

void *
palloc0(Size bytes)
{
	return memset(palloc(bytes), 0, bytes);
}

void *
palloc_extended(Size bytes, int flags)
{
	return (flags & MCXT_ALLOC_ZERO) ? palloc0(bytes) : palloc(bytes);
}

void *
MemoryContextAlloc(MemoryContext context, Size bytes)
{
	return palloc(bytes);
}

void *
MemoryContextAllocZero(MemoryContext context, Size bytes)
{
	return palloc0(bytes);
}

void *
MemoryContextAllocZeroAligned(MemoryContext context, Size bytes)
{
	return palloc0(bytes);
}

void
pfree(void *pointer)
{
	ShimBlock  *block = (ShimBlock *) pointer - 1;

	block->prev->next = block->next;
	block->next->prev = block->prev;
	free(block);
}

void *
repalloc(void *pointer, Size bytes)
{
	ShimBlock  *block = (ShimBlock *) pointer - 1;
	void	   *moved = palloc(bytes);

	memcpy(moved, pointer, Min(block->bytes, bytes));
	pfree(pointer);
	return moved;
}

char *
pnstrdup(const char *text, Size bytes)
{
	size_t		n = strnlen(text, bytes);
	char	   *copy = palloc(n + 1);

	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

/*
 * What libpgcommon wants of its own allocator.
 */
extern void *pg_malloc(size_t bytes);
extern void *pg_malloc0(size_t bytes);
extern void *pg_realloc(void *pointer, size_t bytes);
extern char *pg_strdup(const char *text);
extern void pg_free(void *pointer);

void *
pg_malloc(size_t bytes)
{
	return palloc(bytes);
}

void *
pg_malloc0(size_t bytes)
{
	return palloc0(bytes);
}

void *
pg_realloc(void *pointer, size_t bytes)
{
	return pointer == NULL ? palloc(bytes) : repalloc(pointer, bytes);
}

char *
pg_strdup(const char *text)
{
	return pstrdup(text);
}

void
pg_free(void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

/*
 * Errors and assertions.
 */
#if PG_VERSION_NUM >= 160000
void
ExceptionalCondition(const char *condition, const char *file, int line)
#else
void
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
#endif
{
	fprintf(stderr, "assertion failed: %s, %s:%d\n", condition, file, line);
	abort();
}

bool
errstart(int elevel, const char *domain)
{
	level = elevel;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *file, int line, const char *function)
{
	fprintf(stderr, "raised level %d in %s, %s:%d\n", level, function, file, line);
	abort();
}

int
errcode(int sqlstate)
{
	return 0;
}

int
errmsg(const char *format,...)
{
	fprintf(stderr, "%s\n", format);
	return 0;
}

int
errmsg_internal(const char *format,...)
{
	fprintf(stderr, "%s\n", format);
	return 0;
}

int
errdetail(const char *format,...)
{
	return 0;
}

int
errhint(const char *format,...)
{
	return 0;
}
