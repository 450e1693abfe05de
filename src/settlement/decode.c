/*
 * src/settlement/decode.c
 *		settlement_text(): a file in whichever encoding, as text.
 *
 * A text has its encoding already when it comes to import_settlement(): what is
 * not UTF-8 the server refuses before anything of ours runs, and can say no more
 * than which byte it does not like.  So who has bytes passes them here.
 */
#include "payments.h"

#include "core/arguments.h"
#include "settlement/import.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

static text *decode(const char *content, size_t bytes, const char *name);
static const char *declared(const char *content, size_t bytes);
static int	find_encoding(const char *name);

PAY_FUNCTION(pay_settlement_text);

/* settlement_text(content, encoding): encoding null: as the file says of itself, else UTF-8. */
Datum
pay_settlement_text(PG_FUNCTION_ARGS)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = pay_hide_statement};
	bytea	   *content;
	text	   *result;

	pay_refuse_card_arguments(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	content = PG_GETARG_BYTEA_PP(0);
	/* It may hold the file. */
	error_context_stack = &callback;
	result = decode(VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content), PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	error_context_stack = callback.previous;
	PG_RETURN_TEXT_P(result);
}

static text *
decode(const char *content, size_t bytes, const char *name)
{
	int			encoding;
	int			valid;

	pay_import_require_size(bytes);
	if (name == NULL)
		name = declared(content, bytes);
	encoding = find_encoding(name);
	if (encoding < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("encoding \"%.40s\" is not known", name),
				 errhint("For example UTF8, LATIN1 or WIN1252; the manual of PostgreSQL lists them under \"Character Set Support\".")));
	valid = pg_encoding_verifymbstr(encoding, content, (int) bytes);
	if ((size_t) valid < bytes)
	{
		int			line = 1;
		bool		wide = bytes >= 2 && (memcmp(content, "\xff\xfe", 2) == 0 || memcmp(content, "\xfe\xff", 2) == 0);

		for (int i = 0; i < valid; i++)
			line += content[i] == '\n';
		ereport(ERROR,
				(errcode(PAY_ERR_FILE_BROKEN),
				 errmsg("line %d of the settlement file cannot be read: it is not %s", line, wide ? "of bytes, but UTF-16" : pg_encoding_to_char(encoding)),
				 wide ? errhint("Convert the file to UTF-8; the server knows no UTF-16.") :
				 errhint("Say its encoding: settlement_text(content, 'LATIN1'). Files from Western Europe are mostly LATIN1 or WIN1252, from Central Europe LATIN2 or WIN1250.")));
	}
	return cstring_to_text(pg_any_to_server(pnstrdup(content, bytes), (int) bytes, encoding));
}

/* What an XML file says of its encoding; all others say nothing. */
static const char *
declared(const char *content, size_t bytes)
{
	static const char *const start = "<?xml";
	char	   *head = pnstrdup(content, Min(bytes, 200)),
			   *stop,
			   *name;

	if (strncmp(head, start, strlen(start)) != 0 || (stop = strstr(head, "?>")) == NULL)
		return "UTF8";
	*stop = '\0';
	name = strstr(head, "encoding");
	if (name == NULL)
		return "UTF8";
	name += strcspn(name, "\"'");
	if (*name == '\0')
		return "UTF8";
	name++;
	name[strcspn(name, "\"'")] = '\0';
	return name;
}

static int
find_encoding(const char *name)
{
	/* It is a part of UTF-8, and no encoding of the server's. */
	if (pg_strcasecmp(name, "US-ASCII") == 0 || pg_strcasecmp(name, "ASCII") == 0)
		return PG_UTF8;
	return pg_char_to_encoding(name);
}
