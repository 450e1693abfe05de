-- If this fails, the end of a payment depends on which of the PSP's words comes
-- first, and at the PSP nobody promises an order: a refund that failed stands as
-- made, a dispute that was won as lost, a charge that went through as cancelled.
--
-- For each scenario, every order of its words is made by program, by every
-- teller (answer, inquiry, webhook, settlement line), once, each twice at once,
-- and all again at the end.  Then what is open is driven to its end against what
-- is true at the PSP.  Payment, movements, balances, exceptions and dead letters
-- must be those of the first order, and check() clean.
--
-- A sample of each scenario; PAY_EVENT_ORDERS=all runs all of them, and
-- PAY_EVENT_ORDERS=NUMBER another sample, by its seed.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

\set asked `echo "${PAY_EVENT_ORDERS:-$(date +%N)}"`
SELECT diag('PAY_EVENT_ORDERS=' || :'asked');

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();
INSERT INTO payments.retry_schedule (schedule, try, delay, builtin) VALUES ('soft_decline', 1, '1 s', false);

-- ---------- the PSP ----------

CREATE TEMP TABLE world (payment_id uuid, psp_ref text, refund_ref text, truth jsonb, generation int);
CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int, method text, url text, told boolean DEFAULT false);
CREATE TEMP SEQUENCE ids;

CREATE TEMP TABLE hmac AS
SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) AS inner_pad, string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i) AS outer_pad
FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;

CREATE FUNCTION pg_temp.webhook(type text, object jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('id', 'evt_' || nextval('ids'), 'object', 'event', 'type', type, 'data', jsonb_build_object('object', object));
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	PERFORM payments.receive_webhook('tap', jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, mac)), convert_to(body, 'UTF8'));
END
$$;

-- A PaymentIntent: as it is by now, or as an older word knew it.
CREATE FUNCTION pg_temp.intent(id text, generation int, status text, received bigint, with_fee boolean) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', $1, 'object', 'payment_intent', 'amount', 1000, 'amount_received', $4,
		'amount_capturable', CASE $3 WHEN 'requires_capture' THEN 1000 ELSE 0 END, 'currency', 'eur', 'status', $3,
		'metadata', jsonb_build_object('payments_ref', w.psp_ref, 'payments_generation', $2::text),
		'last_payment_error', CASE $3 WHEN 'requires_payment_method' THEN '{"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor"}'::jsonb END,
		'latest_charge', CASE WHEN $5 AND $3 = 'succeeded' THEN
			jsonb_build_object('id', 'ch_' || $1, 'balance_transaction', jsonb_build_object('id', 'txn_' || $1, 'fee', 30, 'currency', 'eur')) END)
	FROM world w
$$;
CREATE FUNCTION pg_temp.refund(id text, amount bigint, status text, ours boolean) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', $1, 'object', 'refund', 'amount', $2, 'currency', 'eur', 'status', $3, 'payment_intent', w.truth ->> 'intent',
		'metadata', CASE WHEN $4 THEN jsonb_build_object('payments_ref', w.refund_ref, 'payments_generation', '1') ELSE '{}' END)
	FROM world w
$$;

-- What the PSP answers to a call of ours.
CREATE FUNCTION pg_temp.truth(s sent, OUT http int, OUT body text) LANGUAGE plpgsql AS $$
DECLARE
	w world;
	intent jsonb;
BEGIN
	SELECT * INTO w FROM world;
	http := 200;
	intent := pg_temp.intent(w.truth ->> 'intent', w.generation, w.truth ->> 'status', (w.truth ->> 'received')::bigint, true);
	IF s.url ~ '/v1/refunds' THEN
		IF w.truth ? 'refund' THEN
			body := pg_temp.refund(w.truth ->> 'refund', 400, w.truth ->> 'refund_status', true);
			IF s.method = 'GET' AND s.url ~ 'refunds\?' THEN
				body := jsonb_build_object('object', 'list', 'has_more', false, 'data', jsonb_build_array(body::jsonb));
			END IF;
		ELSE
			http := CASE s.method WHEN 'GET' THEN 200 ELSE 400 END;
			body := CASE s.method WHEN 'GET' THEN '{"object": "list", "has_more": false, "data": []}' ELSE '{"error": {"type": "invalid_request_error", "code": "amount_too_large"}}' END;
		END IF;
	ELSIF s.method = 'POST' AND s.url ~ '/(capture|cancel)$' AND w.truth ->> 'status' <> (CASE WHEN s.url ~ 'cancel$' THEN 'canceled' ELSE 'succeeded' END) THEN
		http := 400;
		body := '{"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}}';
	ELSIF s.method = 'POST' AND s.url ~ '/capture$' AND (w.truth ->> 'received')::bigint <> 800 THEN
		http := 400;
		body := '{"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}}';
	ELSIF s.method = 'GET' AND s.url ~ '/search' THEN
		body := jsonb_build_object('object', 'search_result', 'has_more', false, 'data', jsonb_build_array(intent));
	ELSE
		body := intent;
	END IF;
END
$$;

-- ---------- the tellers ----------

CREATE FUNCTION pg_temp.claim() RETURNS void LANGUAGE sql AS $$
	UPDATE payments.queue SET due_at = clock_timestamp() WHERE claimed_by IS NULL AND psp = 'tap';
	INSERT INTO sent (operation_id, attempt, method, url) SELECT operation_id, attempt, method, url FROM payments.claim('d', psp => 'tap')
$$;
CREATE FUNCTION pg_temp.answer(s sent, http int, body text) RETURNS void LANGUAGE sql AS $$
	UPDATE sent SET told = true WHERE n = s.n;
	SELECT payments.complete(s.operation_id, s.attempt, http, '{}', convert_to(body, 'UTF8'))
$$;
CREATE FUNCTION pg_temp.line(kind text, object text, gross text, fee text, ours boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	w world;
BEGIN
	SELECT * INTO w FROM world;
	PERFORM payments.import_settlement('tap', 'csv', format(E'kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,currency,occurred_at,payout_ref\n%s,%s,%s,%s,%s,%s,%s,EUR,%s,po_%s\n',
		kind, CASE kind WHEN 'charge' THEN 'txn_' || (w.truth ->> 'intent') ELSE 'txn_' || kind || object END, object, w.truth ->> 'intent',
		CASE WHEN kind = 'charge' THEN w.psp_ref WHEN ours THEN w.refund_ref END, gross, fee, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), nextval('ids')));
	PERFORM payments.reconcile('tap');
END
$$;

-- One word: WHO:WHAT:OBJECT:AMOUNT.
CREATE FUNCTION pg_temp.tell(word text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	p text[] := string_to_array(word, ':');
	w world;
	s sent;
	a record;
BEGIN
	SELECT * INTO w FROM world;
	CASE p[1] || ':' || p[2]
		WHEN 'we:claim' THEN PERFORM pg_temp.claim();
		-- The oldest call that is not answered yet; p[3] says how, else by what is true.
		WHEN 'psp:answer' THEN
			SELECT * INTO s FROM sent WHERE NOT told ORDER BY n LIMIT 1;
			IF s.n IS NULL THEN
				SELECT * INTO s FROM sent ORDER BY n DESC LIMIT 1;	-- once more
			END IF;
			SELECT * INTO a FROM pg_temp.truth(s);
			CASE coalesce(p[3], '')
				WHEN 'lost' THEN PERFORM payments.complete(s.operation_id, s.attempt, NULL), pg_temp.answered(s.n);
				WHEN 'limit' THEN PERFORM pg_temp.answer(s, 429, '{"error": {"type": "invalid_request_error", "code": "rate_limit"}}');
				WHEN 'no' THEN PERFORM pg_temp.answer(s, 402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor"}}');
				WHEN 'less' THEN PERFORM pg_temp.answer(s, 200, pg_temp.intent(w.truth ->> 'intent', w.generation, 'succeeded', 999, false)::text);
				WHEN 'soft' THEN PERFORM pg_temp.answer(s, 402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}}');
				WHEN 'nothing' THEN PERFORM pg_temp.answer(s, 200, CASE WHEN s.method = 'GET' AND s.url ~ 'search|refunds\?' THEN '{"object": "search_result", "has_more": false, "data": []}' ELSE a.body END);
				WHEN 'action' THEN PERFORM pg_temp.answer(s, 200, pg_temp.intent(w.truth ->> 'intent', w.generation, 'requires_action', 0, false)::text);
				WHEN 'authorized' THEN PERFORM pg_temp.answer(s, 200, pg_temp.intent(w.truth ->> 'intent', w.generation, 'requires_capture', 0, false)::text);
				WHEN 'pending' THEN PERFORM pg_temp.answer(s, 200, pg_temp.refund(w.truth ->> 'refund', 400, 'pending', true)::text);
				ELSE PERFORM pg_temp.answer(s, a.http, a.body);
			END CASE;
		-- The lease runs out: what is in flight counts as lost, and is inquired.
		WHEN 'we:lose' THEN
			UPDATE payments.queue SET due_at = clock_timestamp() WHERE psp = 'tap';
			PERFORM pg_temp.claim();
		WHEN 'we:ask' THEN
			PERFORM pg_temp.claim();
			SELECT * INTO s FROM sent ORDER BY n DESC LIMIT 1;
			IF NOT s.told THEN
				SELECT * INTO a FROM pg_temp.truth(s);
				PERFORM pg_temp.answer(s, a.http, a.body);
			END IF;
		WHEN 'we:check' THEN
			IF EXISTS (SELECT FROM payments.check() WHERE NOT ok) THEN
				RAISE EXCEPTION 'check() is not clean on the way';
			END IF;
		WHEN 'we:discard' THEN PERFORM payments.discard(d.dead_letter_id, 'seen in the dashboard') FROM payments.dead_letter d WHERE d.decision IS NULL;
		WHEN 'we:give_up' THEN PERFORM payments.decide_operation(o.operation_id, 'failed', 'not seen in the dashboard') FROM payments.operation o WHERE o.status = 'in_doubt';
		WHEN 'hook:charge' THEN PERFORM pg_temp.webhook('payment_intent.succeeded', pg_temp.intent(w.truth ->> 'intent', w.generation, 'succeeded', (w.truth ->> 'received')::bigint, false));
		WHEN 'hook:authorize' THEN PERFORM pg_temp.webhook('payment_intent.amount_capturable_updated', pg_temp.intent(w.truth ->> 'intent', w.generation, 'requires_capture', 0, false));
		WHEN 'hook:processing' THEN PERFORM pg_temp.webhook('payment_intent.processing', pg_temp.intent(w.truth ->> 'intent', w.generation, 'processing', 0, false));
		WHEN 'hook:action' THEN PERFORM pg_temp.webhook('payment_intent.requires_action', pg_temp.intent(w.truth ->> 'intent', w.generation, 'requires_action', 0, false));
		WHEN 'hook:failed' THEN PERFORM pg_temp.webhook('payment_intent.payment_failed',
			jsonb_set(pg_temp.intent(w.truth ->> 'intent', w.generation, 'requires_payment_method', 0, false), '{last_payment_error,decline_code}', to_jsonb(p[3])));
		WHEN 'hook:cancel' THEN PERFORM pg_temp.webhook('payment_intent.canceled', pg_temp.intent(p[3], p[4]::int, 'canceled', 0, false));
		WHEN 'hook:refund' THEN PERFORM pg_temp.webhook('refund.created', pg_temp.refund(p[3], p[4]::bigint, 'succeeded', p[5] = 'ours'));
		WHEN 'hook:refund_pending' THEN PERFORM pg_temp.webhook('refund.created', pg_temp.refund(p[3], p[4]::bigint, 'pending', p[5] = 'ours'));
		WHEN 'hook:refund_failed' THEN PERFORM pg_temp.webhook('refund.failed', pg_temp.refund(p[3], p[4]::bigint, 'failed', p[5] = 'ours'));
		WHEN 'hook:dispute', 'hook:won', 'hook:lost' THEN
			PERFORM pg_temp.webhook(CASE p[2] WHEN 'dispute' THEN 'charge.dispute.created' ELSE 'charge.dispute.closed' END,
				jsonb_build_object('id', p[3], 'object', 'dispute', 'amount', p[4]::bigint, 'currency', 'eur', 'payment_intent', w.truth ->> 'intent',
					'reason', 'fraudulent', 'status', CASE p[2] WHEN 'dispute' THEN 'needs_response' ELSE p[2] END, 'metadata', '{}'::jsonb));
		WHEN 'line:charge' THEN PERFORM pg_temp.line('charge', 'ch_' || (w.truth ->> 'intent'), ((w.truth ->> 'received')::numeric / 100)::numeric(10, 2)::text, '0.30');
		WHEN 'line:refund' THEN PERFORM pg_temp.line('refund', p[3], (-p[4]::numeric / 100)::numeric(10, 2)::text, '0', coalesce(p[5] = 'ours', false));
		WHEN 'line:refund_failed' THEN PERFORM pg_temp.line('refund_failure', p[3], (p[4]::numeric / 100)::numeric(10, 2)::text, '0');
		WHEN 'line:dispute' THEN PERFORM pg_temp.line('chargeback', p[3], (-p[4]::numeric / 100)::numeric(10, 2)::text, '0');
		WHEN 'line:won' THEN PERFORM pg_temp.line('chargeback_reversal', p[3], (p[4]::numeric / 100)::numeric(10, 2)::text, '0');
	END CASE;
END
$$;
CREATE FUNCTION pg_temp.answered(n int) RETURNS void LANGUAGE sql AS 'UPDATE sent SET told = true WHERE sent.n = $1';

-- ---------- the scenarios ----------

-- before: in this order.  words: in every order; "|" between tellers of the same.
CREATE TEMP TABLE scenario (name text PRIMARY KEY, capture text, truth jsonb, before text[], words text[]);
INSERT INTO scenario VALUES
	('charged', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer,hook:charge|line:charge,hook:processing,we:ask}'),
	('charged, and the answer is lost', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer:lost,we:ask,hook:refund:re_1:400|line:refund:re_1:400,hook:dispute:dp_1:600|line:dispute:dp_1:600}'),
	('charged, and the answer comes late', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,we:lose,we:claim}',
		'{psp:answer,psp:answer:nothing,hook:charge|line:charge}'),
	('the payer tries again', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:action}',
		'{hook:failed:do_not_honor,hook:charge|line:charge,hook:action,we:ask}'),
	('the payer tries again, and the first was a soft decline', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000, "off_session": true}', '{we:claim,psp:answer:action}',
		'{hook:failed:insufficient_funds,hook:charge|line:charge,we:ask}'),
	('refunded, and that failed', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge|line:charge,hook:refund_pending:re_1:400,hook:refund:re_1:400|line:refund:re_1:400,hook:refund_failed:re_1:400|line:refund_failed:re_1:400}'),
	('refunded in two parts', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge,hook:refund:re_1:400|line:refund:re_1:400,hook:refund:re_2:600|line:refund:re_2:600}'),
	('refunded again, after the first had failed', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge,hook:refund:re_1:600,hook:refund_failed:re_1:600,hook:refund:re_2:600|line:refund:re_2:600}'),
	('refunded more than there was', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge,hook:refund:re_1:700,hook:refund:re_2:700}'),
	('disputed and lost', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge|line:charge,hook:dispute:dp_1:1000|line:dispute:dp_1:1000,hook:lost:dp_1:1000}'),
	('disputed and won', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge|line:charge,hook:dispute:dp_1:1000|line:dispute:dp_1:1000,hook:won:dp_1:1000|line:won:dp_1:1000}'),
	('refunded in part, and disputed whole', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge,hook:refund:re_1:400|line:refund:re_1:400,hook:dispute:dp_1:1000|line:dispute:dp_1:1000}'),
	('refunded whole, disputed, and won', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge,hook:refund:re_1:1000,hook:dispute:dp_1:1000,hook:won:dp_1:1000}'),
	('everything', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim}',
		'{psp:answer|hook:charge|line:charge,hook:refund:re_1:400|line:refund:re_1:400,hook:refund_failed:re_1:400|line:refund_failed:re_1:400,hook:dispute:dp_1:1000,hook:won:dp_1:1000}'),
	('an earlier generation is cancelled', 'automatic', '{"intent": "pi_2", "status": "succeeded", "received": 1000, "off_session": true}', '{we:claim,psp:answer:soft,psp:next,we:claim}',
		'{hook:cancel:pi_1:1,hook:cancel:pi_other:0,psp:answer,hook:charge|line:charge}'),
	('an earlier generation is cancelled before the retry', 'automatic', '{"intent": "pi_2", "status": "succeeded", "received": 1000, "off_session": true}', '{we:claim,psp:answer:soft,psp:next}',
		'{hook:cancel:pi_1:1,hook:cancel:pi_other:0,we:ask}'),
	('authorized and cancelled', 'manual', '{"intent": "pi_1", "status": "canceled", "received": 0}', '{we:claim}',
		'{psp:answer:authorized,hook:authorize,hook:cancel:pi_1:1,we:ask}'),
	('cancelled by us', 'manual', '{"intent": "pi_1", "status": "canceled", "received": 0}', '{we:claim,psp:answer:authorized,we:cancel,we:claim}',
		'{psp:answer,hook:authorize,hook:cancel:pi_1:1,we:ask}'),
	('cancelled by us, and so are others in our name', 'manual', '{"intent": "pi_1", "status": "canceled", "received": 0}', '{we:claim,psp:answer:authorized,we:cancel,we:claim,psp:answer:limit}',
		'{hook:cancel:pi_other:1,hook:cancel:pi_0:0,hook:authorize,we:ask}'),
	('cancelled by us while the payer tries again', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:action,we:cancel,we:claim}',
		'{hook:failed:do_not_honor,hook:charge|line:charge,psp:answer,we:ask}'),
	('cancelled by us while the payer fails', 'automatic', '{"intent": "pi_1", "status": "canceled", "received": 0}', '{we:claim,psp:answer:action,we:cancel,we:claim}',
		'{psp:answer|psp:answer:lost,hook:cancel:pi_1:1,hook:failed:do_not_honor,hook:action,we:ask}'),
	('captured by us', 'manual', '{"intent": "pi_1", "status": "succeeded", "received": 800}', '{we:claim,psp:answer:authorized,we:capture,we:claim}',
		'{psp:answer,hook:authorize,hook:charge|line:charge,we:ask,hook:refund:re_1:800}'),
	('captured in the dashboard while ours waits', 'manual', '{"intent": "pi_1", "status": "succeeded", "received": 800}', '{we:claim,psp:answer:authorized,we:capture,we:claim,psp:answer:limit}',
		'{hook:charge|line:charge,we:check,hook:authorize,we:ask}'),
	('captured in the dashboard, in another amount', 'manual', '{"intent": "pi_1", "status": "succeeded", "received": 500}', '{we:claim,psp:answer:authorized,we:capture,we:claim,psp:answer:limit}',
		'{hook:charge,hook:authorize,we:ask}'),
	('captured in the dashboard, in another amount, and a person decides', 'manual', '{"intent": "pi_1", "status": "succeeded", "received": 500}', '{we:claim,psp:answer:authorized,we:capture,we:claim,psp:answer:limit}',
		'{hook:charge,we:ask,we:ask,we:discard,we:check}'),
	('captured in the dashboard, in another amount, while ours is in flight', 'manual', '{"intent": "pi_1", "status": "succeeded", "received": 500}', '{we:claim,psp:answer:authorized,we:capture,we:claim}',
		'{hook:charge,psp:answer,we:ask}'),
	('refunded by us', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000, "refund": "re_9", "refund_status": "succeeded"}', '{we:claim,psp:answer,we:refund,we:claim}',
		'{psp:answer|psp:answer:lost|psp:answer:pending,hook:refund_pending:re_9:400:ours,hook:refund:re_9:400:ours|line:refund:re_9:400|line:refund:re_9:400:ours,we:ask,hook:dispute:dp_1:600}'),
	('refunded by us, and the answer comes late', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000, "refund": "re_9", "refund_status": "succeeded"}', '{we:claim,psp:answer,we:refund,we:claim,we:lose,we:claim}',
		'{psp:answer,psp:answer:nothing,hook:refund:re_9:400:ours}'),
	('refunded by us, and that failed', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000, "refund": "re_9", "refund_status": "failed"}', '{we:claim,psp:answer,we:refund,we:claim}',
		'{psp:answer:pending|psp:answer:lost,hook:refund:re_9:400:ours,hook:refund_failed:re_9:400:ours|line:refund_failed:re_9:400,we:ask}'),
	('refunded by us in vain, since somebody else was first', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer,we:refund,we:claim}',
		'{psp:answer,hook:refund:re_1:700|line:refund:re_1:700,we:ask}'),
	('given up, charged all the same, and refunded', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:lost,we:give_up}',
		'{hook:charge,line:charge,hook:refund:re_1:400|line:refund:re_1:400,hook:refund:re_2:600|line:refund:re_2:600}'),
	('given up, charged all the same, and refunded in part', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:lost,we:give_up}',
		'{hook:charge,line:charge,psp:answer,hook:refund:re_1:400|line:refund:re_1:400}'),
	('given up, charged all the same, refunded, and that failed', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:lost,we:give_up}',
		'{hook:charge,line:charge,hook:refund:re_1:1000|line:refund:re_1:1000,hook:refund_failed:re_1:1000|line:refund_failed:re_1:1000}'),
	('given up, charged all the same, and refunded more than came', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:lost,we:give_up}',
		'{hook:charge,line:charge,hook:refund:re_1:700|line:refund:re_1:700,hook:refund:re_2:700}'),
	('given up, charged all the same, disputed and lost', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:lost,we:give_up}',
		'{hook:charge,line:charge,hook:dispute:dp_1:1000|line:dispute:dp_1:1000,hook:lost:dp_1:1000}'),
	('given up, charged all the same, disputed and won', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:lost,we:give_up}',
		'{hook:charge,line:charge,hook:dispute:dp_1:1000|line:dispute:dp_1:1000,hook:won:dp_1:1000|line:won:dp_1:1000}'),
	('declined, charged all the same, refunded in part, disputed and lost', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:no}',
		'{hook:charge,line:charge,hook:refund:re_1:400|line:refund:re_1:400,hook:lost:dp_1:600}'),
	('given up after it was refunded, or before', 'automatic', '{"intent": "pi_1", "status": "succeeded", "received": 1000}', '{we:claim,psp:answer:less}',
		'{we:give_up,hook:refund:re_1:400|line:refund:re_1:400,line:refund:re_2:300,hook:refund_failed:re_2:300,hook:lost:dp_1:600}');

-- ---------- one order of one scenario ----------

CREATE FUNCTION pg_temp.digest() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(E'\n',
		(SELECT format('%s: authorized %s, capturing %s, captured %s, refunding %s, refunded %s, disputed %s, %s, known as %s', p.status, p.authorized, p.capture_pending,
			p.captured, p.refund_pending, p.refunded, p.disputed, coalesce(p.failure_code, 'no failure'), p.psp_payment_id) FROM payments.payment p),
		(SELECT string_agg(format('moved %s %s %s', m.kind, m.object_id, m.amount), E'\n' ORDER BY m.kind, m.object_id)
			FROM payments.movement m WHERE m.kind NOT IN ('void', 'refund_undone', 'dispute_undone', 'refund_to_suspense', 'dispute_lost_to_suspense')),
		(SELECT string_agg(format('balance %s %s', b.code, b.balance), E'\n' ORDER BY b.code) FROM payments.trial_balance b WHERE b.balance <> 0),
		(SELECT string_agg(format('exception %s %s', x.kind, x.object_id), E'\n' ORDER BY x.kind, x.object_id) FROM payments.exception x WHERE x.resolved_at IS NULL),
		(SELECT string_agg(format('dead letter %s', d.reason), E'\n' ORDER BY d.reason) FROM payments.dead_letter d WHERE d.decision IS NULL),
		(SELECT string_agg(format('queued %s', q.action), E'\n' ORDER BY q.action) FROM payments.queue q),
		(SELECT string_agg(format('%s %s', o.kind, o.status), E'\n' ORDER BY o.kind, o.status) FROM payments.operation o WHERE o.kind IN ('refund', 'capture')),
		(SELECT string_agg('VIOLATED ' || c.invariant, E'\n' ORDER BY c.invariant) FROM payments.check() c WHERE (SELECT last_value % 16 = 0 FROM ids) AND NOT c.ok))
$$;

-- All is undone: what it came to is in the error.
CREATE FUNCTION pg_temp.play(s scenario, words text[], manner int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	made uuid;
	word text;
BEGIN
	SELECT c.payment_id INTO made FROM payments.create_payment('order', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', capture => s.capture,
		off_session => s.truth ? 'off_session') c;
	INSERT INTO world SELECT made, o.psp_ref, NULL, s.truth, 1 FROM payments.operation o;
	FOREACH word IN ARRAY s.before LOOP
		CASE word
			WHEN 'we:refund' THEN
				PERFORM payments.refund_payment(made, 'refund', 400);
				UPDATE world SET refund_ref = o.psp_ref FROM payments.operation o WHERE o.kind = 'refund';
			WHEN 'we:capture' THEN PERFORM payments.capture_payment(made, 'capture', 800);
			WHEN 'we:cancel' THEN PERFORM payments.cancel_payment(made, 'cancel');
			WHEN 'psp:next' THEN UPDATE world SET generation = 2;
			ELSE PERFORM pg_temp.tell(word);
		END CASE;
	END LOOP;
	FOREACH word IN ARRAY words LOOP
		PERFORM pg_temp.tell(word);
		IF manner = 1 THEN
			PERFORM pg_temp.tell(word);
		END IF;
	END LOOP;
	IF manner = 2 THEN
		FOREACH word IN ARRAY words LOOP
			PERFORM pg_temp.tell(word);
		END LOOP;
	END IF;
	-- To the end: whatever is in flight is answered, whatever is open is asked for.
	FOR i IN 1 .. 8 LOOP
		PERFORM pg_temp.answer(x, (t).http, (t).body) FROM (SELECT x, pg_temp.truth(x) AS t FROM sent x WHERE NOT x.told ORDER BY x.n) y;
		EXIT WHEN NOT EXISTS (SELECT FROM payments.queue);
		PERFORM pg_temp.claim();
	END LOOP;
	-- A book tells all, sooner or later.
	IF words::text ~ 'line:' THEN
		FOREACH word IN ARRAY words LOOP
			CONTINUE WHEN word !~ ':(charge|refund|refund_failed|dispute|won)(:|$)';
			PERFORM pg_temp.tell(regexp_replace(word, '^[^:]+', 'line'));
		END LOOP;
		PERFORM pg_temp.tell('line:charge');
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'ZZ001', MESSAGE = pg_temp.digest();
EXCEPTION
	WHEN SQLSTATE 'ZZ001' THEN RETURN sqlerrm;
	WHEN OTHERS THEN RETURN 'RAISED ' || sqlstate || ' ' || sqlerrm;
END
$$;

CREATE FUNCTION pg_temp.orders(n int) RETURNS SETOF int[] LANGUAGE sql AS $$
	WITH RECURSIVE r (taken) AS (
		SELECT '{}'::int[]
		UNION ALL
		SELECT r.taken || i FROM r, generate_series(1, n) i WHERE cardinality(r.taken) < n AND i <> ALL (r.taken)
	)
	SELECT taken FROM r WHERE cardinality(taken) = n
$$;
CREATE FUNCTION pg_temp.tellers(words text[]) RETURNS SETOF text[] LANGUAGE sql AS $$
	WITH RECURSIVE r (told) AS (
		SELECT '{}'::text[]
		UNION ALL
		SELECT r.told || x FROM r, unnest(string_to_array(words[cardinality(r.told) + 1], '|')) x WHERE cardinality(r.told) < cardinality(words)
	)
	SELECT told FROM r WHERE cardinality(told) = cardinality(words)
$$;

-- The orders of a scenario that differ, and how many were tried.
CREATE FUNCTION pg_temp.differing(s scenario, asked text, most int) RETURNS TABLE (tried bigint, differ bigint, example text) LANGUAGE sql AS $$
	WITH first AS MATERIALIZED (
		SELECT pg_temp.play(s, (SELECT array_agg(split_part(x, '|', 1) ORDER BY n) FROM unnest(s.words) WITH ORDINALITY u (x, n)), 0) AS wanted
	), made AS MATERIALIZED (
		SELECT (SELECT array_agg(t[i] ORDER BY k) FROM unnest(o) WITH ORDINALITY u (i, k)) AS words, m AS manner
		FROM pg_temp.orders(cardinality(s.words)) o, pg_temp.tellers(s.words) t, generate_series(0, 2) m
	), chosen AS MATERIALIZED (
		SELECT * FROM made ORDER BY md5(asked || words::text || manner) LIMIT CASE WHEN asked <> 'all' THEN most END
	), played AS MATERIALIZED (
		SELECT c.*, pg_temp.play(s, c.words, c.manner) AS got FROM chosen c
	)
	SELECT count(*), count(*) FILTER (WHERE got <> wanted OR wanted ~ 'VIOLATED|RAISED'),
		min(format(E'%s (manner %s)\nwanted:\n%s\ngot:\n%s', words, manner, wanted, got)) FILTER (WHERE got <> wanted OR wanted ~ 'VIOLATED|RAISED')
	FROM played, first
$$;

-- One after the other, so that one sees how far it is.
CREATE TEMP TABLE result (tried bigint);
CREATE FUNCTION pg_temp.one_end(wanted text, asked text) RETURNS text LANGUAGE sql AS $$
	WITH d AS MATERIALIZED (
		SELECT x.* FROM scenario s, pg_temp.differing(s, asked, 4) x WHERE s.name = wanted
	), noted AS (
		INSERT INTO result SELECT tried FROM d
	)
	SELECT is(differ, 0::bigint, format('%s: %s orders, one end%s', wanted, tried, E'\n' || example)) FROM d
$$;
SELECT format('SELECT pg_temp.one_end(%L, %L)', name, :'asked') FROM scenario ORDER BY name
\gexec
SELECT cmp_ok(sum(tried), '>=', 150::numeric, format('%s orders in all', sum(tried))) FROM result;

-- ---------- words that no true story has ----------

-- Sent, and not answered yet.
CREATE FUNCTION pg_temp.charge(intent text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made uuid := (SELECT payment_id FROM payments.create_payment(intent, 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', capture => charge.capture));
BEGIN
	DELETE FROM world;
	DELETE FROM sent;
	INSERT INTO world SELECT made, o.psp_ref, NULL, jsonb_build_object('intent', intent, 'status', CASE capture WHEN 'manual' THEN 'requires_capture' ELSE 'succeeded' END,
		'received', CASE capture WHEN 'manual' THEN 0 ELSE 1000 END), 1 FROM payments.operation o WHERE o.payment_id = made;
	PERFORM pg_temp.claim();
	DELETE FROM sent s USING payments.operation o WHERE o.operation_id = s.operation_id AND o.payment_id <> made;
	RETURN made;
END
$$;
CREATE FUNCTION pg_temp.moved(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s', m.kind, m.object_id, m.amount), ', ' ORDER BY m.kind, m.object_id) FROM payments.movement m WHERE m.payment_id = id AND m.kind NOT IN ('fee', 'authorize')
$$;
CREATE FUNCTION pg_temp.exceptions(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s', x.kind, x.object_id, x.amount), ', ' ORDER BY x.kind, x.object_id) FROM payments.exception x WHERE x.payment_id = id AND x.kind <> 'disputed'
$$;
-- As if it had been told in a transaction beside that in which the payment became known.
CREATE FUNCTION pg_temp.missed(intent text, object text, n int DEFAULT 1) RETURNS void LANGUAGE sql AS $$
	INSERT INTO payments.psp_event (psp, event_id, event_type, received_at, headers, body, outcome, source, psp_payment_id, effect, object_id, amount, currency)
	SELECT 'tap', 'evt_' || nextval('ids'), 'refund.created', clock_timestamp(), '{}', '', 'unmatched', 'webhook', intent, 'refund', object || i, 1, 'EUR' FROM generate_series(1, n) i
$$;

-- Refunds of the same amount: a line ends the one that it refers to, and none else.
SELECT pg_temp.charge('pi_refunds') AS id \gset
SELECT pg_temp.tell('psp:answer');
SELECT payments.refund_payment(:'id', 'first', 400), payments.refund_payment(:'id', 'second', 400);
SELECT pg_temp.line('refund', 're_dashboard', '-4.00', '0');
UPDATE world SET refund_ref = 'SHOP-77';
SELECT pg_temp.line('refund', 're_shop', '-1.00', '0', true);
SELECT is((SELECT string_agg(status, ', ') FROM payments.operation WHERE payment_id = :'id' AND kind = 'refund'), 'initiated, initiated', 'the refunds of others end none of ours');
SELECT is(pg_temp.moved(:'id'), 'capture pi_refunds 1000, refund re_dashboard 400, refund re_shop 100', 'they are booked');
UPDATE world SET refund_ref = (SELECT psp_ref FROM payments.operation WHERE payment_id = :'id' AND kind = 'refund' ORDER BY created_at, operation_id LIMIT 1 OFFSET 1);
SELECT pg_temp.line('refund', 're_second', '-4.00', '0', true);
SELECT is((SELECT string_agg(o.psp_object_id, ', ') FROM payments.operation o JOIN world w ON w.refund_ref = o.psp_ref WHERE o.status = 'succeeded'), 're_second', 'a line that refers to one of ours ends that');
SELECT is((SELECT string_agg(o.status, ', ') FROM payments.operation o JOIN world w ON w.refund_ref <> o.psp_ref WHERE o.payment_id = :'id' AND o.kind = 'refund'), 'initiated', 'and not the other');

-- Another's cancellation is no answer to ours.
SELECT pg_temp.charge('pi_void', 'manual') AS id \gset
SELECT pg_temp.tell('psp:answer');
SELECT payments.cancel_payment(:'id', 'void');
SELECT pg_temp.tell('hook:cancel:pi_stranger:1');
SELECT results_eq(format('SELECT p.status, o.status, o.psp_object_id FROM payments.payment p JOIN payments.operation o USING (payment_id) WHERE p.payment_id = %L AND o.kind = ''void''', :'id'),
	$$VALUES ('authorized', 'initiated', NULL)$$, 'a stranger is cancelled: our own cancellation waits to be sent');

-- Amounts that cannot be booked hold nothing up.
SELECT pg_temp.charge('pi_absurd') AS id \gset
SELECT lives_ok(format('SELECT pg_temp.tell(%L)', 'hook:dispute:dp_' || n || ':' || amount), 'a dispute of ' || amount) FROM (VALUES (1, 9223372036854775807), (2, 1000000000000000), (3, 999999999999999), (4, 999999999999999)) x (n, amount);
SELECT lives_ok($$SELECT pg_temp.tell('psp:answer')$$, 'the charge can be booked');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted dp_1 9223372036854775807, conflicted dp_2 1000000000000000, conflicted dp_4 999999999999999, over_refunded  999999999998999', 'and what cannot be is told');
SELECT is(pg_temp.moved(:'id'), 'capture pi_absurd 1000, dispute dp_3 999999999999999', 'the rest is booked');
SELECT pg_temp.charge('pi_known') AS id \gset
SELECT pg_temp.tell('psp:answer');
SELECT lives_ok(format('SELECT pg_temp.tell(%L)', 'hook:dispute:dp_known_' || n || ':9223372036854775807'), 'of a payment that is known, ' || n) FROM generate_series(1, 2) n;
SELECT is(pg_temp.exceptions(:'id'), 'conflicted dp_known_1 9223372036854775807, conflicted dp_known_2 9223372036854775807', 'as well');

-- What was kept is applied, whoever comes next.
SELECT pg_temp.charge('pi_many') AS id \gset
SELECT pg_temp.missed('pi_many', 're_many_', 1003);
SELECT pg_temp.tell('psp:answer');
SELECT is((SELECT count(*) FROM payments.movement WHERE payment_id = :'id' AND kind = 'refund'), 1003::bigint, 'however much it is');
SELECT pg_temp.missed('pi_many', 're_next_');
SELECT pg_temp.tell('hook:dispute:dp_many:1');
SELECT is((SELECT count(*) FROM payments.movement WHERE payment_id = :'id' AND object_id IN ('re_next_1', 'dp_many')), 2::bigint, 'the next event brings it along');
SELECT pg_temp.missed('pi_many', 're_last_');
SELECT pg_sleep(1.1);	-- a session sweeps once a second
SELECT pg_temp.claim();
SELECT is((SELECT count(*) FROM payments.movement WHERE payment_id = :'id' AND object_id = 're_last_1'), 1::bigint, 'and so does an external worker that claims');

-- One object, told in two amounts: booked once, and a person is told.
SELECT pg_temp.charge('pi_partly', 'manual') AS id \gset
SELECT pg_temp.tell('psp:answer');
SELECT pg_temp.line('charge', 'ch_pi_partly', '10.00', '0');
UPDATE world SET truth = truth || '{"received": 800, "status": "succeeded"}';
SELECT pg_temp.tell('hook:charge'), pg_temp.tell('hook:charge');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted pi_partly 800', 'a capture');
SELECT pg_temp.charge('pi_twice') AS id \gset
SELECT pg_temp.tell('psp:answer');
SELECT pg_temp.tell('hook:dispute:dp_twice:300'), pg_temp.tell('hook:dispute:dp_twice:700'), pg_temp.tell('hook:refund:re_twice:200'), pg_temp.tell('hook:refund:re_twice:100');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted dp_twice 700, conflicted re_twice 100', 'a dispute, a refund');
SELECT pg_temp.charge('pi_back') AS id \gset
SELECT pg_temp.tell('psp:answer');
SELECT pg_temp.tell('hook:dispute:dp_back:600'), pg_temp.tell('hook:refund:re_back:400'), pg_temp.tell('line:won:dp_back:500'), pg_temp.tell('line:refund_failed:re_back:100');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted dp_back 500, conflicted re_back 100, refund_failed re_back 400', 'what takes them back');

-- A second charge stands beside the payment; so does what takes it back, and a person is told.
SELECT pg_temp.charge('pi_one') AS id \gset
SELECT pg_temp.tell('psp:answer');
UPDATE world SET truth = truth || '{"intent": "pi_two"}';
SELECT pg_temp.tell('hook:dispute:dp_two:500');
SELECT pg_temp.tell('hook:charge'), pg_temp.tell('hook:refund:re_two:1000'), pg_temp.tell('hook:refund:re_two:1000');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted dp_two 500, conflicted re_two 1000, duplicate pi_two 1000', 'before it is heard of, and after');
SELECT results_eq(format('SELECT status, captured, refunded, disputed FROM payments.payment WHERE payment_id = %L', :'id'), $$VALUES ('succeeded', 1000::bigint, 0::bigint, 0::bigint)$$,
	'the payment is as it was');

-- Money that came for what was over was never the merchant's: what is given back of it comes out of suspense.
CREATE FUNCTION pg_temp.accounts(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', code, balance), ', ' ORDER BY code) FROM (
		SELECT a.code, sum(CASE WHEN (a.account_id = p.debit_account) = (a.type IN ('asset', 'expense')) THEN p.amount ELSE -p.amount END) AS balance
		FROM payments.posting p JOIN payments.account a ON a.account_id IN (p.debit_account, p.credit_account)
		WHERE p.payment_id = id AND a.code !~ '^psp_' GROUP BY a.code) x WHERE balance <> 0
$$;
CREATE FUNCTION pg_temp.late(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws('; ', pg_temp.accounts(id), (SELECT string_agg(x.kind || coalesce(': ' || x.resolution, ''), ', ' ORDER BY x.kind) FROM payments.exception x WHERE x.payment_id = id),
		(SELECT format('%s %s %s', p.status, p.captured, p.refunded) FROM payments.payment p WHERE p.payment_id = id))
$$;
CREATE FUNCTION pg_temp.given_up(intent text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	made uuid := pg_temp.charge(intent);
BEGIN
	PERFORM pg_temp.tell('psp:answer:lost');
	PERFORM payments.decide_operation(o.operation_id, 'failed', 'not seen in the dashboard') FROM payments.operation o WHERE o.payment_id = made;
	RETURN made;
END
$$;
SELECT pg_temp.given_up('pi_late') AS id \gset
SELECT pg_temp.tell('hook:charge');
SELECT is(pg_temp.late(:'id'), 'suspense 1000; after_cancel; failed 0 0', 'it is in suspense');
SELECT pg_temp.tell('hook:refund:re_late_1:400');
SELECT is(pg_temp.late(:'id'), 'suspense 600; after_cancel; failed 0 0', 'refunded in part: the rest is left, and a person has to look');
-- The PSP's book tells all: what is booked and a line are together no more than its lines say.
SELECT pg_temp.tell('line:refund:re_late_1:400'), pg_temp.tell('line:refund:re_late_2:600');
SELECT is(pg_temp.late(:'id'), 'after_cancel: what came late was given back at the PSP; it was taken from suspense; failed 0 0', 'and the rest: nothing is left, and nobody has to');
SELECT pg_temp.tell('hook:refund_failed:re_late_2:600');
SELECT is(pg_temp.late(:'id'), 'suspense 600; after_cancel, refund_failed; failed 0 0', 'that failed: it is in suspense again');
SELECT payments.resolve_exception(exception_id, 'kept for the payer') FROM payments.exception WHERE payment_id = :'id' AND kind = 'after_cancel';
SELECT pg_temp.tell('hook:dispute:dp_late:600');
SELECT is(pg_temp.accounts(:'id'), 'dispute_reserve 600, suspense 600', 'the rest is disputed');
SELECT pg_temp.tell('hook:lost:dp_late:600');
SELECT is(pg_temp.late(:'id'), 'after_cancel: kept for the payer, disputed: the dispute was lost, refund_failed; failed 0 0', 'and lost: nothing is left, and what a person has said stays');
SELECT pg_temp.given_up('pi_before') AS id \gset
SELECT pg_temp.tell('line:charge'), pg_temp.tell('line:refund:re_before:1000'), pg_temp.tell('line:refund:re_more:100');
SELECT is(pg_temp.accounts(:'id') || '; ' || pg_temp.exceptions(:'id'), 'suspense -100; after_cancel pi_before 1000, over_refunded  100', 'more than came is told');
-- It was the merchant's as long as the payment was open.
SELECT pg_temp.charge('pi_open_still') AS id \gset
SELECT pg_temp.tell('psp:answer:less'), pg_temp.tell('hook:refund:re_open_still:300'), pg_temp.tell('hook:lost:dp_open_still:200');
SELECT is(pg_temp.accounts(:'id'), 'merchant_balance -500', 'a refund and a lost dispute of what is in doubt');
SELECT payments.decide_operation(o.operation_id, 'failed', 'seen in the dashboard: nothing') FROM payments.operation o WHERE o.payment_id = :'id';
SELECT is(pg_temp.accounts(:'id'), 'suspense -500', 'are taken over when it comes to nothing');
SELECT pg_temp.tell('hook:charge');
SELECT is(pg_temp.accounts(:'id'), 'suspense 500', 'and then it was charged all the same');
-- Rules of one's own are heeded.
INSERT INTO payments.posting_rule (event, leg, debit, credit, builtin) VALUES ('late_refund', 1, 'suspense', 'psp_fees', false);
SELECT pg_temp.tell('hook:refund:re_own_rule:500');
SELECT is((SELECT a.code FROM payments.posting p JOIN payments.account a ON a.account_id = p.credit_account WHERE p.reference = 'tap:re_own_rule:refund:1'), 'psp_fees', 'by a rule of one''s own');
DELETE FROM payments.posting_rule WHERE NOT builtin;

-- The first generation was declined, and has the money in the end: it is the payment, whatever becomes of the second.
CREATE FUNCTION pg_temp.second_generation(name text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	-- A card of its own: how often one is declined has a limit.
	made uuid := (SELECT payment_id FROM payments.create_payment(name, 1000, 'EUR', psp => 'tap', payment_method => 'pm_' || name, capture => second_generation.capture, off_session => true));
BEGIN
	DELETE FROM world;
	DELETE FROM sent;
	INSERT INTO world SELECT made, o.psp_ref, NULL, jsonb_build_object('intent', 'pi_' || name || '_1', 'status', CASE capture WHEN 'manual' THEN 'requires_capture' ELSE 'succeeded' END,
		'received', CASE capture WHEN 'manual' THEN 0 ELSE 1000 END), 1 FROM payments.operation o WHERE o.payment_id = made;
	PERFORM pg_temp.claim();
	DELETE FROM sent s USING payments.operation o WHERE o.operation_id = s.operation_id AND o.payment_id <> made;
	PERFORM pg_temp.tell('psp:answer:soft');
	RETURN made;
END
$$;
CREATE FUNCTION pg_temp.payment_of(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s as %s, captured %s, disputed %s; %s', p.status, p.psp_payment_id, p.captured, p.disputed,
		(SELECT string_agg(o.kind || ' ' || o.status, ', ' ORDER BY o.created_at) FROM payments.operation o WHERE o.payment_id = p.payment_id)) FROM payments.payment p WHERE p.payment_id = id
$$;
SELECT pg_temp.second_generation('waits') AS id \gset
SELECT pg_temp.tell('hook:charge');
SELECT is(pg_temp.payment_of(:'id'), 'succeeded as pi_waits_1, captured 1000, disputed 0; charge succeeded', 'the second is not sent, nor asked for');

SELECT pg_temp.second_generation('refused') AS id \gset
SELECT pg_temp.claim();
SELECT pg_temp.tell('hook:charge');
SELECT pg_temp.answer(s, 402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "payment_intent": {"id": "pi_refused_2"}}}') FROM sent s WHERE NOT told;
SELECT pg_temp.tell('hook:dispute:dp_refused:300');
SELECT is(pg_temp.payment_of(:'id'), 'disputed as pi_refused_1, captured 1000, disputed 300; charge succeeded', 'the second is refused: what is told of the first is heard');
SELECT payments.refund_payment(:'id', 'back to the first');
DELETE FROM sent;
SELECT pg_temp.claim();
SELECT matches(a.body, '^payment_intent=pi_refused_1&', 'and refunded is the first') FROM payments.attempt a JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND o.kind = 'refund';

SELECT pg_temp.second_generation('both') AS id \gset
SELECT pg_temp.claim();
SELECT pg_temp.tell('hook:charge');
UPDATE world SET truth = truth || '{"intent": "pi_both_2"}', generation = 2;
SELECT pg_temp.tell('psp:answer'), pg_temp.tell('hook:dispute:dp_both_2:300');
UPDATE world SET truth = truth || '{"intent": "pi_both_1"}', generation = 1;
SELECT pg_temp.tell('hook:dispute:dp_both_1:400');
SELECT is(pg_temp.payment_of(:'id'), 'disputed as pi_both_1, captured 1000, disputed 400; charge succeeded', 'both are charged: the first is the payment');
SELECT is(pg_temp.moved(:'id'), 'capture pi_both_1 1000, dispute dp_both_1 400, late_capture pi_both_2 1000', 'the second stands in suspense');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted dp_both_2 300, duplicate pi_both_2 1000', 'and so does its dispute');

SELECT pg_temp.second_generation('lost') AS id \gset
SELECT pg_temp.claim();
SELECT pg_temp.tell('hook:charge'), pg_temp.tell('psp:answer:lost');
UPDATE world SET truth = truth || '{"intent": "pi_lost_2"}', generation = 2;
SELECT pg_temp.tell('we:ask');
SELECT is(pg_temp.moved(:'id'), 'capture pi_lost_1 1000, late_capture pi_lost_2 1000', 'what became of the second is found out when its answer is lost');
SELECT is(pg_temp.payment_of(:'id'), 'succeeded as pi_lost_1, captured 1000, disputed 0; charge succeeded', 'the first is the payment');

SELECT pg_temp.second_generation('held', 'manual') AS id \gset
SELECT pg_temp.claim();
SELECT pg_temp.tell('hook:authorize');
SELECT pg_temp.answer(s, 402, '{"error": {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "payment_intent": {"id": "pi_held_2"}}}') FROM sent s WHERE NOT told;
SELECT is(pg_temp.payment_of(:'id'), 'authorized as pi_held_1, captured 0, disputed 0; authorize succeeded', 'held by the first: it is what will be captured');

SELECT pg_temp.second_generation('held_twice', 'manual') AS id \gset
SELECT pg_temp.claim();
UPDATE world SET truth = truth || '{"status": "succeeded", "received": 1000}';
SELECT pg_temp.tell('hook:charge');
UPDATE world SET truth = '{"intent": "pi_held_twice_2", "status": "requires_capture", "received": 0}', generation = 2;
SELECT pg_temp.tell('psp:answer');
SELECT is(pg_temp.exceptions(:'id'), 'after_cancel pi_held_twice_2 1000', 'captured from the first, and held by the second: a person is told');

-- A cancellation that was accepted ends the tries.
SELECT payment_id AS id FROM payments.create_payment('no more', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', off_session => true) \gset
DELETE FROM world;
DELETE FROM sent;
INSERT INTO world SELECT :'id', psp_ref, NULL, '{"intent": "pi_no_more", "status": "requires_payment_method", "received": 0}', 1 FROM payments.operation WHERE payment_id = :'id';
SELECT pg_temp.claim();
DELETE FROM sent s USING payments.operation o WHERE o.operation_id = s.operation_id AND o.payment_id <> :'id';
SELECT pg_temp.tell('psp:answer:action');
SELECT payments.cancel_payment(:'id', 'no more, please');
SELECT pg_temp.tell('hook:processing');
SELECT pg_temp.claim();
SELECT pg_temp.answer(s, 200, jsonb_set(pg_temp.intent('pi_no_more', 1, 'requires_payment_method', 0, false), '{last_payment_error,decline_code}', '"insufficient_funds"')::text)
FROM sent s JOIN payments.operation o USING (operation_id) WHERE o.payment_id = :'id' AND s.method = 'GET';
SELECT is(pg_temp.payment_of(:'id'), 'failed as pi_no_more, captured 0, disputed 0; charge failed, void processing', 'a soft decline begins no further try while we cancel');

-- What has its money is not charged again, not even by a person's word.
SELECT pg_temp.charge('pi_paid') AS id \gset
SELECT pg_temp.tell('psp:answer:limit'), pg_temp.tell('hook:charge'), pg_temp.claim();
SELECT pg_temp.answer(s, 200, pg_temp.intent('pi_paid', 1, 'succeeded', 999, true)::text) FROM sent s WHERE NOT told;
SELECT is(pg_temp.payment_of(:'id'), 'succeeded as pi_paid, captured 1000, disputed 0; charge succeeded', 'what contradicts a capture leaves nothing to be sent');
SELECT is(pg_temp.exceptions(:'id'), 'conflicted pi_paid 999', 'and is told');
INSERT INTO payments.posting_rule (event, leg, debit, credit, builtin) VALUES ('fee', 1, 'no_such_account', 'merchant_balance', false);
SELECT pg_temp.charge('pi_feeless') AS id \gset
SELECT pg_temp.tell('psp:answer:limit'), pg_temp.tell('hook:charge'), pg_temp.tell('we:ask');
SELECT is(pg_temp.payment_of(:'id'), 'succeeded as pi_feeless, captured 1000, disputed 0; charge in_doubt', 'its fee cannot be booked: a dead letter');
SELECT dead_letter_id AS dead FROM payments.dead_letter WHERE payment_id = :'id' AND decision IS NULL \gset
SELECT throws_ok(format('SELECT payments.redrive(%L, true, ''send it'')', :'dead'), 'PY006', NULL, 'it is not sent for that');
DELETE FROM payments.posting_rule WHERE NOT builtin;
SELECT payments.redrive(:'dead');
SELECT pg_temp.tell('we:ask');
SELECT is((SELECT sum(amount)::bigint FROM payments.movement WHERE payment_id = :'id' AND kind = 'fee'), 30::bigint, 'but asked for');

-- A line that cannot be booked holds up no other.
INSERT INTO payments.account_template (code, type, max_balance) VALUES ('merchant_balance', 'liability', 500);
SELECT payments.create_merchant('shut'), payments.create_account('merchant_balance', 'EUR', 'liability', 'shut', max_balance => 500);
DELETE FROM payments.account_template WHERE NOT builtin;
SELECT payment_id AS shut FROM payments.create_payment('shut', 1000, 'EUR', merchant => 'shut', psp => 'tap', payment_method => 'pm_card_visa') \gset
SELECT pg_temp.charge('pi_open') AS id \gset
SELECT lines FROM payments.import_settlement('tap', 'csv', (SELECT E'kind,entry_id,psp_object_id,psp_payment_id,reference,gross,fee,currency,occurred_at,payout_ref\n'
	|| string_agg(format('charge,txn_%1$s,ch_%1$s,pi_%1$s,%2$s,10.00,0,EUR,%3$s,po_open', CASE WHEN o.payment_id = :'shut' THEN 'shut' ELSE 'open' END, o.psp_ref,
		to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')), E'\n' ORDER BY o.payment_id = :'id') || E'\n'
	FROM payments.operation o WHERE o.payment_id IN (:'shut', :'id')));
SELECT lives_ok($$SELECT payments.reconcile('tap')$$, 'reconciled, though one line cannot be booked');
SELECT is((SELECT string_agg(p.status, ', ' ORDER BY p.merchant) FROM payments.payment p WHERE p.payment_id IN (:'shut', :'id')), 'succeeded, processing', 'the other is');
SELECT is((SELECT string_agg(d.kind, ', ') FROM payments.discrepancy d WHERE d.payment_id = :'shut' AND d.status = 'open'), 'status', 'and it stays for a person');
SELECT results_eq('SELECT invariant FROM payments.check() WHERE NOT ok', $$VALUES ('at most one charge of a payment succeeded')$$, 'check() knows of the second charge, and is clean else');

-- Somebody has dealt with each of them; it stays one as long as one is open.
SELECT payments.resolve_exception(x.exception_id, 'refunded in the dashboard, and booked') FROM payments.exception x
WHERE x.kind = 'duplicate' AND x.resolved_at IS NULL AND x.object_id <> 'pi_both_2';
SELECT results_eq('SELECT invariant, violations FROM payments.check() WHERE NOT ok', $$VALUES ('at most one charge of a payment succeeded', 1::bigint)$$, 'one is open still');
SELECT payments.resolve_exception(x.exception_id, 'refunded in the dashboard, and booked') FROM payments.exception x WHERE x.kind = 'duplicate' AND x.resolved_at IS NULL;
SELECT is_empty('SELECT * FROM payments.check() WHERE NOT ok', 'what a person has dealt with is no violation for ever');

-- What one charge of two was refunded by, told by the PSP's book, is no part of the payment either.
SELECT pg_temp.charge('pi_book') AS id \gset
SELECT pg_temp.tell('psp:answer');
UPDATE world SET truth = truth || '{"intent": "pi_book_2"}';
SELECT pg_temp.tell('hook:charge');
UPDATE world SET refund_ref = psp_ref;
SELECT pg_temp.line('refund', 're_book_2', '-10.00', '0', true);
SELECT is(pg_temp.exceptions(:'id'), 'conflicted re_book_2 1000, duplicate pi_book_2 1000', 'a line names the second charge: a person is told');
SELECT results_eq(format('SELECT status, captured, refunded FROM payments.payment WHERE payment_id = %L', :'id'), $$VALUES ('succeeded', 1000::bigint, 0::bigint)$$, 'the payment is as it was');

SELECT * FROM finish();
ROLLBACK;
