/*
 * test/unit/test_json_slice.c
 *		If this fails, a page of a PSP's list is taken apart in the wrong places:
 *		events are lost, or a customer's text is read as an event.
 */
// sources: ../../src/base/json_slice.c
#include "payments.h"

#include "base/json_slice.h"

#include "tap.h"

#include <string.h>

/* Elements of the member "data", joined by '|'; '!' where it is broken, '-' when there is none. */
static const char *const pages[][2] = {
	{"{\"data\":[]}", ""},
	{"{\"data\":[ ]}", ""},
	{" { \"object\" : \"list\" , \"data\" : [ 1 , \"a\" ,{ } ] , \"has_more\" : false } ", "1|\"a\"|{ }|"},
	{"{\"data\":[{\"a\":[1,{\"b\":\"]}\"}]},true]}", "{\"a\":[1,{\"b\":\"]}\"}]}|true|"},
	{"{\"data\":[\"\\\"]\",\"\\\\\"]}", "\"\\\"]\"|\"\\\\\"|"},
	{"{\"x\":{\"data\":[1]},\"data\":[2]}", "2|"},
	{"{\"x\":\"\\\"data\\\":[3]\",\"data\":[2]}", "2|"},
	{"{\"data\":[1],\"data\":[2]}", "2|"},
	{"{}", "-"},
	{"{\"datas\":[1]}", "-"},
	{"", "!"},
	{"[1]", "!"},
	{"{\"data\":[1]", "!"},
	{"{\"data\":[1]}}", "!"},
	{"{\"data\":[1}]", "!"},
	{"{\"data\":[{]}", "!"},
	{"{\"data\":[\"a]}", "!"},
	{"{\"data\":[1,]}", "1|!"},
	{"{\"data\":[1 2]}", "1|!"},
	{"{\"data\":[,1]}", "!"},
	{"{\"data\" [1]}", "!"},
	{"{\"data\":[1],}", "!"},
	{"{data:[1]}", "!"},
	{"{\"data\":{\"id\":1}}", "!"},
};

static const char *const texts[][2] = {
	{"plain \\n \\u00e4", "plain \\n \\u00e4"},
	{"\\u0000", "\\ufffd"},
	{"\\\\u0000", "\\\\u0000"},
	{"\\\\\\u0000x", "\\\\\\ufffdx"},
	{"\\ud83d\\ude00", "\\ud83d\\ude00"},
	{"\\ud83dx", "\\ufffdx"},
	{"\\ude00\\ud83d", "\\ufffd\\ufffd"},
	{"\\ud83d\\u0041", "\\ufffd\\u0041"},
	{"\\u00", "\\u00"},
	{"\\", "\\"},
};

/* Strings, and what they say; NULL: none. */
static const char *const strings[][2] = {
	{"\"\"", ""}, {"\"plain\"", "plain"}, {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "a\"\\/\b\f\n\r\tz"},
	{"\"\\u0041\\u00e4\\u20ac\\ud83d\\ude00\"", "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"}, {"\"\xc3\xa4\"", "\xc3\xa4"},
	{"\"\\u0000\"", NULL}, {"\"\\ud83d\"", NULL}, {"\"\\ude00\\ud83d\"", NULL}, {"\"\\ud83d\\u0041\"", NULL}, {"\"\\u12\"", NULL},
	{"\"\\x\"", NULL}, {"\"\\\"", NULL}, {"\"a", NULL}, {"\"", NULL}, {"a\"", NULL}, {"5", NULL}, {"null", NULL}, {"\"a\nb\"", NULL},
};

static const char *
elements(const char *text)
{
	static char result[512];
	PaySlice	whole = {text, strlen(text)},
				list = {0},
				element;
	PaySliceResult r = pay_slice_member(whole, "data", &list);
	size_t		at = 0;

	result[0] = '\0';
	if (r == PAY_SLICE_END)
		return "-";
	while (r == PAY_SLICE_FOUND && (r = pay_slice_element(list, &at, &element)) == PAY_SLICE_FOUND)
		snprintf(result + strlen(result), sizeof(result) - strlen(result), "%.*s|", (int) element.bytes, element.at);
	if (r == PAY_SLICE_BROKEN)
		strlcat(result, "!", sizeof(result));
	return result;
}

int
main(void)
{
	char		deep[2 * PAY_SLICE_DEPTH_MAX + 32];
	PaySlice	value;

	for (size_t i = 0; i < lengthof(pages); i++)
		OK(strcmp(elements(pages[i][0]), pages[i][1]) == 0, "page %zu: %s gives %s", i, pages[i][0], elements(pages[i][0]));
	for (size_t i = 0; i < lengthof(texts); i++)
	{
		char		copy[64];

		strlcpy(copy, texts[i][0], sizeof(copy));
		pay_slice_clean(copy, strlen(copy));
		OK(strcmp(copy, texts[i][1]) == 0, "text %zu becomes %s", i, copy);
	}
	for (int depth = PAY_SLICE_DEPTH_MAX; depth <= PAY_SLICE_DEPTH_MAX + 1; depth++)
	{
		strlcpy(deep, "{\"data\":", sizeof(deep));
		memset(deep + strlen(deep), '\0', sizeof(deep) - strlen(deep));
		memset(deep + strlen(deep), '[', depth);
		memset(deep + strlen(deep), ']', depth);
		strlcat(deep, "}", sizeof(deep));
		OK(pay_slice_member((PaySlice) {deep, strlen(deep)}, "data", &value) == (depth > PAY_SLICE_DEPTH_MAX ? PAY_SLICE_BROKEN : PAY_SLICE_FOUND),
		   "nesting of %d", depth);
	}
	OK(pay_slice_is((PaySlice) {"true", 4}, "true") && !pay_slice_is((PaySlice) {"true", 3}, "true") && !pay_slice_is((PaySlice) {"truer", 5}, "true"), "words");
	for (size_t i = 0; i < lengthof(strings); i++)
	{
		char		decoded[64] = "?";
		bool		fine = pay_slice_string((PaySlice) {strings[i][0], strlen(strings[i][0])}, decoded);

		OK(fine == (strings[i][1] != NULL) && (!fine || strcmp(decoded, strings[i][1]) == 0), "string %zu is %s", i, fine ? decoded : "none");
	}
	{
		static const char *const names[] = {"b", "none", "a"};
		static const char *const text = "{\"a\": 1, \"b\": [2], \"a\": 3}";
		PaySlice	values[3];

		OK(pay_slice_members((PaySlice) {text, strlen(text)}, names, values, 3) && pay_slice_is(values[0], "[2]") && values[1].at == NULL &&
		   pay_slice_is(values[2], "3"), "several members in one pass, the last of a name");
		OK(!pay_slice_members((PaySlice) {"[]", 2}, names, values, 3), "an array has no members");
	}
	return tap_done();
}
