/*
 * src/ledger/refusal.c
 *		What callers are told when a posting is refused.
 *
 * Batches refuse by SQLSTATE and go on (see ledger/check.c); single verbs, and
 * batches of all or nothing, raise here what the SQLSTATE means.
 */
#include "payments.h"

#include "ledger/refusal.h"

#include "access/xact.h"
#include "utils/timestamp.h"

pg_noreturn static void raise_failed_before(const PayPosting *posting);
pg_noreturn static void raise_invalid(const PayPosting *posting);
pg_noreturn static void raise_limit(const PayPosting *posting);

void
pay_ledger_raise(const PayPosting *posting)
{
	const PayAccount *account = posting->refused_by;

	if (posting->failed_before)
		raise_failed_before(posting);
	switch (posting->error)
	{
		case PAY_ERR_CURRENCY_MISMATCH:
			ereport(ERROR,
					(errcode(PAY_ERR_CURRENCY_MISMATCH),
					 errmsg("cannot post between accounts of different currencies"),
					 errdetail("Account " INT64_FORMAT " is in %s, account " INT64_FORMAT " in %s.",
							   posting->debit, posting->debit_account->currency,
							   posting->credit, posting->credit_account->currency),
					 errhint("Post in one currency; payments.exchange() posts between two.")));
			break;
		case PAY_ERR_ACCOUNT_NOT_FOUND:
			ereport(ERROR,
					(errcode(PAY_ERR_ACCOUNT_NOT_FOUND),
					 errmsg("account " INT64_FORMAT " does not exist",
							posting->debit_account ? posting->credit : posting->debit),
					 errhint("payments.account lists them; payments.create_account() makes one, or returns its id.")));
			break;
		case PAY_ERR_ACCOUNT_CLOSED:
			ereport(ERROR,
					(errcode(PAY_ERR_ACCOUNT_CLOSED),
					 errmsg("account " INT64_FORMAT " (\"%s\") is closed", account->account_id, account->code),
					 errhint("A closed account stays closed; post to another one.")));
			break;
		case PAY_ERR_LIMIT_EXCEEDED:
			raise_limit(posting);
			break;
		case PAY_ERR_BALANCE_OVERFLOW:
			ereport(ERROR,
					(errcode(PAY_ERR_BALANCE_OVERFLOW),
					 errmsg("counters of account " INT64_FORMAT " (\"%s\") cannot take " INT64_FORMAT " more",
							account->account_id, account->code, posting->amount),
					 errhint("Post a smaller amount, or open a new account and move the balance there.")));
			break;
		case PAY_ERR_POSTING_REUSED:
			ereport(ERROR,
					(errcode(PAY_ERR_POSTING_REUSED),
					 errmsg("reference \"%s\" belongs to a posting with another content", posting->reference),
					 errdetail("The postings differ in \"%s\".", posting->differs),
					 errhint("Repeat a posting with the same arguments, and give a new one a reference of its own.")));
			break;
		case PAY_ERR_PERIOD_CLOSED:
			ereport(ERROR,
					(errcode(PAY_ERR_PERIOD_CLOSED),
					 errmsg("effective_at lies in a closed period of merchant \"%s\"", account->merchant),
					 errdetail("Its books are closed up to %s.", timestamptz_to_str(account->closed_until)),
					 errhint("Pass a time from then on, or none, and say in the description what it is about.")));
			break;
		case ERRCODE_INVALID_PARAMETER_VALUE:
			raise_invalid(posting);
			break;
		case PAY_ERR_CARD_NUMBER:
			ereport(ERROR,
					(errcode(PAY_ERR_CARD_NUMBER),
					 errmsg("a text of the posting contains what looks like a card number"),
					 errhint("Pass the PSP's token for the card; if it is a number of your own, put a letter between its digits: docs/errors.md."),
					 errhidestmt(true),
					 errhidecontext(true)));
			break;
		default:
			elog(ERROR, "posting has unexpected error %s", unpack_sql_state(posting->error));
	}
	pg_unreachable();
}

static void
raise_failed_before(const PayPosting *posting)
{
	ereport(ERROR,
			(errcode(posting->error),
			 errmsg("posting \"%s\" was refused before and stays refused", posting->reference),
			 errdetail("payments.posting_failure says when and why."),
			 errhint("A new try is a new posting: give it a reference of its own.")));
}

/* What a verb has not refused already. */
static void
raise_invalid(const PayPosting *posting)
{
	if (posting->has_effective_at && !posting->imported && posting->effective_at < GetCurrentTransactionStartTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective_at lies in the past"),
				 errhint("Pass imported => true to book with an earlier time.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a posting of the batch is not valid"),
			 errhint("It needs two different accounts, an amount above zero, texts that are neither empty nor too long, and a reference and a kind of one line.")));
}

static void
raise_limit(const PayPosting *posting)
{
	const PayAccount *account = posting->refused_by;
	int64		balance = account->debit_normal ?
		account->debits + account->new_debits - (account->credits + account->new_credits) :
		account->credits + account->new_credits - (account->debits + account->new_debits);
	bool		debit = account == posting->debit_account;
	bool		below = posting->limit == PAY_LIMIT_MINIMUM;

	ereport(ERROR,
			(errcode(PAY_ERR_LIMIT_EXCEEDED),
			 errmsg("account " INT64_FORMAT " (\"%s\") would %s balance", account->account_id, account->code,
					below ? "fall below its minimum" : "rise above its maximum"),
			 errdetail("The balance is " INT64_FORMAT ", held " INT64_FORMAT ", to be posted " INT64_FORMAT
					   ", the limit " INT64_FORMAT " (minor units of %s).",
					   balance, debit ? account->held_debits : account->held_credits, posting->amount,
					   below ? account->minimum : account->maximum, account->currency),
			 errhint(below ? "Post a smaller amount, or bring money in first." :
					 "Post a smaller amount, or move money out first.")));
}
