-- Settlement files: formats, and their import.

CREATE FUNCTION payments.mask_staged() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'pay_mask_staged';
COMMENT ON FUNCTION payments.mask_staged() IS 'Trigger: masks card numbers in lines that are staged.';

CREATE FUNCTION payments._settlement_csv(content text, options jsonb)
	RETURNS TABLE (
		line_no int, kind text, type text, entry_id text, psp_object_id text, psp_payment_id text,
		reference text, gross numeric, fee numeric, net numeric, currency text, original_amount numeric,
		original_currency text, occurred_at timestamptz, available_at timestamptz, payout_ref text,
		description text, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_csv';
COMMENT ON FUNCTION payments._settlement_csv(text, jsonb) IS 'Internal: format csv. Raises PY602.';

CREATE FUNCTION payments._settlement_stripe_payout(content text, options jsonb)
	RETURNS TABLE (
		line_no int, kind text, type text, entry_id text, psp_object_id text, psp_payment_id text,
		reference text, gross numeric, fee numeric, net numeric, currency text, original_amount numeric,
		original_currency text, occurred_at timestamptz, available_at timestamptz, payout_ref text,
		description text, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_stripe_payout';
COMMENT ON FUNCTION payments._settlement_stripe_payout(text, jsonb) IS 'Internal: format stripe_payout. Raises PY602.';

CREATE FUNCTION payments._settlement_stripe_balance(content text, options jsonb)
	RETURNS TABLE (
		line_no int, kind text, type text, entry_id text, psp_object_id text, psp_payment_id text,
		reference text, gross numeric, fee numeric, net numeric, currency text, original_amount numeric,
		original_currency text, occurred_at timestamptz, available_at timestamptz, payout_ref text,
		description text, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_stripe_balance';
COMMENT ON FUNCTION payments._settlement_stripe_balance(text, jsonb) IS 'Internal: format stripe_balance. Raises PY602.';

CREATE FUNCTION payments._settlement_adyen(content text, options jsonb)
	RETURNS TABLE (
		line_no int, kind text, type text, entry_id text, psp_object_id text, psp_payment_id text,
		reference text, gross numeric, fee numeric, net numeric, currency text, original_amount numeric,
		original_currency text, occurred_at timestamptz, available_at timestamptz, payout_ref text,
		description text, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_adyen';
COMMENT ON FUNCTION payments._settlement_adyen(text, jsonb) IS 'Internal: format adyen. Raises PY602.';

CREATE FUNCTION payments._settlement_stripe_api(content text, options jsonb)
	RETURNS TABLE (
		line_no int, kind text, type text, entry_id text, psp_object_id text, psp_payment_id text,
		reference text, gross numeric, fee numeric, net numeric, currency text, original_amount numeric,
		original_currency text, occurred_at timestamptz, available_at timestamptz, payout_ref text,
		description text, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_stripe_api';
COMMENT ON FUNCTION payments._settlement_stripe_api(text, jsonb) IS 'Internal: format stripe_api. Raises PY602.';

CREATE FUNCTION payments._settlement_camt053(content text, options jsonb)
	RETURNS TABLE (
		record text, line_no int, statement_no int, entry_no int, detail_no int, status text, account text,
		statement_id text, amount numeric, currency text, reversal boolean, booking_date date,
		value_date date, end_to_end_id text, bank_reference text, reference text, remittance text,
		counterparty text, counterparty_account text, code text, opening_balance numeric,
		closing_balance numeric, opening_date date, closing_date date, entries int, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_camt053';
COMMENT ON FUNCTION payments._settlement_camt053(text, jsonb) IS 'Internal: format camt053. Raises PY602, PY603.';

CREATE FUNCTION payments._settlement_mt940(content text, options jsonb)
	RETURNS TABLE (
		record text, line_no int, statement_no int, entry_no int, detail_no int, status text, account text,
		statement_id text, amount numeric, currency text, reversal boolean, booking_date date,
		value_date date, end_to_end_id text, bank_reference text, reference text, remittance text,
		counterparty text, counterparty_account text, code text, opening_balance numeric,
		closing_balance numeric, opening_date date, closing_date date, entries int, raw jsonb
	)
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_mt940';
COMMENT ON FUNCTION payments._settlement_mt940(text, jsonb) IS 'Internal: format mt940. Raises PY602, PY603.';

CREATE FUNCTION payments._mask_card_numbers(content text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_mask_card_numbers';
COMMENT ON FUNCTION payments._mask_card_numbers(text) IS 'Internal: a file with LF for CRLF, without newlines at its end, and with card numbers masked. Raises PY608.';

CREATE FUNCTION payments.settlement_text(content bytea, encoding text DEFAULT NULL) RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_settlement_text';
COMMENT ON FUNCTION payments.settlement_text(bytea, text) IS
'The bytes of a settlement file as text, for import_settlement(content => ...). encoding: LATIN1, WIN1252 and so on; null: what an XML file says of itself, else UTF8. Raises PY602 (it is not of that encoding), PY608 (more than 128 MB).';

CREATE FUNCTION payments._settlement_amounts(
	line_no int, currency text, exponent int, unit int, gross numeric, fee numeric, net numeric
) RETURNS bigint[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_settlement_amounts';
COMMENT ON FUNCTION payments._settlement_amounts(int, text, int, int, numeric, numeric, numeric) IS 'Internal: gross, fee and net of a line in minor units, exactly. unit: null for major units, else the decimals of the PSP''s unit. Raises PY602.';

CREATE FUNCTION payments._settlement_amount(
	line_no int, currency text, exponent int, unit int, amount numeric
) RETURNS bigint
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_settlement_amount';
COMMENT ON FUNCTION payments._settlement_amount(int, text, int, int, numeric) IS 'Internal: an amount in minor units, exactly; null for null. Raises PY602.';

-- Errors of import_settlement() and what it calls are raised by this, and not by
-- RAISE: the statement that they come from may hold the file, and RAISE would write
-- it into the log.
CREATE FUNCTION payments._settlement_fail(code text, message text, detail text, hint text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'pay_settlement_fail';
COMMENT ON FUNCTION payments._settlement_fail(text, text, text, text) IS 'Internal: raises, and keeps the statement, which may hold a file, out of the log.';

CREATE FUNCTION payments._settlement_line(content text, line int) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'pay_settlement_line';
COMMENT ON FUNCTION payments._settlement_line(text, int) IS 'Internal: a line of a file for a message, with card numbers masked; null if there is none, or it is one of XML or JSON.';

-- Which columns import_settlement() knows of, and of which type.  No other type
-- is taken: a cast could run somebody's code with our rights.
CREATE FUNCTION payments._settlement_columns(_source text) RETURNS TABLE (name text, type text)
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.name, c.type
	FROM (
		VALUES
			('psp', 'line_no', 'integer'),
			('psp', 'kind', 'text'),
			('psp', 'type', 'text'),
			('psp', 'entry_id', 'text'),
			('psp', 'psp_object_id', 'text'),
			('psp', 'psp_payment_id', 'text'),
			('psp', 'reference', 'text'),
			('psp', 'gross', 'numeric'),
			('psp', 'fee', 'numeric'),
			('psp', 'net', 'numeric'),
			('psp', 'currency', 'text'),
			('psp', 'original_amount', 'numeric'),
			('psp', 'original_currency', 'text'),
			('psp', 'occurred_at', 'timestamp with time zone'),
			('psp', 'available_at', 'timestamp with time zone'),
			('psp', 'payout_ref', 'text'),
			('psp', 'description', 'text'),
			('psp', 'raw', 'jsonb'),
			('bank', 'record', 'text'),
			('bank', 'line_no', 'integer'),
			('bank', 'statement_no', 'integer'),
			('bank', 'entry_no', 'integer'),
			('bank', 'detail_no', 'integer'),
			('bank', 'status', 'text'),
			('bank', 'account', 'text'),
			('bank', 'statement_id', 'text'),
			('bank', 'amount', 'numeric'),
			('bank', 'currency', 'text'),
			('bank', 'reversal', 'boolean'),
			('bank', 'booking_date', 'date'),
			('bank', 'value_date', 'date'),
			('bank', 'end_to_end_id', 'text'),
			('bank', 'bank_reference', 'text'),
			('bank', 'reference', 'text'),
			('bank', 'remittance', 'text'),
			('bank', 'counterparty', 'text'),
			('bank', 'counterparty_account', 'text'),
			('bank', 'code', 'text'),
			('bank', 'opening_balance', 'numeric'),
			('bank', 'closing_balance', 'numeric'),
			('bank', 'opening_date', 'date'),
			('bank', 'closing_date', 'date'),
			('bank', 'entries', 'integer'),
			('bank', 'raw', 'jsonb')
	) c (source, name, type)
	WHERE c.source = _source
$$;
COMMENT ON FUNCTION payments._settlement_columns(text) IS 'Internal: columns that a format function may return; it need not return all.';

CREATE FUNCTION payments._settlement_rows(_format text, _function regprocedure, _content text, _options jsonb)
	RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'pay_settlement_rows';
COMMENT ON FUNCTION payments._settlement_rows(text, regprocedure, text, jsonb) IS
'Internal: what a format function returns, called as its owner, with the columns that the caller lists; null are those that it has not. Raises PY601, 42501.';

CREATE FUNCTION payments._settlement_query(_format payments.settlement_format) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	signature regprocedure := to_regprocedure(_format.function || '(text, jsonb)');
	list text;
	columns text;
BEGIN
	IF signature IS NULL OR strpos(_format.function, '.') = 0 THEN
		PERFORM payments._settlement_fail(
			'PY601',
			format('function %s(text, jsonb) of settlement format "%s" does not exist',
				_format.function, _format.format),
			NULL,
			'Create it, or correct the row of payments.settlement_format; name its schema.');
	END IF;
	-- Of ours the shipped formats', and no other: some do as they are told.
	IF EXISTS (
		SELECT FROM pg_proc p WHERE p.oid = signature AND p.pronamespace = 'payments'::regnamespace
	) AND NOT EXISTS (
		SELECT FROM payments.settlement_format s
		WHERE s.builtin AND to_regprocedure(s.function || '(text, jsonb)') = signature
	) THEN
		PERFORM payments._settlement_fail(
			'PY601',
			format('function %s of settlement format "%s" is none that reads files',
				_format.function, _format.format),
			NULL,
			'Write one of your own, or name that of a shipped format.');
	END IF;
	-- The function may have joined what stood apart in the file, or decoded it.
	SELECT string_agg(
			format(
				CASE
					WHEN c.type IN ('text', 'jsonb') THEN 'payments._mask_value(f.%1$I) AS %1$I'
					ELSE 'f.%I'
				END,
				c.name),
			', '),
		string_agg(format('%I %s', c.name, c.type), ', ')
	INTO list, columns
	FROM payments._settlement_columns(_format.source) c;
	RETURN format('SELECT %s FROM payments._settlement_rows(%L, %s, $1, $2) f (%s)',
		list, _format.format, signature::oid, columns);
END
$$;
COMMENT ON FUNCTION payments._settlement_query(payments.settlement_format) IS 'Internal: a query over the rows of a format function that has all columns, in the form that import_settlement() wants. Raises PY601.';

CREATE FUNCTION payments._settlement_check_totals(
	_batch bigint, _lines int, _totals jsonb, _rule text, _expected jsonb
) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w record;
	problem text;
BEGIN
	IF (_expected ->> 'lines')::int <> _lines THEN
		problem := format('It has %s lines, and %s were expected.', _lines, _expected ->> 'lines');
	END IF;
	FOR w IN
		SELECT e.key AS currency, e.value::bigint AS wanted,
			coalesce((_totals -> e.key ->> 'net')::bigint, 0) AS net
		FROM jsonb_each_text(coalesce(_expected -> 'net', '{}')) e
	LOOP
		IF w.wanted <> w.net THEN
			problem := format('Its lines make %s, and %s were expected.',
				payments.format_amount(w.net, w.currency), payments.format_amount(w.wanted, w.currency));
		END IF;
	END LOOP;
	-- A payout takes out what its other lines brought in.
	FOR w IN
		SELECT l.payout_ref, l.currency,
			coalesce(sum(l.net) FILTER (WHERE l.kind <> 'payout'), 0)::bigint AS net,
			coalesce(-sum(l.net) FILTER (WHERE l.kind = 'payout'), 0)::bigint AS paid,
			bool_or(l.kind = 'payout') AS has_payout,
			(_expected -> 'payouts' ->> l.payout_ref)::bigint AS wanted
		FROM payments.settlement_line l
		WHERE l.batch_id = _batch AND l.payout_ref IS NOT NULL AND (_rule = 'payout' OR _expected ? 'payouts')
		GROUP BY l.payout_ref, l.currency
		ORDER BY l.payout_ref, l.currency
	LOOP
		IF _rule = 'payout' AND w.has_payout AND w.net <> w.paid THEN
			problem := format('The lines of payout "%s" make %s, and the payout is %s.', w.payout_ref,
				payments.format_amount(w.net, w.currency), payments.format_amount(w.paid, w.currency));
		ELSIF w.wanted <> w.net THEN
			problem := format('The lines of payout "%s" make %s, and %s were expected.', w.payout_ref,
				payments.format_amount(w.net, w.currency), payments.format_amount(w.wanted, w.currency));
		END IF;
		EXIT WHEN problem IS NOT NULL;
	END LOOP;
	SELECT k.key INTO w
	FROM jsonb_each(coalesce(_expected -> 'payouts', '{}')) k
	WHERE problem IS NULL
	AND NOT EXISTS (
		SELECT FROM payments.settlement_line l WHERE l.batch_id = _batch AND l.payout_ref = k.key
	)
	LIMIT 1;
	IF FOUND THEN
		problem := format('It has no line of payout "%s".', w.key);
	END IF;
	IF problem IS NOT NULL THEN
		PERFORM payments._settlement_fail(
			'PY603',
			'the settlement file does not add up',
			problem,
			'Nothing was imported. Lines are missing or doubled: get the file again from its sender.');
	END IF;
END
$$;
COMMENT ON FUNCTION payments._settlement_check_totals(bigint, int, jsonb, text, jsonb) IS 'Internal: compares lines with the payouts in the file and with what the caller expects. Raises PY603.';

-- A line without a key of a payment is missing here whatever we have booked, and whoever believes it books
-- twice.  Where the sender was not asked for the key, the file is refused; what we know already needs none.
CREATE FUNCTION payments._settlement_check_keys(
	_batch bigint, _format payments.settlement_format, _options jsonb
) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	l record;
BEGIN
	IF _format.payment_columns IS NULL OR _options -> 'columns' ?| ARRAY['psp_payment_id', 'reference'] THEN
		RETURN;
	END IF;
	SELECT x.line_no, x.kind, x.raw INTO l
	FROM payments.settlement_line x
	WHERE x.batch_id = _batch
	AND x.kind IN ('charge', 'refund', 'refund_failure', 'chargeback', 'chargeback_reversal')
	AND NOT x.repeated
	AND x.psp_payment_id IS NULL
	AND x.reference IS NULL
	AND (x.kind = 'charge' OR x.psp_object_id IS NULL)
	ORDER BY x.line_no
	LIMIT 1;
	-- Where the column is there and says nothing, the charge is somebody else's.
	IF FOUND
		AND NOT EXISTS (
			SELECT FROM jsonb_object_keys(l.raw) k (name) WHERE lower(k.name) = ANY (_format.payment_columns)
		)
	THEN
		PERFORM payments._settlement_fail(
			'PY602',
			format(
				'line %s of the settlement file cannot be matched: it is a %s, and no column says of which '
					'payment',
				l.line_no, l.kind),
			NULL,
			format(
				'Nothing was imported. Switch on one of the columns "%s" when you export the file, and '
					'"source_id" as well.',
				array_to_string(_format.payment_columns, '", "')));
	END IF;
END
$$;
COMMENT ON FUNCTION payments._settlement_check_keys(bigint, payments.settlement_format, jsonb) IS 'Internal: refuses a file that has no column by which its payments could be found. Raises PY602.';

-- The lines that this transaction has staged, and no others; those that an earlier one left are of no use to anybody.
CREATE FUNCTION payments._settlement_unstage() RETURNS text
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	content text;
	bytes bigint;
BEGIN
	SELECT sum(octet_length(s.line) + 1) INTO bytes
	FROM payments.settlement_staging s
	WHERE s.xid = pg_current_xact_id() AND s.staged_at = now();
	IF bytes IS NULL THEN
		PERFORM payments._settlement_fail(
			'22023',
			'content is missing, and this transaction has staged no lines',
			NULL,
			'Pass the file, or COPY it into payments.settlement_staging (line) in the same transaction.');
	ELSIF bytes > 128 * 1024 * 1024 THEN
		PERFORM payments._settlement_fail(
			'PY608',
			format('the settlement file has %s bytes, and %s are possible', bytes, 128 * 1024 * 1024),
			NULL,
			'Ask for it in smaller periods, or by payout.');
	END IF;
	SELECT string_agg(s.line, E'\n' ORDER BY s.line_no) INTO content
	FROM payments.settlement_staging s
	WHERE s.xid = pg_current_xact_id() AND s.staged_at = now();
	DELETE FROM payments.settlement_staging s
	WHERE s.xid = pg_current_xact_id() OR s.xid < pg_snapshot_xmin(pg_current_snapshot());
	RETURN content;
END
$$;
COMMENT ON FUNCTION payments._settlement_unstage() IS 'Internal: takes the lines that this transaction has copied into settlement_staging. Raises 22023 if there are none, PY608.';

CREATE FUNCTION payments._settlement_totals(
	_batch bigint, _source text, OUT totals jsonb, OUT period_from timestamptz, OUT period_to timestamptz
) RETURNS record
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF _source = 'psp' THEN
		SELECT jsonb_object_agg(t.currency, to_jsonb(t) - 'currency' - 'since' - 'til'), min(t.since),
			max(t.til)
		INTO _settlement_totals.totals, period_from, period_to
		FROM (
			SELECT l.currency, count(*) AS lines, sum(l.gross) AS gross, sum(l.fee) AS fee, sum(l.net) AS net,
				min(l.occurred_at) AS since, max(l.occurred_at) AS til
			FROM payments.settlement_line l
			WHERE l.batch_id = _batch
			GROUP BY l.currency
		) t;
	ELSE
		SELECT jsonb_object_agg(t.currency, to_jsonb(t) - 'currency' - 'since' - 'til'), min(t.since),
			max(t.til)
		INTO _settlement_totals.totals, period_from, period_to
		FROM (
			SELECT e.currency, count(*) AS entries,
				coalesce(sum(e.amount) FILTER (WHERE e.amount > 0), 0) AS credits,
				coalesce(-sum(e.amount) FILTER (WHERE e.amount < 0), 0) AS debits, sum(e.amount) AS net,
				min(e.booking_date)::timestamp AT TIME ZONE 'UTC' AS since,
				max(e.booking_date)::timestamp AT TIME ZONE 'UTC' AS til
			FROM payments.bank_entry e
			WHERE e.batch_id = _batch AND e.detail_no = 0 AND e.status = 'booked'
			GROUP BY e.currency
		) t;
	END IF;
	totals := coalesce(totals, '{}');
END
$$;
COMMENT ON FUNCTION payments._settlement_totals(bigint, text) IS 'Internal: sums by currency of a batch, in minor units, and its period.';

CREATE FUNCTION payments._settlement_turn(_psp text) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO payments.settlement_source AS s (psp, turns)
	VALUES (_psp, 1)
	ON CONFLICT ON CONSTRAINT settlement_source_pkey DO UPDATE
	SET turns = s.turns + 1
$$;
COMMENT ON FUNCTION payments._settlement_turn(text) IS
'Internal: waits until nobody else imports or reconciles for this PSP or bank, until the transaction ends. Raises 40001 above READ COMMITTED when somebody did since its snapshot.';

CREATE FUNCTION payments.import_settlement(
	psp text, format text, content text DEFAULT NULL, file_name text DEFAULT NULL, options jsonb DEFAULT '{}',
	OUT batch_id bigint, OUT lines int, OUT duplicate boolean, OUT known int, OUT doubtful int
) RETURNS record
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f payments.settlement_format;
	first record;
	sums record;
	body text;
	hash bytea;
	problem text;
	advice text;
BEGIN
	PERFORM payments._refuse_card_numbers(
		'psp', import_settlement.psp, 'format', import_settlement.format,
		'options', import_settlement.options);
	PERFORM payments._commit_durably();
	PERFORM payments._require_setup();
	IF import_settlement.psp IS NULL
		OR import_settlement.format IS NULL
		OR import_settlement.options IS NULL
		OR jsonb_typeof(import_settlement.options) <> 'object'
		OR coalesce(import_settlement.options ->> 'amounts', 'major') NOT IN ('major', 'minor')
		OR coalesce(import_settlement.options ->> 'totals', 'none') NOT IN ('none', 'payout') THEN
		PERFORM payments._settlement_fail(
			'22023',
			'psp or format is missing, or options is no JSON object, or its amounts or totals is not known',
			NULL,
			'docs/reconciliation.md lists the options of each format.');
	END IF;
	SELECT s.* INTO f
	FROM payments.settlement_format s
	WHERE s.format = import_settlement.format
	-- An upgrade may ship a name that somebody has in use.
	ORDER BY s.builtin DESC
	LIMIT 1;
	IF NOT FOUND THEN
		PERFORM payments._settlement_fail(
			'PY601',
			format('settlement format "%s" does not exist', import_settlement.format),
			NULL,
			'SELECT format, description FROM payments.settlement_format; lists them.');
	END IF;
	IF f.source = 'psp'
		AND NOT EXISTS (SELECT FROM payments.psp p WHERE p.psp = import_settlement.psp) THEN
		PERFORM payments._settlement_fail(
			'PY401',
			format('PSP "%s" does not exist', import_settlement.psp),
			NULL,
			'Create it with payments.create_psp().');
	ELSIF import_settlement.psp !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		PERFORM payments._settlement_fail(
			'22023',
			'the name of the bank account is not a simple name',
			NULL,
			'Use up to 63 lower-case letters, digits and "_", beginning with a letter.');
	ELSIF f.source = 'bank'
		AND EXISTS (SELECT FROM payments.psp p WHERE p.psp = import_settlement.psp) THEN
		PERFORM payments._settlement_fail(
			'22023',
			format('"%s" is a PSP, and format "%s" is of bank statements',
				import_settlement.psp, import_settlement.format),
			'reconcile() would take its lines for those of the PSP, and never look at the bank''s.',
			'Give the bank account a name of its own, such as "giro".');
	END IF;
	body := payments._mask_card_numbers(coalesce(import_settlement.content, payments._settlement_unstage()));
	import_settlement.content := NULL;
	hash := sha256(convert_to(body, 'UTF8'));

	-- Files of one PSP come one after the other: the second with the same file finds the first's batch,
	-- and rows that were there before are seen.  Above READ COMMITTED, who has waited for another's file
	-- gets 40001.
	PERFORM payments._settlement_turn(import_settlement.psp);
	SELECT b.batch_id, b.lines, b.format, b.options INTO first
	FROM payments.settlement_batch b
	WHERE b.psp = import_settlement.psp AND b.sha256 = hash;
	IF FOUND THEN
		IF first.format <> import_settlement.format OR first.options <> import_settlement.options THEN
			PERFORM payments._settlement_fail(
				'PY604',
				'the settlement file was imported with another format or other options',
				format('Batch %s, format "%s", options %s.', first.batch_id, first.format, first.options),
				'A file is read once; its batch stays as it is.');
		END IF;
		batch_id := first.batch_id;
		lines := first.lines;
		duplicate := true;
		known := first.lines;
		doubtful := 0;
		RETURN;
	END IF;

	batch_id := nextval('payments.settlement_batch_batch_id_seq');
	BEGIN
		IF f.source = 'psp' THEN
			SELECT i.lines, i.known, i.doubtful
			INTO import_settlement.lines, import_settlement.known, import_settlement.doubtful
			FROM payments._settlement_import_lines(
				batch_id, import_settlement.psp, f, body, import_settlement.options) i;
			PERFORM payments._settlement_check_keys(batch_id, f, import_settlement.options);
		ELSE
			SELECT i.lines, i.known, i.doubtful
			INTO import_settlement.lines, import_settlement.known, import_settlement.doubtful
			FROM payments._settlement_import_entries(
				batch_id, import_settlement.psp, f, body, import_settlement.options) i;
		END IF;
	EXCEPTION WHEN OTHERS THEN
		-- The same again, with the line that it is about, and without the page of SQL that it came through,
		-- and the file in it.
		GET STACKED DIAGNOSTICS problem = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
		PERFORM payments._settlement_fail(
			sqlstate, sqlerrm,
			coalesce(
				nullif(problem, ''),
				payments._settlement_line(body, substring(sqlerrm FROM '^line ([0-9]{1,9}) of')::int)),
			nullif(advice, ''));
	END;
	-- Another file that says the same: it is kept, and nothing in it counts.
	duplicate := known = lines AND lines > 0 AND doubtful = 0;
	sums := payments._settlement_totals(batch_id, f.source);
	PERFORM payments._settlement_check_totals(
		batch_id, lines, sums.totals, coalesce(import_settlement.options ->> 'totals', f.totals),
		import_settlement.options -> 'expected');
	INSERT INTO payments.settlement_batch (batch_id, psp, format, source, file_name, sha256, options, lines,
		known, doubtful, totals, period_from, period_to, imported_at, imported_by)
	VALUES (import_settlement.batch_id, import_settlement.psp, f.format, f.source,
		payments._mask_value(import_settlement.file_name), hash, import_settlement.options,
		import_settlement.lines, import_settlement.known, import_settlement.doubtful, sums.totals,
		sums.period_from, sums.period_to, now(), payments._caller());
	INSERT INTO payments.settlement_progress (batch_id, psp, sums)
	SELECT import_settlement.batch_id, import_settlement.psp, coalesce(jsonb_agg(k), '[]')
	FROM (
		SELECT l.currency, l.kind, count(*) AS lines, sum(l.gross) AS gross, sum(l.fee) AS fee,
			sum(l.net) AS net
		FROM payments.settlement_line l
		WHERE l.batch_id = import_settlement.batch_id AND NOT l.repeated
		GROUP BY l.currency, l.kind
	) k;
	UPDATE payments.settlement_source s
	SET covered_to = greatest(s.covered_to, sums.period_to)
	WHERE s.psp = import_settlement.psp;
END
$$;
COMMENT ON FUNCTION payments.import_settlement(text, text, text, text, jsonb) IS
'Imports a settlement file of a PSP, or a statement of a bank (psp is then a name of yours for the account), all of it or nothing. content: the file; null: the lines that this transaction has copied into settlement_staging. options: how it is written, docs/reconciliation.md. duplicate: all that it says was here before, and nothing of it counts (the same file gives its first batch). known: lines that were here before; they do not count again. doubtful: lines of which a person must say whether they were. Raises PY601 (format), PY602 (a line cannot be read), PY603 (it does not add up), PY604 (imported with another format or options), PY608 (more than 128 MB), PY401 (PSP).';
