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

CREATE FUNCTION payments._witnessed_heads(_heads text) RETURNS TABLE (block bigint, hash text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF _heads ~ '^[[:space:]]*[[{]' THEN
		RETURN QUERY SELECT (e.head ->> 'block')::bigint, lower(e.head ->> 'hash')
		FROM jsonb_path_query(_heads::jsonb, 'lax $[*]') e (head);
	ELSE
		-- Of other databases of the same cluster in the same file, nothing is known here.
		RETURN QUERY SELECT h.block, h.hash
		FROM payments._head_lines(_heads) h
		WHERE h.block IS NOT NULL AND coalesce(h.database, current_database()) = current_database();
	END IF;
END
$$;
COMMENT ON FUNCTION payments._witnessed_heads(text) IS 'Internal: heads from lines of payments.seal_file, or from JSON objects with block and hash.';

CREATE FUNCTION payments._verify_tables(_from_block bigint, _to_block bigint, _max_findings int)
	RETURNS TABLE (kind text, block bigint, table_name text, row_key jsonb, detail text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t text;
	n bigint;
BEGIN
	FOR t IN SELECT s.name FROM payments._tables() s WHERE s.seal_key IS NOT NULL LOOP
		IF NOT EXISTS (
			SELECT FROM pg_attribute a
			JOIN pg_class c ON c.oid = a.attrelid
			WHERE c.oid = to_regclass('payments.' || t)
			AND c.relkind IN ('r', 'p')
			AND a.attname = 'xid'
			AND a.atttypid = 'xid8'::regtype
		) THEN
			RETURN QUERY
			SELECT 'missing', NULL::bigint, t, NULL::jsonb, 'the table, or its column xid, is gone';
			CONTINUE;
		END IF;
		RETURN QUERY SELECT v.* FROM payments._verify_rows(t, _from_block, _to_block, _max_findings) v;
		EXECUTE format('SELECT count(*) FROM payments.%I WHERE xid IS NULL', t) INTO n;
		IF n > 0 THEN
			RETURN QUERY
			SELECT 'added', NULL::bigint, t, NULL::jsonb,
				format('%s rows have no xid, so no block can seal them', n);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._verify_tables(bigint, bigint, int) IS 'Internal: _verify_rows() of all sealed tables.';

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
	unreadable bigint := 0;
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
	IF verify.heads !~ '^[[:space:]]*[[{]' THEN
		SELECT count(*) INTO unreadable FROM payments._head_lines(verify.heads) h WHERE h.block IS NULL;
	END IF;
	IF witnessed = 0 AND verify.heads ~ '[^[:space:]]' THEN
		findings := findings + 1;
		RETURN QUERY SELECT 'head', NULL::bigint, NULL::text, NULL::jsonb,
			format('none of the heads given is of database %s', current_database());
	END IF;
	IF findings = 0 THEN
		waiting := payments._seal_count(coalesce(last_xid, '0'::xid8), payments.seal_horizon(), 1000000);
		RETURN QUERY
		SELECT 'ok', newest, NULL::text, NULL::jsonb,
			format('blocks %s to %s, %s rows, %s heads%s; %s rows wait to be sealed', verify.from_block,
				last_block, read, witnessed,
				CASE WHEN unreadable > 0 THEN format(' and %s lines that are none', unreadable) END, waiting);
	END IF;
END
$$;
COMMENT ON FUNCTION payments.verify(text, bigint, bigint, int) IS
'Compares all sealed rows with the blocks that sealed them. One row of kind ok, or a row a finding: changed, missing or added (row_key names the first such row of the block and table; of a missing one its neighbours), leaves or root (rows and seals differ, and it was the seal), chain (the blocks), head (a witness has seen another block), retired. heads: lines of payments.seal_file, or JSON objects with block and hash; a line that is none, such as one that was cut short, is passed over and counted. from_block, to_block: to verify in slices; rows before from_block are not read. client_min_messages = debug1 shows progress. Raises 22023.';

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

CREATE FUNCTION payments._seal_retire(_parent text, _part text, _by text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	unsealed boolean;
	retired bigint;
BEGIN
	EXECUTE format(
		'SELECT EXISTS (
			SELECT FROM payments.%I p
			WHERE p.xid >= coalesce(
				(SELECT s.to_xid FROM payments.seal s ORDER BY s.block DESC LIMIT 1), ''0'')
		)',
		_part)
	INTO unsealed;
	IF unsealed THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY703',
			MESSAGE = format('table "%s" has rows that are not sealed yet', _part),
			HINT = 'SELECT payments.seal_blocks() seals them, once the transactions that are older have '
				'ended.';
	END IF;
	EXECUTE format('INSERT INTO payments.seal_retired (name, part, block, rows, retired_at, retired_by)
		SELECT $1, $2, s.block, count(*), clock_timestamp(), $3
		FROM payments.%I p
		JOIN payments.seal s ON p.xid >= s.from_xid AND p.xid < s.to_xid
		GROUP BY s.block', _part) USING _parent, _part, _by;
	EXECUTE format('SELECT count(*) FROM payments.%I', _part) INTO retired;
	RETURN retired;
END
$$;
COMMENT ON FUNCTION payments._seal_retire(text, text, text) IS
'Internal: records that a partition''s rows are about to be removed, so that verify() takes them as gone; call it in the transaction that drops the partition, with the partition locked. Returns their number. Raises PY703 when some are not sealed yet.';

-- The seals' part of check(): the chain alone, which takes little time.
CREATE FUNCTION payments._check_seal()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT 'the blocks are a chain', count(*) = 0, count(*), min(format('block %s: %s', c.block, c.detail))
	FROM payments._verify_chain(1, 9223372036854775807) c;

	RETURN QUERY
	SELECT 'the seals are guarded', count(*) = 0, count(*), min(g.tbl || '.' || g.guard)
	FROM payments._guards_off() g
	JOIN payments._tables() t ON t.name = g.root
	WHERE t.seal_key IS NOT NULL OR t.name IN ('seal', 'seal_table', 'seal_leaf', 'seal_epoch');
END
$$;
COMMENT ON FUNCTION payments._check_seal() IS 'Internal: the invariants of sealing, for check().';
