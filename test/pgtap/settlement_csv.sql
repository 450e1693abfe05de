-- If this fails, a file of a PSP that writes amounts in its own way cannot be
-- read, or is read as another amount; or who is told that a line cannot be read
-- does not see which, or sees a card number.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

\getenv here PAY_TEST_DIR
\if :{?here}
\else
\set here test
\endif
\cd :here
\set paypal `cat data/paypal.csv`

-- What comes of a file: its lines, or the error with its detail.
CREATE FUNCTION pg_temp.import(content text, options jsonb DEFAULT '{}', format text DEFAULT 'csv', psp text DEFAULT 'sandbox') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
	m text;
BEGIN
	RETURN (SELECT i.lines || ' lines' FROM payments.import_settlement(import.psp, import.format, import.content, options => import.options) i);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, m = MESSAGE_TEXT;
	RETURN sqlstate || ' ' || m || '|' || d;
END
$$;

-- ---------- groups, fees, columns

\set paypal_options '{"thousands": ",", "fee": "added", "dates": "MDY", "timezone": "PST", "totals": "none", "kinds": {"Express Checkout Payment": "charge", "Payment Refund": "refund", "General Withdrawal": "payout"}, "columns": {"occurred_at": "Date", "entry_id": "Transaction ID", "psp_object_id": "Transaction ID", "reference": "Invoice Number"}}'
SELECT is(pg_temp.import(:'paypal', :'paypal_options'), '3 lines', 'PayPal''s activity');
SELECT results_eq('SELECT kind, gross, fee, net, reference FROM payments.settlement_line ORDER BY line_no', $$VALUES
	('charge', 123450::bigint, 4330::bigint, 119120::bigint, 'order-1'), ('refund', -100000, -3500, -96500, 'order-1'), ('payout', -22620, 0, -22620, NULL)$$,
	'fees below zero cost, and one that is given back is none; groups');
SELECT alike(pg_temp.import(replace(:'paypal', '1,191.20', '1,277.80'), :'paypal_options'), 'PY602 line 2 of%gross 123450 less fee 4330 is not net 127780, in minor units|%', 'held to the sums');
SELECT is(pg_temp.import(E'kind,psp_object_id,gross,fee,net,currency\ncharge,' || o.id || ',' || o.gross || ',' || o.fee || E',,EUR\n', o.options::jsonb), o.says, o.options)
FROM (VALUES
	('g1', '"1.234,50"', '0', '{"decimal": ",", "thousands": "."}', '1 lines'),
	('g2', '"1 234,50"', '0', '{"decimal": ",", "thousands": " "}', '1 lines'),
	('g3', '1''234.50', '0', '{"thousands": "''"}', '1 lines'),
	('g4', '"1,234.50"', '1.00', '{"thousands": ",", "fee": "subtracted"}', '1 lines'),
	('g5', '"1,23.50"', '0', '{"thousands": ","}', 'PY602 line 2 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals and groups of three digits|charge,g5,"1,23.50",0,,EUR'),
	('g6', '"1,234.50"', '0', '{}', 'PY602 line 2 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals|charge,g6,"1,234.50",0,,EUR'),
	('g7', '1', '0', '{"thousands": "."}', '22023 options "decimal" and "thousands" are the same sign|'),
	('g8', '1', '0', '{"thousands": "_"}', '22023 option "thousands" has a value that is not known|'),
	('g9', '1', '0', '{"fee": "taken"}', '22023 option "fee" has a value that is not known|')
) o (id, gross, fee, options, says);
SELECT results_eq($$SELECT psp_object_id, gross, fee FROM payments.settlement_line WHERE psp_object_id ~ '^g' ORDER BY 1$$,
	$$VALUES ('g1', 123450::bigint, 0::bigint), ('g2', 123450, 0), ('g3', 123450, 0), ('g4', 123450, 100)$$, 'each the same amount');

-- A column that has the name of one of ours, and means another thing.
\set other 'kind,psp_object_id,gross,fee,currency,net\ncharge,n1,10.00,see contract,EUR,thirty days\n'
SELECT alike(pg_temp.import(:'other'), 'PY602 line 2 of%column "fee" is not an amount%', 'two columns that mean another thing');
SELECT is(pg_temp.import(:'other', '{"columns": {"fee": null, "net": null}}'), '1 lines', 'are left out when told so');
SELECT results_eq($$SELECT gross, fee, net, raw ->> 'fee' FROM payments.settlement_line WHERE psp_object_id = 'n1'$$, $$VALUES (1000::bigint, 0::bigint, 1000::bigint, 'see contract')$$, 'but for the raw row');
SELECT is(pg_temp.import(replace(:'other', 'n1', 'n2'), '{"columns": {"gross": null, "net": null}}'), 'PY602 line 1 of the settlement file cannot be read: the header has neither a column "gross" nor "net"|kind,psp_object_id,gross,fee,currency,net', 'not all of them');
SELECT payments.create_psp('stripe', 'stripe');
SELECT is(pg_temp.import('id,Type,Amount,Fee,Net,Currency', '{"columns": {"fee": null}}', 'stripe_balance', 'stripe'),
	'PY602 line 1 of the settlement file cannot be read: the options leave out column "fee", which the format needs|id,Type,Amount,Fee,Net,Currency', 'nor what a format needs');

-- ---------- the line that cannot be read

\set head 'kind,psp_object_id,gross,currency\ncharge,a,1.00,EUR\n'
SELECT is(pg_temp.import(:'head' || l.line), l.says, l.about)
FROM (VALUES
	(E'charge,b,1.005,EUR\ncharge,c,1.00,EUR\n', 'PY602 line 3 of the settlement file cannot be read: gross has three decimals, and EUR has not: is that a sign of thousands?|charge,b,1.005,EUR', 'an amount'),
	(E'charge,b\n', 'PY602 line 3 of the settlement file cannot be read: it has 2 fields, and the header has 4|charge,b', 'fields'),
	(E'charge,"b\nc",x,EUR\n', 'PY602 line 3 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals|charge,"b', 'one over two lines: its first'),
	(E'charge,4111 1111 1111 1111,x,EUR\n', 'PY602 line 3 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals|charge,4111 11** **** 1111,x,EUR', 'a card number'),
	(E'charge,' || repeat('é', 200) || E',x,EUR\n', 'PY602 line 3 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals|charge,' || repeat('é', 144) || '...', 'a long one'),
	(E'charge,a\tb,x,EUR\n', 'PY602 line 3 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals|charge,a b,x,EUR', 'with control characters')
) l (line, says, about);
SELECT is(pg_temp.import(E':20:S\n:25:A\n:60F:C261119EUR1,\n:61:261119X1,NTRF\n:62F:C261119EUR1,', format => 'mt940', psp => 'giro'),
	'PY602 line 4 of the settlement file cannot be read: the mark of an entry is none of C, D, RC and RD|:61:261119X1,NTRF', 'of a bank');
SELECT is(pg_temp.import('<Document/>', format => 'camt053', psp => 'giro'), 'PY602 line 1 of the settlement file cannot be read: its namespace is not that of camt.053|', 'of a document lines say little');
SELECT is(pg_temp.import('', psp => 'sandbox'), 'PY602 line 1 of the settlement file cannot be read: the file is empty|', 'and an empty file has none');
-- Cut off in the middle of a card number, neither half is one.
SELECT unalike(pg_temp.import(:'head' || repeat('x', s.n) || ' 4111111111111111,x,EUR' || E'\n'), '%411111111%', 'a card number at the cut')
FROM (VALUES (271), (285), (290)) s (n);

SELECT * FROM finish();
ROLLBACK;
