-- Parts of hot accounts with limits.  Run by setup() as payments_owner; may be
-- run any number of times.  src/ledger/part.c says how they work.

CREATE TABLE IF NOT EXISTS payments.account_part (
	account_id bigint NOT NULL,
	part int NOT NULL,
	debit_normal boolean NOT NULL,
	min_balance bigint,
	max_balance bigint,
	debits bigint NOT NULL,
	credits bigint NOT NULL,
	moved bigint NOT NULL,
	PRIMARY KEY (account_id, part),
	CONSTRAINT account_part_counters_not_negative CHECK (least(debits, credits) >= 0),
	CONSTRAINT account_part_above_minimum CHECK (min_balance IS NULL OR
		CASE WHEN debit_normal THEN debits - credits ELSE credits - debits END + moved >= min_balance),
	CONSTRAINT account_part_below_maximum CHECK (max_balance IS NULL OR
		CASE WHEN debit_normal THEN debits - credits ELSE credits - debits END + moved <= max_balance)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

COMMENT ON TABLE payments.account_part IS 'parts of split accounts: each takes postings under a lock of its own and has a share of the account''s balance and limits, so that many post at once and no limit is broken.  Made by payments.create_account() and set_account_hot()';
COMMENT ON COLUMN payments.account_part.account_id IS 'a hot account with limits';
COMMENT ON COLUMN payments.account_part.part IS 'counts from 0 to account.parts - 1';
COMMENT ON COLUMN payments.account_part.debit_normal IS 'the account grows by debits';
COMMENT ON COLUMN payments.account_part.min_balance IS 'its share of account.min_balance, minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account_part.max_balance IS 'its share of account.max_balance, minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account_part.debits IS 'sum of the debits that it took, minor units; to be added to account.debits';
COMMENT ON COLUMN payments.account_part.credits IS 'sum of the credits that it took, minor units; to be added to account.credits';
COMMENT ON COLUMN payments.account_part.moved IS 'borrowed from the other parts and from the account''s row, below zero: lent; minor units on the normal side; all parts'' add up to the balance of the row';

-- What a part is does not change, and its counters only grow.  Rows go when
-- the account becomes ordinary.
CREATE OR REPLACE TRIGGER guard_account BEFORE UPDATE ON payments.account_part
	FOR EACH ROW EXECUTE FUNCTION payments.guard_account();
ALTER TABLE payments.account_part ENABLE ALWAYS TRIGGER guard_account;

-- What belongs to an account beside its own row.
CREATE OR REPLACE VIEW payments._account_tail WITH (security_invoker = true) AS
SELECT d.account_id, d.debits, d.credits FROM payments.account_delta d
UNION ALL
SELECT p.account_id, p.debits, p.credits FROM payments.account_part p;

COMMENT ON VIEW payments._account_tail IS 'internal: what is to be added to account.debits and account.credits; not yet folded, or in parts';
COMMENT ON COLUMN payments._account_tail.account_id IS 'account.account_id';
COMMENT ON COLUMN payments._account_tail.debits IS 'minor units';
COMMENT ON COLUMN payments._account_tail.credits IS 'minor units';
