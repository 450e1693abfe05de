-- What a PSP says by a webhook.

CREATE FUNCTION payments.receive_webhook(
	psp text, headers jsonb, body bytea, OUT event_id text, OUT duplicate boolean, OUT payment_id uuid,
	OUT status text, OUT reply text
) RETURNS record
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_receive_webhook';
COMMENT ON FUNCTION payments.receive_webhook(text, jsonb, bytea) IS
'Takes a PSP''s webhook: verifies the request, stores each of its events once, applies them all or none. Pass all of the request''s headers as a JSON object and the body as received. The row is of the event that changed something, or else of the first about a payment, or else of the first; duplicate: all were seen before. Events of a PSP that signs nothing are not believed: the PSP is asked at once. Answer the PSP 200 with reply as the body (null: none) when this returns, 400 for PY501 to PY504, 500 otherwise.';
