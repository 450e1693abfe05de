-- If this fails, declined cards are tried more often than the networks allow,
-- which costs a fine each; or a card pays for what a PSP did, and an honest
-- payment is given up.

\ir ../lib/prelude.sql
SET client_min_messages = warning;
BEGIN;
SELECT no_plan();
INSERT INTO payments.reattempt_limit (rule, network, category, tries_max, within, amount_scope, builtin)
VALUES ('mastercard_day', 'mastercard', '*', 3, '24 h', 'same', false);
INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) SELECT 'soft_decline', n, '1 s', false FROM generate_series(1, 30) n;

CREATE FUNCTION pg_temp.make(name text, amount bigint DEFAULT 1000, customer text DEFAULT NULL, off_session boolean DEFAULT true,
	merchant text DEFAULT 'default') RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(name, amount, 'EUR', payment_method => 'sandbox_insufficient_funds',
		psp => 'sandbox', customer => customer, off_session => off_session, merchant => merchant)
$$;
-- Sent and answered once; http null: no answer.
CREATE FUNCTION pg_temp.turn(id uuid, http int DEFAULT 200) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c record;
	s text;
BEGIN
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = id AND claimed_by IS NULL;
	FOR c IN SELECT k.operation_id, k.attempt FROM payments.claim('tap', 5000) k JOIN payments.operation o USING (operation_id) WHERE o.payment_id = id LOOP
		s := payments.complete(c.operation_id, c.attempt, http, error => CASE WHEN http IS NULL THEN 'timed out' END);
	END LOOP;
	RETURN s;
END
$$;

-- One payment alone: three tries and no more.
SELECT pg_temp.make('one') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'declined: tried again');
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'declined twice: once more');
SELECT is(pg_temp.turn(:'id'), 'failed', 'the third is the last');
SELECT results_eq(format('SELECT failure_code, failure_message FROM payments.get_payment(%L)', :'id'),
	$$VALUES ('reattempt_limit', 'not tried again: the card was tried 3 times within 24:00:00, and rule mastercard_day of the networks allows no more')$$, 'and says why');
SELECT results_eq(format('SELECT code FROM payments.payment_history(%L) WHERE status = ''failed''', :'id'), $$VALUES ('reattempt_limit')$$, 'in its history as well');
SELECT results_eq(format('SELECT event, generation, code, rule FROM payments.reattempt WHERE payment_id = %L ORDER BY generation, event', :'id'),
	$$VALUES ('declined', 1, 'insufficient_funds', NULL), ('declined', 2, 'insufficient_funds', NULL), ('granted', 2, NULL, NULL),
		('declined', 3, 'insufficient_funds', NULL), ('granted', 3, NULL, NULL), ('blocked', 4, NULL, 'mastercard_day')$$, 'what counted, and the rule, are kept');
SELECT is((SELECT count(*)::int FROM payments.reattempt WHERE position('sandbox_insufficient' IN encode(fingerprint, 'escape')) > 0), 0, 'without the token');

-- Others.
SELECT pg_temp.make('same') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'another payment of that card and amount is sent, and not tried again');
SELECT pg_temp.make('amount', 1001) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'another amount counts apart');
SELECT pg_temp.make('customer', customer => 'c1') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'and another card');
SELECT payments.create_merchant('other');
SELECT pg_temp.make('merchant', merchant => 'other') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'and another merchant');

-- Who is present is not tried again anyway, and counts.
SELECT pg_temp.turn(pg_temp.make('p' || n, 2000, off_session => false)) FROM generate_series(1, 2) n;
SELECT pg_temp.make('behind', 2000) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'two declines with the customer present, one without: no more');

-- What is no word of an issuer.
SELECT pg_temp.make('lost', 3000) AS id \gset
SELECT is(pg_temp.turn(:'id', NULL), 'in_doubt', 'a call is lost');
SELECT is((SELECT count(*)::int FROM payments.reattempt WHERE payment_id = :'id'), 0, 'which says nothing of the card');
INSERT INTO payments.reattempt_code (adapter, code, category, builtin) VALUES ('sandbox', 'insufficient_funds', 'not_card', false);
SELECT pg_temp.make('outage', 4000) AS id \gset
SELECT pg_temp.turn(:'id') FROM generate_series(1, 2);
SELECT is((SELECT string_agg(DISTINCT category, ' ') FROM payments.reattempt WHERE payment_id = :'id' AND event = 'declined'), 'not_card', 'a code that is about the PSP');
UPDATE payments.reattempt_limit SET tries_max = 100 WHERE rule = 'mastercard_day' AND NOT builtin;

-- What the issuer will never approve.
UPDATE payments.reattempt_code SET category = 'never' WHERE NOT builtin;
SELECT pg_temp.make('never', 5000) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'is not tried again at all');
SELECT is((SELECT rule FROM payments.reattempt WHERE payment_id = :'id' AND event = 'blocked'), 'visa_never', 'by its own rule');
SELECT pg_temp.make('never again', 5001) AS id \gset
UPDATE payments.reattempt_code SET category = 'other' WHERE NOT builtin;
SELECT is(pg_temp.turn(:'id'), 'failed', 'nor for another amount, whatever it says later');
SELECT pg_temp.make('not that card', 5001, 'c2') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'but another card is');

-- Rows.
SELECT throws_ok($$INSERT INTO payments.reattempt_limit (rule, network, category, tries_max, within, amount_scope) VALUES ('mine', 'visa', '*', 21, '30 days', 'same')$$,
	'23514', NULL, 'Visa allows twenty at most');
UPDATE payments.reattempt_limit SET tries_max = NULL WHERE NOT builtin;
SELECT pg_temp.make('off', 6000, 'c3') AS id \gset
SELECT is((SELECT string_agg(DISTINCT pg_temp.turn(:'id'), ' ') FROM generate_series(1, 12)), 'awaiting_retry', 'a rule can be switched off');
SELECT is((SELECT string_agg(pg_temp.turn(:'id'), ' ') FROM generate_series(1, 4)), 'awaiting_retry awaiting_retry failed', 'the others hold');
SELECT is((SELECT rule FROM payments.reattempt WHERE payment_id = :'id' AND event = 'blocked'), 'visa_30_days', 'and stop it at fifteen');

SELECT * FROM finish();
ROLLBACK;
