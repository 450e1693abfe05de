-- If this fails, a payment that takes two requests is captured twice, or from the
-- start again: after a lost answer, after a crash between the two, with the key
-- of the first; or it is captured though it was cancelled before.
--
-- PayPal's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'paypal', secret => 'tap'), payments.arm();
CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text);
-- The one call that is due for a payment, as "METHOD what".
CREATE FUNCTION pg_temp.turn(id uuid) RETURNS text LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = id AND claimed_by IS NULL;
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'tap', max => 1)
	RETURNING method || ' ' || regexp_replace(url, '^.*/v2/(checkout/)?', '')
$$;
-- The answer to the last call; without a status, none.
CREATE FUNCTION pg_temp.answer(http int, body jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt, $1, '{}', convert_to($2::text, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.make(key text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', psp => 'tap', return_url => 'https://shop.example/', capture => capture)
$$;
CREATE FUNCTION pg_temp.paypal(id uuid, status text, captured text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', 'ORDER' || left(o.psp_ref, 8) || upper(right(o.psp_ref, 8)), 'status', $2,
		'links', jsonb_build_array(jsonb_build_object('rel', 'payer-action', 'href', 'https://paypal.example/')),
		'purchase_units', jsonb_build_array(jsonb_build_object('reference_id', o.generation::text, 'custom_id', o.psp_ref,
			'amount', jsonb_build_object('currency_code', 'EUR', 'value', '10.00'))
			|| CASE WHEN captured IS NULL THEN '{}' ELSE jsonb_build_object('payments', jsonb_build_object('captures', jsonb_build_array(
				jsonb_build_object('id', captured, 'status', 'COMPLETED', 'amount', jsonb_build_object('currency_code', 'EUR', 'value', '10.00'))))) END))
	FROM payments.operation o WHERE o.payment_id = id ORDER BY o.created_at LIMIT 1
$$;
-- Made, and approved as an inquiry finds out.
CREATE FUNCTION pg_temp.approved(key text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.make(key);
BEGIN
	PERFORM pg_temp.turn(id);
	PERFORM pg_temp.answer(201, pg_temp.paypal(id, 'PAYER_ACTION_REQUIRED'));
	PERFORM pg_temp.turn(id);
	PERFORM pg_temp.answer(200, pg_temp.paypal(id, 'APPROVED'));
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.attempts(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a.action || ' ' || a.step, ', ' ORDER BY a.attempt) FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = id
$$;

-- One after the other.
SELECT pg_temp.make('ok') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'POST orders', 'the first request');
SELECT is(pg_temp.answer(201, pg_temp.paypal(:'id', 'PAYER_ACTION_REQUIRED')), 'requires_action', 'then the payer acts');
SELECT matches(pg_temp.turn(:'id'), '^GET orders/', 'PayPal is asked');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'APPROVED')), 'processing', 'approved: it goes on');
SELECT is((SELECT o.step || ' ' || coalesce(o.key_used_at::text, 'unused') || ' ' || q.action FROM payments.operation o JOIN payments.queue q USING (operation_id) WHERE o.payment_id = :'id'), '2 unused send', 'with a step whose key is unused');
SELECT matches(pg_temp.turn(:'id'), '^POST orders/ORDER.*/capture$', 'the second request');
SELECT is(pg_temp.answer(201, pg_temp.paypal(:'id', 'COMPLETED', 'CAPOK')), 'succeeded', 'captured');
SELECT is(pg_temp.attempts(:'id'), 'send 1, inquire 1, send 2', 'each attempt says of which step it was');
SELECT is(count(DISTINCT psp_key)::int, 2, 'a key each') FROM payments.attempt JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id';
SELECT is((SELECT psp_payment_id LIKE 'ORDER%' FROM payments.get_payment(:'id')) AND EXISTS (SELECT FROM payments.movement WHERE payment_id = :'id' AND object_id = 'CAPOK'), true, 'known by its order, its money by the capture');

-- A lost answer to the second: that one is sent again, with the same bytes, and never the first.
SELECT pg_temp.approved('lost') AS id \gset
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'lost: captured');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'lost: nobody knows');
SELECT matches(pg_temp.turn(:'id'), '^GET', 'lost: asked');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'APPROVED')), 'in_doubt', 'lost: not done, which is no proof');
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'lost: sent again');
SELECT is(count(DISTINCT psp_key)::int, 1, 'lost: under the same key') FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND a.step = 2 AND a.action = 'send';
SELECT is(pg_temp.answer(422, '{"name": "UNPROCESSABLE_ENTITY", "debug_id": "d", "details": [{"issue": "ORDER_ALREADY_CAPTURED"}]}'), 'in_doubt', 'lost: captured already, it says');
SELECT matches(pg_temp.turn(:'id'), '^GET', 'lost: asked once more');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'COMPLETED', 'CAPLOST')), 'succeeded', 'lost: found');
SELECT is(pg_temp.attempts(:'id'), 'send 1, inquire 1, send 2, inquire 2, send 2, inquire 2', 'lost: the first was sent once');

-- Past the life of the second one's key it is only asked for; how old the first one's is does not matter.
SELECT pg_temp.approved('old') AS id \gset
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'old: captured');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'old: nobody knows');
UPDATE payments.operation SET key_used_at = key_used_at - interval '6 hours' WHERE payment_id = :'id';
SELECT matches(pg_temp.turn(:'id'), '^GET', 'old: asked');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'APPROVED')), 'in_doubt', 'old: not done');
SELECT matches(pg_temp.turn(:'id'), '^GET', 'old: and not sent');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'COMPLETED', 'CAPOLD')), 'succeeded', 'old: found in the end');

-- An order whose id was never told is found by its key, while that serves.
SELECT pg_temp.make('unnamed') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'POST orders', 'unnamed: sent');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'unnamed: nobody knows');
SELECT is(pg_temp.turn(:'id'), 'POST orders', 'unnamed: asked by the same request');
SELECT is(count(DISTINCT psp_key || body)::int, 1, 'unnamed: with the same key and bytes') FROM payments.attempt JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id';
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'unnamed: nobody knows yet');
UPDATE payments.operation SET key_used_at = key_used_at - interval '6 hours' WHERE payment_id = :'id';
SELECT is(pg_temp.turn(:'id'), NULL, 'unnamed: and no more when PayPal may have forgotten it');
SELECT is((SELECT reason FROM payments.dead_letter WHERE payment_id = :'id'), 'cannot_inquire', 'unnamed: a person is told');

-- The worker dies between the two, or with the second on its way.
SELECT pg_temp.approved('dies') AS id \gset
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'dies: captured');
UPDATE payments.queue SET due_at = clock_timestamp() - interval '1 s' WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('e', psp => 'tap')), 0, 'dies: its lease ran out');
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'in_doubt', 'dies: nobody knows');
SELECT matches(pg_temp.turn(:'id'), '^GET', 'dies: asked');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'COMPLETED', 'CAPDIES')), 'succeeded', 'dies: it was done');

-- An answer to the first that comes when the second has begun changes nothing.
SELECT pg_temp.approved('late') AS id \gset
SELECT is(payments.complete(s.operation_id, 1, 201, '{}', convert_to(pg_temp.paypal(:'id', 'PAYER_ACTION_REQUIRED')::text, 'UTF8')), 'processing', 'late: of the first') FROM sent s JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND s.attempt = 1;
SELECT is((SELECT step FROM payments.operation WHERE payment_id = :'id'), 2, 'late: it is past that');

-- An event before the second was sent makes us ask, and asking finds that there is nothing: it is sent.
CREATE FUNCTION pg_temp.tell(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT status FROM payments.receive_webhook('tap', '{}', convert_to(jsonb_build_object('id', 'WH-' || id, 'event_type', 'CHECKOUT.ORDER.APPROVED', 'resource', pg_temp.paypal(id, 'APPROVED'))::text, 'UTF8'))
$$;
SELECT is(pg_temp.tell(:'id'), 'processing', 'told again: nothing new');
UPDATE payments.queue SET action = 'inquire' WHERE payment_id = :'id';
SELECT matches(pg_temp.turn(:'id'), '^GET', 'should it be asked for all the same');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'APPROVED')), 'processing', 'and be as it was');
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'it is sent');
SELECT is(pg_temp.answer(201, pg_temp.paypal(:'id', 'COMPLETED', 'CAPLATE')), 'succeeded', 'and captured');

-- Cancelled between the two.
SELECT pg_temp.make('cancel') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'POST orders', 'cancel: an order');
SELECT is(pg_temp.answer(201, pg_temp.paypal(:'id', 'PAYER_ACTION_REQUIRED')), 'requires_action', 'cancel: the payer must approve');
SELECT matches(pg_temp.turn(:'id'), '^GET', 'cancel: it is being asked for');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'cancel-1')), 'succeeded', 'cancel: over at once');
SELECT is(pg_temp.answer(200, pg_temp.paypal(:'id', 'APPROVED')), 'cancelled', 'cancel: that it was approved comes too late');
SELECT is(pg_temp.turn(:'id'), NULL, 'cancel: nothing is sent');
SELECT is((SELECT string_agg(kind || ' ' || status, ', ' ORDER BY created_at) FROM payments.operation WHERE payment_id = :'id'), 'charge cancelled, void succeeded', 'cancel: what is on record');
-- What is captured there all the same is told.
SELECT is((SELECT count(*)::int FROM payments.exception WHERE payment_id = :'id'), 0, 'cancel: nobody need look');
SELECT pg_temp.approved('cancel late') AS id \gset
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, %L)', :'id', 'cancel-2'), 'PY008', NULL, 'cancel: once it goes on it cannot be cancelled');
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'cancel: it is sent');
SELECT is(pg_temp.answer(429, '{"name": "RATE_LIMIT_REACHED", "debug_id": "d"}'), 'awaiting_retry', 'cancel: certainly not done');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'cancel-3')), 'succeeded', 'cancel: then it can');

-- A person decides by the id of the capture, not of the order.
SELECT pg_temp.approved('person') AS id \gset
SELECT matches(pg_temp.turn(:'id'), '^POST .*/capture$', 'person: captured');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'person: nobody knows');
SELECT operation_id AS op FROM payments.operation WHERE payment_id = :'id' \gset
SELECT throws_ok(format('SELECT payments.decide_operation(%L, %L, %L)', :'op', 'succeeded', 'seen'), '22023', NULL, 'person: the id of the capture is needed');
SELECT lives_ok(format('SELECT payments.decide_operation(%L, %L, %L, %L)', :'op', 'succeeded', 'seen', 'CAPPERSON'), 'person: and taken');
SELECT is((SELECT psp_payment_id LIKE 'ORDER%' FROM payments.get_payment(:'id')), true, 'person: the payment is its order still');

-- The payer never comes.
SELECT pg_temp.make('never') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'POST orders', 'never: an order');
SELECT is(pg_temp.answer(201, pg_temp.paypal(:'id', 'PAYER_ACTION_REQUIRED')), 'requires_action', 'never: the payer must approve');
UPDATE payments.queue SET try = 1000 WHERE payment_id = :'id';
SELECT matches(pg_temp.turn(:'id'), '^GET', 'never: asked for the last time');
SELECT is(pg_temp.answer(404, '{"name": "RESOURCE_NOT_FOUND", "debug_id": "d"}'), 'expired', 'never: expired');
SELECT is_empty(format('SELECT FROM payments.dead_letter WHERE payment_id = %L', :'id'), 'never: without a dead letter');

-- A refund of one of several captures: which, follows from rows that a restore may have lost.
CREATE FUNCTION pg_temp.part(name text, cents int, id uuid DEFAULT NULL, kind text DEFAULT 'capture') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', name, 'status', CASE kind WHEN 'authorize' THEN 'CREATED' ELSE 'COMPLETED' END, 'amount', jsonb_build_object('currency_code', 'EUR', 'value', to_char(cents / 100.0, 'FM990.00')))
		|| coalesce((SELECT jsonb_build_object(CASE kind WHEN 'refund' THEN 'custom_id' ELSE 'invoice_id' END, o.psp_ref) FROM payments.operation o WHERE o.payment_id = part.id AND o.kind = part.kind ORDER BY o.created_at DESC, o.operation_id DESC LIMIT 1), '{}')
$$;
CREATE FUNCTION pg_temp.with_payments(id uuid, parts jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_set(pg_temp.paypal(id, 'COMPLETED'), '{purchase_units,0,payments}', parts)
$$;
SELECT pg_temp.make('target', 'manual') AS id \gset
SELECT pg_temp.turn(:'id'), pg_temp.answer(201, pg_temp.paypal(:'id', 'PAYER_ACTION_REQUIRED')), pg_temp.turn(:'id'), pg_temp.answer(200, pg_temp.paypal(:'id', 'APPROVED'));
SELECT pg_temp.turn(:'id'), pg_temp.answer(201, pg_temp.with_payments(:'id', jsonb_build_object('authorizations', jsonb_build_array(pg_temp.part('AUTHX', 1000, kind => 'authorize')))));
SELECT payments.capture_payment(:'id', 'target-1', 600, false) IS NOT NULL AS asked;
SELECT pg_temp.turn(:'id'), pg_temp.answer(201, pg_temp.part('CAPX', 600, :'id') || '{"final_capture": false}');
SELECT payments.refund_payment(:'id', 'target-2', 200) IS NOT NULL AS asked;
SELECT is(pg_temp.turn(:'id'), 'POST payments/captures/CAPX/refund', 'a refund is sent');
SELECT pg_temp.answer(201, pg_temp.part('REFX', 200, :'id', 'refund'));
UPDATE payments.installation SET first_armed_at = first_armed_at - interval '2 days';
SELECT payments.refund_payment(:'id', 'target-3', 100) IS NOT NULL AS asked;
SELECT matches(pg_temp.turn(:'id'), '^GET orders/', 'armed anew: whether it is made already is asked before');
SELECT pg_temp.answer(200, pg_temp.with_payments(:'id', jsonb_build_object('refunds', jsonb_build_array(pg_temp.part('REFX', 200)))));
SELECT is(pg_temp.turn(:'id'), 'POST payments/captures/CAPX/refund', 'and only then sent');
SELECT pg_temp.answer(201, pg_temp.part('REFY', 100, :'id', 'refund'));
SELECT is((SELECT status || ' ' || refunded FROM payments.payment WHERE payment_id = :'id'), 'partially_refunded 300', 'refunded');
UPDATE payments.installation SET first_armed_at = armed_at;

SELECT is_empty('SELECT invariant, sample FROM payments.check() WHERE NOT ok', 'check() finds nothing wrong');
SELECT finish();
ROLLBACK;
