/*
 * src/format/bank.h
 *		Statements of banks: camt.053 and MT940.
 *
 * Rows come as PayBankRow; what they point at is good until the next call.
 */
#ifndef PAY_SETTLEMENT_BANK_H
#define PAY_SETTLEMENT_BANK_H

#include "base/xml.h"
#include "format/format.h"

#include "lib/stringinfo.h"

/* The books of one statement, in the course of reading it. */
typedef struct PayBooks
{
	PayDecimal	opening;
	PayDecimal	closing;
	PayDecimal	booked;			/* sum of booked entries, signed */
	PayDecimal	credits;		/* sums of entries of any status, without sign */
	PayDecimal	debits;
	int			entries;
	bool		all_booked;
} PayBooks;

/* opening + booked = closing, where both are given. */
extern PayFileResult pay_books_check(const PayBooks *books, PayFileProblem *problem, int line);
/* Takes a signed entry in; false when the sum overflows. */
extern bool pay_books_add(PayBooks *books, const PayDecimal *amount, bool is_booked);

#define PAY_CAMT_PATH_BYTES 1024

/* A booking or one of its transactions, being read. */
typedef struct PayCamtItem
{
	PayBankRow	row;
	StringInfoData remittance;
	StringInfoData code;
	StringInfoData said;		/* all its texts */
	PayDecimal	amount;			/* Amt */
	PayDecimal	transaction_amount; /* AmtDtls/TxAmt */
	PayDecimal	converted;		/* the same in the account's currency, where AmtDtls says it */
	int			converted_by;	/* which of its elements did; lower ones are more to the point */
	const char *currency;
	const char *transaction_currency;
	int			sign;			/* 0: not said */
	bool		has_charges;
	size_t		offset;
	size_t		offset_end;		/* of what is its own */
} PayCamtItem;

typedef struct PayCamt
{
	PayXml		xml;
	const char *original;		/* the text as it was */
	PayFileProblem problem;
	char		path[PAY_CAMT_PATH_BYTES];
	size_t		path_bytes;
	const char *leaf_currency;	/* Ccy of the element that was opened last */
	int			statements;

	/* the statement */
	PayBankRow	statement;
	PayBooks	books;
	size_t		statement_offset;
	size_t		statement_head;	/* where its first entry begins */
	int			entries_said;	/* TxsSummry; -1: not said */
	PayDecimal	credits_said;
	PayDecimal	debits_said;
	char		balance_code[5];
	PayDecimal	balance;
	const char *balance_currency;
	int			balance_sign;
	PayMoment	balance_date;
	int			interims;
	PayDecimal	interim_first;
	PayDecimal	interim_last;
	bool		opening_is_previous;
	bool		converted;		/* an entry was in another currency */

	/* the entry */
	PayCamtItem entry;
	PayCamtItem first;			/* held back: an only transaction is told with its booking */
	PayCamtItem detail;
	int			details;
	bool		detail_pending;
	bool		details_add_up;	/* all of them say an amount in the entry's currency */
	PayDecimal	details_sum;
} PayCamt;

/* text[bytes], UTF-8, must be writable, original holds the same.  What is opened must be closed, whatever happens. */
extern void pay_camt_open(PayCamt *camt, char *text, const char *original, size_t bytes);
extern void pay_camt_close(PayCamt *camt);
extern PayFileResult pay_camt_next(PayCamt *camt, PayBankRow *row) __attribute__((warn_unused_result));

/* A field: ":61:" and what stands behind it, up to the next. */
typedef struct PayMt940Field
{
	char		tag[4];
	char	   *value;			/* lines apart by LF, without blanks at their ends */
	int			line;
	size_t		offset;			/* from its tag */
	size_t		offset_end;		/* to behind its last line */
} PayMt940Field;

/* What the text of an entry (:86:) says. */
typedef struct PayMt940Text
{
	StringInfoData remittance;
	StringInfoData name;		/* of the other side */
	char		account[64];
	char		end_to_end_id[64];
} PayMt940Text;

typedef struct PayMt940
{
	char	   *at;
	char	   *end;
	const char *original;
	char	   *start;
	const char *next_tag;		/* the field that follows what was looked at, the end if none does */
	bool		next_begins;	/* it is :20: */
	PayFileProblem problem;
	int			line;			/* of what comes next, from 1 */
	int			statements;
	bool		in_statement;
	bool		in_entry;
	bool		has_field;		/* it was read, and not looked at */
	PayMt940Field field;
	PayBankRow	statement;
	PayBankRow	entry;
	PayBooks	books;
	const char *currency;
	StringInfoData supplement;	/* what stands below :61: */
	StringInfoData details;		/* :86:, lines joined */
	PayMt940Text text;
	size_t		entry_offset;
	size_t		entry_end;
	char		code[5];
} PayMt940;

extern void pay_mt940_open(PayMt940 *file, char *text, const char *original, size_t bytes);
extern PayFileResult pay_mt940_next(PayMt940 *file, PayBankRow *row) __attribute__((warn_unused_result));

/* Joins the lines of a text of :86: to those before. */
extern void pay_mt940_text_add(StringInfo details, char *value);
/* Takes a text apart. */
extern void pay_mt940_text_read(const char *details, PayMt940Text *text);

#endif							/* PAY_SETTLEMENT_BANK_H */
