-- The payments' part of payments.check().

CREATE FUNCTION payments._status_hash(
	previous bytea, payment_id uuid, seq int, status text, event text, operation_id uuid, source text,
	actor text, code text, recorded_at timestamptz
) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_status_hash_sql';
COMMENT ON FUNCTION payments._status_hash(bytea, uuid, int, text, text, uuid, text, text, text, timestamptz) IS
'Internal: hash of a status row over its content and the hash of the row before it.';

CREATE FUNCTION payments._check_payments()
	RETURNS TABLE (invariant text, ok boolean, violations bigint, sample text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n bigint;
	s text;
BEGIN
	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	LEFT JOIN (
		SELECT m.payment_id, sum(m.amount) FILTER (WHERE m.kind = 'capture') AS captured,
			greatest(max(m.amount) FILTER (WHERE m.kind = 'authorize'),
				sum(m.amount) FILTER (WHERE m.kind = 'capture')) AS authorized,
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund'), 0)
				- coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund_failed'), 0) AS refunded,
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute'), 0)
				- coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute_won'), 0) AS disputed
		FROM payments.movement m
		GROUP BY m.payment_id
	) m USING (payment_id)
	-- What is beyond the room is booked and an exception.
	WHERE (p.captured, p.authorized, p.refunded, p.disputed) IS DISTINCT FROM (coalesce(m.captured, 0),
		coalesce(m.authorized, 0),
		least(coalesce(m.refunded, 0), p.captured - p.refund_pending),
		least(coalesce(m.disputed, 0), p.captured - p.refund_pending - p.refunded));
	RETURN QUERY
	SELECT * FROM payments._violation('amounts of a payment are the sums of its movements', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	LEFT JOIN (
		-- A capture that was heard of may still wait to learn its fee.
		SELECT o.payment_id,
			sum(o.amount) FILTER (WHERE o.kind = 'capture' AND NOT EXISTS (
				SELECT FROM payments.movement m WHERE m.operation_id = o.operation_id AND m.kind = 'capture'
			)) AS capture_pending,
			sum(o.amount) FILTER (WHERE o.kind = 'refund') AS refund_pending
		FROM payments.operation o
		WHERE o.status NOT IN ('succeeded', 'failed', 'cancelled')
		GROUP BY o.payment_id
	) o USING (payment_id)
	WHERE (p.capture_pending, p.refund_pending) IS DISTINCT FROM (coalesce(o.capture_pending, 0),
		coalesce(o.refund_pending, 0));
	RETURN QUERY SELECT * FROM payments._violation('pending amounts are the sums of open operations', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	WHERE p.captured > p.authorized
	OR p.authorized > p.amount
	OR p.captured::numeric < p.refunded::numeric + p.disputed;
	RETURN QUERY SELECT * FROM payments._violation('refunded + disputed <= captured <= authorized', n, s);

	-- What was not captured is given up as a whole, and by somebody's word.
	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	WHERE p.released NOT IN (0, p.authorized - p.captured)
	OR p.released > 0
		AND NOT EXISTS (
			SELECT FROM payments.movement m
			WHERE m.payment_id = p.payment_id AND m.kind IN ('release', 'expire', 'void')
		)
	OR p.released = 0
		AND p.captured > 0
		AND p.capture_pending = 0
		AND p.authorized > p.captured
		AND EXISTS (
			SELECT FROM payments.movement m
			WHERE m.payment_id = p.payment_id AND m.kind IN ('release', 'expire')
		);
	RETURN QUERY
	SELECT * FROM payments._violation('what is authorized is captured, released, or can be captured', n, s);

	SELECT count(*), min(x.payment_id::text) INTO n, s
	FROM (
		SELECT m.payment_id
		FROM payments.movement m
		JOIN payments.operation o USING (operation_id)
		-- What a person has said may be the same charge under a wrong id.
		WHERE m.kind IN ('capture', 'late_capture')
		AND o.kind = 'charge'
		AND m.source <> 'person'
		-- A second one that somebody has dealt with is done with; its exception keeps who and how.
		AND NOT EXISTS (
			SELECT FROM payments.exception x
			WHERE x.psp = m.psp
			AND x.object_id = m.object_id
			AND m.kind = 'late_capture'
			AND x.kind IN ('duplicate', 'after_cancel')
			AND x.resolved_at IS NOT NULL
		)
		GROUP BY m.payment_id
		HAVING count(*) > 1
	) x;
	RETURN QUERY SELECT * FROM payments._violation('at most one charge of a payment succeeded', n, s);

	-- Of words that came after its end a person has been told.
	SELECT count(*), min(format('operation %s: %s', o.operation_id, o.status)) INTO n, s
	FROM payments.operation o
	LEFT JOIN payments.payment p ON p.payment_id = o.payment_id
	LEFT JOIN (
		SELECT m.payment_id, bool_or(m.kind IN ('capture', 'late_capture')) AS captured,
			bool_or(m.kind IN ('authorize', 'capture', 'late_capture')) AS authorized,
			bool_or(m.kind = 'void') AS voided,
			bool_or(m.kind = 'expire') AS expired,
			bool_or(m.kind IN ('payout', 'transfer')) AS paid_out
		FROM payments.movement m
		GROUP BY m.payment_id
	) a ON a.payment_id = o.payment_id
	LEFT JOIN (
		SELECT m.operation_id, m.kind, max(m.amount) AS amount, min(m.recorded_at) AS told_at
		FROM payments.movement m
		WHERE m.kind IN ('capture', 'refund')
		AND NOT EXISTS (
			SELECT FROM payments.movement u
			WHERE u.psp = m.psp
			AND u.object_id = m.object_id
			AND m.kind = 'refund'
			AND u.kind = 'refund_failed'
		)
		GROUP BY m.operation_id, m.kind
	) d ON d.operation_id = o.operation_id
		AND d.kind = CASE o.kind WHEN 'refund' THEN 'refund' ELSE 'capture' END
	LEFT JOIN payments.movement r
		ON o.kind = 'refund'
		AND r.psp = o.psp
		AND r.object_id = o.psp_object_id
		AND r.kind = 'refund'
		AND r.payment_id = o.payment_id
	LEFT JOIN payments.movement f ON f.psp = r.psp AND f.object_id = r.object_id AND f.kind = 'refund_failed'
	WHERE (o.completed_at IS NULL) <> (o.status NOT IN ('succeeded', 'failed', 'cancelled'))
	OR (o.completed_at IS NULL) <> (o.source IS NULL)
	OR CASE
		WHEN o.status = 'succeeded'
			THEN NOT coalesce(CASE
				WHEN o.kind IN ('charge', 'capture') THEN a.captured
				WHEN o.kind = 'authorize' THEN a.authorized
				WHEN o.kind = 'void'
					THEN a.voided OR p.released > 0 OR p.status IN ('cancelled', 'failed', 'expired')
				WHEN o.kind = 'refund' THEN r.object_id IS NOT NULL AND f.object_id IS NULL
				WHEN o.kind = 'expire' THEN a.expired
				WHEN o.kind = 'payout' THEN a.paid_out
				ELSE true
			END, false)
		WHEN o.status IN ('failed', 'cancelled')
			THEN o.kind IN ('charge', 'capture', 'refund')
				AND d.amount = o.amount
				AND d.told_at <= o.completed_at
				-- That others have captured it in another amount may have been told before.
				AND NOT (
					o.kind = 'capture'
					AND o.failure_code = 'captured_otherwise'
					AND EXISTS (
						SELECT FROM payments.exception e
						WHERE e.operation_id = o.operation_id AND e.kind = 'conflicted'
					)
				)
		ELSE false
	END;
	RETURN QUERY
	SELECT * FROM payments._violation('an operation has succeeded when its money has moved', n, s);

	SELECT count(*), min(o.operation_id::text) INTO n, s
	FROM payments.operation o
	LEFT JOIN (
		SELECT t.operation_id, count(*) AS attempts, max(t.generation) AS generation,
			max(t.claimed_at) AS claimed_at
		FROM payments.attempt t
		GROUP BY t.operation_id
	) a ON a.operation_id = o.operation_id
	LEFT JOIN (
		SELECT t.operation_id, t.generation, max(t.step) AS step
		FROM payments.attempt t
		GROUP BY t.operation_id, t.generation
	) b ON b.operation_id = o.operation_id AND b.generation = o.generation
	LEFT JOIN (
		SELECT r.operation_id, max(r.answered_at) AS answered_at
		FROM payments.attempt_answer r
		GROUP BY r.operation_id
	) r ON r.operation_id = o.operation_id
	LEFT JOIN (
		SELECT l.operation_id, max(l.decided_at) AS decided_at
		FROM payments.dead_letter l
		GROUP BY l.operation_id
	) l ON l.operation_id = o.operation_id
	LEFT JOIN (
		SELECT h.operation_id, count(*) AS declines
		FROM payments.payment_status h
		WHERE h.event = 'soft_decline'
		GROUP BY h.operation_id
	) h ON h.operation_id = o.operation_id
	LEFT JOIN (
		SELECT d.operation_id, count(*) AS moves
		FROM payments.route_decision d
		WHERE d.reason <> 'soft_decline'
		GROUP BY d.operation_id
	) d ON d.operation_id = o.operation_id
	WHERE o.attempts <> coalesce(a.attempts, 0)
	OR a.generation > o.generation
	-- A step is begun by an answer to the one before, and ended by its own.
	OR o.step NOT BETWEEN coalesce(b.step, 1) AND coalesce(b.step, 0) + 1
	OR (o.source = 'answer' AND o.step <> b.step)
	OR o.key_used_at > greatest(o.created_at, a.claimed_at, r.answered_at, l.decided_at)
	-- Each soft decline began a generation, and so did each way to another PSP.
	OR (
		o.generation <> 1 + coalesce(h.declines, 0) + coalesce(d.moves, 0)
		AND NOT EXISTS (SELECT FROM payments.payment_retired x WHERE x.payment_id = o.payment_id)
	);
	RETURN QUERY
	SELECT *
	FROM payments._violation(
		'attempts, generation, step and key of an operation are those of its attempts', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	LEFT JOIN (
		SELECT DISTINCT ON (e.payment_id) e.payment_id, e.psp
		FROM payments.route_decision e
		ORDER BY e.payment_id, e.generation DESC
	) d ON d.payment_id = p.payment_id
	-- A cancellation that the former PSP has refused stays its own.
	LEFT JOIN payments.operation o
		ON o.payment_id = p.payment_id
		AND o.psp <> p.psp
		AND (o.completed_at IS NULL OR o.kind IN ('charge', 'authorize'))
	LEFT JOIN payments.movement m
		ON m.payment_id = p.payment_id AND m.kind = 'capture' AND m.psp <> p.psp
	WHERE p.psp <> coalesce(d.psp, p.route ->> 'psp', p.psp)
	OR o.operation_id IS NOT NULL
	OR m.payment_id IS NOT NULL;
	RETURN QUERY
	SELECT *
	FROM payments._violation('a payment and its operations are at the PSP of its last decision', n, s);

	SELECT count(*), min(x.payment_id::text) INTO n, s
	FROM (
		SELECT b.payment_id
		FROM payments.posting b
		JOIN payments.payment p ON p.payment_id = b.payment_id
		WHERE b.kind IN ('refund', 'refund_failed', 'refund_to_suspense', 'dispute_lost',
			'dispute_lost_to_suspense')
		AND p.captured = 0
		AND p.status IN ('failed', 'cancelled', 'expired')
		GROUP BY b.payment_id
		-- A rule may have more legs than one.
		HAVING count(DISTINCT regexp_replace(b.reference, ':[0-9]+$', ''))
				FILTER (WHERE b.kind IN ('refund', 'dispute_lost'))
			> count(DISTINCT regexp_replace(b.reference, ':[0-9]+$', ''))
				FILTER (WHERE b.kind NOT IN ('refund', 'dispute_lost'))
	) x;
	RETURN QUERY
	SELECT *
	FROM payments._violation('what is given back of a payment without money is taken from suspense', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	LEFT JOIN LATERAL (
		SELECT coalesce(sum(m.amount) FILTER (WHERE m.kind = 'payout_reserved'), 0) AS reserved,
			coalesce(sum(m.amount) FILTER (WHERE m.kind IN ('payout', 'transfer')), 0) AS paid,
			coalesce(sum(m.amount) FILTER (
				WHERE m.kind IN ('payout_failed', 'payout_released')
			), 0) AS released,
			coalesce(sum(m.amount) FILTER (
				WHERE m.kind IN ('payout_returned', 'transfer_returned')
			), 0) AS back
		FROM payments.movement m
		WHERE m.payment_id = p.payment_id
	) m ON true
	WHERE p.kind IN ('withdrawal', 'transfer')
	AND (m.reserved, m.paid, m.released, m.back) IS DISTINCT FROM (
		p.amount::numeric,
		CASE WHEN m.paid > 0 AND m.released = 0 THEN p.amount ELSE 0 END::numeric,
		CASE WHEN p.status IN ('failed', 'cancelled') AND m.paid = 0 THEN p.amount ELSE 0 END::numeric,
		CASE WHEN p.status = 'failed' AND m.paid > 0 THEN p.amount ELSE 0 END::numeric
	)
	OR p.kind IN ('withdrawal', 'transfer') AND (p.status = 'succeeded') <> (m.paid > m.back);
	RETURN QUERY
	SELECT * FROM payments._violation('a payout is reserved, and goes out or back once', n, s);

	-- What was told of its end before its beginning waits for that.
	SELECT count(*), min(x.object_id) INTO n, s
	FROM (
		SELECT m.object_id
		FROM payments.movement m
		LEFT JOIN payments.dispute_stage d
			ON d.psp = m.psp AND d.object_id = m.object_id AND d.payment_id = m.payment_id
		WHERE m.kind = 'dispute' AND d.object_id IS NULL
		UNION ALL
		SELECT d.object_id
		FROM payments.dispute_stage d
		WHERE d.stage IN ('open', 'won', 'lost')
		AND NOT EXISTS (
			SELECT FROM payments.movement m
			WHERE m.psp = d.psp
			AND m.object_id = d.object_id
			AND m.payment_id = d.payment_id
			AND CASE d.stage
				WHEN 'open' THEN m.kind IN ('dispute', 'dispute_undone')
				WHEN 'won' THEN m.kind IN ('dispute_won', 'dispute_undone')
				ELSE m.kind = 'dispute_lost'
			END
		)
	) x;
	RETURN QUERY SELECT * FROM payments._violation('a dispute has moved what its stages say', n, s);

	SELECT count(*), min(h.payment_id::text) INTO n, s
	FROM (
		SELECT t.*, coalesce(lag(t.seq) OVER w, 0) + 1 AS n, coalesce(lag(t.status) OVER w, '') AS previous,
			lag(t.hash) OVER w AS previous_hash
		FROM (
			SELECT s.payment_id, s.seq, s.status, s.event, s.operation_id, s.source, s.actor, s.code,
				s.recorded_at, s.hash, false AS retired
			FROM payments.payment_status s
			UNION ALL
			SELECT r.payment_id, r.seq, r.status, NULL, NULL, NULL, NULL, NULL, NULL, r.hash, true
			FROM payments.payment_retired r
		) t
		WINDOW w AS (PARTITION BY t.payment_id ORDER BY t.seq)
	) h
	WHERE NOT h.retired
	AND (
		h.seq <> h.n
		OR NOT EXISTS (
			SELECT FROM payments._transitions() t
			WHERE t.from_status = h.previous AND t.event = h.event AND t.to_status = h.status
		)
		OR h.hash <> payments._status_hash(h.previous_hash, h.payment_id, h.seq, h.status, h.event,
			h.operation_id, h.source, h.actor, h.code, h.recorded_at)
	);
	RETURN QUERY
	SELECT *
	FROM payments._violation('histories have no gap, only legal edges and an unbroken hash chain', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	LEFT JOIN (
		SELECT DISTINCT ON (t.payment_id) t.*
		FROM (
			SELECT s.payment_id, s.seq, s.status, s.hash
			FROM payments.payment_status s
			UNION ALL
			SELECT r.payment_id, r.seq, r.status, r.hash
			FROM payments.payment_retired r
		) t
		ORDER BY t.payment_id, t.seq DESC
	) h USING (payment_id)
	WHERE (h.seq, h.status, h.hash) IS DISTINCT FROM (p.seq, p.status, p.status_hash);
	RETURN QUERY SELECT * FROM payments._violation('status of a payment is the last of its history', n, s);

	SELECT count(*), min(o.operation_id::text) INTO n, s
	FROM payments.operation o
	WHERE (SELECT count(*) FROM payments.queue q WHERE q.operation_id = o.operation_id)
		+ (
			SELECT count(*)
			FROM payments.dead_letter d
			WHERE d.operation_id = o.operation_id AND d.decision IS NULL
		) <> (o.status NOT IN ('succeeded', 'failed', 'cancelled'))::int;
	RETURN QUERY
	SELECT *
	FROM payments._violation('an open operation is queued or a dead letter, a finished one is neither', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	LEFT JOIN payments.payment_status h ON h.payment_id = p.payment_id AND h.seq = p.seq
	WHERE CASE
		WHEN p.captured > 0 THEN coalesce(p.failure_code, p.failure_message) IS NOT NULL
		WHEN h.event = 'decline' THEN p.failure_code IS DISTINCT FROM h.code
	END;
	RETURN QUERY
	SELECT *
	FROM payments._violation('why a payment failed is what its history says, and none did both', n, s);

	-- No schedule and no PSP puts anything off for longer.
	SELECT count(*), min(format('operation %s: due %s', q.operation_id, q.due_at)) INTO n, s
	FROM payments.queue q
	WHERE q.due_at > now() + interval '1 day' + greatest(
		interval '25 days',
		(SELECT max(r.delay) FROM payments.retry_schedule r));
	RETURN QUERY SELECT * FROM payments._violation('nothing in the queue is put off for good', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	WHERE p.status IN ('initiated', 'processing', 'awaiting_retry', 'in_doubt', 'requires_action')
	AND NOT EXISTS (
		SELECT FROM payments.operation o
		WHERE o.payment_id = p.payment_id AND o.status NOT IN ('succeeded', 'failed', 'cancelled')
	);
	RETURN QUERY SELECT * FROM payments._violation('no accepted payment is forgotten', n, s);

	SELECT count(*), min(x.id::text) INTO n, s
	FROM (
		SELECT o.payment_id AS id
		FROM payments.operation o
		WHERE NOT EXISTS (SELECT FROM payments.payment p WHERE p.payment_id = o.payment_id)
		UNION ALL
		SELECT t.payment_id
		FROM payments.payment_status t
		WHERE NOT EXISTS (SELECT FROM payments.payment p WHERE p.payment_id = t.payment_id)
		UNION ALL
		SELECT m.payment_id
		FROM payments.movement m
		WHERE NOT EXISTS (SELECT FROM payments.payment p WHERE p.payment_id = m.payment_id)
		UNION ALL
		SELECT q.operation_id
		FROM payments.queue q
		WHERE NOT EXISTS (
			SELECT FROM payments.operation o
			WHERE o.operation_id = q.operation_id AND o.payment_id = q.payment_id
		)
		UNION ALL
		SELECT d.dead_letter_id
		FROM payments.dead_letter d
		WHERE NOT EXISTS (
			SELECT FROM payments.operation o
			WHERE o.operation_id = d.operation_id AND o.payment_id = d.payment_id
		)
	) x;
	RETURN QUERY SELECT * FROM payments._violation('every row belongs to a payment', n, s);

	SELECT count(*), min(x.operation_id) INTO n, s
	FROM (
		SELECT min(o.operation_id::text) AS operation_id
		FROM payments.operation o
		WHERE o.kind = 'refund' AND o.status = 'succeeded'
		GROUP BY o.psp, o.psp_object_id
		HAVING count(*) > 1
		-- One was a person's mistake, which the PSP's word has shown.
		AND NOT EXISTS (
			SELECT FROM payments.exception x
			WHERE x.psp = o.psp AND x.object_id = o.psp_object_id AND x.kind = 'conflicted'
		)
	) x;
	RETURN QUERY SELECT * FROM payments._violation('two refunds are two objects of the PSP''s', n, s);

	SELECT count(*), min(x.operation_id::text) INTO n, s
	FROM (
		SELECT a.operation_id
		FROM payments.attempt a
		WHERE NOT EXISTS (SELECT FROM payments.operation o WHERE o.operation_id = a.operation_id)
		UNION ALL
		SELECT r.operation_id
		FROM payments.attempt_answer r
		WHERE NOT EXISTS (
			SELECT FROM payments.attempt a WHERE a.operation_id = r.operation_id AND a.attempt = r.attempt
		)
	) x;
	RETURN QUERY
	SELECT * FROM payments._violation('every attempt has its operation, every answer its attempt', n, s);

	SELECT count(*), min(x.name) INTO n, s
	FROM (
		SELECT f.psp || '.' || f.feed AS name
		FROM payments.psp_feed f
		WHERE NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = f.psp)
		UNION ALL
		SELECT concat_ws('.', e.psp, e.feed, e.entry_id)
		FROM payments.feed_entry e
		WHERE NOT EXISTS (SELECT FROM payments.psp_feed f WHERE f.psp = e.psp AND f.feed = e.feed)
	) x;
	RETURN QUERY SELECT * FROM payments._violation('every feed has its PSP, every entry its feed', n, s);

	SELECT count(*), min(x.psp_key) INTO n, s
	FROM (
		SELECT a.psp_key
		FROM payments.attempt a
		WHERE a.action = 'send' AND a.psp_key IS NOT NULL
		GROUP BY a.psp_key
		HAVING count(DISTINCT (a.method, a.path, a.body)) > 1
	) x;
	RETURN QUERY SELECT * FROM payments._violation('a PSP key was only ever sent with the same bytes', n, s);

	-- Every reference that a PSP knows begins with what derives from the salt.
	SELECT count(*), min(x.what) INTO n, s
	FROM (
		SELECT 'it is gone' AS what
		WHERE NOT EXISTS (SELECT FROM payments.installation_salt)
		UNION ALL
		SELECT 'operation ' || o.operation_id
		FROM payments.operation o
		WHERE CASE
			WHEN EXISTS (SELECT FROM payments.installation_salt) THEN payments._is_foreign(o.psp_ref)
		END
	) x;
	RETURN QUERY
	SELECT *
	FROM payments._violation('the salt of the installation is that which its operations derive from', n, s);

	SELECT count(*), min(p.payment_id::text) INTO n, s
	FROM payments.payment p
	WHERE NOT EXISTS (
		SELECT FROM payments.idempotency_key k
		WHERE k.payment_id = p.payment_id AND k.merchant = p.merchant AND starts_with(k.verb, 'create_')
	);
	RETURN QUERY
	SELECT * FROM payments._violation('every payment was created under an idempotency key', n, s);

	SELECT count(*), min(coalesce(h.id, e.id)) INTO n, s
	FROM (SELECT t.payment_id::text AS id, t.seq, t.recorded_at FROM payments.payment_status t) h
	FULL JOIN (
		SELECT v.aggregateid AS id, (v.payload ->> 'seq')::int AS seq, count(*) AS rows
		FROM payments.event v
		WHERE v.aggregatetype = 'payment' AND starts_with(v.type, 'payment.')
		GROUP BY 1, 2
	) e ON e.id = h.id AND e.seq = h.seq
	LEFT JOIN payments.payment_retired r ON h.id IS NULL AND r.payment_id::text = e.id AND r.seq >= e.seq
	WHERE e.rows > 1
	OR (h.id IS NULL AND r.seq IS NULL)
	OR (
		e.rows IS NULL
		AND h.recorded_at >= coalesce(payments._retired_to('event'), '-infinity')
	);
	RETURN QUERY SELECT * FROM payments._violation('every status row has one event', n, s);

	SELECT count(*), min(coalesce(b.batch_id, l.batch_id)::text) INTO n, s
	FROM payments.settlement_batch b
	FULL JOIN (
		SELECT a.batch_id, count(*) AS lines
		FROM (
			SELECT r.batch_id
			FROM payments.settlement_line r
			UNION ALL
			SELECT e.batch_id
			FROM payments.bank_entry e
		) a
		GROUP BY a.batch_id
	) l USING (batch_id)
	LEFT JOIN LATERAL payments._settlement_totals(b.batch_id, b.source) t ON true
	WHERE b.batch_id IS NULL OR b.lines <> coalesce(l.lines, 0) OR b.totals <> t.totals;
	RETURN QUERY SELECT * FROM payments._violation('a settlement batch is the sum of its lines', n, s);

	SELECT count(*), min(x.name) INTO n, s
	FROM (
		SELECT g.tbl || '.' || g.guard AS name
		FROM payments._guards_off() g
		UNION ALL
		SELECT c.relname || ' is not logged'
		FROM pg_class c
		WHERE c.relnamespace = 'payments'::regnamespace
		AND c.relkind IN ('r', 'p')
		AND c.relpersistence <> 'p'
		AND c.relname <> 'settlement_staging'
		UNION ALL
		-- It may swallow rows, or write others.
		SELECT c.relname || '.' || t.tgname || ' is another''s and comes before'
		FROM payments._tables() d
		CROSS JOIN LATERAL (SELECT to_regclass('payments.' || d.name)::oid) r (root)
		CROSS JOIN LATERAL (
			SELECT r.root AS oid
			UNION ALL
			SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = r.root
		) m
		JOIN pg_class c ON c.oid = m.oid
		JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 2 <> 0
		WHERE d.guards <> '{}' AND t.tgname <> ALL (d.guards)
		UNION ALL
		SELECT c.relname || ' has a rule'
		FROM pg_class c
		JOIN pg_rewrite r ON r.ev_class = c.oid
		WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p')
	) x;
	RETURN QUERY SELECT * FROM payments._violation('the guards are armed', n, s);
END
$$;
COMMENT ON FUNCTION payments._check_payments() IS 'Internal: the invariants of payments, for check().';
