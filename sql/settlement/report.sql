-- A run, written out for whoever signs it.

CREATE FUNCTION payments._report_amount(_amount numeric, _currency text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN _amount IS NULL THEN '-' ELSE payments.format_amount(_amount::bigint, _currency) END
$$;
COMMENT ON FUNCTION payments._report_amount(numeric, text) IS 'Internal: an amount in a report.';

CREATE FUNCTION payments.reconciliation_report(run bigint) RETURNS TABLE (line text)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' AS $$
DECLARE
	r payments.reconciliation_run;
	previous payments.reconciliation_run;
	is_bank boolean;
	x record;
BEGIN
	PERFORM payments._require_setup();
	SELECT q.* INTO r FROM payments.reconciliation_run q WHERE q.run_id = reconciliation_report.run;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY611',
			MESSAGE = format('reconciliation run %s does not exist', reconciliation_report.run),
			HINT = 'SELECT run_id, psp, ended_at FROM payments.reconciliation_run; lists them.';
	END IF;
	SELECT q.* INTO previous
	FROM payments.reconciliation_run q
	WHERE q.psp = r.psp AND q.run_id < r.run_id
	ORDER BY q.run_id DESC LIMIT 1;
	is_bank := EXISTS (SELECT FROM jsonb_each(r.totals) t WHERE t.value ? 'entries');
	RETURN QUERY
	SELECT unnest(ARRAY[
		format('RECONCILIATION OF %s', payments._one_line(upper(r.psp))),
		format('Run %s of %s UTC, by %s, %s s', r.run_id, to_char(r.ended_at, 'YYYY-MM-DD HH24:MI:SS'),
			payments._one_line(r.run_by), round(extract(epoch FROM r.ended_at - r.started_at), 1)),
		format('%s: %s to %s', CASE r.scope WHEN 'new' THEN 'Lines that were new' ELSE 'Period' END,
			CASE
				WHEN isfinite(r.from_time) THEN to_char(r.from_time, 'YYYY-MM-DD HH24:MI')
				ELSE 'the beginning'
			END,
			CASE WHEN isfinite(r.to_time) THEN to_char(r.to_time, 'YYYY-MM-DD HH24:MI') ELSE 'now' END),
		'']);
	IF is_bank THEN
		RETURN QUERY
		SELECT format('%-4s %8s %18s %18s %18s', 'Cur.', 'entries', 'credits', 'debits', 'matched');
		FOR x IN SELECT t.key AS currency, t.value AS v FROM jsonb_each(r.totals) t ORDER BY t.key LOOP
			RETURN QUERY
			SELECT format('%-4s %8s %18s %18s %18s', x.currency, x.v ->> 'entries',
				payments._report_amount((x.v ->> 'credits')::numeric, x.currency),
				payments._report_amount((x.v ->> 'debits')::numeric, x.currency),
				payments._report_amount((x.v ->> 'matched')::numeric, x.currency));
		END LOOP;
	ELSE
		RETURN QUERY
		SELECT format('%-4s %8s %18s %18s %18s %18s', 'Cur.', 'lines', 'gross', 'fees', 'net', 'paid out');
		FOR x IN SELECT t.key AS currency, t.value AS v FROM jsonb_each(r.totals) t ORDER BY t.key LOOP
			RETURN QUERY
			SELECT format('%-4s %8s %18s %18s %18s %18s', x.currency, x.v ->> 'lines',
				payments._report_amount((x.v ->> 'gross')::numeric, x.currency),
				payments._report_amount((x.v ->> 'fee')::numeric, x.currency),
				payments._report_amount((x.v ->> 'net')::numeric, x.currency),
				payments._report_amount((x.v ->> 'paid_out')::numeric, x.currency));
		END LOOP;
		RETURN QUERY SELECT '';
		RETURN QUERY SELECT format('%-20s %-4s %8s %18s', 'By kind', 'cur.', 'lines', 'net');
		RETURN QUERY
		SELECT format('%-20s %-4s %8s %18s', replace(k.key, '_', ' '), t.key, k.value ->> 0,
			payments._report_amount((k.value ->> 1)::numeric, t.key))
		FROM jsonb_each(r.totals) t
		CROSS JOIN LATERAL jsonb_each(t.value -> 'kinds') k
		ORDER BY k.key, t.key;
	END IF;
	RETURN QUERY
	SELECT unnest(ARRAY[
		'',
		format('%s of %s %s agree with our books; %s told what was not booked yet.', r.matched, r.lines,
			CASE WHEN is_bank THEN 'entries' ELSE 'lines' END, r.applied),
		format('Discrepancies: %s new, %s explained, %s open (%s).', r.found, r.explained, r.still_open,
			CASE
				WHEN previous.run_id IS NULL THEN 'the first run'
				WHEN r.still_open = previous.still_open THEN format('as after run %s', previous.run_id)
				ELSE format('%s%s since run %s of %s',
					CASE WHEN r.still_open > previous.still_open THEN '+' ELSE '-' END,
					abs(r.still_open - previous.still_open), previous.run_id,
					to_char(previous.ended_at, 'YYYY-MM-DD'))
			END)]);
	IF r.waiting > 0 THEN
		RETURN QUERY
		SELECT format('Waiting: %s %s yet; %s a discrepancy from %s UTC on.', r.waiting,
			CASE
				WHEN is_bank AND r.waiting = 1 THEN 'entry that nothing explains'
				WHEN is_bank THEN 'entries that nothing explains'
				WHEN r.waiting = 1 THEN 'payout that no bank shows'
				ELSE 'payouts that no bank shows'
			END,
			CASE WHEN r.waiting = 1 THEN 'it is' ELSE 'the first is' END,
			to_char(r.waiting_until, 'YYYY-MM-DD HH24:MI'));
	END IF;
	RETURN QUERY SELECT '';
	IF r.kinds <> '{}' THEN
		RETURN QUERY
		SELECT format('%-24s %-4s %8s %8s %18s',
			'Open after this run', 'cur.', 'number', 'before', 'difference');
		RETURN QUERY
		SELECT format('%-24s %-4s %8s %8s %18s', payments._one_line(d.title), c.key, c.value ->> 0,
			coalesce(previous.kinds -> k.key -> c.key ->> 0, '0'),
			payments._report_amount((c.value ->> 1)::numeric, c.key))
		FROM jsonb_each(r.kinds) k
		CROSS JOIN LATERAL jsonb_each(k.value) c
		JOIN payments._discrepancy_kinds() d ON d.kind = k.key
		ORDER BY d.title, c.key;
		RETURN QUERY SELECT '';
	END IF;
	RETURN QUERY
	SELECT unnest(ARRAY[
		CASE
			WHEN r.still_open = 0 AND r.waiting > 0 THEN 'Nothing is open yet; see what waits above.'
			WHEN r.still_open = 0 THEN 'Nothing is open.'
			ELSE 'See payments.discrepancy for each of them, and payments.discrepancy_ageing.'
		END,
		'',
		'Date, name: ____________________________']);
END
$$;
COMMENT ON FUNCTION payments.reconciliation_report(bigint) IS
'A reconciliation run as a page of text, to be read and signed: totals by currency, what agrees, what waits and until when, what is open by kind, and the trend since the run before. Says what the run found; later resolutions do not change it. Raises PY611.';
