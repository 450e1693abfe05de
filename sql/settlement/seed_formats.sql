-- Formats of settlement files: plug-ins, found by name.

CREATE TABLE payments.settlement_format (
	format text NOT NULL CONSTRAINT settlement_format_is_a_name CHECK (format ~ '^[a-z][a-z0-9_]{0,62}$'),
	function text NOT NULL,
	source text NOT NULL DEFAULT 'psp' CONSTRAINT settlement_format_source_known CHECK (source IN ('psp', 'bank')),
	totals text NOT NULL DEFAULT 'none' CONSTRAINT settlement_format_totals_known CHECK (totals IN ('none', 'payout')),
	payment_columns text[],
	description text,
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (format, builtin)
);
COMMENT ON TABLE payments.settlement_format IS 'how import_settlement() reads files; a row of yours (builtin = false) has a name that no shipped one has. docs/reconciliation.md says how to write one';
COMMENT ON COLUMN payments.settlement_format.format IS 'name, as import_settlement() takes it';
COMMENT ON COLUMN payments.settlement_format.function IS 'schema.name of a function (content text, options jsonb) that returns rows with the columns it knows of; one of yours is SECURITY DEFINER, and always runs with its owner''s rights';
COMMENT ON COLUMN payments.settlement_format.source IS 'psp: rows are settlement lines; bank: statements and entries';
COMMENT ON COLUMN payments.settlement_format.totals IS 'payout: where a file names a payout, its lines must make it; none: the file holds parts of payouts';
COMMENT ON COLUMN payments.settlement_format.payment_columns IS 'names of columns, in lower case, that say which payment a line is about: a file that has none of them is refused where a line that is new is about one; null: any file is taken';
COMMENT ON COLUMN payments.settlement_format.description IS 'which file of whom';
COMMENT ON COLUMN payments.settlement_format.builtin IS 'shipped with the extension; a row of yours says false, as it does by default, and is kept by pg_dump';

-- By default a report of Stripe has no column of a payment: each charge would be missing here, whoever booked it.
INSERT INTO payments.settlement_format (format, function, source, totals, payment_columns, description, builtin)
VALUES
	('csv', 'payments._settlement_csv', 'psp', 'none', NULL, 'any CSV; options.columns says which column means what', true),
	('stripe_payout', 'payments._settlement_stripe_payout', 'psp', 'payout', '{payment_intent_id,payment_metadata[payments_ref],payment_metadata[order_ref]}', 'Stripe, payout reconciliation, itemised (payout_reconciliation.itemized.5)', true),
	('stripe_balance', 'payments._settlement_stripe_balance', 'psp', 'none', '{payment_intent_id,payment_metadata[payments_ref],payment_metadata[order_ref],payments_ref (metadata)}', 'Stripe, balance change from activity, itemised (balance_change_from_activity.itemized.3), list of payouts (payouts.itemized.3), or balance transactions of the Dashboard', true),
	('stripe_api', 'payments._settlement_stripe_api', 'psp', 'none', NULL, 'Stripe, a list of GET /v1/balance_transactions, with data.source expanded; amounts are minor units. The worker reads these by itself', true),
	('adyen', 'payments._settlement_adyen', 'psp', 'payout', NULL, 'Adyen, settlement details report', true),
	('camt053', 'payments._settlement_camt053', 'bank', 'none', NULL, 'bank statement, ISO 20022 camt.053, any version', true),
	('mt940', 'payments._settlement_mt940', 'bank', 'none', NULL, 'bank statement, SWIFT MT940', true);

-- What a shipped name reads, the worker too, is what we say.
CREATE FUNCTION payments.guard_format_name() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT new.builtin
		AND EXISTS (SELECT FROM payments.settlement_format f WHERE f.builtin AND f.format = new.format) THEN
		RAISE EXCEPTION USING
			ERRCODE = '42501',
			MESSAGE = format('settlement format "%s" is a shipped one', new.format),
			HINT = 'Give yours a name of its own; it may name the function of a shipped one.';
	END IF;
	RETURN new;
END
$$;
COMMENT ON FUNCTION payments.guard_format_name() IS 'Trigger: keeps the names of shipped settlement formats (42501).';
CREATE TRIGGER guard_format_name BEFORE INSERT OR UPDATE ON payments.settlement_format
	FOR EACH ROW EXECUTE FUNCTION payments.guard_format_name();
ALTER TABLE payments.settlement_format ENABLE ALWAYS TRIGGER guard_format_name;

SELECT pg_catalog.pg_extension_config_dump('payments.settlement_format', 'WHERE NOT builtin');
