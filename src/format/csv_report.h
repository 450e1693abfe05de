/*
 * src/format/csv_report.h
 *		Settlement files in CSV: one engine, a table of columns for each format.
 */
#ifndef PAY_SETTLEMENT_CSV_H
#define PAY_SETTLEMENT_CSV_H

#include "base/csv.h"
#include "format/format.h"

/* A header name and what it means; of several for one cell the first that the file has is taken. */
typedef struct PayColumnName
{
	PayCell		cell;
	const char *name;
	bool		required;		/* one of the cell's names must be there */
} PayColumnName;

typedef struct PayCsvFile PayCsvFile;

typedef struct PayCsvFormat
{
	const PayColumnName *columns;
	int			n;
	/* Makes a row of the cells; line, cells and what has no special meaning are filled in. */
	PayFileResult (*interpret) (PayCsvFile *file, PaySettlementRow *row);
	/* Cells of which the header must have one; the same twice: no such rule. */
	PayCell		either[2];
	/* A column of another file that this one is taken for, and what that is; or NULL. */
	const char *others_column;
	const char *others_name;
} PayCsvFormat;

struct PayCsvFile
{
	const PayCsvFormat *format;
	PayFileOptions options;
	PayCsv		csv;
	int			n;				/* columns */
	char	   *header[PAY_CSV_FIELDS_MAX];
	int			column_of[PAY_CELLS];	/* -1: not there */
	PayFileProblem problem;
};

extern const PayCsvFormat pay_csv_generic;

/* Reads the header.  text[bytes] must be writable. */
extern PayFileResult pay_csv_file_open(PayCsvFile *file, const PayCsvFormat *format, const PayFileOptions *options, char *text, size_t bytes)
			__attribute__((warn_unused_result));
extern PayFileResult pay_csv_file_next(PayCsvFile *file, PaySettlementRow *row) __attribute__((warn_unused_result));

/* For interpret(). A cell's text; NULL when it is empty or has no column. */
extern const char *pay_csv_cell(const PayCsvFile *file, PayCell cell);
/* Reads a cell as an amount or a moment; the result is false when it is none, and the problem is noted. */
extern bool pay_csv_decimal(PayCsvFile *file, PayCell cell, PayDecimal *out) __attribute__((warn_unused_result));
extern bool pay_csv_moment(PayCsvFile *file, PayCell cell, PayMoment *out) __attribute__((warn_unused_result));
/* The kind that a type means: by options.kinds, else by the format's words, else "unknown". */
typedef struct PayKindWord
{
	const char *type;
	const char *kind;
} PayKindWord;
extern const char *pay_csv_kind(const PayCsvFile *file, const char *type, const PayKindWord *words, int n);
/* Does the file have a column for it? */
extern bool pay_csv_has(const PayCsvFile *file, PayCell cell);
/* Is a line of this kind about a payment? */
extern bool pay_csv_is_of_payment(const char *kind);
/* May options.kinds give a type this kind? */
extern bool pay_csv_is_kind(const char *word);
/* Two kinds that one word of a PSP can mean, by the direction of the money. */
extern const char *pay_csv_by_sign(const PayDecimal *net, const char *positive, const char *negative);

#endif							/* PAY_SETTLEMENT_CSV_H */
