/*
 * test/unit/test_xml.c
 *		If this fails, a bank statement that somebody tampered with eats the
 *		server's memory, reads its files, or hides an entry from us.
 */
// sources: ../../src/base/xml.c
// libs: -lxml2
#include "payments.h"

#include "base/xml.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

typedef struct XmlCase
{
	const char *text;
	const char *events;			/* <name attribute=value>, </name:text>; or '!' and the line where it breaks */
} XmlCase;

static const XmlCase cases[] = {
	{"<a/>", "<a></a:>"},
	{"<a></a>", "<a></a:>"},
	{"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><a>x</a>\n<!-- d -->", "<a></a:x>"},
	{"\xef\xbb\xbf<a>x</a>", "<a></a:x>"},
	{"<a><b>1</b><b>2</b></a>", "<a><b></b:1><b></b:2></a>"},
	{"<p:a xmlns:p='u'><p:b/></p:a>", "<a xmlns:p=u><b></b:></a>"},
	{"<a x=\"1\" y='2 &quot;'>t</a >", "<a x=1 y=2 \"></a:t>"},
	{"<a>&lt;&amp;&gt;&apos;&quot;&#65;&#x42;&#xe9;&#8364;&#x1F600;</a>", "<a></a:<&>'\"AB\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80>"},
	{"<a>x<![CDATA[<b>&amp;]]>y<!-- no -->z<?pi?>!</a>", "<a></a:x<b>&amp;yz!>"},
	{"<a><![CDATA[]]></a>", "<a></a:>"},
	{"<a>x\r\ny</a>", "<a></a:x\ny>"},
	{"\n <?xml version='1.0' encoding='ISO-8859-1'?><a>\xc3\xa9</a>", "<a></a:\xc3\xa9>"},
	{"<a xmlns='' p:b='1'/>", "<a xmlns= p:b=1></a:>"},
	{"<a>\n <b>1</b>\n</a>", "<a><b></b:1></a>"},
	/* broken: how much of it is told before is libxml2's affair */
	{"", "!1"},
	{"x", "!1"},
	{"<a>", "!1"},
	{"<a><b></a></b>", "!1"},
	{"<a></b>", "!1"},
	{"</a>", "!1"},
	{"<a/><b/>", "!1"},
	{"<a/>x", "!1"},
	{"<a>x<b/></a>", "!1"},
	{"<a><b/>x</a>", "!1"},
	{"<a x=1/>", "!1"},
	{"<a x='<'/>", "!1"},
	{"<a x='1'y='2'/>", "!1"},
	{"<a\n<b/>", "!2"},
	{"<a x='1' x='2'/>", "!1"},
	{"<a>]]></a>", "!1"},
	{"<a>\x01</a>", "!1"},
	{"<a>\xe9</a>", "!1"},
	{"\xff\xfe<", "!1"},
	{"<a b1='' b2='' b3='' b4='' b5='' b6='' b7='' b8='' b9='' ba='' bb='' bc='' bd='' be='' bf='' bg='' bh=''/>", "!1"},
	{"<a>&nbsp;</a>", "!1"},
	{"<a>&#0;</a>", "!1"},
	{"<a>&#xD800;</a>", "!1"},
	{"<a>&#x110000;</a>", "!1"},
	{"<a>&#99999999999;</a>", "!1"},
	{"<a>&amp</a>", "!1"},
	{"<a><!-- x</a>", "!1"},
	{"<a><![CDATA[ x</a>", "!1"},
	{"<![CDATA[x]]><a/>", "!1"},
	/* no document type, wherever it stands and whatever is in it */
	{"<!DOCTYPE a><a/>", "!1"},
	{"<?xml version=\"1.0\"?>\n<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]>\n<lolz>&lol2;</lolz>", "!2"},
	{"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "!1"},
	{"<!DOCTYPE a SYSTEM \"http://127.0.0.1:9/a.dtd\"><a/>", "!1"},
	{"<!ENTITY x 'y'><a/>", "!1"},
	{"<a>&lol;</a>", "!1"},
};

static char *
read_all(const char *text)
{
	static char result[4096];
	size_t		bytes = strlen(text);
	char	   *copy = malloc(bytes + 1);
	PayXml	   *xml = malloc(sizeof(PayXml));
	PayXmlEvent e;

	memcpy(copy, text, bytes + 1);
	result[0] = '\0';
	pay_xml_open(xml, copy, bytes);
	while ((e = pay_xml_next(xml)) == PAY_XML_OPEN || e == PAY_XML_CLOSE)
	{
		char	   *at = result + strlen(result);
		size_t		room = sizeof(result) - strlen(result);

		if (e == PAY_XML_CLOSE)
			snprintf(at, room, "</%s%s%s>", xml->name, xml->text ? ":" : "", xml->text ? xml->text : "");
		else
		{
			snprintf(at, room, "<%s", xml->name);
			for (int i = 0; i < xml->n; i++)
				snprintf(at + strlen(at), room - strlen(at), " %s=%s", xml->attributes[i], xml->values[i]);
			strlcat(at, ">", room);
		}
	}
	if (e == PAY_XML_BROKEN)
		snprintf(result + strlen(result), sizeof(result) - strlen(result), "!%d", xml->line);
	OK(pay_xml_next(xml) == e, "and it stays so");
	pay_xml_close(xml);
	pay_xml_close(xml);
	free(xml);
	free(copy);
	return result;
}

int
main(void)
{
	char		deep[8 * (PAY_XML_DEPTH_MAX + 2)] = "";

	for (size_t i = 0; i < lengthof(cases); i++)
	{
		char	   *found = read_all(cases[i].text);

		if (cases[i].events[0] == '!' && strchr(found, '!'))
			found = strchr(found, '!');
		OK(strcmp(found, cases[i].events) == 0, "case %zu: %s gives %s", i, cases[i].text, found);
	}
	for (int i = 0; i < PAY_XML_DEPTH_MAX; i++)
		strcat(deep, "<a>");
	for (int i = 0; i < PAY_XML_DEPTH_MAX; i++)
		strcat(deep, "</a>");
	OK(strchr(read_all(deep), '!') == NULL, "64 levels");
	memmove(deep + 3, deep, strlen(deep) + 1);
	memcpy(deep, "<a>", 3);
	OK(strchr(read_all(deep), '!') != NULL, "and no more");
	return tap_done();
}
