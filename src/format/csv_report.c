/*
 * src/format/csv_report.c
 *		Settlement files in CSV: one engine, a table of columns for each format.
 *
 * Columns are found by their header names, in any order and whatever the case;
 * columns that mean nothing to us are kept in the raw row.  A row with more or
 * fewer fields than the header is broken.
 */
#include "payments.h"

#include "format/csv_report.h"

#include "base/pan.h"

static PayFileResult read_header(PayCsvFile *file);
static PayFileResult find_columns(PayCsvFile *file);
static bool is_left_out(const PayCsvFile *file, PayCell cell);
static int	find_column(const PayCsvFile *file, const char *name);
static bool same_name(const char *a, const char *b);
static void fill(PayCsvFile *file, PaySettlementRow *row);
static PayFileResult read_named(PayCsvFile *file, PaySettlementRow *row);

const char *const pay_cell_names[PAY_CELLS_NAMED] = {
	"type", "entry_id", "psp_object_id", "psp_payment_id", "reference", "gross", "fee", "net", "currency",
	"original_amount", "original_currency", "occurred_at", "available_at", "payout_ref", "description",
};

PayFileResult
pay_file_broken(PayFileProblem *problem, int line, const char *format,...)
{
	va_list		args;
	int			whole;

	problem->line = line;
	va_start(args, format);
	whole = vsnprintf(problem->text, sizeof(problem->text), format, args);
	va_end(args);
	if (whole < (int) sizeof(problem->text))
		(void) pay_pan_mask(problem->text, strlen(problem->text));
	else
		(void) pay_pan_mask_cut(problem->text, strlen(problem->text));
	return PAY_FILE_BROKEN;
}

PayFileResult
pay_csv_file_open(PayCsvFile *file, const PayCsvFormat *format, const PayFileOptions *options, char *text, size_t bytes)
{
	file->format = format;
	file->options = *options;
	memset(&file->problem, 0, sizeof(file->problem));
	pay_csv_open(&file->csv, text, bytes, options->separator ? options->separator : pay_csv_separator(text, bytes));
	if (read_header(file) == PAY_FILE_BROKEN)
		return PAY_FILE_BROKEN;
	return find_columns(file);
}

PayFileResult
pay_csv_file_next(PayCsvFile *file, PaySettlementRow *row)
{
	PayCsv	   *csv = &file->csv;

	switch (pay_csv_next(csv))
	{
		case PAY_CSV_END:
			return PAY_FILE_END;
		case PAY_CSV_BROKEN:
			return pay_file_broken(&file->problem, csv->row_line, "it %s", csv->problem);
		case PAY_CSV_ROW:
			break;
	}
	if (csv->n != file->n)
		return pay_file_broken(&file->problem, csv->row_line, "it has %d fields, and the header has %d", csv->n, file->n);
	fill(file, row);
	if (read_named(file, row) == PAY_FILE_BROKEN)
		return PAY_FILE_BROKEN;
	return file->format->interpret(file, row);
}

static PayFileResult
read_header(PayCsvFile *file)
{
	PayCsv	   *csv = &file->csv;

	switch (pay_csv_next(csv))
	{
		case PAY_CSV_END:
			return pay_file_broken(&file->problem, 1, "the file is empty");
		case PAY_CSV_BROKEN:
			return pay_file_broken(&file->problem, csv->row_line, "it %s", csv->problem);
		case PAY_CSV_ROW:
			break;
	}
	file->n = csv->n;
	for (int i = 0; i < csv->n; i++)
	{
		file->header[i] = csv->fields[i];
		for (int k = 0; k < i; k++)
			if (same_name(file->header[k], file->header[i]))
				return pay_file_broken(&file->problem, 1, "columns %d and %d of the header have the same name", k + 1, i + 1);
	}
	return PAY_FILE_ROW;
}

static PayFileResult
find_columns(PayCsvFile *file)
{
	const PayCsvFormat *format = file->format;

	for (int cell = 0; cell < PAY_CELLS; cell++)
		file->column_of[cell] = -1;
	for (int cell = 0; cell < PAY_CELLS_NAMED; cell++)
	{
		if (file->options.columns[cell] == NULL)
			continue;
		file->column_of[cell] = find_column(file, file->options.columns[cell]);
		if (file->column_of[cell] < 0)
			return pay_file_broken(&file->problem, 1, "the header has no column \"%.60s\", which the options name for %s",
								   file->options.columns[cell], pay_cell_names[cell]);
	}
	for (int i = 0; i < format->n; i++)
	{
		const PayColumnName *c = &format->columns[i];

		if (file->column_of[c->cell] < 0 && !is_left_out(file, c->cell))
			file->column_of[c->cell] = find_column(file, c->name);
	}
	if (format->others_column && find_column(file, format->others_column) >= 0)
		return pay_file_broken(&file->problem, 1, "%s", format->others_name);
	for (int i = 0; i < format->n; i++)
		if (format->columns[i].required && file->column_of[format->columns[i].cell] < 0)
			return pay_file_broken(&file->problem, 1, is_left_out(file, format->columns[i].cell) ?
								   "the options leave out column \"%s\", which the format needs" : "the header has no column \"%s\"",
								   format->columns[i].name);
	if (format->either[0] != format->either[1] && file->column_of[format->either[0]] < 0 && file->column_of[format->either[1]] < 0)
		return pay_file_broken(&file->problem, 1, "the header has neither a column \"%s\" nor \"%s\"",
							   pay_cell_names[format->either[0]], pay_cell_names[format->either[1]]);
	return PAY_FILE_ROW;
}

/* Cells of one format alone have no name in the options. */
static bool
is_left_out(const PayCsvFile *file, PayCell cell)
{
	return cell < PAY_CELLS_NAMED && file->options.left_out[cell];
}

static int
find_column(const PayCsvFile *file, const char *name)
{
	for (int i = 0; i < file->n; i++)
		if (same_name(file->header[i], name))
			return i;
	return -1;
}

static bool
same_name(const char *a, const char *b)
{
	return pg_strcasecmp(a, b) == 0;
}

/* What every format says in the same way. */
static void
fill(PayCsvFile *file, PaySettlementRow *row)
{
	memset(row, 0, sizeof(*row));
	row->line = file->csv.row_line;
	row->cells = file->n;
	row->cell_names = file->header;
	row->cell_values = file->csv.fields;
	row->type = pay_csv_cell(file, PAY_CELL_TYPE);
	row->entry_id = pay_csv_cell(file, PAY_CELL_ENTRY);
	row->object_id = pay_csv_cell(file, PAY_CELL_OBJECT_ID);
	row->payment_id = pay_csv_cell(file, PAY_CELL_PAYMENT_ID);
	row->reference = pay_csv_cell(file, PAY_CELL_REFERENCE);
	row->payout = pay_csv_cell(file, PAY_CELL_PAYOUT);
	row->description = pay_csv_cell(file, PAY_CELL_DESCRIPTION);
	row->currency = pay_csv_cell(file, PAY_CELL_CURRENCY);
	row->original_currency = pay_csv_cell(file, PAY_CELL_ORIGINAL_CURRENCY);
	if (row->currency == NULL)
		row->currency = file->options.currency;
}

static PayFileResult
read_named(PayCsvFile *file, PaySettlementRow *row)
{
	if (!pay_csv_decimal(file, PAY_CELL_GROSS, &row->gross) || !pay_csv_decimal(file, PAY_CELL_FEE, &row->fee) ||
		!pay_csv_decimal(file, PAY_CELL_NET, &row->net) || !pay_csv_decimal(file, PAY_CELL_ORIGINAL_AMOUNT, &row->original) ||
		!pay_csv_moment(file, PAY_CELL_OCCURRED, &row->occurred) || !pay_csv_moment(file, PAY_CELL_AVAILABLE, &row->available))
		return PAY_FILE_BROKEN;
	if (file->options.fee_added)
		row->fee.digits = -row->fee.digits;
	return PAY_FILE_ROW;
}

const char *
pay_csv_cell(const PayCsvFile *file, PayCell cell)
{
	int			column = file->column_of[cell];

	return column < 0 || *file->csv.fields[column] == '\0' ? NULL : file->csv.fields[column];
}

bool
pay_csv_has(const PayCsvFile *file, PayCell cell)
{
	return file->column_of[cell] >= 0;
}

bool
pay_csv_decimal(PayCsvFile *file, PayCell cell, PayDecimal *out)
{
	const char *text = pay_csv_cell(file, cell);

	if (pay_decimal_parse_grouped(text ? text : "", file->options.point, file->options.grouping, out))
		return true;
	pay_file_broken(&file->problem, file->csv.row_line, "column \"%.60s\" is not an amount with \"%c\" before its decimals%s",
					file->header[file->column_of[cell]], file->options.point,
					file->options.grouping == PAY_GROUP_NONE ? "" : " and groups of three digits");
	return false;
}

bool
pay_csv_moment(PayCsvFile *file, PayCell cell, PayMoment *out)
{
	const char *text = pay_csv_cell(file, cell);

	if (pay_moment_parse(text ? text : "", file->options.dates, out))
		return true;
	pay_file_broken(&file->problem, file->csv.row_line, "column \"%.60s\" is not a time in the order %s",
					file->header[file->column_of[cell]],
					file->options.dates == PAY_DATE_ISO ? "YMD" : file->options.dates == PAY_DATE_DMY ? "DMY" : "MDY");
	return false;
}

const char *
pay_csv_kind(const PayCsvFile *file, const char *type, const PayKindWord *words, int n)
{
	if (type == NULL)
		return "unknown";
	for (int i = 0; i < file->options.kinds; i++)
		if (same_name(file->options.types[i], type))
			return file->options.kind_of_type[i];
	for (int i = 0; i < n; i++)
		if (same_name(words[i].type, type))
			return words[i].kind;
	return "unknown";
}

const char *
pay_csv_by_sign(const PayDecimal *net, const char *positive, const char *negative)
{
	return net->digits >= 0 ? positive : negative;
}
