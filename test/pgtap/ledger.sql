-- If this fails in production: balances that are not the sum of the postings,
-- an account overdrawn or wrapped around, a repeated call that moves money
-- twice, a ledger that can be edited.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT plan(186);

CREATE ROLE ledger_test_app;
CREATE ROLE ledger_test_stranger;
GRANT USAGE ON SCHEMA payments TO ledger_test_app, ledger_test_stranger;
GRANT EXECUTE ON FUNCTION payments.create_account(text, text, text, text, boolean, bigint, bigint, bigint, boolean, int),
	payments.post(bigint, bigint, bigint, text, text, text, timestamptz, boolean, boolean),
	payments.post_batch(bigint[], bigint[], bigint[], text[], text[], text[], timestamptz[], int[], boolean[], boolean, boolean),
	payments.balance(bigint), payments.balance_at(bigint, timestamptz),
	payments.statement(bigint, timestamptz, timestamptz), payments.close_account(bigint)
TO ledger_test_app, ledger_test_stranger;
DO $do$ BEGIN PERFORM payments.create_merchant('ledger_test'); END $do$;
DO $do$ BEGIN PERFORM payments.create_merchant('ledger_test_2', 'ledger_test_app'); END $do$;

-- Accounts by short names, and times worth remembering.
CREATE TEMP TABLE acct (name text PRIMARY KEY, id bigint);
CREATE TEMP TABLE mark (name text PRIMARY KEY, at timestamptz);

CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.open_account(name text, type text, currency text DEFAULT 'EUR', hot boolean DEFAULT false,
									 min_balance bigint DEFAULT NULL, max_balance bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pg_temp.acct VALUES (name, payments.create_account(name, currency, type, merchant => 'ledger_test', hot => hot,
																   min_balance => min_balance, max_balance => max_balance));
	RETURN pg_temp.a(name);
END
$$;
CREATE FUNCTION pg_temp.balance(text) RETURNS bigint LANGUAGE sql AS 'SELECT b.balance FROM payments.balance(pg_temp.a($1)) b';
-- What a statement raises: SQLSTATE, and message, detail, hint and context in one.
CREATE FUNCTION pg_temp.raised(statement text, OUT code text, OUT told text) LANGUAGE plpgsql AS $$
DECLARE
	d text; h text; c text;
BEGIN
	EXECUTE statement;
	code := 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = PG_EXCEPTION_CONTEXT;
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

-- ---------- what is there ----------

SELECT is_empty($$
	SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'payments'::regnamespace AND c.relname IN ('account', 'posting', 'account_delta', 'trial_balance')
	AND a.attnum > 0 AND NOT a.attisdropped AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
$$, 'every table, view and column of the ledger is described');
SELECT is_empty($$
	SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'payments'::regnamespace
	AND p.proname IN ('create_account', 'close_account', 'post', 'post_batch', 'balance', 'balance_at', 'statement',
		'fold_hot_accounts', 'format_amount', 'guard_account', '_require_account', '_post_movements', '_check_ledger')
	AND obj_description(p.oid, 'pg_proc') IS NULL
$$, 'every function of the ledger is described');
SELECT set_eq($$
	SELECT t.tgrelid::regclass || ' ' || t.tgname FROM pg_trigger t
	WHERE t.tgrelid IN ('payments.posting'::regclass, 'payments.account'::regclass, 'payments.account_delta'::regclass)
	AND NOT t.tgisinternal AND t.tgenabled = 'A'
$$, ARRAY['payments.posting guard_append_only', 'payments.posting guard_truncate', 'payments.account guard_account',
	'payments.account guard_truncate', 'payments.account_delta guard_append_only', 'payments.account_delta guard_truncate'],
	'the guards are there and fire ALWAYS');

-- ---------- opening accounts ----------

SELECT ok(pg_temp.open_account('cash', 'asset') > 0, 'create_account() returns an id');
SELECT is(payments.create_account('cash', 'EUR', 'asset', merchant => 'ledger_test'), pg_temp.a('cash'), 'the same definition again returns the same id');
SELECT is(payments.create_account('cash', 'EUR', 'asset', merchant => 'ledger_test', hot => true), pg_temp.a('cash'), 'whether it is hot is no part of it');
SELECT ok(pg_temp.open_account('wallet', 'liability', min_balance => 0, max_balance => 10000) > 0, 'an account with limits');
SELECT ok(pg_temp.open_account('hot', 'liability', hot => true) > 0, 'a hot account');
SELECT ok(pg_temp.open_account('dollars', 'asset', 'USD') > 0, 'an account in dollars');
SELECT is(r.code || ' ' || substring(r.told FROM 'another ("[a-z_]+")'), 'PY015 ' || v.field, format('another %s is refused, and named', v.field))
FROM (VALUES
	('"type"', $$SELECT payments.create_account('cash', 'EUR', 'expense', merchant => 'ledger_test')$$),
	('"min_balance"', $$SELECT payments.create_account('wallet', 'EUR', 'liability', merchant => 'ledger_test', max_balance => 10000)$$),
	('"max_balance"', $$SELECT payments.create_account('wallet', 'EUR', 'liability', merchant => 'ledger_test', min_balance => 0, max_balance => 9)$$)
) v(field, statement), pg_temp.raised(v.statement) r;
SELECT is(r.code, v.code, format('create_account(): %s', v.why)) FROM (VALUES
	('PY013', 'unknown currency', $$SELECT payments.create_account('x', 'XXQ', 'asset')$$),
	('PY013', 'currencies are upper case', $$SELECT payments.create_account('x', 'eur', 'asset')$$),
	('PY010', 'unknown merchant', $$SELECT payments.create_account('x', 'EUR', 'asset', merchant => 'nobody')$$),
	('22023', 'unknown type', $$SELECT payments.create_account('x', 'EUR', 'revenue')$$),
	('22023', 'no code', $$SELECT payments.create_account(NULL, 'EUR', 'asset')$$),
	('22023', 'empty code', $$SELECT payments.create_account('', 'EUR', 'asset')$$),
	('22023', 'long code', $$SELECT payments.create_account(repeat('x', 201), 'EUR', 'asset')$$),
	('22023', 'minimum above zero', $$SELECT payments.create_account('x', 'EUR', 'asset', min_balance => 1)$$),
	('22023', 'maximum below zero', $$SELECT payments.create_account('x', 'EUR', 'asset', max_balance => -1)$$),
	('22023', 'a hot account has no limits', $$SELECT payments.create_account('x', 'EUR', 'asset', hot => true, min_balance => 0)$$),
	('PY009', 'card number in the code', $$SELECT payments.create_account('user 4111111111111111', 'EUR', 'asset')$$)
) v(code, why, statement), pg_temp.raised(v.statement) r;

-- ---------- posting ----------

INSERT INTO mark VALUES ('before', clock_timestamp());
SELECT ok(payments.post(pg_temp.a('cash'), pg_temp.a('wallet'), 1000, description => 'top-up') > 0, 'post() returns an id');
SELECT results_eq($$SELECT debits, credits, held_debits, held_credits, balance FROM payments.balance(pg_temp.a('cash'))$$,
	$$VALUES (1000::bigint, 0::bigint, 0::bigint, 0::bigint, 1000::bigint)$$, 'an asset grows by debits');
SELECT results_eq($$SELECT debits, credits, held_debits, held_credits, balance FROM payments.balance(pg_temp.a('wallet'))$$,
	$$VALUES (0::bigint, 1000::bigint, 0::bigint, 0::bigint, 1000::bigint)$$, 'a liability grows by credits');
INSERT INTO mark VALUES ('first', clock_timestamp());
SELECT is(r.code, v.code, format('post(): %s', v.why)) FROM (VALUES
	('22023', 'zero', 'SELECT payments.post(%s, %s, 0)'),
	('22023', 'below zero', 'SELECT payments.post(%s, %s, -5)'),
	('22023', 'no amount', 'SELECT payments.post(%s, %s, NULL)'),
	('22023', 'to itself', 'SELECT payments.post(%1$s, %1$s, 1)'),
	('22023', 'empty reference', 'SELECT payments.post(%s, %s, 1, reference => '''')'),
	('22023', 'long reference', 'SELECT payments.post(%s, %s, 1, reference => repeat(''x'', 256))'),
	('22023', 'long description', 'SELECT payments.post(%s, %s, 1, description => repeat(''x'', 1001))'),
	('22023', 'empty kind', 'SELECT payments.post(%s, %s, 1, kind => '''')'),
	('22023', 'infinite time', 'SELECT payments.post(%s, %s, 1, effective_at => ''infinity'')'),
	('PY202', 'no such account', 'SELECT payments.post(%s, 9223372036854775807, 1)'),
	('PY202', 'account 0', 'SELECT payments.post(0, %s, 1)'),
	('PY201', 'currencies differ', 'SELECT payments.post(%s, ' || pg_temp.a('dollars') || ', 1)'),
	('PY009', 'card number in the description', 'SELECT payments.post(%s, %s, 1, description => ''paid by 4111 1111 1111 1111'')'),
	('PY009', 'card number in the reference', 'SELECT payments.post(%s, %s, 1, reference => ''5555-5555-5555-4444'')'),
	('PY204', 'below the minimum', 'SELECT payments.post(%2$s, %1$s, 1001)'),
	('PY204', 'above the maximum', 'SELECT payments.post(%s, %s, 9001)')
) v(code, why, statement), pg_temp.raised(format(v.statement, pg_temp.a('cash'), pg_temp.a('wallet'))) r;
SELECT is(pg_temp.balance('wallet'), 1000::bigint, 'a refused posting changes nothing');
SELECT unalike((pg_temp.raised(format('SELECT payments.post(%s, %s, 1, description => ''4111 1111 1111 1111'')', pg_temp.a('cash'), pg_temp.a('wallet')))).told,
	'%4111%', 'a card number is not echoed');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 9000)', pg_temp.a('cash'), pg_temp.a('wallet')), 'up to the maximum');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 10000)', pg_temp.a('wallet'), pg_temp.a('cash')), 'down to the minimum');
SELECT is(pg_temp.balance('wallet'), 0::bigint, 'which is zero');
SELECT ok(pg_temp.open_account('till', 'asset', min_balance => -100) > 0, 'a debit account with a credit line');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 100)', pg_temp.a('cash'), pg_temp.a('till')), 'may be credited down to it');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 1)', pg_temp.a('cash'), pg_temp.a('till')))).code, 'PY204', 'and no further');
SELECT is(pg_temp.balance('till'), -100::bigint, 'its balance is on its normal side');
SELECT lives_ok(format($$SELECT payments.post(%s, %s, 100, effective_at => '2000-01-01 00:00:00+00', imported => true)$$, pg_temp.a('till'), pg_temp.a('cash')),
	'an effective time long ago');
SELECT is((SELECT effective_at FROM payments.posting WHERE debit_account = pg_temp.a('till')), '2000-01-01 00:00:00+00'::timestamptz, 'is kept as given');

-- Reserved amounts, which hold() will write, are not there to be spent.
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('cash'), pg_temp.a('wallet'), 1000); END $do$;
UPDATE payments.account SET held_debits = 700, held_credits = 8000 WHERE account_id = pg_temp.a('wallet');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 301)', pg_temp.a('wallet'), pg_temp.a('cash')))).code, 'PY204', 'held debits cannot be spent again');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 1001)', pg_temp.a('cash'), pg_temp.a('wallet')))).code, 'PY204', 'held credits need room below the maximum');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 300)', pg_temp.a('wallet'), pg_temp.a('cash')), 'what is not held can be spent');
SELECT is((pg_temp.raised(format('UPDATE payments.account SET debits = debits + 1 WHERE account_id = %s', pg_temp.a('wallet')))).code, '23514', 'the row itself refuses too');
UPDATE payments.account SET held_debits = 0, held_credits = 0 WHERE account_id = pg_temp.a('wallet');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('wallet'), pg_temp.a('cash'), 700); END $do$;

-- ---------- exactly once ----------

DO $do$ BEGIN PERFORM payments.post(pg_temp.a('cash'), pg_temp.a('wallet'), 500); END $do$;
CREATE TEMP TABLE once AS SELECT payments.post(pg_temp.a('wallet'), pg_temp.a('cash'), 500, reference => 'pay-1', description => 'rent') AS id;
SELECT is(payments.post(pg_temp.a('wallet'), pg_temp.a('cash'), 500, reference => 'pay-1', description => 'rent'), (SELECT id FROM once),
	'the same call again returns the first posting, though the account is empty now');
SELECT is(pg_temp.balance('wallet'), 0::bigint, 'and moves nothing');
SELECT is(r.code || ' ' || substring(r.told FROM 'differ in "([a-z_]+)"'), 'PY206 ' || v.field, format('the same reference with another %s is refused', v.field))
FROM (VALUES
	('amount', 'SELECT payments.post(%2$s, %1$s, 499, ''pay-1'', ''rent'')'),
	('debit', 'SELECT payments.post(%1$s, %2$s, 500, ''pay-1'', ''rent'')'),
	('credit', 'SELECT payments.post(%2$s, ' || pg_temp.a('till') || ', 500, ''pay-1'', ''rent'')'),
	('description', 'SELECT payments.post(%2$s, %1$s, 500, ''pay-1'', ''Rent'')'),
	('kind', 'SELECT payments.post(%2$s, %1$s, 500, ''pay-1'', ''rent'', ''rent'')'),
	('effective_at', 'SELECT payments.post(%2$s, %1$s, 500, ''pay-1'', ''rent'', ''manual'', now())')
) v(field, statement), pg_temp.raised(format(v.statement, pg_temp.a('cash'), pg_temp.a('wallet'))) r;
SELECT is((SELECT count(*) FROM payments.posting WHERE merchant = 'ledger_test' AND reference = 'pay-1'), 1::bigint, 'one posting has the reference');
SELECT lives_ok($$SELECT payments.post(payments.create_account('a', 'EUR', 'asset', merchant => 'ledger_test_2'),
	payments.create_account('b', 'EUR', 'asset', merchant => 'ledger_test_2'), 1, reference => 'pay-1')$$, 'another merchant may use the same reference');

-- ---------- the end of the number line ----------

DO $do$ BEGIN PERFORM pg_temp.open_account('vast', 'asset'), pg_temp.open_account('vaster', 'liability'); END $do$;
SELECT lives_ok(format('SELECT payments.post(%s, %s, 9223372036854775807)', pg_temp.a('vast'), pg_temp.a('vaster')), '2^63 - 1 can be posted');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 1)', pg_temp.a('vast'), pg_temp.a('vaster')))).code, 'PY205', 'one more cannot');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 1)', pg_temp.a('vast'), pg_temp.a('cash')))).code, 'PY205', 'nor on one side only');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 9223372036854775807)', pg_temp.a('vaster'), pg_temp.a('vast')), 'it can be posted back');
SELECT is(pg_temp.balance('vast'), 0::bigint, 'and balances');
SELECT is((SELECT balance FROM payments.trial_balance WHERE code = 'TOTAL' AND currency = 'EUR'), 0::numeric, 'a total beyond bigint is no error');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 1000000000000000)', pg_temp.a('cash'), pg_temp.a('hot')))).code, 'PY205', 'a hot account takes no more than the largest payment at once');
SELECT is(error, 'PY205', 'a batch that would overflow is refused there') FROM payments.post_batch(
	ARRAY[pg_temp.a('cash'), pg_temp.a('cash')], ARRAY[pg_temp.a('till'), pg_temp.a('till')], ARRAY[9223372036854775807, 1]) WHERE index = 1;
SELECT ok(pg_temp.open_account('line', 'asset', min_balance => -9223372036854775807 - 1, max_balance => 9223372036854775807) > 0, 'the widest limits');
UPDATE payments.account SET held_credits = 9223372036854775807 WHERE account_id = pg_temp.a('line');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 2)', pg_temp.a('cash'), pg_temp.a('line')))).code, 'PY205', 'what is held has room in the counters, and no check wraps around');
UPDATE payments.account SET held_credits = 0 WHERE account_id = pg_temp.a('line');

-- ---------- closing ----------

DO $do$ BEGIN PERFORM pg_temp.open_account('old', 'liability'); END $do$;
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('cash'), pg_temp.a('old'), 5); END $do$;
SELECT is((pg_temp.raised(format('SELECT payments.close_account(%s)', pg_temp.a('old')))).code, 'PY204', 'an account with a balance is not closed');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('old'), pg_temp.a('cash'), 5, reference => 'last'); END $do$;
SELECT ok(payments.close_account(pg_temp.a('old')) IS NOT NULL, 'an empty one is');
SELECT is(payments.close_account(pg_temp.a('old')), (SELECT closed_at FROM payments.account WHERE account_id = pg_temp.a('old')), 'closing again says when it was');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 5)', pg_temp.a('cash'), pg_temp.a('old')))).code, 'PY203', 'nothing is posted to a closed account');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 5)', pg_temp.a('old'), pg_temp.a('cash')))).code, 'PY203', 'from either side');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 5, reference => ''last'')', pg_temp.a('old'), pg_temp.a('cash')), 'but a repeated call still finds its posting');
SELECT is((pg_temp.raised(format('UPDATE payments.account SET closed_at = NULL WHERE account_id = %s', pg_temp.a('old')))).code, 'PY003', 'a closed account is not reopened');
DO $do$ BEGIN PERFORM pg_temp.open_account('hot old', 'asset', hot => true); END $do$;
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('cash'), pg_temp.a('hot old'), 5); END $do$;
SELECT is((pg_temp.raised(format('SELECT payments.close_account(%s)', pg_temp.a('hot old')))).code, 'PY204', 'nor is a hot one closed with a balance that is not folded');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('hot old'), pg_temp.a('cash'), 5); END $do$;
SELECT ok(payments.close_account(pg_temp.a('hot old')) IS NOT NULL, 'a hot account is closed when empty');
SELECT is((pg_temp.raised(format('SELECT payments.post(%s, %s, 5)', pg_temp.a('cash'), pg_temp.a('hot old')))).code, 'PY203', 'and takes nothing then');

-- ---------- batches ----------

DO $do$ BEGIN PERFORM pg_temp.open_account('purse', 'liability', min_balance => 0); END $do$;
CREATE TEMP TABLE batch AS SELECT * FROM payments.post_batch(
	debits       => ARRAY[pg_temp.a('cash'), pg_temp.a('purse'), pg_temp.a('purse'), pg_temp.a('cash'), pg_temp.a('cash'), 0, pg_temp.a('cash'),
						  NULL, pg_temp.a('cash'), pg_temp.a('cash'), pg_temp.a('purse'), pg_temp.a('cash'), pg_temp.a('cash'), pg_temp.a('cash')],
	credits      => ARRAY[pg_temp.a('purse'), pg_temp.a('cash'), pg_temp.a('cash'), pg_temp.a('purse'), pg_temp.a('purse'), pg_temp.a('purse'), pg_temp.a('dollars'),
						  pg_temp.a('purse'), pg_temp.a('old'), pg_temp.a('cash'), pg_temp.a('cash'), pg_temp.a('purse'), 99999999999, pg_temp.a('hot')],
	amounts      => ARRAY[100, 150, 100, 100, 101, 1, 1, 1, 1, 1, 1, -1, 1, 7]::bigint[],
	"references" => ARRAY['b1', 'b2', 'b3', 'b1', 'b1', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL],
	descriptions => ARRAY[NULL, NULL, 'out', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '4111111111111111', NULL, NULL, 'to hot']);
SELECT results_eq('SELECT index, error FROM batch ORDER BY index', $$VALUES
	(1, NULL), (2, 'PY204'), (3, NULL), (4, NULL), (5, 'PY206'), (6, '22023'), (7, 'PY201'), (8, '22023'), (9, 'PY203'), (10, '22023'),
	(11, 'PY009'), (12, '22023'), (13, 'PY202'), (14, NULL)$$, 'each element of a batch has its own outcome, in order');
SELECT is((SELECT posting_id FROM batch WHERE index = 4), (SELECT posting_id FROM batch WHERE index = 1), 'a repetition within the batch is the same posting');
SELECT is_empty('SELECT * FROM batch WHERE (posting_id IS NULL) = (error IS NULL)', 'an id or an error, never both');
SELECT results_eq($$SELECT debits, credits, balance FROM payments.balance(pg_temp.a('purse'))$$, $$VALUES (100::bigint, 100::bigint, 0::bigint)$$, 'only what passed is in the sums');
SELECT is(pg_temp.balance('hot'), 7::bigint, 'hot accounts too');
SELECT results_eq($$SELECT index, posting_id, error FROM payments.post_batch(ARRAY[pg_temp.a('cash'), pg_temp.a('purse')], ARRAY[pg_temp.a('purse'), pg_temp.a('cash')],
	ARRAY[100, 100], ARRAY['b1', 'b3'], ARRAY[NULL, 'out'])$$, 'SELECT row_number() OVER (ORDER BY index)::int, posting_id, NULL FROM batch WHERE index IN (1, 3)',
	'the same batch again returns the same postings, in order');
SELECT results_eq($$SELECT error FROM payments.post_batch(ARRAY[pg_temp.a('purse'), pg_temp.a('cash'), pg_temp.a('purse')],
	ARRAY[pg_temp.a('cash'), pg_temp.a('purse'), pg_temp.a('cash')], ARRAY[10, 10, 10])$$, $$VALUES ('PY204'), (NULL), (NULL)$$, 'the order decides');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('cash'), pg_temp.a('purse'), 3, reference => 'b4'), payments.post(pg_temp.a('purse'), pg_temp.a('cash'), 3); END $do$;
SELECT results_eq(format($$SELECT error FROM payments.post_batch(ARRAY[pg_temp.a('cash'), pg_temp.a('purse')], ARRAY[pg_temp.a('purse'), pg_temp.a('cash')],
	ARRAY[%s, 3], ARRAY['b4', %L])$$, amount, reference), format($$VALUES (%L::text), ('PY204')$$, error), why)
FROM (VALUES (3, NULL, NULL, 'what was posted before brings in no money now'), (4, NULL, 'PY206', 'nor does a reference that belongs to another posting'),
	(4, 'b5', 'PY206', 'whether or not the next has one of its own')) v(amount, reference, error, why);
SELECT is((SELECT count(*) FROM payments.posting WHERE reference = 'b5'), 0::bigint, 'what was inserted on such money is undone');
SELECT is(pg_temp.balance('purse'), 0::bigint, 'and nothing has moved');
SELECT is((SELECT count(*) FROM payments.post_batch('{}', '{}', '{}')), 0::bigint, 'an empty batch');
SELECT is(r.code, '22023', format('post_batch(): %s', v.why)) FROM (VALUES
	('lengths differ', $$SELECT payments.post_batch('{1,2}', '{2}', '{1,1}')$$),
	('references are too few', $$SELECT payments.post_batch('{1,2}', '{2,1}', '{1,1}', '{x}')$$),
	('two dimensions', $$SELECT payments.post_batch('{{1,2}}', '{{2,1}}', '{{1,1}}')$$),
	('no array', $$SELECT payments.post_batch(NULL, '{}', '{}')$$),
	('too large', $$SELECT payments.post_batch(array_fill(1, ARRAY[100001]), array_fill(2, ARRAY[100001]), array_fill(1, ARRAY[100001]))$$)
) v(why, statement), pg_temp.raised(v.statement) r;
SELECT is((SELECT count(*) FROM payments.post_batch(array_fill(pg_temp.a('cash'), ARRAY[5000]), array_fill(pg_temp.a('purse'), ARRAY[5000]),
	array_fill(2::bigint, ARRAY[5000])) WHERE error IS NULL), 5000::bigint, 'thousands in one call');
SELECT is(pg_temp.balance('purse'), 10000::bigint, 'all of them are in the balance');

-- ---------- hot accounts ----------

SELECT results_eq($$SELECT debits, credits FROM payments.account WHERE account_id = pg_temp.a('hot')$$, $$VALUES (0::bigint, 0::bigint)$$, 'posting does not touch the row of a hot account');
SELECT is((SELECT balance FROM payments.trial_balance WHERE account_id = pg_temp.a('hot')), 7::numeric, 'the trial balance counts what is not folded');
SELECT is(payments.balance_at(pg_temp.a('hot'), 'infinity'), 7::bigint, 'balance_at() too');
SELECT is((SELECT balance FROM payments.statement(pg_temp.a('hot'), NULL, NULL) WHERE kind = 'closing balance'), 7::bigint, 'the statement too');
SELECT ok(payments.fold_hot_accounts() > 0, 'folding');
SELECT results_eq($$SELECT debits, credits FROM payments.account WHERE account_id = pg_temp.a('hot')$$, $$VALUES (0::bigint, 7::bigint)$$, 'moves it into the row');
SELECT is(pg_temp.balance('hot'), 7::bigint, 'and leaves the balance as it is');
SELECT is_empty('SELECT FROM payments.account_delta', 'nothing is left to fold');
SELECT is(payments.fold_hot_accounts(), 0::bigint, 'folding again does nothing');

-- ---------- postings of payments ----------

-- As the worker does: the movement rows, then their postings.
CREATE TEMP TABLE pay AS SELECT payment_id FROM payments.create_payment('ledger-test', 1000, 'KWD', merchant => 'ledger_test');
CREATE FUNCTION pg_temp.move(amounts bigint[], events text[], objects text[], psp text DEFAULT 'acme') RETURNS void LANGUAGE sql AS $$
	INSERT INTO payments.movement (psp, object_id, kind, payment_id, amount, currency, source, recorded_at)
	SELECT psp, m.object, m.event, pay.payment_id, m.amount, 'KWD', 'answer', now() FROM unnest(amounts, events, objects) m(amount, event, object), pg_temp.pay
	ON CONFLICT DO NOTHING;
	SELECT payments._post_movements(amounts, events, (SELECT array_agg(psp || ':' || m.object || ':' || m.event ORDER BY m.i)
		FROM unnest(events, objects) WITH ORDINALITY m(event, object, i)), 'ledger_test', psp, 'KWD', pay.payment_id) FROM pg_temp.pay $$;
DO $do$ BEGIN PERFORM pg_temp.move(ARRAY[1000, 30, 200, 50, 200, 70, 70], ARRAY['capture', 'fee', 'refund', 'dispute', 'refund_failed', 'late_capture', 'dispute_won'],
	ARRAY['c', 'c', 'r', 'd', 'r', 'l', 'd']); END $do$;
SELECT results_eq($$SELECT code, type, balance::bigint, balance_text FROM payments.trial_balance WHERE merchant = 'ledger_test' AND currency = 'KWD' ORDER BY code$$, $$VALUES
	('dispute_reserve', 'asset', -20::bigint, '-0.020 KWD'), ('merchant_balance', 'liability', 1000, '1.000 KWD'), ('psp_fees', 'expense', 30, '0.030 KWD'),
	('psp_receivable:acme', 'asset', 1060, '1.060 KWD'), ('suspense', 'liability', 70, '0.070 KWD')$$, 'movements open their accounts and post by the rules');
SELECT lives_ok($$SELECT pg_temp.move(ARRAY[1000], ARRAY['capture'], ARRAY['c'])$$, 'the same movement again');
SELECT is((SELECT count(*) FROM payments.posting WHERE reference = 'acme:c:capture:1'), 1::bigint, 'is posted once');
SELECT is((SELECT balance FROM payments.trial_balance WHERE merchant = 'ledger_test' AND code = 'merchant_balance'), 1000::numeric, 'and counted once');
SELECT is((pg_temp.raised($$SELECT pg_temp.move(ARRAY[5, 999], ARRAY['fee', 'capture'], ARRAY['x', 'c'])$$)).code, 'PY206', 'another amount under its reference is refused');
SELECT is_empty($$SELECT FROM payments.posting WHERE reference LIKE 'acme:x:%'$$, 'and so is all that came with it');
SELECT lives_ok($$SELECT pg_temp.move(ARRAY[1000, 1], ARRAY['capture', 'fee'], ARRAY['c', 'y'])$$, 'an old and a new movement together');
SELECT is((SELECT balance FROM payments.trial_balance WHERE merchant = 'ledger_test' AND code = 'psp_fees'), 31::numeric, 'post the new one');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 1, reference => ''acme:z:capture:1'')', pg_temp.a('cash'), pg_temp.a('hot')), 'a caller of post() may use any reference');
SELECT lives_ok($$SELECT pg_temp.move(ARRAY[1], ARRAY['capture'], ARRAY['z'])$$, 'and stands in no payment''s way');
SELECT is((pg_temp.raised($$SELECT pg_temp.move(ARRAY[1], ARRAY['gift'], ARRAY['g'])$$)).code, 'PY207', 'an event without a rule');

INSERT INTO payments.posting_rule (event, leg, debit, credit, builtin) VALUES
	('capture', 1, 'psp_receivable:{psp}', 'merchant_escrow', false), ('capture', 2, 'statistics', 'statistics_contra:{psp}', false);
SELECT is((pg_temp.raised($$SELECT pg_temp.move(ARRAY[1], ARRAY['capture'], ARRAY['u'])$$)).code, 'PY207', 'an account without a template');
INSERT INTO payments.account_template (code, type, min_balance, max_balance, builtin) VALUES
	('merchant_escrow', 'liability', 0, 500, false), ('statistics', 'asset', NULL, NULL, false), ('statistics_contra:{psp}', 'liability', NULL, NULL, false);
SELECT lives_ok($$SELECT pg_temp.move(ARRAY[400], ARRAY['capture'], ARRAY['u'], psp => 'emca')$$, 'rows of users replace the shipped rules of the event');
SELECT results_eq($$SELECT code, balance::bigint FROM payments.trial_balance WHERE merchant = 'ledger_test' AND currency = 'KWD'
	AND code IN ('merchant_balance', 'merchant_escrow', 'statistics', 'statistics_contra:emca', 'psp_receivable:emca') ORDER BY code$$,
	$$VALUES ('merchant_balance', 1001::bigint), ('merchant_escrow', 400), ('psp_receivable:emca', 400), ('statistics', 400), ('statistics_contra:emca', 400)$$, 'as a whole');
SELECT is((pg_temp.raised($$SELECT pg_temp.move(ARRAY[100, 1], ARRAY['capture', 'capture'], ARRAY['v', 'w'])$$)).code, 'PY204', 'templates can set limits');
DELETE FROM payments.posting_rule WHERE NOT builtin AND event = 'capture';

-- ---------- statements ----------

DO $do$ BEGIN PERFORM pg_temp.open_account('s', 'liability'), pg_temp.open_account('t', 'asset'); END $do$;
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('t'), pg_temp.a('s'), 100, description => 'one'); END $do$;
INSERT INTO mark VALUES ('s1', clock_timestamp());
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('s'), pg_temp.a('t'), 30, kind => 'fee', description => 'two'); END $do$;
DO $do$ BEGIN PERFORM payments.post(payments.create_account('a', 'EUR', 'asset', merchant => 'ledger_test_2'), pg_temp.a('s'), 5, effective_at => '2001-01-01', imported => true); END $do$;
INSERT INTO mark VALUES ('s2', clock_timestamp());
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('t'), pg_temp.a('s'), 1000); END $do$;
CREATE FUNCTION pg_temp.at(text) RETURNS timestamptz LANGUAGE sql AS 'SELECT at FROM pg_temp.mark WHERE name = $1';
SELECT results_eq($$SELECT kind, counterpart, description, debit, credit, balance FROM payments.statement(pg_temp.a('s'), pg_temp.at('s1'), pg_temp.at('s2'))$$, $$VALUES
	('opening balance', NULL, NULL, NULL::bigint, NULL::bigint, 100::bigint), ('fee', 't', 'two', 30, NULL, 70),
	('manual', 'ledger_test_2/a', NULL, NULL, 5, 75), ('closing balance', NULL, NULL, NULL, NULL, 75)$$, 'a statement of a part of the history');
SELECT results_eq($$SELECT balance FROM payments.statement(pg_temp.a('s'), NULL, NULL)$$, 'VALUES (0::bigint), (100), (70), (75), (1075), (1075)', 'and of all of it');
SELECT results_eq($$SELECT kind, balance FROM payments.statement(pg_temp.a('t'), pg_temp.at('s2'), pg_temp.at('s2'))$$, $$VALUES ('opening balance', 70::bigint), ('closing balance', 70)$$, 'of no time at all, on the other side');
SELECT results_eq($$SELECT posting_id IS NULL FROM payments.statement(pg_temp.a('s'), pg_temp.at('s1'), pg_temp.at('s2'))$$, 'VALUES (true), (false), (false), (true)', 'opening and closing lines are no postings');
SELECT is((pg_temp.raised($$SELECT payments.statement(pg_temp.a('s'), now(), now() - interval '1 day')$$)).code, '22023', 'a statement backwards');
SELECT is(payments.balance_at(pg_temp.a('s'), pg_temp.at('before')), 0::bigint, 'balance_at() before anything');
SELECT is(payments.balance_at(pg_temp.a('s'), pg_temp.at('s1')), 100::bigint, 'balance_at() after the first');
SELECT is(payments.balance_at(pg_temp.a('s'), pg_temp.at('s2')), 75::bigint, 'balance_at() goes by when it was booked, not by effective_at');
SELECT is(payments.balance_at(pg_temp.a('s'), (SELECT max(booked_at) FROM payments.posting WHERE credit_account = pg_temp.a('s'))), 1075::bigint, 'balance_at() includes the time itself');
SELECT is((pg_temp.raised($$SELECT payments.balance_at(pg_temp.a('s'), NULL)$$)).code, '22023', 'balance_at() without a time');
SELECT is((pg_temp.raised($$SELECT payments.balance(0)$$)).code, 'PY202', 'balance() of no account');

-- ---------- reading ----------

SELECT results_eq($$SELECT merchant, code, balance, balance_text FROM payments.trial_balance WHERE currency = 'KWD' AND code IN ('psp_fees', 'TOTAL')
	AND coalesce(merchant, 'ledger_test') = 'ledger_test'$$,
	$$VALUES ('ledger_test', 'psp_fees', 31::numeric, '0.031 KWD'), (NULL, 'TOTAL', 0, '0.000 KWD')$$, 'the total of a currency comes last and is zero');
SELECT is(payments.format_amount(a, c), t, format('format_amount(%s, %s)', a, c)) FROM (VALUES
	(1050::bigint, 'EUR', '10.50 EUR'), (-5, 'EUR', '-0.05 EUR'), (0, 'USD', '0.00 USD'), (1050, 'JPY', '1050 JPY'), (1, 'KWD', '0.001 KWD'),
	(9223372036854775807, 'EUR', '92233720368547758.07 EUR')) v(a, c, t);
SELECT is((pg_temp.raised($$SELECT payments.format_amount(1, 'XXQ')$$)).code, 'PY013', 'format_amount() of an unknown currency');

-- ---------- what is written stays written ----------

SELECT is(r.code, 'PY003', v.why) FROM (VALUES
	('a posting is not changed', 'UPDATE payments.posting SET amount = amount + 1'),
	('a posting is not deleted', 'DELETE FROM payments.posting'),
	('postings are not truncated', 'TRUNCATE payments.posting'),
	('an account is not deleted', 'DELETE FROM payments.account'),
	('accounts are not truncated', 'TRUNCATE payments.account'),
	('an account keeps its merchant', $$UPDATE payments.account SET merchant = 'x'$$),
	('its code', $$UPDATE payments.account SET code = 'x'$$),
	('its currency', $$UPDATE payments.account SET currency = 'USD' WHERE currency = 'EUR'$$),
	('its type', $$UPDATE payments.account SET type = 'income'$$),
	('its id', 'UPDATE payments.account SET account_id = DEFAULT'),
	('its temperature', 'UPDATE payments.account SET hot = NOT hot, min_balance = NULL, max_balance = NULL'),
	('its date', $$UPDATE payments.account SET created_at = created_at - interval '1 day'$$),
	('sums do not shrink', 'UPDATE payments.account SET debits = debits - 1 WHERE debits > 0'),
	('deltas are not changed', format('SELECT payments.post(%s, %s, 1); UPDATE payments.account_delta SET debits = debits + 1', pg_temp.a('cash'), pg_temp.a('hot'))),
	('deltas are not truncated', 'TRUNCATE payments.account_delta'),
	('nor as a replica', 'SET LOCAL session_replication_role = replica; DELETE FROM payments.posting'),
	('nor an account as a replica', 'SET LOCAL session_replication_role = replica; UPDATE payments.account SET debits = 0 WHERE debits > 0')
) v(why, statement), pg_temp.raised(v.statement) r;

-- ---------- who may ----------

SELECT lives_ok($$SET LOCAL ROLE ledger_test_app; SELECT payments.create_account('c', 'EUR', 'asset', merchant => 'ledger_test_2'); RESET ROLE$$, 'a member of the merchant''s role opens accounts');
SELECT is(r.code, '42501', format('a stranger cannot: %s', v.statement)) FROM (VALUES
	($$SELECT payments.create_account('d', 'EUR', 'asset', merchant => 'ledger_test_2')$$),
	('SELECT payments.post(%1$s, %2$s, 1)'), ('SELECT payments.post(%3$s, %1$s, 1)'),
	('SELECT payments.post_batch(ARRAY[%3$s], ARRAY[%1$s], ARRAY[1])'),
	('SELECT payments.balance(%1$s)'), ('SELECT payments.balance_at(%1$s, now())'), ('SELECT payments.statement(%1$s, NULL, NULL)'), ('SELECT payments.close_account(%1$s)')
) v(statement), payments.create_account('a', 'EUR', 'asset', merchant => 'ledger_test_2') a, payments.create_account('b', 'EUR', 'asset', merchant => 'ledger_test_2') b,
	pg_temp.raised('SET LOCAL ROLE ledger_test_stranger; ' || format(v.statement, a, b, pg_temp.a('cash'))) r;

-- ---------- check() ----------

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');
SELECT is(pg_temp.check_after(v.statement), v.failed, format('check() notices: %s', v.what)) FROM (VALUES
	('a sum raised by hand', format('UPDATE payments.account SET debits = debits + 1 WHERE account_id = %s', pg_temp.a('cash')),
		'debits equal credits in every currency; sums of an account are those of its postings'),
	('two sums raised by hand', format('UPDATE payments.account SET debits = debits + 1, credits = credits + 1 WHERE account_id = %s', pg_temp.a('cash')),
		'sums of an account are those of its postings'),
	('a posting that is not in the sums', format('INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
		VALUES (%s, %s, 1, now(), now(), ''EUR'', ''x'', ''ledger_test'')', pg_temp.a('cash'), pg_temp.a('wallet')),
		'sums of an account are those of its postings'),
	('a posting in another currency', format('INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
		VALUES (%s, %s, 1, now(), now(), ''USD'', ''x'', ''ledger_test'')', pg_temp.a('cash'), pg_temp.a('wallet')),
		'a posting is in the currency of its accounts; sums of an account are those of its postings'),
	('a posting without its account', format('INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
		VALUES (%s, 9223372036854775807, 1, now(), now(), ''EUR'', ''x'', ''ledger_test'')', pg_temp.a('cash')),
		'every posting has its accounts; sums of an account are those of its postings'),
	('a delta of an account with limits', format('INSERT INTO payments.account_delta (account_id, debits, credits) VALUES (%s, 0, 0)', pg_temp.a('wallet')),
		'only accounts without limits have deltas, and no hot one has holds'),
	('a delta of no account', 'INSERT INTO payments.account_delta (account_id, debits, credits) VALUES (0, 0, 0)', 'every posting has its accounts'),
	('an account below its minimum, once a superuser has removed the guard', format('SET LOCAL allow_system_table_mods = on;
		UPDATE pg_trigger SET tgenabled = ''D'' WHERE tgname = ''guard_account'';
		UPDATE pg_class SET relpages = relpages WHERE oid = ''payments.account''::regclass;
		UPDATE payments.account SET held_debits = debits + credits + 1 WHERE account_id = %s', pg_temp.a('purse')),
		'no account is beyond its limits; what is held on an account is what is left of its holds'),
	('a posting in a payment''s name without a movement', format('INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, payment_id, reference)
		VALUES (%s, %s, 1, now(), now(), ''EUR'', ''capture'', ''ledger_test'', ''00000000-0000-7000-8000-000000000001'', ''a:b:capture:1'')', pg_temp.a('cash'), pg_temp.a('wallet')),
		'a reference belongs to one posting, or to one that was refused; every movement of money is posted once, and payments post nothing else; sums of an account are those of its postings')
) v(what, statement, failed);

SELECT * FROM finish();
ROLLBACK;
