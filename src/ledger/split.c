/*
 * src/ledger/split.c
 *		Dividing an amount by weights, to the last unit.
 *
 * Largest remainder: everyone gets the whole units of an exact share, and the
 * units that are left go, one each, to those whose share lost the largest
 * fraction; of equal ones to the first.  The parts sum to the amount, each is
 * less than one unit away from the exact share, and who has no weight gets
 * nothing.
 *
 * Pure: no tables, no state.  Products are of 128 bits: amount and weight have
 * 63 each, and 100000 weights sum to less than 80.
 */
#include "payments.h"

#include "core/arguments.h"
#include "ledger/batch.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"

#ifndef HAVE_INT128
#error "shares are exact by 128-bit integers, which this compiler lacks"
#endif

typedef struct Share
{
	int			position;
	int64		weight;
	int64		part;
	int128		lost;			/* of the exact share, in 1/sum of weights */
} Share;

static Share *read_weights(ArrayType *array, int *n, int128 *sum);
static int	compare_lost(const void *a, const void *b);
static int	compare_positions(const void *a, const void *b);

PAY_FUNCTION(pay_split_amount);

Datum
pay_split_amount(PG_FUNCTION_ARGS)
{
	int64		amount,
				left;
	int			n;
	int128		sum;
	Share	   *shares;
	Datum	   *parts;

	pay_require_given(fcinfo, 0, "amount");
	pay_require_given(fcinfo, 1, "weights");
	amount = PG_GETARG_INT64(0);
	if (amount < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must not be below zero"),
				 errhint("Split the amount without its sign, and exchange debit and credit.")));
	shares = read_weights(PG_GETARG_ARRAYTYPE_P(1), &n, &sum);

	left = amount;
	for (int i = 0; i < n; i++)
	{
		int128		product = (int128) amount * shares[i].weight;

		shares[i].part = (int64) (product / sum);
		shares[i].lost = product % sum;
		left -= shares[i].part;
	}
	/* What the shares have lost sums to left, and each lost less than one unit. */
	Assert(left >= 0 && left < n);
	qsort(shares, n, sizeof(Share), compare_lost);
	for (int i = 0; i < left; i++)
		shares[i].part++;
	qsort(shares, n, sizeof(Share), compare_positions);

	parts = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
		parts[i] = Int64GetDatum(shares[i].part);
	PG_RETURN_ARRAYTYPE_P(construct_array(parts, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* At least one weight, none below zero, not all of them zero. */
static Share *
read_weights(ArrayType *array, int *n, int128 *sum)
{
	Datum	   *values;
	bool	   *nulls;
	Share	   *shares;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("weights must be an array of one dimension"),
				 errhint("Pass one weight per part.")));
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, n);
	if (*n > PAY_POSTINGS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d weights are too many", *n),
				 errhint("Split into at most %d parts.", PAY_POSTINGS_MAX)));
	shares = palloc0(sizeof(Share) * Max(*n, 1));
	*sum = 0;
	for (int i = 0; i < *n; i++)
	{
		shares[i].position = i;
		shares[i].weight = nulls[i] ? -1 : DatumGetInt64(values[i]);
		if (shares[i].weight < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("weight %d is null or below zero", i + 1),
					 errhint("Pass a weight of zero for a part that gets nothing.")));
		*sum += shares[i].weight;
	}
	if (*sum == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no weight is above zero"),
				 errhint("Somebody must get the amount: pass at least one weight above zero.")));
	return shares;
}

/* The largest loss first, of equal ones the first. */
static int
compare_lost(const void *a, const void *b)
{
	int128		x = ((const Share *) a)->lost;
	int128		y = ((const Share *) b)->lost;

	return x != y ? (x < y) - (x > y) : compare_positions(a, b);
}

static int
compare_positions(const void *a, const void *b)
{
	int			x = ((const Share *) a)->position;
	int			y = ((const Share *) b)->position;

	return (x > y) - (x < y);
}
