-- What a person has decided, and a file has explained since.  An adjustment that
-- stood then would be booked a second time by the line or the match that
-- explains it; so a run takes it back, by further entries, and by the posting the
-- other way.

-- No search_path, so that the planner takes it in.
CREATE FUNCTION payments._decision(_psp text, _kind text, _subject text) RETURNS text
	LANGUAGE sql STABLE AS $$
	SELECT coalesce(
		(
			SELECT r.action
			FROM payments.discrepancy_found d
			JOIN payments.discrepancy_resolution r ON r.discrepancy_id = d.discrepancy_id
			WHERE d.psp = _psp AND d.kind = _kind AND d.subject = _subject
			ORDER BY r.seq DESC LIMIT 1
		),
		'')
$$;
COMMENT ON FUNCTION payments._decision(text, text, text) IS 'Internal: the last entry about a discrepancy; empty if there is none, or no such discrepancy.';

CREATE FUNCTION payments._discrepancy_adjusted(_psp text)
	RETURNS TABLE (
		discrepancy_id bigint, kind text, subject text, batch_id bigint, line_no int, statement_no int,
		entry_no int, payout_ref text, movement_kind text, object_id text, ours bigint, our_currency text,
		theirs bigint, their_currency text, action text, amount bigint
	)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT d.discrepancy_id, d.kind, d.subject, d.batch_id, d.line_no, d.statement_no, d.entry_no,
		d.payout_ref, d.movement_kind, d.object_id, d.ours, d.our_currency, d.theirs, d.their_currency,
		r.action, r.amount
	FROM payments.discrepancy_found d
	JOIN payments.discrepancy_resolution r ON r.discrepancy_id = d.discrepancy_id
	WHERE d.psp = _psp
	AND (r.action = 'adjust' OR r.action IN ('accept', 'ignore') AND d.kind = 'unmatched_bank')
	AND NOT EXISTS (
		SELECT FROM payments.discrepancy_resolution n
		WHERE n.discrepancy_id = r.discrepancy_id AND n.seq > r.seq
	)
$$;
COMMENT ON FUNCTION payments._discrepancy_adjusted(text) IS 'Internal: discrepancies of a PSP or bank that a person has adjusted, and entries of a bank about which one has decided otherwise.';

CREATE FUNCTION payments._discrepancy_explained(_psp text, _run bigint)
	RETURNS TABLE (discrepancy_id bigint, explained boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- At the bank by what is matched, and not by whether it is still looked for: another grace or filter
	-- explains nothing.
	SELECT a.discrepancy_id,
		CASE
			WHEN a.kind = 'unmatched_bank' AND a.action = 'adjust'
				THEN (
					SELECT e.amount
					FROM payments.bank_entry e
					WHERE e.batch_id = a.batch_id
					AND e.statement_no = a.statement_no
					AND e.entry_no = a.entry_no
					AND e.detail_no = 0
				) - (
					SELECT coalesce(sum(m.amount), 0)
					FROM payments.bank_match m
					WHERE m.batch_id = a.batch_id
					AND m.statement_no = a.statement_no
					AND m.entry_no = a.entry_no
				) <> a.amount
			WHEN a.kind = 'unmatched_bank'
				THEN EXISTS (
					SELECT FROM payments.bank_match m
					WHERE m.batch_id = a.batch_id
					AND m.statement_no = a.statement_no
					AND m.entry_no = a.entry_no
					AND m.run_id = _run
				)
			WHEN a.kind = 'payout_missing'
				THEN (
					SELECT coalesce(sum(- l.net), 0)
					FROM payments.settlement_line l
					WHERE l.psp = _psp
					AND l.payout_ref = a.payout_ref
					AND l.currency = a.their_currency
					AND l.kind IN ('payout', 'payout_failure')
					AND NOT l.repeated
				) - (
					SELECT coalesce(sum(m.amount), 0)
					FROM payments.bank_match m
					WHERE m.psp = _psp AND m.payout_ref = a.payout_ref AND m.currency = a.their_currency
				) <> - a.amount
		END
	FROM payments._discrepancy_adjusted(_psp) a
$$;
COMMENT ON FUNCTION payments._discrepancy_explained(text, bigint) IS
'Internal: those that _discrepancy_adjusted() lists; explained: other money is matched than when that was decided, by this run if nothing was posted. Null: the run says so by no longer finding it.';

CREATE FUNCTION payments._discrepancies_undo(_psp text, _run bigint, _still bigint[]) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	id bigint;
	found payments.discrepancy_found;
	last payments.discrepancy_resolution;
	n bigint := 0;
	why text := format('run %s: explained since', _run);
BEGIN
	FOR id IN
		SELECT e.discrepancy_id
		FROM payments._discrepancy_explained(_psp, _run) e
		WHERE coalesce(e.explained, e.discrepancy_id <> ALL (_still))
		ORDER BY e.discrepancy_id
	LOOP
		SELECT d.* INTO STRICT found FROM payments.discrepancy_found d WHERE d.discrepancy_id = id;
		SELECT r.* INTO STRICT last
		FROM payments.discrepancy_resolution r
		WHERE r.discrepancy_id = id
		ORDER BY r.seq DESC LIMIT 1;
		BEGIN
			PERFORM payments._act_for_all(true);
			PERFORM payments._discrepancy_unadjust(found, last, why);
			PERFORM payments._act_for_all(false);
			PERFORM payments._resolve_by_run(
				ARRAY[id], 'reopen', format('%s, so "%s" is taken back', why, last.action));
			IF id <> ALL (_still) THEN
				PERFORM payments._resolve_by_run(ARRAY[id], 'explained', why);
			END IF;
			n := n + 1;
		EXCEPTION WHEN others THEN
			IF payments._is_no_fault(sqlstate) THEN
				RAISE;
			END IF;
			RAISE WARNING 'discrepancy % is explained since, and its adjustment cannot be taken back: %',
				id, sqlerrm
				USING ERRCODE = sqlstate,
				HINT = 'It is booked twice until that is put right; the next run tries again.';
		END;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION payments._discrepancies_undo(text, bigint, bigint[]) IS
'Internal: takes back what was decided and is explained since, with its posting; still: those that the run finds yet. Returns how many. One whose posting cannot be taken back is a warning, and stays.';
