-- If this fails, a shop with many payouts of one amount cannot reconcile its bank
-- account: every entry is held against every payout, and it is not done in hours;
-- or entries are matched with payouts that others could have brought as well.

\ir ../lib/prelude.sql
\pset fieldsep '\n'
SELECT no_plan();

SELECT payments.create_psp('till', 'sandbox');
-- Days before today, and cents.
CREATE FUNCTION pg_temp.day(n int) RETURNS text LANGUAGE sql AS $$ SELECT to_char(now() AT TIME ZONE 'UTC' - n * interval '1 day', 'YYYY-MM-DD') $$;
CREATE FUNCTION pg_temp.payouts(prefix text, days int[], cents bigint[]) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement('till', 'csv', E'kind,entry_id,psp_object_id,gross,fee,currency,occurred_at,payout_ref\n'
		|| (SELECT string_agg(format(E'payout,%1$s%2$s,%1$s%2$s,-%3$s,0,EUR,%4$s 10:00Z,%1$s%2$s\n', $1, n, round(c / 100.0, 2), pg_temp.day(d)), '' ORDER BY n)
			FROM unnest($2, $3) WITH ORDINALITY u (d, c, n)), options => '{"totals": "none"}')
$$;
CREATE FUNCTION pg_temp.entries(bank text, days int[], cents bigint[]) RETURNS bigint LANGUAGE sql AS $$
	SELECT batch_id FROM payments.import_settlement($1, 'camt053', '<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>1</Id>'
		|| format('<Acct><Id><IBAN>%s</IBAN></Id><Ccy>EUR</Ccy></Acct>', CASE $1 WHEN 'giro' THEN 'DE89370400440532013000' ELSE 'DE02100100100006820101' END)
		|| '<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">0.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-01-01</Dt></Dt></Bal>'
		|| format('<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">%s</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>%s</Dt></Dt></Bal>',
			(SELECT round(sum(c) / 100.0, 2) FROM unnest($3) c), pg_temp.day(0))
		|| (SELECT string_agg(format('<Ntry><Amt Ccy="EUR">%s</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>%s</Dt></BookgDt><ValDt><Dt>%2$s</Dt></ValDt><AcctSvcrRef>%s%s</AcctSvcrRef></Ntry>',
				round(c / 100.0, 2), pg_temp.day(d), $1, n), E'\n' ORDER BY n)
			FROM unnest($2, $3) WITH ORDINALITY u (d, c, n))
		|| '</Stmt></BkToCstmrStmt></Document>')
$$;

-- ---------- the pairs are those of each against each ----------

SELECT setseed(0.7);
CREATE TEMP TABLE sample AS SELECT n, 5 + floor(random() * 12)::int AS day, 1 + floor(random() * 60)::bigint AS cents FROM generate_series(1, 120) n;
SELECT pg_temp.payouts('po_', array_agg(day ORDER BY n), array_agg(cents ORDER BY n)) > 0 AS imported FROM sample WHERE n <= 60;
SELECT pg_temp.entries('giro', array_agg(day ORDER BY n), array_agg(cents ORDER BY n)) > 0 AS imported FROM sample WHERE n > 60;
CREATE TEMP VIEW each AS
SELECT w.days, x.*, count(*) OVER (PARTITION BY w.days, x.batch_id, x.statement_no, x.entry_no) AS payouts, count(*) OVER (PARTITION BY w.days, x.payout_ref) AS entries
FROM (VALUES (0), (2), (5)) w (days), LATERAL (
	SELECT e.batch_id, e.statement_no, e.entry_no, p.payout_ref FROM payments._bank_open('giro') e JOIN payments._payouts_open() p
	ON p.left_over = e.left_over AND p.currency = e.currency AND e.value_date BETWEEN p.paid_at::date - w.days AND p.paid_at::date + w.days) x;
SELECT cmp_ok((SELECT count(*) FROM each WHERE payouts = 1 AND entries = 1), '>', 20::bigint, 'some are alone'), cmp_ok((SELECT count(*) FROM each WHERE payouts > 1 OR entries > 1), '>', 20::bigint, 'others are not');
SELECT set_eq($$SELECT w.days, b.batch_id, b.statement_no, b.entry_no, b.payout_ref FROM (VALUES (0), (2), (5)) w (days), payments._bank_pairs('giro', 'amount', make_interval(days => w.days), NULL) b$$,
	'SELECT days, batch_id, statement_no, entry_no, payout_ref FROM each WHERE payouts = 1 AND entries = 1', 'those that are alone are pairs');

-- ---------- many that are alike ----------

SELECT pg_temp.payouts('same_', array_fill(8, ARRAY[5000]), array_fill(4990::bigint, ARRAY[5000])) > 0 AS imported;
SELECT pg_temp.entries('post', array_fill(7, ARRAY[5000]), array_fill(4990::bigint, ARRAY[5000])) > 0 AS imported;
-- Each against each would be 25 million pairs, and gigabytes to sort.
SET temp_file_limit = '64MB';
CREATE FUNCTION pg_temp.cpu() RETURNS numeric LANGUAGE sql AS $$
	SELECT (split_part(s, ' ', 12)::numeric + split_part(s, ' ', 13)::numeric) / 100 FROM regexp_replace(pg_read_file('/proc/self/stat'), '^.*[)] ', '') s
$$;
SELECT pg_temp.cpu() AS before \gset
SELECT results_eq('SELECT matched, discovered FROM payments.reconcile(''post'')', 'VALUES (0::bigint, 5000::bigint)', 'nobody guesses which is which');
SELECT diag(format('5000 entries against 5000 payouts in %s s', pg_temp.cpu() - :before));
RESET temp_file_limit;
SELECT is((SELECT count(*) FROM payments._check_reconciliation() WHERE NOT ok), 0::bigint, 'check() finds nothing wrong');

SELECT * FROM finish();
