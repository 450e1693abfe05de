-- Seed tables: what is data rather than code, and the same everywhere.  They
-- are members of the extension; rows that users add (builtin = false) are
-- dumped, rows that we ship are made again by CREATE EXTENSION.

CREATE TABLE payments.currency (
	currency text PRIMARY KEY CONSTRAINT currency_is_iso_4217 CHECK (currency ~ '^[A-Z]{3}$'),
	numeric_code text,
	exponent int NOT NULL CONSTRAINT currency_exponent_range CHECK (exponent BETWEEN 0 AND 4),
	name text,
	builtin boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE payments.currency IS 'ISO 4217 currencies; amounts everywhere are whole minor units of these exponents';
COMMENT ON COLUMN payments.currency.currency IS 'alphabetic code, upper case';
COMMENT ON COLUMN payments.currency.numeric_code IS 'ISO 4217 numeric code, three digits';
COMMENT ON COLUMN payments.currency.exponent IS 'decimals of the minor unit: 2 for EUR, 0 for JPY, 3 for KWD';
COMMENT ON COLUMN payments.currency.name IS 'name for people';
COMMENT ON COLUMN payments.currency.builtin IS 'shipped with the extension; add your own rows with false and they are kept by pg_dump';

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

CREATE TABLE payments.transition (
	from_status text NOT NULL,
	event text NOT NULL,
	to_status text NOT NULL,
	PRIMARY KEY (from_status, event)
);
COMMENT ON TABLE payments.transition IS 'the state machine of a payment, copied at install from the table in C that enforces it; changing rows here changes nothing';
COMMENT ON COLUMN payments.transition.from_status IS 'status before; empty for the first row of a payment''s history';
COMMENT ON COLUMN payments.transition.event IS 'what happened';
COMMENT ON COLUMN payments.transition.to_status IS 'status after';

CREATE TABLE payments.decline_rule (
	adapter text NOT NULL,
	code text NOT NULL,
	class text NOT NULL CONSTRAINT decline_rule_class_known CHECK (class IN
		('declined', 'retry_later', 'requires_action', 'misconfigured', 'duplicate', 'not_sent', 'unknown')),
	schedule text,
	source text,
	edition text,
	builtin boolean NOT NULL DEFAULT true,
	PRIMARY KEY (adapter, code, builtin)
);
COMMENT ON TABLE payments.decline_rule IS 'how an answer code of a PSP is treated; a row of yours (builtin = false) wins over a shipped one';
COMMENT ON COLUMN payments.decline_rule.adapter IS 'adapter name';
COMMENT ON COLUMN payments.decline_rule.code IS 'the PSP''s code; advice codes are written advice:CODE and network_advice:CODE and are looked up first';
COMMENT ON COLUMN payments.decline_rule.class IS 'declined: never retry; retry_later: soft; requires_action: payer must authenticate; misconfigured: stop the PSP; duplicate: inquire; not_sent: certainly not processed; unknown: may have been processed';
COMMENT ON COLUMN payments.decline_rule.schedule IS 'retry_schedule.schedule for retry_later';
COMMENT ON COLUMN payments.decline_rule.source IS 'where the rule was read';
COMMENT ON COLUMN payments.decline_rule.edition IS 'date or edition of the source';
COMMENT ON COLUMN payments.decline_rule.builtin IS 'shipped with the extension';

CREATE TABLE payments.retry_schedule (
	schedule text NOT NULL,
	psp text NOT NULL DEFAULT '*',
	try int NOT NULL CONSTRAINT retry_schedule_try_positive CHECK (try > 0),
	delay interval NOT NULL CONSTRAINT retry_schedule_delay_not_negative CHECK (delay >= interval '0'),
	jitter boolean NOT NULL DEFAULT false,
	builtin boolean NOT NULL DEFAULT true,
	PRIMARY KEY (schedule, psp, try, builtin)
);
COMMENT ON TABLE payments.retry_schedule IS 'when the next try comes; your rows (builtin = false) for a schedule and PSP replace the shipped ones as a whole; past the last try the operation is dead-lettered, or failed after a soft decline';
COMMENT ON COLUMN payments.retry_schedule.schedule IS 'not_sent, unknown, pending, requires_action, soft_decline, or one that a decline_rule names';
COMMENT ON COLUMN payments.retry_schedule.psp IS 'PSP name, or * for all';
COMMENT ON COLUMN payments.retry_schedule.try IS 'from 1: the delay before this retry';
COMMENT ON COLUMN payments.retry_schedule.delay IS 'how long to wait';
COMMENT ON COLUMN payments.retry_schedule.jitter IS 'true: wait a random time between nothing and the delay';
COMMENT ON COLUMN payments.retry_schedule.builtin IS 'shipped with the extension';

CREATE TABLE payments.account_template (
	code text NOT NULL,
	type text NOT NULL CONSTRAINT account_template_type_known CHECK (type IN ('asset', 'liability', 'income', 'expense', 'equity')),
	hot boolean NOT NULL DEFAULT false,
	min_balance bigint,
	max_balance bigint,
	description text,
	builtin boolean NOT NULL DEFAULT true,
	PRIMARY KEY (code, builtin),
	-- As payments.account wants it of an account that starts at zero.
	CONSTRAINT account_template_hot_has_no_limits CHECK (NOT hot OR (min_balance IS NULL AND max_balance IS NULL)),
	CONSTRAINT account_template_limits_allow_zero CHECK (coalesce(min_balance, 0) <= 0 AND coalesce(max_balance, 0) >= 0)
);
COMMENT ON TABLE payments.account_template IS 'accounts that are opened per merchant and currency on first use; {psp} stands for the PSP''s name, {bank} for that of a bank account';
COMMENT ON COLUMN payments.account_template.code IS 'account code, may contain {psp} or {bank}';
COMMENT ON COLUMN payments.account_template.type IS 'asset and expense accounts grow by debits, the others by credits';
COMMENT ON COLUMN payments.account_template.hot IS 'opened as a hot account: posting takes no row lock';
COMMENT ON COLUMN payments.account_template.min_balance IS 'minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account_template.max_balance IS 'minor units on the normal side; null: no limit';
COMMENT ON COLUMN payments.account_template.description IS 'what the account holds';
COMMENT ON COLUMN payments.account_template.builtin IS 'shipped with the extension; your own row for the same code wins';

CREATE TABLE payments.posting_rule (
	event text NOT NULL,
	leg int NOT NULL CONSTRAINT posting_rule_leg_positive CHECK (leg > 0),
	debit text NOT NULL,
	credit text NOT NULL,
	description text,
	builtin boolean NOT NULL DEFAULT true,
	PRIMARY KEY (event, leg, builtin)
);
COMMENT ON TABLE payments.posting_rule IS 'which postings a money movement causes; your rows (builtin = false) for an event replace the shipped ones as a whole';
COMMENT ON COLUMN payments.posting_rule.event IS 'movement.kind: capture, refund, refund_failed, fee, dispute, dispute_won, late_capture; or what settlement files book: settled_fee and others';
COMMENT ON COLUMN payments.posting_rule.leg IS 'number of the posting within the event';
COMMENT ON COLUMN payments.posting_rule.debit IS 'account_template.code of the account debited with the whole amount; {psp}, {bank} as there';
COMMENT ON COLUMN payments.posting_rule.credit IS 'account_template.code of the account credited with the whole amount';
COMMENT ON COLUMN payments.posting_rule.description IS 'written on the posting';
COMMENT ON COLUMN payments.posting_rule.builtin IS 'shipped with the extension';

SELECT pg_catalog.pg_extension_config_dump('payments.currency', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('payments.psp_currency', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('payments.decline_rule', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('payments.retry_schedule', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('payments.account_template', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('payments.posting_rule', 'WHERE NOT builtin');
