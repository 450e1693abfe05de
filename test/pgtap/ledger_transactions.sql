-- If this fails in production: a split creates or loses a cent, a basket is
-- half paid out, an exchange gives the customer a fraction too much, a repeated
-- call pays twice, or somebody moves another merchant's money.
--
-- Runs in a database where payments is set up, and rolls everything back.

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

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');

SELECT * FROM finish();
ROLLBACK;
