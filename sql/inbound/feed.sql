-- Feeds: lists of a PSP's API, read by the worker (src/inbound/feed.c).  Here is what an
-- operator may do to them, how a list of balance transactions is read, and how
-- a page comes into settlement_line.

CREATE FUNCTION payments._feed_settings(config jsonb, OUT interval_s int, OUT lag_s int, OUT overlap_s int, OUT window_s int) RETURNS record
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- create_psp() checks them; what somebody has written around it is not to stop the worker.
	SELECT least(greatest(coalesce(s.v[1], 60), 1), 86400), least(greatest(coalesce(s.v[2], 5), 0), 3600),
		least(greatest(coalesce(s.v[3], 600), 0), 604800), least(greatest(coalesce(s.v[4], 86400), 60), 2678400)
	FROM (SELECT ARRAY(SELECT CASE WHEN jsonb_typeof(config -> 'feeds' -> k.key) = 'number' AND config -> 'feeds' ->> k.key ~ '^\d{1,9}$'
					   THEN (config -> 'feeds' ->> k.key)::int END
			FROM unnest(ARRAY['interval_s', 'lag_s', 'overlap_s', 'window_s']) WITH ORDINALITY k (key, n) ORDER BY k.n) AS v) s
$$;
COMMENT ON FUNCTION payments._feed_settings(jsonb) IS 'Internal: how the feeds of a PSP with this config are read, in seconds, with defaults for what it does not say.';

CREATE FUNCTION payments._require_feed(psp text, feed text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM payments._require_setup();
	IF NOT EXISTS (SELECT FROM payments.psp_feed f WHERE f.psp = _require_feed.psp AND f.feed = _require_feed.feed) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY640', MESSAGE = format('PSP "%s" has no feed "%s"', _require_feed.psp, _require_feed.feed),
			HINT = 'SELECT psp, feed FROM payments.psp_feed; lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments._require_feed(text, text) IS 'Internal: raises PY640 unless there is such a feed.';

CREATE FUNCTION payments.refetch(psp text, feed text, from_time timestamptz DEFAULT NULL) RETURNS timestamptz
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	mark timestamptz;
BEGIN
	PERFORM payments._require_feed(refetch.psp, refetch.feed);
	IF from_time > now() OR from_time < '2000-01-01 00:00:00+00' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'from_time is in the future, or before 2000',
			HINT = 'Pass the moment from which the list is to be read again; null: go on now where it stands.';
	END IF;
	-- A new attempt: the answer to a call in flight is dropped, and cannot move the watermark.
	UPDATE payments.psp_feed AS f SET watermark = least(f.watermark, date_trunc('second', from_time)), window_from = NULL, window_to = NULL,
		page_cursor = NULL, page_size = 100, due_at = clock_timestamp(), claimed_by = NULL, attempt = f.attempt + 1, tries = 0
	WHERE f.psp = refetch.psp AND f.feed = refetch.feed
	RETURNING f.watermark INTO mark;
	UPDATE payments.feed_entry AS e SET due_at = clock_timestamp()
	WHERE e.psp = refetch.psp AND e.feed = refetch.feed AND e.discarded_at IS NULL;
	PERFORM payments._wake_worker();
	RETURN mark;
END
$$;
COMMENT ON FUNCTION payments.refetch(text, text, timestamptz) IS
'Lets the worker read a feed again from this moment on; null: try now, where it stands. Never forwards: nothing is left out. Entries that are here already change nothing. Returns the watermark. Raises PY640 for an unknown feed, 22023 for a time in the future.';

CREATE FUNCTION payments.enable_feed(psp text, feed text, enabled boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_feed(enable_feed.psp, enable_feed.feed);
	UPDATE payments.psp_feed AS f SET enabled = coalesce(enable_feed.enabled, true), due_at = least(f.due_at, clock_timestamp()), tries = 0
	WHERE f.psp = enable_feed.psp AND f.feed = enable_feed.feed;
	PERFORM payments._wake_worker();
END
$$;
COMMENT ON FUNCTION payments.enable_feed(text, text, boolean) IS
'Lets the worker read a feed, or not; it goes on where it stopped. Raises PY640.';

CREATE FUNCTION payments.discard_feed_entry(psp text, feed text, entry_id text, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	PERFORM payments._require_feed(discard_feed_entry.psp, discard_feed_entry.feed);
	IF coalesce(btrim(discard_feed_entry.reason), '') = '' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a reason is needed to discard an entry',
			HINT = 'Say how you know that it changes nothing.';
	END IF;
	UPDATE payments.feed_entry AS e SET discarded_at = now(), discarded_by = session_user,
		discard_reason = payments._mask_card_numbers(discard_feed_entry.reason)
	WHERE e.psp = discard_feed_entry.psp AND e.feed = discard_feed_entry.feed AND e.entry_id = discard_feed_entry.entry_id AND e.discarded_at IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY641', MESSAGE = 'there is no such entry that waits',
			HINT = 'SELECT psp, feed, entry_id, reason FROM payments.feed_entry WHERE discarded_at IS NULL; lists them.';
	END IF;
END
$$;
COMMENT ON FUNCTION payments.discard_feed_entry(text, text, text, text) IS
'Gives up an entry that could not be applied; the row stays, with who and why. Raises PY641 when none such waits, PY640, 22023 without a reason.';

CREATE FUNCTION payments._settlement_stripe_kind(type text, inward boolean) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_settlement_stripe_kind';
COMMENT ON FUNCTION payments._settlement_stripe_kind(text, boolean) IS 'Internal: kind of a line that a reporting category, or a type, of Stripe means; the same words as in its reports.';

-- Amounts that are no numbers stay null, and import_settlement() then names the line.
CREATE FUNCTION payments._settlement_stripe_api(content text, options jsonb) RETURNS TABLE (line_no int, kind text, type text, psp_object_id text,
	psp_payment_id text, reference text, gross numeric, fee numeric, net numeric, currency text, original_amount numeric,
	original_currency text, occurred_at timestamptz, available_at timestamptz, payout_ref text, description text, raw jsonb, entry_id text)
	LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	page jsonb;
BEGIN
	BEGIN
		page := _settlement_stripe_api.content::jsonb;
	EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
		page := NULL;
	END;
	IF jsonb_typeof(page) = 'object' AND page ->> 'object' = 'list' THEN
		page := page -> 'data';
	END IF;
	IF jsonb_typeof(page) IS DISTINCT FROM 'array' THEN
		PERFORM payments._settlement_fail('PY602', 'the settlement file cannot be read: it is not a list of balance transactions', NULL,
			'Pass the answer to GET /v1/balance_transactions?expand[]=data.source, or its data.');
	END IF;
	SELECT i.n INTO line_no FROM jsonb_array_elements(page) WITH ORDINALITY i (e, n) WHERE i.e ->> 'object' IS DISTINCT FROM 'balance_transaction' ORDER BY i.n LIMIT 1;
	IF FOUND THEN
		PERFORM payments._settlement_fail('PY602', format('line %s of the settlement file cannot be read: it is not a balance transaction', line_no), NULL,
			'Nothing was imported. Pass a list of balance transactions of Stripe.');
	END IF;
	RETURN QUERY
	SELECT i.n::int, coalesce(payments._settlement_stripe_kind(w.type, coalesce(a.net, 0) >= 0), 'unknown'), w.type,
		coalesce(w.source_id, i.e ->> 'id'),
		-- Of a charge without a PaymentIntent the charge is the payment.
		coalesce(CASE jsonb_typeof(w.source -> 'payment_intent') WHEN 'object' THEN w.source -> 'payment_intent' ->> 'id' ELSE w.source ->> 'payment_intent' END,
			CASE WHEN w.source ->> 'object' = 'charge' THEN w.source_id
				WHEN jsonb_typeof(w.source -> 'charge') = 'object' THEN w.source -> 'charge' ->> 'id' ELSE w.source ->> 'charge' END),
		coalesce(nullif(w.source -> 'metadata' ->> 'payments_ref', ''), nullif(w.source -> 'metadata' ->> 'order_ref', '')),
		a.gross, a.fee, a.net, i.e ->> 'currency',
		-- What the payer was charged, signed as the line is.
		CASE WHEN w.source ->> 'object' IN ('charge', 'refund') AND w.source ->> 'currency' <> i.e ->> 'currency' AND a.original IS NOT NULL
			THEN sign(a.gross) * a.original END,
		CASE WHEN w.source ->> 'object' IN ('charge', 'refund') AND w.source ->> 'currency' <> i.e ->> 'currency' AND a.original IS NOT NULL
			THEN w.source ->> 'currency' END,
		to_timestamp(a.created::double precision), to_timestamp(a.available::double precision),
		CASE WHEN w.source ->> 'object' = 'payout' OR w.type LIKE 'payout%' THEN w.source_id END,
		i.e ->> 'description',
		-- The source has names and addresses of payers; it is the PSP's to keep, not ours.
		CASE WHEN w.source IS NOT NULL THEN jsonb_set(i.e, '{source}', to_jsonb(w.source_id)) ELSE i.e END,
		i.e ->> 'id'
	FROM jsonb_array_elements(page) WITH ORDINALITY i (e, n)
	CROSS JOIN LATERAL (SELECT coalesce(nullif(i.e ->> 'reporting_category', ''), i.e ->> 'type') AS type,
			CASE jsonb_typeof(i.e -> 'source') WHEN 'object' THEN i.e -> 'source' ->> 'id' WHEN 'string' THEN i.e ->> 'source' END AS source_id,
			CASE jsonb_typeof(i.e -> 'source') WHEN 'object' THEN i.e -> 'source' END AS source) w
	CROSS JOIN LATERAL (SELECT
			CASE jsonb_typeof(i.e -> 'amount') WHEN 'number' THEN (i.e ->> 'amount')::numeric END AS gross,
			CASE jsonb_typeof(i.e -> 'fee') WHEN 'number' THEN (i.e ->> 'fee')::numeric END AS fee,
			CASE jsonb_typeof(i.e -> 'net') WHEN 'number' THEN (i.e ->> 'net')::numeric END AS net,
			CASE jsonb_typeof(i.e -> 'created') WHEN 'number' THEN (i.e ->> 'created')::numeric END AS created,
			CASE jsonb_typeof(i.e -> 'available_on') WHEN 'number' THEN (i.e ->> 'available_on')::numeric END AS available,
			abs(CASE WHEN w.source ->> 'object' = 'charge' AND jsonb_typeof(w.source -> 'amount_captured') = 'number' THEN (w.source ->> 'amount_captured')::numeric
				WHEN jsonb_typeof(w.source -> 'amount') = 'number' THEN (w.source ->> 'amount')::numeric END) AS original) a;
END
$$;
COMMENT ON FUNCTION payments._settlement_stripe_api(text, jsonb) IS 'Internal: format stripe_api. Raises PY602.';

CREATE FUNCTION payments._feed_unknown_lines(psp text, ids text[]) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT DISTINCT i.id FROM unnest($2) i (id)
	WHERE NOT EXISTS (SELECT FROM payments.settlement_line l WHERE l.psp = $1 AND l.entry_id = i.id AND NOT l.repeated)
$$;
COMMENT ON FUNCTION payments._feed_unknown_lines(text, text[]) IS 'Internal: which of the PSP''s entries have no line yet.';

CREATE FUNCTION payments._feed_import(psp text, feed text, format text, ids text[], entries text[], file_name text) RETURNS int
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	fresh text[];
	bodies text[];
	n int := 0;
BEGIN
	-- Oldest first, as files have them.
	SELECT array_agg(i.id ORDER BY i.n DESC), array_agg(i.entry ORDER BY i.n DESC) INTO fresh, bodies
	FROM (SELECT DISTINCT ON (j.id) j.id, j.entry, j.n FROM ROWS FROM (unnest(ids), unnest(entries)) WITH ORDINALITY j (id, entry, n) ORDER BY j.id, j.n) i
	WHERE i.id IN (SELECT u.id FROM payments._feed_unknown_lines(psp, ids) u (id))
	-- What could not be imported is tried again by itself.
	AND NOT EXISTS (SELECT FROM payments.feed_entry e WHERE e.psp = _feed_import.psp AND e.feed = _feed_import.feed AND e.entry_id = i.id);
	IF fresh IS NULL THEN
		RETURN 0;
	END IF;
	BEGIN
		SELECT CASE WHEN r.duplicate THEN 0 ELSE r.lines END INTO n FROM payments.import_settlement(psp, format,
			E'[\n' || array_to_string(bodies, E',\n') || E'\n]', file_name, '{"amounts": "minor"}') r;
		RETURN n;
	EXCEPTION WHEN SQLSTATE 'PY602' OR SQLSTATE 'PY603' OR data_exception OR integrity_constraint_violation THEN
		NULL;	-- one of them cannot be read; found below, and the others go in
	END;
	FOR i IN 1 .. array_length(fresh, 1) LOOP
		n := n + payments._feed_import_one(psp, feed, format, fresh[i], bodies[i], file_name);
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION payments._feed_import(text, text, text, text[], text[], text) IS 'Internal: imports the entries of a page that are new, as one batch, and returns how many; what cannot be read goes to feed_entry.';

CREATE FUNCTION payments._feed_import_one(psp text, feed text, format text, entry_id text, entry text, file_name text) RETURNS int
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	n int := 0;
BEGIN
	IF EXISTS (SELECT FROM payments._feed_unknown_lines(psp, ARRAY[entry_id])) THEN
		SELECT CASE WHEN r.duplicate THEN 0 ELSE r.lines END INTO n
		FROM payments.import_settlement(psp, format, E'[\n' || entry || E'\n]', file_name, '{"amounts": "minor"}') r;
	END IF;
	DELETE FROM payments.feed_entry e WHERE e.psp = _feed_import_one.psp AND e.feed = _feed_import_one.feed AND e.entry_id = _feed_import_one.entry_id;
	RETURN n;
EXCEPTION WHEN SQLSTATE 'PY602' OR SQLSTATE 'PY603' OR data_exception OR integrity_constraint_violation THEN
	PERFORM payments._feed_keep(psp, feed, entry_id, entry, sqlerrm);
	RETURN 0;
END
$$;
COMMENT ON FUNCTION payments._feed_import_one(text, text, text, text, text, text) IS 'Internal: imports one entry, or keeps it in feed_entry with the reason why it cannot.';

CREATE FUNCTION payments._feed_keep(psp text, feed text, entry_id text, body text, reason text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	-- Locked: soon again.  Else at growing intervals up to a day; an error may go away with an upgrade, a new currency, a repair.
	INSERT INTO payments.feed_entry AS e (psp, feed, entry_id, body, reason, seen_at, due_at)
	VALUES ($1, $2, $3, payments._mask_card_numbers($4), left($5, 500), now(), clock_timestamp() + CASE $5 WHEN 'locked' THEN interval '1 s' ELSE interval '1 min' END)
	ON CONFLICT (psp, feed, entry_id) DO UPDATE SET tries = e.tries + 1, reason = excluded.reason,
		due_at = clock_timestamp() + CASE excluded.reason WHEN 'locked' THEN least(e.tries, 60) * interval '1 s'
			ELSE least(interval '1 min' * 4 ^ least(e.tries, 6), interval '1 day') END
	WHERE e.discarded_at IS NULL
$$;
COMMENT ON FUNCTION payments._feed_keep(text, text, text, text, text) IS 'Internal: keeps an entry that could not be applied, to be tried again.';
