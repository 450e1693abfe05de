/*
 * src/psp/paypal_value.c
 *		PayPal: the values of its JSON.
 *
 * Read with json_slice.h, so that tests link it without a server.  Amounts are
 * decimal strings; how many decimals a currency has is PayPal's own, and a
 * currency that is not in the list below it does not take: what it counts in,
 * nobody has told us.  Amounts are exact or refused.
 */
#include "payments.h"

#include "psp/paypal.h"

#define ID_BYTES_MAX 64
#define NAME_BYTES_MAX 64
/* As many as fit into 64 bits with room to spare. */
#define DIGITS_MAX 17

/* Of PayPal's page of currency codes.  Where ISO 4217 has other decimals there is a row in payments.psp_currency. */
static const struct
{
	const char *code;
	int			decimals;
}			currencies[] = {
	{"AUD", 2}, {"BRL", 2}, {"CAD", 2}, {"CHF", 2}, {"CNY", 2}, {"CZK", 2}, {"DKK", 2}, {"EUR", 2}, {"GBP", 2},
	{"HKD", 2}, {"HUF", 0}, {"ILS", 2}, {"JPY", 0}, {"MXN", 2}, {"MYR", 2}, {"NOK", 2}, {"NZD", 2}, {"PHP", 2},
	{"PLN", 2}, {"SEK", 2}, {"SGD", 2}, {"THB", 2}, {"TWD", 0}, {"USD", 2},
};

static int	find_currency(const char *code);
static bool read_decimal(const char *text, int decimals, int64 *amount);

/* ---------- reading ---------- */

/* Members by name, elements of an array by number, joined by dots. */
bool
pay_paypal_at(PaySlice object, const char *path, PaySlice *value)
{
	*value = object;
	while (*path)
	{
		size_t		bytes = strcspn(path, ".");
		char		name[NAME_BYTES_MAX];
		PaySlice	found;

		if (bytes >= sizeof(name))
			return false;
		memcpy(name, path, bytes);
		name[bytes] = '\0';
		if (name[0] >= '0' && name[0] <= '9')
		{
			size_t		at = 0;
			long		n = strtol(name, NULL, 10);

			if (value->bytes == 0 || value->at[0] != '[')
				return false;
			for (long i = 0; i <= n; i++)
				if (pay_slice_element(*value, &at, &found) != PAY_SLICE_FOUND)
					return false;
		}
		else if (value->bytes == 0 || value->at[0] != '{' || pay_slice_member(*value, name, &found) != PAY_SLICE_FOUND)
			return false;
		*value = found;
		path += bytes + (path[bytes] == '.');
	}
	return true;
}

const char *
pay_paypal_text(PaySlice object, const char *path)
{
	PaySlice	value;
	char	   *text;

	if (!pay_paypal_at(object, path, &value) || value.bytes < 2 || value.at[0] != '"')
		return NULL;
	text = palloc(value.bytes);
	return pay_slice_string(value, text) ? text : NULL;
}

/* NULL also when it is none that we would put into a path. */
const char *
pay_paypal_id(PaySlice object, const char *path)
{
	const char *text = pay_paypal_text(object, path);

	return pay_paypal_is_id(text) ? text : NULL;
}

bool
pay_paypal_is_id(const char *text)
{
	size_t		bytes = text ? strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") : 0;

	return bytes > 0 && bytes <= ID_BYTES_MAX && text[bytes] == '\0';
}

bool
pay_paypal_amount(PaySlice object, const char *path, int64 *amount, const char **currency)
{
	PaySlice	money;
	const char *value;
	int			decimals;

	if (!pay_paypal_at(object, path, &money) || money.bytes == 0 || money.at[0] != '{')
		return false;
	*currency = pay_paypal_text(money, "currency_code");
	value = pay_paypal_text(money, "value");
	decimals = *currency ? find_currency(*currency) : -1;
	return decimals >= 0 && value && read_decimal(value, decimals, amount);
}

static int
find_currency(const char *code)
{
	for (size_t i = 0; i < lengthof(currencies); i++)
		if (strcmp(currencies[i].code, code) == 0)
			return currencies[i].decimals;
	return -1;
}

/* Digits behind the point beyond those of the currency must be nought. */
static bool
read_decimal(const char *text, int decimals, int64 *amount)
{
	size_t		whole = strspn(text, "0123456789");
	const char *fraction = text[whole] == '.' ? text + whole + 1 : text + whole;
	size_t		behind = strspn(fraction, "0123456789");
	int64		sum = 0;

	if (whole == 0 || whole + decimals > DIGITS_MAX || fraction[behind] != '\0' || (text[whole] == '.' && behind == 0))
		return false;
	for (size_t i = 0; i < whole; i++)
		sum = sum * 10 + (text[i] - '0');
	for (size_t i = 0; i < (size_t) decimals; i++)
		sum = sum * 10 + (i < behind ? fraction[i] - '0' : 0);
	for (size_t i = decimals; i < behind; i++)
		if (fraction[i] != '0')
			return false;
	*amount = sum;
	return true;
}

/* ---------- writing ---------- */

bool
pay_paypal_add_amount(StringInfo out, const PayCommand *command)
{
	int64		amount = command->amount;
	const char *currency = command->currency;
	int			decimals = currency ? find_currency(currency) : -1;
	int64		unit = 1;

	/* A row in payments.psp_currency that says otherwise makes another amount of it. */
	if (decimals < 0 || decimals != command->exponent || amount <= 0)
		return false;
	for (int i = 0; i < decimals; i++)
		unit *= 10;
	appendStringInfo(out, "{\"currency_code\":\"%s\",\"value\":\"" INT64_FORMAT, currency, amount / unit);
	if (decimals > 0)
		appendStringInfo(out, ".%0*d", decimals, (int) (amount % unit));
	appendStringInfoString(out, "\"}");
	return true;
}

void
pay_paypal_add_string(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '"');
	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfo(out, "\\%c", *p);
		else if (*p < 0x20)
			appendStringInfo(out, "\\u%04x", *p);
		else
			appendStringInfoChar(out, (char) *p);
	}
	appendStringInfoChar(out, '"');
}
