-- If this fails, a call that cannot be right, a row that somebody has written by
-- hand or a trigger that swallows rows is not refused where money is decided:
-- the books are wrong, and nobody is told.

\ir ../lib/prelude.sql
SELECT no_plan();
SELECT current_setting('shared_preload_libraries') NOT LIKE '%payments%' AS unguarded \gset

SELECT payments.create_account('till', 'EUR', 'asset') AS till, payments.create_account('sales', 'EUR', 'income') AS sales,
	payments.create_account('shop', 'EUR', 'liability', hot => true, parts => 3, min_balance => 0) AS shop \gset

-- ---------- what one posting of a batch may say
CREATE FUNCTION pg_temp.errors(debit bigint, credit bigint, amount bigint, reference text DEFAULT NULL, description text DEFAULT NULL, kind text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce(error, 'posted'), ' ') FROM payments.post_batch(ARRAY[debit, debit], ARRAY[credit, credit], ARRAY[amount, 1], ARRAY[reference, NULL], ARRAY[description, NULL], ARRAY[kind, NULL])
$$;
SELECT is(pg_temp.errors(:till, :sales, 1, reference => ''), '22023 posted', 'an empty reference');
SELECT is(pg_temp.errors(:till, :sales, 1, reference => repeat('x', 300)), '22023 posted', 'a reference that is too long');
SELECT is(pg_temp.errors(:till, :sales, 1, description => repeat('x', 100000)), '22023 posted', 'a description that is too long');
SELECT is(pg_temp.errors(:till, :sales, 1, kind => ''), '22023 posted', 'an empty kind');
SELECT is(pg_temp.errors(:till, :sales, 1, kind => repeat('x', 300)), '22023 posted', 'a kind that is too long');
SELECT is(pg_temp.errors(:till, :shop, 0), '22023 posted', 'no amount, at an account of parts');
SELECT is(pg_temp.errors(:till, :shop, 9223372036854775807), 'PY205 posted', 'the largest amount and one more, at an account of parts');
SELECT throws_ok(format('SELECT payments.post_batch(ARRAY[%1$s, %1$s], ARRAY[%2$s, %2$s], ARRAY[9223372036854775807, 9223372036854775807], all_or_nothing => true)', :till, :shop), 'PY205', NULL,
	'two that would overflow what a part needs');
SELECT throws_ok(format('SELECT payments.post_batch(ARRAY[%1$s, %1$s], ARRAY[%2$s, %2$s], ARRAY[9223372036854775807, 9223372036854775807], all_or_nothing => true)', :shop, :till), 'PY205', NULL,
	'and the other way round');

-- ---------- movements of payments
SELECT throws_ok($$SELECT payments._post_movements(ARRAY[0], ARRAY['capture'], ARRAY['m'], 'default', 'sandbox', 'EUR', NULL)$$, '22023', 'amount must not be zero', 'a movement of nothing');
SELECT throws_ok($$SELECT payments._post_movements(ARRAY[-9223372036854775808], ARRAY['capture'], ARRAY['m'], 'default', 'sandbox', 'EUR', NULL)$$, '22023', NULL, 'nor of what has no other side');
SELECT throws_ok($$SELECT payments._post_movements(ARRAY[1], ARRAY[NULL], ARRAY['m'], 'default', 'sandbox', 'EUR', NULL)$$, '22023', 'events must not contain nulls', 'a movement without a kind');
SELECT lives_ok($$SELECT payments._post_movements('{}', '{}', '{}', 'default', 'sandbox', 'EUR', NULL)$$, 'no movement posts nothing');

-- ---------- accounts that somebody writes by hand
CREATE FUNCTION pg_temp.insert(more jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO payments.account OVERRIDING SYSTEM VALUE
	SELECT * FROM jsonb_populate_record(NULL::payments.account, '{"account_id": 999, "merchant": "default", "code": "by_hand", "currency": "EUR", "type": "liability", "hot": false,
		"debits": 0, "credits": 0, "held_debits": 0, "held_credits": 0, "history": false, "created_at": "2026-01-01T00:00:00Z"}' || more)
$$;
SELECT throws_ok($$SELECT pg_temp.insert('{"debits": null}')$$, '23502', NULL, 'an account without a sum');
SELECT throws_ok(format('SELECT pg_temp.insert(%L)', v.more), '23514', format('column "%s" of an account would not hold', v.name), format('an account like %s', v.more))
FROM (VALUES ('{"debits": -1}', 'debits'), ('{"held_credits": -1}', 'held_credits'), ('{"debits": 5, "min_balance": 0}', 'min_balance'), ('{"credits": 5, "max_balance": 4}', 'max_balance'),
	('{"credits": 5, "held_debits": 6, "min_balance": 0}', 'min_balance'), ('{"credits": 3, "held_credits": 2, "max_balance": 4}', 'max_balance'),
	('{"debits": 9223372036854775807, "held_debits": 9223372036854775807, "min_balance": -9223372036854775807}', 'min_balance'),
	('{"hot": true, "min_balance": 0}', 'hot')) v (more, name);

-- ---------- the trigger that guards statuses, at another table
CREATE TEMP TABLE bare (payment_id uuid, seq int, status text, event text, operation_id uuid, source text, actor text, code text, recorded_at timestamptz, hash bytea);
CREATE TRIGGER guard AFTER INSERT OR UPDATE ON bare FOR EACH ROW EXECUTE FUNCTION payments.guard_status();
SELECT throws_ok($$INSERT INTO bare (seq, status, event, recorded_at) VALUES (1, 'initiated', 'create', now())$$, '23502', NULL, 'a status without a hash');
SELECT throws_ok($$INSERT INTO bare (seq, event, recorded_at, hash) VALUES (1, 'create', now(), decode('00', 'hex'))$$, '23502', NULL, 'no status');
ALTER TABLE bare DISABLE TRIGGER guard;
INSERT INTO bare VALUES (NULL);
ALTER TABLE bare ENABLE TRIGGER guard;
SELECT throws_ok('UPDATE bare SET seq = 2', '39P01', NULL, 'it is one for INSERT');
ALTER TABLE bare DROP COLUMN code;
SELECT throws_ok($$INSERT INTO bare (seq, status, event, recorded_at, hash) VALUES (1, 'initiated', 'create', now(), decode('00', 'hex'))$$, '39P01', NULL, 'and for tables that have its columns');

-- ---------- a trigger that swallows rows
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION pg_temp.swallowed(event text, name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER zz BEFORE %s ON payments.%I FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow()', event, name);
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SELECT CASE WHEN :'unguarded' THEN 'PY901' ELSE 'PY012' END AS refused \gset
SELECT is(pg_temp.swallowed('UPDATE', 'account_part', format('SELECT payments.post(%s, %s, 5)', :till, :shop)), :'refused', 'no posting is made without its row in account_part');
SELECT is(pg_temp.swallowed('INSERT', 'posting', format('SELECT payments.post(%s, %s, 5)', :till, :sales)), :'refused', 'nor a posting without its row');
SELECT is(pg_temp.swallowed('INSERT', 'posting', format($$SELECT payments.post_batch(ARRAY[%1$s, %1$s], ARRAY[%2$s, %2$s], ARRAY[5, 6], ARRAY['swallowed', NULL])$$, :till, :sales)), :'refused', 'nor several that differ');
SELECT is(pg_temp.swallowed('INSERT', 'posting_reference', format($$SELECT payments.post(%s, %s, 5, 'swallowed-2')$$, :till, :sales)), v.code, 'nor without its reference')
FROM (SELECT CASE WHEN :'unguarded' THEN 'XX000' ELSE 'PY012' END) v (code);
SELECT payment_id AS id FROM payments.create_payment('swallowed', 1000, 'EUR', payment_method => 'sandbox_ok') \gset
SELECT is(pg_temp.swallowed('INSERT', 'payment_status', format($$SELECT payments.cancel_payment(%L, 'swallowed-1')$$, :'id')), :'refused', 'no payment changes without its status row');

-- ---------- PSPs
SELECT throws_ok(format('SELECT payments.create_psp(%L, %L)', n, 'sandbox'), '22023', NULL, format('a PSP called %L', n)) FROM unnest(ARRAY['', 'Shop', 'a-b', '1st', repeat('a', 64)]) n;
SELECT throws_ok(format('UPDATE payments.psp SET config = %s', c.value), c.code, NULL, format('a config that is %s', c.value)) FROM (VALUES ($$'[1]'$$, '23514'), ('NULL', '23502')) c (value, code);

-- ---------- the proofs' arguments
SELECT payments.post(:till, :sales, 100) AS first, payments.post(:till, :sales, 200) AS second \gset
SELECT payments.seal_blocks() > 0 AS sealed \gset
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}', %s)$$, :second, h), '22023', NULL, format('no proof against head %s', h))
FROM (VALUES (0), (10000000)) v (h);
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}', 2)$$, :second), NULL, NULL, 'nor against one that is not there yet');
SELECT is(payments._seal_hash(p.previous, 1, '0', '1', now(), p.names, p.rows, p.roots), NULL, format('what cannot be a block has no hash: %s', p.why))
FROM (VALUES (decode('00', 'hex'), '{}'::text[], '{}'::bigint[], '{}'::bytea[], 'a hash that is none'), (decode(repeat('00', 32), 'hex'), '{a}', '{}', '{}', 'a table without rows'),
	(decode(repeat('00', 32), 'hex'), '{a}', '{1}', ARRAY[decode('00', 'hex')], 'a root that is none')) p (previous, names, rows, roots, why);

SELECT throws_ok($$SELECT * FROM payments._verify_rows('nonsense', 1, 1, 1)$$, '22023', NULL, 'nor are rows of what is not sealed compared');

-- ---------- what somebody changes where no guard stops him
\if :unguarded
ALTER TABLE payments.posting DISABLE TRIGGER guard_append_only;
UPDATE payments.posting SET amount = 201 WHERE posting_id = :second;
ALTER TABLE payments.posting ENABLE ALWAYS TRIGGER guard_append_only;
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :second), 'PY704', NULL, 'what was changed cannot be proved');
BEGIN;
ALTER TABLE payments.seal_table DISABLE TRIGGER ALL;
ALTER TABLE payments.seal_table DROP CONSTRAINT seal_table_root_length;
UPDATE payments.seal_table SET root = decode('00', 'hex') WHERE name ~ '^posting/';
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :first), 'PY704', NULL, 'nor what a root is missing for');
ROLLBACK;
BEGIN;
ALTER TABLE payments.seal DISABLE TRIGGER ALL;
DO $$ DECLARE c text; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'payments.seal'::regclass AND contype = 'c' LOOP EXECUTE format('ALTER TABLE payments.seal DROP CONSTRAINT %I', c); END LOOP; END $$;
UPDATE payments.seal SET previous = decode('00', 'hex');
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :first), 'PY704', 'a stored hash is not 32 bytes long', 'nor where the chain is broken');
ROLLBACK;
BEGIN;
ALTER TABLE payments.posting ALTER xid DROP NOT NULL;
ALTER TABLE payments.posting DISABLE TRIGGER guard_append_only;
UPDATE payments.posting SET xid = NULL WHERE posting_id = :first;
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :first), 'PY704', NULL, 'nor what has lost its transaction');
ROLLBACK;
BEGIN;
ALTER TABLE payments.posting DROP COLUMN xid;
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :first), 'PY701', NULL, 'nor anything of a table that has none');
ROLLBACK;
ALTER TABLE payments.seal_leaf DISABLE TRIGGER guard_append_only;
UPDATE payments.seal_leaf SET leaves = set_byte(leaves, length(leaves) - 1, get_byte(leaves, length(leaves) - 1) # 1) WHERE name ~ '^posting/';
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :first), 'PY704', NULL, 'nor its neighbour, when the leaves do not lead to the root');
UPDATE payments.seal_leaf SET leaves = substr(leaves, 1, 31) WHERE name ~ '^posting/';
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :first), 'PY704', NULL, 'nor when leaves are missing');
SELECT is((SELECT count(*)::int FROM (SELECT payments.seal_blocks()) s), 1, 'sealing goes on');
BEGIN;
ALTER TABLE payments.posting DROP CONSTRAINT posting_pkey;
SELECT is(payments.seal_blocks(), 0, 'nothing is sealed while a table has no key');
ROLLBACK;

-- Rows of a payment.
ALTER TABLE payments.payment DISABLE TRIGGER ALL;
BEGIN;
UPDATE payments.payment SET status_hash = decode('00', 'hex') WHERE payment_id = :'id';
SELECT throws_ok(format($$SELECT payments.cancel_payment(%L, 'x')$$, :'id'), 'PY004', NULL, 'a payment whose chain was cut');
ROLLBACK;
BEGIN;
DO $$ DECLARE c text; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'payments.payment'::regclass AND contype = 'c' LOOP EXECUTE format('ALTER TABLE payments.payment DROP CONSTRAINT %I', c); END LOOP; END $$;
UPDATE payments.payment SET status = 'of_a_newer_version' WHERE payment_id = :'id';
SELECT throws_ok(format($$SELECT payments.cancel_payment(%L, 'x')$$, :'id'), 'PY901', NULL, 'a payment with a status that this library does not know');
ROLLBACK;
BEGIN;
ALTER TABLE payments.account_part DISABLE TRIGGER ALL;
DELETE FROM payments.account_part WHERE account_id = :shop AND part = 1;
SELECT throws_ok(format('SELECT payments.post(%s, %s, 5)', :till, :shop), 'PY901', NULL, 'an account that has lost a part');
ROLLBACK;
SELECT isnt((SELECT string_agg(kind, ' ') FROM payments.verify()), 'ok', 'and verify() finds what was changed');
\endif

-- ---------- nor does a movement go missing
SELECT payments.create_psp('tap', 'stripe', secret => 'tap'), payments.arm() \g /dev/null
SELECT payment_id AS id FROM payments.create_payment('swallowed-movement', 1000, 'EUR', psp => 'tap', payment_method => 'pm_card_visa') \gset
SELECT operation_id AS op, payments.complete(operation_id, attempt, 500) AS lost FROM payments.claim('raises', psp => 'tap') \gset
SELECT is(pg_temp.swallowed('INSERT', 'movement', format($$SELECT payments.decide_operation(%L, 'succeeded', 'on the dashboard', 'pi_1')$$, :'op')), :'refused', 'no money moves without its row');

SELECT * FROM finish();
