-- If this fails in production: a split creates or loses a cent, a basket is
-- half paid out, an exchange gives the customer a fraction too much, a repeated
-- call pays twice, or somebody moves another merchant's money.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
-- At REPEATABLE READ, where what works works at READ COMMITTED too.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM no_plan();

CREATE ROLE transactions_test_app IN ROLE payments_app;
CREATE ROLE transactions_test_stranger IN ROLE payments_app;
DO $do$ BEGIN PERFORM payments.create_merchant('transactions_test', 'transactions_test_app'); END $do$;
GRANT transactions_test_app TO CURRENT_USER;
SELECT setseed(0.42);

CREATE TEMP TABLE acct (name text PRIMARY KEY, id bigint);
CREATE TEMP TABLE made (name text PRIMARY KEY, id bigint);
CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.m(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.made WHERE name = $1';
INSERT INTO acct SELECT name, payments.create_account(split_part(name, '.', 1), currency, type, merchant => 'transactions_test', hot => name LIKE 'hot%',
													  min_balance => min_balance, max_balance => max_balance)
FROM (VALUES ('bank', 'EUR', 'asset', NULL, NULL), ('buyer', 'EUR', 'liability', 0, NULL), ('a', 'EUR', 'liability', 0, NULL),
	('b', 'EUR', 'liability', 0, NULL), ('c', 'EUR', 'liability', 0, 100000), ('fees', 'EUR', 'income', NULL, NULL),
	('hot', 'EUR', 'asset', NULL, NULL), ('hot2', 'EUR', 'equity', NULL, NULL), ('gone', 'EUR', 'liability', NULL, NULL),
	('usd', 'USD', 'liability', 0, NULL), ('bank.usd', 'USD', 'asset', NULL, NULL), ('jpy', 'JPY', 'liability', NULL, NULL),
	('kwd', 'KWD', 'liability', NULL, NULL), ('eur', 'EUR', 'liability', NULL, NULL), ('bhd', 'BHD', 'liability', NULL, NULL)
	) v(name, currency, type, min_balance, max_balance);
DO $do$ BEGIN PERFORM payments.close_account(pg_temp.a('gone')); END $do$;

-- Fills in account and transaction ids: {buyer}, <sale>.
CREATE FUNCTION pg_temp.with_ids(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT '{' || name || '}' AS mark, id FROM pg_temp.acct UNION ALL SELECT '<' || name || '>', id FROM pg_temp.made LOOP
		statement := replace(statement, r.mark, r.id::text);
	END LOOP;
	RETURN statement;
END
$$;
-- What a statement raises: SQLSTATE, and message, detail and hint in one.
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
CREATE FUNCTION pg_temp.value(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE 'SELECT x::text FROM payments.' || pg_temp.with_ids(call) || ' x' INTO STRICT result;
	RETURN result;
END
$$;
CREATE FUNCTION pg_temp.keep(name text, call text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint := pg_temp.value(call);
BEGIN
	INSERT INTO pg_temp.made VALUES (name, id);
	RETURN id;
END
$$;
CREATE FUNCTION pg_temp.balances(VARIADIC names text[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(n || ' ' || (SELECT b.balance FROM payments.balance(pg_temp.a(n)) b), ', ' ORDER BY i) FROM unnest(names) WITH ORDINALITY u(n, i)
$$;
CREATE FUNCTION pg_temp.legs(id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s>%s %s %s', t.debit, t.credit, t.amount, t.kind), ', ' ORDER BY t.leg) FROM payments.get_transaction($1) t
$$;
CREATE FUNCTION pg_temp.postings() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM payments.posting';

-- ---------- split_amount() ----------

SELECT is(payments.split_amount(v.amount, v.weights), v.parts, format('split_amount(%s, %s)', v.amount, v.weights))
FROM (VALUES
	(100::bigint, ARRAY[1, 1, 1]::bigint[], ARRAY[34, 33, 33]::bigint[]),
	(2, ARRAY[1, 1, 1], ARRAY[1, 1, 0]),
	(7, ARRAY[50, 30, 20], ARRAY[4, 2, 1]),
	(5, ARRAY[0, 3, 0, 2, 0], ARRAY[0, 3, 0, 2, 0]),
	(1, ARRAY[0, 0, 7], ARRAY[0, 0, 1]),
	(0, ARRAY[3, 4], ARRAY[0, 0]),
	(10, ARRAY[1, 2, 2], ARRAY[2, 4, 4]),
	(1, ARRAY[1, 2], ARRAY[0, 1]),
	(9223372036854775807, ARRAY[1], ARRAY[9223372036854775807]),
	(9223372036854775807, ARRAY[9223372036854775807, 9223372036854775807], ARRAY[4611686018427387904, 4611686018427387903]),
	(9223372036854775807, ARRAY[9223372036854775807, 0, 9223372036854775807, 1], ARRAY[4611686018427387903, 0, 4611686018427387903, 1])
) v(amount, weights, parts);
SELECT is((pg_temp.raised('SELECT payments.split_amount(' || v || ')')).code, '22023', format('split_amount(%s) is refused', v))
FROM unnest(ARRAY['-1, ARRAY[1]', '1, ARRAY[]::bigint[]', '1, ARRAY[0, 0]', '1, ARRAY[1, -1]', '1, ARRAY[1, NULL]', 'NULL, ARRAY[1]', '1, NULL',
	'1, ARRAY[[1, 2], [3, 4]]', '1, array_fill(1::bigint, ARRAY[100001])']) v;
SELECT is((SELECT sum(p) FROM unnest(payments.split_amount(9223372036854775807, array_fill(9223372036854775807, ARRAY[100000]))) p),
	9223372036854775807::numeric, 'the largest amount by the most and largest weights');

-- Any numbers, extremes among them, against arithmetic of any size.
CREATE FUNCTION pg_temp.any_number() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT CASE floor(random() * 8)
		WHEN 0 THEN 0
		WHEN 1 THEN 1
		WHEN 2 THEN 9223372036854775807
		WHEN 3 THEN 9223372036854775807 - floor(random() * 3)::bigint
		WHEN 4 THEN 4611686018427387904 - floor(random() * 3)::bigint
		WHEN 5 THEN floor(random() * 10)::bigint
		WHEN 6 THEN floor(random() * 1000000)::bigint
		ELSE floor(random() * 9e18)::bigint END
$$;
CREATE TEMP TABLE split AS
SELECT n, amount, weights, payments.split_amount(amount, weights) AS parts
FROM (SELECT n, pg_temp.any_number() AS amount,
		ARRAY(SELECT CASE WHEN i = 1 THEN greatest(pg_temp.any_number(), 1) ELSE pg_temp.any_number() END FROM generate_series(1, 1 + n % 9) i) AS weights
	  FROM generate_series(1, 10000) n) c;
CREATE TEMP TABLE share AS
SELECT s.n, s.amount, u.i, u.part, u.weight, t.total,
	div(s.amount::numeric * u.weight, t.total) AS whole, mod(s.amount::numeric * u.weight, t.total) AS lost
FROM split s CROSS JOIN LATERAL unnest(s.parts, s.weights) WITH ORDINALITY u(part, weight, i)
CROSS JOIN LATERAL (SELECT sum(w::numeric) AS total FROM unnest(s.weights) w) t;
SELECT cmp_ok((SELECT count(*) FROM split WHERE amount > 0 AND cardinality(weights) > 1), '>', 5000::bigint, 'thousands of splits');
SELECT cmp_ok((SELECT count(DISTINCT n) FROM share WHERE part > whole), '>', 1000::bigint, 'many of them with a remainder');
SELECT is_empty('SELECT s.n FROM split s WHERE cardinality(s.parts) IS DISTINCT FROM cardinality(s.weights)
	OR (SELECT sum(p) FROM unnest(s.parts) p) IS DISTINCT FROM s.amount', 'parts sum to the whole');
SELECT is_empty('SELECT * FROM share WHERE part NOT IN (whole, whole + 1) OR part > whole AND lost = 0', 'each is less than one unit from its exact share');
SELECT is_empty('SELECT * FROM share x JOIN share y USING (n) WHERE x.part > x.whole AND y.part = y.whole AND (y.lost > x.lost OR y.lost = x.lost AND y.i < x.i)',
	'the largest remainders get the units, of equal ones the first');

-- ---------- fee_amount() ----------

SELECT is(pg_temp.value('fee_amount(' || v.arguments || ')'), v.fee, format('fee_amount(%s)', v.arguments)) FROM (VALUES
	('10000, 2.9, 30', '320'),
	('10000', '0'),
	('0, percent => 2.9, fixed => 30', '30'),
	('550, percent => 1', '6'),
	('549, percent => 1', '5'),
	('550, percent => 1, rounding => ''half_even''', '6'),
	('450, percent => 1, rounding => ''half_even''', '4'),
	('451, percent => 1, rounding => ''half_even''', '5'),
	('450, percent => 1', '5'),
	('401, percent => 1, rounding => ''up''', '5'),
	('499, percent => 1, rounding => ''down''', '4'),
	('400, percent => 1, rounding => ''up''', '4'),
	('100, percent => 1, minimum => 50', '50'),
	('100, fixed => 10, minimum => 10, maximum => 10', '10'),
	('1000000, percent => 1, maximum => 500', '500'),
	('9223372036854775807, percent => 100', '9223372036854775807'),
	('9223372036854775807, percent => 50, rounding => ''half_even''', '4611686018427387904'),
	('9223372036854775807, percent => 50, rounding => ''down''', '4611686018427387903'),
	('9223372036854775807, percent => 100, fixed => 1, maximum => 5', '5'),
	('1000000000, percent => 0.0000001', '1')) v(arguments, fee);
SELECT is((pg_temp.raised('SELECT payments.fee_amount(' || v.arguments || ')')).code, v.code, format('fee_amount(%s) is refused', v.arguments)) FROM (VALUES
	('-1, 1', '22023'), ('NULL, 1', '22023'), ('1, -1', '22023'), ('1, 100.1', '22023'), ('1, ''NaN''', '22023'), ('1, ''Infinity''', '22023'), ('1, NULL', '22023'),
	('1, 1, -1', '22023'), ('1, 1, NULL', '22023'), ('1, minimum => -1', '22023'), ('1, minimum => 2, maximum => 1', '22023'),
	('1, rounding => ''nearest''', '22023'), ('1, rounding => NULL', '22023'), ('9223372036854775807, 100, 1', 'PY014')) v(arguments, code);

-- ---------- post_transaction(), get_transaction() ----------

DO $do$ BEGIN PERFORM payments.post(pg_temp.a('bank'), pg_temp.a('buyer'), 20000); END $do$;
SELECT cmp_ok(pg_temp.keep('sale', $$post_transaction(ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], 'sale-1', 'a book')$$), '>', 0::bigint,
	'a transaction of two legs, of which the second spends what the first brings');
SELECT is(pg_temp.balances('buyer', 'a', 'fees'), 'buyer 19000, a 950, fees 50', 'has moved both');
SELECT results_eq('SELECT leg, posting_id, debit_account, debit, credit_account, credit, amount, currency, kind, reference, description, effective_at = booked_at, reversed_by, amount_text
	FROM payments.get_transaction(pg_temp.m(''sale''))',
	'SELECT v.leg, p.posting_id, pg_temp.a(v.d), v.d, pg_temp.a(v.c), v.c, v.amount, ''EUR'', ''manual'', ''sale-1:'' || v.leg, ''a book'', true, NULL::bigint, v.t
	FROM (VALUES (1, ''buyer'', ''a'', 1000::bigint, ''10.00 EUR''), (2, ''a'', ''fees'', 50, ''0.50 EUR'')) v(leg, d, c, amount, t)
	JOIN payments.posting p ON p.reference = ''sale-1:'' || v.leg ORDER BY v.leg', 'get_transaction() shows the legs');
SELECT is((SELECT posting_id FROM payments.posting WHERE reference = 'sale-1:1'), pg_temp.m('sale'), 'its id is that of the first posting');
CREATE TEMP TABLE before AS SELECT pg_temp.postings() AS n;
SELECT is(pg_temp.value($$post_transaction(ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], 'sale-1', 'a book')$$), pg_temp.m('sale')::text, 'the same call again returns it');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('a'), pg_temp.a('bank'), 950); END $do$;
SELECT is(pg_temp.value($$post_transaction(ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], 'sale-1', 'a book')$$), pg_temp.m('sale')::text, 'also when it could no longer be posted');
SELECT is(pg_temp.balances('buyer', 'a', 'fees'), 'buyer 19000, a 0, fees 50', 'and moves nothing');
SELECT is(r.code, 'PY206', format('under the same reference %s', v.what)) FROM (VALUES
	('another amount', $$ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 51], 'sale-1', 'a book'$$),
	('another account', $$ARRAY[{buyer}, {a}], ARRAY[{b}, {fees}], ARRAY[1000, 50], 'sale-1', 'a book'$$),
	('another description', $$ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], 'sale-1', 'a bike'$$),
	('another kind', $$ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], 'sale-1', 'a book', 'sale'$$),
	('another order', $$ARRAY[{a}, {buyer}], ARRAY[{fees}, {a}], ARRAY[50, 1000], 'sale-1', 'a book'$$),
	('fewer legs', $$ARRAY[{buyer}], ARRAY[{a}], ARRAY[1000], 'sale-1', 'a book'$$),
	('more legs', $$ARRAY[{buyer}, {a}, {buyer}], ARRAY[{a}, {fees}, {a}], ARRAY[1000, 50, 1], 'sale-1', 'a book'$$),
	('an effective time', $$ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], 'sale-1', 'a book', effective_at => '2100-01-01'$$)
) v(what, arguments), pg_temp.raised('SELECT payments.post_transaction(' || v.arguments || ')') r;
SELECT is(pg_temp.postings(), (SELECT n + 1 FROM before), 'none of them has posted anything');
SELECT is(r.code, v.code, format('refused with %s: %s', v.code, v.what)) FROM (VALUES
	('the second leg is more than there is', 'PY204', 'ARRAY[{buyer}, {a}], ARRAY[{a}, {b}], ARRAY[1000, 1001]'),
	('the limit of another account', 'PY204', 'ARRAY[{bank}, {bank}], ARRAY[{a}, {c}], ARRAY[1, 100001]'),
	('a closed account', 'PY203', 'ARRAY[{bank}, {bank}], ARRAY[{a}, {gone}], ARRAY[1, 1]'),
	('no such account', 'PY202', 'ARRAY[{bank}, {bank}], ARRAY[{a}, -1], ARRAY[1, 1]'),
	('a leg between currencies', 'PY201', 'ARRAY[{bank}, {bank}], ARRAY[{a}, {usd}], ARRAY[1, 1]'),
	('more than a sum holds', 'PY205', 'ARRAY[{bank}, {bank}], ARRAY[{eur}, {eur}], ARRAY[9223372036854775807, 9223372036854775807]'),
	('an amount of zero', '22023', 'ARRAY[{bank}, {bank}], ARRAY[{a}, {b}], ARRAY[1, 0]'),
	('an amount below zero', '22023', 'ARRAY[{bank}, {bank}], ARRAY[{a}, {b}], ARRAY[1, -1]'),
	('an account to itself', '22023', 'ARRAY[{bank}, {bank}], ARRAY[{a}, {bank}], ARRAY[1, 1]'),
	('arrays of different lengths', '22023', 'ARRAY[{bank}, {bank}], ARRAY[{a}], ARRAY[1, 1]'),
	('no legs', '22023', 'ARRAY[]::bigint[], ARRAY[]::bigint[], ARRAY[]::bigint[]'),
	('null for legs', '22023', 'NULL, NULL, NULL'),
	('a null among them', '22023', 'ARRAY[{bank}, NULL], ARRAY[{a}, {b}], ARRAY[1, 1]'),
	('an empty reference', '22023', 'ARRAY[{bank}], ARRAY[{a}], ARRAY[1], '''''),
	('a reference that is too long', '22023', 'ARRAY[{bank}], ARRAY[{a}], ARRAY[1], repeat(''x'', 249)'),
	('a null kind', '22023', 'ARRAY[{bank}], ARRAY[{a}], ARRAY[1], kind => NULL'),
	('a card number', 'PY009', 'ARRAY[{bank}], ARRAY[{a}], ARRAY[1], description => ''4242 4242 4242 4242''')
) v(what, code, arguments), pg_temp.raised('SELECT payments.post_transaction(' || v.arguments || ')') r;
SELECT is(pg_temp.postings(), (SELECT n + 1 FROM before), 'none of them has posted a leg');
SELECT cmp_ok(pg_temp.keep('one', 'post_transaction(ARRAY[{bank}], ARRAY[{a}], ARRAY[7], repeat(''x'', 248))'), '>', 0::bigint, 'a transaction of one leg, with the longest reference');
SELECT is(pg_temp.legs(pg_temp.m('one')), 'bank>a 7 manual', 'is one, too');
SELECT is((pg_temp.raised('SELECT payments.reverse_transaction(<one>, ''x'', repeat(''y'', 249))')).code, '22023', 'and reversed under a reference no longer than that');
SELECT cmp_ok(pg_temp.keep('hot', 'post_transaction(ARRAY[{hot}, {hot}], ARRAY[{hot2}, {hot2}], ARRAY[1, 2], ''hot-1'')'), '>', 0::bigint, 'between hot accounts');
SELECT is(pg_temp.value('post_transaction(ARRAY[{hot}, {hot}], ARRAY[{hot2}, {hot2}], ARRAY[1, 2], ''hot-1'')'), pg_temp.m('hot')::text, 'once');
SELECT cmp_ok(pg_temp.keep('both', 'post_transaction(ARRAY[{bank}, {bank.usd}], ARRAY[{a}, {usd}], ARRAY[100, 200])'), '>', 0::bigint, 'legs of two currencies');
SELECT isnt(pg_temp.value('post_transaction(ARRAY[{bank}], ARRAY[{a}], ARRAY[7])'), pg_temp.value('post_transaction(ARRAY[{bank}], ARRAY[{a}], ARRAY[7])'), 'without a reference each call is another one');
SELECT is((pg_temp.raised(s)).code, 'PY213', format('no such transaction: %s', s)) FROM unnest(ARRAY['SELECT payments.get_transaction(0)', 'SELECT payments.get_transaction(NULL)',
	'SELECT payments.get_transaction(<sale> + 1)', 'SELECT payments.reverse_transaction(0, ''x'')']) s;

SELECT is((SELECT count(*) FROM payments.get_transaction(payments.post_transaction(ARRAY[pg_temp.a('bank'), pg_temp.a('bank')], ARRAY[pg_temp.a('b'), pg_temp.a('b')], ARRAY[1, 2]))),
	2::bigint, 'get_transaction() shows what the same statement has posted');

-- ---------- reverse_transaction() ----------

SELECT is((pg_temp.raised('SELECT payments.reverse_transaction(<sale>, ''returned'', ''return-1'')')).code, 'PY204', 'what has been spent cannot be taken back');
SELECT is(pg_temp.balances('buyer', 'fees'), 'buyer 19000, fees 50', 'and then no leg is');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('bank'), pg_temp.a('a'), 950 - (SELECT balance FROM payments.balance(pg_temp.a('a')))); END $do$;
SELECT cmp_ok(pg_temp.keep('return', 'reverse_transaction(<sale>, ''returned'', ''return-1'')'), '>', pg_temp.m('sale'), 'a transaction is taken back, the last leg first');
SELECT is(pg_temp.balances('buyer', 'a', 'fees'), 'buyer 20000, a 0, fees 0', 'whole');
SELECT is(pg_temp.legs(pg_temp.m('return')), 'fees>a 50 reversal, a>buyer 1000 reversal', 'as a transaction of its own');
SELECT results_eq('SELECT t.reversed_by FROM payments.get_transaction(pg_temp.m(''sale'')) t ORDER BY t.leg DESC',
	'SELECT t.posting_id FROM payments.get_transaction(pg_temp.m(''return'')) t ORDER BY t.leg', 'get_transaction() names the reversals');
SELECT is((SELECT string_agg(DISTINCT t.description, '|') FROM payments.get_transaction(pg_temp.m('return')) t), 'returned', 'which carry the reason');
SELECT is(pg_temp.value('reverse_transaction(<sale>, ''returned'', ''return-1'')'), pg_temp.m('return')::text, 'the same call again returns the same');
SELECT is(r.code, v.code, format('refused with %s: %s', v.code, v.what)) FROM (VALUES
	('reversing once more', 'PY211', '<sale>, ''again'', ''return-2'''),
	('reversing once more without a reference', 'PY211', '<sale>, ''again'''),
	('the same reference for another reason', 'PY206', '<sale>, ''other'', ''return-1'''),
	('reversing a reversal', 'PY212', '<return>, ''x'''),
	('null for the transaction', '22023', 'NULL, ''x'''),
	('a null reason', '22023', '<both>, NULL'),
	('an empty reason', '22023', '<both>, '''''),
	('an empty reference', '22023', '<both>, ''x'', '''''),
	('a card number', 'PY009', '<both>, ''4242 4242 4242 4242''')
) v(what, code, arguments), pg_temp.raised('SELECT payments.reverse_transaction(' || v.arguments || ')') r;
DO $do$ BEGIN PERFORM payments.reverse_posting((SELECT t.posting_id FROM payments.get_transaction(pg_temp.m('both')) t WHERE t.leg = 2), 'half'); END $do$;
SELECT is((pg_temp.raised('SELECT payments.reverse_transaction(<both>, ''x'')')).code, 'PY211', 'a transaction of which a leg was taken back is not reversed');
SELECT is((SELECT string_agg((t.reversed_by IS NOT NULL)::text, ' ' ORDER BY t.leg) FROM payments.get_transaction(pg_temp.m('both')) t), 'false true', 'not even its other leg');
SELECT cmp_ok(pg_temp.keep('cold', 'reverse_transaction(<hot>, ''x'', ''cold-1'')'), '>', 0::bigint, 'between hot accounts');
SELECT is(pg_temp.value('reverse_transaction(<hot>, ''x'', ''cold-1'')'), pg_temp.m('cold')::text, 'once');

-- ---------- post_split() ----------

SELECT cmp_ok(pg_temp.keep('split', $$post_split(ARRAY[{buyer}], ARRAY[{a}, {b}, {c}], 1000, ARRAY[1, 1, 1], {fees}, 100, 'split-1', 'basket')$$), '>', 0::bigint, 'from one to many');
SELECT is(pg_temp.legs(pg_temp.m('split')), 'buyer>a 300 split, buyer>b 300 split, buyer>c 300 split, buyer>fees 100 fee', 'the fee is a leg of its own, and not split');
SELECT is(pg_temp.value($$post_split(ARRAY[{buyer}], ARRAY[{a}, {b}, {c}], 1000, ARRAY[1, 1, 1], {fees}, 100, 'split-1', 'basket')$$), pg_temp.m('split')::text, 'once');
SELECT is(pg_temp.legs(pg_temp.keep('back', $$post_split(ARRAY[{a}, {b}, {c}], ARRAY[{buyer}], 101, ARRAY[0, 1, 1], kind => 'levy')$$)), 'b>buyer 51 levy, c>buyer 50 levy',
	'from many to one, without a leg for nothing');
SELECT is(pg_temp.legs(pg_temp.keep('all fee', 'post_split(ARRAY[{buyer}], ARRAY[{a}], 5, ARRAY[1], {fees}, 5)')), 'buyer>fees 5 fee', 'all of it a fee');
SELECT is(pg_temp.legs(pg_temp.keep('from many', 'post_split(ARRAY[{a}, {b}], ARRAY[{buyer}], 20, ARRAY[1, 1], {fees}, 4)')), 'a>buyer 8 split, b>buyer 8 split, fees>buyer 4 fee', 'a fee given back');
SELECT is(r.code, v.code, format('refused with %s: %s', v.code, v.what)) FROM (VALUES
	('many to many', '22023', 'ARRAY[{a}, {b}], ARRAY[{b}, {c}], 10, ARRAY[1, 1]'),
	('nobody', '22023', 'ARRAY[{a}], ARRAY[]::bigint[], 10, ARRAY[]::bigint[]'),
	('nobody at all', '22023', 'NULL, ARRAY[{a}], 10, ARRAY[1]'),
	('from nobody', '22023', 'ARRAY[]::bigint[], ARRAY[{a}], 10, ARRAY[1]'),
	('a weight too few', '22023', 'ARRAY[{buyer}], ARRAY[{b}, {c}], 10, ARRAY[1]'),
	('no weights', '22023', 'ARRAY[{buyer}], ARRAY[{b}, {c}], 10, NULL'),
	('a weight below zero', '22023', 'ARRAY[{buyer}], ARRAY[{b}, {c}], 10, ARRAY[2, -1]'),
	('no weight above zero', '22023', 'ARRAY[{buyer}], ARRAY[{b}, {c}], 10, ARRAY[0, 0]'),
	('an amount of zero', '22023', 'ARRAY[{buyer}], ARRAY[{b}], 0, ARRAY[1]'),
	('a fee above the amount', '22023', 'ARRAY[{buyer}], ARRAY[{b}], 10, ARRAY[1], {fees}, 11'),
	('a fee below zero', '22023', 'ARRAY[{buyer}], ARRAY[{b}], 10, ARRAY[1], {fees}, -1'),
	('a fee for nobody', '22023', 'ARRAY[{buyer}], ARRAY[{b}], 10, ARRAY[1], fee => 1'),
	('to itself', '22023', 'ARRAY[{buyer}], ARRAY[{buyer}], 10, ARRAY[1]'),
	('more than there is', 'PY204', 'ARRAY[{buyer}], ARRAY[{b}, {c}], 99999, ARRAY[1, 1]'),
	('a closed account', 'PY203', 'ARRAY[{buyer}], ARRAY[{b}, {gone}], 10, ARRAY[1, 1]'),
	('another currency', 'PY201', 'ARRAY[{buyer}], ARRAY[{b}, {usd}], 10, ARRAY[1, 1]'),
	('other weights under the same reference', 'PY206', 'ARRAY[{buyer}], ARRAY[{a}, {b}, {c}], 1000, ARRAY[1, 1, 2], {fees}, 100, ''split-1'', ''basket'''),
	('another fee under the same reference', 'PY206', 'ARRAY[{buyer}], ARRAY[{a}, {b}, {c}], 1000, ARRAY[1, 1, 1], {fees}, 101, ''split-1'', ''basket''')
) v(what, code, arguments), pg_temp.raised('SELECT payments.post_split(' || v.arguments || ')') r;

-- ---------- exchange() ----------

CREATE FUNCTION pg_temp.exchanged(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	EXECUTE 'SELECT * FROM payments.exchange(' || pg_temp.with_ids(arguments) || ')' INTO STRICT r;
	RETURN format('%s %s %s: %s', r.sold, r.bought, r.spread, pg_temp.legs(r.transaction_id));
END
$$;
SELECT is(pg_temp.exchanged($${buyer}, {usd}, 1.0853, sell => 2000, spread_percent => 0.5, reference => 'fx-1'$$),
	'2000 2159 10: buyer>exchange 1990 exchange, buyer>exchange_spread 10 spread, exchange>usd 2159 exchange', 'what is sold is given');
SELECT is(pg_temp.exchanged($${buyer}, {usd}, 1.08530, sell => 2000, spread_percent => 0.5, reference => 'fx-1'$$),
	'2000 2159 10: buyer>exchange 1990 exchange, buyer>exchange_spread 10 spread, exchange>usd 2159 exchange', 'the same call again shows the same');
SELECT results_eq($$SELECT code, currency, type, hot, balance::bigint FROM payments.trial_balance JOIN payments.account USING (account_id, code, currency, type)
	WHERE account.merchant = 'transactions_test' AND code LIKE 'exchange%' ORDER BY 1, 2$$,
	$$VALUES ('exchange', 'EUR', 'equity', true, 1990::bigint), ('exchange', 'USD', 'equity', true, -2159), ('exchange_spread', 'EUR', 'income', true, 10)$$,
	'the exchange accounts have opened, and hold the position once');
SELECT is((SELECT string_agg(DISTINCT description, '|') FROM payments.posting WHERE reference LIKE 'fx-1:%'), '1 EUR = 1.0853 USD', 'the rate is written down');
SELECT is(pg_temp.exchanged('{buyer}, {usd}, 0.9214, buy => 500, inverse => true'), '461 500 0: buyer>exchange 461 exchange, exchange>usd 500 exchange', 'what is bought is given, the rate the other way round');
SELECT is(pg_temp.exchanged(v.arguments), v.outcome, v.arguments) FROM (VALUES
	('{eur}, {jpy}, 160.55, sell => 10000', '10000 16055 0: eur>exchange 10000 exchange, exchange>jpy 16055 exchange'),
	('{eur}, {jpy}, 160.55, sell => 10001', '10001 16056 0: eur>exchange 10001 exchange, exchange>jpy 16056 exchange'),
	('{eur}, {jpy}, 160.55, buy => 16056', '10001 16056 0: eur>exchange 10001 exchange, exchange>jpy 16056 exchange'),
	('{jpy}, {eur}, 160.55, sell => 2, inverse => true', '2 1 0: jpy>exchange 2 exchange, exchange>eur 1 exchange'),
	('{jpy}, {kwd}, 0.00205, sell => 1000', '1000 2050 0: jpy>exchange 1000 exchange, exchange>kwd 2050 exchange'),
	('{kwd}, {jpy}, 0.00205, inverse => true, buy => 1000', '2050 1000 0: kwd>exchange 2050 exchange, exchange>jpy 1000 exchange'),
	('{eur}, {usd}, 1, sell => 100, spread_percent => 0.001', '100 99 1: eur>exchange 99 exchange, eur>exchange_spread 1 spread, exchange>usd 99 exchange'),
	('{eur}, {usd}, 1, buy => 99, spread_percent => 1', '100 99 1: eur>exchange 99 exchange, eur>exchange_spread 1 spread, exchange>usd 99 exchange'),
	('{eur}, {usd}, 1, buy => 1, spread_percent => 99.99', '10000 1 9999: eur>exchange 1 exchange, eur>exchange_spread 9999 spread, exchange>usd 1 exchange'),
	-- The merchant covers his position: his bank sells dollars, the exchange accounts take the other side.
	('{bank.usd}, {bank}, 1.08, sell => 1080, inverse => true', '1080 1000 0: bank>exchange 1080 exchange, exchange>bank 1000 exchange')
) v(arguments, outcome);
SELECT is(r.code, v.code, format('refused with %s: %s', v.code, v.arguments)) FROM (VALUES
	('22023', '{eur}, {usd}, 1.1'), ('22023', '{eur}, {usd}, 1.1, 1, 1'), ('22023', '{eur}, {usd}, 1.1, 0'), ('22023', '{eur}, {usd}, 1.1, -5'),
	('22023', '{eur}, {usd}, 0, 5'), ('22023', '{eur}, {usd}, -1, 5'), ('22023', '{eur}, {usd}, NULL, 5'), ('22023', '{eur}, {usd}, ''NaN'', 5'),
	('22023', '{eur}, {usd}, ''Infinity'', 5'), ('22023', '{eur}, {usd}, 1, 5, inverse => NULL'), ('22023', '{eur}, {usd}, 1, 5, spread_percent => 100'),
	('22023', '{eur}, {usd}, 1, 5, spread_percent => -1'), ('22023', '{eur}, {usd}, 1, 5, spread_percent => ''NaN'''), ('22023', '{eur}, {usd}, 1, 5, spread_percent => NULL'),
	('22023', '{eur}, {buyer}, 1, 5'), ('PY202', '{eur}, 0, 1, 5'), ('22023', 'NULL, {eur}, 1, 5'),
	('PY014', '{jpy}, {eur}, 160.55, sell => 1, inverse => true'), ('PY014', '{eur}, {usd}, 0.001, 1'), ('PY014', '{eur}, {usd}, 1, 1, spread_percent => 1'),
	('PY014', '{eur}, {usd}, 1.1, 9223372036854775807'), ('PY014', '{eur}, {usd}, 0.9, buy => 9223372036854775807'), ('PY014', '{eur}, {usd}, 1e-300, buy => 1'),
	('PY204', '{buyer}, {usd}, 1.1, 99999999'), ('PY204', '{buyer}, {usd}, 1.1, buy => 99999999'),
	('PY206', '{buyer}, {usd}, 1.0854, sell => 2000, spread_percent => 0.5, reference => ''fx-1'''),
	('PY206', '{buyer}, {usd}, 1.0853, sell => 2000, spread_percent => 0.6, reference => ''fx-1'''),
	('PY206', '{buyer}, {usd}, 1.0853, sell => 2000, reference => ''fx-1''')
) v(code, arguments), pg_temp.raised('SELECT payments.exchange(' || v.arguments || ')') r;

-- Any amounts, rates and spreads, between exponents 0, 2 and 3: what is fair in
-- arithmetic of any size.  The customer never gets a fraction too much, and the
-- merchant never keeps a whole unit.
CREATE TEMP TABLE fx AS
SELECT c.n, c.ed, c.ec, c.rate, c.inverse, c.percent, c.sells, x.sold, x.bought, x.spread, c.amount
FROM (SELECT n, d.id AS d, cr.id AS c, du.exponent AS ed, cu.exponent AS ec, n % 2 = 0 AS sells, n % 3 = 0 AS inverse,
		100000 + floor(random() * 1e12)::bigint AS amount, round((random() * 10 + 0.01)::numeric, n % 12) + 0.001 AS rate,
		CASE WHEN n % 5 = 0 THEN 0 ELSE round((random() * 20)::numeric, n % 7) END AS percent
	  FROM generate_series(1, 2000) n
	  JOIN pg_temp.acct da ON da.name = (ARRAY['eur', 'jpy', 'kwd', 'usd'])[1 + n % 3]
	  JOIN pg_temp.acct ca ON ca.name = (ARRAY['eur', 'jpy', 'kwd', 'bhd', 'jpy'])[CASE WHEN n % 3 = 0 THEN 2 + n % 4 WHEN n % 3 = 1 THEN 1 + 2 * (n % 2) ELSE 1 END]
	  JOIN payments.account d2 ON d2.account_id = da.id JOIN payments.currency du ON du.currency = d2.currency
	  JOIN payments.account c2 ON c2.account_id = ca.id JOIN payments.currency cu ON cu.currency = c2.currency
	  CROSS JOIN LATERAL (SELECT da.id) d(id) CROSS JOIN LATERAL (SELECT ca.id) cr(id)) c,
	payments.exchange(c.d, c.c, c.rate, CASE WHEN c.sells THEN c.amount END, CASE WHEN NOT c.sells THEN c.amount END, c.inverse, c.percent) x;
CREATE TEMP TABLE worth AS
SELECT fx.*, sold - spread AS net,
	-- cross-multiplied: value of net and of bought in the same unit
	(sold - spread) * (CASE WHEN inverse THEN 1 ELSE rate END) * 10::numeric ^ ec AS given,
	bought * (CASE WHEN inverse THEN rate ELSE 1 END) * 10::numeric ^ ed AS taken,
	(CASE WHEN inverse THEN rate ELSE 1 END) * 10::numeric ^ ed AS unit_bought,
	(CASE WHEN inverse THEN 1 ELSE rate END) * 10::numeric ^ ec AS unit_sold
FROM fx;
SELECT cmp_ok((SELECT count(*) FROM worth), '=', 2000::bigint, 'thousands of exchanges');
SELECT is_empty('SELECT * FROM worth WHERE CASE WHEN sells THEN sold <> amount ELSE bought <> amount END', 'what was asked for is what was done');
SELECT is_empty('SELECT * FROM worth WHERE taken > given', 'never a fraction too much for the customer');
SELECT is_empty('SELECT * FROM worth WHERE sells AND taken + unit_bought <= given OR NOT sells AND given - unit_sold >= taken', 'never a whole unit too much for the merchant');
SELECT is_empty('SELECT * FROM worth WHERE spread <> ceil(sold * percent / 100)', 'the spread is the percentage of what is sold, rounded up');

-- A position may be limited, by a template: no more dollars than there are.
INSERT INTO payments.account_template (code, type, min_balance) VALUES ('exchange', 'equity', 0);
DO $do$ BEGIN PERFORM payments.create_merchant('transactions_test_2'); END $do$;
INSERT INTO acct SELECT name, payments.create_account(code, currency, type, merchant => 'transactions_test_2', min_balance => min_balance)
FROM (VALUES ('eur2', 'w', 'EUR', 'liability', NULL), ('usd2', 'w', 'USD', 'liability', 0), ('bank2', 'bank', 'USD', 'asset', NULL), ('own', 'exchange', 'USD', 'equity', 0)) v(name, code, currency, type, min_balance);
DELETE FROM payments.account_template WHERE NOT builtin;
SELECT is((pg_temp.raised('SELECT payments.exchange({eur2}, {usd2}, 1, 100)')).code, 'PY204', 'a position with a limit sells no more than there is');
DO $do$ BEGIN PERFORM payments.post(pg_temp.a('bank2'), pg_temp.a('own'), 100); END $do$;
SELECT is(pg_temp.exchanged('{eur2}, {usd2}, 1, 100'), '100 100 0: w>exchange 100 exchange, exchange>w 100 exchange', 'and what there is');
SELECT is((pg_temp.raised('SELECT payments.exchange({eur2}, {usd2}, 1, 1)')).code, 'PY204', 'to the last cent');

-- ---------- who may ----------

SELECT is(r.code, '42501', format('a stranger may not %s', v)) FROM unnest(ARRAY[
	'post_transaction(ARRAY[{bank}], ARRAY[{a}], ARRAY[1])',
	'post_transaction(ARRAY[{eur2}, {bank}], ARRAY[{own}, {a}], ARRAY[1, 1])',
	'post_transaction(ARRAY[{buyer}, {a}], ARRAY[{a}, {fees}], ARRAY[1000, 50], ''sale-1'', ''a book'')',
	'get_transaction(<sale>)',
	'reverse_transaction(<split>, ''x'')',
	'reverse_transaction(<sale>, ''returned'', ''return-1'')',
	'post_split(ARRAY[{buyer}], ARRAY[{a}, {b}], 10, ARRAY[1, 1])',
	'post_split(ARRAY[{eur2}], ARRAY[{a}], 10, ARRAY[1])',
	'exchange({eur}, {usd}, 1, 1)',
	'exchange({eur2}, {usd}, 1, 1)',
	'_post_legs(ARRAY[{bank}], ARRAY[{a}], ARRAY[1], ARRAY[''x''], NULL, ARRAY[NULL], NULL)',
	'_exchange_account(''transactions_test'', ''exchange'', ''CHF'')']) v,
	pg_temp.raised('SET LOCAL ROLE transactions_test_stranger; SELECT payments.' || v) r;
SELECT is(r.code, 'none', format('the merchant''s application may %s', v)) FROM unnest(ARRAY[
	'post_transaction(ARRAY[{bank}], ARRAY[{a}], ARRAY[1])', 'get_transaction(<sale>)', 'reverse_transaction(<one>, ''x'')',
	'post_split(ARRAY[{buyer}], ARRAY[{a}, {b}], 10, ARRAY[1, 1])', 'exchange({eur}, {usd}, 1, 1)', 'split_amount(1, ARRAY[1])', 'fee_amount(1)']) v,
	pg_temp.raised('SET LOCAL ROLE transactions_test_app; SELECT payments.' || v || '; RESET ROLE') r;
SELECT is((pg_temp.raised('SET LOCAL ROLE payments_auditor; SELECT payments.get_transaction(<sale>); RESET ROLE')).code, 'none', 'an auditor reads a transaction');
SELECT is((pg_temp.raised('SET LOCAL ROLE payments_auditor; SELECT payments.exchange({eur}, {usd}, 1, 1)')).code, '42501', 'and makes none');

-- ---------- statement() for people ----------

SELECT results_eq($$SELECT kind, counterpart, debit, credit, balance, amount_text, balance_text FROM payments.statement(pg_temp.a('kwd'), 'infinity', NULL)$$,
	$$SELECT v.kind, NULL, NULL::bigint, NULL::bigint, b.balance, NULL, payments.format_amount(b.balance, 'KWD')
	FROM payments.balance(pg_temp.a('kwd')) b, (VALUES ('opening balance'), ('closing balance')) v(kind)$$, 'balances in major units');
SELECT is_empty($$SELECT s.* FROM pg_temp.acct a JOIN payments.account c ON c.account_id = a.id, payments.statement(a.id, NULL, NULL) s
	WHERE s.balance_text IS DISTINCT FROM payments.format_amount(s.balance, c.currency)
	OR s.amount_text IS DISTINCT FROM payments.format_amount(CASE WHEN c.type IN ('asset', 'expense') THEN 1 ELSE -1 END * coalesce(s.debit, - s.credit), c.currency)$$,
	'as format_amount() writes them, with the sign that the balance sees');

CREATE FUNCTION pg_temp.check_after(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	failed text;
BEGIN
	EXECUTE pg_temp.with_ids(statement);
	SELECT string_agg(c.invariant, '; ' ORDER BY c.invariant) INTO failed FROM payments._check_ledger() c WHERE NOT c.ok;
	RAISE EXCEPTION 'undo' USING ERRCODE = 'PYT01';
EXCEPTION WHEN SQLSTATE 'PYT01' THEN
	RETURN failed;
END
$$;
SELECT is(pg_temp.check_after('INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, transaction_id, currency, kind, merchant)
	VALUES ({bank}, {a}, 1, now(), now(), <split>, ''EUR'', ''x'', ''transactions_test'')'),
	'postings of a transaction were made together; sums of an account are those of its postings', 'check() notices a leg that was put in later');
SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');
SELECT is_empty($$SELECT * FROM payments.trial_balance WHERE code = 'TOTAL' AND balance <> 0$$, 'and every currency balances');

SELECT * FROM finish();
ROLLBACK;
