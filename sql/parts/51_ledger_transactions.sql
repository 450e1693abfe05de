-- Postings that belong together: transactions of many legs, splits, exchange
-- between currencies, and the arithmetic for them.  All of them post by one
-- linked post_batch(), which locks accounts in id order, checks the legs in
-- order against running balances, lets only those act who may, and writes all
-- or nothing.

-- ---------- arithmetic ----------

CREATE FUNCTION payments.split_amount(amount bigint, weights bigint[]) RETURNS bigint[]
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'pay_split_amount';
COMMENT ON FUNCTION payments.split_amount(bigint, bigint[]) IS
	'parts of an amount (minor units) in proportion to the weights, which sum to it exactly: largest remainder, so that each part is less than one unit from its exact share; of equal remainders the first gets the unit, a weight of zero gets nothing.  Errors: 22023 (amount below zero; a weight null or below zero; none above zero)';

CREATE FUNCTION payments.fee_amount(
	amount bigint,
	percent numeric DEFAULT 0,
	fixed bigint DEFAULT 0,
	minimum bigint DEFAULT NULL,
	maximum bigint DEFAULT NULL,
	rounding text DEFAULT 'half_up'
) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wrong text := CASE
		WHEN amount IS NULL OR amount < 0 THEN 'amount must not be null or below zero'
		WHEN percent IS NULL OR percent NOT BETWEEN 0 AND 100 THEN 'percent must be between 0 and 100'
		WHEN fixed IS NULL OR fixed < 0 THEN 'fixed must not be null or below zero'
		WHEN minimum < 0 OR maximum < 0 THEN 'minimum and maximum must not be below zero'
		WHEN minimum > maximum THEN 'minimum must not be above maximum'
		WHEN rounding IS NULL OR rounding NOT IN ('half_up', 'half_even', 'up', 'down') THEN 'rounding is not known'
	END;
	exact numeric;
	fee numeric;
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = wrong,
			HINT = 'Amounts are minor units, 2.9 percent is 2.9; round half_up, half_even, up or down.';
	END IF;
	exact := amount * percent * 0.01;
	fee := CASE rounding
		WHEN 'up' THEN ceil(exact)
		WHEN 'down' THEN floor(exact)
		WHEN 'half_even' THEN CASE WHEN exact - floor(exact) = 0.5 THEN 2 * round(exact * 0.5) ELSE round(exact) END
		ELSE round(exact)
	END;
	fee := least(greatest(fee + fixed, minimum), maximum);
	IF fee > 9223372036854775807 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY014',
			MESSAGE = 'the fee does not fit into 64 bits',
			HINT = 'Pass a maximum.';
	END IF;
	RETURN fee;
END
$$;
COMMENT ON FUNCTION payments.fee_amount(bigint, numeric, bigint, bigint, bigint, text) IS
	'percent of an amount, rounded once to whole minor units, plus a fixed amount, then not below minimum and not above maximum.  rounding: half_up (5.5 is 6), half_even, up, down.  The fee may exceed the amount; pass it as maximum where it must not.  Errors: 22023, PY014 (does not fit)';
