/*
 * src/psp/adyen_event.c
 *		Adyen: standard webhooks, any number of items in one request.
 *
 * Each item carries its own signature, over eight of its members and no other:
 * what says what happened to the money is read from those alone.  They are
 * joined by colons without any escape, so a member with a colon in it could be
 * taken for two; all but our reference are refused such a one, and so the text
 * can be taken apart in one way only.
 */
#include "payments.h"

#include "psp/adyen.h"

#include "base/digest.h"

#include "common/base64.h"
#include "lib/stringinfo.h"

/* Ids of reports are names of files. */
#define NAME_BYTES_MAX 200
#define KEY_BYTES_MIN 16
#define KEY_BYTES_MAX 128
#define BASE64_BYTES 44			/* of a digest */

/* Customer Area, "test configuration": they name nothing that exists. */
#define TEST_PREFIX "test_"

typedef struct Item
{
	/* signed, in this order; "" when absent */
	const char *id;
	const char *original;
	const char *account;
	const char *reference;
	const char *value;
	const char *currency;
	const char *code;
	const char *success;

	const char *signature;
	const char *reason;			/* for people */
	PaySlice	whole;
} Item;

/* What a kind of event is about. */
typedef enum About
{
	ABOUT_PAYMENT,				/* its pspReference is the payment's */
	ABOUT_CHANGE,				/* pspReference is the capture's or refund's own, originalReference the payment's */
	ABOUT_WHOLE,				/* a change of the payment as a whole, which names it */
	ABOUT_DISPUTE,				/* pspReference is the dispute's, the same in all of its events */
	ABOUT_SECOND_DISPUTE		/* the same, once more: the money has come back, and is taken again */
} About;

typedef struct EventKind
{
	const char *code;
	About		about;
	PayEffect	effect;			/* of success */
	const char *stage;			/* of a dispute, in our words */
} EventKind;

/* All others say nothing of our payments' money, such as REPORT_AVAILABLE. */
static const EventKind kinds[] = {
	{"AUTHORISATION", ABOUT_PAYMENT, PAY_EFFECT_AUTHORIZED, NULL},
	{"PENDING", ABOUT_PAYMENT, PAY_EFFECT_NONE, NULL},
	{"OFFER_CLOSED", ABOUT_PAYMENT, PAY_EFFECT_NONE, NULL},
	{"EXPIRE", ABOUT_WHOLE, PAY_EFFECT_EXPIRED, NULL},
	{"CANCELLATION", ABOUT_WHOLE, PAY_EFFECT_VOIDED, NULL},
	{"TECHNICAL_CANCEL", ABOUT_WHOLE, PAY_EFFECT_VOIDED, NULL},
	{"CANCEL_OR_REFUND", ABOUT_WHOLE, PAY_EFFECT_NONE, NULL},
	{"CAPTURE", ABOUT_CHANGE, PAY_EFFECT_CAPTURED, NULL},
	{"CAPTURE_FAILED", ABOUT_CHANGE, PAY_EFFECT_NONE, NULL},
	{"REFUND", ABOUT_CHANGE, PAY_EFFECT_REFUNDED, NULL},
	{"REFUND_FAILED", ABOUT_CHANGE, PAY_EFFECT_REFUND_FAILED, NULL},
	{"REFUNDED_REVERSED", ABOUT_CHANGE, PAY_EFFECT_REFUND_FAILED, NULL},
	{"REQUEST_FOR_INFORMATION", ABOUT_DISPUTE, PAY_EFFECT_DISPUTE_STAGE, "inquiry"},
	{"NOTIFICATION_OF_CHARGEBACK", ABOUT_DISPUTE, PAY_EFFECT_DISPUTE_STAGE, "inquiry"},
	{"DISPUTE_OPENED_WITH_CHARGEBACK", ABOUT_DISPUTE, PAY_EFFECT_DISPUTED, "open"},
	{"CHARGEBACK", ABOUT_DISPUTE, PAY_EFFECT_DISPUTED, "open"},
	{"CHARGEBACK_REVERSED", ABOUT_DISPUTE, PAY_EFFECT_DISPUTE_WON, "won"},
	{"PREARBITRATION_WON", ABOUT_DISPUTE, PAY_EFFECT_DISPUTE_WON, "won"},
	{"SECOND_CHARGEBACK", ABOUT_SECOND_DISPUTE, PAY_EFFECT_DISPUTE_LOST, "lost"},
	{"PREARBITRATION_LOST", ABOUT_SECOND_DISPUTE, PAY_EFFECT_DISPUTE_LOST, "lost"},
};

static PaySliceResult next_item(PaySlice list, size_t *at, PaySlice *item);
static bool list_of(const PayInbound *inbound, PaySlice *list);
static bool read_item(PaySlice element, Item *item);
static const char *word_of(PaySlice value);
static bool is_unambiguous(const Item *item);
static bool is_signed(const Item *item, const char *const *secrets);
static size_t key_of(const char *hex, uint8 *key);
static bool read_event(const Item *item, const PayInbound *inbound, const char *mode, PayPspEvent *event);
static const EventKind *kind_of(const char *code);
static void read_result(const Item *item, const EventKind *kind, const char *config, PayPspEvent *event);
static void read_ids(const Item *item, const EventKind *kind, PayResult *result);
static void read_authorisation(const PayAdyenReference *names, bool success, PayResult *result);
static void read_change(const PayAdyenReference *names, const EventKind *kind, bool success, PayResult *result);
static bool is_test(const Item *item);
static bool is_name(const char *text);

/* ---------- is it Adyen's? ---------- */

/* All of them, or none. */
PayVerdict
pay_adyen_verify(PayInbound *inbound, const char *const *secrets, int64 now)
{
	PaySlice	list,
				element;
	size_t		at = 0;
	int			n = 0;
	PaySliceResult found;

	if (!list_of(inbound, &list))
		return PAY_VERDICT_MALFORMED;
	while ((found = next_item(list, &at, &element)) == PAY_SLICE_FOUND)
	{
		Item		item;

		if (!read_item(element, &item) || !is_unambiguous(&item))
			return PAY_VERDICT_MALFORMED;
		if (item.signature == NULL)
			return PAY_VERDICT_MISSING;
		if (!is_signed(&item, secrets))
			return PAY_VERDICT_WRONG;
		n++;
	}
	/* Of nothing, nothing is signed. */
	return found == PAY_SLICE_BROKEN ? PAY_VERDICT_MALFORMED : n == 0 ? PAY_VERDICT_MISSING : PAY_VERDICT_OK;
}

static bool
list_of(const PayInbound *inbound, PaySlice *list)
{
	PaySlice	whole = {inbound->body, inbound->body_bytes};

	return pay_slice_member(whole, "notificationItems", list) == PAY_SLICE_FOUND;
}

/* Each in an object of its own that has nothing else. */
static PaySliceResult
next_item(PaySlice list, size_t *at, PaySlice *item)
{
	PaySlice	wrapped;
	PaySliceResult found = pay_slice_element(list, at, &wrapped);

	if (found == PAY_SLICE_FOUND && pay_slice_member(wrapped, "NotificationRequestItem", item) != PAY_SLICE_FOUND)
		return PAY_SLICE_BROKEN;
	return found;
}

/* False when one of what is signed is there, and is neither a text nor a number. */
static bool
read_item(PaySlice element, Item *item)
{
	static const char *const names[] = {
		"pspReference", "originalReference", "merchantAccountCode", "merchantReference", "eventCode", "success", "amount", "additionalData"
	};
	static const char *const amount_names[] = {"value", "currency"};
	PaySlice	values[lengthof(names)];
	PaySlice	amount[lengthof(amount_names)] = {{0}};

	memset(item, 0, sizeof(Item));
	if (!pay_slice_members(element, names, values, lengthof(names)) ||
		(values[6].at != NULL && !pay_slice_is(values[6], "null") &&
		 !pay_slice_members(values[6], amount_names, amount, lengthof(amount_names))))
		return false;
	item->whole = element;
	item->id = word_of(values[0]);
	item->original = word_of(values[1]);
	item->account = word_of(values[2]);
	item->reference = word_of(values[3]);
	item->code = word_of(values[4]);
	item->success = word_of(values[5]);
	item->value = word_of(amount[0]);
	item->currency = word_of(amount[1]);
	item->reason = pay_adyen_text(element, "reason");
	if (values[7].at != NULL)
		item->signature = pay_adyen_text(values[7], "hmacSignature");
	return item->id && item->original && item->account && item->reference && item->code && item->success && item->value && item->currency;
}

/* As it goes into what is signed; NULL when it is an object or a list, or a text that cannot be read. */
static const char *
word_of(PaySlice value)
{
	char	   *text;

	if (value.at == NULL || pay_slice_is(value, "null"))
		return "";
	if (value.at[0] == '{' || value.at[0] == '[')
		return NULL;
	if (value.at[0] != '"')
		return pnstrdup(value.at, value.bytes);
	text = palloc(value.bytes);
	return pay_slice_string(value, text) ? text : NULL;
}

static bool
is_unambiguous(const Item *item)
{
	const char *const others[] = {item->id, item->original, item->account, item->value, item->currency, item->code, item->success};

	for (size_t i = 0; i < lengthof(others); i++)
		if (strchr(others[i], ':') != NULL)
			return false;
	return true;
}

static bool
is_signed(const Item *item, const char *const *secrets)
{
	const char *text = psprintf("%s:%s:%s:%s:%s:%s:%s:%s", item->id, item->original, item->account, item->reference,
								item->value, item->currency, item->code, item->success);
	PayChunk	message = {text, strlen(text)};
	bool		matches = false;

	if (strlen(item->signature) != BASE64_BYTES)
		return false;
	for (; *secrets != NULL; secrets++)
	{
		uint8		key[KEY_BYTES_MAX];
		size_t		bytes = key_of(*secrets, key);
		uint8		mac[PAY_HASH_BYTES];
		char		spelled[BASE64_BYTES + 1];

		/* Anybody can sign with an empty key. */
		if (bytes < KEY_BYTES_MIN)
			continue;
		pay_hmac_sha256(key, bytes, &message, 1, mac);
		explicit_bzero(key, sizeof(key));
		if (pg_b64_encode((const void *) mac, PAY_HASH_BYTES, spelled, BASE64_BYTES + 1) == BASE64_BYTES)
			matches |= pay_equal_constant_time(item->signature, spelled, BASE64_BYTES);
	}
	return matches;
}

/* Keys are shown in hexadecimal digits.  0 when it is none. */
static size_t
key_of(const char *hex, uint8 *key)
{
	size_t		digits = strspn(hex, "0123456789abcdefABCDEF");

	if (hex[digits] != '\0' || digits % 2 != 0 || digits > 2 * KEY_BYTES_MAX)
		return 0;
	for (size_t i = 0; i < digits; i++)
	{
		int			digit = hex[i] <= '9' ? hex[i] - '0' : (hex[i] | 0x20) - 'a' + 10;

		key[i / 2] = (uint8) (i % 2 == 0 ? digit << 4 : key[i / 2] | digit);
	}
	return digits / 2;
}

/* ---------- what it says ---------- */

bool
pay_adyen_parse(const PayInbound *inbound, PayEvents *events)
{
	PaySlice	whole = {inbound->body, inbound->body_bytes};
	PaySlice	list,
				element;
	size_t		at = 0;
	PaySliceResult found;
	char	   *live;
	const char *mode;

	if (!list_of(inbound, &list))
	{
		events->field = "notificationItems";
		return false;
	}
	live = pay_adyen_text(whole, "live");
	mode = live == NULL ? NULL : strcmp(live, "true") == 0 ? "live" : strcmp(live, "false") == 0 ? "test" : NULL;
	events->list = palloc0(sizeof(PayPspEvent) * PAY_EVENTS_MAX);
	while ((found = next_item(list, &at, &element)) == PAY_SLICE_FOUND)
	{
		Item		item;

		if (events->n == PAY_EVENTS_MAX || !read_item(element, &item) ||
			!read_event(&item, inbound, mode, &events->list[events->n]))
		{
			events->field = "pspReference";
			return false;
		}
		events->n++;
	}
	/* What older accounts wait for; the others look at the status. */
	events->reply = "[accepted]";
	if (found == PAY_SLICE_BROKEN)
		events->field = "NotificationRequestItem";
	return found == PAY_SLICE_END;
}

/* Repeated, an event has the same of these four, and nothing else needs be the same. */
static bool
read_event(const Item *item, const PayInbound *inbound, const char *mode, PayPspEvent *event)
{
	char	   *account = pay_adyen_config(inbound->config, "merchant_account");
	const EventKind *kind = kind_of(item->code);

	memset(event, 0, sizeof(*event));
	pay_result_init(&event->result);
	if (!is_name(item->id) || !pay_adyen_is_id(item->code) || (item->original[0] != '\0' && !is_name(item->original)))
		return false;
	event->event_id = psprintf("%s.%s.%s%s%s", item->id, item->code, strcmp(item->success, "true") == 0 ? "true" : "false",
							   item->original[0] != '\0' ? "." : "", item->original);
	event->event_type = item->code;
	event->raw = item->whole;
	if (is_name(item->account))
		event->account = (PayAccount) {item->account, mode};
	/* An endpoint may be given the events of all of a company's accounts. */
	if (kind == NULL || is_test(item) || (account && strcmp(account, item->account) != 0))
		return true;
	read_result(item, kind, inbound->config, event);
	event->relevant = event->unreadable == NULL && event->result.class != PAY_CLASS_UNKNOWN &&
		(event->result.psp_payment_id != NULL || event->result.psp_ref != NULL);
	return true;
}

static const EventKind *
kind_of(const char *code)
{
	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].code, code) == 0)
			return &kinds[i];
	return NULL;
}

static void
read_result(const Item *item, const EventKind *kind, const char *config, PayPspEvent *event)
{
	PayResult  *result = &event->result;
	PayAdyenReference names = {0};
	bool		is_ours = pay_adyen_reference_parse(item->reference, &names);
	bool		is_first = is_ours && (names.kind == PAY_OP_CHARGE || names.kind == PAY_OP_AUTHORIZE);
	bool		success = strcmp(item->success, "true") == 0;

	if (!success && strcmp(item->success, "false") != 0)
		event->unreadable = "success";
	else if (!pay_adyen_is_id(item->id) || (item->original[0] != '\0' && !pay_adyen_is_id(item->original)))
		event->unreadable = "pspReference";
	else if (!pay_adyen_amount(item->whole, result))
		event->unreadable = "amount";
	/* We never ask for it; whether it has cancelled or refunded stands in a member that is not signed. */
	else if (strcmp(kind->code, "CANCEL_OR_REFUND") == 0 && success)
		event->unreadable = "modification.action";
	if (event->unreadable)
		return;

	read_ids(item, kind, result);
	if (is_ours)
	{
		result->psp_ref = names.psp_ref;
		result->generation = names.generation;
	}
	if (!success)
		result->message = pay_adyen_presentable(item->reason);
	switch (kind->about)
	{
		case ABOUT_PAYMENT:
			/* Each of our payments carries our reference; another is of somebody else who uses the account. */
			if (!is_first)
				return;
			if (strcmp(kind->code, "AUTHORISATION") == 0)
				read_authorisation(&names, success, result);
			else if (!names.by_link)
			{
				/* Of a link one try is over, or goes on: it can still be paid. */
				result->class = strcmp(kind->code, "PENDING") == 0 ? PAY_CLASS_PENDING : PAY_CLASS_DECLINED;
				if (result->class == PAY_CLASS_DECLINED)
					pay_adyen_add_code(result, "", "offer_closed");
			}
			break;
		case ABOUT_CHANGE:
		case ABOUT_WHOLE:
			read_change(is_ours ? &names : NULL, kind, success, result);
			result->keeps_rest = result->effect == PAY_EFFECT_CAPTURED && result->object_id == item->id && pay_adyen_captures_many(config);
			break;
		case ABOUT_DISPUTE:
		case ABOUT_SECOND_DISPUTE:
			if (!success)
				return;
			result->class = PAY_CLASS_APPROVED;
			result->effect = kind->effect;
			result->dispute_stage = kind->stage;
			break;
	}
}

/* Which object moved the money, and of which payment. */
static void
read_ids(const Item *item, const EventKind *kind, PayResult *result)
{
	const char *payment = kind->about == ABOUT_PAYMENT || item->original[0] == '\0' ? item->id : item->original;

	result->psp_payment_id = payment;
	result->object_id = kind->about == ABOUT_PAYMENT || kind->about == ABOUT_WHOLE ? payment :
		kind->about == ABOUT_SECOND_DISPUTE ? psprintf("%s_2", item->id) : item->id;
}

static void
read_authorisation(const PayAdyenReference *names, bool success, PayResult *result)
{
	if (success)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = names->kind == PAY_OP_CHARGE ? PAY_EFFECT_CAPTURED : PAY_EFFECT_AUTHORIZED;
	}
	else if (!names->by_link)
	{
		result->class = PAY_CLASS_DECLINED;
		pay_adyen_add_code(result, "", "Refused");
	}
}

/*
 * Names are those of the operation if it was ours, and the payment's if it was
 * done on Adyen's pages.  That something of that kind did not happen is no news
 * of the payment itself.
 */
static void
read_change(const PayAdyenReference *names, const EventKind *kind, bool success, PayResult *result)
{
	bool		is_capture = strncmp(kind->code, "CAPTURE", 7) == 0;
	/* What was captured by itself has the id of the payment. */
	bool		by_itself = is_capture && names && names->kind == PAY_OP_CHARGE;

	if (by_itself)
		result->object_id = result->psp_payment_id;
	if (success && kind->effect != PAY_EFFECT_NONE)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = kind->effect;
	}
	else if (kind->effect == PAY_EFFECT_REFUNDED)
	{
		result->class = PAY_CLASS_APPROVED;
		result->effect = PAY_EFFECT_REFUND_FAILED;
		pay_adyen_add_code(result, "", "refund_failed");
	}
	else if (is_capture && (by_itself || strcmp(kind->code, "CAPTURE_FAILED") == 0))
	{
		result->class = PAY_CLASS_CONFLICTED;
		result->message = "the capture failed at the PSP: if it is booked, that money does not come";
		pay_adyen_add_code(result, "", "capture_failed");
	}
	else if (!success && names && ((kind->effect == PAY_EFFECT_CAPTURED && names->kind == PAY_OP_CAPTURE) ||
								   (kind->effect == PAY_EFFECT_VOIDED && names->kind == PAY_OP_VOID)))
	{
		result->class = PAY_CLASS_DECLINED;
		pay_adyen_add_code(result, "", kind->effect == PAY_EFFECT_CAPTURED ? "capture_refused" : "cancel_refused");
	}
}

/* ---------- small things ---------- */

static bool
is_test(const Item *item)
{
	return strncmp(item->id, TEST_PREFIX, strlen(TEST_PREFIX)) == 0;
}

static bool
is_name(const char *text)
{
	size_t		bytes = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.");

	return bytes > 0 && bytes <= NAME_BYTES_MAX && text[bytes] == '\0';
}
