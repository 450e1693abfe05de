-- Adapters that are sets of SQL functions: made, changed, dropped.

CREATE FUNCTION payments._adapter_problem(adapter text) RETURNS text
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_adapter_problem';
COMMENT ON FUNCTION payments._adapter_problem(text) IS
'Internal: what is wrong with the row of payments.adapter, or with the functions that it names; null: nothing.';

CREATE FUNCTION payments.create_adapter(
	adapter text, build regprocedure DEFAULT NULL, build_inquiry regprocedure DEFAULT NULL,
	classify regprocedure DEFAULT NULL, parse regprocedure DEFAULT NULL, can text[] DEFAULT NULL,
	authorize jsonb DEFAULT NULL, verify jsonb DEFAULT NULL, key_header text DEFAULT NULL,
	key_valid interval DEFAULT NULL, headers jsonb DEFAULT NULL, request_id_header text DEFAULT NULL,
	config_keys text[] DEFAULT NULL, time_limit interval DEFAULT NULL, samples jsonb DEFAULT NULL
) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
DECLARE
	_owners text[];
	_names jsonb;
	_languages text;
	_problem text;
BEGIN
	PERFORM payments._refuse_card_numbers(
		'adapter', create_adapter.adapter, 'can', create_adapter.can, 'authorize', create_adapter.authorize,
		'verify', create_adapter.verify, 'key_header', create_adapter.key_header,
		'headers', create_adapter.headers, 'request_id_header', create_adapter.request_id_header,
		'config_keys', create_adapter.config_keys, 'samples', create_adapter.samples);
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	IF create_adapter.adapter IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'adapter must not be null',
			HINT = 'It is the name that create_psp(adapter => ...) takes.';
	END IF;
	SELECT array_agg(DISTINCT r.rolname::text),
		jsonb_object_agg(f.question, format('%I.%I', n.nspname, p.proname)),
		string_agg(DISTINCT l.lanname, ', ') FILTER (WHERE l.lanname NOT IN ('sql', 'plpgsql'))
	INTO _owners, _names, _languages
	FROM (
		VALUES ('build', create_adapter.build), ('build_inquiry', create_adapter.build_inquiry),
			('classify', create_adapter.classify), ('parse', create_adapter.parse)
	) f (question, function)
	JOIN pg_proc p ON p.oid = f.function
	JOIN pg_namespace n ON n.oid = p.pronamespace
	JOIN pg_language l ON l.oid = p.prolang
	JOIN pg_roles r ON r.oid = p.proowner;
	IF array_length(_owners, 1) > 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'the functions of an adapter belong to several roles',
			HINT = 'Give all of them to one, and no login: who owns them says what an answer means.';
	END IF;
	INSERT INTO payments.adapter AS a (
		adapter, owner, build, build_inquiry, classify, parse, can, authorize, verify, key_header,
		key_valid_s, headers, request_id_header, config_keys, time_limit_ms, samples
	)
	VALUES (
		create_adapter.adapter, coalesce(_owners[1], ''), coalesce(_names ->> 'build', ''),
		coalesce(_names ->> 'build_inquiry', ''), coalesce(_names ->> 'classify', ''), _names ->> 'parse',
		coalesce(create_adapter.can, '{}'), coalesce(create_adapter.authorize, '{}'), create_adapter.verify,
		create_adapter.key_header, coalesce(extract(epoch FROM create_adapter.key_valid)::int, 0),
		coalesce(create_adapter.headers, '{}'), create_adapter.request_id_header,
		coalesce(create_adapter.config_keys, '{}'),
		coalesce((extract(epoch FROM create_adapter.time_limit) * 1000)::int, 500),
		coalesce(create_adapter.samples, '[]')
	)
	ON CONFLICT ON CONSTRAINT adapter_pkey DO UPDATE
	SET owner = coalesce(_owners[1], a.owner),
		build = coalesce(_names ->> 'build', a.build),
		build_inquiry = coalesce(_names ->> 'build_inquiry', a.build_inquiry),
		classify = coalesce(_names ->> 'classify', a.classify),
		parse = coalesce(_names ->> 'parse', a.parse),
		can = coalesce(create_adapter.can, a.can),
		authorize = coalesce(create_adapter.authorize, a.authorize),
		verify = coalesce(create_adapter.verify, a.verify),
		key_header = coalesce(create_adapter.key_header, a.key_header),
		key_valid_s = coalesce(extract(epoch FROM create_adapter.key_valid)::int, a.key_valid_s),
		headers = coalesce(create_adapter.headers, a.headers),
		request_id_header = coalesce(create_adapter.request_id_header, a.request_id_header),
		config_keys = coalesce(create_adapter.config_keys, a.config_keys),
		time_limit_ms =
			coalesce((extract(epoch FROM create_adapter.time_limit) * 1000)::int, a.time_limit_ms),
		samples = coalesce(create_adapter.samples, a.samples);
	_problem := payments._adapter_problem(create_adapter.adapter);
	IF _problem IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format('adapter "%s" cannot be used: %s', create_adapter.adapter, _problem),
			HINT = 'docs/adapter.md says what its functions and its data must be.';
	END IF;
	IF _languages IS NOT NULL THEN
		RAISE NOTICE USING
			MESSAGE = format('functions in %s may not end when their time is up', _languages),
			HINT = 'Those in SQL and PL/pgSQL always do.';
	END IF;
	PERFORM payments._wake_worker();
END
$$;
COMMENT ON FUNCTION payments.create_adapter(text, regprocedure, regprocedure, regprocedure, regprocedure, text[], jsonb, jsonb, text, interval, jsonb, text, text[], interval, jsonb) IS
'Makes an adapter of SQL functions, or changes what it is given of one: an argument that is left out, or null, keeps what is there. Each function takes and returns a jsonb, is IMMUTABLE, in a trusted language, not SECURITY DEFINER, and belongs to the same role as the others; it is called as payments_adapter, which may do nothing. See docs/adapter.md. key_valid, time_limit: default 0 and 500 ms. Raises 22023 for what cannot be used.';

CREATE FUNCTION payments.test_adapter(adapter text, samples jsonb DEFAULT NULL)
	RETURNS TABLE ("check" text, ok boolean, detail text)
	LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_test_adapter';
COMMENT ON FUNCTION payments.test_adapter(text, jsonb) IS
'Does the adapter, one of the library or of SQL functions, keep to what docs/adapter.md says?  A row a check. samples: answers and events of the PSP with what they mean; null: those of create_adapter(). Nothing is sent, nothing stays. Raises PY402.';

CREATE FUNCTION payments.drop_adapter(adapter text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	_psp text;
BEGIN
	PERFORM payments._refuse_card_numbers('adapter', drop_adapter.adapter);
	PERFORM payments._require_setup();
	PERFORM payments._commit_durably();
	-- Whoever makes a PSP of it waits for this, or this for him.
	PERFORM FROM payments.adapter a WHERE a.adapter = drop_adapter.adapter FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY402',
			MESSAGE = format('adapter "%s" does not exist, or is one of the library', drop_adapter.adapter),
			HINT = 'SELECT adapter FROM payments.adapter lists those that can be dropped.';
	END IF;
	SELECT p.psp INTO _psp FROM payments.psp p WHERE p.adapter = drop_adapter.adapter LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY409',
			MESSAGE = format('adapter "%s" is that of PSP "%s"', drop_adapter.adapter, _psp),
			HINT = 'Payments remember their PSP: an adapter goes with the last PSP that has it.';
	END IF;
	DELETE FROM payments.adapter a WHERE a.adapter = drop_adapter.adapter;
END
$$;
COMMENT ON FUNCTION payments.drop_adapter(text) IS
'Forgets an adapter of SQL functions that no PSP has. The functions stay. Raises PY402, PY409.';
