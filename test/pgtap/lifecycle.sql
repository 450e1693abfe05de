-- If this fails, a payment takes a wrong turn somewhere between the call and
-- the ledger: it is charged twice, given up while the PSP has charged, kept
-- for ever, or posted otherwise than it moved.
--
-- No worker runs: claim() and complete() drive the sandbox step by step.  Time
-- is moved by making queue rows due.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

-- The next step of one payment, whenever it is due: claimed, sent, answered with this HTTP status (null: no answer).
CREATE FUNCTION pg_temp.turn(id uuid, http int DEFAULT 200) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c record;
	s text;
BEGIN
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = id AND claimed_by IS NULL;
	FOR c IN SELECT k.operation_id, k.attempt, o.payment_id FROM payments.claim('tap', 5000) k JOIN payments.operation o USING (operation_id) LOOP
		IF c.payment_id <> id THEN
			RAISE EXCEPTION 'another payment was due';
		END IF;
		s := payments.complete(c.operation_id, c.attempt, http, error => CASE WHEN http IS NULL THEN 'timed out' END);
	END LOOP;
	RETURN s;
END
$$;
CREATE FUNCTION pg_temp.history(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(status, ' ' ORDER BY seq) FROM payments.payment_history(id)
$$;
CREATE FUNCTION pg_temp.postings(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(p.kind || ' ' || d.code || ' < ' || c.code || ' ' || p.amount, ', ' ORDER BY p.posting_id)
	FROM payments.posting p JOIN payments.account d ON d.account_id = p.debit_account JOIN payments.account c ON c.account_id = p.credit_account
	WHERE p.payment_id = id
$$;
-- What waits in the queue for it: action, schedule, try, and for how long since the last answer.
CREATE FUNCTION pg_temp.waits(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', q.action, coalesce(q.schedule, '-'), q.try) FROM payments.queue q WHERE q.payment_id = id
$$;
CREATE FUNCTION pg_temp.delay(id uuid) RETURNS interval LANGUAGE sql AS $$
	SELECT date_trunc('second', q.due_at - max(w.answered_at) + interval '500 ms') FROM payments.queue q JOIN payments.attempt_answer w USING (operation_id)
	WHERE q.payment_id = id GROUP BY q.due_at
$$;
CREATE FUNCTION pg_temp.attempts(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a.action || '/' || a.generation || ':' || coalesce(r.class, '-') || CASE WHEN r.late THEN ' late' ELSE '' END, ', ' ORDER BY a.claimed_at, a.attempt, r.late)
	FROM payments.operation o JOIN payments.attempt a USING (operation_id) LEFT JOIN payments.attempt_answer r USING (operation_id, attempt)
	WHERE o.payment_id = id
$$;
CREATE FUNCTION pg_temp.make(key text, method text DEFAULT 'sandbox_ok', capture text DEFAULT 'automatic', off_session boolean DEFAULT false, amount bigint DEFAULT 1000) RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, amount, 'EUR', payment_method => method, capture => capture, off_session => off_session)
$$;
CREATE FUNCTION pg_temp.dead(id uuid) RETURNS uuid LANGUAGE sql AS $$
	SELECT dead_letter_id FROM payments.dead_letter WHERE payment_id = id AND decision IS NULL
$$;

-- ---------- yes ----------
SELECT pg_temp.make('ok', amount => 1050) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'ok: succeeded');
SELECT is(pg_temp.history(:'id'), 'initiated processing succeeded', 'ok: history');
SELECT is(pg_temp.attempts(:'id'), 'send/1:approved', 'ok: one attempt');
SELECT is(pg_temp.postings(:'id'), 'capture psp_receivable:sandbox < merchant_balance 1050, fee psp_fees < psp_receivable:sandbox 11', 'ok: postings');
SELECT results_eq(format('SELECT authorized, captured, refunded, disputed, pending_operation FROM payments.get_payment(%L)', :'id'),
	'VALUES (1050::bigint, 1050::bigint, 0::bigint, 0::bigint, NULL::text)', 'ok: amounts, and nothing pending');
SELECT is_empty(format('SELECT FROM payments.queue WHERE payment_id = %L', :'id'), 'ok: out of the queue');
SELECT is(pg_temp.turn(:'id'), NULL, 'ok: nothing to be claimed any more');
SELECT is(payments.complete(operation_id, 1, 200), 'succeeded', 'ok: told again, the same')
FROM payments.operation WHERE payment_id = :'id';
SELECT is(pg_temp.attempts(:'id'), 'send/1:approved, send/1:approved late', 'ok: told again, recorded as late');
SELECT is(pg_temp.postings(:'id'), 'capture psp_receivable:sandbox < merchant_balance 1050, fee psp_fees < psp_receivable:sandbox 11', 'ok: told again, not posted again');
SELECT throws_ok(format('SELECT payments.complete(%L, 2, 200)', operation_id), 'PY302', NULL, 'ok: an attempt that was never made')
FROM payments.operation WHERE payment_id = :'id';

-- ---------- no ----------
SELECT pg_temp.make('declined', 'sandbox_declined') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'declined: failed');
SELECT is((SELECT failure_code FROM payments.get_payment(:'id')), 'generic_decline', 'declined: says why');
SELECT is(pg_temp.postings(:'id'), NULL, 'declined: no posting');
SELECT is(pg_temp.waits(:'id'), NULL, 'declined: never again');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, %L)', :'id', 'declined-r'), 'PY006', NULL, 'declined: nothing to refund');
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, %L)', :'id', 'declined-c'), 'PY006', NULL, 'declined: nothing to cancel');

SELECT pg_temp.make('lost_card', 'sandbox_lost_card', off_session => true) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'a hard decline is not retried off session either');
SELECT pg_temp.make('method', 'sandbox_nonsense') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'an unknown payment method is declined');

-- A soft decline with the customer waiting: failed at once.
SELECT pg_temp.make('soft', 'sandbox_insufficient_funds') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'failed', 'soft decline on session: failed');
SELECT is((SELECT failure_code FROM payments.get_payment(:'id')), 'insufficient_funds', 'soft decline on session: says why');

-- Off session: four more, days apart, each under a key of its own.
SELECT pg_temp.make('soft-off', 'sandbox_insufficient_funds', off_session => true) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'soft decline off session: waits');
SELECT results_eq(format('SELECT generation, status FROM payments.operation WHERE payment_id = %L', :'id'), $$VALUES (2, 'awaiting_retry')$$, 'soft decline: a new generation');
SELECT is(pg_temp.delay(:'id'), '24 h'::interval, 'soft decline: in a day');
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'soft decline: second');
SELECT is(pg_temp.delay(:'id'), '72 h'::interval, 'soft decline: in three days');
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'soft decline: third');
SELECT is(pg_temp.delay(:'id'), '120 h'::interval, 'soft decline: in five days');
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'soft decline: fourth');
SELECT is(pg_temp.delay(:'id'), '168 h'::interval, 'soft decline: in a week');
SELECT is(pg_temp.turn(:'id'), 'failed', 'soft decline: the fifth is the last');
SELECT is((SELECT count(DISTINCT psp_key)::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 5, 'soft decline: five keys');
SELECT is(pg_temp.history(:'id'), 'initiated processing awaiting_retry processing awaiting_retry processing awaiting_retry processing awaiting_retry processing failed', 'soft decline: history');

-- Cancelled while it waits: nothing is at the PSP.
SELECT pg_temp.make('soft-cancel', 'sandbox_insufficient_funds', off_session => true) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'waits for its retry');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'soft-cancel-c')), 'succeeded', 'and is cancelled at once');
SELECT is(pg_temp.history(:'id'), 'initiated processing awaiting_retry cancelled', 'cancelled while waiting: history');
SELECT is(pg_temp.waits(:'id'), NULL, 'cancelled while waiting: out of the queue');

-- ---------- nobody knows ----------
SELECT pg_temp.make('timeout', 'sandbox_timeout') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'in_doubt', 'timeout: in doubt');
SELECT is(pg_temp.waits(:'id'), 'inquire unknown 1', 'timeout: to be inquired, not sent');
SELECT is(pg_temp.delay(:'id'), '10 s'::interval, 'timeout: soon');
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, %L)', :'id', 'timeout-c'), 'PY008', NULL, 'timeout: in doubt, cannot be cancelled');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'timeout: the inquiry finds it');
SELECT is(pg_temp.attempts(:'id'), 'send/1:unknown, inquire/1:approved', 'timeout: sent once');
SELECT is(pg_temp.history(:'id'), 'initiated processing in_doubt succeeded', 'timeout: history');
SELECT is((SELECT count(*)::int FROM payments.movement WHERE payment_id = :'id' AND kind = 'capture'), 1, 'timeout: charged once');

-- An answer that never came, as the external worker reports it.
SELECT pg_temp.make('lost') AS id \gset
SELECT is(pg_temp.turn(:'id', NULL), 'in_doubt', 'no answer: in doubt');
SELECT is((SELECT error FROM payments.attempt_answer JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 'timed out', 'no answer: why');
SELECT is(pg_temp.turn(:'id', NULL), 'in_doubt', 'no answer to the inquiry: still in doubt');
SELECT is(pg_temp.waits(:'id'), 'inquire unknown 2', 'no answer to the inquiry: inquired again, later');
SELECT is(pg_temp.delay(:'id'), '30 s'::interval, 'no answer to the inquiry: a little later');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'the next inquiry finds it');
SELECT is((SELECT count(*)::int FROM payments.movement WHERE payment_id = :'id' AND kind = 'capture'), 1, 'no answer: charged once');

-- Nothing found by an inquiry is no proof: the same key and bytes again, then inquired again, then a person.
SELECT pg_temp.make('vanished', 'sandbox_vanished') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'in_doubt', 'vanished: in doubt');
SELECT is(pg_temp.turn(:'id'), 'in_doubt', 'vanished: the inquiry finds nothing');
SELECT is(pg_temp.waits(:'id'), 'send unknown 2', 'vanished: sent again, under the same key');
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'vanished');
BEGIN
	FOR i IN 1..30 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM payments.queue q WHERE q.payment_id = id);
		PERFORM pg_temp.turn(id);
	END LOOP;
END
$$;
SELECT results_eq(format('SELECT reason, decision FROM payments.dead_letter WHERE payment_id = %L', :'id'),
	$$VALUES ('outcome_unknown', NULL::text)$$, 'vanished: a dead letter in the end');
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'in_doubt', 'vanished: in doubt, not failed');
SELECT is((SELECT count(DISTINCT psp_key)::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id' AND action = 'send'), 1, 'vanished: one key');
SELECT matches((SELECT why FROM payments.stuck WHERE payment_id = :'id'), '^dead letter: outcome_unknown$', 'vanished: stands in the view that a person reads');
SELECT is((SELECT dead_letters FROM payments.worker_status), 1::bigint, 'vanished: counted in worker_status');
SELECT lives_ok(format('SELECT payments.redrive(%L)', pg_temp.dead(:'id')), 'vanished: redriven');
SELECT is(pg_temp.waits(:'id'), 'inquire - 0', 'vanished: inquired first after a redrive');
SELECT is(pg_temp.dead(:'id'), NULL, 'vanished: the dead letter is decided');
SELECT is((SELECT decision || ' by ' || decided_by FROM payments.dead_letter WHERE payment_id = :'id'), 'redriven by ' || current_user, 'vanished: by whom');
SELECT throws_ok(format('SELECT payments.redrive(%L)', (SELECT dead_letter_id FROM payments.dead_letter WHERE payment_id = :'id')), 'PY303', NULL, 'vanished: redriven once only');
SELECT throws_ok(format('SELECT payments.discard(%L, %L)', (SELECT dead_letter_id FROM payments.dead_letter WHERE payment_id = :'id'), 'x'), 'PY303', NULL, 'vanished: nor discarded after that');
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'vanished');
BEGIN
	FOR i IN 1..30 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM payments.queue q WHERE q.payment_id = id);
		PERFORM pg_temp.turn(id);
	END LOOP;
END
$$;
SELECT throws_ok(format('SELECT payments.discard(%L, %L)', pg_temp.dead(:'id'), ''), '22023', NULL, 'discard wants a reason');
SELECT lives_ok(format('SELECT payments.discard(%L, %L)', pg_temp.dead(:'id'), 'no charge on the dashboard'), 'vanished: discarded');
SELECT results_eq(format('SELECT status, failure_code FROM payments.get_payment(%L)', :'id'), $$VALUES ('failed', NULL::text)$$, 'vanished: failed by a person''s word');
SELECT is((SELECT source FROM payments.payment_history(:'id') ORDER BY seq DESC LIMIT 1), 'person', 'vanished: the history says so');
SELECT is_empty(format('SELECT FROM payments.stuck WHERE payment_id = %L', :'id'), 'vanished: no longer stuck');

-- ---------- certainly not sent ----------
SELECT pg_temp.make('unreachable', 'sandbox_unreachable') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'unreachable: waits');
SELECT is(pg_temp.waits(:'id'), 'send not_sent 1', 'unreachable: to be sent again');
SELECT cmp_ok(pg_temp.delay(:'id'), '<=', '1 s'::interval, 'unreachable: soon');
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'unreachable');
BEGIN
	FOR i IN 1..30 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM payments.queue q WHERE q.payment_id = id);
		PERFORM pg_temp.turn(id);
	END LOOP;
END
$$;
SELECT is((SELECT count(*)::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 9, 'unreachable: once and eight times again');
SELECT is((SELECT count(DISTINCT (psp_key, body, path))::int FROM payments.attempt JOIN payments.operation USING (operation_id) WHERE payment_id = :'id'), 1, 'unreachable: always the same bytes');
SELECT results_eq(format('SELECT reason, action FROM payments.dead_letter WHERE payment_id = %L', :'id'), $$VALUES ('psp_unreachable', 'send')$$, 'unreachable: a dead letter in the end');
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'awaiting_retry', 'unreachable: not failed');
SELECT lives_ok(format('SELECT payments.redrive(%L)', pg_temp.dead(:'id')), 'unreachable: redriven');
SELECT is(pg_temp.waits(:'id'), 'send - 0', 'unreachable: sent again, its schedule from the start');
SELECT is(pg_temp.turn(:'id'), 'awaiting_retry', 'unreachable: still');
SELECT is(pg_temp.waits(:'id'), 'send not_sent 1', 'unreachable: first try of the schedule again');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'unreachable-c')), 'succeeded', 'unreachable: cancelled at once, since nothing was sent');

SELECT pg_temp.make('unreachable-2', 'sandbox_unreachable') AS id \gset
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'unreachable-2');
BEGIN
	FOR i IN 1..30 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM payments.queue q WHERE q.payment_id = id);
		PERFORM pg_temp.turn(id);
	END LOOP;
END
$$;
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'unreachable-2-c')), 'succeeded', 'a dead letter that was never sent can be cancelled');
SELECT results_eq(format('SELECT decision, decision_reason FROM payments.dead_letter WHERE payment_id = %L', :'id'),
	$$VALUES ('resolved', 'the payment was cancelled before it was sent')$$, 'and is resolved by that, not by a word of the PSP''s');

-- ---------- not yet ----------
SELECT pg_temp.make('action', 'sandbox_requires_action') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'requires_action', 'requires action: waits for the payer');
SELECT matches((SELECT next_action_url FROM payments.get_payment(:'id')), '^https://sandbox.invalid/authenticate/', 'requires action: where to');
SELECT is(payments._is_resting('requires_action'), true, 'requires action: rests');
SELECT is(pg_temp.waits(:'id'), 'inquire requires_action 1', 'requires action: asked from time to time');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'requires action: then done');
SELECT is((SELECT next_action_url FROM payments.get_payment(:'id')), NULL, 'requires action: no longer');

SELECT pg_temp.make('action-cancel', 'sandbox_requires_action') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'requires_action', 'requires action, to be cancelled');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'action-cancel-c')), 'initiated', 'a void is sent');
UPDATE payments.queue q SET due_at = now() + interval '20 days' FROM payments.operation o WHERE o.operation_id = q.operation_id AND o.payment_id = :'id' AND o.kind = 'charge';
SELECT is((SELECT payments.complete(operation_id, attempt, 200) FROM payments.claim('tap')), 'cancelled', 'and cancels it');
SELECT is(pg_temp.waits(:'id'), NULL, 'nothing of it is left in the queue');
SELECT bag_eq(format('SELECT kind, status FROM payments.operation WHERE payment_id = %L', :'id'), $$VALUES ('charge', 'cancelled'), ('void', 'succeeded')$$, 'its operations have ended');

SELECT pg_temp.make('pending', 'sandbox_pending') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'processing', 'pending: still processing');
SELECT is(pg_temp.waits(:'id'), 'inquire pending 1', 'pending: to be asked');
SELECT is(pg_temp.turn(:'id', NULL), 'processing', 'pending: an inquiry without answer does not put it in doubt');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'pending: then done');

-- ---------- manual capture ----------
SELECT pg_temp.make('manual', capture => 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'authorized', 'manual: authorized');
SELECT is(pg_temp.postings(:'id'), NULL, 'manual: an authorization posts nothing');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, %L, 1001)', :'id', 'manual-x'), 'PY007', NULL, 'manual: no more than authorized');
SELECT is((SELECT status FROM payments.capture_payment(:'id', 'manual-c', 600)), 'initiated', 'manual: capture of a part');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, %L, 100)', :'id', 'manual-c2'), 'PY008', NULL, 'manual: one capture at a time');
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, %L)', :'id', 'manual-v'), 'PY008', NULL, 'manual: no cancel beside a capture');
SELECT is((SELECT capture_pending FROM payments.payment WHERE payment_id = :'id'), 600::bigint, 'manual: reserved');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'manual: captured');
SELECT results_eq(format('SELECT authorized, captured FROM payments.get_payment(%L)', :'id'), 'VALUES (1000::bigint, 600::bigint)', 'manual: a part');
SELECT is((SELECT capture_pending FROM payments.payment WHERE payment_id = :'id'), 0::bigint, 'manual: nothing reserved any more');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, %L, 100)', :'id', 'manual-c3'), 'PY006', NULL, 'manual: the rest was released');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, %L, 601)', :'id', 'manual-r'), 'PY007', NULL, 'manual: no refund beyond what was captured');
SELECT is(pg_temp.postings(:'id'), 'capture psp_receivable:sandbox < merchant_balance 600, fee psp_fees < psp_receivable:sandbox 6', 'manual: posted what was captured');

SELECT pg_temp.make('void', capture => 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'authorized', 'void: authorized');
SELECT is((SELECT status FROM payments.cancel_payment(:'id', 'void-v')), 'initiated', 'void: sent to the PSP');
SELECT throws_ok(format('SELECT payments.capture_payment(%L, %L)', :'id', 'void-c'), 'PY008', NULL, 'void: no capture beside it');
SELECT is(pg_temp.turn(:'id'), 'cancelled', 'void: cancelled');
SELECT is(pg_temp.postings(:'id'), NULL, 'void: no posting');

-- A capture whose answer is lost.
SELECT pg_temp.make('manual-lost', capture => 'manual') AS id \gset
SELECT is(pg_temp.turn(:'id'), 'authorized', 'lost capture: authorized');
SELECT is((SELECT status FROM payments.capture_payment(:'id', 'manual-lost-c')), 'initiated', 'lost capture: asked');
SELECT is(pg_temp.turn(:'id', NULL), 'authorized', 'lost capture: the payment stays authorized');
SELECT is((SELECT pending_operation FROM payments.get_payment(:'id')), 'capture in_doubt', 'lost capture: the capture is in doubt');
SELECT throws_ok(format('SELECT payments.cancel_payment(%L, %L)', :'id', 'manual-lost-v'), 'PY008', NULL, 'lost capture: not cancelled while nobody knows');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'lost capture: found');

-- ---------- refunds ----------
SELECT pg_temp.make('refund', amount => 10000) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'refund: captured');
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'refund-1', 3000)), 'initiated', 'refund: first');
SELECT results_eq(format('SELECT refunded, refund_pending FROM payments.get_payment(%L)', :'id'), 'VALUES (0::bigint, 3000::bigint)', 'refund: reserved');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, %L, 7001)', :'id', 'refund-x'), 'PY007', NULL, 'refund: pending ones count');
SELECT is(pg_temp.turn(:'id'), 'partially_refunded', 'refund: in part');
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'refund-2', 2000)), 'initiated', 'refund: second');
SELECT is(pg_temp.turn(:'id', NULL), 'partially_refunded', 'refund: its answer is lost');
SELECT results_eq(format('SELECT refunded, refund_pending FROM payments.get_payment(%L)', :'id'), 'VALUES (3000::bigint, 2000::bigint)', 'refund: still reserved');
SELECT is(pg_temp.turn(:'id'), 'partially_refunded', 'refund: found');
SELECT is((SELECT refunded FROM payments.get_payment(:'id')), 5000::bigint, 'refund: counted once');
SELECT is((SELECT replayed FROM payments.refund_payment(:'id', 'refund-2', 2000)), true, 'refund: called again, replayed');
SELECT is((SELECT status FROM payments.refund_payment(:'id', 'refund-3')), 'initiated', 'refund: the rest');
SELECT is(pg_temp.turn(:'id'), 'refunded', 'refund: whole');
SELECT throws_ok(format('SELECT payments.refund_payment(%L, %L, 1)', :'id', 'refund-4'), 'PY007', NULL, 'refund: nothing is left');
SELECT is(pg_temp.history(:'id'), 'initiated processing succeeded partially_refunded partially_refunded refunded', 'refund: history');
SELECT is(pg_temp.postings(:'id'), 'capture psp_receivable:sandbox < merchant_balance 10000, fee psp_fees < psp_receivable:sandbox 100, refund merchant_balance < psp_receivable:sandbox 3000, refund merchant_balance < psp_receivable:sandbox 2000, refund merchant_balance < psp_receivable:sandbox 5000', 'refund: postings');

-- A refund that is discarded gives its reservation back.
SELECT pg_temp.make('refund-dead', amount => 10000) AS id \gset
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'refund to be discarded: captured');
SELECT operation_id AS op FROM payments.refund_payment(:'id', 'refund-dead-1', 10000) \gset
SELECT is(pg_temp.turn(:'id', NULL), 'succeeded', 'refund to be discarded: in doubt');
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'refund-dead');
BEGIN
	FOR i IN 1..30 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM payments.queue q WHERE q.payment_id = id);
		PERFORM pg_temp.turn(id, NULL);
	END LOOP;
END
$$;
SELECT lives_ok(format('SELECT payments.discard(%L, %L)', pg_temp.dead(:'id'), 'not on the dashboard'), 'refund: discarded');
SELECT results_eq(format('SELECT status, refunded, refund_pending FROM payments.get_payment(%L)', :'id'), $$VALUES ('succeeded', 0::bigint, 0::bigint)$$, 'refund: its reservation is free');
-- The person was wrong: the PSP had done it, and says so now.
SELECT is(payments.complete(:'op', 1, 200), 'refunded', 'refund: the late word of the PSP counts');
SELECT is((SELECT refunded FROM payments.get_payment(:'id')), 10000::bigint, 'refund: and is counted');

-- ---------- leases ----------
-- One that ran out is completed as unknown; the late answer is kept, and counts, since money moved.
SELECT pg_temp.make('lease') AS id \gset
SELECT is((SELECT count(*)::int FROM payments.claim('first', lease => '1 s')), 1, 'lease: claimed');
SELECT is((SELECT claimed_by FROM payments.queue WHERE payment_id = :'id'), 'external:first', 'lease: by whom');
SELECT is((SELECT count(*)::int FROM payments.claim('second')), 0, 'lease: not claimed by another');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('second')), 0, 'lease: run out, not simply sent again');
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'in_doubt', 'lease: run out, in doubt');
SELECT is(pg_temp.waits(:'id'), 'inquire unknown 1', 'lease: run out, to be inquired');
SELECT is(payments.complete(operation_id, 1, 200), 'succeeded', 'lease: the late answer says that money moved') FROM payments.operation WHERE payment_id = :'id';
SELECT is(pg_temp.attempts(:'id'), 'send/1:unknown, send/1:approved late', 'lease: both are on record');
SELECT is(pg_temp.waits(:'id'), NULL, 'lease: nothing is left to be sent or asked');
SELECT results_eq(format('SELECT status FROM payments.operation WHERE payment_id = %L', :'id'), $$VALUES ('succeeded')$$, 'lease: the operation has ended');

-- A late "no" does not count.
SELECT pg_temp.make('lease-no', 'sandbox_declined') AS id \gset
SELECT is((SELECT count(*)::int FROM payments.claim('first')), 1, 'late no: claimed');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('second')), 0, 'late no: run out');
SELECT is(payments.complete(operation_id, 1, 200), 'in_doubt', 'late no: changes nothing') FROM payments.operation WHERE payment_id = :'id';
SELECT is(pg_temp.attempts(:'id'), 'send/1:unknown, send/1:declined late', 'late no: recorded');
SELECT is(pg_temp.waits(:'id'), 'inquire unknown 1', 'late no: still to be inquired');
SELECT is(pg_temp.turn(:'id'), 'failed', 'late no: the inquiry says no as well');

-- A late answer while another holds the lease: money once, and the other ends it.
SELECT pg_temp.make('lease-both') AS id \gset
SELECT is((SELECT count(*)::int FROM payments.claim('first')), 1, 'both: claimed');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.claim('second')), 0, 'both: run out');
UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = :'id';
SELECT is((SELECT attempt FROM payments.claim('second')), 2, 'both: claimed by the second, to inquire');
SELECT is(payments.complete(operation_id, 1, 200), 'succeeded', 'both: the first answers late') FROM payments.operation WHERE payment_id = :'id';
SELECT is((SELECT claimed_by FROM payments.queue WHERE payment_id = :'id'), 'external:second', 'both: the second keeps its lease');
SELECT is(payments.complete(operation_id, 2, 200), 'succeeded', 'both: the second answers') FROM payments.operation WHERE payment_id = :'id';
SELECT is((SELECT count(*)::int FROM payments.movement WHERE payment_id = :'id' AND kind = 'capture'), 1, 'both: charged once');
SELECT is(pg_temp.waits(:'id'), NULL, 'both: out of the queue');

-- Leases that are lost again and again end in the dead letters, not in a loop.
SELECT pg_temp.make('poison') AS id \gset
DO $$
DECLARE
	id uuid := (SELECT payment_id FROM payments.idempotency_key WHERE key = 'poison');
BEGIN
	FOR i IN 1..60 LOOP
		UPDATE payments.queue SET due_at = clock_timestamp() WHERE payment_id = id;
		EXIT WHEN NOT FOUND;
		PERFORM payments.claim('dies');
	END LOOP;
END
$$;
SELECT ok((SELECT reason IN ('worker_died', 'outcome_unknown') FROM payments.dead_letter WHERE payment_id = :'id'), 'poison: a dead letter');
SELECT is((SELECT status FROM payments.get_payment(:'id')), 'in_doubt', 'poison: in doubt');
SELECT lives_ok(format('SELECT payments.redrive(%L)', pg_temp.dead(:'id')), 'poison: redriven');
SELECT is(pg_temp.turn(:'id'), 'succeeded', 'poison: and done');

-- ---------- what people look at ----------
SELECT pg_temp.make('views') AS id \gset
-- The views go by the time at which the transaction began.
UPDATE payments.queue SET due_at = now() - interval '1 s' WHERE payment_id = :'id';
SELECT results_eq('SELECT running, enabled, queued, due, in_flight, dead_letters FROM payments.worker_status',
	'VALUES (false, true, 1::bigint, 1::bigint, 0::bigint, 0::bigint)', 'worker_status: one is due, nobody works');
SELECT matches((SELECT hint FROM payments.worker_status), '^not running', 'worker_status: says what to do');
SELECT is_empty('SELECT FROM payments.stuck', 'stuck: nothing yet');
UPDATE payments.queue SET enqueued_at = enqueued_at - interval '1 hour' WHERE payment_id = :'id';
SELECT results_eq('SELECT payment_id, status, operation, why, amount, currency FROM payments.stuck',
	format('VALUES (%L::uuid, %L, %L, %L, 1000::bigint, %L)', :'id', 'initiated', 'charge initiated', 'the worker does not run', 'EUR'),
	'stuck: due for more than a minute');
SELECT is((SELECT count(*)::int FROM payments.claim('tap')), 1, 'views: claimed');
SELECT results_eq('SELECT queued, due, in_flight FROM payments.worker_status', 'VALUES (1::bigint, 0::bigint, 1::bigint)', 'worker_status: one is in flight');
SELECT is((SELECT why FROM payments.stuck), 'in flight', 'stuck: in flight');
SELECT is(payments.complete(operation_id, 1, 200), 'succeeded', 'views: done') FROM payments.operation WHERE payment_id = :'id';
SELECT is_empty('SELECT FROM payments.queue', 'the queue is empty');
SELECT is_empty('SELECT FROM payments.stuck', 'nothing is stuck');
SELECT lives_ok('SELECT payments.stop_worker()', 'stop_worker()');
SELECT matches((SELECT hint FROM payments.worker_status), '^stopped', 'worker_status: says that it was stopped');

-- ---------- at the end ----------
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'check() is clean');
SELECT is((SELECT sum(balance)::bigint FROM payments.trial_balance WHERE code = 'TOTAL'), 0::bigint, 'the trial balance is zero');
SELECT results_eq($$SELECT sum(captured - refunded)::bigint FROM payments.payment$$,
	$$SELECT balance::bigint FROM payments.trial_balance WHERE code = 'merchant_balance'$$, 'what is owed to the merchant is what was captured and not refunded');
SELECT results_eq($$SELECT sum(amount)::bigint FROM payments.movement WHERE kind = 'fee'$$,
	$$SELECT balance::bigint FROM payments.trial_balance WHERE code = 'psp_fees'$$, 'fees are those of the movements');
SELECT is_empty($$SELECT aggregateid, (payload ->> 'seq')::int FROM payments.event WHERE type LIKE 'payment.%' GROUP BY 1, 2 HAVING count(*) > 1$$, 'one event a status');

SELECT * FROM finish();
ROLLBACK;
