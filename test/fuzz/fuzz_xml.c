/*
 * test/fuzz/fuzz_xml.c
 *		If this fails, a file that somebody sends can crash the server.
 */
// sources: ../../src/base/xml.c
// libs: -lxml2
#include "payments.h"

#include "base/xml.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "violated: %s\n", #condition); abort(); } } while (0)

extern int	LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	char	   *text = malloc(bytes + 1);
	PayXml	   *xml = malloc(sizeof(PayXml));
	PayXmlEvent event;
	size_t		events = 0,
				offset = 0;
	int			depth = 0;

	memcpy(text, data, bytes);
	text[bytes] = '\0';
	pay_xml_open(xml, text, bytes);
	while ((event = pay_xml_next(xml)) == PAY_XML_OPEN || event == PAY_XML_CLOSE)
	{
		depth += event == PAY_XML_OPEN ? 1 : -1;
		CHECK(++events <= 2 * bytes && depth >= 0 && depth <= PAY_XML_DEPTH_MAX);
		CHECK(xml->offset >= offset && xml->offset_end > xml->offset && xml->offset_end <= bytes);
		offset = xml->offset;
		CHECK(strlen(xml->name) <= bytes);
		if (event == PAY_XML_CLOSE && xml->text && *xml->text)
			CHECK(xml->text >= text && xml->text + strlen(xml->text) <= text + bytes);
		for (int i = 0; event == PAY_XML_OPEN && i < xml->n; i++)
			CHECK(strlen(xml->attributes[i]) + strlen(xml->values[i]) <= bytes);
	}
	CHECK(event == PAY_XML_BROKEN || depth == 0);
	CHECK((event == PAY_XML_BROKEN) == (xml->problem != NULL));
	pay_xml_close(xml);
	free(xml);
	free(text);
	return 0;
}
