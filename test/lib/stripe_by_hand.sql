-- A PSP "tap", Stripe's side of which a test plays by hand: nothing leaves the
-- database.  Within the test's transaction, behind no_plan().

SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm();

CREATE TEMP SEQUENCE ids;
CREATE TEMP TABLE sent (n int GENERATED ALWAYS AS IDENTITY, operation_id uuid, attempt int);
CREATE TEMP TABLE hmac AS
SELECT string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 54), '' ORDER BY i) AS inner_pad, string_agg(set_byte(decode('00', 'hex'), 0, get_byte(k, i) # 92), '' ORDER BY i) AS outer_pad
FROM (SELECT decode(rpad(encode('whsec_of_the_tests', 'hex'), 128, '0'), 'hex') AS k) k, generate_series(0, 63) i;

CREATE FUNCTION pg_temp.webhook(type text, object jsonb, id text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body text := jsonb_build_object('id', coalesce(id, 'evt_' || nextval('ids')), 'object', 'event', 'type', type, 'data', jsonb_build_object('object', object));
	t text := extract(epoch FROM clock_timestamp())::bigint;
	mac text;
BEGIN
	SELECT encode(sha256(h.outer_pad || sha256(h.inner_pad || convert_to(t || '.' || body, 'UTF8'))), 'hex') INTO mac FROM hmac h;
	RETURN (SELECT r.status FROM payments.receive_webhook('tap', jsonb_build_object('Stripe-Signature', format('t=%s,v1=%s', t, mac)), convert_to(body, 'UTF8')) r);
END
$$;
-- Hands out the next step of a payment, whenever it is due; the lease of one before has run out with it.
CREATE FUNCTION pg_temp.claim(id uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	UPDATE payments.queue SET due_at = CASE WHEN payment_id = id THEN clock_timestamp() ELSE now() + interval '20 days' END WHERE psp = 'tap';
	INSERT INTO sent (operation_id, attempt) SELECT c.operation_id, c.attempt FROM payments.claim('tap', psp => 'tap') c;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END
$$;
-- The answer to the last call, or to one so many before it.
CREATE FUNCTION pg_temp.answer(http int, body text DEFAULT '', before int DEFAULT 0, headers jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT payments.complete(s.operation_id, s.attempt - $3, $1, $4, convert_to($2, 'UTF8')) FROM sent s ORDER BY n DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.intent(id uuid, name text, status text, received int DEFAULT 0, currency text DEFAULT 'eur') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', name, 'object', 'payment_intent', 'amount', 1000, 'amount_received', $4, 'currency', $5,
		'amount_capturable', CASE $3 WHEN 'requires_capture' THEN 1000 ELSE 0 END, 'status', $3,
		'metadata', jsonb_build_object('payments_ref', o.psp_ref, 'payments_generation', '1'))
	FROM payments.operation o WHERE o.payment_id = id ORDER BY o.created_at LIMIT 1
$$;
CREATE FUNCTION pg_temp.found(one jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('object', 'search_result', 'has_more', false, 'data', jsonb_build_array(one))::text
$$;
CREATE FUNCTION pg_temp.make(key text, capture text DEFAULT 'automatic') RETURNS uuid LANGUAGE sql AS $$
	SELECT payment_id FROM payments.create_payment(key, 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa', capture => capture)
$$;
CREATE FUNCTION pg_temp.state(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT p.status || ': ' || string_agg(concat_ws(' ', o.kind, o.status, o.failure_code), ', ' ORDER BY o.created_at) FROM payments.payment p JOIN payments.operation o USING (payment_id)
	WHERE payment_id = id GROUP BY p.status
$$;
CREATE FUNCTION pg_temp.books(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m.kind || ' ' || m.amount, ', ' ORDER BY m.kind, m.amount) FROM payments.movement m WHERE m.payment_id = id
$$;
CREATE FUNCTION pg_temp.exceptions(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.kind || ' ' || e.amount, ', ' ORDER BY e.kind, e.amount) FROM payments.exception e WHERE e.payment_id = id AND e.resolved_at IS NULL
$$;
CREATE FUNCTION pg_temp.waits(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(q.action || ' ' || o.kind, ', ' ORDER BY o.kind) FROM payments.queue q JOIN payments.operation o USING (operation_id) WHERE q.payment_id = id
$$;
CREATE FUNCTION pg_temp.dead(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT reason FROM payments.dead_letter WHERE payment_id = id AND decision IS NULL
$$;
