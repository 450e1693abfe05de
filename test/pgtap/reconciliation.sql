-- If this fails, money that a PSP has taken, kept or paid out differs from our
-- books and nobody is told, or somebody is told of a difference that is none;
-- or what was found is booked twice, or by the wrong side.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();

CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text);
CREATE TEMP TABLE made (name text PRIMARY KEY, id uuid);
CREATE FUNCTION pg_temp.id(name text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM made WHERE made.name = $1';
CREATE FUNCTION pg_temp.call() RETURNS bigint LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE claimed_by IS NULL AND psp = 'tap';
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'tap', max => 1);
	SELECT count(*) FROM sent
$$;
CREATE FUNCTION pg_temp.answer(http int, body text) RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt, $1, '{}', convert_to($2, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.intent(amount bigint, status text, id text, currency text DEFAULT 'eur', fee bigint DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('id', id, 'object', 'payment_intent', 'amount', amount, 'amount_received', CASE status WHEN 'succeeded' THEN amount ELSE 0 END,
		'amount_capturable', 0, 'currency', currency, 'status', status, 'latest_charge',
		CASE WHEN fee IS NOT NULL THEN json_build_object('id', 'ch_' || id, 'balance_transaction', json_build_object('id', 'txn_' || id, 'fee', fee, 'currency', currency)) END)::text
$$;
-- A payment that the PSP answers, with its fee unless that is null.
CREATE FUNCTION pg_temp.pay(name text, amount bigint, currency text DEFAULT 'EUR', fee bigint DEFAULT NULL, merchant text DEFAULT 'default') RETURNS text LANGUAGE sql AS $$
	INSERT INTO made SELECT $1, payment_id FROM payments.create_payment($1, $2, $3, merchant => $5, psp => 'tap', payment_method => 'pm_card_visa', order_ref => 'order-' || $1);
	SELECT pg_temp.call();
	SELECT pg_temp.answer(200, pg_temp.intent($2, 'succeeded', 'pi_' || $1, lower($3), $4))
$$;
CREATE FUNCTION pg_temp.file(lines text, options jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('tap', 'csv', E'kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,currency,occurred_at,payout_ref\n' || $1, options => $2)
$$;
CREATE FUNCTION pg_temp.now_text() RETURNS text LANGUAGE sql AS $$ SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') $$;
CREATE FUNCTION pg_temp.open() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s/%s', d.kind, coalesce(d.ours::text, '-'), coalesce(d.theirs::text, '-')) FROM payments.discrepancy d WHERE d.status = 'open' ORDER BY d.kind, d.theirs, d.ours
$$;
CREATE FUNCTION pg_temp.balance(code text, currency text DEFAULT 'EUR', merchant text DEFAULT 'default') RETURNS bigint LANGUAGE sql AS $$
	SELECT b.balance FROM payments.account a, payments.balance(a.account_id) b WHERE a.code = $1 AND a.currency = $2 AND a.merchant = $3
$$;

-- ---------- what agrees ----------

SELECT is(pg_temp.pay('a', 10000, fee => 290), 'succeeded', 'a payment with its fee');
SELECT is(pg_temp.pay('b', 2000), 'succeeded', 'a payment whose fee we were not told');
SELECT pg_temp.file(format(E'charge,txn_pi_a,ch_a,pi_a,,100.00,2.90,EUR,%1$s,po_1\ncharge,txn_b,ch_b,pi_b,,20.00,0.60,EUR,%1$s,po_1\npayout,txn_p1,tr_1,,,-116.50,0,EUR,%1$s,po_1\n', pg_temp.now_text())) AS batch \gset
SELECT results_eq($$SELECT lines, applied, matched, discovered, still_open FROM payments.reconcile('tap')$$, 'VALUES (3::bigint, 1::bigint, 2::bigint, 0::bigint, 0::bigint)',
	'both agree, and the fee that we did not know is booked');
SELECT is((SELECT amount FROM payments.movement WHERE kind = 'fee' AND payment_id = pg_temp.id('b')), 60::bigint, 'as a movement of its payment');
SELECT is(pg_temp.balance('psp_fees'), 350::bigint, 'fees are posted once each');
SELECT is(pg_temp.balance('payout_clearing:tap'), 11650::bigint, 'the payout has left the PSP');
SELECT is(pg_temp.balance('psp_receivable:tap'), 0::bigint, 'where nothing is left');
SELECT results_eq($$SELECT lines, applied, matched, discovered, still_open FROM payments.reconcile('tap')$$, 'VALUES (3::bigint, 0::bigint, 2::bigint, 0::bigint, 0::bigint)',
	'once more: nothing is booked twice');
SELECT is(pg_temp.balance('payout_clearing:tap'), 11650::bigint, 'nor paid out twice');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');
SELECT is(status, 'on its way', 'the payout is on its way') FROM payments.payout_status WHERE payout_ref = 'po_1';

-- The same rows again, in a report of another kind.
SELECT pg_temp.file(format(E'charge,txn_pi_a,ch_a,pi_a,,100.00,2.90,EUR,%1$s,po_1\npayout,txn_p1,tr_1,,,-116.50,0,EUR,%1$s,po_1\nfee,txn_f,fee_1,,,-1.00,0,EUR,%1$s,\n', pg_temp.now_text())) AS again \gset
SELECT results_eq(format('SELECT repeated FROM payments.settlement_line WHERE batch_id = %s ORDER BY line_no', :again), 'VALUES (true), (true), (false)', 'what was there before is repeated');
SELECT results_eq($$SELECT lines, matched, discovered FROM payments.reconcile('tap')$$, 'VALUES (4::bigint, 2::bigint, 0::bigint)', 'and does not count');
SELECT is(pg_temp.balance('psp_fees'), 450::bigint, 'the new fee does');
SELECT is(pg_temp.balance('payout_clearing:tap'), 11650::bigint, 'the payout is still the same');

-- ---------- many to one, and one to many ----------

SELECT is(pg_temp.pay('parts', 9000), 'succeeded', 'one charge');
SELECT pg_temp.file(format(E'charge,txn_q1,ch_q1,pi_parts,,60.00,0,EUR,%1$s,\ncharge,txn_q2,ch_q2,pi_parts,,30.00,0,EUR,%1$s,\n', pg_temp.now_text())) > 0 AS imported;
SELECT results_eq($$SELECT discovered, still_open FROM payments.reconcile('tap')$$, 'VALUES (0::bigint, 0::bigint)', 'one of ours may be two of theirs');
SELECT is(pg_temp.pay('r', 5000), 'succeeded', 'a payment');
SELECT status FROM payments.refund_payment(pg_temp.id('r'), 'r1', 1000);
SELECT pg_temp.call();
SELECT pg_temp.answer(200, '{"id": "re_1", "object": "refund", "amount": 1000, "currency": "eur", "status": "succeeded"}');
SELECT status FROM payments.refund_payment(pg_temp.id('r'), 'r2', 500);
SELECT pg_temp.call();
SELECT pg_temp.answer(200, '{"id": "re_2", "object": "refund", "amount": 500, "currency": "eur", "status": "succeeded"}');
SELECT pg_temp.file(format(E'charge,txn_r0,ch_r,pi_r,,50.00,0,EUR,%1$s,\nrefund,txn_r1,re_both,pi_r,,-15.00,0,EUR,%1$s,\n', pg_temp.now_text())) > 0 AS imported;
SELECT results_eq($$SELECT discovered, still_open FROM payments.reconcile('tap')$$, 'VALUES (0::bigint, 0::bigint)', 'two of ours may be one of theirs');
SELECT is((SELECT refunded FROM payments.payment WHERE payment_id = pg_temp.id('r')), 1500::bigint, 'and nothing is refunded twice');

-- ---------- what differs, of each kind ----------

SELECT is(pg_temp.pay(v.name, v.amount, fee => v.fee), 'succeeded', 'a payment: ' || v.name)
FROM (VALUES ('amount', 3000, 30), ('currency', 3100, 31), ('fee', 3200, 32), ('late', 3300, 33), ('twice', 3400, 34)) v (name, amount, fee);
SELECT pg_temp.file(format($f$charge,txn_d1,ch_amount,pi_amount,,31.00,0.30,EUR,%1$s,
charge,txn_d2,ch_currency,pi_currency,,31.00,0.31,USD,%1$s,
charge,txn_d3,ch_fee,pi_fee,,32.00,0.35,EUR,%1$s,
charge,txn_d4,ch_late,pi_late,,33.00,0.33,EUR,%2$s,
charge,txn_d5,ch_twice,pi_twice,,34.00,0.34,EUR,%1$s,
charge,txn_d6,ch_twice2,pi_twice,,34.00,0.34,EUR,%1$s,
charge,txn_d7,ch_orphan,pi_orphan,,35.00,0.40,EUR,%1$s,
refund,txn_d8,re_orphan,pi_nobody,,-2.00,0,EUR,%1$s,
sorcery,txn_d9,xx_1,,,-0.50,0,EUR,%1$s,
payout,txn_d10,tr_2,,,-999.00,0,EUR,%1$s,po_2
charge,txn_d11,ch_late2,pi_b,,1.00,0,EUR,%1$s,po_2
$f$, pg_temp.now_text(), to_char((now() + interval '9 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')), '{"totals": "none"}') AS differs \gset
SELECT results_eq($$SELECT discovered FROM payments.reconcile('tap')$$, 'VALUES (10::bigint)', 'ten differ');
SELECT results_eq('SELECT * FROM pg_temp.open()', $$VALUES ('amount 3000/3100'), ('currency 3100/3100'), ('duplicate 0/100'), ('duplicate 0/3400'), ('fee 32/35'), ('late 3300/3300'),
	('missing_here -/200'), ('missing_here -/3500'), ('payout 100/99900'), ('unknown_line -/-50')$$, 'each for what it is');
SELECT results_eq($$SELECT discovered, explained, still_open FROM payments.reconcile('tap')$$, 'VALUES (0::bigint, 0::bigint, 10::bigint)', 'found again, they are no new ones');
SELECT is((SELECT count(*)::int FROM payments.discrepancy WHERE status = 'open' AND (suggestion IS NULL OR age < interval '0' OR description IS NULL)), 0, 'each has an age and a suggestion');
SELECT results_eq($$SELECT DISTINCT theirs, suggestion FROM payments.discrepancy WHERE kind = 'missing_here' AND theirs IN (200, 3500) ORDER BY theirs$$,
	$$VALUES (200::bigint, 'link'), (3500, 'create')$$, 'one that can be done: only a charge is created');
SELECT results_eq($$SELECT open, up_to_1_day, overdue, amount_text FROM payments.discrepancy_ageing WHERE kind = 'missing_here'$$,
	$$VALUES (2::bigint, 2::bigint, 0::bigint, '37.00 EUR')$$, 'and is counted by age');
-- The lines reach nine days ahead, and all of our movements are younger than two days.
SELECT is_empty($$SELECT FROM payments.discrepancy WHERE kind = 'missing_at_psp'$$, 'what may still come is not missing');
SELECT is(pg_temp.pay('unseen', 3600), 'succeeded', 'a payment that no line tells of');
SELECT results_eq($$SELECT kind, subject, ours, theirs FROM payments._judge_movements('tap', ARRAY['pi_unseen', 'pi_a', 're_1'], ARRAY['capture', 'capture', 'refund'], clock_timestamp(), '{}', false)$$,
	$$VALUES ('missing_at_psp', 'capture pi_unseen', 3600::bigint, NULL::bigint)$$, 'only that is missing at the PSP');

-- ---------- what the PSP's word settles ----------

INSERT INTO made SELECT 'doubt', payment_id FROM payments.create_payment('doubt', 4000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa');
SELECT pg_temp.call();
SELECT is(pg_temp.answer(500, '{}'), 'in_doubt', 'the answer was lost');
INSERT INTO made SELECT 'unsent', payment_id FROM payments.create_payment('unsent', 4100, 'EUR', psp => 'tap', payment_method => 'pm_card_visa');
SELECT pg_temp.file(format(E'charge,txn_e1,ch_doubt,pi_doubt,%2$s,40.00,0.80,EUR,%1$s,\ncharge,txn_e2,ch_unsent,pi_unsent,%3$s,41.00,0.81,EUR,%1$s,\n', pg_temp.now_text(),
	(SELECT psp_ref FROM payments.operation WHERE payment_id = pg_temp.id('doubt')), (SELECT psp_ref FROM payments.operation WHERE payment_id = pg_temp.id('unsent')))) > 0 AS imported;
SELECT results_eq($$SELECT applied, discovered FROM payments.reconcile('tap')$$, 'VALUES (2::bigint, 0::bigint)', 'two payments are settled by our reference');
SELECT results_eq($$SELECT status, captured FROM payments.payment WHERE payment_id IN (pg_temp.id('doubt'), pg_temp.id('unsent')) ORDER BY captured$$,
	$$VALUES ('succeeded', 4000::bigint), ('succeeded', 4100)$$, 'both have succeeded, the one that was never sent from here too');
SELECT is_empty($$SELECT FROM payments.queue WHERE payment_id IN (pg_temp.id('doubt'), pg_temp.id('unsent'))$$, 'and nothing will be sent for them');
SELECT results_eq($$SELECT source FROM payments.payment_status WHERE payment_id = pg_temp.id('doubt') AND status = 'succeeded'$$, $$VALUES ('settlement')$$, 'the history says who said so');
SELECT results_eq($$SELECT status, count(*) FROM payments.discrepancy WHERE payment_id IN (pg_temp.id('doubt'), pg_temp.id('unsent')) GROUP BY 1$$, $$VALUES ('applied', 2::bigint)$$,
	'and so do resolved discrepancies');
SELECT is((SELECT sum(amount) FROM payments.movement WHERE kind = 'fee' AND payment_id IN (pg_temp.id('doubt'), pg_temp.id('unsent'))), 161::numeric, 'with their fees');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');

-- A refund that was made at the PSP.
SELECT pg_temp.file(format(E'refund,txn_g1,re_dashboard,pi_a,,-10.00,0,EUR,%1$s,\nchargeback,txn_g2,dp_1,pi_a,,-5.00,15.00,EUR,%1$s,\n', pg_temp.now_text())) > 0 AS imported;
SELECT is((SELECT applied FROM payments.reconcile('tap')), 2::bigint, 'a refund and a dispute that nobody has told us of');
SELECT results_eq($$SELECT refunded, disputed FROM payments.payment WHERE payment_id = pg_temp.id('a')$$, 'VALUES (1000::bigint, 500::bigint)', 'are the payment''s');

-- ---------- decisions ----------

CREATE FUNCTION pg_temp.d(kind text, theirs bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT discrepancy_id FROM payments.discrepancy d WHERE d.kind = $1 AND d.theirs = $2 ORDER BY 1 LIMIT 1 $$;
CREATE FUNCTION pg_temp.raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate;
END
$$;
SELECT is(pg_temp.raised(v.statement), v.code, v.what) FROM (VALUES
	('22023', 'to wait is none', format('SELECT payments.resolve_discrepancy(%s, ''wait'', ''x'')', pg_temp.d('late', 3300))),
	('22023', 'a decision needs a reason', format('SELECT payments.resolve_discrepancy(%s, ''accept'', '' '')', pg_temp.d('late', 3300))),
	('22023', 'and must be a known one', format('SELECT payments.resolve_discrepancy(%s, ''forget'', ''x'')', pg_temp.d('late', 3300))),
	('PY609', 'and be about something', 'SELECT payments.resolve_discrepancy(-1, ''accept'', ''x'')'),
	('PY610', 'what is open is not reopened', format('SELECT payments.resolve_discrepancy(%s, ''reopen'', ''x'')', pg_temp.d('late', 3300))),
	('PY610', 'a time is not adjusted', format('SELECT payments.resolve_discrepancy(%s, ''adjust'', ''x'')', pg_temp.d('late', 3300))),
	('PY610', 'only a charge is made a payment', format('SELECT payments.resolve_discrepancy(%s, ''create'', ''x'')', pg_temp.d('missing_here', 200))),
	('PY610', 'an account that is not there takes nothing', format('SELECT payments.resolve_discrepancy(%s, ''adjust'', ''x'', account => ''nowhere'')', pg_temp.d('fee', 35)))
) v (code, what, statement);

SELECT is(status, 'accept', 'accepted') FROM payments.resolve_discrepancy(pg_temp.d('late', 3300), 'accept', 'bank holiday');
SELECT results_eq($$SELECT status, reason, resolved_by FROM payments.discrepancy WHERE kind = 'late'$$, $$VALUES ('accept', 'bank holiday', session_user::text COLLATE "default")$$, 'with reason and actor');
SELECT is(pg_temp.raised(format('SELECT payments.resolve_discrepancy(%s, ''ignore'', ''x'')', pg_temp.d('late', 3300))), 'PY610', 'what is decided is not decided again');

SELECT pg_temp.balance('psp_fees') AS fees, pg_temp.balance('psp_receivable:tap') AS receivable \gset
SELECT is(status, 'adjust', 'adjusted') FROM payments.resolve_discrepancy(pg_temp.d('fee', 35), 'adjust', 'new price list');
SELECT is(pg_temp.balance('psp_fees'), :fees + 3::bigint, 'three cents more of fees');
SELECT is(pg_temp.balance('psp_receivable:tap'), :receivable - 3::bigint, 'three less at the PSP');
SELECT is(status, 'open', 'taken back') FROM payments.resolve_discrepancy(pg_temp.d('fee', 35), 'reopen', 'it was not');
SELECT is(pg_temp.balance('psp_fees'), :fees::bigint, 'by a posting the other way');
SELECT is((SELECT max(seq) FROM payments.discrepancy_resolution WHERE discrepancy_id = pg_temp.d('fee', 35)), 2, 'by a further entry');
SELECT is(status, 'adjust', 'adjusted again') FROM payments.resolve_discrepancy(pg_temp.d('fee', 35), 'adjust', 'it was, after all');
SELECT is(status, 'adjust', 'an amount is adjusted') FROM payments.resolve_discrepancy(pg_temp.d('amount', 3100), 'adjust', 'rounding of theirs', account => 'psp_adjustments');
SELECT is(pg_temp.balance('psp_adjustments'), -100::bigint, 'they owe us one euro more');

SELECT is(status, 'create', 'an orphan is made a payment') FROM payments.resolve_discrepancy(pg_temp.d('missing_here', 3500), 'create', 'paid by phone');
SELECT results_eq($$SELECT p.status, p.captured, p.psp_payment_id FROM payments.payment p JOIN payments.discrepancy_resolution r ON r.payment_id = p.payment_id AND r.action = 'create'$$,
	$$VALUES ('succeeded', 3500::bigint, 'pi_orphan')$$, 'that has succeeded from the start');
SELECT is_empty($$SELECT FROM payments.queue q JOIN payments.discrepancy_resolution r ON r.payment_id = q.payment_id$$, 'nothing is charged for it');
SELECT is(pg_temp.raised(format('SELECT payments.resolve_discrepancy(%s, ''reopen'', ''x'')', pg_temp.d('missing_here', 3500))), 'PY610', 'money of a payment stays');
SELECT results_eq($$SELECT discovered, still_open FROM payments.reconcile('tap')$$, 'VALUES (0::bigint, 6::bigint)', 'what was decided is not found again');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');

-- ---------- what is explained later, and comes back ----------

SELECT pg_temp.file(format(E'adjustment,txn_h2,aj_1,,,998.00,0,EUR,%1$s,po_2\n', pg_temp.now_text())) > 0 AS imported;
SELECT results_eq($$SELECT explained, still_open FROM payments.reconcile('tap')$$, 'VALUES (1::bigint, 5::bigint)', 'a further line explains the payout');

-- ---------- reports, roles ----------

SELECT ok((SELECT string_agg(line, E'\n') FROM payments.reconciliation_report((SELECT max(run_id) FROM payments.reconciliation_run))) LIKE '%RECONCILIATION OF TAP%open%Missing here%Date, name%', 'a report to sign');
SELECT throws_ok('SELECT * FROM payments.reconciliation_report(-1)', 'PY611', NULL, 'of a run that was');
SELECT throws_ok($$SELECT payments.reconcile('nobody')$$, 'PY401', NULL, 'of a PSP that is');
SELECT throws_ok($$SELECT payments.reconcile('tap', now(), now())$$, '22023', NULL, 'over a period that is');
SELECT throws_ok($$UPDATE payments.discrepancy_found SET ours = 1$$, 'PY003', NULL, 'what was found does not change');
SELECT throws_ok($$DELETE FROM payments.discrepancy_resolution$$, 'PY003', NULL, 'nor what was decided');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'after all this every invariant holds');

-- ---------- what may be ours

-- A charge by which Stripe knows no PaymentIntent may be one that we have booked under that.
SELECT payments.create_psp('keyless', 'stripe');
SELECT lines FROM payments.import_settlement('keyless', 'csv', format(E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at\ncharge,txn_k1,ch_k1,11.00,0.30,EUR,%1$s\nrefund,txn_k2,,-3.00,0,EUR,%1$s\n', pg_temp.now_text()));
SELECT discovered FROM payments.reconcile('keyless');
SELECT results_eq($$SELECT kind, theirs, object_id, suggestion FROM payments.discrepancy WHERE psp = 'keyless' ORDER BY theirs$$,
	$$VALUES ('missing_here', 300::bigint, NULL, 'wait'), ('missing_here', 1100, NULL, 'wait')$$, 'what the PSP''s file gives no key of is not suggested to be created or linked');
SELECT throws_ok(format($$SELECT payments.resolve_discrepancy(%s, %L, reason => 'no idea')$$, discrepancy_id, action), 'PY610', NULL, 'nor can it be: ' || action)
FROM payments.discrepancy, unnest(ARRAY['create', 'refund']) action WHERE psp = 'keyless' AND theirs = 1100;
SELECT is((SELECT count(*)::int FROM payments.payment WHERE psp = 'keyless'), 0, 'no payment is made of it');
SELECT is((SELECT r.status FROM payments.discrepancy d, payments.resolve_discrepancy(d.discrepancy_id, 'accept', reason => 'it is payment a') r WHERE d.psp = 'keyless' AND d.theirs = 1100), 'accept', 'a person may say that it is there');

-- ---------- whose a charge is that is missing here

CREATE FUNCTION pg_temp.missing(psp text, charge text) RETURNS bigint LANGUAGE sql AS $$
	SELECT payments.import_settlement($1, 'csv', format(E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at\ncharge,e_%1$s,%1$s,9.00,0.10,EUR,%2$s\n', $2, pg_temp.now_text()));
	SELECT payments.reconcile($1);
	SELECT discrepancy_id FROM payments.discrepancy d WHERE d.psp = $1 AND d.object_id = $2 AND d.status = 'open'
$$;
CREATE FUNCTION pg_temp.made_for(id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT p.merchant FROM payments.discrepancy_resolution r JOIN payments.payment p USING (payment_id) WHERE r.discrepancy_id = id AND r.action IN ('create', 'refund')
$$;
SELECT payments.create_psp('alone', 'sandbox'), payments.create_merchant('toys', psp => 'alone'), payments.create_merchant('books');
SELECT pg_temp.missing('alone', 'ch_alone') AS d \gset
SELECT payments.resolve_discrepancy(:d, 'create', 'sold by phone');
SELECT is(pg_temp.made_for(:d), 'toys', 'the PSP serves one merchant alone: it is his');
SELECT payments.create_psp('shared', 'sandbox');
SELECT payments.create_payment('shared ' || m, 100, 'EUR', merchant => m, psp => 'shared') FROM unnest(ARRAY['toys', 'books']) m;
SELECT pg_temp.missing('shared', 'ch_shared') AS d \gset
SELECT throws_ok(format($$SELECT payments.resolve_discrepancy(%s, %L, 'sold by phone')$$, :d, action), '22023', 'merchant is needed: the charge may be of any that PSP "shared" serves', 'of several nobody guesses, to ' || action)
FROM unnest(ARRAY['create', 'refund']) action;
SELECT payments.resolve_discrepancy(:d, 'create', 'sold by phone', merchant => 'books');
SELECT is(pg_temp.made_for(:d), 'books', 'who decides says whose it is');
SELECT payments.create_psp('shared', 'sandbox', config => '{"merchant": "toys"}');
SELECT pg_temp.missing('shared', 'ch_shared_2') AS d \gset
SELECT payments.resolve_discrepancy(:d, 'create', 'sold by phone');
SELECT is(pg_temp.made_for(:d), 'toys', 'or the PSP''s row does, for all of them');
SELECT payments.create_psp('unused', 'sandbox');
SELECT pg_temp.missing('unused', 'ch_unused') AS d \gset
SELECT throws_ok(format($$SELECT payments.resolve_discrepancy(%s, 'create', 'sold by phone')$$, :d), '22023', NULL, 'where nobody uses the PSP yet it may be anybody''s');

SELECT * FROM finish();
ROLLBACK;
