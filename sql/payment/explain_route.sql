-- Why a payment is where it is, and where others would have gone.

CREATE FUNCTION payments.explain_route(payment_id uuid)
	RETURNS TABLE (
		generation int, decided_at timestamptz, reason text, rule text, pick text, psp text, chosen boolean,
		share int, success_rate numeric, note text
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p record;
BEGIN
	PERFORM payments._require_setup();
	SELECT q.merchant, q.psp, q.route, q.created_at INTO p
	FROM payments.payment q
	WHERE q.payment_id = explain_route.payment_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY005',
			MESSAGE = coalesce(
				'payment ' || explain_route.payment_id || ' does not exist', 'payment_id must not be null'),
			HINT = 'Pass the payment_id that create_payment() returned.';
	END IF;
	PERFORM payments._require_merchant(p.merchant);
	IF p.route IS NULL THEN
		RETURN QUERY
		SELECT 1, p.created_at, 'named', NULL::text, NULL::text, p.psp, true, NULL::int, NULL::numeric,
			'the call named it, or it is the merchant''s own: no rule was asked, and it stays there';
		RETURN;
	END IF;
	RETURN QUERY
	SELECT d.generation, d.decided_at, d.reason, d.route ->> 'rule', d.route ->> 'pick', c.one ->> 'psp',
		c.one ->> 'psp' = d.route ->> 'psp', (c.one ->> 'share')::int, (c.one ->> 'rate')::numeric,
		c.one ->> 'out'
	FROM (
		SELECT 1 AS generation, p.created_at AS decided_at, 'created' AS reason, p.route AS route
		UNION ALL
		SELECT e.generation, e.decided_at, e.reason, e.route
		FROM payments.route_decision e
		WHERE e.payment_id = explain_route.payment_id
	) d
	CROSS JOIN jsonb_array_elements(d.route -> 'candidates') WITH ORDINALITY c (one, n)
	ORDER BY d.generation, c.n;
END
$$;
COMMENT ON FUNCTION payments.explain_route(uuid) IS
'Why a payment is at its PSP: for each decision, the first when it was created, the PSPs that were looked at in order of preference, which one was chosen, and in note why another was not. reason: created, not_sent, soft_decline or came_after_all; named: there was nothing to decide. Raises PY005.';

CREATE FUNCTION payments.simulate_route(
	from_time timestamptz, to_time timestamptz, rules text[] DEFAULT NULL, merchant text DEFAULT NULL
)
	RETURNS TABLE (
		psp text, currency text, payments_then bigint, amount_then numeric, payments_now bigint,
		amount_now numeric, came bigint, went bigint
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers(
		'rules', simulate_route.rules, 'merchant', simulate_route.merchant);
	PERFORM payments._require_setup();
	IF simulate_route.from_time IS NULL OR simulate_route.to_time IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'from_time and to_time must not be null',
			HINT = 'For example now() - interval ''1 day'' and now().';
	END IF;
	IF simulate_route.rules IS NOT NULL THEN
		PERFORM payments._require_route_rules(simulate_route.rules);
	END IF;
	RETURN QUERY
	WITH replayed AS MATERIALIZED (
		SELECT p.currency, p.amount, coalesce(p.route ->> 'psp', p.psp) AS was,
			CASE
				-- Somebody has named it, and would again.
				WHEN p.route IS NULL AND p.psp IS DISTINCT FROM m.psp THEN p.psp
				ELSE coalesce(payments._route_of(p.merchant, k.key, p.kind, p.amount, p.currency,
					p.payment_method, p.capture, p.metadata, now(), simulate_route.rules), m.psp,
					p.route ->> 'psp', p.psp)
			END AS would
		FROM payments.payment p
		JOIN payments.idempotency_key k ON k.payment_id = p.payment_id AND starts_with(k.verb, 'create_')
		LEFT JOIN payments.merchant m ON m.merchant = p.merchant
		WHERE p.created_at >= simulate_route.from_time AND p.created_at < simulate_route.to_time
		AND (simulate_route.merchant IS NULL OR p.merchant = simulate_route.merchant)
	)
	SELECT s.psp, r.currency, count(*) FILTER (WHERE s.psp = r.was),
		coalesce(sum(r.amount) FILTER (WHERE s.psp = r.was), 0), count(*) FILTER (WHERE s.psp = r.would),
		coalesce(sum(r.amount) FILTER (WHERE s.psp = r.would), 0),
		count(*) FILTER (WHERE s.psp = r.would AND r.was <> r.would),
		count(*) FILTER (WHERE s.psp = r.was AND r.was <> r.would)
	FROM replayed r
	CROSS JOIN LATERAL (VALUES (r.was) UNION VALUES (r.would)) s (psp)
	GROUP BY s.psp, r.currency
	ORDER BY s.psp, r.currency;
END
$$;
COMMENT ON FUNCTION payments.simulate_route(timestamptz, timestamptz, text[], text) IS
'Where payments that were created in that time, from_time included and to_time not, would begin by the rules of now, or by those named alone, whenever these are valid: payments and amounts (minor units) by PSP, then and now, and how many would come and go. Nothing is sent or written. PSPs count as well, and a PSP that a call has named as named; what is neither the merchant''s own nor a rule''s is taken for that. Raises 42704, 22023.';

CREATE FUNCTION payments._count_outcomes() RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- The hour before may have been counted before its end.
	since CONSTANT timestamptz := date_trunc('hour', now()) - interval '1 hour';
	counted bigint;
BEGIN
	IF NOT EXISTS (SELECT FROM payments.route_rule r WHERE r.pick = 'success') THEN
		RETURN 0;
	END IF;
	INSERT INTO payments.route_outcome AS r (psp, currency, hour, tried, succeeded)
	SELECT e.psp, e.currency, date_trunc('hour', e.ended_at), count(*), count(*) FILTER (WHERE e.succeeded)
	FROM (
		SELECT o.psp, o.currency, o.completed_at, o.status = 'succeeded'
		FROM payments.operation o
		-- Ids are in order of time: what is older has mostly ended before.
		WHERE o.operation_id >= payments._uuid_of(since - interval '1 hour')
		AND o.kind IN ('charge', 'authorize')
		AND o.status IN ('succeeded', 'failed')
		AND o.completed_at >= since
		UNION ALL
		SELECT d.former_psp, p.currency, d.decided_at, false
		FROM payments.route_decision d
		JOIN payments.payment p ON p.payment_id = d.payment_id
		WHERE d.payment_id >= payments._uuid_of(since - interval '1 hour')
		AND d.decided_at >= since
		AND d.reason <> 'came_after_all'
	) e (psp, currency, ended_at, succeeded)
	GROUP BY 1, 2, 3
	ON CONFLICT ON CONSTRAINT route_outcome_pkey DO UPDATE
	SET (tried, succeeded) = (excluded.tried, excluded.succeeded);
	GET DIAGNOSTICS counted = ROW_COUNT;
	DELETE FROM payments.route_outcome r
	WHERE r.hour < now() - (SELECT max(w.success_window) FROM payments.route_rule w) - interval '1 hour';
	RETURN counted;
END
$$;
COMMENT ON FUNCTION payments._count_outcomes() IS
'Internal: counts how the charges and authorizations of the last two hours have ended, by PSP, for rules of pick success; locks no payment. Returns how many rows were written.';
