/*
 * src/psp/stripe_report.c
 *		Stripe's itemised reports as CSV: payout reconciliation, and balance.
 *
 * payout_reconciliation.itemized.5 and balance_change_from_activity.itemized.3
 * have the same columns but for the payout.  Amounts are decimal major units,
 * net = gross - fee, currencies lower case, a payout is negative.  The export of
 * balance transactions from the Dashboard has other header names for the same.
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

static const PayColumnName payout_columns[] = {COLUMNS(true)};
static const PayColumnName balance_columns[] = {COLUMNS(false)};

const PayCsvFormat pay_csv_stripe_payout = {payout_columns, lengthof(payout_columns), interpret};
const PayCsvFormat pay_csv_stripe_balance = {balance_columns, lengthof(balance_columns), interpret};

/* Reporting categories, and types where they differ.  NULL: by the direction of the money. */
static const PayKindWord words[] = {
	{"charge", "charge"},
	{"payment", "charge"},
	{"charge_failure", "adjustment"},
	{"payment_failure_refund", "refund"},
	{"partial_capture_reversal", "refund"},
	{"refund", "refund"},
	{"payment_refund", "refund"},
	{"refund_failure", "refund_failure"},
	{"dispute", "chargeback"},
	{"dispute_reversal", "chargeback_reversal"},
	{"fee", "fee"},
	{"stripe_fee", "fee"},
	{"network_cost", "fee"},
	{"tax", "fee"},
	{"tax_fee", "fee"},
	{"application_fee", "transfer"},
	{"application_fee_refund", "transfer"},
	{"platform_earning", "transfer"},
	{"platform_earning_refund", "transfer"},
	{"transfer", "transfer"},
	{"transfer_reversal", "transfer"},
	{"connect_collection_transfer", "transfer"},
	{"topup", "transfer"},
	{"topup_reversal", "transfer"},
	{"payout", "payout"},
	{"payout_reversal", "payout_failure"},
	{"payout_failure", "payout_failure"},
	{"payout_cancel", "payout_failure"},
	{"currency_conversion", "fx"},
	{"adjustment", "adjustment"},
	{"other_adjustment", "adjustment"},
	{"reserve_transaction", NULL},
	{"reserved_funds", NULL},
	{"risk_reserved_funds", NULL},
	{"connect_reserved_funds", NULL},
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
	if (row->object_id == NULL)
		row->object_id = pay_csv_cell(file, PAY_CELL_ENTRY);
	if (row->payment_id == NULL)
		row->payment_id = charge;
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
