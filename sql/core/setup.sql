-- Making the tables, bringing them up to date, and waking the worker.

CREATE FUNCTION payments.setup() RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_setup';
COMMENT ON FUNCTION payments.setup() IS
'Makes the tables, views and triggers of payments in this database, the merchant "default" and the PSP "sandbox". May be run again at any time: it makes what is missing and changes nothing else. Where nothing is missing it keeps nobody waiting; otherwise it needs all tables for a moment, for which it waits at most 10 seconds. Raises 55P03 when it did not get them.';

CREATE FUNCTION payments._setup_script() RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT md5(concat_ws(' ', payments.version(), p.prosrc, (SELECT array_agg(t) FROM payments._tables() t)))
	FROM pg_proc p
	WHERE p.oid = 'payments._setup_tables()'::regprocedure
$$;
COMMENT ON FUNCTION payments._setup_script() IS 'Internal: digest of what setup() would run.';

CREATE FUNCTION payments._setup_found() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH class AS MATERIALIZED (
		SELECT c.*
		FROM pg_class c
		WHERE c.relnamespace = 'payments'::regnamespace
		-- Months come and go.
		AND c.relname !~ '(^retired_|_[0-9]{4}_[0-9]{2}(_|$))'
	)
	SELECT format('relation %s %s', c.relname, c.relkind) FROM class c
	UNION ALL
	SELECT format('column %s %s', c.relname, a.attname)
	FROM class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relkind IN ('r', 'p', 'v')
	UNION ALL
	SELECT format('constraint %s %s', c.relname, n.conname)
	FROM class c
	JOIN pg_constraint n ON n.conrelid = c.oid
	WHERE n.contype IN ('p', 'u', 'c', 'f')
	UNION ALL
	SELECT format('trigger %s %s %s', c.relname, t.tgname, t.tgenabled)
	FROM class c
	JOIN pg_trigger t ON t.tgrelid = c.oid
	WHERE NOT t.tgisinternal
	UNION ALL
	SELECT format('policy %s %s', c.relname, p.polname)
	FROM class c
	JOIN pg_policy p ON p.polrelid = c.oid
	UNION ALL
	SELECT format('row security %s', c.relname) FROM class c WHERE c.relrowsecurity
	UNION ALL
	SELECT format('grant %s %s %s', c.relname, r.rolname, x.privilege_type)
	FROM class c
	CROSS JOIN LATERAL aclexplode(c.relacl) x
	JOIN pg_roles r ON r.oid = x.grantee
	WHERE starts_with(r.rolname, 'payments_')
	UNION ALL
	SELECT format('grant %s.%s %s %s', c.relname, a.attname, r.rolname, x.privilege_type)
	FROM class c
	JOIN pg_attribute a ON a.attrelid = c.oid
	CROSS JOIN LATERAL aclexplode(a.attacl) x
	JOIN pg_roles r ON r.oid = x.grantee
	WHERE starts_with(r.rolname, 'payments_')
$$;
COMMENT ON FUNCTION payments._setup_found() IS 'Internal: what is there of the kinds of things that setup() makes.';

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
			WHERE i.script = payments._setup_script()
			AND i.made <@ ARRAY(SELECT payments._setup_found())
		)
		AND EXISTS (SELECT FROM payments.merchant m WHERE m.merchant = 'default')
		AND EXISTS (SELECT FROM payments.psp p WHERE p.psp = 'sandbox');
END
$$;
COMMENT ON FUNCTION payments._setup_is_done() IS 'Internal: is all there that setup() would make? Reads, and locks nothing.';

CREATE FUNCTION payments._setup_record() RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	UPDATE payments.installation
	SET script = payments._setup_script(), made = ARRAY(SELECT payments._setup_found())
$$;
COMMENT ON FUNCTION payments._setup_record() IS 'Internal: writes down what setup() has made.';

CREATE FUNCTION payments.migrate() RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
