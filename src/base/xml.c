/*
 * src/base/xml.c
 *		Reading XML of the plain kind that banks send.
 *
 * libxml2's push parser is given the file in small chunks; what it calls back
 * with is kept until pay_xml_next() hands it out, event by event.  On top of XML
 * we refuse: a document type (that is where entity expansion and fetching
 * begin, and the parser stops before it has read what stands in it), text next
 * to elements, more than 64 levels or 16 attributes.  libxml2's own limits hold
 * (no XML_PARSE_HUGE).
 *
 * It calls nothing global of libxml2: errors come by the parser's own handler,
 * and memory is the parser's, so that the server's use of the library and ours
 * do not meet.  (It lets libxml2 use malloc() as it is; USE_LIBXMLCONTEXT, which
 * does not, is for debugging the server.)  Nothing is raised from within a callback, and nothing of the
 * server's memory is asked for: no longjmp crosses the library.
 *
 * Texts, names and values are moved together in the caller's text, to where they
 * were written: they are never longer than that.
 */
#include "payments.h"

#include "base/xml.h"

#include <libxml/parser.h>
#include <libxml/SAX2.h>
#include <libxml/xmlerror.h>

#if LIBXML_VERSION >= 21200
typedef const xmlError *PayXmlError;
#else
typedef xmlErrorPtr PayXmlError;
#endif

static void give(PayXml *xml);
static void stop(PayXml *xml, int line, const char *problem);
static PayXmlMet *meet(PayXml *xml, PayXmlEvent event, size_t at_end, char *name);
static bool tag_begins(const PayXml *xml, size_t end, size_t *offset);
static size_t position(const PayXml *xml);
static bool is_blank(const PayXml *xml);
static bool put(char **to, const char *end, const xmlChar *text, size_t bytes);
static bool put_name(char **to, const char *end, const xmlChar *prefix, const xmlChar *name);
static void on_open(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_namespaces,
					const xmlChar **namespaces, int n_attributes, int n_defaulted, const xmlChar **attributes);
static void on_close(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri);
static void on_text(void *data, const xmlChar *text, int bytes);
static void on_document_type(void *data, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id);
static void on_error(void *data, PayXmlError error);

void
pay_xml_open(PayXml *xml, char *text, size_t bytes)
{
	xmlSAXHandler handlers = {
		.initialized = XML_SAX2_MAGIC,
		.startElementNs = on_open,
		.endElementNs = on_close,
		.characters = on_text,
		.ignorableWhitespace = on_text,
		.cdataBlock = on_text,
		.internalSubset = on_document_type,
		.serror = on_error,
	};

	memset(xml, 0, offsetof(PayXml, met));
	memset(&xml->n_met, 0, sizeof(*xml) - offsetof(PayXml, n_met));
	xml->start = text;
	xml->bytes = bytes;
	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		xml->skipped = 3;
	/* A declaration must be the first; what others put before it is nothing. */
	while (xml->skipped < bytes && strchr(" \t\r\n", text[xml->skipped]) && text[xml->skipped])
		xml->skipped++;
	xml->given = xml->skipped;
	/* Bytes that begin otherwise would have the parser guess another encoding. */
	if (bytes - xml->skipped < 2 || text[xml->skipped] != '<' || text[xml->skipped + 1] == '\0')
	{
		stop(xml, 1, "it does not begin with an element");
		return;
	}
	xml->parser = xmlCreatePushParserCtxt(&handlers, xml, NULL, 0, NULL);
	/* Whatever it says of its encoding: the text has that of the database. */
	if (xml->parser == NULL || xmlCtxtUseOptions(xml->parser, XML_PARSE_NONET | XML_PARSE_IGNORE_ENC) != 0)
		stop(xml, 1, "memory ran out");
}

void
pay_xml_close(PayXml *xml)
{
	if (xml->parser == NULL)
		return;
	xmlFreeParserCtxt(xml->parser);
	xml->parser = NULL;
}

PayXmlEvent
pay_xml_next(PayXml *xml)
{
	const PayXmlMet *met;
	char	   *at;

	while (xml->told == xml->n_met)
	{
		if (xml->broken)
		{
			xml->problem = xml->said;
			xml->line = xml->broken_line;
			return PAY_XML_BROKEN;
		}
		if (xml->ended)
			return PAY_XML_END;
		give(xml);
	}
	met = &xml->met[xml->told++];
	xml->line = met->line;
	xml->offset = met->offset;
	xml->offset_end = met->offset_end;
	xml->name = at = met->name;
	xml->text = met->text;
	if (met->event == PAY_XML_OPEN)
	{
		xml->n = met->n;
		for (int i = 0; i < met->n; i++)
		{
			at += strlen(at) + 1;
			xml->attributes[i] = at;
			at += strlen(at) + 1;
			xml->values[i] = at;
		}
	}
	return met->event;
}

const char *
pay_xml_attribute(const PayXml *xml, const char *name)
{
	for (int i = 0; i < xml->n; i++)
		if (strcmp(xml->attributes[i], name) == 0)
			return xml->values[i];
	return NULL;
}

/* The parser gets some more; it has copied it when it calls back. */
static void
give(PayXml *xml)
{
	const char *from = xml->start + xml->given;
	size_t		n = Min(PAY_XML_CHUNK, xml->bytes - xml->given);

	xml->n_met = xml->told = 0;
	xml->given += n;
	xml->ended = n == 0;
	if (xmlParseChunk(xml->parser, from, (int) n, n == 0) != 0 && xml->ended)
		stop(xml, xmlSAX2GetLineNumber(xml->parser), "it is not XML");
}

/* What was met is told yet; nothing more is met. */
static void
stop(PayXml *xml, int line, const char *problem)
{
	if (xml->broken)
		return;
	xml->broken = true;
	xml->broken_line = Max(line, 1);
	strlcpy(xml->said, problem, sizeof(xml->said));
	if (xml->parser)
		xmlStopParser(xml->parser);
}

static void
on_open(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_namespaces,
		const xmlChar **namespaces, int n_attributes, int n_defaulted, const xmlChar **attributes)
{
	PayXml	   *xml = data;
	int			line = xmlSAX2GetLineNumber(xml->parser);
	size_t		end = position(xml);
	char	   *to;
	PayXmlMet  *met;

	if (xml->depth == PAY_XML_DEPTH_MAX)
		return stop(xml, line, "elements are nested more than 64 deep");
	if (n_namespaces + n_attributes > PAY_XML_ATTRIBUTES_MAX)
		return stop(xml, line, "an element has more than 16 attributes");
	if (!is_blank(xml))
		return stop(xml, line, "text stands next to an element");
	/* It stands before the '>', or before a "/>". */
	xml->self_closing = end < xml->given && xml->start[end] == '/';
	met = meet(xml, PAY_XML_OPEN, end + (xml->self_closing ? 2 : 1), NULL);
	if (met == NULL)
		return;
	met->line = line;
	met->n = n_namespaces + n_attributes;
	met->name = to = xml->start + met->offset + 1;
	for (int i = -1; i < met->n; i++)
	{
		const char *tag_end = xml->start + met->offset_end;
		bool		fits;

		if (i < 0)
			fits = put_name(&to, tag_end, NULL, name);
		else if (i < n_namespaces)
		{
			const xmlChar *value = namespaces[2 * i + 1];

			fits = put_name(&to, tag_end, namespaces[2 * i] ? BAD_CAST "xmlns" : NULL, namespaces[2 * i] ? namespaces[2 * i] : BAD_CAST "xmlns") &&
				put(&to, tag_end, value ? value : BAD_CAST "", value ? strlen((const char *) value) : 0);
		}
		else
		{
			const xmlChar **attribute = &attributes[5 * (i - n_namespaces)];

			fits = put_name(&to, tag_end, attribute[1], attribute[0]) && put(&to, tag_end, attribute[3], attribute[4] - attribute[3]);
		}
		if (!fits)
			return stop(xml, line, "its encoding is not that of the database");
	}
	xml->depth++;
	xml->leaf = true;
	xml->last_name = met->name;
	xml->last_offset = met->offset;
	xml->last_offset_end = met->offset_end;
	xml->text_from = xml->text_to = met->offset_end;
	xml->n_met++;
}

static void
on_close(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	PayXml	   *xml = data;
	PayXmlMet  *met;
	char	   *to;

	if (!xml->leaf && !is_blank(xml))
		return stop(xml, xmlSAX2GetLineNumber(xml->parser), "text stands next to an element");
	if (xml->self_closing)
	{
		met = meet(xml, PAY_XML_CLOSE, xml->last_offset_end, xml->last_name);
		if (met)
			met->text = "";
	}
	else
	{
		met = meet(xml, PAY_XML_CLOSE, position(xml), NULL);
		/* The text's NUL may be the first byte of the tag. */
		to = met ? met->name = xml->start + met->offset + 1 : NULL;
		if (met && (xml->text_to > met->offset || !put_name(&to, xml->start + met->offset_end, NULL, name)))
			return stop(xml, met->line, "its encoding is not that of the database");
		if (met && xml->leaf)
		{
			met->text = xml->start + xml->text_from;
			xml->start[xml->text_to] = '\0';
		}
	}
	if (met == NULL)
		return;
	xml->depth--;
	xml->leaf = xml->self_closing = false;
	xml->text_from = xml->text_to = met->offset_end;
	xml->n_met++;
}

/* Comes in parts; CDATA and what was a reference too. */
static void
on_text(void *data, const xmlChar *text, int bytes)
{
	PayXml	   *xml = data;

	if (bytes > 0 && xml->text_to + bytes > xml->given)
		return stop(xml, xmlSAX2GetLineNumber(xml->parser), "its encoding is not that of the database");
	memcpy(xml->start + xml->text_to, text, bytes);
	xml->text_to += bytes;
}

static void
on_document_type(void *data, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
	PayXml	   *xml = data;

	stop(xml, xmlSAX2GetLineNumber(xml->parser), "a document type is refused: it can name entities and files");
}

/* What is no more than a warning, such as a prefix that nobody has declared, is none of ours. */
static void
on_error(void *data, PayXmlError error)
{
	PayXml	   *xml = data;
	char		problem[PAY_XML_PROBLEM_BYTES];

	if (error->level != XML_ERR_FATAL || error->code == XML_ERR_USER_STOP)
		return;
	snprintf(problem, sizeof(problem), "it is not XML: %s", error->message ? error->message : "memory ran out");
	problem[strcspn(problem, "\n")] = '\0';
	stop(xml, error->line, problem);
}

/* The next event, which ends its tag there; the caller counts it when it is whole.  NULL when it stopped. */
static PayXmlMet *
meet(PayXml *xml, PayXmlEvent event, size_t at_end, char *name)
{
	PayXmlMet  *met = &xml->met[xml->n_met];

	if (xml->broken)
		return NULL;
	if (xml->n_met == PAY_XML_EVENTS)
	{
		stop(xml, xmlSAX2GetLineNumber(xml->parser), "it has more tags than bytes");
		return NULL;
	}
	memset(met, 0, sizeof(*met));
	met->event = event;
	met->line = xmlSAX2GetLineNumber(xml->parser);
	met->name = name;
	met->offset_end = at_end;
	if (name)
		met->offset = xml->last_offset;
	else if (!tag_begins(xml, at_end, &met->offset))
	{
		stop(xml, met->line, "its encoding is not that of the database");
		return NULL;
	}
	return met;
}

/* Where the tag begins that ends here: within one there is no other '<'. */
static bool
tag_begins(const PayXml *xml, size_t end, size_t *offset)
{
	if (end > xml->given || end <= xml->text_to || xml->start[end - 1] != '>')
		return false;
	for (size_t i = end - 1; i-- > xml->text_from;)
		if (xml->start[i] == '<')
		{
			*offset = i;
			return true;
		}
	return false;
}

/* How far the parser has come. */
static size_t
position(const PayXml *xml)
{
#if LIBXML_VERSION >= 21400
	unsigned long consumed;

	return xmlCtxtGetInputPosition(xml->parser, 0, NULL, NULL, NULL, &consumed) == 0 ? xml->skipped + consumed : 0;
#else
	long		consumed = xmlByteConsumed(xml->parser);

	return consumed < 0 ? 0 : xml->skipped + consumed;
#endif
}

/* Is there no text since the last tag? */
static bool
is_blank(const PayXml *xml)
{
	for (size_t i = xml->text_from; i < xml->text_to; i++)
		if (strchr(" \t\r\n", xml->start[i]) == NULL || xml->start[i] == '\0')
			return false;
	return true;
}

static bool
put(char **to, const char *end, const xmlChar *text, size_t bytes)
{
	if ((size_t) (end - *to) < bytes + 1)
		return false;
	memcpy(*to, text, bytes);
	(*to)[bytes] = '\0';
	*to += bytes + 1;
	return true;
}

static bool
put_name(char **to, const char *end, const xmlChar *prefix, const xmlChar *name)
{
	size_t		n = strlen((const char *) name);

	if (prefix)
	{
		if (!put(to, end, prefix, strlen((const char *) prefix)))
			return false;
		(*to)[-1] = ':';
	}
	return put(to, end, name, n);
}
