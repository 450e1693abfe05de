-- If this fails, a word of the PSP that comes late, twice, in another currency
-- or after the end is taken for the first: money is booked twice or not at all,
-- or a payment that was given up is charged without anybody being told.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();

CREATE TEMP SEQUENCE ids;
CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int);
CREATE TEMP TABLE hmac AS
SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) AS inner_pad, string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i) AS outer_pad
FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;

CREATE FUNCTION pg_temp.webhook(type text, object jsonb, id text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('id', coalesce(id, 'evt_' || nextval('ids')), 'object', 'event', 'type', type, 'data', jsonb_build_object('object', object));
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	RETURN (SELECT r.status FROM payments.receive_webhook('tap', jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, mac)), convert_to(body, 'UTF8')) r);
END
$$;
-- Hands out the next step of a payment, whenever it is due; the lease of one before has run out with it.
CREATE FUNCTION pg_temp.claim(id uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	UPDATE payments.queue SET due_at = CASE WHEN payment_id = id THEN clock_timestamp() ELSE 'infinity' END WHERE psp = 'tap';
	INSERT INTO sent (operation_id, attempt) SELECT c.operation_id, c.attempt FROM payments.claim('tap', psp => 'tap') c;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
-- The answer to the last call, or to one so many before it.
CREATE FUNCTION pg_temp.answer(http int, body text DEFAULT '', before int DEFAULT 0, headers jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt - $3, $1, $4, convert_to($2, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.intent(id uuid, name text, status text, received int DEFAULT 0, currency text DEFAULT 'eur') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', name, 'object', 'payment_intent', 'amount', 1000, 'amount_received', $4, 'currency', $5,
		'amount_capturable', CASE $3 WHEN 'requires_capture' THEN 1000 ELSE 0 END, 'status', $3,
		'metadata', jsonb_build_object('payments_ref', o.psp_ref, 'payments_generation', '1'))
	FROM payments.operation o WHERE o.payment_id = id ORDER BY o.created_at LIMIT 1
$$;
CREATE FUNCTION pg_temp.found(one jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('object', 'search_result', 'has_more', false, 'data', jsonb_build_array(one))::text
$$;
CREATE FUNCTION pg_temp.make(key text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', capture => capture)
$$;
CREATE FUNCTION pg_temp.state(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT p.status || ': ' || string_agg(concat_ws(' ', o.kind, o.status, o.failure_code), ', ' ORDER BY o.created_at) FROM payments.payment p JOIN payments.operation o USING (payment_id)
	WHERE payment_id = id GROUP BY p.status
$$;
CREATE FUNCTION pg_temp.books(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m.kind || ' ' || m.amount, ', ' ORDER BY m.kind) FROM payments.movement m WHERE m.payment_id = id
$$;
CREATE FUNCTION pg_temp.exceptions(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.kind || ' ' || e.amount, ', ' ORDER BY e.kind) FROM payments.exception e WHERE e.payment_id = id AND e.resolved_at IS NULL
$$;
CREATE FUNCTION pg_temp.waits(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(q.action || ' ' || o.kind, ', ' ORDER BY o.kind) FROM payments.queue q JOIN payments.operation o USING (operation_id) WHERE q.payment_id = id
$$;
CREATE FUNCTION pg_temp.dead(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT reason FROM payments.dead_letter WHERE payment_id = id AND decision IS NULL
$$;
-- Two calls in flight for one operation: the lease of the first has run out, the second asks.
CREATE FUNCTION pg_temp.two(id uuid) RETURNS int LANGUAGE sql AS $$
	SELECT pg_temp.claim(id) * 100 + pg_temp.claim(id) * 10 + pg_temp.claim(id)
$$;

-- ---------- two calls in flight, and the first says yes after all
SELECT pg_temp.make('authorized', 'manual') AS id \gset
SELECT is(pg_temp.two(:'id'), 101, 'two in flight: of an authorization');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_1', 'requires_capture')::text, 1), 'authorized', 'the first: authorized');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'authorized', 'the second has found nothing yet');
SELECT is(pg_temp.state(:'id'), 'authorized: authorize succeeded', 'it is not done again');
SELECT is(pg_temp.waits(:'id'), NULL, 'nor asked for');

SELECT pg_temp.make('seen early') AS id \gset
SELECT is(pg_temp.two(:'id'), 101, 'two in flight: of a charge');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_2', 'succeeded', 1000)::text, 1), 'succeeded', 'the first: charged');
SELECT is(pg_temp.answer(200, pg_temp.found(pg_temp.intent(:'id', 'pi_2', 'requires_capture'))), 'succeeded', 'the second has seen it before that');
SELECT is(pg_temp.state(:'id'), 'succeeded: charge succeeded', 'it is done');
SELECT is(pg_temp.books(:'id'), 'authorize 1000, capture 1000', 'charged once');

SELECT pg_temp.make('refused') AS id \gset
SELECT is(pg_temp.two(:'id'), 101, 'two in flight: with another key of ours');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_3', 'succeeded', 1000)::text, 1), 'succeeded', 'the first: charged');
SELECT is(pg_temp.answer(401, '{"error": {"type": "invalid_request_error"}}'), 'succeeded', 'the second was refused');
SELECT is(pg_temp.state(:'id'), 'succeeded: charge succeeded', 'the payment is done all the same');
SELECT isnt((SELECT halted_at FROM payments.psp WHERE psp = 'tap'), NULL, 'and the PSP is halted');
SELECT payments.resume_psp('tap');

SELECT pg_temp.make('wrong') AS id \gset
SELECT is(pg_temp.two(:'id'), 101, 'two in flight: in another amount');
SELECT is(pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_4', 'succeeded', 900) || '{"amount": 900}')::text, 1), 'in_doubt', 'the first: in another amount');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 900', 'a person is told');
SELECT is(pg_temp.dead(:'id'), NULL, 'what the second says is waited for');
SELECT is(pg_temp.answer(200, pg_temp.found(pg_temp.intent(:'id', 'pi_4', 'succeeded', 1000))), 'succeeded', 'the second: in ours');
SELECT is(pg_temp.books(:'id'), 'capture 1000', 'charged once');

SELECT pg_temp.make('captured', 'manual') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'two in flight, of a capture: authorize');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_5', 'requires_capture')::text), 'authorized', 'authorized');
SELECT payments.capture_payment(:'id', 'captured-1', 400);
SELECT is(pg_temp.two(:'id'), 101, 'two in flight, of a capture');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_5', 'succeeded', 400)::text, 1), 'succeeded', 'the first: captured');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_5', 'succeeded', 500)::text), 'succeeded', 'the second: in another amount');
SELECT is(pg_temp.state(:'id'), 'succeeded: authorize succeeded, capture failed captured_otherwise', 'the capture was another''s');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 500', 'a person is told');
SELECT is(pg_temp.books(:'id'), 'authorize 1000, capture 400', 'captured once');

-- A charge that the PSP shows as a hold is not done: the same key again.
SELECT pg_temp.make('held') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'a hold: claimed');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'a hold: no answer');
SELECT is(pg_temp.claim(:'id'), 1, 'a hold: asked for');
SELECT is(pg_temp.answer(200, pg_temp.found(pg_temp.intent(:'id', 'pi_6', 'requires_capture'))), 'authorized', 'a hold: is all there is');
SELECT is(pg_temp.waits(:'id'), 'send charge', 'a hold: sent once more');
SELECT is(pg_temp.claim(:'id'), 1, 'a hold: claimed again');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_6', 'succeeded', 1000)::text), 'succeeded', 'a hold: charged');

-- ---------- after the end
SELECT pg_temp.make('gone', 'manual') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'gone: claimed');
SELECT is(pg_temp.answer(409, '{"error": {"type": "invalid_request_error", "code": "lock_timeout"}}', headers => '{"Retry-After": "300"}'), 'awaiting_retry', 'gone: not executed, says the PSP');
SELECT cmp_ok((SELECT due_at - clock_timestamp() FROM payments.queue WHERE payment_id = :'id'), '>', interval '200 s', 'gone: as late as the PSP asks for');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'gone-1')), 'succeeded', 'gone: cancelled');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_7', 'requires_capture')::text), 'cancelled', 'gone: and authorized after all');
SELECT is(pg_temp.exceptions(:'id'), 'after_cancel 1000', 'gone: a person is told');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_7', 'succeeded', 1000)::text), 'cancelled', 'gone: and captured');
SELECT is(pg_temp.books(:'id'), 'late_capture 1000', 'gone: the money is booked');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_7', 'succeeded', 1000)::text), 'cancelled', 'gone: told again');
SELECT is(pg_temp.books(:'id'), 'late_capture 1000', 'gone: booked once');

SELECT pg_temp.make('twice') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'twice: claimed');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_8', 'succeeded', 1000)::text), 'succeeded', 'twice: charged');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_8_b', 'succeeded', 1000)), 'succeeded', 'twice: and once more, under another id');
SELECT is(pg_temp.exceptions(:'id'), 'duplicate 1000', 'twice: a person is told');
SELECT is(pg_temp.books(:'id'), 'capture 1000, late_capture 1000', 'twice: both are booked, the second apart');

-- ---------- what nobody asked for
SELECT pg_temp.make('currency') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'currency: claimed');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_9', 'succeeded', 1000, 'usd')), v.status, 'a charge in another currency is no yes') FROM (VALUES ('in_doubt')) v (status);
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 1000', 'a person is told');
SELECT is(pg_temp.books(:'id'), NULL, 'nothing is booked');

SELECT pg_temp.make('amount') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'amount: claimed');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_10', 'succeeded', 1001)), v.status, 'nor one of more than was asked for') FROM (VALUES ('in_doubt')) v (status);
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 1001', 'a person is told');

-- Bad news of what waits to be sent: the PSP is asked before it is believed.
SELECT pg_temp.make('bad news') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'bad news: claimed');
SELECT is(pg_temp.answer(409, '{"error": {"type": "invalid_request_error", "code": "lock_timeout"}}'), 'awaiting_retry', 'bad news: not executed');
SELECT is(pg_temp.waits(:'id'), 'send charge', 'bad news: to be sent');
SELECT is(pg_temp.webhook('payment_intent.payment_failed', pg_temp.intent(:'id', 'pi_11', 'requires_payment_method') ||
	'{"last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor"}}'), 'awaiting_retry', 'bad news: a decline of what was not sent');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'bad news: asked for first');

-- ---------- a dead letter, and then the PSP's word
SELECT pg_temp.make('buried') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'buried: claimed');
SELECT is(pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_12', 'succeeded', 900) || '{"amount": 900}')::text), 'in_doubt', 'buried: another amount');
SELECT is(pg_temp.dead(:'id'), 'conflicted', 'buried: for a person');
SELECT is(pg_temp.webhook('payment_intent.processing', pg_temp.intent(:'id', 'pi_12', 'processing')), 'in_doubt', 'buried: not yet, says the PSP, which changes nothing');
SELECT is(pg_temp.dead(:'id'), 'conflicted', 'buried: still for a person');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_12', 'succeeded', 1000)), 'succeeded', 'buried: charged, says the PSP');
SELECT is(pg_temp.state(:'id'), 'succeeded: charge succeeded', 'buried: then it is');
SELECT is(pg_temp.dead(:'id'), NULL, 'buried: and nothing is left for a person');

INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) VALUES ('pending', 1, '1 s', false);
SELECT pg_temp.make('slow') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'slow: claimed');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_13', 'processing')::text), 'processing', 'slow: not yet');
SELECT is(pg_temp.claim(:'id'), 1, 'slow: asked for');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_13', 'processing')::text), 'processing', 'slow: still not');
SELECT is(pg_temp.dead(:'id'), 'pending_too_long', 'slow: for a person');
SELECT dead_letter_id AS dead FROM payments.dead_letter WHERE payment_id = :'id' AND decision IS NULL \gset
SELECT throws_ok(format('SELECT payments.redrive(%L, true, %L)', :'dead', 'nothing there'), 'PY006', NULL, 'slow: what the PSP has accepted is not sent once more');
SELECT throws_ok(format('SELECT payments.redrive(%L, true)', :'dead'), '22023', NULL, 'slow: nor without a reason');
SELECT throws_ok(format('SELECT payments.redrive(%L, false, %L)', :'dead', 'card 4111111111111111'), 'PY009', NULL, 'slow: nor is a card number one');
SELECT lives_ok(format('SELECT payments.redrive(%L)', :'dead'), 'slow: redriven');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'slow: it is asked for');

-- ---------- a rule of one's own for a decline
INSERT INTO payments.decline_rule (adapter, code, class, builtin) VALUES ('stripe', 'try_who_knows', 'unknown', false), ('stripe', 'try_not_sent', 'not_sent', false);
SELECT pg_temp.make('rule') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'rule: claimed');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "try_who_knows"}}'), 'in_doubt', 'rule: this code says nothing');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'rule: so it is asked for');
SELECT pg_temp.make('rule-2') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'rule: claimed');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "try_not_sent"}}'), 'awaiting_retry', 'rule: this one says that nothing was done');
SELECT is(pg_temp.waits(:'id'), 'send charge', 'rule: so it is sent once more');

SELECT pg_temp.make('no-code') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'rule: claimed');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "message": "No."}}'), 'failed', 'rule: a decline without any code is one');

-- ---------- longer ago than the PSP keeps a key
SELECT pg_temp.make('horizon') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'horizon: claimed');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'horizon: no answer');
SELECT is(pg_temp.claim(:'id'), 1, 'horizon: asked for');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'horizon: not found');
SELECT is(pg_temp.waits(:'id'), 'send charge', 'horizon: to be sent once more');
UPDATE payments.operation SET key_used_at = key_used_at - interval '40 days' WHERE payment_id = :'id';
SELECT is(pg_temp.claim(:'id'), 1, 'horizon: claimed when the key may be forgotten');
SELECT is((SELECT a.action || ' ' || a.method FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' ORDER BY a.attempt DESC LIMIT 1),
	'inquire GET', 'horizon: it is asked for, not sent');

-- ---------- somebody changes the PSP's units while a call is in flight
SELECT payment_id AS id FROM payments.create_payment('units', 1005, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
SELECT is(pg_temp.claim(:'id'), 1, 'units: claimed');
INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple) VALUES ('stripe', 'EUR', 0, 1);
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_units', 'succeeded', 1005)::text), 'in_doubt', 'units: an answer that nothing can be compared with is none');
DELETE FROM payments.psp_currency WHERE adapter = 'stripe' AND currency = 'EUR';
SELECT is(pg_temp.books(:'id'), NULL, 'units: nothing is booked');

INSERT INTO payments.psp (psp, adapter) VALUES ('gone', 'gone');
SELECT throws_ok($$SELECT payments.claim('tap', psp => 'gone')$$, 'PY402', NULL, 'a PSP whose adapter the library has not');

SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), 'at most one charge of a payment succeeded', 'check() tells of the payment that was charged twice, and of nothing else');

SELECT * FROM finish();
ROLLBACK;
