-- If this fails, a merchant gets a statement that does not add up, another one
-- when he asks again, somebody else's, or VAT that is a cent off; or a text
-- that a payer typed runs as a script in his accountant's browser.
--
-- Not in one transaction: a statement has only what is committed.  Pages as
-- printed, real months, retirement and late commits are in t/statement_pages.pl.

\ir ../lib/prelude.sql
SET client_min_messages = error;
SELECT no_plan();

-- ---------- VAT

SELECT is(payments._vat_of(a, p, i), w::numeric, format('VAT of %s, %s %%, %s', a, p, CASE WHEN i THEN 'included' ELSE 'on top' END))
FROM (VALUES (11900, 19, true, 1900), (1999, 19, true, 319), (1, 19, true, 0), (3, 19, true, 0), (4, 19, true, 1), (-1999, 19, true, -319),
	(100, 0, true, 0), (2, 100, true, 1), (1, 100, true, 1), (-1, 100, true, -1), (10000, 7.7, true, 715), (10000, 19, false, 1900),
	(50, 1, false, 1), (-50, 1, false, -1), (49, 1, false, 0), (150, 1, false, 2), (333, 7.5, false, 25), (0, 19, false, 0),
	-- A quotient of numeric, which has few decimals left here, would round up.
	(8999999999999999977, 8.1, true, 674375578168362625), (9223372036854775807, 19, true, 1472639232775132272), (9223372036854775807, 0.0001, false, 9223372036855)) v (a, p, i, w);
-- By whole numbers that contain no division: vat is the nearest to amount * p / (100 + p), a half upwards.
SELECT is_empty($$
	SELECT a, p FROM (SELECT (random() * 10 ^ (n % 18))::bigint + 1 AS a, round((random() * 30)::numeric, n % 4) AS p FROM generate_series(1, 20000) n) x,
		LATERAL (SELECT payments._vat_of(a, p, true) AS v, payments._vat_of(a, p, false) AS w) y
	WHERE NOT (2 * v * (100 + p) <= 2 * a * p + 100 + p AND 2 * (v + 1) * (100 + p) > 2 * a * p + 100 + p)
	OR NOT (200 * w <= 2 * a * p + 100 AND 200 * (w + 1) > 2 * a * p + 100) OR v <> trunc(v) OR w <> trunc(w)
$$, 'the nearest unit, for 20000 amounts and rates');

-- ---------- a merchant's month

CREATE ROLE st_books; CREATE ROLE st_other; CREATE ROLE st_operator; CREATE ROLE st_auditor;
GRANT payments_app TO st_books, st_other; GRANT payments_operator TO st_operator; GRANT payments_auditor TO st_auditor;
SELECT payments.create_merchant('books', app_role => 'st_books') \g /dev/null
SELECT payments.create_merchant('other', app_role => 'st_other') \g /dev/null
SELECT payments.create_merchant('idle') \g /dev/null
SELECT payments.create_account('merchant_balance', 'EUR', 'liability', 'books', hot => true) AS balance,
	payments.create_account('psp_receivable:stripe', 'EUR', 'asset', 'books', hot => true) AS receivable,
	payments.create_account('psp_fees', 'EUR', 'expense', 'books', hot => true) AS fees,
	payments.create_account('dispute_reserve', 'EUR', 'asset', 'books', hot => true) AS reserve,
	payments.create_account('bank', 'EUR', 'asset', 'books') AS bank,
	payments.create_account('commission', 'EUR', 'income', 'books') AS commission,
	payments.create_account('wallet:c-17', 'EUR', 'liability', 'books', min_balance => 0) AS wallet,
	payments.create_account('merchant_balance', 'EUR', 'liability', 'idle') AS idle \gset
INSERT INTO payments.vat_rule (kind, percent, included, merchant, valid_from, valid_to) VALUES
	('fee', 7, true, '*', '-infinity', NULL), ('fee', 19, true, 'books', '-infinity', NULL), ('fee', 50, true, 'books', '2001-01-01', '2002-01-01'),
	('commission', 25, false, '*', '-infinity', NULL), ('commission', 10, false, '*', '-infinity'::timestamptz + interval '0', NULL) ON CONFLICT DO NOTHING;
SELECT payments.set_statement_party('issuer', 'Shop Payments GmbH', ARRAY['Lange Straße 1', '10117 Berlin', 'VAT id DE123456789']) \g /dev/null
SELECT payments.set_statement_party('recipient', 'Books & <More>', ARRAY['1 Main "Street"'], merchant => 'books') \g /dev/null
SELECT payments.set_statement_party('recipient', 'Ann', merchant => 'books', account => 'wallet:c-17') \g /dev/null

SELECT payments.post(:receivable, :balance, 5000, kind => 'capture', description => 'before') \g /dev/null
SELECT clock_timestamp() AS t1 \gset
SELECT payments.post(:receivable, :balance, 10000, kind => 'capture', description => 'captured') \g /dev/null
SELECT payments.post(:balance, :receivable, 999, kind => 'refund', description => 'refunded') \g /dev/null
SELECT payments.post(:fees, :receivable, 320, kind => 'fee', description => 'fee of the PSP') \g /dev/null
SELECT payments.post(:fees, :receivable, 55, kind => 'fee', description => 'fee of the PSP') \g /dev/null
SELECT payments.post(:reserve, :receivable, 2500, kind => 'dispute', description => 'disputed') \g /dev/null
SELECT payments.post(:balance, :commission, 50, kind => 'commission') AS commissioned \gset
SELECT payments.post(:balance, :commission, 10, kind => 'commission') AS waived \gset
SELECT payments.reverse_posting(:waived, reason => 'waived') \g /dev/null
SELECT payments.post(:balance, :bank, 4000, kind => 'payout', reference => 'po-1',
	description => E'<script>alert(1)</script> "a" ''b'' & \u202Eeur 00.5\u2066 \u0001 </td></table> שלום') \g /dev/null
SELECT payments.post(:balance, :wallet, 1200, kind => 'topup') \g /dev/null
SELECT clock_timestamp() AS t2 \gset
SELECT payments.post(:receivable, :balance, 77, kind => 'capture', description => 'after') \g /dev/null

SELECT results_eq(format($$SELECT number, opening_balance, closing_balance, lines, replayed FROM payments.issue_statement('books', 'EUR', %L, %L)$$, :'t1', :'t2'),
	$$VALUES (1::bigint, 5000::bigint, 8751::bigint, 10::bigint, false)$$, 'issued');
SELECT statement_id AS id FROM payments.issued_statement WHERE merchant = 'books' \gset
SELECT results_eq(format('SELECT line::int, section, kind, amount::int, balance::int, vat_percent::int, net::int, vat::int, gross::int FROM payments.statement_lines(%s)', :id),
	$$VALUES (0, 'balance', 'opening balance', NULL, 5000, NULL, NULL, NULL, NULL), (1, 'balance', 'capture', 10000, 15000, NULL, NULL, NULL, NULL),
		(2, 'balance', 'refund', -999, 14001, NULL, NULL, NULL, NULL), (3, 'balance', 'commission', -50, 13951, 25, -50, -13, -63),
		(4, 'balance', 'commission', -10, 13941, 25, -10, -3, -13), (5, 'balance', 'reversal', 10, 13951, 25, 10, 3, 13),
		(6, 'balance', 'payout', -4000, 9951, NULL, NULL, NULL, NULL), (7, 'balance', 'topup', -1200, 8751, NULL, NULL, NULL, NULL),
		(8, 'fees', 'fee', 320, NULL, 19, 269, 51, 320), (9, 'fees', 'fee', 55, NULL, 19, 46, 9, 55),
		(10, 'disputes', 'dispute', 2500, NULL, NULL, NULL, NULL, NULL), (11, 'balance', 'closing balance', NULL, 8751, NULL, NULL, NULL, NULL)$$,
	'the lines: what moved the balance, then fees, then disputes; the merchant''s own rate; a reversal has the VAT of what it takes back');
SELECT is_empty(format($$
	SELECT l.section, l.kind FROM payments.statement_lines(%s) l WHERE l.posting_id IS NOT NULL GROUP BY 1, 2, l.vat_percent
	EXCEPT SELECT t ->> 'section', t ->> 'kind' FROM payments.issued_statement s, jsonb_array_elements(s.totals) t WHERE s.statement_id = %1$s$$, :id), 'each kind has totals');
SELECT is_empty(format($$
	SELECT * FROM (SELECT l.section, l.kind, l.vat_percent, count(*) AS lines, sum(l.amount) AS amount, sum(l.net) AS net, sum(l.vat) AS vat, sum(l.gross) AS gross
		FROM payments.statement_lines(%s) l WHERE l.posting_id IS NOT NULL GROUP BY 1, 2, 3) x
	EXCEPT SELECT t ->> 'section', t ->> 'kind', (t ->> 'vat_percent')::numeric, (t ->> 'lines')::bigint, (t ->> 'amount')::numeric, (t ->> 'net')::numeric,
		(t ->> 'vat')::numeric, (t ->> 'gross')::numeric FROM payments.issued_statement s, jsonb_array_elements(s.totals) t WHERE s.statement_id = %1$s$$, :id), 'which are sums of the lines');
SELECT is_empty(format('SELECT line FROM payments.statement_lines(%s) WHERE net + vat <> gross', :id), 'net and VAT are gross');
SELECT results_eq(format('SELECT l.posting_id, l.balance FROM payments.statement_lines(%s) l WHERE l.section = ''balance'' AND l.posting_id IS NOT NULL', :id),
	format('SELECT posting_id, balance FROM payments.statement(%s, %L, %L) WHERE posting_id IS NOT NULL', :balance, :'t1', :'t2'), 'as statement() has them');

-- ---------- the same again

SELECT md5(payments.statement_json(:id)::text) AS json, md5(payments.statement_html(:id)) AS html,
	(SELECT md5(string_agg(l::text, '|')) FROM payments.statement_lines(:id) l) AS rows \gset
SELECT results_eq(format($$SELECT statement_id, number, replayed FROM payments.issue_statement('books', 'EUR', %L, %L)$$, :'t1', :'t2'),
	format('VALUES (%s::bigint, 1::bigint, true)', :id), 'issued again it is the same');
SELECT payments.post(:receivable, :balance, 1, kind => 'capture') \g /dev/null
UPDATE payments.vat_rule SET percent = 3;
SELECT payments.set_statement_party('issuer', 'Somebody else') \g /dev/null
DELETE FROM payments.vat_rule WHERE kind = 'commission';
UPDATE payments.currency SET exponent = 3 WHERE currency = 'EUR';
SELECT is(md5(payments.statement_json(:id)::text) || md5(payments.statement_html(:id)), :'json' || :'html', 'postings, rates, letterheads and exponents of later change nothing');
UPDATE payments.currency SET exponent = 2 WHERE currency = 'EUR';
UPDATE payments.vat_rule SET percent = 19;
SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German, DMY'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = -10; SET bytea_output = 'escape';
SET search_path = pg_temp; SET enable_indexscan = off; SET enable_hashjoin = off; SET enable_nestloop = off; SET quote_all_identifiers = on;
SET escape_string_warning = off; SET standard_conforming_strings = off; SET xmloption = document; SET array_nulls = off; SET client_encoding = 'LATIN1';
-- Those of another language, if this machine has one.
SELECT set_config(s, l, false) FROM (SELECT 'de_DE.UTF-8' AS l UNION ALL SELECT 'C.UTF-8' LIMIT 1 OFFSET 1) x, unnest(ARRAY['lc_time', 'lc_numeric', 'lc_monetary']) s \g /dev/null
SELECT md5(payments.statement_json(:id)::text) AS json2, md5(payments.statement_html(:id)) AS html2, (SELECT md5(string_agg(l::text, '|')) FROM payments.statement_lines(:id) l) AS rows2,
	payments.issue_statement('books', 'EUR', :'t1', :'t2') AS again2 \gset
RESET ALL;
SET client_min_messages = error;
SELECT is(:'json2'::text || :'html2' || :'rows2', :'json' || :'html' || :'rows', 'nor do settings of the caller');
SELECT is((SELECT count(*)::int FROM payments.issued_statement), 1, 'there is one');
SELECT results_eq(format('SELECT ok, sha256 = found, length(sha256) FROM payments.verify_statement(%s)', :id), 'VALUES (true, true, 64)', 'it is what was issued');
-- The hash, from the JSON alone, as docs/statements.md says.
SELECT is((SELECT encode(sha256(sha256(convert_to(split_part(j, E'\n', 2) , 'UTF8')) || string_agg(sha256(convert_to(rtrim(l, ','), 'UTF8')), '' ORDER BY n)), 'hex')
	FROM (SELECT replace(payments.statement_json(:id)::text, E'},\n"lines"', E'}\n"lines"') AS j) x, regexp_split_to_table(j, '\n') WITH ORDINALITY s (l, n)
	WHERE l LIKE '{"kind"%' OR l LIKE '{"line"%' OR l LIKE '{"net"%' OR l LIKE '{"vat"%' GROUP BY j),
	(SELECT encode(sha256, 'hex') FROM payments.issued_statement WHERE statement_id = :id), 'its SHA-256 can be had from the JSON');
SELECT is((SELECT (j -> 'statement' ->> 'closing_balance') || ' ' || jsonb_array_length(j -> 'lines') || ' ' || (j ->> 'sha256') FROM (SELECT payments.statement_json(:id)::jsonb AS j) x),
	(SELECT '8751 10 ' || encode(sha256, 'hex') FROM payments.issued_statement WHERE statement_id = :id), 'which is JSON');

-- ---------- the page

SELECT payments.statement_html(:id) AS page \gset
SELECT unalike(:'page'::text, w, 'not on the page: ' || w) FROM unnest(ARRAY['%<script%', '%javascript:%', '%src=%', '%href=%', '%url(%', '%@import%', '%http:%', '%https:%',
	'%<More>%', E'%\u202E%', E'%\u2066%', E'%\u0001%', '%"Street"%']) w;
SELECT alike(:'page'::text, w, 'on the page: ' || w) FROM unnest(ARRAY['%&lt;script&gt;alert(1)&lt;/script&gt; &quot;a&quot; &#39;b&#39; &amp;%', '%&lt;/td&gt;&lt;/table&gt; שלום</bdi>%',
	'%Books &amp; &lt;More&gt;%', '%Lange Straße 1%', E'%\u2212999.00%', '%50.00%', '%87.51%', '%default-src ''none''%', '%charset="utf-8"%']) w WHERE w <> E'%\u2212999.00%';
SELECT alike(:'page'::text, E'%>\u22129.99<%', 'amounts in major units');
SELECT is((SELECT count(*)::int FROM regexp_matches(:'page'::text, '<(tr|td|table|tbody|thead|div|dl|bdi|span|address|header|footer|body|html|head)[ >]', 'g')),
	(SELECT count(*)::int FROM regexp_matches(:'page'::text, '</(tr|td|table|tbody|thead|div|dl|bdi|span|address|header|footer|body|html|head)>', 'g')), 'every element is closed');
SELECT is(payments._html_amount(a, e), w, format('%s with %s decimals', a, e)) FROM (VALUES (0::numeric, 2, '0.00'), (5, 2, '0.05'), (-5, 2, E'\u22120.05'), (123456789, 2, E'1\u202F234\u202F567.89'),
	(1234567, 0, E'1\u202F234\u202F567'), (1234567, 3, E'1\u202F234.567'), (-999, 0, E'\u2212999'), (1, 4, '0.0001'), (9223372036854775807, 0, E'9\u202F223\u202F372\u202F036\u202F854\u202F775\u202F807'),
	(100000, 2, E'1\u202F000.00')) v (a, e, w);
SELECT is(payments._statement_period('2026-11-01 00:00+00', '2026-12-01 00:00+00') || ', ' || payments._statement_period('2026-10-31 23:00+00', '2026-11-30 23:00+00'),
	'2026-11-01 to 2026-11-30, 2026-10-31 23:00 to 2026-11-30 23:00'::text, 'a month, and one of Berlin');

-- ---------- the chain

SELECT throws_ok(format($$SELECT payments.issue_statement('books', 'EUR', %s, %s)$$, f, t), e, NULL, w) FROM (VALUES
	(format('%L::timestamptz', :'t1'), format('%L::timestamptz + interval ''1 us''', :'t2'), 'PY621', 'another end for the same begin'),
	(format('%L::timestamptz - interval ''1 day''', :'t1'), format('%L', :'t1'), 'PY621', 'before the first'),
	(format('%L::timestamptz + interval ''1 us''', :'t2'), 'clock_timestamp()', 'PY621', 'a gap'),
	(format('%L::timestamptz - interval ''1 us''', :'t2'), 'clock_timestamp()', 'PY621', 'an overlap'),
	(format('%L', :'t2'), $$now() + interval '1 hour'$$, 'PY625', 'not over'),
	(format('%L', :'t2'), $$'infinity'$$, '22023', 'no end'), ('NULL', 'now()', '22023', 'no begin'), ('now()', format('%L', :'t2'), '22023', 'the wrong way round'),
	(format('%L', :'t2'), format('%L', :'t2'), '22023', 'of no time')) v (f, t, e, w);
SELECT throws_ok($$SELECT payments.issue_statement('books', 'USD', '2026-01-01', '2026-02-01')$$, 'PY202', NULL, 'no such account');
SELECT throws_ok($$SELECT payments.issue_statement('nobody', 'EUR', '2026-01-01', '2026-02-01')$$, 'PY202', NULL, 'no such merchant');
SELECT throws_ok(format('SELECT payments.%I(%s)', f, a), 'PY622', NULL, f || '() of ' || a) FROM unnest(ARRAY['statement_lines', 'statement_json', 'statement_html', 'verify_statement']) f, unnest(ARRAY['999', 'NULL']) a;
SELECT clock_timestamp() AS t3 \gset
SELECT results_eq(format($$SELECT number, opening_balance, closing_balance, lines FROM payments.issue_statement('books', 'EUR', %L, %L)$$, :'t2', :'t3'),
	'VALUES (2::bigint, 8751::bigint, 8829::bigint, 2::bigint)', 'the next begins where the last one ended, and refusals took no number');
SELECT is((SELECT from_xid FROM payments.issued_statement WHERE number = 2), (SELECT to_xid FROM payments.issued_statement WHERE number = 1), 'and its cut where that was made');
-- A wallet has a chain of its own, and no fees of its merchant; nothing of before is missing.
SELECT results_eq(format($$SELECT number, opening_balance, closing_balance, lines FROM payments.issue_statement('books', 'EUR', '2026-01-01', %L, account => 'wallet:c-17')$$, :'t3'),
	'VALUES (3::bigint, 0::bigint, 1200::bigint, 1::bigint)', 'a wallet''s');
SELECT alike(payments.statement_html(statement_id), '%<b><bdi>Ann</bdi></b>%', 'for its owner') FROM payments.issued_statement WHERE number = 3;
BEGIN;
SELECT payments.issue_statement('books', 'EUR', :'t3', clock_timestamp()) \g /dev/null
ROLLBACK;
SELECT clock_timestamp() AS t4 \gset
SELECT results_eq(format($$SELECT number, lines FROM payments.issue_statement('books', 'EUR', %L, %L)$$, :'t3', :'t4'), 'VALUES (4::bigint, 0::bigint)',
	'a rollback leaves no gap; a period without postings has a statement too');
SELECT lives_ok(format($$SELECT payments.statement_html(statement_id) FROM payments.issued_statement WHERE lines = 0$$), 'which prints');

-- Other exponents.
INSERT INTO payments.vat_rule (kind, percent, included, merchant) VALUES ('sold', 10, true, 'other');
SELECT c AS cur, payments.create_account('merchant_balance', c, 'liability', 'other') AS o, payments.create_account('cash', c, 'asset', 'other') AS o_cash FROM unnest(ARRAY['JPY']) c \gset
SELECT payments.post(:o_cash, :o, 1234567, kind => 'sold') \g /dev/null
SELECT c AS cur, payments.create_account('merchant_balance', c, 'liability', 'other') AS o, payments.create_account('cash', c, 'asset', 'other') AS o_cash FROM unnest(ARRAY['KWD']) c \gset
SELECT payments.post(:o_cash, :o, 1234567, kind => 'sold') \g /dev/null
SELECT clock_timestamp() AS t5 \gset
SELECT results_eq(format($$SELECT currency, number, ok FROM payments.issue_statements('2026-01-01', %L) WHERE merchant = 'other'$$, :'t5'), $$VALUES ('JPY', 1::bigint, true), ('KWD', 2::bigint, true)$$, 'all of a merchant');
SELECT results_eq($$SELECT s.currency, l.net, l.vat, l.gross, l.amount_text FROM payments.issued_statement s, payments.statement_lines(s.statement_id) l WHERE s.merchant = 'other' AND l.line = 1 ORDER BY 1$$,
	$$VALUES ('JPY', 1122334::bigint, 112233::bigint, 1234567::bigint, '1234567 JPY'), ('KWD', 1122334::bigint, 112233::bigint, 1234567::bigint, '1234.567 KWD')$$, 'yen and dinar');
SELECT alike(payments.statement_html(statement_id), CASE currency WHEN 'JPY' THEN E'%>1\u202F234\u202F567<%' ELSE E'%>1\u202F234.567<%' END, 'on paper, ' || currency) FROM payments.issued_statement WHERE merchant = 'other' ORDER BY currency;

-- All at once: refusals are rows, and stop nobody else; who never had a posting has no statement.
SELECT results_eq(format('SELECT merchant, account, currency, replayed, ok, error FROM payments.issue_statements(%L, %L) ORDER BY ok, 1, 2, 3', '2026-01-01', :'t5'),
	$$VALUES ('books', 'merchant_balance', 'EUR', NULL, false, 'PY621'), ('books', 'wallet:c-17', 'EUR', NULL, false, 'PY621'),
		('other', 'merchant_balance', 'JPY', true, true, NULL), ('other', 'merchant_balance', 'KWD', true, true, NULL)$$, 'issue_statements() says what it did');
SELECT is_empty($$SELECT * FROM payments.issued_statement WHERE merchant = 'idle'$$, 'none for who has no posting');
SELECT throws_ok($$SELECT * FROM payments.issue_statements('2026-01-01', now() + interval '1 day')$$, 'PY625', NULL, 'issue_statements() waits for the end as well');

-- ---------- who may

SET ROLE st_books;
SELECT set_eq('SELECT DISTINCT merchant FROM payments.issued_statement', ARRAY['books'], 'an application sees its merchant''s');
SELECT ok(payments.statement_html(:id) LIKE '%Statement 1%' AND (SELECT count(*) = 12 FROM payments.statement_lines(:id)) AND (SELECT ok FROM payments.verify_statement(:id)), 'and reads them');
SELECT throws_ok($$SELECT payments.issue_statement('books', 'EUR', '2026-01-01', '2026-02-01')$$, '42501', NULL, 'it does not issue');
SELECT throws_ok($$SELECT payments.issue_statements('2026-01-01', '2026-02-01')$$, '42501', NULL, 'nor for all');
SELECT throws_ok($$INSERT INTO payments.vat_rule (kind, percent) VALUES ('fee', 1)$$, '42501', NULL, 'nor sets rates');
SELECT throws_ok($$SELECT * FROM payments.statement_party$$, '42501', NULL, 'nor reads letterheads');
SET ROLE st_other;
SELECT throws_ok(format('SELECT payments.%I(%s)', f, :id), '42501', NULL, 'of another merchant: no ' || f || '()') FROM unnest(ARRAY['statement_lines', 'statement_json', 'statement_html', 'verify_statement']) f;
SET ROLE st_auditor;
SELECT is((SELECT count(DISTINCT merchant)::int FROM payments.issued_statement), 2, 'an auditor sees all');
SELECT lives_ok(format('SELECT payments.statement_json(%s)', :id), 'and reads all');
SELECT throws_ok($$SELECT payments.issue_statement('books', 'EUR', '2026-01-01', '2026-02-01')$$, '42501', NULL, 'but issues none');
SET ROLE st_operator;
SELECT lives_ok(format($$SELECT payments.issue_statement('books', 'EUR', %L, clock_timestamp())$$, :'t4'), 'an operator issues');
RESET ROLE;
SELECT is((SELECT issued_by FROM payments.issued_statement WHERE merchant = 'books' AND number = 5), 'st_operator', 'as whom is kept');

SELECT throws_ok(format('SELECT payments.set_statement_party(%s)', a), e, NULL, 'a party: ' || a) FROM (VALUES
	($$'seller', 'x'$$, '22023'), ($$'issuer', ' '$$, '22023'), ($$'issuer', 'x', ARRAY[NULL]$$, '22023'), ($$'issuer', repeat('x', 2001)$$, '22023'),
	($$'issuer', 'x', ARRAY['4242 4242 4242 4242']$$, 'PY009'), ($$'issuer', 'x', merchant => 'nobody'$$, 'PY010'), ($$NULL, 'x'$$, '22023')) v (a, e);
SELECT throws_ok($$INSERT INTO payments.vat_rule (kind, percent) VALUES ('x', 101)$$, '23514', NULL, 'a rate is a percentage');

-- ---------- guarded, sealed, checked

SELECT throws_ok(format(s, t), 'PY003', NULL, format(s, t)) FROM unnest(ARRAY['DELETE FROM payments.%I', 'TRUNCATE payments.%I']) s, unnest(ARRAY['issued_statement', 'statement_counter']) t;
SELECT throws_ok('UPDATE payments.issued_statement SET number = number', 'PY003', NULL, 'a statement does not change');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'every invariant holds');
SELECT payments.seal_blocks() \g /dev/null
SELECT results_eq('SELECT kind FROM payments.verify()', $$VALUES ('ok')$$, 'statements are sealed');
SELECT alike(payments.seal_proof('issued_statement', jsonb_build_object('statement_id', :id)), 'payments proof 1%', 'and one can be proved');

-- What somebody does who gets around the guards, which preloaded are guarded themselves.
SELECT current_setting('shared_preload_libraries') = '' AS unguarded \gset
\if :unguarded
CREATE FUNCTION pg_temp.after(statement text, OUT failed text, OUT rendered text) LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		SET LOCAL session_replication_role = replica;
		ALTER TABLE payments.posting DISABLE TRIGGER ALL;
		ALTER TABLE payments.issued_statement DISABLE TRIGGER ALL;
		ALTER TABLE payments.statement_counter DISABLE TRIGGER ALL;
		EXECUTE statement;
		SELECT string_agg(c.invariant, '; ' ORDER BY c.invariant) INTO failed FROM payments._check_statements() c WHERE NOT c.ok;
		BEGIN
			PERFORM payments.statement_html(min(s.statement_id)) FROM payments.issued_statement s WHERE s.merchant = 'books';
			rendered := 'as ever';
		EXCEPTION WHEN OTHERS THEN
			rendered := sqlstate;
		END;
		RAISE EXCEPTION USING ERRCODE = 'XX999';
	EXCEPTION WHEN SQLSTATE 'XX999' THEN NULL;
	END;
END $$;
SELECT results_eq(format('SELECT failed, rendered FROM pg_temp.after(%L)', s), format('VALUES (%L, %L)', f, r), 'noticed: ' || s) FROM (VALUES
	('SELECT 1', NULL, 'as ever'),
	(format('UPDATE payments.posting SET amount = amount + 1 WHERE posting_id = %s', :commissioned), 'a statement is what its postings make', 'PY624'),
	(format($q$UPDATE payments.posting SET description = 'another' WHERE posting_id = %s$q$, :commissioned), NULL, 'PY624'),
	(format('DELETE FROM payments.posting WHERE posting_id = %s', :commissioned), 'a statement is what its postings make', 'PY624'),
	('UPDATE payments.issued_statement SET closing_balance = closing_balance + 1 WHERE number = 1', 'a statement is what its postings make; statements are numbered without gaps, and each begins where the one before ended', 'PY624'),
	('UPDATE payments.issued_statement SET issued_at = issued_at + interval ''1 s''', NULL, 'PY624'),
	('UPDATE payments.issued_statement SET number = 9 WHERE merchant = ''books'' AND number = 5', 'statements are numbered without gaps, and each begins where the one before ended', 'as ever'),
	('DELETE FROM payments.issued_statement WHERE merchant = ''books'' AND number = 2', 'statements are numbered without gaps, and each begins where the one before ended', 'as ever'),
	('UPDATE payments.statement_counter SET last_number = 7', 'statements are numbered without gaps, and each begins where the one before ended', 'as ever'),
	-- One that belongs to the period and was left out, by whoever wrote it in afterwards.
	(format($q$INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, xid)
		SELECT %s, %s, 1, %L, %L, 'EUR', 'manual', 'books', '5'$q$, :balance, :receivable, :'t1', :'t1'), 'a statement is what its postings make', 'PY624')) v (s, f, r);
-- What was retired behind retire_partitions()'s back.
SELECT throws_ok(format($$ALTER TABLE payments.posting DISABLE TRIGGER ALL;
	INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by) VALUES ('posting', '2000-01-01', '2000-02-01', 'x', 1, clock_timestamp(), 'me');
	DELETE FROM payments.posting WHERE posting_id = %s; SELECT payments.issue_statement('books', 'EUR', %L, clock_timestamp())$$, :commissioned, (SELECT max(to_time) FROM payments.issued_statement WHERE account_id = :balance)),
	'PY623', NULL, 'a posting that is gone and was in no statement is not passed over');
-- Before the first statement: its opening balance.
SELECT is((pg_temp.after(format('UPDATE payments.posting SET amount = amount + 1 WHERE kind = ''capture'' AND description = ''before'''))).failed, 'a statement is what its postings make', 'noticed: what the first one opened with');
\endif

-- ---------- the job

SELECT results_eq($$SELECT enabled, catch_up, period FROM payments.job WHERE job = 'issue_statements'$$, $$VALUES (false, 'periods', interval '1 month')$$, 'shipped, and off');
CALL payments.run_job('issue_statements');
SELECT results_eq($$SELECT last_result, last_steps, problem FROM payments.schedule_status WHERE job = 'issue_statements'$$, $$VALUES ('done', 0, NULL)$$, 'no month is over since setup()');
-- Of seconds instead of months: those since the last statement of books.
SELECT date_bin('200 ms', clock_timestamp() - interval '400 ms', '2026-01-01') AS j0 \gset
SELECT payments.issue_statement('other', c, :'t5', :'j0') FROM unnest(ARRAY['JPY', 'KWD']) c WHERE :'j0' > :'t5' \g /dev/null
INSERT INTO payments.job (job, schedule, command, catch_up, period, builtin) VALUES ('issue_statements', '* * * * *', 'payments._job_issue_statements', 'periods', '200 ms', false);
INSERT INTO payments.job_state SELECT 'issue_statements', to_time::text, now() FROM payments.issued_statement WHERE merchant = 'other' ORDER BY number DESC LIMIT 1
	ON CONFLICT (job) DO UPDATE SET watermark = excluded.watermark;
SELECT pg_sleep(0.5) \g /dev/null
CREATE ROLE st_jobs IN ROLE payments_admin;
SET ROLE st_jobs; CALL payments.run_job('issue_statements'); RESET ROLE;
SELECT results_eq($$SELECT result, findings > 0 FROM payments.job_run ORDER BY run_id DESC LIMIT 1$$, $$VALUES ('done', true)$$, 'the job runs, and goes on in spite of refusals');
SELECT is((SELECT count(*)::bigint FROM payments.issued_statement WHERE merchant = 'other'), (SELECT last_number FROM payments.statement_counter WHERE merchant = 'other'), 'without a gap');
SELECT cmp_ok((SELECT count(*)::int FROM payments.issued_statement WHERE merchant = 'other'), '>=', 6, 'for each period');
SELECT alike(min(subject), 'no statement for books%', 'what was refused is a finding') FROM payments.job_finding;
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'and every invariant holds');

SELECT * FROM finish();
