-- If this fails, a payout is sent twice, or sent of money that is not there, or
-- what never went out, or came back, is lost to the merchant.
\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();
\ir ../lib/stripe_by_hand.sql
CREATE FUNCTION pg_temp.pay(key text, amount int, destination text DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payout(key, amount, 'EUR', destination => destination, psp => 'tap')
$$;
CREATE FUNCTION pg_temp.object(id uuid, name text, status text, changed jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', name, 'object', CASE WHEN p.kind = 'transfer' THEN 'transfer' ELSE 'payout' END, 'amount', p.amount, 'currency', 'eur', 'status', $3,
		'metadata', jsonb_build_object('payments_ref', o.psp_ref, 'payments_generation', '1')) || $4
	FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.payment_id = id AND o.kind = 'payout'
$$;
CREATE FUNCTION pg_temp.accounts() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', code, balance), ', ' ORDER BY code) FROM (
		SELECT a.code, sum(CASE WHEN (a.account_id = p.debit_account) = (a.type IN ('asset', 'expense')) THEN p.amount ELSE -p.amount END) AS balance
		FROM payments.posting p JOIN payments.account a ON a.account_id IN (p.debit_account, p.credit_account)
		WHERE p.payment_id IN (SELECT payment_id FROM payments.payment WHERE kind IN ('withdrawal', 'transfer')) GROUP BY a.code) x WHERE balance <> 0
$$;

-- To a bank account.
SELECT pg_temp.pay('bank', 700) AS id \gset
SELECT is(pg_temp.accounts(), 'merchant_balance -700, payout_reserve 700', 'reserved before anything is sent');
SELECT ok((SELECT replayed FROM payments.create_payout('bank', 700, 'EUR', psp => 'tap')), 'the same call again is the same payout');
SELECT throws_ok($$SELECT payments.create_payout('bank', 701, 'EUR', psp => 'tap')$$, 'PY102', NULL, 'another is refused');
INSERT INTO payments.amount_limit (currency, amount_max, builtin) VALUES ('EUR', 5000000, false);
SELECT throws_ok($$SELECT payments.create_payout('typed twice', 5000001, 'EUR', psp => 'tap')$$, 'PY014', NULL, 'more than one payment may ask for is not sent out either');
SELECT pg_temp.claim(:'id');
SELECT results_eq(format('SELECT method, path, body FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = %L', :'id'),
	format($$VALUES ('POST', '/v1/payouts', 'amount=700&currency=eur&metadata%%5Bpayments_ref%%5D=%s&metadata%%5Bpayments_generation%%5D=1')$$, (SELECT psp_ref FROM payments.operation WHERE payment_id = :'id')), 'sent under our name');
SELECT is(pg_temp.answer(200, pg_temp.object(:'id', 'po_bank', 'pending')::text), 'processing', 'on its way');
SELECT is(pg_temp.accounts(), 'merchant_balance -700, payout_reserve 700', 'and reserved still');
SELECT is(pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_bank', 'paid')), 'succeeded', 'paid');
SELECT pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_bank', 'paid'));
SELECT is(pg_temp.accounts(), 'merchant_balance -700, payout_clearing:tap -700', 'once, and the PSP''s file will clear it');
SELECT is(pg_temp.webhook('payout.failed', pg_temp.object(:'id', 'po_bank', 'failed', '{"failure_code": "account_closed"}')), 'failed', 'paid, and yet it fails days later');
SELECT is(pg_temp.accounts(), NULL, 'it is back in the balance');
SELECT is(pg_temp.exceptions(:'id'), 'payout_failed 700', 'and a person is told');
SELECT is((SELECT failure_code FROM payments.get_payment(:'id')), 'account_closed', 'why');
SELECT pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_bank', 'paid')), pg_temp.webhook('payout.failed', pg_temp.object(:'id', 'po_bank', 'failed'));
SELECT is(pg_temp.books(:'id'), 'payout 700, payout_reserved 700, payout_returned 700', 'whatever is told again');
SELECT is((SELECT string_agg(h.event, ' ' ORDER BY h.seq) FROM payments.payment_history(:'id') h), 'create claim pay_out pay_back', 'in the history');

-- Never paid; and the words the other way round.
SELECT pg_temp.pay('never', 300) AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.object(:'id', 'po_never', 'pending')::text);
SELECT is(pg_temp.webhook('payout.canceled', pg_temp.object(:'id', 'po_never', 'canceled')), 'failed', 'cancelled at the PSP');
SELECT pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_never', 'paid'));
SELECT is(pg_temp.accounts(), NULL, 'back in the balance, and a late word is late');
SELECT pg_temp.pay('refused', 300) AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(400, '{"error": {"type": "invalid_request_error", "code": "balance_insufficient", "message": "You have insufficient funds."}}');
SELECT is(pg_temp.state(:'id') || coalesce(pg_temp.accounts(), ''), 'failed: payout failed balance_insufficient', 'refused: back in the balance');
SELECT pg_temp.pay('unsent', 300) AS id \gset
SELECT payments.cancel_payment(:'id', 'unsent-c');
SELECT is((SELECT status FROM payments.get_payment(:'id')) || coalesce(pg_temp.accounts(), ''), 'cancelled', 'cancelled before it was sent');

-- Its answer is lost.
SELECT pg_temp.pay('lost', 400) AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT is((SELECT status FROM payments.get_payment(:'id')) || ' ' || pg_temp.accounts(), 'in_doubt merchant_balance -400, payout_reserve 400', 'nobody knows: it stays reserved');
SELECT pg_temp.claim(:'id');
SELECT is((SELECT path FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND a.action = 'inquire'), '/v1/payouts?limit=100', 'the PSP is asked');
SELECT pg_temp.answer(200, jsonb_build_object('object', 'list', 'has_more', false, 'data', '[]'::jsonb)::text);
SELECT is(pg_temp.waits(:'id'), 'send payout', 'it has none: the same bytes again, while it honours the key');
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, jsonb_build_object('object', 'list', 'has_more', true, 'data', jsonb_build_array(pg_temp.object(:'id', 'po_other', 'paid', '{"metadata": {}}'), pg_temp.object(:'id', 'po_lost', 'in_transit')))::text);
SELECT is((SELECT psp_payment_id || ' ' || status FROM payments.get_payment(:'id')), 'po_lost processing', 'found by our name');
SELECT pg_temp.claim(:'id'), pg_temp.answer(200, pg_temp.object(:'id', 'po_lost', 'paid')::text);
SELECT is(pg_temp.state(:'id'), 'succeeded: payout succeeded', 'and asked until it is paid');

-- By a person's word, who errs.
SELECT pg_temp.pay('person', 200) AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT payments.decide_operation(o.operation_id, 'failed', 'not on the dashboard') FROM payments.operation o WHERE o.payment_id = :'id';
SELECT is(pg_temp.accounts(), 'merchant_balance -400, payout_clearing:tap -400', 'a person says that it was not made: back in the balance');
SELECT pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_person', 'paid'));
SELECT is(pg_temp.accounts() || '; ' || pg_temp.exceptions(:'id'), 'merchant_balance -400, payout_clearing:tap -600, suspense -200; after_cancel 200', 'and it was: it is nobody''s until a person looks');
SELECT pg_temp.webhook('payout.failed', pg_temp.object(:'id', 'po_person', 'failed', '{"failure_code": "account_closed"}'));
SELECT is(pg_temp.accounts() || coalesce('; ' || pg_temp.exceptions(:'id'), ''), 'merchant_balance -400, payout_clearing:tap -400', 'then it fails: what was taken from suspense is back, and nobody has to look');
SELECT pg_temp.webhook('payout.failed', pg_temp.object(:'id', 'po_person', 'failed')), pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_person', 'paid'));
SELECT is(pg_temp.books(:'id'), 'late_payout 200, late_payout_failed 200, payout_released 200, payout_reserved 200', 'once');
SELECT pg_temp.pay('reversed', 200) AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT payments.decide_operation(o.operation_id, 'failed', 'not on the dashboard') FROM payments.operation o WHERE o.payment_id = :'id';
SELECT pg_temp.webhook('payout.failed', pg_temp.object(:'id', 'po_reversed', 'failed')), pg_temp.webhook('payout.paid', pg_temp.object(:'id', 'po_reversed', 'paid'));
SELECT is(pg_temp.accounts() || coalesce('; ' || pg_temp.exceptions(:'id'), ''), 'merchant_balance -400, payout_clearing:tap -400', 'nor when that is told first');
SELECT pg_temp.pay('seen', 100) AS id \gset
SELECT pg_temp.claim(:'id'), pg_temp.answer(NULL);
SELECT payments.decide_operation(o.operation_id, 'succeeded', 'on the dashboard', 'po_seen') FROM payments.operation o WHERE o.payment_id = :'id';
SELECT is(pg_temp.state(:'id'), 'succeeded: payout succeeded', 'or that it was');

-- To another account at the PSP.
SELECT pg_temp.pay('account', 500, 'acct_1') AS id \gset
SELECT is((SELECT kind FROM payments.payment WHERE payment_id = :'id'), 'transfer', 'a transfer');
SELECT pg_temp.claim(:'id');
SELECT matches((SELECT path || '?' || body FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id'), '^/v1/transfers[?]amount=500&currency=eur&destination=acct_1&', 'is another request');
SELECT is(pg_temp.answer(200, pg_temp.object(:'id', 'tr_1', NULL, '{"destination": "acct_1", "amount_reversed": 0, "reversed": false}')::text), 'succeeded', 'done at once');
SELECT is(pg_temp.books(:'id'), 'payout_reserved 500, transfer 500', 'and posted as one');
SELECT pg_temp.webhook('transfer.reversed', pg_temp.object(:'id', 'tr_1', NULL, '{"amount_reversed": 200, "reversed": false}'));
SELECT is(pg_temp.exceptions(:'id'), 'conflicted 200', 'a part taken back is for a person');
SELECT is(pg_temp.webhook('transfer.reversed', pg_temp.object(:'id', 'tr_1', NULL, '{"amount_reversed": 500, "reversed": true}')), 'failed', 'all of it');
SELECT is(pg_temp.books(:'id'), 'payout_reserved 500, transfer 500, transfer_returned 500', 'is back');

-- What is not ours, and what there is not.
SELECT pg_temp.webhook('payout.paid', '{"id": "po_auto", "object": "payout", "amount": 9000, "currency": "eur", "status": "paid", "automatic": true, "metadata": {}}', 'evt_auto') IS NULL AS ignored \gset
SELECT is((SELECT outcome FROM payments.psp_event WHERE event_id = 'evt_auto'), 'ignored', 'a payout that the PSP makes by itself is its file''s affair');
INSERT INTO payments.account_template (code, type, min_balance) VALUES ('merchant_balance', 'liability', 0);
SELECT payments.create_merchant('poor');
SELECT throws_ok($$SELECT payments.create_payout('poor-1', 1, 'EUR', merchant => 'poor', psp => 'sandbox')$$, 'PY204', NULL, 'a balance with a limit must cover it');
SELECT is_empty($$SELECT FROM payments.payment WHERE merchant = 'poor'$$, 'or nothing is written');
DELETE FROM payments.account_template WHERE NOT builtin;
SELECT throws_ok(format('SELECT payments.refund_payment(%L, ''no'')', :'id'), 'PY006', NULL, 'a payout is not refunded');

-- The sandbox.
SELECT payment_id AS id FROM payments.create_payout('sandbox', 50, 'EUR', psp => 'sandbox', destination => 'sandbox_timeout') \gset
SELECT payments.complete(c.operation_id, c.attempt, 200) FROM payments.claim('sandbox', psp => 'sandbox') c;
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT payments.complete(c.operation_id, c.attempt, 200) FROM payments.claim('sandbox', psp => 'sandbox') c;
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'succeeded', 'the sandbox pays out, too');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'the books are in order');
SELECT * FROM finish();
ROLLBACK;
