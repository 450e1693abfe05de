-- If this fails, half of a settlement file gets in, a file that was tampered
-- with is believed or reads the server's files, a card number is stored, or
-- somebody's format function runs with the rights of payments_owner.

\ir ../lib/prelude.sql
SELECT no_plan();

SELECT payments.create_psp('stripe', 'stripe');

-- A file of format csv: header, then these lines.
CREATE FUNCTION pg_temp.csv(VARIADIC lines text[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT E'kind,psp_object_id,payout_ref,gross,fee,net,currency,occurred_at\n' || array_to_string(lines, E'\n') || E'\n'
$$;
-- What comes of it.
CREATE FUNCTION pg_temp.import(content text, options jsonb DEFAULT '{}', format text DEFAULT 'csv', psp text DEFAULT 'sandbox') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
	m text;
	h text;
BEGIN
	RETURN (SELECT i.lines || ' lines' FROM payments.import_settlement(import.psp, import.format, import.content, options => import.options) i);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, m = MESSAGE_TEXT, h = PG_EXCEPTION_HINT;
	-- The line itself, which PY602 shows, is looked at in settlement_csv.sql.
	RETURN sqlstate || ' ' || m || CASE WHEN d <> '' AND sqlstate <> 'PY602' THEN ' ' || d ELSE '' END || CASE WHEN h = '' THEN ' (no hint)' ELSE '' END;
END
$$;

-- ---------- lines: whole, exact, with number and reason

SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10.00,0.50,9.50,EUR,2026-11-20', 'charge,c2,,10.00,0.50,9.51,EUR,2026-11-20')),
	'PY602 line 3 of the settlement file cannot be read: gross 1000 less fee 50 is not net 951, in minor units', 'gross - fee = net');
SELECT is((SELECT count(*)::int FROM payments.settlement_line), 0, 'and of such a file nothing is kept');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10.005,,10.005,EUR,')), 'PY602 line 2 of the settlement file cannot be read: gross has three decimals, and EUR has not: is that a sign of thousands?', 'thousands are not cents');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10.0051,,,EUR,')), 'PY602 line 2 of the settlement file cannot be read: gross 10.0051 is too large, or has more decimals than EUR', 'never rounded');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10.5,,,JPY,')), 'PY602 line 2 of the settlement file cannot be read: gross 10.5 is too large, or has more decimals than JPY', 'nor in yen');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,"10,50",,,EUR,')), 'PY602 line 2 of the settlement file cannot be read: column "gross" is not an amount with "." before its decimals', 'a decimal comma has to be announced');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,9999999999999999,,,EUR,')), 'PY602 line 2 of the settlement file cannot be read: gross 9999999999999999 is too large, or has more decimals than EUR', 'too large');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10,,,XQQ,')), 'PY602 line 2 of the settlement file cannot be read: its currency "XQQ" is not known', 'currency');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10,,,,')), 'PY602 line 2 of the settlement file cannot be read: there is no currency', 'no currency');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,,1,,EUR,')), 'PY602 line 2 of the settlement file cannot be read: neither gross nor net is given', 'no amount');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10,,,EUR,20.11.2026')), 'PY602 line 2 of the settlement file cannot be read: column "occurred_at" is not a time in the order YMD', 'time');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10,,,EUR')), 'PY602 line 2 of the settlement file cannot be read: it has 7 fields, and the header has 8', 'a field is missing');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10,,,EUR,', 'charge,"c2,,10,,,EUR,')), 'PY602 line 3 of the settlement file cannot be read: it begins a quoted field that does not end', 'the file broke off');
SELECT is(pg_temp.import(''), 'PY602 line 1 of the settlement file cannot be read: the file is empty', 'nothing');
SELECT is(pg_temp.import(E'a,A\n1,2\n'), 'PY602 line 1 of the settlement file cannot be read: columns 1 and 2 of the header have the same name', 'two columns of a name');
SELECT is(pg_temp.import('x,y', format => 'stripe_payout', psp => 'stripe'), 'PY602 line 1 of the settlement file cannot be read: the header has no column "balance_transaction_id"', 'another file than announced');
SELECT is(pg_temp.import(pg_temp.csv(), '{"columns": {"fee": "Fees"}}'), 'PY602 line 1 of the settlement file cannot be read: the header has no column "Fees", which the options name for fee', 'a mapping to nowhere');
SELECT is(pg_temp.import(E'charge,c1,10.00,EUR\n'), 'PY602 line 1 of the settlement file cannot be read: the header has neither a column "gross" nor "net"', 'a line where the header belongs');
SELECT is(pg_temp.import(pg_temp.csv('charge,c1,,10,,,EUR,'), o.options), '22023 ' || o.says, o.options::text)
FROM (VALUES
	('{"columns": {"gros": "gross"}}'::jsonb, 'option "columns" names "gros", which no line has'),
	('{"columns": {"gross": 4}}', 'option "columns" must be an object of at most 200 strings'),
	('{"columns": ["gross"]}', 'option "columns" must be an object of at most 200 strings'),
	('{"columns": 4}', 'option "columns" must be an object of at most 200 strings'),
	('{"kinds": {"Sale": "sale"}}', 'option "kinds" names "sale", which is no kind of a line'),
	('{"kinds": {"Sale": null}}', 'option "kinds" must be an object of at most 200 strings'),
	('{"amounts": "cents"}', 'psp or format is missing, or options is no JSON object, or its amounts or totals is not known')
) o (options, says);
SELECT is(pg_temp.import(E':20:X\n', format => 'mt940'), '22023 "sandbox" is a PSP, and format "mt940" is of bank statements '
	|| 'reconcile() would take its lines for those of the PSP, and never look at the bank''s.', 'a bank account with the name of a PSP');

-- ---------- what is fine

SELECT is(pg_temp.import(pg_temp.csv()), '0 lines', 'a day without anything');
SELECT is(pg_temp.import(pg_temp.csv('charge,u1,,10.00,,,JPY,', 'charge,u2,,1.2500,,,EUR,', 'other,u3,,,0.10,-0.10,eur,')), '3 lines', 'decimals that are zero, two amounts of three');
SELECT results_eq($$SELECT kind, type, gross, fee, net, currency FROM payments.settlement_line WHERE psp_object_id LIKE 'u_' ORDER BY line_no$$,
	$$VALUES ('charge', 'charge', 10::bigint, 0::bigint, 10::bigint, 'JPY'), ('charge', 'charge', 125, 0, 125, 'EUR'), ('unknown', 'other', 0, 10, -10, 'EUR')$$, 'exactly');
SELECT is(pg_temp.import(pg_temp.csv('charge,m1,,500,0,500,ISK,', 'charge,m2,,500,0,500,JPY,', 'charge,m3,,500,0,500,EUR,', 'charge,m4,,5000,0,5000,KWD,', 'charge,m5,,7,0,7,MGA,'), '{"amounts": "minor"}', psp => 'stripe'),
	'5 lines', 'amounts in the PSP''s minor units');
SELECT is((SELECT string_agg(gross || ' ' || currency, ', ' ORDER BY line_no) FROM payments.settlement_line WHERE psp_object_id LIKE 'm_'),
	'5 ISK, 500 JPY, 500 EUR, 5000 KWD, 700 MGA', 'are ours by that PSP''s decimals');
SELECT is(pg_temp.import(pg_temp.csv('charge,m6,,501,0,501,ISK,'), '{"amounts": "minor"}', psp => 'stripe'),
	'PY602 line 2 of the settlement file cannot be read: gross 501 is too large, or has more decimals than ISK', 'and a króna has no aurar');
-- Every currency, there and back.
SELECT is_empty($$
	SELECT c.currency FROM payments.currency c
	WHERE payments._settlement_amount(1, c.currency, c.exponent, NULL, 12345::numeric / 10::numeric ^ c.exponent) <> 12345
	OR payments._settlement_amount(1, c.currency, c.exponent, c.exponent, 12345) <> 12345$$, 'each currency by its own decimals');

-- ---------- totals

SELECT is(pg_temp.import(pg_temp.csv('charge,t1,p1,10,0,10,EUR,', 'payout,t2,p1,-9,0,-9,EUR,'), '{"totals": "payout"}'),
	'PY603 the settlement file does not add up The lines of payout "p1" make 10.00 EUR, and the payout is 9.00 EUR.', 'lines make the payout');
SELECT is(pg_temp.import(pg_temp.csv('charge,t1,p1,10,0,10,EUR,', 'payout,t2,p1,-10,0,-10,EUR,', 'charge,t3,p2,5,0,5,EUR,'), '{"totals": "payout"}'), '3 lines', 'a payout that the file does not name cannot be checked');
SELECT is(pg_temp.import(pg_temp.csv('charge,e1,p1,10,0,10,EUR,'), '{"expected": {"lines": 2}}'), 'PY603 the settlement file does not add up It has 1 lines, and 2 were expected.', 'expected lines');
SELECT is(pg_temp.import(pg_temp.csv('charge,e1,p1,10,0,10,EUR,'), '{"expected": {"net": {"EUR": 1001}}}'), 'PY603 the settlement file does not add up Its lines make 10.00 EUR, and 10.01 EUR were expected.', 'expected sum');
SELECT is(pg_temp.import(pg_temp.csv('charge,e1,p1,10,0,10,EUR,'), '{"expected": {"payouts": {"p1": 999}}}'), 'PY603 the settlement file does not add up The lines of payout "p1" make 10.00 EUR, and 9.99 EUR were expected.', 'expected payout');
SELECT is(pg_temp.import(pg_temp.csv('charge,e1,p1,10,0,10,EUR,'), '{"expected": {"payouts": {"p9": 1000}}}'), 'PY603 the settlement file does not add up It has no line of payout "p9".', 'expected payout that is not there');
SELECT is(pg_temp.import(pg_temp.csv('charge,e1,p1,10,0,10,EUR,'), '{"expected": {"lines": 1, "net": {"EUR": 1000}, "payouts": {"p1": 1000}}}'), '1 lines', 'as expected');

-- ---------- calls

SELECT is(pg_temp.import('x', format => 'pdf'), 'PY601 settlement format "pdf" does not exist', 'format');
SELECT is(pg_temp.import('x', psp => 'nobody'), 'PY401 PSP "nobody" does not exist', 'PSP');
SELECT is(pg_temp.import('x', format => 'mt940', psp => 'My Bank'), '22023 the name of the bank account is not a simple name', 'name of an account');
SELECT is(pg_temp.import('x', '{"decimals": ","}'), '22023 option "decimals" is not known to this format', 'an option that nobody reads');
SELECT is(pg_temp.import('x', '{"timezone": "Atlantis"}'), '22023 option "timezone" is not the name of a time zone', 'zone');
SELECT is(pg_temp.import('x', '{"decimal": "x"}'), '22023 option "decimal" has a value that is not known', 'decimal');
SELECT is(pg_temp.import('x', '[]'), '22023 psp or format is missing, or options is no JSON object, or its amounts or totals is not known', 'options');
SELECT is(pg_temp.import(NULL), '22023 content is missing, and this transaction has staged no lines', 'no file');
SELECT is(pg_temp.import(pg_temp.csv('charge,e1,p1,10,0,10,EUR,')), (SELECT 'PY604 the settlement file was imported with another format or other options Batch ' || batch_id || ', format "csv", options '
	|| '{"expected": {"net": {"EUR": 1000}, "lines": 1, "payouts": {"p1": 1000}}}.' FROM payments.settlement_batch WHERE options ? 'expected'), 'a file is read once, in one way');
SELECT is(pg_temp.import(repeat(E'x\n', 70 * 1024 * 1024)), 'PY608 the settlement file has 146800640 bytes, and 134217728 are possible', 'too large');

-- ---------- attacks by XML

CREATE TEMP TABLE log AS SELECT clock_timestamp() AS started;
SELECT is(pg_temp.import(E'<?xml version="1.0"?>\n<!DOCTYPE lolz [<!ENTITY a "lollollollollollollollollollol">' ||
	(SELECT string_agg(format('<!ENTITY %s "%s">', chr(97 + i), repeat('&' || chr(96 + i) || ';', 10)), '') FROM generate_series(1, 20) i) || ']><Document>&u;</Document>', format => 'camt053', psp => 'bank'),
	'PY602 line 2 of the settlement file cannot be read: a document type is refused: it can name entities and files', 'entities that grow to 10^21 bytes');
SELECT is(pg_temp.import('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document>&x;</Document>', format => 'camt053', psp => 'bank'),
	'PY602 line 1 of the settlement file cannot be read: a document type is refused: it can name entities and files', 'a file of the server');
SELECT is(pg_temp.import('<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><Document/>', format => 'camt053', psp => 'bank'),
	'PY602 line 1 of the settlement file cannot be read: a document type is refused: it can name entities and files', 'a request of the server');
SELECT is(pg_temp.import('<Document>' || '&x;' || '</Document>', format => 'camt053', psp => 'bank'),
	'PY602 line 1 of the settlement file cannot be read: its namespace is not that of camt.053', 'no namespace');
SELECT matches(pg_temp.import('<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt>&xxe;</BkToCstmrStmt></Document>', format => 'camt053', psp => 'bank'),
	'^PY602 line 1 of the settlement file cannot be read: it is not XML: .*xxe', 'an entity of nobody');
SELECT is(pg_temp.import('<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">' || repeat('<a>', 100000), format => 'camt053', psp => 'bank'),
	'PY602 line 1 of the settlement file cannot be read: elements are nested more than 64 deep', 'deeper than any statement');
SELECT is(pg_temp.import('<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt><Acct><Id><IBAN>X</IBAN></Id></Acct></Stmt></BkToCstmrStmt></Document>', format => 'camt053', psp => 'bank'),
	'PY602 line 1 of the settlement file cannot be read: a statement has no account or no currency', 'a statement of nothing');
SELECT is(pg_temp.import('<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt><Acct><Id><IBAN>X</IBAN></Id><Ccy>EUR</Ccy></Acct></Stmt></BkToCstmrStmt></Document>', format => 'camt053', psp => 'bank'),
	'0 lines', 'a statement without a movement');
SELECT cmp_ok(clock_timestamp() - started, '<', interval '2 min', 'all of that in no time, not in that of 10^21 bytes') FROM log;

-- A file that is refused in its middle leaves nothing of the parser behind: the memory is not the server's own.
CREATE FUNCTION pg_temp.pages() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT split_part(pg_read_file('/proc/self/statm'), ' ', 2)::bigint
$$;
CREATE FUNCTION pg_temp.refuse(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	file text := '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt>'
		|| (SELECT string_agg(format('<x%s a%s="1"/>', i, i), '') FROM generate_series(1, 2000) i) || '<Stmt></Document>';
BEGIN
	FOR i IN 1..n LOOP
		BEGIN
			PERFORM payments._settlement_camt053(file, '{}');
		EXCEPTION WHEN SQLSTATE 'PY602' THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT pg_temp.refuse(20);
SELECT pg_temp.pages() AS before \gset
SELECT pg_temp.refuse(200);
SELECT cmp_ok(pg_temp.pages() - :before, '<', 2500::bigint, 'nor do 200 that are broken off leave their parser behind');

-- ---------- card numbers

SELECT is(pg_temp.import(pg_temp.csv('charge,4111111111111111,order 5555 5555 5555 4444,10,0,10,EUR,')), '1 lines', 'a file with card numbers is taken');
SELECT is((SELECT coalesce(psp_object_id, 'none') || '|' || payout_ref || '|' || (raw ->> 'psp_object_id') FROM payments.settlement_line WHERE raw ->> 'psp_object_id' LIKE '4%'),
	'none|order 5555 55** **** 4444|411111******1111', 'and they are masked, in columns and in the raw row');
SELECT unalike(pg_temp.import(pg_temp.csv('charge,x,,4111111111111111,0,10,EUR,')), '%4111111111111111%', 'no error shows one');

-- ---------- staging

BEGIN;
INSERT INTO payments.settlement_staging (line) VALUES ('kind,psp_object_id,gross,currency'), ('charge,s1,10.00,EUR'), ('charge,4111111111111111,5.00,EUR');
SELECT is((SELECT line FROM payments.settlement_staging ORDER BY line_no DESC LIMIT 1), 'charge,411111******1111,5.00,EUR', 'what is staged is masked');
SELECT results_eq($$SELECT lines, duplicate FROM payments.import_settlement('sandbox', 'csv')$$, 'VALUES (2, false)', 'lines that were copied');
SELECT is((SELECT count(*)::int FROM payments.settlement_staging), 0, 'are removed');
COMMIT;
SELECT results_eq($$SELECT duplicate FROM payments.import_settlement('sandbox', 'csv', E'kind,psp_object_id,gross,currency\ncharge,s1,10.00,EUR\ncharge,4111111111111111,5.00,EUR\n')$$, 'VALUES (true)', 'the same file, passed at once');
INSERT INTO payments.settlement_staging (line) VALUES ('left behind');
SELECT is(pg_temp.import(NULL), '22023 content is missing, and this transaction has staged no lines', 'another transaction''s lines are not taken');

-- ---------- plug-ins

CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO payments_owner;
CREATE FUNCTION shop.pairs(content text, options jsonb) RETURNS TABLE (line_no int, kind text, psp_object_id text, net numeric, currency text, raw jsonb)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT l.n::int, 'charge', split_part(l.line, ' ', 1), split_part(l.line, ' ', 2)::numeric, 'EUR', jsonb_build_object('line', l.line)
	FROM regexp_split_to_table(content, E'\n') WITH ORDINALITY l (line, n)
$$;
INSERT INTO payments.settlement_format (format, function, builtin) VALUES ('pairs', 'shop.pairs', false);
SELECT is(pg_temp.import(E'a 1.50\nb 2.50\n', format => 'pairs'), '2 lines', 'a format of somebody''s own, in SQL, with the columns it has');
SELECT results_eq($$SELECT psp_object_id, gross, fee, net, raw FROM payments.settlement_line WHERE raw ? 'line' ORDER BY line_no$$,
	$$VALUES ('a', 150::bigint, 0::bigint, 150::bigint, '{"line": "a 1.50"}'::jsonb), ('b', 250, 0, 250, '{"line": "b 2.50"}')$$, 'its lines');
SELECT is(pg_temp.import(E'a 1.509\n', format => 'pairs'), 'PY602 line 1 of the settlement file cannot be read: net has three decimals, and EUR has not: is that a sign of thousands?', 'held to the same rules');
ALTER FUNCTION shop.pairs SECURITY INVOKER;
SELECT is(pg_temp.import(E'a 1.51\n', format => 'pairs'), 'PY601 function shop.pairs of settlement format "pairs" is not SECURITY DEFINER', 'it never gets the rights of payments_owner');
UPDATE payments.settlement_format SET builtin = true WHERE format = 'pairs';
SELECT is(pg_temp.import(E'a 1.51\n', format => 'pairs'), 'PY601 function shop.pairs of settlement format "pairs" is not SECURITY DEFINER', 'nor when it says to be ours');
SELECT current_setting('search_path') AS path_before \gset
-- An operator that a function slips under ours through the path it leaves behind.
CREATE FUNCTION shop.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'run as %', current_user; END$$;
CREATE OPERATOR shop.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shop.equal);
CREATE FUNCTION shop.path(content text, options jsonb) RETURNS TABLE (record text, line_no int, statement_no int, entry_no int, account text, amount numeric, currency text, opening_balance numeric, closing_balance numeric)
	LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM set_config('search_path', 'shop, pg_catalog', true);
	RETURN QUERY VALUES ('statement', 1, 1, NULL::int, 'X', NULL::numeric, 'EUR', 1.00, 3.00), ('entry', 2, 1, 1, NULL, 2.00, 'EUR', NULL::numeric, NULL);
END
$$;
INSERT INTO payments.settlement_format (format, function, source, builtin) VALUES ('path', 'shop.path', 'bank', false);
SELECT is(pg_temp.import('path', format => 'path', psp => 'bank'), '1 lines', 'the path that it leaves is not ours');
SELECT is(current_setting('search_path'), :'path_before', 'nor the session''s');
ALTER FUNCTION shop.path SET search_path = pg_catalog, pg_temp;
SELECT is(pg_temp.import('path of its own', format => 'path', psp => 'bank'), '1 lines', 'nor with a path of its own');
SELECT is(current_setting('search_path'), :'path_before', 'nor then the session''s');
DELETE FROM payments.settlement_format WHERE format = 'pairs';
INSERT INTO payments.settlement_format (format, function, builtin) VALUES ('pairs', 'shop.nothing', false);
SELECT is(pg_temp.import(E'a 1.51\n', format => 'pairs'), 'PY601 function shop.nothing(text, jsonb) of settlement format "pairs" does not exist', 'a function that is not there');
CREATE DOMAIN shop.sum AS numeric;
CREATE FUNCTION shop.domain(content text, options jsonb) RETURNS TABLE (line_no int, net shop.sum) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT 1, 1';
UPDATE payments.settlement_format SET function = 'shop.domain' WHERE format = 'pairs';
SELECT is(pg_temp.import('a', format => 'pairs'), 'PY601 function shop.domain of settlement format "pairs" returns columns of other types net is shop.sum, and must be numeric', 'no casts, which could be anybody''s');
CREATE FUNCTION shop.statement(content text, options jsonb) RETURNS TABLE (record text, line_no int, statement_no int, entry_no int, account text, amount numeric, currency text, opening_balance numeric, closing_balance numeric)
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	VALUES ('statement', 1, 1, NULL::int, 'X', NULL::numeric, 'EUR', 1.00, 4.00), ('entry', 2, 1, 1, NULL, 2.00, 'EUR', NULL::numeric, NULL)
$$;
INSERT INTO payments.settlement_format (format, function, source, builtin) VALUES ('wrong_bank', 'shop.statement', 'bank', false);
SELECT is(pg_temp.import('a', format => 'wrong_bank', psp => 'bank'), 'PY603 the settlement file does not add up Statement 1: opening balance 1.00 EUR and booked entries 2.00 EUR do not make closing balance 4.00 EUR.', 'books of others are added up too');
SELECT throws_ok($$INSERT INTO payments.settlement_format (format, function, builtin) VALUES ('adyen', 'shop.pairs', false)$$, '42501', 'settlement format "adyen" is a shipped one', 'a name of ours is ours');
SELECT throws_ok($$UPDATE payments.settlement_format SET format = 'stripe_api' WHERE format = 'path'$$, '42501', NULL, 'by no way');
INSERT INTO payments.settlement_format (format, function) VALUES ('internal', 'payments._seal_row'), ('mine', 'payments._settlement_csv');
SELECT is(pg_temp.import('a', format => 'internal'), 'PY601 function payments._seal_row of settlement format "internal" is none that reads files', 'of ours what reads files, and no other');
SELECT is(pg_temp.import(E'kind,psp_object_id,gross,currency\ncharge,mine,10.00,EUR\n', format => 'mine'), '1 lines', 'which another name may name');

-- What a format function calls, its owner calls; and nothing of it is left.
CREATE ROLE tap_settlement_admin IN ROLE payments_admin;
CREATE ROLE tap_settlement_operator IN ROLE payments_operator;
GRANT CREATE, USAGE ON SCHEMA shop TO tap_settlement_admin;
SET ROLE tap_settlement_admin;
CREATE FUNCTION shop.deep(content text, options jsonb) RETURNS TABLE (line_no int, kind text, description text, net numeric, currency text)
	LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	said text := content;
BEGIN
	PERFORM set_config('search_path', 'shop, pg_catalog', false), set_config('shop.left', 'behind', false);
	BEGIN
		EXECUTE content;
	EXCEPTION WHEN OTHERS THEN
		said := sqlstate;
	END;
	RETURN QUERY VALUES (1, 'charge', current_user || ' ' || said, 1.00, 'EUR');
END
$$;
INSERT INTO payments.settlement_format (format, function) VALUES ('deep', 'shop.deep');
RESET ROLE;
CREATE TABLE shop.later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
GRANT ALL ON shop.later TO tap_settlement_admin;
CREATE FUNCTION pg_temp.deep(content text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	batch bigint := batch_id FROM payments.import_settlement('sandbox', 'deep', content);
BEGIN
	RETURN (SELECT description FROM payments.settlement_line WHERE batch_id = batch);
END
$$;
SET ROLE tap_settlement_operator;
SELECT is(pg_temp.deep(v.call), 'tap_settlement_admin ' || v.said, v.name)
FROM (VALUES
	('SELECT payments.redrive(NULL, false, NULL)', '42501', 'a verb is called by the function''s owner, not by who imports'),
	('SET ROLE payments_owner', '42501', 'no other role'),
	('CREATE TEMP TABLE t (n int)', '42501', 'no temporary table'),
	('LISTEN shop', '42501', 'nothing to listen to'),
	('DECLARE c CURSOR WITH HOLD FOR SELECT 1', '42501', 'no cursor that is run at the end'),
	('INSERT INTO shop.later VALUES (1), (1)', '42501', 'nothing that is checked at the end')) v (call, said, name);
RESET ROLE;
SELECT is(current_setting('search_path'), :'path_before', 'the path is as it was');
SELECT is(coalesce(current_setting('shop.left', true), ''), '', 'and so is what it has set');
DELETE FROM payments.settlement_format WHERE format = 'deep';
DROP FUNCTION shop.deep;
REVOKE ALL ON SCHEMA shop FROM tap_settlement_admin;
REVOKE ALL ON shop.later FROM tap_settlement_admin;
DROP ROLE tap_settlement_admin;

-- ---------- who may

CREATE ROLE tap_settlement_app IN ROLE payments_app;
SET ROLE tap_settlement_operator;
SELECT results_eq($$SELECT lines FROM payments.import_settlement('sandbox', 'csv', E'kind,psp_object_id,gross,currency\ncharge,o1,10.00,EUR\n')$$, 'VALUES (1)', 'an operator imports');
BEGIN;
INSERT INTO payments.settlement_staging (line) VALUES ('kind,psp_object_id,gross,currency'), ('charge,o2,10.00,EUR');
SELECT results_eq($$SELECT lines FROM payments.import_settlement('sandbox', 'csv')$$, 'VALUES (1)', 'what he has staged, too');
COMMIT;
SELECT throws_ok($$INSERT INTO payments.settlement_line (batch_id) VALUES (1)$$, '42501', NULL, 'and writes nothing by hand');
SELECT throws_ok($$INSERT INTO payments.settlement_format (format, function) VALUES ('x', 'x.x')$$, '42501', NULL, 'nor makes formats');
RESET ROLE;
SELECT is((SELECT imported_by FROM payments.settlement_batch ORDER BY batch_id DESC LIMIT 1), 'tap_settlement_operator', 'who it was');
SET ROLE tap_settlement_app;
SELECT throws_ok($$SELECT payments.import_settlement('sandbox', 'csv', 'x')$$, '42501', NULL, 'an application does not');
SELECT throws_ok('SELECT FROM payments.settlement_line', '42501', NULL, 'nor reads');
RESET ROLE;
DROP ROLE tap_settlement_operator, tap_settlement_app;

SELECT * FROM finish();
