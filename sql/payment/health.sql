-- How PSPs are.

CREATE FUNCTION payments._health_of(
	psp text, OUT state text, OUT until timestamptz, OUT in_flight_max int, OUT calls int, OUT failures int,
	OUT p50_ms int, OUT p99_ms int, OUT failed_at timestamptz, OUT failure text
)
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_health_of';
COMMENT ON FUNCTION payments._health_of(text) IS
'Internal: how a PSP is, as routing sees it, and how the last calls to it went; null is what is not known here, such as without preloading.';

CREATE FUNCTION payments._require_psp(_psp text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM FROM payments.psp p WHERE p.psp = _psp FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY401',
			MESSAGE = format('PSP "%s" does not exist', _psp),
			HINT = 'SELECT psp FROM payments.psp lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_psp(text) IS 'Internal: locks the row of a PSP; raises PY401.';

CREATE FUNCTION payments._call_psp_again(_psp text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._commit_durably();
	PERFORM payments._require_psp(_psp);
	UPDATE payments.psp AS p SET halted_at = NULL, halted_reason = NULL WHERE p.psp = _psp;
	UPDATE payments.psp_feed AS f
	SET due_at = now(), tries = 0
	WHERE f.psp = _psp AND f.claimed_by IS NULL;
	UPDATE payments.queue AS q
	SET due_at = now()
	WHERE q.psp = _psp AND q.claimed_by IS NULL AND q.due_at > now()
	AND (q.schedule IS NULL OR q.refused > 0);
	UPDATE payments.psp_health AS a SET resumed = true WHERE a.psp = _psp;
	PERFORM payments._wake_worker();
END
$$;
COMMENT ON FUNCTION payments._call_psp_again(text) IS
'Internal: ends that a PSP is halted, and the pause that it has asked for; not the one of a person.';

CREATE FUNCTION payments._note_pause(_psp text, _action text, _until timestamptz, _reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	INSERT INTO payments.psp_pause (psp, seq, action, paused_until, reason, actor, recorded_at)
	SELECT _psp,
		coalesce(max(h.seq), 0) + 1,
		_action,
		_until,
		_reason,
		payments._caller(),
		now()
	FROM payments.psp_pause h
	WHERE h.psp = _psp;
END
$$;
COMMENT ON FUNCTION payments._note_pause(text, text, timestamptz, text) IS
'Internal: a row of psp_pause. The caller has locked the row of the PSP.';

CREATE FUNCTION payments.pause_psp(psp text, reason text, until timestamptz DEFAULT NULL) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('psp', pause_psp.psp, 'reason', pause_psp.reason);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF coalesce(btrim(pause_psp.reason), '') = '' OR length(pause_psp.reason) > 1000 THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'reason must be a text of 1 to 1000 characters',
			HINT = 'It is kept, and shown to whoever asks why payments wait.';
	END IF;
	IF pause_psp.until <= now() THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'until must be in the future',
			HINT = 'Leave it out for a pause that ends with resume_psp().';
	END IF;
	PERFORM payments._require_psp(pause_psp.psp);
	UPDATE payments.psp AS p
	SET paused_at = now(), paused_until = pause_psp.until,
		paused_by = payments._caller(), paused_reason = pause_psp.reason
	WHERE p.psp = pause_psp.psp;
	PERFORM payments._note_pause(pause_psp.psp, 'paused', pause_psp.until, pause_psp.reason);
	PERFORM payments._wake_worker();
END
$$;
COMMENT ON FUNCTION payments.pause_psp(text, text, timestamptz) IS
'Sends nothing new to a PSP until resume_psp(), or until the time given. What was claimed before is on its way; what the PSP may have is asked for as ever, and nothing is sent again; payments, captures, voids and refunds are accepted and wait. Feeds and webhooks go on. Who, when and why is kept in psp_pause. Raises PY401, and 22023 without a reason or for a time that is over.';

CREATE FUNCTION payments.resume_psp(psp text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('psp', resume_psp.psp);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	PERFORM payments._require_psp(resume_psp.psp);
	UPDATE payments.psp AS p
	SET paused_at = NULL, paused_until = NULL, paused_by = NULL, paused_reason = NULL
	WHERE p.psp = resume_psp.psp AND p.paused_at IS NOT NULL;
	IF FOUND THEN
		PERFORM payments._note_pause(resume_psp.psp, 'resumed', NULL::timestamptz, NULL::text);
	END IF;
	PERFORM payments._call_psp_again(resume_psp.psp);
END
$$;
COMMENT ON FUNCTION payments.resume_psp(text) IS
'Lets the worker call a PSP again that pause_psp() has paused, that was halted because it refused our credentials, or that has asked for a pause. One that was halted because the account is another one is halted again, see accept_psp_account(). Raises PY401.';
