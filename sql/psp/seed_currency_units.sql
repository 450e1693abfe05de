-- How Stripe counts currencies.  Where there is no row, it counts as ISO 4217
-- does.  HUF and TWD have two decimals in charges and deviate only in payouts.

CREATE TABLE payments.psp_currency (
	adapter text NOT NULL,
	currency text NOT NULL,
	exponent int NOT NULL CONSTRAINT psp_currency_exponent_range CHECK (exponent BETWEEN 0 AND 4),
	multiple bigint NOT NULL DEFAULT 1 CONSTRAINT psp_currency_multiple_positive CHECK (multiple > 0),
	builtin boolean NOT NULL DEFAULT true,
	PRIMARY KEY (adapter, currency)
);
COMMENT ON TABLE payments.psp_currency IS 'where a PSP counts a currency differently from ISO 4217';
COMMENT ON COLUMN payments.psp_currency.adapter IS 'adapter name, as in psp.adapter';
COMMENT ON COLUMN payments.psp_currency.currency IS 'ISO 4217 code';
COMMENT ON COLUMN payments.psp_currency.exponent IS 'decimals that the PSP uses for this currency';
COMMENT ON COLUMN payments.psp_currency.multiple IS 'amounts in the PSP''s unit must be a multiple of this';
COMMENT ON COLUMN payments.psp_currency.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.psp_currency', 'WHERE NOT builtin');

INSERT INTO payments.psp_currency (adapter, currency, exponent, multiple)
VALUES
	-- Stripe's list of currencies without decimals; MGA has two in ISO 4217.
	('stripe', 'BIF', 0, 1),
	('stripe', 'CLP', 0, 1),
	('stripe', 'DJF', 0, 1),
	('stripe', 'GNF', 0, 1),
	('stripe', 'JPY', 0, 1),
	('stripe', 'KMF', 0, 1),
	('stripe', 'KRW', 0, 1),
	('stripe', 'MGA', 0, 1),
	('stripe', 'PYG', 0, 1),
	('stripe', 'RWF', 0, 1),
	('stripe', 'VND', 0, 1),
	('stripe', 'VUV', 0, 1),
	('stripe', 'XAF', 0, 1),
	('stripe', 'XOF', 0, 1),
	('stripe', 'XPF', 0, 1),
	-- Without decimals in ISO 4217; Stripe kept two, which must be 00.
	('stripe', 'ISK', 2, 100),
	('stripe', 'UGX', 2, 100),
	-- Three decimals, the last of which must be 0.
	('stripe', 'BHD', 3, 10),
	('stripe', 'IQD', 3, 10),
	('stripe', 'JOD', 3, 10),
	('stripe', 'KWD', 3, 10),
	('stripe', 'LYD', 3, 10),
	('stripe', 'OMR', 3, 10),
	('stripe', 'TND', 3, 10);
