/*
 * src/payment/route.c
 *		Merchant, PSP and currency of a new payment, cached.
 *
 * The look-up joins small tables that hardly ever change, and took a seventh
 * of the time of create_payment().  Only what was found is cached, so what is
 * created later is seen at once.
 *
 * The sandbox says yes without money.  So it is what nobody named only until
 * the database is armed for the first time, also if it is disarmed again: a
 * shop must not ship goods for a forgotten argument.
 */
#include "payments.h"

#include "payment/route.h"
#include "base/money.h"
#include "core/cache.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "payment/adapter.h"

#include "utils/builtins.h"

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
	PayRoute	route;
	char		psp[NAME_BYTES];
} PayRouteEntry;

static PayCache routes = {
	.name = "payments routes",
	.key_bytes = sizeof(PayRouteKey),
	.entry_bytes = sizeof(PayRouteEntry),
	.tables = {"merchant", "psp", "currency", "psp_currency", "amount_limit", "installation", "adapter"},
};

static bool make_key(PayRouteKey *key, const char *merchant, const char *psp, const char *currency);
static void read_route(PayRoute *route, const char *merchant, const char *psp, const char *currency);

static PayStmt find_route = PAY_STMT(SPI_OK_SELECT,
	"SELECT m.merchant, s.psp, s.adapter, c.exponent, coalesce(x.exponent, c.exponent), coalesce(x.multiple, 1), "
	" (SELECT l.amount_max FROM payments.amount_limit l WHERE l.currency IN ($3, '*') ORDER BY l.currency = '*', l.builtin LIMIT 1) "
	"FROM (SELECT $1 AS merchant) g LEFT JOIN payments.merchant m ON m.merchant = g.merchant "
	"LEFT JOIN payments.psp s ON s.psp = coalesce($2, m.psp, "
	" CASE WHEN NOT EXISTS (SELECT FROM payments.installation i WHERE i.singleton AND i.first_armed_at IS NOT NULL) THEN 'sandbox' END) "
	"LEFT JOIN payments.currency c ON c.currency = $3 "
	"LEFT JOIN payments.psp_currency x ON x.adapter = s.adapter AND x.currency = c.currency", TEXTOID, TEXTOID, TEXTOID);

const PayRoute *
pay_route_find(const char *merchant, const char *psp, const char *currency)
{
	PayRoute   *route = palloc0(sizeof(PayRoute));
	PayRouteKey key;
	bool		cacheable = make_key(&key, merchant, psp, currency);
	PayRouteEntry *entry = cacheable ? pay_cache_find(&routes, &key) : NULL;

	if (entry)
	{
		/* Copies: the next look-up may begin the cache anew. */
		*route = entry->route;
		route->psp = pstrdup(entry->psp);
		return route;
	}
	read_route(route, merchant, psp, currency);
	if (!cacheable || !route->merchant_known || route->psp == NULL || !route->currency_known)
		return route;
	entry = pay_cache_add(&routes, &key);
	if (entry)
	{
		entry->route = *route;
		strlcpy(entry->psp, route->psp, NAME_BYTES);
	}
	return route;
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
read_route(PayRoute *route, const char *merchant, const char *psp, const char *currency)
{
	PayArgs		args = {0};

	pay_arg_text(&args, merchant);
	pay_arg_text(&args, psp);
	pay_arg_text(&args, currency);
	pay_spi_exec(&find_route, &args);
	route->merchant_known = !pay_spi_isnull(0, 1);
	route->psp = pay_spi_text(0, 2);
	route->adapter = route->psp ? pay_adapter_find(pay_spi_text(0, 3)) : NULL;
	route->currency_known = !pay_spi_isnull(0, 4);
	if (route->currency_known)
	{
		route->exponent = pay_spi_int32(0, 4);
		route->psp_exponent = pay_spi_int32(0, 5);
		route->multiple = pay_spi_int64(0, 6);
		route->amount_max = pay_spi_isnull(0, 7) ? 0 : pay_spi_int64(0, 7);
	}
}

const char *
pay_route_problem(const PayRoute *route, const char *merchant, const char *psp, const char *currency,
				  int64 amount, int64 *psp_amount, int *sqlstate, const char **hint)
{
	if (!route->merchant_known)
	{
		*sqlstate = PAY_ERR_MERCHANT_UNKNOWN;
		*hint = "Create it with payments.create_merchant().";
		return merchant ? psprintf("merchant \"%s\" does not exist", merchant) : "merchant must not be null";
	}
	pay_require_merchant(merchant);
	if (route->psp == NULL)
	{
		*sqlstate = PAY_ERR_PSP_UNKNOWN;
		*hint = psp ? "Create it with payments.create_psp(), or name another with psp => '...'."
			: psprintf("Give the merchant one with create_merchant(%s, psp => '...'), or name one in the call. Since this database has been armed, that is so for the sandbox too.",
					   quote_literal_cstr(merchant));
		return psp ? psprintf("PSP \"%s\" does not exist", psp) : "neither the call nor the merchant names a PSP";
	}
	if (!route->currency_known)
	{
		*sqlstate = PAY_ERR_CURRENCY_UNKNOWN;
		*hint = "Use an ISO 4217 code in upper case, as in payments.currency.";
		return currency ? psprintf("currency \"%s\" does not exist", currency) : "currency must not be null";
	}
	*sqlstate = PAY_ERR_AMOUNT_INVALID;
	if (route->amount_max > 0 && amount > route->amount_max)
	{
		*hint = "Amounts are whole minor units. If it is meant, raise the limit by a row of yours in payments.amount_limit.";
		return psprintf("amount is above the limit of %s for one payment", pay_money_text(route->amount_max, route->exponent, currency));
	}
	if (!pay_money_rescale(amount, route->exponent, route->psp_exponent, psp_amount) || *psp_amount % route->multiple != 0)
	{
		*hint = "See payments.psp_currency; amounts are refused, never rounded.";
		return psprintf("PSP \"%s\" cannot move this amount of %s exactly", route->psp, currency);
	}
	return NULL;
}
