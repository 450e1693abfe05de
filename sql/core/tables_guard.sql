-- Triggers only check, they never fill: a data-only restore must give the same
-- rows.  ENABLE ALWAYS, or session_replication_role = replica walks past them.
DO $guards$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['payment_status', 'attempt', 'attempt_answer', 'movement', 'idempotency_key', 'event', 'posting',
							 'posting_reference', 'posting_failure', 'posting_reversal', 'account_history', 'ledger_hold', 'ledger_hold_resolution'] LOOP
		EXECUTE format('CREATE OR REPLACE TRIGGER guard_append_only BEFORE UPDATE OR DELETE ON payments.%I
			FOR EACH ROW EXECUTE FUNCTION payments.guard_append_only()', t);
		EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_append_only', t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['merchant', 'payment', 'operation', 'payment_status', 'attempt', 'attempt_answer', 'queue', 'dead_letter',
							 'movement', 'idempotency_key', 'event', 'psp_event', 'exception', 'posting', 'account',
							 'posting_reference', 'posting_failure', 'posting_reversal', 'account_history', 'account_part',
							 'ledger_hold', 'ledger_hold_resolution', 'ledger_hold_due'] LOOP
		EXECUTE format('CREATE OR REPLACE TRIGGER guard_truncate BEFORE TRUNCATE ON payments.%I
			FOR EACH STATEMENT EXECUTE FUNCTION payments.guard_append_only()', t);
		EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_truncate', t);
	END LOOP;
	-- Rows with a projection: facts never change, words are known ones, and no row goes away.
	FOREACH t IN ARRAY ARRAY['payment', 'operation', 'psp_event', 'dead_letter', 'exception', 'merchant'] LOOP
		EXECUTE format('CREATE OR REPLACE TRIGGER guard_facts BEFORE INSERT OR UPDATE OR DELETE ON payments.%I
			FOR EACH ROW EXECUTE FUNCTION payments.guard_facts()', t);
		EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER guard_facts', t);
	END LOOP;
END
$guards$;

CREATE OR REPLACE TRIGGER guard_status BEFORE INSERT ON payments.payment_status
	FOR EACH ROW EXECUTE FUNCTION payments.guard_status();
ALTER TABLE payments.payment_status ENABLE ALWAYS TRIGGER guard_status;

-- The channels are cached in every session: tell them all of a change.
DO $cache$
DECLARE
	t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['merchant', 'psp'] LOOP
		EXECUTE format('CREATE OR REPLACE TRIGGER forget_routes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON payments.%I
			FOR EACH STATEMENT EXECUTE FUNCTION payments.forget_routes()', t);
		EXECUTE format('ALTER TABLE payments.%I ENABLE ALWAYS TRIGGER forget_routes', t);
	END LOOP;
END
$cache$;
