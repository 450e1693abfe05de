-- If this fails, a mistake of a caller is charged to somebody, leaves half of
-- a payment behind, or puts a card number or a secret into the database.

\set VERBOSITY terse
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN sqlstate || ' ' || sqlerrm || CASE WHEN detail <> '' THEN ' (' || detail || ')' ELSE '' END
		|| CASE WHEN hint <> '' THEN ' / ' || hint ELSE '' END;
END
$$;
-- How many rows each table has.
CREATE FUNCTION pg_temp.counts() RETURNS jsonb
	LANGUAGE plpgsql AS $$
DECLARE
	t record;
	n bigint;
	result jsonb := '{}';
BEGIN
	FOR t IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p') LOOP
		EXECUTE format('SELECT count(*) FROM payments.%I', t.relname) INTO n;
		result := result || jsonb_build_object(t.relname, n);
	END LOOP;
	RETURN result;
END
$$;

-- Channels and payments to try it on: one captured, one cancelled, one authorized.
SELECT payments.create_psp('bad_stripe', 'stripe', secret => 'regress_no_such_secret');
CREATE FUNCTION pg_temp.drain() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c record;
	n int := 1;
BEGIN
	WHILE n > 0 LOOP
		n := 0;
		FOR c IN SELECT * FROM payments.claim('regress', max => 1000) LOOP
			n := n + 1;
			PERFORM payments.complete(c.operation_id, c.attempt, 200);
		END LOOP;
	END LOOP;
END
$$;
SELECT payment_id AS id FROM payments.create_payment('bad-captured', 10000, 'EUR') \gset captured_
SELECT payment_id AS id FROM payments.create_payment('bad-authorized', 10000, 'EUR', capture => 'manual') \gset authorized_
SELECT pg_temp.drain();
SELECT payment_id AS id FROM payments.create_payment('bad-cancelled', 10000, 'EUR', capture => 'manual') \gset cancelled_
SELECT status FROM payments.cancel_payment(:'cancelled_id', 'bad-cancel');
SELECT payment_id AS id FROM payments.create_payment('bad-refunded', 10000, 'EUR') \gset refunded_
SELECT pg_temp.drain();
SELECT payments.refund_payment(:'refunded_id', 'bad-refund') IS NOT NULL AS refunds;
SELECT pg_temp.drain();
SELECT status, captured, authorized FROM payments.get_payment(:'captured_id');
SELECT status, captured, authorized FROM payments.get_payment(:'authorized_id');

SELECT pg_temp.counts() AS before \gset

-- Amounts.
SELECT what, pg_temp.attempt(format('SELECT payments.create_payment(%s)', args)) AS outcome
FROM (VALUES
	(1, 'zero', $$'bad', 0, 'EUR'$$),
	(2, 'negative', $$'bad', -1, 'EUR'$$),
	(3, 'null', $$'bad', NULL, 'EUR'$$),
	(4, '2^63-1', $$'bad', 9223372036854775807, 'EUR'$$),
	(5, '2^63', $$'bad', 9223372036854775808, 'EUR'$$),
	(6, 'one above the largest', $$'bad', 1000000000000000, 'EUR'$$),
	(7, 'with decimals', $$'bad', 10.50, 'EUR'$$),
	(8, 'above the limit', $$'bad', 100000001, 'EUR'$$)
) t (n, what, args) ORDER BY n;

-- Currencies, and amounts that the PSP cannot charge exactly.
SELECT what, pg_temp.attempt(format('SELECT payments.create_payment(%s)', args)) AS outcome
FROM (VALUES
	(1, 'lower case', $$'bad', 100, 'eur'$$),
	(2, 'unknown', $$'bad', 100, 'XYZ'$$),
	(3, 'null', $$'bad', 100, NULL$$),
	(4, 'empty', $$'bad', 100, ''$$),
	(5, 'blank after it', $$'bad', 100, 'EUR '$$),
	(6, 'KWD, last digit not 0', $$'bad', 1001, 'KWD', psp => 'bad_stripe'$$),
	(7, 'MGA with its cents', $$'bad', 1001, 'MGA', psp => 'bad_stripe'$$)
) t (n, what, args) ORDER BY n;

-- Merchants, PSPs, words.
SELECT what, pg_temp.attempt(format('SELECT payments.create_payment(%s)', args)) AS outcome
FROM (VALUES
	(1, 'unknown merchant', $$'bad', 100, 'EUR', merchant => 'nobody'$$),
	(2, 'no merchant', $$'bad', 100, 'EUR', merchant => NULL$$),
	(3, 'unknown PSP', $$'bad', 100, 'EUR', psp => 'nowhere'$$),
	(4, 'capture', $$'bad', 100, 'EUR', capture => 'later'$$),
	(5, 'capture null', $$'bad', 100, 'EUR', capture => NULL$$),
	(6, 'return_url', $$'bad', 100, 'EUR', return_url => 'javascript:alert(1)'$$),
	(7, 'metadata is a list', $$'bad', 100, 'EUR', metadata => '[1]'$$),
	(8, 'metadata is a string', $$'bad', 100, 'EUR', metadata => '"x"'$$),
	(9, 'metadata with \u0000', $$'bad', 100, 'EUR', metadata => '{"a": "\u0000"}'$$),
	(10, 'metadata truncated', $$'bad', 100, 'EUR', metadata => '{"a": 1'$$),
	(11, 'metadata too large', $$'bad', 100, 'EUR', metadata => jsonb_build_object('a', repeat('x', 20000))$$),
	(12, 'metadata of 10 MB', $$'bad', 100, 'EUR', metadata => jsonb_build_object('a', repeat('x', 10485760))$$),
	(13, 'order_ref too long', $$'bad', 100, 'EUR', order_ref => repeat('x', 256)$$),
	(14, 'description too long', $$'bad', 100, 'EUR', description => repeat('x', 1001)$$),
	(15, 'return_url too long', $$'bad', 100, 'EUR', return_url => 'https://shop.example/' || repeat('x', 2000)$$)
) t (n, what, args) ORDER BY n;

-- Keys: every verb refuses the same ones.
SELECT verb, what, pg_temp.attempt(format('SELECT payments.%s', replace(call, '$', key))) AS outcome
FROM (VALUES
	(1, 'create', 'create_payment($, 100, ''EUR'')'),
	(2, 'capture', format('capture_payment(%L, $)', :'authorized_id')),
	(3, 'cancel', format('cancel_payment(%L, $)', :'authorized_id')),
	(4, 'refund', format('refund_payment(%L, $)', :'captured_id'))
) v (n, verb, call), (VALUES
	(1, 'null', 'NULL'),
	(2, 'empty', ''''''),
	(3, '256 characters', 'repeat(''k'', 256)'),
	(4, '256 of two bytes', 'repeat(''é'', 256)'),
	(5, 'newline', 'E''a\nb'''),
	(6, 'delete', 'E''a\x7f'''),
	(7, 'card number', '''order 4111 1111 1111 1111''')
) k (m, what, key) ORDER BY n, m;

-- Card numbers, in every text that is kept.
SELECT what, pg_temp.attempt(format('SELECT payments.%s', call)) AS outcome
FROM (VALUES
	(1, 'payment_method', $$create_payment('bad', 100, 'EUR', payment_method => '4111111111111111')$$),
	(2, 'order_ref', $$create_payment('bad', 100, 'EUR', order_ref => '5555-5555-5555-4444')$$),
	(3, 'customer', $$create_payment('bad', 100, 'EUR', customer => 'Jo 378282246310005')$$),
	(4, 'return_url', $$create_payment('bad', 100, 'EUR', return_url => 'https://shop.example/?pan=4111111111111111')$$),
	(5, 'description', $$create_payment('bad', 100, 'EUR', description => 'card 4111 1111 1111 1111 12/29')$$),
	(6, 'metadata value', $$create_payment('bad', 100, 'EUR', metadata => '{"note": "4111 1111 1111 1111"}')$$),
	(7, 'metadata number', $$create_payment('bad', 100, 'EUR', metadata => '{"n": 4111111111111111}')$$),
	(8, 'metadata name', $$create_payment('bad', 100, 'EUR', metadata => '{"4111111111111111": 1}')$$),
	(9, 'metadata deep', $$create_payment('bad', 100, 'EUR', metadata => '{"a": [{"b": ["4111111111111111"]}]}')$$),
	(10, 'refund reason', format('refund_payment(%L, %L, reason => %L)', :'captured_id', 'bad', '4111111111111111')),
	(11, 'cancel reason', format('cancel_payment(%L, %L, reason => %L)', :'authorized_id', 'bad', '4111111111111111')),
	(12, 'discard reason', $$discard('00000000-0000-7000-8000-000000000000', '4111111111111111')$$)
) t (n, what, call) ORDER BY n;

-- Control characters, likewise.
SELECT what, pg_temp.attempt(format('SELECT payments.%s', call)) AS outcome
FROM (VALUES
	(1, 'payment_method', $$create_payment('bad', 100, 'EUR', payment_method => E'a\tb')$$),
	(2, 'order_ref', $$create_payment('bad', 100, 'EUR', order_ref => E'a\r\nX-Header: 1')$$),
	(3, 'customer', $$create_payment('bad', 100, 'EUR', customer => E'\x1b[31m')$$),
	(4, 'return_url', $$create_payment('bad', 100, 'EUR', return_url => E'https://shop.example/\r\n')$$),
	(5, 'description', $$create_payment('bad', 100, 'EUR', description => E'a\x01b')$$),
	(6, 'refund reason', format('refund_payment(%L, %L, reason => %L)', :'captured_id', 'bad', E'a\nb'))
) t (n, what, call) ORDER BY n;

-- More than there is, in the wrong order.
SELECT what, pg_temp.attempt(format('SELECT payments.%s', call)) AS outcome
FROM (VALUES
	(1, 'refund over capture', format('refund_payment(%L, %L, 10001)', :'captured_id', 'bad')),
	(2, 'refund zero', format('refund_payment(%L, %L, 0)', :'captured_id', 'bad')),
	(3, 'refund negative', format('refund_payment(%L, %L, -1)', :'captured_id', 'bad')),
	(4, 'refund 2^63-1', format('refund_payment(%L, %L, 9223372036854775807)', :'captured_id', 'bad')),
	(5, 'capture over authorization', format('capture_payment(%L, %L, 10001)', :'authorized_id', 'bad')),
	(6, 'capture zero', format('capture_payment(%L, %L, 0)', :'authorized_id', 'bad')),
	(7, 'capture after cancel', format('capture_payment(%L, %L)', :'cancelled_id', 'bad')),
	(8, 'capture after capture', format('capture_payment(%L, %L)', :'captured_id', 'bad')),
	(9, 'cancel after capture', format('cancel_payment(%L, %L)', :'captured_id', 'bad')),
	(10, 'refund of an authorization', format('refund_payment(%L, %L)', :'authorized_id', 'bad')),
	(11, 'refund after cancel', format('refund_payment(%L, %L)', :'cancelled_id', 'bad')),
	(12, 'refund of nothing left', format('refund_payment(%L, %L)', :'refunded_id', 'bad'))
) t (n, what, call) ORDER BY n;

-- PSPs.
SELECT what, pg_temp.attempt(format('SELECT payments.create_psp(%s)', args)) AS outcome
FROM (VALUES
	(1, 'unknown adapter', $$'bad_psp', 'visa'$$),
	(2, 'no adapter', $$'bad_psp', NULL$$),
	(3, 'no name', $$NULL, 'stripe'$$),
	(4, 'name', $$'Bad PSP', 'stripe'$$),
	(5, 'another adapter', $$'bad_stripe', 'sandbox'$$),
	(6, 'plain http', $$'bad_psp', 'stripe', 'http://api.stripe.com'$$),
	(7, 'ftp', $$'bad_psp', 'stripe', 'ftp://api.stripe.com'$$),
	(8, 'no scheme', $$'bad_psp', 'stripe', 'api.stripe.com'$$),
	(9, 'userinfo', $$'bad_psp', 'stripe', 'https://me:secret@api.stripe.com'$$),
	(10, 'fragment', $$'bad_psp', 'stripe', 'https://api.stripe.com/#x'$$),
	(11, 'newline', $$'bad_psp', 'stripe', E'https://api.stripe.com\r\nX: y'$$),
	(12, 'empty', $$'bad_psp', 'stripe', ''$$),
	(13, 'loopback', $$'bad_psp', 'stripe', 'https://127.0.0.1'$$),
	(14, 'localhost', $$'bad_psp', 'stripe', 'https://localhost:8443'$$),
	(15, 'private', $$'bad_psp', 'stripe', 'https://10.0.0.1'$$),
	(16, 'private', $$'bad_psp', 'stripe', 'https://192.168.1.1/v1'$$),
	(17, 'private', $$'bad_psp', 'stripe', 'https://172.16.0.1'$$),
	(18, 'metadata service', $$'bad_psp', 'stripe', 'https://169.254.169.254'$$),
	(19, 'decimal', $$'bad_psp', 'stripe', 'https://2130706433'$$),
	(20, 'octal', $$'bad_psp', 'stripe', 'https://0177.0.0.1'$$),
	(21, 'hexadecimal', $$'bad_psp', 'stripe', 'https://0x7f000001'$$),
	(22, 'short', $$'bad_psp', 'stripe', 'https://127.1'$$),
	(23, 'IPv6 loopback', $$'bad_psp', 'stripe', 'https://[::1]'$$),
	(24, 'IPv6 mapped', $$'bad_psp', 'stripe', 'https://[::ffff:10.0.0.1]'$$),
	(25, 'IPv6 private', $$'bad_psp', 'stripe', 'https://[fd00::1]'$$),
	(26, 'the secret itself', $$'bad_psp', 'stripe', NULL, 'sk_live_51H0000000000000000'$$),
	(27, 'the secret itself', $$'bad_psp', 'stripe', NULL, 'whsec_00000000000000000000'$$),
	(28, 'secret with a path', $$'bad_psp', 'stripe', NULL, '../stripe'$$),
	(29, 'secret too long for a name', $$'bad_psp', 'stripe', NULL, repeat('a', 64)$$),
	(30, 'empty secret', $$'bad_psp', 'stripe', NULL, ''$$),
	(31, 'name too long', $$repeat('a', 64), 'stripe'$$)
) t (n, what, args) ORDER BY n;
SELECT pg_temp.attempt($$SELECT payments.create_merchant('bad_shop', psp => 'nowhere')$$) AS merchant_of_unknown_psp;
SELECT pg_temp.attempt($$SELECT payments.create_merchant('bad_shop', app_role => 'bad_no_such_role')$$) AS merchant_of_unknown_role;
SELECT pg_temp.attempt($$SELECT payments.resume_psp('nowhere')$$) AS resume_unknown;

-- The external worker's door.
SELECT what, pg_temp.attempt(format('SELECT payments.%s', call)) AS outcome
FROM (VALUES
	(1, 'not armed', $$claim('regress', psp => 'bad_stripe')$$),
	(2, 'unknown PSP', $$claim('regress', psp => 'nowhere')$$),
	(3, 'no PSP', $$claim('regress', psp => NULL)$$),
	(4, 'no worker', $$claim(NULL)$$),
	(5, 'empty worker', $$claim('')$$),
	(6, 'worker too long', $$claim(repeat('w', 64))$$),
	(7, 'none', $$claim('regress', max => 0)$$),
	(8, 'too many', $$claim('regress', max => 5001)$$),
	(9, 'no lease', $$claim('regress', lease => '0')$$),
	(10, 'lease too long', $$claim('regress', lease => '2 days')$$),
	(11, 'lease of ages', $$claim('regress', lease => '178000000 years')$$),
	(12, 'lease backwards', $$claim('regress', lease => '-1 hour')$$),
	(13, 'no such attempt', $$complete('00000000-0000-7000-8000-000000000000', 1, 200)$$),
	(14, 'no attempt', $$complete('00000000-0000-7000-8000-000000000000', NULL, 200)$$),
	(15, 'status 99', $$complete('00000000-0000-7000-8000-000000000000', 1, 99)$$),
	(16, 'headers', $$complete('00000000-0000-7000-8000-000000000000', 1, 200, '[]')$$)
) t (n, what, call) ORDER BY n;

-- Dead letters.
SELECT pg_temp.attempt('SELECT payments.redrive(''00000000-0000-7000-8000-000000000000'')') AS redrive,
	pg_temp.attempt($$SELECT payments.discard('00000000-0000-7000-8000-000000000000', 'because')$$) AS discard,
	pg_temp.attempt('SELECT payments.discard(''00000000-0000-7000-8000-000000000000'', NULL)') AS without_reason;

-- Nothing was left behind, not even the key.
SELECT key, value AS now, (:'before'::jsonb) -> key AS before FROM jsonb_each(pg_temp.counts()) WHERE value <> (:'before'::jsonb) -> key;

-- What is good is taken: the largest amount, and the currencies that Stripe counts in its own way.
INSERT INTO payments.amount_limit (currency, amount_max, builtin) VALUES ('EUR', 999999999999999, false);
SELECT what, pg_temp.attempt(format('SELECT payments.create_payment(%s)', args)) AS outcome
FROM (VALUES
	(1, 'largest', $$'bad', 999999999999999, 'EUR'$$),
	(2, 'JPY', $$'good-jpy', 1, 'JPY', payment_method => 'pm_card_visa', psp => 'bad_stripe'$$),
	(3, 'KWD', $$'good-kwd', 1010, 'KWD', payment_method => 'pm_card_visa', psp => 'bad_stripe'$$),
	(4, 'ISK', $$'good-isk', 7, 'ISK', payment_method => 'pm_card_visa', psp => 'bad_stripe'$$),
	(5, 'not a card number', $$'good-1', 100, 'EUR', order_ref => '4111111111111112'$$),
	(6, 'digits inside a word', $$'good-2', 100, 'EUR', order_ref => 'o1d501800000058'$$),
	(7, 'https', $$'good-3', 100, 'EUR', return_url => 'https://shop.example/done?x=1'$$)
) t (n, what, args) ORDER BY n;
SELECT amount_text FROM payments.idempotency_key k, payments.get_payment(k.payment_id) WHERE k.key LIKE 'good-___' ORDER BY 1;
SELECT payments.cancel_payment(payment_id, key || '-undo') IS NOT NULL AS cancelled FROM payments.idempotency_key
WHERE key LIKE 'good-%' OR key = 'bad' ORDER BY key;
SELECT invariant, violations FROM payments.check() WHERE NOT ok;
