-- If this fails, a person who has seen at the PSP what became of a payment must
-- wait for a week until he may say so; or what he says is taken for more than it
-- is: booked twice when the PSP says it too, or never again looked at when the
-- PSP says otherwise.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

\ir ../lib/stripe_by_hand.sql
CREATE FUNCTION pg_temp.op(id uuid) RETURNS uuid LANGUAGE sql AS $$
	SELECT o.operation_id FROM payments.operation o WHERE o.payment_id = $1 ORDER BY o.created_at DESC LIMIT 1
$$;
-- A call whose answer is lost, and no lease that waits for it.
CREATE FUNCTION pg_temp.lose(id uuid) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.claim(id);
	PERFORM pg_temp.answer(500);
	RETURN pg_temp.op(id);
END
$$;
CREATE FUNCTION pg_temp.decided(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', d.reason, d.decision, d.decision_reason), ', ' ORDER BY d.created_at) FROM payments.dead_letter d WHERE d.operation_id = pg_temp.op($1)
$$;
CREATE FUNCTION pg_temp.charged(key text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.make(key, capture);
BEGIN
	PERFORM pg_temp.claim(id);
	PERFORM pg_temp.answer(200, pg_temp.intent(id, 'pi_' || key, CASE capture WHEN 'manual' THEN 'requires_capture' ELSE 'succeeded' END, CASE capture WHEN 'manual' THEN 0 ELSE 1000 END)::text);
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.refund(name text, status text, amount int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', $1, 'object', 'refund', 'amount', $3, 'currency', 'eur', 'status', $2)
$$;
-- The PSP's refund, by our name of it.
CREATE FUNCTION pg_temp.refund_of(operation_id uuid, name text, status text, amount int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT pg_temp.refund($2, $3, $4) || jsonb_build_object('payment_intent', p.psp_payment_id, 'metadata', jsonb_build_object('payments_ref', o.psp_ref, 'payments_generation', '1'))
	FROM payments.operation o JOIN payments.payment p USING (payment_id) WHERE o.operation_id = $1
$$;
-- All calls of a payment, and no answer.
CREATE FUNCTION pg_temp.lose_all(id uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	calls int := pg_temp.claim(id);
BEGIN
	PERFORM payments.complete(s.operation_id, s.attempt, 500) FROM (SELECT * FROM sent ORDER BY n DESC LIMIT calls) s;
	RETURN calls;
END
$$;
-- Until its schedule has ended.
CREATE FUNCTION pg_temp.run_out(id uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..100 LOOP
		EXIT WHEN pg_temp.lose_all(id) = 0;
	END LOOP;
	RETURN pg_temp.dead(id);
END
$$;

-- ---------- who may, and what about
SELECT pg_temp.make('early') AS id \gset
SELECT pg_temp.op(:'id') AS op \gset
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not there'')', :'op'), 'PY006', NULL, 'what is not sent is not in doubt');
SELECT is(pg_temp.claim(:'id'), 1, 'sent');
UPDATE payments.queue SET due_at = now() + interval '1 minute' WHERE operation_id = :'op';
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not there'')', :'op'), 'PY008', NULL, 'while a call is under way its answer is waited for');
SELECT is(pg_temp.answer(500), 'in_doubt', 'nobody knows');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, %L, ''not there'')', :'op', o), '22023', NULL, 'an outcome is one of two') FROM (VALUES (NULL), ('unknown'), ('cancelled')) v (o);
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', %L)', :'op', r), '22023', NULL, 'there is a reason') FROM (VALUES (NULL), ('')) v (r);
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''card 4242 4242 4242 4242'')', :'op'), 'PY009', NULL, 'without a card number');
SELECT throws_ok('SELECT payments.decide_operation(NULL, ''failed'', ''not there'')', '22023', NULL, 'an operation');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not there'')', :'id'), 'PY016', NULL, 'one that exists');
CREATE ROLE decisions_app IN ROLE payments_app;
CREATE ROLE decisions_operator IN ROLE payments_operator;
SET ROLE decisions_app;
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not there'')', :'op'), '42501', NULL, 'an application has no say');
SET ROLE decisions_operator;

-- ---------- a charge that was not made
SELECT lives_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''nothing on the dashboard'')', :'op'), 'an operator has, at once');
RESET ROLE;
SELECT is(pg_temp.state(:'id'), 'failed: charge failed discarded', 'it has failed');
SELECT is(pg_temp.waits(:'id'), NULL, 'and is not sent again');
SELECT is(pg_temp.decided(:'id'), 'in_doubt discarded nothing on the dashboard', 'the decision is kept');
SELECT is((SELECT decided_by FROM payments.dead_letter WHERE operation_id = :'op'), 'decisions_operator', 'and whose it was');
SELECT is((SELECT source FROM payments.get_operation(:'op')), 'person', 'by whose word');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''it is there after all'', ''pi_early'')', :'op'), 'PY303', NULL, 'it is decided once');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_early', 'succeeded', 1000)), 'failed', 'the PSP says later that it was');
SELECT is(pg_temp.books(:'id') || '; ' || pg_temp.exceptions(:'id'), 'late_capture 1000; after_cancel 1000', 'the money stands in suspense, and a person is told');

-- ---------- a charge that was made
SELECT pg_temp.make('made') AS id \gset
SELECT pg_temp.lose(:'id') AS op \gset
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'')', :'op'), '22023', 'psp_object_id is needed to decide that a charge has succeeded', 'under which id?');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', %L)', :'op', i), '22023', NULL, 'that is none: ' || i)
FROM (VALUES (''), ('ch_made'), ('re_made'), ('pi_a/b'), ('pi_')) v (i) WHERE i <> 'pi_';
CREATE FUNCTION pg_temp.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END
$$;
SELECT matches(pg_temp.hint(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''ch_made'')', :'op')), 'Stripe calls a payment pi_.*not the charge [(]ch_', 'and it says which of those on the page it is');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''pi_early'')', :'op'), 'PY006', 'psp_object_id belongs to another payment', 'nor another payment''s');
SELECT lives_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''pi_made'')', :'op'), 'it was made');
SELECT is(pg_temp.state(:'id') || '; ' || pg_temp.books(:'id'), 'succeeded: charge succeeded; capture 1000', 'it has succeeded, and is booked');
SELECT is(pg_temp.decided(:'id'), 'in_doubt confirmed on the dashboard', 'the decision is kept');
SELECT results_eq(format('SELECT source, psp_object_id FROM payments.get_operation(%L)', :'op'), $$VALUES ('person', 'pi_made')$$, 'by whose word');
SELECT is((SELECT string_agg(event || ' ' || source, ', ' ORDER BY seq) FROM payments.payment_history(:'id')), 'create client, claim worker, doubt answer, capture person', 'the history says so');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_made', 'succeeded', 1000)), 'succeeded', 'the PSP says it too');
SELECT is(pg_temp.books(:'id') || coalesce('; ' || pg_temp.exceptions(:'id'), ''), 'capture 1000', 'it counts once');
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'made-refund', 400)), 'initiated', 'and can be refunded');

-- ---------- and the PSP says otherwise
SELECT pg_temp.make('not') AS id \gset
SELECT pg_temp.lose(:'id') AS op \gset
SELECT payments.decide_operation(:'op', 'succeeded', 'on the dashboard', 'pi_not');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "payment_intent": {"id": "pi_not"}}}'), 'succeeded', 'the answer comes late: declined');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 1000', 'a person is told');
SELECT pg_temp.make('gone') AS id \gset
SELECT payments.decide_operation(pg_temp.lose(:'id'), 'succeeded', 'on the dashboard', 'pi_gone');
SELECT is(pg_temp.webhook('payment_intent.canceled', pg_temp.intent(:'id', 'pi_gone', 'canceled')), 'succeeded', 'an event: cancelled');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 1000', 'a person is told');
SELECT pg_temp.make('other') AS id \gset
SELECT payments.decide_operation(pg_temp.lose(:'id'), 'succeeded', 'on the dashboard', 'pi_other');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_another', 'succeeded', 1000)), 'succeeded', 'an event: as another object');
SELECT is(pg_temp.books(:'id') || '; ' || pg_temp.exceptions(:'id'), 'capture 1000, late_capture 1000; duplicate 1000', 'it stands in suspense, and a person is told');

-- ---------- refunds
SELECT pg_temp.charged('r1') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'r1-refund', 400) \gset
SELECT pg_temp.lose(:'id');
SELECT payments.decide_operation(:'op', 'failed', 'no refund on the dashboard');
SELECT results_eq(format('SELECT status, refunded, refund_pending FROM payments.get_payment(%L)', :'id'), $$VALUES ('succeeded', 0::bigint, 0::bigint)$$, 'a refund that was not made reserves nothing');
SELECT is(pg_temp.webhook('refund.created', pg_temp.refund('re_1', 'succeeded', 400) || jsonb_build_object('payment_intent', 'pi_r1',
	'metadata', (SELECT jsonb_build_object('payments_ref', psp_ref, 'payments_generation', '1') FROM payments.operation WHERE operation_id = :'op'))), 'partially_refunded', 'it was');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 400', 'a person is told: the customer may have been paid in another way');
SELECT is((SELECT status || ' ' || source FROM payments.get_operation(:'op')), 'succeeded webhook', 'the PSP''s word ends it');

SELECT pg_temp.charged('r2') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'r2-refund', 400) \gset
SELECT pg_temp.lose(:'id');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''pi_r2'')', :'op'), '22023', NULL, 'a payment is no refund');
SELECT matches(pg_temp.hint(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''pi_r2'')', :'op')), 'Stripe calls a refund re_', 'and it says what one is called');
SELECT payments.decide_operation(:'op', 'succeeded', 'on the dashboard', 're_2');
SELECT is(pg_temp.books(:'id'), 'authorize 1000, capture 1000, refund 400', 'a refund that was made') WHERE pg_temp.books(:'id') LIKE 'auth%';
SELECT is((SELECT refunded || ' ' || refund_pending FROM payments.get_payment(:'id')), '400 0', 'is refunded');
SELECT is(pg_temp.webhook('refund.created', pg_temp.refund('re_2', 'succeeded', 400) || '{"payment_intent": "pi_r2"}'), 'partially_refunded', 'the PSP says it too');
SELECT is((SELECT refunded FROM payments.get_payment(:'id')), 400::bigint, 'it counts once');
SELECT is(pg_temp.exceptions(:'id'), NULL, 'and nobody is troubled');
SELECT is(pg_temp.webhook('refund.failed', pg_temp.refund('re_2', 'failed', 400) || '{"payment_intent": "pi_r2"}'), 'succeeded', 'it fails after all');
SELECT is((SELECT status || ' ' || source FROM payments.get_operation(:'op')), 'failed webhook', 'the PSP''s word ends it');
SELECT is(pg_temp.exceptions(:'id'), 'refund_failed 400', 'and a person is told');

-- ---------- captures and cancellations
SELECT pg_temp.charged('c1', 'manual') AS id \gset
SELECT operation_id AS op FROM payments.capture_payment(:'id', 'c1-capture') \gset
SELECT pg_temp.lose(:'id');
SELECT payments.decide_operation(:'op', 'failed', 'not captured on the dashboard');
SELECT results_eq(format('SELECT status, captured, capture_pending FROM (SELECT p.* FROM payments.payment p WHERE p.payment_id = %L) p', :'id'), $$VALUES ('authorized', 0::bigint, 0::bigint)$$, 'a capture that was not made');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_c1', 'succeeded', 1000)), 'succeeded', 'it was');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 1000', 'a person is told');

SELECT pg_temp.charged('c2', 'manual') AS id \gset
SELECT operation_id AS op FROM payments.capture_payment(:'id', 'c2-capture', 700) \gset
SELECT pg_temp.lose(:'id');
SELECT payments.decide_operation(:'op', 'succeeded', 'captured on the dashboard', 'pi_c2');
SELECT results_eq(format('SELECT status, captured, authorized FROM payments.get_payment(%L)', :'id'), $$VALUES ('succeeded', 700::bigint, 1000::bigint)$$, 'a capture that was made');

SELECT pg_temp.charged('v1', 'manual') AS id \gset
SELECT operation_id AS op FROM payments.cancel_payment(:'id', 'v1-cancel') \gset
SELECT pg_temp.lose(:'id');
SELECT payments.decide_operation(:'op', 'succeeded', 'cancelled on the dashboard');
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'cancelled', 'a cancellation that was made, under the payment''s own id');
SELECT pg_temp.charged('v2', 'manual') AS id \gset
SELECT operation_id AS op FROM payments.cancel_payment(:'id', 'v2-cancel') \gset
SELECT pg_temp.lose(:'id');
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_v2', 'succeeded', 1000));
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''cancelled on the dashboard'')', :'op'), 'PY006', NULL, 'but not of what has been captured') WHERE (SELECT status FROM payments.get_operation(:'op')) = 'in_doubt';

-- ---------- an id that is something else's
SELECT pg_temp.charged('i1') AS id \gset
SELECT operation_id AS one FROM payments.refund_payment(:'id', 'i1-one', 300) \gset
SELECT operation_id AS two FROM payments.refund_payment(:'id', 'i1-two', 300) \gset
SELECT pg_temp.lose_all(:'id');
SELECT payments.decide_operation(:'one', 'succeeded', 'on the dashboard', 're_i1');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''re_i1'')', :'two'), 'PY006', 'psp_object_id belongs to another operation', 'one refund of the PSP''s is not two of ours');
SELECT is((SELECT refunded || ' ' || refund_pending FROM payments.get_payment(:'id')), '300 300', 'one is made, of the other nobody knows');
SELECT payments.decide_operation(:'two', 'succeeded', 'on the dashboard', 're_i1_two');
SELECT is((SELECT refunded || ' ' || refund_pending FROM payments.get_payment(:'id')), '600 0', 'under its own id it is made too');

-- What the PSP has told for one refund, and not ended yet.
SELECT pg_temp.charged('i2') AS id \gset
SELECT operation_id AS one FROM payments.refund_payment(:'id', 'i2-one', 300) \gset
SELECT pg_temp.claim(:'id');
SELECT pg_temp.answer(200, pg_temp.refund_of(:'one', 're_i2', 'pending', 300)::text);
SELECT operation_id AS two FROM payments.refund_payment(:'id', 'i2-two', 300) \gset
SELECT pg_temp.lose_all(:'id');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''re_i2'')', :'two'), 'PY006', 'psp_object_id belongs to another operation', 'nor for another of the payment');
SELECT pg_temp.charged('i3') AS other \gset
SELECT operation_id AS theirs FROM payments.refund_payment(:'other', 'i3-refund', 300) \gset
SELECT pg_temp.lose_all(:'other');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''re_i2'')', :'theirs'), 'PY006', 'psp_object_id belongs to another payment', 'nor for another payment''s');
SELECT pg_temp.webhook('refund.updated', pg_temp.refund_of(:'one', 're_i2', 'succeeded', 300));
SELECT is((SELECT status || ' ' || psp_object_id FROM payments.get_operation(:'one')), 'succeeded re_i2', 'it is whose the PSP says');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''re_i2'')', :'theirs'), 'PY006', 'psp_object_id belongs to another payment', 'and is so when it is booked');

-- What the PSP has told of the object.
SELECT pg_temp.charged('i4') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'i4-refund', 300) \gset
SELECT pg_temp.lose_all(:'id');
SELECT pg_temp.webhook('refund.created', pg_temp.refund('re_i4_small', 'succeeded', 200) || '{"payment_intent": "pi_i4"}');
SELECT pg_temp.webhook('refund.failed', pg_temp.refund('re_i4_failed', 'failed', 300) || '{"payment_intent": "pi_i4"}');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', %L)', :'op', i), 'PY006', 'psp_object_id is booked as something else', i)
FROM (VALUES ('re_i4_small'), ('re_i4_failed')) v (i);
SELECT pg_temp.webhook('refund.created', pg_temp.refund('re_i4', 'succeeded', 300) || '{"payment_intent": "pi_i4"}');
SELECT lives_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''re_i4'')', :'op'), 'a refund that nobody knew to be ours may be it');
SELECT is(pg_temp.books(:'id'), 'capture 1000, refund 200, refund 300, refund_undone 300', 'and counts once');
SELECT is((SELECT refunded || ' ' || refund_pending FROM payments.get_payment(:'id')), '500 0', 'and reserves nothing');

-- A capture at this PSP is the payment's own object.
SELECT pg_temp.charged('i5', 'manual') AS id \gset
SELECT operation_id AS op FROM payments.capture_payment(:'id', 'i5-capture', 700) \gset
SELECT pg_temp.lose_all(:'id');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'', ''pi_i5_typo'')', :'op'), '22023', 'psp_object_id is not the one that the PSP has told', 'a capture of another object is not this payment''s');
SELECT lives_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'')', :'op'), 'its id need not be said');
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_i5', 'succeeded', 700));
SELECT is((SELECT captured FROM payments.get_payment(:'id')) || coalesce('; ' || pg_temp.exceptions(:'id'), ''), '700', 'the PSP says it too: it counts once');

-- A person may have guessed wrong while nobody knew better.
SELECT pg_temp.charged('i6') AS id \gset
SELECT operation_id AS one FROM payments.refund_payment(:'id', 'i6-one', 300) \gset
SELECT operation_id AS two FROM payments.refund_payment(:'id', 'i6-two', 300) \gset
SELECT pg_temp.lose_all(:'id');
SELECT payments.decide_operation(:'two', 'succeeded', 'on the dashboard', 're_i6');
SELECT pg_temp.webhook('refund.created', pg_temp.refund_of(:'one', 're_i6', 'succeeded', 300));
SELECT is((SELECT status FROM payments.get_operation(:'one')), 'succeeded', 'the PSP says whose it is');
SELECT results_eq(format('SELECT kind, operation_id FROM payments.exception WHERE payment_id = %L', :'id'), format('VALUES (''conflicted'', %L::uuid)', :'two'), 'a person is told to look for the other');
SELECT is((SELECT refunded || ' ' || refund_pending FROM payments.get_payment(:'id')), '300 0', 'it counts once');

-- ---------- an event of another payment's object
SELECT pg_temp.charged('e1') AS id \gset
SELECT pg_temp.charged('e2') AS other \gset
SELECT pg_temp.webhook('refund.created', pg_temp.refund('re_e', 'succeeded', 300) || '{"payment_intent": "pi_e1"}');
SELECT is(pg_temp.webhook('refund.created', pg_temp.refund('re_e', 'succeeded', 300) || '{"payment_intent": "pi_e2"}'), 'succeeded', 'it is taken, and changes nothing');
SELECT is(pg_temp.books(:'other') || '; ' || pg_temp.exceptions(:'other'), 'capture 1000; conflicted 300', 'a person is told');
SELECT pg_temp.make('e3') AS id \gset
SELECT pg_temp.lose(:'id');
SELECT is(pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_e2', 'succeeded', 1000)), 'in_doubt', 'also of a charge');
SELECT is(coalesce(pg_temp.books(:'id'), '') || '; ' || pg_temp.exceptions(:'id'), '; conflicted 1000', 'a person is told');
SELECT is((SELECT psp_payment_id FROM payments.payment WHERE payment_id = :'id'), NULL, 'the payment is not known by it');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'and is asked for');
SELECT is(pg_temp.webhook('payment_intent.processing', pg_temp.intent(:'id', 'pi_e2', 'processing')), 'in_doubt', 'also when nothing has moved');

-- ---------- what is booked was made, whatever a page says
SELECT pg_temp.charged('b1', 'manual') AS id \gset
SELECT operation_id AS op FROM payments.capture_payment(:'id', 'b1-capture') \gset
SELECT pg_temp.lose_all(:'id');
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_b1', 'succeeded', 1000));
SELECT is(pg_temp.run_out(:'id'), 'outcome_unknown', 'a capture whose money has come, and not its fee');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not on the dashboard'')', :'op'), 'PY006', 'cannot decide that a capture was not made whose money has come', 'has not failed');
SELECT throws_ok(format('SELECT payments.discard(dead_letter_id, ''not on the dashboard'') FROM payments.dead_letter WHERE operation_id = %L', :'op'), 'PY006', 'cannot decide that a capture was not made whose money has come', 'nor is given up');
SELECT throws_ok(format('SELECT payments.redrive(dead_letter_id, true, ''not on the dashboard'') FROM payments.dead_letter WHERE operation_id = %L', :'op'), 'PY006', NULL, 'nor sent again');
SELECT lives_ok(format('SELECT payments.decide_operation(%L, ''succeeded'', ''on the dashboard'')', :'op'), 'it has succeeded');
SELECT is(pg_temp.state(:'id') || '; ' || (SELECT captured FROM payments.get_payment(:'id')), 'succeeded: authorize succeeded, capture succeeded; 1000', 'once');
SELECT pg_temp.make('b2') AS id \gset
SELECT pg_temp.lose(:'id') AS op \gset
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_b2', 'succeeded', 1000));
SELECT is(pg_temp.run_out(:'id'), 'outcome_unknown', 'a charge likewise');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not on the dashboard'')', :'op'), 'PY006', 'cannot decide that a charge was not made whose money has come', 'has not failed');
SELECT lives_ok(format('SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE operation_id = %L', :'op'), 'what is left to know is asked for');
SELECT is(pg_temp.waits(:'id'), 'inquire charge', 'once more');
SELECT pg_temp.charged('b3') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'b3-refund', 300) \gset
SELECT pg_temp.claim(:'id');
SELECT pg_temp.webhook('refund.updated', pg_temp.refund('re_b3', 'succeeded', 300) || '{"payment_intent": "pi_b3"}');
SELECT pg_temp.answer(200, pg_temp.refund_of(:'op', 're_b3', 'pending', 300)::text);
SELECT is(pg_temp.run_out(:'id'), 'outcome_unknown', 'a refund of which the PSP has told without our name');
SELECT throws_ok(format('SELECT payments.decide_operation(%L, ''failed'', ''not on the dashboard'')', :'op'), 'PY006', 'cannot decide that a refund was not made whose money has come', 'has not failed');
SELECT pg_temp.charged('b4') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'b4-refund', 300) \gset
SELECT pg_temp.claim(:'id');
SELECT pg_temp.answer(200, pg_temp.refund_of(:'op', 're_b4', 'pending', 300)::text);
SELECT pg_temp.webhook('refund.updated', pg_temp.refund('re_b4', 'succeeded', 300) || '{"payment_intent": "pi_b4"}');
SELECT is(pg_temp.state(:'id'), 'partially_refunded: charge succeeded, refund succeeded', 'one whose id is known is over with the event, though it does not name us');

-- ---------- a dead letter, by its operation
SELECT pg_temp.make('dead') AS id \gset
SELECT pg_temp.claim(:'id');
SELECT pg_temp.answer(200, (pg_temp.intent(:'id', 'pi_dead', 'succeeded', 1000) || '{"amount": 999}')::text);
SELECT is(pg_temp.dead(:'id'), 'conflicted', 'in conflict');
SELECT payments.decide_operation(pg_temp.op(:'id'), 'failed', 'refunded by hand');
SELECT is(pg_temp.decided(:'id'), 'conflicted discarded refunded by hand', 'one dead letter, decided');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'all invariants hold');
UPDATE payments.operation SET psp_object_id = CASE psp_object_id WHEN 're_i1_two' THEN 're_i1' ELSE 're_nowhere' END WHERE psp_object_id IN ('re_i1_two', 're_i2');
SELECT results_eq('SELECT invariant, violations FROM payments.check() WHERE NOT ok', $$VALUES ('an operation has succeeded when its money has moved', 1::bigint), ('two refunds are two objects of the PSP''s', 1)$$, 'check() tells of two refunds under one object, and of one under none');
SELECT * FROM finish();
ROLLBACK;
