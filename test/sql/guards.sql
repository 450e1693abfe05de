-- If this fails, what was written of a payment can be changed afterwards: a
-- mistyped UPDATE, a compromised account or a replication role rewrites money.

\set VERBOSITY terse
SET client_min_messages = warning;
CREATE FUNCTION public.regress_guard(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE statement;
	GET DIAGNOSTICS n = ROW_COUNT;
	-- Whatever went through is undone.
	RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = format('went through, %s rows', n);
EXCEPTION
	WHEN SQLSTATE 'ZZ000' THEN RETURN sqlerrm;
	-- Keys of partitions have the month in their names.
	WHEN OTHERS THEN RETURN sqlstate || ' ' || regexp_replace(sqlerrm, '_\d{4}_\d\d_', '_');
END
$$;

-- A payment with everything: captured, refunded in part, with a fee; and one that ended as a dead letter.
DO $$ BEGIN PERFORM payments.create_route_rule('guards', '{sandbox}', payment_method => '*'); END $$;
SELECT payment_id AS id FROM payments.create_payment('guards-1', 10000, 'EUR', payment_method => 'sandbox_ok', order_ref => 'guards',
	customer => 'cus_1', return_url => 'https://shop.example', description => 'guards', metadata => '{"a": 1}') \gset
SELECT count(payments.complete(operation_id, attempt, 200)) > 0 AS sent FROM payments.claim('regress', 5000);
SELECT status FROM payments.refund_payment(:'id', 'guards-1-refund', 4000, 'scratched');
SELECT count(payments.complete(operation_id, attempt, 200)) AS sent FROM payments.claim('regress', 5000);
SELECT status, captured, refunded FROM payments.get_payment(:'id');

-- There is something in each of them to be changed.
CREATE TABLE public.regress_tables (name text, kind text);
INSERT INTO public.regress_tables SELECT n, 'append-only'
FROM unnest(ARRAY['payment_status', 'attempt', 'attempt_answer', 'movement', 'idempotency_key', 'event', 'posting']) n;
INSERT INTO public.regress_tables SELECT n, 'facts' FROM unnest(ARRAY['payment', 'operation', 'merchant', 'account']) n;
GRANT SELECT ON public.regress_tables TO payments_owner;
SELECT name FROM public.regress_tables WHERE regress_guard(format('SELECT FROM payments.%I', name)) = 'went through, 0 rows';

CREATE VIEW public.regress_changes AS
SELECT kind, name, command, public.regress_guard(format(text, name)) AS outcome
FROM public.regress_tables,
	(VALUES (1, 'UPDATE', 'UPDATE payments.%I SET created_at = created_at'), (2, 'DELETE', 'DELETE FROM payments.%I'),
		(3, 'TRUNCATE', 'TRUNCATE payments.%I CASCADE')) c (n, command, text)
WHERE command <> 'UPDATE'
UNION ALL
SELECT kind, name, 'UPDATE', public.regress_guard(format('UPDATE payments.%1$I SET %2$I = %2$I', name, (SELECT attname FROM pg_attribute
	WHERE attrelid = ('payments.' || name)::regclass AND attnum > 0 AND attgenerated = '' AND attidentity = '' ORDER BY attnum LIMIT 1)))
FROM public.regress_tables WHERE kind = 'append-only';
GRANT SELECT ON public.regress_changes TO payments_owner;

-- As superuser.
SELECT name, command, outcome FROM public.regress_changes ORDER BY kind, name, command;
-- The others must give the same: as the owner of the tables, and as what a replica applies.
CREATE TEMP TABLE by_superuser AS SELECT name, command, outcome FROM public.regress_changes;
GRANT SELECT ON by_superuser TO payments_owner;
SET ROLE payments_owner;
SELECT * FROM (SELECT name, command, outcome FROM public.regress_changes EXCEPT SELECT * FROM by_superuser) d ORDER BY 1, 2;
RESET ROLE;
SET session_replication_role = replica;
SELECT * FROM (SELECT name, command, outcome FROM public.regress_changes EXCEPT SELECT * FROM by_superuser) d ORDER BY 1, 2;
SET ROLE payments_owner;
SELECT * FROM (SELECT name, command, outcome FROM public.regress_changes EXCEPT SELECT * FROM by_superuser) d ORDER BY 1, 2;
RESET ROLE;
RESET session_replication_role;

-- The remaining ones cannot be emptied either.
SELECT n AS name, regress_guard(format('TRUNCATE payments.%I CASCADE', n)) AS outcome
FROM unnest(ARRAY['queue', 'dead_letter', 'psp_event', 'exception', 'account_delta', 'account_history', 'account_part', 'ledger_hold', 'ledger_hold_resolution',
	'ledger_hold_due']) n ORDER BY 1;

-- Nor those whose rows have a guard of their own, or are shipped: what is asked of each row is not asked of all at once.
SET ROLE payments_owner;
SELECT n AS name, regress_guard(format('TRUNCATE payments.%I CASCADE', n)) AS outcome
FROM unnest(ARRAY['psp', 'installation', 'installation_salt', 'statement_counter', 'currency', 'posting_rule', 'decline_rule', 'transition']) n ORDER BY 1;
-- What check() compares with, and where is armed, is written by functions of payments alone.
SELECT a.attname AS column, regress_guard(format('UPDATE payments.installation SET %I = %s', a.attname,
	CASE a.attname WHEN 'worker_enabled' THEN 'NOT worker_enabled' WHEN 'first_armed_at' THEN 'now()' ELSE quote_nullable(CASE WHEN a.atttypid = 'text'::regtype THEN 'x' END) END)) AS outcome
FROM pg_attribute a WHERE a.attrelid = 'payments.installation'::regclass AND a.attname IN ('script', 'made', 'set_up_at', 'armed_by', 'armed_token', 'first_armed_at', 'worker_enabled') ORDER BY 1;
SELECT regress_guard('DELETE FROM payments.installation') AS deleted, regress_guard('UPDATE payments.transition SET to_status = from_status') AS transition;
RESET ROLE;
BEGIN;
UPDATE payments.installation SET script = 'x';
SELECT invariant, violations, sample FROM payments.check() WHERE NOT ok;
SET LOCAL client_min_messages = error;
SELECT payments.setup();
SELECT invariant, violations FROM payments.check() WHERE NOT ok;
ROLLBACK;

-- Of a payment and of an operation only what follows from later facts may change.
SELECT a.attname AS column, regress_guard(format('UPDATE payments.payment SET %I = NULL WHERE payment_id = %L', a.attname, :'id')) AS set_null
FROM pg_attribute a WHERE a.attrelid = 'payments.payment'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
SELECT a.attname AS column, regress_guard(format('UPDATE payments.operation SET %I = NULL WHERE payment_id = %L AND kind = %L', a.attname, :'id', 'refund')) AS set_null
FROM pg_attribute a WHERE a.attrelid = 'payments.operation'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- And within bounds that hold at every moment.
SELECT what, regress_guard(format('UPDATE payments.payment SET %s WHERE payment_id = %L', change, :'id')) AS outcome
FROM (VALUES
	(1, 'captured above authorized', 'captured = 10001'),
	(2, 'captured below refunded', 'captured = 3999'),
	(3, 'refunded above captured', 'refunded = 10001'),
	(4, 'pending and refunded above captured', 'refund_pending = 6001'),
	(5, 'disputed and refunded above captured', 'disputed = 6001'),
	(6, 'authorized above amount', 'authorized = 10001'),
	(7, 'negative', 'refund_pending = -1'),
	(8, 'largest', 'refund_pending = 9223372036854775807'),
	(9, 'unknown status', 'status = ''paid''')
) t (n, what, change) ORDER BY n;

-- History: a row that does not continue it is refused, whoever writes it.
CREATE FUNCTION pg_temp.append(p_seq int, p_status text, p_event text, p_broken boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p payments.payment;
	h bytea;
	moment timestamptz := now();
BEGIN
	SELECT * INTO STRICT p FROM payments.payment WHERE order_ref = 'guards';
	SELECT s.hash INTO h FROM payments.payment_status s WHERE s.payment_id = p.payment_id AND s.seq = p_seq - 1;
	h := payments._status_hash(h, p.payment_id, p_seq, p_status, p_event, NULL, 'person', 'mallory', NULL, moment);
	IF p_broken THEN
		h := set_byte(h, 31, (get_byte(h, 31) + 1) % 256);
	END IF;
	RETURN regress_guard(format('INSERT INTO payments.payment_status (payment_id, seq, status, event, source, actor, recorded_at, hash)
		VALUES (%L, %s, %L, %L, ''person'', ''mallory'', %L, %L)', p.payment_id, p_seq, p_status, p_event, moment, h));
END
$$;
SELECT seq, status, event FROM payments.payment_history(:'id');
SELECT what, pg_temp.append(seq, status, event, broken) AS outcome
FROM (VALUES
	(1, 'a gap', 6, 'refunded', 'refund_full', false),
	(2, 'a second one', 4, 'partially_refunded', 'refund_part', false),
	(3, 'back to the beginning', 5, 'initiated', 'create', false),
	(4, 'no such edge', 5, 'succeeded', 'capture', false),
	(5, 'the edge leads elsewhere', 5, 'disputed', 'refund_full', false),
	(6, 'no such event', 5, 'refunded', 'magic', false),
	(7, 'hash broken', 5, 'refunded', 'refund_full', true),
	(8, 'seq 0', 0, 'initiated', 'create', false)
) t (n, what, seq, status, event, broken) ORDER BY n;
SET session_replication_role = replica;
SELECT pg_temp.append(5, 'initiated', 'create', false) AS in_replica_role;
RESET session_replication_role;

-- A superuser who computes the hash as we do is let through, but check() tells: the payment did not change with it.
BEGIN;
INSERT INTO payments.payment_status (payment_id, seq, status, event, source, actor, recorded_at, hash)
SELECT s.payment_id, 5, 'refunded', 'refund_full', 'person', 'mallory', '2026-01-01 00:00:00+00',
	payments._status_hash(s.hash, s.payment_id, 5, 'refunded', 'refund_full', NULL, 'person', 'mallory', NULL, '2026-01-01 00:00:00+00')
FROM payments.payment_status s WHERE s.payment_id = :'id' AND s.seq = 4;
SELECT invariant, violations FROM payments.check() WHERE NOT ok ORDER BY 1;
ROLLBACK;

-- Nor can the extension be dropped from under the money.
-- (The refusals of schema and owner are our own when the library is preloaded.)
SELECT regress_guard('DROP EXTENSION payments') AS drop_extension, left(regress_guard('DROP SCHEMA payments'), 5) IN ('2BP01', 'PY012') AS schema_stays,
	left(regress_guard('DROP OWNED BY payments_owner'), 5) IN ('2BP01', 'PY012') AS owned_stays;

SELECT invariant, violations FROM payments.check() WHERE NOT ok;
DROP VIEW public.regress_changes;
DROP TABLE public.regress_tables;
DROP FUNCTION public.regress_guard(text);
