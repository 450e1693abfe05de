/*
 * src/base/xml.h
 *		Reading XML of the plain kind that banks send.
 *
 * libxml2 parses; this is what we let it do.  There is no document type, so
 * there are no entities to expand and nothing to fetch; a file that has one is
 * refused.  Names come without prefix; the caller looks at namespaces.
 *
 * What libxml2 allocates hangs on the parser: pay_xml_close() must be called
 * once, also if an error has taken us elsewhere.  What the events point at lies
 * in the caller's text and stays until the end.
 */
#ifndef PAY_XML_H
#define PAY_XML_H

#define PAY_XML_DEPTH_MAX 64
#define PAY_XML_ATTRIBUTES_MAX 16
#define PAY_XML_PROBLEM_BYTES 160

/* Given to libxml2 at once, and the events that can come of so many bytes. */
#define PAY_XML_CHUNK 1024
#define PAY_XML_EVENTS (PAY_XML_CHUNK + 8)

typedef enum PayXmlEvent
{
	PAY_XML_OPEN,				/* name and attributes */
	PAY_XML_CLOSE,				/* name, and text if it had no elements inside */
	PAY_XML_END,
	PAY_XML_BROKEN,				/* problem, line */
} PayXmlEvent;

/* An event that was met and not yet told. */
typedef struct PayXmlMet
{
	PayXmlEvent event;
	int			line;
	size_t		offset;
	size_t		offset_end;
	char	   *name;			/* of an OPEN, behind it names and values of its attributes, each with its NUL */
	char	   *text;
	int			n;
} PayXmlMet;

typedef struct PayXml
{
	int			line;			/* of the event, from 1 */
	size_t		offset;			/* of the event's tag: from its first byte */
	size_t		offset_end;		/* to behind its last */
	char	   *name;			/* without prefix */
	char	   *text;
	int			n;
	char	   *attributes[PAY_XML_ATTRIBUTES_MAX]; /* names as written */
	char	   *values[PAY_XML_ATTRIBUTES_MAX];
	const char *problem;

	/* its own */
	struct _xmlParserCtxt *parser;
	char	   *start;			/* of the text */
	size_t		bytes;
	size_t		skipped;		/* bytes before those that the parser was given */
	size_t		given;			/* to the parser, from the start */
	PayXmlMet	met[PAY_XML_EVENTS];
	int			n_met;
	int			told;
	int			depth;
	bool		leaf;			/* nothing was inside so far */
	bool		self_closing;	/* the last OPEN is its own CLOSE */
	char	   *last_name;		/* of the last OPEN */
	size_t		last_offset;
	size_t		last_offset_end;
	size_t		text_from;		/* of the text since the last tag, moved together */
	size_t		text_to;
	bool		ended;
	bool		broken;			/* once all events were told */
	int			broken_line;
	char		said[PAY_XML_PROBLEM_BYTES];	/* why */
} PayXml;

/* text[bytes], UTF-8, must be writable; what was read is overwritten. */
extern void pay_xml_open(PayXml *xml, char *text, size_t bytes);
extern PayXmlEvent pay_xml_next(PayXml *xml) __attribute__((warn_unused_result));
/* Frees the parser; again does nothing. */
extern void pay_xml_close(PayXml *xml);
/* Value of an attribute of the last OPEN, NULL if there is none. */
extern const char *pay_xml_attribute(const PayXml *xml, const char *name);

#endif							/* PAY_XML_H */
