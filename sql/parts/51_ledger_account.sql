-- Accounts of the ledger: what they are, opening and closing them, and their
-- totals.  Amounts are whole minor units of the account's currency.

CREATE FUNCTION payments.guard_account() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_account';
COMMENT ON FUNCTION payments.guard_account() IS
	'trigger: accounts are never deleted, who and what they are does not change, their sums only grow, and a closed one stays closed (PY003)';

CREATE FUNCTION payments._require_account(account bigint) RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'pay_require_account';
COMMENT ON FUNCTION payments._require_account(bigint) IS
	'raises unless the account exists (PY202) and the calling role may act for its merchant (42501)';

CREATE FUNCTION payments.create_account(
	code text,
	currency text,
	type text,
	merchant text DEFAULT 'default',
	hot boolean DEFAULT false,
	min_balance bigint DEFAULT NULL,
	max_balance bigint DEFAULT NULL,
	parent bigint DEFAULT NULL
) RETURNS bigint
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pay_create_account';
COMMENT ON FUNCTION payments.create_account(text, text, text, text, boolean, bigint, bigint, bigint) IS
	'opens an account and returns its id; the same call again returns the same id.  type: asset, liability, income, expense, equity; min_balance => 0: never overdrawn; hot => true: many post to it at once, without limits; parent: account of the same merchant, currency and type that it is totalled under, for good.  Errors: 22023, PY009, PY010, PY013, PY202 (no such parent), PY015 (exists with another definition)';

CREATE FUNCTION payments.close_account(account bigint) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	a record;
BEGIN
	PERFORM payments._require_account($1);
	-- Whoever posts to a hot account holds no lock on its row, but one on the
	-- table of deltas: wait until they are through, and keep others out.
	IF (SELECT hot FROM payments.account WHERE account_id = $1) THEN
		IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
			RAISE EXCEPTION USING
				ERRCODE = '25001',
				MESSAGE = format('cannot close hot account %s at isolation level "%s"', $1, current_setting('transaction_isolation')),
				DETAIL = 'The snapshot may be older than what was posted to it last.',
				HINT = 'Close it in a transaction at READ COMMITTED.';
		END IF;
		LOCK TABLE payments.account_delta IN SHARE ROW EXCLUSIVE MODE;
	END IF;
	SELECT closed_at, debits, credits, held_debits, held_credits INTO STRICT a
	FROM payments.account WHERE account_id = $1 FOR NO KEY UPDATE;
	IF a.closed_at IS NOT NULL THEN
		RETURN a.closed_at;
	END IF;
	IF a.held_debits <> 0 OR a.held_credits <> 0
	   OR (SELECT b.debits <> b.credits FROM payments.balance($1) b) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY204',
			MESSAGE = format('account %s still has a balance or holds', $1),
			DETAIL = (SELECT format('The balance is %s, held debits %s, held credits %s.', b.balance, b.held_debits, b.held_credits)
					  FROM payments.balance($1) b),
			HINT = 'Move the balance to another account and void the holds, then close it.';
	END IF;
	UPDATE payments.account SET closed_at = clock_timestamp() WHERE account_id = $1 RETURNING closed_at INTO a;
	RETURN a.closed_at;
END
$$;
COMMENT ON FUNCTION payments.close_account(bigint) IS
	'ends an account for good: nothing can be posted to it any more (PY203).  Its balance must be zero (PY204).  Closing a hot account waits for all transactions that are posting.  Returns when it was closed; again: the same';

-- What an account and those below it come to.  numeric, since a report must
-- not fail because a sum is large.
CREATE FUNCTION payments.account_totals(account bigint)
RETURNS TABLE (depth int, account_id bigint, code text, balance numeric, total numeric, total_text text, parent bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_account($1);
	RETURN QUERY
	WITH RECURSIVE tree AS (
		SELECT a.account_id, a.parent, a.code, ARRAY[a.account_id] AS path, ARRAY[a.code] AS codes
		FROM payments.account a WHERE a.account_id = $1
		UNION ALL
		-- A parent is older than its child; whoever damaged that gets an end all the same.
		SELECT a.account_id, a.parent, a.code, t.path || a.account_id, t.codes || a.code
		FROM tree t JOIN payments.account a ON a.parent = t.account_id AND a.account_id > t.account_id
	), line AS (
		SELECT t.account_id, t.path,
			CASE WHEN a.type IN ('asset', 'expense') THEN s.net ELSE - s.net END AS balance
		FROM tree t
		JOIN payments.account a ON a.account_id = t.account_id
		CROSS JOIN LATERAL (
			SELECT a.debits::numeric - a.credits + coalesce(sum(d.debits::numeric - d.credits), 0) AS net
			FROM payments.account_delta d WHERE d.account_id = a.account_id) s
	), total AS (
		SELECT u.account_id, sum(l.balance) AS total
		FROM line l CROSS JOIN LATERAL unnest(l.path) u(account_id)
		GROUP BY u.account_id
	)
	SELECT cardinality(t.path) - 1, t.account_id, t.code, l.balance, s.total,
		(s.total * ('1e-' || c.exponent)::numeric)::text || ' ' || a.currency, t.parent
	FROM tree t
	JOIN line l ON l.account_id = t.account_id
	JOIN total s ON s.account_id = t.account_id
	JOIN payments.account a ON a.account_id = t.account_id
	LEFT JOIN payments.currency c ON c.currency = a.currency
	ORDER BY t.codes;
END
$$;
COMMENT ON FUNCTION payments.account_totals(bigint) IS
	'an account and all below it (create_account(parent => ...)), each with its own balance and the total of it and all below it, as of now; parents before their children, these by code, depth 0 first.  Minor units on the normal side; total_text is the total for people, in major units.  Errors: PY202, 42501';
