-- How often a declined card may be tried again, and which declines say something
-- of a card.  Networks fine what is above.  The figures are those of secondary
-- sources: check them against your acquirer's.

CREATE TABLE payments.reattempt_limit (
	rule text NOT NULL CONSTRAINT reattempt_limit_rule_simple CHECK (rule ~ '^[a-z][a-z0-9_]{0,62}$'),
	network text NOT NULL,
	category text NOT NULL CONSTRAINT reattempt_limit_category_known CHECK (category IN ('*', 'never', 'other')),
	tries_max int CONSTRAINT reattempt_limit_tries_positive CHECK (tries_max > 0),
	within interval NOT NULL CONSTRAINT reattempt_limit_within_positive CHECK (within > interval '0'),
	amount_scope text NOT NULL CONSTRAINT reattempt_limit_scope_known CHECK (amount_scope IN ('same', 'any')),
	source text,
	edition text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (rule, builtin),
	CONSTRAINT reattempt_limit_visa_cap CHECK (network <> 'visa' OR tries_max <= 20)
);
COMMENT ON TABLE payments.reattempt_limit IS 'how often the networks let a declined card be tried again; a row of yours (builtin = false) of the same rule replaces the shipped one.  Which network a card is of nobody tells us, so all rules hold for each';
COMMENT ON COLUMN payments.reattempt_limit.rule IS 'its name, as kept with what it has blocked';
COMMENT ON COLUMN payments.reattempt_limit.network IS 'whose rule it is: visa, mastercard, or * for one of your own';
COMMENT ON COLUMN payments.reattempt_limit.category IS 'which declines count: never (the issuer will never approve), other, or * for both and for retries on their way';
COMMENT ON COLUMN payments.reattempt_limit.tries_max IS 'after so many the card is not tried again; null: any number, to switch a shipped rule off';
COMMENT ON COLUMN payments.reattempt_limit.within IS 'in this time';
COMMENT ON COLUMN payments.reattempt_limit.amount_scope IS 'same: of the same amount and currency; any: of whichever';
COMMENT ON COLUMN payments.reattempt_limit.source IS 'where the rule was read';
COMMENT ON COLUMN payments.reattempt_limit.edition IS 'date or edition of the source';
COMMENT ON COLUMN payments.reattempt_limit.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.reattempt_limit', 'WHERE NOT builtin');

INSERT INTO payments.reattempt_limit (rule, network, category, tries_max, within, amount_scope, source, edition, builtin)
VALUES
	('visa_never', 'visa', 'never', 1, '100 years', 'any', 'Visa category 1, by guides of acquirers', '2026-11', true),
	-- 20 since May 2025 by Visa's rules, 15 before and in many guides still.
	('visa_30_days', 'visa', '*', 15, '30 days', 'same', 'Visa categories 2 to 4, by guides of acquirers', '2026-11', true),
	('mastercard_day', 'mastercard', '*', 10, '24 h', 'same', 'Mastercard, by guides of acquirers', '2026-11', true),
	('mastercard_30_days', 'mastercard', '*', 35, '30 days', 'same', 'Mastercard, by guides of acquirers', '2026-11', true);

CREATE TABLE payments.reattempt_code (
	adapter text NOT NULL,
	code text NOT NULL,
	category text NOT NULL CONSTRAINT reattempt_code_category_known CHECK (category IN ('never', 'other', 'not_card')),
	source text,
	edition text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (adapter, code, builtin)
);
COMMENT ON TABLE payments.reattempt_code IS 'what a decline says of the card; a row of yours (builtin = false) wins over a shipped one, and a code without a row is of category other';
COMMENT ON COLUMN payments.reattempt_code.adapter IS 'adapter name';
COMMENT ON COLUMN payments.reattempt_code.code IS 'the PSP''s code, as in decline_rule; the most binding of an answer counts';
COMMENT ON COLUMN payments.reattempt_code.category IS 'never: the issuer will never approve; other; not_card: it is no word about the card, but about the PSP or us, and counts for nothing';
COMMENT ON COLUMN payments.reattempt_code.source IS 'where it was read';
COMMENT ON COLUMN payments.reattempt_code.edition IS 'date or edition of the source';
COMMENT ON COLUMN payments.reattempt_code.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.reattempt_code', 'WHERE NOT builtin');

INSERT INTO payments.reattempt_code (adapter, code, category, source, edition, builtin)
SELECT 'stripe', c.code, c.category, 'Stripe decline and advice codes', '2026-11', true
FROM (VALUES
	('network_advice:03', 'never'),
	('network_advice:21', 'never'),
	('advice:do_not_try_again', 'never'),
	('lost_card', 'never'),
	('stolen_card', 'never'),
	('pickup_card', 'never'),
	('invalid_account', 'never'),
	('do_not_try_again', 'never'),
	('revocation_of_all_authorizations', 'never'),
	('revocation_of_authorization', 'never'),
	('stop_payment_order', 'never'),
	('processing_error', 'not_card'),
	('issuer_not_available', 'not_card'),
	('duplicate_transaction', 'not_card'),
	('currency_not_supported', 'not_card'),
	('testmode_decline', 'not_card')
) c (code, category);
