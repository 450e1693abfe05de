-- Statements as they are issued: numbered, chained, cut exactly, and made from
-- the postings again at any time with the same bytes.
--
-- The cut.  posting.booked_at is the clock when the posting was made, and its
-- transaction may commit much later.  So a statement does not hold what was
-- booked before its end, but what was booked before it by transactions below
-- to_xid, the seal horizon at issue: of these none can still commit.  It has
-- all that lies within its cut and not within that of the statement before, and
-- what committed late is in the next one.  Nothing is missing, nothing is in two.

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


-- ---------- issuing ----------

CREATE FUNCTION payments._issue_statement(
	_account bigint, _from_time timestamptz, _to_time timestamptz, _patience interval,
	OUT statement_id bigint, OUT replayed boolean
) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	a payments.account;
	last payments.issued_statement;
	-- Of this account, of its fees and of its disputes.
	fees bigint[] := '{}';
	disputes bigint[] := '{}';
	units int;
	next_number bigint;
	start_xid xid8;
	end_xid xid8;
	opening numeric;
	rules jsonb;
	cut record;
	made record;
BEGIN
	SELECT x.* INTO STRICT a FROM payments.account x WHERE x.account_id = _account;
	SELECT c.exponent INTO units FROM payments.currency c WHERE c.currency = a.currency;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY013',
			MESSAGE = format('currency "%s" does not exist', a.currency),
			HINT = 'Add its row with builtin = false to payments.currency again.';
	END IF;
	-- Who issues for this merchant waits here for whoever does already, and then
	-- sees what that one has issued; above READ COMMITTED it gets 40001.
	INSERT INTO payments.statement_counter (merchant, last_number)
	VALUES (a.merchant, 0)
	ON CONFLICT (merchant) DO NOTHING;
	SELECT c.last_number + 1 INTO STRICT next_number
	FROM payments.statement_counter c
	WHERE c.merchant = a.merchant
	FOR UPDATE;

	SELECT x.* INTO last
	FROM payments.issued_statement x
	WHERE x.account_id = _account AND x.from_time = _from_time AND x.to_time = _to_time;
	IF FOUND THEN
		statement_id := last.statement_id;
		replayed := true;
		RETURN;
	END IF;
	SELECT x.* INTO last
	FROM payments.issued_statement x
	WHERE x.account_id = _account
	ORDER BY x.from_time DESC LIMIT 1;
	IF FOUND AND _from_time <> last.to_time THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY621',
			MESSAGE = CASE
				WHEN _from_time < last.to_time
					THEN format('the period overlaps statement %s of merchant "%s"', last.number, a.merchant)
				ELSE format(
					'the period leaves a gap after statement %s of merchant "%s"', last.number, a.merchant)
			END,
			DETAIL = format('That statement is of %s to %s.', payments._statement_time(last.from_time),
				payments._statement_time(last.to_time)),
			HINT = format(
				'The next one of this account begins at %s.', payments._statement_time(last.to_time));
	END IF;

	IF a.code = 'merchant_balance' THEN
		SELECT coalesce(
			array_agg(x.account_id ORDER BY x.account_id) FILTER (WHERE x.code ~ '^psp_fees(:|$)'), '{}'),
			coalesce(
				array_agg(x.account_id ORDER BY x.account_id) FILTER (WHERE x.code ~ '^dispute_reserve(:|$)'),
				'{}')
		INTO fees, disputes
		FROM payments.account x
		WHERE x.merchant = a.merchant AND x.currency = a.currency AND x.account_id <> _account;
	END IF;
	-- Keeps retirement out from here on.
	PERFORM payments._require_retained(_from_time - interval '1 microsecond');

	IF payments._statement_blocked(ARRAY[_account] || fees || disputes, _to_time, _patience) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY620',
			MESSAGE = 'transactions that began before the end of the period are still open',
			DETAIL = format('Account %s has postings of before %s whose place is not certain yet.', _account,
				payments._statement_time(_to_time)),
			HINT = 'Try again when they have ended; the oldest are first in SELECT pid, xact_start FROM '
				'pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start, and pg_prepared_xacts '
				'may have some.';
	END IF;
	-- A later snapshot has a later horizon: who is below it has ended either way.
	end_xid := payments.seal_horizon();
	start_xid := coalesce(last.to_xid, end_xid);
	IF end_xid < start_xid THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY620',
			MESSAGE = 'transactions that began before the end of the period are still open',
			DETAIL = 'The horizon is before that of the statement before.',
			HINT = 'Try again when they have ended; look at pg_prepared_xacts.';
	END IF;
	opening := coalesce(last.closing_balance, payments._statement_balance(_account, _from_time, end_xid));
	rules := payments._statement_vat_rules(a.merchant);
	SELECT _account AS account_id, _from_time AS from_time, _to_time AS to_time, start_xid AS from_xid,
		end_xid AS to_xid, CASE WHEN last.to_xid IS NULL THEN _from_time ELSE '-infinity' END AS since,
		opening::bigint AS opening_balance, to_jsonb(fees) AS fee_accounts,
		to_jsonb(disputes) AS dispute_accounts, rules AS vat_rules
	INTO cut;

	WITH content AS MATERIALIZED (
		SELECT c.*, sha256(convert_to(payments._statement_line_text(c), 'UTF8')) AS hash
		FROM payments._statement_content(cut) c
	), total AS (
		SELECT c.section, c.kind, c.vat_percent, count(*) AS lines, sum(c.amount) AS amount,
			coalesce(sum(c.amount) FILTER (WHERE c.amount > 0), 0) AS added,
			coalesce(sum(c.amount) FILTER (WHERE c.amount < 0), 0) AS taken, sum(c.net) AS net,
			sum(c.vat) AS vat, sum(c.gross) AS gross
		FROM content c
		GROUP BY c.section, c.kind, c.vat_percent
	)
	SELECT count(*) AS lines, coalesce(sum(c.amount) FILTER (WHERE c.section = 'balance'), 0) AS moved,
		least(min(c.needs), _from_time) AS since, coalesce(max(abs(c.gross)), 0) AS largest,
		string_agg(c.hash, '' ORDER BY c.line) AS hashes,
		(
			SELECT coalesce(
				jsonb_agg(
					jsonb_strip_nulls(to_jsonb(t))
					ORDER BY t.section = 'disputes', t.section COLLATE "C", t.kind COLLATE "C",
						t.vat_percent),
				'[]')
			FROM total t
		) AS totals
	INTO made
	FROM content c;
	IF made.largest > 9223372036854775807 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY205',
			MESSAGE = 'an amount with its VAT does not fit into 64 bits',
			HINT = 'Look at the rows of payments.vat_rule.';
	END IF;
	-- What committed late may have been retired before anybody has stated it.
	IF EXISTS (
		SELECT FROM payments.partition_retired r
		WHERE r.table_name = 'posting' AND r.retired_at >= last.issued_at
	)
		AND payments._statement_balance(_account, _to_time, end_xid) <> opening + made.moved THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY623',
			MESSAGE = format('postings that belong to this statement of account %s are retired', _account),
			DETAIL = format('Its lines come to %s, and the account has %s.', opening + made.moved,
				payments._statement_balance(_account, _to_time, end_xid)),
			HINT = 'Transactions that were committed late were retired before a statement had them; '
				'payments.partition_retired names the tables in which postings were kept.';
	END IF;

	INSERT INTO payments.issued_statement AS i (merchant, number, account_id, account, currency, exponent,
		from_time, to_time, from_xid, to_xid, since, opening_balance, closing_balance, lines, totals,
		fee_accounts, dispute_accounts, vat_rules, parties, issued_at, issued_by, sha256)
	SELECT s.*, payments._statement_hash(payments._statement_head_text(s), made.hashes)
	FROM (
		SELECT a.merchant, next_number AS number, a.account_id, a.code AS account, a.currency,
			units AS exponent, _from_time AS from_time, _to_time AS to_time, start_xid AS from_xid,
			end_xid AS to_xid, made.since, opening::bigint AS opening_balance,
			(opening + made.moved)::bigint AS closing_balance, made.lines, made.totals,
			to_jsonb(fees) AS fee_accounts, to_jsonb(disputes) AS dispute_accounts, rules AS vat_rules,
			payments._statement_parties(a.merchant, a.code) AS parties, now() AS issued_at,
			session_user::text AS issued_by
	) s
	RETURNING i.statement_id INTO statement_id;
	UPDATE payments.statement_counter c SET last_number = next_number WHERE c.merchant = a.merchant;
	replayed := false;
END
$$;
COMMENT ON FUNCTION payments._issue_statement(bigint, timestamptz, timestamptz, interval) IS
'Internal: issues the statement of an account, or finds it. Raises PY013, PY205, PY216, PY620, PY621, PY623, 40001.';

CREATE FUNCTION payments._require_period(_from_time timestamptz, _to_time timestamptz) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF _from_time IS NULL
		OR _to_time IS NULL
		OR NOT isfinite(_from_time)
		OR NOT isfinite(_to_time)
		OR _from_time >= _to_time THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a statement is of a period from one time to a later one',
			HINT = 'Pass from_time and to_time, such as the first of a month and that of the next.';
	END IF;
	IF _to_time > clock_timestamp() THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY625',
			MESSAGE = 'the period is not over yet',
			DETAIL = format('It ends at %s.', payments._statement_time(_to_time)),
			HINT = 'Issue the statement after that; payments.statement() shows an account as it is now.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_period(timestamptz, timestamptz) IS 'Internal: raises 22023 or PY625 unless this is a period that is over.';

CREATE FUNCTION payments.issue_statement(
	merchant text, currency text, from_time timestamptz, to_time timestamptz,
	account text DEFAULT 'merchant_balance'
) RETURNS TABLE (
	statement_id bigint, number bigint, opening_balance bigint, closing_balance bigint, lines bigint,
	replayed boolean
)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
DECLARE
	id bigint;
	made record;
BEGIN
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	PERFORM payments._require_period(issue_statement.from_time, issue_statement.to_time);
	SELECT a.account_id INTO id
	FROM payments.account a
	WHERE a.merchant = issue_statement.merchant
	AND a.currency = issue_statement.currency
	AND a.code = issue_statement.account;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY202',
			MESSAGE = format('merchant "%s" has no account "%s" in currency "%s"', issue_statement.merchant,
				issue_statement.account, issue_statement.currency),
			HINT = 'SELECT code, currency FROM payments.account lists them.';
	END IF;
	-- Transactions of this moment end in a moment.
	SELECT * INTO made
	FROM payments._issue_statement(id, issue_statement.from_time, issue_statement.to_time, interval '2 s');
	RETURN QUERY
	SELECT s.statement_id, s.number, s.opening_balance, s.closing_balance, s.lines, made.replayed
	FROM payments.issued_statement s
	WHERE s.statement_id = made.statement_id;
END
$$;
COMMENT ON FUNCTION payments.issue_statement(text, text, timestamptz, timestamptz, text) IS
'Issues the statement of a merchant in a currency, or of any one of its accounts, for a period that is over: numbered per merchant without gaps, beginning where the account''s last one ended. The same call again gives the same statement (replayed). Amounts are minor units on the account''s normal side. Postings whose transactions were committed too late for one statement are in the next. Errors: 22023, PY013, PY202 (no such account), PY205, PY216 (retired), PY620 (transactions from before the end are still open; waits 2 s for them at READ COMMITTED), PY621 (gap or overlap), PY623, PY625 (not over yet), 40001';

CREATE FUNCTION payments.issue_statements(from_time timestamptz, to_time timestamptz)
	RETURNS TABLE (
		merchant text, account text, currency text, statement_id bigint, number bigint, replayed boolean,
		ok boolean, error text, message text
	)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
DECLARE
	a record;
	id bigint;
	again boolean;
	patience interval := '2 s';
	failed text;
	detail text;
BEGIN
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	PERFORM payments._require_period(issue_statements.from_time, issue_statements.to_time);
	-- In one order, so that two of these do not deadlock.
	FOR a IN
		SELECT x.account_id, x.merchant, x.code, x.currency
		FROM payments.account x
		WHERE (
			x.code = 'merchant_balance'
			OR EXISTS (SELECT FROM payments.issued_statement s WHERE s.account_id = x.account_id)
		)
		AND coalesce(x.closed_at >= issue_statements.from_time, true)
		AND (
			EXISTS (
				SELECT FROM payments.posting p
				WHERE p.debit_account = x.account_id AND p.booked_at < issue_statements.to_time
			)
			OR EXISTS (
				SELECT FROM payments.posting p
				WHERE p.credit_account = x.account_id AND p.booked_at < issue_statements.to_time
			)
			OR EXISTS (SELECT FROM payments.posting_retired r WHERE r.account_id = x.account_id)
		)
		ORDER BY x.merchant COLLATE "C", x.account_id
	LOOP
		id := NULL;
		again := NULL;
		failed := NULL;
		BEGIN
			SELECT m.statement_id, m.replayed INTO id, again
			FROM payments._issue_statement(
				a.account_id, issue_statements.from_time, issue_statements.to_time, patience) m;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			IF sqlstate NOT LIKE 'PY%' THEN
				RAISE;
			END IF;
			failed := sqlstate;
			detail := concat_ws('. ', sqlerrm, nullif(detail, ''));
			-- Once is enough: who holds up one holds up the next.
			patience := '0';
		END;
		RETURN QUERY SELECT a.merchant, a.code, a.currency, id,
			(SELECT s.number FROM payments.issued_statement s WHERE s.statement_id = id), again,
			failed IS NULL, failed, CASE WHEN failed IS NOT NULL THEN detail END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments.issue_statements(timestamptz, timestamptz) IS
'issue_statement() for every merchant_balance with postings, and for every other account that has statements already; those that were closed before the period are left out. A row for each statement, or for each refusal: ok false, its SQLSTATE in error and why in message; the others are issued all the same. Errors: 22023, PY625, 40001';

CREATE FUNCTION payments._job_issue_statements(from_time timestamptz, to_time timestamptz) RETURNS SETOF jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r record;
BEGIN
	FOR r IN
		SELECT i.*
		FROM payments.issue_statements(_job_issue_statements.from_time, _job_issue_statements.to_time) i
	LOOP
		-- The step is undone, and the period stays the job's next.
		IF r.error = 'PY620' THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PY620',
				MESSAGE = format(
					'%s (merchant "%s", account "%s", %s)', r.message, r.merchant, r.account, r.currency),
				HINT = 'The next run of the job tries again, for all merchants; look for old transactions in '
					'pg_stat_activity and pg_prepared_xacts.';
		END IF;
		RETURN NEXT jsonb_build_object('ok', r.ok, 'rows', r.ok::int, 'merchant', r.merchant, 'account',
			r.account, 'currency', r.currency, 'statement_id', r.statement_id, 'number', r.number, 'error',
			r.error, 'message', r.message, 'subject',
			format('no statement for %s %s %s from %s', r.merchant, r.account, r.currency,
				payments._statement_time(_job_issue_statements.from_time)));
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._job_issue_statements(timestamptz, timestamptz) IS
'Internal: issue_statements() as a job of catch_up periods. Refusals are findings, but PY620 is raised: it passes, and the period must not be left behind.';

CREATE FUNCTION payments.set_statement_party(
	party text, name text, lines text[] DEFAULT '{}', merchant text DEFAULT '*', account text DEFAULT '*'
) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	printed text := concat_ws(
		E'\n', set_statement_party.name, array_to_string(set_statement_party.lines, E'\n'), 'end');
BEGIN
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF set_statement_party.merchant <> '*'
		AND NOT EXISTS (SELECT FROM payments.merchant m WHERE m.merchant = set_statement_party.merchant) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY010',
			MESSAGE = format('merchant "%s" does not exist', set_statement_party.merchant),
			HINT = 'Create it with payments.create_merchant(), or pass * for all.';
	END IF;
	IF set_statement_party.party IS NULL
		OR set_statement_party.party NOT IN ('issuer', 'recipient')
		OR set_statement_party.name IS NULL
		OR btrim(set_statement_party.name) = ''
		OR set_statement_party.lines IS NULL
		OR array_ndims(set_statement_party.lines) > 1
		OR array_position(set_statement_party.lines, NULL) IS NOT NULL
		OR set_statement_party.merchant IS NULL
		OR set_statement_party.account IS NULL
		OR octet_length(printed) > 2000 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a party is issuer or recipient, with a name and lines that are not null, of 2000 '
				'bytes together at most',
			HINT = 'Write set_statement_party(''issuer'', ''Shop Ltd'', ARRAY[''1 Main Street'', ''VAT id '
				'IE1234567X'']).';
	END IF;
	IF payments._mask_card_numbers(printed) <> printed THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY009',
			MESSAGE = 'a line looks as if it held a card number',
			HINT = 'Leave card numbers out; write other numbers in groups.';
	END IF;
	INSERT INTO payments.statement_party AS p (merchant, account, party, name, lines, set_at, set_by)
	VALUES (set_statement_party.merchant, set_statement_party.account, set_statement_party.party,
		set_statement_party.name, set_statement_party.lines, now(), session_user)
	ON CONFLICT ON CONSTRAINT statement_party_pkey
	DO UPDATE SET name = excluded.name, lines = excluded.lines, set_at = excluded.set_at,
		set_by = excluded.set_by;
END
$$;
COMMENT ON FUNCTION payments.set_statement_party(text, text, text[], text, text) IS
'Sets who issues statements (party issuer) or gets them (recipient), as they are to be printed on those issued from now on: for all merchants or one, for all accounts or one. Errors: 22023, PY009 (card number), PY010';

-- ---------- reading ----------

-- Every form of a statement comes through here: it is what was issued, or an error.
CREATE FUNCTION payments._statement_hash_of(_statement_id bigint) RETURNS bytea
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	hashes bytea;
BEGIN
	SELECT x.* INTO STRICT s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	SELECT string_agg(sha256(convert_to(payments._statement_line_text(c), 'UTF8')), '' ORDER BY c.line)
	INTO hashes
	FROM payments._statement_content(s) c;
	RETURN payments._statement_hash(payments._statement_head_text(s), hashes);
END
$$;
COMMENT ON FUNCTION payments._statement_hash_of(bigint) IS 'Internal: the hash of a statement as head and postings make it now.';

CREATE FUNCTION payments._require_statement_here(_statement_id bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
BEGIN
	PERFORM payments._require_setup();
	SELECT x.* INTO s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY622',
			MESSAGE = format('statement %s does not exist', coalesce(_statement_id::text, 'null')),
			HINT = 'SELECT statement_id, merchant, number FROM payments.issued_statement lists them.';
	END IF;
	PERFORM payments._require_merchant(s.merchant);
	IF s.since < payments._retired_until('posting') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY623',
			MESSAGE = format('postings of statement %s of merchant "%s" are retired', s.number, s.merchant),
			DETAIL = format('It needs those since %s.', payments._statement_time(s.since)),
			HINT = 'Its head with all totals is in payments.issued_statement; payments.partition_retired '
				'names the tables in which postings were kept. Keep the documents before you retire.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_statement_here(bigint) IS
'Internal: raises PY622 (no such statement), 42501 (of another''s merchant), PY623 (retired).';

-- Every form of a statement comes through here: it is what was issued, or an error.
CREATE FUNCTION payments._require_statement(_statement_id bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
BEGIN
	PERFORM payments._require_statement_here(_statement_id);
	SELECT x.* INTO STRICT s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	IF payments._statement_hash_of(_statement_id) <> s.sha256 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY624',
			MESSAGE = format('statement %s of merchant "%s" is not what was issued', s.number, s.merchant),
			DETAIL = 'Its head and postings do not have the SHA-256 that was kept.',
			HINT = 'Somebody has written around the functions: SELECT * FROM payments.verify(), then compare '
				'with a backup.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_statement(bigint) IS
'Internal: raises PY622 (no such statement), 42501 (of another''s merchant), PY623 (retired), PY624 (it would not be what was issued).';

CREATE FUNCTION payments.verify_statement(statement_id bigint)
	RETURNS TABLE (ok boolean, sha256 text, found text)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
BEGIN
	PERFORM payments._require_statement_here(verify_statement.statement_id);
	RETURN QUERY
	SELECT s.sha256 = h.hash, encode(s.sha256, 'hex'), encode(h.hash, 'hex')
	FROM payments.issued_statement s
	CROSS JOIN LATERAL (SELECT payments._statement_hash_of(s.statement_id) AS hash OFFSET 0) h
	WHERE s.statement_id = verify_statement.statement_id;
END
$$;
COMMENT ON FUNCTION payments.verify_statement(bigint) IS
'Makes a statement from its postings again and compares: sha256 is what was kept at issue, found what it is now, in hex. Errors: PY622, PY623 (retired), 42501';

CREATE FUNCTION payments.statement_lines(statement_id bigint)
	RETURNS TABLE (
		line bigint, section text, booked_at text, late boolean, posting_id bigint, kind text,
		counterpart text, description text, reference text, payment_id uuid, order_ref text, amount bigint,
		balance bigint, vat_percent numeric, net bigint, vat bigint, gross bigint, amount_text text,
		balance_text text
	)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	unit numeric;
BEGIN
	PERFORM payments._require_statement(statement_lines.statement_id);
	SELECT x.* INTO STRICT s
	FROM payments.issued_statement x
	WHERE x.statement_id = statement_lines.statement_id;
	unit := ('1e-' || s.exponent)::numeric;
	RETURN QUERY
	SELECT 0::bigint, 'balance', payments._statement_time(s.from_time), NULL::boolean, NULL::bigint,
		'opening balance', NULL::text, NULL::text, NULL::text, NULL::uuid, NULL::text, NULL::bigint,
		s.opening_balance, NULL::numeric, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text,
		(s.opening_balance * unit)::text || ' ' || s.currency;
	RETURN QUERY
	SELECT c.line, c.section, payments._statement_time(c.booked_at), c.late, c.posting_id, c.kind,
		c.counterpart, c.description, c.reference, c.payment_id, c.order_ref, c.amount::bigint,
		c.balance::bigint, c.vat_percent, c.net::bigint, c.vat::bigint, c.gross::bigint,
		(c.amount * unit)::text || ' ' || s.currency, (c.balance * unit)::text || ' ' || s.currency
	FROM payments._statement_content(s) c;
	RETURN QUERY
	SELECT s.lines + 1, 'balance', payments._statement_time(s.to_time), NULL::boolean, NULL::bigint,
		'closing balance', NULL::text, NULL::text, NULL::text, NULL::uuid, NULL::text, NULL::bigint,
		s.closing_balance, NULL::numeric, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text,
		(s.closing_balance * unit)::text || ' ' || s.currency;
END
$$;
COMMENT ON FUNCTION payments.statement_lines(bigint) IS
'The lines of a statement, the first the opening and the last the closing balance; always the same rows. section balance: what moved the account, amount is what it did to the balance; fees and disputes: of the merchant''s psp_fees and dispute_reserve, in no balance. Minor units; booked_at is text, in UTC; net, vat and gross are null where no vat_rule fits; late: booked before the period, committed after the statement before. Errors: PY622, PY623 (retired), PY624 (not what was issued), 42501';

CREATE FUNCTION payments.statement_json(statement_id bigint) RETURNS json
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	body text;
BEGIN
	PERFORM payments._require_statement(statement_json.statement_id);
	SELECT x.* INTO STRICT s
	FROM payments.issued_statement x
	WHERE x.statement_id = statement_json.statement_id;
	SELECT string_agg(payments._statement_line_text(c), E',\n' ORDER BY c.line) INTO body
	FROM payments._statement_content(s) c;
	-- The very texts that are hashed, each on a line of its own.
	RETURN format(E'{"statement":\n%s,\n"lines": [%s],\n"sha256": "%s"}',
		payments._statement_head_text(s), E'\n' || body || E'\n', encode(s.sha256, 'hex'))::json;
END
$$;
COMMENT ON FUNCTION payments.statement_json(bigint) IS
'A statement as JSON: statement (its head), lines and sha256; amounts are minor units, times are in UTC. Always the same bytes; docs/statements.md says how they are hashed. Errors: PY622, PY623 (retired), PY624 (not what was issued), 42501';

-- ---------- check() ----------

CREATE FUNCTION payments._check_statements()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
DECLARE
	retired timestamptz := coalesce(
		(SELECT max(r.to_time) FROM payments.partition_retired r WHERE r.table_name = 'posting'),
		'-infinity');
BEGIN
	RETURN QUERY
	SELECT 'statements are numbered without gaps, and each begins where the one before ended', count(*) = 0,
		count(*), min(x.sample)
	FROM (
		SELECT format('merchant %s: statement %s comes after %s', n.merchant, n.number, n.before) AS sample
		FROM (
			SELECT s.merchant, s.number,
				lag(s.number, 1, 0::bigint) OVER (PARTITION BY s.merchant ORDER BY s.number) AS before
			FROM payments.issued_statement s
		) n
		WHERE n.number <> n.before + 1
		UNION ALL
		SELECT format('merchant %s: the counter is at %s', coalesce(c.merchant, m.merchant), c.last_number)
		FROM payments.statement_counter c
		FULL JOIN (
			SELECT s.merchant, max(s.number) AS last FROM payments.issued_statement s GROUP BY s.merchant
		) m USING (merchant)
		WHERE c.last_number IS DISTINCT FROM coalesce(m.last, 0)
		UNION ALL
		SELECT format('statement %s of merchant %s does not follow the one before of account %s', n.number,
			n.merchant, n.account)
		FROM (
			SELECT s.*, lag(s.to_time) OVER w AS end_before, lag(s.to_xid) OVER w AS xid_before,
				lag(s.closing_balance) OVER w AS closing_before
			FROM payments.issued_statement s
			WINDOW w AS (PARTITION BY s.account_id ORDER BY s.from_time)
		) n
		WHERE (
			n.end_before IS NOT NULL
			AND (n.from_time, n.from_xid, n.opening_balance) IS DISTINCT FROM (n.end_before, n.xid_before,
				n.closing_before)
		)
		OR (n.end_before IS NULL AND n.from_xid <> n.to_xid)
	) x;

	-- Each by its own postings, and the last one of an account by all that the
	-- account ever had up to its cut: so nothing is missing between them either.
	RETURN QUERY
	SELECT 'a statement is what its postings make', count(*) = 0, count(*),
		min(format('statement %s of merchant %s: %s', x.number, x.merchant, x.why))
	FROM (
		SELECT s.number, s.merchant,
			format('%s lines, postings make %s; closing balance %s, postings make %s', s.lines, m.lines,
				s.closing_balance, s.opening_balance + m.moved) AS why
		FROM payments.issued_statement s
		JOIN payments.account a ON a.account_id = s.account_id
		CROSS JOIN LATERAL (
			SELECT count(*) AS lines,
				coalesce(sum(l.moved) FILTER (WHERE l.account_id = s.account_id), 0)
					* CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END AS moved
			FROM (
				SELECT p.debit_account AS account_id, p.amount::numeric AS moved
				FROM payments.posting p
				WHERE p.debit_account = ANY (
					s.account_id || payments._statement_ids(s.fee_accounts || s.dispute_accounts))
				AND p.booked_at >= s.since
				AND p.booked_at < s.to_time
				AND p.xid < s.to_xid
				AND NOT (p.booked_at < s.from_time AND p.xid < s.from_xid)
				UNION ALL
				SELECT p.credit_account, - p.amount::numeric
				FROM payments.posting p
				WHERE p.credit_account = ANY (
					s.account_id || payments._statement_ids(s.fee_accounts || s.dispute_accounts))
				AND p.booked_at >= s.since
				AND p.booked_at < s.to_time
				AND p.xid < s.to_xid
				AND NOT (p.booked_at < s.from_time AND p.xid < s.from_xid)
			) l
		) m
		WHERE s.since >= retired AND (m.lines <> s.lines OR s.opening_balance + m.moved <> s.closing_balance)
		UNION ALL
		SELECT s.number, s.merchant,
			format('closing balance %s, the account had %s', s.closing_balance, b.balance)
		FROM (
			SELECT DISTINCT ON (i.account_id) i.*
			FROM payments.issued_statement i
			ORDER BY i.account_id, i.from_time DESC
		) s
		CROSS JOIN LATERAL payments._statement_balance(s.account_id, s.to_time, s.to_xid) b (balance)
		WHERE s.to_time >= retired AND s.closing_balance IS DISTINCT FROM b.balance
	) x;
END
$$;
COMMENT ON FUNCTION payments._check_statements() IS 'Internal: the invariants of statements, for check(). The hashes are left to verify_statement().';
