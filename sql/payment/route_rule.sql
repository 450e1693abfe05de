-- Which PSP performs what names none: rules, for administrators.

CREATE FUNCTION payments.create_route_rule(
	rule text, psps text[] DEFAULT NULL, shares int[] DEFAULT NULL, priority int DEFAULT NULL,
	merchant text DEFAULT NULL, currency text DEFAULT NULL, country text DEFAULT NULL,
	amount_min bigint DEFAULT NULL, amount_max bigint DEFAULT NULL, payment_method text DEFAULT NULL,
	kind text DEFAULT NULL, capture text DEFAULT NULL, pick text DEFAULT NULL,
	cost_fixed bigint[] DEFAULT NULL, cost_bp int[] DEFAULT NULL, explore numeric DEFAULT NULL,
	success_window interval DEFAULT NULL, moves_unsent boolean DEFAULT NULL,
	moves_declined boolean DEFAULT NULL, valid_from timestamptz DEFAULT NULL,
	valid_until timestamptz DEFAULT NULL
) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w record;
	missing text;
BEGIN
	PERFORM payments._refuse_card_numbers(
		'rule', create_route_rule.rule, 'psps', create_route_rule.psps,
		'merchant', create_route_rule.merchant, 'currency', create_route_rule.currency,
		'country', create_route_rule.country, 'payment_method', create_route_rule.payment_method,
		'kind', create_route_rule.kind, 'capture', create_route_rule.capture, 'pick', create_route_rule.pick);
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	PERFORM FROM payments.route_rule r WHERE r.rule = create_route_rule.rule FOR UPDATE;
	SELECT create_route_rule.rule AS rule,
		coalesce(create_route_rule.priority, r.priority,
			(SELECT coalesce(max(x.priority), 0) + 10 FROM payments.route_rule x)) AS priority,
		coalesce(create_route_rule.valid_from, r.valid_from, now()) AS valid_from,
		coalesce(create_route_rule.valid_until, r.valid_until, 'infinity') AS valid_until,
		coalesce(create_route_rule.merchant, r.merchant) AS merchant,
		coalesce(create_route_rule.currency, r.currency) AS currency,
		coalesce(create_route_rule.country, r.country) AS country,
		coalesce(create_route_rule.amount_min, r.amount_min) AS amount_min,
		coalesce(create_route_rule.amount_max, r.amount_max) AS amount_max,
		coalesce(create_route_rule.payment_method, r.payment_method) AS payment_method,
		coalesce(create_route_rule.kind, r.kind) AS kind,
		coalesce(create_route_rule.capture, r.capture) AS capture,
		n.psps,
		-- More or fewer PSPs without shares of their own share alike.
		coalesce(create_route_rule.shares, CASE WHEN n.as_many THEN r.shares END,
			array_fill(1, ARRAY[coalesce(cardinality(n.psps), 0)])) AS shares,
		coalesce(create_route_rule.cost_fixed, CASE WHEN n.as_many THEN r.cost_fixed END) AS cost_fixed,
		coalesce(create_route_rule.cost_bp, CASE WHEN n.as_many THEN r.cost_bp END) AS cost_bp,
		coalesce(create_route_rule.pick, r.pick, 'share') AS pick,
		coalesce(create_route_rule.explore, r.explore, 0.05) AS explore,
		coalesce(create_route_rule.success_window, r.success_window, interval '1 day') AS success_window,
		coalesce(create_route_rule.moves_unsent, r.moves_unsent, true) AS moves_unsent,
		coalesce(create_route_rule.moves_declined, r.moves_declined, false) AS moves_declined
	INTO w
	FROM (SELECT) one
	LEFT JOIN payments.route_rule r ON r.rule = create_route_rule.rule
	CROSS JOIN LATERAL (
		SELECT coalesce(create_route_rule.psps, r.psps),
			cardinality(coalesce(create_route_rule.psps, r.psps)) = cardinality(r.psps)
	) n (psps, as_many);
	IF coalesce(cardinality(w.psps), 0) = 0 OR array_position(w.psps, NULL) IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a rule needs the PSPs that it chooses from',
			HINT = 'Pass psps => ''{first, second}''.';
	END IF;
	SELECT p.psp INTO missing
	FROM unnest(w.psps) p (psp)
	WHERE NOT EXISTS (SELECT FROM payments.psp s WHERE s.psp = p.psp)
	LIMIT 1;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY401',
			MESSAGE = format('PSP "%s" does not exist', missing),
			HINT = 'Create it with payments.create_psp().';
	END IF;
	IF (SELECT count(DISTINCT p.psp) FROM unnest(w.psps) p (psp)) < cardinality(w.psps) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a rule names each PSP once',
			HINT = 'Give it a larger share instead.';
	END IF;
	IF w.merchant IS NOT NULL AND NOT EXISTS (
		SELECT FROM payments.merchant m WHERE m.merchant = w.merchant
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY010',
			MESSAGE = format('merchant "%s" does not exist', w.merchant),
			HINT = 'Create it with payments.create_merchant().';
	END IF;
	IF w.currency IS NOT NULL AND NOT EXISTS (
		SELECT FROM payments.currency c WHERE c.currency = w.currency
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY013',
			MESSAGE = format('currency "%s" does not exist', w.currency),
			HINT = 'Use an ISO 4217 code in upper case, as in payments.currency.';
	END IF;
	IF w.currency IS NULL
		AND (coalesce(w.amount_min, w.amount_max) IS NOT NULL OR w.cost_fixed IS NOT NULL) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'amounts of a rule are of a currency',
			HINT = 'Pass currency => ''...'', and make a rule for each.';
	END IF;
	IF cardinality(w.shares) <> cardinality(w.psps)
		OR cardinality(coalesce(w.cost_fixed, w.shares)) <> cardinality(w.psps)
		OR cardinality(coalesce(w.cost_bp, w.shares)) <> cardinality(w.psps)
		OR NOT coalesce(0 <= ALL (w.shares) AND 0 < ANY (w.shares), false) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'shares and costs must be as many as the PSPs, and one share above zero',
			HINT = 'For example psps => ''{a, b}'', shares => ''{70, 30}''. A share of 0 is for when no '
				'other can.';
	END IF;
	IF w.pick NOT IN ('share', 'cost', 'success') OR w.capture NOT IN ('automatic', 'manual')
		OR w.kind NOT IN ('purchase', 'topup', 'withdrawal', 'transfer')
		OR w.explore NOT BETWEEN 0 AND 1 OR w.country !~ '^[A-Z]{2}$'
		OR w.success_window <= interval '0' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a rule cannot have this pick, explore, success_window, kind, capture or country',
			HINT = 'pick is share, cost or success; explore from 0 to 1; success_window above zero; '
				'capture automatic or manual; country two capital letters.';
	END IF;
	INSERT INTO payments.route_rule AS r (
		rule, priority, valid_from, valid_until, merchant, currency, country, amount_min, amount_max,
		payment_method, kind, capture, psps, shares, cost_fixed, cost_bp, pick, explore, success_window,
		moves_unsent, moves_declined
	)
	VALUES (
		w.rule, w.priority, w.valid_from, w.valid_until, w.merchant, w.currency, w.country,
		w.amount_min, w.amount_max, w.payment_method, w.kind, w.capture, w.psps, w.shares, w.cost_fixed,
		w.cost_bp, w.pick, w.explore, w.success_window, w.moves_unsent, w.moves_declined
	)
	ON CONFLICT ON CONSTRAINT route_rule_pkey DO UPDATE
	SET (
			priority, valid_from, valid_until, merchant, currency, country, amount_min, amount_max,
			payment_method, kind, capture, psps, shares, cost_fixed, cost_bp, pick, explore,
			success_window, moves_unsent, moves_declined
		) = (
			excluded.priority, excluded.valid_from, excluded.valid_until, excluded.merchant,
			excluded.currency, excluded.country, excluded.amount_min, excluded.amount_max,
			excluded.payment_method, excluded.kind, excluded.capture, excluded.psps, excluded.shares,
			excluded.cost_fixed, excluded.cost_bp, excluded.pick, excluded.explore,
			excluded.success_window, excluded.moves_unsent, excluded.moves_declined
		);
	IF w.payment_method IS NULL THEN
		RAISE NOTICE USING
			MESSAGE = format('rule "%s" is for payments without a payment method', w.rule),
			HINT = 'A token belongs to the PSP that gave it. If all PSPs of the rule know such tokens, pass '
				'payment_method => ''pm_*'', or ''*'' for any.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments.create_route_rule(text, text[], int[], int, text, text, text, bigint, bigint, text, text, text, text, bigint[], int[], numeric, interval, boolean, boolean, timestamptz, timestamptz) IS
'Makes a rule that chooses the PSP of payments of which neither the call nor a person names one, or changes it; what is left out stays as it is. The first rule that fits decides, by priority; the merchant''s own PSP is for what fits none. payment_method: tokens that all its PSPs know, * stands for anything; without it the rule is for payments without a token. shares: weights; 0 only when no other can. pick: share, cost (cost_fixed in minor units, cost_bp in hundredths of a per cent), or success. moves_unsent, moves_declined: may a payment go to another PSP that has certainly not reached its own, or was softly declined there? valid_from: now; ''infinity'' makes a draft for simulate_route(). Raises PY401, PY010, PY013, PY009, 22023.';

CREATE FUNCTION payments._require_route_rules(_rules text[]) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	missing text;
BEGIN
	SELECT coalesce(n.rule, '') INTO missing
	FROM unnest(_rules) n (rule)
	WHERE NOT EXISTS (SELECT FROM payments.route_rule r WHERE r.rule = n.rule)
	LIMIT 1;
	IF FOUND OR _rules IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '42704',
			MESSAGE = format('route rule "%s" does not exist', missing),
			HINT = 'SELECT rule FROM payments.route_rule lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_route_rules(text[]) IS 'Internal: raises 42704 unless there are rules of all these names.';

CREATE FUNCTION payments.drop_route_rule(rule text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('rule', drop_route_rule.rule);
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	PERFORM payments._require_route_rules(ARRAY[drop_route_rule.rule]);
	DELETE FROM payments.route_rule r WHERE r.rule = drop_route_rule.rule;
END
$$;
COMMENT ON FUNCTION payments.drop_route_rule(text) IS
'Removes a rule: payments that it has chosen a PSP for stay there, and go to no other. To let it end, pass valid_until to create_route_rule(). Raises 42704.';

CREATE FUNCTION payments.order_route_rules(rules text[]) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('rules', order_route_rules.rules);
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	PERFORM payments._require_route_rules(order_route_rules.rules);
	UPDATE payments.route_rule r
	SET priority = o.n * 10
	FROM (
		SELECT w.rule, row_number() OVER (
			ORDER BY array_position(order_route_rules.rules, w.rule), w.priority, w.rule
		) AS n
		FROM payments.route_rule w
	) o
	WHERE r.rule = o.rule;
END
$$;
COMMENT ON FUNCTION payments.order_route_rules(text[]) IS
'Puts rules into this order; those that are not named come after them, as they stood. Raises 42704.';

CREATE FUNCTION payments._route_of(
	merchant text, key text, kind text, amount bigint, currency text, payment_method text, capture text,
	metadata jsonb, at timestamptz, rules text[]
) RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_route_of';
COMMENT ON FUNCTION payments._route_of(text, text, text, bigint, text, text, text, jsonb, timestamptz, text[]) IS
'Internal: the PSP at which such a payment begins by these rules, or by those that are valid, when all is well; null: no rule fits.';
