-- The balance after each posting, of accounts opened with history.  Run by
-- setup() as payments_owner; may be run any number of times.

CREATE TABLE IF NOT EXISTS payments.account_history (
	account_id bigint NOT NULL,
	posting_id bigint NOT NULL,
	booked_at timestamptz NOT NULL,
	debits bigint NOT NULL,
	credits bigint NOT NULL,
	balance bigint NOT NULL,
	-- In this order, for balance_at(): the last row up to a time.
	PRIMARY KEY (account_id, booked_at, posting_id)
);

COMMENT ON TABLE payments.account_history IS 'sums of an account after each of its postings, append-only; of accounts opened with history => true.  Written with the postings';
COMMENT ON COLUMN payments.account_history.account_id IS 'account.account_id';
COMMENT ON COLUMN payments.account_history.posting_id IS 'posting.posting_id; rows of an account follow one another by it';
COMMENT ON COLUMN payments.account_history.booked_at IS 'posting.booked_at';
COMMENT ON COLUMN payments.account_history.debits IS 'sum of all debits up to and with this posting, minor units';
COMMENT ON COLUMN payments.account_history.credits IS 'sum of all credits up to and with this posting, minor units';
COMMENT ON COLUMN payments.account_history.balance IS 'minor units on the account''s normal side';
