-- If this fails, jobs misread their schedules, run what they must not, lose
-- their place after an error, or hide what they have found.  What pg_cron has to
-- do with it is in t/cron.pl; here there is none.

\ir ../lib/prelude.sql
\set ON_ERROR_STOP off
SET client_min_messages = error;
SELECT no_plan();

-- When a schedule comes, in UTC whatever the session's time zone.
SET timezone = 'America/New_York';
SELECT is(payments._cron_next(s, '2026-11-22 09:14:30+00') AT TIME ZONE 'UTC', t::timestamp, 'after 2026-11-22 09:14:30 (Sunday): ' || s)
FROM (VALUES
	('* * * * *', '2026-11-22 09:15'), ('14 9 * * *', '2026-11-23 09:14'), ('15 9 * * *', '2026-11-22 09:15'), ('*/10 * * * *', '2026-11-22 09:20'),
	('17 3 * * *', '2026-11-23 03:17'), ('0 0 29 2 *', '2028-02-29 00:00'), ('59 23 31 12 *', '2026-12-31 23:59'), ('5,50 4-6/2 * * *', '2026-11-23 04:05'),
	('0 0 1,15 * fri', '2026-11-27 00:00'), ('0 0 */2 * 1', '2026-11-23 00:00'), ('0 12 * * 0', '2026-11-22 12:00'), ('0 12 * * 7', '2026-11-22 12:00'),
	('0 0 1 jan-mar mon', '2027-01-01 00:00'), ('  0  0  *  * MON ', '2026-11-23 00:00'), ('@hourly', '2026-11-22 10:00'), ('@daily', '2026-11-23 00:00'),
	('@midnight', '2026-11-23 00:00'), ('@weekly', '2026-11-29 00:00'), ('@monthly', '2026-12-01 00:00'), ('@yearly', '2027-01-01 00:00'), ('@annually', '2027-01-01 00:00')) v (s, t);
RESET timezone;
SELECT is(payments._cron_next('@reboot', now()), 'infinity', '@reboot comes with the next start');
SELECT is(payments._cron_next('0 0 31 2 *', now()), NULL, 'a day that never comes');
SELECT throws_ok(format('SELECT payments._cron_next(%L, now())', s), '22023', NULL, 'no schedule: ' || s)
FROM unnest(ARRAY['', '* * * *', '* * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 *', '* * * * 8', '5-1 * * * *', '*/0 * * * *', '5/2 * * * *',
	'a * * * *', '* * * mon *', '-1 * * * *', '1,,2 * * * *', '5 seconds', '@never']) s;

-- What a job may be.
SELECT throws_ok(format('INSERT INTO payments.job (job, schedule, command, catch_up, period, builtin) VALUES (%L, %L, %L, %L, %L, false)', j, s, c, u, p), e, NULL, d)
FROM (VALUES
	('a b', '* * * * *', 'payments.check', 'once', NULL, '23514', 'a name is one word'),
	('x', '0 0 31 2 *', 'payments.check', 'once', NULL, '23514', 'a schedule must come'),
	('x', '61 * * * *', 'payments.check', 'once', NULL, '22023', 'and be one'),
	('x', '* * * * *', 'SELECT 1', 'once', NULL, '23514', 'a command is a function, no SQL'),
	('x', '* * * * *', 'payments.check', 'sometimes', NULL, '23514', 'a known rule'),
	('x', '* * * * *', 'payments.check', 'periods', NULL, '23514', 'periods have a length'),
	('x', '* * * * *', 'payments.check', 'once', '1 day', '23514', 'nothing else has'),
	('x', '* * * * *', 'payments.check', 'periods', '-1 day', '23514', 'above zero')) v (j, s, c, u, p, e, d);
SELECT is_empty($$SELECT j.job FROM payments.job j WHERE j.builtin AND NOT EXISTS (
	SELECT FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace AND 'payments.' || p.proname = j.command)$$, 'the functions of shipped jobs are there');
SELECT is_empty($$SELECT job FROM payments.job WHERE builtin AND coalesce(description, '') = ''$$, 'and they say what they are for');

SELECT results_eq($$SELECT job FROM payments.job WHERE builtin AND NOT enabled ORDER BY 1$$, ARRAY['close_month', 'issue_statements', 'retire_event', 'retire_payment_status', 'retire_posting'],
	'what cannot be taken back waits for a person to enable it');
SELECT is((SELECT string_agg(job, ' ') FROM payments.schedule_status WHERE NOT enabled AND (problem IS NOT NULL OR lag IS NOT NULL)), NULL, 'and is no problem until then');
SELECT is((SELECT string_agg(job, ' ') FROM payments.job WHERE command = 'payments.retire_partitions' AND NOT alone), NULL, 'what refuses a transaction block is alone');

-- Shipped jobs by hand.
CREATE TABLE public.done (job text, result text);
CALL payments.run_job('check');
CALL payments.run_job('seal_blocks');
CALL payments.run_job('verify');
CALL payments.run_job('verify_all');
CALL payments.run_job('fold_hot_accounts');
CALL payments.run_job('release_expired_holds');
CALL payments.run_job('make_partitions');
CALL payments.run_job('purge_job_run');
CALL payments.run_job('close_month');
CALL payments.run_job('retire_posting');
CALL payments.run_job('retire_payment_status');
CALL payments.run_job('retire_event');
CALL payments.run_job('purge_job_run_details');
SELECT results_eq($$SELECT job, result, sqlstate FROM payments.job_run ORDER BY run_id$$,
	$$VALUES ('check', 'done', NULL), ('seal_blocks', 'done', NULL), ('verify', 'done', NULL), ('verify_all', 'done', NULL), ('fold_hot_accounts', 'done', NULL),
		('release_expired_holds', 'done', NULL), ('make_partitions', 'done', NULL), ('purge_job_run', 'done', NULL), ('close_month', 'done', NULL),
		('retire_posting', 'done', NULL), ('retire_payment_status', 'done', NULL), ('retire_event', 'done', NULL), ('purge_job_run_details', 'failed', 'PY605')$$, 'all run by hand, but what needs pg_cron');
SELECT is((SELECT problem FROM payments.schedule_status WHERE job = 'purge_job_run_details'), 'failed: pg_cron is not preloaded', 'and the status says so');
SELECT is((SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'), 0, 'no lock is left');
CALL payments.run_job('nothing');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'PY606', 'an unknown job is refused');
BEGIN;
CALL payments.run_job('check');
\set code :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT is(:'code'::text, '2D000', 'not in a transaction');
SELECT is((SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'), 0, 'which leaves no lock either');
SELECT throws_ok('SELECT payments.schedule_jobs()', 'PY605', 'pg_cron is not preloaded', 'schedule_jobs() needs pg_cron');
SELECT results_eq($$SELECT job FROM payments.schedule_statements() WHERE job IS NOT NULL$$, $$SELECT job FROM payments._jobs() WHERE enabled ORDER BY 1$$, 'schedule_statements() does not');
SELECT results_eq($$SELECT job FROM payments.schedule_statements(remove => true)$$, $$VALUES (NULL::text)$$, 'to remove them takes one');
SELECT ok((SELECT bool_and(octet_length(payments._cron_prefix(d) || repeat('x', 30)) <= 63) FROM unnest(ARRAY['shop', repeat('d', 23), repeat('d', 63), repeat('ü', 31)]) d), 'names fit into pg_cron''s');
SELECT is((SELECT count(DISTINCT payments._cron_prefix(repeat('d', 62) || n))::int FROM generate_series(1, 9) n), 9, 'and differ where the databases do');

-- The watermark: a run goes on where the last one came to, whatever ended it.
CREATE ROLE sched_runner IN ROLE payments_admin;
CREATE TABLE public.seen (from_time timestamptz);
GRANT INSERT ON public.seen TO sched_runner;
CREATE FUNCTION public.note(from_time timestamptz, to_time timestamptz, fail_at timestamptz DEFAULT NULL) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen VALUES (from_time);
	IF from_time = fail_at THEN
		RAISE EXCEPTION USING ERRCODE = 'P0002', MESSAGE = 'no statement yet', HINT = 'Wait.';
	END IF;
	RETURN 7;
END
$$;
ALTER FUNCTION public.note OWNER TO payments_owner;
INSERT INTO payments.job (job, schedule, command, catch_up, period, delay, arguments, builtin) VALUES
	('note', '0 4 * * *', 'public.note', 'periods', '1 day', '1 hour', jsonb_build_object('fail_at', date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '3 days'), false);
SET ROLE sched_runner; CALL payments.run_job('note'); RESET ROLE;
SELECT is((SELECT count(*)::int FROM public.seen), 0, 'the period in which the job was made is not over');
INSERT INTO payments.job_state VALUES ('note', (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '5 days')::text || '+00', now())
ON CONFLICT (job) DO UPDATE SET watermark = excluded.watermark;
SET ROLE sched_runner; CALL payments.run_job('note'); RESET ROLE;
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'P0002', 'an error of the function is that of the call');
SELECT results_eq($$SELECT result, steps, rows, sqlstate, error FROM payments.job_run WHERE job = 'note' ORDER BY run_id DESC LIMIT 1$$,
	$$VALUES ('failed', 2, 14::bigint, 'P0002', 'no statement yet')$$, 'what was done before it stays done');
SELECT is((SELECT problem FROM payments.schedule_status WHERE job = 'note'), 'failed: no statement yet', 'the status tells');
UPDATE payments.job SET arguments = '{}', max_steps = 1 WHERE job = 'note';
SET ROLE sched_runner; CALL payments.run_job('note'); RESET ROLE;
SELECT is((SELECT last_result FROM payments.schedule_status WHERE job = 'note'), 'partial', 'a run ends after max_steps');
UPDATE payments.job SET max_steps = 10 WHERE job = 'note';
SET ROLE sched_runner; CALL payments.run_job('note'); RESET ROLE;
SET ROLE sched_runner; CALL payments.run_job('note'); RESET ROLE;
SELECT results_eq($$SELECT from_time FROM public.seen ORDER BY 1$$,
	$$SELECT (date_trunc('day', now() AT TIME ZONE 'UTC') - n * interval '1 day') AT TIME ZONE 'UTC' FROM generate_series(5, CASE WHEN now() AT TIME ZONE 'UTC' < date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 hour' THEN 2 ELSE 1 END, -1) n$$,
	'each period once, up to the last that is over');
SELECT is((SELECT problem FROM payments.schedule_status WHERE job = 'note'), NULL, 'and all is well');

-- Months have no length in days.
INSERT INTO payments.job (job, schedule, command, catch_up, period, builtin) VALUES ('monthly', '@monthly', 'public.note', 'periods', '1 month', false);
SET timezone = 'America/New_York';
SELECT is((payments._job_period('monthly', '2026-02-01 00:00:00+00')).to_time, '2026-03-01 00:00:00+00'::timestamptz, 'a month ends when it does, in UTC');
RESET timezone;
SELECT is((payments._job_period('monthly', NULL)).from_time, date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', 'and begins on its first day');

-- How far a run is: from a session beside it, in t/cron.pl; here what it says.
SELECT is(payments._short_number(n), t, 'a number in four characters: ' || n)
FROM (VALUES (0, '0'), (9999, '9999'), (9999.5, '10k'), (12345, '12k'), (999499, '999k'), (999500, '1.0M'), (1234567, '1.2M'), (9949999, '9.9M'), (9950000, '10M'), (2000000000, '2.0G'),
	(9223372036854775807, '9.2E')) v (n, t);
SELECT is(payments._job_activity(j, 3, n, t, r), a, a)
FROM (VALUES ('verify', 0, NULL, NULL, 'payments verify: 3 steps, 0 rows'), ('verify', 5000, NULL, 12.4, 'payments verify: 3 steps, 5000 rows, 12/s'),
	('verify', 5000, 10000, 12.4, 'payments verify: 5000/10000 rows (50 %), 12/s'), ('verify', 9999, 10000, 0.4, 'payments verify: 9999/10000 rows (99 %), 0/s'),
	('verify', 12, 10, 1, 'payments verify: 12/10 rows (100 %), 1/s'), ('verify', 0, 0, NULL, 'payments verify: 0/0 rows (100 %)'),
	('release_expired_holds', 1234567, 9876543, 54321, 'payments release_expired_holds: 1.2M/9.9M rows (12 %), 54k/s'),
	('release_expired_holds_of_ours_', 1234567, 9876543, 54321, 'payments release_expired_holds_of_ours_: 1.2M/9.9M (12 %)')) v (j, n, t, r, a);
SELECT is((SELECT count(*)::int FROM generate_series(1, 30) l, unnest(ARRAY[0, 7, 99999, 123456789, 9223372036854775807]) n, unnest(ARRAY[NULL, 0, 999, 9223372036854775807]) t, unnest(ARRAY[NULL, 0.001, 1e15]) r
	WHERE octet_length(payments._job_activity(repeat('x', l), 2147483647, n, t, r)) BETWEEN 10 AND 63), 30 * 5 * 4 * 3, 'whatever the numbers, it fits into application_name');
CREATE TABLE public.watched (step int, activity text, percent numeric, eta_known boolean, total bigint);
CREATE FUNCTION public.count_up(watermark text, say text) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	n int := coalesce(watermark::int, 0) + 1;
BEGIN
	-- What others see is what is committed: the steps before this one.
	INSERT INTO public.watched SELECT n, p.activity || CASE WHEN p.activity <> current_setting('application_name') THEN ' is not ' || current_setting('application_name') ELSE '' END,
		p.percent, p.eta > p.started_at, p.total FROM payments.progress p WHERE p.job = 'count_up';
	PERFORM pg_sleep(0.01);
	RETURN jsonb_build_object('rows', 10, 'watermark', n, 'done', n = 4) || CASE say WHEN 'total' THEN '{"total": 40}' WHEN 'left' THEN jsonb_build_object('left', 10 * (4 - n)) ELSE '{}' END;
END
$$;
ALTER FUNCTION public.count_up OWNER TO payments_owner;
GRANT INSERT ON public.watched TO payments_owner;
INSERT INTO payments.job (job, schedule, command, catch_up, arguments, builtin) VALUES ('count_up', '0 4 * * *', 'public.count_up', 'watermark', '{"say": "total"}', false);
SET ROLE sched_runner; CALL payments.run_job('count_up'); RESET ROLE;
SELECT results_eq($$SELECT step, regexp_replace(activity, '\d+/s$', 'N/s'), percent, eta_known, total FROM public.watched ORDER BY step$$, $$VALUES
	(1, 'payments count_up: 0 steps, 0 rows', NULL::numeric, NULL::boolean, NULL::bigint), (2, 'payments count_up: 10/40 rows (25 %), N/s', 25.0, true, 40),
	(3, 'payments count_up: 20/40 rows (50 %), N/s', 50.0, true, 40), (4, 'payments count_up: 30/40 rows (75 %), N/s', 75.0, true, 40)$$, 'rows of total, and a rate');
SELECT is((SELECT count(*)::int FROM payments.progress), 0, 'a run that has ended is no progress');
SELECT results_eq($$SELECT rows, total FROM payments.job_run WHERE job = 'count_up'$$, $$VALUES (40::bigint, 40::bigint)$$, 'and has done all');
TRUNCATE public.watched;
UPDATE payments.job_state SET watermark = '1' WHERE job = 'count_up';
UPDATE payments.job SET arguments = '{"say": "left"}' WHERE job = 'count_up';
SET ROLE sched_runner; CALL payments.run_job('count_up'); RESET ROLE;
SELECT results_eq($$SELECT step, percent, total FROM public.watched ORDER BY step$$, $$VALUES (2, NULL::numeric, NULL::bigint), (3, 33.3, 30), (4, 66.7, 30)$$, 'what is left counts from where the run began');
UPDATE payments.job SET arguments = '{"say": "nothing"}' WHERE job = 'count_up';
UPDATE payments.job_state SET watermark = NULL WHERE job = 'count_up';
SET ROLE sched_runner; CALL payments.run_job('count_up'); RESET ROLE;
SELECT is((SELECT total FROM payments.job_run WHERE job = 'count_up' ORDER BY run_id DESC LIMIT 1), NULL, 'who does not say has no total');

-- Findings stay until a person has dealt with them.
CREATE FUNCTION public.look() RETURNS TABLE (ok boolean, subject text, n int) LANGUAGE sql AS $$ VALUES (true, 'a', 1), (false, 'b', 2), (false, 'c', 3) $$;
ALTER FUNCTION public.look OWNER TO payments_owner;
INSERT INTO payments.job (job, schedule, command, builtin) VALUES ('look', '0 4 * * *', 'public.look', false);
SET ROLE sched_runner; CALL payments.run_job('look'); RESET ROLE;
SET ROLE sched_runner; CALL payments.run_job('look'); RESET ROLE;
SELECT results_eq($$SELECT subject, detail ->> 'n', last_run_id > run_id FROM payments.job_finding WHERE job = 'look' AND resolved_at IS NULL ORDER BY 1$$,
	$$VALUES ('b', '2', true), ('c', '3', true)$$, 'found twice, a finding is one');
CREATE OR REPLACE FUNCTION public.look() RETURNS TABLE (ok boolean, subject text, n int) LANGUAGE sql AS $$ VALUES (true, 'a', 1), (false, 'b', 7), (false, 'c', 3) $$;
SET ROLE sched_runner; CALL payments.run_job('look'); RESET ROLE;
SELECT is((SELECT detail ->> 'n' FROM payments.job_finding WHERE job = 'look' AND subject = 'b'), '2', 'as it was found first');
SELECT is((SELECT problem FROM payments.schedule_status WHERE job = 'look'), '2 open findings: see payments.job_finding', 'the status warns');
SELECT finding_id FROM payments.job_finding WHERE job = 'look' AND subject = 'b' \gset
CREATE ROLE sched_operator IN ROLE payments_operator;
SET ROLE sched_operator;
SELECT throws_ok(format('SELECT payments.resolve_finding(%s, NULL)', :finding_id), '22023', NULL, 'a resolution says something');
SELECT payments.resolve_finding(:finding_id, 'it was the moon');
SELECT throws_ok(format('SELECT payments.resolve_finding(%s, ''again'')', :finding_id), 'PY607', NULL, 'once');
RESET ROLE;
SELECT results_eq($$SELECT resolved_by, resolution FROM payments.job_finding WHERE resolved_at IS NOT NULL$$, $$VALUES ('sched_operator', 'it was the moon')$$, 'by whom');
SET ROLE sched_runner; CALL payments.run_job('look'); RESET ROLE;
SELECT is((SELECT open_findings::int FROM payments.schedule_status WHERE job = 'look'), 2, 'found again, it is a new one');

-- A real one: verify sees a row that was changed under its seal.
SELECT payments.create_account('till', 'EUR', 'asset') AS till, payments.create_account('sales', 'EUR', 'income') AS sales \gset
SELECT payments.post(:till, :sales, 100) AS first \gset
CALL payments.run_job('seal_blocks');
CALL payments.run_job('verify');
SELECT is((SELECT watermark FROM payments.schedule_status WHERE job = 'verify'), (SELECT max(block)::text FROM payments.seal), 'verify comes to the newest block');
SELECT payments.post(:till, :sales, 200) AS second \gset
CALL payments.run_job('seal_blocks');
-- Around the DDL guard; the second statement makes sessions look at the first.
SET allow_system_table_mods = on;
UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'guard_append_only';
UPDATE pg_class SET relhastriggers = relhastriggers WHERE relnamespace = 'payments'::regnamespace;
UPDATE payments.posting SET description = 'tampered' WHERE posting_id IN (:first, :second);
UPDATE pg_trigger SET tgenabled = 'A' WHERE tgname = 'guard_append_only';
UPDATE pg_class SET relhastriggers = relhastriggers WHERE relnamespace = 'payments'::regnamespace;
RESET allow_system_table_mods;
CALL payments.run_job('verify');
SELECT is((SELECT array_agg(detail ->> 'kind' || ' ' || (detail ->> 'table_name') ORDER BY 1) FROM payments.job_finding WHERE job = 'verify'), ARRAY['changed posting'], 'of new blocks, by night');
CALL payments.run_job('verify_all');
SELECT is((SELECT count(*)::int FROM payments.job_finding WHERE job = 'verify_all'), 2, 'of all, by month');
SELECT is((SELECT watermark FROM payments.job_state WHERE job = 'verify_all'), NULL, 'which begins anew each time');
SELECT is((SELECT total FROM payments.job_run WHERE job = 'verify_all' ORDER BY run_id DESC LIMIT 1), (SELECT max(block) FROM payments.seal), 'and says how many blocks there are');
INSERT INTO payments.job (job, schedule, command, arguments, catch_up, builtin) VALUES ('verify_slowly', '0 4 * * *', 'payments._job_verify', '{"blocks": 1, "whole": true}', 'watermark', false);
UPDATE payments.job SET max_steps = 1 WHERE job = 'verify_slowly';
SET ROLE sched_runner; CALL payments.run_job('verify_slowly'); RESET ROLE;
SELECT results_eq($$SELECT result, rows, total FROM payments.job_run WHERE job = 'verify_slowly'$$, $$SELECT 'partial', 1::bigint, max(block) FROM payments.seal$$, 'from its first step on');

-- Whose functions run: nobody's who could take the rights of the role that runs them.
CREATE ROLE sched_admin IN ROLE payments_admin;
CREATE ROLE "sched jobs" IN ROLE payments_admin;
CREATE SCHEMA sched_trap AUTHORIZATION sched_admin;
GRANT USAGE ON SCHEMA sched_trap TO PUBLIC;
SET ROLE sched_admin;
CREATE FUNCTION sched_trap.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
INSERT INTO payments.job (job, schedule, command, builtin) VALUES ('trap', '0 4 * * *', 'sched_trap.f', false), ('gone', '0 4 * * *', 'sched_trap.gone', false);
INSERT INTO payments.job (job, schedule, command, arguments, builtin) VALUES ('any_sql', '0 4 * * *', 'pg_catalog.query_to_xml',
	'{"query": "ALTER ROLE sched_admin SUPERUSER", "nulls": true, "tableforest": true, "targetns": ""}', false),
	('internal', '0 4 * * *', 'payments._cron_statement', '{"_jobname": "a", "_schedule": "b", "_command": "c", "_in_database": null, "_username": null}', false);
SELECT throws_ok(v, '42501', NULL, 'shipped rows are not an administrator''s: ' || v) FROM unnest(ARRAY[
	$$UPDATE payments.job SET arguments = '{"x": 1}' WHERE job = 'check'$$, $$UPDATE payments.job SET builtin = true WHERE job = 'trap'$$,
	$$INSERT INTO payments.job (job, schedule, command, builtin) VALUES ('shipped', '0 4 * * *', 'sched_trap.f', true)$$, $$DELETE FROM payments.job WHERE job = 'check'$$,
	$$UPDATE payments.settlement_format SET function = 'sched_trap.f' WHERE format = 'csv'$$, $$DELETE FROM payments.posting_rule$$]) v;
CALL payments.run_job('trap');
SELECT is((SELECT last_result FROM payments.schedule_status WHERE job = 'trap'), 'done', 'its owner may run it');
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('internal');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'of ours what is shipped as a job, and no other');
RESET ROLE;
INSERT INTO payments.job (job, schedule, command, builtin) VALUES ('ours', '0 4 * * *', 'payments.check', false);
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('trap');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'a superuser does not run what an administrator made');
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('ours');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'nor with whatever arguments what is ours');
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('any_sql');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'nor what would run anything');
SET ROLE "sched jobs";
CALL payments.run_job('ours');
SELECT is((SELECT last_result FROM payments.schedule_status WHERE job = 'ours'), 'done', 'another administrator does what is ours');
RESET ROLE;
SET ROLE "sched jobs";
CALL payments.run_job('trap');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'nor does another administrator');
CALL payments.run_job('gone');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42883', 'a function that is not there is named');
RESET ROLE;
-- Nor what another has told it to do.
CREATE ROLE sched_deputy IN ROLE payments_admin;
CREATE SCHEMA sched_own AUTHORIZATION sched_deputy;
CREATE SCHEMA sched_open AUTHORIZATION sched_deputy;
GRANT ALL ON SCHEMA sched_open TO PUBLIC;
SET ROLE sched_deputy;
CREATE FUNCTION sched_own.say(what text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION sched_open.say(what text) RETURNS int LANGUAGE sql AS 'SELECT 1';
SET ROLE sched_admin;
INSERT INTO payments.job (job, schedule, command, arguments, written_by) VALUES ('deputy', '0 4 * * *', 'sched_own.say', '{"what": "mine"}', 'sched_deputy'),
	('verify', '0 4 * * *', 'sched_trap.f', '{}', 'sched_admin');
SELECT is((SELECT written_by FROM payments.job WHERE job = 'deputy'), 'sched_admin', 'who wrote a row is not for him to say');
SET ROLE sched_deputy;
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('deputy');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'a function does not do what another than its owner has written');
UPDATE payments.job SET enabled = false WHERE job = 'deputy';
CALL payments.run_job('deputy');
SELECT is((SELECT last_result FROM payments.schedule_status WHERE job = 'deputy'), 'done', 'but what its owner has');
RESET ROLE;
UPDATE payments.job SET written_by = current_user WHERE job = 'deputy';
SET ROLE sched_deputy;
CALL payments.run_job('deputy');
SELECT is((SELECT count(*)::int FROM payments.job_run WHERE job = 'deputy' AND result = 'done'), 2, 'or a superuser');
INSERT INTO payments.job (job, schedule, command, arguments) VALUES ('open', '0 4 * * *', 'sched_open.say', '{"what": "mine"}');
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('open');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'nor where another could put one of the same name');

-- How far a shipped job is, and what it has found, nobody says for it.
SET ROLE sched_admin;
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('verify');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'no other function runs under its name');
UPDATE payments.job SET command = 'payments._job_verify', catch_up = 'once' WHERE job = 'verify' AND NOT builtin;
\set LAST_ERROR_SQLSTATE 00000
CALL payments.run_job('verify');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'nor does its own go on in another way');
DELETE FROM payments.job WHERE job = 'verify' AND NOT builtin;
SELECT payments._job_begin('verify') AS run \gset
SELECT throws_ok(format('SELECT payments._job_record(%s, %L)', :run, '[{"watermark": "999999", "done": true}]'), '42501', 'job "verify" writes down itself what it has come to', 'the watermark is its own');
SELECT payments._job_end(:run, NULL, NULL), payments._job_unlock('verify');
SELECT is((SELECT last_result FROM payments.schedule_status WHERE job = 'verify'), 'partial', 'a run that did nothing is not done');
SELECT throws_ok('SELECT payments._job_call(1)', '42501', NULL, 'and the rest is internal');
SELECT throws_ok('SELECT payments._job_note(1, ''[]'')', '42501', NULL, 'all of it');
SELECT throws_ok(format('SELECT payments._job_record(%s, ''[]'')', :run), 'PY901', NULL, 'what has ended is not written to');
RESET ROLE;
-- Nor do names that a search_path finds first.
CREATE FUNCTION sched_trap.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT '1999-01-01'::timestamptz$$;
SET search_path = sched_trap, pg_catalog, public;
SET ROLE "sched jobs";
CALL payments.run_job('seal_blocks');
SELECT public.is((SELECT last_result FROM payments.schedule_status WHERE job = 'seal_blocks'), 'done', 'the search_path of the session does not matter');
RESET ROLE;
RESET search_path;
SET ROLE sched_operator;
CALL payments.run_job('check');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '42501', 'jobs are an administrator''s');
RESET ROLE;

-- Retention cannot run within anything else.
INSERT INTO payments.job (job, schedule, command, arguments, alone, builtin) VALUES
	('retire', '0 4 1 * *', 'payments.retire_partitions', '{"table_name": "event", "older_than": "1 year"}', true, false),
	('retire_wrong', '0 4 1 * *', 'payments.retire_partitions', '{"table_name": "nothing", "older_than": "1 year"}', true, false);
SET ROLE "sched jobs";
CALL payments.run_job('retire');
SELECT is((SELECT last_result FROM payments.schedule_status WHERE job = 'retire'), 'done', 'a job that must be alone is');
CALL payments.run_job('retire_wrong');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '22023', 'and its error is seen');
SELECT matches((SELECT problem FROM payments.schedule_status WHERE job = 'retire_wrong'), '^killed', 'in the status too');
RESET ROLE;
SELECT is((SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'), 0, 'no lock is left by any');

-- Late, without pg_cron.
UPDATE payments.job_run SET started_at = started_at - interval '2 days', ended_at = ended_at - interval '2 days' WHERE job = 'seal_blocks';
UPDATE payments.job SET added_at = added_at - interval '2 days';
UPDATE payments.installation SET set_up_at = set_up_at - interval '2 days';
SELECT matches((SELECT problem FROM payments.schedule_status WHERE job = 'seal_blocks'), '^not run when it was due, and there is no pg_cron: CALL', 'a job that nobody runs is reported');
SELECT ok((SELECT lag > interval '1 day' FROM payments.schedule_status WHERE job = 'seal_blocks'), 'with its lag');
UPDATE payments.job_run SET started_at = started_at - interval '200 days', ended_at = ended_at - interval '200 days';
CALL payments.run_job('purge_job_run');
SELECT is((SELECT string_agg(job, ' ' ORDER BY job, run_id) FROM payments.job_run r WHERE job <> 'purge_job_run'
	AND NOT EXISTS (SELECT FROM payments.job_finding f WHERE f.resolved_at IS NULL AND r.run_id IN (f.run_id, f.last_run_id))
	AND EXISTS (SELECT FROM payments.job_run n WHERE n.job = r.job AND n.run_id > r.run_id)), NULL, 'old runs are purged, but the last of each job');
SELECT is((SELECT count(*)::int FROM payments.job_finding f WHERE f.resolved_at IS NULL AND NOT EXISTS (SELECT FROM payments.job_run r WHERE r.run_id = f.run_id)), 0,
	'and those that found what is open');
SELECT throws_ok(format('SELECT payments._purge_job_run(%L)', k), '22023', NULL, 'runs are kept for a day: ' || k) FROM unnest(ARRAY['-1 day', '23:59', '1 day -1 s']) k;

SELECT * FROM finish();
