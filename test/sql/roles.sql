-- If this fails, somebody may do what is not his to do: an application reads or
-- refunds another merchant's payments, or an operator changes where money goes.

\set VERBOSITY terse
CREATE ROLE regress_app_a IN ROLE payments_app;
CREATE ROLE regress_app_b IN ROLE payments_app;
CREATE ROLE regress_operator IN ROLE payments_operator;
CREATE ROLE regress_admin IN ROLE payments_admin;
CREATE ROLE regress_auditor IN ROLE payments_auditor;
CREATE ROLE regress_both IN ROLE payments_operator, payments_app;
CREATE ROLE regress_nobody;
CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END
$$;

-- Who may call, read and write what is in rights.sql.

-- An application sees of tables the rows of its merchants; these it reads whole.
SELECT t.name FROM payments._tables() t
JOIN pg_class c ON c.relnamespace = 'payments'::regnamespace AND c.relname = t.name
WHERE t.app_reads AND (t.merchant_by IS NULL OR NOT c.relrowsecurity)
ORDER BY 1;
-- Others have nothing at all.
SET ROLE regress_nobody;
SELECT pg_temp.attempt($$SELECT payments.create_payment('k', 1, 'EUR')$$) AS nobody;
RESET ROLE;

-- Two merchants with an application each, and one that is open to both.
SET ROLE regress_admin;
SELECT payments.create_merchant('roles_a', 'regress_app_a'), payments.create_merchant('roles_b', 'regress_app_b');
RESET ROLE;
SET ROLE regress_app_a;
SELECT payment_id AS id FROM payments.create_payment('roles-1', 100, 'EUR', merchant => 'roles_a', order_ref => 'roles', capture => 'manual') \gset a_
SELECT payment_id AS id FROM payments.create_payment('roles-2', 100, 'EUR', order_ref => 'roles') \gset open_
RESET ROLE;
SET ROLE regress_app_b;
SELECT payment_id AS id FROM payments.create_payment('roles-1', 200, 'EUR', merchant => 'roles_b', order_ref => 'roles') \gset b_

-- Another merchant's payment: every verb refuses, before it says anything about it.
SELECT v AS verb, pg_temp.attempt('SELECT payments.' || format(v, :'a_id')) AS outcome
FROM unnest(ARRAY[
	$$create_payment('roles-3', 100, 'EUR', merchant => 'roles_a')$$,
	$$create_payment('roles-1', 100, 'EUR', merchant => 'roles_a', order_ref => 'roles', capture => 'manual')$$,
	'get_payment(%L)',
	'payment_history(%L)',
	$$wait_payment(%L, '0 s')$$,
	$$capture_payment(%L, 'roles-4')$$,
	$$cancel_payment(%L, 'roles-4')$$,
	$$refund_payment(%L, 'roles-4')$$]) v;
-- Its own, and the open one.
SELECT amount FROM payments.get_payment(:'b_id');
SELECT amount FROM payments.get_payment(:'open_id');

-- In the tables each sees what is its own.
SELECT merchant, amount FROM payments.payment WHERE order_ref = 'roles' ORDER BY 1;
SELECT count(*) AS histories FROM payments.payment_status WHERE payment_id IN (:'a_id', :'b_id', :'open_id');
SELECT count(*) AS operations FROM payments.operation WHERE payment_id IN (:'a_id', :'b_id', :'open_id');
RESET ROLE;
SET ROLE regress_app_a;
SELECT merchant, amount FROM payments.payment WHERE order_ref = 'roles' ORDER BY 1;
SELECT count(*) AS histories FROM payments.payment_status WHERE payment_id IN (:'a_id', :'b_id', :'open_id');
-- The status rows of another's payment do not tell that it exists.
SELECT count(*) AS of_another FROM payments.payment_status WHERE payment_id = :'b_id';

-- An application cannot touch a table, nor what is the administrator's or the operator's.
SELECT v AS statement, pg_temp.attempt(v) AS outcome
FROM unnest(ARRAY[
	'INSERT INTO payments.payment DEFAULT VALUES',
	$$UPDATE payments.payment SET status = 'succeeded'$$,
	'DELETE FROM payments.payment',
	'TRUNCATE payments.payment',
	'UPDATE payments.queue SET due_at = now()',
	'INSERT INTO payments.posting DEFAULT VALUES',
	'UPDATE payments.psp SET base_url = NULL',
	$$UPDATE payments.currency SET exponent = 0$$,
	'SELECT FROM payments.attempt',
	'SELECT FROM payments.idempotency_key',
	'SELECT FROM payments.event',
	'SELECT FROM payments.posting_reference',
	'SELECT FROM payments.queue',
	'SELECT FROM payments.psp_event',
	$$SELECT payments.create_psp('roles_psp', 'stripe')$$,
	$$SELECT payments.create_merchant('roles_c')$$,
	$$SELECT payments.resume_psp('sandbox')$$,
	'SELECT payments.arm()',
	'SELECT payments.setup()',
	'SELECT payments.stop_worker()',
	'SELECT payments.redrive(''00000000-0000-7000-8000-000000000000'')',
	$$SELECT payments.discard('00000000-0000-7000-8000-000000000000', 'because')$$,
	$$SELECT payments.claim('w')$$,
	'SELECT payments.complete(''00000000-0000-7000-8000-000000000000'', 1, 200)',
	'SELECT payments.check()',
	$$SELECT payments._status_hash(NULL, NULL, 1, '', '', NULL, '', '', NULL, now())$$]) v;
RESET ROLE;

-- An operator sees all, decides on dead letters and drains; he neither charges nor configures.
SET ROLE regress_operator;
SELECT merchant, amount FROM payments.payment WHERE order_ref = 'roles' ORDER BY 1;
SELECT v AS statement, pg_temp.attempt(format(v, :'a_id')) AS outcome
FROM unnest(ARRAY[
	'SELECT payments.get_payment(%L)',
	'SELECT payments.redrive(''00000000-0000-7000-8000-000000000000'')',
	'SELECT payments.discard(''00000000-0000-7000-8000-000000000000'', ''because'')',
	'SELECT payments.complete(''00000000-0000-7000-8000-000000000000'', 1, 200)',
	$$SELECT payments.create_payment('roles-5', 1, 'EUR')$$,
	$$SELECT payments.refund_payment(%L, 'roles-5')$$,
	$$SELECT payments.cancel_payment(%L, 'roles-5')$$,
	$$SELECT payments.create_psp('roles_psp', 'stripe')$$,
	'SELECT payments.arm()',
	'UPDATE payments.queue SET due_at = now()',
	'UPDATE payments.dead_letter SET decision = ''discarded''']) v;
RESET ROLE;

-- A dead letter is an operator's, whosever payment it is.
UPDATE payments.queue SET due_at = now() WHERE payment_id = :'a_id';
CREATE FUNCTION pg_temp.bury() RETURNS text LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM payments.queue q USING payments.payment p WHERE p.payment_id = q.payment_id AND p.merchant = 'roles_a'
		RETURNING q.operation_id, q.payment_id, q.psp, q.action)
	INSERT INTO payments.dead_letter (dead_letter_id, operation_id, payment_id, psp, action, reason, attempts, created_at)
	SELECT gen_random_uuid(), operation_id, payment_id, psp, action, 'regress', 0, now() FROM gone RETURNING reason
$$;
SELECT pg_temp.bury();
SELECT dead_letter_id AS id FROM payments.dead_letter WHERE payment_id = :'a_id' AND decision IS NULL \gset dead_
SET ROLE regress_operator;
SELECT payments.discard(:'dead_id', 'never sent');
SELECT decision, decided_by, decision_reason FROM payments.dead_letter WHERE dead_letter_id = :'dead_id';
SELECT status FROM payments.get_payment(:'a_id');
RESET ROLE;

-- What PSPs and banks say is not an application's, nor is what is decided about it.
SET ROLE regress_app_a;
SELECT v AS statement, pg_temp.attempt(v) AS outcome
FROM unnest(ARRAY[
	'SELECT FROM payments.settlement_source', 'SELECT FROM payments.settlement_batch', 'SELECT FROM payments.settlement_line', 'SELECT FROM payments.settlement_staging',
	'SELECT FROM payments.bank_statement', 'SELECT FROM payments.bank_entry', 'SELECT FROM payments.settlement_progress',
	'SELECT FROM payments.settlement_posting', 'SELECT FROM payments.bank_match', 'SELECT FROM payments.reconciliation_run',
	'SELECT FROM payments.discrepancy_found', 'SELECT FROM payments.discrepancy_resolution', 'SELECT FROM payments.discrepancy',
	'SELECT FROM payments.discrepancy_ageing', 'SELECT FROM payments.payout_status',
	$$SELECT payments.import_settlement('sandbox', 'csv', E'kind,gross,currency\ncharge,1.00,EUR\n')$$,
	$$SELECT payments.reconcile('sandbox')$$,
	$$SELECT payments._job_reconcile(NULL, 45)$$,
	$$SELECT payments.reconciliation_report(1)$$,
	$$SELECT payments.resolve_discrepancy(1, 'create', 'because')$$,
	$$INSERT INTO payments.match_rule SELECT * FROM payments.match_rule$$,
	$$UPDATE payments.discrepancy_kind SET sla = '1 year'$$]) v;
RESET ROLE;
-- An operator imports, reconciles and decides, whosever the money is.
SET ROLE regress_operator;
SELECT lines FROM payments.import_settlement('sandbox', 'csv', E'kind,entry_id,psp_object_id,gross,fee,currency,payout_ref\ncharge,roles_1,roles_ch_1,5.00,0.10,EUR,roles_po\ncharge,roles_2,roles_ch_2,6.00,0.10,EUR,roles_po\ncharge,roles_3,roles_ch_3,7.00,0.10,EUR,roles_po\npayout,roles_4,roles_tr_4,-17.70,0,EUR,roles_po\n');
SELECT lines, discovered FROM payments.reconcile('sandbox');
SELECT discrepancy_id AS id FROM payments.discrepancy WHERE object_id = 'roles_ch_1' \gset d1_
SELECT discrepancy_id AS id FROM payments.discrepancy WHERE object_id = 'roles_ch_2' \gset d2_
SELECT discrepancy_id AS id FROM payments.discrepancy WHERE object_id = 'roles_ch_3' \gset d3_
SELECT v AS statement, pg_temp.attempt(replace(replace(replace(v, 'd1', :'d1_id'), 'd2', :'d2_id'), 'd3', :'d3_id')) AS outcome
FROM unnest(ARRAY[
	$$SELECT payments.resolve_discrepancy(d1, 'create', 'charged by phone', merchant => 'roles_a')$$,
	$$SELECT payments.resolve_discrepancy(d2, 'refund', 'nobody wants it', merchant => 'roles_a')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'adjust', 'too small', merchant => 'roles_a')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'reopen', 'is it?')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'adjust', 'no such account', merchant => 'roles_a', account => 'none')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'accept', 'it is')$$,
	$$INSERT INTO payments.match_rule SELECT * FROM payments.match_rule$$,
	$$UPDATE payments.discrepancy_kind SET sla = '1 year'$$,
	$$UPDATE payments.discrepancy_found SET ours = 0$$,
	$$DELETE FROM payments.discrepancy_resolution$$,
	$$SELECT payments._settlement_post(1)$$]) v;
SELECT r.action, r.actor, p.merchant, p.status FROM payments.discrepancy_resolution r LEFT JOIN payments.payment p USING (payment_id)
WHERE r.discrepancy_id IN (:d1_id, :d2_id, :d3_id) ORDER BY r.discrepancy_id, r.seq;
RESET ROLE;
-- Deciding is all that he may: who is an operator and an application acts for its own merchants before, and after, however it ended.
SET ROLE regress_both;
BEGIN;
SELECT v AS statement, pg_temp.attempt(replace(v, 'd3', :'d3_id')) AS outcome
FROM unnest(ARRAY[
	$$SELECT payments.create_payment('roles-10', 1, 'EUR', merchant => 'roles_a')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'reopen', 'again')$$,
	$$SELECT payments.create_payment('roles-10', 1, 'EUR', merchant => 'roles_a')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'adjust', 'no such account', merchant => 'roles_a', account => 'none')$$,
	$$SELECT payments.create_payment('roles-10', 1, 'EUR', merchant => 'roles_a')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'accept', 'it is')$$,
	$$SELECT payments._act_for_all(true)$$]) v;
COMMIT;
RESET ROLE;
-- What is his to do he must not do for others: the merchant's application sees its new payment, and no other's.
SET ROLE regress_app_a;
SELECT amount, status FROM payments.payment WHERE description LIKE 'adopted%' ORDER BY 1;
RESET ROLE;
SET ROLE regress_app_b;
SELECT count(*) AS adopted FROM payments.payment WHERE description LIKE 'adopted%';
RESET ROLE;
-- An administrator reconciles and sets the rules; he does not decide.
SET ROLE regress_admin;
SELECT v AS statement, pg_temp.attempt(replace(v, 'd3', :'d3_id')) AS outcome
FROM unnest(ARRAY[
	$$SELECT payments.reconcile('sandbox')$$,
	$$SELECT payments._job_reconcile(NULL, 45)$$,
	$$INSERT INTO payments.match_rule (rule, source, adapter, line_kind, movement_kind, key, priority, date_window, builtin) VALUES ('roles', 'psp', 'roles', 'charge', 'capture', 'entry_id', 5, '1 day', false)$$,
	$$UPDATE payments.match_rule SET tolerance = 1 WHERE rule = 'roles'$$,
	$$DELETE FROM payments.match_rule WHERE rule = 'roles'$$,
	$$INSERT INTO payments.discrepancy_kind SELECT kind, title, suggestion, grace, '1 hour', description, false FROM payments.discrepancy_kind WHERE kind = 'fee'$$,
	$$DELETE FROM payments.discrepancy_kind WHERE NOT builtin$$,
	$$SELECT payments.resolve_discrepancy(d3, 'reopen', 'because')$$,
	$$UPDATE payments.settlement_progress SET applied_to = 0$$]) v;
RESET ROLE;
-- An auditor reads it.
SET ROLE regress_auditor;
SELECT count(*) AS found, count(*) FILTER (WHERE status = 'open') AS open, min(suggestion) AS suggestion FROM payments.discrepancy WHERE psp = 'sandbox' AND object_id LIKE 'roles%';
SELECT paid, missing, status FROM payments.payout_status WHERE payout_ref = 'roles_po';
SELECT count(*) > 10 AS report FROM payments.reconciliation_report((SELECT max(run_id) FROM payments.reconciliation_run WHERE psp = 'sandbox'));
SELECT v AS statement, pg_temp.attempt(replace(v, 'd3', :'d3_id')) AS outcome
FROM unnest(ARRAY[
	$$SELECT payments.import_settlement('sandbox', 'csv', E'kind,gross,currency\ncharge,1.00,EUR\n')$$,
	$$SELECT payments.reconcile('sandbox')$$,
	$$SELECT payments.resolve_discrepancy(d3, 'reopen', 'because')$$,
	$$DELETE FROM payments.match_rule$$,
	$$DELETE FROM payments.discrepancy_kind$$]) v;
RESET ROLE;
-- Every view works, with all of its columns, for each who may read it.
CREATE FUNCTION pg_temp.views() RETURNS TABLE (works bigint, works_not text) LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE a.outcome = 'done') / greatest(count(*), 1), string_agg(a.relname || ': ' || a.outcome, ', ' ORDER BY a.relname) FILTER (WHERE a.outcome <> 'done')
	FROM (SELECT c.relname, pg_temp.attempt(format('SELECT max(x::text) FROM payments.%I x', c.relname)) AS outcome
		  FROM pg_class c WHERE c.relnamespace = 'payments'::regnamespace AND c.relkind = 'v' AND has_table_privilege(c.oid, 'SELECT')) a
$$;
SET ROLE regress_app_a;
SELECT 'app' AS role, * FROM pg_temp.views();
RESET ROLE;
SET ROLE regress_operator;
SELECT 'operator' AS role, * FROM pg_temp.views();
RESET ROLE;
SET ROLE regress_admin;
SELECT 'admin' AS role, * FROM pg_temp.views();
RESET ROLE;
SET ROLE regress_auditor;
SELECT 'auditor' AS role, * FROM pg_temp.views();
RESET ROLE;

-- An administrator configures; he neither charges nor decides.
SET ROLE regress_admin;
SELECT v AS statement, pg_temp.attempt(format(v, :'b_id')) AS outcome
FROM unnest(ARRAY[
	$$SELECT payments.create_psp('roles_psp', 'stripe', secret => 'regress')$$,
	$$SELECT payments.get_payment(%L)$$,
	$$INSERT INTO payments.decline_rule (adapter, code, class, builtin) VALUES ('stripe', 'roles', 'declined', false)$$,
	$$DELETE FROM payments.decline_rule WHERE code = 'roles'$$,
	$$UPDATE payments.transition SET to_status = 'succeeded'$$,
	$$UPDATE payments.psp SET base_url = 'https://127.0.0.1'$$,
	$$SELECT payments.create_payment('roles-6', 1, 'EUR')$$,
	$$SELECT payments.refund_payment(%L, 'roles-6')$$,
	$$SELECT payments.claim('w')$$,
	'SELECT payments.redrive(''00000000-0000-7000-8000-000000000000'')']) v;
RESET ROLE;

-- An auditor reads everything and does nothing.
SELECT count(*) AS claimed FROM payments.claim('roles', max => 1);
SET ROLE regress_auditor;
SELECT merchant, amount FROM payments.payment WHERE order_ref = 'roles' ORDER BY 1;
SELECT count(*) > 0 AS attempts FROM payments.attempt;
SELECT v AS statement, pg_temp.attempt(format(v, :'b_id')) AS outcome
FROM unnest(ARRAY[
	'SELECT payments.get_payment(%L)',
	'SELECT payments.payment_history(%L)',
	'SELECT FROM payments.stuck',
	'SELECT FROM payments.worker_status',
	'SELECT FROM payments.trial_balance',
	'SELECT * FROM payments.check()',
	$$SELECT payments.create_payment('roles-7', 1, 'EUR')$$,
	$$SELECT payments.cancel_payment(%L, 'roles-7')$$,
	'SELECT payments.redrive(''00000000-0000-7000-8000-000000000000'')',
	$$SELECT payments.create_psp('roles_psp', 'stripe')$$]) v;
RESET ROLE;

-- The worker's own login owns nothing, reads nothing, and is no member of the others.
SET ROLE payments_worker;
-- Of a table and what its policy reads, servers name one or the other.
SELECT v AS statement, replace(pg_temp.attempt(v), 'view _my_merchant', 'table payment') AS outcome
FROM unnest(ARRAY[
	'SELECT FROM payments.payment',
	'SELECT FROM payments.psp',
	$$SELECT payments.create_payment('roles-8', 1, 'EUR')$$,
	'SELECT payments.complete(''00000000-0000-7000-8000-000000000000'', 1, 200)']) v;
RESET ROLE;
SELECT m.roleid::regrole, m.member::regrole FROM pg_auth_members m
WHERE m.member::regrole::text LIKE 'payments\_%' OR m.roleid::regrole::text IN ('payments_owner', 'payments_worker');

-- A merchant whose role is gone is nobody's.
CREATE ROLE regress_gone;
SELECT payments.create_merchant('roles_a', 'regress_gone');
DROP ROLE regress_gone;
SET ROLE regress_app_a;
SELECT pg_temp.attempt($$SELECT payments.create_payment('roles-9', 1, 'EUR', merchant => 'roles_a')$$) AS gone,
	pg_temp.attempt(format('SELECT payments.get_payment(%L)', :'a_id')) AS read;
RESET ROLE;

SELECT payments.create_merchant('roles_a', 'payments_app'), payments.create_merchant('roles_b', 'payments_app');
SELECT invariant, violations FROM payments.check() WHERE NOT ok;
DROP ROLE regress_app_a, regress_app_b, regress_operator, regress_admin, regress_auditor, regress_both, regress_nobody;
