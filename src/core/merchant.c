/*
 * src/core/merchant.c
 *		Who may act for a merchant.
 *
 * The role that counts is the one that called the verb, pay_caller(), whoever's
 * session it is: what a merchant's role has wrapped into a function of its own
 * works for everybody who may call that, and what another role has put into
 * the way of a client, or of a superuser's ANALYZE, has that other's rights.
 */
#include "payments.h"

#include "core/merchant.h"

#include "core/arguments.h"
#include "core/cache.h"
#include "core/caller.h"
#include "core/spi.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"

PAY_FUNCTION(pay_act_for_all);
PAY_FUNCTION(pay_require_merchant_sql);

/* The transaction, and the subtransaction of it, in which a decision is carried out. */
static LocalTransactionId deciding_lxid = InvalidLocalTransactionId;
static SubTransactionId deciding_subid;

typedef struct PayMerchantEntry
{
	char		merchant[NAMEDATALEN];
	bool		has_role;
	NameData	app_role;
} PayMerchantEntry;

/* Every verb asks, of payments and of the ledger. */
static PayCache roles = {
	.name = "payments merchants",
	.key_bytes = NAMEDATALEN,
	.entry_bytes = sizeof(PayMerchantEntry),
	.tables = {"merchant"},
};

static bool find_role(const char *merchant, const char **app_role);
static bool reads_all_merchants(void);

static PayStmt find_merchant = PAY_STMT(SPI_OK_SELECT,
	"SELECT app_role FROM payments.merchant WHERE merchant = $1", TEXTOID);

/* The refusal names neither merchant nor role: who guesses ids is not to learn whose they are. */
void
pay_require_merchant(const char *merchant)
{
	const char *app_role;
	Oid			role;

	if (merchant == NULL || !find_role(merchant, &app_role))
		ereport(ERROR,
				(errcode(PAY_ERR_MERCHANT_UNKNOWN),
				 merchant ? errmsg("merchant \"%s\" does not exist", merchant) : errmsg("merchant must not be null"),
				 errhint("Create it with payments.create_merchant().")));
	if (app_role == NULL || pay_carries_out_decision())
		return;
	role = get_role_oid(app_role, true);
	if (!OidIsValid(role) || !has_privs_of_role(pay_caller(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the merchant"),
				 errhint("Only members of a merchant's role act for it, with what is its own; an administrator of payments may grant it.")));
}

/* False if there is no such merchant.  Only what was found is cached, so what is created later is seen at once. */
static bool
find_role(const char *merchant, const char **app_role)
{
	PayArgs		args = {0};
	char		key[NAMEDATALEN] = {0};
	bool		cacheable = strlcpy(key, merchant, sizeof(key)) < sizeof(key);
	PayMerchantEntry *entry = cacheable ? pay_cache_find(&roles, key) : NULL;

	if (entry)
	{
		/* A copy: the next look-up may begin the cache anew. */
		*app_role = entry->has_role ? pstrdup(NameStr(entry->app_role)) : NULL;
		return true;
	}
	pay_arg_text(&args, merchant);
	if (pay_spi_exec(&find_merchant, &args) == 0)
		return false;
	*app_role = pay_spi_text(0, 1);
	entry = cacheable ? pay_cache_add(&roles, key) : NULL;
	if (entry)
	{
		entry->has_role = *app_role != NULL;
		namestrcpy(&entry->app_role, *app_role ? *app_role : "");
	}
	return true;
}

/* Is the calling role an operator, administrator or auditor?  They see the rows of all merchants. */
static bool
reads_all_merchants(void)
{
	static const char *const readers[] = {"payments_operator", "payments_admin", "payments_auditor"};

	for (int i = 0; i < (int) lengthof(readers); i++)
	{
		Oid			role = get_role_oid(readers[i], true);

		if (OidIsValid(role) && has_privs_of_role(pay_caller(), role))
			return true;
	}
	return false;
}

/*
 * _act_for_all(deciding): until it is called with false, verbs act for every
 * merchant.  For resolve_discrepancy(): an operator decides whosever the money
 * is, through the same verbs as everybody.  An error ends the subtransaction,
 * and what holds only in that ends with it.
 */
Datum
pay_act_for_all(PG_FUNCTION_ARGS)
{
	deciding_lxid = PG_GETARG_BOOL(0) ? PayMyLocalTransactionId() : InvalidLocalTransactionId;
	deciding_subid = GetCurrentSubTransactionId();
	PG_RETURN_VOID();
}

bool
pay_carries_out_decision(void)
{
	return LocalTransactionIdIsValid(deciding_lxid) && deciding_lxid == PayMyLocalTransactionId() &&
		deciding_subid == GetCurrentSubTransactionId();
}

/* _require_merchant(merchant): unless the caller may see the rows of all. */
Datum
pay_require_merchant_sql(PG_FUNCTION_ARGS)
{
	char	   *merchant = pay_text_argument(fcinfo, 0);

	pay_spi_begin();
	if (!reads_all_merchants())
		pay_require_merchant(merchant);
	pay_spi_end();
	PG_RETURN_VOID();
}
