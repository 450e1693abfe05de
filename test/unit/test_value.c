/*
 * test/unit/test_value.c
 *		If this fails, an amount of a settlement file is a hundred or a thousand
 *		times what it was, or a payment falls on another day.
 */
// sources: ../../src/format/value.c
#include "payments.h"

#include "format/value.h"

#include "tap.h"

#include <string.h>

static const struct
{
	const char *text;
	char		point;
	const char *value;			/* NULL: refused */
}			amounts[] = {
	{"0", '.', "0"}, {"1", '.', "1"}, {"-1", '.', "-1"}, {"+1.50", '.', "1.50"}, {"-0.05", '.', "-0.05"}, {"1,50", ',', "1.50"},
	{"007.10", '.', "7.10"}, {"999999999999999.999", '.', "999999999999999.999"}, {"123456789012345678", '.', "123456789012345678"},
	{"1,50", '.', NULL}, {"1.50", ',', NULL}, {"1.234,50", ',', NULL}, {"1,234.50", '.', NULL}, {"1 234.50", '.', NULL},
	{"1.2.3", '.', NULL}, {"1.", '.', NULL}, {".5", '.', NULL}, {"-", '.', NULL}, {"--1", '.', NULL}, {"1-", '.', NULL}, {"(1)", '.', NULL},
	{"1e3", '.', NULL}, {"0x10", '.', NULL}, {"NaN", '.', NULL}, {" 1", '.', NULL}, {"1 ", '.', NULL}, {"1234567890123456789", '.', NULL},
	{"\xd9\xa1", '.', NULL},
};

static const struct
{
	const char *text;
	char		point;
	PayGrouping grouping;
	const char *value;			/* NULL: refused */
}			grouped[] = {
	{"1,234.50", '.', PAY_GROUP_COMMA, "1234.50"}, {"-1,234,567.89", '.', PAY_GROUP_COMMA, "-1234567.89"}, {"1.234,50", ',', PAY_GROUP_POINT, "1234.50"},
	{"1.000", ',', PAY_GROUP_POINT, "1000"}, {"1000", ',', PAY_GROUP_POINT, "1000"}, {"+12'345.6", '.', PAY_GROUP_APOSTROPHE, "12345.6"},
	{"12\xe2\x80\x99" "345", '.', PAY_GROUP_APOSTROPHE, "12345"}, {"1 234,5", ',', PAY_GROUP_BLANK, "1234.5"},
	{"1\xc2\xa0" "234\xe2\x80\xaf" "567,5", ',', PAY_GROUP_BLANK, "1234567.5"}, {"0.05", '.', PAY_GROUP_COMMA, "0.05"},
	{"999,999,999,999,999.999", '.', PAY_GROUP_COMMA, "999999999999999.999"},
	/* What is grouped in another way may mean another amount. */
	{"12,34.50", '.', PAY_GROUP_COMMA, NULL}, {"1,23,456", '.', PAY_GROUP_COMMA, NULL}, {"1,50", '.', PAY_GROUP_COMMA, NULL}, {"1,2345", '.', PAY_GROUP_COMMA, NULL},
	{"1234,567", '.', PAY_GROUP_COMMA, NULL}, {",123", '.', PAY_GROUP_COMMA, NULL}, {"1,", '.', PAY_GROUP_COMMA, NULL}, {"1,,234", '.', PAY_GROUP_COMMA, NULL},
	{"1.234,567", '.', PAY_GROUP_COMMA, NULL}, {"1.2,3", '.', PAY_GROUP_COMMA, NULL}, {"- 1 234", '.', PAY_GROUP_BLANK, NULL}, {" 123", '.', PAY_GROUP_BLANK, NULL},
	{"1 234", '.', PAY_GROUP_COMMA, NULL}, {"1,234", '.', PAY_GROUP_NONE, NULL}, {"9,999,999,999,999,999,999,999,999,999,999,999", '.', PAY_GROUP_COMMA, NULL},
	{"1,234.5000000000000000000000000000000000000000", '.', PAY_GROUP_COMMA, NULL}, {"-", '.', PAY_GROUP_COMMA, NULL},
};

static const struct
{
	const char *text;
	PayDateOrder order;
	const char *value;			/* NULL: refused */
}			moments[] = {
	{"2026-11-22", PAY_DATE_ISO, "2026-11-22"},
	{"2026-11-22 10:30", PAY_DATE_ISO, "2026-11-22 10:30:00.000000"},
	{"2026-11-22T10:30:05", PAY_DATE_ISO, "2026-11-22 10:30:05.000000"},
	{"2026-11-22T10:30:05.5", PAY_DATE_ISO, "2026-11-22 10:30:05.500000"},
	{"2026-11-22T10:30:05.123456789Z", PAY_DATE_ISO, "2026-11-22 10:30:05.123456+0"},
	{"2026-11-22 10:30:05 UTC", PAY_DATE_ISO, "2026-11-22 10:30:05.000000+0"},
	{"2026-11-22T10:30:05+01:00", PAY_DATE_ISO, "2026-11-22 10:30:05.000000+3600"},
	{"2026-11-22T10:30:05-0530", PAY_DATE_ISO, "2026-11-22 10:30:05.000000+-19800"},
	{"2026-11-22+01:00", PAY_DATE_ISO, "2026-11-22+3600"},
	{"2028-02-29", PAY_DATE_ISO, "2028-02-29"},
	{"22.11.2026", PAY_DATE_DMY, "2026-11-22"},
	{"3/1/2026 9:00", PAY_DATE_DMY, NULL},
	{"3/1/2026 09:00", PAY_DATE_DMY, "2026-01-03 09:00:00.000000"},
	{"3/1/2026", PAY_DATE_MDY, "2026-03-01"},
	{"2026-02-29", PAY_DATE_ISO, NULL}, {"2026-13-01", PAY_DATE_ISO, NULL}, {"2026-00-01", PAY_DATE_ISO, NULL}, {"2026-01-00", PAY_DATE_ISO, NULL},
	{"2026-1-1", PAY_DATE_ISO, NULL}, {"26-01-01", PAY_DATE_ISO, NULL}, {"22.11.26", PAY_DATE_DMY, NULL}, {"13/13/2026", PAY_DATE_MDY, NULL},
	{"22.11/2026", PAY_DATE_DMY, NULL}, {"22.11.2026", PAY_DATE_ISO, NULL}, {"2026-11-22", PAY_DATE_DMY, NULL}, {"2026-11-22 24:00", PAY_DATE_ISO, NULL},
	{"2026-11-22 10:60", PAY_DATE_ISO, NULL}, {"2026-11-22 10", PAY_DATE_ISO, NULL}, {"2026-11-22 10:30 CET", PAY_DATE_ISO, NULL},
	{"2026-11-22 10:30+1", PAY_DATE_ISO, NULL}, {"2026-11-22 10:30+99", PAY_DATE_ISO, NULL}, {"2026-11-22-01:00", PAY_DATE_ISO, NULL},
	{"2026-11-22x", PAY_DATE_ISO, NULL}, {"1700000000", PAY_DATE_ISO, NULL}, {"0000-01-01", PAY_DATE_ISO, NULL},
};

static void
test_amounts(void)
{
	char		text[PAY_DECIMAL_BYTES];
	PayDecimal	a,
				b;

	for (size_t i = 0; i < lengthof(amounts); i++)
	{
		bool		fine = pay_decimal_parse(amounts[i].text, amounts[i].point, &a);

		OK(fine == (amounts[i].value != NULL), "%s with %c is %s", amounts[i].text, amounts[i].point, fine ? "an amount" : "none");
		if (!fine || amounts[i].value == NULL)
			continue;
		pay_decimal_text(&a, text);
		OK(a.given && strcmp(text, amounts[i].value) == 0, "namely %s", text);
	}
	OK(pay_decimal_parse("", '.', &a) && !a.given, "nothing is nothing");
	for (size_t i = 0; i < lengthof(grouped); i++)
	{
		bool		fine = pay_decimal_parse_grouped(grouped[i].text, grouped[i].point, grouped[i].grouping, &a);

		OK(fine == (grouped[i].value != NULL), "%s in groups is %s", grouped[i].text, fine ? "an amount" : "none");
		if (!fine || grouped[i].value == NULL)
			continue;
		pay_decimal_text(&a, text);
		OK(a.given && strcmp(text, grouped[i].value) == 0, "namely %s", text);
	}
	OK(pay_decimal_parse_grouped("", '.', PAY_GROUP_COMMA, &a) && !a.given, "nothing is nothing in groups");

	OK(pay_decimal_parse("0.1", '.', &a) && pay_decimal_parse("0.20", '.', &b) && pay_decimal_add(&a, &b, 1), "0.1 + 0.20");
	pay_decimal_text(&a, text);
	OK(strcmp(text, "0.30") == 0 && pay_decimal_parse("0.3", '.', &b) && pay_decimal_equal(&a, &b), "is 0.3");
	OK(pay_decimal_add(&a, &b, -1) && a.digits == 0, "less 0.3 is nothing");
	OK(pay_decimal_parse("0.01", '.', &b) && !pay_decimal_equal(&a, &b), "and not a cent");
	OK(pay_decimal_parse("999999999999999999", '.', &a) && pay_decimal_parse("0.00000000000000001", '.', &b) && !pay_decimal_add(&a, &b, 1),
	   "what overflows is said to");
}

static void
test_moments(void)
{
	PayMoment	m;
	char		text[64];
	int			seconds;

	for (size_t i = 0; i < lengthof(moments); i++)
	{
		bool		fine = pay_moment_parse(moments[i].text, moments[i].order, &m);

		OK(fine == (moments[i].value != NULL), "%s is %s", moments[i].text, fine ? "a time" : "none");
		if (!fine || moments[i].value == NULL)
			continue;
		snprintf(text, sizeof(text), "%04d-%02d-%02d", m.year, m.month, m.day);
		if (m.has_time)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " %02d:%02d:%02d.%06d", m.hour, m.minute, m.second, m.usec);
		if (m.has_zone)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "+%d", m.zone_seconds);
		OK(m.given && strcmp(text, moments[i].value) == 0, "namely %s", text);
	}
	OK(pay_moment_parse("", PAY_DATE_ISO, &m) && !m.given, "nothing is nothing");
	{
		static const struct
		{
			int64		unix_s;
			const char *value;
		}			times[] = {
			{0, "1970-01-01 00:00:00"}, {-1, "1969-12-31 23:59:59"}, {951782400, "2000-02-29 00:00:00"}, {951868800, "2000-03-01 00:00:00"},
			{1790000000, "2026-09-21 14:13:20"}, {1798761599, "2026-12-31 23:59:59"}, {4107542400, "2100-03-01 00:00:00"},
			{INT64CONST(-2208988800), "1900-01-01 00:00:00"}, {INT64CONST(32503679999), "2999-12-31 23:59:59"},
		};

		for (size_t i = 0; i < lengthof(times); i++)
		{
			pay_moment_of_unix(times[i].unix_s, &m);
			snprintf(text, sizeof(text), "%04d-%02d-%02d %02d:%02d:%02d", m.year, m.month, m.day, m.hour, m.minute, m.second);
			OK(strcmp(text, times[i].value) == 0 && m.has_zone && m.zone_seconds == 0, "%lld is %s", (long long) times[i].unix_s, text);
		}
	}
	OK(pay_zone_abbreviation("CEST", &seconds) && seconds == 7200, "CEST");
	OK(pay_zone_abbreviation("PST", &seconds) && seconds == -28800, "PST");
	OK(!pay_zone_abbreviation("Europe/Berlin", &seconds) && !pay_zone_abbreviation("", &seconds), "others are asked of the zone database");
}

int
main(void)
{
	test_amounts();
	test_moments();
	return tap_done();
}
