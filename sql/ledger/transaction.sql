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
		WHEN rounding IS NULL OR rounding NOT IN ('half_up', 'half_even', 'up', 'down')
			THEN 'rounding is not known'
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
		WHEN 'half_even'
			THEN CASE WHEN exact - floor(exact) = 0.5 THEN 2 * round(exact * 0.5) ELSE round(exact) END
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

CREATE FUNCTION payments._post_legs(
	debits bigint[], credits bigint[], amounts bigint[], kinds text[], reference text, descriptions text[],
	effective_at timestamptz, imported boolean DEFAULT false
) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	n int := cardinality($1);
	transaction bigint;
	booked timestamptz;
BEGIN
	IF octet_length($5) NOT BETWEEN 1 AND 248 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'reference must have 1 to 248 bytes',
			HINT = 'Each leg appends its number to it; pass a shorter text that is not empty.';
	END IF;
	SELECT b.posting_id INTO transaction
	FROM payments.post_batch(debits => $1, credits => $2, amounts => $3,
		"references" => CASE
			WHEN $5 IS NOT NULL THEN ARRAY(SELECT $5 || ':' || i FROM generate_series(1, n) i ORDER BY i)
		END,
		descriptions => $6, kinds => $4, effective_at => array_fill($7, ARRAY[n]),
		groups => CASE WHEN n > 1 THEN array_fill(1, ARRAY[n]) END, all_or_nothing => true, imported => $8) b
	WHERE b.index = 1;
	-- post_batch() compares the legs that it is given; there may be more under
	-- this reference.  None: they were retired, and the id is all that is left.
	-- With its time, so that one month is looked at.
	IF $5 IS NOT NULL AND n > 1 THEN
		SELECT r.booked_at INTO booked
		FROM payments.account a
		JOIN payments.posting_reference r ON r.merchant = a.merchant AND r.reference = $5 || ':1'
		WHERE a.account_id = $1[1];
	END IF;
	IF booked IS NOT NULL
		AND (
			SELECT count(*)
			FROM payments.posting p
			WHERE p.transaction_id = transaction AND p.booked_at = booked
		) NOT IN (0, n) THEN
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
			MESSAGE = CASE
				WHEN $6 IS NULL THEN 'kind must not be null'
				ELSE 'a transaction needs at least one leg'
			END,
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
	RETURNS TABLE (
		leg int, posting_id bigint, debit_account bigint, debit text, credit_account bigint, credit text,
		amount bigint, currency text, kind text, reference text, description text, effective_at timestamptz,
		booked_at timestamptz, reversed_by bigint, amount_text text
	)
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 5 AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_merchant(a.merchant)
	FROM (
		SELECT DISTINCT o.merchant
		FROM payments.posting p
		JOIN payments.account o ON o.account_id IN (p.debit_account, p.credit_account)
		WHERE p.transaction_id = $1 OR p.posting_id = $1 AND p.transaction_id IS NULL
	) a;
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

-- ---------- splits ----------

CREATE FUNCTION payments.post_split(
	debits bigint[],
	credits bigint[],
	amount bigint,
	weights bigint[],
	fee_account bigint DEFAULT NULL,
	fee bigint DEFAULT 0,
	reference text DEFAULT NULL,
	description text DEFAULT NULL,
	kind text DEFAULT 'split',
	effective_at timestamptz DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	one bigint;
	many bigint[];
	to_many boolean := cardinality($1) = 1;
	parts bigint[];
	wrong text;
BEGIN
	one := CASE WHEN to_many THEN $1[array_lower($1, 1)] ELSE $2[array_lower($2, 1)] END;
	many := CASE WHEN to_many THEN $2 ELSE $1 END;
	wrong := CASE
		WHEN to_many IS NULL OR $2 IS NULL OR cardinality(many) = 0 OR NOT to_many AND cardinality($2) <> 1
			THEN 'one of debits and credits must have one account, the other at least one'
		WHEN $4 IS NULL OR cardinality($4) <> cardinality(many)
			THEN format('weights must have %s elements, one for each account', cardinality(many))
		WHEN $3 IS NULL OR $3 <= 0 THEN 'amount must be above zero'
		WHEN $6 IS NULL OR $6 < 0 OR $6 > $3 THEN 'fee must be between zero and the amount'
		WHEN $6 > 0 AND $5 IS NULL THEN 'fee_account must not be null when there is a fee'
		WHEN $9 IS NULL THEN 'kind must not be null'
	END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = wrong,
			HINT = 'For instance debits => ARRAY[buyer], credits => ARRAY[seller_1, seller_2], amount => '
				'10000, weights => ARRAY[2, 1].';
	END IF;
	parts := payments.split_amount($3 - $6, $4);
	-- Parts of nothing make no posting.  The fee comes last.
	RETURN (
		SELECT payments._post_legs(array_agg(CASE WHEN to_many THEN one ELSE l.other END ORDER BY l.i),
			array_agg(CASE WHEN to_many THEN l.other ELSE one END ORDER BY l.i),
			array_agg(l.part ORDER BY l.i), array_agg(l.kind ORDER BY l.i), $7, array_agg($8 ORDER BY l.i),
			$10)
		FROM (
			SELECT u.i, u.other, u.part, $9 AS kind
			FROM unnest(many, parts) WITH ORDINALITY u(other, part, i)
			UNION ALL
			SELECT cardinality(parts) + 1, $5, $6, 'fee'
		) l
		WHERE l.part > 0
	);
END
$$;
COMMENT ON FUNCTION payments.post_split(bigint[], bigint[], bigint, bigint[], bigint, bigint, text, text, text, timestamptz) IS
	'divides an amount (minor units) between one account and many, as one transaction, and returns its id.  One of debits and credits has one account; the others get payments.split_amount() of what is left of the amount after the fee, which goes to fee_account as a leg of kind fee.  A part of zero makes no leg.  reference: as for payments.post_transaction().  Errors: those of payments.post()';

-- ---------- exchange ----------

CREATE FUNCTION payments._exchange_account(merchant text, code text, currency text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	account bigint;
	t record;
BEGIN
	-- The merchant's own definition of it comes first.
	SELECT a.account_id INTO account
	FROM payments.account a
	WHERE a.merchant = $1 AND a.code = $2 AND a.currency = $3;
	IF FOUND THEN
		RETURN account;
	END IF;
	SELECT * INTO t FROM payments.account_template a WHERE a.code = $2 ORDER BY a.builtin LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY207',
			MESSAGE = format('there is no account template "%s"', $2),
			HINT = format('Add a row with code "%s" to payments.account_template.', $2);
	END IF;
	RETURN payments.create_account(code => $2, currency => $3, type => t.type, merchant => $1, hot => t.hot,
		min_balance => t.min_balance, max_balance => t.max_balance);
END
$$;
COMMENT ON FUNCTION payments._exchange_account(text, text, text) IS
	'internal, granted to nobody: the merchant''s account of that code and currency, opened from account_template when there is none';

CREATE FUNCTION payments.exchange(
	debit bigint,
	credit bigint,
	rate numeric,
	sell bigint DEFAULT NULL,
	buy bigint DEFAULT NULL,
	inverse boolean DEFAULT false,
	spread_percent numeric DEFAULT 0,
	reference text DEFAULT NULL,
	description text DEFAULT NULL,
	effective_at timestamptz DEFAULT NULL
) RETURNS TABLE (transaction_id bigint, sold bigint, bought bigint, spread bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1
AS $$
#variable_conflict use_column
DECLARE
	wrong text;
	d record;
	c record;
	-- Minor units bought are net * multiplier / divisor; no quotient is ever rounded.
	multiplier numeric := 1;
	divisor numeric := 1;
	keep numeric;
	net numeric;
	gross numeric;
	got numeric;
	sold_to bigint;
	bought_from bigint;
	spread_to bigint;
	quoted text;
BEGIN
	wrong := CASE
		WHEN num_nonnulls($4, $5) <> 1 THEN 'one of sell and buy must be given'
		WHEN coalesce($4, $5) <= 0 THEN 'the amount must be above zero'
		WHEN $3 IS NULL OR NOT ($3 > 0 AND $3 < 'Infinity') THEN 'rate must be above zero'
		WHEN $6 IS NULL THEN 'inverse must not be null'
		WHEN $7 IS NULL OR NOT ($7 >= 0 AND $7 < 100) THEN 'spread_percent must be at least 0 and below 100'
	END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = wrong,
			HINT = 'For instance rate => 1.085, sell => 10000, spread_percent => 0.5; amounts are minor '
				'units.';
	END IF;
	PERFORM payments._require_account($1);
	PERFORM payments._require_account($2);
	SELECT a.merchant, a.currency, u.exponent INTO STRICT d
	FROM payments.account a LEFT JOIN payments.currency u ON u.currency = a.currency WHERE a.account_id = $1;
	SELECT a.currency, u.exponent INTO STRICT c
	FROM payments.account a LEFT JOIN payments.currency u ON u.currency = a.currency WHERE a.account_id = $2;
	IF d.exponent IS NULL OR c.exponent IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY013',
			MESSAGE = format('currency "%s" is not known',
				CASE WHEN d.exponent IS NULL THEN d.currency ELSE c.currency END),
			HINT = 'Add its row with builtin = false to payments.currency again.';
	END IF;
	IF d.currency = c.currency THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format('both accounts are in %s', d.currency),
			HINT = 'Use payments.post() within one currency.';
	END IF;

	-- All in integers and powers of ten: exact.  Fractions stay with the
	-- exchange account: what it gives is rounded down, what it gets and the
	-- spread up.
	IF $6 THEN
		divisor := $3;
	ELSE
		multiplier := $3;
	END IF;
	multiplier := multiplier * ('1e' || c.exponent)::numeric;
	divisor := divisor * ('1e' || d.exponent)::numeric;
	keep := 100 - $7;
	IF $4 IS NOT NULL THEN
		gross := $4;
		net := div(gross * keep, 100);
		got := div(net * multiplier, divisor);
	ELSE
		got := $5;
		net := div(got * divisor, multiplier) + sign(mod(got * divisor, multiplier));
		gross := div(net * 100, keep) + sign(mod(net * 100, keep));
	END IF;
	IF net < 1 OR got < 1 OR greatest(gross, got) > 9223372036854775807 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY014',
			MESSAGE = format('the amount is too %s to be exchanged',
				CASE WHEN net < 1 OR got < 1 THEN 'small' ELSE 'large' END),
			DETAIL = format('At this rate it is %s minor units of %s against %s of %s.', gross, d.currency,
				got, c.currency),
			HINT = 'Exchange another amount; rates are between major units.';
	END IF;

	-- In order of currency, so that two first exchanges do not wait for each other.
	IF d.currency < c.currency THEN
		sold_to := payments._exchange_account(d.merchant, 'exchange', d.currency);
		bought_from := payments._exchange_account(d.merchant, 'exchange', c.currency);
	ELSE
		bought_from := payments._exchange_account(d.merchant, 'exchange', c.currency);
		sold_to := payments._exchange_account(d.merchant, 'exchange', d.currency);
	END IF;
	IF gross > net THEN
		spread_to := payments._exchange_account(d.merchant, 'exchange_spread', d.currency);
	END IF;
	quoted := coalesce($9,
		CASE
			WHEN $6 THEN format('1 %s = %s %s', c.currency, trim_scale($3), d.currency)
			ELSE format('1 %s = %s %s', d.currency, trim_scale($3), c.currency)
		END);
	RETURN QUERY
	SELECT payments._post_legs(array_agg(l.debit ORDER BY l.i), array_agg(l.credit ORDER BY l.i),
		array_agg(l.amount::bigint ORDER BY l.i), array_agg(l.kind ORDER BY l.i), $8,
		array_agg(quoted ORDER BY l.i), $10),
		gross::bigint, got::bigint, (gross - net)::bigint
	FROM (
		VALUES (1, $1, sold_to, net, 'exchange'), (2, $1, spread_to, gross - net, 'spread'),
			(3, bought_from, $2, got, 'exchange')
	) l(i, debit, credit, amount, kind)
	WHERE l.amount > 0;
END
$$;
COMMENT ON FUNCTION payments.exchange(bigint, bigint, numeric, bigint, bigint, boolean, numeric, text, text, timestamptz) IS
	'payments.post() between accounts of two currencies: debits sell (minor units of the debit account''s currency) or what buy (minor units of the credit account''s) costs, and credits the other, as one transaction through the merchant''s accounts "exchange" in both currencies, so that each balances on its own.  rate: major units of the credit account''s currency for one of the debit account''s; inverse => true: the other way round.  spread_percent of what is sold goes to "exchange_spread" first, as a leg of its own.  Fractions of a minor unit stay with the exchange accounts.  Returns the transaction and what was debited (spread included), credited, and kept as spread.  reference: as for payments.post_transaction().  Errors: 22023, PY014 (too small or too large to exchange), PY207 (no account template), those of payments.post()';
