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
COMMENT ON COLUMN payments.installation.armed_at IS 'when arm() was called';
COMMENT ON COLUMN payments.installation.armed_by IS 'database role that called it';
COMMENT ON COLUMN payments.installation.script IS 'digest of the script that setup() ran; while that is the same and all it made is there, setup() makes nothing';
COMMENT ON COLUMN payments.installation.made IS 'what was there then: tables, columns, indexes, constraints, triggers, policies and grants';

INSERT INTO payments.installation (schema_version) VALUES (payments.version()) ON CONFLICT DO NOTHING;
INSERT INTO payments.merchant (merchant) VALUES ('default') ON CONFLICT DO NOTHING;
INSERT INTO payments.psp (psp, adapter) VALUES ('sandbox', 'sandbox') ON CONFLICT DO NOTHING;
