-- If this fails, an amount reaches Adyen in other units than it counts in, or a
-- payment whose answer was lost is sent once more after Adyen has forgotten its
-- key, or is given up without a word.
--
-- Adyen's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'adyen', secret => 'tap', config => '{"merchant_account": "PeerShop", "return_url": "https://shop.example/back"}'), payments.arm();

CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, body jsonb, bytes text, psp_key text);
-- The next call of the payment, whenever it is due; how many there are.
CREATE FUNCTION pg_temp.claim(id uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	UPDATE payments.queue SET due_at = CASE WHEN payment_id = id THEN clock_timestamp() ELSE now() + interval '20 days' END WHERE psp = 'tap' AND claimed_by IS NULL;
	INSERT INTO sent (operation_id, attempt, method, url, body, bytes, psp_key)
	SELECT c.operation_id, c.attempt, c.method, c.url, c.body::jsonb, c.body, c.psp_key FROM payments.claim('tap', psp => 'tap') c;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
CREATE FUNCTION pg_temp.answer(http int, body text DEFAULT '') RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt, $1, '{}', convert_to($2, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
-- An answer to the last call, of a payment.
CREATE FUNCTION pg_temp.payment(code text, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT (jsonb_build_object('pspReference', 'P' || translate(right(s.operation_id::text, 12), 'abcdef', 'ABCDEF') || 'XYZ', 'resultCode', code,
		'merchantReference', s.body ->> 'reference', 'amount', s.body -> 'amount') || more)::text FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.make(key text, amount bigint DEFAULT 1000, currency text DEFAULT 'EUR', capture text DEFAULT 'automatic', off_session boolean DEFAULT false, method text DEFAULT 'TOKEN1') RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, amount, currency, psp => 'tap', payment_method => method, customer => 'shopper-1', capture => capture, off_session => off_session)
$$;
CREATE FUNCTION pg_temp.state(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', p.status, o.status, o.failure_code, q.action, d.reason) FROM payments.payment p JOIN payments.operation o USING (payment_id)
	LEFT JOIN payments.queue q USING (operation_id) LEFT JOIN payments.dead_letter d ON d.operation_id = o.operation_id AND d.decision IS NULL
	WHERE p.payment_id = id ORDER BY o.created_at DESC, o.operation_id DESC LIMIT 1
$$;

-- ---------- amounts, of every currency that there is
CREATE TEMP TABLE round AS SELECT c.currency, 12 * 10 ^ c.exponent::numeric AS ours, 12 * 10 ^ coalesce(x.exponent, c.exponent)::numeric AS adyens
FROM payments.currency c LEFT JOIN payments.psp_currency x ON x.adapter = 'adyen' AND x.currency = c.currency;
CREATE TEMP TABLE came (currency text, value numeric, status text, captured bigint);
DO $$
DECLARE
	r record;
	id uuid;
	said text;
BEGIN
	FOR r IN SELECT * FROM round LOOP
		id := pg_temp.make('units-' || r.currency, r.ours::bigint, r.currency);
		PERFORM pg_temp.claim(id);
		said := pg_temp.answer(200, pg_temp.payment('Authorised'));
		INSERT INTO came SELECT r.currency, (s.body #>> '{amount,value}')::numeric, said, p.captured
		FROM payments.payment p, sent s WHERE p.payment_id = id AND s.operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = id);
	END LOOP;
END
$$;
SELECT cmp_ok((SELECT count(*)::int FROM came), '>', 150, 'all currencies');
SELECT is_empty('SELECT c.* FROM came c JOIN round r USING (currency) WHERE (c.value, c.status, c.captured) IS DISTINCT FROM (r.adyens, ''succeeded'', r.ours::bigint)', 'go out in Adyen''s units and come back in ours');
SELECT is((SELECT string_agg(currency || ' ' || value, ', ' ORDER BY currency) FROM came JOIN round USING (currency) WHERE ours <> adyens), 'CLP 1200, CVE 12, IDR 12, ISK 1200', 'four of them count otherwise than ISO 4217 has it');
SELECT throws_ok($$SELECT pg_temp.make('precise', 1050, 'IDR')$$, 'PY014', NULL, 'what cannot be said there exactly is refused');

-- ---------- no answer
SELECT pg_temp.make('lost') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'lost: sent');
SELECT is(pg_temp.answer(502, '<html>'), 'in_doubt', 'lost: in doubt');
SELECT is(pg_temp.claim(:'id'), 1, 'lost: there is nothing to ask with, so it is sent once more');
SELECT is((SELECT count(DISTINCT (method, url, bytes, psp_key))::int FROM sent WHERE operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = :'id')), 1, 'lost: the same bytes under the same key');
SELECT is((SELECT max(length(psp_key)) <= 64 FROM sent), true, 'lost: a key as short as Adyen wants it');
SELECT is(pg_temp.state(:'id'), 'in_doubt in_doubt send', 'lost: in doubt while it is on its way');
SELECT is(pg_temp.answer(200, pg_temp.payment('Authorised')), 'succeeded', 'lost: the first answer, again');

-- Another worker's request is still being executed: it may charge yet, and the key is used.
SELECT pg_temp.make('twin') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'twin: sent');
SELECT is((SELECT payments.complete(operation_id, attempt, 422, '{"transient-error": "true"}', '{"status": 422, "errorCode": "704", "errorType": "validation", "message": "in progress"}') FROM sent ORDER BY n DESC LIMIT 1),
	'in_doubt', 'twin: what is being executed elsewhere is in doubt, whatever is said of this request');
SELECT is((SELECT key_used_at IS NOT NULL FROM payments.operation WHERE payment_id = :'id'), true, 'twin: and its key is used');
SELECT is(pg_temp.claim(:'id'), 1, 'twin: sent once more');
SELECT is((SELECT count(DISTINCT (bytes, psp_key))::int FROM sent WHERE operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = :'id')), 1, 'twin: the same bytes under the same key');
SELECT is(pg_temp.answer(200, pg_temp.payment('Authorised')), 'succeeded', 'twin: which has the answer');

-- Cancelled while it is in doubt, which Adyen refuses: perhaps because there is nothing.
SELECT pg_temp.make('refused cancel', off_session => true) AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'refused cancel: sent');
SELECT is(pg_temp.answer(502), 'in_doubt', 'refused cancel: in doubt');
SELECT payments.cancel_payment(:'id', 'refused cancel: cancelled');
SELECT is(pg_temp.claim(:'id'), 1, 'refused cancel: asked for');
SELECT is((SELECT regexp_replace(url, '^.*/v71', '') FROM sent ORDER BY n DESC LIMIT 1), '/cancels', 'refused cancel: by our reference');
SELECT is(pg_temp.answer(422, '{"status": 422, "errorCode": "167", "errorType": "validation", "message": "no such payment"}'), 'in_doubt', 'refused cancel: which is no news of the payment');
SELECT is((SELECT string_agg(kind || ' ' || status, ', ' ORDER BY created_at) FROM payments.operation WHERE payment_id = :'id'), 'charge in_doubt, void failed', 'refused cancel: it has failed');
SELECT is((SELECT count(*)::int FROM generate_series(1, 20) WHERE pg_temp.claim(:'id') > 0), 0, 'refused cancel: nobody is charged after that');
SELECT is((SELECT string_agg(reason, ' ') FROM payments.dead_letter WHERE payment_id = :'id' AND decision IS NULL), 'outcome_unknown', 'refused cancel: without a word of Adyen it is for a person');

-- Nobody has been told of a payment yet: neither has Adyen an id for it.
SELECT pg_temp.make('away', method => 'ideal:') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'away: sent');
SELECT is(pg_temp.answer(200, '{"resultCode": "RedirectShopper", "action": {"paymentMethodType": "ideal", "url": "https://pay.example/ideal", "method": "GET", "type": "redirect"}}'), 'requires_action', 'away: the payer is asked');
SELECT is((SELECT concat_ws(' ', next_action_url, psp_payment_id) FROM payments.payment WHERE payment_id = :'id'), 'https://pay.example/ideal', 'away: to go there');
SELECT is(pg_temp.claim(:'id'), 0, 'away: and nothing is sent again');

-- Past a week the key is forgotten.
SELECT pg_temp.make('old') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'old: sent');
SELECT is(pg_temp.answer(502), 'in_doubt', 'old: in doubt');
UPDATE payments.operation SET key_used_at = now() - interval '7 days' WHERE payment_id = :'id';
SELECT is(pg_temp.claim(:'id'), 0, 'old: a week later nothing is sent');
SELECT is(pg_temp.state(:'id'), 'in_doubt in_doubt inquire', 'old: its word is waited for');
SELECT is((SELECT count(*)::int FROM generate_series(1, 20) WHERE pg_temp.claim(:'id') > 0), 0, 'old: however often it is looked at');
SELECT is(pg_temp.state(:'id'), 'in_doubt in_doubt outcome_unknown', 'old: at the end of its schedule it is for a person');
SELECT payments.redrive(dead_letter_id) FROM payments.dead_letter WHERE payment_id = :'id' AND decision IS NULL;
SELECT is(pg_temp.claim(:'id'), 0, 'old: who drives it again lets it wait again');
SELECT is(pg_temp.state(:'id'), 'in_doubt in_doubt inquire', 'old: and sends nothing');

-- ---------- received, and decided later
SELECT pg_temp.make('captured', capture => 'manual') AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'by hand: sent');
SELECT is(pg_temp.answer(200, pg_temp.payment('Authorised')), 'authorized', 'by hand: authorized');
SELECT payments.capture_payment(:'id', 'captured-1', 400);
SELECT is(pg_temp.claim(:'id'), 1, 'a capture: sent');
SELECT is((SELECT regexp_replace(url, '^.*/v71/payments/[0-9A-Z]{16}/', '') || ' ' || (body #>> '{amount,value}') FROM sent ORDER BY n DESC LIMIT 1), 'captures 400', 'a capture: where it belongs');
SELECT is(pg_temp.answer(201, (SELECT (jsonb_build_object('status', 'received', 'pspReference', 'CAPTURE1', 'paymentPspReference', p.psp_payment_id, 'reference', s.body -> 'reference', 'amount', s.body -> 'amount'))::text
	FROM sent s, payments.payment p WHERE p.payment_id = :'id' ORDER BY n DESC LIMIT 1)), 'authorized', 'a capture: received, and nothing is booked');
SELECT is(pg_temp.claim(:'id'), 0, 'a capture: it cannot be asked about, nor sent again');
SELECT is(pg_temp.state(:'id'), 'authorized processing inquire', 'a capture: its event is waited for');
SELECT is((SELECT count(*)::int FROM generate_series(1, 60) WHERE pg_temp.claim(:'id') > 0), 0, 'a capture: without end');
SELECT is(pg_temp.state(:'id'), 'authorized processing pending_too_long', 'a capture: but for that of its schedule');

-- ---------- refusals
SELECT pg_temp.make('soft', off_session => true) AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'soft: sent');
SELECT is(pg_temp.answer(200, pg_temp.payment('Refused', '{"refusalReasonCode": "12", "refusalReason": "Not enough balance"}')), 'awaiting_retry', 'not enough balance: later');
SELECT is(pg_temp.claim(:'id'), 1, 'soft: once more');
SELECT is((SELECT string_agg(right(body ->> 'reference', 3), ' ' ORDER BY n) || ' ' || count(DISTINCT psp_key) FROM sent WHERE operation_id = (SELECT operation_id FROM payments.operation WHERE payment_id = :'id')), '-c1 -c2 2', 'soft: as a payment of its own');
SELECT is(pg_temp.answer(200, pg_temp.payment('Refused', '{"refusalReasonCode": "12", "additionalData": {"merchantAdviceCode": "03"}}')), 'failed', 'the network advises against it: not again');
SELECT is(pg_temp.state(:'id'), 'failed failed 12', 'soft: with the code that people look up');
SELECT pg_temp.make('blocked', off_session => true) AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'blocked: sent');
SELECT is(pg_temp.answer(200, pg_temp.payment('Refused', '{"refusalReasonCode": "5"}')), 'failed', 'a blocked card: never again');

-- ---------- by link
SELECT pg_temp.make('link', method => NULL) AS id \gset
SELECT is(pg_temp.claim(:'id'), 1, 'link: sent');
SELECT is(pg_temp.answer(201, (SELECT (jsonb_build_object('id', 'PL1', 'status', 'active', 'url', 'https://pay.example/PL1', 'reference', body -> 'reference', 'amount', body -> 'amount'))::text FROM sent ORDER BY n DESC LIMIT 1)), 'requires_action', 'link: the payer is asked');
SELECT is((SELECT next_action_url FROM payments.get_payment(:'id')), 'https://pay.example/PL1', 'link: to go there');
SELECT is(pg_temp.claim(:'id'), 1, 'link: that can be asked about');
SELECT is((SELECT method || ' ' || regexp_replace(url, '^.*/v71', '') FROM sent ORDER BY n DESC LIMIT 1), 'GET /paymentLinks/PL1', 'link: by its id');
SELECT is(pg_temp.answer(200, (SELECT (jsonb_build_object('id', 'PL1', 'status', 'expired', 'reference', a.body::jsonb -> 'reference', 'amount', a.body::jsonb -> 'amount'))::text
	FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND a.body IS NOT NULL)), 'failed', 'link: over, unpaid');
SELECT is(pg_temp.state(:'id'), 'failed failed link_expired', 'link: and why');

SELECT throws_ok($$SELECT payments.create_payment('no customer', 100, 'EUR', psp => 'tap', payment_method => 'TOKEN1')$$, 'PY407', NULL, 'a stored method without its owner is refused at the call');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'the books agree');
SELECT * FROM finish();
ROLLBACK;
