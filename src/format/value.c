/*
 * src/format/value.c
 *		Amounts and times as files write them.
 *
 * An amount with the decimal sign that was not announced is refused, as is one
 * with groups of thousands that were not: "1.000" is one thing here and a thousand
 * times that elsewhere, and only the sender knows.
 */
#include "payments.h"

#include "format/value.h"

#include "common/int.h"

#define DIGITS_MAX 18

static size_t group_sign(const char *text, PayGrouping grouping);
static bool read_number(const char **p, int digits_min, int digits_max, int *out);
static bool read_date(const char **p, PayDateOrder order, PayMoment *out);
static bool read_time(const char **p, PayMoment *out);
static bool read_zone(const char **p, PayMoment *out);
static bool rescale(PayDecimal *value, int scale);

bool
pay_decimal_parse(const char *text, char point, PayDecimal *out)
{
	const char *p = text;
	bool		negative = *p == '-';
	int			digits = 0,
				scale = -1;
	int64		value = 0;

	memset(out, 0, sizeof(*out));
	if (*text == '\0')
		return true;
	if (*p == '-' || *p == '+')
		p++;
	if (*p < '0' || *p > '9')
		return false;
	for (; *p != '\0'; p++)
	{
		if (*p == point && scale < 0 && p[1] >= '0' && p[1] <= '9')
		{
			scale = 0;
			continue;
		}
		if (*p < '0' || *p > '9' || ++digits > DIGITS_MAX)
			return false;
		value = value * 10 + (*p - '0');
		if (scale >= 0)
			scale++;
	}
	out->given = true;
	out->digits = negative ? -value : value;
	out->scale = scale < 0 ? 0 : scale;
	return true;
}

bool
pay_decimal_parse_grouped(const char *text, char point, PayGrouping grouping, PayDecimal *out)
{
	char		plain[PAY_DECIMAL_BYTES];
	size_t		n = 0,
				sign;
	int			digits = 0,
				groups = 0;

	if (*text == '-' || *text == '+')
		plain[n++] = *text++;
	for (; *text != '\0' && *text != point; text += sign ? sign : 1)
	{
		sign = group_sign(text, grouping);
		if (sign > 0 && (groups++ > 0 ? digits != 3 : digits < 1 || digits > 3))
			return false;
		digits = sign > 0 ? 0 : digits + 1;
		if (sign == 0 && n < sizeof(plain) - 1)
			plain[n++] = *text;
	}
	if ((groups > 0 && digits != 3) || n + strlen(text) >= sizeof(plain))
		return false;
	strlcpy(plain + n, text, sizeof(plain) - n);
	return pay_decimal_parse(plain, point, out);
}

/* Bytes of the sign between groups that begins here; 0: none does. */
static size_t
group_sign(const char *text, PayGrouping grouping)
{
	static const struct
	{
		PayGrouping grouping;
		const char *sign;
	}			signs[] = {
		{PAY_GROUP_COMMA, ","}, {PAY_GROUP_POINT, "."}, {PAY_GROUP_APOSTROPHE, "'"}, {PAY_GROUP_APOSTROPHE, "\xe2\x80\x99"},
		{PAY_GROUP_BLANK, " "}, {PAY_GROUP_BLANK, "\xc2\xa0"}, {PAY_GROUP_BLANK, "\xe2\x80\xaf"}, {PAY_GROUP_BLANK, "\xe2\x80\x89"},
	};

	for (size_t i = 0; i < lengthof(signs); i++)
		if (signs[i].grouping == grouping && strncmp(text, signs[i].sign, strlen(signs[i].sign)) == 0)
			return strlen(signs[i].sign);
	return 0;
}

bool
pay_decimal_add(PayDecimal *sum, const PayDecimal *value, int sign)
{
	PayDecimal	a = *sum,
				b = *value;

	Assert(sign == 1 || sign == -1);
	if (!rescale(&a, Max(a.scale, b.scale)) || !rescale(&b, a.scale) ||
		pg_add_s64_overflow(a.digits, sign * b.digits, &a.digits))
		return false;
	a.given = true;
	*sum = a;
	return true;
}

bool
pay_decimal_equal(const PayDecimal *a, const PayDecimal *b)
{
	PayDecimal	difference = *a;

	return pay_decimal_add(&difference, b, -1) && difference.digits == 0;
}

void
pay_decimal_text(const PayDecimal *value, char *text)
{
	char		digits[PAY_DECIMAL_BYTES];
	int			n,
				whole;

	Assert(value->scale <= DIGITS_MAX);
	n = snprintf(digits, sizeof(digits), "%0*llu", value->scale + 1,
				 (unsigned long long) (value->digits < 0 ? -(uint64) value->digits : (uint64) value->digits));
	whole = n - value->scale;
	snprintf(text, PAY_DECIMAL_BYTES, "%s%.*s%s%s", value->digits < 0 ? "-" : "", whole, digits,
			 value->scale > 0 ? "." : "", digits + whole);
}

static bool
rescale(PayDecimal *value, int scale)
{
	for (; value->scale < scale; value->scale++)
		if (pg_mul_s64_overflow(value->digits, 10, &value->digits))
			return false;
	return true;
}

bool
pay_moment_parse(const char *text, PayDateOrder order, PayMoment *out)
{
	const char *p = text;

	memset(out, 0, sizeof(*out));
	if (*text == '\0')
		return true;
	if (!read_date(&p, order, out))
		return false;
	if (*p == 'T' || (*p == ' ' && p[1] >= '0' && p[1] <= '9'))
	{
		p++;
		if (!read_time(&p, out))
			return false;
	}
	if (*p == ' ')
		p++;
	if (!read_zone(&p, out) || *p != '\0')
		return false;
	out->given = true;
	return true;
}

bool
pay_date_exists(int year, int month, int day)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool		leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return year >= 1900 && year <= 2999 && month >= 1 && month <= 12 &&
		day >= 1 && day <= days[month - 1] + (leap && month == 2);
}

void
pay_moment_of_unix(int64 seconds, PayMoment *out)
{
	/* From a first of March on, a leap day is the last of its year.  The era is 400 years of 146,097 days. */
	int64		days = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
	int			in_day = (int) (seconds - days * 86400);
	int			since = (int) days + 719468;	/* 0000-03-01 */
	int			era = since / 146097,
				of_era = since % 146097;
	int			years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int			of_year = of_era - (365 * years + years / 4 - years / 100);
	int			month = (5 * of_year + 2) / 153;

	memset(out, 0, sizeof(*out));
	out->given = out->has_time = out->has_zone = true;
	out->day = of_year - (153 * month + 2) / 5 + 1;
	out->month = month < 10 ? month + 3 : month - 9;
	out->year = years + era * 400 + (out->month <= 2);
	out->hour = in_day / 3600;
	out->minute = in_day / 60 % 60;
	out->second = in_day % 60;
	Assert(pay_date_exists(out->year, out->month, out->day));
}

static bool
read_number(const char **p, int digits_min, int digits_max, int *out)
{
	int			n = 0;

	Assert(digits_max <= 9);
	*out = 0;
	while (n < digits_max && **p >= '0' && **p <= '9')
	{
		*out = *out * 10 + (**p - '0');
		(*p)++;
		n++;
	}
	return n >= digits_min;
}

/* ISO: 2026-11-22.  Others: 22.11.2026, 22/11/2026, 22-11-2026, with one or two digits; years always have four. */
static bool
read_date(const char **p, PayDateOrder order, PayMoment *out)
{
	int			first,
				second,
				third;
	char		sign;

	if (!read_number(p, order == PAY_DATE_ISO ? 4 : 1, order == PAY_DATE_ISO ? 4 : 2, &first))
		return false;
	sign = **p;
	if (sign != '-' && (order == PAY_DATE_ISO || (sign != '.' && sign != '/')))
		return false;
	(*p)++;
	if (!read_number(p, order == PAY_DATE_ISO ? 2 : 1, 2, &second) || **p != sign)
		return false;
	(*p)++;
	if (!read_number(p, order == PAY_DATE_ISO ? 2 : 4, order == PAY_DATE_ISO ? 2 : 4, &third))
		return false;
	out->year = order == PAY_DATE_ISO ? first : third;
	out->month = order == PAY_DATE_MDY ? first : second;
	out->day = order == PAY_DATE_ISO ? third : order == PAY_DATE_DMY ? first : second;
	return pay_date_exists(out->year, out->month, out->day);
}

static bool
read_time(const char **p, PayMoment *out)
{
	out->has_time = true;
	if (!read_number(p, 2, 2, &out->hour) || *(*p)++ != ':' || !read_number(p, 2, 2, &out->minute))
		return false;
	if (**p == ':')
	{
		(*p)++;
		if (!read_number(p, 2, 2, &out->second))
			return false;
		if (**p == '.')
		{
			const char *start = ++(*p);

			if (!read_number(p, 1, 6, &out->usec))
				return false;
			for (int n = *p - start; n < 6; n++)
				out->usec *= 10;
			while (**p >= '0' && **p <= '9')
				(*p)++;			/* nanoseconds */
		}
	}
	return out->hour <= 23 && out->minute <= 59 && out->second <= 59;
}

/* Z, UTC, +01, +0100, +01:00, or nothing. */
static bool
read_zone(const char **p, PayMoment *out)
{
	int			hours,
				minutes = 0;
	int			sign = **p == '-' ? -1 : 1;

	if (**p == '\0')
		return true;
	out->has_zone = true;
	if (**p == 'Z')
	{
		(*p)++;
		return true;
	}
	if (strcmp(*p, "UTC") == 0)
	{
		*p += 3;
		return true;
	}
	/* Behind a bare date "-01" would be a misread one. */
	if ((**p != '+' && **p != '-') || (!out->has_time && **p == '-'))
		return false;
	(*p)++;
	if (!read_number(p, 2, 2, &hours))
		return false;
	if (**p == ':')
		(*p)++;
	if (**p != '\0' && !read_number(p, 2, 2, &minutes))
		return false;
	out->zone_seconds = sign * (hours * 3600 + minutes * 60);
	return hours <= 15 && minutes <= 59;
}

bool
pay_zone_abbreviation(const char *name, int *seconds)
{
	static const struct
	{
		const char *name;
		int			hours;
	}			zones[] = {
		{"UTC", 0}, {"GMT", 0}, {"Z", 0}, {"WET", 0}, {"WEST", 1}, {"BST", 1}, {"CET", 1}, {"CEST", 2}, {"MET", 1}, {"MEST", 2},
		{"EET", 2}, {"EEST", 3}, {"MSK", 3}, {"PST", -8}, {"PDT", -7}, {"MST", -7}, {"MDT", -6}, {"CST", -6}, {"CDT", -5},
		{"EST", -5}, {"EDT", -4}, {"JST", 9}, {"SGT", 8}, {"HKT", 8}, {"AEST", 10}, {"AEDT", 11},
	};

	for (int i = 0; i < (int) lengthof(zones); i++)
		if (strcmp(zones[i].name, name) == 0)
		{
			*seconds = zones[i].hours * 3600;
			return true;
		}
	return false;
}
