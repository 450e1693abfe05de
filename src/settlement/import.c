/*
 * src/settlement/import.c
 *		What import_settlement() does once a file or once a row.
 *
 * Amounts become minor units here and nowhere else: exactly, or the file is
 * refused.  Card numbers are masked in the whole file before a format function
 * sees it, so that no plug-in can store one, and once more in what it makes of
 * the file: a reader joins what stood apart.
 */
#include "payments.h"

#include "base/pan.h"
#include "core/arguments.h"
#include "core/spi.h"
#include "settlement/import.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/rel.h"

/* Everything is in memory some times over while it is read. */
#define FILE_BYTES_MAX (128 * 1024 * 1024)

/* Of a line that a message shows; what is behind is cut off after a look for card numbers. */
#define LINE_LOOKED_AT 2000
#define LINE_SHOWN 300

static bool looks_grouped(Numeric value);
static bool to_minor_units(Numeric value, int exponent, int unit, int64 *out);
static int64 required_amount(FunctionCallInfo fcinfo, int argument, int line, const char *currency, int exponent, int unit, const char *what);
pg_noreturn static void broken(int line, const char *format,...) pg_attribute_printf(2, 3);

PAY_FUNCTION(pay_mask_card_numbers);
PAY_FUNCTION(pay_settlement_amounts);
PAY_FUNCTION(pay_settlement_amount);
PAY_FUNCTION(pay_settlement_fail);
PAY_FUNCTION(pay_settlement_line);
PAY_FUNCTION(pay_mask_staged);

/*
 * _mask_card_numbers(content): the file without a byte order mark, with LF for
 * CRLF, or for CR where nothing else ends lines, without newlines at its end,
 * and with card numbers masked.
 */
Datum
pay_mask_card_numbers(PG_FUNCTION_ARGS)
{
	text	   *content = PG_GETARG_TEXT_PP(0);
	size_t		bytes = VARSIZE_ANY_EXHDR(content),
				n = 0;
	const char *from = VARDATA_ANY(content);
	text	   *result;
	char	   *to;
	bool		has_newlines;

	pay_import_require_size(bytes);
	result = palloc(VARHDRSZ + bytes);
	to = VARDATA(result);
	if (GetDatabaseEncoding() == PG_UTF8 && bytes >= 3 && memcmp(from, "\xef\xbb\xbf", 3) == 0)
	{
		from += 3;
		bytes -= 3;
	}
	has_newlines = memchr(from, '\n', bytes) != NULL;
	for (size_t i = 0; i < bytes; i++)
		if (from[i] == '\r' && !has_newlines)
			to[n++] = '\n';
		else if (from[i] != '\r' || i + 1 == bytes || from[i + 1] != '\n')
			to[n++] = from[i];
	while (n > 0 && to[n - 1] == '\n')
		n--;
	pay_mask_text_lines(to, n);
	SET_VARSIZE(result, VARHDRSZ + n);
	PG_RETURN_TEXT_P(result);
}

void
pay_import_require_size(size_t bytes)
{
	if (bytes > FILE_BYTES_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_FILE_TOO_LARGE),
				 errmsg("the settlement file has %zu bytes, and %d are possible", bytes, FILE_BYTES_MAX),
				 errhint("Ask for it in smaller periods, or by payout."),
				 errhidestmt(true)));
}

/*
 * _settlement_amounts(line_no, currency, exponent, unit, gross, fee, net)
 *		as ARRAY[gross, fee, net] in minor units.  Of gross and net one may be null,
 *		and fee.  unit: null for major units, else the decimals of the PSP's unit.
 */
Datum
pay_settlement_amounts(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"gross", "fee", "net"};
	int			line = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	char	   *currency = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	int			unit = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT32(3);
	int64		amount[3] = {0};
	Datum		result[3];

	if (PG_ARGISNULL(0))
		broken(0, "the format gives it no number");
	if (PG_ARGISNULL(2))
		broken(line, "its currency \"%.10s\" is not known", currency);
	if (PG_ARGISNULL(4) && PG_ARGISNULL(6))
		broken(line, "neither gross nor net is given");
	for (int i = 0; i < 3; i++)
		if (!PG_ARGISNULL(4 + i) && PG_ARGISNULL(3) && PG_GETARG_INT32(2) < 3 && looks_grouped(PG_GETARG_NUMERIC(4 + i)))
			broken(line, "%s has three decimals, and %s has not: is that a sign of thousands?", names[i], currency);
		else if (!PG_ARGISNULL(4 + i))
			amount[i] = required_amount(fcinfo, 4 + i, line, currency, PG_GETARG_INT32(2), unit, names[i]);
	/* Within what required_amount() lets through nothing overflows. */
	if (PG_ARGISNULL(4))
		amount[0] = amount[2] + amount[1];
	else if (PG_ARGISNULL(6))
		amount[2] = amount[0] - amount[1];
	else if (PG_ARGISNULL(5))
		amount[1] = amount[0] - amount[2];
	if (amount[0] - amount[1] != amount[2])
		broken(line, "gross " INT64_FORMAT " less fee " INT64_FORMAT " is not net " INT64_FORMAT ", in minor units", amount[0], amount[1], amount[2]);
	for (int i = 0; i < 3; i++)
		result[i] = Int64GetDatum(amount[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(result, lengthof(result), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* _settlement_amount(line_no, currency, exponent, unit, amount): null for null. */
Datum
pay_settlement_amount(PG_FUNCTION_ARGS)
{
	int			line = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	char	   *currency = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (PG_ARGISNULL(4))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0))
		broken(0, "the format gives it no number");
	if (PG_ARGISNULL(2))
		broken(line, "its currency \"%.10s\" is not known", currency);
	PG_RETURN_INT64(required_amount(fcinfo, 4, line, currency, PG_GETARG_INT32(2), PG_ARGISNULL(3) ? -1 : PG_GETARG_INT32(3), "amount"));
}

static int64
required_amount(FunctionCallInfo fcinfo, int argument, int line, const char *currency, int exponent, int unit, const char *what)
{
	Numeric		value = PG_GETARG_NUMERIC(argument);
	int64		amount;

	if (!to_minor_units(value, exponent, unit, &amount))
		broken(line, "%s %.40s is too large, or has more decimals than %s", what, numeric_normalize(value), currency);
	return amount;
}

/* "1.000" is exact as euros, and may have been meant as a thousand. */
static bool
looks_grouped(Numeric value)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(value))) == 3;
}

/* False when digits would be lost, or when it is larger than any sum of payments. */
static bool
to_minor_units(Numeric value, int exponent, int unit, int64 *out)
{
	char	   *text;
	const char *p;
	int64		amount = 0;
	int			scale = 0;
	bool		decimals = false;

	if (numeric_is_nan(value) || numeric_is_inf(value))
		return false;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
	for (p = *text == '-' ? text + 1 : text; *p != '\0'; p++)
	{
		if (*p == '.')
		{
			decimals = true;
			continue;
		}
		/* Decimals in excess must be zero. */
		if (decimals && ++scale > (unit < 0 ? exponent : 0))
		{
			if (*p != '0')
				return false;
			scale--;
			continue;
		}
		if (amount > PG_INT64_MAX / 100)
			return false;
		amount = amount * 10 + (*p - '0');
	}
	for (; scale < (unit < 0 ? exponent : 0); scale++)
	{
		if (amount > PG_INT64_MAX / 100)
			return false;
		amount *= 10;
	}
	/* From the PSP's minor units to ours. */
	for (int e = unit; unit >= 0 && e < exponent; e++)
	{
		if (amount > PG_INT64_MAX / 100)
			return false;
		amount *= 10;
	}
	for (int e = unit; e > exponent; e--)
	{
		if (amount % 10 != 0)
			return false;
		amount /= 10;
	}
	if (amount > PAY_AMOUNT_MAX)
		return false;
	*out = *text == '-' ? -amount : amount;
	pfree(text);
	return true;
}

static void
broken(int line, const char *format,...)
{
	char		problem[200];
	va_list		args;
	int			whole;

	va_start(args, format);
	whole = vsnprintf(problem, sizeof(problem), format, args);
	va_end(args);
	if (whole < (int) sizeof(problem))
		(void) pay_pan_mask(problem, strlen(problem));
	else
		(void) pay_pan_mask_cut(problem, strlen(problem));
	ereport(ERROR,
			(errcode(PAY_ERR_FILE_BROKEN),
			 errmsg("line %d of the settlement file cannot be read: %s", line, problem),
			 errhint("Nothing was imported. Get the file again, or say by options how it is written: docs/reconciliation.md."),
			 errhidestmt(true)));
}

/*
 * _settlement_line(content, line): a line of a file for a message, with card
 * numbers masked and without control characters; null when there is no such line,
 * or when it is one of a document, where lines say little.
 */
Datum
pay_settlement_line(PG_FUNCTION_ARGS)
{
	text	   *content = PG_GETARG_TEXT_PP(0);
	int			line = PG_GETARG_INT32(1);
	const char *p = VARDATA_ANY(content),
			   *end = p + VARSIZE_ANY_EXHDR(content),
			   *stop;
	char	   *copy;
	int			bytes;

	if (p < end && strchr("<{[", *p) != NULL)
		PG_RETURN_NULL();
	for (; line > 1 && p < end; line--)
	{
		stop = memchr(p, '\n', end - p);
		p = stop ? stop + 1 : end;
	}
	if (line != 1 || p == end)
		PG_RETURN_NULL();
	stop = memchr(p, '\n', end - p);
	bytes = (int) Min((stop ? stop : end) - p, LINE_LOOKED_AT);
	copy = pnstrdup(p, pg_mbcliplen(p, bytes, bytes));
	/* Before it is cut: half a card number is none. */
	(void) pay_pan_mask(copy, strlen(copy));
	for (char *c = copy; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || *c == '\x7f')
			*c = ' ';
	bytes = pg_mbcliplen(copy, (int) strlen(copy), LINE_SHOWN);
	if (copy[bytes] != '\0')
		memcpy(copy + pg_mbcliplen(copy, bytes, bytes - 3), "...", 4);
	PG_RETURN_TEXT_P(cstring_to_text(copy));
}

/*
 * _settlement_fail(code, message, detail, hint): raises without showing the
 * statement, which may be the file, nor what looks like a card number.
 */
Datum
pay_settlement_fail(PG_FUNCTION_ARGS)
{
	char	   *text[4];

	for (int i = 0; i < (int) lengthof(text); i++)
	{
		text[i] = pay_text_argument(fcinfo, i);
		if (text[i])
			pay_mask_text(text[i], strlen(text[i]));
	}
	if (text[0] == NULL || strlen(text[0]) != 5 || text[1] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("code and message must not be null"),
				 errhint("Leave out nothing but the detail and the hint."),
				 errhidestmt(true)));
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(text[0][0], text[0][1], text[0][2], text[0][3], text[0][4])),
			 errmsg("%s", text[1]),
			 text[2] ? errdetail("%s", text[2]) : 0,
			 text[3] ? errhint("%s", text[3]) : errhint("Nothing was imported."),
			 errhidestmt(true)));
	return (Datum) 0;
}

/* BEFORE INSERT on settlement_staging: masks card numbers, so that not even its WAL holds one. */
Datum
pay_mask_staged(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_row_trigger(fcinfo, true);
	HeapTuple	tuple;
	TupleDesc	desc;
	int			column;
	bool		isnull;
	Datum		value;
	text	   *line;

	tuple = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	column = SPI_fnumber(desc, "line");
	value = pay_trigger_column(trigger->tg_relation, tuple, "line", TEXTOID, &isnull);
	if (isnull)
		return PointerGetDatum(tuple);
	line = DatumGetTextPCopy(value);
	if (pay_mask_text(VARDATA(line), VARSIZE(line) - VARHDRSZ) == 0)
		return PointerGetDatum(tuple);
	value = PointerGetDatum(line);
	isnull = false;
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 1, &column, &value, &isnull));
}
