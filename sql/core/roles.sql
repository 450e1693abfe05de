-- Roles belong to the cluster, so they may be here already, made for another
-- database.  payments_owner owns tables and functions and is nobody's login;
-- payments_worker must be LOGIN before PostgreSQL 17, has no password and owns
-- nothing.
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['payments_owner', 'payments_app', 'payments_operator', 'payments_admin',
								'payments_auditor', 'payments_worker'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION %s',
				name,
				CASE WHEN name OPERATOR(pg_catalog.=) 'payments_worker' THEN 'LOGIN' ELSE 'NOLOGIN' END);
		ELSIF EXISTS (
			SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) name AND r.rolsuper
		) THEN
			RAISE EXCEPTION USING
				ERRCODE = '42501',
				MESSAGE = pg_catalog.format('role "%s" is a superuser', name),
				HINT = pg_catalog.format(
					'Run ALTER ROLE %I NOSUPERUSER: payments must not run with a superuser''s rights.', name);
		END IF;
	END LOOP;
END
$$;

GRANT USAGE, CREATE ON SCHEMA payments TO payments_owner;
GRANT USAGE ON SCHEMA payments TO payments_app, payments_operator, payments_admin, payments_auditor, payments_worker;
