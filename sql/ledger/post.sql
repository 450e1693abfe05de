-- The ledger's verbs that post and read.  Amounts are whole minor units of the account's
-- currency; a balance is on the account's normal side (debits less credits for
-- asset and expense accounts, credits less debits for the others).

CREATE FUNCTION payments._post_movements(
	amounts bigint[], events text[], "references" text[], merchant text, psp text, currency text,
	payment_id uuid, bank text DEFAULT NULL
) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_post_movements';
COMMENT ON FUNCTION payments._post_movements(bigint[], text[], text[], text, text, text, uuid, text) IS
	'internal, granted to nobody: posts movements of a payment by posting_rule as the worker does; below zero an amount is posted the other way; references are unique among all that the system posts.  For settlements, tests, and a movement that check() found without its posting.  Errors: PY207 and those of payments.post()';

CREATE FUNCTION payments._post_own(
	debit bigint, credit bigint, amount bigint, reference text, description text, kind text
) RETURNS bigint
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pay_post_own';
COMMENT ON FUNCTION payments._post_own(bigint, bigint, bigint, text, text, text) IS
	'internal, granted to nobody: payments.post() of the system itself, within a decision (_act_for_all()), under a reference that no verb can take.  Errors: those of payments.post()';

CREATE FUNCTION payments.post(
	debit bigint,
	credit bigint,
	amount bigint,
	reference text DEFAULT NULL,
	description text DEFAULT NULL,
	kind text DEFAULT 'manual',
	effective_at timestamptz DEFAULT NULL,
	balancing boolean DEFAULT false,
	imported boolean DEFAULT false
) RETURNS bigint
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pay_post';
COMMENT ON FUNCTION payments.post(bigint, bigint, bigint, text, text, text, timestamptz, boolean, boolean) IS
	'moves an amount (minor units) from the credited to the debited account and returns the posting''s id.  reference: your own id for exactly-once posting, unique per merchant; the same call again returns the first posting''s id, another content raises PY206.  balancing => true: as much as the limits of both accounts allow, up to amount (posting.amount says how much; PY204 if nothing).  effective_at: when it counts for the business, in the past only with imported => true.  Errors: 22023, PY009 (card number), PY201 (currencies differ), PY202 (no such account), PY203 (closed), PY204 (limit), PY205 (overflow), PY206, PY218 (effective_at lies in a closed period)';

CREATE FUNCTION payments.post_batch(
	debits bigint[],
	credits bigint[],
	amounts bigint[],
	"references" text[] DEFAULT NULL,
	descriptions text[] DEFAULT NULL,
	kinds text[] DEFAULT NULL,
	effective_at timestamptz[] DEFAULT NULL,
	groups int[] DEFAULT NULL,
	balancing boolean[] DEFAULT NULL,
	all_or_nothing boolean DEFAULT false,
	imported boolean DEFAULT false
) RETURNS TABLE (index int, posting_id bigint, error text, amount bigint)
LANGUAGE c SET search_path = pg_catalog, pg_temp ROWS 1000
AS 'MODULE_PATHNAME', 'pay_post_batch';
COMMENT ON FUNCTION payments.post_batch(bigint[], bigint[], bigint[], text[], text[], text[], timestamptz[], int[], boolean[], boolean, boolean) IS
	'posts many, in order, each on its own: a row per element with its number from 1, the posting''s id and amount (minor units), or the SQLSTATE of payments.post() that kept it from being posted.  groups: neighbours of one number (from 1) are posted together or not at all; those that another of the group kept back have PY215, those posted share posting.transaction_id.  all_or_nothing => true raises what is wrong with the first element that cannot be valid, or else the first refusal, and nothing is posted.  references: as for payments.post(); what was refused under a reference stays refused, with the same SQLSTATE.  Raises for the call as a whole: 22023 (arrays of different lengths, groups that are not neighbours, more than 100000 elements), 42501';

CREATE FUNCTION payments.balance(account bigint)
RETURNS TABLE (debits bigint, credits bigint, held_debits bigint, held_credits bigint, balance bigint)
LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp ROWS 1
AS $$
BEGIN
	PERFORM payments._require_account(balance.account);
	RETURN QUERY
	SELECT s.debits::bigint, s.credits::bigint, s.held_debits, s.held_credits,
		(CASE
			WHEN s.type IN ('asset', 'expense') THEN s.debits - s.credits
			ELSE s.credits - s.debits
		END)::bigint
	FROM (
		SELECT a.type, a.held_debits, a.held_credits, a.debits + coalesce(d.debits, 0) AS debits,
			a.credits + coalesce(d.credits, 0) AS credits
		FROM payments.account a
		CROSS JOIN LATERAL (
			SELECT sum(t.debits) AS debits, sum(t.credits) AS credits
			FROM payments._account_tail t
			WHERE t.account_id = a.account_id
		) d
		WHERE a.account_id = balance.account
	) s;
END
$$;
COMMENT ON FUNCTION payments.balance(bigint) IS
	'sums of an account as of now, minor units; balance is on the account''s normal side and holds are not taken off it.  Errors: PY202, 42501';

-- Generic plans: the executor leaves out the months that are not asked for.
-- The planner would do it too, anew in every call and for ten times the price.
CREATE FUNCTION payments.balance_at(account bigint, at timestamptz) RETURNS bigint
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan AS $$
BEGIN
	PERFORM payments._require_account(balance_at.account);
	IF balance_at.at IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'the time must not be null',
			HINT = 'Pass a time, or use payments.balance() for now.';
	END IF;
	IF (SELECT a.history FROM payments.account a WHERE a.account_id = balance_at.account) THEN
		RETURN coalesce(
			(
				SELECT h.balance
				FROM payments.account_history h
				WHERE h.account_id = balance_at.account AND h.booked_at <= balance_at.at
				ORDER BY h.booked_at DESC, h.posting_id DESC LIMIT 1
			),
			0);
	END IF;
	PERFORM payments._require_retained(balance_at.at);
	-- Today's balance less what came later: recent times are the usual question.
	RETURN (
		SELECT CASE WHEN a.type IN ('asset', 'expense') THEN n.net ELSE - n.net END
		FROM payments.account a
		CROSS JOIN LATERAL (
			SELECT a.debits::numeric - a.credits
				+ (
					SELECT coalesce(sum(t.debits::numeric - t.credits), 0)
					FROM payments._account_tail t
					WHERE t.account_id = balance_at.account
				)
				- (
					SELECT coalesce(sum(p.amount), 0)
					FROM payments.posting p
					WHERE p.debit_account = balance_at.account AND p.booked_at > balance_at.at
				)
				+ (
					SELECT coalesce(sum(p.amount), 0)
					FROM payments.posting p
					WHERE p.credit_account = balance_at.account AND p.booked_at > balance_at.at
				) AS net
		) n
		WHERE a.account_id = balance_at.account
	);
END
$$;
COMMENT ON FUNCTION payments.balance_at(bigint, timestamptz) IS
	'balance of an account with all that was booked up to and at that time, minor units on the normal side; postings of transactions still open then may be added to it later.  Errors: 22023, PY202, PY216 (retired), 42501';

CREATE FUNCTION payments.statement(account bigint, from_time timestamptz, to_time timestamptz)
	RETURNS TABLE (
		posting_id bigint, booked_at timestamptz, kind text, counterpart text, description text, debit bigint,
		credit bigint, balance bigint, amount_text text, balance_text text
	)
	LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	-- From the beginning is from when on postings are here: the opening balance
	-- stands for those that were retired.
	first timestamptz := coalesce(statement.from_time, payments._require_retained(NULL), '-infinity');
	past timestamptz := coalesce(statement.to_time, 'infinity');
BEGIN
	PERFORM payments._require_account(statement.account);
	IF first > past THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'from_time must not be later than to_time',
			HINT = 'Exchange the two times.';
	END IF;
	PERFORM payments._require_retained(first - interval '1 microsecond');
	RETURN QUERY
	WITH a AS (
		SELECT merchant, CASE WHEN type IN ('asset', 'expense') THEN 1 ELSE -1 END AS sign,
			debits::numeric - credits
				+ (
					SELECT coalesce(sum(t.debits::numeric - t.credits), 0)
					FROM payments._account_tail t
					WHERE t.account_id = statement.account
				)
				- (
					SELECT coalesce(sum(p.amount), 0)
					FROM payments.posting p
					WHERE p.debit_account = statement.account AND p.booked_at >= first
				)
				+ (
					SELECT coalesce(sum(p.amount), 0)
					FROM payments.posting p
					WHERE p.credit_account = statement.account AND p.booked_at >= first
				) AS net,
			('1e-' || u.exponent)::numeric AS unit, ' ' || currency AS suffix
		FROM payments.account
		LEFT JOIN payments.currency u USING (currency)
		WHERE account_id = statement.account
	), line AS (
		SELECT p.posting_id, p.booked_at, p.kind, p.credit_account AS other, p.description, p.amount AS debit,
			NULL::bigint AS credit
		FROM payments.posting p
		WHERE p.debit_account = statement.account AND p.booked_at >= first AND p.booked_at < past
		UNION ALL
		SELECT p.posting_id, p.booked_at, p.kind, p.debit_account, p.description, NULL, p.amount
		FROM payments.posting p
		WHERE p.credit_account = statement.account AND p.booked_at >= first AND p.booked_at < past
	), listed AS (
		SELECT 1 AS part, NULL::bigint AS posting_id, first AS booked_at, 'opening balance' AS kind,
			NULL AS counterpart, NULL AS description, NULL::bigint AS debit, NULL::bigint AS credit,
			a.sign * a.net AS balance
		FROM a
		UNION ALL
		SELECT 2, l.posting_id, l.booked_at, l.kind,
			CASE WHEN o.merchant = a.merchant THEN o.code ELSE o.merchant || '/' || o.code END, l.description,
			l.debit, l.credit,
			a.sign
				* (a.net
					+ sum(coalesce(
						l.debit::numeric, - l.credit::numeric)) OVER (ORDER BY l.booked_at, l.posting_id))
		FROM line l
		CROSS JOIN a
		LEFT JOIN payments.account o ON o.account_id = l.other
		UNION ALL
		SELECT 3, NULL, past, 'closing balance', NULL, NULL, NULL, NULL,
			a.sign
				* (a.net
					+ (SELECT coalesce(sum(coalesce(l.debit::numeric, - l.credit::numeric)), 0) FROM line l))
		FROM a
	)
	SELECT s.posting_id, s.booked_at, s.kind, s.counterpart, s.description, s.debit, s.credit,
		s.balance::bigint, (a.sign * coalesce(s.debit, - s.credit) * a.unit)::text || a.suffix,
		(s.balance * a.unit)::text || a.suffix
	FROM listed s
	CROSS JOIN a
	ORDER BY s.part, s.booked_at, s.posting_id;
END
$$;
COMMENT ON FUNCTION payments.statement(bigint, timestamptz, timestamptz) IS
	'what was booked on an account from from_time up to but not at to_time (null: no bound), with the balance after each posting; the first row is the opening balance, the last the closing balance, both without a posting_id.  Minor units; balances on the account''s normal side; counterpart is the other account''s code, with its merchant if that is another.  For people, in major units: amount_text is what the posting did to the balance, with its sign, balance_text the balance.  Where postings were retired, no bound is from when on they are here.  Errors: 22023, PY202, PY216 (retired), 42501';

-- DELETE and UPDATE in one statement: what is taken from one is added to the other.
CREATE FUNCTION payments._fold(_accounts bigint[]) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
	WITH gone AS (
		DELETE FROM payments.account_delta d
		USING unnest(_accounts) l(account_id)
		WHERE d.account_id = l.account_id
		RETURNING d.account_id, d.debits, d.credits
	), total AS (
		SELECT g.account_id, sum(g.debits) AS debits, sum(g.credits) AS credits, count(*) AS n
		FROM gone g
		GROUP BY g.account_id
	), moved AS (
		UPDATE payments.account a
		SET debits = a.debits + t.debits, credits = a.credits + t.credits
		FROM total t
		WHERE a.account_id = t.account_id
		RETURNING t.n
	)
	SELECT coalesce(sum(m.n), 0)::bigint FROM moved m
$$;
COMMENT ON FUNCTION payments._fold(bigint[]) IS
	'internal: adds the deltas of these accounts, which must be locked, into their rows; returns how many.  Errors: 22003 (a sum would not fit)';

CREATE FUNCTION payments.fold_hot_accounts(max_rows int DEFAULT 10000) RETURNS bigint
LANGUAGE payments SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	busy bigint[];
	locked bigint[];
	each bigint;
	passed bigint[] := '{}';
	full_up bigint[] := '{}';
	folded bigint := 0;
BEGIN
	LOOP
		busy := ARRAY(
			SELECT DISTINCT t.account_id
			FROM (
				SELECT d.account_id
				FROM payments.account_delta d
				WHERE d.account_id <> ALL (passed)
				LIMIT fold_hot_accounts.max_rows
			) t
		);
		-- Whether an account is still hot does not matter.  Those that somebody else has locked are left
		-- for the next time: folding neither waits nor deadlocks.
		locked := ARRAY(
			SELECT a.account_id
			FROM payments.account a
			WHERE a.account_id = ANY (busy)
			ORDER BY a.account_id FOR NO KEY UPDATE SKIP LOCKED
		);
		BEGIN
			folded := folded + payments._fold(locked);
		EXCEPTION WHEN numeric_value_out_of_range THEN
			FOREACH each IN ARRAY locked LOOP
				BEGIN
					folded := folded + payments._fold(ARRAY[each]);
				EXCEPTION WHEN numeric_value_out_of_range THEN
					full_up := full_up || each;
				END;
			END LOOP;
		END;
		-- Those that had to be left must not hide the others.
		EXIT WHEN cardinality(locked) = cardinality(busy) AND NOT locked && full_up;
		passed := passed || ARRAY(SELECT b FROM unnest(busy) b WHERE b <> ALL (locked) OR b = ANY (full_up));
	END LOOP;
	IF cardinality(full_up) > 0 THEN
		RAISE WARNING USING
			ERRCODE = 'PY205',
			MESSAGE = format('what was posted to account %s does not fit into its counters', full_up[1]),
			DETAIL = format('There are %s such accounts. It stays in payments.account_delta.',
				cardinality(full_up)),
			HINT = 'Post to another account from now on. Others are folded.';
	END IF;
	RETURN folded;
END
$$;
COMMENT ON FUNCTION payments.fold_hot_accounts(int) IS
	'adds what was posted to hot accounts lately into the accounts'' rows, so that reading their balance stays cheap; the worker calls it.  Looks at max_rows deltas to choose accounts, folds those completely, and returns the number of deltas folded.  What does not fit into an account''s counters stays where it is, with a warning; others are folded';

CREATE FUNCTION payments.format_amount(amount bigint, currency text) RETURNS text
LANGUAGE payments STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	decimals int;
BEGIN
	SELECT c.exponent INTO decimals FROM payments.currency c WHERE c.currency = format_amount.currency;
	IF NOT FOUND THEN
		PERFORM payments._refuse_card_numbers('currency', format_amount.currency);
		RAISE EXCEPTION USING
			ERRCODE = 'PY013',
			MESSAGE = format('currency "%s" does not exist', format_amount.currency),
			HINT = 'Use an upper-case ISO 4217 code, or add a row with builtin = false to payments.currency.';
	END IF;
	RETURN (format_amount.amount::numeric * ('1e-' || decimals)::numeric)::text || ' '
		|| format_amount.currency;
END
$$;
COMMENT ON FUNCTION payments.format_amount(bigint, text) IS
	'an amount in minor units for people, in major units: format_amount(1050, ''EUR'') is ''10.50 EUR''.  Errors: PY013';
