-- All accounts at a glance.  Run by setup() as payments_owner; may be run any
-- number of times.

-- numeric throughout: a report must not fail because a sum is large.
CREATE OR REPLACE VIEW payments.trial_balance WITH (security_invoker = true) AS
WITH line AS (
	SELECT a.merchant, a.currency, a.code, a.type,
		a.debits + coalesce(d.debits, 0) AS debits,
		a.credits + coalesce(d.credits, 0) AS credits,
		a.account_id
	FROM payments.account a
	LEFT JOIN (SELECT account_id, sum(debits) AS debits, sum(credits) AS credits
			   FROM payments._account_tail GROUP BY account_id) d USING (account_id)
), listed AS (
	SELECT merchant, currency, code, type, debits, credits,
		CASE WHEN type IN ('asset', 'expense') THEN debits - credits ELSE credits - debits END AS balance,
		account_id, false AS is_total
	FROM line
	UNION ALL
	-- With names and types, or a restored one is written otherwise than it was.
	SELECT NULL::text AS merchant, currency, 'TOTAL'::text AS code, NULL::text AS type, sum(debits) AS debits,
		sum(credits) AS credits, sum(debits) - sum(credits) AS balance, NULL::bigint AS account_id, true AS is_total
	FROM line GROUP BY currency
)
SELECT l.merchant, l.currency, l.code, l.type, l.debits, l.credits, l.balance,
	(l.balance * ('1e-' || c.exponent)::numeric)::text || ' ' || l.currency AS balance_text,
	l.account_id
FROM listed l LEFT JOIN payments.currency c USING (currency)
ORDER BY l.currency, l.is_total, l.merchant, l.code;

COMMENT ON VIEW payments.trial_balance IS 'every account with its sums and, below the accounts of a currency, a row TOTAL whose balance is zero';
COMMENT ON COLUMN payments.trial_balance.merchant IS 'whose account it is; null in the row TOTAL';
COMMENT ON COLUMN payments.trial_balance.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.trial_balance.code IS 'account code, or TOTAL';
COMMENT ON COLUMN payments.trial_balance.type IS 'account type; null in the row TOTAL';
COMMENT ON COLUMN payments.trial_balance.debits IS 'minor units';
COMMENT ON COLUMN payments.trial_balance.credits IS 'minor units';
COMMENT ON COLUMN payments.trial_balance.balance IS 'minor units on the account''s normal side; in the row TOTAL debits less credits, which must be zero';
COMMENT ON COLUMN payments.trial_balance.balance_text IS 'the balance for people, in major units';
COMMENT ON COLUMN payments.trial_balance.account_id IS 'for payments.statement(); null in the row TOTAL';
