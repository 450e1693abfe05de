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

-- ---------- transactions ----------

CREATE FUNCTION payments._post_legs(debits bigint[], credits bigint[], amounts bigint[], kinds text[], reference text,
									descriptions text[], effective_at timestamptz, imported boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	n int := cardinality($1);
	transaction bigint;
BEGIN
	IF octet_length($5) NOT BETWEEN 1 AND 248 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'reference must have 1 to 248 bytes',
			HINT = 'Each leg appends its number to it; pass a shorter text that is not empty.';
	END IF;
	SELECT b.posting_id INTO transaction
	FROM payments.post_batch(
		debits => $1, credits => $2, amounts => $3,
		"references" => CASE WHEN $5 IS NOT NULL THEN ARRAY(SELECT $5 || ':' || i FROM generate_series(1, n) i ORDER BY i) END,
		descriptions => $6, kinds => $4,
		effective_at => array_fill($7, ARRAY[n]),
		groups => CASE WHEN n > 1 THEN array_fill(1, ARRAY[n]) END,
		all_or_nothing => true,
		imported => $8) b
	WHERE b.index = 1;
	-- post_batch() compares the legs that it is given; there may be more under
	-- this reference.  None: they were retired, and the id is all that is left.
	IF $5 IS NOT NULL AND n > 1
	   AND (SELECT count(*) FROM payments.posting p WHERE p.transaction_id = transaction) NOT IN (0, n) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY206',
			MESSAGE = format('reference "%s" belongs to a transaction with another content', $5),
			DETAIL = 'The transactions differ in the number of legs.',
			HINT = 'Repeat a transaction with the same arguments, and give a new one a reference of its own.';
	END IF;
	RETURN transaction;
END
$$;
COMMENT ON FUNCTION payments._post_legs(bigint[], bigint[], bigint[], text[], text, text[], timestamptz, boolean) IS
	'internal, granted to nobody: posts legs as one transaction, once per reference, and returns its id';

CREATE FUNCTION payments.post_transaction(
	debits bigint[],
	credits bigint[],
	amounts bigint[],
	reference text DEFAULT NULL,
	description text DEFAULT NULL,
	kind text DEFAULT 'manual',
	effective_at timestamptz DEFAULT NULL,
	imported boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	n int := cardinality($1);
BEGIN
	IF n IS NULL OR n = 0 OR $6 IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = CASE WHEN $6 IS NULL THEN 'kind must not be null' ELSE 'a transaction needs at least one leg' END,
			HINT = 'Pass one element per leg in debits, credits and amounts.';
	END IF;
	RETURN payments._post_legs($1, $2, $3, array_fill($6, ARRAY[n]), $4, array_fill($5, ARRAY[n]), $7, $8);
END
$$;
COMMENT ON FUNCTION payments.post_transaction(bigint[], bigint[], bigint[], text, text, text, timestamptz, boolean) IS
	'posts several legs, all or none, in order, and returns the transaction''s id, which is that of the first posting; where there is more than one, all have it in posting.transaction_id.  Leg i moves amounts[i] (minor units) from credits[i] to debits[i]; legs may be in different currencies.  reference: your own id for exactly-once, the legs append :1, :2 ...; the same call again returns the first transaction''s id, another content raises PY206.  effective_at, imported: as for payments.post().  Errors: those of payments.post(), of the first leg that fails';

-- VOLATILE, so that it also shows what the same statement has posted:
-- SELECT * FROM payments.get_transaction(payments.post_split(...)).
CREATE FUNCTION payments.get_transaction(transaction_id bigint)
RETURNS TABLE (leg int, posting_id bigint, debit_account bigint, debit text, credit_account bigint, credit text, amount bigint, currency text,
			   kind text, reference text, description text, effective_at timestamptz, booked_at timestamptz, reversed_by bigint,
			   amount_text text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 5
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_merchant(a.merchant)
	FROM (SELECT DISTINCT o.merchant FROM payments.posting p
		  JOIN payments.account o ON o.account_id IN (p.debit_account, p.credit_account)
		  WHERE p.transaction_id = $1 OR p.posting_id = $1 AND p.transaction_id IS NULL) a;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY213',
			MESSAGE = format('transaction %s does not exist', $1),
			HINT = 'payments.post_transaction() returned its id; it is in posting.transaction_id.';
	END IF;
	RETURN QUERY
	SELECT row_number() OVER (ORDER BY p.posting_id)::int, p.posting_id,
		p.debit_account, CASE WHEN d.merchant <> c.merchant THEN d.merchant || '/' ELSE '' END || d.code,
		p.credit_account, CASE WHEN d.merchant <> c.merchant THEN c.merchant || '/' ELSE '' END || c.code,
		p.amount, p.currency, p.kind, p.reference, p.description, p.effective_at, p.booked_at, r.reversed_by,
		(p.amount * ('1e-' || u.exponent)::numeric)::text || ' ' || p.currency
	FROM payments.posting p
	JOIN payments.account d ON d.account_id = p.debit_account
	JOIN payments.account c ON c.account_id = p.credit_account
	LEFT JOIN payments.posting_reversal r ON r.posting_id = p.posting_id
	LEFT JOIN payments.currency u ON u.currency = p.currency
	WHERE p.transaction_id = $1 OR p.posting_id = $1 AND p.transaction_id IS NULL
	ORDER BY p.posting_id;
END
$$;
COMMENT ON FUNCTION payments.get_transaction(bigint) IS
	'the legs of a transaction in order, with the codes of their accounts (with the merchant, where a leg is between two), the posting that reversed each, and amount_text for people; amount in minor units.  Errors: PY213 (no such transaction), 42501';

CREATE FUNCTION payments.reverse_transaction(transaction_id bigint, reason text, reference text DEFAULT NULL) RETURNS bigint
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pay_reverse_transaction';
COMMENT ON FUNCTION payments.reverse_transaction(bigint, text, text) IS
	'takes all legs of a transaction back, all or none, the last first, and returns the id of the transaction that does so; each of its postings names the one it takes back in posting.reverses.  Limits and closed accounts are checked as for any posting.  reference: as for payments.post_transaction().  Errors: those of payments.reverse_posting(); PY211 also when a single leg has been reversed, PY213 (no such transaction)';
