-- Whose money it is.  Run by setup() as payments_owner; may be run any number
-- of times.

CREATE TABLE IF NOT EXISTS payments.merchant (
	merchant text PRIMARY KEY CONSTRAINT merchant_name_length CHECK (length(merchant) BETWEEN 1 AND 63),
	app_role name,
	psp text,
	created_at timestamptz NOT NULL DEFAULT now(),
	closed_until timestamptz
);

COMMENT ON TABLE payments.merchant IS 'whose money it is; rows, keys and accounts belong to one merchant each.  Written by create_merchant()';
COMMENT ON COLUMN payments.merchant.merchant IS 'name, as given to create_payment()';
COMMENT ON COLUMN payments.merchant.app_role IS 'only members of this role act for the merchant; null: every member of payments_app';
COMMENT ON COLUMN payments.merchant.psp IS 'psp.psp used when create_payment() names none; null: none, or the sandbox as long as this database has never been armed';
COMMENT ON COLUMN payments.merchant.created_at IS 'when it was made';
COMMENT ON COLUMN payments.merchant.closed_until IS 'no posting takes effect before: period_close.to_time of the last close; null: none.  Written by close_period()';

-- Routes are cached in every session: tell them all of a change.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.merchant
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.merchant ENABLE ALWAYS TRIGGER forget_routes;
