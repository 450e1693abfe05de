/*
 * src/format/camt053.c
 *		camt.053, ISO 20022's statement of a bank.
 *
 * A statement opens with balances, then come its entries.  Amounts have no
 * sign: CdtDbtInd is the side that was booked, also of a reversal.  Checked:
 * opening + booked = closing, the summary where there is one, and that the
 * transactions which a booking bundles make its amount.
 *
 * A booking with one transaction is one row.  With several it is a row of its
 * own (detail_no 0), and each transaction another; only detail_no 0 counts for
 * the balance.
 *
 * The versions differ in few places: status (text, or a code inside), parties
 * (Nm, or Pty/Nm), amounts of transactions (AmtDtls, later Amt).  Any version is
 * read; one that has what is needed elsewhere is refused for want of it.
 *
 * An entry in another currency than its account counts by the amount in the
 * account's that stands with it, or with all of its transactions.
 */
#include "payments.h"

#include "format/bank.h"

/* Behind it two digits, and of some countries' own what else they like.  What stands before it is ISO's, or SWIFT's. */
#define NAMESPACE "camt.053.001."

#define MESSAGE "Document/BkToCstmrStmt/"
#define STATEMENT MESSAGE "Stmt"
#define ENTRY STATEMENT "/Ntry"
#define DETAIL ENTRY "/NtryDtls/TxDtls"

typedef struct PayCamtText
{
	const char *path;			/* below the entry, the transaction or the statement */
	size_t		offset;			/* of a const char * in PayBankRow; the first that is given wins */
} PayCamtText;

static const PayCamtText statement_texts[] = {
	{"/Id", offsetof(PayBankRow, statement_id)},
	{"/Acct/Id/IBAN", offsetof(PayBankRow, account)},
	{"/Acct/Id/Othr/Id", offsetof(PayBankRow, account)},
	{"/Acct/Ccy", offsetof(PayBankRow, currency)},
};

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

static PayFileResult broken(PayCamt *camt, const char *problem);
static bool opened(PayCamt *camt);
static bool check_root(PayCamt *camt);
static bool closed(PayCamt *camt, PayBankRow *row, bool *is_row);
static bool leaf(PayCamt *camt, const char *text);
static bool statement_leaf(PayCamt *camt, const char *path, const char *text);
static bool balance_leaf(PayCamt *camt, const char *path, const char *text);
static bool end_balance(PayCamt *camt);
static bool end_statement(PayCamt *camt, PayBankRow *row);
static bool item_leaf(PayCamt *camt, PayCamtItem *item, const char *path, const char *text);
static bool entry_leaf(PayCamt *camt, const char *path, const char *text);
static bool detail_leaf(PayCamt *camt, const char *path, const char *text);
static void begin_item(PayCamtItem *item, int line, size_t offset);
static bool end_detail(PayCamt *camt, PayBankRow *row, bool *is_row);
static bool end_entry(PayCamt *camt, PayBankRow *row);
static bool count_detail(PayCamt *camt, PayCamtItem *detail);
static bool is_foreign(const PayCamt *camt, const char *currency);
static bool convert(PayCamt *camt, PayCamtItem *entry);
static void take_over(PayBankRow *entry, const PayBankRow *detail);
static void emit(PayCamt *camt, PayCamtItem *item, PayBankRow *row);
static bool set_text(PayBankRow *row, const PayCamtText *texts, int n, const char *path, const char *text);
static bool read_amount(PayCamt *camt, const char *text, PayDecimal *out);
static bool read_sign(PayCamt *camt, const char *text, int *out);
static bool read_date(PayCamt *camt, const char *text, PayMoment *out);
static const char *below(const char *path, const char *prefix);

void
pay_camt_open(PayCamt *camt, char *text, const char *original, size_t bytes)
{
	memset(camt, 0, sizeof(*camt));
	pay_xml_open(&camt->xml, text, bytes);
	camt->original = original;
	initStringInfo(&camt->entry.remittance);
	initStringInfo(&camt->entry.code);
	initStringInfo(&camt->first.remittance);
	initStringInfo(&camt->first.code);
	initStringInfo(&camt->detail.remittance);
	initStringInfo(&camt->detail.code);
}

PayFileResult
pay_camt_next(PayCamt *camt, PayBankRow *row)
{
	bool		is_row = false;

	if (camt->detail_pending)
	{
		camt->detail_pending = false;
		emit(camt, &camt->detail, row);
		return PAY_FILE_ROW;
	}
	while (!is_row)
	{
		switch (pay_xml_next(&camt->xml))
		{
			case PAY_XML_OPEN:
				if (!opened(camt))
					return PAY_FILE_BROKEN;
				break;
			case PAY_XML_CLOSE:
				if (!closed(camt, row, &is_row))
					return PAY_FILE_BROKEN;
				break;
			case PAY_XML_END:
				return camt->statements > 0 ? PAY_FILE_END : broken(camt, "the file has no statement");
			case PAY_XML_BROKEN:
				return broken(camt, camt->xml.problem);
		}
	}
	return PAY_FILE_ROW;
}

static PayFileResult
broken(PayCamt *camt, const char *problem)
{
	return pay_file_broken(&camt->problem, camt->xml.line, "%s", problem);
}

/* The part of path behind prefix, NULL if it does not begin so. */
static const char *
below(const char *path, const char *prefix)
{
	size_t		n = strlen(prefix);

	return strncmp(path, prefix, n) == 0 ? path + n : NULL;
}

static bool
opened(PayCamt *camt)
{
	size_t		n = strlen(camt->xml.name);

	if (camt->path_bytes == 0 && !check_root(camt))
		return false;
	if (camt->path_bytes + n + 2 > sizeof(camt->path))
		return broken(camt, "the names of its elements are too long") == PAY_FILE_ROW;
	if (camt->path_bytes > 0)
		camt->path[camt->path_bytes++] = '/';
	memcpy(camt->path + camt->path_bytes, camt->xml.name, n + 1);
	camt->path_bytes += n;
	camt->leaf_currency = pay_xml_attribute(&camt->xml, "Ccy");

	if (strcmp(camt->path, STATEMENT) == 0)
	{
		memset(&camt->statement, 0, sizeof(camt->statement));
		memset(&camt->books, 0, sizeof(camt->books));
		camt->books.all_booked = true;
		camt->statement.line = camt->xml.line;
		camt->statement_offset = camt->xml.offset;
		camt->statement_head = 0;
		camt->entries_said = -1;
		camt->credits_said.given = camt->debits_said.given = false;
		camt->interims = 0;
		camt->opening_is_previous = false;
		camt->converted = false;
		camt->statements++;
	}
	else if (strcmp(camt->path, STATEMENT "/Bal") == 0)
	{
		camt->balance_code[0] = '\0';
		camt->balance.given = camt->balance_date.given = false;
		camt->balance_currency = NULL;
		camt->balance_sign = 0;
	}
	else if (strcmp(camt->path, ENTRY) == 0)
	{
		if (camt->statement_head == 0)
			camt->statement_head = camt->xml.offset;
		begin_item(&camt->entry, camt->xml.line, camt->xml.offset);
		camt->details = 0;
		camt->details_add_up = true;
		memset(&camt->details_sum, 0, sizeof(camt->details_sum));
	}
	else if (strcmp(camt->path, DETAIL) == 0)
	{
		if (camt->details == 0)
			camt->entry.offset_end = camt->xml.offset;
		begin_item(&camt->detail, camt->xml.line, camt->xml.offset);
	}
	else if (strcmp(camt->path, ENTRY "/Chrgs") == 0 || strcmp(camt->path, DETAIL "/Chrgs") == 0)
		camt->entry.has_charges = true;
	return true;
}

static bool
check_root(PayCamt *camt)
{
	for (int i = 0; i < camt->xml.n; i++)
	{
		const char *version = strstr(camt->xml.values[i], NAMESPACE);
		size_t		digits;

		if (version == NULL || strncmp(camt->xml.attributes[i], "xmlns", 5) != 0)
			continue;
		version += strlen(NAMESPACE);
		digits = strspn(version, "0123456789");
		if (digits == 2 && (version[2] == '\0' || version[2] == '.'))
			return strcmp(camt->xml.name, "Document") == 0 || broken(camt, "the outermost element is not Document") == PAY_FILE_ROW;
	}
	return broken(camt, "its namespace is not that of camt.053") == PAY_FILE_ROW;
}

static bool
closed(PayCamt *camt, PayBankRow *row, bool *is_row)
{
	size_t		n = strlen(camt->xml.name);
	bool		fine = true;

	if (camt->xml.text != NULL)
		fine = leaf(camt, camt->xml.text);
	if (!fine)
		return false;
	if (strcmp(camt->path, STATEMENT "/Bal") == 0)
		fine = end_balance(camt);
	else if (strcmp(camt->path, DETAIL) == 0)
		fine = end_detail(camt, row, is_row);
	else if (strcmp(camt->path, ENTRY) == 0)
	{
		fine = end_entry(camt, row);
		*is_row = true;
	}
	else if (strcmp(camt->path, STATEMENT) == 0)
	{
		fine = end_statement(camt, row);
		*is_row = true;
	}
	Assert(camt->path_bytes >= n);
	camt->path_bytes -= n;
	if (camt->path_bytes > 0)
		camt->path_bytes--;
	camt->path[camt->path_bytes] = '\0';
	return fine;
}

static bool
leaf(PayCamt *camt, const char *text)
{
	const char *path;

	if (*text == '\0')
		return true;
	if ((path = below(camt->path, DETAIL)) != NULL)
		return detail_leaf(camt, path, text);
	if ((path = below(camt->path, ENTRY)) != NULL)
		return entry_leaf(camt, path, text);
	if ((path = below(camt->path, STATEMENT)) != NULL)
		return statement_leaf(camt, path, text);
	return true;
}

/* ---------- statement ---------- */

static bool
statement_leaf(PayCamt *camt, const char *path, const char *text)
{
	const char *part;
	PayDecimal	number;

	if (set_text(&camt->statement, statement_texts, lengthof(statement_texts), path, text))
		return true;
	if ((part = below(path, "/Bal/")) != NULL)
		return balance_leaf(camt, part, text);
	if (strcmp(path, "/TxsSummry/TtlNtries/NbOfNtries") == 0)
	{
		if (!pay_decimal_parse(text, '.', &number) || number.scale > 0 || number.digits < 0 || number.digits > PG_INT32_MAX)
			return broken(camt, "NbOfNtries is not a number") == PAY_FILE_ROW;
		camt->entries_said = (int) number.digits;
	}
	else if (strcmp(path, "/TxsSummry/TtlCdtNtries/Sum") == 0)
		return read_amount(camt, text, &camt->credits_said);
	else if (strcmp(path, "/TxsSummry/TtlDbtNtries/Sum") == 0)
		return read_amount(camt, text, &camt->debits_said);
	return true;
}

static bool
balance_leaf(PayCamt *camt, const char *path, const char *text)
{
	if (strcmp(path, "Tp/CdOrPrtry/Cd") == 0)
		strlcpy(camt->balance_code, text, sizeof(camt->balance_code));
	else if (strcmp(path, "Amt") == 0)
	{
		camt->balance_currency = camt->leaf_currency;
		return read_amount(camt, text, &camt->balance);
	}
	else if (strcmp(path, "CdtDbtInd") == 0)
		return read_sign(camt, text, &camt->balance_sign);
	else if (strcmp(path, "Dt/Dt") == 0 || strcmp(path, "Dt/DtTm") == 0)
		return read_date(camt, text, &camt->balance_date);
	return true;
}

/* Opening and closing; interim ones stand for them on the pages of a statement that was split. */
static bool
end_balance(PayCamt *camt)
{
	const char *code = camt->balance_code;
	bool		interim = strcmp(code, "ITBD") == 0;
	bool		opening = strcmp(code, "OPBD") == 0 || (strcmp(code, "PRCD") == 0 && !camt->books.opening.given);
	bool		closing = strcmp(code, "CLBD") == 0;

	if (!opening && !closing && !interim)
		return true;			/* available balances, forecasts */
	if (!camt->balance.given || camt->balance_sign == 0 || camt->balance_currency == NULL)
		return broken(camt, "a balance has no amount, currency or CdtDbtInd") == PAY_FILE_ROW;
	if (camt->statement.currency && strcmp(camt->statement.currency, camt->balance_currency) != 0)
		return broken(camt, "a balance is in another currency than the account or another balance") == PAY_FILE_ROW;
	camt->statement.currency = camt->balance_currency;
	camt->balance.digits *= camt->balance_sign;
	if (interim)
	{
		if (camt->interims++ == 0)
			camt->interim_first = camt->balance;
		camt->interim_last = camt->balance;
		return true;
	}
	if (closing ? camt->books.closing.given : camt->books.opening.given && !camt->opening_is_previous)
		return broken(camt, "a balance is given twice") == PAY_FILE_ROW;
	if (closing)
	{
		camt->books.closing = camt->balance;
		camt->statement.closing_date = camt->balance_date;
	}
	else
	{
		camt->books.opening = camt->balance;
		camt->statement.opening_date = camt->balance_date;
		camt->opening_is_previous = strcmp(code, "PRCD") == 0;
	}
	return true;
}

static bool
end_statement(PayCamt *camt, PayBankRow *row)
{
	PayBooks   *books = &camt->books;
	PayFileProblem *problem = &camt->problem;
	int			line = camt->statement.line;

	if (camt->statement.account == NULL || camt->statement.currency == NULL)
		return broken(camt, "a statement has no account or no currency") == PAY_FILE_ROW;
	if (!books->opening.given && (books->closing.given ? camt->interims > 0 : camt->interims > 1))
		books->opening = camt->interim_first;
	if (!books->closing.given && books->opening.given && camt->interims > 0)
		books->closing = camt->interim_last;
	if (camt->converted && (!books->opening.given || !books->closing.given))
		return broken(camt, "entries are in another currency than the account, and there are no balances that they make") == PAY_FILE_ROW;
	if (pay_books_check(books, problem, line) == PAY_FILE_BROKEN)
		return false;
	problem->totals = true;
	if (camt->entries_said >= 0 && camt->entries_said != books->entries)
		return pay_file_broken(problem, line, "the statement has %d entries, and its summary says %d", books->entries, camt->entries_said) == PAY_FILE_ROW;
	/* Whether a bank counts what is pending differs. */
	if (books->all_booked && ((camt->credits_said.given && !pay_decimal_equal(&camt->credits_said, &books->credits)) ||
							  (camt->debits_said.given && !pay_decimal_equal(&camt->debits_said, &books->debits))))
	{
		char		credits[PAY_DECIMAL_BYTES],
					debits[PAY_DECIMAL_BYTES];

		pay_decimal_text(&books->credits, credits);
		pay_decimal_text(&books->debits, debits);
		return pay_file_broken(problem, line, "its entries are %s of credits and %s of debits, and the summary says otherwise", credits, debits) == PAY_FILE_ROW;
	}
	problem->totals = false;
	*row = camt->statement;
	row->is_statement = true;
	row->statement_no = camt->statements;
	row->opening = books->opening;
	row->closing = books->closing;
	row->entries = books->entries;
	row->raw = camt->original + camt->statement_offset;
	row->raw_bytes = (camt->statement_head ? camt->statement_head : camt->xml.offset_end) - camt->statement_offset;
	return true;
}

/* ---------- entries and their transactions ---------- */

static void
begin_item(PayCamtItem *item, int line, size_t offset)
{
	StringInfoData remittance = item->remittance,
				code = item->code;

	memset(item, 0, sizeof(*item));
	item->remittance = remittance;
	item->code = code;
	resetStringInfo(&item->remittance);
	resetStringInfo(&item->code);
	item->row.line = line;
	item->offset = offset;
}

static bool
item_leaf(PayCamt *camt, PayCamtItem *item, const char *path, const char *text)
{
	if (strcmp(path, "/Amt") == 0)
	{
		item->currency = camt->leaf_currency;
		return read_amount(camt, text, &item->amount);
	}
	if (strcmp(path, "/CdtDbtInd") == 0)
		return read_sign(camt, text, &item->sign);
	for (int i = 0; i < (int) lengthof(converted_amounts); i++)
		if (strcmp(path, converted_amounts[i]) == 0 && camt->leaf_currency && !is_foreign(camt, camt->leaf_currency) &&
			(!item->converted.given || i < item->converted_by))
		{
			item->converted_by = i;
			return read_amount(camt, text, &item->converted);
		}
	if (strcmp(path, "/BkTxCd/Domn/Cd") == 0 || strcmp(path, "/BkTxCd/Domn/Fmly/Cd") == 0 || strcmp(path, "/BkTxCd/Domn/Fmly/SubFmlyCd") == 0 ||
		strcmp(path, "/BkTxCd/Prtry/Cd") == 0)
		appendStringInfo(&item->code, "%s%s", item->code.len > 0 ? "/" : "", text);
	return true;
}

static bool
entry_leaf(PayCamt *camt, const char *path, const char *text)
{
	PayBankRow *row = &camt->entry.row;

	if (set_text(row, entry_texts, lengthof(entry_texts), path, text))
		return true;
	if (strcmp(path, "/Sts") == 0 || strcmp(path, "/Sts/Cd") == 0)
	{
		row->status = strcmp(text, "BOOK") == 0 ? "booked" : strcmp(text, "PDNG") == 0 ? "pending" :
			strcmp(text, "INFO") == 0 || strcmp(text, "FUTR") == 0 ? "info" : NULL;
		return row->status != NULL || broken(camt, "the status of an entry is none of BOOK, PDNG, INFO and FUTR") == PAY_FILE_ROW;
	}
	if (strcmp(path, "/RvslInd") == 0)
		row->reversal = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
	else if (strcmp(path, "/BookgDt/Dt") == 0 || strcmp(path, "/BookgDt/DtTm") == 0)
		return read_date(camt, text, &row->booking_date);
	else if (strcmp(path, "/ValDt/Dt") == 0 || strcmp(path, "/ValDt/DtTm") == 0)
		return read_date(camt, text, &row->value_date);
	else if (strcmp(path, "/AddtlNtryInf") == 0)
		appendStringInfo(&camt->entry.remittance, "%s%s", camt->entry.remittance.len > 0 ? " " : "", text);
	return item_leaf(camt, &camt->entry, path, text);
}

static bool
detail_leaf(PayCamt *camt, const char *path, const char *text)
{
	PayCamtItem *item = &camt->detail;
	int			sign = item->sign ? item->sign : camt->entry.sign;

	if (strcmp(path, "/Refs/EndToEndId") == 0 && strcmp(text, "NOTPROVIDED") == 0)
		return true;
	if (set_text(&item->row, detail_texts, lengthof(detail_texts), path, text))
		return true;
	if (strcmp(path, "/RmtInf/Ustrd") == 0 || strcmp(path, "/AddtlTxInf") == 0)
		appendStringInfo(&item->remittance, "%s%s", item->remittance.len > 0 ? " " : "", text);
	else if (strcmp(path, "/AmtDtls/TxAmt/Amt") == 0)
	{
		item->transaction_currency = camt->leaf_currency;
		if (!read_amount(camt, text, &item->transaction_amount))
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

static bool
end_detail(PayCamt *camt, PayBankRow *row, bool *is_row)
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
		emit(camt, &camt->first, row);
		camt->detail_pending = true;
	}
	else
		emit(camt, &camt->detail, row);
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
		return broken(camt, "a transaction stands before the amount, currency, CdtDbtInd or status of its entry") == PAY_FILE_ROW;
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
		return broken(camt, "the amounts of its transactions are too large") == PAY_FILE_ROW;
	return true;
}

static bool
end_entry(PayCamt *camt, PayBankRow *row)
{
	PayCamtItem *entry = &camt->entry;

	if (!entry->amount.given || entry->currency == NULL || entry->sign == 0 || entry->row.status == NULL)
		return broken(camt, "an entry has no amount, currency, CdtDbtInd or status") == PAY_FILE_ROW;
	if (is_foreign(camt, entry->currency) && !convert(camt, entry))
		return broken(camt, "an entry is in another currency than the account, and no amount in the account's stands with it") == PAY_FILE_ROW;
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
		return broken(camt, "the amounts of its entries are too large") == PAY_FILE_ROW;
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
	}
	if (camt->details <= 1 || entry->offset_end == 0)
		entry->offset_end = camt->xml.offset_end;
	emit(camt, entry, row);
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

static void
emit(PayCamt *camt, PayCamtItem *item, PayBankRow *row)
{
	*row = item->row;
	row->remittance = item->remittance.len > 0 ? item->remittance.data : NULL;
	row->code = item->code.len > 0 ? item->code.data : camt->entry.code.len > 0 ? camt->entry.code.data : NULL;
	row->raw = camt->original + item->offset;
	row->raw_bytes = item->offset_end - item->offset;
}

/* ---------- values ---------- */

static bool
set_text(PayBankRow *row, const PayCamtText *texts, int n, const char *path, const char *text)
{
	for (int i = 0; i < n; i++)
	{
		const char **field = (const char **) ((char *) row + texts[i].offset);

		if (strcmp(path, texts[i].path) != 0)
			continue;
		if (*field == NULL)
			*field = text;
		return true;
	}
	return false;
}

static bool
read_amount(PayCamt *camt, const char *text, PayDecimal *out)
{
	if (pay_decimal_parse(text, '.', out) && out->given && out->digits >= 0)
		return true;
	return broken(camt, "an amount is not a decimal number without sign") == PAY_FILE_ROW;
}

static bool
read_sign(PayCamt *camt, const char *text, int *out)
{
	*out = strcmp(text, "CRDT") == 0 ? 1 : strcmp(text, "DBIT") == 0 ? -1 : 0;
	return *out != 0 || broken(camt, "CdtDbtInd is neither CRDT nor DBIT") == PAY_FILE_ROW;
}

static bool
read_date(PayCamt *camt, const char *text, PayMoment *out)
{
	return pay_moment_parse(text, PAY_DATE_ISO, out) || broken(camt, "a date is none of ISO 8601") == PAY_FILE_ROW;
}
