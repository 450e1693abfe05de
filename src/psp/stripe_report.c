/*
 * src/psp/stripe_report.c
 *		Stripe's itemised reports as CSV: payout reconciliation, and balance.
 *
 * payout_reconciliation.itemized.5 and balance_change_from_activity.itemized.3
 * have the same columns but for the payout.  Amounts are decimal major units,
 * net = gross - fee, currencies lower case, a payout is negative.  The export of
 * balance transactions from the Dashboard has other header names for the same,
 * and the list of payouts (payouts.itemized.3) for its few.
 *
 * Which columns a report has, who asks for it says, and by default none of them
 * names the payment.  What is not said stays unsaid here: an id of something else
 * in its place would make a second movement of one that we know.
 */
#include "payments.h"

#include "psp/report.h"

static PayFileResult interpret(PayCsvFile *file, PaySettlementRow *row);

/* The second names are the Dashboard's.  reporting_category says more than type: disputes are type "adjustment". */
#define COLUMNS(payout_required) \
	{PAY_CELL_ENTRY, "balance_transaction_id", true}, \
	{PAY_CELL_ENTRY, "id"}, \
	{PAY_CELL_TYPE, "reporting_category", true}, \
	{PAY_CELL_TYPE, "type"}, \
	{PAY_CELL_GROSS, "gross", true}, \
	{PAY_CELL_GROSS, "amount"}, \
	{PAY_CELL_FEE, "fee", true}, \
	{PAY_CELL_NET, "net", true}, \
	{PAY_CELL_CURRENCY, "currency", true}, \
	{PAY_CELL_OCCURRED_UTC, "created_utc"}, \
	{PAY_CELL_OCCURRED_UTC, "created (utc)"}, \
	{PAY_CELL_OCCURRED, "created"}, \
	{PAY_CELL_AVAILABLE_UTC, "available_on_utc"}, \
	{PAY_CELL_AVAILABLE_UTC, "available on (utc)"}, \
	{PAY_CELL_AVAILABLE, "available_on"}, \
	{PAY_CELL_PAYOUT, "automatic_payout_id", payout_required}, \
	{PAY_CELL_PAYOUT, "transfer"}, \
	{PAY_CELL_OBJECT_ID, "source_id"}, \
	{PAY_CELL_OBJECT_ID, "source"}, \
	{PAY_CELL_CHARGE, "charge_id"}, \
	{PAY_CELL_PAYMENT_ID, "payment_intent_id"}, \
	{PAY_CELL_REFERENCE, "payment_metadata[payments_ref]"}, \
	{PAY_CELL_REFERENCE, "payments_ref (metadata)"}, \
	{PAY_CELL_REFERENCE, "payment_metadata[order_ref]"}, \
	{PAY_CELL_ORIGINAL_AMOUNT, "customer_facing_amount"}, \
	{PAY_CELL_ORIGINAL_CURRENCY, "customer_facing_currency"}, \
	{PAY_CELL_DESCRIPTION, "description"}

/* The list of payouts, a row each: with the balance it has the columns in common, and with payout reconciliation the look. */
#define LIST_OF_PAYOUTS \
	{PAY_CELL_PAYOUT, "payout_id"}, \
	{PAY_CELL_OBJECT_ID, "payout_id"}, \
	{PAY_CELL_OCCURRED_UTC, "effective_at_utc"}, \
	{PAY_CELL_OCCURRED, "effective_at"}

static const PayColumnName payout_columns[] = {COLUMNS(true)};
static const PayColumnName balance_columns[] = {COLUMNS(false), LIST_OF_PAYOUTS};

const PayCsvFormat pay_csv_stripe_payout = {payout_columns, lengthof(payout_columns), interpret, {0},
"payout_id", "it is the list of payouts (payouts.itemized), without what is in them: format stripe_balance reads it"};
const PayCsvFormat pay_csv_stripe_balance = {balance_columns, lengthof(balance_columns), interpret};

/*
 * Reporting categories, and types where they differ (the Dashboard's export has
 * types alone).  Kinds up to the first blank line below are about a payment and
 * may be applied to it; of the others the money is the merchant's own, or is
 * kept back.  What is not here is "unknown": kept, in suspense, and asked about.
 *
 * NULL: by the direction of the money.  K: from general knowledge of Stripe's
 * documentation, the others from its clients' sources as well.
 */
static const PayKindWord words[] = {
	{"charge", "charge"},
	{"payment", "charge"},
	/* Below zero: what a charge told in full and the payer never paid, since it was not captured or failed afterwards. */
	{"partial_capture_reversal", "charge"}, /* K; its type is "refund" */
	{"charge_failure", "charge"},	/* K */
	{"payment_failure_refund", "charge"},	/* the type of charge_failure */
	{"refund", "refund"},
	{"payment_refund", "refund"},
	{"refund_failure", "refund_failure"},
	{"dispute", "chargeback"},
	{"dispute_reversal", "chargeback_reversal"},

	{"fee", "fee"},
	{"stripe_fee", "fee"},
	{"stripe_fx_fee", "fee"},	/* K */
	{"network_cost", "fee"},
	{"tax", "fee"},
	{"tax_fee", "fee"},

	/* Between balances of the merchant's, or with lenders, connected accounts and its own cards. */
	{"application_fee", "transfer"},
	{"application_fee_refund", "transfer"},
	{"platform_earning", "transfer"},
	{"platform_earning_refund", "transfer"},
	{"transfer", "transfer"},
	{"transfer_reversal", "transfer"},
	{"transfer_cancel", "transfer"},	/* K */
	{"transfer_failure", "transfer"},	/* K */
	{"transfer_refund", "transfer"},	/* K */
	{"connect_collection_transfer", "transfer"},
	{"topup", "transfer"},
	{"topup_reversal", "transfer"},
	{"advance", "transfer"},	/* K */
	{"advance_funding", "transfer"},	/* K */
	{"anticipation_repayment", "transfer"}, /* K */
	{"financing_paydown", "transfer"},	/* K */
	{"financing_paydown_reversal", "transfer"}, /* K */
	{"financing_payout", "transfer"},	/* K */
	{"financing_payout_reversal", "transfer"},	/* K */
	{"obligation_inbound", "transfer"}, /* K */
	{"obligation_outbound", "transfer"},	/* K */
	{"obligation_reversal_inbound", "transfer"},	/* K */
	{"obligation_reversal_outbound", "transfer"},	/* K */
	{"issuing_transaction", "transfer"},	/* K */
	{"issuing_dispute", "transfer"},	/* K; of the merchant's card, not of a payment */
	{"issuing_disbursement", "transfer"},	/* K */

	{"payout", "payout"},
	{"payout_reversal", "payout_failure"},
	{"payout_failure", "payout_failure"},
	{"payout_cancel", "payout_failure"},
	{"currency_conversion", "fx"},

	{"adjustment", "adjustment"},
	{"other_adjustment", "adjustment"},
	{"contribution", "adjustment"}, /* K; to climate funds */
	{"climate_order_purchase", "adjustment"},	/* K */
	{"climate_order_refund", "adjustment"}, /* K */
	{"stripe_balance_payment_debit", "adjustment"}, /* K; an invoice of Stripe's */
	{"stripe_balance_payment_debit_reversal", "adjustment"},	/* K */

	/* Kept back, and let go. */
	{"reserve_transaction", NULL},
	{"reserved_funds", NULL},
	{"risk_reserved_funds", NULL},
	{"connect_reserved_funds", NULL},
	{"reserve_hold", NULL},		/* K */
	{"reserve_release", NULL},	/* K */
	{"payment_network_reserve_hold", NULL}, /* K */
	{"payment_network_reserve_release", NULL},	/* K */
	{"payout_minimum_balance_hold", NULL},	/* K */
	{"payout_minimum_balance_release", NULL},	/* K */
	{"issuing_authorization_hold", NULL},	/* K */
	{"issuing_authorization_release", NULL},	/* K */
};

const char *
pay_stripe_kind(const char *type, bool inward)
{
	for (size_t i = 0; i < lengthof(words); i++)
		if (pg_strcasecmp(words[i].type, type) == 0)
			return words[i].kind ? words[i].kind : inward ? "reserve_release" : "reserve";
	return "unknown";
}

static PayFileResult
interpret(PayCsvFile *file, PaySettlementRow *row)
{
	const char *charge = pay_csv_cell(file, PAY_CELL_CHARGE);

	row->kind = pay_csv_kind(file, row->type, words, lengthof(words));
	if (row->kind == NULL)
		row->kind = pay_csv_by_sign(&row->net, "reserve_release", "reserve");
	if (!row->gross.given || !row->net.given)
		return pay_file_broken(&file->problem, row->line, "gross or net is missing");
	/* A charge id in another row names the charge that is refunded or disputed, not the row's own object. */
	if (row->object_id == NULL && strcmp(row->kind, "charge") == 0)
		row->object_id = charge;
	if (row->object_id == NULL && !pay_csv_is_of_payment(row->kind))
		row->object_id = row->entry_id;
	/* A charge that was made without a PaymentIntent is the payment itself; where there is no such column, nobody knows. */
	if (row->payment_id == NULL && pay_csv_has(file, PAY_CELL_PAYMENT_ID) && pay_csv_is_of_payment(row->kind))
		row->payment_id = charge ? charge : strcmp(row->kind, "charge") == 0 ? row->object_id : NULL;
	/* The UTC column wins over one whose zone is the report's parameter. */
	if (pay_csv_cell(file, PAY_CELL_OCCURRED_UTC))
	{
		if (!pay_csv_moment(file, PAY_CELL_OCCURRED_UTC, &row->occurred))
			return PAY_FILE_BROKEN;
		row->occurred.has_zone = true;
	}
	if (pay_csv_cell(file, PAY_CELL_AVAILABLE_UTC))
	{
		if (!pay_csv_moment(file, PAY_CELL_AVAILABLE_UTC, &row->available))
			return PAY_FILE_BROKEN;
		row->available.has_zone = true;
	}
	return PAY_FILE_ROW;
}
