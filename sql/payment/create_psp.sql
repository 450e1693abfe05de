-- PSPs: made, changed, and set going again.

CREATE FUNCTION payments.create_psp(
	psp text, adapter text, base_url text DEFAULT NULL, secret text DEFAULT NULL, config jsonb DEFAULT '{}',
	force boolean DEFAULT false
) RETURNS void
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_create_psp';
COMMENT ON FUNCTION payments.create_psp(text, text, text, text, jsonb, boolean) IS
'Makes a payment service provider known, or changes what it is given of one: an argument that is left out, or null, keeps what is there. adapter: one of the library, such as "sandbox" or "stripe". base_url: default the PSP''s own, where the adapter knows it. secret: name of an entry of payments.secrets_file; NAME.webhook is the webhook signing secret. config: replaces the former as a whole; an empty object keeps it, {"feeds": {}} leaves no setting. force: change base_url, secret or what the adapter reads of config although the PSP may have performed something that is still open, and forget whose account it was. Raises PY402 for an unknown adapter, PY404 for an address that is not public, a host to which no secret is sent (payments.psp_hosts), or the entry of a signing secret, PY406 for plain http, PY409 while something is open.';

CREATE FUNCTION payments._require_psp_idle(psp text) RETURNS void
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_require_psp_idle';
COMMENT ON FUNCTION payments._require_psp_idle(text) IS
'Internal: raises PY409 while the PSP may have performed something that is open here. The caller has locked its row.';

CREATE FUNCTION payments.accept_psp_account(psp text, force boolean DEFAULT false) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('psp', accept_psp_account.psp);
	PERFORM payments._require_setup();
	PERFORM FROM payments.psp p WHERE p.psp = accept_psp_account.psp FOR NO KEY UPDATE;
	IF FOUND AND accept_psp_account.force IS NOT TRUE THEN
		PERFORM payments._require_psp_idle(accept_psp_account.psp);
	END IF;
	UPDATE payments.psp AS p
	SET account_id = NULL, account_mode = NULL
	WHERE p.psp = accept_psp_account.psp;
	PERFORM payments._call_psp_again(accept_psp_account.psp);
END
$$;
COMMENT ON FUNCTION payments.accept_psp_account(text, boolean) IS
'The secret of a PSP is of another account, or of another mode, than before, and that is meant: the worker keeps whose it is now, and calls the PSP again. force: although something that the former account may have performed is still open; it is then asked for in the new one. Raises PY401, PY409.';
