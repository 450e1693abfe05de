\echo Use "CREATE EXTENSION payments" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- The schema is made by CREATE EXTENSION and is no member.  A role that made
-- it first could drop everything in it later, so only a superuser's will do.
-- Nor does another owner make safe what was put into it before, or who may put
-- something into it: it must be empty, but for tables that have outlived this
-- extension.
DO $$
DECLARE
	wrong text;
BEGIN
	SELECT pg_catalog.min(x.why) INTO wrong
	FROM pg_catalog.pg_namespace n
	CROSS JOIN LATERAL (
		SELECT 'it belongs to a role that is not a superuser'
		FROM pg_catalog.pg_roles r
		WHERE r.oid OPERATOR(pg_catalog.=) n.nspowner AND NOT r.rolsuper
		UNION ALL
		SELECT 'others may make something in it'
		FROM pg_catalog.aclexplode(n.nspacl) a
		LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee
		WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
		AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner
		AND r.rolname IS DISTINCT FROM 'payments_owner'
		UNION ALL
		SELECT 'it holds ' OPERATOR(pg_catalog.||) pg_catalog.pg_describe_object(d.classid, d.objid, 0)
		FROM pg_catalog.pg_depend d
		JOIN pg_catalog.pg_class k ON k.oid OPERATOR(pg_catalog.=) d.classid
		WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
		AND d.refobjid OPERATOR(pg_catalog.=) n.oid
		-- This extension itself, and what only names the schema.
		AND k.relname OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_extension', 'pg_publication_namespace'])
		AND NOT EXISTS (
			SELECT
			FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) c.relowner
			WHERE k.relname OPERATOR(pg_catalog.=) 'pg_class'
			AND c.oid OPERATOR(pg_catalog.=) d.objid
			AND r.rolname OPERATOR(pg_catalog.=) 'payments_owner'
		)
	) x (why)
	WHERE n.nspname OPERATOR(pg_catalog.=) 'payments';
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = 'schema "payments" is there and cannot be trusted: ' OPERATOR(pg_catalog.||) wrong,
			HINT = 'Drop the schema and create the extension again: it makes its own.';
	END IF;
END
$$;
