/*
 * src/format/value.h
 *		Amounts and times as files write them.
 *
 * Pure.  Nothing is guessed: what could be read in two ways is refused.
 */
#ifndef PAY_SETTLEMENT_VALUE_H
#define PAY_SETTLEMENT_VALUE_H

/* digits * 10^-scale; an amount in major units, whose currency says how many decimals it may have. */
typedef struct PayDecimal
{
	bool		given;
	int64		digits;
	int			scale;
} PayDecimal;

/* A moment on the clock, in the zone that is written with it or in one that is known elsewhere. */
typedef struct PayMoment
{
	bool		given;
	int			year,
				month,
				day,
				hour,
				minute,
				second,
				usec;
	bool		has_time;
	bool		has_zone;
	int			zone_seconds;	/* east of Greenwich */
} PayMoment;

/* Order of day, month and year where a date is not ISO 8601. */
typedef enum PayDateOrder
{
	PAY_DATE_ISO,
	PAY_DATE_DMY,
	PAY_DATE_MDY,
} PayDateOrder;

/* [+-]digits[point digits], at most 18 digits, no grouping, no blanks.  Empty text is "not given", and true. */
extern bool pay_decimal_parse(const char *text, char point, PayDecimal *out);
/* What stands between groups of thousands; blanks are those of typesetters as well. */
typedef enum PayGrouping
{
	PAY_GROUP_NONE,
	PAY_GROUP_COMMA,
	PAY_GROUP_POINT,
	PAY_GROUP_APOSTROPHE,
	PAY_GROUP_BLANK,
} PayGrouping;

/* The same with groups of three digits before the point: all of them or none. */
extern bool pay_decimal_parse_grouped(const char *text, char point, PayGrouping grouping, PayDecimal *out);
/* *sum += sign * value; false when it overflows. */
extern bool pay_decimal_add(PayDecimal *sum, const PayDecimal *value, int sign);
extern bool pay_decimal_equal(const PayDecimal *a, const PayDecimal *b);
/* Room for the widest. */
#define PAY_DECIMAL_BYTES 32
extern void pay_decimal_text(const PayDecimal *value, char *text);

/* Date, or date and time, with or without zone.  Empty text is "not given", and true. */
extern bool pay_moment_parse(const char *text, PayDateOrder order, PayMoment *out);
/* Seconds since 1970, in UTC; of the years 1900 to 2999. */
extern void pay_moment_of_unix(int64 seconds, PayMoment *out);
/* Is there such a day? */
extern bool pay_date_exists(int year, int month, int day);
/* Abbreviations of which only one is in use in payment reports (CET, PST, ...); false: ask the zone database. */
extern bool pay_zone_abbreviation(const char *name, int *seconds);

#endif							/* PAY_SETTLEMENT_VALUE_H */
