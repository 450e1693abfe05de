/*
 * src/core/cache.h
 *		What every call reads from small tables that hardly ever change.
 *
 * A cache belongs to the process.  A change of one of its tables empties it in
 * every session, at the change's commit.
 */
#ifndef PAY_CACHE_H
#define PAY_CACHE_H

#include "utils/hsearch.h"

#define PAY_CACHE_TABLES_MAX 8

typedef struct PayCache
{
	const char *name;
	Size		key_bytes;
	Size		entry_bytes;	/* an entry begins with its key */
	const char *tables[PAY_CACHE_TABLES_MAX];	/* of our schema; each with a trigger forget_routes */

	/* of core/cache.c */
	HTAB	   *entries;
	Oid			oids[PAY_CACHE_TABLES_MAX];
	bool		registered;
	bool		stale;
} PayCache;

/* The entry, or NULL.  It lasts until the next call for this cache. */
extern void *pay_cache_find(PayCache *cache, const void *key);
/*
 * Room for what was read after pay_cache_find() had returned NULL: an entry
 * with its key, to be filled.  NULL when what was read must not be kept.
 */
extern void *pay_cache_add(PayCache *cache, const void *key);

#endif							/* PAY_CACHE_H */
