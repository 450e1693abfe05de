-- Which PSPs there are.  Run by setup() as payments_owner; may be run any number
-- of times.

CREATE TABLE IF NOT EXISTS payments.psp (
	psp text PRIMARY KEY CONSTRAINT psp_name_simple CHECK (psp ~ '^[a-z][a-z0-9_]{0,62}$'),
	adapter text NOT NULL,
	base_url text,
	secret text CONSTRAINT psp_secret_is_a_name CHECK (secret ~ '^[A-Za-z][A-Za-z0-9_.-]{0,62}$'),
	config jsonb NOT NULL DEFAULT '{}' CONSTRAINT psp_config_is_an_object CHECK (jsonb_typeof(config) = 'object'),
	inflight_max int NOT NULL DEFAULT 2000 CONSTRAINT psp_inflight_positive CHECK (inflight_max > 0),
	calls_per_second numeric CONSTRAINT psp_calls_range CHECK (calls_per_second BETWEEN 0.01 AND 1000000),
	timeout interval NOT NULL DEFAULT '30 s' CONSTRAINT psp_timeout_range CHECK (timeout BETWEEN interval '100 ms' AND interval '10 min'),
	halted_at timestamptz,
	halted_reason text,
	paused_at timestamptz,
	paused_until timestamptz,
	paused_by text,
	paused_reason text,
	created_at timestamptz NOT NULL DEFAULT now(),
	account_id text,
	account_mode text CONSTRAINT psp_account_mode_known CHECK (account_mode IN ('live', 'test'))
);

COMMENT ON TABLE payments.psp IS 'payment service providers, one row for each account with one.  Written by create_psp(); halted by the worker, resumed by resume_psp()';
COMMENT ON COLUMN payments.psp.psp IS 'name, as given to create_payment() and receive_webhook()';
COMMENT ON COLUMN payments.psp.adapter IS 'plug-in of the library that speaks its protocol, such as sandbox or stripe; never changes';
COMMENT ON COLUMN payments.psp.base_url IS 'where requests go, without a path; null: the adapter''s own';
COMMENT ON COLUMN payments.psp.secret IS 'name of the entry in payments.secrets_file that authorizes our calls, never the secret; NAME.webhook is the entry that verifies webhooks';
COMMENT ON COLUMN payments.psp.config IS 'for the adapter';
COMMENT ON COLUMN payments.psp.inflight_max IS 'calls at a time that one worker makes to this PSP';
COMMENT ON COLUMN payments.psp.calls_per_second IS 'no more calls begin in a second, as agreed with the PSP; null: as many as it takes, which the worker finds out';
COMMENT ON COLUMN payments.psp.timeout IS 'for one call, connecting included; then its outcome is unknown';
COMMENT ON COLUMN payments.psp.halted_at IS 'no calls since: the PSP refused our credentials or our configuration; null: not halted';
COMMENT ON COLUMN payments.psp.halted_reason IS 'for people: that the PSP refused our credentials, with HTTP status, code and its own sentence, in which keys are masked; or account_changed with what changed';
COMMENT ON COLUMN payments.psp.paused_at IS 'by pause_psp(): nothing new is sent since, what is in doubt is asked for as ever; null: not paused';
COMMENT ON COLUMN payments.psp.paused_until IS 'the pause ends by itself then; null: with resume_psp()';
COMMENT ON COLUMN payments.psp.paused_by IS 'database role that paused it';
COMMENT ON COLUMN payments.psp.paused_reason IS 'why, as given to pause_psp()';
COMMENT ON COLUMN payments.psp.created_at IS 'when it was made';
COMMENT ON COLUMN payments.psp.account_id IS 'the PSP''s name of the account that our secret is of, as the worker was told first; with another one it sends nothing, see accept_psp_account(). Null: not told yet, or never';
COMMENT ON COLUMN payments.psp.account_mode IS 'live or test, of a PSP that has both in one account; null: not known';

-- Routes are cached in every session: tell them all of a change.
CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.psp
	FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes();
ALTER TABLE payments.psp ENABLE ALWAYS TRIGGER forget_routes;

CREATE TABLE IF NOT EXISTS payments.psp_pause (
	psp text NOT NULL,
	seq int NOT NULL,
	action text NOT NULL CONSTRAINT psp_pause_action_known CHECK (action IN ('paused', 'resumed')),
	paused_until timestamptz,
	reason text,
	actor text NOT NULL,
	recorded_at timestamptz NOT NULL,
	PRIMARY KEY (psp, seq)
);

COMMENT ON TABLE payments.psp_pause IS 'who has paused a PSP, and who has ended that, append-only.  Written by pause_psp() and resume_psp(), with psp.paused_at';
COMMENT ON COLUMN payments.psp_pause.psp IS 'psp.psp';
COMMENT ON COLUMN payments.psp_pause.seq IS 'from 1, in order';
COMMENT ON COLUMN payments.psp_pause.action IS 'paused or resumed; a pause may also end at its time, or by the next';
COMMENT ON COLUMN payments.psp_pause.paused_until IS 'it ends by itself then; null: with resume_psp()';
COMMENT ON COLUMN payments.psp_pause.reason IS 'why, as given to pause_psp()';
COMMENT ON COLUMN payments.psp_pause.actor IS 'database role that did it';
COMMENT ON COLUMN payments.psp_pause.recorded_at IS 'when';

CREATE OR REPLACE TRIGGER guard_psp BEFORE UPDATE OF adapter, base_url, secret, config OR DELETE ON payments.psp
	FOR EACH ROW EXECUTE FUNCTION payments.guard_psp();
ALTER TABLE payments.psp ENABLE ALWAYS TRIGGER guard_psp;
