-- What import_settlement() writes of a file: each row, and whether it was here
-- before.  A file is known by what is in it and not by its bytes: a byte order
-- mark, another order or other quotes, another number of the message make no
-- other money of it.  Imports of one PSP or bank come one after the other
-- (_settlement_turn()), so that what was there before is seen.

CREATE TYPE payments._line_said AS (kind text, amounts bigint[], currency text);
COMMENT ON TYPE payments._line_said IS 'Internal: what a settlement line says: its kind; gross, fee and net in minor units; their currency.';

CREATE FUNCTION payments._settlement_contradicts(_now payments._line_said, _before payments._line_said)
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	-- A report that knows less may call by a vague word what another has named.
	SELECT (_now).amounts <> (_before).amounts
		OR (_now).currency <> (_before).currency
		OR (_now).kind <> (_before).kind AND (_now).kind NOT IN ('adjustment', 'unknown')
$$;
COMMENT ON FUNCTION payments._settlement_contradicts(payments._line_said, payments._line_said) IS 'Internal: does a line that was known come with other content?';

-- Without jit: how many rows a file has the planner does not know, and compiling takes longer than most of them.
CREATE FUNCTION payments._settlement_import_lines(
	_batch bigint, _psp text, _format payments.settlement_format, _content text, _options jsonb,
	OUT lines int, OUT known int, OUT doubtful int
) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
	EXECUTE format($sql$
		-- Decimals of the PSP's own units, where the file counts in these.
		WITH money AS (
			SELECT c.currency, c.exponent,
				CASE WHEN $2 ->> 'amounts' = 'minor' THEN coalesce(u.exponent, c.exponent) END AS unit
			FROM payments.currency c
			LEFT JOIN payments.psp p ON p.psp = %2$L
			LEFT JOIN payments.psp_currency u ON u.adapter = p.adapter AND u.currency = c.currency
		), r AS (
			SELECT f.line_no,
				CASE
					-- Another database's, unless we know it by the PSP's id; its lines without a reference
					-- (disputes, refunds made by hand) by the payment of an earlier one.
					WHEN payments._is_foreign(f.reference)
						AND NOT EXISTS (
							SELECT FROM payments.payment p
							WHERE p.psp = %2$L AND p.psp_payment_id = f.psp_payment_id
						)
						AND NOT EXISTS (
							SELECT FROM payments.movement m
							WHERE m.psp = %2$L AND m.object_id = f.psp_object_id
						)
					OR f.reference IS NULL
						AND EXISTS (
							SELECT FROM payments.settlement_line e
							WHERE e.psp = %2$L AND e.psp_payment_id = f.psp_payment_id AND e.kind = 'foreign'
						)
						THEN 'foreign'
					WHEN f.kind IN ('charge', 'refund', 'refund_failure', 'fee', 'chargeback',
						'chargeback_reversal', 'adjustment', 'reserve', 'reserve_release', 'transfer',
						'payout', 'payout_failure', 'fx')
						THEN f.kind
					ELSE 'unknown'
				END AS kind,
				f.type, f.reference,
				-- Two numbers in which card numbers were masked may have differed: they are none.
				CASE WHEN f.entry_id !~ '[*]{2}' THEN f.entry_id END AS entry_id,
				CASE WHEN f.psp_object_id !~ '[*]{2}' THEN f.psp_object_id END AS psp_object_id,
				CASE WHEN f.psp_payment_id !~ '[*]{2}' THEN f.psp_payment_id END AS psp_payment_id,
				concat(f.entry_id, f.psp_object_id, f.psp_payment_id) ~ '[*]{2}' AS is_masked,
				upper(f.currency) AS currency, upper(f.original_currency) AS original_currency,
				f.occurred_at, f.available_at, f.payout_ref, f.description, f.raw,
				payments._settlement_amounts(
					f.line_no, upper(f.currency), c.exponent, c.unit, f.gross, f.fee, f.net) AS amounts,
				CASE
					WHEN f.original_currency IS NOT NULL AND upper(f.original_currency) <> upper(f.currency)
						THEN payments._settlement_amount(
							f.line_no, upper(f.original_currency), o.exponent, o.unit, f.original_amount)
				END AS original,
				coalesce(
					f.psp_object_id, f.psp_payment_id, f.reference,
					CASE WHEN f.entry_id ~ '[*]{2}' THEN f.entry_id END) AS about
			FROM (%1$s) f
			LEFT JOIN money c ON c.currency = upper(f.currency)
			LEFT JOIN money o ON o.currency = upper(f.original_currency)
			OFFSET 0
		), m AS (
			-- What a line without an id of its own means, however it is written.  One that is about nothing is
			-- told from others of its day by its text.
			SELECT r.*,
				CASE
					WHEN r.entry_id IS NULL
						THEN ROW(lower(coalesce(r.type, r.kind)), r.about, r.amounts, r.currency,
							extract(epoch FROM r.occurred_at), r.payout_ref,
							CASE
								WHEN r.about IS NULL
									AND (r.occurred_at IS NOT NULL OR r.payout_ref IS NOT NULL)
									THEN r.description
							END)::text
				END AS meaning,
				r.entry_id IS NULL
					AND (r.about IS NULL OR r.is_masked)
					AND r.occurred_at IS NULL
					AND r.payout_ref IS NULL AS nameless
			FROM r
		), q AS (
			SELECT m.*, row_number() OVER same AS nth,
				payments._nth_identity(m.meaning, row_number() OVER same) AS identity,
				ROW(m.kind, m.amounts, m.currency)::payments._line_said AS said,
				first_value(ROW(m.kind, m.amounts, m.currency)::payments._line_said) OVER same AS said_first,
				row_number() OVER (PARTITION BY m.psp_object_id, m.kind ORDER BY m.line_no) AS nth_object,
				row_number() OVER (PARTITION BY m.psp_payment_id, m.kind ORDER BY m.line_no) AS nth_payment
			FROM m
			WINDOW same AS (PARTITION BY m.entry_id, m.meaning ORDER BY m.line_no)
		), k AS (
			SELECT q.*, e.said AS said_before,
				q.entry_id IS NOT NULL AND q.nth > 1 OR e.said IS NOT NULL AND NOT q.nameless AS was_here
			FROM q
			LEFT JOIN LATERAL (
				SELECT ROW(x.kind, ARRAY[x.gross, x.fee, x.net], x.currency)::payments._line_said AS said
				FROM payments.settlement_line x
				WHERE x.psp = %2$L AND x.entry_id = q.entry_id AND NOT x.repeated
				UNION ALL
				SELECT ROW(x.kind, ARRAY[x.gross, x.fee, x.net], x.currency)::payments._line_said
				FROM payments.settlement_line x
				WHERE x.psp = %2$L AND x.identity = q.identity AND NOT x.repeated
				LIMIT 1
			) e ON true
		), t AS (
			-- Or in other words: with another time, type or report, and the same amounts.
			SELECT k.*,
				NOT k.was_here
					AND k.psp_object_id IS NOT NULL
					AND k.nth <= (
						SELECT count(*)
						FROM payments.settlement_line x
						WHERE x.psp_object_id = k.psp_object_id
						AND x.psp = %2$L
						AND x.kind = k.kind
						AND NOT x.repeated
						AND (x.entry_id IS NULL OR k.entry_id IS NULL)
						AND (x.payout_ref = k.payout_ref) IS NOT FALSE
						AND x.currency = k.currency
						AND x.gross = k.amounts[1]
						AND (x.fee = k.amounts[2] OR 0 IN (x.fee, k.amounts[2]))
						-- A fee of one name may come every day; a charge is made once.
						AND (
							k.kind IN ('charge', 'refund', 'refund_failure', 'chargeback', 'chargeback_reversal')
							OR ((x.occurred_at AT TIME ZONE 'UTC')::date = (k.occurred_at AT TIME ZONE 'UTC')::date)
								IS NOT FALSE
						)
					) AS told_again
			FROM k
			OFFSET 0
		), w AS (
			INSERT INTO payments.settlement_line (batch_id, line_no, psp, kind, type, entry_id, identity,
				psp_object_id, psp_payment_id, reference, repeated, doubtful, further, gross, fee, net,
				currency, original_amount, original_currency, occurred_at, available_at, payout_ref,
				description, raw)
			SELECT $3, k.line_no, %2$L, k.kind, k.type, k.entry_id, k.identity, k.psp_object_id,
				k.psp_payment_id, k.reference, k.was_here OR k.told_again,
				CASE
					WHEN k.was_here
						THEN k.is_masked
							OR payments._settlement_contradicts(k.said, coalesce(k.said_before, k.said_first))
					WHEN k.nameless THEN k.said_before IS NOT NULL
					-- Once; told so again, it is known.
					WHEN k.told_again
						THEN NOT EXISTS (
							SELECT FROM payments.settlement_line e
							WHERE e.psp_object_id = k.psp_object_id
							AND e.psp = %2$L
							AND e.repeated
							AND (e.identity = k.identity OR e.entry_id = k.entry_id)
						)
					WHEN k.entry_id IS NULL AND k.about IS NULL
						THEN EXISTS (
							SELECT FROM payments.settlement_line e
							WHERE e.psp = %2$L
							AND e.kind = k.kind
							AND e.gross = k.amounts[1]
							AND e.fee = k.amounts[2]
							AND e.currency = k.currency
							AND coalesce(e.occurred_at, '-infinity') = coalesce(k.occurred_at, '-infinity')
							AND (e.payout_ref = k.payout_ref) IS NOT FALSE
							AND e.description IS DISTINCT FROM k.description
							AND e.entry_id IS NULL
							AND e.psp_object_id IS NULL
							AND e.psp_payment_id IS NULL
							AND e.reference IS NULL
							AND NOT e.repeated
						)
					ELSE k.nth = 1 AND EXISTS (
						SELECT FROM payments.settlement_line e
						WHERE e.psp_object_id = k.psp_object_id
						AND e.psp = %2$L
						AND e.kind = k.kind
						AND e.occurred_at = k.occurred_at
						AND (e.payout_ref = k.payout_ref) IS NOT FALSE
						AND (e.entry_id IS NULL OR k.entry_id IS NULL)
						AND NOT e.repeated
					)
				END,
				-- Lines about the same object or payment are told to reconciliation.
				k.psp_object_id IS NOT NULL
					AND (
						k.nth_object > 1
						OR EXISTS (
							SELECT FROM payments.settlement_line e
							WHERE e.psp_object_id = k.psp_object_id AND e.psp = %2$L AND e.kind = k.kind
						)
					)
				OR k.psp_payment_id IS NOT NULL
					AND (
						k.nth_payment > 1
						OR EXISTS (
							SELECT FROM payments.settlement_line e
							WHERE e.psp_payment_id = k.psp_payment_id AND e.psp = %2$L AND e.kind = k.kind
						)
					),
				k.amounts[1], k.amounts[2], k.amounts[3], k.currency, k.original,
				CASE WHEN k.original IS NOT NULL THEN k.original_currency END, k.occurred_at, k.available_at,
				k.payout_ref, k.description, coalesce(k.raw, '{}')
			FROM t k
			RETURNING repeated, doubtful
		)
		SELECT count(*), count(*) FILTER (WHERE w.repeated), count(*) FILTER (WHERE w.doubtful)
		FROM w$sql$, payments._settlement_query(_format), _psp)
	INTO lines, known, doubtful
	USING _content, _options, _batch;
END
$$;
COMMENT ON FUNCTION payments._settlement_import_lines(bigint, text, payments.settlement_format, text, jsonb) IS 'Internal: writes the lines of a PSP''s file; how many there are, were known before, and are doubtful. Raises PY602.';

-- Who may be one told twice at a bank.  A statement that lies across another, in
-- another dialect or under another name of its account, may have the other's
-- entries; and a bank may give all of its entries one and the same reference.
CREATE TYPE payments._statement_told AS (
	bank text, format text, account text, statement_id text, currency text, opening_balance bigint,
	closing_balance bigint, opening_date date, closing_date date
);
COMMENT ON TYPE payments._statement_told IS 'Internal: a bank statement, as it bounds its entries.';

CREATE FUNCTION payments._statement_follows(_now payments._statement_told, _before payments._statement_told)
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT (_now).opening_balance = (_before).closing_balance
		AND (_now).opening_date >= (_before).closing_date
		-- Where nothing was moved in all, the next begins as this one does.
		AND (_now).opening_balance <> (_before).opening_balance
$$;
COMMENT ON FUNCTION payments._statement_follows(payments._statement_told, payments._statement_told) IS 'Internal: does a statement begin where another ends, so that they have no entry in common?';

CREATE FUNCTION payments._statement_overlaps(_now payments._statement_told, _before payments._statement_told)
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		n.account = b.account
			AND n.currency = b.currency
			AND (
				payments._statement_follows(_now, _before) OR payments._statement_follows(_before, _now)
			) IS NOT TRUE
			AND (
				n.closing_balance = b.closing_balance AND n.closing_date = b.closing_date
				-- Pages of one statement have its number, and one of their own behind it.
				OR (
					n.format = b.format
						AND split_part(n.statement_id, '/', 1) = split_part(b.statement_id, '/', 1)
						AND n.statement_id <> b.statement_id
				) IS NOT TRUE
				AND (
					-- One dialect dates the opening balance by the evening before, another by the day.
					n.opening_balance = b.opening_balance
						AND b.closing_balance <> b.opening_balance
						AND abs(n.opening_date - b.opening_date) <= (n.format <> b.format)::int
					OR (n.opening_balance = b.closing_balance) IS NOT TRUE
						AND (
							b.opening_date < n.closing_date AND n.opening_date < b.closing_date
							OR n.format <> b.format
								AND b.opening_date <= n.closing_date
								AND n.opening_date <= b.closing_date
						)
				)
			),
		false)
	FROM (SELECT (_now).*) n, (SELECT (_before).*) b
$$;
COMMENT ON FUNCTION payments._statement_overlaps(payments._statement_told, payments._statement_told) IS 'Internal: may two statements of an account have entries in common?';

-- By their balances first: these add up, or the files were refused.
CREATE FUNCTION payments._entry_again(
	_now payments._statement_told, _before payments._statement_told, _text text, _text_before text
) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN (_now).opening_balance = (_before).opening_balance
			AND (_now).closing_balance = (_before).closing_balance
			AND (
				(_now).opening_balance <> (_now).closing_balance
				OR (_now).statement_id = (_before).statement_id
			)
			THEN 'known'
		WHEN payments._statement_follows(_now, _before) OR payments._statement_follows(_before, _now)
			THEN 'other'
		-- Two dialects tell one text in two ways.
		WHEN (_now).format = (_before).format
			AND regexp_replace(_text, '[[:space:]]', '', 'g')
				<> regexp_replace(_text_before, '[[:space:]]', '', 'g')
			THEN 'doubtful'
		WHEN (_now).opening_balance = (_before).opening_balance
			OR (_now).closing_balance = (_before).closing_balance
			THEN 'known'
		WHEN (_now).opening_date >= (_before).closing_date OR (_now).closing_date <= (_before).opening_date
			THEN 'doubtful'
		ELSE 'known'
	END
$$;
COMMENT ON FUNCTION payments._entry_again(payments._statement_told, payments._statement_told, text, text) IS 'Internal: of an entry that has account, reference, amount and day of an earlier one: is it known, or other, or doubtful, by the statements that both are in, and by their texts?';

CREATE FUNCTION payments._account_has_name(_account text, _currency text, _bank text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (
		SELECT FROM payments.bank_statement s
		JOIN payments.settlement_batch b ON b.batch_id = s.batch_id AND b.psp = _bank
		WHERE s.account = _account
		AND s.currency = _currency
		AND (
			NOT s.lies_across
			OR payments._decision(
				_bank, 'statement_overlap', format('statement %s:%s', s.batch_id, s.statement_no)) = 'accept'
		)
	)
$$;
COMMENT ON FUNCTION payments._account_has_name(text, text, text) IS 'Internal: have statements of an account come under this name, and nobody doubts it?';

CREATE FUNCTION payments._nth_identity(_meaning text, _nth bigint) RETURNS bytea
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE
		WHEN _meaning IS NOT NULL THEN substr(sha256(convert_to(concat(_meaning, ' ', _nth), 'UTF8')), 1, 16)
	END
$$;
COMMENT ON FUNCTION payments._nth_identity(text, bigint) IS 'Internal: what a line or entry is known by, of those in its file that say the same.';

CREATE FUNCTION payments._settlement_import_entries(
	_batch bigint, _psp text, _format payments.settlement_format, _content text, _options jsonb,
	OUT lines int, OUT known int, OUT doubtful int
) RETURNS record
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
	w record;
BEGIN
	EXECUTE format($sql$
		WITH r AS MATERIALIZED (
			SELECT f.*, c.exponent, coalesce(f.detail_no, 0) AS detail,
				payments._settlement_amount(f.line_no, f.currency, c.exponent, NULL, f.amount) AS minor,
				payments._settlement_amount(f.line_no, f.currency, c.exponent, NULL, f.opening_balance)
					AS opening,
				payments._settlement_amount(f.line_no, f.currency, c.exponent, NULL, f.closing_balance)
					AS closing
			FROM (%1$s) f
			LEFT JOIN payments.currency c ON c.currency = f.currency
		), p AS MATERIALIZED (
			-- Of these accounts what was here, and what is in this file.
			SELECT x.batch_id, x.statement_no, b.psp AS bank, x.account, x.currency, x.opening_date,
				x.closing_date,
				ROW(b.psp, b.format, x.account, x.statement_id, x.currency, x.opening_balance,
					x.closing_balance, x.opening_date, x.closing_date)::payments._statement_told AS told
			FROM payments.bank_statement x
			JOIN payments.settlement_batch b ON b.batch_id = x.batch_id
			WHERE x.account IN (SELECT r.account FROM r WHERE r.record = 'statement')
			UNION ALL
			SELECT $3, r.statement_no, %2$L, r.account, r.currency, r.opening_date, r.closing_date,
				ROW(%2$L, $4, r.account, r.statement_id, r.currency, r.opening, r.closing, r.opening_date,
					r.closing_date)::payments._statement_told
			FROM r
			WHERE r.record = 'statement'
		), o AS MATERIALIZED (
			SELECT n.statement_no, n.told,
				EXISTS (
					SELECT FROM p b
					WHERE (b.batch_id, b.statement_no) < (n.batch_id, n.statement_no)
					AND b.bank = n.bank
					AND b.opening_date <= n.closing_date + 1
					AND n.opening_date <= b.closing_date + 1
					AND payments._statement_overlaps(n.told, b.told)
				)
				-- All of it, where the account has another name, until a person says that it may have two.
				OR EXISTS (
					SELECT FROM p b
					WHERE b.account = n.account AND b.currency = n.currency AND b.bank <> n.bank
				) AND NOT payments._account_has_name(n.account, n.currency, n.bank) AS lies_across
			FROM p n
			WHERE n.batch_id = $3
		), s AS (
			INSERT INTO payments.bank_statement (batch_id, statement_no, line_no, account, statement_id,
				currency, opening_balance, closing_balance, opening_date, closing_date, entries, lies_across, raw)
			SELECT $3, r.statement_no, r.line_no, r.account, r.statement_id, r.currency, r.opening, r.closing,
				r.opening_date, r.closing_date, coalesce(r.entries, 0),
				(SELECT o.lies_across FROM o WHERE o.statement_no = r.statement_no), r.raw
			FROM r
			WHERE r.record = 'statement'
		), h AS (
			-- No join: windows go once over the file, however long it is.
			SELECT r.*, first_value(r.account) OVER statement AS of_account,
				first_value(ROW(r.statement_id, extract(epoch FROM r.opening_date), r.opening,
					extract(epoch FROM r.closing_date), r.closing)::text) OVER statement AS of_statement
			FROM r
			WINDOW statement AS (PARTITION BY r.statement_no ORDER BY r.record <> 'statement')
		), m AS (
			-- The bank's own reference, on this day and with this amount; without one, or where a card number
			-- was masked in it, all that entry and statement say.
			SELECT h.*,
				CASE
					WHEN h.detail = 0 AND h.bank_reference !~ '[*]{2}'
						THEN ROW(%2$L, h.of_account, h.currency, h.minor,
							extract(epoch FROM coalesce(h.booking_date, h.value_date)),
							coalesce(h.status, 'booked'), h.bank_reference)::text
				END AS by_reference,
				CASE
					WHEN h.detail = 0
						THEN ROW(%2$L, h.of_account, h.currency, h.minor, extract(epoch FROM h.booking_date),
							extract(epoch FROM h.value_date), coalesce(h.status, 'booked'), h.reversal,
							h.end_to_end_id, h.reference, h.remittance, h.counterparty_account, h.code,
							h.of_statement)::text
				END AS by_all
			FROM h
			WHERE h.record <> 'statement'
		), i AS (
			SELECT m.*,
				payments._nth_identity(
					m.by_reference, row_number() OVER (PARTITION BY m.by_reference ORDER BY m.line_no))
					AS reference_identity,
				payments._nth_identity(
					m.by_all, row_number() OVER (PARTITION BY m.by_all ORDER BY m.line_no)) AS whole_identity
			FROM m
		), g AS (
			SELECT i.*, o.lies_across,
				CASE
					WHEN b.identity IS NOT NULL
						THEN payments._entry_again(o.told, b.told, i.remittance, b.remittance)
				END AS again
			FROM i
			LEFT JOIN o ON o.statement_no = i.statement_no
			LEFT JOIN LATERAL (
				SELECT e.identity, e.remittance,
					ROW(y.psp, y.format, x.account, x.statement_id, x.currency, x.opening_balance,
						x.closing_balance, x.opening_date, x.closing_date)::payments._statement_told AS told
				FROM payments.bank_entry e
				JOIN payments.bank_statement x ON x.batch_id = e.batch_id AND x.statement_no = e.statement_no
				JOIN payments.settlement_batch y ON y.batch_id = e.batch_id
				WHERE e.identity = i.reference_identity AND e.detail_no = 0 AND NOT e.repeated
			) b ON true
		), k AS (
			-- The transactions of a booking are known by it.
			SELECT g.*, first_value(g.again) OVER entry AS entry_again,
				first_value(
					CASE
						WHEN g.by_all IS NULL THEN ''
						WHEN g.by_reference IS NULL OR g.again IN ('other', 'doubtful') THEN g.whole_identity
						ELSE g.reference_identity
					END) OVER entry AS of_entry
			FROM g
			WINDOW entry AS (PARTITION BY g.statement_no, g.entry_no ORDER BY g.detail)
		), d AS (
			SELECT k.*,
				EXISTS (
					SELECT FROM payments.bank_entry e
					WHERE e.identity = k.of_entry AND e.detail_no = 0 AND NOT e.repeated
				) AS is_known
			FROM k
			OFFSET 0
		), n AS (
			INSERT INTO payments.bank_entry (batch_id, statement_no, entry_no, detail_no, line_no, status,
				amount, currency, reversal, repeated, doubtful, identity, booking_date, value_date,
				end_to_end_id, bank_reference, reference, remittance, counterparty, counterparty_account, code,
				raw)
			SELECT $3, d.statement_no, d.entry_no, d.detail, d.line_no, coalesce(d.status, 'booked'), d.minor,
				d.currency, coalesce(d.reversal, false), d.is_known,
				NOT d.is_known
					AND (coalesce(d.lies_across, false) OR coalesce(d.entry_again = 'doubtful', false)),
				d.of_entry, d.booking_date, d.value_date, d.end_to_end_id, d.bank_reference, d.reference,
				d.remittance, d.counterparty, d.counterparty_account, d.code, d.raw
			FROM d
			RETURNING repeated, doubtful
		)
		SELECT count(*), count(*) FILTER (WHERE n.repeated), count(*) FILTER (WHERE n.doubtful)
		FROM n$sql$, payments._settlement_query(_format), _psp)
	INTO lines, known, doubtful
	USING _content, _options, _batch, _format.format;
	-- The built-in formats have said so already, with the line.
	SELECT s.statement_no, s.account, s.currency, s.opening_balance, s.closing_balance, e.booked INTO w
	FROM payments.bank_statement s
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(b.amount) FILTER (WHERE b.status = 'booked'), 0) AS booked
		FROM payments.bank_entry b
		WHERE b.batch_id = s.batch_id AND b.statement_no = s.statement_no AND b.detail_no = 0
	) e
	WHERE s.batch_id = _batch AND s.opening_balance + e.booked <> s.closing_balance
	ORDER BY s.statement_no
	LIMIT 1;
	IF FOUND THEN
		PERFORM payments._settlement_fail(
			'PY603',
			'the settlement file does not add up',
			format('Statement %s: opening balance %s and booked entries %s do not make closing balance %s.',
				w.statement_no, payments.format_amount(w.opening_balance, w.currency),
				payments.format_amount(w.booked::bigint, w.currency),
				payments.format_amount(w.closing_balance, w.currency)),
			'Nothing was imported. Lines are missing or doubled: get the file again from its sender.');
	END IF;
END
$$;
COMMENT ON FUNCTION payments._settlement_import_entries(bigint, text, payments.settlement_format, text, jsonb) IS 'Internal: writes the statements and entries of a bank''s file; how many entries there are, were known before, and are doubtful. Raises PY602, PY603.';
