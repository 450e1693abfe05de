-- If this fails in production: an account that many post to at once is
-- overdrawn, refuses what it could pay, or its parts do not add up.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

DO $do$ BEGIN PERFORM payments.create_merchant('parts'); END $do$;
CREATE TEMP TABLE acct (name text PRIMARY KEY, id bigint);
CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.open(name text, type text, parts int DEFAULT NULL, minimum bigint DEFAULT NULL, maximum bigint DEFAULT NULL, hot boolean DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pg_temp.acct VALUES (name, payments.create_account(name, 'EUR', type, merchant => 'parts', hot => coalesce(hot, parts IS NOT NULL),
		min_balance => minimum, max_balance => maximum, parts => parts));
	RETURN pg_temp.a(name);
END
$$;
CREATE FUNCTION pg_temp.raised(statement text, OUT code text, OUT told text) LANGUAGE plpgsql AS $$
DECLARE
	d text; h text;
BEGIN
	EXECUTE statement;
	code := 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	code := SQLSTATE;
	told := concat_ws(' ', SQLERRM, d, h);
END
$$;
CREATE FUNCTION pg_temp.post(debit text, credit text, amount bigint) RETURNS text LANGUAGE sql AS $$
	SELECT code FROM pg_temp.raised(format('SELECT payments.post(%s, %s, %s)', pg_temp.a(debit), pg_temp.a(credit), amount)) $$;
CREATE FUNCTION pg_temp.balance(text) RETURNS bigint LANGUAGE sql AS 'SELECT b.balance FROM payments.balance(pg_temp.a($1)) b';
-- The parts' shares, and what they moved.
CREATE FUNCTION pg_temp.shares(text) RETURNS bigint[] LANGUAGE sql AS $$
	SELECT array_agg(CASE WHEN debit_normal THEN debits - credits ELSE credits - debits END + moved ORDER BY part)
	FROM payments.account_part WHERE account_id = pg_temp.a($1) $$;
CREATE FUNCTION pg_temp.moved(text) RETURNS bigint LANGUAGE sql AS 'SELECT sum(moved)::bigint FROM payments.account_part WHERE account_id = pg_temp.a($1)';
CREATE FUNCTION pg_temp.check_after(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	failed text;
BEGIN
	EXECUTE statement;
	SELECT string_agg(c.invariant, '; ' ORDER BY c.invariant) INTO failed FROM payments._check_ledger() c WHERE NOT c.ok;
	RAISE EXCEPTION 'undo' USING ERRCODE = 'PYT01';
EXCEPTION WHEN SQLSTATE 'PYT01' THEN
	RETURN failed;
END
$$;

-- ---------- a split account ----------

SELECT ok(pg_temp.open('bank', 'asset', hot => true) > 0, 'the other side, hot and without limits');
SELECT ok(pg_temp.open('shop', 'liability', 4, 0) > 0, 'a liability of four parts that is never overdrawn');
SELECT is(payments.create_account('shop', 'EUR', 'liability', merchant => 'parts', min_balance => 0), pg_temp.a('shop'), 'into how many parts is no part of what it is');
SELECT is(pg_temp.shares('shop'), ARRAY[0, 0, 0, 0]::bigint[], 'it opens empty');
SELECT is(pg_temp.post('shop', 'bank', 1), 'PY204', 'and nothing can be taken out');
SELECT is(pg_temp.post('bank', 'shop', 100), 'none', 'money comes in');
SELECT is((SELECT array_agg(s ORDER BY s) FROM unnest(pg_temp.shares('shop')) s), ARRAY[0, 0, 0, 100]::bigint[], 'into one part');
SELECT is((SELECT debits + credits FROM payments.account WHERE account_id = pg_temp.a('shop')), 0::bigint, 'not into the row');
SELECT is((SELECT count(*) FROM payments.account_delta WHERE account_id = pg_temp.a('shop')), 0::bigint, 'nor into deltas');
SELECT is(pg_temp.balance('shop'), 100::bigint, 'the balance is that of all parts');
SELECT is(payments.balance_at(pg_temp.a('shop'), 'infinity'), 100::bigint, 'in balance_at()');
SELECT is((SELECT balance FROM payments.statement(pg_temp.a('shop'), NULL, NULL) WHERE kind = 'closing balance'), 100::bigint, 'in the statement');
SELECT is((SELECT balance FROM payments.trial_balance WHERE account_id = pg_temp.a('shop')), 100::numeric, 'in the trial balance');
SELECT is((SELECT total FROM payments.account_totals(pg_temp.a('shop'))), 100::numeric, 'in the totals');

-- ---------- borrowing ----------

SELECT is((SELECT count(*) FROM generate_series(1, 40) i WHERE pg_temp.post('bank', 'shop', 10) = 'none'), 40::bigint, 'more money, one call at a time');
SELECT is(pg_temp.balance('shop'), 500::bigint, 'is all there');
SELECT is(pg_temp.moved('shop'), 0::bigint, 'nothing was borrowed');
UPDATE payments.account_part SET moved = moved + CASE WHEN credits = 0 THEN 50 ELSE -150 END WHERE account_id = pg_temp.a('shop');
SELECT is((SELECT array_agg(s ORDER BY s) FROM unnest(pg_temp.shares('shop')) s), ARRAY[50, 50, 50, 350]::bigint[], 'moving some between parts');
SELECT is(pg_temp.post('shop', 'bank', 501), 'PY204', 'more than all parts have is refused');
SELECT is(substring((pg_temp.raised(format('SELECT payments.post(%s, %s, 501)', pg_temp.a('shop'), pg_temp.a('bank')))).told FROM 'The balance is ([0-9]+)'), '500', 'by the balance of all of them');
SELECT is(pg_temp.post('shop', 'bank', 499), 'none', 'more than one part has is paid');
SELECT is(pg_temp.shares('shop'), ARRAY[0, 0, 0, 1]::bigint[], 'and what is left is shared evenly');
SELECT is(pg_temp.moved('shop'), 0::bigint, 'what one part borrows another lends');
SELECT is(pg_temp.post('shop', 'bank', 1), 'none', 'down to the limit');
SELECT is(pg_temp.post('shop', 'bank', 1), 'PY204', 'and no further');
SELECT results_eq(format('SELECT error FROM payments.post_batch(ARRAY[%2$s, %1$s, %1$s, %2$s, %1$s], ARRAY[%1$s, %2$s, %2$s, %1$s, %2$s], ARRAY[10, 8, 3, 5, 7])',
	pg_temp.a('shop'), pg_temp.a('bank')), $$VALUES (NULL), (NULL), ('PY204'), (NULL), (NULL)$$, 'a batch is decided in order, as on any account');
SELECT is(pg_temp.balance('shop'), 0::bigint, 'with what was in it');
SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok', 'every invariant holds');

-- Repetitions, when the money is gone.
SELECT is(pg_temp.post('bank', 'shop', 50), 'none', 'money');
CREATE TEMP TABLE once AS SELECT payments.post(pg_temp.a('shop'), pg_temp.a('bank'), 50, reference => 'out') AS id;
SELECT is(payments.post(pg_temp.a('shop'), pg_temp.a('bank'), 50, reference => 'out'), (SELECT id FROM once), 'a repetition finds its posting, though nothing is left');
SELECT is(pg_temp.balance('shop'), 0::bigint, 'and takes nothing');

-- ---------- other limits ----------

SELECT ok(pg_temp.open('jar', 'asset', 3, minimum => -10, maximum => 100) > 0, 'an asset with a credit line and a maximum');
SELECT results_eq($$SELECT min_balance, max_balance FROM payments.account_part WHERE account_id = pg_temp.a('jar') ORDER BY part$$,
	$$VALUES (-4::bigint, 33::bigint), (-3, 33), (-3, 34)$$, 'which its parts share');
SELECT is(pg_temp.post('jar', 'bank', 101), 'PY204', 'above the maximum');
SELECT is(pg_temp.post('jar', 'bank', 100), 'none', 'up to it');
SELECT is(pg_temp.shares('jar'), ARRAY[33, 33, 34]::bigint[], 'in all parts');
SELECT is(pg_temp.post('jar', 'bank', 1), 'PY204', 'no more');
SELECT is(pg_temp.post('bank', 'jar', 111), 'PY204', 'below the minimum');
SELECT is(pg_temp.post('bank', 'jar', 110), 'none', 'down to it');
SELECT is(pg_temp.shares('jar'), ARRAY[-4, -3, -3]::bigint[], 'in all parts');
SELECT is(pg_temp.post('bank', 'jar', 1), 'PY204', 'no more');
SELECT is((SELECT count(*) FROM generate_series(1, 200) i WHERE pg_temp.post('jar', 'bank', 1) = 'none'), 110::bigint, 'by ones up to the maximum');
SELECT is((SELECT count(*) FROM generate_series(1, 200) i WHERE pg_temp.post('bank', 'jar', 1) = 'none'), 110::bigint, 'and down to the minimum');
SELECT is(pg_temp.moved('jar'), 0::bigint, 'what one part borrows another lends');
SELECT ok(pg_temp.open('wide', 'liability', 64, minimum => -9223372036854775807 - 1, maximum => 9223372036854775807) > 0, 'the widest limits, in most parts');
SELECT is(pg_temp.post('bank', 'wide', 999999999999999), 'none', 'take the largest payment');
SELECT is(pg_temp.post('wide', 'bank', 999999999999999), 'none', 'in and out');
SELECT is(pg_temp.post('bank', 'wide', 1000000000000000), 'PY205', 'and nothing larger');

-- ---------- between split accounts ----------

SELECT ok(pg_temp.open('left', 'liability', 5, 0) > 0 AND pg_temp.open('right', 'liability', 7, 0, 1000) > 0, 'two split accounts');
SELECT is(pg_temp.post('bank', 'left', 1000), 'none', 'money in one');
SELECT is((SELECT count(*) FROM generate_series(1, 300) i WHERE pg_temp.post('left', 'right', 7) = 'none'), 142::bigint, 'goes to the other, until it is gone');
SELECT is(ARRAY[pg_temp.balance('left'), pg_temp.balance('right')], ARRAY[6, 994]::bigint[], 'and is there');
SELECT is((SELECT count(*) FILTER (WHERE error IS NULL) FROM payments.post_batch(array_fill(pg_temp.a('right'), ARRAY[100]), array_fill(pg_temp.a('left'), ARRAY[100]), array_fill(10::bigint, ARRAY[100]))),
	99::bigint, 'and back by a batch, as far as it goes');
SELECT is(ARRAY[pg_temp.balance('left'), pg_temp.balance('right')], ARRAY[996, 4]::bigint[], 'with the rest left');
SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok', 'every invariant holds');

-- ---------- the other ways to post ----------

SELECT is(pg_temp.post('bank', 'shop', 90), 'none', 'money in one part');
UPDATE payments.account_part SET moved = moved + CASE WHEN (SELECT p.part FROM payments.account_part p WHERE p.account_id = pg_temp.a('shop')
	ORDER BY p.credits - p.debits + p.moved DESC LIMIT 1) = part THEN -60 ELSE 20 END WHERE account_id = pg_temp.a('shop');
SELECT is((SELECT b.amount FROM payments.post_batch(ARRAY[pg_temp.a('shop')], ARRAY[pg_temp.a('bank')], ARRAY[25], balancing => ARRAY[true]) b), 25::bigint, 'a balancing posting takes what was asked');
SELECT is((SELECT b.amount FROM payments.post_batch(ARRAY[pg_temp.a('shop')], ARRAY[pg_temp.a('bank')], ARRAY[1000], balancing => ARRAY[true]) b), 65::bigint, 'or what all parts have');
SELECT is(pg_temp.balance('shop'), 0::bigint, 'and leaves nothing');
SELECT results_eq(format('SELECT error FROM payments.post_batch(ARRAY[%2$s, %1$s, %1$s, %2$s], ARRAY[%1$s, %2$s, %2$s, %1$s], ARRAY[10, 4, 7, 1], groups => ARRAY[1, 2, 2, NULL])',
	pg_temp.a('shop'), pg_temp.a('bank')), $$VALUES (NULL), ('PY215'), ('PY204'), (NULL)$$, 'linked postings pass together or not at all');
SELECT is(pg_temp.balance('shop'), 11::bigint, 'with their money where it was');
SELECT is(pg_temp.post('shop', 'bank', 11), 'none', 'which is all');
SELECT ok(payments.reverse_posting((SELECT max(posting_id) FROM payments.posting WHERE debit_account = pg_temp.a('shop')), 'wrong') > 0, 'a reversal brings it back');
SELECT is(pg_temp.balance('shop'), 11::bigint, 'into the parts');

-- ---------- there and back ----------

SELECT ok(pg_temp.open('purse', 'liability', minimum => 0, maximum => 1000) > 0, 'an ordinary account with limits');
SELECT is(pg_temp.post('bank', 'purse', 103), 'none', 'and money');
SELECT is(payments.set_account_hot(pg_temp.a('purse'), true, parts => 4), true, 'is split while it is in use');
SELECT is(pg_temp.shares('purse'), ARRAY[25, 26, 26, 26]::bigint[], 'its balance too');
SELECT is(pg_temp.balance('purse'), 103::bigint, 'which is what it was');
SELECT is(payments.set_account_hot(pg_temp.a('purse'), true, parts => 4), false, 'once');
SELECT is(pg_temp.post('purse', 'bank', 104), 'PY204', 'the minimum holds');
SELECT is(pg_temp.post('bank', 'purse', 898), 'PY204', 'the maximum holds');
SELECT is(pg_temp.post('purse', 'bank', 20), 'none', 'a part pays');
SELECT is(pg_temp.post('purse', 'bank', 80), 'none', 'all parts pay');
SELECT is(pg_temp.shares('purse'), ARRAY[0, 1, 1, 1]::bigint[], 'and share the rest');
SELECT is(pg_temp.moved('purse'), 103::bigint, 'they have what the row had');
SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok', 'every invariant holds');
SELECT is(payments.set_account_hot(pg_temp.a('purse'), false), true, 'it is made ordinary');
SELECT results_eq(format('SELECT hot, parts, debits, credits FROM payments.account WHERE account_id = %s', pg_temp.a('purse')), 'VALUES (false, NULL::int, 100::bigint, 103::bigint)', 'with everything in its row');
SELECT is(pg_temp.shares('purse'), NULL, 'and no parts');
SELECT is(pg_temp.post('purse', 'bank', 4), 'PY204', 'the minimum holds');
SELECT is(payments.set_account_hot(pg_temp.a('purse'), true, parts => 2) AND payments.set_account_hot(pg_temp.a('purse'), false), true, 'there and back');
SELECT is(pg_temp.balance('purse'), 3::bigint, 'changes nothing');
SELECT is((pg_temp.raised(format('SELECT payments.close_account(%s)', pg_temp.a('left')))).code, 'PY204', 'a split account with a balance is not closed');
SELECT is(pg_temp.post('left', 'bank', 996), 'none', 'without one');
SELECT ok(payments.close_account(pg_temp.a('left')) IS NOT NULL, 'it is');
SELECT is(pg_temp.post('bank', 'left', 1), 'PY203', 'for good');

-- ---------- what it goes with ----------

SELECT is(r.code, v.code, v.why) FROM (VALUES
	('22023', 'a hot account with limits needs parts', $$SELECT payments.create_account('x', 'EUR', 'asset', hot => true, min_balance => 0)$$),
	('22023', 'one without has none', $$SELECT payments.create_account('x', 'EUR', 'asset', hot => true, parts => 8)$$),
	('22023', 'nor an ordinary one', $$SELECT payments.create_account('x', 'EUR', 'asset', min_balance => 0, parts => 8)$$),
	('22023', 'one part is none', $$SELECT payments.create_account('x', 'EUR', 'asset', hot => true, min_balance => 0, parts => 1)$$),
	('22023', 'there is an end to it', $$SELECT payments.create_account('x', 'EUR', 'asset', hot => true, min_balance => 0, parts => 65)$$),
	('22023', 'no history', $$SELECT payments.create_account('x', 'EUR', 'asset', hot => true, min_balance => 0, parts => 8, history => true)$$),
	('22023', 'no holds', format('SELECT payments.hold(%s, %s, 1)', pg_temp.a('shop'), pg_temp.a('bank'))),
	('22023', 'switching needs parts', format('SELECT payments.set_account_hot(%s, true)', pg_temp.a('purse'))),
	('22023', 'at least two', format('SELECT payments.set_account_hot(%s, true, 1)', pg_temp.a('purse'))),
	('22023', 'and none back', format('SELECT payments.set_account_hot(%s, false, 8)', pg_temp.a('shop'))),
	('PY003', 'no UPDATE splits an ordinary account', format('UPDATE payments.account SET parts = 8 WHERE account_id = %s', pg_temp.a('purse'))),
	('PY003', 'nor takes the parts from a hot one', format('UPDATE payments.account SET parts = NULL WHERE account_id = %s', pg_temp.a('shop'))),
	('PY003', 'what a part may go down to stays', format('UPDATE payments.account_part SET min_balance = -100 WHERE account_id = %s', pg_temp.a('shop'))),
	('PY003', 'and what went through it', format('UPDATE payments.account_part SET debits = 0 WHERE account_id = %s', pg_temp.a('shop'))),
	('23514', 'no part goes below its share', format('UPDATE payments.account_part SET moved = moved - 1000 WHERE account_id = %s', pg_temp.a('shop'))),
	('PY003', 'parts are not truncated', 'TRUNCATE payments.account_part')
) v(code, why, statement), pg_temp.raised(v.statement) r;

-- ---------- check() ----------

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');
SELECT is(pg_temp.check_after(v.statement), v.failed, 'check() notices ' || v.what) FROM (VALUES
	('money moved to one part and from none', format('UPDATE payments.account_part SET moved = moved + 1 WHERE account_id = %s AND part = 0', pg_temp.a('shop')),
		'parts share the balance and the limits of their account'),
	('a missing part', format('WITH d AS (DELETE FROM payments.account_part WHERE account_id = %1$s AND part = 3 RETURNING *)
		UPDATE payments.account_part p SET debits = p.debits + d.debits, credits = p.credits + d.credits FROM d WHERE p.account_id = %1$s AND p.part = 0', pg_temp.a('wide')),
		'parts share the balance and the limits of their account'),
	('parts of an ordinary account', format('UPDATE payments.account SET hot = false, parts = NULL WHERE account_id = %s', pg_temp.a('shop')),
		'parts share the balance and the limits of their account')
) v(what, statement, failed);

SELECT * FROM finish();
ROLLBACK;
