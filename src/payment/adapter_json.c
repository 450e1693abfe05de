/*
 * src/payment/adapter_json.c
 *		Reading what a SQL function of an adapter returns.
 *
 * It is read as strictly as what a stranger wrote: a member that
 * nobody knows is a mistyped one, and a word, an amount or an id that is not of
 * the form makes all of it unreadable.  Whatever is unreadable is unknown.
 */
#include "payments.h"

#include "payment/adapter_json.h"

#include "base/json.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define PATH_BYTES_MAX 2048
#define BODY_BYTES_MAX (256 * 1024)
#define WORD_BYTES_MAX 255
#define CODE_BYTES_MAX 64
#define TEXT_BYTES_MAX 1000
/* The year 9999, in seconds since 1970. */
#define TIME_MAX INT64CONST(253402300799)

/* An object that is being read.  The first thing that is wrong with it stays. */
typedef struct Object
{
	JsonbContainer *container;
	const char *problem;
} Object;

static const char *begin_object(Jsonb *json, const char *const *known, Object *object);
static void know(Object *object, const char *const *known);
static bool member(Object *object, const char *name, JsonbValue *value);
static void wrong(Object *object, const char *name, const char *what);
static char *text_of(Object *object, const char *name, size_t bytes_max, bool printable);
static bool int64_of(Object *object, const char *name, int64 min, int64 max, int64 *value);
static bool bool_of(Object *object, const char *name);
static char *path_of(Object *object);
static void append_query(Object *object, StringInfo path);
static void append_pairs(Object *object, const char *name, StringInfo to);
static void append_escaped(StringInfo to, const char *text, int bytes);
static void body_of(Object *object, PayRequest *request);
static void read_result(Object *object, bool inquiry, PayResult *result);
static bool moves_money(PayEffect effect);
static void read_codes(Object *object, PayResult *result);
static void read_event(JsonbContainer *container, PayPspEvent *event, const char **problem);
static bool is_path(const char *path);

static const char *const effects[] = {
	[PAY_EFFECT_NONE] = "none", [PAY_EFFECT_AUTHORIZED] = "authorized", [PAY_EFFECT_CAPTURED] = "captured",
	[PAY_EFFECT_VOIDED] = "voided", [PAY_EFFECT_REFUNDED] = "refunded", [PAY_EFFECT_REFUND_FAILED] = "refund_failed",
	[PAY_EFFECT_DISPUTED] = "disputed", [PAY_EFFECT_DISPUTE_WON] = "dispute_won", [PAY_EFFECT_DISPUTE_LOST] = "dispute_lost",
	[PAY_EFFECT_DISPUTE_STAGE] = "dispute_stage", [PAY_EFFECT_EXPIRED] = "expired", [PAY_EFFECT_PAID_OUT] = "paid_out",
	[PAY_EFFECT_PAYOUT_FAILED] = "payout_failed",
};

const char *
pay_effect_name(PayEffect effect)
{
	return effects[effect];
}

/* ---------- reading an object ---------- */

static const char *
begin_object(Jsonb *json, const char *const *known, Object *object)
{
	*object = (Object) {NULL, NULL};
	if (json == NULL)
		return "null";
	if (!JB_ROOT_IS_OBJECT(json))
		return "no object";
	object->container = &json->root;
	know(object, known);
	return object->problem;
}

/* `known` ends with NULL. */
static void
know(Object *object, const char *const *known)
{
	JsonbIterator *it = JsonbIteratorInit(object->container);
	JsonbIteratorToken token;
	JsonbValue	v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		bool		found = false;

		if (token != WJB_KEY)
			continue;
		for (const char *const *k = known; *k && !found; k++)
			found = (int) strlen(*k) == v.val.string.len && memcmp(*k, v.val.string.val, v.val.string.len) == 0;
		if (!found)
			wrong(object, pnstrdup(v.val.string.val, Min(v.val.string.len, CODE_BYTES_MAX)), "is no member that it may have");
	}
}

static void
wrong(Object *object, const char *name, const char *what)
{
	if (object->problem == NULL)
		object->problem = psprintf("its \"%s\" %s", name, what);
}

/* False when it is missing, or null. */
static bool
member(Object *object, const char *name, JsonbValue *value)
{
	JsonbValue *found = getKeyJsonValueFromContainer(object->container, name, (int) strlen(name), NULL);

	if (found == NULL || found->type == jbvNull)
		return false;
	*value = *found;
	return true;
}

static char *
text_of(Object *object, const char *name, size_t bytes_max, bool printable)
{
	JsonbValue	v;
	char	   *text;

	if (!member(object, name, &v))
		return NULL;
	if (v.type != jbvString)
	{
		wrong(object, name, "is no text");
		return NULL;
	}
	if (v.val.string.len == 0 || (size_t) v.val.string.len > bytes_max)
	{
		wrong(object, name, v.val.string.len == 0 ? "is empty" : "is too long");
		return NULL;
	}
	text = pnstrdup(v.val.string.val, v.val.string.len);
	for (const unsigned char *c = (const unsigned char *) text; printable && *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
		{
			wrong(object, name, "has something else in it than printable ASCII");
			return NULL;
		}
	return text;
}

static bool
int64_of(Object *object, const char *name, int64 min, int64 max, int64 *value)
{
	JsonbValue	v;
	Datum		whole;
	bool		good = false;

	if (!member(object, name, &v))
		return false;
	if (v.type == jbvNumeric && !numeric_is_nan(v.val.numeric) && !numeric_is_inf(v.val.numeric))
	{
		whole = DirectFunctionCall2(numeric_trunc, NumericGetDatum(v.val.numeric), Int32GetDatum(0));
		/* Amounts and times are far below this. */
		good = DatumGetBool(DirectFunctionCall2(numeric_eq, whole, NumericGetDatum(v.val.numeric))) &&
			DatumGetBool(DirectFunctionCall2(numeric_le, whole, NumericGetDatum(int64_to_numeric(max)))) &&
			DatumGetBool(DirectFunctionCall2(numeric_ge, whole, NumericGetDatum(int64_to_numeric(min))));
	}
	if (good)
		*value = DatumGetInt64(DirectFunctionCall1(numeric_int8, whole));
	else
		wrong(object, name, "is no whole number, or out of range");
	return good;
}

static bool
bool_of(Object *object, const char *name)
{
	JsonbValue	v;

	if (!member(object, name, &v))
		return false;
	if (v.type != jbvBool)
	{
		wrong(object, name, "is no boolean");
		return false;
	}
	return v.val.boolean;
}

/* ---------- requests ---------- */

const char *
pay_adapter_read_request(Jsonb *json, PayRequest *request, const char **refusal)
{
	static const char *const known[] = {"refusal", "method", "path", "query", "content_type", "text", "json", "form", NULL};
	Object		object;
	const char *problem = begin_object(json, known, &object);

	*refusal = NULL;
	if (problem)
		return problem;
	*refusal = text_of(&object, "refusal", TEXT_BYTES_MAX, false);
	if (*refusal)
		return object.problem;
	request->method = text_of(&object, "method", 10, true);
	request->path = path_of(&object);
	body_of(&object, request);
	return object.problem ? object.problem : pay_request_problem(request);
}

/* A text that is escaped already, or an array of segments that are not; and a query. */
static char *
path_of(Object *object)
{
	JsonbValue	v;
	StringInfoData path;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (!member(object, "path", &v) || v.type == jbvString)
	{
		char	   *text = text_of(object, "path", PATH_BYTES_MAX, true);

		if (text == NULL)
			return NULL;
		initStringInfo(&path);
		appendStringInfoString(&path, text);
		append_query(object, &path);
		return path.data;
	}
	if (v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
	{
		wrong(object, "path", "is neither a text nor an array of texts");
		return NULL;
	}
	initStringInfo(&path);
	it = JsonbIteratorInit(v.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		/* Another PSP's object, or its parent, lies behind an empty one and behind dots. */
		if (v.type != jbvString || v.val.string.len == 0 || v.val.string.val[0] == '.')
			wrong(object, "path", "has a segment that is no text, is empty, or begins with a dot");
		else
		{
			appendStringInfoChar(&path, '/');
			append_escaped(&path, v.val.string.val, v.val.string.len);
		}
	}
	append_query(object, &path);
	return path.data;
}

static void
append_query(Object *object, StringInfo path)
{
	JsonbValue	v;

	if (!member(object, "query", &v))
		return;
	appendStringInfoChar(path, '?');
	append_pairs(object, "query", path);
}

/* In the order in which jsonb keeps them: always the same. */
static void
append_pairs(Object *object, const char *name, StringInfo to)
{
	JsonbValue	v;
	JsonbIterator *it;
	JsonbIteratorToken token;
	bool		first = true;

	if (!member(object, name, &v) || v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
	{
		wrong(object, name, "is no object");
		return;
	}
	it = JsonbIteratorInit(v.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		JsonbValue	key = v;
		char	   *number;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &v, true);
		if (v.type == jbvNull)
			continue;
		if (!first)
			appendStringInfoChar(to, '&');
		first = false;
		append_escaped(to, key.val.string.val, key.val.string.len);
		appendStringInfoChar(to, '=');
		if (v.type == jbvString)
			append_escaped(to, v.val.string.val, v.val.string.len);
		else if (v.type == jbvBool)
			appendStringInfoString(to, v.val.boolean ? "true" : "false");
		else if (v.type == jbvNumeric)
		{
			number = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v.val.numeric)));
			append_escaped(to, number, (int) strlen(number));
		}
		else
			wrong(object, name, "has a value that is neither text, number nor boolean");
	}
}

/* RFC 3986: all but what is unreserved. */
static void
append_escaped(StringInfo to, const char *text, int bytes)
{
	for (int i = 0; i < bytes; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~')
			appendStringInfoChar(to, (char) c);
		else
			appendStringInfo(to, "%%%02X", c);
	}
}

static void
body_of(Object *object, PayRequest *request)
{
	JsonbValue	v;
	StringInfoData form;
	bool		has_json = member(object, "json", &v);
	bool		has_form = member(object, "form", &v);
	bool		has_text = member(object, "text", &v);

	request->content_type = text_of(object, "content_type", WORD_BYTES_MAX, true);
	request->body = NULL;
	if (has_json + has_form + has_text > 1)
		wrong(object, has_form ? "form" : "json", "is there beside another body");
	if (has_json && member(object, "json", &v))
	{
		Jsonb	   *json = JsonbValueToJsonb(&v);

		request->body = JsonbToCString(NULL, &json->root, VARSIZE(json));
		if (request->content_type == NULL)
			request->content_type = "application/json";
	}
	else if (has_form)
	{
		initStringInfo(&form);
		append_pairs(object, "form", &form);
		request->body = form.data;
		if (request->content_type == NULL)
			request->content_type = "application/x-www-form-urlencoded";
	}
	else if (has_text)
		request->body = text_of(object, "text", BODY_BYTES_MAX, false);
}

const char *
pay_request_problem(const PayRequest *request)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	bool		known = false;

	for (size_t i = 0; request->method && i < lengthof(methods); i++)
		known |= strcmp(request->method, methods[i]) == 0;
	if (!known)
		return "its method is none of GET, POST, PUT, PATCH and DELETE";
	if (request->path == NULL || !is_path(request->path))
		return "its path does not begin with \"/\", is too long, or has something in it that must be escaped";
	if ((request->body == NULL) != (request->content_type == NULL))
		return "it has a body without a content type, or a content type without a body";
	if (request->content_type && strpbrk(request->content_type, "\r\n"))
		return "its content type has a line break in it";
	if (request->body && strlen(request->body) > BODY_BYTES_MAX)
		return "its body is too long";
	return NULL;
}

/* What a URL may hold behind the host; no segment of dots, which names another object. */
static bool
is_path(const char *path)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%";
	size_t		bytes = strlen(path);
	size_t		before_query = strcspn(path, "?");

	if (path[0] != '/' || bytes > PATH_BYTES_MAX || strspn(path, allowed) != bytes)
		return false;
	for (const char *p = strchr(path, '%'); p; p = strchr(p + 1, '%'))
		if (!isxdigit((unsigned char) p[1]) || !isxdigit((unsigned char) p[2]))
			return false;
	for (size_t i = 0; i + 1 < before_query; i++)
		if (path[i] == '/' && (path[i + 1] == '/' || path[i + 1] == '.'))
			return false;
	return true;
}

/* ---------- results ---------- */

static const char *const result_members[] = {
	"class", "effect", "amount", "currency", "object_id", "psp_payment_id", "psp_ref", "generation", "fee", "fee_currency",
	"fee_object_id", "codes", "message", "next_action_url", "retry_after_ms", "too_many", "found_nothing", "keeps_rest",
	"capture_before", "dispute_stage", "evidence_due", NULL
};

const char *
pay_adapter_read_result(Jsonb *json, bool inquiry, PayResult *result)
{
	Object		object;
	const char *problem = begin_object(json, result_members, &object);

	if (problem)
		return problem;
	read_result(&object, inquiry, result);
	return object.problem;
}

static void
read_result(Object *object, bool inquiry, PayResult *result)
{
	char	   *class = text_of(object, "class", WORD_BYTES_MAX, true);
	char	   *effect = text_of(object, "effect", WORD_BYTES_MAX, true);
	int64		number;

	if (class == NULL || !pay_class_parse(class, &result->class))
		wrong(object, "class", "is none of the classes");
	/* That the question was not answered says nothing of what it was about. */
	if (inquiry && result->class == PAY_CLASS_NOT_SENT)
		wrong(object, "class", "is not_sent, of an inquiry");
	for (size_t i = 0; effect && i < lengthof(effects); i++)
		if (strcmp(effects[i], effect) == 0)
			result->effect = (PayEffect) i;
	if (effect && strcmp(effects[result->effect], effect) != 0)
		wrong(object, "effect", "is none of the effects");
	(void) int64_of(object, "amount", 0, PG_INT64_MAX, &result->amount);
	result->currency = text_of(object, "currency", 3, true);
	if (result->currency && (strlen(result->currency) != 3 || strspn(result->currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3))
		wrong(object, "currency", "is no code of three upper-case letters");
	result->object_id = text_of(object, "object_id", WORD_BYTES_MAX, true);
	result->psp_payment_id = text_of(object, "psp_payment_id", WORD_BYTES_MAX, true);
	result->psp_ref = text_of(object, "psp_ref", WORD_BYTES_MAX, true);
	if (int64_of(object, "generation", 0, PG_INT32_MAX, &number))
		result->generation = (int) number;
	(void) int64_of(object, "fee", 0, PG_INT64_MAX, &result->fee);
	result->fee_currency = text_of(object, "fee_currency", 3, true);
	result->fee_object_id = text_of(object, "fee_object_id", WORD_BYTES_MAX, true);
	read_codes(object, result);
	result->message = text_of(object, "message", TEXT_BYTES_MAX, false);
	result->next_action_url = text_of(object, "next_action_url", PATH_BYTES_MAX, true);
	if (result->next_action_url && strncmp(result->next_action_url, "https://", 8) != 0)
		wrong(object, "next_action_url", "does not begin with https://");
	if (int64_of(object, "retry_after_ms", 0, PG_INT32_MAX, &number))
		result->retry_after_ms = (int) number;
	if (member(object, "too_many", &(JsonbValue) {0}))
		result->too_many = bool_of(object, "too_many");
	result->keeps_rest = bool_of(object, "keeps_rest");
	(void) int64_of(object, "capture_before", 0, TIME_MAX, &result->capture_before);
	result->dispute_stage = text_of(object, "dispute_stage", CODE_BYTES_MAX, true);
	(void) int64_of(object, "evidence_due", 0, TIME_MAX, &result->evidence_due);
	result->inquiry_found_nothing = bool_of(object, "found_nothing");
	if (result->inquiry_found_nothing && (!inquiry || result->class != PAY_CLASS_UNKNOWN))
		wrong(object, "found_nothing", "is for an inquiry, with class unknown");
	if (result->class == PAY_CLASS_APPROVED && (result->effect == PAY_EFFECT_NONE || !result->currency || !result->object_id ||
												 (result->amount <= 0 && moves_money(result->effect))))
		wrong(object, "class", "is approved, without effect, amount, currency or object_id");
	if ((result->fee > 0) != (result->fee_currency != NULL) || (result->fee > 0) != (result->fee_object_id != NULL))
		wrong(object, "fee", "is not there together with fee_currency and fee_object_id");
}

static bool
moves_money(PayEffect effect)
{
	return effect != PAY_EFFECT_VOIDED && effect != PAY_EFFECT_EXPIRED && effect != PAY_EFFECT_DISPUTE_STAGE;
}

static void
read_codes(Object *object, PayResult *result)
{
	JsonbValue	v;
	JsonbIterator *it;
	JsonbIteratorToken token;
	int			n = 0;

	if (!member(object, "codes", &v))
		return;
	if (v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
	{
		wrong(object, "codes", "is no array");
		return;
	}
	it = JsonbIteratorInit(v.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		/* One that the PSP left out this time. */
		if (token != WJB_ELEM || v.type == jbvNull)
			continue;
		if (v.type != jbvString || v.val.string.len == 0 || v.val.string.len > CODE_BYTES_MAX || n == PAY_CODES_MAX)
		{
			wrong(object, "codes", "has more than four codes, or one that is none");
			return;
		}
		result->codes[n++] = pnstrdup(v.val.string.val, v.val.string.len);
	}
}

/* ---------- events ---------- */

const char *
pay_adapter_read_events(Jsonb *json, PayEvents *events)
{
	static const char *const known[] = {"events", "reply", NULL};
	Object		object;
	const char *problem = begin_object(json, known, &object);
	JsonbValue	v;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (problem)
		return problem;
	events->reply = text_of(&object, "reply", TEXT_BYTES_MAX, false);
	if (object.problem)
		return object.problem;
	if (!member(&object, "events", &v) || v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
		return "its \"events\" is no array";
	if (JsonContainerSize(v.val.binary.data) > PAY_EVENTS_MAX)
		return "it has too many events";
	events->list = palloc0(sizeof(PayPspEvent) * Max(JsonContainerSize(v.val.binary.data), 1));
	it = JsonbIteratorInit(v.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE && problem == NULL)
	{
		if (token != WJB_ELEM)
			continue;
		if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
			return "one of its events is no object";
		read_event(v.val.binary.data, &events->list[events->n++], &problem);
	}
	return problem;
}

static void
read_event(JsonbContainer *container, PayPspEvent *event, const char **problem)
{
	static const char *const known[] = {"event_id", "event_type", "unreadable", "result", NULL};
	Object		object = {container, NULL};
	Object		result = {NULL, NULL};
	JsonbValue	v;

	know(&object, known);
	pay_result_init(&event->result);
	event->event_id = text_of(&object, "event_id", WORD_BYTES_MAX, true);
	event->event_type = text_of(&object, "event_type", WORD_BYTES_MAX, true);
	event->unreadable = text_of(&object, "unreadable", CODE_BYTES_MAX, true);
	if (event->event_id == NULL || event->event_type == NULL)
		wrong(&object, "event_id", "or event_type is missing");
	/* What brings a result is to be applied. */
	if (member(&object, "result", &v))
	{
		event->relevant = true;
		if (v.type == jbvBinary && JsonContainerIsObject(v.val.binary.data))
		{
			result.container = v.val.binary.data;
			know(&result, result_members);
			read_result(&result, false, &event->result);
		}
		else
			wrong(&object, "result", "is no object");
	}
	if (event->relevant && event->unreadable)
		wrong(&object, "unreadable", "is there beside a result");
	*problem = object.problem ? object.problem : result.problem;
}
