-- Roles belong to the cluster, so they may be here already, made for another
-- database.  payments_owner owns tables and functions and is nobody's login;
-- payments_worker must be LOGIN before PostgreSQL 17, has no password and owns
-- nothing.  payments_adapter is whom functions of adapters run as: it has nothing,
-- and is in nothing.
--
-- Whoever may make roles can have made these before, with more rights, or with
-- himself as a member: then what is theirs would be his.
DO $$
DECLARE
	name text;
	repair text;
	-- Nobody is to be a member of these, nor these of anything.
	alone CONSTANT text[] := ARRAY['payments_owner', 'payments_worker', 'payments_adapter'];
BEGIN
	FOREACH name IN ARRAY ARRAY['payments_owner', 'payments_app', 'payments_operator', 'payments_admin',
								'payments_auditor', 'payments_worker', 'payments_adapter'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION %s',
				name,
				CASE WHEN name OPERATOR(pg_catalog.=) 'payments_worker' THEN 'LOGIN' ELSE 'NOLOGIN' END);
			CONTINUE;
		END IF;
		SELECT pg_catalog.min(x.statement) INTO repair
		FROM pg_catalog.pg_authid r
		CROSS JOIN LATERAL (
			SELECT pg_catalog.format('ALTER ROLE %I NO%s', name, a.attribute)
			FROM (
				VALUES ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole),
					('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication),
					('BYPASSRLS', r.rolbypassrls),
					('LOGIN', r.rolcanlogin
						AND name OPERATOR(pg_catalog.=) ANY (ARRAY['payments_owner', 'payments_adapter']))
			) a (attribute, has)
			WHERE a.has
			UNION ALL
			SELECT pg_catalog.format('ALTER ROLE %I PASSWORD NULL', name)
			WHERE r.rolpassword IS NOT NULL
			AND name OPERATOR(pg_catalog.=) ANY (alone)
			UNION ALL
			SELECT pg_catalog.format('REVOKE %I FROM %I', g.rolname, m.rolname)
			FROM pg_catalog.pg_auth_members a
			JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) a.roleid
			JOIN pg_catalog.pg_roles m ON m.oid OPERATOR(pg_catalog.=) a.member
			WHERE (a.roleid OPERATOR(pg_catalog.=) r.oid OR a.member OPERATOR(pg_catalog.=) r.oid)
			AND name OPERATOR(pg_catalog.=) ANY (alone)
		) x (statement)
		WHERE r.rolname OPERATOR(pg_catalog.=) name;
		IF repair IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = '42501',
				MESSAGE = pg_catalog.format(
					'role "%s" is there already, and has members, or more rights than it should', name),
				HINT = pg_catalog.format(
					'Find out who made it. Then run %s; and create the extension again.', repair);
		END IF;
	END LOOP;
END
$$;

GRANT USAGE, CREATE ON SCHEMA payments TO payments_owner;
GRANT USAGE ON SCHEMA payments TO payments_app, payments_operator, payments_admin, payments_auditor, payments_worker;
