-- Closed periods, and what the accounts came to in them.  Run by setup() as
-- payments_owner; may be run any number of times.  sql/close/close.sql says
-- how a period is cut.

CREATE TABLE IF NOT EXISTS payments.period_close (
	merchant text NOT NULL,
	number int NOT NULL CONSTRAINT period_close_number_positive CHECK (number > 0),
	from_time timestamptz,
	to_time timestamptz NOT NULL,
	to_xid xid8 NOT NULL,
	postings bigint NOT NULL,
	late bigint NOT NULL,
	backdated bigint NOT NULL,
	debits jsonb NOT NULL,
	credits jsonb NOT NULL,
	outside jsonb NOT NULL,
	sha256 bytea NOT NULL CONSTRAINT period_close_sha256_length CHECK (octet_length(sha256) = 32),
	closed_at timestamptz NOT NULL,
	closed_by text NOT NULL,
	PRIMARY KEY (merchant, number),
	CONSTRAINT period_close_once UNIQUE (merchant, to_time),
	CONSTRAINT period_close_range CHECK (from_time < to_time AND (from_time IS NULL) = (number = 1))
);

COMMENT ON TABLE payments.period_close IS 'closed periods of merchants, append-only: each begins where the one before ended.  Written by payments.close_period()';
COMMENT ON COLUMN payments.period_close.merchant IS 'merchant.merchant';
COMMENT ON COLUMN payments.period_close.number IS 'counts from 1, without gaps';
COMMENT ON COLUMN payments.period_close.from_time IS 'period_close.to_time of the close before; null: the first one';
COMMENT ON COLUMN payments.period_close.to_time IS 'postings booked before this time belong to this period or to an earlier one ...';
COMMENT ON COLUMN payments.period_close.to_xid IS '... if posting.xid is below this number: all others committed later, and belong to the period after';
COMMENT ON COLUMN payments.period_close.postings IS 'number of postings in the period with an account of the merchant';
COMMENT ON COLUMN payments.period_close.late IS 'those of them that were booked before from_time: they committed when the period before had been closed';
COMMENT ON COLUMN payments.period_close.backdated IS 'those of them that take effect before from_time: late ones, and what was imported after the end of the period before and before its close';
COMMENT ON COLUMN payments.period_close.debits IS 'sum of the debits of the merchant''s accounts for each currency, minor units';
COMMENT ON COLUMN payments.period_close.credits IS 'sum of the credits of the merchant''s accounts for each currency, minor units';
COMMENT ON COLUMN payments.period_close.outside IS 'debits less credits that had an account of another merchant on their other side, for each currency that has some, minor units: what debits and credits differ by';
COMMENT ON COLUMN payments.period_close.sha256 IS 'SHA-256 of the trial balance, as docs/close.md writes it, and of this value of the close before';
COMMENT ON COLUMN payments.period_close.closed_at IS 'when it was closed';
COMMENT ON COLUMN payments.period_close.closed_by IS 'database role that did it';

CREATE TABLE IF NOT EXISTS payments.period_balance (
	merchant text NOT NULL,
	number int NOT NULL,
	account_id bigint NOT NULL,
	opening bigint NOT NULL,
	debits bigint NOT NULL CONSTRAINT period_balance_debits_not_negative CHECK (debits >= 0),
	credits bigint NOT NULL CONSTRAINT period_balance_credits_not_negative CHECK (credits >= 0),
	closing bigint NOT NULL,
	PRIMARY KEY (merchant, number, account_id)
);

COMMENT ON TABLE payments.period_balance IS 'the trial balance of a closed period, append-only: an account that is not there had nothing and did nothing.  Written by payments.close_period()';
COMMENT ON COLUMN payments.period_balance.merchant IS 'period_close.merchant';
COMMENT ON COLUMN payments.period_balance.number IS 'period_close.number';
COMMENT ON COLUMN payments.period_balance.account_id IS 'account.account_id';
COMMENT ON COLUMN payments.period_balance.opening IS 'closing of the close before, minor units on the account''s normal side; at the first close what was retired until then';
COMMENT ON COLUMN payments.period_balance.debits IS 'debited in the period, minor units';
COMMENT ON COLUMN payments.period_balance.credits IS 'credited in the period, minor units';
COMMENT ON COLUMN payments.period_balance.closing IS 'minor units on the account''s normal side';

CREATE OR REPLACE VIEW payments.closed_balance WITH (security_invoker = true) AS
SELECT c.merchant, c.number, c.from_time, c.to_time, a.currency, a.code, a.type, b.account_id, b.opening, b.debits, b.credits, b.closing,
	(b.closing::numeric * ('1e-' || u.exponent)::numeric)::text || ' ' || a.currency AS closing_text
FROM payments.period_close c
JOIN payments.period_balance b ON b.merchant = c.merchant AND b.number = c.number
JOIN payments.account a ON a.account_id = b.account_id
LEFT JOIN payments.currency u ON u.currency = a.currency;
COMMENT ON VIEW payments.closed_balance IS 'the trial balances of closed periods, with the names of the accounts';
COMMENT ON COLUMN payments.closed_balance.merchant IS 'period_close.merchant';
COMMENT ON COLUMN payments.closed_balance.number IS 'period_close.number';
COMMENT ON COLUMN payments.closed_balance.from_time IS 'period_close.from_time';
COMMENT ON COLUMN payments.closed_balance.to_time IS 'period_close.to_time';
COMMENT ON COLUMN payments.closed_balance.currency IS 'account.currency';
COMMENT ON COLUMN payments.closed_balance.code IS 'account.code';
COMMENT ON COLUMN payments.closed_balance.type IS 'account.type';
COMMENT ON COLUMN payments.closed_balance.account_id IS 'account.account_id';
COMMENT ON COLUMN payments.closed_balance.opening IS 'period_balance.opening, minor units';
COMMENT ON COLUMN payments.closed_balance.debits IS 'period_balance.debits, minor units';
COMMENT ON COLUMN payments.closed_balance.credits IS 'period_balance.credits, minor units';
COMMENT ON COLUMN payments.closed_balance.closing IS 'period_balance.closing, minor units';
COMMENT ON COLUMN payments.closed_balance.closing_text IS 'the closing balance for people, in major units';
