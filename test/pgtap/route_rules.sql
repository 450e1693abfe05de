-- If this fails, a payment goes to a PSP that no rule meant, a repeated call to
-- another one than the first, so that the customer is charged at both, or nobody
-- can say why it is where it is.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = warning;

SELECT payments.create_psp(p, 'sandbox') FROM unnest('{a,b,c,d}'::text[]) p;
SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.create_merchant('shop', psp => 'd'), payments.create_merchant('other', psp => 'd');

CREATE TEMP SEQUENCE keys;
CREATE FUNCTION pg_temp.pay(merchant text DEFAULT 'shop', amount bigint DEFAULT 1000, currency text DEFAULT 'EUR', method text DEFAULT NULL, capture text DEFAULT 'automatic',
	metadata jsonb DEFAULT '{}', key text DEFAULT NULL, psp text DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(coalesce(key, 'k' || nextval('keys')), amount, currency, merchant, method, capture, metadata => metadata, psp => psp)
$$;
CREATE FUNCTION pg_temp.goes(merchant text DEFAULT 'shop', amount bigint DEFAULT 1000, currency text DEFAULT 'EUR', method text DEFAULT NULL, capture text DEFAULT 'automatic',
	metadata jsonb DEFAULT '{}', key text DEFAULT NULL, psp text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.pay($1, $2, $3, $4, $5, $6, $7, $8);
BEGIN
	RETURN (SELECT p.psp || coalesce(' by ' || (p.route ->> 'rule'), '') FROM payments.payment p WHERE p.payment_id = id);
END
$$;
-- Of a new payment: what is noted of a PSP.
CREATE FUNCTION pg_temp.note(psp text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.pay();
BEGIN
	RETURN (SELECT e.note FROM payments.explain_route(id) e WHERE e.psp = $1);
END
$$;

-- ---------- each condition
SELECT is(pg_temp.goes(), 'd', 'without a rule: the merchant''s own');
SELECT payments.create_route_rule('any', '{a}', priority => 1000);
SELECT is(pg_temp.goes(), 'a by any', 'a rule comes before the merchant''s own');
SELECT is(pg_temp.goes(psp => 'c'), 'c', 'and what the call names before all');
SELECT is(pg_temp.goes(method => 'sandbox_ok'), 'd', 'a token belongs to the PSP that gave it: no rule, unless it says so');
SELECT payments.create_route_rule('tokens', '{b}', payment_method => 'sandbox_*k');
SELECT is(pg_temp.goes(method => 'sandbox_ok') || ', ' || pg_temp.goes(method => 'sandbox_oks') || ', ' || pg_temp.goes(), 'b by tokens, d, a by any', 'which it says by a pattern');
SELECT payments.create_route_rule('everything', '{b}', priority => 5, payment_method => '*', capture => 'manual');
SELECT is(pg_temp.goes(method => 'sandbox_declined', capture => 'manual') || ', ' || pg_temp.goes(capture => 'manual'), 'b by everything, b by everything', '* is any token and none; and how it is captured');
SELECT payments.create_route_rule('dollars', '{b}', priority => 1, currency => 'USD');
SELECT is(pg_temp.goes(currency => 'USD') || ', ' || pg_temp.goes(), 'b by dollars, a by any', 'currency');
SELECT payments.create_route_rule('large', '{c}', priority => 2, currency => 'EUR', amount_min => 5000, amount_max => 9000);
SELECT is(pg_temp.goes(amount => 4999) || ', ' || pg_temp.goes(amount => 5000) || ', ' || pg_temp.goes(amount => 9000) || ', ' || pg_temp.goes(amount => 9001),
	'a by any, c by large, c by large, a by any', 'amounts, both ends included');
SELECT payments.create_route_rule('others', '{c}', priority => 0, merchant => 'other');
SELECT is(pg_temp.goes('other') || ', ' || pg_temp.goes(), 'c by others, a by any', 'merchant');
SELECT payments.create_route_rule('swiss', '{c}', priority => 3, country => 'CH');
SELECT is(pg_temp.goes(metadata => '{"country": "CH"}') || ', ' || pg_temp.goes(metadata => '{"country": "CHE"}') || ', ' || pg_temp.goes(metadata => '{"country": 1}'),
	'c by swiss, a by any, a by any', 'country');
SELECT payments.create_route_rule('gone', '{c}', priority => -1, valid_from => now() - interval '2 days', valid_until => now()),
	payments.create_route_rule('draft', '{c}', priority => -2, valid_from => 'infinity'), payments.create_route_rule('moves', '{c}', priority => -3, kind => 'topup');
SELECT is(pg_temp.goes(), 'a by any', 'one that is over, one that has not begun, and one of another kind');
SELECT payments.order_route_rules('{swiss,dollars}');
SELECT is(pg_temp.goes(currency => 'USD', metadata => '{"country": "CH"}'), 'c by swiss', 'the first that fits, in an order that can be changed');
SELECT payments.drop_route_rule(r) FROM unnest('{swiss,others,dollars,large,everything,tokens,gone,moves}'::text[]) r;
SELECT is(pg_temp.goes('other'), 'a by any', 'dropped: at once');
SELECT payments.create_route_rule('any', priority => 50);
SELECT is((SELECT priority || ' ' || psps::text FROM payments.route_rule WHERE rule = 'any'), '50 {a}', 'what is left out stays');

-- ---------- shares
SELECT payments.create_route_rule('any', '{a,b,c}', '{70,30,0}');
CREATE TEMP TABLE first AS SELECT n, pg_temp.goes(key => 'share' || n) AS psp FROM generate_series(1, 1000) n;
SELECT is((SELECT string_agg(psp, ', ' ORDER BY psp) FROM (SELECT DISTINCT psp FROM first) f), 'a by any, b by any', 'a share of 0 has none');
SELECT cmp_ok(abs((SELECT count(*) FROM first WHERE psp = 'a by any') - 700), '<', 60::bigint, '70 of 100, as nearly as a thousand keys show');
SELECT is((SELECT count(*) FROM first f, LATERAL payments._route_of('shop', 'share' || f.n, 'purchase', 1000, 'EUR', NULL, 'automatic', '{}', now(), NULL) r WHERE f.psp = r || ' by any'),
	1000::bigint, 'by the key alone: asked again, the same');
SELECT payments.create_route_rule('any', '{c,b,a}', '{0,30,70}');
SELECT is((SELECT count(*) FROM first f, LATERAL payments._route_of('shop', 'share' || f.n, 'purchase', 1000, 'EUR', NULL, 'automatic', '{}', now(), NULL) r WHERE f.psp = r || ' by any'),
	1000::bigint, 'however they are listed');
SELECT payments.create_route_rule('any', '{a,b}', '{70,30}');
SELECT isnt((SELECT string_agg(payments._route_of('shop', 'share' || n, 'purchase', 1000, 'EUR', NULL, 'automatic', '{}', now(), NULL), '') FROM generate_series(1, 100) n),
	(SELECT string_agg(payments._route_of('other', 'share' || n, 'purchase', 1000, 'EUR', NULL, 'automatic', '{}', now(), NULL), '') FROM generate_series(1, 100) n), 'and by the merchant');

-- ---------- cost
SELECT payments.create_route_rule('any', '{a,b}', '{1,1}', currency => 'EUR', pick => 'cost', cost_fixed => '{10,30}', cost_bp => '{250,50}');
SELECT is(pg_temp.goes(amount => 900) || ', ' || pg_temp.goes(amount => 1100), 'a by any, b by any', 'the cheapest for this amount');

-- ---------- success
SELECT payments.create_route_rule('lately', '{a,b,c}', '{1,1,0}', priority => 1, currency => 'SEK', pick => 'success', payment_method => '*', explore => 0);
CREATE FUNCTION pg_temp.end_all() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(payments.complete(c.operation_id, c.attempt, 200)) FROM unnest('{a,b}'::text[]) p, payments.claim('me', 1000, psp => p) c
$$;
SELECT payments.create_payment('at-' || p || m || n, 1000, 'SEK', 'shop', m, psp => p) FROM (VALUES ('a', 'sandbox_ok', 2), ('a', 'sandbox_declined', 8), ('b', 'sandbox_ok', 8), ('b', 'sandbox_declined', 2)) w (p, m, k), generate_series(1, k) n;
SELECT cmp_ok(pg_temp.end_all(), '>=', 20::bigint, 'ten have ended at each of two PSPs');
SELECT is(payments._count_outcomes(), (SELECT count(DISTINCT (psp, currency)) FROM payments.operation WHERE status IN ('succeeded', 'failed')), 'they are counted by PSP and currency');
SELECT results_eq($$SELECT psp, tried, succeeded FROM payments.route_outcome WHERE currency = 'SEK' ORDER BY 1$$, $$VALUES ('a', 10::bigint, 2::bigint), ('b', 10, 8)$$, 'how many, and how many well');
SELECT payments._count_outcomes();
SELECT is((SELECT sum(tried) FROM payments.route_outcome WHERE currency = 'SEK'), 20::numeric, 'and once');
CREATE TEMP TABLE best AS SELECT pg_temp.goes(currency => 'SEK', key => 'best' || n) AS psp FROM generate_series(1, 100) n;
SELECT is((SELECT string_agg(DISTINCT psp, ', ') FROM best), 'b by lately', 'where most succeed they go');
SELECT results_eq(format('SELECT pick, psp, chosen, success_rate FROM payments.explain_route(%L)', pg_temp.pay(currency => 'SEK')),
	$$VALUES ('success', 'b', true, 0.75), ('success', 'a', false, 0.25), ('success', 'c', false, 0.5)$$, 'and the rates are kept; a PSP of which nothing is known would be in between');
SELECT payments.create_route_rule('lately', explore => 0.2);
CREATE TEMP TABLE explored AS SELECT pg_temp.goes(currency => 'SEK', key => 'explore' || n) AS psp FROM generate_series(1, 1000) n;
SELECT cmp_ok(abs((SELECT count(*) FROM explored WHERE psp = 'a by lately') - 100), '<', 40::bigint, 'but for a fifth, which goes by share: half of that to the other one');
SELECT payments.drop_route_rule('lately');

-- ---------- a PSP that cannot be called, or cannot do it
SELECT payments.create_route_rule('any', '{a,b,c}', '{1,1,0}', pick => 'share');
CREATE TEMP TABLE at_a AS SELECT 'away' || n AS key FROM generate_series(1, 50) n WHERE payments._route_of('shop', 'away' || n, 'purchase', 1000, 'EUR', NULL, 'automatic', '{}', now(), NULL) = 'a';
SELECT min(key) AS key FROM at_a \gset
UPDATE payments.psp SET halted_at = now() WHERE psp = 'a';
SELECT is(pg_temp.goes(key => :'key'), 'b by any', 'halted: the next');
SELECT results_eq(format('SELECT psp, chosen, share, note FROM payments.explain_route(%L)', pg_temp.pay(key => :'key')),
	$$VALUES ('a', false, 1, 'halted'), ('b', true, 1, NULL), ('c', false, 0, NULL)$$, 'explain_route() says why; and a repeated call gets the first result');
UPDATE payments.psp SET halted_at = now() WHERE psp = 'b';
SELECT max(key) AS key FROM at_a \gset
SELECT is(pg_temp.goes(key => :'key'), 'c by any', 'both: the one that is for this');
UPDATE payments.psp SET halted_at = now() WHERE psp = 'c';
SELECT min(key) AS key FROM at_a WHERE NOT EXISTS (SELECT FROM payments.idempotency_key k WHERE k.key = at_a.key) \gset
SELECT is(pg_temp.goes(key => :'key'), 'a by any', 'all: it waits where it would be');
UPDATE payments.psp SET halted_at = NULL WHERE psp <> 'a';
SELECT payments.create_route_rule('any', moves_unsent => false);
SELECT min(key) AS key FROM at_a WHERE NOT EXISTS (SELECT FROM payments.idempotency_key k WHERE k.key = at_a.key) \gset
SELECT is(pg_temp.goes(key => :'key'), 'a by any', 'a rule by which nothing moves does not heed it');
SELECT payments.create_route_rule('any', '{tap,b}', '{1,0}', moves_unsent => true);
SELECT is(pg_temp.goes(), 'b by any', 'what the first cannot do, here for want of a token, the next may');
SELECT matches(pg_temp.note('tap'), 'PSP "tap" cannot take this payment', 'and why is kept');
SELECT payments.create_route_rule('any', '{tap}');
SELECT throws_ok('SELECT pg_temp.pay()', 'PY407', NULL, 'none can: said at the call');
SELECT payments.create_route_rule('any', '{a,b}', '{1,0}');

-- ---------- what a repeated call meets after a restore: its home, whatever else is heeded
SELECT payments.create_merchant('real', psp => 'tap'), payments.arm();
SELECT is(pg_temp.goes(), 'b by any', 'armed for the first time: nothing was before');
SELECT payments.disarm();
SELECT is(pg_temp.goes(), 'a by any', 'not armed: perhaps it is at its home already');
UPDATE payments.installation SET first_armed_at = first_armed_at - interval '2 days';
SELECT payments.arm();
SELECT is(pg_temp.goes(), 'a by any', 'armed anew: likewise, for a day');
SELECT is(pg_temp.note('a'), NULL, 'it was not looked whether it can be called');
UPDATE payments.installation SET armed_at = armed_at - interval '25 hours';
SELECT is(pg_temp.goes(), 'b by any', 'a day later clients repeat nothing any more');

-- ---------- where others would have gone
DELETE FROM payments.route_rule;
SELECT payments.create_route_rule('draft', '{b,c}', '{1,1}', valid_from => 'infinity', payment_method => '*');
SELECT payments.create_merchant('sim', psp => 'a');
SELECT clock_timestamp() AS t \gset
CREATE TEMP TABLE sim AS SELECT pg_temp.pay('sim', 100 * n, key => 'sim' || n) AS id FROM generate_series(1, 10) n;
SELECT pg_temp.pay('sim', key => 'sim-named', psp => 'd');
SELECT results_eq(format('SELECT psp, payments_then, amount_then::int, payments_now, amount_now::int, came, went FROM payments.simulate_route(%L, now() + interval ''1 day'', merchant => ''sim'')', now()),
	$$VALUES ('a', 10::bigint, 5500, 10::bigint, 5500, 0::bigint, 0::bigint), ('d', 1, 1000, 1, 1000, 0, 0)$$, 'by the rules of now: as it was');
CREATE TEMP TABLE simulated AS SELECT * FROM payments.simulate_route(now(), now() + interval '1 day', '{draft}', 'sim');
SELECT is((SELECT string_agg(concat_ws(' ', psp, payments_then, amount_then), ', ' ORDER BY psp) FROM simulated), 'a 10 5500, b 0 0, c 0 0, d 1 1000', 'by a draft: where they were');
SELECT is((SELECT concat_ws(' ', sum(payments_now), sum(amount_now), sum(came), sum(went)) FROM simulated), '11 6500 10 10', 'all of them are somewhere, and those that nobody named move');
SELECT is((SELECT bool_and(payments_now > 0) FROM simulated WHERE psp IN ('b', 'c', 'd')), true, 'to both, and what was named stays');

-- ---------- the door
SELECT throws_ok($$SELECT payments.create_route_rule('x')$$, '22023', 'a rule needs the PSPs that it chooses from', 'no PSP');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{nobody}')$$, 'PY401', 'PSP "nobody" does not exist', 'an unknown PSP');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a,a}')$$, '22023', 'a rule names each PSP once', 'a PSP twice');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a,b}', '{1}')$$, '22023', 'shares and costs must be as many as the PSPs, and one share above zero', 'too few shares');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a,b}', '{0,0}')$$, '22023', NULL, 'no share');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a}', amount_min => 1)$$, '22023', 'amounts of a rule are of a currency', 'an amount of no currency');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a}', pick => 'best')$$, '22023', NULL, 'an unknown way to pick');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a}', currency => 'EURO')$$, 'PY013', NULL, 'an unknown currency');
SELECT throws_ok($$SELECT payments.create_route_rule('x', '{a}', merchant => 'nobody')$$, 'PY010', NULL, 'an unknown merchant');
SELECT throws_ok($$SELECT payments.drop_route_rule('x')$$, '42704', 'route rule "x" does not exist', 'an unknown rule');
SELECT throws_ok($$SELECT payments.order_route_rules(NULL)$$, '42704', NULL, 'no rules');
SELECT throws_ok($$SELECT payments.simulate_route(NULL, now())$$, '22023', NULL, 'no time');
SELECT throws_ok($$SELECT * FROM payments.explain_route(gen_random_uuid())$$, 'PY005', NULL, 'no payment');
SELECT pg_temp.pay(psp => 'c') AS id \gset
SELECT is((SELECT reason || ' ' || psp FROM payments.explain_route(:'id')), 'named c', 'what was named is explained as such');
SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), NULL, 'check() finds nothing wrong');
SELECT * FROM finish();
ROLLBACK;
