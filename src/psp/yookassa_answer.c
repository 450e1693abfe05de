/*
 * src/psp/yookassa_answer.c
 *		YooKassa: what answers, inquiries and notices say, in our words.
 *
 * The rules are those at the head of psp/yookassa.c.  The first of them here:
 * what cannot be read, or does not name our operation, is PAY_CLASS_UNKNOWN.
 *
 * Read by slices, without the server's JSON: so it is fuzzed as it is.  Only
 * words of ASCII come out of it, whatever bytes stand in a text.
 */
#include "payments.h"

#include "psp/psp.h"
#include "psp/yookassa.h"

#include "base/json_slice.h"
#include "base/pan.h"

#define WORD_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
#define WORD_BYTES_MAX 64
#define URL_BYTES_MAX 2000
#define MESSAGE_BYTES_MAX 300
#define RETRY_AFTER_MAX_MS (24 * 60 * 60 * 1000)
#define KEY_PARAMETER "Idempotence-Key"

/* The members of a payment or refund that we read. */
enum
{
	ID, STATUS, AMOUNT, INCOME, METADATA, CONFIRMATION, CANCELLATION, PAYMENT_ID, EXPIRES, MEMBERS
};
static const char *const member_names[MEMBERS] = {
	"id", "status", "amount", "income_amount", "metadata", "confirmation", "cancellation_details", "payment_id", "expires_at"
};

/* A payment or refund; `result` has its id, names, amount and currency already. */
typedef struct Object
{
	PaySlice	members[MEMBERS];
	const char *status;
} Object;

/* The notices that say something; of these, and of no other word, the payment is asked for. */
static const char *const told_events[] = {"payment.waiting_for_capture", "payment.succeeded", "payment.canceled", "refund.succeeded", NULL};

/* Why an authorized payment was cancelled: by YooKassa itself, or by the shop; any other reason is why it was never paid. */
static const char *const expired_reasons[] = {"expired_on_capture", NULL};
static const char *const released_reasons[] = {"canceled_by_merchant", NULL};

static void read_refusal(PaySlice body, const PayCommand *command, int http_status, PayResult *result);
static void read_failed_inquiry(PaySlice body, int http_status, PayResult *result);
static bool choose(PaySlice list, const PayCommand *command, Object *chosen, PayResult *result);
static bool read_object(PaySlice slice, Object *object, PayResult *result);
static void read_names(PaySlice metadata, PayResult *result);
static void read_payment(const Object *payment, const PayCommand *command, bool inquiry, PayResult *result);
static void read_payment_status(const Object *payment, const PayCommand *command, bool inquiry, PayResult *result);
static void read_captured(const Object *payment, const PayCommand *command, PayResult *result);
static void read_canceled(const Object *payment, const PayCommand *command, PayResult *result);
static void read_refund(const Object *refund, const PayCommand *command, bool inquiry, PayResult *result);
static bool names_agree(const PayCommand *command, bool inquiry, PayResult *result);
static void conflict(PayResult *result, const char *code);
static void not_done_yet(bool inquiry, PayResult *result);
static bool is_error(PaySlice body);
static void read_error(PaySlice body, PayResult *result);
static void add_code(PayResult *result, const char *code);
static bool amount_of(PaySlice slice, int64 *amount, const char **currency);
static char *text_of(PaySlice value);
static char *member_text(PaySlice object, const char *name);
static char *word_of(PaySlice value);
static char *member_url(PaySlice object, const char *name);
static int	retry_after(PaySlice body);
static bool is_any(const char *word, const char *const *list);

/* ---------- answers ---------- */

void
pay_yookassa_classify(const PayCommand *command, bool inquiry, const PayAnswer *answer, PayResult *result)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	Object		object;

	pay_result_init(result);
	if (answer->transport == PAY_TRANSPORT_NOT_SENT && !inquiry)
		result->class = PAY_CLASS_NOT_SENT;
	if (answer->transport != PAY_TRANSPORT_ANSWERED)
		return;

	result->too_many = pay_psp_too_many(answer->http_status, answer->retry_after_s);
	result->retry_after_ms = answer->retry_after_s >= 0 ? answer->retry_after_s * 1000 : retry_after(body);
	if (answer->http_status != 200)
	{
		/* 202, "processing", says that it is being done, and not what: the same key tells, a little later. */
		if (inquiry)
			read_failed_inquiry(body, answer->http_status, result);
		else
			read_refusal(body, command, answer->http_status, result);
		return;
	}
	if (inquiry && command->kind == PAY_OP_REFUND && command->psp_object_id == NULL)
	{
		if (!choose(body, command, &object, result))
			return;
	}
	else if (!read_object(body, &object, result))
		return;
	if (command->kind == PAY_OP_REFUND)
		read_refund(&object, command, inquiry, result);
	else
		read_payment(&object, command, inquiry, result);
}

/*
 * Anything but 200 to a request that was to move money.  Its refusals are
 * definite in its own words; a 500 is stated to leave the outcome open.
 */
static void
read_refusal(PaySlice body, const PayCommand *command, int http_status, PayResult *result)
{
	const char *parameter;

	if (!is_error(body))
		return;
	read_error(body, result);
	parameter = pay_yookassa_member_word(body, "parameter");
	switch (http_status)
	{
		case 400:
			/* Another request was sent under this key: which of the two stands is for a person to see. */
			if (parameter && pg_strcasecmp(parameter, KEY_PARAMETER) == 0)
				conflict(result, "idempotency_error");

			/*
			 * What names no parameter is about the payment's state: perhaps
			 * it is as we wanted it, by a call whose answer was lost.
			 */
			else if (command->kind == PAY_OP_VOID || (command->kind == PAY_OP_CAPTURE && parameter == NULL))
				result->class = PAY_CLASS_DUPLICATE;
			else
				result->class = PAY_CLASS_DECLINED;
			break;
		case 401:
			result->class = PAY_CLASS_MISCONFIGURED;
			break;
		case 403:
			/* The shop may not do this one thing, such as charge without the payer; the rest goes on. */
		case 404:
			result->class = PAY_CLASS_DECLINED;
			break;
		case 429:
			/* Counted before anything is executed. */
			result->class = PAY_CLASS_NOT_SENT;
			break;
		default:
			break;
	}
}

static void
read_failed_inquiry(PaySlice body, int http_status, PayResult *result)
{
	if (!is_error(body))
		return;
	if (http_status == 401 || http_status == 403)
	{
		result->class = PAY_CLASS_MISCONFIGURED;
		read_error(body, result);
		return;
	}
	add_code(result, pay_yookassa_member_word(body, "code"));
	result->inquiry_found_nothing = http_status == 404;
}

/*
 * Picks our refund of a payment's, by reference and generation.  Two that moved
 * money mean that we did something twice, long after the key was forgotten.
 */
static bool
choose(PaySlice list, const PayCommand *command, Object *chosen, PayResult *result)
{
	PaySlice	items,
				item,
				cursor;
	PayResult	found = *result;
	size_t		at = 0;
	int			matches = 0,
				moves = 0;
	PaySliceResult more;

	if (pay_slice_member(list, "items", &items) != PAY_SLICE_FOUND)
		return false;
	while ((more = pay_slice_element(items, &at, &item)) == PAY_SLICE_FOUND)
	{
		Object		object;
		PayResult	one = *result;
		bool		has_moved;

		if (!read_object(item, &object, &one) || one.psp_ref == NULL || command->psp_ref == NULL ||
			strcmp(one.psp_ref, command->psp_ref) != 0 || one.generation != command->generation)
			continue;
		has_moved = strcmp(object.status, "canceled") != 0;
		if (matches == 0 || (has_moved && moves == 0))
		{
			*chosen = object;
			found = one;
		}
		matches++;
		moves += has_moved ? 1 : 0;
	}
	if (more == PAY_SLICE_BROKEN)
		return false;
	if (matches == 0)
	{
		result->inquiry_found_nothing = pay_slice_member(list, "next_cursor", &cursor) == PAY_SLICE_END || pay_slice_is(cursor, "null");
		return false;
	}
	*result = found;
	if (moves > 1)
		conflict(result, "several_at_psp");
	return moves <= 1;
}

/* ---------- what they are about ---------- */

/* False without what every payment and refund has; `result` is then as it was. */
static bool
read_object(PaySlice slice, Object *object, PayResult *result)
{
	const char *id,
			   *currency;
	int64		amount;

	if (!pay_slice_members(slice, member_names, object->members, MEMBERS))
		return false;
	id = word_of(object->members[ID]);
	object->status = word_of(object->members[STATUS]);
	if (!pay_yookassa_is_id(id) || object->status == NULL || !amount_of(object->members[AMOUNT], &amount, &currency))
		return false;
	result->object_id = id;
	result->amount = amount;
	result->currency = currency;
	read_names(object->members[METADATA], result);
	return true;
}

/* Our name of the operation, and its generation. */
static void
read_names(PaySlice metadata, PayResult *result)
{
	const char *generation = pay_yookassa_member_word(metadata, "payments_generation");

	result->psp_ref = pay_yookassa_member_word(metadata, "payments_ref");
	result->generation = 0;
	if (generation && strlen(generation) <= 6 && generation[strspn(generation, "0123456789")] == '\0')
		result->generation = (int) strtol(generation, NULL, 10);
}

/* `command` is NULL for what was not asked for. */
static void
read_payment(const Object *payment, const PayCommand *command, bool inquiry, PayResult *result)
{
	bool		is_first = command && (command->kind == PAY_OP_CHARGE || command->kind == PAY_OP_AUTHORIZE);
	bool		may_be_less = command && command->kind == PAY_OP_AUTHORIZE && strcmp(payment->status, "succeeded") == 0;

	result->psp_payment_id = result->object_id;
	if (is_first)
	{
		if (!names_agree(command, inquiry, result))
			return;
		/* Somebody may have captured a part of what was authorized. */
		if (may_be_less ? result->amount > command->amount : result->amount != command->amount)
		{
			conflict(result, "amount_mismatch");
			return;
		}
	}
	else if (command)
	{
		/* Its names are those of the charge, not of this operation. */
		result->psp_ref = NULL;
		result->generation = 0;
	}
	if (command && command->psp_payment_id && strcmp(result->psp_payment_id, command->psp_payment_id) != 0)
		conflict(result, "reference_mismatch");
	else if (command && strcmp(result->currency, command->currency) != 0)
		conflict(result, "currency_mismatch");
	else
		read_payment_status(payment, command, inquiry, result);
}

static void
read_payment_status(const Object *payment, const PayCommand *command, bool inquiry, PayResult *result)
{
	bool		is_later = command && (command->kind == PAY_OP_VOID || command->kind == PAY_OP_CAPTURE);

	if (strcmp(payment->status, "succeeded") == 0)
		read_captured(payment, command, result);
	else if (strcmp(payment->status, "canceled") == 0)
		read_canceled(payment, command, result);
	else if (strcmp(payment->status, "waiting_for_capture") == 0 && !is_later)
	{
		char	   *expires = text_of(payment->members[EXPIRES]);

		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_AUTHORIZED;
		if (expires)
			(void) pay_yookassa_moment_read(expires, &result->capture_before);
	}
	else if (strcmp(payment->status, "waiting_for_capture") == 0 || (strcmp(payment->status, "pending") == 0 && is_later))
		not_done_yet(inquiry, result);
	else if (strcmp(payment->status, "pending") == 0)
	{
		result->next_action_url = member_url(payment->members[CONFIRMATION], "confirmation_url");
		result->class = result->next_action_url ? PAY_CLASS_REQUIRES_ACTION : PAY_CLASS_PENDING;
	}
}

static void
read_captured(const Object *payment, const PayCommand *command, PayResult *result)
{
	const char *currency;
	int64		income;

	if (command && command->kind == PAY_OP_VOID)
	{
		result->class = PAY_CLASS_DECLINED;
		result->message = "The payment was captured, so it cannot be cancelled.";
		add_code(result, "already_captured");
		return;
	}
	if (command && command->kind == PAY_OP_CAPTURE && result->amount != command->amount)
	{
		conflict(result, "amount_mismatch");
		return;
	}
	result->class = PAY_CLASS_APPROVED;
	result->effect = PAY_EFFECT_CAPTURED;
	/* What the shop gets: what is missing are YooKassa's fee and the tax on it. */
	if (amount_of(payment->members[INCOME], &income, &currency) && strcmp(currency, result->currency) == 0 &&
		income < result->amount)
	{
		result->fee = result->amount - income;
		result->fee_currency = currency;
		result->fee_object_id = result->object_id;
	}
}

static void
read_canceled(const Object *payment, const PayCommand *command, PayResult *result)
{
	const char *reason = pay_yookassa_member_word(payment->members[CANCELLATION], "reason");
	bool		is_void = command && command->kind == PAY_OP_VOID;
	bool		is_capture = command && command->kind == PAY_OP_CAPTURE;
	/* It was held, or nobody would ask. */
	bool		was_held = is_any(reason, released_reasons) || (command && command->kind == PAY_OP_EXPIRE);

	if (!is_void && is_any(reason, expired_reasons))
	{
		result->class = is_capture ? PAY_CLASS_DECLINED : PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_EXPIRED;
	}
	else if (is_void || (was_held && !is_capture))
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_VOIDED;
	}
	else
		result->class = PAY_CLASS_DECLINED;
	if (result->class == PAY_CLASS_DECLINED)
		result->amount = 0;
	if (!is_void)
		add_code(result, reason ? reason : "canceled");
}

/* `command` is NULL for what was not asked for. */
static void
read_refund(const Object *refund, const PayCommand *command, bool inquiry, PayResult *result)
{
	result->psp_payment_id = word_of(refund->members[PAYMENT_ID]);
	if (!pay_yookassa_is_id(result->psp_payment_id))
		result->psp_payment_id = NULL;
	if (command)
	{
		if (!names_agree(command, inquiry, result))
			return;
		if (result->amount != command->amount)
			conflict(result, "amount_mismatch");
		else if (strcmp(result->currency, command->currency) != 0)
			conflict(result, "currency_mismatch");
		else if (result->psp_payment_id == NULL || command->psp_payment_id == NULL || strcmp(result->psp_payment_id, command->psp_payment_id) != 0)
			conflict(result, "reference_mismatch");
		if (result->class == PAY_CLASS_CONFLICTED)
			return;
	}

	if (strcmp(refund->status, "succeeded") == 0)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_REFUNDED;
	}
	else if (strcmp(refund->status, "pending") == 0)
		result->class = PAY_CLASS_PENDING;
	else if (strcmp(refund->status, "canceled") == 0)
	{
		/* As news it is a fact about money, not a refusal. */
		result->class = command == NULL ? PAY_CLASS_APPROVED : PAY_CLASS_DECLINED;
		result->effect = command == NULL ? PAY_EFFECT_REFUND_FAILED : PAY_EFFECT_NONE;
		add_code(result, pay_yookassa_member_word(refund->members[CANCELLATION], "reason"));
		add_code(result, "refund_canceled");
	}
}

/* Is this the object that the command asked for, or asked about?  It says so itself, or is none. */
static bool
names_agree(const PayCommand *command, bool inquiry, PayResult *result)
{
	bool		same_ref = result->psp_ref && command->psp_ref && strcmp(result->psp_ref, command->psp_ref) == 0;

	if (same_ref && result->generation == command->generation)
		return true;
	/* An earlier generation's answers nothing about this one; without names it is not known whose it is. */
	if (result->psp_ref == NULL || result->generation == 0 || (same_ref && inquiry))
		pay_result_init(result);
	else
		conflict(result, "reference_mismatch");
	return false;
}

/* ---------- what comes unasked ---------- */

/* Nothing is signed, and the addresses that it sends from prove nothing behind a proxy. */
PayVerdict
pay_yookassa_verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	return PAY_VERDICT_ASK_PSP;
}

/* A notice has no id: its type and payment are one. */
bool
pay_yookassa_parse(const PayInbound *inbound, PayEvents *events)
{
	PaySlice	body = {inbound->body, inbound->body_bytes},
				slice;
	PayPspEvent *event = palloc0(sizeof(PayPspEvent));
	const char *type = pay_yookassa_member_word(body, "event");
	const char *word = pay_yookassa_member_word(body, "type");

	events->n = 1;
	events->list = event;
	pay_result_init(&event->result);
	events->field = word == NULL || strcmp(word, "notification") != 0 ? "type" : type == NULL ? "event" : "object";
	if (strcmp(events->field, "object") != 0 || pay_slice_member(body, "object", &slice) != PAY_SLICE_FOUND || slice.at[0] != '{')
		return false;
	event->event_type = type;
	event->event_id = type;
	if (!is_any(type, told_events))
		return true;
	event->relevant = pay_yookassa_read_unasked(type[0] == 'r', slice, &event->result);
	if (event->result.psp_payment_id)
		event->event_id = psprintf("%s:%s", type, event->result.psp_payment_id);
	return true;
}

bool
pay_yookassa_read_unasked(bool is_refund, PaySlice slice, PayResult *result)
{
	Object		object;

	pay_result_init(result);
	if (!read_object(slice, &object, result))
		return false;
	if (is_refund)
		read_refund(&object, NULL, false, result);
	else
		read_payment(&object, NULL, false, result);
	return result->class != PAY_CLASS_UNKNOWN && (result->psp_payment_id != NULL || result->psp_ref != NULL);
}

/* ---------- whose account ---------- */

void
pay_yookassa_read_account(const PayAnswer *answer, const char *secret, PayAccount *account)
{
	PaySlice	body = {answer->body, answer->body_bytes},
				test;
	const char *id = pay_yookassa_member_word(body, "account_id");

	if (answer->http_status != 200 || id == NULL)
		return;
	account->id = id;
	if (pay_slice_member(body, "test", &test) == PAY_SLICE_FOUND)
		account->mode = pay_slice_is(test, "true") ? "test" : pay_slice_is(test, "false") ? "live" : NULL;
}

/* ---------- small things ---------- */

/* Keeps ids, amount and currency for the person who will look, but claims no effect. */
static void
conflict(PayResult *result, const char *code)
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

/* The payment is as it was before this capture or cancellation. */
static void
not_done_yet(bool inquiry, PayResult *result)
{
	result->object_id = NULL;
	result->inquiry_found_nothing = inquiry;
}

/* In its own form, which nothing in between has. */
static bool
is_error(PaySlice body)
{
	const char *type = pay_yookassa_member_word(body, "type");

	return type && strcmp(type, "error") == 0 && pay_yookassa_member_word(body, "code") != NULL;
}

static void
read_error(PaySlice body, PayResult *result)
{
	char	   *message = member_text(body, "description");

	add_code(result, pay_yookassa_member_word(body, "code"));
	if (message == NULL)
		return;
	for (char *c = message; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	/* Masked, and then cut to length: half a number is found by nobody. */
	pay_pan_mask(message, strlen(message));
	pay_psp_mask_secrets(message);
	if (strlen(message) > MESSAGE_BYTES_MAX)
		message[MESSAGE_BYTES_MAX] = '\0';
	result->message = message;
}

static void
add_code(PayResult *result, const char *code)
{
	for (int i = 0; code && i < PAY_CODES_MAX; i++)
	{
		if (result->codes[i] == NULL)
		{
			result->codes[i] = code;
			return;
		}
	}
}

static bool
amount_of(PaySlice slice, int64 *amount, const char **currency)
{
	const char *value = pay_yookassa_member_word(slice, "value");

	*currency = pay_yookassa_member_word(slice, "currency");
	return value && *currency && pay_yookassa_takes(*currency) && pay_yookassa_amount_parse(value, amount);
}

/* NULL when it is no string. */
static char *
text_of(PaySlice value)
{
	char	   *text;

	if (value.at == NULL || value.at[0] != '"')
		return NULL;
	text = palloc(value.bytes);
	return pay_slice_string(value, text) ? text : NULL;
}

static char *
member_text(PaySlice object, const char *name)
{
	PaySlice	value;

	if (object.at == NULL || pay_slice_member(object, name, &value) != PAY_SLICE_FOUND)
		return NULL;
	return text_of(value);
}

/* What goes into tables and paths: NULL when it is no such word. */
static char *
word_of(PaySlice value)
{
	char	   *text = text_of(value);
	size_t		bytes = text ? strspn(text, WORD_CHARACTERS) : 0;

	return bytes > 0 && bytes <= WORD_BYTES_MAX && text[bytes] == '\0' ? text : NULL;
}

char *
pay_yookassa_member_word(PaySlice object, const char *name)
{
	PaySlice	value;

	if (object.at == NULL || pay_slice_member(object, name, &value) != PAY_SLICE_FOUND)
		return NULL;
	return word_of(value);
}

/* Where the payer is sent: nothing but an address of the web. */
static char *
member_url(PaySlice object, const char *name)
{
	char	   *url = member_text(object, name);

	if (url == NULL || strlen(url) > URL_BYTES_MAX || (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0))
		return NULL;
	for (const char *c = url; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			return NULL;
	return url;
}

/* Of "processing" and of errors, in milliseconds; -1: not said. */
static int
retry_after(PaySlice body)
{
	PaySlice	value;
	int64		ms = 0;

	if (pay_slice_member(body, "retry_after", &value) != PAY_SLICE_FOUND || value.bytes == 0 || value.bytes > 12)
		return -1;
	for (size_t i = 0; i < value.bytes; i++)
	{
		if (value.at[i] < '0' || value.at[i] > '9')
			return -1;
		ms = ms * 10 + (value.at[i] - '0');
	}
	return (int) Min(ms, RETRY_AFTER_MAX_MS);
}

static bool
is_any(const char *word, const char *const *list)
{
	for (; word && *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}
