-- Holds: amounts reserved between two accounts.  Run by setup() as
-- payments_owner; may be run any number of times.  src/ledger/hold.c says how
-- they work and why what becomes of a hold has a table of its own.

CREATE TABLE IF NOT EXISTS payments.ledger_hold (
	hold_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	merchant text NOT NULL,
	debit_account bigint NOT NULL,
	credit_account bigint NOT NULL,
	currency text NOT NULL,
	amount bigint NOT NULL CONSTRAINT ledger_hold_amount_positive CHECK (amount > 0),
	asked bigint NOT NULL,
	balancing boolean NOT NULL,
	reference text CONSTRAINT ledger_hold_reference_not_empty CHECK (reference <> ''),
	description text CONSTRAINT ledger_hold_description_length CHECK (length(description) <= 1000),
	expires_at timestamptz,
	created_at timestamptz NOT NULL,
	CONSTRAINT ledger_hold_between_two_accounts CHECK (debit_account <> credit_account),
	CONSTRAINT ledger_hold_amount_as_asked CHECK (CASE WHEN balancing THEN amount <= asked ELSE amount = asked END)
);

CREATE UNIQUE INDEX IF NOT EXISTS ledger_hold_reference_once ON payments.ledger_hold (merchant, reference) WHERE reference IS NOT NULL;

COMMENT ON TABLE payments.ledger_hold IS 'an amount reserved to be posted between two accounts, append-only; what has become of it is in ledger_hold_resolution.  Written by payments.hold()';
COMMENT ON COLUMN payments.ledger_hold.hold_id IS 'the id that payments.post_hold() and payments.void_hold() take';
COMMENT ON COLUMN payments.ledger_hold.merchant IS 'merchant of the account to be debited; references are unique per merchant';
COMMENT ON COLUMN payments.ledger_hold.debit_account IS 'account.account_id to be debited';
COMMENT ON COLUMN payments.ledger_hold.credit_account IS 'account.account_id to be credited';
COMMENT ON COLUMN payments.ledger_hold.currency IS 'ISO 4217 code, that of both accounts';
COMMENT ON COLUMN payments.ledger_hold.amount IS 'minor units reserved at first, above zero';
COMMENT ON COLUMN payments.ledger_hold.asked IS 'minor units asked for; more than amount when balancing and the limits allowed less';
COMMENT ON COLUMN payments.ledger_hold.balancing IS 'asked for as much as the limits allow, up to asked';
COMMENT ON COLUMN payments.ledger_hold.reference IS 'client id for exactly-once holding, not shared with postings';
COMMENT ON COLUMN payments.ledger_hold.description IS 'free text; postings from the hold carry it';
COMMENT ON COLUMN payments.ledger_hold.expires_at IS 'from then on it cannot be posted; null: never';
COMMENT ON COLUMN payments.ledger_hold.created_at IS 'when it was written';

CREATE TABLE IF NOT EXISTS payments.ledger_hold_resolution (
	hold_id bigint NOT NULL,
	seq int NOT NULL CONSTRAINT ledger_hold_resolution_seq_positive CHECK (seq > 0),
	kind text NOT NULL CONSTRAINT ledger_hold_resolution_kind_known CHECK (kind IN ('post', 'void', 'expire')),
	posting_id bigint,
	asked bigint,
	final boolean NOT NULL,
	posted bigint NOT NULL,
	released bigint NOT NULL,
	remaining bigint NOT NULL,
	reason text CONSTRAINT ledger_hold_resolution_reason_length CHECK (length(reason) <= 1000),
	resolved_at timestamptz NOT NULL,
	PRIMARY KEY (hold_id, seq),
	CONSTRAINT ledger_hold_resolution_not_negative CHECK (least(posted, released, remaining) >= 0 AND posted + released > 0),
	CONSTRAINT ledger_hold_resolution_posting CHECK ((kind = 'post') = (posting_id IS NOT NULL) AND (kind = 'post') = (posted > 0)),
	CONSTRAINT ledger_hold_resolution_final CHECK (CASE WHEN final THEN remaining = 0 ELSE released = 0 END)
);

CREATE UNIQUE INDEX IF NOT EXISTS ledger_hold_resolution_posting_once ON payments.ledger_hold_resolution (posting_id)
	WHERE posting_id IS NOT NULL;

COMMENT ON TABLE payments.ledger_hold_resolution IS 'what was done to holds, append-only; the last row of a hold says what is left of it, and without one all is.  Written by payments.post_hold(), void_hold() and release_expired_holds()';
COMMENT ON COLUMN payments.ledger_hold_resolution.hold_id IS 'ledger_hold.hold_id';
COMMENT ON COLUMN payments.ledger_hold_resolution.seq IS 'counts from 1 for each hold';
COMMENT ON COLUMN payments.ledger_hold_resolution.kind IS 'post: in part or whole; void: given back; expire: given back because its time was over';
COMMENT ON COLUMN payments.ledger_hold_resolution.posting_id IS 'posting made; null unless kind is post';
COMMENT ON COLUMN payments.ledger_hold_resolution.asked IS 'the amount passed to payments.post_hold(); null: all that was left';
COMMENT ON COLUMN payments.ledger_hold_resolution.final IS 'nothing was to be left of it';
COMMENT ON COLUMN payments.ledger_hold_resolution.posted IS 'minor units posted';
COMMENT ON COLUMN payments.ledger_hold_resolution.released IS 'minor units given back';
COMMENT ON COLUMN payments.ledger_hold_resolution.remaining IS 'minor units still held afterwards';
COMMENT ON COLUMN payments.ledger_hold_resolution.reason IS 'as given to payments.void_hold()';
COMMENT ON COLUMN payments.ledger_hold_resolution.resolved_at IS 'when it was written';

CREATE TABLE IF NOT EXISTS payments.ledger_hold_due (
	hold_id bigint PRIMARY KEY,
	expires_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX IF NOT EXISTS ledger_hold_due_expires_at ON payments.ledger_hold_due (expires_at, hold_id);

COMMENT ON TABLE payments.ledger_hold_due IS 'open holds that can expire, for payments.release_expired_holds(); a row goes when nothing is left of the hold';
COMMENT ON COLUMN payments.ledger_hold_due.hold_id IS 'ledger_hold.hold_id';
COMMENT ON COLUMN payments.ledger_hold_due.expires_at IS 'ledger_hold.expires_at';
