-- What PSPs tell us unasked.  Run by setup() as payments_owner; may be run any
-- number of times.

CREATE TABLE IF NOT EXISTS payments.psp_event (
	psp text NOT NULL,
	event_id text NOT NULL,
	event_type text,
	received_at timestamptz NOT NULL,
	source text NOT NULL DEFAULT 'webhook' CONSTRAINT psp_event_source_known CHECK (source IN ('webhook', 'feed')),
	headers jsonb NOT NULL,
	body bytea NOT NULL,
	outcome text NOT NULL CONSTRAINT psp_event_outcome_known CHECK (outcome IN ('received', 'applied', 'asked', 'no_effect', 'ignored', 'unreadable', 'unmatched', 'foreign')),
	payment_id uuid,
	psp_payment_id text,
	effect text CONSTRAINT psp_event_effect_known CHECK (effect IN
		('authorize', 'capture', 'void', 'refund', 'refund_failed', 'dispute', 'dispute_won', 'dispute_lost', 'expire')),
	object_id text,
	amount bigint,
	currency text,
	code text,
	status_before text,
	status_after text,
	times int NOT NULL DEFAULT 1,
	last_received_at timestamptz,
	PRIMARY KEY (psp, event_id)
);

-- For whoever learns the PSP's id of a payment; and for the worker, which looks once more at the latest.
CREATE INDEX IF NOT EXISTS psp_event_unmatched ON payments.psp_event (psp, psp_payment_id)
	WHERE outcome = 'unmatched' AND effect IS NOT NULL;
CREATE INDEX IF NOT EXISTS psp_event_unmatched_at ON payments.psp_event (received_at)
	WHERE outcome = 'unmatched' AND effect IS NOT NULL;

COMMENT ON TABLE payments.psp_event IS 'events received from PSPs, each stored once, when its signature was right; of a PSP that signs nothing, those that name a payment of ours.  Written by receive_webhook(), and by the worker when it finds one in the PSP''s list';
COMMENT ON COLUMN payments.psp_event.psp IS 'psp.psp';
COMMENT ON COLUMN payments.psp_event.event_id IS 'the PSP''s id; a second one of it does nothing. Of one that nobody could verify: hint, payment, class and effect, so that there are few of a payment, however many are made up';
COMMENT ON COLUMN payments.psp_event.event_type IS 'the PSP''s name of what happened';
COMMENT ON COLUMN payments.psp_event.received_at IS 'when receive_webhook() was called, or the worker read it';
COMMENT ON COLUMN payments.psp_event.source IS 'webhook: it was sent to receive_webhook(); feed: the worker found it first in the PSP''s list of events';
COMMENT ON COLUMN payments.psp_event.headers IS 'of the request, without those that may hold a secret; of a feed, and of what nobody could verify, none';
COMMENT ON COLUMN payments.psp_event.body IS 'as received, with what looks like a card number masked; of a request with several events, its own part; of one that nobody could verify, the first 4 kB';
COMMENT ON COLUMN payments.psp_event.outcome IS 'received, applied, asked: not believed, so the PSP is asked, no_effect: known already or late, ignored: of no interest, unreadable: of a type that moves money, and we cannot tell what it says: see payments.exception; when it comes again it is read again, unmatched: no payment of ours, or not yet: applied when one turns out to have that id, foreign: it is about a payment of another database, account or mode at the same PSP, or of another psp of ours';
COMMENT ON COLUMN payments.psp_event.payment_id IS 'payment it spoke of; null: none of ours';
COMMENT ON COLUMN payments.psp_event.psp_payment_id IS 'of one that was unmatched: the PSP''s id of its payment; from here on what it told';
COMMENT ON COLUMN payments.psp_event.effect IS 'what happened, in words as those of movement.kind; null: nothing to apply later';
COMMENT ON COLUMN payments.psp_event.object_id IS 'the PSP''s id of what moved';
COMMENT ON COLUMN payments.psp_event.amount IS 'in the PSP''s units';
COMMENT ON COLUMN payments.psp_event.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.psp_event.code IS 'the PSP''s code';
COMMENT ON COLUMN payments.psp_event.status_before IS 'of its payment, when the event was applied';
COMMENT ON COLUMN payments.psp_event.status_after IS 'and behind it';
COMMENT ON COLUMN payments.psp_event.times IS 'how often it came; of one that nobody could verify, 1: it is not counted, so that making it up writes nothing';
COMMENT ON COLUMN payments.psp_event.last_received_at IS 'when it came again last; null: it came once';

-- An event is some kB of JSON; lz4, where the server has it, takes a tenth of pglz's time.
DO $compression$
BEGIN
	IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
	THEN
		ALTER TABLE payments.psp_event ALTER COLUMN body SET COMPRESSION lz4;
	END IF;
END
$compression$;
