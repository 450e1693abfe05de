/*
 * src/ledger/arguments.c
 *		What the ledger's verbs check before they lock or write anything.
 *
 * Reads only; takes no locks but those of plain SELECTs.
 */
#include "payments.h"

#include "ledger/arguments.h"

#include "base/pan.h"
#include "core/merchant.h"
#include "payment/route.h"

#include "utils/builtins.h"

void
pay_ledger_require_merchants(const PayPostingBatch *batch)
{
	const char *last = NULL;

	for (int i = 0; i < batch->n_accounts; i++)
	{
		const PayAccount *account = &batch->accounts[i];

		/* Most batches are one merchant's. */
		if (last == NULL || strcmp(account->merchant, last) != 0)
			pay_require_merchant_role(account->merchant, pay_route_find(account->merchant, NULL, account->currency)->app_role);
		last = account->merchant;
	}
}

int
pay_ledger_check_accounts(const PayPosting *posting)
{
	if (posting->debit_account == NULL || posting->credit_account == NULL)
		return PAY_ERR_ACCOUNT_NOT_FOUND;
	if (strcmp(posting->debit_account->currency, posting->credit_account->currency) != 0)
		return PAY_ERR_CURRENCY_MISMATCH;
	return 0;
}

/* ---------- arguments ---------- */

char *
pay_text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

void
pay_require_given(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be null", name),
				 errhint("Pass a value for it.")));
}

void
pay_require_length(const char *text, size_t bytes_max, const char *name)
{
	if (text[0] == '\0' || strlen(text) > bytes_max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have 1 to %zu bytes", name, bytes_max),
				 errhint("Pass a shorter text that is not empty.")));
}

bool
pay_holds_card_number(const char *text)
{
	return text != NULL && pay_pan_found(text, strlen(text));
}

void
pay_refuse_card_number(const char *text, const char *name)
{
	if (pay_holds_card_number(text))
		ereport(ERROR,
				(errcode(PAY_ERR_CARD_NUMBER),
				 errmsg("%s seems to contain a card number", name),
				 errhint("Keep card numbers out of the database; pass the PSP's token instead."),
				 errhidestmt(true),
				 errhidecontext(true)));
}

void
pay_require_text(const char *text, size_t bytes_max, const char *name)
{
	if (text == NULL)
		return;
	pay_require_length(text, bytes_max, name);
	pay_refuse_card_number(text, name);
}
