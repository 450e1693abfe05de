-- If this fails in production: an account that is switched to hot or back
-- loses postings, refuses them, or is left with limits or holds that nobody
-- checks.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT plan(40);

DO $do$ BEGIN PERFORM payments.create_merchant('switch'); END $do$;
CREATE TEMP TABLE acct AS SELECT name, payments.create_account(name, 'EUR', type, merchant => 'switch', min_balance => minimum, max_balance => maximum) AS id
FROM (VALUES ('bank', 'asset', NULL::bigint, NULL::bigint), ('fees', 'income', NULL, NULL), ('purse', 'liability', 0, NULL), ('jar', 'liability', NULL, 500),
	('old', 'asset', NULL, NULL)) v(name, type, minimum, maximum);
CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.state(text) RETURNS text LANGUAGE sql AS $$
	SELECT format('hot %s, row %s/%s, deltas %s, balance %s', a.hot, a.debits, a.credits,
		(SELECT count(*) FROM payments.account_delta d WHERE d.account_id = a.account_id), b.balance)
	FROM payments.account a, payments.balance(a.account_id) b WHERE a.account_id = pg_temp.a($1) $$;
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
-- Which invariants fail after a statement, which is then undone.
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

-- ---------- there and back ----------

SELECT ok(payments.post(pg_temp.a('bank'), pg_temp.a('fees'), 100) > 0, 'posting to an ordinary account');
SELECT is(payments.set_account_hot(pg_temp.a('fees'), true), true, 'it becomes hot');
SELECT is(payments.set_account_hot(pg_temp.a('fees'), true), false, 'once');
SELECT ok(payments.post(pg_temp.a('bank'), pg_temp.a('fees'), 20) > 0 AND payments.post(pg_temp.a('fees'), pg_temp.a('bank'), 3) > 0, 'posting goes on');
SELECT is(pg_temp.state('fees'), 'hot t, row 0/100, deltas 2, balance 117', 'into deltas');
SELECT is(payments.set_account_hot(pg_temp.a('fees'), false), true, 'it becomes ordinary');
SELECT is(pg_temp.state('fees'), 'hot f, row 3/120, deltas 0, balance 117', 'and has all of it in its row');
SELECT is(payments.set_account_hot(pg_temp.a('fees'), false), false, 'once');
SELECT is(payments.create_account('fees', 'EUR', 'income', merchant => 'switch'), pg_temp.a('fees'), 'its definition is what it was');
SELECT ok(payments.post(pg_temp.a('bank'), pg_temp.a('fees'), 1) > 0, 'posting goes on');
SELECT is(pg_temp.state('fees'), 'hot f, row 3/121, deltas 0, balance 118', 'into the row');
SELECT is(payments.set_account_hot(pg_temp.a('fees'), true) AND payments.set_account_hot(pg_temp.a('fees'), false), true, 'there and back with nothing posted');
SELECT is(pg_temp.state('fees'), 'hot f, row 3/121, deltas 0, balance 118', 'changes nothing');

-- A transaction that began while it was hot may leave a delta behind.
INSERT INTO payments.account_delta (account_id, debits, credits) VALUES (pg_temp.a('fees'), 0, 50), (pg_temp.a('bank'), 50, 0);
INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
SELECT pg_temp.a('bank'), pg_temp.a('fees'), 50, clock_timestamp(), clock_timestamp(), 'EUR', 'manual', 'switch';
SELECT is(pg_temp.state('fees'), 'hot f, row 3/121, deltas 1, balance 168', 'a late delta counts');
SELECT is(payments.balance_at(pg_temp.a('fees'), 'infinity'), 168::bigint, 'in balance_at()');
SELECT is((SELECT balance FROM payments.statement(pg_temp.a('fees'), NULL, NULL) WHERE kind = 'closing balance'), 168::bigint, 'in the statement');
SELECT is((SELECT balance FROM payments.trial_balance WHERE account_id = pg_temp.a('fees')), 168::numeric, 'in the trial balance');
SELECT is((SELECT total FROM payments.account_totals(pg_temp.a('fees'))), 168::numeric, 'in the totals');
SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok', 'and is nothing wrong');
SELECT is((pg_temp.raised(format('SELECT payments.post(%1$s, %2$s, 168); SELECT payments.close_account(%1$s)', pg_temp.a('fees'), pg_temp.a('bank')))).code, 'none', 'closing counts it too');
SELECT is(payments.fold_hot_accounts(), 2::bigint, 'folding picks it up');
SELECT is(pg_temp.state('fees'), 'hot f, row 171/171, deltas 0, balance 0', 'into the row');

-- ---------- what needs the row's lock ----------

SELECT is(r.code, v.code, v.why) FROM (VALUES
	('22023', 'an account with a minimum is not made hot', format('SELECT payments.set_account_hot(%s, true)', pg_temp.a('purse'))),
	('22023', 'nor one with a maximum', format('SELECT payments.set_account_hot(%s, true)', pg_temp.a('jar'))),
	('none', 'making it ordinary is no matter', format('SELECT payments.set_account_hot(%s, false)', pg_temp.a('jar'))),
	('PY203', 'nor one that is closed', format('SELECT payments.close_account(%1$s); SELECT payments.set_account_hot(%1$s, true)', pg_temp.a('old'))),
	('PY202', 'nor one that is not there', 'SELECT payments.set_account_hot(0, true)'),
	('22023', 'neither', format('SELECT payments.set_account_hot(%s, NULL)', pg_temp.a('bank')))
) v(code, why, statement), pg_temp.raised(v.statement) r;
SELECT ok((SELECT hold_id FROM payments.hold(pg_temp.a('bank'), pg_temp.a('purse'), 10, reference => 'h')) > 0, 'a hold');
SELECT is((pg_temp.raised(format('SELECT payments.set_account_hot(%s, true)', pg_temp.a('bank')))).code, 'PY204', 'keeps an account from becoming hot');
SELECT is((SELECT payments.void_hold(hold_id) FROM payments.ledger_hold WHERE reference = 'h' AND merchant = 'switch'), 10::bigint, 'without it');
SELECT is(payments.set_account_hot(pg_temp.a('bank'), true), true, 'it becomes hot');
SELECT is((pg_temp.raised(format('SELECT payments.hold(%s, %s, 10)', pg_temp.a('bank'), pg_temp.a('purse')))).code, '22023', 'and takes no more holds');

-- Behind the function's back: only what needs no lock.
SELECT is((pg_temp.raised(v.statement)).code, v.code, v.why) FROM (VALUES
	('PY003', 'no UPDATE makes an account with limits hot', format('UPDATE payments.account SET hot = true WHERE account_id = %s', pg_temp.a('purse'))),
	('PY003', 'nor one with something held', format('UPDATE payments.account SET hot = true, held_debits = 1 WHERE account_id = %s', pg_temp.a('fees'))),
	('PY003', 'nor takes its limits away first', format('UPDATE payments.account SET min_balance = NULL WHERE account_id = %s', pg_temp.a('purse'))),
	('PY003', 'nor gives a hot one limits', format('UPDATE payments.account SET hot = false, min_balance = 0 WHERE account_id = %s', pg_temp.a('bank'))),
	('none', 'but one without', format('UPDATE payments.account SET hot = NOT hot WHERE account_id = %s', pg_temp.a('fees')))
) v(code, why, statement);

-- ---------- check() ----------

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');
SELECT is(pg_temp.check_after(format('UPDATE payments.account SET held_debits = 1 WHERE account_id = %s', pg_temp.a('bank'))),
	'only accounts without limits have deltas, and no hot one has holds; what is held on an account is what is left of its holds', 'check() notices something held on a hot account');

SELECT * FROM finish();
ROLLBACK;
