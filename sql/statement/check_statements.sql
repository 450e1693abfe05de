-- The statements' part of payments.check().

CREATE FUNCTION payments._check_statements()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_custom_plan AS $$
DECLARE
	retired timestamptz := coalesce(payments._retired_to('posting'), '-infinity');
BEGIN
	RETURN QUERY
	SELECT 'statements are numbered without gaps, and each begins where the one before ended', count(*) = 0,
		count(*), min(x.sample)
	FROM (
		SELECT format('merchant %s: statement %s comes after %s', n.merchant, n.number, n.before) AS sample
		FROM (
			SELECT s.merchant, s.number,
				lag(s.number, 1, 0::bigint) OVER (PARTITION BY s.merchant ORDER BY s.number) AS before
			FROM payments.issued_statement s
		) n
		WHERE n.number <> n.before + 1
		UNION ALL
		SELECT format('merchant %s: the counter is at %s', coalesce(c.merchant, m.merchant), c.last_number)
		FROM payments.statement_counter c
		FULL JOIN (
			SELECT s.merchant, max(s.number) AS last FROM payments.issued_statement s GROUP BY s.merchant
		) m USING (merchant)
		WHERE c.last_number IS DISTINCT FROM coalesce(m.last, 0)
		UNION ALL
		SELECT format('statement %s of merchant %s does not follow the one before of account %s', n.number,
			n.merchant, n.account)
		FROM (
			SELECT s.*, lag(s.to_time) OVER w AS end_before, lag(s.to_xid) OVER w AS xid_before,
				lag(s.closing_balance) OVER w AS closing_before
			FROM payments.issued_statement s
			WINDOW w AS (PARTITION BY s.account_id ORDER BY s.from_time)
		) n
		WHERE (
			n.end_before IS NOT NULL
			AND (n.from_time, n.from_xid, n.opening_balance) IS DISTINCT FROM (n.end_before, n.xid_before,
				n.closing_before)
		)
		OR (n.end_before IS NULL AND n.from_xid <> n.to_xid)
	) x;

	-- Each by its own postings, and the last one of an account by all that the
	-- account ever had up to its cut: so nothing is missing between them either.
	RETURN QUERY
	SELECT 'a statement is what its postings make', count(*) = 0, count(*),
		min(format('statement %s of merchant %s: %s', x.number, x.merchant, x.why))
	FROM (
		SELECT s.number, s.merchant,
			format('%s lines, postings make %s; closing balance %s, postings make %s', s.lines, m.lines,
				s.closing_balance, s.opening_balance + m.moved) AS why
		FROM payments.issued_statement s
		JOIN payments.account a ON a.account_id = s.account_id
		CROSS JOIN LATERAL (
			SELECT count(*) AS lines,
				coalesce(sum(l.moved) FILTER (WHERE l.account_id = s.account_id), 0)
					* CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END AS moved
			FROM (
				SELECT p.debit_account AS account_id, p.amount::numeric AS moved
				FROM payments.posting p
				WHERE p.debit_account = ANY (
					s.account_id || payments._statement_ids(s.fee_accounts || s.dispute_accounts))
				AND p.booked_at >= s.since
				AND p.booked_at < s.to_time
				AND p.xid < s.to_xid
				AND NOT (p.booked_at < s.from_time AND p.xid < s.from_xid)
				UNION ALL
				SELECT p.credit_account, - p.amount::numeric
				FROM payments.posting p
				WHERE p.credit_account = ANY (
					s.account_id || payments._statement_ids(s.fee_accounts || s.dispute_accounts))
				AND p.booked_at >= s.since
				AND p.booked_at < s.to_time
				AND p.xid < s.to_xid
				AND NOT (p.booked_at < s.from_time AND p.xid < s.from_xid)
			) l
		) m
		WHERE s.since >= retired AND (m.lines <> s.lines OR s.opening_balance + m.moved <> s.closing_balance)
		UNION ALL
		SELECT s.number, s.merchant,
			format('closing balance %s, the account had %s', s.closing_balance, b.balance)
		FROM (
			SELECT DISTINCT ON (i.account_id) i.*
			FROM payments.issued_statement i
			ORDER BY i.account_id, i.from_time DESC
		) s
		CROSS JOIN LATERAL payments._statement_balance(s.account_id, s.to_time, s.to_xid) b (balance)
		WHERE s.to_time >= retired AND s.closing_balance IS DISTINCT FROM b.balance
	) x;
END
$$;
COMMENT ON FUNCTION payments._check_statements() IS 'Internal: the invariants of statements, for check(). The hashes are left to verify_statement().';
