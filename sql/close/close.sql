-- Closing periods.
--
-- A period is cut by a time and a transaction number: a posting is below the
-- cut if it was booked before to_time by a transaction below to_xid.  Time
-- alone would not do, as a transaction that posted before the end may commit
-- after the close.  to_xid is seal_horizon() when the period is closed: nothing
-- below it can still commit, whoever commits later is above.  A period is what
-- is below its cut and not below the one before, so what commits late is in the
-- next period, once.  A posting that is there, was booked in time and is not
-- below the horizon, because something older runs still, would be left out of
-- a close that could have it: PY630, try again.
--
-- Locks.  The merchants' rows, in order of names: two closes come one behind
-- the other, and postings that say when they take effect (src/ledger/period.c)
-- before or behind both.  No others are kept waiting.  partition_retired keeps
-- retirement out, so that the months of a period are here or are all gone.

CREATE FUNCTION payments._close_header(
	_merchant text, _number int, _from_time timestamptz, _to_time timestamptz, _to_xid xid8, _postings bigint,
	_previous bytea
) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT format(
		E'payments close 1\nmerchant %s\nnumber %s\nfrom %s\nto %s\nto_xid %s\npostings %s\nprevious %s\n',
		to_json(_merchant), _number,
		coalesce(to_char(_from_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '-'),
		to_char(_to_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), _to_xid, _postings,
		coalesce(encode(_previous, 'hex'), '-'))
$$;
COMMENT ON FUNCTION payments._close_header(text, int, timestamptz, timestamptz, xid8, bigint, bytea) IS
'Internal: the first lines of the text whose SHA-256 a close has; previous: that of the close before.';

-- STABLE would do for to_json(text); it depends on the text alone.
CREATE FUNCTION payments._close_line(
	_account_id bigint, _type text, _currency text, _code text, _opening bigint, _debits bigint,
	_credits bigint, _closing bigint
) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE AS $$
	SELECT pg_catalog.concat_ws(' ', 'account', _account_id, _type, _currency, _opening, _debits, _credits,
		_closing, pg_catalog.to_json(_code))
		|| E'\n'
$$;
COMMENT ON FUNCTION payments._close_line(bigint, text, text, text, bigint, bigint, bigint, bigint) IS 'Internal: an account in the text whose SHA-256 a close has.';

CREATE FUNCTION payments._close_sha256(_merchant text, _number int) RETURNS bytea
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT sha256(convert_to(
		payments._close_header(c.merchant, c.number, c.from_time, c.to_time, c.to_xid, c.postings, p.sha256)
			|| coalesce(b.lines, ''),
		'UTF8'))
	FROM payments.period_close c
	LEFT JOIN payments.period_close p ON p.merchant = c.merchant AND p.number = c.number - 1
	CROSS JOIN LATERAL (
		SELECT string_agg(
			payments._close_line(
				b.account_id, a.type, a.currency, a.code, b.opening, b.debits, b.credits, b.closing),
			'' ORDER BY b.account_id) AS lines
		FROM payments.period_balance b
		LEFT JOIN payments.account a ON a.account_id = b.account_id
		WHERE b.merchant = c.merchant AND b.number = c.number
	) b
	WHERE c.merchant = _merchant AND c.number = _number
$$;
COMMENT ON FUNCTION payments._close_sha256(text, int) IS 'Internal: what period_close.sha256 must be, by the rows that are there.';

-- Two reads: the months of the periods, and of older ones what committed late,
-- which the BRIN index on xid finds.
CREATE FUNCTION payments._close_legs(
	_merchants text[], _from_times timestamptz[], _from_xids xid8[], _to_times timestamptz[], _to_xids xid8[]
) RETURNS TABLE (
	account_id bigint, debits numeric, credits numeric, postings bigint, late bigint, backdated bigint,
	outside numeric
)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan ROWS 1000 AS $$
DECLARE
	since timestamptz := (SELECT min(coalesce(t, '-infinity')) FROM unnest(_from_times) t);
	since_xid xid8 := (SELECT coalesce(x, '0') FROM unnest(_from_xids) x ORDER BY x NULLS FIRST LIMIT 1);
	until timestamptz := (SELECT max(t) FROM unnest(_to_times) t);
	until_xid xid8 := (SELECT x FROM unnest(_to_xids) x ORDER BY x DESC LIMIT 1);
BEGIN
	RETURN QUERY
	SELECT s.account_id, sum(s.debit), sum(s.credit), sum(s.counted),
		coalesce(sum(s.counted) FILTER (WHERE p.booked_at < k.from_time), 0),
		coalesce(sum(s.counted) FILTER (WHERE p.effective_at < k.from_time), 0),
		coalesce(sum(s.debit - s.credit) FILTER (WHERE d.merchant <> c.merchant), 0)
	FROM (
		SELECT o.debit_account, o.credit_account, o.amount, o.booked_at, o.effective_at, o.xid
		FROM payments.posting o
		WHERE o.booked_at >= since AND o.booked_at < until AND o.xid < until_xid
		UNION ALL
		SELECT o.debit_account, o.credit_account, o.amount, o.booked_at, o.effective_at, o.xid
		FROM payments.posting o
		WHERE o.booked_at < since AND o.xid >= since_xid AND o.xid < until_xid
	) p
	JOIN payments.account d ON d.account_id = p.debit_account
	JOIN payments.account c ON c.account_id = p.credit_account
	-- A posting between two accounts of a merchant is counted once.
	CROSS JOIN LATERAL (
		VALUES (d.account_id, d.merchant, p.amount, 0::bigint, 1::int),
			(c.account_id, c.merchant, 0, p.amount, (d.merchant <> c.merchant)::int)
	) s(account_id, merchant, debit, credit, counted)
	JOIN unnest(
		_merchants, _from_times, _from_xids, _to_times, _to_xids)
		k(merchant, from_time, from_xid, to_time, to_xid) ON k.merchant = s.merchant
	WHERE p.booked_at < k.to_time
	AND p.xid < k.to_xid
	AND (k.from_time IS NULL OR p.booked_at >= k.from_time OR p.xid >= k.from_xid)
	GROUP BY s.account_id;
END
$$;
COMMENT ON FUNCTION payments._close_legs(text[], timestamptz[], xid8[], timestamptz[], xid8[]) IS
'Internal: what postings between two cuts (time and xid; null: from the beginning) come to for each account of these merchants. late: booked before from_time; backdated: take effect before it; outside: debits less credits with another merchant on the other side.';

-- Of all merchants each is locked only when that is at once possible, or soon: one
-- whose open transaction posts with an earlier time keeps no other from being closed.
CREATE FUNCTION payments._close_lock(_merchant text) RETURNS text[]
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
	all_names text[];
	names text[];
BEGIN
	LOCK TABLE ONLY payments.partition_retired IN ROW EXCLUSIVE MODE;
	IF _merchant IS NOT NULL THEN
		PERFORM FROM payments.merchant m WHERE m.merchant = _merchant FOR NO KEY UPDATE;
		RETURN CASE WHEN FOUND THEN ARRAY[_merchant] END;
	END IF;
	all_names := ARRAY(
		SELECT m.merchant
		FROM payments.merchant m
		WHERE EXISTS (SELECT FROM payments.account a WHERE a.merchant = m.merchant)
	);
	FOR try IN 1 .. 25 LOOP
		SELECT array_agg(x.merchant) INTO names
		FROM (
			SELECT m.merchant
			FROM payments.merchant m
			WHERE m.merchant = ANY (all_names) FOR NO KEY UPDATE SKIP LOCKED
		) x;
		EXIT WHEN cardinality(all_names) = coalesce(cardinality(names), 0);
		PERFORM pg_sleep(0.2);
	END LOOP;
	IF cardinality(all_names) > coalesce(cardinality(names), 0) THEN
		RAISE WARNING 'not closed, since another session posts with an earlier time or closes a period: %',
			(
				SELECT string_agg(format('"%s"', n.name), ', ' ORDER BY n.name)
				FROM unnest(all_names) n (name)
				WHERE n.name <> ALL (coalesce(names, '{}'))
			)
			USING ERRCODE = 'PY630', DETAIL = 'Waited five seconds for its lock.',
				HINT = 'The others are closed. Try again when its transaction has ended.';
	END IF;
	RETURN names;
EXCEPTION WHEN lock_not_available THEN
	RAISE EXCEPTION USING
		ERRCODE = 'PY630',
		MESSAGE = 'another session posts with an earlier time, closes a period, or retires postings',
		DETAIL = 'Waited five seconds for its lock.',
		HINT = 'Nothing was closed. Try again when its transaction has ended.';
END
$$;
COMMENT ON FUNCTION payments._close_lock(text) IS
'Internal: locks a merchant, or of all that have accounts those that nobody keeps locked for five seconds, against postings that say when they take effect and against other closes; returns their names. Warns of those that it has left out. Raises PY630.';

CREATE FUNCTION payments._close_write(_merchants text[], _to_time timestamptz, _to_xid xid8, _by text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
BEGIN
	WITH last AS MATERIALIZED (
		SELECT m.merchant, coalesce(c.number, 0) AS number, c.to_time, c.to_xid, c.sha256
		FROM unnest(_merchants) m(merchant)
		LEFT JOIN LATERAL (
			SELECT x.*
			FROM payments.period_close x
			WHERE x.merchant = m.merchant
			ORDER BY x.number DESC LIMIT 1
		) c ON true
	), legs AS (
		SELECT g.*
		FROM (
			SELECT array_agg(l.merchant) AS merchants, array_agg(l.to_time) AS from_times,
				array_agg(l.to_xid) AS from_xids, array_agg(_to_time) AS to_times,
				array_agg(_to_xid) AS to_xids
			FROM last l
		) k
		CROSS JOIN LATERAL payments._close_legs(
			k.merchants, k.from_times, k.from_xids, k.to_times, k.to_xids) g
	), balance AS MATERIALIZED (
		SELECT a.merchant, l.number + 1 AS number, a.account_id, a.type, a.currency, a.code,
			o.opening::bigint AS opening, coalesce(g.debits, 0)::bigint AS debits,
			coalesce(g.credits, 0)::bigint AS credits,
			(o.opening
				+ CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END
					* (coalesce(g.debits, 0) - coalesce(g.credits, 0)))::bigint AS closing,
			coalesce(g.postings, 0) AS postings, coalesce(g.late, 0) AS late,
			coalesce(g.backdated, 0) AS backdated, coalesce(g.outside, 0) AS outside
		FROM last l
		JOIN payments.account a ON a.merchant = l.merchant
		LEFT JOIN legs g ON g.account_id = a.account_id
		LEFT JOIN payments.period_balance b
			ON b.merchant = l.merchant AND b.number = l.number AND b.account_id = a.account_id
		LEFT JOIN (
			SELECT r.account_id, sum(r.debits) - sum(r.credits) AS net
			FROM payments.posting_retired r
			GROUP BY r.account_id
		) r ON r.account_id = a.account_id AND l.number = 0
		CROSS JOIN LATERAL (
			SELECT coalesce(
				b.closing, CASE WHEN a.type IN ('asset', 'expense') THEN r.net ELSE - r.net END, 0) AS opening
		) o
		WHERE g.account_id IS NOT NULL OR o.opening <> 0
	), balances AS (
		INSERT INTO payments.period_balance (merchant, number, account_id, opening, debits, credits, closing)
		SELECT b.merchant, b.number, b.account_id, b.opening, b.debits, b.credits, b.closing
		FROM balance b
	), totals AS (
		SELECT c.merchant, sum(c.postings) AS postings, sum(c.late) AS late, sum(c.backdated) AS backdated,
			jsonb_object_agg(c.currency, c.debits) AS debits,
			jsonb_object_agg(c.currency, c.credits) AS credits,
			coalesce(jsonb_object_agg(c.currency, c.outside) FILTER (WHERE c.outside <> 0), '{}') AS outside
		FROM (
			SELECT b.merchant, b.currency, sum(b.postings) AS postings, sum(b.late) AS late,
				sum(b.backdated) AS backdated, sum(b.debits) AS debits, sum(b.credits) AS credits,
				sum(b.outside) AS outside
			FROM balance b
			GROUP BY b.merchant, b.currency
		) c
		GROUP BY c.merchant
	), lines AS (
		SELECT b.merchant,
			string_agg(
				payments._close_line(
					b.account_id, b.type, b.currency, b.code, b.opening, b.debits, b.credits, b.closing),
				'' ORDER BY b.account_id) AS lines
		FROM balance b
		GROUP BY b.merchant
	)
	INSERT INTO payments.period_close (merchant, number, from_time, to_time, to_xid, postings, late,
		backdated, debits, credits, outside, sha256, closed_at, closed_by)
	SELECT l.merchant, l.number + 1, l.to_time, _to_time, _to_xid, coalesce(t.postings, 0),
		coalesce(t.late, 0), coalesce(t.backdated, 0), coalesce(t.debits, '{}'), coalesce(t.credits, '{}'),
		coalesce(t.outside, '{}'),
		sha256(convert_to(
			payments._close_header(l.merchant, l.number + 1, l.to_time, _to_time, _to_xid,
				coalesce(t.postings, 0)::bigint, l.sha256)
				|| coalesce(x.lines, ''),
			'UTF8')),
		clock_timestamp(), _by
	FROM last l
	LEFT JOIN totals t ON t.merchant = l.merchant
	LEFT JOIN lines x ON x.merchant = l.merchant
	ORDER BY l.merchant;
	UPDATE payments.merchant m SET closed_until = _to_time WHERE m.merchant = ANY (_merchants);
END
$$;
COMMENT ON FUNCTION payments._close_write(text[], timestamptz, xid8, text) IS 'Internal: writes the next close of each of these merchants, in one pass over their postings.';

-- One whose books do not fit into a close, or that something else is wrong with,
-- must not keep all others open.
CREATE FUNCTION payments._close_write_each(_merchants text[], _to_time timestamptz, _to_xid xid8, _by text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text;
BEGIN
	BEGIN
		PERFORM payments._close_write(_merchants, _to_time, _to_xid, _by);
		RETURN;
	EXCEPTION WHEN OTHERS THEN
		IF payments._is_no_fault(sqlstate) THEN
			RAISE;
		END IF;
	END;
	FOREACH name IN ARRAY _merchants LOOP
		BEGIN
			PERFORM payments._close_write(ARRAY[name], _to_time, _to_xid, _by);
		EXCEPTION WHEN OTHERS THEN
			IF payments._is_no_fault(sqlstate) THEN
				RAISE;
			END IF;
			RAISE WARNING 'merchant "%" cannot be closed: %', name, sqlerrm
				USING ERRCODE = sqlstate,
					HINT = 'The others are; close_period() of this merchant alone says more.';
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._close_write_each(text[], timestamptz, xid8, text) IS 'Internal: _close_write() for all at once, or if one cannot be closed, for each by itself; of those that cannot, a warning.';

CREATE FUNCTION payments.close_period(to_time timestamptz, merchant text DEFAULT NULL)
	RETURNS TABLE (
		merchant_name text, number int, from_time timestamptz, closed_until timestamptz, postings bigint,
		late bigint, sha256 text, repeated boolean
	)
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp ROWS 10 AS $$
DECLARE
	names text[];
	fresh text[];
	beyond record;
	waiting bigint;
	horizon xid8;
	who text := payments._caller();
BEGIN
	PERFORM payments._refuse_card_numbers('merchant', close_period.merchant);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF close_period.to_time IS NULL
		OR close_period.to_time = '-infinity'
		OR close_period.to_time > clock_timestamp() THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'to_time must be a time that has come',
			HINT = 'A period can be closed when it is over, such as close_period(''2026-11-01 00:00:00+00'') '
				'for October.';
	END IF;
	names := payments._close_lock(close_period.merchant);
	IF names IS NULL THEN
		IF close_period.merchant IS NULL THEN
			RETURN;
		END IF;
		RAISE EXCEPTION USING
			ERRCODE = 'PY010',
			MESSAGE = format('merchant "%s" does not exist', close_period.merchant),
			HINT = 'SELECT merchant FROM payments.merchant lists them.';
	END IF;
	SELECT c.merchant, c.to_time INTO beyond
	FROM payments.period_close c
	WHERE c.merchant = close_period.merchant
	AND c.to_time > close_period.to_time
	AND NOT EXISTS (
		SELECT FROM payments.period_close o WHERE o.merchant = c.merchant AND o.to_time = close_period.to_time
	)
	ORDER BY c.number DESC LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY631',
			MESSAGE = format(
				'merchant "%s" is closed beyond that time, up to %s', beyond.merchant, beyond.to_time),
			HINT = 'Periods follow one another: close a later time.';
	END IF;
	-- Of all merchants, those that somebody has closed further by hand are closed.
	SELECT array_agg(n.name ORDER BY n.name) INTO fresh
	FROM unnest(names) n (name)
	WHERE NOT EXISTS (
		SELECT FROM payments.period_close c WHERE c.merchant = n.name AND c.to_time >= close_period.to_time
	);
	IF fresh IS NOT NULL THEN
		PERFORM payments._require_retained(close_period.to_time - interval '1 microsecond');
		-- Most transactions end soon.  Above READ COMMITTED the snapshot stands still.
		FOR try IN 1 .. 10 LOOP
			horizon := payments.seal_horizon();
			SELECT p.posting_id INTO waiting
			FROM payments.posting p
			CROSS JOIN LATERAL (VALUES (p.debit_account), (p.credit_account)) s(account_id)
			JOIN payments.account a ON a.account_id = s.account_id AND a.merchant = ANY (fresh)
			WHERE p.xid >= horizon AND p.booked_at < close_period.to_time
			-- What nobody can have written is waited for in vain; check() tells of it.
			AND p.xid < payments._seal_limit()
			LIMIT 1;
			EXIT WHEN waiting IS NULL
				OR current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted');
			PERFORM pg_sleep(0.2);
		END LOOP;
		IF waiting IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PY630',
				MESSAGE = format(
					'posting %s was booked in the period, and transactions older than it still run', waiting),
				DETAIL = 'What else they have booked in the period cannot be seen yet.',
				HINT = 'Nothing was closed. Try again when they have ended; pg_stat_activity and '
					'pg_prepared_xacts show them.';
		END IF;
		IF close_period.merchant IS NULL THEN
			PERFORM payments._close_write_each(fresh, close_period.to_time, horizon, who);
		ELSE
			PERFORM payments._close_write(fresh, close_period.to_time, horizon, who);
		END IF;
	END IF;
	RETURN QUERY
	SELECT c.merchant, c.number, c.from_time, c.to_time, c.postings, c.late, encode(c.sha256, 'hex'),
		c.merchant <> ALL (coalesce(fresh, '{}'))
	FROM payments.period_close c
	WHERE c.merchant = ANY (names) AND c.to_time = close_period.to_time
	ORDER BY c.merchant;
END
$$;
COMMENT ON FUNCTION payments.close_period(timestamptz, text) IS
'Closes the books of a merchant, or of all that have accounts, up to a time: writes what each account came to, and from then on no posting takes effect before that time (PY218). Returns a row for each close; the same call again returns the same, repeated. A period begins where the last one ended; late counts postings that were booked before that and committed after it. Of all merchants, one that cannot be closed is left out with a warning. Merchants that are closed beyond that time are left out, or, if one is named, refused. Raises PY630 (try again: transactions still run that may have booked in the period), PY631 (closed beyond), PY216 (its months are retired), PY010, 22023.';

CREATE FUNCTION payments._job_close(from_time timestamptz, to_time timestamptz) RETURNS SETOF jsonb
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN NEXT (
		SELECT to_jsonb(count(*)) FROM payments.close_period(_job_close.to_time) c WHERE NOT c.repeated
	);
	RETURN QUERY
	SELECT jsonb_build_object('ok', false, 'rows', 0, 'merchant', m.merchant,
		'subject', format('merchant %s is not closed', m.merchant), 'to_time', _job_close.to_time)
	FROM payments.merchant m
	WHERE EXISTS (SELECT FROM payments.account a WHERE a.merchant = m.merchant)
	AND NOT EXISTS (
		SELECT FROM payments.period_close c
		WHERE c.merchant = m.merchant AND c.to_time >= _job_close.to_time
	);
END
$$;
COMMENT ON FUNCTION payments._job_close(timestamptz, timestamptz) IS 'Internal: close_period() of all merchants for the job close_month; how many it closed, and a finding for each that it could not. An error leaves the month to the next run.';

-- ---------- looking back ----------

CREATE FUNCTION payments._require_close(_merchant text, _number int) RETURNS int
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	found int;
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_merchant(_merchant);
	SELECT x.number INTO found
	FROM payments.period_close x
	WHERE x.merchant = _merchant AND x.number = coalesce(_number, x.number)
	ORDER BY x.number DESC LIMIT 1;
	IF found IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY632',
			MESSAGE = format('merchant "%s" has no close%s', _merchant, ' ' || _number),
			HINT = 'SELECT merchant, number, to_time FROM payments.period_close lists them; close_period() '
				'makes one.';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION payments._require_close(text, int) IS 'Internal: the number of a close, without one that of the last. Raises PY632, PY010, 42501.';

CREATE FUNCTION payments._close_retired(_merchant text, _number int) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- What is left of a retired month is its sums.  They are those of a period
	-- that covers it whole, when none of its postings was late for this period or for a later one.
	SELECT CASE
		-- A late one was booked in a month before the period.
		WHEN NOT EXISTS (
			SELECT FROM payments.partition_retired r
			WHERE r.table_name = 'posting'
			AND r.from_time < c.to_time
			AND (c.from_time IS NULL OR r.to_time > c.from_time OR c.late > 0)
			AND (c.number > 1 OR r.retired_at > c.closed_at)
		)
			THEN 'no'
		WHEN c.late = 0
			AND NOT EXISTS (
				SELECT FROM payments.period_close l
				WHERE l.merchant = c.merchant AND l.number > c.number AND l.late > 0
			)
			AND NOT EXISTS (
				SELECT FROM payments.partition_retired r
				WHERE r.table_name = 'posting'
				AND r.from_time < c.to_time
				AND (c.from_time IS NULL OR r.to_time > c.from_time)
				AND (r.from_time < c.from_time OR r.to_time > c.to_time)
			)
			THEN 'whole'
		ELSE 'partly'
	END
	FROM payments.period_close c
	WHERE c.merchant = _merchant AND c.number = _number
$$;
COMMENT ON FUNCTION payments._close_retired(text, int) IS
'Internal: have postings of a period been retired since? no; whole: months of which the sums that were kept are the period''s; partly: months that cannot be told apart from other periods.';

CREATE FUNCTION payments.verify_close(merchant text, number int DEFAULT NULL)
	RETURNS TABLE (subject text, ok boolean, violations bigint, detail text)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp ROWS 5 AS $$
DECLARE
	c payments.period_close;
	p payments.period_close;
	retired text;
	counted bigint;
	n bigint;
	s text;
BEGIN
	PERFORM payments._refuse_card_numbers('merchant', verify_close.merchant);
	verify_close.number := payments._require_close(verify_close.merchant, verify_close.number);
	SELECT x.* INTO STRICT c
	FROM payments.period_close x
	WHERE x.merchant = verify_close.merchant AND x.number = verify_close.number;
	PERFORM payments._require_snapshot();
	retired := payments._close_retired(c.merchant, c.number);
	SELECT x.* INTO p FROM payments.period_close x WHERE x.merchant = c.merchant AND x.number = c.number - 1;
	n := (c.sha256 IS DISTINCT FROM payments._close_sha256(c.merchant, c.number))::int;
	RETURN QUERY SELECT 'its SHA-256 is that of the trial balance', n = 0, n, encode(c.sha256, 'hex');

	SELECT count(*),
		min(format('account %s: opened with %s, closed with %s before', x.account_id, x.opening, x.closing))
	INTO n, s
	FROM (
		SELECT coalesce(b.account_id, o.account_id) AS account_id, coalesce(b.opening, 0) AS opening,
			coalesce(o.closing, 0) AS closing
		FROM (
			SELECT x.* FROM payments.period_balance x WHERE x.merchant = c.merchant AND x.number = c.number
		) b
		FULL JOIN (
			SELECT x.account_id, x.closing
			FROM payments.period_balance x
			WHERE x.merchant = c.merchant AND x.number = c.number - 1
			UNION ALL
			SELECT r.account_id,
				sum(
					CASE
						WHEN a.type IN ('asset', 'expense') THEN r.debits - r.credits
						ELSE r.credits - r.debits
					END)
			FROM payments.posting_retired r
			JOIN payments.partition_retired q
				ON q.table_name = 'posting' AND q.from_time = r.from_time AND q.retired_at <= c.closed_at
			JOIN payments.account a ON a.account_id = r.account_id AND a.merchant = c.merchant
			WHERE c.number = 1
			GROUP BY r.account_id
		) o ON o.account_id = b.account_id
	) x
	WHERE x.opening <> x.closing;
	n := n + (c.from_time IS DISTINCT FROM p.to_time)::int;
	RETURN QUERY SELECT 'it begins where the close before ended', n = 0, n, s;

	SELECT count(*), min(format('account %s', b.account_id)) INTO n, s
	FROM payments.period_balance b
	LEFT JOIN payments.account a ON a.account_id = b.account_id
	WHERE b.merchant = c.merchant
	AND b.number = c.number
	AND (
		a.merchant IS DISTINCT FROM c.merchant
		OR b.closing <> b.opening::numeric
			+ CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END * (b.debits::numeric - b.credits)
	);
	SELECT n + count(*) INTO n
	FROM (
		SELECT a.currency, sum(b.debits) AS debits, sum(b.credits) AS credits
		FROM payments.period_balance b
		JOIN payments.account a ON a.account_id = b.account_id
		WHERE b.merchant = c.merchant AND b.number = c.number
		GROUP BY a.currency
	) t
	FULL JOIN jsonb_each_text(c.debits) e ON e.key = t.currency
	WHERE (t.debits, t.credits, t.debits - t.credits) IS DISTINCT FROM (e.value::numeric,
		(c.credits ->> e.key)::numeric, coalesce((c.outside ->> e.key)::numeric, 0));
	RETURN QUERY SELECT 'its sums add up', n = 0, n, s;

	IF retired = 'partly' THEN
		RETURN QUERY
		SELECT 'it is what its postings make', NULL::boolean, NULL::bigint,
			'cannot be told any more: months of it are retired, and their sums are not those of the period '
				'alone; payments.partition_retired names the tables in which the postings were kept';
		RETURN;
	END IF;
	WITH legs AS MATERIALIZED (
		SELECT g.*
		FROM payments._close_legs(
			ARRAY[c.merchant], ARRAY[p.to_time], ARRAY[p.to_xid], ARRAY[c.to_time], ARRAY[c.to_xid]) g
	)
	SELECT count(*),
		min(format('account %s: debits %s but postings %s, credits %s but postings %s', x.account_id,
			x.debits, x.posted_debits, x.credits, x.posted_credits)),
		coalesce((SELECT sum(g.postings) FROM legs g), 0)
	INTO n, s, counted
	FROM (
		SELECT l.account_id, sum(l.debits) AS debits, sum(l.credits) AS credits,
			sum(l.posted_debits) AS posted_debits, sum(l.posted_credits) AS posted_credits
		FROM (
			SELECT b.account_id, b.debits, b.credits, 0 AS posted_debits, 0 AS posted_credits
			FROM payments.period_balance b
			WHERE b.merchant = c.merchant AND b.number = c.number
			UNION ALL
			SELECT g.account_id, 0, 0, g.debits, g.credits
			FROM legs g
			UNION ALL
			SELECT r.account_id, 0, 0, r.debits, r.credits
			FROM payments.posting_retired r
			JOIN payments.account a ON a.account_id = r.account_id AND a.merchant = c.merchant
			JOIN payments.partition_retired q ON q.table_name = 'posting' AND q.from_time = r.from_time
			WHERE retired = 'whole'
			AND q.from_time < c.to_time
			AND (c.from_time IS NULL OR q.to_time > c.from_time)
			AND (c.number > 1 OR q.retired_at > c.closed_at)
		) l
		GROUP BY l.account_id
		HAVING sum(l.debits) <> sum(l.posted_debits) OR sum(l.credits) <> sum(l.posted_credits)
	) x;
	IF retired = 'no' AND counted <> c.postings THEN
		n := n + 1;
		s := concat_ws('; ', s, format('%s postings but %s are there', c.postings, counted));
	END IF;
	RETURN QUERY SELECT 'it is what its postings make', n = 0, n, coalesce(s, CASE retired
		WHEN 'whole' THEN 'months of it are retired: compared with the sums that were kept of them'
		ELSE format('%s postings', c.postings) END);
END
$$;
COMMENT ON FUNCTION payments.verify_close(text, int) IS
'Computes a close of a merchant, without a number the last one, from its postings and compares: a row for each thing that must hold, whether it does, and what does not. Of months that were retired since, the sums that were kept are compared; where those are not of this period alone, ok is null and detail says so. Raises PY632 (no such close), PY010, 42501, 40001.';

-- ---------- check() ----------

-- What an account has today, less what came behind the cut, is what it had at
-- the cut: so only the postings of the open period are read.
CREATE FUNCTION payments._check_close()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
DECLARE
	since timestamptz;
	since_xid xid8;
	n bigint;
	s text;
BEGIN
	SELECT min(m.closed_until),
		(
			SELECT c.to_xid
			FROM payments.period_close c
			WHERE NOT EXISTS (
				SELECT FROM payments.period_close n WHERE n.merchant = c.merchant AND n.number > c.number
			)
			ORDER BY c.to_xid LIMIT 1
		)
	INTO since, since_xid
	FROM (SELECT max(c.to_time) AS closed_until FROM payments.period_close c GROUP BY c.merchant) m;

	SELECT count(*),
		min(format('account %s: closed with %s, but postings make %s', x.account_id, x.closing, x.balance))
	INTO n, s
	FROM (
		SELECT l.account_id, sum(l.closing) AS closing, sum(l.balance) AS balance
		FROM (
			SELECT b.account_id, b.closing::numeric AS closing, 0::numeric AS balance
			FROM (
				SELECT DISTINCT ON (c.merchant) c.merchant, c.number
				FROM payments.period_close c
				ORDER BY c.merchant, c.number DESC
			) c
			JOIN payments.period_balance b ON b.merchant = c.merchant AND b.number = c.number
			UNION ALL
			SELECT a.account_id, 0, CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END * t.net
			FROM (SELECT DISTINCT c.merchant FROM payments.period_close c) m
			JOIN payments.account a ON a.merchant = m.merchant
			JOIN (
				SELECT o.account_id, o.debits::numeric - o.credits AS net
				FROM payments.account o
				UNION ALL
				SELECT d.account_id, d.debits::numeric - d.credits
				FROM payments._account_tail d
			) t ON t.account_id = a.account_id
			UNION ALL
			SELECT a.account_id, 0,
				CASE WHEN a.type IN ('asset', 'expense') THEN -1 ELSE 1 END * v.net::numeric
			FROM (
				SELECT o.debit_account, o.credit_account, o.amount, o.booked_at, o.xid
				FROM payments.posting o
				WHERE o.booked_at >= since
				UNION ALL
				SELECT o.debit_account, o.credit_account, o.amount, o.booked_at, o.xid
				FROM payments.posting o
				WHERE o.booked_at < since AND o.xid >= since_xid
			) p
			CROSS JOIN LATERAL (
				VALUES (p.debit_account, p.amount), (p.credit_account, - p.amount)
			) v(account_id, net)
			JOIN payments.account a ON a.account_id = v.account_id
			JOIN (
				SELECT DISTINCT ON (c.merchant) c.merchant, c.to_time, c.to_xid
				FROM payments.period_close c
				ORDER BY c.merchant, c.number DESC
			) c ON c.merchant = a.merchant
			WHERE p.booked_at >= c.to_time OR p.xid >= c.to_xid
		) l
		GROUP BY l.account_id
		HAVING sum(l.closing) <> sum(l.balance)
	) x;
	RETURN QUERY SELECT * FROM payments._violation('a closed period is what its postings make', n, s);

	SELECT count(*), min(x.what) INTO n, s
	FROM (
		SELECT format('merchant %s, close %s', c.merchant, c.number) AS what
		FROM (
			SELECT q.*, lag(q.number, 1, 0) OVER w AS last_number, lag(q.to_time) OVER w AS last_time,
				lag(q.to_xid, 1, '0'::xid8) OVER w AS last_xid
			FROM payments.period_close q
			WINDOW w AS (PARTITION BY q.merchant ORDER BY q.number)
		) c
		WHERE c.number <> c.last_number + 1
		OR c.from_time IS DISTINCT FROM c.last_time
		OR c.to_xid < c.last_xid
		UNION ALL
		SELECT format('merchant %s: closed until %s, its last close %s', coalesce(m.merchant, c.merchant),
			m.closed_until, c.to_time)
		FROM payments.merchant m
		FULL JOIN (
			SELECT q.merchant, max(q.to_time) AS to_time FROM payments.period_close q GROUP BY q.merchant
		) c ON c.merchant = m.merchant
		-- A restore of data alone leaves it null, and the closes themselves hold: ledger/period.c.
		WHERE m.merchant IS NULL OR m.closed_until <> coalesce(c.to_time, '-infinity')
		UNION ALL
		SELECT format('account %s, close %s: opened with %s, closed with %s before',
			coalesce(b.account_id, o.account_id), coalesce(b.number, o.number + 1), b.opening, o.closing)
		FROM payments.period_balance b
		FULL JOIN (
			SELECT q.*
			FROM payments.period_balance q
			WHERE EXISTS (
				SELECT FROM payments.period_close c WHERE c.merchant = q.merchant AND c.number = q.number + 1
			)
		) o ON o.merchant = b.merchant AND o.number = b.number - 1 AND o.account_id = b.account_id
		WHERE coalesce(b.opening, 0) <> coalesce(o.closing, 0) AND coalesce(b.number, 0) <> 1
		UNION ALL
		SELECT format('account %s, close %s: %s and %s is not %s', b.account_id, b.number, b.opening,
			b.debits::numeric - b.credits, b.closing)
		FROM payments.period_balance b
		LEFT JOIN payments.account a ON a.account_id = b.account_id
		WHERE a.merchant IS DISTINCT FROM b.merchant
		OR b.closing <> b.opening::numeric
			+ CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END * (b.debits::numeric - b.credits)
	) x;
	RETURN QUERY
	SELECT *
	FROM payments._violation('closes follow one another, and each opens as the one before closed', n, s);

	-- Not those that were there when it was closed; the clock alone could be wrong.
	SELECT count(*), min(format('posting %s takes effect %s', p.posting_id, p.effective_at)) INTO n, s
	FROM payments.posting p
	CROSS JOIN LATERAL (VALUES (p.debit_account), (p.credit_account)) v(account_id)
	JOIN payments.account a ON a.account_id = v.account_id
	JOIN (
		SELECT DISTINCT ON (q.merchant) q.* FROM payments.period_close q ORDER BY q.merchant, q.number DESC
	) c ON c.merchant = a.merchant
	WHERE p.booked_at >= since
	AND p.effective_at < p.booked_at
	AND p.effective_at < c.to_time
	AND p.booked_at > c.closed_at
	AND p.xid > c.xid;
	RETURN QUERY
	SELECT * FROM payments._violation('nothing takes effect in a closed period after its close', n, s);

	SELECT count(*), min(x.what) INTO n, s
	FROM (
		SELECT format('merchant %s, close %s: sums of %s', coalesce(t.merchant, c.merchant),
			coalesce(t.number, c.number), coalesce(t.currency, c.currency)) AS what
		FROM (
			SELECT b.merchant, b.number, a.currency, sum(b.debits) AS debits, sum(b.credits) AS credits
			FROM payments.period_balance b
			JOIN payments.account a ON a.account_id = b.account_id
			GROUP BY b.merchant, b.number, a.currency
		) t
		FULL JOIN (
			SELECT q.merchant, q.number, e.key AS currency, e.value::numeric AS debits,
				(q.credits ->> e.key)::numeric AS credits,
				coalesce((q.outside ->> e.key)::numeric, 0) AS outside
			FROM payments.period_close q
			CROSS JOIN LATERAL jsonb_each_text(q.debits) e
		) c ON c.merchant = t.merchant AND c.number = t.number AND c.currency = t.currency
		WHERE (t.debits, t.credits, t.debits - t.credits) IS DISTINCT FROM (c.debits, c.credits, c.outside)
		UNION ALL
		SELECT format('merchant %s, close %s: SHA-256', c.merchant, c.number)
		FROM (
			SELECT DISTINCT ON (q.merchant) q.*
			FROM payments.period_close q
			ORDER BY q.merchant, q.number DESC
		) c
		LEFT JOIN payments.period_close p ON p.merchant = c.merchant AND p.number = c.number - 1
		LEFT JOIN (
			SELECT b.merchant, b.number,
				string_agg(
					payments._close_line(
						b.account_id, a.type, a.currency, a.code, b.opening, b.debits, b.credits, b.closing),
					'' ORDER BY b.account_id) AS lines
			FROM payments.period_balance b
			JOIN (
				SELECT q.merchant, max(q.number) AS number FROM payments.period_close q GROUP BY q.merchant
			) m ON m.merchant = b.merchant AND m.number = b.number
			LEFT JOIN payments.account a ON a.account_id = b.account_id
			GROUP BY b.merchant, b.number
		) l ON l.merchant = c.merchant AND l.number = c.number
		WHERE c.sha256 <> sha256(convert_to(
			payments._close_header(
				c.merchant, c.number, c.from_time, c.to_time, c.to_xid, c.postings, p.sha256)
				|| coalesce(l.lines, ''),
			'UTF8'))
	) x;
	RETURN QUERY
	SELECT * FROM payments._violation('a close balances, and the last one has its SHA-256', n, s);
END
$$;
COMMENT ON FUNCTION payments._check_close() IS 'Internal: the invariants of closed periods, for check().';
