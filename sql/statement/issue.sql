-- Statements as they are issued: numbered, chained and cut exactly.
--
-- The cut.  posting.booked_at is the clock when the posting was made, and its
-- transaction may commit much later.  So a statement does not hold what was
-- booked before its end, but what was booked before it by transactions below
-- to_xid, the seal horizon at issue: of these none can still commit.  It has
-- all that lies within its cut and not within that of the statement before, and
-- what committed late is in the next one.  Nothing is missing, nothing is in two.

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
			payments._caller()::text AS issued_by
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
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
DECLARE
	id bigint;
	made record;
BEGIN
	PERFORM payments._refuse_card_numbers(
		'merchant', issue_statement.merchant, 'currency', issue_statement.currency,
		'account', issue_statement.account);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	PERFORM payments._require_period(issue_statement.from_time, issue_statement.to_time);
	SELECT a.account_id INTO id
	FROM payments.account a
	WHERE a.merchant = issue_statement.merchant
	AND a.currency = issue_statement.currency
	AND a.code = issue_statement.account
	ORDER BY a.from_template DESC LIMIT 1;
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
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp
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
			-- Of this account, whatever it is; the others get theirs.
			IF payments._is_no_fault(sqlstate) THEN
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
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	printed text := concat_ws(
		E'\n', set_statement_party.name, array_to_string(set_statement_party.lines, E'\n'));
BEGIN
	PERFORM payments._refuse_card_numbers(
		'party', set_statement_party.party, 'name', set_statement_party.name,
		'lines', set_statement_party.lines, 'merchant', set_statement_party.merchant,
		'account', set_statement_party.account);
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
	INSERT INTO payments.statement_party AS p (merchant, account, party, name, lines, set_at, set_by)
	VALUES (set_statement_party.merchant, set_statement_party.account, set_statement_party.party,
		set_statement_party.name, set_statement_party.lines, now(), payments._caller())
	ON CONFLICT ON CONSTRAINT statement_party_pkey
	DO UPDATE SET name = excluded.name, lines = excluded.lines, set_at = excluded.set_at,
		set_by = excluded.set_by;
END
$$;
COMMENT ON FUNCTION payments.set_statement_party(text, text, text[], text, text) IS
'Sets who issues statements (party issuer) or gets them (recipient), as they are to be printed on those issued from now on: for all merchants or one, for all accounts or one. Errors: 22023, PY009 (card number), PY010';
