/*
 * src/base/xml.h
 *		Reading XML of the plain kind that banks send.
 *
 * Pure: no server, no memory of its own.  There is no document type, so there
 * are no entities to expand and nothing to fetch: the code for it does not
 * exist, and a file that has one is refused.
 */
#ifndef PAY_XML_H
#define PAY_XML_H

#define PAY_XML_DEPTH_MAX 64
#define PAY_XML_ATTRIBUTES_MAX 16

typedef enum PayXmlEvent
{
	PAY_XML_OPEN,				/* name and attributes */
	PAY_XML_CLOSE,				/* name, and text if it had no elements inside */
	PAY_XML_END,
	PAY_XML_BROKEN,				/* problem, line */
} PayXmlEvent;

typedef struct PayXml
{
	char	   *at;
	char	   *end;
	int			line;			/* of the event, from 1 */
	size_t		offset;			/* of the event's tag: from its first byte */
	size_t		offset_end;		/* to behind its last */
	char	   *name;			/* without prefix */
	char	   *text;
	int			n;
	char	   *attributes[PAY_XML_ATTRIBUTES_MAX];	/* names as written */
	char	   *values[PAY_XML_ATTRIBUTES_MAX];
	const char *problem;

	/* its own */
	char	   *start;
	char	   *stack[PAY_XML_DEPTH_MAX];	/* names as written, of what is open */
	int			depth;
	bool		self_closed;	/* CLOSE of the last OPEN comes next */
	bool		leaf;			/* nothing was inside so far */
	bool		seen_root;
} PayXml;

/* text[bytes] must be writable; it is read in place, and what was read is overwritten. */
extern void pay_xml_open(PayXml *xml, char *text, size_t bytes);
extern PayXmlEvent pay_xml_next(PayXml *xml) __attribute__((warn_unused_result));
/* Value of an attribute of the last OPEN, NULL if there is none. */
extern const char *pay_xml_attribute(const PayXml *xml, const char *name);

#endif							/* PAY_XML_H */
