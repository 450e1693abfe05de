-- If this fails, a null that somebody passes to a function reaches code in C that
-- does not expect one, there or further down: the server crashes, and with it
-- every session.  Every function of the schema, also internal ones.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

-- What a parameter takes when it is not null: with that the function gets past
-- its other checks, as far as it comes in an empty ledger.
CREATE FUNCTION pg_temp.plausible(parameter text, kind text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%L::%s', coalesce(
		CASE kind || ' ' || parameter
			WHEN 'bigint account' THEN min(a.account_id)::text
			WHEN 'bigint debit' THEN min(a.account_id)::text
			WHEN 'bigint credit' THEN max(a.account_id)::text
			WHEN 'bigint[] debits' THEN format('{%s}', min(a.account_id))
			WHEN 'bigint[] credits' THEN format('{%s}', max(a.account_id))
			WHEN 'bigint hold_id' THEN (SELECT h.hold_id FROM payments.ledger_hold h)::text
			WHEN 'bigint posting_id' THEN (SELECT min(p.posting_id) FROM payments.posting p)::text
			WHEN 'bigint transaction_id' THEN (SELECT min(p.posting_id) FROM payments.posting p)::text
			WHEN 'uuid payment_id' THEN (SELECT p.payment_id FROM payments.payment p)::text
			WHEN 'integer http_status' THEN '200'
			WHEN 'integer parts' THEN '2'
			WHEN 'boolean hot' THEN 'true'
			WHEN 'numeric net' THEN '0'
			WHEN 'text name' THEN 'posting'
			WHEN 'text table_name' THEN 'posting'
			WHEN 'text currency' THEN 'EUR'
			WHEN 'text merchant' THEN 'default'
			WHEN 'text psp' THEN 'sandbox'
			WHEN 'text adapter' THEN 'sandbox'
			WHEN 'text base_url' THEN 'https://psp.example'
			WHEN 'text return_url' THEN 'https://shop.example'
			WHEN 'text capture' THEN 'automatic'
			WHEN 'text type' THEN 'asset'
			WHEN 'text code' THEN 'asset:other'
			WHEN 'text[] events' THEN '{capture}'
			WHEN 'bigint min_balance' THEN '0'
			WHEN 'bigint max_balance' THEN '1000'
			WHEN 'timestamp with time zone expires_at' THEN 'tomorrow'
			WHEN 'timestamp with time zone effective_at' THEN 'now'
			WHEN 'bigint parent' THEN min(a.account_id)::text
		END,
		CASE kind
			WHEN 'text' THEN 'some'
			WHEN 'text[]' THEN '{some}'
			WHEN 'boolean' THEN 'false'
			WHEN 'boolean[]' THEN '{f}'
			WHEN 'uuid' THEN '00000000-0000-7000-8000-000000000001'
			WHEN 'jsonb' THEN '{}'
			WHEN 'bytea' THEN '{}'
			WHEN 'interval' THEN '1 hour'
			WHEN 'timestamp with time zone' THEN 'yesterday'
			WHEN 'timestamp with time zone[]' THEN '{yesterday}'
			WHEN 'bigint[]' THEN '{1}'
			WHEN 'integer[]' THEN '{1}'
			ELSE '1'
		END), kind)
	FROM payments.account a
	WHERE a.code LIKE 'null:%'
$$;
SELECT payments.create_account('null:a', 'EUR', 'asset');
SELECT payments.create_account('null:b', 'EUR', 'asset');
SELECT payments.post(min(account_id), max(account_id), 10) FROM payments.account WHERE code LIKE 'null:%';
SELECT payments.hold(min(account_id), max(account_id), 1) FROM payments.account WHERE code LIKE 'null:%';
SELECT payments.create_payment('null', 100, 'EUR', payment_method => 'card', capture => 'manual');

-- One call with nothing null (-1), one with everything (0), and one with each argument.
-- retire_partitions() refuses to run in here; it hands its arguments on to SQL.  The
-- functions of the index are the server's own, and take what SQL cannot give.
CREATE TEMP TABLE call AS
SELECT p.oid, p.proname AS function, p.prokind AS kind, l.lanname AS language, nth,
	format('%s payments.%I(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, p.proname, string_agg(
		CASE WHEN nth IN (0, a.n) THEN format('NULL::%s', format_type(a.type, NULL)) ELSE pg_temp.plausible(a.name, format_type(a.type, NULL)) END,
		', ' ORDER BY a.n)) AS query
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
CROSS JOIN generate_series(-1, p.pronargs) nth
LEFT JOIN LATERAL unnest(p.proargtypes::oid[], (coalesce(p.proargnames, '{}'))[1:p.pronargs]) WITH ORDINALITY a (type, name, n) ON true
WHERE p.pronamespace = 'payments'::regnamespace
	AND (p.pronargs > 0 OR p.prorettype = 'trigger'::regtype)
	AND 'internal'::regtype <> ALL (p.proargtypes || p.prorettype)
GROUP BY p.oid, l.lanname, nth;

-- The error's SQLSTATE, or none; nothing that it did is left.
CREATE FUNCTION pg_temp.said(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE query;
	RAISE EXCEPTION 'undone' USING ERRCODE = 'TAP00';
EXCEPTION WHEN SQLSTATE 'TAP00' THEN
	RETURN 'none';
WHEN OTHERS THEN
	RETURN sqlstate;
END
$$;

SELECT is(array_agg(DISTINCT kind ORDER BY kind), '{f,p}', 'functions and procedures; an aggregate would need calls of its own') FROM call;
SELECT is(count(DISTINCT oid), (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace
	AND (p.pronargs > 0 OR p.prorettype = 'trigger'::regtype) AND 'internal'::regtype <> ALL (p.proargtypes || p.prorettype)), 'all that take arguments are called') FROM call;
SELECT cmp_ok(count(DISTINCT oid), '>=', 220::bigint, 'and there are many') FROM call;
SELECT cmp_ok(count(*), '>=', 18::bigint, 'with nothing null most of those in C do their work')
FROM call WHERE nth = -1 AND language = 'c' AND kind = 'f' AND pg_temp.said(query) = 'none';
-- The next line is reached by a server that still runs; an error that says so is fine, one that nobody thought of is not.
SELECT isnt(pg_temp.said(query), 'XX000', query) FROM call ORDER BY function, oid, nth;

SELECT finish();
ROLLBACK;
