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
				f.type, f.entry_id, f.psp_object_id, f.psp_payment_id, f.reference,
				upper(f.currency) AS currency, upper(f.original_currency) AS original_currency,
				f.occurred_at, f.available_at, f.payout_ref, f.description, f.raw,
				payments._settlement_amounts(
					f.line_no, upper(f.currency), c.exponent, c.unit, f.gross, f.fee, f.net) AS amounts,
				CASE
					WHEN f.original_currency IS NOT NULL AND upper(f.original_currency) <> upper(f.currency)
						THEN payments._settlement_amount(
							f.line_no, upper(f.original_currency), o.exponent, o.unit, f.original_amount)
				END AS original,
				coalesce(f.psp_object_id, f.psp_payment_id, f.reference) AS about
			FROM (%1$s) f
			LEFT JOIN money c ON c.currency = upper(f.currency)
			LEFT JOIN money o ON o.currency = upper(f.original_currency)
			OFFSET 0
		), m AS (
			-- What a line without an id of its own means, however it is written.
			SELECT r.*,
				CASE
					WHEN r.entry_id IS NULL
						THEN ROW(lower(coalesce(r.type, r.kind)), r.about, r.amounts, r.currency,
							extract(epoch FROM r.occurred_at), r.payout_ref)::text
				END AS meaning,
				r.entry_id IS NULL
					AND r.about IS NULL
					AND r.occurred_at IS NULL
					AND r.payout_ref IS NULL AS nameless
			FROM r
		), q AS (
			SELECT m.*, row_number() OVER same AS nth,
				CASE
					WHEN m.meaning IS NOT NULL
						THEN substr(
							sha256(convert_to(concat(m.meaning, ' ', row_number() OVER same), 'UTF8')), 1, 16)
				END AS identity,
				ROW(m.kind, m.amounts, m.currency)::payments._line_said AS said,
				first_value(ROW(m.kind, m.amounts, m.currency)::payments._line_said) OVER same AS said_first,
				row_number() OVER (PARTITION BY m.psp_object_id, m.kind ORDER BY m.line_no) AS nth_object,
				row_number() OVER (PARTITION BY m.psp_payment_id, m.kind ORDER BY m.line_no) AS nth_payment
			FROM m
			WINDOW same AS (PARTITION BY m.entry_id, m.meaning ORDER BY m.line_no)
		), k AS (
			SELECT q.*, e.said AS said_before,
				q.entry_id IS NOT NULL AND q.nth > 1 OR e.said IS NOT NULL AND NOT q.nameless AS is_known
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
		), w AS (
			INSERT INTO payments.settlement_line (batch_id, line_no, psp, kind, type, entry_id, identity,
				psp_object_id, psp_payment_id, reference, repeated, doubtful, further, gross, fee, net,
				currency, original_amount, original_currency, occurred_at, available_at, payout_ref,
				description, raw)
			SELECT $3, k.line_no, %2$L, k.kind, k.type, k.entry_id, k.identity, k.psp_object_id,
				k.psp_payment_id, k.reference, k.is_known,
				CASE
					WHEN k.is_known
						THEN payments._settlement_contradicts(k.said, coalesce(k.said_before, k.said_first))
					WHEN k.nameless THEN k.said_before IS NOT NULL
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
			FROM k
			RETURNING repeated, doubtful
		)
		SELECT count(*), count(*) FILTER (WHERE w.repeated), count(*) FILTER (WHERE w.doubtful)
		FROM w$sql$, payments._settlement_query(_format), _psp)
	INTO lines, known, doubtful
	USING _content, _options, _batch;
END
$$;
COMMENT ON FUNCTION payments._settlement_import_lines(bigint, text, payments.settlement_format, text, jsonb) IS 'Internal: writes the lines of a PSP''s file; how many there are, were known before, and are doubtful. Raises PY602.';

CREATE FUNCTION payments._settlement_import_entries(
	_batch bigint, _psp text, _format payments.settlement_format, _content text, _options jsonb,
	OUT lines int, OUT known int
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
		), s AS (
			INSERT INTO payments.bank_statement (batch_id, statement_no, line_no, account, statement_id,
				currency, opening_balance, closing_balance, opening_date, closing_date, entries, raw)
			SELECT $3, r.statement_no, r.line_no, r.account, r.statement_id, r.currency, r.opening, r.closing,
				r.opening_date, r.closing_date, coalesce(r.entries, 0), r.raw
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
			-- The bank's own reference, on this day and with this amount; without one, all that entry and
			-- statement say.
			SELECT h.*,
				CASE
					WHEN h.detail = 0 AND h.bank_reference IS NOT NULL
						THEN ROW(%2$L, h.of_account, h.currency, h.minor,
							extract(epoch FROM coalesce(h.booking_date, h.value_date)),
							coalesce(h.status, 'booked'), h.bank_reference)::text
					WHEN h.detail = 0
						THEN ROW(%2$L, h.of_account, h.currency, h.minor, extract(epoch FROM h.booking_date),
							extract(epoch FROM h.value_date), coalesce(h.status, 'booked'), h.reversal, h.end_to_end_id, h.reference,
							h.remittance, h.counterparty_account, h.code, h.of_statement)::text
				END AS meaning
			FROM h
			WHERE h.record <> 'statement'
		), i AS (
			SELECT m.*, row_number() OVER (PARTITION BY m.meaning ORDER BY m.line_no) AS nth FROM m
		), k AS (
			-- The transactions of a booking are known by it.
			SELECT i.*,
				first_value(
					CASE
						WHEN i.meaning IS NULL THEN ''
						ELSE substr(sha256(convert_to(concat(i.meaning, ' ', i.nth), 'UTF8')), 1, 16)
					END) OVER (PARTITION BY i.statement_no, i.entry_no ORDER BY i.detail) AS of_entry
			FROM i
		), n AS (
			INSERT INTO payments.bank_entry (batch_id, statement_no, entry_no, detail_no, line_no, status,
				amount, currency, reversal, repeated, identity, booking_date, value_date, end_to_end_id,
				bank_reference, reference, remittance, counterparty, counterparty_account, code, raw)
			SELECT $3, k.statement_no, k.entry_no, k.detail, k.line_no, coalesce(k.status, 'booked'), k.minor,
				k.currency, coalesce(k.reversal, false),
				EXISTS (
					SELECT FROM payments.bank_entry e
					WHERE e.identity = k.of_entry AND e.detail_no = 0 AND NOT e.repeated
				),
				k.of_entry, k.booking_date, k.value_date, k.end_to_end_id, k.bank_reference, k.reference,
				k.remittance, k.counterparty, k.counterparty_account, k.code, k.raw
			FROM k
			RETURNING repeated
		)
		SELECT count(*), count(*) FILTER (WHERE n.repeated)
		FROM n$sql$, payments._settlement_query(_format), _psp)
	INTO lines, known
	USING _content, _options, _batch;
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
COMMENT ON FUNCTION payments._settlement_import_entries(bigint, text, payments.settlement_format, text, jsonb) IS 'Internal: writes the statements and entries of a bank''s file; how many entries there are, and were known before. Raises PY602, PY603.';
