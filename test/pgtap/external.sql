-- If this fails, an external worker outside of the server sends other bytes than the
-- worker would, or what a PSP answers is taken for something else: a charge of
-- a wrong amount for ours, half an answer for a whole one.
--
-- Stripe's side is played by hand: nothing leaves the database.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

SELECT payments.create_psp('tap', 'stripe', secret => 'tap');
SELECT throws_ok($$SELECT payments.claim('d', psp => 'tap')$$, 'PY405', NULL, 'nothing is handed out before arm()');
SELECT payments.arm();

CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text);
-- Whatever is in the queue, due now, and the one call that is to be made for it.
CREATE FUNCTION pg_temp.claim() RETURNS SETOF sent LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE claimed_by IS NULL AND psp = 'tap';
	INSERT INTO sent (operation_id, attempt, method, url, headers, body, psp_key) SELECT * FROM payments.claim('d', psp => 'tap') RETURNING *
$$;
-- The answer to the last call.
CREATE FUNCTION pg_temp.answer(http int, body text, headers jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt, $1, $3, convert_to($2, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.intent(amount int, status text, id text, currency text DEFAULT 'eur') RETURNS text LANGUAGE sql AS $$
	SELECT json_build_object('id', id, 'object', 'payment_intent', 'amount', amount, 'amount_received', CASE status WHEN 'succeeded' THEN amount ELSE 0 END,
		'amount_capturable', CASE status WHEN 'requires_capture' THEN amount ELSE 0 END, 'currency', currency, 'status', status)::text
$$;
CREATE FUNCTION pg_temp.make(key text, off_session boolean DEFAULT false) RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', off_session => off_session)
$$;

-- What is to be sent.
SELECT pg_temp.make('ok') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'one call');
SELECT is(method || ' ' || url, 'POST https://api.stripe.com/v1/payment_intents', 'method and url') FROM sent;
SELECT is(headers ->> 'Idempotency-Key', psp_key, 'its key is a header') FROM sent;
SELECT is(headers ->> 'Content-Type', 'application/x-www-form-urlencoded', 'its type is a header') FROM sent;
SELECT is_empty($$SELECT FROM sent, jsonb_object_keys(headers) k WHERE k ILIKE 'authorization'$$, 'the secret is not handed out');
SELECT matches(body, 'amount=1000', 'the amount is in the body') FROM sent;
SELECT results_eq('SELECT s.method, s.body, s.psp_key FROM sent s', 'SELECT a.method, a.body, a.psp_key FROM payments.attempt a', 'and these bytes are on record');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_ok')), 'succeeded', '200: succeeded');
SELECT is((SELECT psp_payment_id FROM payments.get_payment(:'id')), 'pi_ok', 'its id at the PSP');

-- Anything but a whole and matching answer is no success.
SELECT pg_temp.make('amount') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'another amount: claimed');
SELECT is(pg_temp.answer(200, pg_temp.intent(999, 'succeeded', 'pi_amount')), 'in_doubt', 'another amount: in doubt');
SELECT is((SELECT reason FROM payments.dead_letter WHERE payment_id = :'id'), 'conflicted', 'another amount: for a person');
SELECT is((SELECT kind FROM payments.exception WHERE payment_id = :'id'), 'conflicted', 'another amount: an exception');
SELECT is_empty(format('SELECT FROM payments.posting WHERE payment_id = %L', :'id'), 'another amount: not posted');

-- An answer that comes when nobody waits for it any more counts when money moved, also when it was the wrong amount.
SELECT pg_temp.make('late') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'late: claimed');
SELECT is(pg_temp.answer(429, '{"error": {"type": "invalid_request_error", "code": "rate_limit"}}'), 'awaiting_retry', 'late: not processed, as it seemed');
SELECT is(pg_temp.answer(200, pg_temp.intent(999, 'succeeded', 'pi_late')), 'in_doubt', 'late: another amount after all');
SELECT is((SELECT kind FROM payments.exception WHERE payment_id = :'id'), 'conflicted', 'late: an exception');
SELECT is_empty(format('SELECT FROM payments.queue WHERE payment_id = %L', :'id'), 'late: not sent once more');

-- The late yes of a first attempt, while a second is in flight to ask: its ids are facts, whoever tells them.
SELECT pg_temp.make('late-ids') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'late ids: claimed');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('d', psp => 'tap')), 0, 'late ids: the lease has run out');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'late ids: the second asks');
SELECT is(payments.complete(operation_id, attempt - 1, 200, '{}', convert_to(pg_temp.intent(1000, 'succeeded', 'pi_late_ids'), 'UTF8')), 'succeeded', 'late ids: the first says yes')
FROM sent ORDER BY n DESC LIMIT 1;
SELECT results_eq(format('SELECT p.psp_payment_id, o.psp_object_id FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE payment_id = %L', :'id'),
	$$VALUES ('pi_late_ids', 'pi_late_ids')$$, 'late ids: and under which ids');
UPDATE payments.queue SET due_at = now() + interval '20 days' WHERE payment_id = :'id';
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'late-ids-r', 100)), 'initiated', 'late ids: refunded');
SELECT matches(body, 'payment_intent=pi_late_ids', 'late ids: by its id') FROM payments.claim('d', psp => 'tap');
UPDATE payments.queue SET due_at = now() + interval '20 days' WHERE payment_id = :'id';

-- The same, and the second, asked before, finds nothing: it is not sent once more.
SELECT pg_temp.make('late-yes') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'late yes: claimed');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('d', psp => 'tap')), 0, 'late yes: the lease has run out');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'late yes: the second asks');
SELECT is(payments.complete(operation_id, attempt - 1, 200, '{}', convert_to(pg_temp.intent(1000, 'succeeded', 'pi_late_yes'), 'UTF8')), 'succeeded', 'late yes: the first says yes')
FROM sent ORDER BY n DESC LIMIT 1;
SELECT is(pg_temp.answer(200, '{"object": "search_result", "has_more": false, "data": []}'), 'succeeded', 'late yes: the second has found nothing');
SELECT is_empty(format('SELECT FROM payments.queue WHERE payment_id = %L', :'id'), 'late yes: nothing more is sent');
SELECT is((SELECT status FROM payments.operation WHERE payment_id = :'id'), 'succeeded', 'late yes: it is done');

SELECT pg_temp.make('currency') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'another currency: claimed');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_currency', 'usd')), 'in_doubt', 'another currency: in doubt');
SELECT is((SELECT reason FROM payments.dead_letter WHERE payment_id = :'id'), 'conflicted', 'another currency: for a person');

SELECT pg_temp.make('bodies') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'bodies: claimed');
SELECT is(pg_temp.answer(200, left(pg_temp.intent(1000, 'succeeded', 'pi_bodies'), 60)), 'in_doubt', 'truncated JSON: in doubt');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'then inquired');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_\u0000')), 'in_doubt', '\u0000: in doubt');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'then inquired');
SELECT is(pg_temp.answer(200, repeat(' ', 10 * 1024 * 1024) || pg_temp.intent(1000, 'succeeded', 'pi_bodies')), 'in_doubt', '10 MB: in doubt');
SELECT is((SELECT error FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = :'id' ORDER BY attempt DESC LIMIT 1), 'answer is larger than 1048576 bytes', '10 MB: why');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'then inquired');
SELECT is(pg_temp.answer(500, '<html>'), 'in_doubt', '500: in doubt');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'then inquired');
SELECT is(pg_temp.answer(200, ''), 'in_doubt', 'empty: in doubt');
SELECT is((SELECT method FROM pg_temp.claim()), 'GET', 'then inquired');
SELECT is((SELECT count(DISTINCT psp_key)::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 1, 'sent once in all');
SELECT is(payments.complete(operation_id, attempt, 200, '{}', convert_to('{"object": "list", "has_more": false, "data": []}', 'UTF8')), 'in_doubt', 'nothing found: still in doubt') FROM sent ORDER BY n DESC LIMIT 1;
SELECT is((SELECT method FROM pg_temp.claim()), 'POST', 'nothing found: sent once more');
SELECT is((SELECT count(DISTINCT (s.psp_key, s.body))::int FROM sent s JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND s.method = 'POST'), 1, 'under the same key with the same bytes');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_bodies')), 'succeeded', 'and succeeds');

-- Not processed: the same key and bytes, no sooner than the PSP asks for.
SELECT pg_temp.make('limit') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, '429: claimed');
SELECT is(pg_temp.answer(429, '{"error": {"type": "invalid_request_error", "code": "rate_limit"}}', '{"retry-AFTER": "300", "Request-Id": "req_1", "Set-Cookie": ["a", "b"]}'), 'awaiting_retry', '429: waits');
SELECT cmp_ok((SELECT due_at - clock_timestamp() FROM payments.queue WHERE payment_id = :'id'), '>', interval '240 s', '429: as long as the PSP says');
SELECT is((SELECT request_id FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 'req_1', '429: the PSP''s request id is on record');
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, '429: claimed again');
SELECT is((SELECT count(DISTINCT (s.psp_key, s.body))::int FROM sent s JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id'), 1, '429: the same key and bytes');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "message": "Declined 4111111111111111."}}'), 'failed', '402: failed');
SELECT is((SELECT failure_code FROM payments.get_payment(:'id')), 'do_not_honor', '402: the issuer''s code');
SELECT is_empty($$SELECT FROM payments.attempt_answer WHERE convert_from(body, 'UTF8') LIKE '%4111111111111111%'$$, '402: no card number is kept');
SELECT is_empty($$SELECT FROM payments.payment WHERE failure_message LIKE '%4111111111111111%'$$, '402: nor shown');

-- A soft decline, and then the word that it had gone through after all: it must not be sent again.
SELECT pg_temp.make('contradiction', off_session => true) AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'contradiction: claimed');
SELECT is(pg_temp.answer(402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}}'), 'awaiting_retry', 'contradiction: declined, to be retried');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_contradiction')), 'succeeded', 'contradiction: charged after all');
SELECT is_empty(format('SELECT FROM payments.queue WHERE payment_id = %L', :'id'), 'contradiction: not sent again');
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 0, 'contradiction: nothing to claim');

-- An answer that cannot be booked is a dead letter, as of the worker, and is booked once it can be.
INSERT INTO payments.posting_rule (event, leg, debit, credit, builtin) VALUES ('fee', 1, 'no_such_account', 'merchant_balance', false);
SELECT pg_temp.make('unbookable') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'unbookable: claimed');
SET LOCAL client_min_messages = error;
SELECT jsonb_set(pg_temp.intent(1000, 'succeeded', 'pi_unbookable')::jsonb, '{latest_charge}',
	'{"id": "ch_unbookable", "balance_transaction": {"id": "txn_unbookable", "fee": 30, "currency": "eur"}}')::text AS with_fee \gset
SELECT is(pg_temp.answer(200, :'with_fee'), 'in_doubt', 'unbookable: in doubt');
SELECT is((SELECT reason FROM payments.dead_letter WHERE payment_id = :'id'), 'cannot_complete', 'unbookable: a dead letter says why');
SELECT throws_ok(format('SELECT pg_temp.answer(200, %L)', :'with_fee'), 'PY207', NULL, 'unbookable: told once more, when there is nothing left to bury, it is raised');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_unbookable')), 'succeeded', 'unbookable: a capture without its fee can be booked');
SELECT pg_temp.make('unbookable, twice') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'booked elsewhere: claimed');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_unbookable')), 'in_doubt', 'booked elsewhere: in doubt');
SELECT is((SELECT reason FROM payments.dead_letter WHERE payment_id = :'id'), 'booked_elsewhere', 'booked elsewhere: a dead letter says why');
DELETE FROM payments.posting_rule WHERE NOT builtin;
RESET client_min_messages;

-- Credentials refused: the channel stops, nothing is lost.
SELECT pg_temp.make('halt') AS id \gset
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, '401: claimed');
SELECT is(pg_temp.answer(401, '{"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_live_a8Xq"}}'), 'awaiting_retry', '401: waits');
SELECT is((SELECT halted_reason FROM payments.psp WHERE psp = 'tap'), 'the PSP refused our credentials: HTTP status 401, invalid_request_error: Invalid API Key provided: sk_*********', '401: the PSP is halted, and says why, without its key');
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 0, '401: nothing is handed out');
UPDATE payments.queue SET enqueued_at = enqueued_at - interval '1 hour';
SELECT matches((SELECT why FROM payments.stuck WHERE payment_id = :'id'), '(^|; )PSP halted: the PSP refused our credentials', '401: the view says so');
SELECT payments.resume_psp('tap');
SELECT is((SELECT count(*)::int FROM pg_temp.claim()), 1, 'resumed: claimed');
SELECT is(pg_temp.answer(200, pg_temp.intent(1000, 'succeeded', 'pi_halt')), 'succeeded', 'resumed: succeeded');

SELECT payments.disarm();
SELECT throws_ok($$SELECT payments.claim('d', psp => 'tap')$$, 'PY405', NULL, 'nothing is handed out after disarm()');
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() is clean');

SELECT * FROM finish();
ROLLBACK;
