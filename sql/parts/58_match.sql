-- Which line is about which payment, and what differs.  Nearly all lines agree
-- with a movement that has the line's own key, and one hash join over all of
-- them says so; only what is left over is looked at more closely, by further
-- keys and by the sums of all lines and movements of a payment.

CREATE FUNCTION payments._match_rules(psp text) RETURNS SETOF payments.match_rule
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- Of each kind of line and key the rule for the PSP's adapter, else the one for all.
	SELECT DISTINCT ON (r.source, r.line_kind, r.key) r.*
	FROM (SELECT DISTINCT ON (x.rule) x.* FROM payments.match_rule x ORDER BY x.rule, x.builtin) r
	WHERE r.adapter = '*' OR r.adapter = coalesce((SELECT p.adapter FROM payments.psp p WHERE p.psp = $1), $1)
	ORDER BY r.source, r.line_kind, r.key, r.adapter = '*', r.priority
$$;
COMMENT ON FUNCTION payments._match_rules(text) IS 'Internal: the rules that hold for a PSP or bank account.';

CREATE FUNCTION payments._discrepancy_kinds() RETURNS SETOF payments.discrepancy_kind
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT ON (k.kind) k.* FROM payments.discrepancy_kind k ORDER BY k.kind, k.builtin
$$;
COMMENT ON FUNCTION payments._discrepancy_kinds() IS 'Internal: the kinds, rows of users instead of shipped ones.';

-- Of each kind of line the first rule, and its key as an expression over l.
CREATE FUNCTION payments._match_keys(psp text) RETURNS TABLE (line_kind text, movement_kind text, key text, tolerance bigint, date_window interval)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT ON (r.line_kind) r.line_kind, r.movement_kind, r.key, r.tolerance, r.date_window
	FROM payments._match_rules($1) r
	WHERE r.source = 'psp' AND r.key IN ('psp_object_id', 'psp_payment_id', 'entry_id')
	ORDER BY r.line_kind, r.priority, r.adapter = '*'
$$;
COMMENT ON FUNCTION payments._match_keys(text) IS 'Internal: by which column of a line of each kind its movement is found.';

CREATE TYPE payments._line_meant AS (
	batch_id bigint, line_no int, kind text, movement_kind text, object_id text, payment_id uuid, moved text, ours bigint, our_currency text,
	recorded_at timestamptz, theirs bigint, their_currency text, fee bigint, currency text, further boolean, occurred_at timestamptz,
	tolerance bigint, date_window interval);
COMMENT ON TYPE payments._line_meant IS 'Internal: a settlement line beside the movement and the payment that it is about.';

CREATE FUNCTION payments._lines_meant(psp text, batch_ids bigint[], line_nos int[]) RETURNS SETOF payments._line_meant
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH k AS MATERIALIZED (SELECT * FROM payments._match_keys($1)),
	further_keys AS MATERIALIZED (SELECT r.line_kind, r.key FROM payments._match_rules($1) r WHERE r.source = 'psp' AND r.key IN ('payment', 'reference')),
	l AS MATERIALIZED (
		SELECT s.*, k.movement_kind, k.tolerance, k.date_window,
			CASE k.key WHEN 'psp_payment_id' THEN s.psp_payment_id WHEN 'entry_id' THEN s.entry_id ELSE s.psp_object_id END AS object_id
		FROM unnest($2, $3) u (batch_id, line_no)
		JOIN payments.settlement_line s ON s.batch_id = u.batch_id AND s.line_no = u.line_no
		JOIN k ON k.line_kind = s.kind)
	SELECT l.batch_id, l.line_no, l.kind, l.movement_kind, l.object_id,
		coalesce(m.payment_id, late.payment_id, named.payment_id, by_ref.payment_id, by_order.payment_id),
		coalesce(m.kind, late.kind), coalesce(m.amount, late.amount), coalesce(m.currency, late.currency), coalesce(m.recorded_at, late.recorded_at),
		abs(coalesce(l.original_amount, l.gross)), coalesce(l.original_currency, l.currency), l.fee, l.currency, l.further, l.occurred_at,
		l.tolerance, l.date_window
	FROM l
	LEFT JOIN payments.movement m ON m.psp = $1 AND m.object_id = l.object_id AND m.kind = l.movement_kind
	LEFT JOIN payments.movement late ON m.kind IS NULL AND l.movement_kind = 'capture'
		AND late.psp = $1 AND late.object_id = l.object_id AND late.kind = 'late_capture'
	LEFT JOIN payments.payment named ON m.kind IS NULL AND late.kind IS NULL AND named.psp = $1 AND named.psp_payment_id = l.psp_payment_id
		AND EXISTS (SELECT FROM further_keys f WHERE f.line_kind = l.kind AND f.key = 'payment')
	LEFT JOIN payments.operation by_ref ON named.payment_id IS NULL AND m.kind IS NULL AND by_ref.psp_ref = l.reference AND by_ref.psp = $1
		AND EXISTS (SELECT FROM further_keys f WHERE f.line_kind = l.kind AND f.key = 'reference')
	LEFT JOIN LATERAL (
		SELECT (array_agg(p.payment_id))[1] AS payment_id FROM payments.payment p
		WHERE m.kind IS NULL AND named.payment_id IS NULL AND by_ref.payment_id IS NULL AND p.order_ref = l.reference AND p.psp = $1
		AND EXISTS (SELECT FROM further_keys f WHERE f.line_kind = l.kind AND f.key = 'reference')
		HAVING count(*) = 1) by_order ON true
$$;
COMMENT ON FUNCTION payments._lines_meant(text, bigint[], int[]) IS
'Internal: of each line the movement with its key (moved is null if there is none), and the payment, also by further keys. theirs is without sign.';

-- All that the PSP has said of a payment, by whichever key its lines name it.
CREATE FUNCTION payments._payment_lines(psp text, payment_id uuid, kind text, movement_kind text)
	RETURNS TABLE (batch_id bigint, line_no int, theirs bigint, their_currency text, fee bigint, currency text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT l.batch_id, l.line_no, abs(coalesce(l.original_amount, l.gross)), coalesce(l.original_currency, l.currency), l.fee, l.currency
	FROM payments.settlement_line l
	JOIN (SELECT x.batch_id, x.line_no FROM payments.settlement_line x JOIN payments.movement m
				ON m.payment_id = $2 AND m.psp = $1 AND (m.kind = $4 OR m.kind = 'late_capture' AND $4 = 'capture') AND x.psp_object_id = m.object_id
		  UNION
		  SELECT x.batch_id, x.line_no FROM payments.settlement_line x JOIN payments.payment p ON p.payment_id = $2 AND x.psp_payment_id = p.psp_payment_id
		  UNION
		  SELECT x.batch_id, x.line_no FROM payments.settlement_line x JOIN payments.operation o ON o.payment_id = $2 AND x.reference = o.psp_ref) k
		ON k.batch_id = l.batch_id AND k.line_no = l.line_no
	WHERE l.psp = $1 AND l.kind = $3 AND NOT l.repeated
$$;
COMMENT ON FUNCTION payments._payment_lines(text, uuid, text, text) IS 'Internal: the lines of a kind that are about a payment, without those that were repeated.';

CREATE TYPE payments._verdict AS (
	kind text, subject text, batch_id bigint, line_no int, statement_no int, entry_no int, payout_ref text, payment_id uuid, movement_kind text,
	object_id text, ours bigint, our_currency text, theirs bigint, their_currency text, occurred_at timestamptz);
COMMENT ON TYPE payments._verdict IS 'Internal: a discrepancy to be written down.';

CREATE FUNCTION payments._judge_lines(psp text, batch_ids bigint[], line_nos int[]) RETURNS SETOF payments._verdict
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH l AS MATERIALIZED (SELECT * FROM payments._lines_meant($1, $2, $3)),
	-- Of each payment and kind all there is on both sides.
	g AS MATERIALIZED (
		SELECT p.payment_id, p.kind, coalesce(t.theirs, 0) AS theirs, coalesce(t.fees, 0) AS fees, t.plain, o.ours, o.fees AS our_fees, o.moves
		FROM (SELECT DISTINCT x.payment_id, x.kind, x.movement_kind FROM l x WHERE x.payment_id IS NOT NULL) p
		CROSS JOIN LATERAL (
			SELECT sum(s.theirs) AS theirs, sum(s.fee) AS fees, bool_and(s.currency = s.their_currency) AS plain
			FROM payments._payment_lines($1, p.payment_id, p.kind, p.movement_kind) s) t
		CROSS JOIN LATERAL (
			SELECT coalesce(sum(m.amount) FILTER (WHERE m.kind <> 'fee'), 0) AS ours, coalesce(sum(m.amount) FILTER (WHERE m.kind = 'fee'), 0) AS fees,
				count(*) FILTER (WHERE m.kind <> 'fee') AS moves
			FROM payments.movement m
			WHERE m.payment_id = p.payment_id AND m.psp = $1 AND (m.kind IN (p.movement_kind, 'fee') OR m.kind = 'late_capture' AND p.movement_kind = 'capture')) o),
	j AS MATERIALIZED (
		SELECT l.*, g.theirs AS all_theirs, g.ours AS all_ours, g.fees, g.our_fees, g.plain, c.currency AS payment_currency,
			CASE
				WHEN l.payment_id IS NULL THEN 'missing_here'
				WHEN l.their_currency <> c.currency THEN 'currency'
				WHEN abs(g.theirs - g.ours) <= l.tolerance THEN NULL
				WHEN l.moved IS NULL AND (g.moves = 0 OR l.kind <> 'charge') THEN 'status'
				WHEN l.kind = 'charge' AND (l.moved IS NULL OR l.further) AND g.theirs - g.ours >= l.theirs THEN 'duplicate'
			END AS verdict
		FROM l LEFT JOIN g ON g.payment_id = l.payment_id AND g.kind = l.kind LEFT JOIN payments.payment c ON c.payment_id = l.payment_id)
	-- Each for itself.
	SELECT j.verdict, format('%s %s', j.kind, coalesce(j.object_id || CASE WHEN j.further THEN format(' (%s:%s)', j.batch_id, j.line_no) ELSE '' END,
			format('%s:%s', j.batch_id, j.line_no))),
		j.batch_id, j.line_no, NULL::int, NULL::int, NULL::text, j.payment_id, j.movement_kind, j.object_id,
		CASE WHEN j.verdict = 'currency' THEN j.ours WHEN j.verdict = 'duplicate' THEN 0 END, j.payment_currency, j.theirs, j.their_currency, j.occurred_at
	FROM j WHERE j.verdict IS NOT NULL
	UNION ALL
	-- What is left of the sums when these are told.
	SELECT 'amount', format('%s of payment %s: %s, %s', a.kind, a.payment_id, a.all_ours, a.rest), a.batch_id, a.line_no, NULL, NULL, NULL, a.payment_id,
		a.movement_kind, a.object_id, a.all_ours::bigint, a.payment_currency, a.rest::bigint, a.payment_currency, a.occurred_at
	FROM (SELECT DISTINCT ON (j.payment_id, j.kind) j.*,
			j.all_theirs - coalesce(sum(j.theirs) FILTER (WHERE j.verdict IS NOT NULL) OVER w, 0) AS rest, bool_or(j.verdict = 'currency') OVER w AS foreign_money
		  FROM j WHERE j.payment_id IS NOT NULL
		  WINDOW w AS (PARTITION BY j.payment_id, j.kind)
		  ORDER BY j.payment_id, j.kind, j.verdict NULLS FIRST, j.batch_id, j.line_no) a
	WHERE a.verdict IS NULL AND a.foreign_money IS NOT TRUE AND abs(a.rest - a.all_ours) > a.tolerance
	UNION ALL
	SELECT 'fee', format('fees of payment %s: %s, %s', f.payment_id, f.our_fees, f.fees), f.batch_id, f.line_no, NULL, NULL, NULL, f.payment_id,
		'fee', f.object_id, f.our_fees::bigint, f.payment_currency, f.fees::bigint, f.currency, f.occurred_at
	FROM (SELECT DISTINCT ON (j.payment_id) j.*, bool_or(j.verdict IS NOT NULL) OVER (PARTITION BY j.payment_id) AS told FROM j
		  WHERE j.kind = 'charge' AND j.payment_id IS NOT NULL ORDER BY j.payment_id, j.batch_id, j.line_no) f
	WHERE NOT f.told AND f.plain AND f.fees <> f.our_fees
	UNION ALL
	SELECT 'late', format('%s %s', t.kind, coalesce(t.object_id, format('%s:%s', t.batch_id, t.line_no))), t.batch_id, t.line_no, NULL, NULL, NULL, t.payment_id,
		t.movement_kind, t.object_id, t.ours, t.our_currency, t.theirs, t.their_currency, t.occurred_at
	FROM j t
	WHERE t.moved IS NOT NULL AND t.verdict IS NULL
	AND (t.occurred_at > t.recorded_at + t.date_window OR t.occurred_at < t.recorded_at - t.date_window)
$$;
COMMENT ON FUNCTION payments._judge_lines(text, bigint[], int[]) IS
'Internal: what differs about these lines, by all keys and sums; no row for a line that agrees.';

CREATE FUNCTION payments._judge_movements(psp text, object_ids text[], kinds text[], before timestamptz) RETURNS SETOF payments._verdict
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'missing_at_psp', format('%s %s', m.kind, m.object_id), NULL::bigint, NULL::int, NULL::int, NULL::int, NULL::text, m.payment_id, m.kind,
		m.object_id, m.amount, m.currency, NULL::bigint, NULL::text, m.recorded_at
	FROM unnest($2, $3) u (object_id, kind)
	JOIN payments.movement m ON m.psp = $1 AND m.object_id = u.object_id AND m.kind = u.kind
	JOIN payments._match_keys($1) k ON k.movement_kind = CASE m.kind WHEN 'late_capture' THEN 'capture' ELSE m.kind END
	WHERE m.recorded_at < $4
	AND NOT EXISTS (SELECT FROM payments.settlement_line l WHERE k.key = 'psp_object_id' AND l.psp_object_id = m.object_id
					AND l.psp = $1 AND l.kind = k.line_kind AND NOT l.repeated)
	AND NOT EXISTS (SELECT FROM payments.settlement_line l WHERE k.key = 'psp_payment_id' AND l.psp_payment_id = m.object_id
					AND l.psp = $1 AND l.kind = k.line_kind AND NOT l.repeated)
	AND NOT EXISTS (SELECT FROM payments.settlement_line l WHERE k.key = 'entry_id' AND l.entry_id = m.object_id AND l.psp = $1 AND NOT l.repeated)
	-- Several of ours may be one of theirs.
	AND (SELECT coalesce(sum(s.theirs), 0) FROM payments._payment_lines($1, m.payment_id, k.line_kind, k.movement_kind) s)
		< (SELECT sum(o.amount) FROM payments.movement o WHERE o.payment_id = m.payment_id AND o.psp = $1
		   AND (o.kind = k.movement_kind OR o.kind = 'late_capture' AND k.movement_kind = 'capture'))
$$;
COMMENT ON FUNCTION payments._judge_movements(text, text[], text[], timestamptz) IS
'Internal: which of these movements, recorded before a time, no line tells of.';

-- What the hash join leaves over.  scope is a condition over lines l, booked one
-- over movements m: both are ours, see _reconcile_compare().
CREATE FUNCTION payments._compare_query(psp text, scope text, booked text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT format($q$
		SELECT l.batch_id, l.line_no, m.object_id, m.kind
		FROM (SELECT l.batch_id, l.line_no, abs(coalesce(l.original_amount, l.gross)) AS theirs, coalesce(l.original_currency, l.currency) AS their_currency,
				l.fee, l.currency, l.occurred_at, l.further, CASE l.kind %1$s END AS object_id, CASE l.kind %2$s END AS movement_kind,
				CASE l.kind %3$s END AS tolerance, CASE l.kind %4$s END AS date_window
			  FROM payments.settlement_line l
			  WHERE l.psp = $1 AND NOT l.repeated AND l.kind IN (%5$s) AND %6$s) l
		FULL JOIN (SELECT m.object_id, m.kind, m.payment_id, m.amount, m.currency, m.recorded_at FROM payments.movement m
			  WHERE m.psp = $1 AND m.kind IN (%7$s) AND %8$s) m
			ON m.object_id = l.object_id AND m.kind = l.movement_kind
		LEFT JOIN (SELECT f.payment_id, f.amount FROM payments.movement f WHERE f.psp = $1 AND f.kind = 'fee') f
			ON f.payment_id = m.payment_id AND l.movement_kind = 'capture'
		WHERE (l.batch_id IS NOT NULL AND m.object_id IS NOT NULL AND NOT l.further AND l.their_currency = m.currency
			   AND abs(l.theirs - m.amount) <= l.tolerance
			   AND (l.movement_kind <> 'capture' OR l.fee = coalesce(f.amount, 0) OR l.currency <> l.their_currency)
			   AND (l.occurred_at BETWEEN m.recorded_at - l.date_window AND m.recorded_at + l.date_window) IS NOT FALSE) IS NOT TRUE
		AND (m.object_id IS NULL OR l.batch_id IS NOT NULL OR m.recorded_at < $2)$q$,
		string_agg(format('WHEN %L THEN l.%I', k.line_kind, k.key), ' '),
		string_agg(format('WHEN %L THEN %L', k.line_kind, k.movement_kind), ' '),
		string_agg(format('WHEN %L THEN %s', k.line_kind, k.tolerance), ' '),
		string_agg(format('WHEN %L THEN interval %L', k.line_kind, k.date_window), ' '),
		string_agg(quote_literal(k.line_kind), ', '), $2,
		string_agg(quote_literal(k.movement_kind), ', ') || ', ''late_capture''', $3)
	FROM payments._match_keys($1) k
$$;
COMMENT ON FUNCTION payments._compare_query(text, text, text) IS
'Internal: the query ($1: PSP, $2: what was booked before must have a line) for lines and movements that do not agree one to one by the rules'' first keys.';
