-- If this fails, a word of the PSP that comes late, twice, in another currency
-- or after the end is taken for the first: money is booked twice or not at all,
-- or a payment that was given up is charged without anybody being told.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

\ir ../lib/stripe_by_hand.sql
-- Two calls in flight for one operation: the lease of the first has run out, the second asks.
CREATE FUNCTION pg_temp.two(id uuid) RETURNS int LANGUAGE sql AS $$
	SELECT pg_temp.claim(id) * 100 + pg_temp.claim(id) * 10 + pg_temp.claim(id)
$$;

-- ---------- what is no event
CREATE FUNCTION pg_temp.no_event(body text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	t text := extract(epoch FROM clock_timestamp())::bigint;
	d text;
BEGIN
	PERFORM payments.receive_webhook('tap', jsonb_build_object('Stripe-Signature',
		(SELECT format('t=%s,v1=%s', t, encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex')) FROM hmac h)), convert_to(body, 'UTF8'));
	RETURN 'an event';
EXCEPTION WHEN SQLSTATE 'PY503' THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
	RETURN substring(d FROM 'The field "(.*)" is missing');
END
$$;
SELECT is(pg_temp.no_event(b), f, 'signed, and no event: ' || f) FROM (VALUES ('{"object": "event", "type": "x"}', 'id'), ('no JSON', 'id'), ('{"id": "evt_1", "object": "event"}', 'type'),
	('{"id": "evt_1", "object": "list", "type": "x"}', 'object'), ('"{\\"id\\": \\"evt_1\\"}"', 'id')) v (b, f);

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
SELECT is(pg_temp.books(:'id'), 'authorize 1000, capture 400, release 600', 'captured once');

-- A charge that the PSP shows as a hold is not done: the same key again.
SELECT pg_temp.make('held') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'a hold: claimed');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'a hold: no answer');
SELECT is(pg_temp.claim(:'id'), 1, 'a hold: asked for');
SELECT is(pg_temp.answer(200, pg_temp.found(pg_temp.intent(:'id', 'pi_6', 'requires_capture'))), 'authorized', 'a hold: is all there is');
SELECT is(pg_temp.waits(:'id'), 'send charge', 'a hold: sent once more');
SELECT is(pg_temp.claim(:'id'), 1, 'a hold: claimed again');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_6', 'succeeded', 1000)::text), 'succeeded', 'a hold: charged');

-- It is not done because the second time it was not executed: the first may have been.
SELECT pg_temp.make('first of two') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'first of two: claimed');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'first of two: no answer');
SELECT is(pg_temp.claim(:'id'), 1, 'first of two: asked for');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'first of two: not found');
SELECT is(pg_temp.claim(:'id'), 1, 'first of two: sent once more');
SELECT is(pg_temp.answer(409, '{"error": {"type": "invalid_request_error", "code": "lock_timeout"}}'), 'in_doubt', 'first of two: the second was not executed');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'first of two: the PSP is asked what the first has done');
SELECT is(pg_temp.claim(:'id'), 1, 'first of two: asked for again');
SELECT is(pg_temp.answer(200, pg_temp.found(pg_temp.intent(:'id', 'pi_first', 'processing'))), 'processing', 'first of two: it is on its way, so there is no doubt any more');

-- Bad news while a call is in flight that is then lost: asked for at once, and not when the schedule says.
SELECT pg_temp.make('news in flight') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'news in flight: claimed');
SELECT is(pg_temp.webhook('payment_intent.payment_failed', pg_temp.intent(:'id', 'pi_news', 'requires_payment_method') ||
	'{"last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor"}}'), 'processing', 'news in flight: a decline');
SELECT is(pg_temp.answer(NULL), 'in_doubt', 'news in flight: no answer');
SELECT is((SELECT q.action || (q.due_at <= clock_timestamp()) FROM payments.queue q WHERE q.payment_id = :'id'), 'inquiretrue', 'news in flight: asked for at once');

-- A person knows that nothing is there.
SELECT pg_temp.make('nothing there') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'nothing there: claimed');
SELECT is(pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_nothing', 'succeeded', 900) || '{"amount": 900}')::text), 'in_doubt', 'nothing there: another amount');
UPDATE payments.operation SET key_used_at = key_used_at - interval '40 days' WHERE payment_id = :'id';
SELECT lives_ok(format('SELECT payments.redrive(dead_letter_id, true, %L) FROM payments.dead_letter WHERE payment_id = %L AND decision IS NULL', 'not on the dashboard', :'id'), 'nothing there: so it may be sent');
SELECT is(pg_temp.waits(:'id'), 'send charge', 'nothing there: not asked for');
SELECT is(pg_temp.claim(:'id'), 1, 'nothing there: claimed again');
SELECT is((SELECT a.action || ' ' || a.method FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' ORDER BY a.attempt DESC LIMIT 1), 'send POST',
	'nothing there: the key counts from that word on');

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

-- ---------- told before anybody knew that the payment is ours
SELECT is(pg_temp.webhook('refund.created', '{"id": "re_stranger", "object": "refund", "amount": 5, "currency": "eur", "status": "succeeded", "metadata": {"payments_ref": "another"}}', 'evt_stranger'), NULL,
	'what names no payment, and no operation that is here, changes nothing');
SELECT is((SELECT outcome FROM payments.psp_event WHERE event_id = 'evt_stranger'), 'unmatched', 'and is kept');

-- That it is over is only believed when the PSP is asked.
SELECT pg_temp.make('over') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'over: claimed');
SELECT is(pg_temp.webhook('payment_intent.canceled', pg_temp.intent(:'id', 'pi_over', 'canceled') || '{"metadata": {}}'), NULL, 'over: cancelled, somebody');
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_over', 'processing')::text), 'processing', 'over: that was us, says the answer');
SELECT is((SELECT q.action || (q.due_at <= clock_timestamp()) FROM payments.queue q WHERE q.payment_id = :'id'), 'inquiretrue', 'over: so the PSP is asked at once');

-- ---------- rows were lost, and the client has repeated its call
SAVEPOINT lost;
SELECT pg_temp.make('lost') AS id \gset
SELECT psp_ref AS ref FROM payments.operation WHERE payment_id = :'id' \gset
ROLLBACK TO lost;
SELECT is(pg_temp.webhook('payment_intent.succeeded', jsonb_build_object('id', 'pi_lost', 'object', 'payment_intent', 'amount', 1000, 'amount_received', 1000, 'currency', 'eur',
	'status', 'succeeded', 'metadata', jsonb_build_object('payments_ref', :'ref'))), NULL, 'lost: charged, says the PSP, for an operation that is not here');
SELECT pg_temp.make('lost') AS id \gset
SELECT is((SELECT psp_ref FROM payments.operation WHERE payment_id = :'id'), :'ref', 'lost: the same call has the same name');
SELECT is(pg_temp.claim(:'id'), 1, 'lost: handed out');
SELECT is((SELECT a.action || ' ' || a.method FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id'), 'inquire GET', 'lost: for a question, as the PSP has told of it');
SELECT is(pg_temp.state(:'id'), 'in_doubt: charge in_doubt', 'lost: nobody knows');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'lost: not found');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'lost: and never sent, as nobody knows since when it is there');

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
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "message": "No."}}'), 'failed', 'rule: a decline without a code is one');
SELECT pg_temp.make('no-word') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'rule: claimed');
SELECT is(pg_temp.answer(402, '{"error": {"type": "of no kind", "message": "No."}}'), 'failed', 'rule: so is one for which there is no rule at all');
SELECT is(pg_temp.state(:'id'), 'failed: charge failed', 'rule: without a code');

-- Of a payment that is being cancelled the PSP is not asked: a rule may say that it was not done, and the same key is as good as before.
SELECT pg_temp.make('rule-3') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'rule: claimed');
SELECT is(pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_rule', 'requires_action') || '{"next_action": {"redirect_to_url": {"url": "https://bank.example"}}}')::text), 'requires_action', 'rule: the payer must act');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'rule-3-cancel')), 'initiated', 'rule: given up');
SELECT is(pg_temp.webhook('payment_intent.payment_failed', pg_temp.intent(:'id', 'pi_rule', 'requires_payment_method') ||
	'{"last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "try_not_sent"}}'), 'requires_action', 'rule: and not done');
SELECT isnt((SELECT key_used_at FROM payments.operation WHERE payment_id = :'id' AND kind = 'charge'), NULL, 'rule: its key has been used all the same');

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
SELECT payment_id AS id FROM payments.create_payment('of another library', 1000, 'EUR', psp => 'sandbox', payment_method => 'sandbox_ok') \gset
SELECT payments.complete(operation_id, attempt, 200) FROM payments.claim('tap', psp => 'sandbox');
UPDATE payments.psp SET adapter = 'gone' WHERE psp = 'sandbox';
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'of another library-1', 400)), 'initiated', 'what it can do is not known: a refund is taken down all the same');
SELECT throws_ok($$SELECT payments.claim('tap', psp => 'sandbox')$$, 'PY402', NULL, 'and waits for the library that has it');
SELECT throws_ok($$UPDATE payments.psp SET adapter = 'sandbox' WHERE psp = 'sandbox'$$, 'PY409', NULL, 'another one is not given it meanwhile');

-- ---------- what somebody changes where no guard stops him
SELECT current_setting('shared_preload_libraries') NOT LIKE '%payments%' AS unguarded \gset
\if :unguarded
-- A trigger of somebody's refuses what is booked of some objects.
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.object_id LIKE 're_bad%' THEN
		RAISE EXCEPTION 'not this one' USING ERRCODE = right(NEW.object_id, 5);
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON payments.movement FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse();
CREATE FUNCTION pg_temp.refunded_early(intent text, object text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.webhook('refund.created', jsonb_build_object('id', object, 'object', 'refund', 'amount', 100, 'currency', 'eur', 'status', 'succeeded', 'payment_intent', intent), 'evt_' || object)
$$;
SELECT pg_temp.make('early') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'early: claimed');
SELECT is(pg_temp.refunded_early('pi_early', object), NULL, 'early: a refund before the charge') FROM unnest(ARRAY['re_good_1', 're_bad_23514', 're_good_2']) object;
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_early', 'succeeded', 1000)::text), 'partially_refunded', 'early: what cannot be booked holds up neither the charge nor the others');
SELECT is(pg_temp.books(:'id'), 'capture 1000, refund 100, refund 100', 'early: they are booked');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 100', 'early: of that one a person is told');
SELECT is((SELECT detail FROM payments.exception WHERE payment_id = :'id'), 'what the PSP told of this cannot be booked: not this one', 'early: and why');
SELECT is((SELECT string_agg(outcome, ' ' ORDER BY event_id) FROM payments.psp_event WHERE psp_payment_id = 'pi_early'), 'no_effect applied applied', 'early: nothing of it is left to be tried');

SELECT pg_temp.make('passes') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'passes: claimed');
SELECT is(pg_temp.refunded_early('pi_passes', 're_bad_55P03'), NULL, 'passes: a refund before the charge');
SELECT throws_ok(format('SELECT pg_temp.answer(200, %L)', pg_temp.intent(:'id', 'pi_passes', 'succeeded', 1000)), '55P03', NULL, 'passes: what only somebody''s lock is in the way of is no fault of the event: the answer is to be repeated');
SELECT is((SELECT outcome FROM payments.psp_event WHERE event_id = 'evt_re_bad_55P03'), 'unmatched', 'passes: it waits');
DROP TRIGGER refuse ON payments.movement;
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_passes', 'succeeded', 1000)::text), 'partially_refunded', 'passes: and then both are booked');

-- ---------- cancelled once more, when nothing is at the PSP any more
SELECT payment_id AS id FROM payments.create_payment('cancelled twice', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', off_session => true) \gset
SELECT is(pg_temp.claim(:'id'), 1, 'cancelled twice: claimed');
SELECT is(pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_twice', 'requires_action') || '{"next_action": {"redirect_to_url": {"url": "https://bank.example"}}}')::text), 'requires_action', 'cancelled twice: the payer must act');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'twice-1')), 'initiated', 'cancelled twice: given up');
SELECT is(pg_temp.claim(:'id'), 2, 'cancelled twice: the PSP is asked what became of it, and to cancel');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}}'), 'requires_action', 'cancelled twice: it does not');
SELECT is(pg_temp.webhook('payment_intent.processing', pg_temp.intent(:'id', 'pi_twice', 'processing')), 'processing', 'cancelled twice: the payer has acted');
SELECT is((SELECT payments.complete(s.operation_id, s.attempt, 200, '{}', convert_to((pg_temp.intent(:'id', 'pi_twice', 'requires_payment_method')
	|| '{"last_payment_error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}}')::text, 'UTF8'))
	FROM sent s JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND o.kind = 'charge' ORDER BY n DESC LIMIT 1), 'awaiting_retry', 'cancelled twice: and is declined, for now');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'twice-2')), 'succeeded', 'cancelled twice: given up again, and over at once');
SELECT is(pg_temp.state(:'id'), 'cancelled: charge cancelled insufficient_funds, void failed lost_card, void succeeded', 'cancelled twice: what had failed before stays as it was');

-- ---------- a refund that the PSP has refused, and then made
CREATE FUNCTION pg_temp.charged(key text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.make(key);
BEGIN
	PERFORM pg_temp.claim(id);
	PERFORM pg_temp.answer(200, pg_temp.intent(id, 'pi_' || key, 'succeeded', 1000)::text);
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.refund(operation_id uuid, name text, status text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', $2, 'object', 'refund', 'amount', o.amount, 'currency', 'eur', 'status', $3, 'payment_intent', p.psp_payment_id,
		'metadata', jsonb_build_object('payments_ref', o.psp_ref, 'payments_generation', '1'))
	FROM payments.operation o JOIN payments.payment p USING (payment_id) WHERE o.operation_id = $1
$$;
CREATE FUNCTION pg_temp.refused(id uuid, key text, amount int) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	op uuid := (SELECT r.operation_id FROM payments.refund_payment(id, key, amount) r);
BEGIN
	PERFORM pg_temp.claim(id);
	PERFORM pg_temp.answer(400, '{"error": {"type": "invalid_request_error", "code": "charge_disputed"}}');
	RETURN op;
END
$$;
SELECT pg_temp.charged('refused1') AS id \gset
SELECT pg_temp.refused(:'id', 'refused1-one', 400) AS op \gset
SELECT pg_temp.refused(:'id', 'refused1-two', 300) AS other \gset
SELECT is(pg_temp.exceptions(:'id'), 'refund_failed 300, refund_failed 400', 'refused and made: two are refused, and the customer is to be paid in another way');
SELECT is(pg_temp.webhook('refund.created', pg_temp.refund(:'op', 're_refused1', 'succeeded')), 'partially_refunded', 'refused and made: one is made after all');
SELECT is(pg_temp.books(:'id'), 'capture 1000, refund 400', 'refused and made: it is booked');
SELECT is((SELECT concat_ws(' ', status, source, psp_object_id, failure_code) FROM payments.get_operation(:'op')), 'succeeded webhook re_refused1', 'refused and made: its refund has succeeded');
SELECT is((SELECT status FROM payments.get_operation(:'other')), 'failed', 'refused and made: the other has not');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 400, refund_failed 300', 'refused and made: nobody is told to pay it, and whoever has is told of it');
SELECT is((SELECT resolution FROM payments.exception WHERE operation_id = :'op' AND kind = 'refund_failed'), 'the PSP says that the refund was made after all', 'refused and made: why');
SELECT is((SELECT string_agg(type, ', ' ORDER BY id) FROM payments.event WHERE payload ->> 'operation_id' = :'op'), 'refund.failed, refund.succeeded', 'refused and made: the outbox tells of both');
SELECT pg_temp.webhook('refund.updated', pg_temp.refund(:'op', 're_refused1', 'succeeded'));
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 400, refund_failed 300', 'refused and made: told again, it is no news');
SELECT is(pg_temp.webhook('refund.failed', pg_temp.refund(:'op', 're_refused1', 'failed')), 'succeeded', 'refused and made: it fails in the end');
SELECT is((SELECT status FROM payments.get_operation(:'op')) || '; ' || pg_temp.exceptions(:'id'), 'failed; conflicted 400, refund_failed 300, refund_failed 400', 'refused and made: the customer is to be paid');

-- The PSP's book may be what tells.
SELECT pg_temp.charged('refused2') AS id \gset
SELECT pg_temp.refused(:'id', 'refused2-one', 400) AS op \gset
SELECT payments.import_settlement('tap', 'csv', format(E'kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,currency,occurred_at,payout_ref\n%s,%s,%s,%s,%s,%s,%s,EUR,%s,%s\n',
	'refund', 'txn_refused2', 're_refused2', 'pi_refused2', (SELECT psp_ref FROM payments.operation WHERE operation_id = :'op'), '-4.00', '0', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'po_refused2')) IS NOT NULL;
SELECT payments.reconcile('tap');
SELECT is((SELECT status || ' ' || source FROM payments.get_operation(:'op')), 'succeeded settlement', 'refused and made: by a line of settlement');
SELECT is(pg_temp.books(:'id') || '; ' || pg_temp.exceptions(:'id'), 'capture 1000, refund 400; conflicted 400', 'refused and made: likewise');

-- Its failure told before its success is one story.
SELECT pg_temp.charged('refused3') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'refused3-one', 400) \gset
SELECT pg_temp.webhook('refund.failed', pg_temp.refund(:'op', 're_refused3', 'failed'));
SELECT pg_temp.webhook('refund.created', pg_temp.refund(:'op', 're_refused3', 'succeeded'));
SELECT is((SELECT status FROM payments.get_operation(:'op')) || '; ' || pg_temp.exceptions(:'id'), 'failed; refund_failed 400', 'failed, and told to have succeeded before: it has failed');

-- ---------- what is signed and is no event, and headers that are no text
CREATE FUNCTION pg_temp.signed(body text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT r.event_id FROM hmac h, (SELECT extract(epoch FROM clock_timestamp())::bigint::text) t (t),
		payments.receive_webhook('tap', more || jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t.t,
			encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t.t || '.' || body, 'UTF8'))), 'hex'))), convert_to(body, 'UTF8')) r
$$;
SELECT throws_ok(format('SELECT pg_temp.signed(%L)', body), 'PY503', 'webhook body is not an event of PSP "tap"', format('signed, and no event: %s', body))
FROM unnest(ARRAY['', '[]', '{"id": 5}', '{"id": "evt_x"']) body;
SELECT is(pg_temp.signed('{"id": "evt_headers", "object": "event", "type": "ping", "data": {"object": {}}}', '{"X-Number": 5, "X-None": null, "X-Text": "kept"}'), 'evt_headers', 'headers that are no text hurt nobody');
SELECT is((SELECT headers - 'Stripe-Signature' FROM payments.psp_event WHERE event_id = 'evt_headers'), '{"X-Text": "kept"}', 'and are not kept');

-- A row of the queue that has lost its operation.
SELECT pg_temp.make('beside') AS id \gset
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
INSERT INTO payments.queue (operation_id, payment_id, psp, action, due_at, enqueued_at, claimed_by, attempt)
SELECT gen_random_uuid(), payment_id, psp, action, due_at, enqueued_at, 'external:gone', 1 FROM payments.queue WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('tap', psp => 'tap') JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id'), 1, 'a row of nothing holds nobody up');
DELETE FROM payments.queue q WHERE NOT EXISTS (SELECT FROM payments.operation o WHERE o.operation_id = q.operation_id);
\endif

SELECT is((SELECT string_agg(invariant, '; ') FROM payments.check() WHERE NOT ok), 'at most one charge of a payment succeeded', 'check() tells of the payment that was charged twice, and of nothing else');

SELECT * FROM finish();
ROLLBACK;
