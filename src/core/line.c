/*
 * src/core/line.c
 *		Texts of others that are to be one line.
 *
 * Reports are lines that somebody signs.  A name that ends a line would begin
 * one of its own there, and that one would say what its author likes.  So what
 * names something in the ledger has no control characters, and what reports
 * show of any text is made one line, whoever wrote it.
 */
#include "payments.h"

#include "core/line.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

PAY_FUNCTION(pay_one_line);

static int	control_at(const unsigned char *text, int bytes);

bool
pay_is_line(const char *text)
{
	int			bytes = text ? (int) strlen(text) : 0;

	for (int i = 0; i < bytes; i++)
		if (control_at((const unsigned char *) text + i, bytes - i) > 0)
			return false;
	return true;
}

void
pay_require_line(const char *text, const char *name)
{
	if (!pay_is_line(text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be one line, without control characters", name),
				 errhint("Leave out line ends, tabs and the like.")));
}

/* How many bytes of it the control character has that a text begins with; 0: it begins with none. */
static int
control_at(const unsigned char *text, int bytes)
{
	if (text[0] < 0x20 || text[0] == 0x7f)
		return 1;
	if (GetDatabaseEncoding() != PG_UTF8)
		return 0;
	/* U+0080 to U+009F; the separators of lines and paragraphs, U+2028 and U+2029. */
	if (bytes >= 2 && text[0] == 0xc2 && text[1] <= 0x9f)
		return 2;
	if (bytes >= 3 && text[0] == 0xe2 && text[1] == 0x80 && (text[2] == 0xa8 || text[2] == 0xa9))
		return 3;
	return 0;
}

/* _one_line(text) */
Datum
pay_one_line(PG_FUNCTION_ARGS)
{
	text	   *from = PG_GETARG_TEXT_PP(0);
	const unsigned char *read = (const unsigned char *) VARDATA_ANY(from);
	int			bytes = VARSIZE_ANY_EXHDR(from);
	text	   *to = palloc(VARHDRSZ + bytes);
	char	   *write = VARDATA(to);

	while (bytes > 0)
	{
		int			n = control_at(read, bytes);

		*write++ = n > 0 ? '?' : (char) *read;
		read += Max(n, 1);
		bytes -= Max(n, 1);
	}
	SET_VARSIZE(to, write - (char *) to);
	PG_RETURN_TEXT_P(to);
}
