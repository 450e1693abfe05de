-- If this fails, a month has no partition, or one without its guards, or
-- retention takes what it must not.  What happens over the end of a month, under
-- load and after a crash is in test/t/partitions.pl.

\ir ../lib/prelude.sql
SELECT plan(27);

CREATE FUNCTION pg_temp.month(n int) RETURNS text LANGUAGE sql AS $$
	SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM')
$$;

-- Made ahead, of as many tables as have months.
SELECT count(*) AS tables FROM payments._tables() WHERE partition_key IS NOT NULL \gset
SELECT results_eq($$SELECT partition, is_default FROM payments._partitions() WHERE table_name = 'posting' ORDER BY is_default, from_time$$,
	$$SELECT 'posting_' || pg_temp.month(n), false FROM generate_series(0, 3) n UNION ALL SELECT 'posting_default', true$$,
	'setup() makes this month, three more and the default partition');
SELECT is((SELECT count(DISTINCT from_time) FROM payments._partitions()), 4::bigint, 'the same of all tables');
SELECT is(payments.make_partitions(), 0, 'there is nothing to be made again');
SELECT is(payments.make_partitions('5 months'), 2 * :tables, 'two months more for each table');
SELECT is(payments.make_partitions(since => now() - interval '2 months'), 2 * :tables, 'and two before');
SELECT is_empty($$
	SELECT p.partition, q.partition FROM payments._partitions() p JOIN payments._partitions() q ON q.table_name = p.table_name AND q.from_time > p.from_time
	WHERE p.to_time > q.from_time$$, 'ranges do not overlap');
SELECT is((SELECT count(*) FROM payments._partitions() p
		   WHERE NOT p.is_default AND p.to_time <> (p.from_time AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'), 0::bigint, 'each is a month of UTC');
SET timezone = 'Asia/Kolkata';
SELECT is(payments.make_partitions('6 months'), :tables, 'whatever the zone of the session');
SELECT is((SELECT count(*) FROM payments._partitions() p WHERE extract(day FROM p.from_time AT TIME ZONE 'UTC') <> 1), 0::bigint, 'a month begins at its beginning');
RESET timezone;
SELECT throws_ok(format('SELECT payments.make_partitions(%s)', a), '22023', NULL, 'refused: ' || a)
FROM unnest(ARRAY['NULL', '''11 years''', '''-1 day''', 'since => ''0001-01-01''']) a;

-- Bounds of UUIDv7 are those of their time.
SELECT is(payments._uuid_of('2026-11-01 00:00:00+00'), '01a19467-e800-0000-0000-000000000000'::uuid, 'the lowest id of a time');
SELECT is(payments._bound_time('01a19467-e800-0000-0000-000000000000'), '2026-11-01 00:00:00+00'::timestamptz, 'and its time');

-- Rows find their month.
SELECT payments.create_account('a', 'EUR', 'asset') AS a, payments.create_account('b', 'EUR', 'liability') AS b \gset
SELECT payments.post(:a, :b, 5) AS posting \gset
SELECT payment_id AS payment FROM payments.create_payment('partitions-1', 100, 'EUR', payment_method => 'sandbox_ok') \gset
SELECT is((SELECT tableoid::regclass::text FROM payments.posting WHERE posting_id = :posting), 'payments.posting_' || pg_temp.month(0), 'a posting');
SELECT is((SELECT tableoid::regclass::text FROM payments.payment_status WHERE payment_id = :'payment'), 'payments.payment_status_' || pg_temp.month(0), 'a history');
SELECT is((SELECT tableoid::regclass::text FROM payments.event WHERE aggregateid = :'payment'), 'payments.event_' || pg_temp.month(0), 'an event');

-- Guards, comments, rights.
SELECT is_empty($$
	SELECT p.partition, g FROM payments._partitions() p CROSS JOIN unnest(ARRAY['guard_append_only', 'guard_truncate', 'guard_status']) g
	LEFT JOIN pg_trigger t ON t.tgrelid = ('payments.' || p.partition)::regclass AND t.tgname = g
	WHERE t.tgenabled IS DISTINCT FROM 'A' AND (g <> 'guard_status' OR p.table_name = 'payment_status')$$, 'each partition has every guard, ALWAYS');
SELECT is_empty($$
	SELECT c.relname, a.attname FROM payments._partitions() p JOIN pg_class c ON c.oid = ('payments.' || p.partition)::regclass
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL$$, 'each has its comments');
SELECT is_empty($$
	SELECT p.partition FROM payments._partitions() p JOIN pg_class c ON c.oid = ('payments.' || p.partition)::regclass
	WHERE c.relacl IS NOT NULL OR c.relowner <> 'payments_owner'::regrole$$, 'each is its owner''s alone');
SELECT is((SELECT count(*) FROM payments.partition_status WHERE hint IS NOT NULL), 0::bigint, 'all is well');

-- Plans look into the months that are asked for.
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END
$$;
SELECT is((SELECT count(DISTINCT m.x) FROM pg_temp.plan(format('SELECT FROM payments.posting WHERE posting_id = %s AND booked_at = now()', :posting)) l (line),
			regexp_matches(l.line, 'posting_(?:\d{4}_\d\d|default)\M', 'g') m (x)), 1::bigint, 'a posting by id and time: one');
SELECT is((SELECT count(DISTINCT m.x) FROM pg_temp.plan(format('SELECT FROM payments.payment_status WHERE payment_id = %L', :'payment')) l (line),
			regexp_matches(l.line, 'payment_status_(?:\d{4}_\d\d|default)\M', 'g') m (x)), 1::bigint, 'a history: one');

-- Retention.
SELECT throws_ok('SELECT payments.retire_partitions(''posting'', ''1 year'')', '25001', NULL, 'refused: where the lock would be kept for longer');
SELECT is((SELECT count(*) FROM payments.retire_partitions('posting', older_than => '1 month') WHERE refused IS NULL AND rows = 0) > 0, true, 'empty months may go');
SELECT is(payments.make_partitions(since => now() - interval '2 months'), 0, 'and do not come back');

SELECT * FROM finish();
