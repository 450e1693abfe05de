/*
 * src/base/xml.c
 *		Reading XML of the plain kind that banks send.
 *
 * Elements, attributes, text, CDATA, comments, processing instructions, the
 * five predefined entities and character references.  What it refuses: a
 * document type (that is where entity expansion and fetching begin), text next
 * to elements, tags that do not match, more than 64 levels.  Namespaces are the
 * caller's: names come without prefix, xmlns is an attribute like others.
 *
 * Text is joined in place: it is never longer than what it was written as.
 */
#include "payments.h"

#include "base/xml.h"

static PayXmlEvent broken(PayXml *xml, const char *problem);
static bool starts(const PayXml *xml, const char *word);
static bool skip_past(PayXml *xml, const char *word);
static bool skip_space(PayXml *xml);
static char *read_name(PayXml *xml);
static char *local_name(char *name);
static PayXmlEvent open_tag(PayXml *xml);
static bool read_attributes(PayXml *xml);
static PayXmlEvent close_tag(PayXml *xml, char *text, char *text_end);
static char *decode(PayXml *xml, char *from, char *stop, char *to);
static char *decode_reference(const char *from, const char *stop, char *to, const char **behind);
static bool read_text(PayXml *xml, char **to);

void
pay_xml_open(PayXml *xml, char *text, size_t bytes)
{
	memset(xml, 0, sizeof(*xml));
	xml->start = xml->at = text;
	xml->end = text + bytes;
	xml->line = 1;
	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		xml->at += 3;
}

PayXmlEvent
pay_xml_next(PayXml *xml)
{
	char	   *text = NULL,
			   *to = NULL;

	if (xml->problem)
		return PAY_XML_BROKEN;
	if (xml->self_closed)
	{
		xml->self_closed = false;
		xml->name = local_name(xml->stack[--xml->depth]);
		xml->text = "";
		xml->leaf = false;
		return PAY_XML_CLOSE;
	}
	text = to = xml->at;
	for (;;)
	{
		if (!read_text(xml, &to))
			return PAY_XML_BROKEN;
		if (xml->at == xml->end)
			return xml->depth > 0 ? broken(xml, "the file ends inside an element") :
				!xml->seen_root ? broken(xml, "there is no element") : PAY_XML_END;
		if (starts(xml, "<!--"))
		{
			if (!skip_past(xml, "-->"))
				return broken(xml, "a comment does not end");
		}
		else if (starts(xml, "<?"))
		{
			if (!skip_past(xml, "?>"))
				return broken(xml, "a processing instruction does not end");
		}
		else if (starts(xml, "<!") && !starts(xml, "<![CDATA["))
			return broken(xml, "a document type is refused: it can name entities and files");
		else if (!starts(xml, "<![CDATA["))
			break;
	}
	xml->offset = xml->at - xml->start;
	if (starts(xml, "</"))
		return close_tag(xml, text, to);
	for (const char *p = text; p < to; p++)
		if (strchr(" \t\r\n", *p) == NULL)
			return broken(xml, "text stands next to an element");
	return open_tag(xml);
}

const char *
pay_xml_attribute(const PayXml *xml, const char *name)
{
	for (int i = 0; i < xml->n; i++)
		if (strcmp(xml->attributes[i], name) == 0)
			return xml->values[i];
	return NULL;
}

static PayXmlEvent
broken(PayXml *xml, const char *problem)
{
	xml->problem = problem;
	return PAY_XML_BROKEN;
}

static bool
starts(const PayXml *xml, const char *word)
{
	size_t		n = strlen(word);

	return (size_t) (xml->end - xml->at) >= n && memcmp(xml->at, word, n) == 0;
}

static bool
skip_past(PayXml *xml, const char *word)
{
	for (; xml->at < xml->end; xml->at++)
	{
		if (starts(xml, word))
		{
			xml->at += strlen(word);
			return true;
		}
		xml->line += *xml->at == '\n';
	}
	return false;
}

/* Was there any? */
static bool
skip_space(PayXml *xml)
{
	const char *before = xml->at;

	while (xml->at < xml->end && (*xml->at == ' ' || *xml->at == '\t' || *xml->at == '\r' || *xml->at == '\n'))
		xml->line += *xml->at++ == '\n';
	return xml->at > before;
}

/* Text and CDATA from here to the next other markup, moved to *to. */
static bool
read_text(PayXml *xml, char **to)
{
	for (;;)
	{
		char	   *from = xml->at;

		if (starts(xml, "<![CDATA["))
		{
			from += 9;
			if (!skip_past(xml, "]]>"))
				return broken(xml, "a CDATA section does not end") != PAY_XML_BROKEN;
			memmove(*to, from, xml->at - 3 - from);
			*to += xml->at - 3 - from;
			if (xml->depth == 0)
				return broken(xml, "text stands outside of the document") != PAY_XML_BROKEN;
			continue;
		}
		while (xml->at < xml->end && *xml->at != '<')
		{
			if (*xml->at == '\0')
				return broken(xml, "there is a control character") != PAY_XML_BROKEN;
			if (xml->depth == 0 && strchr(" \t\r\n", *xml->at) == NULL)
				return broken(xml, "text stands outside of the document") != PAY_XML_BROKEN;
			xml->line += *xml->at++ == '\n';
		}
		*to = decode(xml, from, xml->at, *to);
		if (*to == NULL)
			return false;
		if (!starts(xml, "<![CDATA["))
			return true;
	}
}

/* Resolves references between from and stop into *to; returns the end, NULL when one is not known. */
static char *
decode(PayXml *xml, char *from, char *stop, char *to)
{
	while (from < stop)
	{
		const char *behind;

		if (*from != '&')
		{
			*to++ = *from++;
			continue;
		}
		to = decode_reference(from, stop, to, &behind);
		if (to == NULL)
		{
			broken(xml, "an entity is not one of the five predefined");
			return NULL;
		}
		from += behind - from;
	}
	return to;
}

static char *
decode_reference(const char *from, const char *stop, char *to, const char **behind)
{
	static const struct
	{
		const char *name;
		char		c;
	}			known[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
	uint32		c = 0;
	int			base = 10,
				digits = 0;

	for (int i = 0; i < (int) lengthof(known); i++)
	{
		size_t		n = strlen(known[i].name);

		if ((size_t) (stop - from) >= n && memcmp(from, known[i].name, n) == 0)
		{
			*behind = from + n;
			*to++ = known[i].c;
			return to;
		}
	}
	if (stop - from < 4 || from[1] != '#')
		return NULL;
	from += 2;
	if (*from == 'x')
	{
		base = 16;
		from++;
	}
	for (; from < stop && *from != ';'; from++, digits++)
	{
		const char *hex = "0123456789abcdef";
		const char *digit = *from == '\0' ? NULL : strchr(hex, *from >= 'A' && *from <= 'F' ? *from + 32 : *from);

		if (digit == NULL || digit - hex >= base || digits > 7)
			return NULL;
		c = c * base + (digit - hex);
	}
	if (from == stop || digits == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || (c < 0x20 && c != 9 && c != 10 && c != 13))
		return NULL;
	*behind = from + 1;
	/* As UTF-8: never longer than "&#x41;". */
	if (c < 0x80)
		*to++ = c;
	else
	{
		int			more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

		*to++ = (char) ((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | (c >> (6 * more)));
		for (; more > 0; more--)
			*to++ = (char) (0x80 | ((c >> (6 * (more - 1))) & 0x3f));
	}
	return to;
}

/* A name up to a blank, '=', '/' or '>', which the caller overwrites when it has looked at it. */
static char *
read_name(PayXml *xml)
{
	char	   *name = xml->at;

	while (xml->at < xml->end && strchr(" \t\r\n=/>", *xml->at) == NULL)
	{
		if (strchr("<&\"'", *xml->at) != NULL)
			return NULL;
		xml->at++;
	}
	return xml->at == name || xml->at == xml->end ? NULL : name;
}

static char *
local_name(char *name)
{
	char	   *colon = strchr(name, ':');

	return colon ? colon + 1 : name;
}

static PayXmlEvent
open_tag(PayXml *xml)
{
	char	   *name,
			   *name_end;

	xml->at++;
	if (xml->depth == 0 && xml->seen_root)
		return broken(xml, "there is a second document");
	if (xml->depth == PAY_XML_DEPTH_MAX)
		return broken(xml, "elements are nested more than 64 deep");
	name = read_name(xml);
	if (name == NULL)
		return broken(xml, "a tag is malformed");
	name_end = xml->at;
	if (!read_attributes(xml))
		return xml->problem ? PAY_XML_BROKEN : broken(xml, "a tag is malformed");
	if (*xml->at == '/')
	{
		xml->at++;
		xml->self_closed = true;
	}
	if (xml->at == xml->end || *xml->at != '>')
		return broken(xml, "a tag is malformed");
	xml->at++;
	*name_end = '\0';
	xml->stack[xml->depth++] = name;
	xml->seen_root = true;
	xml->leaf = true;
	xml->name = local_name(name);
	xml->text = NULL;
	xml->offset_end = xml->at - xml->start;
	return PAY_XML_OPEN;
}

/* Up to the tag's '/' or '>', at which *at stays. */
static bool
read_attributes(PayXml *xml)
{
	xml->n = 0;
	for (;;)
	{
		bool		space = skip_space(xml);
		char	   *name,
				   *name_end,
				   *value,
				   *value_end;
		char		quote;

		if (xml->at == xml->end)
			return false;
		if (*xml->at == '/' || *xml->at == '>')
			return true;
		if (!space || xml->n == PAY_XML_ATTRIBUTES_MAX)
			return false;
		name = read_name(xml);
		if (name == NULL)
			return false;
		name_end = xml->at;
		(void) skip_space(xml);
		if (xml->at == xml->end || *xml->at++ != '=')
			return false;
		(void) skip_space(xml);
		if (xml->at == xml->end || (*xml->at != '"' && *xml->at != '\''))
			return false;
		quote = *xml->at++;
		value = xml->at;
		while (xml->at < xml->end && *xml->at != quote && *xml->at != '<' && *xml->at != '\0')
			xml->line += *xml->at++ == '\n';
		if (xml->at == xml->end || *xml->at != quote)
			return false;
		value_end = decode(xml, value, xml->at, value);
		if (value_end == NULL)
			return false;
		xml->at++;
		*name_end = '\0';
		*value_end = '\0';
		xml->attributes[xml->n] = name;
		xml->values[xml->n++] = value;
	}
}

static PayXmlEvent
close_tag(PayXml *xml, char *text, char *text_end)
{
	char	   *name;
	char		after;

	xml->at += 2;
	if (xml->depth == 0)
		return broken(xml, "a tag closes what was not open");
	name = read_name(xml);
	if (name == NULL)
		return broken(xml, "a tag is malformed");
	after = *xml->at;
	*xml->at = '\0';
	if (strcmp(name, xml->stack[xml->depth - 1]) != 0)
		return broken(xml, "a tag closes another than the one that is open");
	*xml->at = after;
	(void) skip_space(xml);
	if (xml->at == xml->end || *xml->at != '>')
		return broken(xml, "a tag is malformed");
	xml->at++;
	/* Text between closing tags is no element's; only blanks may stand there. */
	for (const char *p = text; !xml->leaf && p < text_end; p++)
		if (strchr(" \t\r\n", *p) == NULL)
			return broken(xml, "text stands next to an element");
	*text_end = '\0';
	xml->name = local_name(xml->stack[--xml->depth]);
	xml->text = xml->leaf ? text : NULL;
	xml->leaf = false;
	xml->offset_end = xml->at - xml->start;
	return PAY_XML_CLOSE;
}
