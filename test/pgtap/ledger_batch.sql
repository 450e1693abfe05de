-- If this fails in production: a group of postings of which half was made, a
-- posting refused yesterday that a retry makes today, a ceiling taken for an
-- amount, a past that changes unnoticed.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT plan(3 + 64);

DO $do$ BEGIN PERFORM payments.create_merchant('batch_test'); END $do$;
CREATE TEMP TABLE acct (name text PRIMARY KEY, id bigint);
CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
INSERT INTO acct SELECT v.name, payments.create_account(v.name, v.currency, v.type, 'batch_test', v.hot, v.low, v.high)
FROM (VALUES ('bank', 'EUR', 'asset', false, NULL, NULL), ('a', 'EUR', 'liability', false, 0, NULL), ('b', 'EUR', 'liability', false, 0, NULL),
	('c', 'EUR', 'liability', false, 0, 100), ('hot', 'EUR', 'income', true, NULL, NULL), ('usd', 'USD', 'asset', false, NULL, NULL))
	v(name, currency, type, hot, low, high);
CREATE FUNCTION pg_temp.balances() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(a.name || ' ' || b.balance, ', ' ORDER BY a.name) FROM acct a, payments.balance(a.id) b WHERE a.name IN ('a', 'b', 'c', 'hot') $$;
CREATE FUNCTION pg_temp.raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || coalesce(' ' || substring(d FROM 'differ in "([a-z_]+)"'), '');
END
$$;
-- Elements as 'debit credit amount', with a reference behind a slash; errors in order, 'ok' where there is none.
CREATE FUNCTION pg_temp.batch(elements text[], groups int[] DEFAULT NULL, balancing boolean[] DEFAULT NULL, all_or_nothing boolean DEFAULT false)
RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce(r.error, 'ok'), ' ' ORDER BY r.index)
	FROM (SELECT array_agg(pg_temp.a(split_part(e, ' ', 1)) ORDER BY i) AS debits, array_agg(pg_temp.a(split_part(e, ' ', 2)) ORDER BY i) AS credits,
			array_agg(split_part(split_part(e, ' ', 3), '/', 1)::bigint ORDER BY i) AS amounts, array_agg(nullif(split_part(e, '/', 2), '') ORDER BY i) AS refs
		  FROM unnest(elements) WITH ORDINALITY x(e, i)) t,
		payments.post_batch(t.debits, t.credits, t.amounts, t.refs, groups => $2, balancing => $3, all_or_nothing => $4) r $$;

-- ---------- groups ----------

SELECT is(pg_temp.batch(ARRAY['bank a 100', 'a b 30', 'a hot 70'], ARRAY[1, 1, 1]), 'ok ok ok', 'a group in which one posting spends what another brings');
SELECT is(pg_temp.balances(), 'a 0, b 30, c 0, hot 70', 'is posted');
SELECT is((SELECT count(DISTINCT p.transaction_id) || ' ' || bool_and(p.transaction_id = f.first)
		   FROM payments.posting p, (SELECT min(posting_id) AS first FROM payments.posting WHERE merchant = 'batch_test') f
		   WHERE p.merchant = 'batch_test'), '1 true', 'its postings have one transaction_id, that of the first');
SELECT is(pg_temp.batch(ARRAY['bank a 100', 'b a 10', 'a b 1000', 'bank b 5'], ARRAY[1, 1, 1, NULL]), 'PY215 PY215 PY204 ok', 'one refused: none of the group, the others stay');
SELECT is(pg_temp.balances(), 'a 0, b 35, c 0, hot 70', 'and nothing of it moved');
SELECT is(pg_temp.batch(ARRAY['bank a 50', 'a b 60', 'a b 50'], ARRAY[7, 7, NULL]), 'PY215 PY204 PY204', 'what a refused group brought in cannot be spent after it');
SELECT is(pg_temp.batch(ARRAY['a b 60', 'bank a 50'], ARRAY[7, 7]), 'PY204 PY215', 'those after the refused one have PY215 too');
SELECT is(pg_temp.batch(ARRAY['bank a 1', 'bank b -1', 'bank c 1'], ARRAY[1, 1, 2]), 'PY215 22023 ok', 'an invalid amount keeps its group back');
SELECT is(pg_temp.batch(ARRAY['bank a 1', 'usd a 1'], ARRAY[1, 1]), 'PY215 PY201', 'and so does another currency');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1', 'bank b 1', 'bank c 1'], ARRAY[1, 2, 1])$$), '22023', 'a group has its postings next to each other');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1'], ARRAY[0])$$), '22023', 'groups are numbered from 1');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1', 'bank b 1/r'], ARRAY[1, 1])$$), '22023', 'all have references or none');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1', 'bank b 1'], ARRAY[1])$$), '22023', 'groups has as many elements as the others');
SELECT is(pg_temp.balances(), 'a 0, b 35, c 1, hot 70', 'nothing of that moved but the one posting');

-- ---------- groups and references ----------

SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 10/g2'], ARRAY[1, 1]), 'ok ok', 'a group with references');
SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 10/g2'], ARRAY[4, 4]), 'ok ok', 'repeated, under another number');
SELECT is(pg_temp.balances(), 'a 0, b 45, c 1, hot 70', 'is posted once');
SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 10/g2', 'bank a 1/g3'], ARRAY[1, 1, 1]), 'ok ok PY206', 'with one more leg: the new leg is refused');
SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 10/g2']), 'PY206 PY206', 'repeated apart: another content');
SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 11/g2'], ARRAY[1, 1]), 'ok PY206', 'with another amount: that leg is refused');
SELECT is(pg_temp.batch(ARRAY['bank a 3/s1', 'bank b 4/s2']), 'ok ok', 'two postings on their own');
SELECT is(pg_temp.batch(ARRAY['bank a 3/s1', 'bank b 4/s2'], ARRAY[1, 1]), 'PY206 PY206', 'are not a group afterwards');
SELECT is(pg_temp.batch(ARRAY['bank a 1/d1', 'bank a 1/d1'], ARRAY[1, 1]), 'PY215 PY206', 'one reference twice in a group is refused');
SELECT is(pg_temp.balances(), 'a 3, b 49, c 1, hot 70', 'none of which moved anything but the two');

-- ---------- what was refused stays refused ----------

SELECT is(pg_temp.batch(ARRAY['a b 10/f1', 'bank a 2/f2', 'bank c 100/f3']), 'PY204 ok PY204', 'two of three are refused');
SELECT is(pg_temp.batch(ARRAY['bank a 100', 'a b 10/f1', 'bank c 100/f3']), 'ok PY204 PY204', 'and stay refused when the money has come');
SELECT is(pg_temp.balances(), 'a 105, b 49, c 1, hot 70', 'moving nothing');
SELECT is(pg_temp.batch(ARRAY['a b 9/f1']), 'PY206', 'under that reference with another amount: another content');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 10, reference => ''f1'')', pg_temp.a('a'), pg_temp.a('b'))), 'PY204', 'also for post()');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 9, reference => ''f1'')', pg_temp.a('a'), pg_temp.a('b'))), 'PY206 amount', 'which names the field');
SELECT is(pg_temp.batch(ARRAY['a b 10/f1new']), 'ok', 'a new reference is a new try');
SELECT is(pg_temp.batch(ARRAY['a b 1000/t1', 'a b 1000/t1']), 'PY204 PY204', 'twice in one batch: refused once, told twice');
SELECT is((SELECT count(*) FROM payments.posting_failure WHERE reference = 't1'), 1::bigint, 'and written down once');
SELECT is(pg_temp.batch(ARRAY['bank a 10/h1', 'a b 1000/h2'], ARRAY[1, 1]), 'PY215 PY204', 'a group refused');
SELECT is(pg_temp.batch(ARRAY['bank a 1000', 'bank a 10/h1', 'a b 1000/h2'], ARRAY[NULL, 1, 1]), 'ok PY215 PY204', 'stays refused as a whole');
SELECT is(pg_temp.batch(ARRAY['usd a 5/u1']), 'PY201', 'what no balance can change');
SELECT is(pg_temp.batch(ARRAY['bank a 5/u1']), 'ok', 'takes no reference');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 999999, reference => ''p1'')', pg_temp.a('b'), pg_temp.a('a'))), 'PY204', 'post() raises');
SELECT is((SELECT count(*) FROM payments.posting_reference WHERE reference = 'p1'), 0::bigint, 'and leaves nothing behind');

-- ---------- all or nothing ----------

SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1/n1', 'c b 1000/n2', 'bank a 1'], all_or_nothing => true)$$), 'PY204', 'the first error is raised');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1', 'c b 1000'], ARRAY[1, 1], all_or_nothing => true)$$), 'PY204', 'of a group, the one that says why');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1', 'bank b 0'], all_or_nothing => true)$$), '22023', 'invalid arguments too');
SELECT is(pg_temp.raised($$SELECT pg_temp.batch(ARRAY['bank a 1', 'bank nobody 5'], all_or_nothing => true)$$), '22023', 'and a missing account');
SELECT is(pg_temp.batch(ARRAY['bank a 1/n1', 'bank b 1/n2'], all_or_nothing => true), 'ok ok', 'nothing of which stayed');

-- ---------- as much as is there ----------

SELECT is((SELECT string_agg(concat_ws(' ', r.amount, r.error), ', ' ORDER BY r.index)
		   FROM payments.post_batch(ARRAY[pg_temp.a('bank'), pg_temp.a('bank'), pg_temp.a('bank')], ARRAY[pg_temp.a('c'), pg_temp.a('c'), pg_temp.a('c')],
				ARRAY[60, 60, 60], ARRAY['m1', 'm2', 'm3'], balancing => ARRAY[true, true, true]) r), '60, 39, PY204', 'a ceiling, cut to what the limit leaves');
SELECT is((SELECT string_agg(concat_ws(' ', r.amount, r.error), ', ' ORDER BY r.index)
		   FROM payments.post_batch(ARRAY[pg_temp.a('bank'), pg_temp.a('bank'), pg_temp.a('bank')], ARRAY[pg_temp.a('c'), pg_temp.a('c'), pg_temp.a('c')],
				ARRAY[60, 60, 60], ARRAY['m1', 'm2', 'm3'], balancing => ARRAY[true, true, true]) r), '60, 39, PY204', 'repeated: the same amounts');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 60, reference => ''m2'')', pg_temp.a('bank'), pg_temp.a('c'))), 'PY206 balancing', 'not balancing is another content');
SELECT is((SELECT amount || ' of ' || asked FROM payments.posting WHERE merchant = 'batch_test' AND reference = 'm2'), '39 of 60', 'the row says how much of how much');
CREATE TEMP TABLE made AS SELECT payments.post(pg_temp.a('c'), pg_temp.a('bank'), 1000000, balancing => true) AS swept,
	payments.post(pg_temp.a('bank'), pg_temp.a('a'), 5, reference => 'i1', effective_at => '2020-02-29', imported => true) AS imported;
SELECT is((SELECT p.amount FROM payments.posting p JOIN made m ON p.posting_id = m.swept), 100::bigint, 'post() sweeps an account');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 5, balancing => true)', pg_temp.a('c'), pg_temp.a('bank'))), 'PY204', 'of nothing nothing can be posted');

-- ---------- the past ----------

SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 5, effective_at => now() - interval ''1 day'')', pg_temp.a('bank'), pg_temp.a('a'))), '22023', 'no posting is backdated by accident');
SELECT is((SELECT p.imported::text || (p.effective_at = '2020-02-29')::text || (p.booked_at >= now())::text FROM payments.posting p
		   JOIN made m ON p.posting_id = m.imported), 'truetruetrue',
	'imported => true: effective then, booked now');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 5, reference => ''i1'', effective_at => ''2020-02-29'')', pg_temp.a('bank'), pg_temp.a('a'))), 'PY206 imported', 'and says so');

-- ---------- repeated, twisted ----------

SELECT is(pg_temp.batch(ARRAY['bank a 1/o1'], ARRAY[1]) || ' ' || pg_temp.batch(ARRAY['bank a 1/o1'], ARRAY[1]) || ' ' || pg_temp.batch(ARRAY['bank a 1/o1']),
	'ok ok ok', 'a group of one is a posting on its own, also when repeated');
SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 10/g2', 'bank a 1/g3'], ARRAY[1, 1, 1]), 'ok ok PY206', 'a group repeated with one more leg has the same outcome again');
SELECT is(pg_temp.batch(ARRAY['bank a 1/d1', 'bank a 1/d1'], ARRAY[1, 1]), 'PY215 PY206', 'and so has one with a reference twice');
SELECT is(pg_temp.batch(ARRAY['bank a 10/g1', 'a b 10/g2', 'bank a 10/g1'], ARRAY[1, 1, 1]), 'ok ok PY206', 'or one repeated with a leg twice');
SELECT is(pg_temp.batch(ARRAY['a b 999999/x1', 'bank a 10/x2', 'bank a 10/x2'], ARRAY[1, 1, NULL]), 'PY204 PY215 PY206',
	'what was refused with its group is not posted further on in the batch');
SELECT is((SELECT count(*) FROM payments.posting WHERE merchant = 'batch_test' AND reference = 'x2'), 0::bigint, 'under the same reference');
SELECT is(pg_temp.batch(ARRAY['bank a 4/s1', 'bank a 3/s1']), 'PY206 ok', 'a repetition is one also behind another content of its reference');
SELECT is((SELECT string_agg(r.error, ' ') FROM payments.post_batch(ARRAY[pg_temp.a('bank'), pg_temp.a('a'), pg_temp.a('bank')], ARRAY[pg_temp.a('a'), pg_temp.a('b'), pg_temp.a('a')],
		ARRAY[5, 999999, 6], ARRAY['y1', 'y2', 'y3'], effective_at => array_fill('2000-01-01 00:00+00'::timestamptz, ARRAY[3]), imported => true) r),
	'PY204', 'the first instant of 2000 is a time');
SELECT is((SELECT effective_at FROM payments.posting WHERE merchant = 'batch_test' AND reference = 'y1'), '2000-01-01 00:00+00'::timestamptz, 'it is not now');
SELECT is((SELECT effective_at FROM payments.posting_failure WHERE merchant = 'batch_test' AND reference = 'y2'), '2000-01-01 00:00+00'::timestamptz,
	'nor none');

-- ---------- rows that others swallow ----------

CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT is(pg_temp.raised(format('CREATE TRIGGER zz BEFORE %s ON payments.%s FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow(); SELECT payments.post(%s, %s, 5)',
				v.event, v.name, pg_temp.a('bank'), pg_temp.a(v.credit))),
	CASE WHEN current_setting('shared_preload_libraries') LIKE '%payments%' THEN 'PY012' ELSE 'PY901' END,
	format('no posting is made without its row in %s', v.name))
FROM (VALUES ('posting', 'INSERT', 'a'), ('account', 'UPDATE', 'a'), ('account_delta', 'INSERT', 'hot')) v(name, event, credit);

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok', 'after all this every invariant holds');
SELECT * FROM finish();
ROLLBACK;
