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

#include "format/camt053_private.h"

#include "base/pan.h"

/* Behind it two digits, and of some countries' own what else they like.  What stands before it is ISO's, or SWIFT's. */
#define NAMESPACE "camt.053.001."

#define MESSAGE "Document/BkToCstmrStmt/"
#define STATEMENT MESSAGE "Stmt"
#define ENTRY STATEMENT "/Ntry"
#define DETAIL ENTRY "/NtryDtls/TxDtls"

static const PayCamtText statement_texts[] = {
	{"/Id", offsetof(PayBankRow, statement_id)},
	{"/Acct/Id/IBAN", offsetof(PayBankRow, account)},
	{"/Acct/Id/Othr/Id", offsetof(PayBankRow, account)},
	{"/Acct/Ccy", offsetof(PayBankRow, currency)},
};

static bool opened(PayCamt *camt);
static bool check_root(PayCamt *camt);
static bool closed(PayCamt *camt, PayBankRow *row, bool *is_row);
static bool leaf(PayCamt *camt, const char *text);
static bool statement_leaf(PayCamt *camt, const char *path, const char *text);
static bool balance_leaf(PayCamt *camt, const char *path, const char *text);
static bool end_balance(PayCamt *camt);
static bool end_statement(PayCamt *camt, PayBankRow *row);
static const char *below(const char *path, const char *prefix);

void
pay_camt_open(PayCamt *camt, char *text, const char *original, size_t bytes)
{
	memset(camt, 0, sizeof(*camt));
	pay_xml_open(&camt->xml, text, bytes);
	camt->original = original;
	initStringInfo(&camt->entry.remittance);
	initStringInfo(&camt->entry.code);
	initStringInfo(&camt->entry.said);
	initStringInfo(&camt->first.remittance);
	initStringInfo(&camt->first.code);
	initStringInfo(&camt->first.said);
	initStringInfo(&camt->detail.remittance);
	initStringInfo(&camt->detail.code);
	initStringInfo(&camt->detail.said);
}

void
pay_camt_close(PayCamt *camt)
{
	pay_xml_close(&camt->xml);
}

PayFileResult
pay_camt_next(PayCamt *camt, PayBankRow *row)
{
	bool		is_row = false;

	if (camt->detail_pending)
	{
		camt->detail_pending = false;
		pay_camt_emit(camt, &camt->detail, row);
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
				return camt->statements > 0 ? PAY_FILE_END : pay_camt_broken(camt, "the file has no statement");
			case PAY_XML_BROKEN:
				return pay_camt_broken(camt, camt->xml.problem);
		}
	}
	return PAY_FILE_ROW;
}

PayFileResult
pay_camt_broken(PayCamt *camt, const char *problem)
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
		return pay_camt_broken(camt, "the names of its elements are too long") == PAY_FILE_ROW;
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
		pay_camt_begin_item(&camt->entry, camt->xml.line, camt->xml.offset);
		camt->details = 0;
		camt->details_add_up = true;
		memset(&camt->details_sum, 0, sizeof(camt->details_sum));
	}
	else if (strcmp(camt->path, DETAIL) == 0)
	{
		if (camt->details == 0)
			camt->entry.offset_end = camt->xml.offset;
		pay_camt_begin_item(&camt->detail, camt->xml.line, camt->xml.offset);
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
			return strcmp(camt->xml.name, "Document") == 0 || pay_camt_broken(camt, "the outermost element is not Document") == PAY_FILE_ROW;
	}
	return pay_camt_broken(camt, "its namespace is not that of camt.053") == PAY_FILE_ROW;
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
		fine = pay_camt_end_detail(camt, row, is_row);
	else if (strcmp(camt->path, ENTRY) == 0)
	{
		fine = pay_camt_end_entry(camt, row);
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
	{
		pay_camt_say(&camt->detail, path, text);
		return pay_camt_detail_leaf(camt, path, text);
	}
	if ((path = below(camt->path, ENTRY)) != NULL)
	{
		pay_camt_say(&camt->entry, path, text);
		return pay_camt_entry_leaf(camt, path, text);
	}
	if ((path = below(camt->path, STATEMENT)) != NULL)
	{
		camt->statement.hides = camt->statement.hides || pay_pan_found(text, strlen(text));
		return statement_leaf(camt, path, text);
	}
	return true;
}

/* ---------- statement ---------- */

static bool
statement_leaf(PayCamt *camt, const char *path, const char *text)
{
	const char *part;
	PayDecimal	number;

	if (pay_camt_set_text(&camt->statement, statement_texts, lengthof(statement_texts), path, text))
		return true;
	if ((part = below(path, "/Bal/")) != NULL)
		return balance_leaf(camt, part, text);
	if (strcmp(path, "/TxsSummry/TtlNtries/NbOfNtries") == 0)
	{
		if (!pay_decimal_parse(text, '.', &number) || number.scale > 0 || number.digits < 0 || number.digits > PG_INT32_MAX)
			return pay_camt_broken(camt, "NbOfNtries is not a number") == PAY_FILE_ROW;
		camt->entries_said = (int) number.digits;
	}
	else if (strcmp(path, "/TxsSummry/TtlCdtNtries/Sum") == 0)
		return pay_camt_read_amount(camt, text, &camt->credits_said);
	else if (strcmp(path, "/TxsSummry/TtlDbtNtries/Sum") == 0)
		return pay_camt_read_amount(camt, text, &camt->debits_said);
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
		return pay_camt_read_amount(camt, text, &camt->balance);
	}
	else if (strcmp(path, "CdtDbtInd") == 0)
		return pay_camt_read_sign(camt, text, &camt->balance_sign);
	else if (strcmp(path, "Dt/Dt") == 0 || strcmp(path, "Dt/DtTm") == 0)
		return pay_camt_read_date(camt, text, &camt->balance_date);
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
		return pay_camt_broken(camt, "a balance has no amount, currency or CdtDbtInd") == PAY_FILE_ROW;
	if (camt->statement.currency && strcmp(camt->statement.currency, camt->balance_currency) != 0)
		return pay_camt_broken(camt, "a balance is in another currency than the account or another balance") == PAY_FILE_ROW;
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
		return pay_camt_broken(camt, "a balance is given twice") == PAY_FILE_ROW;
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
		return pay_camt_broken(camt, "a statement has no account or no currency") == PAY_FILE_ROW;
	if (!books->opening.given && (books->closing.given ? camt->interims > 0 : camt->interims > 1))
		books->opening = camt->interim_first;
	if (!books->closing.given && books->opening.given && camt->interims > 0)
		books->closing = camt->interim_last;
	if (camt->converted && (!books->opening.given || !books->closing.given))
		return pay_camt_broken(camt, "entries are in another currency than the account, and there are no balances that they make") == PAY_FILE_ROW;
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

/* ---------- values ---------- */

bool
pay_camt_set_text(PayBankRow *row, const PayCamtText *texts, int n, const char *path, const char *text)
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

bool
pay_camt_read_amount(PayCamt *camt, const char *text, PayDecimal *out)
{
	if (pay_decimal_parse(text, '.', out) && out->given && out->digits >= 0)
		return true;
	return pay_camt_broken(camt, "an amount is not a decimal number without sign") == PAY_FILE_ROW;
}

bool
pay_camt_read_sign(PayCamt *camt, const char *text, int *out)
{
	*out = strcmp(text, "CRDT") == 0 ? 1 : strcmp(text, "DBIT") == 0 ? -1 : 0;
	return *out != 0 || pay_camt_broken(camt, "CdtDbtInd is neither CRDT nor DBIT") == PAY_FILE_ROW;
}

bool
pay_camt_read_date(PayCamt *camt, const char *text, PayMoment *out)
{
	return pay_moment_parse(text, PAY_DATE_ISO, out) || pay_camt_broken(camt, "a date is none of ISO 8601") == PAY_FILE_ROW;
}
