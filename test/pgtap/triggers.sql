-- If this fails, a trigger function that somebody attaches in another way than
-- setup() does looks at rows that are not there, or takes a number for a text:
-- the server crashes.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

-- By its name some of them know what to look at.
CREATE SCHEMA attached;
CREATE TABLE attached.account AS TABLE payments.account WITH NO DATA;
CREATE TABLE attached.payment AS TABLE payments.payment WITH NO DATA;
INSERT INTO attached.account DEFAULT VALUES;
INSERT INTO attached.payment DEFAULT VALUES;

-- What a change says with a trigger of that function on the table: none, or the error's SQLSTATE.
CREATE FUNCTION pg_temp.said(function text, tbl regclass, moment text, event text, each text, change text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER attached %s %s ON %s FOR EACH %s EXECUTE FUNCTION payments.%I()', moment, event, tbl, each, function);
	EXECUTE format(change, tbl);
	RAISE EXCEPTION 'undone' USING ERRCODE = 'TAP00';
EXCEPTION WHEN SQLSTATE 'TAP00' THEN
	RETURN 'none';
WHEN OTHERS THEN
	RETURN sqlstate;
END
$$;
CREATE TEMP TABLE attempt AS
SELECT p.proname AS function, t.tbl, m.moment, e.event, x.each,
	pg_temp.said(p.proname, t.tbl, m.moment, e.event, x.each, e.change) AS said
FROM pg_proc p
CROSS JOIN (VALUES ('attached.account'), ('attached.payment')) t (tbl)
CROSS JOIN (VALUES ('BEFORE'), ('AFTER')) m (moment)
CROSS JOIN (VALUES ('INSERT', 'INSERT INTO %s DEFAULT VALUES'), ('UPDATE', 'UPDATE %s SET merchant = merchant'), ('DELETE', 'DELETE FROM %s'), ('TRUNCATE', 'TRUNCATE %s')) e (event, change)
CROSS JOIN (VALUES ('STATEMENT'), ('ROW')) x (each)
WHERE p.pronamespace = 'payments'::regnamespace AND p.prorettype = 'trigger'::regtype AND (e.event <> 'TRUNCATE' OR x.each = 'STATEMENT');

SELECT is(string_agg(DISTINCT function || ' ' || said, ', ' ORDER BY function || ' ' || said), 'forget_epoch none, forget_routes none, forget_salt none, guard_account 39P01, guard_append_only PY003, guard_card_numbers 39P01, guard_facts 39P01, guard_format_name 42703, guard_installation 39P01, guard_job_writer none, guard_psp 39P01, guard_retired none, guard_salt PY003, guard_salt none, guard_shipped 42703, guard_shipped none, guard_status 39P01, mask_staged 39P01', 'for each statement there is no row')
FROM attempt
WHERE each = 'STATEMENT';
SELECT is(string_agg(DISTINCT function || ' ' || said, ', ' ORDER BY function || ' ' || said), 'forget_epoch none, forget_routes none, forget_salt none, guard_account 39P01, guard_append_only PY003, guard_card_numbers 39P01, guard_facts 39P01, guard_format_name 42703, guard_installation 39P01, guard_job_writer none, guard_psp 39P01, guard_retired none, guard_salt PY003, guard_salt none, guard_shipped 42703, mask_staged 39P01', 'nor one to answer with, afterwards')
FROM attempt
WHERE each = 'ROW' AND moment = 'AFTER' AND function <> 'guard_status';
SELECT is(string_agg(DISTINCT said, ', '), '39P01', 'and before, or of another event, none that guard_status() could judge')
FROM attempt
WHERE each = 'ROW' AND function = 'guard_status' AND (moment = 'BEFORE' OR event <> 'INSERT');
SELECT is(count(*), 0::bigint, 'before each row, those that know the table look at it')
FROM attempt
WHERE each = 'ROW' AND moment = 'BEFORE' AND said <> CASE
	WHEN function LIKE 'forget_%' THEN 'none'
	WHEN function = 'guard_append_only' THEN 'PY003'
	WHEN function IN ('guard_account', 'guard_facts') AND event = 'DELETE' THEN 'PY003'
	WHEN function IN ('guard_account', 'guard_facts') THEN 'none'
	ELSE said
END;

-- ---------- the names of our tables and columns, and other types
CREATE SCHEMA odd;
SELECT format('CREATE TABLE odd.%I (%s)', c.relname, string_agg(format('%I %s', a.attname, CASE a.atttypid WHEN 'text'::regtype THEN 'int DEFAULT 1' ELSE 'text DEFAULT ''1''' END), ', '))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'payments'::regnamespace AND c.relname IN ('account', 'operation', 'payment', 'payment_status', 'settlement_staging')
GROUP BY c.relname \gexec
INSERT INTO odd.account DEFAULT VALUES;
CREATE TEMP TABLE mistaken AS
SELECT p.proname AS function, t.relname AS tbl,
	pg_temp.said(p.proname, t.oid, CASE p.proname WHEN 'guard_status' THEN 'AFTER' ELSE 'BEFORE' END, c.event, 'ROW', c.change) AS said
FROM pg_proc p
CROSS JOIN pg_class t
CROSS JOIN (VALUES ('INSERT', 'INSERT INTO %s DEFAULT VALUES'), ('UPDATE', $$UPDATE %s SET hot = 'x'$$)) c (event, change)
WHERE p.pronamespace = 'payments'::regnamespace AND p.proname ~ '^(guard_(account|facts|status)|mask_staged)$' AND t.relnamespace = 'odd'::regnamespace AND t.relkind = 'r'
AND (c.event = 'INSERT' OR t.relname = 'account' AND p.proname = 'guard_account');
SELECT is(string_agg(function || ' ' || tbl || ' ' || said, ', '), NULL, 'who reads a column looks at its type')
FROM mistaken
WHERE said <> '39P01' AND (function, tbl) IN (('guard_account', 'account'), ('guard_facts', 'operation'), ('guard_facts', 'payment'), ('guard_status', 'payment_status'), ('mask_staged', 'settlement_staging'));

SELECT finish();
ROLLBACK;
