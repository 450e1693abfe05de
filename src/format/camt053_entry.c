/*
 * src/format/camt053_entry.c
 *		Entries of a statement in camt.053, and the transactions that they bundle.
 *
 * What they are to the statement, and which rows they make, is in camt053.c.
 */
#include "payments.h"

#include "format/camt053_private.h"

#include "base/pan.h"

/* Amounts in whichever currency; the one in the account's is the entry's.  The most to the point first. */
static const char *const converted_amounts[] = {
	"/AmtDtls/CntrValAmt/Amt", "/AmtDtls/TxAmt/Amt", "/AmtDtls/InstdAmt/Amt",
};

static const PayCamtText entry_texts[] = {
	{"/AcctSvcrRef", offsetof(PayBankRow, bank_reference)},
	{"/NtryRef", offsetof(PayBankRow, reference)},
};

static const PayCamtText detail_texts[] = {
	{"/Refs/EndToEndId", offsetof(PayBankRow, end_to_end_id)},
	{"/Refs/AcctSvcrRef", offsetof(PayBankRow, bank_reference)},
	{"/RmtInf/Strd/CdtrRefInf/Ref", offsetof(PayBankRow, reference)},
	{"/RmtInf/Strd/RfrdDocInf/Nb", offsetof(PayBankRow, reference)},
};

/* The other side's name and account: of money in the debtor's, of money out the creditor's. */
static const struct
{
	const char *path;
	int			sign;
	bool		is_name;
}			parties[] = {
	{"/RltdPties/Dbtr/Nm", 1, true},
	{"/RltdPties/Dbtr/Pty/Nm", 1, true},
	{"/RltdPties/DbtrAcct/Id/IBAN", 1, false},
	{"/RltdPties/DbtrAcct/Id/Othr/Id", 1, false},
	{"/RltdPties/Cdtr/Nm", -1, true},
	{"/RltdPties/Cdtr/Pty/Nm", -1, true},
	{"/RltdPties/CdtrAcct/Id/IBAN", -1, false},
	{"/RltdPties/CdtrAcct/Id/Othr/Id", -1, false},
};

static bool item_leaf(PayCamt *camt, PayCamtItem *item, const char *path, const char *text);
static bool count_detail(PayCamt *camt, PayCamtItem *detail);
static bool is_foreign(const PayCamt *camt, const char *currency);
static bool convert(PayCamt *camt, PayCamtItem *entry);
static void take_over(PayBankRow *entry, const PayBankRow *detail);

void
pay_camt_begin_item(PayCamtItem *item, int line, size_t offset)
{
	StringInfoData remittance = item->remittance,
				code = item->code,
				said = item->said;

	memset(item, 0, sizeof(*item));
	item->remittance = remittance;
	item->code = code;
	item->said = said;
	resetStringInfo(&item->remittance);
	resetStringInfo(&item->code);
	resetStringInfo(&item->said);
	item->row.line = line;
	item->offset = offset;
}

/* Free text goes on from one element to the next, whereever the bank cuts it; nothing else does. */
void
pay_camt_say(PayCamtItem *item, const char *path, const char *text)
{
	bool		goes_on = strcmp(path, "/RmtInf/Ustrd") == 0 || strcmp(path, "/AddtlTxInf") == 0 || strcmp(path, "/AddtlNtryInf") == 0;

	appendStringInfo(&item->said, goes_on ? "%s" : "    %s    ", text);
}

static bool
item_leaf(PayCamt *camt, PayCamtItem *item, const char *path, const char *text)
{
	if (strcmp(path, "/Amt") == 0)
	{
		item->currency = camt->leaf_currency;
		return pay_camt_read_amount(camt, text, &item->amount);
	}
	if (strcmp(path, "/CdtDbtInd") == 0)
		return pay_camt_read_sign(camt, text, &item->sign);
	for (int i = 0; i < (int) lengthof(converted_amounts); i++)
		if (strcmp(path, converted_amounts[i]) == 0 && camt->leaf_currency && !is_foreign(camt, camt->leaf_currency) &&
			(!item->converted.given || i < item->converted_by))
		{
			item->converted_by = i;
			return pay_camt_read_amount(camt, text, &item->converted);
		}
	if (strcmp(path, "/BkTxCd/Domn/Cd") == 0 || strcmp(path, "/BkTxCd/Domn/Fmly/Cd") == 0 || strcmp(path, "/BkTxCd/Domn/Fmly/SubFmlyCd") == 0 ||
		strcmp(path, "/BkTxCd/Prtry/Cd") == 0)
		appendStringInfo(&item->code, "%s%s", item->code.len > 0 ? "/" : "", text);
	return true;
}

bool
pay_camt_entry_leaf(PayCamt *camt, const char *path, const char *text)
{
	PayBankRow *row = &camt->entry.row;

	if (pay_camt_set_text(row, entry_texts, lengthof(entry_texts), path, text))
		return true;
	if (strcmp(path, "/Sts") == 0 || strcmp(path, "/Sts/Cd") == 0)
	{
		row->status = strcmp(text, "BOOK") == 0 ? "booked" : strcmp(text, "PDNG") == 0 ? "pending" :
			strcmp(text, "INFO") == 0 || strcmp(text, "FUTR") == 0 ? "info" : NULL;
		return row->status != NULL || pay_camt_broken(camt, "the status of an entry is none of BOOK, PDNG, INFO and FUTR") == PAY_FILE_ROW;
	}
	if (strcmp(path, "/RvslInd") == 0)
		row->reversal = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
	else if (strcmp(path, "/BookgDt/Dt") == 0 || strcmp(path, "/BookgDt/DtTm") == 0)
		return pay_camt_read_date(camt, text, &row->booking_date);
	else if (strcmp(path, "/ValDt/Dt") == 0 || strcmp(path, "/ValDt/DtTm") == 0)
		return pay_camt_read_date(camt, text, &row->value_date);
	else if (strcmp(path, "/AddtlNtryInf") == 0)
		appendStringInfo(&camt->entry.remittance, "%s%s", camt->entry.remittance.len > 0 ? " " : "", text);
	return item_leaf(camt, &camt->entry, path, text);
}

bool
pay_camt_detail_leaf(PayCamt *camt, const char *path, const char *text)
{
	PayCamtItem *item = &camt->detail;
	int			sign = item->sign ? item->sign : camt->entry.sign;

	if (strcmp(path, "/Refs/EndToEndId") == 0 && strcmp(text, "NOTPROVIDED") == 0)
		return true;
	if (pay_camt_set_text(&item->row, detail_texts, lengthof(detail_texts), path, text))
		return true;
	if (strcmp(path, "/RmtInf/Ustrd") == 0 || strcmp(path, "/AddtlTxInf") == 0)
		appendStringInfo(&item->remittance, "%s%s", item->remittance.len > 0 ? " " : "", text);
	else if (strcmp(path, "/AmtDtls/TxAmt/Amt") == 0)
	{
		item->transaction_currency = camt->leaf_currency;
		if (!pay_camt_read_amount(camt, text, &item->transaction_amount))
			return false;
	}
	for (int i = 0; i < (int) lengthof(parties); i++)
		if (parties[i].sign == sign && strcmp(path, parties[i].path) == 0)
		{
			if (parties[i].is_name)
				item->row.counterparty = text;
			else
				item->row.counterparty_account = text;
		}
	return item_leaf(camt, item, path, text);
}

bool
pay_camt_end_detail(PayCamt *camt, PayBankRow *row, bool *is_row)
{
	PayCamtItem swap;

	camt->detail.offset_end = camt->xml.offset_end;
	camt->detail.row.detail_no = ++camt->details;
	if (!count_detail(camt, &camt->detail))
		return false;
	if (camt->details == 1)
	{
		swap = camt->first;
		camt->first = camt->detail;
		camt->detail = swap;
		return true;
	}
	if (camt->details == 2)
	{
		pay_camt_emit(camt, &camt->first, row);
		camt->detail_pending = true;
	}
	else
		pay_camt_emit(camt, &camt->detail, row);
	*is_row = true;
	return true;
}

/* Completes a transaction from its booking, and adds it up. */
static bool
count_detail(PayCamt *camt, PayCamtItem *detail)
{
	PayCamtItem *entry = &camt->entry;
	PayBankRow *row = &detail->row;

	if (!entry->amount.given || entry->currency == NULL || entry->sign == 0 || entry->row.status == NULL)
		return pay_camt_broken(camt, "a transaction stands before the amount, currency, CdtDbtInd or status of its entry") == PAY_FILE_ROW;
	if (!detail->amount.given && detail->transaction_amount.given)
	{
		detail->amount = detail->transaction_amount;
		detail->currency = detail->transaction_currency;
	}
	if (is_foreign(camt, entry->currency) && detail->converted.given)
	{
		detail->amount = detail->converted;
		detail->currency = camt->statement.currency;
	}
	row->entry_no = camt->books.entries + 1;
	row->statement_no = camt->statements;
	row->status = entry->row.status;
	row->reversal = entry->row.reversal;
	row->booking_date = entry->row.booking_date;
	row->value_date = entry->row.value_date;
	row->currency = detail->currency ? detail->currency : entry->currency;
	row->amount = detail->amount;
	row->amount.digits *= detail->sign ? detail->sign : entry->sign;
	if (!detail->amount.given || detail->currency == NULL ||
		strcmp(is_foreign(camt, entry->currency) ? camt->statement.currency : entry->currency, detail->currency) != 0)
		camt->details_add_up = false;
	else if (!pay_decimal_add(&camt->details_sum, &row->amount, 1))
		return pay_camt_broken(camt, "the amounts of its transactions are too large") == PAY_FILE_ROW;
	return true;
}

bool
pay_camt_end_entry(PayCamt *camt, PayBankRow *row)
{
	PayCamtItem *entry = &camt->entry;

	if (!entry->amount.given || entry->currency == NULL || entry->sign == 0 || entry->row.status == NULL)
		return pay_camt_broken(camt, "an entry has no amount, currency, CdtDbtInd or status") == PAY_FILE_ROW;
	if (is_foreign(camt, entry->currency) && !convert(camt, entry))
		return pay_camt_broken(camt, "an entry is in another currency than the account, and no amount in the account's stands with it") == PAY_FILE_ROW;
	camt->statement.currency = entry->currency;
	entry->row.amount = entry->amount;
	entry->row.amount.digits *= entry->sign;
	entry->row.currency = entry->currency;
	if (camt->details > 1 && camt->details_add_up && !entry->has_charges && !pay_decimal_equal(&camt->details_sum, &entry->row.amount))
	{
		char		says[PAY_DECIMAL_BYTES],
					sum[PAY_DECIMAL_BYTES];

		pay_decimal_text(&entry->row.amount, says);
		pay_decimal_text(&camt->details_sum, sum);
		camt->problem.totals = true;
		return pay_file_broken(&camt->problem, entry->row.line, "the entry is %s, and its %d transactions are %s", says, camt->details, sum) == PAY_FILE_ROW;
	}
	if (!pay_books_add(&camt->books, &entry->row.amount, strcmp(entry->row.status, "booked") == 0))
		return pay_camt_broken(camt, "the amounts of its entries are too large") == PAY_FILE_ROW;
	entry->row.statement_no = camt->statements;
	entry->row.entry_no = camt->books.entries;
	if (camt->details == 1)
	{
		take_over(&entry->row, &camt->first.row);
		if (camt->first.remittance.len > 0)
		{
			resetStringInfo(&entry->remittance);
			appendBinaryStringInfo(&entry->remittance, camt->first.remittance.data, camt->first.remittance.len);
		}
		appendBinaryStringInfo(&entry->said, camt->first.said.data, camt->first.said.len);
	}
	if (camt->details <= 1 || entry->offset_end == 0)
		entry->offset_end = camt->xml.offset_end;
	pay_camt_emit(camt, entry, row);
	return true;
}

/* Until the statement has said which is its own, none is. */
static bool
is_foreign(const PayCamt *camt, const char *currency)
{
	return camt->statement.currency != NULL && strcmp(camt->statement.currency, currency) != 0;
}

/* The entry in the account's currency, as it says itself or all of its transactions do; false when neither does. */
static bool
convert(PayCamt *camt, PayCamtItem *entry)
{
	if (entry->converted.given)
		entry->amount = entry->converted;
	else if (camt->details > 0 && camt->details_add_up)
	{
		entry->amount = camt->details_sum;
		entry->amount.digits *= entry->sign;
	}
	else
		return false;
	entry->currency = camt->statement.currency;
	camt->converted = true;
	return true;
}

/* Where both have a bank reference the booking's is the one on paper. */
static void
take_over(PayBankRow *entry, const PayBankRow *detail)
{
	entry->end_to_end_id = detail->end_to_end_id;
	entry->counterparty = detail->counterparty;
	entry->counterparty_account = detail->counterparty_account;
	if (detail->reference)
		entry->reference = detail->reference;
	if (entry->bank_reference == NULL)
		entry->bank_reference = detail->bank_reference;
}

void
pay_camt_emit(PayCamt *camt, PayCamtItem *item, PayBankRow *row)
{
	*row = item->row;
	row->hides = pay_pan_found(item->said.data, item->said.len);
	if (row->hides && !pay_pan_found(item->remittance.data, item->remittance.len))
		pay_pan_blank(item->remittance.data, item->remittance.len);
	row->remittance = item->remittance.len > 0 ? item->remittance.data : NULL;
	row->code = item->code.len > 0 ? item->code.data : camt->entry.code.len > 0 ? camt->entry.code.data : NULL;
	row->raw = camt->original + item->offset;
	row->raw_bytes = item->offset_end - item->offset;
}
