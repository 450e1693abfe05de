-- If this fails in production: one hot account to which more is posted than its
-- counters can take stops folding, closes and statements of every merchant.

\ir ../lib/prelude.sql
\pset fieldsep '\n'
BEGIN;
SELECT no_plan();

SELECT payments.create_merchant('full'), payments.create_merchant('other');
CREATE TEMP TABLE acct AS SELECT merchant, code, payments.create_account(code, 'EUR', type, merchant => merchant, hot => true) AS id
FROM unnest(ARRAY['full', 'other']) m (merchant), (VALUES ('merchant_balance', 'liability'), ('in', 'asset')) v (code, type);
CREATE FUNCTION pg_temp.a(merchant text, code text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct a WHERE a.merchant = $1 AND a.code = $2';
CREATE FUNCTION pg_temp.deltas(merchant text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM payments.account_delta d JOIN pg_temp.acct a ON a.id = d.account_id WHERE a.merchant = $1
$$;
-- So many of the largest amount, from "in" to the balance; how many were refused, and why.
CREATE FUNCTION pg_temp.flood(n int) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', count(error), min(error)) FROM payments.post_batch(array_fill(pg_temp.a('full', 'in'), ARRAY[$1]),
		array_fill(pg_temp.a('full', 'merchant_balance'), ARRAY[$1]), array_fill(999999999999999::bigint, ARRAY[$1]))
$$;

-- ---------- what is not folded yet counts ----------

SELECT is(pg_temp.flood(4600), '0', 'as much as half a counter');
SELECT is(pg_temp.flood(4600), '4589 PY205', 'and no more, folded or not');
SELECT is(pg_temp.flood(1), '1 PY205', 'not by one');
SELECT results_eq($$SELECT error FROM payments.post_batch(array_fill(pg_temp.a('full', 'in'), ARRAY[2]), array_fill(pg_temp.a('full', 'merchant_balance'), ARRAY[2]), array_fill(9223372036854775807, ARRAY[2]))$$,
	$$VALUES ('PY205'), ('PY205')$$, 'however much it is');
SELECT lives_ok(format('SELECT payments.post(%s, %s, 100)', pg_temp.a('full', 'in'), pg_temp.a('full', 'merchant_balance')), 'a light call goes by the row alone');
SELECT is(payments.fold_hot_accounts(), 6::bigint, 'it folds');
SELECT is(pg_temp.flood(1), '1 PY205', 'then, too');

-- ---------- what several have posted at once, and none has seen ----------

SELECT payments.post(pg_temp.a('other', 'in'), pg_temp.a('other', 'merchant_balance'), 5) > 0 AS posted;
INSERT INTO payments.account_delta (account_id, debits, credits)
SELECT id, CASE code WHEN 'in' THEN 4611686018427387904 ELSE 0 END, CASE code WHEN 'in' THEN 0 ELSE 4611686018427387904 END FROM acct, generate_series(1, 2) WHERE merchant = 'full';
INSERT INTO payments.posting (debit_account, credit_account, amount, effective_at, booked_at, currency, kind, merchant)
SELECT pg_temp.a('full', 'in'), pg_temp.a('full', 'merchant_balance'), 4611686018427387904, clock_timestamp(), clock_timestamp(), 'EUR', 'manual', 'full' FROM generate_series(1, 2);
SET client_min_messages = error;
SELECT is(payments.fold_hot_accounts(), 2::bigint, 'the others are folded');
SELECT is(pg_temp.deltas('full'), 4::bigint, 'what does not fit stays'), is(pg_temp.deltas('other'), 0::bigint, 'and nothing else');
SELECT payments.post(pg_temp.a('other', 'in'), pg_temp.a('other', 'merchant_balance'), 5) > 0 AS posted;
SELECT is(payments.fold_hot_accounts(1), 1::bigint, 'nor does it hide the others, when few are looked at');
SELECT results_eq('SELECT balance FROM payments.trial_balance WHERE account_id = pg_temp.a(''full'', ''in'')', format('SELECT %s::numeric', 9223372036854775808 + 4610999999999995389 + 100),
	'it is in the trial balance');
SELECT results_eq('SELECT invariant, violations FROM payments._check_ledger() WHERE NOT ok', $$VALUES ('what is posted to an account fits into its counters', 2::bigint)$$, 'check() says so, and nothing else');

-- ---------- jobs of all merchants ----------

COMMIT;
SELECT clock_timestamp() AS now \gset
SELECT results_eq(format('SELECT merchant_name FROM payments.close_period(%L)', :'now'), $$VALUES ('other')$$, 'the others are closed');
SELECT results_eq(format($$SELECT j ->> 'merchant' FROM payments._job_close('-infinity', %L) j WHERE j -> 'ok' = 'false'$$, :'now'), $$VALUES ('full')$$, 'and the job has a finding');
SELECT throws_ok(format('SELECT payments.close_period(%L, %L)', :'now', 'full'), '22003', NULL, 'of which one can ask why');
SELECT results_eq(format('SELECT merchant, ok FROM payments.issue_statements(%L, %L) ORDER BY 1', :'now'::timestamptz - interval '1 h', :'now'), $$VALUES ('full', false), ('other', true)$$, 'the others have their statements');

SELECT * FROM finish();
