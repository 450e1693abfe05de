-- What a close says: as rows, and as lines of text to be signed.

CREATE FUNCTION payments._close_discrepancies(_merchant text, _from_time timestamptz, _to_time timestamptz)
	RETURNS bigint
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- One that names no payment may be anybody's.
	SELECT count(*)
	FROM payments.discrepancy d
	LEFT JOIN payments.payment p ON p.payment_id = d.payment_id
	WHERE d.status = 'open'
	AND coalesce(p.merchant, _merchant) = _merchant
	AND coalesce(d.occurred_at, d.found_at) < _to_time
	AND coalesce(d.occurred_at, d.found_at) >= coalesce(_from_time, '-infinity')
$$;
COMMENT ON FUNCTION payments._close_discrepancies(text, timestamptz, timestamptz) IS 'Internal: open discrepancies of a period, of the merchant''s payments or of none.';

CREATE FUNCTION payments._close_holds(_merchant text, _to_time timestamptz, _to_xid xid8)
	RETURNS TABLE (currency text, holds bigint, amount numeric)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT h.currency, count(*), sum(h.amount - coalesce(r.gone, 0))
	FROM payments.ledger_hold h
	LEFT JOIN (
		SELECT x.hold_id, sum(x.posted::numeric + x.released) AS gone
		FROM payments.ledger_hold_resolution x
		WHERE x.resolved_at < _to_time AND x.xid < _to_xid
		GROUP BY x.hold_id
	) r ON r.hold_id = h.hold_id
	WHERE h.merchant = _merchant
	AND h.created_at < _to_time
	AND h.xid < _to_xid
	AND h.amount > coalesce(r.gone, 0)
	GROUP BY h.currency
$$;
COMMENT ON FUNCTION payments._close_holds(text, timestamptz, xid8) IS 'Internal: holds of a merchant that were open at a cut, and what was left of them.';

CREATE FUNCTION payments.close_lines(merchant text, number int DEFAULT NULL, accounts boolean DEFAULT false)
	RETURNS TABLE (
		section text, currency text, item text, opening numeric, debits numeric, credits numeric,
		closing numeric, ok boolean
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' ROWS 50 AS $$
DECLARE
	c payments.period_close;
	n bigint;
BEGIN
	PERFORM payments._refuse_card_numbers('merchant', close_lines.merchant);
	close_lines.number := payments._require_close(close_lines.merchant, close_lines.number);
	SELECT x.* INTO STRICT c
	FROM payments.period_close x
	WHERE x.merchant = close_lines.merchant AND x.number = close_lines.number;
	RETURN QUERY
	SELECT x.section, x.currency, x.item, x.opening, x.debits, x.credits, x.closing, NULL::boolean
	FROM (
		SELECT 'account' AS section, b.currency, b.type, b.code AS item, b.opening::numeric AS opening,
			b.debits::numeric AS debits, b.credits::numeric AS credits, b.closing::numeric AS closing
		FROM payments.closed_balance b
		WHERE b.merchant = c.merchant AND b.number = c.number AND close_lines.accounts
		UNION ALL
		SELECT 'type', b.currency, b.type, b.type, sum(b.opening), sum(b.debits), sum(b.credits),
			sum(b.closing)
		FROM payments.closed_balance b
		WHERE b.merchant = c.merchant AND b.number = c.number
		GROUP BY b.currency, b.type
	) x
	ORDER BY x.currency, array_position(ARRAY['asset', 'expense', 'liability', 'income', 'equity'], x.type),
		x.section = 'type', x.item;

	-- What other merchants have on the other side is the difference, and nothing else.
	RETURN QUERY
	WITH sums AS (
		SELECT b.currency, sum(b.debits) AS debits, sum(b.credits) AS credits,
			coalesce(sum(b.closing) FILTER (WHERE b.type IN ('asset', 'expense')), 0) AS debit_side,
			coalesce(sum(b.closing) FILTER (WHERE b.type NOT IN ('asset', 'expense')), 0) AS credit_side
		FROM payments.closed_balance b
		WHERE b.merchant = c.merchant AND b.number = c.number
		GROUP BY b.currency
	), others AS (
		SELECT s.*, coalesce((c.outside ->> s.currency)::numeric, 0) AS outside,
			coalesce(
				(
					SELECT sum((o.outside ->> s.currency)::numeric)
					FROM payments.period_close o
					WHERE o.merchant = c.merchant AND o.number <= c.number
				),
				0)
				+ coalesce(
					(
						SELECT sum(
							CASE
								WHEN f.type IN ('asset', 'expense') THEN f.opening
								ELSE - f.opening
							END::numeric)
						FROM payments.closed_balance f
						WHERE f.merchant = c.merchant AND f.number = 1 AND f.currency = s.currency
					),
					0) AS outside_ever
		FROM sums s
	)
	SELECT 'check', o.currency, v.item, NULL::numeric, v.left_side, v.right_side, v.left_side - v.right_side,
		v.left_side - v.right_side = v.difference
	FROM others o
	CROSS JOIN LATERAL (
		VALUES (1,
			'debits = credits'
				|| CASE WHEN o.outside <> 0 THEN ' + postings with other merchants' ELSE '' END,
			o.debits, o.credits, o.outside),
			(2,
				'assets + expenses = liabilities + income + equity'
					|| CASE WHEN o.outside_ever <> 0 THEN ' + postings with other merchants' ELSE '' END,
				o.debit_side, o.credit_side, o.outside_ever)
	) v(i, item, left_side, right_side, difference)
	ORDER BY o.currency, v.i;

	RETURN QUERY
	SELECT 'remark', h.currency, format('%s holds open at the end', h.holds), NULL::numeric, NULL::numeric,
		NULL::numeric, h.amount, NULL::boolean
	FROM payments._close_holds(c.merchant, c.to_time, c.to_xid) h
	ORDER BY h.currency;
	RETURN QUERY
	SELECT 'remark', b.currency, format('account "%s" is not at zero', b.code), NULL::numeric, NULL::numeric,
		NULL::numeric, b.closing::numeric, NULL::boolean
	FROM payments.closed_balance b
	WHERE b.merchant = c.merchant
	AND b.number = c.number
	AND b.closing <> 0
	AND b.code ~* 'suspense|clearing|transit'
	ORDER BY b.currency, b.code;
	RETURN QUERY
	SELECT 'remark', x.key, 'net of postings with other merchants', NULL::numeric, NULL::numeric,
		NULL::numeric, x.value::numeric, NULL::boolean
	FROM jsonb_each_text(c.outside) x
	ORDER BY x.key;
	IF c.late > 0 THEN
		RETURN QUERY
		SELECT 'remark', NULL::text,
			format('%s postings were booked before the period and committed after the close before', c.late),
			NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::boolean;
	END IF;
	IF c.backdated > c.late THEN
		RETURN QUERY
		SELECT 'remark', NULL::text,
			format('%s postings take effect before the period and were booked in it', c.backdated - c.late),
			NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::boolean;
	END IF;
	n := payments._close_discrepancies(c.merchant, c.from_time, c.to_time);
	IF n > 0 THEN
		RETURN QUERY SELECT 'remark', NULL::text, format('%s discrepancies of the period are open', n),
			NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::boolean;
	END IF;
END
$$;
COMMENT ON FUNCTION payments.close_lines(text, int, boolean) IS
'What close_report() says, as rows: section type (sums of the accounts of a type), account (with accounts => true), check (debits, credits: the two sides; closing: their difference; ok), remark (closing: the amount it is about). Amounts in minor units, balances on the accounts'' normal side. Without a number the last close. Raises PY632 (no such close), PY010, 42501.';

CREATE FUNCTION payments._close_amount(_amount numeric, _currency text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		(
			SELECT (_amount * ('1e-' || c.exponent)::numeric)::text
			FROM payments.currency c
			WHERE c.currency = _currency
		),
		_amount::text || ' minor units')
$$;
COMMENT ON FUNCTION payments._close_amount(numeric, text) IS 'Internal: an amount in major units without the currency; of any size, unlike format_amount().';

CREATE FUNCTION payments.close_report(merchant text, number int DEFAULT NULL, accounts boolean DEFAULT false)
	RETURNS SETOF text
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
	SET datestyle = 'ISO' ROWS 50 AS $$
DECLARE
	c payments.period_close;
	l record;
	last_currency text := '';
	last_section text := '';
	balanced boolean := true;
BEGIN
	PERFORM payments._refuse_card_numbers('merchant', close_report.merchant);
	close_report.number := payments._require_close(close_report.merchant, close_report.number);
	SELECT x.* INTO STRICT c
	FROM payments.period_close x
	WHERE x.merchant = close_report.merchant AND x.number = close_report.number;
	RETURN NEXT format('Close %s of merchant "%s"', c.number, payments._one_line(c.merchant));
	RETURN NEXT format(
		'Period     from %s until before %s', coalesce(c.from_time::text, 'the beginning'), c.to_time);
	RETURN NEXT format('Closed     %s by %s', date_trunc('second', c.closed_at),
		payments._one_line(c.closed_by));
	RETURN NEXT format('Postings   %s, of transactions below %s', c.postings, c.to_xid);
	RETURN NEXT format('SHA-256    %s', encode(c.sha256, 'hex'));
	FOR l IN
		SELECT x.section, x.currency, payments._one_line(x.item) AS item, x.opening, x.debits, x.credits,
			x.closing, x.ok
		FROM payments.close_lines(c.merchant, c.number, close_report.accounts) WITH ORDINALITY x
		ORDER BY x.ordinality
	LOOP
		CASE l.section
			WHEN 'type', 'account' THEN
				IF l.currency <> last_currency THEN
					RETURN NEXT '';
					RETURN NEXT rpad(l.currency, 30) || lpad('opening', 18) || lpad('debits', 18)
						|| lpad('credits', 18) || lpad('closing', 18);
				END IF;
				RETURN NEXT rpad(
					CASE WHEN l.section = 'account' THEN '  ' || l.item ELSE l.item || ', total' END, 30, ' ')
					|| (
						SELECT string_agg(lpad(a.t, greatest(18, length(a.t) + 1)), '' ORDER BY a.i)
						FROM (
							SELECT v.i, payments._close_amount(v.amount, l.currency) AS t
							FROM (
								VALUES (1, l.opening), (2, l.debits), (3, l.credits), (4, l.closing)
							) v(i, amount)
						) a
					);
				last_currency := l.currency;
			WHEN 'check' THEN
				IF last_section <> 'check' THEN
					RETURN NEXT '';
				END IF;
				RETURN NEXT format('%s %s: %s and %s%s %s', CASE WHEN l.ok THEN 'ok   ' ELSE 'WRONG' END,
					l.item, payments._close_amount(l.debits, l.currency),
					payments._close_amount(l.credits, l.currency),
					-- Right, they differ by the postings with other merchants.
					CASE
						WHEN l.ok AND l.closing <> 0
							THEN CASE WHEN l.closing > 0 THEN ' + ' ELSE ' - ' END
								|| payments._close_amount(abs(l.closing), l.currency)
					END,
					l.currency);
				balanced := balanced AND l.ok;
			ELSE
				IF last_section <> 'remark' THEN
					RETURN NEXT '';
					RETURN NEXT 'Remarks';
				END IF;
				RETURN NEXT format('- %s%s', l.item,
					': ' || payments._close_amount(l.closing, l.currency) || ' ' || l.currency);
		END CASE;
		last_section := l.section;
	END LOOP;
	RETURN NEXT '';
	RETURN NEXT CASE
		WHEN balanced THEN 'The period balances.'
		ELSE 'THE PERIOD DOES NOT BALANCE. Do not sign; SELECT * FROM payments.verify_close(...).'
	END;
	RETURN NEXT 'Signed     ____________________    Date ____________';
END
$$;
COMMENT ON FUNCTION payments.close_report(text, int, boolean) IS
'A close of a merchant, without a number the last one, as lines of text to be signed: the trial balance by type (accounts => true: by account), whether it balances in every currency, and remarks: holds open at the end, suspense, clearing and transit accounts that are not at zero, late postings, open discrepancies. Raises PY632 (no such close), PY010, 42501.';
