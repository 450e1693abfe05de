-- If this fails, somebody's SQL function that stands in for an adapter does more
-- than answer: it writes, becomes somebody else, waits, or keeps a worker for
-- itself; or what it says wrongly is taken for a yes or a no, and money is lost
-- or moved twice.

\ir ../lib/prelude.sql
-- JSON has backslashes of its own; the other hostile settings stay.
SET standard_conforming_strings = on;
BEGIN;
SELECT no_plan();

-- ---------- an adapter that does as it is told ----------

CREATE ROLE adapter_author;
CREATE ROLE adapter_other;
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
-- A command's description is what build is to run; or else it is an ordinary one.
CREATE FUNCTION shop.build(command jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	answer text;
BEGIN
	IF command ->> 'description' LIKE 'run %' THEN
		EXECUTE substr(command ->> 'description', 5) INTO answer;
		RETURN jsonb_build_object('refusal', coalesce(answer, 'nothing') || ' came of it');
	ELSIF command ->> 'description' LIKE 'return %' THEN
		RETURN substr(command ->> 'description', 8)::jsonb;
	ELSIF command ->> 'description' = 'return' THEN
		RETURN NULL;
	END IF;
	RETURN jsonb_build_object('method', 'POST', 'path', jsonb_build_array('pay', command ->> 'kind', coalesce(command ->> 'psp_payment_id', 'new')),
		'form', jsonb_build_object('ref', command ->> 'psp_ref', 'n', command -> 'generation', 'amount', command -> 'amount', 'currency', command ->> 'currency'));
END
$$;
CREATE FUNCTION shop.build_inquiry(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('method', 'GET', 'path', '/pay', 'query', jsonb_build_object('ref', command ->> 'psp_ref', 'n', command -> 'generation'))
$$;
-- An answer is what it means; or what is to be run.
CREATE FUNCTION shop.classify(answer jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF answer -> 'json' ->> 'run' IS NOT NULL THEN
		EXECUTE answer -> 'json' ->> 'run';
	END IF;
	RETURN answer -> 'json';
END
$$;
CREATE FUNCTION shop.parse(inbound jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT inbound -> 'json' $$;
CREATE FUNCTION shop.loops(command jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN LOOP END LOOP; END $$;
-- Catches whatever would end it.
CREATE FUNCTION shop.clings(command jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	LOOP
		BEGIN
			LOOP END LOOP;
		EXCEPTION WHEN query_canceled OR OTHERS THEN
			NULL;
		END;
	END LOOP;
END
$$;
CREATE FUNCTION shop.writes() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN CREATE TEMP TABLE written (); RETURN 1; END $$;
CREATE FUNCTION shop.definer() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS $$ SELECT count(*) FROM payments.payment $$;
CREATE FUNCTION shop.deep(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN shop.deep(n + 1); END $$;
DO $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'shop'::regnamespace AND proname <> 'definer' LOOP
		EXECUTE format('ALTER FUNCTION %s OWNER TO adapter_author', f);
	END LOOP;
END
$$;

CREATE FUNCTION pg_temp.make(more text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($f$SELECT payments.create_adapter(adapter => 'shop', %s build => 'shop.build(jsonb)', build_inquiry => 'shop.build_inquiry(jsonb)', classify => 'shop.classify(jsonb)',
		parse => 'shop.parse(jsonb)', can => '{charge,authorize,capture,void,refund,capture_part,refund_part}', authorize => '{"scheme": "bearer"}', verify => '{"scheme": "none"}',
		key_header => 'Request-Key', key_valid => '23 hours', headers => '{"Shop-Version": "7"}', time_limit => '2 s')$f$, more);
	RETURN 'made';
END
$$;
SELECT is(pg_temp.make(), 'made', 'an adapter is made of functions');
SELECT results_eq('SELECT owner, build, key_valid_s, time_limit_ms FROM payments.adapter', $$VALUES ('adapter_author', 'shop.build', 82800, 2000)$$, 'its row names them, and whose they are');
SELECT lives_ok($$SELECT payments.create_adapter('shop', time_limit => '1500 ms')$$, 'what is left out stays');
SELECT results_eq('SELECT owner, key_header, time_limit_ms FROM payments.adapter', $$VALUES ('adapter_author', 'Request-Key', 1500)$$, 'as it was');
SELECT payments.create_psp('tap', 'shop', 'https://one.example', 'tap'), payments.arm();

-- ---------- what it is not allowed to be ----------

CREATE FUNCTION pg_temp.refused(arguments text, why text) RETURNS text LANGUAGE sql AS $$
	SELECT throws_like(format('SELECT payments.create_adapter(%s)', arguments), 'adapter "%" cannot be used: ' || why, why)
$$;
CREATE FUNCTION shop.volatile(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE AS $$ SELECT $1 $$;
CREATE FUNCTION shop.owned_twice(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
CREATE FUNCTION shop.definer(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SECURITY DEFINER AS $$ SELECT $1 $$;
CREATE FUNCTION shop.text(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text $$;
CREATE FUNCTION shop.several(jsonb) RETURNS SETOF jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
CREATE FUNCTION shop.two(jsonb, jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT $1 $$;
ALTER FUNCTION shop.volatile(jsonb) OWNER TO adapter_author;
ALTER FUNCTION shop.definer(jsonb) OWNER TO adapter_author;
ALTER FUNCTION shop.text(jsonb) OWNER TO adapter_author;
ALTER FUNCTION shop.several(jsonb) OWNER TO adapter_author;
SELECT pg_temp.refused($$'shop', build => 'shop.volatile(jsonb)'$$, '%is not declared IMMUTABLE');
SELECT pg_temp.refused($$'shop', build => 'shop.definer(jsonb)'$$, '%is SECURITY DEFINER');
SELECT pg_temp.refused($$'shop', build => 'shop.text(jsonb)'$$, '%does not return one jsonb');
SELECT pg_temp.refused($$'shop', build => 'shop.several(jsonb)'$$, '%does not return one jsonb');
SELECT pg_temp.refused($$'shop', build => 'shop.two(jsonb, jsonb)'$$, 'function shop.two(jsonb) does not exist');
SELECT pg_temp.refused($$'shop', build => 'pg_catalog.jsonb_strip_nulls(jsonb)'$$, '%');
SELECT throws_ok($$SELECT payments.create_adapter('shop', build => 'shop.build(jsonb)', classify => 'shop.owned_twice(jsonb)')$$, '22023', 'the functions of an adapter belong to several roles', 'of two owners');
SELECT pg_temp.refused($$'stripe', build => 'shop.build(jsonb)'$$, 'the library has one of that name');
SELECT pg_temp.refused($$'other', build => 'shop.build(jsonb)'$$, '%');
SELECT pg_temp.refused($$'shop', can => '{charge,fly}'$$, 'can has the word "fly"%');
SELECT pg_temp.refused($$'shop', authorize => '{"scheme": "magic"}'$$, 'authorize.scheme is none of%');
SELECT pg_temp.refused($$'shop', authorize => '{"scheme": "bearer", "secret": "x"}'$$, 'authorize has a member that is not known%');
SELECT pg_temp.refused($$'shop', authorize => '{"scheme": "header", "header": "X: y\r\nHost"}'$$, 'authorize.header is no name of a header%');
SELECT pg_temp.refused($$'shop', authorize => '{"scheme": "header", "header": "Host"}'$$, 'authorize.header is no name of a header%');
SELECT pg_temp.refused($$'shop', authorize => '{"scheme": "hmac-sha256", "header": "X-Sig", "over": "{path}", "encoding": "hex"}'$$, 'authorize.over must have {body} in it%');
SELECT pg_temp.refused($$'shop', authorize => '{"scheme": "hmac-sha256", "header": "X-Sig", "over": "{secret}{body}", "encoding": "hex"}'$$, 'authorize.over must have {body} in it%');
SELECT pg_temp.refused($$'shop', verify => '{"scheme": "hmac-sha256", "header": "X-Sig", "over": "{timestamp}.{body}", "encoding": "hex"}'$$, '%go together');
SELECT pg_temp.refused($$'shop', verify => '{"scheme": "hmac-sha256", "header": "X-Sig", "over": "{timestamp}{body}", "encoding": "hex", "timestamp_header": "X-Time"}'$$, '%between two of them%');
SELECT pg_temp.refused($$'shop', key_header => 'Content-Length'$$, 'key_header is no name of a header%');
SELECT pg_temp.refused($$'shop', headers => '{"X": "a\r\nHost: evil"}'$$, 'headers has too many, or one that cannot be sent%');
SELECT throws_ok($$SELECT payments.create_adapter('shop', samples => '[{"body": "4111111111111111"}]')$$, 'PY009', NULL, 'no card number is stored');
SELECT throws_ok($$SELECT payments.create_psp('elsewhere', 'shop', 'https://away.example', 'tap')$$, 'PY404', NULL, 'to which host the secret goes is still a superuser''s to say');
SELECT throws_ok($$SELECT payments.create_psp('nowhere', 'shop', secret => 'tap')$$, '22023', NULL, 'an address it must be given');
SELECT throws_ok($$SELECT payments.drop_adapter('shop')$$, 'PY409', NULL, 'while a PSP has it, it stays');
SELECT throws_ok($$SELECT payments.drop_adapter('stripe')$$, 'PY402', NULL, 'one of the library does anyway');

-- ---------- doors ----------

CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	PERFORM payments.create_payment('door-' || md5(statement), 1000, 'EUR', psp => 'tap', payment_method => 'card', description => statement);
	RETURN 'accepted';
EXCEPTION WHEN SQLSTATE 'PY407' OR SQLSTATE '38000' THEN
	GET STACKED DIAGNOSTICS said = MESSAGE_TEXT;
	RETURN regexp_replace(said, '^PSP "tap" cannot take this payment: (function shop.\w+\(jsonb\) )?', '');
END
$$;
CREATE FUNCTION pg_temp.shut(statement text, sqlstate text) RETURNS text LANGUAGE sql AS $$
	SELECT matches(pg_temp.try('run ' || statement), '^raised ' || sqlstate, statement)
$$;
SELECT is(pg_temp.try('run SELECT current_user'), 'payments_adapter came of it', 'what runs there runs as a role that may do nothing');
SELECT is(pg_temp.try('run SELECT session_user = current_user'), 'false came of it', 'whoever called');
SELECT pg_temp.shut('INSERT INTO payments.posting DEFAULT VALUES', '(42501|0A000)');
SELECT pg_temp.shut('WITH w AS (DELETE FROM payments.posting RETURNING 1) SELECT 1', '(42501|0A000)');
SELECT pg_temp.shut('SELECT count(*) FROM payments.payment', '42501');
SELECT pg_temp.shut('SELECT payments.version()', '42501');
SELECT pg_temp.shut('SELECT rolpassword FROM pg_authid', '42501');
SELECT pg_temp.shut(s, '(0A000|25006)') FROM unnest(ARRAY['SET ROLE payments_owner', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT', 'SET statement_timeout = 0',
	'COPY (SELECT 1) TO PROGRAM ''id''', 'COPY (SELECT 1) TO STDOUT', 'CREATE TEMP TABLE t ()', 'CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS ''SELECT 1''', 'NOTIFY payments', 'LISTEN payments',
	'LOCK TABLE pg_class', 'DO ''BEGIN END''', 'PREPARE p AS SELECT 1', 'DEALLOCATE ALL', 'DISCARD PLANS', 'SET CONSTRAINTS ALL DEFERRED', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'LOAD ''plpgsql''', 'CALL shop.p()',
	'EXPLAIN ANALYZE SELECT 1', 'CHECKPOINT', 'GRANT payments_owner TO payments_adapter', 'ALTER ROLE payments_adapter SUPERUSER']) s WHERE s <> 'CALL shop.p()' AND s <> 'EXPLAIN ANALYZE SELECT 1';
SELECT pg_temp.shut(s, '42501') FROM unnest(ARRAY['SELECT pg_sleep(60)', 'SELECT pg_advisory_lock(1)', 'SELECT pg_try_advisory_lock_shared(1, 2)', 'SELECT pg_advisory_xact_lock(1)', 'SELECT pg_notify(''payments'', '''')',
	'SELECT set_config(''role'', ''payments_owner'', false)', 'SELECT set_config(''statement_timeout'', ''0'', false)', 'SELECT random()', 'SELECT gen_random_uuid()', 'SELECT clock_timestamp()', 'SELECT now()',
	'SELECT statement_timestamp()', 'SELECT lo_create(0)', 'SELECT pg_cancel_backend(pg_backend_pid())', 'SELECT pg_read_file(''/etc/hostname'')', 'SELECT pg_ls_dir(''.'')', 'SELECT txid_current()', 'SELECT shop.writes()',
	'SELECT shop.definer()', 'SELECT nextval(''payments.posting_id_seq'')', 'SELECT x FROM pg_class c, LATERAL (SELECT pg_advisory_lock(c.oid::bigint)) x LIMIT 1', 'SELECT count(*) FROM generate_series(1, 3) WHERE pg_try_advisory_lock(1)']) s;
SELECT pg_temp.shut('SELECT query_to_xml(''SELECT pg_advisory_lock(1)'', true, true, '''')', '42501');
SELECT pg_temp.shut('SELECT shop.deep(1)', '54001');
SELECT is_empty($$SELECT FROM pg_locks WHERE locktype = 'advisory'$$, 'no lock is left');
SELECT is(current_setting('TimeZone'), current_setting('TimeZone'), 'settings are as before');
SELECT is_empty('SELECT FROM payments.payment', 'nothing of it was accepted');

-- A role that may do nothing is one that is in nothing.
GRANT pg_read_all_data TO payments_adapter;
SELECT is(pg_temp.try('run SELECT count(*) FROM payments.payment'), 'role "payments_adapter" is a member of another', 'with rights it is not asked');
REVOKE pg_read_all_data FROM payments_adapter;
SELECT is(pg_temp.try('run SELECT 1'), '1 came of it', 'without it is');

-- ---------- time ----------

SET LOCAL client_min_messages = warning;
SELECT lives_ok($$SELECT payments.create_adapter('shop', build => 'shop.loops(jsonb)', time_limit => '100 ms')$$, 'one that never ends');
SELECT is(pg_temp.try(c), 'took longer than 100 ms', 'is ended') FROM unnest('{x,y}'::text[]) c;
SELECT is(pg_temp.try('z'), 'its functions have taken too much time', 'and soon not tried any more');
SELECT lives_ok($$SELECT payments.create_adapter('shop', build => 'shop.clings(jsonb)', time_limit => '21 ms')$$, 'one that catches what is to end it');
SELECT is(pg_temp.try('x'), 'took longer than 21 ms', 'is ended');
SELECT pg_temp.make();
SELECT pg_temp.shut('DO 1', '42601');
CREATE OR REPLACE FUNCTION shop.clings(command jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = 'query_canceled'; END $$;
SELECT payments.create_adapter('shop', build => 'shop.clings(jsonb)');
SELECT is(pg_temp.try('x'), 'raised 57014: as if', 'one that says so itself cancels nobody');
SELECT pg_temp.make();

-- What has failed has not refused: the next of a rule's PSPs is not asked in its place.
SELECT payments.create_route_rule('shop', '{tap,sandbox}', shares => '{1,0}', payment_method => 'token_*');
SELECT throws_ok(format($$SELECT payments.create_payment('routed', 1000, 'EUR', payment_method => 'token_1', description => %L)$$, d), '38000', NULL, d)
FROM unnest(ARRAY['run SELECT 1/0', 'return {"method": "fetch"}', 'return']) d;
SELECT is_empty('SELECT FROM payments.payment', 'nothing of it was accepted');
SELECT payments.create_payment('routed', 1000, 'EUR', payment_method => 'token_1', description => 'run SELECT 1');
SELECT results_eq('SELECT psp FROM payments.payment', $$VALUES ('sandbox')$$, 'one that refuses leaves it to the next');
SELECT payments.drop_route_rule('shop');

-- ---------- requests ----------

SELECT matches(pg_temp.try('return ' || r), '^function build returned what is no request|^its ', r) FROM unnest(ARRAY[
	'null', '1', '"x"', '[]', '{}', '{"method": "POST"}', '{"method": "post", "path": "/"}', '{"method": "POST", "path": "/a b"}', '{"method": "POST", "path": "pay"}', '{"method": "POST", "path": "/a\r\nHost: evil"}',
	'{"method": "POST\r\nX: y", "path": "/"}', '{"method": "GET", "path": "//evil.example/"}', '{"method": "GET", "path": "/a/../b"}', '{"method": "GET", "path": "/%zz"}', '{"method": "GET", "path": ["a", "..", "b"]}',
	'{"method": "GET", "path": ["a", ""]}', '{"method": "GET", "path": ["a", null]}', '{"method": "POST", "path": "/", "text": "x"}', '{"method": "POST", "path": "/", "text": "x", "content_type": "a\r\nb"}',
	'{"method": "POST", "path": "/", "text": "x", "json": {}, "content_type": "a/b"}', '{"method": "POST", "path": "/", "form": [1]}', '{"method": "POST", "path": "/", "form": {"a": {}}}', '{"method": "POST", "path": "/", "body": "x"}',
	'{"method": "GET", "path": "/", "headers": {"Host": "evil"}}', '{"method": "GET", "path": "/", "url": "https://evil.example"}']) r;
SELECT is(pg_temp.try('return'), 'function build returned what is no request: null', 'NULL');
SELECT is(pg_temp.try(format('return {"method": "POST", "path": "/", "content_type": "a/b", "text": "%s"}', repeat('x', 400))), 'accepted', 'a plain text is a body');
SELECT matches(pg_temp.try('run SELECT 1'), '^1 came of it', 'a refusal is told as it is');
CREATE FUNCTION shop.huge(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_build_object('method', 'POST', 'path', '/', 'content_type', 'a/b', 'text', repeat('x', 2000000)) $$;
ALTER FUNCTION shop.huge(jsonb) OWNER TO adapter_author;
SELECT payments.create_adapter('shop', build => 'shop.huge(jsonb)');
SELECT is(pg_temp.try('x'), 'returned too much', 'huge');
SELECT pg_temp.make();
UPDATE payments.queue SET due_at = now() + interval '20 days';

-- ---------- answers ----------

CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text);
CREATE FUNCTION pg_temp.claim() RETURNS SETOF sent LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE claimed_by IS NULL AND psp = 'tap' AND due_at < now() + interval '10 days';
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'tap') RETURNING *
$$;
CREATE FUNCTION pg_temp.answer(body text, http int DEFAULT 200) RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt, $2, '{}', convert_to($1, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.pay(key text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', psp => 'tap', payment_method => 'card', capture => capture, off_session => true)
$$;
CREATE FUNCTION pg_temp.yes(effect text, id text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT format('{"class": "approved", "effect": "%s", "amount": 1000, "currency": "EUR", "object_id": "%s", "psp_payment_id": "p_%s"%s}', effect, id, id, more)
$$;

SELECT pg_temp.pay('ok', 'manual') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'claimed');
SELECT is(method || ' ' || url, 'POST https://one.example/pay/authorize/new', 'method and url') FROM sent;
SELECT is(body, format('n=1&ref=%s&amount=1000&currency=EUR', psp_ref), 'the form, escaped') FROM sent JOIN payments.operation USING (operation_id);
SELECT is(headers, jsonb_build_object('Request-Key', psp_key, 'Content-Type', 'application/x-www-form-urlencoded', 'Shop-Version', '7'), 'headers come from the data') FROM sent;
SELECT is(pg_temp.answer(pg_temp.yes('authorized', 'ok')), 'authorized', 'approved');
SELECT is((SELECT status FROM payments.capture_payment(:'id', 'ok-c', 400)), 'initiated', 'a part is captured');
SELECT is((SELECT url FROM pg_temp.claim()), 'https://one.example/pay/capture/p_ok', 'by the PSP''s id');
SELECT is(pg_temp.answer('{"class": "approved", "effect": "captured", "amount": 400, "currency": "EUR", "object_id": "c1", "fee": 10, "fee_currency": "EUR", "fee_object_id": "f1"}'), 'succeeded', 'and approved');
SELECT results_eq(format('SELECT kind, amount FROM payments.movement WHERE payment_id = %L AND kind IN (''capture'', ''fee'') ORDER BY 1', :'id'), $$VALUES ('capture', 400::bigint), ('fee', 10)$$, 'with its fee');
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'ok-r', 100)), 'initiated', 'a part is refunded');
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'claimed');
SELECT is(pg_temp.answer('{"class": "approved", "effect": "refunded", "amount": 100, "currency": "EUR", "object_id": "r1"}'), 'partially_refunded', 'and approved');

-- Whatever is not as it must be is unknown, and says so; none of it is a no.
CREATE FUNCTION pg_temp.unknown(body text, http int DEFAULT 200, what text DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.pay('unknown-' || md5(body || http::text));
BEGIN
	PERFORM pg_temp.claim();
	RETURN NEXT is(pg_temp.answer(body, http), 'in_doubt', coalesce(what, body));
	UPDATE payments.queue SET due_at = now() + interval '20 days' WHERE payment_id = id;
END
$$;
SELECT pg_temp.unknown(b) FROM unnest(ARRAY[
	'null', '1', '"declined"', '[]', '{}', '<html>', '{"class": "approved"', '{"class": "yes"}', '{"class": 1}', '{"class": null}', '{"class": ["approved"]}', '{"class": "declined", "reason": "mistyped member"}',
	'{"class": "approved", "effect": "captured", "currency": "EUR", "object_id": "x1"}', '{"class": "approved", "effect": "captured", "amount": 10.5, "currency": "EUR", "object_id": "x2"}',
	'{"class": "approved", "effect": "captured", "amount": "1000", "currency": "EUR", "object_id": "x3"}', '{"class": "approved", "effect": "captured", "amount": 1e300, "currency": "EUR", "object_id": "x4"}',
	'{"class": "approved", "effect": "captured", "amount": -1000, "currency": "EUR", "object_id": "x5"}', '{"class": "approved", "effect": "captured", "amount": 1000, "currency": "eur", "object_id": "x6"}',
	'{"class": "approved", "effect": "captured", "amount": 1000, "object_id": "x7"}', '{"class": "approved", "effect": "captured", "amount": 1000, "currency": "EUR"}',
	'{"class": "approved", "effect": "stolen", "amount": 1000, "currency": "EUR", "object_id": "x8"}', '{"class": "approved", "effect": "none", "amount": 1000, "currency": "EUR", "object_id": "x9"}',
	'{"class": "approved", "effect": "captured", "amount": 1000, "currency": "EUR", "object_id": "a b"}', '{"class": "declined", "codes": "x"}', '{"class": "declined", "codes": [1]}',
	'{"class": "declined", "next_action_url": "javascript:alert(1)"}', '{"class": "unknown", "found_nothing": true}', '{"class": "declined", "fee": 5}', '{"run": "SELECT 1/0"}', '{"run": "SELECT pg_sleep(60)"}',
	'{"run": "INSERT INTO payments.posting DEFAULT VALUES"}']) b;
SELECT pg_temp.unknown(repeat('x', 100000), 200, 'a page of something else');
SELECT is_empty($$SELECT FROM payments.movement WHERE object_id LIKE 'x%'$$, 'nothing was booked');

-- What is as it must be means what it says.
CREATE FUNCTION pg_temp.means(body text, status text, http int DEFAULT 200) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	id uuid := pg_temp.pay('means-' || md5(body || http::text));
BEGIN
	PERFORM pg_temp.claim();
	RETURN NEXT is(pg_temp.answer(body, http), status, body);
	UPDATE payments.queue SET due_at = now() + interval '20 days' WHERE payment_id = id;
END
$$;
SELECT pg_temp.means('{"class": "declined", "codes": ["stolen", null], "message": "No."}', 'failed', 402);
INSERT INTO payments.decline_rule (adapter, code, class, builtin) VALUES ('shop', 'soft', 'retry_later', false);
SELECT pg_temp.means('{"class": "declined", "codes": ["soft"]}', 'awaiting_retry');
SELECT pg_temp.means('{"class": "not_sent"}', 'awaiting_retry', 429);
SELECT pg_temp.means('{"class": "pending", "psp_payment_id": "p1"}', 'processing');
SELECT pg_temp.means('{"class": "requires_action", "next_action_url": "https://pay.example/3ds"}', 'requires_action');
SELECT pg_temp.means('{"class": "approved", "effect": "captured", "amount": 999, "currency": "EUR", "object_id": "m1"}', 'in_doubt');
SELECT pg_temp.means('{"class": "approved", "effect": "captured", "amount": 1000, "currency": "USD", "object_id": "m2"}', 'in_doubt');
SELECT is((SELECT count(*)::int FROM payments.exception WHERE kind = 'conflicted'), 2, 'of another amount or currency: a person looks');

-- ---------- lost answers are asked for ----------

SELECT pg_temp.pay('lost') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'lost: claimed');
SELECT is(payments.complete(operation_id, attempt, NULL), 'in_doubt', 'lost: in doubt') FROM sent ORDER BY n DESC LIMIT 1;
SELECT is((SELECT method || ' ' || url FROM pg_temp.claim()), format('GET https://one.example/pay?n=1&ref=%s', psp_ref), 'lost: asked for') FROM payments.operation WHERE payment_id = :'id';
SELECT is(pg_temp.answer('{"class": "not_sent"}'), 'in_doubt', 'an inquiry that was not answered says nothing');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'lost: asked for again');
SELECT is(pg_temp.answer('{"class": "unknown", "found_nothing": true}'), 'in_doubt', 'lost: not there');
SELECT is((SELECT method || ' ' || psp_key FROM pg_temp.claim()), (SELECT 'POST ' || psp_key FROM payments.attempt WHERE operation_id = o.operation_id AND attempt = 1), 'lost: sent again under the same key') FROM payments.operation o WHERE payment_id = :'id';
SELECT is(count(DISTINCT body), 1::bigint, 'and the same bytes') FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id' AND action = 'send';
SELECT is(pg_temp.answer(pg_temp.yes('captured', 'lost')), 'succeeded', 'lost: done once');

-- ---------- what it can be asked, it is asked ----------

CREATE TEMP TABLE hmac AS
SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) AS inner_pad, string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i) AS outer_pad
FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;
SELECT payments.create_adapter(adapter => a, build => 'shop.build(jsonb)', build_inquiry => 'shop.build_inquiry(jsonb)', classify => 'shop.classify(jsonb)', parse => 'shop.parse(jsonb)',
	can => '{charge,authorize,capture}', authorize => '{"scheme": "bearer"}', verify => '{"scheme": "hmac-sha256", "header": "Shop-Signature", "over": "{body}", "encoding": "hex"}',
	key_header => 'Request-Key', key_valid => '23 hours', time_limit => '2 s'), payments.create_psp(a, a, 'https://one.example', 'tap') FROM unnest(ARRAY['told', 'gone']) a;
CREATE FUNCTION pg_temp.told(result jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT r.status FROM hmac h, convert_to(jsonb_build_object('events', jsonb_build_array(jsonb_build_object('event_id', md5($1::text), 'event_type', 't', 'result', $1)))::text, 'UTF8') body,
		payments.receive_webhook('told', jsonb_build_object('Shop-Signature', encode(sha256(h.outer_pad || sha256(h.inner_pad || body)), 'hex')), body) r
$$;
CREATE FUNCTION pg_temp.claim_told() RETURNS SETOF sent LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE psp = 'told';
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'told') RETURNING *
$$;
SELECT payment_id AS id FROM payments.create_payment('told', 1000, 'EUR', psp => 'told', payment_method => 'card') \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim_told()), 1, 'claimed');
SELECT is(pg_temp.answer('{"class": "pending", "psp_payment_id": "p_told"}'), 'processing', 'accepted');
SELECT is(pg_temp.told(jsonb_build_object('class', 'declined', 'codes', '["stolen"]'::jsonb, 'psp_ref', psp_ref, 'generation', 1)), 'processing', 'that an event tells of a decline is not the end') FROM payments.operation WHERE payment_id = :'id';
SELECT is((SELECT method FROM pg_temp.claim_told()), 'GET', 'the PSP is asked');
SELECT is(pg_temp.answer(pg_temp.yes('captured', 'told')), 'succeeded', 'and has the last word');

-- Authorizations whose time is over; more than a round has are of a PSP whose adapter has gone.
SELECT payment_id AS id FROM payments.create_payment('over', 1000, 'EUR', psp => 'told', payment_method => 'card', capture => 'manual') \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim_told()), 1, 'claimed');
SELECT is(pg_temp.answer(pg_temp.yes('authorized', 'over')), 'authorized', 'authorized');
SELECT count(payments.create_payment('gone-' || i, 1000, 'EUR', psp => 'gone', payment_method => 'card', capture => 'manual')) FROM generate_series(1, 60) i;
SELECT is(count(payments.complete(operation_id, attempt, 200, '{}', convert_to(pg_temp.yes('authorized', operation_id::text), 'UTF8'))), 60::bigint, 'many more') FROM payments.claim('d', 60, psp => 'gone');
UPDATE payments.adapter SET build = 'nonsense' WHERE adapter = 'gone';
UPDATE payments.payment SET capture_before = now() - CASE psp WHEN 'gone' THEN interval '1 day' ELSE '1 second' END WHERE psp IN ('gone', 'told') AND authorized > captured;
SELECT is((SELECT method FROM pg_temp.claim_told()), 'GET', 'the PSP is asked');
SELECT is((SELECT kind FROM payments.operation JOIN sent USING (operation_id) ORDER BY n DESC LIMIT 1), 'expire', 'whether it has expired');
SELECT is((SELECT count(*)::int FROM payments.operation WHERE psp = 'gone' AND kind = 'expire'), 0, 'about the others nobody can be');

-- One call that was too slow is no reason to read no answer.
SELECT payments.create_adapter('shop', time_limit => '300 ms');
SELECT pg_temp.pay('slow') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'in flight');
SELECT is(pg_temp.try('run SELECT shop.loops(NULL)'), 'took longer than 300 ms', 'while another takes too long');
SELECT is(pg_temp.answer(pg_temp.yes('captured', 'slow')), 'succeeded', 'it is read');
SELECT pg_temp.make();

-- ---------- functions that change while something is on its way ----------

SELECT pg_temp.pay('flight') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'in flight');
ALTER FUNCTION shop.classify(jsonb) OWNER TO adapter_other;
SELECT is(pg_temp.answer(pg_temp.yes('captured', 'flight')), 'in_doubt', 'a function that is another''s now says nothing');
SELECT throws_ok($$SELECT payments.claim('d', psp => 'tap')$$, 'PY402', NULL, 'and nothing more is sent');
SELECT is((SELECT body FROM payments.attempt_answer a JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), convert_to(pg_temp.yes('captured', 'flight'), 'UTF8'), 'what the PSP said is kept');
ALTER FUNCTION shop.classify(jsonb) OWNER TO adapter_author;
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'repaired: the PSP is asked');
SELECT is(pg_temp.answer(pg_temp.yes('captured', 'flight')), 'succeeded', 'and has the last word');

SELECT pg_temp.pay('unbuildable') AS id \gset
CREATE OR REPLACE FUNCTION shop.build(command jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'no more'; END $$;
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 0, 'what cannot be built any more is not sent');
SELECT results_eq(format('SELECT reason, detail FROM payments.dead_letter WHERE payment_id = %L', :'id'), $$VALUES ('cannot_build', 'function shop.build(jsonb) raised P0001: no more')$$, 'but a dead letter');
SELECT is_empty(format('SELECT FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = %L', :'id'), 'of which no byte has left');

-- ---------- events ----------

SELECT is((SELECT duplicate FROM payments.receive_webhook('tap', '{}', '{"events": [{"event_id": "e1", "event_type": "t"}]}')), false, 'of a PSP that signs nothing an event is a hint');
SELECT throws_ok(format($$SELECT payments.receive_webhook('tap', '{}', %L)$$, b), 'PY503', NULL, b) FROM unnest(ARRAY['null', '[]', '{}', '<xml>', '{"events": [1]}', '{"events": [{"event_id": "e"}]}', '{"events": [{"event_id": "e", "event_type": "t", "result": {"class": "maybe"}}]}',
	'{"events": [{"event_id": "e", "event_type": "t", "amount": 1}]}', '{"events": [], "answer": "x"}']) b;

-- ---------- test_adapter() ----------

-- Those of the library keep to it; what is a PSP's own is for samples to say.
SELECT is_empty(format('SELECT "check", detail FROM payments.test_adapter(%L) WHERE NOT ok', a), a || ' keeps to what an adapter must') FROM unnest(ARRAY['sandbox', 'stripe', 'yookassa']) a;
CREATE FUNCTION pg_temp.sample(body text, expect text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('name', 's', 'command', jsonb_build_object('psp_ref', 'r1'), 'text', body, 'expect', expect::jsonb))
$$;
SELECT is_empty($$SELECT * FROM payments.test_adapter('stripe', pg_temp.sample(
	'{"id": "pi_1", "object": "payment_intent", "amount": 1050, "amount_received": 1050, "amount_capturable": 0, "currency": "eur", "status": "succeeded", "metadata": {"payments_ref": "r1", "payments_generation": "1"}}',
	'{"class": "approved", "effect": "captured", "amount": 1050, "object_id": "pi_1", "psp_ref": "r1"}')) WHERE NOT ok$$, 'with a sample of Stripe''s too');
SELECT results_eq($$SELECT "check" FROM payments.test_adapter('stripe', pg_temp.sample('{"id": "pi_1", "object": "payment_intent"}', '{"class": "approved"}')) WHERE NOT ok$$, $$VALUES ('s: means what it should')$$, 'a sample that means something else is told');
SELECT throws_ok($$SELECT payments.test_adapter('nobody')$$, 'PY402', NULL, 'of no adapter it can say nothing');

-- What is wrong with an adapter is found: each of these breaks one thing.
CREATE FUNCTION shop.good_build(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN command ->> 'psp_ref' IS NULL THEN '{"refusal": "no reference"}'
		ELSE jsonb_build_object('method', 'POST', 'path', jsonb_build_array('pay', coalesce(command ->> 'psp_payment_id', 'new')), 'json', command) END
$$;
CREATE FUNCTION shop.good_classify(answer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN answer -> 'json' ? 'class' AND NOT (answer -> 'inquiry')::boolean THEN answer -> 'json' ELSE '{"class": "unknown"}' END
$$;
CREATE FUNCTION shop.no_reference(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT '{"method": "POST", "path": "/pay", "json": {}}'::jsonb $$;
CREATE FUNCTION shop.injects(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN command ->> 'psp_ref' IS NULL THEN '{"refusal": "no reference"}' ELSE jsonb_build_object('method', 'POST', 'path', '/pay/' || (command ->> 'payment_method'), 'json', command) END
$$;
CREATE FUNCTION shop.by_the_day(command jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT shop.good_build(command) || jsonb_build_object('query', jsonb_build_object('n', current_timestamp::text))
$$;
CREATE FUNCTION shop.says_no(answer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN (answer ->> 'http_status')::int >= 500 AND NOT (answer -> 'inquiry')::boolean THEN '{"class": "declined"}' ELSE shop.good_classify(answer) END
$$;
CREATE FUNCTION shop.echoes(answer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT shop.good_classify(answer) || CASE WHEN answer -> 'json' ? 'amount' THEN jsonb_build_object('amount', answer -> 'command' -> 'amount', 'currency', answer -> 'command' -> 'currency', 'psp_ref', answer -> 'command' -> 'psp_ref') ELSE '{}' END
$$;
CREATE FUNCTION shop.reads_halves(answer jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN answer ->> 'text' ~ 'declined' THEN '{"class": "declined"}' ELSE shop.good_classify(answer) END
$$;
CREATE FUNCTION shop.no_ids(inbound jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT '{"events": [{"event_id": "e", "event_type": "t", "result": {"class": "pending"}}]}'::jsonb $$;
DO $$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'shop'::regnamespace AND prorettype = 'jsonb'::regtype LOOP
		EXECUTE format('ALTER FUNCTION %s OWNER TO adapter_author', f);
	END LOOP;
END
$$;
CREATE FUNCTION pg_temp.found(changes text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	PERFORM payments.create_adapter('tried', build => 'shop.good_build(jsonb)', build_inquiry => 'shop.build_inquiry(jsonb)', classify => 'shop.good_classify(jsonb)', can => '{charge}',
		authorize => '{"scheme": "bearer"}', verify => '{"scheme": "standard-webhooks"}', parse => 'shop.parse(jsonb)', key_header => 'Request-Key', time_limit => '5 s',
		samples => pg_temp.sample('{"class": "approved", "effect": "captured", "amount": 1050, "currency": "EUR", "object_id": "o1", "psp_ref": "r1"}', '{"class": "approved", "object_id": "o1"}') ||
			'[{"name": "d", "text": "{\"class\": \"declined\", \"message\": \"0123456789012345678901234567890\"}", "expect": {"class": "declined"}},
			  {"name": "e", "event": true, "json": {"events": [{"event_id": "e1", "event_type": "t", "result": {"class": "pending", "psp_ref": "r1"}}]}, "expect": {"event_id": "e1", "class": "pending"}}]');
	IF changes <> '' THEN
		EXECUTE format('SELECT payments.create_adapter(''tried'', %s)', changes);
	END IF;
	SELECT string_agg("check", '; ') INTO found FROM payments.test_adapter('tried') WHERE NOT ok;
	RETURN found;
END
$$;
SELECT is(pg_temp.found(''), 'no function of it reads a clock', 'bytes of the day');
DROP FUNCTION shop.by_the_day(jsonb);
SELECT is(pg_temp.found(''), NULL, 'a good one');
SELECT is(pg_temp.found($$build => 'shop.no_reference(jsonb)'$$), 'charge: none without a reference', 'a request that names no operation');
SELECT is(pg_temp.found($$build => 'shop.injects(jsonb)'$$), 'charge: whatever stands in it is escaped', 'a path that a client writes');
SELECT is(pg_temp.found($$build_inquiry => 'shop.no_reference(jsonb)'$$), 'charge: an inquiry names the operation', 'a question about nothing');
SELECT is(pg_temp.found($$classify => 'shop.says_no(jsonb)'$$), 'charge: an answer that it cannot read is unknown', 'a no that nobody has said');
SELECT is(pg_temp.found($$classify => 'shop.echoes(jsonb)'$$), 's: another amount than we asked for is seen; s: another currency too; s: the answer to another operation too', 'what we asked for, for what was done');
SELECT is(pg_temp.found($$classify => 'shop.reads_halves(jsonb)'$$), 'd: cut short it is unknown', 'half an answer');
SELECT is(pg_temp.found($$parse => 'shop.no_ids(jsonb)'$$), 'e: means what it should', 'an event that is not read');
SELECT matches(pg_temp.found($$classify => 'shop.loops(jsonb)', time_limit => '10 ms'$$), 'it ends in time', 'one that does not end');

SELECT is_empty($$SELECT * FROM payments.check() WHERE NOT ok$$, 'the books are right');
SELECT * FROM finish();
ROLLBACK;
