-- Which accounts a payment opens, and what each money movement posts.
--
-- All of these accounts are hot.  Whoever learns from a PSP that money moved
-- posts to them: the worker in batches, and applications inside transactions
-- of their own, in receive_webhook().  Were they ordinary accounts, one such
-- transaction left open would hold up every payment of the merchant, and two
-- that take a payment and an account in opposite order would deadlock.  The
-- price: a hot account has no limits.  To limit merchant_balance, add a row of
-- your own (hot = false, min_balance = 0, builtin = false).

INSERT INTO payments.account_template (code, type, hot, description) VALUES
	('psp_receivable:{psp}', 'asset', true, 'captured by the PSP and not yet paid out to us'),
	('merchant_balance', 'liability', true, 'owed to the merchant for captured payments; below zero, the merchant owes us'),
	('psp_fees', 'expense', true, 'kept by PSPs for their services'),
	('dispute_reserve', 'asset', true, 'taken back by PSPs for disputes that are not decided; ours again if they are won'),
	('psp_reserve:{psp}', 'asset', true, 'kept back by the PSP for a while'),
	('payout_clearing:{psp}', 'asset', true, 'paid out by the PSP and not yet seen at the bank'),
	('psp_adjustments', 'expense', true, 'corrections by PSPs, and differences that a person has adjusted'),
	('psp_transfers', 'asset', true, 'moved between accounts at the PSP'),
	('bank:{bank}', 'asset', true, 'paid out by PSPs to this bank account'),
	('suspense', 'liability', true, 'arrived for a payment that was already final; a person decides whose it is');

-- For payments.exchange().  The position is equity: it holds no money, the bank
-- accounts do, and on the credit side its sign is that of the position: above
-- zero the merchant has more of the currency than he owes, below zero less.
-- Each currency balances on its own; valued at today's rates the positions sum
-- to what exchanging has gained.  Hot, since every exchange goes through them;
-- to limit how much of a currency may be sold, open the account "exchange" with
-- min_balance before the first exchange, or add a row of your own.
INSERT INTO payments.account_template (code, type, hot, description) VALUES
	('exchange', 'equity', true, 'the merchant''s position in this currency, bought less sold by payments.exchange()'),
	('exchange_spread', 'income', true, 'kept by payments.exchange() as its spread');

-- A dispute is an asset, not a charge against the merchant: the PSP has taken
-- the money, but whether the merchant bears it is open until the dispute is
-- decided, and merchant_balance must say what is owed today without guessing.
-- A dispute that is won is the same posting reversed.  One that is lost is
-- written off by a person: debit merchant_balance (or an expense of your own),
-- credit dispute_reserve.
INSERT INTO payments.posting_rule (event, leg, debit, credit, description) VALUES
	('capture', 1, 'psp_receivable:{psp}', 'merchant_balance', 'captured'),
	('refund', 1, 'merchant_balance', 'psp_receivable:{psp}', 'refunded'),
	('refund_failed', 1, 'psp_receivable:{psp}', 'merchant_balance', 'refund failed, money back'),
	('fee', 1, 'psp_fees', 'psp_receivable:{psp}', 'fee of the PSP'),
	('dispute', 1, 'dispute_reserve', 'psp_receivable:{psp}', 'disputed, taken back by the PSP'),
	('dispute_won', 1, 'psp_receivable:{psp}', 'dispute_reserve', 'dispute won, money back'),
	('late_capture', 1, 'psp_receivable:{psp}', 'suspense', 'captured after the payment was final');

-- What settlement files book, by batch, merchant and currency; below zero it is
-- posted the other way.  Charges, refunds and disputes are no part of this:
-- each is posted by its movement.  Rules with "bank" know {psp} as the name of
-- the bank account, too.
INSERT INTO payments.posting_rule (event, leg, debit, credit, description) VALUES
	('settled_fee', 1, 'psp_fees', 'psp_receivable:{psp}', 'fees by the settlement file'),
	('settled_adjustment', 1, 'psp_adjustments', 'psp_receivable:{psp}', 'adjusted by the PSP'),
	('settled_reserve', 1, 'psp_reserve:{psp}', 'psp_receivable:{psp}', 'kept back by the PSP'),
	('settled_transfer', 1, 'psp_transfers', 'psp_receivable:{psp}', 'moved between accounts at the PSP'),
	('settled_unknown', 1, 'suspense', 'psp_receivable:{psp}', 'a type of line that is not known'),
	('settled_fx', 1, 'exchange', 'psp_receivable:{psp}', 'settled in another currency'),
	('settled_payout', 1, 'payout_clearing:{psp}', 'psp_receivable:{psp}', 'paid out by the PSP'),
	('settled_at_bank', 1, 'bank:{bank}', 'payout_clearing:{psp}', 'payout has come in at the bank');
