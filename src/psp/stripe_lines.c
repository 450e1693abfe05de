/*
 * src/psp/stripe_lines.c
 *		Stripe's balance transactions, from the API: the settlement format stripe_api.
 *
 * The answer to GET /v1/balance_transactions?expand[]=data.source, or its data.
 * Amounts are whole minor units, times are seconds since 1970, and what is
 * missing or of another type is not given: whoever writes the row down decides
 * whether it can do without.
 */
#include "payments.h"

#include "psp/report.h"

static PayFileResult read_entry(PaySlice entry, PayStripeLines *lines, PaySettlementRow *row);
static void read_source(PaySlice source, PaySlice *of_source, PaySettlementRow *row);
static void read_original(const PaySlice *of_source, PaySettlementRow *row);
static const char *text_of(PaySlice value);
static const char *id_of(PaySlice value);
static const char *not_empty(const char *text);
static PayDecimal number_of(PaySlice value);
static bool moment_of(PaySlice value, PayMoment *moment);

/* What we read of an entry, and of its source where that is expanded. */
enum
{
	OBJECT, ID, SOURCE, REPORTING_CATEGORY, TYPE, AMOUNT, FEE, NET, CURRENCY, DESCRIPTION, CREATED, AVAILABLE_ON, ENTRY_MEMBERS
};
static const char *const entry_members[ENTRY_MEMBERS] = {
	"object", "id", "source", "reporting_category", "type", "amount", "fee", "net", "currency", "description", "created", "available_on"
};
enum
{
	S_OBJECT, S_PAYMENT_INTENT, S_CHARGE, S_METADATA, S_CURRENCY, S_AMOUNT, S_AMOUNT_CAPTURED, SOURCE_MEMBERS
};
static const char *const source_members[SOURCE_MEMBERS] = {
	"object", "payment_intent", "charge", "metadata", "currency", "amount", "amount_captured"
};

/* Of 1900-01-01 and 3000-01-01, between which moments lie. */
#define SECONDS_MIN INT64CONST(-2208988800)
#define SECONDS_MAX INT64CONST(32503680000)

PayFileResult
pay_stripe_lines_open(PayStripeLines *lines, const char *text, size_t bytes)
{
	PaySlice	whole = {text, bytes},
				value;
	size_t		blank = 0;

	memset(lines, 0, sizeof(*lines));
	while (blank < bytes && strchr(" \t\n\r", text[blank]) && text[blank] != '\0')
		blank++;
	lines->list = (PaySlice) {text + blank, bytes - blank};
	if (blank < bytes && text[blank] == '[')
		return PAY_FILE_ROW;
	if (pay_slice_member(whole, "object", &value) != PAY_SLICE_FOUND || !pay_slice_is(value, "\"list\"") ||
		pay_slice_member(whole, "data", &lines->list) != PAY_SLICE_FOUND || lines->list.at[0] != '[')
		return pay_file_broken(&lines->problem, 0, "it is not a list of balance transactions");
	return PAY_FILE_ROW;
}

PayFileResult
pay_stripe_lines_next(PayStripeLines *lines, PaySettlementRow *row)
{
	PaySlice	entry;

	switch (pay_slice_element(lines->list, &lines->at, &entry))
	{
		case PAY_SLICE_END:
			return PAY_FILE_END;
		case PAY_SLICE_BROKEN:
			return pay_file_broken(&lines->problem, lines->line, "the list breaks off or is no JSON behind it");
		case PAY_SLICE_FOUND:
			break;
	}
	lines->line++;
	return read_entry(entry, lines, row);
}

static PayFileResult
read_entry(PaySlice entry, PayStripeLines *lines, PaySettlementRow *row)
{
	PaySlice	of_entry[ENTRY_MEMBERS],
				of_source[SOURCE_MEMBERS];
	const char *source_id;

	memset(row, 0, sizeof(*row));
	row->line = lines->line;
	if (!pay_slice_members(entry, entry_members, of_entry, ENTRY_MEMBERS) || !pay_slice_is(of_entry[OBJECT], "\"balance_transaction\""))
		return pay_file_broken(&lines->problem, row->line, "it is not a balance transaction");
	source_id = id_of(of_entry[SOURCE]);
	row->entry_id = text_of(of_entry[ID]);
	/* reporting_category says more than type: disputes are type "adjustment". */
	row->type = not_empty(text_of(of_entry[REPORTING_CATEGORY]));
	if (row->type == NULL)
		row->type = text_of(of_entry[TYPE]);
	row->gross = number_of(of_entry[AMOUNT]);
	row->fee = number_of(of_entry[FEE]);
	row->net = number_of(of_entry[NET]);
	row->kind = row->type ? pay_stripe_kind(row->type, row->net.digits >= 0) : "unknown";
	/* The line's own id in place of a refund's would make a second refund of one that we know. */
	row->object_id = source_id || pay_csv_is_of_payment(row->kind) ? source_id : row->entry_id;
	row->currency = text_of(of_entry[CURRENCY]);
	row->description = text_of(of_entry[DESCRIPTION]);
	read_source(of_entry[SOURCE], of_source, row);
	if (pay_slice_is(of_source[S_OBJECT], "\"payout\"") || (row->type && strncmp(row->type, "payout", 6) == 0))
		row->payout = source_id;
	if (!moment_of(of_entry[CREATED], &row->occurred) || !moment_of(of_entry[AVAILABLE_ON], &row->available))
		return pay_file_broken(&lines->problem, row->line, "created or available_on is no time between 1900 and 3000");
	/* The source has names and addresses of payers; it is the PSP's to keep, not ours. */
	row->json = entry.at;
	row->json_bytes = entry.bytes;
	row->json_omit = "source";
	row->json_instead = source_id;
	return PAY_FILE_ROW;
}

/* Of a source that is not expanded nothing is there. */
static void
read_source(PaySlice source, PaySlice *of_source, PaySettlementRow *row)
{
	static const char *const references[] = {"payments_ref", "order_ref"};
	PaySlice	reference[lengthof(references)];

	memset(of_source, 0, sizeof(PaySlice) * SOURCE_MEMBERS);
	if (source.at == NULL || !pay_slice_members(source, source_members, of_source, SOURCE_MEMBERS))
		return;
	/* Of a charge without a PaymentIntent the charge is the payment. */
	row->payment_id = id_of(of_source[S_PAYMENT_INTENT]);
	if (row->payment_id == NULL)
		row->payment_id = pay_slice_is(of_source[S_OBJECT], "\"charge\"") ? id_of(source) : id_of(of_source[S_CHARGE]);
	if (of_source[S_METADATA].at && pay_slice_members(of_source[S_METADATA], references, reference, lengthof(references)))
	{
		row->reference = not_empty(text_of(reference[0]));
		if (row->reference == NULL)
			row->reference = not_empty(text_of(reference[1]));
	}
	read_original(of_source, row);
}

/*
 * What the payer was charged, signed as the line is, where that was in another
 * currency.  A charge is told whole, and what was not captured of it by another line.
 */
static void
read_original(const PaySlice *of_source, PaySettlementRow *row)
{
	const char *currency = text_of(of_source[S_CURRENCY]);
	bool		is_charge = pay_slice_is(of_source[S_OBJECT], "\"charge\"");
	PayDecimal	amount = number_of(of_source[S_AMOUNT]),
				captured = is_charge ? number_of(of_source[S_AMOUNT_CAPTURED]) : (PayDecimal) {0};

	if (!is_charge && !pay_slice_is(of_source[S_OBJECT], "\"refund\""))
		return;
	if (row->type && strcmp(row->type, "partial_capture_reversal") == 0 && captured.given && !pay_decimal_add(&amount, &captured, -1))
		return;
	if (!amount.given || !row->gross.given || currency == NULL || row->currency == NULL || strcmp(currency, row->currency) == 0)
		return;
	if (row->gross.digits == 0)
		amount.digits = 0;
	else if ((amount.digits < 0) != (row->gross.digits < 0))
		amount.digits = -amount.digits;
	row->original = amount;
	row->original_currency = currency;
}

/* A value that is a string, or NULL. */
static const char *
text_of(PaySlice value)
{
	char	   *text;

	if (value.at == NULL || value.at[0] != '"')
		return NULL;
	text = palloc(value.bytes);
	return pay_slice_string(value, text) ? text : NULL;
}

/* What names a thing: its id, or the thing itself, expanded. */
static const char *
id_of(PaySlice value)
{
	PaySlice	id;

	if (value.at == NULL || value.at[0] != '{')
		return text_of(value);
	return pay_slice_member(value, "id", &id) == PAY_SLICE_FOUND ? text_of(id) : NULL;
}

static const char *
not_empty(const char *text)
{
	return text && *text != '\0' ? text : NULL;
}

static PayDecimal
number_of(PaySlice value)
{
	PayDecimal	number = {0};
	char		text[PAY_DECIMAL_BYTES];

	if (value.at == NULL || value.bytes >= sizeof(text))
		return number;
	memcpy(text, value.at, value.bytes);
	text[value.bytes] = '\0';
	if (!pay_decimal_parse(text, '.', &number))
		memset(&number, 0, sizeof(number));
	return number;
}

/* True and not given when it is no number; false when it is one that is no such time. */
static bool
moment_of(PaySlice value, PayMoment *moment)
{
	PayDecimal	seconds = number_of(value);

	if (!seconds.given)
		return true;
	if (seconds.scale != 0 || seconds.digits < SECONDS_MIN || seconds.digits >= SECONDS_MAX)
		return false;
	pay_moment_of_unix(seconds.digits, moment);
	return true;
}
