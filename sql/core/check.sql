-- The invariants of the whole, as rows.  One statement's snapshot for all of
-- them: the functions are STABLE.

CREATE FUNCTION payments._violation(_invariant text, _violations bigint, _sample text)
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT _invariant, _violations = 0, _violations, _sample
$$;
COMMENT ON FUNCTION payments._violation(text, bigint, text) IS 'Internal: one row of check().';

CREATE FUNCTION payments.check() RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	PERFORM payments._require_snapshot();
	RETURN QUERY SELECT * FROM payments._check_setup();
	RETURN QUERY SELECT * FROM payments._check_shipped();
	RETURN QUERY SELECT * FROM payments._check_payments();
	RETURN QUERY SELECT * FROM payments._check_ledger();
	RETURN QUERY SELECT * FROM payments._check_seal();
	RETURN QUERY SELECT * FROM payments._check_retired();
	RETURN QUERY SELECT * FROM payments._check_reconciliation();
	RETURN QUERY SELECT * FROM payments._check_close();
	RETURN QUERY SELECT * FROM payments._check_statements();
END
$$;
COMMENT ON FUNCTION payments.check() IS
'Proves the promises on the live data, in one snapshot: a row for each invariant, how many rows violate it, and one of them. Reads everything; run it off-peak on large data.';
