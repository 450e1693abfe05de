-- Which PSP performs a payment that names none, and where it goes from there.
-- Run by setup() as payments_owner; may be run any number of times.

CREATE TABLE IF NOT EXISTS payments.route_rule (
	rule text PRIMARY KEY CONSTRAINT route_rule_name_simple CHECK (rule ~ '^[a-z][a-z0-9_]{0,62}$'),
	priority int NOT NULL,
	valid_from timestamptz NOT NULL,
	valid_until timestamptz NOT NULL,
	merchant text,
	currency text,
	country text CONSTRAINT route_rule_country_code CHECK (country ~ '^[A-Z]{2}$'),
	amount_min bigint,
	amount_max bigint,
	payment_method text,
	kind text,
	capture text CONSTRAINT route_rule_capture_known CHECK (capture IN ('automatic', 'manual')),
	psps text[] NOT NULL CONSTRAINT route_rule_has_psps CHECK (cardinality(psps) > 0 AND array_position(psps, NULL) IS NULL),
	shares int[] NOT NULL,
	cost_fixed bigint[],
	cost_bp int[],
	pick text NOT NULL CONSTRAINT route_rule_pick_known CHECK (pick IN ('share', 'cost', 'success')),
	explore numeric NOT NULL CONSTRAINT route_rule_explore_is_a_part CHECK (explore BETWEEN 0 AND 1),
	success_window interval NOT NULL CONSTRAINT route_rule_window_positive CHECK (success_window > interval '0'),
	moves_unsent boolean NOT NULL,
	moves_declined boolean NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT route_rule_one_share_each
		CHECK (cardinality(shares) = cardinality(psps) AND 0 <= ALL (shares) AND 0 < ANY (shares)),
	CONSTRAINT route_rule_one_cost_each
		CHECK (cardinality(coalesce(cost_fixed, shares)) = cardinality(psps) AND cardinality(coalesce(cost_bp, shares)) = cardinality(psps)),
	CONSTRAINT route_rule_amounts_of_a_currency
		CHECK (currency IS NOT NULL OR coalesce(amount_min, amount_max, cost_fixed[1]) IS NULL)
);

COMMENT ON TABLE payments.route_rule IS 'which PSPs perform payments of which neither call nor person names one: the first rule that fits, in order of priority. Written by create_route_rule(), drop_route_rule() and order_route_rules()';
COMMENT ON COLUMN payments.route_rule.rule IS 'name, which decisions keep';
COMMENT ON COLUMN payments.route_rule.priority IS 'the smallest is looked at first; of equal ones the first by name';
COMMENT ON COLUMN payments.route_rule.valid_from IS 'the rule is for payments that are created from here on';
COMMENT ON COLUMN payments.route_rule.valid_until IS 'and before this';
COMMENT ON COLUMN payments.route_rule.merchant IS 'of this merchant; null: of any';
COMMENT ON COLUMN payments.route_rule.currency IS 'in this currency; null: in any';
COMMENT ON COLUMN payments.route_rule.country IS 'with this as the member "country" of their metadata, ISO 3166; null: with any, or none';
COMMENT ON COLUMN payments.route_rule.amount_min IS 'of this amount or more, minor units; null: of any';
COMMENT ON COLUMN payments.route_rule.amount_max IS 'of this amount or less, minor units; null: of any';
COMMENT ON COLUMN payments.route_rule.payment_method IS 'with such a payment method, in which * stands for anything: it says that all PSPs of the rule know these tokens. Null: without a payment method';
COMMENT ON COLUMN payments.route_rule.kind IS 'of this kind, as payment.kind; null: of any';
COMMENT ON COLUMN payments.route_rule.capture IS 'automatic or manual; null: either';
COMMENT ON COLUMN payments.route_rule.psps IS 'psp.psp of those that may perform it; of equals the first is preferred';
COMMENT ON COLUMN payments.route_rule.shares IS 'for each of these its weight; 0: only when no other can';
COMMENT ON COLUMN payments.route_rule.cost_fixed IS 'for each what a payment costs there, minor units; null: nothing';
COMMENT ON COLUMN payments.route_rule.cost_bp IS 'for each what it costs of the amount besides, in hundredths of a per cent; null: nothing';
COMMENT ON COLUMN payments.route_rule.pick IS 'share: by weight; cost: the cheapest; success: the one at which most have succeeded lately';
COMMENT ON COLUMN payments.route_rule.explore IS 'of pick success: the part of payments that goes by weight all the same, so that those behind are tried too';
COMMENT ON COLUMN payments.route_rule.success_window IS 'of pick success: how far back payments count';
COMMENT ON COLUMN payments.route_rule.moves_unsent IS 'what certainly did not reach its PSP, however often it was tried, goes to another; and what is created goes to another at once while its PSP cannot be called';
COMMENT ON COLUMN payments.route_rule.moves_declined IS 'what its PSP has declined softly goes to another at once';
COMMENT ON COLUMN payments.route_rule.created_at IS 'when it was made';

-- Routes are cached in every session: tell them all of a change.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.route_rule
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.route_rule ENABLE ALWAYS TRIGGER forget_routes;

-- The first decision on a payment is payment.route, a column of the row that is
-- written anyway: a row of its own would be one insert more in create_payment().
CREATE TABLE IF NOT EXISTS payments.route_decision (
	payment_id uuid NOT NULL,
	generation int NOT NULL,
	operation_id uuid NOT NULL,
	reason text NOT NULL,
	former_psp text NOT NULL,
	former_psp_payment_id text,
	psp text NOT NULL,
	route jsonb NOT NULL,
	decided_at timestamptz NOT NULL,
	PRIMARY KEY (payment_id, generation)
);

CREATE INDEX IF NOT EXISTS route_decision_former ON payments.route_decision (former_psp, former_psp_payment_id)
	WHERE former_psp_payment_id IS NOT NULL;

COMMENT ON TABLE payments.route_decision IS 'payments that went from one PSP to another, append-only: from which on generation they are where. Written under the payment''s lock, never while anything is in doubt. Where a payment went first is payment.route';
COMMENT ON COLUMN payments.route_decision.payment_id IS 'payment.payment_id';
COMMENT ON COLUMN payments.route_decision.generation IS 'operation.generation from which on it is at psp';
COMMENT ON COLUMN payments.route_decision.operation_id IS 'operation.operation_id of its charge or authorization';
COMMENT ON COLUMN payments.route_decision.reason IS 'not_sent: it did not reach the former PSP, however often it was tried; soft_decline: that has declined it for now; came_after_all: the one before that has performed it after all, and nothing had reached this one';
COMMENT ON COLUMN payments.route_decision.former_psp IS 'psp.psp that had it before';
COMMENT ON COLUMN payments.route_decision.former_psp_payment_id IS 'payment.psp_payment_id there; null: none was told';
COMMENT ON COLUMN payments.route_decision.psp IS 'psp.psp that has it from then on';
COMMENT ON COLUMN payments.route_decision.route IS 'rule, and the PSPs that were looked at, in order of preference: why each was left out, as explain_route() shows';
COMMENT ON COLUMN payments.route_decision.decided_at IS 'when';

-- What rules of pick success go by.  Counted by the worker from what has ended, so that nobody who pays waits for a
-- counter.
CREATE TABLE IF NOT EXISTS payments.route_outcome (
	psp text NOT NULL,
	currency text NOT NULL,
	hour timestamptz NOT NULL,
	tried bigint NOT NULL,
	succeeded bigint NOT NULL,
	PRIMARY KEY (psp, currency, hour)
);

COMMENT ON TABLE payments.route_outcome IS 'charges and authorizations that ended within an hour, and how many of them well: counted by the worker once a minute, as long as there is a rule of pick success';
COMMENT ON COLUMN payments.route_outcome.psp IS 'psp.psp at which they ended, or which they left';
COMMENT ON COLUMN payments.route_outcome.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.route_outcome.hour IS 'beginning of the hour';
COMMENT ON COLUMN payments.route_outcome.tried IS 'those that succeeded or failed, or went to another PSP; what came to its end days after it was created is left out';
COMMENT ON COLUMN payments.route_outcome.succeeded IS 'of these, those that succeeded there';

CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.route_outcome
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.route_outcome ENABLE ALWAYS TRIGGER forget_routes;
