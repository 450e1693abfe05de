-- If this fails, a refund, capture or cancellation that the PSP has refused
-- looks as if it had been made: the customer waits for money that nobody sends,
-- and the shop, its history and its events say that all is well.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();

-- The next step of a payment, whenever it is due, and the PSP's answer to it.
CREATE FUNCTION pg_temp.turn(id uuid, http int, body text) RETURNS text LANGUAGE plpgsql AS $$
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
CREATE FUNCTION pg_temp.intent(status text, id text) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('id', id, 'object', 'payment_intent', 'amount', 1000, 'amount_received', CASE status WHEN 'succeeded' THEN 1000 ELSE 0 END,
		'amount_capturable', CASE status WHEN 'requires_capture' THEN 1000 ELSE 0 END, 'currency', 'eur', 'status', status)::text
$$;
CREATE FUNCTION pg_temp.make(key text, status text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	id uuid;
BEGIN
	SELECT payment_id INTO id FROM payments.create_payment(key, 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', order_ref => key,
		capture => CASE status WHEN 'requires_capture' THEN 'manual' ELSE 'automatic' END);
	PERFORM pg_temp.turn(id, 200, pg_temp.intent(status, 'pi_' || key));
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.told(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', v.type, v.payload ->> 'code', v.payload ->> 'source', v.payload ->> 'amount'), ', ' ORDER BY v.id)
	FROM payments.event v WHERE v.aggregateid = $1::text AND v.type NOT LIKE 'payment.%'
$$;
CREATE FUNCTION pg_temp.refusal(code text) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('error', json_build_object('type', 'invalid_request_error', 'code', code, 'message', 'It says no.'))::text
$$;

-- ---------- a refund that is refused
SELECT pg_temp.make('r', 'succeeded') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'r-refund', 400) \gset
SELECT is((SELECT status FROM payments.get_operation(:'op')), 'initiated', 'refund: asked for');
SELECT is(pg_temp.turn(:'id', 400, pg_temp.refusal('charge_disputed')), 'succeeded', 'refund: refused, and the payment is as it was');
SELECT results_eq(format('SELECT kind, status, amount, amount_text, failure_code, failure_message, source FROM payments.get_operation(%L)', :'op'),
	$$VALUES ('refund', 'failed', 400::bigint, '4.00 EUR', 'charge_disputed', 'It says no.', 'answer')$$, 'refund: get_operation() says so, and why');
SELECT is(payments.wait_operation(:'op', '1 s'), 'failed', 'refund: so does wait_operation()');
SELECT results_eq(format($$SELECT operation_id, status, replayed FROM payments.refund_payment(%L, 'r-refund', 400)$$, :'id'),
	format($$VALUES (%L::uuid, 'failed', true)$$, :'op'), 'refund: so does the call, repeated');
SELECT is(pg_temp.told(:'id'), 'refund.failed charge_disputed answer 400', 'refund: so does the outbox');
SELECT is((SELECT payload ->> 'operation_id' FROM payments.event WHERE type = 'refund.failed'), :'op', 'refund: which one');
SELECT results_eq(format('SELECT seq, status, event, source, code FROM payments.payment_history(%L) OFFSET 3', :'id'),
	$$VALUES (NULL::int, NULL, 'refund.failed', 'answer', 'charge_disputed')$$, 'refund: so does the history');

-- ---------- one that is made
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'r-refund-2', 300) \gset
SELECT is(pg_temp.turn(:'id', 200, '{"id": "re_1", "object": "refund", "amount": 300, "currency": "eur", "status": "succeeded", "payment_intent": "pi_r"}'), 'partially_refunded', 'refund: made');
SELECT is(payments.wait_operation(:'op'), 'succeeded', 'refund: made, says wait_operation()');
SELECT is(pg_temp.told(:'id'), 'refund.failed charge_disputed answer 400, refund.succeeded answer 300', 'refund: both are told');
SELECT is((SELECT psp_object_id FROM payments.get_operation(:'op')), 're_1', 'refund: under which id');

-- ---------- captures and cancellations
SELECT pg_temp.make('c', 'requires_capture') AS id \gset
SELECT operation_id AS op FROM payments.capture_payment(:'id', 'c-capture', 700) \gset
SELECT is(pg_temp.turn(:'id', 400, pg_temp.refusal('amount_too_small')), 'authorized', 'capture: refused');
SELECT is(payments.wait_operation(:'op'), 'failed', 'capture: wait_operation() says so');
SELECT is((SELECT status FROM payments.capture_payment(:'id', 'c-capture', 700)), 'failed', 'capture: so does the call, repeated');
SELECT operation_id AS op FROM payments.cancel_payment(:'id', 'c-cancel') \gset
SELECT is(pg_temp.turn(:'id', 400, pg_temp.refusal('parameter_invalid')), 'authorized', 'cancellation: refused');
SELECT is(payments.wait_operation(:'op'), 'failed', 'cancellation: wait_operation() says so');
SELECT is(pg_temp.told(:'id'), 'capture.failed amount_too_small answer 700, void.failed parameter_invalid answer 1000', 'both are told');
SELECT is((SELECT string_agg(event, ', ') FROM payments.payment_history(:'id') WHERE status IS NULL), 'capture.failed, void.failed', 'both are history');

-- ---------- one that nothing was sent of
SELECT payment_id AS id FROM payments.create_payment('u', 1000, 'EUR', psp => 'sandbox') \gset
SELECT operation_id AS op FROM payments.cancel_payment(:'id', 'u-cancel') \gset
SELECT is(payments.wait_operation(:'op'), 'succeeded', 'cancelled at once');
SELECT is(pg_temp.told(:'id'), 'void.succeeded client 1000', 'and told');
SELECT is((SELECT status FROM payments.create_payment('u', 1000, 'EUR', psp => 'sandbox')), 'cancelled', 'what is created again says how it stands');

-- ---------- a key that was used for something else: which argument differs
CREATE FUNCTION pg_temp.detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN SQLSTATE 'PY102' THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
	RETURN d;
END
$$;
SELECT payment_id AS id FROM payments.create_payment('d', 1000, 'EUR', psp => 'sandbox', metadata => '{"b": 1, "a": null}', description => 'two books') \gset
SELECT is(pg_temp.detail(format('SELECT payments.create_payment(''d'', %s)', a)), format('It belongs to a call of create_payment() %s.', d), d)
FROM (VALUES
	($$1001, 'EUR', psp => 'sandbox', metadata => '{"a": null, "b": 1}', description => 'two books'$$, 'with another amount'),
	($$1000, 'EUR', psp => 'sandbox', metadata => '{"a": 0, "b": 1}', description => 'two books'$$, 'with another metadata'),
	($$1000, 'USD', psp => 'sandbox', metadata => '{"a": null, "b": 1}', capture => 'manual'$$, 'with another currency, capture, description'),
	($$1000, 'EUR', psp => 'tap', metadata => '{"a": null, "b": 1}', description => 'two books'$$, 'with another psp'),
	($$1000, 'EUR', psp => 'sandbox', metadata => '{"a": null, "b": 1}', description => 'two books', off_session => true$$, 'with another off_session')) v (a, d);
SELECT payments.create_merchant('default', psp => 'sandbox');
SELECT is(pg_temp.detail($$SELECT payments.create_payment('d', 1000, 'EUR', metadata => '{"a": null, "b": 1}', description => 'two books')$$),
	'It belongs to a call of create_payment() in which an argument was left out that is given now, or the other way round.', 'a PSP that is left out now');
SELECT payments.cancel_payment(:'id', 'd-cancel', 'ordered twice');
SELECT is(pg_temp.detail(format('SELECT payments.cancel_payment(%L, ''d-cancel'')', :'id')), 'It belongs to a call of cancel_payment() with another reason.', 'another reason');
SELECT is(pg_temp.detail(format('SELECT payments.refund_payment(%L, ''d-cancel'')', :'id')), 'It belongs to a call of cancel_payment().', 'another verb');
SELECT is(pg_temp.detail(format('SELECT payments.refund_payment(%L, ''r-refund'', 401)', p.payment_id)), 'It belongs to a call of refund_payment() with another amount.', 'another amount')
FROM payments.payment p WHERE p.order_ref = 'r';
SELECT is(pg_temp.detail(format('SELECT payments.refund_payment(%L, ''r-refund'', 400)', :'id')), 'It belongs to a call of refund_payment() with another payment_id.', 'another payment');

-- ---------- and what is refused because nobody knows yet
CREATE FUNCTION pg_temp.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	h text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN SQLSTATE 'PY006' THEN
	GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
	RETURN h;
END
$$;
SELECT payment_id AS id FROM payments.create_payment('doubt', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
SELECT is(pg_temp.turn(:'id', 500, ''), 'in_doubt', 'in doubt');
SELECT matches(pg_temp.hint(format('SELECT payments.%s_payment(%L, ''doubt-%s'')', v, :'id', v)), '^Its result is not known yet: wait', 'to wait, not to cancel: ' || v) FROM (VALUES ('refund'), ('capture')) x (v);

-- ---------- what wait_operation() does not wait for
SELECT pg_temp.make('w', 'succeeded') AS id \gset
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'w-refund') \gset
SELECT throws_ok(format('SELECT payments.wait_operation(%L)', :'op'), 'PY011', NULL, 'what is not committed');
SELECT throws_ok('SELECT payments.wait_operation(NULL)', 'PY016', NULL, 'nothing');
SELECT throws_ok(format('SELECT payments.wait_operation(%L)', :'id'), 'PY016', NULL, 'a payment');
SELECT throws_ok(format('SELECT payments.get_operation(%L)', :'id'), 'PY016', NULL, 'nor is one shown');

-- ---------- nor for whom
CREATE ROLE refused_books IN ROLE payments_app;
CREATE ROLE refused_toys IN ROLE payments_app;
SELECT payments.create_merchant('books', app_role => 'refused_books', psp => 'sandbox');
SET ROLE refused_books;
SELECT payment_id AS id FROM payments.create_payment('b', 1000, 'EUR', merchant => 'books') \gset
SELECT operation_id AS op FROM payments.cancel_payment(:'id', 'b-cancel') \gset
SELECT is((SELECT status FROM payments.get_operation(:'op')), 'succeeded', 'its own');
SET ROLE refused_toys;
SELECT throws_ok(format('SELECT payments.get_operation(%L)', :'op'), '42501', NULL, 'not that of another merchant');
SELECT throws_ok(format('SELECT payments.wait_operation(%L)', :'op'), '42501', NULL, 'nor does it wait for it');
RESET ROLE;
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'all invariants hold');

SELECT * FROM finish();
ROLLBACK;
