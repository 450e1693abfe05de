/*
 * src/psp/psp.c
 *		Spellings of the adapter interface's words, and the list of adapters.
 *
 * The words here are the ones in tables, events and documentation; each
 * enumerator has exactly one.
 */
#include "payments.h"

#include "psp/psp.h"

#include "base/address.h"

static const PayAdapter *const adapters[] = {
#define PAY_ADAPTER(NAME) &pay_adapter_##NAME,
#include "psp/adapters.h"
#undef PAY_ADAPTER
};

static size_t secret_prefix_bytes(const char *text);
static bool is_word(char c);

const PayAdapter *
pay_psp_adapter(const char *name)
{
	for (size_t i = 0; i < lengthof(adapters); i++)
		if (strcmp(adapters[i]->name, name) == 0)
			return adapters[i];
	return NULL;
}

const char *
pay_psp_adapter_names(void)
{
	const char *names = psprintf("\"%s\"", adapters[0]->name);

	for (size_t i = 1; i < lengthof(adapters); i++)
		names = psprintf("%s%s\"%s\"", names, i + 1 == lengthof(adapters) ? " and " : ", ", adapters[i]->name);
	return names;
}

const PayFeed *
pay_psp_feed(const PayAdapter *adapter, const char *name)
{
	for (int i = 0; adapter && i < adapter->n_feeds; i++)
		if (strcmp(adapter->feeds[i].name, name) == 0)
			return &adapter->feeds[i];
	return NULL;
}

int
pay_psp_key_valid_s(const PayAdapter *adapter, PayOpKind kind)
{
	bool		follows = kind != PAY_OP_CHARGE && kind != PAY_OP_AUTHORIZE;

	return follows && adapter->follow_key_valid_s > 0 ? adapter->follow_key_valid_s : adapter->key_valid_s;
}

const char *
pay_psp_refusal(const PayAdapter *adapter, PayOpKind kind, bool part)
{
	if (!(adapter->can & (1 << kind)))
		return psprintf("it cannot %s", pay_op_kind_name(kind));
	if (part && kind == PAY_OP_CAPTURE && !(adapter->can & PAY_CAN_CAPTURE_PART))
		return "it cannot capture a part of what was authorized";
	if (part && kind == PAY_OP_REFUND && !(adapter->can & PAY_CAN_REFUND_PART))
		return "it cannot refund a part of what was captured";
	return NULL;
}

const char *
pay_psp_secret_refusal(const PayAdapter *adapter, const char *secret, const char *base_url, const char *hosts, bool loopback)
{
	static const char signing[] = ".webhook";
	char		host[PAY_HOST_BYTES_MAX + 1];
	char		own[PAY_HOST_BYTES_MAX + 1];
	size_t		bytes = strlen(secret);
	bool		here;

	/* Without the name: somebody may have passed the secret itself. */
	if (bytes >= strlen(signing) && pg_strcasecmp(secret + bytes - strlen(signing), signing) == 0)
		return "its secret is one that signs webhooks, and is never sent";
	if (!pay_url_host(base_url, host, &here))
		return "its base_url is malformed";
	if ((here && loopback) || pay_hosts_hold(hosts, host))
		return NULL;
	if (adapter->default_base_url && pay_url_host(adapter->default_base_url, own, &here) && strcmp(host, own) == 0)
		return NULL;
	return psprintf("no secret is sent to host \"%s\": payments.psp_hosts does not name it", host);
}

bool
pay_psp_is_secret(const char *text)
{
	return secret_prefix_bytes(text) > 0;
}

/* 0: it begins as no secret does. */
static size_t
secret_prefix_bytes(const char *text)
{
	for (size_t i = 0; i < lengthof(adapters); i++)
	{
		const char *const *prefix = adapters[i]->secret_prefixes;

		for (; prefix && *prefix; prefix++)
			if (strncmp(text, *prefix, strlen(*prefix)) == 0)
				return strlen(*prefix);
	}
	return 0;
}

void
pay_psp_mask_secrets(char *text)
{
	bool		in_word = false;

	while (*text)
	{
		size_t		bytes = in_word ? 0 : secret_prefix_bytes(text);

		text += bytes;
		if (bytes > 0)
			while (is_word(*text))
				*text++ = '*';
		if (*text == '\0')
			break;
		in_word = is_word(*text++);
	}
}

static bool
is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* ---------- requests and answers ---------- */

void
pay_headers_add(PayHeaders *headers, const char *name, const char *value)
{
	/* An adapter decides how many there are, nobody from outside. */
	Assert(headers->n < PAY_HEADERS_MAX);
	headers->list[headers->n++] = psprintf("%s: %s", name, value);
}

void
pay_headers_wipe(PayHeaders *headers)
{
	for (int i = 0; i < headers->n; i++)
		explicit_bzero(headers->list[i], strlen(headers->list[i]));
}

void
pay_answer_init(PayAnswer *answer)
{
	memset(answer, 0, sizeof(PayAnswer));
	answer->transport = PAY_TRANSPORT_LOST;
	answer->body = "";
	answer->retry_after_s = -1;
	answer->should_retry = -1;
}

void
pay_result_init(PayResult *result)
{
	memset(result, 0, sizeof(PayResult));
	result->class = PAY_CLASS_UNKNOWN;
	result->effect = PAY_EFFECT_NONE;
	result->retry_after_ms = -1;
}

bool
pay_psp_too_many(int http_status, int retry_after_s)
{
	return http_status == 429 || (http_status == 503 && retry_after_s >= 0);
}

bool
pay_account_differs(const PayAccount *a, const PayAccount *b)
{
	return (a->id && b->id && strcmp(a->id, b->id) != 0) || (a->mode && b->mode && strcmp(a->mode, b->mode) != 0);
}

/* Two headers of one name are refused: which one did the sender sign? */
const char *
pay_inbound_header(PayInbound *inbound, const char *name)
{
	const PayHeader *found = NULL;

	for (int i = 0; i < inbound->n_headers; i++)
	{
		if (!pay_header_is(&inbound->headers[i], name))
			continue;
		if (found != NULL || inbound->headers[i].value == NULL)
		{
			inbound->unusable = name;
			return NULL;
		}
		found = &inbound->headers[i];
	}
	if (found == NULL)
	{
		inbound->absent = name;
		return NULL;
	}
	return pnstrdup(found->value, found->value_bytes);
}

/* ---------- words ---------- */

const char *
pay_op_kind_name(PayOpKind kind)
{
	switch (kind)
	{
		case PAY_OP_CHARGE:
			return "charge";
		case PAY_OP_AUTHORIZE:
			return "authorize";
		case PAY_OP_CAPTURE:
			return "capture";
		case PAY_OP_VOID:
			return "void";
		case PAY_OP_REFUND:
			return "refund";
		case PAY_OP_PAYOUT:
			return "payout";
		case PAY_OP_EXPIRE:
			return "expire";
	}
	elog(ERROR, "unrecognized operation kind: %d", (int) kind);
	return NULL;
}

bool
pay_op_kind_parse(const char *name, PayOpKind *kind)
{
	for (int k = PAY_OP_CHARGE; k <= PAY_OP_LAST; k++)
	{
		if (strcmp(pay_op_kind_name((PayOpKind) k), name) == 0)
		{
			*kind = (PayOpKind) k;
			return true;
		}
	}
	return false;
}

const char *
pay_class_name(PayClass class)
{
	switch (class)
	{
		case PAY_CLASS_APPROVED:
			return "approved";
		case PAY_CLASS_PENDING:
			return "pending";
		case PAY_CLASS_REQUIRES_ACTION:
			return "requires_action";
		case PAY_CLASS_DECLINED:
			return "declined";
		case PAY_CLASS_RETRY_LATER:
			return "retry_later";
		case PAY_CLASS_NOT_SENT:
			return "not_sent";
		case PAY_CLASS_UNKNOWN:
			return "unknown";
		case PAY_CLASS_MISCONFIGURED:
			return "misconfigured";
		case PAY_CLASS_DUPLICATE:
			return "duplicate";
		case PAY_CLASS_CONFLICTED:
			return "conflicted";
	}
	elog(ERROR, "unrecognized answer class: %d", (int) class);
	return NULL;
}

bool
pay_class_parse(const char *name, PayClass *class)
{
	for (int c = PAY_CLASS_APPROVED; c <= PAY_CLASS_CONFLICTED; c++)
	{
		if (strcmp(pay_class_name((PayClass) c), name) == 0)
		{
			*class = (PayClass) c;
			return true;
		}
	}
	return false;
}
