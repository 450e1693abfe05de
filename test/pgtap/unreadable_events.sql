-- If this fails, the PSP writes its events in a new way, and money that it says
-- has moved is passed over as if nothing had happened.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap');
SET client_min_messages = error;

CREATE TEMP TABLE hmac AS
SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) AS inner_pad, string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i) AS outer_pad
FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;

-- What becomes of an event, and what a person is told of it.
CREATE FUNCTION pg_temp.event(id text, type text, object jsonb, mode boolean DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('id', id, 'object', 'event', 'type', type, 'data', jsonb_build_object('object', object)) || CASE WHEN mode IS NOT NULL THEN jsonb_build_object('livemode', mode) ELSE '{}' END;
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	PERFORM payments.receive_webhook('tap', jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, mac)), convert_to(body, 'UTF8'));
	RETURN concat_ws('; ',
		(SELECT e.outcome FROM payments.psp_event e WHERE e.psp = 'tap' AND e.event_id = id),
		(SELECT string_agg(x.kind || ' ' || x.detail, ', ') FROM payments.exception x WHERE x.psp = 'tap' AND x.object_id = id));
END
$$;

\set intent '{"id": "pi_1", "object": "payment_intent", "amount": 1000, "amount_received": 1000, "amount_capturable": 0, "currency": "eur", "status": "succeeded"}'
\set refund '{"id": "re_1", "object": "refund", "amount": 300, "currency": "eur", "status": "succeeded", "payment_intent": "pi_1"}'
\set dispute '{"id": "dp_1", "object": "dispute", "amount": 1000, "currency": "eur", "status": "needs_response", "payment_intent": "pi_1", "reason": "fraudulent"}'

SELECT is(pg_temp.event('evt_bad' || n, e.type, e.object || e.changed), 'unreadable; unreadable ' || e.type || ': its "' || e.member || '" cannot be read; payments.psp_event has the body', e.type || ' with ' || e.changed::text)
FROM (VALUES
	(1, 'payment_intent.succeeded', :'intent'::jsonb, '{"amount": "1000"}'::jsonb, 'amount'),
	(2, 'payment_intent.succeeded', :'intent', '{"amount": 10.5}', 'amount'),
	(3, 'payment_intent.succeeded', :'intent', '{"amount_received": null}', 'amount_received'),
	(4, 'payment_intent.succeeded', :'intent', '{"currency": {"code": "eur"}}', 'currency'),
	(5, 'payment_intent.succeeded', :'intent', '{"status": "funded_in_part"}', 'status'),
	(6, 'payment_intent.succeeded', :'intent', '{"object": "payment"}', 'object'),
	(7, 'payment_intent.succeeded', :'intent', '{"id": "pi/1"}', 'id'),
	(8, 'payment_intent.amount_capturable_updated', :'intent', '{"status": "requires_capture", "amount_capturable": null}', 'amount_capturable'),
	(9, 'refund.created', :'refund', '{"amount": null}', 'amount'),
	(10, 'refund.updated', :'refund', '{"status": "settled"}', 'status'),
	(11, 'refund.updated', :'refund', '{"payment_intent": {"id": "pi_1", "object": "payment_intent"}}', 'payment_intent'),
	(12, 'charge.dispute.created', :'dispute', '{"amount": null}', 'amount'),
	(13, 'charge.dispute.closed', :'dispute', '{"status": "settled"}', 'status'),
	(14, 'charge.dispute.funds_withdrawn', :'dispute', '{"payment_intent": "pi 1"}', 'payment_intent')
) e (n, type, object, changed, member);

SELECT is(pg_temp.event('evt_quiet' || n, e.type, e.object || e.changed), 'ignored', e.type || ' with ' || e.changed::text)
FROM (VALUES
	(1, 'payment_intent.payment_failed', :'intent'::jsonb, '{"status": "requires_payment_method"}'::jsonb),
	(2, 'payment_intent.processing', :'intent', '{"status": "requires_confirmation"}'),
	-- Made without a PaymentIntent, so not by us.
	(3, 'refund.created', :'refund', '{"payment_intent": null}'),
	-- No type that moves money.
	(4, 'customer.created', :'refund', '{"amount": "x"}')
) e (n, type, object, changed);
SELECT is((SELECT count(*)::int FROM payments.exception), 14, 'each that cannot be read is told once, the others never');

-- It comes again, and by then it can be read.
SELECT is(pg_temp.event('evt_bad1', 'payment_intent.succeeded', :'intent'::jsonb || '{"amount": "1000"}'), 'unreadable; unreadable payment_intent.succeeded: its "amount" cannot be read; payments.psp_event has the body', 'again, as bad: the same');
SELECT is((SELECT count(*)::int FROM payments.exception), 14, 'and no second exception');
SELECT alike(pg_temp.event('evt_bad1', 'payment_intent.succeeded', :'intent'), 'unmatched%', 'again, as it can be read: it is taken');
SELECT alike(pg_temp.event('evt_bad1', 'payment_intent.succeeded', :'intent'), 'unmatched%', 'and after that it is a duplicate as any');
SELECT lives_ok($$SELECT payments.resolve_exception(exception_id, 'looked at it in the dashboard') FROM payments.exception WHERE object_id = 'evt_bad1'$$, 'a person closes it');

-- Another account's is not ours to read.
UPDATE payments.psp SET account_mode = 'test' WHERE psp = 'tap';
SELECT is(pg_temp.event('evt_live', 'payment_intent.succeeded', :'intent'::jsonb || '{"amount": "1000"}', true), 'ignored', 'of another mode');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');

SELECT * FROM finish();
ROLLBACK;
