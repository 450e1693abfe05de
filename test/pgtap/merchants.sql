-- If this fails, one role that was dropped, or mistyped, takes all rows away
-- from all applications; or a merchant that is called once more for another
-- reason is open to every application again; or an application refunds another
-- merchant's payments, or reads whom it sells for.

\ir ../lib/prelude.sql
BEGIN;
SELECT no_plan();

CREATE ROLE merchants_app; CREATE ROLE "merchants Gone"; CREATE ROLE merchants_auditor;
GRANT payments_app TO merchants_app, "merchants Gone";
GRANT payments_auditor TO merchants_auditor;
SELECT payments.create_merchant('mine', app_role => 'merchants_app'), payments.create_merchant('gone', app_role => 'merchants Gone', psp => 'sandbox');
SELECT payments.create_payment('k', 100, 'EUR', merchant => m) FROM unnest(ARRAY['mine', 'gone', 'default']) m \g /dev/null
CREATE FUNCTION pg_temp.seen() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(p.merchant, ', ' ORDER BY p.merchant) FROM payments.payment p $$;

-- ---------- once more

SELECT payments.create_merchant('gone');
SELECT results_eq($$SELECT app_role, psp FROM payments.merchant WHERE merchant = 'gone'$$, $$VALUES ('merchants Gone'::name, 'sandbox')$$, 'what is left out stays');
SELECT payments.create_merchant('mine', psp => 'sandbox');
SELECT results_eq($$SELECT app_role, psp FROM payments.merchant WHERE merchant = 'mine'$$, $$VALUES ('merchants_app'::name, 'sandbox')$$, 'beside what is given');

-- ---------- a role that is not there

SELECT throws_ok(format('SELECT payments.create_merchant(''typed'', app_role => %L)', r), '42704', NULL, 'role ' || r) FROM unnest(ARRAY['merchants_appp', 'merchants gone', '']) r;
SELECT is((SELECT count(*)::int FROM payments.merchant WHERE merchant = 'typed'), 0, 'of no role there is no merchant');
DROP ROLE "merchants Gone";
SET ROLE merchants_app;
SELECT is(pg_temp.seen(), 'default, mine', 'the role of another merchant is gone: one''s own are still there');
SELECT throws_ok($$SELECT payments.create_payment('l', 100, 'EUR', merchant => 'gone')$$, '42501', NULL, 'nobody acts for it');
RESET ROLE;
SET ROLE merchants_auditor;
SELECT is(pg_temp.seen(), 'default, gone, mine', 'an auditor sees it');
RESET ROLE;
SELECT payments.create_merchant('gone', app_role => 'payments_app');
SET ROLE merchants_app;
SELECT is(pg_temp.seen(), 'default, gone, mine', 'it is given to every application');
SELECT lives_ok($$SELECT payments.create_payment('l', 100, 'EUR', merchant => 'gone')$$, 'and they act for it');
RESET ROLE;
SELECT throws_ok($$SELECT payments.create_merchant('4111111111111111')$$, 'PY009', NULL, 'no merchant is called by a card number');

-- ---------- what an application has written, run by somebody else's session

CREATE ROLE merchants_other;
GRANT payments_app TO merchants_other;
CREATE SCHEMA merchants_other AUTHORIZATION merchants_other;
SELECT p.payment_id FROM payments.payment p WHERE p.merchant = 'mine' \gset
SET ROLE merchants_other;
CREATE TABLE merchants_other.t AS SELECT 'SELECT payments.' || v AS call
FROM unnest(ARRAY[format('cancel_payment(%L, ''x'')', :'payment_id'), format('get_payment(%L)', :'payment_id'), $$create_payment('x', 1, 'EUR')$$]) v;
CREATE FUNCTION merchants_other.f(call text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	EXECUTE call;
	RETURN 'done';
EXCEPTION WHEN insufficient_privilege THEN
	RETURN 'refused';
END $$;
CREATE INDEX ON merchants_other.t (merchants_other.f(call));
RESET ROLE;
ANALYZE merchants_other.t;
SELECT is((SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'merchants_other' AND attname = 'f'), '{refused}', 'in ANALYZE by a superuser nobody acts for a merchant');
SELECT is((SELECT status FROM payments.get_payment(:'payment_id')), 'initiated', 'and nothing has come of it');
SET ROLE merchants_other;
CREATE FUNCTION pg_temp.tells(word text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN INSERT INTO told VALUES (word); RETURN true; END $$;
CREATE TEMP TABLE told (word text);
SELECT count(*) FROM payments._my_merchant WHERE pg_temp.tells(merchant) \g /dev/null
SELECT is((SELECT count(*)::int FROM told WHERE word = 'mine'), 0, 'a condition of one''s own does not see the names of others'' merchants');
RESET ROLE;

-- ---------- rows of its own that name a payment
CREATE ROLE merchants_shop IN ROLE payments_app;
CREATE SCHEMA shop AUTHORIZATION merchants_shop;
SELECT payment_id AS id FROM payments.create_payment('named', 100, 'EUR', psp => 'sandbox') \gset
SET ROLE merchants_shop;
SELECT lives_ok('CREATE TABLE shop.orders (payment_id uuid REFERENCES payments.payment, refund uuid REFERENCES payments.operation)', 'an application names payments and operations by a foreign key');
SELECT lives_ok(format('INSERT INTO shop.orders VALUES (%L)', :'id'), 'one that exists');
SELECT throws_ok('INSERT INTO shop.orders VALUES (gen_random_uuid())', '23503', NULL, 'and none that does not');
SELECT throws_ok('CREATE TABLE shop.others (m text REFERENCES payments.merchant)', '42501', NULL, 'but nothing else');
RESET ROLE;
SELECT lives_ok('SELECT payments.setup()', 'setup() leaves it so');
SELECT lives_ok(format('SELECT payments.cancel_payment(%L, ''named-cancel'')', :'id'), 'and payments go on');

SELECT * FROM finish();
ROLLBACK;
