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

-- ---------- names

SELECT throws_ok(format('SELECT payments.create_merchant(%L)', n), '22023', 'merchant is not a name', 'not ' || quote_literal(n)) FROM unnest(ARRAY['*', ' books', 'books ']) n;

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
ALTER ROLE merchants_app RENAME TO merchants_renamed;
SET ROLE merchants_renamed;
SELECT is(pg_temp.seen(), 'default', 'of a role that has another name nothing is left');
SELECT throws_ok($$SELECT payments.create_payment('l', 100, 'EUR', merchant => 'mine')$$, '42501', NULL, 'nobody acts for its merchant');
SET ROLE merchants_auditor;
SELECT is(pg_temp.seen(), 'default, gone, mine', 'an auditor sees it still');
RESET ROLE;
SELECT payments.create_merchant('mine', app_role => 'merchants_renamed');
SET ROLE merchants_renamed;
SELECT is(pg_temp.seen(), 'default, mine', 'until the merchant is given the new name');
RESET ROLE;
ALTER ROLE merchants_renamed RENAME TO merchants_app;
SELECT payments.create_merchant('mine', app_role => 'merchants_app');
SELECT payments.create_merchant('gone', app_role => 'payments_app');
SET ROLE merchants_app;
SELECT is(pg_temp.seen(), 'default, gone, mine', 'it is given to every application');
SELECT lives_ok($$SELECT payments.create_payment('l', 100, 'EUR', merchant => 'gone')$$, 'and they act for it');
RESET ROLE;
SELECT throws_ok($$SELECT payments.create_merchant('4111111111111111')$$, 'PY009', NULL, 'no merchant is called by a card number');

-- ---------- whose an id is

SELECT p.payment_id FROM payments.payment p WHERE p.merchant = 'mine' \gset
SELECT payments.create_account('vault', 'EUR', 'asset', 'mine') AS vault \gset
CREATE FUNCTION pg_temp.says(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE call;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' ', sqlstate, sqlerrm, hint);
END
$$;
CREATE ROLE merchants_curious;
GRANT payments_app TO merchants_curious;
SET ROLE merchants_curious;
SELECT ok(said ~ '^42501' AND said !~ 'mine|merchants_app', 'the refusal does not say whose it is: ' || said)
FROM unnest(ARRAY[format('get_payment(%L)', :'payment_id'), format('payment_history(%L)', :'payment_id'), format('wait_payment(%L, ''0'')', :'payment_id'), format('cancel_payment(%L, ''c'')', :'payment_id'),
	format('refund_payment(%L, ''c'')', :'payment_id'), format('capture_payment(%L, ''c'')', :'payment_id'), format('balance(%s)', :vault), format('statement(%s, now(), now())', :vault), format('account_totals(%s)', :vault),
	format('balance_at(%s, now())', :vault)]) v, pg_temp.says('SELECT payments.' || v) said;
RESET ROLE;

-- ---------- what an application's own condition sees

CREATE ROLE merchants_other;
GRANT payments_app TO merchants_other;
SET ROLE merchants_other;
CREATE FUNCTION pg_temp.tells(word text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN INSERT INTO told VALUES (word); RETURN true; END $$;
CREATE TEMP TABLE told (word text);
SELECT count(*) FROM payments._my_merchant WHERE pg_temp.tells(merchant) \g /dev/null
SELECT is((SELECT count(*)::int FROM told WHERE word = 'mine'), 0, 'a condition of one''s own does not see the names of others'' merchants');
RESET ROLE;

-- ---------- rows of its own that name a payment
CREATE ROLE merchants_shop IN ROLE payments_app;
CREATE ROLE merchants_shop_owner;
CREATE SCHEMA shop AUTHORIZATION merchants_shop_owner;
GRANT ALL ON SCHEMA shop TO merchants_shop;
GRANT USAGE ON SCHEMA payments TO merchants_shop_owner;
SELECT payment_id AS id FROM payments.create_payment('named', 100, 'EUR', psp => 'sandbox') \gset
SET ROLE merchants_shop;
SELECT throws_ok('CREATE TABLE shop.orders (payment_id uuid REFERENCES payments.payment)', '42501', NULL, 'an application refers to no payment by a foreign key: its DDL would lock them all');
SELECT throws_ok('CREATE TABLE shop.orders (refund uuid REFERENCES payments.operation)', '42501', NULL, 'nor to an operation');
RESET ROLE;
GRANT REFERENCES (payment_id) ON payments.payment TO merchants_shop_owner;
GRANT REFERENCES (operation_id) ON payments.operation TO merchants_shop_owner;
SET ROLE merchants_shop_owner;
SELECT lives_ok('CREATE TABLE shop.orders (payment_id uuid REFERENCES payments.payment, refund uuid REFERENCES payments.operation)', 'a role that was given it does');
SELECT throws_ok('CREATE TABLE shop.others (m text REFERENCES payments.merchant)', '42501', NULL, 'but nothing else');
GRANT INSERT ON shop.orders TO merchants_shop;
SET ROLE merchants_shop;
SELECT lives_ok(format('INSERT INTO shop.orders VALUES (%L)', :'id'), 'and the application names one that exists');
SELECT throws_ok('INSERT INTO shop.orders VALUES (gen_random_uuid())', '23503', NULL, 'and none that does not');
RESET ROLE;
SELECT lives_ok('SELECT payments.setup()', 'setup() has nothing against it');
SELECT ok(has_column_privilege('merchants_shop_owner', 'payments.payment', 'payment_id', 'REFERENCES') AND has_column_privilege('merchants_shop_owner', 'payments.operation', 'operation_id', 'REFERENCES'),
	'and takes nothing back');
SELECT lives_ok(format('SELECT payments.cancel_payment(%L, ''named-cancel'')', :'id'), 'and payments go on');

SELECT * FROM finish();
ROLLBACK;
