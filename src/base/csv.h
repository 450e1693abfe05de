/*
 * src/base/csv.h
 *		Reading CSV that others wrote: RFC 4180, strictly.
 *
 * Pure: no server, no memory of its own.  The text is read in place, and what
 * was read of it is overwritten: fields lose their quotes and end in NUL.
 */
#ifndef PAY_CSV_H
#define PAY_CSV_H

#define PAY_CSV_FIELDS_MAX 512

typedef enum PayCsvResult
{
	PAY_CSV_ROW,
	PAY_CSV_END,
	PAY_CSV_BROKEN,				/* csv->problem says why, csv->row_line where */
} PayCsvResult;

typedef struct PayCsv
{
	char	   *at;
	char	   *end;
	char		separator;
	int			line;			/* of what comes next, from 1 */
	int			row_line;		/* where the last row began */
	int			n;				/* its fields */
	char	   *fields[PAY_CSV_FIELDS_MAX];
	const char *problem;
} PayCsv;

/* text[bytes] must be writable.  A byte order mark is skipped. */
extern void pay_csv_open(PayCsv *csv, char *text, size_t bytes, char separator);
/* Blank lines are passed over at the end only; elsewhere they are a row of one empty field. */
extern PayCsvResult pay_csv_next(PayCsv *csv) __attribute__((warn_unused_result));
/* Of ',', ';' and tab the one that the first line has most of, outside quotes. */
extern char pay_csv_separator(const char *text, size_t bytes);

#endif							/* PAY_CSV_H */
