-- If this fails, a card number stands in a table, sealed for good: then this
-- database, its backups and its replicas are in the scope of PCI DSS.  Every
-- door through which a text comes in is tried (test/lib/doors.sql has them from
-- the catalog), and in the end all tables are read.

\ir ../lib/prelude.sql
\ir ../lib/doors.sql
SELECT no_plan();

-- ---------- doors that are closed

CREATE FUNCTION pg_temp.raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
	h text;
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN concat_ws(' ', sqlstate, sqlerrm, nullif(d, ''), CASE WHEN h = '' THEN '(no hint)' END);
END
$$;

SELECT cmp_ok((SELECT count(*)::int FROM door WHERE says IS NOT NULL AND kind = 'function'), '>', 75, 'functions have many doors');
SELECT cmp_ok((SELECT count(*)::int FROM door WHERE says IS NOT NULL AND kind = 'column'), '>', 30, 'and so have tables');
SELECT is(pg_temp.raised(replace(d.statement, 'CARD', '4242 4242 4242 4242')), 'PY009 ' || d.says, d.kind || ' ' || d.name)
FROM door d WHERE d.says IS NOT NULL ORDER BY d.kind, d.name;
-- However it is written; what is found at all is the business of test/unit/test_pan.c.
SELECT is(pg_temp.raised(replace(d.statement, 'CARD', w.written)), 'PY009 ' || d.says, format('%s: %s', d.name, w.how))
FROM door d
CROSS JOIN (VALUES
	('dots', '4242.4242.4242.4242'), ('slashes', '4242/4242/4242/4242'), ('underscores', '4242_4242_4242_4242'), ('letters', 'k4242424242424242'),
	('full width', '４２４２４２４２４２４２４２４２'), ('lines', E'4242\n4242\n4242\n4242')
) w (how, written)
WHERE d.name IN ('create_payment.metadata', 'import_settlement.options', 'resolve_discrepancy.reason');
-- Doors that are open, but store nothing, say nothing.
SELECT unalike(pg_temp.raised(replace(d.statement, 'CARD', '4242424242424242')), '%4242%', d.name || ' repeats nothing')
FROM door d WHERE d.says IS NULL AND d.name ~ '^verify';
-- The words of another error come second.
SELECT is(pg_temp.raised(c), 'PY009 ' || n || ' contains what looks like a card number', c)
FROM (VALUES
	($$SELECT payments.create_payment('k', -5, 'EUR', description => '4242424242424242')$$, 'description'),
	($$SELECT payments.post(1, 1, -5, description => '4242424242424242')$$, 'description'),
	($$SELECT payments.exchange(-1, -1, 1, 1, description => '4242424242424242')$$, 'description'),
	($$SELECT payments.create_psp('stripe', 'no such adapter', config => '{"a": 4242424242424242}')$$, 'config')
) v (c, n);

-- Length comes first: nothing is looked at that no verb would take, nor is JSON printed that would fill the memory.
SET statement_timeout = '20s';
SELECT is(pg_temp.raised($$SELECT payments.create_payment('k', 100, 'EUR', description => repeat('4 ', 8 << 20))$$), '22023 description is longer than 262144 bytes', 'a long text');
SELECT is(pg_temp.raised($$SELECT payments.create_payment('k', 100, 'EUR', metadata => jsonb_build_object('a', repeat('4 ', 8 << 20)))$$), '22023 metadata is longer than 262144 bytes', 'a long text in JSON');
SELECT is(pg_temp.raised($$SELECT payments._refuse_card_numbers('descriptions', ARRAY[NULL, repeat('4 ', 8 << 20)])$$), '22023 descriptions is longer than 262144 bytes', 'a long text in an array');
SELECT is(pg_temp.raised($$SELECT payments.create_payment('k', 100, 'EUR', metadata => ('{"a": [' || repeat('1e131000, ', 1000) || '4]}')::jsonb)$$),
	'22023 metadata has a number of more than 400 digits', 'long numbers');
SELECT is(pg_temp.raised($$SELECT payments.create_payment('k', 100, 'EUR', metadata => ('{"a": 1e-16000}')::jsonb)$$), '22023 metadata has a number of more than 400 digits', 'behind the point');
RESET statement_timeout;
CREATE FUNCTION pg_temp.cancelled(statement text) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN query_canceled THEN
	RETURN clock_timestamp() - began;
END
$$;
SET statement_timeout = '1s';
SELECT pg_temp.cancelled($$SELECT payments._mask_card_numbers(repeat(chr(65300) || ' ', 8 << 20))$$) AS took \gset
RESET statement_timeout;
SELECT cmp_ok(:'took'::interval, '<', '10 s'::interval, 'a long file: whoever is cancelled does not look on');

-- A key in the wrong place is not kept either, nor repeated.
SELECT is(pg_temp.raised(c), '22023 ' || r, c)
FROM (VALUES
	($$SELECT payments.create_psp('s', 'stripe', secret => 'sk_live_4eC39HqLyjWDarjt')$$, 'secret must be the name of an entry, not the secret itself'),
	($$SELECT payments.create_psp('s', 'sk_live_4eC39HqLyjWDarjt')$$, 'adapter must not hold a secret'),
	($$SELECT payments.create_psp('sk_live_abcdefgh', 'stripe')$$, 'psp must not hold a secret'),
	($$SELECT payments.create_psp('s', 'stripe', base_url => 'https://api.example.com/sk_live_4eC39HqLyjWDarjt')$$, 'base_url must not hold a secret'),
	($$SELECT payments.create_psp('s', 'stripe', config => '{"account": "sk_live_4eC39HqLyjWDarjt"}')$$, 'config must not hold a secret')
) v (c, r);
SELECT is(pg_temp.raised($$SELECT payments.create_psp('s', 'MyKey 123')$$), 'PY402 adapter does not exist', 'what is no name is not repeated');

-- ---------- a batch refuses the posting

SELECT payments.create_account('cash', 'EUR', 'asset') AS cash, payments.create_account('ann', 'EUR', 'liability') AS ann \gset
SELECT results_eq(format('SELECT error FROM payments.post_batch(ARRAY[%1$s, %1$s, %1$s, %1$s], ARRAY[%2$s, %2$s, %2$s, %2$s], ARRAY[1, 1, 1, 1],
	"references" => ARRAY[NULL, ''k4242424242424242'', NULL, NULL], descriptions => ARRAY[NULL, NULL, ''4242.4242.4242.4242'', NULL],
	kinds => ARRAY[''a'', ''a'', ''a'', ''4242_4242_4242_4242''])', :'cash', :'ann'),
	$$VALUES (NULL), ('PY009'), ('PY009'), ('PY009')$$, 'a batch: by its postings');

-- ---------- files of others: masked, wherever reading puts a number together

CREATE FUNCTION pg_temp.mt940(VARIADIC entries text[]) RETURNS text LANGUAGE sql AS $$
	SELECT E':20:ST\n:25:DE89370400440532013000\n:28C:1/1\n:60F:C261127EUR0,00\n' || array_to_string(entries, E'\n') || E'\n:62F:C261128EUR'
		|| cardinality(entries) || E',00\n'
$$;
SELECT lines AS mt940 FROM payments.import_settlement('giro', 'mt940', pg_temp.mt940(
	E':61:2611281128C1,00NTRF4242424242424242//B-1\n:86:166?00GUTSCHRIFT?20EREF+4242 4242?214242 4242?32ANN 424242424242?334242',
	E':61:2611281128C1,00NTRFNONREF//4242424242424242\n:86:paid with 42424242\n42424242 thanks',
	E':61:2611281128C1,00NTRFNONREF//B-3\n4242-4242-4242\n4242',
	E':61:2611281128C1,00NTRFNONREF//B-4\n:86:166?00GUTSCHRIFT?20424242424242?214242?314242424242424242',
	E':61:2611281128C1,00NTRFNONREF//B-5\n:86:/REMI/42424242\n4242\n4242/NAME/ANN',
	E':61:2611281128C1,00NTRFNONREF//B-6\n:86:166?00X?344242424242424242')) \gset
SELECT is(:mt940, 6, 'MT940: subfields, continuation lines, supplements, references');

CREATE FUNCTION pg_temp.camt(VARIADIC details text[]) RETURNS text LANGUAGE sql AS $$
	SELECT '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>4242<!-- -->424242424242</Id>'
		|| '<Acct><Id><IBAN>DE89370400440532013000</IBAN></Id><Nm>&#52;242424242424242</Nm></Acct>'
		|| string_agg('<Ntry><Amt Ccy="EUR">1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-28</Dt></BookgDt>' || d || '</Ntry>', '')
		|| '</Stmt></BkToCstmrStmt></Document>'
	FROM unnest(details) d
$$;
SELECT lines AS camt FROM payments.import_settlement('giro', 'camt053', pg_temp.camt(
	'<NtryDtls><TxDtls><RmtInf><Ustrd>card 42424242</Ustrd><Ustrd>42424242</Ustrd></RmtInf></TxDtls></NtryDtls>',
	'<NtryDtls><TxDtls><RmtInf><Ustrd>424242</Ustrd><Ustrd>4242424242</Ustrd></RmtInf></TxDtls></NtryDtls>',
	'<NtryDtls><TxDtls><RmtInf><Ustrd>4242&#x34;2424242&#52;242</Ustrd></RmtInf></TxDtls></NtryDtls>',
	'<NtryDtls><TxDtls><RmtInf><Ustrd>4242<![CDATA[4242]]>42424242</Ustrd></RmtInf></TxDtls></NtryDtls>',
	'<NtryDtls><TxDtls><Refs><EndToEndId>4242<!-- 1 -->424242424242</EndToEndId></Refs></TxDtls></NtryDtls>',
	'<NtryDtls><TxDtls><RltdPties><Dbtr><Nm>ANN &#xff14;242424242424242</Nm></Dbtr></RltdPties></TxDtls></NtryDtls>',
	'<AddtlNtryInf>4242&#10;4242&#10;4242&#10;4242</AddtlNtryInf>',
	'<NtryDtls><TxDtls><Purp><Prtry>4242&#52;2424242&#52;242</Prtry></Purp></TxDtls></NtryDtls>',
	'<NtryDtls x="&#52;242424242424242"></NtryDtls>',
	'<NtryDtls x="&#x34;24242424242424&#50;"></NtryDtls>',
	'<!-- 4242&#52;2424242&#52;242 -->',
	'<?x 4242&#52;2424242&#52;242?>')) \gset
SELECT is(:camt, 12, 'camt.053: text in parts, character references, CDATA, comments, attributes');
SELECT is_empty($$SELECT remittance FROM payments.bank_entry WHERE remittance ~ '4242.?4242'$$, 'no text of them has it whole');
SELECT is_empty($$SELECT raw FROM payments.bank_entry WHERE raw ->> 'text' ~ '4242.*4242|&#x?[0-9]'$$, 'nor in parts, as it stood');
SELECT is_empty($$SELECT raw FROM payments.bank_statement WHERE raw ->> 'text' ~ '4242.*4242'$$, 'nor in the head of a statement');
SELECT lines AS plain FROM payments.import_settlement('giro', 'mt940', pg_temp.mt940(E':61:2611281128C1,00NTRFNONREF//B-9\n:86:166?00X?20order 1234 5678?21paid 2026')) \gset
SELECT is((SELECT raw ->> 'text' FROM payments.bank_entry WHERE bank_reference = 'B-9'),
	E':61:2611281128C1,00NTRFNONREF//B-9\n:86:166?00X?20order 1234 5678?21paid 2026', 'what holds none is kept as it stood');

SELECT lines AS csv FROM payments.import_settlement('sandbox', 'csv', E'kind,psp_object_id,reference,gross,currency,note\n'
	'charge,k4242424242424242,"4242\n4242\n4242\n4242",1.00,EUR,4242.4242.4242.4242\n', file_name => 'k4242_4242_4242_4242.csv', options => '{"kinds": {"x": "fee"}}') \gset
SELECT is(:csv, 1, 'CSV: a field of several lines');
SELECT is(payments._mask_value('4242424242424242'), '424242******4242', 'a number alone is a text');
-- A format of anybody's: what it joins or decodes is masked as well, and its own error is repeated without the number.
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO payments_owner;
CREATE FUNCTION shop.pairs(content text, options jsonb) RETURNS TABLE (line_no int, kind text, net numeric, currency text, description text, raw jsonb)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF content ~ 'fail' THEN
		RAISE EXCEPTION 'cannot read %', replace(content, '-a-', '');
	END IF;
	RETURN QUERY SELECT 1, 'fee', 1::numeric, 'EUR', replace(content, '-a-', ''),
		jsonb_build_object(replace(content, '-a-', ''), jsonb_build_array(replace(content, '-a-', '')::numeric));
END
$$;
INSERT INTO payments.settlement_format (format, function, builtin) VALUES ('pairs', 'shop.pairs', false);
SELECT is((SELECT lines FROM payments.import_settlement('sandbox', 'pairs', '42424242-a-42424242')), 1, 'a format of another');
SELECT is((SELECT raw FROM payments.settlement_line WHERE description ~ '^4242'), '{"424242******4242": ["424242******4242"]}', 'in names and numbers of its JSON');
SELECT is(pg_temp.raised($$SELECT payments.import_settlement('sandbox', 'pairs', 'fail 42424242-a-42424242')$$), 'P0001 cannot read fail 424242******4242', 'and what it raises');

-- ---------- the PSP's words, with what JSON can hide

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();
CREATE TEMP TABLE hmac AS
SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) AS inner_pad, string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i) AS outer_pad
FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;
CREATE FUNCTION pg_temp.webhook(body text, headers jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	RETURN (SELECT r.event_id FROM payments.receive_webhook('tap', headers || jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, mac)), convert_to(body, 'UTF8')) r);
END
$$;
SELECT is(pg_temp.webhook(E'{"id": "evt_1", "object": "event", "type": "note.k4242424242424242", "data": {"object": {"note": "\\u0034242\\n4242\\n4242\\n4242"}}, "n": 4242424242424242}',
	'{"X-Forwarded-Uri": "/hook?card=4242.4242.4242.4242", "X-4242424242424242": "x", "Referer": "k4242424242424242"}'), 'evt_1', 'a webhook is taken');
SELECT is((SELECT headers - 'Stripe-Signature' FROM payments.psp_event), '{"X-Forwarded-Uri": "/hook?card=4242.42**.****.4242", "X-424242******4242": "x", "Referer": "k424242******4242"}', 'its headers are masked');
SELECT is((SELECT convert_from(body, 'UTF8')::jsonb #>> '{data,object,note}' FROM payments.psp_event), E'4242\n42**\n****\n4242', 'and what its body says');
SELECT is((SELECT event_type FROM payments.psp_event), 'note.k424242******4242', 'and its type');

SELECT payment_id AS id FROM payments.create_payment('told', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
UPDATE payments.queue SET due_at = CASE WHEN payment_id = :'id' THEN clock_timestamp() ELSE now() + interval '20 days' END;
SELECT operation_id, attempt FROM payments.claim('tap', psp => 'tap') \gset
SELECT is(payments.complete(:'operation_id', :attempt, 402, '{"Request-Id": "req_4242.4242.4242.4242"}', convert_to(E'{"error": {"type": "card_error", "code": "card_declined",'
	' "decline_code": "4242424242424242", "message": "no \\u0034242 4242\\t4242 4242", "param": "k4242424242424242"}}', 'UTF8'), E'cut off at 4242/4242/4242/4242'),
	'failed', 'an answer is taken');
SELECT isnt_empty($$SELECT FROM payments.attempt_answer WHERE error IS NOT NULL AND request_id ~ '[*][*]' AND body IS NOT NULL$$, 'and kept');
SELECT is(payments._feed_import('tap', 'settlement', 'stripe_api', ARRAY['txn_bad'], ARRAY[E'{"id": "txn_bad", "object": "balance_transaction", "currency": "zzz", "amount": 1, "fee": 0, "net": 1,'
	' "type": "charge", "description": "\\u0034242 4242 4242 4242"}'], 'feed'), 0, 'an entry of a feed that cannot be read');
SELECT isnt_empty('SELECT FROM payments.feed_entry', 'is kept');

-- What is cut is masked before.  At the cut half a number is found by nobody, and half a body is no JSON.
SELECT payment_id AS id FROM payments.create_payment('cut', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
UPDATE payments.queue SET due_at = CASE WHEN payment_id = :'id' THEN clock_timestamp() ELSE 'infinity' END;
SELECT operation_id, attempt FROM payments.claim('tap', psp => 'tap') \gset
SELECT is(payments.complete(:'operation_id', :attempt, 402, '{}', convert_to('{"error": {"type": "card_error", "code": "card_declined", "message": "' || repeat('x', 291)
	|| E'4242424242424242"}, "a": "\\u0034242 4242 4242 4242", "z": "' || repeat(' 4242424242424242', 600) || '"}', 'UTF8')), 'failed', 'a long answer');
SELECT is_empty(format($$SELECT * FROM payments.attempt_answer WHERE operation_id = %L AND convert_from(body, 'UTF8') ~ '42424242|u0034'$$, :'operation_id'), 'is cut behind what is masked');
SELECT is_empty(format($$SELECT o FROM payments.operation o WHERE operation_id = %L AND o::text ~ '42424242'$$, :'operation_id'), 'and so is its message');
SELECT payments._feed_keep('tap', 'settlement', 'txn_cut', '{}', repeat('x', 490) || ' 4242424242424242');
SELECT is((SELECT right(reason, 10) FROM payments.feed_entry WHERE entry_id = 'txn_cut'), ' 424242***', 'and why an entry of a feed was kept');
SELECT is(payments._mask_value(written), masked, written)
FROM (VALUES
	('{"a": 4.242424242424242e15}', '{"a": "424242******4242"}'),
	('{"a": 42424242424242420E-1}', '{"a": "424242******4242.0"}'),
	(E'{"a": "\\u0034242424242424242", "a": 1}', '{"a": 1}'),
	(E'{"\\u0061": "\\u0034242424242424242", "a": 1}', '{"a": 1}'),
	(E'no JSON: \\u0034242\\n4242\\t4242\\/4242', E'no JSON: 4242\n42**\t****/4242'),
	(E'{"cut": "\\uff14242424242424242', '{"cut": "' || chr(65300) || '24242******4242'),
	(E'a \\ b \\u12 \\ud834 \\u0000', E'a \\ b \\u12 \\ud834 \\u0000'),
	('{"lat": 4.242424242424241e15, "big": 1e300}', '{"lat": 4.242424242424241e15, "big": 1e300}')
) v (written, masked);

-- ---------- jobs of anybody's

CREATE FUNCTION shop.look() RETURNS TABLE (ok boolean, subject text) LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	VALUES (false, 'card 4242 4242 4242 4242'), (false, E'card 4242\n4242\n4242\n4242'), (false, 'none')
$$;
CREATE FUNCTION shop.fall() RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION 'card k4242424242424242';
END
$$;
ALTER FUNCTION shop.look() OWNER TO payments_owner;
ALTER FUNCTION shop.fall() OWNER TO payments_owner;
INSERT INTO payments.job (job, schedule, command, builtin) VALUES ('look', '0 4 * * *', 'shop.look', false), ('fall', '0 4 * * *', 'shop.fall', false);
CREATE ROLE cards_runner IN ROLE payments_admin;
GRANT USAGE ON SCHEMA shop TO cards_runner;
SET ROLE cards_runner; CALL payments.run_job('look'); RESET ROLE;
SELECT is((SELECT count(*)::int FROM payments.job_finding), 3, 'what a job finds is kept');
\set ON_ERROR_STOP off
SET ROLE cards_runner; CALL payments.run_job('fall');
\set said :LAST_ERROR_MESSAGE
RESET ROLE;
\set ON_ERROR_STOP on
SELECT is(:'said'::text, 'card k424242******4242', 'a job that fails: what it says');
SELECT is((SELECT error FROM payments.job_run WHERE job = 'fall'), 'card k424242******4242', 'and why it failed');
SELECT is(pg_temp.raised($$SELECT payments._cron_next('4242 4242 4242 4242', now())$$), 'PY009 schedule contains what looks like a card number', 'a schedule that is none');
SELECT is(pg_temp.raised($$SELECT payments._job_begin('k4242424242424242')$$), 'PY009 job contains what looks like a card number', 'a job that is not there');

-- ---------- all that was stored

CREATE FUNCTION pg_temp.stored() RETURNS TABLE (place text, told text) LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	FOR c IN
		SELECT format('payments.%I', r.relname) AS tbl, a.attname AS col, r.relname || '.' || a.attname AS name,
			CASE
				WHEN a.atttypid = 'jsonb'::regtype THEN format('x.%I', a.attname)
				WHEN a.atttypid = 'bytea'::regtype THEN format('convert_from(x.%I, ''UTF8'')', a.attname)
				ELSE format('x.%I::text', a.attname)
			END AS value
		FROM pg_class r
		JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE r.relnamespace = 'payments'::regnamespace
		AND r.relkind IN ('r', 'p')
		AND NOT r.relispartition
		AND (a.atttypid IN ('text'::regtype, 'jsonb'::regtype, 'name'::regtype, 'text[]'::regtype) OR a.attname = 'body' AND a.atttypid = 'bytea'::regtype)
	LOOP
		RETURN QUERY EXECUTE format('SELECT %L, left(%2$s::text, 200) FROM %3$s x WHERE payments._mask_value(%2$s) <> %2$s', c.name, c.value, c.tbl);
	END LOOP;
END
$$;
SELECT is_empty('SELECT * FROM pg_temp.stored()', 'no table has a card number in it');
INSERT INTO payments.settlement_progress (batch_id, psp, sums) VALUES (-1, 'tap', '{"seen": "4242424242424242"}');
SELECT results_eq('SELECT place FROM pg_temp.stored()', $$VALUES ('settlement_progress.sums')$$, 'whoever looks finds one');
SELECT * FROM finish();
