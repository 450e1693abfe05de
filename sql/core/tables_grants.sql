-- Who may read.  Nobody but payments_owner may write: that is what the
-- functions are for.  Partitions are granted to nobody: they are read through
-- their table, whose policies hold then.
DO $grants$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT c.oid::regclass AS name FROM pg_class c
			 WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'p', 'v')
			 AND NOT c.relispartition AND c.relname !~ '^retired_' AND c.relowner = 'payments_owner'::regrole LOOP
		EXECUTE format('REVOKE ALL ON TABLE %s FROM PUBLIC', t.name);
		EXECUTE format('GRANT SELECT ON TABLE %s TO payments_operator, payments_admin, payments_auditor', t.name);
	END LOOP;
END
$grants$;
GRANT SELECT ON payments.payment, payments.payment_status, payments.operation, payments.movement, payments.account, payments.posting,
	payments.posting_failure, payments.account_history, payments.ledger_hold, payments.ledger_hold_resolution, payments.worker_status, payments.psp,
	payments.seal, payments.seal_head, payments.period_close, payments.period_balance, payments.closed_balance, payments.issued_statement TO payments_app;

-- Rates are an administrator's, like rules and schedules.
GRANT INSERT, UPDATE, DELETE ON payments.vat_rule TO payments_admin;

-- Files come by COPY into here, to be imported in the same transaction.
GRANT INSERT (line) ON payments.settlement_staging TO payments_operator, payments_admin;

-- An application sees the merchants that it may act for.
CREATE OR REPLACE VIEW payments._my_merchant AS
SELECT m.merchant FROM payments.merchant m
WHERE m.app_role IS NULL OR pg_has_role(m.app_role, 'MEMBER')
OR pg_has_role('payments_auditor', 'MEMBER') OR pg_has_role('payments_operator', 'MEMBER') OR pg_has_role('payments_admin', 'MEMBER');
COMMENT ON VIEW payments._my_merchant IS 'internal: merchants whose rows the current role may read';
COMMENT ON COLUMN payments._my_merchant.merchant IS 'the merchant';
GRANT SELECT ON payments._my_merchant TO payments_app, payments_operator, payments_admin, payments_auditor;

DO $policies$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['payment', 'account', 'posting', 'posting_reference', 'posting_failure', 'ledger_hold', 'event', 'idempotency_key',
							 'period_close', 'period_balance', 'issued_statement'] LOOP
		EXECUTE format('ALTER TABLE payments.%I ENABLE ROW LEVEL SECURITY', t);
		EXECUTE format('DROP POLICY IF EXISTS by_merchant ON payments.%I', t);
		EXECUTE format('CREATE POLICY by_merchant ON payments.%I FOR SELECT USING (merchant IN (SELECT m.merchant FROM payments._my_merchant m))', t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['payment_status', 'operation', 'movement'] LOOP
		EXECUTE format('ALTER TABLE payments.%I ENABLE ROW LEVEL SECURITY', t);
		EXECUTE format('DROP POLICY IF EXISTS by_merchant ON payments.%I', t);
		EXECUTE format('CREATE POLICY by_merchant ON payments.%I FOR SELECT USING (EXISTS (SELECT FROM payments.payment p WHERE p.payment_id = %I.payment_id))', t, t);
	END LOOP;
	ALTER TABLE payments.account_history ENABLE ROW LEVEL SECURITY;
	DROP POLICY IF EXISTS by_merchant ON payments.account_history;
	CREATE POLICY by_merchant ON payments.account_history FOR SELECT
		USING (EXISTS (SELECT FROM payments.account a WHERE a.account_id = account_history.account_id));
	ALTER TABLE payments.ledger_hold_resolution ENABLE ROW LEVEL SECURITY;
	DROP POLICY IF EXISTS by_merchant ON payments.ledger_hold_resolution;
	CREATE POLICY by_merchant ON payments.ledger_hold_resolution FOR SELECT
		USING (EXISTS (SELECT FROM payments.ledger_hold h WHERE h.hold_id = ledger_hold_resolution.hold_id));
END
$policies$;
