/*
 * src/settlement/rows.c
 *		The built-in formats of settlement files as SQL functions.
 *
 * Each is an ordinary format function, (content text, options jsonb) to rows,
 * as anybody may write one: settlement_format names it, import_settlement()
 * calls it.  The readers are pure; here their rows become tuples, and what they
 * found wrong becomes an error.  Statement and context of such errors are kept
 * out of the log: the statement may be the file.
 */
#include "payments.h"

#include "base/json.h"
#include "base/pan.h"
#include "core/arguments.h"
#include "format/bank.h"
#include "psp/report.h"
#include "settlement/raw.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define PSP_COLUMNS 18
#define BANK_COLUMNS 26

/* Rows between two looks at whether the query was cancelled, and between two resets of their memory. */
#define ROWS_A_TURN 256

typedef struct PayZone
{
	bool		by_offset;
	int			seconds;		/* east */
	pg_tz	   *tz;
} PayZone;

/* A row on its way into a tuple. */
typedef struct PayTuple
{
	int			n;
	Datum		values[BANK_COLUMNS];
	bool		nulls[BANK_COLUMNS];
	bool		has_card_number;	/* in a text; import_settlement() masks it */
} PayTuple;

/* Reads the next row and makes it a tuple, in memory that is reset now and then. */
typedef PayFileResult (*PayNext) (void *file, PayTuple *tuple);

typedef struct PayCsvSource
{
	PayCsvFile	csv;
	PayZone		zone;
} PayCsvSource;

static Datum csv_rows(FunctionCallInfo fcinfo, const PayCsvFormat *format);
static PayFileResult next_csv(void *source, PayTuple *tuple);
static PayFileResult next_stripe_line(void *lines, PayTuple *tuple);
static void to_server_encoding(PaySettlementRow *row);
static void close_camt(void *camt);
static PayFileResult next_camt(void *camt, PayTuple *tuple);
static PayFileResult next_mt940(void *file, PayTuple *tuple);
static void all_rows(FunctionCallInfo fcinfo, PayNext next, void *file, const PayFileProblem *problem);
static char *writable(text *content, const char **original, size_t *bytes);
static void read_options(Jsonb *json, PayFileOptions *options, PayZone *zone);
static void read_keys(Jsonb *json, const char *allowed);
static void read_columns(Jsonb *json, PayFileOptions *options);
static void read_kinds(Jsonb *json, PayFileOptions *options);
static int	read_pairs(Jsonb *json, const char *name, const char *example, bool nulls, const char **keys, const char **values);
static const char *option_word(Jsonb *json, const char *name, const char *const *words);
static bool find_zone(const char *name, PayZone *zone);
pg_noreturn static void refuse(const PayFileProblem *problem);
static void put(PayTuple *tuple, Datum value, bool isnull);
static void put_text(PayTuple *tuple, const char *text);
static void put_decimal(PayTuple *tuple, const PayDecimal *value);
static void put_moment(PayTuple *tuple, const PayMoment *moment, const PayZone *zone);
static void put_date(PayTuple *tuple, const PayMoment *moment);
static void put_cells(PayTuple *tuple, const PaySettlementRow *row);
static void put_raw(PayTuple *tuple, const PayBankRow *row);
static Jsonb *without(Jsonb *json, const char *member, const char *instead);
static void psp_tuple(PayTuple *tuple, const PaySettlementRow *row, const PayZone *zone);
static void bank_tuple(PayTuple *tuple, const PayBankRow *row);

PAY_FUNCTION(pay_settlement_stripe_payout);
PAY_FUNCTION(pay_settlement_stripe_balance);
PAY_FUNCTION(pay_settlement_adyen);
PAY_FUNCTION(pay_settlement_csv);
PAY_FUNCTION(pay_settlement_camt053);
PAY_FUNCTION(pay_settlement_mt940);
PAY_FUNCTION(pay_settlement_stripe_api);

Datum
pay_settlement_stripe_payout(PG_FUNCTION_ARGS)
{
	return csv_rows(fcinfo, &pay_csv_stripe_payout);
}

Datum
pay_settlement_stripe_balance(PG_FUNCTION_ARGS)
{
	return csv_rows(fcinfo, &pay_csv_stripe_balance);
}

Datum
pay_settlement_adyen(PG_FUNCTION_ARGS)
{
	return csv_rows(fcinfo, &pay_csv_adyen);
}

Datum
pay_settlement_csv(PG_FUNCTION_ARGS)
{
	return csv_rows(fcinfo, &pay_csv_generic);
}

static Datum
csv_rows(FunctionCallInfo fcinfo, const PayCsvFormat *format)
{
	PayCsvSource *source = palloc(sizeof(PayCsvSource));
	PayFileOptions *options = palloc0(sizeof(PayFileOptions));
	const char *original;
	size_t		bytes;
	char	   *copy;

	read_options(PG_GETARG_JSONB_P(1), options, &source->zone);
	copy = writable(PG_GETARG_TEXT_PP(0), &original, &bytes);
	if (pay_csv_file_open(&source->csv, format, options, copy, bytes) == PAY_FILE_BROKEN)
		refuse(&source->csv.problem);
	all_rows(fcinfo, next_csv, source, &source->csv.problem);
	return (Datum) 0;
}

static PayFileResult
next_csv(void *source, PayTuple *tuple)
{
	PayCsvSource *file = source;
	PaySettlementRow row;
	PayFileResult result = pay_csv_file_next(&file->csv, &row);
	PayZone		zone = file->zone;

	if (result != PAY_FILE_ROW)
		return result;
	if (row.zone && !find_zone(row.zone, &zone))
		return pay_file_broken(&file->csv.problem, row.line, "its time zone is not known");
	psp_tuple(tuple, &row, &zone);
	put_cells(tuple, &row);
	return result;
}

Datum
pay_settlement_stripe_api(PG_FUNCTION_ARGS)
{
	PayStripeLines *lines = palloc(sizeof(PayStripeLines));
	const char *original;
	size_t		bytes;
	char	   *copy;

	read_keys(PG_GETARG_JSONB_P(1), "");
	copy = writable(PG_GETARG_TEXT_PP(0), &original, &bytes);
	/* Escapes become UTF-8, so all of it is, while it is read. */
	copy = pg_server_to_any(copy, (int) bytes, PG_UTF8);
	if (pay_stripe_lines_open(lines, copy, strlen(copy)) == PAY_FILE_BROKEN)
		refuse(&lines->problem);
	all_rows(fcinfo, next_stripe_line, lines, &lines->problem);
	return (Datum) 0;
}

static PayFileResult
next_stripe_line(void *lines, PayTuple *tuple)
{
	PayStripeLines *file = lines;
	PaySettlementRow row;
	PayFileResult result = pay_stripe_lines_next(file, &row);
	PayZone		utc = {.by_offset = true};
	Jsonb	   *raw;

	if (result != PAY_FILE_ROW)
		return result;
	/* The reader looks at brackets and at what it wants; whether all of it is JSON the server says. */
	raw = pay_json_parse(row.json, row.json_bytes);
	if (raw == NULL)
		return pay_file_broken(&file->problem, row.line, "it is not JSON, or is very large");
	if (GetDatabaseEncoding() != PG_UTF8)
		to_server_encoding(&row);
	psp_tuple(tuple, &row, &utc);
	put(tuple, JsonbPGetDatum(without(raw, row.json_omit, row.json_instead)), false);
	return result;
}

static void
to_server_encoding(PaySettlementRow *row)
{
	const char **texts[] = {&row->type, &row->entry_id, &row->object_id, &row->payment_id, &row->reference, &row->currency,
	&row->original_currency, &row->payout, &row->description, &row->json_instead};

	for (size_t i = 0; i < lengthof(texts); i++)
		if (*texts[i])
			*texts[i] = pg_any_to_server(*texts[i], (int) strlen(*texts[i]), PG_UTF8);
}

Datum
pay_settlement_camt053(PG_FUNCTION_ARGS)
{
	PayCamt    *camt = palloc0(sizeof(PayCamt));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	const char *original;
	size_t		bytes;
	char	   *copy;

	read_keys(PG_GETARG_JSONB_P(1), "");
	copy = writable(PG_GETARG_TEXT_PP(0), &original, &bytes);
	/* An error takes the parser's memory along with ours. */
	callback->func = close_camt;
	callback->arg = camt;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	pay_camt_open(camt, copy, original, bytes);
	all_rows(fcinfo, next_camt, camt, &camt->problem);
	pay_camt_close(camt);
	return (Datum) 0;
}

static void
close_camt(void *camt)
{
	pay_camt_close(camt);
}

static PayFileResult
next_camt(void *camt, PayTuple *tuple)
{
	PayBankRow	row;
	PayFileResult result = pay_camt_next(camt, &row);

	if (result == PAY_FILE_ROW)
		bank_tuple(tuple, &row);
	return result;
}

Datum
pay_settlement_mt940(PG_FUNCTION_ARGS)
{
	PayMt940   *file = palloc(sizeof(PayMt940));
	const char *original;
	size_t		bytes;
	char	   *copy;

	read_keys(PG_GETARG_JSONB_P(1), "");
	copy = writable(PG_GETARG_TEXT_PP(0), &original, &bytes);
	pay_mt940_open(file, copy, original, bytes);
	all_rows(fcinfo, next_mt940, file, &file->problem);
	return (Datum) 0;
}

static PayFileResult
next_mt940(void *file, PayTuple *tuple)
{
	PayBankRow	row;
	PayFileResult result = pay_mt940_next(file, &row);

	if (result == PAY_FILE_ROW)
		bank_tuple(tuple, &row);
	return result;
}

/* Hands out a file's rows; raises what is wrong with it.  What a reader keeps from row to row it has allocated before. */
static void
all_rows(FunctionCallInfo fcinfo, PayNext next, void *file, const PayFileProblem *problem)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context,
				caller;

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(CurrentMemoryContext, "payments settlement rows", ALLOCSET_DEFAULT_SIZES);
	for (int n = 1;; n++)
	{
		PayTuple	tuple = {0};
		PayFileResult read;

		caller = MemoryContextSwitchTo(context);
		read = next(file, &tuple);
		MemoryContextSwitchTo(caller);
		if (read == PAY_FILE_BROKEN)
			refuse(problem);
		if (read == PAY_FILE_END)
			break;
		Assert(tuple.n == result->setDesc->natts);
		tuplestore_putvalues(result->setResult, result->setDesc, tuple.values, tuple.nulls);
		if (n % ROWS_A_TURN == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(context);
		}
	}
	MemoryContextDelete(context);
}

/* A copy that the readers may write into, and the text as it is. */
static char *
writable(text *content, const char **original, size_t *bytes)
{
	char	   *copy;

	*bytes = VARSIZE_ANY_EXHDR(content);
	*original = VARDATA_ANY(content);
	copy = palloc(*bytes + 1);
	memcpy(copy, *original, *bytes);
	copy[*bytes] = '\0';
	return copy;
}

/* ---------- options ---------- */

static void
read_options(Jsonb *json, PayFileOptions *options, PayZone *zone)
{
	static const char *const separators[] = {",", ";", "tab", NULL};
	static const char *const points[] = {".", ",", NULL};
	/* In the order of PayGrouping. */
	static const char *const groupings[] = {",", ".", "'", " ", NULL};
	static const char *const fees[] = {"subtracted", "added", NULL};
	static const char *const orders[] = {"YMD", "DMY", "MDY", NULL};
	const char *word;

	read_keys(json, " separator decimal thousands fee dates timezone currency columns kinds ");
	word = option_word(json, "separator", separators);
	options->separator = word == NULL ? '\0' : strcmp(word, "tab") == 0 ? '\t' : *word;
	word = option_word(json, "decimal", points);
	options->point = word ? *word : '.';
	word = option_word(json, "thousands", groupings);
	for (int i = 0; word && groupings[i]; i++)
		if (strcmp(word, groupings[i]) == 0)
			options->grouping = PAY_GROUP_COMMA + i;
	if (word && *word == options->point)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"decimal\" and \"thousands\" are the same sign"),
				 errhint("\"decimal\" is \".\" unless it is said.")));
	word = option_word(json, "fee", fees);
	options->fee_added = word && strcmp(word, fees[1]) == 0;
	word = option_word(json, "dates", orders);
	options->dates = word == NULL || *word == 'Y' ? PAY_DATE_ISO : *word == 'D' ? PAY_DATE_DMY : PAY_DATE_MDY;
	options->currency = option_word(json, "currency", NULL);
	word = option_word(json, "timezone", NULL);
	if (!find_zone(word ? word : "UTC", zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"timezone\" is not the name of a time zone"),
				 errhint("For example \"Europe/Berlin\"; pg_timezone_names lists them."),
				 errhidestmt(true)));
	read_columns(json, options);
	read_kinds(json, options);
}

/* An option that nobody reads is a mistake that nobody notices.  amounts, totals and expected are import_settlement()'s own. */
static void
read_keys(Jsonb *json, const char *allowed)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("For example '{\"timezone\": \"Europe/Berlin\"}'."),
				 errhidestmt(true)));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(v.val.string.val, v.val.string.len);
		if (strstr(allowed, psprintf(" %s ", key)) == NULL && strstr(" amounts totals expected ", psprintf(" %s ", key)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is not known to this format", key),
					 errhint("docs/reconciliation.md lists the options of each format."),
					 errhidestmt(true)));
	}
}

static void
read_columns(Jsonb *json, PayFileOptions *options)
{
	const char *cells[PAY_KINDS_MAX],
			   *names[PAY_KINDS_MAX];
	int			n = read_pairs(json, "columns", "{\"columns\": {\"gross\": \"Amount\"}}", true, cells, names);

	for (int i = 0; i < n; i++)
	{
		int			cell = 0;

		while (cell < PAY_CELLS_NAMED && strcmp(pay_cell_names[cell], cells[i]) != 0)
			cell++;
		if (cell == PAY_CELLS_NAMED)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"columns\" names \"%s\", which no line has", cells[i]),
					 errhint("docs/reconciliation.md lists what a column can mean."),
					 errhidestmt(true)));
		options->columns[cell] = names[i];
		options->left_out[cell] = names[i] == NULL;
	}
}

static void
read_kinds(Jsonb *json, PayFileOptions *options)
{
	options->kinds = read_pairs(json, "kinds", "{\"kinds\": {\"Sale\": \"charge\"}}", false, options->types, options->kind_of_type);
	for (int i = 0; i < options->kinds; i++)
		if (!pay_csv_is_kind(options->kind_of_type[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"kinds\" names \"%s\", which is no kind of a line", options->kind_of_type[i]),
					 errhint("docs/reconciliation.md lists the kinds."),
					 errhidestmt(true)));
}

/* The keys and values of an option that is an object of strings, or of nulls as well; 0 when it is left out. */
static int
read_pairs(Jsonb *json, const char *name, const char *example, bool nulls, const char **keys, const char **values)
{
	JsonbValue	pairs,
				v;
	JsonbIterator *it;
	JsonbIteratorToken token;
	int			n = 0;
	bool		fits;

	if (getKeyJsonValueFromContainer(&json->root, name, strlen(name), &pairs) == NULL)
		return 0;
	fits = pairs.type == jbvBinary && JsonContainerIsObject(pairs.val.binary.data);
	it = fits ? JsonbIteratorInit(pairs.val.binary.data) : NULL;
	while (fits && (token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && n < PAY_KINDS_MAX)
			keys[n] = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE && v.type == jbvString)
			values[n++] = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE && v.type == jbvNull && nulls)
			values[n++] = NULL;
		else
			fits = token == WJB_BEGIN_OBJECT || token == WJB_END_OBJECT;
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be an object of at most %d strings", name, PAY_KINDS_MAX),
				 errhint("For example '%s'.", example),
				 errhidestmt(true)));
	return n;
}

/* The text of an option, one of words unless that is NULL. */
static const char *
option_word(Jsonb *json, const char *name, const char *const *words)
{
	char	   *text = pay_json_text(json, name);
	bool		known = words == NULL;

	if (text == NULL && !pay_json_exists(json, name))
		return NULL;
	for (int i = 0; text && !known && words[i]; i++)
		known = strcmp(words[i], text) == 0;
	if (text == NULL || !known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" has a value that is not known", name),
				 errhint("docs/reconciliation.md lists the options of each format."),
				 errhidestmt(true)));
	return text;
}

/* An abbreviation is an offset, as in the server; other names are the zone database's. */
static bool
find_zone(const char *name, PayZone *zone)
{
	zone->by_offset = pay_zone_abbreviation(name, &zone->seconds);
	zone->tz = zone->by_offset ? NULL : pg_tzset(name);
	return zone->by_offset || (zone->tz != NULL && pg_tz_acceptable(zone->tz));
}

static void
refuse(const PayFileProblem *problem)
{
	if (problem->totals)
		ereport(ERROR,
				(errcode(PAY_ERR_FILE_TOTALS),
				 errmsg("the settlement file does not add up"),
				 errdetail("Line %d: %s.", problem->line, problem->text),
				 errhint("Nothing was imported. Lines are missing or doubled: get the file again from its sender."),
				 errhidestmt(true)));
	ereport(ERROR,
			(errcode(PAY_ERR_FILE_BROKEN),
			 problem->line == 0 ? errmsg("the settlement file cannot be read: %s", problem->text) :
			 errmsg("line %d of the settlement file cannot be read: %s", problem->line, problem->text),
			 errhint("Nothing was imported. Get the file again, or say by options how it is written: docs/reconciliation.md."),
			 errhidestmt(true)));
}

/* ---------- tuples ---------- */

/* All but the last column: the row as it stood. */
static void
psp_tuple(PayTuple *tuple, const PaySettlementRow *row, const PayZone *zone)
{
	put(tuple, Int32GetDatum(row->line), false);
	put_text(tuple, row->kind);
	put_text(tuple, row->type);
	put_text(tuple, row->entry_id);
	put_text(tuple, row->object_id);
	put_text(tuple, row->payment_id);
	put_text(tuple, row->reference);
	put_decimal(tuple, &row->gross);
	put_decimal(tuple, &row->fee);
	put_decimal(tuple, &row->net);
	put_text(tuple, row->currency);
	put_decimal(tuple, &row->original);
	put_text(tuple, row->original_currency);
	put_moment(tuple, &row->occurred, zone);
	put_moment(tuple, &row->available, zone);
	put_text(tuple, row->payout);
	put_text(tuple, row->description);
	Assert(tuple->n == PSP_COLUMNS - 1);
}

static void
bank_tuple(PayTuple *tuple, const PayBankRow *row)
{
	put_text(tuple, row->is_statement ? "statement" : "entry");
	put(tuple, Int32GetDatum(row->line), false);
	put(tuple, Int32GetDatum(row->statement_no), false);
	put(tuple, Int32GetDatum(row->entry_no), row->is_statement);
	put(tuple, Int32GetDatum(row->detail_no), row->is_statement);
	put_text(tuple, row->status);
	put_text(tuple, row->account);
	put_text(tuple, row->statement_id);
	put_decimal(tuple, &row->amount);
	put_text(tuple, row->currency);
	put(tuple, BoolGetDatum(row->reversal), row->is_statement);
	put_date(tuple, &row->booking_date);
	put_date(tuple, &row->value_date);
	put_text(tuple, row->end_to_end_id);
	put_text(tuple, row->bank_reference);
	put_text(tuple, row->reference);
	put_text(tuple, row->remittance);
	put_text(tuple, row->counterparty);
	put_text(tuple, row->counterparty_account);
	put_text(tuple, row->code);
	put_decimal(tuple, &row->opening);
	put_decimal(tuple, &row->closing);
	put_date(tuple, &row->opening_date);
	put_date(tuple, &row->closing_date);
	put(tuple, Int32GetDatum(row->entries), !row->is_statement);
	put_raw(tuple, row);
	Assert(tuple->n == BANK_COLUMNS);
}

static void
put(PayTuple *tuple, Datum value, bool isnull)
{
	Assert(tuple->n < BANK_COLUMNS);
	tuple->values[tuple->n] = value;
	tuple->nulls[tuple->n++] = isnull;
}

static void
put_text(PayTuple *tuple, const char *text)
{
	if (pay_holds_card_number(text))
		tuple->has_card_number = true;
	put(tuple, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static void
put_decimal(PayTuple *tuple, const PayDecimal *value)
{
	put(tuple, value->given ? NumericGetDatum(int64_div_fast_to_numeric(value->digits, value->scale)) : (Datum) 0, !value->given);
}

static void
put_moment(PayTuple *tuple, const PayMoment *moment, const PayZone *zone)
{
	struct pg_tm tm = {0};
	TimestampTz result;
	int			west = moment->has_zone ? -moment->zone_seconds : -zone->seconds;

	if (!moment->given)
	{
		put(tuple, (Datum) 0, true);
		return;
	}
	tm.tm_year = moment->year;
	tm.tm_mon = moment->month;
	tm.tm_mday = moment->day;
	tm.tm_hour = moment->hour;
	tm.tm_min = moment->minute;
	tm.tm_sec = moment->second;
	if (!moment->has_zone && !zone->by_offset)
		west = DetermineTimeZoneOffset(&tm, zone->tz);
	/* Years are 1900 to 2999: it is in range. */
	if (tm2timestamp(&tm, moment->usec, &west, &result) != 0)
		elog(ERROR, "a moment of year %d is out of range", moment->year);
	put(tuple, TimestampTzGetDatum(result), false);
}

static void
put_date(PayTuple *tuple, const PayMoment *moment)
{
	put(tuple, moment->given ? DateADTGetDatum(date2j(moment->year, moment->month, moment->day) - POSTGRES_EPOCH_JDATE) : (Datum) 0, !moment->given);
}

static void
put_cells(PayTuple *tuple, const PaySettlementRow *row)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < row->cells; i++)
	{
		JsonbValue	v;

		v.type = jbvString;
		v.val.string.val = row->cell_names[i];
		v.val.string.len = strlen(row->cell_names[i]);
		(void) pushJsonbValue(&state, WJB_KEY, &v);
		v.val.string.val = row->cell_values[i];
		v.val.string.len = strlen(row->cell_values[i]);
		(void) pushJsonbValue(&state, WJB_VALUE, &v);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	put(tuple, JsonbPGetDatum(JsonbValueToJsonb(object)), false);
}

static void
put_raw(PayTuple *tuple, const PayBankRow *row)
{
	JsonbParseState *state = NULL;
	JsonbValue	v;

	if (row->raw == NULL)
	{
		put(tuple, (Datum) 0, true);
		return;
	}
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.type = jbvString;
	v.val.string.val = "text";
	v.val.string.len = 4;
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = pnstrdup(row->raw, row->raw_bytes);
	v.val.string.len = row->raw_bytes;
	/* A number that was found only now was hidden in the text: nobody can say where, so no digit of it stays. */
	if (tuple->has_card_number || row->hides || pay_raw_hides_card_number(row->raw, row->raw_bytes))
		pay_pan_blank(v.val.string.val, v.val.string.len);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	put(tuple, JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL))), false);
}

/* json with another value, text or null, for a member that is more than a text. */
static Jsonb *
without(Jsonb *json, const char *member, const char *instead)
{
	JsonbValue	value = {.type = jbvNull};
	Datum		path[1];
	Jsonb	   *other;

	if (!pay_json_exists(json, member) || pay_json_text(json, member) != NULL)
		return json;
	if (instead)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, instead);
		value.val.string.len = strlen(instead);
	}
	other = JsonbValueToJsonb(&value);
	path[0] = CStringGetTextDatum(member);
	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(json),
											  PointerGetDatum(construct_array(path, 1, TEXTOID, -1, false, TYPALIGN_INT)),
											  JsonbPGetDatum(other), BoolGetDatum(false)));
}
