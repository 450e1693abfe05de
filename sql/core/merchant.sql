-- Merchants.

CREATE FUNCTION payments.create_merchant(
	merchant text, app_role name DEFAULT NULL, psp text DEFAULT NULL
) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers(
		'merchant', create_merchant.merchant, 'app_role', create_merchant.app_role,
		'psp', create_merchant.psp);
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	-- "*" stands for all of them elsewhere.
	IF create_merchant.merchant = '*' OR create_merchant.merchant <> btrim(create_merchant.merchant) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'merchant is not a name',
			HINT = 'A name does not begin or end with a blank, and is not "*".';
	END IF;
	IF create_merchant.psp IS NOT NULL
		AND NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = create_merchant.psp)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY401',
			MESSAGE = format('PSP "%s" does not exist', create_merchant.psp),
			HINT = 'Create it with payments.create_psp().';
	END IF;
	IF create_merchant.app_role IS NOT NULL AND to_regrole(quote_ident(create_merchant.app_role)) IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '42704',
			MESSAGE = format('role "%s" does not exist', create_merchant.app_role),
			HINT = 'CREATE ROLE it first, and grant payments_app to it; payments_app itself is for all.';
	END IF;
	INSERT INTO payments.merchant AS m (merchant, app_role, psp)
	VALUES (create_merchant.merchant, create_merchant.app_role, create_merchant.psp)
	ON CONFLICT ON CONSTRAINT merchant_pkey DO UPDATE
	SET app_role = coalesce(excluded.app_role, m.app_role), psp = coalesce(excluded.psp, m.psp);
END
$$;
COMMENT ON FUNCTION payments.create_merchant(text, name, text) IS
'Makes a merchant, or changes who acts for it and which PSP it uses by default. What is left out, or null, stays as it is. app_role: only its members act for this merchant; a new one without it, or with payments_app, is every application''s. psp: without one, calls must name it, but for the sandbox in a database that was never armed. Raises PY401 for an unknown PSP, 42704 for an unknown role, 22023 for a name that begins or ends with a blank, or is "*", PY009 for one that holds a card number.';
