-- The ledger's part of payments.check().

CREATE FUNCTION payments._check_ledger()
RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- STABLE: all queries see the snapshot of the statement that called.  Each
	-- reads its tables once, whatever their size.

	RETURN QUERY
	SELECT 'debits equal credits in every currency', count(*) = 0, count(*),
		min(format('%s: debits %s, credits %s', currency, debits, credits))
	FROM (SELECT l.currency, sum(l.debits) AS debits, sum(l.credits) AS credits
		  FROM (SELECT currency, debits, credits FROM payments.account
				UNION ALL
				SELECT a.currency, d.debits, d.credits
				FROM payments.account_delta d JOIN payments.account a ON a.account_id = d.account_id) l
		  GROUP BY l.currency HAVING sum(l.debits) <> sum(l.credits)) bad;

	RETURN QUERY
	SELECT 'sums of an account are those of its postings', count(*) = 0, count(*),
		min(format('account %s: debits %s but postings %s, credits %s but postings %s',
				   account_id, debits, posted_debits, credits, posted_credits))
	FROM (SELECT l.account_id, sum(l.debits) AS debits, sum(l.credits) AS credits,
			sum(l.posted_debits) AS posted_debits, sum(l.posted_credits) AS posted_credits
		  FROM (SELECT account_id, debits, credits, 0 AS posted_debits, 0 AS posted_credits FROM payments.account
				UNION ALL
				SELECT account_id, debits, credits, 0, 0 FROM payments.account_delta
				UNION ALL
				SELECT s.account_id, 0, 0, s.posted_debits, s.posted_credits
				FROM payments.posting p
				CROSS JOIN LATERAL (VALUES (p.debit_account, p.amount, 0), (p.credit_account, 0, p.amount))
					s(account_id, posted_debits, posted_credits)) l
		  GROUP BY l.account_id
		  HAVING sum(l.debits) <> sum(l.posted_debits) OR sum(l.credits) <> sum(l.posted_credits)) bad;

	RETURN QUERY
	SELECT 'no account is beyond its limits', count(*) = 0, count(*),
		min(format('account %s: balance %s, minimum %s, maximum %s', account_id, balance, min_balance, max_balance))
	FROM (SELECT a.account_id, a.min_balance, a.max_balance, s.balance, s.held_in, s.held_out
		  FROM payments.account a
		  CROSS JOIN LATERAL (SELECT
				CASE WHEN a.type IN ('asset', 'expense') THEN a.debits::numeric - a.credits ELSE a.credits::numeric - a.debits END AS balance,
				CASE WHEN a.type IN ('asset', 'expense') THEN a.held_debits ELSE a.held_credits END AS held_in,
				CASE WHEN a.type IN ('asset', 'expense') THEN a.held_credits ELSE a.held_debits END AS held_out) s
		  WHERE s.balance - s.held_out < a.min_balance OR s.balance + s.held_in > a.max_balance
			OR (a.hot AND (a.min_balance IS NOT NULL OR a.max_balance IS NOT NULL))) bad;

	-- In place of foreign keys.
	RETURN QUERY
	SELECT 'every posting has its accounts', count(*) = 0, count(*),
		min(format('posting %s: account %s', posting_id, account_id))
	FROM (SELECT p.posting_id, s.account_id
		  FROM payments.posting p CROSS JOIN LATERAL (VALUES (p.debit_account), (p.credit_account)) s(account_id)
		  LEFT JOIN payments.account a ON a.account_id = s.account_id
		  WHERE a.account_id IS NULL
		  UNION ALL
		  SELECT NULL, d.account_id FROM payments.account_delta d
		  LEFT JOIN payments.account a ON a.account_id = d.account_id
		  WHERE a.hot IS NOT TRUE) bad;

	RETURN QUERY
	SELECT 'a posting is in the currency of its accounts', count(*) = 0, count(*),
		min(format('posting %s in %s: accounts in %s and %s', posting_id, currency, debit_currency, credit_currency))
	FROM (SELECT p.posting_id, p.currency, d.currency AS debit_currency, c.currency AS credit_currency
		  FROM payments.posting p
		  JOIN payments.account d ON d.account_id = p.debit_account
		  JOIN payments.account c ON c.account_id = p.credit_account
		  WHERE p.currency <> d.currency OR p.currency <> c.currency) bad;

	-- Every movement of money is posted once, as it is, and nothing else is
	-- posted in a payment's name; so the sums agree for each kind.  An
	-- authorization moves no money.
	RETURN QUERY
	SELECT 'every movement of money is posted once, and payments post nothing else', count(*) = 0, count(*),
		min(format('%s: movement of %s %s, posting of %s %s', reference, moved, moved_currency, posted, posted_currency))
	FROM (SELECT coalesce(m.reference, p.reference) AS reference, m.amount AS moved, m.currency AS moved_currency,
			p.amount AS posted, p.currency AS posted_currency
		  FROM (SELECT psp || ':' || object_id || ':' || kind AS reference, kind, payment_id, amount, currency
				FROM payments.movement WHERE kind <> 'authorize') m
		  FULL JOIN (SELECT regexp_replace(reference, ':[0-9]+$', '') AS reference, kind, payment_id, amount, currency
					 FROM payments.posting WHERE payment_id IS NOT NULL) p
			ON p.reference = m.reference
		  WHERE (m.kind, m.payment_id, m.amount, m.currency) IS DISTINCT FROM (p.kind, p.payment_id, p.amount, p.currency)) bad;
END
$$;
COMMENT ON FUNCTION payments._check_ledger() IS
	'the ledger''s invariants, for payments.check(): name, whether it holds, how many violate it, one of them';
