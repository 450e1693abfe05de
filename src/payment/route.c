/*
 * src/payment/route.c
 *		Merchant, PSP and currency of a new payment, cached.
 *
 * The look-up joins four small tables that hardly ever change, and took a
 * seventh of the time of create_payment().  A statement trigger on each sends
 * a relcache invalidation for the table of merchants; on receiving it at the
 * change's commit every session forgets what it has cached.  Only what was
 * found is cached, so what is created later is seen at once.
 */
#include "payments.h"

#include "payment/route.h"
#include "core/spi.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Bound: when full, the cache starts anew. */
#define ENTRIES_MAX 1024
#define NAME_BYTES 64

typedef struct PayRouteKey
{
	char		merchant[NAME_BYTES];
	char		psp[NAME_BYTES];
	char		currency[4];
} PayRouteKey;

typedef struct PayRouteEntry
{
	PayRouteKey key;
	PayRoute info;
	char		app_role[NAME_BYTES];
	char		psp[NAME_BYTES];
	char		adapter[NAME_BYTES];
} PayRouteEntry;

/* Process-local; written here only. */
static HTAB *cache = NULL;
static Oid	cache_relation = InvalidOid;

static bool make_key(PayRouteKey *key, const char *merchant, const char *psp, const char *currency);
static void prepare_cache(void);
static void forget(Datum arg, Oid relation);
static void read_route(PayRoute *info, const char *merchant, const char *psp, const char *currency);
static const char *keep(char *room, const char *text);

static PayStmt find_route = PAY_STMT(SPI_OK_SELECT,
	"SELECT m.merchant, m.app_role, s.psp, s.adapter, c.exponent, coalesce(x.exponent, c.exponent), coalesce(x.multiple, 1) "
	"FROM (SELECT $1 AS merchant) g LEFT JOIN payments.merchant m ON m.merchant = g.merchant "
	"LEFT JOIN payments.psp s ON s.psp = coalesce($2, m.psp) "
	"LEFT JOIN payments.currency c ON c.currency = $3 "
	"LEFT JOIN payments.psp_currency x ON x.adapter = s.adapter AND x.currency = c.currency", TEXTOID, TEXTOID, TEXTOID);

PAY_FUNCTION(pay_forget_routes);

const PayRoute *
pay_route_find(const char *merchant, const char *psp, const char *currency)
{
	PayRoute *info = palloc0(sizeof(PayRoute));
	PayRouteKey key;
	PayRouteEntry *entry;
	bool		cacheable = make_key(&key, merchant, psp, currency);

	prepare_cache();
	if (cacheable && (entry = hash_search(cache, &key, HASH_FIND, NULL)) != NULL)
	{
		/* Copies: an invalidation may come while the caller still reads. */
		*info = entry->info;
		info->app_role = info->app_role ? pstrdup(entry->app_role) : NULL;
		info->psp = pstrdup(entry->psp);
		info->adapter = pstrdup(entry->adapter);
		return info;
	}
	read_route(info, merchant, psp, currency);
	if (!cacheable || !info->merchant_known || info->psp == NULL || !info->currency_known)
		return info;
	/* The read may have let an invalidation in; the entry made now is newer than it. */
	prepare_cache();
	entry = hash_search(cache, &key, HASH_ENTER, NULL);
	entry->info = *info;
	entry->info.app_role = keep(entry->app_role, info->app_role);
	entry->info.psp = keep(entry->psp, info->psp);
	entry->info.adapter = keep(entry->adapter, info->adapter);
	return info;
}

static bool
make_key(PayRouteKey *key, const char *merchant, const char *psp, const char *currency)
{
	memset(key, 0, sizeof(PayRouteKey));
	if (merchant == NULL || currency == NULL || strlen(merchant) >= NAME_BYTES || strlen(currency) != 3 ||
		(psp && (strlen(psp) >= NAME_BYTES || psp[0] == '\0')))
		return false;
	strlcpy(key->merchant, merchant, NAME_BYTES);
	strlcpy(key->psp, psp ? psp : "", NAME_BYTES);
	strlcpy(key->currency, currency, 4);
	return true;
}

static void
prepare_cache(void)
{
	static bool registered = false;
	HASHCTL		control = {0};

	/* Once for the life of the process; there is no way to unregister. */
	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
	if (cache && hash_get_num_entries(cache) >= ENTRIES_MAX)
	{
		hash_destroy(cache);
		cache = NULL;
	}
	if (cache)
		return;
	control.keysize = sizeof(PayRouteKey);
	control.entrysize = sizeof(PayRouteEntry);
	control.hcxt = TopMemoryContext;
	cache = hash_create("payments routes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache_relation = get_relname_relid("merchant", pay_schema_oid());
}

/* Called by the server at any moment it processes invalidations: touches only the hash table. */
static void
forget(Datum arg, Oid relation)
{
	if (cache == NULL || (OidIsValid(relation) && relation != cache_relation))
		return;
	hash_destroy(cache);
	cache = NULL;
}

static void
read_route(PayRoute *info, const char *merchant, const char *psp, const char *currency)
{
	PayArgs		args = {0};

	pay_arg_text(&args, merchant);
	pay_arg_text(&args, psp);
	pay_arg_text(&args, currency);
	pay_spi_exec(&find_route, &args);
	info->merchant_known = !pay_spi_isnull(0, 1);
	info->app_role = pay_spi_text(0, 2);
	info->psp = pay_spi_text(0, 3);
	info->adapter = pay_spi_text(0, 4);
	info->currency_known = !pay_spi_isnull(0, 5);
	if (info->currency_known)
	{
		info->exponent = pay_spi_int32(0, 5);
		info->psp_exponent = pay_spi_int32(0, 6);
		info->multiple = pay_spi_int64(0, 7);
	}
}

static const char *
keep(char *room, const char *text)
{
	if (text == NULL)
		return NULL;
	strlcpy(room, text, NAME_BYTES);
	return room;
}

/* AFTER any change, FOR EACH STATEMENT. */
Datum
pay_forget_routes(PG_FUNCTION_ARGS)
{
	Oid			relation = get_relname_relid("merchant", pay_schema_oid());

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("forget_routes() must be called as a trigger"),
				 errhint("Run SELECT payments.setup(); it attaches the triggers.")));
	if (OidIsValid(relation))
		CacheInvalidateRelcacheByRelid(relation);
	return PointerGetDatum(NULL);
}
