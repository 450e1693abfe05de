/*
 * src/format/generic_report.c
 *		Any settlement CSV: the caller says which column means what.
 *
 * Without a mapping, a column that has the name of a cell is that cell.  Two of
 * gross, fee and net are enough.  A type that options.kinds does not name is a
 * kind when it has the name of one.
 */
#include "payments.h"

#include "format/csv_report.h"

static PayFileResult interpret(PayCsvFile *file, PaySettlementRow *row);

static const PayColumnName columns[] = {
	{PAY_CELL_TYPE, "type"},
	{PAY_CELL_TYPE, "kind"},
	{PAY_CELL_ENTRY, "entry_id"},
	{PAY_CELL_OBJECT_ID, "psp_object_id"},
	{PAY_CELL_PAYMENT_ID, "psp_payment_id"},
	{PAY_CELL_REFERENCE, "reference"},
	{PAY_CELL_GROSS, "gross"},
	{PAY_CELL_GROSS, "amount"},
	{PAY_CELL_FEE, "fee"},
	{PAY_CELL_NET, "net"},
	{PAY_CELL_CURRENCY, "currency"},
	{PAY_CELL_ORIGINAL_AMOUNT, "original_amount"},
	{PAY_CELL_ORIGINAL_CURRENCY, "original_currency"},
	{PAY_CELL_OCCURRED, "occurred_at"},
	{PAY_CELL_AVAILABLE, "available_at"},
	{PAY_CELL_PAYOUT, "payout_ref"},
	{PAY_CELL_DESCRIPTION, "description"},
};

/* Without an amount, what stands there as the header is a line of a file that has none: its money would be left out. */
const PayCsvFormat pay_csv_generic = {columns, lengthof(columns), interpret, {PAY_CELL_GROSS, PAY_CELL_NET}};

static const PayKindWord words[] = {
	{"charge", "charge"}, {"refund", "refund"}, {"refund_failure", "refund_failure"}, {"fee", "fee"}, {"chargeback", "chargeback"},
	{"chargeback_reversal", "chargeback_reversal"}, {"adjustment", "adjustment"}, {"reserve", "reserve"},
	{"reserve_release", "reserve_release"}, {"transfer", "transfer"}, {"payout", "payout"}, {"payout_failure", "payout_failure"},
	{"fx", "fx"},
};

bool
pay_csv_is_of_payment(const char *kind)
{
	static const char *const kinds[] = {"charge", "refund", "refund_failure", "chargeback", "chargeback_reversal"};

	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i], kind) == 0)
			return true;
	return false;
}

bool
pay_csv_is_kind(const char *word)
{
	for (size_t i = 0; i < lengthof(words); i++)
		if (strcmp(words[i].kind, word) == 0)
			return true;
	return strcmp(word, "unknown") == 0;
}

static PayFileResult
interpret(PayCsvFile *file, PaySettlementRow *row)
{
	row->kind = pay_csv_kind(file, row->type, words, lengthof(words));
	if (!row->gross.given && !row->net.given)
		return pay_file_broken(&file->problem, row->line, "neither gross nor net is given");
	if (row->currency == NULL)
		return pay_file_broken(&file->problem, row->line, "there is no currency");
	return PAY_FILE_ROW;
}
