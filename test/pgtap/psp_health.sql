-- If this fails, payments are sent to a PSP that a person has paused or the
-- worker has given up, or kept from one that is well.

\ir ../lib/prelude.sql
SET client_min_messages = warning;
SELECT no_plan();
SELECT payments.create_psp('one', 'sandbox');

CREATE FUNCTION public.state_of(psp text) RETURNS text LANGUAGE sql AS $$SELECT state FROM payments._health_of(psp)$$;

SELECT is(public.state_of('one'), 'good', 'of a PSP of which nothing is known nothing is said');
SELECT is(public.state_of('none'), 'unknown', 'there is no such PSP');
SELECT is(public.state_of(repeat('x', 200)), 'unknown', 'however long its name');

-- From well to worse; each is seen at once by a session that had another in its cache.
INSERT INTO payments.psp_health (psp, in_flight_max, calls_per_second, noted_at) VALUES ('one', 5, 12.5, now());
SELECT is(public.state_of('one'), 'slowed', 'it wants fewer calls');
UPDATE payments.psp_health SET silent_until = now() - interval '1 s';
SELECT is(public.state_of('one'), 'half_open', 'it gets a call to see whether it answers');
UPDATE payments.psp_health SET silent_until = now() + interval '1 h';
SELECT is(public.state_of('one'), 'silent', 'it does not answer');
SELECT is(h.until, x.silent_until, 'until') FROM payments._health_of('one') h, payments.psp_health x;
UPDATE payments.psp_health SET silent_until = NULL, paused_until = now() + interval '1 h';
SELECT is(public.state_of('one'), 'silent', 'it wants no call');
UPDATE payments.psp_health SET problem = 'no secret';
SELECT is(public.state_of('one'), 'unfit', 'the worker cannot call it');
UPDATE payments.psp SET paused_at = now() WHERE psp = 'one';
SELECT is(public.state_of('one'), 'paused', 'a person has paused it');
UPDATE payments.psp SET paused_until = now() + interval '1 h' WHERE psp = 'one';
SELECT is(public.state_of('one'), 'paused', 'for an hour');
UPDATE payments.psp SET halted_at = now() WHERE psp = 'one';
SELECT is(public.state_of('one'), 'halted', 'it refuses our credentials');
UPDATE payments.psp SET halted_at = NULL, paused_until = now() - interval '1 s' WHERE psp = 'one';
DELETE FROM payments.psp_health;
SELECT is(public.state_of('one'), 'good', 'and all ends');
SELECT is(public.state_of('sandbox'), 'good', 'others have nothing to do with it');

-- Verbs.
SELECT payments.create_payment('paused', 100, 'EUR', psp => 'one', payment_method => 'sandbox_ok');
SELECT throws_ok($$SELECT payments.pause_psp('one', ' ')$$, '22023', 'reason must be a text of 1 to 1000 characters', 'a pause has a reason');
SELECT throws_ok($$SELECT payments.pause_psp('one', 'why', now())$$, '22023', 'until must be in the future', 'and ends later');
SELECT throws_ok($$SELECT payments.pause_psp('none', 'why')$$, 'PY401', NULL, 'of a PSP');
SET ROLE payments_operator;
SELECT payments.pause_psp('one', 'its pages are down');
RESET ROLE;
SELECT is(public.state_of('one'), 'paused', 'an operator pauses it');
SELECT is((SELECT count(*)::int FROM payments.claim('w', 10, '1 min', 'one')), 0, 'and nothing is claimed');
SELECT results_eq($$SELECT state, reason, paused_by, queued, due FROM payments.psp_status WHERE psp = 'one'$$,
	$$VALUES ('paused', 'its pages are down', 'payments_operator', 1::bigint, 1::bigint)$$, 'psp_status says who and why, and what waits');
SELECT is((SELECT why FROM payments.stuck WHERE psp = 'one'), 'the worker does not run; PSP paused by payments_operator: its pages are down', 'and so does stuck');
SELECT matches((SELECT hint FROM payments.worker_status), 'PSP "one" is paused by payments_operator: its pages are down', 'and worker_status');
SELECT payments.pause_psp('one', 'for longer', now() + interval '1 h');
SELECT payments.accept_psp_account('one');
SELECT is(public.state_of('one'), 'paused', 'that another account is meant ends no pause');
SELECT throws_ok($$SET ROLE payments_operator; SELECT payments.resume_psp('one')$$, '42501', NULL, 'an administrator ends it');
SELECT payments.resume_psp('one');
SELECT payments.resume_psp('one');
SELECT is(public.state_of('one'), 'good', 'and it is called again');
SELECT results_eq($$SELECT seq, action, paused_until > now(), reason, actor FROM payments.psp_pause ORDER BY seq$$,
	$$VALUES (1, 'paused', NULL::boolean, 'its pages are down', 'payments_operator'), (2, 'paused', true, 'for longer', session_user::text COLLATE "default"),
		(3, 'resumed', NULL, NULL, session_user::text COLLATE "default")$$, 'all of which is history');
SELECT throws_ok('DELETE FROM payments.psp_pause', 'PY003', NULL, 'that stays');
SELECT is((SELECT count(*)::int FROM payments.claim('w', 10, '1 min', 'one')), 1, 'what had waited is claimed');

-- Paused while it may have something: that is asked for, and not sent again.
SELECT payments.pause_psp('one', 'again');
UPDATE payments.queue SET due_at = now() - interval '1 s';
SELECT is((SELECT count(*)::int FROM payments.claim('w', 10, '1 min', 'one')), 0, 'a lease that runs out in a pause');
SELECT is((SELECT status FROM payments.payment WHERE psp = 'one'), 'in_doubt', 'leaves the payment in doubt');
UPDATE payments.queue SET due_at = now() - interval '1 s';
SELECT is((SELECT count(*)::int FROM payments.claim('w', 10, '1 min', 'one')), 1, 'and is claimed');
SELECT results_eq($$SELECT action FROM payments.attempt WHERE attempt = 2$$, $$VALUES ('inquire')$$, 'to be asked for');

-- What could be found out only by sending it again is not: of YooKassa, whose id was never told.
BEGIN;
SELECT payments.create_psp('tap', 'yookassa', secret => 'tap'), payments.arm();
SELECT payments.create_payment('asked', 100, 'RUB', psp => 'tap', payment_method => 'bank_card', return_url => 'https://shop.example/back');
SELECT is(payments.complete(operation_id, attempt, NULL), 'in_doubt', 'its answer is lost') FROM payments.claim('w', 10, '1 min', 'tap');
SELECT payments.pause_psp('tap', 'again');
UPDATE payments.queue SET due_at = now() - interval '1 s' WHERE psp = 'tap';
SELECT is((SELECT count(*)::int FROM payments.claim('w', 10, '1 min', 'tap')), 0, 'paused: it is not sent again to be asked for');
SELECT results_eq($$SELECT action, claimed_by, due_at > now() FROM payments.queue WHERE psp = 'tap'$$, $$VALUES ('inquire', NULL::text, true)$$, 'but waits');
SELECT payments.resume_psp('tap');
UPDATE payments.queue SET due_at = now() - interval '1 s' WHERE psp = 'tap';
SELECT results_eq($$SELECT attempt, method FROM payments.claim('w', 10, '1 min', 'tap')$$, $$VALUES (2, 'POST')$$, 'until the pause is over');
ROLLBACK;

-- Figures of answers, where no worker has counted.
SELECT results_eq($$SELECT p50_ms, calls, success_share FROM payments.psp_status WHERE psp = 'one'$$, $$VALUES (NULL::int, 1, 0.000)$$, 'the lease that was lost is a failure without a time');

SELECT * FROM finish();
