-- If this fails, more is captured than was authorized, a capture counts twice
-- or not at all, or an authorization ends and nobody is told.
\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();
\ir ../lib/stripe_by_hand.sql
UPDATE payments.psp SET config = '{"multicapture": true}' WHERE psp = 'tap';

CREATE FUNCTION pg_temp.held(key text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made uuid := pg_temp.make(key, 'manual');
BEGIN
	PERFORM pg_temp.claim(made);
	PERFORM pg_temp.answer(200, pg_temp.intent(made, 'pi_' || key, 'requires_capture')::text);
	RETURN made;
END
$$;
-- A capture, sent and answered with what the PSP has captured in all.
CREATE FUNCTION pg_temp.captured(id uuid, key text, amount int, final boolean, received int, lost boolean DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM payments.capture_payment(captured.id, captured.key, captured.amount, captured.final);
	PERFORM pg_temp.claim(captured.id);
	IF captured.lost THEN
		RETURN pg_temp.answer(NULL);
	END IF;
	RETURN pg_temp.answer(200, pg_temp.now_at(captured.id, CASE WHEN captured.final THEN 'succeeded' ELSE 'requires_capture' END, captured.received)::text);
END
$$;
CREATE FUNCTION pg_temp.now_at(id uuid, status text, received int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT pg_temp.intent(id, p.psp_payment_id, $2, $3) || CASE $2 WHEN 'canceled' THEN '{"cancellation_reason": "automatic"}' ELSE '{}' END::jsonb FROM payments.payment p WHERE p.payment_id = id
$$;
CREATE FUNCTION pg_temp.amounts(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', g.status, g.captured, g.capturable, (SELECT p.released FROM payments.payment p WHERE p.payment_id = id)) FROM payments.get_payment(id) g
$$;
CREATE FUNCTION pg_temp.events(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(':', h.event, h.code), ' ' ORDER BY h.seq) FROM payments.payment_history(id) h
$$;
CREATE FUNCTION pg_temp.sent_body(id uuid, kind text) RETURNS text LANGUAGE sql AS $$
	SELECT a.path || '?' || a.body FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = id AND o.kind = $2 AND a.action = 'send' ORDER BY a.claimed_at DESC, o.created_at DESC LIMIT 1
$$;

-- ---------- several captures ----------

SELECT pg_temp.held('many') AS id \gset
SELECT matches(pg_temp.sent_body(:'id', 'authorize'), 'request_multicapture%5D=if_available', 'asked for, when it is authorized');
SELECT is(pg_temp.amounts(:'id'), 'authorized 0 1000 0', 'authorized');
SELECT is(pg_temp.captured(:'id', 'many-1', 300, false, 300), 'succeeded', 'a first capture');
SELECT is(pg_temp.sent_body(:'id', 'capture'), '/v1/payment_intents/pi_many/capture?amount_to_capture=300&final_capture=false&expand%5B%5D=latest_charge.balance_transaction', 'which is not the last');
SELECT is(pg_temp.amounts(:'id'), 'succeeded 300 700 0', 'leaves the rest authorized');
SELECT payments.refund_payment(:'id', 'many-refund', 300);
SELECT pg_temp.claim(:'id');
SELECT pg_temp.answer(200, (jsonb_build_object('id', 're_many', 'object', 'refund', 'amount', 300, 'currency', 'eur', 'status', 'succeeded', 'payment_intent', 'pi_many', 'metadata',
	(SELECT jsonb_build_object('payments_ref', o.psp_ref, 'payments_generation', '1') FROM payments.operation o WHERE o.payment_id = :'id' AND o.kind = 'refund')))::text);
SELECT is(pg_temp.amounts(:'id'), 'refunded 300 700 0', 'what was captured is refunded meanwhile');
SELECT is(pg_temp.captured(:'id', 'many-2', 400, false, 0, lost => true), 'refunded', 'a second one, its answer lost');
SELECT is(pg_temp.webhook('payment_intent.amount_capturable_updated', pg_temp.now_at(:'id', 'requires_capture', 300)), 'refunded', 'a late word of the first is not the second');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, ''many-x'', 100, false)', :'id'), 'PY008', NULL, 'one at a time');
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, ''many-x'')', :'id'), 'PY008', NULL, 'nor is the rest given back meanwhile');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 300)::text);
SELECT is(pg_temp.waits(:'id'), 'send capture', 'asked, the PSP has not made it: it is sent again');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 700)::text);
SELECT is(pg_temp.amounts(:'id'), 'partially_refunded 700 300 0', 'made once');
SELECT is(pg_temp.webhook('payment_intent.amount_capturable_updated', pg_temp.now_at(:'id', 'requires_capture', 700)), 'partially_refunded', 'and told twice');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, ''many-x'', 301, false)', :'id'), 'PY007', NULL, 'no more than is left');
SELECT is(pg_temp.captured(:'id', 'many-3', 300, true, 1000), 'partially_refunded', 'the last one');
SELECT is(pg_temp.amounts(:'id'), 'partially_refunded 1000 0 0', 'all of it');
SELECT is(pg_temp.books(:'id'), 'authorize 1000, capture 300, capture 300, capture 400, refund 300', 'each once');
SELECT is(pg_temp.events(:'id'), 'create claim authorize capture refund_full capture_more capture_more', 'and all in the history');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, ''many-4'', 1)', :'id'), 'PY006', NULL, 'nothing is left');
SELECT replayed AS again FROM payments.capture_payment(:'id', 'many-1', 300, false) \gset
SELECT ok(:'again', 'the same call again is the same capture');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, ''many-1'', 300)', :'id'), 'PY102', NULL, 'final or not is part of the call');

-- Words in another order: the sum of two is told before the answer to the second, and it was the last.
SELECT pg_temp.held('order') AS id \gset
SELECT pg_temp.captured(:'id', 'order-1', 300, false, 0, lost => true);
SELECT pg_temp.webhook('payment_intent.amount_capturable_updated', pg_temp.now_at(:'id', 'requires_capture', 300));
SELECT is(pg_temp.amounts(:'id'), 'succeeded 300 700 0', 'told by an event');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 300)::text);
SELECT payments.capture_payment(:'id', 'order-2', 400);
SELECT pg_temp.claim(:'id');
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.now_at(:'id', 'succeeded', 700));
SELECT is(pg_temp.amounts(:'id'), 'succeeded 700 0 300', 'the last, told by an event while it is under way');
SELECT pg_temp.answer(200, pg_temp.now_at(:'id', 'succeeded', 700)::text);
SELECT pg_temp.webhook('payment_intent.amount_capturable_updated', pg_temp.now_at(:'id', 'requires_capture', 300));
SELECT is(pg_temp.books(:'id'), 'authorize 1000, capture 300, capture 400, release 300', 'counts once, and what it left is released');
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, capture succeeded, capture succeeded', 'both have succeeded');
SELECT is(pg_temp.events(:'id'), 'create claim authorize capture capture_more release', 'told in the history');

-- The rest is given back by hand.
SELECT pg_temp.held('back') AS id \gset
SELECT pg_temp.captured(:'id', 'back-1', 300, false, 300);
SELECT payments.cancel_payment(:'id', 'back-cancel');
SELECT pg_temp.claim(:'id');
SELECT is(pg_temp.sent_body(:'id', 'void'), '/v1/payment_intents/pi_back/capture?amount_to_capture=0&final_capture=true', 'by a last capture of nothing');
SELECT pg_temp.answer(200, pg_temp.now_at(:'id', 'succeeded', 300)::text);
SELECT is(pg_temp.amounts(:'id'), 'succeeded 300 0 700', 'what was captured stays');
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, capture succeeded, void succeeded', 'done');
SELECT is((SELECT string_agg(e.type || coalesce('/' || (e.payload ->> 'event'), ''), ' ' ORDER BY e.id) FROM payments.event e WHERE e.aggregateid = :'id'::text AND e.created_at = (SELECT max(created_at) FROM payments.event WHERE aggregateid = :'id'::text)),
	'payment.succeeded/release void.succeeded', 'and the application is told');
SELECT is(pg_temp.exceptions(:'id'), NULL, 'nothing is wrong: the capture and the cancellation of its rest have one id');
SELECT pg_temp.held('told') AS id \gset
SELECT pg_temp.captured(:'id', 'given-1', 300, false, 300);
SELECT payments.cancel_payment(:'id', 'told-cancel');
SELECT pg_temp.claim(:'id');
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.now_at(:'id', 'succeeded', 300));
SELECT pg_temp.answer(200, pg_temp.now_at(:'id', 'succeeded', 300)::text);
SELECT is(pg_temp.amounts(:'id') || coalesce('; ' || pg_temp.exceptions(:'id'), ''), 'succeeded 300 0 700', 'nor where the event is faster than the answer');
SELECT pg_temp.held('whole') AS id \gset
SELECT pg_temp.captured(:'id', 'whole-1', 1000, true, 1000);
SELECT pg_temp.webhook('payment_intent.canceled', pg_temp.intent(:'id', 'pi_whole', 'canceled', 1000));
SELECT is(pg_temp.amounts(:'id') || '; ' || pg_temp.exceptions(:'id'), 'succeeded 1000 0 0; conflicted 1000', 'of one that was captured as a whole, a person is told');

-- Captured past us, in part: we learn that there is a rest.
SELECT pg_temp.make('past', 'manual') AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT pg_temp.webhook('payment_intent.amount_capturable_updated', pg_temp.intent(:'id', 'pi_past', 'requires_capture', 200));
SELECT is(pg_temp.amounts(:'id'), 'succeeded 200 800 0', 'captured in part by another hand');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 200)::text);
SELECT is(pg_temp.captured(:'id', 'past-1', 800, true, 1000), 'succeeded', 'and the rest by ours');

-- Who may not is told before anything is written.
UPDATE payments.psp SET config = '{"multicapture": false}' WHERE psp = 'tap';
SELECT pg_temp.held('once') AS id \gset
SELECT throws_ok(format('SELECT payments.capture_payment(%L, ''once-1'', 300, false)', :'id'), 'PY407', NULL, 'an account that captures once');
SELECT is(pg_temp.captured(:'id', 'once-1', 300, true, 300), 'succeeded', 'captures once');
SELECT is(pg_temp.events(:'id'), 'create claim authorize capture release', 'and the rest is no secret');

-- ---------- authorizations that end ----------

SELECT pg_temp.held('gone') AS id \gset
SELECT is(pg_temp.webhook('payment_intent.canceled', pg_temp.now_at(:'id', 'canceled', 0)), 'expired', 'the PSP gives it up by itself');
SELECT is(pg_temp.events(:'id'), 'create claim authorize expire:expired', 'expired');
SELECT is((SELECT e.payload ->> 'status' FROM payments.event e WHERE e.aggregateid = :'id'::text ORDER BY e.id DESC LIMIT 1), 'expired', 'and an event says so');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, ''gone-1'')', :'id'), 'PY006', NULL, 'nothing can be captured');

-- Before the authorization is heard of.
SELECT pg_temp.make('before', 'manual') AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT pg_temp.webhook('payment_intent.canceled', pg_temp.intent(:'id', 'pi_before', 'canceled') || '{"cancellation_reason": "automatic"}');
SELECT is(pg_temp.waits(:'id'), 'inquire authorize', 'bad news that nobody asked for: the PSP is asked');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.found(pg_temp.intent(:'id', 'pi_before', 'canceled') || '{"cancellation_reason": "automatic"}'));
SELECT is(pg_temp.state(:'id'), 'expired: authorize cancelled', 'and says so');

-- While a capture is in doubt: it may have come in time.
SELECT pg_temp.held('doubt') AS id \gset
SELECT pg_temp.captured(:'id', 'doubt-1', 1000, true, 0, lost => true);
SELECT is(pg_temp.webhook('payment_intent.canceled', pg_temp.now_at(:'id', 'canceled', 0)), 'authorized', 'the word that it is gone waits for a capture in doubt');
SELECT is(pg_temp.waits(:'id'), 'inquire capture', 'which is asked about');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'canceled', 0)::text);
SELECT is(pg_temp.state(:'id'), 'expired: authorize succeeded, capture failed canceled', 'it came too late');
SELECT is((SELECT capture_pending FROM payments.payment WHERE payment_id = :'id'), 0::bigint, 'and nothing is reserved for it');
SELECT pg_temp.held('came') AS id \gset
SELECT pg_temp.captured(:'id', 'came-1', 1000, true, 0, lost => true);
SELECT pg_temp.webhook('payment_intent.canceled', pg_temp.now_at(:'id', 'canceled', 0));
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'succeeded', 1000)::text);
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, capture succeeded', 'or in time');
SELECT pg_temp.held('given_up') AS id \gset
SELECT pg_temp.captured(:'id', 'given_up-1', 1000, true, 0, lost => true);
SELECT pg_temp.webhook('payment_intent.canceled', pg_temp.now_at(:'id', 'canceled', 0));
SELECT payments.decide_operation(o.operation_id, 'failed', 'not on the dashboard') FROM payments.operation o WHERE o.payment_id = :'id' AND o.kind = 'capture';
SELECT is(pg_temp.state(:'id'), 'expired: authorize succeeded, capture failed discarded', 'or a person says that it did not');

-- A capture that is told so itself.
SELECT pg_temp.held('late') AS id \gset
SELECT payments.capture_payment(:'id', 'late-1');
SELECT pg_temp.claim(:'id'), pg_temp.answer(400, '{"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "payment_intent": {"id": "pi_late"}}}');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'canceled', 0)::text);
SELECT is(pg_temp.state(:'id'), 'expired: authorize succeeded, capture failed canceled', 'refused since it has expired: both are known at once');

-- Of what is captured in part, the rest.
UPDATE payments.psp SET config = '{"multicapture": true}' WHERE psp = 'tap';
SELECT pg_temp.held('part') AS id \gset
SELECT pg_temp.captured(:'id', 'part-1', 300, false, 300);
SELECT is(pg_temp.webhook('payment_intent.canceled', pg_temp.now_at(:'id', 'canceled', 300)), 'succeeded', 'the rest is given up');
SELECT is(pg_temp.events(:'id'), 'create claim authorize capture release:expired', 'and the history says by whom');
SELECT is(pg_temp.amounts(:'id'), 'succeeded 300 0 700', 'what was captured stays');

-- ---------- by our clock ----------

SELECT pg_temp.make('clock', 'manual') AS id \gset
SELECT pg_temp.claim(:'id');
SELECT pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_clock', 'requires_capture') || '{"latest_charge": {"id": "ch_clock", "payment_method_details": {"card": {"capture_before": 1999999999}}}}')::text);
SELECT is((SELECT capture_before FROM payments.get_payment(:'id')), to_timestamp(1999999999), 'until when, by the PSP''s own word');
SELECT is((SELECT count(*) FROM payments.payment WHERE capture_before IS NOT NULL AND authorized = captured + released), 0::bigint, 'no time where nothing is left');
UPDATE payments.payment SET capture_before = now() - interval '1 second' WHERE payment_id = :'id';
SELECT payments.capture_payment(:'id', 'clock-1');
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT is(pg_temp.waits(:'id'), 'inquire capture', 'over by our clock: while a capture is in doubt nobody asks');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 0)::text);
SELECT pg_temp.claim(:'id'), pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined"}}');
SELECT is(pg_temp.state(:'id'), 'authorized: authorize succeeded, capture failed card_declined', 'refused');
SELECT pg_temp.claim(:'id'), pg_temp.claim(:'id');
SELECT is((SELECT a.method || ' ' || split_part(a.path, '?', 1) FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND o.kind = 'expire' LIMIT 1), 'GET /v1/payment_intents/pi_clock', 'now the PSP is asked');
SELECT is(pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 0)::text), 'authorized', 'it holds it still: so do we');
SELECT is(pg_temp.waits(:'id'), 'inquire expire', 'and ask again later');
SELECT pg_temp.claim(:'id');
SELECT is(pg_temp.answer(404, '{"error": {"type": "invalid_request_error", "code": "resource_missing"}}'), 'authorized', 'that nothing is found decides nothing');
SELECT pg_temp.claim(:'id');
SELECT is(pg_temp.answer(200, pg_temp.now_at(:'id', 'canceled', 0)::text), 'expired', 'until it says that it is gone');
SELECT is(pg_temp.state(:'id'), 'expired: authorize succeeded, capture failed card_declined, expire succeeded', 'and the question is answered');

-- Captured while the question is open.
SELECT pg_temp.held('asked') AS id \gset
UPDATE payments.payment SET capture_before = now() - interval '1 second' WHERE payment_id = :'id';
SELECT pg_temp.claim(:'id'), pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.now_at(:'id', 'requires_capture', 0)::text);
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.now_at(:'id', 'succeeded', 1000));
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, expire cancelled', 'captured meanwhile: nothing is left to ask');

-- ---------- by other hands, at a PSP whose captures are objects of their own ----------

CREATE SCHEMA desk;
GRANT USAGE ON SCHEMA desk TO PUBLIC;
CREATE FUNCTION desk.build(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('method', 'POST', 'path', jsonb_build_array(command ->> 'kind'), 'form', jsonb_build_object('ref', command ->> 'psp_ref', 'amount', command -> 'amount'))
$$;
CREATE FUNCTION desk.inquire(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('method', 'GET', 'path', '/seen', 'query', jsonb_build_object('ref', command ->> 'psp_ref'))
$$;
CREATE FUNCTION desk.classify(answer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT answer -> 'json' $$;
CREATE FUNCTION desk.parse(inbound jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT inbound -> 'json' $$;
CREATE ROLE desk_author;
ALTER FUNCTION desk.build(jsonb) OWNER TO desk_author;
ALTER FUNCTION desk.inquire(jsonb) OWNER TO desk_author;
ALTER FUNCTION desk.classify(jsonb) OWNER TO desk_author;
ALTER FUNCTION desk.parse(jsonb) OWNER TO desk_author;
SELECT payments.create_adapter('desk', build => 'desk.build(jsonb)', build_inquiry => 'desk.inquire(jsonb)', classify => 'desk.classify(jsonb)', parse => 'desk.parse(jsonb)',
	can => '{charge,authorize,capture,void,refund,capture_part,refund_part,capture_many}', authorize => '{"scheme": "bearer"}',
	verify => '{"scheme": "hmac-sha256", "header": "Desk-Sig", "over": "{body}", "encoding": "hex"}', key_header => 'Request-Key', key_valid => '23 hours');
SELECT payments.create_psp('desk', 'desk', 'https://one.example', 'tap'), payments.arm();

CREATE FUNCTION pg_temp.desk_claim(id uuid) RETURNS void LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = CASE WHEN payment_id = id THEN clock_timestamp() ELSE now() + interval '20 days' END WHERE psp = 'desk';
	INSERT INTO sent (operation_id, attempt) SELECT c.operation_id, c.attempt FROM payments.claim('desk', psp => 'desk') c;
$$;
CREATE FUNCTION pg_temp.desk_word(effect text, key text, object text, amount int, keeps boolean DEFAULT true, ref text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('class', 'approved', 'effect', effect, 'amount', amount, 'currency', 'EUR', 'object_id', object, 'psp_payment_id', 'd_' || key, 'keeps_rest', keeps, 'psp_ref', ref))
$$;
CREATE FUNCTION pg_temp.desk_tell(word jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('events', jsonb_build_array(jsonb_build_object('event_id', 'desk-' || nextval('ids'), 'event_type', 'captured', 'result', word)));
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	RETURN (SELECT r.status FROM payments.receive_webhook('desk', jsonb_build_object('Desk-Sig', mac), convert_to(body, 'UTF8')) r);
END
$$;
CREATE FUNCTION pg_temp.desk_line(key text, object text, gross text, fee text) RETURNS void LANGUAGE sql AS $$
	SELECT payments.import_settlement('desk', 'csv', format(E'kind,entry_id,psp_object_id,psp_payment_id,gross,fee,currency,occurred_at\ncharge,txn_%s,%s,d_%s,%s,%s,EUR,%s\n',
		object, object, key, gross, fee, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')));
	SELECT payments.reconcile('desk');
$$;
CREATE FUNCTION pg_temp.desk_held(key text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made uuid := (SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', psp => 'desk', payment_method => 'm', capture => 'manual'));
BEGIN
	PERFORM pg_temp.desk_claim(made);
	PERFORM pg_temp.answer(200, pg_temp.desk_word('authorized', key, 'a_' || key, 1000)::text);
	RETURN made;
END
$$;

-- Somebody captures at the PSP while ours is under way.
SELECT pg_temp.desk_held('beside') AS id \gset
SELECT payments.capture_payment(:'id', 'beside-1', 400, false);
SELECT pg_temp.desk_claim(:'id');
SELECT is(pg_temp.desk_tell(pg_temp.desk_word('captured', 'beside', 'c_hand', 100)), 'succeeded', 'by hand, while ours is in flight');
SELECT is(pg_temp.amounts(:'id') || ' ' || (SELECT capture_pending FROM payments.payment WHERE payment_id = :'id'), 'succeeded 100 500 0 400', 'is booked, and ours is reserved still');
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, capture processing', 'and open: nobody asks for it again');
SELECT pg_temp.answer(200, pg_temp.desk_word('captured', 'beside', 'c_ours', 400)::text);
SELECT is(pg_temp.amounts(:'id'), 'succeeded 500 500 0', 'then ours comes');
SELECT is(pg_temp.state(:'id') || coalesce(pg_temp.exceptions(:'id'), ''), 'succeeded: authorize succeeded, capture succeeded', 'well');
SELECT is((SELECT string_agg(m.object_id || ' ' || coalesce(o.kind, '-'), ', ' ORDER BY m.object_id) FROM payments.movement m LEFT JOIN payments.operation o USING (operation_id) WHERE m.payment_id = :'id' AND m.kind = 'capture'),
	'c_hand -, c_ours capture', 'and each is whose it is');

-- So much that ours can be no more, or in the amount of ours: it is ours, or in its place.
SELECT pg_temp.desk_held('instead') AS id \gset
SELECT payments.capture_payment(:'id', 'instead-1', 400, false);
SELECT pg_temp.desk_claim(:'id');
SELECT pg_temp.desk_tell(pg_temp.desk_word('captured', 'instead', 'c_much', 700));
SELECT is(pg_temp.state(:'id') || ', ' || pg_temp.exceptions(:'id'), 'succeeded: authorize succeeded, capture failed captured_otherwise, conflicted 700', 'what leaves too little for ours is in its place');
SELECT pg_temp.desk_held('same') AS id \gset
SELECT payments.capture_payment(:'id', 'same-1', 400, false);
SELECT pg_temp.desk_claim(:'id'), pg_temp.answer(NULL);
SELECT pg_temp.desk_tell(pg_temp.desk_word('captured', 'same', 'c_same', 400));
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, capture succeeded', 'of the amount of ours it is ours');

-- A capture that a person has given up comes while the next one is under way.
SELECT pg_temp.desk_held('named') AS id \gset
SELECT payments.capture_payment(:'id', 'named-1', 300, false);
SELECT pg_temp.desk_claim(:'id'), pg_temp.answer(NULL);
SELECT payments.decide_operation(o.operation_id, 'failed', 'not on the dashboard') FROM payments.operation o WHERE o.payment_id = :'id' AND o.kind = 'capture';
SELECT payments.capture_payment(:'id', 'named-2', 300, false);
SELECT pg_temp.desk_claim(:'id');
SELECT pg_temp.desk_tell(pg_temp.desk_word('captured', 'named', 'c_named', 300, true, o.psp_ref)) FROM payments.operation o WHERE o.payment_id = :'id' AND o.kind = 'capture' AND o.status = 'failed';
SELECT is((SELECT captured || ' ' || capture_pending FROM payments.payment WHERE payment_id = :'id'), '300 300', 'the word names which of ours it is: not the open one');
SELECT pg_temp.answer(200, pg_temp.desk_word('captured', 'named', 'c_named_2', 300)::text);
SELECT is(pg_temp.amounts(:'id'), 'succeeded 600 400 0', 'both have come');

-- Lines of the PSP's book say nothing of the rest.
SELECT pg_temp.desk_held('line') AS id \gset
SELECT payments.capture_payment(:'id', 'line-1', 300, false);
SELECT pg_temp.desk_claim(:'id'), pg_temp.answer(200, pg_temp.desk_word('captured', 'line', 'c_line', 300)::text);
SELECT pg_temp.desk_line('line', 'c_line', '3.00', '0.10');
SELECT is(pg_temp.amounts(:'id') || '; ' || pg_temp.books(:'id'), 'succeeded 300 700 0; authorize 1000, capture 300, fee 10', 'a line brings a capture''s fee, and releases nothing');
SELECT pg_temp.desk_held('given') AS id \gset
SELECT payments.capture_payment(:'id', 'given-1', 300, false);
SELECT pg_temp.desk_claim(:'id'), pg_temp.answer(NULL);
SELECT payments.decide_operation(o.operation_id, 'failed', 'not on the dashboard') FROM payments.operation o WHERE o.payment_id = :'id' AND o.kind = 'capture';
SELECT pg_temp.desk_line('given', 'c_given', '3.00', '0.10');
SELECT is(pg_temp.amounts(:'id'), 'succeeded 300 700 0', 'nor does one of a capture that a person has given up');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'the books are in order');
SELECT * FROM finish();
ROLLBACK;
