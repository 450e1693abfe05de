/*
 * src/base/money.c
 *		Minor units between ISO 4217 and a PSP's own scale, and for people; no floats anywhere.
 */
#include "payments.h"

#include "base/money.h"

#include "common/int.h"

bool
pay_money_rescale(int64 amount, int from_exponent, int to_exponent, int64 *out)
{
	int64		value = amount;

	/* Exponents are 0..4 by CHECK, so both loops are short. */
	for (int e = from_exponent; e < to_exponent; e++)
		if (pg_mul_s64_overflow(value, 10, &value))
			return false;
	for (int e = from_exponent; e > to_exponent; e--)
	{
		if (value % 10 != 0)
			return false;
		value /= 10;
	}
	*out = value;
	return true;
}

const char *
pay_money_text(int64 amount, int exponent, const char *currency)
{
	uint64		magnitude = amount < 0 ? -(uint64) amount : (uint64) amount;
	const char *sign = amount < 0 ? "-" : "";
	uint64		unit = 1;

	for (int e = 0; e < exponent; e++)
		unit *= 10;
	if (unit == 1)
		return psprintf("%s" UINT64_FORMAT " %s", sign, magnitude, currency);
	return psprintf("%s" UINT64_FORMAT ".%0*d %s", sign, magnitude / unit, exponent, (int) (magnitude % unit), currency);
}
