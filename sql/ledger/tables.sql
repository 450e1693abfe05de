-- The ledger: accounts and the postings between them.  Run by setup() as
-- payments_owner; may be run any number of times.

CREATE TABLE IF NOT EXISTS payments.account (
	account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	merchant text NOT NULL,
	code text NOT NULL,
	currency text NOT NULL,
	type text NOT NULL,
	hot boolean NOT NULL DEFAULT false,
	closed_at timestamptz,
	min_balance bigint,
	max_balance bigint,
	debits bigint NOT NULL DEFAULT 0,
	credits bigint NOT NULL DEFAULT 0,
	held_debits bigint NOT NULL DEFAULT 0,
	held_credits bigint NOT NULL DEFAULT 0,
	parent bigint,
	history boolean NOT NULL DEFAULT false,
	parts int,
	from_template boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT account_once UNIQUE (merchant, code, currency, from_template)
) WITH (fillfactor = 70);
-- fillfactor, and no index on a column that postings change: such updates stay
-- on their page (HOT).  No CHECKs: the server reads each from the catalog's text
-- again in every statement, and these took a quarter of a single posting's time.
-- guard_account() holds limits and counters, for whoever writes.

CREATE INDEX IF NOT EXISTS account_parent ON payments.account (parent) WHERE parent IS NOT NULL;

COMMENT ON TABLE payments.account IS 'ledger accounts with running counters; made by payments.create_account() or, from account_template, by the first movement that needs them';
COMMENT ON COLUMN payments.account.account_id IS 'the id that payments.post() and payments.balance() take';
COMMENT ON COLUMN payments.account.merchant IS 'whose account it is';
COMMENT ON COLUMN payments.account.code IS 'name, unique per merchant and currency; one more of a name only where that became a template''s after it was opened';
COMMENT ON COLUMN payments.account.currency IS 'ISO 4217 code; both accounts of a posting have the same';
COMMENT ON COLUMN payments.account.type IS 'asset and expense accounts grow by debits (their normal side), liability, income and equity by credits';
COMMENT ON COLUMN payments.account.hot IS 'posted to without a row lock: what was posted lately is in account_delta, or in account_part if it has limits; no holds; changed by payments.set_account_hot()';
COMMENT ON COLUMN payments.account.closed_at IS 'no postings since; null: open';
COMMENT ON COLUMN payments.account.min_balance IS 'minor units on the normal side; 0: never overdrawn; null: no limit';
COMMENT ON COLUMN payments.account.max_balance IS 'minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account.debits IS 'sum of all debits ever, minor units, without what is in account_delta and account_part';
COMMENT ON COLUMN payments.account.credits IS 'sum of all credits ever, minor units, without what is in account_delta and account_part';
COMMENT ON COLUMN payments.account.held_debits IS 'reserved to be debited, minor units';
COMMENT ON COLUMN payments.account.held_credits IS 'reserved to be credited, minor units';
COMMENT ON COLUMN payments.account.parent IS 'account.account_id that it is totalled under, of the same merchant, currency and type; lower than its own id; null: none';
COMMENT ON COLUMN payments.account.history IS 'the balance after each posting is kept in account_history; never of a hot account';
COMMENT ON COLUMN payments.account.parts IS 'how many rows it has in account_part, which then have what is posted to it; null: not split, as all but hot accounts with limits';
COMMENT ON COLUMN payments.account.from_template IS 'opened as account_template has it: movements of payments post to such accounts and to no others';
COMMENT ON COLUMN payments.account.created_at IS 'when the account was opened';

CREATE OR REPLACE TRIGGER guard_account BEFORE INSERT OR UPDATE OR DELETE ON payments.account
	FOR EACH ROW EXECUTE FUNCTION payments.guard_account();
ALTER TABLE payments.account ENABLE ALWAYS TRIGGER guard_account;

-- No foreign keys to account.  ledger/movement.c writes postings only between accounts
-- that it has just read, accounts are never deleted (guard_account), and
-- check() proves the link.  A foreign key would take a key-share lock on both
-- account rows for every posting, which is what hot accounts are there to
-- avoid.  Measured: 500 postings take 3.0 ms without and 6.5 ms or more with
-- them; 8 clients on one hot account make 8,500 postings a second without and
-- 4,200 to 6,200 with them.
CREATE TABLE IF NOT EXISTS payments.posting (
	posting_id bigint GENERATED ALWAYS AS IDENTITY,
	debit_account bigint NOT NULL,
	credit_account bigint NOT NULL,
	amount bigint NOT NULL,
	effective_at timestamptz NOT NULL,
	booked_at timestamptz NOT NULL,
	transaction_id bigint,
	reverses bigint,
	asked bigint,
	payment_id uuid,
	imported boolean NOT NULL DEFAULT false,
	currency text NOT NULL,
	kind text NOT NULL,
	merchant text NOT NULL,
	reference text,
	description text,
	PRIMARY KEY (posting_id, booked_at),
	CONSTRAINT posting_moves_an_amount CHECK (amount > 0 AND debit_account <> credit_account)
) PARTITION BY RANGE (booked_at);
-- One CHECK, for what makes a posting balance by construction: the server reads
-- each from the catalog's text again in every statement, and the eight that say
-- what C has checked anyway took a tenth of a single posting's time.

-- Statements and balance_at() read one account by time.
CREATE INDEX IF NOT EXISTS posting_debit_account ON payments.posting (debit_account, booked_at, posting_id);
CREATE INDEX IF NOT EXISTS posting_credit_account ON payments.posting (credit_account, booked_at, posting_id);
CREATE INDEX IF NOT EXISTS posting_payment ON payments.posting (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS posting_transaction ON payments.posting (transaction_id) WHERE transaction_id IS NOT NULL;

COMMENT ON TABLE payments.posting IS 'an amount moved from the credited to the debited account; append-only, so it balances by construction';
COMMENT ON COLUMN payments.posting.posting_id IS 'increases in the order in which postings to one ordinary account were made; may have gaps';
COMMENT ON COLUMN payments.posting.debit_account IS 'account.account_id debited';
COMMENT ON COLUMN payments.posting.credit_account IS 'account.account_id credited';
COMMENT ON COLUMN payments.posting.amount IS 'minor units, above zero';
COMMENT ON COLUMN payments.posting.effective_at IS 'when it counts for the business, as the caller said; booked_at otherwise';
COMMENT ON COLUMN payments.posting.transaction_id IS 'posting_id of the first of the postings that were made together; null: made alone';
COMMENT ON COLUMN payments.posting.asked IS 'minor units asked for by a balancing posting, of which amount is what the limits allowed; null for others';
COMMENT ON COLUMN payments.posting.imported IS 'brought in afterwards: effective_at may be earlier than booked_at';
COMMENT ON COLUMN payments.posting.booked_at IS 'when it was written; statements and balances go by this, so that the past does not change';
COMMENT ON COLUMN payments.posting.currency IS 'ISO 4217 code, that of both accounts';
COMMENT ON COLUMN payments.posting.kind IS 'posting_rule.event for money movements, otherwise as given to payments.post()';
COMMENT ON COLUMN payments.posting.merchant IS 'merchant of the debited account; references are unique per merchant';
COMMENT ON COLUMN payments.posting.payment_id IS 'payment whose money moved; null for postings made by payments.post()';
COMMENT ON COLUMN payments.posting.reference IS 'client id for exactly-once posting, also in posting_reference; of a money movement PSP:OBJECT:KIND:LEG, of a file settlement:BATCH:EVENT:CURRENCY:MERCHANT:LEG or bank:MATCH:PSP:CURRENCY:MERCHANT:LEG, of a decision discrepancy:ID:NUMBER';
COMMENT ON COLUMN payments.posting.description IS 'free text; of a reversal its reason';
COMMENT ON COLUMN payments.posting.reverses IS 'posting that this one takes back, the other way round and whole; null for most';

-- Exactly once.  Tables of their own, because an index of a partitioned table
-- is unique within one partition only, and what was posted once must not be
-- posted again when its partition is retired.  References of what we post
-- ourselves, by the word of a PSP, a bank or whoever decides about one, have no
-- merchant's name: no caller of a verb can take one that we shall need.
CREATE TABLE IF NOT EXISTS payments.posting_reference (
	merchant text NOT NULL,
	reference text NOT NULL CONSTRAINT posting_reference_name_not_empty CHECK (reference <> ''),
	posting_id bigint NOT NULL,
	booked_at timestamptz NOT NULL,
	PRIMARY KEY (merchant, reference)
);

COMMENT ON TABLE payments.posting_reference IS 'references that postings have taken, append-only: unique per merchant for ever.  Written by payments.post() and its like';
COMMENT ON COLUMN payments.posting_reference.merchant IS 'merchant of the debited account; empty for what no verb has posted: movements of payments, files of PSPs and banks, decisions about these';
COMMENT ON COLUMN payments.posting_reference.reference IS 'client id as given to payments.post()';
COMMENT ON COLUMN payments.posting_reference.posting_id IS 'posting made under it, or posting_failure.posting_id if it was refused; neither is there if the posting was retired';
COMMENT ON COLUMN payments.posting_reference.booked_at IS 'posting.booked_at';

CREATE TABLE IF NOT EXISTS payments.posting_failure (
	posting_id bigint PRIMARY KEY,
	merchant text NOT NULL,
	reference text NOT NULL,
	debit_account bigint NOT NULL,
	credit_account bigint NOT NULL,
	asked bigint NOT NULL,
	balancing boolean NOT NULL,
	kind text NOT NULL,
	effective_at timestamptz,
	imported boolean NOT NULL,
	description text,
	transaction_id bigint NOT NULL,
	error text NOT NULL CONSTRAINT posting_failure_error_is_sqlstate CHECK (error ~ '^[0-9A-Z]{5}$'),
	failed_at timestamptz NOT NULL
);

COMMENT ON TABLE payments.posting_failure IS 'postings with a reference that payments.post_batch() refused and that stay refused under it, append-only';
COMMENT ON COLUMN payments.posting_failure.posting_id IS 'the id that it would have had';
COMMENT ON COLUMN payments.posting_failure.merchant IS 'merchant of the debited account';
COMMENT ON COLUMN payments.posting_failure.reference IS 'client id; a repetition under it gets the same error';
COMMENT ON COLUMN payments.posting_failure.debit_account IS 'account.account_id to be debited';
COMMENT ON COLUMN payments.posting_failure.credit_account IS 'account.account_id to be credited';
COMMENT ON COLUMN payments.posting_failure.asked IS 'minor units asked for';
COMMENT ON COLUMN payments.posting_failure.balancing IS 'as much as the limits allow was asked for, up to asked';
COMMENT ON COLUMN payments.posting_failure.kind IS 'as given';
COMMENT ON COLUMN payments.posting_failure.effective_at IS 'as given; null: when it was to be booked';
COMMENT ON COLUMN payments.posting_failure.imported IS 'as given';
COMMENT ON COLUMN payments.posting_failure.description IS 'as given';
COMMENT ON COLUMN payments.posting_failure.transaction_id IS 'id of its group, 0: it was on its own';
COMMENT ON COLUMN payments.posting_failure.error IS 'SQLSTATE; PY215: another posting of its group was refused';
COMMENT ON COLUMN payments.posting_failure.failed_at IS 'when it was refused';

CREATE TABLE IF NOT EXISTS payments.posting_reversal (
	posting_id bigint PRIMARY KEY,
	reversed_by bigint NOT NULL,
	booked_at timestamptz NOT NULL
);

COMMENT ON TABLE payments.posting_reversal IS 'postings that were reversed, append-only: each once';
COMMENT ON COLUMN payments.posting_reversal.posting_id IS 'the original';
COMMENT ON COLUMN payments.posting_reversal.reversed_by IS 'posting_id of the reversal';
COMMENT ON COLUMN payments.posting_reversal.booked_at IS 'posting.booked_at of the reversal';

CREATE TABLE IF NOT EXISTS payments.account_delta (
	account_id bigint NOT NULL,
	delta_id bigint GENERATED ALWAYS AS IDENTITY,
	debits bigint NOT NULL,
	credits bigint NOT NULL,
	PRIMARY KEY (account_id, delta_id),
	CONSTRAINT account_delta_not_negative CHECK (debits >= 0 AND credits >= 0)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
		autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000);

COMMENT ON TABLE payments.account_delta IS 'what was posted to accounts while they were hot and is not yet in account.debits and account.credits; payments.fold_hot_accounts() moves it there';
COMMENT ON COLUMN payments.account_delta.account_id IS 'an account that is hot, or was when this was posted';
COMMENT ON COLUMN payments.account_delta.delta_id IS 'makes the row''s key; the order means nothing';
COMMENT ON COLUMN payments.account_delta.debits IS 'minor units to be added to account.debits';
COMMENT ON COLUMN payments.account_delta.credits IS 'minor units to be added to account.credits';
