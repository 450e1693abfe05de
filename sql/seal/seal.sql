-- Sealing: cutting blocks, verifying them, proofs.

CREATE FUNCTION payments.seal_horizon() RETURNS xid8
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_seal_horizon_sql';
COMMENT ON FUNCTION payments.seal_horizon() IS
'Every transaction that writes rows with a smaller xid has ended: a reader of an append-only table that stays below this misses none.';

CREATE FUNCTION payments.seal_blocks(max_blocks int DEFAULT 1000, every interval DEFAULT '0') RETURNS int
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
	SET intervalstyle = 'postgres' SET timezone = 'UTC' SET extra_float_digits = 1
	AS 'MODULE_PATHNAME', 'pay_seal_blocks';
COMMENT ON FUNCTION payments.seal_blocks(int, interval) IS
'Seals what can be: rows of transactions that had ended before any that still runs. Returns how many blocks it cut, at most max_blocks. every: cuts none while the newest block is younger than that, unless a thousand transactions have passed. Returns 0 while another session seals. The worker calls it. Raises 22023.';

CREATE FUNCTION payments._seal_count(from_xid xid8, to_xid xid8, max bigint) RETURNS bigint
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_seal_count';
COMMENT ON FUNCTION payments._seal_count(xid8, xid8, bigint) IS 'Internal: rows of sealed tables with an xid in that range, counted up to max.';

CREATE FUNCTION payments._seal_hash(
	previous bytea, block bigint, from_xid xid8, to_xid xid8, sealed_at timestamptz, names text[],
	rows bigint[], roots bytea[]
) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_seal_hash';
COMMENT ON FUNCTION payments._seal_hash(bytea, bigint, xid8, xid8, timestamptz, text[], bigint[], bytea[]) IS
'Internal: hash of a block; null when these cannot be one.';

CREATE FUNCTION payments._verify_rows(name text, from_block bigint, to_block bigint, max int)
	RETURNS TABLE (kind text, block bigint, table_name text, row_key jsonb, detail text)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_verify_rows';
COMMENT ON FUNCTION payments._verify_rows(text, bigint, bigint, int) IS
'Internal: compares the rows of a table with the blocks that sealed them; at the end a row of kind "rows" with their number.';

-- Clocks differ, and one that was ahead is set back: for that much nobody is blamed.
CREATE FUNCTION payments._yet_to_come() RETURNS timestamptz
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT clock_timestamp() + interval '10 minutes'
$$;
COMMENT ON FUNCTION payments._yet_to_come() IS 'Internal: times above this one have yet to come, clocks that differ allowed for.';

CREATE FUNCTION payments._verify_chain(_from_block bigint, _to_block bigint)
	RETURNS TABLE (kind text, block bigint, table_name text, row_key jsonb, detail text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'chain', c.block, NULL::text, NULL::jsonb, c.problem
	FROM (
		SELECT s.block,
			CASE
				WHEN s.block <> s.previous_block + 1
					THEN format('blocks %s to %s are missing', s.previous_block + 1, s.block - 1)
				WHEN s.previous IS DISTINCT FROM s.previous_hash
					THEN 'it does not name the hash of the block before'
				WHEN s.from_xid IS DISTINCT FROM s.previous_to
					THEN 'it does not begin where the block before ends'
				WHEN s.hash IS DISTINCT FROM payments._seal_hash(s.previous, s.block, s.from_xid, s.to_xid,
					s.sealed_at, coalesce(t.names, '{}'), coalesce(t.rows, '{}'), coalesce(t.roots, '{}'))
					THEN 'its hash is not that of its content'
				WHEN t.names IS NULL
					THEN 'it seals no row'
			END AS problem
		FROM (
			SELECT b.*, lag(b.block, 1, 0::bigint) OVER w AS previous_block,
				lag(b.hash, 1, decode(repeat('00', 32), 'hex')) OVER w AS previous_hash,
				lag(b.to_xid, 1, '0'::xid8) OVER w AS previous_to
			FROM payments.seal b
			WHERE b.block BETWEEN _from_block - 1 AND _to_block
			WINDOW w AS (ORDER BY b.block)
		) s
		LEFT JOIN LATERAL (
			SELECT array_agg(x.name ORDER BY x.name COLLATE "C") AS names,
				array_agg(x.rows ORDER BY x.name COLLATE "C") AS rows,
				array_agg(x.root ORDER BY x.name COLLATE "C") AS roots
			FROM payments.seal_table x
			WHERE x.block = s.block
		) t ON true
		WHERE s.block >= _from_block
	) c
	WHERE c.problem IS NOT NULL
	UNION ALL
	-- It would keep others from seeing that nothing is sealed.
	SELECT 'chain', s.block, NULL, NULL,
		format('it says that it was sealed at %s, which has yet to come',
			to_char(s.sealed_at, 'YYYY-MM-DD HH24:MI:SS'))
	FROM payments.seal s
	WHERE s.block BETWEEN _from_block AND _to_block AND s.sealed_at > (SELECT payments._yet_to_come())
	UNION ALL
	SELECT 'chain', s.block, NULL, NULL, 'it seals transactions that have yet to begin'
	FROM payments.seal s
	WHERE s.block BETWEEN _from_block AND _to_block AND s.to_xid > (SELECT payments._seal_limit())
	UNION ALL
	SELECT 'chain', max(t.block), 'seal_table', NULL, 'a table is sealed in a block that is not there'
	FROM payments.seal_table t
	WHERE t.block BETWEEN _from_block AND _to_block
	AND NOT EXISTS (SELECT FROM payments.seal s WHERE s.block = t.block)
	HAVING count(*) > 0
$$;
COMMENT ON FUNCTION payments._verify_chain(bigint, bigint) IS 'Internal: blocks that are not a chain.';

CREATE FUNCTION payments._head_lines(_heads text) RETURNS TABLE (block bigint, hash text, database text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT m.part[1]::bigint, lower(m.part[2]), m.part[4]
	FROM regexp_split_to_table(_heads, E'[\r\n]+') l (line)
	LEFT JOIN LATERAL (
		SELECT r.part
		FROM regexp_match(l.line,
			E'^\\s*(\\d{1,18})\\s+([0-9a-fA-F]{64})'
			'(?:\\s+(\\S+)\\s+(.*\\S)\\s+(\\d+)\\s+([0-9a-f]{8}))?\\s*$') r (part)
		WHERE r.part[6] IS NULL
		OR r.part[6] = payments._seal_head_check(r.part[1], r.part[2], r.part[3], r.part[5])
	) m ON true
	WHERE l.line ~ '[^[:space:]]'
$$;
COMMENT ON FUNCTION payments._head_lines(text) IS
'Internal: lines of payments.seal_file, or of block and hash alone; without a block those that cannot be read, such as one that was cut short.';

-- What names no block or has no hash is a witness of nothing.
CREATE FUNCTION payments._head_objects(_heads jsonb) RETURNS TABLE (block bigint, hash text, database text)
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN o.is_head THEN (o.head ->> 'block')::bigint END,
		CASE WHEN o.is_head THEN lower(o.head ->> 'hash') END, NULL
	FROM (
		SELECT e.head,
			e.head ->> 'block' ~ '^[0-9]{1,18}$' AND e.head ->> 'hash' ~ '^[0-9a-fA-F]{64}$' AS is_head
		FROM jsonb_path_query(_heads, 'lax $[*]') e (head)
	) o
$$;
COMMENT ON FUNCTION payments._head_objects(jsonb) IS 'Internal: JSON objects with block and hash; without a block those that are none.';

CREATE FUNCTION payments._given_heads(_heads text) RETURNS TABLE (block bigint, hash text, database text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF _heads ~ '^[[:space:]]*[[{]' THEN
		RETURN QUERY SELECT o.* FROM payments._head_objects(_heads::jsonb) o;
	ELSE
		RETURN QUERY SELECT l.* FROM payments._head_lines(_heads) l;
	END IF;
END
$$;
COMMENT ON FUNCTION payments._given_heads(text) IS 'Internal: heads from lines of payments.seal_file, or from JSON objects; without a block what is none.';

-- Of other databases of the same cluster in the same file, nothing is known here.
CREATE FUNCTION payments._witnessed_heads(_heads text) RETURNS TABLE (block bigint, hash text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT h.block, h.hash
	FROM payments._given_heads(_heads) h
	WHERE h.block IS NOT NULL AND coalesce(h.database, current_database()) = current_database()
$$;
COMMENT ON FUNCTION payments._witnessed_heads(text) IS 'Internal: the heads among them that are of this database.';

CREATE FUNCTION payments._seal_tree(_table_name text, _month timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT _table_name || '/' || to_char(_month AT TIME ZONE 'UTC', 'YYYY-MM')
$$;
COMMENT ON FUNCTION payments._seal_tree(text, timestamptz) IS 'Internal: seal_table.name of a month of a partitioned table.';

-- A note that excuses what is missing must be one that retention could have written: of a whole month that was over
-- for long, and of as many rows as were sealed of it until then.  When it was written is what the block says that
-- seals it: retired_at is but a claim.  And nothing is written into a month that is gone; only of payments the
-- history goes on.
CREATE FUNCTION payments._verify_retired()
	RETURNS TABLE (kind text, block bigint, table_name text, row_key jsonb, detail text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
	SELECT 'retired', NULL::bigint, r.table_name, jsonb_build_object('from_time', r.from_time), p.problem
	FROM payments.partition_retired r
	LEFT JOIN (
		SELECT n.table_name, n.from_time, coalesce(sum(t.rows) FILTER (WHERE s.to_xid <= n.xid), 0) AS rows,
			coalesce(sum(t.rows) FILTER (WHERE s.to_xid > n.xid), 0) AS later
		FROM payments.partition_retired n
		JOIN payments.seal_table t ON t.name = payments._seal_tree(n.table_name, n.from_time)
		JOIN payments.seal s ON s.block = t.block
		GROUP BY n.table_name, n.from_time
	) sealed ON sealed.table_name = r.table_name AND sealed.from_time = r.from_time
	CROSS JOIN LATERAL (
		SELECT coalesce(
			(SELECT s.sealed_at FROM payments.seal s WHERE s.to_xid > r.xid ORDER BY s.to_xid LIMIT 1),
			clock_timestamp()) AS written_by
	) noted
	CROSS JOIN LATERAL (
		SELECT CASE
			WHEN NOT EXISTS (
				SELECT FROM payments._tables() t WHERE t.name = r.table_name AND t.partition_key IS NOT NULL
			)
				THEN 'a table that has no months is said to have been retired'
			WHEN r.from_time <> date_trunc('month', r.from_time)
				OR r.to_time <> r.from_time + interval '1 month'
				THEN 'what is said to have been retired is no month'
			WHEN r.retired_at < r.to_time + interval '27 days'
				THEN 'it is said to have been retired before a month may be'
			WHEN noted.written_by < r.to_time + interval '27 days'
				THEN format('that it was retired was noted by %s, before a month may be',
					to_char(noted.written_by, 'YYYY-MM-DD HH24:MI:SS'))
			WHEN r.retired_at > payments._yet_to_come()
				THEN 'it is said to have been retired at a time that has yet to come'
			WHEN r.rows <> coalesce(sealed.rows, 0)
				THEN format('%s rows of the month were sealed, %s are said to have been retired',
					coalesce(sealed.rows, 0), r.rows)
			WHEN r.table_name <> 'payment_status' AND sealed.later > 0
				THEN format('%s rows of the month were written after it was retired', sealed.later)
			WHEN r.table_name = 'posting' AND r.rows = 0 AND r.last_id IS NOT NULL
				THEN 'it had no rows, and is said to have had a last one'
		END AS problem
	) p
	WHERE p.problem IS NOT NULL
$$;
COMMENT ON FUNCTION payments._verify_retired() IS 'Internal: months that are said to have been retired, and cannot have been.';

CREATE FUNCTION payments._seal_limit() RETURNS xid8
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_seal_limit_sql';
COMMENT ON FUNCTION payments._seal_limit() IS 'Internal: no transaction that has begun writes rows with an xid as high as this.';

-- A block would never come to them, so they could be changed for ever.
CREATE FUNCTION payments._unsealable() RETURNS TABLE (table_name text, detail text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t text;
	n_null bigint;
	n_beyond bigint;
BEGIN
	FOR t IN SELECT s.name FROM payments._tables() s WHERE s.seal_key IS NOT NULL LOOP
		CONTINUE WHEN NOT payments._has_xid(t);
		EXECUTE format('SELECT count(*) FROM payments.%I WHERE xid IS NULL', t) INTO n_null;
		EXECUTE format('SELECT count(*) FROM payments.%I WHERE xid >= $1', t) INTO n_beyond
		USING payments._seal_limit();
		RETURN QUERY
		SELECT t, format('%s rows have %s, so no block can seal them', f.rows, f.what)
		FROM (
			VALUES (n_null, 'no xid'), (n_beyond, 'the xid of a transaction that has yet to begin')
		) f (rows, what)
		WHERE f.rows > 0;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._unsealable() IS 'Internal: rows of sealed tables that no block will ever hold.';

CREATE FUNCTION payments._has_xid(_table_name text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM pg_attribute a
		JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.oid = to_regclass('payments.' || _table_name)
		AND c.relkind IN ('r', 'p')
		AND a.attname = 'xid'
		AND a.atttypid = 'xid8'::regtype
	)
$$;
COMMENT ON FUNCTION payments._has_xid(text) IS 'Internal: is the table there, with the column by which blocks go?';

CREATE FUNCTION payments._seal_interval() RETURNS interval
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_seal_interval';
COMMENT ON FUNCTION payments._seal_interval() IS 'Internal: the setting payments.seal_interval.';

-- Ten intervals, as a sealer that has much to catch up with may take; but a day for what waits for a transaction that
-- is older, such as that of a dump.  Every payment has an event, and all other money a posting.  Only the index over
-- xid may be used: the planner does not know that next to nothing is as new.
CREATE FUNCTION payments._seal_overdue() RETURNS text
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
	newest_at timestamptz;
	sealed_to xid8;
	since timestamptz := now() - greatest(10 * payments._seal_interval(), interval '10 minutes');
	whatever timestamptz := since - interval '1 day';
	horizon xid8;
BEGIN
	SELECT s.to_xid, s.sealed_at INTO sealed_to, newest_at FROM payments.seal s ORDER BY s.block DESC LIMIT 1;
	IF payments._seal_interval() = '0' OR (newest_at > since AND newest_at <= payments._yet_to_come()) THEN
		RETURN NULL;
	END IF;
	sealed_to := coalesce(sealed_to, '0'::xid8);
	horizon := payments.seal_horizon();
	IF NOT EXISTS (
		SELECT FROM payments.posting p
		WHERE p.xid >= sealed_to
		AND p.booked_at <= CASE WHEN p.xid < horizon THEN since ELSE whatever END
	)
		AND NOT EXISTS (
			SELECT FROM payments.event e
			WHERE e.xid >= sealed_to
			AND e.created_at <= CASE WHEN e.xid < horizon THEN since ELSE whatever END
		) THEN
		RETURN NULL;
	END IF;
	RETURN format('rows wait to be sealed that were written before %s, and the newest block is %s',
		to_char(since, 'YYYY-MM-DD HH24:MI:SS'),
		coalesce('of ' || to_char(newest_at, 'YYYY-MM-DD HH24:MI:SS'), 'not there'));
END
$$;
COMMENT ON FUNCTION payments._seal_overdue() IS 'Internal: what says that sealing has stood still for long; null when it has not, or is switched off.';

CREATE FUNCTION payments._sealing_off() RETURNS text
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE
		WHEN payments._seal_interval() = '0'
			THEN 'sealing is off: payments.seal_interval is 0, and only calls of seal_blocks() seal'
	END;
END
$$;
COMMENT ON FUNCTION payments._sealing_off() IS 'Internal: what says that the worker seals nothing; null when it does.';

CREATE FUNCTION payments._verify_tables(_from_block bigint, _to_block bigint, _max_findings int)
	RETURNS TABLE (kind text, block bigint, table_name text, row_key jsonb, detail text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t text;
BEGIN
	FOR t IN SELECT s.name FROM payments._tables() s WHERE s.seal_key IS NOT NULL LOOP
		IF NOT payments._has_xid(t) THEN
			RETURN QUERY
			SELECT 'missing', NULL::bigint, t, NULL::jsonb, 'the table, or its column xid, is gone';
			CONTINUE;
		END IF;
		RETURN QUERY SELECT v.* FROM payments._verify_rows(t, _from_block, _to_block, _max_findings) v;
	END LOOP;
	RETURN QUERY
	SELECT 'added', NULL::bigint, u.table_name, NULL::jsonb, u.detail
	FROM payments._unsealable() u;
	RETURN QUERY SELECT * FROM payments._verify_retired();
END
$$;
COMMENT ON FUNCTION payments._verify_tables(bigint, bigint, int) IS 'Internal: _verify_rows() of all sealed tables, and what it cannot see of them.';

CREATE FUNCTION payments.verify(
	heads text DEFAULT NULL, from_block bigint DEFAULT 1, to_block bigint DEFAULT NULL,
	max_findings int DEFAULT 100
) RETURNS TABLE (kind text, block bigint, table_name text, row_key jsonb, detail text)
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
	SET intervalstyle = 'postgres' SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
	newest bigint;
	last_block bigint;
	last_xid xid8;
	waiting bigint;
	witnessed bigint;
	unreadable bigint;
	findings bigint := 0;
	read bigint := 0;
	f record;
BEGIN
	PERFORM payments._require_setup();
	IF verify.from_block IS NULL
		OR verify.from_block < 1
		OR verify.max_findings IS NULL
		OR verify.max_findings < 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'from_block and max_findings must be above zero',
			HINT = 'Leave them out to verify all blocks.';
	END IF;
	-- Nor is anything retired, or what is gone would be missed.
	PERFORM payments._require_snapshot();
	SELECT s.block, s.to_xid INTO newest, last_xid FROM payments.seal s ORDER BY s.block DESC LIMIT 1;
	newest := coalesce(newest, 0);
	last_block := least(coalesce(verify.to_block, newest), newest);
	-- What is sealed while we read is not looked at.
	FOR f IN
		SELECT *
		FROM payments._verify_chain(verify.from_block, last_block)
		UNION ALL
		SELECT 'head', w.block, NULL::text, NULL::jsonb,
			CASE
				WHEN s.block IS NULL THEN format('a witness has seen block %s, which is not there', w.block)
				ELSE format('a witness has seen it with hash %s, it has %s', w.hash, encode(s.hash, 'hex'))
			END
		FROM payments._witnessed_heads(verify.heads) w
		LEFT JOIN payments.seal s ON s.block = w.block
		WHERE encode(s.hash, 'hex') IS DISTINCT FROM w.hash
		UNION ALL
		SELECT *
		FROM payments._verify_tables(verify.from_block, last_block, verify.max_findings)
		UNION ALL
		SELECT 'overdue', newest, NULL, NULL, o.why
		FROM (SELECT payments._seal_overdue()) o (why)
		WHERE o.why IS NOT NULL
	LOOP
		IF f.kind = 'rows' THEN
			read := read + f.detail::bigint;
			CONTINUE;
		END IF;
		findings := findings + 1;
		IF findings <= verify.max_findings THEN
			RETURN QUERY SELECT f.kind, f.block, f.table_name, f.row_key, f.detail;
		END IF;
	END LOOP;
	SELECT count(*) INTO witnessed FROM payments._witnessed_heads(verify.heads);
	SELECT count(*) INTO unreadable FROM payments._given_heads(verify.heads) h WHERE h.block IS NULL;
	IF witnessed = 0 AND verify.heads ~ '[^[:space:]]' THEN
		findings := findings + 1;
		RETURN QUERY SELECT 'head', NULL::bigint, NULL::text, NULL::jsonb,
			format('nothing of what was given is a head of database %s', current_database());
	END IF;
	IF findings = 0 THEN
		waiting := payments._seal_count(coalesce(last_xid, '0'::xid8), payments.seal_horizon(), 1000000);
		RETURN QUERY
		SELECT 'ok', newest, NULL::text, NULL::jsonb,
			format('blocks %s to %s, %s rows%s, %s heads%s; %s rows wait to be sealed%s', verify.from_block,
				last_block, read,
				(
					SELECT format(' and %s retired', sum(r.rows))
					FROM payments.partition_retired r
					HAVING sum(r.rows) > 0
				),
				witnessed,
				CASE WHEN unreadable > 0 THEN format(' and %s lines that are none', unreadable) END, waiting,
				'; ' || payments._sealing_off());
	END IF;
END
$$;
COMMENT ON FUNCTION payments.verify(text, bigint, bigint, int) IS
'Compares all sealed rows with the blocks that sealed them. One row of kind ok, or a row a finding: changed, missing or added (row_key names the first such row of the block and table; of a missing one its neighbours), leaves or root (rows and seals differ, and it was the seal), chain (the blocks: a hash, their order, a time or transactions that have yet to come, no row), head (a witness has seen another block), retired (retention is said to have removed what is there, or what it cannot have), overdue (rows wait for long, and no block is cut). heads: lines of payments.seal_file, or JSON objects with block and hash; a line that is none, such as one that was cut short, is passed over and counted. from_block, to_block: to verify in slices; rows before from_block are not read. client_min_messages = debug1 shows progress. Nothing is retired until the end of its transaction. Raises 22023, 40001 (the snapshot is older than a retirement).';

CREATE FUNCTION payments._seal_row(table_name text, row_key jsonb) RETURNS bytea
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_seal_row_sql';
COMMENT ON FUNCTION payments._seal_row(text, jsonb) IS 'Internal: a row as the bytes that are sealed.';

CREATE FUNCTION payments.seal_proof(table_name text, row_key jsonb, head_block bigint DEFAULT NULL)
	RETURNS text
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
	SET intervalstyle = 'postgres' SET timezone = 'UTC' SET extra_float_digits = 1
	AS 'MODULE_PATHNAME', 'pay_seal_proof';
COMMENT ON FUNCTION payments.seal_proof(text, jsonb, bigint) IS
'A proof that this row was sealed as it is, for whoever has the hash of its block, or of block head_block. row_key: the key''s columns, such as {"posting_id": 42}. docs/sealing.md has the form, and a checker that needs no database. Raises PY702 (no such row), PY703 (not sealed yet), PY704 (the row is not as it was sealed), 22023.';

CREATE FUNCTION payments.verify_proof(proof text, head_hash text)
	RETURNS TABLE (ok boolean, reason text, table_name text, row_data jsonb)
	LANGUAGE c IMMUTABLE STRICT ROWS 1 SET timezone = 'UTC' SET datestyle = 'ISO'
	AS 'MODULE_PATHNAME', 'pay_verify_proof';
COMMENT ON FUNCTION payments.verify_proof(text, text) IS
'Checks a proof against the hash (64 hex digits) of the newest block that it holds: ok and what the row says, or the reason why it proves nothing. Reads no table.';

-- The seals' part of check(): the chain, and what is said to be gone, which takes little time.
CREATE FUNCTION payments._check_seal()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT 'the blocks are a chain', count(*) = 0, count(*), min(format('block %s: %s', c.block, c.detail))
	FROM payments._verify_chain(1, 9223372036854775807) c;

	RETURN QUERY
	SELECT 'every row will be sealed', count(*) = 0, count(*), min(u.table_name || ': ' || u.detail)
	FROM payments._unsealable() u;

	-- Who has switched it off knows; who reads this may not.
	RETURN QUERY
	SELECT 'rows are sealed in time', o.why IS NULL, (o.why IS NOT NULL)::int::bigint,
		coalesce(o.why, payments._sealing_off())
	FROM (SELECT payments._seal_overdue()) o (why);

	RETURN QUERY
	SELECT 'what is noted as retired can have been', count(*) = 0, count(*),
		min(format('%s from %s: %s', r.table_name, r.row_key ->> 'from_time', r.detail))
	FROM payments._verify_retired() r;

	RETURN QUERY
	SELECT 'the seals are guarded', count(*) = 0, count(*), min(g.tbl || '.' || g.guard)
	FROM payments._guards_off() g
	JOIN payments._tables() t ON t.name = g.root
	WHERE t.seal_key IS NOT NULL OR t.name IN ('seal', 'seal_table', 'seal_leaf', 'seal_epoch');
END
$$;
COMMENT ON FUNCTION payments._check_seal() IS 'Internal: the invariants of sealing, for check().';
