-- What SQL means depends on settings that anybody may change, for a session, a
-- role or a database: what a backslash is, how a date, an interval or bytes are
-- written, whether names are quoted.  Every function in SQL or PL/pgSQL pins
-- these, whoever calls it.
--
-- Not those in C, which hand the server no text that means two things, and not
-- those for each row: immutable ones, and ones that become a part of the query
-- that calls them and so pin nothing.  A pin costs a microsecond.  What holds
-- without pins: no literal has a backslash, unless it is an E'' one (ci/sql_lint).
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.oid::regprocedure AS signature, s.name, s.value
		FROM pg_catalog.pg_proc p
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_catalog.pg_language l ON l.oid = p.prolang
		CROSS JOIN (
			VALUES ('standard_conforming_strings', 'on'), ('transform_null_equals', 'off'),
				('array_nulls', 'on'), ('quote_all_identifiers', 'off'), ('datestyle', 'ISO, MDY'),
				('intervalstyle', 'postgres'), ('bytea_output', 'hex'), ('extra_float_digits', '1')
		) s (name, value)
		WHERE p.pronamespace = 'payments'::regnamespace
		AND l.lanname IN ('sql', 'plpgsql', 'payments')
		AND p.prokind = 'f'
		AND p.provolatile <> 'i'
		AND p.proconfig IS NOT NULL
	LOOP
		EXECUTE format('ALTER FUNCTION %s SET %I = %L', f.signature, f.name, f.value);
	END LOOP;
END
$$;
