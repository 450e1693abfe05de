-- What a PSP says by a webhook.

CREATE FUNCTION payments.receive_webhook(
	psp text, headers jsonb, body bytea, OUT event_id text, OUT duplicate boolean, OUT payment_id uuid,
	OUT status text
) RETURNS record
	LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_receive_webhook';
COMMENT ON FUNCTION payments.receive_webhook(text, jsonb, bytea) IS
'Takes a PSP''s webhook: checks the signature over the raw body, stores the event once, applies it. Pass the request''s headers as a JSON object and the body as received. duplicate: seen before, nothing was done. Answer the PSP 2xx when this returns, 400 for PY501 to PY504, 500 otherwise.';
