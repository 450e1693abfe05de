-- A statement as a page that prints.  It says what the rows of
-- statement/content.sql say, and depends on nothing else: the same statement is the same bytes.

CREATE FUNCTION payments._html(_words text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT translate(
		replace(
			replace(replace(replace(replace(_words, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'),
			'''', '&#39;'),
		E'\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000b\u000c\u000e\u000f\u0010\u0011\u0012\u0013'
			'\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\u007f\u202a\u202b\u202c'
			'\u202d\u202e\u2066\u2067\u2068\u2069',
		repeat(E'\ufffd', 38))
$$;
COMMENT ON FUNCTION payments._html(text) IS 'Internal: a text for HTML, in an element or a quoted attribute; control characters, and those that turn the direction of writing, are shown as unknown ones.';

-- Isolated: letters of the other direction do not move what is beside them.
CREATE FUNCTION payments._html_bdi(_words text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '<bdi>' || payments._html(_words) || '</bdi>'
$$;
COMMENT ON FUNCTION payments._html_bdi(text) IS 'Internal: a text of somebody else for HTML; null for null.';

-- Digits in groups of three with a narrow space, as ISO 80000 has them, a point and
-- a minus of a digit's width: no locale reads that wrongly.
CREATE FUNCTION payments._html_amount(_amount numeric, _exponent int) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN _amount < 0 THEN E'\u2212' ELSE '' END
		|| replace(
			to_char(abs(_amount) * ('1e-' || _exponent)::numeric,
				'FM999,999,999,999,999,999,999,990'
					|| CASE WHEN _exponent > 0 THEN '.' || repeat('0', _exponent) ELSE '' END),
			',', E'\u202F')
$$;
COMMENT ON FUNCTION payments._html_amount(numeric, int) IS 'Internal: an amount in minor units for people, without its currency.';

-- Amounts may have 26 characters.  They are never broken nor cut off: their
-- columns are as wide as they are in a wide font, or else they get smaller.
CREATE FUNCTION payments._html_width(_characters int, _size text) RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT greatest(
		22, 3 + _characters * CASE _size WHEN 'usual' THEN 1.8 WHEN 'tight' THEN 1.5 ELSE 1.15 END)
$$;
COMMENT ON FUNCTION payments._html_width(int, text) IS 'Internal: millimetres that a column with amounts of so many characters takes.';

CREATE FUNCTION payments._html_size(_characters int[], _room int) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce(
		(
			SELECT z.size
			FROM unnest(ARRAY['usual', 'tight']) WITH ORDINALITY z (size, n)
			WHERE (SELECT sum(payments._html_width(c, z.size)) FROM unnest(_characters) c) <= _room
			ORDER BY z.n LIMIT 1
		),
		'tiny')
$$;
COMMENT ON FUNCTION payments._html_size(int[], int) IS 'Internal: the size at which columns with amounts of so many characters fit into so many millimetres.';

CREATE FUNCTION payments._html_column(_characters int, _size text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '<col style="width:' || round(payments._html_width(_characters, _size), 1) || 'mm">'
$$;
COMMENT ON FUNCTION payments._html_column(int, text) IS 'Internal: a column for amounts of so many characters.';

CREATE FUNCTION payments._html_box(_label text, _amount numeric, _exponent int) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '<div><span class="label">' || _label || '</span><b class="'
		|| CASE
			WHEN length(payments._html_amount(_amount, _exponent)) <= 15 THEN 'usual'
			WHEN length(payments._html_amount(_amount, _exponent)) <= 19 THEN 'tight'
			ELSE 'tiny'
		END
		|| '">' || payments._html_amount(_amount, _exponent) || '</b></div>'
$$;
COMMENT ON FUNCTION payments._html_box(text, numeric, int) IS 'Internal: one of the amounts at the head of a statement.';

CREATE FUNCTION payments._statement_kind(_kind text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE _kind
		WHEN 'capture' THEN 'Payment'
		WHEN 'late_capture' THEN 'Late payment'
		WHEN 'late_refund' THEN 'Refund of a late payment'
		WHEN 'refund' THEN 'Refund'
		WHEN 'refund_failed' THEN 'Failed refund'
		WHEN 'fee' THEN 'Fee'
		WHEN 'settled_fee' THEN 'Fee'
		WHEN 'dispute' THEN 'Dispute'
		WHEN 'dispute_won' THEN 'Dispute won'
		WHEN 'dispute_lost' THEN 'Dispute lost'
		WHEN 'payout' THEN 'Payout'
		WHEN 'topup' THEN 'Top-up'
		WHEN 'reversal' THEN 'Reversal'
		WHEN 'manual' THEN 'Posting'
		ELSE upper(left(_kind, 1) COLLATE "C") || replace(substr(_kind, 2), '_', ' ')
	END
$$;
COMMENT ON FUNCTION payments._statement_kind(text) IS 'Internal: posting.kind for people.';

CREATE FUNCTION payments._statement_moment(_at timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT to_char(_at AT TIME ZONE 'UTC',
		CASE
			WHEN date_trunc('minute', _at AT TIME ZONE 'UTC') = _at AT TIME ZONE 'UTC'
				THEN 'YYYY-MM-DD HH24:MI'
			ELSE 'YYYY-MM-DD HH24:MI:SS.US'
		END)
$$;
COMMENT ON FUNCTION payments._statement_moment(timestamptz) IS 'Internal: begin or end of a period for people, in UTC.';

CREATE FUNCTION payments._statement_period(_from_time timestamptz, _to_time timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN date_trunc('day', _from_time AT TIME ZONE 'UTC') = _from_time AT TIME ZONE 'UTC'
			AND date_trunc('day', _to_time AT TIME ZONE 'UTC') = _to_time AT TIME ZONE 'UTC'
			THEN to_char(_from_time AT TIME ZONE 'UTC', 'YYYY-MM-DD') || ' to '
				|| to_char(_to_time AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM-DD')
		ELSE payments._statement_moment(_from_time) || ' to ' || payments._statement_moment(_to_time)
	END
$$;
COMMENT ON FUNCTION payments._statement_period(timestamptz, timestamptz) IS 'Internal: a period for people: whole days with the last one, else begin and end.';

CREATE FUNCTION payments._statement_style() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '
@page { size: A4; margin: 18mm 16mm 20mm 16mm; }
* { box-sizing: border-box; }
html { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0 auto; max-width: 178mm; color: #1b2430; background: #fff; font: 8.5pt/1.4 "Helvetica Neue", Arial, "Liberation Sans", "DejaVu Sans", sans-serif; }
@media screen { body { padding: 14mm 0; } }
header { display: grid; grid-template-columns: 1fr 1fr; column-gap: 10mm; row-gap: 7mm; margin-bottom: 7mm; }
address { font-style: normal; overflow-wrap: anywhere; }
address b { display: block; font-size: 10pt; }
.label { color: #667085; font-size: 7.5pt; letter-spacing: .04em; text-transform: uppercase; }
h1 { font-size: 18pt; line-height: 1.15; font-weight: 600; margin: 0 0 1mm; }
h2 { font-size: 11pt; font-weight: 600; margin: 8mm 0 1mm; break-after: avoid; }
p.note { margin: 0 0 2mm; color: #475467; font-size: 8pt; break-after: avoid; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .4mm 4mm; margin: 0; }
dt { color: #667085; }
dd { margin: 0; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
thead { display: table-header-group; }
tfoot { display: table-row-group; }
tr { break-inside: avoid; }
th { text-align: left; font-weight: 600; font-size: 7.5pt; color: #475467; padding: 1.4mm 1.2mm; border-bottom: .3mm solid #98a2b3; vertical-align: bottom; }
td { padding: 1.1mm 1.2mm; border-bottom: .15mm solid #e4e7ec; vertical-align: top; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums lining-nums; }
td.n { overflow-wrap: normal; white-space: nowrap; }
.w { overflow-wrap: anywhere; }
table.tight td.n { font-size: 6.5pt; }
table.tiny td.n { font-size: 5pt; }
.boxes b.tight { font-size: 8pt; }
.boxes b.tiny { font-size: 6pt; }
.sub { color: #667085; font-size: 7.5pt; }
.own { display: block; }
td.d { white-space: nowrap; font-variant-numeric: tabular-nums lining-nums; }
tr.sum td { font-weight: 600; border-top: .3mm solid #98a2b3; border-bottom: none; }
tr.edge td { font-weight: 600; background: #f4f6f8; }
.boxes { display: grid; grid-template-columns: repeat(4, 1fr); border: .3mm solid #d0d5dd; break-inside: avoid; }
.boxes div { padding: 2.5mm 3mm; border-left: .3mm solid #d0d5dd; overflow-wrap: anywhere; }
.boxes div:first-child { border-left: none; }
.boxes b { display: block; font-size: 11.5pt; font-variant-numeric: tabular-nums lining-nums; margin-top: .5mm; }
.boxes div:last-child { background: #f4f6f8; }
footer { break-before: avoid; margin-top: 9mm; padding-top: 2mm; border-top: .15mm solid #d0d5dd; color: #667085; font-size: 7pt; break-inside: avoid; overflow-wrap: anywhere; }
'
$$;
COMMENT ON FUNCTION payments._statement_style() IS 'Internal: the style sheet of statements, for the screen and for A4.';

-- One of the tables of lines; with columns for VAT where there is any.
CREATE FUNCTION payments._statement_html_section(_statement_id bigint, _section text) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	t record;
	running boolean := _section = 'balance';
	head text;
	body text;
	columns boolean;
	digits int;
	wide text;
	size text;
BEGIN
	SELECT x.* INTO STRICT s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	SELECT count(*) AS lines, coalesce(bool_or(e ? 'vat'), false) AS has_vat,
		coalesce(sum((e ->> 'amount')::numeric), 0) AS amount,
		coalesce(
			sum(
				greatest(
					(e ->> 'added')::numeric - (e ->> 'taken')::numeric, 2 * abs((e ->> 'gross')::numeric))),
			0) AS gone_and_come,
		sum((e ->> 'net')::numeric) AS net, sum((e ->> 'vat')::numeric) AS vat,
		sum((e ->> 'gross')::numeric) AS gross
	INTO t
	FROM jsonb_array_elements(s.totals) e
	WHERE e ->> 'section' = _section;
	IF NOT running AND t.lines = 0 THEN
		RETURN '';
	END IF;
	-- VAT in what moved the balance stands small below its line: five columns of amounts do not fit.
	columns := t.has_vat AND NOT running;
	-- As wide as the largest amount that may come: no balance is beyond all that came and all that went.
	digits := length(payments._html_amount(
		- (CASE WHEN running THEN abs(s.opening_balance::numeric) ELSE 0 END + t.gone_and_come), s.exponent));
	size := payments._html_size(
		CASE
			WHEN columns THEN ARRAY[digits, digits, digits]
			WHEN running THEN ARRAY[digits, digits]
			ELSE ARRAY[digits]
		END,
		CASE WHEN columns THEN 84 ELSE 74 END);
	wide := payments._html_column(digits, size);
	head := '<table class="lines ' || size || '"><colgroup><col style="width:31mm"><col><col style="width:'
		|| CASE WHEN columns THEN '25mm' ELSE '28mm' END || '">'
		|| CASE WHEN columns THEN wide || '<col style="width:12mm">' || wide ELSE '' END || wide
		|| CASE WHEN running THEN wide ELSE '' END
		|| '</colgroup><thead><tr><th>Date, UTC</th><th>Description</th><th>Reference</th>'
		|| CASE
			WHEN columns THEN '<th class="n">Net</th><th class="n">VAT&nbsp;%</th><th class="n">VAT</th>'
			ELSE ''
		END
		|| '<th class="n">' || CASE WHEN columns THEN 'Gross ' ELSE 'Amount ' END
		|| payments._html(s.currency) || '</th>'
		|| CASE
			WHEN running THEN '<th class="n">Balance ' || payments._html(s.currency) || '</th>'
			ELSE ''
		END
		|| E'</tr></thead>\n<tbody>\n'
		|| CASE
			WHEN running
				THEN '<tr class="edge"><td colspan="4">Opening balance</td><td class="n">'
					|| payments._html_amount(s.opening_balance, s.exponent) || E'</td></tr>\n'
			ELSE ''
		END;
	SELECT string_agg(
		'<tr><td class="d">' || to_char(c.booked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
			|| CASE WHEN c.late THEN '&nbsp;*' ELSE '' END || '</td><td>'
			|| payments._html_bdi(payments._statement_kind(c.kind))
			|| coalesce(': ' || payments._html_bdi(nullif(c.description, '')), '') || ' <span class="sub">#'
			|| c.posting_id || ' '
			|| payments._html_bdi(regexp_replace(c.counterpart, '^psp_receivable:', '')) || '</span>'
			|| CASE
				WHEN running AND c.vat IS NOT NULL
					THEN '<span class="sub own">net ' || payments._html_amount(c.net, s.exponent) || ', VAT '
						|| c.vat_percent || '&nbsp;% ' || payments._html_amount(c.vat, s.exponent)
						|| ', gross ' || payments._html_amount(c.gross, s.exponent) || '</span>'
				ELSE ''
			END
			|| '</td><td class="w">'
			|| coalesce(payments._html_bdi(coalesce(c.order_ref, c.reference, c.payment_id::text)), '')
			|| '</td>'
			|| CASE
				WHEN columns
					THEN '<td class="n">' || coalesce(payments._html_amount(c.net, s.exponent), '')
						|| '</td><td class="n">' || coalesce(c.vat_percent::text, '') || '</td><td class="n">'
						|| coalesce(payments._html_amount(c.vat, s.exponent), '') || '</td>'
				ELSE ''
			END
			|| '<td class="n">'
			|| payments._html_amount(
				CASE WHEN columns THEN coalesce(c.gross, c.amount) ELSE c.amount END, s.exponent)
			|| '</td>'
			|| CASE
				WHEN running THEN '<td class="n">' || payments._html_amount(c.balance, s.exponent) || '</td>'
				ELSE ''
			END
			|| E'</tr>\n',
		'' ORDER BY c.line)
	INTO body
	FROM payments._statement_content(s) c
	WHERE c.section = _section;
	RETURN head || coalesce(body, '')
		|| CASE
			WHEN running
				THEN '<tr class="edge"><td colspan="4">Closing balance</td><td class="n">'
					|| payments._html_amount(s.closing_balance, s.exponent) || E'</td></tr>\n'
			ELSE '<tr class="sum"><td colspan="3">Total</td>'
				|| CASE
					WHEN columns
						THEN '<td class="n">' || payments._html_amount(t.net, s.exponent)
							|| '</td><td></td><td class="n">' || payments._html_amount(t.vat, s.exponent)
							|| '</td>'
					ELSE ''
				END
				|| '<td class="n">'
				|| payments._html_amount(
					CASE
						WHEN columns
							THEN t.gross
								+ (
									SELECT coalesce(sum((e ->> 'amount')::numeric), 0)
									FROM jsonb_array_elements(s.totals) e
									WHERE e ->> 'section' = _section AND NOT e ? 'vat'
								)
						ELSE t.amount
					END,
					s.exponent)
				|| E'</td></tr>\n'
		END
		|| E'</tbody></table>\n';
END
$$;
COMMENT ON FUNCTION payments._statement_html_section(bigint, text) IS 'Internal: the table of one section of a statement, empty if it has no lines; balance always has one.';

CREATE FUNCTION payments._statement_html_totals(_statement_id bigint) RETURNS text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	has_vat boolean;
	digits int;
	vat_digits int;
	size text;
	wide text;
	body text;
BEGIN
	SELECT x.* INTO STRICT s FROM payments.issued_statement x WHERE x.statement_id = _statement_id;
	SELECT coalesce(bool_or(e ? 'vat'), false),
		coalesce(max(length(payments._html_amount(- abs((e ->> 'amount')::numeric), s.exponent))), 0),
		coalesce(max(length(payments._html_amount(- abs((e ->> 'gross')::numeric), s.exponent))), 0)
	INTO has_vat, digits, vat_digits
	FROM jsonb_array_elements(s.totals) e;
	size := payments._html_size(
		CASE WHEN has_vat THEN ARRAY[digits, vat_digits, vat_digits, vat_digits] ELSE ARRAY[digits] END, 116);
	wide := payments._html_column(vat_digits, size);
	SELECT string_agg(
		'<tr><td>' || payments._html_bdi(payments._statement_kind(e ->> 'kind'))
			|| CASE e ->> 'section'
				WHEN 'balance' THEN ''
				ELSE '<span class="sub own">' || payments._html(e ->> 'section')
					|| ', not in the balance</span>'
			END
			|| '</td><td class="n">' || payments._html_amount((e ->> 'lines')::numeric, 0)
			|| '</td><td class="n">' || payments._html_amount((e ->> 'amount')::numeric, s.exponent)
			|| '</td>'
			|| CASE
				WHEN has_vat
					THEN '<td class="n">' || coalesce(e ->> 'vat_percent', '') || '</td><td class="n">'
						|| coalesce(payments._html_amount((e ->> 'net')::numeric, s.exponent), '')
						|| '</td><td class="n">'
						|| coalesce(payments._html_amount((e ->> 'vat')::numeric, s.exponent), '')
						|| '</td><td class="n">'
						|| coalesce(payments._html_amount((e ->> 'gross')::numeric, s.exponent), '')
						|| '</td>'
				ELSE ''
			END
			|| E'</tr>\n',
		'' ORDER BY n)
	INTO body
	FROM jsonb_array_elements(s.totals) WITH ORDINALITY x (e, n);
	IF body IS NULL THEN
		RETURN '';
	END IF;
	RETURN '<h2>Totals by kind</h2>' || E'\n' || '<table class="totals ' || size
		|| '"><colgroup><col><col style="width:15mm">' || payments._html_column(digits, size)
		|| CASE WHEN has_vat THEN '<col style="width:12mm">' || wide || wide || wide ELSE '' END
		|| '</colgroup><thead><tr><th>Kind</th><th class="n">Lines</th><th class="n">Posted '
		|| payments._html(s.currency) || '</th>'
		|| CASE
			WHEN has_vat
				THEN '<th class="n">VAT&nbsp;%</th><th class="n">Net</th><th class="n">VAT</th><th '
					'class="n">Gross</th>'
			ELSE ''
		END
		|| E'</tr></thead>\n<tbody>\n' || body || E'</tbody></table>\n';
END
$$;
COMMENT ON FUNCTION payments._statement_html_totals(bigint) IS 'Internal: the table of totals of a statement, empty without lines.';

CREATE FUNCTION payments._statement_html_party(_label text, _party jsonb, _fallback text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT '<address><span class="label">' || _label || '</span><b>'
		|| payments._html_bdi(coalesce(_party ->> 'name', _fallback)) || '</b>'
		|| coalesce(
			(
				SELECT string_agg(payments._html_bdi(l), '<br>' ORDER BY n)
				FROM jsonb_array_elements_text(_party -> 'lines') WITH ORDINALITY x (l, n)
			),
			'')
		|| '</address>'
$$;
COMMENT ON FUNCTION payments._statement_html_party(text, jsonb, text) IS 'Internal: issuer or recipient on a statement.';

CREATE FUNCTION payments.statement_html(statement_id bigint) RETURNS text
	LANGUAGE payments VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s payments.issued_statement;
	fees text;
	disputes text;
	balance text;
	moved record;
BEGIN
	PERFORM payments._require_statement(statement_html.statement_id);
	SELECT x.* INTO STRICT s
	FROM payments.issued_statement x
	WHERE x.statement_id = statement_html.statement_id;
	SELECT coalesce(sum((e ->> 'added')::numeric), 0) AS added,
		coalesce(sum((e ->> 'taken')::numeric), 0) AS taken
	INTO moved
	FROM jsonb_array_elements(s.totals) e
	WHERE e ->> 'section' = 'balance';
	balance := payments._statement_html_section(statement_html.statement_id, 'balance');
	fees := payments._statement_html_section(statement_html.statement_id, 'fees');
	disputes := payments._statement_html_section(statement_html.statement_id, 'disputes');
	RETURN E'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
		|| E'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src '
			'''unsafe-inline''">\n' || '<title>Statement ' || s.number || ', ' || payments._html(s.merchant)
		|| E'</title>\n<style>' || payments._statement_style()
		|| format(
			'@page { @bottom-left { content: "Statement %s, %s";'
			' font: 7pt Arial, "Liberation Sans", "DejaVu Sans", sans-serif; color: #667085; } '
			'@bottom-right { content: "Page " counter(page) " of " counter(pages);'
			' font: 7pt Arial, "Liberation Sans", "DejaVu Sans", sans-serif; color: #667085; } }',
			s.number, payments._statement_period(s.from_time, s.to_time))
		|| E'\n</style>\n</head>\n<body>\n<header>\n'
		|| payments._statement_html_party('Issued by', s.parties -> 'issuer', '') || E'\n'
		|| '<div><h1>Statement ' || s.number || '</h1><dl><dt>Period</dt><dd>'
		|| payments._statement_period(s.from_time, s.to_time) || ' (UTC)</dd>' || '<dt>Merchant</dt><dd>'
		|| payments._html_bdi(s.merchant) || '</dd><dt>Account</dt><dd>' || payments._html_bdi(s.account)
		|| '</dd><dt>Currency</dt><dd>' || payments._html(s.currency) || '</dd><dt>Issued</dt><dd>'
		|| to_char(s.issued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || E' (UTC)</dd></dl></div>\n'
		|| payments._statement_html_party('Statement for', s.parties -> 'recipient', s.merchant)
		|| E'\n</header>\n' || '<div class="boxes">'
		|| payments._html_box('Opening balance', s.opening_balance, s.exponent)
		|| payments._html_box('Added', moved.added, s.exponent)
		|| payments._html_box('Taken', moved.taken, s.exponent)
		|| payments._html_box('Closing balance ' || payments._html(s.currency), s.closing_balance, s.exponent)
		|| E'</div>\n' || payments._statement_html_totals(statement_html.statement_id)
		|| E'<h2>Account</h2>\n' || balance
		|| CASE
			WHEN fees <> ''
				THEN E'<h2>Fees of payment service providers</h2>\n<p class="note">Kept by the providers out '
					'of what they pay out; not part of the balance above.</p>\n' || fees
			ELSE ''
		END
		|| CASE
			WHEN disputes <> ''
				THEN E'<h2>Disputes</h2>\n<p class="note">Taken back by the providers for disputes, less '
					'what came back; not part of the balance above until it is posted there.</p>\n'
					|| disputes
			ELSE ''
		END
		|| '<footer>'
		|| CASE
			WHEN strpos(balance || fees || disputes, '&nbsp;*</td>') > 0
				THEN '* Booked before the period, by a transaction that was completed after the statement '
					'before had been issued.<br>'
			ELSE ''
		END
		|| CASE
			WHEN jsonb_array_length(s.vat_rules) > 0
				THEN 'VAT is rounded to the minor unit on each line, half a unit away from zero; totals are '
					'sums of lines.<br>'
			ELSE ''
		END
		|| 'Content SHA-256 ' || encode(s.sha256, 'hex') || '. Cut at ' || payments._statement_time(s.to_time)
		|| ', transaction ' || s.to_xid || E'.</footer>\n</body>\n</html>\n';
END
$$;
COMMENT ON FUNCTION payments.statement_html(bigint) IS
'A statement as a page of HTML for the screen and for A4, without scripts or anything from outside; always the same bytes with the same version of payments. Errors: PY622, PY623 (retired), PY624 (not what was issued), 42501';
