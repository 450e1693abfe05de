-- If this fails in production: a chart of accounts with loops in it, totals
-- that leave out or double a branch, or a branch that shows another merchant's
-- money.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT plan(36);

CREATE ROLE tree_app;
GRANT payments_app TO tree_app;
DO $do$ BEGIN PERFORM payments.create_merchant('tree'); PERFORM payments.create_merchant('grove', 'tree_app'); END $do$;

CREATE TEMP TABLE acct (name text PRIMARY KEY, id bigint);
GRANT SELECT ON acct TO tree_app;
CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.open(name text, parent text DEFAULT NULL, type text DEFAULT 'asset', currency text DEFAULT 'EUR', hot boolean DEFAULT false,
							 merchant text DEFAULT 'tree') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
	above bigint := (SELECT id FROM pg_temp.acct a WHERE a.name = parent);
BEGIN
	INSERT INTO pg_temp.acct VALUES (name, payments.create_account(name, currency, type, merchant => merchant, hot => hot, parent => above));
	RETURN pg_temp.a(name);
END
$$;
CREATE FUNCTION pg_temp.post(debit text, credit text, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM payments.post(pg_temp.a(debit), pg_temp.a(credit), amount);
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

-- ---------- a chart of accounts ----------

SELECT ok(pg_temp.open('assets') > 0, 'a root');
SELECT ok(pg_temp.open('banks', 'assets') > 0, 'an account below it');
SELECT ok(pg_temp.open('bank b', 'banks') > 0 AND pg_temp.open('bank a', 'banks') > 0, 'two below that');
SELECT ok(pg_temp.open('till', 'assets', hot => true) > 0, 'a hot one');
SELECT ok(pg_temp.open('owed', type => 'liability') > 0 AND pg_temp.open('alone') > 0, 'and some elsewhere');
SELECT is(payments.create_account('banks', 'EUR', 'asset', merchant => 'tree', parent => pg_temp.a('assets')), pg_temp.a('banks'), 'the same definition again is the same account');
SELECT is(r.code || ' ' || substring(r.told FROM 'another ("[a-z_]+")'), 'PY015 "parent"', 'another parent is not: ' || v.why) FROM (VALUES
	('none', $$SELECT payments.create_account('banks', 'EUR', 'asset', merchant => 'tree')$$),
	('a different one', format($$SELECT payments.create_account('banks', 'EUR', 'asset', merchant => 'tree', parent => %s)$$, pg_temp.a('alone'))),
	('itself', format($$SELECT payments.create_account('banks', 'EUR', 'asset', merchant => 'tree', parent => %s)$$, pg_temp.a('banks'))),
	('its child', format($$SELECT payments.create_account('banks', 'EUR', 'asset', merchant => 'tree', parent => %s)$$, pg_temp.a('bank a')))
) v(why, statement), pg_temp.raised(v.statement) r;
SELECT is(r.code, v.code, 'a parent is refused: ' || v.why) FROM (VALUES
	('22023', 'of another type', format($$SELECT payments.create_account('x', 'EUR', 'liability', merchant => 'tree', parent => %s)$$, pg_temp.a('assets'))),
	('22023', 'of the same normal side', format($$SELECT payments.create_account('x', 'EUR', 'expense', merchant => 'tree', parent => %s)$$, pg_temp.a('assets'))),
	('22023', 'of another currency', format($$SELECT payments.create_account('x', 'USD', 'asset', merchant => 'tree', parent => %s)$$, pg_temp.a('assets'))),
	('PY202', 'of another merchant', format($$SELECT payments.create_account('x', 'EUR', 'asset', merchant => 'grove', parent => %s)$$, pg_temp.a('assets'))),
	('PY202', 'which is not there', $$SELECT payments.create_account('x', 'EUR', 'asset', merchant => 'tree', parent => 9223372036854775807)$$)
) v(code, why, statement), pg_temp.raised(v.statement) r;
SELECT is((pg_temp.raised(format('UPDATE payments.account SET parent = %s WHERE account_id = %s', v.parent, pg_temp.a(v.child)))).code, 'PY003', v.why)
FROM (VALUES ('assets', pg_temp.a('bank a')::text, 'a parent is not put below its grandchild'), ('banks', 'NULL', 'nor taken away'), ('alone', pg_temp.a('assets')::text, 'nor given')) v(child, parent, why);

-- ---------- totals ----------

SELECT results_eq(format('SELECT depth, code, balance, total, total_text FROM payments.account_totals(%s)', pg_temp.a('assets')), $$VALUES
	(0, 'assets', 0::numeric, 0::numeric, '0.00 EUR'), (1, 'banks', 0, 0, '0.00 EUR'), (2, 'bank a', 0, 0, '0.00 EUR'), (2, 'bank b', 0, 0, '0.00 EUR'),
	(1, 'till', 0, 0, '0.00 EUR')$$, 'nothing comes to nothing');
SELECT lives_ok($$SELECT pg_temp.post('bank a', 'owed', 1000), pg_temp.post('bank b', 'owed', 200), pg_temp.post('banks', 'owed', 30), pg_temp.post('till', 'owed', 4),
	pg_temp.post('alone', 'owed', 100000), pg_temp.post('owed', 'bank b', 250), pg_temp.post('till', 'bank a', 5)$$, 'postings to all levels');
SELECT results_eq(format('SELECT depth, code, balance, total, total_text, parent FROM payments.account_totals(%s)', pg_temp.a('assets')), format($$VALUES
	(0, 'assets', 0::numeric, 984::numeric, '9.84 EUR', NULL), (1, 'banks', 30, 975, '9.75 EUR', %1$s::bigint), (2, 'bank a', 995, 995, '9.95 EUR', %2$s),
	(2, 'bank b', -50, -50, '-0.50 EUR', %2$s), (1, 'till', 9, 9, '0.09 EUR', %1$s)$$, pg_temp.a('assets'), pg_temp.a('banks')), 'each account counts once on each level above it, hot ones with what is not folded');
SELECT is(payments.fold_hot_accounts(), 2::bigint, 'folding');
SELECT results_eq(format('SELECT code, total FROM payments.account_totals(%s)', pg_temp.a('assets')),
	$$VALUES ('assets', 984::numeric), ('banks', 975), ('bank a', 995), ('bank b', -50), ('till', 9)$$, 'changes no total');
SELECT results_eq(format('SELECT depth, code, total FROM payments.account_totals(%s)', pg_temp.a('banks')),
	$$VALUES (0, 'banks', 975::numeric), (1, 'bank a', 995), (1, 'bank b', -50)$$, 'a branch');
SELECT results_eq(format('SELECT code, balance, total FROM payments.account_totals(%s)', pg_temp.a('owed')),
	$$VALUES ('owed', 100984::numeric, 100984::numeric)$$, 'a leaf, on its normal side');
SELECT lives_ok($$SELECT pg_temp.open('deep 1', 'alone'), pg_temp.open('deep 2', 'deep 1'), pg_temp.open('deep 3', 'deep 2'), pg_temp.open('deep 4', 'deep 3')$$, 'a deep branch');
SELECT lives_ok($$SELECT pg_temp.open('vast 1', type => 'equity'), pg_temp.open('vast 2', type => 'equity'), pg_temp.post('deep 4', 'vast 1', 9223372036854775807), pg_temp.post('deep 3', 'vast 2', 9223372036854775807)$$,
	'with sums at the end of the number line');
SELECT results_eq(format('SELECT max(depth), max(total) FROM payments.account_totals(%s)', pg_temp.a('alone')), $$VALUES (4, 18446744073709651614::numeric)$$, 'totals beyond bigint');

-- ---------- who may ----------

SELECT is(pg_temp.open('g1', merchant => 'grove') > 0, true, 'an account of a merchant with a role of its own');
CREATE ROLE tree_stranger;
GRANT payments_app TO tree_stranger;
SELECT is((pg_temp.raised(format('SET LOCAL ROLE tree_stranger; SELECT * FROM payments.account_totals(%s)', pg_temp.a('g1')))).code, '42501', 'a stranger reads no totals');
SELECT is((pg_temp.raised(format('SET LOCAL ROLE tree_app; SELECT * FROM payments.account_totals(%s); RESET ROLE', pg_temp.a('g1')))).code, 'none', 'a member of the role does');
SELECT is((pg_temp.raised('SELECT * FROM payments.account_totals(0)')).code, 'PY202', 'totals of no account');

-- ---------- check() ----------

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');
SELECT is(pg_temp.check_after(format('INSERT INTO payments.account (merchant, code, currency, type, parent) SELECT ''tree'', ''forged'', ''EUR'', %L, %s', v.type, v.parent)),
	'an account is below an older one of its merchant, currency and type', 'check() notices ' || v.what)
FROM (VALUES ('a parent that does not exist', 'asset', '0'), ('a parent of another type', 'income', pg_temp.a('assets')::text),
	('a younger parent', 'asset', 'currval(pg_get_serial_sequence(''payments.account'', ''account_id''))')) v(what, type, parent);

SELECT * FROM finish();
ROLLBACK;
