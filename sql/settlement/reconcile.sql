-- A run: take what the lines tell, compare, write down what differs.  It holds
-- its PSP's turn to the end, so that nobody imports or reconciles meanwhile.

CREATE FUNCTION payments._discrepancy_open(_psp text)
	RETURNS TABLE (
		discrepancy_id bigint, kind text, subject text, batch_id bigint, line_no int, payout_ref text,
		movement_kind text, object_id text, ours bigint, our_currency text, theirs bigint, their_currency text
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT d.discrepancy_id, d.kind, d.subject, d.batch_id, d.line_no, d.payout_ref, d.movement_kind,
		d.object_id, d.ours, d.our_currency, d.theirs, d.their_currency
	FROM payments.discrepancy_found d
	-- No last entry that closes it.
	WHERE d.psp = _psp
	AND NOT EXISTS (
		SELECT FROM payments.discrepancy_resolution r
		WHERE r.discrepancy_id = d.discrepancy_id
		AND r.action NOT IN ('reopen', 'found_again')
		AND NOT EXISTS (
			SELECT FROM payments.discrepancy_resolution n
			WHERE n.discrepancy_id = r.discrepancy_id AND n.seq > r.seq
		)
	)
$$;
COMMENT ON FUNCTION payments._discrepancy_open(text) IS 'Internal: discrepancies of a PSP or bank that nothing has resolved.';

CREATE FUNCTION payments._resolve_by_run(_ids bigint[], _action text, _reason text) RETURNS bigint
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	WITH w AS (
		INSERT INTO payments.discrepancy_resolution (discrepancy_id, seq, action, reason, actor, recorded_at)
		SELECT i.id,
			coalesce(
				(SELECT max(r.seq) FROM payments.discrepancy_resolution r WHERE r.discrepancy_id = i.id), 0)
				+ 1,
			_action, _reason, payments._caller(), clock_timestamp()
		FROM unnest(_ids) i (id)
		RETURNING 1
	)
	SELECT count(*) FROM w
$$;
COMMENT ON FUNCTION payments._resolve_by_run(bigint[], text, text) IS 'Internal: one entry of a run for each of these discrepancies.';

CREATE FUNCTION payments._payout_verdicts(_psp text, _payouts text[], _now timestamptz)
	RETURNS SETOF payments._verdict
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH p AS MATERIALIZED (
		SELECT l.payout_ref, l.currency,
			(- sum(l.net) FILTER (WHERE l.kind IN ('payout', 'payout_failure')))::bigint AS paid,
			coalesce(
				sum(l.net) FILTER (WHERE l.kind NOT IN ('payout', 'payout_failure')), 0)::bigint AS lines_net,
			bool_or(l.kind NOT IN ('payout', 'payout_failure')) AS has_lines,
			max(coalesce(l.available_at, l.occurred_at)) FILTER (WHERE l.kind = 'payout') AS paid_at,
			(max(ARRAY[l.batch_id, l.line_no]) FILTER (WHERE l.kind = 'payout')) AS line,
			(- sum(l.net) FILTER (WHERE l.kind = 'payout'))::bigint AS told,
			count(DISTINCT l.batch_id) FILTER (WHERE l.kind = 'payout') AS files
		FROM payments.settlement_line l
		WHERE l.psp = _psp AND NOT l.repeated AND l.payout_ref = ANY (_payouts)
		GROUP BY l.payout_ref, l.currency
	)
	SELECT 'payout', format('payout %s: %s, %s', p.payout_ref, p.lines_net, p.paid), p.line[1],
		p.line[2]::int, NULL::int, NULL::int, p.payout_ref, NULL::uuid, NULL::text, NULL::text, p.lines_net,
		p.currency, p.paid, p.currency, p.paid_at
	FROM p
	WHERE p.has_lines AND p.paid IS NOT NULL AND p.paid <> p.lines_net
	-- One that came back is paid no longer.
	AND NOT (p.paid = 0)
	UNION ALL
	SELECT 'payout_twice', format('payout %s: %s in %s files', p.payout_ref, p.told, p.files), p.line[1],
		p.line[2]::int, NULL, NULL, p.payout_ref, NULL, NULL, NULL, NULL, NULL, p.told, p.currency, p.paid_at
	FROM p
	WHERE p.files > 1
	UNION ALL
	SELECT 'payout_missing', format('payout %s: %s of %s', p.payout_ref, m.matched, p.paid), p.line[1],
		p.line[2]::int, NULL, NULL, p.payout_ref, NULL, NULL, NULL, m.matched, p.currency, p.paid, p.currency,
		p.paid_at
	FROM p
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(x.amount), 0)::bigint AS matched
		FROM payments.bank_match x
		WHERE x.psp = _psp AND x.payout_ref = p.payout_ref AND x.currency = p.currency
	) m
	WHERE p.paid > m.matched
	AND p.paid_at < _now
		- (SELECT k.grace FROM payments._discrepancy_kinds() k WHERE k.kind = 'payout_missing')
	-- Whoever imports no bank statements does not wait for them.
	AND EXISTS (SELECT FROM payments.settlement_batch b WHERE b.source = 'bank')
$$;
COMMENT ON FUNCTION payments._payout_verdicts(text, text[], timestamptz) IS 'Internal: payouts that their lines do not make, that two files tell of, and that no bank shows.';

CREATE TYPE payments._scope_sums AS (
	lines bigint, comparable bigint, totals jsonb, payouts text[], has_unknown boolean
);
COMMENT ON TYPE payments._scope_sums IS 'Internal: what there is to compare. comparable: lines that a movement must meet, or of a bank the entries that payouts explain whole.';

CREATE FUNCTION payments._reconcile_totals(_psp text, _scope payments._compare_scope)
	RETURNS payments._scope_sums
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	whole boolean := _scope.batches IS NOT NULL OR _scope.since = '-infinity' AND _scope.til = 'infinity';
	sums payments._scope_sums;
BEGIN
	WITH x AS (
		-- Of whole batches they are known.
		SELECT s.currency, s.kind, s.lines, s.gross, s.fee, s.net
		FROM payments.settlement_progress p
		CROSS JOIN jsonb_to_recordset(p.sums) s (
			currency text, kind text, lines bigint, gross numeric, fee numeric, net numeric
		)
		WHERE whole
		AND p.psp = _psp
		AND (_scope.batches IS NULL OR p.batch_id = ANY (_scope.batches))
		UNION ALL
		SELECT l.currency, l.kind, count(*), sum(l.gross), sum(l.fee), sum(l.net)
		FROM payments.settlement_line l
		WHERE NOT whole
		AND l.psp = _psp
		AND NOT l.repeated
		AND payments._in_scope(_scope, l.batch_id, l.occurred_at)
		GROUP BY l.currency, l.kind
	), k AS (
		SELECT x.currency, x.kind, sum(x.lines) AS lines, sum(x.gross) AS gross, sum(x.fee) AS fee,
			sum(x.net) AS net
		FROM x
		GROUP BY x.currency, x.kind
	), c AS (
		SELECT k.currency, sum(k.lines)::bigint AS lines, sum(k.gross)::bigint AS gross,
			sum(k.fee)::bigint AS fee, sum(k.net)::bigint AS net,
			coalesce(
				- sum(k.net) FILTER (WHERE k.kind IN ('payout', 'payout_failure')), 0)::bigint AS paid_out,
			coalesce(
				sum(k.lines) FILTER (WHERE k.kind IN (
					'charge', 'refund', 'refund_failure', 'chargeback', 'chargeback_reversal')),
				0)::bigint AS comparable,
			sum(k.lines) FILTER (WHERE k.kind IN ('payout', 'payout_failure')) AS payouts,
			jsonb_object_agg(k.kind, jsonb_build_array(k.lines, k.net)) AS kinds
		FROM k
		GROUP BY k.currency
	)
	SELECT coalesce(sum(c.lines), 0), coalesce(sum(c.comparable), 0),
		coalesce(jsonb_object_agg(c.currency, to_jsonb(c) - 'currency' - 'comparable' - 'payouts'), '{}'),
		(
			SELECT array_agg(DISTINCT l.payout_ref)
			FROM payments.settlement_line l
			WHERE sum(c.payouts) > 0
			AND l.psp = _psp
			AND l.kind IN ('payout', 'payout_failure')
			AND NOT l.repeated
			AND l.payout_ref IS NOT NULL
			AND payments._in_scope(_scope, l.batch_id, l.occurred_at)
		),
		coalesce(bool_or(c.kinds ? 'unknown'), false)
	INTO sums
	FROM c;
	RETURN sums;
END
$$;
COMMENT ON FUNCTION payments._reconcile_totals(text, payments._compare_scope) IS
'Internal: sums of the lines in scope by currency.';

CREATE FUNCTION payments._reconcile_psp(
	_psp text, _scope payments._compare_scope, _before timestamptz, _now timestamptz,
	_sums payments._scope_sums, _recheck boolean
) RETURNS SETOF payments._verdict
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lines payments._line_meant[];
	batches bigint[];
	nos int[];
	objects text[];
	kinds text[];
	payouts text[];
	-- Everything is in scope: what has no counterpart there has none.
	complete boolean := _scope.batches IS NULL AND _scope.since = '-infinity' AND _scope.til = 'infinity';
BEGIN
	EXECUTE payments._compare_query(_psp) INTO lines, objects, kinds USING _psp, _before, _scope;
	-- What was open is looked at again, and what was adjusted: a file may have explained it.
	SELECT
		array_agg(d.batch_id) FILTER (
			WHERE d.line_no IS NOT NULL
			AND d.kind NOT IN ('unknown_line', 'doubtful_line', 'payout', 'payout_missing', 'payout_twice',
				'payout_turned')
		),
		array_agg(d.line_no) FILTER (
			WHERE d.line_no IS NOT NULL
			AND d.kind NOT IN ('unknown_line', 'doubtful_line', 'payout', 'payout_missing', 'payout_twice',
				'payout_turned')
		),
		objects || array_agg(d.object_id) FILTER (WHERE d.kind = 'missing_at_psp'),
		kinds || array_agg(d.movement_kind) FILTER (WHERE d.kind = 'missing_at_psp'),
		array_agg(d.payout_ref) FILTER (WHERE d.kind IN ('payout', 'payout_missing', 'payout_twice'))
	INTO batches, nos, objects, kinds, payouts
	FROM (
		SELECT o.* FROM payments._discrepancy_open(_psp) o
		UNION ALL
		SELECT a.discrepancy_id, a.kind, a.subject, a.batch_id, a.line_no, a.payout_ref, a.movement_kind,
			a.object_id, a.ours, a.our_currency, a.theirs, a.their_currency
		FROM payments._discrepancy_adjusted(_psp) a
	) d
	WHERE _recheck;
	payouts := payouts || _sums.payouts;
	-- A line may have come more than once, beside several fees.
	lines := ARRAY(
		SELECT DISTINCT ON (n.batch_id, n.line_no) n
		FROM payments._lines_named(_psp, lines, complete) n
		ORDER BY n.batch_id, n.line_no
	);
	lines := lines
		|| ARRAY(
			SELECT m
			FROM payments._lines_meant(_psp, batches, nos) m
			WHERE NOT EXISTS (
				SELECT FROM unnest(lines) l WHERE l.batch_id = m.batch_id AND l.line_no = m.line_no
			)
		);
	RETURN QUERY SELECT v.* FROM payments._judge_lines(_psp, lines, complete) v;
	RETURN QUERY SELECT v.* FROM payments._judge_movements(_psp, objects, kinds, _before, lines, complete) v;
	RETURN QUERY SELECT v.* FROM payments._payout_verdicts(_psp, payouts, _now) v;
	RETURN QUERY
	SELECT 'doubtful_line', format('line %s:%s', l.batch_id, l.line_no), l.batch_id, l.line_no, NULL::int,
		NULL::int, l.payout_ref, NULL::uuid, NULL::text, coalesce(l.psp_object_id, l.entry_id), e.net,
		e.currency, l.net, l.currency, l.occurred_at
	FROM payments.settlement_line l
	LEFT JOIN payments.settlement_line e ON e.psp = _psp AND e.entry_id = l.entry_id AND NOT e.repeated
	WHERE l.psp = _psp
	AND l.doubtful
	AND payments._in_scope(_scope, l.batch_id, l.occurred_at);
	RETURN QUERY
	SELECT 'payout_turned', format('line %s:%s', l.batch_id, l.line_no), l.batch_id, l.line_no, NULL::int,
		NULL::int, l.payout_ref, NULL::uuid, NULL::text, l.psp_object_id, NULL::bigint, NULL::text, l.net,
		l.currency, l.occurred_at
	FROM payments.settlement_line l
	WHERE l.psp = _psp
	AND (l.kind = 'payout' AND l.net > 0 OR l.kind = 'payout_failure' AND l.net < 0)
	AND NOT l.repeated
	AND payments._in_scope(_scope, l.batch_id, l.occurred_at);
	IF _sums.has_unknown THEN
		RETURN QUERY
		SELECT 'unknown_line', format('line %s:%s', l.batch_id, l.line_no), l.batch_id, l.line_no, NULL::int,
			NULL::int, l.payout_ref, NULL::uuid, NULL::text, l.psp_object_id, NULL::bigint, NULL::text, l.net,
			l.currency, l.occurred_at
		FROM payments.settlement_line l
		WHERE l.psp = _psp
		AND l.kind = 'unknown'
		AND NOT l.repeated
		AND payments._in_scope(_scope, l.batch_id, l.occurred_at);
	END IF;
END
$$;
COMMENT ON FUNCTION payments._reconcile_psp(text, payments._compare_scope, timestamptz, timestamptz, payments._scope_sums, boolean) IS
'Internal: compares lines with movements, and returns what differs, that which was open and still differs included; some of it twice.';

CREATE FUNCTION payments._bank_totals(_bank text, _since timestamptz, _til timestamptz)
	RETURNS payments._scope_sums
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(sum(c.entries), 0)::bigint, coalesce(sum(c.comparable), 0)::bigint,
		coalesce(jsonb_object_agg(c.currency, to_jsonb(c) - 'currency' - 'comparable'), '{}'), NULL::text[],
		false
	FROM (
		SELECT e.currency, count(*) AS entries,
			coalesce(sum(e.amount) FILTER (WHERE e.amount > 0), 0)::bigint AS credits,
			coalesce(- sum(e.amount) FILTER (WHERE e.amount < 0), 0)::bigint AS debits,
			count(*) FILTER (WHERE e.amount > 0 AND m.matched >= e.amount) AS comparable,
			coalesce(sum(m.matched), 0)::bigint AS matched
		FROM payments.settlement_batch b
		JOIN payments.bank_entry e ON e.batch_id = b.batch_id
		CROSS JOIN LATERAL (
			SELECT sum(x.amount) AS matched
			FROM payments.bank_match x
			WHERE x.batch_id = e.batch_id AND x.statement_no = e.statement_no AND x.entry_no = e.entry_no
		) m
		WHERE b.psp = _bank
		AND b.source = 'bank'
		AND e.detail_no = 0
		AND e.status = 'booked'
		AND NOT e.repeated
		AND coalesce(e.booking_date, e.value_date) >= (_since AT TIME ZONE 'UTC')::date
		AND coalesce(e.booking_date, e.value_date) <= (_til AT TIME ZONE 'UTC')::date
		GROUP BY e.currency
	) c
$$;
COMMENT ON FUNCTION payments._bank_totals(text, timestamptz, timestamptz) IS 'Internal: sums of a bank''s entries by currency.';

-- What nothing explains yet, and is no discrepancy for want of days.  An entry
-- counts by its whole day.
CREATE FUNCTION payments._reconcile_waiting(
	_psp text, _since timestamptz, _til timestamptz, _payouts text[], _now timestamptz, OUT waiting bigint,
	OUT waiting_until timestamptz
) RETURNS record
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
	WITH k AS (
		SELECT max(x.grace) FILTER (WHERE x.kind = 'unmatched_bank') AS at_bank,
			max(x.grace) FILTER (WHERE x.kind = 'payout_missing') AS paid_out
		FROM payments._discrepancy_kinds() x
	), w AS (
		SELECT (e.value_date + 1)::timestamptz + k.at_bank AS until
		FROM payments._bank_open(_psp) e, k
		WHERE e.value_date >= _since::date
		AND e.value_date <= _til::date
		AND (e.value_date + 1)::timestamptz + k.at_bank > _now
		AND payments._bank_is_ours(_psp, e.counterparty, e.remittance)
		UNION ALL
		SELECT p.paid_at + k.paid_out
		FROM (
			SELECT l.payout_ref, l.currency, - sum(l.net) AS paid,
				max(coalesce(l.available_at, l.occurred_at)) FILTER (WHERE l.kind = 'payout') AS paid_at
			FROM payments.settlement_line l
			WHERE l.psp = _psp
			AND l.payout_ref = ANY (_payouts)
			AND l.kind IN ('payout', 'payout_failure')
			AND NOT l.repeated
			GROUP BY l.payout_ref, l.currency
		) p
		CROSS JOIN k
		WHERE p.paid > (
			SELECT coalesce(sum(x.amount), 0)
			FROM payments.bank_match x
			WHERE x.psp = _psp AND x.payout_ref = p.payout_ref AND x.currency = p.currency
		)
		-- Whoever imports no bank statements does not wait for them.
		AND EXISTS (SELECT FROM payments.settlement_batch b WHERE b.source = 'bank')
	)
	SELECT count(*), min(w.until)
	FROM w
	WHERE w.until > _now
$$;
COMMENT ON FUNCTION payments._reconcile_waiting(text, timestamptz, timestamptz, text[], timestamptz) IS
'Internal: of a bank the entries of a period that no payout explains, of a PSP those of these payouts that no bank shows, in the days that discrepancy_kind.grace gives them; and when the first of them becomes a discrepancy.';

CREATE FUNCTION payments._reconcile_run(
	_psp text, _since timestamptz, _til timestamptz, _fresh bigint[], _applied bigint
) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
	SET work_mem = '64MB' SET jit = off AS $$
DECLARE
	run bigint := nextval('payments.reconciliation_run_run_id_seq');
	started timestamptz := clock_timestamp();
	-- Thousands that are open are looked at again once a day, not every minute.
	recheck boolean := _fresh IS NULL
		OR (
			SELECT count(*) FROM (SELECT FROM payments._discrepancy_open(_psp) LIMIT 1001) x
		) <= 1000;
	is_bank boolean := NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = _psp);
	scope payments._compare_scope := ROW(_fresh, _since, _til);
	covered timestamptz;
	before timestamptz;
	sums payments._scope_sums;
	discovered bigint;
	judged bigint;
	explained bigint;
	still_adjusted bigint[];
	kinds jsonb;
	still_open bigint;
	w record;
BEGIN
	SELECT greatest(s.covered_to, f.watermark) INTO covered
	FROM payments.settlement_source s
	LEFT JOIN payments.psp_feed f ON f.psp = s.psp AND f.feed = 'settlement' AND f.enabled
	WHERE s.psp = _psp;
	before := least(_til, coalesce(covered, _til), now())
		- (SELECT k.grace FROM payments._discrepancy_kinds() k WHERE k.kind = 'missing_at_psp');
	IF NOT is_bank THEN
		sums := payments._reconcile_totals(_psp, scope);
	END IF;
	WITH v AS MATERIALIZED (
		SELECT x.*
		FROM payments._reconcile_psp(_psp, scope, before, now(), sums, recheck) x
		WHERE NOT is_bank
		UNION ALL
		SELECT x.*
		FROM payments._reconcile_bank(_psp, run, now()) x
		WHERE is_bank
	), o AS MATERIALIZED (
		SELECT d.discrepancy_id, d.subject, d.kind
		FROM payments._discrepancy_open(_psp) d
		WHERE recheck
	), w AS (
		INSERT INTO payments.discrepancy_found (psp, kind, subject, run_id, batch_id, line_no, statement_no,
			entry_no, payout_ref, payment_id, movement_kind, object_id, ours, our_currency, theirs,
			their_currency, occurred_at, found_at)
		SELECT _psp, v.kind, v.subject, run, v.batch_id, v.line_no, v.statement_no, v.entry_no,
			v.payout_ref, v.payment_id, v.movement_kind, v.object_id, v.ours, v.our_currency, v.theirs,
			v.their_currency, v.occurred_at, clock_timestamp()
		FROM v
		ORDER BY v.kind, v.subject
		ON CONFLICT (psp, subject, kind) DO NOTHING
		RETURNING 1
	), again AS (
		-- That which a run had taken for explained; what a person has decided stays.
		SELECT payments._resolve_by_run(
			array_agg(DISTINCT d.discrepancy_id), 'found_again', format('run %s', run)) AS n
		FROM v
		JOIN payments.discrepancy_found d
			ON d.psp = _psp AND d.subject = v.subject AND d.kind = v.kind
		CROSS JOIN LATERAL (
			SELECT r.action
			FROM payments.discrepancy_resolution r
			WHERE r.discrepancy_id = d.discrepancy_id
			ORDER BY r.seq DESC LIMIT 1
		) l
		WHERE l.action = 'explained'
	), gone AS (
		SELECT payments._resolve_by_run(
			array_agg(o.discrepancy_id), 'explained', format('run %s: it differs no longer', run)) AS n
		FROM o
		WHERE o.kind NOT IN ('unknown_line', 'doubtful_line', 'payout_turned')
		AND NOT EXISTS (SELECT FROM v WHERE v.subject = o.subject AND v.kind = o.kind)
	)
	SELECT (SELECT count(*) FROM w) + coalesce((SELECT again.n FROM again), 0),
		coalesce((SELECT gone.n FROM gone), 0),
		ARRAY(
			SELECT a.discrepancy_id
			FROM payments._discrepancy_adjusted(_psp) a
			WHERE EXISTS (SELECT FROM v WHERE v.subject = a.subject AND v.kind = a.kind)
		),
		(
			SELECT count(*)
			FROM (
				SELECT DISTINCT v.batch_id, v.line_no, v.statement_no, v.entry_no
				FROM v
				WHERE v.kind IN ('missing_here', 'currency', 'status', 'duplicate', 'amount', 'fee', 'late',
					'unmatched_bank')
			) x
		)
	INTO discovered, explained, still_adjusted, judged;
	-- To an earlier time not all is looked for that is missing.
	IF recheck AND _til >= now() THEN
		explained := explained + payments._discrepancies_undo(_psp, run, still_adjusted);
	END IF;

	IF is_bank THEN
		sums := payments._bank_totals(_psp, _since, _til);
	ELSE
		UPDATE payments.settlement_progress p
		SET compared_at = clock_timestamp()
		WHERE p.psp = _psp
		AND p.posted_at IS NOT NULL
		AND p.compared_at IS NULL
		AND (_fresh IS NULL OR p.batch_id = ANY (_fresh));
	END IF;
	SELECT x.* INTO w FROM payments._reconcile_waiting(_psp, _since, _til, sums.payouts, now()) x;
	SELECT coalesce(jsonb_object_agg(k.kind, k.by_currency), '{}'), coalesce(sum(k.n), 0)
	INTO kinds, still_open
	FROM (
		SELECT c.kind, jsonb_object_agg(c.currency, jsonb_build_array(c.n, c.amount)) AS by_currency,
			sum(c.n) AS n
		FROM (
			SELECT d.kind, coalesce(d.their_currency, d.our_currency) AS currency, count(*) AS n,
				sum(abs(
					coalesce(d.theirs, 0)
						- CASE WHEN d.kind IN ('late', 'currency') THEN 0 ELSE coalesce(d.ours, 0) END
				))::bigint AS amount
			FROM payments._discrepancy_open(_psp) d
			GROUP BY 1, 2
		) c
		GROUP BY c.kind
	) k;
	INSERT INTO payments.reconciliation_run (run_id, psp, scope, from_time, to_time, lines, applied, matched,
		found, explained, still_open, waiting, waiting_until, totals, kinds, started_at, ended_at, run_by)
	VALUES (run, _psp, CASE WHEN _fresh IS NULL THEN 'period' ELSE 'new' END, _since, _til,
		sums.lines, _applied,
		CASE WHEN is_bank THEN sums.comparable ELSE greatest(sums.comparable - judged, 0) END,
		discovered, explained, still_open, w.waiting, w.waiting_until, sums.totals, kinds, started,
		clock_timestamp(), payments._caller());
	RETURN run;
END
$$;
COMMENT ON FUNCTION payments._reconcile_run(text, timestamptz, timestamptz, bigint[], bigint) IS
'Internal: compares a period, or these batches, writes down what differs, and the run; returns its number.';

CREATE FUNCTION payments.reconcile(
	psp text, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL,
	apply boolean DEFAULT true, OUT run_id bigint, OUT lines bigint, OUT applied bigint, OUT matched bigint,
	OUT discovered bigint, OUT explained bigint, OUT still_open bigint, OUT waiting bigint,
	OUT waiting_until timestamptz
) RETURNS record
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	step record;
BEGIN
	PERFORM payments._refuse_card_numbers('psp', reconcile.psp);
	PERFORM payments._require_setup();
	IF NOT EXISTS (SELECT FROM payments.settlement_source s WHERE s.psp = reconcile.psp)
		AND NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = reconcile.psp)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY401',
			MESSAGE = format('PSP or bank account "%s" does not exist', reconcile.psp),
			HINT = 'SELECT psp FROM payments.settlement_source lists those that files came from.';
	ELSIF reconcile.from_time >= reconcile.to_time THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'from_time must be earlier than to_time',
			HINT = 'from_time is included, to_time is not; leave both out for all there is.';
	END IF;
	PERFORM payments._settlement_turn(reconcile.psp);
	applied := 0;
	IF reconcile.apply THEN
		LOOP
			SELECT t.* INTO step FROM payments._settlement_take(reconcile.psp, 1000, true, 0) t;
			applied := applied + step.applied;
			EXIT WHEN NOT step.left_over;
		END LOOP;
		PERFORM payments._settlement_post_again(reconcile.psp);
	END IF;
	run_id := payments._reconcile_run(reconcile.psp, coalesce(reconcile.from_time, '-infinity'),
		coalesce(reconcile.to_time, 'infinity'), NULL, applied);
	SELECT r.lines, r.matched, r.found, r.explained, r.still_open, r.waiting, r.waiting_until
	INTO reconcile.lines, reconcile.matched, reconcile.discovered, reconcile.explained,
		reconcile.still_open, reconcile.waiting, reconcile.waiting_until
	FROM payments.reconciliation_run r
	WHERE r.run_id = reconcile.run_id;
END
$$;
COMMENT ON FUNCTION payments.reconcile(text, timestamptz, timestamptz, boolean) IS
'Compares what a PSP''s settlement lines of a period say with what we have booked, or a bank account''s entries with payouts; what differs is in payments.discrepancy. psp: a PSP, or the name that a bank statement was imported under. from_time, to_time: of the lines; null: all there is. apply: first let the lines tell what we did not know: payments in doubt are settled by the PSP''s word, fees, payouts and the like are posted. matched: what agrees; of a bank what payouts explain whole. waiting: of a bank entries that nothing explains yet, of a PSP payouts that no bank shows yet, in the days that discrepancy_kind.grace gives them; waiting_until: when the first becomes a discrepancy. May be repeated: nothing is booked or found twice. All in one transaction; the job "reconcile" does the same in steps. Raises PY401, 22023, 40001.';

-- For the worker, which has little time for it: what is new, without waiting
-- for anybody.  What is not done yet is done the next time.
CREATE FUNCTION payments._reconcile_new(_psp text) RETURNS bigint
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	began timestamptz := clock_timestamp();
	step record;
	applied bigint := 0;
	fresh bigint[];
	since timestamptz;
	last_run timestamptz;
BEGIN
	PERFORM payments._settlement_turn(_psp);
	FOR n IN 1 .. 10 LOOP
		SELECT t.* INTO step FROM payments._settlement_take(_psp, 200, false, 0) t;
		applied := applied + step.applied;
		EXIT WHEN NOT step.left_over OR clock_timestamp() > began + interval '300 ms';
	END LOOP;
	SELECT array_agg(p.batch_id) INTO fresh
	FROM payments.settlement_progress p
	WHERE p.psp = _psp AND p.posted_at IS NOT NULL AND p.compared_at IS NULL;
	SELECT max(r.ended_at) INTO last_run FROM payments.reconciliation_run r WHERE r.psp = _psp;
	-- Without new lines only what is due by now can be missing.
	IF step.left_over OR fresh IS NULL AND last_run > now() - interval '10 minutes' THEN
		RETURN NULL;
	END IF;
	SELECT least(min(b.period_from), last_run - max(k.grace)) - interval '1 day' INTO since
	FROM payments._discrepancy_kinds() k
	LEFT JOIN payments.settlement_batch b ON b.batch_id = ANY (fresh)
	WHERE k.kind = 'missing_at_psp';
	RETURN payments._reconcile_run(_psp, coalesce(since, now() - interval '1 month'), now(),
		coalesce(fresh, '{}'), applied);
END
$$;
COMMENT ON FUNCTION payments._reconcile_new(text) IS
'Internal: for the worker, after lines came and now and then: applies and compares what is new. Returns the run, null when there was none. Raises 55P03 when somebody imports or reconciles for longer than lock_timeout.';

-- A step: lines of one PSP are taken, or it is compared as a whole.  One that
-- fails is a finding, and does not keep the job from those behind it.
CREATE FUNCTION payments._job_reconcile(watermark text, days int) RETURNS SETOF jsonb
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text;
	step record;
	run bigint;
	r payments.reconciliation_run;
	next text;
BEGIN
	SELECT min(s.psp) INTO name
	FROM payments.settlement_source s
	WHERE s.psp > coalesce(_job_reconcile.watermark, '');
	IF name IS NULL THEN
		RETURN NEXT jsonb_build_object('rows', 0, 'done', true, 'watermark', NULL);
		RETURN;
	END IF;
	IF EXISTS (SELECT FROM payments.settlement_source s WHERE s.psp > name) THEN
		next := name;
	END IF;
	BEGIN
		PERFORM payments._settlement_turn(name);
		SELECT t.* INTO step FROM payments._settlement_take(name, 2000, true, 0) t;
		IF step.left_over THEN
			RETURN NEXT jsonb_build_object('rows', step.lines, 'done', false,
				'watermark', _job_reconcile.watermark,
				'left', (
					SELECT sum(greatest(b.lines - p.applied_to, 0))
					FROM payments.settlement_progress p
					JOIN payments.settlement_batch b ON b.batch_id = p.batch_id
					WHERE p.posted_at IS NULL AND b.source = 'psp' AND p.psp >= name
				));
			RETURN;
		END IF;
		PERFORM payments._settlement_post_again(name);
		run := payments._reconcile_run(name,
			coalesce(now() - make_interval(days => _job_reconcile.days), '-infinity'), 'infinity', NULL, 0);
	EXCEPTION WHEN OTHERS THEN
		-- What passes is passed on, and tried again by the next run.
		IF sqlstate LIKE '40%' OR sqlstate LIKE '57%' OR sqlstate LIKE '55%' THEN
			RAISE;
		END IF;
		RETURN NEXT jsonb_build_object('ok', false, 'rows', 0,
			'subject', format('reconciliation of %s failed: %s', name, sqlstate), 'error', sqlerrm);
		RETURN NEXT jsonb_build_object('rows', 0, 'done', next IS NULL, 'watermark', next);
		RETURN;
	END;
	SELECT x.* INTO STRICT r FROM payments.reconciliation_run x WHERE x.run_id = run;
	RETURN NEXT jsonb_build_object('rows', r.lines, 'run', r.run_id, 'done', next IS NULL, 'watermark', next);
	RETURN QUERY
	SELECT jsonb_build_object('ok', false, 'rows', 0,
		'subject', format('settlement file %s of %s is not posted whole', p.batch_id, name),
		'error', p.problem)
	FROM payments.settlement_progress p
	WHERE p.psp = name AND p.posted_at IS NULL AND p.problem IS NOT NULL;
	IF r.still_open > 0 THEN
		RETURN NEXT jsonb_build_object('ok', false, 'rows', 0,
			'subject', format('open discrepancies of %s', name), 'open', r.still_open, 'run', r.run_id,
			'kinds', r.kinds);
	END IF;
END
$$;
COMMENT ON FUNCTION payments._job_reconcile(text, int) IS
'Internal: one step of the job reconcile; the watermark is the last PSP or bank account that was compared. days: how far back lines are compared; null: all.';

CREATE FUNCTION payments._check_reconciliation()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n bigint;
	s text;
	-- Of retired postings their references are kept.
	horizon timestamptz := coalesce(payments._retired_to('posting'), '-infinity');
BEGIN
	SELECT count(*), min(coalesce(x.reference, y.reference)) INTO n, s
	FROM (
		SELECT p.merchant, p.reference, p.event, p.currency, abs(p.amount) AS amount, p.posted_at
		FROM payments.settlement_posting p
	) x
	FULL JOIN (
		SELECT p.merchant, regexp_replace(p.reference, ':[0-9]+$', '') AS reference, p.kind AS event,
			p.currency, p.amount
		FROM payments.posting p
		-- The kind says what anybody may; whose reference it is, is ours to say.
		JOIN payments.posting_reference r
			ON r.merchant = '' AND r.reference = p.reference AND r.posting_id = p.posting_id
		WHERE starts_with(p.kind, 'settled_') AND p.kind <> 'settled_at_bank'
	) y ON y.merchant = x.merchant AND y.reference = x.reference
	WHERE (x.event, x.currency, x.amount) IS DISTINCT FROM (y.event, y.currency, y.amount)
	AND NOT (y.reference IS NULL AND x.posted_at < horizon);
	RETURN QUERY SELECT * FROM payments._violation('what settlement files book is posted once', n, s);

	SELECT count(*), min(l.what) INTO n, s
	FROM (
		SELECT min(format('line %s:%s', x.batch_id, x.line_no)) AS what
		FROM payments.settlement_line x
		WHERE NOT x.repeated AND x.identity IS NOT NULL
		GROUP BY x.psp, x.identity
		HAVING count(*) FILTER (WHERE NOT x.doubtful) > 1
	) l;
	RETURN QUERY SELECT * FROM payments._violation('what a settlement line says counts once', n, s);

	SELECT count(*), min(x.what) INTO n, s
	FROM (
		SELECT format('entry %s:%s:%s', m.batch_id, m.statement_no, m.entry_no) AS what
		FROM payments.bank_match m
		LEFT JOIN payments.bank_entry e
			ON e.batch_id = m.batch_id
			AND e.statement_no = m.statement_no
			AND e.entry_no = m.entry_no
			AND e.detail_no = 0
		GROUP BY m.batch_id, m.statement_no, m.entry_no, e.amount
		-- Below zero of one by which a payout has gone again.
		HAVING e.amount IS NULL OR sum(m.amount) NOT BETWEEN least(e.amount, 0) AND greatest(e.amount, 0)
		UNION ALL
		SELECT format('payout %s of %s', m.payout_ref, m.psp)
		FROM (
			SELECT b.psp, b.payout_ref, b.currency, sum(b.amount) AS matched, max(r.tolerance) AS tolerance
			FROM payments.bank_match b
			LEFT JOIN payments.match_rule r ON r.rule = b.rule
			GROUP BY 1, 2, 3
		) m
		CROSS JOIN LATERAL (
			SELECT coalesce(- sum(l.net), 0) AS paid
			FROM payments.settlement_line l
			WHERE l.psp = m.psp
			AND l.payout_ref = m.payout_ref
			AND l.currency = m.currency
			AND l.kind = 'payout'
			AND NOT l.repeated
		) p
		WHERE m.matched > p.paid + coalesce(m.tolerance, 0)
	) x;
	RETURN QUERY
	SELECT * FROM payments._violation('no payout and no bank entry is matched beyond its amount', n, s);

	SELECT count(*), min(coalesce(m.what, p.what)) INTO n, s
	FROM (
		SELECT concat_ws(' ', b.psp, x.psp, x.currency) AS what, sum(x.amount) AS amount
		FROM payments.bank_match x
		JOIN payments.settlement_batch b ON b.batch_id = x.batch_id
		GROUP BY 1
	) m
	FULL JOIN (
		SELECT
			concat_ws(' ', substr(coalesce(d.code, c.code), 6), split_part(p.reference, ':', 3), p.currency)
				AS what,
			sum(CASE WHEN d.code IS NOT NULL THEN p.amount ELSE - p.amount END) AS amount
		FROM payments.posting p
		JOIN payments.posting_reference r
			ON r.merchant = '' AND r.reference = p.reference AND r.posting_id = p.posting_id
		LEFT JOIN payments.account d ON d.account_id = p.debit_account AND d.code LIKE 'bank:%'
		LEFT JOIN payments.account c ON c.account_id = p.credit_account AND c.code LIKE 'bank:%'
		WHERE p.kind = 'settled_at_bank'
		GROUP BY 1
	) p ON p.what = m.what
	WHERE m.amount IS DISTINCT FROM p.amount AND horizon = '-infinity'
	-- With posting rules of one's own it is posted elsewhere.
	AND NOT EXISTS (SELECT FROM payments.posting_rule r WHERE r.event = 'settled_at_bank' AND NOT r.builtin);
	RETURN QUERY SELECT * FROM payments._violation('what is matched at the bank is posted', n, s);

	SELECT count(*), min(r.discrepancy_id::text) INTO n, s
	FROM (
		SELECT x.discrepancy_id, x.seq, x.action, row_number() OVER w AS n, lag(x.action) OVER w AS previous
		FROM payments.discrepancy_resolution x
		WINDOW w AS (PARTITION BY x.discrepancy_id ORDER BY x.seq)
	) r
	LEFT JOIN payments.discrepancy_found d ON d.discrepancy_id = r.discrepancy_id
	WHERE d.discrepancy_id IS NULL
	OR r.seq <> r.n
	OR (r.action IN ('reopen', 'found_again')) = (
		r.previous IS NULL OR r.previous IN ('reopen', 'found_again')
	);
	RETURN QUERY
	SELECT *
	FROM payments._violation(
		'decisions about a discrepancy are numbered, and each is taken back before the next', n, s);
END
$$;
COMMENT ON FUNCTION payments._check_reconciliation() IS 'Internal: the invariants of reconciliation, for check().';
