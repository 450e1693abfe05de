-- If this fails, a line of a PSP's books moves money of a payment that nobody
-- moved: a partial capture becomes a refund, a loan or a reserve a charge.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('stripe', 'stripe', secret => 'x'), payments.create_psp('adyen', 'sandbox'), payments.arm();

-- ---------- whose money moves, by every word of every format

CREATE TEMP TABLE word (format text, type text, amount bigint, kind text);
INSERT INTO word SELECT 'stripe', w.type, w.amount, w.kind FROM (VALUES
	-- about a payment
	('charge', 700, 'charge'), ('payment', 700, 'charge'), ('partial_capture_reversal', -700, 'charge'), ('charge_failure', -700, 'charge'),
	('payment_failure_refund', -700, 'charge'), ('refund', -700, 'refund'), ('payment_refund', -700, 'refund'), ('refund_failure', 700, 'refund_failure'),
	('dispute', -700, 'chargeback'), ('dispute_reversal', 700, 'chargeback_reversal'),
	-- the merchant's own
	('fee', -700, 'fee'), ('stripe_fee', -700, 'fee'), ('stripe_fx_fee', -700, 'fee'), ('network_cost', -700, 'fee'), ('tax', -700, 'fee'), ('tax_fee', -700, 'fee'),
	('application_fee', 700, 'transfer'), ('application_fee_refund', -700, 'transfer'), ('platform_earning', 700, 'transfer'), ('platform_earning_refund', -700, 'transfer'),
	('transfer', -700, 'transfer'), ('transfer_reversal', 700, 'transfer'), ('transfer_cancel', 700, 'transfer'), ('transfer_failure', 700, 'transfer'),
	('transfer_refund', 700, 'transfer'), ('connect_collection_transfer', -700, 'transfer'), ('topup', 700, 'transfer'), ('topup_reversal', -700, 'transfer'),
	('advance', 700, 'transfer'), ('advance_funding', -700, 'transfer'), ('anticipation_repayment', -700, 'transfer'), ('financing_paydown', -700, 'transfer'),
	('financing_paydown_reversal', 700, 'transfer'), ('financing_payout', 700, 'transfer'), ('financing_payout_reversal', -700, 'transfer'),
	('obligation_inbound', 700, 'transfer'), ('obligation_outbound', -700, 'transfer'), ('obligation_reversal_inbound', -700, 'transfer'),
	('obligation_reversal_outbound', 700, 'transfer'), ('issuing_transaction', -700, 'transfer'), ('issuing_dispute', 700, 'transfer'), ('issuing_disbursement', -700, 'transfer'),
	('payout', -700, 'payout'), ('payout_reversal', 700, 'payout_failure'), ('payout_failure', 700, 'payout_failure'), ('payout_cancel', 700, 'payout_failure'),
	('currency_conversion', -700, 'fx'), ('adjustment', -700, 'adjustment'), ('other_adjustment', -700, 'adjustment'), ('contribution', -700, 'adjustment'),
	('climate_order_purchase', -700, 'adjustment'), ('climate_order_refund', 700, 'adjustment'), ('stripe_balance_payment_debit', -700, 'adjustment'),
	('stripe_balance_payment_debit_reversal', 700, 'adjustment'),
	-- kept back
	('reserve_transaction', -700, 'reserve'), ('reserved_funds', 700, 'reserve_release'), ('risk_reserved_funds', -700, 'reserve'), ('connect_reserved_funds', 700, 'reserve_release'),
	('reserve_hold', -700, 'reserve'), ('reserve_release', 700, 'reserve_release'), ('payment_network_reserve_hold', -700, 'reserve'),
	('payment_network_reserve_release', 700, 'reserve_release'), ('payout_minimum_balance_hold', -700, 'reserve'), ('payout_minimum_balance_release', 700, 'reserve_release'),
	('issuing_authorization_hold', -700, 'reserve'), ('issuing_authorization_release', 700, 'reserve_release'),
	-- of whom, we do not know
	('payment_reversal', -700, 'unknown'), ('payment_unreconciled', 700, 'unknown'), ('unreconciled_customer_funds', 700, 'unknown'), ('of_tomorrow', -700, 'unknown')
) w (type, amount, kind);
INSERT INTO word SELECT 'adyen', w.type, w.amount, w.kind FROM (VALUES
	('Settled', 700, 'charge'), ('SettledBulk', 700, 'charge'), ('SettledInInstallments', 700, 'charge'), ('SettledReversed', -700, 'charge'), ('Refunded', -700, 'refund'),
	('RefundedBulk', -700, 'refund'), ('RefundedReversed', 700, 'refund_failure'), ('Chargeback', -700, 'chargeback'), ('SecondChargeback', -700, 'chargeback'),
	('ChargebackReversed', 700, 'chargeback_reversal'), ('Fee', -700, 'fee'), ('MiscCosts', -700, 'fee'), ('PaymentCost', -700, 'fee'), ('InvoiceDeduction', -700, 'fee'),
	('MerchantPayout', -700, 'payout'), ('BankInstructionReturned', 700, 'payout_failure'), ('PaidOut', -700, 'transfer'), ('PaidOutReversed', 700, 'transfer'),
	('Balancetransfer', 700, 'transfer'), ('EpaPaid', -700, 'transfer'), ('DepositCorrection', -700, 'reserve'), ('DepositCorrection', 700, 'reserve_release'),
	('ManualCorrected', -700, 'adjustment'), ('MatchedStatement', 700, 'adjustment'), ('OfTomorrow', 700, 'unknown')
) w (type, amount, kind);

CREATE FUNCTION pg_temp.entry(id text, category text, amount bigint, fee bigint, source jsonb, type text) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', id, 'object', 'balance_transaction', 'amount', amount, 'fee', fee, 'net', amount - fee, 'currency', 'eur',
		'created', extract(epoch FROM now())::bigint, 'available_on', 1790172800, 'type', type, 'reporting_category', category, 'source', source)::text
$$;
CREATE FUNCTION pg_temp.adyen(type text, amount bigint, reference text) RETURNS text LANGUAGE sql AS $$
	SELECT format(E'Merchant Account,Psp Reference,Merchant Reference,Creation Date,TimeZone,Type,Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Net Currency,Net Debit (NC),Net Credit (NC),Commission (NC),Batch Number\nShop,%3$s,,2026-11-16 10:00:00,CET,%1$s,MOD-%1$s,EUR,%4$s,%5$s,EUR,%4$s,%5$s,,42\n',
		type, amount, reference, CASE WHEN amount < 0 THEN round(-amount / 100.0, 2)::text END, CASE WHEN amount > 0 THEN round(amount / 100.0, 2)::text END)
$$;
SELECT results_eq(format($$SELECT kind, net FROM payments._settlement_stripe_api(%L, '{}')$$, '[' || pg_temp.entry('txn_' || w.type, w.type, w.amount, 0, NULL, 'x') || ']'),
	format('SELECT %L, %s::numeric', w.kind, w.amount), format('API: %s is %s', w.type, w.kind)) FROM word w WHERE w.format = 'stripe';
SELECT results_eq(format($$SELECT kind, net FROM payments._settlement_stripe_balance(%L, '{}')$$,
		format(E'id,Type,Amount,Fee,Net,Currency\ntxn_1,%s,%2$s,0,%2$s,eur\n', w.type, round(w.amount / 100.0, 2))),
	format('SELECT %L, %s::numeric', w.kind, round(w.amount / 100.0, 2)), format('CSV: %s is %s', w.type, w.kind)) FROM word w WHERE w.format = 'stripe';
SELECT results_eq(format($$SELECT kind, net FROM payments._settlement_adyen(%L, '{}')$$, pg_temp.adyen(w.type, w.amount, 'PSP1')),
	format('SELECT %L, %s::numeric', w.kind, round(w.amount / 100.0, 2)), format('Adyen: %s is %s', w.type, w.kind)) FROM word w WHERE w.format = 'adyen';

-- ---------- payments, whose side Stripe's API plays by hand

CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text);
CREATE TEMP TABLE made (name text PRIMARY KEY, id uuid);
CREATE FUNCTION pg_temp.id(name text) RETURNS uuid LANGUAGE sql AS 'SELECT id FROM made WHERE made.name = $1';
CREATE FUNCTION pg_temp.intent(name text, amount bigint, received bigint, status text) RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('id', 'pi_' || name, 'object', 'payment_intent', 'amount', amount, 'amount_received', received,
		'amount_capturable', CASE status WHEN 'requires_capture' THEN amount ELSE 0 END, 'currency', 'eur', 'status', status)::text
$$;
CREATE FUNCTION pg_temp.call(http int, body text) RETURNS text LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE claimed_by IS NULL AND psp = 'stripe';
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'stripe', max => 1);
	SELECT payments.complete(s.operation_id, s.attempt, $1, '{}', convert_to($2, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.hold(name text, amount bigint) RETURNS text LANGUAGE sql AS $$
	INSERT INTO made SELECT $1, payment_id FROM payments.create_payment($1, $2, 'EUR', psp => 'stripe', payment_method => 'pm_card_visa', capture => 'manual');
	SELECT pg_temp.call(200, pg_temp.intent($1, $2, 0, 'requires_capture'))
$$;
CREATE FUNCTION pg_temp.take(name text, amount bigint, of_amount bigint, http int DEFAULT 200) RETURNS text LANGUAGE sql AS $$
	SELECT FROM payments.capture_payment(pg_temp.id($1), $1 || '-capture', $2);
	SELECT pg_temp.call($4, CASE $4 WHEN 200 THEN pg_temp.intent($1, $3, $2, 'succeeded') ELSE '{}' END)
$$;
CREATE FUNCTION pg_temp.api(VARIADIC entries text[]) RETURNS int LANGUAGE sql AS $$
	SELECT lines FROM payments.import_settlement('stripe', 'stripe_api', '[' || array_to_string(entries, ',') || ']', options => '{"amounts": "minor"}')
$$;
CREATE FUNCTION pg_temp.charge(name text, amount bigint, captured bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', 'ch_' || name, 'object', 'charge', 'amount', amount, 'amount_captured', captured, 'currency', 'eur', 'payment_intent', 'pi_' || name)
$$;
CREATE FUNCTION pg_temp.whole(name text, amount bigint, captured bigint) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.entry('txn_' || $1, 'charge', $2, 145, pg_temp.charge($1, $2, $3), 'charge') $$;
CREATE FUNCTION pg_temp.rest(name text, amount bigint, captured bigint) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.entry('txn_rest_' || $1, 'partial_capture_reversal', $3 - $2, 0, pg_temp.charge($1, $2, $3), 'refund') $$;
CREATE FUNCTION pg_temp.state(name text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s/%s', status, captured, refunded) FROM payments.payment WHERE payment_id = pg_temp.id($1)
$$;
CREATE FUNCTION pg_temp.open() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s/%s', d.kind, coalesce(d.ours::text, '-'), coalesce(d.theirs::text, '-')) FROM payments.discrepancy d WHERE d.status = 'open' ORDER BY 1
$$;
CREATE FUNCTION pg_temp.reconciled() RETURNS text LANGUAGE sql AS $$ SELECT format('%s applied, %s open', applied, still_open) FROM payments.reconcile('stripe') $$;

SELECT is(pg_temp.hold('a', 10000), 'authorized', 'a hundred are held');
SELECT is(pg_temp.take('a', 8000, 10000), 'succeeded', 'and eighty captured');
SELECT pg_temp.api(pg_temp.whole('a', 10000, 8000), pg_temp.rest('a', 10000, 8000));
SELECT is(pg_temp.reconciled(), '1 applied, 0 open', 'the PSP''s books say the same in two lines: only the fee is news');
SELECT is(pg_temp.state('a'), 'succeeded 8000/0', 'nothing was refunded');
SELECT is((SELECT balance FROM payments.account x, payments.balance(x.account_id) WHERE x.code = 'psp_receivable:stripe'), 8000::bigint - 145, 'the PSP owes what both lines make');
SELECT lives_ok(format('SELECT payments.refund_payment(%L, ''a-refund'', 8000)', pg_temp.id('a')), 'and all of it can be refunded');
SELECT is(pg_temp.call(200, '{"id": "re_a", "object": "refund", "amount": 8000, "currency": "eur", "status": "succeeded"}'), 'refunded', 'which it is');

-- By CSV, the rest first, and the rest's own id that of a refund.
SELECT is(pg_temp.hold('b', 10000) || ' ' || pg_temp.take('b', 8000, 10000), 'authorized succeeded', 'another');
\set head 'balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,charge_id,payment_intent_id,automatic_payout_id,source_id'
SELECT lives_ok(format($$SELECT payments.import_settlement('stripe', 'stripe_payout', %L)$$, replace(format('%s|txn_rest_b,%s,eur,-20.00,0,-20.00,partial_capture_reversal,ch_b,pi_b,,re_b|txn_b,%2$s,eur,100.00,1.45,98.55,charge,ch_b,pi_b,,ch_b|',
	:'head', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')), '|', E'\n')), 'its report');
SELECT is(pg_temp.reconciled(), '1 applied, 0 open', 'says the same');
SELECT is(pg_temp.state('b'), 'succeeded 8000/0', 'nothing was refunded');

-- The answer to the capture was lost: the lines tell of it, together.
SELECT is(pg_temp.hold('c', 10000) || ' ' || pg_temp.take('c', 8000, 10000, 500), 'authorized authorized', 'a capture in doubt');
SELECT pg_temp.api(pg_temp.whole('c', 10000, 8000));
SELECT is(pg_temp.reconciled(), '0 applied, 1 open', 'the whole charge alone is not what we asked for: it waits');
SELECT pg_temp.api(pg_temp.rest('c', 10000, 8000));
SELECT is(pg_temp.reconciled(), '1 applied, 0 open', 'with the rest it is');
SELECT is(pg_temp.state('c'), 'succeeded 8000/0', 'eighty were captured');
SELECT is((SELECT sum(amount) FROM payments.movement WHERE payment_id = pg_temp.id('c') AND kind = 'fee'), 145::numeric, 'with its fee');

-- A report that calls the rest a refund, as the Dashboard does.
SELECT is(pg_temp.hold('d', 10000) || ' ' || pg_temp.take('d', 8000, 10000), 'authorized succeeded', 'another');
SELECT lives_ok(format($$SELECT payments.import_settlement('stripe', 'csv', E'entry_id,kind,psp_object_id,psp_payment_id,gross,fee,currency\ntxn_d,charge,ch_d,pi_d,100.00,0,EUR\ntxn_rest_d,refund,re_d,pi_d,-20.00,0,EUR\n')$$), 'a vague report');
SELECT is(pg_temp.reconciled(), '0 applied, 2 open', 'is asked about');
SELECT is(pg_temp.state('d'), 'succeeded 8000/0', 'and refunds nothing');
SELECT results_eq('SELECT * FROM pg_temp.open()', $$VALUES ('amount 8000/10000'), ('status -/2000')$$, 'as more than we captured, and a refund that we do not know');

-- One that cannot be settled keeps no other away, however few are tried at a time.
SELECT is(pg_temp.hold('h', 10000) || ' ' || pg_temp.take('h', 8000, 10000, 500), 'authorized authorized', 'another capture in doubt');
SELECT pg_temp.api(pg_temp.whole('h', 10000, 8000));
SELECT is(pg_temp.reconciled(), '0 applied, 3 open', 'waits, and is younger than the refund that nobody knows');
SELECT pg_temp.api(pg_temp.rest('h', 10000, 8000));
DO $$
BEGIN
	FOR i IN 1 .. 500 LOOP
		EXIT WHEN pg_temp.state('h') = 'succeeded 8000/0';
		PERFORM payments._settlement_take('stripe', 1, true, 0);
	END LOOP;
END
$$;
SELECT is(pg_temp.state('h'), 'succeeded 8000/0', 'and has its turn');

-- A charge that failed after it was told.
INSERT INTO made SELECT 'e', payment_id FROM payments.create_payment('e', 5000, 'EUR', psp => 'stripe', payment_method => 'pm_card_visa');
SELECT is(pg_temp.call(200, pg_temp.intent('e', 5000, 5000, 'succeeded')), 'succeeded', 'a charge');
SELECT pg_temp.api(pg_temp.whole('e', 5000, 5000), pg_temp.entry('txn_fail_e', 'charge_failure', -5000, 0, pg_temp.charge('e', 5000, 5000), 'payment_failure_refund'));
SELECT pg_temp.reconciled();
SELECT is(pg_temp.state('e'), 'succeeded 5000/0', 'that failed afterwards is not refunded by us');
SELECT results_eq($$SELECT * FROM pg_temp.open() o WHERE o LIKE '%5000%'$$, $$VALUES ('amount 5000/0')$$, 'and a person is told that the money is gone');
-- A refund that is withdrawn is less refunded, not more.
INSERT INTO made SELECT 'g', payment_id FROM payments.create_payment('g', 7000, 'EUR', psp => 'stripe', payment_method => 'pm_card_visa');
SELECT is(pg_temp.call(200, pg_temp.intent('g', 7000, 7000, 'succeeded')), 'succeeded', 'a charge');
SELECT pg_temp.api(pg_temp.whole('g', 7000, 7000), pg_temp.entry('txn_g1', 'refund', -1000, 0, '{"id": "re_g1", "object": "refund", "payment_intent": "pi_g"}', 'refund'),
	pg_temp.entry('txn_g2', 'refund', 1000, 0, '{"id": "re_g2", "object": "refund", "payment_intent": "pi_g"}', 'refund'));
SELECT pg_temp.reconciled();
SELECT is(pg_temp.state('g'), 'succeeded 7000/0', 'refunded and withdrawn in one file: nothing');
SELECT is_empty($$SELECT FROM payments.discrepancy WHERE payment_id = pg_temp.id('g') AND status = 'open'$$, 'and nothing differs');

-- ---------- nothing else is ever applied to a payment

INSERT INTO made SELECT 'z', payment_id FROM payments.create_payment('z', 90000, 'EUR', psp => 'stripe', payment_method => 'pm_card_visa');
SELECT is(pg_temp.call(200, pg_temp.intent('z', 90000, 90000, 'succeeded')), 'succeeded', 'a payment');
SELECT pg_temp.api(VARIADIC ARRAY(SELECT pg_temp.entry('txn_z_' || w.type, w.type, w.amount, 0, pg_temp.charge('z', 90000, 90000) || jsonb_build_object('id', 'x_' || w.type), 'x')
	FROM word w WHERE w.format = 'stripe' AND w.kind NOT IN ('charge', 'refund', 'refund_failure', 'chargeback', 'chargeback_reversal')));
SELECT pg_temp.reconciled();
SELECT results_eq($$SELECT kind, amount FROM payments.movement WHERE payment_id = pg_temp.id('z')$$, $$VALUES ('capture', 90000::bigint)$$, 'of all other lines that name a payment none is its own');
SELECT is((SELECT count(*)::int FROM payments.discrepancy WHERE kind = 'unknown_line' AND status = 'open'), (SELECT count(*)::int FROM word WHERE format = 'stripe' AND kind = 'unknown'), 'and each that is not known is asked about');

-- Nobody here took any, and nothing is left of it there.
INSERT INTO made SELECT 'f', payment_id FROM payments.create_payment('f', 6000, 'EUR', psp => 'stripe', payment_method => 'pm_x');
SELECT is(pg_temp.call(200, pg_temp.intent('f', 6000, 0, 'processing')), 'processing', 'a bank debit');
SELECT pg_temp.api(pg_temp.whole('f', 6000, 6000), pg_temp.entry('txn_fail_f', 'charge_failure', -6000, 0, pg_temp.charge('f', 6000, 0), 'payment_failure_refund'));
SELECT pg_temp.reconciled();
SELECT is(pg_temp.state('f'), 'processing 0/0', 'that came and went took nothing');
SELECT is_empty($$SELECT kind, subject, ours, theirs FROM payments.discrepancy WHERE payment_id = pg_temp.id('f') AND status = 'open'$$, 'and nothing differs');

-- ---------- banks: which credits may be a payout that they do not name

SELECT is(payments._bank_code_is_other(c.code), c.other, format('%s: %s', c.code, c.other)) FROM (VALUES
	('NTRF', false), ('NMSC', false), ('S103', false), ('FMSC', false), ('NCHG', true), ('NCOM', true), ('NINT', true), ('NDIV', true), ('NRTI', true), ('NFEX', true), ('NSEC', true),
	('PMNT/RCDT/ESCT', false), ('PMNT/RCDT/XBCT', false), ('PMNT/RRCT/ESCT', false), ('PMNT/MCRD/POSP', false), ('PMNT/ICDT/RRTN', true), ('PMNT/RCDT/RRTN', true), ('PMNT/IDDT/UPDD', true),
	('ACMT/MCOP/INTR', true), ('PMNT/MCOP/CHRG', true), ('LDAS/FTLN/PPAY', true), ('SECU/SETT/TRAD', true), ('', false)) c (code, other);
SELECT lives_ok(format($$SELECT payments.import_settlement('adyen', 'csv', E'kind,entry_id,psp_object_id,gross,currency,occurred_at,payout_ref\npayout,p1,tr_1,-12.00,EUR,%s,po_12\n')$$, to_char(now() - interval '1 day', 'YYYY-MM-DD')), 'a payout of twelve');
CREATE FUNCTION pg_temp.bank(mark text, code text, ref text) RETURNS bigint LANGUAGE sql AS $$
	SELECT payments.import_settlement('bank_' || lower(code), 'mt940', format(E':20:ST\n:25:DE89%3$s\n:28C:1\n:60F:C%1$sEUR0,00\n:61:%1$s%2$s12,00%3$sNONREF//%4$s\n:62F:C%1$sEUR12,00\n', to_char(now(), 'YYMMDD'), mark, code, ref));
	SELECT FROM payments.reconcile('bank_' || lower(code));
	SELECT count(*) FROM payments.bank_match
$$;
SELECT is(pg_temp.bank('C', 'NINT', 'I-1'), 0::bigint, 'interest of twelve is not the payout');
SELECT is(pg_temp.bank('RD', 'NMSC', 'I-2'), 0::bigint, 'nor a debit that is taken back');
SELECT is(pg_temp.bank('C', 'NTRF', 'I-3'), 1::bigint, 'a transfer is');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');
SELECT * FROM finish();
ROLLBACK;
