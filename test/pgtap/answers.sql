-- If this fails, the PSP's "no" to a capture, a refund or a void is taken for
-- something else: money stays reserved for ever, a customer who got nothing
-- counts as refunded, a payment that was captured as cancelled; or what can
-- neither be sent nor asked for goes round and round instead of to a person.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();

-- The next step of a payment, whenever it is due, and the PSP's answer to it (status null: none).
CREATE FUNCTION pg_temp.turn(id uuid, http int, body text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c record;
	s text;
BEGIN
	UPDATE payments.queue SET due_at = CASE WHEN payment_id = id THEN clock_timestamp() ELSE now() + interval '20 days' END WHERE psp = 'tap' AND claimed_by IS NULL;
	FOR c IN SELECT * FROM payments.claim('tap', psp => 'tap') LOOP
		s := payments.complete(c.operation_id, c.attempt, http, '{}', convert_to(body, 'UTF8'));
	END LOOP;
	RETURN s;
END
$$;
-- What the next step would be.
CREATE FUNCTION pg_temp.waits(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(q.action || ' ' || o.kind, ', ' ORDER BY o.kind) FROM payments.queue q JOIN payments.operation o USING (operation_id) WHERE q.payment_id = id
$$;
CREATE FUNCTION pg_temp.last_operation(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', o.kind, o.status, o.failure_code) FROM payments.operation o WHERE o.payment_id = id ORDER BY o.created_at DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.dead(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT d.reason || ': ' || coalesce(d.detail, '') FROM payments.dead_letter d WHERE d.payment_id = id AND d.decision IS NULL
$$;
CREATE FUNCTION pg_temp.intent(status text, id text, received int DEFAULT 0) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('id', id, 'object', 'payment_intent', 'amount', 1000, 'amount_received', received,
		'amount_capturable', CASE status WHEN 'requires_capture' THEN 1000 ELSE 0 END, 'currency', 'eur', 'status', status)::text
$$;
CREATE FUNCTION pg_temp.error(message text, code text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('error', json_build_object('type', 'invalid_request_error', 'code', code, 'message', message))::text
$$;
-- Stripe shows our names on a refund that we asked for, but says nothing of an operation that it has not heard of.
CREATE FUNCTION pg_temp.refund(id uuid, name text, amount int, status text, intent text) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('id', name, 'object', 'refund', 'amount', amount, 'currency', 'eur', 'status', status, 'payment_intent', intent,
		'metadata', json_build_object('payments_ref', (SELECT psp_ref FROM payments.operation WHERE payment_id = id AND kind = 'refund' ORDER BY created_at DESC LIMIT 1), 'payments_generation', '1'))::text
$$;
CREATE FUNCTION pg_temp.make(key text, capture text DEFAULT 'automatic', method text DEFAULT 'pm_card_visa', amount int DEFAULT 1000) RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, amount, 'EUR', psp => 'tap', payment_method => method, capture => capture)
$$;
CREATE FUNCTION pg_temp.postings(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(kind || ' ' || amount, ', ' ORDER BY posting_id) FROM payments.posting WHERE payment_id = id
$$;

-- ---------- a capture
SELECT pg_temp.make('capture', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_capture')), 'authorized', 'capture: authorized');
SELECT payments.capture_payment(:'id', 'capture-1', 600);
SELECT is(pg_temp.turn(:'id', 400, pg_temp.error('This PaymentIntent could not be captured.', 'capture_charge_authorization_expired')), 'authorized', 'a capture that is refused leaves the payment as it was');
SELECT is(pg_temp.last_operation(:'id'), 'capture failed capture_charge_authorization_expired', 'and has failed, for this reason');
SELECT is((SELECT failure_message FROM payments.operation WHERE payment_id = :'id' AND kind = 'capture'), 'This PaymentIntent could not be captured.', 'in the PSP''s words');
SELECT results_eq(format('SELECT captured, capture_pending FROM payments.payment WHERE payment_id = %L', :'id'), 'VALUES (0::bigint, 0::bigint)', 'nothing stays reserved');
SELECT is(pg_temp.waits(:'id'), NULL, 'nothing is sent again by itself');
SELECT is((SELECT status FROM payments.capture_payment(:'id', 'capture-2')), 'initiated', 'it can be captured again, all of it');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_capture', 1000)), 'succeeded', 'and is');
SELECT is(pg_temp.postings(:'id'), 'capture 1000', 'posted once');

SELECT pg_temp.make('capture-cancelled', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_gone')), 'authorized', 'capture of what is gone: authorized');
SELECT payments.capture_payment(:'id', 'capture-cancelled-1');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('canceled', 'pi_gone')), 'authorized', 'the hold was released: nothing is captured');
SELECT is(pg_temp.last_operation(:'id'), 'capture failed canceled', 'the capture has failed');
SELECT is((SELECT capture_pending FROM payments.payment WHERE payment_id = :'id'), 0::bigint, 'and reserves nothing');

-- In doubt, the question shows that it was not done: the same key again, not another one.
SELECT pg_temp.make('capture-lost', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_lost')), 'authorized', 'capture without an answer: authorized');
SELECT payments.capture_payment(:'id', 'capture-lost-1', 400);
SELECT is(pg_temp.turn(:'id', NULL), 'authorized', 'capture without an answer');
SELECT is(pg_temp.waits(:'id'), 'inquire capture', 'it is asked for');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_lost')), 'authorized', 'not done yet');
SELECT is(pg_temp.waits(:'id'), 'send capture', 'so it is sent once more');
SELECT is(pg_temp.turn(:'id', 400, pg_temp.error('x', 'charge_already_captured')), 'authorized', 'which tells that the first has done it');
SELECT is(pg_temp.waits(:'id'), 'inquire capture', 'how much, the PSP must say');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_lost', 400)), 'succeeded', 'and says');
SELECT is((SELECT count(DISTINCT a.psp_key)::int FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND o.kind = 'capture'), 1, 'one key');
SELECT is(pg_temp.postings(:'id'), 'capture 400', 'captured once');

-- Another amount than was asked for is neither yes nor no.
SELECT pg_temp.make('capture-other', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_other')), 'authorized', 'capture in another amount: authorized');
SELECT payments.capture_payment(:'id', 'capture-other-1', 400);
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_other', 500)), 'authorized', 'capture in another amount');
SELECT matches(pg_temp.dead(:'id'), '^conflicted: ', 'a person has to look');
SELECT is(pg_temp.postings(:'id'), NULL, 'nothing is posted');

-- ---------- a void
SELECT pg_temp.make('void', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_void')), 'authorized', 'void: authorized');
SELECT payments.cancel_payment(:'id', 'void-1');
SELECT is(pg_temp.turn(:'id', 400, pg_temp.error('You cannot cancel this PaymentIntent.')), 'authorized', 'a void that is refused leaves the payment as it was');
SELECT is(pg_temp.last_operation(:'id'), 'void failed invalid_request_error', 'and has failed');
SELECT is((SELECT failure_code FROM payments.payment WHERE payment_id = :'id'), NULL, 'which is no failure of the payment');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'void-2')), 'initiated', 'it can be tried again');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_void', 1000)), 'authorized', 'the PSP had captured it');
SELECT is(pg_temp.last_operation(:'id'), 'void failed already_captured', 'so it is not cancelled');
SELECT is((SELECT status FROM payments.capture_payment(:'id', 'void-3')), 'initiated', 'asked to capture what is captured');
SELECT is(pg_temp.turn(:'id', 400, pg_temp.error('x', 'payment_intent_unexpected_state')), 'authorized', 'it was done already, says the PSP');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_void', 1000)), 'succeeded', 'and how much');
SELECT is(pg_temp.postings(:'id'), 'capture 1000', 'posted once');

-- ---------- a refund
SELECT pg_temp.make('refund') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_refund', 1000)), 'succeeded', 'refund: captured');
SELECT payments.refund_payment(:'id', 'refund-1', 700);
-- On the dashboard somebody has given back 400 before.
SELECT is(pg_temp.turn(:'id', 400, pg_temp.error('Refund amount (€7.00) is greater than unrefunded amount on charge (€6.00)')), 'succeeded', 'more than is left at the PSP: the payment stays as it was');
SELECT is(pg_temp.last_operation(:'id'), 'refund failed invalid_request_error', 'the refund has failed');
SELECT results_eq(format('SELECT refunded, refund_pending FROM payments.payment WHERE payment_id = %L', :'id'), 'VALUES (0::bigint, 0::bigint)', 'nothing is refunded, nothing stays reserved');
SELECT results_eq(format('SELECT kind, amount, resolved_at IS NULL FROM payments.exception WHERE payment_id = %L', :'id'), $$VALUES ('refund_failed', 700::bigint, true)$$, 'a person is told');
SELECT is(pg_temp.postings(:'id'), 'capture 1000', 'nothing is posted');
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'refund-2', 600)), 'initiated', 'less can be asked for');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.refund(:'id', 're_2', 600, 'succeeded', 'pi_refund')), 'partially_refunded', 'and is refunded');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, %L, 401)', :'id', 'refund-3'), 'PY007', NULL, 'more than is left here is refused before it is sent');

SELECT pg_temp.make('refund-failed') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_failed', 1000)), 'succeeded', 'refund that fails: captured');
SELECT payments.refund_payment(:'id', 'refund-failed-1');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.refund(:'id', 're_f', 1000, 'pending', 'pi_failed')), 'succeeded', 'refund that fails: under way');
SELECT is(pg_temp.waits(:'id'), 'inquire refund', 'asked for');
SELECT is(pg_temp.turn(:'id', 404, pg_temp.error('No such refund', 'resource_missing')), 'succeeded', 'an answer that knows nothing of it changes nothing');
SELECT is(pg_temp.waits(:'id'), 'inquire refund', 'it is not sent once more');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.refund(:'id', 're_f', 1000, 'failed', 'pi_failed')), 'succeeded', 'refund that fails: the customer has nothing');
SELECT matches(pg_temp.last_operation(:'id'), '^refund failed', 'the refund has failed');
SELECT is((SELECT refund_pending FROM payments.payment WHERE payment_id = :'id'), 0::bigint, 'nothing stays reserved');
SELECT is((SELECT string_agg(kind, ' ') FROM payments.exception WHERE payment_id = :'id'), 'refund_failed', 'a person is told once');
SELECT is(pg_temp.postings(:'id'), 'capture 1000', 'nothing is posted');

-- It was refunded already, says the PSP: by this call, or by somebody else?
SELECT pg_temp.make('refund-twice') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_twice', 1000)), 'succeeded', 'refunded already: captured');
SELECT payments.refund_payment(:'id', 'refund-twice-1');
SELECT is(pg_temp.turn(:'id', NULL), 'succeeded', 'refunded already: no answer');
SELECT is(pg_temp.turn(:'id', 200, '{"object": "list", "has_more": false, "data": []}'), 'succeeded', 'refunded already: not in the list yet');
SELECT is(pg_temp.waits(:'id'), 'send refund', 'refunded already: sent once more');
SELECT is(pg_temp.turn(:'id', 400, pg_temp.error('x', 'charge_already_refunded')), 'succeeded', 'refunded already: says the PSP');
SELECT is(pg_temp.waits(:'id'), 'inquire refund', 'refunded already: by whom, it is asked');
SELECT is(pg_temp.turn(:'id', 200, format('{"object": "list", "has_more": false, "data": [%s]}', pg_temp.refund(:'id', 're_t', 1000, 'succeeded', 'pi_twice'))), 'refunded', 'refunded already: by us');
SELECT is(pg_temp.postings(:'id'), 'capture 1000, refund 1000', 'refunded already: posted once');

-- ---------- the PSP refuses our credentials in the middle
SELECT pg_temp.make('halt', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_halt')), 'authorized', 'halted: authorized');
SELECT payments.capture_payment(:'id', 'halt-1');
SELECT is(pg_temp.turn(:'id', 403, '{"error": {"type": "invalid_request_error", "code": "platform_api_key_expired"}}'), 'authorized', 'halted: refused');
SELECT is((SELECT halted_reason FROM payments.psp WHERE psp = 'tap'), 'the PSP refused our credentials: HTTP status 403, platform_api_key_expired', 'halted: why');
SELECT is(pg_temp.last_operation(:'id'), 'capture awaiting_retry', 'halted: the capture waits');
SELECT payments.resume_psp('tap');
SELECT is(pg_temp.turn(:'id', NULL), 'authorized', 'resumed: no answer');
SELECT is(pg_temp.turn(:'id', 401, '{"error": {"type": "invalid_request_error"}}'), 'authorized', 'halted again, by the answer to a question');
SELECT is((SELECT halted_reason FROM payments.psp WHERE psp = 'tap'), 'the PSP refused our credentials: HTTP status 401, invalid_request_error', 'halted again: why');
SELECT is(pg_temp.last_operation(:'id'), 'capture in_doubt', 'what is in doubt stays so');
SELECT payments.resume_psp('tap');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_halt', 1000)), 'succeeded', 'resumed: found');

-- ---------- what can neither be sent nor asked for
SELECT throws_ok($$SELECT pg_temp.make('no-method', method => NULL)$$, 'PY407', 'PSP "tap" cannot take this payment: Stripe needs a payment method', 'what cannot be sent is refused at the call');
SELECT throws_ok($$SELECT pg_temp.make('no-method', 'manual', method => '')$$, 'PY407', NULL, 'an authorization as well');
SELECT is_empty($$SELECT FROM payments.idempotency_key WHERE key = 'no-method'$$, 'and nothing of it is kept');
SELECT pg_temp.make('no-intent') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('succeeded', 'pi_no_intent', 1000)), 'succeeded', 'charged');
UPDATE payments.payment SET psp_payment_id = NULL WHERE payment_id = :'id';
SELECT throws_ok(format('SELECT payments.refund_payment(%L, ''no-intent-1'')', :'id'), 'PY407', 'PSP "tap" does not support this: the payment has no PaymentIntent', 'nor is a refund accepted that could not be sent');
UPDATE payments.payment SET psp_payment_id = 'pi_no_intent' WHERE payment_id = :'id';

-- ---------- the payer must confirm, and has no page for it
SELECT pg_temp.make('no-page', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_action', 'pi_no_page')), 'requires_action', 'the payer must confirm');
SELECT results_eq(format('SELECT next_action_url, failure_code FROM payments.get_payment(%L)', :'id'), $$VALUES (NULL, 'return_url_missing')$$, 'without return_url he cannot, and get_payment() says so');
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_no_page')), 'authorized', 'who could all the same');
SELECT is((SELECT failure_code FROM payments.get_payment(:'id')), NULL, 'has succeeded');
SELECT payment_id AS id FROM payments.create_payment('page', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', return_url => 'https://shop.example/') \gset
SELECT is(pg_temp.turn(:'id', 200, (pg_temp.intent('requires_action', 'pi_page')::jsonb || '{"next_action": {"redirect_to_url": {"url": "https://psp.example/3ds"}}}')::text), 'requires_action', 'with return_url');
SELECT results_eq(format('SELECT next_action_url, failure_code FROM payments.get_payment(%L)', :'id'), $$VALUES ('https://psp.example/3ds', NULL)$$, 'there is a page');

-- Somebody says that the PSP counts otherwise, with payments under way.
SELECT pg_temp.make('units', amount => 1005) AS id \gset
INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple) VALUES ('stripe', 'EUR', 0, 1);
SELECT is(pg_temp.turn(:'id', 200), NULL, 'an amount that the PSP cannot be told is not sent');
SELECT is(pg_temp.dead(:'id'), 'cannot_build: the amount cannot be written in the PSP''s units', 'it is for a person');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'units-1')), 'succeeded', 'who can still cancel it, as nothing was sent');
SELECT is(pg_temp.dead(:'id'), NULL, 'which resolves it');
UPDATE payments.psp_currency SET exponent = 3 WHERE adapter = 'stripe' AND currency = 'EUR';
SELECT pg_temp.make('units-back', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, '{"id": "pi_units", "object": "payment_intent", "amount": 10000, "amount_capturable": 10005, "currency": "eur", "status": "requires_capture"}'), 'in_doubt', 'an amount that is no whole one here is no answer');
SELECT matches(pg_temp.dead(:'id'), '^conflicted: ', 'it is for a person as well');
DELETE FROM payments.psp_currency WHERE adapter = 'stripe' AND currency = 'EUR';

-- A fee in another currency than the payment's is left to reconciliation.
SELECT pg_temp.make('fee') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, (pg_temp.intent('succeeded', 'pi_fee', 1000)::jsonb || '{"latest_charge": {"id": "ch_fee", "balance_transaction": {"id": "txn_fee", "fee": 30, "currency": "usd"}}}')::text), 'succeeded', 'a fee in another currency');
SELECT is(pg_temp.postings(:'id'), 'capture 1000', 'is not posted in this one');

-- An id that is none, from a hand in the tables.
SELECT pg_temp.make('no-id', 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('requires_capture', 'pi_no_id')), 'authorized', 'no id: authorized');
SELECT payments.capture_payment(:'id', 'no-id-1');
SELECT is(pg_temp.turn(:'id', NULL), 'authorized', 'no id: no answer');
UPDATE payments.payment SET psp_payment_id = '../accounts' WHERE payment_id = :'id';
UPDATE payments.operation SET key_used_at = key_used_at - interval '2 days' WHERE payment_id = :'id';
SELECT is(pg_temp.turn(:'id', 200), NULL, 'no id: nothing is asked');
SELECT is(pg_temp.dead(:'id'), 'cannot_inquire: the adapter has nothing to ask the PSP with', 'no id: it is for a person');

-- ---------- whoever sends it dies, again and again
DELETE FROM payments.retry_schedule WHERE NOT builtin;
INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) SELECT 'unknown', n, '1 s', false FROM generate_series(1, 60) n;
SELECT pg_temp.make('dies') AS id \gset
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'dies');
BEGIN
	FOR i IN 1..60 LOOP
		UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = id;
		EXIT WHEN NOT FOUND;
		PERFORM payments.claim('dies', psp => 'tap');
	END LOOP;
END
$$;
SELECT is(pg_temp.dead(:'id'), 'worker_died: the worker ended again and again while this operation was in flight', 'poison: a dead letter, although the schedule goes on');
SELECT is((SELECT count(*)::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 20, 'poison: after twenty that were lost');
SELECT is((SELECT count(*)::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id' AND action = 'send'), 1, 'poison: sent once, then only asked for');
SELECT results_eq(format('SELECT p.status, o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.payment_id = %L', :'id'), $$VALUES ('in_doubt', 'in_doubt')$$, 'poison: nobody knows');
SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE payment_id = :'id' AND decision IS NULL;
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'poison: redriven, it is asked for');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('dies', psp => 'tap')), 1, 'poison: claimed once more');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('dies', psp => 'tap')), 0, 'poison: lost once more');
SELECT is(pg_temp.dead(:'id'), NULL, 'poison: counted from the start');
SELECT is(pg_temp.turn(:'id', 200, format('{"object": "search_result", "has_more": false, "data": [%s]}',
	(SELECT jsonb_set(pg_temp.intent('succeeded', 'pi_dies', 1000)::jsonb, '{metadata}', jsonb_build_object('payments_ref', psp_ref, 'payments_generation', '1')) FROM payments.operation WHERE payment_id = :'id'))), 'succeeded', 'poison: and done');

-- The same to one that the PSP has accepted: until then nothing was in doubt.
INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) SELECT 'pending', n, '1 s', false FROM generate_series(1, 60) n;
SELECT pg_temp.make('dies asking') AS id \gset
SELECT is(pg_temp.turn(:'id', 200, pg_temp.intent('processing', 'pi_asking')), 'processing', 'poison for who asks: on its way');
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'dies asking');
BEGIN
	FOR i IN 1..60 LOOP
		UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = id;
		EXIT WHEN NOT FOUND;
		PERFORM payments.claim('dies', psp => 'tap');
		IF i = 20 AND (SELECT status FROM payments.payment WHERE payment_id = id) <> 'processing' THEN
			RAISE 'in doubt too early';
		END IF;
	END LOOP;
END
$$;
SELECT matches(pg_temp.dead(:'id'), '^worker_died: ', 'poison for who asks: a dead letter');
SELECT results_eq(format('SELECT p.status, o.status FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.payment_id = %L', :'id'), $$VALUES ('in_doubt', 'in_doubt')$$, 'poison for who asks: nobody knows any more');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() is clean');

SELECT * FROM finish();
ROLLBACK;
