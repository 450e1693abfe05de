-- What differs, and what was decided, for those who work on it.

CREATE OR REPLACE VIEW payments.discrepancy WITH (security_invoker = true) AS
SELECT d.discrepancy_id, d.psp, d.kind,
	CASE WHEN r.action IS NULL OR r.action IN ('reopen', 'found_again') THEN 'open' ELSE r.action END AS status,
	CASE WHEN d.ours IS NOT NULL THEN payments.format_amount(d.ours, coalesce(d.our_currency, d.their_currency)) END AS ours_text,
	CASE WHEN d.theirs IS NOT NULL THEN payments.format_amount(d.theirs, d.their_currency) END AS theirs_text,
	CASE
		-- Without an id of the PSP's it may be one that we have booked.
		WHEN k.suggestion IN ('create', 'link', 'refund') AND d.movement_kind IS NOT NULL AND d.object_id IS NULL THEN 'wait'
		-- A payment has it already, so there is none to be made and refunded.
		WHEN k.suggestion = 'refund' AND EXISTS (SELECT FROM payments.movement m WHERE m.psp = d.psp AND m.object_id = d.object_id AND m.kind IN ('capture', 'late_capture'))
			THEN 'adjust'
		WHEN k.suggestion = 'create' AND (d.movement_kind IS DISTINCT FROM 'capture' OR d.theirs <= 0) THEN 'link'
		ELSE k.suggestion
	END AS suggestion,
	clock_timestamp() - d.found_at AS age,
	d.found_at + k.sla < now() AND (r.action IS NULL OR r.action IN ('reopen', 'found_again')) AS overdue,
	d.subject, k.description, d.payment_id, d.object_id, d.payout_ref, d.batch_id, d.line_no, d.statement_no, d.entry_no,
	d.ours, d.our_currency, d.theirs, d.their_currency, d.occurred_at, d.found_at, d.run_id, r.actor AS resolved_by, r.reason, r.recorded_at AS resolved_at
FROM payments.discrepancy_found d
JOIN payments._discrepancy_kinds() k ON k.kind = d.kind
LEFT JOIN LATERAL (SELECT x.* FROM payments.discrepancy_resolution x WHERE x.discrepancy_id = d.discrepancy_id ORDER BY x.seq DESC LIMIT 1) r ON true;
COMMENT ON VIEW payments.discrepancy IS 'what differs between us, PSPs and banks, with both sides, age, and what may be done: resolve_discrepancy()';
COMMENT ON COLUMN payments.discrepancy.discrepancy_id IS 'for resolve_discrepancy()';
COMMENT ON COLUMN payments.discrepancy.psp IS 'PSP, or bank account';
COMMENT ON COLUMN payments.discrepancy.kind IS 'discrepancy_kind.kind';
COMMENT ON COLUMN payments.discrepancy.status IS 'open, or how it was resolved: accept, adjust, refund, create, link, ignore by a person; applied, explained by a run';
COMMENT ON COLUMN payments.discrepancy.ours_text IS 'what we have booked, for people';
COMMENT ON COLUMN payments.discrepancy.theirs_text IS 'what they say, for people';
COMMENT ON COLUMN payments.discrepancy.suggestion IS 'the usual action of resolve_discrepancy(); wait is none: another file, or the PSP, may still explain it. Only a charge is created: a refund or dispute that is missing here is linked; and neither where the line has no id of the PSP: it may be one that we have booked. A second charge of an object that a payment has is adjusted, and not refunded';
COMMENT ON COLUMN payments.discrepancy.age IS 'since it was found';
COMMENT ON COLUMN payments.discrepancy.overdue IS 'open for longer than discrepancy_kind.sla';
COMMENT ON COLUMN payments.discrepancy.subject IS 'what it is about';
COMMENT ON COLUMN payments.discrepancy.description IS 'what its kind means';
COMMENT ON COLUMN payments.discrepancy.payment_id IS 'the payment, where it is known';
COMMENT ON COLUMN payments.discrepancy.object_id IS 'the PSP''s id of what moved the money';
COMMENT ON COLUMN payments.discrepancy.payout_ref IS 'the payout';
COMMENT ON COLUMN payments.discrepancy.batch_id IS 'their side: row of settlement_line or bank_entry';
COMMENT ON COLUMN payments.discrepancy.line_no IS 'settlement_line.line_no';
COMMENT ON COLUMN payments.discrepancy.statement_no IS 'bank_entry.statement_no';
COMMENT ON COLUMN payments.discrepancy.entry_no IS 'bank_entry.entry_no';
COMMENT ON COLUMN payments.discrepancy.ours IS 'minor units that we have booked; null: nothing';
COMMENT ON COLUMN payments.discrepancy.our_currency IS 'ISO 4217 code of ours';
COMMENT ON COLUMN payments.discrepancy.theirs IS 'minor units that they say; null: nothing';
COMMENT ON COLUMN payments.discrepancy.their_currency IS 'ISO 4217 code of theirs';
COMMENT ON COLUMN payments.discrepancy.occurred_at IS 'when the money moved';
COMMENT ON COLUMN payments.discrepancy.found_at IS 'when it was found';
COMMENT ON COLUMN payments.discrepancy.run_id IS 'reconciliation_run.run_id that found it first';
COMMENT ON COLUMN payments.discrepancy.resolved_by IS 'who decided last';
COMMENT ON COLUMN payments.discrepancy.reason IS 'why';
COMMENT ON COLUMN payments.discrepancy.resolved_at IS 'when';

CREATE OR REPLACE VIEW payments.discrepancy_ageing WITH (security_invoker = true) AS
SELECT d.psp, d.kind, coalesce(d.their_currency, d.our_currency) AS currency, count(*) AS open,
	count(*) FILTER (WHERE d.age < interval '1 day') AS up_to_1_day, count(*) FILTER (WHERE d.age >= interval '1 day' AND d.age < interval '3 days') AS up_to_3_days,
	count(*) FILTER (WHERE d.age >= interval '3 days' AND d.age < interval '7 days') AS up_to_7_days, count(*) FILTER (WHERE d.age >= interval '7 days') AS older,
	count(*) FILTER (WHERE d.overdue) AS overdue,
	payments.format_amount(sum(abs(coalesce(d.theirs, 0) - CASE WHEN d.kind IN ('late', 'currency') THEN 0 ELSE coalesce(d.ours, 0) END))::bigint, coalesce(d.their_currency, d.our_currency)) AS amount_text
FROM payments.discrepancy d WHERE d.status = 'open'
GROUP BY d.psp, d.kind, coalesce(d.their_currency, d.our_currency);
COMMENT ON VIEW payments.discrepancy_ageing IS 'how old the open discrepancies are, and which are overdue';
COMMENT ON COLUMN payments.discrepancy_ageing.psp IS 'PSP, or bank account';
COMMENT ON COLUMN payments.discrepancy_ageing.kind IS 'discrepancy_kind.kind';
COMMENT ON COLUMN payments.discrepancy_ageing.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.discrepancy_ageing.open IS 'number of open ones';
COMMENT ON COLUMN payments.discrepancy_ageing.up_to_1_day IS 'of these, found within a day';
COMMENT ON COLUMN payments.discrepancy_ageing.up_to_3_days IS 'found one to three days ago';
COMMENT ON COLUMN payments.discrepancy_ageing.up_to_7_days IS 'found three to seven days ago';
COMMENT ON COLUMN payments.discrepancy_ageing.older IS 'found earlier';
COMMENT ON COLUMN payments.discrepancy_ageing.overdue IS 'open for longer than discrepancy_kind.sla';
COMMENT ON COLUMN payments.discrepancy_ageing.amount_text IS 'sum of the differences, without sign';

CREATE OR REPLACE VIEW payments.payout_status WITH (security_invoker = true) AS
SELECT p.psp, p.payout_ref, p.currency, p.paid_at, p.lines_net, p.paid, m.at_bank, p.paid - m.at_bank AS missing,
	CASE
		WHEN p.paid IS NULL THEN 'no payout row yet'
		WHEN p.has_lines AND p.lines_net <> p.paid AND p.paid <> 0 THEN 'lines do not make it'
		WHEN p.paid = 0 THEN 'came back'
		WHEN m.at_bank = 0 THEN 'on its way'
		WHEN m.at_bank < p.paid THEN 'partly at the bank'
		ELSE 'at the bank'
	END AS status
FROM payments._payouts(NULL) p
CROSS JOIN LATERAL (SELECT coalesce(sum(x.amount), 0)::bigint AS at_bank FROM payments.bank_match x
					WHERE x.psp = p.psp AND x.payout_ref = p.payout_ref AND x.currency = p.currency) m;
COMMENT ON VIEW payments.payout_status IS 'each payout: what its lines make, what the PSP has paid, what has come in at the bank';
COMMENT ON COLUMN payments.payout_status.psp IS 'whose payout';
COMMENT ON COLUMN payments.payout_status.payout_ref IS 'settlement_line.payout_ref';
COMMENT ON COLUMN payments.payout_status.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.payout_status.paid_at IS 'when, as the PSP says';
COMMENT ON COLUMN payments.payout_status.lines_net IS 'minor units that its lines make';
COMMENT ON COLUMN payments.payout_status.paid IS 'minor units that the PSP has paid out';
COMMENT ON COLUMN payments.payout_status.at_bank IS 'minor units found at the bank';
COMMENT ON COLUMN payments.payout_status.missing IS 'minor units not found there';
COMMENT ON COLUMN payments.payout_status.status IS 'no payout row yet, lines do not make it, came back, on its way, partly at the bank, at the bank';
