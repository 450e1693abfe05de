-- If this fails, nobody can say what an event of the PSP did: which payment it
-- changed, from what to what, and whether one that came again counted twice.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('hint', 'yookassa', secret => 'hint');
\ir ../lib/stripe_by_hand.sql
SET client_min_messages = error;

CREATE FUNCTION pg_temp.did(id text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', e.did, e.status_before, e.status_after, nullif(e.duplicates, 0)) FROM payments.psp_event_effect e WHERE e.event_id = id
$$;

SELECT pg_temp.make('acted') AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.intent(:'id', 'pi_acted', 'processing')::text);
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_acted', 'succeeded', 1000), 'evt_acted');
SELECT is(pg_temp.did('evt_acted'), 'processing to succeeded; capture 10.00 EUR | processing | succeeded', 'applied: from what to what, and what moved');
SELECT is((SELECT payment_id FROM payments.psp_event_effect WHERE event_id = 'evt_acted'), :'id', 'and of which payment');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_acted', 'succeeded', 1000), 'evt_acted'), 'succeeded', 'again: the payment is what it was');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_acted', 'succeeded', 1000), 'evt_acted'), 'succeeded', 'and again');
SELECT is(pg_temp.did('evt_acted'), 'processing to succeeded; capture 10.00 EUR; came 3 times, and counted once | processing | succeeded | 2', 'twice a duplicate');
SELECT ok((SELECT last_received_at >= received_at FROM payments.psp_event_effect WHERE event_id = 'evt_acted'), 'and when');
SELECT pg_temp.webhook('payment_intent.processing', pg_temp.intent(:'id', 'pi_acted', 'processing'), 'evt_late');
SELECT is(pg_temp.did('evt_late'), 'nothing: known already, or late | succeeded | succeeded', 'one that is late');
SELECT pg_temp.webhook('refund.created', jsonb_build_object('id', 're_1', 'object', 'refund', 'amount', 300, 'currency', 'eur', 'status', 'succeeded', 'payment_intent', 'pi_acted'), 'evt_refund');
SELECT is(pg_temp.did('evt_refund'), 'succeeded to partially_refunded; refund 3.00 EUR | succeeded | partially_refunded', 'one of a refund made in the dashboard');

SELECT pg_temp.webhook('charge.captured', '{"id": "ch_1", "object": "charge"}', 'evt_ignored');
SELECT is(pg_temp.did('evt_ignored'), 'nothing: of a type that moves nothing here', 'of no interest');
SELECT pg_temp.webhook('payment_intent.succeeded', '{"id": "pi_bad", "object": "payment_intent"}', 'evt_bad');
SELECT is(pg_temp.did('evt_bad'), 'nothing yet: it cannot be read, see payments.exception', 'of a form that nobody knows');
SELECT pg_temp.webhook('payment_intent.succeeded', '{"id": "pi_bad", "object": "payment_intent"}', 'evt_bad');
SELECT is(pg_temp.did('evt_bad'), 'nothing yet: it cannot be read, see payments.exception; came 2 times, and counted once | 1', 'read again');
SELECT pg_temp.webhook('payment_intent.processing', '{"id": "pi_x", "object": "payment_intent", "amount": 1, "currency": "eur", "status": "processing"}', 'evt_stranger');
SELECT is(pg_temp.did('evt_stranger'), 'nothing: no payment of ours', 'of a stranger''s payment');

-- Told before the answer, and applied by the word that makes the payment's id known.
SELECT pg_temp.make('early') AS id \gset
SELECT pg_temp.claim(:'id');
SELECT pg_temp.webhook('refund.created', jsonb_build_object('id', 're_2', 'object', 'refund', 'amount', 400, 'currency', 'eur', 'status', 'succeeded', 'payment_intent', 'pi_early'), 'evt_early');
SELECT is(pg_temp.did('evt_early'), 'nothing yet: no payment of ours has that id', 'of a payment whose id nobody knows yet');
SELECT pg_temp.answer(200, pg_temp.intent(:'id', 'pi_early', 'succeeded', 1000)::text);
SELECT is((SELECT concat_ws(' ', outcome, status_before, status_after) FROM payments.psp_event_effect WHERE event_id = 'evt_early'), 'applied succeeded partially_refunded', 'and what it did when that was known');

-- A hint is no word: it is not counted, so that making it up writes nothing.
SELECT payments.create_payment('hint-1', 1000, 'RUB', psp => 'hint', return_url => 'https://shop.example/') IS NOT NULL AS made;
SELECT psp_ref AS ref FROM payments.operation JOIN payments.payment USING (payment_id) WHERE payment.psp = 'hint' \gset
SELECT format('{"type":"notification","event":"payment.succeeded","object":{"id":"pay-1","status":"succeeded","amount":{"value":"10.00","currency":"RUB"},"metadata":{"payments_ref":"%s","payments_generation":"1"}}}', :'ref') AS notice \gset
SELECT count(*) FROM generate_series(1, 3), payments.receive_webhook('hint', '{}', convert_to(:'notice', 'UTF8'));
SELECT is((SELECT concat_ws(' | ', outcome, status_before, status_after, duplicates) FROM payments.psp_event_effect WHERE psp = 'hint'), 'no_effect | initiated | initiated | 0', 'a hint about what waits to be sent');
-- However many are made up, with ids, types and bodies of the sender's: a payment has few rows of them, and small ones.
SELECT count(*) FROM generate_series(1, 30) n, payments.receive_webhook('hint', jsonb_build_object('X-Long', repeat('x', 1000)), convert_to(format(
	'{"type":"notification","event":"%s","object":{"id":"pay-%s","status":"succeeded","amount":{"value":"10.00","currency":"RUB"},"metadata":{"payments_ref":"%s","payments_generation":"1"}},"long":"%s"}',
	CASE n % 3 WHEN 0 THEN 'payment.made-up-' || n WHEN 1 THEN 'payment.succeeded' ELSE 'refund.succeeded' END, n, :'ref', repeat('x', 10000)), 'UTF8'));
SELECT results_eq($$SELECT regexp_replace(event_id, '^hint:[-0-9a-f]{36}:', ''), outcome, headers, octet_length(body) <= 4096, times FROM payments.psp_event WHERE psp = 'hint' ORDER BY 1$$,
	$$VALUES ('approved:captured', 'no_effect', '{}'::jsonb, true, 1), ('approved:refunded', 'no_effect', '{}', true, 1)$$, 'thirty hints about it: two rows');
SELECT payments.create_psp('paypal', 'paypal', secret => 'paypal');
SELECT payments.create_payment('hint-2', 1000, 'EUR', psp => 'paypal', return_url => 'https://shop.example/') IS NOT NULL AS made;
SELECT psp_ref AS ref FROM payments.operation JOIN payments.payment USING (payment_id) WHERE payment.psp = 'paypal' \gset
SELECT count(*) FROM generate_series(1, 30) n, payments.receive_webhook('paypal', '{}', convert_to(format(
	'{"id":"WH-%s","event_type":"CHECKOUT.ORDER.%s","resource":{"id":"ORDER%s","purchase_units":[{"custom_id":"%s"}]}}', n, CASE n % 2 WHEN 0 THEN 'MADE-UP-' || n ELSE 'APPROVED' END, n, :'ref'), 'UTF8'));
SELECT is((SELECT count(*) FROM payments.psp_event WHERE psp = 'paypal'), 1::bigint, 'and of PayPal''s, whose events have ids of their own');

-- How amounts are written that are decimal text nobody changes beneath the adapter.
SELECT throws_ok($$INSERT INTO payments.psp_currency (adapter, currency, exponent) VALUES ('yookassa', 'RUB', 3)$$, '23514', NULL, 'no row counts otherwise than YooKassa');

SELECT * FROM finish();
ROLLBACK;
