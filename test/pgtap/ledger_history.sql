-- If this fails in production: the balance that an account is said to have had
-- is not what its postings came to, and nobody can tell which is right.
--
-- Runs in a database where payments is set up, and rolls everything back.

\ir ../lib/prelude.sql
BEGIN;
SELECT plan(29);

CREATE ROLE past_app;
CREATE ROLE past_stranger;
GRANT payments_app TO past_app, past_stranger;
DO $do$ BEGIN PERFORM payments.create_merchant('past', 'past_app'); END $do$;
CREATE TEMP TABLE acct AS SELECT name, payments.create_account(name, 'EUR', type, merchant => 'past', min_balance => minimum, history => history) AS id
FROM (VALUES ('bank', 'asset', NULL::bigint, true), ('purse', 'liability', 0, true), ('plain', 'liability', NULL, false)) v(name, type, minimum, history);
CREATE TEMP TABLE mark (name text PRIMARY KEY, at timestamptz);
CREATE FUNCTION pg_temp.a(text) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM pg_temp.acct WHERE name = $1';
CREATE FUNCTION pg_temp.past(text) RETURNS TABLE (debits bigint, credits bigint, balance bigint) LANGUAGE sql AS $$
	SELECT h.debits, h.credits, h.balance FROM payments.account_history h WHERE h.account_id = pg_temp.a($1) ORDER BY h.posting_id $$;
-- What balance_at() says of an account without history.
CREATE FUNCTION pg_temp.summed(text, timestamptz) RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(CASE WHEN (p.debit_account = a.account_id) = (a.type = 'asset') THEN p.amount ELSE - p.amount END), 0)::bigint
	FROM payments.account a LEFT JOIN payments.posting p ON a.account_id IN (p.debit_account, p.credit_account) AND p.booked_at <= $2
	WHERE a.account_id = pg_temp.a($1) $$;
CREATE FUNCTION pg_temp.raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
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

-- ---------- each posting leaves its balance ----------

INSERT INTO mark VALUES ('before', clock_timestamp());
SELECT ok(payments.post(pg_temp.a('bank'), pg_temp.a('purse'), 100, reference => 'p1') > 0, 'posting between two such accounts');
INSERT INTO mark VALUES ('one', clock_timestamp());
SELECT results_eq($$SELECT * FROM pg_temp.past('bank')$$, 'VALUES (100::bigint, 0::bigint, 100::bigint)', 'the debited account has its row');
SELECT results_eq($$SELECT * FROM pg_temp.past('purse')$$, 'VALUES (0::bigint, 100::bigint, 100::bigint)', 'and the credited one, on its normal side');
SELECT is(payments.post(pg_temp.a('bank'), pg_temp.a('purse'), 100, reference => 'p1'), (SELECT posting_id FROM payments.posting WHERE merchant = 'past' AND reference = 'p1'), 'a repetition');
SELECT is((SELECT count(*) FROM pg_temp.past('bank')), 1::bigint, 'leaves none');
SELECT is(pg_temp.raised(format('SELECT payments.post(%s, %s, 101)', pg_temp.a('purse'), pg_temp.a('bank'))), 'PY204', 'nor does one that is refused');
SELECT is((SELECT count(*) FROM pg_temp.past('bank')), 1::bigint, 'as it should');
SELECT results_eq(format($$SELECT error FROM payments.post_batch(ARRAY[%1$s, %2$s, %2$s, %1$s, %1$s, %3$s], ARRAY[%2$s, %1$s, %1$s, %2$s, %2$s, %1$s], ARRAY[10, 60, 51, 1, 1, 5],
	ARRAY['b1', 'b2', 'b3', 'b4', 'b4', NULL])$$, pg_temp.a('bank'), pg_temp.a('purse'), pg_temp.a('plain')), $$VALUES (NULL), (NULL), ('PY204'), (NULL), (NULL), (NULL)$$, 'a batch');
SELECT results_eq($$SELECT * FROM pg_temp.past('bank')$$, 'VALUES (100::bigint, 0::bigint, 100::bigint), (110, 0, 110), (110, 60, 50), (111, 60, 51), (111, 65, 46)', 'leaves a row for each that passed, once, in order');
SELECT results_eq($$SELECT * FROM pg_temp.past('purse')$$, 'VALUES (0::bigint, 100::bigint, 100::bigint), (0, 110, 110), (60, 110, 50), (60, 111, 51)', 'on both sides');
SELECT is_empty($$SELECT * FROM pg_temp.past('plain')$$, 'an account without history has none');
INSERT INTO mark VALUES ('batch', clock_timestamp());
SELECT ok((SELECT payments.post_hold(h.hold_id, 20) FROM payments.hold(pg_temp.a('purse'), pg_temp.a('bank'), 30) h) > 0, 'posting a hold');
SELECT ok(payments.reverse_posting((SELECT max(posting_id) FROM payments.posting WHERE credit_account = pg_temp.a('bank') AND kind = 'manual'), 'wrong') > 0, 'and a reversal');
SELECT is((SELECT array_agg(balance) FROM pg_temp.past('bank')), ARRAY[100, 110, 50, 51, 46, 26, 31]::bigint[], 'leave theirs');
SELECT is((SELECT array_agg(balance) FROM pg_temp.past('purse')), ARRAY[100, 110, 50, 51, 31]::bigint[], 'on each account they touch');

-- ---------- balance_at() ----------

SELECT is(payments.balance_at(pg_temp.a('bank'), m.at), v.balance, 'balance_at() ' || v.name)
FROM (VALUES ('before', 0::bigint), ('one', 100), ('batch', 46)) v(name, balance) JOIN mark m USING (name);
SELECT is_empty($$SELECT x.name, h.booked_at FROM pg_temp.acct x, payments.account_history h
	WHERE payments.balance_at(x.id, h.booked_at) <> pg_temp.summed(x.name, h.booked_at)$$, 'at each time that something was booked it is the sum of the postings');
SELECT is(payments.balance_at(pg_temp.a('bank'), 'infinity'), (SELECT balance FROM payments.balance(pg_temp.a('bank'))), 'and today it is the balance');

-- ---------- what it goes with ----------

SELECT is(payments.create_account('bank', 'EUR', 'asset', merchant => 'past', history => true), pg_temp.a('bank'), 'the same definition again');
SELECT is(pg_temp.raised(v.statement), v.code, v.why) FROM (VALUES
	('PY015', 'whether it keeps one is part of what it is', $$SELECT payments.create_account('bank', 'EUR', 'asset', merchant => 'past')$$),
	('22023', 'a hot account keeps none', $$SELECT payments.create_account('x', 'EUR', 'asset', merchant => 'past', hot => true, history => true)$$),
	('22023', 'nor does one become hot', format('SELECT payments.set_account_hot(%s, true)', pg_temp.a('bank'))),
	('PY003', 'by no means', format('UPDATE payments.account SET hot = true WHERE account_id = %s', pg_temp.a('bank')))
) v(code, why, statement);

-- ---------- who may see it ----------

SELECT is(pg_temp.raised($$SET LOCAL ROLE past_app; DO 'BEGIN ASSERT (SELECT count(*) FROM payments.account_history) = 12; END'; RESET ROLE$$), 'none', 'a member of the merchant''s role sees its history');
SELECT is(pg_temp.raised($$SET LOCAL ROLE past_stranger; DO 'BEGIN ASSERT NOT EXISTS (SELECT FROM payments.account_history); END'; RESET ROLE$$), 'none', 'a stranger sees none');

-- ---------- check() ----------

SELECT is_empty('SELECT * FROM payments._check_ledger() WHERE NOT ok OR violations <> 0', 'after all this every invariant holds');
SELECT is(pg_temp.check_after(format('INSERT INTO payments.account_history SELECT account_id, posting_id + 1000000, booked_at, debits, credits, balance FROM payments.account_history WHERE account_id = %s LIMIT 1', pg_temp.a('bank'))),
	'the history of an account is that of its postings', 'check() notices a row too many');

SELECT * FROM finish();
ROLLBACK;
