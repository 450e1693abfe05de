-- How what PSPs and banks say is matched with what we know, and what may differ.

CREATE TABLE payments.match_rule (
	rule text NOT NULL,
	source text NOT NULL CONSTRAINT match_rule_source_known CHECK (source IN ('psp', 'bank')),
	adapter text NOT NULL DEFAULT '*',
	line_kind text NOT NULL,
	movement_kind text,
	key text NOT NULL,
	priority int NOT NULL,
	tolerance bigint NOT NULL DEFAULT 0 CONSTRAINT match_rule_tolerance_not_negative CHECK (tolerance >= 0),
	date_window interval NOT NULL CONSTRAINT match_rule_window_positive CHECK (date_window > interval '0'),
	filter text,
	description text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (rule, builtin),
	CONSTRAINT match_rule_key_of_source CHECK (key IN ('psp_object_id', 'psp_payment_id', 'entry_id', 'payment', 'reference') AND source = 'psp'
		OR key IN ('end_to_end_id', 'reference', 'remittance', 'amount', 'day') AND source = 'bank'),
	CONSTRAINT match_rule_movement_of_source CHECK ((movement_kind IS NOT NULL) = (source = 'psp'))
);
COMMENT ON TABLE payments.match_rule IS 'how settlement lines find their movements, and bank entries their payouts; a row of yours (builtin = false) with the same name wins over a shipped one';
COMMENT ON COLUMN payments.match_rule.rule IS 'name';
COMMENT ON COLUMN payments.match_rule.source IS 'psp: lines of PSPs against movements; bank: entries of bank statements against payouts';
COMMENT ON COLUMN payments.match_rule.adapter IS 'psp.adapter that it is for, which wins over * for all; of bank rules the name of the bank account, or *';
COMMENT ON COLUMN payments.match_rule.line_kind IS 'settlement_line.kind; of bank rules payout';
COMMENT ON COLUMN payments.match_rule.movement_kind IS 'movement.kind that such a line must meet; null of bank rules';
COMMENT ON COLUMN payments.match_rule.key IS 'psp_object_id, psp_payment_id, entry_id: this column of the line is movement.object_id; payment: the line names the payment by psp_payment_id, reference: by our reference, and then the sums of its lines and movements are compared. Of banks: the payout''s number is in this column of the entry; amount: the same amount within date_window, if only one has it; day: one entry for all payouts of a PSP and day';
COMMENT ON COLUMN payments.match_rule.priority IS 'lower ones are tried first; of each line_kind the first must be one that gives movement.object_id';
COMMENT ON COLUMN payments.match_rule.tolerance IS 'minor units by which the amounts may differ; 0: not at all';
COMMENT ON COLUMN payments.match_rule.date_window IS 'by how much the times may differ: of PSPs, else the match is late; of banks, else it is none';
COMMENT ON COLUMN payments.match_rule.filter IS 'of bank rules: only entries whose counterparty or remittance matches this regular expression, in any case; null: all';
COMMENT ON COLUMN payments.match_rule.description IS 'for people';
COMMENT ON COLUMN payments.match_rule.builtin IS 'shipped with the extension';

INSERT INTO payments.match_rule (rule, source, adapter, line_kind, movement_kind, key, priority, date_window, description, builtin) VALUES
	('charge by object', 'psp', '*', 'charge', 'capture', 'psp_object_id', 10, '5 days', 'the object that was charged', true),
	('charge by payment id', 'psp', 'stripe', 'charge', 'capture', 'psp_payment_id', 10, '5 days', 'of Stripe we know the PaymentIntent, and the line is about its charge', true),
	('refund by object', 'psp', '*', 'refund', 'refund', 'psp_object_id', 10, '5 days', 'the refund', true),
	('failed refund by object', 'psp', '*', 'refund_failure', 'refund_failed', 'psp_object_id', 10, '5 days', 'the refund that failed', true),
	('chargeback by object', 'psp', '*', 'chargeback', 'dispute', 'psp_object_id', 10, '5 days', 'the dispute', true),
	('chargeback reversal by object', 'psp', '*', 'chargeback_reversal', 'dispute_won', 'psp_object_id', 10, '5 days', 'the dispute that was won', true),
	('charge by payment', 'psp', '*', 'charge', 'capture', 'payment', 20, '5 days', 'all charges of a payment against all its captures', true),
	('refund by payment', 'psp', '*', 'refund', 'refund', 'payment', 20, '5 days', 'all refunds of a payment', true),
	('failed refund by payment', 'psp', '*', 'refund_failure', 'refund_failed', 'payment', 20, '5 days', 'all failed refunds of a payment', true),
	('chargeback by payment', 'psp', '*', 'chargeback', 'dispute', 'payment', 20, '5 days', 'all disputes of a payment', true),
	('chargeback reversal by payment', 'psp', '*', 'chargeback_reversal', 'dispute_won', 'payment', 20, '5 days', 'all won disputes of a payment', true),
	('charge by reference', 'psp', '*', 'charge', 'capture', 'reference', 30, '5 days', 'our reference, or the order''s if it has one payment only', true),
	('refund by reference', 'psp', '*', 'refund', 'refund', 'reference', 30, '5 days', 'our reference', true),
	('failed refund by reference', 'psp', '*', 'refund_failure', 'refund_failed', 'reference', 30, '5 days', 'our reference', true),
	('chargeback by reference', 'psp', '*', 'chargeback', 'dispute', 'reference', 30, '5 days', 'our reference', true),
	('chargeback reversal by reference', 'psp', '*', 'chargeback_reversal', 'dispute_won', 'reference', 30, '5 days', 'our reference', true),
	('payout by end-to-end id', 'bank', '*', 'payout', NULL, 'end_to_end_id', 10, '15 days', 'the PSP gives the payout''s number as reference', true),
	('payout by reference', 'bank', '*', 'payout', NULL, 'reference', 20, '15 days', 'the same, in the structured reference', true),
	('payout by remittance', 'bank', '*', 'payout', NULL, 'remittance', 30, '15 days', 'the payout''s number is a word of the text', true),
	('payout by amount', 'bank', '*', 'payout', NULL, 'amount', 40, '5 days', 'the only payout and the only entry with this amount at that time', true),
	('payouts of a day', 'bank', '*', 'payout', NULL, 'day', 50, '5 days', 'one entry for all payouts that a PSP made on a day', true);

CREATE TABLE payments.discrepancy_kind (
	kind text NOT NULL,
	title text NOT NULL,
	suggestion text NOT NULL CONSTRAINT discrepancy_kind_suggestion_known CHECK (suggestion IN
		('accept', 'adjust', 'refund', 'create', 'link', 'ignore', 'wait')),
	grace interval NOT NULL CONSTRAINT discrepancy_kind_grace_not_negative CHECK (grace >= interval '0'),
	sla interval NOT NULL CONSTRAINT discrepancy_kind_sla_positive CHECK (sla > interval '0'),
	description text NOT NULL,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (kind, builtin)
);
COMMENT ON TABLE payments.discrepancy_kind IS 'what can differ between us, a PSP and a bank; a row of yours (builtin = false) with the same kind wins over the shipped one';
COMMENT ON COLUMN payments.discrepancy_kind.kind IS 'as in the view discrepancy';
COMMENT ON COLUMN payments.discrepancy_kind.title IS 'for reports';
COMMENT ON COLUMN payments.discrepancy_kind.suggestion IS 'the usual action of resolve_discrepancy(); wait: for another file, or for the PSP';
COMMENT ON COLUMN payments.discrepancy_kind.grace IS 'how long the other side may take before it is one';
COMMENT ON COLUMN payments.discrepancy_kind.sla IS 'how soon it is to be resolved; the view discrepancy_ageing says what is overdue.';
COMMENT ON COLUMN payments.discrepancy_kind.description IS 'what it means';
COMMENT ON COLUMN payments.discrepancy_kind.builtin IS 'shipped with the extension';

INSERT INTO payments.discrepancy_kind (kind, title, suggestion, grace, sla, description, builtin) VALUES
	('missing_here', 'Missing here', 'create', '0', '1 day', 'the PSP moved money that no payment of ours knows of: rows were lost by a restore, or the charge was made past us', true),
	('missing_at_psp', 'Missing at the PSP', 'wait', '2 days', '3 days', 'we have booked a movement that no line of the PSP tells of, though its lines reach further', true),
	('amount', 'Amount differs', 'adjust', '0', '2 days', 'both know of it, in different amounts', true),
	('currency', 'Currency differs', 'adjust', '0', '2 days', 'both know of it, in different currencies', true),
	('status', 'Status differs', 'link', '0', '1 day', 'the payment is known, and the PSP moved money for it that we have not booked; settled by the next run, unless somebody holds the payment', true),
	('duplicate', 'Charged twice', 'refund', '0', '1 day', 'the PSP took money for a payment more than once', true),
	('fee', 'Fee differs', 'adjust', '0', '7 days', 'the fee in the file is not the one that was booked', true),
	('late', 'Late', 'accept', '0', '7 days', 'it agrees, but the PSP booked it at another time than the rule''s window allows', true),
	('unknown_line', 'Unknown type of line', 'accept', '0', '3 days', 'a type of line that its format does not know; what it moved is in suspense', true),
	('doubtful_line', 'Line like an earlier one', 'accept', '0', '2 days', 'a line that an earlier file had, with other content (the earlier one counts), or one that may be an earlier one told in other words (both count); at a bank an entry with the reference, amount and day of another, and another text or statement: accept lets it be matched, ignore leaves it out', true),
	('payout_twice', 'Payout in two files', 'accept', '0', '2 days', 'two files have a row for the same payout, and the rows are not the same: both are booked', true),
	('payout_turned', 'Payout the other way', 'accept', '0', '1 day', 'a payout above zero, or a failed one below it, is booked as money that came from the bank: a PSP that takes money from it says so, but a file with turned signs says so of every payout', true),
	('statement_overlap', 'Statement across another', 'ignore', '0', '3 days', 'a bank statement lies across another, in this or another format, or its account has come under another name, and it has entries that may be the other''s: ignore leaves them out, accept lets them be matched', true),
	('payout', 'Payout not explained', 'adjust', '0', '2 days', 'the lines of a payout do not make the payout', true),
	('payout_missing', 'Payout not at the bank', 'wait', '5 days', '3 days', 'the PSP says it has paid out, and no entry of the bank shows it', true),
	('payout_returned', 'Payout gone again', 'link', '0', '1 day', 'the bank has taken back the entry of a payout, or a debit names one that had come in; link takes it from the bank', true),
	('unmatched_bank', 'Unmatched bank entry', 'link', '3 days', '3 days', 'money came in at the bank that no payout explains', true);

SELECT pg_catalog.pg_extension_config_dump('payments.match_rule', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('payments.discrepancy_kind', 'WHERE NOT builtin');
