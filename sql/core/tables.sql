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
COMMENT ON COLUMN payments.merchant.created_at IS 'when it was made; of "default", which setup() makes, the same in every installation';
COMMENT ON COLUMN payments.merchant.closed_until IS 'no posting takes effect before: period_close.to_time of the last close; null: none.  Written by close_period()';

-- Routes are cached in every session: tell them all of a change.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.merchant
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.merchant ENABLE ALWAYS TRIGGER forget_routes;

-- Made once, by whichever setup() is first, and then the same in every copy:
-- what we are called at PSPs derives from it.  Two UUIDs of version 4 are 244
-- bits of the server's strong random source.
CREATE TABLE IF NOT EXISTS payments.installation_salt (
	singleton boolean PRIMARY KEY DEFAULT true CONSTRAINT installation_salt_is_one CHECK (singleton),
	salt bytea NOT NULL CONSTRAINT installation_salt_bytes CHECK (octet_length(salt) = 32),
	made_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE payments.installation_salt IS 'what keys and references at PSPs derive from, so that two databases never share one.  Made by setup(), never changed (guard_salt); travels with dumps, standbys and restores.  Secret: whoever knows it can tell in advance which keys will be sent, so no role of ours reads it';
COMMENT ON COLUMN payments.installation_salt.singleton IS 'always true: there is one row';
COMMENT ON COLUMN payments.installation_salt.salt IS '32 random bytes; installation_tag() is what of it is public';
COMMENT ON COLUMN payments.installation_salt.made_at IS 'when';

CREATE OR REPLACE TRIGGER guard_salt BEFORE UPDATE OR DELETE ON payments.installation_salt
	FOR EACH ROW EXECUTE FUNCTION payments.guard_salt();
ALTER TABLE payments.installation_salt ENABLE ALWAYS TRIGGER guard_salt;
CREATE OR REPLACE TRIGGER forget_salt AFTER INSERT OR DELETE ON payments.installation_salt
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_salt();
ALTER TABLE payments.installation_salt ENABLE ALWAYS TRIGGER forget_salt;

INSERT INTO payments.installation_salt (salt)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
ON CONFLICT DO NOTHING;
