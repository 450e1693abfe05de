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
DECLARE
	wrong text := CASE
		WHEN fee_amount.amount IS NULL OR fee_amount.amount < 0 THEN 'amount must not be null or below zero'
		WHEN fee_amount.percent IS NULL OR fee_amount.percent NOT BETWEEN 0 AND 100
			THEN 'percent must be between 0 and 100'
		WHEN fee_amount.fixed IS NULL OR fee_amount.fixed < 0 THEN 'fixed must not be null or below zero'
		WHEN fee_amount.minimum < 0 OR fee_amount.maximum < 0
			THEN 'minimum and maximum must not be below zero'
		WHEN fee_amount.minimum > fee_amount.maximum THEN 'minimum must not be above maximum'
		WHEN fee_amount.rounding IS NULL OR fee_amount.rounding NOT IN ('half_up', 'half_even', 'up', 'down')
			THEN 'rounding is not known'
	END;
	exact numeric;
	fee numeric;
BEGIN
	IF wrong IS NOT NULL THEN
		PERFORM payments._refuse_card_numbers('rounding', fee_amount.rounding);
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = wrong,
			HINT = 'Amounts are minor units, 2.9 percent is 2.9; round half_up, half_even, up or down.';
	END IF;
	exact := fee_amount.amount * fee_amount.percent * 0.01;
	fee := CASE fee_amount.rounding
		WHEN 'up' THEN ceil(exact)
		WHEN 'down' THEN floor(exact)
		WHEN 'half_even'
			THEN CASE WHEN exact - floor(exact) = 0.5 THEN 2 * round(exact * 0.5) ELSE round(exact) END
		ELSE round(exact)
	END;
	fee := least(greatest(fee + fee_amount.fixed, fee_amount.minimum), fee_amount.maximum);
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
	_debits bigint[], _credits bigint[], _amounts bigint[], _kinds text[], _reference text,
	_descriptions text[], _effective_at timestamptz, _imported boolean DEFAULT false
) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	n int := cardinality(_debits);
	transaction bigint;
	booked timestamptz;
BEGIN
	IF octet_length(_reference) NOT BETWEEN 1 AND 248 THEN
		PERFORM payments._refuse_card_numbers('reference', _reference, 'descriptions', _descriptions);
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'reference must have 1 to 248 bytes',
			HINT = 'Each leg appends its number to it; pass a shorter text that is not empty.';
	END IF;
	SELECT b.posting_id INTO transaction
	FROM payments.post_batch(debits => _debits, credits => _credits, amounts => _amounts,
		"references" => CASE
			WHEN _reference IS NOT NULL
				THEN ARRAY(SELECT _reference || ':' || i FROM generate_series(1, n) i ORDER BY i)
		END,
		descriptions => _descriptions, kinds => _kinds, effective_at => array_fill(_effective_at, ARRAY[n]),
		groups => CASE WHEN n > 1 THEN array_fill(1, ARRAY[n]) END, all_or_nothing => true,
		imported => _imported) b
	WHERE b.index = 1;
	-- post_batch() compares the legs that it is given; there may be more under
	-- this reference.  None: they were retired, and the id is all that is left.
	-- With its time, so that one month is looked at.
	IF _reference IS NOT NULL AND n > 1 THEN
		SELECT r.booked_at INTO booked
		FROM payments.account a
		JOIN payments.posting_reference r ON r.merchant = a.merchant AND r.reference = _reference || ':1'
		WHERE a.account_id = _debits[1];
	END IF;
	IF booked IS NOT NULL
		AND (
			SELECT count(*)
			FROM payments.posting p
			WHERE p.transaction_id = transaction AND p.booked_at = booked
		) NOT IN (0, n) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY206',
			MESSAGE = format('reference "%s" belongs to a transaction with another content', _reference),
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
LANGUAGE payments SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n int := cardinality(post_transaction.debits);
BEGIN
	IF n IS NULL OR n = 0 OR post_transaction.kind IS NULL THEN
		PERFORM payments._refuse_card_numbers('reference', post_transaction.reference,
			'description', post_transaction.description, 'kind', post_transaction.kind);
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = CASE
				WHEN post_transaction.kind IS NULL THEN 'kind must not be null'
				ELSE 'a transaction needs at least one leg'
			END,
			HINT = 'Pass one element per leg in debits, credits and amounts.';
	END IF;
	RETURN payments._post_legs(post_transaction.debits, post_transaction.credits, post_transaction.amounts,
		array_fill(post_transaction.kind, ARRAY[n]), post_transaction.reference,
		array_fill(post_transaction.description, ARRAY[n]), post_transaction.effective_at,
		post_transaction.imported);
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
	LANGUAGE payments SET search_path = pg_catalog, pg_temp ROWS 5 AS $$
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_merchant(a.merchant)
	FROM (
		SELECT DISTINCT o.merchant
		FROM payments.posting p
		JOIN payments.account o ON o.account_id IN (p.debit_account, p.credit_account)
		WHERE p.transaction_id = get_transaction.transaction_id
		OR p.posting_id = get_transaction.transaction_id AND p.transaction_id IS NULL
	) a;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY213',
			MESSAGE = format('transaction %s does not exist', get_transaction.transaction_id),
			HINT = 'payments.post_transaction() returned its id; it is in posting.transaction_id.';
	END IF;
	RETURN QUERY
	SELECT row_number() OVER (ORDER BY p.posting_id)::int, p.posting_id, p.debit_account,
		CASE WHEN d.merchant <> c.merchant THEN d.merchant || '/' ELSE '' END || d.code, p.credit_account,
		CASE WHEN d.merchant <> c.merchant THEN c.merchant || '/' ELSE '' END || c.code, p.amount, p.currency,
		p.kind, p.reference, p.description, p.effective_at, p.booked_at, r.reversed_by,
		(p.amount * ('1e-' || u.exponent)::numeric)::text || ' ' || p.currency
	FROM payments.posting p
	JOIN payments.account d ON d.account_id = p.debit_account
	JOIN payments.account c ON c.account_id = p.credit_account
	LEFT JOIN payments.posting_reversal r ON r.posting_id = p.posting_id
	LEFT JOIN payments.currency u ON u.currency = p.currency
	WHERE p.transaction_id = get_transaction.transaction_id
	OR p.posting_id = get_transaction.transaction_id AND p.transaction_id IS NULL
	ORDER BY p.posting_id;
END
$$;
COMMENT ON FUNCTION payments.get_transaction(bigint) IS
	'the legs of a transaction in order, with the codes of their accounts (with the merchant, where a leg is between two), the posting that reversed each, and amount_text for people; amount in minor units.  Errors: PY213 (no such transaction), 42501';

CREATE FUNCTION payments.reverse_transaction(transaction_id bigint, reason text, reference text DEFAULT NULL)
	RETURNS bigint
	LANGUAGE c SET search_path = pg_catalog, pg_temp
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
LANGUAGE payments SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	one bigint;
	many bigint[];
	to_many boolean := cardinality(post_split.debits) = 1;
	parts bigint[];
	wrong text;
BEGIN
	PERFORM payments._refuse_card_numbers('reference', post_split.reference,
		'description', post_split.description, 'kind', post_split.kind);
	one := CASE
		WHEN to_many THEN post_split.debits[array_lower(post_split.debits, 1)]
		ELSE post_split.credits[array_lower(post_split.credits, 1)]
	END;
	many := CASE WHEN to_many THEN post_split.credits ELSE post_split.debits END;
	wrong := CASE
		WHEN to_many IS NULL
			OR post_split.credits IS NULL
			OR cardinality(many) = 0
			OR NOT to_many AND cardinality(post_split.credits) <> 1
			THEN 'one of debits and credits must have one account, the other at least one'
		WHEN post_split.weights IS NULL OR cardinality(post_split.weights) <> cardinality(many)
			THEN format('weights must have %s elements, one for each account', cardinality(many))
		WHEN post_split.amount IS NULL OR post_split.amount <= 0 THEN 'amount must be above zero'
		WHEN post_split.fee IS NULL OR post_split.fee < 0 OR post_split.fee > post_split.amount
			THEN 'fee must be between zero and the amount'
		WHEN post_split.fee > 0 AND post_split.fee_account IS NULL
			THEN 'fee_account must not be null when there is a fee'
		WHEN post_split.kind IS NULL THEN 'kind must not be null'
	END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = wrong,
			HINT = 'For instance debits => ARRAY[buyer], credits => ARRAY[seller_1, seller_2], amount => '
				'10000, weights => ARRAY[2, 1].';
	END IF;
	parts := payments.split_amount(post_split.amount - post_split.fee, post_split.weights);
	-- Parts of nothing make no posting.  The fee comes last.
	RETURN (
		SELECT payments._post_legs(array_agg(CASE WHEN to_many THEN one ELSE l.other END ORDER BY l.i),
			array_agg(CASE WHEN to_many THEN l.other ELSE one END ORDER BY l.i),
			array_agg(l.part ORDER BY l.i), array_agg(l.kind ORDER BY l.i), post_split.reference,
			array_agg(post_split.description ORDER BY l.i), post_split.effective_at)
		FROM (
			SELECT u.i, u.other, u.part, post_split.kind AS kind
			FROM unnest(many, parts) WITH ORDINALITY u(other, part, i)
			UNION ALL
			SELECT cardinality(parts) + 1, post_split.fee_account, post_split.fee, 'fee'
		) l
		WHERE l.part > 0
	);
END
$$;
COMMENT ON FUNCTION payments.post_split(bigint[], bigint[], bigint, bigint[], bigint, bigint, text, text, text, timestamptz) IS
	'divides an amount (minor units) between one account and many, as one transaction, and returns its id.  One of debits and credits has one account; the others get payments.split_amount() of what is left of the amount after the fee, which goes to fee_account as a leg of kind fee.  A part of zero makes no leg.  reference: as for payments.post_transaction().  Errors: those of payments.post()';

-- ---------- exchange ----------

CREATE FUNCTION payments._exchange_account(_merchant text, _code text, _currency text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	account bigint;
	t payments.account_template;
BEGIN
	SELECT a.account_id INTO account
	FROM payments.account a
	WHERE a.merchant = _merchant AND a.code = _code AND a.currency = _currency AND a.from_template;
	IF FOUND THEN
		RETURN account;
	END IF;
	SELECT * INTO t FROM payments._template_of(_code);
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY207',
			MESSAGE = format('account template "%s" does not exist', _code),
			HINT = format('Add a row with code "%s" to payments.account_template.', _code);
	END IF;
	RETURN payments.create_account(code => _code, currency => _currency, type => t.type,
		merchant => _merchant, hot => t.hot, min_balance => t.min_balance, max_balance => t.max_balance);
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
LANGUAGE payments SET search_path = pg_catalog, pg_temp ROWS 1
AS $$
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
	PERFORM payments._refuse_card_numbers(
		'reference', exchange.reference, 'description', exchange.description);
	wrong := CASE
		WHEN num_nonnulls(exchange.sell, exchange.buy) <> 1 THEN 'one of sell and buy must be given'
		WHEN coalesce(exchange.sell, exchange.buy) <= 0 THEN 'the amount must be above zero'
		WHEN exchange.rate IS NULL OR NOT (exchange.rate > 0 AND exchange.rate < 'Infinity')
			THEN 'rate must be above zero'
		WHEN exchange.inverse IS NULL THEN 'inverse must not be null'
		WHEN exchange.spread_percent IS NULL
			OR NOT (exchange.spread_percent >= 0 AND exchange.spread_percent < 100)
			THEN 'spread_percent must be at least 0 and below 100'
	END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = wrong,
			HINT = 'For instance rate => 1.085, sell => 10000, spread_percent => 0.5; amounts are minor '
				'units.';
	END IF;
	PERFORM payments._require_account(exchange.debit);
	PERFORM payments._require_account(exchange.credit);
	SELECT a.merchant, a.currency, u.exponent INTO STRICT d
	FROM payments.account a
	LEFT JOIN payments.currency u ON u.currency = a.currency
	WHERE a.account_id = exchange.debit;
	SELECT a.currency, u.exponent INTO STRICT c
	FROM payments.account a
	LEFT JOIN payments.currency u ON u.currency = a.currency
	WHERE a.account_id = exchange.credit;
	IF d.exponent IS NULL OR c.exponent IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY013',
			MESSAGE = format('currency "%s" does not exist',
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
	IF exchange.inverse THEN
		divisor := exchange.rate;
	ELSE
		multiplier := exchange.rate;
	END IF;
	multiplier := multiplier * ('1e' || c.exponent)::numeric;
	divisor := divisor * ('1e' || d.exponent)::numeric;
	keep := 100 - exchange.spread_percent;
	IF exchange.sell IS NOT NULL THEN
		gross := exchange.sell;
		net := div(gross * keep, 100);
		got := div(net * multiplier, divisor);
	ELSE
		got := exchange.buy;
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
	quoted := coalesce(exchange.description,
		CASE
			WHEN exchange.inverse
				THEN format('1 %s = %s %s', c.currency, trim_scale(exchange.rate), d.currency)
			ELSE format('1 %s = %s %s', d.currency, trim_scale(exchange.rate), c.currency)
		END);
	RETURN QUERY
	SELECT payments._post_legs(array_agg(l.debit ORDER BY l.i), array_agg(l.credit ORDER BY l.i),
		array_agg(l.amount::bigint ORDER BY l.i), array_agg(l.kind ORDER BY l.i), exchange.reference,
		array_agg(quoted ORDER BY l.i), exchange.effective_at),
		gross::bigint, got::bigint, (gross - net)::bigint
	FROM (
		VALUES (1, exchange.debit, sold_to, net, 'exchange'),
			(2, exchange.debit, spread_to, gross - net, 'spread'),
			(3, bought_from, exchange.credit, got, 'exchange')
	) l(i, debit, credit, amount, kind)
	WHERE l.amount > 0;
END
$$;
COMMENT ON FUNCTION payments.exchange(bigint, bigint, numeric, bigint, bigint, boolean, numeric, text, text, timestamptz) IS
	'payments.post() between accounts of two currencies: debits sell (minor units of the debit account''s currency) or what buy (minor units of the credit account''s) costs, and credits the other, as one transaction through the merchant''s accounts "exchange" in both currencies, so that each balances on its own.  rate: major units of the credit account''s currency for one of the debit account''s; inverse => true: the other way round.  spread_percent of what is sold goes to "exchange_spread" first, as a leg of its own.  Fractions of a minor unit stay with the exchange accounts.  Returns the transaction and what was debited (spread included), credited, and kept as spread.  reference: as for payments.post_transaction().  Errors: 22023, PY014 (too small or too large to exchange), PY207 (no account template), those of payments.post()';
