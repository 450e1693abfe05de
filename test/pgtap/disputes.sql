-- If this fails, nobody learns that a dispute is to be answered and until when,
-- what it holds is refunded once more, or won money stays in the reserve.
\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();
\ir ../lib/stripe_by_hand.sql

CREATE FUNCTION pg_temp.paid(key text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made uuid := pg_temp.make(key);
BEGIN
	PERFORM pg_temp.claim(made);
	PERFORM pg_temp.answer(200, pg_temp.intent(made, 'pi_' || key, 'succeeded', 1000)::text);
	RETURN made;
END
$$;
CREATE FUNCTION pg_temp.tell(key text, type text, status text, due bigint DEFAULT NULL, amount int DEFAULT 600) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.webhook('charge.dispute.' || type, jsonb_build_object('id', 'dp_' || key, 'object', 'dispute', 'amount', $5, 'currency', 'eur', 'payment_intent', 'pi_' || key,
		'reason', 'fraudulent', 'status', $3, 'metadata', '{}'::jsonb, 'evidence_details', jsonb_build_object('due_by', $4),
		'balance_transactions', CASE WHEN $3 LIKE 'warning%' THEN '[]' ELSE '[{"id": "txn_1", "fee": 1500, "currency": "eur"}]' END::jsonb))
$$;
CREATE FUNCTION pg_temp.stages(key text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', s.seq, s.stage, extract(epoch FROM s.evidence_due)::bigint), ', ' ORDER BY s.seq) FROM payments.dispute_stage s WHERE s.object_id = 'dp_' || key
$$;
CREATE FUNCTION pg_temp.reserve() RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(CASE WHEN p.debit_account = a.account_id THEN p.amount ELSE -p.amount END), 0)::bigint
	FROM payments.account a JOIN payments.posting p ON a.account_id IN (p.debit_account, p.credit_account) WHERE a.code = 'dispute_reserve'
$$;

-- From the bank's question to the end.
SELECT pg_temp.paid('one') AS id \gset
SELECT is(pg_temp.tell('one', 'created', 'warning_needs_response', 1900000000), 'succeeded', 'the bank asks: no money is taken');
SELECT results_eq('SELECT stage, amount, reserved, evidence_due, reason FROM payments.dispute', $$VALUES ('inquiry', 600::bigint, 0::bigint, to_timestamp(1900000000), 'fraudulent')$$, 'it is a row, with its date');
SELECT matches((SELECT detail FROM payments.exception WHERE object_id = 'dp_one'), '^the payer''s bank asks about this payment; answer at the PSP before 2030', 'and a person is told');
SELECT pg_temp.tell('one', 'updated', 'warning_under_review');
SELECT pg_temp.tell('one', 'closed', 'warning_closed');
SELECT is(pg_temp.exceptions(:'id'), NULL, 'it stays at that');
SELECT is(pg_temp.tell('one', 'funds_withdrawn', 'needs_response', 1900000100), 'disputed', 'or does not: money is taken');
SELECT is(pg_temp.exceptions(:'id'), 'disputed 600', 'and a person is told again');
SELECT results_eq('SELECT stage, reserved, fee, evidence_due FROM payments.dispute', $$VALUES ('open', 600::bigint, 1500::bigint, to_timestamp(1900000100))$$, 'it is in the reserve');
SELECT is(pg_temp.reserve(), 600::bigint, 'of the ledger, too');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, ''one-r'', 401)', :'id'), 'PY007', NULL, 'what is disputed is not refunded as well');
SELECT pg_temp.tell('one', 'updated', 'needs_response', 1900000200);
SELECT pg_temp.tell('one', 'updated', 'needs_response', 1900000200);
SELECT pg_temp.tell('one', 'updated', 'under_review');
SELECT pg_temp.tell('one', 'updated', 'needs_response', 1900000200);
SELECT is((SELECT evidence_due FROM payments.dispute), NULL, 'evidence is with the bank: none is waited for');
SELECT is(pg_temp.tell('one', 'funds_reinstated', 'won'), 'succeeded', 'won');
SELECT pg_temp.tell('one', 'closed', 'won');
SELECT is(pg_temp.stages('one'), '1 inquiry 1900000000, 2 inquiry_under_review, 3 inquiry_closed, 4 open 1900000100, 5 open 1900000200, 6 under_review, 7 won', 'each stage and date once, and none that is late');
SELECT is(pg_temp.books(:'id'), 'capture 1000, dispute 600, dispute_won 600', 'money moved there and back');
SELECT is(pg_temp.reserve(), 0::bigint, 'the reserve is empty');
SELECT is((SELECT string_agg(e.type, ' ' ORDER BY e.id) FROM payments.event e WHERE e.aggregateid = :'id'::text AND e.type LIKE 'dispute.%'),
	'dispute.inquiry dispute.inquiry_under_review dispute.inquiry_closed dispute.open dispute.open dispute.under_review dispute.won', 'the application is told of each');
SELECT payments.refund_payment(:'id', 'one-all', 1000);

-- Lost, and two at a time.
SELECT pg_temp.paid('two') AS id \gset
SELECT pg_temp.tell('two', 'created', 'needs_response', 1900000000);
SELECT pg_temp.webhook('charge.dispute.created', '{"id": "dp_three", "object": "dispute", "amount": 300, "currency": "eur", "payment_intent": "pi_two", "reason": "duplicate", "status": "needs_response"}');
SELECT is((SELECT disputed FROM payments.get_payment(:'id')), 900::bigint, 'two disputes of one payment');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, ''two-r'', 101)', :'id'), 'PY007', NULL, 'neither is refunded');
SELECT pg_temp.tell('two', 'closed', 'lost');
SELECT pg_temp.tell('three', 'closed', 'won', amount => 300) IS NULL AS ignored \gset
SELECT pg_temp.webhook('charge.dispute.closed', '{"id": "dp_three", "object": "dispute", "amount": 300, "currency": "eur", "payment_intent": "pi_two", "reason": "duplicate", "status": "won"}');
SELECT results_eq(format('SELECT object_id, stage, reserved FROM payments.dispute WHERE payment_id = %L ORDER BY 1', :'id'), $$VALUES ('dp_three', 'won', 0::bigint), ('dp_two', 'lost', 0)$$, 'one lost, one won: nothing is left in the reserve');
SELECT is(pg_temp.reserve(), 0::bigint, 'nor in the ledger');

-- The end is told first.
SELECT pg_temp.paid('four') AS id \gset
SELECT pg_temp.tell('four', 'closed', 'won');
SELECT pg_temp.tell('four', 'created', 'needs_response', 1900000000);
SELECT results_eq(format('SELECT stage, reserved FROM payments.dispute WHERE payment_id = %L', :'id'), $$VALUES ('won', 0::bigint)$$, 'won before it was heard of');
SELECT is(pg_temp.books(:'id'), 'capture 1000, dispute 600, dispute_undone 600, dispute_won 600', 'and booked');

-- Of a PSP that the payment has left.
SELECT payments.create_psp('two', 'stripe', secret => 'tap');
SELECT payments.create_route_rule('both', '{tap,two}', '{1,0}', payment_method => 'pm_*', moves_declined => true);
SELECT payment_id AS id FROM payments.create_payment('left', 1000, 'EUR', payment_method => 'pm_left') \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}}');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
INSERT INTO sent (operation_id, attempt) SELECT c.operation_id, c.attempt FROM payments.claim('tap', psp => 'two') c;
SELECT pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(:'id', 'pi_left', 'succeeded', 1000));
SELECT pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}}');
SELECT pg_temp.tell('left', 'created', 'needs_response', 1900000000);
SELECT pg_temp.tell('left', 'closed', 'won');
SELECT results_eq(format('SELECT psp, stage FROM payments.dispute WHERE payment_id = %L', :'id'), $$VALUES ('tap', 'won')$$, 'a dispute is of the PSP that tells of it');
SELECT is((SELECT string_agg(concat_ws(' ', m.psp, m.kind), ', ' ORDER BY m.kind) FROM payments.movement m WHERE m.payment_id = :'id'), 'tap dispute, tap dispute_won, tap late_capture', 'as its money');

SELECT throws_ok($$UPDATE payments.dispute_stage SET stage = 'won'$$, 'PY003', NULL, 'stages do not change');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'the books are in order');
SELECT * FROM finish();
ROLLBACK;
