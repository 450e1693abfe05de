-- If this fails, a payment is charged at two PSPs, or goes to another while the
-- first may have it; or what the first says later of it, that it was paid there
-- after all, is lost or booked as the other's.
--
-- Two accounts at Stripe, whose side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();
SET LOCAL client_min_messages = warning;
\ir ../lib/stripe_by_hand.sql

SELECT payments.create_psp('two', 'stripe', secret => 'tap'), payments.create_psp('three', 'stripe', secret => 'tap');
SELECT payments.create_route_rule('cards', '{tap,two}', '{1,0}', payment_method => 'pm_*', moves_declined => true);
-- Not reached, says the answer; and one try more.
INSERT INTO payments.decline_rule (adapter, code, class, builtin) VALUES ('stripe', 'not_reached', 'not_sent', false);
INSERT INTO payments.retry_schedule (schedule, psp, try, delay, builtin) VALUES ('not_sent', 'tap', 1, '1 s', false), ('not_sent', 'two', 1, '1 s', false);

CREATE FUNCTION pg_temp.pay(key text, capture text DEFAULT 'automatic', psp text DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', payment_method => 'pm_card_visa', capture => capture, psp => psp)
$$;
-- Hands out the next step at a PSP, of one kind only if that is named, and says what it is.
CREATE FUNCTION pg_temp.step(id uuid, psp text, kind text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	called text;
BEGIN
	UPDATE payments.queue q SET due_at = CASE WHEN q.payment_id = id AND $3 IN ('', o.kind) THEN clock_timestamp() ELSE now() + interval '20 days' END
	FROM payments.operation o WHERE o.operation_id = q.operation_id;
	WITH c AS (SELECT * FROM payments.claim('tap', psp => $2)), s AS (INSERT INTO sent (operation_id, attempt) SELECT c.operation_id, c.attempt FROM c)
	SELECT c.method INTO called FROM c;
	RETURN called;
END
$$;
CREATE FUNCTION pg_temp.decline(code text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.answer(402, format('{"error": {"type": "card_error", "code": "card_declined", "decline_code": "%s"}}', code))
$$;
CREATE FUNCTION pg_temp.at(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', p.psp, p.status, o.psp, o.generation, q.psp) FROM payments.payment p JOIN payments.operation o USING (payment_id) LEFT JOIN payments.queue q USING (operation_id)
	WHERE p.payment_id = id AND o.kind IN ('charge', 'authorize')
$$;
CREATE FUNCTION pg_temp.told(psp text, type text, object jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('id', 'evt_' || nextval('ids'), 'object', 'event', 'type', type, 'data', jsonb_build_object('object', object));
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	RETURN (SELECT r.status FROM payments.receive_webhook($1, jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, mac)), convert_to(body, 'UTF8')) r);
END
$$;
-- What the second PSP says: it has had the second generation.
CREATE FUNCTION pg_temp.second(id uuid, name text, status text, received int DEFAULT 0) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_set(pg_temp.intent($1, $2, $3, $4), '{metadata,payments_generation}', '"2"')::text
$$;
CREATE FUNCTION pg_temp.refused(id uuid, name text, code text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT pg_temp.intent($1, $2, 'requires_payment_method') || jsonb_build_object('last_payment_error', jsonb_build_object('type', 'card_error', 'code', 'card_declined', 'decline_code', $3))
$$;
CREATE FUNCTION pg_temp.money(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', m.psp, m.kind, m.amount), ', ' ORDER BY m.psp, m.kind) FROM payments.movement m WHERE m.payment_id = id
$$;
CREATE FUNCTION pg_temp.asks(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', e.psp, e.kind, e.amount), ', ' ORDER BY e.psp, e.kind) FROM payments.exception e WHERE e.payment_id = id AND e.resolved_at IS NULL
$$;
-- To the PSP "two", because it did not reach "tap".
CREATE FUNCTION pg_temp.moved(key text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.pay(key, capture);
BEGIN
	FOR i IN 1 .. 2 LOOP
		PERFORM pg_temp.step(id, 'tap');
		PERFORM pg_temp.decline('not_reached');
	END LOOP;
	RETURN id;
END
$$;

-- ---------- it did not reach its PSP
SELECT pg_temp.pay('unsent') AS id \gset
SELECT is(pg_temp.step(:'id', 'tap'), 'POST', 'sent to the first');
SELECT is(pg_temp.decline('not_reached'), 'awaiting_retry', 'which it did not reach');
SELECT is(pg_temp.at(:'id'), 'tap awaiting_retry tap 1 tap', 'it is tried there once more');
SELECT is(pg_temp.step(:'id', 'tap'), 'POST', 'with the same');
SELECT is(pg_temp.decline('not_reached'), 'awaiting_retry', 'in vain');
SELECT is(pg_temp.at(:'id'), 'two awaiting_retry two 2 two', 'then it goes to the second, as a new generation');
SELECT is(pg_temp.step(:'id', 'tap'), NULL, 'there is nothing for the first any more');
SELECT is(pg_temp.step(:'id', 'two'), 'POST', 'it is sent to the second');
SELECT is((SELECT count(DISTINCT psp_key)::int || ' ' || count(*) FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), '2 3', 'under another key');
SELECT is(pg_temp.answer(200, pg_temp.second(:'id', 'pi_unsent', 'succeeded', 1000)), 'succeeded', 'which takes it');
SELECT is(pg_temp.money(:'id'), 'two capture 1000', 'and it is booked there');
SELECT results_eq(format('SELECT generation, reason, psp, chosen, note FROM payments.explain_route(%L)', :'id'),
	$$VALUES (1, 'created', 'tap', true, NULL), (1, 'created', 'two', false, NULL), (2, 'not_sent', 'tap', false, 'could not be reached'), (2, 'not_sent', 'two', true, NULL)$$, 'explain_route() says so');
SELECT is((SELECT count(*)::int FROM payments.posting p JOIN payments.account a ON a.account_id IN (p.debit_account, p.credit_account) WHERE p.payment_id = :'id' AND a.code LIKE '%:two'), 1, 'its postings are of that PSP''s accounts');
SELECT status FROM payments.refund_payment(:'id', 'unsent-r', 300) \g /dev/null
SELECT is(pg_temp.step(:'id', 'two'), 'POST', 'refunds go there');

-- ---------- it was declined softly
SELECT pg_temp.pay('soft') AS id \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.decline('insufficient_funds'), 'awaiting_retry', 'a soft decline');
SELECT is(pg_temp.at(:'id'), 'two awaiting_retry two 2 two', 'goes to the second at once, though a customer waits');
SELECT pg_temp.step(:'id', 'two') \g /dev/null
SELECT is(pg_temp.decline('insufficient_funds'), 'failed', 'which has declined it, too: each PSP once');
-- At another PSP it is the same card.
INSERT INTO payments.reattempt_limit (rule, network, category, tries_max, within, amount_scope, builtin) VALUES ('mine', '*', '*', 1, '30 days', 'any', false);
SELECT payment_id AS id FROM payments.create_payment('limited', 1000, 'EUR', payment_method => 'pm_limited') \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.decline('insufficient_funds') || ' ' || pg_temp.at(:'id'), 'failed tap failed tap 1', 'not where the networks allow no further try');
SELECT is((SELECT string_agg(event, ', ' ORDER BY event) FROM payments.reattempt WHERE payment_id = :'id'), 'blocked, declined', 'which is kept');
DELETE FROM payments.reattempt_limit WHERE NOT builtin;
SELECT pg_temp.pay('hard') AS id \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.decline('lost_card'), 'failed', 'what is declined for good goes nowhere');
SELECT payments.create_route_rule('cards', moves_declined => false);
SELECT pg_temp.pay('stays') AS id \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.decline('insufficient_funds'), 'failed', 'nor where the rule does not let it');

-- ---------- never while anything is in doubt, and never from a PSP that was named
SELECT pg_temp.pay('doubt') AS id \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.answer(500, '<html>'), 'in_doubt', 'nobody knows');
SELECT is(pg_temp.step(:'id', 'tap'), 'GET', 'it is asked there');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'and not found');
SELECT is(pg_temp.step(:'id', 'tap'), 'POST', 'sent there once more');
SELECT is(pg_temp.decline('not_reached'), 'in_doubt', 'this time in vain: the first may have arrived');
SELECT is(pg_temp.at(:'id'), 'tap in_doubt tap 1 tap', 'it stays');
SELECT pg_temp.pay('named', psp => 'tap') AS id \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT pg_temp.decline('not_reached') \g /dev/null
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT pg_temp.decline('not_reached') \g /dev/null
SELECT is(pg_temp.at(:'id') || ' ' || pg_temp.dead(:'id'), 'tap awaiting_retry tap 1 psp_unreachable', 'what a call has named stays, for a person');
UPDATE payments.psp SET halted_at = now() WHERE psp = 'two';
SELECT pg_temp.moved('halted') AS id \gset
SELECT is(pg_temp.at(:'id') || ' ' || pg_temp.dead(:'id'), 'tap awaiting_retry tap 1 psp_unreachable', 'to a PSP that is halted nothing goes');
UPDATE payments.psp SET halted_at = NULL WHERE psp = 'two';
-- One that counts in whole euros cannot take cents.
INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple) VALUES ('sandbox', 'EUR', 0, 1);
SELECT payments.create_route_rule('whole', '{tap,sandbox}', '{1,0}', priority => 1, payment_method => 'pm_whole');
SELECT payment_id AS id FROM payments.create_payment('cents', 1005, 'EUR', payment_method => 'pm_whole') \gset
SELECT pg_temp.step(:'id', 'tap'), pg_temp.decline('not_reached'), pg_temp.step(:'id', 'tap'), pg_temp.decline('not_reached') \g /dev/null
SELECT is(pg_temp.at(:'id') || ' ' || pg_temp.dead(:'id'), 'tap awaiting_retry tap 1 psp_unreachable', 'nor to one that cannot charge the amount exactly');
SELECT payment_id AS id FROM payments.create_payment('whole', 1000, 'EUR', payment_method => 'pm_whole') \gset
SELECT pg_temp.step(:'id', 'tap'), pg_temp.decline('not_reached'), pg_temp.step(:'id', 'tap'), pg_temp.decline('not_reached') \g /dev/null
SELECT is(pg_temp.at(:'id'), 'sandbox awaiting_retry sandbox 2 sandbox', 'another amount goes there');
SELECT pg_temp.moved('dropped') AS id \gset
SELECT payments.drop_route_rule('cards');
SELECT is(pg_temp.at(:'id'), 'two awaiting_retry two 2 two', 'what has gone stays there without its rule');
SELECT payments.create_route_rule('cards', '{tap,two}', '{1,0}', payment_method => 'pm_*', moves_declined => true);

-- ---------- words of the first: it was paid there after all
SELECT pg_temp.moved('back') AS id \gset
SELECT is(pg_temp.told('tap', 'payment_intent.succeeded', pg_temp.intent(:'id', 'pi_back', 'succeeded', 1000)), 'succeeded', 'nothing has reached the second: it is paid at the first');
SELECT is(pg_temp.at(:'id') || '; ' || pg_temp.money(:'id'), 'tap succeeded tap 3; tap capture 1000', 'where it is again');
SELECT is(pg_temp.step(:'id', 'two'), NULL, 'and the second is never called');
SELECT is(pg_temp.asks(:'id'), NULL, 'nobody has to look');
SELECT is((SELECT string_agg(DISTINCT reason, ', ' ORDER BY reason) FROM payments.explain_route(:'id')), 'came_after_all, created, not_sent', 'explain_route() has all of it');

SELECT pg_temp.moved('both') AS id \gset
SELECT pg_temp.step(:'id', 'two') \g /dev/null
SELECT is(pg_temp.told('tap', 'payment_intent.succeeded', pg_temp.intent(:'id', 'pi_both_1', 'succeeded', 1000)), 'processing', 'it is at the second already');
SELECT is(pg_temp.answer(200, pg_temp.second(:'id', 'pi_both_2', 'succeeded', 1000)), 'succeeded', 'which takes it');
SELECT is(pg_temp.money(:'id'), 'tap late_capture 1000, two capture 1000', 'two charges, one of them in suspense');
SELECT is(pg_temp.asks(:'id'), 'tap duplicate 1000', 'a person is told at which PSP');
SELECT is((SELECT psp_payment_id FROM payments.get_payment(:'id')), 'pi_both_2', 'the payment is the object of the second');
SELECT is(pg_temp.told('tap', 'payment_intent.succeeded', pg_temp.intent(:'id', 'pi_both_1', 'succeeded', 1000)), 'succeeded', 'told again');
SELECT is(pg_temp.money(:'id'), 'tap late_capture 1000, two capture 1000', 'it is booked once');
SELECT isnt(pg_temp.told('tap', 'refund.created', '{"id": "re_both", "object": "refund", "amount": 1000, "currency": "eur", "status": "succeeded", "payment_intent": "pi_both_1"}'), NULL, 'given back at the first');
SELECT is((SELECT refunded FROM payments.payment WHERE payment_id = :'id'), 0::bigint, 'that is no refund of the payment');

SELECT pg_temp.moved('late') AS id \gset
SELECT pg_temp.step(:'id', 'two') \g /dev/null
SELECT is(payments.complete(s.operation_id, 2, 200, '{}', convert_to(pg_temp.intent(:'id', 'pi_late', 'succeeded', 1000)::text, 'UTF8')), 'processing', 'a late answer of the first')
FROM sent s ORDER BY n DESC LIMIT 1;
SELECT is(pg_temp.money(:'id'), 'tap late_capture 1000', 'is of the first');
SELECT is(pg_temp.decline('lost_card'), 'failed', 'and the second declines');
SELECT is(pg_temp.asks(:'id'), 'tap duplicate 1000', 'a person decides');
SELECT isnt(pg_temp.told('tap', 'refund.created', '{"id": "re_late", "object": "refund", "amount": 1000, "currency": "eur", "status": "succeeded", "payment_intent": "pi_late"}'), NULL, 'who gives it back');
SELECT is(pg_temp.money(:'id'), 'tap late_capture 1000, tap refund 1000', 'from suspense, at the first');

SELECT pg_temp.moved('no news') AS id \gset
SELECT is(pg_temp.told('tap', 'payment_intent.canceled', pg_temp.intent(:'id', 'pi_no', 'canceled')), 'awaiting_retry', 'that the first has cancelled it is no news');
SELECT is(pg_temp.at(:'id'), 'two awaiting_retry two 2 two', 'it stays');
SELECT is(pg_temp.told('tap', 'payment_intent.succeeded', pg_temp.intent(:'id', 'pi_no', 'succeeded', 999)), 'awaiting_retry', 'another amount');
SELECT is(pg_temp.at(:'id') || '; ' || pg_temp.asks(:'id'), 'two awaiting_retry two 2 two; tap conflicted 999', 'a person looks');

SELECT pg_temp.moved('held', 'manual') AS id \gset
SELECT pg_temp.step(:'id', 'two') \g /dev/null
SELECT is(pg_temp.told('tap', 'payment_intent.amount_capturable_updated', pg_temp.intent(:'id', 'pi_held', 'requires_capture')), 'processing', 'authorized at the first after all');
SELECT is(pg_temp.asks(:'id'), 'tap after_cancel 1000', 'to be cancelled there');

-- ---------- a no that is found where it was thought not to have arrived
SELECT payment_id AS id FROM payments.create_payment('found', 1000, 'EUR', payment_method => 'pm_found') \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.decline('not_reached'), 'awaiting_retry', 'it did not reach the first');
SELECT isnt(pg_temp.told('tap', 'payment_intent.payment_failed', pg_temp.refused(:'id', 'pi_found', 'insufficient_funds')), NULL, 'which says that it has declined it');
SELECT is(pg_temp.step(:'id', 'tap'), 'GET', 'and is asked');
SELECT is(pg_temp.answer(200, pg_temp.found(pg_temp.refused(:'id', 'pi_found', 'insufficient_funds'))), 'failed', 'softly: nothing is at the PSP that could go from there');

-- ---------- a cancellation that the first has refused
SELECT payment_id AS id FROM payments.create_payment('void refused', 1000, 'EUR', payment_method => 'pm_void', return_url => 'https://shop.example/') \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT is(pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_void', 'requires_action') || '{"next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/"}}}')::text), 'requires_action', 'the payer has to act');
SELECT status FROM payments.cancel_payment(:'id', 'cancel it') \g /dev/null
SELECT is(pg_temp.step(:'id', 'tap', 'void'), 'POST', 'the shop calls it off');
SELECT is(pg_temp.answer(400, '{"error": {"type": "invalid_request_error"}}'), 'requires_action', 'too late');
SELECT pg_temp.step(:'id', 'tap', 'charge') \g /dev/null
SELECT is(pg_temp.answer(200, pg_temp.intent(:'id', 'pi_void', 'processing')::text), 'processing', 'but has, it is on its way');
SELECT pg_temp.step(:'id', 'tap', 'charge') \g /dev/null
SELECT is(pg_temp.answer(200, pg_temp.refused(:'id', 'pi_void', 'insufficient_funds')::text), 'awaiting_retry', 'and is declined softly');
SELECT is((SELECT string_agg(concat_ws(' ', kind, status, psp), ', ' ORDER BY kind) FROM payments.operation WHERE payment_id = :'id'), 'charge awaiting_retry two, void failed tap', 'the payment goes to the second, what the first has refused stays there');

-- ---------- what nobody may do
SELECT throws_ok(format('UPDATE payments.payment SET psp = %L WHERE payment_id = %L', 'three', :'id'), 'PY003', NULL, 'nobody else changes the PSP of a payment');
SELECT throws_ok(format('UPDATE payments.operation SET psp = %L WHERE payment_id = %L', 'three', :'id'), 'PY003', NULL, 'nor of an operation');
SELECT throws_ok('DELETE FROM payments.route_decision', 'PY003', NULL, 'nor removes a decision');
SELECT is((SELECT string_agg(invariant || ': ' || sample, '; ') FROM payments.check() WHERE NOT ok), (SELECT string_agg(invariant || ': ' || sample, '; ') FROM payments.check() WHERE NOT ok AND invariant = 'at most one charge of a payment succeeded'),
	'check() finds nothing but the second charges');
-- ---------- a server that was promoted: what it has at the first may have gone to the second, of which it has not heard
SELECT pg_temp.pay('promoted') AS id \gset
SELECT pg_temp.step(:'id', 'tap') \g /dev/null
SELECT pg_temp.decline('not_reached') \g /dev/null
SELECT pg_temp.pay('promoted, sent') AS sent \gset
SELECT pg_temp.step(:'sent', 'tap') \g /dev/null
SELECT pg_temp.pay('promoted, named', psp => 'tap') AS named \gset
SELECT payments.disarm(), payments.arm();
SELECT is(pg_temp.step(:'id', 'tap'), 'GET', 'it is asked for first');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'and not found');
SELECT is(pg_temp.step(:'id', 'tap'), 'GET', 'that is no leave to send: it is asked for again');
SELECT is((SELECT string_agg(a.action, ' ' ORDER BY a.attempt) FROM payments.attempt a JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 'send inquire inquire', 'and sent no more');
SELECT is(pg_temp.step(:'sent', 'tap'), NULL, 'nobody knows what became of the call');
SELECT is(pg_temp.step(:'sent', 'tap'), 'GET', 'what the other server had sent is asked for');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'and not found');
SELECT is(pg_temp.step(:'sent', 'tap'), 'GET', 'nor is it sent');
SELECT is(pg_temp.step(:'named', 'tap'), 'GET', 'what a call has named went nowhere');
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'in_doubt', 'not found');
SELECT is(pg_temp.step(:'named', 'tap'), 'POST', 'it is sent');
SELECT * FROM finish();
ROLLBACK;
