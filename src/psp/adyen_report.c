/*
 * src/psp/adyen_report.c
 *		Adyen's settlement details report as CSV, one per batch.
 *
 * Amounts are decimal major units, debit and credit in columns of their own;
 * (GC) is the currency of the payment, (NC) that of the payout.  Fees are in
 * Commission, or in Markup, Scheme Fees and Interchange.  Times are local to the
 * row's TimeZone.  Psp Reference is the payment, Modification Reference the
 * capture or refund.
 */
#include "payments.h"

#include "psp/report.h"

static PayFileResult interpret(PayCsvFile *file, PaySettlementRow *row);
static bool difference(PayCsvFile *file, PayCell credit, PayCell debit, PayDecimal *out);
static bool sum_fees(PayCsvFile *file, PayDecimal *fee);

static const PayColumnName columns[] = {
	{PAY_CELL_TYPE, "Type", true},
	{PAY_CELL_PAYMENT_ID, "Psp Reference", true},
	{PAY_CELL_REFERENCE, "Merchant Reference", true},
	{PAY_CELL_ACCOUNT, "Merchant Account", true},
	{PAY_CELL_MODIFICATION, "Modification Reference", true},
	{PAY_CELL_OCCURRED, "Creation Date", true},
	{PAY_CELL_ZONE, "TimeZone", true},
	{PAY_CELL_GROSS_CURRENCY, "Gross Currency", true},
	{PAY_CELL_GROSS_DEBIT, "Gross Debit (GC)", true},
	{PAY_CELL_GROSS_CREDIT, "Gross Credit (GC)", true},
	{PAY_CELL_CURRENCY, "Net Currency", true},
	{PAY_CELL_NET_DEBIT, "Net Debit (NC)", true},
	{PAY_CELL_NET_CREDIT, "Net Credit (NC)", true},
	{PAY_CELL_COMMISSION, "Commission (NC)", true},
	{PAY_CELL_MARKUP, "Markup (NC)"},
	{PAY_CELL_SCHEME_FEES, "Scheme Fees (NC)"},
	{PAY_CELL_INTERCHANGE, "Interchange (NC)"},
	{PAY_CELL_PAYOUT, "Batch Number", true},
	{PAY_CELL_AVAILABLE, "Booking Date"},
};

const PayCsvFormat pay_csv_adyen = {columns, lengthof(columns), interpret};

/*
 * Kinds up to the blank line are about a payment and may be applied to it; of the
 * others the money is the merchant's own, or is kept back.  What is not here is
 * "unknown": kept, in suspense, and asked about.  NULL: by the direction of the
 * money.  K: from general knowledge, the others from Adyen's list of journal types.
 */
static const PayKindWord words[] = {
	{"Settled", "charge"},
	{"SettledBulk", "charge"},	/* K */
	{"SettledInInstallments", "charge"},	/* K */
	{"SettledReversed", "charge"},	/* K; below zero: the capture failed after it had settled */
	{"Refunded", "refund"},
	{"RefundedBulk", "refund"}, /* K */
	{"RefundedReversed", "refund_failure"},
	{"Chargeback", "chargeback"},
	{"SecondChargeback", "chargeback"},
	{"ChargebackReversed", "chargeback_reversal"},

	{"Fee", "fee"},
	{"MiscCosts", "fee"},
	{"PaymentCost", "fee"},
	{"InvoiceDeduction", "fee"},
	{"MerchantPayout", "payout"},
	{"BankInstructionReturned", "payout_failure"},
	/* Paid to somebody's account or card by order of the merchant: no refund of a payment. */
	{"PaidOut", "transfer"},
	{"PaidOutReversed", "transfer"},
	{"Balancetransfer", "transfer"},
	{"EpaPaid", "transfer"},
	{"DepositCorrection", NULL},
	{"ManualCorrected", "adjustment"},
	{"MatchedStatement", "adjustment"},
};

static PayFileResult
interpret(PayCsvFile *file, PaySettlementRow *row)
{
	const char *account = pay_csv_cell(file, PAY_CELL_ACCOUNT),
			   *modification = pay_csv_cell(file, PAY_CELL_MODIFICATION),
			   *gross_currency = pay_csv_cell(file, PAY_CELL_GROSS_CURRENCY);
	PayDecimal	gross;

	if (!difference(file, PAY_CELL_NET_CREDIT, PAY_CELL_NET_DEBIT, &row->net) ||
		!difference(file, PAY_CELL_GROSS_CREDIT, PAY_CELL_GROSS_DEBIT, &gross) || !sum_fees(file, &row->fee))
		return PAY_FILE_BROKEN;
	row->kind = pay_csv_kind(file, row->type, words, lengthof(words));
	if (row->kind == NULL)
		row->kind = pay_csv_by_sign(&row->net, "reserve_release", "reserve");
	row->object_id = modification ? modification : row->payment_id;
	row->zone = pay_csv_cell(file, PAY_CELL_ZONE);
	if (row->payout && account)
	{
		/* Batches are counted by merchant account. */
		snprintf(row->buffer, sizeof(row->buffer), "%.120s:%.120s", account, row->payout);
		row->payout = row->buffer;
	}
	if (!gross.given)
		return PAY_FILE_ROW;
	if (row->currency && gross_currency && strcmp(gross_currency, row->currency) != 0)
	{
		row->original = gross;
		row->original_currency = gross_currency;
	}
	else
		row->gross = gross;
	return PAY_FILE_ROW;
}

static bool
difference(PayCsvFile *file, PayCell credit, PayCell debit, PayDecimal *out)
{
	PayDecimal	minus;

	if (!pay_csv_decimal(file, credit, out) || !pay_csv_decimal(file, debit, &minus))
		return false;
	if (minus.given && !pay_decimal_add(out, &minus, -1))
	{
		pay_file_broken(&file->problem, file->csv.row_line, "its amounts are too large");
		return false;
	}
	return true;
}

static bool
sum_fees(PayCsvFile *file, PayDecimal *fee)
{
	static const PayCell cells[] = {PAY_CELL_COMMISSION, PAY_CELL_MARKUP, PAY_CELL_SCHEME_FEES, PAY_CELL_INTERCHANGE};

	memset(fee, 0, sizeof(*fee));
	for (int i = 0; i < (int) lengthof(cells); i++)
	{
		PayDecimal	part;

		if (!pay_csv_decimal(file, cells[i], &part))
			return false;
		if (part.given && !pay_decimal_add(fee, &part, 1))
		{
			pay_file_broken(&file->problem, file->csv.row_line, "its fees are too large");
			return false;
		}
	}
	return true;
}
