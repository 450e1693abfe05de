-- Feeds: lists of a PSP's API, read by the worker (src/inbound/feed.c).  Here is what an
-- operator may do to them, and how a page comes into settlement_line.

CREATE FUNCTION payments._feed_settings(
	_config jsonb, OUT interval_s int, OUT lag_s int, OUT overlap_s int, OUT window_s int
) RETURNS record
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- create_psp() checks them; what somebody has written around it is not to stop the worker.
	SELECT least(greatest(coalesce(s.v[1], 60), 1), 86400), least(greatest(coalesce(s.v[2], 5), 0), 3600),
		least(greatest(coalesce(s.v[3], 600), 0), 604800),
		least(greatest(coalesce(s.v[4], 86400), 60), 2678400)
	FROM (
		SELECT ARRAY(
			SELECT CASE
				WHEN jsonb_typeof(_config -> 'feeds' -> k.key) = 'number'
					AND _config -> 'feeds' ->> k.key ~ '^[0-9]{1,9}$'
					THEN (_config -> 'feeds' ->> k.key)::int
			END
			FROM unnest(ARRAY['interval_s', 'lag_s', 'overlap_s', 'window_s']) WITH ORDINALITY k (key, n)
			ORDER BY k.n
		) AS v
	) s
$$;
COMMENT ON FUNCTION payments._feed_settings(jsonb) IS 'Internal: how the feeds of a PSP with this config are read, in seconds, with defaults for what it does not say.';

CREATE FUNCTION payments._require_feed(_psp text, _feed text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	IF NOT EXISTS (
		SELECT FROM payments.psp_feed f WHERE f.psp = _psp AND f.feed = _feed
	) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY640',
			MESSAGE = format('feed "%s" of PSP "%s" does not exist', _feed, _psp),
			HINT = 'SELECT psp, feed FROM payments.psp_feed; lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_feed(text, text) IS 'Internal: raises PY640 unless there is such a feed.';

CREATE FUNCTION payments.refetch(psp text, feed text, from_time timestamptz DEFAULT NULL) RETURNS timestamptz
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	mark timestamptz;
BEGIN
	PERFORM payments._refuse_card_numbers('psp', refetch.psp, 'feed', refetch.feed);
	PERFORM payments._commit_durably();
	PERFORM payments._require_feed(refetch.psp, refetch.feed);
	IF refetch.from_time > now() OR refetch.from_time < '2000-01-01 00:00:00+00' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'from_time is in the future, or before 2000',
			HINT = 'Pass the moment from which the list is to be read again; null: go on now where it '
				'stands.';
	END IF;
	-- A new attempt: the answer to a call in flight is dropped, and cannot move the watermark.
	UPDATE payments.psp_feed AS f
	SET watermark = least(f.watermark, date_trunc('second', refetch.from_time)), window_from = NULL,
		window_to = NULL, page_cursor = NULL, page_size = 100, due_at = clock_timestamp(), claimed_by = NULL,
		attempt = f.attempt + 1, tries = 0
	WHERE f.psp = refetch.psp AND f.feed = refetch.feed
	RETURNING f.watermark INTO mark;
	UPDATE payments.feed_entry AS e
	SET due_at = clock_timestamp()
	WHERE e.psp = refetch.psp AND e.feed = refetch.feed AND e.discarded_at IS NULL;
	PERFORM payments._wake_worker();
	RETURN mark;
END
$$;
COMMENT ON FUNCTION payments.refetch(text, text, timestamptz) IS
'Lets the worker read a feed again from this moment on; null: try now, where it stands. Never forwards: nothing is left out. Entries that are here already change nothing. Returns the watermark. Raises PY640 for an unknown feed, 22023 for a time in the future.';

CREATE FUNCTION payments.enable_feed(psp text, feed text, enabled boolean DEFAULT true) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers('psp', enable_feed.psp, 'feed', enable_feed.feed);
	PERFORM payments._commit_durably();
	PERFORM payments._require_feed(enable_feed.psp, enable_feed.feed);
	UPDATE payments.psp_feed AS f
	SET enabled = coalesce(enable_feed.enabled, true), due_at = least(f.due_at, clock_timestamp()), tries = 0
	WHERE f.psp = enable_feed.psp AND f.feed = enable_feed.feed;
	PERFORM payments._wake_worker();
END
$$;
COMMENT ON FUNCTION payments.enable_feed(text, text, boolean) IS
'Lets the worker read a feed, or not; it goes on where it stopped. Raises PY640.';

CREATE FUNCTION payments.discard_feed_entry(psp text, feed text, entry_id text, reason text) RETURNS void
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._refuse_card_numbers(
		'psp', discard_feed_entry.psp, 'feed', discard_feed_entry.feed,
		'entry_id', discard_feed_entry.entry_id, 'reason', discard_feed_entry.reason);
	PERFORM payments._commit_durably();
	PERFORM payments._require_feed(discard_feed_entry.psp, discard_feed_entry.feed);
	IF coalesce(btrim(discard_feed_entry.reason), '') = '' THEN
		RAISE EXCEPTION USING
			ERRCODE = '22023',
			MESSAGE = 'a reason is needed to discard an entry',
			HINT = 'Say how you know that it changes nothing.';
	END IF;
	UPDATE payments.feed_entry AS e
	SET discarded_at = now(), discarded_by = payments._caller(),
		discard_reason = discard_feed_entry.reason
	WHERE e.psp = discard_feed_entry.psp
	AND e.feed = discard_feed_entry.feed
	AND e.entry_id = discard_feed_entry.entry_id
	AND e.discarded_at IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'PY641',
			MESSAGE = format('entry "%s" of feed "%s" does not exist, or does not wait',
				discard_feed_entry.entry_id, discard_feed_entry.feed),
			HINT = 'SELECT psp, feed, entry_id, reason FROM payments.feed_entry WHERE discarded_at IS NULL; '
				'lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments.discard_feed_entry(text, text, text, text) IS
'Gives up an entry that could not be applied; the row stays, with who and why. Raises PY641 when none such waits, PY640, 22023 without a reason.';

CREATE FUNCTION payments._feed_unknown_lines(_psp text, _ids text[]) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT i.id
	FROM unnest(_ids) i (id)
	WHERE NOT EXISTS (
		SELECT FROM payments.settlement_line l WHERE l.psp = _psp AND l.entry_id = i.id AND NOT l.repeated
	)
$$;
COMMENT ON FUNCTION payments._feed_unknown_lines(text, text[]) IS 'Internal: which of the PSP''s entries have no line yet.';

CREATE FUNCTION payments._feed_import(
	_psp text, _feed text, _format text, _ids text[], _entries text[], _file_name text
) RETURNS int
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	fresh text[];
	bodies text[];
	n int := 0;
BEGIN
	-- Oldest first, as files have them.
	SELECT array_agg(i.id ORDER BY i.n DESC), array_agg(i.entry ORDER BY i.n DESC) INTO fresh, bodies
	FROM (
		SELECT DISTINCT ON (j.id) j.id, j.entry, j.n
		FROM ROWS FROM (unnest(_ids), unnest(_entries)) WITH ORDINALITY j (id, entry, n)
		ORDER BY j.id, j.n
	) i
	WHERE i.id IN (SELECT u.id FROM payments._feed_unknown_lines(_psp, _ids) u (id))
	-- What could not be imported is tried again by itself.
	AND NOT EXISTS (
		SELECT FROM payments.feed_entry e
		WHERE e.psp = _psp AND e.feed = _feed AND e.entry_id = i.id
	);
	IF fresh IS NULL THEN
		RETURN 0;
	END IF;
	BEGIN
		SELECT r.lines - r.known INTO n
		FROM payments.import_settlement(_psp, _format, E'[\n' || array_to_string(bodies, E',\n') || E'\n]',
			_file_name, '{"amounts": "minor"}') r;
		RETURN n;
	EXCEPTION WHEN SQLSTATE 'PY602' OR SQLSTATE 'PY603' OR data_exception OR integrity_constraint_violation
	THEN
		NULL;	-- one of them cannot be read; found below, and the others go in
	END;
	FOR i IN 1 .. array_length(fresh, 1) LOOP
		n := n + payments._feed_import_one(_psp, _feed, _format, fresh[i], bodies[i], _file_name);
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION payments._feed_import(text, text, text, text[], text[], text) IS 'Internal: imports the entries of a page that are new, as one batch, and returns how many; what cannot be read goes to feed_entry.';

CREATE FUNCTION payments._feed_import_one(
	_psp text, _feed text, _format text, _entry_id text, _entry text, _file_name text
) RETURNS int
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	n int := 0;
BEGIN
	IF EXISTS (SELECT FROM payments._feed_unknown_lines(_psp, ARRAY[_entry_id])) THEN
		SELECT r.lines - r.known INTO n
		FROM payments.import_settlement(
			_psp, _format, E'[\n' || _entry || E'\n]', _file_name, '{"amounts": "minor"}') r;
	END IF;
	DELETE FROM payments.feed_entry e
	WHERE e.psp = _psp
	AND e.feed = _feed
	AND e.entry_id = _entry_id;
	RETURN n;
EXCEPTION WHEN SQLSTATE 'PY602' OR SQLSTATE 'PY603' OR data_exception OR integrity_constraint_violation THEN
	PERFORM payments._feed_keep(_psp, _feed, _entry_id, _entry, sqlerrm);
	RETURN 0;
END
$$;
COMMENT ON FUNCTION payments._feed_import_one(text, text, text, text, text, text) IS 'Internal: imports one entry, or keeps it in feed_entry with the reason why it cannot.';

CREATE FUNCTION payments._feed_keep(_psp text, _feed text, _entry_id text, _body text, _reason text)
	RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	-- Locked: soon again.  Else at growing intervals up to a day; an error may go
	-- away with an upgrade, a new currency, a repair.
	INSERT INTO payments.feed_entry AS e (psp, feed, entry_id, body, reason, seen_at, due_at)
	VALUES (_psp, _feed, _entry_id, payments._mask_value(_body),
		left(payments._mask_value(_reason), 500), now(),
		clock_timestamp() + CASE _reason WHEN 'locked' THEN interval '1 s' ELSE interval '1 min' END)
	ON CONFLICT (psp, feed, entry_id) DO UPDATE
	SET tries = e.tries + 1, reason = excluded.reason,
		due_at = clock_timestamp()
			+ CASE excluded.reason
				WHEN 'locked' THEN least(e.tries, 60) * interval '1 s'
				ELSE least(interval '1 min' * 4 ^ least(e.tries, 6), interval '1 day')
			END
	WHERE e.discarded_at IS NULL
$$;
COMMENT ON FUNCTION payments._feed_keep(text, text, text, text, text) IS 'Internal: keeps an entry that could not be applied, to be tried again.';
