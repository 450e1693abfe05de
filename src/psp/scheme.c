/*
 * src/psp/scheme.c
 *		How a PSP knows us, and we it, where that can be said without code.
 *
 * Of two secrets either will do; an empty one signs nothing.  A time more than
 * five minutes off is refused after the signature was found right, so that it
 * says nothing to a stranger.
 */
#include "payments.h"

#include "psp/scheme.h"

#include "base/digest.h"

#include "common/base64.h"
#include "lib/stringinfo.h"

#define TOLERANCE_S (5 * 60)
#define TIME_DIGITS_MAX 12
#define CHUNKS_MAX 32
#define ID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

/* What a template may speak of. */
typedef struct Signed
{
	const char *timestamp;
	const char *method;
	const char *path;
	const char *id;
	const char *body;
	size_t		body_bytes;
} Signed;

/* Standard Webhooks: the key is base64, and so is the signature. */
static const PaySignature standard = {
	.header = "webhook-signature", .prefix = "v1,", .over = "{id}.{timestamp}.{body}", .base64 = true,
	.time_header = "webhook-timestamp", .id_header = "webhook-id"
};
#define STANDARD_KEY "whsec_"

static bool is_event_id(const char *id);
static char *sign(const PaySignature *signature, const char *key, size_t key_bytes, const Signed *what);
static int	expand(const char *over, const Signed *what, PayChunk *chunks);
static bool comes_apart(const char *over);
static bool is_named(const char **at, const char *name, PayChunk *chunk, const char *value, size_t bytes);
static void authorize(const PayScheme *scheme, const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers);
static bool read_token(const PayAnswer *answer, PayToken *token);
static void read_header(const PayScheme *scheme, const PayHeader *header, PayAnswer *answer);
static PayVerdict verify(const PayScheme *scheme, PayInbound *inbound, const char *const *secrets, int64 now);
static PayVerdict verify_signature(const PaySignature *signature, bool standard_key, PayInbound *inbound, const char *const *secrets, int64 now);
static bool holds(const char *list, const char *expected, const PaySignature *signature, bool several);
static const char *key_of(const char *secret, bool standard_key, size_t *bytes);
static char *base64(const void *data, int bytes);

/* ---------- the questions of an adapter that a scheme may answer ---------- */

void
pay_psp_headers(const PayAdapter *adapter, const PayRequest *request, const PayCredentials *credentials,
				const char *psp_key, PayHeaders *headers)
{
	memset(headers, 0, sizeof(PayHeaders));
	if (credentials && adapter->scheme)
		authorize(adapter->scheme, request, credentials, headers);
	else if (credentials)
		adapter->authorize(request, credentials, headers);
	headers->n_secret = headers->n;
	if (psp_key && adapter->key_header)
		pay_headers_add(headers, adapter->key_header, psp_key);
	if (request->content_type)
		pay_headers_add(headers, "Content-Type", request->content_type);
	for (const char *const *fixed = adapter->headers; fixed && *fixed; fixed++)
	{
		Assert(headers->n < PAY_HEADERS_MAX);
		headers->list[headers->n++] = pstrdup(*fixed);
	}
}

void
pay_psp_read_header(const PayAdapter *adapter, const PayHeader *header, PayAnswer *answer)
{
	if (adapter->scheme)
		read_header(adapter->scheme, header, answer);
	else if (adapter->read_header)
		adapter->read_header(header, answer);
}

bool
pay_psp_wants_token(const PayAdapter *adapter)
{
	return adapter->scheme ? adapter->scheme->authorize == PAY_AUTHORIZE_TOKEN : adapter->build_token != NULL;
}

void
pay_psp_build_token(const PayAdapter *adapter, const char *secret, PayRequest *request)
{
	if (adapter->scheme == NULL)
	{
		adapter->build_token(secret, request);
		return;
	}
	request->method = "POST";
	request->path = adapter->scheme->token_path;
	request->content_type = "application/x-www-form-urlencoded";
	request->body = "grant_type=client_credentials";
}

bool
pay_psp_read_token(const PayAdapter *adapter, const PayAnswer *answer, PayToken *token)
{
	return adapter->scheme ? read_token(answer, token) : adapter->read_token(answer, token);
}

bool
pay_psp_sends_events(const PayAdapter *adapter)
{
	return adapter->scheme ? adapter->scheme->verify != PAY_VERIFY_NOTHING : adapter->verify != NULL;
}

PayVerdict
pay_psp_verify(const PayAdapter *adapter, PayInbound *inbound, const char *const *secrets, int64 now)
{
	return adapter->scheme ? verify(adapter->scheme, inbound, secrets, now) : adapter->verify(inbound, secrets, now);
}

/* ---------- how it answers them ---------- */

static void
authorize(const PayScheme *scheme, const PayRequest *request, const PayCredentials *credentials, PayHeaders *headers)
{
	const char *secret = credentials->secret;
	const PaySignature *signature = &scheme->request;
	Signed		what = {.method = request->method, .path = request->path, .id = ""};

	switch (scheme->authorize)
	{
		case PAY_AUTHORIZE_BEARER:
			pay_headers_add(headers, "Authorization", psprintf("Bearer %s", secret));
			return;
		case PAY_AUTHORIZE_BASIC:
			pay_headers_add(headers, "Authorization", psprintf("Basic %s", base64(secret, (int) strlen(secret))));
			return;
		case PAY_AUTHORIZE_HEADER:
			pay_headers_add(headers, scheme->header, secret);
			return;
		case PAY_AUTHORIZE_SIGNATURE:
			what.timestamp = psprintf(INT64_FORMAT, credentials->now);
			what.body = request->body ? request->body : "";
			what.body_bytes = strlen(what.body);
			pay_headers_add(headers, signature->header,
							psprintf("%s%s", signature->prefix, sign(signature, secret, strlen(secret), &what)));
			if (signature->time_header)
				pay_headers_add(headers, signature->time_header, what.timestamp);
			return;
		case PAY_AUTHORIZE_TOKEN:
			if (credentials->token)
				pay_headers_add(headers, "Authorization", psprintf("Bearer %s", credentials->token));
			else
				pay_headers_add(headers, "Authorization", psprintf("Basic %s", base64(secret, (int) strlen(secret))));
			return;
	}
}

/* One that could not stand in a header is none. */
static bool
read_token(const PayAnswer *answer, PayToken *token)
{
	PaySlice	body = {answer->body, answer->body_bytes};
	PaySlice	text,
				seconds;
	int64		valid_s = 0;

	if (answer->http_status != 200 || pay_slice_member(body, "access_token", &text) != PAY_SLICE_FOUND ||
		pay_slice_member(body, "expires_in", &seconds) != PAY_SLICE_FOUND)
		return false;
	for (size_t i = 0; i < seconds.bytes; i++)
	{
		if (seconds.at[i] < '0' || seconds.at[i] > '9' || valid_s > PG_INT32_MAX / 10 - 1)
			return false;
		valid_s = valid_s * 10 + (seconds.at[i] - '0');
	}
	if (text.bytes < 3 || text.at[0] != '"')
		return false;
	for (size_t i = 1; i + 1 < text.bytes; i++)
		if (text.at[i] <= ' ' || text.at[i] >= 0x7f || text.at[i] == '\\' || text.at[i] == '"')
			return false;
	token->text = pnstrdup(text.at + 1, text.bytes - 2);
	token->valid_s = (int) valid_s;
	return valid_s > 0;
}

static void
read_header(const PayScheme *scheme, const PayHeader *header, PayAnswer *answer)
{
	if (scheme->request_id_header && pay_header_is(header, scheme->request_id_header))
		pay_copy_printable(answer->request_id, sizeof(answer->request_id), header->value, header->value_bytes);
}

static PayVerdict
verify(const PayScheme *scheme, PayInbound *inbound, const char *const *secrets, int64 now)
{
	switch (scheme->verify)
	{
		case PAY_VERIFY_NOTHING:
			return PAY_VERDICT_WRONG;
		case PAY_VERIFY_ASK:
			return PAY_VERDICT_ASK_PSP;
		case PAY_VERIFY_SIGNATURE:
			return verify_signature(&scheme->event, false, inbound, secrets, now);
		case PAY_VERIFY_STANDARD:
			return verify_signature(&standard, true, inbound, secrets, now);
	}
	return PAY_VERDICT_WRONG;
}

static PayVerdict
verify_signature(const PaySignature *signature, bool standard_key, PayInbound *inbound, const char *const *secrets, int64 now)
{
	const char *given = pay_inbound_header(inbound, signature->header);
	const char *sent = given && signature->time_header ? pay_inbound_header(inbound, signature->time_header) : "";
	const char *id = given && sent && signature->id_header ? pay_inbound_header(inbound, signature->id_header) : "";
	Signed		what = {sent, "", "", id, inbound->body, inbound->body_bytes};
	int			right = 0;
	int64		t;

	if (given == NULL || sent == NULL || id == NULL)
		return PAY_VERDICT_MISSING;
	if (signature->time_header && (strlen(sent) == 0 || strlen(sent) > TIME_DIGITS_MAX || sent[strspn(sent, "0123456789")] != '\0'))
		return PAY_VERDICT_MALFORMED;
	if (signature->id_header && !is_event_id(id))
		return PAY_VERDICT_MALFORMED;
	for (; *secrets; secrets++)
	{
		size_t		bytes;
		const char *key = key_of(*secrets, standard_key, &bytes);

		if (key && bytes > 0)
			right += holds(given, sign(signature, key, bytes, &what), signature, standard_key);
	}
	if (right == 0)
		return PAY_VERDICT_WRONG;
	if (signature->time_header == NULL)
		return PAY_VERDICT_OK;
	t = strtoll(sent, NULL, 10);
	return t > now + TOLERANCE_S ? PAY_VERDICT_AHEAD : t < now - TOLERANCE_S ? PAY_VERDICT_TOO_OLD : PAY_VERDICT_OK;
}

/* What is signed must come apart in one way alone: an id with a stop in it could end with another time, or begin another body. */
static bool
is_event_id(const char *id)
{
	return *id != '\0' && id[strspn(id, ID_CHARACTERS)] == '\0';
}

/* Is it the signature, or one of several with blanks between? */
static bool
holds(const char *list, const char *expected, const PaySignature *signature, bool several)
{
	size_t		prefix_bytes = strlen(signature->prefix);
	size_t		bytes = strlen(expected);
	int			found = 0;

	for (;;)
	{
		size_t		item_bytes = several ? strcspn(list, " ") : strlen(list);

		if (item_bytes == prefix_bytes + bytes && memcmp(list, signature->prefix, prefix_bytes) == 0)
			found += pay_equal_constant_time(list + prefix_bytes, expected, bytes);
		if (list[item_bytes] == '\0')
			return found > 0;
		list += item_bytes + 1;
	}
}

/* NULL when it is none. */
static const char *
key_of(const char *secret, bool standard_key, size_t *bytes)
{
	int			length;
	char	   *decoded;
	int			n;

	*bytes = strlen(secret);
	if (!standard_key)
		return secret;
	if (strncmp(secret, STANDARD_KEY, strlen(STANDARD_KEY)) == 0)
		secret += strlen(STANDARD_KEY);
	length = pg_b64_dec_len((int) strlen(secret));
	decoded = palloc(length + 1);
	n = pg_b64_decode(secret, (int) strlen(secret), (void *) decoded, length);
	*bytes = n > 0 ? (size_t) n : 0;
	return n > 0 ? decoded : NULL;
}

static char *
sign(const PaySignature *signature, const char *key, size_t key_bytes, const Signed *what)
{
	static const char digits[] = "0123456789abcdef";
	PayChunk	chunks[CHUNKS_MAX];
	int			n = expand(signature->over, what, chunks);
	uint8		mac[PAY_HASH_BYTES];
	char	   *hex;

	pay_hmac_sha256(key, key_bytes, chunks, Max(n, 0), mac);
	if (signature->base64)
		return base64(mac, PAY_HASH_BYTES);
	hex = palloc(2 * PAY_HASH_BYTES + 1);
	for (int i = 0; i < PAY_HASH_BYTES; i++)
	{
		hex[2 * i] = digits[mac[i] >> 4];
		hex[2 * i + 1] = digits[mac[i] & 15];
	}
	hex[2 * PAY_HASH_BYTES] = '\0';
	return hex;
}

/* The template with its names replaced.  -1: it has a name that is none, or too many. */
static int
expand(const char *over, const Signed *what, PayChunk *chunks)
{
	int			n = 0;

	while (*over)
	{
		size_t		plain = strcspn(over, "{}");

		if (n + 2 > CHUNKS_MAX)
			return -1;
		if (plain > 0)
			chunks[n++] = (PayChunk) {over, plain};
		over += plain;
		if (*over == '\0')
			break;
		if (!is_named(&over, "{timestamp}", &chunks[n], what->timestamp, what->timestamp ? strlen(what->timestamp) : 0) &&
			!is_named(&over, "{method}", &chunks[n], what->method, what->method ? strlen(what->method) : 0) &&
			!is_named(&over, "{path}", &chunks[n], what->path, what->path ? strlen(what->path) : 0) &&
			!is_named(&over, "{id}", &chunks[n], what->id, what->id ? strlen(what->id) : 0) &&
			!is_named(&over, "{body}", &chunks[n], what->body, what->body_bytes))
			return -1;
		n++;
	}
	return n;
}

/* NULL: there is no such thing here. */
static bool
is_named(const char **at, const char *name, PayChunk *chunk, const char *value, size_t bytes)
{
	if (value == NULL || strncmp(*at, name, strlen(name)) != 0)
		return false;
	*chunk = (PayChunk) {value, bytes};
	*at += strlen(name);
	return true;
}

bool
pay_scheme_parse_authorize(const char *word, PayAuthorizeBy *by)
{
	static const char *const words[] = {
		[PAY_AUTHORIZE_BEARER] = "bearer", [PAY_AUTHORIZE_BASIC] = "basic",
		[PAY_AUTHORIZE_HEADER] = "header", [PAY_AUTHORIZE_SIGNATURE] = "hmac-sha256",
		[PAY_AUTHORIZE_TOKEN] = "oauth2",
	};

	for (size_t i = 0; i < lengthof(words); i++)
	{
		if (strcmp(words[i], word) != 0)
			continue;
		*by = (PayAuthorizeBy) i;
		return true;
	}
	return false;
}

bool
pay_scheme_template_is_good(const char *over, bool of_event)
{
	Signed		request = {"1", "GET", "/", NULL, "", 0};
	Signed		event = {"1", NULL, NULL, "1", "", 0};
	PayChunk	chunks[CHUNKS_MAX];

	/* What does not sign the body signs nothing. */
	return strstr(over, "{body}") != NULL && expand(over, of_event ? &event : &request, chunks) > 0 && (!of_event || comes_apart(over));
}

/*
 * Can what is signed be divided in one way alone?  Of an event another than we
 * has put it together, and whoever takes it on the way may divide it anew.
 * Between two names must stand what neither an id nor a time has in it, at
 * both ends: so all before the body is read from the left, all behind it from
 * the right.
 */
static bool
comes_apart(const char *over)
{
	const char *body = strstr(over, "{body}");
	const char *next = strchr(over, '{');

	for (const char *name = next; (next = strchr(name + 1, '{')) != NULL; name = next)
	{
		const char *between = strchr(name, '}') + 1;

		if (between == next || strchr(ID_CHARACTERS, *between) || strchr(ID_CHARACTERS, next[-1]))
			return false;
	}
	return strstr(body + 1, "{body}") == NULL;
}

char **
pay_scheme_sign_event(const PayScheme *scheme, const char *secret, const char *id, int64 now, const char *body, size_t body_bytes)
{
	bool		by_standard = scheme->verify == PAY_VERIFY_STANDARD;
	const PaySignature *signature = by_standard ? &standard : &scheme->event;
	char	   *sent = psprintf(INT64_FORMAT, now);
	Signed		what = {sent, "", "", id, body, body_bytes};
	size_t		bytes;
	const char *key = key_of(secret, by_standard, &bytes);
	char	  **headers = palloc0(sizeof(char *) * 4);
	int			n = 0;

	if (scheme->verify == PAY_VERIFY_NOTHING || scheme->verify == PAY_VERIFY_ASK || key == NULL)
		return headers;
	headers[n++] = psprintf("%s: %s%s", signature->header, signature->prefix, sign(signature, key, bytes, &what));
	if (signature->time_header)
		headers[n++] = psprintf("%s: %s", signature->time_header, sent);
	if (signature->id_header)
		headers[n++] = psprintf("%s: %s", signature->id_header, id);
	return headers;
}

static char *
base64(const void *data, int bytes)
{
	int			size = pg_b64_enc_len(bytes);
	char	   *text = palloc(size + 1);
	int			n = pg_b64_encode(data, bytes, text, size);

	text[Max(n, 0)] = '\0';
	return text;
}
