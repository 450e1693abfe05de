-- Merchants.

CREATE FUNCTION payments.create_merchant(
	merchant text, app_role name DEFAULT NULL, psp text DEFAULT NULL
) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	IF create_merchant.psp IS NOT NULL
		AND NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = create_merchant.psp)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY401',
			MESSAGE = format('PSP "%s" does not exist', create_merchant.psp),
			HINT = 'Create it with payments.create_psp().';
	END IF;
	INSERT INTO payments.merchant AS m (merchant, app_role, psp)
	VALUES (create_merchant.merchant, create_merchant.app_role, create_merchant.psp)
	ON CONFLICT ON CONSTRAINT merchant_pkey DO UPDATE
	SET app_role = excluded.app_role, psp = coalesce(excluded.psp, m.psp);
END
$$;
COMMENT ON FUNCTION payments.create_merchant(text, name, text) IS
'Makes a merchant, or changes who acts for it and which PSP it uses by default. app_role: only its members act for this merchant; null: every member of payments_app. psp: null keeps the one it has; without one, calls must name it, but for the sandbox in a database that was never armed. Raises PY401 for an unknown PSP.';
