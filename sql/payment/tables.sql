-- The tables that money is in.  No members of the extension: they restore
-- exactly from a dump and survive DROP EXTENSION.  Run by setup() as
-- payments_owner; may be run any number of times.
--
-- Amounts are held by CHECKs, words (kinds, statuses) by the guard triggers
-- against the tables in C that are their only source.  The server parses each
-- CHECK anew in every statement: with lists of words in them they took a fifth
-- of the time of create_payment().  Foreign keys between these tables took two
-- fifths; they are left out where the child is only written by C beside the
-- locked parent, and parents are never deleted (guard_facts).  check() proves
-- the links.
--
-- History that grows without end is partitioned by month, so that it can be
-- retired: posting by its time, payment_status and event by their ids, which
-- are UUIDv7 and so in order of time, as this keeps their keys whole.  The
-- months are made by 98_partitions.sql.  movement cannot be: its key is what
-- makes a PSP's money count once.

CREATE TABLE IF NOT EXISTS payments.merchant (
	merchant text PRIMARY KEY CONSTRAINT merchant_name_length CHECK (length(merchant) BETWEEN 1 AND 63),
	app_role name,
	psp text NOT NULL DEFAULT 'sandbox',
	created_at timestamptz NOT NULL DEFAULT now(),
	closed_until timestamptz
);

CREATE TABLE IF NOT EXISTS payments.psp (
	psp text PRIMARY KEY CONSTRAINT psp_name_simple CHECK (psp ~ '^[a-z][a-z0-9_]{0,62}$'),
	adapter text NOT NULL,
	base_url text,
	secret text CONSTRAINT psp_secret_is_a_name CHECK (secret ~ '^[A-Za-z][A-Za-z0-9_.-]{0,62}$'),
	config jsonb NOT NULL DEFAULT '{}',
	inflight_max int NOT NULL DEFAULT 2000 CONSTRAINT psp_inflight_positive CHECK (inflight_max > 0),
	timeout interval NOT NULL DEFAULT '30 s' CONSTRAINT psp_timeout_range CHECK (timeout BETWEEN interval '100 ms' AND interval '10 min'),
	halted_at timestamptz,
	halted_reason text,
	created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS payments.payment (
	payment_id uuid PRIMARY KEY,
	merchant text NOT NULL,
	kind text NOT NULL,
	amount bigint NOT NULL CONSTRAINT payment_amount_positive CHECK (amount > 0),
	currency text NOT NULL,
	capture text NOT NULL,
	psp text NOT NULL,
	payment_method text,
	order_ref text,
	customer text,
	return_url text,
	description text,
	off_session boolean NOT NULL,
	metadata jsonb NOT NULL,
	created_at timestamptz NOT NULL,
	status text NOT NULL,
	seq int NOT NULL,
	status_hash bytea NOT NULL,
	updated_at timestamptz NOT NULL,
	authorized bigint NOT NULL DEFAULT 0,
	capture_pending bigint NOT NULL DEFAULT 0,
	captured bigint NOT NULL DEFAULT 0,
	refund_pending bigint NOT NULL DEFAULT 0,
	refunded bigint NOT NULL DEFAULT 0,
	disputed bigint NOT NULL DEFAULT 0,
	psp_payment_id text,
	next_action_url text,
	failure_code text,
	failure_message text,
	-- Written so that each names every column once: the rest follows from "not negative".
	CONSTRAINT payment_amounts_not_negative CHECK (least(authorized, capture_pending, captured, refund_pending, refunded, disputed) >= 0),
	CONSTRAINT payment_authorized_within_amount CHECK (authorized <= amount),
	CONSTRAINT payment_captured_within_authorized CHECK (capture_pending <= authorized - captured),
	CONSTRAINT payment_refunded_within_captured CHECK (refund_pending <= captured - refunded - disputed)
) WITH (fillfactor = 80);

-- A webhook often names nothing but the PSP's own id.
CREATE UNIQUE INDEX IF NOT EXISTS payment_psp_payment_id ON payments.payment (psp, psp_payment_id) WHERE psp_payment_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS payment_order_ref ON payments.payment (order_ref) WHERE order_ref IS NOT NULL;

CREATE TABLE IF NOT EXISTS payments.operation (
	operation_id uuid PRIMARY KEY,
	payment_id uuid NOT NULL,
	kind text NOT NULL,
	amount bigint NOT NULL CONSTRAINT operation_amount_positive CHECK (amount > 0),
	currency text NOT NULL,
	reason text,
	psp text NOT NULL,
	psp_ref text NOT NULL,
	created_at timestamptz NOT NULL,
	status text NOT NULL,
	generation int NOT NULL DEFAULT 1,
	attempts int NOT NULL DEFAULT 0,
	first_sent_at timestamptz,
	psp_object_id text,
	failure_code text,
	failure_message text,
	completed_at timestamptz
) WITH (fillfactor = 80);

CREATE INDEX IF NOT EXISTS operation_payment ON payments.operation (payment_id);
CREATE UNIQUE INDEX IF NOT EXISTS operation_psp_ref ON payments.operation (psp_ref, psp);

CREATE TABLE IF NOT EXISTS payments.payment_status (
	payment_id uuid NOT NULL,
	seq int NOT NULL,
	status text NOT NULL,
	event text NOT NULL,
	operation_id uuid,
	source text NOT NULL,
	actor text NOT NULL,
	code text,
	recorded_at timestamptz NOT NULL,
	hash bytea NOT NULL,
	PRIMARY KEY (payment_id, seq)
) PARTITION BY RANGE (payment_id);

CREATE TABLE IF NOT EXISTS payments.attempt (
	operation_id uuid NOT NULL,
	attempt int NOT NULL,
	action text NOT NULL,
	generation int NOT NULL,
	psp_key text,
	method text NOT NULL,
	path text NOT NULL,
	content_type text,
	body text,
	worker text NOT NULL,
	claimed_at timestamptz NOT NULL,
	PRIMARY KEY (operation_id, attempt)
);

-- Two at most for an attempt: that the lease ran out, and later what the PSP had said.
CREATE TABLE IF NOT EXISTS payments.attempt_answer (
	operation_id uuid NOT NULL,
	attempt int NOT NULL,
	class text NOT NULL,
	code text,
	http_status int,
	request_id text,
	error text,
	body bytea,
	elapsed_ms int,
	late boolean NOT NULL,
	answered_at timestamptz NOT NULL,
	PRIMARY KEY (operation_id, attempt, late)
);

CREATE TABLE IF NOT EXISTS payments.queue (
	operation_id uuid PRIMARY KEY,
	payment_id uuid NOT NULL,
	psp text NOT NULL,
	action text NOT NULL,
	due_at timestamptz NOT NULL,
	claimed_by text,
	attempt int NOT NULL DEFAULT 0,
	schedule text,
	try int NOT NULL DEFAULT 0,
	lost int NOT NULL DEFAULT 0,
	enqueued_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX IF NOT EXISTS queue_due ON payments.queue (psp, due_at);

CREATE TABLE IF NOT EXISTS payments.dead_letter (
	dead_letter_id uuid PRIMARY KEY,
	operation_id uuid NOT NULL CONSTRAINT dead_letter_has_operation REFERENCES payments.operation,
	payment_id uuid NOT NULL,
	psp text NOT NULL,
	action text NOT NULL,
	reason text NOT NULL,
	detail text,
	attempts int NOT NULL,
	created_at timestamptz NOT NULL,
	decision text CONSTRAINT dead_letter_decision_known CHECK (decision IN ('redriven', 'discarded', 'resolved')),
	decided_at timestamptz,
	decided_by text,
	decision_reason text
);

-- At most one open dead letter an operation.
CREATE UNIQUE INDEX IF NOT EXISTS dead_letter_open ON payments.dead_letter (operation_id) WHERE decision IS NULL;

-- Columns of fixed width first: reconciliation reads millions of these.
CREATE TABLE IF NOT EXISTS payments.movement (
	payment_id uuid NOT NULL,
	amount bigint NOT NULL CONSTRAINT movement_amount_positive CHECK (amount > 0),
	recorded_at timestamptz NOT NULL,
	psp text NOT NULL,
	object_id text NOT NULL,
	kind text NOT NULL,
	currency text NOT NULL,
	source text NOT NULL,
	operation_id uuid,
	PRIMARY KEY (psp, object_id, kind)
);

CREATE INDEX IF NOT EXISTS movement_payment ON payments.movement (payment_id);
-- Reconciliation reads a period; rows lie in the order of their time.
CREATE INDEX IF NOT EXISTS movement_recorded_at ON payments.movement USING brin (recorded_at) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE IF NOT EXISTS payments.idempotency_key (
	merchant text NOT NULL,
	key text NOT NULL,
	verb text NOT NULL,
	request_hash bytea NOT NULL,
	payment_id uuid NOT NULL,
	operation_id uuid NOT NULL,
	status text NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (merchant, key)
);

CREATE TABLE IF NOT EXISTS payments.event (
	id uuid PRIMARY KEY,
	aggregatetype text NOT NULL,
	aggregateid text NOT NULL,
	type text NOT NULL,
	payload jsonb NOT NULL,
	merchant text NOT NULL,
	created_at timestamptz NOT NULL
) PARTITION BY RANGE (id);

CREATE TABLE IF NOT EXISTS payments.psp_event (
	psp text NOT NULL,
	event_id text NOT NULL,
	event_type text,
	received_at timestamptz NOT NULL,
	source text NOT NULL DEFAULT 'webhook' CONSTRAINT psp_event_source_known CHECK (source IN ('webhook', 'feed')),
	headers jsonb NOT NULL,
	body bytea NOT NULL,
	outcome text NOT NULL CONSTRAINT psp_event_outcome_known CHECK (outcome IN ('received', 'applied', 'asked', 'no_effect', 'ignored', 'unmatched')),
	payment_id uuid,
	PRIMARY KEY (psp, event_id)
);

CREATE TABLE IF NOT EXISTS payments.exception (
	exception_id uuid PRIMARY KEY,
	kind text NOT NULL CONSTRAINT exception_kind_known CHECK (kind IN
		('after_cancel', 'conflicted', 'orphan', 'over_refunded', 'duplicate', 'refund_failed', 'disputed')),
	psp text NOT NULL,
	object_id text,
	payment_id uuid,
	operation_id uuid,
	amount bigint,
	currency text,
	detail text,
	created_at timestamptz NOT NULL,
	resolved_at timestamptz,
	resolved_by text,
	resolution text
);

CREATE UNIQUE INDEX IF NOT EXISTS exception_once ON payments.exception (psp, object_id, kind) WHERE object_id IS NOT NULL;

-- An answer is some kB of JSON each; lz4, where the server has it, takes a tenth of pglz's time.
DO $compression$
BEGIN
	IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
		ALTER TABLE payments.attempt_answer ALTER COLUMN body SET COMPRESSION lz4;
		ALTER TABLE payments.psp_event ALTER COLUMN body SET COMPRESSION lz4;
	END IF;
END
$compression$;
