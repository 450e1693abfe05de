-- How far disputes are.  Run by setup() as payments_owner; may be run any number
-- of times.

CREATE TABLE IF NOT EXISTS payments.dispute_stage (
	psp text NOT NULL,
	object_id text NOT NULL,
	seq int NOT NULL,
	payment_id uuid NOT NULL,
	stage text NOT NULL CONSTRAINT dispute_stage_known CHECK (stage IN ('inquiry', 'inquiry_under_review',
		'inquiry_closed', 'open', 'under_review', 'won', 'lost', 'prevented')),
	amount bigint,
	currency text NOT NULL,
	reason text,
	fee bigint,
	evidence_due timestamptz,
	source text NOT NULL,
	recorded_at timestamptz NOT NULL,
	PRIMARY KEY (psp, object_id, seq)
);

CREATE INDEX IF NOT EXISTS dispute_stage_payment ON payments.dispute_stage (payment_id);

COMMENT ON TABLE payments.dispute_stage IS 'history of each dispute, append-only: a row for each stage, and each date, that was news.  What a dispute moves is in movement; the view dispute has the latest of both';
COMMENT ON COLUMN payments.dispute_stage.psp IS 'psp.psp';
COMMENT ON COLUMN payments.dispute_stage.object_id IS 'the PSP''s id of the dispute';
COMMENT ON COLUMN payments.dispute_stage.seq IS 'from 1, without gaps';
COMMENT ON COLUMN payments.dispute_stage.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.dispute_stage.stage IS 'inquiry: the bank asks, and no money has been taken; inquiry_under_review; inquiry_closed: it stayed at that; open: money was taken, and evidence is waited for; under_review: it is with the bank; won, lost; prevented: ended before it became one';
COMMENT ON COLUMN payments.dispute_stage.amount IS 'minor units in dispute; null: not said';
COMMENT ON COLUMN payments.dispute_stage.currency IS 'ISO 4217 code, the payment''s';
COMMENT ON COLUMN payments.dispute_stage.reason IS 'the PSP''s code for why';
COMMENT ON COLUMN payments.dispute_stage.fee IS 'minor units that the PSP takes for the dispute, as it says; booked with its settlement file, as other fees that are none of a charge; null: none, or not said';
COMMENT ON COLUMN payments.dispute_stage.evidence_due IS 'until then evidence is accepted; null: not said, or none is';
COMMENT ON COLUMN payments.dispute_stage.source IS 'who said so: webhook, answer, inquiry or settlement';
COMMENT ON COLUMN payments.dispute_stage.recorded_at IS 'when it was written';

CREATE OR REPLACE VIEW payments.dispute WITH (security_invoker = true) AS
SELECT DISTINCT ON (s.psp, s.object_id) s.psp, s.object_id, s.payment_id, p.merchant, p.order_ref, s.stage,
	s.amount, s.currency,
	coalesce((
		SELECT sum(CASE m.kind WHEN 'dispute' THEN m.amount ELSE -m.amount END)
		FROM payments.movement m
		WHERE m.psp = s.psp
		AND m.object_id = s.object_id
		AND m.kind IN ('dispute', 'dispute_won', 'dispute_lost')
	), 0)::bigint AS reserved,
	(
		SELECT f.fee
		FROM payments.dispute_stage f
		WHERE f.psp = s.psp AND f.object_id = s.object_id AND f.fee IS NOT NULL
		ORDER BY f.seq DESC LIMIT 1
	) AS fee,
	s.reason,
	CASE WHEN s.stage IN ('inquiry', 'open') THEN s.evidence_due END AS evidence_due,
	min(s.recorded_at) OVER (PARTITION BY s.psp, s.object_id) AS opened_at, s.recorded_at AS updated_at
FROM payments.dispute_stage s
JOIN payments.payment p ON p.payment_id = s.payment_id
ORDER BY s.psp, s.object_id, s.seq DESC;
COMMENT ON VIEW payments.dispute IS 'each dispute as it stands: how far it is, what it holds, and until when evidence is accepted';
COMMENT ON COLUMN payments.dispute.psp IS 'psp.psp';
COMMENT ON COLUMN payments.dispute.object_id IS 'the PSP''s id of the dispute';
COMMENT ON COLUMN payments.dispute.payment_id IS 'the payment';
COMMENT ON COLUMN payments.dispute.merchant IS 'merchant.merchant';
COMMENT ON COLUMN payments.dispute.order_ref IS 'the application''s name of the order';
COMMENT ON COLUMN payments.dispute.stage IS 'inquiry, inquiry_under_review, inquiry_closed, open, under_review, won, lost or prevented: see dispute_stage';
COMMENT ON COLUMN payments.dispute.amount IS 'minor units in dispute; null: not said';
COMMENT ON COLUMN payments.dispute.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.dispute.reserved IS 'minor units of it in the account dispute_reserve: taken, and neither won nor lost';
COMMENT ON COLUMN payments.dispute.fee IS 'minor units that the PSP takes for it, as it says; null: not said';
COMMENT ON COLUMN payments.dispute.reason IS 'the PSP''s code for why';
COMMENT ON COLUMN payments.dispute.evidence_due IS 'until then evidence is accepted; null: none is waited for, or nobody said until when';
COMMENT ON COLUMN payments.dispute.opened_at IS 'when it was first heard of';
COMMENT ON COLUMN payments.dispute.updated_at IS 'when that stage was heard of';
