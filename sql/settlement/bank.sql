-- Payouts against the bank: which entry brought which payout.  One payout may
-- come in several entries, and one entry may bring several payouts; what is
-- matched is a row of bank_match, since nothing in the two says so by itself.

CREATE FUNCTION payments._payouts(_psp text)
	RETURNS TABLE (
		psp text, payout_ref text, currency text, paid bigint, lines_net bigint, has_lines boolean,
		paid_at timestamptz, batch_id bigint, line_no int
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT l.psp, l.payout_ref, l.currency,
		(- sum(l.net) FILTER (WHERE l.kind IN ('payout', 'payout_failure')))::bigint,
		sum(l.net) FILTER (WHERE l.kind NOT IN ('payout', 'payout_failure'))::bigint,
		bool_or(l.kind NOT IN ('payout', 'payout_failure')),
		max(coalesce(l.available_at, l.occurred_at)) FILTER (WHERE l.kind = 'payout'),
		max(l.batch_id) FILTER (WHERE l.kind = 'payout'),
		max(l.line_no) FILTER (WHERE l.kind = 'payout')
	FROM payments.settlement_line l
	WHERE (_psp IS NULL OR l.psp = _psp) AND l.payout_ref IS NOT NULL AND NOT l.repeated
	GROUP BY l.psp, l.payout_ref, l.currency
$$;
COMMENT ON FUNCTION payments._payouts(text) IS 'Internal: payouts of a PSP, or of all, with what their lines make.';

-- Of the banks' transaction codes, those by which no PSP pays out: what has one is a payout only where it
-- names it.  From general knowledge of SWIFT's list for field 61 and of ISO 20022's external code sets.
CREATE FUNCTION payments._bank_code_is_other(_code text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM (
			VALUES
				('^[NSF](CHG|COM)', 'MT940: charges, commission; as a credit, given back'),
				('^[NSF](INT|DIV|COL)', 'MT940: interest, dividends'),
				('^[NSF]RTI', 'MT940: an item of ours that came back'),
				('^[NSF](FEX|SEC|LDP|TCK|BRF|EQA)', 'MT940: foreign exchange, securities, loans, cheques'),
				('^PMNT/(ICDT|IRCT|IDDT|ICHQ|RDDT)(/|$)', 'camt: made by us, and as a credit come back'),
				('/(RRTN|RPCR|UPCT|UPDD|PRDD|RCDD)$', 'camt: returns and reversals'),
				('/(INTR|CHRG|COMM|FEES|TAXE|DVCA)$', 'camt: interest, charges, taxes, dividends'),
				('^(LDAS|SECU|FORX|TRAD|CMDT|DERV|PMET)/', 'camt: loans, securities, currencies, trade')
		) c (pattern, meaning)
		WHERE _code ~ c.pattern
	)
$$;
COMMENT ON FUNCTION payments._bank_code_is_other(text) IS 'Internal: does the bank''s code of a credit say that it is something else than money paid to us?';

CREATE FUNCTION payments._bank_open(_bank text)
	RETURNS TABLE (
		batch_id bigint, statement_no int, entry_no int, amount bigint, currency text, left_over bigint,
		value_date date, end_to_end_id text, reference text, remittance text, counterparty text,
		may_be_nameless boolean
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT e.batch_id, e.statement_no, e.entry_no, e.amount, e.currency,
		(e.amount - coalesce(m.matched, 0))::bigint, coalesce(e.value_date, e.booking_date), e.end_to_end_id,
		e.reference, e.remittance, e.counterparty,
		NOT e.reversal
			AND NOT payments._bank_code_is_other(coalesce(e.code, ''))
			-- What a person has said of it, that a payout has its amount does not change.
			AND payments._decision(_bank, 'unmatched_bank',
				format('entry %s:%s:%s', e.batch_id, e.statement_no, e.entry_no)) NOT IN (
				'accept', 'ignore', 'adjust')
	FROM payments.settlement_batch b
	JOIN payments.bank_entry e ON e.batch_id = b.batch_id
	LEFT JOIN (
		SELECT x.batch_id, x.statement_no, x.entry_no, sum(x.amount) AS matched
		FROM payments.bank_match x
		GROUP BY 1, 2, 3
	) m ON m.batch_id = e.batch_id AND m.statement_no = e.statement_no AND m.entry_no = e.entry_no
	WHERE b.psp = _bank
	AND b.source = 'bank'
	AND e.detail_no = 0
	AND e.status = 'booked'
	AND NOT e.repeated
	AND e.amount > 0
	AND e.amount > coalesce(m.matched, 0)
	-- What may be another's is nobody's, until a person has said that it is an entry of its own.
	AND (
		NOT e.doubtful
		OR 'accept' IN (
			payments._decision(
				_bank, 'statement_overlap', format('statement %s:%s', e.batch_id, e.statement_no)),
			payments._decision(
				_bank, 'doubtful_line', format('entry %s:%s:%s', e.batch_id, e.statement_no, e.entry_no)))
	)
$$;
COMMENT ON FUNCTION payments._bank_open(text) IS 'Internal: credits of a bank account that are not wholly matched. may_be_nameless: one may be a payout that it does not name.';

-- Whoever has a filter on a rule takes other entries for somebody else's.
CREATE FUNCTION payments._bank_is_ours(_bank text, _counterparty text, _remittance text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM payments._match_rules(_bank) x
		WHERE x.source = 'bank'
		AND (
			x.filter IS NULL
				AND NOT EXISTS (
					SELECT FROM payments._match_rules(_bank) y
					WHERE y.source = 'bank' AND y.filter IS NOT NULL
				)
			OR concat_ws(' ', _counterparty, _remittance) ~* x.filter
		)
	)
$$;
COMMENT ON FUNCTION payments._bank_is_ours(text, text, text) IS 'Internal: must an entry of this counterparty and text be explained by a payout?';

CREATE FUNCTION payments._payouts_open()
	RETURNS TABLE (psp text, payout_ref text, currency text, left_over bigint, paid_at timestamptz)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT p.psp, p.payout_ref, p.currency, (p.paid - coalesce(m.matched, 0))::bigint, p.paid_at
	FROM (
		SELECT l.psp, l.payout_ref, l.currency, - sum(l.net) AS paid,
			max(coalesce(l.available_at, l.occurred_at)) FILTER (WHERE l.kind = 'payout') AS paid_at
		FROM payments.settlement_line l
		WHERE l.kind IN ('payout', 'payout_failure') AND l.payout_ref IS NOT NULL AND NOT l.repeated
		GROUP BY l.psp, l.payout_ref, l.currency
	) p
	LEFT JOIN (
		SELECT x.psp, x.payout_ref, x.currency, sum(x.amount) AS matched
		FROM payments.bank_match x
		GROUP BY 1, 2, 3
	) m ON m.psp = p.psp AND m.payout_ref = p.payout_ref AND m.currency = p.currency
	WHERE p.paid > coalesce(m.matched, 0)
$$;
COMMENT ON FUNCTION payments._payouts_open() IS 'Internal: payouts of all PSPs that no entry of a bank, or only a part of one, has been found for.';

-- Several accounts may be waiting for the same payout, and the turn of one keeps
-- nobody from the other: so who matches takes the turns of all PSPs that have
-- payouts, in one order.  No lock of the table: everybody may take that.
CREATE FUNCTION payments._payouts_turn() RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._settlement_turn(s.psp)
	FROM (
		SELECT x.psp
		FROM payments.settlement_source x
		JOIN payments.psp p ON p.psp = x.psp
		ORDER BY x.psp
	) s;
END
$$;
COMMENT ON FUNCTION payments._payouts_turn() IS 'Internal: waits until nobody else matches payouts, or imports them, until the transaction ends. Raises 40001 as _settlement_turn() does.';

-- Candidates of one rule: pairs of an entry and a payout.
CREATE FUNCTION payments._bank_pairs(_bank text, _key text, _date_window interval, _filter text)
	RETURNS TABLE (
		batch_id bigint, statement_no int, entry_no int, entry_left bigint, psp text, payout_ref text,
		currency text, payout_left bigint
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH e AS MATERIALIZED (
		SELECT *
		FROM payments._bank_open(_bank) x
		WHERE _filter IS NULL OR concat_ws(' ', x.counterparty, x.remittance) ~* _filter
	), p AS MATERIALIZED (
		SELECT * FROM payments._payouts_open()
	), words AS (
		SELECT e.batch_id, e.statement_no, e.entry_no, e.end_to_end_id AS word
		FROM e
		WHERE _key = 'end_to_end_id'
		UNION
		SELECT e.batch_id, e.statement_no, e.entry_no, e.reference
		FROM e
		WHERE _key = 'reference'
		UNION
		SELECT e.batch_id, e.statement_no, e.entry_no, w.word
		FROM e, regexp_split_to_table(e.remittance, '[^[:alnum:]_.:-]+') w (word)
		WHERE _key = 'remittance'
	), named AS (
		-- By number, one or many to one.
		SELECT e.*, p.psp, p.payout_ref, p.left_over AS payout_left
		FROM words w
		JOIN p ON p.payout_ref = w.word
		JOIN e ON e.batch_id = w.batch_id AND e.statement_no = w.statement_no AND e.entry_no = w.entry_no
		WHERE e.currency = p.currency
		AND (e.value_date - p.paid_at::date <= extract(day FROM _date_window)) IS NOT FALSE
	), entry_days AS (
		-- What bears no name and is alike, the entries of a day and an amount, is counted before it is
		-- compared: thousands that are all the same would make millions of pairs, of which none is taken.
		-- Where n is one, the columns are those of the one.
		SELECT e.currency, e.left_over, e.value_date, count(*) AS n, min(e.batch_id) AS batch_id,
			min(e.statement_no) AS statement_no, min(e.entry_no) AS entry_no
		FROM e
		WHERE _key IN ('amount', 'day') AND e.may_be_nameless
		GROUP BY 1, 2, 3
	), amounts AS (
		-- The same amount, and nobody else has it.
		SELECT e.*, d.psp, d.payout_ref, d.left_over AS payout_left,
			sum(d.n) OVER (PARTITION BY e.currency, e.left_over, e.value_date) AS payouts,
			sum(e.n) OVER (PARTITION BY d.currency, d.left_over, d.paid_on) AS entries
		FROM entry_days e
		JOIN (
			SELECT p.currency, p.left_over, p.paid_at::date AS paid_on, count(*) AS n, min(p.psp) AS psp,
				min(p.payout_ref) AS payout_ref
			FROM p
			GROUP BY 1, 2, 3
		) d ON d.left_over = e.left_over AND d.currency = e.currency
		WHERE _key = 'amount'
		AND e.value_date BETWEEN d.paid_on - extract(day FROM _date_window)::int
			AND d.paid_on + extract(day FROM _date_window)::int
	), days AS (
		-- All payouts that a PSP made on a day in one entry.
		SELECT e.*, d.psp, d.paid_on,
			count(*) OVER (PARTITION BY e.currency, e.left_over, e.value_date) AS payouts,
			sum(e.n) OVER (PARTITION BY d.psp, d.paid_on, d.currency) AS entries
		FROM entry_days e
		JOIN (
			SELECT p.psp, p.paid_at::date AS paid_on, p.currency, sum(p.left_over) AS total
			FROM p
			GROUP BY 1, 2, 3
			HAVING count(*) > 1
		) d ON d.total = e.left_over AND d.currency = e.currency
		WHERE _key = 'day'
		AND e.value_date BETWEEN d.paid_on AND d.paid_on + extract(day FROM _date_window)::int
	)
	SELECT n.batch_id, n.statement_no, n.entry_no, n.left_over, n.psp, n.payout_ref, n.currency, n.payout_left
	FROM named n
	UNION ALL
	SELECT a.batch_id, a.statement_no, a.entry_no, a.left_over, a.psp, a.payout_ref, a.currency, a.payout_left
	FROM amounts a
	WHERE a.payouts = 1 AND a.entries = 1
	UNION ALL
	SELECT d.batch_id, d.statement_no, d.entry_no, d.left_over, d.psp, p.payout_ref, d.currency, p.left_over
	FROM days d
	JOIN p ON p.psp = d.psp AND p.paid_at::date = d.paid_on AND p.currency = d.currency
	WHERE d.payouts = 1 AND d.entries = 1
$$;
COMMENT ON FUNCTION payments._bank_pairs(text, text, interval, text) IS 'Internal: open entries and open payouts that a key brings together.';

CREATE FUNCTION payments._bank_match_rule(_bank text, _run bigint, _rule payments.match_rule)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n bigint;
BEGIN
	-- An entry with its one payout (or the parts of one), or with all of its payouts: only where the sums
	-- agree.
	INSERT INTO payments.bank_match (batch_id, statement_no, entry_no, psp, payout_ref, currency, amount,
		rule, run_id, matched_at, matched_by)
	SELECT c.batch_id, c.statement_no, c.entry_no, c.psp, c.payout_ref, c.currency,
		CASE WHEN c.payouts = 1 THEN least(c.entry_left, c.payout_left) ELSE c.payout_left END,
		_rule.rule, _run, clock_timestamp(), payments._caller()
	FROM (
		SELECT x.*, sum(x.entry_left) OVER payout AS entries_left, count(*) OVER payout AS entries,
			sum(x.payout_left) OVER entry AS payouts_left, count(*) OVER entry AS payouts
		FROM payments._bank_pairs(_bank, _rule.key, _rule.date_window, _rule.filter) x
		WINDOW payout AS (PARTITION BY x.psp, x.payout_ref, x.currency),
			entry AS (PARTITION BY x.batch_id, x.statement_no, x.entry_no)
	) c
	WHERE c.payouts = 1 AND abs(c.entries_left - c.payout_left) <= _rule.tolerance
	OR c.entries = 1 AND abs(c.payouts_left - c.entry_left) <= _rule.tolerance;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
COMMENT ON FUNCTION payments._bank_match_rule(text, bigint, payments.match_rule) IS 'Internal: matches what one rule brings together and whose sums agree; returns how many pairs.';

CREATE FUNCTION payments._bank_post(_from_match bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m record;
BEGIN
	-- By statement, merchant and PSP: a day's payouts are a few postings.
	FOR m IN
		WITH x AS MATERIALIZED (
			SELECT y.* FROM payments.bank_match y WHERE y.bank_match_id >= _from_match
		), p AS MATERIALIZED (
			SELECT d.psp, payments._settlement_house(d.psp) AS house,
				payments._settlement_shared(d.psp) AS shared
			FROM (SELECT DISTINCT y.psp FROM x y) d
		)
		SELECT s.batch_id, b.psp AS bank, s.psp, s.merchant, s.currency, min(s.bank_match_id) AS first,
			sum(s.share)::bigint AS amount
		FROM (
			SELECT x.batch_id, x.psp, p.house AS merchant, x.currency, x.bank_match_id, x.amount AS share
			FROM x
			JOIN p ON p.psp = x.psp AND NOT p.shared
			UNION ALL
			SELECT x.batch_id, x.psp, h.merchant, x.currency, x.bank_match_id, h.share
			FROM x
			JOIN p ON p.psp = x.psp AND p.shared
			CROSS JOIN LATERAL payments._match_shares(x.psp, x.payout_ref, x.currency, x.amount) h
		) s
		JOIN payments.settlement_batch b ON b.batch_id = s.batch_id
		GROUP BY s.batch_id, b.psp, s.psp, s.merchant, s.currency
		HAVING sum(s.share) <> 0
		ORDER BY 1, 3, 4, 5
	LOOP
		PERFORM payments._post_movements(ARRAY[m.amount], ARRAY['settled_at_bank'],
			ARRAY[format('bank:%s:%s:%s:%s', m.first, m.psp, m.currency, m.merchant)], m.merchant, m.psp,
			m.currency, NULL, m.bank);
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._bank_post(bigint) IS 'Internal: posts the matches from that one on, in the transaction that made them. Raises PY207 without a posting rule.';

CREATE FUNCTION payments._match_shares(_psp text, _payout text, _currency text, _amount bigint)
	RETURNS TABLE (merchant text, share bigint)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- Of a payout that comes in parts, each part is divided as the whole is; who owes in it bears a
	-- part with the house.
	WITH s AS MATERIALIZED (
		SELECT x.merchant, x.share, row_number() OVER (ORDER BY x.merchant) AS n
		FROM payments._payout_shares(_psp, _payout, _currency,
			coalesce(
				(
					SELECT - sum(l.net)::bigint
					FROM payments.settlement_line l
					WHERE l.psp = _psp
					AND l.payout_ref = _payout
					AND l.currency = _currency
					AND l.kind IN ('payout', 'payout_failure')
					AND NOT l.repeated
				),
				_amount)) x
	)
	SELECT s.merchant,
		CASE
			WHEN (SELECT sum(z.share) FROM s z) = _amount THEN s.share
			ELSE coalesce(
				(payments.split_amount(
					abs(_amount), (SELECT array_agg(greatest(z.share, 0) ORDER BY z.n) FROM s z)))[s.n]
					* sign(_amount)::bigint,
				0)
		END
	FROM s
$$;
COMMENT ON FUNCTION payments._match_shares(text, text, text, bigint) IS 'Internal: divides what came in of a payout among the merchants.';

-- Of a statement as a whole, where it lies across another; else of the entry.
CREATE FUNCTION payments._bank_doubts(_bank text) RETURNS SETOF payments._verdict
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'statement_overlap', format('statement %s:%s', s.batch_id, s.statement_no), s.batch_id, NULL::int,
		s.statement_no, NULL::int, NULL::text, NULL::uuid, NULL::text, s.statement_id, NULL::bigint,
		NULL::text, sum(e.amount)::bigint, s.currency, s.closing_date::timestamp AT TIME ZONE 'UTC'
	FROM payments.settlement_batch b
	JOIN payments.bank_statement s ON s.batch_id = b.batch_id AND s.lies_across
	JOIN payments.bank_entry e ON e.batch_id = s.batch_id AND e.statement_no = s.statement_no
	WHERE b.psp = _bank
	AND b.source = 'bank'
	AND e.detail_no = 0
	AND e.status = 'booked'
	AND e.doubtful
	GROUP BY s.batch_id, s.statement_no
	UNION ALL
	SELECT 'doubtful_line', format('entry %s:%s:%s', e.batch_id, e.statement_no, e.entry_no), e.batch_id,
		NULL, e.statement_no, e.entry_no, NULL, NULL, NULL, e.bank_reference, NULL, NULL, e.amount,
		e.currency, coalesce(e.value_date, e.booking_date)::timestamp AT TIME ZONE 'UTC'
	FROM payments.settlement_batch b
	JOIN payments.bank_statement s ON s.batch_id = b.batch_id AND NOT s.lies_across
	JOIN payments.bank_entry e ON e.batch_id = s.batch_id AND e.statement_no = s.statement_no
	WHERE b.psp = _bank
	AND b.source = 'bank'
	AND e.detail_no = 0
	AND e.status = 'booked'
	AND e.doubtful
$$;
COMMENT ON FUNCTION payments._bank_doubts(text) IS 'Internal: statements and entries of a bank of which a person must say whether they were here before.';

-- A payout that had come in, and has gone again: a debit names it, or the bank takes back the entry that
-- was matched with it.
CREATE FUNCTION payments._bank_taken_back(_bank text) RETURNS SETOF payments._verdict
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH d AS MATERIALIZED (
		SELECT e.*, coalesce(e.value_date, e.booking_date) AS day
		FROM payments.settlement_batch b
		JOIN payments.bank_entry e ON e.batch_id = b.batch_id
		WHERE b.psp = _bank
		AND b.source = 'bank'
		AND e.detail_no = 0
		AND e.status = 'booked'
		AND NOT e.repeated
		AND NOT e.doubtful
		AND e.amount < 0
	), p AS MATERIALIZED (
		SELECT m.psp, m.payout_ref, m.currency
		FROM payments.bank_match m
		GROUP BY 1, 2, 3
		HAVING sum(m.amount) > 0
	), named AS (
		SELECT d.batch_id, d.statement_no, d.entry_no, d.currency, w.word AS payout_ref, false AS by_amount
		FROM d
		CROSS JOIN LATERAL (
			VALUES (d.end_to_end_id), (d.reference)
			UNION ALL
			SELECT regexp_split_to_table(d.remittance, '[^[:alnum:]_.:-]+')
		) w (word)
		UNION ALL
		SELECT d.batch_id, d.statement_no, d.entry_no, d.currency, m.payout_ref, true
		FROM d
		JOIN payments.bank_entry c ON c.amount = - d.amount AND c.currency = d.currency AND c.detail_no = 0
		JOIN payments.settlement_batch b ON b.batch_id = c.batch_id AND b.psp = _bank
		JOIN payments.bank_match m
			ON m.batch_id = c.batch_id AND m.statement_no = c.statement_no AND m.entry_no = c.entry_no
		WHERE d.reversal AND d.day - coalesce(c.value_date, c.booking_date) BETWEEN 0 AND 15
	)
	SELECT DISTINCT ON (d.batch_id, d.statement_no, d.entry_no) 'payout_returned',
		format('entry %s:%s:%s', d.batch_id, d.statement_no, d.entry_no), d.batch_id, NULL::int,
		d.statement_no, d.entry_no, p.payout_ref, NULL::uuid, NULL::text,
		coalesce(d.end_to_end_id, d.reference), NULL::bigint, NULL::text, d.amount, d.currency,
		d.day::timestamp AT TIME ZONE 'UTC'
	FROM named n
	JOIN p ON p.payout_ref = n.payout_ref AND p.currency = n.currency
	JOIN d ON d.batch_id = n.batch_id AND d.statement_no = n.statement_no AND d.entry_no = n.entry_no
	ORDER BY d.batch_id, d.statement_no, d.entry_no, n.by_amount, p.psp, p.payout_ref
$$;
COMMENT ON FUNCTION payments._bank_taken_back(text) IS 'Internal: debits of a bank account by which a payout that is matched has gone again.';

CREATE FUNCTION payments._reconcile_bank(_bank text, _run bigint, _now timestamptz)
	RETURNS SETOF payments._verdict
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r payments.match_rule;
	grace interval := (SELECT k.grace FROM payments._discrepancy_kinds() k WHERE k.kind = 'unmatched_bank');
	from_match bigint := nextval('payments.bank_match_bank_match_id_seq');
BEGIN
	PERFORM payments._payouts_turn();
	FOR r IN
		SELECT x.* FROM payments._match_rules(_bank) x WHERE x.source = 'bank' ORDER BY x.priority, x.rule
	LOOP
		PERFORM payments._bank_match_rule(_bank, _run, r);
	END LOOP;
	PERFORM payments._bank_post(from_match);
	UPDATE payments.settlement_progress p
	SET posted_at = coalesce(p.posted_at, clock_timestamp()),
		compared_at = coalesce(p.compared_at, clock_timestamp())
	WHERE p.psp = _bank AND (p.posted_at IS NULL OR p.compared_at IS NULL);
	RETURN QUERY SELECT v.* FROM payments._bank_doubts(_bank) v;
	RETURN QUERY SELECT v.* FROM payments._bank_taken_back(_bank) v;
	RETURN QUERY
	SELECT 'unmatched_bank', format('entry %s:%s:%s', e.batch_id, e.statement_no, e.entry_no), e.batch_id,
		NULL::int, e.statement_no, e.entry_no, NULL::text, NULL::uuid, NULL::text,
		coalesce(e.end_to_end_id, e.reference), NULL::bigint, NULL::text, e.left_over, e.currency,
		e.value_date::timestamp AT TIME ZONE 'UTC'
	FROM payments._bank_open(_bank) e
	WHERE e.value_date < (_now - grace)::date AND payments._bank_is_ours(_bank, e.counterparty, e.remittance);
END
$$;
COMMENT ON FUNCTION payments._reconcile_bank(text, bigint, timestamptz) IS 'Internal: matches and posts the entries of a bank account, and returns those that are left.';
