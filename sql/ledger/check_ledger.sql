-- The ledger's part of payments.check().

CREATE FUNCTION payments._check_ledger()
RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
LANGUAGE payments STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- Of retired postings their ids are not kept, but none was larger; the others were booked later.
	horizon timestamptz := payments._retired_to('posting');
	last_retired bigint := (
		SELECT max(last_id)
		FROM payments.partition_retired
		WHERE table_name = 'posting' AND to_time <= horizon AND rows > 0
	);
BEGIN
	-- STABLE: all queries see the snapshot of the statement that called.  Each
	-- reads its tables once, whatever their size.

	RETURN QUERY
	SELECT 'debits equal credits in every currency', count(*) = 0, count(*),
		min(format('%s: debits %s, credits %s', currency, debits, credits))
	FROM (
		SELECT l.currency, sum(l.debits) AS debits, sum(l.credits) AS credits
		FROM (
			SELECT currency, debits, credits
			FROM payments.account
			UNION ALL
			SELECT a.currency, d.debits, d.credits
			FROM payments._account_tail d
			JOIN payments.account a ON a.account_id = d.account_id
		) l
		GROUP BY l.currency
		HAVING sum(l.debits) <> sum(l.credits)
	) bad;

	RETURN QUERY
	SELECT 'sums of an account are those of its postings', count(*) = 0, count(*),
		min(format('account %s: debits %s but postings %s, credits %s but postings %s', account_id, debits,
			posted_debits, credits, posted_credits))
	FROM (
		SELECT l.account_id, sum(l.debits) AS debits, sum(l.credits) AS credits,
			sum(l.posted_debits) AS posted_debits, sum(l.posted_credits) AS posted_credits
		FROM (
			SELECT account_id, debits, credits, 0 AS posted_debits, 0 AS posted_credits
			FROM payments.account
			UNION ALL
			SELECT account_id, debits, credits, 0, 0
			FROM payments._account_tail
			UNION ALL
			SELECT account_id, 0, 0, debits, credits
			FROM payments.posting_retired
			UNION ALL
			SELECT s.account_id, 0, 0, s.posted_debits, s.posted_credits
			FROM payments.posting p
			CROSS JOIN LATERAL (
				VALUES (p.debit_account, p.amount, 0), (p.credit_account, 0, p.amount)
			) s(account_id, posted_debits, posted_credits)
		) l
		GROUP BY l.account_id
		HAVING sum(l.debits) <> sum(l.posted_debits) OR sum(l.credits) <> sum(l.posted_credits)
	) bad;

	RETURN QUERY
	SELECT 'what is posted to an account fits into its counters', count(*) = 0, count(*),
		min(format('account %s: debits %s, credits %s', account_id, debits, credits))
	FROM (
		SELECT a.account_id, a.debits + d.debits AS debits, a.credits + d.credits AS credits
		FROM payments.account a
		JOIN (
			SELECT t.account_id, sum(t.debits) AS debits, sum(t.credits) AS credits
			FROM payments._account_tail t
			GROUP BY t.account_id
		) d ON d.account_id = a.account_id
		WHERE greatest(a.debits + d.debits, a.credits + d.credits) > 9223372036854775807
	) bad;

	RETURN QUERY
	SELECT 'no account is beyond its limits', count(*) = 0, count(*),
		min(format(
			'account %s: balance %s, minimum %s, maximum %s', account_id, balance, min_balance, max_balance))
	FROM (
		SELECT a.account_id, a.min_balance, a.max_balance, s.balance, s.held_in, s.held_out
		FROM payments.account a
		CROSS JOIN LATERAL (
			SELECT a.debits::numeric - a.credits
				+ coalesce(
					(
						SELECT sum(p.debits::numeric - p.credits)
						FROM payments.account_part p
						WHERE p.account_id = a.account_id AND a.parts IS NOT NULL
					),
					0) AS net
		) t
		CROSS JOIN LATERAL (
			SELECT CASE WHEN a.type IN ('asset', 'expense') THEN t.net ELSE - t.net END AS balance,
				CASE
					WHEN a.type IN ('asset', 'expense') THEN a.held_debits
					ELSE a.held_credits
				END AS held_in,
				CASE
					WHEN a.type IN ('asset', 'expense') THEN a.held_credits
					ELSE a.held_debits
				END AS held_out
		) s
		WHERE s.balance - s.held_out < a.min_balance
		OR s.balance + s.held_in > a.max_balance
		OR (a.hot AND a.parts IS NULL AND (a.min_balance IS NOT NULL OR a.max_balance IS NOT NULL))
	) bad;

	RETURN QUERY
	SELECT 'parts share the balance and the limits of their account', count(*) = 0, count(*),
		min(format('account %s', account_id))
	FROM (
		SELECT coalesce(a.account_id, p.account_id) AS account_id
		FROM (
			SELECT account_id, parts, debits::numeric - credits AS net, min_balance, max_balance,
				type IN ('asset', 'expense') AS debit_normal, hot
			FROM payments.account
			WHERE parts IS NOT NULL
		) a
		FULL JOIN (
			SELECT account_id, count(*) AS n, max(part) AS last, sum(moved) AS moved,
				bool_and(debit_normal) AS debit_normal, bool_or(debit_normal) AS any_debit_normal,
				sum(min_balance) AS minimum, sum(max_balance) AS maximum,
				bool_and(
					share >= coalesce(min_balance, share) AND share <= coalesce(max_balance, share)
				) AS within
			FROM (
				SELECT x.*,
					CASE WHEN debit_normal THEN debits::numeric - credits ELSE credits::numeric - debits END
						+ moved AS share
				FROM payments.account_part x
			) s
			GROUP BY account_id
		) p ON p.account_id = a.account_id
		WHERE NOT coalesce(
			a.hot
			AND p.n = a.parts
			AND p.last = a.parts - 1
			AND p.within
			AND p.debit_normal = a.debit_normal
			AND p.any_debit_normal = a.debit_normal
			AND p.moved = CASE WHEN a.debit_normal THEN a.net ELSE - a.net END, false
		)
		OR (p.minimum, p.maximum) IS DISTINCT FROM (a.min_balance, a.max_balance)
	) bad;

	RETURN QUERY
	SELECT 'the history of an account is that of its postings', count(*) = 0, count(*),
		min(format('account %s, posting %s', account_id, posting_id))
	FROM (
		SELECT coalesce(p.account_id, h.account_id) AS account_id,
			coalesce(p.posting_id, h.posting_id) AS posting_id
		FROM (
			SELECT s.account_id, o.posting_id, o.booked_at,
				coalesce(r.debits, 0) + sum(s.debit) OVER w AS debits,
				coalesce(r.credits, 0) + sum(s.credit) OVER w AS credits,
				(coalesce(r.debits - r.credits, 0) + sum(s.debit - s.credit) OVER w)
					* CASE WHEN a.type IN ('asset', 'expense') THEN 1 ELSE -1 END AS balance
			FROM payments.posting o
			CROSS JOIN LATERAL (
				VALUES (o.debit_account, o.amount, 0), (o.credit_account, 0, o.amount)
			) s(account_id, debit, credit)
			JOIN payments.account a ON a.account_id = s.account_id AND a.history
			LEFT JOIN (
				SELECT t.account_id, sum(t.debits) AS debits, sum(t.credits) AS credits
				FROM payments.posting_retired t
				GROUP BY t.account_id
			) r ON r.account_id = s.account_id
			WINDOW w AS (PARTITION BY s.account_id ORDER BY o.posting_id)
		) p
		FULL JOIN payments.account_history h ON h.account_id = p.account_id AND h.posting_id = p.posting_id
		WHERE (p.booked_at, p.debits, p.credits, p.balance) IS DISTINCT FROM (h.booked_at, h.debits,
			h.credits, h.balance)
		AND NOT (p.posting_id IS NULL AND h.booked_at < coalesce(horizon, '-infinity'))
		UNION ALL
		SELECT account_id, NULL
		FROM payments.account
		WHERE hot AND history
		UNION ALL
		-- The history stays when its postings are retired, and so tells how many they were.
		SELECT coalesce(r.account_id, h.account_id), NULL
		FROM (
			SELECT t.account_id, sum(t.postings) AS postings
			FROM payments.posting_retired t
			JOIN payments.account a ON a.account_id = t.account_id AND a.history
			GROUP BY t.account_id
		) r
		FULL JOIN (
			SELECT x.account_id, count(*) AS postings
			FROM payments.account_history x
			WHERE x.booked_at < horizon
			AND NOT EXISTS (
				SELECT FROM payments.posting o
				WHERE o.posting_id = x.posting_id AND o.booked_at = x.booked_at
			)
			GROUP BY x.account_id
		) h ON h.account_id = r.account_id
		WHERE r.postings IS DISTINCT FROM h.postings
	) bad;

	-- Its index holds for one month, and the sequence may have been set back.
	RETURN QUERY
	SELECT 'every posting has an id of its own', count(*) = 0, count(*), min(format('posting %s', posting_id))
	FROM (
		SELECT p.posting_id
		FROM payments.posting p
		GROUP BY p.posting_id
		HAVING count(*) > 1
		UNION ALL
		SELECT f.posting_id
		FROM payments.posting_failure f
		JOIN payments.posting p ON p.posting_id = f.posting_id
	) bad;

	-- In place of foreign keys.
	RETURN QUERY
	SELECT 'every posting has its accounts', count(*) = 0, count(*),
		min(format('posting %s: account %s', posting_id, account_id))
	FROM (
		SELECT p.posting_id, s.account_id
		FROM payments.posting p
		CROSS JOIN LATERAL (VALUES (p.debit_account), (p.credit_account)) s(account_id)
		LEFT JOIN payments.account a ON a.account_id = s.account_id
		WHERE a.account_id IS NULL
		UNION ALL
		SELECT NULL, r.account_id
		FROM payments.posting_retired r
		LEFT JOIN payments.account a ON a.account_id = r.account_id
		WHERE a.account_id IS NULL
		UNION ALL
		SELECT NULL, d.account_id
		FROM payments.account_delta d
		LEFT JOIN payments.account a ON a.account_id = d.account_id
		WHERE a.account_id IS NULL
	) bad;

	-- An account that was hot may have some a little longer; one with limits
	-- never was, and what is posted past its row's lock could break them.
	RETURN QUERY
	SELECT 'only accounts without limits have deltas, and no hot one has holds', count(*) = 0, count(*),
		min(format('account %s', account_id))
	FROM (
		SELECT d.account_id
		FROM payments.account_delta d
		JOIN payments.account a ON a.account_id = d.account_id
		WHERE a.min_balance IS NOT NULL OR a.max_balance IS NOT NULL
		UNION
		SELECT a.account_id
		FROM payments.account a
		WHERE a.hot AND (a.held_debits <> 0 OR a.held_credits <> 0)
	) bad;

	RETURN QUERY
	SELECT 'an account is below an older one of its merchant, currency and type', count(*) = 0, count(*),
		min(format('account %s: parent %s', account_id, parent))
	FROM (
		SELECT a.account_id, a.parent
		FROM payments.account a
		LEFT JOIN payments.account p ON p.account_id = a.parent
		WHERE a.parent IS NOT NULL
		AND (
			(a.merchant, a.currency, a.type) IS DISTINCT FROM (p.merchant, p.currency, p.type)
			OR a.parent >= a.account_id
		)
	) bad;

	RETURN QUERY
	SELECT 'a posting is in the currency of its accounts', count(*) = 0, count(*),
		min(format(
			'posting %s in %s: accounts in %s and %s', posting_id, currency, debit_currency, credit_currency))
	FROM (
		SELECT p.posting_id, p.currency, d.currency AS debit_currency, c.currency AS credit_currency
		FROM payments.posting p
		JOIN payments.account d ON d.account_id = p.debit_account
		JOIN payments.account c ON c.account_id = p.credit_account
		WHERE p.currency <> d.currency OR p.currency <> c.currency
	) bad;

	RETURN QUERY
	SELECT 'what is held on an account is what is left of its holds', count(*) = 0, count(*),
		min(format('account %s: held debits %s but holds %s, held credits %s but holds %s', account_id,
			debits, left_debits, credits, left_credits))
	FROM (
		SELECT l.account_id, sum(l.debits) AS debits, sum(l.credits) AS credits,
			sum(l.left_debits) AS left_debits, sum(l.left_credits) AS left_credits
		FROM (
			SELECT account_id, held_debits AS debits, held_credits AS credits, 0 AS left_debits,
				0 AS left_credits
			FROM payments.account
			WHERE held_debits <> 0 OR held_credits <> 0
			UNION ALL
			SELECT s.account_id, 0, 0, s.debits, s.credits
			FROM payments.ledger_hold h
			CROSS JOIN LATERAL (
				VALUES (h.debit_account, h.amount, 0), (h.credit_account, 0, h.amount)
			) s(account_id, debits, credits)
			UNION ALL
			SELECT s.account_id, 0, 0, - s.debits, - s.credits
			FROM payments.ledger_hold_resolution r
			JOIN payments.ledger_hold h ON h.hold_id = r.hold_id
			CROSS JOIN LATERAL (
				VALUES (h.debit_account, r.posted::numeric + r.released, 0),
					(h.credit_account, 0, r.posted::numeric + r.released)
			) s(account_id, debits, credits)
		) l
		GROUP BY l.account_id
		HAVING sum(l.debits) <> sum(l.left_debits) OR sum(l.credits) <> sum(l.left_credits)
	) bad;

	RETURN QUERY
	SELECT 'each unit of a hold is resolved once, in time, by the posting it names', count(*) = 0, count(*),
		min(format('hold %s: %s', hold_id, why))
	FROM (
		SELECT r.hold_id,
			CASE
				WHEN h.hold_id IS NULL THEN 'resolution without a hold'
				WHEN r.seq <> r.n OR h.amount <> r.resolved + r.remaining
					THEN format('resolution %s does not follow', r.seq)
				WHEN (r.kind = 'expire') <> (h.expires_at IS NOT NULL AND r.resolved_at >= h.expires_at)
					THEN format('resolution %s: wrong time', r.seq)
				WHEN r.posting_id <= last_retired AND r.resolved_at < horizon AND p.posting_id IS NULL
					THEN NULL
				WHEN r.kind = 'post'
					AND (p.debit_account, p.credit_account, p.amount, p.currency) IS DISTINCT FROM (
						h.debit_account, h.credit_account, r.posted, h.currency)
					THEN format('resolution %s: wrong posting', r.seq)
			END AS why
		FROM (
			SELECT hold_id, seq, kind, posting_id, posted, remaining, resolved_at, row_number() OVER w AS n,
				sum(posted::numeric + released) OVER w AS resolved
			FROM payments.ledger_hold_resolution
			WINDOW w AS (PARTITION BY hold_id ORDER BY seq)
		) r
		LEFT JOIN payments.ledger_hold h ON h.hold_id = r.hold_id
		LEFT JOIN payments.posting p ON p.posting_id = r.posting_id
	) bad
	WHERE why IS NOT NULL;

	RETURN QUERY
	SELECT 'every open hold that can expire is due, and no other', count(*) = 0, count(*),
		min(format('hold %s', hold_id))
	FROM (
		SELECT coalesce(h.hold_id, d.hold_id) AS hold_id
		FROM (
			SELECT hold_id, expires_at
			FROM payments.ledger_hold
			WHERE expires_at IS NOT NULL
			AND hold_id NOT IN (SELECT r.hold_id FROM payments.ledger_hold_resolution r WHERE r.remaining = 0)
		) h
		FULL JOIN payments.ledger_hold_due d ON d.hold_id = h.hold_id
		WHERE d.expires_at IS DISTINCT FROM h.expires_at
	) bad;

	RETURN QUERY
	SELECT 'a reversal takes back one posting, whole', count(*) = 0, count(*),
		min(format('posting %s reverses %s', posting_id, reverses))
	FROM (
		SELECT v.posting_id, v.reverses
		FROM payments.posting v
		LEFT JOIN payments.posting o ON o.posting_id = v.reverses
		WHERE v.reverses IS NOT NULL
		AND NOT (o.posting_id IS NULL AND v.reverses <= coalesce(last_retired, -1))
		AND (
			(v.debit_account, v.credit_account, v.amount, v.currency) IS DISTINCT FROM (o.credit_account,
				o.debit_account, o.amount, o.currency)
			OR o.reverses IS NOT NULL
			OR o.payment_id IS NOT NULL
			OR v.payment_id IS NOT NULL
		)
		UNION ALL
		SELECT coalesce(v.posting_id, r.reversed_by), coalesce(v.reverses, r.posting_id)
		FROM (SELECT posting_id, reverses FROM payments.posting WHERE reverses IS NOT NULL) v
		FULL JOIN payments.posting_reversal r ON r.posting_id = v.reverses
		WHERE v.posting_id IS DISTINCT FROM r.reversed_by
		AND NOT (v.posting_id IS NULL AND r.booked_at < coalesce(horizon, '-infinity'))
	) bad;

	-- Whether a leg is missing shows in the sums of its accounts.
	RETURN QUERY
	SELECT 'postings of a transaction were made together', count(*) = 0, count(*),
		min(format('transaction %s', transaction_id))
	FROM (
		SELECT transaction_id
		FROM payments.posting
		WHERE transaction_id IS NOT NULL
		GROUP BY transaction_id
		HAVING count(*) = 1 OR min(posting_id) <> transaction_id OR min(booked_at) <> max(booked_at)
	) bad;

	RETURN QUERY
	SELECT 'a reference belongs to one posting, or to one that was refused', count(*) = 0, count(*),
		min(format('%s "%s": reference of %s, posting %s', merchant, reference, taken, posted))
	FROM (
		SELECT coalesce(r.merchant, p.merchant) AS merchant, coalesce(r.reference, p.reference) AS reference,
			r.posting_id AS taken, p.posting_id AS posted
		FROM payments.posting_reference r
		FULL JOIN (
			SELECT merchant, reference, posting_id, payment_id
			FROM payments.posting
			WHERE reference IS NOT NULL
			UNION ALL
			SELECT merchant, reference, posting_id, NULL
			FROM payments.posting_failure
		) p ON p.posting_id = r.posting_id AND p.reference = r.reference
		-- Of those without a merchant's name are all that payments post.
		WHERE (
			r.posting_id IS NULL
			OR p.posting_id IS NULL
			OR r.merchant <> '' AND (r.merchant <> p.merchant OR p.payment_id IS NOT NULL)
		)
		AND NOT (p.posting_id IS NULL AND r.booked_at < coalesce(horizon, '-infinity'))
	) bad;

	-- Every movement of money is posted once, as it is, and nothing else is
	-- posted in a payment's name; so the sums agree for each kind.  Some kinds
	-- move no money.  Of a retired posting its reference tells.
	RETURN QUERY
	SELECT 'every movement of money is posted once, and payments post nothing else', count(*) = 0, count(*),
		min(format('%s: movement of %s %s, posting of %s %s', reference, moved, moved_currency, posted,
			posted_currency))
	FROM (
		SELECT coalesce(m.reference, p.reference) AS reference, m.amount AS moved,
			m.currency AS moved_currency, p.amount AS posted, p.currency AS posted_currency
		FROM (
			SELECT psp || ':' || object_id || ':' || kind AS reference, kind, payment_id, amount, currency
			FROM payments.movement
			WHERE kind NOT IN (
				'authorize', 'void', 'expire', 'release', 'refund_undone', 'dispute_undone', 'payout_undone'
			)
		) m
		FULL JOIN (
			-- Of a payment that came to nothing by rules of their own.
			SELECT regexp_replace(reference, ':[0-9]+$', '') AS reference,
				CASE
					WHEN kind IN ('late_refund', 'late_refund_failed', 'late_dispute_lost')
						THEN substr(kind, 6)
					ELSE kind
				END AS kind,
				payment_id, amount, currency
			FROM payments.posting
			WHERE payment_id IS NOT NULL
			UNION ALL
			SELECT regexp_replace(t.reference, ':[0-9]+$', ''), NULL, NULL, NULL, NULL
			FROM payments.posting_reference t
			WHERE t.merchant = ''
			-- What files and decisions post is no movement.
			AND t.reference !~ '^(settlement:[0-9]+:settled_|bank:[0-9]+:|discrepancy:[0-9]+:[0-9]+$)'
			AND t.booked_at < horizon
			AND NOT EXISTS (
				SELECT FROM payments.posting o WHERE o.posting_id = t.posting_id AND o.booked_at = t.booked_at
			)
		) p ON p.reference = m.reference
		WHERE CASE
			WHEN p.reference IS NOT NULL AND p.amount IS NULL THEN m.reference IS NULL
			ELSE (m.kind, m.payment_id, m.amount, m.currency) IS DISTINCT FROM (p.kind, p.payment_id,
				p.amount, p.currency)
		END
	) bad;
END
$$;
COMMENT ON FUNCTION payments._check_ledger() IS
	'the ledger''s invariants, for payments.check(): name, whether it holds, how many violate it, one of them';
