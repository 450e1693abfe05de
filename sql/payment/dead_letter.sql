-- What a person decides about a dead letter.

CREATE FUNCTION payments.redrive(dead_letter_id uuid, resend boolean DEFAULT false, reason text DEFAULT NULL)
	RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_redrive';
COMMENT ON FUNCTION payments.redrive(uuid, boolean, text) IS
'Puts a dead letter back into the queue with its schedule from the start. What is in doubt is inquired at the PSP before anything is sent again, and not sent once the PSP may have forgotten the key. resend: a person''s word, with a reason, that the PSP did not do it; then it is sent all the same. Raises PY301, PY303, 22023.';

CREATE FUNCTION payments.discard(dead_letter_id uuid, reason text) RETURNS void
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_discard';
COMMENT ON FUNCTION payments.discard(uuid, text) IS
'Ends a dead letter by a person''s word that the operation did not happen: the operation fails, and what it had reserved is free again. Should the PSP say otherwise later, the money stands in suspense with an exception. Raises PY301, PY303, 22023 without a reason.';
