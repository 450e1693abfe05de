-- If this fails, what a PSP or a bank says about our money is stored wrongly, in
-- part, twice or not at all.  The files in test/data are made by hand and
-- have every type of row; the sums below are theirs, added up on paper.

\ir ../lib/prelude.sql
SELECT no_plan();

-- The files are read by the client: psql runs beside this script.
\getenv here PAY_TEST_DIR
\if :{?here}
\else
\set here test
\endif
\cd :here
\set stripe_payout `cat data/stripe_payout.csv`
\set stripe_balance `cat data/stripe_balance.csv`
\set stripe_payouts `cat data/stripe_payouts.csv`
\set stripe_default `cat data/stripe_default.csv`
\set adyen `cat data/adyen.csv`
\set generic `cat data/generic.csv`
\set mt940 `cat data/mt940.sta`
\set dialects `cat data/mt940_dialects.sta`
\set camt_02 `cat data/camt053_02.xml`
\set camt_04 `cat data/camt053_04.xml`
\set camt_08 `cat data/camt053_08.xml`

SELECT payments.create_psp('stripe', 'stripe'), payments.create_psp('adyen', 'sandbox');

-- The hint of the error that a statement raises.
CREATE FUNCTION pg_temp.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	h text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
	RETURN h;
END
$$;

-- ---------- Stripe

SELECT results_eq(format('SELECT lines, duplicate FROM payments.import_settlement(%L, %L, %L, %L)', 'stripe', 'stripe_payout', :'stripe_payout', 'payouts.csv'),
	'VALUES (15, false)', 'Stripe''s payout reconciliation');
SELECT results_eq(format('SELECT batch_id, lines, duplicate FROM payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_payout', :'stripe_payout'),
	'SELECT batch_id, 15, true FROM payments.settlement_batch', 'the same file again is the same batch');
SELECT results_eq(format('SELECT duplicate FROM payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_payout',
		replace(:'stripe_payout', E'\n', E'\r\n') || E'\r\n\r\n'), 'VALUES (true)', 'also as another system writes its lines');
SELECT is((SELECT count(*)::int FROM payments.settlement_batch), 1, 'one batch');
SELECT is((SELECT totals FROM payments.settlement_batch),
	'{"EUR": {"lines": 13, "gross": 217, "fee": 217, "net": 0}, "JPY": {"lines": 2, "gross": 1000, "fee": 43, "net": 957}}', 'its totals, by currency, in minor units');
SELECT results_eq('SELECT period_from, period_to, file_name, source, imported_by FROM payments.settlement_batch',
	$$VALUES ('2026-11-17 09:30:00+00'::timestamptz, '2026-11-20 00:00:00+00'::timestamptz, 'payouts.csv', 'psp', session_user::text COLLATE "default")$$, 'its period, name and origin');
SELECT results_eq('SELECT payout_ref, kind, type, net FROM payments.settlement_line ORDER BY line_no', $$VALUES
	('po_1A', 'charge', 'charge', 9825::bigint), ('po_1A', 'charge', 'charge', 879), ('po_1A', 'refund', 'refund', -4000),
	('po_1A', 'refund_failure', 'refund_failure', 500), ('po_1A', 'chargeback', 'dispute', -4000), ('po_1A', 'chargeback_reversal', 'dispute_reversal', 4000),
	('po_1A', 'fee', 'fee', -200), ('po_1A', 'reserve', 'risk_reserved_funds', -1000), ('po_1A', 'reserve_release', 'risk_reserved_funds', 350),
	('po_1A', 'adjustment', 'other_adjustment', -100), ('po_1A', 'transfer', 'transfer', -700), ('po_1A', 'unknown', 'a_category_of_2031', 46),
	('po_1A', 'payout', 'payout', -5600), ('po_2B', 'charge', 'charge', 1157), ('po_2B', 'charge', 'partial_capture_reversal', -200)$$,
	'every row, the unknown one too, in two payouts and two currencies');
SELECT results_eq('SELECT line_no, psp_object_id, psp_payment_id, reference, gross, fee, net, currency, original_amount, original_currency, occurred_at, available_at, description
	FROM payments.settlement_line WHERE line_no = 3',
	$$VALUES (3, 'ch_02', 'pi_02', 'ref-02', 921::bigint, 42::bigint, 879::bigint, 'EUR', 1000::bigint, 'USD', '2026-11-17 09:31:15+00'::timestamptz,
	'2026-11-19 00:00:00+00'::timestamptz, 'Order 2, "gift"')$$, 'a row with quotes, and a payer with another currency');
SELECT results_eq('SELECT line_no, psp_object_id, description FROM payments.settlement_line WHERE kind = ''refund'' AND currency = ''EUR''',
	$$VALUES (4, NULL, E'REFUND FOR CHARGE\nOrder 1')$$, 'a row over two lines has the number of the first; a refund does not take the charge''s id, nor the balance''s');
SELECT is((SELECT raw ->> 'payment_metadata[payments_ref]' FROM payments.settlement_line WHERE line_no = 2), 'ref-01', 'the row as it stood is kept');

SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L, options => %L)', 'stripe', 'stripe_balance', :'stripe_balance', '{"decimal": ","}'),
	'Stripe''s balance, of the Dashboard, with semicolons and decimal commas');
SELECT is((SELECT totals FROM payments.settlement_batch WHERE format = 'stripe_balance'),
	'{"EUR": {"lines": 11, "gross": 123351, "fee": 1812, "net": 121539}, "KWD": {"lines": 2, "gross": 3500, "fee": 150, "net": 3350}}', 'its totals; dinars have three decimals');
SELECT is((SELECT string_agg(l.kind, ' ' ORDER BY l.line_no) FROM payments.settlement_line l JOIN payments.settlement_batch b USING (batch_id) WHERE b.format = 'stripe_balance'),
	'charge charge refund payout payout_failure fee transfer reserve adjustment refund refund_failure payout_failure transfer', 'its types');

SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_balance', :'stripe_payouts'), 'Stripe''s list of payouts');
SELECT results_eq($$SELECT kind, entry_id, psp_object_id, payout_ref, net, occurred_at FROM payments.settlement_line WHERE payout_ref ~ 'po_8' ORDER BY line_no$$, $$VALUES
	('payout', 'txn_81', 'po_8A', 'po_8A', -5600::bigint, '2026-11-21 00:00:00+00'::timestamptz), ('payout', 'txn_82', 'po_8B', 'po_8B', -750, '2026-11-22 00:00:00+00'),
	('payout_failure', 'txn_83', 'po_8B', 'po_8B', 750, '2026-11-25 00:00:00+00')$$, 'each row is a payout, or one that came back');
SELECT throws_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_payout', replace(:'stripe_payouts', '_8', '_6')), 'PY602',
	'line 1 of the settlement file cannot be read: it is the list of payouts (payouts.itemized), without what is in them: format stripe_balance reads it', 'which is no payout reconciliation');

-- As the Dashboard has it when nobody asks for more: no charge could be found here.
SELECT throws_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_' || f, c), 'PY602',
	'line 3 of the settlement file cannot be matched: it is a charge, and no column says of which payment', 'default columns, as stripe_' || f)
FROM (VALUES ('payout'), ('balance')) v (f), (VALUES (:'stripe_default')) d (c);
SELECT is(pg_temp.hint(format('SELECT payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_payout', :'stripe_default')),
	'Nothing was imported. Switch on one of the columns "payment_intent_id", "payment_metadata[payments_ref]", "payment_metadata[order_ref]" when you export the file, and "source_id" as well.', 'the hint names them');
SELECT results_eq(format('SELECT lines, known FROM payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_payout', c), 'VALUES (3, 0)', 'with ' || k)
FROM (VALUES ('payment_intent_id', 'pi_92'), ('Payment_Metadata[payments_ref]', 'ref-92')) v (k, i), LATERAL (VALUES (regexp_replace(replace(replace(replace(replace(:'stripe_default',
	'description', 'description,' || k), 'Order 1', 'Order 1,' || i), 'usage fee', 'usage fee,'), 'PAYOUT', 'PAYOUT,'), '(txn|po)_9', E'\\1_' || i, 'g'))) d (c);
SELECT results_eq(format('SELECT lines, known FROM payments.import_settlement(%L, %L, %L, options => %L)', 'stripe', 'stripe_payout', replace(:'stripe_default', '_9', '_7'),
	'{"columns": {"reference": "description"}}'), 'VALUES (3, 0)', 'or with one that the options name');
SELECT results_eq(format('SELECT lines, known FROM payments.import_settlement(%L, %L, %L)', 'stripe', 'stripe_payout', replace(replace(:'stripe_default', '_9', '_7'), 'Order 1', 'Order one')),
	'VALUES (3, 3)', 'what is known already needs none');
SELECT results_eq($$SELECT psp_object_id, psp_payment_id FROM payments.settlement_line WHERE entry_id = 'txn_pi_922'$$, $$VALUES (NULL, 'pi_92')$$, 'what no column says is not made up');

-- ---------- Adyen

SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'adyen', 'adyen', :'adyen'), 'Adyen''s settlement details');
SELECT is((SELECT totals FROM payments.settlement_batch WHERE psp = 'adyen'), '{"EUR": {"lines": 22, "gross": 1035, "fee": 1035, "net": 0}}', 'its lines are its payout');
CREATE TEMP VIEW a AS SELECT l.* FROM payments.settlement_line l JOIN payments.settlement_batch b USING (batch_id) WHERE b.psp = 'adyen';
SELECT is((SELECT string_agg(type || '=' || kind || ' ' || net, ', ' ORDER BY line_no) FROM a),
	'Settled=charge 9850, Settled=charge 4500, Refunded=refund -3010, Chargeback=chargeback -2750, ChargebackReversed=chargeback_reversal 2000, '
	'SecondChargeback=chargeback -2000, RefundedReversed=refund_failure 1200, Fee=fee -321, MiscCosts=fee -100, PaymentCost=fee -12, InvoiceDeduction=fee -200, '
	'DepositCorrection=reserve -500, DepositCorrection=reserve_release 150, MatchedStatement=adjustment 80, ManualCorrected=adjustment -7, '
	'BankInstructionReturned=payout_failure 400, Balancetransfer=transfer 600, EpaPaid=transfer -220, PaidOut=transfer -825, PaidOutReversed=transfer 800, '
	'InvoiceOfNextYear=unknown 50, MerchantPayout=payout -9685', 'every type');
SELECT results_eq('SELECT psp_object_id, psp_payment_id, reference, gross, fee, net, currency, original_amount, original_currency, occurred_at, payout_ref FROM a WHERE line_no <= 3 ORDER BY line_no',
	$$VALUES ('MOD0000000000001', 'PSP0000000000001', 'order-1', 10000::bigint, 150::bigint, 9850::bigint, 'EUR', NULL::bigint, NULL, '2026-11-16 09:00:00+00'::timestamptz, 'DemoShop:42'),
	('MOD0000000000002', 'PSP0000000000002', 'order-2', 4600, 100, 4500, 'EUR', 5000, 'USD', '2026-07-16 08:00:00+00', 'DemoShop:42')$$,
	'fees in parts or as commission, another currency, local time in winter and summer');

-- ---------- any CSV

\set options '{"decimal": ",", "dates": "DMY", "timezone": "Europe/Berlin", "totals": "payout", "kinds": {"Verkauf": "charge", "Gutschrift": "refund", "Auszahlung": "payout"}, "columns": {"psp_object_id": "Beleg", "type": "Art", "occurred_at": "Datum", "reference": "Auftrag", "gross": "Betrag", "fee": "Gebühr", "currency": "Waehrung", "payout_ref": "Auszahlung"}}'
SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L, options => %L)', 'sandbox', 'csv', :'generic', :'options'), 'a CSV of nobody in particular');
SELECT results_eq($$SELECT l.kind, l.psp_object_id, l.reference, l.net, l.occurred_at, l.payout_ref FROM payments.settlement_line l JOIN payments.settlement_batch b USING (batch_id)
	WHERE b.psp = 'sandbox' ORDER BY l.line_no$$, $$VALUES
	('charge', 'B-1', 'A-100', 11662::bigint, '2026-10-31 22:30:00+00'::timestamptz, 'P-7'), ('charge', 'B-2', 'A-101', 1960, '2026-10-25 01:30:00+00', 'P-7'),
	('refund', 'B-3', 'A-100', -1900, '2026-11-01 09:00:00+00', 'P-7'), ('unknown', 'B-4', NULL, -122, '2026-11-01 10:00:00+00', 'P-7'),
	('payout', 'B-5', NULL, -11600, '2026-11-02 07:00:00+00', 'P-7')$$, 'columns by mapping, words by mapping, time by zone');

-- ---------- banks

SELECT results_eq(format('SELECT lines FROM payments.import_settlement(%L, %L, %L)', 'giro_mac', 'mt940', replace(:'mt940', E'\n', E'\r')), 'VALUES (5)', 'lines that end with CR alone');
SELECT throws_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'giro_x', 'mt940', E':20:S\n:25:A\n:60F:C261119EUR1,\n:61:261120C,01NTRFx\n:86:thanks\n:20:more\n:62F:C261119EUR1,01\n'),
	NULL, NULL, 'a statement that another begins in');
SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'giro_mt', 'mt940', :'mt940'), 'MT940');
SELECT results_eq($$SELECT statement_no, account, statement_id, currency, opening_balance, closing_balance, opening_date, closing_date, entries
	FROM payments.bank_statement WHERE batch_id = (SELECT batch_id FROM payments.settlement_batch WHERE psp = 'giro_mt') ORDER BY 1$$, $$VALUES
	(1, 'DE89370400440532013000', '00221/001', 'EUR', 100000::bigint, 332075::bigint, '2026-11-19'::date, '2026-11-20'::date, 4),
	(2, 'DE11520513735120710131', '00007/001', 'JPY', -500, 1000, '2026-11-19', '2026-11-20', 1)$$, 'two statements, F and M balances, an overdrawn one');
SELECT results_eq($$SELECT amount, reversal, booking_date, value_date, end_to_end_id, bank_reference, reference, remittance, counterparty, counterparty_account, code
	FROM payments.bank_entry WHERE batch_id = (SELECT batch_id FROM payments.settlement_batch WHERE psp = 'giro_mt') ORDER BY statement_no, entry_no$$, $$VALUES
	(237550::bigint, false, '2026-11-20'::date, '2026-11-20'::date, 'po_1A', 'BANK-0001', NULL, 'EREF+po_1ASVWZ+STRIPE PO_1A NOVEMBER', 'STRIPE PAYMENTS EUROPE', 'DE02120300000000202051', 'NTRF'),
	(-1200, false, '2026-11-20', '2026-11-20', NULL, NULL, 'KONTO-1', 'Kontoführung 11/2026', NULL, NULL, 'NCHG'),
	(-5000, true, '2026-11-20', '2026-11-20', NULL, 'BANK-0003', 'REF-3', '/EREF/NOTPROVIDED/REMI/Rueckgabe/', NULL, NULL, 'NRTI'),
	(725, true, '2027-01-02', '2026-12-31', NULL, NULL, NULL, NULL, NULL, NULL, 'FMSC'),
	(1500, false, '2026-11-20', '2026-11-20', 'e2e-77', NULL, 'REF-5', '/EREF/e2e-77/NAME/Acme KK/REMI/payout po_2B/', 'Acme KK', NULL, 'S103')$$,
	'credits, debits, reversals of both; subfields and code words; a booking in the next year');

SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'giro_dress', 'mt940', :'dialects'), 'MT940 as other banks dress it');
SELECT results_eq($$SELECT s.statement_no, s.account, s.statement_id, s.opening_balance, s.closing_balance, e.amount, e.booking_date, e.value_date, e.end_to_end_id, e.bank_reference, e.reference, e.remittance, e.counterparty, e.counterparty_account
	FROM payments.bank_statement s JOIN payments.settlement_batch b USING (batch_id) LEFT JOIN payments.bank_entry e USING (batch_id, statement_no) WHERE b.psp = 'giro_dress' ORDER BY 1, e.entry_no$$, $$VALUES
	(1, 'NL12SHOP0123456789 EUR', '00000/00', 100000::bigint, 107000::bigint, 5000::bigint, '2026-11-20'::date, '2026-11-20'::date, NULL, NULL, '0121470966', 'ORDER 1 PAYOUT po_1A OF HOUSE', 'A. Shop', NULL),
	(1, 'NL12SHOP0123456789 EUR', '00000/00', 100000, 107000, 2500, '2026-11-20', '2026-11-20', 'SHOP/2026/7', 'BANK-9', NULL, '/EREF/SHOP/2026/7/ORDP//NAME/HOUSE LTD/REMI/thank you/', 'HOUSE LTD', NULL),
	(1, 'NL12SHOP0123456789 EUR', '00000/00', 100000, 107000, -500, '2026-02-28', '2026-02-28', NULL, NULL, NULL, 'ACCOUNT FEES', 'SHOP BANK', 'PL01'),
	(2, 'NL12SHOP0123456789EUR', '00000/01', 107000, 107000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$,
	'trailers, names between messages, points, blanks, 30 February, several texts, fields that go on, other signs');

SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, %L)', 'giro_' || v, 'camt053', f), 'camt.053 version ' || v)
FROM (VALUES ('02', :'camt_02'), ('04', :'camt_04'), ('08', :'camt_08')) c (v, f);
CREATE TEMP VIEW c AS SELECT b.psp, e.* FROM payments.bank_entry e JOIN payments.settlement_batch b USING (batch_id) WHERE b.format = 'camt053';
SELECT is((SELECT count(DISTINCT x.said)::int FROM (SELECT jsonb_agg(to_jsonb(c) - 'psp' - 'batch_id' - 'raw' - 'xid' - 'identity' - 'doubtful' ORDER BY statement_no, entry_no, detail_no) AS said FROM c GROUP BY c.psp) x), 1, 'the three versions say the same');
SELECT results_eq($$SELECT statement_no, entry_no, detail_no, status, amount, currency, reversal, booking_date, value_date, end_to_end_id, bank_reference, reference, remittance, counterparty, counterparty_account, code
	FROM c WHERE psp = 'giro_08' ORDER BY 1, 2, 3$$, $$VALUES
	(1, 1, 0, 'booked', 237550::bigint, 'EUR', false, '2026-11-20'::date, '2026-11-20'::date, 'po_1A', 'BANK-0001', NULL, 'STRIPE PAYOUT po_1A <November>', 'Stripe Payments & Co', 'DE02120300000000202051', 'PMNT/RCDT/ESCT'),
	(1, 2, 0, 'booked', -1200, 'EUR', false, '2026-11-20', '2026-11-20', NULL, NULL, NULL, 'Kontoführung', NULL, NULL, 'NCHG'),
	(1, 3, 0, 'booked', -5000, 'EUR', true, '2026-11-20', '2026-11-20', NULL, 'BANK-0003', 'RF18539007547034', NULL, 'Customer', NULL, NULL),
	(1, 4, 0, 'booked', 3000, 'EUR', false, '2026-11-20', '2026-11-21', NULL, 'BANK-0004', NULL, NULL, NULL, NULL, NULL),
	(1, 4, 1, 'booked', 1000, 'EUR', false, '2026-11-20', '2026-11-21', 'e2e-1', NULL, NULL, 'Invoice 1', NULL, NULL, NULL),
	(1, 4, 2, 'booked', 2000, 'EUR', false, '2026-11-20', '2026-11-21', 'e2e-2', NULL, NULL, 'Invoice 2', NULL, NULL, NULL),
	(1, 5, 0, 'booked', -9175, 'EUR', false, '2026-11-20', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(1, 6, 0, 'pending', 500, 'EUR', false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(2, 1, 0, 'booked', 500, 'JPY', false, '2026-11-20', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$,
	'a payout, charges, a reversal, a booking of two transactions, a pending one, another account');
SELECT results_eq($$SELECT DISTINCT opening_balance, closing_balance, entries FROM payments.bank_statement JOIN payments.settlement_batch b USING (batch_id) WHERE b.format = 'camt053' AND statement_no = 1$$,
	'VALUES (100000::bigint, 325175::bigint, 6)', 'balances');
SELECT matches((SELECT raw ->> 'text' FROM c WHERE psp = 'giro_08' AND entry_no = 4 AND detail_no = 2), '^<TxDtls>.*Invoice 2.*</TxDtls>$', 'a transaction''s raw text is its own');
SELECT unalike((SELECT raw ->> 'text' FROM c WHERE psp = 'giro_08' AND entry_no = 4 AND detail_no = 0), '%Invoice%', 'and the booking''s is without it');

-- ---------- encodings

SELECT is(payments.settlement_text(convert_to('Gebühr €', 'UTF8')), 'Gebühr €', 'bytes are UTF-8');
SELECT is(payments.settlement_text(convert_to('Gebühr', 'LATIN1'), 'LATIN1'), 'Gebühr', 'or what is said');
SELECT is(payments.settlement_text(convert_to('Gebühr €', 'WIN1252'), 'windows-1252'), 'Gebühr €', 'by any of its names');
SELECT is(payments.settlement_text(convert_to(format('<?xml version="1.0" encoding=%s?><a>ü</a>', e.quoted), e.name)), format('<?xml version="1.0" encoding=%s?><a>ü</a>', e.quoted), 'an XML file says ' || e.quoted)
FROM (VALUES ('"ISO-8859-1"', 'LATIN1'), ($$'windows-1252'$$, 'WIN1252'), ('"utf-8"', 'UTF8')) e (quoted, name);
SELECT is(payments.settlement_text('<?xml version="1.0" encoding="US-ASCII"?><a/>'), '<?xml version="1.0" encoding="US-ASCII"?><a/>', 'US-ASCII is a part of UTF-8');
SELECT is(payments.settlement_text(convert_to('<?xml encoding="ISO-8859-1"?>€', 'WIN1252'), 'WIN1252'), '<?xml encoding="ISO-8859-1"?>€', 'what the caller says wins');
SELECT is(payments.settlement_text(''), '', 'nothing');
SELECT is(payments.settlement_text(NULL, 'LATIN1'), NULL, 'null');
SELECT throws_ok($$SELECT payments.settlement_text(convert_to(E'a\nb\nGebühr', 'LATIN1'))$$, 'PY602', 'line 3 of the settlement file cannot be read: it is not UTF8', 'where it is not');
SELECT throws_ok($$SELECT payments.settlement_text(decode('61000a', 'hex'))$$, 'PY602', 'line 1 of the settlement file cannot be read: it is not UTF8', 'a byte of zero');
SELECT throws_ok($$SELECT payments.settlement_text(decode('6100', 'hex'), 'LATIN1')$$, 'PY602', 'line 1 of the settlement file cannot be read: it is not LATIN1', 'nowhere');
SELECT throws_ok($$SELECT payments.settlement_text(decode('fffe61000a00', 'hex'))$$, 'PY602', 'line 1 of the settlement file cannot be read: it is not of bytes, but UTF-16', 'nor UTF-16');
SELECT throws_ok($$SELECT payments.settlement_text('a', 'EBCDIC')$$, '22023', 'encoding "EBCDIC" is not known', 'an encoding of nobody');
SELECT results_eq($$SELECT lines, duplicate FROM payments.import_settlement('sandbox', 'csv', payments.settlement_text(convert_to(E'kind,psp_object_id,gross,currency\ncharge,Gebühr,10.00,EUR\n', 'LATIN1'), 'LATIN1'))$$,
	'VALUES (1, false)', 'a file in Latin-1');
SELECT results_eq($$SELECT lines, duplicate FROM payments.import_settlement('sandbox', 'csv', E'kind,psp_object_id,gross,currency\ncharge,Gebühr,10.00,EUR\n')$$,
	'VALUES (1, true)', 'is the same in UTF-8');

-- The declaration stays as it is; what it says was true of the bytes.
SELECT lives_ok(format('SELECT payments.import_settlement(%L, %L, payments.settlement_text(%L))', 'giro_latin', 'camt053',
	convert_to(regexp_replace(:'camt_02', 'encoding="[^"]*"', 'encoding="ISO-8859-1"'), 'LATIN1')), 'camt.053 in Latin-1');
SELECT is((SELECT remittance FROM c WHERE psp = 'giro_latin' AND entry_no = 2 AND statement_no = 1), 'Kontoführung', 'reads as it was meant');

-- ---------- they stay

SELECT throws_ok(format('UPDATE payments.%I SET batch_id = 0', t), 'PY003', NULL, t || ' does not change') FROM unnest(ARRAY['settlement_batch', 'settlement_line', 'bank_statement', 'bank_entry']) t;
SELECT throws_ok(format('DELETE FROM payments.%I', t), 'PY003', NULL, t || ' does not shrink') FROM unnest(ARRAY['settlement_batch', 'settlement_line', 'bank_statement', 'bank_entry']) t;
SELECT throws_ok(format('TRUNCATE payments.%I', t), 'PY003', NULL, t || ' is not emptied') FROM unnest(ARRAY['settlement_batch', 'settlement_line', 'bank_statement', 'bank_entry']) t;
SET datestyle = 'German';
SELECT cmp_ok(payments.seal_blocks(), '>', 0, 'they are sealed');
SET datestyle = 'ISO';
SELECT is((SELECT string_agg(kind, ' ') FROM payments.verify()), 'ok', 'whatever DateStyle is set');

SELECT * FROM finish();
