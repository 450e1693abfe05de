-- If this fails, a function of ours runs a text that it is given as SQL: whoever
-- can have it called by somebody else, as a job for one, takes that one's rights.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

-- A rollback does not take it back.
CREATE SEQUENCE pg_temp.sprung;
CREATE FUNCTION pg_temp.trap() RETURNS text LANGUAGE sql AS $$ SELECT nextval('pg_temp.sprung')::text $$;
CREATE TEMP TABLE bait AS SELECT v FROM unnest(ARRAY[
	'pg_temp.trap()', 'SELECT pg_temp.trap()', 'pg_temp.trap', 'pg_temp.trap()::boolean', '''||pg_temp.trap()||''', '"||pg_temp.trap()||"',
	'SELECT no_such_thing()', 'no_such_thing()', $$'); SELECT pg_temp.trap(); --$$, '1); SELECT pg_temp.trap(); --']) v;

-- Every argument that is a text, or holds one, with each of these; the others as they may be.
CREATE TEMP TABLE call AS
SELECT p.oid::regprocedure::text AS function, b.v AS bait, format('SELECT * FROM payments.%I(%s)%s', p.proname, string_agg(
	CASE
		WHEN a.n = t.n AND a.type = 'text[]'::regtype THEN format('ARRAY[%L]', b.v)
		WHEN a.n = t.n AND a.type = 'jsonb'::regtype THEN format('jsonb_build_object(%L, %L)', b.v, b.v)
		WHEN a.n = t.n THEN format('%L::%s', b.v, format_type(a.type, NULL))
		WHEN a.type = 'jsonb'::regtype THEN $$'{}'::jsonb$$
		WHEN a.type IN ('text'::regtype, 'name'::regtype) THEN format('%L::%s', 'sandbox', format_type(a.type, NULL))
		WHEN a.type IN ('int'::regtype, 'bigint'::regtype, 'numeric'::regtype) THEN format('1::%s', format_type(a.type, NULL))
		WHEN a.type = 'boolean'::regtype THEN 'true'
		WHEN a.type = 'interval'::regtype THEN $$interval '0'$$
		ELSE format('NULL::%s', format_type(a.type, NULL))
	END, ', ' ORDER BY a.n), CASE WHEN p.prorettype = 'record'::regtype AND p.proallargtypes IS NULL THEN ' f (x text)' END) AS query
FROM pg_proc p
CROSS JOIN LATERAL unnest(p.proargtypes::oid[]) WITH ORDINALITY t (type, n)
CROSS JOIN LATERAL unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, n)
CROSS JOIN bait b
WHERE p.pronamespace = 'payments'::regnamespace AND p.prokind = 'f'
AND t.type IN ('text'::regtype, 'name'::regtype, 'text[]'::regtype, 'jsonb'::regtype)
AND 'internal'::regtype <> ALL (p.proargtypes || p.prorettype)
GROUP BY p.oid, p.proname, p.prorettype, p.proallargtypes, t.n, b.v;

-- It was run, or the server has tried to: what it names is not there, or it is no SQL at that place.
CREATE FUNCTION pg_temp.springs(query text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setval('pg_temp.sprung', 1);
	BEGIN
		EXECUTE query;
		RAISE EXCEPTION 'undone' USING ERRCODE = 'TAP00';
	EXCEPTION WHEN undefined_function THEN
		RETURN sqlerrm LIKE '%no\_such\_thing%';
	WHEN syntax_error THEN
		RETURN true;
	WHEN OTHERS THEN
		NULL;
	END;
	RETURN (SELECT last_value FROM pg_temp.sprung) > 1;
END
$$;
CREATE FUNCTION pg_temp.runs(query text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN EXECUTE query INTO r; RETURN r; END $$;
SELECT ok(pg_temp.springs(format('SELECT pg_temp.runs(%L)', v)), 'the trap springs where a text is run: ' || v) FROM unnest(ARRAY['SELECT pg_temp.trap()', 'SELECT x FROM (SELECT no_such_thing()) f', $$')$$]) v;
SELECT cmp_ok(count(DISTINCT function), '>=', 100::bigint, 'many functions take a text') FROM call;
SELECT is((SELECT string_agg(c.query, E'\n') FROM call c WHERE pg_temp.springs(c.query)), NULL, 'and none runs it');

SELECT * FROM finish();
ROLLBACK;
