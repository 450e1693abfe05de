-- Holds and reversals.

CREATE FUNCTION payments.hold(
	debit bigint,
	credit bigint,
	amount bigint,
	reference text DEFAULT NULL,
	expires_at timestamptz DEFAULT NULL,
	description text DEFAULT NULL,
	balancing boolean DEFAULT false
) RETURNS TABLE (hold_id bigint, amount bigint)
LANGUAGE c SET search_path = pg_catalog, pg_temp ROWS 1
AS 'MODULE_PATHNAME', 'pay_hold';
COMMENT ON FUNCTION payments.hold(bigint, bigint, bigint, text, timestamptz, text, boolean) IS
	'reserves an amount (minor units) to be posted later from the credited to the debited account; the limits of both are checked now, and posting it never breaks them.  balancing => true: as much as the limits allow, up to amount; returns how much.  expires_at: from then on it cannot be posted.  reference: your own id for exactly-once, unique per merchant among holds; the same call again returns the first hold.  Errors: 22023 (also: a hot account), PY009, PY201, PY202, PY203, PY204, PY205, PY206';

CREATE FUNCTION payments.post_hold(
	hold_id bigint, amount bigint DEFAULT NULL, final boolean DEFAULT true, reference text DEFAULT NULL
) RETURNS bigint
	LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'pay_post_hold';
COMMENT ON FUNCTION payments.post_hold(bigint, bigint, boolean, text) IS
	'posts what is held, or an amount of it, and returns the posting''s id.  final: the rest is released; final => false: the rest stays held.  reference: as for payments.post(); the same call again returns the first posting''s id.  Errors: 22023, PY009, PY206, PY208 (no such hold), PY209 (nothing is left of it), PY210 (expired), PY214 (more than is left)';

CREATE FUNCTION payments.void_hold(hold_id bigint, reason text DEFAULT NULL) RETURNS bigint
LANGUAGE c SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pay_void_hold';
COMMENT ON FUNCTION payments.void_hold(bigint, text) IS
	'releases what is left of a hold and returns how much that was.  Errors: 22023, PY009, PY208 (no such hold), PY209 (nothing is left of it), PY210 (expired)';

CREATE FUNCTION payments._release_holds(_expired bigint[], _moment timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	locked bigint[];
	released bigint;
BEGIN
	-- Accounts that somebody else has locked are left for the next time:
	-- releasing neither waits nor deadlocks.
	SELECT array_agg(l.account_id) INTO locked
	FROM (
		SELECT a.account_id
		FROM payments.account a
		WHERE a.account_id IN (
			SELECT s.account_id
			FROM payments.ledger_hold h
			CROSS JOIN LATERAL (VALUES (h.debit_account), (h.credit_account)) s(account_id)
			WHERE h.hold_id = ANY (_expired)
		)
		ORDER BY a.account_id FOR NO KEY UPDATE SKIP LOCKED
	) l;
	-- A statement of its own, so that it sees what was resolved before the
	-- accounts were locked: such holds are no longer due, or have less left.
	WITH gone AS (
		DELETE FROM payments.ledger_hold_due d
		USING payments.ledger_hold h
		WHERE d.hold_id = ANY (_expired)
		AND h.hold_id = d.hold_id
		AND h.debit_account = ANY (locked)
		AND h.credit_account = ANY (locked)
		RETURNING h.hold_id, h.debit_account, h.credit_account, h.amount
	), ended AS (
		SELECT g.hold_id, g.debit_account, g.credit_account, coalesce(r.seq, 0) + 1 AS seq,
			coalesce(r.remaining, g.amount) AS remaining
		FROM gone g
		LEFT JOIN LATERAL (
			SELECT x.seq, x.remaining
			FROM payments.ledger_hold_resolution x
			WHERE x.hold_id = g.hold_id
			ORDER BY x.seq DESC LIMIT 1
		) r ON true
	), noted AS (
		INSERT INTO payments.ledger_hold_resolution (hold_id, seq, kind, final, posted, released, remaining,
			resolved_at)
		SELECT e.hold_id, e.seq, 'expire', true, 0, e.remaining, 0, _moment
		FROM ended e
		ORDER BY e.hold_id
		RETURNING 1
	), total AS (
		SELECT s.account_id, sum(s.debits)::bigint AS debits, sum(s.credits)::bigint AS credits
		FROM ended e
		CROSS JOIN LATERAL (
			VALUES (e.debit_account, e.remaining, 0), (e.credit_account, 0, e.remaining)
		) s(account_id, debits, credits)
		GROUP BY s.account_id
	), freed AS (
		UPDATE payments.account a
		SET held_debits = a.held_debits - t.debits, held_credits = a.held_credits - t.credits
		FROM total t
		WHERE a.account_id = t.account_id
	)
	SELECT count(*) INTO released FROM noted;
	RETURN released;
END
$$;
COMMENT ON FUNCTION payments._release_holds(bigint[], timestamptz) IS
	'Internal: releases those of these holds whose accounts nobody has locked, and returns how many.';

CREATE FUNCTION payments.release_expired_holds(max int DEFAULT 1000) RETURNS bigint
LANGUAGE payments SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment timestamptz := clock_timestamp();
	before timestamptz := '-infinity';
	before_id bigint := 0;
	asked int;
	expired bigint[];
	released bigint := 0;
BEGIN
	IF release_expired_holds.max IS NULL OR release_expired_holds.max < 1 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'max must be above zero',
			HINT = 'Leave it out for 1000.';
	END IF;
	-- However many are locked, those behind them have their turn.
	LOOP
		asked := release_expired_holds.max - released;
		SELECT array_agg(d.hold_id), max(d.expires_at),
			(array_agg(d.hold_id ORDER BY d.expires_at DESC, d.hold_id DESC))[1]
		INTO expired, before, before_id
		FROM (
			SELECT x.hold_id, x.expires_at
			FROM payments.ledger_hold_due x
			WHERE x.expires_at <= moment AND (x.expires_at, x.hold_id) > (before, before_id)
			ORDER BY x.expires_at, x.hold_id LIMIT asked
		) d;
		EXIT WHEN expired IS NULL;
		released := released + payments._release_holds(expired, moment);
		EXIT WHEN cardinality(expired) < asked OR released * 2 >= release_expired_holds.max;
	END LOOP;
	RETURN released;
END
$$;
COMMENT ON FUNCTION payments.release_expired_holds(int) IS
	'gives back what is left of holds whose time is over, of at most max of them, oldest first, and returns how many; the worker calls it.  Holds on accounts that somebody is changing just then are left for the next call.  Errors: 22023';

CREATE FUNCTION payments.reverse_posting(posting_id bigint, reason text, reference text DEFAULT NULL)
	RETURNS bigint
	LANGUAGE c SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'pay_reverse_posting';
COMMENT ON FUNCTION payments.reverse_posting(bigint, text, text) IS
	'takes a posting back by one of the same amount the other way round, which names it in posting.reverses, and returns its id.  Limits and closed accounts are checked as for any posting.  reference: as for payments.post().  Errors: those of payments.post(), PY211 (reversed already), PY212 (a reversal, a posting of a payment: refund that, or one of a file of a PSP or bank or of a decision about it), PY213 (no such posting)';

CREATE FUNCTION payments._reverse_own(posting_id bigint, reason text, reference text DEFAULT NULL)
	RETURNS bigint
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_reverse_own';
COMMENT ON FUNCTION payments._reverse_own(bigint, text, text) IS
	'internal, granted to nobody: payments.reverse_posting() of what the system has posted itself';
