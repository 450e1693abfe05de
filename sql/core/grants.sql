-- The one reviewed list of who may do what.  PUBLIC has nothing, nor has anybody
-- to whom ALTER DEFAULT PRIVILEGES has given what was made here.
--
-- Of members only: the schema may hold tables that have outlived an extension
-- that was dropped.  Who reads those is setup()'s to say, and said already.
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.oid::regprocedure AS signature,
			payments._grantees(coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner) AS others
		FROM pg_catalog.pg_proc p
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		WHERE p.pronamespace = 'payments'::regnamespace
	LOOP
		EXECUTE format('ALTER ROUTINE %s OWNER TO payments_owner', f.signature);
		IF f.others IS NOT NULL THEN
			EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s CASCADE', f.signature, f.others);
		END IF;
	END LOOP;
	FOR f IN
		SELECT c.oid::regclass AS name
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_depend d
			ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind IN ('r', 'v')
	LOOP
		EXECUTE format('ALTER TABLE %s OWNER TO payments_owner', f.name);
		PERFORM payments._revoke_all(f.name);
		EXECUTE format(
			'GRANT SELECT ON TABLE %s TO payments_app, payments_operator, payments_admin, payments_auditor',
			f.name);
	END LOOP;
	-- Not the row types of tables, which setup() does: what a script has taken of those pg_dump warns of.
	FOR f IN
		SELECT t.oid::regtype AS name,
			payments._grantees(coalesce(t.typacl, acldefault('T', t.typowner)), t.typowner) AS others
		FROM pg_catalog.pg_type t
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
		WHERE t.typnamespace = 'payments'::regnamespace
	LOOP
		EXECUTE format('ALTER TYPE %s OWNER TO payments_owner', f.name);
		IF f.others IS NOT NULL THEN
			EXECUTE format('REVOKE ALL ON TYPE %s FROM %s CASCADE', f.name, f.others);
		END IF;
	END LOOP;
END
$$;

-- Rules and schedules are an administrator's to add to; the transition table is not.
GRANT INSERT, UPDATE, DELETE ON payments.decline_rule, payments.retry_schedule, payments.amount_limit, payments.posting_rule, payments.account_template,
	payments.currency, payments.psp_currency, payments.job, payments.settlement_format, payments.match_rule, payments.discrepancy_kind,
	payments.reattempt_limit, payments.reattempt_code TO payments_admin;

-- Where somebody writes without a function of ours, a trigger stands in for it.
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT c.oid::regclass AS name
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_depend d
			ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relnamespace = 'payments'::regnamespace
		AND c.relkind = 'r'
		AND pg_catalog.has_table_privilege('payments_admin', c.oid, 'INSERT')
	LOOP
		EXECUTE format('CREATE TRIGGER guard_card_numbers BEFORE INSERT OR UPDATE ON %s
			FOR EACH ROW EXECUTE FUNCTION payments.guard_card_numbers()', t.name);
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_card_numbers', t.name);
	END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION
	payments.create_payment(text, bigint, text, text, text, text, text, text, text, text, text, jsonb, boolean),
	payments.capture_payment(uuid, text, bigint, boolean),
	payments.cancel_payment(uuid, text, text),
	payments.refund_payment(uuid, text, bigint, text),
	payments.receive_webhook(text, jsonb, bytea),
	payments.wait_payment(uuid, interval),
	payments.wait_operation(uuid, interval)
TO payments_app;

GRANT EXECUTE ON FUNCTION
	payments.get_payment(uuid),
	payments.get_operation(uuid),
	payments.payment_history(uuid),
	payments.explain_route(uuid),
	payments.version(),
	payments.installation_tag(),
	payments.format_amount(bigint, text)
TO payments_app, payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION
	payments.verify(text, bigint, bigint, int),
	payments.seal_proof(text, jsonb, bigint)
TO payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION
	payments.seal_horizon(),
	payments.verify_proof(text, text)
TO payments_app, payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION payments.seal_blocks(int, interval) TO payments_admin;

GRANT EXECUTE ON FUNCTION payments.simulate_route(timestamptz, timestamptz, text[], text) TO payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION payments.check() TO payments_operator, payments_admin, payments_auditor;

-- The ledger's verbs let a role act for its merchants only, as the others do.
GRANT EXECUTE ON FUNCTION
	payments.create_account(text, text, text, text, boolean, bigint, bigint, bigint, boolean, int),
	payments.post(bigint, bigint, bigint, text, text, text, timestamptz, boolean, boolean),
	payments.post_batch(bigint[], bigint[], bigint[], text[], text[], text[], timestamptz[], int[], boolean[], boolean, boolean),
	payments.hold(bigint, bigint, bigint, text, timestamptz, text, boolean),
	payments.post_hold(bigint, bigint, boolean, text),
	payments.void_hold(bigint, text),
	payments.reverse_posting(bigint, text, text),
	payments.post_transaction(bigint[], bigint[], bigint[], text, text, text, timestamptz, boolean),
	payments.reverse_transaction(bigint, text, text),
	payments.post_split(bigint[], bigint[], bigint, bigint[], bigint, bigint, text, text, text, timestamptz),
	payments.exchange(bigint, bigint, numeric, bigint, bigint, boolean, numeric, text, text, timestamptz),
	payments.close_account(bigint),
	payments.set_account_hot(bigint, boolean, int)
TO payments_app;

GRANT EXECUTE ON FUNCTION
	payments.balance(bigint),
	payments.balance_at(bigint, timestamptz),
	payments.statement(bigint, timestamptz, timestamptz),
	payments.account_totals(bigint),
	payments.get_transaction(bigint),
	payments.split_amount(bigint, bigint[]),
	payments.fee_amount(bigint, numeric, bigint, bigint, bigint, text)
TO payments_app, payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION
	payments.create_account(text, text, text, text, boolean, bigint, bigint, bigint, boolean, int),
	payments.close_account(bigint),
	payments.set_account_hot(bigint, boolean, int),
	payments.fold_hot_accounts(int),
	payments.release_expired_holds(int)
TO payments_admin;

GRANT EXECUTE ON FUNCTION
	payments.import_settlement(text, text, text, text, jsonb),
	payments.settlement_text(bytea, text),
	payments.reconcile(text, timestamptz, timestamptz, boolean)
TO payments_operator, payments_admin;
GRANT EXECUTE ON FUNCTION payments.resolve_discrepancy(bigint, text, text, text, uuid, text, text) TO payments_operator;
GRANT EXECUTE ON FUNCTION payments.reconciliation_report(bigint) TO payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION
	payments.issue_statement(text, text, timestamptz, timestamptz, text),
	payments.issue_statements(timestamptz, timestamptz),
	payments.set_statement_party(text, text, text[], text, text)
TO payments_operator, payments_admin;
GRANT EXECUTE ON FUNCTION payments._job_issue_statements(timestamptz, timestamptz) TO payments_admin;
GRANT EXECUTE ON FUNCTION
	payments.statement_lines(bigint),
	payments.statement_json(bigint),
	payments.statement_html(bigint),
	payments.verify_statement(bigint)
TO payments_app, payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION payments.redrive(uuid, boolean, text), payments.discard(uuid, text), payments.discard_feed_entry(text, text, text, text),
	payments.decide_operation(uuid, text, text, text),
	payments.resolve_exception(uuid, text) TO payments_operator;
GRANT EXECUTE ON FUNCTION payments.pause_psp(text, text, timestamptz) TO payments_operator, payments_admin;
GRANT EXECUTE ON FUNCTION payments.refetch(text, text, timestamptz), payments.enable_feed(text, text, boolean) TO payments_operator, payments_admin;

GRANT EXECUTE ON FUNCTION
	payments.claim(text, int, interval, text),
	payments.complete(uuid, int, int, jsonb, bytea, text)
TO payments_worker, payments_operator;

GRANT EXECUTE ON FUNCTION
	payments.setup(),
	payments.migrate(),
	payments.make_partitions(interval, timestamptz),
	payments.retire_partitions(text, interval, boolean, boolean),
	payments.create_merchant(text, name, text),
	payments.create_route_rule(text, text[], int[], int, text, text, text, bigint, bigint, text, text, text, text, bigint[], int[], numeric, interval, boolean, boolean, timestamptz, timestamptz),
	payments.drop_route_rule(text),
	payments.order_route_rules(text[]),
	payments.create_adapter(text, regprocedure, regprocedure, regprocedure, regprocedure, text[], jsonb, jsonb, text, interval,
		jsonb, text, text[], interval, jsonb),
	payments.drop_adapter(text),
	payments.test_adapter(text, jsonb),
	payments.create_psp(text, text, text, text, jsonb, boolean),
	payments.accept_psp_account(text, boolean),
	payments.resume_psp(text),
	payments.arm(),
	payments.disarm(),
	payments.start_worker(),
	payments.stop_worker()
TO payments_admin;

-- A job runs with the rights of whoever runs it, in steps; these write them down.
GRANT EXECUTE ON PROCEDURE payments.run_job(text) TO payments_admin;
GRANT EXECUTE ON FUNCTION
	payments.schedule_jobs(text, text, boolean),
	payments.schedule_statements(text, text, boolean),
	payments._job_begin(text),
	payments._job_max_steps(bigint),
	payments._job_title(bigint),
	payments._job_unlock(text),
	payments._job_lock_in_transaction(text),
	payments._job_step(bigint),
	payments._job_record(bigint, jsonb),
	payments._job_end(bigint, text, text),
	payments._job_verify(text, int, boolean),
	payments._job_reconcile(text, int),
	payments._purge_job_run(interval),
	payments._purge_job_run_details(interval),
	payments._require_cron(),
	payments._cron_plan(text, boolean),
	payments._cron_purge(text, interval),
	payments._cron_statement(text, text, text, text, text)
TO payments_admin;

GRANT EXECUTE ON FUNCTION payments.close_period(timestamptz, text), payments._job_close(timestamptz, timestamptz) TO payments_admin;
GRANT EXECUTE ON FUNCTION payments.verify_close(text, int), payments.close_lines(text, int, boolean), payments.close_report(text, int, boolean)
TO payments_app, payments_operator, payments_admin, payments_auditor;

GRANT EXECUTE ON FUNCTION payments.resolve_finding(bigint, text) TO payments_operator;

-- Functions that run with their caller's rights ask this.
GRANT EXECUTE ON FUNCTION payments._refuse_card_numbers("any"), payments._mask_value(text) TO payments_app, payments_operator, payments_admin, payments_auditor;

-- The views call these with their reader's rights.
GRANT EXECUTE ON FUNCTION payments._jobs(), payments._job_lock_held(text, int),
	payments._job_activity(text, int, bigint, bigint, numeric), payments._short_number(numeric), payments._job_rate(bigint, timestamptz, timestamptz), payments._cron_next(text, timestamptz),
	payments._cron_field(text, int, int, text[]), payments._cron_state(), payments._cron_here(), payments._cron_prefix(text),
	payments._cron_jobs(text) TO payments_operator, payments_admin, payments_auditor;
GRANT EXECUTE ON FUNCTION payments._worker_pid(), payments._worker_trouble(), payments._unguarded(), payments._unarmed_reason(), payments._seal_overdue(), payments._sealing_off(), payments._system_identifier(),
	payments._seal_head_line(bigint, bytea, timestamptz), payments._seal_head_check(text, text, text, text) TO payments_app, payments_operator, payments_admin, payments_auditor;
GRANT EXECUTE ON FUNCTION payments._discrepancy_kinds(), payments._payouts(text) TO payments_operator, payments_admin, payments_auditor;
GRANT EXECUTE ON FUNCTION payments._health_of(text) TO payments_operator, payments_admin, payments_auditor;
GRANT EXECUTE ON FUNCTION payments._partition_status() TO payments_operator, payments_admin, payments_auditor;
GRANT EXECUTE ON FUNCTION payments._feed_settings(jsonb) TO payments_operator, payments_admin, payments_auditor;
