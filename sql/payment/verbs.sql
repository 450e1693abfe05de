-- The verbs.  SECURITY DEFINER, owned by payments_owner; who may call what is
-- in 90_grants.sql.

CREATE FUNCTION payments.setup() RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_setup';
COMMENT ON FUNCTION payments.setup() IS
'Makes the tables, views and triggers of payments in this database, the merchant "default" and the PSP "sandbox". May be run again at any time: it makes what is missing and changes nothing else.';

CREATE FUNCTION payments.migrate() RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments.setup();
	UPDATE payments.installation SET schema_version = payments.version() WHERE schema_version <> payments.version();
END
$$;
COMMENT ON FUNCTION payments.migrate() IS
'After ALTER EXTENSION payments UPDATE: brings the tables to the version of the extension.';

CREATE FUNCTION payments.create_merchant(merchant text, app_role name DEFAULT NULL, psp text DEFAULT 'sandbox') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_setup();
	IF NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = create_merchant.psp) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY401', MESSAGE = format('PSP "%s" does not exist', create_merchant.psp),
			HINT = 'Create it with payments.create_psp().';
	END IF;
	INSERT INTO payments.merchant AS m (merchant, app_role, psp)
	VALUES (create_merchant.merchant, create_merchant.app_role, create_merchant.psp)
	ON CONFLICT (merchant) DO UPDATE SET app_role = excluded.app_role, psp = excluded.psp;
END
$$;
COMMENT ON FUNCTION payments.create_merchant(text, name, text) IS
'Makes a merchant, or changes who acts for it and which PSP it uses by default. app_role: only its members act for this merchant; null: every member of payments_app. Raises PY401 for an unknown PSP.';

CREATE FUNCTION payments.create_psp(psp text, adapter text, base_url text DEFAULT NULL, secret text DEFAULT NULL,
									config jsonb DEFAULT '{}') RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_create_psp';
COMMENT ON FUNCTION payments.create_psp(text, text, text, text, jsonb) IS
'Makes a channel to a payment service provider, or replaces its configuration. adapter: one of the library, such as "sandbox" or "stripe". base_url: default the PSP''s own. secret: name of an entry of payments.secrets_file; NAME.webhook is the webhook signing secret. Raises PY402 for an unknown adapter, PY404 for an address that is not public, PY406 for plain http.';

CREATE FUNCTION payments.resume_psp(psp text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_setup();
	UPDATE payments.psp AS p SET halted_at = NULL, halted_reason = NULL WHERE p.psp = resume_psp.psp;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY401', MESSAGE = format('PSP "%s" does not exist', resume_psp.psp),
			HINT = 'SELECT psp FROM payments.psp lists them.';
	END IF;
	UPDATE payments.psp_feed AS f SET due_at = now(), tries = 0 WHERE f.psp = resume_psp.psp AND f.claimed_by IS NULL;
	UPDATE payments.queue AS q SET due_at = now() WHERE q.psp = resume_psp.psp AND q.claimed_by IS NULL AND q.due_at > now()
		AND q.schedule IS NULL;
	PERFORM payments._wake_worker();
END
$$;
COMMENT ON FUNCTION payments.resume_psp(text) IS
'Lets the worker call a PSP again that was halted because it refused our credentials.';

CREATE FUNCTION payments._wake_worker() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_wake_worker';
COMMENT ON FUNCTION payments._wake_worker() IS 'Internal: wakes the worker at commit.';

CREATE FUNCTION payments.arm() RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_arm';
COMMENT ON FUNCTION payments.arm() IS
'Lets the worker send to real PSPs from here. Records system identifier, timeline, database and host; a clone, a restore or a promoted standby differs in one of them and sends nothing until armed again. The sandbox needs no arming.';

CREATE FUNCTION payments.disarm() RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_disarm';
COMMENT ON FUNCTION payments.disarm() IS 'Takes arm() back; calls already in flight end normally.';

CREATE FUNCTION payments.start_worker() RETURNS int
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_start_worker';
COMMENT ON FUNCTION payments.start_worker() IS
'Lets the worker of this database run and, where the library is not preloaded, starts it. Returns its process id. One started by hand does not come back after a crash of the server: preload in production.';

CREATE FUNCTION payments.stop_worker() RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_stop_worker';
COMMENT ON FUNCTION payments.stop_worker() IS 'No more calls to PSPs from this database until start_worker(). Payments are still accepted and wait in the queue.';

CREATE FUNCTION payments.create_payment(
	idempotency_key text, amount bigint, currency text, merchant text DEFAULT 'default', payment_method text DEFAULT NULL,
	capture text DEFAULT 'automatic', order_ref text DEFAULT NULL, customer text DEFAULT NULL, psp text DEFAULT NULL,
	return_url text DEFAULT NULL, description text DEFAULT NULL, metadata jsonb DEFAULT '{}', off_session boolean DEFAULT false,
	OUT payment_id uuid, OUT status text, OUT replayed boolean) RETURNS record
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_create_payment';
COMMENT ON FUNCTION payments.create_payment(text, bigint, text, text, text, text, text, text, text, text, text, jsonb, boolean) IS
'Accepts a payment in the caller''s transaction; the PSP is called after its commit. amount: whole minor units. idempotency_key: names the intent, 1 to 255 characters; the same call again gives the first result with replayed = true, another call with the key raises PY102. capture: automatic, or manual to hold the amount until capture_payment(). off_session: no customer is waiting, so soft declines are retried by schedule. Raises PY101 PY102 (key), PY014 (amount), PY013 (currency), PY010 (merchant), PY401 (PSP), PY009 (card number in a text).';

CREATE FUNCTION payments.capture_payment(payment_id uuid, idempotency_key text, amount bigint DEFAULT NULL,
	OUT operation_id uuid, OUT status text, OUT replayed boolean) RETURNS record
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_capture_payment';
COMMENT ON FUNCTION payments.capture_payment(uuid, text, bigint) IS
'Takes an authorized amount, or a part of it (minor units); the rest is released. Raises PY006 (wrong status), PY007 (more than authorized), PY008 (a capture or cancel is in progress), PY005, PY101, PY102.';

CREATE FUNCTION payments.cancel_payment(payment_id uuid, idempotency_key text, reason text DEFAULT NULL,
	OUT operation_id uuid, OUT status text, OUT replayed boolean) RETURNS record
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_cancel_payment';
COMMENT ON FUNCTION payments.cancel_payment(uuid, text, text) IS
'Cancels a payment that was not captured: at once while nothing is at the PSP, else by a void there. Raises PY006 (captured or over), PY008 (a call is in flight), PY005, PY101, PY102.';

CREATE FUNCTION payments.refund_payment(payment_id uuid, idempotency_key text, amount bigint DEFAULT NULL, reason text DEFAULT NULL,
	OUT operation_id uuid, OUT status text, OUT replayed boolean) RETURNS record
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_refund_payment';
COMMENT ON FUNCTION payments.refund_payment(uuid, text, bigint, text) IS
'Gives captured money back, all that is left or a part of it (minor units); may be called several times. Raises PY006 (nothing captured), PY007 (more than is left after refunds, pending refunds and disputes), PY005, PY101, PY102.';

CREATE FUNCTION payments.get_payment(payment_id uuid, OUT status text, OUT amount bigint, OUT currency text, OUT amount_text text,
	OUT authorized bigint, OUT captured bigint, OUT refunded bigint, OUT refund_pending bigint, OUT disputed bigint,
	OUT merchant text, OUT psp text, OUT psp_payment_id text, OUT payment_method text, OUT capture text, OUT order_ref text,
	OUT customer text, OUT description text, OUT metadata jsonb, OUT next_action_url text, OUT failure_code text,
	OUT failure_message text, OUT pending_operation text, OUT created_at timestamptz, OUT updated_at timestamptz) RETURNS record
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_setup();
	SELECT p.status, p.amount, p.currency, payments.format_amount(p.amount, p.currency), p.authorized, p.captured, p.refunded,
		   p.refund_pending, p.disputed, p.merchant, p.psp, p.psp_payment_id, p.payment_method, p.capture, p.order_ref, p.customer,
		   p.description, p.metadata, p.next_action_url, p.failure_code, p.failure_message,
		   (SELECT o.kind || ' ' || o.status FROM payments.operation o
			WHERE o.payment_id = p.payment_id AND o.status NOT IN ('succeeded', 'failed', 'cancelled')
			ORDER BY o.created_at DESC LIMIT 1),
		   p.created_at, p.updated_at
	INTO get_payment.status, get_payment.amount, get_payment.currency, get_payment.amount_text, get_payment.authorized,
		 get_payment.captured, get_payment.refunded, get_payment.refund_pending, get_payment.disputed, get_payment.merchant,
		 get_payment.psp, get_payment.psp_payment_id, get_payment.payment_method, get_payment.capture, get_payment.order_ref,
		 get_payment.customer, get_payment.description, get_payment.metadata, get_payment.next_action_url,
		 get_payment.failure_code, get_payment.failure_message, get_payment.pending_operation, get_payment.created_at,
		 get_payment.updated_at
	FROM payments.payment p WHERE p.payment_id = get_payment.payment_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY005', MESSAGE = 'there is no such payment',
			HINT = 'Pass the payment_id that create_payment() returned.';
	END IF;
	PERFORM payments._require_merchant(get_payment.merchant);
END
$$;
COMMENT ON FUNCTION payments.get_payment(uuid) IS
'One payment as it stands; amounts in minor units, amount_text for people. pending_operation says what is still under way. Raises PY005.';

CREATE FUNCTION payments.payment_history(payment_id uuid) RETURNS TABLE (seq int, status text, event text, source text, actor text,
	code text, recorded_at timestamptz)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	owner text;
BEGIN
	PERFORM payments._require_setup();
	SELECT p.merchant INTO owner FROM payments.payment p WHERE p.payment_id = payment_history.payment_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY005', MESSAGE = 'there is no such payment',
			HINT = 'Pass the payment_id that create_payment() returned.';
	END IF;
	PERFORM payments._require_merchant(owner);
	RETURN QUERY SELECT r.seq, r.status, 'retired', 'person', x.retired_by, NULL::text, x.retired_at
		FROM payments.payment_retired r JOIN payments.partition_retired x ON x.table_name = 'payment_status' AND x.from_time = r.from_time
		WHERE r.payment_id = payment_history.payment_id;
	RETURN QUERY SELECT s.seq, s.status, s.event, s.source, s.actor, s.code, s.recorded_at
		FROM payments.payment_status s WHERE s.payment_id = payment_history.payment_id ORDER BY s.seq;
END
$$;
COMMENT ON FUNCTION payments.payment_history(uuid) IS
'Every status a payment has had, oldest first: what happened, who said so (client, worker, answer, inquiry, webhook, person) and the PSP''s code. Where rows were retired, a first row with the event retired stands for them: the last status, by whom and when it was retired. Raises PY005.';

CREATE FUNCTION payments.wait_payment(payment_id uuid, timeout interval DEFAULT '30 s') RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	deadline timestamptz := clock_timestamp() + timeout;
	pause double precision := 0.005;
	p record;
BEGIN
	PERFORM payments._require_setup();
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY011', MESSAGE = 'cannot wait in a transaction whose snapshot stands still',
			HINT = 'Call wait_payment() at READ COMMITTED, outside of the transaction that created the payment.';
	END IF;
	LOOP
		SELECT q.status, q.merchant, q.xmin = pg_current_xact_id_if_assigned()::xid AS mine,
			   payments._is_resting(q.status) AND NOT EXISTS (
				   SELECT FROM payments.operation o WHERE o.payment_id = q.payment_id
				   AND o.kind IN ('capture', 'void', 'refund') AND o.status IN ('initiated', 'processing', 'awaiting_retry', 'in_doubt')) AS done
		INTO p FROM payments.payment q WHERE q.payment_id = wait_payment.payment_id;
		IF NOT FOUND THEN
			RAISE EXCEPTION USING ERRCODE = 'PY005', MESSAGE = 'there is no such payment',
				HINT = 'Pass the payment_id that create_payment() returned.';
		ELSIF p.done THEN
			PERFORM payments._require_merchant(p.merchant);
			RETURN p.status;
		ELSIF p.mine THEN
			RAISE EXCEPTION USING ERRCODE = 'PY011', MESSAGE = 'cannot wait for what this transaction has not committed',
				HINT = 'COMMIT first: the worker sees the payment only then.';
		ELSIF clock_timestamp() >= deadline THEN
			PERFORM payments._require_merchant(p.merchant);
			RETURN p.status;
		END IF;
		PERFORM pg_sleep(least(pause, greatest(extract(epoch FROM deadline - clock_timestamp())::double precision, 0)));
		pause := least(pause * 1.5, 0.2);
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments.wait_payment(uuid, interval) IS
'Waits until a payment is final or rests (succeeded, failed, cancelled, authorized, requires_action, ...) with nothing of ours under way, and returns its status; after the timeout returns the status it has then. Raises PY011 in the transaction that created it, or above READ COMMITTED; PY005.';

CREATE FUNCTION payments.receive_webhook(psp text, headers jsonb, body bytea,
	OUT event_id text, OUT duplicate boolean, OUT payment_id uuid, OUT status text, OUT reply text) RETURNS record
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_receive_webhook';
COMMENT ON FUNCTION payments.receive_webhook(text, jsonb, bytea) IS
'Takes a PSP''s webhook: verifies the request, stores each of its events once, applies them all or none. Pass all of the request''s headers as a JSON object and the body as received. The row is of the event that changed something, or else of the first about a payment, or else of the first; duplicate: all were seen before. Events of a PSP that signs nothing are not believed: the PSP is asked at once. Answer the PSP 200 with reply as the body (null: none) when this returns, 400 for PY501 to PY504, 500 otherwise.';

CREATE FUNCTION payments.redrive(dead_letter_id uuid) RETURNS void
	LANGUAGE c VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_redrive';
COMMENT ON FUNCTION payments.redrive(uuid) IS
'Puts a dead letter back into the queue with its schedule from the start. What is in doubt is inquired at the PSP before anything is sent again. Raises PY301, PY303.';

CREATE FUNCTION payments.discard(dead_letter_id uuid, reason text) RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_discard';
COMMENT ON FUNCTION payments.discard(uuid, text) IS
'Ends a dead letter by a person''s word that the operation did not happen: the operation fails, and what it had reserved is free again. Should the PSP say otherwise later, the money stands in suspense with an exception. Raises PY301, PY303, 22023 without a reason.';
