-- What a statement consists of: its lines, its head and its hash, made from the
-- postings again at any time with the same bytes.

CREATE FUNCTION payments._statement_time(_at timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT to_char(_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
COMMENT ON FUNCTION payments._statement_time(timestamptz) IS 'Internal: a time as statements write it, in UTC, whatever the settings.';

-- Half a unit rounds away from zero.  With whole numbers and div(), which are
-- exact: a quotient of numeric would be rounded twice.
CREATE FUNCTION payments._vat_of(_amount numeric, _percent numeric, _included boolean) RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT sign(_amount)
		* CASE
			WHEN _included THEN div(2 * abs(_amount) * _percent + 100 + _percent, 2 * (100 + _percent))
			ELSE div(2 * abs(_amount) * _percent + 100, 200)
		END
$$;
COMMENT ON FUNCTION payments._vat_of(numeric, numeric, boolean) IS
'Internal: the VAT in an amount, or with included false on it, in whole minor units, half a unit rounded away from zero.';

CREATE FUNCTION payments._statement_ids(_ids jsonb) RETURNS bigint[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT ARRAY(SELECT e::bigint FROM jsonb_array_elements_text(_ids) WITH ORDINALITY x (e, n) ORDER BY n)
$$;
COMMENT ON FUNCTION payments._statement_ids(jsonb) IS 'Internal: ids from their list; a sealed column is of a type whose bytes depend on nothing else.';

CREATE TYPE payments._statement_line AS (
	line bigint,
	section text,
	posting_id bigint,
	booked_at timestamptz,
	late boolean,
	kind text,
	counterpart text,
	description text,
	reference text,
	payment_id uuid,
	order_ref text,
	amount numeric,
	balance numeric,
	vat_percent numeric,
	net numeric,
	vat numeric,
	gross numeric,
	needs timestamptz
);
COMMENT ON TYPE payments._statement_line IS 'Internal: a line as it is hashed and printed; needs: the earliest booked_at of the postings that it is made of.';
ALTER TYPE payments._statement_line OWNER TO payments_owner;
REVOKE ALL ON TYPE payments._statement_line FROM PUBLIC;

-- A statement is a row of issued_statement here and below, or one like it: that
-- is no type yet when the extension is created.
CREATE FUNCTION payments._statement_content(_statement record) RETURNS SETOF payments._statement_line
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
BEGIN
	-- Custom plans: where late postings may be, the planner sees by the values,
	-- and goes to the few that there are by the index on xid.
	RETURN QUERY
	WITH a AS (
		SELECT 1 AS part, 'balance' AS section, _statement.account_id AS account_id
		UNION ALL
		SELECT 2, 'fees', unnest(payments._statement_ids(_statement.fee_accounts))
		UNION ALL
		SELECT 3, 'disputes', unnest(payments._statement_ids(_statement.dispute_accounts))
	), posted AS (
		SELECT a.part, a.section, a.account_id, p.credit_account AS other, p.amount::numeric AS moved, p.*
		FROM a
		JOIN payments.posting p ON p.debit_account = a.account_id
		WHERE p.booked_at >= _statement.from_time
		AND p.booked_at < _statement.to_time
		AND p.xid < _statement.to_xid
		UNION ALL
		SELECT a.part, a.section, a.account_id, p.debit_account, - p.amount::numeric, p.*
		FROM a
		JOIN payments.posting p ON p.credit_account = a.account_id
		WHERE p.booked_at >= _statement.from_time
		AND p.booked_at < _statement.to_time
		AND p.xid < _statement.to_xid
		UNION ALL
		-- Booked before the period, committed after the statement before.
		SELECT a.part, a.section, a.account_id, p.credit_account, p.amount::numeric, p.*
		FROM a
		JOIN payments.posting p ON p.debit_account = a.account_id
		WHERE p.booked_at >= _statement.since
		AND p.booked_at < _statement.from_time
		AND p.xid >= _statement.from_xid
		AND p.xid < _statement.to_xid
		UNION ALL
		SELECT a.part, a.section, a.account_id, p.debit_account, - p.amount::numeric, p.*
		FROM a
		JOIN payments.posting p ON p.credit_account = a.account_id
		WHERE p.booked_at >= _statement.since
		AND p.booked_at < _statement.from_time
		AND p.xid >= _statement.from_xid
		AND p.xid < _statement.to_xid
	), listed AS (
		SELECT row_number() OVER (ORDER BY l.part, l.booked_at, l.posting_id, l.account_id) AS line, l.*,
			CASE WHEN o.merchant = m.merchant THEN o.code ELSE o.merchant || '/' || o.code END AS counterpart,
			pay.order_ref, CASE WHEN m.type IN ('asset', 'expense') THEN l.moved ELSE - l.moved END AS effect,
			r.booked_at AS original_at, v.percent, v.included,
			CASE
				WHEN v.percent IS NOT NULL
					THEN payments._vat_of(
						CASE WHEN m.type IN ('asset', 'expense') THEN l.moved ELSE - l.moved END, v.percent,
						v.included)
			END AS vat
		FROM posted l
		JOIN payments.account m ON m.account_id = l.account_id
		LEFT JOIN payments.account o ON o.account_id = l.other
		LEFT JOIN payments.payment pay ON pay.payment_id = l.payment_id AND pay.merchant = m.merchant
		LEFT JOIN LATERAL (
			SELECT q.kind, q.booked_at, q.effective_at
			FROM payments.posting q
			WHERE l.reverses IS NOT NULL AND q.posting_id = l.reverses
			LIMIT 1
		) r ON true
		LEFT JOIN LATERAL (
			SELECT (e.rule ->> 'percent')::numeric AS percent, (e.rule ->> 'included')::boolean AS included
			FROM jsonb_array_elements(_statement.vat_rules) WITH ORDINALITY e (rule, n)
			WHERE e.rule ->> 'kind' = coalesce(r.kind, l.kind)
			AND coalesce(
				(e.rule ->> 'valid_from')::timestamptz <= coalesce(r.effective_at, l.effective_at), true)
			AND coalesce(
				(e.rule ->> 'valid_to')::timestamptz > coalesce(r.effective_at, l.effective_at), true)
			ORDER BY e.n LIMIT 1
		) v ON true
	)
	SELECT l.line, l.section, l.posting_id, l.booked_at, l.booked_at < _statement.from_time, l.kind,
		l.counterpart, l.description, l.reference, l.payment_id, l.order_ref, l.effect,
		CASE
			WHEN l.part = 1
				THEN _statement.opening_balance
					+ sum(l.effect) OVER (PARTITION BY l.part ORDER BY l.line ROWS UNBOUNDED PRECEDING)
		END,
		l.percent, CASE WHEN l.included THEN l.effect - l.vat WHEN NOT l.included THEN l.effect END, l.vat,
		CASE WHEN l.included THEN l.effect WHEN NOT l.included THEN l.effect + l.vat END,
		least(l.booked_at, l.original_at)
	FROM listed l
	ORDER BY l.line;
END
$$;
COMMENT ON FUNCTION payments._statement_content(record) IS
'Internal: the lines between two cuts, in their order, with amounts in minor units. Of postings from before from_time it looks at those since a time only. needs: the earliest posting that the line is made of.';

-- Without SET search_path it is part of the query that calls it, which halves what a line costs.
CREATE FUNCTION payments._statement_line_text(_line payments._statement_line) RETURNS text
	LANGUAGE sql STABLE AS $$
	SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.to_jsonb(_line) - 'needs' || pg_catalog.jsonb_build_object(
		'booked_at', payments._statement_time(_line.booked_at), 'late', nullif(_line.late, false)))::text
$$;
COMMENT ON FUNCTION payments._statement_line_text(payments._statement_line) IS
'Internal: a line as the text that is hashed and that statement_json() shows.';

CREATE FUNCTION payments._statement_head_text(_statement record) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN jsonb_build_object(
		'merchant', _statement.merchant,
		'number', _statement.number,
		'account', _statement.account,
		'currency', _statement.currency,
		'exponent', _statement.exponent,
		'from_time', payments._statement_time(_statement.from_time),
		'to_time', payments._statement_time(_statement.to_time),
		'from_xid', _statement.from_xid::text,
		'to_xid', _statement.to_xid::text,
		'opening_balance', _statement.opening_balance,
		'closing_balance', _statement.closing_balance,
		'lines', _statement.lines,
		'totals', _statement.totals,
		'vat_rules', _statement.vat_rules,
		'parties', _statement.parties,
		'issued_at', payments._statement_time(_statement.issued_at),
		'issued_by', _statement.issued_by)::text;
END
$$;
COMMENT ON FUNCTION payments._statement_head_text(record) IS
'Internal: the head of a statement as the text that is hashed and that statement_json() shows.';

CREATE FUNCTION payments._statement_hash(_head text, _line_hashes bytea) RETURNS bytea
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT sha256(sha256(convert_to(_head, 'UTF8')) || coalesce(_line_hashes, ''))
$$;
COMMENT ON FUNCTION payments._statement_hash(text, bytea) IS
'Internal: SHA-256 over the SHA-256 of the head and those of the lines, one behind the other.';

-- Everything of an account up to a cut, also what was retired: those postings
-- were sealed, so that every horizon since is above them.
CREATE FUNCTION payments._statement_balance(_account bigint, _to_time timestamptz, _to_xid xid8)
	RETURNS numeric
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN a.type IN ('asset', 'expense') THEN n.net ELSE - n.net END
	FROM payments.account a
	CROSS JOIN LATERAL (
		SELECT (
			SELECT coalesce(sum(p.amount), 0)
			FROM payments.posting p
			WHERE p.debit_account = _account AND p.booked_at < _to_time AND p.xid < _to_xid
		)
			- (
				SELECT coalesce(sum(p.amount), 0)
				FROM payments.posting p
				WHERE p.credit_account = _account AND p.booked_at < _to_time AND p.xid < _to_xid
			)
			+ (
				SELECT coalesce(sum(r.debits::numeric - r.credits), 0)
				FROM payments.posting_retired r
				WHERE r.account_id = _account
			) AS net
	) n
	WHERE a.account_id = _account
$$;
COMMENT ON FUNCTION payments._statement_balance(bigint, timestamptz, xid8) IS
'Internal: balance of an account at a cut, minor units on the normal side; to_time is not before what was retired.';

CREATE FUNCTION payments._statement_blocked(_accounts bigint[], _to_time timestamptz, _patience interval)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
DECLARE
	deadline timestamptz := clock_timestamp() + _patience;
	horizon xid8;
BEGIN
	-- Each turn sees a new snapshot, at READ COMMITTED; above it one turn says all.
	FOR turn IN 1 .. 1000 LOOP
		horizon := payments.seal_horizon();
		IF NOT EXISTS (
			SELECT FROM payments.posting p
			WHERE p.debit_account = ANY (_accounts) AND p.booked_at < _to_time AND p.xid >= horizon
		)
			AND NOT EXISTS (
				SELECT FROM payments.posting p
				WHERE p.credit_account = ANY (_accounts) AND p.booked_at < _to_time AND p.xid >= horizon
			) THEN
			RETURN false;
		END IF;
		EXIT WHEN clock_timestamp() >= deadline
			OR current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted');
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN true;
END
$$;
COMMENT ON FUNCTION payments._statement_blocked(bigint[], timestamptz, interval) IS
'Internal: are there committed postings of before a time whose transactions are not below the horizon yet? Waits for the horizon so long.';

CREATE FUNCTION payments._statement_parties(_merchant text, _account text) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(jsonb_object_agg(x.party, jsonb_build_object('name', x.name, 'lines', x.lines)), '{}')
	FROM (
		SELECT DISTINCT ON (p.party) p.party, p.name, p.lines
		FROM payments.statement_party p
		WHERE p.merchant IN ('*', _merchant) AND p.account IN ('*', _account)
		ORDER BY p.party, p.account = '*', p.merchant = '*'
	) x
$$;
COMMENT ON FUNCTION payments._statement_parties(text, text) IS 'Internal: the letterhead of a statement: a row for the account wins, then one for the merchant.';

CREATE FUNCTION payments._statement_vat_rules(_merchant text) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		jsonb_agg(
			jsonb_build_object('kind', v.kind, 'percent', trim_scale(v.percent), 'included', v.included,
				'valid_from',
				CASE WHEN isfinite(v.valid_from) THEN payments._statement_time(v.valid_from) END, 'valid_to',
				CASE WHEN isfinite(v.valid_to) THEN payments._statement_time(v.valid_to) END)
			ORDER BY v.kind COLLATE "C", v.merchant = '*', v.valid_from DESC),
		'[]')
	FROM payments.vat_rule v
	WHERE v.merchant IN ('*', _merchant)
$$;
COMMENT ON FUNCTION payments._statement_vat_rules(text) IS 'Internal: the rules of VAT for a merchant; of one kind the first that fits counts.';
