/*
 * src/psp/stripe.c
 *		Stripe: PaymentIntents and Refunds, API version below.
 *
 * Always true here:
 *
 * - The bytes of a request derive from the command alone, field by field in a
 *	 fixed order, so a resend after anything is the same request to Stripe.
 * - Only what Stripe itself said, in an object we could read and that names
 *	 our operation, is a definite answer.  All else is PAY_CLASS_UNKNOWN.
 * - An inquiry never says that something failed because the inquiry failed.
 * - Amounts are in Stripe's units on both sides (they differ from ISO 4217 for
 *	 some currencies; payments.psp_currency); the caller rescales.
 *
 * Requests are built here; psp/stripe_answer.c reads what comes back, psp/stripe_event.c what comes unasked, and
 * psp/stripe_feed.c asks for and reads lists.
 *
 * A PaymentIntent is authorized and cancelled at most once, so its own id names
 * those movements: the answer, the inquiry and the event all carry it, whatever
 * they expand.  Captures have no id either: what is told is the sum of all of
 * them, which only grows (PayAdapter.capture_is_payment).
 */
#include "payments.h"

#include "psp/stripe.h"
#include "psp/psp.h"

#include "base/json_slice.h"

#include "lib/stringinfo.h"
#include "utils/formatting.h"

/* Stripe prunes keys after 24 hours at the earliest; leave an hour for clocks and queues. */
#define KEY_VALID_S (23 * 60 * 60)

#define ID_BYTES_MAX 255

/* Of the ids that Stripe gives to customers. */
#define CUSTOMER_PREFIX "cus_"

#define EXPAND_KEY "expand[]"
#define EXPAND_FEE "latest_charge.balance_transaction"

static const char *const headers[] = {"Stripe-Version: 2026-10-28.endive", NULL};
static const char *const refund_reasons[] = {"duplicate", "fraudulent", "requested_by_customer", NULL};
static const char *const cancellation_reasons[] = {
	"duplicate", "fraudulent", "requested_by_customer", "abandoned", NULL
};

/* multicapture: true of an account that may capture several times, for which authorizations are then made. */
static const char *const config_keys[] = {"multicapture", NULL};
static const char *const secret_prefixes[] = {"sk_", "rk_", "whsec_", NULL};

static bool build(const PayCommand *command, PayRequest *request, const char **problem);
static bool build_payment(const PayCommand *command, StringInfo body, const char **problem);
static bool build_inquiry(const PayCommand *command, PayRequest *request);
static bool is_object_id(PayOpKind kind, const char *id);
static const char *object_id_hint(PayOpKind kind);
static void authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static void build_account(PayRequest *request);
static void read_account(const PayAnswer *answer, const char *secret, PayAccount *account);
static bool begins_with(const char *text, const char *const *beginnings);
static bool has_multicapture(const PayCommand *command);
static char *search_path_of(const PayCommand *command);
static void form_add_names(StringInfo form, const PayCommand *command);
static void append_escaped(StringInfo out, const char *text);

const PayAdapter pay_adapter_stripe = {
	.name = "stripe",
	.can = PAY_CAN_CHARGE | PAY_CAN_AUTHORIZE | PAY_CAN_CAPTURE | PAY_CAN_VOID | PAY_CAN_REFUND |
	PAY_CAN_CAPTURE_PART | PAY_CAN_CAPTURE_MANY | PAY_CAN_REFUND_PART,
	.capture_is_payment = true,
	.fee_by_inquiry = true,
	.key_valid_s = KEY_VALID_S,
	.key_header = "Idempotency-Key",
	.default_base_url = "https://api.stripe.com",
	.headers = headers,
	.secret_prefixes = secret_prefixes,
	.config_keys = config_keys,
	.feeds = pay_stripe_feeds,
	.n_feeds = PAY_STRIPE_FEEDS,
	.build = build,
	.build_inquiry = build_inquiry,
	.is_object_id = is_object_id,
	.object_id_hint = object_id_hint,
	.authorize = authorize,
	.build_account = build_account,
	.read_account = read_account,
	.read_header = pay_stripe_read_header,
	.classify = pay_stripe_classify,
	.verify = pay_stripe_verify,
	.parse = pay_stripe_parse,
};

/* ---------- requests ---------- */

static bool
build(const PayCommand *command, PayRequest *request, const char **problem)
{
	StringInfoData body;

	initStringInfo(&body);
	request->method = "POST";
	request->content_type = "application/x-www-form-urlencoded";
	*problem = NULL;

	if (command->psp_ref == NULL || command->generation < 1)
		*problem = "the operation has no reference";
	else if (command->kind != PAY_OP_VOID && command->amount <= 0)
		*problem = "the amount is not positive";
	else if (command->kind != PAY_OP_CHARGE && command->kind != PAY_OP_AUTHORIZE && !pay_stripe_is_id(command->psp_payment_id))
		*problem = "the payment has no PaymentIntent";
	if (*problem != NULL)
		return false;

	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			request->path = "/v1/payment_intents";
			if (!build_payment(command, &body, problem))
				return false;
			break;
		case PAY_OP_CAPTURE:
			request->path = psprintf("/v1/payment_intents/%s/capture", command->psp_payment_id);
			if (command->keep_rest && !has_multicapture(command))
			{
				*problem = "it captures an authorization once, unless the account may do so more often and the PSP has config => '{\"multicapture\": true}'";
				return false;
			}
			pay_stripe_form_add_int64(&body, "amount_to_capture", command->amount);
			pay_stripe_form_add(&body, "final_capture", command->keep_rest ? "false" : NULL);
			pay_stripe_form_add(&body, EXPAND_KEY, EXPAND_FEE);
			break;
		case PAY_OP_VOID:
			/* What is captured in part cannot be cancelled: a last capture of nothing gives back the rest. */
			if (command->captured > 0)
			{
				request->path = psprintf("/v1/payment_intents/%s/capture", command->psp_payment_id);
				pay_stripe_form_add_int64(&body, "amount_to_capture", 0);
				pay_stripe_form_add(&body, "final_capture", "true");
				break;
			}
			request->path = psprintf("/v1/payment_intents/%s/cancel", command->psp_payment_id);
			if (pay_stripe_is_listed(command->reason, cancellation_reasons))
				pay_stripe_form_add(&body, "cancellation_reason", command->reason);
			break;
		case PAY_OP_REFUND:
			request->path = "/v1/refunds";
			pay_stripe_form_add(&body, "payment_intent", command->psp_payment_id);
			pay_stripe_form_add_int64(&body, "amount", command->amount);
			if (pay_stripe_is_listed(command->reason, refund_reasons))
				pay_stripe_form_add(&body, "reason", command->reason);
			form_add_names(&body, command);
			break;
		case PAY_OP_PAYOUT:
		case PAY_OP_EXPIRE:
			*problem = "there is nothing to send";
			return false;
	}
	request->body = body.data;
	return true;
}

static bool
build_payment(const PayCommand *command, StringInfo body, const char **problem)
{
	bool		may_redirect = command->return_url != NULL && *command->return_url != '\0';

	if (command->payment_method == NULL || *command->payment_method == '\0')
	{
		*problem = "Stripe needs a payment method";
		return false;
	}
	pay_stripe_form_add_int64(body, "amount", command->amount);
	pay_stripe_form_add(body, "currency", asc_tolower(command->currency, strlen(command->currency)));
	pay_stripe_form_add(body, "payment_method", command->payment_method);
	pay_stripe_form_add(body, "confirm", "true");
	pay_stripe_form_add(body, "capture_method", command->kind == PAY_OP_AUTHORIZE ? "manual" : "automatic");
	if (command->kind == PAY_OP_AUTHORIZE && has_multicapture(command))
		pay_stripe_form_add(body, "payment_method_options[card][request_multicapture]", "if_available");
	if (command->off_session)
		pay_stripe_form_add(body, "off_session", "true");
	pay_stripe_form_add(body, "return_url", command->return_url);
	/* It refuses a payment for a customer that it does not know, such as the application's own name of one. */
	if (command->customer && strncmp(command->customer, CUSTOMER_PREFIX, strlen(CUSTOMER_PREFIX)) == 0)
		pay_stripe_form_add(body, "customer", command->customer);
	pay_stripe_form_add(body, "description", command->description);
	form_add_names(body, command);
	pay_stripe_form_add(body, "metadata[order_ref]", command->order_ref);
	pay_stripe_form_add(body, EXPAND_KEY, EXPAND_FEE);
	/* Without these Stripe asks for a return_url, in case the payer must be sent away. */
	if (!may_redirect)
	{
		pay_stripe_form_add(body, "automatic_payment_methods[enabled]", "true");
		pay_stripe_form_add(body, "automatic_payment_methods[allow_redirects]", "never");
	}
	return true;
}

static bool
build_inquiry(const PayCommand *command, PayRequest *request)
{
	StringInfoData query;

	request->method = "GET";
	request->content_type = NULL;
	request->body = NULL;
	initStringInfo(&query);

	switch (command->kind)
	{
		case PAY_OP_CHARGE:
		case PAY_OP_AUTHORIZE:
			if (command->psp_payment_id == NULL)
			{
				request->path = search_path_of(command);
				return request->path != NULL;
			}
			break;
		case PAY_OP_CAPTURE:
		case PAY_OP_VOID:
		case PAY_OP_EXPIRE:
			break;
		case PAY_OP_PAYOUT:
			return false;
		case PAY_OP_REFUND:
			if (command->psp_object_id != NULL)
			{
				if (!pay_stripe_is_id(command->psp_object_id))
					return false;
				request->path = psprintf("/v1/refunds/%s", command->psp_object_id);
				return true;
			}
			if (!pay_stripe_is_id(command->psp_payment_id))
				return false;
			pay_stripe_form_add(&query, "payment_intent", command->psp_payment_id);
			pay_stripe_form_add_int64(&query, "limit", PAY_STRIPE_LIST_LIMIT);
			request->path = psprintf("/v1/refunds?%s", query.data);
			return true;
	}

	if (!pay_stripe_is_id(command->psp_payment_id))
		return false;
	pay_stripe_form_add(&query, EXPAND_KEY, EXPAND_FEE);
	request->path = psprintf("/v1/payment_intents/%s?%s", command->psp_payment_id, query.data);
	return true;
}

/* A PaymentIntent names all but refunds. */
static bool
is_object_id(PayOpKind kind, const char *id)
{
	static const char *const intent[] = {"pi_", NULL};
	static const char *const refund[] = {"re_", "pyr_", NULL};

	return pay_stripe_is_id(id) && begins_with(id, kind == PAY_OP_REFUND ? refund : intent);
}

/* Its pages show the charge (ch_...) beside the PaymentIntent that made it. */
static const char *
object_id_hint(PayOpKind kind)
{
	return kind == PAY_OP_REFUND
		? "Stripe calls a refund re_... (of some payment methods pyr_...): it is in the payment's page under \"Refunds\", and in the refund's own address. It is neither the charge (ch_...) nor the payment (pi_...)."
		: "Stripe calls a payment pi_...: it is the \"Payment ID\" on the payment's page, and in the address of that page. It is not the charge (ch_...), which stands beside it.";
}

static void
authorize(const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	pay_headers_add(headers, "Authorization", psprintf("Bearer %s", credentials->secret));
}

/* Restricted keys may not: then the answer is 403. */
static void
build_account(PayRequest *request)
{
	request->method = "GET";
	request->path = "/v1/account";
}

/* An account has the same id in both modes; the secret alone tells them apart. */
static void
read_account(const PayAnswer *answer, const char *secret, PayAccount *account)
{
	static const char *const live[] = {"sk_live_", "rk_live_", NULL};
	static const char *const test[] = {"sk_test_", "rk_test_", NULL};
	PaySlice	whole = {answer->body, answer->body_bytes},
				object,
				id;

	if (answer->http_status == 200 && pay_slice_member(whole, "object", &object) == PAY_SLICE_FOUND && pay_slice_is(object, "\"account\"") &&
		pay_slice_member(whole, "id", &id) == PAY_SLICE_FOUND && id.at[0] == '"')
	{
		char	   *text = palloc(id.bytes);

		if (pay_slice_string(id, text) && pay_stripe_is_id(text))
			account->id = text;
	}
	account->mode = begins_with(secret, live) ? "live" : begins_with(secret, test) ? "test" : NULL;
}

static bool
begins_with(const char *text, const char *const *beginnings)
{
	for (; *beginnings != NULL; beginnings++)
		if (strncmp(text, *beginnings, strlen(*beginnings)) == 0)
			return true;
	return false;
}

static bool
has_multicapture(const PayCommand *command)
{
	PaySlice	value;

	return command->config != NULL &&
		pay_slice_member((PaySlice) {command->config, strlen(command->config)}, "multicapture", &value) == PAY_SLICE_FOUND &&
		pay_slice_is(value, "true");
}

/* Stripe's search lags by up to a minute: what it does not find may exist all the same. */
static char *
search_path_of(const PayCommand *command)
{
	StringInfoData clause;
	StringInfoData query;

	if (command->psp_ref == NULL)
		return NULL;
	initStringInfo(&clause);
	appendStringInfoString(&clause, "metadata[\"payments_ref\"]:\"");
	for (const char *p = command->psp_ref; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(&clause, '\\');
		appendStringInfoChar(&clause, *p);
	}
	appendStringInfoChar(&clause, '"');

	initStringInfo(&query);
	pay_stripe_form_add(&query, "query", clause.data);
	pay_stripe_form_add_int64(&query, "limit", PAY_STRIPE_LIST_LIMIT);
	pay_stripe_form_add(&query, EXPAND_KEY, "data." EXPAND_FEE);
	return psprintf("/v1/payment_intents/search?%s", query.data);
}

/* Leaves out what is absent: to Stripe an empty value means "unset". */
void
pay_stripe_form_add(StringInfo form, const char *key, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	if (form->len > 0)
		appendStringInfoChar(form, '&');
	append_escaped(form, key);
	appendStringInfoChar(form, '=');
	append_escaped(form, value);
}

void
pay_stripe_form_add_int64(StringInfo form, const char *key, int64 value)
{
	char		digits[32];

	snprintf(digits, sizeof(digits), INT64_FORMAT, value);
	pay_stripe_form_add(form, key, digits);
}

/* What an inquiry and an event find the operation by. */
static void
form_add_names(StringInfo form, const PayCommand *command)
{
	pay_stripe_form_add(form, "metadata[payments_ref]", command->psp_ref);
	pay_stripe_form_add_int64(form, "metadata[payments_generation]", command->generation);
}

/* RFC 3986: all but the unreserved characters, which every decoder leaves alone. */
static void
append_escaped(StringInfo out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *) text; *p != '\0'; p++)
	{
		if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ||
			*p == '-' || *p == '.' || *p == '_' || *p == '~')
			appendStringInfoChar(out, (char) *p);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, hex[*p >> 4]);
			appendStringInfoChar(out, hex[*p & 0x0f]);
		}
	}
}

/* ---------- small things ---------- */

/* Ids from the PSP go into paths and tables. */
bool
pay_stripe_is_id(const char *text)
{
	size_t		bytes;

	if (text == NULL)
		return false;
	bytes = strspn(text, PAY_STRIPE_WORD);
	return bytes > 0 && bytes <= ID_BYTES_MAX && text[bytes] == '\0';
}

bool
pay_stripe_is_listed(const char *word, const char *const *list)
{
	for (; word != NULL && *list != NULL; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}
