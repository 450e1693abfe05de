-- Which accounts a payment opens, and what each money movement posts.
--
-- These accounts are the system's: nobody else's account of such a code is
-- posted to (account.from_template).
--
-- All of these accounts are hot.  Whoever learns from a PSP that money moved
-- posts to them: the worker in batches, and applications inside transactions
-- of their own, in receive_webhook().  Were they ordinary accounts, one such
-- transaction left open would hold up every payment of the merchant, and two
-- that take a payment and an account in opposite order would deadlock.  The
-- price: a hot account has no limits.  To limit merchant_balance, add a row of
-- your own (hot = false, min_balance = 0, builtin = false).

CREATE TABLE payments.account_template (
	code text NOT NULL,
	type text NOT NULL CONSTRAINT account_template_type_known CHECK (type IN ('asset', 'liability', 'income', 'expense', 'equity')),
	hot boolean NOT NULL DEFAULT false,
	min_balance bigint,
	max_balance bigint,
	description text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (code, builtin),
	-- As payments.account wants it of an account that starts at zero.
	CONSTRAINT account_template_hot_has_no_limits CHECK (NOT hot OR (min_balance IS NULL AND max_balance IS NULL)),
	CONSTRAINT account_template_limits_allow_zero CHECK (coalesce(min_balance, 0) <= 0 AND coalesce(max_balance, 0) >= 0)
);
COMMENT ON TABLE payments.account_template IS 'accounts that are opened per merchant and currency on first use; {psp} stands for the PSP''s name, {bank} for that of a bank account';
COMMENT ON COLUMN payments.account_template.code IS 'account code, may contain {psp} or {bank}';
COMMENT ON COLUMN payments.account_template.type IS 'asset and expense accounts grow by debits, the others by credits';
COMMENT ON COLUMN payments.account_template.hot IS 'opened as a hot account: posting takes no row lock';
COMMENT ON COLUMN payments.account_template.min_balance IS 'minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account_template.max_balance IS 'minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account_template.description IS 'what the account holds';
COMMENT ON COLUMN payments.account_template.builtin IS 'shipped with the extension; your own row for the same code wins';

SELECT pg_catalog.pg_extension_config_dump('payments.account_template', 'WHERE NOT builtin');

CREATE TABLE payments.posting_rule (
	event text NOT NULL,
	leg int NOT NULL CONSTRAINT posting_rule_leg_positive CHECK (leg > 0),
	debit text NOT NULL,
	credit text NOT NULL,
	description text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (event, leg, builtin)
);
COMMENT ON TABLE payments.posting_rule IS 'which postings a money movement causes; your rows (builtin = false) for an event replace the shipped ones as a whole';
COMMENT ON COLUMN payments.posting_rule.event IS 'movement.kind: capture, refund, refund_failed, fee, dispute, dispute_won, dispute_lost, late_capture, refund_to_suspense, dispute_lost_to_suspense, payout_reserved and the like; of a payment that came to nothing late_refund, late_refund_failed, late_dispute_lost in place of those without late_; or what settlement files book: settled_fee and others';
COMMENT ON COLUMN payments.posting_rule.leg IS 'number of the posting within the event';
COMMENT ON COLUMN payments.posting_rule.debit IS 'account_template.code of the account debited with the whole amount; {psp}, {bank} as there; it must have a template';
COMMENT ON COLUMN payments.posting_rule.credit IS 'account_template.code of the account credited with the whole amount';
COMMENT ON COLUMN payments.posting_rule.description IS 'written on the posting';
COMMENT ON COLUMN payments.posting_rule.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.posting_rule', 'WHERE NOT builtin');

INSERT INTO payments.account_template (code, type, hot, description, builtin) VALUES
	('psp_receivable:{psp}', 'asset', true, 'captured by the PSP and not yet paid out to us', true),
	('merchant_balance', 'liability', true, 'owed to the merchant for captured payments; below zero, the merchant owes us', true),
	('psp_fees', 'expense', true, 'kept by PSPs for their services', true),
	('dispute_reserve', 'asset', true, 'taken back by PSPs for disputes that are not decided; ours again if they are won', true),
	('psp_reserve:{psp}', 'asset', true, 'kept back by the PSP for a while', true),
	('payout_clearing:{psp}', 'asset', true, 'paid out by the PSP and not yet seen at the bank', true),
	('psp_adjustments', 'expense', true, 'corrections by PSPs, and differences that a person has adjusted', true),
	('psp_transfers', 'asset', true, 'moved between accounts at the PSP', true),
	('psp_foreign:{psp}', 'liability', true, 'of payments of other databases that use the same account at the PSP; it comes in with our payouts, and is not ours', true),
	('bank:{bank}', 'asset', true, 'paid out by PSPs to this bank account', true),
	('payout_reserve', 'liability', true, 'taken from the balance for payouts that are on their way', true),
	('suspense', 'liability', true, 'arrived for a payment that was already final; a person decides whose it is', true);

-- For payments.exchange().  The position is equity: it holds no money, the bank
-- accounts do, and on the credit side its sign is that of the position: above
-- zero the merchant has more of the currency than is owed, below zero less.
-- Each currency balances on its own; valued at today's rates the positions sum
-- to what exchanging has gained.  Hot, since every exchange goes through them;
-- to limit how much of a currency may be sold, add a row of your own.
INSERT INTO payments.account_template (code, type, hot, description, builtin) VALUES
	('exchange', 'equity', true, 'the merchant''s position in this currency, bought less sold by payments.exchange()', true),
	('exchange_spread', 'income', true, 'kept by payments.exchange() as its spread', true);

-- A dispute is an asset, not a charge against the merchant: the PSP has taken
-- the money, but whether the merchant bears it is open until the dispute is
-- decided, and merchant_balance must say what is owed today without guessing.
-- A dispute that is won is the same posting reversed.  One that is lost is
-- borne by the merchant; where somebody else bears it, a row of yours says who.
INSERT INTO payments.posting_rule (event, leg, debit, credit, description, builtin) VALUES
	('capture', 1, 'psp_receivable:{psp}', 'merchant_balance', 'captured', true),
	('refund', 1, 'merchant_balance', 'psp_receivable:{psp}', 'refunded', true),
	('refund_failed', 1, 'psp_receivable:{psp}', 'merchant_balance', 'refund failed, money back', true),
	('fee', 1, 'psp_fees', 'psp_receivable:{psp}', 'fee of the PSP', true),
	('dispute', 1, 'dispute_reserve', 'psp_receivable:{psp}', 'disputed, taken back by the PSP', true),
	('dispute_won', 1, 'psp_receivable:{psp}', 'dispute_reserve', 'dispute won, money back', true),
	('dispute_lost', 1, 'merchant_balance', 'dispute_reserve', 'dispute lost', true),
	('late_capture', 1, 'psp_receivable:{psp}', 'suspense', 'captured after the payment was final', true);

-- Of a payment that was over without money.  What came late is in suspense and
-- was never the merchant's, so neither is what is given back of it.  A refund
-- that was heard of while the payment was open, and was the merchant's then, is
-- taken over when it comes to nothing.
INSERT INTO payments.posting_rule (event, leg, debit, credit, description, builtin) VALUES
	('late_refund', 1, 'suspense', 'psp_receivable:{psp}', 'what came late was refunded', true),
	('late_refund_failed', 1, 'psp_receivable:{psp}', 'suspense', 'refund of what came late failed, money back', true),
	('late_dispute_lost', 1, 'suspense', 'dispute_reserve', 'dispute of what came late lost', true),
	('refund_to_suspense', 1, 'suspense', 'merchant_balance', 'refunded before the payment came to nothing', true),
	('dispute_lost_to_suspense', 1, 'suspense', 'merchant_balance', 'dispute lost before the payment came to nothing', true);

-- A payout is taken from the balance when it is asked for, and leaves the reserve
-- when the PSP has paid it.  It goes through the accounts to which the PSP's file
-- posts what it paid out or transferred, so that both together leave nothing
-- there, whichever comes first.
INSERT INTO payments.posting_rule (event, leg, debit, credit, description, builtin) VALUES
	('payout_reserved', 1, 'merchant_balance', 'payout_reserve', 'reserved for a payout', true),
	('payout_released', 1, 'payout_reserve', 'merchant_balance', 'not paid out, back in the balance', true),
	('payout_failed', 1, 'payout_reserve', 'merchant_balance', 'payout failed, back in the balance', true),
	('payout', 1, 'payout_reserve', 'payout_clearing:{psp}', 'paid out', true),
	('payout_returned', 1, 'payout_clearing:{psp}', 'merchant_balance', 'payout came back', true),
	('transfer', 1, 'payout_reserve', 'psp_transfers', 'transferred at the PSP', true),
	('transfer_returned', 1, 'psp_transfers', 'merchant_balance', 'transfer taken back', true),
	('late_payout', 1, 'suspense', 'payout_clearing:{psp}', 'paid out when all believed that it was not', true),
	('late_payout_failed', 1, 'payout_clearing:{psp}', 'suspense', 'paid out late, and came back', true);

-- What settlement files book, by batch, merchant and currency; below zero it is
-- posted the other way.  Charges, refunds and disputes are no part of this:
-- each is posted by its movement.  Rules with "bank" know {psp} as the name of
-- the bank account, too.
INSERT INTO payments.posting_rule (event, leg, debit, credit, description, builtin) VALUES
	('settled_fee', 1, 'psp_fees', 'psp_receivable:{psp}', 'fees by the settlement file', true),
	('settled_adjustment', 1, 'psp_adjustments', 'psp_receivable:{psp}', 'adjusted by the PSP', true),
	('settled_reserve', 1, 'psp_reserve:{psp}', 'psp_receivable:{psp}', 'kept back by the PSP', true),
	('settled_transfer', 1, 'psp_transfers', 'psp_receivable:{psp}', 'moved between accounts at the PSP', true),
	('settled_unknown', 1, 'suspense', 'psp_receivable:{psp}', 'a type of line that is not known', true),
	('settled_foreign', 1, 'psp_foreign:{psp}', 'psp_receivable:{psp}', 'of payments of another database on the same account', true),
	('settled_fx', 1, 'exchange', 'psp_receivable:{psp}', 'settled in another currency', true),
	('settled_payout', 1, 'payout_clearing:{psp}', 'psp_receivable:{psp}', 'paid out by the PSP', true),
	('settled_at_bank', 1, 'bank:{bank}', 'payout_clearing:{psp}', 'payout has come in at the bank', true);
