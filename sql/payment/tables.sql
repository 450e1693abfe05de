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
-- months are made by retention/first_partitions.sql.  movement cannot be: its
-- key is what makes a PSP's money count once.

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
	route jsonb,
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
	released bigint NOT NULL DEFAULT 0,
	capture_before timestamptz,
	psp_payment_id text,
	next_action_url text,
	failure_code text,
	failure_message text,
	-- Written so that each names every column once: the rest follows from "not negative".
	CONSTRAINT payment_amounts_not_negative CHECK (least(authorized, capture_pending, captured, refund_pending, refunded, disputed, released) >= 0),
	CONSTRAINT payment_authorized_within_amount CHECK (authorized <= amount),
	CONSTRAINT payment_captured_within_authorized CHECK (capture_pending <= authorized - captured - released),
	CONSTRAINT payment_refunded_within_captured CHECK (refund_pending <= captured - refunded - disputed)
) WITH (fillfactor = 80);

-- A webhook often names nothing but the PSP's own id.
CREATE UNIQUE INDEX IF NOT EXISTS payment_psp_payment_id ON payments.payment (psp, psp_payment_id) WHERE psp_payment_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS payment_order_ref ON payments.payment (order_ref) WHERE order_ref IS NOT NULL;
-- Lists of a customer, newest first: payment_id is in order of time.
-- Authorizations that run out.
CREATE INDEX IF NOT EXISTS payment_capture_before ON payments.payment (capture_before) WHERE capture_before IS NOT NULL;
CREATE INDEX IF NOT EXISTS payment_customer ON payments.payment (customer, payment_id) WHERE customer IS NOT NULL;

COMMENT ON TABLE payments.payment IS 'one row a payment: what was asked for, which never changes (guard_facts), and how it stands now, a projection of payment_status and movement that is written only under this row''s lock.  Inserted by create_payment()';
COMMENT ON COLUMN payments.payment.payment_id IS 'UUIDv7; its last 12 bits are the shard bucket of the merchant';
COMMENT ON COLUMN payments.payment.merchant IS 'merchant.merchant';
COMMENT ON COLUMN payments.payment.kind IS 'purchase, topup; withdrawal: a payout; transfer: a payout that stays at the PSP, on another account';
COMMENT ON COLUMN payments.payment.amount IS 'what was asked for, minor units, above zero';
COMMENT ON COLUMN payments.payment.currency IS 'ISO 4217 code, of all amounts of the payment';
COMMENT ON COLUMN payments.payment.capture IS 'automatic: charged at once; manual: authorized, then capture_payment()';
COMMENT ON COLUMN payments.payment.psp IS 'psp.psp that performs it; another one only by a row of route_decision';
COMMENT ON COLUMN payments.payment.payment_method IS 'the PSP''s token of the means of payment, of a withdrawal or transfer of where it goes; never a card number';
COMMENT ON COLUMN payments.payment.order_ref IS 'the application''s name of the order';
COMMENT ON COLUMN payments.payment.customer IS 'the application''s own name of the customer, for its lists; or the PSP''s id (cus_... of Stripe), which the PSP is told, since it charges a saved payment method for its customer only';
COMMENT ON COLUMN payments.payment.return_url IS 'where the PSP sends the payer back to';
COMMENT ON COLUMN payments.payment.description IS 'sent to the PSP';
COMMENT ON COLUMN payments.payment.off_session IS 'no customer is waiting, so soft declines are retried by schedule';
COMMENT ON COLUMN payments.payment.metadata IS 'the application''s own; stays here';
COMMENT ON COLUMN payments.payment.created_at IS 'when create_payment() accepted it';
COMMENT ON COLUMN payments.payment.route IS 'of one whose PSP a rule has chosen: the rule, and the PSPs that were looked at, as explain_route() shows; null: the call or the merchant has named it, and it stays there';
COMMENT ON COLUMN payments.payment.status IS 'that of its newest payment_status row; the transitions are in payments.transition';
COMMENT ON COLUMN payments.payment.seq IS 'payment_status.seq of its newest row';
COMMENT ON COLUMN payments.payment.status_hash IS 'payment_status.hash of its newest row, which the next one builds on';
COMMENT ON COLUMN payments.payment.updated_at IS 'when status or amounts changed last';
COMMENT ON COLUMN payments.payment.authorized IS 'minor units that the PSP has authorized or captured';
COMMENT ON COLUMN payments.payment.capture_pending IS 'minor units of captures asked for and not yet answered';
COMMENT ON COLUMN payments.payment.captured IS 'minor units captured: sum of movements of kind capture';
COMMENT ON COLUMN payments.payment.refund_pending IS 'minor units of refunds asked for and not yet answered; nobody else can refund them';
COMMENT ON COLUMN payments.payment.refunded IS 'minor units refunded: movements of kind refund less refund_failed, as far as there is room in captured less refund_pending';
COMMENT ON COLUMN payments.payment.disputed IS 'minor units taken back by disputes: movements of kind dispute less dispute_won, as far as refunds leave room';
COMMENT ON COLUMN payments.payment.released IS 'minor units of what was authorized that were given up after a capture of less: by the last capture, by cancel_payment(), or by the PSP';
COMMENT ON COLUMN payments.payment.capture_before IS 'when the PSP gives up what is not captured, by its own word, or by what its adapter knows; from then on the PSP is asked, and what it says counts; null: nobody knows, or nothing is left to capture';
COMMENT ON COLUMN payments.payment.psp_payment_id IS 'the PSP''s id of the payment; null until the PSP has answered, and again after a soft decline';
COMMENT ON COLUMN payments.payment.next_action_url IS 'where the payer must go while the status is requires_action';
COMMENT ON COLUMN payments.payment.failure_code IS 'the PSP''s code of the last decline; or return_url_missing: the payer must confirm, and the PSP has no page for it; null after success';
COMMENT ON COLUMN payments.payment.failure_message IS 'the PSP''s words to it, or what to do, for people';

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
	step int NOT NULL DEFAULT 1,
	attempts int NOT NULL DEFAULT 0,
	key_used_at timestamptz,
	psp_object_id text,
	failure_code text,
	failure_message text,
	completed_at timestamptz,
	source text,
	final boolean NOT NULL DEFAULT true
) WITH (fillfactor = 80);

CREATE INDEX IF NOT EXISTS operation_payment ON payments.operation (payment_id);
CREATE UNIQUE INDEX IF NOT EXISTS operation_psp_ref ON payments.operation (psp_ref, psp);

COMMENT ON TABLE payments.operation IS 'one command to a PSP on behalf of a payment.  Inserted by create_payment(), capture_payment(), cancel_payment() and refund_payment(); then moved on by the worker and by webhooks, under the payment''s lock.  No row is deleted';
COMMENT ON COLUMN payments.operation.operation_id IS 'UUIDv7 with the shard bucket of its payment';
COMMENT ON COLUMN payments.operation.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.operation.kind IS 'charge, authorize, capture, void, refund or payout; expire: asks the PSP whether it has given up an authorization whose time is over. charge and authorize decide the payment''s status';
COMMENT ON COLUMN payments.operation.amount IS 'minor units; of a void, the payment''s amount';
COMMENT ON COLUMN payments.operation.currency IS 'ISO 4217 code, the payment''s';
COMMENT ON COLUMN payments.operation.reason IS 'as given by the caller; sent on where the PSP knows it';
COMMENT ON COLUMN payments.operation.psp IS 'psp.psp, the payment''s, with which it goes';
COMMENT ON COLUMN payments.operation.psp_ref IS 'our name of the operation at the PSP, derived from merchant, idempotency key and kind alone, so that it is the same again after a loss of rows';
COMMENT ON COLUMN payments.operation.created_at IS 'when it was asked for';
COMMENT ON COLUMN payments.operation.status IS 'initiated, processing, requires_action, awaiting_retry, in_doubt; or, for good, succeeded, failed, cancelled; only a refund may yet change, by the PSP''s later word: one that succeeded may fail, one that failed may have been made';
COMMENT ON COLUMN payments.operation.generation IS 'from 1; a new one, and with it a new key at the PSP, only after a definite soft decline';
COMMENT ON COLUMN payments.operation.step IS 'which of the requests that a generation takes, each with a key of its own at the PSP: from 1; the next when the PSP says that the one before is done, as when a payer has approved';
COMMENT ON COLUMN payments.operation.attempts IS 'rows in attempt so far';
COMMENT ON COLUMN payments.operation.key_used_at IS 'first send of this step that the PSP may have heard: from here counts how long it honours the key; null: certainly none';
COMMENT ON COLUMN payments.operation.psp_object_id IS 'the PSP''s id of what the operation made, such as a refund';
COMMENT ON COLUMN payments.operation.failure_code IS 'the PSP''s code of the last decline, or conflicted, discarded, or captured_otherwise: by another hand in another amount';
COMMENT ON COLUMN payments.operation.failure_message IS 'the PSP''s words to it, for people';
COMMENT ON COLUMN payments.operation.completed_at IS 'when it succeeded, failed or was cancelled; null: open';
COMMENT ON COLUMN payments.operation.source IS 'who said how it ended: client, answer, inquiry, webhook, settlement or person; null: open';
COMMENT ON COLUMN payments.operation.final IS 'of a capture: what it leaves is released; false: it stays authorized, for further ones';

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

COMMENT ON TABLE payments.payment_status IS 'history of each payment, append-only.  (payment_id, seq) is the key, so no two writers append the same step; guard_status checks edge, seq and hash of every row';
COMMENT ON COLUMN payments.payment_status.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.payment_status.seq IS 'from 1, without gaps';
COMMENT ON COLUMN payments.payment_status.status IS 'status from here on: transition.to_status';
COMMENT ON COLUMN payments.payment_status.event IS 'what happened: transition.event';
COMMENT ON COLUMN payments.payment_status.operation_id IS 'operation that it happened to; null: to none of ours';
COMMENT ON COLUMN payments.payment_status.source IS 'who says so: client, worker, answer, inquiry, webhook, settlement or person';
COMMENT ON COLUMN payments.payment_status.actor IS 'database role that wrote it';
COMMENT ON COLUMN payments.payment_status.code IS 'the PSP''s code, where there is one';
COMMENT ON COLUMN payments.payment_status.recorded_at IS 'when it was written; part of the hash';
COMMENT ON COLUMN payments.payment_status.hash IS 'SHA-256 over this row and the hash of the row before it; check() walks the chain';

-- At the end of the statement, for COPY; deferrable to the end of the transaction, for a dump of single INSERTs.
-- There is no OR REPLACE for triggers of this kind.
DO $guard$
BEGIN
	IF EXISTS (
		SELECT FROM payments._guards_off() g WHERE g.root = 'payment_status' AND g.guard = 'guard_status'
	) THEN
		DROP TRIGGER IF EXISTS guard_status ON payments.payment_status;
		CREATE CONSTRAINT TRIGGER guard_status AFTER INSERT ON payments.payment_status
			DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION payments.guard_status();
		ALTER TABLE payments.payment_status ENABLE ALWAYS TRIGGER guard_status;
	END IF;
END
$guard$;

CREATE TABLE IF NOT EXISTS payments.attempt (
	operation_id uuid NOT NULL,
	attempt int NOT NULL,
	action text NOT NULL,
	generation int NOT NULL,
	step int NOT NULL,
	psp_key text,
	method text NOT NULL,
	path text NOT NULL,
	content_type text,
	body text,
	worker text NOT NULL,
	claimed_at timestamptz NOT NULL,
	PRIMARY KEY (operation_id, attempt)
);

COMMENT ON TABLE payments.attempt IS 'one row an exchange with a PSP, append-only: committed by the worker before the first byte leaves';
COMMENT ON COLUMN payments.attempt.operation_id IS 'operation.operation_id; no foreign key, see check()';
COMMENT ON COLUMN payments.attempt.attempt IS 'from 1 within the operation; also the fencing token, see queue.attempt';
COMMENT ON COLUMN payments.attempt.action IS 'send: perform it; inquire: ask what became of it';
COMMENT ON COLUMN payments.attempt.generation IS 'operation.generation at that time';
COMMENT ON COLUMN payments.attempt.step IS 'operation.step at that time';
COMMENT ON COLUMN payments.attempt.psp_key IS 'idempotency key sent, derived from psp_ref, generation and step; null for an inquiry';
COMMENT ON COLUMN payments.attempt.method IS 'HTTP method';
COMMENT ON COLUMN payments.attempt.path IS 'path and query, behind psp.base_url';
COMMENT ON COLUMN payments.attempt.content_type IS 'of the body; null without one';
COMMENT ON COLUMN payments.attempt.body IS 'the exact bytes sent; a resend of the same generation and step sends those of its first send again';
COMMENT ON COLUMN payments.attempt.worker IS 'who claimed it';
COMMENT ON COLUMN payments.attempt.claimed_at IS 'when; the call follows the commit at once';

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

COMMENT ON TABLE payments.attempt_answer IS 'what came of an attempt, append-only, at most one row each.  An attempt without one is in flight, or its worker died';
COMMENT ON COLUMN payments.attempt_answer.operation_id IS 'attempt.operation_id';
COMMENT ON COLUMN payments.attempt_answer.attempt IS 'attempt.attempt';
COMMENT ON COLUMN payments.attempt_answer.class IS 'what we took it for: approved, pending, requires_action, declined, retry_later, not_sent, unknown, misconfigured, duplicate or conflicted';
COMMENT ON COLUMN payments.attempt_answer.code IS 'the PSP''s code';
COMMENT ON COLUMN payments.attempt_answer.http_status IS 'HTTP status; null when no whole answer came, or none over HTTP';
COMMENT ON COLUMN payments.attempt_answer.request_id IS 'the PSP''s id of the request, for its support';
COMMENT ON COLUMN payments.attempt_answer.error IS 'why there was no whole answer';
COMMENT ON COLUMN payments.attempt_answer.body IS 'first 8 kB of the answer, with what looks like a card number masked';
COMMENT ON COLUMN payments.attempt_answer.elapsed_ms IS 'milliseconds from start to end of the call';
COMMENT ON COLUMN payments.attempt_answer.late IS 'true: the lease was gone; then the answer counted only if it said that money moved';
COMMENT ON COLUMN payments.attempt_answer.answered_at IS 'when it was recorded';

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
	refused int NOT NULL DEFAULT 0,
	hinted boolean NOT NULL DEFAULT false,
	enqueued_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX IF NOT EXISTS queue_due ON payments.queue (psp, due_at);

COMMENT ON TABLE payments.queue IS 'operations that wait for a PSP, one row each, gone when the operation is over or a dead letter.  Inserted with the operation, then written by the worker and by webhooks, under the payment''s lock';
COMMENT ON COLUMN payments.queue.operation_id IS 'operation.operation_id';
COMMENT ON COLUMN payments.queue.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.queue.psp IS 'psp.psp: each is claimed on its own, so that a slow one keeps no other waiting';
COMMENT ON COLUMN payments.queue.action IS 'what is next: send: perform it; inquire: ask what became of it';
COMMENT ON COLUMN payments.queue.due_at IS 'not before; while claimed, when the lease runs out and the outcome counts as unknown';
COMMENT ON COLUMN payments.queue.claimed_by IS 'worker that has it at the PSP now; null: free';
COMMENT ON COLUMN payments.queue.attempt IS 'attempt.attempt that holds the lease: an answer to any other is late';
COMMENT ON COLUMN payments.queue.schedule IS 'retry_schedule.schedule it is on; null: not tried yet';
COMMENT ON COLUMN payments.queue.try IS 'tries on that schedule so far';
COMMENT ON COLUMN payments.queue.lost IS 'leases in a row that ran out without an answer; too many and it is buried as what makes the worker die';
COMMENT ON COLUMN payments.queue.refused IS 'answers in a row that said there are too many calls: no tries, but each waits twice as long, and after hours of it this operation is a dead letter';
COMMENT ON COLUMN payments.queue.hinted IS 'an event that nobody could verify came while it was claimed: inquired soon after the answer';
COMMENT ON COLUMN payments.queue.enqueued_at IS 'when it entered the queue';

CREATE TABLE IF NOT EXISTS payments.psp_health (
	psp text PRIMARY KEY,
	in_flight_max int NOT NULL,
	calls_per_second numeric,
	paused_until timestamptz,
	silent_until timestamptz,
	problem text,
	resumed boolean NOT NULL DEFAULT false,
	noted_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Sessions that choose a PSP have it cached.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.psp_health
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.psp_health ENABLE ALWAYS TRIGGER forget_routes;

COMMENT ON TABLE payments.psp_health IS 'PSPs that the worker cannot call, or calls more slowly than it might because they want it or do not answer: written by the worker, and empty when all is well';
COMMENT ON COLUMN payments.psp_health.psp IS 'psp.psp';
COMMENT ON COLUMN payments.psp_health.in_flight_max IS 'calls that may be in flight now; grows with each answer, up to psp.inflight_max';
COMMENT ON COLUMN payments.psp_health.calls_per_second IS 'so many calls begin in a second, since the PSP said that there were too many; null: it has not';
COMMENT ON COLUMN payments.psp_health.paused_until IS 'the PSP wants no call before; null: none is held back';
COMMENT ON COLUMN payments.psp_health.silent_until IS 'it has not answered, and gets one call after this to see whether it does; null: it answers';
COMMENT ON COLUMN payments.psp_health.problem IS 'why it is not called at all, such as a secret that is not at hand; null: it is called. That a PSP is halted is in psp, that we are not armed in worker_status';
COMMENT ON COLUMN payments.psp_health.resumed IS 'a person has ended the pause with resume_psp(), and the worker has not seen it yet';
COMMENT ON COLUMN payments.psp_health.noted_at IS 'when the worker wrote this';

CREATE TABLE IF NOT EXISTS payments.dead_letter (
	dead_letter_id uuid PRIMARY KEY,
	operation_id uuid NOT NULL,
	payment_id uuid NOT NULL,
	psp text NOT NULL,
	action text NOT NULL,
	reason text NOT NULL,
	detail text,
	attempts int NOT NULL,
	created_at timestamptz NOT NULL,
	decision text CONSTRAINT dead_letter_decision_known CHECK (decision IN ('redriven', 'discarded', 'confirmed', 'resolved')),
	decided_at timestamptz,
	decided_by text,
	decision_reason text
);

-- At most one open dead letter an operation.
CREATE UNIQUE INDEX IF NOT EXISTS dead_letter_open ON payments.dead_letter (operation_id) WHERE decision IS NULL;

COMMENT ON TABLE payments.dead_letter IS 'operations that nothing will be done about until a person decides, by redrive(), discard() or decide_operation(), or the PSP tells after all.  Written by the worker';
COMMENT ON COLUMN payments.dead_letter.dead_letter_id IS 'for redrive() and discard()';
COMMENT ON COLUMN payments.dead_letter.operation_id IS 'operation.operation_id; at most one open dead letter each; no foreign key, see check()';
COMMENT ON COLUMN payments.dead_letter.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.dead_letter.psp IS 'psp.psp';
COMMENT ON COLUMN payments.dead_letter.action IS 'what was next: send or inquire';
COMMENT ON COLUMN payments.dead_letter.reason IS 'psp_unreachable, outcome_unknown, pending_too_long, action_never_came, conflicted, worker_died, cannot_build, cannot_inquire, cannot_claim, cannot_complete or booked_elsewhere; or in_doubt: a person has decided before its schedule had ended';
COMMENT ON COLUMN payments.dead_letter.detail IS 'the last error or the PSP''s words, for people';
COMMENT ON COLUMN payments.dead_letter.attempts IS 'rows in attempt by then';
COMMENT ON COLUMN payments.dead_letter.created_at IS 'when it was buried';
COMMENT ON COLUMN payments.dead_letter.decision IS 'redriven; discarded or confirmed: it was not done, or it was, by a person''s word; resolved: the PSP said what became of it, or the payment was cancelled; null: open';
COMMENT ON COLUMN payments.dead_letter.decided_at IS 'when it was decided';
COMMENT ON COLUMN payments.dead_letter.decided_by IS 'database role that decided, or that brought the PSP''s word';
COMMENT ON COLUMN payments.dead_letter.decision_reason IS 'why, as given to discard() or decide_operation()';

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

COMMENT ON TABLE payments.movement IS 'money that moved at a PSP, append-only.  One row for each object and kind, from whichever side and however often it is heard of; amounts of a payment are sums of these.  Written under the payment''s lock by answers, inquiries and webhooks, with their postings';
COMMENT ON COLUMN payments.movement.psp IS 'psp.psp';
COMMENT ON COLUMN payments.movement.object_id IS 'the PSP''s id of what moved it, or of what it says: payment, refund, fee or dispute';
COMMENT ON COLUMN payments.movement.kind IS 'capture, refund, refund_failed, fee, dispute, dispute_won, dispute_lost, or late_capture: money that came when nobody waited for it, kept in suspense.  refund_to_suspense, dispute_lost_to_suspense: the payment has come to nothing, and what the merchant had borne of it is taken from suspense.  payout_reserved, and then payout or transfer, or payout_failed, payout_released: it never went out; payout_returned, transfer_returned: it came back; late_payout: it went out when all believed that it had not; late_payout_failed: that came back. Moving nothing: authorize, void, expire, release (what was not captured was given up); refund_undone, dispute_undone and payout_undone: heard to have failed or to be won before it was heard of at all';
COMMENT ON COLUMN payments.movement.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.movement.operation_id IS 'operation that asked for it; null: none of ours';
COMMENT ON COLUMN payments.movement.amount IS 'minor units, above zero; kind says the direction';
COMMENT ON COLUMN payments.movement.currency IS 'ISO 4217 code, the payment''s';
COMMENT ON COLUMN payments.movement.source IS 'who said so first: answer, inquiry, webhook, settlement or person';
COMMENT ON COLUMN payments.movement.recorded_at IS 'when it was written';

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

COMMENT ON TABLE payments.idempotency_key IS 'the first call under each key, append-only: written in the transaction of its effect, read by every repetition';
COMMENT ON COLUMN payments.idempotency_key.merchant IS 'keys are unique per merchant';
COMMENT ON COLUMN payments.idempotency_key.key IS 'the application''s, 1 to 255 characters';
COMMENT ON COLUMN payments.idempotency_key.verb IS 'function that was called';
COMMENT ON COLUMN payments.idempotency_key.request_hash IS 'SHA-256 over the arguments; another request under the key is refused (PY102)';
COMMENT ON COLUMN payments.idempotency_key.payment_id IS 'payment made or changed';
COMMENT ON COLUMN payments.idempotency_key.operation_id IS 'operation made';
COMMENT ON COLUMN payments.idempotency_key.status IS 'status that the first call returned; a repetition returns that of now';
COMMENT ON COLUMN payments.idempotency_key.created_at IS 'when';

CREATE TABLE IF NOT EXISTS payments.event (
	id uuid PRIMARY KEY,
	aggregatetype text NOT NULL,
	aggregateid text NOT NULL,
	type text NOT NULL,
	payload jsonb NOT NULL,
	merchant text NOT NULL,
	created_at timestamptz NOT NULL
) PARTITION BY RANGE (id);

COMMENT ON TABLE payments.event IS 'outbox, append-only: one row for each row of payment_status, and one for each end of a capture, void or refund, in the same commit, in the shape that Debezium''s outbox router reads';
COMMENT ON COLUMN payments.event.id IS 'UUIDv7, for the reader to drop what it has seen';
COMMENT ON COLUMN payments.event.aggregatetype IS 'payment';
COMMENT ON COLUMN payments.event.aggregateid IS 'payment_id';
COMMENT ON COLUMN payments.event.type IS 'payment.STATUS; or how an operation ended, such as refund.failed, capture.succeeded, void.cancelled';
COMMENT ON COLUMN payments.event.payload IS 'payment_id, seq, status, event, code, amount in minor units, currency, order_ref; of an operation: operation_id and source instead of seq and event, and its own status and amount';
COMMENT ON COLUMN payments.event.merchant IS 'merchant.merchant';
COMMENT ON COLUMN payments.event.created_at IS 'when it was written';

CREATE TABLE IF NOT EXISTS payments.exception (
	exception_id uuid PRIMARY KEY,
	kind text NOT NULL CONSTRAINT exception_kind_known CHECK (kind IN
		('after_cancel', 'conflicted', 'orphan', 'over_refunded', 'duplicate', 'refund_failed', 'disputed', 'unreadable', 'payout_failed')),
	psp text NOT NULL,
	object_id text,
	psp_ref text,
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
-- For the worker, before it sends what it has not sent.
CREATE INDEX IF NOT EXISTS exception_psp_ref ON payments.exception (psp_ref) WHERE psp_ref IS NOT NULL;
-- Resolved when a later word takes back what was too much, and then may come again.
CREATE UNIQUE INDEX IF NOT EXISTS exception_over_refunded ON payments.exception (payment_id) WHERE kind = 'over_refunded' AND resolved_at IS NULL;

COMMENT ON TABLE payments.exception IS 'what a person must look at: the PSP''s money and ours differ, or a customer is owed something.  Opened by answers, inquiries and webhooks';
COMMENT ON COLUMN payments.exception.exception_id IS 'UUIDv7';
COMMENT ON COLUMN payments.exception.kind IS 'after_cancel: money came for what is over; conflicted: amount, currency or reference differ, or what a person had decided; orphan: names an operation that is not here; over_refunded: refunds and disputes are more than was captured; duplicate: captured twice; refund_failed; disputed; payout_failed: after it had been paid; unreadable: an event of a type that moves money, object_id is its id';
COMMENT ON COLUMN payments.exception.psp IS 'psp.psp';
COMMENT ON COLUMN payments.exception.object_id IS 'the PSP''s id of the object; opened once for each object and kind';
COMMENT ON COLUMN payments.exception.psp_ref IS 'of an orphan, operation.psp_ref that it names: should a client repeat the call, the PSP is asked first; else null';
COMMENT ON COLUMN payments.exception.payment_id IS 'payment.payment_id; null for an orphan';
COMMENT ON COLUMN payments.exception.operation_id IS 'operation.operation_id; null: none of ours';
COMMENT ON COLUMN payments.exception.amount IS 'minor units; of an orphan, in the PSP''s units; null: not known';
COMMENT ON COLUMN payments.exception.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.exception.detail IS 'what is known and what to do, for people';
COMMENT ON COLUMN payments.exception.created_at IS 'when it was opened';
COMMENT ON COLUMN payments.exception.resolved_at IS 'when it was resolved; null: open';
COMMENT ON COLUMN payments.exception.resolved_by IS 'database role that resolved it, or that brought the PSP''s later word';
COMMENT ON COLUMN payments.exception.resolution IS 'what was done';

-- An answer is some kB of JSON each; lz4, where the server has it, takes a tenth of pglz's time.
DO $compression$
BEGIN
	IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
	THEN
		ALTER TABLE payments.attempt_answer ALTER COLUMN body SET COMPRESSION lz4;
	END IF;
END
$compression$;
