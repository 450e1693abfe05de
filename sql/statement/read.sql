-- Reading and verifying statements that were issued.

-- Every form of a statement comes through here: it is what was issued, or an error.
CREATE FUNCTION payments._statement_hash_of(_statement_id bigint) RETURNS bytea
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	hashes bytea;
BEGIN
	SELECT x.* INTO STRICT s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	SELECT string_agg(sha256(convert_to(payments._statement_line_text(c), 'UTF8')), '' ORDER BY c.line)
	INTO hashes
	FROM payments._statement_content(s) c;
	RETURN payments._statement_hash(payments._statement_head_text(s), hashes);
END
$$;
COMMENT ON FUNCTION payments._statement_hash_of(bigint) IS 'Internal: the hash of a statement as head and postings make it now.';

CREATE FUNCTION payments._require_statement_here(_statement_id bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
BEGIN
	PERFORM payments._require_setup();
	SELECT x.* INTO s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY622',
			MESSAGE = format('statement %s does not exist', coalesce(_statement_id::text, 'null')),
			HINT = 'SELECT statement_id, merchant, number FROM payments.issued_statement lists them.';
	END IF;
	PERFORM payments._require_merchant(s.merchant);
	IF s.since < payments._retired_until('posting') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY623',
			MESSAGE = format('postings of statement %s of merchant "%s" are retired', s.number, s.merchant),
			DETAIL = format('It needs those since %s.', payments._statement_time(s.since)),
			HINT = 'Its head with all totals is in payments.issued_statement; payments.partition_retired '
				'names the tables in which postings were kept. Keep the documents before you retire.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_statement_here(bigint) IS
'Internal: raises PY622 (no such statement), 42501 (of another''s merchant), PY623 (retired).';

-- Every form of a statement comes through here: it is what was issued, or an error.
CREATE FUNCTION payments._require_statement(_statement_id bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
BEGIN
	PERFORM payments._require_statement_here(_statement_id);
	SELECT x.* INTO STRICT s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	IF payments._statement_hash_of(_statement_id) <> s.sha256 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY624',
			MESSAGE = format('statement %s of merchant "%s" is not what was issued', s.number, s.merchant),
			DETAIL = 'Its head and postings do not have the SHA-256 that was kept.',
			HINT = 'Somebody has written around the functions: SELECT * FROM payments.verify(), then compare '
				'with a backup.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_statement(bigint) IS
'Internal: raises PY622 (no such statement), 42501 (of another''s merchant), PY623 (retired), PY624 (it would not be what was issued).';

CREATE FUNCTION payments.verify_statement(statement_id bigint)
	RETURNS TABLE (ok boolean, sha256 text, found text)
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp ROWS 1 AS $$
BEGIN
	PERFORM payments._require_statement_here(verify_statement.statement_id);
	RETURN QUERY
	SELECT s.sha256 = h.hash, encode(s.sha256, 'hex'), encode(h.hash, 'hex')
	FROM payments.issued_statement s
	CROSS JOIN LATERAL (SELECT payments._statement_hash_of(s.statement_id) AS hash OFFSET 0) h
	WHERE s.statement_id = verify_statement.statement_id;
END
$$;
COMMENT ON FUNCTION payments.verify_statement(bigint) IS
'Makes a statement from its postings again and compares: sha256 is what was kept at issue, found what it is now, in hex. Errors: PY622, PY623 (retired), 42501';

CREATE FUNCTION payments.statement_lines(statement_id bigint)
	RETURNS TABLE (
		line bigint, section text, booked_at text, late boolean, posting_id bigint, kind text,
		counterpart text, description text, reference text, payment_id uuid, order_ref text, amount bigint,
		balance bigint, vat_percent numeric, net bigint, vat bigint, gross bigint, amount_text text,
		balance_text text
	)
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	unit numeric;
BEGIN
	PERFORM payments._require_statement(statement_lines.statement_id);
	SELECT x.* INTO STRICT s
	FROM payments.issued_statement x
	WHERE x.statement_id = statement_lines.statement_id;
	unit := ('1e-' || s.exponent)::numeric;
	RETURN QUERY
	SELECT 0::bigint, 'balance', payments._statement_time(s.from_time), NULL::boolean, NULL::bigint,
		'opening balance', NULL::text, NULL::text, NULL::text, NULL::uuid, NULL::text, NULL::bigint,
		s.opening_balance, NULL::numeric, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text,
		(s.opening_balance * unit)::text || ' ' || s.currency;
	RETURN QUERY
	SELECT c.line, c.section, payments._statement_time(c.booked_at), c.late, c.posting_id, c.kind,
		c.counterpart, c.description, c.reference, c.payment_id, c.order_ref, c.amount::bigint,
		c.balance::bigint, c.vat_percent, c.net::bigint, c.vat::bigint, c.gross::bigint,
		(c.amount * unit)::text || ' ' || s.currency, (c.balance * unit)::text || ' ' || s.currency
	FROM payments._statement_content(s) c;
	RETURN QUERY
	SELECT s.lines + 1, 'balance', payments._statement_time(s.to_time), NULL::boolean, NULL::bigint,
		'closing balance', NULL::text, NULL::text, NULL::text, NULL::uuid, NULL::text, NULL::bigint,
		s.closing_balance, NULL::numeric, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text,
		(s.closing_balance * unit)::text || ' ' || s.currency;
END
$$;
COMMENT ON FUNCTION payments.statement_lines(bigint) IS
'The lines of a statement, the first the opening and the last the closing balance; always the same rows. section balance: what moved the account, amount is what it did to the balance; fees and disputes: of the merchant''s psp_fees and dispute_reserve, in no balance. Minor units; booked_at is text, in UTC; net, vat and gross are null where no vat_rule fits; late: booked before the period, committed after the statement before. Errors: PY622, PY623 (retired), PY624 (not what was issued), 42501';

CREATE FUNCTION payments.statement_json(statement_id bigint) RETURNS json
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	body text;
BEGIN
	PERFORM payments._require_statement(statement_json.statement_id);
	SELECT x.* INTO STRICT s
	FROM payments.issued_statement x
	WHERE x.statement_id = statement_json.statement_id;
	SELECT string_agg(payments._statement_line_text(c), E',\n' ORDER BY c.line) INTO body
	FROM payments._statement_content(s) c;
	-- The very texts that are hashed, each on a line of its own.
	RETURN format(E'{"statement":\n%s,\n"lines": [%s],\n"sha256": "%s"}',
		payments._statement_head_text(s), E'\n' || body || E'\n', encode(s.sha256, 'hex'))::json;
END
$$;
COMMENT ON FUNCTION payments.statement_json(bigint) IS
'A statement as JSON: statement (its head), lines and sha256; amounts are minor units, times are in UTC. Always the same bytes; docs/statements.md says how they are hashed. Errors: PY622, PY623 (retired), PY624 (not what was issued), 42501';
