-- Accounts of the ledger: what they are, opening and closing them, and their
-- totals.  Amounts are whole minor units of the account's currency.

CREATE FUNCTION payments.guard_account() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'pay_guard_account';
COMMENT ON FUNCTION payments.guard_account() IS
	'trigger: accounts are never deleted, who and what they and their parts are does not change, their sums only grow, and a closed one stays closed (PY003)';

CREATE FUNCTION payments._require_account(account bigint) RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'pay_require_account';
COMMENT ON FUNCTION payments._require_account(bigint) IS
	'raises unless the account exists (PY202) and the calling role may act for its merchant (42501)';

CREATE FUNCTION payments._template_of(_code text) RETURNS SETOF payments.account_template
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp ROWS 1
AS $$
	SELECT t.*
	FROM payments.account_template t
	WHERE _code LIKE replace(
		replace(
			replace(replace(replace(t.code, '!', '!!'), '%', '!%'), '_', '!_'), '{psp}', '%'),
		'{bank}', '%') ESCAPE '!'
	ORDER BY t.code = _code DESC, t.builtin LIMIT 1
$$;
COMMENT ON FUNCTION payments._template_of(text) IS
	'internal: the template that an account of this code is opened from, if there is one';

CREATE FUNCTION payments.create_account(
	code text,
	currency text,
	type text,
	merchant text DEFAULT 'default',
	hot boolean DEFAULT false,
	min_balance bigint DEFAULT NULL,
	max_balance bigint DEFAULT NULL,
	parent bigint DEFAULT NULL,
	history boolean DEFAULT false,
	parts int DEFAULT NULL
) RETURNS bigint
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pay_create_account';
COMMENT ON FUNCTION payments.create_account(text, text, text, text, boolean, bigint, bigint, bigint, boolean, int) IS
	'opens an account and returns its id; the same call again returns the same id.  type: asset, liability, income, expense, equity; min_balance => 0: never overdrawn; hot => true: many post to it at once, without limits unless parts (2 to 64) says into how many parts it is split; parent: account of the same merchant, currency and type that it is totalled under, for good; history => true: keeps the balance after each posting, so that balance_at() costs the same for any time.  A code of account_template, such as merchant_balance: opens the account that movements of payments post to, as its template has it, hot or not.  Errors: 22023, PY009, PY010, PY013, PY202 (no such parent), PY015 (exists with another definition, or its template has another)';

CREATE FUNCTION payments._lock_hot(merchant text) RETURNS void
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pay_lock_hot';
COMMENT ON FUNCTION payments._lock_hot(text) IS
	'internal: waits, for lock_timeout, until nobody is posting for the merchant, and keeps others out until the transaction ends.  Errors: 55P03';

-- All who post for the merchant wait behind whoever waits for this: give up soon, let them through, try again.
CREATE FUNCTION payments._lock_hot_alone(_merchant text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
BEGIN
	FOR try IN 1 .. 20 LOOP
		BEGIN
			PERFORM payments._lock_hot(_merchant);
			RETURN;
		EXCEPTION WHEN lock_not_available THEN
			PERFORM pg_sleep(0.3);
		END;
	END LOOP;
	RAISE EXCEPTION USING
		ERRCODE = '55P03',
		MESSAGE = format(
			'could not keep others from posting for merchant "%s" for a moment', _merchant),
		HINT = 'A long transaction has posted: in pg_locks those who have are of locktype advisory with '
			'objsubid 19. Nothing was changed; try again when it is over.';
END
$$;
COMMENT ON FUNCTION payments._lock_hot_alone(text) IS
	'internal: waits until nobody is posting for the merchant, and keeps others out until the transaction ends.  Errors: 55P03';

CREATE FUNCTION payments._lock_account_alone(_account bigint, _purpose text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	was_hot boolean := (SELECT a.hot FROM payments.account a WHERE a.account_id = _account);
	is_hot boolean;
BEGIN
	-- Whoever posts to a hot account holds no lock on its row, but shares the
	-- merchant's: wait until they are through, and keep others out.  Merchant
	-- before row, as postings do.
	IF was_hot THEN
		IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
			RAISE EXCEPTION USING
				ERRCODE = '25001',
				MESSAGE = format('cannot %s hot account %s at isolation level "%s"', _purpose, _account,
					current_setting('transaction_isolation')),
				DETAIL = 'The snapshot may be older than what was posted to it last.',
				HINT = 'Do it in a transaction at READ COMMITTED.';
		END IF;
		PERFORM payments._lock_hot_alone(
			(SELECT a.merchant FROM payments.account a WHERE a.account_id = _account));
	END IF;
	SELECT a.hot INTO STRICT is_hot FROM payments.account a WHERE a.account_id = _account FOR NO KEY UPDATE;
	IF is_hot AND NOT was_hot THEN
		RAISE EXCEPTION USING
			ERRCODE = '40001',
			MESSAGE = format('could not %s account %s: it has just been made hot', _purpose, _account),
			HINT = 'Repeat the transaction.';
	END IF;
	RETURN is_hot;
END
$$;
COMMENT ON FUNCTION payments._lock_account_alone(bigint, text) IS
	'internal: locks an account''s row and, if it is hot, waits for all transactions that are posting for its merchant and keeps others out; returns whether it is hot.  What is read afterwards, at READ COMMITTED, is all there is.  Errors: 25001, 40001';

CREATE FUNCTION payments.close_account(account bigint) RETURNS timestamptz
LANGUAGE payments SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a record;
BEGIN
	PERFORM payments._commit_durably();
	PERFORM payments._require_account(close_account.account);
	-- For good, and there is no other that a capture could go to.
	IF (SELECT x.from_template FROM payments.account x WHERE x.account_id = close_account.account) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY219',
			MESSAGE = format('account %s is one that movements of payments post to', close_account.account),
			HINT = 'Leave it; an account without postings costs nothing.';
	END IF;
	PERFORM payments._lock_account_alone(close_account.account, 'close');
	-- Again: whose merchant it is may have changed while this waited.
	PERFORM payments._require_account(close_account.account);
	SELECT closed_at, held_debits, held_credits INTO STRICT a
	FROM payments.account
	WHERE account_id = close_account.account;
	IF a.closed_at IS NOT NULL THEN
		RETURN a.closed_at;
	END IF;
	IF a.held_debits <> 0
		OR a.held_credits <> 0
		OR (SELECT b.debits <> b.credits FROM payments.balance(close_account.account) b) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY204',
			MESSAGE = format('account %s still has a balance or holds', close_account.account),
			DETAIL = (
				SELECT format('The balance is %s, held debits %s, held credits %s.', b.balance, b.held_debits,
					b.held_credits)
				FROM payments.balance(close_account.account) b
			),
			HINT = 'Move the balance to another account and void the holds, then close it.';
	END IF;
	UPDATE payments.account
	SET closed_at = clock_timestamp()
	WHERE account_id = close_account.account
	RETURNING closed_at INTO a;
	RETURN a.closed_at;
END
$$;
COMMENT ON FUNCTION payments.close_account(bigint) IS
	'ends an account for good: nothing can be posted to it any more (PY203).  Its balance must be zero (PY204).  Closing a hot account waits for all transactions that are posting for its merchant, up to ten seconds, and keeps others waiting until the transaction ends.  Returns when it was closed; again: the same.  Errors: PY202, PY204, PY219 (one of account_template), 25001 (a hot one above READ COMMITTED), 40001 (it was being switched to hot), 42501, 55P03 (others were posting all the while)';

CREATE FUNCTION payments._split_account(_account bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- Evenly, floor((amount + part) / parts) as share_out() in ledger/part.c has
	-- it; written so that nothing overflows or is rounded.
	INSERT INTO payments.account_part (account_id, part, debit_normal, min_balance, max_balance, debits,
		credits, moved)
	SELECT a.account_id, i, s.debit_normal,
		a.min_balance / a.parts + floor((a.min_balance % a.parts + i)::numeric / a.parts)::bigint,
		a.max_balance / a.parts + floor((a.max_balance % a.parts + i)::numeric / a.parts)::bigint, 0, 0,
		s.balance / a.parts + floor((s.balance % a.parts + i)::numeric / a.parts)::bigint
	FROM payments.account a
	CROSS JOIN LATERAL (
		SELECT a.type IN ('asset', 'expense') AS debit_normal,
			CASE
				WHEN a.type IN ('asset', 'expense') THEN a.debits - a.credits
				ELSE a.credits - a.debits
			END AS balance
	) s
	CROSS JOIN generate_series(0, a.parts - 1) i
	WHERE a.account_id = _account;
END
$$;
COMMENT ON FUNCTION payments._split_account(bigint) IS
	'internal: makes the parts of an account that nobody can post to yet, with its balance and limits shared between them';

CREATE FUNCTION payments.set_account_hot(account bigint, hot boolean, parts int DEFAULT NULL) RETURNS boolean
LANGUAGE payments SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a record;
	was_hot boolean;
	limited boolean;
BEGIN
	PERFORM payments._commit_durably();
	PERFORM payments._require_account(set_account_hot.account);
	IF set_account_hot.hot IS NULL
		OR (
			set_account_hot.parts IS NOT NULL
			AND (NOT set_account_hot.hot OR set_account_hot.parts < 2 OR set_account_hot.parts > 64)
		) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'hot must be true or false, and parts 2 to 64 for a hot account',
			HINT = 'Pass parts only with hot => true, for an account with limits.';
	END IF;
	was_hot := payments._lock_account_alone(set_account_hot.account, 'switch');
	-- Again: whose merchant it is may have changed while this waited.
	PERFORM payments._require_account(set_account_hot.account);
	IF was_hot = set_account_hot.hot THEN
		RETURN false;
	END IF;
	SELECT closed_at, min_balance, max_balance, debits, credits, history, held_debits, held_credits
	INTO STRICT a
	FROM payments.account
	WHERE account_id = set_account_hot.account;
	limited := a.min_balance IS NOT NULL OR a.max_balance IS NOT NULL;
	IF a.closed_at IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY203',
			MESSAGE = format('account %s is closed', set_account_hot.account),
			HINT = 'Nothing is posted to it, so leave it as it is.';
	END IF;
	IF set_account_hot.hot AND limited <> (set_account_hot.parts IS NOT NULL) THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format(
				CASE
					WHEN limited THEN 'account %s has limits and cannot be hot in one piece'
					ELSE 'account %s has no limits and is not split'
				END,
				set_account_hot.account),
			DETAIL = 'Checking a limit needs a lock, and parts have one each.',
			HINT = CASE
				WHEN limited THEN 'Pass parts => 8, or leave it ordinary.'
				ELSE 'Leave out parts.'
			END;
	END IF;
	IF a.history THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = format('account %s keeps a history and cannot be hot', set_account_hot.account),
			DETAIL = 'Postings to a hot account have no order until they are folded.',
			HINT = 'Leave it ordinary, or move the balance to another account without history.';
	END IF;
	IF a.held_debits <> 0 OR a.held_credits <> 0 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY204',
			MESSAGE = format('account %s has holds and cannot be hot', set_account_hot.account),
			DETAIL = format('Held debits %s, held credits %s.', a.held_debits, a.held_credits),
			HINT = 'Post or void the holds first.';
	END IF;
	-- The counters of the row and of all parts must fit into one again.
	IF set_account_hot.parts IS NOT NULL AND greatest(a.debits, a.credits) > 2305843009213693951 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY205',
			MESSAGE = format('counters of account %s are too large to be split', set_account_hot.account),
			HINT = 'Move the balance to another account.';
	END IF;
	-- Back: what was posted while it was hot goes into the row, all of it.
	WITH delta AS (
		DELETE FROM payments.account_delta d
		WHERE d.account_id = set_account_hot.account AND NOT set_account_hot.hot
		RETURNING d.debits, d.credits
	), part AS (
		DELETE FROM payments.account_part p
		WHERE p.account_id = set_account_hot.account AND NOT set_account_hot.hot
		RETURNING p.debits, p.credits
	), total AS (
		SELECT coalesce(sum(g.debits), 0)::bigint AS debits, coalesce(sum(g.credits), 0)::bigint AS credits
		FROM (SELECT * FROM delta UNION ALL SELECT * FROM part) g
	)
	UPDATE payments.account x
	SET hot = set_account_hot.hot, parts = set_account_hot.parts, debits = x.debits + t.debits,
		credits = x.credits + t.credits
	FROM total t
	WHERE x.account_id = set_account_hot.account;
	IF set_account_hot.parts IS NOT NULL THEN
		PERFORM payments._split_account(set_account_hot.account);
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION payments.set_account_hot(bigint, boolean, int) IS
	'makes an ordinary account hot (posted to without a row lock; no holds; with limits only if it is split into parts, 2 to 64), or a hot one ordinary, while it is in use; no posting is lost or refused.  Returns whether that changed anything; the number of parts changes only by way of ordinary.  Back to ordinary waits for all transactions that are posting for the merchant, up to ten seconds, and they wait for it, a fifth of a second each time, and from then on until the transaction ends.  Errors: 22023 (limits without parts, parts without limits, a history), PY202, PY203 (closed), PY204 (holds), PY205 (too large to be split), 25001 (back, above READ COMMITTED), 40001, 42501, 55P03 (others were posting all the while)';

-- What an account and those below it come to.  numeric, since a report must
-- not fail because a sum is large.
CREATE FUNCTION payments.account_totals(account bigint)
	RETURNS TABLE (
		depth int, account_id bigint, code text, balance numeric, total numeric, total_text text,
		parent bigint
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_account(account_totals.account);
	RETURN QUERY
	WITH RECURSIVE tree AS (
		SELECT a.account_id, a.parent, a.code, ARRAY[a.account_id] AS path, ARRAY[a.code] AS codes
		FROM payments.account a
		WHERE a.account_id = account_totals.account
		UNION ALL
		-- A parent is older than its child; whoever damaged that gets an end all the same.
		SELECT a.account_id, a.parent, a.code, t.path || a.account_id, t.codes || a.code
		FROM tree t
		JOIN payments.account a ON a.parent = t.account_id AND a.account_id > t.account_id
	), line AS (
		SELECT t.account_id, t.path,
			CASE WHEN a.type IN ('asset', 'expense') THEN s.net ELSE - s.net END AS balance
		FROM tree t
		JOIN payments.account a ON a.account_id = t.account_id
		CROSS JOIN LATERAL (
			SELECT a.debits::numeric - a.credits + coalesce(sum(d.debits::numeric - d.credits), 0) AS net
			FROM payments._account_tail d
			WHERE d.account_id = a.account_id
		) s
	), total AS (
		SELECT u.account_id, sum(l.balance) AS total
		FROM line l
		CROSS JOIN LATERAL unnest(l.path) u(account_id)
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
