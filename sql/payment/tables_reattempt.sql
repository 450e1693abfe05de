-- What counts against a card, and what was not tried again for it.

CREATE TABLE IF NOT EXISTS payments.reattempt (
	operation_id uuid NOT NULL,
	generation int NOT NULL,
	event text NOT NULL CONSTRAINT reattempt_event_known CHECK (event IN ('declined', 'granted', 'blocked')),
	payment_id uuid NOT NULL,
	merchant text NOT NULL,
	fingerprint bytea NOT NULL,
	amount bigint NOT NULL,
	currency text NOT NULL,
	code text,
	category text,
	rule text,
	recorded_at timestamptz NOT NULL,
	PRIMARY KEY (operation_id, generation, event)
);

CREATE INDEX IF NOT EXISTS reattempt_fingerprint ON payments.reattempt (fingerprint, recorded_at);

COMMENT ON TABLE payments.reattempt IS 'declines by issuers, retries that were granted, and retries that a rule of reattempt_limit has blocked; append-only, written with the decline';
COMMENT ON COLUMN payments.reattempt.operation_id IS 'operation.operation_id';
COMMENT ON COLUMN payments.reattempt.generation IS 'operation.generation that was declined, or that would be the next';
COMMENT ON COLUMN payments.reattempt.event IS 'declined; granted: it is tried again, and counts from now on; blocked: it is not';
COMMENT ON COLUMN payments.reattempt.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.reattempt.merchant IS 'payment.merchant: counted apart';
COMMENT ON COLUMN payments.reattempt.fingerprint IS 'the card: a digest of token and customer, with the salt of this installation; another one of the same card is another card';
COMMENT ON COLUMN payments.reattempt.amount IS 'minor units';
COMMENT ON COLUMN payments.reattempt.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.reattempt.code IS 'of a decline, the PSP''s code';
COMMENT ON COLUMN payments.reattempt.category IS 'of a decline, reattempt_code.category';
COMMENT ON COLUMN payments.reattempt.rule IS 'of what is blocked, reattempt_limit.rule';
COMMENT ON COLUMN payments.reattempt.recorded_at IS 'when';

CREATE TABLE IF NOT EXISTS payments.reattempt_card (
	fingerprint bytea PRIMARY KEY,
	asked bigint NOT NULL,
	asked_at timestamptz NOT NULL
) WITH (fillfactor = 80);

COMMENT ON TABLE payments.reattempt_card IS 'a row for each card of which a retry was asked for: locked while its tries are counted';
COMMENT ON COLUMN payments.reattempt_card.fingerprint IS 'reattempt.fingerprint';
COMMENT ON COLUMN payments.reattempt_card.asked IS 'how often';
COMMENT ON COLUMN payments.reattempt_card.asked_at IS 'when last';
