-- Retention: whole partitions are taken out, what they come to stays.

CREATE FUNCTION payments._still_needed(
	_table_name text, _from_time timestamptz, _to_time timestamptz, _changed_before timestamptz
) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id text;
BEGIN
	CASE _table_name
		WHEN 'posting' THEN
			SELECT r.hold_id INTO id
			FROM payments.ledger_hold_resolution r
			WHERE r.resolved_at >= _from_time
			AND r.resolved_at < _to_time
			AND r.kind = 'post'
			AND NOT EXISTS (
				SELECT FROM payments.ledger_hold_resolution l WHERE l.hold_id = r.hold_id AND l.remaining = 0
			)
			ORDER BY r.hold_id LIMIT 1;
			IF id IS NOT NULL THEN
				RETURN 'hold ' || id
					|| ' was posted in part and is still open: post the rest of it, or void it';
			END IF;
			-- Of a merchant who closes periods, it must be told which one a posting is in.
			SELECT c.merchant INTO id
			FROM payments.period_close c
			GROUP BY c.merchant
			HAVING max(c.to_time) < _to_time
			ORDER BY c.merchant LIMIT 1;
			IF id IS NOT NULL THEN
				RETURN format('merchant "%s" has not closed it: SELECT payments.close_period(%L, %L)', id,
					_to_time, id);
			END IF;
			SELECT p.posting_id INTO id
			FROM payments.posting p
			CROSS JOIN LATERAL (VALUES (p.debit_account), (p.credit_account)) s(account_id)
			JOIN payments.account a ON a.account_id = s.account_id
			JOIN (
				SELECT DISTINCT ON (x.merchant) x.merchant, x.to_xid
				FROM payments.period_close x
				ORDER BY x.merchant, x.number DESC
			) c ON c.merchant = a.merchant
			WHERE p.booked_at >= _from_time
			AND p.booked_at < _to_time
			AND p.xid >= c.to_xid
			AND p.xid >= (SELECT x.to_xid FROM payments.period_close x ORDER BY x.to_xid LIMIT 1)
			LIMIT 1;
			IF id IS NOT NULL THEN
				RETURN 'posting ' || id || ' committed after the close: close the next period';
			END IF;
			SELECT format('merchant "%s", account "%s"', s.merchant, s.account) INTO id
			FROM (
				SELECT DISTINCT ON (i.account_id) i.*
				FROM payments.issued_statement i
				ORDER BY i.account_id, i.from_time DESC
			) s
			CROSS JOIN LATERAL unnest(
				s.account_id || payments._statement_ids(s.fee_accounts || s.dispute_accounts)) a (account_id)
			WHERE s.to_time > _from_time
			AND (
				EXISTS (
					SELECT FROM payments.posting p
					WHERE p.debit_account = a.account_id
					AND p.booked_at >= _from_time
					AND p.booked_at < least(_to_time, s.to_time)
					AND p.xid >= s.to_xid
				)
				OR EXISTS (
					SELECT FROM payments.posting p
					WHERE p.credit_account = a.account_id
					AND p.booked_at >= _from_time
					AND p.booked_at < least(_to_time, s.to_time)
					AND p.xid >= s.to_xid
				)
			)
			ORDER BY 1 LIMIT 1;
			RETURN 'it has postings that were committed after their statement, and are in none yet: issue '
				'the next one of '
				|| id;
		WHEN 'payment_status' THEN
			SELECT p.payment_id INTO id
			FROM payments.payment p
			WHERE p.payment_id >= payments._uuid_of(_from_time)
			AND p.payment_id < payments._uuid_of(_to_time)
			AND (
				p.updated_at > _changed_before
				OR p.status NOT IN ('succeeded', 'failed', 'cancelled', 'expired', 'partially_refunded',
					'refunded')
				OR EXISTS (
					SELECT FROM payments.operation o
					WHERE o.payment_id = p.payment_id AND o.status NOT IN ('succeeded', 'failed', 'cancelled')
				)
			)
			LIMIT 1;
			RETURN 'payment ' || id || ' is not over, or has changed since';
		ELSE
			RETURN NULL;
	END CASE;
END
$$;
COMMENT ON FUNCTION payments._still_needed(text, timestamptz, timestamptz, timestamptz) IS 'Internal: why a partition cannot be retired; null when it can.';

CREATE FUNCTION payments._unsealed(_partition text) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	unsealed boolean := false;
BEGIN
	IF to_regclass('payments.seal') IS NOT NULL THEN
		EXECUTE format(
			'SELECT EXISTS (
				SELECT FROM payments.%I p
				WHERE p.xid >= coalesce(
					(SELECT s.to_xid FROM payments.seal s ORDER BY s.block DESC LIMIT 1), ''0'')
			)',
			_partition)
		INTO unsealed;
	END IF;
	RETURN CASE WHEN unsealed THEN 'it has rows that are not sealed yet: SELECT payments.seal_blocks()' END;
END
$$;
COMMENT ON FUNCTION payments._unsealed(text) IS 'Internal: why a partition cannot be retired as far as sealing goes; null when it can.';

-- A view, a foreign key or a column of its row type needs no right to what is in it.
CREATE FUNCTION payments._in_the_way(_partition text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT min(pg_describe_object(d.classid, d.objid, d.objsubid))
		|| ' depends on it: drop that, or keep the partition (keep => true)'
	FROM pg_class c
	JOIN pg_type t ON t.oid = c.reltype
	JOIN pg_depend d
		ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
		OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
	WHERE c.oid = to_regclass(format('payments.%I', _partition))
	AND d.deptype = 'n'
	-- Its own go with it.
	AND d.classid <> ALL (ARRAY['pg_policy', 'pg_trigger']::regclass[])
$$;
COMMENT ON FUNCTION payments._in_the_way(text) IS 'Internal: why a partition cannot be dropped as far as others'' objects go; null when it can.';

CREATE FUNCTION payments._retire_rows(
	_table_name text, _partition text, _from_time timestamptz, _to_time timestamptz, _keep boolean, _by text
) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on AS $$
DECLARE
	r record;
BEGIN
	CASE _table_name
		WHEN 'posting' THEN
			EXECUTE format(
				'INSERT INTO payments.posting_retired (account_id, from_time, debits, credits, postings)
				SELECT s.account_id, $1, sum(s.debit), sum(s.credit), count(*)
				FROM payments.%I p
				CROSS JOIN LATERAL (
					VALUES (p.debit_account, p.amount, 0), (p.credit_account, 0, p.amount)
				) s(account_id, debit, credit)
				GROUP BY s.account_id', _partition)
			USING _from_time;
			EXECUTE format(
				'SELECT coalesce(sum(c.rows), 0)::bigint AS rows, max(c.last_id) AS last_id,
					coalesce(sum(c.refs), 0)::bigint AS refs,
					coalesce(
						jsonb_object_agg(c.currency, c.amount) FILTER (WHERE c.currency IS NOT NULL), ''{}''
					) AS amounts
				FROM (
					SELECT p.currency, count(*) AS rows, max(p.posting_id) AS last_id,
						count(p.reference) AS refs, sum(p.amount) AS amount
					FROM payments.%I p
					GROUP BY p.currency
				) c',
				_partition)
			INTO r;
		WHEN 'payment_status' THEN
			EXECUTE format(
				'INSERT INTO payments.payment_retired (payment_id, from_time, seq, status, hash)
				SELECT DISTINCT ON (s.payment_id) s.payment_id, $1, s.seq, s.status, s.hash
				FROM payments.%I s
				ORDER BY s.payment_id, s.seq DESC',
				_partition)
			USING _from_time;
			EXECUTE format(
				'SELECT count(*) AS rows, NULL::bigint AS last_id, NULL::bigint AS refs,
					NULL::jsonb AS amounts
				FROM payments.%I',
				_partition)
			INTO r;
		ELSE
			EXECUTE format(
				'SELECT count(*) AS rows, NULL::bigint AS last_id, NULL::bigint AS refs,
					NULL::jsonb AS amounts
				FROM payments.%I',
				_partition)
			INTO r;
	END CASE;
	INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, kept_as, rows, last_id,
		refs, amounts, retired_at, retired_by)
	VALUES (_table_name, _from_time, _to_time, _partition, CASE WHEN _keep THEN 'retired_' || _partition END,
		r.rows, r.last_id, r.refs, r.amounts, clock_timestamp(), _by);
	RETURN r.rows;
END
$$;
COMMENT ON FUNCTION payments._retire_rows(text, text, timestamptz, timestamptz, boolean, text) IS
'Internal: writes down what the rows of a partition come to, which nobody can write into meanwhile; returns their number.';

-- Postings wait from the lock to the commit, so this comes last.  Whoever
-- waits for such a lock keeps others waiting: give up soon, let them through,
-- try again.
CREATE FUNCTION payments._detach_partitions(_table_name text, _partitions text[], _keep boolean) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
	p text;
	locked boolean := false;
	in_the_way text;
BEGIN
	FOR try IN 1 .. 20 LOOP
		BEGIN
			EXECUTE format('LOCK TABLE ONLY payments.%I, ONLY payments.%I IN ACCESS EXCLUSIVE MODE',
				_table_name, _table_name || '_default');
			FOREACH p IN ARRAY _partitions LOOP
				EXECUTE format('LOCK TABLE ONLY payments.%I IN ACCESS EXCLUSIVE MODE', p);
			END LOOP;
			locked := true;
			EXIT;
		EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
			PERFORM pg_sleep(0.3);
		END;
	END LOOP;
	IF NOT locked THEN
		RAISE EXCEPTION USING
			ERRCODE = '55P03',
			MESSAGE = format('could not lock table "payments.%s" to take partitions out of it', _table_name),
			HINT = 'A long transaction is reading it: pg_dump, check(), or a report. Nothing was retired; '
				'try again when it is over.';
	END IF;
	FOREACH p IN ARRAY _partitions LOOP
		EXECUTE format('ALTER TABLE payments.%I DETACH PARTITION payments.%I', _table_name, p);
		IF _keep THEN
			EXECUTE format('DROP TRIGGER guard_truncate ON payments.%I', p);
			EXECUTE format('ALTER TABLE payments.%I RENAME TO %I', p, 'retired_' || p);
		ELSE
			EXECUTE format('DROP TABLE payments.%I', p);
		END IF;
	END LOOP;
EXCEPTION WHEN dependent_objects_still_exist THEN
	GET STACKED DIAGNOSTICS in_the_way = PG_EXCEPTION_DETAIL;
	RAISE EXCEPTION USING
		ERRCODE = '2BP01',
		MESSAGE = format(
			'partition "payments.%s" cannot be dropped: %s', p, split_part(in_the_way, E'\n', 1)),
		DETAIL = in_the_way,
		HINT = 'Nothing was retired. Drop that, or keep the partition: keep => true.';
END
$$;
COMMENT ON FUNCTION payments._detach_partitions(text, text[], boolean) IS 'Internal: takes partitions out of their table, as soon as it can be locked.';

CREATE FUNCTION payments._retire_partitions(
	_table_name text, _older_than interval, _keep boolean, _check_first boolean, _by text
) RETURNS TABLE (
	partition text, from_time timestamptz, to_time timestamptz, rows bigint, kept_as text, refused text
)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on
	SET client_min_messages = warning AS $$
DECLARE
	p record;
	reason text;
	gone text[] := '{}';
BEGIN
	IF NOT EXISTS (
		SELECT FROM payments._tables() t WHERE t.name = _table_name AND t.partition_key IS NOT NULL
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'table_name does not name a partitioned table',
			HINT = (
				SELECT 'Partitioned are ' || string_agg(t.name, ', ') || '.'
				FROM payments._tables() t
				WHERE t.partition_key IS NOT NULL
			);
	END IF;
	IF _older_than IS NULL OR _older_than < interval '1 month' OR _keep IS NULL OR _check_first IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'older_than must be a month at least, keep and check_first must not be null',
			HINT = 'For example retire_partitions(''event'', older_than => ''1 year'').';
	END IF;
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE EXCEPTION USING
			ERRCODE = '25001',
			MESSAGE = format(
				'cannot retire partitions at isolation level "%s"', current_setting('transaction_isolation')),
			DETAIL = 'The snapshot may be older than the last rows.',
			HINT = 'Call it at READ COMMITTED.';
	END IF;
	-- One at a time, of all tables, since check() reads them all; and no partition
	-- is made meanwhile.  Posting goes on.
	IF NOT payments._lock_partitioning('partition_retired') OR NOT payments._lock_partitioning(_table_name)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = '55P03',
			MESSAGE = 'another session makes or retires partitions',
			HINT = 'Try again when its transaction has ended.';
	END IF;
	IF NOT EXISTS (
		SELECT FROM payments._partitions() q
		WHERE q.table_name = _table_name AND q.to_time <= now() - _older_than
	) THEN
		RETURN;
	END IF;
	-- What is forgotten must have been right.
	IF _check_first AND EXISTS (SELECT FROM payments.check() c WHERE NOT c.ok) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY217',
			MESSAGE = 'check() finds violations, so nothing is retired',
			DETAIL = (SELECT string_agg(c.invariant, '; ') FROM payments.check() c WHERE NOT c.ok),
			HINT = 'Clear them up while the rows are here: SELECT * FROM payments.check() WHERE NOT ok;';
	END IF;
	FOR p IN
		SELECT q.*
		FROM payments._partitions() q
		WHERE q.table_name = _table_name AND q.to_time <= now() - _older_than
		ORDER BY q.from_time
	LOOP
		-- Keeps others from writing into it.
		reason := coalesce(
			CASE
				WHEN NOT payments._lock_partitioning(p.partition::text, true)
					THEN 'a transaction that is open may write into it'
			END,
			payments._still_needed(_table_name, p.from_time, p.to_time, now() - _older_than),
			payments._unsealed(p.partition),
			CASE WHEN NOT _keep THEN payments._in_the_way(p.partition) END);
		IF reason IS NOT NULL THEN
			-- None may be older than those that are here, or balances had gaps: this is the end.
			RETURN QUERY SELECT p.partition, p.from_time, p.to_time, NULL::bigint, NULL::text, reason;
			EXIT;
		END IF;
		RETURN QUERY
		SELECT p.partition, p.from_time, p.to_time,
			payments._retire_rows(_table_name, p.partition, p.from_time, p.to_time, _keep, _by),
			CASE WHEN _keep THEN 'retired_' || p.partition END, NULL::text;
		gone := gone || p.partition::text;
	END LOOP;
	IF cardinality(gone) > 0 THEN
		PERFORM payments._detach_partitions(_table_name, gone, _keep);
	END IF;
END
$$;
COMMENT ON FUNCTION payments._retire_partitions(text, interval, boolean, boolean, text) IS 'Internal: retire_partitions() without the right to change tables.';

CREATE FUNCTION payments.retire_partitions(
	table_name text, older_than interval, keep boolean DEFAULT true, check_first boolean DEFAULT true
) RETURNS TABLE (
	partition text, from_time timestamptz, to_time timestamptz, rows bigint, kept_as text, refused text
)
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp ROWS 10
	AS 'MODULE_PATHNAME', 'pay_retire_partitions';
COMMENT ON FUNCTION payments.retire_partitions(text, interval, boolean, boolean) IS
'Takes the months of posting, payment_status or event out that ended longer ago than older_than (a month at least), oldest first, and returns a row for each. References, sums of accounts and ends of histories stay. keep: the partition becomes a plain table payments.retired_..., yours to dump and drop; false: it is dropped. check_first: nothing is retired while check() finds violations; it reads everything. It ends at the first month that is still needed, not sealed, that an open transaction may write into, or that others have made something of which would have to be dropped with it, and says in refused why that stays. Others wait for milliseconds at its end, so it cannot run in a transaction block. Raises 22023, 25001, 2BP01 (something was made of it meanwhile), 55P03 (somebody reads the table for long, or retires it), PY217 (violations).';

CREATE FUNCTION payments._require_retained(_at timestamptz) RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	horizon timestamptz := payments._retired_until('posting');
BEGIN
	-- What was booked up to a time is all there when the next microsecond is.
	IF _at + interval '1 microsecond' < horizon THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY216',
			MESSAGE = format('postings before %s are retired', horizon),
			HINT = 'Ask for a later time; payments.partition_retired names the tables in which older '
				'postings were kept.';
	END IF;
	RETURN horizon;
END
$$;
COMMENT ON FUNCTION payments._require_retained(timestamptz) IS
'Internal: raises PY216 for a time of which balances cannot be told any more; returns from when on postings are here, null for always.';

CREATE FUNCTION payments._partition_status()
	RETURNS TABLE (
		table_name text, partition text, from_time timestamptz, to_time timestamptz, rows_estimate bigint,
		bytes bigint, hint text
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t text;
	filled boolean;
BEGIN
	FOR t IN SELECT d.name FROM payments._tables() d WHERE d.partition_key IS NOT NULL LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM payments.%I)', t || '_default') INTO filled;
		RETURN QUERY
		WITH there AS MATERIALIZED (
			SELECT p.* FROM payments._partitions() p WHERE p.table_name = t
		)
		SELECT t, p.partition, p.from_time, p.to_time, nullif(c.reltuples, -1)::bigint,
			pg_total_relation_size(c.oid),
			CASE
				WHEN NOT p.is_default THEN NULL
				WHEN filled
					THEN 'has rows of times without a partition: they stay here. Does the worker run, is the '
						'clock right?'
				WHEN NOT EXISTS (
					SELECT FROM there n
					WHERE n.from_time <= now() + interval '1 month' AND n.to_time > now() + interval '1 month'
				)
					THEN 'next month has no partition: SELECT payments.make_partitions()'
			END
		FROM there p
		JOIN pg_class c ON c.relnamespace = 'payments'::regnamespace AND c.relname = p.partition
		ORDER BY p.is_default, p.from_time;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._partition_status() IS 'Internal: rows of the view partition_status.';

-- The retention's part of check().
CREATE FUNCTION payments._check_retired()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT 'retired postings balance, and are as many as were retired', count(*) = 0, count(*),
		min(format('%s: retired %s of %s postings, debits %s, credits %s', b.partition, b.amounts, b.rows,
			b.debits, b.credits))
	FROM (
		SELECT r.partition, r.amounts, r.rows, s.debits, s.credits
		FROM payments.partition_retired r
		LEFT JOIN (
			SELECT c.from_time, jsonb_object_agg(c.currency, c.debits) AS debits,
				jsonb_object_agg(c.currency, c.credits) AS credits, sum(c.postings) AS postings
			FROM (
				SELECT p.from_time, a.currency, sum(p.debits) AS debits, sum(p.credits) AS credits,
					sum(p.postings) AS postings
				FROM payments.posting_retired p
				LEFT JOIN payments.account a ON a.account_id = p.account_id
				GROUP BY p.from_time, a.currency
			) c
			GROUP BY c.from_time
		) s ON s.from_time = r.from_time
		WHERE r.table_name = 'posting'
		AND (r.amounts, r.amounts, 2 * r.rows) IS DISTINCT FROM (coalesce(s.debits, '{}'),
			coalesce(s.credits, '{}'), coalesce(s.postings, 0))
		UNION ALL
		SELECT 'account ' || p.account_id, NULL, p.postings, to_jsonb(p.debits), to_jsonb(p.credits)
		FROM payments.posting_retired p
		WHERE NOT EXISTS (
			SELECT FROM payments.partition_retired r
			WHERE r.table_name = 'posting' AND r.from_time = p.from_time
		)
	) b;

	RETURN QUERY
	SELECT 'every reference of a retired posting is taken', count(*) = 0, count(*),
		min(format('%s: %s of %s', b.partition, b.taken, b.refs))
	FROM (
		SELECT r.partition, r.refs, count(t.posting_id) AS taken
		FROM payments.partition_retired r
		LEFT JOIN payments.posting_reference t
			ON t.booked_at >= r.from_time
			AND t.booked_at < r.to_time
			AND NOT EXISTS (
				SELECT FROM payments.posting p WHERE p.posting_id = t.posting_id AND p.booked_at = t.booked_at
			)
			AND NOT EXISTS (SELECT FROM payments.posting_failure f WHERE f.posting_id = t.posting_id)
		WHERE r.table_name = 'posting'
		GROUP BY r.partition, r.refs
	) b
	WHERE b.taken <> b.refs;

	RETURN QUERY
	SELECT 'the end of every retired history is kept', count(*) = 0, count(*),
		min(format('%s: %s of %s rows', b.partition, b.kept, b.rows))
	FROM (
		SELECT r.partition, r.rows, coalesce(sum(p.seq), 0) AS kept
		FROM payments.partition_retired r
		LEFT JOIN payments.payment_retired p ON p.from_time = r.from_time
		WHERE r.table_name = 'payment_status'
		GROUP BY r.partition, r.rows
	) b
	WHERE b.kept <> b.rows;
END
$$;
COMMENT ON FUNCTION payments._check_retired() IS 'Internal: the invariants of what was retired, for check().';

-- A statement that began before a retirement sees the rows neither where they were nor in what was kept of them.
CREATE FUNCTION payments._require_snapshot() RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF EXISTS (
		SELECT FROM payments._tables() t
		WHERE t.partition_key IS NOT NULL
		AND payments._retired_until(t.name) IS DISTINCT FROM (
			SELECT max(r.to_time) FROM payments.partition_retired r WHERE r.table_name = t.name
		)
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = '40001',
			MESSAGE = 'rows were retired after the snapshot of this statement was taken',
			HINT = 'Run it again, in a new transaction.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_snapshot() IS 'Internal: raises 40001 for a snapshot that is older than the last retirement, and keeps the next one waiting until the end of the transaction.';
