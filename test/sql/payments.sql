-- If this fails, an application's calls do not do what they are documented to:
-- a repeated call charges twice or fails, or a payment that was never sent
-- cannot be cancelled.

\set VERBOSITY terse
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END
$$;

-- A payment, and the same call again.
SELECT payment_id AS id, status, replayed FROM payments.create_payment('pay-1', 1050, 'EUR', order_ref => 'pay-42',
	description => 'two books', metadata => '{"b": 1, "a": [true, null]}') \gset first_
SELECT :'first_status' AS status, :'first_replayed' AS replayed;
SELECT payment_id = :'first_id' AS same, status, replayed FROM payments.create_payment('pay-1', 1050, 'EUR', order_ref => 'pay-42',
	description => 'two books', metadata => '{"a": [true, null],   "b": 1}');

-- The same key with anything else is an error, and changes nothing.
SELECT what, pg_temp.attempt(format('SELECT payments.create_payment(%s)', args)) AS outcome
FROM (VALUES
	('amount', $$'pay-1', 1051, 'EUR', order_ref => 'pay-42', description => 'two books', metadata => '{"b": 1, "a": [true, null]}'$$),
	('currency', $$'pay-1', 1050, 'USD', order_ref => 'pay-42', description => 'two books', metadata => '{"b": 1, "a": [true, null]}'$$),
	('order_ref', $$'pay-1', 1050, 'EUR', order_ref => 'pay-43', description => 'two books', metadata => '{"b": 1, "a": [true, null]}'$$),
	('description', $$'pay-1', 1050, 'EUR', order_ref => 'pay-42', metadata => '{"b": 1, "a": [true, null]}'$$),
	('metadata', $$'pay-1', 1050, 'EUR', order_ref => 'pay-42', description => 'two books', metadata => '{"b": 2}'$$),
	('capture', $$'pay-1', 1050, 'EUR', order_ref => 'pay-42', description => 'two books', metadata => '{"b": 1, "a": [true, null]}', capture => 'manual'$$),
	('off_session', $$'pay-1', 1050, 'EUR', order_ref => 'pay-42', description => 'two books', metadata => '{"b": 1, "a": [true, null]}', off_session => true$$)
) t (what, args);
SELECT pg_temp.attempt(format('SELECT payments.cancel_payment(%L, %L)', :'first_id', 'pay-1')) AS key_of_another_verb;
SELECT count(*) FROM payments.payment WHERE order_ref LIKE 'pay-4_';

-- What the parts of an accepted payment are.
SELECT status, amount, currency, amount_text, authorized, captured, refunded, refund_pending, disputed, merchant, psp, psp_payment_id,
	payment_method, capture, order_ref, customer, description, metadata, next_action_url, failure_code, failure_message, pending_operation,
	created_at = updated_at AS untouched
FROM payments.get_payment(:'first_id') \gx
SELECT seq, status, event, source, actor = current_user AS by_me, code, recorded_at IS NOT NULL AS at FROM payments.payment_history(:'first_id');
SELECT kind, amount, currency, reason, psp, length(psp_ref) AS ref_length, status, generation, attempts, key_used_at, completed_at
FROM payments.operation WHERE payment_id = :'first_id';
SELECT psp, action, claimed_by, attempt, schedule, try, lost, due_at <= now() AS due FROM payments.queue WHERE payment_id = :'first_id';
SELECT aggregatetype, type, payload - 'payment_id' AS payload, merchant FROM payments.event WHERE aggregateid = :'first_id';
SELECT verb, status, payment_id = :'first_id' AS same FROM payments.idempotency_key WHERE key = 'pay-1';

-- Ids are UUIDs of version 7 and end in the merchant's bucket, so that operations live beside their payment.
SELECT substr(payment_id::text, 15, 1) AS version, right(payment_id::text, 3) = right(operation_id::text, 3) AS same_bucket
FROM payments.operation WHERE payment_id = :'first_id';

-- What the PSP will be sent says which installation sends it; how it is derived is in pgtap/identity.sql.
SELECT psp_ref ~ ('^' || payments.installation_tag() || '_[a-z2-7]{43}$') AS ours FROM payments.operation WHERE payment_id = :'first_id';

-- A key is a merchant's own.
SELECT payments.create_merchant('pay_shop');
SELECT payment_id <> :'first_id' AS another, status, replayed FROM payments.create_payment('pay-1', 1050, 'EUR', merchant => 'pay_shop');

-- Keys up to 255 characters of any script.
SELECT status, replayed FROM payments.create_payment(repeat('é', 255), 100, 'EUR');
SELECT status, replayed FROM payments.create_payment(repeat('é', 255), 100, 'EUR');

-- Cancelled before it was sent: over at once, nothing left to do.
SELECT status, replayed FROM payments.cancel_payment(:'first_id', 'pay-1-cancel', 'changed my mind');
SELECT status, replayed FROM payments.cancel_payment(:'first_id', 'pay-1-cancel', 'changed my mind');
SELECT pg_temp.attempt(format('SELECT payments.cancel_payment(%L, %L, %L)', :'first_id', 'pay-1-cancel', 'another reason')) AS other_reason;
SELECT pg_temp.attempt(format('SELECT payments.cancel_payment(%L, %L)', :'first_id', 'pay-1-cancel-2')) AS again,
	pg_temp.attempt(format('SELECT payments.capture_payment(%L, %L)', :'first_id', 'pay-1-capture')) AS capture,
	pg_temp.attempt(format('SELECT payments.refund_payment(%L, %L)', :'first_id', 'pay-1-refund')) AS refund;
SELECT seq, status, event, source, code FROM payments.payment_history(:'first_id');
SELECT kind, status, reason FROM payments.operation WHERE payment_id = :'first_id' ORDER BY created_at, kind;
SELECT count(*) AS queued FROM payments.queue WHERE payment_id = :'first_id';
SELECT payments.wait_payment(:'first_id', '0 s');

-- The call that created it, said again, says how it stands now.
SELECT payment_id = :'first_id' AS same, status, replayed FROM payments.create_payment('pay-1', 1050, 'EUR', order_ref => 'pay-42',
	description => 'two books', metadata => '{"b": 1, "a": [true, null]}');

-- A manual one waits for its authorization before it can be captured.
SELECT payment_id AS id FROM payments.create_payment('pay-2', 5000, 'EUR', capture => 'manual') \gset second_
SELECT kind FROM payments.operation WHERE payment_id = :'second_id';
SELECT pg_temp.attempt(format('SELECT payments.capture_payment(%L, %L)', :'second_id', 'pay-2-capture')) AS capture,
	pg_temp.attempt(format('SELECT payments.refund_payment(%L, %L)', :'second_id', 'pay-2-refund')) AS refund;
SELECT payments.wait_payment(:'second_id', '0 s');

-- Nobody can wait for what only he can see.
BEGIN;
SELECT payment_id AS id FROM payments.create_payment('pay-3', 5000, 'EUR') \gset third_
SELECT pg_temp.attempt(format('SELECT payments.wait_payment(%L)', :'third_id')) AS wait;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.attempt(format('SELECT payments.wait_payment(%L)', :'second_id')) AS wait;
ROLLBACK;

-- Rolled back, the key is free again.
SELECT status, replayed FROM payments.create_payment('pay-3', 9999, 'USD');

-- Two calls in one transaction see each other.
BEGIN;
SELECT status, replayed FROM payments.create_payment('pay-4', 100, 'EUR');
SELECT status, replayed FROM payments.create_payment('pay-4', 100, 'EUR');
COMMIT;

-- No such payment.
SELECT v, pg_temp.attempt('SELECT payments.' || v) AS outcome
FROM unnest(ARRAY[
	$$get_payment('00000000-0000-7000-8000-000000000000')$$,
	$$payment_history('00000000-0000-7000-8000-000000000000')$$,
	$$wait_payment('00000000-0000-7000-8000-000000000000')$$,
	$$capture_payment('00000000-0000-7000-8000-000000000000', 'k')$$,
	$$cancel_payment('00000000-0000-7000-8000-000000000000', 'k')$$,
	$$refund_payment('00000000-0000-7000-8000-000000000000', 'k')$$,
	$$get_payment(NULL)$$,
	$$capture_payment(NULL, 'k')$$]) v;

SELECT invariant, violations FROM payments.check() WHERE NOT ok;
