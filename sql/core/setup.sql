-- Making the tables, bringing them up to date, and waking the worker.

CREATE FUNCTION payments.setup() RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_setup';
COMMENT ON FUNCTION payments.setup() IS
'Makes the tables, views and triggers of payments in this database, the merchant "default" and the PSP "sandbox". May be run again at any time: it makes what is missing, and anew what is no longer as it made it, or warns of it, and changes nothing else. Where nothing is missing it keeps nobody waiting; otherwise it needs all tables for a moment, for which it waits at most 10 seconds. Raises 55P03 when it did not get them.';

-- A newer server may write the same definition otherwise, so what another one has found is no measure.
CREATE FUNCTION payments._setup_script() RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT concat_ws(' ', payments.version(), current_setting('server_version_num')::int / 10000,
			md5(concat_ws(' ', p.prosrc, (SELECT array_agg(t) FROM payments._tables() t))))
	FROM pg_proc p
	WHERE p.oid = 'payments._setup_tables()'::regprocedure
$$;
COMMENT ON FUNCTION payments._setup_script() IS 'Internal: version of the library, version of the server, and digest of what setup() would run.';

-- Of another version nothing is known: there the definitions may be others.  Of this one they are the same,
-- whatever has become of the digest.
CREATE FUNCTION payments._setup_made() RETURNS text[]
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT i.made
	FROM payments.installation i
	WHERE regexp_replace(i.script, ' [^ ]*$', '') = regexp_replace(payments._setup_script(), ' [^ ]*$', '')
$$;
COMMENT ON FUNCTION payments._setup_made() IS 'Internal: what setup() of this version has written down; null when another one was here last.';

-- By their definitions, as the server writes them: of two things of one name one may do nothing.
-- What it writes depends on these settings.
CREATE FUNCTION payments._setup_found() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO'
	SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET quote_all_identifiers = off
	SET bytea_output = 'hex' AS $$
	WITH class AS MATERIALIZED (
		SELECT c.*
		FROM pg_class c
		WHERE c.relnamespace = 'payments'::regnamespace
		-- Months come and go.
		AND c.relname !~ '(^retired_|_[0-9]{4}_[0-9]{2}(_|$))'
	)
	SELECT concat_ws(' ', 'relation', c.relname, c.relkind, c.relpersistence, c.relowner::regrole,
			CASE WHEN c.relrowsecurity THEN 'row security' END,
			CASE WHEN c.relforcerowsecurity THEN 'forced' END)
	FROM class c
	WHERE c.relkind NOT IN ('i', 'I', 'c')
	UNION ALL
	SELECT concat_ws(' ', 'view', c.relname, c.reloptions, md5(pg_get_viewdef(c.oid)))
	FROM class c
	WHERE c.relkind = 'v'
	UNION ALL
	SELECT concat_ws(' ', 'index', c.relname, pg_get_indexdef(c.oid),
			CASE WHEN NOT i.indisvalid THEN 'invalid' END)
	FROM class c
	JOIN pg_index i ON i.indexrelid = c.oid
	UNION ALL
	SELECT concat_ws(' ', 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
			CASE WHEN a.attnotnull THEN 'not null' END, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
	FROM class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE c.relkind IN ('r', 'p', 'v')
	UNION ALL
	SELECT concat_ws(' ', 'constraint', c.relname, n.conname, pg_get_constraintdef(n.oid))
	FROM class c
	JOIN pg_constraint n ON n.conrelid = c.oid
	WHERE n.contype IN ('p', 'u', 'c', 'f')
	UNION ALL
	-- Who guards, and who says that all is guarded.
	SELECT concat_ws(' ', 'function', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)))
	FROM pg_extension x
	JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'
	JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	WHERE x.extname = 'payments' AND p.prokind IN ('f', 'p')
	UNION ALL
	SELECT concat_ws(' ', 'trigger', c.relname, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid))
	FROM class c
	JOIN pg_trigger t ON t.tgrelid = c.oid
	WHERE NOT t.tgisinternal
	UNION ALL
	SELECT concat_ws(' ', CASE WHEN p.polpermissive THEN 'permits' ELSE 'policy' END, p.polrelid::regclass,
			p.polname, p.polcmd, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid),
			pg_get_expr(p.polwithcheck, p.polrelid))
	FROM pg_class c
	JOIN pg_policy p ON p.polrelid = c.oid
	WHERE c.relnamespace = 'payments'::regnamespace
	UNION ALL
	SELECT concat_ws(' ', 'grant', concat_ws('.', c.relname, x.attname), coalesce(r.rolname, 'PUBLIC'),
			(x.acl).privilege_type)
	FROM pg_class c
	CROSS JOIN LATERAL (
		SELECT NULL AS attname, aclexplode(c.relacl) AS acl
		UNION ALL
		SELECT a.attname, aclexplode(a.attacl)
		FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL
	) x
	LEFT JOIN pg_roles r ON r.oid = (x.acl).grantee
	WHERE c.relnamespace = 'payments'::regnamespace
	AND (x.acl).grantee <> c.relowner
	AND ((x.acl).grantee = 0 OR payments._is_our_role(r.rolname))
	UNION ALL
	SELECT o.line FROM payments._grants_of_others() o
$$;
COMMENT ON FUNCTION payments._setup_found() IS 'Internal: what is there of the kinds of things that setup() makes, and of functions of the extension, each with its definition.';

-- More than there was is somebody's own, unless somebody may read or write by it.
CREATE FUNCTION payments._setup_differs() RETURNS TABLE (line text, is_missing boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT line, f.there IS NULL
	FROM (
		SELECT unnest(payments._setup_made()) AS line, true AS made
	) m
	FULL JOIN (SELECT f AS line, true AS there FROM payments._setup_found() f) f USING (line)
	WHERE f.there IS NULL
	OR (
		m.made IS NULL
		AND (starts_with(line, 'grant ') OR starts_with(line, 'permits '))
		AND (SELECT payments._setup_made()) IS NOT NULL
	)
$$;
COMMENT ON FUNCTION payments._setup_differs() IS
'Internal: what setup() has made and is not there any more, or is another thing now; and privileges, and policies that permit, beyond those that it has given.';

CREATE FUNCTION payments._setup_is_done() RETURNS boolean
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF to_regclass('payments.installation') IS NULL
		OR to_regclass('payments.merchant') IS NULL
		OR to_regclass('payments.psp') IS NULL THEN
		RETURN false;
	END IF;
	RETURN EXISTS (
			SELECT FROM payments.installation i
			WHERE i.script = payments._setup_script() AND i.made IS NOT NULL
		)
		AND NOT EXISTS (SELECT FROM payments._setup_differs())
		AND NOT EXISTS (SELECT FROM payments._guards_off())
		AND NOT EXISTS (SELECT FROM payments._catalog_differs())
		AND EXISTS (SELECT FROM payments.merchant m WHERE m.merchant = 'default')
		AND EXISTS (SELECT FROM payments.psp p WHERE p.psp = 'sandbox');
END
$$;
COMMENT ON FUNCTION payments._setup_is_done() IS 'Internal: is all there that setup() would make, as it would make it? Reads, and locks nothing.';

-- What the script does not make anew, as a column's type, is not taken as it is: the list stays.  An index that is
-- gone altogether was somebody else's: ours is there again.
CREATE FUNCTION payments._setup_record() RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lacks text[] := ARRAY(
		SELECT d.line
		FROM payments._setup_differs() d
		WHERE d.is_missing
		AND (
			d.line !~ '^index '
			OR to_regclass(format('payments.%I', split_part(d.line, ' ', 2))) IS NOT NULL
		)
		UNION ALL
		SELECT c.line
		FROM payments._catalog_differs() c
		ORDER BY 1
	);
BEGIN
	IF lacks <> '{}' THEN
		RAISE WARNING USING
			MESSAGE = format(
				'%s things are not as setup() made them, and it cannot make them anew: %s',
				cardinality(lacks), lacks[1]),
			DETAIL = coalesce(nullif(array_to_string(lacks[2:20], E'\n'), ''), 'There are no others.'),
			HINT = 'Somebody has altered it. Make it again as it was, and call setup() again.';
		RETURN;
	END IF;
	-- Nor what others have, and setup() could not take back.
	UPDATE payments.installation
	SET script = payments._setup_script(),
		made = ARRAY(
			SELECT f FROM payments._setup_found() f EXCEPT SELECT o.line FROM payments._grants_of_others() o
		);
END
$$;
COMMENT ON FUNCTION payments._setup_record() IS 'Internal: writes down what setup() has made, and says what it could not make as it was.';

CREATE FUNCTION payments._check_setup()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT v.*
	FROM (
		SELECT count(*) AS runs
		FROM payments.installation i
		WHERE i.script = payments._setup_script() AND i.made IS NOT NULL
	) r
	CROSS JOIN LATERAL payments._violation('setup() has been run for this version', 1 - r.runs,
		CASE r.runs
			WHEN 0 THEN 'what it would make now is not what it made: SELECT payments.setup()'
		END) v
	UNION ALL
	SELECT v.*
	FROM (
		SELECT count(*) FILTER (WHERE NOT d.is_missing) AS more,
			min(d.line) FILTER (WHERE NOT d.is_missing) AS one_more,
			count(*) FILTER (WHERE d.is_missing AND NOT f.is_function) AS lacking,
			min(d.line) FILTER (WHERE d.is_missing AND NOT f.is_function) AS one_lacking,
			count(*) FILTER (WHERE d.is_missing AND f.is_function) AS functions,
			min(d.line) FILTER (WHERE d.is_missing AND f.is_function) AS one_function
		FROM payments._setup_differs() d
		CROSS JOIN LATERAL (SELECT starts_with(d.line, 'function ')) f (is_function)
	) d
	CROSS JOIN LATERAL (
		SELECT * FROM payments._violation('nobody reads or writes but who is listed', d.more, d.one_more)
		UNION ALL
		SELECT *
		FROM payments._violation('tables and views are as setup() made them', d.lacking, d.one_lacking)
		UNION ALL
		SELECT *
		FROM payments._violation('functions are as setup() found them', d.functions, d.one_function)
	) v
	UNION ALL
	SELECT v.*
	FROM (SELECT count(*) AS n, min(s) AS one FROM payments._strangers() s) f
	CROSS JOIN LATERAL payments._violation('nothing of others stands in for ours', f.n, f.one) v
	UNION ALL
	SELECT v.*
	FROM (SELECT count(*), min(c.line) FROM payments._catalog_differs() c) c (n, one)
	CROSS JOIN LATERAL payments._violation('the catalogs say of it what they must', c.n, c.one) v
	UNION ALL
	-- Where that is as somebody wants it, it is no violation.
	SELECT 'DDL is guarded, or here is why not', true, 0::bigint, payments._unguarded()
$$;
COMMENT ON FUNCTION payments._check_setup() IS 'Internal: the invariants of what setup() makes, for check().';

CREATE FUNCTION payments.migrate() RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments.setup();
	UPDATE payments.installation
	SET schema_version = payments.version()
	WHERE schema_version <> payments.version();
END
$$;
COMMENT ON FUNCTION payments.migrate() IS
'After ALTER EXTENSION payments UPDATE: brings the tables to the version of the extension.';

CREATE FUNCTION payments._wake_worker() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_wake_worker';
COMMENT ON FUNCTION payments._wake_worker() IS 'Internal: wakes the worker at commit.';
