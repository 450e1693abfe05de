-- If this fails, a settlement file that comes a second time, with other bytes, is
-- booked a second time and nobody is told; or a line is taken for one that was
-- there before, and money is lost.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('house', 'sandbox'), payments.create_psp('other', 'sandbox'), payments.create_psp('stripe', 'stripe', secret => 'x'),
	payments.create_psp('adyen', 'sandbox');

CREATE TYPE pg_temp.answer AS (lines int, known int, doubtful int, duplicate boolean);
CREATE FUNCTION pg_temp.import(psp text, format text, content text, options jsonb DEFAULT '{}') RETURNS pg_temp.answer LANGUAGE sql AS $$
	SELECT i.lines, i.known, i.doubtful, i.duplicate FROM payments.import_settlement($1, $2, $3, options => $4) i
$$;
CREATE FUNCTION pg_temp.reconcile(psp text) RETURNS bigint LANGUAGE sql AS $$ SELECT still_open FROM payments.reconcile($1) $$;
CREATE FUNCTION pg_temp.posted(psp text) RETURNS TABLE (event text, amount bigint) LANGUAGE sql AS $$
	SELECT p.event, sum(p.amount)::bigint FROM payments.settlement_posting p JOIN payments.settlement_batch b USING (batch_id) WHERE b.psp = $1 GROUP BY 1 ORDER BY 1
$$;
CREATE FUNCTION pg_temp.open(psp text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s/%s', d.kind, coalesce(d.ours::text, '-'), coalesce(d.theirs::text, '-')) FROM payments.discrepancy d WHERE d.status = 'open' AND d.psp = $1 ORDER BY 1
$$;

-- ---------- lines without an id of their own

\set head 'kind,psp_object_id,gross,fee,currency,occurred_at,payout_ref\n'
\set sale 'adjustment,a1,100.00,0.00,EUR,2026-11-28 10:00Z,po_5\n'
\set cost 'fee,f1,-5.00,0,EUR,2026-11-28 10:00Z,po_5\n'
\set out 'payout,tr_5,-95.00,0.00,EUR,2026-11-28 12:00Z,po_5\n'
CREATE FUNCTION pg_temp.csv(VARIADIC parts text[]) RETURNS text LANGUAGE sql AS $$ SELECT replace(array_to_string($1, ''), '\n', E'\n') $$;

SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', :'sale', :'cost', :'out'), '{"totals": "payout"}')::text, '(3,0,0,f)', 'a file');
SELECT is(pg_temp.reconcile('house'), 0::bigint, 'is posted');
SELECT is(pg_temp.import('house', 'csv', c.content, '{"totals": "payout"}')::text, '(3,3,0,t)', c.what)
FROM (VALUES ('the same', pg_temp.csv(:'head', :'sale', :'cost', :'out')),
	('with a byte order mark', U&'\FEFF' || pg_temp.csv(:'head', :'sale', :'cost', :'out')),
	('in another order', pg_temp.csv(:'head', :'out', :'cost', :'sale')),
	('in quotes', replace(pg_temp.csv(:'head', :'sale', :'cost', :'out'), 'po_5', '"po_5"')),
	('with other separators', replace(pg_temp.csv(:'head', :'sale', :'cost', :'out'), ',', ';')),
	('with other decimals', replace(pg_temp.csv(:'head', :'sale', :'cost', :'out'), '5.00', '5.0')),
	('in another time zone', replace(replace(pg_temp.csv(:'head', :'sale', :'cost', :'out'), '10:00Z', '11:00+01'), '12:00Z', '13:00+01')),
	('with its columns in another order, and one more', E'note,gross,payout_ref,kind,psp_object_id,currency,occurred_at\nx,100.00,po_5,adjustment,a1,EUR,2026-11-28 10:00Z\n'
		'y,-5.00,po_5,fee,f1,EUR,2026-11-28 10:00Z\nz,-95.00,po_5,payout,tr_5,EUR,2026-11-28 12:00Z\n')) c (what, content);
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', :'sale', :'out', :'cost'), '{"totals": "payout"}')::text, '(3,3,0,t)', 'whatever the session is set to');
RESET TimeZone;
RESET DateStyle;
SELECT is(pg_temp.reconcile('house'), 0::bigint, 'nothing differs');
SELECT results_eq($$SELECT * FROM pg_temp.posted('house')$$, $$VALUES ('settled_adjustment', -10000::bigint), ('settled_fee', 500), ('settled_payout', 9500)$$, 'and it is booked once');
SELECT is(pg_temp.import('other', 'csv', pg_temp.csv(:'head', :'sale', :'cost', :'out'))::text, '(3,0,0,f)', 'of another PSP it is another file');

-- Overlap.
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', :'cost', 'fee,f2,-2.00,0,EUR,2026-11-29 10:00Z,\n'))::text, '(2,1,0,f)', 'a file that overlaps: one known, one new');
SELECT results_eq($$SELECT known, doubtful FROM payments.settlement_batch ORDER BY batch_id DESC LIMIT 1$$, 'VALUES (1, 0)', 'as its batch says');
SELECT is(pg_temp.reconcile('house'), 0::bigint, 'nothing differs');
SELECT is((SELECT amount FROM pg_temp.posted('house') WHERE event = 'settled_fee'), 700::bigint, 'the new fee is booked, the other is not again');

-- Lines that are truly equal are as many as the file has.
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', 'fee,f3,-1.00,0,EUR,2026-11-30 10:00Z,\n', 'fee,f3,-1.00,0,EUR,2026-11-30 10:00Z,\n'))::text, '(2,0,0,f)', 'two that are equal are two');
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', repeat('fee,f3,-1.00,0,EUR,2026-11-30 10:00Z,\n', 3)))::text, '(3,2,0,f)', 'of three that are equal, the third is new');
SELECT is(pg_temp.reconcile('house'), 0::bigint, 'nothing differs');
SELECT is((SELECT amount FROM pg_temp.posted('house') WHERE event = 'settled_fee'), 1000::bigint, 'three in all');

-- The same told in other words: never dropped, never silent.
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', 'fee,f2,-2.50,0,EUR,2026-11-29 10:00Z,\n'))::text, '(1,0,1,f)', 'the same object and time with another amount');
SELECT is(pg_temp.import('house', 'csv', E'kind,gross,currency\nfee,-7.00,EUR\n')::text, '(1,0,0,f)', 'a line with nothing to tell it by');
SELECT is(pg_temp.import('house', 'csv', E'kind,gross,currency\nfee,-7.00,EUR\nfee,-8.00,EUR\n')::text, '(2,0,1,f)', 'and one like it');
SELECT results_eq($$SELECT discovered, still_open FROM payments.reconcile('house')$$, 'VALUES (2::bigint, 2::bigint)', 'both are asked about');
SELECT results_eq($$SELECT * FROM pg_temp.open('house')$$, $$VALUES ('doubtful_line -/-250'), ('doubtful_line -/-700')$$, 'as what they are');
SELECT results_eq($$SELECT discovered, explained, still_open FROM payments.reconcile('house', from_time => '2026-12-01')$$, 'VALUES (0::bigint, 0::bigint, 2::bigint)', 'and stay so in a run over another time');
SELECT throws_ok(format('SELECT payments.resolve_discrepancy(%s, ''adjust'', ''x'')', d), 'PY610', NULL, 'a doubt is not adjusted') FROM (SELECT min(discrepancy_id) AS d FROM payments.discrepancy WHERE psp = 'house') x;
SELECT is(status, 'accept', 'a person says that it is right') FROM payments.resolve_discrepancy((SELECT min(discrepancy_id) FROM payments.discrepancy WHERE psp = 'house'), 'accept', 'a second fee');
SELECT is(pg_temp.reconcile('house'), 1::bigint, 'and is not asked again');
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', 'fee,f2,-2.50,0,EUR,2026-11-29 10:00Z,\n', 'fee,f9,-1.00,0,EUR,2026-12-02 10:00Z,\n'))::text, '(2,1,0,f)', 'told once more it is known');

-- A payout with rows in two files.
SELECT is(pg_temp.import('house', 'csv', pg_temp.csv(:'head', 'payout,tr_5b,-95.00,0,EUR,2026-11-28 18:00Z,po_5\n', 'adjustment,a5,95.00,0,EUR,2026-11-28 18:00Z,po_5\n'))::text, '(2,0,0,f)', 'another row of a payout');
SELECT is(pg_temp.reconcile('house'), 2::bigint, 'is asked about');
SELECT results_eq($$SELECT * FROM pg_temp.open('house') o WHERE o LIKE 'payout%'$$, $$VALUES ('payout_twice -/19000')$$, 'though its lines make it');

-- ---------- one line in other words

SELECT payments.create_psp('dialect', 'sandbox');
SELECT payment_id AS paid FROM payments.create_payment('dialect-1', 10000, 'EUR', psp => 'dialect', payment_method => 'sandbox_ok') \gset
SELECT c.operation_id, c.attempt FROM payments.claim('d', psp => 'dialect', max => 1) c \gset
SELECT payments.complete(:'operation_id', :attempt, 200, '{}', convert_to('{"status": "succeeded"}', 'UTF8'));
SELECT object_id AS charge FROM payments.movement WHERE payment_id = :'paid' AND kind = 'capture' \gset
SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS today, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS minute \gset
SELECT is(pg_temp.import('dialect', 'csv', format(E'kind,psp_object_id,gross,fee,currency,occurred_at\ncharge,%s,100.00,1.00,EUR,%s\n', :'charge', :'minute'))::text, '(1,0,0,f)', 'a charge');
SELECT pg_temp.reconcile('dialect') >= 0 AS compared;
SELECT is((SELECT sum(amount) FROM payments.movement WHERE payment_id = :'paid' AND kind = 'fee'), 100::numeric, 'with its fee');
SELECT is(pg_temp.import('dialect', 'csv', c.content, c.options)::text, '(1,1,1,f)', c.what) FROM (VALUES
	('with a date for the time', format(E'kind,psp_object_id,gross,fee,currency,occurred_at\ncharge,%s,100.00,1.00,EUR,%s\n', :'charge', :'today'), '{}'::jsonb),
	('with a number', format(E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at\ncharge,e99,%s,100.00,1.00,EUR,%s\n', :'charge', :'minute'), '{}'),
	('by another word', format(E'type,psp_object_id,gross,fee,currency,occurred_at\nsale,%s,100.00,1.00,EUR,%s\n', :'charge', :'minute'), '{"kinds": {"sale": "charge"}}'),
	('without its fee', format(E'kind,psp_object_id,gross,currency,occurred_at,payout_ref\ncharge,%s,100.00,EUR,%s,po_d\n', :'charge', :'minute'), '{}')) c (what, content, options);
SELECT is(pg_temp.import('dialect', 'csv', format(E'kind,gross,psp_object_id,fee,currency,occurred_at\ncharge,100.00,%s,1.00,EUR,%s\n', :'charge', :'today'))::text, '(1,1,0,t)', 'asked about once: then it is known');
SELECT is(pg_temp.reconcile('dialect'), 4::bigint, 'each is asked about');
SELECT is((SELECT string_agg(DISTINCT kind, ' ') FROM payments.discrepancy WHERE psp = 'dialect' AND status = 'open'), 'doubtful_line', 'and none is a second charge');
SELECT is((SELECT sum(amount) FROM payments.movement WHERE payment_id = :'paid' AND kind = 'fee'), 100::numeric, 'the fee is booked once');
SELECT is(pg_temp.import('dialect', 'csv', format(E'kind,psp_object_id,gross,fee,currency,occurred_at\nfee,rent,-1.00,0,EUR,2026-11-%s 10:00Z\n', d))::text, '(1,0,0,f)', 'a fee of one name may come every day: ' || d) FROM unnest(ARRAY[27, 28]) d;
-- A second charge of one object that the PSP numbers is none in other words: it can be adjusted, and not refunded.
SELECT is(pg_temp.import('dialect', 'csv', format(E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at\ncharge,n1,second,7.00,0.50,EUR,%1$s\ncharge,n2,second,7.00,0.50,EUR,%1$s\n', :'minute'))::text, '(2,0,0,f)', 'one object twice, by two numbers');
SELECT pg_temp.reconcile('dialect') >= 0 AS compared;
SELECT status FROM payments.resolve_discrepancy((SELECT min(discrepancy_id) FROM payments.discrepancy WHERE psp = 'dialect' AND kind = 'missing_here'), 'create', 'sold by phone', merchant => 'default');
SELECT pg_temp.reconcile('dialect') >= 0 AS compared;
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', d.kind, d.suggestion), ', ') FROM payments.discrepancy d WHERE d.psp = 'dialect' AND d.status = 'open' AND d.theirs = 700), 'duplicate adjust', 'the second is suggested to be adjusted');
SELECT is(r.status, 'adjust', 'and can be') FROM payments.discrepancy d, payments.resolve_discrepancy(d.discrepancy_id, 'adjust', 'they owe it to us') r WHERE d.psp = 'dialect' AND d.kind = 'duplicate' AND d.status = 'open';

-- About nothing: told from others of its day by its text.
SELECT payments.create_psp('plain', 'sandbox');
SELECT is(pg_temp.import('plain', 'csv', E'kind,gross,currency,occurred_at,description\nfee,-5.00,EUR,2026-11-20,SMS package\n')::text, '(1,0,0,f)', 'a fee of a day');
SELECT is(pg_temp.import('plain', 'csv', E'kind,gross,currency,occurred_at,description\nfee,-5.00,EUR,2026-11-20,Card reader rental\n')::text, '(1,0,1,f)', 'another of that day and amount is not lost, and in doubt');
SELECT is(pg_temp.import('plain', 'csv', E'kind,description,gross,currency,occurred_at\nfee,SMS package,-5.00,EUR,2026-11-20\n')::text, '(1,1,0,t)', 'the first again is known');
SELECT is(pg_temp.reconcile('plain'), 1::bigint, 'one is asked about');
SELECT is((SELECT amount FROM pg_temp.posted('plain')), 1000::bigint, 'and both are booked');

-- Numbers in which card numbers were masked are the same to us, and none.
SELECT is(pg_temp.import('plain', 'csv', format(E'kind,entry_id,psp_object_id,gross,currency,n\ncharge,%1$s,%1$s,10.00,EUR,%2$s\n', id, n))::text, said, 'a masked number: ' || said)
FROM (VALUES (1, '4111112345741111', '(1,0,0,f)'), (2, '4111112346161111', '(1,0,1,f)')) v (n, id, said);
SELECT is(pg_temp.import('plain', 'csv', format(E'kind,entry_id,psp_object_id,gross,currency\ncharge,%1$s,%1$s,11.00,EUR\ncharge,%2$s,%2$s,11.00,EUR\n', '4111112345741111', '4111112346161111'))::text, '(2,0,0,f)', 'two in one file are two');
SELECT pg_temp.reconcile('plain') >= 0 AS compared;
SELECT results_eq($$SELECT DISTINCT object_id, suggestion FROM payments.discrepancy WHERE psp = 'plain' AND kind = 'missing_here'$$, $$VALUES (NULL, 'wait')$$, 'nothing is made of a masked number');

-- ---------- an id of its own

SELECT is(pg_temp.import('other', 'csv', E'entry_id,kind,gross,currency,psp_object_id\ne1,fee,-1.00,EUR,x\ne2,fee,-2.00,EUR,y\n')::text, '(2,0,0,f)', 'numbered lines');
SELECT is(pg_temp.import('other', 'csv', E'entry_id,kind,gross,currency,psp_object_id\ne2,fee,-2.00,EUR,y\ne1,fee,-1.00,EUR,\n')::text, '(2,2,0,t)', 'are known by their number');
SELECT is(pg_temp.import('other', 'csv', E'entry_id,kind,gross,currency\ne2,fee,-2.20,EUR\ne3,fee,-3.00,EUR\n')::text, '(2,1,1,f)', 'one with another amount is known, and in doubt');
SELECT is(pg_temp.import('other', 'csv', E'entry_id,kind,gross,currency\ne4,fee,-4.00,EUR\ne4,fee,-4.00,EUR\ne5,fee,-5.00,EUR\ne5,charge,-5.00,EUR\n')::text, '(4,2,1,f)', 'twice in one file: once; with another content: in doubt');
SELECT pg_temp.reconcile('other');
SELECT results_eq($$SELECT * FROM pg_temp.open('other')$$, $$VALUES ('doubtful_line -200/-220'), ('doubtful_line -500/-500')$$, 'which says what was there');
SELECT is((SELECT amount FROM pg_temp.posted('other') WHERE event = 'settled_fee'), 2000::bigint, 'what was first there counts');

-- ---------- Stripe: CSV and API, both ways round

CREATE FUNCTION pg_temp.entry(id text, category text, amount bigint, fee bigint, source jsonb, type text) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', id, 'object', 'balance_transaction', 'amount', amount, 'fee', fee, 'net', amount - fee, 'currency', 'eur',
		'created', 1790000000, 'available_on', 1790172800, 'type', type, 'reporting_category', category, 'source', source)::text
$$;
\set payout_head 'automatic_payout_id,balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,charge_id,payment_intent_id\n'
SELECT is(payments._feed_import('stripe', 'settlement', 'stripe_api', ARRAY['txn_2', 'txn_1'], ARRAY[
	pg_temp.entry('txn_2', 'dispute', -500, 1500, '{"id": "dp_1", "object": "dispute", "charge": "ch_1", "payment_intent": "pi_1"}', 'adjustment'),
	pg_temp.entry('txn_1', 'charge', 1000, 40, '{"id": "ch_1", "object": "charge", "amount": 1000, "currency": "eur", "payment_intent": "pi_1"}', 'charge')], 'feed'), 2, 'the feed tells first');
SELECT is(pg_temp.import('stripe', 'stripe_payout', pg_temp.csv(:'payout_head', 'po_1,txn_1,2026-09-21 14:13:20,eur,10.00,0.40,9.60,charge,ch_1,pi_1\n',
	'po_1,txn_2,2026-09-21 14:13:20,eur,-5.00,15.00,-20.00,dispute,ch_1,pi_1\n', 'po_1,txn_3,2026-09-21 15:00:00,eur,3.00,0.00,3.00,charge,ch_3,pi_3\n'))::text, '(3,2,0,f)', 'then the report of the payout');
SELECT is(pg_temp.import('stripe', 'stripe_balance', E'id,Type,Source,Amount,Fee,Net,Currency,Created (UTC)\ntxn_1,charge,ch_1,10.00,0.40,9.60,eur,2026-09-21 14:13:20\n'
	'txn_2,adjustment,dp_1,-5.00,15.00,-20.00,eur,2026-09-21 14:13:20\n')::text, '(2,2,0,t)', 'then the Dashboard, which has a vague word for the dispute');
SELECT is(payments._feed_import('stripe', 'settlement', 'stripe_api', ARRAY['txn_3'], ARRAY[
	pg_temp.entry('txn_3', 'charge', 300, 0, '{"id": "ch_3", "object": "charge", "amount": 300, "currency": "eur", "payment_intent": "pi_3"}', 'charge')], 'feed'), 0, 'and what the report told the feed does not tell again');
SELECT is(pg_temp.import('stripe', 'stripe_balance', E'id,Type,Amount,Fee,Net,Currency\ntxn_1,refund,10.00,0.40,9.60,eur\n')::text, '(1,1,1,f)', 'one that was a charge and is a refund now is in doubt');

-- ---------- Adyen, and a format of one's own

\set adyen_head 'Merchant Account,Psp Reference,Merchant Reference,Creation Date,TimeZone,Type,Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Net Currency,Net Debit (NC),Net Credit (NC),Commission (NC),Batch Number\n'
\set adyen_1 'Shop,PSP1,o-1,2026-11-16 10:00:00,CET,Settled,MOD1,EUR,,100.00,EUR,,99.00,1.00,42\n'
\set adyen_2 'Shop,,,2026-11-18 06:00:00,CET,MerchantPayout,TX1,,,,EUR,99.00,,,42\n'
SELECT is(pg_temp.import('adyen', 'adyen', pg_temp.csv(:'adyen_head', :'adyen_1', :'adyen_2'))::text, '(2,0,0,f)', 'Adyen''s batch');
SELECT is(pg_temp.import('adyen', 'adyen', pg_temp.csv(:'adyen_head', :'adyen_2', :'adyen_1'))::text, '(2,2,0,t)', 'in another order');
SELECT is(pg_temp.import('adyen', 'adyen', pg_temp.csv(:'adyen_head', replace(:'adyen_1', '99.00,1.00', '98.00,2.00'), replace(:'adyen_2', '99.00', '98.00')))::text, '(2,0,2,f)', 'with another commission: in doubt');
SELECT pg_temp.reconcile('adyen');
SELECT results_eq($$SELECT * FROM pg_temp.open('adyen') o WHERE o LIKE 'payout%' OR o LIKE 'doubt%'$$, $$VALUES ('doubtful_line -/-9800'), ('doubtful_line -/9800'), ('payout_twice -/19700')$$, 'and a payout in two files');

CREATE SCHEMA identity_test;
GRANT USAGE ON SCHEMA identity_test TO payments_owner;
CREATE FUNCTION identity_test.pairs(content text, options jsonb) RETURNS TABLE (line_no int, kind text, psp_object_id text, net numeric, currency text)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT n::int, 'fee', split_part(line, ' ', 1), split_part(line, ' ', 2)::numeric, 'EUR' FROM regexp_split_to_table(content, E'\n') WITH ORDINALITY l (line, n)
$$;
INSERT INTO payments.settlement_format (format, function, builtin) VALUES ('pairs', 'identity_test.pairs', false);
SELECT is(pg_temp.import('adyen', 'pairs', E'a -1.50\nb -2.50\n')::text, '(2,0,0,f)', 'a format of one''s own');
SELECT is(pg_temp.import('adyen', 'pairs', E'b -2.5\na -1.5\n')::text, '(2,2,0,t)', 'is known as well');

-- ---------- banks

\set mt ':20:ST\n:25:DE89370400440532013000\n:28C:1/1\n:60F:C261127EUR0,00\n:61:2611281128C95,00NTRFNONREF//B-1\n:86:PAYOUT po_5\n:61:2611281128C5,00NTRFNONREF\n:86:no reference\n:62F:C261128EUR100,00\n'
SELECT is(pg_temp.import('giro', 'mt940', pg_temp.csv(:'mt'))::text, '(2,0,0,f)', 'a statement');
SELECT is(pg_temp.import('giro', 'mt940', U&'\FEFF' || pg_temp.csv(:'mt'))::text, '(2,2,0,t)', 'with a byte order mark');
SELECT is(pg_temp.import('giro', 'mt940', replace(pg_temp.csv(:'mt'), ':20:ST', ':20:ANOTHER'))::text, '(2,2,0,t)', 'with another number of the message');
SELECT is(pg_temp.import('giro', 'mt940', replace(pg_temp.csv(:'mt'), ':86:PAYOUT po_5', E':86:PAYOUT\n po_5'))::text, '(2,2,0,t)', 'with its text in two lines');
SELECT pg_temp.reconcile('giro');
SELECT is((SELECT count(*)::int FROM payments._bank_open('giro') e), 1, 'each entry is there once, and one is matched');
SELECT is((SELECT sum(amount) FROM payments.bank_match), 9500::numeric, 'with the payout, once');
-- The next day, with an entry like one of today's.
SELECT is(pg_temp.import('giro', 'mt940', pg_temp.csv(replace(replace(replace(replace(:'mt', ':28C:1/1', ':28C:2/1'), ':62F:C261128EUR100,00', ':62F:C261128EUR105,00'), ':60F:C261127EUR0,00', ':60F:C261128EUR100,00'),
	E':61:2611281128C95,00NTRFNONREF//B-1\n:86:PAYOUT po_5\n', '')))::text,
	'(1,0,0,f)', 'an entry like another on the next statement is another');
SELECT is((SELECT count(*)::int FROM payments.discrepancy d WHERE d.psp = 'giro' AND kind = 'statement_overlap'), 0, 'and none lies across another');
-- The same account by a statement of both days.
SELECT is(pg_temp.import('giro', 'mt940', pg_temp.csv(':20:ST\n:25:DE89370400440532013000\n:28C:9\n:60F:C261127EUR0,00\n:61:2611281128C95,00NTRFNONREF//B-1\n:86:PAYOUT po_5\n'
	':61:2611281128C5,00NTRFNONREF\n:86:no reference\n:62F:C261129EUR100,00\n'))::text, '(2,1,1,f)', 'a statement across others: what has the bank''s reference is known');
SELECT pg_temp.reconcile('giro');
SELECT results_eq($$SELECT * FROM pg_temp.open('giro') o WHERE o LIKE 'statement%'$$, $$VALUES ('statement_overlap -/500')$$, 'what has none is asked about');

\set camt '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><GrpHdr><MsgId>M1</MsgId></GrpHdr><Stmt><Id>S1</Id><Acct><Id><IBAN>DE02100100100006820101</IBAN></Id><Ccy>EUR</Ccy></Acct><Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">0.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-27</Dt></Dt></Bal><Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">97.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-28</Dt></Dt></Bal><Ntry><Amt Ccy="EUR">95.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2026-11-28</Dt></BookgDt><AcctSvcrRef>B-77</AcctSvcrRef></Ntry><Ntry><Amt Ccy="EUR">2.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2026-11-28</Dt></BookgDt><NtryDtls><TxDtls><RmtInf><Ustrd>part 1</Ustrd></RmtInf></TxDtls><TxDtls><RmtInf><Ustrd>part 2</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry></Stmt></BkToCstmrStmt></Document>'
SELECT is(pg_temp.import('camt', 'camt053', :'camt')::text, '(4,0,0,f)', 'camt.053');
SELECT is(pg_temp.import('camt', 'camt053', replace(:'camt', 'M1', 'M2'))::text, '(4,4,0,t)', 'delivered again as another message');
SELECT is((SELECT string_agg(format('%s.%s %s', entry_no, detail_no, repeated), ', ' ORDER BY b.batch_id, entry_no, detail_no) FROM payments.bank_entry e JOIN payments.settlement_batch b USING (batch_id) WHERE b.psp = 'camt'),
	'1.0 f, 2.0 f, 2.1 f, 2.2 f, 1.0 t, 2.0 t, 2.1 t, 2.2 t', 'with the transactions of its bookings');
SELECT is(pg_temp.import('camt', 'camt053', replace(replace(:'camt', 'M1', 'M3'), '<Id>S1', '<Id>S2'))::text, '(4,1,3,f)', 'as another statement: the entry with the bank''s reference is known');
SELECT pg_temp.reconcile('camt');
SELECT results_eq($$SELECT * FROM pg_temp.open('camt') o WHERE o LIKE 'statement%'$$, $$VALUES ('statement_overlap -/200')$$, 'and it is said that it begins where the other did');
SELECT is(pg_temp.import('camt', 'mt940', pg_temp.csv(':20:ST\n:25:DE02100100100006820101\n:28C:1/1\n:60F:C261127EUR0,00\n:61:2611281128C95,00NTRFNONREF//B-77\n:86:other words\n:62F:C261128EUR95,00\n'))::text,
	'(1,1,0,t)', 'the same entry by MT940');

-- A bank that gives all of its entries one reference, and two pages of a day.
CREATE FUNCTION pg_temp.page(bank text, iban text, number text, opened text, closed text, entries text) RETURNS pg_temp.answer LANGUAGE sql AS $$
	SELECT pg_temp.import($1, 'mt940', format(E':20:ST\n:25:%s\n:28C:%s\n:60F:C%s\n%s:62F:C%s\n', $2, $3, $4, $6, $5))
$$;
\set one ':61:2611281128C10,00NTRFNONREF//0000000000\n:86:PAYOUT po_a\n'
\set two ':61:2611281128C10,00NTRFNONREF//0000000000\n:86:PAYOUT po_b\n'
SELECT payments.create_psp('pages', 'sandbox');
SELECT is(pg_temp.import('pages', 'csv', E'kind,entry_id,gross,currency,occurred_at,payout_ref\npayout,a,-10.00,EUR,2026-11-28,po_a\npayout,b,-10.00,EUR,2026-11-28,po_b\npayout,c,-10.00,EUR,2026-11-28,po_c\n')::text, '(3,0,0,f)', 'three payouts');
SELECT is(pg_temp.page('post', 'DE75512108001245126199', '7/1', '261127EUR0,00', '261128EUR10,00', pg_temp.csv(:'one'))::text, '(1,0,0,f)', 'the first page');
SELECT is(pg_temp.page('post', 'DE75512108001245126199', '7/2', '261128EUR10,00', '261128EUR20,00', pg_temp.csv(:'two'))::text, '(1,0,0,f)', 'on the second an entry with the same reference, amount and day is another: the balances say so');
SELECT is(pg_temp.page('post', 'DE75512108001245126199', '7/2', '261128EUR10,00', '261128EUR20,00', E'\n' || pg_temp.csv(:'two'))::text, '(1,1,0,t)', 'the second page again is known');
SELECT is(pg_temp.page('post', 'DE75512108001245126199', '7', '261127EUR0,00', '261128EUR20,00', pg_temp.csv(:'one', :'two'))::text, '(2,1,1,f)', 'both pages as one: held, since they lie across others');
SELECT is(pg_temp.page('post', 'DE75512108001245126199', '7/9', '261128EUR50,00', '261128EUR60,00', pg_temp.csv(replace(:'one', 'po_a', 'po_c')))::text, '(1,0,1,f)', 'of a page that follows none it may be the first one: in doubt');
SELECT pg_temp.reconcile('post');
SELECT results_eq($$SELECT payout_ref, at_bank FROM payments.payout_status WHERE psp = 'pages' ORDER BY 1$$, $$VALUES ('po_a', 1000::bigint), ('po_b', 1000), ('po_c', 0)$$, 'what is in doubt is matched with nothing');
SELECT results_eq($$SELECT * FROM pg_temp.open('post')$$, $$VALUES ('doubtful_line -/1000'), ('statement_overlap -/1000')$$, 'and asked about');
SELECT is(status, 'accept', 'one is said to be another') FROM payments.resolve_discrepancy((SELECT discrepancy_id FROM payments.discrepancy WHERE psp = 'post' AND kind = 'doubtful_line'), 'accept', 'it is on the paper');
SELECT is(status, 'ignore', 'the other to be the same') FROM payments.resolve_discrepancy((SELECT discrepancy_id FROM payments.discrepancy WHERE psp = 'post' AND kind = 'statement_overlap'), 'ignore', 'two pages printed as one');
SELECT is(pg_temp.reconcile('post'), 0::bigint, 'nothing is open');
SELECT is((SELECT sum(at_bank) FROM payments.payout_status WHERE psp = 'pages'), 3000::numeric, 'each payout is at the bank, once');

-- One day in two dialects: under numbers that look like pages of one statement, and with the opening balance dated by the evening before.
\set day '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt><Id>1</Id><Acct><Id><IBAN>IBAN</IBAN></Id><Ccy>EUR</Ccy></Acct><Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">0.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-28</Dt></Dt></Bal><Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">10.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-28</Dt></Dt></Bal><Ntry><Amt Ccy="EUR">10.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2026-11-28</Dt></BookgDt><AcctSvcrRef>2026112800077</AcctSvcrRef></Ntry></Stmt></BkToCstmrStmt></Document>'
SELECT is(pg_temp.page('both', 'DE12500105170648489890', '1/1', '261127EUR0,00', '261128EUR10,00', pg_temp.csv(:'one'))::text, '(1,0,0,f)', 'a day by MT940');
SELECT is(pg_temp.import('both', 'camt053', replace(:'day', 'IBAN<', 'DE12500105170648489890<'))::text, '(1,0,1,f)', 'the same by camt.053 is in doubt');
SELECT is(pg_temp.import('both', 'camt053', replace(replace(replace(replace(:'day', 'IBAN<', 'DE12500105170648489890<'), '2026-11-28', '2026-11-29'), '>10.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt>', '>20.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt>'), '"EUR">0.00', '"EUR">10.00'))::text,
	'(1,0,0,f)', 'the next day by camt.053 is not');

-- An account under a second name.
SELECT is(pg_temp.page('alias', 'DE12500105170648489890', '1/1', '261127EUR0,00', '261128EUR10,00', pg_temp.csv(:'one'))::text, '(1,0,1,f)', 'the same account under another name');
SELECT is(pg_temp.page('alias', 'DE12500105170648489890', '2/1', '261130EUR10,00', '261130EUR20,00', replace(pg_temp.csv(:'one'), '1128', '1130'))::text, '(1,0,1,f)', 'on another day as well');
SELECT pg_temp.reconcile('alias');
SELECT is(status, 'accept', 'until a person says that it may') FROM payments.resolve_discrepancy((SELECT max(discrepancy_id) FROM payments.discrepancy WHERE psp = 'alias'), 'accept', 'moved to another name');
SELECT is(pg_temp.page('alias', 'DE12500105170648489890', '3/1', '261201EUR20,00', '261201EUR30,00', replace(pg_temp.csv(:'one'), '1128', '1201'))::text, '(1,0,0,f)', 'then it is a name of the account');
SELECT is(pg_temp.page('both', 'DE12500105170648489890', '5/1', '261202EUR30,00', '261202EUR40,00', replace(pg_temp.csv(:'one'), '1128', '1202'))::text, '(1,0,0,f)', 'as the first is');

-- References in which card numbers were masked are the same to us, and none.
\set first '4111112345741111'
\set second '4111112346161111'
SELECT is(pg_temp.page('masked', 'DE91100000000123456789', n || '/1', opened, closed, pg_temp.csv(':61:2611281128C10,00NTRFNONREF//', ref, '\n:86:order\n'))::text, '(1,0,0,f)', 'a reference with a card number in it')
FROM (VALUES (1, '261128EUR0,00', '261128EUR10,00', :'first'), (2, '261128EUR10,00', '261128EUR20,00', :'second')) v (n, opened, closed, ref);
SELECT is(pg_temp.page('masked', 'DE91100000000123456789', '2/1', '261128EUR10,00', '261128EUR20,00', pg_temp.csv('\n:61:2611281128C10,00NTRFNONREF//', :'second', '\n:86:order\n'))::text, '(1,1,0,t)', 'again: known by all that it says');

SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() holds');
SELECT * FROM finish();
ROLLBACK;
