-- If this fails in production: an amount that was promised is not there when it
-- is taken, is taken twice, or stays locked up for good; or a posting is taken
-- back twice.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT * FROM no_plan();

CREATE ROLE holds_test_app IN ROLE payments_app;
CREATE ROLE holds_test_stranger IN ROLE payments_app;
DO $do$ BEGIN PERFORM payments.create_merchant('holds_test', 'holds_test_app'); END $do$;
GRANT holds_test_app TO CURRENT_USER;
CREATE TEMP TABLE acct (name text PRIMARY KEY, id bigint);
CREATE TEMP TABLE held (name text PRIMARY KEY, id bigint, amount bigint);
CREATE TEMP TABLE made (name text PRIMARY KEY, id bigint);

CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.h(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.held WHERE name = $1';
CREATE FUNCTION pg_temp.m(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.made WHERE name = $1';
INSERT INTO acct SELECT name, payments.create_account(name, 'EUR', type, merchant => 'holds_test', hot => name = 'hot',
													  min_balance => min_balance, max_balance => max_balance)
FROM (VALUES ('bank', 'asset', NULL, NULL), ('purse', 'liability', 0, 10000), ('shop', 'liability', 0, 500), ('till', 'asset', 0, NULL),
	('hot', 'asset', NULL, NULL), ('free', 'equity', NULL, NULL), ('done', 'liability', NULL, NULL)) v(name, type, min_balance, max_balance);
INSERT INTO acct VALUES ('dollars', payments.create_account('dollars', 'USD', 'asset', merchant => 'holds_test'));
-- Fills in account, hold and posting ids: {purse}, [hold], <posting>.
CREATE FUNCTION pg_temp.with_ids(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT '{' || name || '}' AS mark, id FROM pg_temp.acct UNION ALL SELECT '[' || name || ']', id FROM pg_temp.held
			 UNION ALL SELECT '<' || name || '>', id FROM pg_temp.made LOOP
		statement := replace(statement, r.mark, r.id::text);
	END LOOP;
	RETURN statement;
END
$$;
CREATE FUNCTION pg_temp.raised(statement text, OUT code text, OUT told text) LANGUAGE plpgsql AS $$
DECLARE
	d text; h text;
BEGIN
	EXECUTE pg_temp.with_ids(statement);
	code := 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	code := SQLSTATE;
	told := concat_ws(' ', SQLERRM, d, h);
END
$$;
CREATE FUNCTION pg_temp.keep_hold(name text, arguments text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	EXECUTE pg_temp.with_ids('SELECT hold_id, amount FROM payments.hold(' || arguments || ')') INTO STRICT r;
	INSERT INTO pg_temp.held VALUES (name, r.hold_id, r.amount);
	RETURN r.amount;
END
$$;
CREATE FUNCTION pg_temp.keep(name text, call text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	made bigint;
BEGIN
	EXECUTE pg_temp.with_ids('SELECT payments.' || call) INTO STRICT made;
	INSERT INTO pg_temp.made VALUES (name, made);
	RETURN made > 0;
END
$$;
-- balance, held debits, held credits
CREATE FUNCTION pg_temp.state(text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', b.balance, b.held_debits, b.held_credits) FROM payments.balance(pg_temp.a($1)) b $$;
CREATE FUNCTION pg_temp.failed() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(c.invariant, '; ' ORDER BY c.invariant) FROM payments._check_ledger() c WHERE NOT c.ok $$;
CREATE FUNCTION pg_temp.check_after(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	failed text;
BEGIN
	EXECUTE pg_temp.with_ids(statement);
	failed := pg_temp.failed();
	RAISE EXCEPTION 'undo' USING ERRCODE = 'PYT01';
EXCEPTION WHEN SQLSTATE 'PYT01' THEN
	RETURN failed;
END
$$;
SELECT ok(pg_temp.keep('fund', 'post({bank}, {purse}, 1000)'), 'a purse with 1000');

-- ---------- reserving ----------

SELECT is(pg_temp.keep_hold('h1', '{purse}, {bank}, 600, ''h-1'', description => ''order 1'''), 600::bigint, 'hold() returns what it holds');
SELECT is(pg_temp.state('purse') || ' | ' || pg_temp.state('bank'), '1000 600 0 | 1000 0 600', 'both accounts hold it, neither balance moved');
SELECT is(r.code, v.code, format('hold(): %s', v.why)) FROM (VALUES
	('22023', 'zero', '{purse}, {bank}, 0'), ('22023', 'below zero', '{purse}, {bank}, -1'), ('22023', 'no amount', '{purse}, {bank}, NULL'),
	('22023', 'no account', 'NULL, {bank}, 1'), ('22023', 'to itself', '{bank}, {bank}, 1'),
	('22023', 'empty reference', '{purse}, {bank}, 1, '''''), ('22023', 'long reference', '{purse}, {bank}, 1, repeat(''x'', 256)'),
	('22023', 'long description', '{purse}, {bank}, 1, description => repeat(''x'', 1001)'),
	('22023', 'expired already', '{purse}, {bank}, 1, expires_at => now() - interval ''1 s'''),
	('22023', 'infinite expiry', '{purse}, {bank}, 1, expires_at => ''infinity'''), ('22023', 'hot to be debited', '{hot}, {purse}, 1'),
	('22023', 'hot to be credited', '{purse}, {hot}, 1'), ('22023', 'balancing null', '{purse}, {bank}, 1, balancing => NULL'),
	('PY009', 'card number in the reference', '{purse}, {bank}, 1, ''4111111111111111'''),
	('PY009', 'card number in the description', '{purse}, {bank}, 1, description => ''4111 1111 1111 1111'''),
	('PY201', 'currencies differ', '{purse}, {dollars}, 1'), ('PY202', 'no such account', '{purse}, 9223372036854775807, 1'),
	('PY204', 'more than is free', '{purse}, {bank}, 401'), ('PY204', 'above a maximum', '{bank}, {shop}, 501'),
	('PY204', 'nothing to balance', '{till}, {shop}, 501'), ('PY205', 'more than fits', '{free}, {bank}, 9223372036854775807')
) v(code, why, arguments), pg_temp.raised('SELECT payments.hold(' || v.arguments || ')') r;
SELECT matches((pg_temp.raised('SELECT payments.hold({hot}, {purse}, 1)')).told, 'is hot and takes no holds', 'a hot account says so');
SELECT is((pg_temp.raised('SELECT payments.post({purse}, {bank}, 401)')).code, 'PY204', 'what is held cannot be posted away');
SELECT is((pg_temp.raised('SELECT payments.close_account({purse})')).code, 'PY204', 'nor the account be closed');

SELECT is((SELECT hold_id || ' ' || amount FROM payments.hold(pg_temp.a('purse'), pg_temp.a('bank'), 600, 'h-1', description => 'order 1')),
	pg_temp.h('h1') || ' 600', 'the same call again returns the first hold');
SELECT is(pg_temp.state('purse'), '1000 600 0', 'and holds nothing more');
SELECT is(r.code || ' ' || substring(r.told FROM 'differ in "([a-z_]+)"'), 'PY206 ' || v.field, format('the same reference with another %s is refused', v.field))
FROM (VALUES ('amount', '{purse}, {bank}, 599, ''h-1'', description => ''order 1'''), ('debit', '{shop}, {bank}, 600, ''h-1'', description => ''order 1'''),
	('credit', '{purse}, {till}, 600, ''h-1'', description => ''order 1'''), ('description', '{purse}, {bank}, 600, ''h-1'''),
	('expires_at', '{purse}, {bank}, 600, ''h-1'', ''2999-01-01'', ''order 1'''), ('balancing', '{purse}, {bank}, 600, ''h-1'', NULL, ''order 1'', true')
) v(field, arguments), pg_temp.raised('SELECT payments.hold(' || v.arguments || ')') r;

-- As much as is there, up to.
SELECT is(pg_temp.keep_hold('b1', '{purse}, {bank}, 1000, ''b-1'', balancing => true'), 400::bigint, 'balancing takes what is free');
SELECT is((SELECT hold_id || ' ' || amount FROM payments.hold(pg_temp.a('purse'), pg_temp.a('bank'), 1000, 'b-1', balancing => true)),
	pg_temp.h('b1') || ' 400', 'again, the same though nothing is free now');
SELECT is((pg_temp.raised('SELECT payments.hold({purse}, {bank}, 1, balancing => true)')).code, 'PY204', 'and nothing is not held');
SELECT is(pg_temp.keep_hold('b2', '{free}, {shop}, 9223372036854775807, balancing => true'), 500::bigint, 'balancing stops at the other side''s maximum');
SELECT is(pg_temp.keep_hold('b3', '{free}, {done}, 7, balancing => true'), 7::bigint, 'and holds no more than asked');
SELECT is(payments.void_hold(pg_temp.h('b1')) + payments.void_hold(pg_temp.h('b2')) + payments.void_hold(pg_temp.h('b3')), 907::bigint, 'void_hold() returns what it released');
SELECT is(pg_temp.state('purse') || ' | ' || pg_temp.state('shop'), '1000 600 0 | 0 0 0', 'and it is free again');

-- ---------- resolving ----------

SELECT is((pg_temp.raised('SELECT payments.post_hold([h1], 601)')).code, 'PY214', 'no more than is held');
SELECT is(r.code, v.code, v.statement) FROM (VALUES
	('22023', 'post_hold(NULL)'), ('22023', 'post_hold([h1], 0)'), ('22023', 'post_hold([h1], -1)'), ('22023', 'post_hold([h1], final => NULL)'),
	('22023', 'post_hold([h1], reference => '''')'), ('PY009', 'post_hold([h1], reference => ''4111111111111111'')'), ('PY208', 'post_hold(0)'),
	('22023', 'void_hold(NULL)'), ('22023', 'void_hold([h1], '''')'), ('PY009', 'void_hold([h1], ''4111 1111 1111 1111'')'), ('PY208', 'void_hold(-5)')
) v(code, statement), pg_temp.raised('SELECT payments.' || v.statement) r;
SELECT ok(pg_temp.keep('p1', 'post_hold([h1], 200, false, ''p-1'')'), 'a part is posted');
SELECT is(pg_temp.state('purse') || ' | ' || pg_temp.state('bank'), '800 400 0 | 800 0 400', 'and the rest kept');
SELECT results_eq($$SELECT debit_account, credit_account, amount, kind, reference, description FROM payments.posting WHERE posting_id = pg_temp.m('p1')$$,
	$$VALUES (pg_temp.a('purse'), pg_temp.a('bank'), 200::bigint, 'hold', 'p-1', 'order 1')$$, 'by a posting that says what it was');
SELECT is(payments.post_hold(pg_temp.h('h1'), 200, false, 'p-1'), pg_temp.m('p1'), 'the same call again returns the first posting');
SELECT is(r.code || ' ' || substring(r.told FROM 'differ in "([a-z_]+)"'), 'PY206 ' || v.field, format('another %s is refused', v.field))
FROM (VALUES ('amount', '[h1], 201, false, ''p-1'''), ('amount', '[h1], NULL, false, ''p-1'''), ('final', '[h1], 200, true, ''p-1'''), ('hold_id', '[b1], 200, false, ''p-1''')
) v(field, arguments), pg_temp.raised('SELECT payments.post_hold(' || v.arguments || ')') r;
SELECT is((pg_temp.raised('SELECT payments.post({purse}, {bank}, 200, ''p-1'')')).code, 'PY206', 'nor may post() use its reference');
SELECT ok(pg_temp.keep('plain', 'post({bank}, {purse}, 1, ''plain'')'), 'a reference of post()');
SELECT is((pg_temp.raised('SELECT payments.post_hold([h1], 1, false, ''plain'')')).code, 'PY206', 'is none for a hold');
SELECT ok(pg_temp.keep('p2', 'post_hold([h1], 150, reference => ''p-2'')'), 'the last part');
SELECT is(pg_temp.state('purse') || ' | ' || pg_temp.state('bank'), '651 0 0 | 651 0 0', 'and the rest is released');
SELECT is(payments.post_hold(pg_temp.h('h1'), 150, reference => 'p-2'), pg_temp.m('p2'), 'again: the same, though nothing is left');
SELECT is(r.code, 'PY209', v.statement || ' afterwards') FROM (VALUES ('post_hold([h1])'), ('post_hold([h1], 1)'), ('void_hold([h1])'), ('post_hold([b1])'), ('void_hold([b1])'))
	v(statement), pg_temp.raised('SELECT payments.' || v.statement) r;
SELECT results_eq($$SELECT seq, kind, asked, final, posted, released, remaining FROM payments.ledger_hold_resolution WHERE hold_id = pg_temp.h('h1') ORDER BY seq$$,
	$$VALUES (1, 'post', 200::bigint, false, 200::bigint, 0::bigint, 400::bigint), (2, 'post', 150, true, 150, 250, 0)$$, 'what became of it is written down');
SELECT is(pg_temp.keep_hold('all', '{purse}, {bank}, 651'), 651::bigint, 'all of it');
SELECT is((SELECT 1 FROM payments.post(pg_temp.a('bank'), pg_temp.a('purse'), 9349)), 1, 'filled to the maximum meanwhile');
SELECT ok(payments.post_hold(pg_temp.h('all')) > 0, 'is posted whole');
SELECT is(pg_temp.state('purse'), '9349 0 0', 'and no limit is broken');

-- A hold keeps room in the counters, too.
SELECT ok(pg_temp.keep_hold('big', '{free}, {done}, 9223372036854775000') > 0, 'a hold near the end of the range');
SELECT is((pg_temp.raised('SELECT payments.post({free}, {done}, 1000)')).code, 'PY205', 'leaves a posting no room');
SELECT ok(payments.post_hold(pg_temp.h('big')) > 0, 'and can be posted');

-- ---------- expiry ----------

SELECT is(pg_temp.keep_hold('soon', '{purse}, {bank}, 100, ''soon'', clock_timestamp() + interval ''4 s'''), 100::bigint, 'a hold that expires');
SELECT is(pg_temp.keep_hold('late', '{purse}, {bank}, 10, expires_at => ''2999-01-01'''), 10::bigint, 'and one that does not yet');
SELECT is(pg_temp.keep_hold('quick', '{purse}, {bank}, 5, expires_at => clock_timestamp() + interval ''4 s'''), 5::bigint, 'and one posted in time');
SELECT ok(payments.post_hold(pg_temp.h('quick')) > 0, 'in time');
SELECT ok(payments.post_hold(pg_temp.h('soon'), 30, false, 'soon') > 0, 'a part of the first one, too');
SELECT is(payments.release_expired_holds(), 0::bigint, 'nothing is released early');
SELECT pg_sleep(extract(epoch FROM max(expires_at) - clock_timestamp()) + 0.01) FROM payments.ledger_hold WHERE hold_id IN (pg_temp.h('soon'), pg_temp.h('quick'));
SELECT is(r.code, 'PY210', v.statement || ' when its time is over') FROM (VALUES ('post_hold([soon])'), ('post_hold([soon], 1)'), ('void_hold([soon])'))
	v(statement), pg_temp.raised('SELECT payments.' || v.statement) r;
SELECT is(pg_temp.state('purse'), '9314 80 0', 'it is held until it is released');
SELECT is(payments.release_expired_holds(1), 1::bigint, 'release_expired_holds() finds it');
SELECT is(pg_temp.state('purse') || ' | ' || split_part(pg_temp.state('bank'), ' ', 3), '9314 10 0 | 10', 'and frees what was left');
SELECT is(payments.release_expired_holds(), 0::bigint, 'once');
SELECT is(r.code, 'PY210', v.statement || ' when it is released') FROM (VALUES ('post_hold([soon])'), ('void_hold([soon])'))
	v(statement), pg_temp.raised('SELECT payments.' || v.statement) r;
SELECT is((pg_temp.raised('SELECT payments.post_hold([quick])')).code, 'PY209', 'one posted in time was posted, not expired');
SELECT is((SELECT hold_id FROM payments.hold(pg_temp.a('purse'), pg_temp.a('bank'), 100, 'soon', (SELECT expires_at FROM payments.ledger_hold WHERE hold_id = pg_temp.h('soon')))),
	pg_temp.h('soon'), 'and a repetition finds it still');
SELECT is((pg_temp.raised('SELECT payments.release_expired_holds(' || n || ')')).code, '22023', format('release_expired_holds(%s)', n)) FROM (VALUES ('0'), ('-1'), ('NULL')) v(n);
SELECT results_eq($$SELECT hold_id FROM payments.ledger_hold_due$$, $$VALUES (pg_temp.h('late'))$$, 'what is due is what is open and can expire');
SELECT is(payments.void_hold(pg_temp.h('late'), 'changed her mind'), 10::bigint, 'voided with a reason');
SELECT is((SELECT reason FROM payments.ledger_hold_resolution WHERE hold_id = pg_temp.h('late')), 'changed her mind', 'which is kept');

-- ---------- reversal ----------

SELECT ok(pg_temp.keep('sale', 'post({purse}, {shop}, 300, ''sale'')'), 'a sale');
SELECT is(r.code, v.code, v.statement) FROM (VALUES
	('22023', 'reverse_posting(NULL, ''x'')'), ('22023', 'reverse_posting(<sale>, NULL)'), ('22023', 'reverse_posting(<sale>, '''')'),
	('22023', 'reverse_posting(<sale>, ''x'', '''')'), ('PY009', 'reverse_posting(<sale>, ''card 4111 1111 1111 1111'')'), ('PY213', 'reverse_posting(0, ''x'')'),
	('PY206', 'reverse_posting(<sale>, ''x'', ''sale'')')
) v(code, statement), pg_temp.raised('SELECT payments.' || v.statement) r;
SELECT is(pg_temp.keep_hold('most', '{shop}, {bank}, 1'), 1::bigint, 'a unit of it is held');
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<sale>, ''returned'')')).code, 'PY204', 'limits are checked');
SELECT is(payments.void_hold(pg_temp.h('most')), 1::bigint, 'and released');
SELECT ok(pg_temp.keep('back', 'reverse_posting(<sale>, ''returned'', ''back'')'), 'reversed');
SELECT results_eq($$SELECT debit_account, credit_account, amount, kind, description, reverses FROM payments.posting WHERE posting_id = pg_temp.m('back')$$,
	$$VALUES (pg_temp.a('shop'), pg_temp.a('purse'), 300::bigint, 'reversal', 'returned', pg_temp.m('sale'))$$, 'the other way round, with the original''s id and the reason');
SELECT is(pg_temp.state('purse') || ' | ' || pg_temp.state('shop'), '9314 0 0 | 0 0 0', 'as if it had not been');
SELECT is(payments.reverse_posting(pg_temp.m('sale'), 'returned', 'back'), pg_temp.m('back'), 'the same call again returns the reversal');
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<sale>, ''other'', ''back'')')).code, 'PY206', 'another reason is refused');
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<sale>, ''again'')')).code, 'PY211', 'at most once');
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<sale>, ''again'', ''again'')')).code, 'PY211', 'under whatever reference');
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<back>, ''oops'')')).code, 'PY212', 'a reversal is not reversed');
SELECT is((pg_temp.raised('SELECT payments.post({shop}, {purse}, 300, ''back'', ''returned'', ''reversal'')')).code, 'PY206', 'nor repeated by post()');
SELECT ok(pg_temp.keep('unhold', 'reverse_posting(<p1>, ''part returned'')'), 'what came from a hold is reversed like any posting');
SELECT ok(pg_temp.keep('hotsale', 'post({hot}, {done}, 5)') AND pg_temp.keep('hotback', 'reverse_posting(<hotsale>, ''hot'')'), 'so is a posting on a hot account');
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<hotsale>, ''hot'')')).code, 'PY211', 'once');
SELECT ok(pg_temp.keep('odd', 'post({free}, {bank}, 5)') AND payments.post(pg_temp.a('bank'), pg_temp.a('done'), 1) > 0, 'and one on an account closed since');
DO $do$ BEGIN
	INSERT INTO pg_temp.acct VALUES ('ended', payments.create_account('ended', 'EUR', 'asset', merchant => 'holds_test'));
	PERFORM pg_temp.keep('in', 'post({ended}, {bank}, 5)'), pg_temp.keep('out', 'post({bank}, {ended}, 5)');
	PERFORM payments.close_account(pg_temp.a('ended'));
END $do$;
SELECT is((pg_temp.raised('SELECT payments.reverse_posting(<in>, ''late'')')).code, 'PY203', 'is refused');
SELECT is((pg_temp.raised('SELECT payments.hold({ended}, {bank}, 1)')).code, 'PY203', 'as is a hold on it');
DO $do$ BEGIN
	PERFORM payments._post_movements(ARRAY[100], ARRAY['capture'], ARRAY['holds:1:capture'], 'holds_test', 'sandbox', 'EUR', gen_random_uuid());
	INSERT INTO pg_temp.made SELECT 'capture', max(posting_id) FROM payments.posting WHERE payment_id IS NOT NULL;
END $do$;
SELECT is(r.code || substring(r.told FROM ' Refund the payment'), 'PY212 Refund the payment', 'a payment''s posting is not reversed but refunded')
FROM pg_temp.raised('SELECT payments.reverse_posting(<capture>, ''no'')') r;

-- ---------- who may ----------

SELECT is(pg_temp.keep_hold('mine', '{purse}, {bank}, 10'), 10::bigint, 'a hold of a merchant with a role');
GRANT SELECT ON acct, held, made TO holds_test_stranger, holds_test_app;
SET LOCAL ROLE holds_test_stranger;
SELECT is(r.code, '42501', v.statement || ' by a stranger') FROM (VALUES ('hold({purse}, {bank}, 1)'), ('post_hold([mine])'), ('void_hold([mine])'),
	('reverse_posting(<out>, ''mine'')'), ('release_expired_holds()')) v(statement), pg_temp.raised('SELECT payments.' || v.statement) r;
SELECT is((SELECT count(*) FROM payments.ledger_hold) + (SELECT count(*) FROM payments.ledger_hold_resolution), 0::bigint, 'who sees none of it');
RESET ROLE;
SET LOCAL ROLE holds_test_app;
SELECT ok((SELECT count(*) FROM payments.ledger_hold) > 0 AND (SELECT count(*) FROM payments.ledger_hold_resolution) > 0, 'the merchant does');
SELECT is(payments.void_hold(pg_temp.h('mine')), 10::bigint, 'and may');
RESET ROLE;

-- ---------- check() ----------

-- A payment's posting without its movement is wrong, and meant to be.
SELECT is(pg_temp.failed(), 'every movement of money is posted once, and payments post nothing else', 'check() finds nothing wrong with holds');
SELECT is((pg_temp.raised(v.statement)).code, 'PY003', v.statement) FROM (VALUES ('UPDATE payments.ledger_hold SET amount = amount'), ('DELETE FROM payments.ledger_hold'),
	('TRUNCATE payments.ledger_hold'), ('UPDATE payments.ledger_hold_resolution SET seq = seq'), ('DELETE FROM payments.ledger_hold_resolution'),
	('TRUNCATE payments.ledger_hold_resolution'), ('TRUNCATE payments.ledger_hold_due'), ('UPDATE payments.posting SET reverses = NULL')) v(statement);
SELECT ok(pg_temp.keep_hold('open', '{purse}, {bank}, 20, expires_at => ''2999-01-01''') > 0 AND pg_temp.keep('p3', 'post_hold([open], 5, false)'), 'a hold in between');
SELECT alike(pg_temp.check_after(v.statement), '%' || v.invariant || '%', 'check() notices: ' || v.why) FROM (VALUES
	('more is held than holds say', 'what is held on an account is what is left of its holds', 'UPDATE payments.account SET held_debits = 16 WHERE account_id = {purse}'),
	('less is', 'what is held on an account is what is left of its holds', 'UPDATE payments.account SET held_credits = 14 WHERE account_id = {bank}'),
	('a due row is gone', 'every open hold that can expire is due, and no other', 'DELETE FROM payments.ledger_hold_due'),
	('a unit released twice', 'each unit of a hold is resolved once', 'INSERT INTO payments.ledger_hold_resolution VALUES ([open], 2, ''void'', NULL, NULL, true, 0, 15, 0, NULL, now()), ([open], 3, ''void'', NULL, NULL, true, 0, 15, 0, NULL, now())'),
	('a step left out', 'each unit of a hold is resolved once', 'INSERT INTO payments.ledger_hold_resolution VALUES ([open], 3, ''void'', NULL, NULL, true, 0, 15, 0, NULL, now())'),
	('expired before its time', 'each unit of a hold is resolved once', 'INSERT INTO payments.ledger_hold_resolution VALUES ([open], 2, ''expire'', NULL, NULL, true, 0, 15, 0, NULL, now())'),
	('another posting', 'each unit of a hold is resolved once', 'INSERT INTO payments.ledger_hold_resolution VALUES ([open], 2, ''post'', <sale>, NULL, true, 15, 0, 0, NULL, now())'),
	('a hold that is not there', 'each unit of a hold is resolved once', 'INSERT INTO payments.ledger_hold_resolution VALUES (-1, 1, ''void'', NULL, NULL, true, 0, 15, 0, NULL, now())'),
	('a reversal of less', 'a reversal takes back one posting, whole', 'INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, reverses) VALUES ({bank}, {free}, 4, now(), now(), ''EUR'', ''reversal'', ''holds_test'', <odd>)'),
	('a reversal of nothing', 'a reversal takes back one posting, whole', 'INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant, reverses) VALUES ({bank}, {free}, 4, now(), now(), ''EUR'', ''reversal'', ''holds_test'', -1)')
) v(why, invariant, statement);

-- ---------- many, from a seed ----------

-- 1200 operations against what two sums say: a purse that cannot be overdrawn, in all its holds.
CREATE FUNCTION pg_temp.storm(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p bigint := pg_temp.a('storm'); b bigint := pg_temp.a('bank');
	balance bigint := 0; held bigint := 0; x bigint; keep boolean; free bigint; got record; code text;
	ids bigint[] := '{}'; amounts bigint[] := '{}'; i int;
BEGIN
	PERFORM setseed(0.42);
	FOR step IN 1 .. n LOOP
		x := 1 + floor(random() * 100)::bigint;
		free := balance - held;
		code := 'none';
		i := 1 + floor(random() * cardinality(ids))::int;
		BEGIN
			CASE floor(random() * 6)::int
			WHEN 0 THEN PERFORM payments.post(b, p, x); balance := balance + x;
			WHEN 1 THEN
				code := CASE WHEN x > free THEN 'PY204' ELSE 'none' END;
				PERFORM payments.post(p, b, x); balance := balance - x;
			WHEN 2, 3 THEN
				keep := random() < 0.3;
				code := CASE WHEN free = 0 OR (x > free AND NOT keep) THEN 'PY204' ELSE 'none' END;
				SELECT * INTO got FROM payments.hold(p, b, x, balancing => keep);
				IF got.amount <> least(x, free) THEN RETURN format('step %s: held %s of %s, free %s', step, got.amount, x, free); END IF;
				held := held + got.amount; ids := ids || got.hold_id; amounts := amounts || got.amount;
			WHEN 4 THEN
				CONTINUE WHEN cardinality(ids) = 0;
				keep := random() < 0.5;
				code := CASE WHEN amounts[i] = 0 THEN 'PY209' WHEN x > amounts[i] THEN 'PY214' ELSE 'none' END;
				PERFORM payments.post_hold(ids[i], x, final => NOT keep);
				balance := balance - x;
				held := held - CASE WHEN keep THEN x ELSE amounts[i] END;
				amounts[i] := CASE WHEN keep THEN amounts[i] - x ELSE 0 END;
			ELSE
				CONTINUE WHEN cardinality(ids) = 0;
				code := CASE WHEN amounts[i] = 0 THEN 'PY209' ELSE 'none' END;
				IF payments.void_hold(ids[i]) <> amounts[i] THEN RETURN format('step %s: voided', step); END IF;
				held := held - amounts[i]; amounts[i] := 0;
			END CASE;
			IF code <> 'none' THEN RETURN format('step %s: not refused with %s', step, code); END IF;
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE <> code THEN RETURN format('step %s: %s %s instead of %s', step, SQLSTATE, SQLERRM, code); END IF;
		END;
		SELECT a.balance, a.held_debits INTO got FROM payments.balance(p) a;
		IF (got.balance, got.held_debits) <> (balance, held) THEN RETURN format('step %s: %s, not %s %s', step, got, balance, held); END IF;
	END LOOP;
	RETURN 'as the model';
END
$$;
INSERT INTO acct VALUES ('storm', payments.create_account('storm', 'EUR', 'liability', merchant => 'holds_test', min_balance => 0));
SELECT is(pg_temp.storm(1200), 'as the model', 'seed 0.42: 1200 operations');
SELECT is(pg_temp.failed(), 'every movement of money is posted once, and payments post nothing else', 'and check() agrees');

SELECT * FROM finish();
ROLLBACK;
