/*
 * src/payment/adapter_row.c
 *		Reading a row of payments.adapter.
 *
 * create_adapter() asks here whether its row can be read before it commits it.
 * What else may write the row is a restore, so what cannot be read is an adapter
 * that the library has not.
 *
 * There is no address among the data: an administrator makes adapters, and to
 * which hosts secrets go is a superuser's to say, in payments.psp_hosts.
 */
#include "payments.h"

#include "payment/adapter_private.h"

#include "base/json.h"
#include "core/spi.h"
#include "payment/adapter.h"
#include "payment/adapter_json.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/varlena.h"

#define HEADER_BYTES_MAX 200
#define HEADERS_FIXED_MAX 8
#define LIMIT_MS_MAX 5000

typedef struct Ability
{
	const char *word;
	unsigned	flag;
} Ability;

static const Ability abilities[] = {
	{"charge", PAY_CAN_CHARGE}, {"authorize", PAY_CAN_AUTHORIZE}, {"capture", PAY_CAN_CAPTURE}, {"void", PAY_CAN_VOID},
	{"refund", PAY_CAN_REFUND}, {"payout", PAY_CAN_PAYOUT}, {"capture_part", PAY_CAN_CAPTURE_PART}, {"refund_part", PAY_CAN_REFUND_PART},
	{"capture_many", PAY_CAN_CAPTURE_MANY},
};

static const char *read_functions(Jsonb *row, PayFunctions *functions);
static const char *read_abilities(Jsonb *row, PayAdapter *adapter);
static const char *read_headers(Jsonb *row, PayAdapter *adapter);
static const char *read_names(Jsonb *row, const char *member, const char *const **names);
static const char *read_authorize(Jsonb *row, PayScheme *scheme);
static const char *read_verify(Jsonb *row, PayScheme *scheme);
static const char *read_signature(Jsonb *row, const char *member, bool of_event, PaySignature *signature);
static const char *only(Jsonb *row, const char *member, const char *const *known);
static const char *own_header(Jsonb *row, const char *path, const char **problem);
static bool is_header_name(const char *name);
static bool is_header_value(const char *value);

PAY_FUNCTION(pay_adapter_problem);

/* _adapter_problem(adapter): NULL, or what is wrong with the row of it. */
Datum
pay_adapter_problem(PG_FUNCTION_ARGS)
{
	static PayStmt find_row = PAY_STMT(SPI_OK_SELECT,
		"SELECT (to_jsonb(a) - 'samples' - 'created_at')::text FROM payments.adapter a WHERE a.adapter = $1", TEXTOID);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PayFunctions functions = {0};
	PayArgs		args = {0};
	const char *problem;

	if (pay_psp_adapter(name))
		PG_RETURN_TEXT_P(cstring_to_text("the library has one of that name"));
	pay_spi_begin();
	pay_arg_text(&args, name);
	problem = pay_spi_exec(&find_row, &args) == 1 ? pay_adapter_read_row(pay_spi_text(0, 1), &functions) : "it does not exist";
	pay_spi_end();
	if (problem == NULL)
		problem = pay_adapter_refusal(&functions.adapter);
	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}

const char *
pay_adapter_read_row(const char *text, PayFunctions *functions)
{
	Jsonb	   *row = pay_json_parse(text, strlen(text));
	PayAdapter *adapter = &functions->adapter;
	int64		number;
	const char *problem = NULL;

	functions->row = pstrdup(text);
	adapter->name = pay_json_text(row, "adapter");
	adapter->functions = functions;
	adapter->scheme = &functions->scheme;
	if (adapter->name == NULL)
		return "it has no name";
	if (!pay_json_int64(row, "key_valid_s", &number) || number < 0 || number > PG_INT32_MAX)
		return "key_valid is out of range";
	adapter->key_valid_s = (int) number;
	if (!pay_json_int64(row, "time_limit_ms", &number) || number < 1 || number > LIMIT_MS_MAX)
		return "time_limit is not between one millisecond and five seconds";
	functions->limit_ms = (int) number;
	adapter->key_header = own_header(row, "key_header", &problem);
	functions->scheme.request_id_header = own_header(row, "request_id_header", &problem);
	if (functions->scheme.request_id_header)
		functions->scheme.request_id_header = asc_tolower(functions->scheme.request_id_header, strlen(functions->scheme.request_id_header));
	if (problem == NULL)
		problem = read_functions(row, functions);
	if (problem == NULL)
		problem = read_abilities(row, adapter);
	if (problem == NULL)
		problem = read_headers(row, adapter);
	if (problem == NULL)
		problem = read_names(row, "config_keys", &adapter->config_keys);
	if (problem == NULL)
		problem = read_authorize(row, &functions->scheme);
	if (problem == NULL)
		problem = read_verify(row, &functions->scheme);
	if (problem == NULL && (functions->scheme.verify == PAY_VERIFY_NOTHING) != (functions->functions[PAY_QUESTION_PARSE].name == NULL))
		problem = "parse and verify go together: it reads events, and says whose they are";
	return problem;
}

static const char *
read_functions(Jsonb *row, PayFunctions *functions)
{
	static const char *const questions[] = {
		[PAY_QUESTION_BUILD] = "build", [PAY_QUESTION_BUILD_INQUIRY] = "build_inquiry",
		[PAY_QUESTION_CLASSIFY] = "classify", [PAY_QUESTION_PARSE] = "parse",
	};
	const char *owner = pay_json_text(row, "owner");

	for (int q = 0; q < PAY_QUESTIONS; q++)
	{
		char	   *name = pay_json_text(row, questions[q]);
		List	   *parts = NIL;

		if (name == NULL && q == PAY_QUESTION_PARSE)
			continue;
		if (name == NULL || owner == NULL || !SplitIdentifierString(name, '.', &parts) || list_length(parts) != 2)
			return psprintf("%s names no function", questions[q]);
		functions->functions[q] = (PayConfinedFunction) {linitial(parts), lsecond(parts), owner};
	}
	return NULL;
}

static const char *
read_abilities(Jsonb *row, PayAdapter *adapter)
{
	const char *const *words;
	const char *problem = read_names(row, "can", &words);

	for (; problem == NULL && words && *words; words++)
	{
		unsigned	flag = 0;

		for (size_t i = 0; i < lengthof(abilities); i++)
			if (strcmp(abilities[i].word, *words) == 0)
				flag = abilities[i].flag;
		if (flag == 0)
			problem = psprintf("can has the word \"%s\", which means nothing", *words);
		adapter->can |= flag;
	}
	if (problem == NULL && adapter->can == 0)
		problem = "can is empty";
	return problem;
}

/* An array of texts, NULL-terminated. */
static const char *
read_names(Jsonb *row, const char *member, const char *const **names)
{
	const char **list = palloc0(sizeof(char *) * (PAY_HEADERS_MAX + 1));
	int			n = 0;

	for (*names = list; pay_json_exists(row, psprintf("%s.%d", member, n)); n++)
	{
		if (n == PAY_HEADERS_MAX)
			return psprintf("%s has too many", member);
		list[n] = pay_json_text(row, psprintf("%s.%d", member, n));
		if (list[n] == NULL)
			return psprintf("%s has something that is no text", member);
	}
	return NULL;
}

/* An object of texts. */
static const char *
read_headers(Jsonb *row, PayAdapter *adapter)
{
	JsonbValue *headers = getKeyJsonValueFromContainer(&row->root, "headers", 7, NULL);
	const char **list = palloc0(sizeof(char *) * (HEADERS_FIXED_MAX + 1));
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	int			n = 0;

	adapter->headers = list;
	if (headers == NULL || headers->type == jbvNull)
		return NULL;
	if (headers->type != jbvBinary || !JsonContainerIsObject(headers->val.binary.data))
		return "headers is no object of texts";
	it = JsonbIteratorInit(headers->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		const char *name;
		const char *value;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(v.val.string.val, v.val.string.len);
		(void) JsonbIteratorNext(&it, &v, true);
		value = v.type == jbvString ? pnstrdup(v.val.string.val, v.val.string.len) : NULL;
		if (n == HEADERS_FIXED_MAX || value == NULL || !is_header_name(name) || !is_header_value(value))
			return psprintf("headers has too many, or one that cannot be sent: \"%s\"", name);
		list[n++] = psprintf("%s: %s", name, value);
	}
	return NULL;
}

/* ---------- who is who ---------- */

static const char *
read_authorize(Jsonb *row, PayScheme *scheme)
{
	static const char *const plain[] = {"scheme", NULL};
	static const char *const in_header[] = {"scheme", "header", NULL};
	static const char *const with_path[] = {"scheme", "path", NULL};
	const char *word = pay_json_text(row, "authorize.scheme");
	const char *problem = NULL;

	if (word == NULL || !pay_scheme_parse_authorize(word, &scheme->authorize))
		return "authorize.scheme is none of " PAY_SCHEME_AUTHORIZE_WORDS;
	if (scheme->authorize == PAY_AUTHORIZE_SIGNATURE)
		return read_signature(row, "authorize", false, &scheme->request);
	if (scheme->authorize == PAY_AUTHORIZE_HEADER)
	{
		scheme->header = own_header(row, "authorize.header", &problem);
		if (scheme->header == NULL || problem)
			return problem ? problem : "authorize names no header";
		return only(row, "authorize", in_header);
	}
	if (scheme->authorize == PAY_AUTHORIZE_TOKEN)
	{
		scheme->token_path = pay_json_text(row, "authorize.path");
		if (scheme->token_path == NULL || pay_request_problem(&(PayRequest) {.method = "POST", .path = scheme->token_path}))
			return "authorize.path is no path";
		return only(row, "authorize", with_path);
	}
	return only(row, "authorize", plain);
}

static const char *
read_verify(Jsonb *row, PayScheme *scheme)
{
	static const char *const plain[] = {"scheme", NULL};
	const char *word = pay_json_text(row, "verify.scheme");

	if (!pay_json_exists(row, "verify"))
		scheme->verify = PAY_VERIFY_NOTHING;
	else if (word && strcmp(word, "none") == 0)
		scheme->verify = PAY_VERIFY_ASK;
	else if (word && strcmp(word, "standard-webhooks") == 0)
		scheme->verify = PAY_VERIFY_STANDARD;
	else if (word && strcmp(word, "hmac-sha256") == 0)
	{
		scheme->verify = PAY_VERIFY_SIGNATURE;
		return read_signature(row, "verify", true, &scheme->event);
	}
	else
		return "verify.scheme is none of hmac-sha256, standard-webhooks and none";
	return scheme->verify == PAY_VERIFY_NOTHING ? NULL : only(row, "verify", plain);
}

static const char *
read_signature(Jsonb *row, const char *member, bool of_event, PaySignature *signature)
{
	static const char *const known[] = {"scheme", "header", "over", "prefix", "encoding", "timestamp_header", "id_header", NULL};
	const char *encoding = pay_json_text(row, psprintf("%s.encoding", member));
	const char *problem = only(row, member, known);

	signature->header = own_header(row, psprintf("%s.header", member), &problem);
	signature->time_header = own_header(row, psprintf("%s.timestamp_header", member), &problem);
	signature->id_header = own_header(row, psprintf("%s.id_header", member), &problem);
	signature->over = pay_json_text(row, psprintf("%s.over", member));
	signature->prefix = pay_json_text(row, psprintf("%s.prefix", member));
	signature->base64 = encoding && strcmp(encoding, "base64") == 0;
	if (signature->prefix == NULL)
		signature->prefix = "";
	if (problem)
		return problem;
	if (signature->header == NULL || !is_header_value(signature->prefix))
		return psprintf("%s names no header, or a prefix that is no part of one", member);
	if (signature->over == NULL || !pay_scheme_template_is_good(signature->over, of_event))
		return psprintf("%s.over must have {body} in it, and beside it no other braces than those of %s", member,
						of_event ? "{timestamp} and {id}, with a stop or the like between two of them" : "{timestamp}, {method} and {path}");
	if (!encoding || !(signature->base64 || strcmp(encoding, "hex") == 0))
		return psprintf("%s.encoding is neither hex nor base64", member);
	/* What is in a header and not signed may be changed on the way. */
	if ((strstr(signature->over, "{timestamp}") != NULL) != (signature->time_header != NULL))
		return psprintf("%s: {timestamp} and timestamp_header go together", member);
	if ((strstr(signature->over, "{id}") != NULL) != (signature->id_header != NULL))
		return psprintf("%s: {id} and id_header go together", member);
	if (of_event)
	{
		signature->header = asc_tolower(signature->header, strlen(signature->header));
		signature->time_header = signature->time_header ? asc_tolower(signature->time_header, strlen(signature->time_header)) : NULL;
		signature->id_header = signature->id_header ? asc_tolower(signature->id_header, strlen(signature->id_header)) : NULL;
	}
	return NULL;
}

/* A member that means nothing would be a rule that silently does not hold. */
static const char *
only(Jsonb *row, const char *member, const char *const *known)
{
	int			n = 0;

	for (; *known; known++)
		n += pay_json_exists(row, psprintf("%s.%s", member, *known));
	return pay_json_members(row, member) == n ? NULL : psprintf("%s has a member that is not known, or null", member);
}

/* NULL when it is not there. */
static const char *
own_header(Jsonb *row, const char *path, const char **problem)
{
	const char *name = pay_json_text(row, path);

	if (name && !is_header_name(name) && *problem == NULL)
		*problem = psprintf("%s is no name of a header, or one that is not yours to set", path);
	return name;
}

/* RFC 9110's token; none that says where a request ends, or goes. */
static bool
is_header_name(const char *name)
{
	static const char *const reserved[] = {"host", "content-length", "content-type", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade"};
	size_t		bytes = strlen(name);

	for (size_t i = 0; i < lengthof(reserved); i++)
		if (pg_strcasecmp(name, reserved[i]) == 0)
			return false;
	return bytes > 0 && bytes <= HEADER_BYTES_MAX &&
		strspn(name, "!#$%&'*+-.^_`|~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == bytes;
}

static bool
is_header_value(const char *value)
{
	for (const unsigned char *c = (const unsigned char *) value; *c; c++)
		if (*c < 0x20 || *c >= 0x7f)
			return false;
	return strlen(value) <= HEADER_BYTES_MAX;
}
