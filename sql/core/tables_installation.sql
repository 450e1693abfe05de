-- Made last: its presence says that setup() went through.
CREATE TABLE IF NOT EXISTS payments.installation (
	singleton boolean PRIMARY KEY DEFAULT true CONSTRAINT installation_is_one CHECK (singleton),
	schema_version text NOT NULL,
	set_up_at timestamptz NOT NULL DEFAULT now(),
	worker_enabled boolean NOT NULL DEFAULT true,
	armed_system text,
	armed_timeline int,
	armed_database oid,
	armed_host text,
	armed_at timestamptz,
	armed_by text,
	armed_token text,
	first_armed_at timestamptz,
	script text,
	made text[]
);

COMMENT ON TABLE payments.installation IS 'one row about this database, made last: its presence says that setup() went through';
COMMENT ON COLUMN payments.installation.singleton IS 'always true: there is one row';
COMMENT ON COLUMN payments.installation.schema_version IS 'version of the tables; written by setup() and migrate()';
COMMENT ON COLUMN payments.installation.set_up_at IS 'when setup() ran first';
COMMENT ON COLUMN payments.installation.worker_enabled IS 'false after stop_worker(): the worker makes no calls; true after start_worker()';
COMMENT ON COLUMN payments.installation.armed_system IS 'system identifier of the cluster that arm() was called in; null: not armed';
COMMENT ON COLUMN payments.installation.armed_timeline IS 'its timeline then; a promotion changes it';
COMMENT ON COLUMN payments.installation.armed_database IS 'oid of the database then; a clone has another';
COMMENT ON COLUMN payments.installation.armed_host IS 'name of the host then';
COMMENT ON COLUMN payments.installation.armed_at IS 'when arm() was called: what is older may have been sent by another copy, and is inquired first';
COMMENT ON COLUMN payments.installation.armed_by IS 'database role that called it';
COMMENT ON COLUMN payments.installation.armed_token IS 'what the arming file outside of the data directory has too; changes within a second of what is sent, so that no copy of an earlier state has it';
COMMENT ON COLUMN payments.installation.first_armed_at IS 'when arm() was called first: since then the sandbox is used only where it is named; null: never';
COMMENT ON COLUMN payments.installation.script IS 'digest of the script that setup() ran, and of the version of the server; while that is the same and all it made is there, setup() makes nothing';
COMMENT ON COLUMN payments.installation.made IS 'what was there then, with its definition: tables, views, columns, indexes, constraints, triggers, policies, grants, and functions of the extension';

-- What is routed when nobody names a PSP depends on it; the token changes each second.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OF first_armed_at OR DELETE OR TRUNCATE ON payments.installation
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.installation ENABLE ALWAYS TRIGGER forget_routes;

-- What check() compares with, and where is armed, is not what somebody has written down.
CREATE OR REPLACE TRIGGER guard_installation BEFORE UPDATE OR DELETE ON payments.installation
	FOR EACH ROW EXECUTE FUNCTION payments.guard_installation();
ALTER TABLE payments.installation ENABLE ALWAYS TRIGGER guard_installation;
CREATE OR REPLACE TRIGGER guard_truncate BEFORE TRUNCATE ON payments.installation
	FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_append_only();
ALTER TABLE payments.installation ENABLE ALWAYS TRIGGER guard_truncate;

INSERT INTO payments.installation (schema_version) VALUES (payments.version()) ON CONFLICT DO NOTHING;
-- The same in every installation: where data are restored into tables that setup() has made, it is the row that was sealed.
INSERT INTO payments.merchant (merchant, created_at, xid) VALUES ('default', '2000-01-01 00:00:00+00', '0') ON CONFLICT DO NOTHING;
INSERT INTO payments.psp (psp, adapter) VALUES ('sandbox', 'sandbox') ON CONFLICT DO NOTHING;
