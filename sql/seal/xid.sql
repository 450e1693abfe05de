-- Sealing, what the tables need.  The rest is in seal/seal.sql.

CREATE OPERATOR CLASS payments.xid8_minmax_ops FOR TYPE xid8 USING brin AS
	OPERATOR 1 pg_catalog.<,
	OPERATOR 2 pg_catalog.<=,
	OPERATOR 3 pg_catalog.=,
	OPERATOR 4 pg_catalog.>=,
	OPERATOR 5 pg_catalog.>,
	FUNCTION 1 pg_catalog.brin_minmax_opcinfo(internal),
	FUNCTION 2 pg_catalog.brin_minmax_add_value(internal, internal, internal, internal),
	FUNCTION 3 pg_catalog.brin_minmax_consistent(internal, internal, internal),
	FUNCTION 4 pg_catalog.brin_minmax_union(internal, internal, internal);
COMMENT ON OPERATOR CLASS payments.xid8_minmax_ops USING brin IS 'PostgreSQL 15 has none for xid8';

-- STABLE: it has one value in a transaction, and COPY would else insert rows one by one.
CREATE FUNCTION payments._seal_xid() RETURNS xid8
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'pay_seal_xid';
COMMENT ON FUNCTION payments._seal_xid() IS 'Internal: what the column xid of sealed tables defaults to.';

CREATE FUNCTION payments.forget_epoch() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_forget_cached';
COMMENT ON FUNCTION payments.forget_epoch() IS 'Trigger: tells every session to read seal_epoch anew.';

CREATE FUNCTION payments._system_identifier() RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_system_identifier';
COMMENT ON FUNCTION payments._system_identifier() IS 'Internal: the cluster''s system identifier.';

CREATE FUNCTION payments._seal_head_check(_block text, _hash text, _sealed_at text, _system text)
	RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT left(
		encode(sha256(convert_to(concat_ws(' ', _block, _hash, _sealed_at, _system), 'UTF8')), 'hex'),
		8)
$$;
COMMENT ON FUNCTION payments._seal_head_check(text, text, text, text) IS
'Internal: the end of a line of payments.seal_file, by which one that was cut short, or has grown together with another, is known. The name of the database is left out, so that it may be changed.';

CREATE FUNCTION payments._seal_head_line(_block bigint, _hash bytea, _sealed_at timestamptz) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT format('%s %s %s %s %s %s', _block, h.hash, h.at, current_database(), h.system,
		payments._seal_head_check(_block::text, h.hash, h.at, h.system))
	FROM (
		SELECT encode(_hash, 'hex') AS hash,
			to_char(_sealed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at,
			payments._system_identifier() AS system
	) h
$$;
COMMENT ON FUNCTION payments._seal_head_line(bigint, bytea, timestamptz) IS 'Internal: a block as a line of payments.seal_file.';
