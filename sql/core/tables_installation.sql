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
	armed_by text
);

INSERT INTO payments.installation (schema_version) VALUES (payments.version()) ON CONFLICT DO NOTHING;
INSERT INTO payments.merchant (merchant) VALUES ('default') ON CONFLICT DO NOTHING;
INSERT INTO payments.psp (psp, adapter) VALUES ('sandbox', 'sandbox') ON CONFLICT DO NOTHING;
