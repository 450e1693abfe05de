-- If this fails, a restore that brings the steps of a payment in another order
-- than they were made is refused, or a false step gets into a history because
-- the order does not matter.

\ir ../lib/prelude.sql
SELECT no_plan();

-- Steps 2 and 3 of a payment as they would be: claimed, then captured.
CREATE FUNCTION pg_temp.steps(_key text) RETURNS SETOF payments.payment_status LANGUAGE plpgsql AS $$
DECLARE
	p payments.payment_status;
BEGIN
	SELECT s.* INTO p FROM payments.payment_status s JOIN payments.idempotency_key k USING (payment_id) WHERE k.key = _key AND s.seq = 1;
	FOR i IN 2 .. 3 LOOP
		p.seq := i;
		p.status := (ARRAY['processing', 'succeeded'])[i - 1];
		p.event := (ARRAY['claim', 'capture'])[i - 1];
		p.hash := payments._status_hash(p.hash, p.payment_id, p.seq, p.status, p.event, p.operation_id, p.source, p.actor, p.code, p.recorded_at);
		RETURN NEXT p;
	END LOOP;
END
$$;
CREATE FUNCTION pg_temp.seqs(_key text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(s.seq::text, ' ' ORDER BY s.seq) FROM payments.payment_status s JOIN payments.idempotency_key k USING (payment_id) WHERE k.key = _key
$$;
SELECT count(payments.create_payment('order-' || n, 100, 'EUR', payment_method => 'sandbox_ok')) FROM generate_series(1, 9) n;

-- One statement, as COPY is.
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-1') ORDER BY seq DESC;
SELECT is(pg_temp.seqs('order-1'), '1 2 3', 'a statement may bring the later step first');
SELECT throws_ok($$INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-2') WHERE seq = 3$$, 'PY004', NULL, 'but not without the one before');
SELECT throws_ok($$INSERT INTO payments.payment_status SELECT (jsonb_populate_record(s, '{"actor": "mallory"}')).* FROM pg_temp.steps('order-2') s WHERE seq = 2$$, 'PY004', NULL, 'nor with another content than its hash says');
SELECT throws_ok($$INSERT INTO payments.payment_status SELECT (jsonb_populate_record(s, '{"event": "doubt"}')).* FROM pg_temp.steps('order-2') s$$, 'PY002', NULL, 'nor by an edge that does not exist');
SELECT throws_ok(format($$INSERT INTO %s SELECT * FROM pg_temp.steps('order-2') WHERE seq = 3$$, (SELECT s.tableoid::regclass FROM payments.payment_status s LIMIT 1)), 'PY004', NULL, 'nor into the partition itself');
SET session_replication_role = replica;
SELECT throws_ok($$INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-2') WHERE seq = 3$$, 'PY004', NULL, 'nor as a replica');
RESET session_replication_role;

-- One transaction, as a dump of single INSERTs is.
BEGIN;
SELECT throws_ok($$INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-3') WHERE seq = 3$$, 'PY004', NULL, 'a further statement is not waited for');
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-3') WHERE seq = 3;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-3') WHERE seq = 2;
COMMIT;
SELECT is(pg_temp.seqs('order-3'), '1 2 3', 'unless it is asked for');

-- Whatever is asked for, at the commit it must be right.
\set ON_ERROR_STOP 0
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-4') WHERE seq = 3;
COMMIT;
\set said :SQLSTATE
SELECT is(:'said'::text, 'PY004', 'a gap does not get past the commit');
BEGIN;
SET session_replication_role = replica;
SET CONSTRAINTS payments.guard_status DEFERRED;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-4') WHERE seq = 3;
SET CONSTRAINTS ALL IMMEDIATE;
\set said :SQLSTATE
ROLLBACK;
SELECT is(:'said'::text, 'PY004', 'nor past the end of the delay');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-4') WHERE seq = 3;
ALTER TABLE payments.payment_status DISABLE TRIGGER guard_status;
\set altered :SQLSTATE
COMMIT;
\set said :SQLSTATE
-- Preloaded, the library refuses the first; else the guard still has its say at the end.
SELECT ok(:'altered' <> '00000' OR :'said' = 'PY004', 'nor is it of use to take the guard away meanwhile');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SAVEPOINT s;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-4') WHERE seq = 2;
ROLLBACK TO s;
INSERT INTO payments.payment_status SELECT * FROM pg_temp.steps('order-4') WHERE seq = 3;
COMMIT;
\set said :SQLSTATE
SELECT is(:'said'::text, 'PY004', 'nor is one there that was rolled back');
\set ON_ERROR_STOP 1
SELECT is(pg_temp.seqs('order-4'), '1', 'nothing of all that is there');

-- What else looks at other rows would want an order of tables or rows that no restore keeps.
SELECT is_empty($$SELECT conname FROM pg_constraint WHERE connamespace = 'payments'::regnamespace AND contype = 'f'$$, 'no table waits for another: there are no foreign keys');
SELECT is(string_agg(DISTINCT p.proname, ' ' ORDER BY p.proname), 'forget_epoch forget_routes forget_salt guard_account guard_card_numbers guard_facts guard_format_name guard_job_writer guard_retired guard_shipped guard_status mask_staged', 'what fires when rows come: guard_status() alone looks at another row')
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = 'payments'::regnamespace AND t.tgtype & 4 = 4 AND NOT t.tgisinternal;
SELECT finish();
