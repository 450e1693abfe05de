-- If this fails in production: an application gets others' payouts, or stops
-- captures and reconciliation for good, by opening an account or taking a
-- reference before the system needs it; or takes back what a PSP or bank has
-- done.

\ir ../lib/prelude.sql
-- Several tests in a row are several lines.
\pset fieldsep '\n'
BEGIN;
SELECT no_plan();

SELECT payments.create_merchant('books'), payments.create_merchant('toys'), payments.create_psp('till', 'sandbox');
CREATE FUNCTION pg_temp.raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate;
END
$$;
CREATE FUNCTION pg_temp.balance(merchant text, code text) RETURNS bigint LANGUAGE sql AS $$
	SELECT b.balance FROM payments.account a, payments.balance(a.account_id) b WHERE a.merchant = $1 AND a.code = $2 AND a.currency = 'EUR' AND a.from_template
$$;
CREATE FUNCTION pg_temp.told(psp text, lines text) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement($1, 'csv', E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at,payout_ref\n' || $2, options => '{"totals": "none"}')
$$;

-- ---------- accounts of templates ----------

SELECT is(pg_temp.raised(v.statement), 'PY015', 'not opened: ' || v.what)
FROM (VALUES ('one with a limit that stops captures', $$SELECT payments.create_account('psp_receivable:till', 'EUR', 'asset', max_balance => 0)$$),
	('of a PSP that does not exist yet', $$SELECT payments.create_account('psp_receivable:next', 'EUR', 'asset', max_balance => 0)$$),
	('of another type', $$SELECT payments.create_account('psp_receivable:till', 'EUR', 'income')$$),
	('with a history', $$SELECT payments.create_account('merchant_balance', 'EUR', 'liability', history => true)$$),
	('in parts', $$SELECT payments.create_account('merchant_balance', 'EUR', 'liability', hot => true, min_balance => 0, parts => 8)$$),
	('below another', $$SELECT payments.create_account('suspense', 'EUR', 'liability', parent => payments.create_account('all', 'EUR', 'liability'))$$),
	('of a bank', $$SELECT payments.create_account('bank:giro', 'EUR', 'liability')$$),
	('for exchanging', $$SELECT payments.create_account('exchange', 'EUR', 'equity', min_balance => 0)$$)) v (what, statement);
SELECT payments.create_account('merchant_balance', 'EUR', 'liability', 'books') AS balance \gset
SELECT results_eq(format('SELECT hot, from_template FROM payments.account WHERE account_id = %s', :balance), 'VALUES (true, true)', 'as the template has it, it is opened');
SELECT is(payments.create_account('merchant_balance', 'EUR', 'liability', 'books', hot => true), :balance::bigint, 'once');
SELECT is(pg_temp.raised(format('SELECT payments.close_account(%s)', :balance)), 'PY219', 'and not closed: captures could go nowhere');
SELECT is(pg_temp.raised(format('UPDATE payments.account SET from_template = false WHERE account_id = %s', :balance)), 'PY003', 'what it is does not change');
SELECT payments.create_account('purse', 'EUR', 'liability') AS purse \gset
SELECT results_eq(format('SELECT from_template FROM payments.account WHERE account_id = %s', :purse), 'VALUES (false)', 'others are not');

-- A code that a template is made for later.
SELECT payments.create_account('later', 'EUR', 'asset', max_balance => 0) AS squatted \gset
INSERT INTO payments.account_template (code, type, builtin) VALUES ('later', 'asset', false);
INSERT INTO payments.posting_rule (event, leg, debit, credit, builtin) VALUES ('own', 1, 'later', 'merchant_balance', false), ('none', 1, 'purse', 'merchant_balance', false);
SELECT payments._post_movements(ARRAY[100], ARRAY['own'], ARRAY['own:1'], 'default', 'till', 'EUR', NULL);
SELECT is(pg_temp.balance('default', 'later'), 100::bigint, 'movements go to the system''s own');
SELECT is((SELECT balance FROM payments.balance(:squatted)), 0::bigint, 'not to what somebody had opened');
SELECT is(pg_temp.raised($$SELECT payments._post_movements(ARRAY[100], ARRAY['none'], ARRAY['own:2'], 'default', 'till', 'EUR', NULL)$$), 'PY207', 'nor to any account without a template');
DELETE FROM payments.posting_rule WHERE NOT builtin;
DELETE FROM payments.account_template WHERE NOT builtin;

-- ---------- references ----------

SELECT payments.create_account('a', 'EUR', 'asset') AS a, payments.create_account('l', 'EUR', 'liability') AS l \gset
SELECT max(batch_id) + 1 AS next FROM (SELECT pg_temp.told('till', E'adjustment,x0,x0,1.00,0,EUR,2026-11-28 10:00Z,\n') AS batch_id) b \gset
-- All that anybody might guess, and what looks as if it were ours.
SELECT count(payments.post(:a, :l, 1, reference => r || n || e || s || l, kind => k)) > 0 AS taken
FROM unnest(ARRAY['settlement:', 'bank:', 'discrepancy:']) r, generate_series(:next - 1, :next + 3) n, unnest(ARRAY['', ':settled_fee:EUR', ':settled_payout:EUR', ':till:EUR', ':1']) e,
	unnest(ARRAY['', ':default']) s, unnest(ARRAY['', ':1']) l, unnest(ARRAY['settled_payout']) k;
SELECT pg_temp.told('till', E'fee,f1,f1,-5.00,0,EUR,2026-11-28 10:00Z,\npayout,p1,tr_1,-10.00,0,EUR,2026-11-28 10:00Z,po_1\n') AS batch \gset
SELECT results_eq($$SELECT still_open FROM payments.reconcile('till')$$, 'VALUES (0::bigint)', 'what a file books has references of its own');
SELECT is(pg_temp.balance('default', 'psp_fees'), 500::bigint, 'so its fee'), is(pg_temp.balance('default', 'payout_clearing:till'), 1000::bigint, 'and its payout are booked');
CREATE FUNCTION pg_temp.violated() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT invariant FROM payments._check_ledger() WHERE NOT ok UNION ALL SELECT invariant FROM payments._check_reconciliation() WHERE NOT ok
$$;
SELECT is_empty('SELECT pg_temp.violated()', 'check() is not taken in by what looks like it');
SELECT lives_ok(format('SELECT payments.reverse_posting(%s, %L)', (SELECT min(posting_id) FROM payments.posting WHERE kind = 'settled_payout' AND debit_account = :a), 'anybody''s'),
	'what a verb has posted is taken back by a verb, whatever it is called');

-- ---------- taking back ----------

SELECT is(pg_temp.raised(v.statement), 'PY212', v.what)
FROM (SELECT posting_id AS p FROM payments.posting WHERE reference = format('settlement:%s:settled_payout:EUR:default:1', :batch)
	AND debit_account <> :a) x, LATERAL (VALUES ('what a file has booked no verb takes back', format('SELECT payments.reverse_posting(%s, %L)', x.p, 'x')),
	('nor as a transaction', format('SELECT payments.reverse_transaction(%s, %L)', x.p, 'x'))) v (what, statement);
SELECT pg_temp.told('till', E'charge,c1,ch_1,7.00,0,EUR,2026-11-28 10:00Z,\ncharge,c2,ch_2,9.00,0,EUR,2026-11-28 10:00Z,\n') > 0 AS imported;
SELECT still_open AS open FROM payments.reconcile('till') \gset
SELECT is(:open::int, 2, 'two charges that nobody knows');
SELECT min(discrepancy_id) AS d, max(discrepancy_id) AS e FROM payments.discrepancy WHERE psp = 'till' AND status = 'open' \gset
SELECT payments.post(:a, :l, 1, reference => format('discrepancy:%s:%s', d, n), kind => 'settled_payout') > 0 AS taken FROM unnest(ARRAY[:d, :e]) d, generate_series(1, 5) n;
SELECT is(status, 'adjust', 'a person decides, whatever references are taken') FROM payments.resolve_discrepancy(:d, 'adjust', 'ours', merchant => 'books');
SELECT posting_id AS adjusted FROM payments.posting WHERE kind = 'adjustment' \gset
SELECT is(pg_temp.raised(format('SELECT payments.reverse_posting(%s, %L)', :adjusted, 'x')), 'PY212', 'what that has posted no verb takes back');
SELECT is(status, 'open', 'but the person') FROM payments.resolve_discrepancy(:d, 'reopen', 'not ours');
SELECT is((SELECT count(*)::int FROM payments.posting WHERE reverses = :adjusted), 1, 'by a reversal');
SELECT is(pg_temp.raised(format('SELECT payments.create_payment(%L, 100, %L)', k, 'EUR')), 'PY101', 'a key that a decision will need is nobody''s: ' || k)
FROM unnest(ARRAY['payments:adopted:till:ch_2', 'payments:']) k;
SELECT is(status, 'create', 'so the charge can be made a payment') FROM payments.resolve_discrepancy(:e, 'create', 'by phone', merchant => 'default');
SELECT is_empty('SELECT pg_temp.violated()', 'check() holds');

-- ---------- whose lines they are that name no payment ----------

SELECT payments.create_psp('second', 'sandbox');
SELECT payments.create_account('psp_receivable:second', 'EUR', 'asset', 'toys') > 0 AS opened;
SELECT payment_id FROM payments.create_payment('toys-1', 100, 'EUR', merchant => 'toys', psp => 'second', payment_method => 'sandbox_ok') \gset
SELECT pg_temp.told('second', E'fee,g1,g1,-3.00,0,EUR,2026-11-28 10:00Z,\npayout,q1,tr_q,-20.00,0,EUR,2026-11-28 10:00Z,po_q\n') > 0 AS imported;
SELECT still_open FROM payments.reconcile('second');
SELECT is(pg_temp.balance('default', 'payout_clearing:second'), 2000::bigint, 'not a merchant''s that has opened an account or made a payment');
SELECT is(pg_temp.balance('toys', 'payout_clearing:second'), NULL, 'who gets none of it');
SELECT payments.create_psp('second', 'sandbox', config => '{"merchant": "books"}');
SELECT pg_temp.told('second', E'fee,g2,g2,-4.00,0,EUR,2026-11-28 10:00Z,\n') > 0 AS imported;
SELECT still_open FROM payments.reconcile('second');
SELECT is(pg_temp.balance('books', 'psp_fees'), 400::bigint, 'but the one that the PSP''s row names');
SELECT is_empty('SELECT pg_temp.violated()', 'check() holds');

-- ---------- an account that takes no more ----------

-- As whoever posts to it for long enough can make it.
SELECT payments.create_psp('third', 'sandbox', config => '{"merchant": "books"}'), payments.create_account('psp_receivable:third', 'EUR', 'asset', 'books') AS full \gset
UPDATE payments.account SET debits = 4611686018427387904, credits = 4611686018427387904 WHERE account_id = :full;
SELECT pg_temp.told('third', E'fee,h1,h1,-3.00,0,EUR,2026-11-28 10:00Z,\nfee,h2,h2,-5.00,0,USD,2026-11-28 10:00Z,\n') > 0 AS imported;
SELECT lives_ok($$SELECT payments.reconcile('third')$$, 'keeps nothing else of the file from being posted');
SELECT results_eq($$SELECT p.posted_at IS NULL, p.problem, (SELECT string_agg(s.currency || ' ' || s.amount, ', ') FROM payments.settlement_posting s WHERE s.batch_id = p.batch_id)
	FROM payments.settlement_progress p WHERE p.psp = 'third'$$, format($$VALUES (true, 'settled_fee of merchant "books": counters of account %s ("psp_receivable:third") cannot take 300 more', 'USD 500')$$, :full),
	'and the file says what is left');
SELECT pg_temp.told('third', E'fee,h3,h3,-7.00,0,USD,2026-11-28 10:00Z,\n') > 0 AS imported;
SELECT lives_ok($$SELECT payments.reconcile('third')$$, 'nor later files');
SELECT is((SELECT sum(amount) FROM payments.settlement_posting WHERE event = 'settled_fee' AND currency = 'USD' AND merchant = 'books'), 1200::numeric, 'they are posted');
SELECT ok(bool_or(j ->> 'subject' LIKE 'settlement file % of third is not posted whole'), 'the job reports it each time')
FROM generate_series(1, 2), LATERAL payments._job_reconcile('second', NULL) j;
SELECT payments.create_psp('third', 'sandbox', config => '{"merchant": "toys"}');
SELECT still_open FROM payments.reconcile('third');
SELECT results_eq($$SELECT count(*) FILTER (WHERE posted_at IS NOT NULL), count(problem) FROM payments.settlement_progress WHERE psp = 'third'$$, 'VALUES (2::bigint, 0::bigint)', 'and is posted when it can be');
SELECT results_eq('SELECT pg_temp.violated()', $$VALUES ('sums of an account are those of its postings')$$, 'check() finds what we have made up, and no more');

-- ---------- whose an account is, a session remembers ----------

-- Of a name of 126 bytes it does not, and of more accounts than it has room for it begins anew.
SELECT payments.create_merchant(repeat('ö', 63)) IS NOT NULL AS made;
SELECT payments.create_account('a', 'EUR', 'asset', repeat('ö', 63)) AS oa, payments.create_account('l', 'EUR', 'liability', repeat('ö', 63)) AS ol \gset
INSERT INTO payments.account (merchant, code, currency, type) SELECT 'books', 'many ' || n, 'EUR', 'asset' FROM generate_series(1, 16400) n;
SELECT results_eq($$SELECT count(posting_id) FROM (SELECT array_agg(account_id) FILTER (WHERE account_id % 2 = 0) AS d, array_agg(account_id) FILTER (WHERE account_id % 2 = 1) AS c
	FROM payments.account WHERE code LIKE 'many %') x, payments.post_batch(x.d, x.c, array_fill(1::bigint, ARRAY[8200]))$$, 'VALUES (8200::bigint)', 'thousands in one call');
SELECT ok(payments.post(:oa, :ol, n) > 0, 'and others before and after') FROM generate_series(1, 3) n;

SELECT * FROM finish();
ROLLBACK;
