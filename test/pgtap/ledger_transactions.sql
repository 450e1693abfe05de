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

SELECT * FROM finish();
ROLLBACK;
