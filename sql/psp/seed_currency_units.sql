-- How PSPs count currencies.  Where there is no row, one counts as ISO 4217
-- does.  HUF and TWD have two decimals in charges of Stripe's and deviate only in
-- payouts; PayPal takes neither with decimals.

CREATE TABLE payments.psp_currency (
	adapter text NOT NULL,
	currency text NOT NULL,
	exponent int NOT NULL CONSTRAINT psp_currency_exponent_range CHECK (exponent BETWEEN 0 AND 4),
	multiple bigint NOT NULL DEFAULT 1 CONSTRAINT psp_currency_multiple_positive CHECK (multiple > 0),
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (adapter, currency),
	-- Their amounts are decimal text: how it is counted is in their code.
	CONSTRAINT psp_currency_is_data CHECK (builtin OR adapter NOT IN ('paypal', 'yookassa'))
);
COMMENT ON TABLE payments.psp_currency IS 'where a PSP counts a currency differently from ISO 4217';
COMMENT ON COLUMN payments.psp_currency.adapter IS 'adapter name, as in psp.adapter';
COMMENT ON COLUMN payments.psp_currency.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.psp_currency.exponent IS 'decimals that the PSP uses for this currency';
COMMENT ON COLUMN payments.psp_currency.multiple IS 'amounts in the PSP''s unit must be a multiple of this';
COMMENT ON COLUMN payments.psp_currency.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.psp_currency', 'WHERE NOT builtin');

INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple, builtin)
VALUES
	-- Stripe's list of currencies without decimals; MGA has two in ISO 4217.
	('stripe', 'BIF', 0, 1, true),
	('stripe', 'CLP', 0, 1, true),
	('stripe', 'DJF', 0, 1, true),
	('stripe', 'GNF', 0, 1, true),
	('stripe', 'JPY', 0, 1, true),
	('stripe', 'KMF', 0, 1, true),
	('stripe', 'KRW', 0, 1, true),
	('stripe', 'MGA', 0, 1, true),
	('stripe', 'PYG', 0, 1, true),
	('stripe', 'RWF', 0, 1, true),
	('stripe', 'VND', 0, 1, true),
	('stripe', 'VUV', 0, 1, true),
	('stripe', 'XAF', 0, 1, true),
	('stripe', 'XOF', 0, 1, true),
	('stripe', 'XPF', 0, 1, true),
	-- Without decimals in ISO 4217; Stripe kept two, which must be 00.
	('stripe', 'ISK', 2, 100, true),
	('stripe', 'UGX', 2, 100, true),
	-- Three decimals, the last of which must be 0.
	('stripe', 'BHD', 3, 10, true),
	('stripe', 'IQD', 3, 10, true),
	('stripe', 'JOD', 3, 10, true),
	('stripe', 'KWD', 3, 10, true),
	('stripe', 'LYD', 3, 10, true),
	('stripe', 'OMR', 3, 10, true),
	('stripe', 'TND', 3, 10, true),
	-- PayPal's page of currency codes: no decimals, where ISO 4217 has two.
	('paypal', 'HUF', 0, 1, true),
	('paypal', 'TWD', 0, 1, true),
	-- Adyen's page of currency codes names these four as other than ISO 4217 has them.
	('adyen', 'CLP', 2, 1, true),
	('adyen', 'CVE', 0, 1, true),
	('adyen', 'IDR', 0, 1, true),
	('adyen', 'ISK', 2, 1, true);
