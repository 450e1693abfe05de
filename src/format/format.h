/*
 * src/format/format.h
 *		What a PSP's settlement file or a bank's statement says, row by row.
 *
 * Readers of formats are pure: bytes in, rows out, no server but its memory.
 * They read in place; text in a row points into the file and ends with it.
 * When one returns PAY_FILE_BROKEN, line and problem say where and why; the
 * problem names columns and tags, never what stood there but an amount.
 */
#ifndef PAY_SETTLEMENT_FORMAT_H
#define PAY_SETTLEMENT_FORMAT_H

#include "format/value.h"

typedef enum PayFileResult
{
	PAY_FILE_ROW,
	PAY_FILE_END,
	PAY_FILE_BROKEN,
} PayFileResult;

#define PAY_PROBLEM_BYTES 200

typedef struct PayFileProblem
{
	int			line;
	bool		totals;			/* all could be read, but it does not add up */
	char		text[PAY_PROBLEM_BYTES];
} PayFileProblem;

/* Notes what is wrong and returns PAY_FILE_BROKEN. */
extern PayFileResult pay_file_broken(PayFileProblem *problem, int line, const char *format,...) pg_attribute_printf(3, 4);

/* What the columns of a CSV can mean.  pay_cell_names has a name for each of the first, by which options.columns gives them. */
typedef enum PayCell
{
	PAY_CELL_TYPE,
	PAY_CELL_ENTRY,
	PAY_CELL_OBJECT_ID,
	PAY_CELL_PAYMENT_ID,
	PAY_CELL_REFERENCE,
	PAY_CELL_GROSS,
	PAY_CELL_FEE,
	PAY_CELL_NET,
	PAY_CELL_CURRENCY,
	PAY_CELL_ORIGINAL_AMOUNT,
	PAY_CELL_ORIGINAL_CURRENCY,
	PAY_CELL_OCCURRED,
	PAY_CELL_AVAILABLE,
	PAY_CELL_PAYOUT,
	PAY_CELL_DESCRIPTION,
	PAY_CELLS_NAMED,

	/* of one format each */
	PAY_CELL_OCCURRED_UTC = PAY_CELLS_NAMED,
	PAY_CELL_AVAILABLE_UTC,
	PAY_CELL_CHARGE,
	PAY_CELL_ACCOUNT,
	PAY_CELL_MODIFICATION,
	PAY_CELL_ZONE,
	PAY_CELL_GROSS_CURRENCY,
	PAY_CELL_GROSS_DEBIT,
	PAY_CELL_GROSS_CREDIT,
	PAY_CELL_NET_DEBIT,
	PAY_CELL_NET_CREDIT,
	PAY_CELL_COMMISSION,
	PAY_CELL_MARKUP,
	PAY_CELL_SCHEME_FEES,
	PAY_CELL_INTERCHANGE,
	PAY_CELLS
} PayCell;

extern const char *const pay_cell_names[PAY_CELLS_NAMED];

#define PAY_KINDS_MAX 200

typedef struct PayFileOptions
{
	char		separator;		/* '\0': found out */
	char		point;			/* '.' or ',' */
	PayDateOrder dates;
	const char *currency;		/* of rows without one; or NULL */
	PayGrouping grouping;
	bool		fee_added;		/* net = gross + fee: it is below zero where it costs */
	const char *columns[PAY_CELLS_NAMED];	/* header names that replace the format's; or NULL */
	bool		left_out[PAY_CELLS_NAMED];	/* though the format would read it */
	int			kinds;			/* words of the file's type column, and the kinds they mean */
	const char *types[PAY_KINDS_MAX];
	const char *kind_of_type[PAY_KINDS_MAX];
} PayFileOptions;

/* One row of a PSP's file.  NULL and .given == false: not said.  net = gross - fee, signed as the balance sees it. */
typedef struct PaySettlementRow
{
	int			line;
	const char *kind;
	const char *type;			/* the PSP's word */
	const char *entry_id;		/* the PSP's own number of the row: the same again is the same row */
	const char *object_id;
	const char *payment_id;
	const char *reference;
	PayDecimal	gross;
	PayDecimal	fee;
	PayDecimal	net;
	const char *currency;
	PayDecimal	original;		/* what the payer was charged, where that was in another currency */
	const char *original_currency;
	PayMoment	occurred;
	PayMoment	available;
	const char *zone;			/* of moments without one; NULL: see the options */
	const char *payout;
	const char *description;
	int			cells;			/* the row as it stood, in CSV */
	char	  **cell_names;
	char	  **cell_values;
	const char *json;			/* in JSON; or NULL */
	size_t		json_bytes;
	const char *json_omit;		/* a member that is kept when it is a text, and not otherwise, */
	const char *json_instead;	/* and what is kept in its place; NULL: null */
	char		buffer[256];	/* what was put together from several cells */
} PaySettlementRow;

/* Statement and entries of a bank; entries come before the statement that they are of. */
typedef struct PayBankRow
{
	bool		is_statement;
	int			line;
	int			statement_no;	/* in the file, from 1 */
	int			entry_no;		/* in the statement, from 1 */
	int			detail_no;		/* 0: the booking; from 1: one of the transactions that it bundles */
	const char *status;			/* booked, pending, info */
	const char *account;		/* of the statement */
	const char *statement_id;
	PayDecimal	amount;			/* signed: positive is money in */
	const char *currency;
	bool		reversal;
	PayMoment	booking_date;
	PayMoment	value_date;
	const char *end_to_end_id;
	const char *bank_reference;
	const char *reference;
	const char *remittance;
	const char *counterparty;
	const char *counterparty_account;
	const char *code;
	PayDecimal	opening;		/* of the statement */
	PayDecimal	closing;
	PayMoment	opening_date;
	PayMoment	closing_date;
	int			entries;
	const char *raw;			/* as it stood in the file */
	size_t		raw_bytes;
	bool		hides;			/* raw has a card number in parts, which only reading puts together */
} PayBankRow;

#endif							/* PAY_SETTLEMENT_FORMAT_H */
