\echo Use "CREATE EXTENSION payments" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- The schema is made by CREATE EXTENSION and is no member.  A role that made
-- it first could drop everything in it later, so only a superuser's will do.
DO $$
BEGIN
	IF EXISTS (
		SELECT FROM pg_catalog.pg_namespace n
		JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
		WHERE n.nspname OPERATOR(pg_catalog.=) 'payments' AND NOT r.rolsuper
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = 'schema "payments" belongs to a role that is not a superuser',
			HINT = 'Drop the schema, or give it to a superuser, and create the extension again.';
	END IF;
END
$$;
