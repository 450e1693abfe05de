/*
 * src/core/merchant.c
 *		Who may act for a merchant.
 *
 * Verbs are SECURITY DEFINER, so the current role is payments_owner; the role
 * that counts is the one the session had before: GetOuterUserId().
 */
#include "payments.h"

#include "core/merchant.h"
#include "core/spi.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"

PAY_FUNCTION(pay_act_for_all);

/* The transaction, and the subtransaction of it, in which a decision is carried out. */
static LocalTransactionId deciding_lxid = InvalidLocalTransactionId;
static SubTransactionId deciding_subid;

static bool decides(void);

static PayStmt find_merchant = PAY_STMT(SPI_OK_SELECT,
	"SELECT app_role FROM payments.merchant WHERE merchant = $1", TEXTOID);

void
pay_require_merchant(const char *merchant)
{
	PayArgs		args = {0};

	pay_arg_text(&args, merchant);
	if (merchant == NULL || pay_spi_exec(&find_merchant, &args) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_MERCHANT_UNKNOWN),
				 errmsg("merchant \"%s\" does not exist", merchant ? merchant : ""),
				 errhint("Create it with payments.create_merchant().")));
	pay_require_merchant_role(merchant, pay_spi_text(0, 1));
}

void
pay_require_merchant_role(const char *merchant, const char *app_role)
{
	Oid			role;

	if (app_role == NULL || decides())
		return;
	role = get_role_oid(app_role, true);
	if (!OidIsValid(role) || !has_privs_of_role(GetOuterUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for merchant \"%s\"", merchant),
				 errhint("Only members of role \"%s\" act for this merchant.", app_role)));
}

bool
pay_reads_all_merchants(void)
{
	static const char *const readers[] = {"payments_operator", "payments_admin", "payments_auditor"};

	for (int i = 0; i < (int) lengthof(readers); i++)
	{
		Oid			role = get_role_oid(readers[i], true);

		if (OidIsValid(role) && has_privs_of_role(GetOuterUserId(), role))
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

static bool
decides(void)
{
	return LocalTransactionIdIsValid(deciding_lxid) && deciding_lxid == PayMyLocalTransactionId() &&
		deciding_subid == GetCurrentSubTransactionId();
}
