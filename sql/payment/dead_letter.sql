-- What a person decides about a dead letter, and about an exception.

CREATE FUNCTION payments.redrive(dead_letter_id uuid, resend boolean DEFAULT false, reason text DEFAULT NULL)
	RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_redrive';
COMMENT ON FUNCTION payments.redrive(uuid, boolean, text) IS
'Puts a dead letter back into the queue with its schedule from the start. What is in doubt is inquired at the PSP before anything is sent again, and not sent once the PSP may have forgotten the key. resend: a person''s word, with a reason, that the PSP did not do it; then it is sent all the same. Raises PY301, PY303, 22023, and PY006 with resend of what the PSP has accepted, or of what is booked already.';

CREATE FUNCTION payments.discard(dead_letter_id uuid, reason text) RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_discard';
COMMENT ON FUNCTION payments.discard(uuid, text) IS
'Ends a dead letter by a person''s word that the operation did not happen: the operation fails, and what it had reserved is free again. Should the PSP say otherwise later, the money stands in suspense with an exception. Raises PY301, PY303, 22023 without a reason, PY006 when it is booked already.';

CREATE FUNCTION payments.decide_operation(
	operation_id uuid, outcome text, reason text, psp_object_id text DEFAULT NULL
) RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_decide_operation';
COMMENT ON FUNCTION payments.decide_operation(uuid, text, text, text) IS
'Ends an operation that is in doubt, or a dead letter, by what a person has found out at the PSP, without waiting for its schedule. outcome: succeeded books it whole, under psp_object_id, the PSP''s own id of it (left out: the one that the PSP has told, or the payment''s where a capture has no other); failed ends it, and what it had reserved is free again. The PSP''s later word is heard all the same, and is an exception where it says otherwise. Raises PY016, PY303 (over), PY008 (a call is under way), PY006 (not in doubt, booked already, or psp_object_id is something else''s), 22023, PY009.';

CREATE FUNCTION payments.resolve_exception(exception_id uuid, resolution text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('resolution', resolve_exception.resolution);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF coalesce(resolve_exception.resolution, '') !~ '[^[:space:]]' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'an exception needs a resolution',
			HINT = 'Say what was done about it, or why nothing had to be.';
	END IF;
	-- The payment before the exception, as whoever brings the PSP's word has them.
	PERFORM FROM payments.payment p
	WHERE p.payment_id = (
		SELECT x.payment_id FROM payments.exception x WHERE x.exception_id = resolve_exception.exception_id
	)
	FOR NO KEY UPDATE;
	UPDATE payments.exception x
	SET resolved_at = clock_timestamp(),
		resolution = resolve_exception.resolution,
		resolved_by = payments._caller()
	WHERE x.exception_id = resolve_exception.exception_id AND x.resolved_at IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY304',
			MESSAGE = format(
				'open exception %s does not exist', coalesce(resolve_exception.exception_id::text, 'null')),
			HINT = 'SELECT * FROM payments.exception WHERE resolved_at IS NULL lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments.resolve_exception(uuid, text) IS
'Closes an exception, with what was done about it; it moves no money. Raises PY304, 22023 without a resolution.';
