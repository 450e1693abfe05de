-- If this fails, seals are cut wrongly, honest rows look tampered with, changed
-- ones do not, or a proof proves what was never written.  Everything in one
-- session and one transaction is below; t/sealing.pl does the rest.

\ir ../lib/prelude.sql
SELECT no_plan();

SELECT is((SELECT count(*)::int FROM payments.seal_epoch), 0, 'setup() leaves no epoch behind: a restore brings its own');
SELECT is(payments.seal_blocks(), 0, 'without rows no block');
SELECT results_eq('SELECT kind, detail FROM payments.verify()', $$VALUES ('ok', 'blocks 1 to 0, 0 rows, 0 heads; 0 rows wait to be sealed')$$, 'and nothing to verify');

-- What is sealed.
CREATE FUNCTION pg_temp.projection() RETURNS TABLE (tbl text, col text) LANGUAGE sql AS $$ VALUES ('payments.merchant', 'app_role') $$;
CREATE FUNCTION pg_temp.sealed() RETURNS SETOF text LANGUAGE sql AS $$ SELECT t.name FROM payments._tables() t WHERE t.seal_key IS NOT NULL $$;
SELECT is_empty($$
	SELECT t.name FROM payments._tables() t WHERE t.rows = 'facts' AND t.seal_key IS NULL OR t.name = 'account' AND t.seal_key IS NULL$$,
	'so are the facts of every other');
SELECT is_empty($$
	SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE t.tgname = 'guard_append_only' AND t.tgtype & 8 = 8 AND t.tgparentid = 0 AND c.relnamespace = 'payments'::regnamespace
	AND c.relname NOT IN (SELECT pg_temp.sealed() UNION ALL VALUES ('account_history'), ('seal'), ('seal_table'), ('seal_leaf'), ('seal_epoch'))$$,
	'every append-only table is sealed, but account_history, which follows from postings, and the seals');
SELECT is((SELECT array_agg(t.name) FROM payments._tables() t), (SELECT array_agg(t.name ORDER BY t.name COLLATE "C") FROM payments._tables() t), 'in the order of their names');
SELECT is_empty($$
	SELECT t FROM pg_temp.sealed() t
	LEFT JOIN pg_attribute a ON a.attrelid = to_regclass('payments.' || t) AND a.attname = 'xid' AND a.attnotnull AND a.atttypid = 'xid8'::regtype
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND pg_get_expr(d.adbin, d.adrelid) = 'payments._seal_xid()'
	LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indkey::text = a.attnum::text
	WHERE d.oid IS NULL OR i.indexrelid IS NULL$$, 'each has a transaction number that fills itself, and an index over it');
SELECT is_empty($$
	SELECT a.attrelid::regclass, a.attname FROM pg_attribute a
	WHERE a.attrelid = ANY (SELECT to_regclass('payments.' || t) FROM pg_temp.sealed() t) AND a.attnum > 0 AND NOT a.attisdropped
	AND NOT EXISTS (SELECT FROM pg_temp.projection() p WHERE p.tbl = a.attrelid::regclass::text AND p.col = a.attname)
	AND a.atttypid::regtype::text NOT IN ('smallint', 'integer', 'bigint', 'boolean', 'text', 'bytea', 'uuid', 'timestamp with time zone', 'xid8', 'jsonb', 'date', 'numeric', 'oid')$$,
	'and columns of types whose bytes depend on nothing else');

SELECT payments.create_account('till', 'EUR', 'asset') AS till, payments.create_account('sales', 'EUR', 'income') AS sales \gset
SELECT payments.post(:till, :sales, 100) AS first \gset
SELECT payments.post(:till, :sales, 200, description => E'\u00fc "quoted" \\ \n') AS second \gset
SELECT payment_id FROM payments.create_payment('seal', 1050, 'EUR', metadata => '{"b": 1.50, "a": null}', payment_method => 'sandbox_ok') \gset

SELECT is(xid, (SELECT s.epoch FROM payments.seal_epoch s)::text::xid8, 'never') FROM payments.posting WHERE false;
SELECT is((SELECT count(*)::int FROM payments.seal_epoch), 1, 'the first transaction that writes notes where we are');
SELECT is((SELECT (epoch, system, timeline, database, since::text)::text FROM payments.seal_epoch),
	(SELECT (0, payments._system_identifier(), c.timeline_id, d.oid, p.xid::text)::text FROM pg_control_checkpoint() c, pg_database d, payments.account p
	 WHERE d.datname = current_database() AND p.account_id = :till), 'cluster, timeline, database, transaction');
SELECT is(count(DISTINCT x.xid)::int, 1, 'one payment, one transaction') FROM (
	SELECT xid::text FROM payments.payment_status WHERE payment_id = :'payment_id'
	UNION ALL SELECT xid::text FROM payments.event WHERE aggregateid = :'payment_id'
	UNION ALL SELECT xid::text FROM payments.idempotency_key WHERE payment_id = :'payment_id') x;

-- A transaction does not seal itself, nor what savepoints of it took back.
BEGIN;
SELECT payments.post(:till, :sales, 300) AS third \gset
SAVEPOINT s;
SELECT payments.post(:till, :sales, 400);
ROLLBACK TO s;
SELECT is(payments.seal_blocks(), 1, 'sealing, in a transaction that has written');
SELECT is((SELECT sum(rows)::int FROM payments.seal_table WHERE name ~ '^posting/'), 2, 'takes what others have committed');
SELECT is(payments.seal_blocks(), 0, 'once');
COMMIT;
SELECT is(payments.seal_blocks(), 1, 'and the rest afterwards');
SELECT is((SELECT sum(rows)::int FROM payments.seal_table WHERE name ~ '^posting/'), 3, 'without what was rolled back');
SELECT is(payments.seal_blocks(), 0, 'then there is nothing');
SELECT results_eq('SELECT kind FROM payments.verify()', $$VALUES ('ok')$$, 'verify() finds nothing wrong');

-- every
SELECT payments.post(:till, :sales, 500) AS fourth \gset
SELECT is(payments.seal_blocks(every => '1 hour'), 0, 'a block that is not due is not cut');
SELECT is(payments.seal_blocks(every => '0'), 1, 'one that is due is');
SELECT throws_ok('SELECT payments.seal_blocks(0)', '22023', NULL, 'no blocks');
SELECT throws_ok('SELECT payments.seal_blocks(every => NULL)', '22023', NULL, 'no interval');
SELECT throws_ok('SELECT * FROM payments.verify(from_block => 0)', '22023', NULL, 'no block 0');

-- The chain.
SELECT is((SELECT array_agg(block ORDER BY block) FROM payments.seal), ARRAY[1, 2, 3]::bigint[], 'blocks count from 1');
SELECT is((SELECT bool_and(s.previous = p.hash AND s.from_xid = p.to_xid) FROM payments.seal s JOIN payments.seal p ON p.block = s.block - 1), true, 'each follows the one before');
SELECT is((SELECT encode(previous, 'hex') || from_xid::text FROM payments.seal WHERE block = 1), repeat('0', 65), 'the first follows nothing');
SELECT is((SELECT bool_and(length(l.leaves) = 32 * t.rows) FROM payments.seal_table t LEFT JOIN payments.seal_leaf l USING (block, name)), true, 'a leaf a row');
-- By hand, from the documented bytes.
SELECT is((SELECT encode(root, 'hex') FROM payments.seal_table WHERE block = 3 AND name ~ '^posting/'),
	encode(sha256(payments._seal_row('posting', jsonb_build_object('posting_id', :fourth))), 'hex'), 'the root of one row is its leaf');
SELECT is((SELECT encode(root, 'hex') FROM payments.seal_table WHERE block = 1 AND name ~ '^posting/'),
	encode(sha256('\x01'::bytea || sha256(payments._seal_row('posting', jsonb_build_object('posting_id', :first)))
		|| sha256(payments._seal_row('posting', jsonb_build_object('posting_id', :second)))), 'hex'), 'that of two is their node');
SELECT is(encode(payments._seal_row('posting_reference', '{"merchant": "default", "reference": "seal-ref"}'), 'hex'), encode(
	'\x00'::bytea || int4send(17) || 'posting_reference'
	|| '\x09'::bytea || 'booked_atm' || int4send(8) || int8send((extract(epoch FROM r.booked_at) * 1000000)::bigint)
	|| '\x08'::bytea || 'merchantt' || int4send(7) || 'default'
	|| '\x0a'::bytea || 'posting_idi' || int4send(8) || int8send(r.posting_id)
	|| '\x09'::bytea || 'referencet' || int4send(8) || 'seal-ref'
	|| '\x03'::bytea || 'xidx' || int4send(8) || int8send(r.xid::text::bigint), 'hex'), 'a row''s bytes are as documented')
FROM (SELECT payments.post(:till, :sales, 600, reference => 'seal-ref')) p, LATERAL (SELECT * FROM payments.posting_reference WHERE reference = 'seal-ref' AND p IS NOT NULL) r;
SELECT is(encode(payments._seal_row('posting', jsonb_build_object('posting_id', :first)), 'hex'), before.hex, 'whatever the settings') FROM (
	SELECT encode(payments._seal_row('posting', jsonb_build_object('posting_id', :first)), 'hex') AS hex,
		set_config('timezone', 'Asia/Kathmandu', false), set_config('datestyle', 'German', false), set_config('bytea_output', 'escape', false)) before;
RESET timezone; RESET datestyle; RESET bytea_output;

-- Nobody writes there.
SELECT throws_ok(format('UPDATE payments.%I SET %s', t, s), 'PY003', NULL, t || ' does not change')
FROM (VALUES ('seal', 'sealed_at = now()'), ('seal_table', 'rows = 1'), ('seal_leaf', 'chunk = 1'), ('seal_epoch', 'epoch = 1')) v (t, s);
SELECT throws_ok('TRUNCATE payments.seal', 'PY003', NULL, 'nor is it emptied');
SELECT throws_ok('SET LOCAL ROLE payments_admin; DELETE FROM payments.seal', '42501', NULL, 'not even by an administrator');

-- Proofs.
SELECT payments.seal_blocks() > 0;
SELECT payments.seal_proof('posting', jsonb_build_object('posting_id', :second)) AS proof,
	payments.seal_proof('posting', jsonb_build_object('posting_id', :second), 3) AS long,
	payments.seal_proof('event', (SELECT jsonb_build_object('id', id) FROM payments.event WHERE aggregateid = :'payment_id')) AS event \gset
SELECT encode(hash, 'hex') AS one FROM payments.seal WHERE block = 1 \gset
SELECT encode(hash, 'hex') AS three FROM payments.seal WHERE block = 3 \gset
SELECT results_eq(format('SELECT ok, reason, table_name, row_data ->> ''amount'', row_data ->> ''description'' FROM payments.verify_proof(%L, %L)', :'proof', :'one'),
	$$VALUES (true, NULL::text, 'posting', '200', E'\u00fc "quoted" \\ \n')$$, 'a proof, and what the row says');
SELECT ok((SELECT ok FROM payments.verify_proof(:'long', :'three')), 'against a later head');
SELECT ok((SELECT row_data -> 'payload' ->> 'status' = 'initiated' FROM payments.verify_proof(:'event', :'one')), 'of an event');
SELECT is((SELECT reason FROM payments.verify_proof(:'proof', :'three')), 'its last block does not have the hash of the head', 'not against another head');
SELECT is((SELECT reason FROM payments.verify_proof(:'proof', 'abc')), 'head_hash is not 64 lower-case hex digits', 'nor against nonsense');
SELECT is(count(*) FILTER (WHERE v.ok)::int, 0, count(*) || ' proofs with one character changed, dropped or doubled are refused') FROM (
	SELECT overlay(:'long' PLACING r.c FROM i FOR 1) AS forged FROM generate_series(1, length(:'long')) i, (VALUES ('0'), ('7'), ('e'), ('g'), (''), (' '), (E'\n')) r (c)
	UNION
	SELECT overlay(:'long' PLACING substr(:'long', i, 1) || substr(:'long', i, 1) FROM i FOR 1) FROM generate_series(1, length(:'long') - 1) i) f,
	payments.verify_proof(f.forged, :'three') v WHERE rtrim(f.forged, E'\n') <> rtrim(:'long', E'\n');
SELECT is((SELECT ok FROM payments.verify_proof(regexp_replace(:'long', E'(path [0-9a-f]+\n)', E'\\1\\1'), :'three')), false, 'nor is one whose way leads beyond the root taken');
SELECT is((SELECT v.row_data ->> 'hash' FROM payments.verify_proof(payments.seal_proof('payment_status', jsonb_build_object('payment_id', :'payment_id', 'seq', 1)), :'one') v),
	(SELECT E'\\x' || encode(hash, 'hex') FROM payments.payment_status WHERE payment_id = :'payment_id' AND seq = 1), 'bytes are told as hex digits');
-- One of one's own making may say anything: of what is no value of its column, the bytes.
SELECT is(v.row_data ->> 'booked_at', f.told, format('a proof of one''s own making, with %s', f.told))
FROM (VALUES ('m', int8send(9223372036854775807), 'infinity'), ('m', int8send(-9223372036854775807), '-infinity'), ('m', int4send(5), E'\\x00000005'), ('?', int4send(5), E'\\x00000005')) f (kind, value, told),
	LATERAL (SELECT '\x00'::bytea || int4send(7) || 'posting' || '\x09'::bytea || 'booked_at' || f.kind::bytea || int4send(length(f.value)) || f.value AS bytes) r,
	LATERAL (SELECT sha256(r.bytes) AS root) l,
	payments.verify_proof(concat_ws(E'\n', 'payments proof 1', 'row ' || encode(r.bytes, 'hex'), 'leaf 0 of 1', format('block 1 %s 0 1 0', repeat('0', 64)), format('table posting 1 %s', encode(l.root, 'hex'))),
		encode(payments._seal_hash(decode(repeat('00', 32), 'hex'), 1, '0', '1', '1970-01-01 00:00:00+00', '{posting}', '{1}', ARRAY[l.root]), 'hex')) v;
-- Days without end, whatever the settings.
INSERT INTO payments.bank_statement (batch_id, statement_no, line_no, account, currency, opening_date, closing_date, entries) VALUES (1000, 1, 1, 'giro', 'EUR', '-infinity', 'infinity', 0);
SELECT ok(position(convert_to('opening_dateo', 'UTF8') || int4send(9) || convert_to('-infinity', 'UTF8') IN s.row) > 0 AND position(convert_to('closing_dateo', 'UTF8') || int4send(8) || convert_to('infinity', 'UTF8') IN s.row) > 0,
	'days without end are sealed as such') FROM (SELECT payments._seal_row('bank_statement', '{"batch_id": 1000, "statement_no": 1}') AS row) s;
SELECT throws_ok($$SELECT payments.seal_proof('queue', '{}')$$, '22023', NULL, 'of a table that is not sealed');
SELECT throws_ok($$SELECT payments._verify_rows('queue', 1, 1, 1)$$, '22023', NULL, 'nor are its rows verified');
SELECT throws_ok($$SELECT payments.seal_proof('posting', '7')$$, '22023', NULL, 'without a key');
SELECT throws_ok($$SELECT payments.seal_proof('posting', '{"posting_id": 999999}')$$, 'PY702', NULL, 'of no row');
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}', 99)$$, :first), '22023', NULL, 'up to no block');
BEGIN;
SELECT payments.post(:till, :sales, 700) AS unsealed \gset
SELECT throws_ok(format($$SELECT payments.seal_proof('posting', '{"posting_id": %s}')$$, :unsealed), 'PY703', NULL, 'of a row that is not sealed yet');
COMMIT;

-- Tampers in short; t/sealing.pl has all of them.
SELECT string_agg(payments._seal_head_line(block, hash, sealed_at), E'\n') AS heads, jsonb_agg(jsonb_build_object('block', block, 'hash', encode(hash, 'hex'))) AS json FROM payments.seal \gset
SELECT is((SELECT detail FROM payments.verify(:'heads')) ~ ', 4 heads;', true, 'heads as lines');
SELECT is((SELECT detail FROM payments.verify(:'json')) ~ ', 4 heads;', true, 'heads as JSON');
SELECT results_eq(format('SELECT kind, block FROM payments.verify(%L)', :'heads' || E'\n' || payments._seal_head_line(3, decode(:'one', 'hex'), now())), $$VALUES ('head', 3::bigint)$$, 'a head that contradicts');
SELECT results_eq(format('SELECT kind, block FROM payments.verify(%L)', '9 ' || :'one'), $$VALUES ('head', 9::bigint)$$, 'a head that is not there');
SELECT results_eq(format('SELECT kind, block FROM payments.verify(%L)', concat('1 ', :'one', ' 2026-01-01T00:00:00.000000Z else where 1 ', payments._seal_head_check('1', :'one', '2026-01-01T00:00:00.000000Z', '1'))),
	$$VALUES ('head', NULL::bigint)$$, 'heads of another database alone');
-- A line that was cut short anywhere, alone or grown together with what was written behind it.
SELECT payments._seal_head_line(block, hash, sealed_at) AS line FROM payments.seal WHERE block = 2 \gset
SET ROLE payments_app;
SELECT is((SELECT count(h.*)::int FROM payments.seal_head h WHERE h.head <> ''), 1, 'an application reads the head, to hand it on');
RESET ROLE;
SELECT is_empty(format($$SELECT n, w.* FROM generate_series(1, length(%1$L) - 1) n, payments._witnessed_heads(left(%1$L, n) || E'\n' || %2$L) w
	WHERE NOT EXISTS (SELECT FROM payments.seal s WHERE s.block = w.block AND encode(s.hash, 'hex') = w.hash)$$, :'line', :'heads'), 'a line cut short contradicts nothing');
SELECT is_empty(format($$SELECT n, w.* FROM generate_series(1, length(%1$L) - 1) n, payments._witnessed_heads(left(%1$L, n) || %2$L) w
	WHERE NOT EXISTS (SELECT FROM payments.seal s WHERE s.block = w.block AND encode(s.hash, 'hex') = w.hash)$$, :'line', :'heads'), 'nor does one that has grown together with the next');
SELECT is((SELECT detail FROM payments.verify('1' || :'line' || E'\n' || :'heads')) ~ ', 4 heads and 1 lines that are none;', true, 'it is counted as what it is');
SELECT is((SELECT string_agg(kind || block, ' ') FROM payments.verify(E'9 ' || :'one' || E'\n1' || :'line')), 'head9', 'and hides no other');
SELECT results_eq(format('SELECT kind, detail ~ %L FROM payments.verify(%L)', 'nothing of what was given is a head', w), $$VALUES ('head', true)$$, w || ' witnesses nothing')
FROM unnest(ARRAY['[{}]', '[]', '{"heads": []}', '[{"block": 99999}]', '[{"hash": "' || repeat('0', 64) || '"}]', '[{"block": "x", "hash": "y"}]', '[1, null, "1"]', '{"block": 1.5, "hash": null}']) w;
SELECT is((SELECT detail FROM payments.verify((:'json'::jsonb || '[{}, {"block": 1}]')::text)) ~ ', 4 heads and 2 lines that are none;', true, 'objects that are no heads are counted as such');
SELECT is_empty(format('SELECT * FROM payments._witnessed_heads(%L)', E'nonsense\n1 short\n-1 ' || :'one'), 'what is no head is passed over');

-- More than a block should hold: several, of which none ends in the midst of a transaction, and leaves of more than one row of seal_leaf.
SELECT payments.seal_blocks() AS rest \gset
SELECT block AS behind FROM payments.seal_head \gset
SELECT count(*) AS posted FROM payments.post_batch(array_fill(:till, ARRAY[7000]), array_fill(:sales, ARRAY[7000]), array_fill(1, ARRAY[7000])) \gset
SELECT count(*) + :posted AS posted FROM payments.post_batch(array_fill(:till, ARRAY[7000]), array_fill(:sales, ARRAY[7000]), array_fill(1, ARRAY[7000])) \gset
SELECT count(*) + :posted AS posted, max(posting_id) AS newest FROM payments.post_batch(array_fill(:till, ARRAY[7000]), array_fill(:sales, ARRAY[7000]), array_fill(1, ARRAY[7000])) \gset
SELECT cmp_ok(payments.seal_blocks(), '>', 1, 'much at once is sealed in several blocks');
SELECT is(sum(rows), :posted::numeric, 'all of it') FROM payments.seal_table WHERE block > :behind AND name ~ '^posting/';
SELECT is_empty(format('SELECT * FROM payments.seal_table WHERE block > %s AND (rows > 20000 OR name ~ %L AND rows %% 7000 <> 0)', :behind, '^posting/'), 'in whole transactions, and none too large');
SELECT is((SELECT ok FROM payments.seal_head h, payments.verify_proof(payments.seal_proof('posting', jsonb_build_object('posting_id', :newest), h.block), (SELECT encode(hash, 'hex') FROM payments.seal s WHERE s.block = h.block))), true, 'a proof of one of many');
SELECT results_eq('SELECT kind FROM payments.verify()', $$VALUES ('ok')$$, 'nothing is wrong');

-- What no block will ever hold.
BEGIN;
INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, xid)
SELECT :till, :sales, 1, now(), now(), 'EUR', 'manual', 'default', '9223372036854775000';
SELECT results_eq('SELECT kind, table_name FROM payments.verify()', $$VALUES ('added', 'posting')$$, 'a row of a transaction that has yet to begin is none that waits');
SELECT is((SELECT sample FROM payments.check() WHERE invariant = 'every row will be sealed'), 'posting: 1 rows have the xid of a transaction that has yet to begin, so no block can seal them', 'check() says so, too');
ROLLBACK;

-- What waits for long.
SELECT is(payments._seal_overdue(), NULL, 'nothing is overdue');
SELECT payments.post(:till, :sales, 5) AS late \gset
BEGIN;
SELECT is(payments._seal_overdue(), NULL, 'what has just been written waits for its block');
CREATE FUNCTION pg_temp.later(by interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	ALTER TABLE payments.seal DISABLE TRIGGER ALL;
	ALTER TABLE payments.posting DISABLE TRIGGER ALL;
	UPDATE payments.seal SET sealed_at = sealed_at - by;
	UPDATE payments.posting SET booked_at = booked_at - by WHERE xid >= (SELECT s.to_xid FROM payments.seal s ORDER BY s.block DESC LIMIT 1);
END
$$;
SELECT current_setting('shared_preload_libraries') = '' AS unguarded \gset
\if :unguarded
SAVEPOINT waits;
SELECT pg_temp.later('1 hour');
SELECT ok(payments._seal_overdue() ~ '^rows wait to be sealed that were written before .*, and the newest block is of ', 'after an hour it is overdue');
SELECT is((SELECT count(*)::int FROM payments.verify() WHERE kind = 'overdue'), 1, 'verify() says so');
SELECT is((SELECT ok FROM payments.check() WHERE invariant = 'rows are sealed in time'), false, 'so does check()');
ROLLBACK TO waits;
SELECT payments.seal_blocks() AS rest \gset
SELECT payments.post(:till, :sales, 5) AS held \gset
SELECT pg_temp.later('1 hour');
SELECT is(payments._seal_overdue(), NULL, 'what waits for a transaction that is open waits longer');
SELECT pg_temp.later('2 days');
SELECT isnt(payments._seal_overdue(), NULL, 'but not for days');
\endif
ROLLBACK;
SELECT payments.seal_blocks() AS rest \gset

-- Retention: of each month a tree, so that months go as a whole.  Two that are over for long.
SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '14 months' AS one_month, date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '13 months' AS next_month \gset
SET timezone = 'UTC';
SELECT payments.make_partitions(since => :'one_month') > 0 AS made \gset
INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
SELECT :till, :sales, n, m, m, 'EUR', 'manual', 'default' FROM (VALUES (1, :'one_month'::timestamptz), (2, :'one_month'::timestamptz + interval '27 days'), (3, :'next_month'::timestamptz - interval '1 us'), (4, :'next_month'::timestamptz)) v (n, m);
SELECT payments.seal_blocks() AS cut \gset
SELECT block AS old FROM payments.seal_head \gset
SELECT is((SELECT array_agg(name || ' ' || rows ORDER BY name) FROM payments.seal_table WHERE block = :old), ARRAY['posting/' || to_char(:'one_month'::timestamptz, 'YYYY-MM') || ' 3', 'posting/' || to_char(:'next_month'::timestamptz, 'YYYY-MM') || ' 1'], 'a tree a month');
SELECT is((SELECT ok FROM payments.seal_head h, payments.posting p, payments.verify_proof(payments.seal_proof('posting', jsonb_build_object('posting_id', p.posting_id)), encode(h.hash, 'hex')) WHERE p.booked_at = :'next_month'), true, 'a proof of a row of one of them');
SELECT jsonb_agg(jsonb_build_object('block', block, 'hash', encode(hash, 'hex'))) AS witness FROM payments.seal \gset
SELECT is((SELECT array_agg(rows) FROM payments.retire_partitions('posting', older_than => '13 months', check_first => false) WHERE refused IS NULL), ARRAY[3]::bigint[], 'one month is retired');
SELECT is((SELECT kind || detail FROM payments.verify(:'witness')) ~ '^ok.* rows and 3 retired, ', true, 'then all is well, whoever has an old head');
SELECT payments.seal_blocks() AS rest \gset
\if :unguarded
BEGIN;
ALTER TABLE payments.seal_leaf DISABLE TRIGGER ALL;
UPDATE payments.seal_leaf SET leaves = substr(leaves, 1, length(leaves) - 32) WHERE block = :old AND name = payments._seal_tree('posting', :'one_month');
SELECT results_eq('SELECT kind, block FROM payments.verify()', format($$VALUES ('root', %s::bigint)$$, :old), 'the leaves of what was retired must not go with it');
ROLLBACK;
BEGIN;
ALTER TABLE payments.posting DISABLE TRIGGER ALL;
DELETE FROM payments.posting WHERE booked_at = :'next_month';
SELECT results_eq('SELECT kind, block FROM payments.verify()', format($$VALUES ('missing', %s::bigint)$$, :old), 'their neighbour of the same block must be there');
ROLLBACK;
BEGIN;
ALTER TABLE payments.seal_table DISABLE TRIGGER ALL;
DELETE FROM payments.seal_table WHERE block = 2;
SELECT is((SELECT reason FROM payments.verify_proof(payments.seal_proof('posting', jsonb_build_object('posting_id', :second), 3), :'three')), 'its blocks are not a chain', 'a block that has lost what it held proves nothing');
ROLLBACK;

-- Whoever removes rows and notes that retention has done it: each note is one that it could not have written, or does not reach so far.
CREATE FUNCTION pg_temp.forged(removed text, from_time timestamptz, to_time timestamptz, retired_at timestamptz, rows bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	ALTER TABLE payments.posting DISABLE TRIGGER ALL;
	EXECUTE 'DELETE FROM payments.posting WHERE ' || removed;
	INSERT INTO payments.partition_retired (table_name, from_time, to_time, partition, rows, retired_at, retired_by) VALUES ('posting', from_time, to_time, 'posting_1', rows, retired_at, 'me');
	SELECT string_agg(DISTINCT v.kind, ' ' ORDER BY v.kind) INTO found FROM payments.verify() v;
	RAISE EXCEPTION 'undone' USING ERRCODE = 'TAP00';
EXCEPTION WHEN SQLSTATE 'TAP00' THEN
	RETURN found;
END
$$;
SELECT date_trunc('month', now()) AS this_month, 'posting_id = ' || :second AS one \gset
SELECT is(pg_temp.forged(:'one', :'this_month', :'this_month'::timestamptz + interval '1 month', now(), 1), 'retired', 'one row of this month: the others are there');
SELECT is(pg_temp.forged('xid <> ''0'' AND booked_at >= date_trunc(''month'', now())', :'this_month', :'this_month'::timestamptz + interval '1 month', now(), (SELECT count(*) FROM payments.posting WHERE booked_at >= :'this_month')), 'retired', 'all of this month');
SELECT is(pg_temp.forged(:'one', '2019-01-01', '2019-02-01', now(), 1), 'missing retired', 'one row of a month that never was');
SELECT is(pg_temp.forged(:'one', :'next_month', :'next_month'::timestamptz + interval '1 month', now(), 1), 'missing retired', 'one row of another month than that which is there');
SELECT is(pg_temp.forged('booked_at = ' || quote_literal(:'next_month'), :'next_month'::timestamptz + interval '1 day', :'next_month'::timestamptz + interval '1 month', now(), 1), 'retired', 'the end of a month');
SELECT is(pg_temp.forged('booked_at = ' || quote_literal(:'next_month'), :'next_month', now() + interval '1 month', now(), 1), 'retired', 'more than a month');
SELECT is(pg_temp.forged('false', :'next_month', :'next_month'::timestamptz + interval '1 month', now(), 1), 'retired', 'a month whose rows are there');
SELECT is(pg_temp.forged('false', '2019-01-01', '2019-02-01', now(), 0), 'ok', 'where nothing was, nothing is hidden');
\endif
SELECT * FROM finish();
