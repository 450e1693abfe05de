-- Rows that are shipped are made by CREATE EXTENSION, and only by it: a dump
-- leaves them out, an upgrade makes them anew, and who runs a job trusts them.

CREATE FUNCTION payments.guard_shipped() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	is_shipped boolean := true;
BEGIN
	IF tg_op <> 'TRUNCATE' AND tg_table_name <> 'transition' THEN
		-- Of INSERT there is no old row, of DELETE no new one.
		is_shipped := old.builtin OR new.builtin;
	END IF;
	IF is_shipped AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = format('shipped rows of %I.%I are not yours to change', tg_table_schema, tg_table_name),
			HINT = CASE tg_table_name
				WHEN 'settlement_format' THEN 'INSERT one with builtin = false and a name of its own.'
				ELSE 'INSERT one with builtin = false: it wins over the shipped one, and a dump keeps it.'
			END;
	END IF;
	RETURN coalesce(new, old);
END
$$;
COMMENT ON FUNCTION payments.guard_shipped() IS 'Trigger: keeps rows with builtin = true, and all of transition, from everybody but superusers (42501), and from TRUNCATE.';

DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN
		SELECT c.oid::regclass
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_depend d
			ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'r'
	LOOP
		EXECUTE format('CREATE TRIGGER guard_shipped BEFORE INSERT OR UPDATE OR DELETE ON %s
			FOR EACH ROW EXECUTE FUNCTION payments.guard_shipped()', t);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_shipped', t);
		EXECUTE format('CREATE TRIGGER guard_shipped_truncate BEFORE TRUNCATE ON %s
			FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_shipped()', t);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_shipped_truncate', t);
	END LOOP;
END
$$;

-- The digest of each table's shipped rows, as text in an order of its own.
CREATE FUNCTION payments._shipped_now() RETURNS TABLE (table_name text, rows bigint, digest text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
	SET intervalstyle = 'postgres' SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
	t text;
BEGIN
	FOR t IN
		SELECT c.relname
		FROM pg_class c
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'builtin' AND NOT a.attisdropped
		WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'r'
		ORDER BY c.relname
	LOOP
		RETURN QUERY EXECUTE format(
			'SELECT %L::text, count(*),
				md5(coalesce(string_agg(x.line, chr(10) ORDER BY x.line COLLATE "C"), ''''))
			FROM (SELECT (to_jsonb(r) - ARRAY[''added_at'', ''written_by''])::text AS line FROM payments.%I r WHERE r.builtin) x', t, t);
	END LOOP;
	RETURN QUERY
	SELECT 'transition', count(*), md5(coalesce(string_agg(x.line, chr(10) ORDER BY x.line COLLATE "C"), ''))
	FROM (SELECT to_jsonb(r)::text AS line FROM payments.transition r) x;
END
$$;
COMMENT ON FUNCTION payments._shipped_now() IS 'Internal: for each table with shipped rows, how many there are and a digest of them.';

-- Where a superuser who changes the rows does not come by: check() compares the functions of the extension, too.
DO $$
BEGIN
	EXECUTE format(
		'CREATE FUNCTION payments._shipped() RETURNS TABLE (table_name text, rows bigint, digest text)
			LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS %L',
		(
			SELECT 'VALUES '
				|| string_agg(format('(%L, %s::bigint, %L)', n.table_name, n.rows, n.digest), ', ')
			FROM payments._shipped_now() n
		));
END
$$;
COMMENT ON FUNCTION payments._shipped() IS 'Internal: what _shipped_now() says of the rows that CREATE EXTENSION has made.';

CREATE FUNCTION payments._check_shipped()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT v.*
	FROM (
		SELECT count(*) AS n,
			min(format('%s: %s of %s rows are there%s', table_name, coalesce(f.rows, 0), s.rows,
				CASE WHEN f.rows = s.rows THEN ', some have been changed' END)) AS sample
		FROM payments._shipped() s
		FULL JOIN payments._shipped_now() f USING (table_name)
		WHERE s.digest IS DISTINCT FROM f.digest
	) d
	CROSS JOIN LATERAL payments._violation('shipped rules are as they were shipped', d.n, d.sample) v
$$;
COMMENT ON FUNCTION payments._check_shipped() IS 'Internal: the invariant of rows that the extension brings, for check().';
