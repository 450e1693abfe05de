/*
 * src/core/cache.c
 *		What every call reads from small tables that hardly ever change.
 *
 * A statement trigger on each of the tables sends a relcache invalidation for
 * it.  The server may deliver that at any moment at which it looks up or locks
 * a table, so also while somebody reads the cache or fills it: on delivery only
 * a flag is set, and the next look-up begins anew.
 */
#include "payments.h"

#include "core/cache.h"

#include "core/arguments.h"
#include "core/spi.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* When full, it begins anew. */
#define ENTRIES_MAX 1024

static void begin(PayCache *cache);
static void forget(Datum cache, Oid relation);

PAY_FUNCTION(pay_forget_cached);

void *
pay_cache_find(PayCache *cache, const void *key)
{
	/* What was committed before this call counts in it, also when the call has had no table to lock so far. */
	AcceptInvalidationMessages();
	if (cache->entries && (cache->stale || hash_get_num_entries(cache->entries) >= ENTRIES_MAX))
	{
		hash_destroy(cache->entries);
		cache->entries = NULL;
	}
	if (cache->entries == NULL)
		begin(cache);
	return hash_search(cache->entries, key, HASH_FIND, NULL);
}

void *
pay_cache_add(PayCache *cache, const void *key)
{
	/*
	 * A change that came while the caller read may be newer than what was
	 * read; and the snapshot of a REPEATABLE READ transaction may be older
	 * than any change that came before.
	 */
	if (cache->stale || IsolationUsesXactSnapshot())
		return NULL;
	return hash_search(cache->entries, key, HASH_ENTER, NULL);
}

static void
begin(PayCache *cache)
{
	HASHCTL		control = {.keysize = cache->key_bytes, .entrysize = cache->entry_bytes, .hcxt = TopMemoryContext};

	/* Once for the life of the process; there is no way to unregister. */
	if (!cache->registered)
		CacheRegisterRelcacheCallback(forget, PointerGetDatum(cache));
	cache->registered = true;
	for (int i = 0; i < PAY_CACHE_TABLES_MAX && cache->tables[i]; i++)
		cache->oids[i] = get_relname_relid(cache->tables[i], pay_schema_oid());
	/* What comes from here on may concern what will be read. */
	cache->stale = false;
	cache->entries = hash_create(cache->name, 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Called by the server; no relation means all. */
static void
forget(Datum arg, Oid relation)
{
	PayCache   *cache = (PayCache *) DatumGetPointer(arg);

	for (int i = 0; i < PAY_CACHE_TABLES_MAX; i++)
		if (!OidIsValid(relation) || cache->oids[i] == relation)
			cache->stale = true;
}

/* forget_routes(), forget_epoch(): AFTER a change of a table that sessions cache, FOR EACH STATEMENT. */
Datum
pay_forget_cached(PG_FUNCTION_ARGS)
{
	CacheInvalidateRelcache(pay_require_trigger(fcinfo)->tg_relation);
	return PointerGetDatum(NULL);
}
