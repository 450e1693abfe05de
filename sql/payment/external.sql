-- The worker's two steps, for an external worker outside of the server.

CREATE FUNCTION payments.claim(
	worker text, max int DEFAULT 100, lease interval DEFAULT '5 min', psp text DEFAULT 'sandbox'
) RETURNS TABLE (
	operation_id uuid, attempt int, method text, url text, headers jsonb, body text, psp_key text
)
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp ROWS 100
	AS 'MODULE_PATHNAME', 'pay_claim_sql';
COMMENT ON FUNCTION payments.claim(text, int, interval, text) IS
'Leases operations that are due at a PSP to the calling worker, and returns what to send: exactly these bytes, with your authorization added, and only after the COMMIT of this call. Report each with complete() before the lease ends; later its outcome counts as unknown. url is null for the sandbox, which complete() answers. A halted PSP gives no rows. Raises PY405 unless arm() names this cluster (sandbox excepted), PY401, 22023.';

CREATE FUNCTION payments.complete(
	operation_id uuid, attempt int, http_status int, headers jsonb DEFAULT '{}', body bytea DEFAULT NULL,
	error text DEFAULT NULL
) RETURNS text
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_complete_sql';
COMMENT ON FUNCTION payments.complete(uuid, int, int, jsonb, bytea, text) IS
'Reports what became of a call that claim() handed out, and returns the payment''s status. headers and body as received; http_status null when there was no answer, or not a whole one: the PSP may have done it, so it is asked. An answer whose lease has gone to another is recorded as late, and counts only if it says that money moved. One that cannot be booked makes a dead letter, and a warning. Raises PY302 for an attempt that was never made, 22023.';
