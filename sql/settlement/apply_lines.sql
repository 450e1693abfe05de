-- What settlement lines tell us that we did not know: payments that the PSP's
-- word settles, fees, and what was posted by nobody yet (payouts, reserves,
-- adjustments, exchange).  In steps, each a transaction of the job; a step that
-- is repeated finds its work done.

CREATE FUNCTION payments._is_no_fault(_state text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT left(_state, 2) IN ('40', '53', '57') OR _state = '55P03'
$$;
COMMENT ON FUNCTION payments._is_no_fault(text) IS
'Internal: is this error that of the server, or of who runs beside us, and not of what was to be done?  All is tried again then.';

CREATE FUNCTION payments._settlement_apply(
	psp text, batch_ids bigint[], line_nos int[], payment_ids uuid[], object_ids text[], amounts bigint[],
	with_fee boolean[], wait boolean
) RETURNS TABLE (place int, outcome text, status text)
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_apply';
COMMENT ON FUNCTION payments._settlement_apply(text, bigint[], int[], uuid[], text[], bigint[], boolean[], boolean) IS
'Internal: apply_psp_result() for settlement lines. amounts: what moved, where other lines take back a part; null: what the line says. outcome: applied, no_effect, or locked: somebody holds the payment, and wait is false.';

-- One payment that cannot be booked must not hold up the others: its line stays
-- open, as a discrepancy.
CREATE FUNCTION payments._settlement_apply_each(
	_psp text, _batch_ids bigint[], _line_nos int[], _payment_ids uuid[], _object_ids text[],
	_amounts bigint[], _with_fee boolean[]
) RETURNS TABLE (place int, outcome text, status text)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	BEGIN
		RETURN QUERY
		SELECT a.place, a.outcome, a.status
		FROM payments._settlement_apply(_psp, _batch_ids, _line_nos, _payment_ids, _object_ids, _amounts,
			_with_fee, true) a;
		RETURN;
	EXCEPTION WHEN others THEN
		IF payments._is_no_fault(sqlstate) THEN
			RAISE;
		END IF;
	END;
	FOR i IN 1 .. cardinality(_line_nos) LOOP
		BEGIN
			RETURN QUERY
			SELECT i, a.outcome, a.status
			FROM payments._settlement_apply(_psp, _batch_ids[i:i], _line_nos[i:i], _payment_ids[i:i],
				_object_ids[i:i], _amounts[i:i], _with_fee[i:i], true) a;
		EXCEPTION WHEN others THEN
			IF payments._is_no_fault(sqlstate) THEN
				RAISE;
			END IF;
			RAISE WARNING 'line %:% of payment % cannot be booked: %', _batch_ids[i], _line_nos[i],
				_payment_ids[i], sqlerrm
				USING ERRCODE = sqlstate, HINT = 'It stays an open discrepancy; see payments.discrepancy.';
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION payments._settlement_apply_each(text, bigint[], int[], uuid[], text[], bigint[], boolean[]) IS
'Internal: _settlement_apply() for all at once, or if one cannot be booked, for each by itself.';

-- Lines that bring news of a payment that we know.  A second charge of a payment
-- is none: a person decides about it.
--
-- A PSP may tell a capture of 80 of 100 as a charge of 100 and a line that takes
-- back 20 (Stripe does).  The news is then the charge, less what is taken back;
-- the other line moves nothing.  As long as it is missing, and our own capture of
-- less is open, the charge waits for it.  A report that calls that line a refund, as
-- the Dashboard's does, must not make it one: while lines charge more than is
-- captured, no refund is taken from them.
CREATE FUNCTION payments._settlement_news(_psp text, _batch_ids bigint[], _line_nos int[])
	RETURNS TABLE (
		batch_id bigint, line_no int, payment_id uuid, object_id text, amount bigint, with_fee boolean,
		moves boolean
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH l AS MATERIALIZED (
		SELECT x.*
		FROM payments._lines_meant(_psp, _batch_ids, _line_nos) x
		WHERE x.payment_id IS NOT NULL AND x.object_id IS NOT NULL
	), b AS MATERIALIZED (
		SELECT m.payment_id, coalesce(sum(m.amount) FILTER (WHERE m.kind = 'fee'), 0) AS fees,
			coalesce(sum(m.amount) FILTER (WHERE m.kind IN ('capture', 'late_capture')), 0) AS capture,
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund'), 0) AS refund,
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund_failed'), 0) AS refund_failed,
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute'), 0) AS dispute,
			coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute_won'), 0) AS dispute_won
		FROM payments.movement m
		WHERE m.psp = _psp AND m.payment_id IN (SELECT x.payment_id FROM l x)
		GROUP BY m.payment_id
	), t AS MATERIALIZED (
		SELECT w.kind, s.payment_id, sum(s.theirs) AS theirs, sum(s.fee) AS fees,
			coalesce(sum(s.theirs) FILTER (WHERE s.theirs < 0), 0)::bigint AS taken_back,
			count(*) FILTER (WHERE s.theirs > 0) AS lines
		FROM (
			SELECT x.kind, x.movement_kind, array_agg(DISTINCT x.payment_id) AS payment_ids
			FROM l x
			WHERE x.moved IS NULL OR x.fee > 0 AND x.kind = 'charge'
			GROUP BY x.kind, x.movement_kind
		) w
		CROSS JOIN LATERAL payments._payment_lines(_psp, w.payment_ids, w.kind, w.movement_kind) s
		GROUP BY w.kind, s.payment_id
	), c AS MATERIALIZED (
		SELECT s.payment_id, sum(s.theirs) AS theirs
		FROM payments._payment_lines(
			_psp, ARRAY(SELECT x.payment_id FROM l x WHERE x.moved IS NULL AND x.kind = 'refund'), 'charge',
			'capture') s
		GROUP BY s.payment_id
	), n AS (
		-- Files may put several of ours into one line, under another id, and fees have ids of their own:
		-- what is booked and this line may together not exceed what all lines say.
		SELECT l.*, coalesce(b.capture, 0) AS captured, l.theirs + coalesce(t.taken_back, 0) AS amount,
			l.moved IS NULL
				AND l.theirs + t.taken_back > 0
				AND (t.taken_back = 0 OR t.lines = 1 AND l.theirs > 0)
				AND NOT EXISTS (
					SELECT FROM payments.operation o
					WHERE o.payment_id = l.payment_id
					AND o.kind = 'capture'
					AND o.completed_at IS NULL
					AND (l.kind = 'charge' AND o.amount < l.theirs + t.taken_back OR l.kind = 'refund')
				)
				AND (l.kind <> 'refund' OR coalesce(c.theirs <= nullif(b.capture, 0), true))
				AND l.theirs + t.taken_back
					+ CASE l.movement_kind
						WHEN 'capture' THEN coalesce(b.capture, 0)
						WHEN 'refund' THEN coalesce(b.refund, 0)
						WHEN 'refund_failed' THEN coalesce(b.refund_failed, 0)
						WHEN 'dispute' THEN coalesce(b.dispute, 0)
						ELSE coalesce(b.dispute_won, 0)
					END <= t.theirs AS moves,
			coalesce(
				l.kind = 'charge'
					AND l.fee > 0
					AND l.theirs > 0
					AND l.currency = l.their_currency
					AND coalesce(b.fees, 0) + l.fee <= t.fees
					-- Of a line that may be another's, or is more than we captured, a person decides.
					AND NOT (l.further AND t.theirs > nullif(b.capture, 0))
					AND NOT EXISTS (
						SELECT FROM payments.settlement_line d
						WHERE d.batch_id = l.batch_id AND d.line_no = l.line_no AND d.doubtful
					),
				false) AS with_fee
		FROM l
		LEFT JOIN b ON b.payment_id = l.payment_id
		LEFT JOIN t ON t.payment_id = l.payment_id AND t.kind = l.kind
		LEFT JOIN c ON c.payment_id = l.payment_id
	)
	SELECT n.batch_id, n.line_no, n.payment_id, n.object_id, n.amount, n.with_fee, n.moves
	FROM n
	WHERE n.moves AND (n.kind <> 'charge' OR n.captured = 0)
	OR n.moved IS NOT NULL AND n.with_fee
$$;
COMMENT ON FUNCTION payments._settlement_news(text, bigint[], int[]) IS
'Internal: which of these lines tell of a movement or fee of a payment that is not booked; moves: it is the movement.';

-- Whoever keeps a payment locked keeps its lines waiting, and no others.
CREATE FUNCTION payments._settlement_lock(_payments uuid[], _wait boolean) RETURNS uuid[]
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
	IF _wait THEN
		BEGIN
			PERFORM
			FROM payments.payment p
			WHERE p.payment_id = ANY (_payments)
			ORDER BY p.payment_id FOR NO KEY UPDATE;
			RETURN _payments;
		EXCEPTION WHEN lock_not_available THEN
			RAISE WARNING 'payments are locked by other sessions for long'
				USING DETAIL = 'Their lines are left to the next reconciliation.',
					HINT = 'pg_locks and pg_stat_activity show who holds them.';
		END;
	END IF;
	RETURN (
		SELECT array_agg(p.payment_id)
		FROM (
			SELECT x.payment_id
			FROM payments.payment x
			WHERE x.payment_id = ANY (_payments)
			ORDER BY x.payment_id FOR NO KEY UPDATE SKIP LOCKED
		) p
	);
END
$$;
COMMENT ON FUNCTION payments._settlement_lock(uuid[], boolean) IS 'Internal: locks these payments, and returns those that it got: wait for ten seconds, or not at all.';

CREATE FUNCTION payments._settlement_take(
	_psp text, _max_lines int, _wait boolean, _run bigint, OUT lines bigint, OUT applied bigint,
	OUT left_over boolean
) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b payments.settlement_progress;
	batches bigint[];
	nos int[];
	news int[];
	held uuid[];
	locked bigint := 0;
	moved_in bigint[];
	moved int[];
BEGIN
	lines := 0;
	applied := 0;
	left_over := false;
	SELECT p.* INTO b
	FROM payments.settlement_progress p
	JOIN payments.settlement_batch s ON s.batch_id = p.batch_id
	WHERE p.psp = _psp AND s.source = 'psp' AND p.posted_at IS NULL AND p.problem IS NULL
	ORDER BY p.batch_id
	LIMIT 1;
	left_over := FOUND;
	IF left_over THEN
		SELECT array_agg(l.batch_id ORDER BY l.line_no), array_agg(l.line_no ORDER BY l.line_no)
		INTO batches, nos
		FROM (
			SELECT x.*
			FROM payments.settlement_line x
			WHERE x.batch_id = b.batch_id AND x.line_no > b.applied_to AND NOT x.repeated
			ORDER BY x.line_no
			LIMIT _max_lines
		) l;
		IF nos IS NULL THEN
			PERFORM payments._settlement_post(b.batch_id);
			RETURN;
		END IF;
	ELSE
		-- Nothing new; what could not be settled before may be now.  In any order: as many as we take that
		-- never can be must not keep the others away.
		SELECT array_agg(d.batch_id), array_agg(d.line_no) INTO batches, nos
		FROM (
			SELECT o.batch_id, o.line_no
			FROM payments._discrepancy_open(_psp) o
			WHERE o.kind = 'status'
			ORDER BY random()
			LIMIT _max_lines
		) d;
		IF nos IS NULL THEN
			RETURN;
		END IF;
	END IF;
	lines := cardinality(nos);
	-- What is news is said again under the locks of the payments: an answer may have told of it meanwhile.
	SELECT array_agg(n.batch_id), array_agg(n.line_no), array_agg(DISTINCT n.payment_id)
	INTO batches, news, held
	FROM payments._settlement_news(_psp, batches, nos) n;
	IF news IS NOT NULL THEN
		locked := cardinality(held);
		held := payments._settlement_lock(held, _wait);
		locked := locked - coalesce(cardinality(held), 0);
	END IF;
	SELECT count(*) FILTER (WHERE a.outcome = 'applied'),
		array_agg(w.batch_ids[a.place]) FILTER (WHERE a.outcome = 'applied' AND w.moves[a.place]),
		array_agg(w.line_nos[a.place]) FILTER (WHERE a.outcome = 'applied' AND w.moves[a.place])
	INTO applied, moved_in, moved
	FROM (
		SELECT array_agg(x.batch_id) AS batch_ids, array_agg(x.line_no) AS line_nos,
			array_agg(x.payment_id) AS payment_ids, array_agg(x.object_id) AS object_ids,
			array_agg(x.amount) AS amounts, array_agg(x.with_fee) AS with_fee, array_agg(x.moves) AS moves
		FROM (
			SELECT y.*
			FROM payments._settlement_news(_psp, batches, news) y
			WHERE y.payment_id = ANY (held)
			ORDER BY y.batch_id, y.line_no
		) x
	) w,
		LATERAL payments._settlement_apply_each(_psp, w.batch_ids, w.line_nos, w.payment_ids,
			w.object_ids, w.amounts, w.with_fee) a
	WHERE w.batch_ids IS NOT NULL;
	-- What the PSP's word has settled is written down as found and resolved.
	WITH found AS (
		INSERT INTO payments.discrepancy_found (psp, kind, subject, run_id, batch_id, line_no, payment_id,
			movement_kind, object_id, our_currency, theirs, their_currency, occurred_at, found_at)
		SELECT _psp, 'status', format('%s %s', l.kind, l.object_id), _run, l.batch_id,
			l.line_no, l.payment_id, l.movement_kind, l.object_id, p.currency, l.theirs, l.their_currency,
			l.occurred_at, clock_timestamp()
		FROM payments._lines_meant(_psp, moved_in, moved) l
		JOIN payments.payment p ON p.payment_id = l.payment_id
		ON CONFLICT (psp, subject, kind) DO NOTHING
		RETURNING discrepancy_id, payment_id
	), known AS (
		SELECT o.discrepancy_id, l.payment_id
		FROM payments._lines_meant(_psp, moved_in, moved) l
		JOIN payments._discrepancy_open(_psp) o
			ON o.kind = 'status' AND o.batch_id = l.batch_id AND o.line_no = l.line_no
	)
	INSERT INTO payments.discrepancy_resolution (discrepancy_id, seq, action, reason, payment_id, actor,
		recorded_at)
	SELECT f.discrepancy_id,
		coalesce(
			(
				SELECT max(r.seq)
				FROM payments.discrepancy_resolution r
				WHERE r.discrepancy_id = f.discrepancy_id
			),
			0) + 1,
		'applied', format('the settlement line has settled it: the payment is %s', p.status), f.payment_id,
		payments._caller(), clock_timestamp()
	FROM (SELECT * FROM found UNION ALL SELECT * FROM known) f
	JOIN payments.payment p ON p.payment_id = f.payment_id;
	IF NOT left_over THEN
		RETURN;
	ELSIF locked = 0 OR _wait THEN
		-- What was locked for long is an open discrepancy until then, as what cannot be settled is.
		UPDATE payments.settlement_progress p
		SET applied_to = nos[cardinality(nos)]
		WHERE p.batch_id = b.batch_id;
	ELSE
		-- The others are done; these come again.
		left_over := false;
	END IF;
END
$$;
COMMENT ON FUNCTION payments._settlement_take(text, int, boolean, bigint) IS
'Internal: a step of a PSP''s oldest batch that is not posted: applies that many lines, or posts it when all are; with no such batch, lines whose payments they could not settle before. lines: taken; applied: brought news; left_over: call again. With wait false, payments that somebody holds stop it until the next time; else their lines are left over after ten seconds.';

-- ---------- what a batch posts ----------

CREATE FUNCTION payments._settlement_house(_psp text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		(
			SELECT m.merchant
			FROM payments.psp p
			JOIN payments.merchant m ON m.merchant = p.config ->> 'merchant'
			WHERE p.psp = _psp
		),
		'default')
$$;
COMMENT ON FUNCTION payments._settlement_house(text) IS 'Internal: the merchant whose lines are that name no payment: by the row of the PSP, and by nothing that an application may bring about.';

CREATE FUNCTION payments._settlement_shared(_psp text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM payments.account a
		WHERE a.code = 'psp_receivable:' || _psp
		AND a.merchant <> payments._settlement_house(_psp)
		AND a.from_template
	)
$$;
COMMENT ON FUNCTION payments._settlement_shared(text) IS 'Internal: may others than the house have money at the PSP?  Where they may, lines are asked whose it is.';

-- Lines with the merchant whose they are.
CREATE FUNCTION payments._settlement_owned(_psp text, _batch bigint, _payout text)
	RETURNS TABLE (
		merchant text, kind text, payout_ref text, net bigint, gross bigint, fee bigint, currency text,
		original_amount bigint, original_currency text, known boolean
	)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	house text := payments._settlement_house(_psp);
BEGIN
	RETURN QUERY
	SELECT coalesce(p.merchant, house), l.kind, l.payout_ref, l.net, l.gross, l.fee, l.currency,
		l.original_amount, l.original_currency, m.payment_id IS NOT NULL
	FROM payments.settlement_line l
	LEFT JOIN payments._match_keys(_psp) k ON k.line_kind = l.kind
	LEFT JOIN payments.movement m
		ON m.psp = l.psp
		AND m.object_id = CASE k.key
			WHEN 'psp_payment_id' THEN l.psp_payment_id
			WHEN 'entry_id' THEN l.entry_id
			ELSE l.psp_object_id
		END
		AND m.kind = k.movement_kind
	LEFT JOIN payments.payment p ON p.payment_id = m.payment_id
	WHERE l.psp = _psp
	AND NOT l.repeated
	AND (
		l.batch_id = _batch
		OR _batch IS NULL AND l.payout_ref = _payout
	);
END
$$;
COMMENT ON FUNCTION payments._settlement_owned(text, bigint, text) IS 'Internal: the lines of a batch, or of a payout, without repeated ones, each with its merchant; known: its movement is booked.';

-- Whose money is in a payout: what the merchant's lines make, and the rest is the house's.
CREATE FUNCTION payments._payout_shares(_psp text, _payout text, _currency text, _amount bigint)
	RETURNS TABLE (merchant text, share bigint)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	house text := payments._settlement_house(_psp);
BEGIN
	IF NOT payments._settlement_shared(_psp) THEN
		RETURN QUERY SELECT house, _amount;
		RETURN;
	END IF;
	RETURN QUERY
	WITH s AS (
		SELECT o.merchant, sum(o.net)::bigint AS net
		FROM payments._settlement_owned(_psp, NULL, _payout) o
		WHERE o.kind NOT IN ('payout', 'payout_failure')
		AND o.currency = _currency
		AND o.merchant <> house
		GROUP BY o.merchant
	), r AS (
		SELECT s.merchant, s.net
		FROM s
		UNION ALL
		SELECT house, _amount - coalesce((SELECT sum(s.net) FROM s), 0)::bigint
	)
	SELECT r.merchant, r.net
	FROM r
	WHERE r.net <> 0;
END
$$;
COMMENT ON FUNCTION payments._payout_shares(text, text, text, bigint) IS 'Internal: divides the amount of a payout among the merchants; sums to it exactly.';

CREATE FUNCTION payments._settlement_sums(_batch bigint)
	RETURNS TABLE (merchant text, event text, currency text, amount bigint)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH b AS (
		SELECT s.batch_id, s.psp FROM payments.settlement_batch s WHERE s.batch_id = _batch
	), o AS MATERIALIZED (
		SELECT x.* FROM b, payments._settlement_owned(b.psp, b.batch_id, NULL) x
	)
	SELECT s.merchant, s.event, s.currency, sum(s.amount)::bigint
	FROM (
		SELECT o.merchant,
			CASE o.kind
				WHEN 'fee' THEN 'settled_fee'
				WHEN 'adjustment' THEN 'settled_adjustment'
				WHEN 'transfer' THEN 'settled_transfer'
				WHEN 'fx' THEN 'settled_fx'
				WHEN 'foreign' THEN 'settled_foreign'
				WHEN 'unknown' THEN 'settled_unknown'
				ELSE 'settled_reserve'
			END AS event,
			o.currency, - o.net AS amount
		FROM o
		WHERE o.kind IN ('fee', 'adjustment', 'transfer', 'fx', 'foreign', 'unknown', 'reserve',
			'reserve_release')
		UNION ALL
		-- Of a charge in its own currency the fee is a movement of the payment; other fees are not.
		SELECT o.merchant, 'settled_fee', o.currency, o.fee
		FROM o
		WHERE o.kind IN ('refund', 'refund_failure', 'chargeback', 'chargeback_reversal')
		OR o.kind = 'charge' AND (o.fee < 0 OR o.gross < 0)
		OR o.kind = 'charge' AND o.original_currency IS NOT NULL AND o.known
		UNION ALL
		-- Booked in the payment's currency, settled in another.
		SELECT o.merchant, 'settled_fx', x.currency, x.amount
		FROM o
		CROSS JOIN LATERAL (
			VALUES
				(o.original_currency, sign(o.gross)::bigint * abs(o.original_amount)),
				(o.currency, - o.gross)
		) x (currency, amount)
		WHERE o.original_currency IS NOT NULL AND o.known
		UNION ALL
		SELECT h.merchant, 'settled_payout', p.currency, h.share
		FROM b
		CROSS JOIN LATERAL (
			SELECT o.payout_ref, o.currency, - sum(o.net)::bigint AS paid
			FROM o
			WHERE o.kind IN ('payout', 'payout_failure')
			GROUP BY o.payout_ref, o.currency
		) p
		CROSS JOIN LATERAL payments._payout_shares(b.psp, p.payout_ref, p.currency, p.paid) h
	) s
	GROUP BY s.merchant, s.event, s.currency
	HAVING sum(s.amount) <> 0
$$;
COMMENT ON FUNCTION payments._settlement_sums(bigint) IS 'Internal: what a batch posts; positive: out of the balance at the PSP.';

-- One merchant's account that takes no more, or is closed, must not keep what is
-- others' from being posted.
CREATE FUNCTION payments._settlement_post(_batch bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	psp text := (SELECT s.psp FROM payments.settlement_batch s WHERE s.batch_id = _batch);
	known text := (SELECT p.problem FROM payments.settlement_progress p WHERE p.batch_id = _batch);
	refused text;
	s record;
BEGIN
	FOR s IN
		SELECT x.*, format('settlement:%s:%s:%s:%s', _batch, x.event, x.currency, x.merchant) AS reference
		FROM payments._settlement_sums(_batch) x
		WHERE NOT EXISTS (
			SELECT FROM payments.settlement_posting p
			WHERE p.batch_id = _batch AND p.merchant = x.merchant AND p.event = x.event
			AND p.currency = x.currency
		)
		ORDER BY x.merchant, x.event, x.currency
	LOOP
		BEGIN
			INSERT INTO payments.settlement_posting (batch_id, merchant, event, currency, amount, reference,
				posted_at)
			VALUES (_batch, s.merchant, s.event, s.currency, s.amount, s.reference, clock_timestamp());
			PERFORM payments._post_movements(ARRAY[s.amount], ARRAY[s.event], ARRAY[s.reference],
				s.merchant, psp, s.currency, NULL);
		EXCEPTION WHEN SQLSTATE 'PY203' OR SQLSTATE 'PY204' OR SQLSTATE 'PY205' THEN
			refused := concat_ws('; ', refused,
				format('%s of merchant "%s": %s', s.event, s.merchant, sqlerrm));
		END;
	END LOOP;
	IF refused IS DISTINCT FROM known AND refused IS NOT NULL THEN
		RAISE WARNING 'settlement file % cannot be posted whole: %', _batch, refused
			USING ERRCODE = 'PY205', HINT = 'What is other merchants'' is posted; the rest is tried again '
				'by each reconciliation.';
	END IF;
	UPDATE payments.settlement_progress p
	SET posted_at = CASE WHEN refused IS NULL THEN clock_timestamp() END, problem = refused
	WHERE p.batch_id = _batch;
END
$$;
COMMENT ON FUNCTION payments._settlement_post(bigint) IS 'Internal: posts a batch whose lines are applied; once, since the rows of settlement_posting have a key. What a merchant''s account does not take is left out, and settlement_progress.problem says so. Raises PY207 without a posting rule.';

CREATE FUNCTION payments._settlement_post_again(_psp text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT payments._settlement_post(p.batch_id)
	FROM payments.settlement_progress p
	WHERE p.psp = _psp AND p.posted_at IS NULL AND p.problem IS NOT NULL
	ORDER BY p.batch_id
$$;
COMMENT ON FUNCTION payments._settlement_post_again(text) IS 'Internal: what could not be posted may be now.';
