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

SELECT * FROM finish();
