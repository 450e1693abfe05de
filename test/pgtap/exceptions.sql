-- If this fails, what a person has dealt with stands on the list for ever, and
-- hides what nobody has dealt with yet; or it is off the list and nobody knows
-- who said so.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();
SELECT payment_id FROM payments.create_payment('disputed', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
SELECT payments.complete(c.operation_id, c.attempt, 200, '{}', convert_to('{"id": "pi_1", "object": "payment_intent", "amount": 1000, "amount_received": 1000, "amount_capturable": 0, "currency": "eur", "status": "succeeded"}', 'UTF8'))
FROM payments.claim('d', psp => 'tap') c \g /dev/null
SELECT is((SELECT status FROM payments.get_payment(:'payment_id')), 'succeeded', 'charged');
CREATE FUNCTION pg_temp.told(lines text) RETURNS void LANGUAGE sql AS $$
	SELECT payments.import_settlement('tap', 'csv', E'kind,entry_id,psp_object_id,psp_payment_id,gross,fee,currency,occurred_at\n'
		|| replace(lines, '@', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')));
	SELECT payments.reconcile('tap')
$$;
CREATE FUNCTION pg_temp.open_ones() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(x.kind || ' ' || x.object_id, ', ' ORDER BY x.object_id) FROM payments.exception x WHERE x.resolved_at IS NULL
$$;

SELECT pg_temp.told(E'chargeback,t1,dp_1,pi_1,-4.00,0,EUR,@\nchargeback,t2,dp_2,pi_1,-3.00,0,EUR,@\n');
SELECT is(pg_temp.open_ones(), 'disputed dp_1, disputed dp_2', 'two disputes, of which somebody must know');
SELECT pg_temp.told(E'chargeback_reversal,t3,dp_1,pi_1,4.00,0,EUR,@\n');
SELECT is(pg_temp.open_ones(), 'disputed dp_2', 'of one that was won nobody has to');
SELECT is(x.resolution, 'the dispute was won', 'and it says why') FROM payments.exception x WHERE x.object_id = 'dp_1';
-- The news of the end may come first.
SELECT pg_temp.told(E'chargeback_reversal,t4,dp_3,pi_1,2.00,0,EUR,@\n');
SELECT pg_temp.told(E'chargeback,t5,dp_3,pi_1,-2.00,0,EUR,@\n');
SELECT is(pg_temp.open_ones(), 'disputed dp_2', 'whichever is heard of first');

-- One that is lost closes its own as well, and somebody bears it.
CREATE FUNCTION pg_temp.event(dispute text, amount int, status text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('id', 'evt_' || dispute || status, 'object', 'event', 'type', CASE status WHEN 'needs_response' THEN 'charge.dispute.created' ELSE 'charge.dispute.closed' END,
		'data', jsonb_build_object('object', jsonb_build_object('id', dispute, 'object', 'dispute', 'amount', amount, 'currency', 'eur', 'payment_intent', 'pi_1', 'status', status)));
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac bytea;
BEGIN
	SELECT sha256(string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i)
		|| sha256(string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) || convert_to(t || '.' || body, 'UTF8'))) INTO mac
	FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;
	RETURN (SELECT r.status FROM payments.receive_webhook('tap', jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, encode(mac, 'hex'))), convert_to(body, 'UTF8')) r);
END
$$;
CREATE FUNCTION pg_temp.balance(account text) RETURNS bigint LANGUAGE sql AS $$ SELECT balance::bigint FROM payments.trial_balance WHERE code = $1 $$;
SELECT pg_temp.balance('dispute_reserve') AS reserve, pg_temp.balance('merchant_balance') AS owed \gset
SELECT is(pg_temp.event('dp_4', 100, 'needs_response'), 'disputed', 'another dispute');
SELECT is(pg_temp.open_ones(), 'disputed dp_2, disputed dp_4', 'somebody must know');
SELECT is(pg_temp.event('dp_4', 100, 'lost'), 'disputed', 'it is lost: the payment stays disputed');
SELECT is(pg_temp.open_ones(), 'disputed dp_2', 'nobody has to look any more');
SELECT is((SELECT resolution FROM payments.exception WHERE object_id = 'dp_4'), 'the dispute was lost', 'and it says why');
SELECT is((SELECT string_agg(event, ', ' ORDER BY seq) FROM (SELECT * FROM payments.payment_history(:'payment_id') ORDER BY seq DESC LIMIT 2) h), 'dispute, lose', 'the history tells');
SELECT is(pg_temp.balance('dispute_reserve'), :reserve::bigint, 'it is in reserve no more');
SELECT is(pg_temp.balance('merchant_balance'), (:owed - 100)::bigint, 'the merchant bears it');
SELECT is(pg_temp.event('dp_5', 50, 'lost'), 'disputed', 'the news of the end comes first');
SELECT is(pg_temp.event('dp_5', 50, 'needs_response'), 'disputed', 'then the dispute');
SELECT is(pg_temp.open_ones(), 'disputed dp_2', 'in whichever order');
SELECT is(pg_temp.balance('merchant_balance'), (:owed - 150)::bigint, 'it is borne once');
SELECT is((SELECT disputed FROM payments.get_payment(:'payment_id')), 450::bigint, 'and cannot be refunded as well');
SELECT is(pg_temp.event('dp_5', 50, 'won'), 'disputed', 'the PSP contradicts itself');
SELECT is(pg_temp.open_ones(), 'disputed dp_2, conflicted dp_5', 'a person is told');
SELECT payments.resolve_exception(exception_id, 'posted by hand') FROM payments.exception WHERE object_id = 'dp_5' AND kind = 'conflicted';

SELECT exception_id AS open FROM payments.exception WHERE object_id = 'dp_2' \gset
CREATE ROLE exceptions_operator;
GRANT payments_operator TO exceptions_operator;
CREATE ROLE exceptions_app;
GRANT payments_app TO exceptions_app;
SET ROLE exceptions_app;
SELECT throws_ok(format('SELECT payments.resolve_exception(%L, ''mine'')', :'open'), '42501', NULL, 'an application has no say');
RESET ROLE;
SET ROLE exceptions_operator;
SELECT throws_ok(format('SELECT payments.resolve_exception(%L, %L)', :'open', r), '22023', NULL, 'a resolution says something') FROM (VALUES (NULL), (''), (E' \n')) v (r);
SELECT throws_ok(format('SELECT payments.resolve_exception(%L, ''what is it?'')', e), 'PY304', NULL, 'there must be one') FROM (VALUES (NULL), ('00000000-0000-7000-8000-000000000000')) v (e);
SELECT throws_ok(format('SELECT payments.resolve_exception(%L, ''the payer had card 4111 1111 1111 1111'')', :'open'), 'PY009', NULL, 'and no card number');
SELECT lives_ok(format('SELECT payments.resolve_exception(%L, ''lost'')', :'open'), 'an operator closes it');
SELECT throws_ok(format('SELECT payments.resolve_exception(%L, ''no, it was won'')', :'open'), 'PY304', NULL, 'once');
RESET ROLE;
SELECT is(pg_temp.open_ones(), NULL, 'nothing is left to do');
SELECT ok(x.resolved_by = 'exceptions_operator' AND x.resolved_at IS NOT NULL, 'who said so is known') FROM payments.exception x WHERE x.object_id = 'dp_2';
SELECT is(x.resolution, 'lost', 'what was said too') FROM payments.exception x WHERE x.object_id = 'dp_2';
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'all invariants hold');

SELECT * FROM finish();
ROLLBACK;
