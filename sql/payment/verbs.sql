-- The verbs.  They act as payments_owner (core/caller.sql); who may call what is
-- in core/grants.sql.

CREATE FUNCTION payments.create_payment(
	idempotency_key text, amount bigint, currency text, merchant text DEFAULT 'default',
	payment_method text DEFAULT NULL, capture text DEFAULT 'automatic', order_ref text DEFAULT NULL,
	customer text DEFAULT NULL, psp text DEFAULT NULL, return_url text DEFAULT NULL,
	description text DEFAULT NULL, metadata jsonb DEFAULT '{}', off_session boolean DEFAULT false,
	OUT payment_id uuid, OUT status text, OUT replayed boolean
) RETURNS record
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_create_payment';
COMMENT ON FUNCTION payments.create_payment(text, bigint, text, text, text, text, text, text, text, text, text, jsonb, boolean) IS
'Accepts a payment in the caller''s transaction; the PSP is called after its commit. amount: whole minor units. idempotency_key: names the intent, 1 to 255 characters; the same call again gives the same payment with replayed = true and the status that it has now, another call with the key raises PY102. capture: automatic, or manual to hold the amount until capture_payment(). off_session: no customer is waiting, so soft declines are retried by schedule. customer: your own name of one, kept here; or the PSP''s id of it, which a saved payment method needs. order_ref: your own number, which the PSP is told; metadata is kept here. Raises PY101 PY102 (key), PY014 (amount), PY013 (currency), PY010 (merchant), PY401 (PSP), PY009 (card number in a text).';

CREATE FUNCTION payments.capture_payment(
	payment_id uuid, idempotency_key text, amount bigint DEFAULT NULL, final boolean DEFAULT true,
	OUT operation_id uuid, OUT status text, OUT replayed boolean
) RETURNS record
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_capture_payment';
COMMENT ON FUNCTION payments.capture_payment(uuid, text, bigint, boolean) IS
'Takes an authorized amount, or a part of it (minor units). final: the rest is released; false, where the PSP can: it stays authorized for further captures, until the last of them, cancel_payment() or the PSP ends it. Raises PY006 (nothing is authorized), PY007 (more than authorized), PY008 (a capture or cancel is in progress), PY407 (the PSP captures once only), PY005, PY101, PY102.';

CREATE FUNCTION payments.cancel_payment(
	payment_id uuid, idempotency_key text, reason text DEFAULT NULL, OUT operation_id uuid, OUT status text,
	OUT replayed boolean
) RETURNS record
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_cancel_payment';
COMMENT ON FUNCTION payments.cancel_payment(uuid, text, text) IS
'Cancels a payment that was not captured: at once while nothing is at the PSP, else by a void there. Of one that was captured in part with final => false it releases the rest. Raises PY006 (captured or over), PY008 (a call is in flight), PY005, PY101, PY102.';

CREATE FUNCTION payments.refund_payment(
	payment_id uuid, idempotency_key text, amount bigint DEFAULT NULL, reason text DEFAULT NULL,
	OUT operation_id uuid, OUT status text, OUT replayed boolean
) RETURNS record
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_refund_payment';
COMMENT ON FUNCTION payments.refund_payment(uuid, text, bigint, text) IS
'Gives captured money back, all that is left or a part of it (minor units); may be called several times. Raises PY006 (nothing captured), PY007 (more than is left after refunds, pending refunds and disputes), PY005, PY101, PY102.';

CREATE FUNCTION payments.get_payment(
	payment_id uuid, OUT status text, OUT amount bigint, OUT currency text, OUT amount_text text,
	OUT authorized bigint, OUT captured bigint, OUT refunded bigint, OUT refund_pending bigint,
	OUT disputed bigint, OUT merchant text, OUT psp text, OUT psp_payment_id text, OUT payment_method text,
	OUT capture text, OUT order_ref text, OUT customer text, OUT description text, OUT metadata jsonb,
	OUT next_action_url text, OUT failure_code text, OUT failure_message text, OUT pending_operation text,
	OUT created_at timestamptz, OUT updated_at timestamptz, OUT capturable bigint,
	OUT capture_before timestamptz
) RETURNS record
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	SELECT p.status, p.amount, p.currency, payments.format_amount(p.amount, p.currency), p.authorized,
		p.captured, p.refunded, p.refund_pending, p.disputed, p.merchant, p.psp, p.psp_payment_id,
		p.payment_method, p.capture, p.order_ref, p.customer, p.description, p.metadata, p.next_action_url,
		p.failure_code, p.failure_message,
		(
			SELECT o.kind || ' ' || o.status
			FROM payments.operation o
			WHERE o.payment_id = p.payment_id AND o.status NOT IN ('succeeded', 'failed', 'cancelled')
			ORDER BY o.created_at DESC LIMIT 1
		),
		p.created_at, p.updated_at,
		CASE
			WHEN p.captured > 0 OR p.status = 'authorized'
				THEN p.authorized - p.captured - p.capture_pending - p.released
			ELSE 0
		END,
		p.capture_before
	INTO get_payment.status, get_payment.amount, get_payment.currency, get_payment.amount_text,
		get_payment.authorized, get_payment.captured, get_payment.refunded, get_payment.refund_pending,
		get_payment.disputed, get_payment.merchant, get_payment.psp, get_payment.psp_payment_id,
		get_payment.payment_method, get_payment.capture, get_payment.order_ref, get_payment.customer,
		get_payment.description, get_payment.metadata, get_payment.next_action_url, get_payment.failure_code,
		get_payment.failure_message, get_payment.pending_operation, get_payment.created_at,
		get_payment.updated_at, get_payment.capturable, get_payment.capture_before
	FROM payments.payment p
	WHERE p.payment_id = get_payment.payment_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY005',
			MESSAGE = coalesce(
				'payment ' || get_payment.payment_id || ' does not exist', 'payment_id must not be null'),
			HINT = 'Pass the payment_id that create_payment() returned.';
	END IF;
	PERFORM payments._require_merchant(get_payment.merchant);
END
$$;
COMMENT ON FUNCTION payments.get_payment(uuid) IS
'One payment as it stands; amounts in minor units, amount_text for people. pending_operation says what is still under way; capturable, what capture_payment() can still take, and capture_before until when, if that is known. Raises PY005.';

CREATE FUNCTION payments.payment_history(payment_id uuid)
	RETURNS TABLE (
		seq int, status text, event text, source text, actor text, code text, recorded_at timestamptz
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	owner text;
BEGIN
	PERFORM payments._require_setup();
	SELECT p.merchant INTO owner FROM payments.payment p WHERE p.payment_id = payment_history.payment_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY005',
			MESSAGE = coalesce(
				'payment ' || payment_history.payment_id || ' does not exist', 'payment_id must not be null'),
			HINT = 'Pass the payment_id that create_payment() returned.';
	END IF;
	PERFORM payments._require_merchant(owner);
	RETURN QUERY
	SELECT r.seq, r.status, 'retired', 'person', x.retired_by, NULL::text, x.retired_at
	FROM payments.payment_retired r
	JOIN payments.partition_retired x ON x.table_name = 'payment_status' AND x.from_time = r.from_time
	WHERE r.payment_id = payment_history.payment_id;
	RETURN QUERY
	SELECT h.*
	FROM (
		SELECT s.seq, s.status, s.event, s.source, s.actor, s.code, s.recorded_at
		FROM payments.payment_status s
		WHERE s.payment_id = payment_history.payment_id
		UNION ALL
		SELECT NULL, NULL, o.kind || '.failed', o.source, NULL, o.failure_code, o.completed_at
		FROM payments.operation o
		WHERE o.payment_id = payment_history.payment_id
		AND o.kind IN ('capture', 'void', 'refund') AND o.status = 'failed'
	) h (seq, status, event, source, actor, code, recorded_at)
	ORDER BY h.recorded_at, h.seq;
END
$$;
COMMENT ON FUNCTION payments.payment_history(uuid) IS
'Every status a payment has had, oldest first: what happened, who said so (client, worker, answer, inquiry, webhook, person) and the PSP''s code. A capture, void or refund that failed is a row without seq and status: it left the payment as it was. Where rows were retired, a first row with the event retired stands for them: the last status, by whom and when it was retired. Raises PY005.';

CREATE FUNCTION payments.get_operation(
	operation_id uuid, OUT payment_id uuid, OUT kind text, OUT status text, OUT amount bigint,
	OUT currency text, OUT amount_text text, OUT psp text, OUT psp_object_id text, OUT reason text,
	OUT failure_code text, OUT failure_message text, OUT source text, OUT created_at timestamptz,
	OUT completed_at timestamptz
) RETURNS record
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_merchant(payments._merchant_of_operation(get_operation.operation_id));
	SELECT o.payment_id, o.kind, o.status, o.amount, o.currency, payments.format_amount(o.amount, o.currency),
		o.psp, o.psp_object_id, o.reason, o.failure_code, o.failure_message, o.source, o.created_at,
		o.completed_at
	INTO get_operation.payment_id, get_operation.kind, get_operation.status, get_operation.amount,
		get_operation.currency, get_operation.amount_text, get_operation.psp, get_operation.psp_object_id,
		get_operation.reason, get_operation.failure_code, get_operation.failure_message,
		get_operation.source, get_operation.created_at, get_operation.completed_at
	FROM payments.operation o
	WHERE o.operation_id = get_operation.operation_id;
END
$$;
COMMENT ON FUNCTION payments.get_operation(uuid) IS
'A capture, cancellation or refund as it stands; amount in minor units. status: succeeded, failed (failure_code and failure_message are the PSP''s words) or cancelled when it is over, and source says by whose word; else what it waits for. Raises PY016.';

CREATE FUNCTION payments._merchant_of_operation(_operation_id uuid) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	owner text;
BEGIN
	SELECT p.merchant INTO owner
	FROM payments.operation o
	JOIN payments.payment p ON p.payment_id = o.payment_id
	WHERE o.operation_id = _operation_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY016',
			MESSAGE = coalesce('operation ' || _operation_id || ' does not exist',
				'operation_id must not be null'),
			HINT = 'Pass the operation_id that capture_payment(), cancel_payment() or refund_payment() '
				'returned.';
	END IF;
	RETURN owner;
END
$$;
COMMENT ON FUNCTION payments._merchant_of_operation(uuid) IS
'Internal: whose payment the operation is on. Raises PY016.';

CREATE FUNCTION payments._wait(_payment_id uuid, _operation_id uuid, _timeout interval) RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	deadline timestamptz := clock_timestamp() + coalesce(_timeout, '30 s');
	pause double precision := 0.005;
	p record;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY011',
			MESSAGE = 'cannot wait in a transaction whose snapshot stands still',
			HINT = 'Call it at READ COMMITTED, outside of the transaction that asked for what it waits for.';
	END IF;
	LOOP
		SELECT coalesce(w.status, q.status) AS status, q.merchant,
			q.xmin = pg_current_xact_id_if_assigned()::xid AS mine,
			CASE
				WHEN w.operation_id IS NOT NULL
					THEN w.completed_at IS NOT NULL OR w.status = 'requires_action'
				ELSE payments._is_resting(q.status)
					AND NOT EXISTS (
						SELECT FROM payments.operation o
						WHERE o.payment_id = q.payment_id
						AND o.kind IN ('capture', 'void', 'refund')
						AND o.status IN ('initiated', 'processing', 'awaiting_retry', 'in_doubt')
					)
			END AS done
		INTO p
		FROM payments.payment q
		LEFT JOIN payments.operation w ON w.operation_id = _operation_id
		WHERE q.payment_id = _payment_id;
		IF NOT FOUND THEN
			RETURN NULL;
		END IF;
		-- In each turn: the merchant may have been given to another role meanwhile.
		PERFORM payments._require_merchant(p.merchant);
		IF p.done THEN
			RETURN p.status;
		ELSIF p.mine THEN
			RAISE EXCEPTION USING
				ERRCODE = 'PY011',
				MESSAGE = 'cannot wait for what this transaction has not committed',
				HINT = 'COMMIT first: the worker sees the payment only then.';
		ELSIF clock_timestamp() >= deadline THEN
			RETURN p.status;
		END IF;
		PERFORM pg_sleep(
			least(pause, greatest(extract(epoch FROM deadline - clock_timestamp())::double precision, 0)));
		pause := least(pause * 1.5, 0.2);
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._wait(uuid, uuid, interval) IS
'Internal: waits until a payment rests, or an operation on it is over, and returns its status. Raises PY011.';

CREATE FUNCTION payments.wait_payment(payment_id uuid, timeout interval DEFAULT '30 s') RETURNS text
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	owner text;
BEGIN
	PERFORM payments._require_setup();
	SELECT p.merchant INTO owner FROM payments.payment p WHERE p.payment_id = wait_payment.payment_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY005',
			MESSAGE = coalesce('payment ' || wait_payment.payment_id || ' does not exist',
				'payment_id must not be null'),
			HINT = 'Pass the payment_id that create_payment() returned.';
	END IF;
	PERFORM payments._require_merchant(owner);
	RETURN payments._wait(wait_payment.payment_id, NULL, wait_payment.timeout);
END
$$;
COMMENT ON FUNCTION payments.wait_payment(uuid, interval) IS
'Waits until a payment is final or rests (succeeded, failed, cancelled, authorized, requires_action, ...) with nothing of ours under way, and returns its status; after the timeout returns the status it has then. A refund that the PSP refused leaves it as it was: wait_operation() tells. Raises PY011 in the transaction that created it, or above READ COMMITTED; PY005.';

CREATE FUNCTION payments.wait_operation(operation_id uuid, timeout interval DEFAULT '30 s') RETURNS text
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_merchant(payments._merchant_of_operation(wait_operation.operation_id));
	RETURN payments._wait(
		(SELECT o.payment_id FROM payments.operation o WHERE o.operation_id = wait_operation.operation_id),
		wait_operation.operation_id, wait_operation.timeout);
END
$$;
COMMENT ON FUNCTION payments.wait_operation(uuid, interval) IS
'Waits until a capture, cancellation or refund is over, and returns its status: succeeded, failed or cancelled; requires_action where somebody must do something at the PSP; after the timeout, the status it has then. get_operation() says why. Raises PY011 in the transaction that asked for it, or above READ COMMITTED; PY016.';
