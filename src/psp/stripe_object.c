/*
 * src/psp/stripe_object.c
 *		Stripe: what its objects have in common: ids, our names on them, errors,
 *		codes.
 *
 * Whatever Stripe writes is read or left out, never an error.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/stripe_object.h"

#include "base/json.h"
#include "base/pan.h"

#include "mb/pg_wchar.h"

#define CODE_BYTES_MAX 64
#define MESSAGE_BYTES_MAX 300

static const char *presentable(const char *text);

/* The object's id, and our name and generation on it.  False without a usable id. */
bool
pay_stripe_read_names(const PayStripeNode *node, PayResult *result)
{
	const char *generation = pay_stripe_text_at(node, "metadata.payments_generation");

	result->object_id = pay_stripe_id_at(node, "id");
	result->psp_ref = pay_stripe_text_at(node, "metadata.payments_ref");
	result->generation = 0;
	if (generation != NULL && strlen(generation) <= 6 && generation[strspn(generation, "0123456789")] == '\0')
		result->generation = (int) strtol(generation, NULL, 10);
	return result->object_id != NULL;
}

/*
 * Is this the object that the command asked for, or asked about?  An earlier
 * generation's object answers nothing about this one.
 */
bool
pay_stripe_names_agree(const PayCommand *command, bool inquiry, PayResult *result)
{
	bool		same_ref = result->psp_ref == NULL || command->psp_ref == NULL ||
		strcmp(result->psp_ref, command->psp_ref) == 0;
	bool		same_generation = result->generation == 0 || result->generation == command->generation;

	if (same_ref && same_generation)
		return true;
	if (!same_ref || !inquiry)
		pay_stripe_conflict(result, "reference_mismatch");
	else
		pay_result_init(result);
	return false;
}

/* Codes in order of precedence: network advice, Stripe's advice, issuer's code, Stripe's code. */
void
pay_stripe_read_error(const PayStripeNode *error, PayResult *result)
{
	pay_stripe_add_code(result, "network_advice:", pay_stripe_text_at(error, "network_advice_code"));
	pay_stripe_add_code(result, "advice:", pay_stripe_text_at(error, "advice_code"));
	pay_stripe_add_code(result, "", pay_stripe_text_at(error, "decline_code"));
	pay_stripe_add_code(result, "", pay_stripe_text_at(error, "code"));
	if (result->codes[0] == NULL)
		pay_stripe_add_code(result, "", pay_stripe_text_at(error, "type"));
	result->message = presentable(pay_stripe_text_at(error, "message"));
}

/* Keeps ids, amount and currency for the person who will look, but claims no effect. */
void
pay_stripe_conflict(PayResult *result, const char *code)
{
	result->class = PAY_CLASS_CONFLICTED;
	result->effect = PAY_EFFECT_NONE;
	memset(result->codes, 0, sizeof(result->codes));
	result->codes[0] = code;
	/* Another payment's id must not be remembered as this one's. */
	if (strcmp(code, "reference_mismatch") == 0)
	{
		result->psp_payment_id = NULL;
		result->psp_ref = NULL;
		result->generation = 0;
	}
}

/* The PaymentIntent is as it was before this capture or cancellation. */
void
pay_stripe_not_done_yet(bool inquiry, PayResult *result)
{
	result->class = PAY_CLASS_UNKNOWN;
	result->object_id = NULL;
	result->inquiry_found_nothing = inquiry;
}

/* Codes go into tables and events, so only what looks like one. */
void
pay_stripe_add_code(PayResult *result, const char *prefix, const char *code)
{
	size_t		bytes = code != NULL ? strspn(code, PAY_STRIPE_WORD "-.") : 0;

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

/* Without anything like a card number or a key, and then cut to length between characters: half a number is found by nobody. */
static const char *
presentable(const char *text)
{
	char	   *copy;

	if (text == NULL)
		return NULL;
	copy = pstrdup(text);
	pay_pan_mask(copy, strlen(copy));
	pay_psp_mask_secrets(copy);
	copy[pg_mbcliplen(copy, (int) strlen(copy), MESSAGE_BYTES_MAX)] = '\0';
	return copy;
}

char *
pay_stripe_text_at(const PayStripeNode *node, const char *path)
{
	return pay_json_text(node->json, psprintf("%s%s", node->prefix, path));
}

/* NULL also when it is not an id we would put into a path. */
char *
pay_stripe_id_at(const PayStripeNode *node, const char *path)
{
	char	   *text = pay_stripe_text_at(node, path);

	return pay_stripe_is_id(text) ? text : NULL;
}

bool
pay_stripe_int64_at(const PayStripeNode *node, const char *path, int64 *value)
{
	return pay_json_int64(node->json, psprintf("%s%s", node->prefix, path), value);
}
