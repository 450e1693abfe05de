/*
 * src/base/json.c
 *		Reading JSON that others wrote.
 *
 * No body, whatever its bytes, makes anything here raise; the exceptions are
 * what no body causes: a cancelled query, a shutdown, memory that ran out.
 * Memory stays a small multiple of the body's size.
 */
#include "payments.h"

#include "base/json.h"

#include "base/pan.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* Of a number with an exponent: with fewer digits before it, it is no card's. */
#define MANTISSA_BYTES_MIN 8

/* Longest path step that is a key or an array index. */
#define STEP_BYTES_MAX 128

static bool looks_sane(const char *body, size_t bytes);
static bool exponent_is_small(const char *text, const char *end);
static Jsonb *parse(const char *body, size_t bytes);
static bool find(Jsonb *json, const char *path, JsonbValue *value);
static bool find_step(const JsonbValue *container, const char *step, int step_bytes, JsonbValue *value);
static bool parse_whole(const char *text, int64 *value);
static char *scalar_text(const JsonbValue *value, int *bytes);
static bool scalar_holds_card_number(const JsonbValue *value);
static bool is_beyond(Numeric value, const char *limit);
static void mask_scalar(JsonbValue *value);
static bool has_exponent(const char *body, size_t bytes);
static char *unescape(const char *body, size_t *bytes);
static size_t unescape_one(const char *body, size_t bytes, char *to, size_t *n);
static bool read_unit(const char *body, size_t bytes, pg_wchar *unit);

Jsonb *
pay_json_parse(const char *body, size_t bytes)
{
	if (body == NULL || bytes == 0 || bytes > PAY_JSON_BYTES_MAX)
		return NULL;
	if (memchr(body, '\0', bytes) != NULL)
		return NULL;
	if (!pg_verify_mbstr(PG_UTF8, body, (int) bytes, true))
		return NULL;
	if (!looks_sane(body, bytes))
		return NULL;
	return parse(body, bytes);
}

/*
 * Bounds nesting depth and exponents before the server's parser, which
 * recurses and expands, sees them.  Need not notice bad syntax.
 */
static bool
looks_sane(const char *body, size_t bytes)
{
	const char *end = body + bytes;
	bool		in_string = false;
	int			depth = 0;

	for (const char *p = body; p < end; p++)
	{
		if (in_string)
		{
			if (*p == '\\')
				p++;			/* whatever it is, it does not end the string */
			else if (*p == '"')
				in_string = false;
		}
		else if (*p == '"')
			in_string = true;
		else if (*p == '{' || *p == '[')
		{
			if (++depth > PAY_JSON_DEPTH_MAX)
				return false;
		}
		else if (*p == '}' || *p == ']')
			depth--;
		else if ((*p == 'e' || *p == 'E') && p > body && p[-1] >= '0' && p[-1] <= '9')
		{
			if (!exponent_is_small(p + 1, end))
				return false;
		}
	}
	return !in_string && depth == 0;
}

/* Reads what follows the 'e' of a number. */
static bool
exponent_is_small(const char *text, const char *end)
{
	int			exponent = 0;

	if (text < end && (*text == '+' || *text == '-'))
		text++;
	for (; text < end && *text >= '0' && *text <= '9'; text++)
	{
		exponent = exponent * 10 + (*text - '0');
		if (exponent > PAY_JSON_NUMBER_DIGITS_MAX)
			return false;
	}
	return true;
}

/*
 * jsonb_in() is a pure function: it takes no lock, pins no buffer, opens no
 * relation and calls no user code.  So there is nothing that an abort would
 * have to clean up, and its error can be caught without a subtransaction (the
 * worker also parses outside any transaction).
 */
static Jsonb *
parse(const char *body, size_t bytes)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *text = pnstrdup(body, bytes);
	Jsonb	   *volatile json = NULL;

	/*
	 * Elsewhere than in a UTF-8 database the parser would take the bytes for
	 * another encoding.  What we read (ids, codes, amounts, URLs) is ASCII,
	 * and the raw body is kept, so spoil the rest instead of refusing it.
	 */
	if (GetDatabaseEncoding() != PG_UTF8)
		for (char *p = text; *p != '\0'; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';

	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		/* Only what the text itself can cause; cancels and shortages are not ours to swallow. */
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();

	pfree(text);
	return json;
}

/* Walks a path from the root.  False when a step is missing or the value is null. */
static bool
find(Jsonb *json, const char *path, JsonbValue *value)
{
	JsonbValue	here;

	if (json == NULL)
		return false;
	here.type = jbvBinary;
	here.val.binary.data = &json->root;
	here.val.binary.len = VARSIZE_ANY_EXHDR(json);

	while (*path != '\0')
	{
		int			step_bytes = (int) strcspn(path, ".");
		JsonbValue	next;

		if (step_bytes > STEP_BYTES_MAX || !find_step(&here, path, step_bytes, &next))
			return false;
		here = next;
		path += step_bytes;
		if (*path == '.')
			path++;
	}
	*value = here;
	return here.type != jbvNull;
}

static bool
find_step(const JsonbValue *container, const char *step, int step_bytes, JsonbValue *value)
{
	JsonbContainer *inside;
	JsonbValue *found = NULL;

	if (container->type != jbvBinary)
		return false;
	inside = container->val.binary.data;

	if (JsonContainerIsObject(inside))
		found = getKeyJsonValueFromContainer(inside, step, step_bytes, NULL);
	else if (JsonContainerIsArray(inside) && !JsonContainerIsScalar(inside))
	{
		uint32		index = 0;

		if (step_bytes == 0 || step_bytes > 6 || (int) strspn(step, "0123456789") < step_bytes)
			return false;
		for (int i = 0; i < step_bytes; i++)
			index = index * 10 + (uint32) (step[i] - '0');
		found = getIthJsonbValueFromContainer(inside, index);
	}
	if (found == NULL)
		return false;
	*value = *found;
	pfree(found);
	return true;
}

char *
pay_json_text(Jsonb *json, const char *path)
{
	JsonbValue	value;

	if (!find(json, path, &value) || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

bool
pay_json_int64(Jsonb *json, const char *path, int64 *value)
{
	JsonbValue	found;
	char	   *text;
	bool		ok;

	if (!find(json, path, &found) || found.type != jbvNumeric)
		return false;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(found.val.numeric)));
	ok = parse_whole(text, value);
	pfree(text);
	return ok;
}

/* By hand, because numeric_int8() raises and rounds.  5.00 is whole, 5.01 is not. */
static bool
parse_whole(const char *text, int64 *value)
{
	bool		negative = *text == '-';
	uint64		limit = negative ? (uint64) PG_INT64_MAX + 1 : (uint64) PG_INT64_MAX;
	uint64		magnitude = 0;
	const char *p = text + (negative ? 1 : 0);

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++)
	{
		unsigned	digit = (unsigned) (*p - '0');

		if (magnitude > (limit - digit) / 10)
			return false;
		magnitude = magnitude * 10 + digit;
	}
	if (*p == '.')
		p += 1 + strspn(p + 1, "0");
	if (*p != '\0')
		return false;
	*value = negative ? (int64) (0 - magnitude) : (int64) magnitude;
	return true;
}

bool
pay_json_bool(Jsonb *json, const char *path, bool *value)
{
	JsonbValue	found;

	if (!find(json, path, &found) || found.type != jbvBool)
		return false;
	*value = found.val.boolean;
	return true;
}

bool
pay_json_exists(Jsonb *json, const char *path)
{
	JsonbValue	value;

	return find(json, path, &value);
}

bool
pay_json_is_object(Jsonb *json, const char *path)
{
	JsonbValue	value;

	return find(json, path, &value) && value.type == jbvBinary &&
		JsonContainerIsObject(value.val.binary.data);
}

int
pay_json_members(Jsonb *json, const char *path)
{
	JsonbValue	value;

	if (!find(json, path, &value) || value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		return 0;
	return (int) JsonContainerSize(value.val.binary.data);
}

bool
pay_json_numbers_are_short(Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	v;

	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		if ((token != WJB_VALUE && token != WJB_ELEM) || v.type != jbvNumeric)
			continue;
		if (is_beyond(v.val.numeric, "1e" CppAsString2(PAY_JSON_NUMBER_DIGITS_MAX)) ||
			DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(v.val.numeric))) > PAY_JSON_NUMBER_DIGITS_MAX)
			return false;
	}
	return true;
}

bool
pay_json_holds_card_number(Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	v;

	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
		if ((token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM) && scalar_holds_card_number(&v))
			return true;
	return false;
}

Jsonb *
pay_json_mask_card_numbers(Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbParseState *state = NULL;
	JsonbValue *root = NULL;
	JsonbIteratorToken token;
	JsonbValue	v;

	if (!pay_json_holds_card_number(json))
		return json;
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		bool		scalar = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;

		if (scalar)
			mask_scalar(&v);
		root = pushJsonbValue(&state, token, scalar || (token == WJB_BEGIN_ARRAY && v.val.array.rawScalar) ? &v : NULL);
	}
	return JsonbValueToJsonb(root);
}

const char *
pay_text_mask_card_numbers(const char *text)
{
	char	   *masked;

	if (text == NULL || !pay_pan_found(text, strlen(text)))
		return text;
	masked = pstrdup(text);
	pay_pan_mask(masked, strlen(masked));
	return masked;
}

char *
pay_body_mask_card_numbers(const char *body, size_t *bytes)
{
	size_t		plain_bytes = *bytes;
	bool		escaped = *bytes > 0 && memchr(body, '\\', *bytes) != NULL;
	char	   *masked = palloc(*bytes + 1);
	char	   *plain = escaped ? unescape(body, &plain_bytes) : NULL;
	bool		hides = escaped && pay_pan_found(plain, plain_bytes);
	Jsonb	   *json = NULL;

	memcpy(masked, body, *bytes);
	masked[*bytes] = '\0';
	/* Only an escape or an exponent lets a value be another than what stands there. */
	if (escaped || has_exponent(masked, *bytes) || pay_pan_found(masked, *bytes))
		json = pay_json_parse(masked, *bytes);
	/* A number alone is a text as any. */
	if (json && !JB_ROOT_IS_SCALAR(json) && (hides || pay_json_holds_card_number(json)))
	{
		json = pay_json_mask_card_numbers(json);
		masked = JsonbToCString(NULL, &json->root, VARSIZE(json));
		*bytes = strlen(masked);
	}
	else if (hides)
	{
		masked = plain;
		*bytes = plain_bytes;
	}
	pay_pan_mask(masked, *bytes);
	return masked;
}

/* NULL for what has none: a name or a text as it stands, a number as it is printed, and allocated. */
static char *
scalar_text(const JsonbValue *value, int *bytes)
{
	char	   *text = NULL;

	if (value->type == jbvString)
	{
		text = value->val.string.val;
		*bytes = value->val.string.len;
	}
	else if (value->type == jbvNumeric)
	{
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		*bytes = (int) strlen(text);
	}
	return text;
}

static bool
scalar_holds_card_number(const JsonbValue *value)
{
	int			bytes = 0;
	char	   *text;
	bool		holds;

	/* Longer than any card's, and maybe by so much that nobody wants it printed; what is behind the point is a fraction. */
	if (value->type == jbvNumeric && is_beyond(value->val.numeric, "1e20"))
		return false;
	text = scalar_text(value, &bytes);
	holds = text && pay_pan_found(text, bytes);
	if (text && value->type == jbvNumeric)
		pfree(text);
	return holds;
}

static bool
is_beyond(Numeric value, const char *limit)
{
	Datum		bound = DirectFunctionCall3(numeric_in, CStringGetDatum(limit), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	Datum		size = DirectFunctionCall1(numeric_abs, NumericGetDatum(value));
	bool		beyond = DatumGetBool(DirectFunctionCall2(numeric_ge, size, bound));

	pfree(DatumGetPointer(bound));
	pfree(DatumGetPointer(size));
	return beyond;
}

static void
mask_scalar(JsonbValue *value)
{
	int			bytes = 0;
	char	   *text;

	if (!scalar_holds_card_number(value))
		return;
	text = scalar_text(value, &bytes);
	value->type = jbvString;
	value->val.string.val = pnstrdup(text, bytes);
	value->val.string.len = bytes;
	pay_pan_mask(value->val.string.val, bytes);
}

/* Is there a number such as 4.242424242424242e15? */
static bool
has_exponent(const char *body, size_t bytes)
{
	size_t		mantissa = 0;

	for (size_t i = 0; i < bytes; i++)
	{
		if ((body[i] >= '0' && body[i] <= '9') || body[i] == '.')
			mantissa++;
		else if ((body[i] == 'e' || body[i] == 'E') && mantissa >= MANTISSA_BYTES_MIN)
			return true;
		else
			mantissa = 0;
	}
	return false;
}

/* *bytes of a copy, never more, in which each escape of JSON is what it stands for, wherever it is. */
static char *
unescape(const char *body, size_t *bytes)
{
	char	   *plain = palloc(*bytes + 1);
	size_t		n = 0;

	for (size_t i = 0; i < *bytes;)
	{
		if (body[i] == '\\')
			i += unescape_one(body + i, *bytes - i, plain, &n);
		else
			plain[n++] = body[i++];
	}
	plain[n] = '\0';
	*bytes = n;
	return plain;
}

/* Bytes of the escape that stands at body, of which one or more are written to to[*n]. */
static size_t
unescape_one(const char *body, size_t bytes, char *to, size_t *n)
{
	static const char marks[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const char *mark = bytes > 1 && body[1] != '\0' ? strchr(marks, body[1]) : NULL;
	pg_wchar	c,
				low;
	size_t		length = 6;

	if (mark)
	{
		to[(*n)++] = meant[mark - marks];
		return 2;
	}
	if (!read_unit(body, bytes, &c))
	{
		to[(*n)++] = '\\';
		return 1;
	}
	if (is_utf16_surrogate_first(c) && read_unit(body + 6, bytes - 6, &low) && is_utf16_surrogate_second(low))
	{
		c = surrogate_pair_to_codepoint(c, low);
		length = 12;
	}
	if (c == 0 || is_utf16_surrogate_first(c) || is_utf16_surrogate_second(c) || (c > 0x7f && GetDatabaseEncoding() != PG_UTF8))
		c = '?';
	unicode_to_utf8(c, (unsigned char *) to + *n);
	*n += pg_utf_mblen((unsigned char *) to + *n);
	return length;
}

/* Reads \uXXXX. */
static bool
read_unit(const char *body, size_t bytes, pg_wchar *unit)
{
	*unit = 0;
	if (bytes < 6 || body[0] != '\\' || body[1] != 'u')
		return false;
	for (int i = 2; i < 6; i++)
	{
		char		c = body[i];
		int			digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (digit < 0)
			return false;
		*unit = *unit << 4 | (pg_wchar) digit;
	}
	return true;
}
