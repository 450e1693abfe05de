-- Adapters that are sets of SQL functions.  Run by setup() as payments_owner; may
-- be run any number of times.

CREATE TABLE IF NOT EXISTS payments.adapter (
	adapter text PRIMARY KEY CONSTRAINT adapter_name_simple CHECK (adapter ~ '^[a-z][a-z0-9_]{0,62}$'),
	owner text NOT NULL,
	build text NOT NULL,
	build_inquiry text NOT NULL,
	classify text NOT NULL,
	parse text,
	can text[] NOT NULL,
	authorize jsonb NOT NULL CONSTRAINT adapter_authorize_is_an_object CHECK (jsonb_typeof(authorize) = 'object'),
	verify jsonb CONSTRAINT adapter_verify_is_an_object CHECK (jsonb_typeof(verify) = 'object'),
	key_header text,
	key_valid_s int NOT NULL DEFAULT 0 CONSTRAINT adapter_key_valid_positive CHECK (key_valid_s >= 0),
	headers jsonb NOT NULL DEFAULT '{}' CONSTRAINT adapter_headers_is_an_object CHECK (jsonb_typeof(headers) = 'object'),
	request_id_header text,
	config_keys text[] NOT NULL DEFAULT '{}',
	time_limit_ms int NOT NULL DEFAULT 500 CONSTRAINT adapter_time_limit_range CHECK (time_limit_ms BETWEEN 1 AND 5000),
	samples jsonb NOT NULL DEFAULT '[]' CONSTRAINT adapter_samples_is_an_array CHECK (jsonb_typeof(samples) = 'array'),
	created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE payments.adapter IS 'adapters that are sets of SQL functions, written by create_adapter(); those of the library have no row';
COMMENT ON COLUMN payments.adapter.adapter IS 'name, as create_psp() takes it';
COMMENT ON COLUMN payments.adapter.owner IS 'role that owns all of its functions; those of another are not called';
COMMENT ON COLUMN payments.adapter.build IS 'schema.name of the function (jsonb) that writes the request of a command';
COMMENT ON COLUMN payments.adapter.build_inquiry IS 'likewise, of the one that asks what became of it';
COMMENT ON COLUMN payments.adapter.classify IS 'likewise, of the one that says what an answer means';
COMMENT ON COLUMN payments.adapter.parse IS 'likewise, of the one that reads events; null: it sends none';
COMMENT ON COLUMN payments.adapter.can IS 'what the PSP can do: charge, authorize, capture, void, refund, payout, and capture_part, refund_part, capture_many';
COMMENT ON COLUMN payments.adapter.authorize IS 'how the PSP knows us: scheme bearer, basic, header or hmac-sha256. Functions never see the secret';
COMMENT ON COLUMN payments.adapter.verify IS 'how we know its events: scheme hmac-sha256, standard-webhooks, or none: they are hints, and the PSP is asked. Null: it sends none';
COMMENT ON COLUMN payments.adapter.key_header IS 'header that the idempotency key goes into; null: build puts psp_ref where the PSP looks';
COMMENT ON COLUMN payments.adapter.key_valid_s IS 'seconds after the first send for which the PSP surely honours a key; 0: it knows none, and nothing is sent twice';
COMMENT ON COLUMN payments.adapter.headers IS 'fixed headers of each request, name to value';
COMMENT ON COLUMN payments.adapter.request_id_header IS 'header of an answer that has the PSP''s id of the request, for its support';
COMMENT ON COLUMN payments.adapter.config_keys IS 'what its functions read of the config of create_psp()';
COMMENT ON COLUMN payments.adapter.time_limit_ms IS 'milliseconds that one call of a function may take';
COMMENT ON COLUMN payments.adapter.samples IS 'answers and events of the PSP with what they mean, for test_adapter()';
COMMENT ON COLUMN payments.adapter.created_at IS 'when it was made';

-- Adapters are cached in every session: tell them all of a change.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.adapter
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.adapter ENABLE ALWAYS TRIGGER forget_routes;
