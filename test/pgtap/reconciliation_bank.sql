-- If this fails, a payout that never came in at the bank is taken for one that
-- did, money at the bank stays unexplained, or payouts, fees and exchange stand
-- in the wrong merchant's books.

\ir ../lib/prelude.sql
-- Several tests in a row are several lines.
\pset fieldsep '\n'
BEGIN;
SELECT no_plan();

SELECT payments.create_merchant('books'), payments.create_merchant('toys'), payments.create_psp('tap', 'stripe', secret => 'tap', config => '{"merchant": "books"}'), payments.arm();

-- Payments as the worker books them.
CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text);
CREATE FUNCTION pg_temp.pay(name text, amount bigint, merchant text, currency text DEFAULT 'EUR') RETURNS text LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment($1, $2, $4, merchant => $3, psp => 'tap', payment_method => 'pm_card_visa');
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'tap', max => 1);
	SELECT payments.complete(s.operation_id, s.attempt, 200, '{}', convert_to(json_build_object('id', 'pi_' || $1, 'object', 'payment_intent', 'amount', $2,
		'amount_received', $2, 'amount_capturable', 0, 'currency', lower($4), 'status', 'succeeded')::text, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.file(lines text) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('tap', 'csv', E'kind,entry_id,psp_object_id,psp_payment_id,gross,fee,currency,original_amount,original_currency,occurred_at,payout_ref\n'
		|| $1, options => '{"totals": "none"}')
$$;
CREATE FUNCTION pg_temp.day(n int) RETURNS text LANGUAGE sql AS $$ SELECT to_char(now() AT TIME ZONE 'UTC' - n * interval '1 day', 'YYYY-MM-DD') $$;
CREATE FUNCTION pg_temp.swift(n int) RETURNS text LANGUAGE sql AS $$ SELECT to_char(now() AT TIME ZONE 'UTC' - n * interval '1 day', 'YYMMDD') $$;
-- A statement of the bank: cents, reference and text of each credit, on a day.
CREATE FUNCTION pg_temp.bank(number int, day int, credits bigint[], refs text[], texts text[]) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('giro', 'mt940', format(E':20:ST%s\n:25:DE89370400440532013000\n:28C:%s\n:60F:C%sEUR0,00\n', $1, $1, pg_temp.swift($2)) ||
		(SELECT string_agg(format(E':61:%s%sC%s,%s%s%s\n:86:%s\n', pg_temp.swift($2), to_char(now() - $2 * interval '1 day', 'MMDD'), c / 100, lpad((c % 100)::text, 2, '0'), 'NTRF', r, t), '' ORDER BY n)
		 FROM unnest($3, $4, $5) WITH ORDINALITY u (c, r, t, n)) ||
		format(E':62F:C%sEUR%s,%s\n', pg_temp.swift($2), (SELECT sum(c)::bigint / 100 FROM unnest($3) c), (SELECT lpad((sum(c)::bigint % 100)::text, 2, '0') FROM unnest($3) c)))
$$;
CREATE FUNCTION pg_temp.balance(merchant text, code text, currency text DEFAULT 'EUR') RETURNS bigint LANGUAGE sql AS $$
	SELECT b.balance FROM payments.account a, payments.balance(a.account_id) b WHERE a.code = $2 AND a.currency = $3 AND a.merchant = $1
$$;
CREATE FUNCTION pg_temp.open(psp text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s/%s', d.kind, coalesce(d.ours::text, '-'), coalesce(d.theirs::text, '-')) FROM payments.discrepancy d WHERE d.status = 'open' AND d.psp = $1 ORDER BY d.kind, d.theirs
$$;

-- ---------- two merchants, one payout ----------

SELECT is(pg_temp.pay('p1', 10000, 'books'), 'succeeded', 'books sells'), is(pg_temp.pay('p2', 5000, 'toys'), 'succeeded', 'toys sells');
SELECT pg_temp.file(format(E'charge,t1,ch_1,pi_p1,100.00,3.00,EUR,,,%2$s,po_1\ncharge,t2,ch_2,pi_p2,50.00,2.00,EUR,,,%2$s,po_1\nfee,t3,fee_1,,-1.00,0,EUR,,,%1$s,po_1\n'
	'reserve,t4,rs_1,,-4.00,0,EUR,,,%1$s,po_1\npayout,t5,tr_1,,-140.00,0,EUR,,,%1$s,po_1\n', pg_temp.day(9), pg_temp.day(1))) > 0 AS imported;
SELECT results_eq($$SELECT applied, matched, discovered FROM payments.reconcile('tap')$$, 'VALUES (2::bigint, 2::bigint, 0::bigint)', 'both agree');
SELECT results_eq($$SELECT merchant, event, amount FROM payments.settlement_posting ORDER BY 1, 2$$,
	$$VALUES ('books', 'settled_fee', 100::bigint), ('books', 'settled_payout', 9200), ('books', 'settled_reserve', 400), ('toys', 'settled_payout', 4800)$$,
	'each merchant has what his lines make; what names no payment is the house''s');
SELECT is(pg_temp.balance('books', 'psp_receivable:tap'), 0::bigint, 'books has nothing left at the PSP'), is(pg_temp.balance('toys', 'psp_receivable:tap'), 0::bigint, 'nor has toys'),
	is(pg_temp.balance('books', 'psp_reserve:tap'), 400::bigint, 'but for the reserve');

-- ---------- the bank ----------

SELECT is_empty($$SELECT * FROM pg_temp.open('tap') o WHERE o LIKE 'payout_missing%'$$, 'without any statement of a bank no payout is missed');
SELECT pg_temp.bank(1, 8, ARRAY[14000, 777], ARRAY['NONREF', 'NONREF'], ARRAY['TAP PAYMENTS po_1 THANK YOU', 'somebody else']) > 0 AS imported;
SELECT results_eq($$SELECT lines, matched, discovered FROM payments.reconcile('giro')$$, 'VALUES (2::bigint, 1::bigint, 1::bigint)', 'the payout''s number is in the text');
SELECT results_eq($$SELECT * FROM pg_temp.open('giro')$$, $$VALUES ('unmatched_bank -/777')$$, 'the other entry is nobody''s');
SELECT is(status, 'at the bank', 'the payout is at the bank') FROM payments.payout_status;
SELECT is(pg_temp.balance('books', 'bank:giro'), 9200::bigint, 'books'' part of it'), is(pg_temp.balance('toys', 'bank:giro'), 4800::bigint, 'toys'' part'),
	is(pg_temp.balance('books', 'payout_clearing:tap'), 0::bigint, 'nothing is on its way');
SELECT results_eq($$SELECT matched, discovered FROM payments.reconcile('giro')$$, 'VALUES (1::bigint, 0::bigint)', 'once more: nothing is matched twice');
SELECT is(pg_temp.balance('books', 'bank:giro'), 9200::bigint, 'nor posted twice');

-- By amount; all of a day in one; one in several; and what does not come.
SELECT is(pg_temp.pay('p3', 100000, 'books'), 'succeeded', 'a large sale');
SELECT pg_temp.file(format(E'charge,t11,ch_11,pi_p3,1000.00,0,EUR,,,%3$s,po_2\npayout,t12,tr_2,,-111.11,0,EUR,,,%1$s,po_amount\npayout,t13,tr_3,,-20.00,0,EUR,,,%2$s,po_day1\n'
	'payout,t14,tr_4,,-30.00,0,EUR,,,%2$s,po_day2\npayout,t15,tr_5,,-70.00,0,EUR,,,%2$s,po_parts\npayout,t16,tr_6,,-55.55,0,EUR,,,%2$s,po_lost\n', pg_temp.day(9), pg_temp.day(7), pg_temp.day(1))) > 0 AS imported;
SELECT discovered > 0 AS found FROM payments.reconcile('tap');
SELECT is((SELECT count(*)::int FROM payments.discrepancy WHERE kind = 'payout_missing' AND status = 'open'), 5, 'five payouts are awaited at the bank');
SELECT pg_temp.bank(2, 6, ARRAY[11111, 4000, 3000], ARRAY['NONREF', 'po_parts', 'po_parts'], ARRAY['no name', 'first part', 'second part']) > 0 AS imported;
SELECT is((SELECT matched FROM payments.reconcile('giro')), 4::bigint, 'by amount, and in two parts');
-- The two of a day, and the lost one of the same day, are together what came in only without the lost one.
SELECT pg_temp.bank(3, 5, ARRAY[10555], ARRAY['NONREF'], ARRAY['all of a day']) > 0 AS imported;
SELECT is((SELECT matched FROM payments.reconcile('giro')), 5::bigint, 'all open payouts of a day in one entry');
SELECT is_empty('SELECT FROM payments.payout_status WHERE missing <> 0', 'nothing is missing');
SELECT explained = 5 AS all_explained FROM payments.reconcile('tap') \gset
SELECT ok(:'all_explained', 'what was awaited is explained');
SELECT results_eq($$SELECT DISTINCT rule FROM payments.bank_match ORDER BY 1$$, $$VALUES ('payout by amount'), ('payout by reference'), ('payout by remittance'), ('payouts of a day')$$, 'each by its rule');

-- Two entries of the same amount: nobody guesses.
SELECT pg_temp.file(format(E'payout,t21,tr_21,,-88.00,0,EUR,,,%1$s,po_21\npayout,t22,tr_22,,-88.00,0,EUR,,,%1$s,po_22\n', pg_temp.day(7))) > 0 AS imported;
SELECT pg_temp.bank(4, 4, ARRAY[8800, 8800], ARRAY['NONREF', 'NONREF'], ARRAY['?', '??']) > 0 AS imported;
SELECT discovered FROM payments.reconcile('tap') \gset
SELECT is((SELECT discovered FROM payments.reconcile('giro')), 2::bigint, 'two that are alike are left to a person');
SELECT discrepancy_id AS d, batch_id AS b FROM payments.discrepancy WHERE psp = 'giro' AND status = 'open' AND theirs = 8800 ORDER BY 1 LIMIT 1 \gset
SELECT is(status, 'link', 'who links one') FROM payments.resolve_discrepancy(:d, 'link', 'phoned the bank', payout => 'po_22');
SELECT is((SELECT at_bank FROM payments.payout_status WHERE payout_ref = 'po_22'), 8800::bigint, 'it is at the bank');
SELECT pg_temp.balance('books', 'bank:giro') AS bank \gset
SELECT is(status, 'open', 'and takes it back') FROM payments.resolve_discrepancy(:d, 'reopen', 'wrong one');
SELECT is(pg_temp.balance('books', 'bank:giro'), :bank - 8800::bigint, 'with its posting');
SELECT is((SELECT at_bank FROM payments.payout_status WHERE payout_ref = 'po_22'), 0::bigint, 'it is not');
SELECT throws_ok(format($$SELECT payments.resolve_discrepancy(%s, 'link', 'x', payout => 'po_none')$$, :d), 'PY610', NULL, 'a payout that is not there');
SELECT is(status, 'adjust', 'money of somebody else') FROM payments.resolve_discrepancy((SELECT discrepancy_id FROM payments.discrepancy WHERE theirs = 777), 'adjust', 'a private deposit');
SELECT is(pg_temp.balance('default', 'suspense'), 777::bigint, 'stands in suspense');

-- ---------- another currency ----------

SELECT is(pg_temp.pay('p4', 20000, 'books', 'USD'), 'succeeded', 'a sale in dollars');
SELECT pg_temp.file(format(E'charge,t31,ch_31,pi_p4,180.00,5.00,EUR,200.00,USD,%1$s,po_31\npayout,t32,tr_31,,-175.00,0,EUR,,,%1$s,po_31\n', pg_temp.day(0))) > 0 AS imported;
SELECT is((SELECT count(*)::int FROM payments.reconcile('tap') r, payments.discrepancy d WHERE d.object_id LIKE '%p4%'), 0, 'agrees in dollars');
SELECT is(pg_temp.balance('books', 'psp_receivable:tap', 'USD'), 0::bigint, 'no dollars are left at the PSP'),
	is(pg_temp.balance('books', 'exchange', 'USD'), -20000::bigint, 'they were sold'), is(pg_temp.balance('books', 'exchange'), 18000::bigint, 'for euros'),
	is(pg_temp.balance('books', 'payout_clearing:tap'), 17500 + 8800 * 2::bigint, 'of which the payout is on its way');

-- ---------- too young to be a discrepancy ----------

-- What nothing explains agrees with nothing, however young it is.
SELECT matched AS before FROM payments.reconcile('giro') \gset
SELECT pg_temp.bank(5, 0, ARRAY[5000, 6000], ARRAY['NONREF', 'NONREF'], ARRAY['a friend pays', 'another']) > 0 AS imported;
SELECT run_id AS run, matched, discovered, waiting, waiting_until FROM payments.reconcile('giro') \gset
SELECT results_eq(format('VALUES (%L::bigint, %L::bigint, %L::bigint, %L::timestamptz)', :'matched', :'discovered', :'waiting', :'waiting_until'),
	format($$VALUES (%L::bigint, 0::bigint, 2::bigint, %L::timestamptz)$$, :'before', date_trunc('day', now(), 'UTC') + interval '4 days'), 'two entries wait for three whole days, and agree with nothing');
SELECT results_eq(format($$SELECT line FROM payments.reconciliation_report(%s) WHERE line ~ 'agree|Waiting'$$, :'run'),
	format($$VALUES (%L), (%L)$$, format('%s of 10 entries agree with our books; 0 told what was not booked yet.', :'before'),
		format('Waiting: 2 entries that nothing explains yet; the first is a discrepancy from %s 00:00 UTC on.', to_char(now() AT TIME ZONE 'UTC' + interval '4 days', 'YYYY-MM-DD'))), 'and the report says so');
SELECT pg_temp.file(format(E'payout,t41,tr_41,,-91.00,0,EUR,,,%s,po_41\n', pg_temp.day(0))) > 0 AS imported;
SELECT run_id AS run, waiting FROM payments.reconcile('tap') \gset
SELECT is(:waiting, 2, 'payouts of today wait for the bank');
SELECT ok(EXISTS (SELECT FROM payments.reconciliation_report(:run) WHERE line ~ 'Waiting: 2 payouts that no bank shows yet; the first is a discrepancy from'), 'its report says so');
INSERT INTO payments.discrepancy_kind SELECT kind, title, suggestion, '0', sla, description, false FROM payments.discrepancy_kind WHERE kind = 'unmatched_bank';
SELECT is((SELECT waiting FROM payments.reconcile('giro')), 2::bigint, 'without grace until the day is over');
DELETE FROM payments.discrepancy_kind WHERE NOT builtin;

-- ---------- the job

SELECT payments.create_psp('aaa', 'sandbox');
SELECT payments.import_settlement('aaa', 'csv', E'kind,gross,currency\nfee,-1.00,EUR\n');
INSERT INTO payments.posting_rule (event, leg, debit, credit, builtin) VALUES ('settled_fee', 1, 'no such account', 'psp_fees', false);
SELECT is((SELECT string_agg(concat_ws(' ', j ->> 'subject', j ->> 'watermark'), ', ') FROM payments._job_reconcile(NULL, NULL) j), '', 'the first step takes the lines');
SELECT is((SELECT string_agg(concat_ws(' ', j ->> 'subject', j ->> 'watermark'), ', ') FROM payments._job_reconcile(NULL, NULL) j),
	'reconciliation of aaa failed: PY207, aaa', 'a PSP that fails is a finding, and the job goes on behind it');
SELECT matches((SELECT string_agg(concat_ws(' ', j ->> 'run', j ->> 'watermark'), ', ') FROM payments._job_reconcile('aaa', NULL) j), '^[0-9]+ giro', 'with the next');
DELETE FROM payments.posting_rule WHERE NOT builtin;
SELECT is((SELECT string_agg(j ->> 'done', ', ') FROM payments._job_reconcile('giro', NULL) j), 'true', 'behind the last it is done');

-- ---------- what a person has decided, and a file explains since

SELECT payments.create_psp('zeta', 'sandbox');
-- A payout of 10.00 by the PSP's file, and a credit of 10.00 by the bank's, on a day.
CREATE FUNCTION pg_temp.paid_out(name text, days int) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('zeta', 'csv', format(E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at,payout_ref\npayout,%1$s,%1$s,-10.00,0,EUR,%2$s,%1$s\n', $1, pg_temp.day($2)))
$$;
CREATE FUNCTION pg_temp.came_in(number int, days int, said text) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('zbank', 'mt940', format(E':20:ST\n:25:DE02100100100006820101\n:28C:%1$s\n:60F:C%2$sEUR%4$s0,00\n:61:%2$s%3$sC10,00NTRFNONREF//Z%1$s\n:86:%5$s\n:62F:C%2$sEUR%6$s0,00\n',
		$1, pg_temp.swift($2), to_char(now() AT TIME ZONE 'UTC' - $2 * interval '1 day', 'MMDD'), $1 - 1, $3, $1))
$$;
CREATE FUNCTION pg_temp.decide(psp text, kind text, action text) RETURNS text LANGUAGE sql AS $$
	SELECT r.status FROM payments.resolve_discrepancy((SELECT discrepancy_id FROM payments.discrepancy d WHERE d.psp = $1 AND d.kind = $2 AND status = 'open'), $3, 'as far as we know') r
$$;
CREATE FUNCTION pg_temp.actions(psp text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(r.action, ' ' ORDER BY r.discrepancy_id, r.seq) FROM payments.discrepancy_resolution r JOIN payments.discrepancy_found d USING (discrepancy_id) WHERE d.psp = $1
$$;
SELECT pg_temp.balance('default', 'suspense') AS suspense \gset
SELECT pg_temp.came_in(1, 10, 'PAYOUT po_z1') > 0 AS imported;
SELECT discovered FROM payments.reconcile('zbank') \gset
SELECT is(pg_temp.decide('zbank', 'unmatched_bank', 'adjust'), 'adjust', 'money of an unknown payout is adjusted');
SELECT results_eq($$SELECT explained, still_open FROM payments.reconcile('zbank')$$, 'VALUES (0::bigint, 0::bigint)', 'and stays so');
SELECT is(pg_temp.balance('default', 'suspense'), :suspense + 1000::bigint, 'in suspense');
SELECT pg_temp.paid_out('po_z1', 11) > 0 AS imported;
SELECT discovered FROM payments.reconcile('zeta') \gset
SELECT results_eq($$SELECT matched, explained, still_open FROM payments.reconcile('zbank')$$, 'VALUES (1::bigint, 1::bigint, 0::bigint)', 'then the PSP''s file explains it');
SELECT is(pg_temp.balance('default', 'bank:zbank'), 1000::bigint, 'it is at the bank once'), is(pg_temp.balance('default', 'suspense'), :suspense::bigint, 'in suspense no longer'),
	is(pg_temp.actions('zbank'), 'adjust reopen explained', 'as the history of the decision says');

SELECT pg_temp.paid_out('po_z2', 11) > 0 AS imported;
SELECT discovered FROM payments.reconcile('zeta') \gset
SELECT is(pg_temp.decide('zeta', 'payout_missing', 'adjust'), 'adjust', 'a payout that did not come is written off');
INSERT INTO payments.discrepancy_kind (kind, title, suggestion, grace, sla, description, builtin) VALUES ('payout_missing', 'x', 'wait', '1 year', '3 days', 'x', false);
SELECT is((SELECT explained FROM payments.reconcile('zeta')), 0::bigint, 'another grace explains nothing');
DELETE FROM payments.discrepancy_kind WHERE NOT builtin;
SELECT pg_temp.came_in(2, 9, 'PAYOUT po_z2') > 0 AS imported;
SELECT is((SELECT matched FROM payments.reconcile('zbank')), 2::bigint, 'then it comes');
SELECT results_eq($$SELECT explained, still_open FROM payments.reconcile('zeta')$$, 'VALUES (1::bigint, 0::bigint)', 'which explains it');
SELECT is(pg_temp.balance('default', 'payout_clearing:zeta'), 0::bigint, 'nothing is on its way'), is(pg_temp.balance('default', 'bank:zbank'), 2000::bigint, 'both are at the bank');

SELECT pg_temp.came_in(3, 8, 'loan of the owner') > 0 AS imported;
SELECT discovered FROM payments.reconcile('zbank') \gset
SELECT is(pg_temp.decide('zbank', 'unmatched_bank', 'ignore'), 'ignore', 'an entry that is no business of ours');
SELECT pg_temp.came_in(4, 8, 'a deposit for po_z4') > 0 AS imported;
SELECT discovered FROM payments.reconcile('zbank') \gset
SELECT is(pg_temp.decide('zbank', 'unmatched_bank', 'accept'), 'accept', 'and one that names a payout that is not known yet');
SELECT pg_temp.paid_out('po_z3', 8) > 0 AND pg_temp.paid_out('po_z4', 9) > 0 AS imported;
SELECT results_eq($$SELECT matched, explained, still_open FROM payments.reconcile('zbank')$$, 'VALUES (3::bigint, 1::bigint, 0::bigint)', 'the second is matched by the payout''s number');
SELECT is((SELECT at_bank FROM payments.payout_status WHERE payout_ref = 'po_z3'), 0::bigint, 'the first by nothing, though it has the amount');
SELECT is(pg_temp.actions('zbank'), 'adjust reopen explained ignore accept reopen explained', 'and that is said');

-- ---------- a payout that has gone again, and one the other way

SELECT is((SELECT at_bank FROM payments.payout_status WHERE payout_ref = 'po_z4'), 1000::bigint, 'a payout is at the bank');
SELECT payments.import_settlement('zbank', 'mt940', format(E':20:ST\n:25:DE02100100100006820101\n:28C:5\n:60F:C%1$sEUR40,00\n:61:%1$s%2$sRC10,00NTRFNONREF//Z5\n:86:RETURN OF po_z4\n:62F:C%1$sEUR30,00\n',
	pg_temp.swift(7), to_char(now() AT TIME ZONE 'UTC' - 7 * interval '1 day', 'MMDD')));
SELECT is((SELECT discovered FROM payments.reconcile('zbank')), 1::bigint, 'which the bank takes back');
SELECT results_eq($$SELECT * FROM pg_temp.open('zbank')$$, $$VALUES ('payout_returned -/-1000')$$, 'as is said');
SELECT throws_ok(format('SELECT payments.resolve_discrepancy(%s, ''adjust'', ''x'')', discrepancy_id), 'PY610', NULL, 'that is not adjusted') FROM payments.discrepancy WHERE kind = 'payout_returned';
SELECT is(pg_temp.decide('zbank', 'payout_returned', 'link'), 'link', 'a person takes it from the bank');
SELECT is((SELECT at_bank FROM payments.payout_status WHERE payout_ref = 'po_z4'), 0::bigint, 'it is there no longer'), is(pg_temp.balance('default', 'bank:zbank'), 2000::bigint, 'nor in the books');
SELECT is(status, 'open', 'that can be taken back') FROM payments.resolve_discrepancy((SELECT discrepancy_id FROM payments.discrepancy WHERE kind = 'payout_returned'), 'reopen', 'no, it was another');
SELECT is((SELECT at_bank FROM payments.payout_status WHERE payout_ref = 'po_z4'), 1000::bigint, 'it is there again');
SELECT is(pg_temp.decide('zbank', 'payout_returned', 'link'), 'link', 'and done once more');
SELECT is((SELECT still_open FROM payments.reconcile('zbank')), 0::bigint, 'nothing is open');

SELECT payments.import_settlement('zeta', 'csv', format(E'kind,entry_id,gross,currency,occurred_at,payout_ref\npayout,turned,10.00,EUR,%1$s,po_turned\n', pg_temp.day(2)));
SELECT discovered FROM payments.reconcile('zeta') \gset
SELECT is((SELECT string_agg(o, ', ') FROM pg_temp.open('zeta') o WHERE o LIKE 'payout_turned%'), 'payout_turned -/1000', 'a payout above zero is asked about');
SELECT is((SELECT explained FROM payments.reconcile('zeta', from_time => now())), 0::bigint, 'and stays so in a run over another time');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'after all this every invariant holds');
SELECT * FROM finish();
ROLLBACK;
