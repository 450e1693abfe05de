/*
 * src/psp/yookassa_time.c
 *		YooKassa: times as it writes them, UTC and ISO 8601.
 */
#include "payments.h"

#include "psp/yookassa.h"

#include "format/value.h"

#define SECONDS_A_DAY INT64CONST(86400)

static int64 day_number(int year, int month, int day);

const char *
pay_yookassa_moment(int64 seconds)
{
	PayMoment	m;

	pay_moment_of_unix(seconds, &m);
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.000Z", m.year, m.month, m.day, m.hour, m.minute, m.second);
}

bool
pay_yookassa_moment_read(const char *text, int64 *seconds)
{
	PayMoment	m = {0};

	if (!pay_moment_parse(text, PAY_DATE_ISO, &m) || !m.given || !m.has_time || !m.has_zone)
		return false;
	*seconds = day_number(m.year, m.month, m.day) * SECONDS_A_DAY + m.hour * 3600 + m.minute * 60 + m.second - m.zone_seconds;
	return true;
}

/* Since 1970.  A year begins in March here, so that the leap day is its last. */
static int64
day_number(int year, int month, int day)
{
	int64		y = month > 2 ? year : year - 1;
	int64		of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return y * 365 + y / 4 - y / 100 + y / 400 + of_year - 719468;
}
