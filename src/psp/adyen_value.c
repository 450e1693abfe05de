/*
 * src/psp/adyen_value.c
 *		Adyen: references, ids, and what is read out of its JSON.
 *
 * Read with json_slice.h, without a server, so that all of it is fuzzed.
 */
#include "payments.h"

#include "psp/adyen.h"

#include "base/pan.h"

#define WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
#define DIGITS "0123456789"
#define ID_BYTES_MAX 64
#define PAYMENT_ID_BYTES 16
#define CODE_BYTES_MAX 64
#define MESSAGE_BYTES_MAX 300
/* What an int64 surely holds. */
#define NUMBER_DIGITS_MAX 18
#define GENERATION_DIGITS_MAX 6

static const struct
{
	const char *tag;
	PayOpKind	kind;
	bool		by_link;
}			tags[] = {
	{"c", PAY_OP_CHARGE, false},
	{"a", PAY_OP_AUTHORIZE, false},
	{"lc", PAY_OP_CHARGE, true},
	{"la", PAY_OP_AUTHORIZE, true},
	{"k", PAY_OP_CAPTURE, false},
	{"v", PAY_OP_VOID, false},
	{"r", PAY_OP_REFUND, false},
};

/* ---------- references and ids ---------- */

const char *
pay_adyen_reference(const char *psp_ref, PayOpKind kind, bool by_link, int generation)
{
	for (size_t i = 0; i < lengthof(tags); i++)
		if (tags[i].kind == kind && tags[i].by_link == by_link)
			return psprintf("%s-%s%d", psp_ref, tags[i].tag, generation);
	return NULL;
}

bool
pay_adyen_reference_parse(const char *text, PayAdyenReference *reference)
{
	size_t		bytes = text ? strspn(text, WORD) : 0;
	const char *tag,
			   *number;

	if (bytes == 0 || bytes > ID_BYTES_MAX || text[bytes] != '-')
		return false;
	tag = text + bytes + 1;
	number = tag + strspn(tag, "abcdefghijklmnopqrstuvwxyz");
	if (*number == '0' || *number == '\0' || strlen(number) > GENERATION_DIGITS_MAX || number[strspn(number, DIGITS)] != '\0')
		return false;
	for (size_t i = 0; i < lengthof(tags); i++)
	{
		if (strlen(tags[i].tag) != (size_t) (number - tag) || strncmp(tags[i].tag, tag, (size_t) (number - tag)) != 0)
			continue;
		reference->psp_ref = pnstrdup(text, bytes);
		reference->kind = tags[i].kind;
		reference->by_link = tags[i].by_link;
		reference->generation = (int) strtol(number, NULL, 10);
		return true;
	}
	return false;
}

bool
pay_adyen_is_id(const char *text)
{
	size_t		bytes = text ? strspn(text, WORD) : 0;

	return bytes > 0 && bytes <= ID_BYTES_MAX && text[bytes] == '\0';
}

/* A payment's id may begin with the same letters, but has sixteen characters: a link's has two more. */
bool
pay_adyen_is_link(const char *id)
{
	return id != NULL && id[0] == 'P' && id[1] == 'L' && strlen(id) != PAYMENT_ID_BYTES;
}

bool
pay_adyen_by_link(const PayCommand *command)
{
	return command->payment_method == NULL || command->payment_method[0] == '\0';
}

/* ---------- JSON ---------- */

char *
pay_adyen_text(PaySlice object, const char *name)
{
	PaySlice	value;
	char	   *text;

	if (pay_slice_member(object, name, &value) != PAY_SLICE_FOUND || value.bytes < 2)
		return NULL;
	text = palloc(value.bytes);
	return pay_slice_string(value, text) ? text : NULL;
}

char *
pay_adyen_id(PaySlice object, const char *name)
{
	char	   *text = pay_adyen_text(object, name);

	return pay_adyen_is_id(text) ? text : NULL;
}

bool
pay_adyen_int64(PaySlice object, const char *name, int64 *value)
{
	PaySlice	number;
	int64		sum = 0;

	if (pay_slice_member(object, name, &number) != PAY_SLICE_FOUND || number.bytes == 0 || number.bytes > NUMBER_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < number.bytes; i++)
	{
		if (number.at[i] < '0' || number.at[i] > '9')
			return false;
		sum = sum * 10 + (number.at[i] - '0');
	}
	*value = sum;
	return true;
}

bool
pay_adyen_amount(PaySlice object, PayResult *result)
{
	PaySlice	amount;
	char	   *currency;

	if (pay_slice_member(object, "amount", &amount) != PAY_SLICE_FOUND)
		return false;
	currency = pay_adyen_text(amount, "currency");
	if (currency == NULL || strlen(currency) != 3 || strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3 ||
		!pay_adyen_int64(amount, "value", &result->amount))
		return false;
	result->currency = currency;
	return true;
}

char *
pay_adyen_config(const char *config, const char *name)
{
	char	   *text = config ? pay_adyen_text((PaySlice) {config, strlen(config)}, name) : NULL;

	return text && *text != '\0' ? text : NULL;
}

bool
pay_adyen_captures_many(const char *config)
{
	PaySlice	value;

	return config && pay_slice_member((PaySlice) {config, strlen(config)}, "multicapture", &value) == PAY_SLICE_FOUND && pay_slice_is(value, "true");
}

/* ---------- what is kept ---------- */

void
pay_adyen_add_code(PayResult *result, const char *prefix, const char *code)
{
	size_t		bytes = code ? strspn(code, WORD) : 0;

	if (bytes == 0 || bytes > CODE_BYTES_MAX || code[bytes] != '\0')
		return;
	for (int i = 0; i < PAY_CODES_MAX; i++)
	{
		if (result->codes[i] == NULL)
		{
			result->codes[i] = psprintf("%s%s", prefix, code);
			return;
		}
	}
}

/* Masked before it is cut: half a number is found by nobody. */
const char *
pay_adyen_presentable(const char *text)
{
	size_t		size = text ? strlen(text) + 1 : 0;
	char	   *copy;

	if (size <= 1)
		return NULL;
	copy = palloc(size);
	pay_copy_printable(copy, size, text, size - 1);
	pay_pan_mask(copy, strlen(copy));
	pay_psp_mask_secrets(copy);
	copy[Min(strlen(copy), MESSAGE_BYTES_MAX)] = '\0';
	return copy;
}
