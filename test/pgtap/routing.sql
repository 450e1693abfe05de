-- If this fails, a shop that takes real money ships goods for a payment that only
-- the sandbox has seen, a slip of the finger charges a hundred times the price, or
-- a payment that was given up before it was sent waits for ever.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap');
CREATE FUNCTION pg_temp.psp_of(key text, merchant text DEFAULT 'default', method text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT payments.create_payment($1, 1000, 'EUR', merchant => $2, payment_method => $3);
	SELECT p.psp FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key = $1 AND k.merchant = $2
$$;

-- ---------- the sandbox, by name
SELECT is(pg_temp.psp_of('before'), 'sandbox', 'never armed: the sandbox is what nobody named');
SELECT payments.create_merchant('named', psp => 'sandbox'), payments.create_merchant('real', psp => 'tap'), payments.create_merchant('none');
SELECT is(pg_temp.psp_of('before none', 'none'), 'sandbox', 'for every merchant');
SELECT payments.arm();
SELECT throws_ok($$SELECT pg_temp.psp_of('after')$$, 'PY401', 'neither the call nor the merchant names a PSP', 'armed: it must be named');
SELECT is((SELECT replayed FROM payments.create_payment('before', 1000, 'EUR')), true, 'a call of before still gets its first result');
SELECT is(pg_temp.psp_of('named', 'named'), 'sandbox', 'by the merchant');
SELECT is(pg_temp.psp_of('real', 'real', 'pm_card_visa'), 'tap', 'whose own is another one, if it says so');
SELECT lives_ok($$SELECT payments.create_payment('call', 1000, 'EUR', psp => 'sandbox')$$, 'or by the call');
SELECT throws_ok($$SELECT payments.create_payment('null', 1000, NULL, psp => 'sandbox')$$, 'PY013', 'currency must not be null', 'nor is a currency that is null one without a name');
SELECT throws_ok($$SELECT payments.create_payment('null', 1000, 'EUR', merchant => NULL)$$, 'PY010', 'merchant must not be null', 'nor such a merchant');
SELECT payments.disarm();
SELECT throws_ok($$SELECT pg_temp.psp_of('disarmed')$$, 'PY401', NULL, 'disarmed for a while: as before');
SELECT payments.create_merchant('named');
SELECT is((SELECT psp FROM payments.merchant WHERE merchant = 'named'), 'sandbox', 'a merchant keeps its PSP when none is given');
SELECT payments.create_merchant('default', psp => 'sandbox');
SELECT is(pg_temp.psp_of('on purpose'), 'sandbox', 'who means it can have it');

-- ---------- the limit
CREATE FUNCTION pg_temp.pay(key text, amount bigint, currency text) RETURNS bigint LANGUAGE sql AS $$
	SELECT payments.create_payment($1, $2, $3);
	SELECT p.amount FROM payments.idempotency_key k JOIN payments.payment p USING (payment_id) WHERE k.key = $1
$$;
SELECT is(pg_temp.pay('most', 100000000, 'EUR'), 100000000::bigint, 'a million euros');
SELECT throws_ok($$SELECT pg_temp.pay('more', 100000001, 'EUR')$$, 'PY014', 'amount is above the limit of 1000000.00 EUR for one payment', 'and no more');
SELECT is(pg_temp.pay('yen', 100000001, 'JPY'), 100000001::bigint, 'of yen it may be more');
INSERT INTO payments.amount_limit (currency, amount_max, builtin) VALUES ('EUR', 5000, false);
SELECT throws_ok($$SELECT pg_temp.pay('own', 5001, 'EUR')$$, 'PY014', 'amount is above the limit of 50.00 EUR for one payment', 'one''s own row wins, at once');
SELECT is(pg_temp.pay('own', 5000, 'EUR'), 5000::bigint, 'what was refused left no key behind');
SELECT is(pg_temp.pay('most', 100000000, 'EUR'), 100000000::bigint, 'what was accepted before is still replayed');
UPDATE payments.amount_limit SET amount_max = 6000 WHERE currency = 'EUR';
SELECT is(pg_temp.pay('raised', 6000, 'EUR'), 6000::bigint, 'raised, it counts at once');
SELECT is((SELECT count(*) FROM payments.amount_limit l LEFT JOIN payments.currency c USING (currency) WHERE l.currency <> '*' AND c.currency IS NULL), 0::bigint,
	'every limit is one of a currency that exists');
SELECT is((SELECT count(*) FROM payments.currency c WHERE c.exponent > 2 AND NOT EXISTS (SELECT FROM payments.amount_limit l WHERE l.currency = c.currency AND l.amount_max >= 1000000 * 10 ^ c.exponent)),
	0::bigint, 'more decimals, more minor units');

-- ---------- older than the arming
SELECT payment_id AS id FROM payments.create_payment('older', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
SELECT payments.arm();
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, %L)', :'id', 'older-cancel'), 'PY008', 'cannot cancel a payment that is perhaps at the PSP', 'what another copy may have sent is not cancelled unasked');
CREATE FUNCTION pg_temp.next(id uuid) RETURNS text LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() - interval '1 s' WHERE claimed_by IS NULL;
	SELECT c.method || coalesce(' ' || c.psp_key, '') FROM payments.claim('me', psp => 'tap') c JOIN payments.operation o USING (operation_id) WHERE o.payment_id = $1
$$;
SELECT is(pg_temp.next(:'id'), 'GET', 'what is unsent here may have been sent elsewhere: inquired first');
SELECT is((SELECT p.status || ' ' || o.status || ' ' || (o.key_used_at = o.created_at) FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE payment_id = :'id'),
	'in_doubt in_doubt true', 'it is in doubt since it was made');
SELECT is((SELECT payments.complete(operation_id, 1, 200, '{}', '{"object": "search_result", "data": [], "has_more": false}') FROM payments.operation WHERE payment_id = :'id'),
	'in_doubt', 'that nothing is found is no proof');
SELECT matches(pg_temp.next(:'id'), '^POST .', 'but under a key that the PSP honours it is sent');

-- ---------- given up before it was sent
CREATE FUNCTION pg_temp.state(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT p.status || ' ' || o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE payment_id = id
$$;
-- The PSP counts otherwise since then: it cannot be built.
SELECT payment_id AS id FROM payments.create_payment('unsent', 1005, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple) VALUES ('stripe', 'EUR', 0, 1);
SELECT is((SELECT count(*) FROM payments.claim('me', psp => 'tap') c JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id'), 0::bigint, 'what cannot be built is not handed out');
SELECT is(pg_temp.state(:'id'), 'initiated initiated', 'and was never sent');
SELECT lives_ok(format('SELECT payments.discard(dead_letter_id, %L) FROM payments.dead_letter WHERE payment_id = %L', 'has no card', :'id'), 'it is discarded');
SELECT is(pg_temp.state(:'id'), 'failed failed', 'and so is the payment');
SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), NULL, 'check() finds nothing wrong');
SELECT * FROM finish();
ROLLBACK;
